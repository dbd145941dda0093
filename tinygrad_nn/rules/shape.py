"""Primitives that move elements: shapes, indexing, joining. All are linear, in transposed pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.primitive import REAL, primitive
from tinygrad_nn.rules.elementwise import into

Shape = tuple[int, ...]


@lru_cache(maxsize=64)
def ones(n: int, dtype: Any) -> npt.NDArray[Any]:
    """Return a read-only vector of ones. A product with it is the quickest sum of short rows."""
    vector = np.ones(n, dtype)
    vector.flags.writeable = False
    return vector


@lru_cache(maxsize=64)
def arange(n: int) -> npt.NDArray[np.intp]:
    """Return 0 to n - 1, read-only."""
    numbers = np.arange(n)
    numbers.flags.writeable = False
    return numbers


# --- broadcasting and its transpose --------------------------------------------------------------


@primitive(
    numpy=[np.broadcast_to],
    rules=[lambda g, y, x, *, shape: sum_to(g, shape=x.shape)],
    domain=(REAL,),
)
def broadcast_to(x: Any, *, shape: Shape) -> Any:
    """Repeat `x` along new and length-1 axes up to `shape`, as a read-only view."""
    x = np.asarray(x)
    # Half of np.broadcast_to's time goes into validation that numpy.nditer repeats.
    return x if x.shape == shape else np.broadcast_to(x, shape)


@primitive(rules=[lambda g, y, x, *, shape: broadcast_to(g, shape=x.shape)], domain=(REAL,))
def sum_to(x: Any, *, shape: Shape, out: Any = None) -> Any:
    """Sum `x` over the axes that broadcasting from `shape` to its own shape has repeated.

    Half precision is accumulated in single, so that a long sum does not overflow on the way.
    """
    x = np.asarray(x)
    lead = x.ndim - len(shape)
    if out is None and lead == 1 and x.shape[1:] == shape and x.dtype.char != "e":
        return np.add.reduce(x, axis=0)  # a bias, nearly always
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[lead:], strict=True)):
        raise ShapeError(f"an array of shape {x.shape} is no broadcast of shape {shape}")
    repeated = tuple(range(lead)) + tuple(
        i + lead for i, n in enumerate(shape) if n == 1 and x.shape[i + lead] != 1
    )
    wide = np.float32 if x.dtype == np.float16 else None
    total = np.add.reduce(x, axis=repeated, dtype=wide, keepdims=lead == 0)
    total = np.reshape(total, shape).astype(x.dtype, copy=False)
    return into(total, out)


# --- views ---------------------------------------------------------------------------------------


@primitive(
    numpy=[np.reshape],
    rules=[lambda g, y, x, *, shape: reshape(g, shape=x.shape)],
    domain=(REAL,),
)
def reshape(x: Any, *, shape: int | Shape) -> Any:
    """Give the same elements another shape; one length may be -1."""
    return np.reshape(x, shape)


@primitive(numpy=[np.ravel], rules=[lambda g, y, x: reshape(g, shape=x.shape)], domain=(REAL,))
def ravel(x: Any) -> Any:
    """Lay the elements out in one dimension."""
    return np.reshape(x, -1)


def _transpose_rule(g: Any, y: Any, x: Any, *, axes: Sequence[int] | None = None) -> Any:
    if axes is None:
        return transpose(g)
    order = [a % x.ndim for a in axes]
    return transpose(g, axes=tuple(order.index(i) for i in range(x.ndim)))


@primitive(
    numpy=[np.transpose, np.permute_dims],
    rules=[_transpose_rule],
    domain=(REAL,),
)
def transpose(x: Any, *, axes: Sequence[int] | None = None) -> Any:
    """Permute the axes; reverse them by default."""
    return np.asarray(x).transpose(axes)


@primitive(
    numpy=[np.swapaxes],
    rules=[lambda g, y, x, *, axis1, axis2: swapaxes(g, axis1=axis1, axis2=axis2)],
    domain=(REAL,),
)
def swapaxes(x: Any, *, axis1: int, axis2: int) -> Any:
    """Exchange two axes."""
    return np.asarray(x).swapaxes(axis1, axis2)


@primitive(
    numpy=[np.moveaxis],
    rules=[
        lambda g, y, x, *, source, destination: moveaxis(g, source=destination, destination=source)
    ],
    domain=(REAL,),
)
def moveaxis(x: Any, *, source: int | Shape, destination: int | Shape) -> Any:
    """Move axes to new positions; the others keep their order."""
    return np.moveaxis(x, source, destination)


@primitive(
    numpy=[np.expand_dims],
    rules=[lambda g, y, x, *, axis: reshape(g, shape=x.shape)],
    domain=(REAL,),
)
def expand_dims(x: Any, *, axis: int | Shape) -> Any:
    """Insert axes of length 1 at the positions `axis` of the result."""
    return np.expand_dims(x, axis)


@primitive(
    numpy=[np.squeeze],
    rules=[lambda g, y, x, *, axis=None: reshape(g, shape=x.shape)],
    domain=(REAL,),
)
def squeeze(x: Any, *, axis: int | Shape | None = None) -> Any:
    """Remove axes of length 1: those named by `axis`, or all."""
    return np.squeeze(x, axis=axis)


# --- type and copy -------------------------------------------------------------------------------


@primitive(rules=[lambda g, y, x, *, dtype: astype(g, dtype=x.dtype)], domain=(REAL,))
def astype(x: Any, *, dtype: Any, out: Any = None) -> Any:
    """Convert to another dtype; a conversion to integers is constant."""
    return into(np.asarray(x).astype(dtype), out)


@primitive(numpy=[np.copy], rules=[lambda g, y, x: g], domain=(REAL,))
def copy(x: Any, *, out: Any = None) -> Any:
    """Copy the elements."""
    return into(np.array(x), out)


# --- indexing and its transpose ------------------------------------------------------------------
# An index is split in two: the arrays in it are inputs of the primitive (data, which may differ
# from call to call), the rest is `template`, static, with ARRAY in their places.


class _Array:
    __name__ = "array"  # what a drawing calls it

    def __repr__(self) -> str:
        return "ARRAY"


ARRAY = _Array()


def split_index(index: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split an index into its template and the arrays that go into it."""
    parts = index if isinstance(index, tuple) else (index,)
    template: list[Any] = []
    arrays: list[Any] = []
    for part in parts:
        if part is None or part is Ellipsis or isinstance(part, slice):
            template.append(part)
        elif isinstance(part, int | np.integer) and not isinstance(part, bool | np.bool_):
            template.append(int(part))
        else:
            template.append(ARRAY)
            arrays.append(np.asarray(part, dtype=np.intp) if _is_empty(part) else part)
    return tuple(template), tuple(arrays)


