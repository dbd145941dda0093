"""Programs of vectors found in graphs of scalars: the same numbers and gradients, in few steps."""

import operator
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_nn as tg
from tinygrad_nn import Value
from tinygrad_nn.errors import CaptureError, ShapeError
from tinygrad_nn.plan.scalars import Program, extract, schedule, vectorise
from tinygrad_nn.plan.scalars.affine import affine, common_shape, periods
from tinygrad_nn.plan.scalars.draft import Draft, home_of
from tinygrad_nn.plan.scalars.grids import aligned, find_grids
from tinygrad_nn.plan.scalars.views import with_views
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.rules import TABLE
from tinygrad_nn.scalar import MLP
from tinygrad_nn.value import add_n

Graph = tuple[list[Value], list[list[Value]]]


def values(rng: random.Random, *shape: int) -> Any:
    if not shape:
        return Value(rng.uniform(-1.0, 1.0))
    return [values(rng, *shape[1:]) for _ in range(shape[0])]


def flat(x: Any) -> list[Value]:
    return [x] if isinstance(x, Value) else [v for y in x for v in flat(y)]


def dot(a: Sequence[Any], b: Sequence[Any]) -> Any:
    return sum(x * y for x, y in zip(a, b, strict=True))


def numbers(nodes: Sequence[Value]) -> np.ndarray:
    return np.array([node.data for node in nodes])


def assert_close(got: Any, expected: np.ndarray, what: str) -> None:
    assert got.shape == expected.shape
    scale = np.maximum(np.abs(expected).max(initial=0.0), 1.0)
    np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=1e-12, err_msg=what)


def checked(roots: list[Value], groups: list[list[Value]]) -> Program:
    """Compare a program's numbers and gradients with those of the graph itself."""
    program = vectorise(extract(roots, groups))
    vectors = [numbers(group) for group in groups]
    assert_close(program.run(*vectors), numbers(roots), "numbers")

    weights = np.random.default_rng(0).uniform(0.5, 1.5, len(roots))
    for leaf in flat(groups):
        leaf.grad = 0.0
    total = sum((float(w) * root for w, root in zip(weights, roots, strict=True)), Value(0.0))
    total.backward()
    tensors = [tg.tensor(x, requires_grad=True) for x in vectors]
    y = program.run(*tensors)
    if isinstance(y, tg.Tensor) and y.requires_grad:
        (y * weights).sum().backward()
    for x, group in zip(tensors, groups, strict=True):
        grad = np.zeros(len(group)) if x.grad is None else x.grad
        assert_close(grad, np.array([leaf.grad for leaf in group]), "gradients")
    return program


def calls(program: Program) -> Counter[str]:
    return Counter(
        step.function.name if isinstance(step.function, Primitive) else step.function.__name__
        for step in program.steps
    )


# --- micrograd's demo -----------------------------------------------------------------------------


class Unit:
    """A neuron as micrograd writes it: a chain of additions that starts with the bias."""

    def __init__(self, rng: random.Random, n: int, nonlin: bool) -> None:
        self.w, self.b, self.nonlin = values(rng, n), Value(0.0), nonlin

    def __call__(self, x: list[Value]) -> Value:
        act = sum((wi * xi for wi, xi in zip(self.w, x, strict=True)), self.b)
        return act.relu() if self.nonlin else act


class Network:
    def __init__(self, rng: random.Random, n_in: int, sizes: list[int]) -> None:
        self.layers = [
            [Unit(rng, n, i < len(sizes) - 1) for _ in range(size)]
            for i, (n, size) in enumerate(zip([n_in, *sizes[:-1]], sizes, strict=True))
        ]

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = [unit(x) for unit in layer]
        return x[0] if len(x) == 1 else x

    def parameters(self) -> list[Value]:
        return [p for layer in self.layers for unit in layer for p in (*unit.w, unit.b)]


