"""Functions of one number, and of two, applied to every element."""

from __future__ import annotations

import math

import numpy as np

from .case import Case, sum_to

_rng = np.random.default_rng(1)

X = np.array([0.7, -1.3, 2.1, 0.2])
P = np.array([0.3, 1.2, 2.5, 0.9])
M = _rng.standard_normal((3, 4))
MANY = _rng.standard_normal((7, 9))
LARGE = _rng.uniform(-1.0, 1.0, (30, 42))

_C = math.sqrt(2.0 / math.pi)


def _gelu(x):
    return 0.5 * x * (1.0 + np.tanh(_C * (x + 0.044715 * x**3)))


def _gelu_rule(g, y, x):
    t = np.tanh(_C * (x + 0.044715 * x**3))
    inner = _C * (1.0 + 3.0 * 0.044715 * x * x)
    return g * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)


ONE = [
    Case("polynomial", lambda x: x**3 - 2.0 * x,
         [lambda g, y, x: g * (3.0 * x * x - 2.0)], (X,)),
    Case("sin x times x", lambda x: np.sin(x) * x,
         [lambda g, y, x: g * (np.cos(x) * x + np.sin(x))], (X,)),
    Case("exp sin, 63 outputs", lambda x: np.exp(np.sin(x)),
         [lambda g, y, x: g * np.exp(np.sin(x)) * np.cos(x)], (MANY,)),
    Case("gaussian", lambda x: np.exp(-x * x),
         [lambda g, y, x: -2.0 * g * x * np.exp(-x * x)], (X,)),
    Case("rational", lambda x: x / (1.0 + x * x),
         [lambda g, y, x: g * (1.0 - x * x) / (1.0 + x * x) ** 2], (X,)),
    Case("softplus", lambda x: np.log1p(np.exp(x)),
         [lambda g, y, x: g / (1.0 + np.exp(-x))], (M,)),
    Case("swish", lambda x: x / (1.0 + np.exp(-x)),
         [lambda g, y, x: g * (1.0 + np.exp(-x) * (1.0 + x)) / (1.0 + np.exp(-x)) ** 2], (M,)),
    Case("gelu", _gelu, [_gelu_rule], (M,)),
    Case("square root", lambda x: np.sqrt(x), [lambda g, y, x: 0.5 * g / np.sqrt(x)], (P,)),
    Case("inverse tangent", lambda x: np.arctan(x), [lambda g, y, x: g / (1.0 + x * x)], (X,)),
    Case("oscillating", lambda x: np.sin(50.0 * x),
         [lambda g, y, x: 50.0 * g * np.cos(50.0 * x)], (X,)),
    Case("steep", lambda x: np.tanh(50.0 * x),
         [lambda g, y, x: 50.0 * g * (1.0 - np.tanh(50.0 * x) ** 2)],
         (np.array([0.01, -0.02, 0.03]),)),
    Case("saturated sigmoid", lambda x: 1.0 / (1.0 + np.exp(-x)),
         [lambda g, y, x: g * np.exp(-x) / (1.0 + np.exp(-x)) ** 2],
         (np.array([-40.0, 0.0, 20.0]),)),
    Case("expm1 in its tail", lambda x: np.expm1(x), [lambda g, y, x: g * np.exp(x)],
         (np.array([-30.0, 1e-9, 2.0]),)),
    Case("near a pole", lambda x: 1.0 / (x - 1.0),
         [lambda g, y, x: -g / (x - 1.0) ** 2], (np.array([1.0001, 0.5]),)),
    Case("tanh, 1,260 elements", lambda x: np.tanh(x),
         [lambda g, y, x: g * (1.0 - np.tanh(x) ** 2)], (LARGE,)),
    Case("0-d", lambda x: x * x * x, [lambda g, y, x: 3.0 * g * x * x], (np.array(1.5),)),
    Case("single element", lambda x: np.cos(x),
         [lambda g, y, x: -g * np.sin(x)], (np.array([0.4]),)),
]  # fmt: skip

SCALES = [
    Case("small inputs", lambda x: np.sin(x) * x,
         [lambda g, y, x: g * (np.cos(x) * x + np.sin(x))], (np.array([1e-7, -3e-7, 2e-7]),)),
    Case("large inputs", lambda x: x * np.log(x),
         [lambda g, y, x: g * (np.log(x) + 1.0)], (np.array([1e8, 3e8, 2.5e8]),)),
    Case("1e-7 beside 1e8", lambda x: x * x,
         [lambda g, y, x: 2.0 * g * x], (np.array([1e-7, 1e8, 0.0, 1.0]),)),
    Case("1e-7 beside 1e8, summed", lambda x: np.sum(np.log1p(x * x)),
         [lambda g, y, x: g * 2.0 * x / (1.0 + x * x)], (np.array([1e-7, 1e8, 0.5]),)),
    Case("small gradient", lambda x: 1e-9 * np.exp(x),
         [lambda g, y, x: 1e-9 * g * np.exp(x)], (X,)),
    Case("large offset", lambda x: 1e6 + np.sum(np.sin(x)), [lambda g, y, x: g * np.cos(x)], (X,)),
    Case("50 outputs in 32 decades", lambda x: x * x,
         [lambda g, y, x: 2.0 * g * x], (np.logspace(-8, 8, 50),)),
    Case("exp over decades", lambda x: np.exp(x), [lambda g, y, x: g * np.exp(x)],
         (np.array([-20.0, -5.0, 3.0, 15.0]),)),
]  # fmt: skip

