"""Python's cyclic collector, which has nothing to do here and does it again and again."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["without_collector"]

P = ParamSpec("P")
R = TypeVar("R")


def without_collector(function: Callable[P, R]) -> Callable[P, R]:
    """Pause the cyclic collector while a function runs, in all threads.

    A description is hundreds of thousands of small records without a cycle among them. Making them
    wakes the collector, which then visits everything that the program holds: a third of the time.
    """

    @wraps(function)
    def paused(*args: P.args, **keywords: P.kwargs) -> R:
        if not gc.isenabled():
            return function(*args, **keywords)
        gc.disable()
        try:
            return function(*args, **keywords)
        finally:
            gc.enable()

    return paused
