"""The wrong versions of a case: every kind of bug, wherever it makes a difference."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

from .bugs import KINDS
from .case import Case

__all__ = ["Mutant", "drawn", "mutants", "order_of"]

Array = np.ndarray

#: Differences, relative to the largest element of an input's derivative, that are no bug.
TOLERANCE = {"smooth": 1e-9, "kink": 1e-6, "float32": 1e-2}
#: How often a mutant is called, since some go wrong later.
ROUNDS = 12
#: How far from a kink the derivatives are that a value at the kink may lie between.
NEARBY = 1e-8


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A kind of bug in the rule of one input of a case."""

    case: Case
    kind: str
    position: int
    order: int  # of the lowest derivative that is wrong

    def __str__(self) -> str:
        return f"{self.case} / {self.kind}"

    def build(self) -> Case:
        """The wrong version, as if it had never been called."""
        made = KINDS[self.kind](self.case, self.position)
        assert made is not None
        return dataclasses.replace(made, name=str(self))


def mutants(case: Case) -> Iterator[Mutant]:
    """All of a case."""
    for kind in KINDS:
        if mutant := _mutant(case, kind):
            yield mutant


def drawn(cases: Collection[Case], per_kind: int, kinds: Iterable[str] = KINDS) -> Iterator[Mutant]:
    """Up to so many of each kind, from cases in a random order that is always the same."""
    for kind in kinds:
        order = sorted(cases, key=lambda case: _hash(case, kind, "case"))
        yield from islice(filter(None, (_mutant(case, kind) for case in order)), per_kind)


def _mutant(case: Case, kind: str) -> Mutant | None:
    """The bug in the rule of an input that it changes, if there is one."""
    start = _hash(case, kind, "input") % len(case.active)
    for position in case.active[start:] + case.active[:start]:
        if order := order_of(case, KINDS[kind](case, position)):
            return Mutant(case, kind, position, order)
    return None


def _hash(*words: object) -> int:
    return zlib.crc32(" ".join(map(str, words)).encode())


def order_of(case: Case, mutant: Case | None) -> int | None:
    """The order of the lowest derivative that a mutant has wrong; None if it is right."""
    if mutant is None:
        return None
    with np.errstate(all="ignore"):
        if _first_differs(case, mutant):
            return 1
        if case.second and case.group != "kink" and _second_differs(case, mutant):
            return 2
    return None


@cache
def _expected(case: Case) -> tuple[Array, list[tuple[Array, list[Array]]]]:
    """The value; incoming gradients of many sizes, each of them twice, and what the rules give."""
    y = np.asarray(case.forward(*case.inputs))
    rng = np.random.default_rng(0)
    gradients = [
        np.asarray(3.0 * rng.standard_normal(y.shape), y.dtype) for _ in range(ROUNDS // 2)
    ]
    right = [(g, case.cotangents(g, case.point)) for g in gradients]
    return y, [pair for pair in right for _ in range(2)]


def _first_differs(case: Case, mutant: Case) -> bool:
    before: list[Array] | None = None
    expected, rounds = _expected(case)
    for k, (g, right) in enumerate(rounds):
        inputs, given = [np.array(x) for x in case.inputs], g.copy()
        try:
            y = np.asarray(mutant.forward(*inputs))
            found = [
                np.zeros(inputs[i].shape) if rule is None else np.asarray(rule(given, y, *inputs))
                for i, rule in ((i, mutant.rules[i]) for i in case.active)
            ]
        except Exception:  # of whatever kind, it will be seen
            return True
        again = k % 2 == 1 and before is not None and not all(map(_same, found, before))
        kept = all(map(_same, inputs, case.inputs)) and _same(given, g)
        if again or not kept or not _same(y, expected):
            return True
        if not _right_at(case, k, found, right):
            return True
        before = found
    return False


def _same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))


def _right_at(case: Case, k: int, found: Sequence[Array], right: Sequence[Array]) -> bool:
    """Whether cotangents are those of the rules, or between the derivatives around a kink."""
    if any(c.shape != np.shape(r) or not np.isfinite(c).all()
           for c, r in zip(found, right, strict=True)):  # fmt: skip
        return False
    if _close(found, right, TOLERANCE[case.group]):
        return True
    if case.group != "kink":
        return False
    directions, around = _around(case, k // 2)
    size = max(float(np.max(np.abs(c), initial=0.0)) for c in around)
    flat = directions @ np.concatenate([np.ravel(c) for c in found])
    beyond = flat - np.max(directions @ around.T, axis=1)
    return bool(np.all(beyond <= TOLERANCE["kink"] * size * np.abs(directions).sum(axis=1)))


def _close(found: Sequence[Any], right: Sequence[Any], tolerance: float) -> bool:
    return all(
        bool(np.max(np.abs(c - r), initial=0.0) <= tolerance * np.max(np.abs(r), initial=0.0))
        for c, r in zip(found, right, strict=True)
    )


@cache
def _around(case: Case, k: int) -> tuple[Array, Array]:
    """Directions in the space of all inputs, and derivatives of the k-th gradient near by."""
    g = _expected(case)[1][2 * k][0]
    rng = np.random.default_rng(1)
    n = sum(x.size for x in case.point)
    around = []
    for _ in range(200):
        point = [x + NEARBY * rng.standard_normal(x.shape) for x in case.point]
        around.append(np.concatenate([np.ravel(c) for c in case.cotangents(g, point)]))
    units = np.eye(n)
    pairs = [a * units[i] + b * units[j] for i in range(n) for j in range(i)
             for a in (-1, 1) for b in (-1, 1)]  # fmt: skip
    return np.array([*units, *-units, *pairs, *rng.standard_normal((50, n))]), np.array(around)


def _second_differs(case: Case, mutant: Case) -> bool:
    rng = np.random.default_rng(2)
    for g, _ in _expected(case)[1][::4]:
        e = [np.asarray(rng.standard_normal(x.shape), x.dtype) for x in case.point]
        right = case.again(g, case.point, e)
        try:
            found = mutant.again(g, case.point, e)
        except Exception:  # of whatever kind, it will be seen
            return True
        found = tuple(map(np.asarray, found))
        if not all(np.isfinite(c).all() for c in found):
            return True
        floor = 1e-12 * max(float(np.max(np.abs(r), initial=0.0)) for r in right)
        if not all(
            np.max(np.abs(c - r), initial=0.0)
            <= TOLERANCE[case.group] * np.max(np.abs(r), initial=0.0) + floor
            for c, r in zip(found, right, strict=True)
        ):
            return True
    return False
