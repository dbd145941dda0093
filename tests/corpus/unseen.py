"""Functions as they occur in programs, which no checker is tuned on: they are there to measure."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import numpy as np

from .case import Case

_rng = np.random.default_rng(11)
_kink = partial(Case, group="kink")


def _draw(*shape):
    return _rng.standard_normal(shape)


def _each(back, n):
    """One rule to each of `n` inputs, from a backward pass ``back(g, *inputs)`` to all of them."""
    return [lambda g, y, *xs, k=k: back(g, *xs)[k] for k in range(n)]


def _sum(x):
    return np.sum(x, axis=-1, keepdims=True)


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def _logsumexp(x, axis):
    return np.log(np.sum(np.exp(x), axis=axis))


# ---- Physics, in units as they are.

ATOMS = 1.2 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]) + 0.1 * _draw(5, 3)
PAIRS = np.eye(5)[np.triu_indices(5, 1)[0]] - np.eye(5)[np.triu_indices(5, 1)[1]]
GAS, PLANCK, MASS, CHARGE = 8.314462618, 1.054571817e-34, 9.1093837e-31, 1.602176634e-19


def _atoms(x, radius):
    d = PAIRS @ x
    r2 = np.sum(d * d, axis=1)
    return d, r2, (radius * radius / r2) ** 3


def _lennard_jones(x, depth, radius):
    s = _atoms(x, radius)[2]
    return 4.0 * depth * np.sum(s * s - s)


def _lennard_jones_back(g, x, depth, radius):
    d, r2, s = _atoms(x, radius)
    along = 24.0 * depth * (s - 2.0 * s * s) / r2
    return (
        g * (PAIRS.T @ (along[:, None] * d)),
        4.0 * g * np.sum(s * s - s),
        24.0 * g * depth * np.sum(2.0 * s * s - s) / radius,
    )


def _decay(barrier):
    """Per metre, under a barrier in electronvolts."""
    return np.sqrt(2.0 * MASS * CHARGE * barrier) / PLANCK


def _tunnelling(barrier, width):
    return np.exp(-2.0 * _decay(barrier) * width)


def _tunnelling_back(g, barrier, width):
    k = _decay(barrier)
    t = g * np.exp(-2.0 * k * width)
    return -t * k * width / barrier, -2.0 * t * k


A, B = 0.364, 4.27e-5  # carbon dioxide


def _pressure(n, v, t):
    return n * GAS * t / (v - n * B) - A * n * n / (v * v)


def _pressure_back(g, n, v, t):
    free = v - n * B
    return (
        np.sum(g * (GAS * t / free + n * GAS * t * B / free**2 - 2.0 * A * n / v**2)),
        g * (2.0 * A * n * n / v**3 - n * GAS * t / free**2),
        g * n * GAS / free,
    )


def _arrhenius(a, e, t):
    return a * np.exp(-e / (GAS * t[:, None]))


def _arrhenius_back(g, a, e, t):
    at = GAS * t[:, None]
    k = np.exp(-e / at)
    return (
        np.sum(g * k, axis=0),
        -np.sum(g * a * k / at, axis=0),
        np.sum(g * a * k * e / at, axis=1) / t,
    )


def _morse(x):
    return 4.7 * (1.0 - np.exp(-1.9 * (x - 0.74))) ** 2


def _morse_rule(g, y, x):
    e = np.exp(-1.9 * (x - 0.74))
    return g * 2.0 * 4.7 * 1.9 * (1.0 - e) * e


def _phase(t, start, period):
    return np.cos(2.0 * math.pi * (t - start) / period)


def _phase_back(g, t, start, period):
    turns = (t - start) / period
    c = -2.0 * math.pi * g * np.sin(2.0 * math.pi * turns) / period
    return c, -np.sum(c), -np.sum(c * turns)


def _kepler(m, e):
    """The eccentric anomaly, by Newton's method."""
    y = m
    for _ in range(12):
        y = y - (y - e * np.sin(y) - m) / (1.0 - e * np.cos(y))
    return y


def _means(a, b):
    """Steps of the arithmetic-geometric mean."""
    passed = [(a, b)]
    for _ in range(5):
        a, b = 0.5 * (a + b), np.sqrt(a * b)
        passed.append((a, b))
    return passed


def _period(swing):
    """Of a pendulum, in those of a small swing."""
    return 1.0 / _means(1.0, np.cos(0.5 * swing))[-1][0]


