"""Where the variables of a tape lie: arrays that are made once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_nn.plan.cells import ArgumentData
from tinygrad_nn.plan.tape import Cell, Constant, Instruction, Parameter, Tape, Var

__all__ = ["Memory", "arrange"]


@dataclass(slots=True)
class Memory:
    """The arrays of a plan.

    Attributes
    ----------
    arrays : dict of Var to ndarray
        Those of all variables that lie at the same place at every call.
    cells : dict of Cell to ndarray
        What the program takes to be in each cell that it reads.
    parameters : list of Var
        The variables that are arguments, wherever these lie.
    """

    arrays: dict[Var, Any] = field(default_factory=dict)
    cells: dict[Cell, Any] = field(default_factory=dict)
    parameters: list[Var] = field(default_factory=list)

    def scratch(self, shape: Any, dtype: Any) -> Any:
        """Return an array to work in."""
        return np.empty(shape, dtype)


def arrange(tape: Tape) -> Memory:
    """Lay out the memory of a tape."""
    memory = Memory()
    for i in tape.instructions:
        for v in i.inputs:
            _origin(memory, v)
        _result(memory, i)
    for v in tape.results:
        _origin(memory, v)
    return memory


def _origin(memory: Memory, v: Var) -> None:
    """Find out where a variable lies that no instruction computes."""
    if v in memory.arrays or v in memory.parameters or v.is_result:
        return
    if isinstance(v.origin, Parameter | ArgumentData):
        memory.parameters.append(v)
    elif isinstance(v.origin, Constant):
        memory.arrays[v] = v.origin.array
    else:
        array = v.origin.get()
        memory.arrays[v] = memory.cells[v.origin] = array


def _result(memory: Memory, i: Instruction) -> None:
    if i.view:
        if all(v in memory.arrays for v in i.inputs):
            args = [memory.arrays[a] if a.__class__ is Var else a for a in i.args]
            memory.arrays[i.out] = i.primitive.forward(*args, **i.static)
        return
    memory.arrays[i.out] = np.empty(i.out.shape, i.out.dtype)
