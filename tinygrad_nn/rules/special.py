"""Special functions, and functions of how a number is written or of its period."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from tinygrad_nn.primitive import POSITIVE, REAL, implements, primitive
from tinygrad_nn.rules.elementwise import equal, exp, floating, into, log, logical_and, where
from tinygrad_nn.rules.shape import sum_to

# --- error function ------------------------------------------------------------------------------

# Chebyshev coefficients computed to 50 digits. erf(x)/x on [0, 1] in the variable 2 x^2 - 1; and
# (1 + 2x) exp(x^2) erfc(x) on [0, inf) in (x - K) / (x + K), K = 3.75, the mapping of
# M. M. Shepherd and J. G. Laframboise, Math. Comp. 36 (1981), 249-253, doi:10.2307/2007741.
# fmt: off
_ERF_SMALL = (
    0.9754769393826541, -0.14226120510371365, 0.010035582187599796, -0.0005768764699767485,
    2.741993125219606e-05, -1.1043175507344507e-06, 3.8488755420345036e-08,
    -1.1808582533875466e-09, 3.2334215826050907e-11, -7.991015947004549e-13,
    1.7990725113961456e-14, -3.718635487818693e-16,
)
_ERFC_LARGE = (
    1.1775789345674017, -0.004590054580646478, -0.08424913336651792, 0.05920993999819189,
    -0.026658668435305753, 0.009074997670705265, -0.002413163540417608, 0.0004907758365258086,
    -6.916973302501207e-05, 4.13902798607301e-06, 7.74038306619849e-07, -2.1886401049234397e-07,
    1.076499946567091e-08, 4.521959811218287e-09, -7.754400208831351e-10, -6.318088340886684e-11,
    2.86879501093067e-11, 1.9455868545777347e-13, -9.65469674843344e-13, 3.25254814814874e-14,
    3.3478119482868056e-14, -1.864562880419313e-15, -1.2507950530688648e-15,
)
# fmt: on


def _erfc_positive(x: Any) -> Any:
    x = np.minimum(x, 30.0)  # erfc(30) is below the smallest number, and 30^2 cannot overflow
    return (
        np.exp(-x * x)
        * np.polynomial.chebyshev.chebval((x - 3.75) / (x + 3.75), _ERFC_LARGE)
        / (1.0 + 2.0 * x)
    )


def _erf(x: Any, *, complement: bool) -> Any:
    dtype = floating(x).dtype
    if dtype.kind == "c":
        z = np.asarray(x, np.result_type(dtype, np.complex128))
        return _erf_of_complex(z, complement=complement).astype(dtype)
    x = np.asarray(x, np.result_type(dtype, np.float64))
    a = np.abs(x)
    b = np.minimum(a, 1.0)
    small = np.copysign(b, x) * np.polynomial.chebyshev.chebval(2.0 * b * b - 1.0, _ERF_SMALL)
    large = _erfc_positive(np.maximum(a, 1.0))
    if complement:
        y = np.where(a < 1.0, 1.0 - small, np.where(x < 0.0, 2.0 - large, large))
    else:
        y = np.where(a < 1.0, small, np.copysign(1.0 - large, x))
    return np.where(np.isnan(x), x, y).astype(dtype)


# Of complex numbers: erfc(z) = exp(-z^2) w(i z), with the rational approximation of w by
# J. A. C. Weideman, SIAM J. Numer. Anal. 31 (1994), 1497-1518, doi:10.1137/0731077, eq. (37), (38).
_TERMS = 48
_SCALE = math.sqrt(_TERMS / math.sqrt(2.0))


@cache
def _weideman() -> Any:
    """Return the coefficients: those of a Fourier series, by the trapezoidal rule."""
    m = 2 * _TERMS
    angle = np.arange(1 - m, m) * (math.pi / m)
    t = _SCALE * np.tan(0.5 * angle)
    f = np.exp(-t * t) * (_SCALE**2 + t * t)
    return np.cos(np.outer(np.arange(1, _TERMS + 1), angle)) @ f / (2 * m)


def _erf_of_complex(z: Any, *, complement: bool) -> Any:
    left = z.real < 0.0
    a = np.where(left, -z, z)
    a = np.where(a.real > 30.0, 30.0 + a.imag * 1j, a)
    across = _SCALE + a
    series = np.polynomial.polynomial.polyval((_SCALE - a) / across, _weideman())
    rest = np.exp(-a * a) * ((2.0 * series / across + 1.0 / math.sqrt(math.pi)) / across)
    # DLMF 7.6.1 where 1 - erfc(z) would cancel
    near = np.abs(z) < 1.0
    b = np.where(near, z, 0.0)
    terms = [(-1.0) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(20)]
    inner = b * np.polynomial.polynomial.polyval(b * b, terms) * (2.0 / math.sqrt(math.pi))
    if complement:
        return np.where(near, 1.0 - inner, np.where(left, 2.0 - rest, rest))
    return np.where(near, inner, np.where(left, rest - 1.0, 1.0 - rest))


@primitive(
    elementwise=True,
    domain=(REAL,),
    rules=[lambda g, y, x: g * (2.0 / math.sqrt(math.pi) * exp(-x * x))],
    scalar=math.erf,
)
def erf(x: Any, *, out: Any = None) -> Any:
    """Error function, DLMF 7.2.1: 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    Parameters
    ----------
    x : array_like
        Any shape, real or complex.
    out : ndarray, optional
        Written to; for plain arrays only.

    Returns
    -------
    Tensor, Value, ndarray or float
        Shape of `x`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> print(round(float(tg.erf(0.5)), 6))
    0.5205
    """
    y = _erf(x, complement=False)
    return into(y, out)


@primitive(
    elementwise=True,
    domain=(REAL,),
    rules=[lambda g, y, x: g * (-2.0 / math.sqrt(math.pi) * exp(-x * x))],
    scalar=math.erfc,
)
def erfc(x: Any, *, out: Any = None) -> Any:
    """Complementary error function, DLMF 7.2.2: 1 - erf(x), without cancellation for large x.

    Parameters
    ----------
    x : array_like
        Any shape, real or complex.
    out : ndarray, optional
        Written to; for plain arrays only.

    Returns
    -------
    Tensor, Value, ndarray or float
        Shape of `x`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> print(round(float(tg.erfc(5.0)), 15))
    1.537e-12
    """
    y = _erf(x, complement=True)
    return into(y, out)


# --- sinc -----------------------------------------------------------------------------------------


def _sinc_near_zero(t: Any, order: int) -> Any:
    """Differentiate the series of sin(t)/t, the sum of (-1)^k t^2k / (2k+1)!, term by term."""
    first = (order + 1) // 2
    odd = 2 * first - order
    terms = [
        (-1.0) ** k / ((2 * k + 1) * math.factorial(2 * k - order))
        for k in range(first, first + 16 + 2 * order)
    ]
    series = np.polynomial.polynomial.polyval(t * t, terms)
    return t * series if odd else series


def _sinc_derivative(x: Any, order: int) -> Any:
    """Return the derivative of sin(pi x) / (pi x) of any order, without cancellation at 0.

    Away from 0 by ``t S_n + n S_{n-1} = sin(t + n pi/2)``, by Leibniz' rule for t S_0.
    """
    dtype = x.dtype
    x = x.astype(np.result_type(dtype, np.float64))
    t = math.pi * x
    phase = math.pi * (x - 2.0 * np.rint(0.5 * np.real(x)))  # the period taken off without error
    sine, cosine = np.sin(phase), np.cos(phase)
    near = np.abs(t) < 1.0 + 0.5 * order
    far = np.where(near, 1.0, t)
    y = sine / far
    for n in range(1, order + 1):
        y = ((sine, cosine, -sine, -cosine)[n % 4] - n * y) / far
    y = np.where(near, _sinc_near_zero(np.where(near, t, 0.0), order), y)
    return (y * math.pi**order).astype(dtype)


@primitive(
    elementwise=True,
    domain=(REAL,),
    rules=[lambda g, y, x, *, order=1: g * sinc_derivative(x, order=order + 1)],
)
def sinc_derivative(x: Any, *, order: int = 1, out: Any = None) -> Any:
    """Differentiate `sinc`, to any order."""
    x = floating(x)
    return into(_sinc_derivative(x, order), out)


@primitive(
    numpy=[np.sinc],
    elementwise=True,
    domain=(REAL,),
    rules=[lambda g, y, x: g * sinc_derivative(x)],
)
def sinc(x: Any, *, out: Any = None) -> Any:
    """Normalised sinc, ``sin(pi x) / (pi x)``, and 1 at 0."""
    x = floating(x)
    return into(np.sinc(x) if x.dtype.kind == "f" else _sinc_derivative(x, 0), out)


# --- the modified Bessel function -----------------------------------------------------------------


@primitive(
    elementwise=True,
    domain=(REAL,),
    rules=[lambda g, y, x, *, order=1: g * (x * bessel_ratio(x, order=order + 1))],
)
def bessel_ratio(x: Any, *, order: int = 1, out: Any = None) -> Any:
    """Return ``I_n(x) / x**n`` for n = `order`, whose derivative is x times the next one.

    DLMF 10.29.4; and 10.32.2 for the integral, of a periodic function, on which the trapezoidal
    rule converges geometrically.
    """
    x = floating(x)
    wide = x.astype(np.result_type(x.dtype, np.float64))
    size = np.minimum(np.abs(np.real(wide)), 2e4)  # where the result has long been infinite
    largest = np.fmax.reduce(size, axis=None, initial=0.0)  # in which a nan has no say
    intervals = 24 + order + int(6.0 * math.sqrt(largest))
    total = np.zeros_like(wide)
    for k in range(intervals):
        angle = math.pi * (k + 0.5) / intervals
        total = total + math.sin(angle) ** (2 * order) * np.exp(wide * math.cos(angle) - size)
    double_factorial = math.prod(range(1, 2 * order, 2))
    y = total * (np.exp(size) / (double_factorial * intervals))
    return into(y.astype(x.dtype), out)


@primitive(
    numpy=[np.i0],
    elementwise=True,
    domain=(REAL,),
    rules=[lambda g, y, x: g * (x * bessel_ratio(x))],
)
def i0(x: Any, *, out: Any = None) -> Any:
    """Bessel function I_0: modified, of the first kind."""
    x = floating(x)
    return into(np.i0(x) if x.dtype.kind == "f" else bessel_ratio.forward(x, order=0), out)


# --- entropy --------------------------------------------------------------------------------------


def _like(z: Any, y: Any) -> Any:
    """Give a Python number the dtype of `y`, so that `where` makes nothing wider of it."""
    return y.dtype.type(z) if hasattr(y, "dtype") and not hasattr(z, "dtype") else z


def _xlogy_factor(g: Any, y: Any, x: Any, z: Any) -> Any:
    nothing = logical_and(equal(x, 0.0), equal(z, 0.0))
    return where(nothing, 0.0, g * log(where(nothing, 1.0, _like(z, y))))


def _xlogy_argument(g: Any, y: Any, x: Any, z: Any) -> Any:
    nothing = equal(x, 0.0)
    return where(nothing, 0.0, g * (x / where(nothing, 1.0, z)))


def _xlogy_scalar(x: float, y: float) -> float:
    return 0.0 if x == 0.0 and y == y else x * math.log(y)


@primitive(
    elementwise=True,
    domain=(REAL, POSITIVE),
    rules=[_xlogy_factor, _xlogy_argument],
    scalar=_xlogy_scalar,
)
def xlogy(x: Any, y: Any, *, out: Any = None) -> Any:
    """``x log(y)``, and 0 where x is 0, whatever y (nan stays nan).

    The derivatives are log(y) and x / y. Where x is 0 the second is 0, also for y = 0; there the
    first is 0 too, a subgradient.

    Parameters
    ----------
    x, y : array_like
        Shapes that broadcast; y without unit, x in the unit of the result.
    out : ndarray, optional
        Written to; for plain arrays only.

    Returns
    -------
    Tensor, Value, ndarray or float
        The broadcast shape.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> x = tg.tensor([0.0, 2.0], requires_grad=True)
    >>> y = tg.xlogy(x, [0.0, 1.0])
    >>> y.sum().backward()
    >>> y.data, x.grad
    (array([0., 0.]), array([0., 0.]))
    """
    x, y = (v if isinstance(v, float | int) else floating(v) for v in (x, y))
    y = np.asarray(y, np.result_type(x, y))  # or `where` would make a double of a number
    nothing = np.logical_and(np.equal(x, 0.0), np.logical_not(np.isnan(y)))
    return into(np.where(nothing, 0.0, x * np.log(np.where(nothing, 1.0, y))), out)


def _entr_rule(g: Any, y: Any, x: Any) -> Any:
    return -g * (log(x) + 1.0)


def _entr_scalar(x: float) -> float:
    if x < 0.0:
        return -math.inf
    return 0.0 if x == 0.0 else -x * math.log(x)


@primitive(elementwise=True, domain=(POSITIVE,), rules=[_entr_rule], scalar=_entr_scalar)
def entr(x: Any, *, out: Any = None) -> Any:
    """Entropy's summand ``-x log(x)``: 0 at 0, -inf below.

    The derivative is ``-log(x) - 1``, which is inf at 0 and nan below.

    Parameters
    ----------
    x : array_like
        Probabilities, or other numbers >= 0, of any shape.
    out : ndarray, optional
        Written to; for plain arrays only.

    Returns
    -------
    Tensor, Value, ndarray or float
        Shape of `x`, in nats.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> p = tg.tensor([0.5, 0.5, 0.0])
    >>> print(round(tg.entr(p).sum().item(), 4))
    0.6931
    """
    x = floating(x)
    zero, below = np.equal(x, 0.0), x < 0.0
    y = -x * np.log(np.where(np.logical_or(zero, below), 1.0, x))
    return into(np.where(below, -math.inf, np.where(zero, 0.0, y)), out)


# --- significand, exponent and period -------------------------------------------------------------


@primitive(
    numpy=[np.ldexp],
    linear=1,
    rules=[lambda g, y, x, i: sum_to(ldexp(g, i), shape=np.shape(x)), None],
)
def ldexp(x: Any, i: Any, *, out: Any = None) -> Any:
    """``x 2**i``, with integers `i`."""
    return np.ldexp(x, i, out=out)


@primitive(elementwise=True, domain=((1.1, 1.9),), rules=[None])
def exponent(x: Any, *, out: Any = None) -> Any:
    """Exponent e of ``x = m 2**e`` with m in [0.5, 1); constant."""
    return into(np.frexp(x)[1], out)


@implements(np.frexp)
def _np_frexp(x: Any) -> Any:
    e = exponent(x)
    return ldexp(x, -e), e


@primitive(
    numpy=[np.unwrap],
    rules=[lambda g, y, p, *, discont=None, axis=-1, period=2.0 * math.pi: g],
)
def unwrap(
    p: Any,
    *,
    discont: float | None = None,
    axis: int = -1,
    period: float = 2.0 * math.pi,
    out: Any = None,
) -> Any:
    """Add multiples of the period, which are constants, so that there are no jumps along `axis`."""
    return into(np.unwrap(p, discont, axis, period=period), out)
