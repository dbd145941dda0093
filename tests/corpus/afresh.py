"""Functions for a fresh look: neither a checker's design nor its tuning has met them."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from .case import Case, each

_rng = np.random.default_rng(23)
_kink = partial(Case, group="kink")
_single = partial(Case, group="float32")


def _draw(*shape):
    return _rng.standard_normal(shape)


def _single_draw(*shape):
    return _draw(*shape).astype(np.float32)


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def _sum(x):
    return np.sum(x, axis=-1, keepdims=True)


# ---- Science, in the units of the trade.

RATES = np.array([0.09, 0.22, 0.49, 0.71])  # as measured


def _enzyme(s, v, k):
    return np.sum((v * s / (k + s) - RATES) ** 2)


def _enzyme_back(g, s, v, k):
    c = 2.0 * g * (v * s / (k + s) - RATES)
    return c * v * k / (k + s) ** 2, np.sum(c * s / (k + s)), -np.sum(c * v * s / (k + s) ** 2)


NORMAL = [(-0.5) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(40)]


def _cdf(x):
    """Of the normal distribution, not far from 0."""
    total = 0.0 * x
    for c in reversed(NORMAL):
        total = total * x * x + c
    return 0.5 + x * total / math.sqrt(2.0 * math.pi)


def _option(spot, strike, rate, vol, time):
    spread = vol * np.sqrt(time)
    d = (np.log(spot / strike) + rate * time) / spread + 0.5 * spread
    return spot * _cdf(d) - strike * np.exp(-rate * time) * _cdf(d - spread)


def _option_back(g, spot, strike, rate, vol, time):
    spread = vol * np.sqrt(time)
    d = (np.log(spot / strike) + rate * time) / spread + 0.5 * spread
    due = np.exp(-rate * time) * _cdf(d - spread)
    vega = g * spot * np.exp(-0.5 * d * d) * np.sqrt(time / (2.0 * math.pi))
    return (
        np.sum(g * _cdf(d)),
        -g * due,
        np.sum(g * strike * time * due),
        np.sum(vega),
        np.sum(0.5 * vega * vol / time + g * rate * strike * due),
    )


EARTH = 3.986004418e14  # its gravity, in cubic metres per square second


def _orbit(r, v):
    """Energy and angular momentum, each to a kilogram."""
    h = np.cross(r, v)
    return np.stack([0.5 * v @ v - EARTH / np.sqrt(r @ r), np.sqrt(h @ h)])


def _orbit_back(g, r, v):
    h = np.cross(r, v)
    n = h / np.sqrt(h @ h)
    pull = EARTH * r / np.sqrt(r @ r) ** 3
    return g[0] * pull + g[1] * np.cross(v, n), g[0] * v + g[1] * np.cross(n, r)


RADIUS, DEGREE = 6371.0, math.pi / 180.0


def _turns(a, b):
    p, q = DEGREE * a.T, DEGREE * b
    d = p - q[:, None]
    half = np.sin(0.5 * d[1]) ** 2
    return p, q, d, half, np.sin(0.5 * d[0]) ** 2 + np.cos(p[0]) * np.cos(q[0]) * half


def _distance(a, b):
    return 2.0 * RADIUS * np.arcsin(np.sqrt(_turns(a, b)[-1]))


def _distance_back(g, a, b):
    p, q, d, half, s = _turns(a, b)
    c = RADIUS * DEGREE * g / np.sqrt(s * (1.0 - s))
    apart = 0.5 * np.sin(d[0])
    along = 0.5 * c * np.cos(p[0]) * np.cos(q[0]) * np.sin(d[1])
    own = c * (apart - np.sin(p[0]) * np.cos(q[0]) * half)
    other = -c * (apart + np.cos(p[0]) * np.sin(q[0]) * half)
    return np.stack([own, along], axis=1), np.stack([np.sum(other), -np.sum(along)])


def _reflected(angle, n):
    a, t = n * np.cos(angle), np.sqrt(1.0 - (n * np.sin(angle)) ** 2)
    return ((a - t) / (a + t)) ** 2


def _reflected_back(g, angle, n):
    a, t = n * np.cos(angle), np.sqrt(1.0 - (n * np.sin(angle)) ** 2)
    c = 4.0 * g * (a - t) / (a + t) ** 3
    s = n * np.sin(angle)
    return c * (a * a * s / t - t * s), np.sum(c * (t * a + a * s * s / t)) / n


FREQUENCIES = np.array([2e4, 1e5, 6e5])


def _gain(x):
    u = 2.0 * math.pi * FREQUENCIES * x[0] * x[1]
    return 1.0 / np.sqrt(1.0 + u * u)


def _gain_rule(g, y, x):
    u = 2.0 * math.pi * FREQUENCIES * x[0] * x[1]
    return -np.sum(g * u * u / (1.0 + u * u) ** 1.5) / x


def _lambert(x):
    """Where ``w exp(w) = x``, by Newton's method."""
    w = np.log1p(x)
    for _ in range(20):
        w = w - (w - x * np.exp(-w)) / (1.0 + w)
    return w