def _period_rule(g, y, swing):
    passed = _means(1.0, np.cos(0.5 * swing))
    ga, gb = -g / passed[-1][0] ** 2, 0.0 * g
    for (a, b), (_, root) in zip(passed[-2::-1], passed[:0:-1], strict=True):
        ga, gb = 0.5 * (ga + gb * b / root), 0.5 * (ga + gb * a / root)
    return -0.5 * gb * np.sin(0.5 * swing)


def _arm(q, length):
    a = np.cumsum(q)
    return np.stack([np.sum(length * np.cos(a)), np.sum(length * np.sin(a))])


def _arm_back(g, q, length):
    a = np.cumsum(q)
    c = length * (g[1] * np.cos(a) - g[0] * np.sin(a))
    return np.flip(np.cumsum(np.flip(c))), g[0] * np.cos(a) + g[1] * np.sin(a)


def _turned(q, v):
    n = q / np.sqrt(np.sum(q * q))
    t = np.cross(n[1:], v)
    return v + 2.0 * n[0] * t + 2.0 * np.cross(n[1:], t)


def _turned_back(g, q, v):
    size = np.sqrt(np.sum(q * q))
    n = q / size
    w, u = n[0], n[1:]
    t, h = np.cross(u, v), np.cross(g, u)
    c = 2.0 * np.sum(w * np.cross(v, g) + np.cross(t, g) + np.cross(v, h), axis=0)
    c = np.concatenate([np.reshape(2.0 * np.sum(g * t), (1,)), c])
    return (c - n * np.sum(n * c)) / size, g + 2.0 * w * h + 2.0 * np.cross(h, u)


PHYSICS = [
    Case("Lennard-Jones energy", _lennard_jones, _each(_lennard_jones_back, 3),
         (ATOMS, np.array(0.8), np.array(1.1))),
    Case("tunnelling through nanometres", _tunnelling, _each(_tunnelling_back, 2),
         (np.array([4.1, 5.3, 4.6]), np.array([5e-10, 3e-10, 8e-10]))),
    Case("pressure of a gas in pascals", _pressure, _each(_pressure_back, 3),
         (np.array(0.05), np.array([1e-3, 2e-3, 1.3e-3]), np.array([280.0, 310.0, 450.0]))),
    Case("reaction rates", _arrhenius, _each(_arrhenius_back, 3),
         (np.array([1e13, 3e9]), np.array([9e4, 6e4]), np.array([290.0, 350.0, 600.0]))),
    Case("bond energies above 1e8", lambda x: 1e8 + np.sum(_morse(x)),
         [_morse_rule], (np.array([0.6, 0.9, 1.4, 0.8]),)),
    Case("phase at dates", _phase, _each(_phase_back, 3),
         (8500.0 + np.array([3.1, 12.7, 20.2, 41.9]), np.array(8500.3), np.array(3.52))),
    Case("Kepler's equation", _kepler,
         [lambda g, y, m, e: g / (1.0 - e * np.cos(y)),
          lambda g, y, m, e: np.sum(g * np.sin(y) / (1.0 - e * np.cos(y)))],
         (np.array([0.4, 1.9, 5.0]), np.array(0.3))),
    Case("period of a pendulum", _period, [_period_rule], (np.array(1.8),)),
    Case("arm of six joints", _arm, _each(_arm_back, 2),
         (_draw(6), np.array([1.0, 0.8, 0.5, 0.4, 0.2, 0.1]))),
    Case("rotation by a quaternion", _turned, _each(_turned_back, 2),
         (np.array([0.9, -0.4, 0.7, 0.2]), _draw(5, 3))),
]  # fmt: skip


# ---- Likelihoods.

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


LIKELIHOODS = [
    Case("Student t", _student, _each(_student_back, 4),
         (_draw(6), np.array(0.2), np.array(-0.3), np.array(3.7))),
    Case("gamma regression", _gamma, _each(_gamma_back, 2), (np.array([0.4, -0.3]), np.array(1.6))),
    Case("mixture of Gaussians", _mixture, _each(_mixture_back, 3),
         (np.array([0.3, -0.2, 0.5]), np.array([0.5, 2.0, 3.5]), np.array([-0.4, 0.1, 0.3]))),
    Case("likelihood of 1e-26", _likelihood, _each(_likelihood_back, 2),
         (np.array(4.0), np.array(35.0))),
    Case("Gaussian by Cholesky", _density, _each(_density_back, 3),
         (_draw(4), _draw(4), COVARIANCE)),
    Case("Gaussian process", _process, _each(_process_back, 2),
         (np.array([0.1, 0.3, -1.2]), np.array([0.5, 1.2, 0.9, -1.0, -0.4]))),
    Case("Kalman filter", _kalman, _each(_kalman_back, 4),
         (_draw(6), np.array(0.1), np.array(0.3), np.array(0.8))),
]  # fmt: skip


