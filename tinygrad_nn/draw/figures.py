"""The few numbers that say what an array holds, and how a drawing writes them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.graph import Node

__all__ = ["Figures", "Seen", "figures", "number"]

#: Arrays of up to this many elements are written out.
FEW = 6


class Figures(NamedTuple):
    """What an array holds.

    Attributes
    ----------
    text : str
        The elements, where they are few; else empty.
    low, mean, high : float, int, bool or None
        Over the finite elements; None where there is none, or no order (complex numbers).
    size, zeros, nan, inf : int
        How many elements there are, and how many of them are 0, nan, and infinite.
    columns, dead : int
        Of a matrix that is not written out: how many columns there are, and how many of them are
        all zero, as those of units that are off for every row; else 0.
    """

    text: str
    low: Any
    mean: float | None
    high: Any
    size: int
    zeros: int
    nan: int
    inf: int
    columns: int = 0
    dead: int = 0

    @property
    def is_zero(self) -> bool:
        """Whether every element is 0, and there is one."""
        return 0 < self.size == self.zeros

    @property
    def is_finite(self) -> bool:
        """Whether no element is nan or infinite."""
        return not self.nan and not self.inf


def number(x: Any) -> str:
    """Write one number with 4 significant digits; whole ones in full.

    Examples
    --------
    >>> [number(x) for x in (2.0, 0.9999999, 1234.56, 1e-7, 3, True, float("nan"))]
    ['2.0', '1.0', '1235', '1e-07', '3', 'True', 'nan']
    """
    if isinstance(x, float):
        x += 0.0  # the sign of a negative zero would only puzzle the reader
        if x.is_integer() and abs(x) < 1e5:
            return f"{x:.1f}"
        text = f"{x:.4g}"
        return f"{text}.0" if text.lstrip("-").isdigit() and abs(x) < 100 else text
    if isinstance(x, complex):
        return f"{x:.4g}"
    return str(x) if abs(x) < 10**9 else f"{x:.4g}"


def figures(a: Any) -> Figures:
    """Summarise a number, an array, or a node's data.

    The mean of huge numbers overflows with a warning: callers switch those off, once for all.
    """
    if isinstance(a, float):
        return _of_float(a)
    array = np.asarray(a._value if isinstance(a, Node) else a)
    if array.size <= FEW:
        return _of_few(array)
    flat = array.reshape(-1)
    zeros = flat.size - int(np.count_nonzero(flat))
    columns, dead = _columns(array, zeros)
    kind = array.dtype.kind
    if kind != "c":
        low = np.minimum.reduce(flat).item()
        high = np.maximum.reduce(flat).item()
        # Both are nan as soon as one element is.
        if kind != "f" or (math.isfinite(low) and math.isfinite(high)):
            mean = float(np.add.reduce(flat, dtype=np.float64)) / flat.size
            return Figures("", low, mean, high, flat.size, zeros, 0, 0, columns, dead)
    nan = int(np.count_nonzero(np.isnan(flat)))
    inf = int(np.count_nonzero(np.isinf(flat)))
    rest = flat[np.isfinite(flat)]
    if kind == "c" or not rest.size:
        return Figures("", None, None, None, flat.size, zeros, nan, inf, columns, dead)
    low, high = rest.min().item(), rest.max().item()
    return Figures(
        "", low, float(rest.mean(dtype=np.float64)), high, flat.size, zeros, nan, inf, columns, dead
    )


def _columns(array: Any, zeros: int) -> tuple[int, int]:
    if array.ndim != 2 or zeros < len(array):
        return 0, 0
    return array.shape[1], array.shape[1] - int(np.count_nonzero(array.any(axis=0)))


class Seen:
    """`figures`, of None too, and of each float once: a sum hands one on to all its terms."""

    def __init__(self) -> None:
        self._known: dict[float, Figures] = {}

    def __call__(self, a: Any) -> Figures | None:
        """Summarise an array, or a number that may have been seen before."""
        if a.__class__ is float:
            known = self._known.get(a)
            if known is None:
                known = self._known[a] = _of_float(a)
            return known
        return None if a is None else figures(a)


def _of_float(x: float) -> Figures:
    if math.isfinite(x):
        return Figures(number(x), x, x, x, 1, int(x == 0.0), 0, 0)
    nan = int(x != x)
    return Figures(number(x), None, None, None, 1, 0, nan, 1 - nan)


def _of_few(array: np.ndarray[Any, Any]) -> Figures:
    items = array.reshape(-1).tolist()
    if not array.ndim and isinstance(items[0], float):
        return _of_float(items[0])
    nan = sum(x != x for x in items)
    finite = [x for x in items if abs(x) < math.inf]
    ordered = finite if array.dtype.kind != "c" else []
    return Figures(
        _written(array.tolist()) if items else "empty",
        min(ordered, default=None),
        sum(x / len(ordered) for x in ordered) if ordered else None,
        max(ordered, default=None),
        len(items),
        sum(x == 0 for x in items),
        nan,
        len(items) - nan - len(finite),
    )


def _written(items: Any) -> str:
    """Write nested lists, which are at most as deep as an array has axes."""
    if isinstance(items, list):
        return f"[{', '.join(map(_written, items))}]"
    return number(items)
