"""Arrays that a function uses as constants while it is being transformed.

A graph refers to the arrays that it was computed with, and NumPy does not tell who writes into
them. A program written for arrays may well fill a work array again between two uses; its
derivative would then be taken at numbers that are gone. So while a transform runs a function, small
constant arrays are copied, and of large ones a fingerprint is kept and compared before a walk.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tinygrad_nn.errors import StaleGraphError
from tinygrad_nn.source_line import SourceLine, source_line

__all__ = ["Guard", "active", "guarded", "transforming"]

#: One entry for each transform, of any thread, that is running its function: nearly always empty.
active: list[None] = []

# Up to so many elements a copy costs less than the operation itself,
_SMALL = 4096
# and up to so many all of them are looked at; of more, as many samples as this.
_WHOLE, _SAMPLES = 2**17, 4096


class _Thread(threading.local):
    def __init__(self) -> None:
        self.guards: list[Guard] = []


_thread = _Thread()


class Guard:
    """Keeps watch over the large constants of one run of a function; a context manager."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes, SourceLine | None]] = {}

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
                    + (f"\n{line}" if line else "")
                )


def transforming() -> bool:
    """Return whether this thread runs a function for a transform."""
    return bool(active and _thread.guards)


def guarded(a: Any) -> Any:
    """Return what a graph shall keep of a constant array."""
    if not (_thread.guards and a.flags.writeable):
        return a
    if a.size <= _SMALL:
        return a.copy()
    for guard in _thread.guards:
        guard.note(a)
    return a


def _fingerprint(a: Any) -> bytes:
    """Return some of the elements, and the sum of all unless they are too many."""
    # Steps along each axis, never a copy of the whole.
    count = max(1, round(_SAMPLES ** (1.0 / a.ndim)))
    sample = a[tuple(slice(None, None, max(1, n // count)) for n in a.shape)]
    if a.size > _WHOLE:
        return sample.tobytes()  # type: ignore[no-any-return]
    with np.errstate(all="ignore"):
        total = np.add.reduce(a, axis=None)
    return sample.tobytes() + total.tobytes()  # type: ignore[no-any-return]
