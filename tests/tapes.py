"""Tapes to test with: captured steps of all kinds, and an interpreter that says what they mean."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, tensor
from tinygrad_nn.plan.arguments import take_apart
from tinygrad_nn.plan.run import captured
from tinygrad_nn.plan.tape import Constant, Tape, Var

Array = np.ndarray


def tape_of(f: Callable[..., Any], *args: Any) -> Tape:
    """Return what a function does to its arguments; nothing is changed outside."""
    return captured(f, take_apart((args, {}))).tape


def names(tape: Tape) -> list[str]:
    """Return the names of the primitives, but for views."""
    return [i.primitive.name for i in tape.instructions if not i.view]


def given(tape: Tape, moved: bool = False) -> dict[Var, Array]:
    """Return numbers for what is outside: as they were captured, or near these.

    Integers, which may be labels, are taken in another order.
    """
    found: dict[Var, Array] = {}
    for v in (*(v for i in tape.instructions for v in i.inputs), *tape.results):
        if v.is_result or isinstance(v.origin, Constant):
            continue
        x = np.array(v.example)
        if moved and x.dtype.kind in "fc":
            x = np.asarray(x + 1e-4 * np.cos(np.arange(x.size)).reshape(x.shape), x.dtype)
        elif moved and x.ndim and x.dtype.kind in "iub":
            x = x[::-1].copy()
        found[v] = x
    return found


def execute(tape: Tape, numbers: dict[Var, Array]) -> list[Array]:
    """Return the numbers of `tape.results`: what its instructions say, one after the other.

    Draws are those of the captured run.
    """
    known: dict[Var, Any] = dict(numbers)

    def of(a: Any) -> Any:
        if a.__class__ is not Var:
            return a
        return a.origin.array if isinstance(a.origin, Constant) else known[a]

    for i in tape.instructions:
        assert i.out not in known, "a variable is written once"
        args = [of(a) for a in i.args]
        with np.errstate(**(i.errors or {"all": "ignore"})):
            y = i.out.example if i.has_effect else i.primitive.forward(*args, **i.static)
        y = np.asarray(y)
        assert (y.shape, y.dtype) == (i.out.shape, i.out.dtype), i
        if i.view and y.size:
            assert any(np.may_share_memory(y, a) for a in args if isinstance(a, np.ndarray)), i
        known[i.out] = y
    return [np.asarray(of(v)) for v in tape.results]


def check(change: Callable[[Tape], Tape], tape: Tape, *, exact: bool = False) -> Tape:
    """Check that a pass leaves a tape's meaning as it is, and the tape itself; return the new one.

    With `exact`, the sign of zeros and every bit must be the same.
    """
    before = [(i, i.args, dict(i.static), i.out) for i in tape.instructions]
    numbers = [given(tape), given(tape, moved=True)]
    expected = [execute(tape, n) for n in numbers]
    new = change(tape)
    assert before == [(i, i.args, i.static, i.out) for i in tape.instructions]
    assert effects(new) == effects(tape)
    assert [c for c, _ in new.writes] == [c for c, _ in tape.writes]
    assert [a.truth for a in new.assumptions] == [a.truth for a in tape.assumptions]
    for n, results in zip(numbers, expected, strict=True):
        for found, was in zip(execute(new, n), results, strict=True):
            assert (found.shape, found.dtype) == (was.shape, was.dtype)
            if exact:
                assert_array_equal(found, was)
                if was.dtype.kind == "f":
                    assert_array_equal(np.signbit(found), np.signbit(was))
            else:
                near(found, was)
    return new


#: Relative to the largest number, by dtype.
TOLERANCE = {"f": 1e-5, "d": 1e-11, "e": 1e-2, "F": 1e-5, "D": 1e-11}


def near(found: Array, expected: Array) -> None:
    """Check that arrays are the same but for rounding."""
    rtol = TOLERANCE.get(expected.dtype.char, 0.0)
    finite = np.abs(expected[np.isfinite(expected)]) if rtol else np.zeros(0)
    assert_allclose(found, expected, rtol=rtol, atol=rtol * np.max(finite, initial=0.0))


def effects(tape: Tape) -> list[Var]:
    """Return the results of the instructions that must keep their turns."""
    return [i.out for i in tape.instructions if i.has_effect]


# --- steps ----------------------------------------------------------------------------------------

Step = tuple[Callable[..., Any], tuple[Any, ...]]

_N = 6  # samples


def _data(n: int, *shape: int, dtype: Any = np.float32) -> Array:
    size = n * int(np.prod(shape, dtype=int))
    return np.sin(np.arange(size) * 1.7 + 0.3).reshape(n, *shape).astype(dtype)


def _labels(n: int, classes: int = 3, dtype: Any = np.int64) -> Array:
    return (np.arange(n) * 2 % classes).astype(dtype)


def training(
    model: Any, loss: Any = losses.cross_entropy, optimizer: Any = None, **options: Any
) -> Callable[..., Any]:
    """Return the usual step of training, after one that has set the optimizer up."""
    if optimizer is None:
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        value = loss(model(x), y, **options)
        value.backward()
        optimizer.step()
        return value

    return step


def _mlp(*sizes: int, **options: Any) -> Any:
    return nn.MLP(sizes[0], list(sizes[1:]), rng=0, **options)


def _usual() -> Iterator[tuple[str, Step]]:
    x, y = _data(_N, 4), _labels(_N)
    yield "mlp", (training(_mlp(4, 5, 3)), (x, y))
    yield "one layer", (training(_mlp(4, 3)), (x, y))
    yield "one unit", (training(_mlp(4, 1, 3)), (x, y))
    yield "one sample", (training(_mlp(4, 5, 3)), (x[:1], y[:1]))
    yield "one input", (training(_mlp(1, 5, 3)), (x[:, :1], y))
    yield "wide", (training(_mlp(4, 70, 66, 3)), (x, y))
    yield "double precision", (
        training(_mlp(4, 5, 3, dtype=np.float64)), (x.astype(float), y),
    )  # fmt: skip
    for dtype in (np.int8, np.int32, np.uint8, np.uint64):
        yield f"labels of {np.dtype(dtype)}", (training(_mlp(4, 5, 3)), (x, y.astype(dtype)))
    yield (
        "label smoothing",
        (training(_mlp(4, 5, 3), losses.cross_entropy, label_smoothing=0.1), (x, y)),
    )
    soft = np.abs(_data(_N, 3))
    yield "soft targets", (
        training(_mlp(4, 5, 3)), (x, soft / soft.sum(axis=1, keepdims=True)),
    )  # fmt: skip
    model = _mlp(4, 5, 3)
    optimizer = tg.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    )
    yield "nesterov", (training(model, optimizer=optimizer), (x, y))
    yield "regression", (training(_mlp(4, 5, 3), losses.mse_loss), (x, _data(_N, 3)))
    yield "batches of sequences", (
        training(_mlp(4, 5, 3), losses.mse_loss), (_data(2, 3, 4), _data(2, 3, 3)),
    )  # fmt: skip


def _layouts() -> Iterator[tuple[str, Step]]:
    x, y = _data(_N, 4), _labels(_N)
    rng = np.random.default_rng(0)
    plain = nn.Sequential(
        nn.Linear(4, 5, bias=False, rng=rng), np.tanh, nn.Linear(5, 3, bias=False, rng=rng)
    )
    yield "no bias", (training(plain), (x, y))
    mixed = nn.Sequential(
        nn.Linear(4, 5, rng=rng), np.tanh, nn.Linear(5, 5, bias=False, rng=rng), tg.sigmoid,
        nn.Linear(5, 3, rng=rng),
    )  # fmt: skip
    yield "mixed", (training(mixed), (x, y))
    shared = nn.Linear(4, 4, rng=rng)
    yield (
        "shared layer",
        (
            training(nn.Sequential(shared, np.tanh, shared, np.tanh, nn.Linear(4, 3, rng=rng))),
            (x, y),
        ),
    )
    tied = nn.Linear(4, 3, rng=rng)
    yield "tied weights", (_tied(tied), (x, y))
    frozen = _mlp(4, 5, 3)
    for p in frozen.layers[0].parameters():
        p.requires_grad = False
    some = [p for p in frozen.parameters() if p.requires_grad]
    optimizer = tg.optim.SGD(some, lr=0.1, momentum=0.9)
    yield "frozen layer", (training(frozen, optimizer=optimizer), (x, y))
    groups = _mlp(4, 5, 3)
    first, second = groups.layers[0].parameters(), groups.layers[1].parameters()
    optimizer = tg.optim.SGD(
        [{"params": list(first), "lr": 0.1}, {"params": list(second), "lr": 0.01}],
        lr=0.1, momentum=0.9,
    )  # fmt: skip
    yield "parameter groups", (training(groups, optimizer=optimizer), (x, y))
    yield "two optimizers", (_two_optimizers(_mlp(4, 5, 3)), (x, y))
    yield "by hand", (_by_hand(_mlp(4, 5, 3)), (x, y))
    yield "transposed weights", (_transposed(), (x, y))
    yield "accumulated gradients", (_accumulating(_mlp(4, 5, 3)), (x, y))
    yield "no batch", (training(_mlp(4, 5, 3), losses.mse_loss), (x[0], _data(3)))
    yield "two heads", (_heads(_mlp(4, 5, 3)), (x, y))


def _tied(layer: Any) -> Callable[..., Any]:
    optimizer = tg.optim.SGD(layer.parameters(), lr=0.1)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        h = np.tanh(layer(x)) @ layer.weight.T
        loss = losses.cross_entropy(layer(h), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _two_optimizers(model: Any) -> Callable[..., Any]:
    optimizers = [
        tg.optim.SGD(model.layers[0].parameters(), lr=0.1, momentum=0.9),
        tg.optim.SGD(model.layers[1].parameters(), lr=0.01),
    ]

    def step(x: Any, y: Any) -> Any:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss

    return step


def _by_hand(model: Any) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = losses.cross_entropy(model(x), y)
        for p in model.parameters():
            p.grad = None
        loss.backward()
        before = [p.data.copy() for p in model.parameters()]
        for p in model.parameters():
            p.data -= 0.1 * p.grad
        hits = np.mean(np.argmax(model(x), axis=1) == y)  # with the new weights
        return loss, hits, before

    return step


def _transposed() -> Callable[..., Any]:
    w = tensor(np.asfortranarray(_data(4, 3)), requires_grad=True)
    flat = _data(1, 16)[0]
    v = tensor(np.ones((3, 3), np.float32), requires_grad=True)
    v._value = flat[1:10].reshape(3, 3).T
    b = tensor(np.ones(3, np.float32), requires_grad=True)
    b._value = flat[10:13]

    def step(x: Any, y: Any) -> Any:
        for p in (w, v, b):
            p.grad = None
        loss = losses.cross_entropy(np.tanh(x @ w) @ v + b, y)
        loss.backward()
        for p in (w, v, b):
            p.data -= 0.1 * p.grad
        return loss, v.data.copy()

    return step


def _accumulating(model: Any) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return step


def _heads(model: Any) -> Callable[..., Any]:
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        h = model.layers[0](x)
        g = model.layers[1](tg.relu(h))
        loss = losses.cross_entropy(g, y) + np.mean(h**2) + np.mean(g[:, :2] * g[:, 1:])
        loss.backward()
        optimizer.step()
        return loss, h, g

    return step


def steps() -> dict[str, Step]:
    """Return steps of training by name, each called once, so that optimizers have their state."""
    found = dict([*_usual(), *_layouts()])
    for f, args in found.values():
        f(*args)
    return found