NEAR_KINKS = [
    Case("1e-3 from a kink", lambda x: np.where(x > 1.0, x - 1.0, 0.0 * x),
         [lambda g, y, x: g * (x > 1.0)], (np.array([1.001, 0.999, 2.0]),)),
    Case("1e-6 from a kink", lambda x: np.where(x > 1.0, x - 1.0, 0.0 * x),
         [lambda g, y, x: g * (x > 1.0)], (np.array([1.0 + 1e-6, 1.0 - 1e-6, 2.0]),)),
    Case("near a kink, curved", lambda x: np.abs(np.sin(x) - 0.5),
         [lambda g, y, x: g * np.sign(np.sin(x) - 0.5) * np.cos(x)],
         (np.array([0.52359, 0.5236, 1.0]),)),
]  # fmt: skip

TWO = [
    Case("power", lambda x, p: x**p,
         [lambda g, y, x, p: g * p * x ** (p - 1.0), lambda g, y, x, p: g * x**p * np.log(x)],
         (P, X)),
    Case("arctan2", lambda a, b: np.arctan2(a, b),
         [lambda g, y, a, b: g * b / (a * a + b * b), lambda g, y, a, b: -g * a / (a * a + b * b)],
         (X, P)),
    Case("logaddexp", lambda a, b: np.logaddexp(a, b),
         [lambda g, y, a, b: g / (1.0 + np.exp(b - a)),
          lambda g, y, a, b: g / (1.0 + np.exp(a - b))], (X, P)),
    Case("hypotenuse", lambda a, b: np.hypot(a, b),
         [lambda g, y, a, b: g * a / np.sqrt(a * a + b * b),
          lambda g, y, a, b: g * b / np.sqrt(a * a + b * b)], (X, P)),
    Case("three inputs", lambda a, b, c: a * np.sin(b) + c * c * a,
         [lambda g, y, a, b, c: g * (np.sin(b) + c * c), lambda g, y, a, b, c: g * a * np.cos(b),
          lambda g, y, a, b, c: 2.0 * g * a * c], (X, P, X[::-1] + 0.1)),
]  # fmt: skip

BROADCAST = [
    Case("row times matrix", lambda a, b: a * b,
         [lambda g, y, a, b: g * b, lambda g, y, a, b: sum_to(g * a, b.shape)], (M, X)),
    Case("column times row", lambda a, b: np.sin(a) * b,
         [lambda g, y, a, b: sum_to(g * np.cos(a) * b, a.shape),
          lambda g, y, a, b: sum_to(g * np.sin(a), b.shape)], (M[:, :1], X[None])),
    Case("matrix over column", lambda a, b: a / b,
         [lambda g, y, a, b: g / b, lambda g, y, a, b: sum_to(-g * a / (b * b), b.shape)],
         (M, P[:3, None])),
    Case("0-d times vector", lambda a, b: np.exp(a) * b,
         [lambda g, y, a, b: sum_to(g * np.exp(a) * b, ()), lambda g, y, a, b: g * np.exp(a)],
         (np.array(0.3), X)),
    Case("square and row", lambda a, b: a * a + a * b,
         [lambda g, y, a, b: g * (2.0 * a + b), lambda g, y, a, b: sum_to(g * a, b.shape)],
         (M[:, :3], P[:3])),
    Case("three ranks", lambda a, b, c: a * b + c,
         [lambda g, y, a, b, c: sum_to(g * b, a.shape),
          lambda g, y, a, b, c: sum_to(g * a, b.shape), lambda g, y, a, b, c: sum_to(g, ())],
         (M[:, None, :2], M.T[:2, :2], np.array(0.5))),
    Case("row added to a batch of 40", lambda a, b: np.tanh(a + b),
         [lambda g, y, a, b: g * (1.0 - np.tanh(a + b) ** 2),
          lambda g, y, a, b: sum_to(g * (1.0 - np.tanh(a + b) ** 2), b.shape)],
         (LARGE[:, :3].repeat(2, 0)[:40], P[:3])),
]  # fmt: skip

CASES = [*ONE, *SCALES, *NEAR_KINKS, *TWO, *BROADCAST]
