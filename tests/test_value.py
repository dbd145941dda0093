"""Value: as micrograd's, in company with arrays and tensors, and on its own."""

import math
import operator
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_nn as tg
from tinygrad_nn import Node, NotDifferentiableError, Tensor, Value, add_n, tensor
from tinygrad_nn.backward import pull_back
from tinygrad_nn.scalar import MLP, Neuron

OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}

# --- against micrograd ---------------------------------------------------------------------------


def _program(kind: Any, seed: int) -> tuple[list[Any], Any]:
    """Build the same random expression of micrograd's operations from either class."""
    choose = random.Random(seed)
    leaves = [kind(choose.uniform(-2.0, 2.0)) for _ in range(4)]
    pool = list(leaves)
    for _ in range(25):
        a, b = choose.choice(pool), choose.choice(pool)
        number = choose.choice([2, -1.5, 0.25, 3])
        pool.append(
            choose.choice(
                [
                    lambda a=a, b=b: a + b,
                    lambda a=a, b=b: a * b * 0.5,
                    lambda a=a, b=b: a - b,
                    lambda a=a, b=b: a / (b * b + 1.0),
                    lambda a=a, n=number: a + n,
                    lambda a=a, n=number: n + a,
                    lambda a=a, n=number: n - a,
                    lambda a=a, n=number: a - n,
                    lambda a=a, n=number: n * a * 0.3,
                    lambda a=a, n=number: n / (a * a + 2),
                    lambda a=a, n=number: a / n,
                    lambda a=a: (a * 0.1) ** 2,
                    lambda a=a: (a * a + 1) ** -0.5,
                    lambda a=a: -a,
                    lambda a=a: a.relu(),
                ]
            )()
        )
    total = pool[-1]
    for node in pool[-6:-1]:
        total = total + node
    return leaves, total


