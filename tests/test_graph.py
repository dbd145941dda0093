"""Graphs: depth, freeing, threads, modes, stale data, and gradients that are one's own."""

import copy
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from samples import samples

import tinygrad_nn as tg
from tinygrad_nn import (
    Node,
    NotDifferentiableError,
    StaleGraphError,
    Tensor,
    Value,
    losses,
    nn,
    optim,
    scalar,
    tensor,
)
from tinygrad_nn.backward import pull_back, reachable
from tinygrad_nn.rules import TABLE


def leaf(x: Any, **options: Any) -> Tensor:
    return tensor(x, requires_grad=True, **options)


# --- depth ---------------------------------------------------------------------------------------


def _chain(x: Any, n: int, constant: float) -> Any:
    for _ in range(n):
        x = x + constant
    return x


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Python's cyclic collector, woken by a million objects, would take most of the time."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_chain_of_a_million_values() -> None:
    x = Value(1.0)
    y = _chain(x, 1_000_000, 0.0)
    assert repr(y) == "Value(data=1.0, grad=0.0)"
    y.backward()
    assert x.grad == 1.0
    middle = weakref.ref(next(iter(y._prev)))
    assert len(reachable([y])) == 1_000_001
    del y  # must not recurse into the C stack
    assert middle() is None


@pytest.mark.usefixtures("no_collector")
def test_a_long_chain_of_tensors() -> None:
    x = leaf(1.0)
    y = _chain(x, 200_000, 0.0)
    assert repr(y) == "tensor(1., <add>)"
    y.backward()
    assert x.grad == 1.0
    middle = weakref.ref(y.args[0])
    del y
    assert middle() is None


@pytest.mark.usefixtures("no_collector")
def test_a_long_chain_can_be_freed_and_walked_on_a_small_stack() -> None:
    outcome = []

    def work() -> None:
        x = Value(1.0)
        y = _chain(x, 100_000, 0.0)
        y.backward()
        del y
        t = leaf(1.0)
        z = _chain(t, 50_000, 0.0)
        z.backward()
        del z
        outcome.append((x.grad, t.grad.item()))

    # Ten bytes a node: what CPython itself needs to free a chain is bounded, but not small.
    size = threading.stack_size(1024 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert outcome == [(1.0, 1.0)]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("make", [lambda: Value(1.0), lambda: leaf(1.0)], ids=["value", "tensor"])
def test_deepcopy_of_a_long_chain(make: Callable[[], Any]) -> None:
    x = make()
    twin_x, twin = copy.deepcopy((x, _chain(x, 50_000, 0.0)))
    twin.backward()
    assert twin_x.grad == 1.0


def test_a_wide_and_reused_graph_is_walked_once() -> None:
    x = Value(1.0)
    y = x
    for _ in range(200):  # 2^200 paths
        y = (y + y) * 0.5
    y.backward()
    assert x.grad == 1.0


# --- freeing -------------------------------------------------------------------------------------


def _tensor_steps() -> Callable[[], None]:
    model = nn.MLP(2, [4, 3], rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(5, 2)).astype(np.float32), rng.integers(0, 3, 5)

    def step() -> None:
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(tensor(x)), labels)
        loss.backward()
        optimizer.step()

    return step


def _value_steps() -> Callable[[], None]:
    model = scalar.MLP(2, [3, 1], rng=0)

    def step() -> None:
        loss = (model([0.5, -1.0]) - 1.0) ** 2 + sum(p * p for p in model.parameters()) * 1e-4
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.01 * p.grad

    return step


def _mixed_steps() -> Callable[[], None]:
    w, v = leaf([1.0, 2.0]), Value(0.5)

    def step() -> None:
        y = np.sum(np.tanh(w * v)[np.array([0, 1, 1])] + np.stack([v, v, v]))
        y.backward()
        _, first = pull_back([(y, tensor(1.0))], record=True)
        np.sum(first[w.serial]).backward()
        w.grad, v.grad = None, 0.0

    return step


