"""Samples for tinygrad_nn/rules/linalg.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .rows import Call, Row, call, r

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = []

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}

#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {}

_W = np.arange(6.0).reshape(2, 3) - 2.2

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    *[
        call(np.dot, r(*a), r(*b))
        for a, b in [
            ((), (2, 3)),
            ((2,), ()),
            ((3,), (3,)),
            ((2, 3), (3,)),
            ((3,), (3, 2)),
            ((2, 3), (3, 4)),
            ((2, 2, 3), (3,)),
            ((3,), (2, 3, 2)),
            ((2, 2, 3), (3, 4)),
            ((2, 3), (2, 3, 2)),
            ((2, 1, 3), (2, 3, 2)),
            ((0, 1, 3), (2, 3, 2)),
        ]
    ],
    call(np.dot, _W, r(2, 3, 2)),
    call(np.dot, r(2, 2), [[1.0, 2.0], [0.5, -1.0]]),
    call(np.linalg.matmul, r(2, 2, 3), r(3, 2)),
    *[
        call(np.inner, r(*a), r(*b))
        for a, b in [
            ((), (2, 3)),
            ((2,), ()),
            ((3,), (3,)),
            ((2, 3), (3,)),
            ((2, 3), (4, 3)),
            ((2, 2, 3), (2, 3)),
            ((0,), (2, 0)),
        ]
    ],
    call(np.vdot, r(3), r(3)),
    call(np.vdot, r(2, 3), r(3, 2)),
    call(np.vdot, r(), r()),
    call(np.vdot, np.array([1.0 + 2.0j, 3.0j]), r(2)),
    call(np.outer, r(2), r(3)),
    call(np.outer, r(2, 2), r(3)),
    call(np.outer, r(), r(3)),
    call(np.outer, r(0), r(3)),
    call(np.outer, [1.0, 2.0], r(3)),
    call(np.linalg.outer, r(2), r(3)),
    *[
        call(np.tensordot, r(*a), r(*b), axes=axes)
        for a, b, axes in [
            ((2, 3, 4), (3, 4, 2), 2),
            ((2, 3), (3, 4), 1),
            ((2, 3), (2,), 0),
            ((2, 3), (2, 3), 2),
            ((2, 3, 4), (4, 2, 3), ([0, 2], [1, 0])),
            ((2, 3, 4), (4, 3), ((1, -1), (-1, 0))),
            ((2, 3), (2, 4), (0, 0)),
            ((2, 0), (0, 3), 1),
            ((2, 3), (4,), ([], [])),
        ]
    ],
    call(np.tensordot, r(2, 3, 2), r(3, 2)),
    call(np.tensordot, _W, r(3, 2), 1),
    call(np.linalg.tensordot, r(2, 3), r(3, 2), axes=1),
    call(np.linalg.tensordot, r(2, 3, 2), r(3, 2)),
    call(np.kron, r(2, 3), r(3, 2)),
    call(np.kron, r(2), r(2, 3)),
    call(np.kron, r(1, 2, 2), r(2)),
    call(np.kron, r(), r(3)),
    call(np.kron, r(2, 0), r(3, 2)),
    call(np.kron, [[0.0, 1.0], [1.0, 0.0]], r(2, 2)),
    call(np.cross, r(3), r(3)),
    call(np.cross, r(2, 3), r(3)),
    call(np.cross, r(2, 1, 3), r(4, 3)),
    call(np.cross, r(3, 2), r(3, 2), axis=0),
    call(np.cross, r(3, 2), r(2, 3), axisa=0, axisc=0),
    call(np.cross, r(2, 3), r(3, 2), axisb=0),
    call(np.cross, [1.0, 2.0, 3.0], r(3)),
    call(np.linalg.cross, r(3), r(2, 3)),
    call(np.linalg.cross, r(3, 2), r(3, 2), axis=0),
    call(np.vecdot, r(3), r(3)),
    call(np.vecdot, r(2, 3), r(3)),
    call(np.vecdot, r(4, 1, 3), r(2, 3)),
    call(np.vecdot, np.array([1.0 + 2.0j, 3.0j]), r(2)),
    call(np.linalg.vecdot, r(2, 3), r(2, 3)),
    call(np.linalg.vecdot, r(3, 2), r(3, 2), axis=0),
    *([
        call(np.matvec, r(2, 3), r(3)),
        call(np.matvec, r(4, 2, 3), r(4, 3)),
        call(np.matvec, r(2, 3), r(4, 3)),
        call(np.vecmat, r(2), r(2, 3)),
        call(np.vecmat, r(4, 2), r(2, 3)),
        call(np.vecmat, np.array([1.0 + 2.0j, 3.0j]), r(2, 3)),
    ] if hasattr(np, "matvec") else []),
    call(np.linalg.multi_dot, [r(2, 3), r(3, 4)]),
    call(np.linalg.multi_dot, [r(2, 3), r(3, 1), r(1, 4)]),
    call(np.linalg.multi_dot, (r(2, 3), r(3, 2), r(2, 5), r(5, 1))),
    call(np.linalg.multi_dot, [r(3), r(3, 2), r(2)]),
    call(np.linalg.multi_dot, [r(3), r(3, 2)]),
    call(np.linalg.multi_dot, [r(2, 3), r(3, 2), r(2)]),
    call(np.linalg.multi_dot, [_W, r(3, 2), _W]),
    *[call(np.linalg.matrix_power, r(2, 2), n) for n in (0, 1, 2, 3, 5, -1, -2, -3)],
    call(np.linalg.matrix_power, r(2, 3, 3), 2),
    call(np.linalg.matrix_power, r(2, 2, 2), 0),
    call(np.linalg.matrix_power, r(2, 2, 2), -1),
    call(np.linalg.diagonal, r(2, 3, 3)),
    call(np.linalg.diagonal, r(2, 3), offset=1),
    call(np.linalg.trace, r(3, 3)),
    call(np.linalg.trace, r(2, 3, 4), offset=-1),
    call(np.linalg.trace, r(2, 2), dtype=np.float64),
    call(np.linalg.trace, r(2, 2, domain=(5.0, 9.0)), dtype=int),
    call(np.linalg.matrix_transpose, r(2, 3, 4)),
]  # fmt: skip