# ---- Recursions.

STEP = 0.15


def _slope(s, k):
    return np.stack([s[1], -k * np.sin(s[0])])


def _stages(s, k):
    """The points at which a Runge-Kutta step takes slopes, and where it ends."""
    k1 = _slope(s, k)
    s2 = s + 0.5 * STEP * k1
    k2 = _slope(s2, k)
    s3 = s + 0.5 * STEP * k2
    k3 = _slope(s3, k)
    s4 = s + STEP * k3
    return (s, s2, s3, s4), s + STEP / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + _slope(s4, k))


def _pendulum(s, k):
    for _ in range(5):
        s = _stages(s, k)[1]
    return s


def _pendulum_back(g, s, k):
    passed = []
    for _ in range(5):
        at, s = _stages(s, k)
        passed.append(at)
    gk = 0.0 * k
    for at in reversed(passed):
        total, u = g, 0.0 * g
        for x, weight, onward in zip(at[::-1], (1, 2, 2, 1), (0.0, 1.0, 0.5, 0.5), strict=True):
            a = STEP * (weight / 6.0 * g + onward * u)
            u = np.stack([-k * np.cos(x[0]) * a[1], a[0]])
            gk = gk - np.sin(x[0]) * a[1]
            total = total + u
        g = total
    return g, gk


def _logistic_map(x, r):
    for _ in range(10):
        x = r * x * (1.0 - x)
    return x


def _logistic_map_back(g, x, r):
    passed = [x]
    for _ in range(9):
        passed.append(r * passed[-1] * (1.0 - passed[-1]))
    gr = 0.0 * r
    for at in reversed(passed):
        gr = gr + np.sum(g * at * (1.0 - at))
        g = g * r * (1.0 - 2.0 * at)
    return g, gr


def _chain(u, w):
    """Log-sum over all paths of states, each scored by its states and transitions."""
    a = u[0]
    for t in range(1, len(u)):
        a = u[t] + _logsumexp(a[:, None] + w, 0)
    return _logsumexp(a, 0)


def _chain_back(g, u, w):
    n = len(u)
    a, b = [u[0]], [0.0 * u[0]]
    for t in range(1, n):
        a.append(u[t] + _logsumexp(a[-1][:, None] + w, 0))
        b.append(_logsumexp(w + u[n - t] + b[-1], 1))
    b, z = b[::-1], _logsumexp(a[-1], 0)
    pairs = [np.exp(a[t][:, None] + w + u[t + 1] + b[t + 1] - z) for t in range(n - 1)]
    return g * np.stack([np.exp(p + q - z) for p, q in zip(a, b, strict=True)]), g * sum(pairs)


SUPPLY, DEMAND, WARMTH = np.array([0.5, 0.2, 0.3]), np.array([0.1, 0.4, 0.25, 0.25]), 0.4


def _balanced(k):
    """Sinkhorn's scalings of rows and columns, one after the other."""
    passed = [(None, np.ones(4))]
    for _ in range(4):
        u = SUPPLY / (k @ passed[-1][1])
        passed.append((u, DEMAND / (u @ k)))
    return passed


def _transport(cost):
    k = np.exp(-cost / WARMTH)
    u, v = _balanced(k)[-1]
    return np.sum(u[:, None] * k * v * cost)


def _transport_rule(g, y, cost):
    k = np.exp(-cost / WARMTH)
    passed = _balanced(k)
    u, v = passed[-1]
    direct = g * u[:, None] * k * v
    gk = g * cost * u[:, None] * v
    gu, gv = (g * cost * k) @ v, u @ (g * cost * k)
    for (_, v0), (u, v) in zip(passed[-2::-1], passed[:0:-1], strict=True):
        gs = -gv * v / (u @ k)
        gu = gu + k @ gs
        gr = -gu * u / (k @ v0)
        gk = gk + np.outer(u, gs) + np.outer(gr, v0)
        gu, gv = 0.0 * u, gr @ k
    return direct - gk * k / WARMTH


