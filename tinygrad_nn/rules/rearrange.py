"""Flip, roll, repeat, pad, cut and take diagonals: all of them linear, but for constants put in."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.elementwise import into, keep
from tinygrad_nn.rules.indexing import getitem, index_set, scatter_add, take
from tinygrad_nn.rules.joining import concatenate, section
from tinygrad_nn.rules.shape import (
    Shape,
    as_kept,
    broadcast_to,
    converted,
    in_line,
    moveaxis,
    ravel,
    refuse_out,
    reshape,
    shaped,
    swapaxes,
)

# --- turn ----------------------------------------------------------------------------------------


@primitive(
    numpy=[np.flip],
    rules=[lambda g, y, x, *, axis=None: flip(g, axis=axis)],
    linear=1,
    domain=(REAL,),
)
def flip(x: Any, *, axis: int | Shape | None = None) -> Any:
    """Reverse the order along axes; along all by default."""
    return np.flip(x, axis)


@implements(np.fliplr)
def _fliplr(m: Any) -> Any:
    if np.ndim(m) < 2:
        raise ValueError(f"fliplr needs two axes or more, got {np.ndim(m)}")
    return flip(m, axis=1)


@implements(np.flipud)
def _flipud(m: Any) -> Any:
    if np.ndim(m) < 1:
        raise ValueError("flipud needs an axis, got a 0-d array")
    return flip(m, axis=0)


@implements(np.rot90)
def _rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    m = shaped(m)
    plane = tuple(axes)
    if len(plane) != 2:
        raise ValueError(f"rot90: axes must be two, got {plane}")
    a, b = normalize_axis_tuple(plane, m.ndim)  # which refuses the same one twice
    k = operator.index(k) % 4
    if k == 0:
        return getitem(m, template=())
    if k == 2:
        return flip(m, axis=(a, b))
    return swapaxes(flip(m, axis=b if k == 1 else a), axis1=a, axis2=b)


Shift = int | tuple[int, ...]


def _back(shift: Shift) -> Shift:
    return tuple(-n for n in shift) if isinstance(shift, tuple | list) else -shift


@primitive(
    numpy=[np.roll],
    rules=[lambda g, y, x, *, shift, axis=None: roll(g, shift=_back(shift), axis=axis)],
    linear=1,
    domain=(REAL,),
)
def roll(x: Any, *, shift: Shift, axis: int | Shape | None = None, out: Any = None) -> Any:
    """Move the elements along axes; what falls off the end comes in at the beginning."""
    return into(np.roll(x, shift, axis), out)


# --- repeat --------------------------------------------------------------------------------------


@implements(np.tile)
def _tile(A: Any, reps: Any) -> Any:  # noqa: N803  # NumPy's name
    x = shaped(A)
    counts = tuple(reps) if np.ndim(reps) else (reps,)
    ndim = max(len(counts), x.ndim)
    counts = (1,) * (ndim - len(counts)) + counts
    lengths = (1,) * (ndim - x.ndim) + x.shape
    pairs = list(zip(counts, lengths, strict=True))
    x = reshape(x, shape=tuple(n for length in lengths for n in (1, length)))
    x = broadcast_to(x, shape=tuple(n for pair in pairs for n in pair))
    return reshape(x, shape=tuple(count * length for count, length in pairs))


@implements(np.repeat)
def _repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    x, axis = in_line(a, axis)
    n = x.shape[axis]
    if np.size(repeats) != 1:
        return take(x, np.repeat(np.arange(n), repeats), axis)
    count = operator.index(np.reshape(repeats, ())[()])
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    x = reshape(x, shape=(*before, n, 1, *after))
    x = broadcast_to(x, shape=(*before, n, count, *after))
    return reshape(x, shape=(*before, n * count, *after))


@implements(np.resize)
def _resize(a: Any, new_shape: Any) -> Any:
    x = ravel(a)
    lengths = tuple(new_shape) if np.ndim(new_shape) else (new_shape,)
    if any(n < 0 for n in lengths):
        raise ValueError(f"resize: lengths must not be negative, got {lengths}")
    size = math.prod(lengths)
    if not x.size:  # of nothing NumPy makes zeros
        x = scatter_add(x, template=(slice(0),), shape=(size,))
    else:
        x = take(x, np.arange(size) % x.size, 0)
    return reshape(x, shape=lengths)


# --- put in and cut out --------------------------------------------------------------------------


@implements(np.delete)
def _delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    x, axis = in_line(arr, axis)
    return take(x, np.delete(np.arange(x.shape[axis]), obj), axis)


@implements(np.insert)
def _insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    x, axis = in_line(arr, axis)
    n = x.shape[axis]
    if isinstance(obj, slice):
        obj = np.arange(*obj.indices(n))
    obj = np.asarray(obj)
    obj = np.flatnonzero(obj) if obj.dtype == bool else obj
    v = as_kept(values, x.dtype, "insert")
    v = reshape(v, shape=(1,) * (x.ndim - v.ndim) + v.shape)
    if obj.ndim == 0:  # the first axis of the values is then the one that they are put in along
        v = moveaxis(v, source=0, destination=axis)
    count = v.shape[axis] if obj.size == 1 else obj.size
    v = broadcast_to(v, shape=(*x.shape[:axis], count, *x.shape[axis + 1 :]))
    # Where the elements of the two, one behind the other, go: found out with their numbers.
    place = obj.reshape(-1)[0] if obj.size == 1 else obj.astype(np.intp)
    order = np.insert(np.arange(n), place, n + np.arange(count))
    return take(concatenate(x, v, axis=axis), order, axis)


@implements(np.trim_zeros)
def _trim_zeros(filt: Any, trim: str = "fb", axis: int | Shape | None = None) -> Any:
    x = shaped(filt)
    if trim.lower() not in ("fb", "bf", "f", "b"):
        raise ValueError(f"trim_zeros: trim must be 'f', 'b' or 'fb', got {trim!r}")
    axes = range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim)
    template: list[Any] = [slice(None)] * x.ndim
    found = np.nonzero(x)
    for i in axes:
        front = int(found[i].min(initial=x.shape[i])) if "f" in trim.lower() else 0
        back = int(found[i].max(initial=-1)) + 1 if "b" in trim.lower() else x.shape[i]
        template[i] = slice(front, back)
    return getitem(x, template=tuple(template))


# --- diagonals and triangles ---------------------------------------------------------------------


@primitive(
    numpy=[np.diagonal],
    rules=[
        lambda g, y, x, *, offset=0, axis1=0, axis2=1: embed_diagonal(
            g, offset=offset, axis1=axis1, axis2=axis2, shape=x.shape
        )
    ],
    linear=1,
    domain=(REAL,),
)
def diagonal(x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Take a diagonal of two axes, as a new last axis."""
    return np.diagonal(x, offset, axis1, axis2)


