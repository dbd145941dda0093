"""Losses of small networks, with their gradients as one writes them by hand."""

from __future__ import annotations

import numpy as np

from .case import Case

_rng = np.random.default_rng(5)

X = _rng.standard_normal((5, 3))
W1, B1 = _rng.standard_normal((3, 4)), 0.1 * _rng.standard_normal(4)
W2, B2 = _rng.standard_normal((4, 2)), 0.1 * _rng.standard_normal(2)
TARGET = _rng.standard_normal((5, 2))
LABELS = np.array([0, 1, 1, 0, 1])
SIGNS = np.array([1.0, -1.0, -1.0, 1.0, 1.0])
Q, K, V = (_rng.standard_normal((3, 2)) for _ in range(3))
H, C = _rng.standard_normal(4), _rng.standard_normal(4)


def _softmax(x):
    e = np.exp(x)
    return e / np.sum(e, axis=-1, keepdims=True)


# A two-layer network; `error` is the derivative of the loss in the network's result.


def _layers(x, w1, b1, w2, b2):
    h = np.tanh(x @ w1 + b1)
    return h, h @ w2 + b2


def _squared(x, w1, b1, w2, b2, t):
    return np.mean((_layers(x, w1, b1, w2, b2)[1] - t) ** 2)


def _squared_error(g, x, w1, b1, w2, b2, t):
    z = _layers(x, w1, b1, w2, b2)[1]
    return 2.0 * g * (z - t) / z.size


def _entropy(x, w1, b1, w2, b2, labels):
    z = _layers(x, w1, b1, w2, b2)[1]
    picked = np.sum(z * (labels[:, None] == np.arange(2)), axis=-1)
    return np.mean(np.log(np.sum(np.exp(z), axis=-1)) - picked)


def _entropy_error(g, x, w1, b1, w2, b2, labels):
    z = _layers(x, w1, b1, w2, b2)[1]
    return g * (_softmax(z) - (LABELS[:, None] == np.arange(2))) / z.shape[0]


def _network_rules(error):
    def hidden(g, x, w1, b1, w2, b2, t):
        h = _layers(x, w1, b1, w2, b2)[0]
        return (error(g, x, w1, b1, w2, b2, t) @ w2.T) * (1.0 - h * h)

    return [
        lambda g, y, x, *rest: hidden(g, x, *rest) @ rest[0].T,
        lambda g, y, x, *rest: x.T @ hidden(g, x, *rest),
        lambda g, y, x, *rest: np.sum(hidden(g, x, *rest), axis=0),
        lambda g, y, x, *rest: _layers(x, *rest[:4])[0].T @ error(g, x, *rest),
        lambda g, y, x, *rest: np.sum(error(g, x, *rest), axis=0),
    ]


def _squared_target(g, y, *inputs):
    return -_squared_error(g, *inputs)


# Scaled dot-product attention.


def _attention(q, k, v):
    return _softmax(q @ k.T / 2.0) @ v


def _scores_rule(g, q, k, v):
    p = _softmax(q @ k.T / 2.0)
    c = g @ v.T
    return p * (c - np.sum(c * p, axis=-1, keepdims=True)) / 2.0


# A gated unit: the candidate c replaces the state h where the gate is open.


def _gated(h, c):
    z = 1.0 / (1.0 + np.exp(-h * c))
    return z * np.tanh(c) + (1.0 - z) * h


def _gated_state(g, y, h, c):
    z = 1.0 / (1.0 + np.exp(-h * c))
    return g * ((np.tanh(c) - h) * z * (1.0 - z) * c + 1.0 - z)


def _gated_candidate(g, y, h, c):
    z = 1.0 / (1.0 + np.exp(-h * c))
    return g * ((np.tanh(c) - h) * z * (1.0 - z) * h + z * (1.0 - np.tanh(c) ** 2))


# Logistic regression with labels of both signs, and a penalty.


def _logistic(w, b):
    return np.mean(np.log1p(np.exp(-SIGNS * (X @ w + b)))) + 0.05 * np.sum(w * w)


def _logistic_error(g, w, b):
    return -g * SIGNS / (1.0 + np.exp(SIGNS * (X @ w + b))) / 5.0


CASES = [
    Case("network, squared error", _squared,
         [*_network_rules(_squared_error), _squared_target], (X, W1, B1, W2, B2, TARGET)),
    Case("network, cross-entropy", _entropy,
         [*_network_rules(_entropy_error), None], (X, W1, B1, W2, B2, LABELS)),
    Case("attention", _attention,
         [lambda g, y, q, k, v: _scores_rule(g, q, k, v) @ k,
          lambda g, y, q, k, v: _scores_rule(g, q, k, v).T @ q,
          lambda g, y, q, k, v: _softmax(q @ k.T / 2.0).T @ g], (Q, K, V)),
    Case("gated unit", _gated, [_gated_state, _gated_candidate], (H, C)),
    Case("logistic regression", _logistic,
         [lambda g, y, w, b: X.T @ _logistic_error(g, w, b) + 0.1 * g * w,
          lambda g, y, w, b: np.sum(_logistic_error(g, w, b))], (W1[:, 0], np.array(0.2))),
]  # fmt: skip
