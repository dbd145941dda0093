"""Special functions, and functions of how a number is written or of its period."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_nn.primitive import POSITIVE, REAL, implements, primitive
from tinygrad_nn.rules.elementwise import equal, floating, into, log, logical_and, where
from tinygrad_nn.rules.shape import sum_to

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