RECURSIONS = [
    Case("pendulum by Runge-Kutta", _pendulum, _each(_pendulum_back, 2),
         (np.array([1.1, -0.4]), np.array(9.81))),
    Case("logistic map, 10 steps", _logistic_map, _each(_logistic_map_back, 2),
         (np.array([0.2, 0.35, 0.83]), np.array(3.7))),
    Case("sum over paths", _chain, _each(_chain_back, 2), (_draw(6, 3), _draw(3, 3))),
    Case("transport by Sinkhorn", _transport, [_transport_rule], (_rng.uniform(0, 1, (3, 4)),)),
]  # fmt: skip


# ---- Layers and losses.

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


LAYERS = [
    Case("focal loss", _focal, [_focal_rule, None], (_draw(6), TARGETS)),
    Case("contrast of pairs", _contrast, _each(_contrast_back, 3),
         (_draw(5, 3), _draw(5, 3), np.array(0.9))),
    Case("causal attention, two heads", _causal, _each(_causal_back, 3),
         (_draw(2, 4, 3), _draw(2, 4, 3), _draw(2, 4, 3))),
    Case("batch norm of images", _batch_norm, _each(_batch_norm_back, 3),
         (_draw(3, 2, 2, 2), np.array([1.2, 0.7]), np.array([0.1, -0.4]))),
    Case("LSTM cell", _lstm, _each(_lstm_back, 5),
         (_draw(2, 4), _draw(2, 3), _draw(2, 3), 0.4 * _draw(7, 12), 0.1 * _draw(12))),
    Case("convolution of images", _convolved, _each(_convolved_back, 3),
         (_draw(2, 6, 5), _draw(3, 2, 3, 3), _draw(3))),
    Case("Huber loss at its bend", _huber,
         [_huber_rule, lambda g, y, x, t: -_huber_rule(g, y, x, t)],
         (np.array([1.5, -0.5, 0.3, 2.5]), np.array([0.5, 0.5, 0.0, -0.25])), second=False),
]  # fmt: skip


# ---- Signals and images.

KNOTS = np.array([0.0, 1.0, 1.5, 3.0, 4.0, 6.0])
NOISY = _draw(40, 50)


def _interpolated(x, v):
    k = np.searchsorted(KNOTS, x.real, side="right") - 1
    w = (x - KNOTS[k]) / (KNOTS[k + 1] - KNOTS[k])
    return v[k] * (1.0 - w) + v[k + 1] * w


def _interpolated_back(g, x, v):
    cell = (x[:, None] >= KNOTS[:-1]) * (x[:, None] < KNOTS[1:]) * 1.0
    w = (x - cell @ KNOTS[:-1]) / (cell @ np.diff(KNOTS))
    slopes = (v[1:] - v[:-1]) / np.diff(KNOTS)
    left, right = (g * (1.0 - w)) @ cell, (g * w) @ cell
    return g * (cell @ slopes), np.pad(left, (0, 1)) + np.pad(right, (1, 0))


def _sampled(image, at):
    i, j = np.floor(at.real).astype(int).T
    y, x = (at - np.floor(at.real)).T
    top = image[i, j] * (1.0 - x) + image[i, j + 1] * x
    return top * (1.0 - y) + (image[i + 1, j] * (1.0 - x) + image[i + 1, j + 1] * x) * y


def _tent(t):
    return np.maximum(1.0 - np.abs(t), 0.0), -np.sign(t) * (np.abs(t) < 1.0)


def _sampled_back(g, image, at):
    wy, dy = _tent(at[:, :1] - np.arange(image.shape[0]))
    wx, dx = _tent(at[:, 1:] - np.arange(image.shape[1]))
    slopes = [np.sum((dy @ image) * wx, axis=1), np.sum((wy @ image) * dx, axis=1)]
    return wy.T @ (g[:, None] * wx), g[:, None] * np.stack(slopes, axis=1)


def _periodic(x, w):
    return np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(w), n=x.size)


def _periodic_rule(g, w):
    return np.fft.irfft(np.fft.rfft(g) * np.conjugate(np.fft.rfft(w)), n=w.size)


