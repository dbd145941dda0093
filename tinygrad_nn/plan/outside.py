"""Clocks, files and the like: what a captured function must not ask, for a replay would not.

Which of them the code may call is seen by the names in it; only if there are any, the captured run
is watched, and one that is called is refused.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import secrets
import sys
import time
import types
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_nn.traced import refusal

__all__ = ["asked", "watched"]

_CLOCKS = "what time it is"
_FILES = "what is in a file"
_CHANCE = "for random numbers that have no seed"
_INPUT = "the user"

#: What is asked, by the function that does.
_ASKING: dict[Any, str] = {
    **{
        getattr(time, name): _CLOCKS
        for name in (
            "time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns",
            "process_time", "process_time_ns", "thread_time", "localtime", "gmtime", "ctime",
        )
    },
    **dict.fromkeys(
        (open, os.open, os.listdir, os.stat, np.load, np.loadtxt, np.genfromtxt, np.fromfile,
         np.memmap, pathlib.Path.open, pathlib.Path.read_text, pathlib.Path.read_bytes,
         pathlib.Path.exists, os.path.exists, os.path.isfile, os.path.getmtime),
        _FILES,
    ),
    **dict.fromkeys(
        (os.urandom, secrets.token_bytes, secrets.token_hex, secrets.randbelow, secrets.choice,
         uuid.uuid1, uuid.uuid4),
        _CHANCE,
    ),
    input: _INPUT,
}  # fmt: skip

#: Class methods of C, which are other objects each time that one is asked for.
_OF_CLASSES: dict[tuple[type, str], str] = {
    (kind, name): _CLOCKS
    for kind in (datetime.datetime, datetime.date)
    for name in ("now", "utcnow", "today")
}

_NAMES = frozenset(f.__name__ for f in _ASKING) | {name for _, name in _OF_CLASSES}
_CODES = {f.__code__: what for f, what in _ASKING.items() if isinstance(f, types.FunctionType)}
_CODES[np.memmap.__new__.__code__] = _FILES


def asked(names: Collection[str], objects: Collection[Any]) -> bool:
    """Return whether code with these names, which refers to these objects, may call one of them."""
    if not _NAMES.isdisjoint(names):
        return True
    found = {id(f) for f in _ASKING}
    return any(
        id(item) in found
        or (isinstance(item, types.BuiltinFunctionType) and isinstance(item.__self__, type))
        for item in objects
    )


@contextmanager
def watched(codes: Collection[types.CodeType], is_needed: bool) -> Iterator[None]:
    """Refuse, in this block, what one of the `codes` calls of clocks, files and the like."""
    before = sys.getprofile()
    if not is_needed or before is not None:  # one profiler at a time
        yield
        return
    sys.setprofile(_watching(frozenset(codes)))
    try:
        yield
    finally:
        sys.setprofile(None)


def _watching(codes: frozenset[types.CodeType]) -> Callable[[Any, str, Any], None]:
    def watch(frame: Any, event: str, called: Any) -> None:
        if event == "c_call":
            if frame.f_code not in codes:
                return
            name = called.__name__
            owner = getattr(called, "__self__", None)
            if isinstance(owner, type):
                what = next(
                    (_OF_CLASSES[kind, name] for kind in owner.__mro__
                     if (kind, name) in _OF_CLASSES), None,
                )  # fmt: skip
            else:
                what = _ASKING.get(called) if name in _NAMES else None
        elif event == "call" and frame.f_code in _CODES and frame.f_back.f_code in codes:
            what, name = _CODES[frame.f_code], frame.f_code.co_name
        else:
            return
        if what is not None:
            sys.setprofile(None)
            raise refusal(
                f"{name}() asks {what}, which a replay would not do again",
                "Call it outside the compiled function, and pass what it returns as an argument",
            )

    return watch
