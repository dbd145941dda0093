"""Samples for tinygrad_nn/rules/elementwise.py and special.py."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

from tinygrad_nn.rules.elementwise import clip_ufunc

from .rows import Call, Row, call, r, row

_ints = np.array

_MASK = np.array([[True, False, True], [False, False, True]])

#: Rows of primitives that are not elementwise, or have keywords.
ROWS: list[Row] = [
    row("round", (2, 3), decimals=1),
    row("round", (3,), decimals=-1),
    row("sinc_derivative", (2, 3), order=2),
    row("sinc_derivative", (3,), order=5),
    row("bessel_ratio", (2, 3), order=2),
    row("ldexp", (2, 3), _ints([[1, -2, 3], [0, 4, -1]])),
    row("ldexp", (3,), _ints([[1, -2, 3], [0, 4, -1]])),
    row("ldexp", (2, 1), _ints([1, -2, 3])),
    row("ldexp", (2, 3), _ints(-2)),
    row("ldexp", (), _ints(3)),
    row("ldexp", (0, 3), _ints([1, 2, 3])),
    row("unwrap", (2, 6)),
    row("unwrap", (4, 2), axis=0),
    row("unwrap", (2, 6), axis=0, discont=4.0),
    row("unwrap", (6,), period=2.0),
    row("unwrap", (1,)),
    row("unwrap", (0,)),
]

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {
    "copysign": [
        (np.array([1.5, -0.7, 2.0]), np.array([-1.0, -2.0, 0.5])),
        (np.array([1.5, -0.7]), -3),
    ],
    "heaviside": [(np.array([0, 1, -1, 0]), np.array([0.3, 0.4, 0.5, 0.6])), (0, np.array(0.5))],
    "fmod": [
        (np.array([-1.3, 5.2, 0.7]), np.array([0.9, -1.1, -2.0])),
        (np.array([2.0, 7.5]), np.array([0.3, 1.0])),
    ],
    "round": [(np.array([0.4, 1.6, -2.4]),)],
    "fractional": [(np.array([-1.7, 2.3, 0.5]),)],
    "exponent": [(np.array([-5.0, 0.3, 100.0]),)],
    "sinc": [(np.array([-0.3, 1e-3, 0.0, 0.31, 2.5]),)],
    "xlogy": [(np.array([2.0, -1.0]), np.array([30.0, 0.01])), (2, np.array([0.5, 1.0]))],
    "i0": [(np.array([-5.0, 0.0, 2.0]),)],
    "entr": [(np.array([0.01, 1.0, 20.0]),)],
    "arcsin": [(np.array([-0.99, 0.95]),)],
    "logaddexp": [(np.array([3.0, -30.0]), np.array([-20.0, -1.0]))],
    "logaddexp2": [(np.array([3.0, -30.0]), np.array([-20.0, -1.0]))],
}


def _each(f: Callable[..., Any]) -> Callable[..., Any]:
    return np.vectorize(f, otypes=[float])


def _sinc_derivative(x: Any, *, order: int = 1) -> Any:
    with mpmath.workdps(40):
        return _each(lambda v: mpmath.diff(mpmath.sincpi, mpmath.mpf(v), order))(x)


def _bessel_ratio(x: Any, *, order: int = 1) -> Any:
    return _each(lambda v: mpmath.besseli(order, v) / mpmath.mpf(v) ** order)(x)


#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {
    "sign": np.sign,
    "fractional": _each(lambda x: math.fmod(x, 1.0)),
    "exponent": lambda x: np.floor(np.log2(np.abs(x))).astype(int) + 1,
    "bessel_ratio": _bessel_ratio,
    "sinc_derivative": _sinc_derivative,
    "xlogy": _each(lambda x, y: x * mpmath.log(y) if x else 0.0),
    "entr": _each(lambda x: -x * mpmath.log(x)),
}

_BETWEEN = (0.2, 0.8)  # where a small step changes no integer part

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    call(np.clip, r(2, 3), -1.0, 1.0),
    call(np.clip, r(2, 3), None, r(3)),
    call(clip_ufunc, r(2, 3), -1.0, r(3)),
    call(np.clip, r(2, 3), min=r(2, 1), max=5.0),
    call(np.where, _MASK, r(2, 3), r(3)),
    call(np.where, _MASK[0], r(), 0.5),
    call(np.where, _MASK),
    call(np.modf, r(2, 3, domain=_BETWEEN)),
    call(np.modf, r(domain=(-1.8, -1.2))),
    call(np.modf, r(0)),
    call(np.frexp, r(2, 3, domain=(1.1, 1.9))),
    call(np.frexp, r(3, domain=(-0.24, -0.13))),
    call(np.divmod, r(2, 3, domain=(0.65, 0.75)), r(3, domain=(0.26, 0.3))),
    call(np.divmod, r(3, domain=(-0.75, -0.65)), 0.3),
    call(np.divmod, 2.5, r(3, domain=(0.7, 0.8))),
    call(np.fix, r(2, 3)),
    call(np.isposinf, r(3)),
    call(np.isneginf, r(3)),
    call(np.nan_to_num, r(2, 3)),
    call(np.nan_to_num, r(2), nan=1.0, posinf=2.0, neginf=-3.0),
]
