"""What the checks of a loss found, as an object, as text, as a dict and as HTML."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tinygrad_nn.audit.table import as_html, as_text

__all__ = ["OK", "SKIPPED", "WARNING", "WRONG", "LossFinding", "LossReport"]

OK = "ok"
WARNING = "warning"
WRONG = "wrong"
SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class LossFinding:
    """The outcome of one check.

    Attributes
    ----------
    name : str
        The check.
    verdict : str
        "ok", "warning" (may be meant), "wrong", or "skipped" (does not apply here).
    explanation : str
        What was found and, unless that is right, what to do.
    """

    name: str
    verdict: str
    explanation: str


@dataclass(repr=False)
class LossReport:
    """The outcome of all checks of a loss: true if nothing is wrong.

    Attributes
    ----------
    loss : str
        The function's name.
    findings : list of LossFinding
        One per check, in the order of the checks.
    """

    loss: str
    findings: list[LossFinding] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.of(WRONG)

    def __getitem__(self, name: str) -> LossFinding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no check {name!r}; there are {', '.join(f.name for f in self.findings)}")

    def of(self, verdict: str) -> list[LossFinding]:
        """Return the findings with this verdict."""
        return [finding for finding in self.findings if finding.verdict == verdict]

    @property
    def headline(self) -> str:
        """The outcome in one line."""
        wrong, warnings = self.of(WRONG), self.of(WARNING)
        parts = [f"WRONG: {', '.join(f.name for f in wrong)}"] if wrong else []
        if warnings:
            parts.append(f"{'nothing wrong, ' if not wrong else ''}"
                         f"warnings: {', '.join(f.name for f in warnings)}")  # fmt: skip
        return f"check_loss of {self.loss}: {'; '.join(parts) or 'right'}"

    def _rows(self) -> list[tuple[str, str, str]]:
        return [(f.name, f.verdict, f.explanation) for f in self.findings]

    def __str__(self) -> str:
        return as_text(self.headline, self._rows())

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists and strings."""
        return {
            "right": bool(self),
            "loss": self.loss,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def _repr_html_(self) -> str:
        return as_html(self.headline, ("check", "verdict", "explanation"), self._rows())
