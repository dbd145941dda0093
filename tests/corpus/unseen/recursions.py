"""Recursions."""

from __future__ import annotations

import numpy as np

from ..case import Case, each
from .common import _logsumexp, normals, stream

_rng = stream(after=92)
_draw = normals(_rng)

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


CASES = [
    Case("pendulum by Runge-Kutta", _pendulum, each(_pendulum_back, 2),
         (np.array([1.1, -0.4]), np.array(9.81))),
    Case("logistic map, 10 steps", _logistic_map, each(_logistic_map_back, 2),
         (np.array([0.2, 0.35, 0.83]), np.array(3.7))),
    Case("sum over paths", _chain, each(_chain_back, 2), (_draw(6, 3), _draw(3, 3))),
    Case("transport by Sinkhorn", _transport, [_transport_rule], (_rng.uniform(0, 1, (3, 4)),)),
]  # fmt: skip
