"""Compiled steps at their edges: threads, aliases, odd types, bounded memory, honest refusals."""

from __future__ import annotations

import copy
import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.errors import CaptureError
from tinygrad_nn.plan.scalars.recorder import NoGain

X = np.array([1.0, 2.0, 3.0])


# --- threads -------------------------------------------------------------------------------------

G = np.ones(3)
RNG = np.random.default_rng(0)


@contextmanager
def _beside(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do `work` again and again in another thread; yield what went wrong there.

    The threads take turns fifty times as often as usual, so a few rounds are enough.
    """
    errors: list[Any] = []
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            try:
                work()
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=loop)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    thread.start()
    try:
        yield errors
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


def _reads() -> None:
    assert float((G * 2).sum()) == 6.0
    assert np.lib.stride_tricks.sliding_window_view(G, 2).shape == (2, 2)
    assert type(np.exp(G, out=np.empty(3))) is np.ndarray
    assert type(G.T + G[:1]) is np.ndarray
    assert G.flags.c_contiguous
    assert [float(v) for v in G] == [1.0, 1.0, 1.0]
    assert G.tolist() == [1.0, 1.0, 1.0]


def test_another_thread_sees_the_arrays_themselves_during_a_capture() -> None:
    def slow(x: Any) -> Any:
        y = G * x
        for _ in range(200):
            y = np.exp(-y)
        return y

    with _beside(_reads) as errors:
        for _ in range(5):
            np.testing.assert_allclose(tg.compile(slow)(np.ones(3)), slow(np.ones(3)))
    assert not errors


def test_another_thread_can_call_a_compiled_function_with_what_is_replaced() -> None:
    double = tg.compile(lambda x: x * 2)

    def work() -> None:
        assert double(G).tolist() == [2.0, 2.0, 2.0]

    def slow(x: Any) -> Any:
        y = G * x
        for _ in range(200):
            y = np.exp(-y)
        return y

    with _beside(work) as errors:
        for _ in range(5):
            tg.compile(slow)(np.ones(3))
    assert not errors


def test_another_thread_draws_from_the_generator_itself_during_a_capture() -> None:
    def work() -> None:
        assert type(RNG.random(3)) is np.ndarray
        assert type(np.random.default_rng(3).normal()) is float
        assert RNG.bit_generator is not None

    def slow(x: Any) -> Any:
        y = x + RNG.random(3)
        for _ in range(200):
            y = np.exp(-y)
        return y

    with _beside(work) as errors:
        for _ in range(5):
            with suppress(CaptureError):  # which may refuse to share a generator
                tg.compile(slow)(np.ones(3))
    assert not errors


def test_another_thread_writes_into_the_arrays_themselves_during_a_capture() -> None:
    table = np.zeros(3)

    def step(x: Any) -> Any:
        def write() -> None:
            nonlocal table
            table[0] = 5.0
            np.add(table, 1.0, out=table)
            table += 1.0

        other = threading.Thread(target=write)
        other.start()
        other.join()
        return x + table

    before = table
    with pytest.raises(CaptureError, match="another thread compute"):
        tg.compile(step)(X)
    assert table is before
    assert table.tolist() == [7.0, 2.0, 2.0]


def test_a_step_that_hands_work_to_a_pool_is_refused() -> None:
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(CaptureError, match="another thread"):
            tg.compile(lambda x: x + pool.submit(lambda: G * 2).result())(X)
        with pytest.raises(CaptureError, match="another thread"):
            tg.compile(lambda x: pool.submit(lambda: x * 2).result())(X)


# --- options, and errors of the plan itself ------------------------------------------------------


def _trained(momentum: Any, steps: int = 5) -> tuple[Any, Any]:
    w = tg.tensor(X.copy(), requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1, momentum=momentum)

    @tg.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = np.sum((w * x) ** 2)
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(X).item() for _ in range(steps)]
    return losses, step


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.asarray])
def test_options_of_numpy_types_do_not_capture_anew(kind: Any) -> None:
    losses, step = _trained(kind(0.5))
    assert losses == _trained(0.5)[0]
    assert step.captures == 2  # as there is no momentum at the first


def test_an_error_that_only_the_replay_raises_is_told_once() -> None:
    @tg.compile
    def f(x: Any) -> Any:
        return np.exp(x) + 1.0

    f(X)
    f.plan.names.clear()
    with pytest.warns(UserWarning, match=r"replay of f has raised NameError: name .* not defined"):
        np.testing.assert_allclose(f(X), np.exp(X) + 1.0)
    f.plan.names.clear()
    np.testing.assert_allclose(f(X), np.exp(X) + 1.0)  # warnings are errors here


def test_an_error_of_the_function_is_raised_without_a_warning() -> None:
    f = tg.compile(np.linalg.inv)
    f(np.eye(2))
    with pytest.raises(np.linalg.LinAlgError):
        f(np.zeros((2, 2)))


def test_an_attribute_that_is_gone_is_no_fault_of_the_plan() -> None:
    class Config:
        scale = 2.0

    config = Config()
    config.scale = 3.0

    @tg.compile
    def f(x: Any) -> Any:
        return x * getattr(config, "scale", 1.0)

    assert f(X).tolist() == [3.0, 6.0, 9.0]
    del config.scale
    assert f(X).tolist() == [2.0, 4.0, 6.0]


# --- arrays that are the memory of a parameter ----------------------------------------------------


def _descent() -> tuple[Any, Any]:
    w = tg.tensor(X.copy(), requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)
    optimizer.zero_grad()
    (w * w).sum().backward()
    optimizer.step()  # which moves the parameter into its array
    return w, optimizer


def test_a_global_array_that_is_a_parameters_memory_is_refused() -> None:
    w, optimizer = _descent()
    array = w.data

    @tg.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()
        return array.sum()

    with pytest.raises(CaptureError, match=r"array is the memory of .*copy"):
        step(X)


def test_an_argument_that_is_a_parameters_memory() -> None:
    """The function itself is called: its argument changes while it runs."""
    results = []
    for wrap in (lambda f: f, tg.compile):
        w, optimizer = _descent()

        def step(x: Any, w: Any = w, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            (w * x).sum().backward()
            optimizer.step()
            return (x * 2).sum()

        step = wrap(step)
        found = [step(w.data), step(X), step(w.data), step(w.data[::-1]), step(w.data.copy())]
        results.append([*found, *w.data])
    np.testing.assert_allclose(*results)
    assert step.captures == 1


def test_another_part_of_the_same_memory_may_be_an_argument() -> None:
    model = tg.nn.MLP(3, [2], rng=0)
    first, second = model.parameters()

    @tg.compile
    def step(x: Any) -> Any:
        first.data -= 0.1 * first.data
        return (x * 2).sum()

    for _ in range(3):
        assert step(second.data) == 2 * second.data.sum()
    assert step.captures == 1


# --- what stands for an array, where an array would be --------------------------------------------


def _same_as_eager(function: Callable[..., Any], *calls: Any) -> Any:
    compiled = tg.compile(function)
    for x in calls:
        expected, found = function(x), compiled(x)
        assert type(found) is type(expected)
        for e, f in zip(expected, found, strict=True):
            np.testing.assert_array_equal(f, e)
    return compiled


@pytest.mark.parametrize("name", ["strides", "flags", "ctypes"])
def test_what_stands_for_an_array_does_not_pretend_to_lack_anything(name: str) -> None:
    def asks(x: Any) -> Any:
        return x * 2 if hasattr(x, name) else x * 3

    with pytest.raises(CaptureError, match=rf"\.{name}"):
        tg.compile(asks)(X)

    def tries(x: Any) -> Any:
        try:
            return x * len(str(getattr(x, name)))
        except (AttributeError, CaptureError):
            return x * 0

    with pytest.raises(CaptureError, match=rf"\.{name}"):
        tg.compile(tries)(X)


def test_methods_that_a_replay_has_no_form_of_are_refused_with_the_line() -> None:
    for change in (lambda y: y.sort(), lambda y: y.fill(5.0), lambda y: y.view(np.int64)):
        with pytest.raises(CaptureError, match="change in"):
            tg.compile(lambda x, change=change: (change(x + 1), x)[1])(X)
        careless = tg.compile(lambda x, change=change: (change(x + 1), x)[1], fallback=True)
        with pytest.warns(UserWarning, match="runs eagerly"):
            np.testing.assert_array_equal(careless(X), X)


def test_operators_and_orders() -> None:
    _same_as_eager(lambda x: (x << 1, x >> 1, 1 << x, x ^ 1), np.array([1, 2]), np.array([4, 7]))
    matrix = np.arange(6.0).reshape(2, 3)
    _same_as_eager(lambda x: (x.flatten(), x.T.flatten("C")), matrix, matrix + 1)


def test_copies_of_what_is_captured() -> None:
    def f(x: Any) -> Any:
        y = x + 1
        z, u = copy.deepcopy([y])[0], copy.copy(y)
        z[0] = 9.0
        u += 1
        return y, z, u

    _same_as_eager(f, X, 2 * X)


def test_writing_to_flat_is_not_lost() -> None:
    def f(x: Any) -> Any:
        y = x.T + 1
        y.flat[0] = 100.0
        return y

    with pytest.raises(CaptureError, match="in place"):
        tg.compile(f)(np.arange(6.0).reshape(2, 3))
    _same_as_eager(lambda x: [v * 2 for v in x.T.flat], np.arange(6.0).reshape(2, 3))


def test_labels_of_the_other_byte_order() -> None:
    scores, labels = np.eye(3), np.array([0, 2, 1])
    f = tg.compile(tg.losses.cross_entropy)
    for _ in range(3):
        found = f(scores, labels.astype(">i8"))
        assert found.item() == pytest.approx(tg.losses.cross_entropy(scores, labels).item())
    assert f.captures == 1
    with pytest.raises(IndexError):
        f(scores, np.array([0, 3, 1], ">i8"))


@dataclasses.dataclass(frozen=True, slots=True)
class _Frozen:
    w: Any


def test_arrays_in_frozen_dataclasses_with_slots() -> None:
    config = _Frozen(np.ones(3))
    f = tg.compile(lambda x: x * config.w)
    assert f(X).tolist() == [1.0, 2.0, 3.0]
    config.w[0] = 5.0
    assert f(X).tolist() == [5.0, 2.0, 3.0]
    assert type(config.w) is np.ndarray


@pytest.mark.parametrize(
    "make",
    [lambda: slice(0, 2), lambda: range(2), lambda: frozenset([1, 0]), lambda: np.dtype("f4")],
    ids=["slice", "range", "frozenset", "dtype"],
)
def test_arguments_that_are_compared_by_value(make: Callable[[], Any]) -> None:
    f = tg.compile(lambda x, item: x * len(str(item)))
    for _ in range(3):
        np.testing.assert_array_equal(f(X, make()), X * len(str(make())))
    assert f.captures == 1


# --- bounded memory, bounded captures -------------------------------------------------------------


def test_numpy_integers_that_vary_are_called_values() -> None:
    f = tg.compile(lambda x, k: x * k, cache_size=2)
    f(X, np.int64(0))
    f(X, np.int64(1))
    with pytest.warns(UserWarning, match=r"argument k has another value each time \(.*1.*2.*\)"):
        f(X, np.int64(2))


def test_reasons_keep_a_few_texts() -> None:
    f = tg.compile(lambda x, k: x * k, cache_size=1)
    f(X, 0.0)
    with pytest.warns(UserWarning, match="captured 2 times"):
        f(X, 1.0)
    for k in range(2, 12):
        f(X, float(k))
    assert {len(texts) for texts in f._reasons._texts.values()} == {3}


def test_kinds_without_a_gain_are_bounded() -> None:
    f = tg.compile(lambda x, k: x * k, cache_size=2)
    tried = []

    def refused(function: Any, taken: Any) -> Any:
        tried.append(taken)
        raise NoGain("nothing is gained")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinygrad_nn.plan.compiled.captured", refused)
        for k in range(20):
            assert f(X, float(k)).tolist() == (X * k).tolist()
    assert len(tried) == 3
    assert len(f._no_gain) <= 2
    with pytest.raises(CaptureError, match="nothing is gained"):
        _ = f.plan


def _model() -> tuple[Any, Any, Callable[..., Any]]:
    model = tg.nn.MLP(3, [5, 2], rng=0)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = tg.losses.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


_BATCH = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
_LABELS = np.random.default_rng(1).integers(0, 2, 8)


def _compare(disturb: Callable[[int, Any, Any], None], n: int = 14) -> Any:
    """Train with and without `compile`; return the compiled step."""
    weights = []
    for wrap in (lambda f: f, tg.compile):
        model, optimizer, step = _model()
        step = wrap(step)
        losses = []
        for k in range(n):
            disturb(k, model, optimizer)
            losses.append(step(_BATCH, _LABELS).item())
        state = optimizer.state_dict()["param_groups"][0]["state"]
        kept = [a for arrays in state for a in arrays]
        weights.append([np.array(losses), *(p.data for p in model.parameters()), *kept])
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    return step


def test_parameters_that_are_frozen_now_and_then() -> None:
    def freeze(k: int, model: Any, optimizer: Any) -> None:
        model.layers[0].weight.requires_grad = k % 3 == 0

    assert _compare(freeze, 30).captures <= 6


def test_a_state_that_is_loaded_before_each_step() -> None:
    saved: list[Any] = []

    def load(k: int, model: Any, optimizer: Any) -> None:
        if k == 3:
            saved.append((optimizer.state_dict(), model.state_dict()))
        if k > 3 and k % 2:
            optimizer.load_state_dict(saved[0][0])
            model.load_state_dict(saved[0][1])

    assert _compare(load, 20).captures <= 4


def test_a_state_of_another_optimizer_that_has_not_begun() -> None:
    def load(k: int, model: Any, optimizer: Any) -> None:
        if k % 4 == 3:
            optimizer.load_state_dict(tg.optim.SGD(model.parameters()).state_dict())
            optimizer.param_groups[0].update(lr=0.1, momentum=0.9)

    _compare(load, 14)


def test_eager_steps_in_between_with_other_gradients() -> None:
    def between(k: int, model: Any, optimizer: Any) -> None:
        if k % 3 == 2:
            optimizer.zero_grad()
            first = next(iter(model.parameters()))
            (first * first).sum().backward()
            optimizer.step()

    assert _compare(between, 20).captures <= 4


# --- elements that are changed in place -----------------------------------------------------------


def test_elements_of_a_fresh_array_are_changed_in_place() -> None:
    def f(x: Any) -> Any:
        y = x + 1
        y[0:2] += 1
        y[0] *= 10
        y[1:][0] -= x[2]
        z = x.astype(np.float32)
        z[...] += np.float64(0.5)
        z[[0, 2]] /= 3
        return y, z

    def g(x: Any) -> Any:
        y = x + 1
        y[0:2] += 1
        y[0] *= 10
        z = x.astype(np.float32)
        z[...] += np.float64(0.5)
        z[[0, 2]] /= 3
        return y, z

    _same_as_eager(g, X, 3 * X)
    with pytest.raises(CaptureError, match="in place"):
        tg.compile(f)(X)  # of a view that has no name


def test_a_view_that_has_a_name_is_not_changed_behind_its_array() -> None:
    def named(x: Any) -> Any:
        y = x + 1
        v = y[0:2]
        v += 1
        return y

    def listed(x: Any) -> Any:
        y = x + 1
        views = [y[0:2], y[1:]]
        views[0] += 1
        return y

    for f in (named, listed):
        with pytest.raises(CaptureError, match="in place"):
            tg.compile(f)(X)


def test_elements_of_data_are_changed_in_place() -> None:
    w = tg.tensor(X.copy(), requires_grad=True)
    f = tg.compile(lambda x: w.data.__setitem__(0, w.data[0] + x[1]))

    @tg.compile
    def g(x: Any) -> None:
        w.data[1:] -= x[1:]

    f(X)
    f(X)
    g(X)
    g(X)
    assert w.data.tolist() == [5.0, -2.0, -3.0]


class _Record(dict[str, Any]):
    def __getattr__(self, key: str) -> Any:
        return self[key]


def test_dicts_with_attributes_as_arguments_and_results() -> None:
    f = tg.compile(lambda b: _Record(y=b.x * 2, z=b.x))
    for k in range(3):
        found = f(_Record(x=X * k))
        assert type(found) is _Record
        assert found.y.tolist() == (2 * X * k).tolist()
    assert f.captures == 1