@primitive(
    rules=[
        lambda g, y, x, *, offset, axis1, axis2, shape: diagonal(
            g, offset=offset, axis1=axis1, axis2=axis2
        )
    ],
    linear=1,
    domain=(REAL,),
)
def embed_diagonal(
    x: Any, *, offset: int, axis1: int, axis2: int, shape: Shape, out: Any = None
) -> Any:
    """Put the last axis of `x` on a diagonal of zeros of `shape`."""
    x = np.asarray(x)
    if out is None:
        out = np.zeros(shape, x.dtype)
    else:
        out[...] = 0
    row = np.arange(x.shape[-1])
    matrices = np.moveaxis(out, (axis1, axis2), (-2, -1))
    matrices[..., row + max(-offset, 0), row + max(offset, 0)] = x
    return out


@implements(np.diag)
def _diag(v: Any, k: int = 0) -> Any:
    v = shaped(v)
    if v.ndim == 2:
        return diagonal(v, offset=k)
    if v.ndim != 1:
        raise ValueError(f"diag needs one axis or two, got {v.ndim}")
    n = v.shape[0] + abs(k)
    return embed_diagonal(v, offset=k, axis1=0, axis2=1, shape=(n, n))


@implements(np.diagflat)
def _diagflat(v: Any, k: int = 0) -> Any:
    return _diag(ravel(v), k)


@implements(np.trace)
def _trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    refuse_out("np.trace", out)
    x = diagonal(a, offset=offset, axis1=axis1, axis2=axis2)
    return np.sum(x, axis=-1, dtype=dtype)


