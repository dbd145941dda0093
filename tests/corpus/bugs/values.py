"""The rule returns other numbers, or another shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .bug import Bug, after, one, some


def _where(fits: Callable[[tuple[int, ...]], bool], change: Callable[[Any], Any]) -> Bug:
    """A bug in what a rule returns, for inputs of some shapes."""
    bug = after(lambda c, x: change(c))
    return lambda case, i: bug(case, i) if fits(np.shape(case.inputs[i])) else None


_square = partial(_where, lambda shape: len(shape) == 2 and shape[0] == shape[1])
_vectors = partial(_where, lambda shape: len(shape) > 0)
_matrices = partial(_where, lambda shape: len(shape) > 1)


VALUES: dict[str, Bug] = {
    "sign":                          after(lambda c, x: -c),
    "factor 2":                      after(lambda c, x: 2.0 * c),
    "factor 1/2":                    after(lambda c, x: 0.5 * c),
    "factor 1.1":                    after(lambda c, x: 1.1 * c),
    "zero":                          after(lambda c, x: 0.0 * c),
    "missing 1/n":                   after(lambda c, x: c * float(x.size)),
    "1/n too much":                  after(lambda c, x: c / float(max(x.size, 1))),
    "wrong n":                       after(lambda c, x: c * ((x.size + 1.0) / max(x.size, 1))),
    "1e-3 everywhere":               after(lambda c, x: 1.001 * c),
    "1e-5 everywhere":               after(lambda c, x: 1.00001 * c),
    "one element by 10 %":           after(lambda c, x: c * (1.0 + 0.1 * one(x))),
    "one element by 1e-3":           after(lambda c, x: c * (1.0 + 1e-3 * one(x))),
    "one element missing":           after(lambda c, x: c * (1.0 - one(x))),
    "half of the elements missing":  after(lambda c, x: c * some(x)),
    "half of the elements by 1e-3":  after(lambda c, x: c * (1.0 + 1e-3 * some(x))),
    "nan at one element":            after(lambda c, x: c + np.where(one(x) > 0, np.nan, 0.0)),
    "infinite at one element":       after(lambda c, x: c + np.where(one(x) > 0, np.inf, 0.0)),
    "plus a constant":               after(lambda c, x: c + 1e-2),
    "absolute value":                after(lambda c, x: np.abs(c)),
    "squared":                       after(lambda c, x: c * np.abs(c)),
    "clipped":                       after(lambda c, x: np.clip(c, -1.0, 1.0)),
    "of unit norm":                  after(lambda c, x: c / np.sqrt(np.sum(c * c) + 1e-30)),
    "mean for every element":        after(lambda c, x: 0.0 * c + np.sum(c) / max(x.size, 1)),
    "sum for every element":         after(lambda c, x: 0.0 * c + np.sum(c)),
    "mean subtracted":               after(lambda c, x: c - np.sum(c) / max(x.size, 1)),
    "in float32":                    after(lambda c, x: c.astype("float32")),
    "in float16":                    after(lambda c, x: np.clip(c, -6e4, 6e4).astype("float16")),
    "rounded to 1e-3":               after(lambda c, x: np.round(c, 3)),
}  # fmt: skip

PLACES: dict[str, Bug] = {
    "rolled":                   _vectors(lambda c: np.roll(c, 1)),
    "rolled in the last axis":  _vectors(lambda c: np.roll(c, 1, axis=-1)),
    "reversed":                 _vectors(lambda c: np.flip(c)),
    "reversed in the last axis": _vectors(lambda c: np.flip(c, -1)),
    "transposed":               _square(lambda c: c.T),
    "reshaped transpose":       _matrices(lambda c: np.reshape(c.T, c.shape)),
    "symmetrised":              _square(lambda c: (c + c.T) / 2.0),
    "upper triangle":           _square(np.triu),
    "diagonal":                 _square(lambda c: c * np.eye(c.shape[0])),
    "first row for all":        _vectors(lambda c: 0.0 * c + c[:1]),
    "one axis too many":        after(lambda c, x: c[None]),
    "flattened":                after(lambda c, x: np.reshape(c, (-1,))),
    "summed to a number":       after(lambda c, x: np.sum(c)),
    "transposed shape":         _matrices(lambda c: c.T),
    "last row left out":        _vectors(lambda c: c[:-1]),
}  # fmt: skip

KINDS = VALUES | PLACES
