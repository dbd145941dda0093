"""What `compile` captures, when it captures again, and what it refuses."""

from __future__ import annotations

import contextvars
import copy
import dataclasses
import datetime
import functools
import io
import itertools
import math
import operator
import os
import pickle
import queue
import random
import re
import sys
import threading
import time
import types
import warnings
import weakref
from collections import ChainMap, OrderedDict, UserDict, defaultdict, deque
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
    return [*found, p.rng.bit_generator.state]


def serials(p: Any) -> list[int]:
    """Return the numbers that say when a parameter was changed last."""
    return [t._changed for t in p.model.parameters()]


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


# --- what a function refers to by name ------------------------------------------------------------

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


def test_values_that_are_replaced_are_seen() -> None:
    class Own:
        def __init__(self) -> None:
            self.w = [tg.Value(k / 3) for k in range(3)]
            self.rest = [tg.Value(k / 7) for k in range(100)]

        def __call__(self, x: Any) -> Any:
            return tg.add_n([a * x[0] for a in self.w] + self.rest).tanh()

    for net in (tg.scalar.MLP(2, [16, 16, 1], rng=0), Own()):

        def step(rows: Any, net: Any = net) -> Any:
            return tg.add_n([net([row[0], row[1]]) for row in rows])

        f = tg.compile(step)
        x = np.random.default_rng(0).normal(size=(20, 2))

        def check(f: Any = f, step: Any = step, x: Any = x) -> None:
            for _ in range(2):
                assert f(x).data == pytest.approx(step(x).data, rel=1e-12)

        check()
        if isinstance(net, Own):
            net.rest[50] = tg.Value(5.0)
            check()
            net.w = [tg.Value(0.5 + k) for k in range(3)]
        else:
            net.layers[0].neurons[1].w[0] = tg.Value(5.0)
        check()
        assert f.captures == (3 if isinstance(net, Own) else 2)


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


# --- whatever else it refers to ------------------------------------------------------------------

CONFIG = types.ModuleType("a_config")
sys.modules["a_config"] = CONFIG


class Net:
    """Something whose methods are replaced."""

    kind = "net"

    def act(self, x: Any) -> Any:
        return x * 1.0

    def __call__(self, x: Any) -> Any:
        return self.act(x)


class Twice(Net):
    """Another class for the same objects."""

    def act(self, x: Any) -> Any:
        return x * 2.0


class Layered(nn.Module):
    """A module with attributes by number."""

    def __init__(self) -> None:
        self.scale0 = 1.0
        self.w = tg.tensor(np.ones(3), requires_grad=True)

    def act(self, x: Any) -> Any:
        return self.w * x

    def forward(self, x: Any, k: int = 0) -> Any:
        return self.act(x) * getattr(self, f"scale{k}")


class Tripled:
    """A descriptor."""

    def __get__(self, owner: Any, kind: Any) -> Any:
        return owner._k * 3.0


class Described:
    """An object with a descriptor, and one that is an index."""

    k = Tripled()

    def __init__(self) -> None:
        self._k = 1

    def __index__(self) -> int:
        return self._k


