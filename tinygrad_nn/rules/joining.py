"""Join arrays and split them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_nn.primitive import REAL, Primitive, implements, primitive
from tinygrad_nn.rules.indexing import getitem
from tinygrad_nn.rules.shape import astype, reshape, shaped

# --- join ----------------------------------------------------------------------------------------


def along(axis: int, part: Any) -> tuple[Any, ...]:
    """Return the index that applies `part` to an axis counted from the front."""
    return (*(slice(None),) * axis, part)


def section(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """Return ``x[start:stop]`` along `axis`."""
    return getitem(x, template=along(normalize_axis_index(axis, x.ndim), slice(start, stop)))


def _concatenate_rule(i: int, g: Any, y: Any, *xs: Any, axis: int | None = 0) -> Any:
    if axis is None:
        start = sum(np.size(x) for x in xs[:i])
        piece = getitem(g, template=(slice(start, start + np.size(xs[i])),))
        return reshape(piece, shape=xs[i].shape)
    start = sum(x.shape[axis] for x in xs[:i])
    cut = slice(start, start + xs[i].shape[axis])
    return getitem(g, template=along(axis % g.ndim, cut))


@primitive(variadic=True, rules=[_concatenate_rule], linear="all", domain=(REAL,))
def concatenate(*xs: Any, axis: int | None = 0, out: Any = None) -> Any:
    """Join arrays along an existing axis; flattened first where `axis` is None."""
    return np.concatenate(xs, axis=axis, out=out)


def _stack_rule(i: int, g: Any, y: Any, *xs: Any, axis: int = 0) -> Any:
    return getitem(g, template=along(axis % g.ndim, i))


@primitive(variadic=True, rules=[_stack_rule], linear="all", domain=(REAL,))
def stack(*xs: Any, axis: int = 0, out: Any = None) -> Any:
    """Join arrays of one shape along a new axis."""
    return np.stack(xs, axis=axis, out=out)


# A rule is called once per piece, and handed all of them; the derivative of each piece's slice is
# an array as long as the whole. Joined in groups, many pieces cost n log n and not n^2.
_GROUP = 64


def _join(how: Primitive, pieces: list[Any], axis: int | None, **keywords: Any) -> Any:
    if len(pieces) <= _GROUP:
        return how(*pieces, axis=axis, **keywords)
    groups = [pieces[i : i + _GROUP] for i in range(0, len(pieces), _GROUP)]
    joined = [how(*group, axis=axis) for group in groups]
    return _join(concatenate, joined, 0 if axis is None else axis, **keywords)


def _cast(pieces: Any, dtype: Any, casting: Any) -> Any:
    """Convert the pieces as `dtype` and `casting` of a joining function say."""
    pieces = [shaped(x) for x in pieces]
    if dtype is None and casting == "same_kind":  # which any array has with the type of the result
        return pieces
    dtype = np.result_type(*pieces) if dtype is None else np.dtype(dtype)
    for x in pieces:
        if not np.can_cast(x.dtype, dtype, casting):
            raise TypeError(
                f"cannot convert an array of dtype {x.dtype} to {dtype} by the rule {casting!r}; "
                f"allow it with casting=, or convert it first"
            )
    return [x if x.dtype == dtype else astype(x, dtype=dtype) for x in pieces]


def _concatenate(
    arrays: Any, /, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind"
) -> Any:
    into = {} if out is None else {"out": out}  # which the primitive refuses by name
    return _join(concatenate, _cast(arrays, dtype, casting), axis, **into)


# Of which np.concat is another name.
implements(np.concatenate)(_concatenate)


@implements(np.stack)
def _stack(
    arrays: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind"
) -> Any:
    into = {} if out is None else {"out": out}
    return _join(stack, _cast(arrays, dtype, casting), axis, **into)


def _listed(pieces: Any) -> list[Any]:
    """Return what np.atleast_1d and the like give, as a list also for one piece."""
    return list(pieces) if isinstance(pieces, tuple) else [pieces]


@implements(np.vstack)
def _vstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    return _concatenate(_listed(np.atleast_2d(*tup)), 0, dtype=dtype, casting=casting)


@implements(np.hstack)
def _hstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    pieces = _listed(np.atleast_1d(*tup))
    axis = 0 if pieces and pieces[0].ndim == 1 else 1
    return _concatenate(pieces, axis, dtype=dtype, casting=casting)


@implements(np.dstack)
def _dstack(tup: Any) -> Any:
    return _concatenate(_listed(np.atleast_3d(*tup)), 2)


@implements(np.column_stack)
def _column_stack(tup: Any) -> Any:
    columns = [x if x.ndim > 1 else reshape(x, shape=(-1, 1)) for x in map(shaped, tup)]
    return _concatenate(columns, 1)


@implements(np.append)
def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return _concatenate((arr, values), axis)


@implements(np.block)
def _block(arrays: Any) -> Any:
    depths: set[int] = set()
    ndims: set[int] = set()

    def survey(part: Any, depth: int) -> None:
        if isinstance(part, tuple):
            raise TypeError("block: arrays are nested in lists, not in tuples")
        if not isinstance(part, list):
            depths.add(depth)
            ndims.add(np.ndim(part))
        elif not part:
            raise ValueError("block: a list is empty")
        else:
            for item in part:
                survey(item, depth + 1)

    survey(arrays, 0)
    if len(depths) != 1:
        raise ValueError(f"block: lists are nested {sorted(depths)} deep; all must be equally deep")
    depth = depths.pop()
    ndim = max(depth, *ndims)

    def join(part: Any, level: int) -> Any:
        if level == 0:
            x = shaped(part)
            return np.copy(reshape(x, shape=(1,) * (ndim - x.ndim) + x.shape))
        return _concatenate([join(item, level - 1) for item in part], -level)

    return join(arrays, depth)


# --- split ---------------------------------------------------------------------------------------


@implements(np.array_split)
def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    x = shaped(ary)
    axis = normalize_axis_index(axis, x.ndim)
    n = x.shape[axis]
    if np.ndim(indices_or_sections):
        cuts = [0, *map(operator.index, indices_or_sections), n]
    else:
        sections = operator.index(indices_or_sections)
        if sections <= 0:
            raise ValueError(f"number of sections must be larger than 0, got {sections}")
        short, longer = divmod(n, sections)
        cuts = [i * short + min(i, longer) for i in range(sections + 1)]
    slices = map(slice, cuts[:-1], cuts[1:])
    return [getitem(x, template=along(axis, part)) for part in slices]


@implements(np.split)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    pieces = _array_split(ary, indices_or_sections, axis)
    if not np.ndim(indices_or_sections) and pieces[0].shape != pieces[-1].shape:
        raise ValueError(
            f"axis {axis} of an array of shape {np.shape(ary)} does not split into "
            f"{indices_or_sections} equal parts; np.array_split makes unequal ones"
        )
    return pieces


@implements(np.hsplit)
def _hsplit(ary: Any, indices_or_sections: Any) -> Any:
    _check_axes("hsplit", ary, 1)
    return _split(ary, indices_or_sections, 1 if np.ndim(ary) > 1 else 0)


@implements(np.vsplit)
def _vsplit(ary: Any, indices_or_sections: Any) -> Any:
    _check_axes("vsplit", ary, 2)
    return _split(ary, indices_or_sections, 0)


@implements(np.dsplit)
def _dsplit(ary: Any, indices_or_sections: Any) -> Any:
    _check_axes("dsplit", ary, 3)
    return _split(ary, indices_or_sections, 2)


def _check_axes(name: str, x: Any, least: int) -> None:
    if np.ndim(x) < least:
        raise ValueError(f"{name} needs an array of {least} axes or more, got {np.ndim(x)}")


if hasattr(np, "unstack"):  # NumPy 2.1

    @implements(np.unstack)
    def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
        x = shaped(x)
        axis = normalize_axis_index(axis, x.ndim)
        return tuple(getitem(x, template=along(axis, i)) for i in range(x.shape[axis]))
