"""where() with functions for branches: each is computed only where it is selected."""

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import ShapeError, Tensor, Value, gradcheck, tensor, transforms
from tinygrad_nn.selection import where

ZERO = (lambda x: 0.0 * x), (lambda x: 0.0), 0.0, 0


def leaf(x, dtype=float):
    return tensor(x, dtype, requires_grad=True)


# --- what no np.where can: the rows of the edge cases --------------------------------------------


@pytest.mark.parametrize("zero", ZERO)
def test_a_root_of_what_is_not_negative(zero):
    x = leaf([-1.0, 4.0])
    y = where(x > 0, np.sqrt, zero, x)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, [0.0, 2.0])
    np.testing.assert_array_equal(x.grad, [0.0, 0.25])


@pytest.mark.parametrize("zero", ZERO)
def test_a_reciprocal_of_what_is_not_zero(zero):
    for point in (0.0, [0.0]):
        x = leaf(point)
        y = where(np.equal(x, 0.0), zero, lambda x: 1.0 / x, x)
        y.backward()
        assert y.item() == 0.0
        assert x.grad.item() == 0.0
        assert x.grad.shape == x.shape


def test_an_exponential_of_what_is_small():
    x = leaf([1e5, 0.0])
    y = where(x < 1, np.exp, lambda x: x, x)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, [1e5, 1.0])
    np.testing.assert_array_equal(x.grad, [1.0, 1.0])


def test_derivatives_of_second_order_are_those_of_the_branch():
    x = leaf([-1.0, 4.0, 0.0])

    def f(x):
        return np.sum(where(x > 0, np.sqrt, lambda x: x * x, x))

    hessian = transforms.hessian(f)(x.data)
    np.testing.assert_allclose(hessian, np.diag([2.0, -0.25 * 4.0**-1.5, 2.0]))


def test_gradients_agree_with_numerical_ones(rng):
    a, b = rng.uniform(0.3, 2.0, (3, 4)), rng.uniform(0.3, 2.0, 4)
    condition = rng.random((3, 1)) < 0.5
    for f, g in [
        (lambda a, b: a * np.log(b), lambda a, b: np.exp(a) / b),
        (np.multiply, lambda a, b: 3.0),
        (np.divide, b),
    ]:
        assert gradcheck(lambda a, b, f=f, g=g: where(condition, f, g, a, b), (a, b))


# --- shapes, dtypes, kinds of arguments ----------------------------------------------------------


def test_everything_broadcasts():
    x, w = leaf(np.ones((3, 1))), leaf([1.0, 2.0, 3.0, 4.0])
    y = where([True, False, True, False], np.add, np.full((2, 1, 1), 7.0), x, w)
    assert y.shape == (2, 3, 4)
    np.testing.assert_array_equal(y.data[1, 2], [2.0, 7.0, 4.0, 7.0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.full((3, 1), 4.0))
    np.testing.assert_array_equal(w.grad, [6.0, 0.0, 6.0, 0.0])


def test_a_function_gets_flat_tensors_of_the_selected_elements():
    seen = []

    def f(a, b):
        seen.append((a, b))
        return a

    where(np.eye(3, dtype=bool), f, 0.0, leaf(np.ones((3, 3))), 2.0)
    ((a, b),) = seen
    assert isinstance(a, Tensor)
    assert a.shape == b.shape == (3,)
    np.testing.assert_array_equal(b, 2.0)


@pytest.mark.parametrize(
    "condition", [True, np.True_, [True], np.array([1.0, np.nan]), tensor([2, 1]), Value(3.0)]
)
def test_what_holds_everywhere_never_calls_the_other(condition):
    def never(x):
        raise AssertionError("called")

    x = leaf([1.0, 2.0])
    y = where(condition, np.square, never, x)
    np.testing.assert_array_equal(y.data, [1.0, 4.0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])
    z = where(np.logical_not(np.ones(2)), never, np.square, x)
    np.testing.assert_array_equal(z.data, y.data)


def test_nan_counts_as_true_and_a_comparison_with_it_does_not_hold():
    x = leaf([np.nan, 1.0])
    np.testing.assert_array_equal(where(x, lambda x: 5.0, 0.0, x).data, [5.0, 5.0])
    y = where(x > 0, np.log, 0.0, x)
    np.testing.assert_array_equal(y.data, [0.0, 0.0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [0.0, 1.0])


def test_no_elements():
    x = leaf(np.zeros((0, 3)), np.float32)
    y = where(x > 0, np.sqrt, np.exp, x)
    assert (y.shape, y.dtype) == ((0, 3), np.float32)
    y.sum().backward()
    assert x.grad.shape == (0, 3)


def test_float32_stays_float32():
    x = leaf([-1.0, 4.0], np.float32)
    for zero in ZERO:
        for condition in (x > 0, x > -9.0, x > 9.0):
            y = where(condition, np.cbrt, zero, x)
            assert y.dtype == np.float32, condition
            y.sum().backward()
            assert x.grad.dtype == np.float32


def test_without_functions_it_is_numpys():
    a, c = leaf([1.0, 2.0]), np.array([True, False])
    y = where(c, a, 0.0)
    y.sum().backward()
    np.testing.assert_array_equal(a.grad, [1.0, 0.0])
    np.testing.assert_array_equal(where(c, [1, 2], [3, 4]), [1, 4])
    np.testing.assert_array_equal(where(c, 1.0, a.data), [1.0, 2.0])
    with pytest.raises(TypeError, match="neither branch is a function"):
        where(c, a, 0.0, a)


def test_arrays_give_arrays():
    y = where([True, False], np.sqrt, 0.0, np.array([4.0, -4.0]))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, [2.0, 0.0])
    np.testing.assert_array_equal(where([True, False], lambda: 1.0, lambda: 2.0), [1.0, 2.0])


def test_values():
    v = Value(-4.0)
    y = where(v > 0, np.sqrt, lambda v: v * v, v)
    assert type(y) is Value
    y.backward()
    assert (y.data, v.grad) == (16.0, -8.0)
    assert type(where(v > 0, np.sqrt, 0.0, v)) is Value
    assert type(where(False, v, 2.0)) is Value
    v.grad = 0.0
    y = where([True, False], np.square, lambda v: v * 3.0, v)
    assert type(y) is Tensor
    np.testing.assert_array_equal(y.data, [16.0, -12.0])
    y.sum().backward()
    assert v.grad == -5.0


@pytest.mark.parametrize("answer", [np.ones(2), np.ones((3, 1)), [1.0, 2.0], tensor([[1.0]])])
def test_a_function_must_return_one_number_for_each(answer):
    with pytest.raises(ShapeError, match=r"the second branch .* 3 elements .* one for all"):
        where([True, False, False, False], 0.0, lambda x: answer, leaf(np.ones(4)))


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ShapeError, match=r"condition has shape \(2,\).* \(3,\)"):
        where([True, False], np.sqrt, 0.0, leaf(np.ones(3)))


def test_under_no_grad_nothing_is_recorded():
    x = leaf([-1.0, 4.0])
    with tg.no_grad():
        y = where(x > 0, np.sqrt, 0.0, x)
    assert not y.requires_grad
    np.testing.assert_array_equal(y.data, [0.0, 2.0])


def test_a_branch_that_returns_no_numbers():
    x = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"first branch returned NoneType.*return"):
        where(x > 1.5, lambda a: None, lambda a: a, x)
    with pytest.raises(TypeError, match="second branch returned str"):
        where(x > 1.5, lambda a: a, lambda a: "a", x)
