"""The corpus of gradients and mistakes: what it calls right is right, what it plants is wrong."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from corpus import (
    AFRESH,
    CASES,
    FAMILIES,
    KINDS,
    PER_KIND,
    UNSEEN,
    Case,
    afresh,
    drawn,
    score,
    unseen,
)
from corpus.bugs import ROOMS
from corpus.mutants import order_of
from corpus.oracle import jacobian, one_sided

ALL = CASES | UNSEEN | AFRESH
ANALYTIC = {"smooth": 1e-9, "float32": 2e-5}
SMOOTH = [name for name, case in ALL.items() if case.group in ANALYTIC]
KINKED = [name for name, case in ALL.items() if case.group == "kink"]
SECOND = [name for name, case in ALL.items() if case.group == "smooth" and case.second]


def _value(case: Case) -> Any:
    return np.asarray(case.forward(*case.at(case.point)))


def _incoming(case: Case) -> list[np.ndarray]:
    """Each output by itself if they are few, and random mixtures of them."""
    y = _value(case)
    rng = np.random.default_rng(0)
    units = np.eye(y.size) if y.size <= 12 else np.zeros((0, y.size))
    return [
        np.asarray(g.reshape(y.shape), y.dtype) for g in [*units, *rng.standard_normal((3, y.size))]
    ]


@pytest.mark.parametrize("name", SMOOTH)
def test_rules_agree_with_values(name: str) -> None:
    case = ALL[name]
    matrices = jacobian(case)
    for g in _incoming(case):
        for c, matrix, x in zip(case.cotangents(g, case.point), matrices, case.point, strict=True):
            assert c.shape == x.shape
            assert c.dtype == x.dtype
            terms = matrix * np.ravel(g)[:, None]
            scale = np.abs(terms).sum(axis=0)
            error = np.abs(np.ravel(c) - terms.sum(axis=0))
            assert np.all(error <= ANALYTIC[case.group] * scale + 1e-300)


@pytest.mark.parametrize("name", KINKED)
def test_rules_lie_between_the_slopes_at_kinks(name: str) -> None:
    case = ALL[name]
    kinks = 0
    for g in _incoming(case):
        below, above = one_sided(case, g)
        c = np.concatenate([np.ravel(c) for c in case.cotangents(g, case.point)])
        assert np.all(c >= np.minimum(below, above) - 1e-8)
        assert np.all(c <= np.maximum(below, above) + 1e-8)
        kinks += np.count_nonzero(np.abs(above - below) > 1e-4)
    assert kinks


@pytest.mark.parametrize("name", SECOND)
def test_rules_can_be_differentiated_again(name: str) -> None:
    """Second derivatives are held against differences of the rules, extrapolated."""
    case = ALL[name]
    rng = np.random.default_rng(1)
    y, point = _value(case), case.point
    for _ in range(2):
        g = np.asarray(rng.standard_normal(y.shape), y.dtype)
        # Inputs may be of many sizes, and so are the gradients: all count alike.
        sizes = [np.maximum(np.abs(c), 1e-30) for c in case.cotangents(g, point)]
        e = [rng.standard_normal(x.shape) / np.max(s, initial=0.0) if x.size else x
             for x, s in zip(point, sizes, strict=True)]  # fmt: skip
        d = [rng.standard_normal(x.shape) * np.abs(x) for x in point]
        dg = np.asarray(rng.standard_normal(y.shape))

        def along(t: float, g: Any = g, d: Any = d, dg: Any = dg, e: Any = e) -> float:
            moved = [x + t * a for x, a in zip(point, d, strict=True)]
            found = case.cotangents(g + t * dg, moved)
            return sum(float(np.sum(a * c)) for a, c in zip(e, found, strict=True))

        steps = [(along(t) - along(-t)) / (2.0 * t) for t in (1e-6, 5e-7)]
        numeric = (4.0 * steps[1] - steps[0]) / 3.0
        parts = [a * np.asarray(b) for a, b in zip((dg, *d), case.again(g, point, e), strict=True)]
        analytic = sum(float(np.sum(part)) for part in parts)
        scale = sum(float(np.sum(np.abs(part))) for part in parts)
        assert abs(numeric - analytic) <= 1e-4 * scale + 1e-9


@pytest.mark.parametrize("name", ALL)
def test_functions_leave_inputs_alone_and_repeat(name: str) -> None:
    case = ALL[name]
    g = np.ones_like(_value(case))
    for _ in range(2):
        point = case.point
        first = case.cotangents(g, point)
        assert all(map(np.array_equal, point, case.point))
        assert np.all(g == 1.0)
        assert all(map(np.array_equal, first, case.cotangents(g, case.point)))


def test_there_are_enough_of_each() -> None:
    assert len(CASES) == sum(len(family.CASES) for family in FAMILIES)  # names are unique
    assert len(KINDS) == sum(len(room.KINDS) for room in ROOMS.values())
    groups = Counter(case.group for case in CASES.values())
    assert groups["smooth"] >= 50
    assert groups["kink"] >= 9
    assert groups["float32"] >= 5
    assert sum(_value(case).size > 32 for case in CASES.values()) >= 4
    assert max(x.size for case in CASES.values() for x in case.point) == 1260


def test_unseen_functions_are_others() -> None:
    assert len(ALL) == len(CASES) + len(unseen.CASES) + len(afresh.CASES)  # names are unique
    groups = Counter(case.group for case in UNSEEN.values())
    assert groups["smooth"] >= 30
    assert groups["kink"] >= 9
    assert groups["float32"] >= 5
    sizes = [sum(x.size for x in case.point) for case in UNSEEN.values()]
    assert min(sizes) == 1
    assert max(sizes) == 2000


def test_functions_for_a_fresh_look_are_others_again() -> None:
    groups = Counter(case.group for case in AFRESH.values())
    assert groups["smooth"] >= 14
    assert groups["kink"] >= 4
    assert groups["float32"] >= 3
    assert max(x.size for case in AFRESH.values() for x in case.point) == 1500
    with pytest.raises(ValueError, match="no probabilities"):
        AFRESH["log odds, an error outside"].forward(np.array([-1e-4]))
    with pytest.raises(IndexError):
        AFRESH["cubic at a table's end"].forward(np.array([4.001]), np.ones(6))


@pytest.fixture(scope="module")
def planted() -> list[Any]:
    return list(drawn(CASES.values(), PER_KIND))


def test_there_are_enough_mutants(planted: list[Any]) -> None:
    assert len(planted) >= 1500
    assert len({str(mutant) for mutant in planted}) == len(planted)
    assert {mutant.kind for mutant in planted} == set(KINDS)
    assert {mutant.case.name for mutant in planted} == set(CASES)
    orders = Counter(mutant.order for mutant in planted)
    assert orders[1] > 1000
    assert orders[2] > 200


def test_mutants_are_made_anew_and_differ(planted: list[Any]) -> None:
    """A mutant that has been called is no other when it is built again."""
    for mutant in planted[::10]:
        first, second = mutant.build(), mutant.build()
        assert first.name == str(mutant)
        assert order_of(mutant.case, first) == order_of(mutant.case, second) == mutant.order


def test_right_versions_are_no_mutants() -> None:
    for case in ALL.values():
        assert order_of(case, case) is None


def test_values_inside_the_subgradient_are_no_mutants() -> None:
    case = CASES["relu at 0"]

    def with_value(at_kink: float) -> Case:
        rule = lambda g, y, x: g * ((x > 0) + at_kink * (x == 0))  # noqa: E731
        return Case(case.name, case.forward, [rule], case.inputs, "kink")

    orders = [order_of(case, with_value(v)) for v in (-0.1, 0.0, 0.3, 1.0, 1.1)]
    assert orders == [1, None, None, None, 1]


def test_scores_need_both() -> None:
    """Accepting everything finds nothing, and so does rejecting everything."""
    cases = list(itertools.islice(CASES.values(), 5))
    planted = list(drawn(cases, 1))
    for verdict in (True, False):
        result = score(lambda case, seed, v=verdict: v, cases, planted)
        assert result.right == 0
        assert result.total == len(planted) == sum(result.planted.values())
    result = score(lambda case, seed: "/" not in case.name, cases, planted, seeds=(0, 1))
    assert result.right == result.total == 2 * len(planted)
    assert not result.false
    assert not result.accepted
