"""A compiled function beside the same function run eagerly, on the same numbers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.testing import assert_allclose

import tinygrad_nn as tg
from tinygrad_nn import Tensor, tensor

Array = np.ndarray

#: How far a replay may be from eager execution, relative to the largest number.
TOLERANCE: dict[Any, float] = {np.float64: 1e-12, np.float32: 1e-5}


def same(found: Any, expected: Any, rtol: float = 1e-12) -> None:
    """Compare results of all kinds: their types, shapes, dtypes and numbers.

    A number may be a 0-d array, and a list a tuple: NumPy's own functions differ in that.
    """
    if isinstance(expected, np.generic) or isinstance(found, np.generic):
        expected, found = np.asarray(expected), np.asarray(found)
    sequences = isinstance(found, tuple | list) and isinstance(expected, tuple | list)
    assert type(found) is type(expected) or sequences, f"{type(found)} is not {type(expected)}"
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            same(a, b, rtol)
        return
    if isinstance(expected, Tensor):
        assert found.requires_grad == expected.requires_grad  # though a replay has no graph
        found, expected = found.data, expected.data
    if not isinstance(expected, np.ndarray | np.generic):
        assert found == expected or found is expected
        return
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    finite = np.abs(expected[np.isfinite(expected)]) if expected.dtype.kind in "fc" else np.zeros(1)
    assert_allclose(found, expected, rtol=rtol, atol=rtol * np.max(finite, initial=0.0))


def _weights(shape: tuple[int, ...]) -> Array:
    # No generator: the compiler would look for others wherever one is mentioned.
    return 1.0 + 0.5 * np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape)


def weighted(y: Any) -> Any:
    """Return a sum of all floating results with fixed weights, 0.0 for none."""
    total: Any = 0.0
    for a in y if isinstance(y, tuple | list) else [y]:
        if isinstance(a, tuple | list):
            total = total + weighted(a)
        elif isinstance(a, Tensor) and a.dtype.kind in "fc":
            total = total + np.sum(_weights(a.shape) * np.real(a))
            if a.dtype.kind == "c":
                total = total + np.sum(_weights(a.shape) * np.imag(a))
    return total


def backwards(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that also differentiates a sum of its results."""

    def step(*args: Any) -> Any:
        y = f(*args)
        total = weighted(y)
        if isinstance(total, Tensor) and total.requires_grad:
            total.backward()
        return y

    return step


def as_leaf(a: Any) -> Any:
    """Make a leaf of a floating array."""
    floating = isinstance(a, np.ndarray) and a.dtype.kind in "fc"
    return tensor(a, requires_grad=True) if floating else a


def numbers(items: Sequence[Any]) -> Iterator[Any]:
    """Yield copies of the numbers in arguments, and the gradients that are there."""
    for a in items:
        if isinstance(a, Tensor):
            yield a.data.copy()
            yield None if a.grad is None else a.grad.copy()
        elif isinstance(a, np.ndarray):
            yield a.copy()


def check(
    f: Callable[..., Any],
    draws: Sequence[Sequence[Any]],
    rtol: float = 1e-12,
    *,
    captures: int = 1,
) -> Any:
    """Call `f` and its compiled twin with each of `draws`; compare everything that can be seen.

    Results, arguments (which either may write to) and their gradients; and at the end again the
    results of all calls, which no later call may have changed. Returns the compiled twin.
    """
    compiled = tg.compile(f)
    held = []
    for args in draws:
        mine = [_twin(a) for a in args]
        expected = f(*args)
        found = compiled(*mine)
        same(found, expected, rtol)
        same(list(numbers(mine)), list(numbers(args)), rtol)
        held.append((found, expected))
    for found, expected in held:
        same(found, expected, rtol)
    assert compiled.captures == captures
    return compiled


def _twin(a: Any) -> Any:
    if isinstance(a, Tensor):
        return tensor(a.data, requires_grad=a.requires_grad)
    return a.copy(order="K") if isinstance(a, np.ndarray) else a
