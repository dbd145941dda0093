"""Audits: each fault of a loss is found by its check, and each way of losing a parameter."""

from __future__ import annotations

import json
import re
import sys
from functools import partial

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import losses, nn
from tinygrad_nn.audit import check_loss, disconnected
from tinygrad_nn.audit.check import CHECKS
from tinygrad_nn.errors import LossError

GENERATOR = np.random.default_rng(0)
P = GENERATOR.normal(size=6)
T = GENERATOR.normal(size=6)
SCORES = GENERATOR.normal(size=(6, 3))
LABELS = np.array([0, 2, 1, 1, 0, 2])
OUTCOMES = (T > 0).astype(float)
PROBABILITIES = 1.0 / (1.0 + np.exp(-P))
DISTRIBUTIONS = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)


def mse(p, t):
    return np.mean((p - t) ** 2)


def verdicts(report):
    """Return what is neither right nor skipped."""
    return {f.name: f.verdict for f in report.findings if f.verdict not in ("ok", "skipped")}


# --- losses that are right -----------------------------------------------------------------------

RIGHT = [
    (losses.mse_loss, P, T),
    (losses.l1_loss, P, T),
    (losses.huber_loss, P, T),
    (losses.hinge_loss, P, np.sign(T)),
    (losses.hinge_loss, P, np.sign(T).astype(int)),
    (losses.nll_loss, np.log(DISTRIBUTIONS), LABELS),
    (losses.cross_entropy, SCORES, LABELS),
    (losses.cross_entropy, SCORES, DISTRIBUTIONS[::-1]),
    (losses.cross_entropy, SCORES.reshape(2, 3, 3), LABELS.reshape(2, 3)),
    (losses.binary_cross_entropy, PROBABILITIES, OUTCOMES),
    (losses.binary_cross_entropy_with_logits, P, OUTCOMES),
    (losses.binary_cross_entropy_with_logits, P, PROBABILITIES[::-1]),
]


@pytest.mark.parametrize(("loss", "prediction", "target"), RIGHT)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_losses_of_the_package_are_right(loss, prediction, target, reduction, dtype):
    report = check_loss(partial(loss, reduction=reduction), prediction.astype(dtype), target)
    assert report, report
    assert not verdicts(report), report
    assert report["reduction"].explanation.startswith(reduction)
    assert report["sign"].verdict == "ok", report
    assert report.loss == loss.__name__


@pytest.mark.parametrize(("loss", "prediction", "target"), RIGHT)
def test_without_reduction_only_the_shape_is_noted(loss, prediction, target):
    report = check_loss(partial(loss, reduction="none"), prediction, target)
    assert verdicts(report) == {"one number": "warning"}, report
    assert report["reduction"].explanation.startswith("none")


@pytest.mark.parametrize(
    "options", [{"label_smoothing": 0.1}, {"weight": [1.0, 2.0, 0.5]}, {"ignore_index": 2}]
)
def test_options_by_partial(options):
    report = check_loss(partial(losses.cross_entropy, **options), SCORES, LABELS)
    assert not verdicts(report), report


def test_other_kinds_of_input():
    assert not verdicts(check_loss(losses.mse_loss, tg.tensor(P, requires_grad=True), tg.tensor(T)))
    assert not verdicts(check_loss(losses.mse_loss, P.tolist(), T.tolist()))
    assert check_loss(losses.mse_loss, tg.Value(0.5), 1.0)
    assert check_loss(losses.mse_loss, 0.5, tg.Value(1.0))
    assert check_loss(lambda p, t: np.mean((p - t["y"]) ** 2), P, {"y": T})
    assert check_loss(lambda p, t: np.mean(p * p), P, None)
    assert check_loss(losses.mse_loss, P[:1], T[:1])
    assert check_loss(lambda p, words: np.mean(p * p), P, ["a", "b"])


def test_the_example_is_left_alone():
    p, t = P.copy(), T.copy()
    tensor = tg.tensor(P, requires_grad=True)

    def careless(p, t):
        t -= 1.0
        return np.mean((p - t) ** 2)

    check_loss(careless, p, t)
    check_loss(losses.mse_loss, tensor, t)
    assert np.array_equal(p, P)
    assert np.array_equal(t, T)
    assert tensor.grad is None


# --- losses with one fault each ------------------------------------------------------------------


def no_return(p, t):
    np.mean((p - t) ** 2)


def pair(p, t):
    return mse(p, t), 0.0


def detached(p, t):
    return float(np.mean((p.data - t) ** 2))


