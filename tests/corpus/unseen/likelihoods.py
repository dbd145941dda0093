"""Likelihoods."""

from __future__ import annotations

import math

import numpy as np

from ..case import Case, each
from .common import _logsumexp, _sum, normals, stream

_draw = normals(stream(after=36))

DATA = np.array([0.7, 2.9, 1.3, 4.1, 0.4, 2.2, 1.8])
DESIGN = np.stack([np.ones(7), _draw(7)], axis=1)
SAMPLES = 30.0 * _draw(12)
GRID = np.array([0.0, 0.7, 1.1, 2.4, 3.0])
COVARIANCE = (lambda a: a @ a.T + np.eye(4))(_draw(4, 4))

#: Terms of Stirling's series, and by how much its argument is shifted.
SERIES, SHIFT = ((1, 1 / 12), (3, -1 / 360), (5, 1 / 1260)), 8


def _log_gamma(x):
    z = x + SHIFT
    stirling = (z - 0.5) * np.log(z) - z + 0.5 * math.log(2.0 * math.pi)
    return stirling + sum(c / z**p for p, c in SERIES) - sum(np.log(x + k) for k in range(SHIFT))


def _digamma(x):
    z = x + SHIFT
    tail = sum(p * c / z ** (p + 1) for p, c in SERIES)
    return np.log(z) - 0.5 / z - tail - sum(1.0 / (x + k) for k in range(SHIFT))


def _student(x, mean, log_scale, dof):
    z = (x - mean) / np.exp(log_scale)
    norm = _log_gamma(0.5 * dof) - _log_gamma(0.5 * dof + 0.5) + 0.5 * np.log(math.pi * dof)
    return np.sum(norm + log_scale + 0.5 * (dof + 1.0) * np.log1p(z * z / dof))


def _student_back(g, x, mean, log_scale, dof):
    s = np.exp(log_scale)
    z2 = ((x - mean) / s) ** 2
    w = (dof + 1.0) / (dof + z2)
    c = g * w * (x - mean) / (s * s)
    norm = _digamma(0.5 * dof) - _digamma(0.5 * dof + 0.5) + 1.0 / dof
    return (
        c,
        -np.sum(c),
        g * np.sum(1.0 - w * z2),
        0.5 * g * np.sum(norm + np.log1p(z2 / dof) - w * z2 / dof),
    )


def _gamma(weights, shape):
    rate = shape / np.exp(DESIGN @ weights)
    return np.sum(
        _log_gamma(shape) - shape * np.log(rate) - (shape - 1.0) * np.log(DATA) + rate * DATA
    )


def _gamma_back(g, weights, shape):
    ratio = DATA / np.exp(DESIGN @ weights)
    return (
        g * shape * ((1.0 - ratio) @ DESIGN),
        g * np.sum(_digamma(shape) - np.log(shape * ratio) - 1.0 + ratio),
    )


def _mixed(logits, means, logs):
    z = (DATA[:, None] - means) / np.exp(logs)
    return logits - logs - 0.5 * z * z, z


def _mixture(logits, means, logs):
    return len(DATA) * _logsumexp(logits, -1) - np.sum(
        _logsumexp(_mixed(logits, means, logs)[0], -1)
    )


def _mixture_back(g, logits, means, logs):
    terms, z = _mixed(logits, means, logs)
    r = np.exp(terms) / _sum(np.exp(terms))
    p = np.exp(logits) / np.sum(np.exp(logits))
    return (
        g * np.sum(p - r, axis=0),
        -g * np.sum(r * z, axis=0) / np.exp(logs),
        g * np.sum(r * (1.0 - z * z), axis=0),
    )


def _likelihood(mean, scale):
    z = (SAMPLES - mean) / scale
    return np.prod(np.exp(-0.5 * z * z) / (math.sqrt(2.0 * math.pi) * scale))


def _likelihood_back(g, mean, scale):
    z = (SAMPLES - mean) / scale
    c = g * _likelihood(mean, scale) / scale
    return c * np.sum(z), c * np.sum(z * z - 1.0)


