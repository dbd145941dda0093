"""Complex numbers: steps along the imaginary axis, and gradients through complex intermediates.

W. Squire and G. Trapp, SIAM Rev. 40 (1998), 110-112, doi:10.1137/S003614459631241X: of a function
that is analytic at x and real on the real axis, Im f(x + ih) / h is f'(x) up to terms in h^2, and
nothing cancels.
"""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from samples import EXTRA
from test_primitives import about

import tinygrad_nn as tg
from tinygrad_nn import NotDifferentiableError, Tensor, tensor
from tinygrad_nn.backward import pull_back
from tinygrad_nn.primitive import REAL
from tinygrad_nn.rules import TABLE, elementwise, special

Array = np.ndarray
TINY = 1e-20

# --- complex step --------------------------------------------------------------------------------

#: Elementwise primitives with a derivative that are not analytic, and why.
NOT_ANALYTIC = {
    "absolute": "|z| of complex numbers",
    "fabs": "refuses complex numbers, as NumPy does",
    "real": "takes complex numbers apart",
    "imag": "takes complex numbers apart",
    "angle": "takes complex numbers apart",
    "conjugate": "turns the imaginary axis round",
    "nextafter": "moves by one bit of a real number",
}

STEPPED = [
    n for n, p in TABLE.items() if p.elementwise and p.differentiable and n not in NOT_ANALYTIC
]

#: Points beyond the domain that samples are drawn from.
BEYOND: dict[str, tuple[Any, ...]] = {
    "arctan2": ([1.0, -1.0, -2.0, 0.5, 0.0, 3.0], [-2.0, -0.3, 1.0, 1e9, 2.0, 0.0]),
    "hypot": ([1.0, -1.0, 1e200, 0.0], [-2.0, 1e9, -1e200, 2.0]),
    "cbrt": ([-8.0, -1e-9, 1e9, 1e200],),
    "reciprocal": ([-1e9, 1e-9, 4.0],),
    "sigmoid": ([-40.0, -700.0, 20.0, 0.0],),
    "erf": ([-6.0, -1.0, -0.999, 0.0, 1e-9, 1.0, 3.0],),
    "erfc": ([-3.0, -1.0, -0.999, 0.0, 1e-9, 1.0, 10.0, 26.0],),
    "relu": ([-3.0, 1e-9, 1e9],),
    "expm1": ([-40.0, -1e-9, 30.0],),
    "log1p": ([-1.0 + 1e-12, 1e-12, 1e12],),
    "arcsinh": ([-1e8, 1e8, 1e-9],),
    "arcsin": ([-0.999999, 1e-9],),
    "arccos": ([-0.999999, 1e-9],),
    "arctanh": ([-0.999999, 1e-9],),
    "arccosh": ([1.0000001, 1e8],),
    "logaddexp": ([0.0, 100.0, -50.0, 500.0], [0.0, -100.0, -40.0, 499.0]),
    "logaddexp2": ([0.0, 100.0, -50.0, 500.0], [0.0, -100.0, -40.0, 499.0]),
    "sinc": ([1e-12, 1e-3, -0.2, 0.5, 10.3],),
    "clip": ([-5.0, 0.5, 5.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]),
    "cross_entropy_of_probability": ([1e-9, 0.5, 1.0 - 1e-9], [0.0, 1.0, 0.3]),
}


#: Where rules round by an ulp of 1: those of 1 - y * y and y * (1 - y), near y = 1; and near zeros.
ROUNDED = ("tanh", "sigmoid", "sinc_derivative", "i0")


def points(name: str, rng: np.random.Generator) -> list[tuple[Any, ...]]:
    p = TABLE[name]
    found = [tuple(rng.uniform(*d, 200) for d in p.domain or (REAL,) * 3)]
    found += [args for args in EXTRA.get(name, []) if name != "power" or np.min(args[0]) > 0]
    found += [tuple(map(np.array, BEYOND[name]))] if name in BEYOND else []
    return found


@pytest.mark.parametrize("name", STEPPED)
def test_complex_step_is_the_rule(name: str, rng: np.random.Generator) -> None:
    p = TABLE[name]
    for args in points(name, rng):
        y = np.asarray(p.forward(*args))
        for i, x in enumerate(args):
            rule = p.rule(i)
            if rule is None or np.asarray(x).dtype.kind != "f":
                continue
            moved = p.forward(*args[:i], x + TINY * 1j, *args[i + 1 :])
            slope = np.broadcast_to(rule(np.ones(y.shape), y, *args), y.shape)
            with about((args, i)):
                atol = 1e-15 if name in ROUNDED else 1e-300
                assert_allclose(np.imag(moved) / TINY, slope, rtol=1e-13, atol=atol)
                assert_allclose(np.real(moved), y, rtol=2e-13, atol=1e-16)


