"""What rounding does on the way: functions whose numbers are known less well than they look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.gradcheck import gradcheck
from tinygrad_nn.gradcheck.graph_subject import function_subject
from tinygrad_nn.gradcheck.rounding import shaken, value_rounding

EPS = float(np.finfo(float).eps)


def _matrix(condition: float) -> Any:
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((8, 8)))[0] for _ in range(2))
    return u @ np.diag(np.geomspace(1.0, 1.0 / condition, 8)) @ v


SEEDS = (0, 1, 2)

#: Right functions, and points where something larger than the result is computed on the way.
CANCELLING: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "exp(x) - 1": (lambda x: np.exp(x) - 1.0, [1e-2, 1e-6, 1e-12, 1e-15]),
    "log(1 + x)": (lambda x: np.log(1.0 + x), [1e-2, 1e-8, 1e-14]),
    "1 - cos(x)": (lambda x: 1.0 - np.cos(x), [1e-2, 1e-5, 1e-8]),
    "log cosh": (lambda x: np.log(np.cosh(x)), [1e-3, 1e-6, 1e-11]),
    "sqrt(1 + x*x) - 1": (lambda x: np.sqrt(1.0 + x * x) - 1.0, [1e-3, 1e-7]),
    "1 - tanh(x)**2": (lambda x: 1.0 - np.tanh(x) ** 2, [5.0, 12.0, 18.0]),
    "1 - erf(x)": (lambda x: 1.0 - tg.erf(x), [4.0, 5.5]),
    "(1 - cos(x)) / x**2": (lambda x: (1.0 - np.cos(x)) / x**2, [1e-3, 1e-4, 1e-5]),
    "sin(x) / x": (lambda x: np.sin(x) / x, [1e-6, 1e-7]),
    "x**2 / (x**2 + 1)": (lambda x: x**2 / (x**2 + 1.0), [1e4, 1e5]),
    "tanh": (np.tanh, [12.97, 16.13, 20.0]),
    "sigmoid": (tg.sigmoid, [21.2, 25.0, -40.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", CANCELLING)
def test_cancellation_is_no_mistake(name: str) -> None:
    f, points = CANCELLING[name]
    for x in points:
        for seed in SEEDS:
            assert gradcheck(f, np.array([x]), rng=seed, order=2 if name in "tanh sigmoid" else 1)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6, 1e8])
def test_ill_conditioned_systems_are_no_mistake(condition: float) -> None:
    a, b = _matrix(condition), np.random.default_rng(1).standard_normal(8)
    for seed in SEEDS:
        assert gradcheck(lambda b: np.linalg.solve(a, b), b, rng=seed)
        assert gradcheck(lambda b: np.sum(np.linalg.solve(a, b)), b, rng=seed)
    assert gradcheck(lambda a: np.linalg.solve(a, b), a)


def test_a_mistake_beside_rounding_is_one() -> None:
    off = tg.primitive(elementwise=True, rules=[lambda g, y, x: g * (1.0 + 1e-9)], name="off")(
        np.positive
    )
    assert not gradcheck(lambda x: np.exp(off(x)) - 1.0, np.array([1e-2]), raise_exception=False)
    a, b = _matrix(1e2), np.ones(8)
    assert not gradcheck(lambda b: np.linalg.solve(a, off(b)), b, raise_exception=False)


@pytest.mark.parametrize("v", [8.0, 12.0, 30.0])
def test_saturated_softmax_as_it_is(v: float) -> None:
    for seed in SEEDS:
        assert gradcheck(tg.softmax, np.float32([v, 2 * v, -v, 1.5 * v]), dtype="native", rng=seed)


#: Subgradients, where many kinks meet.
TIED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "least of the largest": (lambda x: np.min(np.max(x, axis=1)), np.ones((3, 3))),
    "nuclear norm": (lambda a: np.sum(np.linalg.svd(a, compute_uv=False)),
                     np.outer([1.0, 2.0, 3.0], [1.0, 1.0, 2.0])),
    "equal singular values": (lambda a: np.sum(np.linalg.svd(a, compute_uv=False)), np.eye(3)),
    "equal eigenvalues": (lambda a: np.linalg.eigvalsh((a + a.T) / 2.0)[1], np.eye(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", TIED)
def test_subgradients_where_many_kinks_meet(name: str) -> None:
    f, x = TIED[name]
    for seed in SEEDS:
        assert gradcheck(f, x, rng=seed)


def test_a_network_of_zeros_to_second_order() -> None:
    w = np.random.default_rng(0).standard_normal((4, 5))
    inputs = np.zeros((3, 4)), np.zeros(5), np.zeros((5, 2))
    for seed in range(6):
        assert gradcheck(lambda x, b, v: tg.relu(x @ w + b) @ v, inputs, order=2, rng=seed)


@pytest.mark.parametrize("seed", range(4))
def test_what_a_confirmation_cannot_see_is_not_called_right(seed: int) -> None:
    report = gradcheck(
        lambda x: np.sum(x**3), np.array([1.0, 6.4e-5]), rng=seed, raise_exception=False,
        gradient=lambda x: np.array([3.0, -2.0]) * x**2,
    )  # fmt: skip
    for finding in report.findings:
        assert finding.verdict != "right" or finding.error <= finding.tolerance
    assert {f.name: f.verdict for f in report.findings}["x[1]"] in ("wrong", "weak")


def test_nan_beside_an_infinite_slope() -> None:
    """It is 0 times infinity, in the row of another output."""
    report = gradcheck(np.sqrt, np.array([0.0, 1.0]))
    assert report.findings[0].verdict == "not differentiable here"


def test_the_range_of_float16_is_no_mistake() -> None:
    x = np.array([5.0, -5.0], np.float16)
    assert gradcheck(lambda x: np.sum(x**3), x, dtype="native")


def test_a_clipped_cotangent_shows_far_out() -> None:
    clipped = tg.primitive(
        rules=[lambda g, y, x: np.clip(g, -1e4, 1e4) * np.cos(x)], name="clipped"
    )(np.sin)
    report = gradcheck(clipped, np.array([0.3, 0.4]), raise_exception=False)
    assert [p.contract for p in report.problems] == ["linear"]


def test_nothing_leaks_as_a_warning() -> None:
    for x, f in ((1e300, np.log), ([0.0, 1.0, 1e-10], tg.entr), ([1.0], np.arcsin)):
        gradcheck(f, np.asarray(x), raise_exception=False)


def test_a_right_that_says_little_says_so() -> None:
    report = gradcheck(lambda x: np.sum(x) * 1e-3 + 1e14, np.ones(3),
                       gradient=lambda x: np.full(3, 5e-3))  # fmt: skip
    assert report.headline == (
        "gradcheck: right as far as can be told: 3 of 3 derivatives too weak to tell"
    )


# --- the parts -----------------------------------------------------------------------------------


def _graph(f: Callable[[Any], Any], x: Any) -> Any:
    subject = function_subject(f, np.asarray(x), None, "float64")
    subject.first_call()
    return subject


def test_rounding_of_values_is_that_of_the_largest_on_the_way() -> None:
    subject = _graph(lambda x: 1.0 - np.cos(x), 1e-4)
    level = value_rounding(subject.run(subject.x)[1], np.ones((1, 1)))
    np.testing.assert_allclose(level, 0.5 * EPS, rtol=1e-6)


def test_shaking_moves_gradients_by_their_rounding_and_leaves_nothing_behind() -> None:
    subject = _graph(lambda x: np.sin(x) / x, 1e-6)
    leaves, outputs = subject.run(subject.x)
    before = [(node._value, list(node._raw)) for node in (*leaves, *outputs)]
    with shaken(outputs, np.random.default_rng(0), 1.0):
        assert outputs[0]._value != before[-1][0]
    for node, (value, raw) in zip((*leaves, *outputs), before, strict=True):
        assert node._value is value
        assert all(a is b for a, b in zip(node._raw, raw, strict=True))
    w = np.ones((1, 1))
    at_x = subject.gradients(subject.x, w)
    moved = [
        subject.shaken_gradients(subject.x, w, np.random.default_rng(k), 1.0) for k in range(9)
    ]
    assert 1e-12 < np.median([abs(m - at_x) for m in moved]) < 1e-8


def test_shaking_of_scalars() -> None:
    subject = function_subject(lambda a: a * a.tanh(), tg.Value(0.7), None, "float64")
    subject.first_call()
    w = np.ones((1, 1))
    at_x = subject.gradients(subject.x, w)
    moved = subject.shaken_gradients(subject.x, w, np.random.default_rng(0), 1e6)
    assert 0.0 < abs(moved - at_x) < 1e-8
