"""Arrays that a function uses as constants while it is being transformed.

A graph refers to the arrays that it was computed with, and NumPy does not tell who writes into
them. A program written for arrays may well fill a work array again between two uses; its
derivative would then be taken at numbers that are gone. So while a transform runs a function, small
constant arrays are copied, and of large ones a fingerprint is kept and compared before a walk.
"""

from __future__ import annotations

import threading
import zlib
from typing import Any

import numpy as np

from tinygrad_nn.errors import StaleGraphError
from tinygrad_nn.source_line import SourceLine, source_line

__all__ = ["Guard", "active", "guarded", "is_small", "transforming"]

#: One entry for each transform, of any thread, that is running its function: nearly always empty.
active: list[None] = []

# Up to so many elements a copy costs less than the operation itself,
_SMALL = 4096
# and up to so many all of them are looked at (0.1 ms); of more, as many as this.
_WHOLE, _SAMPLES = 2**15, 4096


class _Thread(threading.local):
    def __init__(self) -> None:
        self.guards: list[Guard] = []


_thread = _Thread()


class Guard:
    """Keeps watch over the large constants of one run of a function; a context manager."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any, SourceLine]] = {}

    def __enter__(self) -> Guard:
        _thread.guards.append(self)
        active.append(None)
        return self

    def __exit__(self, *error: object) -> None:
        _thread.guards.remove(self)
        active.pop()

    def note(self, a: Any) -> None:
        """Remember what `a` holds, if it is not known already."""
        if id(a) not in self._known:  # which stays its own, since the array is kept
            self._known[id(a)] = (a, _fingerprint(a), source_line())

    def check(self) -> None:
        """Raise StaleGraphError if an array is no longer what it was when it was used."""
        for a, mark, line in self._known.values():
            if _fingerprint(a) != mark:
                raise StaleGraphError(
                    f"an array of shape {a.shape}, a constant of the function that is being "
                    f"differentiated, was written to after it had been used, and the derivative "
                    f"may need its old values. Use array.copy(), or a new array each time"
                    f"\n{line}"
                )


def transforming() -> bool:
    """Return whether this thread runs a function for a transform."""
    return bool(active and _thread.guards)


def is_small(a: Any) -> bool:
    """Whether to copy an array rather than to watch it."""
    return bool(a.size <= _SMALL)


def guarded(a: Any) -> Any:
    """Return what a graph shall keep of a constant array."""
    if not (_thread.guards and _writable(a)):
        return a
    if is_small(a):
        return a.copy()
    for guard in _thread.guards:
        guard.note(a)
    return a


def _fingerprint(a: Any) -> Any:
    """Return a checksum of all elements, or some of the elements if they are too many."""
    if a.size <= _WHOLE:
        return zlib.crc32(a if a.flags.c_contiguous else a.tobytes())
    # An odd step, so that it does not stay in one column.
    return a.flat[:: (a.size // _SAMPLES) | 1].tobytes()


def _writable(a: Any) -> bool:
    """Whether anybody can write into an array: by itself, or by what it is a view of."""
    while isinstance(a, np.ndarray):
        if a.flags.writeable:
            return True
        a = a.base
    return a is not None
