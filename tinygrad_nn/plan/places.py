"""Where variables lie that have a place already, or a final one.

A concatenation whose pieces are computed by the step costs nothing if each piece is computed in
its place; one whose pieces lie side by side already is a view. So are the update's flat arrays of
parameters, the gradients in them, and matrices with a row of biases. What is written to a cell at
the end is computed in the cell's own memory, where nothing reads the old numbers afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_nn.plan.cells import ArgumentData, Gradient
from tinygrad_nn.plan.layout import column_major
from tinygrad_nn.plan.memory import Memory, Order, address, empty, same_place
from tinygrad_nn.plan.tape import Constant, Instruction, Parameter, Tape, Var

__all__ = ["Places"]

# Up to so many bytes are written to cells by a copy when everything has been computed.
_FEW = 1 << 16


class Places:
    """Finds places for the variables of a tape, in `memory`."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.memory = Memory(tape, base=lambda v: self.base(v)[0])
        self.made = {i.out: i for i in tape.instructions}
        self.position = {i.out: k for k, i in enumerate(tape.instructions)}
        self.column_major = column_major(tape)
        self.order: dict[Var, Order] = dict.fromkeys(self.column_major, "F")
        self.arrays = self.memory.arrays

    # --- what is there already -----------------------------------------------------------------

    def origins(self) -> None:
        """Find the arrays of variables that no instruction computes."""
        memory = self.memory
        inputs = (v for i in self.tape.instructions for v in i.inputs)
        for v in dict.fromkeys([*inputs, *self.tape.results]):
            if v.is_result:
                continue
            if isinstance(v.origin, Parameter | ArgumentData):
                memory.parameters.append(v)
            elif isinstance(v.origin, Constant):
                order = self.order.get(v, "C")
                self.arrays[v] = np.array(v.origin.array, order=order)
            elif isinstance(v.origin, Gradient):  # somebody may hold the array that is there now
                self.arrays[v] = memory.cells[v.origin] = np.empty(v.shape, v.dtype)
            else:
                self.arrays[v] = memory.cells[v.origin] = v.origin.get()
        self.views()

    def views(self) -> None:
        """Make the views of what has a place."""
        for i in self.tape.instructions:
            if i.view:
                self.view_of(i)

    def view_of(self, i: Instruction) -> None:
        """Make the view that an instruction takes, if there is something to take it of."""
        if i.out not in self.arrays and all(v in self.arrays for v in i.inputs):
            args = [self.arrays[a] if type(a) is Var else a for a in i.args]
            y = i.primitive.forward(*args, **i.static)
            if any(np.may_share_memory(y, a) for a in args if isinstance(a, np.ndarray)):
                self.arrays[i.out] = y

    def _concatenations(self) -> Iterator[tuple[Instruction, list[tuple[slice, ...]]]]:
        """Yield concatenations, last first, with the places of their pieces."""
        for i in reversed(self.tape.instructions):
            if i.primitive.name != "concatenate" or i.out in self.memory.copies:
                continue
            axis = i.static.get("axis", 0)
            if axis is None or any(a.__class__ is not Var for a in i.args):
                continue
            if any(a.dtype != i.out.dtype for a in i.args):
                continue
            places = []
            start = 0
            for a in i.args:
                stop = start + a.shape[axis]
                index = [slice(None)] * len(i.out.shape)
                index[axis] = slice(start, stop)
                places.append(tuple(index))
                start = stop
            yield i, places

    def side_by_side(self) -> None:
        """Let concatenations of what lies side by side be views."""
        for i, places in self._concatenations():
            if not all(a in self.arrays for a in i.args):
                continue
            pieces = [self.arrays[a] for a in i.args]
            whole = _continued(max(pieces, key=lambda a: a.size), pieces[0], i.out)
            if whole is None:
                continue
            if all(same_place(whole[at], a) for at, a in zip(places, pieces, strict=True)):
                self.arrays[i.out] = whole
                self.memory.copies[i.out] = []
        self.views()

    # --- what can be computed in its final place -----------------------------------------------

    def base(self, v: Var) -> tuple[Var, list[Instruction]]:
        """Return the result that `v` is a view of, and the views on the way to `v`."""
        chain: list[Instruction] = []
        while v in self.made and self.made[v].view:
            chain.append(self.made[v])
            v = self.made[v].args[0]
        return v, chain[::-1]

    def _place(self, targets: list[tuple[Var, Any]]) -> None:
        """Put results where their views shall be: each variable of `targets` at an array."""
        self.arrays.update(self._spots(targets))
        self.views()

    def _spots(self, targets: list[tuple[Var, Any]]) -> dict[Var, Any]:
        """Return where results would have to be for their views to be at the arrays of `targets`.

        That is known of a result if its views fill it, and agree on where it has to be.
        """
        spots: dict[Var, Any] = {}
        wanted: dict[Var, list[tuple[list[Instruction], Any]]] = {}
        for v, target in targets:
            base, chain = self.base(v)
            if base in self.arrays or base not in self.made or any(i.args[1:] for i in chain):
                continue
            wanted.setdefault(base, []).append((chain, target))
        for base, found in wanted.items():
            # A product may be stored either way, if nobody has decided.
            free = base not in self.order and self.made[base].primitive.name == "matmul"
            orders: tuple[Order, ...] = ("C", "F") if free else (self.order.get(base, "C"),)
            for order in orders:
                sample = np.empty(base.shape, base.dtype, order=order)
                spot = _spot(sample, [(_seen_through(sample, c), t) for c, t in found])
                if spot is not None:
                    spots[base] = spot
                    break
        return spots

    def in_concatenations(self) -> None:
        """Let the pieces of concatenations be computed in their places."""
        for i, places in self._concatenations():
            order: Order = "C"
            if len(i.out.shape) == 2 and i.static.get("axis", 0) == 1:
                order = "F" if any(self.base(a)[0] in self.column_major for a in i.args) else "C"
            whole = self.arrays.get(i.out)
            if whole is None:
                whole = self.arrays[i.out] = empty(i.out.shape, i.out.dtype, order)
            targets = [(a, whole[at]) for at, a in zip(places, i.args, strict=True)]
            # A piece twice would have to be in two places.
            once = [(a, t) for a, t in targets if i.args.count(a) == 1]
            self._place(once)
            copies = self.memory.copies[i.out] = []
            for a, target in targets:
                array = self.arrays.get(a)
                if array is not None and same_place(array, target):
                    continue
                if isinstance(a.origin, Constant):
                    target[...] = a.origin.array
                else:
                    copies.append((target, a))

    def in_cells(self) -> None:
        """Let what is written to cells be computed in their memory, where that is safe.

        A few numbers are computed elsewhere and copied in the end, so that an error leaves all of
        them as they were.
        """
        targets = []
        for cell, v in self.tape.writes:
            if v is None or isinstance(cell, Gradient | ArgumentData):
                continue
            array = self.memory.cells.get(cell)
            array = cell.get() if array is None else array
            if array is None or array.dtype != v.dtype or array.shape != v.shape:
                continue
            if self.base(v)[0] in self.made:
                targets.append((v, array))
                self.memory.cells.setdefault(cell, array)
        if sum(array.nbytes for _, array in targets) <= _FEW:
            self.memory.commits = list(self._spots(targets).items())
            return
        targets = [(v, a) for v, a in targets if self._may_overwrite(self.base(v)[0], a)]
        before = set(self.arrays)
        self._place(targets)
        placed = [v for v in self.arrays if v not in before and not self.made[v].view]
        for v in placed:
            if not all(self._in_line(old, v) for old in self.made[v].inputs):
                self._take_back(before)
                return
        # What reads the new numbers, and the writers themselves, go last.
        late = set(placed)
        early_part, late_part = [], []
        for i in self.tape.instructions:
            if i.out in late or any(v in late for v in i.inputs):
                late.add(i.out)
                late_part.append(i)
            else:
                early_part.append(i)
        if any(a.var in late for a in self.tape.assumptions):
            self._take_back(before)  # the answer would come when it is too late to start over
            return
        self.tape = self.tape.with_instructions(early_part + late_part)
        self.memory.tape = self.tape
        self.memory.writers = set(late_part)
        self.memory.in_place = set(placed)
        self.position = {i.out: k for k, i in enumerate(self.tape.instructions)}

    def _in_line(self, old: Var, new: Var) -> bool:
        """Whether an argument lies elsewhere than a result, or element upon element."""
        array = self.arrays.get(old)
        if array is None or not np.may_share_memory(array, self.arrays[new]):
            return True
        return same_place(array, self.arrays[new])

    def _take_back(self, before: set[Var]) -> None:
        for v in set(self.arrays) - before:
            del self.arrays[v]

    def _may_overwrite(self, base: Var, array: Any) -> bool:
        """Whether nothing reads the old numbers of a cell once `base` is being computed."""
        i = self.made[base]
        if i.primitive.is_python or any(v in self.tape.outputs for v in self._readers_of(array)):
            return False  # a ufunc reads each element before it writes there
        at = self.position[base]
        for k, other in enumerate(self.tape.instructions):
            if other.view or k < at:
                continue
            for v in other.inputs:
                old = self.arrays.get(v)
                if old is None or not np.may_share_memory(old, array):
                    continue
                if k > at or not i.primitive.elementwise:
                    return False
        return True

    def _readers_of(self, array: Any) -> list[Var]:
        return [v for v, a in self.arrays.items() if np.may_share_memory(a, array)]


