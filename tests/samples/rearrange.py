"""Samples for tinygrad_nn/rules/rearrange.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .rows import Call, Row, call, r, row

Array = np.ndarray

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = [
    row("flip", (2, 3)),
    row("flip", (2, 3), axis=-1),
    row("flip", (2, 3, 2), axis=(0, 2)),
    row("flip", (2, 3), axis=()),
    row("flip", ()),
    row("flip", (0, 3), axis=0),
    row("roll", (5,), shift=2),
    row("roll", (2, 3), shift=-4),
    row("roll", (2, 3), shift=1, axis=-1),
    row("roll", (2, 3, 2), shift=(1, -2), axis=(0, 1)),
    row("roll", (2, 3), shift=1, axis=(0, 1)),
    row("roll", (2, 3), shift=(1, 2), axis=1),
    row("roll", (0, 3), shift=1, axis=0),
    row("roll", (), shift=1),
    row("diagonal", (3, 3)),
    row("diagonal", (2, 4), offset=1),
    row("diagonal", (2, 4), offset=-1),
    row("diagonal", (2, 3, 4), offset=1, axis1=-1, axis2=0),
    row("diagonal", (2, 3), offset=5),
    row("embed_diagonal", (3,), offset=0, axis1=0, axis2=1, shape=(3, 3)),
    row("embed_diagonal", (1,), offset=-1, axis1=0, axis2=1, shape=(2, 4)),
    row("embed_diagonal", (3, 1), offset=1, axis1=-1, axis2=0, shape=(2, 3, 4)),
]

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}


def _embed_diagonal(x: Array, *, shape: tuple[int, ...], **static: Any) -> Array:
    places = np.diagonal(np.arange(np.prod(shape)).reshape(shape), **static)
    y = np.zeros(shape)
    y.flat[places.ravel()] = x.ravel()
    return y


#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {"embed_diagonal": _embed_diagonal}

_PADS = [
    call(np.pad, r(2, 3), 1),
    call(np.pad, r(2, 3), (1, 2), "constant"),
    call(np.pad, r(2, 3), ((1, 0), (0, 2)), mode="constant", constant_values=0.0),
    call(np.pad, r(2, 3), ((1,), (2,)), constant_values=1.5),
    call(np.pad, r(2, 3), 1, constant_values=((1.0, 2.0), (3.0, 4.0))),
    call(np.pad, r(2, 2), 1, constant_values=(-1, 2)),
    call(np.pad, r(3), [1, 2]),
    call(np.pad, r(0, 2), 1),
    call(np.pad, r(), 1),
    call(np.pad, r(), 2, constant_values=1.5),
    call(np.pad, r(), 1, "edge"),
    *[
        call(np.pad, r(*shape), width, mode)
        for mode in (
            "edge", "reflect", "symmetric", "wrap", "linear_ramp", "maximum", "minimum", "mean",
        )
        for shape, width in [((4,), 2), ((2, 3), ((1, 0), (2, 1))), ((3,), (7, 8)), ((1, 2), 1)]
    ],
    *[
        call(np.pad, r(*shape), width, mode, reflect_type="odd")
        for mode in ("reflect", "symmetric")
        for shape, width in [
            ((4,), 2), ((2, 3), ((1, 0), (2, 1))), ((3,), (7, 8)), ((2,), (1, 6)), ((1, 2), 1),
            ((3,), (0, 9)), ((3,), (9, 1)),
        ]
    ],
    call(np.pad, r(2, 3), 2, mode="linear_ramp", end_values=1.5),
    call(np.pad, r(2, 3), 1, "linear_ramp", end_values=((1, 2), (3, 4))),
    call(np.pad, r(5), 2, "maximum", stat_length=2),
    call(np.pad, r(2, 5), 2, "mean", stat_length=((1, 2), (3, 9))),
    call(np.pad, r(5), 2, "minimum", stat_length=(2,)),
    call(np.pad, r(5), 2, "median"),
    call(np.pad, r(2, 3), ((1, 0), (2, 1)), "median"),
    call(np.pad, r(5), 2, "median", stat_length=3),
    call(np.pad, r(0, 2), ((0, 0), (1, 1)), "edge"),
]  # fmt: skip
if hasattr(np, "unstack"):  # as old as widths in a dict are, nearly
    _PADS += [call(np.pad, r(2, 3), {-1: (1, 2)}), call(np.pad, r(2, 3), {0: 1}, "edge")]

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    call(np.fliplr, r(2, 3)),
    call(np.flipud, r(3)),
    call(np.flipud, r(2, 3)),
    *[call(np.rot90, r(2, 3), k) for k in (-1, 0, 1, 2, 3, 5)],
    *[call(np.rot90, r(2, 3, 2), k, axes=(2, 0)) for k in (1, 2, 3)],
    call(np.rot90, r(2, 3, 2), axes=(-1, 1)),
    call(np.tile, r(2, 3), 2),
    call(np.tile, r(2, 3), (2, 1)),
    call(np.tile, r(2), (2, 1, 3)),
    call(np.tile, r(2, 1, 2), [2]),
    call(np.tile, r(), 3),
    call(np.tile, r(), ()),
    call(np.tile, r(2), 0),
    call(np.repeat, r(2, 3), 2),
    call(np.repeat, r(2, 3), 2, axis=0),
    call(np.repeat, r(2, 3), [1, 0, 2], axis=-1),
    call(np.repeat, r(2, 3), np.array([2]), 1),
    call(np.repeat, r(3), (2, 1, 0)),
    call(np.repeat, r(), 3),
    call(np.repeat, r(2), 0),
    call(np.resize, r(2, 3), (2, 2)),
    call(np.resize, r(2, 3), (3, 5)),
    call(np.resize, r(2), 5),
    call(np.resize, r(3), ()),
    call(np.resize, r(0), (2, 2)),
    call(np.resize, r(2), (0, 3)),
    call(np.delete, r(2, 3), 1),
    call(np.delete, r(2, 3), -1, axis=1),
    call(np.delete, r(4), [0, 2, 2]),
    call(np.delete, r(4), slice(0, 3, 2), 0),
    call(np.delete, r(2, 3), np.array([True, False, True]), axis=1),
    call(np.insert, r(3), 1, r()),
    call(np.insert, r(3), 1, r(2)),
    call(np.insert, r(3), [1], r(2)),
    call(np.insert, r(3), [3, 0, 1], r(3)),
    call(np.insert, r(3), [1, 1, -1], 5.0),
    call(np.insert, r(2, 3), 1, r(2), axis=1),
    call(np.insert, r(2, 3), [1], r(2, 1), axis=1),
    call(np.insert, r(2, 3), [0, 2], r(2, 2), axis=-1),
    call(np.insert, r(2, 3), slice(0, 3, 2), r(2, 1), axis=-1),
    call(np.insert, r(2, 3), 2, r(3), 0),
    call(np.insert, r(2, 3), 2, r(2)),
    call(np.insert, r(3), np.array([True, False, True]), r(2)),
    call(np.insert, np.ones((2, 2)), 0, r(2), axis=0),
    call(np.insert, r(2, 2), 1, [1, 2], axis=1),
    call(np.insert, r(2), [], []),
    call(np.trim_zeros, r(4)),
    call(np.trim_zeros, np.array([0.0, 0.0, 1.0, 0.0, 2.0, 0.0]), "b"),
    call(np.diag, r(3)),
    call(np.diag, r(2), 1),
    call(np.diag, r(2), k=-2),
    call(np.diag, r(3, 4)),
    call(np.diag, r(3, 4), -1),
    call(np.diagflat, r(2, 2)),
    call(np.diagflat, r(2), 1),
    call(np.diagflat, r()),
    call(np.trace, r(3, 3)),
    call(np.trace, r(2, 3, 4), 1, 0, 2),
    call(np.trace, r(2, 3, 4), offset=-1, axis1=-1, axis2=1),
    call(np.trace, r(3, 3), dtype=np.float64),
    *[
        call(f, r(*shape), k)
        for f in (np.tril, np.triu)
        for shape, k in [((3, 3), 0), ((2, 4), 1), ((4, 2), -1), ((2, 3, 2), 0), ((3,), 0)]
    ],
    call(np.triu, r(3, 3)),
    call(np.tril, m=r(2, 3), k=-5),
    *_PADS,
]
