"""The Taylor test: how the remainder falls, what is said of it, and its picture."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.gradcheck import gradcheck, taylor_test
from tinygrad_nn.gradcheck.build import build_subject
from tinygrad_nn.gradcheck.judgement import Rule
from tinygrad_nn.gradcheck.remainder import second_opinion
from tinygrad_nn.gradcheck.report import GradcheckReport
from tinygrad_nn.gradcheck.rows import Rows
from tinygrad_nn.gradcheck.taylor import fit

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

X = np.array([0.5, -1.2, 3.0])
STEPS = 0.25 ** np.arange(1, 9)
FLOOR = np.full(8, 1e-12)


def _sum_sin(x: Any) -> Any:
    return np.sum(np.sin(x))


def _off(error: float) -> Any:
    """The gradient of `_sum_sin`, with a part of it missing."""
    return lambda x: (1.0 - error) * np.cos(x)


def _signed(error: float) -> Any:
    """A gradient that is off by `error` times its size along any direction at `X`."""
    return lambda x: np.cos(x) + error * np.sign(np.cos(x))


# --- slopes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0])
def test_a_power_is_found(power):
    found = fit(STEPS, 7.0 * STEPS**power, FLOOR)
    assert found.slope == pytest.approx(power)
    clear = STEPS[7.0 * STEPS**power > 1e-11]
    assert (found.coarsest, found.finest) == (clear[0], clear[-1])
    assert found.octaves == pytest.approx(2.0 * (len(clear) - 1))


def test_the_finest_steps_decide():
    found = fit(STEPS, STEPS**2 + 1e-3 * STEPS, FLOOR)
    assert found.slope == pytest.approx(1.0, abs=0.1)
    assert found.coarsest < 1e-2


def test_what_is_lost_in_rounding_is_not_fitted():
    noisy = STEPS**3 + 5e-12  # within ten times the floor at the finest steps
    assert fit(STEPS, noisy, FLOOR).slope == pytest.approx(3.0, abs=0.05)


def test_nothing_but_rounding():
    assert fit(STEPS, 9.0 * FLOOR, FLOOR).slope == math.inf
    assert fit(STEPS, 0.0 * FLOOR, FLOOR).slope == math.inf
    assert math.isnan(fit(STEPS, np.nan * FLOOR, FLOOR).slope)


def test_what_a_kink_nearby_adds_is_no_slope():
    assert fit(STEPS, np.maximum(STEPS - 1e-3, 0.0), FLOOR).slope == math.inf


def test_two_remainders_make_no_slope():
    assert math.isnan(fit(STEPS[:3], np.array([1e-9, 1.2e-10, 0.99e-11]), FLOOR[:3]).slope)


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_right_gradient_leaves_a_remainder_of_second_order(seed):
    found = taylor_test(_sum_sin, X, rng=seed)
    assert found
    assert found.verdict == "second order"
    assert found.slope == pytest.approx(2.0, abs=0.05)
    assert found.zeroth_fit.slope == pytest.approx(1.0, abs=0.05)
    assert found.steps[0] == 0.125
    assert found.fit.octaves >= 12
    assert str(found).startswith("Taylor remainder: slope 2.0")
    assert str(found).endswith("second order, as it must be")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("error", [1.0, 1e-1, 1e-3, 1e-5, 1e-7])
def test_a_wrong_gradient_leaves_one_of_first_order(seed, error):
    found = taylor_test(_sum_sin, X, gradient=_off(error), rng=seed)
    assert not found
    assert found.verdict == "first order"
    assert found.slope == pytest.approx(1.0, abs=0.15)
    assert 0.0 < found.error <= min(1.0, 1.2 * error)


def test_the_error_is_measured():
    def line(x: Any) -> Any:
        return np.sum(np.exp(x))

    for error in (0.5, 1e-2, 1e-4):
        found = taylor_test(line, 0.7, gradient=lambda x, e=error: (1.0 + e) * np.exp(x))
        assert found.error == pytest.approx(error / (1.0 + error), rel=1e-2)
        assert f"off by {found.error:.1e} of its size" in str(found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: np.sum(3.0 * x), X),
        (lambda x: np.sum(tg.relu(x)), X),
        (lambda x: np.sum(tg.relu(x - 1.0)), np.array([1.0001, 1.3, 0.7])),  # kinks nearby
        (lambda x: np.reshape(x, (3, 1)) @ np.ones((1, 2)), X),
    ],
)
def test_a_linear_function_leaves_rounding(f, x, seed):
    found = taylor_test(f, x, rng=seed)
    assert found
    assert found.verdict == "linear"
    assert "nothing but rounding" in str(found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(abs(x)),
        lambda x: np.sum(tg.relu(x)),
        lambda x: np.sum(abs(x) + x * x),
        lambda x: np.sum(np.floor(x) + x * x),
    ],
)
def test_kinks_and_jumps_are_no_wrong_gradient(f, seed):
    found = taylor_test(f, np.array([0.0]), rng=seed)
    assert not found
    assert found.verdict == "kink"
    assert "not differentiable" in str(found)


def test_what_falls_slower_than_h_is_not_differentiable():
    found = taylor_test(lambda x: np.sum(np.cbrt(x)), np.zeros(1), gradient=np.ones_like)
    assert found.verdict == "kink"
    assert found.slope == pytest.approx(1 / 3, abs=0.05)


def test_noise_confirms_nothing():
    rng = np.random.default_rng(0)

    def noisy(x: Any) -> Any:
        return np.cos(x) * (1.0 + 1e-3 * rng.standard_normal(x.shape))

    for f, gradient in ((_sum_sin, noisy), (lambda x: np.sum(noisy(x)), np.sin)):
        found = taylor_test(f, X, gradient=gradient)
        assert (found.verdict, bool(found)) == ("unclear", False)
        assert "rounding" in str(found)
    assert taylor_test(lambda x: np.sum(0.0 * x), X).verdict == "linear"


def test_a_slope_between_is_unclear():
    found = taylor_test(lambda x: np.sum(np.maximum(x, 0.0) ** 1.5), np.zeros(1))
    assert not found
    assert (found.verdict, round(found.slope, 2)) == ("unclear", 1.5)


def test_an_infinite_gradient_is_unclear():
    found = taylor_test(lambda x: np.sum(np.sqrt(x)), np.zeros(1))
    assert (found.verdict, bool(found)) == ("unclear", False)
    assert "too little of it is defined" in str(found)


def test_one_side_is_enough():
    with np.errstate(all="ignore"):
        found = taylor_test(lambda x: np.sum(np.maximum(x, 0.0) + np.log1p(-x)), np.array([0.99]))
        assert np.isnan(found.remainders[0]) != np.isnan(found.behind[0])
        assert found.verdict == "second order"

        def edge(x: Any) -> Any:
            return np.sum(np.where(np.asarray(x) < 0.0, np.nan, np.exp(x)))

        right = taylor_test(edge, np.zeros(1), gradient=np.exp)
        wrong = taylor_test(edge, np.zeros(1), gradient=lambda x: 1.1 * np.exp(x))
        assert np.isnan(right.remainders).all() != np.isnan(right.behind).all()
        assert right.fit.octaves > 10
        assert (right.verdict, wrong.verdict) == ("second order", "first order")


def test_an_odd_function_falls_faster():
    found = taylor_test(np.sin, np.zeros(1))
    assert (found.verdict, round(found.slope)) == ("second order", 3)


# --- what may be tested ---------------------------------------------------------------------------


def test_models_outputs_and_vjps():
    rng = np.random.default_rng(0)
    model = tg.nn.MLP(4, [5, 3], rng=0)
    data = rng.standard_normal((8, 4)), rng.integers(0, 3, 8)
    found = taylor_test(model, data, loss=tg.losses.cross_entropy)
    assert found
    assert found.elements == 43
    assert taylor_test(lambda x: (np.exp(x), x[0] * x), X)
    assert taylor_test(np.sin, X, vjp=lambda g, x: g * np.cos(x))
    assert not taylor_test(np.sin, X, vjp=lambda g, x: g * np.sin(x))


def test_few_digits():
    x = X.astype(np.float32)
    assert taylor_test(np.exp, x, dtype="native").verdict == "second order"
    wrong = taylor_test(np.exp, x, dtype="native", vjp=lambda g, x: np.float32(1.1) * g * np.exp(x))
    assert wrong.verdict == "first order"


def test_few_evaluations():
    assert len(taylor_test(_sum_sin, X).steps) == 10
    assert len(taylor_test(lambda x: np.sum(2.0 * x), X).steps) == 3  # there is no more to see


def test_the_same_seed_gives_the_same():
    assert taylor_test(_sum_sin, X, rng=3) == taylor_test(_sum_sin, X, rng=3)
    assert taylor_test(_sum_sin, X, rng=3) != taylor_test(_sum_sin, X, rng=4)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(TypeError, match="either gradient= or vjp="):
        taylor_test(_sum_sin, X, gradient=np.cos, vjp=np.cos)
    with pytest.raises(TypeError, match="takes a function or a model"):
        taylor_test(3.0, X)


# --- in the report --------------------------------------------------------------------------------


def test_the_report_has_it():
    report = gradcheck(_sum_sin, X)
    assert report.taylor.verdict == "second order"
    assert str(report.taylor) in str(report)
    kept = report.to_dict()["taylor"]
    assert json.loads(json.dumps(kept)) == kept
    assert kept["verdict"] == "second order"
    assert kept["error"] is None
    assert len(kept["slopes"]) == len(kept["steps"]) - 1
    assert kept["slopes"][-1] == pytest.approx(2.0, abs=0.1)


def test_a_wrong_gradient_is_wrong_in_both_opinions():
    report = gradcheck(_sum_sin, X, gradient=_off(1e-3), raise_exception=False)
    assert not report
    assert report.taylor.verdict == "first order"


def test_all_outputs_are_in_it():
    def pull(g: Any, x: Any) -> Any:
        return (g * np.array([1.0, 1.0, 1.01])) * np.cos(x)

    report = gradcheck(np.sin, X, vjp=pull, raise_exception=False)
    assert report.taylor.verdict == "first order"


def test_nothing_checked_has_no_second_opinion():
    with np.errstate(all="ignore"):
        report = gradcheck(lambda x: np.log(x), np.zeros(2), raise_exception=False)
    assert report.taylor is None
    assert report.to_dict()["taylor"] is None
    with pytest.raises(ValueError, match="nothing was checked"):
        report.plot()


def test_elements_at_kinks_take_no_part():
    report = gradcheck(lambda x: np.sum(tg.relu(x) * x**2 + abs(x)), np.array([0.0, 1.0, 2.0]))
    assert report.taylor.elements == 2
    assert report.taylor
    assert gradcheck(lambda x: np.sum(abs(x)), np.zeros(2)).taylor.verdict == "kink"


def test_eps_is_the_coarsest_step():
    report = gradcheck(np.exp, np.array([1.0, 2.0]), eps=1e-3)
    assert max(report.taylor.steps) < 1e-3


@pytest.mark.parametrize(
    ("error", "rule", "noted"),
    [(1e-3, Rule(), True), (0.0, Rule(), False), (1e-3, Rule(rtol=0.1), False)],
)
def test_a_note_says_that_the_opinions_differ(error, rule, noted):
    subject = build_subject(_sum_sin, X, None, "float64", None, None, None)
    subject.first_call()
    rng = np.random.default_rng(0)
    rows = Rows(
        lambda x: subject.value(x), lambda x: _signed(error)(x)[None], subject, rng, [""]
    )  # fmt: skip
    report = GradcheckReport()
    second_opinion(rows, [], rule, report, rng)
    assert report  # a note, no verdict
    assert [("max_elements=3" in note) for note in report.notes] == [True] * noted


# --- the picture ----------------------------------------------------------------------------------

PICTURES = {
    "right": lambda: taylor_test(_sum_sin, X),
    "wrong": lambda: taylor_test(_sum_sin, X, gradient=_off(1e-3)),
    "linear": lambda: taylor_test(lambda x: np.sum(2.0 * x), np.array([1.0, 2.0])),
    "kink": lambda: taylor_test(lambda x: np.sum(abs(x)), np.zeros(2)),
    "infinite": lambda: taylor_test(lambda x: np.sum(np.sqrt(x)), np.zeros(1)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_shows_what_was_measured(name, tmp_path):
    import matplotlib.pyplot as plt

    taylor = PICTURES[name]()
    ax = taylor.plot()
    lines = {line.get_label().partition(" ")[0]: line for line in ax.lines}
    drawn = [line for line in ax.lines if not line.get_label().startswith("slope")]
    assert len(drawn) == 3
    for line, sizes in zip(drawn, (taylor.zeroth, taylor.remainders, taylor.behind), strict=True):
        x, y = line.get_data()
        assert x.tolist() == taylor.steps
        shown = np.array(sizes) > ax.get_ylim()[0]
        np.testing.assert_allclose(y[shown], np.array(sizes)[shown], rtol=0.5)
    assert len({line.get_marker() for line in drawn}) == 3
    assert len({line.get_color() for line in drawn}) == 3
    assert taylor.words in ax.get_title(loc="left")
    assert {"remainder", "slope"} <= set(lines)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"slope 1", "slope 2", "rounding"} <= set(labels)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    ax.figure.savefig(tmp_path / "taylor.png")  # warnings would be errors
    plt.close(ax.figure)


def test_reference_lines_have_their_slopes():
    import matplotlib.pyplot as plt

    ax = taylor_test(_sum_sin, X).plot()
    for line in ax.lines:
        if line.get_label().startswith("slope"):
            x, y = np.log(line.get_data())
            assert np.polyfit(x, y, 1)[0] == pytest.approx(float(line.get_label()[-1]))
    plt.close(ax.figure)


def test_it_may_be_drawn_beside_others():
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2)
    assert gradcheck(_sum_sin, X).plot(left) is left
    assert not right.lines
    assert len(plt.get_fignums()) == 1
    plt.close(figure)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(tg.MissingExtraError, match=r"tinygrad-nn\[plot\]"):
        gradcheck(_sum_sin, X).plot()


def test_a_check_imports_nothing_that_it_does_not_need():
    program = (
        "import sys, numpy as np; from tinygrad_nn.gradcheck import gradcheck; "
        "print(bool(gradcheck(np.sin, 1.0)), {'matplotlib', 'rich'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "True set()\n"
