"""The memory of a plan: nothing is overwritten that is still looked at, and nothing grows."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
from beside_eager import as_leaf, backwards, check
from hypothesis import given, settings
from programs import Program, programs
from tapes import Step, steps, tape_of

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, tensor
from tinygrad_nn.plan import places
from tinygrad_nn.plan.cells import Gradient
from tinygrad_nn.plan.memory import Memory
from tinygrad_nn.plan.passes import PASSES
from tinygrad_nn.plan.reuse import arrange
from tinygrad_nn.plan.tape import Constant, Tape, Var

Array = np.ndarray
STEPS = steps()
EVERY = pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))


# --- who has written what: every byte has the mark of the element that it is a part of ------------


class Shadow:
    """The memory of a plan, with a mark for each byte.

    A result gets new marks; a view has those of what it is a view of, and a concatenation those of
    its pieces. Whoever reads a variable must find its marks where the plan has put it.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.made = {i.out: i for i in memory.tape.instructions}
        self.marks: dict[Var, Array] = {}
        self._last = 0
        self._bytes: dict[int, int] = {}

    def fresh(self, shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape, dtype=int))
        self._last += size
        return np.arange(self._last - size, self._last).reshape(shape)

    def write(self, array: Array, marks: Array) -> None:
        for address, mark in zip(_addresses(array), marks.ravel().tolist(), strict=True):
            for k in range(array.itemsize):
                self._bytes[address + k] = mark

    def found(self, array: Array) -> Array:
        """Return the marks in an array; new ones where nobody has written yet."""
        marks = []
        for address in _addresses(array):
            there = {self._bytes.get(address + k) for k in range(array.itemsize)}
            assert len(there) == 1, "a part of an element has been overwritten"
            (mark,) = there
            if mark is None:
                self._last += 1
                mark = self._last - 1
                self._bytes.update((address + k, mark) for k in range(array.itemsize))
            marks.append(mark)
        return np.array(marks, int).reshape(array.shape)

    def read(self, v: Any, reader: Any) -> None:
        """Check that a variable is still what it was when it was computed."""
        array = self.memory.arrays.get(v) if v.__class__ is Var else None
        if array is not None:
            assert np.array_equal(self.found(array), self.marks[v]), (
                f"{v} has been overwritten before {reader} reads it"
            )

    # --- a replay

    def begin(self) -> None:
        """Let everything from outside be what it is when a replay begins."""
        memory = self.memory
        self.marks = {}
        for cell, array in memory.cells.items():
            if isinstance(cell, Gradient):  # copied into the plan's own array
                self.write(array, self.fresh(array.shape))
        for v in memory.parameters:  # wherever these lie
            self.marks[v] = self.fresh(v.shape)
        for v, array in memory.arrays.items():
            if v not in self.made:
                self.marks[v] = self.found(array)

    def constants(self) -> None:
        """Note what was put in its place when the memory was laid out."""
        for v, array in self.memory.arrays.items():
            if isinstance(v.origin, Constant):
                self.write(array, self.fresh(array.shape))
                self.marks[v] = self.found(array)
        for out, copies in self.memory.copies.items():
            copied = {v for _, v in copies}
            for place, v in self._places(out):
                if isinstance(v.origin, Constant) and v not in copied:
                    self.write(place, self.marks[v])

    def _places(self, out: Var) -> Iterator[tuple[Array, Var]]:
        i = self.made[out]
        axis = i.static.get("axis", 0)
        start = 0
        for v in i.args:
            stop = start + v.shape[axis]
            index: list[Any] = [slice(None)] * len(out.shape)
            index[axis] = slice(start, stop)
            yield self.memory.arrays[out][tuple(index)], v
            start = stop

    def run(self) -> None:
        """Do what a replay does, in its order."""
        memory = self.memory
        self.begin()
        for i in memory.tape.instructions:
            out = memory.arrays.get(i.out)
            if i.out in memory.copies:
                for target, v in memory.copies[i.out]:
                    self.read(v, i)
                    self.write(target, self.marks[v])
                self.marks[i.out] = np.concatenate([self.marks[v] for v in i.args], **i.static)
                self.read(i.out, i)
            elif i.view and all(v in self.marks for v in i.inputs):
                args = [self.marks[a] if a.__class__ is Var else a for a in i.args]
                self.marks[i.out] = i.primitive.forward(*args, **i.static)
                self.read(i.out, i)
            elif out is not None:
                for v in i.inputs:
                    self.read(v, i)
                    self.aligned(i, v)
                self.marks[i.out] = self.fresh(i.out.shape)
                self.write(out, self.marks[i.out])
        for a in memory.tape.assumptions:
            self.read(a.var, "an assumption")
        for cell, v in memory.tape.writes:
            if v is None or v not in memory.arrays:
                continue
            self.read(v, cell)
            target = memory.cells.get(cell) if not isinstance(cell, Gradient) else None
            if target is not None:
                self.write(target, self.marks[v])
        for v in memory.tape.outputs:
            self.read(v, "the caller")
        for cell, v in memory.tape.writes:
            if isinstance(cell, Gradient) and v is not None:
                self.read(v, cell)  # `.grad` is copied when somebody looks at it

    def aligned(self, i: Any, v: Var) -> None:
        """Check that an instruction writes over an argument only element upon element."""
        out, array = self.memory.arrays[i.out], self.memory.arrays.get(v)
        if array is None or not set(_addresses(array)) & set(_addresses(out)):
            return
        assert i.primitive.elementwise, f"{i} overwrites its argument"
        assert _addresses(array) == _addresses(out), f"{i} overwrites what it still reads"