def _springs(x):
    return np.sum(np.log(np.cosh(x[1:] - x[:-1]))) + 0.05 * np.sum(x * x)


def _springs_rule(g, y, x):
    t = np.tanh(x[1:] - x[:-1])
    return g * (np.pad(t, (1, 0)) - np.pad(t, (0, 1)) + 0.1 * x)


SCIENCE = [
    Case("Michaelis-Menten fit", _enzyme, each(_enzyme_back, 3),
         (np.array([2e-6, 8e-6, 3e-5, 1.2e-4]), np.array(0.8), np.array(2.1e-5))),
    Case("option price", _option, each(_option_back, 5),
         (np.array(102.0), np.array([90.0, 100.0, 115.0]), np.array(0.03), np.array(0.25),
          np.array(0.75))),
    Case("orbit in metres", _orbit, each(_orbit_back, 2),
         (np.array([6.9e6, -1.1e6, 4.2e5]), np.array([9.1e2, 7.2e3, 1.4e3]))),
    Case("distance in degrees", _distance, each(_distance_back, 2),
         (np.array([[52.5, 13.4], [48.9, 2.3], [-33.9, 151.2]]), np.array([40.7, -74.0]))),
    Case("nan past the critical angle", _reflected, each(_reflected_back, 2),
         (np.array([0.2, 0.6, 0.729]), np.array(1.5))),
    Case("1e-12 beside 1e6", _gain, [_gain_rule], (np.array([1e6, 1e-12]),)),
    Case("Lambert's W", _lambert, [lambda g, y, x: g * np.exp(-y) / (1.0 + y)], (np.array(1.7),)),
    Case("chain of 1,500 springs", _springs, [_springs_rule], (_draw(1500),)),
]  # fmt: skip


# ---- Statistics and learning.

DESIGN = np.stack([np.ones(5), _draw(5)], axis=1)
COUNTS = np.array([0, 3, 1, 6, 2])
BELOW = (np.arange(6) < COUNTS[:, None]) * 1.0
AT_RISK = np.triu(np.ones((6, 6)))
EVENTS = np.array([1, 0, 1, 1, 0, 1])
RATINGS, SEEN = _draw(4, 5), (_rng.random((4, 5)) < 0.6) * 1.0
SIGNS = np.array([1.0, 1.0, 1.0, -1.0])


def _counts(weights, log_size):
    """Negative log-likelihood of a negative binomial."""
    mean, r = np.exp(DESIGN @ weights), np.exp(log_size)
    choices = np.sum(BELOW * np.log(np.arange(6) + r))
    return -choices - np.sum(r * np.log(r / (r + mean)) + COUNTS * np.log(mean / (r + mean)))


def _counts_back(g, weights, log_size):
    mean, r = np.exp(DESIGN @ weights), np.exp(log_size)
    share = (r + COUNTS) / (r + mean)
    size = np.sum(np.log(r / (r + mean)) + 1.0 - share) + np.sum(BELOW / (np.arange(6) + r))
    return g * ((mean * share - COUNTS) @ DESIGN), -g * r * size


def _survival(x, w, event):
    """Cox's partial likelihood; the rows are in the order of time."""
    risk = x @ w
    return np.sum(event * (np.log(AT_RISK @ np.exp(risk)) - risk))


def _survival_back(g, x, w, event):
    e = np.exp(x @ w)
    c = g * (e * ((event / (AT_RISK @ e)) @ AT_RISK) - event)
    return np.outer(c, w), c @ x


