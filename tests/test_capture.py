"""What `compile` captures, when it captures again, and what it refuses."""

from __future__ import annotations

import copy
import functools
import math
import pickle
import random
import threading
import warnings
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import CaptureError, losses, nn

# --- a step, twice --------------------------------------------------------------------------------


def problem(seed: int = 0) -> SimpleNamespace:
    """Return a model, an optimizer and batches."""
    rng = np.random.default_rng(seed)
    model = nn.MLP(3, [4, 2], rng=seed, dtype=float)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = rng.normal(size=(6, 3))
    labels = rng.integers(0, 2, 6)
    return SimpleNamespace(model=model, optimizer=optimizer, x=x, labels=labels, rng=rng)


def state(p: Any) -> list[Any]:
    """Return copies of everything that a step may change."""
    found = [t.data.copy() for t in p.model.parameters()]
    found += [None if t.grad is None else t.grad.copy() for t in p.model.parameters()]
    found += [s for group in p.optimizer.state_dict()["param_groups"] for s in group["state"]]
    return [*found, [t._changed for t in p.model.parameters()], p.rng.bit_generator.state]


def equal(a: Any, b: Any) -> bool:
    """Whether two results of `state` are the same, number by number."""
    return bool(
        all(
            (x is y is None)
            or (repr(x) == repr(y) if isinstance(x, dict | list) else np.array_equal(x, y))
            for x, y in zip(a, b, strict=True)
        )
    )


