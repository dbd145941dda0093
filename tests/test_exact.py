"""Derivatives against exact ones: mpmath's, of the same functions written a second time.

Rules get the cotangent 1 and the exact point, also in tails and close to the ends of the domain.
"""

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_primitives import about, quiet

import tinygrad_nn as tg
from tinygrad_nn import NotDifferentiableError, Tensor, Value, tensor
from tinygrad_nn.backward import pull_back
from tinygrad_nn.primitive import BY_FUNCTION, COMPOSITES, REAL, Primitive
from tinygrad_nn.rules import TABLE

inf, nan = math.inf, math.nan
Exact = Callable[..., Any]

RTOL = 1e-12

# --- elementwise ---------------------------------------------------------------------------------


def _floor_mod(a: Any, b: Any) -> Any:
    return a - b * mp.floor(a / b)


def _truncated_mod(a: Any, b: Any) -> Any:
    q = a / b
    return a - b * (mp.floor(q) if q > 0 else mp.ceil(q))


def _real_cbrt(x: Any) -> Any:
    return mp.sign(x) * mp.cbrt(abs(x))


def _cross_entropy(p: Any, t: Any) -> Any:
    return -t * mp.log(p) - (1 - t) * mp.log(1 - p)


#: The functions, written with mpmath.
EXACT: dict[str, Exact] = {
    "where": lambda c, a, b: a if c else b,
    "keep": lambda c, x: x if c else mp.mpf(0),
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "negative": lambda x: -x,
    "positive": lambda x: +x,
    "reciprocal": lambda x: 1 / x,
    "square": lambda x: x * x,
    "power": mp.power,
    "float_power": mp.power,
    "absolute": abs,
    "fabs": abs,
    "copysign": lambda a, b: abs(a) * mp.sign(b),
    "heaviside": lambda x, h: mp.mpf(x > 0),
    "nextafter": lambda a, b: a,
    "remainder": _floor_mod,
    "fmod": _truncated_mod,
    "sqrt": mp.sqrt,
    "cbrt": _real_cbrt,
    "exp": mp.exp,
    "exp2": lambda x: mp.power(2, x),
    "expm1": mp.expm1,
    "log": mp.log,
    "log2": lambda x: mp.log(x, 2),
    "log10": mp.log10,
    "log1p": mp.log1p,
    "logaddexp": lambda a, b: mp.log(mp.exp(a) + mp.exp(b)),
    "logaddexp2": lambda a, b: mp.log(mp.power(2, a) + mp.power(2, b), 2),
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "arctan2": mp.atan2,
    "hypot": mp.hypot,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "arcsinh": mp.asinh,
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    "deg2rad": mp.radians,
    "rad2deg": mp.degrees,
    "radians": mp.radians,
    "degrees": mp.degrees,
    "maximum": max,
    "minimum": min,
    "fmax": max,
    "fmin": min,
    "clip": lambda x, lo, hi: min(max(x, lo), hi),
    "fractional": lambda x: x - (mp.floor(x) if x > 0 else mp.ceil(x)),
    "relu": lambda x: max(x, mp.mpf(0)),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "erf": mp.erf,
    "erfc": mp.erfc,
    "add_n": lambda *xs: sum(xs),
    "cross_entropy_of_probability": _cross_entropy,
    "real": lambda x: +x,
    "imag": lambda x: mp.mpf(0),
    "conjugate": lambda x: +x,
    "angle": lambda x: mp.mpf(0),
    "sinc": mp.sincpi,
    "sinc_derivative": lambda x: mp.diff(mp.sincpi, x),
    "i0": lambda x: mp.besseli(0, x),
    "bessel_ratio": lambda x: mp.besseli(1, x) / x,
    "xlogy": lambda x, y: x * mp.log(y),
    "entr": lambda x: -x * mp.log(x),
}