def count(p, t):
    return np.sum((p.data > 0) * tg.tensor(t).astype(int))


def by_sample(p, t):
    return (p - t) ** 2


GENERATOR = np.random.default_rng(0)


def noisy(p, t):
    return mse(p + 0.1 * GENERATOR.normal(size=p.shape), t)


def centres_target(p, t):
    t -= np.mean(t)
    return mse(p, t)


def writes_prediction(p, t):
    p.data[:] = np.clip(p.data, -1.0, 1.0)
    p._changed = 0
    return mse(p, t)


def cut_everywhere(p, t):
    return mse(p.detach() * tg.tensor(1.0, p.dtype, requires_grad=True), t)


def constant(p, t):
    return np.mean(tg.tensor(t, requires_grad=True) ** 2)


def accuracy(p, t):
    return np.mean(np.abs(p > 0) * tg.tensor(1.0, requires_grad=True))


def log_of_zero(p, t):
    return mse(np.log(np.maximum(p, 0.0)), t)


def root_of_zero(p, t):
    return np.sum(np.sqrt(p * p * 0.0)) + mse(p, t)


def cut_partly(p, t):
    return np.mean((p - p.data.mean()) * p)


def log_of_softmax(scores, labels):
    return -np.mean(np.log(tg.softmax(scores))[np.arange(len(labels)), labels])


def naive_log(p, t):
    return -np.mean(t * np.log(p) + (1.0 - t) * np.log(1.0 - p))


def exponential(p, t):
    return np.mean(np.exp(p) - p * t)


def refuses_large(p, t):
    if np.any(abs(p.data) > 50.0):
        raise ValueError("too large")
    return mse(p, t)


def shifted_target(p, t):
    return mse(p, np.roll(t, 1))


def wrong_axis(scores, labels):
    return -np.mean(tg.log_softmax(scores, axis=0)[np.arange(len(labels)), labels])


def norm(p, t):
    return np.sqrt(np.sum((p - t) ** 2))


def float64_constant(p, t):
    return mse(p * np.ones(p.shape), t)


def to_float32(p, t):
    return mse(p.astype(np.float32), t.astype(np.float32))


def saturated(p, t):
    return np.mean(np.maximum(p - t, 100.0) + 0.0 * p)


def likelihood(p, t):
    return -mse(p, t)


def positive_log_likelihood(scores, labels):
    return -losses.cross_entropy(scores, labels)


def positive_binary(p, t):
    return -losses.binary_cross_entropy_with_logits(p, t)


_upside_down = tg.Primitive(
    lambda x: x * x, [lambda g, y, x: -2.0 * g * x], name="upside_down", elementwise=True
)


def wrong_rule(p, t):
    return np.mean(_upside_down(p - t))


