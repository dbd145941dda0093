"""Rounding noise, measured and not assumed: of a function's values, and of its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import (
    JUMP,
    NOISE_SAMPLES,
    NOISE_SPACING,
    NOISE_WIDENING,
    ULP_MOVES,
    WIDER,
)

__all__ = ["gradient_noise", "noise_level", "signs"]

Array = npt.NDArray[Any]


def noise_level(
    function: Callable[[Array], Array], x: Array, scale: Array, rng: np.random.Generator,
    dtype: np.dtype[Any],
) -> Array:  # fmt: skip
    """Measure how far rounding puts a function's values off.

    The fourth difference of a smooth function at tiny steps is zero but for rounding: its median
    over a few steps, divided by the norm sqrt(70) of its coefficients (1, -4, 6, -4, 1), is the
    rounding error of one value. After J. J. Moré and S. M. Wild, SIAM J. Sci. Comput. 33 (2011),
    1292-1314, doi:10.1137/100786125.

    Parameters
    ----------
    function : callable
        From x to K values.
    x, scale : ndarray, shape (n,)
        The point, and the size of a move in each element.
    rng : numpy.random.Generator
        Draws the direction.
    dtype : dtype
        That the function computes in.

    Returns
    -------
    ndarray, shape (K,)
        At least half a unit in the last place.
    """
    spacing = NOISE_SPACING.get(dtype, NOISE_SPACING[np.dtype(np.float32)])
    d = scale * rng.uniform(0.5, 1.0, x.shape) * rng.choice([-1.0, 1.0], x.shape)
    level = np.zeros(())
    quiet = np.True_
    for widen in NOISE_WIDENING:
        with np.errstate(all="ignore"):
            steps = (k * widen * spacing * d for k in range(NOISE_SAMPLES))
            samples = np.array([function(x + step) for step in steps])
            fourth = np.median(abs(np.diff(samples, n=4, axis=0)), axis=0) * (1.5 / 70.0**0.5)
        floor = 0.5 * float(np.finfo(dtype).eps) * abs(samples[0])
        level = np.where(quiet, np.fmax(floor, np.where(np.isfinite(fourth), fourth, 0.0)), level)
        # Differences of 0 tell nothing: the moves may have been lost beside a larger number on
        # the way, as in log(cosh(x)) near 0, and the rounding of that number is the noise.
        quiet = quiet & (fourth == 0.0)
        if not quiet.any():
            break
    return level + 1e-300


def gradient_noise(
    derivative: Callable[[Array], Array], x: Array, at_x: Array, eps: float,
    rng: np.random.Generator, undefined: tuple[type[Exception], ...],
    shaken: Callable[[float], Array | None] | None = None,
) -> Array:  # fmt: skip
    """Measure how far rounding puts analytic derivatives off: twice their change over an ulp.

    Parameters
    ----------
    derivative : callable
        From x to (K, n) derivatives.
    x : ndarray, shape (n,)
    at_x : ndarray, shape (K, n)
        The derivatives at x.
    eps : float
        The unit in the last place that x is moved by, relative.
    rng : numpy.random.Generator
        Draws which way the elements are moved.
    undefined : tuple of exception types
        What `derivative` raises where there is none.
    shaken : callable, optional
        Returns the derivatives at x with all numbers on the way moved by so many ulps; may return
        None.

    Returns
    -------
    ndarray, shape (K, n)
        Rows that jump are left out: the move has broken a tie there.
    """
    noise = np.zeros_like(at_x)
    with np.errstate(all="ignore"):
        size = abs(at_x).max(axis=1, keepdims=True, initial=0.0)
        for k in range(ULP_MOVES):
            ulps = eps * rng.choice([-1.0, 1.0], x.shape)
            moved = shaken(1.0) if shaken is not None and k % 3 else None
            by_shaking = moved is not None
            try:
                change = abs((derivative(x * (1.0 + ulps)) if moved is None else moved) - at_x)
            except undefined:
                continue
            steady = (change <= JUMP * size).all(axis=1, keepdims=True)
            if by_shaking and shaken is not None and not steady.all():
                # Noise grows with the moves; what a broken tie changes does not.
                more = shaken(WIDER)
                assert more is not None
                grown = abs(more - at_x).max(axis=1, keepdims=True, initial=0.0)
                steady |= grown > WIDER**0.5 * change.max(axis=1, keepdims=True, initial=0.0)
            noise = np.maximum(noise, np.where(steady, change, 0.0))
    return 2.0 * noise


def signs(rng: np.random.Generator, size: Any) -> Array:
    """Draw numbers of either sign, none of them small."""
    result: Array = rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)
    return result
