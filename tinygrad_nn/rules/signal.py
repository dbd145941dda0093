"""Convolution, interpolation, numbers at even distances, polynomials."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_nn.assumption import assume
from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.complex import conj
from tinygrad_nn.rules.elementwise import equal, greater, into, less, where
from tinygrad_nn.rules.indexing import ARRAY, getitem, scatter_add
from tinygrad_nn.rules.shape import arange, converted, moveaxis, shaped

# --- convolution ---------------------------------------------------------------------------------

#: Which part of all n + m - 1 sums each mode keeps, of arrays of lengths n >= m: start and length.
_KEPT: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "full": lambda n, m: (0, n + m - 1),
    "same": lambda n, m: ((m - 1) // 2, n),
    "valid": lambda n, m: (m - 1, n - m + 1),
}


def _convolve_rule(g: Any, a: Any, v: Any, mode: str) -> Any:
    """Return the cotangent of a: ``c[i] = sum_j g[i + j] v[j]``, with g at its place in all."""
    n, m = len(a), len(v)
    start, length = _KEPT[mode](max(n, m), min(n, m))
    if length < n + m - 1:
        kept = (slice(start, start + length),)
        g = scatter_add(g, template=kept, shape=(n + m - 1,))
    return convolve(g, v[::-1], mode="valid")


@primitive(
    rules=[
        lambda g, y, a, v, *, mode="full": _convolve_rule(g, a, v, mode),
        lambda g, y, a, v, *, mode="full": _convolve_rule(g, v, a, mode),
    ],
    domain=(REAL, REAL),
    linear="each",
)
def convolve(a: Any, v: Any, *, mode: Any = "full", out: Any = None) -> Any:
    """Discrete convolution of two vectors: ``y[k] = sum_j a[k - j] v[j]``."""
    return into(np.convolve(a, v, mode), out)


def _no_list(a: Any) -> Any:
    """Return an array for a list; a number stays one, whose type gives way to others'."""
    return np.asarray(a) if isinstance(a, list | tuple) else a


def _vector(a: Any) -> Any:
    a = shaped(a)
    return a if a.ndim else np.reshape(a, (1,))


def _double(a: Any) -> Any:
    """Convert to double precision, real or complex."""
    a = shaped(a)
    return converted(a, complex if a.dtype.kind == "c" else float)


def _check_mode(name: str, mode: Any) -> None:
    if mode not in _KEPT:
        raise ValueError(f"np.{name}: mode must be one of {', '.join(_KEPT)}, got {mode!r}")


@implements(np.convolve)
def _np_convolve(a: Any, v: Any, mode: Any = "full") -> Any:
    _check_mode("convolve", mode)
    return convolve(_vector(a), _vector(v), mode=mode)


@implements(np.correlate)
def _correlate(a: Any, v: Any, mode: Any = "valid") -> Any:
    _check_mode("correlate", mode)
    a, v = _vector(a), conj(_vector(v))
    if len(a) >= len(v):
        return convolve(a, v[::-1], mode=mode)
    # The same sums; but of an even number "same" keeps others if the first array is the shorter.
    return convolve(v, a[::-1], mode=mode)[::-1]


@implements(np.lib.stride_tricks.sliding_window_view)
def _sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    if writeable:
        raise NotDifferentiableError(
            "np.lib.stride_tricks.sliding_window_view(..., writeable=True) is not supported on "
            "tensors, whose elements are not written to: leave it out"
        )
    lengths = (window_shape,) if isinstance(window_shape, int | np.integer) else window_shape
    axes: Sequence[int] = range(x.ndim)
    if axis is not None:
        axes = normalize_axis_tuple(axis, x.ndim, allow_duplicate=True)
    if len(lengths) != len(axes):
        raise ValueError(f"windows of shape {window_shape} need as many axes, got {tuple(axes)}")
    for length, i in zip(lengths, axes, strict=True):
        count = x.shape[i] - length + 1
        if length < 0 or count < 1:
            raise ValueError(f"no window of length {length} fits an axis of length {x.shape[i]}")
        places = arange(count)[:, None] + arange(length)
        windows = getitem(x, places, template=(*(slice(None),) * i, ARRAY))
        x = np.moveaxis(windows, i + 1, -1)
    return x


# --- interpolation -------------------------------------------------------------------------------


@primitive(rules=[None, None])
def interval(x: Any, xp: Any, *, out: Any = None) -> Any:
    """Index of the last of the ascending numbers `xp` that is not above `x`; constant.

    What is below all of them counts as the first; the last number itself belongs to the interval
    that ends there.
    """
    last = len(xp) - 1
    if last and xp[-2] < xp[-1]:
        last -= 1
    return into(np.clip(np.searchsorted(xp, x, side="right") - 1, 0, last), out)


