"""Rows: values, the derivatives that they claim to have, and the judgement of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.numeric import FIRST_STEP, Slopes, line_slopes, noise_level, signs
from tinygrad_nn.gradcheck.report import KINK, RIGHT, WEAK, WRONG, Finding
from tinygrad_nn.gradcheck.subject import (
    UNDEFINED,
    Subject,
)

__all__ = ["Rows", "Rule", "judge", "scales"]

Array = npt.NDArray[Any]

#: A derivative is wrong if it is off by more than this many times the estimated errors.
SAFETY = 8.0
#: Rounding in sum(a_i d_i) of n products and in the backward pass, in units in the last place.
ULPS = 16.0
#: Differences that cannot tell a relative error of this size are reported as weak.
WEAK_AT = 1e-4
#: ... unless they can tell this much of the largest derivative of the same input.
NEGLIGIBLE = 1e-9
#: A gradient that jumps by more than this when x moves by an ulp had a tie broken, not noise.
JUMP = 3e-2
#: The steps of a ladder that confirms a wrong derivative, in units of the first one's.
CONFIRM = (0.61, 0.226)
#: How far around a kink, in units of the elements, the function's derivatives are sampled, and with
#: which step; near enough to see no other kink, far enough for differences to have digits.
AROUND, STEP_AROUND = 1e-8, 1e-9
#: How exact those derivatives are, without extrapolation.
EXACT_AROUND = 1e-4
#: They are sampled at this many points; at a kink they differ at least by this part of their size.
POINTS_AROUND, JUMP_AROUND = 24, 1e-2


@dataclass(slots=True)
class Rule:
    """How errors are judged: automatically, or by the user's own tolerances."""

    eps: float | None
    atol: float | None
    rtol: float | None

    @property
    def automatic(self) -> bool:
        """Whether the tolerance is estimated."""
        return self.atol is None and self.rtol is None

    def tolerance(self, numeric: Array, estimated: Array) -> Array:
        """Return the error that is allowed."""
        if self.automatic:
            return SAFETY * estimated
        allowed: Array = (self.atol or 0.0) + (self.rtol or 0.0) * abs(numeric)
        return np.nan_to_num(allowed)