FAULTS = [
    (lambda p, t: mse(p, t[:4]), P, T, {"runs": "wrong"}, "ValueError"),
    (no_return, P, T, {"result": "wrong"}, "return` is missing"),
    (pair, P, T, {"result": "wrong"}, "tuple"),
    (detached, P, T, {"result": "wrong"}, r"plain float.*by \.data at test_audit\.py:\d+ \(return"),
    (lambda p, t: np.float64(1.0), P, T, {"result": "wrong"}, "plain float64"),
    (lambda p, t: np.array(1.0), P, T, {"result": "wrong"}, "plain ndarray"),
    (count, P, T, {"result": "wrong"}, "int64"),
    (by_sample, P, T, {"one number": "warning", "broadcasting": "warning"}, "mean"),
    (noisy, P, T, {"repeatable": "wrong"}, "generator"),
    (centres_target, P, T, {"inputs kept": "wrong", "broadcasting": "warning"}, "modifies its ta"),
    (writes_prediction, P * 3, T, {"inputs kept": "wrong", "broadcasting": "warning"}, "its pred"),
    (cut_everywhere, P, T, {"gradient path": "wrong", "broadcasting": "warning"}, "by .detach"),
    (constant, P, T, {"gradient path": "wrong"}, "target alone"),
    (log_of_zero, P, T, {"finite": "wrong"}, "value at the example is inf"),
    (root_of_zero, P, T, {"finite": "wrong", }, "6 of 6 derivatives"),
    (cut_partly, P, T, {"gradient": "wrong"}, r"by differences: .* by \.data at test_audit"),
    (log_of_softmax, SCORES, LABELS, {"extremes": "wrong"}, "nan. Use forms"),
    (naive_log, PROBABILITIES, OUTCOMES, {"extremes": "wrong", "broadcasting": "warning"},
     "rounded to 0 and 1"),
    (exponential, P, OUTCOMES, {"extremes": "warning", "broadcasting": "warning"}, "infinite"),
    (refuses_large, P, T, {"extremes": "warning", "broadcasting": "warning"}, "too large"),
    (shifted_target, P, T, {"order": "warning", "broadcasting": "warning"}, "another order"),
    (wrong_axis, SCORES, LABELS, {"reduction": "warning"}, "axis 0"),
    (norm, P, T, {"reduction": "warning", "broadcasting": "warning"}, "neither mean nor sum"),
    (mse, P, T, {"broadcasting": "warning"}, r"table of \(6, 6\)"),
    (mse, P[:, None], T[:, None], {"broadcasting": "warning"}, r"table of \(6, 6\)"),
    (mse, P[:, None], T, {"broadcasting": "wrong"}, "with equal shapes"),
    (float64_constant, P, T, {"dtype": "warning", "broadcasting": "warning"},
     r"float32 in, float64 out \(value\)"),
    (to_float32, P, T, {"dtype": "warning", "broadcasting": "warning"}, "float64 in, float32"),
    (saturated, P, T, {"descent": "warning"}, "nothing can be learned"),
    (likelihood, P, T, {"sign": "wrong", "broadcasting": "warning"}, "minus"),
    (positive_log_likelihood, SCORES, LABELS, {"sign": "wrong"}, "minus"),
    (positive_binary, P, OUTCOMES, {"sign": "wrong"}, "minus"),
    (wrong_rule, P, T, {"gradient": "wrong", "descent": "wrong", "broadcasting": "warning"},
     "belong"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "prediction", "target", "expected", "words"), FAULTS)
def test_each_fault_is_found_and_no_other(loss, prediction, target, expected, words):
    report = check_loss(loss, prediction, target)
    assert verdicts(report) == expected, report
    texts = [report[name].explanation for name in expected]
    assert any(re.search(words, text) for text in texts), report
    assert bool(report) == ("wrong" not in expected.values())


def test_every_check_has_a_fault_that_it_finds():
    found = {name for *_, expected, _ in FAULTS for name in expected}
    assert found == {name for name, _ in CHECKS}


def test_a_constant_function_cuts_the_path():
    report = check_loss(accuracy, P, T)
    assert report["gradient path"].verdict == "wrong"
    assert "greater (constant)" in report["gradient path"].explanation


def test_the_computation_under_no_grad_is_named():
    @tg.no_grad()
    def unrecorded(p, t):
        return mse(p, t)

    assert "no_grad() at test_audit.py" in check_loss(unrecorded, P, T)["gradient path"].explanation


def test_a_loss_that_has_no_sides_is_not_called_upside_down():
    def variance(p, t):
        return np.mean((p - np.mean(p)) ** 2)

    assert check_loss(variance, P, T)["sign"].verdict == "skipped"
    assert check_loss(variance, P, T)


def test_an_error_in_the_backward_pass_is_a_finding():
    def rule(g, y, x):
        raise NameError("name 'undefined' is not defined")

    broken = tg.Primitive(lambda x: x * x, [rule], name="broken")
    report = check_loss(lambda p, t: np.mean(broken(p)), P, T)
    assert "NameError" in str(report)
    assert not report


def test_unusable_input():
    with pytest.raises(TypeError, match="int64; convert it with"):
        check_loss(mse, [1, 2], [1, 2])
    with pytest.raises(TypeError, match="complex"):
        check_loss(mse, [1j], [1.0])
    with pytest.raises(TypeError, match="floating numbers, got str"):
        check_loss(mse, "abc", [1.0])
    with pytest.raises(TypeError, match="no array of numbers"):
        check_loss(mse, [[1.0], [1.0, 2.0]], [1.0])
    with pytest.raises(TypeError, match="loss function, got int"):
        check_loss(3, [1.0], [1.0])
    with pytest.raises(ValueError, match="no elements"):
        check_loss(mse, np.zeros((0, 2)), [])
    with pytest.raises(ValueError, match="inf or nan"):
        check_loss(mse, [np.nan], [1.0])


