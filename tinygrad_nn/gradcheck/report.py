"""What a gradient check found, as an object and as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from tinygrad_nn.colour import shows_colour
from tinygrad_nn.gradcheck.render import as_html, as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tinygrad_nn.gradcheck.blame import Blamed
    from tinygrad_nn.gradcheck.culprit import Culprit
    from tinygrad_nn.gradcheck.taylor import Taylor

__all__ = [
    "KINK", "RIGHT", "WEAK", "WRONG", "Broken", "Diagnosis", "Finding", "GradcheckReport",
    "Resolution",
]  # fmt: skip

WRONG = "wrong"
KINK = "not differentiable here"
WEAK = "weak"
RIGHT = "right"

_SEVERITY = {WRONG: 0, WEAK: 1, KINK: 2, RIGHT: 3}


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
    def resolution(self) -> float:
        """The relative error that would just not have been called wrong; 0/0 is nan."""
        sizes = [abs(v) for v in (self.analytic, self.numeric) if math.isfinite(v)]
        size = max(sizes, default=0.0)
        return self.tolerance / size if size else math.nan

    @property
    def label(self) -> str:
        """The name, with the order where it is the second."""
        return self.name + (" (second order)" if self.order == 2 else "")

    @property
    def _rank(self) -> tuple[int, float, float]:
        error = self.error if self.error == self.error else math.inf  # nan has no place in an order
        excess = error / self.tolerance if self.tolerance else 0.0
        worse = self.relative_error if self.verdict == WRONG else excess
        return _SEVERITY[self.verdict], -worse, -error


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


@dataclass(frozen=True, slots=True)
class Resolution:
    """How small an error would have shown, relative to the derivative that it is in.

    Attributes
    ----------
    median : float
        Half of the derivatives are known better than this.
    worst : float
        All of them are. At 1 or more, a derivative could as well be 0 or twice what it is.
    where : str
        The element of which the least is known.
    """

    median: float
    worst: float
    where: str


def _plain(item: Any) -> Any:
    """Return the same made of what JSON has, with infinities and nan as strings."""
    if isinstance(item, dict):
        return {str(key): _plain(part) for key, part in item.items()}
    if isinstance(item, list | tuple):
        return [_plain(part) for part in item]
    if isinstance(item, float):
        return float(item) if math.isfinite(item) else str(float(item))
    return item


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
    taylor : Taylor or None
        A second opinion: how Taylor's remainder falls along a random direction. None where
        nothing was checked.
    evaluations : int
        How often the function was called.
    seconds : float
        How long the check took; it stands in neither text nor dict, which are the same each time.
    blame : list of Culprit
        With ``blame=True``: whose derivatives are wrong, the worst first, and then the kinks.
    """

    findings: list[Finding] = field(default_factory=list)
    problems: list[Broken] = field(default_factory=list)
    diagnoses: list[Diagnosis] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    taylor: Taylor | None = None
    evaluations: int = 0
    seconds: float = 0.0
    blame: list[Culprit] = field(default_factory=list)
    _graph: Blamed | None = field(default=None, init=False, compare=False)

    def __bool__(self) -> bool:
        return not (self.problems or self.of(WRONG) or self._accused)

    @property
    def _accused(self) -> list[Culprit]:
        """Whose derivatives are wrong; they may cancel in the whole."""
        return [culprit for culprit in self.blame if culprit.is_wrong]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_graph": None}  # graphs cannot be pickled

    def _drawn(self) -> Blamed:
        """Return the graph, with its marks; for `draw`."""
        if self._graph is None:
            raise ValueError(
                "this report was made without blame=True, and has no graph to draw: "
                "draw(gradcheck(f, inputs, blame=True, raise_exception=False))"
            )
        return self._graph

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

    @property
    def resolution(self) -> Resolution | None:
        """How small an error would have shown; None where there is no derivative to tell it of.

        Derivatives that are 0 have no relative error. At kinks whole intervals are right, and the
        tolerance says nothing of the value inside.
        """
        known = [(f.resolution, f.label) for f in self.findings
                 if f.verdict != KINK and not math.isnan(f.resolution)]  # fmt: skip
        if not known:
            return None
        worst, where = max(known, key=lambda pair: pair[0])
        return Resolution(median(r for r, _ in known), worst, where)

    # --- words -----------------------------------------------------------------------------------

    @property
    def headline(self) -> str:
        """The outcome in one line."""
        wrong = len(self.of(WRONG))
        if wrong:
            return f"gradcheck: WRONG: {wrong:,} of {_count(len(self.findings), 'derivative')}"
        if self.problems:
            return f"gradcheck: WRONG: {self.problems[0]}"
        if self._accused:
            return (
                f"gradcheck: WRONG: {_count(len(self._accused), 'primitive')} at their own inputs, "
                f"though the errors do not show in the whole"
            )
        weak = len(self.of(WEAK))
        if 2 * weak > len(self.findings):
            return (
                f"gradcheck: right as far as can be told: {weak:,} of "
                f"{_count(len(self.findings), 'derivative')} too weak to tell"
            )
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
        lines += self._resolved
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
        if self.taylor is not None:
            lines.append(str(self.taylor))
        return lines + self.notes

    @property
    def _resolved(self) -> list[str]:
        """The resolution in words."""
        r = self.resolution
        if r is None or not math.isfinite(r.median):
            return []
        if r.median >= 1.0:
            return ["no error would have shown: differences cannot tell the derivatives from 0"]
        line = f"relative errors above {r.median:.2g} would have shown"
        if len(self.findings) == 1:
            return [line]
        worst = f"above {r.worst:.2g}" if r.worst < 1.0 else "none"
        return [f"{line} (median), {worst} at {r.where} (worst)"]

    # --- as text, data and HTML ------------------------------------------------------------------

    def to_text(self, color: bool | None = None) -> str:
        r"""Return the text, in colour if that is asked for.

        Parameters
        ----------
        color : bool, optional
            Whether verdicts are coloured, by ANSI codes. By default they are where standard output
            is a terminal, and neither NO_COLOR is set nor TERM is "dumb". What a colour says, a
            word beside it says too.

        Returns
        -------
        str
            Without colours it is ``str(report)``: the same, byte for byte, for the same check.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_nn.gradcheck import gradcheck
        >>> gradcheck(np.sin, 0.0).to_text(color=True).splitlines()[0]
        'gradcheck: \x1b[32mright\x1b[0m'
        """
        return as_text(self, shows_colour() if color is None else color)

    def __str__(self) -> str:
        return as_text(self, color=False)

    def __repr__(self) -> str:
        return str(self)

    def __rich__(self) -> Any:
        # Whoever asks has imported rich.
        from rich.text import Text

        return Text.from_ansi(as_text(self, color=True))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, strings and numbers.

        JSON has no infinities and no nan. They are the strings "inf", "-inf" and "nan", which
        ``float`` takes as it takes numbers.

        Returns
        -------
        dict
            "right", "findings", "problems", "diagnoses", "notes", "inputs", "evaluations",
            "worst_relative_error", and "resolution", which is None where nothing was resolved.
            Findings have the entries of `Finding`, and "relative_error".

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_nn.gradcheck import gradcheck
        >>> data = gradcheck(lambda x: x * x, 3.0).to_dict()
        >>> data["right"], data["findings"][0]["name"], data["findings"][0]["analytic"]
        (True, 'x', 6.0)
        """
        resolution = self.resolution
        data: dict[str, Any] = _plain({
            "right": bool(self),
            "findings": [
                {**asdict(finding), "relative_error": finding.relative_error}
                for finding in self.findings
            ],
            "problems": [asdict(problem) for problem in self.problems],
            "diagnoses": [asdict(diagnosis) for diagnosis in self.diagnoses],
            "blame": [asdict(culprit) for culprit in self.blame],
            "notes": list(self.notes),
            "inputs": dict(self.inputs),
            "taylor": None if self.taylor is None else self.taylor.to_dict(),
            "evaluations": self.evaluations,
            "worst_relative_error": self.worst_relative_error,
            "resolution": None if resolution is None else asdict(resolution),
        })  # fmt: skip
        return data

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw Taylor's remainder over the steps.

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
        ValueError
            If nothing was checked.
        """
        if self.taylor is None:
            raise ValueError("nothing to plot: nothing was checked")
        return self.taylor.plot(ax)

    def _repr_html_(self) -> str:
        return as_html(self)
