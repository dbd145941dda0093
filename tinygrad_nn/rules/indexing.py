"""Take, put and choose: indexing and its transpose, by NumPy's functions too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_nn.assumption import assume
from tinygrad_nn.errors import ShapeError
from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.elementwise import into, keep, where
from tinygrad_nn.rules.shape import (
    Shape,
    arange,
    as_kept,
    astype,
    broadcast_to,
    in_line,
    ravel,
    refuse_out,
    reshape,
    shaped,
    sum_to,
)

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
        kind = type(part)  # not isinstance(): what stands for an integer is not known yet
        if part is None or part is Ellipsis or kind is slice:
            template.append(part)
        elif issubclass(kind, int | np.integer) and kind is not bool:
            template.append(int(part))
        else:
            template.append(ARRAY)
            arrays.append(np.asarray(part, dtype=np.intp) if _is_empty(part) else part)
    return tuple(template), tuple(arrays)


def _is_empty(part: Any) -> bool:
    return isinstance(part, list) and not part


def join_index(template: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Put the arrays back into the template of an index."""
    if not arrays:
        return template
    rest = iter(arrays)
    return tuple(next(rest) if part is ARRAY else part for part in template)


def _getitem_rule(g: Any, y: Any, x: Any, *arrays: Any, template: tuple[Any, ...]) -> Any:
    return scatter_add(g, *arrays, template=template, shape=x.shape)


@primitive(variadic=True, rules=[_getitem_rule, None], domain=(REAL,), linear=1)
def getitem(x: Any, *arrays: Any, template: tuple[Any, ...]) -> Any:
    """Index as ``x[...]`` does: basic, integer, boolean or mixed."""
    return np.asarray(x)[join_index(template, arrays)]


def _scatter_add_rule(
    g: Any, y: Any, x: Any, *arrays: Any, template: tuple[Any, ...], shape: Shape
) -> Any:
    return getitem(g, *arrays, template=template)


@primitive(variadic=True, rules=[_scatter_add_rule, None], domain=(REAL,), linear=1)
def scatter_add(
    x: Any, *arrays: Any, template: tuple[Any, ...], shape: Shape, out: Any = None
) -> Any:
    """Add `x` into zeros of `shape` at an index; what is indexed twice receives both."""
    x = np.asarray(x)
    if out is None:
        out = np.zeros(shape, x.dtype)
    else:
        out[...] = 0
    index = join_index(template, arrays)
    if may_repeat(arrays):
        np.add.at(out, index, x)
    else:
        out[index] = x  # slices and masks select every element at most once
    return out


def may_repeat(arrays: tuple[Any, ...]) -> bool:
    """Whether an index may select an element twice: slices and masks never do."""
    return any(shaped(a).dtype != bool for a in arrays)


def _kept_rule(g: Any, y: Any, x: Any, v: Any, *arrays: Any, template: tuple[Any, ...]) -> Any:
    return index_set(g, 0.0, *arrays, template=template)


def _put_rule(g: Any, y: Any, x: Any, v: Any, *arrays: Any, template: tuple[Any, ...]) -> Any:
    c = getitem(g, *arrays, template=template)
    if may_repeat(arrays):
        c = keep(last_writes(*arrays, template=template, shape=x.shape), c)
    return sum_to(c, shape=v.shape)


@primitive(variadic=True, rules=[_kept_rule, _put_rule, None], linear=2, domain=(REAL, REAL))
def index_set(x: Any, v: Any, *arrays: Any, template: tuple[Any, ...], out: Any = None) -> Any:
    """Return `x` with `v` at an index; what is indexed twice keeps the last, as in NumPy."""
    y = into(np.array(x), out)
    y[join_index(template, arrays)] = v
    return y


@primitive(variadic=True, rules=[None])
def last_writes(*arrays: Any, template: tuple[Any, ...], shape: Shape, out: Any = None) -> Any:
    """Tell the elements of an indexed assignment that no later one overwrites; constant."""
    index = join_index(template, arrays)
    written = np.zeros(shape, np.intp)
    order = np.arange(written[index].size).reshape(written[index].shape)
    written[index] = order
    return into(written[index] == order, out)


def _take_along_axis_rule(g: Any, y: Any, x: Any, indices: Any, *, axis: int = -1) -> Any:
    put = put_along_zeros(g, indices, axis=axis, length=x.shape[axis])
    return sum_to(put, shape=x.shape)  # NumPy broadcasts x and the indices along the other axes


@primitive(
    rules=[_take_along_axis_rule, None],
    linear=1,
    domain=(REAL, REAL),
)
def take_along_axis(x: Any, indices: Any, *, axis: int = -1, out: Any = None) -> Any:
    """Pick elements along `axis` by an index array of the same number of dimensions."""
    y = np.take_along_axis(x, indices, axis)
    return into(y, out)