def _lower(m: Any, k: int) -> npt.NDArray[np.bool]:
    """Return what lies on the k-th diagonal or below, of matrices; of a vector, by its columns."""
    if not m.ndim:
        raise ValueError("tril and triu need an axis, got a 0-d array")
    return np.tri(m.shape[-2] if m.ndim > 1 else m.shape[0], m.shape[-1], k, dtype=bool)


@implements(np.tril)
def _tril(m: Any, k: int = 0) -> Any:
    m = shaped(m)
    return keep(_lower(m, k), m)


@implements(np.triu)
def _triu(m: Any, k: int = 0) -> Any:
    m = shaped(m)
    return keep(~_lower(m, k - 1), m)


# --- pad -----------------------------------------------------------------------------------------

#: The modes of np.pad, and the keyword that each takes.
_KEYWORD: dict[str, tuple[str, ...]] = {
    "constant": ("constant_values",), "edge": (), "wrap": (), "linear_ramp": ("end_values",),
    "maximum": ("stat_length",), "mean": ("stat_length",), "median": ("stat_length",),
    "minimum": ("stat_length",), "reflect": ("reflect_type",), "symmetric": ("reflect_type",),
}  # fmt: skip

_STATISTICS: dict[str, Callable[..., Any]] = {
    "maximum": np.max, "mean": np.mean, "median": np.median, "minimum": np.min,
}  # fmt: skip


def _pairs(value: Any, ndim: int) -> Any:
    """Spread a number, a pair, or pairs per axis, to one pair for each axis."""
    return np.broadcast_to(shaped(value), (ndim, 2))


def _widths(pad_width: Any, ndim: int) -> npt.NDArray[np.intp]:
    if isinstance(pad_width, dict):
        every: list[Any] = [(0, 0)] * ndim
        for axis, width in pad_width.items():
            every[axis] = (width, width) if np.ndim(width) == 0 else tuple(width)
        pad_width = every
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu" and ndim:
        raise TypeError(f"pad: widths must be integers, got dtype {widths.dtype}")
    if (widths < 0).any():
        raise ValueError(f"pad: widths must not be negative, got {widths.tolist()}")
    return np.asarray(_pairs(widths, ndim))


def _check_pad(mode: Any, keywords: dict[str, Any]) -> None:
    if callable(mode) or mode == "empty":
        raise NotDifferentiableError(
            f"np.pad(..., mode={mode!r}) is not supported on tensors: what it puts in is not known "
            f"to the engine. Use another mode, or np.concatenate"
        )
    if mode not in _KEYWORD:
        raise ValueError(f"pad: mode must be one of {', '.join(_KEYWORD)}, got {mode!r}")
    unknown = set(keywords) - set(_KEYWORD[mode])
    if unknown:
        raise ValueError(f"pad: mode {mode!r} does not take {', '.join(sorted(unknown))}")
    reflect_type = keywords.get("reflect_type", "even")
    if reflect_type not in ("even", "odd"):
        raise ValueError(f"pad: reflect_type must be 'even' or 'odd', got {reflect_type!r}")


def _options(mode: str, ndim: int, keywords: dict[str, Any]) -> Any:
    """Return for each axis what a mode's keyword says about its two sides."""
    if mode == "linear_ramp":
        return _pairs(keywords.get("end_values", 0), ndim)
    length = keywords.get("stat_length")
    return [(None, None)] * ndim if length is None else _pairs(length, ndim).tolist()


@implements(np.pad)
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    x = shaped(array)
    widths = _widths(pad_width, x.ndim).tolist()
    _check_pad(mode, kwargs)
    if not x.ndim:  # a number has no sides
        return np.copy(x)
    if mode == "constant":
        return _pad_constant(x, widths, kwargs.get("constant_values", 0))
    options = _options(mode, x.ndim, kwargs)
    odd = kwargs.get("reflect_type") == "odd"
    for axis, (before, after) in enumerate(widths):
        if not before and not after:
            continue
        if not x.shape[axis]:
            raise ValueError(f"pad: mode {mode!r} cannot extend axis {axis}, which is empty")
        if mode == "linear_ramp":
            x = _pad_ramp(x, axis, before, after, options[axis])
        elif mode in _STATISTICS:
            x = _pad_statistic(x, axis, before, after, _STATISTICS[mode], options[axis])
        elif odd and x.shape[axis] > 1:
            x = _pad_odd(x, axis, before, after, edge=mode == "symmetric")
        else:
            x = take(x, np.pad(np.arange(x.shape[axis]), (before, after), mode=mode), axis)
    return x


