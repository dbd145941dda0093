"""Affine reads as slices, reshapes and transposes, which differentiate into the same."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from tinygrad_nn.plan.scalars.affine import Shape
from tinygrad_nn.plan.scalars.draft import Draft, View
from tinygrad_nn.plan.scalars.steps import Step

__all__ = ["with_views"]


@dataclass
class _Walk:
    """A view, its axes from the longest stride to the shortest, backward ones turned around."""

    view: View
    base: int
    axes: list[tuple[int, int, int]]  # stride, size, axis of the result
    turned: list[int]

    @property
    def extent(self) -> int:
        """How far the elements reach within one step of the outermost axis."""
        return _extent(self.axes[1:])


def _walk(view: View) -> _Walk:
    axes = []
    base, turned = view.base, []
    for axis, (size, stride) in enumerate(zip(view.shape, view.strides, strict=True)):
        if size > 1:
            axes.append((abs(stride), size, axis))
            if stride < 0:
                base += (size - 1) * stride
                turned.append(axis)
    return _Walk(view, base, sorted(axes, reverse=True), turned)


def _extent(axes: list[tuple[int, int, int]]) -> int:
    return 1 + sum(stride * (size - 1) for stride, size, _ in axes)


def with_views(draft: Draft, result: int) -> tuple[list[Step], int]:
    """Return the steps of a program, each view before its first use, and their result."""
    return _Views(draft).insert(result)


class _Views:
    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.steps: list[Step] = []  # those of the draft, and the views in between
        self.known: dict[Any, int] = {}
        self.made: dict[int, int] = {}
        self.reshaped: dict[int, int] = {}  # a reshape of which array
        self.walks = {slot: _walk(view) for slot, view in draft.views.items()}
        self.begins = self._blocks()

    def insert(self, result: int) -> tuple[list[Step], int]:
        for step in self.draft.steps:
            step.inputs = tuple(map(self._settled, step.inputs))
            self.steps.append(step)
        result = self._settled(result)
        return self._needed(result), result

    def _settled(self, slot: int) -> int:
        """Return the array that a view has become."""
        if slot not in self.walks:
            return slot
        if slot not in self.made:
            self.made[slot] = self._make(slot)
        return self.made[slot]

    def _needed(self, result: int) -> list[Step]:
        """Leave out views that another way was found around."""
        used = {result}
        kept = []
        for step in reversed(self.steps):
            if not step.is_view or step.output in used:
                used.update(step.inputs)
                kept.append(step)
        return kept[::-1]

    def _blocks(self) -> dict[int, int]:
        """Choose where the rows begin that each view is cut from: the same for neighbours."""

        def rows_of(slot: int) -> tuple[int, int, int]:
            walk = self.walks[slot]
            stride, size, _ = walk.axes[0]
            return walk.view.source, size, stride

        def key(slot: int) -> tuple[tuple[int, int, int], int]:
            return rows_of(slot), self.walks[slot].base

        begins: dict[int, int] = {}
        slots = sorted((s for s, w in self.walks.items() if w.axes and w.axes[0][0] > 1), key=key)
        for (source, size, stride), neighbours in groupby(slots, rows_of):
            last = math.prod(self.draft.shapes[source]) - size * stride
            begin = -stride
            for slot in neighbours:
                walk = self.walks[slot]
                if walk.base - begin + walk.extent > stride:
                    begin = min(walk.base, last)
                begins[slot] = begin
        return begins

    # --- one view ------------------------------------------------------------------------------

    def _make(self, slot: int) -> int:
        walk = self.walks[slot]
        made = self._cut(slot, walk)
        if made is None:
            view = walk.view
            places = np.full((), view.base)
            for size, stride in zip(view.shape, view.strides, strict=True):
                places = places[..., None] + np.arange(size) * stride
            source = self._flat(self._settled(view.source))
            made = self._step(np.take, source, view.shape, places)
        return made

    def _cut(self, slot: int, walk: _Walk) -> int | None:
        view, axes = walk.view, walk.axes
        source = self._settled(view.source)
        total = math.prod(self.draft.shapes[source])
        if not axes:
            if total == 1:
                return self._reshape(source, view.shape)
            if not view.shape:
                return self._item(self._flat(source), (walk.base,), ())
            return self._reshape(self._slice(self._flat(source), walk.base, 1), view.shape)
        stride, size, _ = axes[0]
        if stride == 1:
            if len(axes) > 1:  # windows that overlap
                return None
            x = self._slice(self._flat(source), walk.base, size)
        else:
            begin = self.begins[slot]
            offset = walk.base - begin
            if begin < 0 or offset + walk.extent > stride:
                return None
            if begin == 0 and size * stride == total:
                x = self._reshape(source, (size, stride))
            else:
                x = self._slice(self._flat(source), begin, size * stride)
                x = self._reshape(x, (size, stride))
            inner = self._inside(x, offset, stride, axes[1:])
            if inner is None:
                return None
            x = inner
        return self._arranged(x, walk)

    def _inside(
        self, x: int, offset: int, length: int, axes: list[tuple[int, int, int]]
    ) -> int | None:
        """Cut the last axis, of `length`, into the axes that are left."""
        for i, (stride, size, _) in enumerate(axes):
            rest = axes[i + 1 :]
            if not rest:
                return self._slice(x, offset, size, stride)
            begin = min(offset, length - size * stride)
            if begin < 0 or offset - begin + _extent(rest) > stride:
                return None
            x = self._slice(x, begin, size * stride)
            x = self._reshape(x, (*self.draft.shapes[x][:-1], size, stride))
            offset, length = offset - begin, stride
        return self._item(x, (..., offset), self.draft.shapes[x][:-1])

    def _arranged(self, x: int, walk: _Walk) -> int:
        """Bring the axes into the order of the result, with those of length 1."""
        axes = [axis for _, _, axis in walk.axes]
        order = sorted(range(len(axes)), key=axes.__getitem__)
        if order != list(range(len(axes))):
            shape = tuple(self.draft.shapes[x][i] for i in order)
            x = self._step(np.transpose, x, shape, tuple(order))
        if walk.turned or len(axes) < len(walk.view.shape):
            index = tuple(
                None if axis not in axes
                else slice(None, None, -1) if axis in walk.turned
                else slice(None)
                for axis in range(len(walk.view.shape))
            )  # fmt: skip
            x = self._item(x, index, walk.view.shape)
        return x

    # --- one step ------------------------------------------------------------------------------

    def _flat(self, source: int) -> int:
        return self._reshape(source, (math.prod(self.draft.shapes[source]),))

    def _reshape(self, x: int, shape: Shape) -> int:
        origin = self.reshaped.get(x, x)
        if self.draft.shapes[origin] == shape:
            return origin
        made = self._step(np.reshape, origin, shape, shape)
        self.reshaped[made] = origin
        return made

    def _slice(self, x: int, begin: int, size: int, stride: int = 1) -> int:
        shape = self.draft.shapes[x]
        if size == shape[-1]:
            return x
        end = begin + (size - 1) * stride + 1
        cut = slice(begin, end, stride) if stride > 1 else slice(begin, end)
        index = (cut,) if len(shape) == 1 else (..., cut)
        return self._item(x, index, (*shape[:-1], size))

    def _item(self, x: int, index: tuple[Any, ...], shape: Shape) -> int:
        return self._step(operator.getitem, x, shape, index)

    def _step(self, function: Callable[..., Any], x: int, shape: Shape, option: Any) -> int:
        key = (function.__name__, x, repr(option) if function is not np.take else option.tobytes())
        if key not in self.known:
            output = self.draft.slot(shape)
            self.steps.append(Step(function, (x,), (option,), output, shape))
            self.known[key] = output
        return self.known[key]
