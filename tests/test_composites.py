"""NumPy's functions that are compositions of primitives, on every call of the registry.

What is compared with is NumPy itself: its result, and numerical derivatives of its results.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from samples import CALLS
from samples.rows import Call
from test_primitives import about, numeric, quiet

from tinygrad_nn import Tensor, tensor
from tinygrad_nn.backward import pull_back
from tinygrad_nn.primitive import BY_FUNCTION, COMPOSITES

Array = np.ndarray

EVERY = pytest.mark.parametrize("call", CALLS, ids=[f"{i} {c}" for i, c in enumerate(CALLS)])


def results(y: Any) -> Iterator[Any]:
    """Yield the arrays in what a function returned."""
    if isinstance(y, tuple | list):
        for part in y:
            yield from results(part)
    else:
        yield y


def numbers(y: Any) -> Array:
    """Return all floating numbers of a result as one real vector."""
    parts = [np.asarray(a.data if isinstance(a, Tensor) else a) for a in results(y)]
    real = [p.astype(complex).ravel().view(float) if p.dtype.kind == "c" else p for p in parts]
    return np.concatenate([p.ravel().astype(float) for p in real] or [np.zeros(0)])


def weigh(y: Any) -> Any:
    """Return a sum of all floating results with fixed random weights, on arrays or on tensors."""
    rng = np.random.default_rng(0)
    total: Any = 0.0
    for a in results(y):
        if a.dtype.kind not in "fc":
            continue
        w = rng.uniform(0.5, 1.5, a.shape)
        total = total + np.sum(w * np.real(a))
        if a.dtype.kind == "c":
            total = total + np.sum(rng.uniform(0.5, 1.5, a.shape) * np.imag(a))
    return total


def gradients(call: Call, inputs: list[Array], *, record: bool = False) -> tuple[list[Any], Any]:
    """Return the cotangent of each input, 0.0 for none, and the leaves."""
    leaves = [tensor(x, requires_grad=True) for x in inputs]
    total = weigh(call(*leaves))
    if not isinstance(total, Tensor) or not total.requires_grad:
        return [0.0] * len(leaves), leaves
    seed: Any = tensor(1.0) if record else np.ones(())
    _, found = pull_back([(total, seed)], record=record)
    return [found.get(leaf.serial, 0.0) for leaf in leaves], leaves


def moved(call: Call, f: Callable[[list[Array]], Any], inputs: list[Array], i: int) -> Array:
    def at(x: Array) -> float:
        return float(f([*inputs[:i], x, *inputs[i + 1 :]]))

    return numeric(at, inputs[i])


@EVERY
def test_value_and_type_are_numpys(call: Call) -> None:
    inputs = call.draw()
    expected = list(results(call(*inputs)))
    found = list(results(call(*(tensor(x, requires_grad=True) for x in inputs))))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        b = np.asarray(b)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        data = a.data if isinstance(a, Tensor) else a
        assert_allclose(data, b, rtol=1e-12, atol=1e-13)


@EVERY
def test_first_order(call: Call) -> None:
    inputs = call.draw()
    found, _ = gradients(call, inputs)
    for i, g in enumerate(found):
        slope = moved(call, lambda xs: weigh(call(*xs)), inputs, i)
        assert_allclose(np.broadcast_to(g, slope.shape), slope, rtol=1e-7, atol=2e-8)


@EVERY
def test_second_order(call: Call) -> None:
    if not call.twice:
        return
    inputs = call.draw()
    rng = np.random.default_rng(1)
    v = [rng.uniform(0.5, 1.5, x.shape) for x in inputs]

    def slope(xs: list[Array]) -> float:
        found, _ = gradients(call, xs)
        return float(sum(np.sum(g * w) for g, w in zip(found, v, strict=True)))

    first, leaves = gradients(call, inputs, record=True)
    total = sum(np.sum(g * w) for g, w in zip(first, v, strict=True))
    second: dict[int, Any] = {}
    if isinstance(total, Tensor) and total.requires_grad:
        _, second = pull_back([(total, np.ones(()))])
    for i, leaf in enumerate(leaves):
        found = second.get(leaf.serial, np.zeros(leaf.shape))
        assert_allclose(found, moved(call, slope, inputs, i), rtol=1e-6, atol=2e-7)


@EVERY
def test_single_precision_stays_single(call: Call) -> None:
    inputs = [x.astype(np.float32) for x in call.draw()]
    with quiet():
        expected = list(results(call(*inputs)))
    leaves = [tensor(x, requires_grad=True) for x in inputs]
    y = call(*leaves)
    for a, b in zip(results(y), expected, strict=True):
        assert a.dtype == np.asarray(b).dtype
    total = weigh(y)
    if isinstance(total, Tensor) and total.requires_grad:
        total.backward()
        for leaf in leaves:
            assert leaf.grad is None or leaf.grad.dtype == np.float32


def test_every_composite_is_called() -> None:
    called = {call.function for call in CALLS}
    missing = [f for f in COMPOSITES if f not in called]
    names = [getattr(f, "__qualname__", repr(f)) for f in missing]
    assert not names, f"add calls of these to tests/samples: {names}"


def test_no_function_is_declared_twice() -> None:
    with about("functions that are both a primitive and a composition"):
        assert not set(BY_FUNCTION) & set(COMPOSITES)
