"""Activations: values and derivatives against PyTorch and mpmath, names, Values, dtypes."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.activations import activation

INF, NAN = math.inf, math.nan

POINTS = [
    -INF, -1000.0, -50.0, -20.0, -3.5, -1.0, -0.5, -1e-8, -0.0, 0.0, 1e-8, 0.3, 1.0, 2.5, 6.0,
    20.0, 50.0, 1000.0, INF, NAN,
]  # fmt: skip

# Value and derivative at POINTS, from `python tests/reference/from_pytorch.py activations`.
# fmt: off
PYTORCH = [
    ("relu", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.0, 0.0, 1e-08, 0.3, 1.0, 2.5, 6.0, 20.0,
     50.0, 1000.0, INF, NAN], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0,
     1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ("leaky_relu", [-INF, -10.0, -0.5, -0.2, -0.035, -0.01, -0.005, -1e-10, -0.0, 0.0, 1e-08, 0.3,
     1.0, 2.5, 6.0, 20.0, 50.0, 1000.0, INF, NAN], [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01,
     0.01, 0.01, 0.01, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.01]),
    ("elu", [-1.0, -1.0, -1.0, -0.9999999979388464, -0.9698026165776815, -0.6321205588285577,
     -0.3934693402873666, -9.999999950000001e-09, -0.0, 0.0, 1e-08, 0.3, 1.0, 2.5, 6.0, 20.0,
     50.0, 1000.0, INF, NAN], [0.0, 0.0, 1.9287498479639178e-22, 2.061153622438558e-09,
     0.0301973834223185, 0.36787944117144233, 0.6065306597126334, 0.9999999900000001, 1.0, 1.0,
     1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ("selu", [-1.7580993408473766, -1.7580993408473766, -1.7580993408473766, -1.758099337223664,
     -1.705009340957283, -1.1113307378125625, -0.6917581878028713, -1.7580993320568802e-08, -0.0,
     0.0, 1.0507009873554805e-08, 0.31521029620664415, 1.0507009873554805, 2.626752468388701,
     6.304205924132883, 21.014019747109607, 52.53504936777402, 1050.7009873554805, INF, NAN],
     [0.0, 0.0, 3.3909338363648417e-22, 3.6237128249944113e-09, 0.05308999989009366,
     0.646768603034814, 1.0663411530445053, 1.7580993232663833, 1.7580993408473766,
     1.7580993408473766, 1.0507009873554805, 1.0507009873554805, 1.0507009873554805,
     1.0507009873554805, 1.0507009873554805, 1.0507009873554805, 1.0507009873554805,
     1.0507009873554805, 1.0507009873554805, 1.0507009873554805]),
    ("gelu", [NAN, -0.0, -0.0, -0.0, -0.0008142017766243903, -0.15865525393145702,
     -0.15426876936299344, -4.999999960105772e-09, -0.0, 0.0, 5.000000039894228e-09,
     0.1853734266566858, 0.841344746068543, 2.4844758366855597, 5.999999994080474, 20.0, 50.0,
     1000.0, INF, NAN], [NAN, 0.0, 0.0, -1.1041896724319527e-86, -0.0028217603536246205,
     -0.08331547058768635, 0.13250487534383712, 0.4999999920211544, 0.5, 0.5, 0.5000000079788456,
     0.7323277668271099, 1.0833154705876864, 1.037611085908145, 1.0000000354687093, 1.0, 1.0, 1.0,
     NAN, NAN]),
    ("gelu_tanh", [NAN, -0.0, -0.0, -0.0, -0.0006161976553737403, -0.1588080093917233,
     -0.15428599017485606, -4.999999960105772e-09, -0.0, 0.0, 5.000000039894228e-09,
     0.18537092354275922, 0.8411919906082768, 2.484915733910001, 5.9999999999156035, 20.0, 50.0,
     1000.0, INF, NAN], [NAN, 0.0, 0.0, 0.0, -0.0024226437601167334, -0.08296408384578258,
     0.13263009646535764, 0.4999999920211544, 0.5, 0.5, 0.5000000079788456, 0.7322954516388018,
     1.0829640838457826, 1.037951576212666, 1.0000000007709977, 1.0, 1.0, 1.0, NAN, NAN]),
    ("silu", [NAN, -0.0, -9.64374923981959e-21, -4.122307236380407e-08, -0.10259280762974712,
     -0.2689414213699951, -0.1887703343990727, -4.9999999750000005e-09, -0.0, 0.0,
     5.000000025e-09, 0.1723327550434977, 0.7310585786300049, 2.3103545499468914,
     5.985164261060192, 19.999999958776925, 50.0, 1000.0, INF, NAN], [NAN, -0.0,
     -9.450874255023198e-21, -3.9161918660646786e-08, -0.07027335282771814, 0.07232948812851325,
     0.2600388126973482, 0.49999999500000003, 0.5, 0.5, 0.500000005, 0.6477800103188829,
     0.9276705118714869, 1.0994011113415267, 1.0123264325915249, 1.0000000391619202, 1.0, 1.0,
     NAN, NAN]),
    ("softplus", [0.0, 0.0, 1.9287498479639178e-22, 2.061153620314381e-09, 0.029750418272620566,
     0.31326168751822286, 0.4740769841801067, 0.6931471755599453, 0.6931471805599453,
     0.6931471805599453, 0.6931471855599453, 0.8543552444685272, 1.3132616875182228,
     2.5788897342925496, 6.00247568513773, 20.000000002061153, 50.0, 1000.0, INF, NAN], [0.0, 0.0,
     1.9287498479639178e-22, 2.0611536181902033e-09, 0.029312230751356316, 0.2689414213699951,
     0.37754066879814546, 0.4999999975, 0.5, 0.5, 0.5000000025, 0.574442516811659,
     0.7310585786300049, 0.9241418199787564, 0.9975273768433652, 0.9999999979388464, 1.0, 1.0,
     1.0, NAN]),
    ("sigmoid", [0.0, 0.0, 1.928749847963918e-22, 2.0611536181902037e-09, 0.02931223075135632,
     0.2689414213699951, 0.3775406687981454, 0.4999999975, 0.5, 0.5, 0.5000000025,
     0.574442516811659, 0.7310585786300049, 0.9241418199787566, 0.9975273768433653,
     0.9999999979388463, 1.0, 1.0, 1.0, NAN], [0.0, 0.0, 1.928749847963918e-22,
     2.0611536139418496e-09, 0.02845302387973556, 0.19661193324148185, 0.2350037122015945, 0.25,
     0.25, 0.25, 0.25, 0.24445831169074586, 0.19661193324148185, 0.07010371654510807,
     0.002466509291359931, 2.0611536879193953e-09, 0.0, 0.0, 0.0, NAN]),
    ("log_sigmoid", [-INF, -1000.0, -50.0, -20.000000002061153, -3.5297504182726205,
     -1.3132616875182228, -0.9740769841801067, -0.6931471855599454, -0.6931471805599453,
     -0.6931471805599453, -0.6931471755599453, -0.5543552444685271, -0.31326168751822286,
     -0.07888973429254963, -0.0024756851377304495, -2.061153620314381e-09,
     -1.9287498479639178e-22, 0.0, 0.0, NAN], [1.0, 1.0, 1.0, 0.9999999979388464,
     0.9706877692486436, 0.7310585786300049, 0.6224593312018545, 0.5000000025, 0.5, 0.5,
     0.4999999975, 0.425557483188341, 0.2689414213699951, 0.07585818002124356,
     0.0024726231566347748, 2.0611536181902033e-09, 1.9287498479639178e-22, 0.0, 0.0, NAN]),
    ("tanh", [-1.0, -1.0, -1.0, -1.0, -0.9981778976111987, -0.7615941559557649,
     -0.46211715726000974, -1e-08, -0.0, 0.0, 1e-08, 0.2913126124515909, 0.7615941559557649,
     0.9866142981514303, 0.9999877116507956, 1.0, 1.0, 1.0, 1.0, NAN], [0.0, 0.0, 0.0, 0.0,
     0.0036408847204873578, 0.41997434161402614, 0.7864477329659274, 0.9999999999999999, 1.0, 1.0,
     0.9999999999999999, 0.9151369618266292, 0.41997434161402614, 0.02659222668316057,
     2.4576547405302974e-05, 0.0, 0.0, 0.0, 0.0, NAN]),
    ("hard_tanh", [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -0.5, -1e-08, -0.0, 0.0, 1e-08, 0.3, 1.0,
     1.0, 1.0, 1.0, 1.0, 1.0, 1.0, NAN], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0,
     1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
]
# fmt: on

# Where the engine deliberately differs from PyTorch, as {name: {point: derivative}}: hard_tanh is
# clip, whose derivative is 1 at the bounds, and a nan is outside of what clip lets through.
DEVIATIONS = {"hard_tanh": {-1.0: 1.0, 1.0: 1.0, NAN: 0.0}}

ELEMENTWISE = [row[0] for row in PYTORCH]


def value_and_derivative(function: Any, x: Any) -> tuple[Any, Any]:
    t = tg.tensor(x, requires_grad=True)
    y = function(t)
    y.backward(np.ones(y.shape))
    return y.data, t.grad


def same(a: Any, b: Any) -> bool:
    """Equal, nan to nan, to the rounding of a few operations."""
    return np.allclose(a, b, rtol=4e-15, atol=3e-16, equal_nan=True)


# --- PyTorch's numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "values", "derivatives"), PYTORCH, ids=ELEMENTWISE)
def test_values_and_derivatives_are_those_of_pytorch(
    name: str, values: list[float], derivatives: list[float]
) -> None:
    function = tg.ACTIVATIONS[name]
    for x, value, derivative in zip(POINTS, values, derivatives, strict=True):
        for point, other in DEVIATIONS.get(name, {}).items():
            if x == point or (x != x and point != point):
                derivative = other
        # An answer of nan may warn; every other answer comes without a warning.
        ignore = "ignore" if value != value or derivative != derivative else "warn"
        with np.errstate(invalid=ignore):
            y, g = value_and_derivative(function, x)
        # PyTorch takes softplus(x) for x above 20, which costs it 3e-16 of its derivative at 50,
        # and cancels in gelu's lower tail: atol forgives it both.
        assert same(y, value), f"{name}({x}) = {y}, PyTorch {value}"
        # A relu may pass the cotangent of a nan on or hold it back: the forward shows the nan.
        if x == x or name not in ("relu", "leaky_relu", "elu", "selu"):
            assert same(g, derivative), f"{name}'({x}) = {g}, PyTorch {derivative}"


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_one_call_on_all_points_gives_what_single_calls_give(name: str) -> None:
    points = np.array([x for x in POINTS if math.isfinite(x)])
    values, derivatives = value_and_derivative(tg.ACTIVATIONS[name], points)
    for x, value, derivative in zip(points, values, derivatives, strict=True):
        y, g = value_and_derivative(tg.ACTIVATIONS[name], x)
        assert same(value, y)
        assert same(derivative, g)


# --- fifty digits --------------------------------------------------------------------------------

EXACT = {
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    # 1 + tanh(z) = 2 / (1 + exp(-2z)), which fifty digits do not cancel in.
    "gelu_tanh": lambda x: (
        x / (1 + mpmath.exp(-2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)))
    ),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "log_sigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "tanh": mpmath.tanh,
}


@pytest.mark.parametrize("name", EXACT)
def test_smooth_activations_keep_their_relative_precision_in_the_tails(name: str) -> None:
    with mpmath.workdps(60):
        for x in np.linspace(-30.0, 30.0, 241):
            point = mpmath.mpf(float(x))
            y, g = value_and_derivative(tg.ACTIVATIONS[name], float(x))
            exact = float(EXACT[name](point))
            slope = float(mpmath.diff(EXACT[name], point))
            # exp(-x^2 / 2) multiplies the rounding of its argument by x^2.
            assert math.isclose(y, exact, rel_tol=2e-13, abs_tol=1e-300), (x, y, exact)
            # A derivative may cancel (1 - y * y of tanh), so it is held to an absolute precision.
            assert math.isclose(g, slope, rel_tol=1e-12, abs_tol=1e-15), (x, g, slope)


def test_selu_constants_give_the_fixed_point_of_mean_zero_and_variance_one() -> None:
    # The defining property: x standard normal -> selu(x) has mean 0 and variance 1.
    def selu(x: Any) -> Any:
        return float(tg.selu(tg.tensor(float(x))).item())

    x = np.linspace(-12.0, 12.0, 200_001)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    y = tg.selu(tg.tensor(x)).data
    assert abs(np.trapezoid(y * density, x)) < 1e-8
    assert abs(np.trapezoid(y * y * density, x) - 1) < 1e-8
    assert selu(0.0) == 0.0


# --- options -------------------------------------------------------------------------------------


def test_leaky_relu_slope() -> None:
    y, g = value_and_derivative(lambda x: tg.leaky_relu(x, 0.2), [-3.0, 0.0, 2.0])
    assert same(y, [-0.6, 0.0, 2.0])
    assert same(g, [0.2, 0.2, 1.0])


def test_elu_alpha() -> None:
    y, g = value_and_derivative(lambda x: tg.elu(x, alpha=2.0), [-1.0, 0.0, 2.0])
    assert same(y, [2 * math.expm1(-1), 0.0, 2.0])
    assert same(g, [2 * math.exp(-1), 2.0, 1.0])


def test_gelu_refuses_an_unknown_approximation() -> None:
    with pytest.raises(ValueError, match="'none' or 'tanh', got 'sigmoid'"):
        tg.gelu(tg.tensor(1.0), approximate="sigmoid")


def test_gelu_tanh_by_name_is_gelu_with_the_option() -> None:
    x = tg.tensor(np.linspace(-4, 4, 9))
    assert np.array_equal(tg.ACTIVATIONS["gelu_tanh"](x).data, tg.gelu(x, approximate="tanh").data)


# --- softmax and its relatives -------------------------------------------------------------------

ROWS = [
    [1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0], [-INF, 0.0, 0.0], [0.0, 0.0, 0.0], [1e300, 0.0, 0.0],
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_softmax_log_softmax_and_logsumexp(row: list[float]) -> None:
    weights = np.array([1.0, 2.0, 3.0])
    with mpmath.workdps(60):
        peak = max(row)
        exps = [mpmath.exp(mpmath.mpf(x) - peak) for x in row]
        total = mpmath.fsum(exps)
        p = np.array([float(e / total) for e in exps])
        logs = np.array([float(mpmath.mpf(x) - peak - mpmath.log(total)) for x in row])
        lse = float(peak + mpmath.log(total))
    x = tg.tensor(row, requires_grad=True)

    y = tg.softmax(x)
    y.backward(weights)
    assert same(y.data, p)
    assert same(x.grad, p * (weights - (weights * p).sum()))

    x.grad = None
    y = tg.log_softmax(x)
    y.backward(weights)
    assert same(y.data, logs)
    assert same(x.grad, weights - weights.sum() * p)

    x.grad = None
    y = tg.logsumexp(x)
    y.backward()
    assert same(y.data, lse)
    assert same(x.grad, p)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_softmax_axis(axis: int) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 4))
    expected = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)
    assert np.allclose(tg.softmax(tg.tensor(x), axis=axis).data, expected, rtol=1e-14)
    assert np.allclose(tg.log_softmax(tg.tensor(x), axis=axis).data, np.log(expected), rtol=1e-13)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp_axis(axis: Any, keepdims: bool) -> None:
    x = np.random.default_rng(2).standard_normal((2, 3, 4))
    expected = np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))
    y = tg.logsumexp(tg.tensor(x), axis=axis, keepdims=keepdims)
    assert y.shape == expected.shape
    assert np.allclose(y.data, expected, rtol=1e-14)


# --- dtypes, arrays, Values ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", tg.ACTIVATIONS)
def test_dtype_is_kept(name: str, dtype: str) -> None:
    x = tg.tensor(np.array([[-2.0, 0.0, 0.5]], dtype), requires_grad=True)
    y = tg.ACTIVATIONS[name](x)
    y.backward(np.ones(y.shape))
    assert y.dtype == dtype
    assert x.grad.dtype == dtype


@pytest.mark.parametrize("name", tg.ACTIVATIONS)
def test_float32_extremes_do_not_warn(name: str) -> None:
    x = tg.tensor(np.array([-1000.0, -80.0, 0.0, 80.0, 1000.0], "float32"), requires_grad=True)
    y = tg.ACTIVATIONS[name](x)
    y.backward(np.ones(y.shape))
    assert np.isfinite(y.data).all()
    assert np.isfinite(x.grad).all()


@pytest.mark.parametrize("name", tg.ACTIVATIONS)
def test_plain_arrays_give_plain_arrays(name: str) -> None:
    x = np.array([-2.0, 0.0, 0.5])
    y = tg.ACTIVATIONS[name](x)
    assert type(y) is np.ndarray
    assert np.array_equal(y, tg.ACTIVATIONS[name](tg.tensor(x)).data)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("x", [-1000.0, -2.5, 0.0, 0.3, 1000.0])
def test_values_take_activations(name: str, x: float) -> None:
    value = tg.Value(x)
    y = tg.ACTIVATIONS[name](value)
    assert isinstance(y, tg.Value)
    y.backward()
    expected, derivative = value_and_derivative(tg.ACTIVATIONS[name], x)
    assert math.isclose(y.data, expected, rel_tol=1e-13, abs_tol=1e-300)
    assert math.isclose(value.grad, derivative, rel_tol=1e-13, abs_tol=1e-300)


def test_the_input_is_not_written_to() -> None:
    x = np.linspace(-2.0, 2.0, 7)
    for function in tg.ACTIVATIONS.values():
        t = tg.tensor(x, requires_grad=True)
        y = function(t)
        y.backward(np.ones(y.shape))
        assert np.array_equal(t.data, x)


# --- names ---------------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown activation 'rleu'") as caught:
        activation("rleu")
    for name in tg.ACTIVATIONS:
        assert name in str(caught.value)


@pytest.mark.parametrize("wrong", [["relu"], 3, {}, 0.5, True])
def test_what_is_no_activation_is_refused(wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="activation"):
        activation(wrong)


def test_lookup() -> None:
    assert activation(None) is None
    assert activation(math.exp) is math.exp
    assert all(activation(name) is function for name, function in tg.ACTIVATIONS.items())


def test_names_are_functions_at_the_top_level() -> None:
    # What the top level promises.
    names = {
        "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "log_sigmoid",
        "tanh", "hard_tanh", "softmax", "log_softmax",
    }  # fmt: skip
    assert names <= set(tg.ACTIVATIONS)
    assert all(getattr(tg, name) is tg.ACTIVATIONS[name] for name in names)
    assert callable(tg.logsumexp)