def _density(x, mean, s):
    """Of a Gaussian, by the Cholesky factor of the covariance's lower triangle."""
    n = len(x)
    low = np.zeros((n, n), np.result_type(x, mean, s))
    z = np.zeros(n, low.dtype)
    for i in range(n):
        for j in range(i):
            low[i, j] = (s[i, j] - low[i, :j] @ low[j, :j]) / low[j, j]
        low[i, i] = np.sqrt(s[i, i] - low[i, :i] @ low[i, :i])
        z[i] = (x[i] - mean[i] - low[i, :i] @ z[:i]) / low[i, i]
    return -0.5 * z @ z - np.sum(np.log(np.diag(low))) - 0.5 * n * math.log(2.0 * math.pi)


def _density_back(g, x, mean, s):
    precision = np.linalg.inv(np.tril(s) + np.tril(s, -1).T)
    a = precision @ (x - mean)
    once = 2.0 * np.tril(np.ones((4, 4))) - np.eye(4)
    return -g * a, g * a, 0.5 * g * once * (np.outer(a, a) - precision)


def _kernel(logs):
    d2 = (GRID[:, None] - GRID) ** 2 / np.exp(2.0 * logs[0])
    r = np.exp(2.0 * logs[1] - 0.5 * d2)
    return d2, r, r + np.exp(2.0 * logs[2]) * np.eye(len(GRID))


def _process(logs, t):
    k = _kernel(logs)[2]
    return 0.5 * (t @ np.linalg.solve(k, t) + np.log(np.linalg.det(k)))


def _process_back(g, logs, t):
    d2, r, k = _kernel(logs)
    inverse = np.linalg.inv(k)
    a = inverse @ t
    c = 0.5 * g * (inverse - np.outer(a, a))
    noise = 2.0 * np.exp(2.0 * logs[2]) * np.trace(c)
    return np.stack([np.sum(c * r * d2), 2.0 * np.sum(c * r), noise]), g * a


def _kalman(z, mean, q, r):
    """Negative log-likelihood of a level that drifts, seen through noise."""
    m, p, total = mean, 1.0, 0.0
    for k in range(len(z)):
        p = p + q
        s, e = p + r, z[k] - m
        total = total + 0.5 * (np.log(s) + e * e / s)
        m, p = m + p * e / s, p * r / s
    return total


def _kalman_back(g, z, mean, q, r):
    m, p, steps = mean, 1.0, []
    for k in range(len(z)):
        p = p + q
        s, e = p + r, z[k] - m
        steps.append((p, s, e))
        m, p = m + p * e / s, p * r / s
    gm = gp = gq = gr = 0.0 * g
    gz = []
    for p, s, e in reversed(steps):
        ge = gm * p / s + g * e / s
        gs = 0.5 * g * (1.0 - e * e / s) / s - (gm * e + gp * r) * p / (s * s)
        gr = gr + gp * p / s + gs
        gp = (gm * e + gp * r) / s + gs
        gq, gm = gq + gp, gm - ge
        gz.append(ge)
    return np.stack(gz[::-1]), gm, gq, gr


CASES = [
    Case("Student t", _student, each(_student_back, 4),
         (_draw(6), np.array(0.2), np.array(-0.3), np.array(3.7))),
    Case("gamma regression", _gamma, each(_gamma_back, 2), (np.array([0.4, -0.3]), np.array(1.6))),
    Case("mixture of Gaussians", _mixture, each(_mixture_back, 3),
         (np.array([0.3, -0.2, 0.5]), np.array([0.5, 2.0, 3.5]), np.array([-0.4, 0.1, 0.3]))),
    Case("likelihood of 1e-26", _likelihood, each(_likelihood_back, 2),
         (np.array(4.0), np.array(35.0))),
    Case("Gaussian by Cholesky", _density, each(_density_back, 3),
         (_draw(4), _draw(4), COVARIANCE)),
    Case("Gaussian process", _process, each(_process_back, 2),
         (np.array([0.1, 0.3, -1.2]), np.array([0.5, 1.2, 0.9, -1.0, -0.4]))),
    Case("Kalman filter", _kalman, each(_kalman_back, 4),
         (_draw(6), np.array(0.1), np.array(0.3), np.array(0.8))),
]  # fmt: skip
