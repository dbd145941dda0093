"""The arrays of a plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tinygrad_nn.plan.tape import Cell, Instruction, Tape, Var

__all__ = ["Memory", "Order", "address", "empty", "same_place"]

Order = Literal["C", "F"]

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector


@dataclass(slots=True)
class Memory:
    """The arrays of a plan.

    Attributes
    ----------
    tape : Tape
        The tape, its instructions in the order in which they may run.
    arrays : dict of Var to ndarray
        Those of all variables that lie at the same place at every call.
    cells : dict of Cell to ndarray
        What the program takes to be in each cell that it reads.
    parameters : list of Var
        The variables that are arguments, wherever these lie.
    copies : dict of Var to list of (ndarray, Var)
        For a concatenation, the pieces that must be copied to their places.
    writers : set of Instruction
        Those that change what is outside, and those that come after them.
    in_place : set of Var
        Results that are computed in the memory of a cell.
    commits : list of (Var, ndarray)
        Results that are copied into the memory of cells at the end.
    """

    tape: Tape
    arrays: dict[Var, Any] = field(default_factory=dict)
    cells: dict[Cell, Any] = field(default_factory=dict)
    parameters: list[Var] = field(default_factory=list)
    copies: dict[Var, list[tuple[Any, Var]]] = field(default_factory=dict)
    writers: set[Instruction] = field(default_factory=set)
    in_place: set[Var] = field(default_factory=set)
    commits: list[tuple[Var, Any]] = field(default_factory=list)
    base: Callable[[Var], Var] = lambda v: v
    _work: dict[Any, Any] = field(default_factory=dict)

    def scratch(self, like: Any, dtype: Any, k: int = 0) -> Any:
        """Return an array to work in while an instruction runs, of the layout of another.

        An instruction that needs several gives them numbers `k`.
        """
        order: Order = "C" if like.flags.c_contiguous or not like.flags.f_contiguous else "F"
        key = (like.shape, np.dtype(dtype), order, k)
        if key not in self._work:
            self._work[key] = empty(like.shape, dtype, order)
        return self._work[key]


def empty(shape: Any, dtype: Any, order: Order = "C") -> Any:
    """Return an uninitialised array that begins on a cache line."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(nbytes + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + nbytes].view(dtype).reshape(shape, order=order)


def address(array: Any) -> int:
    """Return where the first element of an array lies."""
    return int(array.__array_interface__["data"][0])


def same_place(a: Any, b: Any) -> bool:
    """Whether two arrays are the same elements in the same order."""
    return bool(
        address(a) == address(b)
        and a.shape == b.shape
        and a.dtype == b.dtype
        and all(s == t for n, s, t in zip(a.shape, a.strides, b.strides, strict=True) if n > 1)
    )
