"""Which lines are probed: elements one by one, or directions and the way down to the culprits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import BIN, DIRECTIONS, EXACT_AROUND, HULL, LOCATED, TIED
from tinygrad_nn.gradcheck.judgement import Judgement, Rule
from tinygrad_nn.gradcheck.noise import signs
from tinygrad_nn.gradcheck.report import KINK, WRONG, Finding
from tinygrad_nn.gradcheck.rows import Rows, points_around

__all__ = ["Search", "ties"]

Array = npt.NDArray[Any]

#: Told after each line: how many are done, and of how many (a guess while culprits are looked for).
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Search:
    """The lines that are probed among some elements, and what has been found on them.

    Attributes
    ----------
    rows : Rows
    rule : Rule
    alone : int
        Up to this many elements are probed one by one.
    budget : int
        Lines that may be probed where they are not.
    progress : callable
    findings : list of Finding
    judged : list of Judgement
        The evidence behind the findings.
    kinks : dict of int to Finding
        Elements at which the function is not differentiable.
    unprobed : str
        What the budget did not suffice for, in words.
    """

    rows: Rows
    rule: Rule
    alone: int
    budget: int
    progress: Progress
    findings: list[Finding] = field(default_factory=list)
    judged: list[Judgement] = field(default_factory=list)
    kinks: dict[int, Finding] = field(default_factory=dict)
    unprobed: str = ""
    _wrong: set[int] = field(default_factory=set)

    def run(self, among: Array) -> None:
        """Probe the elements `among`."""
        if among.size <= self.alone:
            for done, i in enumerate(among.tolist()):
                self.progress(done, among.size)
                self._element(i)
            # A function may have slopes along every axis and yet none that are linear in the
            # direction, as x y / hypot(x, y) at 0.
            together = self._clean(among)
            if together.size > 1 and not self._wrong:
                judged = self._probe(together, signs(self.rows.rng, together.size))
                if judged.is_smooth:
                    self.judged.append(judged)  # evidence, but nothing to tell
                else:
                    self._note(judged, self._title(together))
            return
        bins = list(self._bins(among))
        lines = bins + [part for part in bins if part.size > 1] * (DIRECTIONS - 1)
        for done, part in enumerate(lines):
            self.progress(done, len(lines))
            if self.rows.probes > self.budget:
                self.unprobed = (
                    f"not checked: {len(lines) - done} of {len(lines)} directions; too many lines "
                    f"went into looking for what is wrong or not differentiable "
                    f"(max_elements={self.rows.x.size} checks all one by one)"
                )
                return
            self._direction(self._clean(part))

    # --- elements --------------------------------------------------------------------------------

    def _probe(self, moved: Array, signs_of: Array, confirm: bool = True) -> Judgement:
        """Probe a line; where it is weak again with larger moves, for as long as that helps."""
        best: Judgement | None = None
        tried: Array | None = None
        for scale in self.rows.scales:
            steps = scale[moved] * signs_of
            if tried is not None and np.array_equal(steps, tried):
                continue
            tried = steps
            judged = self.rows.probe(moved, steps, self.rule, confirm=confirm)
            if best is None or (not judged.kink.any() and _relative(judged) < _relative(best)):
                best = judged
            if not best.weak.any() or not confirm:
                break
        assert best is not None
        return best

    def _element(self, i: int) -> bool:
        """Probe one element; return whether its derivative is wrong."""
        judged = self._probe(np.array([i]), np.ones(1))
        finding = self._note(judged, self.rows.subject.name(i))
        if finding.verdict == KINK:
            self.kinks[i] = finding
        if finding.verdict == WRONG:
            self._wrong.add(i)
        return finding.verdict == WRONG

    def _note(self, judged: Judgement, name: str) -> Finding:
        finding = judged.finding(name, self.rows.names, self.rows.order)
        self.judged.append(judged)
        self.findings.append(finding)
        return finding

    def _clean(self, part: Array) -> Array:
        """Leave out elements of which everything is known: kinks, and what is wrong."""
        return part[~np.isin(part, [*self.kinks, *self._wrong])]

    # --- directions ------------------------------------------------------------------------------

    def _bins(self, among: Array) -> Iterator[Array]:
        """Part elements by how much they contribute to any row, a few decades to each part."""
        rows = self.rows
        with np.errstate(all="ignore"):
            share = np.zeros(among.size)
            for row in rows.analytic:
                size = abs(row[among]) * rows.scales[0][among]
                size = np.nan_to_num(size, nan=np.inf, posinf=np.inf)
                share = np.maximum(share, size / (size[np.isfinite(size)].max(initial=0.0) or 1.0))
            decade = np.where(share > 0.0, np.ceil(np.log10(share) / BIN), -np.inf)
        for level in np.unique(decade)[::-1]:
            yield among[decade == level]

    def _direction(self, part: Array) -> None:
        """Probe a random direction through `part`, and look for the culprits if it is not right."""
        if not part.size:
            return
        if part.size == 1:
            self._element(int(part[0]))
            return
        judged = self._probe(part, signs(self.rows.rng, part.size))
        if judged.is_smooth:
            self._note(judged, self._title(part))
            return
        known = len(self._wrong), len(self.kinks)
        self._bisect(part)
        if known == (len(self._wrong), len(self.kinks)):
            self._note(judged, self._title(part))  # nothing to blame, or nobody alone
            return
        rest = self._clean(part)
        if rest.size > 1 and not judged.wrong.any():
            # Without its kinks the direction can be judged.
            self._note(self._probe(rest, signs(self.rows.rng, rest.size)), self._title(rest))

    def _bisect(self, part: Array) -> None:
        """Halve a direction that is not right down to elements that are not. No recursion."""
        found = len(self._wrong)
        most = LOCATED if found < LOCATED else 2
        if part.size > LOCATED:
            # Where every element is wrong, as with a factor, there is nothing to look for.
            spread = part[np.linspace(0, part.size - 1, most).astype(int)]
            all(self._element(i) for i in spread.tolist())
        stack = [part[len(part) // 2 :], part[: len(part) // 2]]
        while stack:
            if self.rows.probes > self.budget or len(self._wrong) - found >= most:
                return
            self.progress(self.rows.probes, self.budget)
            half = stack.pop()
            if half.size == 1:
                if int(half[0]) not in self.kinks and int(half[0]) not in self._wrong:
                    self._element(int(half[0]))
                continue
            if not half.size:
                continue
            direction = signs(self.rows.rng, half.size)
            if not self._probe(half, direction, confirm=False).is_smooth:
                stack += [half[len(half) // 2 :], half[: len(half) // 2]]

    def _title(self, part: Array) -> str:
        """Name a direction: by its input, if it is one."""
        subject = self.rows.subject
        stops = [s.stop for s in subject.slices]
        inside = np.unique(np.searchsorted(stops, part, side="right"))
        name = subject.names[inside[0]] if inside.size == 1 else f"{inside.size} inputs"
        return f"{name} (along {part.size:,} elements)"


def _relative(judged: Judgement) -> float:
    """Return the error that a line can tell, relative to the derivative; larger is weaker."""
    with np.errstate(all="ignore"):
        relative = judged.error / (abs(judged.analytic) + 1e-300)
        return float(np.max(relative[judged.weak], initial=0.0))


def ties(rows: Rows, kinks: list[int]) -> Iterator[Finding]:
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
        # Others may be tied with them, and be larger or smaller.
        offsets = np.concatenate([offsets, points_around(rows.rng, d.size)])
        low, high, margin = rows.around(d, offsets)
        analytic = rows.analytic[:, [i, j]].sum(axis=1) * size
        margin += HULL * (high - low)
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
