"""How many of the right functions a checker accepts, and how many of the wrong ones it rejects."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .case import Case
from .mutants import Mutant

__all__ = ["Check", "Counted", "Score", "score", "uncounted"]

#: ``check(case, seed)``: whether the checker accepts.
Check = Callable[[Case, int], bool]


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.function(*args)


def uncounted(case: Case) -> Case:
    """The case again, for values that the checker did not ask for."""
    f = case.forward
    return dataclasses.replace(case, forward=f.function if isinstance(f, Counted) else f)


@dataclasses.dataclass
class Score:
    """What a checker did with the corpus."""

    right: int = 0  # mutants rejected whose right version is accepted
    total: int = 0
    missed: Counter[str] = dataclasses.field(default_factory=Counter)  # by kind of bug
    planted: Counter[str] = dataclasses.field(default_factory=Counter)
    alarms: Counter[str] = dataclasses.field(default_factory=Counter)  # by group
    cases: Counter[str] = dataclasses.field(default_factory=Counter)
    false: list[str] = dataclasses.field(default_factory=list)  # right cases that were rejected
    accepted: list[str] = dataclasses.field(default_factory=list)  # mutants that were accepted
    evaluations: list[int] = dataclasses.field(default_factory=list)  # per right case
    seconds: list[float] = dataclasses.field(default_factory=list)

    def __add__(self, other: Score) -> Score:
        parts = (f.name for f in dataclasses.fields(self))
        return Score(**{name: getattr(self, name) + getattr(other, name) for name in parts})

    def __str__(self) -> str:
        alarms = " / ".join(f"{self.alarms[g]} of {n} {g}" for g, n in self.cases.items())
        return (
            f"right {100.0 * self.right / max(self.total, 1):.1f} % of {self.total:,}; "
            f"false alarms {alarms or 'none'}; evaluations "
            f"{statistics.median(self.evaluations or [0]):,.0f} / {sum(self.evaluations):,}; "
            f"{statistics.median(self.seconds or [0.0]):.4f} s"
        )


def score(
    check: Check, cases: Iterable[Case], mutants: Iterable[Mutant], seeds: Sequence[int] = (0,)
) -> Score:
    """Run a checker on right cases and on mutants.

    A mutant counts as told apart if it is rejected *and* the right version of it is accepted: who
    rejects everything has found nothing.
    """
    result = Score()
    for seed in seeds:
        trusted = set()
        for case in cases:
            counted = Counted(case.forward)
            start = time.perf_counter()
            accepted = check(dataclasses.replace(case, forward=counted), seed)
            result.seconds.append(time.perf_counter() - start)
            result.evaluations.append(counted.calls)
            result.cases[case.group] += 1
            if accepted:
                trusted.add(case.name)
            else:
                result.alarms[case.group] += 1
                result.false.append(case.name)
        for mutant in mutants:
            rejected = not check(mutant.build(), seed)
            result.total += 1
            result.planted[mutant.kind] += 1
            result.right += rejected and mutant.case.name in trusted
            if not rejected:
                result.missed[mutant.kind] += 1
                result.accepted.append(str(mutant))
    return result
