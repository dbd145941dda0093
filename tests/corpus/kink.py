"""Functions exactly at a kink. Each rule takes one value of the subgradient there."""

from __future__ import annotations

from functools import partial

import numpy as np

from .case import Case

_kink = partial(Case, group="kink")


def _shares(x, y):
    """One at the largest elements, divided where several attain it."""
    tied = (x == y) * 1.0
    return tied / np.sum(tied, axis=-1, keepdims=True)


def _variation_rule(g, y, x):
    s = np.sign(x[1:] - x[:-1]) * g
    return np.concatenate([0.0 * x[:1], s]) - np.concatenate([s, 0.0 * x[:1]])


CASES = [
    _kink("relu at 0", lambda x: np.maximum(x, 0.0),
          [lambda g, y, x: g * (x > 0)], (np.array([0.0, 1.0, -1.0]),)),
    _kink("relu at -0", lambda x: np.sum(np.maximum(x, 0.0)),
          [lambda g, y, x: g * (x > 0)], (np.array([-0.0, 1.0, 2.0]),)),
    _kink("abs at 0", lambda x: 3.0 * np.abs(x),
          [lambda g, y, x: 3.0 * g * np.sign(x)], (np.array([0.0, 2.0, -1.0]),)),
    _kink("abs, curved", lambda x: np.exp(x) * np.abs(np.sin(x)),
          [lambda g, y, x: g * np.exp(x) * (np.abs(np.sin(x)) + np.sign(np.sin(x)) * np.cos(x))],
          (np.array([0.0, 1.0, -2.0]),)),
    _kink("leaky relu at 0", lambda x: np.where(x > 0, x, 0.01 * x),
          [lambda g, y, x: g * (0.01 + 0.99 * (x > 0))], (np.array([0.0, -1.0, 1.0]),)),
    _kink("clip at its bounds", lambda x: np.clip(x, 0.0, 1.0),
          [lambda g, y, x: g * (x >= 0.0) * (x <= 1.0)], (np.array([0.0, 1.0, 0.4, 2.0]),)),
    _kink("max, two tied", lambda x: np.max(x),
          [lambda g, y, x: g * _shares(x, np.max(x))], (np.array([1.0, 3.0, 3.0]),)),
    _kink("max of rows, one tied", lambda x: np.max(x, axis=-1),
          [lambda g, y, x: g[:, None] * _shares(x, np.max(x, axis=-1, keepdims=True))],
          (np.array([[1.0, 1.0, 0.0], [2.0, 3.0, 1.0]]),)),
    _kink("maximum, tied", lambda a, b: np.maximum(a, b),
          [lambda g, y, a, b: g * (0.5 * (a >= b) + 0.5 * (a > b)),
           lambda g, y, a, b: g * (0.5 * (b >= a) + 0.5 * (b > a))],
          (np.array([1.5, 2.0, -1.0]), np.array([1.5, 1.0, 0.5]))),
    _kink("hinge at its margin", lambda x: np.mean(np.maximum(1.0 - x, 0.0)),
          [lambda g, y, x: -g * (x < 1.0) / x.size], (np.array([1.0, 3.0, 0.2]),)),
    _kink("L1 distance, one equal", lambda x, t: np.sum(np.abs(x - t)),
          [lambda g, y, x, t: g * np.sign(x - t), lambda g, y, x, t: -g * np.sign(x - t)],
          (np.array([1.0, 3.0, 0.5]), np.array([1.0, 1.0, 2.0]))),
    _kink("difference of relus at 0", lambda x, z: np.maximum(x, 0.0) - np.maximum(z, 0.0),
          [lambda g, y, x, z: g * (x > 0), lambda g, y, x, z: -g * (z > 0)],
          (np.array(0.0), np.array(0.0))),
    _kink("half a kink", lambda x, z: np.maximum(x, 0.0) * z,
          [lambda g, y, x, z: g * (x > 0) * z, lambda g, y, x, z: g * np.maximum(x, 0.0)],
          (np.array([0.0, 1.0]), np.array([2.0, -0.5]))),
    _kink("total variation, constant", lambda x: np.sum(np.abs(x[1:] - x[:-1])),
          [_variation_rule], (np.array([1.0, 1.0, 1.0, 3.0]),)),
    _kink("small kink", lambda x: np.sin(x) + 1e-2 * np.abs(x - 1.0),
          [lambda g, y, x: g * (np.cos(x) + 1e-2 * np.sign(x - 1.0))], (np.array([1.0, 2.0]),)),
]  # fmt: skip
