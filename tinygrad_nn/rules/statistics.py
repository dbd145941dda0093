"""Averages, order statistics, covariances and counts, and their relatives that pass over nan."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_nn.assumption import assume
from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.graph import Node
from tinygrad_nn.primitive import implements
from tinygrad_nn.rules.complex import conj
from tinygrad_nn.rules.elementwise import (
    ceil,
    clip,
    floor,
    isnan,
    keep,
    logical_not,
    rint,
    where,
)
from tinygrad_nn.rules.indexing import ARRAY, getitem, scatter_add, take_along_axis
from tinygrad_nn.rules.joining import concatenate
from tinygrad_nn.rules.linalg import matmul
from tinygrad_nn.rules.reduction import Axis, mean, sum_
from tinygrad_nn.rules.sequence import argsort, ranked
from tinygrad_nn.rules.shape import (
    astype,
    broadcast_to,
    check_dtype,
    converted,
    inexact,
    moveaxis,
    reshape,
    shaped,
    transpose,
)


def _raw(x: Any) -> Any:
    """Return the numbers of what serves as a constant."""
    return x._seen() if isinstance(x, Node) else x


def _constant(x: Any, what: str) -> Any:
    if getattr(x, "requires_grad", False):
        raise NotDifferentiableError(
            f"{what} is taken for a constant, and requires a gradient here. Give plain numbers, or "
            f"`.detach()` it where no gradient is needed"
        )
    return _raw(x)


# --- averages ------------------------------------------------------------------------------------


@implements(np.average)
def _np_average(
    a: Any,
    axis: Axis = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: Any = False,
) -> Any:
    a = shaped(a)
    axis = axis if axis is None else normalize_axis_tuple(axis, a.ndim)
    keepdims = bool(keepdims) and keepdims is not np._NoValue
    if weights is None:
        y = mean(a, axis=axis, keepdims=keepdims)
        total: Any = np.asarray(a.size / max(math.prod(y.shape), 1), y.dtype)
    else:
        weights = shaped(weights)
        if weights.shape != a.shape:
            weights = _laid_out(weights, a, axis)
        exact = a.dtype.kind in "iub"
        dtype = np.result_type(a.dtype, weights.dtype, *(("f8",) if exact else ()))
        weights = converted(weights, dtype)
        total = sum_(weights, axis=axis, keepdims=keepdims)
        if assume(np.any(_raw(total) == 0)):
            raise ZeroDivisionError("the weights sum to zero, so that they cannot be normalised")
        y = sum_(converted(a, dtype) * weights, axis=axis, keepdims=keepdims) / total
    return (y, broadcast_to(total, shape=y.shape)) if returned else y


def _laid_out(weights: Any, a: Any, axes: tuple[int, ...] | None) -> Any:
    """Give weights of the reduced axes alone the shape of the whole array."""
    if axes is None:
        raise TypeError(
            f"average: weights of shape {weights.shape} for an array of shape {a.shape} need an "
            f"axis"
        )
    expected = tuple(a.shape[i] for i in axes)
    if weights.shape != expected:
        raise ValueError(
            f"average: weights along axes {axes} must have shape {expected}, got {weights.shape}"
        )
    order = sorted(range(len(axes)), key=axes.__getitem__)
    lengths = [n if i in axes else 1 for i, n in enumerate(a.shape)]
    weights = reshape(transpose(weights, axes=tuple(order)), shape=tuple(lengths))
    return broadcast_to(weights, shape=a.shape)


# --- order statistics ----------------------------------------------------------------------------


def _hyndman_fan(alpha: float, beta: float) -> Callable[[Any, Any], Any]:
    return lambda n, q: n * q + (alpha + q * (1.0 - alpha - beta)) - 1.0


#: The place of a quantile among n sorted numbers, counted from 0: between two numbers, their line.
#: R. J. Hyndman and Y. Fan, Amer. Statist. 50 (1996), 361-365, doi:10.1080/00031305.1996.10473566.
_METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "inverted_cdf": lambda n, q: ceil(n * q - 1.0),
    "averaged_inverted_cdf": lambda n, q: 0.5 * (floor(n * q) + ceil(n * q)) - 0.5,
    "closest_observation": lambda n, q: rint(n * q) - 1.0,  # halves to even
    "interpolated_inverted_cdf": _hyndman_fan(0.0, 1.0),
    "hazen": _hyndman_fan(0.5, 0.5),
    "weibull": _hyndman_fan(0.0, 0.0),
    "linear": lambda n, q: (n - 1.0) * q,
    "median_unbiased": _hyndman_fan(1.0 / 3.0, 1.0 / 3.0),
    "normal_unbiased": _hyndman_fan(3.0 / 8.0, 3.0 / 8.0),
    "lower": lambda n, q: floor((n - 1.0) * q),
    "higher": lambda n, q: ceil((n - 1.0) * q),
    "midpoint": lambda n, q: 0.5 * (floor((n - 1.0) * q) + ceil((n - 1.0) * q)),
    "nearest": lambda n, q: rint((n - 1.0) * q),
}

#: Methods that take one number as it is.
_STEPS = frozenset({"inverted_cdf", "closest_observation", "lower", "higher", "nearest"})


def _rows(x: Any, axis: Axis) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    """Return `x` with the reduced axes as one, the last; and shapes without and with keepdims."""
    axes = range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim)
    others = [i for i in range(x.ndim) if i not in axes]
    shape = tuple(x.shape[i] for i in others)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    if len(others) + 1 != x.ndim or others != list(range(x.ndim - 1)):
        x = transpose(x, axes=(*others, *axes)) if x.ndim > 1 else x
        x = reshape(x, shape=(*shape, math.prod(x.shape[len(others) :])))
    return x, shape, kept


def _quantile(
    name: str,
    a: Any,
    q: Any,
    axis: Axis,
    keepdims: Any,
    method: str = "linear",
    *,
    weights: Any = None,
    skip_nan: bool = False,
    scale: float = 1.0,
) -> Any:
    """Take quantiles: order statistics, or points on the line between two of them.

    The gradient goes to the elements that were picked; with a nan in the row (that is not
    skipped), the result is that nan.
    """
    if weights is not None:
        raise NotDifferentiableError(
            f"np.{name}(..., weights=...) is not supported on tensors: leave `weights` out, or "
            f"compute on `t.data` where no gradient is needed"
        )
    if method not in _METHODS:
        raise ValueError(f"{name}: method must be one of {', '.join(_METHODS)}, got {method!r}")
    a = shaped(a)
    if a.dtype.kind == "c" and name not in ("median", "nanmedian"):
        raise TypeError(f"{name} needs real numbers, got an array of dtype {a.dtype}")
    a = a if method in _STEPS else inexact(a)
    weak = isinstance(q, int | float)
    levels = np.asarray(_constant(q, f"`q` of np.{name}"), float) / scale
    if not np.all((levels >= 0.0) & (levels <= 1.0)):
        raise ValueError(f"{name}: levels must be in [0, {scale:g}], got {q!r}")
    x, shape, kept = _rows(a, axis)
    if not x.shape[-1]:
        nothing = mean(x, axis=-1)  # nan, with NumPy's warning
        y = broadcast_to(nothing, shape=(*levels.shape, *shape))
    elif skip_nan and x.dtype.kind in "fc":
        y = _picked_by_row(x, levels, method, weak)
    else:
        y = _picked(x, levels, method, weak)
    if keepdims and keepdims is not np._NoValue:
        y = reshape(y, shape=(*levels.shape, *kept))
    return y


def _picked(x: Any, levels: Any, method: str, weak: bool) -> Any:
    """Return the quantiles of each row, the axes of `levels` in front.

    A level that is a plain number (`weak`) does not widen the result.
    """
    n = x.shape[-1]
    place = np.clip(_METHODS[method](float(n), levels), 0.0, n - 1.0)
    below = np.floor(place)
    can_be_nan = x.dtype.kind in "fc"
    needed = {*below.astype(int).flat, *np.ceil(place).astype(int).flat}
    ranks = sorted(needed | {n - 1} if can_be_nan else needed)  # nan is sorted to the end
    found = take_along_axis(x, ranked(x, ranks=ranks), axis=-1)

    def at(place: Any) -> Any:
        which = np.searchsorted(ranks, place)
        if which.ndim == 0:
            return getitem(found, template=(Ellipsis, int(which)))
        axes = tuple(range(-which.ndim, 0))
        y = getitem(found, which, template=(Ellipsis, ARRAY))
        return moveaxis(y, source=axes, destination=tuple(range(which.ndim)))

    y = at(below)
    if method not in _STEPS and np.any(place != below):
        part = np.reshape(place - below, place.shape + (1,) * (x.ndim - 1))
        y = y + (at(np.ceil(place)) - y) * (part.item() if weak else part)
    elif method not in _STEPS and not weak:
        y = converted(y, np.result_type(y.dtype, place.dtype))
    if not can_be_nan:
        return y
    last = at(np.asarray(n - 1))
    return where(isnan(last), last, y)


def _picked_by_row(x: Any, levels: Any, method: str, weak: bool) -> Any:
    """Do the same where nan is passed over, and each row has a length of its own."""
    count = astype(sum_(logical_not(isnan(x)), axis=-1), dtype=np.dtype(float))
    column = reshape(levels, shape=levels.shape + (1,) * (x.ndim - 1))
    # Of nothing but nan, the first is as good as any.
    place = clip(_METHODS[method](count, column), 0.0, clip(count - 1.0, 0.0, math.inf))
    flat = reshape(place, shape=(levels.size, *x.shape[:-1]))
    order = argsort(x, axis=-1)

    def at(place: Any) -> Any:
        rank = moveaxis(astype(place, dtype=np.dtype(np.intp)), source=0, destination=-1)
        y = take_along_axis(x, take_along_axis(order, rank, axis=-1), axis=-1)
        return moveaxis(y, source=-1, destination=0)

    below = floor(flat)
    y = at(below)
    if method not in _STEPS:
        part = flat - below
        y = y + (at(ceil(flat)) - y) * (astype(part, dtype=x.real.dtype) if weak else part)
    return reshape(y, shape=(*levels.shape, *x.shape[:-1]))


def _like_median(name: str, skip_nan: bool) -> Callable[..., Any]:
    def composite(
        a: Any,
        axis: Axis = None,
        out: Any = None,
        overwrite_input: bool = False,
        keepdims: Any = False,
    ) -> Any:
        # `overwrite_input` is a permission, of which no use is made.
        return _quantile(name, a, 0.5, axis, keepdims, skip_nan=skip_nan)

    return composite


def _like_quantile(name: str, skip_nan: bool, scale: float) -> Callable[..., Any]:
    def composite(
        a: Any,
        q: Any,
        axis: Axis = None,
        out: Any = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: Any = False,
        *,
        weights: Any = None,
    ) -> Any:
        return _quantile(
            name, a, q, axis, keepdims, method, weights=weights, skip_nan=skip_nan, scale=scale
        )

    return composite


implements(np.median)(_like_median("median", skip_nan=False))
implements(np.nanmedian)(_like_median("nanmedian", skip_nan=True))
implements(np.quantile)(_like_quantile("quantile", skip_nan=False, scale=1.0))
implements(np.nanquantile)(_like_quantile("nanquantile", skip_nan=True, scale=1.0))
implements(np.percentile)(_like_quantile("percentile", skip_nan=False, scale=100.0))
implements(np.nanpercentile)(_like_quantile("nanpercentile", skip_nan=True, scale=100.0))


# --- covariance ----------------------------------------------------------------------------------


def _frequencies(weights: Any, n: int, name: str) -> Any:
    weights = shaped(weights)
    if weights.shape != (n,):
        raise ValueError(f"cov: {name} must have shape ({n},), got {weights.shape}")
    if assume(np.any(_raw(weights) < 0)):
        raise ValueError(f"cov: {name} must not be negative")
    if name == "fweights" and weights.dtype.kind == "f":
        raise TypeError("cov: fweights count observations, and must be integers")
    return converted(weights, float)


@implements(np.cov)
def _np_cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    if ddof is not None and ddof != int(ddof):
        raise ValueError(f"cov: ddof must be an integer, got {ddof!r}")
    given = [shaped(part) for part in (m, y) if part is not None]
    if any(part.ndim > 2 for part in given):
        raise ValueError("cov needs arrays of at most two axes")
    check_dtype("cov", dtype, "fc")
    if dtype is None:
        dtype = np.result_type(float, *(part.dtype for part in given))
    x = concatenate(*(_variables(converted(part, dtype), rowvar) for part in given))
    n = x.shape[1]
    if not x.shape[0]:
        return converted(reshape(x, shape=(0, 0)), float)
    if ddof is None:
        ddof = 0 if bias else 1
    weights, freedom = _observations(n, ddof, fweights, aweights)
    if assume(_raw(freedom) <= 0):
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=4)
        freedom = 0.0
    if weights is None:
        centred = weighted = x - mean(x, axis=1, keepdims=True)
    else:
        # In double precision, as NumPy's weights are, whatever the dtype asked for.
        centre = sum_(x * weights, axis=1, keepdims=True) / sum_(weights)
        centred = converted(x - centre, x.dtype)
        weighted = centred * weights
    return np.squeeze(matmul(centred, transpose(conj(weighted))) / freedom)


def _observations(n: int, ddof: int, fweights: Any, aweights: Any) -> tuple[Any, Any]:
    """Return the weights of n observations, None if they are equal; and the degrees of freedom."""
    weights: Any = None
    freedom: Any = float(n - ddof)
    if fweights is not None:
        weights = _frequencies(fweights, n, "fweights")
        freedom = sum_(weights) - float(ddof)
    if aweights is not None:
        reliability = _frequencies(aweights, n, "aweights")
        weights = reliability if weights is None else weights * reliability
        total = sum_(weights)
        freedom = total - (sum_(weights * reliability) * float(ddof) / total if ddof else 0.0)
    return weights, freedom


def _variables(x: Any, rowvar: bool) -> Any:
    """Lay the variables out in rows."""
    if x.ndim < 2:
        return reshape(x, shape=(1, -1))
    return x if rowvar else transpose(x)


@implements(np.corrcoef)
def _np_corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    c = _np_cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    spread = np.sqrt(np.real(np.diagonal(c)))
    c = c / reshape(spread, shape=(-1, 1)) / spread
    if c.dtype.kind == "c":
        return np.clip(np.real(c), -1.0, 1.0) + 1j * np.clip(np.imag(c), -1.0, 1.0)
    return np.clip(c, -1.0, 1.0)


# --- counts --------------------------------------------------------------------------------------


def _counted(positions: Any, weights: Any, length: int) -> Any:
    return scatter_add(weights, positions, template=(ARRAY,), shape=(length,))


@implements(np.bincount)
def _np_bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    positions = np.asarray(_constant(x, "`x` of np.bincount"))
    if weights is None:
        return np.bincount(positions, minlength=minlength)
    length = len(np.bincount(positions, minlength=minlength))
    weights = converted(weights, float)
    if weights.shape != positions.shape:
        raise ValueError(
            f"bincount: weights must have the shape {positions.shape} of x, got {weights.shape}"
        )
    return _counted(positions, weights, length)


@implements(np.histogram)
def _np_histogram(
    a: Any,
    bins: int | str | Sequence[Any] = 10,
    range: Any = None,
    density: bool | None = None,
    weights: Any = None,
) -> Any:
    """Count what falls into each bin: constant in `a`, linear in the weights."""
    bins = _constant(bins, "`bins` of np.histogram")
    ends_of_a = range is None and np.ndim(bins) == 0  # then the edges of the bins depend on it
    a = shaped(_constant(a, "`a` of np.histogram without `range`") if ends_of_a else _raw(a))
    if weights is None:
        if not hasattr(a, "__primitive__"):
            return np.histogram(a, bins, range, density)
        weights = np.ones(a.shape, int)
    weights = shaped(weights)
    if weights.shape != a.shape:
        raise ValueError(f"histogram: weights must have shape {a.shape}, got {weights.shape}")
    a, weights = reshape(a, shape=-1), reshape(weights, shape=-1)
    # The numbers themselves are asked for only if the edges depend on them.
    asked = ends_of_a or isinstance(bins, str)
    edges = np.histogram_bin_edges(np.asarray(a) if asked else np.zeros(0, a.dtype), bins, range)
    n = len(edges) - 1
    positions = np.where(a == edges[-1], n - 1, np.searchsorted(edges, a, side="right") - 1)
    inside = (positions >= 0) & (positions < n)
    heights = _counted(np.where(inside, positions, 0), keep(inside, weights), n)
    if density:
        heights = heights / np.diff(edges) / sum_(heights)
    return heights, edges