def _pad_constant(x: Any, widths: list[list[int]], values: Any) -> Any:
    shape = tuple(n + sum(pair) for n, pair in zip(x.shape, widths, strict=True))
    middle = tuple(
        slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True)
    )
    if issubclass(type(values), int | float) and values == 0:
        return scatter_add(x, template=middle, shape=shape)
    if not hasattr(values, "__primitive__"):
        around = np.pad(np.zeros(x.shape, x.dtype), widths, constant_values=values)
        return index_set(around, x, template=middle)
    pairs = _pairs(as_kept(values, x.dtype, "pad"), x.ndim)
    for axis, (before, after) in enumerate(widths):
        x = _between(x, axis, before, after, pairs[axis, 0], pairs[axis, 1])
    return x


def _between(x: Any, axis: int, before: int, after: int, left: Any, right: Any) -> Any:
    """Put `left` and `right`, which are broadcast, on the two sides of `x`."""
    lengths = ((*x.shape[:axis], n, *x.shape[axis + 1 :]) for n in (before, after))
    left, right = (
        broadcast_to(side, shape=shape) for side, shape in zip((left, right), lengths, strict=True)
    )
    return concatenate(left, x, right, axis=axis)


def _pad_ramp(x: Any, axis: int, before: int, after: int, ends: Any) -> Any:
    def ramp(edge: Any, end: Any, n: int) -> Any:
        rise = np.reshape(np.arange(n) / max(n, 1), (n, *(1,) * (x.ndim - axis - 1)))
        if x.dtype.kind == "f":
            rise = rise.astype(x.dtype)
        y = end + (edge - end) * rise
        y = np.floor(y) if x.dtype.kind in "iu" else y
        return converted(y, x.dtype) if x.dtype.kind in "iub" else y

    left = ramp(section(x, axis, 0, 1), _end(ends[0], x), before)
    right = ramp(section(x, axis, -1, None), _end(ends[1], x), after)
    return _between(x, axis, before, after, left, flip(right, axis=axis))


def _end(end: Any, x: Any) -> Any:
    return end if x.dtype.kind in "iub" else as_kept(end, x.dtype, "pad")


def _pad_statistic(
    x: Any,
    axis: int,
    before: int,
    after: int,
    statistic: Callable[..., Any],
    lengths: tuple[int | None, int | None],
) -> Any:
    n = x.shape[axis]
    left, right = (n if length is None else min(length, n) for length in lengths)
    if min(left, right) <= 0:
        raise ValueError("pad: stat_length must be positive")

    def of(part: Any) -> Any:
        y = statistic(part, axis=axis, keepdims=True)
        return converted(np.rint(y) if x.dtype.kind in "iu" else y, x.dtype)

    first = of(section(x, axis, 0, left))
    last = first if left == right == n else of(section(x, axis, n - right, None))
    return _between(x, axis, before, after, first, last)


def _pad_odd(x: Any, axis: int, before: int, after: int, *, edge: bool) -> Any:
    """Extend as an odd function about both ends; `edge` says that these are repeated."""
    # In steps of one period at most, after which the end is again one to turn about.
    period = x.shape[axis] - (0 if edge else 1)
    skip = 0 if edge else 1
    while before or after:
        n = x.shape[axis]
        left, right = min(before, period), min(after, period)
        low = flip(section(x, axis, skip, skip + left), axis=axis)
        high = flip(section(x, axis, n - skip - right, n - skip), axis=axis)
        first, last = 2 * section(x, axis, 0, 1) - low, 2 * section(x, axis, -1, None) - high
        x = concatenate(converted(first, x.dtype), x, converted(last, x.dtype), axis=axis)
        before, after = before - left, after - right
    return x
