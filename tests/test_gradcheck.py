"""The gradient checker: right functions pass, planted mistakes do not, and the report says why."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, scalar
from tinygrad_nn.gradcheck import Finding, GradcheckReport, check_grads, gradcheck
from tinygrad_nn.gradcheck.noise import noise_level
from tinygrad_nn.gradcheck.slopes import Ladder, line_slopes
from tinygrad_nn.rules import TABLE

KINK = "not differentiable here"
SEEDS = (0, 1, 2)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- functions whose gradient is right -----------------------------------------------------------

X = np.array([0.7, -1.3, 2.1, 0.2])
M = _rng(1).standard_normal((3, 4))


def _dtype_round_trip(x: Any) -> Any:
    return np.sum(np.sin(x).astype("float32").astype("float64"))


def _softmax_by_hand(x: Any) -> Any:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


RIGHT: dict[str, tuple[Callable[..., Any], Any]] = {
    # composites
    "polynomial": (lambda x: np.sum(x**3 - 2.0 * x), X),
    "vector output": (lambda x: np.sin(x) * x, X),
    "many outputs": (lambda x: np.exp(np.sin(x)), _rng(2).standard_normal((7, 9))),
    "outputs of many scales": (lambda x: x * x, np.logspace(-8, 8, 50)),
    "matrix product": (lambda a, b: np.tanh(a @ b), (M, M.T)),
    "broadcasting": (lambda a, b: a * b + a / (b * b + 1.0), (M, M[:, :1])),
    "broadcast scalar": (lambda a, b: np.sum(a * b), (M, 0.3)),
    "tuple output": (lambda x: (np.sin(x), x.sum(), x[0] * x[1]), X),
    "dict output": (lambda x: {"a": np.sin(x), "b": [x.sum()]}, X),
    "softmax": (_softmax_by_hand, M),
    "logsumexp": (lambda x: tg.logsumexp(x, axis=0), M),
    "variance": (lambda x: np.var(x, axis=1, ddof=1), M),
    "standard deviation": (lambda x: np.std(x), M),
    "indexing": (lambda x: x[[0, 0, 2]] * x[1], X),
    "concatenate": (lambda a, b: np.concatenate([a, b, a]) ** 2, (X, X[:2])),
    "unused input": (lambda x, y: np.sum(x * x), (X, X)),
    "second output does not depend": (lambda x: (x.sum(), tg.tensor(1.0)), X),
    "cancelling": (lambda x: np.sum(x / x + (x - x)), X),
    "constant factor in": (lambda x: 0.0 * np.sum(x * x), X),
    # near a kink, but not at it
    "near a kink, 1e-3": (lambda x: np.sum(tg.relu(x - 1.0)), np.array([1.001, 0.999])),
    "near a kink, 1e-6": (lambda x: np.sum(tg.relu(x - 1.0)), np.array([1 + 1e-6, 1 - 1e-6])),
    "near a kink, curved": (lambda x: np.sum(abs(np.sin(x) - 0.5)), np.array([0.52359, 0.5236])),
    # badly scaled
    "small inputs": (lambda x: np.sum(np.sin(x) * x), np.array([1e-7, -3e-7, 2e-7])),
    "large inputs": (lambda x: np.sum(x * np.log(x)), np.array([1e8, 3e8, 2.5e8])),
    "both": (lambda x: np.sum(x * x), np.array([1e-7, 1e8, 0.0, 1.0])),
    "x squared at 1e12": (lambda x: x * x, 1e12),
    "small gradient": (lambda x: 1e-9 * np.sum(np.exp(x)), X),
    "large offset": (lambda x: 1e6 + np.sum(np.sin(x)), X),
    "steep": (lambda x: np.sum(np.tanh(50.0 * x)), np.array([0.01, -0.02, 0.3])),
    "oscillating": (lambda x: np.sum(np.sin(300.0 * x)), X),
    "saturated": (lambda x: np.sum(tg.sigmoid(x)), np.array([-40.0, 0.0, 30.0])),
    "exp tail": (lambda x: np.sum(np.expm1(x)), np.array([-30.0, 1e-9, 2.0])),
    "near a pole": (lambda x: 1.0 / (x - 1.0), np.array([1.0001, 0.5])),
    # shapes and kinds
    "0-d": (lambda x: x * x, np.array(3.0)),
    "python float": (lambda x: x**3, 2.0),
    "numpy scalar": (lambda x: np.cos(x), np.float64(2.0)),
    "zero": (lambda x: np.sin(x), 0.0),
    "empty output": (lambda x: x[:0] * 2.0, X),
    "empty beside full": (lambda x, y: np.sum(x) + np.sum(y * y), (np.zeros(0), X)),
    "float32 input": (lambda x: np.sum(x**3), X.astype("float32")),
    "float16 input": (lambda x: np.sum(np.exp(x)), X.astype("float16")),
    "float32 inside": (_dtype_round_trip, X),
    "float32 output": (lambda x: np.sin(x).astype("float32"), X),
    "not contiguous": (lambda x: np.sum(np.sin(x) * M.T[::-1]), M.T[::-1]),
    "list of numbers": (lambda x: x @ x, ([1.0, 2.0, 3.0],)),
    "integer beside": (lambda x, i: x[i] ** 2, (X, np.array([0, 2]))),
    "value": (lambda a: a * a.tanh() + a.exp(), tg.Value(0.7)),
    "values": (lambda a, b: (a * b + b**2, a / b), (tg.Value(0.7), tg.Value(-1.2))),
    "value and tensor": (lambda a, x: np.sum(a * np.sin(x)), (tg.Value(0.7), X)),
    "list of values": (lambda v: v[0] * v[1], ([tg.Value(2.0), tg.Value(3.0)],)),
    "dict of arrays": (lambda p: np.sum(p["w"] @ p["b"][0]), ({"w": M, "b": (X,)},)),
}

# Functions with kinks at their inputs, and the elements that have one.
KINKED: dict[str, tuple[Callable[..., Any], Any, set[str]]] = {
    "relu": (lambda x: np.sum(tg.relu(x)), np.array([0.0, 1.0, -1.0]), {"x[0]"}),
    "negative zero": (lambda x: np.sum(tg.relu(x)), np.array([-0.0, 1.0]), {"x[0]"}),
    "abs": (lambda x: np.sum(abs(x) * 3.0), np.array([0.0, 2.0]), {"x[0]"}),
    "abs shifted": (lambda x: abs(x - 0.3), np.array([0.3, 2.0]), {"x[0]"}),
    "leaky relu": (lambda x: np.sum(tg.leaky_relu(x)), np.array([0.0, -1.0]), {"x[0]"}),
    "maximum": (lambda x, y: np.maximum(x, y), (1.5, 1.5), {"x", "y"}),
    "minimum of 0": (lambda x: np.minimum(x, 0.0), np.array([0.0]), {"x[0]"}),
    "max tie": (lambda x: np.max(x), np.array([1.0, 3.0, 3.0]), {"x[1]", "x[2]"}),
    "max tie in a row": (lambda x: np.max(x, axis=1), np.array([[1.0, 1.0], [2.0, 3.0]]),
                         {"x[0, 0]", "x[0, 1]"}),
    "min of maxima": (lambda x: np.min(np.max(x, axis=1)),
                      np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
                      {"x[0, 0]", "x[0, 1]", "x[1, 0]"}),
    "half a kink": (lambda x, y: np.maximum(x, 0.0) * y, (0.0, 2.0), {"x"}),
    "difference": (lambda x, y: tg.relu(x) - tg.relu(y), (0.0, 0.0), {"x", "y"}),
    "all equal": (lambda x: np.sum(abs(x[1:] - x[:-1])), np.ones(3), {"x[0]", "x[1]", "x[2]"}),
    "clip": (lambda x: np.sum(np.clip(x, 0.0, 1.0)), np.array([0.0, 1.0, 0.4]), {"x[0]", "x[1]"}),
    "hinge": (lambda x: losses.hinge_loss(x, np.array([1, -1])), np.array([1.0, 3.0]), {"x[0]"}),
    "l1": (lambda x: losses.l1_loss(x, np.ones(2)), np.array([1.0, 3.0]), {"x[0]"}),
    "curved": (lambda x: np.sum(np.exp(x) * abs(np.sin(x))), np.array([0.0, 1.0]), {"x[0]"}),
    "small kink": (lambda x: np.sum(np.sin(x) + 1e-4 * abs(x - 1.0)), np.array([1.0]), {"x[0]"}),
    "value": (lambda a: a.relu() + a, tg.Value(0.0), {"a"}),
    "sqrt at 0": (lambda x: np.sum(np.sqrt(x)), np.array([0.0, 1.0]), {"x[0]"}),
    "arcsin at 1": (lambda x: np.sum(np.arcsin(x)), np.array([1.0, 0.5]), {"x[0]"}),
    "step": (lambda x: np.sum(np.sign(x) * x.sum()), np.array([0.0, 2.0]), {"x[0]"}),
    "edge of the domain": (lambda x: np.sum(x**1.5), np.array([0.0, 1.0]), {"x[0]"}),
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", RIGHT)
def test_right_functions_pass(name: str, seed: int) -> None:
    f, inputs = RIGHT[name]
    report = gradcheck(f, inputs, order=2, rng=seed)
    assert report
    assert not report.of(KINK)


@pytest.mark.parametrize("name", RIGHT)
def test_right_functions_are_resolved(name: str) -> None:
    """A checker that tolerated everything would pass everything."""
    f, inputs = RIGHT[name]
    report = gradcheck(f, inputs)
    largest = max((abs(finding.analytic) for finding in report.findings), default=0.0)
    for finding in report.findings:
        size = max(abs(finding.analytic), abs(finding.numeric))
        assert finding.tolerance <= max(1e-3 * size, 1e-7 * largest, 1e-11), finding


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", KINKED)
def test_kinks_are_recognised_and_pass(name: str, seed: int) -> None:
    f, inputs, where = KINKED[name]
    report = gradcheck(f, inputs, order=2, rng=seed)
    assert report
    assert {finding.name for finding in report.of(KINK)} == where


def test_second_order_leaves_kinks_out_and_says_so() -> None:
    report = gradcheck(lambda x: np.sum(tg.relu(x)), np.array([0.0, 1.0]), order=2)
    assert [finding.name for finding in report.findings if finding.order == 2] == ["x[1]"]
    assert report.notes == ["second order not checked at 1 element(s) with a kink"]


ELEMENTWISE = [
    name
    for name, p in TABLE.items()
    if p.elementwise and p.differentiable and p.domain and name != "where"
]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_primitives_pass(name: str) -> None:
    p = TABLE[name]
    rng = _rng()
    inputs = tuple(rng.uniform(lo, hi, (2, 3)) for lo, hi in p.domain)
    report = gradcheck(p, inputs, order=2, rng=0)
    assert report.findings
    assert not report.of("weak")


def test_most_primitives_are_covered() -> None:
    assert len(ELEMENTWISE) > 45


# --- planted mistakes ----------------------------------------------------------------------------


def _rule(forward: Callable[..., Any], *rules: Any, elementwise: bool = True) -> Any:
    return tg.primitive(rules=rules, name="planted", elementwise=elementwise)(forward)


def _raw(x: Any) -> Any:
    return x.data if isinstance(x, tg.Tensor) else x


def _once(index: int, factor: float) -> Callable[..., Any]:
    """Scale the gradient of one element."""

    def rule(g: Any, y: Any, x: Any) -> Any:
        scale = np.ones(x.shape)
        scale.flat[index] = factor
        return g * np.cos(x) * scale

    return rule


def _modifies(x: Any) -> Any:
    y = np.sum(x * x)
    x.data[0] += 1.0
    return y


def _backward_modifies(g: Any, y: Any, x: Any) -> Any:
    c = g * np.cos(x)
    x[0] += 1.0
    return c


class _Accumulates:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return np.sum(x * x) + 1e-3 * max(self.calls - 20, 0)


_NOISE = _rng(9)
_sin = np.sin


def _twice(f: Any) -> Any:
    """Hide a mistake behind another operation, so that the rule's g is not 1."""
    return lambda *xs: np.sum(f(*xs) * np.arange(1.0, 5.0))