def _addresses(array: Array) -> list[int]:
    """Return the addresses of the elements, in the order of their indices."""
    start = array.__array_interface__["data"][0]
    found = np.full(array.shape, start)
    for axis, (n, stride) in enumerate(zip(array.shape, array.strides, strict=True)):
        shape = [1] * array.ndim
        shape[axis] = n
        found = found + np.arange(n).reshape(shape) * stride
    return [int(a) for a in found.ravel()]


def passed(tape: Tape) -> Tape:
    for change in PASSES:
        tape = change(tape)
    return tape


#: In the last case, what is written to cells is computed in them, however little it is.
AMOUNTS = (places._FEW, -1)


def check_memory(tape: Tape) -> None:
    for amount in AMOUNTS:
        with mock.patch.object(places, "_FEW", amount):
            shadow = Shadow(arrange(tape))
        shadow.constants()
        for _ in range(2):  # what one replay leaves behind must not be in the way of the next
            shadow.run()


@EVERY
def test_nothing_is_overwritten_that_is_still_read(step: Step) -> None:
    f, args = step
    tape = tape_of(f, *args)
    check_memory(tape)  # the order of the passes is no condition for this
    check_memory(passed(tape))


def test_views_of_what_dies() -> None:
    """The result of an operation may lie upon an argument, but not upon a view in another order."""

    def f(x: Any) -> Any:
        turned, backwards, row = np.sin(np.exp(x).T), np.cos(np.sin(x)[::-1]), np.cos(x) * x
        return turned, backwards, np.exp(row * row[:1]), np.tanh(np.sinh(x).reshape(3, 3))

    check_memory(tape_of(f, np.ones((3, 3))))


@settings(max_examples=60)
@given(programs())
def test_random_programs(program: Program) -> None:
    tape = tape_of(backwards(program.f), *map(as_leaf, program.inputs))
    check_memory(tape)
    check_memory(passed(tape))


def test_large_arrays_in_blocks() -> None:
    """Chains of operations on large arrays: each block is done before the next is begun."""
    p, m = (tensor(np.linspace(-1.0, 1.0, 300_000), requires_grad=True) for _ in range(2))
    q = tensor(np.ones((600, 500)).T)

    def step(g: Any) -> Any:
        m.data = 0.9 * m.data + g
        p.data -= 0.1 * m.data / (np.sqrt(np.abs(m.data)) + 1e-8)
        q.data = np.tanh(q.data) * 2.0 + q.data[:1]  # a row of it, read by all blocks
        return p.data[:3].copy()

    compare(step, [p, m, q], [(np.cos(np.arange(300_000) + k),) for k in range(3)])


# --- cells: what is there before, and what after --------------------------------------------------


def compare(f: Callable[..., Any], cells: list[Any], calls: list[tuple[Any, ...]]) -> Any:
    """Call a function eagerly and compiled, from the same numbers in `cells`; compare all."""
    at_first = [p.data.copy() for p in cells]
    if cells[0].size < 100:
        check_memory(passed(tape_of(f, *calls[0])))
    expected = [
        [*(np.copy(y) for y in _arrays(f(*args))), *(p.data.copy() for p in cells)]
        for args in calls
    ]
    for amount in AMOUNTS:
        for p, x in zip(cells, at_first, strict=True):
            p.data[...] = x
            p.grad = None
        with mock.patch.object(places, "_FEW", amount):
            compiled = _compare(f, cells, calls, expected)
    return compiled


