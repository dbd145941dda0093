"""The rule takes another gradient than the one that comes in."""

from __future__ import annotations

import numpy as np

from ..case import Case
from .bug import Bug, before, one, some, spoilt


def _per(stretched):
    """Divide by how many outputs an input reaches (if `stretched`), as a mean does for a sum."""

    def bug(case: Case, i: int) -> Case | None:
        right = case.rules[i]
        n = np.size(case.inputs[i])

        def rule(g, y, *inputs):
            c = right(g, y, *inputs)
            return c * (n / g.size) if stretched else c * (g.size / n)

        return spoilt(case, i, rule) if np.size(case.forward(*case.inputs)) > n > 0 else None

    return bug


def _first_slice(case: Case, i: int) -> Case | None:
    """Take the first slice times their number for the sum over a broadcast axis."""
    right = case.rules[i]
    y = np.asarray(case.forward(*case.inputs))
    if not y.size > np.size(case.inputs[i]) > 0:
        return None
    mask = np.zeros(y.shape, y.dtype)
    mask[0] = len(y)
    return spoilt(case, i, lambda g, y, *inputs: right(g * mask, y, *inputs))


def _unsummed(case: Case, i: int) -> Case | None:
    """Forget to sum over a broadcast axis: the result has the shape of the output."""
    right = case.rules[i]
    y = np.asarray(case.forward(*case.inputs))
    if not y.size > np.size(case.inputs[i]) > 0:
        return None
    return spoilt(case, i, lambda g, y, *inputs: right(g, y, *inputs) + 0.0 * g)


KINDS: dict[str, Bug] = {
    "g ignored":                    before(lambda g: 0.0 * g + 1.0),
    "sign of g":                    before(np.sign),
    "g squared":                    before(lambda g: g * g),
    "absolute g":                   before(np.abs),
    "positive g only":              before(lambda g: g * (g > 0)),
    "g clipped":                    before(lambda g: np.clip(g, -1.0, 1.0)),
    "g summed":                     before(lambda g: 0.0 * g + np.sum(g)),
    "g averaged":                   before(lambda g: 0.0 * g + np.sum(g) / max(g.size, 1)),
    "mean of g subtracted":         before(lambda g: g - np.sum(g) / max(g.size, 1)),
    "g of unit norm":               before(lambda g: g / np.sqrt(np.sum(g * g) + 1e-30)),
    "g in float32":                 before(lambda g: g.astype("float32").astype(g.dtype)),
    "g in float16":                 before(lambda g: g.astype("float16").astype(g.dtype)),
    "g plus a constant":            before(lambda g: g + 1e-2),
    "g reversed":                   before(lambda g: np.flip(g)),
    "g rolled":                     before(lambda g: np.roll(g, 1) if g.ndim else g),
    "one output forgotten":         before(lambda g: g * (1.0 - one(g))),
    "half of the outputs forgotten": before(lambda g: g * some(g)),
    "one output by 1e-3":           before(lambda g: g * (1.0 + 1e-3 * one(g))),
    "first output only":            before(lambda g: 0.0 * g + g[:1] if g.ndim else g),
    "outputs mixed by 1e-3":        before(lambda g: g + 1e-3 * np.roll(g, 1) if g.ndim else g),
    "mean for a broadcast sum":     _per(True),
    "first slice for a broadcast sum": _first_slice,
    "missing broadcast sum":        _unsummed,
}  # fmt: skip
