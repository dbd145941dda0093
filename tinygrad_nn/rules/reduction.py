"""Reductions: sum, product, mean, extrema, variance, and the stable exponentials' sums.

`axis` is None, an int or a tuple of ints, `keepdims` as in NumPy. What else NumPy's functions take
(`dtype`, `initial`, `where`) is dealt with around the primitives, at the end of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_nn.primitive import REAL, Primitive, implements, primitive
from tinygrad_nn.rules.elementwise import (
    UNSET,
    add,
    equal,
    exp,
    floating,
    fmax,
    fmin,
    hypot,
    into,
    isnan,
    logaddexp,
    logaddexp2,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    multiply,
    sqrt,
    where,
)
from tinygrad_nn.rules.indexing import one_hot
from tinygrad_nn.rules.sequence import cumprod, delayed, without_nan
from tinygrad_nn.rules.shape import (
    arange,
    as_floats,
    as_mask,
    astype,
    broadcast_to,
    check_dtype,
    converted,
    inexact,
    moveaxis,
    ones,
    reshape,
    shaped,
)

# Any to the type checker: NumPy's stubs tell axis and keepdims apart in ways that Python does not.
Axis = Any


def _expand(g: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """Put the reduced axes of `g` back, with length 1, so that it broadcasts against `x`."""
    if keepdims or not x.ndim:  # numbers have an axis 0 for NumPy's reductions
        return g
    if axis is None:
        return np.reshape(g, (1,) * x.ndim)
    return np.expand_dims(g, axis)


def _count(x: Any, axis: Axis) -> int:
    """Return how many elements are reduced to one."""
    shape = np.shape(x)
    if axis is None:
        return math.prod(shape)
    axes = (axis,) if isinstance(axis, int | np.integer) else axis
    try:
        return math.prod(shape[i] for i in axes)
    except IndexError:
        raise np.exceptions.AxisError(axis, len(shape)) from None


def _sum_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return broadcast_to(_expand(g, x, axis, keepdims), shape=x.shape)


@primitive(name="sum", rules=[_sum_rule], linear="all", domain=(REAL,))
def sum_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Sum over `axis`."""
    return np.add.reduce(x, axis=axis, keepdims=keepdims, out=out)


def _mean_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    # An empty mean is nan already; there is no element to send a gradient to.
    scale = 1.0 / max(_count(x, axis), 1)
    return broadcast_to(_expand(g * scale, x, axis, keepdims), shape=x.shape)


@primitive(rules=[_mean_rule], linear="all", domain=(REAL,))
def mean(x: Any, *, axis: Axis = None, keepdims: Any = False, out: Any = None) -> Any:
    """Arithmetic mean over `axis`; nan with a warning where there is nothing to average."""
    if out is None and x.dtype.kind == "f" and x.dtype.itemsize >= 4 and x.size:
        # A third of np.mean's time. Half precision is left to NumPy, which sums it in float32.
        return np.add.reduce(x, axis=axis, keepdims=keepdims) * x.dtype.type(1 / _count(x, axis))
    return np.mean(x, axis=axis, keepdims=keepdims, out=out)


def _others(x: Any, axis: Axis) -> Any:
    """Return for each element the product of all others that are reduced with it."""
    if axis is None or not x.ndim:
        return reshape(_others(reshape(x, shape=(math.prod(x.shape),)), 0), shape=x.shape)
    if isinstance(axis, int | np.integer):
        before = delayed(cumprod(x, axis=axis), axis=axis, fill=1.0)
        after = cumprod(x, axis=axis, reverse=True)
        return before * delayed(after, axis=axis, fill=1.0, reverse=True)
    kept = x.ndim - len(axis)
    last = tuple(range(kept, x.ndim))
    moved = moveaxis(x, source=axis, destination=last)
    flat = reshape(moved, shape=(*moved.shape[:kept], math.prod(moved.shape[kept:])))
    found = reshape(_others(flat, kept), shape=moved.shape)
    return moveaxis(found, source=last, destination=axis)


def _prod_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return _expand(g, x, axis, keepdims) * _others(x, axis)


