"""Samples for tinygrad_nn/rules/signal.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_nn.primitive import NEGATIVE, POSITIVE

from .rows import Call, Row, call, r, row

_MODES = ("full", "same", "valid")
_LENGTHS = ((5, 3), (3, 5), (4, 2), (2, 4), (4, 4), (1, 3), (3, 1), (1, 1))

_KNOTS = np.array([-2.0, -0.5, 0.1, 1.3, 2.1])

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = [
    *[row("convolve", (n,), (m,), mode=mode) for n, m in _LENGTHS for mode in _MODES],
    row("convolve", (6,), (4,)),
    row("interval", (3, 4), _KNOTS),
    row("interval", (), _KNOTS[:2]),
    row("interval", (0,), _KNOTS[:1]),
    row("interval", np.array([-3.0, -2.0, 0.1, 0.2, 2.0, 2.1, 5.0]), _KNOTS),
]

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}


def _convolve(a: np.ndarray, v: np.ndarray, *, mode: str = "full") -> np.ndarray:
    y = np.zeros(len(a) + len(v) - 1)
    for j, x in enumerate(v):
        y[j : j + len(a)] += x * a
    n, m = max(len(a), len(v)), min(len(a), len(v))
    start = {"full": 0, "same": (m - 1) // 2, "valid": m - 1}[mode]
    return y[start : start + {"full": n + m - 1, "same": n, "valid": n - m + 1}[mode]]


def _interval(x: np.ndarray, xp: np.ndarray) -> np.ndarray:
    starts = xp[:-1] if len(xp) > 1 else xp
    return np.maximum((np.asarray(x)[..., None] >= starts).sum(axis=-1) - 1, 0)


#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {
    "convolve": _convolve,
    "interval": _interval,
}

_X = np.array([-2.7, -1.1, 0.4, 1.9, 2.9])
_windows = np.lib.stride_tricks.sliding_window_view


def _at(*points: float) -> Callable[..., Any]:
    """Interpolate at points that differentiation moves a little, knots and values given."""
    return lambda dx, xp, fp, **keywords: np.interp(
        np.array(points) + 0.01 * dx, xp, fp, **keywords
    )


#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    *[
        call(f, r(n), r(m), mode)
        for f in (np.convolve, np.correlate)
        for n, m in _LENGTHS
        for mode in _MODES
    ],
    call(np.convolve, r(5), [1.0, 0.0, -1.0]),
    call(np.convolve, np.array([1.0, 2.0, -1.0, 0.5]), r(2), mode="valid"),
    call(np.convolve, r(), r(3)),
    call(np.correlate, r(5), r(3)),
    *[
        call(
            lambda a, b, c, d, m=mode: np.correlate(a + 1j * b, c + 1j * d, m),
            *[r(n)] * 2,
            *[r(m)] * 2,
        )
        for n, m in ((4, 3), (2, 5))
        for mode in _MODES
    ],
    call(lambda a, b, c: np.convolve(a, b + 1j * c, "same"), r(4), r(3), r(3)),
    # windows
    call(_windows, r(5), 3),
    call(_windows, r(3, 4), (2, 3)),
    call(_windows, r(3, 4), 2, axis=-1),
    call(_windows, r(2, 3, 4), (2, 2), axis=(2, 0)),
    call(_windows, r(5), (2, 2), (0, 0)),
    # interpolation
    call(np.interp, _X, _KNOTS, r(5)),
    call(np.interp, _X, _KNOTS, r(5), left=0.5, right=-1.0),
    call(np.interp, r(2, 3), _KNOTS, r(5)),
    call(np.interp, r(), _KNOTS, [1.0, 3.0, 2.0, 0.0, 5.0]),
    call(np.interp, r(4), [0.3], r(1)),
    call(np.interp, r(0), _KNOTS, r(5)),
    call(np.interp, _KNOTS, _KNOTS, r(5)),
    call(np.interp, [0.5, 1.0, 2.0], [0.0, 1.0, 1.0], r(3)),
    call(lambda x, xp, fp: np.interp(x, np.cumsum(xp), fp), r(4), r(3, domain=POSITIVE), r(3)),
    call(np.interp, _X, _KNOTS, r(5), r(), r()),
    call(np.interp, _X, [0.3, 1.2, -0.4], r(3), period=2.0),
    call(np.interp, r(4), [0.3, 1.2, -0.4], r(3), period=-2.5),
    call(_at(-1.0, 0.7, 4.5), r(3), _KNOTS, r(5), period=5.5),
    call(lambda x, y: np.interp(_X, _KNOTS, x + 1j * y), r(5), r(5)),
    # numbers at even distances
    call(np.linspace, r(), r(), 5),
    call(np.linspace, r(), 2.5),
    call(np.linspace, 1, r(), num=4, endpoint=False),
    call(np.linspace, r(), r(), 1),
    call(np.linspace, r(), r(), 1, endpoint=False, retstep=True),
    call(np.linspace, r(), r(), 0),
    call(np.linspace, r(3), r(2, 1), 4, axis=1),
    call(np.linspace, r(2), r(2), 3, axis=-1, retstep=True),
    call(np.linspace, r(2), [1.0, 2.0], 3, dtype=np.longdouble),
    call(np.linspace, r(), r(), 4, dtype=int),
    call(lambda x, y: np.linspace(x + 1j * y, 2.0 - 1j, 4), r(), r()),
    call(np.logspace, r(), r(), 4),
    call(np.logspace, r(3), 0.5, 3, endpoint=False, base=2.0, axis=1),
    call(np.logspace, r(), r(), 4, base=r(2, domain=POSITIVE), axis=-1),
    call(np.logspace, r(), 1.0, 3, True, 3, np.longdouble),
    call(np.geomspace, r(domain=POSITIVE), r(domain=POSITIVE), 5),
    call(np.geomspace, r(2, domain=NEGATIVE), r(1, domain=NEGATIVE), 4, axis=-1),
    call(np.geomspace, r(domain=POSITIVE), 50.0, 4, endpoint=False),
    call(np.geomspace, 2.0, r(domain=POSITIVE), 1),
    call(np.geomspace, r(domain=POSITIVE), 3.0, 3, dtype=np.longdouble),
    call(
        lambda x, y: np.geomspace(x + 1j * y, 1.5 - 0.5j, 4), r(domain=POSITIVE), r(domain=POSITIVE)
    ),
    # polynomials
    call(np.polyval, r(4), r(2, 3)),
    call(np.polyval, [2.0, -1.0, 0.5], r()),
    call(np.polyval, r(3), 1.5),
    call(np.polyval, r(0), r(2)),
    call(np.polyval, np.poly1d([1.0, -2.0, 3.0]), r(2)),
    *[call(f, r(n), r(m)) for f in (np.polyadd, np.polysub) for n, m in ((3, 3), (4, 2), (1, 3))],
    call(np.polyadd, r(), [1.0, 2.0]),
    call(np.polymul, r(3), r(2)),
    call(np.polymul, r(1), r(4)),
    call(np.polyder, r(4)),
    call(np.polyder, r(4), 2),
    call(np.polyder, r(2), m=3),
    call(np.polyder, r(2), 0),
    call(np.polyint, r(3)),
    call(np.polyint, r(2), 3),
    call(np.polyint, r(3), 2, r(2)),
    call(np.polyint, r(1), m=2, k=[1.5]),
    call(np.vander, r(3)),
    call(np.vander, r(3), 4, True),
    call(np.vander, r(2), N=0),
    # functions along axes
    call(np.apply_along_axis, lambda x: x * x, 0, r(3, 2)),
    call(np.apply_along_axis, lambda x: np.sum(x**3), -1, r(3, 2)),
    call(np.apply_along_axis, lambda x, k: x[:, None] * x * k, 1, r(2, 3, 2), 2.0),
    call(np.apply_along_axis, lambda x, *, k: np.sum(np.sin(x * k)), 0, r(3), k=2.0),
    call(np.apply_over_axes, np.sum, r(2, 3, 4), (0, -1)),
    call(np.apply_over_axes, lambda x, axis: np.max(x, axis=axis, keepdims=True), r(2, 3), 1),
]
