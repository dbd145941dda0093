"""What the families share."""

from __future__ import annotations

import numpy as np


def stream(after=0):
    """Random numbers, from one stream of which so many belong to other families."""
    rng = np.random.default_rng(11)
    rng.bit_generator.advance(after)
    return rng


def normals(rng):
    """A function that draws them in a shape."""
    return lambda *shape: rng.standard_normal(shape)


def _sum(x):
    return np.sum(x, axis=-1, keepdims=True)


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def _logsumexp(x, axis):
    return np.log(np.sum(np.exp(x), axis=axis))
