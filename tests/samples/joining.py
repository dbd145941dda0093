"""Samples for tinygrad_nn/rules/joining.py."""

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
    "concatenate": lambda *xs, **static: np.concatenate(xs, **static),
    "stack": lambda *xs, **static: np.stack(xs, **static),
}

_ROW = [[1.0, 2.0, 3.0]]

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    call(np.concatenate, [r(2, 3), r(1, 3)]),
    call(np.concatenate, (r(2, 3), _ROW), 0),
    call(np.concatenate, [r(2, 3), r(2, 1), r(2, 2)], axis=-1),
    call(np.concatenate, [r(2, 3), r(2), r()], axis=None),
    call(np.concatenate, r(2, 3)),
    call(np.concatenate, [r(2), r(3)], dtype=np.float64, casting="safe"),
    call(np.concatenate, [r(2), [1, 2]], casting="safe"),
    call(np.concatenate, [r(1)] * 150),
    call(np.concatenate, [r(1, 1)] * 70, axis=None),
    call(np.concatenate, [r(2, 1)] * 70, axis=-1),
    call(np.stack, [r(2, 3), r(2, 3)]),
    call(np.stack, [r(2, 3), [[1.0, 2.0, 3.0]] * 2], axis=-1),
    call(np.stack, [r(), r()], axis=0, dtype=np.float64),
    call(np.stack, [r()] * 150),
    call(np.stack, [r(2)] * 70, axis=-1),
    call(np.stack, r(2, 3), 1),
    call(np.vstack, [r(3), r(2, 3), _ROW]),
    call(np.vstack, (r(),)),
    call(np.vstack, [r(2), r(2)], dtype=np.float64, casting="safe"),
    call(np.hstack, [r(3), r(2)]),
    call(np.hstack, [r(), r()]),
    call(np.hstack, (r(2, 3), r(2, 1))),
    call(np.hstack, [r(2, 3, 2), r(2, 1, 2)], dtype=np.float64),
    call(np.dstack, [r(3), r(3)]),
    call(np.dstack, [r(2, 3), r(2, 3)]),
    call(np.dstack, [r(2, 3, 1), r(2, 3, 2)]),
    call(np.column_stack, [r(3), r(3, 2), [1.0, 2.0, 3.0]]),
    call(np.column_stack, (r(2), r(2))),
    call(np.append, r(2, 3), r(2)),
    call(np.append, r(2, 3), _ROW, axis=0),
    call(np.append, r(2, 3), r(2, 1), -1),
    call(np.append, [1.0, 2.0], r(2)),
    call(np.append, r(2), 1.0),
    call(np.block, [[r(2, 2), r(2, 1)], [r(1, 2), r(1, 1)]]),
    call(np.block, [r(2), r(3), 1.0]),
    call(np.block, [[r(2, 2)], [r(2)]]),
    call(np.block, [[[r(2)], [r(2)]]]),
    call(np.block, [r(2, 1, 2), r(2, 1, 1)]),
    call(np.block, r(2)),
    call(np.array_split, r(7), 3),
    call(np.array_split, r(2, 3), 4, axis=1),
    call(np.array_split, r(7), [2, 2, 5]),
    call(np.array_split, r(7), np.array([5, 2, -1, 9])),
    call(np.split, r(6), 3),
    call(np.split, r(4, 2), 2, -1),
    call(np.split, r(4, 2), (1, 3)),
    call(np.hsplit, r(6), 2),
    call(np.hsplit, r(2, 4), [1]),
    call(np.vsplit, r(4, 2), 2),
    call(np.dsplit, r(1, 2, 4), 2),
    *(
        [call(np.unstack, r(2, 3)), call(np.unstack, r(2, 3, 2), axis=-2)]
        if hasattr(np, "unstack")
        else []
    ),
]