def test_the_report_of_a_loss():
    def named(p, t):
        raise ValueError("<b>\x1b[31m & so on")

    report = check_loss(named, P, T)
    text = str(report)
    assert text == repr(report)
    assert text.startswith("check_loss of named: WRONG: runs\n")
    assert "\x1b" not in text
    assert len(text.splitlines()) >= len(CHECKS) + 1
    assert max(map(len, text.splitlines())) <= 98
    assert "<b>\\" not in report._repr_html_()
    assert "&lt;b&gt;" in report._repr_html_()
    assert "\x1b" not in report._repr_html_()
    assert json.loads(json.dumps(report.to_dict()))["right"] is False
    assert [f["verdict"] for f in report.to_dict()["findings"]][1:] == ["skipped"] * 14
    assert report.of("wrong") == [report["runs"]]
    with pytest.raises(KeyError, match="there are runs"):
        report["none"]
    assert str(check_loss(losses.mse_loss, P, T)).startswith("check_loss of mse_loss: right\n")
    assert "nothing wrong, warnings: broadcasting" in str(check_loss(mse, P, T))


# --- parameters without a path -------------------------------------------------------------------

X = GENERATOR.normal(size=(4, 2))
Y = GENERATOR.normal(size=(4, 1))


class Two(nn.Module):
    """An encoder and a head, with something between them."""

    def __init__(self, between=lambda h: h):
        self.encoder = nn.Linear(2, 3, rng=0)
        self.head = nn.Linear(3, 1, rng=0)
        self.between = between

    def forward(self, x):
        return self.head(self.between(self.encoder(x)))


ENCODER = ["encoder.weight", "encoder.bias"]
AFTER = "`encoder` was not called, or its result was cut off afterwards, inside the model (Two)"


def test_nothing_is_disconnected():
    model = Two()
    for loss in (mse(model(X), Y), lambda: mse(model(X), Y)):
        report = disconnected(loss, model)
        assert not report
        assert len(report) == 0
        assert str(report) == "disconnected: nothing; the loss reaches all 4 parameters"
        assert report.to_dict()["connected"] is True


def unrecorded(h):
    with tg.no_grad():
        return np.tanh(h)


CUTS = [
    (lambda h: h.detach(), ".detach()"),
    (lambda h: h.data, ".data"),
    (lambda h: tg.tensor(h.tolist()), ".tolist()"),
    (unrecorded, "no_grad()"),
    (lambda h: np.sign(h), "sign (constant)"),
    (lambda h: (h > 0) * 1.0, "greater (constant)"),
    (lambda h: h.astype(int).astype(float), "astype (constant)"),
    (lambda h: np.floor(h), "floor (constant)"),
    (lambda h: np.argsort(h) * 1.0, "np.argsort"),
]


@pytest.mark.parametrize(("between", "how"), CUTS)
def test_the_cut_is_found(between, how):
    model = Two(between)
    report = disconnected(lambda: mse(model(X), Y), model)
    assert report.names == ENCODER
    for finding in report:
        assert finding.why.startswith(f"left the graph by {how} at test_audit.py:")
        assert "(" in finding.why.partition("test_audit.py")[2]  # the source line
    after = disconnected(mse(model(X), Y), model)
    assert after.names == ENCODER
    assert after[0].why == AFTER
    assert "give a function" in str(after)


def test_a_cut_that_is_in_the_graph_is_named():
    class Rounded(Two):
        def forward(self, x):
            return self.encoder(x).astype(int) @ self.head.weight + self.head.bias

    model = Rounded()
    report = disconnected(mse(model(X), Y), model)
    assert report.names == ENCODER
    assert report[0].why == "only through what is constant: astype"

    # A floating argument that a primitive has no rule for.
    weigh = tg.Primitive(
        lambda x, w: x * w, [lambda g, y, x, w: g * w, None], name="weigh", elementwise=True
    )

    class Weighed(Two):
        def forward(self, x):
            return weigh(np.sum(self.head.weight), np.sum(self.encoder(x), axis=1, keepdims=True))

    model = Weighed()
    report = disconnected(mse(model(X), Y), model)
    assert report.names == [*ENCODER, "head.bias"]
    assert report[0].why == "only through what is constant: weigh"
    assert disconnected(lambda: mse(model(X), Y), model)[0].why == report[0].why
    assert report[2].why.startswith("`head` was not called")
    assert (
        check_loss(lambda p, t: np.mean(weigh(tg.tensor(1.0, requires_grad=True), p)), P, T)[
            "gradient path"
        ].verdict
        == "wrong"
    )


