"""Functions of known gradient, and mistakes planted in their rules.

`CASES` are right. `drawn` makes wrong ones of them, each of which differs from the right one, and
`score` counts how many of both a checker tells apart. `UNSEEN` and
`AFRESH` are right as well, and kept apart: no checker is tuned on them.
"""

from . import afresh, elementwise, kink, linalg, network, reduction, shape, single, unseen
from .bugs import KINDS
from .case import Case
from .mutants import Mutant, drawn, mutants
from .scoring import Score, score

#: One module to each family of functions.
FAMILIES = (elementwise, reduction, linalg, shape, network, kink, single)

CASES: dict[str, Case] = {case.name: case for family in FAMILIES for case in family.CASES}

#: Functions to measure with, and not to tune on.
UNSEEN: dict[str, Case] = {case.name: case for case in unseen.CASES}

#: Others, for when those have been looked at.
AFRESH: dict[str, Case] = {case.name: case for case in afresh.CASES}

#: How many mutants of each kind a comparison takes: enough to count, and few enough to wait for.
PER_KIND = 15

__all__ = [
    "AFRESH", "CASES", "FAMILIES", "KINDS", "PER_KIND", "UNSEEN",
    "Case", "Mutant", "Score", "drawn", "mutants", "score",
]  # fmt: skip