class Rows:
    """K functions of the flat vector, at one point, and the derivatives that they claim to have.

    Parameters
    ----------
    value : callable
        From x to the K values.
    derivative : callable
        From x to the (K, n) derivatives.
    subject : Subject
    rng : numpy.random.Generator
    dtype : dtype
        That the values are computed in.
    names : list of str
        One per row; "" where there is nothing to say.
    order : int
        1, or 2 if the values are themselves derivatives.
    """

    def __init__(
        self,
        value: Callable[[Array], Array],
        derivative: Callable[[Array], Array],
        subject: Subject,
        rng: np.random.Generator,
        dtype: np.dtype[Any],
        names: list[str],
        order: int = 1,
    ) -> None:
        self.value, self.subject, self.names, self.order = value, subject, names, order
        self.rng = rng
        self.x = x = subject.x
        self.scales = scales(subject)
        self.at_x = value(x)
        self.analytic = derivative(x)
        self.eps = float(np.finfo(dtype).eps)
        self.noise = noise_level(value, x, self.scales[0], rng, dtype)
        self.blur = self._blur(derivative, rng)
        with np.errstate(all="ignore"):
            self.largest = np.zeros_like(self.analytic)
            for part in subject.slices:
                sizes = np.nan_to_num(abs(self.analytic[:, part]), nan=0.0, posinf=0.0)
                self.largest[:, part] = sizes.max(axis=1, keepdims=True, initial=0.0)

    def _blur(self, derivative: Callable[[Array], Array], rng: np.random.Generator) -> Array:
        """Measure the rounding error of the analytic derivatives: move x by an ulp."""
        blur = np.zeros_like(self.analytic)
        with np.errstate(all="ignore"):
            size = abs(self.analytic).max(axis=1, keepdims=True, initial=0.0)
            for sign in (1.0, -1.0):
                ulps = sign * self.eps * rng.integers(0, 2, self.x.shape)
                try:
                    change = abs(derivative(self.x * (1.0 + ulps)) - self.analytic)
                except UNDEFINED:
                    continue
                steady = (change <= JUMP * size).all(axis=1, keepdims=True)
                blur = np.maximum(blur, np.where(steady, change, 0.0))
        return 2.0 * blur

    def slopes(self, d: Array, magnitude: Array, first: float, patient: bool = False) -> Slopes:
        """Estimate the derivatives along `d`, from values alone."""
        x = self.x
        moving = np.flatnonzero(d)
        single = moving[0] if moving.size == 1 else None

        def along(t: float) -> tuple[float, Array]:
            there = x + t * d
            if single is not None:  # the step as rounding has left it
                t = float((there[single] - x[single]) / d[single])
            return t, self.value(there)

        # A direction's elements are rounded each for itself: as good as noise in the values.
        noise = self.noise if single is not None else self.noise + self.eps * magnitude
        return line_slopes(along, self.at_x, noise, first=first, patient=patient)

    def probe(self, d: Array, rule: Rule) -> Judgement:
        """Judge the derivatives along `d`; a wrong one is confirmed with other steps."""
        moved = np.flatnonzero(d)
        steps, derivatives = d[moved], self.analytic[:, moved]
        with np.errstate(all="ignore"):
            a = derivatives @ steps
            magnitude = abs(derivatives) @ abs(steps)
            magnitude = np.where(np.isfinite(magnitude), magnitude, 0.0)
        slack = self.blur[:, moved] @ abs(steps) + ULPS * self.eps * magnitude
        first = FIRST_STEP if rule.eps is None else rule.eps / float(abs(d).max())
        judged = judge(a, self.slopes(d, magnitude, first), slack, rule)
        for factor in CONFIRM:
            if not judged.wrong.any():
                break
            again = self.slopes(d, magnitude, first * factor, patient=True)
            judged.wrong &= judge(a, again, slack, rule).wrong
        if judged.wrong.any() and rule.automatic:
            self._pardon(judged, d)
        meaning = NEGLIGIBLE * (self.largest[:, moved] * abs(steps)).max(axis=1)
        judged.weak = ~judged.kink & (judged.error > np.maximum(WEAK_AT * abs(a), meaning))
        judged.weak &= (a != 0.0) | (judged.numeric != 0.0)
        # A derivative may be negligible beside others, but one that differences cannot tell from
        # 0 has not been checked, and is not called right.
        judged.weak |= ~judged.kink & (judged.error > abs(a)) & (abs(a) > slack)
        return judged

    def around(self, d: Array, offsets: Array) -> tuple[Array, Array, Array]:
        """Return the least and the largest derivative along `d` near x, and how far off they are.

        `offsets` (points, n) are in units of the elements.
        """
        step = STEP_AROUND * d
        nearby = [
            self.value(point + step) - self.value(point - step)
            for point in self.x + AROUND * self.scales[0] * offsets
        ]
        with np.errstate(all="ignore"):
            low = np.min(nearby, axis=0) / (2.0 * STEP_AROUND)
            high = np.max(nearby, axis=0) / (2.0 * STEP_AROUND)
            size = np.maximum(abs(low), abs(high))
            return low, high, SAFETY * self.noise / STEP_AROUND + EXACT_AROUND * size

    def _pardon(self, judged: Judgement, d: Array) -> None:
        """Take back what is said of derivatives that the function has near x, though not at x.

        Where kinks coincide, as in the smallest of some maxima, no slope along one element need
        be a subgradient, and no subgradient a slope.
        """
        a = judged.analytic
        low, high, margin = self.around(d, signs(self.rng, (POINTS_AROUND, d.size)))
        with np.errstate(all="ignore"):
            jumps = high - low > margin + JUMP_AROUND * np.maximum(abs(low), abs(high))
            kink = judged.wrong & jumps & (a >= low - margin) & (a <= high + margin)
        judged.wrong &= ~kink
        judged.kink = judged.kink | kink
        judged.numeric = np.where(kink, np.clip(a, low, high), judged.numeric)
        judged.error = np.where(kink, margin, judged.error)
        judged.tolerance = np.where(kink, margin, judged.tolerance)
        judged.low, judged.high = np.where(kink, low, judged.low), np.where(kink, high, judged.high)


