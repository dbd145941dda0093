"""What a gradient check found, as an object, as text, as a dict and as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "KINK", "RIGHT", "WEAK", "WRONG", "Broken", "Diagnosis", "Finding", "GradcheckReport",
]  # fmt: skip

WRONG = "wrong"
KINK = "not differentiable here"
WEAK = "weak"
RIGHT = "right"

_SEVERITY = {WRONG: 0, WEAK: 1, KINK: 2, RIGHT: 3}

#: Rows that the printed table has room for.
_ROWS = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """One element's derivative, computed twice.

    Attributes
    ----------
    name : str
        The element: ``x[3]``, ``layers.1.weight[3, 2]``.
    analytic : float
        The derivative that the rules give.
    numeric : float
        The derivative from differences of values. Where the function has a kink, the point
        between the two one-sided derivatives that is closest to `analytic`.
    error : float
        ``|analytic - numeric|``.
    tolerance : float
        The error that rounding and the method of differences allow.
    verdict : str
        "wrong", "not differentiable here" (and the analytic value is a subgradient), "weak" (the
        differences cannot tell at a relative precision of 1e-4) or "right".
    order : int
        1 for the gradient, 2 for the derivative of the gradient.
    kink : bool
        Whether the derivatives from the left and from the right are finite and differ; a value
        outside of them is wrong even so.
    elements : int
        1, or the number of elements that were moved together.
    note : str
        What else there is to say.
    """

    name: str
    analytic: float
    numeric: float
    error: float
    tolerance: float
    verdict: str
    order: int = 1
    kink: bool = False
    elements: int = 1
    note: str = ""

    @property
    def relative_error(self) -> float:
        """The error in units of the larger of the two derivatives."""
        if not math.isfinite(self.error):
            return math.inf
        size = max(abs(self.analytic), abs(self.numeric))
        return self.error / size if size else 0.0

    @property
    def _rank(self) -> tuple[int, float, float]:
        excess = self.error / self.tolerance if self.tolerance else 0.0
        worse = self.relative_error if self.verdict == WRONG else excess
        return _SEVERITY[self.verdict], -worse, -self.error


@dataclass(frozen=True, slots=True)
class Broken:
    """A contract that the function or its backward pass does not keep.

    Attributes
    ----------
    contract : str
        One of "deterministic", "pure" (inputs are not modified), "finite", "shape", "dtype",
        "linear" (in the incoming gradient), "plain" (the same on arrays as on tensors), "modes"
        (forward and reverse mode agree).
    message : str
        How it is broken, and what usually helps.
    """

    contract: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the pattern of wrong derivatives points to.

    Attributes
    ----------
    pattern : str
        "factor", "sign", "transposed", "broadcast", "negative", "ties", "upstream"...
    where : str
        The input or parameter; empty where it is about all of them.
    message : str
        In words, with what usually helps.
    details : dict
        The numbers behind it: ``{"factor": 0.5}``.
    """

    pattern: str
    where: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


