"""Elementwise primitives: one statement each, a rule per input.

``g`` is the cotangent of the result ``y``; rules of an elementwise primitive ignore broadcasting.
Formulas of the elementary functions are those of the NIST Digital Library of Mathematical
Functions, chapter 4 (https://dlmf.nist.gov/4); of the error function, section 7.2.

Rules and forwards of analytic functions hold for complex numbers too. Where NumPy's function has
no loop for these, the forward continues it from the real axis: `hypot` of complex numbers is
sqrt(a^2 + b^2), so that a step along the imaginary axis measures the derivative.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.primitive import (
    NEGATIVE,
    POSITIVE,
    REAL,
    UNIT,
    Primitive,
    implements,
    primitive,
    ufunc,
)

# ruff: noqa: E501  # a table reads best with one primitive to a line
# fmt: off

# --- selection and comparison: the other rules are written with these ---------------------------

#: NumPy's default of keywords for which None says something.
UNSET: Any = np._NoValue


def floating(x: Any) -> Any:
    """Return `x` as an array of a floating (or complex) dtype; integers become float64."""
    x = x if hasattr(x, "dtype") else np.asarray(x)
    return x.astype(float) if x.dtype.kind in "iub" else x


def into(y: Any, out: Any) -> Any:
    """Return `y`, or `out` with `y` written into it."""
    if out is None:
        return y
    np.copyto(out, y, casting="same_kind")
    return out


def _where(c: Any, a: Any, b: Any, *, out: Any = None) -> Any:
    """Take `a` where the condition `c` holds, `b` elsewhere."""
    if out is None:
        return np.where(c, a, b)
    np.copyto(out, b)
    np.copyto(out, a, where=np.asarray(c, dtype=bool))
    return out


where = primitive(name="where", elementwise=True, domain=(REAL, REAL, REAL),
                  rules=[None,
                         lambda g, y, c, a, b: where(c, g, 0.0),
                         lambda g, y, c, a, b: where(c, 0.0, g)],
                  scalar=lambda c, a, b: a if c else b)(_where)

def _fresh(function: np.ufunc) -> Any:
    """Serve `out` by a copy: NumPy 2.4.6 may write wrong results into a strided array itself."""
    def forward(x: Any, *, out: Any = None) -> Any:
        return into(function(x), out)
    return forward


def _continued(function: np.ufunc, formula: Callable[..., Any]) -> Any:
    """Continue a ufunc that has no loop for complex numbers by a formula for these."""
    def unary(x: Any, *, out: Any = None) -> Any:
        try:
            return function(x) if out is None else function(x, out)
        except TypeError:
            if not np.iscomplexobj(x):
                raise
        return into(formula(x), out)

    def binary(a: Any, b: Any, *, out: Any = None) -> Any:
        try:
            return function(a, b) if out is None else function(a, b, out)
        except TypeError:
            if not (np.iscomplexobj(a) or np.iscomplexobj(b)):
                raise
        return into(formula(a, b), out)

    return unary if function.nin == 1 else binary


_DOUBLE = np.dtype(float)


def _is_complex(x: Any) -> bool:
    """Do what np.iscomplexobj does, in a third of its time."""
    return bool(getattr(x, "dtype", _DOUBLE).kind == "c")


def _keep(c: Any, x: Any, *, out: Any = None) -> Any:
    """Return `x` where `c` holds and 0 elsewhere, also where `x` is infinite."""
    if not (type(x) is type(c) is np.ndarray and out is None and c.shape == x.shape):
        x = np.asarray(x)
        if out is None:
            return np.where(c, x, np.zeros((), x.dtype))
        np.copyto(out, x)  # in this order, since `out` may be `x`
        np.copyto(out, 0, where=np.logical_not(c))
        return out
    y = np.zeros(x.shape, x.dtype)
    np.putmask(y, c, x)  # in two thirds of np.where's time
    return y


keep = primitive(name="keep", elementwise=True, domain=(REAL, REAL),
                 rules=[None, lambda g, y, c, x: keep(c, g)],
                 scalar=lambda c, x: x if c else 0.0)(_keep)

greater       = ufunc(np.greater,       scalar=operator.gt)
greater_equal = ufunc(np.greater_equal, scalar=operator.ge)
less          = ufunc(np.less,          scalar=operator.lt)
less_equal    = ufunc(np.less_equal,    scalar=operator.le)
equal         = ufunc(np.equal,         scalar=operator.eq)
not_equal     = ufunc(np.not_equal,     scalar=operator.ne)
logical_and   = ufunc(np.logical_and, scalar=lambda a, b: bool(a and b))
logical_or    = ufunc(np.logical_or,  scalar=lambda a, b: bool(a or b))
logical_not   = ufunc(np.logical_not, scalar=lambda a: not a)
logical_xor   = ufunc(np.logical_xor)
bitwise_and   = ufunc(np.bitwise_and)
bitwise_or    = ufunc(np.bitwise_or)
bitwise_xor   = ufunc(np.bitwise_xor)
invert        = ufunc(np.invert)
left_shift    = ufunc(np.left_shift,  domain=((-3.0, 3.0), (0.0, 5.0)))
right_shift   = ufunc(np.right_shift, domain=((-99.0, 99.0), (0.0, 5.0)))
bitwise_count = ufunc(np.bitwise_count, domain=(-99.0, 99.0))
gcd           = ufunc(np.gcd, domain=(-30.0, 30.0))
lcm           = ufunc(np.lcm, domain=(-30.0, 30.0))
isnan         = ufunc(np.isnan,    scalar=math.isnan,    forward=_fresh(np.isnan))
isinf         = ufunc(np.isinf,    scalar=math.isinf,    forward=_fresh(np.isinf))
isfinite      = ufunc(np.isfinite, scalar=math.isfinite, forward=_fresh(np.isfinite))
signbit       = ufunc(np.signbit,                        forward=_fresh(np.signbit))
spacing       = ufunc(np.spacing, domain=(1.1, 1.9))
floor         = ufunc(np.floor)
ceil          = ufunc(np.ceil)
trunc         = ufunc(np.trunc)
rint          = ufunc(np.rint)
floor_divide  = ufunc(np.floor_divide, domain=POSITIVE)

# Of real numbers; that of complex numbers, which is not constant, is in complex.py.
sign = Primitive(np.sign, [None], name="sign", elementwise=True, domain=(REAL,),
                 scalar=lambda x: float((x > 0) - (x < 0)) if x == x else x)
sign.__module__ = __name__


def _round(x: Any, *, decimals: int = 0, out: Any = None) -> Any:
    """Round to so many decimals, halves to even; constant."""
    return np.round(x, decimals, out)


round_ = primitive(name="round", numpy=[np.round, np.around], elementwise=True, domain=(REAL,),
                   rules=[None])(_round)

# --- arithmetic ---------------------------------------------------------------------------------

def _negative(x: Any, *, out: Any = None) -> Any:
    # np.negative writes wrong numbers when input and `out` are both strided by 8 float64 or
    # 4 float32 elements (NumPy 2.4.6), so `out` is served by a product.
    return np.negative(x) if out is None else np.multiply(x, -1, out=out)


def _power(a: Any, b: Any, *, out: Any = None) -> Any:
    # The operator squares and takes roots where the exponent says so; np.power always goes by log.
    return a**b if out is None else np.power(a, b, out=out)


# Asked for with type(), not isinstance(): what stands for a number is not known yet.
_REAL_NUMBERS = (int, float)


def _power_base(g: Any, y: Any, a: Any, b: Any) -> Any:
    """Return g b a^(b-1), which is exactly 0 where b is 0, whatever a."""
    if issubclass(type(b), _REAL_NUMBERS):  # the common case has no masks, and never takes a logarithm
        if b == 0:
            return g * 0.0
        return g if b == 1 else g * (float(b) * a ** (b - 1))
    risky = logical_and(equal(b, 0.0), logical_or(equal(a, 0.0), isnan(a)))
    return g * (b * where(risky, 1.0, a) ** where(risky, 1.0, b - 1.0))


def _power_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    """Return g y log(a), which is 0 at a = 0 for b >= 0, the limit from the right."""
    if issubclass(type(a), _REAL_NUMBERS) and a > 0:
        return g * (y * math.log(a))
    flat = logical_and(equal(a, 0.0), b >= 0)
    if _is_complex(y):
        # Of a negative number, the logarithm is complex too, and not nan.
        a = a.astype(y.dtype) if hasattr(a, "astype") else a + 0j
    return where(flat, 0.0, g * (y * log(where(flat, 1.0, a))))


def _absolute_rule(g: Any, y: Any, x: Any) -> Any:
    """Return g times the sign of x, which of complex numbers is the transpose of |dz|."""
    if _is_complex(x):
        return g * (np.conjugate(x) / where(equal(y, 0.0), 1.0, y))
    return g * sign(x)


def _fmod_divisor(g: Any, y: Any, a: Any, b: Any) -> Any:
    return g * rint((y - a) / b)  # minus the quotient that NumPy's result was computed with


add         = ufunc(np.add,      lambda g, y, a, b: g, lambda g, y, a, b: g,     scalar=operator.add)
subtract    = ufunc(np.subtract, lambda g, y, a, b: g, lambda g, y, a, b: -g,    scalar=operator.sub)
multiply    = ufunc(np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a, scalar=operator.mul)
divide      = ufunc(np.divide,   lambda g, y, a, b: g / b,
                                 lambda g, y, a, b: -(g * y) / b,               scalar=operator.truediv, domain=(REAL, POSITIVE))
negative    = ufunc(np.negative, lambda g, y, x: -g,                            scalar=operator.neg, forward=_negative)
positive    = ufunc(np.positive, lambda g, y, x: g,                             scalar=operator.pos)
reciprocal  = ufunc(np.reciprocal, lambda g, y, x: -g * (y * y),                scalar=lambda x: 1.0 / x, domain=NEGATIVE)
square      = ufunc(np.square,   lambda g, y, x: g * (2.0 * x),                 scalar=lambda x: x * x)
power       = ufunc(np.power,    _power_base, _power_exponent,                  scalar=math.pow, domain=POSITIVE, forward=_power)
float_power = ufunc(np.float_power, _power_base, _power_exponent,               scalar=math.pow, domain=POSITIVE)
absolute    = ufunc(np.absolute, _absolute_rule,                                scalar=abs)
fabs        = ufunc(np.fabs,     lambda g, y, x: g * sign(x),                   scalar=math.fabs)
copysign    = ufunc(np.copysign, lambda g, y, a, b: g * (sign(a) * copysign(1.0, b)), None, scalar=math.copysign, domain=(NEGATIVE, POSITIVE),
                    forward=_continued(np.copysign, lambda a, b: np.copysign(1.0, np.real(a)) * np.copysign(1.0, np.real(b)) * a))
heaviside   = ufunc(np.heaviside, None, lambda g, y, x, h: keep(equal(x, 0.0), g), scalar=lambda x, h: h if x == 0 else x if x != x else float(x > 0),
                    forward=_continued(np.heaviside, lambda x, h: np.where(np.equal(x, 0.0), h, np.heaviside(np.real(x), 0.0))))
nextafter   = ufunc(np.nextafter, lambda g, y, a, b: g, None,                   scalar=math.nextafter, domain=(UNIT, (2.0, 3.0)))
remainder   = ufunc(np.remainder, lambda g, y, a, b: g, lambda g, y, a, b: -g * floor_divide(a, b), domain=((0.65, 0.75), (0.26, 0.3)),
                    forward=_continued(np.remainder, lambda a, b: a - b * np.floor_divide(np.real(a), np.real(b))))
fmod        = ufunc(np.fmod, lambda g, y, a, b: g, _fmod_divisor,               scalar=math.fmod, domain=((0.65, 0.75), (0.26, 0.3)),
                    forward=_continued(np.fmod, lambda a, b: a - b * np.rint((np.real(a) - np.fmod(np.real(a), np.real(b))) / np.real(b))))

# --- exponentials and logarithms ----------------------------------------------------------------

def below(a: Any, y: Any) -> Any:
    """Return a - y for y >= a, and 0 where both are plus infinity."""
    infinite = equal(a, math.inf)
    return where(infinite, 0.0, a) - where(infinite, 0.0, y)


def _logaddexp(a: float, b: float) -> float:
    top = max(a, b)
    if a != a or b != b:
        return math.nan
    return top if math.isinf(top) else top + math.log1p(math.exp(-abs(a - b)))


def _logaddexp_continued(a: Any, b: Any, scale: float = 1.0) -> Any:
    """Return log(exp(a s) + exp(b s)) / s of complex numbers."""
    first = np.real(a) >= np.real(b)
    top, gap = np.where(first, a, b), np.where(first, b - a, a - b)
    return top + np.log1p(np.exp(gap * scale)) * (1.0 / scale)


def _cbrt_continued(z: Any) -> Any:
    left = np.real(z) < 0.0  # where the cube root of real numbers is not the principal one
    right = np.where(left, -z, z)
    root = np.cbrt(np.abs(z)) * np.exp(np.angle(right) / 3.0 * 1j)
    return np.where(left, -root, root)


sqrt      = ufunc(np.sqrt,  lambda g, y, x: 0.5 * g / y,                        scalar=math.sqrt,  domain=POSITIVE)
cbrt      = ufunc(np.cbrt,  lambda g, y, x: g / (3.0 * y * y),                  scalar=math.cbrt,  domain=POSITIVE, forward=_continued(np.cbrt, _cbrt_continued))
exp       = ufunc(np.exp,   lambda g, y, x: g * y,                              scalar=math.exp)
exp2      = ufunc(np.exp2,  lambda g, y, x: g * (y * math.log(2.0)),            scalar=math.exp2)
expm1     = ufunc(np.expm1, lambda g, y, x: g * exp(x),                         scalar=math.expm1)  # not y + 1: exact in the tail
log       = ufunc(np.log,   lambda g, y, x: g / x,                              scalar=math.log,   domain=POSITIVE)
log2      = ufunc(np.log2,  lambda g, y, x: g / (x * math.log(2.0)),            scalar=math.log2,  domain=POSITIVE)
log10     = ufunc(np.log10, lambda g, y, x: g / (x * math.log(10.0)),           scalar=math.log10, domain=POSITIVE)
log1p     = ufunc(np.log1p, lambda g, y, x: g / (1.0 + x),                      scalar=math.log1p, domain=UNIT)
logaddexp = ufunc(np.logaddexp,   lambda g, y, a, b: g * exp(below(a, y)),  lambda g, y, a, b: g * exp(below(b, y)), scalar=_logaddexp,
                  forward=_continued(np.logaddexp, _logaddexp_continued))
logaddexp2 = ufunc(np.logaddexp2, lambda g, y, a, b: g * exp2(below(a, y)), lambda g, y, a, b: g * exp2(below(b, y)),
                  forward=_continued(np.logaddexp2, lambda a, b: _logaddexp_continued(a, b, math.log(2.0))))

# --- trigonometry and hyperbolic functions -------------------------------------------------------

def _arctan2_rule(g: Any, num: Any, a: Any, b: Any) -> Any:
    """Return g num / (a^2 + b^2), and 0 at the origin; nothing is squared that could overflow."""
    r = hypot(a, b)
    origin = equal(r, 0.0)
    r = where(origin, 1.0, r)
    return where(origin, 0.0, g * (num / r) / r)


def _hypot_rule(g: Any, y: Any, x: Any) -> Any:
    """Return g x / y, and the subgradient 0 at the origin."""
    origin = equal(y, 0.0)
    return where(origin, 0.0, g * (x / where(origin, 1.0, y)))


def _hypot_continued(a: Any, b: Any) -> Any:
    top = np.maximum(np.abs(a), np.abs(b))
    top = np.where(np.equal(top, 0.0), 1.0, top)  # nothing is squared that could overflow
    return top * np.sqrt(np.square(a / top) + np.square(b / top))


def _arctan2_continued(a: Any, b: Any) -> Any:
    """Add to the angle of the real parts the one that the imaginary parts turn it by."""
    r = np.hypot(np.real(a), np.real(b))
    origin = np.equal(r, 0.0)
    r = np.where(origin, 1.0, r)
    sine, cosine = np.real(a) / r, np.where(origin, 1.0, np.real(b) / r)
    along = b * cosine + a * sine
    across = (np.imag(a) * cosine - np.imag(b) * sine) * 1j
    turn = np.arctan(across / np.where(np.equal(along, 0.0), 1.0, along))
    return np.arctan2(np.real(a), np.real(b)) + turn


sin     = ufunc(np.sin,     lambda g, y, x: g * cos(x),                         scalar=math.sin)
cos     = ufunc(np.cos,     lambda g, y, x: -g * sin(x),                        scalar=math.cos)
tan     = ufunc(np.tan,     lambda g, y, x: g * (1.0 + y * y),                  scalar=math.tan, domain=UNIT)
arcsin  = ufunc(np.arcsin,  lambda g, y, x: g / sqrt((1.0 - x) * (1.0 + x)),    scalar=math.asin, domain=UNIT)
arccos  = ufunc(np.arccos,  lambda g, y, x: -g / sqrt((1.0 - x) * (1.0 + x)),   scalar=math.acos, domain=UNIT)
arctan  = ufunc(np.arctan,  lambda g, y, x: g / (1.0 + x * x),                  scalar=math.atan)
arctan2 = ufunc(np.arctan2, lambda g, y, a, b: _arctan2_rule(g, b, a, b),
                            lambda g, y, a, b: _arctan2_rule(-g, a, a, b),      scalar=math.atan2, domain=POSITIVE, forward=_continued(np.arctan2, _arctan2_continued))
hypot   = ufunc(np.hypot,   lambda g, y, a, b: _hypot_rule(g, y, a),
                            lambda g, y, a, b: _hypot_rule(g, y, b),            scalar=math.hypot, domain=POSITIVE, forward=_continued(np.hypot, _hypot_continued))
sinh    = ufunc(np.sinh,    lambda g, y, x: g * cosh(x),                        scalar=math.sinh)
cosh    = ufunc(np.cosh,    lambda g, y, x: g * sinh(x),                        scalar=math.cosh)
tanh    = ufunc(np.tanh,    lambda g, y, x: g * (1.0 - y * y),                  scalar=math.tanh)
arcsinh = ufunc(np.arcsinh, lambda g, y, x: g / hypot(1.0, x),                      scalar=math.asinh)
arccosh = ufunc(np.arccosh, lambda g, y, x: g / (sqrt(x - 1.0) * sqrt(x + 1.0)), scalar=math.acosh, domain=(1.2, 3.0))
arctanh = ufunc(np.arctanh, lambda g, y, x: g / ((1.0 - x) * (1.0 + x)),        scalar=math.atanh, domain=UNIT)
deg2rad = ufunc(np.deg2rad, lambda g, y, x: g * (math.pi / 180.0),              scalar=math.radians, forward=_continued(np.deg2rad, lambda z: z * (math.pi / 180.0)))
rad2deg = ufunc(np.rad2deg, lambda g, y, x: g * (180.0 / math.pi),              scalar=math.degrees, forward=_continued(np.rad2deg, lambda z: z * (180.0 / math.pi)))
radians = ufunc(np.radians, lambda g, y, x: g * (math.pi / 180.0),              scalar=math.radians, forward=_continued(np.radians, lambda z: z * (math.pi / 180.0)))
degrees = ufunc(np.degrees, lambda g, y, x: g * (180.0 / math.pi),              scalar=math.degrees, forward=_continued(np.degrees, lambda z: z * (180.0 / math.pi)))

# --- choosing between inputs; at a tie each input gets half ---------------------------------------

def _chosen(g: Any, lost: Any, tie: Any) -> Any:
    return where(lost, 0.0, where(tie, 0.5 * g, g))


maximum = ufunc(np.maximum, lambda g, y, a, b: _chosen(g, a < b, equal(a, b)),
                            lambda g, y, a, b: _chosen(g, b < a, equal(a, b)), scalar=lambda a, b: a if a > b or a != a else b)
minimum = ufunc(np.minimum, lambda g, y, a, b: _chosen(g, a > b, equal(a, b)),
                            lambda g, y, a, b: _chosen(g, b > a, equal(a, b)), scalar=lambda a, b: a if a < b or a != a else b)
fmax    = ufunc(np.fmax,    lambda g, y, a, b: _chosen(g, logical_or(a < b, isnan(a)), equal(a, b)),
                            lambda g, y, a, b: _chosen(g, logical_or(b < a, isnan(b)), equal(a, b)))
fmin    = ufunc(np.fmin,    lambda g, y, a, b: _chosen(g, logical_or(a > b, isnan(a)), equal(a, b)),
                            lambda g, y, a, b: _chosen(g, logical_or(b > a, isnan(b)), equal(a, b)))
# fmt: on


def _clip(x: Any, lo: Any, hi: Any, *, out: Any = None) -> Any:
    """Limit `x` to [lo, hi]; derivative 1 at the bounds, 0 outside, and 0 where lo > hi."""
    return np.clip(x, lo, hi, out=out)


def _inside(x: Any, lo: Any, hi: Any) -> Any:
    return logical_and(x >= lo, logical_and(x <= hi, less_equal(lo, hi)))


def _clip_scalar(x: float, lo: float, hi: float) -> float:
    return float(np.clip(x, lo, hi))


clip = Primitive(
    _clip,
    [
        lambda g, y, x, lo, hi: where(_inside(x, lo, hi), g, 0.0),
        lambda g, y, x, lo, hi: where(logical_and(x < lo, less_equal(lo, hi)), g, 0.0),
        lambda g, y, x, lo, hi: where(logical_or(x > hi, greater(lo, hi)), g, 0.0),
    ],
    name="clip",
    scalar=_clip_scalar,
    elementwise=True,
    domain=(REAL, NEGATIVE, POSITIVE),
)


# The method of arrays calls a ufunc that has no public name.
clip_ufunc = getattr(np, "_core").umath.clip  # noqa: B009  # hidden from the type checker


def _extremes(dtype: Any) -> tuple[Any, Any]:
    """Return the least and the greatest number of a dtype."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return (False, True) if dtype.kind == "b" else (-math.inf, math.inf)


