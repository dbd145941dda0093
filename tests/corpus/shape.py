"""Selections, joins and rearrangements, each behind something that is not linear."""

from __future__ import annotations

import numpy as np

from .case import Case

_rng = np.random.default_rng(4)

X = np.array([0.7, -1.3, 2.1, 0.2])
M = _rng.standard_normal((3, 4))
TABLE = _rng.standard_normal((6, 3))
REPEATED = np.array([0, 0, 2])
ROWS = np.array([4, 1, 4, 0, 4])


def _one_hot(i, n):
    return (np.asarray(i)[:, None] == np.arange(n)) * 1.0


CASES = [
    Case("repeated indices", lambda x: x[REPEATED] ** 2,
         [lambda g, y, x: 2.0 * x * (g @ _one_hot(REPEATED, 4))], (X,)),
    Case("embedding", lambda w, i: np.take(w, i, axis=0),
         [lambda g, y, w, i: _one_hot(ROWS, 6).T @ g, None], (TABLE, ROWS)),
    Case("concatenation", lambda a, b: np.concatenate([a, b, a]) ** 3,
         [lambda g, y, a, b: 3.0 * (g[: len(a)] + g[len(a) + len(b) :]) * a * a,
          lambda g, y, a, b: 3.0 * g[len(a) : len(a) + len(b)] * b * b], (X, X[:2] + 0.1)),
    Case("stack", lambda a, b: np.stack([a * b, a - b]),
         [lambda g, y, a, b: g[0] * b + g[1], lambda g, y, a, b: g[0] * a - g[1]], (X, X[::-1])),
    Case("reshape", lambda x: np.exp(np.reshape(x, (2, 6))),
         [lambda g, y, x: np.reshape(g, x.shape) * np.exp(x)], (M,)),
    Case("transpose", lambda x: np.sin(x.T), [lambda g, y, x: g.T * np.cos(x)], (M,)),
    Case("transposed square", lambda x: x.T * x,
         [lambda g, y, x: (g + g.T) * x.T], (TABLE[:3],)),
    Case("differences", lambda x: (x[1:] - x[:-1]) ** 2,
         [lambda g, y, x: 2.0 * (np.concatenate([0.0 * x[:1], g * (x[1:] - x[:-1])])
                                 - np.concatenate([g * (x[1:] - x[:-1]), 0.0 * x[:1]]))], (X,)),
    Case("roll and flip", lambda x: np.roll(x, 1) * x[::-1],
         [lambda g, y, x: np.roll(g * x[::-1], -1) + (g * np.roll(x, 1))[::-1]], (X,)),
    Case("lower triangle", lambda x: np.tril(x) ** 2,
         [lambda g, y, x: 2.0 * g * np.tril(np.ones((3, 3))) * x], (TABLE[:3],)),
    Case("empty output", lambda x: x[:0] * 2.0,
         [lambda g, y, x: np.concatenate([2.0 * g, 0.0 * x])], (X,)),
]  # fmt: skip