@dataclass(slots=True)
class Judgement:
    """What K derivatives along one direction are worth; every field has shape (K,)."""

    analytic: Array
    numeric: Array
    error: Array  # of the numeric derivative, estimated
    tolerance: Array
    wrong: Array
    kink: Array
    weak: Array
    singular: Array
    low: Array
    high: Array

    def finding(self, name: str, rows: Rows, scale: float, elements: int = 1) -> Finding:
        """Return the worst of the K as a finding, per unit of the element."""
        with np.errstate(all="ignore"):
            off = np.where(self.analytic == self.numeric, 0.0, abs(self.analytic - self.numeric))
            off = np.nan_to_num(off, nan=np.inf, posinf=np.inf)
            excess = np.nan_to_num(off / np.maximum(self.tolerance, 1e-300), nan=np.inf)
        # By verdict first, and among those of equal verdict the one that is furthest off.
        k = int(np.lexsort((-excess, ~self.weak, ~self.kink, ~self.wrong))[0])
        verdict = RIGHT
        for name_of, flags in ((WEAK, self.weak), (KINK, self.kink), (WRONG, self.wrong)):
            if flags[k]:
                verdict = name_of
        notes = [rows.names[k]] if rows.names[k] else []
        if self.singular[k]:
            notes.append("the slope grows without bound")
        elif self.kink[k]:
            low, high = sorted((self.low[k] / scale, self.high[k] / scale))
            notes.append(
                f"slopes from {low:.6g} to {high:.6g}" if low < high else "defined on one side"
            )
        if self.weak[k] and not self.wrong[k]:
            notes.append(f"differences resolve it to {self.error[k] / abs(scale):.1e}")
        with np.errstate(all="ignore"):
            return Finding(
                name,
                float(self.analytic[k] / scale),
                float(self.numeric[k] / scale),
                float(off[k] / abs(scale)),
                float(self.tolerance[k] / abs(scale)),
                verdict,
                rows.order,
                bool(self.kink[k] and not self.singular[k]),
                elements,
                ", ".join(notes),
            )


def judge(analytic: Array, slopes: Slopes, slack: Array, rule: Rule) -> Judgement:
    """Hold K analytic derivatives against slopes.

    Where there is a kink, everything between the one-sided slopes is right; where one side is not
    defined, the other one counts; where slopes grow without bound, an infinite derivative is
    right, and a finite one is a convention.
    """
    s = slopes
    with np.errstate(all="ignore"):
        ahead, behind = np.isfinite(s.forward_error), np.isfinite(s.backward_error)
        forward = np.where(ahead, s.forward, s.backward)
        backward = np.where(behind, s.backward, s.forward)
        low, high = np.fmin(forward, backward), np.fmax(forward, backward)
        sides = np.where(ahead, s.forward_error, 0.0) + np.where(behind, s.backward_error, 0.0)
        sides = np.where(ahead | behind, sides, np.inf)
        numeric = np.where(s.kink, np.clip(analytic, low, high), s.value)
        error = np.where(s.kink, sides, s.error)
        numeric = np.where(s.singular, analytic, numeric)
        tolerance = rule.tolerance(numeric, error + slack)
        wrong = ~(abs(analytic - numeric) <= tolerance) & ~s.singular
        # Where nothing at all could be estimated, nothing can be held against the derivative.
        wrong &= np.isfinite(error)
        wrong |= np.isnan(analytic) | (np.isinf(analytic) & ~s.singular)
    return Judgement(
        analytic=analytic,
        numeric=numeric,
        error=error,
        tolerance=tolerance,
        wrong=wrong,
        kink=s.kink,
        weak=np.zeros_like(wrong),
        singular=s.singular,
        low=low,
        high=high,
    )


def scales(subject: Subject) -> list[Array]:
    """Return the sizes of moves to try: the element's own, its input's largest, and 1."""
    x = subject.x
    largest = np.ones_like(x)
    for part in subject.slices:
        largest[part] = abs(x[part]).max(initial=0.0) or 1.0
    own = np.where(x != 0.0, abs(x), largest)
    return [own, largest, np.maximum(largest, 1.0)]