def _failing_steps() -> Callable[[], None]:
    x = leaf(1.0)

    def step() -> None:
        y = x * x
        x.data -= 0.1
        with pytest.raises(StaleGraphError):
            y.backward()
        with pytest.raises(NotDifferentiableError):
            np.asarray(y)

    return step


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("make", "n"), [(_tensor_steps, 1000), (_value_steps, 1000), (_mixed_steps, 200)]
)
def test_training_steps_leave_nothing_behind(
    make: Callable[[], Callable[[], None]], n: int
) -> None:
    step = make()
    for _ in range(5):  # what is made once: the optimizer's state, caches
        step()
    gc.collect()
    before = len(gc.get_objects())
    nodes = sum(isinstance(o, Node) for o in gc.get_objects())
    for _ in range(n):
        step()
    assert sum(isinstance(o, Node) for o in gc.get_objects()) == nodes
    assert len(gc.get_objects()) - before < 50
    assert gc.collect() == 0, "the steps left cycles behind"


def test_failed_steps_leave_no_nodes_behind() -> None:
    step = _failing_steps()
    step()
    gc.collect()
    nodes = sum(isinstance(o, Node) for o in gc.get_objects())
    for _ in range(20):
        step()
    gc.collect()  # tracebacks are cycles, but not of our making
    assert sum(isinstance(o, Node) for o in gc.get_objects()) == nodes


@pytest.mark.usefixtures("no_collector")
def test_a_graph_lives_as_long_as_its_output() -> None:
    x = leaf([1.0, 2.0])
    hidden = np.tanh(x)
    y = np.sum(hidden)
    ref = weakref.ref(hidden)
    del hidden
    assert ref() is not None
    y.backward()
    assert ref() is not None
    del y
    assert ref() is None


# --- modes ---------------------------------------------------------------------------------------


def test_no_grad_records_nothing() -> None:
    x, v = leaf([1.0]), Value(1.0)
    with tg.no_grad():
        assert not tg.is_grad_enabled()
        for y in (x * 2.0, np.sum(x), x[0], np.stack([x, x]), v * x, tg.relu(x)):
            assert not y.requires_grad
            assert y.is_leaf
            assert y.args == ()
        for z in (v * 2.0, v.tanh(), -v, tg.add_n([v, v]), np.maximum(v, 0.0), 1.0 - v):
            assert z.is_leaf
            assert z.args == ()
    assert tg.is_grad_enabled()
    assert (x * 2.0).requires_grad


def test_modes_nest_and_survive_exceptions() -> None:
    seen = []
    with tg.no_grad():
        with tg.enable_grad():
            seen.append(tg.is_grad_enabled())
            with tg.set_grad_enabled(False):
                seen.append(tg.is_grad_enabled())
            with pytest.raises(ZeroDivisionError), tg.no_grad():
                raise ZeroDivisionError
            seen.append(tg.is_grad_enabled())
        seen.append(tg.is_grad_enabled())
    assert seen == [True, False, True, False]
    assert tg.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        raise ZeroDivisionError
    assert tg.is_grad_enabled()


def test_modes_are_decorators_and_can_be_used_again() -> None:
    @tg.no_grad()
    def off(depth: int) -> bool:
        return tg.is_grad_enabled() or (depth > 0 and off(depth - 1))

    @tg.enable_grad()
    def on() -> bool:
        return tg.is_grad_enabled()

    for _ in range(2):
        assert not off(3)
        assert tg.is_grad_enabled()
    with tg.no_grad():
        assert on()
        assert not tg.is_grad_enabled()
    mode = tg.no_grad()
    with mode, mode:
        assert not tg.is_grad_enabled()
    assert tg.is_grad_enabled()
    assert off.__name__ == "off"


# --- threads -------------------------------------------------------------------------------------


def in_threads(work: Callable[[int], None], n: int) -> None:
    """Run `work` in `n` threads that switch as often as Python can; raise what they raise."""
    errors: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


def test_no_grad_holds_for_its_own_thread_alone() -> None:
    inside, done = threading.Event(), threading.Event()
    seen = []

    def other() -> None:
        inside.wait(10)
        seen.append(
            (tg.is_grad_enabled(), (leaf(1.0) * 2.0).requires_grad, (Value(1.0) * 2).is_leaf)
        )
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with tg.no_grad():
        inside.set()
        done.wait(10)
        assert not (leaf(1.0) * 2.0).requires_grad
    thread.join()
    assert seen == [(True, True, False)]


