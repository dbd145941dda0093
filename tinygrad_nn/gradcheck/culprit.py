"""Who is to blame, and where in the user's program that was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygrad_nn.source_line import SourceLine

if TYPE_CHECKING:
    from tinygrad_nn.gradcheck.report import Broken, Finding

__all__ = ["Culprit", "blame_sentences"]

#: Culprits of one kind that the printed report has room for.
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Culprit:
    """One line of a program whose derivative is wrong, or does not exist, at a node of the graph.

    It cannot say that a rule is right elsewhere: each primitive is checked at the numbers that it
    was given in this run, and nowhere else.

    Attributes
    ----------
    verdict : str
        "wrong", or "not differentiable here" (no fault: a subgradient was taken).
    kind : str
        "rule" (a derivative rule), "contract" (the primitive or its rules do not keep to one), or
        "constant" (a number has left the graph: a constant that moves with the inputs).
    primitive : str
        The primitive's name; of what a constant went into.
    label : str
        The node's label, or empty.
    argument : int or None
        Which argument's rule it is; for a constant, where it stands among the arguments. None
        where it is about all of them.
    argument_name : str
        What the primitive calls that argument.
    finding : Finding or None
        The worst derivative, at the primitive's own inputs.
    problem : Broken or None
        The broken contract.
    file, line, function, text : str, int, str, str
        The user's line that computed the node; empty and 0 where it is unknown.
    within : str
        The function of this package that the line has called, if it was one.
    times : int
        How many nodes of this line it is about.
    note : str
        What else there is to say.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> from tinygrad_nn.gradcheck import gradcheck
    >>> @tg.primitive(elementwise=True, rules=[lambda g, y, x: g * np.cos(3.0 * x)])
    ... def wave(x):
    ...     return np.sin(3.0 * x)
    >>> def loss(x):
    ...     return np.sum(wave(x * x))
    >>> report = gradcheck(loss, np.array([0.3, 1.0]), blame=True, raise_exception=False)
    >>> culprit = report.blame[0]
    >>> culprit.primitive, culprit.argument, culprit.verdict, culprit.text
    ('wave', 0, 'wrong', 'return np.sum(wave(x * x))')
    """

    verdict: str
    kind: str
    primitive: str
    label: str
    argument: int | None
    argument_name: str
    finding: Finding | None
    problem: Broken | None
    file: str
    line: int
    function: str
    text: str
    within: str
    times: int = 1
    note: str = ""

    @property
    def where(self) -> str:
        """The user's line, as Python's tracebacks write it; empty where it is unknown."""
        return str(SourceLine(self.file, self.line, self.function, self.within or None)) * bool(
            self.file
        )

    @property
    def who(self) -> str:
        """The primitive, its argument and the node in one line."""
        node = f" (node {self.label!r})" if self.label else ""
        argument = "" if self.argument is None else f" for its input `{self.argument_name}`"
        if self.kind == "constant":
            return f"primitive {self.primitive!r}{node}, input `{self.argument_name}`"
        if self.kind == "contract":
            return f"primitive {self.primitive!r}{node}"
        if self.argument is None:
            return f"primitive {self.primitive!r}{node}"
        return f"rule {self.argument} of primitive {self.primitive!r}{node}{argument}"

    @property
    def what(self) -> str:
        """What is wrong, in words."""
        f = self.finding
        parts = [] if self.problem is None else [str(self.problem)]
        if f is not None:
            order = ", second order" if f.order == 2 else ""
            note = f" ({f.note})" if f.note else ""
            # As many digits as it takes to see a difference.
            pairs = [(f"{f.analytic:.{n}g}", f"{f.numeric:.{n}g}") for n in (6, 9, 12, 17)]
            analytic, numeric = next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])
            what = f"analytic {analytic}, numerical {numeric}"
            if not self.is_wrong:
                what = f"not differentiable, {f.analytic:.6g} was taken"
            parts.append(f"{what} at {f.name}{order}{note}")
        return "; ".join(parts + [self.note] * bool(self.note))

    @property
    def is_wrong(self) -> bool:
        """Whether this is a fault, and not a kink."""
        return self.verdict == "wrong"

    @property
    def sentence(self) -> str:
        """Who and what, in one line."""
        times = f" ({self.times:,} times)" if self.times > 1 else ""
        return f"{self.who}{times}: {self.what}"

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.sentence, self.where)))


def blame_sentences(culprits: Iterable[Culprit]) -> Iterator[tuple[str, str, str]]:
    """Yield what each culprit is, what it has done, and where: the wrong ones first, then kinks."""
    for word in ("blame", "kink"):
        found = [culprit for culprit in culprits if culprit.is_wrong == (word == "blame")]
        for culprit in found[:_SHOWN]:
            yield word, culprit.sentence, culprit.where
        if len(found) > _SHOWN:
            yield word, f"... and {len(found) - _SHOWN:,} more", ""
