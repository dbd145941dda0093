"""Samples for tinygrad_nn/rules/reduction.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .rows import Call, Row, call, r, row

_ZEROS = np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [1.5, -2.0, 0.5]])
_HOLES = np.array([[np.nan, 2.0, 3.1, -1.0], [0.4, 0.7, -1.3, np.nan], [1.5, -2.0, 0.5, 0.1]])

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = [
    *[
        row(name, shape, **static)
        for name in ("prod", "hypot_reduce", "nanmax", "nanmin")
        for shape, static in [
            ((3, 4), {}),
            ((3, 4), {"axis": 0}),
            ((3, 4), {"axis": -1, "keepdims": True}),
            ((2, 3, 2), {"axis": (0, 2)}),
            ((2, 3, 2), {"axis": (-1, 0), "keepdims": True}),
            ((2, 3), {"keepdims": True}),
            ((5,), {"axis": 0}),
            ((1, 4), {"axis": 1}),
            ((0, 3), {"axis": 1}),
            ((), {}),
        ]
    ],
    *[row(name, (2, 3), axis=()) for name in ("prod", "hypot_reduce")],
    *[row("prod", _ZEROS, **static) for static in ({}, {"axis": 0}, {"axis": 1})],
    row("prod", (0, 3), axis=0),
    row("prod", (0,)),
    row("var", (3,), ddof=1, axis=-1, keepdims=True),
    *[
        row(name, shape, **static)
        for name in ("nanargmax", "nanargmin")
        for shape, static in [
            ((3, 4), {}),
            ((3, 4), {"axis": 0}),
            ((3, 4), {"axis": 1, "keepdims": True}),
            ((0, 3), {"axis": 1}),
        ]
    ],
]

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}

#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "nanmax": np.nanmax,
    "nanmin": np.nanmin,
    "var": np.var,
    "std": np.std,
    "all": np.all,
    "any": np.any,
    "hypot_reduce": lambda x, **k: np.sqrt(np.sum(x * x, **k)),
}

_MASK = np.array([[True, False, True], [True, True, False]])
_COLUMN = np.array([[True], [False]])
_EVERY_AXIS: list[dict[str, Any]] = [
    {},
    {"axis": 0},
    {"axis": -1, "keepdims": True},
    {"axis": (0, 1)},
    {"axis": None, "keepdims": True},
]


class _WithNan:
    """A function of an array in which some elements are replaced by nan, whatever they were."""

    def __init__(self, function: Callable[..., Any], holes: Any) -> None:
        self.function, self.holes = function, np.array(holes)
        self.__qualname__ = f"{function.__name__} with nan"

    def __call__(self, x: Any, *args: Any, **keywords: Any) -> Any:
        return self.function(np.where(self.holes, np.nan, x), *args, **keywords)


with_nan = _WithNan
HOLES = [[True, False, False, False], [False, True, False, True], [False, False, False, False]]

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    *[
        call(function, r(2, 3), **keywords)
        for function in (
            np.sum, np.prod, np.mean, np.max, np.amax, np.min, np.amin, np.var, np.std, np.ptp,
            np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanvar, np.nanstd,
        )
        for keywords in _EVERY_AXIS
    ],
    *[
        call(function, r(2, 3, 2), 1)
        for function in (np.sum, np.prod, np.mean, np.max, np.min, np.var, np.std, np.ptp)
    ],
    *[
        call(ufunc.reduce, r(2, 3), **keywords)
        for ufunc in (
            np.add, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin, np.hypot,
            np.logaddexp, np.logaddexp2,
        )
        for keywords in ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": None})
    ],
    *[
        call(function, r(2, 3), where=where, **keywords)
        for function in (np.sum, np.prod, np.mean, np.var, np.std, np.add.reduce, np.nansum,
                         np.nanprod, np.nanmean, np.nanstd, np.multiply.reduce)
        for where in (_MASK, _COLUMN)
        for keywords in ({"axis": None}, {"axis": (0, 1), "keepdims": True})
    ],
    *[
        call(function, r(2, 3), axis=1, where=_MASK)
        for function in (np.sum, np.prod, np.mean, np.var, np.std, np.nanvar,
                         np.hypot.reduce, np.logaddexp.reduce)
    ],
    *[
        call(function, r(2, 3), axis=1, initial=0.7, where=_MASK)
        for function in (np.sum, np.prod, np.max, np.min, np.nanmax, np.nanmin, np.nansum,
                         np.logaddexp.reduce, np.hypot.reduce, np.maximum.reduce, np.fmin.reduce)
    ],
    *[
        call(function, r(2, 3), initial=0.7, **keywords)
        for function in (np.sum, np.prod, np.max, np.min, np.nanmax, np.nanprod)
        for keywords in ({}, {"axis": 0}, {"axis": 0, "keepdims": True})
    ],
    call(np.add.reduce, r(2, 3), initial=2.0),
    call(np.logaddexp2.reduce, r(2, 3), initial=2.0),
    *[
        call(function, r(2, 0), axis=1, initial=0.7)
        for function in (np.sum, np.prod, np.max, np.min, np.nanmax)
    ],
    *[
        call(function, r(2, 3), axis=0, dtype=np.float64)
        for function in (np.sum, np.prod, np.mean, np.var, np.std, np.nansum, np.nanmean,
                         np.nanvar, np.add.reduce)
    ],
    call(np.sum, r(2, 3), dtype=complex),
    call(np.mean, r(2, 3), dtype=complex, axis=1, where=_MASK),
    call(np.var, r(2, 3), dtype=complex, axis=1, where=_MASK),
    call(np.var, r(2, 3), dtype=complex, axis=1),
    *[
        call(function, r(2, 4), axis=1, **keywords)
        for function in (np.var, np.std, np.nanvar, np.nanstd)
        for keywords in ({"ddof": 1}, {"correction": 1}, {"correction": 0.5, "keepdims": True})
    ],
    call(np.var, r(4), ddof=1, where=np.array([True, False, True, True])),
    call(np.std, r(2, 4), axis=1, mean=r(2, 1)),
    call(np.var, r(2, 4), axis=1, mean=r(2, 1), correction=1),
    call(np.nanvar, r(2, 4), axis=1, mean=r(2, 1)),
    call(np.var, r(4), mean=0.25),
    *[
        call(with_nan(function, HOLES), r(3, 4), **keywords)
        for function in (np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanvar,
                         np.nanstd)
        for keywords in ({}, {"axis": 0}, {"axis": 1, "keepdims": True}, {"axis": (0, 1)})
    ],
    call(with_nan(np.nanvar, HOLES), r(3, 4), axis=1, ddof=1),
    call(with_nan(np.nanstd, HOLES), r(3, 4), axis=0, correction=1),
    call(with_nan(np.fmax.reduce, HOLES), r(3, 4), axis=1),
    call(with_nan(np.fmin.reduce, HOLES), r(3, 4)),
    *[
        call(function, r(2, 3), **keywords)
        for function in (np.all, np.any, np.logical_and.reduce, np.logical_or.reduce)
        for keywords in ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"where": _MASK})
    ],
    call(np.logical_and.reduce, r(2, 3), initial=0.0),
    call(np.logical_or.reduce, np.zeros((2, 3)), initial=0.5, axis=None, dtype=bool),
    # numbers have an axis
    *[
        call(function, r(), **keywords)
        for function in (
            np.sum, np.prod, np.max, np.min, np.ptp, np.nansum, np.nanprod, np.nanmax, np.nanmean,
            np.nanvar, np.nanstd, np.add.reduce, np.maximum.reduce, np.hypot.reduce,
            np.logaddexp.reduce,
        )
        for keywords in ({"axis": 0}, {"axis": -1, "keepdims": True})
    ],
    # sums of truth values and of small integers stay such
    *[
        call(function, r(2, 3, domain=(5.0, 9.0)), dtype=dtype)
        for function in (
            np.sum, np.prod, np.nansum, np.nanprod, np.add.reduce, np.multiply.reduce,
        )
        for dtype in (bool, np.int8)
    ],
    call(np.maximum.reduce, r(2, 3), dtype=int),
    call(np.sum, r(2, 3), dtype=bool, initial=0.5),
    # `initial` takes the dtype of the result
    call(np.prod, r(2, 3), dtype=int, initial=2.5),
    call(np.sum, r(2, 3), where=[[1, 0, 2], [0, 1, 0]]),
    call(np.sum, r()),
    call(np.mean, r()),
    call(np.max, r()),
    call(np.prod, r()),
    call(np.ptp, r()),
    call(np.nanmean, r()),
]  # fmt: skip
