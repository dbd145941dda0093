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

__all__ = ["Guard", "active", "guarded", "transforming"]

#: One entry for each transform, of any thread, that is running its function: nearly always empty.
active: list[None] = []

# Up to so many elements a copy costs less than the operation itself.
_SMALL = 4096
_SAMPLES = 512


class _Thread(threading.local):
    def __init__(self) -> None:
        self.guards: list[Guard] = []


_thread = _Thread()


class Guard:
    """Keeps watch over the large constants of one run of a function; a context manager."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any]] = {}

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
            self._known[id(a)] = (a, _fingerprint(a))

    def check(self) -> None:
        """Raise StaleGraphError if an array is no longer what it was when it was used."""
        for a, mark in self._known.values():
            if _fingerprint(a) != mark:
                raise StaleGraphError(
                    f"an array of shape {a.shape}, a constant of the function that is being "
                    f"differentiated, was written to after it had been used: the derivative at "
                    f"its old values is lost. Use array.copy() there, or a new array each time"
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
    """Return the sum of all elements, and some of them: a permutation shall not go unseen."""
    with np.errstate(all="ignore"):
        total = np.add.reduce(a, axis=None)
    step = max(1, len(a) // _SAMPLES)
    sample = a[::step].reshape(-1)
    return total.tobytes() + sample[:: max(1, sample.size // _SAMPLES)].tobytes()  # type: ignore[no-any-return]
