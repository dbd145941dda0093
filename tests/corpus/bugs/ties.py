"""The rule is wrong at a kink alone: its value there is outside of the subgradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..case import Case
from .bug import Bug, spoilt

#: How far from the kink its two sides are looked at.
STEP = 1e-6


def sides(case: Case, i: int, g: Any, inputs: tuple[Any, ...], pattern: int) -> list[Any]:
    """The derivatives on both sides, along a direction in which neighbours part."""
    found = []
    for sign in (STEP, -STEP):
        start, moved = pattern, list(inputs)
        for k in case.active:
            x = inputs[k]
            move = np.where(np.arange(start, start + x.size) // (pattern + 1) % 2, -1.0, 1.0)
            moved[k] = x + sign * move.reshape(x.shape)
            start += x.size
        found.append(case.rules[i](g, np.asarray(case.forward(*moved)), *moved))  # type: ignore[misc]
    return found


def _tie(value: Callable[[Any, Any, Any], Any], pattern: int) -> Bug:
    """``value(c, a, b)`` where the sides a and b differ by more than the step explains."""

    def bug(case: Case, i: int) -> Case | None:
        if case.group != "kink":
            return None
        right: Any = case.rules[i]

        def rule(g, y, *inputs):
            c = right(g, y, *inputs)
            a, b = sides(case, i, g, inputs, pattern)
            return np.where(np.abs(a - b) > 1e-4 * np.max(np.abs(g)), value(c, a, b), c)

        return spoilt(case, i, rule)

    return bug


KINDS: dict[str, Bug] = {
    f"at a tie, {name}{which}": _tie(value, pattern)
    for pattern, which in enumerate(("", " (other neighbours)"))
    for name, value in {
        "beyond one side": lambda c, a, b: 2.0 * a - b,
        "beyond the other side": lambda c, a, b: 2.0 * b - a,
        "a little beyond": lambda c, a, b: a + 0.01 * (a - b),
        "both sides": lambda c, a, b: a + b,
        "jump": lambda c, a, b: a - b,
        "negative": lambda c, a, b: -a,
        "twice": lambda c, a, b: 2.0 * (a + b),
    }.items()
}
