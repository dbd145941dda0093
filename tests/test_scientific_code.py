"""Scientific code that knows nothing of tensors, differentiated as it stands."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scientific_code
from numpy.testing import assert_allclose
from scientific_code import CODE

import tinygrad_nn as tg

NAMES = sorted(CODE)


def arguments(name: str) -> tuple[Any, ...]:
    return CODE[name].draw(np.random.default_rng(len(name)))


def along(f: Any, x: tuple[Any, ...], v: tuple[Any, ...], h: float = 1e-3) -> list[Any]:
    """Differentiate in a direction by the seven-point stencil, with an error of the order h^6."""

    def parts(t: float) -> list[Any]:
        y = f(*(a + t * d for a, d in zip(x, v, strict=True)))
        return list(y) if isinstance(y, tuple) else [y]

    central = [
        [(a - b) / (2.0 * k * h) for a, b in zip(parts(k * h), parts(-k * h), strict=True)]
        for k in (1, 2, 3)
    ]
    return [1.5 * a - 0.6 * b + 0.1 * c for a, b, c in zip(*central, strict=True)]


def directions(x: tuple[Any, ...], seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.uniform(-1.0, 1.0, np.shape(a)) * 0.1 for a in x)


def listed(y: Any) -> list[Any]:
    return list(y) if isinstance(y, tuple) else [y]


@pytest.mark.parametrize("name", NAMES)
def test_first_derivatives(name):
    f, x = CODE[name].f, arguments(name)
    plain = listed(f(*x))
    y, pullback = tg.vjp(f, *x)
    for a, b in zip(listed(y), plain, strict=True):
        assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    rng = np.random.default_rng(0)
    w = [np.asarray(rng.uniform(0.5, 1.5, np.shape(part))) for part in plain]
    slopes = pullback(tuple(w) if isinstance(y, tuple) else w[0])
    for seed in range(3):
        v = directions(x, seed)
        expected = along(f, x, v)
        _, tangents = tg.jvp(f, x, v)
        size = max(float(np.max(np.abs(part))) for part in expected)
        for a, b in zip(listed(tangents), expected, strict=True):
            assert_allclose(a, b, rtol=1e-6, atol=1e-6 * size)
        there = sum(np.vdot(a, b) for a, b in zip(w, listed(tangents), strict=True))
        back = sum(np.vdot(a, b) for a, b in zip(slopes, v, strict=True))
        assert_allclose(back, there, rtol=1e-9, atol=1e-11 * size)


@pytest.mark.parametrize("name", NAMES)
def test_jacobians_in_reverse_and_forward(name):
    f, x = CODE[name].f, arguments(name)
    positions = tuple(range(len(x)))
    reverse, forward = (jacobian(f, positions)(*x) for jacobian in (tg.jacrev, tg.jacfwd))
    v = directions(x, 4)
    _, tangents = tg.jvp(f, x, v)
    several = isinstance(tangents, tuple)
    rows = zip(*(j if several else [j] for j in (reverse, forward)), listed(tangents), strict=True)
    for back, there, tangent in rows:
        for a, b in zip(back, there, strict=True):
            assert_allclose(a, b, rtol=1e-9, atol=1e-11 * max(1.0, float(np.max(np.abs(a)))))
        product = sum(np.tensordot(a, d, np.ndim(d)) for a, d in zip(back, v, strict=True))
        assert_allclose(product, tangent, rtol=1e-8, atol=1e-10 * np.max(np.abs(tangent)))


def weighted(name: str) -> Any:
    """Return the function, reduced to one number."""
    rng = np.random.default_rng(0)
    w = [rng.uniform(0.5, 1.5, np.shape(part)) for part in listed(CODE[name].f(*arguments(name)))]

    def total(*x: Any) -> Any:
        return sum(np.sum(a * b) for a, b in zip(w, listed(CODE[name].f(*x)), strict=True))

    return total


@pytest.mark.parametrize("name", [name for name in NAMES if CODE[name].smooth])
def test_second_derivatives(name):
    f, x = weighted(name), arguments(name)
    slope = tg.grad(f, tuple(range(len(x))))
    v = directions(x, 3)
    products = tg.hvp(lambda x: f(*x), x, v)
    expected = along(slope, x, v)
    size = max(float(np.max(np.abs(part))) for part in expected)
    for a, b in zip(products, expected, strict=True):
        assert_allclose(a, b, rtol=1e-6, atol=1e-6 * max(size, 1.0))


@pytest.mark.parametrize("name", [name for name in NAMES if CODE[name].smooth])
def test_hessians(name):
    f, x = weighted(name), arguments(name)
    hessians = tg.hessian(f, tuple(range(len(x))))(*x)
    v = directions(x, 5)
    products = tg.hvp(lambda x: f(*x), x, v)
    size = max(float(np.max(np.abs(part))) for part in products)
    for i, (row, product) in enumerate(zip(hessians, products, strict=True)):
        expected = sum(np.tensordot(h, d, np.ndim(d)) for h, d in zip(row, v, strict=True))
        assert_allclose(product, expected, rtol=1e-8, atol=1e-9 * max(size, 1.0))
        for j in range(i):
            n = np.ndim(x[i])
            turned = np.moveaxis(row[j], range(n), range(-n, 0)) if n else row[j]
            scale = max(1.0, float(np.max(np.abs(turned))))
            assert_allclose(turned, hessians[j][i], rtol=1e-8, atol=1e-10 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_have_the_dtype_of_their_arguments(name):
    x = tuple(a.astype(np.float32) for a in arguments(name))
    slopes = tg.grad(weighted(name), tuple(range(len(x))))(*x)
    for a, slope in zip(x, slopes, strict=True):
        assert slope.dtype == np.float32
        assert slope.shape == a.shape
        assert np.isfinite(slope).all()


def test_the_code_knows_nothing_of_the_package():
    assert "tinygrad_nn" not in Path(scientific_code.__file__).read_text("utf-8")
