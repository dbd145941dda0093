"""Samples for tinygrad_nn/rules/sequence.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .reduction import HOLES, with_nan
from .rows import Call, Row, call, r, row

_ZEROS = np.array([[2.0, 0.0, 3.0, 4.0], [2.0, 0.0, 0.0, 4.0], [1.5, -2.0, 0.5, 1.1]])
_LONG = np.linspace(-1.1, 1.2, 40).reshape(2, 20)

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = [
    row("unique_part", np.array([2.0, 1.0, 2.0]), part="index"),
    row("unique_part", np.array([2.0, 1.0, 2.0]), part="counts"),
    *[
        row(name, shape, **static)
        for name in ("cumsum", "cumprod")
        for shape, static in [
            ((4,), {"axis": 0}),
            ((2, 3), {"axis": 0}),
            ((2, 3), {"axis": -1, "reverse": True}),
            ((2, 3, 2), {"axis": 1}),
            ((2, 0), {"axis": 1}),
            ((0, 2), {"axis": 1}),
            ((1,), {"axis": 0, "reverse": True}),
        ]
    ],
    row("cumprod", _ZEROS, axis=1),
    row("cumprod", _ZEROS, axis=0),
    row("cumprod", _ZEROS, axis=1, reverse=True),
    row("recurrence", (4,), (4,)),
    row("recurrence", (2, 3), (2, 3), axis=0),
    row("recurrence", (2, 3), (2, 3), axis=1, reverse=True),
    row("recurrence", _LONG, (2, 20), axis=0),  # as many as are computed all at once
    row("recurrence", _LONG, (2, 20), axis=0, reverse=True),
    row("recurrence", _ZEROS, (3, 4)),
    row("recurrence", (2, 0), (2, 0)),
    row("recurrence", (0, 2), (0, 2)),
    *[
        row(name, shape, **static)
        for name in ("cummax", "cummin", "running_argmax")
        for shape, static in [
            ((5,), {"axis": 0}),
            ((3, 4), {"axis": 0}),
            ((3, 4), {"axis": -1}),
            ((2, 3, 2), {"axis": 1}),
            ((2, 0), {"axis": 1}),
        ]
    ],
    row("running_argmax", (3, 4), axis=1, largest=False),
    *[
        row("logcumsumexp", shape, axis=axis)
        for shape, axis in [
            ((5,), 0),
            ((3, 4), 0),
            ((3, 4), -1),
            ((2, 3, 2), 1),
            ((2, 0), 1),
            ((0, 2), 1),
        ]
    ],
    row("logcumsumexp", np.array([800.0, 801.0, -900.0, 799.0]), axis=0),
    row("running_argmax", np.array([1.0, 1.0, 0.0, 2.0, 2.0, 3.0]), axis=0),
    row("add_reduceat", (6,), indices=(0, 2, 3)),
    row("add_reduceat", (6,), indices=(4, 1, 1, 0)),
    row("add_reduceat", (2, 5), indices=(1, 3), axis=-1),
    row("add_reduceat", (4, 2), indices=[0, 3], axis=0),
    *[
        row(name, shape, **static)
        for name in ("sort", "argsort", "rank")
        for shape, static in [
            ((5,), {}),
            ((3, 4), {}),
            ((3, 4), {"axis": 0}),
            ((2, 3, 2), {"axis": 1}),
            ((2, 0), {}),
        ]
    ],
    *[
        row(name, shape, **static)
        for name in ("partition", "argpartition")
        for shape, static in [
            ((7,), {"kth": 3}),
            ((3, 4), {"kth": (0, 2)}),
            ((4, 3), {"kth": -1, "axis": 0}),
            ((2, 5, 2), {"kth": 2, "axis": 1}),
        ]
    ],
    row("argpartition", (2, 3), kth=2, axis=None),
    row("rank", np.array([2.0, 1.0, 2.0, 1.0])),
    row("ranked", (5,), ranks=[0, 3]),
    row("ranked", (2, 5), ranks=(3, 2, 4)),
    row("ranked", (0, 5), ranks=(3,)),
    row("lexsort", (4,), (4,)),
    row("lexsort", (2, 3), (2, 3), axis=0),
    row("lexsort", np.array([1.0, 0.0, 2.0]), np.array([1.0, 1.0, 0.0])),
]

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}


def _turned(function: Callable[..., Any]) -> Callable[..., Any]:
    def reference(x: Any, *, axis: int, reverse: bool = False) -> Any:
        return np.flip(function(np.flip(x, axis), axis), axis) if reverse else function(x, axis)

    return reference


def _recurrence(a: Any, b: Any, *, axis: int = -1, reverse: bool = False) -> Any:
    a, b = (np.moveaxis(x, axis, 0)[:: -1 if reverse else 1] for x in (a, b))
    y = b.copy()
    for i in range(1, len(b)):
        y[i] = sum((b[k] * np.prod(a[k + 1 : i + 1], axis=0) for k in range(i)), b[i])
    return np.moveaxis(y[:: -1 if reverse else 1], 0, axis)


def _running_argmax(x: Any, *, axis: int, largest: bool = True) -> Any:
    def along(row: Any) -> Any:
        found = [0] if len(row) else []
        for i in range(1, len(row)):
            best, new = row[found[-1]], row[i]
            found.append(i if (new >= best if largest else new <= best) else found[-1])
        return np.array(found, dtype=np.intp)

    return np.apply_along_axis(along, axis, x) if x.size else np.zeros(x.shape, np.intp)


def _logcumsumexp(x: Any, *, axis: int) -> Any:
    top = np.max(x, axis=axis, keepdims=True, initial=0.0)
    with np.errstate(divide="ignore"):
        return top + np.log(np.cumsum(np.exp(x - top), axis))


#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {
    "unique_part": lambda x, *, part: np.array([1, 0] if part == "index" else [1, 2]),
    "cumsum": _turned(np.cumsum),
    "cumprod": _turned(np.cumprod),
    "recurrence": _recurrence,
    "running_argmax": _running_argmax,
    "cummax": np.maximum.accumulate,
    "cummin": np.minimum.accumulate,
    "logcumsumexp": _logcumsumexp,
    "add_reduceat": lambda x, *, indices, axis=0: np.add.reduceat(x, indices, axis),
    "sort": np.sort,
    "argsort": np.argsort,
    "partition": np.partition,
    "rank": lambda x, *, axis=-1: np.argsort(np.argsort(x, axis, "stable"), axis),
    "ranked": lambda x, *, ranks: np.argsort(x, axis=-1)[..., list(ranks)],
    "lexsort": lambda *keys, axis=-1: np.lexsort(keys, axis),
}

#: Since NumPy 2.1.
_CUMULATIVE = [f for name in ("sum", "prod") if (f := getattr(np, f"cumulative_{name}", None))]
_X = np.array([0.0, 0.7, 1.1, 2.5])

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    *[
        call(function, x, **keywords)
        for function in (np.cumsum, np.cumprod, np.nancumsum, np.nancumprod)
        for x, keywords in [
            (r(5), {}),
            (r(2, 3), {}),
            (r(2, 3), {"axis": 0}),
            (r(2, 3), {"axis": -1, "dtype": np.float64}),
            (r(), {}),
            (r(2, 0), {"axis": 1}),
        ]
    ],
    *[
        call(function, r(), axis=axis)
        for function in (np.cumsum, np.cumprod, np.nancumsum)
        for axis in (0, -1)
    ],
    *[
        call(function, r(2, 3, domain=(5.0, 9.0)), axis=1, dtype=dtype)
        for function in (
            np.cumsum,
            np.cumprod,
            np.nancumsum,
            np.nancumprod,
            np.add.accumulate,
            np.multiply.accumulate,
            np.maximum.accumulate,
            *_CUMULATIVE,
        )
        for dtype in (bool, np.int8)
    ],
    *[
        call(ufunc.accumulate, r(4), axis=None)
        for ufunc in (np.add, np.maximum, np.logaddexp, np.logaddexp2)
    ],
    call(np.add.reduceat, r(6), [0, 2, 3], dtype=bool),
    call(np.cumsum, r(2, 3), 1),
    call(with_nan(np.nancumsum, HOLES), r(3, 4), axis=1),
    call(with_nan(np.nancumprod, HOLES), r(3, 4), axis=0),
    call(with_nan(np.nancumprod, HOLES), r(3, 4)),
    *[
        call(ufunc.accumulate, r(3, 4), **keywords)
        for ufunc in (
            np.add,
            np.multiply,
            np.maximum,
            np.minimum,
            np.logaddexp,
            np.logaddexp2,
        )
        for keywords in ({}, {"axis": 1}, {"axis": -2})
    ],
    *[
        call(function, x, **keywords)
        for function in _CUMULATIVE
        for x, keywords in [
            (r(4), {}),
            (r(2, 3), {"axis": 1}),
            (r(2, 3), {"axis": -2, "include_initial": True}),
            (r(3), {"include_initial": True, "dtype": np.float64}),
            (r(), {}),
        ]
    ],
    call(np.add.reduceat, r(6), [0, 2, 3]),
    call(np.add.reduceat, r(6), np.array([4, 1, 1, 0])),
    call(np.add.reduceat, r(2, 5), [1, 3], axis=1),
    call(np.diff, r(5)),
    call(np.diff, r(5), 2),
    call(np.diff, r(5), n=0),
    call(np.diff, r(3, 4), axis=0),
    call(np.diff, r(3, 4), n=3),
    call(np.diff, r(3, 4), prepend=0.5, append=r(3, 2)),
    call(np.diff, r(3, 4), axis=0, prepend=r(1, 4), append=r()),
    call(np.diff, r(1)),
    call(np.ediff1d, r(5)),
    call(np.ediff1d, r(2, 3), to_end=0.5),
    call(np.ediff1d, r(4), [1.0, 2.0], r(1)),
    call(np.gradient, r(5)),
    call(np.gradient, r(5), 0.5),
    call(np.gradient, r(5), edge_order=2),
    call(np.gradient, r(4), _X),
    call(np.gradient, r(4), _X, edge_order=2),
    call(np.gradient, r(3, 4)),
    call(np.gradient, r(3, 4), 2.0, _X, edge_order=2),
    call(np.gradient, r(3, 4), _X, axis=1),
    call(np.gradient, r(3, 4, 3), 0.5, 1.5, axis=(-1, 0)),
    call(np.gradient, r(2)),
    call(np.gradient, r(3, 4), axis=[1, 0]),
    call(np.gradient, r(4), r(domain=(0.5, 1.0))),
    call(np.gradient, r(4), r(4, domain=(0.5, 1.0)), edge_order=2),
    call(np.gradient, r(4), np.array([0, 1, 3, 4])),
    call(np.trapezoid, r(5)),
    call(np.trapezoid, r(5), dx=0.5),
    call(np.trapezoid, r(4), _X),
    call(np.trapezoid, r(3, 4), _X, axis=1),
    call(np.trapezoid, r(4, 3), x=_X, axis=0),
    call(np.trapezoid, r(3, 4), r(3, 4)),
    call(np.trapezoid, r(3, 4), r(3), axis=0),
    call(np.trapezoid, _X, r(4)),
    call(np.trapezoid, r(1)),
    call(np.lexsort, (r(4), r(4))),
    call(np.lexsort, (r(2, 3), r(2, 3)), axis=0),
    call(np.sort, r(5)),
    call(np.sort, r(3, 4), 0),
    call(np.sort, r(3, 4), axis=None),
    call(np.sort, r(2, 3, 4), axis=1, kind="stable"),
    call(np.sort, r(3, 4), stable=True),
    call(np.partition, r(7), 3),
    call(np.partition, r(3, 4), (0, 2)),
    call(np.partition, r(4, 3), -1, axis=0),
    call(np.partition, r(2, 3), [2, 4], axis=None),
    call(np.partition, r(3, 4), np.array([1, 2])),
    call(np.unique, r(2, 3)),
    call(np.unique, r(4), return_index=True, return_counts=True),
    call(np.unique, r(4), True, True, True),
    call(np.unique, r(3, 2), axis=0, return_inverse=True),
    call(np.unique_values, r(4)),
    call(np.unique_inverse, r(4)),
    call(np.unique_all, r(2, 2)),
]