def moons(model: Any, n: int, constant: bool = False, labels: bool = False) -> Graph:
    rng = random.Random(1)
    x = values(rng, n, 2)
    y = [Value(float(rng.choice((-1, 1)))) for _ in range(n)]
    losses = [
        (1 + -(yi if labels else int(yi.data)) * model(xi)).relu()
        for xi, yi in zip(x, y, strict=True)
    ]
    loss = sum(losses) * (1.0 / n) + 1e-4 * sum(p * p for p in model.parameters())
    groups = [model.parameters()]
    return [loss], groups + [flat(x)] * (not constant) + [y] * labels


MODELS: dict[str, Callable[[], Any]] = {
    "micrograd": lambda: Network(random.Random(0), 2, [16, 16, 1]),
    "scalar": lambda: MLP(2, [16, 16, 1], rng=0),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("labels", [False, True])
def test_moons_is_three_matrix_products(model: str, constant: bool, labels: bool) -> None:
    program = checked(*moons(MODELS[model](), 100, constant, labels))
    assert len(program.steps) <= 31
    products = [step.shape for step in program.steps if step.function is np.matmul]
    assert products == [(100, 16), (), (100, 16), (100,)]
    assert calls(program)["take"] == 0
    assert program.nodes / len(program.steps) > 1000


def test_parameters_are_cut_into_disjoint_pieces() -> None:
    program = vectorise(extract(*moons(MODELS["micrograd"](), 10)))
    cuts = [s.options[0] for s in program.steps if s.inputs == (0,) and s.is_view]
    assert cuts == [(slice(0, 48),), (slice(48, 320),), (slice(320, 336),), (336,)]


def test_described_in_formulas() -> None:
    program = vectorise(extract(*moons(MODELS["micrograd"](), 100)))
    assert program.describe(["P", "X"]) == [
        "a = P[0:48].reshape(16, 3)",
        "b = relu(X.reshape(100, 2) @ a[..., 0:2].T + a[..., 2]): 100 x 16, 1,600 sums of 2 terms",
        "c = P[48:320].reshape(16, 17)",
        "d = relu(b @ c[..., 0:16].T + c[..., 16]): 100 x 16, 1,600 sums of 16 terms",
        "e = relu((d @ P[320:336] + P[336]) * constant(100) + 1): 100, 100 sums of 16 terms",
        "result = (P @ P * 0.0001 + sum(e, axis=-1) * 0.01).reshape(1,): 1, 1 sum of 337 terms",
    ]


@pytest.mark.parametrize("seed", range(5))
def test_writing_order_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    w, b, x = values(rng, 8, 5), values(rng, 8), values(rng, 30, 5)
    outputs = []
    for row in x:
        for weights, bias in zip(w, b, strict=True):
            terms = [
                p * q if rng.random() < 0.5 else q * p for p, q in zip(weights, row, strict=True)
            ] + [bias]
            rng.shuffle(terms)
            while len(terms) > 1:  # any tree
                i = rng.randrange(len(terms) - 1)
                terms[i : i + 2] = [terms[i] + terms[i + 1]]
            outputs.append(terms[0].tanh())
    parameters, data = flat(w) + b, flat(x)
    ordered = checked([sum(outputs)], [parameters, data])
    assert len(ordered.steps) <= 11
    assert calls(ordered)["take"] == 0
    rng.shuffle(parameters)
    rng.shuffle(data)
    rng.shuffle(outputs)
    shuffled = checked([sum(outputs)], [parameters, data])
    assert [s.shape for s in shuffled.steps if s.function is np.matmul] == [(30, 8)]
    assert len(shuffled.steps) <= 11


# --- other programs -------------------------------------------------------------------------------


def update(rng: random.Random) -> Graph:
    p, g, lr = values(rng, 337), values(rng, 337), Value(0.1)
    return [a - lr * b for a, b in zip(p, g, strict=True)], [p, g, [lr]]


def constant_update(rng: random.Random) -> Graph:
    p, g = values(rng, 337), values(rng, 337)
    return [a - 0.1 * b for a, b in zip(p, g, strict=True)], [p, g]


def adam(rng: random.Random) -> Graph:
    p, g, m, v = (values(rng, 50) for _ in range(4))
    m2 = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
    v2 = [0.99 * a * a + 0.01 * b**2 for a, b in zip(v, g, strict=True)]
    steps = [a / ((b / 0.2) ** 0.5 + 1e-8) for a, b in zip(m2, v2, strict=True)]
    return [a - 0.1 * b for a, b in zip(p, steps, strict=True)] + m2 + v2, [p, g, m, v]


def recurrent(rng: random.Random) -> Graph:
    wx, wh, b = values(rng, 8, 3), values(rng, 8, 8), values(rng, 8)
    x = values(rng, 20, 5, 3)
    loss: Any = 0.0
    for sequence in x:
        h = [Value(0.0)] * 8
        for inputs in sequence:
            h = [(dot(wx[i], inputs) + dot(wh[i], h) + b[i]).tanh() for i in range(8)]
        loss = loss + dot(h, h)
    return [loss], [flat([[*wx[i], *wh[i], b[i]] for i in range(8)]), flat(x)]


def softmax(rng: random.Random) -> Graph:
    w, x = values(rng, 6, 4), values(rng, 25, 4)
    loss: Any = 0.0
    for i, row in enumerate(x):
        e = [dot(weights, row).exp() for weights in w]
        loss = loss - (e[i % 6] / sum(e)).log()
    return [loss / 25], [flat(w), flat(x)]


def attention(rng: random.Random) -> Graph:
    x, w = values(rng, 7, 4), values(rng, 3, 4, 4)
    q, k, v = ([[dot(row, xi) for row in matrix] for xi in x] for matrix in w)
    out = []
    for qi in q:
        e = [(dot(qi, kj) * 0.5).exp() for kj in k]
        a = [t / sum(e) for t in e]
        out += [dot(a, column) for column in zip(*v, strict=True)]
    return out, [flat(w), flat(x)]


def regression(rng: random.Random) -> Graph:
    w, b, x, y = values(rng, 3), Value(0.1), values(rng, 40, 3), values(rng, 40)
    errors = [(dot(w, xi) + b - yi) ** 2 for xi, yi in zip(x, y, strict=True)]
    return [sum(errors) / 40], [[*w, b], flat(x), y]


def windows(rng: random.Random) -> Graph:
    w, x = values(rng, 3), values(rng, 40)
    return [dot(w, x[i : i + 3]).relu() for i in range(38)], [w, x]


def outer(rng: random.Random) -> Graph:
    a, b = values(rng, 6), values(rng, 9)
    return [x * y for x in a for y in b], [a, b]


def gaussians(rng: random.Random) -> Graph:
    x, mean, width = values(rng, 30, 2), values(rng, 4, 2), values(rng, 4)
    densities = []
    for xi in x:
        squares = [sum((a - c) ** 2 for a, c in zip(xi, m, strict=True)) for m in mean]
        densities.append(
            sum((-s / (2 * w * w + 1.0)).exp() for s, w in zip(squares, width, strict=True))
        )
    return densities, [flat(mean) + width, flat(x)]


def many_products(rng: random.Random) -> Graph:
    a, b = values(rng, 12, 3, 4), values(rng, 12, 4, 3)
    out = [dot(row, column) for m, n in zip(a, b, strict=True)
           for row in m for column in zip(*n, strict=True)]  # fmt: skip
    return out, [flat(a), flat(b)]


def signs(rng: random.Random) -> Graph:
    w, x = values(rng, 6, 5), values(rng, 20, 5)
    return [sum((-1) ** k * w[i][k] * row[k] for k in range(5)) for row in x for i in range(6)], [
        flat(w),
        flat(x),
    ]


def differences_of_products(rng: random.Random) -> Graph:
    w, x = values(rng, 6, 5), values(rng, 20, 5)
    out = []
    for row in x:
        for weights in w:
            t = [p * q for p, q in zip(weights, row, strict=True)]
            out.append(t[0] - t[1] + t[2] - t[3] - t[4])
    return out, [flat(w), flat(x)]


def permuted_differences(rng: random.Random) -> Graph:
    roots, groups = differences_of_products(rng)
    for group in groups:
        rng.shuffle(group)
    return roots, groups


def subtraction(rng: random.Random) -> Graph:
    a, b = values(rng, 2, 9)
    return [y - x for x, y in zip(a, b, strict=True)], [a, b]


def doubled(rng: random.Random) -> Graph:
    x = values(rng, 9)
    return [a + a for a in x], [x]


def powers(rng: random.Random) -> Graph:
    x = [Value(rng.uniform(1.0, 2.0)) for _ in range(5)]
    return [a**k for a in x for k in (1.5, 2.5, -1)], [x]


def maxima(rng: random.Random) -> Graph:
    groups = values(rng, 5, 3)
    maximum = TABLE["maximum"]
    pairs = [maximum(a, b) for x, y in pairwise(groups)
             for a, b in zip(x, y, strict=True)]  # fmt: skip
    return pairs + [maximum(a, 0.1) for x in groups for a in x], groups


def repeated(rng: random.Random) -> Graph:
    x = values(rng, 10)
    return [sum([a.tanh() * a, a, a, a, a, a]) + 0.0 for a in x for _ in range(3)], [x]


def shared_sums(rng: random.Random) -> Graph:
    x = values(rng, 30)
    partial = [x[i] + x[i + 1] + 1.0 for i in range(29)]
    return [p * p - p for p in partial] + partial, [x]


def leaves_and_constants(rng: random.Random) -> Graph:
    a, b = values(rng, 2), values(rng, 1)
    return [a[1], b[0], a[0], Value(3.0), a[1], Value(2.0) * 3.0], [a, b]


def constants_alone(rng: random.Random) -> Graph:
    return [Value(2.0) * 3.0 + 1.0], [[]]


def results_as_leaves(rng: random.Random) -> Graph:
    hidden = [(v * 2.0).exp() for v in values(rng, 5)]
    return [h * h + 1.0 for h in hidden], [hidden]


#: Program, and how many steps it may have.
PROGRAMS: list[tuple[Callable[[random.Random], Graph], int]] = [
    (update, 2), (constant_update, 2), (adam, 15), (recurrent, 42), (softmax, 14),
    (attention, 17), (regression, 9), (windows, 3), (outer, 3), (gaussians, 20),
    (many_products, 7), (signs, 7), (differences_of_products, 6), (repeated, 9),
    (shared_sums, 9),
    (permuted_differences, 10), (subtraction, 1), (doubled, 1), (powers, 8),
    (maxima, 10), (leaves_and_constants, 3), (constants_alone, 0), (results_as_leaves, 2),
]  # fmt: skip


@pytest.mark.parametrize(("build", "most"), PROGRAMS, ids=[f.__name__ for f, _ in PROGRAMS])
def test_programs(build: Callable[[random.Random], Graph], most: int) -> None:
    program = checked(*build(random.Random(3)))
    assert len(program.steps) <= most, "\n".join(program.describe())


# --- every primitive ------------------------------------------------------------------------------

SCALAR = [p for p in TABLE.values() if p.elementwise and p.scalar is not None and p.differentiable]


@pytest.mark.parametrize("primitive", SCALAR, ids=lambda p: p.name)
def test_every_primitive_of_scalars_is_one_call(primitive: Primitive) -> None:
    rng = random.Random(5)
    domain = primitive.domain or ((-3.0, 3.0),) * 2
    groups = [[Value(rng.uniform(*interval)) for _ in range(6)] for interval in domain]
    program = checked([primitive(*args) for args in zip(*groups, strict=True)], groups)
    assert len(program.steps) <= 1
    if len(domain) == 2:
        fixed = rng.uniform(*domain[1])
        program = checked([primitive(a, fixed) for a in groups[0]], groups[:1])
        assert len(program.steps) <= 1
        mixed = [primitive(a, rng.uniform(*domain[1])) for a in groups[0]]
        assert len(checked(mixed, groups[:1]).steps) <= 1
        checked([primitive(rng.uniform(*domain[0]), b) for b in groups[1]], groups[1:])


def test_a_primitive_of_the_users() -> None:
    cube = tg.primitive(
        rules=[lambda g, y, x: 3.0 * g * x * x], elementwise=True, scalar=lambda x: x * x * x
    )(lambda x: x * x * x)
    x = values(random.Random(0), 5)
    assert len(checked([cube(v) for v in x], [x]).steps) == 1


# --- random graphs --------------------------------------------------------------------------------

NAMES = ("relu", "tanh", "exp", "sin", "cos", "sigmoid", "absolute", "negative")
UNARY = [TABLE[name] for name in NAMES]


def random_graph(rng: random.Random) -> Graph:
    leaves = values(rng, rng.randint(1, 12))
    cut = rng.randint(0, len(leaves))
    constants = [Value(rng.choice([0.0, 1.0, -1.0, 2.0, 0.3])) for _ in range(rng.randint(0, 3))]
    pool = leaves + constants

    def more() -> Value:
        a = rng.choice(pool)
        b: Any = rng.choice(pool) if rng.random() < 0.8 else rng.choice([2.0, -1.0, 3, 0.7])
        make: list[Callable[[], Any]] = [
            lambda: a + b, lambda: b + a, lambda: a - b, lambda: b - a, lambda: a * b,
            lambda: b * a, lambda: a / (abs(b) + 1.5), lambda: a / -3.0, lambda: a**2,
            lambda: (abs(a) + 0.5) ** rng.choice([2, 0.5, -1, 1.7]),
            lambda: TABLE["maximum"](a, b), lambda: TABLE["arctan2"](a, abs(b) + 0.1),
            lambda: add_n([rng.choice(pool) for _ in range(rng.randint(1, 6))]),
            lambda: sum(rng.choice(pool) * rng.choice(pool) for _ in range(rng.randint(1, 5))),
            lambda: rng.choice(UNARY)(a), lambda: rng.choice(UNARY)(a),
        ]  # fmt: skip
        return rng.choice(make)()

    for _ in range(rng.randint(1, rng.choice([10, 60, 200]))):
        node = more()
        pool.append(node.tanh() if abs(node.data) > 20.0 else node)
    roots = [rng.choice(pool) for _ in range(rng.randint(1, 6))]
    return roots, [leaves[:cut], leaves[cut:]]


@pytest.mark.parametrize("seed", range(150))
def test_random_graphs(seed: int) -> None:
    checked(*random_graph(random.Random(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_random_wide_graphs(seed: int) -> None:
    rng = random.Random(seed)
    layer = leaves = values(rng, 200)
    for _ in range(6):
        kinds: list[Callable[[Value, Value, Value], Value]] = [
            lambda a, b, c: (a * b - c) * 0.5, lambda a, b, c: (a + b + 0.1).tanh(),
            lambda a, b, c: add_n([a, b, c, a * c]) * 0.3, lambda a, b, c: a / (b * b + 1.0),
        ]  # fmt: skip
        layer = [rng.choice(kinds)(*rng.choices(layer + leaves, k=3)) for _ in range(200)]
    checked(layer, [leaves])


# --- extraction -----------------------------------------------------------------------------------


def test_what_is_computed_from_constants_is_a_constant() -> None:
    x = Value(2.0)
    c = (Value(3.0) * 2.0).exp() + Value(1.0)
    program = checked([x * c], [[x]])
    assert calls(program) == {"multiply": 1}


def test_a_divisor_without_inverse_stays_one() -> None:
    x = Value(3e-320)
    program = vectorise(extract([x / 1.5e-320], [[x]]))
    np.testing.assert_allclose(program.run(numbers([x])), [2.0], rtol=1e-3)


def test_signed_zeros_and_nans_among_constants() -> None:
    x = Value(-1.0)
    arctan2, nan = TABLE["arctan2"], float("nan")
    zeros = [arctan2(0.0 * 1.0, x), arctan2(-0.0, x), x + 0.0, x - 0.0, x * 0.0, x * -0.0]
    program = vectorise(extract(zeros, [[x]]))
    np.testing.assert_array_equal(program.run(numbers([x])), numbers(zeros))
    products = [x * 0.0, x * -0.0]
    program = vectorise(extract(products, [[x]]))
    np.testing.assert_array_equal(program.run(numbers([x])), [0.0, 0.0])
    nans = [x * nan, x * nan, x + nan, x + nan, arctan2(x, nan), arctan2(x, nan), x * 2.0]
    program = vectorise(extract(nans, [[x]]))
    np.testing.assert_array_equal(program.run(numbers([x])), numbers(nans))


def test_numbers_of_leaves_are_not_kept() -> None:
    x, y = values(random.Random(0), 2, 8)
    program = vectorise(extract([dot(x, y)], [x, y]))
    a, b = np.arange(8.0), np.arange(8.0) + 1.0
    np.testing.assert_allclose(program.run(a, b), [a @ b])


def test_nodes_from_before_are_constants() -> None:
    x, w = Value(2.0), Value(3.0)
    before = w * 5.0
    program = vectorise(extract([x * before], [[x]], stop=before.serial))
    np.testing.assert_array_equal(program.run(np.array([10.0])), [150.0])
    assert len(extract([x * before], [[x]], stop=before.serial)) == 3
    with_all = extract([x * before], [[x]])
    assert [p.name for p in with_all.primitives] == ["multiply"]


def test_numbers_out_of_arrays_are_refused() -> None:
    t = tg.tensor([1.0, 2.0], requires_grad=True)
    total = TABLE["sum"](t)
    node = tg.value.item(total)
    with pytest.raises(CaptureError, match=r"out of an array.*leaves"):
        extract([node * 2.0], [[]])
    assert len(vectorise(extract([node * 2.0], [[node]])).steps) == 1


def test_leaves_given_twice_are_refused() -> None:
    x = Value(1.0)
    with pytest.raises(ValueError, match="once"):
        extract([x * x], [[x], [x]])


def test_vectors_of_other_lengths_are_refused() -> None:
    x = values(random.Random(0), 3)
    program = vectorise(extract([sum(x)], [x]))
    with pytest.raises(ShapeError, match=r"lengths \[3\]"):
        program.run(np.ones(4))


def test_long_chains_need_no_recursion_and_few_steps() -> None:
    x = Value(0.5)
    total: Any = x
    for _ in range(20_000):
        total = total + x * 1e-4
    plan = schedule(extract([total], [[x]]))
    assert plan.width > 10_000
    assert len(vectorise(plan).steps) <= 4
    deep = x
    for _ in range(300):
        deep = (deep * 1.01).tanh()
    narrow = schedule(extract([deep], [[x]]))
    assert narrow.width < 2
    np.testing.assert_allclose(vectorise(narrow).run(np.array([0.5])), [deep.data], rtol=1e-12)


def test_equal_nodes_are_computed_once() -> None:
    a, b = values(random.Random(0), 2)
    program = checked([(a * b).tanh() * 2.0, (b * a).tanh() * 2.0], [[a], [b]])
    assert calls(program)["tanh"] == calls(program)["multiply"] - 1 == 1


# --- parts ----------------------------------------------------------------------------------------


def test_grids_in_any_order() -> None:
    rng = np.random.default_rng(0)
    units, samples = np.arange(15).reshape(5, 3) + 100, np.arange(21).reshape(7, 3) + 200
    cells = [(i, j) for i in range(7) for j in range(5)]
    rng.shuffle(cells)
    orders = [rng.permutation(3) for _ in cells]
    u = np.array([units[j][o] for (_, j), o in zip(cells, orders, strict=True)])
    v = np.array([samples[i][o] for (i, _), o in zip(cells, orders, strict=True)])
    (grid,) = find_grids(u, v)
    assert grid.shape == (1, 7, 5)
    found = aligned(u[grid], v[grid])
    assert found is not None
    columns, rows = found
    pairs = {(int(a), int(b)) for a, b in zip(u.ravel(), v.ravel(), strict=True)}
    for row in rows[0]:
        for column in columns[0]:
            assert {(int(a), int(b)) for a, b in zip(column, row, strict=True)} <= pairs
    wrong = u.copy()
    wrong[0] = wrong[0][::-1]
    assert aligned(wrong[grid], v[grid]) is None


AXES = st.lists(st.tuples(st.integers(1, 4), st.integers(-12, 12)), min_size=1, max_size=3)


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), axes=AXES, shift=st.integers(0, 9)
)
def test_affine_reads_are_what_they_say(
    shape: list[int], axes: list[tuple[int, int]], shift: int
) -> None:
    places = np.zeros([n for n, _ in axes], np.int64)
    for axis, (n, stride) in enumerate(axes):
        places += (np.arange(n) * stride).reshape(
            [-1 if i == axis else 1 for i in range(len(axes))]
        )
    places += shift - places.min()
    assume(places.max() < np.prod(shape))
    base, strides = affine(places) or (None, [])
    assert base is not None
    assert all(s == t for s, (n, t) in zip(strides, axes, strict=True) if n > 1)
    draft = Draft([int(np.prod(shape))])
    source = draft.emit(np.reshape, (0,), tuple(shape), tuple(shape))
    slot = draft.read(draft.addresses(source)[places], keep=tuple(range(-places.ndim, 0)))
    assert home_of(draft.addresses(source)[0]) == source
    steps, result = with_views(draft, slot)
    x = np.arange(np.prod(shape)) * 10.0
    arrays = {0: x}
    for step in steps:
        arrays[step.output] = step.function(*(arrays[i] for i in step.inputs), *step.options)
        assert arrays[step.output].shape == step.shape
    np.testing.assert_array_equal(arrays[result], x[places])


@pytest.mark.parametrize(
    ("places", "functions"),
    [
        (np.arange(12), []),
        (np.arange(3, 7), [operator.getitem]),
        (np.arange(12).reshape(4, 3), [np.reshape]),
        (np.arange(12).reshape(4, 3)[:, :2], [np.reshape, operator.getitem]),
        (np.arange(12).reshape(4, 3)[:, 2], [np.reshape, operator.getitem]),
        (np.arange(12).reshape(4, 3).T, [np.reshape, np.transpose]),
        (np.array([0, 3, 1]), [np.take]),
        (np.arange(4)[:, None] + np.arange(3), [np.take]),
        (np.arange(2)[:, None, None] * 6 + np.arange(2)[:, None] * 2 + np.arange(3), [np.take]),
    ],
    ids=["all", "slice", "reshape", "columns", "column", "transpose", "any", "windows", "inner"],
)
def test_reads_are_views_where_they_can_be(places: np.ndarray, functions: list[Any]) -> None:
    draft = Draft([12])
    steps, _ = with_views(draft, draft.read(places))
    if steps:
        assert [step.function for step in steps] == functions


def test_little_is_copied_of_large_arrays() -> None:
    draft = Draft([100] * 12)
    wanted = np.array([draft.addresses(i)[k] for k in (50, 7) for i in range(12)])
    slot = draft.read_any(wanted)
    steps, result = with_views(draft, slot)
    arrays = {i: np.arange(100.0) + 1000 * i for i in range(12)}
    for step in steps:
        arrays[step.output] = step.function(*(arrays[i] for i in step.inputs), *step.options)
        assert step.is_view or step.shape == (24,)
    np.testing.assert_array_equal(
        arrays[result], [k + 1000 * i for k in (50, 7) for i in range(12)]
    )


def test_periods_and_common_shapes() -> None:
    assert periods(np.array([0, 1, 5, 6, 10, 11])) == [2]
    assert periods(np.array([0, 1, 5, 7])) is None
    assert periods(np.array([0, 0, 0, 1])) is None
    assert common_shape(12, [[3], None, [6]]) == (2, 2, 3)
    assert common_shape(12, [[4], [6]]) == (3, 4)
    assert common_shape(1, []) == ()