def test_threads_side_by_side_do_not_disturb_each_other() -> None:
    shared = leaf(np.arange(3.0))  # read by all, written by none

    def work(i: int) -> None:
        for k in range(60):
            x, v = leaf([0.1 * i, 0.2, 0.3 + k]), Value(0.1 * i)
            if (i + k) % 3 == 0:
                with tg.no_grad():
                    assert not (x * 2.0).requires_grad
                    assert (v * 2.0).is_leaf
            np.sum(np.sin(x) * shared.detach() * float(i)).backward()
            assert_array_equal(x.grad, np.cos(x.data) * (np.arange(3.0) * i))
            y = (v * v + v).tanh()
            y.backward()
            assert_allclose(v.grad, (1 - y.data**2) * (2 * v.data + 1), rtol=1e-14)

    in_threads(work, 8)
    assert shared.grad is None
    assert tg.is_grad_enabled()


def test_serial_numbers_are_unique_across_threads() -> None:
    found: list[list[int]] = [[] for _ in range(8)]

    def work(i: int) -> None:
        x = leaf(1.0)
        for _ in range(500):
            x = x + 1.0
            found[i].append(x.serial)

    in_threads(work, 8)
    assert all(numbers == sorted(numbers) for numbers in found)
    assert len({n for numbers in found for n in numbers}) == 8 * 500


# --- gradients are one's own ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, p in TABLE.items() if p.differentiable])
def test_gradients_share_memory_with_nothing(name: str) -> None:
    for sample in samples(TABLE[name]):
        leaves = {i: leaf(sample.args[i]) for i in sample.floating}
        if not leaves:  # complex numbers
            continue
        args = [leaves.get(i, a) for i, a in enumerate(sample.args)]
        y = sample.primitive(*args, **sample.static)
        seed = np.ones(y.shape, y.dtype)
        y.backward(gradient=seed)
        first = {i: x.grad for i, x in leaves.items() if x.grad is not None}
        kept = {i: g.copy() for i, g in first.items()}
        y.backward(gradient=seed)
        arrays = [x.grad for x in leaves.values() if x.grad is not None]
        arrays += [*first.values(), seed, y.data if name not in VIEWS else seed.copy()]
        arrays += [x.data for x in leaves.values()]
        for i, a in enumerate(arrays):
            assert not any(np.shares_memory(a, b) for b in arrays[:i]), str(sample)
        for i, g in first.items():
            assert g.flags.writeable
            assert_array_equal(g, kept[i])
            g[...] = 7.0  # writes to nobody else
            assert_array_equal(leaves[i].grad, 2.0 * kept[i])


VIEWS = {
    "flip",
    "diagonal",
    "reshape",
    "ravel",
    "transpose",
    "swapaxes",
    "moveaxis",
    "expand_dims",
    "squeeze",
    "broadcast_to",
    "getitem",
}


def test_gradients_of_deeper_graphs_share_no_memory() -> None:
    a, b, c = leaf(np.ones((2, 3))), leaf(np.ones((2, 3))), leaf(np.ones(6))
    y = (a + b).reshape(6) + c
    z = np.sum(np.stack([y, y])[0] + y.reshape(2, 3).T.T.ravel())
    z.backward()
    for x in (a, b, c):
        assert_array_equal(x.grad, np.full(x.shape, 2.0))
    for x, w in ((a, b), (a, c), (b, c)):
        assert not np.shares_memory(x.grad, w.grad)


def test_the_seed_is_copied() -> None:
    seed = np.array([3.0, 4.0])
    x, y = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    x.backward(gradient=seed)
    (y + 0.0).backward(gradient=seed)
    seed[:] = 0.0
    assert_array_equal(x.grad, [3.0, 4.0])
    assert_array_equal(y.grad, [3.0, 4.0])


def test_backward_from_a_leaf() -> None:
    x, v = leaf(2.0), Value(2.0)
    x.backward()
    x.backward()
    v.backward()
    assert x.grad == 2.0
    assert v.grad == 1.0


def test_results_of_values_keep_the_gradient_of_the_last_pass() -> None:
    x = Value(3.0)
    m = x * x
    y = m * 2.0
    y.backward()
    y.backward()
    assert (m.grad, y.grad, x.grad) == (2.0, 1.0, 24.0)


def test_intermediate_tensors_keep_none() -> None:
    x = leaf([1.0])
    m = x * x
    np.sum(m).backward()
    assert m.grad is None


# --- stale data ----------------------------------------------------------------------------------


