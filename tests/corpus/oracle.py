"""Derivatives from values alone, without the engine: what the rules of the corpus are held against.

By a complex step where the function takes complex numbers, exact to rounding (W. Squire and
G. Trapp, SIAM Review 40, 1998, doi:10.1137/S003614459631241X); else by extrapolated differences in
the widest floating type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .case import Case

__all__ = ["jacobian", "one_sided"]

Array = np.ndarray

#: Steps of the differences, relative to the input; each is half of the one before.
LARGEST, HALVINGS = 2.0**-5, 7


def jacobian(case: Case) -> list[Array]:
    """Derivatives of the outputs, flat, in the elements of each floating input: (m, n) each."""
    point = [x.astype(np.float64) for x in case.point]
    by = _complex_step if _takes_complex(case, point) else _differences
    return [by(case, point, k) for k in range(len(point))]


def _value(case: Case, point: Sequence[Array]) -> Array:
    return np.ravel(case.forward(*case.at(point)))


def _columns(x: Array, column: Callable[[Array], Array], m: int) -> Array:
    """Put ``column(direction)`` side by side, one for each element."""
    units = np.eye(x.size).reshape(x.size, *x.shape)
    return np.array([column(u) for u in units]).reshape(x.size, m).T


def _takes_complex(case: Case, point: Sequence[Array]) -> bool:
    """Whether values along an imaginary direction are those of an analytic function."""
    try:
        moved = _value(case, [x + 1e-20j for x in point])
    except (TypeError, ValueError):
        return False
    return moved.dtype.kind == "c" and bool(
        np.allclose(moved.real, _value(case, point), rtol=1e-12)
    )


def _complex_step(case: Case, point: Sequence[Array], k: int) -> Array:
    def column(u: Array) -> Array:
        moved: list[Any] = list(point)
        moved[k] = point[k] + 1e-30j * u
        return _value(case, moved).imag / 1e-30

    return _columns(point[k], column, _value(case, point).size)


def _differences(case: Case, point: Sequence[Array], k: int) -> Array:
    wide = [x.astype(np.longdouble) for x in point]

    def central(u: Array, t: float) -> Array:
        h = t * np.maximum(np.abs(wide[k]), 1e-3) * u
        up, down = list(wide), list(wide)
        up[k], down[k] = wide[k] + h, wide[k] - h
        return (_value(case, up) - _value(case, down)) / (2.0 * h.sum())

    def column(u: Array) -> Array:
        return _extrapolated(lambda t: central(u, t))

    return _columns(point[k], column, _value(case, point).size)


def _extrapolated(slope: Callable[[float], Array]) -> Array:
    """Richardson's limit of ``slope(t)`` at t = 0, from the entry whose neighbours agree best."""
    best, least, row = None, None, []
    for level in range(HALVINGS * 3):
        new = [slope(LARGEST * 2.0**-level)]
        for p, old in enumerate(row, 1):
            new.append(new[-1] + (new[-1] - old) / (4.0**p - 1.0))
            apart = np.abs(new[-1] - old)
            if least is None:
                best, least = new[-1], apart
            else:
                best, least = np.where(apart < least, new[-1], best), np.minimum(apart, least)
        row = new[:HALVINGS]
    return np.asarray(best, np.float64)


def one_sided(case: Case, g: Array) -> tuple[Array, Array]:
    """Slopes of ``sum(g y)`` below and above the point, along each element of all inputs."""
    point = case.point

    def slopes(h: float) -> Array:
        found = []
        for k, x in enumerate(point):
            for u in np.eye(x.size).reshape(x.size, *x.shape):
                near, far = list(point), list(point)
                near[k], far[k] = x + h * u, x + 2.0 * h * u
                y0, y1, y2 = (_value(case, p) @ np.ravel(g) for p in (point, near, far))
                found.append((4.0 * y1 - 3.0 * y0 - y2) / (2.0 * h))
        return np.array(found)

    return slopes(-1e-5), slopes(1e-5)