@pytest.mark.parametrize("name", STEPPED)
def test_complex_forwards_take_out(name: str, rng: np.random.Generator) -> None:
    p = TABLE[name]
    args = points(name, rng)[0]
    i = next(i for i in range(len(args)) if p.rule(i) is not None)
    moved = (*args[:i], args[i] + TINY * 1j, *args[i + 1 :])
    y = p.forward(*moved)
    out = np.full_like(y, 7.0)
    assert p.forward(*moved, out=out) is out
    assert_array_equal(out, y)


def test_step_through_a_model_is_its_gradient(rng: np.random.Generator) -> None:
    x, t = rng.normal(size=(8, 3)), rng.integers(0, 2, 8)
    w, b = rng.normal(size=(3, 2)), rng.normal(size=2)

    def loss(w: Any) -> Any:
        h = tg.sigmoid(elementwise.relu(x @ w + b) - 0.1)
        h = h - np.log(np.sum(np.exp(h), axis=1))[:, None]
        return -np.sum(h[np.arange(8), t]) / 8.0

    leaf = tensor(w, requires_grad=True)
    loss(leaf).backward()
    for at in np.ndindex(w.shape):
        z = w.astype(complex)
        z[at] += TINY * 1j
        assert_allclose(np.imag(loss(z)) / TINY, leaf.grad[at], rtol=1e-13)


# --- values in the complex plane ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_error_functions_in_the_plane(name: str, rng: np.random.Generator) -> None:
    z = rng.uniform(-4.0, 4.0, 300) + rng.uniform(-3.0, 3.0, 300) * 1j
    exact = [complex(getattr(mpmath, name)(v)) for v in z.tolist()]
    found = TABLE[name].forward(z)
    assert np.max(np.abs(found - exact) / np.abs(exact)) < 2e-13
    assert TABLE[name].forward(z.astype(np.complex64)).dtype == np.complex64


def test_error_functions_far_out() -> None:
    z = np.array([1e200 + 1e-20j, -1e200 + 1j, 0j])
    assert_array_equal(TABLE["erf"].forward(z), [1.0, -1.0, 0.0])
    assert_array_equal(TABLE["erfc"].forward(z), [0.0, 2.0, 1.0])


def test_sigmoid_of_complex_numbers_does_not_overflow() -> None:
    z = np.array([-1e4 + 1j, 1e4 - 2j, 0.0 - 1j, 0.0 + 1j])
    assert_allclose(elementwise.sigmoid.forward(z)[:2], [0.0, 1.0])
    assert_allclose(elementwise.sigmoid.forward(z)[2:], 1.0 / (1.0 + np.exp(-z[2:])), rtol=1e-15)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_derivatives_of_sinc_in_the_plane(order: int, rng: np.random.Generator) -> None:
    z = rng.uniform(-2.0, 2.0, 40) + rng.uniform(-0.5, 0.5, 40) * 1j
    with mpmath.workdps(40):
        exact = [complex(mpmath.diff(mpmath.sincpi, mpmath.mpc(v), order)) for v in z.tolist()]
    assert_allclose(special.sinc_derivative.forward(z, order=order), exact, rtol=1e-11)


# --- gradients -----------------------------------------------------------------------------------


def parts(rng: np.random.Generator, *shape: int) -> Array:
    """Return random complex numbers in the first quadrant, where all branches are smooth."""
    return np.asarray(rng.uniform(0.3, 1.4, shape) + rng.uniform(0.2, 1.1, shape) * 1j)


def slopes(f: Callable[[Array], float], z: Array, h: float = 1e-4) -> Array:
    """Return df/dx + i df/dy of a real function, numerically."""
    found = np.zeros(z.shape, complex)
    for at in np.ndindex(z.shape):
        for unit in (1.0, 1j) if z.dtype.kind == "c" else (1.0,):
            y = []
            for step in (-2.0, -1.0, 1.0, 2.0):
                moved = z.copy()
                moved[at] += step * h * unit
                y.append(f(moved))
            found[at] += unit * (y[0] - 8.0 * y[1] + 8.0 * y[2] - y[3]) / (12.0 * h)
    return found if z.dtype.kind == "c" else found.real


def gradient(f: Callable[[Any], Any], z: Array) -> Array:
    leaf = tensor(z, requires_grad=True)
    f(leaf).backward()
    assert isinstance(leaf.grad, np.ndarray)
    assert leaf.grad.dtype == z.dtype
    return leaf.grad