def _compare(f: Callable[..., Any], cells: list[Any], calls: Any, expected: Any) -> Any:
    compiled = tg.compile(f)
    held = []
    for args, wanted in zip(calls, expected, strict=True):
        results = _arrays(compiled(*args))
        found = [*results, *(p.data for p in cells)]
        held.append((results, wanted))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    for results, wanted in held:  # which no later call may have changed
        for a, b in zip(results, wanted, strict=False):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    return compiled


def _arrays(y: Any) -> list[Any]:
    parts = y if isinstance(y, tuple | list) else [y]
    return [a for part in parts for a in (_arrays(part) if isinstance(part, list) else [part])]


def _cells(n: int = 3) -> list[Any]:
    return [tensor(np.arange(4.0) + k, requires_grad=True) for k in range(n)]


X = np.array([1.0, -2.0, 0.5, 3.0])
CALLS = [(X,), (X + 1.0,), (-X,), (X * 0.5,)]


def test_old_numbers_of_a_cell_are_returned() -> None:
    p, *_ = cells = _cells()

    def step(x: Any) -> Any:
        before = p.data.copy()
        view = p.data[1:3].copy()
        p.data -= 0.1 * x
        return before, view, p.data.copy(), p.data[::-1]

    compare(step, cells, CALLS)