#: Points in tails and near the ends of what a function is defined on.
TAILS: dict[str, tuple[list[float], ...]] = {
    "reciprocal": ([-1e100, -1e-100, 1e-5],),
    "square": ([1e150, -1e-200],),
    "divide": ([1e100, -3.0, 1e-100], [1e-50, 1e100, 7.0]),
    "power": ([1e-100, 1e100, 0.999999, 1e3], [2.5, -1.5, 1e5, 30.0]),
    "float_power": ([1e-100, 1e100, 0.999999], [2.5, -1.5, 1e5]),
    "sqrt": ([1e-300, 1e300],),
    "cbrt": ([1e-300, -1e-300, 1e300, -8.0],),
    "exp": ([-700.0, 700.0, 1e-300],),
    "exp2": ([-1000.0, 1000.0],),
    "expm1": ([-700.0, -40.0, -1e-10, 1e-10, 700.0],),
    "log": ([1e-300, 1e300, 1.0 + 1e-10],),
    "log2": ([1e-300, 1e300],),
    "log10": ([1e-300, 1e300],),
    "log1p": ([-1.0 + 1e-10, -0.999999, 1e-300, 1e300],),
    "logaddexp": ([-700.0, 40.0, 300.0, -300.0], [0.0, -40.0, 301.0, -299.0]),
    "logaddexp2": ([-1000.0, 40.0, 300.0, -300.0], [0.0, -40.0, 301.0, -299.0]),
    "sin": ([1e5, 1e-300],),
    "cos": ([1e5, 1e-300],),
    "tan": ([1.5707, -1.57, 1e-9],),
    "arcsin": ([-1.0 + 1e-10, 1.0 - 1e-14, 1e-300],),
    "arccos": ([-1.0 + 1e-10, 1.0 - 1e-14, 1e-300],),
    "arctan": ([1e8, -1e150, 1e-300],),
    "arctan2": ([1e200, -1e-200, 1.0, -1.0], [-1e200, 1e-200, 1e8, -1e-8]),
    "hypot": ([1e200, -1e-200, 1.0], [-1e200, 1e-200, 1e8]),
    "sinh": ([700.0, -1e-300],),
    "cosh": ([700.0, -700.0, 1e-300],),
    "tanh": ([3.0, -15.0, 1e-9, 15.0],),
    "arcsinh": ([1e8, -1e8, 1e300, 1e-300],),
    "arccosh": ([1.0 + 1e-10, 1e8, 1e300],),
    "arctanh": ([-1.0 + 1e-10, 1.0 - 1e-14],),
    "sigmoid": ([-700.0, -40.0, -1e-9, 3.0, 15.0],),
    "erf": ([-20.0, -5.9, 1e-300, 20.0],),
    "erfc": ([-20.0, -5.9, 1e-300, 20.0],),
    "sinc": ([1e-300, 1e-9, -1e-4, 0.01, 0.3, 0.32, -0.5, 5.3, 1e3 + 0.25],),
    "sinc_derivative": ([1e-9, -1e-4, 0.01, 0.6, 0.64, 7.2],),
    "i0": ([1e-300, 1e-9, 40.0, -700.0],),
    "bessel_ratio": ([1e-100, 1e-9, 40.0, -700.0],),
    "xlogy": ([1e100, -1e-100], [1e-300, 1e300]),
    "entr": ([1e-300, 1e300],),
    "cross_entropy_of_probability": ([1e-8, 0.5, 1.0 - 1e-8], [0.3, 0.0, 0.6]),
}

#: Rules that are exact up to an error of this size, absolute: documented conventions, and zeros.
ABSOLUTE = {
    "tanh": (1e-15, "1 - y * y rounds to what an ulp of 1 allows"),
    "sigmoid": (2e-16, "y * (1 - y) does so for y close to 1; in the other tail it is exact"),
    "sinc": (1e-15, "the derivative has zeros, where its two terms cancel"),
    "sinc_derivative": (1e-14, "as that of sinc"),
}

#: How many points are drawn from the domain.
INSIDE = 42

SMOOTH = [n for n, p in TABLE.items() if p.elementwise and p.differentiable]


def draw(p: Primitive, rng: np.random.Generator) -> list[Any]:
    """Return points between the ends of the domain, the ends, and those in the tails."""
    domains = p.domain or (REAL,) * 3
    xs = []
    for k, (lo, hi) in enumerate(domains):
        x = np.concatenate([[lo, hi], rng.uniform(lo, hi, INSIDE - 2)])
        tail = TAILS.get(p.name, ([],) * len(domains))[k]
        xs.append(np.concatenate([np.roll(x, 3 * k), tail]))
    return xs


def slope(f: Exact, point: tuple[Any, ...], i: int, digits: int = 80) -> float:
    """Return the derivative of `f` by argument `i`: a difference quotient of many digits."""
    exact = [mp.mpf(float(v)) for v in point]
    h = (abs(exact[i]) or 1) * mp.mpf(10) ** -32
    with mp.workdps(digits + int(abs(mp.log10(h)))):
        return float(mp.diff(lambda t: f(*exact[:i], t, *exact[i + 1 :]), exact[i], h=h))