@pytest.mark.parametrize("seed", range(40))
def test_expressions_agree_with_micrograd(seed: int) -> None:
    engine = pytest.importorskip("micrograd.engine", reason="micrograd is not installed")
    ours, y = _program(Value, seed)
    theirs, z = _program(engine.Value, seed)
    assert_allclose(y.data, z.data, rtol=1e-13)  # micrograd divides by a power of -1
    y.backward()
    z.backward()
    for a, b in zip(ours, theirs, strict=True):
        assert_allclose(a.grad, b.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", range(40))
def test_expressions_agree_with_those_of_tensors(seed: int) -> None:
    values, y = _program(Value, seed)
    tensors, z = _program(lambda x: tensor([[x]], requires_grad=True), seed)
    y.backward()
    z.backward()
    assert_allclose(z.data, [[y.data]], rtol=1e-13)
    for v, t in zip(values, tensors, strict=True):
        unused = t.grad is None
        assert_allclose(0.0 if unused else t.grad.item(), v.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_networks_agree_with_micrograd(seed: int) -> None:
    nn = pytest.importorskip("micrograd.nn", reason="micrograd is not installed")
    random.seed(seed)
    theirs = nn.MLP(3, [4, 4, 1])
    random.seed(seed)
    ours = MLP(3, [4, 4, 1])
    assert repr(ours) == repr(theirs)
    rows = [[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]]
    for step in range(3):
        y = sum((1 - ours(x)) ** 2 for x in rows)
        z = sum((1 - theirs(x)) ** 2 for x in rows)
        assert_allclose(y.data, z.data, rtol=1e-12)
        ours.zero_grad()
        theirs.zero_grad()
        y.backward()
        z.backward()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_allclose(p.data, q.data, rtol=1e-12, err_msg=f"{step=}")
            assert_allclose(p.grad, q.grad, rtol=1e-12, atol=1e-13)
            p.data -= 0.05 * p.grad
            q.data -= 0.05 * q.grad


def test_micrograd_attributes() -> None:
    a, b = Value(2.0), Value(-3.0)
    y = a * b + a
    assert y._op == "+"
    assert a in y._prev
    assert {v.data for v in y._prev} == {-6.0, 2.0}
    assert a._prev == set()
    assert a._op == ""
    assert a.relu()._op == "ReLU"
    assert (a**2)._op in ("**", "**2")
    assert repr(a) == "Value(data=2.0, grad=0.0)"
    y.backward()
    assert (y.grad, a.grad, b.grad) == (1.0, -2.0, 2.0)


def test_the_readme_of_micrograd() -> None:
    a, b = Value(-4.0), Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    g.backward()
    assert f"{g.data:.4f}" == "24.7041"
    assert f"{a.grad:.4f}" == "138.8338"
    assert f"{b.grad:.4f}" == "645.5773"


# --- in company ----------------------------------------------------------------------------------

#: What a Value meets: a maker, and whether a gradient flows into it.
PARTNERS: dict[str, Callable[[], Any]] = {
    "int": lambda: 2,
    "float": lambda: 1.5,
    "bool": lambda: True,
    "np.float64": lambda: np.float64(1.5),
    "np.float32": lambda: np.float32(1.5),
    "np.int64": lambda: np.int64(2),
    "0-d array": lambda: np.array(1.5),
    "array": lambda: np.array([0.5, 1.5, 2.0]),
    "empty array": lambda: np.zeros((0, 2)),
    "int array": lambda: np.array([[1], [2]]),
    "float32 array": lambda: np.array([0.5, 1.5], np.float32),
    "Value": lambda: Value(1.5),
    "tensor": lambda: tensor([0.5, 1.5, 2.0], requires_grad=True),
    "0-d tensor": lambda: tensor(1.5, requires_grad=True),
    "float32 tensor": lambda: tensor([0.5, 1.5], np.float32, requires_grad=True),
    "float16 tensor": lambda: tensor([0.5, 1.5], np.float16, requires_grad=True),
    "constant tensor": lambda: tensor([0.5, 1.5]),
    "result": lambda: tensor([0.5, 1.5], requires_grad=True) * 1.0,
}


def _number(x: Any) -> Any:
    if isinstance(x, np.floating):
        return float(x)  # a Value computes in double precision, whatever it meets
    return x.data if isinstance(x, Node) else x


@pytest.mark.parametrize("first", [True, False], ids=["value first", "value second"])
@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("symbol", OPERATORS)
def test_operators(symbol: str, partner: str, first: bool) -> None:
    f = OPERATORS[symbol]
    other, v = PARTNERS[partner](), Value(1.25)
    y = f(v, other) if first else f(other, v)
    expected = f(1.25, _number(other)) if first else f(_number(other), 1.25)

    alone = isinstance(other, int | float | np.generic | Value)
    assert type(y) is (Value if alone else Tensor)
    if alone:
        assert type(y.data) is float
    else:
        assert y.dtype == np.asarray(expected).dtype
        assert y.shape == np.shape(expected)
    assert_allclose(_number(y), np.asarray(expected, dtype=np.asarray(y.data).dtype), rtol=1e-15)

    # Both derivatives, by central differences in double precision.
    (y if alone else np.sum(y)).backward()
    b = np.asarray(_number(other), float)
    eps = float(np.finfo(np.asarray(y.data).dtype).eps)
    h = 1e-6

    def g(a: Any, b: Any) -> Any:
        return f(a, b) if first else f(b, a)

    assert type(v.grad) is float
    slope = np.sum(g(1.25 + h, b) - g(1.25 - h, b)) / (2 * h)
    assert_allclose(v.grad, slope, rtol=1e-6 + 4 * eps)
    if isinstance(other, Value) or (
        isinstance(other, Tensor) and other.is_leaf and other.requires_grad
    ):
        slope = (g(1.25, b + h) - g(1.25, b - h)) / (2 * h)
        assert_allclose(other.grad, slope, rtol=1e-6 + 4 * eps)
        assert np.asarray(other.grad).dtype == np.asarray(other.data).dtype


@pytest.mark.parametrize(
    "a",
    [Value(2.0), 3.0, np.array([1.0, 2.0]), tensor([1.0, 2.0])],
    ids=["value", "float", "array", "tensor"],
)
def test_comparisons(a: Any) -> None:
    v = Value(1.5)
    for f in (operator.lt, operator.le, operator.gt, operator.ge):
        for y, expected in ((f(v, a), f(1.5, _number(a))), (f(a, v), f(_number(a), 1.5))):
            assert_array_equal(_number(y), expected)
    assert np.greater(v, a) is not None
    assert v == v
    assert len({v, v}) == 1


def test_numpy_functions_of_a_value() -> None:
    v = Value(0.5)
    for f in (np.exp, np.tanh, np.sin, np.sqrt, np.log, np.square, np.negative, np.absolute):
        y = f(v)
        assert type(y) is Value
        assert_allclose(y.data, f(0.5), rtol=1e-15)
    assert type(np.maximum(v, 0.0)) is Value
    assert type(np.where(v > 0, v, 0.0)) is Value
    assert type(np.where(np.float64(1.0) > 0, v, 0.0)) is Value
    assert type(np.clip(v, 0.0, 1.0)) is Value
    assert np.isnan(v) is False
    assert np.sign(v) == 1.0
    assert np.greater(v, 0.1) is True


def test_values_become_arrays_by_stacking() -> None:
    values = [Value(1.0), Value(2.0), Value(3.0)]
    y = np.sum(np.stack(values) * np.array([1.0, 10.0, 100.0]))
    assert isinstance(y, Tensor)
    y.backward()
    assert [v.grad for v in values] == [1.0, 10.0, 100.0]
    assert all(type(v.grad) is float for v in values)


@pytest.mark.parametrize("f", [np.sum, np.mean, np.max, tg.logsumexp, np.ravel])
def test_a_value_is_a_0d_array_to_what_is_not_elementwise(f: Any) -> None:
    v = Value(2.0)
    y = f(v)
    assert isinstance(y, Tensor)
    np.sum(y).backward()
    assert v.grad == 1.0


def test_gradient_through_values_and_tensors_in_turn() -> None:
    v, x = Value(0.5), tensor([1.0, 2.0], requires_grad=True)
    y = np.sum(x * v) * v.exp() + v  # a tensor again
    z = np.tanh(y) * v
    z.backward()

    def f(v: float, x: Any) -> float:
        return float(np.tanh(np.sum(x * v) * np.exp(v) + v) * v)

    h = 1e-6
    assert_allclose(v.grad, (f(0.5 + h, x.data) - f(0.5 - h, x.data)) / (2 * h), rtol=1e-8)
    for i in range(2):
        e = h * np.eye(2)[i]
        slope = (f(0.5, x.data + e) - f(0.5, x.data - e)) / (2 * h)
        assert_allclose(x.grad[i], slope, rtol=1e-8)


# --- alone ---------------------------------------------------------------------------------------

METHODS = ["relu", "tanh", "sigmoid", "exp", "log", "sqrt", "sin", "cos", "abs"]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("at", [0.7, 2.0])
def test_methods(name: str, at: float) -> None:
    v = Value(at)
    y = getattr(v, name)()
    y.backward()
    h = 1e-6
    slope = (getattr(Value(at + h), name)().data - getattr(Value(at - h), name)().data) / (2 * h)
    assert type(v.grad) is float
    assert_allclose(v.grad, slope, rtol=1e-8)


@pytest.mark.parametrize("n", range(1, 6))
def test_add_n(n: int) -> None:
    values = [Value(0.1 * (i + 1)) for i in range(n)]
    y = add_n(values)
    assert y.data == sum(v.data for v in values)
    (y * 3.0).backward()
    assert [v.grad for v in values] == [3.0] * n
    v = Value(2.0)
    add_n([v] * n).backward()
    assert v.grad == n


@pytest.mark.parametrize(
    "terms",
    [
        [Value(1.0), np.ones(2)],
        [np.ones(2), Value(1.0), 2.0],
        [tensor([1.0, 2.0]), Value(1.0)],
        [1.0, Value(2.0)],
    ],
    ids=["array", "array first", "tensor", "number first"],
)
def test_add_n_of_a_mixture(terms: list[Any]) -> None:
    y = add_n(terms)
    v = next(t for t in terms if isinstance(t, Value))
    v.grad = 0.0
    assert_array_equal(_number(y), sum(_number(t) for t in terms))
    np.sum(y).backward()
    assert v.grad == np.size(_number(y))


@pytest.mark.parametrize("nin", [1, 2, 3])
def test_neurons_of_few_inputs(nin: int) -> None:
    neuron = Neuron(nin, nonlin=False, rng=0)
    neuron([2.0] * nin).backward()
    assert [p.grad for p in neuron.parameters()] == [2.0] * nin + [1.0]


def test_a_negative_base_with_a_fractional_exponent_is_nan_and_never_complex() -> None:
    v = Value(-1.0)
    with np.errstate(invalid="ignore"):
        y = v**0.5
        y.backward()
    assert math.isnan(y.data)
    assert type(v.grad) is float
    assert math.isnan(v.grad)


def test_overflow_is_infinite_with_a_warning_and_never_an_exception() -> None:
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert Value(1000.0).exp().data == math.inf
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert (1.0 / Value(0.0)).data == math.inf
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert Value(0.0).log().data == -math.inf


def test_bad_operands() -> None:
    for bad in ("a", None, [1.0, "a"], object()):
        for f in OPERATORS.values():
            with pytest.raises(TypeError):
                f(Value(1.0), bad)
            with pytest.raises(TypeError):
                f(bad, Value(1.0))
    with pytest.raises((TypeError, ValueError)):
        Value("text")
    with pytest.raises(TypeError):
        Value([1.0, 2.0])
    with pytest.raises(TypeError, match="children"):
        Value(1.0, (Value(2.0),), "+")


def test_format_and_truth() -> None:
    v = Value(1.25)
    assert f"{v:.1f}" == "1.2"
    assert v.item() == 1.25
    assert bool(v)
    assert not Value(0.0)
    with pytest.raises(NotDifferentiableError, match=r"v\.data"):
        float(v)
    with tg.no_grad():
        assert float(v) == 1.25


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (lambda v: np.maximum(v, v * 1.0), 1.0, 1.0),
        (lambda v: np.maximum(v, 1.0), 1.0, 0.5),
        (lambda v: np.hypot(v, v), 0.0, 0.0),
        (lambda v: np.arctan2(v, v), 0.0, 0.0),
        (lambda v: v**v, 0.0, 0.0),
    ],
)
def test_recorded_rules_of_values_at_ties(f: Any, x: float, expected: float) -> None:
    """Rules see nodes when recorded; they must compare numbers, not identities."""
    for record in (False, True):
        v = Value(x)
        y = f(v)
        _, cotangents = pull_back([(y, Value(1.0) if record else 1.0)], record=record)
        g = cotangents[v.serial]
        assert (g.data if record else g) == expected
