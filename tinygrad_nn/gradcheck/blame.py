"""Blame: each primitive of the graph is checked by itself, at the inputs that it has had there."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinygrad_nn.anomaly import source_lines, source_of
from tinygrad_nn.backward import reachable
from tinygrad_nn.gradcheck.application import Alone, Application, applications
from tinygrad_nn.gradcheck.constants import APPLICATIONS
from tinygrad_nn.gradcheck.culprit import Culprit
from tinygrad_nn.gradcheck.graph_subject import GraphSubject
from tinygrad_nn.gradcheck.leaks import Leak, explains, find_leaks, move
from tinygrad_nn.gradcheck.report import KINK, WRONG, Finding, GradcheckReport
from tinygrad_nn.graph import Node

__all__ = ["Blamed", "assign_blame"]

#: Checks one subject with a small budget.
Check = Callable[[Alone], GradcheckReport]


@dataclass(slots=True)
class Blamed:
    """The graph behind a report, for a drawing.

    Attributes
    ----------
    outputs : list of Node
    names : dict of int to str
        The checked inputs' names by serial number.
    model : Module or None
        Whose modules the graph was made in.
    marks : dict of int to (str, str, str)
        By serial number: "wrong" or "kink", a word or two for the node, and what was found.
    """

    outputs: list[Node]
    names: dict[int, str]
    model: Any
    marks: dict[int, tuple[str, str, str]] = field(default_factory=dict)

    def mark(self, node: Node, culprit: Culprit) -> None:
        """Mark a node; a kink gives way to what is wrong, which stays as it was found first."""
        known = self.marks.get(node.serial)
        if known is not None and (known[0] == "wrong" or culprit.verdict != WRONG):
            return
        wrong = culprit.verdict == WRONG
        word = {"rule": "wrong rule", "contract": "broken rule", "constant": "left the graph"}
        argument = "" if culprit.argument is None else f"rule {culprit.argument}: "
        what = culprit.what if culprit.kind != "rule" else f"{argument}{culprit.what}"
        self.marks[node.serial] = (
            "wrong" if wrong else "kink", word[culprit.kind] if wrong else "kink", what
        )  # fmt: skip


def assign_blame(
    subject: GraphSubject, report: GradcheckReport, check: Check, rng: np.random.Generator
) -> None:
    """Find whose derivatives are wrong, and say so in `report.blame`."""
    wrong = not report
    moved = move(subject, rng) if wrong else None
    try:
        with np.errstate(all="ignore"), source_lines():
            leaves, outputs = subject.run(subject.x)
    except Exception as error:
        error.add_note("gradcheck met this when it called the function to find whom to blame")
        raise
    names = {node.serial: name for node, name in zip(leaves, subject.names, strict=True)}
    blamed = report._graph = Blamed(outputs, names, subject.model)
    live = reachable(node for node in outputs if node.requires_grad)
    found = applications((live[serial] for serial in sorted(live)), set(names))
    tally = _Tally(blamed)
    _check_all(found, report, tally, check, rng)
    if moved is not None:
        leaks = find_leaks(leaves, outputs, moved)
        if leaks is None:
            report.notes.append(
                "blame: constants not looked at: for moved inputs the graph is another one"
            )
        _blame_leaks(leaks or [], moved.left, tally)
    report.blame = sorted(tally.culprits.values(), key=_rank)
    if wrong and not any(culprit.verdict == WRONG for culprit in report.blame):
        report.notes.append(
            "blame: every primitive that was checked is right at its own inputs; so a number has "
            "left the graph between them: look for .data, .item(), np.asarray, float(), "
            "stop_gradient, no_grad"
        )


class _Tally:
    """Culprits, one for all nodes of the same line with the same fault, the worst finding kept."""

    def __init__(self, blamed: Blamed) -> None:
        self.blamed = blamed
        self.culprits: dict[Any, Culprit] = {}

    def add(self, node: Node, culprit: Culprit) -> None:
        self.blamed.mark(node, culprit)
        c = culprit
        contract = c.problem.contract if c.problem else ""
        key = (c.verdict, c.kind, c.primitive, c.label, c.argument, contract, c.file, c.line)
        known = self.culprits.get(key)
        if known is None:
            self.culprits[key] = culprit
        else:
            worst = min(known, culprit, key=_rank)
            self.culprits[key] = replace(worst, times=known.times + 1)


def _rank(culprit: Culprit) -> tuple[Any, ...]:
    kinds = ("contract", "rule", "constant")
    f = culprit.finding
    off = -f.relative_error if f is not None else -math.inf
    return culprit.verdict != WRONG, kinds.index(culprit.kind), off


def _culprit(node: Node, verdict: str, kind: str, argument: int | None, name: str,
             **found: Any) -> Culprit:  # fmt: skip
    source = source_of(node)
    assert node.primitive is not None
    place: tuple[Any, ...] = ("", 0, "", "", "")
    if source is not None:
        place = source.file, source.line, source.function, source.text, source.within or ""
    found = {"finding": None, "problem": None} | found
    file, line, function, text, within = place
    return Culprit(
        verdict, kind, node.primitive.name, node.label or "", argument, name, file=file,
        line=line, function=function, text=text, within=within, **found,
    )  # fmt: skip


# --- primitives ----------------------------------------------------------------------------------


def _check_all(
    found: list[Application], report: GradcheckReport, tally: _Tally, check: Check,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    equal: dict[Any, list[Application]] = defaultdict(list)
    for application in found:
        equal[application.key].append(application)
    with np.errstate(all="ignore"):
        queue = _queue([group[0] for group in equal.values()], rng)
    failed: list[str] = []
    nonfinite = any(problem.contract == "finite" for problem in report.problems)
    for application in queue[:APPLICATIONS]:
        same = equal[application.key]
        if not _finite(application):
            failed.append(f"{application.primitive.name} (an input is not finite)")
            continue
        try:
            with np.errstate(all="ignore"):
                alone = application.subject()
                result = check(alone)
        except Exception as error:
            failed.append(f"{application.primitive.name} ({error})")
            continue
        for culprit in _verdicts(application, alone, result, nonfinite, failed):
            for twin in same:
                source = source_of(twin.node)
                own = culprit if twin is application or source is None else replace(
                    culprit, file=source.file, line=source.line, function=source.function,
                    text=source.text, within=source.within or "", label=twin.node.label or "",
                )  # fmt: skip
                tally.add(twin.node, own)
    if failed:
        listed = "; ".join(dict.fromkeys(failed[:3]))
        report.notes.append(f"blame: {len(failed):,} primitive(s) not checked alone: {listed}")
    rest = len(queue) - APPLICATIONS
    if rest > 0:
        report.notes.append(
            f"blame: {APPLICATIONS:,} of {len(queue):,} different applications of primitives were "
            f"checked; at the other {rest:,}, which looked less suspect, the rules were only held "
            f"against one difference each way"
        )


def _queue(different: list[Application], rng: np.random.Generator) -> list[Application]:
    """Order applications: suspects first, and a user's own primitives; each line has its turn."""
    turn: Counter[Any] = Counter()
    ranked = []
    for place, application in enumerate(different):
        suspect = application.is_suspect(rng)
        line = (id(application.primitive), source_of(application.node), suspect)
        turn[line] += 1
        ranked.append((not suspect, application.primitive.trusted, turn[line], place))
    return [different[place] for *_, place in sorted(ranked)]


