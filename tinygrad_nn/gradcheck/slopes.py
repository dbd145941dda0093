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
    GLANCE,
    KINK,
    NEAR_END,
    QUANTUM,
    RATIO,
    RESOLVED,
    RUNGS,
    SETTLED,
    STANDS_OUT,
    UNITS,
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
    """Families of difference quotients, extrapolated to step zero as steps shrink.

    Parameters
    ----------
    power : int or ndarray
        A quotient's error is a series in the step to this power: 2 for central differences, 1 for
        one-sided ones. An array holds one for each family, and broadcasts with the quotients.
    """

    def __init__(self, power: int | Array) -> None:
        self._weights = [1.0 / (RATIO ** (power * (j + 1)) - 1.0) for j in range(COLUMNS)]
        self.quotients: list[Array] = []
        self.noise: list[Array] = []
        self._row: list[Array] = []
        self._values: list[Array] = []
        self._errors: list[Array] = []
        self._corrected: list[Array] = []

    def add(self, quotient: Array, noise: Array) -> None:
        """Take the quotients at the next step; `noise` is the error that rounding gives them."""
        row = [quotient]
        for coarse, weight in zip(self._row, self._weights, strict=False):
            row.append(row[-1] + (row[-1] - coarse) * weight)
        if self._row:
            fine, columns = np.array(row), len(row) - 1
            off = abs(fine[1:] - fine[:-1])
            np.maximum(off, abs(fine[1:] - np.array(self._row[:columns])), out=off)
            off += noise
            off[~(off < np.inf)] = np.inf  # nan, too
            best = off.argmin(axis=0)[None]
            self._level(
                np.take_along_axis(fine[1:], best, axis=0)[0],
                np.take_along_axis(off, best, axis=0)[0],
            )
        self._row = row
        self.quotients.append(quotient)
        self.noise.append(noise)

    def _level(self, value: Array, error: Array) -> None:
        """Take the best estimate of one level: it overrules coarser ones that it contradicts."""
        if self._values:
            values, errors = np.array(self._values), np.array(self._errors)
            excess = abs(values - value) - CONTRADICTION * (errors + error)
            # A finer level without an estimate has nothing to say.
            self._corrected = list(np.fmax(np.array(self._corrected), excess))
        self._values.append(value)
        self._errors.append(error)
        self._corrected.append(error)

    def estimate(self) -> tuple[Array, Array]:
        """Return the best values and their errors, after finer steps have overruled coarser ones.

        Where there is no estimate, the error is inf.
        """
        corrected = np.array(self._corrected)
        best = corrected.argmin(axis=0)[None]
        return (
            np.take_along_axis(np.array(self._values), best, axis=0)[0],
            np.take_along_axis(corrected, best, axis=0)[0],
        )


def _grows(sizes: Array, noise: Array) -> Array:
    """Whether quotients that stand out from noise grow by half with every smaller step.

    Those of a jump grow by 4, of a square root by 2. Finer ones that drown in noise must not
    contradict: what is merely steep levels off. Both arrays are of shape (steps, K).
    """
    clear = np.isfinite(sizes) & (sizes > STANDS_OUT * noise)
    result = np.zeros(sizes.shape[1:], bool)
    if len(sizes) < 4 or not (clear.sum(axis=0) >= 4).any():
        return result
    for j in range(result.size):
        seen = np.flatnonzero(clear[:, j])[-4:]
        if len(seen) < 4 or seen[-1] - seen[0] != 3 or seen[-1] < len(sizes) - NEAR_END:
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
    ladder = Ladder(_POWERS)
    rungs: list[tuple[Array, float]] = []
    changes: list[Array] = []
    least, lost = np.full(at_zero.shape, np.inf), np.zeros(at_zero.shape)
    with np.errstate(all="ignore"):
        for k in range(RUNGS):
            rung = _rung(along, at_zero, first * RATIO**-k)
            if rung is None:
                break
            quotients, step, moves = rung
            rungs.append((quotients, 2.0 / step))
            new = rungs[-1:]
            changes.append(moves)
            change = moves.max(axis=0)
            # Where a change has become 0 after it was small, it was lost beside a larger number on
            # the way, as in 1 - tanh(x)**2 for large x: all of them are uncertain by as much.
            least = np.where(change > 0.0, np.fmin(least, change), least)
            gone = (change == 0.0) & np.isfinite(least)
            if gone.any():
                gone &= (least < QUANTUM * noise) | _in_units(np.concatenate(changes), least)
            hidden = np.where(gone, least, 0.0)
            if (hidden > lost).any():
                lost = np.maximum(lost, hidden)
                ladder, new = Ladder(_POWERS), rungs
            for earlier, per_noise in new:
                ladder.add(earlier, per_noise * (noise + lost))
            if k >= 2 and not patient and _resolved(ladder):
                glance = None if k >= GLANCE else _rung(along, at_zero, first * RATIO**-GLANCE)
                if glance is None or _agrees(ladder, glance, step, noise + lost):
                    break
                patient = True  # there is something that these steps have stepped over
        if len(rungs) < 2:
            nothing = np.full(at_zero.shape, np.nan)
            never, no = np.full(at_zero.shape, np.inf), np.zeros(at_zero.shape, bool)
            return Slopes(nothing, never, nothing, never, nothing, never, no, no)
        values, errors = ladder.estimate()
        sizes, rounding = abs(np.array(ladder.quotients)), np.array(ladder.noise)
        singular = _grows(sizes[:, 1], rounding) | _grows(sizes[:, 2], rounding)
        one_side = np.isfinite(errors[1]) ^ np.isfinite(errors[2])
        kink = _differ(values, errors) | one_side | singular
    return Slopes(
        values[0], errors[0], values[1], errors[1], values[2], errors[2], kink, singular
    )  # fmt: skip


