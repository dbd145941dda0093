"""Samples for tinygrad_nn/rules/indexing.py."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_nn.rules.indexing import ARRAY, split_index

from .rows import Call, Row, call, r, row

Array = np.ndarray

_MASK = np.array([[True, False, True], [False, False, True]])

#: Shape, index and the shape of what is assigned there.
_SET: list[tuple[tuple[int, ...], Any, tuple[int, ...]]] = [
    ((4,), 1, ()),
    ((4,), slice(None, None, -1), (4,)),
    ((4,), slice(3, 0, -2), ()),
    ((2, 3), (), (2, 3)),
    ((2, 3), (slice(None), 1), (1,)),
    ((2, 3), (..., -1), (2,)),
    ((2, 3), (None, 0, slice(1)), (1, 1)),
    ((3,), np.array([0, 0, 2]), (3,)),
    ((3,), np.array([2, 0, -1]), ()),
    ((3,), np.array([0, 0, 2, 0]), (1,)),
    ((3,), np.zeros(0, np.intp), (0,)),
    ((2, 3), (np.array([1, 0, 1]), np.array([2, 2, 2])), (3,)),
    ((2, 3), (slice(None), np.array([[0, 0], [2, 1]])), (2, 1, 2)),
    ((2, 3), _MASK, (3,)),
    ((2, 3), (slice(None), np.array([True, False, True])), (2, 1)),
    ((2, 3), (np.array([True, True]), np.array([2, 2])), (2,)),
    ((2, 3), (slice(0, 0), 1), (0,)),
    ((3, 4), np.ix_([0, 2, 2], [1, 3]), (3, 2)),
    ((), (), ()),
]


def _joined(template: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    rest = iter(arrays)
    return tuple(next(rest) if part is ARRAY else part for part in template)


def _writes(
    shape: tuple[int, ...], template: Any, arrays: tuple[Any, ...]
) -> tuple[Array, tuple[int, ...]]:
    size = int(np.prod(shape))
    positions = np.arange(size).reshape(shape)[_joined(template, arrays)]
    return np.ravel(positions), np.shape(positions)


def _index_set(x: Array, v: Any, *arrays: Array, template: Any) -> Array:
    positions, shape = _writes(x.shape, template, arrays)
    y = x.copy()
    for position, value in zip(positions, np.ravel(np.broadcast_to(v, shape)), strict=True):
        y.flat[position] = value
    return y


def _last_writes(*arrays: Array, template: Any, shape: tuple[int, ...]) -> Array:
    positions, selected = _writes(shape, template, arrays)
    last = [p not in positions[i + 1 :] for i, p in enumerate(positions)]
    return np.array(last, dtype=bool).reshape(selected)


def _rows() -> Iterator[Row]:
    for shape, index, v in _SET:
        template, arrays = split_index(index)
        yield row("index_set", shape, v, *arrays, template=template)
        if arrays and arrays[0].dtype != bool:
            yield row("last_writes", *arrays, template=template, shape=shape)
    yield row("index_set", (2, 3), 0.0, np.array([0, 0]), template=(slice(None), ARRAY))


#: Rows of primitives that are not elementwise.
ROWS: list[Row] = list(_rows())

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}

#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {
    "take_along_axis": np.take_along_axis,
    "index_set": _index_set,
    "last_writes": _last_writes,
}


def _square(x: Any) -> Any:
    return x * x


def _scaled(x: Any, by: float, *, plus: float = 0.0) -> Any:
    return x * by + plus


_X = np.array([[0.3, -1.2, 2.0], [1.5, 0.7, -0.4]])

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    call(np.take, r(2, 3), [0, 5, 0]),
    call(np.take, r(2, 3), 1, axis=-1),
    call(np.take, r(2, 3), np.array([[0, -1], [2, 2]]), 1),
    call(np.take, r(2, 3), [], 0),
    call(np.take, r(3), [True, False]),
    call(np.take, r(), [0, 0], axis=-1),
    call(np.take, r(2, 3), [7, -8], mode="wrap"),
    call(np.take, r(2, 3), [7, -8, 1], axis=1, mode="clip"),
    call(np.compress, [True, False, True], r(2, 3), axis=1),
    call(np.compress, [0, 1], r(2, 3), 0),
    call(np.compress, [False, True, True], r(2, 3)),
    call(np.extract, _MASK, r(2, 3)),
    call(np.extract, [1, 0, 2], r(3)),
    call(np.take_along_axis, r(3, 4), np.array([[3, 0], [1, 1], [0, 2]]), axis=1),
    call(np.take_along_axis, r(3, 4), np.array([[0], [-1], [2]]), -1),
    call(np.take_along_axis, r(2, 3), np.array([4, 0, 4]), None),
    call(np.choose, [2, 0, 1], [r(3), r(3), r(3)]),
    call(np.choose, [[0], [1]], [r(3), r(2, 1)]),
    call(np.choose, np.array([3, -1]), (r(2), 1.5), mode="wrap"),
    call(np.choose, np.array([3, -1]), r(2, 2), mode="clip"),
    call(np.choose, 1, [r(2), r()]),
    call(np.select, [_X > 1.0, _X < 0.0], [r(2, 3), r(3)]),
    call(np.select, [_X > 1.0, _X > 0.0], [r(2, 3), 2.0], default=-1.0),
    call(np.select, [np.array(True)], [r(2)], 7),
    call(np.piecewise, r(2, 3), [_X < 0.0, _X > 1.0], [_square, -1.0]),
    call(np.piecewise, r(2, 3), [_X < 0.0, _X < 1.0], [_square, np.exp, np.sin]),
    call(np.piecewise, r(3), [True, False, True], [_scaled, 0.5], 2.0, plus=1.0),
    call(np.piecewise, r(3), np.zeros((1, 3), bool), [_square]),
]
