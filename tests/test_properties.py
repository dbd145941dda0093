"""Properties that hold for shapes, indices and expressions that nobody thought of."""

from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal

from tinygrad_nn import Tensor, tensor
from tinygrad_nn.rules import TABLE

SHAPES = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3)
PAIRS = ["add", "subtract", "multiply", "divide", "power", "arctan2", "hypot", "logaddexp"]


def leaf(x: Any) -> Tensor:
    return tensor(x, requires_grad=True)


def _numbers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).uniform(0.5, 2.0, shape))


def _slope(f: Any, x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    slope = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        e = np.zeros(x.shape)
        e[at] = h
        slope[at] = (np.sum(f(x + e)) - np.sum(f(x - e))) / (2 * h)
    return slope


@given(SHAPES, st.sampled_from(PAIRS))
def test_broadcasting(shapes: Any, name: str) -> None:
    (first, second), result = shapes.input_shapes, shapes.result_shape
    f = TABLE[name].numpy[0]
    a, b, w = _numbers(first, 1), _numbers(second, 2), _numbers(result, 3)
    x, y = leaf(a), leaf(b)
    z = f(x, y)
    assert z.shape == result
    z.backward(gradient=w)
    assert x.grad.shape == first
    assert y.grad.shape == second
    assert_allclose(x.grad, _slope(lambda a: w * f(a, b), a), rtol=1e-6, atol=1e-7)
    assert_allclose(y.grad, _slope(lambda b: w * f(a, b), b), rtol=1e-6, atol=1e-7)


ARRAYS = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


@st.composite
def indexed(draw: Any) -> tuple[tuple[int, ...], Any]:
    """Draw a shape and an index into it: basic, of integers, a mask, or mixed."""
    shape = draw(ARRAYS)
    kind = draw(st.sampled_from(["basic", "integers", "mask", "mixed"]))
    if kind == "basic":
        return shape, draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    if kind == "integers":
        result = hnp.array_shapes(max_dims=2, max_side=3)
        return shape, draw(hnp.integer_array_indices(shape, result_shape=result))
    if kind == "mask":
        return shape, draw(hnp.arrays(bool, shape))
    array = draw(
        hnp.arrays(np.intp, draw(st.integers(0, 3)), elements=st.integers(-shape[0], shape[0] - 1))
    )
    rest = tuple(
        draw(st.sampled_from([slice(None), slice(None, None, -1), 0, slice(1, None)]))
        for _ in shape[1:]
    )
    return shape, (array, *rest)


@given(indexed())
def test_indexing(case: Any) -> None:
    shape, index = case
    x = leaf(_numbers(shape, 1))
    y = x[index]
    expected = x.data[index]
    assert y.shape == np.shape(expected)
    assert_array_equal(y.data, expected)
    w = _numbers(y.shape, 2)
    y.backward(gradient=w)
    # Each element receives the weights of all places that it went to.
    origin = np.arange(x.size).reshape(shape)[index]
    total = np.bincount(np.ravel(origin), weights=np.ravel(w), minlength=x.size)
    assert_allclose(x.grad, total.reshape(shape), rtol=1e-15)


@given(ARRAYS, st.data())
def test_reductions_over_any_axes(shape: tuple[int, ...], data: Any) -> None:
    axes = data.draw(st.none() | hnp.valid_tuple_axes(len(shape), min_size=1))
    keepdims = data.draw(st.booleans())
    name = data.draw(st.sampled_from(["sum", "mean", "max", "min", "var", "std", "logsumexp"]))
    p = TABLE[name]
    a = _numbers(shape, 1)
    x = leaf(a)
    y = p(x, axis=axes, keepdims=keepdims)
    assert y.shape == np.sum(a, axis=axes, keepdims=keepdims).shape
    w = _numbers(y.shape, 2)
    y.backward(gradient=w)
    if name == "std" and np.prod([shape[i] for i in axes or range(len(shape))]) == 1:
        assert_array_equal(x.grad, np.zeros(shape))  # a corner: numbers around it say nothing
        return
    slope = _slope(lambda a: w * p.forward(a, axis=axes, keepdims=keepdims), a)
    assert_allclose(x.grad, slope, rtol=1e-6, atol=1e-7)


@given(st.data())
def test_matmul_of_any_shapes(data: Any) -> None:
    shapes = data.draw(
        hnp.mutually_broadcastable_shapes(
            signature=np.matmul.signature, max_dims=2, min_side=0, max_side=3
        )
    )
    a, b = (_numbers(shape, i) for i, shape in enumerate(shapes.input_shapes))
    x, y = leaf(a), leaf(b)
    z = x @ y
    assert z.shape == shapes.result_shape
    w = _numbers(z.shape, 3)
    z.backward(gradient=w)
    assert_allclose(x.grad, _slope(lambda a: w * (a @ b), a), rtol=1e-6, atol=1e-7)
    assert_allclose(y.grad, _slope(lambda b: w * (a @ b), b), rtol=1e-6, atol=1e-7)


@given(ARRAYS, st.data())
def test_moving_axes_and_elements(shape: tuple[int, ...], data: Any) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    x = leaf(_numbers(shape, 1))
    y = np.transpose(x, order)
    assert_array_equal(y.data, np.transpose(x.data, order))
    flat = y.ravel() if data.draw(st.booleans()) else y.reshape(-1)
    assert_array_equal(flat.data, np.transpose(x.data, order).ravel())
    w = _numbers(flat.shape, 2)
    flat.backward(gradient=w)
    assert_array_equal(x.grad, np.transpose(w.reshape(y.shape), np.argsort(order)))