def _rung(
    along: Callable[[float], tuple[float, Array]], at_zero: Array, step: float
) -> tuple[Array, float, Array] | None:
    """Return the three quotients at a step, the smaller of the two steps, and both changes.

    None where the step has drowned in the rounding of what it is added to.
    """
    plus, f_plus = along(step)
    minus, f_minus = along(-step)
    if not minus < 0.0 < plus:
        return None
    minus = -minus
    ahead, behind = (f_plus - at_zero) / plus, (at_zero - f_minus) / minus
    both = (ahead * minus + behind * plus) / (plus + minus)
    changes = np.nan_to_num(abs(np.array([f_plus - at_zero, at_zero - f_minus])), nan=0.0)
    return np.array([both, ahead, behind]), min(plus, minus), changes


def _in_units(changes: Array, least: Array) -> Array:
    """Whether a few small changes are all whole multiples of one number.

    It is the unit in the last place of something that the function has computed with. Both are
    of shape (..., K).
    """
    small = (changes > 0.0) & (changes < UNITS * least)
    whole = np.zeros(least.shape, bool)
    for part in (1.0, 2.0, 3.0):  # the least change need not be a single unit
        times = changes * part / least
        whole |= (~small | (abs(times - np.round(times)) < 1e-6 * times)).all(axis=0)
    several = [np.unique(row[here]).size >= 3 for row, here in zip(changes.T, small.T, strict=True)]
    return np.asarray(whole & several)


def _agrees(
    ladder: Ladder, glance: tuple[Array, float, Array], last: float, noise: Array
) -> bool:  # fmt: skip
    """Whether a much finer rung has nothing to add to what the last one has told."""
    quotients, step, _ = glance
    values, errors = ladder.estimate()
    rounding = 2.0 * noise / step
    # The sides differ by the curvature times the step.
    bend = abs(ladder.quotients[-1][1] - ladder.quotients[-1][2]) * (step / last)
    smooth = abs(quotients[1] - quotients[2]) <= 2.0 * bend + KINK * rounding
    same = abs(quotients[0] - values[0]) <= KINK * (errors[0] + rounding)
    return bool((smooth & same).all())


#: Of central, forward and backward differences.
_POWERS = np.array([[2], [1], [1]])


def _differ(values: Array, errors: Array) -> Array:
    """Whether the one-sided derivatives differ beyond their errors."""
    size = abs(values[1:]).max(axis=0)
    differ: Array = abs(values[1] - values[2]) > KINK * (errors[1] + errors[2]) + RESOLVED * size
    return differ


def _resolved(ladder: Ladder) -> bool:
    """Whether all K derivatives are known well enough, and no kink is in sight."""
    values, errors = ladder.estimate()
    rounding = ladder.noise[-1]
    exact = (errors[0] <= RESOLVED * abs(values[0])) | (
        (errors[0] <= 4.0 * rounding) & (values[0] == 0.0)
    )
    # A function that is even about the point has the central derivative 0, whatever the sides do.
    sides = abs(ladder.quotients[0][1:]).sum(axis=0)
    settled = errors[1] + errors[2] <= SETTLED * sides + 4.0 * rounding
    return bool((exact & settled & ~_differ(values, errors)).all())
