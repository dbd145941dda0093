"""Derivatives at extremes: half precision, huge and tiny numbers, infinite cotangents."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_nn as tg
from tinygrad_nn import losses
from tinygrad_nn.rules.elementwise import log, power
from tinygrad_nn.rules.linalg import linear


def leaf(x: Any, dtype: Any = float) -> tg.Tensor:
    return tg.tensor(np.asarray(x, dtype), requires_grad=True)


def test_binary_cross_entropy_in_half_precision() -> None:
    p = leaf([0.0, 1.0, 0.5], np.float16)
    losses.binary_cross_entropy(p, [0.0, 1.0, 1.0], reduction="sum").backward()
    assert_array_equal(p.grad, [0.0, 0.0, -2.0])


def test_normalisers_do_not_overflow_in_half_precision() -> None:
    n = 70_000
    zeros = np.zeros((1, n), np.float16)
    assert tg.logsumexp(tg.tensor(zeros)).item() == pytest.approx(math.log(n), rel=1e-3)
    assert tg.log_softmax(tg.tensor(zeros)).data[0, 0] == pytest.approx(-math.log(n), rel=1e-3)
    assert tg.softmax(tg.tensor(zeros)).data[0, 0] == pytest.approx(1 / n, rel=1e-2)
    logits = tg.tensor(np.zeros((40_000, 10), np.float16))
    loss = losses.cross_entropy(logits, np.zeros(40_000, int))
    assert loss.dtype == np.float16
    assert loss.item() == pytest.approx(math.log(10), rel=1e-3)


def test_ties_beyond_what_half_precision_counts_to() -> None:
    x = leaf(np.zeros(70_000), np.float16)
    x.max().backward(np.float16(100.0))
    assert x.grad[0] == pytest.approx(100 / 70_000, rel=1e-2)


@pytest.mark.parametrize("size", [1e20, 1e-25])
def test_arctan2_squares_nothing_that_overflows(size: float) -> None:
    a, b = leaf(size, np.float32), leaf(size, np.float32)
    np.arctan2(a, b).backward()
    assert_allclose([a.grad, b.grad], [0.5 / size, -0.5 / size], rtol=1e-6)


def test_arcsinh_squares_nothing_that_overflows() -> None:
    x = leaf(1e20, np.float32)
    np.arcsinh(x).backward()
    assert_allclose(x.grad, 1e-20, rtol=1e-6)


def test_remainder_takes_numpys_quotient() -> None:
    """1.0 / 0.1 rounds to 10, but NumPy's remainder is 0.1 and its quotient 9."""
    a, b = leaf(1.0), leaf(0.1)
    np.remainder(a, b).backward()
    assert (a.grad, b.grad) == (1.0, -9.0)


def test_relu_keeps_an_infinite_cotangent_from_a_dead_unit() -> None:
    x = leaf([-1.0, 2.0])
    tg.relu(x).backward([np.inf, 1.0])
    assert_array_equal(x.grad, [0.0, 1.0])


def test_take_along_axis_of_a_broadcast_array() -> None:
    x = leaf([[1.0, 2.0, 3.0, 4.0]])
    indices = np.array([[0, 1], [1, 1], [3, 0]])
    np.take_along_axis(x, indices, 1).sum().backward()
    assert_array_equal(x.grad, [[2.0, 3.0, 0.0, 1.0]])


def test_a_wide_bias_widens_a_layer() -> None:
    x, weight = np.ones((2, 3), np.float32), leaf(np.ones((3, 1)), np.float32)
    assert linear(x, weight, leaf([1e-12])).dtype == np.float64


def test_a_leaf_never_keeps_the_memory_of_another() -> None:
    forgets = tg.primitive(rules=[lambda g, y, x, w: w, lambda g, y, x, w: x])(lambda x, w: x * w)
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    forgets(x, w).backward([1.0, 1.0])
    assert not np.shares_memory(x.grad, w.data)
    assert not np.shares_memory(w.grad, x.data)


def test_plain_numbers_that_python_refuses_are_numpys() -> None:
    with np.errstate(all="ignore"):
        assert power(0.0, -1.0) == math.inf
        assert math.isnan(power(-8.0, 1 / 3))
        assert log(0.0) == -math.inf