def _matmul_untransposed(g: Any, y: Any, a: Any, b: Any) -> Any:
    return g @ b


S = _rng(3).standard_normal((3, 3))

MUTANTS: dict[str, tuple[Callable[..., Any], Any]] = {
    "sign": (_rule(_sin, lambda g, y, x: -g * np.cos(x)), X),
    "factor": (_rule(_sin, lambda g, y, x: 2.0 * g * np.cos(x)), X),
    "factor, hidden": (_twice(_rule(_sin, lambda g, y, x: 0.5 * g * np.cos(x))), X),
    "wrong by 1e-3 everywhere": (_rule(_sin, lambda g, y, x: 1.001 * g * np.cos(x)), X),
    "wrong by 1e-6 everywhere": (_rule(_sin, lambda g, y, x: 1.000001 * g * np.cos(x)), X),
    "off by a constant": (_rule(_sin, lambda g, y, x: g * (np.cos(x) + 1e-5)), X),
    "other function": (_rule(_sin, lambda g, y, x: g * np.sin(x)), X),
    "zero": (_rule(_sin, lambda g, y, x: g * 0.0), X),
    "None": (lambda x: np.sum(
        _rule(lambda a, b: a * b, None, lambda g, y, a, b: g * a)(x, x)), X),
    "nan": (_rule(_sin, lambda g, y, x: g * np.where(x > 2.0, np.nan, np.cos(x))), X),
    "inf": (_rule(_sin, lambda g, y, x: g * np.where(x > 2.0, np.inf, np.cos(x))), X),
    "nan where slopes are unbounded": (_rule(np.sqrt, lambda g, y, x: np.where(
        x == 0, np.nan, 0.5 * g / np.maximum(y, 1e-9))), np.array([0.0, 1.0])),
    "missing term": (_rule(lambda x: x * np.exp(x), lambda g, y, x: g * np.exp(x)), X),
    "detached term": (lambda x: np.sum(x * np.sin(x.data)), X),
    "detached part": (lambda x: np.sum(x) + np.sum(tg.tensor(x.data) ** 2), X),
    "detached output": (lambda x: (np.sum(x), tg.tensor(x.data.sum())), X),
    "missing 1/n": (_rule(lambda x: np.mean(x), lambda g, y, x: g * np.ones(x.shape),
                          elementwise=False), X),
    "wrong n": (_rule(lambda x: np.mean(x, axis=0),
                      lambda g, y, x: g * np.ones(x.shape) / x.size, elementwise=False), M),
    "transposed": (_rule(lambda x: np.tanh(x), lambda g, y, x: (g * (1.0 - y * y)).T), S),
    "matmul, not transposed": (_rule(lambda a, b: a @ b, _matmul_untransposed,
                                     lambda g, y, a, b: a.T @ g, elementwise=False), (S, S + 1.0)),
    "rolled": (_rule(_sin, lambda g, y, x: np.roll(g * np.cos(x), 1)), X),
    "missing broadcast sum": (_rule(lambda a, b: a * b, lambda g, y, a, b: g * b,
                                    lambda g, y, a, b: g * a, elementwise=False), (M, M[0])),
    "broadcast mean for sum": (_rule(
        lambda a, b: a * b, lambda g, y, a, b: g * b,
        lambda g, y, a, b: np.mean(g * a, axis=0), elementwise=False), (M, M[0])),
    "broadcast sum over the wrong axis": (_rule(
        lambda a, b: a * b[:, None], lambda g, y, a, b: g * b[:, None],
        lambda g, y, a, b: np.sum(g * a, axis=0), elementwise=False), (S, S[0])),
    "one element by 1e-3": (_rule(_sin, _once(2, 1.001)), X),
    "one of many by 1e-3": (_rule(_sin, _once(777, 1.001)), _rng(4).uniform(-1, 1, 1000)),
    "negative inputs only": (_rule(_sin, lambda g, y, x: g * np.where(x < 0, 1.0, np.cos(x))), X),
    "ignores g": (_rule(_sin, lambda g, y, x: np.cos(x)), X),
    "ignores g, scalar": (lambda x: np.sum(_rule(_sin, lambda g, y, x: np.cos(x))(x)), X),
    "g squared": (lambda x: np.sum(_rule(_sin, lambda g, y, x: g * g * np.cos(x))(x)), X),
    "sign of g": (_rule(_sin, lambda g, y, x: np.sign(g) * np.cos(x)), X),
    "g clipped": (_rule(_sin, lambda g, y, x: np.clip(g, -5.0, 5.0) * np.cos(x)), X),
    "g summed": (_rule(_sin, lambda g, y, x: np.sum(g) * np.cos(x)), X),
    "g averaged": (_rule(_sin, lambda g, y, x: np.mean(g) * np.cos(x)), X),
    "g in low precision": (_rule(_sin, lambda g, y, x: (
        g.astype("float32").astype("float64") * np.cos(x))), X),
    "the small ones of many outputs": (_rule(lambda x: x * x, lambda g, y, x: (
        g * x * np.where(x < 1e-3, 2.02, 2.0))), np.logspace(-8, 8, 50)),
    "low precision": (_rule(_sin, lambda g, y, x: (g * np.cos(x)).astype("float16")), X),
    "relu: 2 at the kink": (_rule(lambda x: np.maximum(x, 0.0), lambda g, y, x: g * (
        (x > 0) + 2.0 * (x == 0))), np.array([0.0, 1.0])),
    "relu: -1 at the kink": (_rule(lambda x: np.maximum(x, 0.0), lambda g, y, x: g * (
        (x > 0) - 1.0 * (x == 0))), np.array([0.0, 1.0])),
    "relu: upside down": (_rule(lambda x: np.maximum(x, 0.0), lambda g, y, x: g * (x < 0)), X),
    "threshold off": (_rule(lambda x: np.maximum(x, 0.0), lambda g, y, x: g * (x > 0.5)), X),
    "max: all that attain it": (_rule(lambda x: np.max(x), lambda g, y, x: g * (x == y),
                                      elementwise=False), np.array([1.0, 3.0, 3.0])),
    "maximum: both at a tie": (_rule(np.maximum, lambda g, y, a, b: g * (a >= b),
                                     lambda g, y, a, b: g * (b >= a)), (X, X)),
    "near a kink": (_rule(lambda x: np.maximum(x - 1.0, 0.0), lambda g, y, x: 0.5 * g),
                    np.array([1.0 + 1e-6, 1.0 - 1e-6])),
    "small inputs": (_rule(lambda x: x * x, lambda g, y, x: 22.0 * g * x), np.array([1e-7, 1.0])),
    "large inputs": (_rule(np.log, lambda g, y, x: 1.01 * g / x), np.array([1e12, 3e8])),
    "small gradient": (_rule(lambda x: 1e-9 * np.sin(x),
                             lambda g, y, x: 1.1e-9 * g * np.cos(x)), X),
    "float32": (_rule(_sin, lambda g, y, x: 1.01 * g * np.cos(x)), X.astype("float32")),
    "value": (_rule(_sin, lambda g, y, x: -g * np.cos(x)), tg.Value(0.3)),
    "second input": (_rule(np.divide, lambda g, y, a, b: g / b, lambda g, y, a, b: g * y / b), (
        X, np.exp(X))),
    "modifies its input": (_modifies, X),
    "backward modifies its input": (_rule(_sin, _backward_modifies), X),
    "random": (lambda x: np.sum(x) * _NOISE.uniform(), X),
    "random gradient": (_rule(_sin, lambda g, y, x: g * np.cos(x) * _NOISE.uniform()), X),
    "drifts": (_Accumulates(), X),
    "not finite": (_rule(lambda x: np.where(x > 1.0, np.inf, x), lambda g, y, x: g), X),
}  # fmt: skip