def _is_empty(part: Any) -> bool:
    return isinstance(part, list) and not part


def _join_index(template: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    if not arrays:
        return template
    rest = iter(arrays)
    return tuple(next(rest) if part is ARRAY else part for part in template)


def _getitem_rule(i: int, g: Any, y: Any, x: Any, *arrays: Any, template: tuple[Any, ...]) -> Any:
    return scatter_add(g, *arrays, template=template, shape=x.shape) if i == 0 else None


@primitive(variadic=True, rules=[_getitem_rule], domain=(REAL,))
def getitem(x: Any, *arrays: Any, template: tuple[Any, ...]) -> Any:
    """Index as ``x[...]`` does: basic, integer, boolean or mixed."""
    return np.asarray(x)[_join_index(template, arrays)]


def _scatter_add_rule(
    i: int, g: Any, y: Any, x: Any, *arrays: Any, template: tuple[Any, ...], shape: Shape
) -> Any:
    return getitem(g, *arrays, template=template) if i == 0 else None


@primitive(variadic=True, rules=[_scatter_add_rule], domain=(REAL,))
def scatter_add(
    x: Any, *arrays: Any, template: tuple[Any, ...], shape: Shape, out: Any = None
) -> Any:
    """Add `x` into zeros of `shape` at an index; what is indexed twice receives both."""
    x = np.asarray(x)
    if out is None:
        out = np.zeros(shape, x.dtype)
    else:
        out[...] = 0
    index = _join_index(template, arrays)
    if any(np.asarray(a).dtype != bool for a in arrays):
        np.add.at(out, index, x)
    else:
        out[index] = x  # slices and masks select every element at most once
    return out


def _take_along_axis_rule(g: Any, y: Any, x: Any, indices: Any, *, axis: int = -1) -> Any:
    put = put_along_zeros(g, indices, axis=axis, length=x.shape[axis])
    return sum_to(put, shape=x.shape)  # NumPy broadcasts x and the indices along the other axes


@primitive(
    numpy=[np.take_along_axis],
    rules=[_take_along_axis_rule, None],
    domain=(REAL, REAL),
)
def take_along_axis(x: Any, indices: Any, *, axis: int = -1, out: Any = None) -> Any:
    """Pick elements along `axis` by an index array of the same number of dimensions."""
    if axis is None:
        raise TypeError("take_along_axis on tensors needs an axis; ravel() the tensor first")
    y = np.take_along_axis(x, indices, axis)
    return into(y, out)


@primitive(
    rules=[
        lambda g, y, x, indices, *, axis, length: take_along_axis(g, indices, axis=axis),
        None,
    ],
    domain=(REAL, REAL),
)
def put_along_zeros(x: Any, indices: Any, *, axis: int, length: int, out: Any = None) -> Any:
    """Add `x` into zeros at `indices` along `axis`, which gets `length`."""
    x = np.asarray(x)
    if out is None:
        shape = list(x.shape)
        shape[axis] = length
        out = np.zeros(shape, x.dtype)
    else:
        out[...] = 0
    where_to: list[Any] = list(np.indices(x.shape, sparse=True))
    where_to[axis] = indices
    np.add.at(out, tuple(where_to), x)
    return out


# --- one element of each row ---------------------------------------------------------------------


@primitive(
    rules=[lambda g, y, x, indices: unpick(g, indices, length=x.shape[-1]), None],
    domain=(REAL, REAL),
)
def pick(x: Any, indices: Any, *, out: Any = None) -> Any:
    """Take one element along the last axis: `x` (..., n), integer `indices` (...)."""
    x = np.asarray(x)
    if np.shape(indices) != x.shape[:-1]:
        raise ShapeError(
            f"pick: an array of shape {x.shape} needs indices of shape {x.shape[:-1]}, got "
            f"{np.shape(indices)}"
        )
    rows = x.reshape(-1, x.shape[-1])
    y = rows[arange(len(rows)), np.reshape(indices, -1)].reshape(np.shape(indices))
    return into(y, out)


@primitive(rules=[lambda g, y, x, indices, *, length: pick(g, indices), None], domain=(REAL, REAL))
def unpick(x: Any, indices: Any, *, length: int, out: Any = None) -> Any:
    """Put each element of `x` (...) at its index on a new last axis of `length`, zeros around."""
    x = np.asarray(x)
    return _spread(x, indices, (*x.shape, length), x.dtype, out)


def _spread(values: Any, indices: Any, shape: Shape, dtype: Any, out: Any) -> Any:
    if out is None:
        out = np.zeros(shape, dtype)
        if len(shape) == 2:
            out[arange(shape[0]), indices] = values
        else:
            rows = out.reshape(-1, shape[-1])
            rows[arange(len(rows)), np.reshape(indices, -1)] = np.reshape(values, -1)
    else:
        out[...] = 0
        out[(*np.indices(shape[:-1], sparse=True), indices)] = values
    return out


@primitive(rules=[None])
def one_hot(
    indices: Any, *, length: int, value: float = 1.0, dtype: Any = float, out: Any = None
) -> Any:
    """Return `value` at each index of `indices` (...) on a new last axis of `length`; constant."""
    indices = np.asarray(indices)
    return _spread(value, indices, (*indices.shape, length), dtype, out)


# --- joining -------------------------------------------------------------------------------------


def _concatenate_rule(i: int, g: Any, y: Any, *xs: Any, axis: int | None = 0) -> Any:
    if axis is None:
        start = sum(np.size(x) for x in xs[:i])
        piece = getitem(g, template=(slice(start, start + np.size(xs[i])),))
        return reshape(piece, shape=xs[i].shape)
    start = sum(np.shape(x)[axis] for x in xs[:i])
    template: list[Any] = [slice(None)] * g.ndim
    template[axis] = slice(start, start + xs[i].shape[axis])
    return getitem(g, template=tuple(template))


@primitive(
    numpy=[np.concatenate, np.concat], variadic=True, rules=[_concatenate_rule], domain=(REAL,)
)
def concatenate(*xs: Any, axis: int | None = 0, out: Any = None) -> Any:
    """Join arrays along an existing axis; flattened first where `axis` is None."""
    return np.concatenate(xs, axis=axis, out=out)


def _stack_rule(i: int, g: Any, y: Any, *xs: Any, axis: int = 0) -> Any:
    template: list[Any] = [slice(None)] * g.ndim
    template[axis] = i
    return getitem(g, template=tuple(template))


@primitive(numpy=[np.stack], variadic=True, rules=[_stack_rule], domain=(REAL,))
def stack(*xs: Any, axis: int = 0, out: Any = None) -> Any:
    """Join arrays of one shape along a new axis."""
    return np.stack(xs, axis=axis, out=out)