@pytest.mark.parametrize("name", SMOOTH)
def test_rule_is_the_exact_derivative(name: str, rng: np.random.Generator) -> None:
    p = TABLE[name]
    f = EXACT[name]
    xs = draw(p, rng)
    y = np.asarray(p.forward(*xs))
    atol = ABSOLUTE.get(name, (0.0, ""))[0]
    for i in range(len(xs)):
        rule = p.rule(i)
        if rule is None:
            continue
        with quiet():
            found = np.broadcast_to(rule(np.ones(y.shape), y, *xs), y.shape)
        for k, point in enumerate(zip(*xs, strict=True)):
            with about((point, i)):
                # In a tail, functions differ from a constant only in the last of many digits.
                exact = slope(f, point, i, digits=80 if k < INSIDE else 450)
                assert_allclose(found[k], exact, rtol=RTOL, atol=atol + 1e-307)


def test_every_smooth_function_has_an_exact_one() -> None:
    assert set(EXACT) == set(SMOOTH)


def test_sigmoid_is_relatively_exact_in_the_left_tail() -> None:
    x = np.array([-40.0, -300.0, -700.0])
    y = TABLE["sigmoid"].forward(x)
    rule: Any = TABLE["sigmoid"].rule(0)
    exact = [slope(EXACT["sigmoid"], (v,), 0, digits=450) for v in x]
    assert_allclose(rule(np.ones(3), y, x), exact, rtol=RTOL)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 7])
def test_derivatives_of_sinc(order: int) -> None:
    x = np.array([0.0, 1e-8, -1e-3, 0.1, 0.3, -0.4, 0.5, 0.8, 0.9, 1.3, 1.6, -2.2, 4.1, 20.3])
    found = TABLE["sinc_derivative"].forward(x, order=order)
    with mp.workdps(40):
        exact = [float(mp.diff(mp.sincpi, mp.mpf(v), order)) for v in x.tolist()]
    assert_allclose(found, exact, rtol=1e-11, atol=1e-13 * math.pi**order)
    assert found[0] == pytest.approx(exact[0], rel=1e-14, abs=1e-15)


# --- reductions ----------------------------------------------------------------------------------


def _mean(x: list[Any]) -> Any:
    return sum(x) / len(x)


def _var(x: list[Any]) -> Any:
    m = _mean(x)
    return sum((v - m) ** 2 for v in x) / len(x)


def _logsumexp(x: list[Any]) -> Any:
    return mp.log(sum(mp.exp(v) for v in x))


#: A function of a vector, and the same with mpmath. One number of several results is taken.
REDUCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[list[Any]], Any]]] = {
    "sum": (np.sum, sum),
    "mean": (np.mean, _mean),
    "var": (np.var, _var),
    "var, ddof=1": (lambda x: np.var(x, ddof=1), lambda x: _var(x) * len(x) / (len(x) - 1)),
    "std": (np.std, lambda x: mp.sqrt(_var(x))),
    "max": (np.max, max),
    "min": (np.min, min),
    "logsumexp": (tg.logsumexp, _logsumexp),
    "softmax": (
        lambda x: tg.softmax(x)[2],
        lambda x: mp.exp(x[2]) / sum(mp.exp(v) for v in x),
    ),
    "log_softmax": (lambda x: tg.log_softmax(x)[2], lambda x: x[2] - _logsumexp(x)),
    "norm of hypot": (
        lambda x: np.hypot(np.hypot(x[0], x[1]), x[2]),
        lambda x: mp.sqrt(sum(v * v for v in x[:3])),
    ),
    "prod": (np.prod, mp.fprod),
    "norm": (np.linalg.norm, lambda x: mp.sqrt(sum(v * v for v in x))),
    "cumsum": (lambda x: np.cumsum(x)[4], lambda x: sum(x[:5])),
    "cumprod": (lambda x: np.cumprod(x)[4], lambda x: mp.fprod(x[:5])),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 10.0])
def test_reduction_is_exact(name: str, scale: float, rng: np.random.Generator) -> None:
    f, exact = REDUCTIONS[name]
    x = rng.normal(size=9) * scale
    leaf = tensor(x, requires_grad=True)
    y = f(leaf)
    y.backward()
    with mp.workdps(60):
        point = [mp.mpf(v) for v in x.tolist()]
        assert_allclose(y.item(), float(exact(point)), rtol=RTOL)
        slopes = [
            float(mp.diff(lambda t, i=i: exact([*point[:i], t, *point[i + 1 :]]), point[i]))
            for i in range(len(x))
        ]
    # A component may be small where terms as large as the largest cancel.
    assert_allclose(leaf.grad, slopes, rtol=RTOL, atol=RTOL * max(map(abs, slopes)) * 1e-3)


# --- ties, kinks and singular points of the newer functions ---------------------------------------