@implements(np.clip, clip_ufunc)
def _np_clip(
    a: Any,
    a_min: Any = UNSET,
    a_max: Any = UNSET,
    out: Any = None,
    *,
    min: Any = UNSET,
    max: Any = UNSET,
) -> Any:
    a = a if hasattr(a, "dtype") else np.asarray(a)
    if a_min is UNSET and a_max is UNSET:
        lo, hi = None if min is UNSET else min, None if max is UNSET else max
    elif a_min is UNSET or a_max is UNSET:
        raise TypeError("clip takes a_min and a_max together (None for no bound), or min and max")
    elif min is not UNSET or max is not UNSET:
        raise ValueError("clip takes either a_min and a_max, or min and max, which mean the same")
    else:
        lo, hi = a_min, a_max
    if lo is None or hi is None:
        least, greatest = _extremes(a.dtype)
        lo, hi = least if lo is None else lo, greatest if hi is None else hi
    return clip(a, lo, hi) if out is None else clip(a, lo, hi, out=out)


@implements(np.where)
def _np_where(condition: Any, *branches: Any) -> Any:
    return where(condition, *branches) if branches else np.nonzero(condition)


# --- parts of numbers ------------------------------------------------------------------------------


@primitive(elementwise=True, domain=((0.2, 0.8),), rules=[lambda g, y, x: g])
def fractional(x: Any, *, out: Any = None) -> Any:
    """Fractional part, of the sign of `x`."""
    y = x - np.trunc(np.real(x)) if np.iscomplexobj(x) else np.modf(x)[0]
    return into(y, out)


