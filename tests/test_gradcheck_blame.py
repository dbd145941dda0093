"""Blame: the primitive and the line whose derivative is wrong are named, and nobody else's."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import nn, scalar
from tinygrad_nn.draw import draw
from tinygrad_nn.gradcheck import GradcheckReport, gradcheck

KINK = "not differentiable here"


@tg.primitive(elementwise=True, rules=[lambda g, y, x: g * np.cos(3.0 * x)])
def wave(x):
    return np.sin(3.0 * x)


# Right for k=1 alone.
@tg.primitive(elementwise=True, rules=[lambda g, y, x, *, k: g * np.cos(k * x)])
def hum(x, *, k=1.0):
    return np.sin(k * x)


@tg.primitive(rules=[lambda g, y, a, b: g @ b.T, lambda g, y, a, b: -a.T @ g])
def product(a, b):
    return a @ b


@tg.primitive(elementwise=True, rules=[lambda g, y, a, b: g * b, None])
def half(a, b):
    return a * b


bent = tg.Primitive(
    lambda x: x * x, [lambda g, y, x: 3.0 * g * x], name="bent", elementwise=True,
    scalar=lambda x: x * x,
)  # fmt: skip


def blamed(f: Any, inputs: Any, **options: Any) -> GradcheckReport:
    return gradcheck(f, inputs, blame=True, raise_exception=False, **options)


def wrong(report: GradcheckReport) -> list[Any]:
    return [culprit for culprit in report.blame if culprit.verdict == "wrong"]


def line_of(function: Callable[..., Any], text: str) -> int:
    """Return the number of the line of a function that holds a text."""
    lines, start = inspect.getsourcelines(function)
    return start + next(i for i, line in enumerate(lines) if text in line)


X = np.array([0.3, 1.0, -0.7])
M = np.random.default_rng(0).standard_normal((3, 4))


# --- wrong rules ---------------------------------------------------------------------------------


def deep(x):
    h = np.tanh(x * 2.0)
    z = np.exp(wave(h) - h)
    return np.sum(np.log1p(z)) / x.size


def test_a_wrong_rule_is_named_with_its_line():
    report = blamed(deep, X)
    (culprit,) = wrong(report)
    assert (culprit.primitive, culprit.argument, culprit.kind) == ("wave", 0, "rule")
    assert culprit.line == line_of(deep, "wave(h)")
    assert (culprit.file, culprit.function) == (__file__, "deep")
    assert culprit.text == "z = np.exp(wave(h) - h)"
    assert culprit.finding.numeric == pytest.approx(3.0 * culprit.finding.analytic, rel=1e-6)
    text = " ".join(str(report).split())
    assert "blame: rule 0 of primitive 'wave' for its input `x`: analytic" in text
    assert f'File "{__file__}", line {culprit.line}, in deep' in text
    assert "wave" in report._repr_html_()
    assert report.to_dict()["blame"][0]["line"] == culprit.line
    json.dumps(report.to_dict())


def test_only_the_argument_that_is_wrong_is_named():
    culprits = wrong(blamed(lambda a, b: np.sum(np.sin(product(a, b))), (M, M.T)))
    assert [(c.primitive, c.argument, c.argument_name) for c in culprits] == [("product", 1, "b")]


def test_an_input_without_a_rule_is_held_to_its_claim():
    (culprit,) = wrong(blamed(lambda x: np.sum(half(2.0, np.sin(x)) + x), X))
    assert culprit.argument == 1
    assert "no rule" in culprit.note


def test_one_of_two_calls_with_another_keyword():
    def f(x):
        a = hum(x, k=1.0)
        b = hum(a, k=2.0)
        return np.sum(a * b)

    report = blamed(f, X)
    (culprit,) = wrong(report)
    assert culprit.line == line_of(f, "k=2.0")


def test_the_keyword_alone_makes_the_difference():
    def f(x):
        a = hum(x, k=1.0)
        return np.sum(a * hum(x, k=2.0))

    (culprit,) = wrong(blamed(f, X))
    assert culprit.line == line_of(f, "k=2.0")


def test_rules_that_nothing_goes_through_are_not_checked():
    assert gradcheck(lambda x: np.sum(product(x, M.T)), M, blame=True)
    report = gradcheck(lambda x: np.sum(x[:0] * 2.0) + np.sum(x), X, blame=True)
    assert not report.blame
    assert not [note for note in report.notes if note.startswith("blame")]


def test_the_same_call_twice_is_one_culprit_and_two_lines_are_two():
    def f(x):
        a = wave(x)
        b = wave(x)
        return np.sum(sum(wave(b * i) for i in (1.0, 2.0))) + np.sum(a)

    culprits = wrong(blamed(f, X))
    assert sorted((c.line, c.times) for c in culprits) == [
        (line_of(f, "a = wave"), 1), (line_of(f, "b = wave"), 1), (line_of(f, "sum(wave"), 2)
    ]  # fmt: skip


def test_graphs_of_values():
    def f(a, b):
        c = (a * b).tanh()
        d = bent(c) + b
        return d.exp()

    (culprit,) = wrong(blamed(f, (tg.Value(0.7), tg.Value(-1.2))))
    assert (culprit.primitive, culprit.line) == ("bent", line_of(f, "bent(c)"))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 8, rng=0)
        self.last = nn.Linear(8, 1, rng=1)

    def forward(self, x):
        h = self.first(x)
        return self.last(wave(h))


XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]) + 0.1
TARGETS = np.array([[0.0], [1.0], [1.0], [0.0]])


def test_a_model_with_its_loss():
    report = blamed(Net(), (XOR, TARGETS), loss=tg.losses.mse_loss)
    (culprit,) = wrong(report)
    assert (culprit.primitive, culprit.line) == ("wave", line_of(Net.forward, "wave(h)"))


def test_a_loss_with_a_right_model():
    def loss(prediction, target):
        return np.mean(wave(prediction - target))

    (culprit,) = wrong(blamed(nn.MLP(2, [3, 1], rng=0), (XOR, TARGETS), loss=loss))
    assert (culprit.primitive, culprit.function) == ("wave", "loss")


def test_labels_are_named_and_cannot_steer_a_terminal():
    def f(x):
        h = wave(x)
        h.label = "the wave\x1b[31m"
        return np.sum(h)

    report = blamed(f, X)
    assert report.blame[0].label == "the wave\x1b[31m"
    assert "the wave" in str(report)
    assert "\x1b" not in str(report)


def test_broken_contracts_are_named():
    def rule(g, y, x):
        return 2.0 * x

    forgetful = tg.Primitive(lambda x: x * x, [rule], name="forgetful", elementwise=True)
    shapeless = tg.Primitive(lambda x: x * 2.0, [lambda g, y, x: g[:1]], name="shapeless")
    for primitive, contract in ((forgetful, "linear"), (shapeless, "shape")):
        culprit = wrong(blamed(lambda x, p=primitive: np.sum(np.sin(p(x))), X))[0]
        assert (culprit.primitive, culprit.kind) == (primitive.name, "contract")
        assert culprit.problem.contract == contract


def test_the_primitive_that_is_not_deterministic_is_named():
    rng = np.random.default_rng(0)
    noisy = tg.Primitive(
        lambda x: x + rng.standard_normal(x.shape), [lambda g, y, x: g], name="noisy"
    )
    (culprit,) = wrong(blamed(lambda x: np.sum(np.sin(noisy(np.cos(x)))), X))
    assert (culprit.primitive, culprit.problem.contract) == ("noisy", "deterministic")


def test_where_numbers_cease_to_be_finite():
    def f(x):
        y = np.log(x - x)
        return np.sum(y * y)

    with np.errstate(all="ignore"):
        report = blamed(f, X)
    assert [(c.primitive, c.problem.contract) for c in wrong(report)] == [("log", "finite")]


def test_second_derivatives():
    # The rule reads numbers, so that its derivative is lost.
    once = tg.Primitive(
        lambda x: np.sin(x), [lambda g, y, x: g * np.cos(getattr(x, "data", x))], name="once",
        elementwise=True,
    )  # fmt: skip

    def f(x):
        return np.sum(once(x * x))

    assert gradcheck(f, X, blame=True)
    (culprit,) = wrong(blamed(f, X, order=2))
    assert (culprit.primitive, culprit.finding.order) == ("once", 2)


def test_complex_primitives():
    turned = tg.Primitive(
        lambda z: z * z, [lambda g, y, z: 2.0 * g * np.conj(z) * 1.5], name="turned",
        elementwise=True,
    )  # fmt: skip

    def f(x):
        return np.sum(np.real(turned(np.fft.fft(x))))

    report = blamed(f, X)
    assert [c.primitive for c in wrong(report)] == ["turned"]
    assert not any("not checked alone" in note for note in report.notes)


def test_errors_that_cancel_are_named_and_the_report_is_false():
    double = tg.Primitive(lambda x: 2.0 * x, [lambda g, y, x: 4.0 * g], name="double")
    halve = tg.Primitive(lambda x: 0.5 * x, [lambda g, y, x: 0.25 * g], name="halve")

    def f(x):
        return np.sum(halve(double(np.sin(x))))

    assert gradcheck(f, X)
    report = blamed(f, X)
    assert not report
    assert {c.primitive for c in wrong(report)} == {"double", "halve"}
    assert "do not show in the whole" in report.headline
    with pytest.raises(tg.GradcheckError, match="double"):
        gradcheck(f, X, blame=True)


def test_what_no_checked_input_goes_into_is_not_checked():
    weight = tg.tensor(0.3, requires_grad=True)
    assert gradcheck(lambda x: np.sum(np.sin(x) * wave(weight)), X, blame=True)


# --- numbers that have left the graph ------------------------------------------------------------


def test_a_constant_that_moves_with_the_inputs():
    def f(x):
        s = np.exp(x)
        w = tg.tensor(s.data / 2.0)
        return np.sum(s * w)

    report = blamed(f, X)
    (culprit,) = wrong(report)
    assert (culprit.kind, culprit.primitive) == ("constant", "multiply")
    assert culprit.line == line_of(f, "s * w")
    assert "all that the gradient lacks" in culprit.note
    assert ".data at test_gradcheck_blame.py" in culprit.note


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(x * x.data),
        lambda x: np.sum(x) * float(x.data[0]),
        lambda x: np.sum(np.sin(x) * tg.stop_gradient(np.cos(x))),
        lambda x: np.sum(np.sin(x) * tg.tensor(x.data, requires_grad=True)),
    ],
)
def test_ways_out_of_the_graph(f):
    report = blamed(f, X)
    (culprit,) = wrong(report)
    assert culprit.kind == "constant"
    assert "all that the gradient lacks" in culprit.note


def test_a_constant_among_values_and_in_a_model():
    (culprit,) = wrong(blamed(lambda a: a * tg.Value(a.data), tg.Value(0.7)))
    assert "all that the gradient lacks" in culprit.note

    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1, rng=0)

        def forward(self, x):
            h = self.linear(x)
            return h * h.data

    report = blamed(Cut(), (XOR,))
    (culprit,) = wrong(report)
    assert culprit.line == line_of(Cut.forward, "h * h.data")
    assert "all that the gradient lacks" in culprit.note


def test_a_constant_that_does_no_harm_is_not_named():
    # The derivative of logsumexp with respect to its shift is 0.
    def f(x):
        m = x.data.max()
        return np.log(np.sum(np.exp(x - m))) + m

    report = blamed(lambda x: f(x) + np.sum(wave(x)), X)
    assert sum(c.kind == "rule" for c in wrong(report)) == 1
    shares = [c.note for c in wrong(report) if c.kind == "constant"]
    assert all("all that" not in note for note in shares)
    assert gradcheck(f, X, blame=True)


def test_where_nobody_is_to_blame_the_report_says_where_to_look():
    state = {"x": 0.0}

    def forward(x):
        return x * state["x"]

    reads = tg.Primitive(forward, [lambda g, y, x: g * state["x"]], name="reads", elementwise=True)

    def f(x):
        state["x"] = float(x.data[0])
        return np.sum(reads(x))

    report = blamed(f, X)
    assert not report
    assert not report.blame
    assert "every primitive that was checked is right" in str(report.notes)


def test_a_graph_that_changes_with_the_inputs_is_said_to():
    def f(x):
        y = wave(x)
        return np.sum(y if x.data[0] > 0.3 else y * 1.0)

    assert "the graph is another one" in str(blamed(f, X).notes)


# --- nobody to blame -----------------------------------------------------------------------------

RIGHT: dict[str, tuple[Any, Any]] = {
    "composite": (lambda x: np.sum(np.exp(np.sin(x)) @ np.cos(x).T), M),
    "softmax": (lambda x: np.sum(tg.softmax(x, axis=1) ** 2), M),
    "values": (lambda a, b: (a * b + b**2).tanh() / a, (tg.Value(0.7), tg.Value(-1.2))),
    "value and tensor": (lambda a, x: np.sum(a * np.sin(x)), (tg.Value(0.7), X)),
    "float32 inside": (lambda x: np.sum(np.sin(x.astype("float32")).astype("float64")), X),
    "sort": (lambda x: np.sum(np.sort(x) * np.arange(3.0)), X),
    "where": (lambda x: np.sum(np.where(x > 0, np.sin(x), x * x)), X),
    "linalg": (lambda x: np.linalg.slogdet(x @ x.T)[1] + np.sum(np.linalg.inv(x @ x.T)), M),
    "fft": (lambda x: np.sum(abs(np.fft.rfft(x)) ** 2), X),
    "sign": (lambda x: np.sum(np.sign(x) * x * x), X),
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", RIGHT)
def test_right_graphs_blame_nobody(name, seed):
    f, inputs = RIGHT[name]
    report = gradcheck(f, inputs, blame=True, rng=seed)
    assert report
    assert not report.blame
    assert not [note for note in report.notes if note.startswith("blame")]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_right_models_blame_nobody(seed):
    x, labels = np.random.default_rng(seed).standard_normal((5, 3)), np.array([0, 1, 2, 1, 0])
    assert gradcheck(nn.MLP(3, [4, 3], rng=seed), (x, labels), loss=tg.losses.cross_entropy,
                     blame=True, order=2)  # fmt: skip
    model = scalar.MLP(2, [3, 1], rng=seed)
    assert not gradcheck(model, ([0.3, -0.2],), blame=True).blame


def test_kinks_are_collected_where_the_gradient_is_right():
    def f(x):
        return np.sum(tg.relu(x - 1.0) * x)

    report = gradcheck(f, np.array([1.0, 2.0, 0.5]), blame=True)
    assert report
    (culprit,) = report.blame
    assert (culprit.verdict, culprit.primitive) == (KINK, "relu")
    assert "slopes from 0 to 1" in culprit.finding.note
    text = " ".join(str(report).split())
    assert "kink: rule 0 of primitive 'relu' for its input `x`: not differentiable, 0 was" in text


def test_what_is_not_finite_and_not_used_is_no_fault():
    def f(x):
        return np.sum(np.where(x > 0.0, x, 0.0)) + 0.0 * np.sum(np.where(x > 9.0, np.log(x), 1.0))

    with np.errstate(all="ignore"):
        report = gradcheck(f, np.array([1.0, -2.0]), blame=True, raise_exception=False)
    assert not wrong(report)
    assert "log (the result is not finite)" in str(report.notes)


# --- size, repetition, drawings ------------------------------------------------------------------


def test_ten_thousand_scalars_are_looked_at_and_a_sample_of_them_checked():
    odd = tg.Primitive(
        lambda x: x * 1.0, [lambda g, y, x: g if abs(x - 2.5005) > 4e-4 else 1.5 * g], name="odd",
        elementwise=True, scalar=lambda x: x * 1.0,
    )  # fmt: skip
    lines = []

    def f(a):
        s = a
        for _ in range(5_000):
            s = odd(s) + 0.001  # one in five thousand is wrong
        lines.append(s)
        return s

    report = blamed(f, tg.Value(0.0005))
    (culprit,) = wrong(report)
    assert culprit.primitive == "odd"
    assert culprit.times == 1
    assert "of 10,000 different applications" in str(report.notes)
    assert len(lines) < 400


def test_equal_applications_are_checked_once():
    calls = []

    def forward(x):
        calls.append(None)
        return x * 1.0

    copy = tg.Primitive(forward, [lambda g, y, x: g], name="copy")

    def many(x, n):
        return sum(np.sum(copy(x)) for _ in range(n))

    counts = []
    for n in (1, 50):
        calls.clear()
        gradcheck(lambda x, n=n: many(x, n), X, blame=False)
        plain = len(calls)
        calls.clear()
        gradcheck(lambda x, n=n: many(x, n), X, blame=True)
        counts.append(len(calls) - plain - n)  # one more run of the whole
    assert counts[1] <= counts[0] + 5


def test_the_same_seed_gives_the_same_report():
    assert str(blamed(deep, X)) == str(blamed(deep, X))
    model = blamed(Net(), (XOR, TARGETS), loss=tg.losses.mse_loss)
    again = blamed(Net(), (XOR, TARGETS), loss=tg.losses.mse_loss)
    assert draw(model).to_dot() == draw(again).to_dot()


def test_a_report_can_be_pickled_though_a_graph_cannot():
    report = blamed(deep, X)
    copy = pickle.loads(pickle.dumps(report))
    assert str(copy) == str(report)
    with pytest.raises(ValueError, match="without blame=True"):
        draw(copy)


def drawn(f: Any, inputs: Any) -> Any:
    return draw(blamed(f, inputs))


def test_the_culprit_is_red_and_the_kink_amber_in_every_output():
    def f(x):
        return np.sum(wave(x) + tg.relu(x - 1.0))

    drawing = drawn(f, X)
    marks = {v.op: v.mark for v in drawing.description.nodes if v.mark is not None}
    assert {op: mark.kind for op, mark in marks.items()} == {"wave": "wrong", "relu": "kink"}
    assert "analytic" in marks["wave"].message
    (red,) = [line for line in drawing.to_dot().splitlines() if 'fillcolor="#fbd5d9"' in line]
    assert "wave" in red
    assert "wrong rule" in red
    assert "penwidth=3.5" in red
    assert "WRONG RULE rule 0: analytic" in red  # on hover
    (amber,) = [line for line in drawing.to_dot().splitlines() if 'fillcolor="#ffe58a"' in line]
    assert "relu" in amber
    assert "dashed" in amber
    mermaid = drawing.to_mermaid()
    (node,) = [line.split("(")[0].strip() for line in mermaid.splitlines() if '"wave' in line]
    assert f"class {node} wrong" in mermaid
    assert "class n" in mermaid.split("classDef kink")[1]
    assert "WRONG RULE" in mermaid
    text = drawing.to_text().splitlines()
    assert "WRONG RULE rule 0: analytic" in next(line for line in text if " wave  " in line)
    assert "KINK" in next(line for line in text if " relu  " in line)
    assert "WRONG RULE" in drawing.to_html()


def test_what_is_wrong_outweighs_a_kink_of_the_same_node():
    steep = tg.Primitive(
        lambda x: np.maximum(x, 0.0), [lambda g, y, x: g * 2.0 * (x > 0.0)], name="steep",
        elementwise=True,
    )  # fmt: skip
    report = blamed(lambda x: np.sum(steep(x)), np.array([0.0, 1.0]))
    assert {c.verdict for c in report.blame} == {"wrong", KINK}
    assert report.blame[0].verdict == "wrong"
    (mark,) = [v.mark for v in draw(report).description.nodes if v.mark]
    assert mark.kind == "wrong"


def test_a_node_that_a_constant_went_into_is_red():
    drawing = drawn(lambda x: np.sum(x * x.data), X)
    (mark,) = [v.mark for v in drawing.description.nodes if v.mark]
    assert (mark.kind, mark.word) == ("wrong", "left the graph")


def test_a_model_keeps_its_names_and_frames():
    drawing = draw(blamed(Net(), (XOR, TARGETS), loss=tg.losses.mse_loss))
    assert {v.label for v in drawing.description.nodes} >= {"first.weight", "last.bias"}
    assert {c.name for c in drawing.description.clusters} >= {"first", "last"}
    assert not drawing.description.note  # the numbers are those of the inputs as given


def test_right_reports_draw_without_marks():
    drawing = draw(gradcheck(lambda x: np.sum(np.sin(x)), X, blame=True))
    assert not any(vertex.mark for vertex in drawing.description.nodes)


# --- errors --------------------------------------------------------------------------------------


def test_errors():
    with pytest.raises(ValueError, match="made without blame=True"):
        draw(gradcheck(lambda x: np.sum(np.sin(x)), X))
    with pytest.raises(TypeError, match="knows its model"):
        draw(gradcheck(lambda x: np.sum(np.sin(x)), X, blame=True), {})
    with pytest.raises(ValueError, match="blame=True looks for primitives in a graph"):
        gradcheck(np.sin, 1.0, gradient=np.cos, blame=True)
    with pytest.raises(ValueError, match="blame=True looks for primitives in a graph"):
        gradcheck(np.sin, 1.0, vjp=lambda g, x: g * np.cos(x), blame=True)


def test_without_blame_nothing_is_kept():
    report = gradcheck(lambda x: np.sum(wave(x)), X, raise_exception=False)
    assert not report.blame
    assert report._graph is None
