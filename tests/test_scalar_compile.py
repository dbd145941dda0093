"""Compiled steps written in Values, beside the same steps run eagerly."""

import copy
import math
import operator
import pickle
import random
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import Value
from tinygrad_nn.errors import CaptureError, StaleGraphError
from tinygrad_nn.plan.scalars import recorder
from tinygrad_nn.scalar import MLP
from tinygrad_nn.value import add_n

TOLERANCE = 1e-12
N = 12


class Case(NamedTuple):
    """A step, the Values that it leaves something in, and what it is called with."""

    step: Callable[..., Any]
    values: list[Value]
    calls: list[tuple[Any, ...]]
    captures: int = 1


CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    CASES[make.__name__] = make
    return make


def points(k: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Return points and labels -1 and 1, others for each `k`."""
    x = np.random.default_rng(k).normal(size=(n, 2))
    return x, np.where(x[:, 0] * x[:, 1] > 0.1, 1.0, -1.0)


DATA = [points(k) for k in range(4)]


def values(seed: int, *shape: int) -> Any:
    rng = random.Random(seed)

    def make(shape: tuple[int, ...]) -> Any:
        if not shape:
            return Value(rng.uniform(-1.0, 1.0))
        return [make(shape[1:]) for _ in range(shape[0])]

    return make(shape)


def flat(item: Any) -> list[Value]:
    if isinstance(item, Value):
        return [item]
    if isinstance(item, dict):
        item = list(item.values())
    return [v for part in item for v in flat(part)] if isinstance(item, list | tuple) else []


def numbers(item: Any) -> Any:
    """Return what a result holds, as plain numbers."""
    if isinstance(item, Value):
        return item.data
    if isinstance(item, dict):
        return {key: numbers(value) for key, value in item.items()}
    return [numbers(value) for value in item] if isinstance(item, list | tuple) else item


def compare(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            compare(a, b)
        return
    if isinstance(expected, np.generic) and isinstance(found, float):
        expected = expected.item()  # as Python's arithmetic makes them
    assert type(found) is type(expected)
    if isinstance(expected, Value):
        found, expected = found.data, expected.data
    if isinstance(expected, float):
        assert found == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE, nan_ok=True)
    else:
        assert found is expected or found == expected


def state(item: Sequence[Value]) -> list[tuple[float, float]]:
    return [(v.data, v.grad) for v in item]


# --- networks -------------------------------------------------------------------------------------


def train(
    model: Callable[[Any], Any],
    parameters: list[Value],
    loss: Callable[[Any, Any], Any],
    lr: float = 0.1,
) -> Callable[[Any, Any], Any]:
    """Return a step of gradient descent that takes arrays of points and labels."""

    def step(x: Any, y: Any) -> Any:
        total = sum((loss(model(row), yi) for row, yi in zip(x, y, strict=True)), Value(0.0))
        total = total * (1.0 / len(y))
        for p in parameters:
            p.grad = 0.0
        total.backward()
        for p in parameters:
            p.data -= lr * p.grad
        return total

    return step


def hinge(score: Any, y: Any) -> Any:
    return (1 + -y * score).relu()


def square(score: Any, y: Any) -> Any:
    return (score - y) ** 2


@case
def micrograd() -> Case:
    model = MLP(2, [4, 4, 1], rng=0)

    def step(x: Any, y: Any) -> Any:
        inputs = [list(map(Value, row)) for row in x]
        scores = list(map(model, inputs))
        losses = [(1 + -yi * score).relu() for yi, score in zip(y, scores, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad
        return loss

    return Case(step, model.parameters(), DATA)


# How a unit may be written: of its weights, its bias and its inputs.
UNITS: dict[str, Callable[[list[Value], Value, Any], Any]] = {
    "bias first": lambda w, b, x: sum((wi * xi for wi, xi in zip(w, x, strict=True)), b),
    "bias last": lambda w, b, x: sum(wi * xi for wi, xi in zip(w, x, strict=True)) + b,
    "x times w": lambda w, b, x: sum((xi * wi for wi, xi in zip(w, x, strict=True)), b),
    "shuffled": lambda w, b, x: sum(
        random.Random(len(w)).sample(
            [*(wi * xi for wi, xi in zip(w, x, strict=True)), b], len(w) + 1
        )
    ),
    "alternating": lambda w, b, x: sum(
        [xi * wi if k % 2 else wi * xi for k, (wi, xi) in enumerate(zip(w, x, strict=True))], b
    ),
    "add_n": lambda w, b, x: add_n([b, *(wi * xi for wi, xi in zip(w, x, strict=True))]),
    "tree": lambda w, b, x: tree([*(wi * xi for wi, xi in zip(w, x, strict=True)), b]),
    "reduce": lambda w, b, x: reduce(operator.add, map(operator.mul, w, x)) + b,
    "minus": lambda w, b, x: b - sum(-wi * xi for wi, xi in zip(w, x, strict=True)),
    "halves": lambda w, b, x: sum(wi * xi / 2 for wi, xi in zip(w, x, strict=True)) * 2 + b,
}


def tree(terms: list[Any]) -> Any:
    while len(terms) > 1:
        terms = [sum(terms[k : k + 2]) for k in range(0, len(terms), 2)]
    return terms[0]


ACTIVATIONS: dict[str, Callable[[Value], Any]] = {
    "relu": Value.relu,
    "tanh": Value.tanh,
    "sigmoid": Value.sigmoid,
    "exp": lambda v: (-v * v).exp(),
    "np.tanh": np.tanh,
    "softplus": lambda v: (1 + v.exp()).log(),
    "sqrt": lambda v: (v * v + 1).sqrt(),
    "rational": lambda v: v / (1.0 + abs(v)),
    "sin and cos": lambda v: v.sin() * v.cos(),
}


def network(unit: Any, activation: Any, loss: Any = square) -> Case:
    layers = [
        [(values(10 * k + j, n), Value(0.1)) for j in range(m)]
        for k, (n, m) in enumerate([(2, 5), (5, 3), (3, 1)])
    ]

    def model(x: Any) -> Any:
        for k, layer in enumerate(layers):
            x = [unit(w, b, x) for w, b in layer]
            if k < 2:
                x = [activation(v) for v in x]
        return x[0]

    parameters = flat(layers)
    return Case(train(model, parameters, loss), parameters, DATA)


for _name in UNITS:
    CASES[f"unit, {_name}"] = lambda _name=_name: network(UNITS[_name], Value.tanh)  # type: ignore[misc]  # a default
for _name in ACTIVATIONS:
    CASES[f"activation {_name}"] = lambda _name=_name: network(  # type: ignore[misc]  # a default
        UNITS["bias first"], ACTIVATIONS[_name]
    )
CASES["hinge loss"] = lambda: network(UNITS["bias first"], Value.relu, hinge)


def mlp(step: Callable[[Any, Any, Any], Any], calls: Any = DATA, captures: int = 1) -> Case:
    """Return the case of a step that takes the model first."""
    model = MLP(2, [4, 4, 1], rng=0)
    return Case(lambda *args: step(model, *args), model.parameters(), calls, captures)


def mean_loss(model: Any, x: Any, y: Any) -> Any:
    return sum((square(model(row), yi) for row, yi in zip(x, y, strict=True)), Value(0.0)) / len(y)


def descend(parameters: list[Value], lr: Any = 0.1) -> None:
    for p in parameters:
        p.data -= lr * p.grad


# --- data -----------------------------------------------------------------------------------------


@case
def elements() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = sum(square(model([x[i, 0], x[i, 1]]), y[i]) for i in range(len(x)))
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), 0.01)
        return loss

    return mlp(step)


@case
def elements_of_rows() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = sum(square(model([x[i][0], x[i][1]]), y[-i]) for i in range(len(x)))
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), 0.01)
        return loss

    return mlp(step)


@case
def columns() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = sum(
            square(model([a, b]), c) for a, b, c in zip(x[::-1, 0], x.T[1], y[::-1], strict=True)
        )
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), 0.01)
        return loss

    return mlp(step)


def usual(model: Any, x: Any, y: Any) -> Any:
    loss = mean_loss(model, x, y)
    model.zero_grad()
    loss.backward()
    descend(model.parameters())
    return loss


@case
def integers() -> Case:
    return mlp(
        usual, [(np.arange(2 * N).reshape(N, 2) % (3 + k), np.arange(N) % 2) for k in range(4)]
    )


@case
def single_precision() -> Case:
    return mlp(usual, [(x.astype(np.float32), y.astype(np.float32)) for x, y in DATA])


@case
def preprocessed() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        x = (x - np.mean(x, axis=0)) / np.std(x, axis=0)
        return usual(model, x, np.where(y > 0.0, 0.9, -0.9))

    return mlp(step)


@case
def a_batch_of_an_array() -> Case:
    def step(model: Any, x: Any, y: Any, batch: Any) -> Any:
        return usual(model, x[batch], y[batch])

    rng = np.random.default_rng(0)
    return mlp(step, [(*DATA[0], rng.permutation(N)[:8]) for _ in range(4)])


@case
def arithmetic_on_elements() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = sum(
            square(model([2.0 * a - 1, a * b]), (1 + yi) / 2)
            for (a, b), yi in zip(x, y, strict=True)
        )
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), 0.01)
        return loss

    return mlp(step)


@case
def lists_of_floats() -> Case:
    x, y = (a.tolist() for a in DATA[0])
    return mlp(usual, [(x, y)] * 4)


@case
def closure_arrays() -> Case:
    x, y = (a.copy() for a in DATA[0])
    return mlp(lambda model: usual(model, x, y), [()] * 4)


GLOBAL_X, GLOBAL_Y = (a.copy() for a in DATA[1])


@case
def global_arrays() -> Case:
    return mlp(lambda model: usual(model, GLOBAL_X, GLOBAL_Y), [()] * 4)


@case
def constant_lists() -> Case:
    data = [a.tolist() for a in DATA[0]]
    return mlp(lambda model: usual(model, *data), [()] * 4)


@case
def not_a_number() -> Case:
    calls = [(x.copy(), y) for x, y in DATA]
    calls[1][0][3, 0] = np.nan
    return mlp(usual, calls)


@case
def infinite() -> Case:
    calls = [(x.copy(), y) for x, y in DATA]
    calls[2][0][3, 0] = np.inf
    return mlp(usual, calls)


@case
def other_lengths() -> Case:
    return mlp(usual, [points(k, n) for k, n in enumerate([12, 8, 12, 8, 12])], 2)


# --- steps ----------------------------------------------------------------------------------------


@case
def regularised() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        penalty = 1e-2 * sum(p * p for p in model.parameters())
        total = loss + penalty
        model.zero_grad()
        total.backward()
        descend(model.parameters())
        return {"loss": loss, "penalty": penalty, "total": total}

    return mlp(step)


@case
def absolute_regularisation() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y) + 1e-2 * sum(abs(p) for p in model.parameters())
        model.zero_grad()
        loss.backward()
        descend(model.parameters())
        return loss

    return mlp(step)


@case
def two_backward_passes() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        model.zero_grad()
        loss = mean_loss(model, x, y)
        loss.backward()
        penalty = 1e-2 * sum(p * p for p in model.parameters())
        penalty.backward()
        descend(model.parameters())
        return loss, penalty

    return mlp(step)


@case
def backward_twice() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        model.zero_grad()
        loss = mean_loss(model, x, y)
        loss.backward()
        loss.backward(0.5)
        descend(model.parameters())
        return loss

    return mlp(step)


@case
def a_pass_for_each_point() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        model.zero_grad()
        losses = [square(model(row), yi) for row, yi in zip(x[:4], y[:4], strict=True)]
        for loss in losses:
            loss.backward()
        descend(model.parameters(), 0.01)
        return losses

    return mlp(step)


@case
def three_updates() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        return [usual(model, x, y) for _ in range(3)]

    return mlp(step)


@case
def stochastic_descent() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        return [usual(model, x[k : k + 6], y[k : k + 6]) for k in (0, 6)]

    return mlp(step)


@case
def accumulation() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        loss.backward()
        return loss

    return mlp(step)


@case
def accumulation_and_update() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        loss.backward()
        descend(model.parameters(), 0.01)
        return loss

    return mlp(step)


@case
def zero_grad_at_the_end() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        loss.backward()
        descend(model.parameters())
        model.zero_grad()
        return loss

    return mlp(step)


@case
def zero_grad_alone() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        model.zero_grad()
        return mean_loss(model, x, y)

    return mlp(step)


@case
def rate_as_a_numpy_number() -> Case:
    def step(model: Any, x: Any, y: Any, lr: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), lr)
        return loss

    return mlp(step, [(*d, np.float64(0.1 / (k + 1))) for k, d in enumerate(DATA)])


@case
def rate_as_an_array() -> Case:
    def step(model: Any, x: Any, y: Any, lr: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), lr)
        return loss

    return mlp(step, [(*d, np.array(0.1 / (k + 1))) for k, d in enumerate(DATA)])


@case
def rate_as_a_float() -> Case:
    def step(model: Any, x: Any, y: Any, lr: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), lr)
        return loss

    return mlp(step, [(*d, 0.1 / (1 + k // 2)) for k, d in enumerate(DATA)], 2)


@case
def only_written() -> Case:
    ps = values(0, 2 * N)

    def step(x: Any, y: Any) -> Any:
        for p, a, b in zip(ps, x.ravel(), [*y, *y], strict=True):
            p.data = np.tanh(a * b) + a
            p.grad = a - b
        return Value(x[0, 0])

    return Case(step, ps, DATA)


@case
def rate_as_a_value() -> Case:
    model, lr = MLP(2, [4, 4, 1], rng=0), Value(0.1)

    def step(x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), lr.data)
        lr.data *= 0.9
        return loss

    return Case(step, [*model.parameters(), lr], DATA)


@case
def momentum() -> Case:
    model = MLP(2, [4, 4, 1], rng=0)
    velocity = [Value(0.0) for _ in model.parameters()]

    def step(x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        for p, v in zip(model.parameters(), velocity, strict=True):
            v.data = 0.9 * v.data + p.grad
            p.data -= 0.05 * v.data
        return loss

    return Case(step, [*model.parameters(), *velocity], DATA)


@case
def adam() -> Case:
    model = MLP(2, [4, 4, 1], rng=0)
    first, second = ([Value(0.0) for _ in model.parameters()] for _ in range(2))
    t = Value(0.0)

    def step(x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        t.data += 1
        for p, m, v in zip(model.parameters(), first, second, strict=True):
            m.data = 0.9 * m.data + 0.1 * p.grad
            v.data = 0.99 * v.data + 0.01 * p.grad**2
            a = m.data / (1 - 0.9**t.data)
            b = v.data / (1 - 0.99**t.data)
            p.data -= 0.01 * a / (b**0.5 + 1e-8)
        return loss

    return Case(step, [*model.parameters(), *first, *second, t], DATA)


@case
def clipped_by_the_norm() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        norm = sum(p.grad**2 for p in model.parameters()) ** 0.5
        for p in model.parameters():
            p.data -= 0.1 * p.grad / (norm + 1.0)
        return loss, norm

    return mlp(step)


@case
def under_no_grad() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        with tg.no_grad():
            for p in model.parameters():
                p.data = (p - 0.1 * p.grad).data
            after = mean_loss(model, x, y)
        return loss, after

    return mlp(step)


@case
def a_target_without_gradient() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        with tg.no_grad():
            targets = [model(row) * 0.5 for row in x]
        loss = sum(square(model(row), t) for row, t in zip(x, targets, strict=True))
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), 0.01)
        return loss

    return mlp(step)


@case
def data_of_a_result() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        scores = [model(row) for row in x]
        loss = sum(s * s.data - yi for s, yi in zip(scores, y, strict=True))
        model.zero_grad()
        loss.backward()
        descend(model.parameters(), 0.01)
        return loss, loss.data

    return mlp(step)


@case
def a_dead_unit() -> Case:
    model = MLP(2, [4, 1], rng=0)
    for w in model.layers[0].neurons[0].w:
        w.data = 0.0
    model.layers[0].neurons[0].b.data = -100.0
    return Case(lambda x, y: usual(model, x, y), model.parameters(), DATA)


@case
def an_unused_parameter() -> Case:
    model, other = MLP(2, [4, 4, 1], rng=0), Value(3.0)
    other.grad = 0.25

    def step(x: Any, y: Any) -> Any:
        loss = usual(model, x, y)
        other.data -= 0.5 * other.grad
        return loss

    return Case(step, [*model.parameters(), other], DATA)


@case
def shared_weights() -> Case:
    w, b = values(3, 2), Value(0.0)

    def model(x: Any) -> Any:
        a, c = x[0], x[1]
        for _ in range(3):
            a, c = (w[0] * a + w[1] * c + b).tanh(), (w[1] * a + w[0] * c + b).tanh()
        return a + c

    return Case(train(model, [*w, b], square), [*w, b], DATA)


@case
def softmax() -> Case:
    model = MLP(2, [6, 3], rng=0)

    def step(x: Any, y: Any) -> Any:
        losses = []
        for row, yi in zip(x, y, strict=True):
            e = [z.exp() for z in model(row)]
            losses.append(-(e[0] / sum(e)).log() * (yi * yi) - (e[1] / sum(e)).log() * (1 + yi))
        loss = sum(losses) / len(losses)
        model.zero_grad()
        loss.backward()
        descend(model.parameters())
        return loss

    return Case(step, model.parameters(), DATA)


@case
def signs_of_gradients() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.01 * np.sign(p.grad)
        return loss

    return mlp(step)


@case
def bounded_gradients() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.1 * np.minimum(np.maximum(p.grad, -0.1), 0.05)
        return loss

    return mlp(step)


@case
def masks_of_gradients() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad * (p.grad > 0) + 0.05 * p.grad * (p.grad != 0)
        return loss

    return mlp(step)


@case
def leaky() -> Case:
    return network(UNITS["bias first"], lambda v: np.where(v > 0.0, v, 0.1 * v))


@case
def derivative_by_grad() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        def loss_of(scale: Any) -> Any:
            return mean_loss(lambda row: model([scale * a for a in row]), x, y)

        return tg.grad(loss_of)(Value(1.5))

    return mlp(step)


@case
def value_and_gradient() -> Case:
    model = MLP(2, [4, 4, 1], rng=0)

    def step(x: Any, y: Any) -> Any:
        loss, g = tg.value_and_grad(lambda ps: mean_loss(model, x, y))(model.parameters())
        for p, gi in zip(model.parameters(), g, strict=True):
            p.data -= 0.1 * (gi.data if isinstance(gi, Value) else gi)
        return loss

    return Case(step, model.parameters(), DATA)


# --- forward only ---------------------------------------------------------------------------------


@case
def scores() -> Case:
    return mlp(lambda model, x, y: [model(row) for row in x])


@case
def one_value() -> Case:
    return mlp(lambda model, x, y: mean_loss(model, x, y))


@case
def a_dictionary() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        outputs = [model(row) for row in x]
        loss = sum(square(s, yi) for s, yi in zip(outputs, y, strict=True))
        return {"loss": loss, "scores": outputs, "number": loss.data, "n": 3, "twice": [loss, loss]}

    return mlp(step)


@case
def numbers_of_an_evaluation() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        with tg.no_grad():
            return [model(row).data for row in x]

    return mlp(step)


@case
def a_parameter_and_a_result() -> Case:
    model = MLP(2, [4, 1], rng=0)
    w = model.parameters()[0]
    return Case(lambda x, y: [w * 2, mean_loss(model, x, y), Value(3.0)], model.parameters(), DATA)


@case
def accuracy() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        scores = [model(row) for row in x]
        right = [(yi > 0) == (s.data > 0) for yi, s in zip(y, scores, strict=True)]
        return mean_loss(model, x, y), sum(right) / len(right)

    return mlp(step)


@case
def equal_numbers() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        scores = [model([0.0 * row[0], 0.0 * row[1]]).data for row in x]
        return sum((a == b) + 2.0 * (a != 0.5) for a, b in pairwise(scores))

    return mlp(step)


@case
def gradients_returned() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        return [p.grad for p in model.parameters()]

    return mlp(step)


@case
def gradients_of_inputs() -> Case:
    def step(model: Any, x: Any, y: Any) -> Any:
        inputs = [[Value(a) for a in row] for row in x]
        loss = sum(model(row) for row in inputs)
        loss.backward()
        return [[v.grad for v in row] for row in inputs]

    return mlp(step)


def check(name: str, watched: bool) -> None:
    eager, mine = CASES[name](), CASES[name]()
    compiled = tg.compile(mine.step)
    held = []
    for args, same in zip(eager.calls, mine.calls, strict=True):
        expected, found = eager.step(*args), compiled(*same)
        compare(found, expected)
        held.append((found, numbers(expected)))
        if watched:
            compare(state(mine.values), state(eager.values))
    compare(state(mine.values), state(eager.values))
    for found, expected in held:
        compare(numbers(found), expected)
    assert compiled.captures == mine.captures


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("watched", [True, False], ids=["looked at", "left alone"])
@pytest.mark.parametrize("name", CASES)
def test_compiled_equals_eager(name: str, watched: bool) -> None:
    check(name, watched)


# --- what lies between the calls ------------------------------------------------------------------


class Pair:
    """The same model twice, with a step that is eager for one and compiled for the other."""

    def __init__(self, step: Callable[..., Any] = usual, **options: Any) -> None:
        self.models = [MLP(2, [4, 4, 1], rng=0) for _ in range(2)]
        self.eager = lambda *args: step(self.models[0], *args)
        self.compiled = tg.compile(lambda *args: step(self.models[1], *args), **options)

    def __call__(self, *args: Any) -> None:
        compare(numbers(self.compiled(*args)), numbers(self.eager(*args)))

    def same(self) -> None:
        mine, eager = (state(model.parameters()) for model in self.models)
        compare(mine, eager)


def set_one(model: Any) -> None:
    model.parameters()[3].data = 0.25


def halve_all(model: Any) -> None:
    for p in model.parameters():
        p.data *= 0.5


def step_eagerly(model: Any) -> None:
    usual(model, *DATA[3])


def set_a_gradient(model: Any) -> None:
    model.parameters()[0].grad = 7.0
    model.zero_grad()
    model.parameters()[1].grad = 3.0


def add_to_a_gradient(model: Any) -> None:
    model.parameters()[2].grad += 0.5


def backward_eagerly(model: Any) -> None:
    mean_loss(model, *DATA[2]).backward()


def look(model: Any) -> None:
    w = model.parameters()[0]
    assert repr(w) == f"Value(data={w.data}, grad={w.grad})"


CHANGES = [set_one, halve_all, step_eagerly, set_a_gradient, add_to_a_gradient, backward_eagerly,
           look]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", [usual, CASES["accumulation"]], ids=["usual", "accumulation"])
def test_changes_between_calls_are_seen(change: Callable[[Any], None], step: Any) -> None:
    def accumulate(model: Any, x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y)
        loss.backward()
        return loss

    pair = Pair(usual if step is usual else accumulate)
    for args in DATA:
        pair(*args)
        for model in pair.models:
            change(model)
    pair.same()
    assert pair.compiled.captures == 1


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))],
    ids=["copy", "deepcopy", "pickle"],
)  # fmt: skip
def test_copies_after_a_replay(twin: Callable[[Value], Value]) -> None:
    for k in (0, 9):
        pair = Pair()
        pair(*DATA[0])
        pair(*DATA[1])
        mine, eager = (twin(model.parameters()[k]) for model in pair.models)
        compare(state([mine]), state([eager]))
        pair(*DATA[2])
        assert mine.data != pair.models[1].parameters()[k].data


def test_a_model_is_copied_after_a_replay() -> None:
    pair = Pair()
    pair(*DATA[0])
    pair(*DATA[1])
    clones = [copy.deepcopy(model) for model in pair.models]
    pair(*DATA[2])
    compare(*(state(model.parameters()) for model in clones))
    pair.same()


def test_training_and_evaluation_by_turns() -> None:
    def train_step(model: Any, x: Any, y: Any) -> Any:
        return usual(model, x, y)

    models = [MLP(2, [4, 4, 1], rng=0) for _ in range(2)]
    train_c = tg.compile(lambda x, y: usual(models[1], x, y))
    score_c = tg.compile(lambda x: [models[1](row) for row in x])
    for x, y in DATA:
        compare(numbers(train_c(x, y)), numbers(usual(models[0], x, y)))
        compare(numbers(score_c(x)), numbers([models[0](row) for row in x]))
        compare(numbers(score_c(x)), numbers([models[0](row) for row in x]))
    compare(*(state(model.parameters()) for model in models))
    assert (train_c.captures, score_c.captures) == (1, 1)


def test_a_graph_older_than_a_replay_is_stale() -> None:
    pair = Pair()
    pair(*DATA[0])
    for _ in range(2):
        losses = [mean_loss(model, *DATA[1]) for model in pair.models]
        pair(*DATA[2])
        for loss in losses:
            with pytest.raises(StaleGraphError):
                loss.backward()


def test_a_graph_is_not_stale_after_a_replay_that_changes_nothing() -> None:
    model = MLP(2, [4, 4, 1], rng=0)
    scores = tg.compile(lambda x: [model(row) for row in x])
    scores(DATA[0][0])
    loss = mean_loss(model, *DATA[0])
    scores(DATA[1][0])
    loss.backward()
    assert any(p.grad for p in model.parameters())


def test_results_have_no_graph() -> None:
    model = MLP(2, [4, 4, 1], rng=0)
    compiled = tg.compile(lambda x, y: mean_loss(model, x, y))
    for k in range(3):
        loss = compiled(*DATA[k])
        with pytest.raises(tg.NotDifferentiableError, match=r"backward\(\) inside"):
            loss.backward()


def test_several_threads_of_calls() -> None:
    """Plans for two lengths borrow the same numbers in turn."""
    pair = Pair()
    for k in range(6):
        pair(*points(k, 12 if k % 2 else 9))
    pair.same()
    assert pair.compiled.captures == 2


# --- errors ---------------------------------------------------------------------------------------


def test_an_error_in_the_captured_run_changes_nothing() -> None:
    model = MLP(2, [4, 4, 1], rng=0)

    @tg.compile
    def step(x: Any, y: Any, fail: bool) -> Any:
        loss = usual(model, x, y)
        if fail:
            raise RuntimeError("on purpose")
        return loss

    model.parameters()[0].grad = 2.0
    before = state(model.parameters())
    loss = mean_loss(model, *DATA[0])
    with pytest.raises(RuntimeError, match="on purpose"):
        step(*DATA[0], True)
    assert state(model.parameters()) == before
    loss.backward()  # which is not stale
    step(*DATA[0], False)
    step(*DATA[1], False)
    before = state(model.parameters())
    with pytest.raises(RuntimeError, match="on purpose"):
        step(*DATA[1], True)
    assert state(model.parameters()) == before


def test_an_error_in_a_replay_changes_nothing() -> None:
    model = MLP(2, [4, 4, 1], rng=0)
    step = tg.compile(lambda x, y: usual(model, x, y))
    for args in DATA[:2]:
        step(*args)
    before = state(model.parameters())
    x = DATA[2][0].copy()
    x[0, 0] = np.nan
    step(x, DATA[2][1])  # nothing is wrong with nan
    for p, (number, g) in zip(model.parameters(), before, strict=True):
        p.data, p.grad = number, g
    for bad in (DATA[2][0], DATA[2][1][:3]), (list(DATA[2][0]), "no labels"):
        with pytest.raises((TypeError, ValueError, AttributeError)):
            step(*bad)
        assert state(model.parameters()) == before


REFUSED: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {}


def refused(match: str) -> Callable[[Any], Any]:
    def keep(step: Any) -> Any:
        REFUSED[step.__name__] = step, match
        return step

    return keep


@refused("condition")
def a_condition(model: Any, loss: Any, x: Any) -> Any:
    return loss * 2 if loss > 3 else loss  # here


@refused("condition")
def a_condition_on_data(model: Any, loss: Any, x: Any) -> Any:
    return loss * 2 if loss.data > 3 else loss  # here


@refused("condition")
def a_condition_on_a_gradient(model: Any, loss: Any, x: Any) -> Any:
    loss.backward()
    return loss * 2 if model.parameters()[0].grad > 3 else loss  # here


@refused("condition")
def a_condition_on_a_parameter(model: Any, loss: Any, x: Any) -> Any:
    return loss * 2 if model.parameters()[0] < 0.5 else loss  # here


@refused("condition")
def a_condition_on_an_input(model: Any, loss: Any, x: Any) -> Any:
    return loss * 2 if Value(x[0, 0]) < 0.5 else loss  # here


@refused("condition")
def truth(model: Any, loss: Any, x: Any) -> Any:
    return loss * 2 if loss else loss  # here


@refused("float")
def conversion(model: Any, loss: Any, x: Any) -> Any:
    return loss * float(loss)  # here


@refused("float")
def exponential_of_python(model: Any, loss: Any, x: Any) -> Any:
    return loss * math.exp(loss)  # here


@refused("float")
def exponential_of_data(model: Any, loss: Any, x: Any) -> Any:
    return loss * math.exp(loss.data)  # here


@refused("item")
def taken_out(model: Any, loss: Any, x: Any) -> Any:
    return loss * loss.item()  # here


@refused("int")
def counted(model: Any, loss: Any, x: Any) -> Any:
    return sum(loss for _ in range(int(loss)))  # here


@refused("text")
def a_text(model: Any, loss: Any, x: Any) -> Any:
    return f"{loss:.3f}"  # here


@refused("text")
def a_text_of_data(model: Any, loss: Any, x: Any) -> Any:
    return f"{loss.data:.3f}"  # here


@refused("round")
def rounded(model: Any, loss: Any, x: Any) -> Any:
    return loss * round(loss)  # here


@refused("condition")
def sorted_by_data(model: Any, loss: Any, x: Any) -> Any:
    return sum(sorted([model(row) for row in x], key=lambda v: v.data)[:3])  # here


@refused("condition")
def largest(model: Any, loss: Any, x: Any) -> Any:
    return max(model(row) for row in x)  # here


@refused("nan_to_num|isnan|needs numbers")
def looked_at_by_numpy(model: Any, loss: Any, x: Any) -> Any:
    return loss if np.isnan(loss.data) else loss * 2  # here


@refused("needs numbers")
def compared_by_numpy(model: Any, loss: Any, x: Any) -> Any:
    return loss if np.allclose(loss.data, 0.5) else loss * 2  # here


@refused("needs numbers")
def an_equal_number(model: Any, loss: Any, x: Any) -> Any:
    return loss if loss.data == 0.5 else loss * 2  # here


@refused("Values")
def mixed(model: Any, loss: Any, x: Any) -> Any:
    return np.sum(tg.tensor(x) * loss)  # here


@refused("Values")
def mixed_with_an_array(model: Any, loss: Any, x: Any) -> Any:
    return np.sum(x * model.parameters()[0])  # here


@refused("gradient of a result")
def gradient_of_a_result(model: Any, loss: Any, x: Any) -> Any:
    square_of = loss * loss
    square_of.backward()
    return loss.grad  # here


@refused("data of a result")
def data_of_a_result_set(model: Any, loss: Any, x: Any) -> Any:
    loss.data = 3.0  # here
    return loss


#: What would drop a gradient.
EAGER_REFUSES = {"conversion", "exponential_of_python", "counted", "rounded"}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    step, match = REFUSED[name]
    model = MLP(2, [4, 4, 1], rng=0)

    def whole(x: Any, y: Any) -> Any:
        return step(model, mean_loss(model, x, y), x)

    before = state(model.parameters())
    with pytest.raises(CaptureError, match=match) as error:
        tg.compile(whole)(*DATA[0])
    assert "# here" in str(error.value)
    assert len(str(error.value).split(". ")) > 1  # a remedy
    assert state(model.parameters()) == before
    if name in EAGER_REFUSES:
        return
    compiled = tg.compile(whole, fallback=True)
    with pytest.warns(UserWarning, match="runs eagerly"):
        found = [compiled(DATA[0][0], DATA[0][1])]
    found += [compiled(*args) for args in DATA[1:]]
    twin = MLP(2, [4, 4, 1], rng=0)
    for args, y in zip(DATA, found, strict=True):
        compare(y, step(twin, mean_loss(twin, *args), args[0]))


def test_a_graph_from_before_the_step_is_refused() -> None:
    model = MLP(2, [4, 4, 1], rng=0)
    penalty = sum(p * p for p in model.parameters())

    def step(x: Any, y: Any) -> Any:
        loss = mean_loss(model, x, y) + penalty
        loss.backward()
        return loss

    with pytest.raises(CaptureError, match="computed before the step"):
        tg.compile(step)(*DATA[0])
    assert all(p.grad == 0.0 for p in model.parameters())


def test_constants_may_decide() -> None:
    def step(model: Any, x: Any, y: Any) -> Any:
        scale = Value(2.0)
        loss = mean_loss(model, x, y)
        return loss * scale if scale > 1 and scale.data > 1 else loss

    pair = Pair(step)
    for args in DATA:
        pair(*args)
    assert pair.compiled.captures == 1


# --- what stays eager -----------------------------------------------------------------------------


def chain(n: int) -> tuple[Value, Callable[[Any], Any]]:
    w = Value(0.5)

    def step(x: Any) -> Any:
        v = Value(x[0])
        for _ in range(n):
            v = (v * w + x[1]).tanh()
        w.grad = 0.0
        v.backward()
        w.data -= 0.1 * w.grad
        return v

    return w, step


def test_deep_and_narrow_graphs_stay_eager() -> None:
    (w, mine), (v, eager) = chain(2000), chain(2000)
    compiled = tg.compile(mine)
    for k in range(3):
        compare(compiled(DATA[k][0][0]), eager(DATA[k][0][0]))
        compare(state([w]), state([v]))
    assert compiled.captures == 0
    assert "deep and narrow" in compiled.explain()


def test_a_deep_graph_is_not_vectorised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of many nodes is left to Python when it has been looked at, before the work."""
    monkeypatch.setattr(recorder, "vectorise", None)  # which nobody calls
    (_, mine), (_, eager) = chain(12500), chain(12500)
    x = DATA[0][0][0]
    assert tg.compile(mine)(x).data == eager(x).data


@pytest.mark.parametrize("n", [3, 30])
def test_small_steps_are_compiled(n: int) -> None:
    """A neuron of three weights is some four times faster compiled."""

    def neuron() -> Case:
        w, b = values(0, n), Value(0.1)
        model = lambda x: UNITS["bias first"](w, b, x).tanh()  # noqa: E731  # as in the table
        return Case(lambda x, y: train(model, [*w, b], square)([x], [y]), [*w, b], [])

    mine, eager = neuron(), neuron()
    compiled = tg.compile(mine.step)
    for k in range(3):
        x = np.linspace(-1.0, 1.0 + k, n)
        compare(compiled(x, 0.5), eager.step(x, 0.5))
    compare(state(mine.values), state(eager.values))
    assert compiled.captures == 1


# --- what is said of it ---------------------------------------------------------------------------


def test_the_plan_is_explained() -> None:
    case = CASES["micrograd"]()
    compiled = tg.compile(case.step)
    compiled(*case.calls[0])
    for text in (compiled.explain(), compiled.source()):
        assert "@" in text
    tg.draw(compiled)