@primitive(rules=[_prod_rule], domain=(REAL,))
def prod(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Product over `axis`. Its rule divides by nothing, so that factors may be zero."""
    return np.multiply.reduce(x, axis=axis, keepdims=keepdims, out=out)


def _extremum_rule(skips_nan: bool) -> Callable[..., Any]:
    """Split `g` evenly among the elements that attain the extremum; a nan attains a nan."""

    def rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
        extremum = _expand(y, x, axis, keepdims)
        attained = logical_or(equal(x, extremum), isnan(extremum if skips_nan else x))
        ties = sum_(attained, axis=axis, keepdims=keepdims)
        if x.dtype.char == "e":  # half precision, which cannot count beyond 65504
            share = (g / ties.astype(np.float32)).astype(x.dtype)
        else:
            share = g / ties.astype(x.dtype)
        return where(attained, _expand(share, x, axis, keepdims), 0.0)

    return rule


@primitive(name="max", rules=[_extremum_rule(skips_nan=False)], domain=(REAL,))
def max_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Largest element over `axis`; at a tie the gradient is split evenly. A nan is largest."""
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims, out=out)


@primitive(name="min", rules=[_extremum_rule(skips_nan=False)], domain=(REAL,))
def min_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Smallest element over `axis`; at a tie the gradient is split evenly. A nan is smallest."""
    return np.minimum.reduce(x, axis=axis, keepdims=keepdims, out=out)


@primitive(rules=[_extremum_rule(skips_nan=True)], domain=(REAL,))
def nanmax(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Largest element over `axis` that is not nan; nan, with a warning, if all are."""
    return np.nanmax(x, axis=axis, keepdims=keepdims, out=out)


