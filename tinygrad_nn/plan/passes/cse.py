"""Compute nothing twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from tinygrad_nn.plan.tape import Constant, Instruction, Tape, Var

__all__ = ["common_subexpressions"]


def common_subexpressions(tape: Tape) -> Tape:
    """Let equal instructions of equal arguments share one result; equal constants too."""
    new: dict[Var, Var] = {}
    known: dict[Hashable, Var] = {}
    kept: list[Instruction] = []
    for instruction in tape.instructions:
        args = [_same(new.get(a, a), known) if a.__class__ is Var else a for a in instruction.args]
        instruction = instruction.with_args(args)
        key = _key(instruction)
        if key is None or instruction.has_effect or not instruction.primitive.trusted:
            kept.append(instruction)
        elif key in known:
            new[instruction.out] = known[key]
        else:
            known[key] = instruction.out
            kept.append(instruction)
    return tape.with_instructions(kept).substituted(new)


def _same(v: Var, known: dict[Hashable, Var]) -> Var:
    """Return the first constant of the same numbers."""
    if not isinstance(v.origin, Constant):
        return v
    array = v.origin.array
    return known.setdefault((array.dtype, array.shape, array.tobytes()), v)


def _key(instruction: Instruction) -> Hashable:
    """Return what equal instructions have in common; None where it cannot be told."""
    static = tuple((key, _hashable(instruction.static[key])) for key in sorted(instruction.static))
    args = tuple(a if a.__class__ is Var else (a.__class__, repr(a)) for a in instruction.args)
    key = (instruction.primitive, args, static, repr(instruction.errors))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _hashable(item: Any) -> Any:
    if isinstance(item, slice):
        return ("slice", item.start, item.stop, item.step)
    if isinstance(item, tuple | list):
        return tuple(map(_hashable, item))
    if isinstance(item, np.ndarray):
        return (item.dtype, item.shape, item.tobytes())
    return (item.__class__, repr(item) if isinstance(item, float | complex) else item)
