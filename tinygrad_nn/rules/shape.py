"""Shapes, layout and type. All primitives here are linear, in transposed pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_nn.dispatch import no_out
from tinygrad_nn.errors import NotDifferentiableError, ShapeError
from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.complex import real
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


def shaped(x: Any) -> Any:
    """Return `x` as something with axes: a scalar node as a 0-d tensor, a list as an array."""
    if hasattr(x, "dtype"):
        return x
    return reshape(x, shape=()) if hasattr(x, "__primitive__") else np.asarray(x)


def converted(x: Any, dtype: Any) -> Any:
    """Return `x` with axes and of the dtype asked for; of its own by default."""
    x = shaped(x)
    if dtype is None or dtype is np._NoValue or x.dtype == dtype:
        return x
    return astype(x, dtype=np.dtype(dtype))


def inexact(x: Any) -> Any:
    """Return `x` with axes and of a floating (or complex) dtype; integers become float64."""
    x = shaped(x)
    return converted(x, float) if x.dtype.kind in "iub" else x


def as_floats(function: np.ufunc, x: Any) -> Any:
    """Return `x` with axes; integers as the ufunc makes floats of them, small ones small."""
    x = shaped(x)
    if x.dtype.kind not in "iub":
        return x
    return converted(x, function.resolve_dtypes((x.dtype, x.dtype, None))[2])


#: What a keyword `dtype` may be, by the kinds of dtype (`numpy.dtype.kind`) that a function has.
_KINDS = {"b": "boolean", "c": "complex", "f": "floating", "fc": "floating or complex"}


def check_dtype(name: str, dtype: Any, kinds: str) -> None:
    """Refuse a keyword `dtype` of another kind than a function computes in."""
    if dtype is None or dtype is np._NoValue or np.dtype(dtype).kind in kinds:
        return
    raise NotDifferentiableError(
        f"np.{name}(..., dtype={np.dtype(dtype)}) is not supported on tensors: dtype must be "
        f"{_KINDS[kinds]}. Leave it out, and convert the result with t.astype"
    )


def as_mask(mask: Any, shape: Shape) -> Any:
    """Return the mask of a keyword `where`, broadcast to `shape`."""
    mask = mask if hasattr(mask, "dtype") else np.asarray(mask, bool)
    if mask.dtype != bool:
        raise TypeError(
            f"a mask `where` must be boolean, got dtype {mask.dtype}: write a condition, such as "
            f"`mask > 0`"
        )
    if np.broadcast_shapes(mask.shape, shape) != shape:
        raise ValueError(
            f"a mask `where` of shape {mask.shape} does not broadcast to the array, which has "
            f"shape {shape}"
        )
    return broadcast_to(mask, shape=shape)


def as_kept(x: Any, dtype: Any, what: str) -> Any:
    """Convert `x` to the dtype of an array that it is put into; refuse to lose its fractions."""
    x = shaped(x)
    if x.dtype == dtype:
        return x
    if not np.can_cast(x.dtype, dtype, "same_kind"):
        raise TypeError(
            f"{what}: values of dtype {x.dtype} do not fit into an array of dtype {dtype}; convert "
            f"the array first: t.astype({x.dtype})"
        )
    return astype(x, dtype=np.dtype(dtype))


def in_line(x: Any, axis: int | None) -> tuple[Any, int]:
    """Return `x`, flattened where `axis` is None, and the axis counted from the front.

    A number is an axis of length 1.
    """
    x = shaped(x)
    if axis is None or not x.ndim:
        x = ravel(x)
    return x, normalize_axis_index(0 if axis is None else axis, x.ndim)


def refuse_out(name: str, out: Any) -> None:
    """Refuse `out` where it was given by position."""
    if out is not None:
        raise no_out(name)


# --- broadcasting and its transpose --------------------------------------------------------------


@primitive(
    numpy=[np.broadcast_to],
    rules=[lambda g, y, x, *, shape: sum_to(g, shape=x.shape)],
    linear=1,
    domain=(REAL,),
)
def broadcast_to(x: Any, *, shape: Shape) -> Any:
    """Repeat `x` along new and length-1 axes up to `shape`, as a read-only view."""
    x = np.asarray(x)
    # Half of np.broadcast_to's time goes into validation that numpy.nditer repeats.
    return x if x.shape == shape else np.broadcast_to(x, shape)


@primitive(
    rules=[lambda g, y, x, *, shape: broadcast_to(g, shape=x.shape)], domain=(REAL,), linear=1
)
def sum_to(x: Any, *, shape: Shape, out: Any = None) -> Any:
    """Sum `x` over the axes that broadcasting from `shape` to its own shape has repeated.

    Half precision is accumulated in single, so that a long sum does not overflow on the way.
    """
    x = x if hasattr(x, "dtype") else np.asarray(x)
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


@primitive(rules=[lambda g, y, x, *, shape: reshape(g, shape=x.shape)], linear=1, domain=(REAL,))
def reshape(x: Any, *, shape: int | Shape) -> Any:
    """Give the same elements another shape; one length may be -1."""
    return np.reshape(x, shape)


@primitive(rules=[lambda g, y, x: reshape(g, shape=x.shape)], linear=1, domain=(REAL,))
def ravel(x: Any) -> Any:
    """Lay the elements out in one dimension."""
    return np.reshape(x, -1)


def _column_major(name: str, order: str) -> bool:
    if order in ("C", "F"):
        return order == "F"
    raise NotDifferentiableError(
        f"np.{name}(..., order={order!r}) is not supported on tensors, whose layout in memory is "
        f"not theirs to choose: ask for order 'C' or 'F'"
    )


@implements(np.reshape)
def _np_reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    a = shaped(a)
    if copy is False:
        raise NotDifferentiableError(
            "np.reshape(..., copy=False) is not supported on tensors, which decide for themselves "
            "whether they share memory: leave it out"
        )
    a = np.copy(a) if copy else a
    if not _column_major("reshape", order):
        return reshape(a, shape=shape)
    lengths = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    return transpose(reshape(transpose(a), shape=lengths[::-1]))


@implements(np.ravel)
def _np_ravel(a: Any, order: str = "C") -> Any:
    a = shaped(a)
    return ravel(transpose(a) if _column_major("ravel", order) else a)


def _transpose_rule(g: Any, y: Any, x: Any, *, axes: Sequence[int] | None = None) -> Any:
    if axes is None:
        return transpose(g)
    order = [a % x.ndim for a in axes]
    return transpose(g, axes=tuple(order.index(i) for i in range(x.ndim)))


@primitive(
    numpy=[np.transpose, np.permute_dims],
    rules=[_transpose_rule],
    linear=1,
    domain=(REAL,),
)
def transpose(x: Any, *, axes: Sequence[int] | None = None) -> Any:
    """Permute the axes; reverse them by default."""
    return np.asarray(x).transpose(axes)


@primitive(
    numpy=[np.swapaxes],
    rules=[lambda g, y, x, *, axis1, axis2: swapaxes(g, axis1=axis1, axis2=axis2)],
    linear=1,
    domain=(REAL,),
)
def swapaxes(x: Any, *, axis1: int, axis2: int) -> Any:
    """Exchange two axes."""
    return np.asarray(x).swapaxes(axis1, axis2)


@implements(np.matrix_transpose)
def _matrix_transpose(x: Any, /) -> Any:
    if np.ndim(x) < 2:
        raise ValueError(f"matrix_transpose needs two axes or more, got {np.ndim(x)}")
    return swapaxes(x, axis1=-1, axis2=-2)


@primitive(
    numpy=[np.moveaxis],
    rules=[
        lambda g, y, x, *, source, destination: moveaxis(g, source=destination, destination=source)
    ],
    linear=1,
    domain=(REAL,),
)
def moveaxis(x: Any, *, source: int | Shape, destination: int | Shape) -> Any:
    """Move axes to new positions; the others keep their order."""
    return np.moveaxis(x, source, destination)


@implements(np.rollaxis)
def _rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    n = np.ndim(a)
    axis = normalize_axis_index(axis, n)
    start = n if start == n else normalize_axis_index(start, n)
    return moveaxis(a, source=axis, destination=start - 1 if axis < start else start)


@primitive(
    numpy=[np.expand_dims],
    rules=[lambda g, y, x, *, axis: reshape(g, shape=x.shape)],
    linear=1,
    domain=(REAL,),
)
def expand_dims(x: Any, *, axis: int | Shape) -> Any:
    """Insert axes of length 1 at the positions `axis` of the result."""
    return np.expand_dims(x, axis)


@primitive(
    numpy=[np.squeeze],
    rules=[lambda g, y, x, *, axis=None: reshape(g, shape=x.shape)],
    linear=1,
    domain=(REAL,),
)
def squeeze(x: Any, *, axis: int | Shape | None = None) -> Any:
    """Remove axes of length 1: those named by `axis`, or all."""
    return np.squeeze(x, axis=axis)


def _at_least(ndim: int, place: Callable[[Shape], Shape]) -> Callable[..., Any]:
    """Make a function that gives each array `ndim` axes; `place` puts its lengths among ones."""

    def composite(*arys: Any) -> Any:
        xs = map(shaped, arys)
        found = [x if x.ndim >= ndim else reshape(x, shape=place(x.shape)) for x in xs]
        return found[0] if len(found) == 1 else tuple(found)

    return composite


implements(np.atleast_1d)(_at_least(1, lambda lengths: (1,)))
implements(np.atleast_2d)(_at_least(2, lambda lengths: (1, *(lengths or (1,)))))
implements(np.atleast_3d)(
    _at_least(3, lambda lengths: (*lengths, 1) if len(lengths) == 2 else (1, *(lengths or (1,)), 1))
)


@implements(np.broadcast_arrays)
def _broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(broadcast_to(x, shape=shape) for x in args)


@implements(np.meshgrid)
def _meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    # `copy` is about memory that a tensor does not share in any case.
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    n = len(xi)
    axes = list(range(n))
    if indexing == "xy" and n > 1:
        axes[:2] = 1, 0
    grids = [
        reshape(x, shape=tuple(-1 if i == axis else 1 for i in range(n)))
        for x, axis in zip(xi, axes, strict=True)
    ]
    return tuple(grids) if sparse else _broadcast_arrays(*grids)


# --- type and copy -------------------------------------------------------------------------------


def _astype_rule(g: Any, y: Any, x: Any, *, dtype: Any) -> Any:
    if y.dtype.kind == "c" and x.dtype.kind != "c":
        g = real(g)
    return astype(g, dtype=x.dtype)


@primitive(rules=[_astype_rule], domain=(REAL,), linear=1)
def astype(x: Any, *, dtype: Any, out: Any = None) -> Any:
    """Convert to another dtype; a conversion to integers is constant."""
    return into(np.asarray(x).astype(dtype), out)


@primitive(rules=[lambda g, y, x, *, order="K": g], domain=(REAL,), linear=1)
def copy(x: Any, *, order: Any = "K", out: Any = None) -> Any:
    """Copy the elements, into another layout if asked to."""
    return into(np.array(x, order=order), out)


@implements(np.copy)
def _np_copy(a: Any, order: Any = "K", subok: bool = False) -> Any:
    # `subok` is about subclasses of arrays, which tensors are not.
    return copy(a) if order == "K" else copy(a, order=order)


if hasattr(np, "astype"):  # NumPy 2.1

    @implements(np.astype)
    def _np_astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
        # `copy` is about memory that a tensor does not share in any case.
        if device not in (None, "cpu"):
            raise ValueError(f"astype: device must be 'cpu', got {device!r}")
        return astype(x, dtype=np.dtype(dtype))


@implements(np.full_like)
def _np_full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    a, value = shaped(a), shaped(fill_value)
    lengths = a.shape if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
    return copy(broadcast_to(astype(value, dtype=np.dtype(dtype or a.dtype)), shape=lengths))
