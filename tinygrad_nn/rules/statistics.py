"""Averages, order statistics, covariances and counts, and their relatives that pass over nan."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.primitive import implements
from tinygrad_nn.rules.elementwise import ceil, clip, equal, floor, isnan, logical_not, rint, where
from tinygrad_nn.rules.indexing import ARRAY, getitem, scatter_add, take_along_axis
from tinygrad_nn.rules.joining import concatenate
from tinygrad_nn.rules.linalg import matmul
from tinygrad_nn.rules.reduction import Axis, mean, sum_
from tinygrad_nn.rules.sequence import argpartition, argsort, converted
from tinygrad_nn.rules.shape import astype, broadcast_to, moveaxis, reshape, shaped, transpose


def _raw(x: Any) -> Any:
    """Return the numbers of what serves as a constant."""
    return x.data if hasattr(x, "__primitive__") else x


def _constant(x: Any, what: str) -> Any:
    if getattr(x, "requires_grad", False):
        raise NotDifferentiableError(
            f"{what} is taken for a constant, and requires a gradient here. Give plain numbers, or "
            f"`.detach()` it where no gradient is needed"
        )
    return _raw(x)


# --- averages ------------------------------------------------------------------------------------


@implements(np.average)
def _np_average(
    a: Any,
    axis: Axis = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: Any = False,
) -> Any:
    a = shaped(a)
    keepdims = bool(keepdims) and keepdims is not np._NoValue
    if weights is None:
        y = mean(a, axis=axis, keepdims=keepdims)
        total: Any = np.asarray(a.size / max(math.prod(y.shape), 1), y.dtype)
    else:
        weights = shaped(weights)
        if weights.shape != a.shape:
            weights = _laid_out(weights, a, axis)
        exact = a.dtype.kind in "iub"
        dtype = np.result_type(a.dtype, weights.dtype, *(("f8",) if exact else ()))
        weights = converted(weights, dtype)
        total = sum_(weights, axis=axis, keepdims=keepdims)
        if np.any(_raw(total) == 0):
            raise ZeroDivisionError("the weights sum to zero, so that they cannot be normalised")
        y = sum_(converted(a, dtype) * weights, axis=axis, keepdims=keepdims) / total
    return (y, broadcast_to(total, shape=y.shape)) if returned else y


def _laid_out(weights: Any, a: Any, axis: Axis) -> Any:
    """Give weights of the reduced axes alone the shape of the whole array."""
    if axis is None:
        raise TypeError(
            f"average: weights of shape {weights.shape} for an array of shape {a.shape} need an "
            f"axis"
        )
    axes = normalize_axis_tuple(axis, a.ndim)
    expected = tuple(a.shape[i] for i in axes)
    if weights.shape != expected:
        raise ValueError(
            f"average: weights along axis {axis} must have shape {expected}, got {weights.shape}"
        )
    order = sorted(range(len(axes)), key=axes.__getitem__)
    lengths = [n if i in axes else 1 for i, n in enumerate(a.shape)]
    weights = reshape(transpose(weights, axes=tuple(order)), shape=tuple(lengths))
    return broadcast_to(weights, shape=a.shape)


# --- order statistics ----------------------------------------------------------------------------


def _hyndman_fan(alpha: float, beta: float) -> Callable[[Any, Any], Any]:
    return lambda n, q: n * q + (alpha + q * (1.0 - alpha - beta)) - 1.0


def _closest(n: Any, q: Any) -> Any:
    # Halfway between two, the one with an even number, counted from one.
    return rint((n * q - 2.0) * 0.5 + 0.5 * _odd(n * q)) * 2.0 - _odd(n * q) + 1.0


#: The place of a quantile among n sorted numbers, counted from 0: between two numbers, their line.
#: R. J. Hyndman and Y. Fan, Amer. Statist. 50 (1996), 361-365, doi:10.1080/00031305.1996.10473566.
_METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "inverted_cdf": lambda n, q: ceil(n * q - 1.0),
    "averaged_inverted_cdf": lambda n, q: 0.5 * (floor(n * q) + ceil(n * q)) - 0.5,
    "closest_observation": _closest,
    "interpolated_inverted_cdf": _hyndman_fan(0.0, 1.0),
    "hazen": _hyndman_fan(0.5, 0.5),
    "weibull": _hyndman_fan(0.0, 0.0),
    "linear": lambda n, q: (n - 1.0) * q,
    "median_unbiased": _hyndman_fan(1.0 / 3.0, 1.0 / 3.0),
    "normal_unbiased": _hyndman_fan(3.0 / 8.0, 3.0 / 8.0),
    "lower": lambda n, q: floor((n - 1.0) * q),
    "higher": lambda n, q: ceil((n - 1.0) * q),
    "midpoint": lambda n, q: 0.5 * (floor((n - 1.0) * q) + ceil((n - 1.0) * q)),
    "nearest": lambda n, q: rint((n - 1.0) * q),
}
