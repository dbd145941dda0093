"""Layers and losses."""

from __future__ import annotations

import math

import numpy as np

from ..case import Case, each
from .common import _logsumexp, _sigmoid, _sum, normals, stream

_draw = normals(stream(after=131))

TARGETS = np.array([1, 0, 0, 1, 1, 0])
CAUSAL = np.tril(np.ones((4, 4), bool))


def _focal(z, t):
    p = np.where(t > 0, _sigmoid(z), _sigmoid(-z))
    return -np.mean((1.0 - p) ** 2 * np.log(p))


def _focal_rule(g, y, z, t):
    sign = np.where(t > 0, 1.0, -1.0).astype(z.dtype)
    p = _sigmoid(sign * z)
    return g * sign * (1.0 - p) ** 2 * (2.0 * p * np.log(p) - 1.0 + p) / z.size


def _unit(x):
    return x / np.sqrt(_sum(x * x))


def _contrast(a, b, t):
    s = np.exp(t) * (_unit(a) @ _unit(b).T)
    return np.mean(_logsumexp(s, -1) - np.diag(s))


def _contrast_back(g, a, b, t):
    ua, ub = _unit(a), _unit(b)
    s = np.exp(t) * (ua @ ub.T)
    gs = g * (np.exp(s) / _sum(np.exp(s)) - np.eye(len(s))) / len(s)
    ca, cb = np.exp(t) * (gs @ ub), np.exp(t) * (gs.T @ ua)
    return (
        (ca - ua * _sum(ca * ua)) / np.sqrt(_sum(a * a)),
        (cb - ub * _sum(cb * ub)) / np.sqrt(_sum(b * b)),
        np.sum(gs * s),
    )


def _causal(q, k, v):
    s = np.where(CAUSAL, q @ np.swapaxes(k, 1, 2) / math.sqrt(3.0), -1e9)
    e = np.exp(s - np.max(s, axis=-1, keepdims=True))
    return e / _sum(e) @ v


def _causal_back(g, q, k, v):
    e = np.exp(q @ np.swapaxes(k, 1, 2) / math.sqrt(3.0)) * CAUSAL
    p = e / _sum(e)
    c = g @ np.swapaxes(v, 1, 2)
    c = p * (c - _sum(c * p)) / math.sqrt(3.0)
    return c @ k, np.swapaxes(c, 1, 2) @ q, np.swapaxes(p, 1, 2) @ g


def _channel_mean(x):
    return np.mean(x, axis=(0, 2, 3), keepdims=True)


def _normalized(x):
    d = x - _channel_mean(x)
    s = np.sqrt(_channel_mean(d * d) + 1e-5)
    return d / s, s


def _batch_norm(x, w, b):
    return _normalized(x)[0] * w[:, None, None] + b[:, None, None]


def _batch_norm_back(g, x, w, b):
    z, s = _normalized(x)
    h = g * w[:, None, None]
    return (
        (h - _channel_mean(h) - z * _channel_mean(h * z)) / s,
        np.sum(g * z, axis=(0, 2, 3)),
        np.sum(g, axis=(0, 2, 3)),
    )


def _gates(x, h, c, w, b):
    i, f, o, n = np.split(np.concatenate([x, h], axis=1) @ w + b, 4, axis=1)
    i, f, o, n = _sigmoid(i), _sigmoid(f), _sigmoid(o), np.tanh(n)
    return i, f, o, n, np.tanh(f * c + i * n)


def _lstm(x, h, c, w, b):
    i, f, o, n, t = _gates(x, h, c, w, b)
    return np.stack([o * t, f * c + i * n])


def _lstm_back(g, x, h, c, w, b):
    i, f, o, n, t = _gates(x, h, c, w, b)
    gc = g[1] + g[0] * o * (1.0 - t * t)
    parts = [gc * n * i * (1.0 - i), gc * c * f * (1.0 - f), g[0] * t * o * (1.0 - o),
             gc * i * (1.0 - n * n)]  # fmt: skip
    gz = np.concatenate(parts, axis=1)
    back, joined = gz @ w.T, np.concatenate([x, h], axis=1)
    return back[:, : x.shape[1]], back[:, x.shape[1] :], gc * f, joined.T @ gz, np.sum(gz, axis=0)


def _patches(x):
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))


def _convolved(x, w, b):
    return np.einsum("cijhw,ochw->oij", _patches(x), w) + b[:, None, None]


def _convolved_back(g, x, w, b):
    wide = _patches(np.pad(g, ((0, 0), (2, 2), (2, 2))))
    return (
        np.einsum("oijhw,ochw->cij", wide, w[:, :, ::-1, ::-1]),
        np.einsum("oij,cijhw->ochw", g, _patches(x)),
        np.sum(g, axis=(1, 2)),
    )


def _huber(x, t):
    r = x - t
    size = np.where(r > 0, r, -r)
    return np.sum(np.where(size <= 1.0, 0.5 * r * r, size - 0.5))


def _huber_rule(g, y, x, t):
    return g * np.clip(x - t, -1.0, 1.0)


CASES = [
    Case("focal loss", _focal, [_focal_rule, None], (_draw(6), TARGETS)),
    Case("contrast of pairs", _contrast, each(_contrast_back, 3),
         (_draw(5, 3), _draw(5, 3), np.array(0.9))),
    Case("causal attention, two heads", _causal, each(_causal_back, 3),
         (_draw(2, 4, 3), _draw(2, 4, 3), _draw(2, 4, 3))),
    Case("batch norm of images", _batch_norm, each(_batch_norm_back, 3),
         (_draw(3, 2, 2, 2), np.array([1.2, 0.7]), np.array([0.1, -0.4]))),
    Case("LSTM cell", _lstm, each(_lstm_back, 5),
         (_draw(2, 4), _draw(2, 3), _draw(2, 3), 0.4 * _draw(7, 12), 0.1 * _draw(12))),
    Case("convolution of images", _convolved, each(_convolved_back, 3),
         (_draw(2, 6, 5), _draw(3, 2, 3, 3), _draw(3))),
    Case("Huber loss at its bend", _huber,
         [_huber_rule, lambda g, y, x, t: -_huber_rule(g, y, x, t)],
         (np.array([1.5, -0.5, 0.3, 2.5]), np.array([0.5, 0.5, 0.0, -0.25])), second=False),
]  # fmt: skip
