"""Reductions, and functions made of them."""

from __future__ import annotations

import numpy as np

from .case import Case

_rng = np.random.default_rng(2)

X = np.array([0.7, -1.3, 2.1, 0.2, -0.6])
M = _rng.standard_normal((3, 4))
P = _rng.uniform(0.5, 2.0, (3, 4))
LARGE = _rng.standard_normal(1260)


def _sum(x):
    return np.sum(x, axis=-1, keepdims=True)


def _mean(x):
    return np.mean(x, axis=-1, keepdims=True)


def _softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / _sum(e)


def _softmax_rule(g, y, x):
    e = np.exp(x)
    p = e / _sum(e)
    return p * (g - _sum(g * p))


def _log_softmax_rule(g, y, x):
    e = np.exp(x)
    return g - _sum(g) * e / _sum(e)


def _logsumexp(x):
    m = np.max(x, axis=-1)
    return m + np.log(np.sum(np.exp(x - m[..., None]), axis=-1))


def _layer_norm(x, w, b):
    d = x - _mean(x)
    return w * d / np.sqrt(_mean(d * d) + 1e-5) + b


def _normalized(x):
    d = x - _mean(x)
    s = np.sqrt(_mean(d * d) + 1e-5)
    return d / s, s


def _layer_norm_rule(g, y, x, w, b):
    z, s = _normalized(x)
    h = g * w
    return (h - _mean(h) - z * _mean(h * z)) / s


def _unit_rule(g, y, x):
    n = np.sqrt(np.sum(x * x))
    return g / n - x * np.sum(g * x) / n**3


def _cosine(a, b):
    return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))


def _cosine_rule(g, y, a, b):
    n = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return g * (b / n - a * np.sum(a * b) / (n * np.sum(a * a)))


CASES = [
    Case("sum of squares", lambda x: np.sum(x * x), [lambda g, y, x: 2.0 * g * x], (M,)),
    Case("sum of fourth powers, 1,260 elements", lambda x: np.sum(x**4),
         [lambda g, y, x: 4.0 * g * x**3], (LARGE,)),
    Case("mean", lambda x: np.mean(np.exp(x)), [lambda g, y, x: g * np.exp(x) / x.size], (M,)),
    Case("mean of columns", lambda x: np.mean(x * x, axis=0),
         [lambda g, y, x: 2.0 * g * x / x.shape[0]], (M,)),
    Case("variance", lambda x: np.var(x, axis=-1, ddof=1),
         [lambda g, y, x: 2.0 * g[:, None] * (x - _mean(x)) / (x.shape[1] - 1)], (M,)),
    Case("standard deviation", lambda x: np.sqrt(np.mean((x - np.mean(x)) ** 2)),
         [lambda g, y, x: g * (x - np.mean(x)) / np.sqrt(np.mean((x - np.mean(x)) ** 2)) / x.size],
         (M,)),
    Case("norm", lambda x: np.sqrt(np.sum(x * x)),
         [lambda g, y, x: g * x / np.sqrt(np.sum(x * x))], (X,)),
    Case("norms of rows", lambda x: np.sqrt(np.sum(x * x, axis=-1)),
         [lambda g, y, x: g[:, None] * x / np.sqrt(_sum(x * x))], (M,)),
    Case("unit vector", lambda x: x / np.sqrt(np.sum(x * x)), [_unit_rule], (X,)),
    Case("cosine", _cosine, [_cosine_rule, lambda g, y, a, b: _cosine_rule(g, y, b, a)],
         (X, X[::-1] + 0.4)),
    Case("product", lambda x: np.prod(x), [lambda g, y, x: g * np.prod(x) / x], (X,)),
    Case("geometric mean", lambda x: np.exp(np.mean(np.log(x), axis=0)),
         [lambda g, y, x: g * np.exp(np.mean(np.log(x), axis=0)) / (x * x.shape[0])], (P,)),
    Case("softmax", _softmax, [_softmax_rule], (M,)),
    Case("softmax, 48 outputs", _softmax, [_softmax_rule], (LARGE[:48].reshape(8, 6),)),
    Case("log softmax", lambda x: x - np.log(_sum(np.exp(x))), [_log_softmax_rule], (M,)),
    Case("logsumexp", _logsumexp,
         [lambda g, y, x: g[:, None] * np.exp(x) / _sum(np.exp(x))], (M,)),
    Case("layer norm", _layer_norm,
         [_layer_norm_rule, lambda g, y, x, w, b: np.sum(g * _normalized(x)[0], axis=0),
          lambda g, y, x, w, b: np.sum(g, axis=0)], (M, P[0], X[:4])),
    Case("cumulative sum", lambda x: np.cumsum(x * x),
         [lambda g, y, x: 2.0 * x * np.flip(np.cumsum(np.flip(g)))], (X,)),
    Case("empty beside full", lambda x, e: np.sum(x * x) + np.sum(e * e),
         [lambda g, y, x, e: 2.0 * g * x, lambda g, y, x, e: 2.0 * g * e], (X, np.zeros(0))),
]  # fmt: skip