@primitive(
    rules=[
        lambda g, y, x, indices, *, axis, length: take_along_axis(g, indices, axis=axis),
        None,
    ],
    linear=1,
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
    linear=1,
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


@primitive(
    rules=[lambda g, y, x, indices, *, length: pick(g, indices), None],
    domain=(REAL, REAL),
    linear=1,
)
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


# --- NumPy's functions ---------------------------------------------------------------------------


def _whole(indices: Any) -> Any:
    """Return indices as an array or tensor of integers, truth values among them."""
    if not hasattr(indices, "dtype"):
        indices = np.asarray(indices)
        indices = indices.astype(np.intp) if not indices.size else indices
    if indices.dtype.kind not in "iub":
        raise TypeError(f"indices must be integers, got dtype {indices.dtype}")
    return astype(indices, dtype=np.dtype(np.intp)) if indices.dtype == bool else indices


#: What a function with the keyword `mode` does to indices into an axis of length n.
_MODES: dict[str, Callable[[Any, int], Any]] = {
    "raise": lambda indices, n: indices,
    "wrap": lambda indices, n: indices % n,
    "clip": lambda indices, n: np.clip(indices, 0, n - 1),
}


def _within(indices: Any, n: int, mode: str, name: str) -> Any:
    if mode not in _MODES:
        raise ValueError(f"{name}: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    indices = _whole(indices)
    return _MODES[mode](indices, n) if n else indices  # of an empty axis, only none will do


@implements(np.take)
def take(
    a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise"
) -> Any:
    """Pick elements, or slices along `axis`, by an array of integers."""
    refuse_out("np.take", out)
    a, axis = in_line(a, axis)
    indices = _within(indices, a.shape[axis], mode, "take")
    return getitem(a, indices, template=(*(slice(None),) * axis, ARRAY))


@implements(np.compress)
def _compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    refuse_out("np.compress", out)
    if np.ndim(condition) != 1:
        raise ValueError(f"compress needs a condition of one axis, got {np.ndim(condition)}")
    return take(a, np.flatnonzero(condition), axis)


@implements(np.extract)
def _extract(condition: Any, arr: Any) -> Any:
    return take(arr, np.flatnonzero(condition))


@implements(np.take_along_axis)
def _np_take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    arr, indices = shaped(arr), shaped(indices)
    if axis is None:
        arr, axis = ravel(arr), 0
    return take_along_axis(arr, indices, axis=axis)


def _alike(choices: list[Any]) -> list[Any]:
    """Give the choices one dtype; Python's numbers take that of the others."""
    choices = [x if type(x) in (int, float, complex) else shaped(x) for x in choices]
    dtype = np.result_type(*choices)
    return [x if np.result_type(x) == dtype else astype(x, dtype=dtype) for x in choices]


@implements(np.choose)
def _choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    refuse_out("np.choose", out)
    choices = list(choices)
    n = len(choices)
    a = _within(a, n, mode, "choose")
    if mode == "raise" and assume(np.any(np.logical_or(a < 0, a >= n))):
        raise ValueError(f"choose: an entry is outside the {n} choices; see mode=")
    choices = _alike(choices)
    shape = np.broadcast_shapes(np.shape(a), *map(np.shape, choices))
    stacked = np.stack([broadcast_to(x, shape=shape) for x in choices])
    a = reshape(broadcast_to(a, shape=shape), shape=(1, *shape))
    return getitem(take_along_axis(stacked, a, axis=0), template=(0,))


@implements(np.select)
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(
            f"select needs as many conditions as choices, and at least one; got {len(condlist)} "
            f"and {len(choicelist)}"
        )
    *choices, y = _alike([*choicelist, default])
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        condition = shaped(condition)
        if condition.dtype != bool:
            raise TypeError(f"select: a condition must be boolean, got dtype {condition.dtype}")
        y = where(condition, choice, y)
    return y


def _truth(condition: Any) -> Any:
    """Return a condition as a mask, by Python's rules for numbers."""
    condition = shaped(condition)
    if getattr(condition, "requires_grad", False):
        return np.asarray(condition, dtype=bool)  # which says that this would drop the gradient
    return astype(condition, dtype=np.dtype(bool))


@implements(np.piecewise)
def _piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    x = shaped(x)
    several = isinstance(condlist, list | tuple) or np.ndim(condlist) > 0
    alone = not several or (np.ndim(condlist[0]) == 0 and x.ndim)
    conditions = [_truth(c) for c in ([condlist] if alone else condlist)]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(np.stack(conditions), axis=0))
    if len(funclist) != len(conditions):
        raise ValueError(
            f"piecewise: {len(conditions)} condition(s) need as many functions, or one more for "
            f"elsewhere; got {len(funclist)}"
        )
    y = np.zeros(x.shape, x.dtype)
    for condition, function in zip(conditions, funclist, strict=True):
        value = function
        if callable(function):
            part = getitem(x, condition, template=(ARRAY,))
            if not part.size:
                continue
            value = function(part, *args, **kw)
        value = as_kept(value, x.dtype, "piecewise")
        y = index_set(y, value, condition, template=(ARRAY,))
    return y
