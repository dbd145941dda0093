"""Chains of elementwise operations on large arrays, done block by block.

An operation on an array that is larger than the cache fetches it from memory and puts the result
back there. A chain of them, done for one block after the other, fetches each array once; and what
only the chain itself looks at needs no more memory than a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_nn.plan.tape import Instruction, Tape, Var

__all__ = ["Chain", "blocks", "chains"]

# Bytes of an array from which on a chain is done in blocks, and bytes of a block: smaller ones cost
# more calls than they save memory traffic.
_LARGE = 1 << 19
_BLOCK = 1 << 18

Chain = list[Instruction]


def chains(tape: Tape, arrays: dict[Var, Any]) -> list[Chain]:
    """Split the instructions into those to be done in blocks together, and single ones.

    Views stand before the chain that they would interrupt.
    """
    result: list[Chain] = []
    run: Chain = []
    for i in tape.instructions:
        if i.view and i.out in arrays:
            continue
        if run and _fits(i, arrays) and i.out.shape == run[0].out.shape:
            run.append(i)
            continue
        result += _closed(run)
        run = [i] if _fits(i, arrays) else []
        if not run:
            result.append([i])
    return result + _closed(run)


def _closed(run: Chain) -> list[Chain]:
    return [run] if len(run) > 1 else [[i] for i in run]


def _fits(i: Instruction, arrays: dict[Var, Any]) -> bool:
    """Whether an instruction can be done block by block along its elements in memory."""
    out = arrays.get(i.out)
    if i.primitive.is_python or i.errors or not i.primitive.elementwise:
        return False
    if out is None or out.nbytes < _LARGE:
        return False
    order = "C" if out.flags.c_contiguous else "F"
    if not out.flags[f"{order}_CONTIGUOUS"]:
        return False
    for v in i.inputs:
        array = arrays.get(v)
        if array is None or (array.ndim and array.shape != out.shape):
            return False
        if array.dtype != i.inputs[0].dtype or out.dtype not in (array.dtype, bool):
            return False  # the conversion would need work arrays
        if array.ndim and not array.flags[f"{order}_CONTIGUOUS"]:
            return False
    return True


def blocks(chain: Chain, arrays: dict[Var, Any], kept: set[Var]) -> tuple[list[Var], list[Any]]:
    """Return the variables of a chain that are arrays, and the tuples of their blocks.

    Variables that are not `kept` after the chain get the memory of a block.
    """
    variables = list(dict.fromkeys(v for i in chain for v in (*i.inputs, i.out) if arrays[v].ndim))
    inside = {i.out for i in chain} - kept
    at_target = _at_targets(chain, arrays, inside)
    inside -= at_target.keys()
    step = max(1, _BLOCK // max(v.dtype.itemsize for v in variables))
    n = chain[0].out.example.size
    rows = {}
    for v in variables:
        if v in inside:
            rows[v] = np.empty(step, v.dtype)
        else:
            array = arrays[at_target.get(v, v)]
            rows[v] = (array if array.flags.c_contiguous else array.T).reshape(-1)
    return variables, [
        tuple(
            rows[v][: min(step, n - start)] if v in inside else rows[v][start : start + step]
            for v in variables
        )
        for start in range(0, n, step)
    ]


def _at_targets(chain: Chain, arrays: dict[Var, Any], inside: set[Var]) -> dict[Var, Var]:
    """Return what a chain may compute where the one instruction that reads it puts its own result.

    That is the case if nothing else is read there, or written, in between: one array less goes
    through the cache.
    """
    found: dict[Var, Var] = {}
    for k, i in enumerate(chain):
        readers = [j for j in chain if i.out in j.inputs]
        if i.out not in inside or len(readers) != 1 or readers[0].out in inside:
            continue
        (reader,) = readers
        target = arrays[reader.out]
        between = chain[k + 1 : chain.index(reader)]
        touched = [v for j in between for v in (*j.inputs, j.out)]
        touched += [v for v in reader.inputs if v is not i.out]
        if i.out.dtype == reader.out.dtype and not any(
            np.may_share_memory(arrays[v], target) for v in touched
        ):
            found[i.out] = reader.out
    return found