def _verdicts(
    application: Application, alone: Alone, result: GradcheckReport, nonfinite: bool,
    failed: list[str],
) -> Iterator[Culprit]:  # fmt: skip
    """Yield what is wrong at one application, and its kinks."""
    node = application.node
    for problem in result.problems:
        if problem.contract == "finite" and not nonfinite:
            # What is not used later on is no fault.
            failed.append(f"{application.primitive.name} (the result is not finite)")
        else:
            yield _culprit(node, WRONG, "contract", None, "", problem=problem)
    for verdict in (WRONG, KINK):
        worst: dict[int | None, Finding] = {}
        for finding in result.of(verdict):  # the worst first
            worst.setdefault(alone.argument_of(finding.name), finding)
        for i, finding in worst.items():
            name = "" if i is None else application.names[i]
            note = ""
            if verdict == WRONG and i is not None and application.primitive.rule(i) is None:
                note = "there is no rule for this input, which says that nothing depends on it"
            yield _culprit(node, verdict, "rule", i, name, finding=finding, note=note)


def _finite(application: Application) -> bool:
    return all(np.isfinite(application.values[i]).all() for i in application.places)


# --- constants -----------------------------------------------------------------------------------


def _blame_leaks(leaks: list[Leak], left: list[str], tally: _Tally) -> None:
    seen = f". Numbers are read at {'; '.join(left[:3])}" if left else ""
    complete = explains(leaks)
    for k, leak in enumerate(leaks):
        note = "a constant here moves with the inputs: a number has left the graph"
        if complete and len(leaks) == 1:
            note += ", and the derivative through it is all that the gradient lacks"
        elif complete:
            note += ", and the derivatives through these are all that the gradient lacks"
        elif leak.share is not None and 0.0 < leak.share < 1.0:
            note += f", and {leak.share:.0%} of what the gradient lacks, along a random direction"
        note += seen if not k else ""  # once is enough
        if isinstance(leak.place, int):
            application = Application(leak.node, ())
            place, name = leak.place, application.names[leak.place]
        else:
            place, name = None, leak.place
        tally.add(leak.node, _culprit(leak.node, WRONG, "constant", place, name, note=note))