def _assign(x: Any) -> None:
    x.data = 5.0


def _subtract(x: Any) -> None:
    x.data -= 1.0


def _under_no_grad(x: Any) -> None:
    with tg.no_grad():
        x -= 1.0


def _step(x: Any) -> None:
    x.grad = np.ones(())
    optim.SGD([x], lr=0.1).step()
    x.grad = None


@pytest.mark.parametrize("change", [_assign, _subtract, _under_no_grad, _step])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * x,
        lambda x: np.exp(x) * 2.0,
        lambda x: x + 1.0,
        lambda x: x[None],
        lambda x: tg.relu(x),
    ],
)
def test_a_changed_leaf_makes_its_graph_stale(change: Any, f: Any) -> None:
    x = leaf(1.0, label="weight")
    y = np.sum(f(x))
    change(x)
    with pytest.raises(StaleGraphError, match="'weight'"):
        y.backward()
    assert x.grad is None
    np.sum(f(x)).backward()  # computed anew, all is well
    assert x.grad is not None


@pytest.mark.parametrize("change", [_assign, _subtract])
@pytest.mark.parametrize(
    "f",
    [
        lambda v: v * v,
        lambda v: v.exp() * 2.0,
        lambda v: 2.0 - v,
        lambda v: tg.add_n([v, v, v]),
        lambda v: np.maximum(v, 0.0),
        lambda v: np.sum(v * np.ones(2)),
    ],
)
def test_a_changed_value_makes_its_graph_stale(change: Any, f: Any) -> None:
    v = Value(1.0, label="weight")
    y = f(v)
    change(v)
    with pytest.raises(StaleGraphError, match="'weight'"):
        y.backward()
    assert v.grad == 0.0


@pytest.mark.parametrize("make", [leaf, Value])
def test_a_changed_result_makes_its_graph_stale(make: Any) -> None:
    x = make(1.0)
    for f in (lambda y: y, lambda y: y * 2.0):
        y = np.exp(x)
        y.label = "hidden"
        z = f(y)
        y.data = 5.0
        with pytest.raises(StaleGraphError, match="'hidden'"):
            z.backward()


def test_a_changed_constant_makes_its_graph_stale() -> None:
    x, c = leaf(1.0), tensor(2.0, label="factor")
    y = x * c
    c.data = 5.0
    with pytest.raises(StaleGraphError, match="'factor'"):
        y.backward()


def test_writing_through_detach_is_no_back_door() -> None:
    x = leaf([1.0, 2.0])
    y = np.sum(x * x)
    x.detach().data -= 1.0
    y.backward()
    assert_array_equal(x.grad, [2.0, 4.0])


def test_a_detached_tensor_keeps_its_numbers() -> None:
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    z = np.sum(x.detach() * w)
    x.data -= 100.0
    z.backward()
    assert_array_equal(w.grad, [1.0, 2.0])


def test_an_optimizer_writes_to_its_own_parameters_only() -> None:
    base = tg.tensor([1.0, 2.0, 3.0])
    with tg.no_grad():
        part = base[1:]
    part.requires_grad_()
    optimizer = tg.optim.SGD([part], lr=1.0)
    np.sum(part * part).backward()
    optimizer.step()
    assert_array_equal(base.data, [1.0, 2.0, 3.0])
    assert_array_equal(part.data, [-2.0, -3.0])


def test_a_generator_that_is_closed_elsewhere_leaves_its_mode() -> None:
    def numbers() -> Any:
        with tg.no_grad():
            yield 1

    generator = numbers()
    next(generator)
    assert not tg.is_grad_enabled()
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join()
    assert tg.is_grad_enabled()
    with pytest.raises(TypeError, match="generator"):
        tg.no_grad()(numbers)


def test_a_primitive_is_freed_without_the_collector() -> None:
    def make() -> Any:
        @tg.primitive(variadic=True, rules=[lambda i, g, y, *xs: g])
        def first(*xs: Any) -> Any:
            return xs[0]

        @tg.primitive
        def unruly(x: Any) -> Any:
            return x

        return weakref.ref(first), weakref.ref(unruly)

    gc.disable()
    try:
        assert [ref() for ref in make()] == [None, None]
    finally:
        gc.enable()