def test_old_numbers_of_an_argument_are_returned() -> None:
    def step(t: Any, x: Any) -> Any:
        before = t.data.copy()
        t.data = t.data * 2.0 + x
        return before, t.data.copy()

    compiled = tg.compile(step)
    for args in CALLS:
        t, u = tensor(X), tensor(X)
        for a, b in zip(compiled(t, *args), step(u, *args), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(t.data, u.data)


def test_cells_change_places() -> None:
    p, q, r = cells = _cells()

    def step(x: Any) -> Any:
        a, b, c = (t.data.copy() for t in cells)
        p.data, q.data, r.data = b, c, a
        return p.data + x

    compare(step, cells, CALLS)


def test_one_cell_is_computed_of_another_that_changes() -> None:
    p, q, r = cells = _cells()

    def step(x: Any) -> Any:
        p.data = p.data + x
        q.data = q.data + p.data  # the new p
        r.data = r.data[::-1] + x  # its own elements, in another order
        return np.sum(p.data * q.data)

    compare(step, cells, CALLS)


def test_old_numbers_are_read_after_the_new_were_computed() -> None:
    p, q, _ = cells = _cells()

    def step(x: Any) -> Any:
        old = p.data.copy()
        p.data = p.data + x
        q.data = q.data * 0.5 + old
        return np.sum(np.exp(old * 0.1))

    compare(step, cells, CALLS)


def test_a_product_of_a_cell_with_itself() -> None:
    p = tensor(np.cos(np.arange(16.0)).reshape(4, 4))

    def step(x: Any) -> Any:
        p.data = 0.5 * (p.data @ p.data) + x
        p.data = p.data @ np.eye(4)[::-1]
        return np.sum(p.data)

    compare(step, [p], CALLS)


def test_nothing_is_written_before_all_is_asked() -> None:
    """A replay that fails leaves cells as they were, although the step changes them first."""
    (p,) = _cells(1)

    def step(x: Any, y: Any) -> Any:
        p.data -= 0.1 * x
        return losses.cross_entropy(x[None] * np.ones((3, 1)), y)

    for amount in AMOUNTS:
        compiled = tg.compile(step)
        with mock.patch.object(places, "_FEW", amount):
            for y in ([0, 1, 2], [3, 1, 2]):
                compiled(X, np.array(y))
        before = p.data.copy()
        with pytest.raises(IndexError):
            compiled(X, np.array([0, 7, 1]))
        np.testing.assert_array_equal(p.data, before)


def test_a_cell_is_read_after_it_was_written() -> None:
    p, q, _ = cells = _cells()

    def step(x: Any) -> Any:
        old = np.sum(p.data * x)
        p.data -= 0.1 * x
        new = np.sum(p.data * x)
        p.data *= 1.0 + q.data * 0.01
        return old, new, np.sum(p.data)

    compare(step, cells, CALLS)


def test_rows_and_columns_of_a_cell() -> None:
    p = tensor(np.arange(16.0).reshape(4, 4))

    def step(x: Any) -> Any:
        p.data = p.data - p.data[:1] * 0.1 - p.data[:, :1] * 0.1 + p.data.T * 0.01
        return p.data[0] + x

    compare(step, [p], CALLS)


def test_gradients_that_are_parameters() -> None:
    p, q, _ = cells = _cells()

    def step(x: Any) -> Any:
        p.grad = q.data.copy()
        q.data = q.data * 0.5 + x
        return np.sum(q.data)

    compiled = compare(step, cells, CALLS)
    before = q.data.copy()
    compiled(X)
    np.testing.assert_array_equal(p.grad, before)


def test_concatenations() -> None:
    constant = np.asfortranarray(np.arange(8.0).reshape(4, 2))

    def f(x: Any, y: Any) -> Any:
        a, b = np.exp(x), np.sin(y)
        twice = np.concatenate([a, a, b, x[:0]], axis=0)
        inner = np.concatenate([twice, np.ones((1, 2)), y], axis=0)
        nested = np.concatenate([inner, inner * 2.0], axis=1)
        turned = np.concatenate([a.T, b.T, constant.T], axis=0)
        both = np.concatenate([a, np.concatenate([a, b])])
        return nested, turned, a + 1.0, twice[1:, :1].T, both, np.concatenate([x, y, x])

    rng = np.random.default_rng(0)
    check(f, [[rng.random((4, 2)), rng.random((4, 2))] for _ in range(3)])


# --- nothing grows --------------------------------------------------------------------------------


def peak(step: Callable[..., Any], *args: Any) -> int:
    """Return the most memory that a replay takes while it runs, in bytes."""
    for _ in range(4):
        step(*args)
    found = []
    tracemalloc.start()
    try:
        for _ in range(4):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            step(*args)
            found.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return min(found)


#: Bytes of NumPy's own objects and the result; not of arrays, which would grow with the batch.
SMALL = 2048


def check_allocations(make: Callable[[int], Step], n: int = 64) -> None:
    few, many = (peak(tg.compile(f), *args) for f, args in (make(n), make(8 * n)))
    assert few <= SMALL
    assert many <= few + 64


def trained(model: Any, loss: Any = losses.cross_entropy, **options: Any) -> Callable[..., Any]:
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        value = loss(model(x), y, **options)
        value.backward()
        optimizer.step()
        return value

    return step


def normal(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def labels(n: int, classes: int) -> Array:
    return np.random.default_rng(1).integers(0, classes, n)


@pytest.mark.parametrize("sizes", [(2, 16, 16, 2), (64, 32, 10), (784, 128, 10), (256, 256, 10)])
def test_steps_of_the_benchmark(sizes: tuple[int, ...]) -> None:
    check_allocations(
        lambda n: (
            trained(nn.MLP(sizes[0], sizes[1:])), (normal(n, sizes[0]), labels(n, sizes[-1]))
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["relu", "tanh", "sigmoid", "softplus", "leaky_relu", "elu", "silu"]
)
def test_activations(name: str) -> None:
    check_allocations(
        lambda n: (trained(nn.MLP(8, [16, 4], activation=name)), (normal(n, 8), labels(n, 4)))
    )


TARGETS: dict[str, tuple[Any, Callable[[int], Array], dict[str, Any]]] = {
    "mse": (losses.mse_loss, lambda n: normal(n, 4), {}),
    "l1": (losses.l1_loss, lambda n: normal(n, 4), {}),
    "huber": (losses.huber_loss, lambda n: normal(n, 4), {}),
    "hinge": (losses.hinge_loss, lambda n: np.sign(normal(n, 4)), {}),
    "logits": (
        losses.binary_cross_entropy_with_logits, lambda n: (normal(n, 4) > 0).astype("f"), {},
    ),
    "soft targets": (losses.cross_entropy, lambda n: np.full((n, 4), 0.25, np.float32), {}),
    **{
        np.dtype(t).name: (losses.cross_entropy, lambda n, t=t: labels(n, 4).astype(t), {})
        for t in (np.int8, np.uint8, np.int32, np.uint64)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_losses(name: str) -> None:
    loss, target, options = TARGETS[name]
    check_allocations(
        lambda n: (trained(nn.MLP(8, [16, 4]), loss, **options), (normal(n, 8), target(n)))
    )


def test_dropout() -> None:
    def make(n: int) -> Step:
        rng = np.random.default_rng(0)
        model = nn.Sequential(
            nn.Linear(8, 16, rng=rng), tg.relu, nn.Dropout(0.5, rng=rng), nn.Linear(16, 4, rng=rng)
        )
        return trained(model), (normal(n, 8), labels(n, 4))

    check_allocations(make)


def test_batches_of_sequences() -> None:
    check_allocations(
        lambda n: (
            trained(nn.MLP(8, [16, 4]), losses.mse_loss), (normal(n, 3, 8), normal(n, 3, 4)),
        )
    )  # fmt: skip


def _normalised(h: Any) -> Any:
    centred = h - np.mean(h, axis=-1, keepdims=True)
    return centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5)


#: Losses of a layer's result `h`, with data `y` of the same shape: all but these allocate nothing.
#:
#: NumPy itself allocates in sort, argsort, partition, the functions of linalg and fft, running
#: sums and products, indexing by integers that differ from call to call, and adding at such.
LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "layer norm": lambda h, y: np.mean(_normalised(h) * y),
    "variance": lambda h, y: np.mean(h / np.sqrt(np.var(h, axis=-1, keepdims=True) + 1e-5) * y),
    "standard deviation": lambda h, y: np.mean(h / np.std(h, axis=0)),
    "roll": lambda h, y: np.mean(np.roll(h, 1, axis=0) * np.roll(y, -2, axis=1)),
    "running sum": lambda h, y: np.mean(np.cumsum(h, axis=0) * y),
    "accuracy": lambda h, y: np.mean(h) + np.mean(np.argmax(h, axis=1) == np.argmax(y, axis=1)),
    "norm": lambda h, y: np.mean(np.linalg.norm(h, axis=1)),
    "softmax": lambda h, y: np.mean(tg.softmax(h, axis=-1) * y),
    "softmax along columns": lambda h, y: np.mean(tg.softmax(h, axis=0) * y),
    "logsumexp": lambda h, y: np.mean(tg.logsumexp(h, axis=-1)),
    "hinge by hand": lambda h, y: np.sum(tg.relu(1.0 - y * h)),
    "where": lambda h, y: np.mean(np.where(h > 0.0, h, 0.1 * h) * y),
    "clip by arrays": lambda h, y: np.mean(np.clip(h, -y, 1.0)),
    "maximum": lambda h, y: np.mean(np.maximum(h, y)),
    "largest of a row": lambda h, y: np.mean(np.max(h, axis=1)),
    "every other row": lambda h, y: np.mean(h[::2] * h[1::2]),
    "columns": lambda h, y: np.mean(np.take(h, [0, 2], axis=1)),
    "concatenate": lambda h, y: np.mean(np.concatenate([h, y], axis=1) ** 2),
    "stack": lambda h, y: np.mean(np.stack([h, y]) ** 2),
    "transposed": lambda h, y: np.mean(np.tanh(h.T) * y.T),
    "powers": lambda h, y: np.mean(np.abs(h) ** np.abs(y)),
    "other precision": lambda h, y: np.mean(h.astype(float) * y),
    "einsum": lambda h, y: np.mean(np.einsum("ni,nj->nij", h, y) ** 2),
    "pairs": lambda h, y: np.mean((h[:, None, :] - h[None, :8, :]) ** 2),
    "padding": lambda h, y: np.mean(np.pad(h, 1) ** 2),
    "differences": lambda h, y: np.mean(np.diff(h, axis=0) ** 2),
    "triangle": lambda h, y: np.mean(np.tril(h) * y),
    "one column with all": lambda h, y: np.mean(h * y[:, :1]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_operations(name: str) -> None:
    def make(n: int) -> Step:
        w = tensor(normal(8, 4), requires_grad=True)
        b = tensor(np.ones(4, np.float32), requires_grad=True)

        def step(x: Any, y: Any) -> Any:
            w.grad = b.grad = None
            loss = LOSSES[name](x @ w + b, y)
            loss.backward()
            for p in (w, b):  # as in micrograd
                p.data -= 0.01 * p.grad
            return loss

        return step, (normal(n, 8), normal(n, 4))

    check_allocations(make)


def test_an_array_that_grows_is_seen() -> None:
    sort: Any = np.sort

    with pytest.raises(AssertionError):
        check_allocations(lambda n: (lambda x: np.sum(sort(x)), (normal(n),)), n=1024)
