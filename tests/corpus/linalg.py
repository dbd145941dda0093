"""Products, inverses and contractions."""

from __future__ import annotations

import numpy as np

from .case import Case

_rng = np.random.default_rng(3)

X = np.array([0.7, -1.3, 2.1])
V = np.array([0.4, 0.9, -0.5, 1.1])
A, B = _rng.standard_normal((3, 4)), _rng.standard_normal((4, 3))
S, T = _rng.standard_normal((3, 3)), _rng.standard_normal((3, 3))
REGULAR = S / 4.0 + 2.0 * np.eye(3)
BATCH = _rng.standard_normal((2, 3, 4)), _rng.standard_normal((2, 4, 2))
SIGNAL, KERNEL = _rng.standard_normal(12), np.array([0.5, -1.0, 0.3])
WIDE = _rng.standard_normal((20, 60)), _rng.standard_normal(60)

CASES = [
    Case("matrix product", lambda a, b: a @ b,
         [lambda g, y, a, b: g @ b.T, lambda g, y, a, b: a.T @ g], (A, B)),
    Case("square matrix product", lambda a, b: a @ b,
         [lambda g, y, a, b: g @ b.T, lambda g, y, a, b: a.T @ g], (S, T)),
    Case("matrix times vector", lambda a, v: np.tanh(a @ v),
         [lambda g, y, a, v: np.outer(g * (1.0 - np.tanh(a @ v) ** 2), v),
          lambda g, y, a, v: (g * (1.0 - np.tanh(a @ v) ** 2)) @ a], (A, V)),
    Case("20 x 60 times vector", lambda a, v: a @ v,
         [lambda g, y, a, v: np.outer(g, v), lambda g, y, a, v: g @ a], WIDE),
    Case("dot product", lambda a, b: a @ b, [lambda g, y, a, b: g * b, lambda g, y, a, b: g * a],
         (X, V[:3])),
    Case("outer product", lambda a, b: np.outer(a, b),
         [lambda g, y, a, b: g @ b, lambda g, y, a, b: a @ g], (X, V)),
    Case("quadratic form", lambda x, a: x @ a @ x,
         [lambda g, y, x, a: g * (a @ x + a.T @ x), lambda g, y, x, a: g * np.outer(x, x)], (X, S)),
    Case("Gram matrix", lambda a: a.T @ a, [lambda g, y, a: a @ (g + g.T)], (A,)),
    Case("trace of a square", lambda a: np.trace(a @ a), [lambda g, y, a: 2.0 * g * a.T], (S,)),
    Case("inverse", np.linalg.inv,
         [lambda g, y, a: -np.linalg.inv(a).T @ g @ np.linalg.inv(a).T], (REGULAR,)),
    Case("determinant", np.linalg.det,
         [lambda g, y, a: g * np.linalg.det(a) * np.linalg.inv(a).T], (REGULAR,)),
    Case("solve", np.linalg.solve,
         [lambda g, y, a, b: -np.outer(np.linalg.inv(a).T @ g, np.linalg.inv(a) @ b),
          lambda g, y, a, b: np.linalg.inv(a).T @ g], (REGULAR, X)),
    Case("batched product", lambda a, b: a @ b,
         [lambda g, y, a, b: g @ np.swapaxes(b, 1, 2), lambda g, y, a, b: np.swapaxes(a, 1, 2) @ g],
         BATCH),
    Case("contraction of three", lambda a, b, v: np.einsum("ij,jk,j->ik", a, b, v),
         [lambda g, y, a, b, v: g @ b.T * v, lambda g, y, a, b, v: v[:, None] * (a.T @ g),
          lambda g, y, a, b, v: np.sum((g @ b.T) * a, axis=0)], (A, B, V)),
    Case("convolution", lambda x, w: np.convolve(x, w, "valid"),
         [lambda g, y, x, w: np.convolve(g, w[::-1], "full"),
          lambda g, y, x, w: np.convolve(x, g[::-1], "valid")[::-1]], (SIGNAL, KERNEL)),
]  # fmt: skip
