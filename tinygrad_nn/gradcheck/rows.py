"""Rows: some functions of the flat vector at one point, and the derivatives claimed for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import (
    AROUND,
    COMPLEX_NEEDS,
    COMPLEX_NOISE,
    COMPLEX_STEP,
    CONFIRM,
    EXACT_AROUND,
    FIRST_STEP,
    HULL,
    JUMP_AROUND,
    NEGLIGIBLE,
    POINTS_AROUND,
    SAFETY,
    STANDS_OUT,
    STEP_AROUND,
    ULPS,
    WEAK_AT,
)
from tinygrad_nn.gradcheck.judgement import Judgement, Rule, judge
from tinygrad_nn.gradcheck.noise import gradient_noise, noise_level, signs
from tinygrad_nn.gradcheck.slopes import Slopes, line_slopes
from tinygrad_nn.gradcheck.subject import UNDEFINED, Subject

__all__ = ["Rows", "points_around", "scales"]

Array = npt.NDArray[Any]


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
    names : list of str
        One per row; "" where there is nothing to say.
    order : int
        1, or 2 if the values are themselves derivatives.
    complex_value : callable, optional
        From a complex point to the K values there, or None where the function does not take it.
    x : ndarray, shape (n,), optional
        The point; by default the inputs as given.
    shaken : callable, optional
        Returns the derivatives at the point with all numbers on the way off by so many ulps.
    rounding : ndarray, shape (K,), optional
        How far rounding on the way puts the values off at least.
    """

    def __init__(
        self,
        value: Callable[[Array], Array],
        derivative: Callable[[Array], Array],
        subject: Subject,
        rng: np.random.Generator,
        names: list[str],
        order: int = 1,
        complex_value: Callable[[Array], Array | None] | None = None,
        x: Array | None = None,
        shaken: Callable[[float], Array | None] | None = None,
        rounding: Array | None = None,
    ) -> None:
        self.value, self.subject, self.names, self.order = value, subject, names, order
        self.rng = rng
        self.x = x = subject.x if x is None else x
        self.scales = scales(subject)
        self.at_x = value(x)
        self.analytic = derivative(x)
        self.eps = float(np.finfo(subject.dtype).eps)
        self.noise = noise_level(value, x, self.scales[0], rng, subject.dtype)
        if rounding is not None:
            self.noise = np.maximum(self.noise, rounding)
        self.blur = gradient_noise(derivative, x, self.analytic, self.eps, rng, UNDEFINED, shaken)
        self._complex_value = complex_value
        self.probes = 0
        with np.errstate(all="ignore"):
            self.largest = np.zeros((len(self.analytic), len(subject.slices)))
            for k, part in enumerate(subject.slices):
                sizes = np.nan_to_num(abs(self.analytic[:, part]), nan=0.0, posinf=0.0)
                self.largest[:, k] = sizes.max(axis=1, initial=0.0)

    # --- one line --------------------------------------------------------------------------------

    def probe(self, moved: Array, steps: Array, rule: Rule, *, confirm: bool = True) -> Judgement:
        """Judge the derivatives along a line; a wrong one is confirmed with other steps.

        Parameters
        ----------
        moved, steps : ndarray, shape (k,)
            The elements that the line moves, and by how much.
        rule : Rule
        confirm : bool
            Confirm what is wrong before it is called so.
        """
        self.probes += 1
        derivatives = self.analytic[:, moved]
        with np.errstate(all="ignore"):
            a = derivatives @ steps
            magnitude = abs(derivatives) @ abs(steps)
            magnitude = np.where(np.isfinite(magnitude), magnitude, 0.0)
        slack = self.blur[:, moved] @ abs(steps) + ULPS * self.eps * magnitude
        first = FIRST_STEP if rule.eps is None else rule.eps / float(abs(steps).max())
        d = np.zeros_like(self.x)
        d[moved] = steps
        judged = judge(moved, steps, a, self._slopes(d, magnitude, first), slack, rule)
        if rule.automatic:
            self._by_complex_step(judged, d, slack)
        doubt = judged.wrong & ~judged.by_complex_step
        for factor in CONFIRM if confirm else ():
            if not doubt.any():
                break
            again = self._slopes(d, magnitude, first * factor, patient=True)
            second = judge(moved, steps, a, again, slack, rule)
            judged.take(second, doubt & ~second.wrong)  # it may allow it because it knows less
            doubt &= second.wrong
        if doubt.any() and rule.automatic and confirm:
            self._pardon(judged, d)
            self._jumps(judged, d)
        self._mark_weak(judged, slack)
        return judged

    def _jumps(self, judged: Judgement, d: Array) -> None:
        """Take back what is said where the row jumps, as a gradient does at a kink."""
        if self.order == 1:
            return
        near = np.array([self.value(self.x + side * STEP_AROUND * d) for side in (-1.0, 1.0)])
        slope = np.maximum(abs(judged.analytic), abs(judged.numeric))
        jump = abs(near - self.at_x) > STANDS_OUT * (self.noise + STEP_AROUND * slope)
        jump = jump.any(axis=0) & judged.wrong
        judged.wrong = judged.wrong & ~jump
        judged.kink = judged.kink | jump

    def _slopes(self, d: Array, magnitude: Array, first: float, patient: bool = False) -> Slopes:
        """Estimate the derivatives along `d`, from values alone."""
        x, cast = self.x, self.subject.cast
        moving = np.flatnonzero(d)
        single = moving[0] if moving.size == 1 else None

        def along(t: float) -> tuple[float, Array]:
            there = t * d
            there += x
            there = cast(there)
            if single is not None:  # the step as rounding has left it
                t = float((there[single] - x[single]) / d[single])
            return t, self.value(there)

        # A direction's elements are rounded each for itself: as good as noise in the values.
        noise = self.noise if single is not None else self.noise + self.eps * magnitude
        return line_slopes(along, self.at_x, noise, first=first, patient=patient)

    def _by_complex_step(self, judged: Judgement, d: Array, slack: Array) -> None:
        """Take the derivative along a complex line for the numeric one, where it can be trusted.

        Its real part must be the function's value, and differences must confirm it: a function of
        real numbers may do anything with complex ones (abs, comparisons).
        """
        smooth = ~judged.kink & (judged.error <= COMPLEX_NEEDS * abs(judged.numeric))
        if self._complex_value is None or not smooth.any():
            return
        ulps = self.eps * self.rng.choice([-1.0, 1.0], self.x.shape)
        there = self._complex_value(self.x + 1j * COMPLEX_STEP * d)
        nearby = self._complex_value(self.x * (1.0 + ulps) + 1j * COMPLEX_STEP * d)
        if there is None or nearby is None or there.shape != self.at_x.shape:
            self._complex_value = None  # it will not be asked again
            return
        with np.errstate(all="ignore"):
            found = there.imag / COMPLEX_STEP
            error = 2.0 * abs(found - nearby.imag / COMPLEX_STEP) + COMPLEX_NOISE * self.noise
            trusted = smooth & (abs(there.real - self.at_x) <= SAFETY * self.noise)
            trusted &= abs(found - judged.numeric) <= SAFETY * (judged.error + slack)
            trusted &= error <= judged.error  # else rounding has got worse on the way
            tolerance = SAFETY * (error + slack)
            judged.numeric = np.where(trusted, found, judged.numeric)
            judged.error = np.where(trusted, error, judged.error)
            judged.tolerance = np.where(trusted, tolerance, judged.tolerance)
            off = ~(abs(judged.analytic - found) <= tolerance)
            judged.wrong = np.where(trusted, off, judged.wrong)
        judged.by_complex_step = trusted

    def _mark_weak(self, judged: Judgement, slack: Array) -> None:
        a, moved, steps = judged.analytic, judged.moved, judged.steps
        part = np.searchsorted([s.stop for s in self.subject.slices], moved, side="right")
        meaning = NEGLIGIBLE * (self.largest[:, part] * abs(steps)).max(axis=1)
        weak = judged.error > np.maximum(WEAK_AT * abs(a), meaning)
        weak &= (a != 0.0) | (judged.numeric != 0.0)
        # A derivative may be negligible beside others, but one that differences cannot tell from
        # 0 has not been checked, and is not called right.
        weak |= (judged.error > abs(a)) & (abs(a) > slack)
        judged.weak = weak & ~judged.kink

    # --- around a kink ---------------------------------------------------------------------------

    def around(self, d: Array, offsets: Array) -> tuple[Array, Array, Array]:
        """Return the least and the largest derivative along `d` near x, and how far off they are.

        `offsets` (points, n) are in units of the elements.
        """
        # Where inputs have fewer digits, less far would be nowhere at all.
        wider = self.eps / float(np.finfo(np.float64).eps)
        near, step = AROUND * wider**0.5, STEP_AROUND * wider**0.5
        cast = self.subject.cast
        nearby = [
            self.value(cast(point + step * d)) - self.value(cast(point - step * d))
            for point in self.x + near * self.scales[0] * offsets
        ]
        with np.errstate(all="ignore"):
            low = np.min(nearby, axis=0) / (2.0 * step)
            high = np.max(nearby, axis=0) / (2.0 * step)
            size = np.maximum(abs(low), abs(high))
            return low, high, SAFETY * self.noise / step + EXACT_AROUND * size

    def _pardon(self, judged: Judgement, d: Array) -> None:
        """Take back what is said of derivatives that the function has near x, though not at x.

        Where kinks coincide, as in the smallest of some maxima, no slope along one element need
        be a subgradient, and no subgradient a slope.
        """
        a = judged.analytic
        low, high, margin = self.around(d, points_around(self.rng, d.size))
        with np.errstate(all="ignore"):
            jumps = high - low > margin + JUMP_AROUND * np.maximum(abs(low), abs(high))
            # Where they are more than the slopes on both sides, the extreme ones are hardly met.
            wider = high - low > (1.0 + JUMP_AROUND) * (judged.high - judged.low)
            margin = margin + np.where(jumps & wider, HULL * (high - low), 0.0)
            kink = judged.wrong & jumps & (a >= low - margin) & (a <= high + margin)
        judged.wrong &= ~kink
        judged.kink = judged.kink | kink
        judged.numeric = np.where(kink, np.clip(a, low, high), judged.numeric)
        judged.error = np.where(kink, margin, judged.error)
        judged.tolerance = np.where(kink, margin, judged.tolerance)
        judged.low, judged.high = np.where(kink, low, judged.low), np.where(kink, high, judged.high)


def points_around(rng: np.random.Generator, n: int) -> Array:
    """Draw points around the origin, shape (points, n): near and far in each element.

    Where many kinks meet, extreme derivatives are found where one element is far out.
    """
    near = signs(rng, (POINTS_AROUND, n))
    near[::2] *= 10.0 ** rng.uniform(-3.0, 0.0, near[::2].shape)
    return near


def scales(subject: Subject) -> list[Array]:
    """Return the sizes of moves to try: the element's own, its input's largest, and 1."""
    x = subject.x
    largest = np.ones_like(x)
    for part in subject.slices:
        largest[part] = abs(x[part]).max(initial=0.0) or 1.0
    own = np.where(x != 0.0, abs(x), largest)
    return [own, largest, np.maximum(largest, 1.0)]
