"""Sorting, running sums and products, differences, and what is read off a sorted array.

Running products, and with them products, are differentiated without a division: their rules are
linear recurrences, whose rules are linear recurrences again. So a zero among the factors is as
good as any other number, to every order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.primitive import REAL, Primitive, implements, primitive
from tinygrad_nn.rules.elementwise import (
    below,
    equal,
    exp,
    into,
    isnan,
    logaddexp,
    not_equal,
    where,
)
from tinygrad_nn.rules.indexing import (
    ARRAY,
    getitem,
    put_along_zeros,
    scatter_add,
    take_along_axis,
)
from tinygrad_nn.rules.joining import concatenate, section
from tinygrad_nn.rules.shape import (
    as_floats,
    as_kept,
    broadcast_to,
    check_dtype,
    converted,
    in_line,
    inexact,
    ravel,
    reshape,
    shaped,
)

# --- helpers -------------------------------------------------------------------------------------


def without_nan(x: Any, fill: int) -> Any:
    """Return `x` with a constant in place of every nan."""
    x = shaped(x)
    return where(isnan(x), fill, x) if x.dtype.kind in "fc" else x


def delayed(x: Any, *, axis: Any, fill: float, reverse: bool = False) -> Any:
    """Move the elements one place on along `axis` (back, if `reverse`); `fill` takes the first."""
    if not x.shape[axis]:
        return x
    kept = section(x, axis, 1, None) if reverse else section(x, axis, None, -1)
    lengths = list(x.shape)
    lengths[axis] = 1
    first = np.full(lengths, fill, x.dtype)
    return concatenate(*((kept, first) if reverse else (first, kept)), axis=axis)


def _directed(x: Any, axis: int, reverse: bool) -> Any:
    return np.flip(x, axis) if reverse else x


# --- running sums and products -------------------------------------------------------------------


def _accumulated(function: np.ufunc, x: Any, axis: int, reverse: bool, out: Any) -> Any:
    y = function.accumulate(_directed(np.asarray(x), axis, reverse), axis=axis)
    return into(_directed(y, axis, reverse), out)


def _cumsum_rule(g: Any, y: Any, x: Any, *, axis: int, reverse: bool = False) -> Any:
    return cumsum(g, axis=axis, reverse=not reverse)


@primitive(rules=[_cumsum_rule], linear="all", domain=(REAL,))
def cumsum(x: Any, *, axis: int, reverse: bool = False, out: Any = None) -> Any:
    """Take the running sum along `axis`, from its end if `reverse`."""
    return _accumulated(np.add, x, axis, reverse, out)


#: Up to so many recurrences are quicker one by one in Python's floats than all at once in NumPy.
_FEW = 16


def _recurrence_a(g: Any, y: Any, a: Any, b: Any, *, axis: int = -1, reverse: bool = False) -> Any:
    before = delayed(y, axis=axis, fill=0.0, reverse=reverse)
    return _recurrence_b(g, y, a, b, axis=axis, reverse=reverse) * before


def _recurrence_b(g: Any, y: Any, a: Any, b: Any, *, axis: int = -1, reverse: bool = False) -> Any:
    after = delayed(a, axis=axis, fill=0.0, reverse=not reverse)
    return recurrence(after, g, axis=axis, reverse=not reverse)


@primitive(rules=[_recurrence_a, _recurrence_b], domain=(REAL, REAL))
def recurrence(a: Any, b: Any, *, axis: int = -1, reverse: bool = False, out: Any = None) -> Any:
    """Linear recurrence ``y[i] = a[i] y[i-1] + b[i]`` along `axis`; y[0] is b[0].

    Its transpose in `b` is the recurrence that runs the other way, with the same factors.
    """
    a, b = (_directed(np.moveaxis(np.asarray(x), axis, 0), 0, reverse) for x in (a, b))
    y = np.empty(b.shape, np.result_type(a, b))
    n = len(y)
    if n and y.size <= _FEW * n and y.dtype.char in "fdFD":
        columns = zip(a.reshape(n, -1).T.tolist(), b.reshape(n, -1).T.tolist(), strict=True)
        y[...] = np.transpose([_recur(*pair) for pair in columns]).reshape(y.shape)
    elif y.size:
        y[0] = b[0]
        for i in range(1, n):
            y[i] = a[i] * y[i - 1] + b[i]
    return into(np.moveaxis(_directed(y, 0, reverse), 0, axis), out)


def _recur(a: list[Any], b: list[Any]) -> list[Any]:
    total = b[0]
    found = [total]
    for i in range(1, len(b)):
        total = a[i] * total + b[i]
        found.append(total)
    return found


def _cumprod_rule(g: Any, y: Any, x: Any, *, axis: int, reverse: bool = False) -> Any:
    # What stands before an element, times the sum over all that ends at or after it.
    after = delayed(x, axis=axis, fill=0.0, reverse=not reverse)
    ahead = recurrence(after, g, axis=axis, reverse=not reverse)
    return ahead * delayed(y, axis=axis, fill=1.0, reverse=reverse)


@primitive(rules=[_cumprod_rule], domain=(REAL,))
def cumprod(x: Any, *, axis: int, reverse: bool = False, out: Any = None) -> Any:
    """Take the running product along `axis`, from its end if `reverse`; zeros are no exception."""
    return _accumulated(np.multiply, x, axis, reverse, out)


@primitive(rules=[None])
def running_argmax(x: Any, *, axis: int, largest: bool = True, out: Any = None) -> Any:
    """Position of the last element so far that attains the running maximum (minimum); constant."""
    x = np.moveaxis(np.asarray(x), axis, 0)
    y = (np.maximum if largest else np.minimum).accumulate(x, axis=0)
    attained = np.equal(x, y) | np.isnan(x)
    positions = np.where(attained, np.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1)), 0)
    return into(np.moveaxis(np.maximum.accumulate(positions, axis=0), 0, axis), out)


def _running_rule(largest: bool) -> Callable[..., Any]:
    def rule(g: Any, y: Any, x: Any, *, axis: int) -> Any:
        at = running_argmax(x, axis=axis, largest=largest)
        return put_along_zeros(g, at, axis=axis, length=x.shape[axis])

    return rule


@primitive(rules=[_running_rule(largest=True)], domain=(REAL,))
def cummax(x: Any, *, axis: int, out: Any = None) -> Any:
    """Take the running maximum; the gradient goes to the last element so far that attains it."""
    return into(np.maximum.accumulate(x, axis=axis), out)


@primitive(rules=[_running_rule(largest=False)], domain=(REAL,))
def cummin(x: Any, *, axis: int, out: Any = None) -> Any:
    """Take the running minimum; the gradient goes to the last element so far that attains it."""
    return into(np.minimum.accumulate(x, axis=axis), out)


def _logcumsumexp_rule(g: Any, y: Any, x: Any, *, axis: int) -> Any:
    """Return ``exp(x_j - y_j) c_j``, with ``c_j = g_j + exp(y_j - y_j+1) c_j+1``: no exp overflows.

    What is -inf gets no gradient.
    """
    nothing = equal(y, -np.inf)
    level = where(nothing, 0.0, y)
    following = delayed(level, axis=axis, fill=math.inf, reverse=True)
    factors = where(nothing, 0.0, exp(below(level, following)))
    c = recurrence(factors, g, axis=axis, reverse=True)
    return where(nothing, 0.0, exp(below(where(nothing, 0.0, x), level)) * c)


@primitive(rules=[_logcumsumexp_rule], domain=(REAL,))
def logcumsumexp(x: Any, *, axis: int, out: Any = None) -> Any:
    """Take the running logarithm of the sum of exponentials along `axis`."""
    x = np.asarray(x)
    if x.dtype.kind != "c":
        return into(np.logaddexp.accumulate(x, axis=axis), out)
    rows = list(accumulate(np.moveaxis(x, axis, 0), logaddexp.forward))
    return into(np.stack(rows, axis=axis) if rows else x, out)


def _running(target: Primitive) -> Callable[..., Any]:
    """Make a function with the signature of np.cumsum."""

    def composite(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        x, axis = in_line(converted(a, dtype), axis)
        return converted(target(x, axis=axis), dtype)

    return composite


def _accumulating(function: np.ufunc, target: Primitive, kinds: str = "") -> Callable[..., Any]:
    """Implement the method `accumulate` of a ufunc, which knows one axis; and `kinds` of dtypes."""

    @implements(function.accumulate)
    def composite(array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        if kinds:
            check_dtype(f"{function.__name__}.accumulate", dtype, kinds)
        x = converted(array, dtype)
        axes = range(x.ndim) if axis is None else normalize_axis_tuple(axis, max(x.ndim, 1))
        if not x.ndim:
            raise TypeError(f"{function.__name__}.accumulate needs an axis, got a number")
        if len(axes) != 1:
            raise ValueError(f"{function.__name__}.accumulate goes along one axis, got {axis!r}")
        return converted(target(x, axis=axes[0]), dtype)

    return composite


_np_cumsum = implements(np.cumsum)(_running(cumsum))
_np_cumprod = implements(np.cumprod)(_running(cumprod))
_accumulating(np.add, cumsum)
_accumulating(np.multiply, cumprod)
_accumulating(np.maximum, cummax)
_accumulating(np.minimum, cummin)
_logaddexp_accumulate = _accumulating(np.logaddexp, logcumsumexp, kinds="f")


@implements(np.logaddexp2.accumulate)
def _np_logaddexp2_accumulate(array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
    check_dtype("logaddexp2.accumulate", dtype, "f")
    x = as_floats(np.logaddexp2, converted(array, dtype))
    return _logaddexp_accumulate(x * math.log(2.0), axis) * (1.0 / math.log(2.0))


@implements(np.nancumsum)
def _np_nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    return _np_cumsum(without_nan(a, 0), axis, dtype)


@implements(np.nancumprod)
def _np_nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    return _np_cumprod(without_nan(a, 1), axis, dtype)


def _cumulative(name: str, target: Primitive, identity: int) -> Callable[..., Any]:
    """Make a function with the signature of np.cumulative_sum."""

    def composite(
        x: Any,
        /,
        *,
        axis: int | None = None,
        dtype: Any = None,
        out: Any = None,
        include_initial: bool = False,
    ) -> Any:
        x = converted(x, dtype)
        x = ravel(x) if x.ndim == 0 else x
        if axis is None:
            if x.ndim != 1:
                raise ValueError(f"{name} of an array with {x.ndim} axes needs an axis")
            axis = 0
        y = converted(target(x, axis=axis), dtype)
        if not include_initial:
            return y
        lengths = list(y.shape)
        lengths[axis] = 1
        return concatenate(np.full(lengths, identity, y.dtype), y, axis=axis)

    return composite


if hasattr(np, "cumulative_sum"):  # NumPy 2.1
    implements(np.cumulative_sum)(_cumulative("cumulative_sum", cumsum, 0))
    implements(np.cumulative_prod)(_cumulative("cumulative_prod", cumprod, 1))


# --- sums of sections ----------------------------------------------------------------------------


def _reduceat_rule(g: Any, y: Any, x: Any, *, indices: Sequence[int], axis: int = 0) -> Any:
    n = x.shape[axis]
    stops = [*indices[1:], n]
    lengths = [max(stop - i, 1) for i, stop in zip(indices, stops, strict=True)]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    member = np.concatenate(
        [np.arange(i, i + k) for i, k in zip(indices, lengths, strict=True)] or [owner]
    )
    template = (*(slice(None),) * (axis % x.ndim), ARRAY)
    g = getitem(g, owner, template=template)
    if np.array_equal(member, np.arange(n)):  # sections side by side
        return g
    return scatter_add(g, member, template=template, shape=x.shape)


@primitive(rules=[_reduceat_rule], domain=(REAL,), linear="all")
def add_reduceat(x: Any, *, indices: Sequence[int], axis: int = 0, out: Any = None) -> Any:
    """Sum over the sections of `axis` that start at `indices`, as np.add.reduceat has them."""
    return into(np.add.reduceat(x, indices, axis=axis), out)


@implements(np.add.reduceat)
def _np_add_reduceat(
    array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None
) -> Any:
    positions = tuple(int(i) for i in indices)
    return converted(add_reduceat(converted(array, dtype), indices=positions, axis=axis), dtype)


# --- differences ---------------------------------------------------------------------------------


@implements(np.diff)
def _np_diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue
) -> Any:
    if n < 0:
        raise ValueError(f"diff: the order must not be negative, got {n}")
    if n == 0:
        return a
    a = shaped(a)
    if a.ndim == 0:
        raise ValueError("diff needs at least one axis, got a number")
    lengths = list(a.shape)
    lengths[axis] = 1

    def edge(x: Any) -> list[Any]:
        if x is np._NoValue:
            return []
        x = shaped(x)
        return [broadcast_to(x, shape=tuple(lengths)) if x.ndim == 0 else x]

    pieces = [*edge(prepend), a, *edge(append)]
    a = concatenate(*pieces, axis=axis) if len(pieces) > 1 else a
    for _ in range(n):
        later, earlier = section(a, axis, 1, None), section(a, axis, None, -1)
        a = not_equal(later, earlier) if a.dtype == bool else later - earlier
    return a


@implements(np.ediff1d)
def _np_ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    a = ravel(shaped(ary))
    steps = section(a, 0, 1, None) - section(a, 0, None, -1)
    pieces = [
        piece if piece is steps else as_kept(ravel(shaped(piece)), a.dtype, "ediff1d")
        for piece in (to_begin, steps, to_end)
        if piece is not None
    ]
    return concatenate(*pieces) if len(pieces) > 1 else steps


def _laid_along(x: Any, ndim: int, axis: int) -> Any:
    """Lay a vector along one of `ndim` axes."""
    return reshape(x, shape=tuple(-1 if i == axis else 1 for i in range(ndim)))


def _spacings(varargs: Sequence[Any], shape: tuple[int, ...], axes: Sequence[int]) -> list[Any]:
    """Return for each axis the distance of neighbours: one number, or one for each pair."""
    if not varargs:
        return [1.0] * len(axes)
    if len(varargs) == 1 and np.ndim(varargs[0]) == 0:
        return [varargs[0]] * len(axes)
    if len(varargs) != len(axes):
        raise TypeError(
            f"gradient takes no spacing, one for all axes, or one for each of {len(axes)}; got "
            f"{len(varargs)}"
        )
    found = []
    for given, axis in zip(varargs, axes, strict=True):
        if np.ndim(given) == 0:
            found.append(given)
            continue
        if np.shape(given) != (shape[axis],):
            raise ValueError(
                f"gradient: coordinates along axis {axis} must be a vector of length "
                f"{shape[axis]}, got shape {np.shape(given)}"
            )
        found.append(_laid_along(_np_diff(inexact(given)), len(shape), axis))
    return found


def _derivative(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    """Differentiate along `axis`: the derivative of the parabola (or line) through neighbours.

    B. Fornberg, Math. Comp. 51 (1988), 699-706, doi:10.1090/S0025-5718-1988-0935077-0.
    """
    even = np.ndim(h) == 0

    def at(start: int, stop: int | None) -> Any:
        return section(f, axis, start, stop)

    def step(start: int, stop: int | None) -> Any:
        return h if even else section(h, axis, start, stop)

    if even:
        inside = (at(2, None) - at(0, -2)) / (2.0 * h)
    else:
        p, q = step(0, -1), step(1, None)
        inside = (
            at(0, -2) * (-q / (p * (p + q)))
            + at(1, -1) * ((q - p) / (p * q))
            + at(2, None) * (p / (q * (p + q)))
        )
    if edge_order == 1:
        first = (at(1, 2) - at(0, 1)) / step(0, 1)
        last = (at(-1, None) - at(-2, -1)) / step(-1, None)
    else:
        p, q = step(0, 1), step(1, 2)
        first = (
            at(1, 2) * ((p + q) / (p * q))
            - at(0, 1) * ((2.0 * p + q) / (p * (p + q)))
            - at(2, 3) * (p / (q * (p + q)))
        )
        p, q = step(-2, -1), step(-1, None)
        last = (
            at(-3, -2) * (q / (p * (p + q)))
            - at(-2, -1) * ((p + q) / (p * q))
            + at(-1, None) * ((2.0 * q + p) / (q * (p + q)))
        )
    return concatenate(first, inside, last, axis=axis)


@implements(np.gradient)
def _np_gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    f = inexact(f)
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order must be 1 or 2, got {edge_order!r}")
    axes = range(f.ndim) if axis is None else normalize_axis_tuple(axis, f.ndim)
    if any(f.shape[i] < edge_order + 1 for i in axes):
        raise ValueError(
            f"gradient with edge_order={edge_order} needs at least {edge_order + 1} elements "
            f"along each axis, got shape {f.shape}"
        )
    spacings = _spacings(varargs, f.shape, axes)
    found = [
        converted(_derivative(f, h, i, edge_order), f.dtype)
        for i, h in zip(axes, spacings, strict=True)
    ]
    return found[0] if len(found) == 1 else tuple(found)


@implements(np.trapezoid)
def _np_trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = shaped(y)
    axis = normalize_axis_index(axis, y.ndim)
    if x is None:
        widths = dx
    else:
        x = shaped(x)
        widths = _laid_along(_np_diff(x), y.ndim, axis) if x.ndim == 1 else _np_diff(x, axis=axis)
    heights = section(y, axis, 1, None) + section(y, axis, None, -1)
    return np.sum(widths * heights / 2.0, axis=axis)


# --- sorting -------------------------------------------------------------------------------------


@primitive(rules=[None])
def argsort(x: Any, *, axis: int = -1, out: Any = None) -> Any:
    """Positions of the elements along `axis` in ascending order, equal ones in theirs; constant."""
    return into(np.argsort(x, axis=axis, kind="stable"), out)


@primitive(numpy=[np.argpartition], rules=[None])
def argpartition(
    x: Any, *, kth: int | Sequence[int], axis: int | None = -1, out: Any = None
) -> Any:
    """Positions that put the elements number `kth` where sorting would; constant."""
    return into(np.argpartition(x, kth, axis=axis), out)


@primitive(variadic=True, rules=[None])
def lexsort(*keys: Any, axis: int = -1, out: Any = None) -> Any:
    """Positions in ascending order of the last key, then of the one before it; constant."""
    return into(np.lexsort(keys, axis=axis), out)


@implements(np.lexsort)
def _np_lexsort(keys: Any, axis: int = -1) -> Any:
    return lexsort(*keys, axis=axis)


@primitive(rules=[None])
def rank(x: Any, *, axis: int = -1, out: Any = None) -> Any:
    """Place of each element along `axis` when sorted, equal ones in their order; constant."""
    order = np.argsort(x, axis=axis, kind="stable")
    places = np.empty_like(order)
    n = places.shape[axis]
    np.put_along_axis(
        places, order, _laid_along(np.arange(n), places.ndim, axis % places.ndim), axis
    )
    return into(places, out)


def _sort_rule(g: Any, y: Any, x: Any, *, axis: int = -1) -> Any:
    return take_along_axis(g, rank(x, axis=axis), axis=axis)


@primitive(rules=[_sort_rule], domain=(REAL,))
def sort(x: Any, *, axis: int = -1, out: Any = None) -> Any:
    """Sort along `axis`; the gradient follows each element, equal ones in their order."""
    return into(np.sort(x, axis=axis), out)


def _partition_rule(g: Any, y: Any, x: Any, *, kth: int | Sequence[int], axis: int = -1) -> Any:
    # Both are sorted, since nothing is said about the order in which elements were left.
    g = take_along_axis(g, argsort(y, axis=axis), axis=axis)
    return take_along_axis(g, rank(x, axis=axis), axis=axis)


@primitive(rules=[_partition_rule], domain=(REAL,))
def partition(x: Any, *, kth: int | Sequence[int], axis: int = -1, out: Any = None) -> Any:
    """Put the elements number `kth` along `axis` where sorting would, smaller ones before."""
    return into(np.partition(x, kth, axis=axis), out)


@primitive(rules=[None])
def ranked(x: Any, *, ranks: Sequence[int], out: Any = None) -> Any:
    """Positions of the elements number `ranks` in ascending order on the last axis; constant."""
    return into(np.argpartition(x, sorted(set(ranks)), axis=-1)[..., list(ranks)], out)


def _no_fields(name: str, order: Any) -> None:
    if order is not None:
        raise NotDifferentiableError(
            f"np.{name}(..., order={order!r}) is about named fields, which tensors do not have: "
            f"leave it out"
        )


@implements(np.sort)
def _np_sort(
    a: Any,
    axis: int | None = -1,
    kind: str | None = None,
    order: Any = None,
    *,
    stable: bool | None = None,
) -> Any:
    # `kind` and `stable` are about the way there: the numbers are the same, and the gradient is
    # that of a stable sort in any case.
    _no_fields("sort", order)
    if kind is not None and stable is not None:
        raise ValueError("sort takes either kind or stable, which mean the same")
    a = shaped(a)
    return sort(ravel(a), axis=0) if axis is None else sort(a, axis=axis)


@implements(np.partition)
def _np_partition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    _no_fields("partition", order)
    if kind != "introselect":
        raise ValueError(f"partition: kind must be 'introselect', got {kind!r}")
    a = shaped(a)
    kth = kth if isinstance(kth, int | np.integer) else tuple(int(k) for k in kth)
    return (
        partition(ravel(a), kth=kth, axis=0) if axis is None else partition(a, kth=kth, axis=axis)
    )


# --- each value once -----------------------------------------------------------------------------


@primitive(rules=[None])
def unique_part(
    x: Any, *, part: str, axis: int | None = None, equal_nan: bool = True, out: Any = None
) -> Any:
    """Return what tells the distinct values: index of the first, inverse, or counts; constant."""
    asked: dict[str, Any] = {f"return_{part}": True}
    _, found = np.unique(x, axis=axis, equal_nan=equal_nan, **asked)
    return into(found, out)


@implements(np.unique)
def _np_unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    ar = shaped(ar)
    wanted = {"index": return_index, "inverse": return_inverse, "counts": return_counts}
    parts = [
        unique_part(ar, part=part, axis=axis, equal_nan=equal_nan)
        for part, asked in wanted.items()
        if asked
    ]
    # The values, as elements of the array: equal ones send their gradient to the first of them.
    first = unique_part(ar, part="index", axis=axis, equal_nan=equal_nan)
    values = np.take(ar, first, axis=axis)
    return (values, *parts) if parts else values


def _as_unique(function: Callable[..., Any], **parts: bool) -> None:
    """Declare one of the functions of the array API that return distinct values, and more."""

    @implements(function)
    def composite(x: Any) -> Any:
        found = _np_unique(x, equal_nan=False, **parts)
        return type(function(np.zeros(1)))(*found) if parts else found


_as_unique(np.unique_values)
_as_unique(np.unique_inverse, return_inverse=True)
_as_unique(np.unique_all, return_index=True, return_inverse=True, return_counts=True)
