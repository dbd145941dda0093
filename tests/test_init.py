"""Initialisers: distribution, bounds, determinism, dtype, names."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest

from tinygrad_nn import ACTIVATIONS, nn
from tinygrad_nn.errors import ShapeError
from tinygrad_nn.nn import init

# Variance and, for uniform ones, the bound of a weight of shape (n_in, n_out) = (200, 300):
# He, equation 10: 2 / n_in; Glorot and Bengio, equations 12 and 16: 2 / (n_in + n_out). A uniform
# distribution on [-b, b] has variance b^2 / 3. A normal one truncated at two standard deviations
# has variance 1 - 2 a phi(a) / (2 Phi(a) - 1) = 0.7737413.
SHAPE = (200, 300)
DISTRIBUTIONS = [
    (init.he_uniform, 2 / 200, math.sqrt(6 / 200)),
    (init.he_normal, 2 / 200, math.inf),
    (init.glorot_uniform, 2 / 500, math.sqrt(6 / 500)),
    (init.glorot_normal, 2 / 500, math.inf),
    (init.truncated_normal, 0.7737413, 2.0),
    (init.uniform, 1 / 3, 1.0),
    (partial(init.uniform, bound=0.2), 0.04 / 3, 0.2),
    (init.normal, 1.0, math.inf),
    (partial(init.normal, std=3.0), 9.0, math.inf),
]
NAMES = ["he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "truncated_normal",
         "uniform", "uniform 0.2", "normal", "normal 3"]  # fmt: skip


@pytest.mark.parametrize(("function", "variance", "bound"), DISTRIBUTIONS, ids=NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_mean_variance_and_bounds(function: Any, variance: float, bound: float, seed: int) -> None:
    x = function(SHAPE, seed, "float64")
    n = x.size
    assert x.shape == SHAPE
    # Five standard errors; the variance of a squared normal is 2, of the others less.
    assert abs(x.mean()) < 5 * math.sqrt(variance / n)
    assert abs(x.var() / variance - 1) < 5 * math.sqrt(2 / n)
    assert abs(x).max() <= bound
    if bound < math.inf:
        assert abs(x).max() > 0.99 * bound
    else:
        assert abs(x).max() > 3 * math.sqrt(variance)  # a normal distribution has tails


@pytest.mark.parametrize(
    ("function", "shape", "variance"),
    [
        (init.he_normal, (5000,), 2 / 5000),
        (init.glorot_normal, (5000,), 2 / 5001),
        (init.he_normal, (10, 20, 30), 2 / 10),
        (init.glorot_normal, (10, 20, 30), 2 / 610),
    ],
)
def test_fans_of_vectors_and_blocks(function: Any, shape: tuple[int, ...], variance: float) -> None:
    x = function(shape, 0, "float64")
    assert abs(x.var() / variance - 1) < 5 * math.sqrt(2 / x.size)


@pytest.mark.parametrize("function", [init.he_normal, init.he_uniform, init.glorot_normal,
                                      init.glorot_uniform])  # fmt: skip
def test_fans_need_a_dimension(function: Any) -> None:
    with pytest.raises(ValueError, match=r"shape \(\)"):
        function((), 0)


ALL = [*init.INITIALIZERS.values(), init.constant]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("function", ALL)
def test_dtype(function: Any, dtype: str) -> None:
    assert function((3, 4), 0).dtype == np.float32
    x = function((3, 4), 0, dtype)
    assert type(x) is np.ndarray
    assert x.dtype == dtype
    assert x.shape == (3, 4)
    # The same numbers, rounded: the draw does not depend on the dtype.
    assert np.array_equal(x, function((3, 4), 0, "float64").astype(dtype))


@pytest.mark.parametrize("function", [f for f in ALL if f not in (init.zeros, init.constant)])
def test_determinism(function: Any) -> None:
    shape = (4, 5)
    assert np.array_equal(function(shape, 7), function(shape, 7))
    assert not np.array_equal(function(shape, 7), function(shape, 8))
    assert np.array_equal(function(shape, 7), function(shape, np.random.default_rng(7)))
    # A generator moves on, and fresh entropy repeats nothing.
    generator = np.random.default_rng(7)
    assert not np.array_equal(function(shape, generator), function(shape, generator))
    assert not np.array_equal(function(shape), function(shape))


def test_global_random_state_is_neither_used_nor_changed() -> None:
    np.random.seed(0)  # noqa: NPY002  # the legacy state is what is under test
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # the legacy state is what is under test
    a = nn.MLP(3, [4, 2], rng=1).state_dict()
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002  # the legacy state is what is under test
    np.random.seed(123)  # noqa: NPY002  # the legacy state is what is under test
    b = nn.MLP(3, [4, 2], rng=1).state_dict()
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_constant_and_zeros() -> None:
    assert np.array_equal(init.zeros((2, 3)), np.zeros((2, 3)))
    assert np.array_equal(init.constant((2, 3), value=0.25), np.full((2, 3), 0.25))
    assert np.array_equal(init.constant((2,)), [0.0, 0.0])
    layer = nn.Layer(2, 3, init=partial(init.constant, value=0.5))
    assert np.array_equal(layer.weight.data, np.full((2, 3), 0.5))


# --- truncated normal ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [(0, 1, -1, 1), (0, 1, 0, 1), (2, 0.5, 1, 2.5), (-1, 3, -2, 7), (0, 1, 1.5, 1.6), (0, 1, 2, 9)],
)
def test_truncated_normal_is_the_truncated_distribution(
    mean: float, std: float, low: float, high: float
) -> None:
    n = 20_000
    x = init.truncated_normal((n,), 3, "float64", mean=mean, std=std, low=low, high=high)
    assert x.min() >= low
    assert x.max() <= high

    # Kolmogorov-Smirnov distance to the truncated distribution function; 1.95 / sqrt(n) is
    # exceeded by chance once in a thousand seeds.
    def cdf(z: float) -> float:
        return 0.5 * (1 + math.erf((z - mean) / std / math.sqrt(2)))

    expected = np.array([(cdf(z) - cdf(low)) / (cdf(high) - cdf(low)) for z in np.sort(x)])
    assert abs(expected - (np.arange(n) + 0.5) / n).max() < 1.95 / math.sqrt(n)


@pytest.mark.parametrize("options", [{"low": 1.0, "high": -1.0}, {"low": 10.0, "high": 11.0},
                                     {"low": 0.5, "high": 0.5}, {"low": math.nan},
                                     {"std": 0.0}])  # fmt: skip
def test_truncated_normal_refuses_an_empty_interval(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="truncated_normal"):
        init.truncated_normal((3,), 0, **options)


def test_truncated_normal_of_no_dimension_or_no_element() -> None:
    x = init.truncated_normal((), 0, low=-0.1, high=0.1)
    assert np.shape(x) == ()
    assert abs(x) <= 0.1
    assert init.truncated_normal((0, 3), 0).shape == (0, 3)


# --- names, functions, layers --------------------------------------------------------------------


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown initializer 'he'") as caught:
        nn.Layer(2, 3, init="he")
    for name in init.INITIALIZERS:
        assert name in str(caught.value)


@pytest.mark.parametrize("wrong", [["he_normal"], 3, {}])
def test_what_is_no_initializer_is_refused(wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="initializer"):
        nn.Layer(2, 3, init=wrong)


def test_promised_names() -> None:
    assert {
        "he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "truncated_normal", "zeros",
    } <= set(init.INITIALIZERS)  # fmt: skip


@pytest.mark.parametrize("name", init.INITIALIZERS)
def test_a_name_and_its_function_give_the_same_layer(name: str) -> None:
    a = nn.Layer(4, 5, init=name, rng=3)
    b = nn.Layer(4, 5, init=init.INITIALIZERS[name], rng=3)
    assert np.array_equal(a.weight.data, b.weight.data)
    expected = init.INITIALIZERS[name]((4, 5), np.random.default_rng(3), "float32")
    assert np.array_equal(a.weight.data, expected)


def test_a_function_of_the_user_is_called_with_shape_generator_and_dtype() -> None:
    calls = []

    def mine(shape: Any, rng: Any, dtype: Any) -> Any:
        calls.append((shape, type(rng), np.dtype(dtype)))
        return np.arange(math.prod(shape)).reshape(shape)  # integers: converted

    model = nn.MLP(2, [3, 1], init=mine)
    assert calls == [
        ((2, 3), np.random.Generator, np.dtype("float32")),
        ((3, 1), np.random.Generator, np.dtype("float32")),
    ]
    assert model.layers[0].weight.dtype == np.float32
    assert np.array_equal(model.layers[0].weight.data, [[0, 1, 2], [3, 4, 5]])


def test_a_function_that_returns_the_wrong_shape_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"\(3, 2\), asked for \(2, 3\)"):
        nn.Layer(2, 3, init=lambda shape, rng, dtype: np.zeros(shape[::-1]))


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("relu", "he_uniform"), ("leaky_relu", "he_uniform"), ("gelu", "he_uniform"),
     ("silu", "he_uniform"), ("tanh", "glorot_uniform"), ("sigmoid", "glorot_uniform"),
     (None, "glorot_uniform")],
)  # fmt: skip
def test_the_default_follows_the_activation(activation: str | None, expected: str) -> None:
    default = nn.Layer(4, 5, activation, rng=3).weight.data
    assert np.array_equal(default, nn.Layer(4, 5, activation, init=expected, rng=3).weight.data)


def test_the_default_is_the_same_for_a_name_and_for_the_function() -> None:
    for name, function in ACTIVATIONS.items():
        a, b = nn.Layer(4, 5, name, rng=3), nn.Layer(4, 5, function, rng=3)
        assert np.array_equal(a.weight.data, b.weight.data), name
