"""Reductions: sum, mean, extrema, variance, and the stable exponentials' sums.

`axis` is None, an int or a tuple of ints, `keepdims` as in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_nn.primitive import REAL, primitive
from tinygrad_nn.rules.elementwise import equal, exp, floating, into, isnan, logical_or, where
from tinygrad_nn.rules.indexing import one_hot
from tinygrad_nn.rules.shape import arange, broadcast_to, ones

# Any to the type checker: NumPy's stubs tell axis and keepdims apart in ways that Python does not.
Axis = Any


def _expand(g: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """Put the reduced axes of `g` back, with length 1, so that it broadcasts against `x`."""
    if keepdims:
        return g
    if axis is None:
        return g if x.ndim == 0 else np.reshape(g, (1,) * x.ndim)
    return np.expand_dims(g, axis)


def _count(x: Any, axis: Axis) -> int:
    """Return how many elements are reduced to one."""
    shape = np.shape(x)
    if axis is None:
        return math.prod(shape)
    axes = (axis,) if isinstance(axis, int | np.integer) else axis
    return math.prod(shape[i] for i in axes)


def _sum_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return broadcast_to(_expand(g, x, axis, keepdims), shape=x.shape)


@primitive(name="sum", numpy=[np.sum, np.add.reduce], rules=[_sum_rule], domain=(REAL,))
def sum_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Sum over `axis`."""
    return np.add.reduce(x, axis=axis, keepdims=keepdims, out=out)


def _mean_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    # An empty mean is nan already; there is no element to send a gradient to.
    scale = 1.0 / max(_count(x, axis), 1)
    return broadcast_to(_expand(g * scale, x, axis, keepdims), shape=x.shape)


@primitive(numpy=[np.mean], rules=[_mean_rule], domain=(REAL,))
def mean(x: Any, *, axis: Axis = None, keepdims: Any = False, out: Any = None) -> Any:
    """Arithmetic mean over `axis`; nan with a warning where there is nothing to average."""
    if out is None and x.dtype.kind == "f" and x.dtype.itemsize >= 4 and x.size:
        # A third of np.mean's time. Half precision is left to NumPy, which sums it in float32.
        return np.add.reduce(x, axis=axis, keepdims=keepdims) * x.dtype.type(1 / _count(x, axis))
    return np.mean(x, axis=axis, keepdims=keepdims, out=out)


def _extremum_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Split `g` evenly among the elements that attain the extremum; a nan attains it."""
    extremum = _expand(y, x, axis, keepdims)
    attained = logical_or(equal(x, extremum), isnan(x))
    ties = np.sum(attained, axis=axis, keepdims=keepdims)
    if x.dtype.char == "e":  # half precision, which cannot count beyond 65504
        share = (g / ties.astype(np.float32)).astype(x.dtype)
    else:
        share = g / ties.astype(x.dtype)
    return where(attained, _expand(share, x, axis, keepdims), 0.0)


@primitive(
    name="max", numpy=[np.max, np.amax, np.maximum.reduce], rules=[_extremum_rule], domain=(REAL,)
)
def max_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Largest element over `axis`; at a tie the gradient is split evenly."""
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims, out=out)