@implements(np.modf)
def _np_modf(x: Any) -> Any:
    part, whole = fractional(x), trunc(x)
    exact = getattr(whole, "dtype", _DOUBLE).kind in "iub"  # np.trunc keeps integers
    return part, whole.astype(part.dtype) if exact else whole


@implements(np.divmod)
def _np_divmod(a: Any, b: Any) -> Any:
    return floor_divide(a, b), remainder(a, b)


@implements(np.fix)
def _np_fix(x: Any, out: Any = None) -> Any:
    return trunc(x)


@implements(np.isposinf)
def _np_isposinf(x: Any, out: Any = None) -> Any:
    return logical_and(isinf(x), logical_not(signbit(x)))


@implements(np.isneginf)
def _np_isneginf(x: Any, out: Any = None) -> Any:
    return logical_and(isinf(x), signbit(x))


@implements(np.nan_to_num)
def _np_nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Replace nan and infinities by constants, whose derivative in `x` is 0."""
    if not copy:
        raise NotDifferentiableError(
            "np.nan_to_num(tensor, copy=False) would write into the tensor; leave `copy` out and "
            "use the result"
        )
    dtype = getattr(x, "dtype", _DOUBLE)
    if dtype.kind == "c":
        if any(isinstance(v, float) and math.isinf(v) for v in (nan, posinf, neginf)):
            raise NotDifferentiableError(
                "np.nan_to_num(complex tensor) takes finite replacements only; use np.where"
            )
        real, imag = (
            _np_nan_to_num(part, True, nan, posinf, neginf) for part in (np.real(x), np.imag(x))
        )
        return real + imag * 1j
    if dtype.kind != "f":
        return x
    largest = float(np.finfo(dtype).max)
    y = where(isnan(x), nan, x)
    y = where(equal(x, math.inf), largest if posinf is None else posinf, y)
    return where(equal(x, -math.inf), -largest if neginf is None else neginf, y)


# --- activations that deserve a node of their own --------------------------------------------------


@primitive(
    elementwise=True,
    domain=(REAL,),
    rules=[lambda g, y, x: keep(x > 0, g)],
    scalar=lambda x: x if x >= 0 or x != x else 0.0,
)
def relu(x: Any, *, out: Any = None) -> Any:
    """Rectified linear unit, ``max(x, 0)``; nan stays nan.

    The derivative is 1 for x > 0 and 0 elsewhere: at the corner, 0.0 or -0.0, the subgradient 0
    is taken.

    Parameters
    ----------
    x : array_like
        Any shape.
    out : ndarray, optional
        Written to; for plain arrays only.

    Returns
    -------
    Tensor, Value, ndarray or float
        Shape of `x`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> x = tg.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    >>> y = tg.relu(x)
    >>> y.sum().backward()
    >>> y.data, x.grad
    (array([0., 0., 3.]), array([0., 0., 1.]))
    """
    # The same numbers as np.maximum(x, 0.0), in a third of its time.
    return clip_ufunc(x, 0.0, math.inf, out=out)


def _sigmoid_scalar(x: float) -> float:
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


@primitive(
    elementwise=True,
    domain=(REAL,),
    rules=[lambda g, y, x: g * (y * (1.0 - y))],
    scalar=_sigmoid_scalar,
)
def sigmoid(x: Any, *, out: Any = None) -> Any:
    """Logistic function ``1 / (1 + exp(-x))``, exact in both tails and free of overflow.

    The derivative is ``y (1 - y)``, with y the result.

    Parameters
    ----------
    x : array_like
        Any shape.
    out : ndarray, optional
        Written to; for plain arrays only.

    Returns
    -------
    Tensor, Value, ndarray or float
        Shape of `x`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.sigmoid(tg.tensor([-1000.0, 0.0, 1000.0]))
    tensor([0. , 0.5, 1. ])
    """
    x = floating(x)
    if x.dtype.kind == "c":
        left = x.real < 0.0
        e = np.exp(np.where(left, x, -x))
        return np.divide(np.where(left, e, 1.0), 1.0 + e, out=out)
    e = np.exp(-np.abs(x))
    return np.divide(np.where(np.greater_equal(x, 0), 1.0, e), 1.0 + e, out=out)


@primitive(
    variadic=True,
    elementwise=True,
    rules=[lambda i, g, y, *xs: g],
    scalar=lambda *xs: reduce(operator.add, xs),  # not sum(), which compensates since 3.12
)
def add_n(*xs: Any, out: Any = None) -> Any:
    """Sum of any number of arrays, left to right: one node where ``+`` would make a chain."""
    total = np.array(xs[0], copy=True)
    for x in xs[1:]:
        total = total + x
    return into(total, out)


# --- likelihood -----------------------------------------------------------------------------------


def _clamped_log(x: Any) -> Any:
    zero = equal(x, 0.0)
    return where(zero, -100.0, maximum(log(where(zero, 1.0, x)), -100.0))


def _bce_probability(g: Any, y: Any, p: Any, t: Any) -> Any:
    # Half precision has no 1e-12: its smallest number takes the place.
    least = max(1e-12, float(np.finfo(getattr(p, "dtype", float)).tiny))
    return g * (p - t) / maximum(p * (1.0 - p), least)


def _bce_target(g: Any, y: Any, p: Any, t: Any) -> Any:
    return g * (_clamped_log(1.0 - p) - _clamped_log(p))


@primitive(
    elementwise=True,
    domain=((0.1, 0.9), (0.1, 0.9)),
    rules=[_bce_probability, _bce_target],
)
def cross_entropy_of_probability(p: Any, t: Any, *, out: Any = None) -> Any:
    """Return -t log p - (1 - t) log(1 - p), logarithms limited to -100 from below."""
    with np.errstate(divide="ignore"):  # log(0) = -inf is what the limit is for
        yes, no = np.maximum(np.log(p), -100.0), np.maximum(np.log1p(np.negative(p)), -100.0)
    return np.multiply(t * yes + (1.0 - t) * no, -1.0, out=out)