def _smooth_targets(z, t):
    hot = np.eye(z.shape[1])[t]
    return hot, 0.9 * hot + 0.1 / z.shape[1]


def _weighted(z, w, t):
    losses = np.log(np.sum(np.exp(z), axis=1)) - np.sum(_smooth_targets(z, t)[1] * z, axis=1)
    return np.sum(w[t] * losses) / np.sum(w[t]), losses


def _weighted_back(g, z, w, t):
    hot, q = _smooth_targets(z, t)
    mean, losses = _weighted(z, w, t)
    c = g / np.sum(w[t])
    e = np.exp(z)
    return (c * w[t])[:, None] * (e / _sum(e) - q), c * ((losses - mean) @ hot)


def _missing(u, v, b):
    return SEEN * (u @ v.T + b - RATINGS)


def _factors(u, v, b):
    return np.sum(_missing(u, v, b) ** 2) + 0.1 * (np.sum(u * u) + np.sum(v * v))


def _factors_back(g, u, v, b):
    e = 2.0 * g * _missing(u, v, b)
    return e @ v + 0.2 * g * u, e.T @ u + 0.2 * g * v, np.sum(e)


def _powers(a, v):
    passed = [(v, None)]
    for _ in range(4):
        u = a @ passed[-1][0]
        n = np.sqrt(u @ u)
        passed.append((u / n, n))
    return passed


def _dominant(a, v):
    v = _powers(a, v)[-1][0]
    return v @ a @ v


def _dominant_back(g, a, v):
    passed = _powers(a, v)
    v = passed[-1][0]
    ga, gv = g * np.outer(v, v), g * (a @ v + v @ a)
    for (before, _), (v, n) in zip(passed[-2::-1], passed[:0:-1], strict=True):
        gu = (gv - v * (v @ gv)) / n
        ga, gv = ga + np.outer(gu, before), gu @ a
    return ga, gv


def _root_mean(x):
    return np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)


def _rms_norm_back(g, x, w):
    r = _root_mean(x)
    z, h = x / r, g * w
    return (h - z * np.mean(h * z, axis=-1, keepdims=True)) / r, np.sum(g * z, axis=0)


def _squared_hinge(x, w):
    return np.sum(np.maximum(1.0 - SIGNS * (x @ w), 0.0) ** 2)


def _squared_hinge_back(g, x, w):
    c = -2.0 * g * SIGNS * np.maximum(1.0 - SIGNS * (x @ w), 0.0)
    return np.outer(c, w), c @ x


LEARNING = [
    Case("negative binomial counts", _counts, each(_counts_back, 2),
         (np.array([0.7, 0.4]), np.array(0.3))),
    Case("survival, two censored", _survival, [*each(_survival_back, 2), None],
         (_draw(6, 2), np.array([0.6, -0.4]), EVENTS)),
    Case("smoothed labels, weighted classes", lambda z, w, t: _weighted(z, w, t)[0],
         [*each(_weighted_back, 2), None],
         (_draw(4, 5), np.array([0.5, 1.0, 2.0, 0.8, 3.0]), np.array([2, 0, 2, 4]))),
    Case("factors of a half-seen matrix", _factors, each(_factors_back, 3),
         (_draw(4, 2), _draw(5, 2), np.array(0.3))),
    Case("power iteration", _dominant, each(_dominant_back, 2),
         (_draw(4, 4) + 2.0 * np.eye(4), _draw(4))),
    Case("RMS norm", lambda x, w: x / _root_mean(x) * w, each(_rms_norm_back, 2),
         (_draw(3, 5), 1.0 + 0.2 * _draw(5))),
    Case("squared hinge, two at 0", _squared_hinge, each(_squared_hinge_back, 2),
         (np.array([[1.0, 0.0], [0.0, -2.0], [0.5, 0.5], [-1.0, 1.0]]), np.array([1.0, -0.5])),
         second=False),
]  # fmt: skip


# ---- Signals and tables.

WAVES = np.hanning(14)[1:-1] * np.exp(2j * math.pi / 12 * np.outer(np.arange(7), np.arange(12)))
CELLS = np.arange(1.0, 4.0)


