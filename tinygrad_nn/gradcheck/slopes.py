"""Derivatives from values alone, each with an error estimate that can be relied on.

A function is sampled along a line at steps of both signs that shrink by a factor of 4. Central,
forward and backward difference quotients are extrapolated to step zero (L. F. Richardson, Phil.
Trans. R. Soc. A 226 (1927), 299-361, doi:10.1098/rsta.1927.0008), each estimate's error is read
off the table of extrapolations, and no estimate is believed that a finer one contradicts. Where
the forward and the backward derivative differ, there is a kink.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import (
    COLUMNS,
    CONTRADICTION,
    FIRST_STEP,
    KINK,
    QUANTUM,
    RATIO,
    RESOLVED,
    RUNGS,
    SETTLED,
    STANDS_OUT,
)

__all__ = ["Ladder", "Slopes", "line_slopes"]

Array = npt.NDArray[Any]


@dataclass(slots=True)
class Slopes:
    """Derivatives of K functions at one point along one line; every field has shape (K,).

    Attributes
    ----------
    value, error : ndarray
        The derivative from both sides together, and a bound of its error by estimate; the error
        is inf where there is no estimate.
    forward, forward_error, backward, backward_error : ndarray
        The one-sided derivatives. Both are taken along the line's direction, so that they are
        equal where the function is smooth.
    kink : ndarray of bool
        Whether the two differ, or one of them does not exist.
    singular : ndarray of bool
        Whether the difference quotients grow without bound, as those of sqrt at 0 do.
    """

    value: Array
    error: Array
    forward: Array
    forward_error: Array
    backward: Array
    backward_error: Array
    kink: Array
    singular: Array


class Ladder:
    """One family of difference quotients, extrapolated to step zero as steps shrink.

    Parameters
    ----------
    power : int
        The quotient's error is a series in the step to this power: 2 for central differences,
        1 for one-sided ones.
    """

    def __init__(self, power: int) -> None:
        self.power = power
        self.quotients: list[Array] = []
        self.noise: list[Array] = []
        self._row: list[Array] = []
        self._levels: list[tuple[Array, Array]] = []

    def add(self, quotient: Array, noise: Array) -> None:
        """Take the quotient at the next step; `noise` is the error that rounding gives it."""
        row = [quotient]
        value = np.full(quotient.shape, np.nan)
        error = np.full(quotient.shape, np.inf)
        for j, coarse in enumerate(self._row[:COLUMNS]):
            row.append(row[j] + (row[j] - coarse) / (RATIO ** (self.power * (j + 1)) - 1.0))
            e = np.maximum(abs(row[-1] - row[j]), abs(row[-1] - coarse)) + noise
            better = e < error  # False where e is nan
            value = np.where(better, row[-1], value)
            error = np.where(better, e, error)
        if self._row:
            self._levels.append((value, error))
        self._row = row
        self.quotients.append(quotient)
        self.noise.append(noise)

    def estimate(self) -> tuple[Array, Array]:
        """Return the best value and its error, after finer steps have overruled coarser ones."""
        values = np.array([value for value, _ in self._levels])
        errors = np.array([error for _, error in self._levels])
        corrected = errors.copy()
        for i in range(len(values) - 1):
            excess = abs(values[i] - values[i + 1 :])
            excess -= CONTRADICTION * (errors[i] + errors[i + 1 :])
            # A finer level without an estimate has nothing to say.
            corrected[i] = np.fmax(errors[i], np.fmax.reduce(excess, axis=0))
        best = corrected.argmin(axis=0), np.arange(values.shape[1])
        return values[best], corrected[best]


def _grows(ladder: Ladder) -> Array:
    """Whether the quotients that stand out from noise grow by half with every smaller step.

    Those of a jump grow by 4, of a square root by 2. Finer ones that drown in noise must not
    contradict: what is merely steep levels off.
    """
    sizes = abs(np.array(ladder.quotients))
    noise = np.array(ladder.noise)
    clear = np.isfinite(sizes) & (sizes > STANDS_OUT * noise)
    result = np.zeros(sizes.shape[1:], bool)
    for j in range(result.size):
        seen = np.flatnonzero(clear[:, j])[-4:]
        if len(seen) < 4 or seen[-1] - seen[0] != 3:
            continue
        q = sizes[seen, j]
        later = slice(seen[-1] + 1, None)
        result[j] = (q[1:] > 1.5 * q[:-1]).all() and not (
            sizes[later, j] + 3.0 * noise[later, j] < q[-1]
        ).any()
    return result


def line_slopes(
    along: Callable[[float], tuple[float, Array]],
    at_zero: Array,
    noise: Array,
    *,
    first: float = FIRST_STEP,
    patient: bool = False,
) -> Slopes:
    """Estimate the derivatives at 0 of K functions of one number.

    Parameters
    ----------
    along : callable
        ``along(t)`` returns the number at which it was really evaluated (t, as rounding has it)
        and the K values there; nan where a function is not defined.
    at_zero : ndarray, shape (K,)
        The values at 0.
    noise : ndarray, shape (K,)
        How far rounding may put each value off.
    first : float
        The coarsest step.
    patient : bool
        Go through all steps even if a few of them agree.

    Returns
    -------
    Slopes

    Examples
    --------
    >>> import numpy as np
    >>> s = line_slopes(
    ...     lambda t: (t, np.array([np.exp(t), abs(t)])),
    ...     np.array([1.0, 0.0]),
    ...     np.array([1e-16, 1e-16]),
    ... )
    >>> print(abs(s.value - [1.0, 0.0]) < 1e-10, s.kink)
    [ True  True] [False  True]
    """
    ladders = Ladder(2), Ladder(1), Ladder(1)
    rungs: list[tuple[float, tuple[Array, Array, Array]]] = []
    least, lost = np.full(at_zero.shape, np.inf), np.zeros(at_zero.shape)
    with np.errstate(all="ignore"):
        for k in range(RUNGS):
            step = first * RATIO**-k
            plus, f_plus = along(step)
            minus, f_minus = along(-step)
            if not minus < 0.0 < plus:
                break  # the step has drowned in the rounding of what it is added to
            minus = -minus
            ahead, behind = (f_plus - at_zero) / plus, (at_zero - f_minus) / minus
            both = (ahead * minus + behind * plus) / (plus + minus)
            rungs.append((2.0 / min(plus, minus), (both, ahead, behind)))
            # Where a change has become 0 after it was small, it was lost beside a larger number on
            # the way, as in 1 - tanh(x)**2 for large x: all of them are uncertain by as much.
            change = np.fmax(abs(f_plus - at_zero), abs(at_zero - f_minus))
            least = np.where(change > 0.0, np.fmin(least, change), least)
            hidden = np.where((change == 0.0) & (least < QUANTUM * noise), least, 0.0)
            if (hidden > lost).any():
                lost = np.maximum(lost, hidden)
                ladders = Ladder(2), Ladder(1), Ladder(1)
                new = rungs
            else:
                new = rungs[-1:]
            for per_noise, quotients in new:
                for ladder, quotient in zip(ladders, quotients, strict=True):
                    ladder.add(quotient, per_noise * (noise + lost))
            if k >= 2 and not patient and _resolved(ladders, ladders[0].noise[-1]):
                break
        central, forward, backward = ladders
        if len(central.quotients) < 2:
            nothing = np.full(at_zero.shape, np.nan)
            never, no = np.full(at_zero.shape, np.inf), np.zeros(at_zero.shape, bool)
            return Slopes(nothing, never, nothing, never, nothing, never, no, no)
        (c, c_error), (f, f_error), (b, b_error) = (ladder.estimate() for ladder in ladders)
        singular = _grows(forward) | _grows(backward)
        one_side = np.isfinite(f_error) ^ np.isfinite(b_error)
        kink = _differ(f, f_error, b, b_error) | one_side | singular
    return Slopes(c, c_error, f, f_error, b, b_error, kink, singular)


def _differ(f: Array, f_error: Array, b: Array, b_error: Array) -> Array:
    """Whether the one-sided derivatives differ beyond their errors."""
    size = np.maximum(abs(f), abs(b))
    differ: Array = abs(f - b) > KINK * (f_error + b_error) + RESOLVED * size
    return differ


def _resolved(ladders: tuple[Ladder, Ladder, Ladder], rounding: Array) -> bool:
    """Whether all K derivatives are known well enough, and no kink is in sight."""
    (c, c_error), (f, f_error), (b, b_error) = (ladder.estimate() for ladder in ladders)
    exact = (c_error <= RESOLVED * abs(c)) | (c_error <= 4.0 * rounding) & (c == 0.0)
    # A function that is even about the point has the central derivative 0, whatever the sides do.
    sides = abs(ladders[1].quotients[0]) + abs(ladders[2].quotients[0])
    settled = f_error + b_error <= SETTLED * sides + 4.0 * rounding
    return bool((exact & settled & ~_differ(f, f_error, b, b_error)).all())
