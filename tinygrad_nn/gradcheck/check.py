"""gradcheck: analytic derivatives held against differences of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import GradcheckError, NotDifferentiableError, ShapeError
from tinygrad_nn.gradcheck.numeric import FIRST_STEP, Slopes, line_slopes, noise_level
from tinygrad_nn.gradcheck.report import KINK, RIGHT, WEAK, WRONG, Finding, GradcheckReport
from tinygrad_nn.gradcheck.subject import (
    UNDEFINED,
    Subject,
    flat,
    function_subject,
    model_subject,
    precision,
)

__all__ = ["check_grads", "gradcheck"]

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
#: Up to this many outputs every one is checked by itself, and one random combination of them.
MAX_OUTPUTS = 32
#: Of more outputs, this many random combinations are checked.
COMBINATIONS = 6
#: Up to this many elements all are checked (see `gradcheck`); of more, a sample of a tenth.
MAX_ELEMENTS = 4096
#: Random directions through everything, where not every element is checked.
DIRECTIONS = 3
#: Up to this many elements with kinks are held against each other in pairs.
TIED = 6
#: How far around a kink, in units of the elements, the function's derivatives are sampled, and with
#: which step; near enough to see no other kink, far enough for differences to have digits.
AROUND, STEP_AROUND = 1e-8, 1e-9
#: How exact those derivatives are, without extrapolation.
EXACT_AROUND = 1e-4
#: They are sampled at this many points; at a kink they differ at least by this part of their size.
POINTS_AROUND, JUMP_AROUND = 24, 1e-2
#: Directions in the space of gradients whose derivatives are checked at second order.
SECOND_ORDER_ROWS = 3


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
        self.scales = _scales(subject)
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
        low, high, margin = self.around(d, _signs(self.rng, (POINTS_AROUND, d.size)))
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


def _scales(subject: Subject) -> list[Array]:
    """Return the sizes of moves to try: the element's own, its input's largest, and 1."""
    x = subject.x
    largest = np.ones_like(x)
    for part in subject.slices:
        largest[part] = abs(x[part]).max(initial=0.0) or 1.0
    own = np.where(x != 0.0, abs(x), largest)
    return [own, largest, np.maximum(largest, 1.0)]


# --- contracts -----------------------------------------------------------------------------------


def _contracts(subject: Subject, report: GradcheckReport, rng: np.random.Generator) -> Array | None:
    """Check what every function must keep to; return its value, or None if the rest is in vain."""
    x = subject.x
    try:
        nodes, outputs = subject.run(x)
    except Exception as error:
        error.add_note("gradcheck met this when it called the function on the inputs as given")
        raise
    y = flat(outputs)
    subject.dtype = precision(outputs)
    modified = subject.modified(nodes, x)
    if modified:
        report.problems.append(f"the function modifies its input: {', '.join(modified)}")
        return None
    if not _same(subject.value(x), y):
        report.problems.append(
            "not deterministic: two calls on the same inputs differ (model.eval(), a fixed rng?)"
        )
        return None
    if not np.isfinite(y).all():
        bad = int((~np.isfinite(y)).sum())
        report.problems.append(
            f"the result is not finite: {bad} of {y.size} numbers are inf or nan"
        )
        return None
    if y.size and not any(node.requires_grad for node in outputs):
        raise NotDifferentiableError(
            f"the result does not depend on {', '.join(subject.names)} through the graph: it is "
            f"constant, or was computed from t.data or a copy (tensor(t.data)). Compute with "
            f"operators and NumPy's functions on the tensors themselves"
        )
    w = _signs(rng, y.size)
    factors = np.array([1.0, 1.0, -2.0, 1024.0, 2.0**-10])
    try:
        g, again, *scaled = subject.gradients(x, factors[:, None] * w)
        other = rng.standard_normal(y.size) * 30.0
        h, both = subject.gradients(x, np.array([other, w + other]))
    except ShapeError as error:
        report.problems.append(f"a rule returns a wrong shape: {error}")
        return None
    except Exception as error:
        error.add_note("gradcheck met this in the backward pass: a derivative rule failed")
        raise
    if not _same(g, again):
        report.problems.append("the backward pass is not deterministic")
    eps = float(np.finfo(subject.dtype).eps)
    with np.errstate(all="ignore"):
        for factor, result in zip(factors[2:], scaled, strict=True):
            if (abs(result - factor * g) > 8.0 * eps * abs(factor * g) + 1e-290).any():
                report.problems.append(
                    f"not linear in the incoming gradient: {factor:g} times it does not give "
                    f"{factor:g} times the result; a rule ignores, clips or squares its `g`"
                )
                break
        else:
            size = np.zeros_like(g)
            for part in subject.slices:
                size[part] = np.maximum(abs(g[part]), abs(h[part])).max(initial=0.0)
            if (abs(both - g - h) > max(1e-6, 1e3 * eps) * size).any():
                report.problems.append(
                    "not linear in the incoming gradient: that of a sum is not the sum of those"
                )
    if subject.modified(nodes, x):
        report.problems.append("the backward pass modifies an input")
    return y


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def _signs(rng: np.random.Generator, size: Any) -> Array:
    """Draw numbers of either sign, none of them small."""
    result: Array = rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)
    return result


# --- what is probed ------------------------------------------------------------------------------


def _projections(subject: Subject, y: Array, rng: np.random.Generator) -> tuple[Array, list[str]]:
    """Return cotangents (K, m) to check with, and a name for each."""
    m = y.size
    if m == 1:
        return np.ones((1, 1)), [""]
    if m <= MAX_OUTPUTS:
        units = [f"of output {j}" for j in range(m)]
        return np.vstack([np.eye(m), _signs(rng, (1, m))]), [*units, "of a mix of outputs"]
    # Outputs that vary little would drown among those that vary much: bring them to one scale.
    d = 1e-4 * _scales(subject)[0] * _signs(rng, subject.x.size)
    change = abs(subject.try_value(subject.x + d, m) - y)
    change = np.where(np.isfinite(change), change, 0.0)
    size = np.where(change > 0.0, np.maximum(change, 1e-7 * abs(y)), change.max() or 1.0)
    w = _signs(rng, (COMBINATIONS, m)) * (np.median(size) / size)
    return w, ["of a mix of outputs"] * COMBINATIONS


def _sample(subject: Subject, budget: int, rng: np.random.Generator) -> Array:
    """Choose the elements to check one by one: all, or as many of each input as is fair."""
    if subject.x.size <= budget:
        return np.arange(subject.x.size)
    left = max(budget // 10, 1)
    chosen = []
    parts = sorted(subject.slices, key=lambda part: part.stop - part.start)
    for k, part in enumerate(parts):
        size = part.stop - part.start
        share = min(size, -(-left // (len(parts) - k)))
        chosen.append(part.start + rng.choice(size, share, replace=False))
        left -= share
    return np.sort(np.concatenate(chosen))


def _elements(rows: Rows, chosen: Array, rule: Rule) -> Iterator[tuple[int, Finding]]:
    """Check elements one by one; a weak one again, with larger moves."""
    for i in chosen.tolist():
        finding: Finding | None = None
        tried = 0.0
        for scales in rows.scales:
            size = float(scales[i])
            if size == tried:
                continue
            tried = size
            d = np.zeros_like(rows.x)
            d[i] = size
            candidate = rows.probe(d, rule).finding(rows.subject.name(i), rows, size)
            if finding is None or (
                candidate.verdict in (RIGHT, WRONG) and candidate.tolerance < finding.tolerance
            ):
                finding = candidate
            if finding.verdict != WEAK:
                break
        assert finding is not None
        yield i, finding


def _directions(rows: Rows, rest: Array, rule: Rule, rng: np.random.Generator) -> Iterator[Finding]:
    """Check random directions through elements that were not checked one by one."""
    subject = rows.subject
    everything = [(name, part) for name, part in zip(subject.names, subject.slices, strict=True)]
    if len(everything) > 1:
        everything += [("all inputs", slice(0, subject.x.size))]
    for name, part in everything:
        inside = rest[(rest >= part.start) & (rest < part.stop)]
        if not inside.size:
            continue
        for _ in range(DIRECTIONS):
            d = np.zeros_like(rows.x)
            d[inside] = rows.scales[0][inside] * _signs(rng, inside.size)
            judged = rows.probe(d, rule)
            title = f"{name} (along {inside.size:,} elements)"
            yield judged.finding(title, rows, 1.0, inside.size)


def _ties(rows: Rows, kinks: list[int]) -> Iterator[Finding]:
    """Hold pairs of elements with kinks against the derivatives that the function has around them.

    Each by itself may be between its slopes where both together are not: the two largest elements
    of max(x) may have derivatives 0 and 1, or 1/2 each, but not 1 each. Along a direction, a
    subgradient lies between the least and the largest derivative nearby (F. H. Clarke,
    Optimization and Nonsmooth Analysis, 1983, doi:10.1137/1.9781611971309, theorem 2.5.1).
    """
    for i, j in combinations(kinks[:TIED], 2):
        size = min(rows.scales[0][i], rows.scales[0][j])
        d = np.zeros_like(rows.x)
        d[[i, j]] = size
        sides = [
            (a, b) for a, b in product((-1.0, -0.5, 0.5, 1.0), repeat=2) if abs(a) != abs(b)
        ]  # not on the tie itself
        offsets = np.zeros((len(sides), d.size))
        offsets[:, [i, j]] = sides
        offsets *= d / rows.scales[0]  # of equal size in both, whatever theirs is
        low, high, margin = rows.around(d, offsets)
        analytic = rows.analytic[:, [i, j]].sum(axis=1) * size
        margin += EXACT_AROUND * abs(rows.analytic[:, [i, j]]).sum(axis=1) * size
        numeric = np.clip(analytic, low, high)
        off = abs(analytic - numeric)
        k = int((off / margin).argmax())
        if off[k] > margin[k]:  # False where a value is nan
            yield Finding(
                f"{rows.subject.name(i)} and {rows.subject.name(j)} together",
                analytic=float(analytic[k] / size),
                numeric=float(numeric[k] / size),
                error=float(off[k] / size),
                tolerance=float(margin[k] / size),
                verdict=WRONG,
                kink=True,
                elements=2,
                note=f"a tie; derivatives around it from {low[k] / size:.6g} to "
                f"{high[k] / size:.6g}",
            )


def _first_order(
    subject: Subject, y: Array, rule: Rule, budget: int, rng: np.random.Generator,
    report: GradcheckReport,
) -> set[int]:  # fmt: skip
    """Check the gradient; return the elements at which the function has a kink."""
    m = y.size
    w, names = _projections(subject, y, rng)
    rows = Rows(
        lambda x: w @ subject.try_value(x, m),
        lambda x: subject.gradients(x, w),
        subject, rng, subject.dtype, names,
    )  # fmt: skip
    chosen = _sample(subject, budget, rng)
    found = dict(_elements(rows, chosen, rule))
    report.add(found.values())
    kinks = [i for i, finding in found.items() if finding.verdict == KINK]
    report.add(_ties(rows, [i for i in kinks if found[i].kink]))
    rest = np.setdiff1d(np.arange(subject.x.size), chosen)
    if rest.size:
        report.add(_directions(rows, rest, rule, rng))
        report.notes.append(
            f"not checked one by one: {rest.size:,} of {subject.x.size:,} elements, only along "
            f"random directions, which find an error only where it is not small beside the rest "
            f"(max_elements={subject.x.size} checks all)"
        )
    return set(kinks)


def _second_order(
    subject: Subject, y: Array, rule: Rule, budget: int, rng: np.random.Generator,
    report: GradcheckReport, kinks: set[int],
) -> None:  # fmt: skip
    """Check the gradient of the gradient's projections; kinks take no part in it."""
    g = _signs(rng, y.size)
    smooth = np.setdiff1d(np.arange(subject.x.size), sorted(kinks))
    v = _signs(rng, (SECOND_ORDER_ROWS, subject.x.size))
    v[:, sorted(kinks)] = 0.0

    def value(x: Array) -> Array:
        try:
            with np.errstate(all="ignore"):
                gradient = subject.gradients(x, g[None])[0]
                return np.asarray(v[:, smooth] @ gradient[smooth])
        except UNDEFINED:
            return np.full(len(v), np.nan)

    try:
        rows = Rows(
            value,
            lambda x: subject.second_gradients(x, g, v),
            subject, rng, subject.dtype, ["of a mix of gradients"] * len(v), order=2,
        )  # fmt: skip
    except Exception as error:
        error.add_note("gradcheck met this in the second derivative: is a rule not made of "
                       "operators and NumPy's functions?")  # fmt: skip
        raise
    if not np.isfinite(rows.at_x).all():
        report.notes.append("second order not checked: the gradient itself is not finite")
        return
    chosen = np.intersect1d(smooth, _sample(subject, budget, rng))
    found = [finding for _, finding in _elements(rows, chosen, rule)]
    rest = np.setdiff1d(smooth, chosen)
    if rest.size:
        found += _directions(rows, rest, rule, rng)
    # A second derivative need not exist where the first one has a kink of its own.
    smooth_findings = [f for f in found if not f.kink and f.verdict != KINK]
    report.add(smooth_findings)
    ignored = len(found) - len(smooth_findings) + len(kinks)
    if ignored:
        report.notes.append(f"second order not checked at {ignored:,} element(s) with a kink")