class Odd(np.ndarray[Any, Any]):
    """An array with a class of its own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    """Settings that cannot be assigned to."""

    w: Any


Case = tuple[Callable[[Any], Any], Callable[[], Any]]


def long_list() -> Case:
    weights = [1.0] * 100
    return lambda x: x * weights[3], lambda: weights.__setitem__(3, 5.0)


def longer_list() -> Case:
    weights = [1.0] * 5000
    return lambda x: x * weights[-1], lambda: weights.__setitem__(-1, 5.0)


def long_dict() -> Case:
    weights = dict.fromkeys(range(100), 1.0)
    return lambda x: x * weights[3], lambda: weights.__setitem__(3, 5.0)


def many_tensors() -> Case:
    params = {f"p{k}": tg.tensor([1.0, 2.0, 3.0]) for k in range(100)}
    return lambda x: params["p70"] * x, lambda: params.update(p70=tg.tensor([5.0, 5.0, 5.0]))


def many_arrays() -> Case:
    rows = [np.ones(3) for _ in range(2000)]
    return lambda x: x * rows[3], lambda: rows.__setitem__(3, np.zeros(3))


def absent_attribute() -> Case:
    config = SimpleNamespace()
    return lambda x: x * getattr(config, "scale", 1.0), lambda: setattr(config, "scale", 2.0)


def asked_with_hasattr() -> Case:
    config = Net()

    def step(x: Any) -> Any:
        return x * config.extra if hasattr(config, "extra") else x + 0.0  # type: ignore[attr-defined]  # what is tested

    return step, lambda: setattr(config, "extra", 2.0)


def computed_name() -> Case:
    config, names = SimpleNamespace(alpha=1.0), [f"al{'pha'}"]
    return lambda x: x * getattr(config, names[0]), lambda: setattr(config, "alpha", 2.0)


def computed_name_in_a_module() -> Case:
    layer = Layered()
    return layer, lambda: setattr(layer, "scale0", 2.0)


def all_attributes() -> Case:
    config = SimpleNamespace(alpha=1.0)
    return lambda x: x * sum(vars(config).values()), lambda: setattr(config, "alpha", 2.0)


def all_globals() -> Case:
    return lambda x: x * globals()["RA" + "TE"], lambda: globals().update(RATE=RATE + 1.0)


def a_builtin_shadowed() -> Case:
    return lambda x: x * abs(-2.0), lambda: globals().update(abs=lambda x: 7.0)


def method_of_an_object() -> Case:
    net = Net()
    return lambda x: net(x), lambda: setattr(net, "act", lambda x: x * 2.0)


def method_of_a_class() -> Case:
    class Local(Net):
        def act(self, x: Any) -> Any:
            return x * 1.0

    net = Local()
    return lambda x: net(x), lambda: setattr(Local, "act", lambda self, x: x * 2.0)


def class_of_an_object() -> Case:
    net = Net()
    return lambda x: net(x), lambda: setattr(net, "__class__", Twice)


def forward_of_a_module() -> Case:
    class Local(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 1.0

    layer = Local()
    return layer, lambda: setattr(layer, "forward", lambda x: x * 2.0)


def method_of_a_module_class() -> Case:
    class Local(Layered):
        def act(self, x: Any) -> Any:
            return self.w * x

    layer = Local()
    return layer, lambda: setattr(Local, "act", lambda self, x: self.w * x * 2.0)


def code() -> Case:
    def helper(x: Any) -> Any:
        return x * 1.0

    def other(x: Any) -> Any:
        return x * 2.0

    return lambda x: helper(x), lambda: setattr(helper, "__code__", other.__code__)


def defaults() -> Case:
    def helper(x: Any, scale: float = 1.0, *, offset: float = 0.0) -> Any:
        return x * scale + offset

    return lambda x: helper(x), lambda: setattr(helper, "__defaults__", (2.0,))


def keyword_defaults() -> Case:
    def helper(x: Any, *, offset: float = 0.0) -> Any:
        return x + offset

    return lambda x: helper(x), lambda: setattr(helper, "__kwdefaults__", {"offset": 2.0})


def attribute_of_a_function() -> Case:
    def helper(x: Any) -> Any:
        return x * helper.scale  # type: ignore[attr-defined]  # what is tested

    helper.scale = 1.0  # type: ignore[attr-defined]  # what is tested
    return lambda x: helper(x), lambda: setattr(helper, "scale", 2.0)


def import_inside() -> Case:
    CONFIG.lr = 1.0  # type: ignore[attr-defined]  # what is tested

    def step(x: Any) -> Any:
        import a_config

        return x * a_config.lr

    return step, lambda: setattr(CONFIG, "lr", 2.0)


def import_from_inside() -> Case:
    CONFIG.lr = 1.0  # type: ignore[attr-defined]  # what is tested

    def step(x: Any) -> Any:
        from a_config import lr

        return x * lr

    return step, lambda: setattr(CONFIG, "lr", 2.0)


def environment() -> Case:
    os.environ["A_RATE"] = "1"
    return lambda x: x * float(os.environ["A_RATE"]), lambda: os.environ.update(A_RATE="2")


def environment_by_getenv() -> Case:
    os.environ["A_RATE"] = "1"
    return lambda x: x * float(os.getenv("A_RATE", "")), lambda: os.environ.update(A_RATE="2")


def descriptor() -> Case:
    item = Described()
    return lambda x: x * item.k, lambda: setattr(item, "_k", 2)


def index() -> Case:
    item = Described()
    return lambda x: x[item], lambda: setattr(item, "_k", 2)


def context_variable() -> Case:
    variable = contextvars.ContextVar("variable", default=1.0)
    return lambda x: x * variable.get(), lambda: variable.set(2.0)


def chain_map() -> Case:
    table = ChainMap({}, {"a": 1.0})
    return lambda x: x * table["a"], lambda: table.update(a=2.0)


def user_dict() -> Case:
    table = UserDict({"a": 1.0})
    return lambda x: x * table["a"], lambda: table.update(a=2.0)


def proxy() -> Case:
    table = {"a": 1.0}
    view = types.MappingProxyType(table)
    return lambda x: x * view["a"], lambda: table.update(a=2.0)


def bytes_in_place() -> Case:
    numbers = bytearray([1, 2])
    return lambda x: x * numbers[0], lambda: numbers.__setitem__(0, 3)


def weak_reference() -> Case:
    config = Net()
    config.rate = 1.0  # type: ignore[attr-defined]  # what is tested
    find = weakref.ref(config)
    find.__callback__  # noqa: B018  # keeps nothing
    return lambda x: x * find().rate, lambda c=config: setattr(c, "rate", 2.0)


def masked_array() -> Case:
    weights = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
    return lambda x: x * weights.data, lambda: weights.__setitem__(0, 7.0)


def array_of_a_subclass() -> Case:
    weights = np.ones(3).view(Odd)
    return lambda x: x * float(weights.sum()), lambda: weights.__setitem__(0, 7.0)


def array_of_objects() -> Case:
    weights = np.array([np.ones(3), np.ones(2)], dtype=object)
    return lambda x: x * weights[0], lambda: weights[0].__setitem__(0, 7.0)


def forward_of_a_primitive() -> Case:
    slope = [0.5]

    @tg.primitive
    def leaky(x: Any) -> Any:
        return np.where(x > 1.5, x, slope[0] * x)

    return lambda x: leaky(x), lambda: slope.__setitem__(0, 2.0)


def options_by_name() -> Case:
    optimizer = tg.optim.SGD([tg.tensor([1.0], requires_grad=True)], lr=0.1)
    group = optimizer.param_groups[0]
    return lambda x: x * optimizer.param_groups[0]["lr"], lambda: group.update(lr=0.5)


def requires_grad_by_name() -> Case:
    w = tg.tensor([1.0], requires_grad=True)
    return lambda x: x * (2.0 if w.requires_grad else 1.0), lambda: w.requires_grad_(False)


SEEN = [
    long_list, longer_list, long_dict, many_tensors, many_arrays, absent_attribute,
    asked_with_hasattr, computed_name, computed_name_in_a_module, all_attributes, all_globals,
    a_builtin_shadowed, method_of_an_object, method_of_a_class, class_of_an_object,
    forward_of_a_module, method_of_a_module_class, code, defaults, keyword_defaults,
    attribute_of_a_function, import_inside, import_from_inside, environment,
    environment_by_getenv, descriptor, index, context_variable, chain_map, user_dict, proxy,
    bytes_in_place, weak_reference, masked_array, array_of_a_subclass, array_of_objects,
    forward_of_a_primitive, options_by_name, requires_grad_by_name,
]  # fmt: skip


@pytest.mark.parametrize("case", SEEN, ids=lambda case: case.__name__)
def test_a_change_is_seen(case: Callable[[], Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "RATE", 0.5)  # and back afterwards
    monkeypatch.setenv("A_RATE", "1")
    step, change = case()
    f, x = tg.compile(step), np.array([1.0, 2.0, 3.0])

    def check() -> Any:
        expected = flat(step(x))[0]
        for _ in range(2):
            np.testing.assert_array_equal(flat(f(x))[0], expected)
        return expected

    try:
        before = check()
        assert f.captures == 1
        change()
        assert not np.array_equal(before, check())
        assert f.captures == 2
    finally:
        globals().pop("abs", None)


def test_arrays_and_generators_in_a_partial_are_inputs() -> None:
    weights, rng, twin = np.ones(3), np.random.default_rng(0), np.random.default_rng(0)

    def loss(w: Any, x: Any) -> Any:
        return w * x

    f, noise = tg.compile(functools.partial(loss, weights)), functools.partial(rng.normal, 0.0, 1.0)
    g = tg.compile(lambda x: x + noise(3))
    x = np.arange(3.0)
    for k in range(3):
        np.testing.assert_array_equal(f(x), x * 2.0**k)
        np.testing.assert_array_equal(g(x), x + twin.normal(0.0, 1.0, 3))
        weights *= 2.0
    assert (f.captures, g.captures) == (1, 1)


def test_arrays_in_slots_of_frozen_objects_are_inputs() -> None:
    frozen = Frozen(np.ones(3))
    f = tg.compile(lambda x: x * frozen.w)
    for k in range(2):
        frozen.w[0] = k
        np.testing.assert_array_equal(f(np.ones(3)), frozen.w)
    assert type(frozen.w) is np.ndarray


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
    assert f.captures == 2  # isinstance(lr, float) tells them apart


def test_keys_of_a_dict_that_are_equal_and_of_another_type() -> None:
    f = tg.compile(lambda table: next(k * v for k, v in table.items()))
    for key in (1, 1.0, True, 1):
        assert f({key: np.ones(1, np.int32)}).dtype == (key * np.ones(1, np.int32)).dtype
    assert f.captures == 3


def test_slices_and_ranges_are_compared_by_value() -> None:
    f = tg.compile(lambda x, rows, steps: x[rows] * len(steps))
    for _ in range(2):
        assert f(np.ones(4), slice(0, 2), range(3)).tolist() == [3.0, 3.0]
    assert f(np.ones(4), slice(0, 1), range(3)).tolist() == [3.0]
    assert f.captures == 2


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


# --- random numbers ------------------------------------------------------------------------------

DRAWS: dict[str, Callable[[Any, Any], Any]] = {
    "random": lambda rng, x: rng.random((2, 3)),
    "random_float32": lambda rng, x: rng.random(size=5, dtype=np.float32),
    "random_scalar": lambda rng, x: x.astype(np.float32) * (0.5 + rng.random()),
    "random_0d": lambda rng, x: rng.random(()),
    "standard_normal": lambda rng, x: rng.standard_normal(4),
    "standard_normal_float32": lambda rng, x: rng.standard_normal(4, np.float32),
    "normal": lambda rng, x: rng.normal(1.0, 2.0, (2, 2)),
    "normal_default": lambda rng, x: rng.normal(size=3),
    "normal_captured": lambda rng, x: rng.normal(x, 0.5),
    "normal_scalar": lambda rng, x: rng.normal() * x,
    "uniform": lambda rng, x: rng.uniform(-1.0, 3.0, size=4),
    "uniform_one": lambda rng, x: rng.uniform(high=2.0, size=4),
    "uniform_scalar": lambda rng, x: rng.uniform(2, 3) * x.astype(np.float32),
    "integers": lambda rng, x: rng.integers(0, 10, 5),
    "integers_index": lambda rng, x: x[rng.integers(0, 3, 5)],
    "integers_scalar": lambda rng, x: x[rng.integers(3)],
    "integers_endpoint": lambda rng, x: rng.integers(0, 10, 5, dtype=np.int32, endpoint=True),
    "permutation": lambda rng, x: x[rng.permutation(len(x))],
    "permutation_of": lambda rng, x: rng.permutation(x),
    "permuted": lambda rng, x: rng.permuted(x),
    "choice": lambda rng, x: rng.choice(x, 2, replace=False),
    "choice_of": lambda rng, x: rng.choice(5, size=3, p=[0.1, 0.2, 0.3, 0.2, 0.2]),
    "choice_index": lambda rng, x: x[rng.choice(3)],
    "exponential": lambda rng, x: rng.exponential(2.0, 3),
    "standard_exponential": lambda rng, x: rng.standard_exponential(3),
    "standard_exponential_inv": lambda rng, x: rng.standard_exponential(3, method="inv"),
    "binomial": lambda rng, x: rng.binomial(10, 0.3, 4),
    "poisson": lambda rng, x: rng.poisson(np.abs(x)),
    "gamma": lambda rng, x: rng.gamma(2.0, size=3),
    "multivariate_normal": lambda rng, x: rng.multivariate_normal(np.zeros(2), np.eye(2), 3),
    "dirichlet": lambda rng, x: rng.dirichlet(np.ones(3), 2),
    "order": lambda rng, x: [rng.random(2), rng.random(2), rng.normal(size=2), rng.random(2)],
    "unused": lambda rng, x: (rng.random(3), rng.random(3))[1],
    "twice_the_same": lambda rng, x: rng.random(3) - rng.random(3),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_those_of_eager_execution(name: str) -> None:
    def make(p: Any) -> Any:
        return lambda x: DRAWS[name](p.rng, x)

    f = agree(make, *[(np.arange(3.0) + k,) for k in range(4)])
    assert f.captures == 1


def test_a_generator_as_an_argument_and_its_bound_method() -> None:
    def make(p: Any) -> Any:
        normal = p.rng.normal
        return lambda rng, x: normal(size=3) + rng.random(3) + x

    a, b = np.random.default_rng(1), np.random.default_rng(1)
    eager, compiled = problem(), problem()
    plain, fast = make(eager), tg.compile(make(compiled))
    for k in range(3):
        np.testing.assert_array_equal(plain(a, np.ones(3) + k), fast(b, np.ones(3) + k))
    assert fast.captures == 1
    assert a.bit_generator.state == b.bit_generator.state
    assert eager.rng.bit_generator.state == compiled.rng.bit_generator.state
    c, d = np.random.default_rng(2), np.random.default_rng(2)
    np.testing.assert_array_equal(plain(c, np.ones(3)), fast(d, np.ones(3)))


def test_dropout_is_that_of_eager_execution() -> None:
    def make(p: Any) -> Any:
        p.dropout = nn.Dropout(0.4, rng=p.rng)
        return lambda x, y: train(p, lambda: losses.cross_entropy(p.dropout(p.model(x)), y))

    def evaluate(p: Any) -> None:
        p.dropout.eval()

    f = agree(make, *BATCHES, evaluate, *BATCHES[:2])
    assert f.captures == 3


def test_a_batch_drawn_in_the_step() -> None:
    def make(p: Any) -> Any:
        def step(n: int) -> Any:
            batch = p.rng.permutation(len(p.x))[:n]
            x = p.x[batch] + p.rng.normal(0.0, 0.1, (n, 3))
            return train(p, lambda: losses.cross_entropy(p.model(x), p.labels[batch]))

        return step

    def change(p: Any) -> None:
        p.x[2:] += 1.0

    f = agree(make, *[(4,)] * 4, change, *[(4,)] * 2)
    assert f.captures == 2


def test_a_replay_that_does_not_serve_gives_its_draws_back() -> None:
    def make(p: Any) -> Any:
        def step(labels: Any) -> Any:
            noise = p.rng.normal(size=(3, 2))
            return losses.cross_entropy(tg.tensor(np.zeros((3, 2))) + noise, labels)

        return step

    ignored = np.array([0, -100, 1])
    f = agree(make, *[(np.array([0, 1, 1]),)] * 2, (ignored,), (ignored,), (np.array([1, 0, 0]),))
    assert f.captures == 2
    p = problem()
    g = tg.compile(make(p))
    g(np.array([0, 1, 1]))
    before = p.rng.bit_generator.state
    for _ in range(2):
        with pytest.raises((ValueError, IndexError)):
            g(np.array([0, 1, 9]))
        assert p.rng.bit_generator.state == before


def drawn_from_numpy(x: Any) -> Any:
    return x * np.random.rand(3)  # noqa: NPY002  # what is tested


def drawn_from_python(x: Any) -> Any:
    return x * random.random()


def seeded_anew(x: Any) -> Any:
    return x * np.random.default_rng().random(3)


def shuffled(x: Any) -> Any:
    rows = np.arange(3)
    P.rng.shuffle(rows)
    return x[rows]


def drawn_into(x: Any) -> Any:
    out = np.empty(3)
    P.rng.random(out=out)
    return x * out


#: Gets what no code names.
OUT_OF_SIGHT = operator.attrgetter("_box")


def drawn_from_a_random_state(x: Any) -> Any:
    return x * STATE.rand(3)


def drawn_from_a_random(x: Any) -> Any:
    return x * RANDOM.random()


def drawn_by_a_bit_generator(x: Any) -> Any:
    return x * float(BITS.random_raw() % 7)


STATE = np.random.RandomState(0)  # what is tested
RANDOM = random.Random(0)  # what is tested
BITS = np.random.PCG64(0)


class Both:
    """A generator that is found, and drawn from by a way that is not."""

    def __init__(self) -> None:
        self.rng = self._box = np.random.default_rng(0)


BOTH = Both()


def drawn_beside(x: Any) -> Any:
    return x * BOTH.rng.random(3) * OUT_OF_SIGHT(BOTH).random(3)


class Hidden:
    """A generator that nobody finds."""

    def __init__(self) -> None:
        self._draw = functools.partial(lambda box: box[0]().random(3), [self._get])
        self._box = {1: np.random.default_rng(0)}

    def _get(self) -> Any:
        return OUT_OF_SIGHT(self)[1]

    def draw(self) -> Any:
        return self._draw()


HIDDEN = Hidden()


def drawn_out_of_sight(x: Any) -> Any:
    return x * HIDDEN.draw()


def size_by_value(x: Any) -> Any:
    return P.rng.random(size=x.sum())


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (drawn_from_numpy, "np.random"),
        (drawn_from_python, "Python's random"),
        (seeded_anew, "new seed"),
        (shuffled, "permutation"),
        (drawn_into, "Leave `out` away"),
        (drawn_out_of_sight, "not followed"),
        (size_by_value, "size"),
        (drawn_beside, "not followed"),
        (drawn_from_a_random_state, "RandomState"),
        (drawn_from_a_random, "a Random"),
        (drawn_by_a_bit_generator, "PCG64"),
    ],
)
def test_draws_that_are_refused(step: Any, message: str) -> None:
    before = repr([np.random.get_state(), random.getstate(), P.rng.bit_generator.state])  # noqa: NPY002  # what is tested
    hidden = HIDDEN._box[1].bit_generator.state
    with pytest.raises(CaptureError, match=message) as info:
        tg.compile(step)(np.ones(3))
    after = repr([np.random.get_state(), random.getstate(), P.rng.bit_generator.state])  # noqa: NPY002  # what is tested
    assert before == after
    assert HIDDEN._box[1].bit_generator.state == hidden
    if step not in (drawn_out_of_sight, drawn_by_a_bit_generator):
        assert "test_capture.py" in str(info.value)


def test_a_generator_with_a_seed_made_in_the_step_draws_the_same_each_time() -> None:
    f = tg.compile(lambda x: x * np.random.default_rng(3).random(3))
    for k in (1.0, 2.0):
        np.testing.assert_array_equal(
            f(np.full(3, k)), np.full(3, k) * np.random.default_rng(3).random(3)
        )


# --- what is refused -----------------------------------------------------------------------------

COUNTER = 0
KEPT: list[Any] = []
RECORD: dict[str, Any] = {}
NUMBERS = [1.0, 2.0, 3.0]
BUFFER = np.zeros(3)
QUEUE: deque[Any] = deque(maxlen=3)


class Model(nn.Module):
    """A module that keeps something."""

    last: Any

    def __init__(self) -> None:
        self.weight = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
        self.calls = 0

    def forward(self, x: Any) -> Any:
        return x * self.weight


MODEL = Model()
TRAINER = Settings()


def condition(t: Any) -> Any:
    if t.sum() > 3:
        return t
    return -t


def loop(t: Any) -> Any:
    while np.max(t) > 0.1:
        t = t * 0.5
    return t


def asserted(t: Any) -> Any:
    assert (t > 0).all()
    return t


def chained(t: Any) -> Any:
    return t if 0 < t[0] < 3 else -t


def conjunction(t: Any) -> Any:
    return t[0] > 0 and t


def negated(t: Any) -> Any:
    return not t[0]


def membership(t: Any) -> Any:
    return t if t[0] in NUMBERS else -t


def contained(t: Any) -> Any:
    return t if 1.0 in t else -t


def as_float(t: Any) -> Any:
    return t * float(t[0])


def as_int(t: Any) -> Any:
    return t * int(t[0])


def item(t: Any) -> Any:
    return t * t[0].item()


def to_list(t: Any) -> Any:
    return t * sum(t.tolist())


def as_array(t: Any) -> Any:
    return np.asarray(t) * 2.0


def from_math(t: Any) -> Any:
    return t * math.exp(t[0])


def ranged(t: Any) -> Any:
    return sum(t for _ in range(np.argmax(t)))


def list_index(t: Any) -> Any:
    return t * NUMBERS[np.argmax(t)]


def formatted(t: Any) -> Any:
    RECORD["text"] = f"{t.sum():.3f}"
    return t


def mask_index(t: Any) -> Any:
    return t[t > 1.5].sum()


def nonzero(t: Any) -> Any:
    return np.nonzero(t)[0].sum()


def argwhere(t: Any) -> Any:
    return len(np.argwhere(t)) * t


def unique(t: Any) -> Any:
    return np.unique(t).sum()


def sorted_list(t: Any) -> Any:
    return np.stack(sorted(t)) * 2.0


def maximum(t: Any) -> Any:
    return max(t[0], t[1]) * t


def swallowed(t: Any) -> Any:
    try:
        return t * float(t[0])
    except Exception:  # what is tested: that this does not hide it
        return t


def list_grows(t: Any) -> Any:
    KEPT.append(t.sum())
    return t


def number_list_grows(t: Any) -> Any:
    KEPT.append(len(KEPT))
    return t


def dict_grows(t: Any) -> Any:
    RECORD[f"key{len(RECORD)}"] = 1
    return t


def dict_keeps(t: Any) -> Any:
    RECORD["last"] = t * 2.0
    return t


def queue_grows(t: Any) -> Any:
    QUEUE.append(1.0)
    return t


def counts(t: Any) -> Any:
    global COUNTER
    COUNTER += 1
    return t * COUNTER


def module_counts(t: Any) -> Any:
    MODEL.calls += 1
    return t


def module_keeps(t: Any) -> Any:
    MODEL.last = t * 2.0
    return t


def object_keeps(t: Any) -> Any:
    TRAINER.rate = t.sum()
    return t


def object_counts(t: Any) -> Any:
    TRAINER.shared += 1.0
    return t


def freezes(t: Any) -> Any:
    MODEL.weight.requires_grad_(False)
    return t * MODEL.weight


def into_plain(t: Any) -> Any:
    out = np.zeros(3)
    np.multiply(t, 2.0, out=out)
    return out


def into_global(t: Any) -> Any:
    BUFFER[...] = 1.0
    return t + BUFFER


def element_of_plain(t: Any) -> Any:
    out = np.zeros(3)
    out[1] = t.sum()
    return out


def element_of_global(t: Any) -> Any:
    BUFFER[0] = t.sum()
    return t


def added_to_plain(t: Any) -> Any:
    out = np.zeros(3)
    out += t
    return out


def rebinds(t: Any) -> Any:
    global BUFFER
    BUFFER = BUFFER + 1.0
    return t + BUFFER


def function_counts(t: Any) -> Any:
    function_counts.calls += 1  # type: ignore[attr-defined]  # what is tested
    return t


function_counts.calls = 0  # type: ignore[attr-defined]  # what is tested


def attribute_appears(t: Any) -> Any:
    TRAINER.another = getattr(TRAINER, "another", 0) + 1  # type: ignore[attr-defined]  # what is tested
    return t


def method_replaced(t: Any) -> Any:
    Settings.scale = lambda self, x: x  # type: ignore[method-assign]  # what is tested
    return SETTINGS.scale(t)


def meter_runs(t: Any) -> Any:
    global METER
    METER += 1
    return t


class Meter:
    """Something that counts by an operator."""

    total = 0

    def __iadd__(self, n: int) -> Meter:
        self.total += n
        return self


METER = Meter()
DECAYED = tg.optim.SGD([tg.tensor([1.0], requires_grad=True)], lr=0.5)


def rate_decays(t: Any) -> Any:
    DECAYED.param_groups[0]["lr"] *= 0.5
    return t


def clock(t: Any) -> Any:
    return t * time.perf_counter()


def today(t: Any) -> Any:
    return t * datetime.datetime.now().year  # what is tested


def file_read(t: Any) -> Any:
    return t * len(open(__file__).read())  # what is tested


def file_loaded(t: Any) -> Any:
    return t * np.load("weights.npy")


#: Steps, with what the message must say beside the line.
REFUSED: dict[Any, str] = {
    condition: "np.where",
    loop: "np.where",
    asserted: "assert",
    chained: "a < b < c",
    conjunction: "join conditions with &",
    negated: "np.where",
    membership: "`in`",
    contained: "`in`",
    as_float: "np.exp, not math.exp",
    as_int: "as it is",
    item: "Return what shall be read",
    to_list: "Return what shall be read",
    as_array: "as it is",
    from_math: "np.exp, not math.exp",
    ranged: "range",
    list_index: "np.take",
    formatted: "Return what shall be read",
    mask_index: "np.where",
    nonzero: "np.where",
    argwhere: "np.where",
    unique: "argument",
    sorted_list: "np.where",
    maximum: "np.where",
    swallowed: "np.exp, not math.exp",
    list_grows: "KEPT",
    number_list_grows: "KEPT",
    dict_grows: "RECORD",
    dict_keeps: "RECORD",
    queue_grows: "QUEUE",
    counts: "COUNTER",
    module_counts: "Model.calls",
    module_keeps: "Model.last",
    object_keeps: "TRAINER.rate",
    object_counts: "TRAINER.shared",
    freezes: "requires_grad",
    into_plain: "plain array",
    into_global: "in place",
    element_of_plain: "np.stack",
    element_of_global: "in place",
    added_to_plain: "plain array",
    rebinds: "BUFFER",
    function_counts: "function_counts.calls",
    attribute_appears: "TRAINER.another",
    method_replaced: "Settings.scale",
    meter_runs: "METER.total",
    rate_decays: "between the steps",
    clock: "what time it is",
    today: "what time it is",
    file_read: "what is in a file",
    file_loaded: "what is in a file",
}

#: A word of the line that each must show, where it is not the first one of the body.
SHOWN = {
    "condition": "if t.sum() > 3", "loop": "while np.max(t) > 0.1", "counts": "COUNTER += 1",
    "meter_runs": "self.total += n",
    "element_of_plain": "out[1] = t.sum()", "into_plain": "np.multiply", "rebinds": "BUFFER = ",
    "added_to_plain": "out += t", "swallowed": "float(t[0])",
}  # fmt: skip


def body_line(step: Any) -> str:
    import inspect

    lines = inspect.getsource(step).splitlines()
    rows = [row.strip() for row in lines[1:] if not row.strip().startswith("global")]
    return SHOWN.get(step.__name__, rows[0])


# Tensors are not written into plain arrays, eagerly either.
REFUSED_OF = [(step, "array") for step in REFUSED]
REFUSED_OF += [(step, "tensor") for step in REFUSED if step not in (into_plain, added_to_plain)]


@pytest.mark.parametrize(("step", "kind"), REFUSED_OF, ids=lambda x: getattr(x, "__name__", x))
def test_refused(step: Any, kind: str) -> None:
    x: Any = np.array([1.0, 2.0, 3.0])
    if kind == "tensor":
        x = tg.tensor(x)
    before = [COUNTER, len(KEPT), dict(RECORD), list(QUEUE), dict(vars(MODEL)), dict(vars(TRAINER))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CaptureError) as info:
            tg.compile(step)(x)
    message = str(info.value)
    assert REFUSED[step] in message
    assert "test_capture.py" in message
    assert body_line(step) in message
    after = [COUNTER, len(KEPT), dict(RECORD), list(QUEUE), dict(vars(MODEL)), dict(vars(TRAINER))]
    assert before == after
    assert MODEL.weight.requires_grad
    assert (BUFFER == 0.0).all()
    assert isinstance(BUFFER, np.ndarray)


def endless() -> Any:
    while True:
        yield 1.0


def filled() -> Any:
    found: queue.Queue[float] = queue.Queue()
    found.put(1.0)
    return found


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: iter([1.0, 2.0]), "list_iterator"),
        (endless, "generator"),
        (itertools.count, "count"),
        (lambda: zip([1.0], [2.0], strict=True), "zip"),
        (filled, "Queue"),
        (lambda: open(__file__), "TextIOWrapper"),  # noqa: SIM115  # what is tested
    ],
)
def test_what_gives_something_else_each_time_is_refused(make: Any, kind: str) -> None:
    source = make()

    def step(x: Any, given: Any = None) -> Any:
        return x if given is None and source is None else x * 2.0

    def taking(x: Any, given: Any) -> Any:
        return x

    for f, args in ((step, ()), (taking, (source,)), (taking, ([source],))):
        with pytest.raises(CaptureError, match=f"{kind}.*Take the batch outside"):
            tg.compile(f)(np.ones(3), *args)
    if isinstance(source, io.IOBase):
        source.close()
    else:
        assert (source.get if kind == "Queue" else source.__next__)() is not None


def test_a_method_of_what_gives_something_else_each_time_is_refused() -> None:
    draw = itertools.count().__next__
    with pytest.raises(CaptureError, match="Take the batch outside"):
        tg.compile(lambda x: x * draw())(np.ones(3))


def test_too_many_objects_to_be_compared_are_refused() -> None:
    objects = [SimpleNamespace(k=k) for k in range(5000)]
    with pytest.raises(CaptureError, match="objects has 5000 elements"):
        tg.compile(lambda x: x * objects[0].k)(np.ones(3))


def test_a_clock_that_is_not_asked_is_no_reason_to_refuse() -> None:
    def step(x: Any, timed: bool = False) -> Any:
        return x * (time.perf_counter() if timed else 2.0)

    f = tg.compile(step)
    for _ in range(2):
        assert f(np.ones(1)) == 2.0
    assert sys.getprofile() is None


def test_an_option_that_a_rule_changes_is_refused() -> None:
    class Counting(tg.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.1, "t": 0})

        def rule(self, p: Any, g: Any, state: Any, group: Any) -> Any:
            group["t"] += 1
            return p - group["lr"] / group["t"] * g, ()

    w = tg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = Counting([w])

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        np.sum(w * x).backward()
        optimizer.step()

    with pytest.raises(CaptureError, match="option 't'"):
        tg.compile(step)(np.ones(2))


def test_sets_and_dicts_of_any_kind_are_new_at_each_call() -> None:
    class Attributes(dict[str, Any]):
        pass

    def step(x: Any) -> Any:
        names = defaultdict(list)
        names["a"] = [x]
        return x * 2.0, set(), [{1, 2}], names, OrderedDict(z=x), Attributes(b=x), ALREADY

    f = tg.compile(step)
    for k in range(3):
        x = np.full(2, float(k))
        y, empty, (full,), names, ordered, attributes, already = f(x)
        assert (empty, full) == (set(), {1, 2})
        assert list(map(type, (names, ordered, attributes))) == [
            defaultdict, OrderedDict, Attributes
        ]  # fmt: skip
        assert already is ALREADY
        assert names["new"] == []
        np.testing.assert_array_equal(y, names["a"][0] * 2.0)
        empty.add(k)
        full.clear()
    assert f.captures == 1


ALREADY: set[int] = {5}


def test_in_place_on_arrays_of_the_step_itself() -> None:
    def step(x: Any) -> Any:
        y = x * 2.0
        y += 1.0
        y[0] = x.sum()
        y = y.reshape(3, 1)
        y *= 3.0
        z = y[:2] * 1.0
        z -= x[0]
        np.multiply(z, 2.0, out=z)
        return y, z

    f = tg.compile(step)
    for x in (np.ones(3), np.arange(3.0)):
        for a, b in zip(f(x), step(x), strict=True):
            np.testing.assert_array_equal(a, b)


def changed_in_place(x: Any) -> Any:
    x += 1.0
    return x


def set_in_place(x: Any) -> Any:
    x[0] = 1.0
    return x


def view_changed(x: Any) -> Any:
    y = x * 2.0
    z = y[:2]
    y += 1.0
    return z


def written_through_a_view(x: Any) -> Any:
    y = x * 2.0
    z = y[:2]
    z += 1.0
    return y


def copied_into(x: Any) -> Any:
    np.copyto(x, x * 2.0)
    return x


@pytest.mark.parametrize(
    "step", [changed_in_place, set_in_place, view_changed, written_through_a_view, copied_into]
)
def test_arrays_that_are_shared_are_not_changed(step: Any) -> None:
    x = np.ones(3)
    with pytest.raises(CaptureError, match=r"(?s)in place.*x = x \+.*test_capture.py"):
        tg.compile(step)(x)
    assert (x == 1.0).all()


def test_printing_shows_no_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    def step(x: Any) -> Any:
        t = tg.tensor([1.0, 2.0]) * x
        print(repr(x), [t])  # as a debugger shows them
        return t

    f = tg.compile(step)
    np.testing.assert_array_equal(f(np.ones(2)).data, [1.0, 2.0])
    text = capsys.readouterr().out
    assert "2." not in text.replace("(2,)", "")
    assert "float64" in text


@pytest.mark.parametrize("text", [str, print, "{}".format, "%s".__mod__, "{:.2f}".format])
@pytest.mark.parametrize("kind", [np.asarray, tg.tensor, "Value"])
def test_texts_are_refused(kind: Any, text: Any) -> None:
    def step(x: Any) -> Any:
        y = tg.Value(x[0]) * 2.0 if kind == "Value" else kind_of(x)[0] * 2.0
        text(y)
        return y

    def kind_of(x: Any) -> Any:
        return tg.tensor(x) if kind is tg.tensor else x

    with pytest.raises(CaptureError, match="a text"):
        tg.compile(step)(np.ones(2))


def test_a_refused_step_leaves_everything_as_it_was() -> None:
    p = problem()

    def step(x: Any, y: Any) -> Any:
        noise = p.rng.normal(size=(6, 3))
        loss = train(p, lambda: losses.cross_entropy(p.model(x + noise), y))
        return loss.item()

    train(p, lambda: losses.cross_entropy(p.model(p.x), p.labels))
    before, changed = state(p), serials(p)
    with pytest.raises(CaptureError, match=r"item\(\)"):
        tg.compile(step)(*BATCHES[0])
    assert equal(before, state(p))
    assert changed == serials(p)


def test_fallback_runs_eagerly_and_says_so_once() -> None:
    def make(p: Any) -> Any:
        p.count = 0

        def step(x: Any, y: Any) -> Any:
            p.count += 1
            noise = p.rng.normal(size=(6, 3))
            loss = train(p, lambda: losses.cross_entropy(p.model(x + noise), y))
            return loss.item() * p.count

        return step

    a, b = problem(), problem()
    plain, fast = make(a), tg.compile(make(b), fallback=True)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        for batch in BATCHES:
            assert fast(*batch) == plain(*batch)
    (warning,) = record
    assert "runs eagerly" in str(warning.message)
    assert warning.filename == __file__
    assert equal(state(a), state(b))
    assert b.count == 4
    assert fast.captures == 0


# --- errors of the step itself --------------------------------------------------------------------


def test_a_step_that_raises_leaves_everything_as_it_was() -> None:
    p = problem()

    def step(x: Any, y: Any, fail: bool) -> Any:
        noise = p.rng.normal(size=(6, 3))
        loss = train(p, lambda: losses.cross_entropy(p.model(x + noise), y))
        if fail:
            raise KeyError("afterwards")
        return loss

    f = tg.compile(step)
    before = state(p)
    with pytest.raises(KeyError):
        f(*BATCHES[0], True)
    assert equal(before, state(p))
    for batch in BATCHES[:2]:
        f(*batch, False)
    before = state(p)
    with pytest.raises(KeyError):
        f(*BATCHES[0], True)
    assert equal(before, state(p))
    x, y = BATCHES[0]
    for wrong in (y + 9, y - 5):
        with pytest.raises(IndexError, match="not one of the 2 classes"):
            f(x, wrong, False)
        assert equal(before, state(p))
    with pytest.raises(ValueError, match="shape"):
        f(x[:, :2], y, False)
    assert equal(before, state(p))
    f(x, y, False)
    assert not equal(before, state(p))
    assert f.captures == 2


# --- numbers of arrays outside: conditions of the plan --------------------------------------------

MASK = np.array([True, False, True])
EDGES = np.array([0.0, 1.0, 2.0, 4.0])
LEVELS = np.array([0.2, 0.5, math.nan])


OUTSIDE: dict[str, Callable[[Any], Any]] = {
    "mask": lambda x: x[MASK],
    "mask_computed": lambda x: x[EDGES[:3] > 0.5],
    "condition": lambda x: x if EDGES[0] > 0.5 else -x,
    "numbers": lambda x: [x * float(w) for w in EDGES],
    "asarray": lambda x: x + np.asarray(EDGES)[:3],
    "array": lambda x: x + np.array(EDGES)[:3],
    "index": lambda x: x[int(EDGES[2])],
    "list": lambda x: x * sum(EDGES.tolist()),
    "format": lambda x: (x, f"{EDGES[1]:.2f}"),
    "nonzero": lambda x: x[np.nonzero(MASK)],
    "nan": lambda x: x * (2.0 if np.isnan(LEVELS[-1]) else 1.0) + float(LEVELS[0]),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_numbers_of_arrays_outside_become_conditions(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = OUTSIDE[name]
    f = tg.compile(step)

    def check() -> None:
        for k in range(2):
            x = np.arange(3.0) + k
            for a, b in zip(flat(f(x)), flat(step(x)), strict=True):
                np.testing.assert_array_equal(a, b)

    check()
    assert f.captures == 1
    monkeypatch.setitem(globals(), "EDGES", EDGES.copy())
    monkeypatch.setitem(globals(), "MASK", MASK.copy())
    monkeypatch.setitem(globals(), "LEVELS", LEVELS.copy())
    check()
    count = f.captures
    EDGES[:] = [1.0, 2.0, 0.0, 3.0]
    MASK[1] = True
    LEVELS[:] = [0.4, math.nan, 1.0]
    check()
    assert f.captures == count + 1


def test_a_copy_of_an_array_outside_may_be_written_to_and_itself_not() -> None:
    def copied(x: Any) -> Any:
        weights = np.array(EDGES)
        weights[0] = 5.0
        return x * weights[:3]

    def itself(x: Any) -> Any:
        np.asarray(EDGES)[0] = 5.0
        return x

    before = EDGES.copy()
    np.testing.assert_array_equal(tg.compile(copied)(np.ones(3)), [5.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        tg.compile(itself)(np.ones(3))
    np.testing.assert_array_equal(EDGES, before)


def test_an_error_in_a_replay_is_the_functions_own() -> None:
    def pick(k: Any, x: Any) -> Any:
        """Fail for some numbers, in the forward and so in the replay."""
        if k.max() > 2:
            raise LookupError("no such row")
        return x[k]

    picked = tg.Primitive(pick, name="picked")
    p = problem()
    w = tg.tensor(np.ones(3), requires_grad=True)

    def step(k: Any, box: Any) -> Any:
        noise = p.rng.random(2)
        w.data -= noise.sum()
        return picked(k, box["x"]) * noise

    f = tg.compile(step)
    for _ in range(2):
        f(np.array([0, 1]), {"x": np.arange(3.0)})
    before, data, changed = state(p), w.data.copy(), w._changed
    for _ in range(2):
        with pytest.raises(LookupError, match="no such row"):
            f(np.array([0, 3]), {"x": np.arange(3.0)})
        assert equal(before, state(p))
        assert (w.data == data).all()
        assert w._changed == changed
    f(np.array([0, 1]), {"x": np.arange(3.0)})
    assert f.captures == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda box, x: box["items"].append(x * 2.0),
        lambda box, x: box["items"].append(1.0),
        lambda box, x: box.update(x=x * 2.0),
        lambda box, x: box.update(new=None),
        lambda box, x: box["items"].clear(),
    ],
)
def test_containers_among_the_arguments_are_not_changed(change: Any) -> None:
    def step(box: Any) -> Any:
        change(box, box["x"])
        return box["x"] + 1.0

    box = {"x": np.ones(2), "items": [np.zeros(1), 2.0]}
    with pytest.raises(CaptureError, match="among its arguments"):
        tg.compile(step)(box)
    assert len(box) == 2
    assert len(box["items"]) == 2


def test_values_as_arguments() -> None:
    def step(v: Any, w: Any) -> Any:
        v.grad = w.grad = 0.0
        y = v
        for k in range(40):
            y = (y * w + k / 40).tanh()
        y.backward()
        return y

    f = tg.compile(step)
    for k in range(3):
        a, b, c, d = (tg.Value(0.1 * (k + n % 2)) for n in range(4))
        assert f(a, b).data == pytest.approx(step(c, d).data, rel=1e-12)
        assert (a.grad, b.grad) == pytest.approx((c.grad, d.grad), rel=1e-12)


def inverse_or_zero(x: Any) -> Any:
    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError:
        return x * 0.0


def test_a_step_that_catches_an_error_of_its_numbers_is_refused() -> None:
    good, bad = np.eye(2) * 2.0, np.zeros((2, 2))
    f = tg.compile(inverse_or_zero)
    for _ in range(2):
        np.testing.assert_array_equal(f(good), np.eye(2) / 2.0)
        with pytest.raises(CaptureError, match=r"(?s)LinAlgError.*np\.linalg\.inv\(x\)"):
            f(bad)
    assert f.captures == 1
    g = tg.compile(inverse_or_zero, fallback=True)
    with pytest.warns(UserWarning, match="runs eagerly"):
        np.testing.assert_array_equal(g(bad), bad)
    np.testing.assert_array_equal(g(good), np.eye(2) / 2.0)


def test_an_error_in_a_replay_that_the_function_translates() -> None:
    def step(x: Any) -> Any:
        try:
            return np.linalg.inv(x)
        except np.linalg.LinAlgError:
            raise ArithmeticError("no inverse") from None

    f = tg.compile(step)
    for _ in range(2):
        np.testing.assert_array_equal(f(np.eye(2) * 2.0), np.eye(2) / 2.0)
        with pytest.raises(ArithmeticError, match="no inverse"):
            f(np.zeros((2, 2)))


def test_an_optimizer_out_of_sight() -> None:
    class Trainer:
        def __init__(self, p: Any) -> None:
            self._box = p.optimizer

        def update(self) -> None:
            OUT_OF_SIGHT(self).step()

    def make(p: Any) -> Any:
        p.extra = tg.tensor(np.ones(2), requires_grad=True)
        trainer = Trainer(p)
        model, extra = p.model, p.extra

        def step(x: Any, y: Any) -> Any:
            model.zero_grad()
            extra.grad = None
            loss = losses.cross_entropy(model(x) * extra, y)
            loss.backward()
            trainer.update()
            return loss

        return step

    def add(p: Any) -> None:
        p.optimizer.add_param_group({"params": [p.extra], "lr": 0.5})

    agree(make, *BATCHES[:3], add, *BATCHES[:3])


# --- the cache -----------------------------------------------------------------------------------


def test_the_cache_is_bounded_and_the_oldest_goes() -> None:
    f = tg.compile(lambda x: x * 2.0, cache_size=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in (1, 2, 3, 4):
            f(np.ones(n))
        assert f.captures == 4
        assert "3 plans" in repr(f)
        f(np.ones(2))
        assert f.captures == 4
        f(np.ones(1))
        assert f.captures == 5
    f.clear()
    assert "0 plans" in repr(f)
    np.testing.assert_array_equal(f(np.ones(2)), [2.0, 2.0])
    with pytest.raises(ValueError, match="cache_size"):
        tg.compile(lambda x: x, cache_size=0)


VARYING = 0.0


def other_shapes(f: Any, k: int) -> None:
    f(np.ones(k + 1), 1.0)


def other_numbers(f: Any, k: int) -> None:
    f(np.ones(2), 0.1 * k)


def other_surroundings(f: Any, k: int) -> None:
    global VARYING
    VARYING = float(k)
    f(np.ones(2), 1.0)


def other_objects(f: Any, k: int) -> None:
    f(np.ones(2), SimpleNamespace(k=k))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (other_shapes, r"argument x has another shape.*Make all batches equally large"),
        (other_numbers, r"argument lr has another value.*np.asarray\(lr\)"),
        (other_surroundings, r"VARYING, which it refers to.*as an argument"),
        (other_objects, r"argument lr is another object"),
    ],
)
def test_a_warning_says_why_it_is_captured_again_and_again(call: Any, message: str) -> None:
    f = tg.compile(lambda x, lr: x * (VARYING + 1.0), cache_size=3)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        for k in range(8):
            call(f, k)
    (warning,) = record
    assert re.search(message, str(warning.message))
    assert warning.filename == __file__


def test_alternating_batch_sizes_keep_their_plans() -> None:
    def make(p: Any) -> Any:
        return lambda x, y: train(p, lambda: losses.cross_entropy(p.model(x), y))

    calls = [(x[:n], y[:n]) for x, y in BATCHES for n in (6, 4)]
    assert agree(make, *calls).captures == 3  # one of them without velocities


# --- where it is called --------------------------------------------------------------------------


def test_attributes_of_the_function_are_kept() -> None:
    def step(x: Any) -> Any:
        """Say what it does."""
        return x

    f = tg.compile(step)
    assert f.__name__ == "step"
    assert f.__doc__ == "Say what it does."
    assert f.__wrapped__ is f.function is step
    g = tg.compile(cache_size=2)(step)
    assert g.cache_size == 2


def test_methods() -> None:
    class Trainer:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        @tg.compile
        def step(self, x: Any) -> Any:
            return x * self.factor

    a, b = Trainer(2.0), Trainer(3.0)
    for _ in range(2):
        assert a.step(np.ones(1)) == 2.0
        assert b.step(np.ones(1)) == 3.0
    assert Trainer.step.captures == 2
    a.factor = 5.0
    assert a.step(np.ones(1)) == 5.0


def test_callable_objects_and_what_is_none() -> None:
    assert tg.compile(functools.partial(np.multiply, 2.0))(np.ones(1)) == 2.0
    assert tg.compile(MODEL)(np.ones(3)).data.tolist() == [1.0, 2.0, 3.0]

    def generator(x: Any) -> Any:
        yield x

    async def coroutine(x: Any) -> Any:
        return x

    for deferred in (generator, coroutine):
        with pytest.raises(TypeError, match="does one step"):
            tg.compile(deferred)
    with pytest.raises(TypeError, match="needs a function"):
        tg.compile(3)


def test_a_copy_of_a_model_has_a_compiled_method_of_its_own() -> None:
    class Fitted(nn.Module):
        def __init__(self) -> None:
            self.w = tg.tensor(np.ones(2), requires_grad=True)
            self.fit = tg.compile(self._fit, cache_size=3)

        def _fit(self, x: Any) -> Any:
            self.w.data -= x

    model = Fitted()
    model.fit(np.ones(2))
    twin = copy.deepcopy(model)
    twin.fit(np.full(2, 4.0))
    assert (twin.fit.captures, twin.fit.cache_size) == (1, 3)
    np.testing.assert_array_equal(model.w.data, [0.0, 0.0])
    np.testing.assert_array_equal(twin.w.data, [-4.0, -4.0])


def test_copies_and_pickles() -> None:
    f = tg.compile(lambda x: x)
    assert copy.copy(f) is copy.deepcopy(f) is f
    with pytest.raises(TypeError, match="compile it where it is loaded"):
        pickle.dumps(f)


def test_inside_another_compiled_function() -> None:
    inner = tg.compile(lambda x: x * RATE)
    outer = tg.compile(lambda x: inner(x) + 1.0)
    for k in (1.0, 2.0):
        np.testing.assert_array_equal(outer(np.full(2, k)), np.full(2, 0.5 * k + 1.0))
    assert (inner.captures, outer.captures) == (0, 1)


def test_the_surroundings_of_an_inner_compiled_function_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inner = tg.compile(lambda x: x * RATE)
    outer = tg.compile(lambda x: inner(x) + 1.0)
    assert outer(np.ones(1)) == 1.5
    monkeypatch.setitem(globals(), "RATE", 2.0)
    assert outer(np.ones(1)) == 3.0


def test_inside_a_transform() -> None:
    f = tg.compile(lambda x: np.sum(x * x))
    f(np.ones(2))
    np.testing.assert_array_equal(tg.grad(f)(np.ones(2)), [2.0, 2.0])
    y, t = tg.jvp(f, (np.ones(2),), (np.ones(2),))
    assert (y, t) == (2.0, 4.0)


def test_under_no_grad_and_back() -> None:
    w = tg.tensor([2.0], requires_grad=True)

    def step(x: Any) -> Any:
        w.grad = None
        y = np.sum(w * x)
        if y.requires_grad:
            y.backward()
        return y

    f = tg.compile(step)
    for _ in range(3):
        f(np.ones(1))
        assert w.grad == 1.0
        with tg.no_grad():
            f(np.ones(1))
        assert w.grad is None
    assert f.captures == 2


def test_under_detect_anomaly_it_runs_eagerly() -> None:
    f = tg.compile(lambda x: np.log(x))
    x = tg.tensor([1.0, 2.0])
    f(x)
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError):
        f(tg.tensor([1.0, -1.0]))
    assert f.captures == 1


def test_threads() -> None:
    offset = np.zeros(1000)
    functions = [tg.compile(lambda x, k=k: np.tanh(x * k + offset)) for k in range(1, 4)]
    failures: list[Any] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for n in rng.integers(1, 4, 60):
                k = int(rng.integers(0, 3))
                x = rng.random((int(n), 1000))
                expected = np.tanh(x * (k + 1))
                np.testing.assert_allclose(functions[k](x), expected, rtol=1e-12)
        except Exception as error:  # reported below, in the thread of the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sum(f.captures for f in functions) == 9
    assert isinstance(offset, np.ndarray)


# --- what is done to parameters between calls -----------------------------------------------------


def test_changes_between_calls_are_seen() -> None:
    def make(p: Any) -> Any:
        return lambda x, y: train(p, lambda: losses.cross_entropy(p.model(x), y))

    def by_hand(p: Any) -> None:
        p.model.layers[0].weight.data = np.full((3, 4), 0.1)
        p.model.layers[1].bias.data += 1.0

    def in_place(p: Any) -> None:
        p.model.layers[0].weight.data[0] = 3.0

    def loaded(p: Any) -> None:
        state = p.model.state_dict()
        p.model.load_state_dict({key: value * 0.5 for key, value in state.items()})

    def rate(p: Any) -> None:
        p.optimizer.param_groups[0]["lr"] = 0.01

    def momentum(p: Any) -> None:
        p.optimizer.param_groups[0]["momentum"] = 0.5

    def eagerly(p: Any) -> None:
        train(p, lambda: losses.cross_entropy(p.model(p.x), p.labels))

    def restored(p: Any) -> None:
        p.optimizer.load_state_dict(p.optimizer.state_dict())

    changes = (by_hand, in_place, loaded, rate, momentum, eagerly, restored)
    calls = [c for k, change in enumerate(changes) for c in (BATCHES[k % 4], change, BATCHES[0])]
    agree(make, BATCHES[0], *calls)


def test_in_place_updates_of_parameters() -> None:
    def make(p: Any) -> Any:
        parameters = p.model.parameters()

        def step(x: Any, y: Any) -> Any:
            p.model.zero_grad()
            loss = losses.cross_entropy(p.model(x), y)
            loss.backward()
            for t in parameters:
                t.data -= 0.1 * t.grad
            return loss

        return step

    assert agree(make, *BATCHES).captures == 1