def check(f: Callable[[Any], Any], z: Array) -> None:
    """Compare first and second order with numerical derivatives; `f` is real."""

    def value(z: Array) -> float:
        y = f(z)
        assert np.isrealobj(y)
        return float(y)

    assert_allclose(gradient(f, z), slopes(value, z), rtol=1e-8, atol=1e-9)

    v = np.random.default_rng(3).uniform(0.5, 1.5, z.shape) * (1.0 if z.dtype.kind == "f" else 1j)
    v = v if z.dtype.kind == "f" else v + 0.7

    def along(c: Any) -> Any:
        return np.real(np.sum(c * v))

    leaf = tensor(z, requires_grad=True)
    _, first = pull_back([(f(leaf), tensor(1.0))], record=True)
    total = along(first[leaf.serial])
    if isinstance(total, Tensor) and total.requires_grad:
        _, second = pull_back([(total, np.ones(()))])
        found = np.conj(second.get(leaf.serial, np.zeros(z.shape)))
    else:
        found = np.zeros(z.shape)
    expected = slopes(lambda z: float(along(np.conj(gradient(f, z)))), z)
    assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


_W = np.array([0.7 - 0.4j, -0.3 + 1.1j, 0.5 + 0.2j])


def weighed(y: Any) -> Any:
    """Return a real sum that depends on all parts of `y`."""
    return np.real(np.sum(y * _W))


#: Functions of complex numbers that NumPy computes, or the package continues.
UNARY: dict[str, Callable[[Any], Any]] = {
    **{
        f.__name__: f
        for f in (
            np.sqrt, np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos,
            np.tan, np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh,
            np.arccosh, np.arctanh, np.square, np.reciprocal, np.negative, np.positive,
            np.conjugate, np.absolute, np.sign, np.real, np.imag, np.angle, np.nan_to_num,
        )
    },
    **{n: TABLE[n] for n in ("sigmoid", "erf", "erfc", "entr", "cbrt", "relu", "sinc", "i0")},
    "angle in degrees": lambda z: np.angle(z, deg=True),
    "z**3": lambda z: z**3,
    "z**-1.5": lambda z: z**-1.5,
    "z**(1-2j)": lambda z: z ** (1.0 - 2.0j),
    "2**z": lambda z: 2.0**z,
    "(-2)**z": lambda z: np.array([-2.0, -0.5, 3.0], np.float32) ** z,
    "(1j)**z": lambda z: (0.3 + 1.0j) ** z,
    "z*conj(z)": lambda z: z * np.conjugate(z),
    "abs(z)**2": lambda z: np.abs(z) ** 2,
    "z/abs(z)": lambda z: z / np.abs(z),
    "where": lambda z: np.where(np.array([True, False, True]), z, np.conjugate(z)),
    "maximum": lambda z: np.maximum(z, 0.7),
    "clip": lambda z: np.clip(z, 0.5, 1.0),
    "real_if_close": np.real_if_close,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_gradients_of_complex_leaves(name: str, rng: np.random.Generator) -> None:
    check(lambda z: weighed(UNARY[name](z)), parts(rng, 3))
    if name in FREE:
        check(lambda z: weighed(UNARY[name](z)), -np.conj(parts(rng, 3)))


#: Functions that are smooth in the second quadrant too.
FREE = ("exp", "sin", "cos", "tan", "tanh", "absolute", "angle", "erf", "erfc", "sigmoid", "sinc")


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "float_power": np.float_power,
    **{n: TABLE[n] for n in ("hypot", "arctan2", "logaddexp", "logaddexp2", "xlogy")},
}


@pytest.mark.parametrize("name", BINARY)
def test_gradients_of_two_complex_leaves(name: str, rng: np.random.Generator) -> None:
    f, a, b = BINARY[name], parts(rng, 3), parts(rng, 3)
    x = rng.uniform(0.4, 1.2, 3)
    for c in (b, x):
        check(lambda z, c=c: weighed(f(z, c)), a)
        check(lambda z, c=c: weighed(f(c, z)), a)
        check(lambda z: weighed(f(z, b)), x)
        check(lambda z: weighed(f(a, z)), x)


#: Real functions of real numbers, by way of complex ones.
THROUGH: dict[str, Callable[[Any], Any]] = {
    "exp(1j*x), real": lambda x: np.sum(np.real(np.exp(1j * x)) * [1.0, 2.0, 3.0]),
    "exp(1j*x), imaginary": lambda x: np.sum(np.imag(np.exp(1j * x)) * [1.0, 2.0, 3.0]),
    "|exp(1j*x)|": lambda x: np.sum(np.abs(np.exp(1j * x))),
    "|x + 2j|^2": lambda x: np.sum(np.abs(x + 2.0j) ** 2),
    "angle(x + 1j)": lambda x: np.sum(np.angle(x + 1j)),
    "z conj(z)": lambda x: np.sum(np.real((x * 1j + x * x) * np.conjugate(x * 1j + x * x))),
    "power of -1": lambda x: np.real(np.sum((-1.0 + 0j) ** x)),
    "sign": lambda x: np.sum(np.real(np.sign(x + 1j))),
    "log of a negative": lambda x: np.sum(np.imag(np.log(-1.0 - x * 1j))),
    "mixed with a real branch": lambda x: np.real(np.sum((x + 1j) * x * np.sqrt(x + 0j))),
}


