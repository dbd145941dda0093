"""Diagnosis: what simple mistake explains what is wrong, derivatives or contracts."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.contracts import same
from tinygrad_nn.gradcheck.evidence import evidence
from tinygrad_nn.gradcheck.hypotheses import HYPOTHESES
from tinygrad_nn.gradcheck.report import WRONG, Broken, Diagnosis, GradcheckReport
from tinygrad_nn.gradcheck.search import Search
from tinygrad_nn.gradcheck.subject import Subject

__all__ = ["diagnose"]

Array = npt.NDArray[Any]


def _derivatives(subject: Subject, search: Search, report: GradcheckReport) -> list[Diagnosis]:
    """Say what mistake explains the wrong derivatives of each input, if one does."""
    found: list[Diagnosis] = []
    for known in evidence(subject, search.rows, search.judged):
        for hypothesis in HYPOTHESES.values():
            fitting = list(hypothesis(known))
            if fitting:
                found.append(_either(fitting))
                break
    wrong = report.of(WRONG)
    if not found and wrong and all(f.kink and math.isfinite(f.analytic) for f in wrong):
        found.append(_at_kinks([f.name for f in wrong]))
    return _merged(found)


def _at_kinks(names: list[str]) -> Diagnosis:
    return Diagnosis(
        "ties", "",
        "wrong only where the slopes from the left and from the right differ: at a kink any value "
        "between them will do, and at a tie any share that adds up to 1 (`>=` counts both)",
        {"elements": names},
    )  # fmt: skip


def _either(fitting: list[Diagnosis]) -> Diagnosis:
    """Return one diagnosis for those that cannot be told apart: two at most."""
    first, *others = fitting
    for other in others[:1]:
        return replace(first, message=f"{first.message} (or {other.message})")
    return first


def _merged(found: list[Diagnosis]) -> list[Diagnosis]:
    """Say once what is the same for several inputs."""
    alike: dict[Any, list[Diagnosis]] = {}
    for diagnosis in found:
        # The names of a factor are in the order of the input's own sizes.
        names = frozenset(diagnosis.details.get("names", ()))
        message = diagnosis.message.partition(";")[0] if names else diagnosis.message
        alike.setdefault((diagnosis.pattern, message, names), []).append(diagnosis)
    return [
        replace(group[0], where=", ".join(diagnosis.where for diagnosis in group))
        for group in alike.values()
    ]


# --- broken contracts ----------------------------------------------------------------------------

_SHAPES = re.compile(
    r"(?:cotangent of|has) shape \(([\d, ]*)\)(?: for an input of shape|, expected) \(([\d, ]*)\)"
)


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(",") if n.strip())


def unsummed(problem: Broken) -> Diagnosis | None:
    """Name the axes that a rule must sum over, where its result has the broadcast shape."""
    match = _SHAPES.search(problem.message) if problem.contract == "shape" else None
    if match is None:
        return None
    got, expected = map(_shape, match.groups())
    if len(got) > 1 and got == expected[::-1]:
        return Diagnosis("transposed", "", "the rule's result must be transposed")
    extra = len(got) - len(expected)
    if extra < 0:
        return None
    inner = list(zip(got[extra:], expected, strict=True))
    if any(n not in (m, 1) for m, n in inner):
        return None
    kept = [extra + k for k, (m, n) in enumerate(inner) if m != n]
    lead = list(range(extra))
    words = [f"sum over axis {_axes(lead)}"] * bool(lead)
    words += [f"sum over axis {_axes(kept)} with keepdims=True"] * bool(kept)
    if not words:
        return None
    return Diagnosis(
        "broadcast", "",
        f"the input was broadcast from {expected} to {got}, and its rule must undo that: "
        f"{', and '.join(words)}",
        {"axes": lead + kept},
    )  # fmt: skip


def _axes(axes: list[int]) -> str:
    return str(axes[0]) if len(axes) == 1 else str(tuple(axes))


def upstream(subject: Subject, g: Array) -> Diagnosis | None:
    """Say what a rule does to its incoming gradient, where it is not linear in it."""
    x = subject.x
    with np.errstate(all="ignore"):
        one, twice, minus, large, larger = subject.gradients(
            x, np.array([1.0, 2.0, -1.0, 2.0**40, 2.0**41])[:, None] * g
        )
        nearly = subject.gradients(x, (g * (1.0 + 2.0**-40))[None])[0]
    if not np.isfinite([one, twice, minus]).all() or not one.any():
        return None
    if same(one, twice) and same(one, minus):
        how, message = "ignored", "a rule ignores its `g`: multiply by it"
    elif same(one, twice) and same(one, -minus):
        how, message = "sign", "a rule uses only the sign of its `g`"
    elif same(twice, 4.0 * one) and same(one, minus):
        how, message = "squared", "a rule multiplies by its `g` twice"
    elif same(one, minus) and same(twice, 2.0 * one):
        how, message = "absolute", "a rule uses the absolute value of its `g`"
    elif same(large, larger) and np.isfinite(large).all():
        how, message = "clipped", "a rule clips its `g`, or its result"
    elif same(one, nearly) and not np.array_equal(g, g * (1.0 + 2.0**-40)):
        how, message = "rounded", "a rule rounds its `g`, or its result, to a lower precision"
    else:
        return None
    return Diagnosis("upstream", "", message, {"how": how})


def _contracts(subject: Subject, report: GradcheckReport, g: Array) -> list[Diagnosis]:
    """Say what is behind broken contracts; `g` is some gradient of the outputs."""
    found = [unsummed(problem) for problem in report.problems]
    if any(p.contract == "linear" for p in report.problems):
        found.append(upstream(subject, g))
    return [diagnosis for diagnosis in found if diagnosis is not None]


# --- second order --------------------------------------------------------------------------------


def _second_order(report: GradcheckReport) -> list[Diagnosis]:
    """Say what it means that only second derivatives are wrong."""
    wrong = [f for f in report.of(WRONG) if f.order == 2]
    if not wrong or any(f.order == 1 for f in report.of(WRONG)):
        return []
    if all(f.analytic == 0.0 for f in wrong):
        return [Diagnosis(
            "second order", "",
            "the first derivative is right, and the second is 0: the rule takes what it computes "
            "with out of the graph (t.data, t.item(), np.array(t))",
        )]  # fmt: skip
    return [Diagnosis(
        "second order", "",
        "the first derivative is right, and its own derivative is not: the rule takes some of "
        "what it computes with (x, y or g) out of the graph (t.data, t.item(), np.array(t)), or "
        "uses an operation whose rule is wrong",
    )]  # fmt: skip


# --- all of it -----------------------------------------------------------------------------------


def diagnose(
    subject: Subject, search: Search | None, report: GradcheckReport, g: Array
) -> list[Diagnosis]:
    """Say what simple mistake explains what is wrong, if one does.

    Parameters
    ----------
    subject : Subject
    search : Search or None
        The evidence: lines that were probed. A few more are, where it holds few.
    report : GradcheckReport
        What is wrong.
    g : ndarray, shape (m,)
        Some gradient of the outputs, to try rules with.

    Returns
    -------
    list of Diagnosis
        One for each input that something is wrong with and that one mistake explains. Inputs that
        the same is said of share one.

    Notes
    -----
    It cannot tell two mistakes at once, nor one that depends on other inputs in a way of its own.
    A large input may have elements that no line has told apart from their neighbours; what is said
    of it holds for the lines that were probed.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.gradcheck import gradcheck
    >>> report = gradcheck(
    ...     lambda x: np.sum(x**2), np.arange(1.0, 4.0), gradient=lambda x: x, raise_exception=False
    ... )
    >>> print(report.diagnoses[0])
    x: 1/2 times what it must be
    """
    if any(p.contract in ("deterministic", "pure", "finite") for p in report.problems):
        return []  # there is no telling what a number would be the second time
    found = _contracts(subject, report, g)
    if found or search is None:
        return found
    return _derivatives(subject, search, report) or _second_order(report)
