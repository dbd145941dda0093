"""Initial values for parameters.

Each is a function ``(shape, rng=None, dtype="float32") -> ndarray``. For a weight of shape
``(n_in, n_out)`` the fan-in is ``n_in`` and the fan-out ``n_out``; for a vector ``(n_in,)`` the
fan-out is 1. `rng` is an int seed, a `numpy.random.Generator`, or None for fresh entropy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

__all__ = ["INITIALIZERS", "constant", "glorot_normal", "glorot_uniform", "he_normal",
           "he_uniform", "initializer", "normal", "truncated_normal", "uniform",
           "zeros"]  # fmt: skip

if TYPE_CHECKING:  # numpy.random takes a while to import, and is loaded when it is first used
    RNG = int | np.random.Generator | None
    Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Initializer = Callable[[Shape, "RNG", npt.DTypeLike], "Array"]


def _fans(shape: Shape) -> tuple[int, int]:
    if not shape:
        raise ValueError("fan-in and fan-out need a weight of at least one dimension, got shape ()")
    return shape[0], math.prod(shape[1:])


def uniform(
    shape: Shape, rng: RNG = None, dtype: npt.DTypeLike = "float32", *, bound: float = 1.0
) -> Array:
    """Draw uniformly from [-bound, bound), a distribution of variance bound^2 / 3.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    rng : int, numpy.random.Generator or None
        Source of randomness; None for fresh entropy.
    dtype : dtype
        Floating type of the result.
    bound : float
        Positive.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> print(init.uniform((2,), rng=0, bound=0.5))
    [ 0.13696168 -0.23021328]
    """
    return np.asarray(np.random.default_rng(rng).uniform(-bound, bound, shape), dtype)


def normal(
    shape: Shape, rng: RNG = None, dtype: npt.DTypeLike = "float32", *, std: float = 1.0
) -> Array:
    """Draw from a normal distribution of mean 0 and standard deviation `std`.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    rng : int, numpy.random.Generator or None
        Source of randomness; None for fresh entropy.
    dtype : dtype
        Floating type of the result.
    std : float
        Standard deviation.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> print(init.normal((2,), rng=0, std=0.1))
    [ 0.01257302 -0.01321049]
    """
    return np.asarray(std * np.random.default_rng(rng).standard_normal(shape), dtype)


def he_uniform(shape: Shape, rng: RNG = None, dtype: npt.DTypeLike = "float32") -> Array:
    """Draw uniformly with variance 2 / n_in, which keeps a relu layer's scale.

    The bound is ``sqrt(6 / n_in)``.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result, ``(n_in, n_out)`` or ``(n_in,)``.
    rng : int, numpy.random.Generator or None
        Source of randomness; None for fresh entropy.
    dtype : dtype
        Floating type of the result.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If `shape` is ``()``, which has no fan-in.

    References
    ----------
    K. He et al., https://arxiv.org/abs/1502.01852, equation 10.

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> print(init.he_uniform((3, 1), rng=0).ravel())
    [ 0.38738614 -0.6511415  -1.2983229 ]
    """
    return uniform(shape, rng, dtype, bound=math.sqrt(6.0 / _fans(shape)[0]))


def he_normal(shape: Shape, rng: RNG = None, dtype: npt.DTypeLike = "float32") -> Array:
    """Draw from a normal distribution of variance 2 / n_in, which keeps a relu layer's scale.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result, ``(n_in, n_out)`` or ``(n_in,)``.
    rng : int, numpy.random.Generator or None
        Source of randomness; None for fresh entropy.
    dtype : dtype
        Floating type of the result.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If `shape` is ``()``, which has no fan-in.

    References
    ----------
    K. He et al., https://arxiv.org/abs/1502.01852, equation 10.

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> print(init.he_normal((3, 1), rng=0).ravel())
    [ 0.10265829 -0.10786317  0.5229029 ]
    """
    return normal(shape, rng, dtype, std=math.sqrt(2.0 / _fans(shape)[0]))


def glorot_uniform(shape: Shape, rng: RNG = None, dtype: npt.DTypeLike = "float32") -> Array:
    """Draw uniformly with variance 2 / (n_in + n_out).

    The bound is ``sqrt(6 / (n_in + n_out))``.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result, ``(n_in, n_out)`` or ``(n_in,)``.
    rng : int, numpy.random.Generator or None
        Source of randomness; None for fresh entropy.
    dtype : dtype
        Floating type of the result.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If `shape` is ``()``, which has no fan-in.

    References
    ----------
    X. Glorot and Y. Bengio, AISTATS 2010, equation 16.

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> print(init.glorot_uniform((3, 1), rng=0).ravel())
    [ 0.33548626 -0.56390506 -1.1243806 ]
    """
    return uniform(shape, rng, dtype, bound=math.sqrt(6.0 / sum(_fans(shape))))


def glorot_normal(shape: Shape, rng: RNG = None, dtype: npt.DTypeLike = "float32") -> Array:
    """Draw from a normal distribution of variance 2 / (n_in + n_out).

    Parameters
    ----------
    shape : tuple of int
        Shape of the result, ``(n_in, n_out)`` or ``(n_in,)``.
    rng : int, numpy.random.Generator or None
        Source of randomness; None for fresh entropy.
    dtype : dtype
        Floating type of the result.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If `shape` is ``()``, which has no fan-in.

    References
    ----------
    X. Glorot and Y. Bengio, AISTATS 2010, equation 12.

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> print(init.glorot_normal((3, 1), rng=0).ravel())
    [ 0.08890469 -0.09341224  0.4528472 ]
    """
    return normal(shape, rng, dtype, std=math.sqrt(2.0 / sum(_fans(shape))))


def truncated_normal(
    shape: Shape,
    rng: RNG = None,
    dtype: npt.DTypeLike = "float32",
    *,
    mean: float = 0.0,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
) -> Array:
    """Draw from a normal distribution, drawing again whatever falls outside [low, high].

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    rng : int, numpy.random.Generator or None
        Source of randomness.
    dtype : dtype
        Floating type of the result.
    mean, std : float
        Of the normal distribution before truncation.
    low, high : float
        Bounds of the result, in the same unit as `mean` (not multiples of `std`).

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If the interval is empty or so far from the mean that next to nothing falls into it.

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> w = init.truncated_normal((100,), rng=0, low=-1.0, high=1.0)
    >>> bool(abs(w).max() <= 1.0)
    True
    """
    rng = np.random.default_rng(rng)
    if not std > 0:
        raise ValueError(f"truncated_normal: std must be positive, got {std}")
    lo, hi = (low - mean) / std, (high - mean) / std
    inside = 0.5 * (math.erf(hi / math.sqrt(2)) - math.erf(lo / math.sqrt(2)))
    if not inside > 1e-3:
        raise ValueError(
            f"truncated_normal: only {inside:.2g} of a normal distribution of mean {mean} and "
            f"standard deviation {std} lies in [{low}, {high}]"
        )
    x = np.asarray(rng.standard_normal(shape))
    while (outside := (x < lo) | (x > hi)).any():
        x[outside] = rng.standard_normal(np.count_nonzero(outside))
    return np.asarray(mean + std * x, dtype)


def constant(
    shape: Shape, rng: RNG = None, dtype: npt.DTypeLike = "float32", *, value: float = 0.0
) -> Array:
    """Fill with `value`.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    rng : int, numpy.random.Generator or None
        Not used: initializers share one signature.
    dtype : dtype
        The type of the result.
    value : float
        What every element is.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> print(init.constant((2,), value=0.5))
    [0.5 0.5]
    """
    return np.full(shape, value, dtype)


def zeros(shape: Shape, rng: RNG = None, dtype: npt.DTypeLike = "float32") -> Array:
    """Fill with 0.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    rng : int, numpy.random.Generator or None
        Not used: initializers share one signature.
    dtype : dtype
        The type of the result.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> print(init.zeros((2,)))
    [0. 0.]
    """
    return np.zeros(shape, dtype)


#: What ``init=`` may name.
INITIALIZERS: dict[str, Initializer] = {
    "he_uniform": he_uniform, "he_normal": he_normal, "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal, "truncated_normal": truncated_normal, "uniform": uniform,
    "normal": normal, "zeros": zeros, "constant": constant,
}  # fmt: skip


def initializer(name: str | Initializer) -> Initializer:
    """Look an initializer up: a name, or a function (returned as it is).

    Parameters
    ----------
    name : str or callable
        A key of `INITIALIZERS`, or a function ``(shape, rng, dtype) -> ndarray``.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.

    Examples
    --------
    >>> from tinygrad_nn.nn import init
    >>> init.initializer("he_uniform") is init.he_uniform
    True
    """
    if callable(name):
        return name
    if not isinstance(name, str) or name not in INITIALIZERS:
        raise ValueError(
            f"unknown initializer {name!r}; known are {', '.join(INITIALIZERS)}, or a function "
            f"(shape, rng, dtype) -> array"
        )
    return INITIALIZERS[name]