@pytest.mark.parametrize("name", THROUGH)
def test_gradients_through_complex_intermediates(name: str, rng: np.random.Generator) -> None:
    check(THROUGH[name], rng.uniform(0.3, 1.4, 3))


CONVENTION: dict[str, tuple[Callable[[Any], Any], complex, complex]] = {
    "|z|^2": (lambda z: np.abs(z) ** 2, 1 + 2j, 2 + 4j),
    "|z|": (np.abs, 3 + 4j, 0.6 + 0.8j),
    "|z| at 0": (np.abs, 0j, 0j),
    "angle at 0": (np.angle, 0j, 0j),
    "Re sign at 0": (lambda z: np.real(np.sign(z)), 0j, 0j),
    "Re z": (np.real, 1 + 2j, 1),
    "Im z": (np.imag, 1 + 2j, 1j),
    "Re z^2": (lambda z: np.real(z * z), 1 + 2j, 2 - 4j),
    "Re conj(z)": (lambda z: np.real(np.conjugate(z)), 1 + 2j, 1),
    "Im conj(z)": (lambda z: np.imag(np.conjugate(z)), 1 + 2j, -1j),
}


@pytest.mark.parametrize("name", CONVENTION)
def test_gradient_is_that_of_pytorch(name: str) -> None:
    """The gradient is dL/dx + i dL/dy."""
    f, z, expected = CONVENTION[name]
    assert_allclose(gradient(f, np.array(z)), expected, rtol=1e-15)


@pytest.mark.parametrize("name", UNARY)
def test_single_precision_stays_single(name: str, rng: np.random.Generator) -> None:
    z = parts(rng, 3).astype(np.complex64)
    leaf = tensor(z, requires_grad=True)
    y = UNARY[name](leaf)
    assert y.dtype == (np.float32 if np.isrealobj(y) else np.complex64)
    np.sum(np.real(y)).backward()
    assert leaf.grad.dtype == np.complex64


@pytest.mark.parametrize("name", BINARY)
def test_single_precision_stays_single_in_two(name: str, rng: np.random.Generator) -> None:
    if name == "float_power":
        return  # NumPy's is of double precision always
    a, b = (tensor(parts(rng, 3).astype(np.complex64), requires_grad=True) for _ in range(2))
    y = BINARY[name](a, b)
    assert y.dtype == np.complex64
    np.real(np.sum(y)).backward()
    assert (a.grad.dtype, b.grad.dtype) == (np.complex64, np.complex64)


# --- parts ---------------------------------------------------------------------------------------


def test_sign_of_complex_numbers_is_a_direction() -> None:
    z = np.array([3 + 4j, 0j, -2.0 + 0j])
    y = np.sign(tensor(z, requires_grad=True))
    assert_allclose(y.data, np.sign(z), rtol=1e-15)
    assert y.requires_grad
    assert not np.sign(tensor([1.0, -2.0], requires_grad=True)).requires_grad


def test_what_is_real() -> None:
    z = tensor([1.0 + 0j, 2.0 + 1e-15j, 1j], requires_grad=True)
    for f in (np.isreal, np.iscomplex, np.isnan, np.isfinite):
        assert_array_equal(f(z).data, f(z.data))
        assert not f(z).requires_grad
    assert np.real_if_close(z) is z
    close = np.real_if_close(z[:2])
    assert close.dtype == np.float64
    np.sum(close).backward()
    assert_array_equal(z.grad, [1.0, 1.0, 0.0])


def test_nan_to_num_of_complex_numbers() -> None:
    z = np.array([complex(np.nan, 1.0), complex(2.0, -np.inf), 1 + 1j])
    leaf = tensor(z, requires_grad=True)
    y = np.nan_to_num(leaf, nan=5.0, neginf=-3.0)
    assert_array_equal(y.data, np.nan_to_num(z, nan=5.0, neginf=-3.0))
    np.sum(np.real(y) + np.imag(y)).backward()
    assert_array_equal(leaf.grad, [1j, 1.0, 1 + 1j])
    with pytest.raises(NotDifferentiableError, match="finite"):
        np.nan_to_num(leaf, posinf=np.inf)


@pytest.mark.parametrize("f", [np.fabs, np.floor, np.ceil, np.isposinf, np.floor_divide])
def test_what_numpy_refuses_of_complex_numbers_is_refused(f: Any) -> None:
    z = tensor([1j], requires_grad=True)
    with pytest.raises(TypeError):
        f(z, 2.0) if f is np.floor_divide else f(z)
