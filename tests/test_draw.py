import errno
import gc
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import nn, scalar
from tinygrad_nn.draw import GraphvizMissingError, draw, draw_dot, make_dot, trace
from tinygrad_nn.draw.description import nested
from tinygrad_nn.draw.figures import figures, number
from tinygrad_nn.draw.wording import plain
from tinygrad_nn.rules import TABLE
from tinygrad_nn.scalar import Value

HOSTILE = '"]; x -> y <script>alert(1)</script> &amp; \\N `b` _c_ #35;'

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot is missing")


def neuron() -> tuple[Value, dict[str, Value]]:
    """Build the neuron of micrograd's lecture; its numbers are known from there."""
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w = {
        "w1": Value(-3.0, label="w1"),
        "w2": Value(1.0, label="w2"),
        "b": Value(6.8813735870195432),
    }
    a, b = x1 * w["w1"], x2 * w["w2"]
    n = a + b + w["b"]
    n.label = "n"
    o = n.tanh()
    o.label = "o"
    return o, w


def small() -> tg.Tensor:
    x = tg.tensor([[1.0, 2.0]], requires_grad=True, label="x")
    loss = ((1.0 - x) * x).sum(axis=0).sum()
    loss.label = "loss"
    return loss


def by_title(drawing, title):
    found = [v for v in drawing.description.nodes if title in (v.label, v.op)]
    assert len(found) == 1, [(v.label, v.op) for v in drawing.description.nodes]
    return found[0]


# --- golden outputs ------------------------------------------------------------------------------


def test_text_golden():
    assert draw(small()).to_text() == (
        "n5 loss = sum  () float64  value -2.0  grad 1.0\n"
        "└─ n4 sum  (2,) float64  with axis=0  value [0.0, -2.0]  grad [1.0, 1.0]\n"
        "   └─ n3 multiply  (1, 2) float64  value [[0.0, -2.0]]  grad [[1.0, 1.0]]\n"
        "      ├─ n2 subtract  (1, 2) float64  value [[0.0, -1.0]]  grad [[1.0, 2.0]]\n"
        "      │  ├─ n1 1.0\n"
        "      │  └─ n0 x  (1, 2) float64  value [[1.0, 2.0]]  grad [[-1.0, -3.0]]\n"
        "      └─ ↑ n0 x\n"
    )


def test_mermaid_golden():
    assert draw(small(), rankdir="TB").to_mermaid().split("  classDef")[0] == (
        "flowchart TB\n"
        '  n0("x<br/>(1, 2) float64<br/>value [[1.0, 2.0]]<br/>grad [[-1.0, -3.0]]"):::parameter\n'
        '  n1(["1.0"]):::constant\n'
        '  n2("subtract<br/>(1, 2) float64<br/>value [[0.0, -1.0]]<br/>'
        'grad [[1.0, 2.0]]"):::intermediate\n'
        '  n3("multiply<br/>(1, 2) float64<br/>value [[0.0, -2.0]]<br/>'
        'grad [[1.0, 1.0]]"):::intermediate\n'
        '  n4("sum<br/>(2,) float64<br/>with axis=0<br/>value [0.0, -2.0]<br/>grad [1.0, 1.0]")'
        ":::intermediate\n"
        '  n5("loss = sum<br/>() float64<br/>value -2.0<br/>grad 1.0"):::output\n'
        '  n1 -->|"1"| n2\n'
        '  n0 -->|"2"| n2\n'
        "  n2 --> n3\n"
        "  n0 --> n3\n"
        "  n3 --> n4\n"
        "  n4 --> n5\n"
    )


def test_dot_golden():
    x = Value(3.0, label="x")
    head, body = draw(x * 2.0).to_dot().split("  n0 [", 1)
    assert head.splitlines()[0] == 'digraph "computation graph" {'
    assert "rankdir=LR" in head
    muted = '<FONT COLOR="#505050" POINT-SIZE="8.5">'
    begin = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2"><TR><TD COLSPAN="4">'
    value = f'</TD></TR><HR/><TR><TD ALIGN="LEFT">{muted}value</FONT></TD>'
    grad = f'<TR><TD ALIGN="LEFT">{muted}grad</FONT></TD>'
    cell = '<TD COLSPAN="3" ALIGN="RIGHT">&#160;&#160;'
    end = "</TD></TR>"
    assert body == (
        f"label=<{begin}<B>x</B>{value}{cell}3.0{end}{grad}{cell}2.0{end}</TABLE>>, "
        'fillcolor="#fbe3b5", color="#b87700", tooltip="parameter x\\nvalue 3.0\\ngrad 2.0"]\n'
        '  n1 [label=<<B>2.0</B>>, fillcolor="#e4e4e4", color="#6f6f6f", tooltip="constant 2.0"]\n'
        f"  n2 [label=<{begin}<B>×</B>{value}{cell}6.0{end}{grad}{cell}1.0{end}</TABLE>>, "
        'fillcolor="#bfe8d8", color="#007a59", '
        'tooltip="output multiply\\nvalue 6.0\\ngrad 1.0\\ngrad of a: g · 2"]\n'
        '  n0 -> n2 [label=<<FONT COLOR="#2a78b5">∂ 2.0</FONT>>]\n'
        "  n1 -> n2\n"
        "}\n"
    )


def everything() -> str:
    """Draw a model with nested modules, shared parameters and several outputs, in every text."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.MLP(3, [4, 2], rng=0), "tanh", nn.Linear(2, 1, rng=1))
    y = model(rng.normal(size=(5, 3)))
    drawing = draw({"loss": (y * y).mean(), "size": abs(y).sum(axis=(0, 1))}, model)
    return drawing.to_dot() + drawing.to_mermaid() + drawing.to_text()


def test_the_mermaid_block_of_the_documentation():
    page = Path(__file__).parent.parent / "docs" / "drawing-graphs.md"
    block = re.search(r"^```mermaid\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert block[1] == draw(*neuron()).to_mermaid()


def test_bytes_do_not_depend_on_the_process_or_on_what_was_made_before():
    first = everything()
    junk = [Value(float(i)) * 2.0 for i in range(1000)]
    assert everything() == first
    del junk
    code = "import tests.test_draw as t, sys; sys.stdout.buffer.write(t.everything().encode())"
    root = Path(__file__).parent.parent
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code.replace("tests.test_draw", "test_draw")],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{root}:{root / 'tests'}"},
            capture_output=True,
            check=True,
        )
        assert run.stdout.decode() == first


# --- what a node shows ---------------------------------------------------------------------------


def test_neuron_shows_values_and_derivatives_of_the_output():
    o, weights = neuron()
    drawing = draw(o, weights)
    shown = {
        v.label or v.op: (v.role, v.value.text, v.grad.text) for v in drawing.description.nodes[:5]
    }
    assert shown == {
        "x1": ("input", "2.0", "-1.5"),
        "x2": ("input", "0.0", "0.5"),
        "w1": ("parameter", "-3.0", "1.0"),
        "w2": ("parameter", "1.0", "0.0"),
        "b": ("parameter", "6.881", "0.5"),
    }
    n, out = by_title(drawing, "n"), by_title(drawing, "o")
    assert (n.role, n.op, n.value.text, n.grad.text) == ("intermediate", "add", "0.8814", "0.5")
    assert (out.role, out.op, out.value.text, out.grad.text) == ("output", "tanh", "0.7071", "1.0")


def test_drawing_changes_nothing():
    o, _ = neuron()
    o.backward()
    loss = small()
    loss.backward()
    nodes = [*trace(o)[0], *trace(loss)[0]]
    before = [(n.grad, np.array(n.data), n._changed, n._scopes, n.label) for n in nodes]
    kept = [n.grad for n in nodes]
    for output in (o, loss):
        drawing = draw(output)
        drawing.to_dot(), drawing.to_text(), drawing.to_mermaid()
    after = [(n.grad, np.array(n.data), n._changed, n._scopes, n.label) for n in nodes]
    assert all(a is b for a, b in zip(kept, (n.grad for n in nodes), strict=True))
    np.testing.assert_equal(after, before)


def test_gradients_output_stored_none():
    x = tg.tensor([1.0, 2.0], requires_grad=True, label="x")
    x.grad = np.array([7.0, 8.0])
    y = (x * x).sum()
    assert by_title(draw(y), "x").grad.text == "[2.0, 4.0]"
    assert by_title(draw(y, gradients="stored"), "x").grad.text == "[7.0, 8.0]"
    assert by_title(draw(y, gradients="none"), "x").grad is None
    with pytest.raises(ValueError, match="output, stored, none"):
        draw(y, gradients="all")


def stale() -> tg.Tensor:
    x = tg.tensor(1.0, requires_grad=True, label="x")
    y = x * x
    x.data = 3.0
    return y


def broken() -> tg.Tensor:
    @tg.primitive
    def bad(x):
        return x

    def rule(g, y, x):
        raise ZeroDivisionError("the rule is wrong")

    bad.defvjp(rule)
    return bad(tg.tensor(1.0, requires_grad=True, label="x"))


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (lambda: tg.tensor([1.0, 2.0], requires_grad=True, label="x") * 2.0, "not one real number"),
        (lambda: [2.0 * tg.tensor(1.0, requires_grad=True, label="x"), Value(1.0) + 1.0],
         "more than one output"),
        (stale, "'x' was assigned to after multiply"),
        (broken, "the rule is wrong"),
    ],
)  # fmt: skip
def test_where_the_derivative_is_impossible_stored_gradients_are_shown_with_a_note(make, note):
    output = make()
    x = next(n for n in trace(output)[0] if n.label == "x")
    x.grad = np.full(x.shape, 9.0)
    drawing = draw(output)
    assert set(re.findall(r"[\d.]+", by_title(drawing, "x").grad.text)) == {"9.0"}
    for text in (drawing.description.note, drawing.to_text()):
        assert "Gradients are those stored in .grad" in text
        assert note in text
    for text in (drawing.to_dot(), drawing.to_mermaid()):
        assert "Gradients are those stored in" in text
    assert "#" not in drawing.description.note  # no serial numbers
    x.grad = None
    drawing = draw(output)
    assert by_title(drawing, "x").grad is None
    assert bool(drawing.description.note) == (make in (stale, broken))


def test_parameters_are_named_by_the_model_and_shared_ones_drawn_once():
    layer = nn.Linear(2, 2, rng=0)
    model = nn.Sequential(layer, "relu", layer)
    x = tg.tensor(np.ones((3, 2)), requires_grad=True, label="x")
    drawing = draw(model(x).sum(), model)
    parameters = [v.label for v in drawing.description.nodes if v.role == "parameter"]
    assert parameters == ["steps.0.weight", "steps.0.bias"]
    assert by_title(drawing, "x").role == "input"  # needs a gradient, but is none of the model's
    # Used in two calls, so in neither's frame but in the one around both.
    weight = by_title(drawing, "steps.0.weight")
    assert drawing.description.clusters[weight.cluster].title == "Sequential()"
    without = draw(model(x).sum())
    assert [v.label for v in without.description.nodes if v.role == "parameter"] == [
        "weight", "bias", "x",
    ]  # fmt: skip


def test_names_from_a_dict_and_from_a_scalar_model():
    model = scalar.MLP(2, [2, 1], rng=0)
    y = model([Value(1.0, label="x1"), Value(2.0)])
    labels = [v.label for v in draw(y, model).description.nodes if v.role == "parameter"]
    assert len(labels) == len(model.parameters()) == 9
    assert "layers.0.neurons.1.w.0" in labels
    assert "layers.1.neurons.0.b" in labels
    assert by_title(draw(y, model), "x1").role == "input"
    w = tg.tensor(2.0, requires_grad=True)
    drawing = make_dot(w * w, {"omega": w})
    assert by_title(drawing, "omega").role == "parameter"
    assert "rankdir=TB" in drawing.source  # torchviz draws downwards


def test_constants_and_arrays():
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True, label="x")
    mask = np.array([1.0, 0.0, 1.0])
    drawing = draw((x * mask * mask * 2.0 * 2.0).sum())
    roles = [(v.role, v.shape, v.value.text) for v in drawing.description.nodes if not v.op]
    assert roles == [
        ("parameter", "(3,)", "[1.0, 2.0, 3.0]"),
        ("input", "(3,)", "[1.0, 0.0, 1.0]"),  # used twice, drawn once
        ("constant", "", "2.0"),
        ("constant", "", "2.0"),  # two numbers that happen to be equal
    ]


def test_settings_are_shown_without_addresses():
    x = tg.tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    y = x[1:, ::2].sum(axis=1, keepdims=True)

    @tg.primitive(rules=[lambda g, y, x, *, how, key: g])
    def odd(x, *, how, key):
        return x * 1.0

    z = odd(y, how=lambda: 0, key=object())
    settings = " ".join(v.settings for v in draw(z).description.nodes)
    assert "axis=1, keepdims=True" in settings
    assert "how=<lambda>, key=object" in settings
    assert "0x" not in settings


@pytest.mark.parametrize(
    ("take", "index"),
    [
        (lambda x: x[1:3], "[1:3]"), (lambda x: x[:, 0], "[:, 0]"), (lambda x: x[-1], "[-1]"),
        (lambda x: x[..., ::2], "[..., ::2]"), (lambda x: x[None, 1:], "[None, 1:]"),
        (lambda x: x[[0, 1], np.array([2, 3])], "[array, array]"), (lambda x: x[()], "[()]"),
        (lambda x: x[x > 3.0], "[array]"), (lambda x: x[:2, [0, 3]], "[:2, array]"),
    ],
)  # fmt: skip
def test_an_index_is_shown_as_it_is_written(take, index):
    x = tg.tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    assert draw(take(x)).description.nodes[-1].settings == index


def test_the_transpose_of_an_index_shows_it_too():
    x = tg.tensor(np.arange(2.0), requires_grad=True)
    y = TABLE["scatter_add"](x, template=(slice(1, None),), shape=(3,))
    assert by_title(draw(y), "scatter_add").settings == "[1:], shape=(3,)"


ORDERED = [
    (lambda a, b: a - b, True), (lambda a, b: a / b, True), (lambda a, b: a**b, True),
    (lambda a, b: a @ b, True), (np.where, True), (lambda a, b: a + b, False),
    (lambda a, b: a * b, False), (np.maximum, False),
]  # fmt: skip


@pytest.mark.parametrize(("f", "ordered"), ORDERED)
def test_edges_are_numbered_where_the_order_matters(f, ordered):
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    b = tg.tensor([3.0, 4.0], requires_grad=True)
    y = f(a > 1.5, a, b) if f is np.where else f(a, b)
    places = {e.place for e in draw(y).description.edges}
    assert (places == {0}) != ordered


# --- figures -------------------------------------------------------------------------------------

NUMBERS = [
    (2.0, "2.0"), (-0.0, "0.0"), (1 / 3, "0.3333"), (0.99999999, "1.0"), (1234.56, "1235"),
    (99999.0, "99999.0"), (123456.0, "1.235e+05"), (1e-7, "1e-07"), (float("nan"), "nan"),
    (float("-inf"), "-inf"), (3, "3"), (12345678901, "1.235e+10"), (True, "True"),
    (1.25 + 2j, "1.25+2j"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "text"), NUMBERS)
def test_numbers_have_four_significant_digits(x, text):
    assert number(x) == text


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
def test_figures_of_large_arrays(dtype, rng):
    a = (rng.normal(size=(4, 5)) * 3).astype(dtype)
    f = figures(a)
    assert f.text == ""
    assert (f.low, f.high) == (a.min(), a.max())
    assert f.mean == pytest.approx(a.astype(float).mean())
    assert (f.size, f.zeros, f.nan, f.inf) == (20, np.sum(a == 0), 0, 0)


@pytest.mark.parametrize("size", [5, 50])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_figures_count_what_is_not_finite_and_leave_it_out(size, dtype):
    a = np.arange(size).astype(dtype)
    a[1], a[2], a[3] = np.nan, np.inf, -np.inf
    f = figures(a)
    assert (f.nan, f.inf, f.zeros, f.is_finite) == (1, 2, 1, False)
    if dtype != "complex128":
        rest = np.delete(a, [1, 2, 3])
        assert (f.low, f.high) == (0.0, rest.max())
        assert f.mean == pytest.approx(rest.mean())
    everything = figures(np.full(size, np.nan, dtype))
    assert (everything.low, everything.mean, everything.nan) == (None, None, size)


def test_figures_of_empty_and_reversed_arrays():
    assert figures(np.zeros((0, 3))).text == "empty"
    assert figures(np.arange(6)[::-1].reshape(2, 3)).text == "[[5, 4, 3], [2, 1, 0]]"


def test_what_is_not_finite_stands_out_in_red_and_zeros_are_told():
    x = tg.tensor(np.array([0.0, 1.0] * 10), requires_grad=True, label="x")
    with np.errstate(all="ignore"):
        y = np.log(x)
    zero = tg.tensor(np.zeros(20), label="zero")
    drawing = draw([x, y, zero])
    dot = {line.split()[0]: line for line in drawing.to_dot().splitlines() if " [label" in line}
    assert "10 inf" in dot["n1"]
    assert 'color="#b00020", penwidth=2.5' in dot["n1"]
    assert "#b00020" not in dot["n0"]
    assert "50% zero" in dot["n0"]
    assert "all zero" in dot["n2"]
    assert "class n1 bad" in drawing.to_mermaid()
    assert "value min 0.0, mean 0.0, max 0.0, 10 inf, 50% not finite, 50% zero" in drawing.to_text()


# --- clusters ------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self):
        self.inner = nn.Sequential(nn.MLP(2, [3, 2], rng=0), "tanh")
        self.gate = tg.tensor(0.5, requires_grad=True)

    def forward(self, x):
        return x + self.gate * self.inner(x) * 2.0


def frames(drawing, vertex):
    """Return the names of the clusters around a vertex, outermost first."""
    found = []
    c = vertex.cluster
    while c >= 0:
        cluster = drawing.description.clusters[c]
        found.append(cluster.name or cluster.title)
        c = cluster.parent
    return found[::-1]


def test_clusters_nest_as_the_modules_do():
    model = nn.Sequential(Residual(), nn.Linear(2, 1, rng=0))
    x = tg.tensor(np.ones((4, 2)), label="x")
    loss = model(x).sum()
    drawing = draw(loss, model)
    inner = ["Sequential()", "steps.0", "steps.0.inner", "steps.0.inner.steps.0"]
    expected = {
        "x": [], "sum": [],
        "steps.0.gate": inner[:2], "tanh": inner[:3], "relu": [*inner, f"{inner[3]}.layers.0"],
        f"{inner[3]}.layers.0.weight": [*inner, f"{inner[3]}.layers.0"],
        f"{inner[3]}.layers.1.bias": [*inner, f"{inner[3]}.layers.1"],
        "steps.1.weight": ["Sequential()", "steps.1"], "add": inner[:2],
    }  # fmt: skip
    assert {name: frames(drawing, by_title(drawing, name)) for name in expected} == expected
    two = next(v for v in drawing.description.nodes if v.role == "constant")
    assert frames(drawing, two) == inner[:2]
    # In the order of creation, balanced, and each part written once.
    parts = list(nested(drawing.description))
    assert [i for what, i, _ in parts if what == "open"] == list(range(7))
    assert sorted(i for what, i, _ in parts if what == "node") == list(
        range(len(drawing.description.nodes))
    )
    assert drawing.to_dot().count("subgraph cluster_") == len(drawing.description.clusters) == 7
    lines = [line.strip() for line in drawing.to_mermaid().splitlines()]
    assert sum(line.startswith("subgraph c") for line in lines) == lines.count("end") == 7


def test_each_call_of_a_module_has_a_frame_and_several_outputs_share_one():
    class Split(nn.Module):
        def forward(self, x):
            y = x * 2.0
            return {"a": y + 1.0, "b": [y - 1.0]}

    split = Split()
    x = tg.tensor(1.0, requires_grad=True)
    first = split(x)
    second = split(first["a"])
    drawing = draw(second["a"] * second["b"][0] * first["b"][0])
    d = drawing.description
    assert [c.title for c in d.clusters] == ["Split()", "Split()"]
    assert [c.parent for c in d.clusters] == [-1, -1]
    results = [(v.op, v.cluster) for v in d.nodes if v.op]
    assert results == [
        ("multiply", 0), ("add", 0), ("subtract", 0),
        ("multiply", 1), ("add", 1), ("subtract", 1), ("multiply", -1), ("multiply", -1),
    ]  # fmt: skip


def test_scalar_models_have_one_frame_for_each_call_and_names_from_the_model():
    model = scalar.MLP(2, [2, 2], rng=0)
    y = model([Value(1.0, label="x1"), Value(2.0)])
    drawing = draw(y, model)  # two outputs
    layer, out, neurons = "layers.0", "layers.1", ["neurons.0", "neurons.1"]
    assert [(c.name, c.title, c.parent) for c in drawing.description.clusters] == [
        ("", "MLP(2-2-2)", -1),
        (layer, "Layer(2, 2)", 0),
        *((f"{layer}.{n}", "ReLUNeuron(2)", 1) for n in neurons),
        (out, "Layer(2, 2)", 0),
        *((f"{out}.{n}", "LinearNeuron(2)", 4) for n in neurons),
    ]
    place = {v.label: frames(drawing, v) for v in drawing.description.nodes if v.label}
    inner = ["MLP(2-2-2)", layer, f"{layer}.neurons.1"]
    assert place["layers.0.neurons.1.w.0"] == place["layers.0.neurons.1.b"] == inner
    assert place["x1"] == []
    relus = [frames(drawing, v) for v in drawing.description.nodes if v.op == "relu"]
    assert relus == [[*inner[:2], f"{layer}.{n}"] for n in neurons]
    # The same frames where the outputs have become one, and one MLP for each call.
    again = draw(y[0] * y[1] + model([3.0, 4.0])[0])
    assert [c.title for c in again.description.clusters].count("MLP(2-2-2)") == 2
    assert [c.title for c in again.description.clusters][:7] == [
        c.title for c in drawing.description.clusters
    ]


def test_a_scalar_model_with_shared_parts_and_a_way_back_to_itself():
    class Twice(scalar.Module):
        def __init__(self):
            self.first = self.second = scalar.Neuron(1, rng=0)
            self.parts = [self.first]
            self.parts.append(self.parts)
            self.whole = self

        def __call__(self, x):
            return self.second([self.first([x])])

    model = Twice()
    drawing = draw(model(1.0), model)
    assert [c.name for c in drawing.description.clusters if "Neuron" in c.title] == ["first"] * 2
    assert {v.label for v in drawing.description.nodes if v.role == "parameter"} == {
        "first.w.0", "first.b",
    }  # fmt: skip


def test_what_a_module_made_but_did_not_return_is_framed_only_where_the_output_needs_it():
    class Leaky(nn.Module):
        def forward(self, x):
            y = x * 2.0
            self.extra = y + 1.0
            return y * 3.0

    leaky = Leaky()
    y = leaky(tg.tensor(1.0, requires_grad=True))
    drawing = draw(y * leaky.extra)
    assert [(v.op, v.cluster) for v in drawing.description.nodes if v.op] == [
        ("multiply", 0), ("add", -1), ("multiply", 0), ("multiply", -1),
    ]  # fmt: skip


def test_modules_that_are_gone_leave_their_title():
    y = nn.Linear(2, 1, rng=0)(np.ones((3, 2)))
    gc.collect()
    assert [c.title for c in draw(y).description.clusters] == ["Linear"]


# --- sizes ---------------------------------------------------------------------------------------


def test_a_long_chain_needs_no_recursion_and_no_width():
    x = v = Value(1.0, label="x")
    for _ in range(100_000):
        v = -v
    drawing = draw(v)
    assert len(drawing.description.nodes) == 100_001
    assert by_title(drawing, "x").grad.text == "1.0"
    lines = drawing.to_text().splitlines()
    assert max(map(len, lines)) < 120
    assert sum("↓" not in line and "↑" not in line for line in lines) == 100_001
    assert drawing.to_dot().count("->") == drawing.to_mermaid().count("-->") == 100_000
    assert len(trace(v)[0]) == 100_001
    del x


def test_text_tree_writes_each_node_once_and_refers_to_the_others():
    v = Value(1.0)
    for _ in range(60):
        v = v * v  # 2 ** 60 paths
    lines = draw(v).to_text().splitlines()
    roots = [line for line in lines if line[0] == "n"]
    whole = [re.search(r"n\d+", line)[0] for line in lines if not re.search("[↑↓]", line)]
    assert sorted(whole) == sorted(f"n{i}" for i in range(61))
    ahead = [re.search(r"↓ (n\d+)", line)[1] for line in lines if "↓" in line]
    assert ahead
    assert {line.split()[0] for line in roots} == {"n60", *ahead}


def test_modules_in_modules_without_end_need_no_recursion():
    model = nn.Sequential("tanh")
    for _ in range(150):
        model = nn.Sequential(model)
    drawing = draw(model(tg.tensor(1.0, requires_grad=True)))
    assert len(drawing.description.clusters) == 151
    assert drawing.to_dot().count("{") == drawing.to_dot().count("}") == 152


# --- hostile labels ------------------------------------------------------------------------------


def hostile() -> tg.Tensor:
    x = tg.tensor(1.0, requires_grad=True, label=HOSTILE)
    y = EVIL(x * 2.0)
    y.label = HOSTILE
    return y


class Evil(nn.Module):
    def forward(self, x):
        return np.tanh(x)

    def _title(self):
        return HOSTILE


EVIL = nn.Sequential(Evil())  # lives on, for it is asked for its title when it is drawn


def mermaid_texts(source: str) -> list[str]:
    """Read quoted texts as Mermaid does: to the next quote, then character codes decoded."""
    texts = re.findall(r'"([^"\n]*)"', source)
    return [re.sub(r"#(\d+);", lambda m: chr(int(m[1])), text) for text in texts]


def test_hostile_labels_in_text_and_mermaid():
    evil = hostile()
    drawing = draw(evil)
    assert f"n0 {HOSTILE}  () float64" in drawing.to_text()
    source = drawing.to_mermaid()
    texts = mermaid_texts(source)
    assert texts[0].startswith(HOSTILE + "<br/>")
    assert HOSTILE in texts  # the frame's title
    # Nothing that Mermaid acts on is left of the label: quotes, tags, Markdown, arrows.
    for line in source.splitlines():
        bare = re.sub(r"#\d+;|<br/>", "", line)
        assert not re.search(r"[<&\\`;{]|_c_|(?<!--)>(?!\|)", bare) or "-->" in bare
        assert line.count('"') in (0, 2)
    assert len(re.findall("-->", source)) == len(drawing.description.edges)


class Page(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags, self.text = [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data):
        self.text.append(data)


def test_hostile_labels_in_html(monkeypatch):
    monkeypatch.setenv("PATH", "")  # the page needs no program
    page, plain = Page(draw(hostile()).to_html()), Page(draw(small()).to_html())
    assert Counter(page.tags) == Counter(plain.tags)  # no label has become an element
    assert HOSTILE in "".join(page.text)


@needs_dot
def test_hostile_labels_on_hover():
    root = ET.fromstring(draw(hostile()).to_svg())
    tips = [a.get("{http://www.w3.org/1999/xlink}title") for a in root.iter() if a.tag[-2:] == "}a"]
    # Graphviz would act on a backslash here.
    assert tips[0].startswith("parameter " + HOSTILE.replace("\\", "\N{REVERSE SOLIDUS OPERATOR}"))


@needs_dot
def test_random_labels_draw_as_themselves(rng):
    kinds = [range(32, 127), range(160, 0x2000), range(0x10000)]
    labels = [
        "".join(map(chr, rng.choice(kinds[i % 3], size=12))).replace("\u00ad", "")
        for i in range(90)
    ]
    svg = draw(tg.add_n([Value(1.0, label=label) for label in labels])).to_svg()
    texts = {" ".join(text.text.split()) for text in ET.fromstring(svg).iter() if text.text}
    assert [label for label in labels if " ".join(plain(label).split()) not in texts] == []


@needs_dot
@pytest.mark.parametrize("rankdir", ["LR", "TB", "RL", "BT"])
def test_hostile_labels_in_svg(rankdir):
    root = ET.fromstring(draw(hostile(), rankdir=rankdir).to_svg())
    svg = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{svg}text")]
    assert texts.count(HOSTILE) == 3  # the leaf, the output, the frame
    assert not list(root.iter(f"{svg}script"))
    kinds = [g.get("class") for g in root.iter(f"{svg}g")]
    assert (kinds.count("node"), kinds.count("edge"), kinds.count("cluster")) == (4, 3, 2)


LABELS = [
    "1. x", "- x", "+ x", "%%{init}%%", "end", "style: #fff; x", "[a](http://b)", "]]>", "--",
    "<B>", "&lt;", "\\", "\\\\N", "\\n", '"', "{|}", "神经 naïve", "x" * 119, "$x$", "'",
]  # fmt: skip


@needs_dot
def test_every_label_draws_as_itself_in_svg():
    drawing = draw(tg.add_n([Value(1.0, label=label) for label in LABELS]))
    texts = {text.text for text in ET.fromstring(drawing.to_svg()).iter() if text.text}
    assert {label for label in LABELS if label not in texts} == set()


def test_every_label_reads_as_itself_in_mermaid():
    drawing = draw(tg.add_n([Value(1.0, label=label) for label in LABELS]))
    source = drawing.to_mermaid()
    texts = [text.split("<br/>")[0] for text in mermaid_texts(source)]
    assert texts[: len(LABELS)] == LABELS
    assert '"1. x' not in source  # Mermaid would refuse a numbered list


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\nb\tc\u2028d", "a b c d"),
        ("\x1b[31mred\x00\x9b", "\ufffd[31mred\ufffd\ufffd"),
        ("\u202eabc\u2066", "\ufffdabc\ufffd"),
        ("\ud800x\uffff", "\ufffdx\ufffd"),
        ("café 神 e\u0301 👩\u200d🔬", "café 神 e\u0301 👩\u200d🔬"),
    ],
)
def test_control_characters_never_reach_an_output(text, cleaned):
    assert plain(text) == cleaned
    x = Value(1.0, label=text)
    drawing = draw(x * 2.0)
    for output in (drawing.to_text(), drawing.to_dot()):
        assert cleaned in output
        output.encode("utf-8")
        assert not set(output) & set("\x1b\x00\x9b\u202e\ud800\uffff\t")


def test_blank_and_endless_labels():
    drawing = draw(Value(1.0, label=" \n ") * Value(1.0, label="x" * 5000))
    assert [line.split("  ")[0] for line in drawing.to_text().splitlines()] == [
        "n2 multiply", "├─ n0 parameter", f"└─ n1 {'x' * 119}…",
    ]  # fmt: skip


# --- files and pictures --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method"),
    [("a.dot", "to_dot"), ("a.gv", "to_dot"), ("a.mmd", "to_mermaid"), ("a.txt", "to_text"),
     ("A.TXT", "to_text"), ("a.json", "to_json"), ("new/folder/a.html", "to_html")],
)  # fmt: skip
def test_save_by_suffix_without_dot(name, method, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    drawing = draw(small())
    path = drawing.save(tmp_path / name)
    assert path == tmp_path / name
    assert path.read_bytes().decode("utf-8") == getattr(drawing, method)()


@needs_dot
@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.svg", b"<?xml"), ("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.html", b"<!DOCTYPE")],
)
def test_save_pictures(name, begins, tmp_path):
    assert draw(small()).save(tmp_path / name).read_bytes().startswith(begins)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@needs_dot
def test_png_has_twice_the_density_of_a_screen():
    drawing = draw(small())
    width = int.from_bytes(drawing.pipe("png")[16:20], "big")
    points = float(re.search(r'<svg width="([\d.]+)pt"', drawing.to_svg())[1])
    assert width == pytest.approx(points / 72 * 192, rel=0.02)


@pytest.mark.parametrize("name", ["graph", "graph.jpeg", "graph.svg.bak", ".svg"])
def test_unknown_suffix(name, tmp_path):
    suffixes = r"\.svg, \.png, \.pdf, \.dot, \.gv, \.mmd, \.txt, \.json, \.html"
    with pytest.raises(ValueError, match=suffixes):
        draw(small()).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_save_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "graph.txt"
    path.write_text("old")

    def fail(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            draw(small()).save(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["graph.txt"]


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_without_dot_pictures_say_how_to_get_it(suffix, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    drawing = draw(small())
    path = tmp_path / f"graph{suffix}"
    path.write_text("old")
    with pytest.raises(GraphvizMissingError) as caught:
        drawing.save(path)
    assert isinstance(caught.value, tg.MissingExtraError | ImportError)
    for word in ("apt install", "brew install", "choco install", "conda install", ".mmd", ".html"):
        assert word in str(caught.value)
    assert path.read_text() == "old"
    assert drawing._repr_svg_() is None
    assert drawing._repr_mimebundle_() == {"text/plain": drawing.to_text()}


def test_dot_that_fails_is_a_clear_error(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho 'Error: out of paper' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    drawing = draw(small())
    with pytest.raises(RuntimeError, match=r"could not draw this graph as svg: .*out of paper"):
        drawing.to_svg()
    assert drawing._repr_svg_() is None


@needs_dot
def test_a_notebook_shows_the_picture_folded_if_it_is_huge():
    bundle = draw(small())._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    ET.fromstring(bundle["image/svg+xml"])
    v = Value(1.0)
    for _ in range(2000):
        v = -v
    bundle = draw(v)._repr_mimebundle_()
    assert bundle["text/plain"] == "<Drawing of 2,001 nodes, 2,000 edges, 0 clusters>"
    assert "2,001 of 2,001 nodes are folded into" in bundle["image/svg+xml"]


@needs_dot
def test_render_as_the_graphviz_package_does(tmp_path):
    dot = draw_dot(small(), format="png")
    assert dot.render(tmp_path / "gout") == str(tmp_path / "gout.png")
    assert (tmp_path / "gout").read_text() == dot.source == dot.to_dot()
    assert dot.render("b", directory=tmp_path, format="svg", cleanup=True) == str(
        tmp_path / "b.svg"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.svg", "gout", "gout.png"]


# --- aliases and errors --------------------------------------------------------------------------


def test_draw_dot_shows_stored_gradients_as_micrograd_does():
    a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    c = a * b
    c.label = "c"
    assert by_title(draw_dot(c), "a").grad.text == "0.0"
    c.backward()
    assert by_title(draw_dot(c), "a").grad.text == "-3.0"
    assert "rankdir=TB" in draw_dot(c, rankdir="TB").source


def test_trace_is_that_of_micrograd():
    a, b = Value(2.0), Value(3.0)
    c = a * b
    d = c + a
    assert trace(d) == ({a, b, c, d}, {(a, c), (b, c), (c, d), (a, d)})


def test_trace_has_what_draw_dot_shows():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    mask = np.array([True, False])
    scaled = np.where(mask, x * mask, 2.0 * x) + 2.0
    for root in (Value(1.0) * 2, 3 - Value(1.0) / 2.0, tg.add_n([Value(1.0), 2.0]), scaled):
        nodes, edges = trace(root)
        shown = draw_dot(root).description
        assert (len(nodes), len(edges)) == (len(shown.nodes), len(shown.edges))
        assert {node for edge in edges for node in edge} == nodes
    nodes, _ = trace(Value(1.0) * 2)
    assert sorted((n.data, n.grad, n._op) for n in nodes) == [
        (1.0, 0.0, ""), (2.0, 0.0, ""), (2.0, 0.0, "*"),
    ]  # fmt: skip


def test_trace_is_quiet_about_arguments_that_are_no_numbers():
    @tg.primitive(rules=[lambda g, y, x, how: g, None])
    def odd(x, how):
        return x * 1.0

    x = tg.tensor(1.0, requires_grad=True)
    y = odd(x, "so")
    assert trace(y) == ({x, y}, {(x, y)})


def test_outputs_in_lists_and_dicts():
    x = Value(2.0, label="x")
    y = x * 3.0
    drawing = draw({"first": y, "more": [x + 1.0, (y,)]})
    named = [(v.role, v.label, v.op) for v in drawing.description.nodes if v.op]
    assert named == [("output", "first", "multiply"), ("output", "more", "add")]
    assert drawing.to_text().count("n0 x  value") == 1
    endless: list = [y]
    endless.append(endless)
    assert len(draw(endless).description.nodes) == 3


@pytest.mark.parametrize("thing", [3.0, np.ones(3), None, "x", [Value(1.0), 2.0]])
def test_foreign_things(thing):
    with pytest.raises(TypeError, match=r"takes a Tensor, a Value, or a list.*requires_grad"):
        draw(thing)


def test_bad_arguments():
    x = Value(1.0)
    with pytest.raises(ValueError, match="no graph in it"):
        draw([])
    with pytest.raises(ValueError, match="LR, TB, RL, BT"):
        draw(x, rankdir="left")
    with pytest.raises(TypeError, match=r"dict\(model\.named_parameters\(\)\)"):
        draw(x, model=[x])
    with pytest.raises(TypeError, match="got a float among them"):
        draw(x, model={"x": 1.0})


def test_a_cycle_is_an_error_and_not_an_endless_loop():
    x = tg.tensor(1.0, requires_grad=True)
    y = x * 2.0
    z = y + 1.0
    y.args = (z, 2.0)
    with pytest.raises(ValueError, match="no graph of a computation"):
        draw(z)
    y.args = (y, 2.0)
    with pytest.raises(ValueError, match="no graph of a computation"):
        draw(y)
    y.args = ()


def test_what_computed_a_labelled_result_stands_below_its_label() -> None:
    o = Value(0.5).tanh()
    o.label = "o"
    dot = draw(o).to_dot()
    label, op = dot.index("<B>o</B></TD>"), dot.index(">tanh<")
    assert label < op < dot.index("value", label)