# The first derivative is right; the rule cannot be differentiated rightly.
MUTANTS_OF_SECOND_ORDER: dict[str, tuple[Callable[..., Any], Any]] = {
    "constant derivative": (_rule(_sin, lambda g, y, x: g * np.cos(_raw(x))), X),
    "detached result": (_rule(np.tanh, lambda g, y, x: g * (1.0 - y * _raw(y))), X),
    "detached input": (_rule(lambda x: x**3, lambda g, y, x: g * (3.0 * x * _raw(x))), X),
    "detached other input": (_rule(np.multiply, lambda g, y, a, b: g * _raw(b),
                                   lambda g, y, a, b: g * a), (X, X + 1.0)),
    "detached g": (lambda x: np.sum(_rule(_sin, lambda g, y, x: _raw(g) * np.cos(x))(x) ** 2), X),
    "inner mistake": (_rule(_sin, lambda g, y, x: g * _rule(
        np.cos, lambda g, y, x: g * np.sin(x))(x)), X),
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MUTANTS)
def test_planted_mistakes_are_caught(name: str, seed: int) -> None:
    f, inputs = MUTANTS[name]
    report = gradcheck(f, inputs, rng=seed, raise_exception=False)
    assert not report
    assert report.problems or report.of("wrong")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MUTANTS_OF_SECOND_ORDER)
