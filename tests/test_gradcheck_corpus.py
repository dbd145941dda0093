"""The checker on the corpus: right functions are accepted, planted mistakes are not.

A slice; tests/benchmarks/gradcheck_field.py measures all of it, beside other checkers.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from corpus import CASES, KINDS, Case, drawn

import tinygrad_nn as tg

#: Of mistakes, so many must be found: differences cannot resolve everything.
FOUND = 0.985


def _accepts(case: Case, seed: int) -> bool:
    try:
        return bool(
            tg.gradcheck(
                case.primitive(),
                case.inputs,
                order=2 if case.second else 1,
                dtype="native" if case.group == "float32" else "float64",
                rng=seed,
                raise_exception=False,
            )
        )
    except (tg.TinygradError, ValueError):  # a rule that fails is no right one
        return False


@pytest.mark.parametrize("name", CASES)
def test_right_functions_are_accepted(name: str, seed_of: Callable[[], int]) -> None:
    assert _accepts(CASES[name], seed_of())


def test_mistakes_of_every_kind_are_found(seed_of: Callable[[], int]) -> None:
    """One function to each kind of mistake."""
    planted = list(drawn(list(CASES.values()), 1))
    assert len(planted) >= 130
    assert {mutant.kind for mutant in planted} == set(KINDS)
    missed = [str(mutant) for mutant in planted if _accepts(mutant.build(), seed_of())]
    assert len(missed) <= (1.0 - FOUND) * len(planted), missed


@pytest.fixture
def seed_of(rng: object) -> Callable[[], int]:
    """Seeds that depend on the test's name alone."""
    return lambda: int(rng.integers(1 << 30))  # type: ignore[attr-defined]
