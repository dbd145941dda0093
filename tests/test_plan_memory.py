"""The memory of a plan: nothing is overwritten that is still looked at, and nothing grows."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from beside_eager import as_leaf, backwards, check
from hypothesis import given, settings
from programs import Program, programs
from tapes import Step, steps, tape_of

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, tensor
from tinygrad_nn.plan.cells import Gradient
from tinygrad_nn.plan.memory import Memory
from tinygrad_nn.plan.reuse import arrange
from tinygrad_nn.plan.passes import PASSES
from tinygrad_nn.plan.tape import Constant, Tape, Var

Array = np.ndarray
STEPS = steps()
EVERY = pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))


# --- who has written what: every byte has the mark of the element that it is a part of ------------


class Shadow:
    """The memory of a plan, with a mark for each byte.

    A result gets new marks; a view has those of what it is a view of, and a concatenation those of
    its pieces. Whoever reads a variable must find its marks where the plan has put it.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.made = {i.out: i for i in memory.tape.instructions}
        self.marks: dict[Var, Array] = {}
        self._last = 0
        self._bytes: dict[int, int] = {}

    def fresh(self, shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape, dtype=int))
        self._last += size
        return np.arange(self._last - size, self._last).reshape(shape)

    def write(self, array: Array, marks: Array) -> None:
        for address, mark in zip(_addresses(array), marks.ravel().tolist(), strict=True):
            for k in range(array.itemsize):
                self._bytes[address + k] = mark

    def found(self, array: Array) -> Array:
        """Return the marks in an array; new ones where nobody has written yet."""
        marks = []
        for address in _addresses(array):
            there = {self._bytes.get(address + k) for k in range(array.itemsize)}
            assert len(there) == 1, "a part of an element has been overwritten"
            (mark,) = there
            if mark is None:
                self._last += 1
                mark = self._last - 1
                self._bytes.update((address + k, mark) for k in range(array.itemsize))
            marks.append(mark)
        return np.array(marks, int).reshape(array.shape)

    def read(self, v: Any, reader: Any) -> None:
        """Check that a variable is still what it was when it was computed."""
        array = self.memory.arrays.get(v) if v.__class__ is Var else None
        if array is not None:
            assert np.array_equal(self.found(array), self.marks[v]), (
                f"{v} has been overwritten before {reader} reads it"
            )

    # --- a replay

    def begin(self) -> None:
        """Let everything from outside be what it is when a replay begins."""
        memory = self.memory
        self.marks = {}
        for cell, array in memory.cells.items():
            if isinstance(cell, Gradient):  # copied into the plan's own array
                self.write(array, self.fresh(array.shape))
        for v in memory.parameters:  # wherever these lie
            self.marks[v] = self.fresh(v.shape)
        for v, array in memory.arrays.items():
            if v not in self.made:
                self.marks[v] = self.found(array)

    def constants(self) -> None:
        """Note what was put in its place when the memory was laid out."""
        for v, array in self.memory.arrays.items():
            if isinstance(v.origin, Constant):
                self.write(array, self.fresh(array.shape))
                self.marks[v] = self.found(array)
        for out, copies in self.memory.copies.items():
            copied = {v for _, v in copies}
            for place, v in self._places(out):
                if isinstance(v.origin, Constant) and v not in copied:
                    self.write(place, self.marks[v])

    def _places(self, out: Var) -> Iterator[tuple[Array, Var]]:
        i = self.made[out]
        axis = i.static.get("axis", 0)
        start = 0
        for v in i.args:
            stop = start + v.shape[axis]
            index: list[Any] = [slice(None)] * len(out.shape)
            index[axis] = slice(start, stop)
            yield self.memory.arrays[out][tuple(index)], v
            start = stop

    def run(self) -> None:
        """Do what a replay does, in its order."""
        memory = self.memory
        self.begin()
        for i in memory.tape.instructions:
            out = memory.arrays.get(i.out)
            if i.out in memory.copies:
                for target, v in memory.copies[i.out]:
                    self.read(v, i)
                    self.write(target, self.marks[v])
                self.marks[i.out] = np.concatenate([self.marks[v] for v in i.args], **i.static)
                self.read(i.out, i)
            elif i.view and all(v in self.marks for v in i.inputs):
                args = [self.marks[a] if a.__class__ is Var else a for a in i.args]
                self.marks[i.out] = i.primitive.forward(*args, **i.static)
                self.read(i.out, i)
            elif out is not None:
                for v in i.inputs:
                    self.read(v, i)
                    self.aligned(i, v)
                self.marks[i.out] = self.fresh(i.out.shape)
                self.write(out, self.marks[i.out])
        for a in memory.tape.assumptions:
            self.read(a.var, "an assumption")
        for cell, v in memory.tape.writes:
            if v is None or v not in memory.arrays:
                continue
            self.read(v, cell)
            target = memory.cells.get(cell) if not isinstance(cell, Gradient) else None
            if target is not None:
                self.write(target, self.marks[v])
        for v in memory.tape.outputs:
            self.read(v, "the caller")
        for cell, v in memory.tape.writes:
            if isinstance(cell, Gradient) and v is not None:
                self.read(v, cell)  # `.grad` is copied when somebody looks at it

    def aligned(self, i: Any, v: Var) -> None:
        """Check that an instruction writes over an argument only element upon element."""
        out, array = self.memory.arrays[i.out], self.memory.arrays.get(v)
        if array is None or not set(_addresses(array)) & set(_addresses(out)):
            return
        assert i.primitive.elementwise, f"{i} overwrites its argument"
        assert _addresses(array) == _addresses(out), f"{i} overwrites what it still reads"


def _addresses(array: Array) -> list[int]:
    """Return the addresses of the elements, in the order of their indices."""
    start = array.__array_interface__["data"][0]
    found = np.full(array.shape, start)
    for axis, (n, stride) in enumerate(zip(array.shape, array.strides, strict=True)):
        shape = [1] * array.ndim
        shape[axis] = n
        found = found + np.arange(n).reshape(shape) * stride
    return [int(a) for a in found.ravel()]


def passed(tape: Tape) -> Tape:
    for change in PASSES:
        tape = change(tape)
    return tape


def check_memory(tape: Tape) -> Memory:
    memory = arrange(tape)
    shadow = Shadow(memory)
    shadow.constants()
    for _ in range(2):  # what one replay leaves behind must not be in the way of the next
        shadow.run()
    return memory


@EVERY
def test_nothing_is_overwritten_that_is_still_read(step: Step) -> None:
    f, args = step
    tape = tape_of(f, *args)
    check_memory(tape)  # the order of the passes is no condition for this
    check_memory(passed(tape))


@settings(max_examples=60)
@given(programs())
def test_random_programs(program: Program) -> None:
    tape = tape_of(backwards(program.f), *map(as_leaf, program.inputs))
    check_memory(tape)
    check_memory(passed(tape))
