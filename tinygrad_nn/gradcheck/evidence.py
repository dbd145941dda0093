"""What is known of the derivatives of one input: slopes along lines, to hold hypotheses against."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import MORE_LINES, SAFETY, SLOPE_KNOWN, ULPS
from tinygrad_nn.gradcheck.judgement import Judgement, Rule
from tinygrad_nn.gradcheck.noise import signs
from tinygrad_nn.gradcheck.rows import Rows
from tinygrad_nn.gradcheck.subject import Subject

__all__ = ["Evidence", "Line", "evidence"]

Array = npt.NDArray[Any]


@dataclass(slots=True)
class Line:
    """Slopes along one line through one input.

    Attributes
    ----------
    moved, steps : ndarray, shape (k,)
        Elements of the input, counted from its own first one, and how far they are moved.
    numeric, error : ndarray, shape (K,)
    usable, wrong : ndarray of bool, shape (K,)
        Whether there is a slope at all, and whether the analytic one is wrong.
    """

    moved: Array
    steps: Array
    numeric: Array
    error: Array
    usable: Array
    wrong: Array


@dataclass(slots=True)
class Evidence:
    """All that is known of the derivatives of one input.

    Attributes
    ----------
    name : str
    shape : tuple of int
    x : ndarray, shape (n,)
        The input.
    analytic, blur : ndarray, shape (K, n)
        Its derivatives, and their rounding.
    lines : list of Line
    eps : float
    others : dict of str to ndarray
        The analytic derivatives of other inputs of the same shape.
    sizes : dict of str to int
        Sizes that a factor may come from, by how they are written: ``x.shape[0]``.
    output : tuple of int or None
        The output's shape, where each row is the derivative of one of its elements.
    outputs_alone : bool
        Whether each row is the derivative of one element of some output.
    """

    name: str
    shape: tuple[int, ...]
    x: Array
    analytic: Array
    blur: Array
    lines: list[Line]
    eps: float
    others: dict[str, Array] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    output: tuple[int, ...] | None = None
    outputs_alone: bool = False

    def slopes(self, derivatives: Array) -> Iterator[tuple[Line, Array, Array]]:
        """Yield each line, the slopes that `derivatives` would give, and the error allowed."""
        for line in self.lines:
            with np.errstate(all="ignore"):
                part = derivatives[:, line.moved]
                size = abs(part) @ abs(line.steps)
                given = abs(self.analytic[:, line.moved]) @ abs(line.steps)
                blur = self.blur[:, line.moved] @ abs(line.steps)
                blur = blur * np.where(given > 0.0, np.maximum(size / given, 1.0), 1.0)
                allowed = SAFETY * (line.error + blur + ULPS * self.eps * size)
                yield line, part @ line.steps, allowed

    def explains(self, derivatives: Array, among: Callable[[Line], bool] | None = None) -> bool:
        """Whether all slopes are those of `derivatives`, wherever there are any."""
        return all(
            ((abs(predicted - line.numeric) <= allowed) | ~line.usable).all()
            for line, predicted, allowed in self.slopes(derivatives)
            if among is None or among(line)
        )

    def ratios(self, which: str = "wrong") -> Iterator[tuple[Line, float, float]]:
        """Yield analytic slopes over numeric ones, and how exact they are, where both say much."""
        for line, slope, allowed in self.slopes(self.analytic):
            with np.errstate(all="ignore"):
                known = line.usable & (allowed <= SLOPE_KNOWN * abs(line.numeric))
                known &= np.isfinite(slope)
                known &= line.wrong if which == "wrong" else ~line.wrong
                for k in np.flatnonzero(known):
                    yield line, float(slope[k] / line.numeric[k]), float(
                        allowed[k] / abs(line.numeric[k]))  # fmt: skip

    def told(self, derivatives: Array) -> int:
        """Return how many resolved slopes are far from 0 both ways: what a fit can be wrong in."""
        return sum(
            int((line.usable & (allowed <= SLOPE_KNOWN * abs(line.numeric))).sum())
            for line, _, allowed in self.slopes(derivatives)
        )

    def alone(self, wrong: bool) -> list[int]:
        """Return the elements that were moved by themselves and are wrong, or right and not 0."""
        found = set()
        for line, _, allowed in self.slopes(self.analytic):
            if line.moved.size != 1:
                continue
            is_wrong = bool(line.wrong.any())
            known = (line.usable & (allowed <= SLOPE_KNOWN * abs(line.numeric))).any()
            if is_wrong is wrong and (is_wrong or known):
                found.add(int(line.moved[0]))
        return sorted(found)


def _line(judged: Judgement, start: int) -> Line:
    usable = np.isfinite(judged.error) & np.isfinite(judged.numeric)
    usable &= ~judged.kink & ~judged.singular
    return Line(
        judged.moved - start, judged.steps, judged.numeric, judged.error, usable,
        judged.wrong & usable,
    )  # fmt: skip


def evidence(subject: Subject, rows: Rows, judged: list[Judgement]) -> Iterator[Evidence]:
    """Yield what is known of each input that something is wrong with."""
    stops = [part.stop for part in subject.slices]
    lines: dict[int, list[Line]] = {}
    for one in judged:
        inside = np.unique(np.searchsorted(stops, one.moved, side="right"))
        if inside.size == 1:
            k = int(inside[0])
            lines.setdefault(k, []).append(_line(one, subject.slices[k].start))
    units = rows.names and rows.names[0].startswith("of output")
    for k, leaf in enumerate(subject.leaves):
        mine = lines.get(k, [])
        if not any(line.wrong.any() for line in mine):
            continue
        part = subject.slices[k]
        others = {
            leaf_.name: rows.analytic[:, slice_]
            for j, (leaf_, slice_) in enumerate(zip(subject.leaves, subject.slices, strict=True))
            if j != k and leaf_.array.shape == leaf.array.shape
        }
        known = Evidence(
            leaf.name, leaf.array.shape, subject.x[part], rows.analytic[:, part],
            rows.blur[:, part], mine, rows.eps, others, _sizes(subject, k),
            subject.shape if units else None, bool(units),
        )  # fmt: skip
        _doubt(known)
        if not any(line.wrong.any() for line in mine):
            continue
        _probe_more(known, rows, part)
        yield known


def _doubt(evidence: Evidence) -> None:
    """Call wrong only what rounding and differences do not account for, whatever is allowed."""
    for line, slope, allowed in evidence.slopes(evidence.analytic):
        line.wrong &= ~(abs(slope - line.numeric) <= allowed)


def _probe_more(evidence: Evidence, rows: Rows, part: slice) -> None:
    """Probe a few more lines, where not all elements were probed by themselves."""
    n = evidence.x.size
    known = {int(line.moved[0]) for line in evidence.lines if line.moved.size == 1}
    if len(known) >= n or len(evidence.alone(wrong=True)) < 2:
        return
    everything = np.arange(n)
    lines = [(everything, signs(rows.rng, n)) for _ in range(2)]
    lines += [
        (everything[side], signs(rows.rng, int(side.sum())))
        for side in (evidence.x < 0.0, evidence.x > 0.0)
        if 1 < side.sum() < n
    ]
    left = np.setdiff1d(everything, sorted(known))
    more = rows.rng.choice(left, min(left.size, MORE_LINES - len(lines)), replace=False)
    lines += [(np.array([i]), np.ones(1)) for i in more]
    for moved, sign in lines:
        at = moved + part.start
        judged = rows.probe(at, rows.scales[0][at] * sign, Rule())
        evidence.lines.append(_line(judged, part.start))


def _sizes(subject: Subject, k: int) -> dict[str, int]:
    """Return sizes that factors come from, those of input `k` first."""
    sizes = {}
    order = [k, *(j for j in range(len(subject.leaves)) if j != k)]
    for leaf in (subject.leaves[j] for j in order):
        for axis, size in enumerate(leaf.array.shape):
            sizes[f"{leaf.name}.shape[{axis}]"] = size
        if leaf.array.ndim > 1:
            sizes[f"{leaf.name}.size"] = leaf.array.size
    for name, array in subject.constant_arrays:
        for axis, size in enumerate(array.shape):
            sizes[f"{name}.shape[{axis}]"] = size
        if array.ndim > 1:
            sizes[f"{name}.size"] = array.size
    shape = subject.shape or ()
    for axis, size in enumerate(shape):
        sizes[f"output.shape[{axis}]"] = size
    if len(shape) > 1:
        sizes["output.size"] = math.prod(shape)
    return sizes
