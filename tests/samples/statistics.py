"""Samples for tinygrad_nn/rules/statistics.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .reduction import HOLES, with_nan
from .rows import Call, Row, call, r

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = []

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}

#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {}

_METHODS = (
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf",
    "hazen", "weibull", "linear", "median_unbiased", "normal_unbiased", "lower", "higher",
    "midpoint", "nearest",
)  # fmt: skip
_LEVELS = [0.0, 0.1, 0.25, 0.37, 0.5, 0.625, 0.75, 0.99, 1.0]
_W = (0.2, 2.0)
_POINTS = np.array([0.1, 2.9, 1.0, 3.0, -1.0, 0.4, 2.0])

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    call(np.average, r(2, 3)),
    call(np.average, r(2, 3), 0),
    call(np.average, r(2, 3), axis=(0, 1), keepdims=True),
    call(np.average, r(2, 3), axis=[0, 1]),
    call(np.average, r(2, 3), axis=[1], weights=[1.0, 2.0, 3.0]),
    call(np.average, r(2, 3), weights=r(2, 3, domain=_W)),
    call(np.average, r(2, 3), axis=1, weights=[1.0, 2.0, 3.0]),
    call(np.average, r(2, 3), axis=-1, weights=r(3, domain=_W), keepdims=True),
    call(np.average, r(2, 3, 4), axis=(2, 0), weights=r(4, 2, domain=_W)),
    call(np.average, r(2, 3), 0, [1, 2], True),
    call(np.average, r(2, 3), axis=0, returned=True),
    call(np.average, r(2, 3), axis=0, weights=r(2, domain=_W), returned=True),
    call(np.average, [1, 2, 3], weights=r(3, domain=_W)),
    *[
        call(function, x, **keywords)
        for function in (np.median, np.nanmedian)
        for x, keywords in [
            (r(5), {}),
            (r(4), {}),
            (r(), {}),
            (r(2, 3), {}),
            (r(3, 4), {"axis": 0}),
            (r(3, 4), {"axis": -1, "keepdims": True}),
            (r(2, 3, 4), {"axis": (0, 2)}),
            (r(2, 3, 4), {"axis": (2, 0), "keepdims": True}),
            (r(2, 3), {"axis": None, "keepdims": True}),
        ]
    ],
    *[
        call(function, r(n), _LEVELS, method=method)
        for function in (np.quantile, np.nanquantile)
        for method in _METHODS
        for n in (4, 5)
    ],
    *[call(np.quantile, r(1), _LEVELS, method=method) for method in _METHODS],
    *[call(np.quantile, r(2, 8), 0.3, axis=1, method=method) for method in _METHODS],
    *[
        call(function, x, **keywords)
        for function in (np.quantile, np.nanquantile)
        for x, keywords in [
            (r(3, 4), {"q": 0.3}),
            (r(3, 4), {"q": 0.3, "axis": 0}),
            (r(3, 4), {"q": [0.3, 0.9], "axis": 1}),
            (r(3, 4), {"q": [[0.3, 0.9]], "axis": 1, "keepdims": True}),
            (r(2, 3, 4), {"q": [0.3, 0.9], "axis": (0, -1)}),
            (r(2, 3, 4), {"q": 0.4, "axis": (2, 0), "keepdims": True}),
            (r(2, 3), {"q": np.array(0.4), "axis": None, "keepdims": True}),
            (r(0, 3), {"q": 0.4, "axis": 1}),
        ]
    ],
    *[
        call(function, x, **keywords)
        for function in (np.percentile, np.nanpercentile)
        for x, keywords in [
            (r(5), {"q": 30}),
            (r(3, 4), {"q": [5.0, 70.0, 100.0], "axis": 0}),
            (r(3, 4), {"q": 95.0, "axis": -1, "method": "hazen"}),
        ]
    ],
    *[
        call(with_nan(function, HOLES), r(3, 4), *args, **keywords)
        for function, args in [
            (np.nanmedian, ()),
            (np.nanquantile, (0.3,)),
            (np.nanquantile, ([0.0, 0.6],)),
            (np.nanpercentile, ([25.0, 80.0],)),
        ]
        for keywords in ({}, {"axis": 0}, {"axis": 1, "keepdims": True})
    ],
    *[
        call(with_nan(np.nanquantile, HOLES), r(3, 4), _LEVELS, axis=1, method=method)
        for method in _METHODS
    ],
    call(np.cov, r(2, 4)),
    call(np.cov, r(4)),
    call(np.cov, r(4), r(4)),
    call(np.cov, r(2, 4), r(4)),
    call(np.cov, r(4, 2), rowvar=False),
    call(np.cov, r(4, 2), r(4, 3), rowvar=False),
    call(np.cov, r(2, 4), bias=True),
    call(np.cov, r(2, 4), ddof=2),
    call(np.cov, r(2, 4), fweights=[1, 2, 1, 3]),
    call(np.cov, r(2, 4), aweights=[0.5, 2.0, 1.0, 0.1]),
    call(np.cov, r(2, 4), aweights=r(4, domain=_W)),
    call(np.cov, r(2, 4), fweights=[1, 2, 1, 3], dtype=np.float64),
    call(np.cov, r(2, 4), aweights=r(4, domain=_W), fweights=np.array([1, 2, 1, 3])),
    call(np.cov, r(2, 4), aweights=r(4, domain=_W), ddof=0),
    call(np.cov, r(2, 4), dtype=np.float64),
    call(np.corrcoef, r(3, 4)),
    call(np.corrcoef, r(4), r(4)),
    call(np.corrcoef, r(5, 2), rowvar=False),
    call(np.bincount, np.array([0, 1, 1, 3]), r(4)),
    call(np.bincount, [2, 0], weights=r(2), minlength=5),
    call(np.histogram, r(7), 3, (-3.0, 3.0)),
    call(np.histogram, r(7), [-3.0, 0.0, 1.0], weights=[1, 2, 3, 4, 5, 6, 7]),
    call(np.histogram, _POINTS, weights=r(7)),
    call(np.histogram, _POINTS, 3, (0.0, 3.0), weights=r(7)),
    call(np.histogram, _POINTS, [0.0, 1.0, 2.5, 3.0], weights=r(7)),
    call(np.histogram, _POINTS, 4, density=True, weights=r(7, domain=_W)),
]
