"""Fourier transforms, convolution and interpolation: what is known about them as a whole.

(Every function and keyword is compared with NumPy and with numerical derivatives by the samples.)
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from samples.fourier import dft

from tinygrad_nn import Tensor, grad, hvp, tensor
from tinygrad_nn.errors import NotDifferentiableError

Array = np.ndarray

LENGTHS = pytest.mark.parametrize("n", [1, 2, 5, 8, 9])
NORMS = pytest.mark.parametrize("norm", [None, "backward", "ortho", "forward"])


def leaf(x: Any) -> Tensor:
    return tensor(x, requires_grad=True)


def power_spectrum(x: Any) -> Any:
    return np.abs(np.fft.fft(x)) ** 2


# --- identities ----------------------------------------------------------------------------------


@LENGTHS
def test_parseval(n: int, rng: np.random.Generator) -> None:
    """The spectrum has n times the energy, so its gradient is 2 n x, whatever x."""
    x = leaf(rng.standard_normal(n))
    energy = np.sum(power_spectrum(x))
    assert_allclose(energy.data, n * np.sum(x.data**2), rtol=1e-13)
    energy.backward()
    assert_allclose(x.grad, 2 * n * x.data, rtol=1e-13)


@LENGTHS
def test_parseval_of_half_the_spectrum(n: int, rng: np.random.Generator) -> None:
    counts = np.full(n // 2 + 1, 2.0)
    counts[0] = 1.0
    if n % 2 == 0:
        counts[-1] = 1.0
    x = leaf(rng.standard_normal(n))
    np.sum(counts * np.abs(np.fft.rfft(x)) ** 2).backward()
    assert_allclose(x.grad, 2 * n * x.data, rtol=1e-12)


@LENGTHS
def test_parseval_of_complex_numbers(n: int, rng: np.random.Generator) -> None:
    z = leaf(rng.standard_normal(n) + 1j * rng.standard_normal(n))
    np.sum(power_spectrum(z)).backward()
    assert_allclose(z.grad, 2 * n * z.data, rtol=1e-13)


@NORMS
@LENGTHS
def test_inverses_give_back_input_and_gradient(
    n: int, norm: str | None, rng: np.random.Generator
) -> None:
    w = rng.standard_normal(n)
    for there_and_back in (
        lambda x: np.real(np.fft.ifft(np.fft.fft(x, norm=norm), norm=norm)),
        lambda x: np.fft.irfft(np.fft.rfft(x, norm=norm), n, norm=norm),
        lambda x: np.fft.hfft(np.fft.ihfft(x, norm=norm), n, norm=norm),
        lambda x: np.fft.ifftshift(np.fft.fftshift(x)),
    ):
        x = leaf(rng.standard_normal(n))
        y = there_and_back(x)
        assert_allclose(y.data, x.data, rtol=0, atol=1e-14)
        np.sum(w * y).backward()
        assert_allclose(x.grad, w, rtol=0, atol=1e-14)


def test_transforms_are_linear(rng: np.random.Generator) -> None:
    """The gradient of a linear function is the same everywhere, and its Hessian zero."""
    w = rng.standard_normal(5)

    def f(x: Any) -> Any:
        y = np.fft.rfft(x, n=9)
        return np.sum(w * np.real(y) + w[::-1] * np.imag(y))

    a, b = rng.standard_normal((2, 6))
    assert_allclose(f(2.0 * a - b), 2.0 * f(a) - f(b), rtol=1e-12)
    assert_array_equal(grad(f)(a), grad(f)(b))
    assert_array_equal(hvp(f, a, b), np.zeros(6))


# --- against the matrix of the transform, written out --------------------------------------------


@NORMS
@pytest.mark.parametrize(("length", "n"), [(4, 4), (5, 5), (6, 4), (3, 5), (1, 1)])
@pytest.mark.parametrize("inverse", [False, True])
def test_gradient_is_that_of_the_dense_matrix(
    inverse: bool, length: int, n: int, norm: str | None, rng: np.random.Generator
) -> None:
    fitted = np.eye(n, length)
    matrix = dft(n, inverse, norm) @ fitted
    transform = np.fft.ifft if inverse else np.fft.fft
    x = rng.standard_normal(length) + 1j * rng.standard_normal(length)
    w = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    a, b = leaf(x), leaf(x)
    y, z = transform(a, n, norm=norm), matrix @ b
    assert_allclose(y.data, z.data, rtol=0, atol=1e-13)
    for result in (y, z):
        np.sum(np.real(w * result) + np.imag(result**2)).backward()
    assert_allclose(a.grad, b.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("m", [2, 3, 4, 5])
@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_imaginary_parts_that_irfft_ignores_have_no_gradient(
    m: int, n: int, rng: np.random.Generator
) -> None:
    z = leaf(rng.standard_normal(m) + 1j * rng.standard_normal(m))
    w = rng.standard_normal(n)
    np.sum(w * np.fft.irfft(z, n)).backward()
    ignored = [0] + ([n // 2] if n % 2 == 0 and n // 2 < m else [])
    used = [k for k in range(min(m, n // 2 + 1)) if k not in ignored]
    assert_array_equal(z.grad.imag[ignored], 0.0)
    assert np.all(z.grad.imag[used])
    assert_array_equal(z.grad[n // 2 + 1 :], 0.0)


@LENGTHS
def test_hessian_by_a_complex_step(n: int, rng: np.random.Generator) -> None:
    """The gradient written out with sines and cosines, an imaginary step away: exact, no limit."""
    cosines, sines = dft(n).real, dft(n).imag

    def gradient(x: Array) -> Array:
        re, im = cosines @ x, sines @ x
        return 2.0 * (cosines.T @ re + sines.T @ im) / (1.0 + re * re + im * im).sum()

    def f(x: Any) -> Any:
        return np.log(n + np.sum(power_spectrum(x)))

    x, v = rng.standard_normal((2, n))
    assert_allclose(grad(f)(x), gradient(x), rtol=1e-12)
    expected = gradient(x + 1e-30j * v).imag / 1e-30
    assert_allclose(hvp(f, x, v), expected, rtol=1e-10, atol=1e-13)


# --- what they are used for ----------------------------------------------------------------------


@pytest.mark.parametrize("n", [16, 17])
def test_spectral_derivative(n: int) -> None:
    """The derivative is antisymmetric on real numbers, so its gradient is minus the derivative."""
    x = 2.0 * np.pi * np.arange(n) / n
    k = np.arange(n // 2 + 1.0)
    if n % 2 == 0:
        k[-1] = 0.0

    def derivative(u: Any) -> Any:
        return np.fft.irfft(1j * k * np.fft.rfft(u), n)

    u = leaf(np.exp(np.sin(3.0 * x) * 0.1))
    du = derivative(u)
    w = np.cos(2.0 * x)
    np.sum(w * du).backward()
    assert_allclose(u.grad, 2.0 * np.sin(2.0 * x), rtol=0, atol=1e-12)
    assert_allclose(
        hvp(lambda u: np.sum(derivative(u) ** 2), u.data, w), 8.0 * w, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(("n", "m"), [(8, 3), (9, 4), (3, 8)])
def test_convolution_is_a_product_of_spectra(n: int, m: int, rng: np.random.Generator) -> None:
    a, v = rng.standard_normal(n), rng.standard_normal(m)

    def by_spectra(a: Any, v: Any) -> Any:
        total = n + m - 1
        return np.fft.irfft(np.fft.rfft(a, total) * np.fft.rfft(v, total), total)

    def loss(convolve: Callable[..., Any]) -> Callable[..., Any]:
        return lambda a, v: np.sum(np.sin(convolve(a, v)))

    assert_allclose(by_spectra(a, v), np.convolve(a, v), rtol=0, atol=1e-13)
    for i in (0, 1):
        assert_allclose(
            grad(loss(by_spectra), i)(a, v), grad(loss(np.convolve), i)(a, v), rtol=0, atol=1e-12
        )
    w = rng.standard_normal(n)
    assert_allclose(
        hvp(lambda a: loss(by_spectra)(a, v), a, w),
        hvp(lambda a: loss(np.convolve)(a, v), a, w),
        rtol=0,
        atol=1e-12,
    )


def test_convolution_of_itself(rng: np.random.Generator) -> None:
    """Both arguments are one tensor."""
    x = leaf(rng.standard_normal(4))
    np.sum(np.convolve(x, x)).backward()
    assert_allclose(x.grad, np.full(4, 2.0 * x.data.sum()), rtol=1e-13)


def test_interpolation_between_knots() -> None:
    x, xp, fp = leaf([0.25, 1.5, 3.0]), leaf([0.0, 1.0, 2.0]), leaf([1.0, 3.0, -1.0])
    np.sum(np.interp(x, xp, fp)).backward()
    assert_allclose(x.grad, [2.0, -4.0, 0.0])
    assert_allclose(fp.grad, [0.75, 0.25 + 0.5, 0.5 + 1.0])
    # Moving a knot moves the line: minus its slope, in the share that the knot has in the point.
    assert_allclose(xp.grad, [-2.0 * 0.75, -2.0 * 0.25 + 4.0 * 0.5, 4.0 * 0.5])


def test_interpolation_at_knots_has_the_slope_to_the_right_and_at_the_last_to_the_left() -> None:
    x = leaf([0.0, 1.0, 2.0])
    np.sum(np.interp(x, [0.0, 1.0, 2.0], [1.0, 3.0, -1.0])).backward()
    assert_array_equal(x.grad, [2.0, -4.0, -4.0])


def test_interpolation_far_outside_has_no_slope() -> None:
    x = leaf([-np.inf, np.inf, -1e300])
    y = np.interp(x, [0.0, 1.0], [5.0, 7.0])
    assert_array_equal(y.data, [5.0, 7.0, 5.0])
    np.sum(y).backward()
    assert_array_equal(x.grad, np.zeros(3))
    assert np.isnan(np.interp(leaf(np.nan), [0.0, 1.0], [5.0, 7.0]).data)


def test_interpolation_with_a_knot_twice_jumps_there() -> None:
    for x in (0.5, 1.0, 1.5, 2.0):
        for xp in ([0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]):
            fp = [1.0, 2.0, 5.0, 7.0]
            assert np.interp(leaf(x), xp, fp).data == np.interp(x, xp, fp)


def test_ends_of_a_range_have_gradients_of_their_own() -> None:
    for f, x in (
        (np.linspace, (0.3, 1.7)),
        (np.geomspace, (0.3, 1.7)),
        (np.geomspace, (-3.0, -0.7)),
    ):
        a, b = map(leaf, x)
        y = f(a, b, 7)
        assert y.data[0] == a.data
        assert y.data[-1] == b.data
        y[-1].backward()
        assert (a.grad, b.grad) == (0.0, 1.0)


def test_polynomials_undo_each_other(rng: np.random.Generator) -> None:
    p = leaf(rng.standard_normal(5))
    back = np.polyder(np.polyint(p, 2), 2)
    w = rng.standard_normal(5)
    np.sum(w * back).backward()
    assert_allclose(back.data, p.data, rtol=1e-14)
    assert_allclose(p.grad, w, rtol=1e-14)


def test_polynomials_of_numpys_own_class() -> None:
    p = np.poly1d([1.0, -2.0])
    q = leaf([3.0, 0.5, 1.0])
    for f in (np.polyadd, np.polysub, np.polymul):
        assert_array_equal(f(p, q).data, f(p, q.data).coeffs)


# --- refusals ------------------------------------------------------------------------------------

X = leaf([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]])
Z = leaf([1.0 + 1j, 2.0])
ROW = leaf([1.0, 2.0, 3.0])

REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "norm": (lambda: np.fft.fft(X, norm="other"), ValueError, "norm"),
    "norm of hfft": (lambda: np.fft.hfft(X, norm="other"), ValueError, "norm"),
    "length 0": (lambda: np.fft.fft(X, n=0), ValueError, "0"),
    "irfft of one frequency": (lambda: np.fft.irfft(ROW[:1]), ValueError, "0"),
    "rfft of complex numbers": (lambda: np.fft.rfft(Z), TypeError, "rfft"),
    "s without its axes": (lambda: np.fft.fft2(X, s=(2,)), ValueError, "2 axes"),
    "out": (lambda: np.fft.fft(X, out=np.zeros((2, 3), complex)), NotDifferentiableError, "out"),
    "out of fft2": (
        lambda: np.fft.fft2(X, out=np.zeros((2, 3), complex)),
        NotDifferentiableError,
        "out",
    ),
    "mode": (lambda: np.convolve(ROW, ROW, "other"), ValueError, "full, same, valid"),
    "mode of correlate": (lambda: np.correlate(ROW, ROW, 1), ValueError, "full, same, valid"),
    "empty": (lambda: np.convolve(ROW, []), ValueError, "empty"),
    "matrices": (lambda: np.convolve(X, ROW), ValueError, "deep"),
    "windows too long": (
        lambda: np.lib.stride_tricks.sliding_window_view(ROW, 4),
        ValueError,
        "length 4",
    ),
    "windows of two axes": (
        lambda: np.lib.stride_tricks.sliding_window_view(X, 2),
        ValueError,
        "axes",
    ),
    "writeable windows": (
        lambda: np.lib.stride_tricks.sliding_window_view(ROW, 2, writeable=True),
        NotDifferentiableError,
        "writeable",
    ),
    "interp shapes": (lambda: np.interp(0.5, [0.0, 1.0], ROW), ValueError, r"\(3,\)"),
    "interp of nothing": (lambda: np.interp(ROW, [], []), ValueError, "at least one"),
    "period 0": (lambda: np.interp(ROW, [0.0, 1.0], [1.0, 2.0], period=0), ValueError, "period"),
    "negative number": (lambda: np.linspace(ROW, 1.0, -1), ValueError, "-1"),
    "number no integer": (lambda: np.linspace(ROW, 1.0, 2.5), TypeError, "integer"),
    "zero in a geometric sequence": (lambda: np.geomspace(ROW, 0.0), ValueError, "zero"),
    "leading zero": (lambda: np.polymul(leaf([0.0, 1.0]), ROW), NotDifferentiableError, "convolve"),
    "negative derivative": (lambda: np.polyder(ROW, -1), ValueError, "positive"),
    "negative integral": (lambda: np.polyint(ROW, -1), ValueError, "positive"),
    "too few constants": (lambda: np.polyint(ROW, 3, [1.0, 2.0]), ValueError, "length"),
    "vander of a matrix": (lambda: np.vander(X), ValueError, "one-dimensional"),
    "no vectors": (
        lambda: np.apply_along_axis(np.sum, 0, leaf(np.ones((2, 0)))),
        ValueError,
        "0",
    ),
    "vectorize": (lambda: np.vectorize(lambda x: x)(ROW), NotDifferentiableError, "stack"),
    "frompyfunc": (
        lambda: np.frompyfunc(lambda x: x, 1, 1)(ROW),
        NotDifferentiableError,
        "primitive",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    f, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        f()
