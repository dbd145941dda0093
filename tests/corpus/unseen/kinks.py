"""Functions exactly at kinks."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..case import Case, each
from .common import _sum
from .signals import _interpolated, _interpolated_back

_kink = partial(Case, group="kink")


def _quantile(x, t):
    return np.sum(np.maximum(0.3 * (t - x), -0.7 * (t - x)))


def _quantile_rule(g, y, x, t):
    return g * ((x > t) - 0.3)


def _triplet(a, p, n):
    return np.maximum(np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1) + 1.0, 0.0)


def _triplet_back(g, a, p, n):
    on = np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1) + 1.0 > 0
    c = 2.0 * (g * on)[:, None]
    return c * (n - p), c * (p - a), c * (a - n)


def _pools(x):
    return np.reshape(np.swapaxes(np.reshape(x, (2, 2, 2, 2)), 1, 2), (2, 2, 4))


def _pooled_rule(g, y, x):
    """All goes to the first of the largest."""
    p = _pools(x)
    tied = (p == np.max(p, axis=-1, keepdims=True)) * 1.0
    c = g[..., None] * tied * (np.cumsum(tied, axis=-1) == 1.0)
    return np.reshape(np.swapaxes(np.reshape(c, (2, 2, 2, 2)), 1, 2), (4, 4))


def _shrunk(x, t):
    return np.sign(x) * np.maximum(np.abs(x) - t, 0.0)


def _shrunk_back(g, x, t):
    c = g * (np.abs(x) > t)
    return c, -np.sum(c * np.sign(x))


def _variation(x):
    return np.sum(np.abs(x[1:] - x[:-1])) + np.sum(np.abs(x[:, 1:] - x[:, :-1]))


def _variation_rule(g, y, x):
    down, right = np.sign(x[1:] - x[:-1]), np.sign(x[:, 1:] - x[:, :-1])
    ends = np.pad(down, ((1, 0), (0, 0))) + np.pad(right, ((0, 0), (1, 0)))
    return g * (ends - np.pad(down, ((0, 1), (0, 0))) - np.pad(right, ((0, 0), (0, 1))))


FITTED = np.array([[0.9, -0.5], [1.0, -1.1]])


def _lasso(x):
    return 0.5 * np.sum((x - FITTED) ** 2) + 0.4 * np.sum(np.sqrt(np.sum(x * x, axis=-1)))


def _lasso_rule(g, y, x):
    n = np.sqrt(_sum(x * x))
    return g * (x - FITTED + 0.4 * x / (n + (n == 0.0)))


def _rectified(x, w, b, v):
    return np.maximum(x @ w + b, 0.0) @ v


def _rectified_back(g, x, w, b, v):
    h = x @ w + b
    c = np.outer(g, v) * (h > 0)
    return c @ w.T, x.T @ c, np.sum(c, axis=0), g @ np.maximum(h, 0.0)


def _largest_rule(g, y, x):
    """The tied ones share what the larger ones leave."""
    least = np.sort(x)[-2]
    above, tied = (x > least) * 1.0, (x == least) * 1.0
    return g * (above + tied * (2.0 - np.sum(above)) / np.sum(tied))


CASES = [
    _kink("quantile loss, one exact", _quantile,
          [_quantile_rule, lambda g, y, x, t: -_quantile_rule(g, y, x, t)],
          (np.array([1.0, 0.2, -1.0]), np.array([1.0, 1.5, -2.0]))),
    _kink("triplets, one at the margin", _triplet, each(_triplet_back, 3),
          (np.array([[0.0, 0.0], [0.5, 1.0]]), np.array([[1.0, 0.0], [1.5, 0.0]]),
           np.array([[1.0, 1.0], [1.0, 1.5]]))),
    _kink("max pooling, tied", lambda x: np.max(_pools(x), axis=-1), [_pooled_rule],
          (np.array([[2.0, 0.5, 1.0, 0.0], [2.0, -1.0, 0.3, 0.7],
                     [0.1, 0.2, 1.0, 1.0], [0.4, -0.3, 1.0, 1.0]]),)),
    _kink("soft threshold at it", _shrunk, each(_shrunk_back, 2),
          (np.array([0.5, -0.5, 2.0, 0.1, -1.3]), np.array(0.5))),
    _kink("variation of a flat image", _variation, [_variation_rule],
          (np.array([[1.0, 1.0, 2.0], [1.0, 1.0, 2.5], [0.0, 3.0, 2.5]]),)),
    _kink("group lasso, one group 0", _lasso, [_lasso_rule],
          (np.array([[0.0, 0.0], [0.6, -0.8]]),)),
    _kink("relu network, a unit of zeros", _rectified, each(_rectified_back, 4),
          (np.array([[1.0, 0.5], [0.4, 0.8]]), np.array([[0.0, 0.7], [0.0, -0.2]]),
           np.array([0.0, 0.1]), np.array([1.5, -0.6]))),
    _kink("two largest of three tied", lambda x: np.sum(np.sort(x)[-2:]), [_largest_rule],
          (np.array([3.0, 1.0, 3.0, 3.0, 0.5]),)),
    _kink("interpolation at a knot", _interpolated, each(_interpolated_back, 2),
          (np.array([1.5, 2.2]), np.array([0.3, -1.0, 0.8, 0.1, 0.9, -0.4]))),
]  # fmt: skip