def gradcheck(
    f: Any,
    inputs: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    order: int = 1,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    raise_exception: bool = True,
    rng: int | np.random.Generator | None = 0,
    names: Sequence[str] | None = None,
    max_elements: int | None = None,
) -> GradcheckReport:
    """Check the gradient of a function or of a model against differences of its values.

    Everything is computed in float64 copies: inputs and model are not changed.

    Parameters
    ----------
    f : callable or Module
        A function that returns a tensor or `Value` of any shape, or a tuple, list or dict of them;
        or a model, whose parameters are checked.
    inputs : array_like, Tensor, Value, float, or a tuple or list of them
        The arguments of `f`; dicts, and tuples and lists of tensors or `Value`, may stand among
        them. Floating inputs are checked and integers are constants. If a tensor says
        ``requires_grad=True``, then only such tensors and `Value` are checked. For a model,
        ``(x, *targets)``: they are constants, except tensors that require a gradient.
    loss : callable, optional
        With a model: ``loss(model(x), *targets)`` is what is differentiated. Without it, the
        model's output is, called as ``model(*inputs)``.
    order : {1, 2}
        2 checks second derivatives too: the gradient of random projections of the gradient.
    eps : float, optional
        The coarsest step, in the unit of the inputs. By default an eighth of each element.
    atol, rtol : float, optional
        Allow errors up to ``atol + rtol * |numeric|``, with 0 for what is not given. By default
        the tolerance is 8 times the error that the differences and rounding are estimated to
        have, for each element.
    raise_exception : bool
        Raise if the gradient is wrong; otherwise a report that is false is returned.
    rng : int, numpy.random.Generator or None
        Source of projections and samples: the same seed gives the same report.
    names : sequence of str, optional
        One name per input, for the report; the parameters' names of `f` by default.
    max_elements : int, optional
        Up to this many elements (4096 by default) all are checked one by one. Of more, a random
        sample of a tenth of this number is, fairly shared among the inputs, and the rest along
        random directions; the report says so.

    Returns
    -------
    GradcheckReport
        True if the gradient is right. Printed, it is a table with the worst element first.

    Raises
    ------
    GradcheckError
        If the gradient is wrong; its `report` is the report.
    LossError
        If `f` returns what has no gradient: a plain number or array, integers, None.
    NotDifferentiableError
        If the result does not depend on the inputs, or `f` uses what has no derivative.
    TypeError
        If there is no floating input to check, or `f` does not take that many.

    Notes
    -----
    At a kink, where the derivatives from the left and from the right differ, every value between
    them is accepted and reported as "not differentiable here". Not detected: an error in a branch
    that these inputs do not reach, a wrong derivative at a jump, and a wrong function with a
    derivative that fits it.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.gradcheck import gradcheck
    >>> bool(gradcheck(lambda x, y: np.sum(x * np.sin(y)), ([1.0, 2.0], [0.5, 3.0])))
    True
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}")
    for keyword, number in (("eps", eps), ("atol", atol), ("rtol", rtol)):
        if number is not None and not (np.isfinite(number) and number >= 0.0):
            raise ValueError(f"{keyword} must be a finite number that is not negative: {number}")
    if eps == 0.0:
        raise ValueError("eps is a step and must be positive")
    is_model = not _is_function(f)
    if loss is not None and not is_model:
        raise TypeError("loss= is for models; for a function, check lambda x: loss(f(x))")
    if inputs is None:
        raise TypeError("gradcheck needs inputs: gradcheck(f, inputs), inputs one or a tuple")
    budget = MAX_ELEMENTS if max_elements is None else max_elements
    if budget < 1:
        raise ValueError(f"max_elements must be positive, got {max_elements}")
    if is_model:
        subject = model_subject(f, loss, inputs, names)
    else:
        subject = function_subject(f, inputs, names)
    report = _check(subject, Rule(eps, atol, rtol), order, budget, np.random.default_rng(rng))
    if not report and raise_exception:
        raise GradcheckError(str(report), report)
    return report


check_grads = gradcheck


def _is_function(f: Any) -> bool:
    """Whether `f` is to be checked as a function of its inputs, not of its parameters."""
    if not callable(f):
        raise TypeError(f"gradcheck takes a function or a model, got {type(f).__name__}")
    return not hasattr(f, "parameters")


def _check(
    subject: Subject, rule: Rule, order: int, budget: int, rng: np.random.Generator
) -> GradcheckReport:
    report = GradcheckReport(inputs=dict(subject.sizes))
    if subject.constants:
        report.notes.append(f"constant, not checked: {', '.join(subject.constants)}")
    y = _contracts(subject, report, rng)
    if y is not None and y.size and subject.x.size:
        kinks = _first_order(subject, y, rule, budget, rng, report)
        if order == 2:
            _second_order(subject, y, rule, budget, rng, report, kinks)
        if not _same(subject.value(subject.x), y):
            report.problems.append("not deterministic: the result has drifted since the first call")
    report.evaluations = subject.evaluations
    return report