def _spot(sample: Any, pairs: list[tuple[Any, Any]]) -> Any:
    """Return where an array of the layout of `sample` would be, if its views were where they shall.

    `pairs` are views of the sample, and the arrays that they shall be; None if these do not agree.
    """
    starts = {address(t) - (address(v) - address(sample)) for v, t in pairs}
    agree = len(starts) == 1 and all(
        v.dtype == t.dtype
        and np.may_share_memory(v, sample)  # else the instructions made a copy
        and all(n == 1 or s == r for n, s, r in zip(v.shape, v.strides, t.strides, strict=True))
        for v, t in pairs
    )
    if not agree or sum(v.size for v, _ in pairs) != sample.size or not sample.size:
        return None
    first = min((t for _, t in pairs), key=address)
    owner = first
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    (start,) = starts
    return np.ndarray(sample.shape, sample.dtype, owner, start - address(owner), sample.strides)


def _seen_through(array: Any, chain: list[Instruction]) -> Any:
    """Return the view of an array that instructions take."""
    for i in chain:
        array = i.primitive.forward(array, **i.static)
    return array


def _continued(largest: Any, first: Any, out: Var) -> Any:
    """Return the array that begins with `first` and goes on as it does, in the shape of `out`."""
    owner = first
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    offset = address(first) - address(owner)
    reach = sum((n - 1) * s for n, s in zip(out.shape, largest.strides, strict=True))
    if min(largest.strides, default=0) < 0 or not owner.flags.c_contiguous or not out.nbytes:
        return None
    if offset < 0 or offset + reach + out.dtype.itemsize > owner.nbytes:
        return None
    return np.ndarray(out.shape, out.dtype, owner, offset, largest.strides)