def _spectrum(x):
    even, odd = WAVES.real @ x, WAVES.imag @ x
    power = even * even + odd * odd
    return even, odd, power / np.sum(power), np.sum(power)


def _disorder(x):
    p = _spectrum(x)[2]
    return -np.sum(p * np.log(p))


def _disorder_rule(g, y, x):
    even, odd, p, total = _spectrum(x)
    c = -2.0 * g * (np.log(p) + y) / total
    return (c * even) @ WAVES.real + (c * odd) @ WAVES.imag


def _log_odds(p):
    if not np.all((p.real > 0.0) & (p.real < 1.0)):
        raise ValueError("no probabilities")
    return np.log(p / (1.0 - p))


def _blend(t):
    """Weights of the four values around, and their slopes."""
    return (
        (-t + 2.0 * t**2 - t**3, 2.0 - 5.0 * t**2 + 3.0 * t**3, t + 4.0 * t**2 - 3.0 * t**3,
         t**3 - t**2),
        (4.0 * t - 1.0 - 3.0 * t**2, 9.0 * t**2 - 10.0 * t, 1.0 + 8.0 * t - 9.0 * t**2,
         3.0 * t**2 - 2.0 * t),
    )  # fmt: skip


def _cubic(x, v):
    k = np.floor(x.real).astype(int)
    return 0.5 * sum(w * v[k + j - 1] for j, w in enumerate(_blend(x - k)[0]))


def _cubic_back(g, x, v):
    cell = (x[:, None] >= CELLS) * (x[:, None] < CELLS + 1.0) * 1.0
    at = [np.pad(cell, ((0, 0), (j, 3 - j))) for j in range(4)]
    weights, slopes = (
        0.5 * sum(w[:, None] * a for w, a in zip(ws, at, strict=True))
        for ws in _blend(x - cell @ CELLS)
    )
    return g * (slopes @ v), g @ weights


SIGNALS = [
    Case("spectral entropy", _disorder, [_disorder_rule], (_draw(12),)),
    Case("log odds, an error outside", _log_odds, [lambda g, y, p: g / (p * (1.0 - p))],
         (np.array([1e-4, 0.3, 0.9998]),)),
    Case("cubic at a table's end", _cubic, each(_cubic_back, 2),
         (np.array([3.995, 1.3, 2.6]), _draw(6))),
]  # fmt: skip


# ---- Exactly at kinks.

FALLING = np.array([1.0, 0.6, 0.5, 0.2])


def _tolerant_rule(g, y, x, t):
    return g * np.sign(x - t) * (np.abs(x - t) > 0.5)


def _sorted_rule(g, y, x):
    """Elements of one size share the weights of their places."""
    size, totals = np.abs(x), np.concatenate([[0.0], np.cumsum(FALLING)])
    above = np.sum(size > size[:, None], axis=1)
    tied = np.sum(size == size[:, None], axis=1)
    return g * np.sign(x) * (totals[above + tied] - totals[above]) / tied


def _nearest(x, t):
    return np.min(np.sum((x - t) ** 2, axis=1))


def _nearest_back(g, x, t):
    d = np.sum((x - t) ** 2, axis=1)
    tied = (d == np.min(d)) * 1.0
    c = 2.0 * g * (tied / np.sum(tied))[:, None] * (x - t)
    return c, -np.sum(c, axis=0)


def _hard_swish_rule(g, y, x):
    return g * ((2.0 * x + 3.0) / 6.0 * (np.abs(x) < 3.0) + (x >= 3.0))


def _rivals(s, t):
    hot = np.eye(s.shape[1])[t]
    rivals = s - 1e9 * hot
    return hot, rivals, np.max(rivals, axis=1)


def _margins(s, t):
    hot, _, best = _rivals(s, t)
    return np.maximum(1.0 + best - np.sum(s * hot, axis=1), 0.0)


def _margins_rule(g, y, s, t):
    hot, rivals, best = _rivals(s, t)
    tied = (rivals == best[:, None]) * 1.0
    on = 1.0 + best - np.sum(s * hot, axis=1) > 0
    return (g * on)[:, None] * (tied / _sum(tied) - hot)