@implements(np.interp)
def _interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: float | None = None
) -> Any:
    x, xp, fp = _double(x), _double(xp), _double(fp)  # as NumPy does
    if xp.ndim != 1 or xp.shape != fp.shape or not len(xp):
        raise ValueError(
            f"np.interp needs as many values fp as points xp, at least one, got shapes {fp.shape} "
            f"and {xp.shape}"
        )
    if period is not None:
        return _interp(*_one_period(x, xp, fp, period))
    below, above = less(x, xp[0]), greater(x, xp[-1])
    # What is outside stays out of the slope, where an infinity would become a nan.
    inner = where(below, xp[0], where(above, xp[-1], x))
    i = interval(inner, xp)
    j = np.minimum(i + 1, len(xp) - 1)
    x0, y0 = getitem(xp, i, template=(ARRAY,)), getitem(fp, i, template=(ARRAY,))
    width = getitem(xp, j, template=(ARRAY,)) - x0
    rise = getitem(fp, j, template=(ARRAY,)) - y0
    y = y0 + rise / where(equal(width, 0.0), 1.0, width) * (inner - x0)
    y = where(below, fp[0] if left is None else left, y)
    return where(above, fp[-1] if right is None else right, y)


def _one_period(x: Any, xp: Any, fp: Any, period: float) -> tuple[Any, Any, Any]:
    """Move all points into one period, in ascending order, and add a neighbour at both ends."""
    if assume(np.any(np.equal(period, 0))):
        raise ValueError("np.interp: period must not be zero")
    period = np.abs(period)
    x, xp = x % period, xp % period
    order = np.argsort(xp)
    xp, fp = xp[order], fp[order]
    xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return x, xp, np.concatenate([fp[-1:], fp, fp[:1]])


# --- numbers at even distances -------------------------------------------------------------------


def _positions(num: Any, start: Any, stop: Any) -> tuple[Any, int, Any]:
    """Return 0 to num - 1 along a new first axis of start and stop, `num`, and their type."""
    num = operator.index(num)
    if num < 0:
        raise ValueError(f"the number of samples must not be negative, got {num}")
    dtype = np.result_type(start, stop, float(num))
    shape = (num,) + (1,) * max(np.ndim(start), np.ndim(stop))
    return np.arange(num).reshape(shape), num, dtype


def _turned(y: Any, axis: Any) -> Any:
    """Move the first axis, along which the numbers were made, to its place."""
    axis = operator.index(axis)
    return moveaxis(y, source=0, destination=axis) if axis else y


@implements(np.linspace)
def _linspace(
    start: Any,
    stop: Any,
    num: Any = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: str | None = None,
) -> Any:
    start, stop = _no_list(start), _no_list(stop)
    k, num, computed = _positions(num, start, stop)
    parts = num - 1 if endpoint else num
    step = (stop - start) * (1.0 / parts) if parts > 0 else np.nan
    # Divided first, so that the last is exactly 1.
    share = (k / max(parts, 1)).astype(computed.type(0).real.dtype)
    y = start + share * (stop - start)
    if endpoint and num > 1:
        y = where(k == num - 1, stop, y)  # exactly, and without a gradient to start
    y = _turned(y, axis)
    if dtype is not None:
        y = np.floor(y) if np.issubdtype(dtype, np.integer) else y
        computed = np.dtype(dtype)
    y = y if y.dtype == computed else y.astype(computed)
    return (y, step) if retstep else y


