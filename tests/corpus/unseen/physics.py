"""Physics, in units as they are."""

from __future__ import annotations

import math

import numpy as np

from ..case import Case, each
from .common import normals, stream

_draw = normals(stream())

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


CASES = [
    Case("Lennard-Jones energy", _lennard_jones, each(_lennard_jones_back, 3),
         (ATOMS, np.array(0.8), np.array(1.1))),
    Case("tunnelling through nanometres", _tunnelling, each(_tunnelling_back, 2),
         (np.array([4.1, 5.3, 4.6]), np.array([5e-10, 3e-10, 8e-10]))),
    Case("pressure of a gas in pascals", _pressure, each(_pressure_back, 3),
         (np.array(0.05), np.array([1e-3, 2e-3, 1.3e-3]), np.array([280.0, 310.0, 450.0]))),
    Case("reaction rates", _arrhenius, each(_arrhenius_back, 3),
         (np.array([1e13, 3e9]), np.array([9e4, 6e4]), np.array([290.0, 350.0, 600.0]))),
    Case("bond energies above 1e8", lambda x: 1e8 + np.sum(_morse(x)),
         [_morse_rule], (np.array([0.6, 0.9, 1.4, 0.8]),)),
    Case("phase at dates", _phase, each(_phase_back, 3),
         (8500.0 + np.array([3.1, 12.7, 20.2, 41.9]), np.array(8500.3), np.array(3.52))),
    Case("Kepler's equation", _kepler,
         [lambda g, y, m, e: g / (1.0 - e * np.cos(y)),
          lambda g, y, m, e: np.sum(g * np.sin(y) / (1.0 - e * np.cos(y)))],
         (np.array([0.4, 1.9, 5.0]), np.array(0.3))),
    Case("period of a pendulum", _period, [_period_rule], (np.array(1.8),)),
    Case("arm of six joints", _arm, each(_arm_back, 2),
         (_draw(6), np.array([1.0, 0.8, 0.5, 0.4, 0.2, 0.1]))),
    Case("rotation by a quaternion", _turned, each(_turned_back, 2),
         (np.array([0.9, -0.4, 0.7, 0.2]), _draw(5, 3))),
]  # fmt: skip