@primitive(
    name="min", numpy=[np.min, np.amin, np.minimum.reduce], rules=[_extremum_rule], domain=(REAL,)
)
def min_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Smallest element over `axis`; at a tie the gradient is split evenly."""
    return np.minimum.reduce(x, axis=axis, keepdims=keepdims, out=out)


def _over(n: float) -> float:
    """Return 1/n as IEEE has it: the variance of one element with ddof=1 is nan, not an error."""
    return 1.0 / n if n else math.inf


def _var_rule(
    g: Any, y: Any, x: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    centred = x - mean(x, axis=axis, keepdims=True)
    return _expand(g, x, axis, keepdims) * (2.0 * _over(_count(x, axis) - ddof) * centred)


@primitive(numpy=[np.var], rules=[_var_rule], domain=(REAL,))
def var(
    x: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False, out: Any = None
) -> Any:
    """Variance over `axis`, the sum of squared deviations over (n - ddof)."""
    return np.var(x, axis=axis, ddof=ddof, keepdims=keepdims, out=out)


def _std_rule(
    g: Any, y: Any, x: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    y = _expand(y, x, axis, keepdims)
    centred = x - mean(x, axis=axis, keepdims=True)
    flat = equal(y, 0.0)
    slope = _over(_count(x, axis) - ddof) * centred / where(flat, 1.0, y)
    return _expand(g, x, axis, keepdims) * where(flat, 0.0, slope)


@primitive(numpy=[np.std], rules=[_std_rule], domain=(REAL,))
def std(
    x: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False, out: Any = None
) -> Any:
    """Take the standard deviation over `axis`; subgradient 0 where all elements are equal."""
    return np.std(x, axis=axis, ddof=ddof, keepdims=keepdims, out=out)


@primitive(numpy=[np.argmax], rules=[None])
def argmax(x: Any, *, axis: int | None = None, keepdims: bool = False, out: Any = None) -> Any:
    """Position of the first largest element; constant."""
    return np.argmax(x, axis=axis, keepdims=keepdims, out=out)


@primitive(numpy=[np.argmin], rules=[None])
def argmin(x: Any, *, axis: int | None = None, keepdims: bool = False, out: Any = None) -> Any:
    """Position of the first smallest element; constant."""
    return np.argmin(x, axis=axis, keepdims=keepdims, out=out)


@primitive(name="all", numpy=[np.all, np.logical_and.reduce], rules=[None])
def all_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Whether all elements over `axis` are true; constant."""
    return np.all(x, axis=axis, keepdims=keepdims, out=out)


