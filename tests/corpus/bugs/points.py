"""The rule is evaluated at other inputs, or wrong at some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..case import Case
from .bug import Bug, after, raw, spoilt


def _own(change: Callable[[Any], Any]) -> Bug:
    """The rule sees ``change(x)`` for its own input."""

    def bug(case: Case, i: int) -> Case:
        right: Any = case.rules[i]
        return spoilt(
            case, i,
            lambda g, y, *xs: right(g, y, *[change(x) if k == i else x for k, x in enumerate(xs)]),
        )  # fmt: skip

    return bug


def _others(change: Callable[[Any], Any]) -> Bug:
    """The rule sees ``change(x)`` for the other inputs."""

    def bug(case: Case, i: int) -> Case | None:
        right: Any = case.rules[i]
        others = set(case.active) - {i}
        rule = lambda g, y, *xs: right(  # noqa: E731
            g, y, *[change(x) if k in others else x for k, x in enumerate(xs)]
        )
        return spoilt(case, i, rule) if others else None

    return bug


def _twin(case: Case, i: int) -> int | None:
    """Another input of the same shape."""
    shape = np.shape(case.inputs[i])
    return next((k for k in case.active if k != i and np.shape(case.inputs[k]) == shape), None)


def _swapped_rules(case: Case, i: int) -> Case | None:
    k = _twin(case, i)
    if k is None:
        return None
    return spoilt(spoilt(case, i, case.rules[k]), k, case.rules[i])


def _swapped_inputs(case: Case, i: int) -> Case | None:
    k = _twin(case, i)
    if k is None:
        return None
    right: Any = case.rules[i]

    def rule(g, y, *inputs):
        xs = list(inputs)
        xs[i], xs[k] = xs[k], xs[i]
        return right(g, y, *xs)

    return spoilt(case, i, rule)


def _result_for_input(case: Case, i: int) -> Case | None:
    right: Any = case.rules[i]
    if np.shape(case.forward(*case.inputs)) != np.shape(case.inputs[i]):
        return None
    return spoilt(
        case, i,
        lambda g, y, *xs: right(g, y, *[y if k == i else x for k, x in enumerate(xs)]),
    )  # fmt: skip


def _stale(case: Case, i: int) -> Case:
    """The rule keeps the inputs that it saw first."""
    right: Any = case.rules[i]
    seen: list[Any] = []

    def rule(g, y, *xs):
        if not seen:
            seen.append([np.array(raw(x)) for x in xs])
        return right(g, y, *seen[0])

    return spoilt(case, i, rule)


def _half(x: Any) -> Any:
    return np.clip(x, -6e4, 6e4).astype("float16").astype(x.dtype)


def _median(x: Any) -> float:
    return float(np.median(np.abs(raw(x)))) if x.size else 0.0


KINDS: dict[str, Bug] = {
    "negative inputs by 10 %":   after(lambda c, x: c * (1.0 + 0.1 * (x < 0))),
    "positive inputs by 10 %":   after(lambda c, x: c * (1.0 + 0.1 * (x > 0))),
    "large inputs by 10 %":      after(lambda c, x: c * (1.0 + 0.1 * (np.abs(x) > _median(x)))),
    "small inputs by 10 %":      after(lambda c, x: c * (1.0 + 0.1 * (np.abs(x) < _median(x)))),
    "inputs beyond 1 saturate":  after(lambda c, x: c * (np.abs(x) <= 1.0)),
    "negative inputs missing":   after(lambda c, x: c * (x > 0)),
    "inputs off by 1e-4":        _own(lambda x: x * 1.0001),
    "inputs off by 10 %":        _own(lambda x: x * 1.1),
    "absolute inputs":           _own(np.abs),
    "inputs in float16":         _own(_half),
    "inputs clipped":            _own(lambda x: np.clip(x, -1.0, 1.0)),
    "inputs reversed":           _own(lambda x: np.flip(x)),
    "inputs not transposed":     _own(lambda x: np.reshape(x.T, x.shape)),
    "other inputs off by 1e-4":  _others(lambda x: x * 1.0001),
    "other inputs reversed":     _others(lambda x: np.flip(x)),
    "other inputs transposed":   _others(lambda x: np.reshape(x.T, x.shape)),
    "other inputs ignored":      _others(lambda x: 0.0 * x + 1.0),
    "rules swapped":             _swapped_rules,
    "inputs swapped":            _swapped_inputs,
    "result for input":          _result_for_input,
    "first inputs kept":         _stale,
}  # fmt: skip
