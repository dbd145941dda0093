"""Functions computed in single precision."""

from __future__ import annotations

from functools import partial

import numpy as np

from .case import Case
from .reduction import _logsumexp, _softmax, _softmax_rule, _sum

_rng = np.random.default_rng(6)
_single = partial(Case, group="float32")


def _draw(*shape):
    return _rng.standard_normal(shape).astype(np.float32)


X, M, A, B, T = _draw(4), _draw(3, 4), _draw(3, 4), _draw(4, 2), _draw(3, 2)

CASES = [
    _single("float32 cubes", lambda x: np.sum(x**3), [lambda g, y, x: 3.0 * g * x * x], (X,)),
    _single("float32 tanh", lambda x: np.tanh(x),
            [lambda g, y, x: g * (1.0 - np.tanh(x) ** 2)], (M,)),
    _single("float32 sin x times x", lambda x: np.sin(x) * x,
            [lambda g, y, x: g * (np.cos(x) * x + np.sin(x))], (X,)),
    _single("float32 softmax", _softmax, [_softmax_rule], (M,)),
    _single("float32 logsumexp", _logsumexp,
            [lambda g, y, x: g[:, None] * np.exp(x) / _sum(np.exp(x))], (M,)),
    _single("float32 matrix product", lambda a, b: a @ b,
            [lambda g, y, a, b: g @ b.T, lambda g, y, a, b: a.T @ g], (A, B)),
    _single("float32 squared error", lambda a, b, t: np.mean((a @ b - t) ** 2),
            [lambda g, y, a, b, t: 2.0 * g * (a @ b - t) @ b.T / t.size,
             lambda g, y, a, b, t: 2.0 * g * a.T @ (a @ b - t) / t.size,
             lambda g, y, a, b, t: -2.0 * g * (a @ b - t) / t.size], (A, B, T)),
]  # fmt: skip
