"""Samples for tinygrad_nn/rules/complex.py."""

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

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    call(np.sign, r(2, 3)),
    call(np.isreal, r(2, 3)),
    call(np.iscomplex, r(3)),
    call(np.real_if_close, r(2, 3)),
    call(np.real_if_close, r(3), tol=1e-3),
]