def derivatives(f: Callable[[Any], Any], at: float, order: int) -> list[float]:
    x = tensor(at, requires_grad=True)
    y = f(x)
    found = []
    for _ in range(order):
        if isinstance(y, Tensor) and y.requires_grad:
            _, cotangents = pull_back([(y, tensor(1.0))], record=True)
            y = cotangents.get(x.serial, 0.0)
        else:
            y = 0.0
        found.append(y.item() if isinstance(y, Tensor) else y)
    return found


#: Function, inputs, result, gradients of its sum (None: no derivative in that input).
POINTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], Any, tuple[Any, ...]]] = {
    "sinc at 0": (np.sinc, ([0.0, -0.0],), [1, 1], ([0, 0],)),
    "copysign at 0": (np.copysign, ([0.0, 3.0, -3.0], [-1.0, -0.0, 0.0]), [-0.0, -3, 3],
                      ([0, -1, -1], None)),
    "heaviside at 0": (np.heaviside, ([0.0, -1.0, 2.0, nan], [0.3, 0.4, 0.5, 0.6]),
                       [0.3, 0, 1, nan], (None, [1, 0, 0, 0])),
    "fmod": (np.fmod, ([5.0, -5.0, 6.0], [3.0, 3.0, 3.0]), [2, -2, 0],
             ([1, 1, 1], [-1, 1, -2])),
    "mod": (np.mod, ([5.0, -5.0, 6.0], [3.0, 3.0, 3.0]), [2, 1, 0], ([1, 1, 1], [-1, 2, -2])),
    "xlogy at 0": (TABLE["xlogy"], ([0.0, 0.0, 2.0], [0.0, 2.0, 1.0]), [0, 0, 0],
                   ([0, math.log(2.0), 0], [0, 0, 2])),
    "xlogy of nan": (TABLE["xlogy"], ([0.0], [nan]), [nan], (None, None)),
    "i0 at 0": (np.i0, ([0.0, -0.0],), [1, 1], ([0, 0],)),
    "entr at 0": (TABLE["entr"], ([0.0, 1.0, -1.0],), [0, -0.0, -inf], ([inf, -1, nan],)),
    "nan_to_num": (np.nan_to_num, ([nan, inf, -inf, 2.0],),
                   [0.0, np.finfo(float).max, -np.finfo(float).max, 2], ([0, 0, 0, 1],)),
    "modf": (lambda x: np.modf(x)[0], ([-1.5, 2.0, inf],), [-0.5, 0, 0], ([1, 1, 1],)),
    "frexp": (lambda x: np.frexp(x)[0], ([6.0, -0.25, 0.0],), [0.75, -0.5, 0],
              ([0.125, 2.0, 1.0],)),
    "ldexp": (lambda x: np.ldexp(x, [3, -1100, 1100]), ([1.5, 1e300, 1e-300],),
              np.ldexp([1.5, 1e300, 1e-300], [3, -1100, 1100]), ([8, 0, inf],)),
    "hypot at the origin": (np.hypot, ([0.0], [-0.0]), [0], ([0], [0])),
    "arctan2 at the origin": (np.arctan2, ([0.0], [0.0]), [0], ([0], [0])),
    "float_power at 0": (np.float_power, ([0.0, 0.0], [0.0, 2.0]), [1, 0], ([0, 0], [0, 0])),
    "unwrap": (np.unwrap, ([0.0, 4.0, 8.0],), np.unwrap([0.0, 4.0, 8.0]), ([1, 1, 1],)),
    "logaddexp of infinities": (np.logaddexp, ([inf, inf, -inf], [0.0, -inf, 1.0]), [inf, inf, 1],
                                ([1, 1, 0], [0, 0, 1])),
}  # fmt: skip


@pytest.mark.parametrize("name", POINTS)
def test_special_points(name: str) -> None:
    f, inputs, expected, slopes = POINTS[name]
    leaves = [tensor(x, requires_grad=True) for x in inputs]
    with quiet():
        y = f(*leaves)
        np.sum(y).backward()
    assert_array_equal(y.data, expected)
    assert_array_equal(np.signbit(y.data), np.signbit(expected))
    for leaf, slope in zip(leaves, slopes, strict=True):
        if slope is not None:
            assert_array_equal(leaf.grad, slope)


