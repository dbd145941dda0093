"""Why a function is captured again and again: which argument, or what else, is always another."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np

from tinygrad_nn.plan.arguments import Taken
from tinygrad_nn.plan.names import Arguments, array_text

__all__ = ["Reasons"]


#: So many of the values that an argument had are shown.
_SHOWN = 3
_VALUES = (
    bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, range, slice, frozenset
)  # fmt: skip


class Reasons:
    """The differences between each capture of a function and the one before it."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._texts: dict[str, deque[str]] = {}
        self._last: dict[str, tuple[str, str]] | None = None

    def note(self, arguments: Arguments, taken: Taken, surroundings: list[str]) -> None:
        """Note a capture: its arguments, and what else was not as at the one before."""
        now = {
            name: ("shape", array_text(leaf) if hasattr(leaf, "dtype") else f"{id(leaf):x}")
            for name, leaf in zip(arguments.names, taken.leaves, strict=True)
        }
        for name, item in arguments.others:
            plain = isinstance(item, _VALUES)
            now[name] = ("value", repr(item)) if plain else ("object", f"{id(item):x}")
        if self._last is not None:
            changed = [k for k in {**self._last, **now} if self._last.get(k) != now.get(k)]
            for name in changed:
                kind, text = now.get(name) or self._last[name]
                self._counts[name, kind] += 1
                self._texts.setdefault(name, deque(maxlen=_SHOWN)).append(text)
            for name in surroundings:
                self._counts[name, "surroundings"] += 1
            if not changed and not surroundings:
                self._counts["", "numbers"] += 1
        self._last = now

    def text(self, function: str, captures: int) -> str:
        """Return a warning that says what to do."""
        ((name, kind), _), *_ = self._counts.most_common(1) or [(("", "numbers"), 0)]
        examples = ", ".join(self._texts.get(name, []))
        what, remedy = _REMEDIES[kind]
        return (
            f"{function} has been captured {captures} times, which takes longer than to run it: "
            f"{what.format(name=name, examples=examples)}. {remedy.format(name=name)}"
        )


_REMEDIES = {
    "value": (
        "the argument {name} has another value each time ({examples}), and a number, text or None "
        "is part of what a plan is for",
        "Pass a number that varies as an array, np.asarray({name}); or make cache_size larger",
    ),
    "shape": (
        "the argument {name} has another shape or type each time ({examples})",
        "Make all batches equally large (leave the last one out, or pad it with weights of 0); or "
        "make cache_size larger",
    ),
    "object": (
        "the argument {name} is another object each time",
        "Pass the same object, or the arrays and numbers that are needed of it",
    ),
    "surroundings": (
        "{name}, which it refers to, is different each time",
        "Pass it as an argument: a number that varies as an array, np.asarray(...)",
    ),
    "numbers": (
        "a check of its numbers turns out differently each time",
        "Check them outside the compiled function",
    ),
}
