"""Samples for tinygrad_nn/rules/shape.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .rows import Call, Row, call, r

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = []

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}

#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {
    "reshape": np.reshape,
    "ravel": np.ravel,
    "copy": np.array,
}

_ARRAY = np.array([[1.0, 2.0, 3.0]])

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    call(np.copy, r(2, 3)),
    call(np.copy, r(2, 3), "F", subok=True),
    call(np.copy, r(), order="C"),
    call(np.full_like, r(2, 3), r()),
    call(np.full_like, r(2), r(3), shape=(2, 3)),
    call(np.reshape, r(2, 3), (3, 2)),
    call(np.reshape, r(2, 3), -1),
    call(np.reshape, r(2, 3), [3, -1]),
    call(np.reshape, r(2, 3), (3, 2), "F"),
    call(np.reshape, r(2, 3, 4), (4, -1), order="F"),
    call(np.reshape, r(2, 3), 6, order="F"),
    call(np.reshape, r(), (1, 1), order="F"),
    call(np.reshape, r(0, 3), (3, 0), copy=True),
    call(np.ravel, r(2, 3)),
    call(np.ravel, r(2, 3, 2), "F"),
    call(np.ravel, r(), order="F"),
    call(np.matrix_transpose, r(2, 3)),
    call(np.matrix_transpose, r(2, 3, 4)),
    call(np.rollaxis, r(2, 3, 4), 2),
    call(np.rollaxis, r(2, 3, 4), 0, 3),
    call(np.rollaxis, r(2, 3, 4), -2, start=-1),
    call(np.atleast_1d, r()),
    call(np.atleast_1d, r(2), 3.0, r()),
    call(np.atleast_2d, r()),
    call(np.atleast_2d, r(3)),
    call(np.atleast_2d, r(2, 3), [1.0, 2.0], r(0)),
    call(np.atleast_3d, r()),
    call(np.atleast_3d, r(3), r(2, 3), r(2, 3, 4), r(1, 2, 1, 2)),
    call(np.broadcast_arrays, r(3, 1), r(4), 2.0),
    call(np.broadcast_arrays, r(2, 3), _ARRAY),
    call(np.broadcast_arrays, r(0, 1), r(3)),
    call(np.meshgrid, r(2), r(3)),
    call(np.meshgrid, r(2), r(3), indexing="ij"),
    call(np.meshgrid, r(2), [1.0, 2.0, 3.0], r(4), sparse=True),
    call(np.meshgrid, r(2), r(1), r(3), indexing="ij", sparse=True, copy=False),
    call(np.meshgrid, r(3)),
    call(np.meshgrid, r(), r(2)),
    *([call(np.astype, r(2, 3), np.float64)] if hasattr(np, "astype") else []),
]