def test_modules_that_are_not_called():
    model = Two()
    model.spare = nn.Linear(2, 2, rng=0)
    expected = ["spare.weight", "spare.bias"]
    report = disconnected(lambda: mse(model(X), Y), model)
    assert report.names == expected
    assert report[0].why == "never used in this computation: is `spare` called?"
    report = disconnected(mse(model(X), Y), model)
    assert report.names == expected
    assert report[0].why.startswith("`spare` was not called, or its result was cut off")


def test_a_result_that_is_dropped():
    class Dropping(Two):
        def forward(self, x):
            self.spare(x)
            return super().forward(x)

    model = Dropping()
    model.spare = nn.Linear(2, 2, rng=0)
    report = disconnected(lambda: mse(model(X), Y), model)
    assert report.names == ["spare.weight", "spare.bias"]
    assert report[0].why == "used, but nothing that was computed from it is part of the loss"


def test_a_cut_inside_a_module():
    class Scaled(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(2, 1, rng=0)
            self.scale = tg.tensor([2.0], requires_grad=True)

        def forward(self, x):
            return self.linear(x) * self.scale.data

    model = Scaled()
    report = disconnected(mse(model(X), Y), model)
    assert report.names == ["scale"]
    assert report[0].why == (
        "not used in the model (Scaled), or cut off inside: its result is in the graph of the loss"
    )
    assert "by .data at" in disconnected(lambda: mse(model(X), Y), model)[0].why


def test_a_loss_without_a_graph():
    model = Two()
    with tg.no_grad():
        loss = mse(model(X), Y)
    report = disconnected(loss, model)
    assert len(report) == 4
    assert "under no_grad()" in report[0].why
    with pytest.raises(LossError, match=r"plain float;.*the last to do so: \.item\(\) at test_aud"):
        disconnected(lambda: mse(model(X), Y).item(), model)
    with pytest.raises(TypeError, match="got float"):
        disconnected(1.5, model)
    with pytest.raises(TypeError, match="got list"):
        disconnected(loss, [])


def test_frozen_parameters_and_zero_gradients_are_noted():
    model = Two(lambda h: tg.relu(h - 1000.0))
    model.head.requires_grad_(False)
    report = disconnected(mse(model(X), Y), model)
    assert not report
    assert report.frozen == ["head.weight", "head.bias"]
    assert report.zero == ENCODER
    assert "exactly 0: encoder.weight, encoder.bias" in str(report)
    assert "frozen: head.weight" in str(report)
    assert report.to_dict()["zero"] == ENCODER


def test_a_stale_graph_is_no_obstacle():
    model = Two()
    loss = mse(model(X), Y)
    model.head.weight.data += 1.0
    report = disconnected(loss, model)
    assert not report
    assert "StaleGraphError" in str(report)


def test_nothing_is_changed():
    model = Two(lambda h: h.detach())
    before = model.state_dict()
    loss = mse(model(X), Y)
    disconnected(loss, model)
    disconnected(lambda: mse(model(X), Y), model)
    assert all(p.grad is None for p in model.parameters())
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())
    loss.backward()
    assert model.head.weight.grad is not None


def test_a_profiler_at_work_is_left_alone():
    def profiler(*_):
        return None

    model = Two(lambda h: h.detach())
    sys.setprofile(profiler)
    try:
        report = disconnected(lambda: mse(model(X), Y), model)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert report[0].why == AFTER
    assert "profiler" in str(report)


def test_an_error_of_the_function_ends_the_watch():
    model = Two()
    with pytest.raises(ZeroDivisionError):
        disconnected(lambda: 1 / 0, model)
    assert sys.getprofile() is None


def test_networks_of_values():
    model = tg.scalar.MLP(2, [2, 1], rng=0)
    report = disconnected(model([1.0, 2.0]), model)
    assert not report
    report = disconnected(lambda: model.layers[0]([1.0, 2.0])[0] * 1.0, model)
    assert 0 < len(report) < len(model.parameters())
    assert report[0].why.startswith("not in the graph")


def test_the_report_of_a_model_is_escaped():
    model = nn.Module()
    model.parts = {"<b>\x1b": nn.Linear(1, 1, rng=0)} | {
        str(i): nn.Linear(1, 1, rng=0) for i in range(15)
    }
    report = disconnected(tg.tensor(1.0, requires_grad=True) * 2.0, model)
    assert len(report) == 32
    assert "parts.<b>" not in report._repr_html_()
    assert "\x1b" not in str(report) + report._repr_html_()
    assert "... and 12 more" in str(report)
    assert report[0].name.startswith("parts.<b>")
    assert len(report[:2]) == 2
    json.dumps(report.to_dict())
