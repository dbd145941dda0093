"""Class labels, looked at once: where they are known to be classes, elements are found directly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_nn.plan.kernels import one_hot_within, pick_within, within
from tinygrad_nn.plan.tape import Constant, Instruction, Tape, Var
from tinygrad_nn.rules import TABLE
from tinygrad_nn.rules.indexing import ARRAY

__all__ = ["labels_known"]


def labels_known(tape: Tape) -> Tape:
    """Where a plan assumes ``min(labels) >= 0``, let it assume that all labels are classes.

    One comparison does for both ends, and where it fails the function itself runs, which knows
    what to do with other labels. What is indexed by them afterwards needs no test of its own: an
    element of each row (`pick_within`) and the one-hot encoding are single accesses to memory.
    """
    made = {i.out: i for i in tape.instructions}
    assumed = {a.var for a in tape.assumptions if a.truth}
    known: dict[Var, int] = {}  # labels, and the number of classes
    instructions: list[Instruction] = []
    for i in tape.instructions:
        labels = _not_negative(i, made) if i.out in assumed else None
        n = _classes(labels, tape) if labels is not None else None
        if n is not None and labels is not None:
            known[labels] = n
            i = replace(i, primitive=within, args=(labels,), static={"n": n})
        instructions += _direct(i, known, made)
    return tape.with_instructions(instructions)


def _not_negative(i: Instruction, made: dict[Var, Instruction]) -> Var | None:
    """Return the integers of which an instruction says that the least is not negative."""
    if i.primitive.name != "greater_equal" or type(i.args[1]) is not int or i.args[1] != 0:
        return None
    least = made.get(i.args[0])
    if least is None or least.primitive.name != "min" or least.static.get("axis") is not None:
        return None
    labels: Var = least.args[0]
    return labels if labels.dtype.kind in "iu" and len(labels.shape) == 1 else None


def _classes(labels: Var, tape: Tape) -> int | None:
    """Return the length of the axes that labels index."""
    found = [i.static["length"] for i in tape.instructions if _is_one_hot(i, labels)]
    found += [i.args[0].shape[1] for i in tape.instructions if _is_pick(i, labels)]
    return min(found) if found else None


def _is_one_hot(i: Instruction, labels: Var) -> bool:
    return i.primitive is TABLE["one_hot"] and i.args[0] is labels


def _is_pick(i: Instruction, labels: Var) -> bool:
    """Whether an instruction takes one element of each row."""
    if i.primitive is not TABLE["getitem"] or i.static["template"] != (ARRAY, ARRAY):
        return False
    x, rows, columns = i.args
    origin = getattr(rows, "origin", None)
    return bool(
        columns is labels
        and isinstance(origin, Constant)
        and len(x.shape) == 2
        and rows.shape == x.shape[:1] == labels.shape
        and (origin.array == np.arange(len(x.example))).all()
    )


def _direct(
    i: Instruction, known: dict[Var, int], made: dict[Var, Instruction]
) -> list[Instruction]:
    for labels, n in known.items():
        if _is_one_hot(i, labels) and i.static["length"] == n:
            static = {"value": 1.0, "dtype": float} | i.static
            return [replace(i, primitive=one_hot_within, static=static)]
        if _is_pick(i, labels) and i.args[0].shape[1] == n:
            return _picked(i, labels, made)
    return [i]


def _picked(i: Instruction, labels: Var, made: dict[Var, Instruction]) -> list[Instruction]:
    """Pick before subtracting what is the same for a whole row."""
    x = i.args[0]
    difference = made.get(x)
    if difference is not None and difference.primitive.name == "subtract":
        a, b = difference.args
        if (
            a.__class__ is b.__class__ is Var
            and (a.shape, b.shape) == (x.shape, (x.shape[0], 1))
            and a.dtype == b.dtype == x.dtype
        ):
            first = _pick(i, a, labels, Var(_elements(a, labels)))
            row = Var(b.example[:, 0])
            template: Any = (slice(None), 0)
            view = replace(
                i, primitive=TABLE["getitem"], args=(b,), static={"template": template}, out=row,
                view=True,
            )  # fmt: skip
            last = replace(i, primitive=TABLE["subtract"], args=(first.out, row), static={})
            return [first, view, last]
    return [_pick(i, x, labels, i.out)]


def _elements(x: Var, labels: Var) -> Any:
    return x.example[np.arange(len(x.example)), labels.example]


def _pick(i: Instruction, x: Any, labels: Var, out: Var) -> Instruction:
    return replace(i, primitive=pick_within, args=(x, labels), static={}, out=out)