KINKS = [
    _kink("tolerant loss, two at its edge",
          lambda x, t: np.sum(np.maximum(np.abs(x - t) - 0.5, 0.0)),
          [_tolerant_rule, lambda g, y, x, t: -_tolerant_rule(g, y, x, t)],
          (np.array([1.5, -0.5, 0.2, 2.5]), np.array([1.0, 0.0, 0.0, 1.0]))),
    _kink("sorted L1, two tied", lambda x: np.sort(np.abs(x))[::-1] @ FALLING, [_sorted_rule],
          (np.array([1.0, -1.0, 0.3, 2.0]),)),
    _kink("nearest of three paths, tied", _nearest, each(_nearest_back, 2),
          (np.array([[1.0, 2.0], [2.0, -1.0], [3.0, 1.0]]), np.array([0.0, 0.0]))),
    _kink("hard swish at its bends", lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
          [_hard_swish_rule], (np.array([-3.0, 3.0, 1.2, -4.0, 5.0]),)),
    _kink("margins, rivals tied", _margins, [_margins_rule, None],
          (np.array([[0.5, 1.0, 1.0], [0.2, -0.3, 2.0], [1.0, 0.0, -1.0]]), np.array([0, 2, 0]))),
]  # fmt: skip


# ---- In single precision.

PLACES = np.arange(5, dtype=np.float32)[:, None]


def _gru(x, h, w, u):
    z, r = np.split(_sigmoid(np.concatenate([x, h], axis=1) @ w), 2, axis=1)
    n = np.tanh(np.concatenate([x, r * h], axis=1) @ u)
    return (1.0 - z) * n + z * h


def _gru_back(g, x, h, w, u):
    k, joined = x.shape[1], np.concatenate([x, h], axis=1)
    z, r = np.split(_sigmoid(joined @ w), 2, axis=1)
    kept = np.concatenate([x, r * h], axis=1)
    n = np.tanh(kept @ u)
    gn = g * (1.0 - z) * (1.0 - n * n)
    c = gn @ u.T
    gates = [g * (h - n) * z * (1.0 - z), c[:, k:] * h * r * (1.0 - r)]
    gates = np.concatenate(gates, axis=1)
    back = gates @ w.T
    gx, gh = c[:, :k] + back[:, :k], g * z + c[:, k:] * r + back[:, k:]
    return gx, gh, joined.T @ gates, kept.T @ gn


def _squeezed(x, w, v):
    s = np.mean(x, axis=(1, 2))
    h = np.tanh(s @ w)
    return s, h, _sigmoid(h @ v)


def _excited_back(g, x, w, v):
    s, h, e = _squeezed(x, w, v)
    a = np.sum(g * x, axis=(1, 2)) * e * (1.0 - e)
    b = (v @ a) * (1.0 - h * h)
    pixels = x.shape[1] * x.shape[2]
    return g * e[:, None, None] + (w @ b)[:, None, None] / pixels, np.outer(s, b), np.outer(h, a)


def _rotary(x, f):
    c, s = np.cos(PLACES * f), np.sin(PLACES * f)
    a, b = x[:, :3], x[:, 3:]
    return np.concatenate([a * c - b * s, a * s + b * c], axis=1)


def _rotary_back(g, x, f):
    y = _rotary(x, f)
    turned = np.concatenate([-y[:, 3:], y[:, :3]], axis=1)
    c = np.sum(PLACES * np.sum(np.reshape(g * turned, (5, 2, 3)), axis=1), axis=0)
    return _rotary(g, -f), c


SINGLE = [
    _single("float32 GRU cell", _gru, each(_gru_back, 4),
            (_single_draw(2, 3), _single_draw(2, 4), 0.4 * _single_draw(7, 8),
             0.4 * _single_draw(7, 4))),
    _single("float32 squeeze and excite",
            lambda x, w, v: x * _squeezed(x, w, v)[2][:, None, None], each(_excited_back, 3),
            (_single_draw(3, 4, 2), _single_draw(3, 2), _single_draw(2, 3))),
    _single("float32 rotary embedding", _rotary, each(_rotary_back, 2),
            (_single_draw(5, 6), np.array([1.0, 0.3, 0.1], np.float32))),
]  # fmt: skip

CASES = [*SCIENCE, *LEARNING, *SIGNALS, *KINKS, *SINGLE]