def test_data_changed_before_or_after_is_not_stale() -> None:
    x = leaf(1.0)
    x.data = 3.0
    y = x * x
    y.backward()
    x.data = 4.0
    assert x.grad == 6.0
    (x * x).backward()
    assert x.grad == 14.0


# --- derivatives of any order --------------------------------------------------------------------


def test_derivatives_up_to_the_sixth() -> None:
    x = leaf(0.7)
    y: Any = np.sin(x)
    expected = [np.cos(0.7), -np.sin(0.7), -np.cos(0.7), np.sin(0.7), np.cos(0.7), -np.sin(0.7)]
    for e in expected:
        _, cotangents = pull_back([(y, tensor(1.0))], record=True)
        y = cotangents[x.serial]
        assert_allclose(y.data, e, rtol=1e-13)


def test_a_recorded_pass_leaves_the_gradients_alone() -> None:
    x = leaf(3.0)
    y = x * x * x
    _, first = pull_back([(y, tensor(1.0))], record=True)
    assert x.grad is None
    first[x.serial].backward()
    assert x.grad == 18.0


@pytest.mark.parametrize(
    "f",
    [
        lambda v: v * v * v,
        lambda v: v**3,
        lambda v: v * v.exp(),
        lambda v: 1.0 / v,
        lambda v: v.tanh(),
        lambda v: v.log() * v,
        lambda v: np.maximum(v, 0.0) * v,
        lambda v: tg.add_n([v, v * v]),
    ],
    ids=range(8),
)
def test_second_derivatives_of_values(f: Any) -> None:
    def slope(at: float) -> float:
        v = Value(at)
        f(v).backward()
        return v.grad

    v = Value(1.3)
    _, first = pull_back([(f(v), Value(1.0))], record=True)
    g = first[v.serial]
    assert isinstance(g, Value)
    assert_allclose(g.data, slope(1.3), rtol=1e-14)
    g.backward()
    h = 1e-5
    assert_allclose(v.grad, (slope(1.3 + h) - slope(1.3 - h)) / (2 * h), rtol=1e-8)


def test_several_outputs_at_once() -> None:
    x = leaf([1.0, 2.0])
    y, z = np.sum(x * x), np.exp(x)
    _, found = pull_back([(y, np.float64(2.0)), (z, np.ones(2)), (y, np.float64(1.0))])
    assert_allclose(found[x.serial], 6.0 * x.data + np.exp(x.data))


def test_a_seed_of_another_shape_is_refused() -> None:
    x = leaf([1.0, 2.0])
    for record in (False, True):
        for seed in (tg.tensor([[1.0, 1.0]]), tg.tensor(1.0)):
            with pytest.raises(tg.ShapeError, match=r"\(2,\)"):
                pull_back([(x * x, seed if record else seed.data)], record=record)


# --- modes in several threads, and of functions that run later ------------------------------------


def test_a_decorated_function_has_its_mode_in_every_thread() -> None:
    inside, leave = threading.Event(), threading.Event()
    seen = {}

    @tg.no_grad()
    def wait(name: str, go: threading.Event) -> None:
        inside.set()
        go.wait(10)
        seen[name] = tg.is_grad_enabled()

    first = threading.Thread(target=wait, args=("first", leave))
    first.start()
    inside.wait(10)
    done = threading.Event()
    done.set()
    wait("second", done)  # enters after the first one, and leaves before it
    assert tg.is_grad_enabled()
    leave.set()
    first.join()
    assert seen == {"first": False, "second": False}


def test_functions_that_run_later_are_not_decorated() -> None:
    async def coroutine() -> None: ...

    async def generator() -> Any:
        yield 1

    for mode in (tg.no_grad(), tg.detect_anomaly(), tg.set_grad_enabled(True)):
        for function in (coroutine, generator):
            with pytest.raises(TypeError, match="runs after"):
                mode(function)


def test_a_block_that_ends_inside_another_takes_its_own_mode_away() -> None:
    def suspended() -> Any:
        with tg.no_grad():
            yield

    it = suspended()
    next(it)
    assert not tg.is_grad_enabled()
    with tg.enable_grad():
        it.close()
        assert tg.is_grad_enabled()
    assert tg.is_grad_enabled()


def test_copies_of_results() -> None:
    v = Value(2.0)
    w = copy.copy(v * 3.0)
    w.backward()
    assert (w.data, v.grad) == (6.0, 3.0)
    assert copy.copy(v).data == 2.0