def _printable(text: str) -> str:
    """Show control characters as escapes: a label must not be able to steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


@dataclass(repr=False)
class GradcheckReport:
    """The outcome of a check: true if the gradient is right.

    Attributes
    ----------
    findings : list of Finding
        One per element that was checked, the worst first.
    problems : list of Broken
        Broken contracts: not deterministic, an input modified, a result that is not finite, not
        linear in the incoming gradient.
    diagnoses : list of Diagnosis
        What the pattern of the wrong derivatives points to, where they have one.
    notes : list of str
        What was not checked, and why.
    inputs : dict of str to int
        Number of elements of each input by name.
    evaluations : int
        How often the function was called.
    seconds : float
        How long the check took; it stands in neither text nor dict, which are the same each time.
    """

    findings: list[Finding] = field(default_factory=list)
    problems: list[Broken] = field(default_factory=list)
    diagnoses: list[Diagnosis] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    evaluations: int = 0
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return not self.problems and not self.of(WRONG)

    def of(self, verdict: str) -> list[Finding]:
        """Return the findings with this verdict, the worst first."""
        return [finding for finding in self.findings if finding.verdict == verdict]

    def broke(self, contract: str, message: str) -> None:
        """Note that a contract is broken."""
        self.problems.append(Broken(contract, message))

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings and put the worst first."""
        self.findings.extend(findings)
        self.findings.sort(key=lambda finding: finding._rank)

    @property
    def _relative_errors(self) -> list[float]:
        """The relative errors of the derivatives that differences can resolve."""
        return [
            f.relative_error
            for f in self.findings
            if f.verdict == WRONG
            or (f.verdict == RIGHT and f.tolerance < 1e-3 * max(abs(f.analytic), abs(f.numeric)))
        ]

    @property
    def worst_relative_error(self) -> float:
        """The largest relative error among the derivatives that differences can resolve."""
        return max(self._relative_errors, default=0.0)

    # --- words ---------------------------------------------------------------------------------

    @property
    def headline(self) -> str:
        """The outcome in one line."""
        wrong = len(self.of(WRONG))
        if wrong:
            return f"gradcheck: WRONG: {wrong:,} of {_count(len(self.findings), 'derivative')}"
        if self.problems:
            return f"gradcheck: WRONG: {self.problems[0]}"
        return "gradcheck: right"

    @property
    def scope(self) -> list[str]:
        """What was checked and what was not, a line each."""
        elements = sum(self.inputs.values())
        alone = sum(f.order == 1 and f.elements == 1 for f in self.findings)
        how = " one by one"
        if alone < elements:
            how = ", along directions" + (f" and {alone:,} of them one by one" if alone else "")
        lines = [
            f"checked {'all ' if alone == elements else ''}{_count(elements, 'element')} of "
            f"{_count(len(self.inputs), 'input')}{how} in {_count(self.evaluations, 'evaluation')}"
        ]
        if not self.findings:
            lines = [f"checked none of {_count(elements, 'element')}"]
        if self._relative_errors:
            lines[0] += f"; worst relative error {self.worst_relative_error:.1e}"
        second = sum(f.order == 2 for f in self.findings)
        if second:
            lines.append(f"second order: {_count(second, 'derivative')}")
        kinks = sum(f.elements == 1 for f in self.of(KINK))
        weak = len(self.of(WEAK))
        if kinks:
            lines.append(f"not differentiable at {_count(kinks, 'element')}, where any subgradient "
                         f"is accepted")  # fmt: skip
        if weak:
            lines.append(f"too weak to tell: {_count(weak, 'element')}, see the tolerance")
        return lines + self.notes

    def _rows(self) -> list[tuple[str, ...]]:
        shown = self.findings[:_ROWS]
        return [
            (
                f.name + (" (second order)" if f.order == 2 else ""),
                f"{f.analytic:.8g}",
                f"{f.numeric:.8g}",
                f"{f.error:.1e}",
                f"{f.tolerance:.1e}",
                f.verdict + (f": {f.note}" if f.note else ""),
            )
            for f in shown
        ]

    _COLUMNS = ("element", "analytic", "numerical", "error", "tolerance", "verdict")

    def __str__(self) -> str:
        lines = [self.headline]
        lines += [f"  broken: {problem}" for problem in self.problems]
        if self.findings:
            table = [self._COLUMNS, *self._rows()]
            widths = [max(len(_printable(row[i])) for row in table) for i in range(5)]
            for row in table:
                cells = [_printable(cell) for cell in row]
                numbers = "  ".join(f"{cells[i]:>{widths[i]}}" for i in range(1, 5))
                lines.append(f"  {cells[0]:<{widths[0]}}  {numbers}  {cells[5]}")
            more = len(self.findings) - _ROWS
            if more > 0:
                lines.append(f"  ... and {more:,} more, none of them worse")
        lines += self.scope
        return _printable("\n".join(lines))

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, strings and numbers."""
        return {
            "right": bool(self),
            "findings": [asdict(finding) for finding in self.findings],
            "problems": [asdict(problem) for problem in self.problems],
            "diagnoses": [asdict(diagnosis) for diagnosis in self.diagnoses],
            "notes": list(self.notes),
            "inputs": dict(self.inputs),
            "evaluations": self.evaluations,
            "worst_relative_error": self.worst_relative_error,
        }

    def _repr_html_(self) -> str:
        def cells(tag: str, row: Iterable[str]) -> str:
            return "".join(f"<{tag}>{html.escape(_printable(cell))}</{tag}>" for cell in row)

        problems = "".join(
            f"<li>{html.escape(_printable(str(problem)))}</li>" for problem in self.problems
        )
        rows = "".join(f"<tr>{cells('td', row)}</tr>" for row in self._rows())
        scope = "<br>".join(html.escape(_printable(line)) for line in self.scope)
        return (
            f"<div><p><b>{html.escape(_printable(self.headline))}</b></p><ul>{problems}</ul>"
            f"<table><thead><tr>{cells('th', self._COLUMNS)}</tr></thead>"
            f"<tbody>{rows}</tbody></table><p>{scope}</p></div>"
        )