def _edges(x):
    down, right = x[1:, :-1] - x[:-1, :-1], x[:-1, 1:] - x[:-1, :-1]
    return down, right, np.sqrt(down * down + right * right + 0.01)


def _smoothed(x):
    return 0.5 * np.sum((x - NOISY) ** 2) + 0.3 * np.sum(_edges(x)[2])


def _smoothed_rule(g, y, x):
    down, right, size = _edges(x)
    down, right = down / size, right / size
    ends = np.pad(down, ((1, 0), (0, 1))) + np.pad(right, ((0, 1), (1, 0)))
    return g * (x - NOISY + 0.3 * (ends - np.pad(down + right, ((0, 1), (0, 1)))))


SIGNALS = [
    Case("interpolation in a table", _interpolated, _each(_interpolated_back, 2),
         (np.array([0.4, 5.1, 1.2, 2.6, 0.7]), _draw(6))),
    Case("bilinear sampling", _sampled, _each(_sampled_back, 2),
         (_draw(5, 6), np.array([[0.3, 1.6], [2.7, 4.2], [3.4, 0.5], [0.6, 1.3]]))),
    Case("periodic convolution by FFT", _periodic,
         [lambda g, y, x, w: _periodic_rule(g, w), lambda g, y, x, w: _periodic_rule(g, x)],
         (_draw(12), _draw(12))),
    Case("denoising, 2,000 pixels", _smoothed, [_smoothed_rule], (NOISY + 0.3 * _draw(40, 50),)),
]  # fmt: skip


# ---- Exactly at kinks.


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


KINKS = [
    _kink("quantile loss, one exact", _quantile,
          [_quantile_rule, lambda g, y, x, t: -_quantile_rule(g, y, x, t)],
          (np.array([1.0, 0.2, -1.0]), np.array([1.0, 1.5, -2.0]))),
    _kink("triplets, one at the margin", _triplet, _each(_triplet_back, 3),
          (np.array([[0.0, 0.0], [0.5, 1.0]]), np.array([[1.0, 0.0], [1.5, 0.0]]),
           np.array([[1.0, 1.0], [1.0, 1.5]]))),
    _kink("max pooling, tied", lambda x: np.max(_pools(x), axis=-1), [_pooled_rule],
          (np.array([[2.0, 0.5, 1.0, 0.0], [2.0, -1.0, 0.3, 0.7],
                     [0.1, 0.2, 1.0, 1.0], [0.4, -0.3, 1.0, 1.0]]),)),
    _kink("soft threshold at it", _shrunk, _each(_shrunk_back, 2),
          (np.array([0.5, -0.5, 2.0, 0.1, -1.3]), np.array(0.5))),
    _kink("variation of a flat image", _variation, [_variation_rule],
          (np.array([[1.0, 1.0, 2.0], [1.0, 1.0, 2.5], [0.0, 3.0, 2.5]]),)),
    _kink("group lasso, one group 0", _lasso, [_lasso_rule],
          (np.array([[0.0, 0.0], [0.6, -0.8]]),)),
    _kink("relu network, a unit of zeros", _rectified, _each(_rectified_back, 4),
          (np.array([[1.0, 0.5], [0.4, 0.8]]), np.array([[0.0, 0.7], [0.0, -0.2]]),
           np.array([0.0, 0.1]), np.array([1.5, -0.6]))),
    _kink("two largest of three tied", lambda x: np.sum(np.sort(x)[-2:]), [_largest_rule],
          (np.array([3.0, 1.0, 3.0, 3.0, 0.5]),)),
    _kink("interpolation at a knot", _interpolated, _each(_interpolated_back, 2),
          (np.array([1.5, 2.2]), np.array([0.3, -1.0, 0.8, 0.1, 0.9, -0.4]))),
]  # fmt: skip


# ---- In single precision.


def _single(case):
    inputs = tuple(x.astype(np.float32) if x.dtype.kind == "f" else x for x in case.inputs)
    return dataclasses.replace(case, name=f"float32 {case.name}", inputs=inputs, group="float32")


SMOOTH = [*PHYSICS, *LIKELIHOODS, *RECURSIONS, *LAYERS, *SIGNALS]
AGAIN = ("pendulum by Runge-Kutta", "focal loss", "batch norm of images", "LSTM cell",
         "convolution of images")  # fmt: skip

CASES = [*SMOOTH, *KINKS, *(_single(case) for case in SMOOTH if case.name in AGAIN)]
