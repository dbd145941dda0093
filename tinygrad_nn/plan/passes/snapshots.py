"""Keep numbers from outside that a step returns or moves, before it writes there."""

from __future__ import annotations

import numpy as np

from tinygrad_nn.plan.tape import Constant, Instruction, Tape, Var
from tinygrad_nn.rules import TABLE

__all__ = ["snapshots_taken"]


def snapshots_taken(tape: Tape) -> Tape:
    """Copy results that are memory of a cell or an argument, where the step writes to any.

    What it returns, and what it puts into one cell from another, is what was there at first.
    """
    made = {i.out: i for i in tape.instructions}
    copies: dict[Var, Instruction] = {}
    assumed = {a.var for a in tape.assumptions}
    for v in tape.results:
        if tape.writes and v not in assumed and _is_outside(v, made):
            out = Var(np.array(v.example))
            line = made[v].line if v in made else None
            copies[v] = Instruction(TABLE["copy"], (v,), {}, out, line)
    if not copies:
        return tape
    first = [copies[v] for v in copies if v not in made]
    parts = [(i, copies[i.out]) if i.out in copies else (i,) for i in tape.instructions]
    new = {v: i.out for v, i in copies.items()}
    return Tape(
        [*first, *(i for part in parts for i in part)],
        [new.get(v, v) for v in tape.outputs],
        [(cell, None if v is None else new.get(v, v)) for cell, v in tape.writes],
        tape.assumptions,
    )


def _is_outside(v: Var, made: dict[Var, Instruction]) -> bool:
    while v in made and made[v].view:
        v = made[v].args[0]
    return not v.is_result and not isinstance(v.origin, Constant)
