"""Put arrays together of their pieces, instead of adding them up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_nn.plan.tape import Constant, Instruction, Tape, Var
from tinygrad_nn.rules import TABLE
from tinygrad_nn.rules.indexing import ARRAY

__all__ = ["pieces_joined"]

_add, _scatter, _concatenate = TABLE["add"], TABLE["scatter_add"], TABLE["concatenate"]
_reshape = TABLE["reshape"]


def pieces_joined(tape: Tape) -> Tape:
    """Replace sums of arrays that are zero but for a slice each by concatenations of the slices.

    Such sums are the gradients of an array that was taken apart. A concatenation costs nothing
    where its pieces can be computed in their places.
    """
    made = {i.out: i for i in tape.instructions}
    uses: dict[Var, int] = {}
    for v in [*(v for i in tape.instructions for v in i.inputs), *tape.results]:
        uses[v] = uses.get(v, 0) + 1
    kept: list[Instruction] = []
    inner = {
        v for i in tape.instructions if i.primitive is _add for v in i.inputs
        if v in made and made[v].primitive in (_add, _scatter) and uses[v] == 1
    }  # fmt: skip
    for i in tape.instructions:
        parts = None
        if i.primitive in (_add, _scatter) and i.out not in inner:
            parts = _joined(i, made, uses)
        kept += [i] if parts is None else parts
    return tape.with_instructions(kept)


def _joined(i: Instruction, made: dict[Var, Instruction], uses: dict[Var, int]) -> Any:
    terms = _terms(i, made, uses)
    slices = [made[v] for v in terms if v in made and made[v].primitive is _scatter]
    others = [v for v in terms if v not in made or made[v].primitive is not _scatter]
    if len(others) == len(terms) or any(v.shape != i.out.shape for v in others):
        return None
    if any(s.out.dtype != i.out.dtype or ARRAY in s.static["template"] for s in slices):
        return None
    groups, rest = _disjoint(slices, i.out.shape)
    if not groups or (i.primitive is _add and all(len(g.ranges) == 1 for g in groups)):
        return None
    if i.primitive is _scatter and groups[0].count == i.out.example.size:
        return None
    found: list[Instruction] = []
    totals = [_concatenated(found, group, i) for group in groups]
    totals += [s.out for s in rest] + others
    total = totals[0]
    for k, other in enumerate(totals[1:]):
        last = k == len(totals) - 2
        out = i.out if last else Var(total.example + other.example)
        found.append(Instruction(_add, (total, other), {}, out, i.line))
        total = out
    if len(totals) == 1:
        found[-1] = replace(found[-1], out=i.out)
    return found


def _terms(i: Instruction, made: dict[Var, Instruction], uses: dict[Var, int]) -> list[Var]:
    """Return the terms of a sum, through sums that nobody else looks at."""
    if i.primitive is _scatter:
        return [i.out]
    terms: list[Var] = []
    stack = list(reversed(i.args))
    while stack:
        v = stack.pop()
        if v.__class__ is not Var:
            return []
        source = made.get(v)
        if source is not None and source.primitive is _add and uses[v] == 1:
            stack += reversed(source.args)
        else:
            terms.append(v)
    return terms


class _Pieces:
    """Slices along one axis of an array, none of which overlap."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape
        self.axis: int | None = None
        self.ranges: dict[int, tuple[int, Instruction]] = {}  # start -> stop, instruction
        self.count = 0

    def takes(self, s: Instruction) -> bool:
        """Add a slice if it fits."""
        box = _box(s, self.shape)
        if box is None:
            return False
        axis, start, stop = box
        if self.axis is None:
            self.axis = axis
        if self.axis != axis or any(
            start < other_stop and other < stop for other, (other_stop, _) in self.ranges.items()
        ):
            return False
        self.ranges[start] = (stop, s)
        self.count += s.args[0].example.size
        return True


def _box(s: Instruction, shape: Any) -> tuple[int, int, int] | None:
    """Return the one axis along which a slice is a part, and the part; None if there are more."""
    marks = np.zeros(shape, bool)
    marks[s.static["template"]] = True
    if marks.sum() != s.args[0].example.size or not marks.any():
        return None
    if marks.all():
        return None
    partial = []
    for axis in range(len(shape)):
        line = marks.any(axis=tuple(k for k in range(len(shape)) if k != axis))
        if not line.all():
            places = np.flatnonzero(line)
            partial.append((axis, int(places[0]), int(places[-1]) + 1))
    if len(partial) != 1:
        return None
    axis, start, stop = partial[0]
    full = marks.size // shape[axis] * (stop - start)
    return (axis, start, stop) if full == marks.sum() and _in_order(s, shape) else None


def _in_order(s: Instruction, shape: Any) -> bool:
    """Whether a slice keeps the order of the elements: no negative steps."""
    numbers = np.arange(int(np.prod(shape))).reshape(shape)[s.static["template"]].ravel()
    return bool((np.diff(numbers) > 0).all())


def _disjoint(slices: list[Instruction], shape: Any) -> tuple[list[_Pieces], list[Instruction]]:
    """Sort slices into groups of which none overlap; also return those that fit in none."""
    groups: list[_Pieces] = []
    rest = []
    for s in slices:
        if any(group.takes(s) for group in groups):
            continue
        group = _Pieces(shape)
        if group.takes(s):
            groups.append(group)
        else:
            rest.append(s)
    return groups, rest


def _concatenated(found: list[Instruction], group: _Pieces, i: Instruction) -> Var:
    """Append the instructions that put a group together, zeros in the gaps."""
    assert group.axis is not None
    pieces: list[Var] = []
    position = 0
    for start in [*sorted(group.ranges), group.shape[group.axis]]:
        if start > position:
            shape = [*group.shape]
            shape[group.axis] = start - position
            zeros = np.zeros(shape, i.out.dtype)
            pieces.append(Var(zeros, Constant(zeros)))
        if start == group.shape[group.axis]:
            break
        position, s = group.ranges[start]
        piece = s.args[0]
        shape = [*group.shape]
        shape[group.axis] = position - start
        if piece.shape != tuple(shape):
            out = Var(piece.example.reshape(shape))
            static = {"shape": tuple(shape)}
            found.append(Instruction(_reshape, (piece,), static, out, i.line, view=True))
            piece = out
        pieces.append(piece)
    out = Var(np.concatenate([p.example for p in pieces], axis=group.axis))
    found.append(Instruction(_concatenate, tuple(pieces), {"axis": group.axis}, out, i.line))
    return out