@primitive(rules=[_extremum_rule(skips_nan=True)], domain=(REAL,))
def nanmin(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Smallest element over `axis` that is not nan; nan, with a warning, if all are."""
    return np.nanmin(x, axis=axis, keepdims=keepdims, out=out)


def _over(n: float) -> float:
    """Return 1/n as IEEE has it: the variance of one element with ddof=1 is nan, not an error."""
    return 1.0 / n if n > 0 else math.inf


def _centred(x: Any, axis: Axis) -> Any:
    """Return deviations from the mean, conjugated: the transpose of |dz|^2 is conj(z)."""
    deviation = x - mean(x, axis=axis, keepdims=True)
    return np.conjugate(deviation) if x.dtype.kind == "c" else deviation


def _var_rule(
    g: Any, y: Any, x: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    scale = 2.0 * _over(_count(x, axis) - ddof)
    return _expand(g, x, axis, keepdims) * (scale * _centred(x, axis))


@primitive(rules=[_var_rule], domain=(REAL,))
def var(
    x: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False, out: Any = None
) -> Any:
    """Variance over `axis`, the sum of squared deviations over (n - ddof)."""
    return np.var(x, axis=axis, ddof=ddof, keepdims=keepdims, out=out)


def _std_rule(
    g: Any, y: Any, x: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    y = _expand(y, x, axis, keepdims)
    flat = equal(y, 0.0)
    slope = _over(_count(x, axis) - ddof) * _centred(x, axis) / where(flat, 1.0, y)
    return _expand(g, x, axis, keepdims) * where(flat, 0.0, slope)


@primitive(rules=[_std_rule], domain=(REAL,))
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


@primitive(numpy=[np.nanargmax], rules=[None])
def nanargmax(x: Any, *, axis: int | None = None, keepdims: bool = False, out: Any = None) -> Any:
    """Position of the first largest element that is not nan; constant."""
    return np.nanargmax(x, axis=axis, keepdims=keepdims, out=out)


@primitive(numpy=[np.nanargmin], rules=[None])
def nanargmin(x: Any, *, axis: int | None = None, keepdims: bool = False, out: Any = None) -> Any:
    """Position of the first smallest element that is not nan; constant."""
    return np.nanargmin(x, axis=axis, keepdims=keepdims, out=out)


@primitive(name="all", rules=[None])
def all_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Whether all elements over `axis` are true; constant."""
    return np.all(x, axis=axis, keepdims=keepdims, out=out)


@primitive(name="any", rules=[None])
def any_(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """Whether any element over `axis` is true; constant."""
    return np.any(x, axis=axis, keepdims=keepdims, out=out)


def _hypot_reduce_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    y = _expand(y, x, axis, keepdims)
    origin = equal(y, 0.0)
    return where(origin, 0.0, _expand(g, x, axis, keepdims) * (x / where(origin, 1.0, y)))


@primitive(rules=[_hypot_reduce_rule], domain=(REAL,))
def hypot_reduce(x: Any, *, axis: Axis = None, keepdims: Any = False, out: Any = None) -> Any:
    """Square root of the sum of squares, free of overflow; subgradient 0 at the origin."""
    if np.iscomplexobj(x):  # the analytic continuation, as of np.hypot
        return into(np.sqrt(np.add.reduce(x * x, axis=axis, keepdims=keepdims)), out)
    return np.hypot.reduce(x, axis=axis, keepdims=keepdims, out=out)


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
    peak = np.maximum.reduce(x.real, axis=axis, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    total = np.add.reduce(np.exp(x - peak), axis=axis, keepdims=keepdims)
    with np.errstate(divide="ignore"):  # log(0) = -inf is the right answer here
        y = np.log(total)
    return np.add(y, peak if keepdims else np.reshape(peak, np.shape(y)), out=out)


def _peak(x: Any, axis: int) -> Any:
    """Return the maximum (of complex numbers, of their real parts) along `axis`, kept."""
    x = x.real
    if type(x) is np.ndarray and x.ndim == 2 and axis in (-1, 1) and x.size:
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


# --- NumPy's signatures --------------------------------------------------------------------------
# The usual call goes straight to the primitive. A mask (`where`) puts what leaves the result as it
# is in the place of what it hides.


def _plain(p: Primitive, a: Any, axis: Axis, keepdims: Any) -> Any:
    """Apply a reduction with those keywords only that say something."""
    if keepdims and keepdims is not UNSET:
        return p(a, keepdims=True) if axis is None else p(a, axis=axis, keepdims=True)
    return p(a) if axis is None else p(a, axis=axis)


def _masks(where: Any) -> bool:
    return where is not True and where is not UNSET


def _like(initial: Any, dtype: Any) -> Any:
    """Convert `initial` as NumPy does, fractions of integers cut off."""
    if hasattr(initial, "__primitive__"):
        return converted(initial, dtype)
    return np.asarray(initial, dtype)


def _reduction(
    name: str, p: Primitive, join: Primitive, neutral: Any = None, kinds: str = ""
) -> Callable[..., Any]:
    """Make a reduction that knows all keywords, of `join`, which reduces two to one.

    It leaves what meets `neutral` as it is; where there is no such number, `initial` is put in the
    place of what is hidden. `kinds` are those of the dtypes that it computes in, if not all.
    """

    def reduce(a: Any, axis: Axis, dtype: Any, keepdims: Any, initial: Any, mask: Any) -> Any:
        started = initial is not None and initial is not UNSET
        if dtype is None and not started and not _masks(mask):
            return _plain(p, a, axis, keepdims)
        if kinds:
            check_dtype(name, dtype, kinds)
        a = converted(a, dtype)
        if _masks(mask):
            if neutral is None and not started:
                raise ValueError(
                    f"np.{name}(..., where=...) has nothing to begin with where nothing is "
                    f"selected: give it `initial` too"
                )
            hidden = _like(initial, a.dtype) if neutral is None else neutral
            a = where(as_mask(mask, a.shape), a, hidden)
        if started and neutral is None and not a.size:
            # The extremum of nothing is what it began with.
            return converted(_plain(sum_, a, axis, keepdims) + _like(initial, a.dtype), a.dtype)
        y = _plain(p, a, axis, keepdims)
        dtype = y.dtype if dtype is None else dtype
        return converted(join(y, _like(initial, dtype)) if started else y, dtype)

    return reduce


def _with_dtype(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function with the signature of np.sum."""

    def composite(
        a: Any,
        axis: Axis = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = UNSET,
        where: Any = True,
    ) -> Any:
        return reduce(a, axis, dtype, keepdims, initial, where)

    return composite


def _without_dtype(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function with the signature of np.max."""

    def composite(
        a: Any,
        axis: Axis = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = UNSET,
        where: Any = True,
        dtype: Any = None,  # of maximum.reduce, which NumPy calls with keywords
    ) -> Any:
        return reduce(a, axis, dtype, keepdims, initial, where)

    return composite


_sum = _reduction("sum", sum_, add, 0)
_prod = _reduction("prod", prod, multiply, 1)
implements(np.sum, np.add.reduce)(_with_dtype(_sum))
implements(np.prod, np.multiply.reduce)(_with_dtype(_prod))
implements(np.nansum)(_with_dtype(lambda a, *others: _sum(without_nan(a, 0), *others)))
implements(np.nanprod)(_with_dtype(lambda a, *others: _prod(without_nan(a, 1), *others)))
implements(np.max, np.amax, np.maximum.reduce)(_without_dtype(_reduction("max", max_, maximum)))
implements(np.min, np.amin, np.minimum.reduce)(_without_dtype(_reduction("min", min_, minimum)))
implements(np.nanmax, np.fmax.reduce)(_without_dtype(_reduction("nanmax", nanmax, fmax)))
implements(np.nanmin, np.fmin.reduce)(_without_dtype(_reduction("nanmin", nanmin, fmin)))
_every = _reduction("logical_and.reduce", all_, logical_and, True, kinds="b")
_some = _reduction("logical_or.reduce", any_, logical_or, False, kinds="b")
implements(np.all)(_without_dtype(_every))
implements(np.any)(_without_dtype(_some))
implements(np.logical_and.reduce)(_with_dtype(_every))
implements(np.logical_or.reduce)(_with_dtype(_some))


def _of_floats(function: np.ufunc, reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Implement the method `reduce` of a ufunc that has no loop for integers."""

    @implements(function.reduce)
    def composite(array: Any, *args: Any, **keywords: Any) -> Any:
        return reduce(as_floats(function, array), *args, **keywords)

    return composite


_of_floats(np.hypot, _with_dtype(_reduction("hypot.reduce", hypot_reduce, hypot, 0.0, kinds="f")))
_logaddexp_reduce = _of_floats(
    np.logaddexp,
    _with_dtype(_reduction("logaddexp.reduce", logsumexp, logaddexp, -math.inf, kinds="f")),
)


@implements(np.logaddexp2.reduce)
def _np_logaddexp2_reduce(array: Any, **keywords: Any) -> Any:
    initial = keywords.pop("initial", None)
    dtype = keywords.pop("dtype", None)
    check_dtype("logaddexp2.reduce", dtype, "f")
    x = as_floats(np.logaddexp2, converted(array, dtype))
    y = _logaddexp_reduce(x * math.log(2.0), **keywords) * (1.0 / math.log(2.0))
    return y if initial is None or initial is UNSET else logaddexp2(y, _like(initial, y.dtype))


@implements(np.ptp)
def _np_ptp(a: Any, axis: Axis = None, out: Any = None, keepdims: Any = False) -> Any:
    """Largest minus smallest; at ties the gradient of either is split evenly."""
    return _plain(max_, a, axis, keepdims) - _plain(min_, a, axis, keepdims)


# --- averages of what a mask selects -------------------------------------------------------------


def _floating(name: str, x: Any, dtype: Any) -> tuple[Any, Any]:
    """Return `x` wide enough to be averaged, and the type that the result shall have."""
    check_dtype(name, dtype, "fc")
    x = inexact(converted(x, dtype))
    narrow = x.dtype
    return (converted(x, np.float32) if narrow.char == "e" else x), narrow


def _selected(mask: Any, x: Any) -> Any:
    return as_mask(mask, x.shape) if _masks(mask) else None


def _number(mask: Any, x: Any, axis: Axis, keepdims: Any) -> Any:
    """Return how many elements a mask selects, as numbers of the real type of `x`."""
    if mask is None:
        return float(_count(x, axis))
    return astype(_plain(sum_, mask, axis, keepdims), dtype=x.real.dtype)


def _kept(mask: Any, x: Any) -> Any:
    return x if mask is None else where(mask, x, 0.0)


def _mean(name: str, a: Any, axis: Axis, dtype: Any, keepdims: Any, mask: Any) -> Any:
    x, narrow = _floating(name, a, dtype)
    mask = _selected(mask, x)
    if mask is None:
        return converted(_plain(mean, x, axis, keepdims), narrow)
    total = _plain(sum_, _kept(mask, x), axis, keepdims)
    return converted(total / _number(mask, x, axis, keepdims), narrow)


@implements(np.mean)
def _np_mean(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    *,
    where: Any = True,
) -> Any:
    if dtype is None and not _masks(where):
        return _plain(mean, a, axis, keepdims)
    return _mean("mean", a, axis, dtype, keepdims, where)


def _numbers_only(a: Any, mask: Any) -> Any:
    """Return the mask of what is not nan, within another mask."""
    numbers = logical_not(isnan(a))
    return logical_and(numbers, as_mask(mask, a.shape)) if _masks(mask) else numbers


@implements(np.nanmean)
def _np_nanmean(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    *,
    where: Any = True,
) -> Any:
    a = shaped(a)
    return _mean("nanmean", a, axis, dtype, keepdims, _numbers_only(a, where))


def _variance(
    x: Any, axis: Axis, ddof: float, keepdims: Any, mask: Any, centre: Any, undefined: float
) -> Any:
    """Return the variance of what a mask selects, about its mean or another `centre`.

    `undefined` is what the squares are divided by where there are no degrees of freedom.
    """
    if centre is UNSET:
        total = sum_(_kept(mask, x), axis=axis, keepdims=True)
        centre = total / _number(mask, x, axis, True)
    deviation = _kept(mask, x - centre)
    if deviation.dtype.kind == "c":
        squares = np.real(deviation * np.conjugate(deviation))
    else:
        squares = deviation * deviation
    total = _plain(sum_, squares, axis, keepdims)
    freedom = maximum(_number(mask, x, axis, keepdims) - ddof, 0.0)
    freedom = where(equal(freedom, 0.0), undefined, freedom)
    return total / converted(freedom, total.dtype)


def _degrees(ddof: float, correction: Any) -> float:
    if correction is UNSET:
        return ddof
    if ddof != 0:
        raise ValueError("give one of ddof and correction, which mean the same")
    return correction  # type: ignore[no-any-return]  # Any to mypy


def _root(v: Any) -> Any:
    """Return the square root, with the subgradient 0 at 0."""
    flat = equal(v, 0.0)
    return where(flat, 0.0, sqrt(where(flat, 1.0, v)))


def _like_var(
    name: str, finish: Callable[[Any], Any], p: Primitive | None = None
) -> Callable[..., Any]:
    """Make a function with the signature of np.var; of np.nanvar, without a primitive.

    `finish` makes the result of the variance.
    """

    def composite(
        a: Any,
        axis: Axis = None,
        dtype: Any = None,
        out: Any = None,
        ddof: float = 0,
        keepdims: Any = False,
        *,
        where: Any = True,
        mean: Any = UNSET,
        correction: Any = UNSET,
    ) -> Any:
        ddof = _degrees(ddof, correction)
        if p is not None and dtype is None and mean is UNSET and not _masks(where):
            static = {"ddof": ddof} if ddof else {}
            if axis is not None:
                static["axis"] = axis
            if keepdims and keepdims is not UNSET:
                static["keepdims"] = True
            return p(a, **static)
        a = shaped(a)
        if p is None:
            if mean is not UNSET and np.broadcast_shapes(np.shape(mean), a.shape) != a.shape:
                raise ValueError(
                    f"{name}: a mean of shape {np.shape(mean)} does not broadcast to the array, "
                    f"which has shape {a.shape}"
                )
            where = _numbers_only(a, where)
        if a.dtype.kind == "c":  # whose mean NumPy would take without the imaginary part
            check_dtype(name, dtype, "c")
        x, narrow = _floating(name, a, dtype)
        undefined = math.nan if p is None else 0.0
        y = _variance(x, axis, ddof, keepdims, _selected(where, x), mean, undefined)
        return converted(finish(y), np.empty((), narrow).real.dtype if dtype is None else narrow)

    return composite


implements(np.var)(_like_var("var", lambda v: v, var))
implements(np.std)(_like_var("std", _root, std))
implements(np.nanvar)(_like_var("nanvar", lambda v: v))
implements(np.nanstd)(_like_var("nanstd", _root))