@implements(np.logspace)
def _logspace(
    start: Any,
    stop: Any,
    num: Any = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    if np.ndim(base):
        ndim = max(map(np.ndim, (start, stop, base)))
        start, stop, base = (_with_axes(a, ndim) for a in (start, stop, base))
        base = np.expand_dims(base, axis)
    y = np.power(base, _linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None or y.dtype == np.dtype(dtype) else y.astype(dtype)


def _with_axes(a: Any, ndim: int) -> Any:
    a = shaped(a)
    return np.reshape(a, (1,) * (ndim - a.ndim) + a.shape)


@implements(np.geomspace)
def _geomspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    if assume(np.any(np.equal(start, 0))) or assume(np.any(np.equal(stop, 0))):
        raise ValueError("Geometric sequence cannot include zero")
    start, stop = _double(start), _double(stop)  # as NumPy does
    k, num, computed = _positions(num, start, stop)
    # Numbers are divided by the direction of the first, so that negative ones have logarithms.
    way = start if computed.kind == "c" else np.sign(start)
    low = np.log(start / way)
    y = start * np.exp(_linspace(low * 0.0, np.log(stop / way) - low, num, endpoint))
    if endpoint and num > 1:
        y = where(k == num - 1, stop, y)
    y = _turned(y, axis)
    computed = computed if dtype is None else np.dtype(dtype)
    return y if y.dtype == computed else y.astype(computed)


# --- polynomials, coefficients from the highest power down ----------------------------------------


def _coefficients(p: Any) -> Any:
    return _vector(p.coeffs if isinstance(p, np.poly1d) else p)


@implements(np.polyval)
def _polyval(p: Any, x: Any) -> Any:
    """Evaluate by Horner's rule."""
    if isinstance(x, np.poly1d):
        raise NotDifferentiableError(
            "np.polyval of a polynomial in a polynomial is not supported on tensors: evaluate at "
            "numbers, or multiply coefficients with np.polymul"
        )
    p, x = shaped(p.coeffs if isinstance(p, np.poly1d) else p), shaped(x)
    y = np.zeros_like(x)
    for k in range(len(p)):
        y = y * x + p[k]
    return y


def _sum_of(a: Any, b: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Combine polynomials, with zeros before the shorter one's coefficients."""
    a, b = _coefficients(a), _coefficients(b)
    n = max(len(a), len(b))
    longer = (
        p if len(p) == n else np.concatenate([np.zeros(n - len(p), p.dtype), p]) for p in (a, b)
    )
    return combine(*longer)


@implements(np.polyadd)
def _polyadd(a1: Any, a2: Any) -> Any:
    return _sum_of(a1, a2, operator.add)


@implements(np.polysub)
def _polysub(a1: Any, a2: Any) -> Any:
    return _sum_of(a1, a2, operator.sub)


@implements(np.polymul)
def _polymul(a1: Any, a2: Any) -> Any:
    # No coefficients at all make the polynomial 0.
    a, b = (p if len(p) else np.zeros(1, p.dtype) for p in map(_coefficients, (a1, a2)))
    if any(len(p) > 1 and not assume(np.not_equal(p[0], 0.0)) for p in (a, b)):
        raise NotDifferentiableError(
            "np.polymul of tensors: a leading coefficient is zero, which NumPy would drop, and its "
            "gradient with it. Use np.convolve(a, b), which keeps it"
        )
    return convolve(a, b)


@implements(np.polyder)
def _polyder(p: Any, m: Any = 1) -> Any:
    m = operator.index(m)
    if m < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    p = _coefficients(p)
    for _ in range(m):
        p = p[:-1] * np.arange(len(p) - 1, 0, -1)
    return p


@implements(np.polyint)
def _polyint(p: Any, m: Any = 1, k: Any = None) -> Any:
    m = operator.index(m)
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    p = _coefficients(p)
    constants = np.zeros(m) if k is None else _vector(k)
    if len(constants) == 1 and m > 1:
        constants = np.broadcast_to(constants, (m,))
    if len(constants) < m:
        raise ValueError("k must be a scalar or a rank-1 array of length 1 or >m.")
    for i in range(m):
        p = np.concatenate([p / np.arange(len(p), 0, -1), constants[i : i + 1]])
    return p


@implements(np.vander)
def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803  # NumPy's name
    if x.ndim != 1:
        raise ValueError("x must be a one-dimensional array or sequence.")
    dtype = np.promote_types(x.dtype, int)
    x = x if x.dtype == dtype else x.astype(dtype)
    powers = np.arange(len(x) if N is None else N)
    return np.reshape(x, (-1, 1)) ** (powers if increasing else powers[::-1])


# --- functions along axes ------------------------------------------------------------------------


@implements(np.apply_along_axis)
def _apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    """Stack what the function gives of each vector: it is called with tensors."""
    axis = normalize_axis_index(axis, arr.ndim)
    vectors = np.moveaxis(arr, axis, -1)
    *lead, n = vectors.shape
    if 0 in lead:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    rows = np.reshape(vectors, (math.prod(lead), n))
    results = [func1d(row, *args, **kwargs) for row in rows]
    each = np.shape(results[0])
    y = np.reshape(np.stack(results), (*lead, *each))
    places = range(len(each))
    return np.moveaxis(y, [len(lead) + i for i in places], [axis + i for i in places])


@implements(np.apply_over_axes)
def _apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    for axis in np.atleast_1d(axes).tolist():
        axis = normalize_axis_index(axis, a.ndim)
        y = func(a, axis)
        y = np.expand_dims(y, axis) if y.ndim == a.ndim - 1 else y
        if y.ndim != a.ndim:
            raise ValueError(
                "function is not returning an array of the correct shape: "
                f"expected {a.ndim} axes, or one less, got {y.ndim}"
            )
        a = y
    return a