@primitive(name="any", numpy=[np.any, np.logical_or.reduce], rules=[None])
def any_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Whether any element over `axis` is true; constant."""
    return np.any(x, axis=axis, keepdims=keepdims, out=out)


# --- softmax and its relatives ------------------------------------------------------------------
# All subtract the maximum first, so that exp never overflows; P. Blanchard, D. J. Higham and
# N. J. Higham, IMA J. Numer. Anal. 41 (2021), 2311-2330, doi:10.1093/imanum/draa038.


def _in_single(forward: Callable[..., Any], x: Any, *args: Any, out: Any, **static: Any) -> Any:
    """Compute in float32 what is given in half precision, whose sums overflow at 65504."""
    y = forward(x.astype(np.float32), *args, **static)
    return into(np.asarray(y, dtype=np.float16), out)


def _logsumexp_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return _expand(g, x, axis, keepdims) * exp(x - _expand(y, x, axis, keepdims))


@primitive(rules=[_logsumexp_rule], domain=(REAL,))
def logsumexp(x: Any, *, axis: Axis = None, keepdims: Any = False, out: Any = None) -> Any:
    """Logarithm of the sum of exponentials over `axis`; -inf for an empty sum.

    ``m + log(sum(exp(x - m)))`` with m the maximum.

    Parameters
    ----------
    x : array_like
        Any shape, in nats.
    axis : int, tuple of int or None
        Axes to sum over; all by default.
    keepdims : bool
        Keep the summed axes with length 1.
    out : ndarray, optional
        Written to; for plain arrays only.

    Returns
    -------
    Tensor, ndarray or float
        Shape of `x` without the summed axes.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> print(tg.logsumexp(tg.tensor([1000.0, 1000.0])).item())
    1000.6931471805599
    """
    x = floating(x)
    if x.dtype.char == "e":
        return _in_single(logsumexp.forward, x, axis=axis, keepdims=keepdims, out=out)
    peak = np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    total = np.add.reduce(np.exp(x - peak), axis=axis, keepdims=keepdims)
    with np.errstate(divide="ignore"):  # log(0) = -inf is the right answer here
        y = np.log(total)
    return np.add(y, peak if keepdims else np.reshape(peak, np.shape(y)), out=out)


def _peak(x: Any, axis: int) -> Any:
    """Return the maximum along `axis`, kept with length 1."""
    if x.ndim == 2 and axis in (-1, 1) and x.size:
        # Twice as fast as maximum.reduce, which is slow along short rows.
        return x[arange(len(x)), x.argmax(axis=1)][:, None]
    return np.maximum.reduce(x, axis=axis, keepdims=True)


def _total(x: Any, axis: int) -> Any:
    """Return the sum along `axis`, kept with length 1."""
    if x.ndim == 2 and axis in (-1, 1) and x.dtype.char in "fd":
        return np.dot(x, ones(x.shape[1], x.dtype))[:, None]  # three times as fast on short rows
    return sum_(x, axis=axis, keepdims=True)


def _softmax_rule(g: Any, y: Any, x: Any, *, axis: int = -1) -> Any:
    return y * (g - _total(g * y, axis))


@primitive(rules=[_softmax_rule], domain=(REAL,))
def softmax(x: Any, *, axis: int = -1, out: Any = None) -> Any:
    """Softmax over `axis`: exp(x) normalised to sum 1.

    ``exp(x - m) / sum(exp(x - m))`` with m the maximum.

    Parameters
    ----------
    x : array_like
        Logits of any shape, in nats.
    axis : int
        The axis along which the result sums to 1.
    out : ndarray, optional
        Written to; for plain arrays only.

    Returns
    -------
    Tensor, ndarray or float
        Shape of `x`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.softmax(tg.tensor([1000.0, 0.0, -1000.0]))
    tensor([1., 0., 0.])
    """
    x = floating(x)
    if x.dtype.char == "e":
        return _in_single(softmax.forward, x, axis=axis, out=out)
    e = np.exp(x - _peak(x, axis))
    return np.divide(e, _total(e, axis), out=out)


def _log_softmax_rule(g: Any, y: Any, x: Any, *, axis: int = -1) -> Any:
    return g - np.exp(y) * _total(g, axis)


@primitive(rules=[_log_softmax_rule], domain=(REAL,))
def log_softmax(x: Any, *, axis: int = -1, out: Any = None) -> Any:
    """Logarithm of `softmax` over `axis`, exact where softmax itself rounds to 0 or 1.

    ``x - m - log(sum(exp(x - m)))`` with m the maximum.

    Parameters
    ----------
    x : array_like
        Logits of any shape, in nats.
    axis : int
        The axis along which the exponentials of the result sum to 1.
    out : ndarray, optional
        Written to; for plain arrays only.

    Returns
    -------
    Tensor, ndarray or float
        Shape of `x`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.log_softmax(tg.tensor([1000.0, 0.0, -1000.0]))
    tensor([    0., -1000., -2000.])
    """
    x = floating(x)
    if x.dtype.char == "e":
        return _in_single(log_softmax.forward, x, axis=axis, out=out)
    shifted = x - _peak(x, axis)
    return np.subtract(shifted, np.log(_total(np.exp(shifted), axis)), out=out)


def _nll_rule(g: Any, y: Any, x: Any, labels: Any) -> Any:
    n = x.shape[-1]
    share = -n / max(x.size, 1)
    return g * one_hot(labels, length=n, value=share, dtype=x.dtype)


@primitive(rules=[_nll_rule, None], domain=(REAL, REAL))
def nll(x: Any, labels: Any, *, out: Any = None) -> Any:
    """Minus the mean of one element from each row: `x` (..., n), integer `labels` (...)."""
    if x.dtype.char == "e":
        return _in_single(nll.forward, x, labels, out=out)
    if x.ndim != 2:
        x, labels = x.reshape(-1, x.shape[-1]), np.reshape(labels, -1)
    n = len(x)
    picked = x[arange(n), labels]
    if not n:
        return np.multiply(np.mean(picked), -1.0, out=out)  # nan, with NumPy's warning
    return np.multiply(np.add.reduce(picked), -1.0 / n, out=out)
