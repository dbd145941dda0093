"""The parts of the gradient checker, each by itself: steps, noise, lines, contracts, orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.gradcheck import GradcheckReport, constants, gradcheck
from tinygrad_nn.gradcheck.contracts import backward_contracts, forward_contracts
from tinygrad_nn.gradcheck.graph_subject import function_subject
from tinygrad_nn.gradcheck.judgement import Judgement, Rule
from tinygrad_nn.gradcheck.noise import gradient_noise, noise_level
from tinygrad_nn.gradcheck.orders import second_order
from tinygrad_nn.gradcheck.pair import pair_subject
from tinygrad_nn.gradcheck.rows import Rows
from tinygrad_nn.gradcheck.search import Search, ties
from tinygrad_nn.gradcheck.slopes import Ladder, line_slopes

EPS = float(np.finfo(float).eps)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _rows(
    f: Callable[..., Any], x: Any, gradient: Callable[..., Any], *, complex_: bool = True
) -> Rows:
    """The rows of a function of one array, beside a gradient that it is said to have."""
    subject = pair_subject(f, x, None, "float64", gradient, None)
    m = subject.first_call().y.size
    w = np.eye(m)
    return Rows(
        lambda x: w @ subject.try_value(x, m), lambda x: subject.gradients(x, w), subject, _rng(),
        [""] * m, complex_value=(lambda z: subject.complex_value(z)) if complex_ else None,
    )  # fmt: skip


def _quiet(done: int, total: int) -> None:
    pass


def _search(rows: Rows, alone: int = constants.ALONE, budget: int = constants.BUDGET) -> Search:
    search = Search(rows, Rule(), alone, budget, _quiet)
    search.run(np.arange(rows.x.size))
    return search


# --- the complex step ----------------------------------------------------------------------------


def test_the_complex_step_resolves_what_differences_cannot() -> None:
    x = np.array([0.3, 1.1])
    for complex_, caught in ((True, True), (False, False)):
        rows = _rows(lambda x: np.sum(np.exp(x)), x, lambda x: np.exp(x) * (1.0 + 1e-12),
                     complex_=complex_)  # fmt: skip
        judged = rows.probe(np.array([0]), x[:1], Rule())
        assert judged.wrong[0] is np.bool_(caught)
        assert judged.by_complex_step[0] is np.bool_(complex_)


DISTRUSTED: dict[str, Callable[[Any], Any]] = {
    "abs": lambda x: np.sum(np.abs(x) * x),  # whose derivative vanishes along the imaginary axis
    "real part": lambda x: np.sum(np.real(x) ** 3),
    "other for complex numbers": lambda x: np.sum(x**3) * (2.0 if x.dtype.kind == "c" else 1.0),
    "other derivative": lambda x: np.sum(x**3 + 1e-6 * (x - np.real(x))),
    "refuses": lambda x: np.sum(np.array(x, float) ** 3),
}


@pytest.mark.parametrize("name", DISTRUSTED)
def test_the_complex_step_is_used_only_where_it_can_be_trusted(name: str) -> None:
    f = DISTRUSTED[name]
    x = np.array([0.3, 1.1])
    power = 2.0 if name == "abs" else 3.0
    report = gradcheck(f, x, gradient=lambda x: power * x ** (power - 1.0))
    assert report
    rows = _rows(f, x, lambda x: power * x ** (power - 1.0))
    assert not rows.probe(np.array([1]), x[1:], Rule()).by_complex_step.any()


def test_a_warning_of_the_complex_step_does_not_reach_the_user(recwarn: Any) -> None:
    assert gradcheck(DISTRUSTED["refuses"], np.ones(2), gradient=lambda x: 3.0 * x**2)
    assert not recwarn.list


# --- noise ---------------------------------------------------------------------------------------


def test_a_row_that_shows_its_noise_is_not_measured_again_with_wider_moves() -> None:
    """Of an oscillating function they would see the oscillation, and call it noise."""

    def f(x: Any) -> Any:
        flat = 1.0 + 1e-3 * np.float64(np.float32(x[0]))  # shows nothing at small moves
        return np.array([np.sin(3e4 * x[0]), flat])

    level = noise_level(f, np.ones(1), np.ones(1), _rng(), np.dtype(float))
    assert level[0] < 1e-10
    assert level[1] > 1e-12


def test_noise_of_a_gradient_is_its_change_over_an_ulp() -> None:
    def derivative(x: Any) -> Any:
        return np.array([1e8 * x, np.where(x > 1.0, 2.0, 0.0)])  # the second one jumps

    x = np.ones(3)
    noise = gradient_noise(derivative, x, derivative(x), EPS, _rng(), ())
    np.testing.assert_allclose(noise[0], 2e8 * EPS, rtol=0.6)
    np.testing.assert_array_equal(noise[1], 0.0)


def test_noise_of_a_gradient_that_is_not_defined_nearby() -> None:
    def derivative(x: Any) -> Any:
        raise ValueError

    at_x = np.ones((1, 3))
    noise = gradient_noise(derivative, np.ones(3), at_x, EPS, _rng(), (ValueError,))
    np.testing.assert_array_equal(noise, 0.0)
    with pytest.raises(ValueError, match=r"^$"):
        gradient_noise(derivative, np.ones(3), at_x, EPS, _rng(), (KeyError,))


# --- the ladder ----------------------------------------------------------------------------------


def test_families_of_a_ladder_are_extrapolated_each_by_its_own_power() -> None:
    together = Ladder(np.array([[2], [1]]))
    alone = Ladder(2), Ladder(1)
    for k in range(5):
        h = 4.0**-k
        q = np.array([[2.0 + 3.0 * h**2 - 5.0 * h**4], [2.0 + h - h**2]])
        together.add(q, np.array([1e-15]))
        for ladder, one in zip(alone, q, strict=True):
            ladder.add(one, np.array([1e-15]))
    values, errors = together.estimate()
    for i, ladder in enumerate(alone):
        value, error = ladder.estimate()
        assert (values[i], errors[i]) == (value, error)
    np.testing.assert_allclose(values[:, 0], 2.0, atol=1e-8)


def test_a_change_that_is_lost_beside_a_larger_number_is_no_derivative_of_0() -> None:
    """1 - tanh(x)**2 goes in units of 1e-16, however small it is."""

    def f(t: float) -> Any:
        return np.array([1.0 - np.tanh(17.0 * (1.0 + t)) ** 2])

    slopes = line_slopes(lambda t: (t, f(t)), f(0.0), np.array([1e-18]))  # of the finest moves
    exact = -34.0 * np.tanh(17.0) / np.cosh(17.0) ** 2
    assert abs(slopes.value[0] - exact) <= 8.0 * slopes.error[0]


@pytest.mark.parametrize("width", [1e-3, 1e-4, 1e-5])
def test_a_glance_at_a_finer_step_sees_what_the_others_step_over(width: float) -> None:
    def f(x: Any) -> Any:
        bump = np.exp(-(((np.real(x[0]) - 0.5 - width) / width) ** 2))  # no complex step
        return np.sin(np.real(x[0])) + 0.1 * width * bump

    report = gradcheck(f, np.array([0.5]), gradient=lambda x: np.cos(x), raise_exception=False)
    assert report.of("wrong")


def test_changes_in_units_of_rounding_are_told_from_a_plateau() -> None:
    """Both are 0 at fine steps; of the plateau, that is the derivative."""

    def slopes(f: Callable[[float], float]) -> Any:
        at_zero = np.array([f(0.0)])
        return line_slopes(lambda t: (t, np.array([f(t)])), at_zero, np.array([1e-30]))

    unit = 2.0**-53
    rounded = slopes(lambda t: unit * np.round(1e-12 * t / unit))
    assert abs(rounded.value[0] - 1e-12) <= 8.0 * rounded.error[0]
    flat = slopes(lambda t: max(t - 1e-4, 0.0) + min(t + 1e-4, 0.0))
    assert flat.value[0] == 0.0
    assert flat.error[0] < 1e-20


# --- the search ----------------------------------------------------------------------------------


def _planted(n: int, wrong: dict[int, float]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    factor = np.ones(n)
    for i, by in wrong.items():
        factor[i] = by
    return lambda x: np.sum(x**3), lambda x: 3.0 * x**2 * factor


@pytest.mark.parametrize("wrong", [{17: 1.001}, {0: 2.0, 999: 1.0001}, {5: 0.0}, {7: -1.0}])
def test_bisection_finds_the_elements(wrong: dict[int, float]) -> None:
    f, gradient = _planted(1000, wrong)
    search = _search(_rows(f, _rng(1).uniform(0.5, 2.0, 1000), gradient))
    found = {f.name for f in search.findings if f.verdict == "wrong"}
    assert found == {f"x[{i}]" for i in wrong}


def test_small_elements_are_not_lost_beside_large_ones() -> None:
    x = np.geomspace(1e-2, 1e1, 200)
    f, gradient = _planted(200, {3: 1.01})  # whose part in the slope of all is 1e-11
    search = _search(_rows(f, x, gradient))
    assert [f.name for f in search.findings if f.verdict == "wrong"] == ["x[3]"]


def test_bisection_ends_when_enough_is_known() -> None:
    f, gradient = _planted(10_000, dict.fromkeys(range(10_000), 2.0))
    rows = _rows(f, _rng(1).uniform(0.5, 2.0, 10_000), gradient)
    search = _search(rows)
    wrong = [f for f in search.findings if f.verdict == "wrong"]
    assert constants.LOCATED <= len(wrong) <= 2 * constants.LOCATED + 2
    assert rows.probes < 120


def test_the_budget_ends_the_search_and_the_report_says_so() -> None:
    f, gradient = _planted(1000, dict.fromkeys(range(0, 1000, 30), 2.0))
    search = _search(_rows(f, np.geomspace(1e-6, 1e3, 1000), gradient), budget=20)
    assert "not checked" in search.unprobed
    assert "max_elements=1000 checks all one by one" in search.unprobed


def test_kinks_are_located_and_the_rest_is_judged_without_them() -> None:
    x = _rng(2).uniform(0.5, 2.0, 500)
    x[[3, 77]] = 0.0
    search = _search(_rows(lambda x: np.sum(np.maximum(x, 0.0) ** 1.0 * 2.0), x,
                           lambda x: 2.0 * (x > 0.0)))  # fmt: skip
    assert sorted(search.kinks) == [3, 77]
    assert not [f for f in search.findings if f.verdict == "wrong"]
    assert any(f.verdict == "right" and f.elements == 498 for f in search.findings)


def test_slopes_that_are_not_linear_in_the_direction() -> None:
    """Along each axis the slope is 0, and along the diagonal it is not."""

    def f(x: Any) -> Any:
        return np.array(x[0] * x[1] / np.hypot(x[0], x[1]) if x.any() else 0.0)

    search = _search(_rows(f, np.zeros(2), lambda x: np.zeros(2)))
    assert search.findings[-1].name == "x (along 2 elements)"
    assert search.findings[-1].verdict in ("wrong", "not differentiable here")


def test_pairs_at_a_tie() -> None:
    x = np.array([1.0, 3.0, 3.0])
    for share, wrong in ((0.5, 0), (1.0, 1)):
        rows = _rows(lambda x: np.max(x), x, lambda x, s=share: s * (x == x.max()))
        search = _search(rows)
        assert len(list(ties(rows, list(search.kinks)))) == wrong


def _judged(**fields: Any) -> Judgement:
    zeros, no = np.zeros(1), np.zeros(1, bool)
    everything = {
        name: no if name in ("wrong", "kink", "weak", "singular", "by_complex_step") else zeros
        for name in Judgement.__dataclass_fields__
    }
    return Judgement(**everything | fields)


def test_what_a_weaker_ladder_allows_is_allowed_at_its_own_tolerance() -> None:
    first = _judged(analytic=np.full(2, 2.0), tolerance=np.full(2, 0.1), error=np.full(2, 0.01),
                    wrong=np.ones(2, bool))  # fmt: skip
    second = _judged(tolerance=np.full(2, 9.0), error=np.full(2, 1.0), wrong=np.zeros(2, bool))
    first.take(second, np.array([True, False]))
    np.testing.assert_array_equal(first.wrong, [False, True])
    np.testing.assert_array_equal(first.tolerance, [9.0, 0.1])
    np.testing.assert_array_equal(first.error, [1.0, 0.01])


def test_a_gradient_that_jumps_has_no_derivative() -> None:
    """At a kink of the function."""
    for f, jumps in ((np.sign, True), (np.sin, False)):
        for order in (1, 2):
            rows = _rows(lambda x, f=f: f(x), np.zeros(1), lambda x: np.zeros((1, 1)))
            rows.order = order
            judged = _judged(wrong=np.ones(1, bool), numeric=np.ones(1))
            rows._jumps(judged, np.ones(1))
            assert judged.wrong[0] is np.bool_(not (jumps and order == 2))
            assert judged.kink[0] is np.bool_(jumps and order == 2)


@pytest.mark.parametrize("error", [IndexError, RuntimeError, KeyError, ValueError])
def test_whatever_a_function_raises_away_from_its_inputs(error: type[Exception]) -> None:
    def f(x: Any) -> Any:
        if np.real(x[0]) > 1.0:
            raise error("beyond the end")
        return np.sum(x**3)

    x = np.array([0.999, 0.5])
    assert gradcheck(f, x, gradient=lambda x: 3.0 * x**2)
    report = gradcheck(f, x, gradient=lambda x: 3.03 * x**2, raise_exception=False)
    assert len(report.of("wrong")) == 2


# --- contracts -----------------------------------------------------------------------------------


def _contracts(rule: Callable[..., Any], x: Any = None) -> list[str]:
    f = tg.primitive(rules=[rule], name="planted")(lambda x: np.sin(x) * 1.0)
    subject = function_subject(f, np.array([0.3, 1.1, 2.0]) if x is None else x, None, "float64")
    report = GradcheckReport()
    y = forward_contracts(subject, report)
    assert y is not None
    backward_contracts(subject, y, report, _rng())
    return [problem.contract for problem in report.problems]


def _writes_g(g: Any, y: Any, x: Any) -> Any:
    result = g * np.cos(x)
    g[...] = 0.0
    return result


RULES: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "right": (lambda g, y, x: g * np.cos(x), []),
    "ignores g": (lambda g, y, x: np.cos(x), ["linear"]),
    "clips": (lambda g, y, x: np.clip(g, -100.0, 100.0) * np.cos(x), ["linear"]),
    "rounds": (lambda g, y, x: np.round(g, 6) * np.cos(x), ["linear"]),
    "not additive": (lambda g, y, x: abs(g) * np.sign(g[0]) * np.cos(x), ["linear"]),
    "writes to g": (_writes_g, ["pure"]),
    "float32": (lambda g, y, x: (g * np.cos(x)).astype("float32"), ["dtype"]),
    "shape": (lambda g, y, x: np.sum(g) * np.cos(x[:2]), ["shape"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_contracts_of_the_backward_pass(name: str) -> None:
    rule, broken = RULES[name]
    assert _contracts(rule) == broken


def test_the_gradient_of_nothing_is_0() -> None:
    infinite = tg.primitive(rules=[lambda g, y, x: np.full(x.shape, np.inf)], name="planted")(
        lambda x: x[:0] * 2.0
    )
    report = gradcheck(infinite, np.ones(3), raise_exception=False)
    assert [problem.contract for problem in report.problems] == ["linear"]
    assert gradcheck(lambda x: x[:0] * 2.0, np.ones(3)).notes == [
        "nothing checked: the result has no elements"
    ]


# --- orders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 8, 50])
def test_a_cotangent_that_is_rounded_shows_in_a_mix_of_outputs(m: int) -> None:
    """One by one, and multiplied by powers of two, it is exact."""
    wrong = tg.primitive(
        rules=[lambda g, y, x: np.cos(x) * g.astype("float32").astype(float)], name="planted"
    )(np.sin)
    f = (lambda x: wrong(x)) if m > 1 else (lambda x: wrong(x).sum() * 1.0)
    x = np.linspace(0.1, 1.0, m)
    report = gradcheck(f, x, raise_exception=False)
    assert not report
    assert "mix of outputs" in str(report) or report.of("wrong")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_rule_that_keeps_what_it_saw_first(seed: int) -> None:
    kept: list[Any] = []

    def rule(g: Any, y: Any, x: Any) -> Any:
        kept.append(np.cos(x))
        return g * kept[0]

    f = tg.primitive(rules=[rule], name="planted")(np.sin)
    report = gradcheck(f, np.array([0.3, 1.1, 2.0]), rng=seed, raise_exception=False)
    assert [f.name for f in report.of("wrong")] == ["at a point nearby (along 3 elements)"]
    assert "does a rule keep what it has seen" in str(report)


def test_a_point_nearby_where_there_is_no_function() -> None:
    assert gradcheck(lambda x: np.sqrt(1.0 - x), np.array([0.999]))
    assert gradcheck(lambda x: np.sum(np.log(x)), np.array([1e-12]))


def test_second_derivatives_of_small_gradients_are_checked_in_rows_of_their_own() -> None:
    """x[2] has a part of 1e-12 in the change of the gradient."""

    def rule(g: Any, y: Any, x: Any) -> Any:
        raw = np.asarray(x.data if isinstance(x, tg.Tensor) else x)
        frozen = np.where(np.arange(3) == 2, raw, 0.0)  # x[2] is taken out of the graph
        live = np.where(np.arange(3) == 2, 0.0, x)
        return g * 3.0 * (live + frozen) ** 2

    f = tg.primitive(rules=[rule], name="planted")(lambda x: x**3)
    x = np.array([1e3, 2e3, 1e-3])
    report = gradcheck(lambda x: np.sum(f(x)), x, order=2, raise_exception=False)
    assert {f.name for f in report.of("wrong")} == {"x[2]"}
    assert gradcheck(lambda x: np.sum(x**3), x, order=2)


def test_a_cotangent_out_of_the_graph_shows_in_the_adjoint() -> None:
    def rule(g: Any, y: Any, x: Any) -> Any:
        return (g.data if isinstance(g, tg.Tensor) else g) * np.cos(x)

    for wrong in (False, True):
        f = tg.primitive(rules=[rule if wrong else lambda g, y, x: g * np.cos(x)], name="planted")(
            np.sin
        )
        subject = function_subject(f, np.array([0.3, 1.1]), None, "float64")
        report = GradcheckReport()
        y = forward_contracts(subject, report)
        assert y is not None
        second_order(subject, y, Rule(), 16, {}, report, _rng(), _quiet)
        assert ["takes its `g` out of the graph" in str(p) for p in report.problems] == [
            True
        ] * wrong


# --- dtypes --------------------------------------------------------------------------------------

NATIVE: dict[str, tuple[Callable[..., Any], Any]] = {
    "cubes": (lambda x: np.sum(x**3), np.float32([1.0, -2.0, 0.3])),
    "softmax": (lambda x: tg.softmax(x), np.float32([[1.0, -2.0, 0.3], [0.0, 5.0, 2.0]])),
    "matrices": (lambda a, b: np.tanh(a @ b),
                 (np.float32([[1.0, 0.2]]), np.float32([[0.3], [2.0]]))),
    "mixed": (lambda a, b: np.sum(a * np.exp(b)), (np.float32([1.0, 0.2]), np.array([0.3, 2.0]))),
    "half": (lambda x: np.sum(x * x), np.float16([1.0, -2.0, 0.3])),
    "large": (lambda x: np.sum(np.tanh(x)), _rng(3).standard_normal(500).astype("float32")),
    "kink": (lambda x: np.sum(tg.relu(x)), np.float32([0.0, 1.0, -1.0])),
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", NATIVE)
def test_inputs_as_they_are(name: str, seed: int) -> None:
    f, inputs = NATIVE[name]
    assert gradcheck(f, inputs, dtype="native", order=2, rng=seed)
    off = tg.primitive(elementwise=True, rules=[lambda g, y, x: 4.0 * g], name="off")(
        lambda x: x * 1
    )
    first = inputs[0] if isinstance(inputs, tuple) else inputs
    rest = inputs[1:] if isinstance(inputs, tuple) else ()
    report = gradcheck(lambda x, *r: f(off(x), *r), (first, *rest), dtype="native", rng=seed,
                       raise_exception=False)  # fmt: skip
    assert report.of("wrong")


def test_a_model_as_it_is() -> None:
    seen = set()

    def loss(p: Any, y: Any) -> Any:
        seen.add(p.dtype.name)
        return np.mean((p - y) ** 2)

    model = tg.nn.MLP(3, [4, 2], "tanh", rng=0)
    x = _rng(0).standard_normal((5, 3)).astype("float32")
    assert gradcheck(model, loss=loss, inputs=(x, np.zeros((5, 2), "float32")), dtype="native")
    assert "float32" in seen
    assert "float64" not in seen
    assert {p.dtype.name for p in model.parameters()} == {"float32"}
