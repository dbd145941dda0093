"""The first derivative is right, and cannot be differentiated rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_nn as tg

from ..case import Case
from .bug import Bug, after, before, one, raw, some, spoilt


def _detached(which: Callable[[Case, int], set[int]]) -> Bug:
    """The inputs at some positions lose their history."""

    def bug(case: Case, i: int) -> Case | None:
        right: Any = case.rules[i]
        chosen = which(case, i)

        def rule(g, y, *xs):
            return right(g, y, *[raw(x) if k in chosen else x for k, x in enumerate(xs)])

        return spoilt(case, i, rule) if chosen else None

    return bug


def _inner(change: Callable[[Any], Any]) -> Bug:
    """The cotangent passes through an identity whose own rule is ``change(g)``."""
    identity: Any = tg.primitive(rules=[lambda g, y, c: change(g)], name="identity")(
        lambda c: np.multiply(c, 1.0)
    )
    return after(lambda c, x: identity(c))


KINDS: dict[str, Bug] = {
    "second: everything detached":      after(lambda c, x: raw(c)),
    "second: own input detached":       _detached(lambda case, i: {i}),
    "second: other inputs detached":    _detached(lambda case, i: set(case.active) - {i}),
    "second: inputs detached":          _detached(lambda case, i: set(case.active)),
    "second: g detached":               before(raw),
    "second: some elements detached":   after(lambda c, x: c * some(x) + raw(c) * (1.0 - some(x))),
    "second: one element detached":     after(lambda c, x: c * (1.0 - one(x)) + raw(c) * one(x)),
    "second: sign":                     after(lambda c, x: 2.0 * raw(c) - c),
    "second: factor 2":                 after(lambda c, x: 2.0 * c - raw(c)),
    "second: by 10 %":                  after(lambda c, x: c + 0.1 * (c - raw(c))),
    "second: by 1e-3":                  after(lambda c, x: c + 1e-3 * (c - raw(c))),
    "second: term too many":            after(lambda c, x: c + (x - raw(x)) * 0.1 * raw(c)),
    "second: rolled":                   _inner(lambda g: np.roll(g, 1) if g.ndim else g),
    "second: transposed":               _inner(lambda g: np.reshape(g.T, g.shape)),
    "second: g ignored":                _inner(lambda g: 0.0 * g + 1.0),
    "second: g clipped":                _inner(lambda g: np.clip(g, -0.5, 0.5)),
    "second: g summed":                 _inner(lambda g: 0.0 * g + np.sum(g)),
    "second: nan at one element":       _inner(lambda g: g + np.where(one(g) > 0, np.nan, 0.0)),
    "second: missing":                  _inner(lambda g: 0.0 * g),
}  # fmt: skip
