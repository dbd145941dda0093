"""The function or a rule keeps a state, changes what it is given, or throws dice."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..case import Case
from .bug import Bug, raw, spoilt


def _counted(change: Callable[[Any, int], Any]) -> Bug:
    """What a rule returns becomes ``change(cotangent, calls so far)``."""

    def bug(case: Case, i: int) -> Case:
        right: Any = case.rules[i]
        calls = [0]

        def rule(g, y, *inputs):
            calls[0] += 1
            return change(right(g, y, *inputs), calls[0])

        return spoilt(case, i, rule)

    return bug


def _noisy(size: float) -> Bug:
    def bug(case: Case, i: int) -> Case:
        rng = np.random.default_rng(7)
        right: Any = case.rules[i]
        return spoilt(case, i, lambda *args: right(*args) * (1.0 + size * rng.uniform(-1.0, 1.0)))

    return bug


def _sums_up(case: Case, i: int) -> Case:
    """Gradients of earlier calls are never cleared."""
    right: Any = case.rules[i]
    total = [0.0]

    def rule(*args):
        c = right(*args) + total[0]
        total[0] = np.array(raw(c))
        return c

    return spoilt(case, i, rule)


def _writes(write: Callable[..., None]) -> Bug:
    """``write(g, y, x)`` in place, after the rule has computed."""

    def bug(case: Case, i: int) -> Case:
        right: Any = case.rules[i]

        def rule(g, y, *inputs):
            c = np.multiply(right(g, y, *inputs), 1.0)  # an array of its own
            write(raw(g), raw(y), raw(inputs[i]))
            return c

        return spoilt(case, i, rule)

    return bug


def _scale(x: Any, by: float) -> None:
    x *= by


def _forward(make: Callable[[Callable[..., Any], int], Callable[..., Any]]) -> Bug:
    """Replace the function by ``make(function, i)``."""

    def bug(case: Case, i: int) -> Case | None:
        if i != case.active[0]:
            return None
        forward = functools.wraps(case.forward)(make(case.forward, i))
        return dataclasses.replace(case, forward=forward)

    return bug


def _forward_writes(f, i):
    def forward(*inputs):
        y = np.array(f(*inputs))
        inputs[i][...] = inputs[i] * 1.001 + 1e-6
        return y

    return forward


def _forward_writes_first(f, i):
    def forward(*inputs):
        inputs[i][...] = inputs[i] * 1.001 + 1e-6
        return f(*inputs)

    return forward


def _forward_noise(size):
    def make(f, i):
        rng = np.random.default_rng(8)

        def forward(*inputs):
            y = f(*inputs)
            return y * (1.0 + size * rng.uniform(-1.0, 1.0))

        return forward

    return make


def _forward_drift(size, free):
    def make(f, i):
        calls = [0]

        def forward(*inputs):
            calls[0] += 1
            return f(*inputs) * (1.0 + size * max(calls[0] - free, 0))

        return forward

    return make


def _dropout(case: Case, i: int) -> Case | None:
    """Function and rule agree on a mask, drawn anew at every call."""
    if len(case.active) > 1:
        return None
    rng = np.random.default_rng(9)
    right: Any = case.rules[i]
    mask = [1.0]

    @functools.wraps(case.forward)
    def forward(*inputs):
        y = np.asarray(case.forward(*inputs))
        mask[0] = (rng.random(y.shape) < 0.5) * 1.0
        return (y * mask[0]).astype(y.dtype)

    def rule(g, y, *inputs):
        return right(g * mask[0], y, *inputs)

    return dataclasses.replace(spoilt(case, i, rule), forward=forward)


RULES: dict[str, Bug] = {
    "no rule":                          lambda case, i: spoilt(case, i, None),
    "grows with calls":                 _counted(lambda c, n: c * (1.0 + 1e-3 * n)),
    "grows slowly with calls":          _counted(lambda c, n: c * (1.0 + 1e-6 * n)),
    "right at the first call only":     _counted(lambda c, n: c * (1.0 if n == 1 else 1.1)),
    "wrong at every third call":        _counted(lambda c, n: c * (1.1 if n % 3 == 0 else 1.0)),
    "earlier gradients added":          _sums_up,
    "noise of 1e-3 in the rule":        _noisy(1e-3),
    "noise of 1e-6 in the rule":        _noisy(1e-6),
    "rule writes into its input":       _writes(lambda g, y, x: _scale(x, 1.001)),
    "rule writes into g":               _writes(lambda g, y, x: _scale(g, 0.5)),
}  # fmt: skip

FUNCTIONS: dict[str, Bug] = {
    "function writes into its input":   _forward(_forward_writes),
    "function writes, then computes":   _forward(_forward_writes_first),
    "noise of 1e-3 in the function":    _forward(_forward_noise(1e-3)),
    "noise of 1e-6 in the function":    _forward(_forward_noise(1e-6)),
    "function drifts":                  _forward(_forward_drift(1e-4, 0)),
    "function drifts slowly":           _forward(_forward_drift(1e-9, 0)),
    "function drifts after ten calls":  _forward(_forward_drift(1e-3, 10)),
    "random mask":                      _dropout,
}  # fmt: skip

KINDS = RULES | FUNCTIONS