def test_planted_mistakes_of_second_order_are_caught(name: str, seed: int) -> None:
    f, inputs = MUTANTS_OF_SECOND_ORDER[name]
    assert gradcheck(f, inputs, rng=seed)
    report = gradcheck(f, inputs, order=2, rng=seed, raise_exception=False)
    assert not report
    assert all(finding.order == 2 for finding in report.of("wrong"))


# What each broken contract is called.
PROBLEMS = {
    "ignores g": "not linear in the incoming gradient: -2 times it does not give -2 times",
    "g squared": "not linear in the incoming gradient",
    "sign of g": "not linear in the incoming gradient",
    "g clipped": "not linear in the incoming gradient",
    "missing broadcast sum": "wrong shape",
    "modifies its input": "modifies its input: x",
    "random": "not deterministic: two calls on the same inputs differ",
    "random gradient": "backward pass is not deterministic",
    "drifts": "not deterministic",
    "not finite": "not finite: 1 of 4",
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_broken_contracts_are_named(name: str) -> None:
    f, inputs = MUTANTS[name]
    report = gradcheck(f, inputs, raise_exception=False)
    assert any(PROBLEMS[name] in str(problem) for problem in report.problems)
    assert PROBLEMS[name] in str(report)


def test_a_rule_that_is_linear_but_not_additive_is_named() -> None:
    f = _rule(_sin, lambda g, y, x: np.max(g) * np.cos(x) * 0.0 + abs(g) * np.sign(g[0]))
    report = gradcheck(f, X, raise_exception=False)
    assert "that of a sum is not the sum of those" in str(report.problems[0])


def test_a_result_that_drifts_is_named() -> None:
    report = gradcheck(_Accumulates(), X, raise_exception=False)
    assert list(map(str, report.problems)) == [
        "not deterministic: the result has drifted since the first call"
    ]


def test_constants_that_are_modified_are_named() -> None:
    def f(x: Any, y: Any) -> Any:
        y[0] = 7
        return np.sum(x * y)

    report = gradcheck(f, (X, np.arange(4)), raise_exception=False)
    assert list(map(str, report.problems)) == ["the function modifies its input: y"]


def test_the_error_carries_the_report() -> None:
    f, inputs = MUTANTS["sign"]
    with pytest.raises(tg.GradcheckError) as caught:
        gradcheck(f, inputs)
    assert isinstance(caught.value.report, GradcheckReport)
    assert str(caught.value) == str(caught.value.report)
    assert isinstance(caught.value, AssertionError)
    assert check_grads is gradcheck


def test_all_elements_and_only_those_that_are_wrong_are_named() -> None:
    report = gradcheck(_rule(_sin, _once(2, 1.001)), X, raise_exception=False)
    assert [finding.name for finding in report.of("wrong")] == ["x[2]"]
    assert len(report.findings) == 4
    assert report.findings[0].name == "x[2]"
    worst = report.findings[0]
    assert worst.error == pytest.approx(abs(worst.analytic - worst.numeric))
    assert worst.relative_error == pytest.approx(1e-3, rel=1e-2)
    assert report.worst_relative_error == worst.relative_error


def test_values_are_those_of_mathematics() -> None:
    report = gradcheck(lambda x, y: x**2 * y, (3.0, 5.0))
    assert {f.name: (f.analytic, round(f.numeric, 8)) for f in report.findings} == {
        "x": (30.0, 30.0),
        "y": (9.0, 9.0),
    }


# --- names, constants, and inputs that stay as they are ------------------------------------------


def _names(report: GradcheckReport) -> set[str]:
    return {finding.name for finding in report.findings}


def test_names() -> None:
    def f(a: Any, *rest: Any) -> Any:
        return a + rest[0] * rest[1]

    assert _names(gradcheck(f, (1.0, 2.0, 3.0))) == {"a", "rest[0]", "rest[1]"}
    assert _names(gradcheck(f, (1.0, 2.0, 3.0), names=["u", "v", "w"])) == {"u", "v", "w"}
    labelled = tg.tensor([1.0, 2.0], label="weight")
    assert _names(gradcheck(lambda x: x * x, labelled)) == {"weight[0]", "weight[1]"}
    nested = {"w": np.ones((1, 2)), "v": [np.ones(1), tg.Value(2.0)]}
    assert _names(gradcheck(lambda p: np.sum(p["w"]) + p["v"][0][0] * p["v"][1], (nested,))) == {
        "p['w'][0, 0]", "p['w'][0, 1]", "p['v'][0][0]", "p['v'][1]",
    }  # fmt: skip
    twice = gradcheck(lambda a, b: np.sum(a * b), (labelled, labelled))
    assert twice.inputs == {"weight": 2, "weight (2)": 2}
    assert _names(gradcheck(np.sin, 1.0)) == {"x"}
    assert _names(gradcheck(TABLE["matmul"], (np.ones((1, 1)), np.ones((1, 1))))) == {
        "a[0, 0]", "b[0, 0]",
    }  # fmt: skip


def test_marked_tensors_alone_are_checked_where_there_are_any() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    report = gradcheck(lambda x, y, z: np.sum(x * y * z), (x, tg.tensor([3.0, 4.0]), 5.0))
    assert _names(report) == {"x[0]", "x[1]"}
    assert "constant, not checked: y" in str(report)
    both = gradcheck(lambda x, y: np.sum(x * y), (tg.tensor([1.0]), tg.tensor([3.0])))
    assert _names(both) == {"x[0]", "y[0]"}


def test_inputs_stay_as_they_are() -> None:
    x = tg.tensor(X, dtype="float32", requires_grad=True)
    v, a, constant = tg.Value(2.0), X.copy(), np.arange(4)
    a.flags.writeable = False
    container = {"a": a, "list": [v]}
    before = x.data
    assert gradcheck(
        lambda x, p, c: np.sum(x * p["a"] * p["list"][0] * c), (x, container, constant)
    )
    assert x.data is before
    assert x.grad is None
    assert x.dtype == np.float32
    assert v.data == 2.0
    assert v.grad == 0.0
    assert container["a"] is a


def test_a_function_that_changes_its_containers_changes_copies() -> None:
    given = [tg.Value(2.0), tg.Value(3.0)]
    assert gradcheck(lambda v: v.pop() * v.pop(), (given,))
    assert len(given) == 2


def test_float32_inputs_are_checked_in_float64() -> None:
    seen = []

    def f(x: Any, y: Any) -> Any:
        seen.append((x.dtype, y.dtype))
        return np.sum(x * y)

    x = tg.tensor([1.0], dtype="float32", requires_grad=True)
    assert gradcheck(f, (x, np.ones(1, "float32")))
    # The complex step asks with complex numbers, too.
    assert set(seen) == {(np.dtype(float),) * 2, (np.dtype(complex), np.dtype(float))}


# --- determinism ---------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_text() -> None:
    f = MUTANTS["wrong by 1e-3 everywhere"][0]
    x = _rng(4).uniform(-1, 1, 100)
    texts = [
        str(gradcheck(f, x, rng=seed, max_elements=20, raise_exception=False)) for seed in (5, 5, 6)
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    generator = np.random.default_rng(5)
    report = gradcheck(f, x, rng=generator, max_elements=20, raise_exception=False)
    assert str(report) == texts[0]


# --- tolerances and steps ------------------------------------------------------------------------


def test_explicit_tolerances_override_the_automatic_one() -> None:
    f = _rule(_sin, lambda g, y, x: 1.001 * g * np.cos(x))
    assert gradcheck(f, X, rtol=1e-2)
    assert gradcheck(f, X, atol=1e-2)
    assert not gradcheck(f, X, atol=1e-5, rtol=1e-4, raise_exception=False)
    assert not gradcheck(np.sin, X, atol=0.0, raise_exception=False)
    report = gradcheck(np.sin, 1.0, atol=1e-3, rtol=1e-2)
    assert report.findings[0].tolerance == pytest.approx(1e-3 + 1e-2 * math.cos(1.0))


def test_a_rule_is_granted_its_own_rounding_noise() -> None:
    def noisy(g: Any, y: Any, x: Any) -> Any:
        return g * np.cos(x) * (1.0 + 1e-9 * np.sin(1e16 * x))

    assert gradcheck(_rule(_sin, noisy), X)
    report = gradcheck(_rule(_sin, lambda g, y, x: g * np.cos(x) * (1.0 + 1e-6)), X,
                       raise_exception=False)  # fmt: skip
    assert not report


def test_eps_is_the_coarsest_step() -> None:
    seen = []

    def f(x: Any) -> Any:
        seen.append(abs(x.item() - 1.0))
        return np.exp(x)

    assert gradcheck(f, 1.0, eps=1e-3)
    assert max(seen) == pytest.approx(1e-3)


# --- models --------------------------------------------------------------------------------------

LOSSES: dict[str, tuple[Callable[..., Any], Any]] = {
    "mse_loss": (losses.mse_loss, _rng(5).standard_normal((6, 3))),
    "l1_loss": (losses.l1_loss, _rng(5).standard_normal((6, 3))),
    "huber_loss": (losses.huber_loss, _rng(5).standard_normal((6, 3))),
    "hinge_loss": (losses.hinge_loss, np.sign(_rng(5).standard_normal((6, 3)))),
    "cross_entropy": (losses.cross_entropy, np.array([0, 1, 2, 2, 1, 0])),
    "smoothed": (lambda p, y: losses.cross_entropy(p, y, label_smoothing=0.1),
                 np.array([0, 1, 2, 2, 1, 0])),
    "nll_loss": (lambda p, y: losses.nll_loss(tg.log_softmax(p), y), np.array([0, 1, 2, 2, 1, 0])),
    "binary_cross_entropy": (lambda p, y: losses.binary_cross_entropy(tg.sigmoid(p), y),
                             _rng(5).uniform(0, 1, (6, 3))),
    "binary_cross_entropy_with_logits": (losses.binary_cross_entropy_with_logits,
                                         _rng(5).uniform(0, 1, (6, 3))),
    "no reduction": (lambda p, y: losses.mse_loss(p, y, "none"), np.zeros((6, 3))),
}  # fmt: skip

MODELS: dict[str, Callable[[], Any]] = {
    "MLP": lambda: nn.MLP(4, [5, 3], rng=1),
    "tanh MLP": lambda: nn.MLP(4, [5, 3], "tanh", rng=1),
    "Linear": lambda: nn.Linear(4, 3, rng=1),
    "Layer": lambda: nn.Layer(4, 3, "gelu", bias=False, rng=1),
    "Sequential": lambda: nn.Sequential(nn.Linear(4, 5, rng=1), "softplus", nn.Linear(5, 3, rng=2)),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", MODELS)
def test_models_pass(model: str, loss: str) -> None:
    net = MODELS[model]()
    before = net.state_dict()
    function, y = LOSSES[loss]
    x = _rng(6).standard_normal((6, 4))
    report = gradcheck(net, loss=function, inputs=(x, y), rng=1)
    assert sum(report.inputs.values()) == sum(p.size for p in net.parameters())
    assert list(report.inputs) == [name for name, _ in net.named_parameters()]
    for name, array in net.state_dict().items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, before[name])
    assert all(p.grad is None for p in net.parameters())


def test_models_are_checked_in_float64() -> None:
    seen = []

    def loss(prediction: Any, target: Any) -> Any:
        seen.append(prediction.dtype)
        return losses.mse_loss(prediction, target)

    x = np.ones((2, 3), "float32")
    assert gradcheck(nn.Linear(3, 1, rng=0), loss=loss, inputs=(x, np.ones((2, 1), "float32")))
    assert set(seen) == {np.dtype(float), np.dtype(complex)}


def test_model_of_second_order_and_without_loss() -> None:
    net = nn.MLP(2, [3, 2], "tanh", rng=0)
    x = _rng(1).standard_normal((4, 2))
    report = gradcheck(net, x, order=2)
    assert "layers.1.weight[2, 1]" in _names(report)
    assert gradcheck(nn.Neuron(2, "tanh", rng=0), x)


def test_the_input_of_a_model_is_checked_when_it_requires_a_gradient() -> None:
    net = nn.Linear(2, 1, rng=0)
    x = tg.tensor(np.ones((1, 2)), requires_grad=True, label="x")
    report = gradcheck(net, loss=losses.mse_loss, inputs=(x, np.zeros((1, 1))))
    assert list(report.inputs) == ["weight", "bias", "x"]


def test_scalar_models_pass() -> None:
    net = scalar.MLP(2, [3, 1], rng=0)
    report = gradcheck(net, loss=lambda p, y: (p - y) ** 2, inputs=([0.5, -1.5], 1.0))
    assert len(report.findings) == len(net.parameters())
    assert "parameters[0]" in _names(report)
    assert all(p.grad == 0.0 for p in net.parameters())


def test_a_wrong_loss_is_found_in_the_parameters() -> None:
    wrong = _rule(lambda x: x * x, lambda g, y, x: g * x)
    net = nn.MLP(2, [3, 1], "tanh", rng=0)
    report = gradcheck(
        net,
        loss=lambda p, y: np.sum(wrong(p - y)),
        inputs=(np.ones((2, 2)), np.zeros((2, 1))),
        raise_exception=False,
    )
    assert {"layers.0.weight[0, 2]", "layers.1.bias[0]"} <= {f.name for f in report.of("wrong")}


def test_frozen_parameters_are_not_checked() -> None:
    net = nn.MLP(2, [3, 1], rng=0)
    net.layers[0].requires_grad_(False)
    report = gradcheck(net, np.ones((1, 2)))
    assert list(report.inputs) == ["layers.1.weight", "layers.1.bias"]


# --- large inputs --------------------------------------------------------------------------------


def test_many_elements_are_checked_along_directions_and_the_report_says_so() -> None:
    x, y = _rng(0).standard_normal(300), np.ones(3)
    report = gradcheck(lambda x, y: np.sum(np.tanh(x)) * np.sum(y), (x, y))
    assert all(finding.elements > 1 for finding in report.findings)
    assert sum(finding.elements for finding in report.findings) == 2 * 303  # two directions each
    assert "checked 303 elements of 2 inputs, along directions" in str(report)
    alone = gradcheck(lambda x, y: np.sum(np.tanh(x)) * np.sum(y), (x, y), max_elements=303)
    assert [finding.elements for finding in alone.findings] == [1] * 303
    assert "checked all 303 elements of 2 inputs one by one" in str(alone)


@pytest.mark.parametrize("seed", SEEDS)
def test_directions_lead_to_the_culprit(seed: int) -> None:
    f = _rule(lambda x: np.tanh(x), lambda g, y, x: g * (1.0 - y * y) * np.where(
        np.arange(5000.0) == 1234, 1.001, 1.0))  # fmt: skip
    x = _rng(0).standard_normal(5000)
    report = gradcheck(lambda x: np.sum(f(x)), x, rng=seed, raise_exception=False)
    assert [finding.name for finding in report.of("wrong")] == ["x[1234]"]
    assert report.evaluations < 600
    assert gradcheck(lambda x: np.sum(np.tanh(x)), x, rng=seed)


# --- what cannot be checked ----------------------------------------------------------------------

OTHER = tg.tensor(3.0, requires_grad=True)

ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "plain float": (lambda: gradcheck(lambda x: 3.0, X), tg.LossError, "plain float"),
    "plain array": (lambda: gradcheck(lambda x: x.data * 2, X), tg.LossError, "plain ndarray"),
    "item": (lambda: gradcheck(lambda x: x.sum().item(), X), tg.LossError, "left the graph"),
    "None": (lambda: gradcheck(lambda x: None, X), tg.LossError, "return"),
    "string": (lambda: gradcheck(lambda x: "a", X), tg.LossError, "returned str"),
    "number in a tuple": (lambda: gradcheck(lambda x: (x, 1.0), X), tg.LossError, "plain float"),
    "comparison": (lambda: gradcheck(lambda x: x > 0, X), tg.LossError, "dtype bool"),
    "argmax": (lambda: gradcheck(lambda x: np.argmax(x), X), tg.LossError, "dtype int64"),
    "detached": (lambda: gradcheck(lambda x: tg.tensor(x.data), X), tg.NotDifferentiableError,
                 "does not depend on x"),
    "constant": (lambda: gradcheck(lambda u: tg.tensor(1.0), X), tg.NotDifferentiableError, "on u"),
    "another leaf": (lambda: gradcheck(lambda u, v: OTHER * 2.0, (X, 2.0)),
                     tg.NotDifferentiableError, "on u, v"),
    "constant loss": (lambda: gradcheck(nn.Linear(2, 1, rng=0), inputs=(np.ones((3, 2)), 1.0),
                                        loss=lambda p, t: OTHER * 2.0),
                      tg.NotDifferentiableError, "on weight, bias"),
    "only what is empty": (lambda: gradcheck(lambda u, v: np.sum(u) * OTHER, (np.ones(0), X)),
                           tg.NotDifferentiableError, "on u, v"),
    "empty": (lambda: gradcheck(lambda x: np.sum(x * x), np.zeros((0, 3))), TypeError,
              "no input to check: no elements in x;"),
    "all empty": (lambda: gradcheck(lambda x, y: x.sum() + y.sum(), (np.ones(0), np.ones((0, 2)))),
                  TypeError, "no input to check: no elements in x, y;"),
    "floor": (lambda: gradcheck(np.floor, X), tg.NotDifferentiableError, "constant"),
    "math.exp": (lambda: gradcheck(lambda x: tg.tensor(math.exp(x)), 1.0),
                 tg.NotDifferentiableError, "drop the gradient of 'x'"),
    "float": (lambda: gradcheck(lambda x: float(x) * x, tg.Value(1.0)),
              tg.NotDifferentiableError, "drop the gradient"),
    "integers": (lambda: gradcheck(lambda x: x, np.arange(3)), TypeError, "astype(float)"),
    "no inputs": (lambda: gradcheck(lambda: 1.0, ()), TypeError, "no input to check"),
    "inputs left out": (lambda: gradcheck(np.sin), TypeError, "needs inputs"),
    "complex": (lambda: gradcheck(np.sin, np.ones(2, complex)), TypeError, "complex"),
    "too many inputs": (lambda: gradcheck(lambda x: x, [1.0, 2.0]), TypeError, "np.array"),
    "not a function": (lambda: gradcheck(3.0, X), TypeError, "function or a model"),
    "loss for a function": (lambda: gradcheck(np.sin, X, loss=np.sum), TypeError, "for models"),
    "order": (lambda: gradcheck(np.sin, X, order=3), ValueError, "order must be 1 or 2"),
    "atol": (lambda: gradcheck(np.sin, X, atol=-1.0), ValueError, "atol"),
    "eps": (lambda: gradcheck(np.sin, X, eps=0.0), ValueError, "eps"),
    "max_elements": (lambda: gradcheck(np.sin, X, max_elements=0), ValueError, "max_elements"),
    "names": (lambda: gradcheck(np.sin, X, names=["a", "b"]), ValueError, "2 entries for 1"),
    "frozen model": (lambda: gradcheck(nn.Linear(2, 1).requires_grad_(False), np.ones((1, 2))),
                     TypeError, "no input to check"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_what_cannot_be_checked_is_a_clear_error(name: str) -> None:
    call, kind, words = ERRORS[name]
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)


def test_errors_of_the_function_come_through_with_a_note() -> None:
    def f(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        gradcheck(f, X)
    assert "on the inputs as given" in caught.value.__notes__[0]

    def rule(g: Any, y: Any, x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        gradcheck(_rule(_sin, rule), X)
    assert "backward pass" in caught.value.__notes__[0]


def test_a_function_that_refuses_some_inputs_is_checked_on_the_side_where_it_does_not() -> None:
    def f(p: Any) -> Any:
        if p.data.max() > 1.0:
            raise ValueError("not a probability")
        return np.sum(p * p)

    report = gradcheck(f, np.array([1.0, 0.5]), order=2)
    assert report
    assert report.of(KINK)[0].name == "p[0]"
    assert "defined on one side" in str(report)
    assert "x[1] (second" in str(gradcheck(lambda x: f(x) * x[1], np.array([0.9, 0.5]), order=2))
    wrong = gradcheck(lambda p: f(p) + 0.1 * np.sum(_rule(_sin, lambda g, y, x: g)(p)),
                      np.array([1.0, 0.5]), raise_exception=False)  # fmt: skip
    assert {finding.name for finding in wrong.of("wrong")} == {"p[0]", "p[1]"}


def test_a_result_that_changes_its_size_is_checked_on_the_side_where_it_does_not() -> None:
    report = gradcheck(lambda x: x[x.data >= 1.0] ** 2, np.array([1.0, 2.0]))
    assert [finding.name for finding in report.of(KINK)] == ["x[0]"]


# --- the report ----------------------------------------------------------------------------------


def test_report_as_text() -> None:
    report = gradcheck(_rule(_sin, _once(1, -1.0)), X, raise_exception=False)
    lines = str(report).splitlines()
    assert lines[0] == "gradcheck: WRONG: 1 of 4 derivatives"
    assert lines[1] == "  pattern: x: wrong only at [1], there the sign is wrong"
    assert lines[2].split() == ["element", "analytic", "numerical", "error", "tolerance", "verdict"]
    assert lines[3].split()[:3] == ["x[1]", "-0.26749883", "0.26749883"]
    assert "wrong" in lines[3]
    assert lines[7].startswith("checked all 4 elements of 1 input one by one in ")
    assert lines[7].endswith("worst relative error 2.0e+00")
    assert lines[8].startswith("relative errors above ")
    right = str(gradcheck(np.sin, X))
    assert right.splitlines()[0] == "gradcheck: right"
    assert "right" in right.splitlines()[2]


def test_the_representation_of_a_report_is_its_text() -> None:
    report = gradcheck(np.sin, X)
    assert repr(report) == str(report)


def test_no_relative_error_where_nothing_was_checked() -> None:
    random = gradcheck(*MUTANTS["random"], raise_exception=False)
    empty = gradcheck(lambda x: x[:0] * 2.0, X)
    for report in (random, empty):
        assert report.worst_relative_error == 0.0
        assert "checked none of 4 elements" in str(report)
        assert "relative error" not in str(report)
    assert "nothing checked: the result has no elements" in empty.notes


def test_an_input_that_is_not_used_among_others_is_noted() -> None:
    report = gradcheck(lambda x, y, z: np.sum(y * OTHER), (X, X, 2.0), order=2)
    assert report
    assert report.notes == ["the result does not depend on x, z: gradient 0"]
    assert [f.analytic for f in report.findings if f.name == "z" and f.order == 1] == [0.0]
    assert gradcheck(lambda x, y: np.sum(x) + np.sum(y), (np.ones(0), X)).notes == []


def test_long_reports_are_cut_and_say_so() -> None:
    text = str(gradcheck(np.sin, np.linspace(0.1, 1.0, 30)))
    assert "... and 18 more, none of them worse" in text


def test_report_as_dict_is_plain() -> None:
    report = gradcheck(lambda x: np.sum(tg.relu(x)), np.array([0.0, 1.0]))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["right"] is True
    assert data["inputs"] == {"x": 2}
    assert data["findings"][0]["verdict"] == KINK
    assert data["findings"][0]["name"] == "x[0]"


def test_report_escapes_what_users_name() -> None:
    name = "<script>\x1b[31m&"
    report = gradcheck(np.sin, X, names=[name])
    assert "<script>" not in report._repr_html_()
    assert "&lt;script&gt;\\x1b[31m&amp;[0]" in report._repr_html_()
    assert "\x1b" not in report._repr_html_()
    assert "\x1b" not in str(report)
    assert report._repr_html_().count("<tr>") == 5


def test_findings_are_sorted_by_verdict_then_by_excess() -> None:
    report = GradcheckReport()
    verdicts = ["right", "weak", KINK, "wrong", "wrong"]
    errors = [0.0, 1.0, 0.0, 2.0, 3.0]
    report.add(
        Finding(str(i), 1.0, 1.0, error, 1.0, verdict)
        for i, (verdict, error) in enumerate(zip(verdicts, errors, strict=True))
    )
    assert [finding.name for finding in report.findings] == ["4", "3", "1", "2", "0"]
    assert not report


def test_weak_derivatives_are_listed() -> None:
    report = gradcheck(lambda x: 1e12 + np.sum(np.sin(x)), np.array([1e-3]))
    assert report
    assert [finding.verdict for finding in report.findings] == ["weak"]
    assert "too weak to tell: 1 element" in str(report)
    assert "differences resolve it to" in str(report)


# --- the parts -----------------------------------------------------------------------------------


def _line(f: Callable[[float], float]) -> Any:
    return line_slopes(
        lambda t: (t, np.array([f(t)])), np.array([f(0.0)]), np.array([1e-16 * abs(f(0.0)) + 1e-18])
    )


@pytest.mark.parametrize(
    ("f", "derivative"),
    [(math.exp, 1.0), (math.sin, 1.0), (lambda t: math.cos(t + 1.0), -math.sin(1.0)),
     (lambda t: 1.0 / (1.0 - t), 1.0), (lambda t: t**3, 0.0), (lambda t: math.tanh(1e4 * t), 1e4)],
)  # fmt: skip
def test_slopes_of_smooth_functions_are_within_their_error(
    f: Callable[[float], float], derivative: float
) -> None:
    s = _line(f)
    assert abs(s.value[0] - derivative) <= 8 * s.error[0]
    assert s.error[0] <= 1e-6 * max(derivative, 1.0)
    assert not s.kink[0]
    assert not s.singular[0]


@pytest.mark.parametrize(
    ("f", "forward", "backward"),
    [(abs, 1.0, -1.0), (lambda t: max(t, 0.0), 1.0, 0.0),
     (lambda t: math.exp(abs(t)) + 2.0 * t, 3.0, 1.0)],
)  # fmt: skip
def test_slopes_at_a_kink(f: Callable[[float], float], forward: float, backward: float) -> None:
    s = _line(f)
    assert s.kink[0]
    assert not s.singular[0]
    assert s.forward[0] == pytest.approx(forward, abs=1e-6)
    assert s.backward[0] == pytest.approx(backward, abs=1e-6)


@pytest.mark.parametrize("f", [lambda t: math.sqrt(abs(t)), lambda t: float(t > 0)])
def test_unbounded_slopes_are_singular(f: Callable[[float], float]) -> None:
    assert _line(f).singular[0]


def test_a_jump_nearby_is_not_a_jump_here() -> None:
    s = _line(lambda t: 1.0 + float(t > 1e-6))
    assert not s.singular[0]
    assert not s.kink[0]
    assert s.value[0] == 0.0
    assert s.error[0] < 1e-6


def test_slopes_of_a_function_that_is_defined_nowhere_else() -> None:
    s = line_slopes(lambda t: (t, np.array([np.nan])), np.ones(1), np.ones(1))
    assert not np.isfinite(s.error[0])
    assert not s.kink[0]


def test_finer_steps_overrule_coarser_ones() -> None:
    ladder = Ladder(2)
    for quotient in (5.0, 5.0, 5.0, 1.0, 1.0, 1.0):  # a plateau that ends
        ladder.add(np.array([quotient]), np.array([1e-9]))
    value, error = ladder.estimate()
    assert value[0] == pytest.approx(1.0)
    assert error[0] < 1e-6


def test_extrapolation_removes_the_even_orders() -> None:
    ladder = Ladder(2)
    for k in range(3):
        h = 4.0**-k
        ladder.add(np.array([2.0 + 3.0 * h**2 - 5.0 * h**4]), np.array([1e-15]))
    assert ladder._row[-1][0] == pytest.approx(2.0, abs=1e-12)


@pytest.mark.parametrize("size", [1e-12, 1e-6])
def test_noise_is_measured(size: float) -> None:
    rng = _rng(0)
    level = noise_level(
        lambda x: np.sin(x[:1]) + size * rng.uniform(-1, 1, 1),
        np.ones(3), np.ones(3), _rng(1), np.dtype(float),
    )  # fmt: skip
    assert 0.2 * size < level[0] < 3.0 * size


def test_noise_of_a_smooth_function_is_rounding() -> None:
    level = noise_level(lambda x: np.sin(x), np.ones(3), np.ones(3), _rng(1), np.dtype(float))
    assert np.all(level < 1e-15)
    assert np.all(level > 1e-17)


@pytest.mark.parametrize("x", [1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
def test_noise_of_a_large_number_on_the_way(x: float) -> None:
    """Near 0 this is a difference of numbers near log 2, whose rounding hides small moves."""

    @tg.primitive(elementwise=True, rules=[lambda g, y, x: g * np.tanh(x)])
    def log_cosh(x: Any) -> Any:
        a = np.abs(x)
        return a + np.log1p(np.exp(-2.0 * a)) - np.log(2.0)

    for seed in range(5):
        assert gradcheck(log_cosh, np.array([x]), rng=seed, raise_exception=False)


def test_a_derivative_that_is_lost_beside_others_is_not_called_right() -> None:
    @tg.primitive(rules=[lambda g, y, x: g * y * np.where(x < -30, 5.0, 1.0)])
    def exp(x: Any) -> Any:
        return np.exp(x)

    report = gradcheck(lambda x: np.sum(exp(x)), np.array([30.0, -40.0]))
    assert [(f.name, f.verdict) for f in report.findings] == [("x[1]", "weak"), ("x[0]", "right")]
    assert "too weak to tell: 1" in str(report)
    with pytest.raises(tg.GradcheckError):
        gradcheck(exp, np.array([30.0, -40.0]))


@pytest.mark.parametrize("keyword", ["fast_mode", "nondet_tol", "check_grad_dtypes"])
def test_keywords_of_pytorch_that_are_not_needed_say_why(keyword: str) -> None:
    with pytest.raises(TypeError, match=f"no keyword {keyword}.*PyTorch"):
        gradcheck(np.sin, np.ones(2), **{keyword: True})


# --- arrays and tensors --------------------------------------------------------------------------


def test_a_function_that_is_another_one_on_arrays():
    def alias(x):
        y = x * 1.0
        z = y
        z += 1.0  # of arrays, y too
        return np.sum(y**2)

    report = gradcheck(alias, np.ones(3), raise_exception=False)
    assert not report
    assert "on plain arrays" in str(report)
    assert gradcheck(lambda x: x.relu().sum(), np.ones(3))  # which arrays have not
    assert gradcheck(lambda x: np.sum(x * x), np.ones(3))


def test_a_primitive_that_is_not_elementwise_though_it_says_so():
    def running(x):
        return np.cumsum(x)

    rules = [lambda g, y, x: np.flip(np.cumsum(np.flip(g)))]
    wrong = tg.Primitive(running, rules, elementwise=True)
    report = gradcheck(wrong, np.array([1.0, 2.0, 3.0]), raise_exception=False)
    assert not report
    assert "forward and reverse" in str(report)
    assert gradcheck(tg.Primitive(running, rules), np.array([1.0, 2.0, 3.0]))