def agree(make: Callable[[Any], Callable[..., Any]], *calls: tuple[Any, ...]) -> Any:
    """Check that a compiled step does what the step itself does; return the compiled one.

    `make` takes a `problem` and returns the step; a call that is a function changes the problem.
    """
    eager, compiled = problem(), problem()
    plain, fast = make(eager), tg.compile(make(compiled))
    for call in calls:
        if callable(call):
            call(eager)
            call(compiled)
            continue
        expected, got = plain(*call), fast(*call)
        for a, b in zip(flat(expected), flat(got), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
            assert np.asarray(a).dtype == np.asarray(b).dtype
        for a, b in zip(eager.model.parameters(), compiled.model.parameters(), strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-15)
            assert (a.grad is None) == (b.grad is None)
            if a.grad is not None:
                np.testing.assert_allclose(a.grad, b.grad, rtol=1e-12, atol=1e-15)
        assert eager.rng.bit_generator.state == compiled.rng.bit_generator.state
    return fast


def flat(result: Any) -> list[Any]:
    """Return the arrays and numbers of a result."""
    if isinstance(result, tuple | list):
        return [a for item in result for a in flat(item)]
    if isinstance(result, dict):
        return flat(list(result.values()))
    return [result.detach().data if isinstance(result, tg.Tensor) else result]


def train(p: Any, loss_of: Callable[[], Any]) -> Any:
    """Do one step."""
    p.optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    p.optimizer.step()
    return loss


P = problem(7)
BATCHES = [(P.rng.normal(size=(6, 3)), P.rng.integers(0, 2, 6)) for _ in range(4)]


# --- what a function refers to by name -------------------------------------------------------------

RATE = 0.5
TABLE: dict[str, Any] = {"rate": 0.5}
BETAS = [0.5, 2.0]


class Settings:
    """Something with attributes."""

    shared = 3.0

    def __init__(self) -> None:
        self.rate = 0.5
        self.history: list[float] = []
        self.inner = SimpleNamespace(offset=1.0)

    def scale(self, x: Any) -> Any:
        return x * self.rate * self.shared


class Slotted:
    """Something with slots."""

    __slots__ = ("rate",)

    def __init__(self) -> None:
        self.rate = 0.5


SETTINGS = Settings()


def test_globals_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tg.compile(lambda x: x * RATE + TABLE["rate"] + sum(BETAS))
    x = np.arange(3.0)
    assert (f(x) == x * 0.5 + 3.0).all()
    monkeypatch.setitem(globals(), "RATE", 2.0)
    assert (f(x) == x * 2.0 + 3.0).all()
    monkeypatch.setitem(TABLE, "rate", 1.5)
    assert (f(x) == x * 2.0 + 4.0).all()
    monkeypatch.setitem(globals(), "BETAS", [0.5, 3.0])
    assert (f(x) == x * 2.0 + 5.0).all()
    assert f.captures == 4
    monkeypatch.undo()
    assert (f(x) == x * 0.5 + 3.0).all()
    assert f.captures == 4  # the first plan serves again


def test_equal_numbers_are_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tg.compile(lambda x: x * RATE)
    f(np.ones(2))
    monkeypatch.setitem(globals(), "RATE", float("0.5"))
    f(np.ones(2))
    assert f.captures == 1
    monkeypatch.setitem(globals(), "RATE", np.float64(0.5))  # would give float32 another type
    f(np.ones(2))
    assert f.captures == 2


def test_attributes_are_compared() -> None:
    settings, slotted = Settings(), Slotted()

    def step(x: Any) -> Any:
        return settings.scale(x) + settings.inner.offset + slotted.rate

    f = tg.compile(step)
    x = np.arange(3.0)
    np.testing.assert_array_equal(f(x), x * 1.5 + 1.5)
    for change in (
        lambda: setattr(settings, "rate", 2.0),
        lambda: setattr(settings.inner, "offset", 5.0),
        lambda: setattr(slotted, "rate", 3.0),
        lambda: setattr(settings, "shared", 1.0),
        lambda: setattr(settings, "inner", SimpleNamespace(offset=0.0)),
    ):
        change()
        np.testing.assert_array_equal(f(x), step(x))
    assert f.captures == 6


def test_what_the_code_does_not_name_is_not_compared() -> None:
    settings = Settings()
    f = tg.compile(lambda x: settings.scale(x))
    for _ in range(3):
        settings.history.append(float(f(np.ones(2)).sum()))
    assert f.captures == 1


def test_helpers_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    def helper(x: Any) -> Any:
        return x * RATE

    inner = functools.partial(helper)
    f = tg.compile(lambda x: inner(x) + SETTINGS.scale(x))
    np.testing.assert_array_equal(f(np.ones(2)), [2.0, 2.0])
    monkeypatch.setitem(globals(), "RATE", 2.0)
    np.testing.assert_array_equal(f(np.ones(2)), [3.5, 3.5])
    monkeypatch.setattr(SETTINGS, "rate", 1.0)
    np.testing.assert_array_equal(f(np.ones(2)), [5.0, 5.0])


def test_transformed_functions_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tg.compile(tg.grad(lambda x: np.sum(x * x) * RATE))
    np.testing.assert_array_equal(f(np.ones(2)), [1.0, 1.0])
    monkeypatch.setitem(globals(), "RATE", 2.0)
    np.testing.assert_array_equal(f(np.ones(2)), [4.0, 4.0])


def test_closures_are_compared() -> None:
    rate = 1.0

    def change(to: float) -> None:
        nonlocal rate
        rate = to

    f = tg.compile(lambda x: x * rate)
    assert f(np.ones(1)) == 1.0
    change(3.0)
    assert f(np.ones(1)) == 3.0


def test_a_module_in_training_and_not() -> None:
    class Doubling(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2.0 if self.training else x

    model = Doubling()
    f = tg.compile(model)
    assert f(np.ones(1)) == 2.0
    model.eval()
    assert f(np.ones(1)) == 1.0
    model.train()
    assert f(np.ones(1)) == 2.0
    assert f.captures == 2


def test_modes_are_set_by_the_step() -> None:
    model = nn.MLP(3, [2], rng=0)

    def step(x: Any) -> Any:
        model.train()
        y = model(x)
        model.eval()
        return y

    f = tg.compile(step)
    for _ in range(4):
        f(np.ones((2, 3)))
        assert not model.training
        assert not model.layers[0].training
    assert f.captures == 2


def test_module_attributes_are_compared() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.layers = [nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1)]
            self.scale = 1.0

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return x * self.scale

    net = Net()
    f = tg.compile(lambda x: net(x))
    x = np.ones((1, 2))

    def check() -> None:
        np.testing.assert_allclose(f(x).data, net(x).data, rtol=1e-12)

    check()
    net.scale = 2.0
    check()
    net.layers.append(nn.Linear(2, 3, rng=2))
    check()
    net.layers[0] = nn.Linear(2, 2, rng=3)
    check()
    net.layers[1].weight = tg.tensor(np.eye(2), requires_grad=True)
    check()
    net.layers[1].bias = None
    check()
    assert f.captures == 6
    net.epoch = 3
    check()
    assert f.captures == 6  # which forward() does not read


def test_freezing_a_parameter_is_seen() -> None:
    def make(p: Any) -> Any:
        return lambda x, y: train(p, lambda: losses.cross_entropy(p.model(x), y))

    def freeze(p: Any) -> None:
        p.model.layers[0].requires_grad_(False)

    def by_hand(p: Any) -> None:
        p.model.layers[0].weight.requires_grad = True

    agree(make, BATCHES[0], BATCHES[1], freeze, BATCHES[2], BATCHES[3], by_hand, BATCHES[0])


def test_a_further_group_of_parameters_is_seen() -> None:
    def make(p: Any) -> Any:
        p.extra = tg.tensor(np.ones(2), requires_grad=True)
        return lambda x, y: train(p, lambda: losses.cross_entropy(p.model(x) * p.extra, y))

    def add(p: Any) -> None:
        p.optimizer.add_param_group({"params": [p.extra], "lr": 0.5})

    agree(make, BATCHES[0], BATCHES[1], add, BATCHES[2], BATCHES[3])


# --- arrays by name ------------------------------------------------------------------------------

DATA = np.arange(12.0).reshape(6, 2)


class Holder:
    """Arrays in attributes."""

    def __init__(self) -> None:
        self.x = np.arange(4.0)
        self.pair = (np.ones(4), 2.0)
        self.table = {"a": np.full(4, 3.0)}
        self.rows = [np.zeros(4), np.ones(4)]

    def step(self, k: Any) -> Any:
        a, b = self.pair
        return self.x * a * b + self.table["a"] + self.rows[1] + self.x[k]


def test_arrays_by_name_are_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    offset = np.zeros(2)

    def step(index: Any) -> Any:
        return DATA[index] * DATA[:2].sum() + offset

    f = tg.compile(step)
    for index in (np.array([0, 1]), np.array([5, 3])):
        np.testing.assert_array_equal(f(index), step(index))
    DATA[5] += 100.0
    try:
        np.testing.assert_array_equal(f(index), step(index))
        offset[0] = 7.0
        np.testing.assert_array_equal(f(index), step(index))
        assert f.captures == 1
    finally:
        DATA[5] -= 100.0
    monkeypatch.setitem(globals(), "DATA", DATA + 1.0)
    np.testing.assert_array_equal(f(index), step(index))
    assert f.captures == 2
    assert isinstance(DATA, np.ndarray)
    assert isinstance(offset, np.ndarray)


def test_arrays_in_attributes_and_containers_are_inputs() -> None:
    holder = Holder()
    f = tg.compile(holder.step)
    k = np.array(1)
    for change in (
        lambda: None,
        lambda: holder.x.__setitem__(1, 9.0),
        lambda: holder.pair[0].__setitem__(0, 9.0),
        lambda: holder.table["a"].__setitem__(2, 9.0),
        lambda: holder.rows[1].__setitem__(3, 9.0),
    ):
        change()
        np.testing.assert_array_equal(f(k), holder.step(k))
    assert f.captures == 1
    holder.rows[1] = np.full(4, 5.0)
    np.testing.assert_array_equal(f(k), holder.step(k))
    holder.table["a"] = np.full(4, 6.0)
    np.testing.assert_array_equal(f(k), holder.step(k))
    holder.pair = (np.full(4, 2.0), 3.0)
    np.testing.assert_array_equal(f(k), holder.step(k))
    assert f.captures == 4
    assert type(holder.x) is type(holder.rows[1]) is type(holder.pair[0]) is np.ndarray


def test_arrays_in_a_module_and_in_defaults_are_inputs() -> None:
    class Shift(nn.Module):
        def __init__(self) -> None:
            self.mean = np.zeros(2)

        def forward(self, x: Any) -> Any:
            return x - self.mean

    shift, weights = Shift(), np.ones(2)

    def step(x: Any, w: Any = weights) -> Any:
        return shift(x) * w

    f = tg.compile(step)
    np.testing.assert_array_equal(f(np.ones(2)), [1.0, 1.0])
    shift.mean[0] = 5.0
    weights[1] = 3.0
    np.testing.assert_array_equal(f(np.ones(2)), [-4.0, 3.0])
    shift.mean = np.ones(2)
    np.testing.assert_array_equal(f(np.ones(2)), [0.0, 0.0])
    assert step.__defaults__ == (weights,)


def test_arrays_made_in_the_step_are_constants() -> None:
    def step(x: Any) -> Any:
        mask = np.zeros(3)
        mask[0] = 1.0
        y = x * mask
        mask[1] = 1.0
        return y + x * mask

    f = tg.compile(step)
    for x in (np.ones(3), np.arange(3.0) + 5):
        np.testing.assert_array_equal(f(x), step(x))


# --- arguments -----------------------------------------------------------------------------------


def test_static_arguments() -> None:
    def step(x: Any, power: Any, how: str = "sum") -> Any:
        return getattr(np, how)(x) ** power

    f = tg.compile(step)
    x = np.arange(3.0)
    for args in ((x, 2), (x, 2.0), (x, True), (x, 2), (x, 2, "max"), (x, 0.0), (x, -0.0)):
        a, b = f(*args), step(*args)
        assert a == b
        assert type(a) is type(b)
    assert f.captures == 6
    assert f(x, power=2) == 9.0
    assert f(x=x, power=2, how="sum") == 9.0


def test_numpy_scalars_are_inputs() -> None:
    f = tg.compile(lambda x, lr: x * lr)
    for lr in (0.1, 0.2, 0.3):
        np.testing.assert_array_equal(f(np.ones(2), np.float64(lr)), [lr, lr])
        np.testing.assert_array_equal(f(np.ones(2), np.asarray(lr)), [lr, lr])
    assert f.captures == 1


def test_containers_and_named_tuples() -> None:
    def step(batch: dict[str, Any], pair: list[Any]) -> Any:
        return {"sum": batch["x"] + pair[0], "rest": (pair[1], [batch["x"] * 2])}

    f = tg.compile(step)
    for k in (1.0, 2.0):
        got = f({"x": np.full(2, k)}, [np.ones(2), "text"])
        assert got["rest"][0] == "text"
        np.testing.assert_array_equal(got["sum"], np.full(2, k + 1))
        np.testing.assert_array_equal(got["rest"][1][0], np.full(2, 2 * k))
    assert f.captures == 1


def test_tensors_as_arguments_get_gradients_and_data() -> None:
    def step(w: Any, x: Any) -> Any:
        w.grad = None
        loss = np.sum((w * x) ** 2)
        loss.backward()
        w.data -= 0.1 * w.grad
        return loss

    f = tg.compile(step)
    for k in range(4):
        a = tg.tensor(np.arange(3.0) + k, requires_grad=True)
        b = tg.tensor(np.arange(3.0) + k, requires_grad=True)
        x = np.arange(3.0) - k
        np.testing.assert_allclose(f(a, x).data, step(b, x).data)
        np.testing.assert_allclose(a.grad, b.grad)
        np.testing.assert_allclose(a.data, b.data)
    assert f.captures == 1
    a.grad[...] = 0.0
    kept = a.grad
    f(tg.tensor(np.ones(3), requires_grad=True), x)
    assert (kept == 0.0).all()


def test_the_same_tensor_twice() -> None:
    def step(a: Any, b: Any) -> Any:
        a.grad = b.grad = None
        np.sum(a * b).backward()
        return a.grad + b.grad

    f = tg.compile(step)
    a, b = (tg.tensor([x], requires_grad=True) for x in (2.0, 3.0))
    for _ in range(2):
        assert f(a, b) == 5.0
        assert f(a, a) == 8.0
        assert f(b, b) == 12.0
        assert f(b, a) == 5.0
    assert f.captures == 2


def test_an_argument_that_the_function_knows_already() -> None:
    w = tg.tensor([2.0], requires_grad=True)
    f = tg.compile(lambda t: np.sum(t * w))
    other = tg.tensor([5.0], requires_grad=True)
    for _ in range(2):
        assert f(w).item() == 4.0
        assert f(other).item() == 10.0

    def step(t: Any) -> Any:
        w.grad = t.grad = None
        np.sum(t * w).backward()
        return w.grad + 0.0

    g = tg.compile(step)
    for _ in range(2):
        assert g(other) == 5.0
        assert g(w) == 4.0


def test_parameters_that_are_returned_are_the_parameters() -> None:
    w = tg.tensor([2.0], requires_grad=True)
    f = tg.compile(lambda x: (w, w * x))
    for _ in range(2):
        assert f(np.ones(1))[0] is w


def test_a_tensor_that_is_part_of_a_graph_goes_on() -> None:
    w = tg.tensor([2.0], requires_grad=True)
    f = tg.compile(lambda t: t * t)
    f(w)
    f(w * 3.0).sum().backward()
    assert w.grad == 36.0


def test_models_and_optimizers_as_arguments() -> None:
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    f = tg.compile(step)
    for seed in (1, 2):
        a, b = problem(seed), problem(seed)
        for x, y in BATCHES:
            expected = step(a.model, a.optimizer, x, y).item()
            assert f(b.model, b.optimizer, x, y).item() == pytest.approx(expected, rel=1e-12)
    assert f.captures == 4  # the first step of each makes the velocities
