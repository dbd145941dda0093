"""Taylor's remainder along one line: how it falls with the step, and what that says."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import (
    ASYMPTOTIC,
    CLEAR,
    FIRST_ORDER,
    FITTED,
    SECOND_ORDER,
    SHOWS,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "FIRST", "KINK", "LINEAR", "SECOND", "UNCLEAR", "Fit", "Taylor", "fit", "taylor_of",
]  # fmt: skip

Array = npt.NDArray[Any]

SECOND, LINEAR = "second order", "linear"
FIRST, KINK, UNCLEAR = "first order", "kink", "unclear"


@dataclass(frozen=True, slots=True)
class Fit:
    """A power of the step, fitted to a remainder where it is asymptotic.

    Attributes
    ----------
    slope : float
        The power; inf if the remainder is nothing but rounding, nan if too little stands out.
    coarsest, finest : float
        The steps between which it was fitted.
    """

    slope: float = math.nan
    coarsest: float = math.nan
    finest: float = math.nan

    @property
    def octaves(self) -> float:
        """How often the step was halved on the way."""
        return math.log2(self.coarsest / self.finest) if self.finest > 0.0 else 0.0

    def __str__(self) -> str:
        return f"slope {self.slope:.2f} from h = {self.coarsest:.3g} to {self.finest:.3g}"


@dataclass(frozen=True)
class Taylor:
    """What is left of a function along a line, once its gradient's part is taken away.

    For steps ``h`` along a direction ``v``, with ``phi(h) = f(x + h v)`` and a gradient ``g``, the
    remainder ``|phi(h) - phi(0) - h <g, v>|`` falls as h² if the gradient is right, and as h if it
    is wrong. Printed, it is one line; it is true if it confirms the gradient: where its verdict
    is "second order" or "linear".

    Attributes
    ----------
    steps : list of float
        The steps h, falling.
    remainders, behind : list of float
        The remainder at h and at -h; nan where the function is not defined.
    zeroth : list of float
        ``|phi(h) - phi(0)|``, which takes no gradient away and falls as h.
    floor : list of float
        What rounding may make of a remainder of zero.
    fit : Fit
        The slope that counts: of half the difference of both sides' remainders, which falls as h³
        if the gradient is right, or of half their sum, whichever falls more slowly.
    zeroth_fit : Fit
    verdict : str
        "second order" (slope 2 or more: right), "first order" (slope 1: wrong), "linear" (the
        remainder is all rounding: right, and the function is linear along `v`), "kink" (not
        differentiable along `v`: the two sides' slopes differ) or "unclear".
    error : float
        How far ``<g, v>`` is off, in units of ``<|g|, |v|>``, and at most 1; nan unless the verdict
        is "first order".
    elements : int
        How many elements `v` moves.
    """

    steps: list[float]
    remainders: list[float]
    behind: list[float]
    zeroth: list[float]
    floor: list[float]
    fit: Fit
    zeroth_fit: Fit
    verdict: str
    error: float = math.nan
    elements: int = 1

    @property
    def slope(self) -> float:
        """The power of h that the remainder falls with."""
        return self.fit.slope

    @property
    def slopes(self) -> list[float]:
        """The remainder's power between each step and the next; nan where there is none."""
        with np.errstate(all="ignore"):
            slopes = np.diff(np.log2(self.remainders)) / np.diff(np.log2(self.steps))
        return [slope if math.isfinite(slope) else math.nan for slope in slopes.tolist()]

    def __bool__(self) -> bool:
        return self.verdict in (SECOND, LINEAR)

    @property
    def words(self) -> str:
        """The verdict in words."""
        return {
            SECOND: "second order, as it must be",
            FIRST: f"first order: the gradient is off by {self.error:.1e} of its size",
            LINEAR: "as of a linear function whose gradient is right",
            KINK: "not differentiable along this direction",
            UNCLEAR: "unclear",
        }[self.verdict]

    def __str__(self) -> str:
        measured = "nothing but rounding" if math.isinf(self.slope) else str(self.fit)
        if math.isnan(self.slope):
            measured = "too little of it is defined or stands out from rounding"
        return f"Taylor remainder: {measured}: {self.words}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, strings and numbers; None stands for nan."""
        everything = asdict(self) | {"slopes": self.slopes, "text": str(self)}
        return {key: _without_nan(value) for key, value in everything.items()}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the remainders over the steps, both axes logarithmic.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        from tinygrad_nn.gradcheck.taylor_plot import plot

        return plot(self, ax)


def _without_nan(value: Any) -> Any:
    """Put None in the place of nan, which JSON has no word for and which equals nothing."""
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def fit(steps: Array, sizes: Array, floor: Array) -> Fit:
    """Fit a power of the step to what stands out from rounding, where the power is constant.

    That is at the finest steps: a gradient that is off by little leaves a remainder that falls as
    h², until the part that falls as h is the larger one.

    Parameters
    ----------
    steps, sizes, floor : ndarray, shape (k,)
        The steps from the coarsest to the finest, a quantity at each, and what rounding makes of
        it where it is 0.

    Returns
    -------
    Fit

    Examples
    --------
    >>> import numpy as np
    >>> h = 0.5 ** np.arange(1, 12)
    >>> print(fit(h, 3.0 * h**2 + 1e-1 * h, 1e-9 + 0.0 * h))
    slope 1.10 from h = 0.0156 to 0.000488
    """
    clear = np.flatnonzero(sizes > CLEAR * floor)  # False where it is nan
    if not clear.size:
        return Fit(math.inf if np.isfinite(sizes).any() else math.nan)
    h, r = np.log2(steps[clear]), np.log2(sizes[clear])
    last, slope, first = clear[-1], math.nan, 0
    if clear.size >= FITTED:
        local = np.diff(r) / np.diff(h)
        first = local.size - (FITTED - 1)
        while first > 0 and abs(local[first - 1] - local[first:].mean()) <= ASYMPTOTIC:
            first -= 1
        slope = float(np.polyfit(h[first:], r[first:], 1)[0])
    if last + 1 < steps.size and np.isfinite(sizes[last + 1]):
        # Lost in rounding sooner than any power tells, it comes from something at a distance that
        # the finer steps do not reach: a kink nearby.
        drop = r[-1] - math.log2(CLEAR * floor[last + 1])
        if drop / (h[-1] - math.log2(steps[last + 1])) > np.fmax(slope, SECOND_ORDER) + ASYMPTOTIC:
            return Fit(math.inf)
    return Fit(slope, float(steps[clear[first]]), float(steps[last]))


def taylor_of(measured: Array, size: float, elements: int) -> Taylor:
    """Judge signed remainders on both sides of a point.

    Parameters
    ----------
    measured : ndarray, shape (k, 5)
        A row for each step, the largest first: the step h, the remainders at h and at -h, the
        change of the function, and what rounding makes of a remainder of 0.
    size : float
        That of the gradient along the line, were all its terms positive.
    elements : int
        How many elements the line moves.

    Returns
    -------
    Taylor
    """
    steps, ahead, behind, zeroth, floor = measured.T
    with np.errstate(all="ignore"):
        # A wrong gradient leaves c h on one side and -c h on the other, curvature the same on both.
        odd, even = 0.5 * (ahead - behind), 0.5 * (ahead + behind)
        one = np.where(np.isnan(odd), np.where(np.isnan(ahead), behind, ahead), odd)
        falls, bends = fit(steps, abs(one), floor), fit(steps, abs(even), floor)
        error = math.nan
        slope = float(np.fmin(falls.slope, bends.slope))
        if math.isinf(slope):
            # ... unless so much is lost in rounding that a wrong gradient would be as well.
            verdict = LINEAR if CLEAR * floor[0] <= SHOWS * steps[0] * size or not size else UNCLEAR
        elif slope >= SECOND_ORDER:
            verdict = SECOND
        elif bends.slope <= FIRST_ORDER[1] or slope < FIRST_ORDER[0]:
            verdict = KINK
        elif falls.slope <= FIRST_ORDER[1]:
            verdict = FIRST
            missing = float(abs(one[steps == falls.finest])[0]) / falls.finest
            error = missing / max(size, missing)
        else:
            verdict = UNCLEAR
        worst = bends if bends.slope == slope else falls
    return Taylor(
        steps.tolist(), abs(ahead).tolist(), abs(behind).tolist(), abs(zeroth).tolist(),
        floor.tolist(), worst, fit(steps, abs(zeroth), floor), verdict, error, elements,
    )  # fmt: skip
