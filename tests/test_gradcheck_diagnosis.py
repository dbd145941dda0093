"""Diagnoses of gradients: simple mistakes are named, others are not, and right ones never."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.gradcheck import GradcheckReport, gradcheck
from tinygrad_nn.gradcheck.diagnosis import unsummed
from tinygrad_nn.gradcheck.factors import factor_names
from tinygrad_nn.gradcheck.report import Broken

SEEDS = (0, 1, 2)
Case = tuple[Callable[..., Any], Callable[[np.random.Generator], Any]]


def _rule(forward: Callable[..., Any], *rules: Any, elementwise: bool = True) -> Any:
    return tg.primitive(rules=rules, name="planted", elementwise=elementwise)(forward)


def _sin(change: Callable[..., Any]) -> Any:
    """A sine whose derivative is changed."""
    return _rule(np.sin, lambda g, y, x: change(g * np.cos(x), x))


def _summed(f: Any) -> Any:
    return lambda x: np.sum(f(x))


def _uniform(*shape: int) -> Callable[[np.random.Generator], Any]:
    return lambda rng: (rng.uniform(0.3, 1.4, shape) * rng.choice([-1.0, 1.0], shape),)


def _two(a: tuple[int, ...], b: tuple[int, ...]) -> Callable[[np.random.Generator], Any]:
    return lambda rng: (rng.uniform(0.5, 2.0, a), rng.uniform(0.5, 2.0, b))


def _balanced(n: int) -> Callable[[np.random.Generator], Any]:
    """Elements of which half are negative."""
    return lambda rng: (rng.permutation(np.linspace(-1.5, 1.5, n)),)


def _diagnoses(case: Case, seed: int, **keywords: Any) -> GradcheckReport:
    f, inputs = case
    given = inputs(np.random.default_rng(seed + 100))
    return gradcheck(f, given, rng=seed, raise_exception=False, **keywords)


def _at_row(shape: tuple[int, ...], index: Any, c: float = 2.0) -> np.ndarray:
    scale = np.ones(shape)
    scale[index] = c
    return scale


def _dropped(*, square: bool = False) -> Any:
    return _rule(
        lambda a, b: a @ b,
        (lambda g, y, a, b: g @ b) if square else (lambda g, y, a, b: g @ b.T),
        lambda g, y, a, b: a.T @ g,
        elementwise=False,
    )


def _clip(g: Any, y: Any, x: Any) -> Any:
    return np.clip(g, -5.0, 5.0) * np.cos(x)


# (mistake, inputs), and what must be said of it: the pattern, the input, some details, some words.
PATTERNS: dict[str, tuple[Case, str, str, dict[str, Any], str]] = {
    "sign": ((_sin(lambda d, x: -d), _uniform(5)), "sign", "x", {"factor": -1.0}, "sign"),
    "twice": ((_sin(lambda d, x: 2.0 * d), _uniform(5)), "factor", "x", {"factor": 2.0},
              "2 times"),
    "half": ((_sin(lambda d, x: 0.5 * d), _uniform(5)), "factor", "x", {"factor": 0.5},
             "1/2 times"),
    "third": ((_sin(lambda d, x: d / 3.0), _uniform(2)), "factor", "x", {"factor": 1 / 3},
              "1/3 times"),
    "one element": ((_sin(lambda d, x: 2.0 * d), lambda rng: (rng.uniform(0.5, 1.0),)),
                    "factor", "x", {"factor": 2.0}, "2 times"),
    "pi": ((_sin(lambda d, x: np.pi * d), _uniform(5)), "factor", "x", {"factor": np.pi}, "pi"),
    "log to base 2": ((_rule(np.log2, lambda g, y, x: g / x), lambda rng: (rng.uniform(1, 3, 4),)),
                      "factor", "x", {"factor": np.log(2.0)}, "ln 2"),
    "by some factor": ((_sin(lambda d, x: 1.0379 * d), _uniform(5)), "factor", "x",
                       {"factor": 1.0379}, "1.0379 times"),
    "sum for mean": ((_rule(lambda a: np.mean(a), lambda g, y, x: g * np.ones(x.shape),
                            elementwise=False), _uniform(7)), "factor", "a",
                     {"factor": 7.0}, "a.shape[0]: a sum"),
    "mean for sum": ((_rule(lambda a: np.sum(a), lambda g, y, x: g * np.ones(x.shape) / x.shape[0],
                            elementwise=False), _uniform(7)), "factor", "a", {"factor": 1 / 7},
                     "1/7 = 1/a.shape[0]: a mean"),
    "broadcast mean": ((_rule(lambda a, b: a * b, lambda g, y, a, b: g * b,
                              lambda g, y, a, b: np.mean(g * a, axis=0), elementwise=False),
                        _two((5, 3), (3,))), "factor", "b", {"factor": 0.2}, "1/a.shape[0]"),
    "ddof": ((_rule(lambda x: np.var(x, ddof=1), lambda g, y, x: (
        g * 2.0 * (x - np.mean(x)) / x.size), elementwise=False), _uniform(6)),
        "factor", "x", {"factor": 5 / 6}, "ddof"),
    "zero": ((_sin(lambda d, x: d * 0.0), _uniform(5)), "zero", "x", {}, "no gradient reaches"),
    "offset": ((_summed(_sin(lambda d, x: d + 0.25)), _uniform(6)), "offset", "x",
               {"offset": 0.25}, "is 0.25 too large"),
    "offset of outputs": ((_rule(np.sin, lambda g, y, x: g * (np.cos(x) + 0.25)), _uniform(6)),
                          "offset", "x", {"offset": 0.25}, "is 0.25 too large"),
    "float32": ((_summed(_rule(np.sin, lambda g, y, x: (
        g * np.cos(x).astype("float32").astype("float64")))), _uniform(6)),
        "precision", "x", {"dtype": "float32"}, "float32"),
    "transposed": ((_sin(lambda d, x: d.T), _uniform(3, 3)), "transposed", "x", {}, "transposed"),
    "reshaped": ((_summed(_sin(lambda d, x: np.reshape(d.T, x.shape))), _uniform(3, 4)),
                 "transposed", "x", {}, "reshaped where it must be transposed"),
    "rolled": ((_summed(_sin(lambda d, x: np.roll(d, 1, 1))), _uniform(3, 4)), "rolled", "x",
               {"axis": 1, "shift": 1}, "shifted by 1 along axis 1"),
    "rolled back": ((_sin(lambda d, x: np.roll(d, -1)), _uniform(6)), "rolled", "x",
                    {"axis": 0, "shift": -1}, "shifted by -1"),
    "reversed": ((_sin(lambda d, x: d[::-1]), _uniform(6)), "reversed", "x", {"axis": 0}, "rever"),
    "swapped": ((_rule(lambda a, b: a * b, lambda g, y, a, b: g * a, lambda g, y, a, b: g * b),
                 _two((4,), (4,))), "swapped", "a", {"other": "b"}, "two rules"),
    "operand": ((_dropped(square=True), _two((3, 3), (3, 3))), "operand", "a", {}, ".T"),
    "other operand": ((_rule(lambda a, b: a @ b, lambda g, y, a, b: g @ b.T,
                             lambda g, y, a, b: a @ g, elementwise=False),
                       _two((3, 3), (3, 3))), "operand", "b", {}, ".T"),
    "g summed": ((_rule(np.sin, lambda g, y, x: np.sum(g) * np.cos(x)), _uniform(5)), "upstream",
                 "x", {"what": "sum"}, "the sum of its `g`"),
    "g averaged": ((_rule(np.sin, lambda g, y, x: np.mean(g) * np.cos(x)), _uniform(5)),
                   "upstream", "x", {"what": "mean"}, "the mean of its `g`"),
    "g ignored": ((_rule(np.sin, lambda g, y, x: np.cos(x)), _uniform(5)), "upstream", "",
                  {"how": "ignored"}, "ignores its `g`"),
    "g squared": ((_summed(_rule(np.sin, lambda g, y, x: g * g * np.cos(x))), _uniform(5)),
                  "upstream", "", {"how": "squared"}, "by its `g` twice"),
    "g, sign": ((_summed(_rule(np.sin, lambda g, y, x: np.sign(g) * np.cos(x))), _uniform(5)),
                "upstream", "", {"how": "sign"}, "only the sign"),
    "g, absolute": ((_summed(_rule(np.sin, lambda g, y, x: abs(g) * np.cos(x))), _uniform(5)),
                    "upstream", "", {"how": "absolute"}, "absolute value"),
    "g clipped": ((_summed(_rule(np.sin, _clip)), _uniform(5)), "upstream", "",
                  {"how": "clipped"}, "clips"),
    "g rounded": ((_rule(np.sin, lambda g, y, x: (
        g.astype("float32").astype("float64") * np.cos(x))), _uniform(5)), "upstream", "",
        {"how": "rounded"}, "rounds"),
    "output": ((lambda x: (np.sum(x), tg.tensor(x.data.sum())), _uniform(5)), "output", "x",
               {"outputs": [1]}, "from output 1,"),
    "negative": ((_sin(lambda d, x: d * np.where(x < 0, 2.0, 1.0)), _balanced(12)), "negative",
                 "x", {"factor": 2.0, "elements": 6}, "where it is negative, there 2 times"),
    "positive": ((_sin(lambda d, x: d * np.where(x > 0, np.cos(x), 1.0)), _balanced(12)),
                 "positive", "x", {"elements": 6}, "where it is positive"),
    "large": ((_sin(lambda d, x: d * np.where(abs(x) > 0.7, 2.0, 1.0)), _balanced(12)), "large",
              "x", {"elements": 6}, "where it is large (beyond 0.6818, at 0.9545)"),
    "small": ((_sin(lambda d, x: d * np.where(abs(x) < 0.7, 2.0, 1.0)), _balanced(12)), "small",
              "x", {"elements": 6}, "where it is small"),
    "negative of many": ((_summed(_sin(lambda d, x: d * np.where(x < 0, 2.0, 1.0))),
                          _balanced(400)), "negative", "x", {"factor": 2.0}, "is negative"),
    "twice of many": ((_summed(_sin(lambda d, x: 2.0 * d)), _balanced(400)), "factor", "x",
                      {"factor": 2.0}, "2 times what it must be"),
    "rolled of many": ((_summed(_sin(lambda d, x: np.roll(d, 1))), _balanced(400)), "rolled", "x",
                       {"axis": 0, "shift": 1}, "shifted by 1"),
    "one of many": ((_summed(_sin(lambda d, x: d * _at_row(x.shape, 123))), _balanced(400)),
                    "element", "x", {"factor": 2.0}, "only at [123], there 2 times"),
    "element": ((_sin(lambda d, x: d * _at_row(x.shape, (1, 2))), _uniform(3, 4)), "element", "x",
                {"elements": 1}, "only at [1, 2]"),
    "nan": ((_sin(lambda d, x: d * _at_row(x.shape, 2, np.nan)), _uniform(4)), "element", "x",
            {"elements": 1}, "only at [2], where it is not finite"),
    "row": ((_sin(lambda d, x: d * _at_row(x.shape, 1)), _uniform(3, 4)), "row", "x",
            {"elements": 4, "factor": 2.0}, "only at [1, :], there 2 times"),
    "column": ((_sin(lambda d, x: d * _at_row(x.shape, (slice(None), 3))), _uniform(3, 4)),
               "column", "x", {"elements": 3}, "only at [:, 3]"),
    "kink": ((_rule(lambda x: np.maximum(x, 0.0), lambda g, y, x: g * ((x > 0) + 2.0 * (x == 0))),
              lambda rng: (np.array([0.0, 1.0, -2.0]),)), "ties", "",
             {"elements": ["x[0]"]}, "at a kink"),
    "tie": ((_rule(lambda a: np.max(a), lambda g, y, a: g * (a == y), elementwise=False),
             lambda rng: (np.array([1.0, 3.0, 3.0]),)), "ties", "", {}, "at a tie"),
    "broadcast": ((_rule(lambda a, b: a * b, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a,
                         elementwise=False), _two((3, 4), (4,))), "broadcast", "", {"axes": [0]},
                  "sum over axis 0"),
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_are_named(name: str, seed: int) -> None:
    case, pattern, where, details, words = PATTERNS[name]
    report = _diagnoses(case, seed)
    assert not report
    found = {d.where: d for d in report.diagnoses}
    assert where in found, report.diagnoses
    diagnosis = found[where]
    assert diagnosis.pattern == pattern, diagnosis
    assert words in diagnosis.message
    for key, value in details.items():
        expected = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
        assert diagnosis.details[key] == expected
    assert words in " ".join(str(report).split())
    json.dumps(report.to_dict(), allow_nan=False)


# Mistakes that no simple hypothesis explains, and inputs that give too little evidence.
NO_PATTERN: dict[str, Case] = {
    "other function": (_rule(np.sin, lambda g, y, x: g * np.sin(x)), _uniform(6)),
    "missing term": (_rule(lambda x: x * np.exp(x), lambda g, y, x: g * np.exp(x)), _uniform(6)),
    "detached term": (lambda x: np.sum(x * np.sin(x.data)), _uniform(6)),
    "detached part": (lambda x: np.sum(x) + np.sum(tg.tensor(x.data) ** 2), _uniform(6)),
    "random factors": (_sin(lambda d, x: d * np.linspace(1.1, 1.9, x.size)), _uniform(6)),
    "truncated": (_rule(np.sin, lambda g, y, x: g * (1.0 - x**2 / 2.0)), _uniform(6)),
    "by differences": (_rule(np.sin, lambda g, y, x: (
        g * (np.sin(x + 1e-3) - np.sin(x)) / 1e-3)), _uniform(6)),
    "one element, one input": (_sin(lambda d, x: 1.0379 * d),
                               lambda rng: (rng.uniform(0.5, 1.0),)),
    "rolled and twice": (_sin(lambda d, x: 2.0 * np.roll(d, 1)), _uniform(6)),
    "some, of any sign": (_sin(lambda d, x: d * (1.0 + (np.arange(x.size) % 5 == 0))),
                          _balanced(20)),
    "sum over the wrong axis": (_rule(
        lambda a, b: a * b[:, None], lambda g, y, a, b: g * b[:, None],
        lambda g, y, a, b: np.sum(g * a, axis=0), elementwise=False), _two((3, 3), (3,))),
    "of random": (lambda x: np.sum(x) * np.random.default_rng().uniform(), _uniform(4)),
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NO_PATTERN)
def test_no_pattern_is_seen_where_there_is_none(name: str, seed: int) -> None:
    report = _diagnoses(NO_PATTERN[name], seed)
    assert not report
    assert report.diagnoses == []


def test_right_gradients_have_no_diagnosis() -> None:
    for f in (np.sin, lambda x: np.sum(x * x), lambda x: x[::-1], tg.relu):
        assert gradcheck(f, np.array([0.5, 0.5, 0.0, -1.0])).diagnoses == []


def test_a_tolerance_of_the_users_own_is_no_mistake_of_the_gradient() -> None:
    report = gradcheck(np.sin, np.array([0.5, 1.0, 2.0]), atol=0.0, raise_exception=False)
    assert not report
    assert report.diagnoses == []


def test_a_few_wrong_elements_of_one_sign_are_no_evidence_of_a_sign() -> None:
    f = _sin(lambda d, x: d * _at_row(x.shape, 1))
    report = gradcheck(f, np.array([0.7, -1.3, 2.1, 0.2]), raise_exception=False)
    assert [d.pattern for d in report.diagnoses] == ["element"]


@pytest.mark.parametrize("seed", SEEDS)
def test_elements_that_the_search_has_not_reached_are_asked_as_well(seed: int) -> None:
    """A search that has found some wrong elements ends; the others may be wrong in another way."""
    x = np.random.default_rng(seed).permutation(np.linspace(-1.5, 1.5, 400))
    at = np.arange(400)
    for scale in (np.where(at < 300, 2.0, 3.0), np.where((x < 0) | (at > 350), 2.0, 1.0)):
        f = _summed(_sin(lambda d, x, scale=scale: d * scale))
        report = gradcheck(f, x, rng=seed, raise_exception=False)
        assert not report
        assert report.diagnoses == []


def test_low_precision_is_not_called_clipping() -> None:
    """Of a large `g`, both give infinity."""
    f = _sin(lambda d, x: d.astype("float16"))
    report = gradcheck(f, np.array([0.7, -1.3, 2.1]), raise_exception=False)
    assert [d.details for d in report.diagnoses] == [{"how": "rounded"}]


def test_an_element_of_which_the_gradient_is_0_is_no_output_without_one() -> None:
    f = _rule(lambda x: np.maximum(x, 0.0), lambda g, y, x: g * (x > 0.5))
    report = gradcheck(f, np.array([0.7, 1.3, 0.2]), raise_exception=False)
    assert [d.pattern for d in report.diagnoses] == ["element"]


def test_one_element_among_others_that_are_0_speaks_for_itself_alone() -> None:
    f = _rule(lambda x: np.maximum(x, 0.0), lambda g, y, x: g * 2.0 * (x > 0))
    x = np.array([-0.5, 1.0, -2.0, -3.0])
    report = gradcheck(lambda x: np.sum(f(x)), x, raise_exception=False)
    assert [d.pattern for d in report.diagnoses] == ["element"]
    assert "only at [1], there 2 times" in report.diagnoses[0].message


def test_what_cannot_be_told_apart_is_named_twice() -> None:
    x = np.array([[0.3, 1.1], [1.1, 0.3]])
    report = gradcheck(lambda x: np.sum(np.sin(x)), x, gradient=lambda x: np.cos(x)[::-1],
                       raise_exception=False)  # fmt: skip
    assert "along axis 0 (or its gradient is reversed along axis 1)" in str(report.diagnoses[0])


def test_inputs_that_the_same_is_said_of_share_a_diagnosis() -> None:
    wrong = _rule(lambda x: x * x, lambda g, y, x: g * x)
    net = tg.nn.MLP(2, [3, 1], "tanh", rng=0)
    x = np.random.default_rng(0).standard_normal((3, 2))
    report = gradcheck(net, loss=lambda p, y: np.sum(wrong(p - y)), inputs=(x, np.ones((3, 1))),
                       raise_exception=False)  # fmt: skip
    assert [(d.pattern, d.where) for d in report.diagnoses] == [
        ("factor", "layers.0.weight, layers.0.bias, layers.1.weight, layers.1.bias")
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_of_others_are_diagnosed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w, x = rng.standard_normal((4, 4)), rng.standard_normal(4)
    report = gradcheck(lambda x: x @ w @ x, x, gradient=lambda x: -(w + w.T) @ x, rng=seed,
                       raise_exception=False)  # fmt: skip
    assert [d.pattern for d in report.diagnoses] == ["sign"]
    right = gradcheck(lambda x: x @ w @ x, x, gradient=lambda x: (w + w.T) @ x)
    assert right.diagnoses == []
    vjp = gradcheck(lambda x: w @ x, x, vjp=lambda g, x: w.T @ g / 4.0, raise_exception=False)
    assert "1/4 = 1/x.shape[0]" in vjp.diagnoses[0].message


SECOND: dict[str, tuple[Any, str]] = {
    "constant": (_rule(np.sin, lambda g, y, x: g * np.cos(getattr(x, "data", x))), "is 0"),
    "part": (_rule(lambda x: x**3, lambda g, y, x: g * 3.0 * x * getattr(x, "data", x)), "some of"),
}  # fmt: skip


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name: str) -> None:
    f, words = SECOND[name]
    x = np.array([0.5, 1.5, -0.7])
    report = gradcheck(f, x, order=2, raise_exception=False)
    assert not report
    assert [d.pattern for d in report.diagnoses] == ["second order"]
    assert words in report.diagnoses[0].message
    assert "first derivative is right" in report.diagnoses[0].message


# --- the parts -----------------------------------------------------------------------------------

NAMES: dict[str, tuple[float, dict[str, int], list[str]]] = {
    "2": (2.0, {}, ["2"]),
    "2 of a size": (2.0, {"x.shape[0]": 2}, ["2"]),
    "-1/2": (-0.5, {}, ["-1/2"]),
    "size": (250.0, {"x.size": 250}, ["x.size"]),
    "1/size": (1.0 / 250.0, {"x.size": 250, "y.size": 10}, ["1/x.size"]),
    "ddof": (249.0 / 250.0, {"x.size": 250}, ["(n - 1)/n for n = x.size"]),
    "pi": (np.pi, {}, ["pi"]),
    "1/pi": (1.0 / np.pi, {}, ["1/pi"]),
    "1/2pi": (0.5 / np.pi, {}, ["1/(2 pi)"]),
    "ln 2": (-np.log(2.0), {}, ["-ln 2"]),
    "size of 1": (1.001, {"x.size": 1}, []),
    "nothing": (0.7391, {"x.size": 17}, []),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_factors(name: str) -> None:
    c, sizes, names = NAMES[name]
    assert [words for words, _ in factor_names(c, 1e-10, sizes)] == names


SHAPES: list[tuple[str, str, str | None]] = [
    ("(3, 4)", "(4,)", "sum over axis 0"),
    ("(3, 4)", "(3, 1)", "sum over axis 1 with keepdims=True"),
    ("(2, 3, 4)", "(1, 4)", "sum over axis 0, and sum over axis 1 with keepdims=True"),
    ("(3, 4)", "()", "sum over axis (0, 1)"),
    ("(3, 4)", "(4, 3)", "must be transposed"),
    ("(3, 4)", "(5,)", None),
    ("(4,)", "(3, 4)", None),
]


@pytest.mark.parametrize(("got", "expected", "words"), SHAPES)
def test_axes_to_sum_over(got: str, expected: str, words: str | None) -> None:
    message = f"rule 0 returned a cotangent of shape {got} for an input of shape {expected}; they"
    found = unsummed(Broken("shape", message))
    assert (found is None) if words is None else (found is not None and words in found.message)
    assert unsummed(Broken("linear", message)) is None


# --- patterns of whole Jacobians, and of one side ------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_function_differentiated_as_if_it_were_elementwise(seed: int) -> None:
    softmax = tg.primitive(rules=[lambda g, y, x: g * y * (1.0 - y)], name="softmax")(
        lambda x: np.exp(x) / np.sum(np.exp(x))
    )
    x = np.array([0.3, -1.2, 2.0, 0.7])
    report = gradcheck(softmax, x, rng=seed, raise_exception=False)
    assert [d.pattern for d in report.diagnoses] == ["diagonal"]
    assert "as if it were elementwise" in str(report)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_wrong_below_a_number(seed: int) -> None:
    x = np.linspace(-4.0, 4.0, 16)
    report = gradcheck(
        lambda x: np.sum(np.sin(x)), x, rng=seed, raise_exception=False,
        gradient=lambda x: np.cos(x) * np.where(x < -2.0, 1.5, 1.0),
    )  # fmt: skip
    assert [d.pattern for d in report.diagnoses] == ["below"]
    assert "(below -1.867, at -2.4)" in str(report.diagnoses[0])
