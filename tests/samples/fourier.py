"""Samples for tinygrad_nn/rules/fourier.py."""

from collections.abc import Callable
from typing import Any

from .rows import Call, Row

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = []

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}

#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {}

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = []
