"""What a drawing says of a node and an edge: slopes, what flows back, rules, lines, costs."""

from __future__ import annotations

import math
import re
import tracemalloc

import numpy as np
import pytest
from samples import samples

import tinygrad_nn as tg
from tinygrad_nn import Value, nn
from tinygrad_nn.anomaly import source_lines
from tinygrad_nn.anomaly_report import input_names
from tinygrad_nn.backward import pull_back
from tinygrad_nn.draw import draw
from tinygrad_nn.draw.reading import flows
from tinygrad_nn.draw.reading.describe import collect
from tinygrad_nn.draw.reading.flows import flow_back
from tinygrad_nn.draw.reading.formulas import Formulas
from tinygrad_nn.draw.wording import cost_text
from tinygrad_nn.primitive import BY_FUNCTION
from tinygrad_nn.rules import TABLE


def neuron():
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
    b = Value(6.8813735870195432, label="b")
    o = (x1 * w1 + x2 * w2 + b).tanh()
    o.label = "o"
    return o


def edges_of(drawing):
    """Return edges by the titles of their ends: labels, or primitives."""
    nodes = drawing.description.nodes

    def title(i):
        return nodes[i].label or nodes[i].op or nodes[i].value.text

    return {(title(e.source), title(e.target)): e for e in drawing.description.edges}


def slopes(node):
    return list(flows.slopes(node, node.args))


# --- slopes and flows ----------------------------------------------------------------------------


def test_slopes_and_flows_of_a_neuron_are_those_of_the_textbook():
    # Karpathy's neuron: n = 0.8814, o = tanh(n) = 0.7071, do/dn = 1 - o^2 = 1/2.
    edges = edges_of(draw(neuron()))
    last = edges["add", "o"]
    assert last.local == pytest.approx(0.5)
    assert last.flow.text == "0.5"
    assert edges["x1", "multiply"].local == -3.0
    assert edges["w1", "multiply"].local == 2.0
    assert edges["x1", "multiply"].flow.text == "-1.5"
    assert edges["w1", "multiply"].flow.text == "1.0"
    assert edges["w2", "multiply"].flow.text == "0.0"


def test_a_square_has_two_edges_and_its_gradient_is_their_sum():
    x = Value(3.0, label="x")
    drawing = draw(x * x)
    assert [(e.local, e.flow.text) for e in drawing.description.edges] == [(3.0, "3.0")] * 2
    assert drawing.description.nodes[0].grad.text == "6.0"


PROGRAMS = {
    "values": lambda: neuron() ** 2.0 + neuron().exp() / 3.0,
    "relu off": lambda: Value(-1.0).relu() * Value(2.0),
    "add_n": lambda: tg.add_n([Value(1.0), Value(2.0), 3.0, Value(4.0)]),
    "singular": lambda: Value(0.0) ** -1.0,
    "mixed": lambda: np.sum(tg.tensor([1.0, 2.0], requires_grad=True) * Value(3.0)),
    "broadcast": lambda: np.sum(
        tg.tensor(np.ones((3, 2)), requires_grad=True) * tg.tensor([1.0, 2.0], requires_grad=True)
    ),
    "float32": lambda: nn.MLP(2, [3, 1], rng=0)(np.ones((4, 2), np.float32)).sum(),
    "complex": lambda: np.abs(tg.tensor([1.0 + 2.0j], requires_grad=True) ** 2).sum(),
    "index": lambda: tg.tensor([1.0, 2.0, 3.0], requires_grad=True)[[0, 0, 2]].sum(),
}


@pytest.mark.parametrize("make", PROGRAMS.values(), ids=PROGRAMS)
def test_gradients_are_those_of_the_walk_back(make):
    with np.errstate(all="ignore"):
        root = make()
    seed = 1.0 if isinstance(root, Value) else np.ones_like(root.data)
    nodes = collect([root])
    with np.errstate(all="ignore"):
        found, back = flow_back(root, seed, nodes)
        expected = pull_back([(root, seed)], keep=True)[1]
    assert found.keys() == expected.keys()
    for serial in found:
        np.testing.assert_array_equal(found[serial], expected[serial])
    for node in nodes:  # each summand is there
        if node.serial != root.serial and node.serial in found:
            terms = [
                c
                for user in nodes
                for a, c in zip(user.args, back.get(user.serial, []), strict=False)
                if a is node
            ]
            np.testing.assert_allclose(sum(terms), found[node.serial], rtol=1e-6)


def test_slopes_are_known_of_single_numbers_alone():
    x = tg.tensor(2.0, requires_grad=True)
    v = tg.tensor([1.0, 2.0], requires_grad=True)
    assert slopes(x * 3.0) == [6.0 / 2.0, None]
    assert slopes(np.sum(v)) == [None]
    assert slopes(v * x) == [None, None]
    stale = x * x
    x.data = 5.0
    assert slopes(stale) == [None, None]


def test_slopes_agree_with_finite_differences(rng):
    functions = [np.tanh, np.exp, np.sin, np.log, np.sqrt, np.arctan, np.log1p, np.square]
    for f in functions:
        at = rng.uniform(0.5, 2.0)
        (slope,) = slopes(f(Value(at)))
        h = 1e-6
        assert slope == pytest.approx((f(at + h) - f(at - h)) / (2 * h), rel=1e-8)


def test_no_gradients_means_no_slopes():
    assert all(e.local is None and e.flow is None for e in edges_of(
        draw(neuron(), gradients="none")).values())  # fmt: skip


def test_slopes_stand_in_the_picture_and_the_tree():
    dot = draw(neuron()).to_dot()
    assert re.search(r"n8 -> n9 .*∂ 0\.5<", dot)
    assert "∂n9/∂n8 0.5" in draw(neuron()).to_text()


def test_drawing_does_not_stop_at_anomalies():
    x = tg.tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        y = np.sum(np.log(x))
    with tg.detect_anomaly():
        text = draw(y).to_text()
    assert "-inf" in text


def test_complex_gradients_are_those_of_grad():
    z = tg.tensor([1.0 + 2.0j, 3.0j], requires_grad=True, label="z")
    y = np.sum(np.abs(z) ** 2)
    y.backward()
    drawn, stored = (draw(y, gradients=g).description for g in ("output", "stored"))
    assert drawn.nodes[0].grad == stored.nodes[0].grad
    assert drawn.nodes[0].grad.text == "[2+4j, 0+6j]"  # 2 z
    assert drawn.edges[0].flow.text == "[2+4j, 0+6j]"


# --- dead units ----------------------------------------------------------------------------------


def test_a_unit_that_is_off_is_grey_and_a_zero_that_matters_is_not():
    off = Value(-1.0).relu() * Value(2.0) + Value(0.0, label="x2") * Value(1.0)
    by_op = {v.op: v for v in draw(off).description.nodes if v.op}
    assert by_op["relu"].is_dead
    products = [v for v in draw(off).description.nodes if v.op == "multiply"]
    assert [v.value.text for v in products] == ["0.0", "0.0"]
    assert [v.is_dead for v in products] == [False, False]  # a derivative goes through both
    assert 'fillcolor="#c6c6c6"' in draw(off).to_dot()


def test_columns_that_are_zero_in_every_row_are_counted():
    x = tg.tensor(np.ones((4, 3)), requires_grad=True)
    y = x * np.array([1.0, 0.0, 0.0])
    vertex = draw(y.sum()).description.nodes[-2]
    assert (vertex.value.columns, vertex.value.dead) == (3, 2)
    assert "2 of 3 columns zero" in draw(y.sum()).to_text()


# --- rules as formulas ---------------------------------------------------------------------------

GOLDEN = {
    "tanh": ("x", "g · (1 − y²)"),
    "exp": ("x", "g · y"),
    "log": ("x", "g / x"),
    "sin": ("x", "g · cos(x)"),
    "cos": ("x", "−g · sin(x)"),
    "sqrt": ("x", "0.5 · g / y"),
    "negative": ("x", "−g"),
    "multiply": ("a", "g · b"),
    "subtract": ("b", "−g"),
    "reciprocal": ("x", "−g · y²"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_formulas_read_as_in_a_textbook(name):
    primitive = next(p for p in BY_FUNCTION.values() if p.name == name)
    args = [tg.tensor([0.5], requires_grad=True) for _ in range(primitive.arity)]
    assert GOLDEN[name] in Formulas()(primitive(*args))


def test_formulas_of_operations_with_a_structure():
    a, b = (tg.tensor(np.ones(s), requires_grad=True) for s in ((5, 3), (3, 4)))
    formulas = Formulas()
    assert formulas(a @ b) == (("a", "g @ bᵀ"), ("b", "aᵀ @ g"))
    assert formulas(a.sum(axis=0)) == (("x", "g"),)
    assert formulas(a.mean()) == (("x", "g · 0.06667"),)  # a 15th: of these lengths, not of others
    assert formulas(tg.tensor(np.ones((2, 1)), requires_grad=True).mean()) == (("x", "g · 0.5"),)
    assert formulas(tg.relu(a)) == (("x", "g where x > 0, else 0"),)
    assert formulas(tg.softmax(a)) == (("x", "y · (g − sum(g · y)[:, None])"),)
    assert formulas(Value(2.0) ** 3) == (("a", "g · 3 · a²"),)  # a number says more than a name
    assert formulas(Value(2.0)) == ()


# The formula is evaluated as Python and compared with the rule that it was read off.

_TO_PYTHON = [
    ("·", "*"), ("−", "-"), ("²", "**2"), ("³", "**3"), ("≥", ">="), ("≤", "<="), ("≠", "!="),
    (" = ", " == "), ("^", "**"),
]  # fmt: skip


def as_python(formula):
    for sign, python in _TO_PYTHON:
        formula = formula.replace(sign, python)
    formula = re.sub(r"√(\w+)", r"sqrt(\1)", formula).replace("√(", "sqrt(")
    formula = re.sub(r"\|(.*?)\|", r"abs(\1)", formula)
    # "a where c, else b" binds weaker than everything, and stands in brackets where it is inside.
    while " where " in formula:
        formula, n = re.subn(
            r"(?:(?<=\()|^)((?:[^()]|\([^()]*(?:\([^()]*\)[^()]*)*\))*?) where (.*?), else ",
            r"(\1) if (\2) else ", formula, count=1,
        )  # fmt: skip
        assert n, formula
    return formula


NAMES = TABLE | {"isnan": math.isnan, "inf": math.inf, "nan": math.nan}
ELEMENTWISE = sorted(
    (p for p in TABLE.values() if p.elementwise and p.differentiable), key=lambda p: p.name
)


@pytest.mark.parametrize("primitive", ELEMENTWISE, ids=lambda p: p.name)
def test_formulas_say_what_the_rules_compute(primitive):
    for sample in samples(primitive):
        reals = [a for a in sample.args if np.asarray(a).dtype.kind == "f"]
        if len(reals) < len(sample.args) or any(np.size(a) == 0 for a in reals):
            continue
        at = [float(np.ravel(a)[0]) for a in reals]
        with np.errstate(all="ignore"):
            y = float(primitive.forward(*at, **sample.static))
            node = primitive(*(tg.tensor(x, requires_grad=True) for x in at), **sample.static)
            names = input_names(primitive, len(at))
            for name, formula in Formulas()(node):
                g = 1.5
                expected = primitive.rule(names.index(name))(g, y, *at, **sample.static)
                known = dict(zip(names, at, strict=True)) | {"g": g, "y": y}
                found = eval(as_python(formula), NAMES | known)
                # Constants in a formula have four digits.
                close = pytest.approx(float(expected), rel=2e-3, nan_ok=True)
                assert float(found) == close, (formula, at)


def test_most_rules_have_a_formula():
    without = []
    for primitive in ELEMENTWISE:
        args = [tg.tensor(0.5, requires_grad=True) for _ in range(primitive.arity or 2)]
        try:
            with np.errstate(all="ignore"):
                node = primitive(*args)
        except TypeError:  # needs keywords
            continue
        if node.primitive is primitive and not Formulas()(node):
            without.append(primitive.name)
    assert len(without) <= 4, without


def test_a_rule_of_a_user_that_cannot_be_read_has_no_formula_and_does_no_harm():
    def rule(g, y, x):
        return g * float(np.asarray(x).sum())  # leaves the symbols

    odd = tg.Primitive(lambda x: x * 2.0, [rule], name="odd", elementwise=True)
    drawing = draw(odd(tg.tensor([1.0, 2.0], requires_grad=True)).sum())
    assert drawing.description.nodes[1].op == "odd"
    assert drawing.description.nodes[1].rules == ()


def test_rules_are_read_on_hover():
    assert "grad of x: g · (1 − y²)" in draw(neuron()).to_dot()


# --- lines and costs -----------------------------------------------------------------------------


def test_the_line_that_computed_a_node_is_on_hover():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with source_lines():
        y = np.sum(np.sin(x))  # this line
    sin = draw(y).description.nodes[1]
    assert re.fullmatch(
        r"test_draw_facts\.py:\d+: y = np\.sum\(np\.sin\(x\)\)  # this line", sin.source
    )
    assert "this line" in draw(y).to_dot()
    assert draw(np.sin(x).sum()).description.nodes[1].source == ""


def test_the_line_names_the_function_of_the_package_that_it_called():
    with source_lines():
        loss = nn.Linear(2, 1, rng=0)(np.ones((3, 2))).sum()
    sources = [v.source for v in draw(loss).description.nodes if v.op == "linear"]
    assert sources[0].endswith("(in Linear.forward)")


def test_a_profile_tells_time_and_memory_and_changes_nothing():
    x = tg.tensor(np.ones((300, 300)), requires_grad=True)
    y = (x @ x).T.sum()
    before = x.grad
    vertices = {v.op: v for v in draw(y, profile=True).description.nodes}
    cost = vertices["matmul"].cost
    assert cost.forward > 0.0
    assert cost.backward > 0.0
    assert cost.kept == 300 * 300 * 8
    assert cost.peak >= cost.kept
    assert vertices["transpose"].cost.kept == 0  # a view
    assert vertices[""].cost is None
    assert x.grad is before
    assert (
        "µs forward" in draw(y, profile=True).to_text()
        or "ms forward" in draw(y, profile=True).to_text()
    )
    assert not tracemalloc.is_tracing()


def test_the_longer_computation_costs_more():
    x = tg.tensor(np.ones((400, 400)), requires_grad=True)
    vertices = draw(np.sum((x @ x)[:2, :2]), profile=True).description.nodes
    costs = {v.op: v.cost for v in vertices if v.cost}
    assert costs["matmul"].forward > 10 * costs["getitem"].forward


def test_a_profile_of_values_and_of_what_has_no_rule():
    costs = [v.cost for v in draw(neuron(), profile=True).description.nodes if v.op]
    assert all(c.forward > 0 and c.backward > 0 for c in costs)
    bare = tg.Primitive(lambda x: x * 2.0, name="bare", elementwise=True)
    drawing = draw(bare(tg.tensor([1.0], requires_grad=True)), profile=True)
    assert drawing.description.nodes[-1].op in ("", "bare")


def test_a_profile_leaves_the_tracing_of_others_alone():
    tracemalloc.start()
    try:
        cost = draw(np.sin(tg.tensor(np.ones(100), requires_grad=True)).sum(), profile=True)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert cost.description.nodes[1].cost.peak == 0


def test_costs_are_written_with_units():
    from tinygrad_nn.draw import Cost

    assert cost_text(Cost(3.2e-10, 0.0, 0, 0)) == "0.32 ns forward, 0 ns back, a view"
    assert cost_text(Cost(2.0, 0.5, 5_000_000, 6_000_000)) == (
        "2 s forward, 500 ms back, keeps 5 MB, peak 6 MB"
    )
    assert cost_text(Cost(9.99e-7, 1e-6, 999, 0)) == "1 µs forward, 1 µs back, keeps 1 kB"


@pytest.mark.parametrize(
    ("count", "said"), [(0, ""), (1, "under 1%"), (100, "10%"), (999, "over 99%"), (1000, "none")]
)
def test_the_share_that_is_not_finite_is_told(count, said):
    x = np.ones(1000)
    x[:count] = np.nan
    text = draw(tg.tensor(x, requires_grad=True) * 1.0).to_text()
    assert (f"{said} {'' if said == 'none' else 'not '}finite" in text) == bool(said)
