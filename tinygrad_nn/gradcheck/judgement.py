"""Judgement: analytic derivatives held against slopes that were measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import SAFETY
from tinygrad_nn.gradcheck.report import KINK, RIGHT, WEAK, WRONG, Finding
from tinygrad_nn.gradcheck.slopes import Slopes

__all__ = ["Judgement", "Rule", "judge"]

Array = npt.NDArray[Any]


@dataclass(slots=True)
class Rule:
    """How errors are judged: automatically, or by the user's own tolerances."""

    eps: float | None = None
    atol: float | None = None
    rtol: float | None = None

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


@dataclass(slots=True)
class Judgement:
    """What K derivatives along one line are worth.

    Attributes
    ----------
    moved, steps : ndarray, shape (k,)
        The elements that the line moves, and by how much.
    analytic, numeric, error, tolerance, low, high : ndarray, shape (K,)
        Along the whole line; `error` is that of `numeric`, by estimate; `low` and `high` are the
        one-sided slopes at a kink.
    wrong, kink, weak, singular, by_complex_step : ndarray of bool, shape (K,)
    """

    moved: Array
    steps: Array
    analytic: Array
    numeric: Array
    error: Array
    tolerance: Array
    low: Array
    high: Array
    wrong: Array
    kink: Array
    weak: Array
    singular: Array
    by_complex_step: Array

    @property
    def is_smooth(self) -> bool:
        """Whether nothing is to be looked into: no derivative is wrong or at a kink."""
        return not (self.wrong | self.kink).any()

    def take(self, other: Judgement, where: Array) -> None:
        """Take over what another judgement of the same derivatives says of some of them."""
        for name in ("numeric", "error", "tolerance", "low", "high", "wrong", "kink", "singular"):
            setattr(self, name, np.where(where, getattr(other, name), getattr(self, name)))

    def finding(self, name: str, rows: list[str], order: int) -> Finding:
        """Return the worst of the K as a finding, per unit of the element where it is one.

        `rows` are the names of the K functions.
        """
        scale = float(self.steps[0]) if self.moved.size == 1 else 1.0
        with np.errstate(all="ignore"):
            off = np.where(self.analytic == self.numeric, 0.0, abs(self.analytic - self.numeric))
            off = np.nan_to_num(off, nan=np.inf, posinf=np.inf)
            excess = np.nan_to_num(off / np.maximum(self.tolerance, 1e-300), nan=np.inf)
        # By verdict first, and among those of equal verdict the one that is furthest off, and not
        # one that the element has nothing to do with.
        size = np.nan_to_num(abs(self.numeric))
        k = int(np.lexsort((-size, -excess, ~self.weak, ~self.kink, ~self.wrong))[0])
        verdict = RIGHT
        for name_of, flags in ((WEAK, self.weak), (KINK, self.kink), (WRONG, self.wrong)):
            if flags[k]:
                verdict = name_of
        notes = [rows[k]] if rows[k] else []
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
                order,
                bool(self.kink[k] and not self.singular[k]),
                self.moved.size,
                ", ".join(notes),
            )


def judge(
    moved: Array, steps: Array, analytic: Array, slopes: Slopes, slack: Array, rule: Rule
) -> Judgement:
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
        numeric = np.where(s.kink & np.isnan(numeric), low, numeric)
        tolerance = rule.tolerance(numeric, error + slack)
        wrong = ~(abs(analytic - numeric) <= tolerance) & ~s.singular
        # Where nothing at all could be estimated, nothing can be held against the derivative.
        wrong &= np.isfinite(error)
        # Beside a slope that grows without bound, nan is what infinity times a gradient of 0 makes.
        nothing = np.isnan(analytic) & ~s.singular & s.singular.any()
        wrong |= (np.isnan(analytic) & ~nothing) | (np.isinf(analytic) & ~s.singular)
        wrong &= ~nothing
    never = np.zeros_like(wrong)
    return Judgement(
        moved=moved, steps=steps, analytic=analytic, numeric=numeric, error=error,
        tolerance=tolerance, low=low, high=high, wrong=wrong, kink=s.kink | nothing, weak=never,
        singular=s.singular, by_complex_step=never,
    )  # fmt: skip