def test_second_derivatives_at_special_points() -> None:
    assert_allclose(derivatives(np.sinc, 0.0, 4), [0, -(math.pi**2) / 3, 0, math.pi**4 / 5])
    assert_allclose(derivatives(np.i0, 0.0, 4), [0, 0.5, 0, 0.375], rtol=1e-14, atol=1e-16)
    assert derivatives(lambda x: np.copysign(x, -1.0), 2.0, 2) == [-1, 0]
    assert derivatives(lambda x: TABLE["xlogy"](x, 2.0), 0.0, 2) == [math.log(2.0), 0]
    assert derivatives(lambda x: TABLE["xlogy"](0.0, x), 0.0, 2) == [0, 0]
    assert_allclose(derivatives(TABLE["entr"], 2.0, 3), [-math.log(2.0) - 1, -0.5, 0.25])
    assert derivatives(lambda x: np.ldexp(x * x, 3), 2.0, 2) == [32, 16]


#: Functions that are constant between jumps, and an example.
CONSTANT: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "round": (np.round, [0.5, 1.5, 2.5, -0.5]),
    "round, decimals=1": (lambda x: np.round(x, 1), [0.25, 0.35, -1.16]),
    "round, decimals=-1": (lambda x: np.round(x, decimals=-1), [15.0, 25.0]),
    "around": (np.around, [0.5, 1.5]),
    "fix": (np.fix, [-1.5, 1.5]),
    "spacing": (np.spacing, [1.0, 1e10]),
    "signbit": (np.signbit, [-0.0, 1.0]),
    "isposinf": (np.isposinf, [inf, -inf, nan, 1.0]),
    "isneginf": (np.isneginf, [inf, -inf, nan, 1.0]),
    "isreal": (np.isreal, [1.0]),
    "iscomplex": (np.iscomplex, [1.0]),
    "exponents": (lambda x: np.frexp(x)[1], [6.0, 0.1]),
    "whole parts": (lambda x: np.modf(x)[1], [6.5, -0.1]),
    "quotients": (lambda x: np.divmod(x, 2.0)[0], [6.5, -0.1]),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_constants(name: str) -> None:
    f, x = CONSTANT[name]
    leaf = tensor(x, requires_grad=True)
    y = f(leaf)
    assert isinstance(y, Tensor)
    assert not y.requires_grad
    assert y.dtype == f(np.array(x)).dtype
    assert_array_equal(y.data, f(np.array(x)))


def test_operations_on_bits() -> None:
    a, b = np.array([12, -7, 5]), np.array([2, 1, 3])
    for f in (np.gcd, np.lcm, np.left_shift, np.right_shift):
        assert_array_equal(f(tensor(a), b).data, f(a, b))
    assert_array_equal(np.bitwise_count(tensor(a)).data, np.bitwise_count(a))


def test_nan_to_num_in_single_precision() -> None:
    x = np.array([nan, inf, -inf, 1.5], np.float32)
    leaf = tensor(x, requires_grad=True)
    for keywords in ({}, {"nan": 2.0, "posinf": 7, "neginf": -1.0}):
        y = np.nan_to_num(leaf, **keywords)
        assert y.dtype == np.float32
        assert_array_equal(y.data, np.nan_to_num(x, **keywords))
    with pytest.raises(NotDifferentiableError, match="copy"):
        np.nan_to_num(leaf, copy=False)
    nan_ = tensor(3.0, requires_grad=True)
    np.sum(np.nan_to_num(leaf, nan=nan_, posinf=0.0, neginf=0.0)).backward()
    assert nan_.grad == 1.0
    assert np.nan_to_num(tensor([1, 2])).dtype == int


@pytest.mark.parametrize(
    "f",
    [
        np.sinc, np.spacing, np.fix, np.round, np.isneginf, np.nan_to_num, np.sign,
        lambda x: np.modf(x)[0], lambda x: np.frexp(x)[0], lambda x: np.ldexp(x, 3),
        lambda x: np.divmod(x, 0.4)[1], TABLE["entr"], lambda x: TABLE["xlogy"](x, x),
    ],
)  # fmt: skip
def test_values(f: Callable[[Any], Any]) -> None:
    """A Value gets what a 0-d tensor gets."""
    v, t = Value(1.3), tensor(1.3, requires_grad=True)
    y, z = f(v), f(t)
    assert_allclose(float(getattr(y, "data", y)), z.item())
    if z.requires_grad:
        y.backward()
        z.backward()
        assert_allclose(v.grad, t.grad)


#: Ufuncs that are refused, and why.
REFUSED = {
    np.isnat: "of dates",
    np.matvec: "a product: tests/samples/linalg.py",
    np.vecmat: "a product: tests/samples/linalg.py",
    np.vecdot: "a product: tests/samples/linalg.py",
}


def test_every_ufunc_is_there() -> None:
    ufuncs = {f for f in vars(np).values() if isinstance(f, np.ufunc)}
    assert ufuncs - set(BY_FUNCTION) - set(COMPOSITES) <= set(REFUSED)
