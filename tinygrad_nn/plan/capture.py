"""Run a function once, with real numbers, and write down what it does to arrays."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from tinygrad_nn.errors import CaptureError, ShapeError
from tinygrad_nn.graph import Node, next_serial, set_capture
from tinygrad_nn.plan.arguments import Taken, take_apart
from tinygrad_nn.plan.cells import ArgumentData, ArgumentGradient, Data, Gradient, Kept, Option
from tinygrad_nn.plan.tape import Assumption, Cell, Constant, Instruction, Parameter, Tape, Var
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.source_line import source_line
from tinygrad_nn.tensor import Tensor, _constant
from tinygrad_nn.traced import Traced, refusal

__all__ = ["Capture", "Captured", "Output", "State", "captured"]


@dataclass(slots=True)
class State:
    """What is known of a cell while a step is captured."""

    cell: Cell
    entry: Any  # what was there when the step began: a Traced or None
    now: Any  # what is there at this point


class Output(NamedTuple):
    """Numbers that a function returns."""

    make: Callable[[Any], Any]  # what is returned, of an array of its own
    var: Var


class Captured(NamedTuple):
    """What a capture found out."""

    capture: Capture
    tape: Tape
    outputs: list[Output]
    rebuild: Callable[[Any], Any]  # makes the result, of an iterator of what stands for `outputs`

    def result(self) -> Any:
        """Return what the captured run has returned."""
        return self.rebuild(iter([o.make(o.var.example.copy()) for o in self.outputs]))


def captured(function: Callable[..., Any], taken: Taken) -> Captured:
    """Run a function on the arguments `taken`, and write down what it does.

    Nothing is changed outside; see `Capture.commit`.
    """
    capture = Capture()
    with capture.running():
        stand_ins = [capture.argument(k, leaf) for k, leaf in enumerate(taken.leaves)]
        args, keywords = taken.rebuild(iter(stand_ins))
        result = take_apart(function(*args, **keywords))
        del args, keywords, stand_ins
        outputs = [capture.output(leaf) for leaf in result.leaves]
    rebuild = result.rebuild
    del result
    tape = capture.tape([o.var for o in outputs])
    capture.states = {}
    capture.check_kept()
    return Captured(capture, tape, outputs, rebuild)


class Capture:
    """One run of a function, with what it did to arrays; the engine calls its methods.

    Nothing outside is changed before `commit`.
    """

    def __init__(self) -> None:
        self.start = next_serial()
        self.instructions: list[Instruction] = []
        self.assumptions: list[Assumption] = []
        self.absent: list[Cell] = []  # gradients that must be None when the step begins
        self.states: dict[Any, State] = {}
        self.objects: list[tuple[Any, Any, Any]] = []
        self.options: list[tuple[Any, str, Any]] = []
        self.positions: dict[int, int] = {}  # of the tensors among the arguments
        self._stand_ins: list[tuple[ref[Traced], Any]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let this see the operations of the thread."""
        before = set_capture(self)
        try:
            yield
        finally:
            set_capture(before)

    # --- what primitives do --------------------------------------------------------------------

    def stand_in(self, var: Var, owner: Any = None) -> Traced:
        """Return what stands for a variable in the function that runs."""
        traced = Traced(var, var.example, owner)
        self._stand_ins.append((ref(traced), source_line()))
        return traced

    def constant(self, array: Any) -> Traced:
        """Return what stands for an array that is the same at every call."""
        array = np.array(array)
        return self.stand_in(Var(array, Constant(array)))

    def bind(self, primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
        """Apply a primitive to arrays, and write it down if one of them may change."""
        if any(a.__class__ is Traced for a in static.values()):
            raise refusal(
                f"a keyword of {primitive.name} depends on numbers that are known only in a replay",
                "Pass it as an argument of the compiled function, as a plain number",
            )
        out = static.get("out")
        if out is not None:
            static = {key: value for key, value in static.items() if key != "out"}
        examples = [a.example if a.__class__ is Traced else a for a in args]
        example = primitive.forward(*examples, **static)
        if not any(a.__class__ is Traced for a in args):
            return example
        if example.__class__ is not np.ndarray:
            example = np.asarray(example)
        inputs = [a.variable if a.__class__ is Traced else _fixed(a) for a in args]
        var = Var(example)
        sources = [a for a, v in zip(args, inputs, strict=True) if _shares(v, example)]
        for a in sources:
            if a.__class__ is Traced:
                a.viewed = True
        self.instructions.append(
            Instruction(primitive, tuple(inputs), static, var, source_line(), bool(sources))
        )
        return self.stand_in(var)

    def forward(self, primitive: Primitive, node_args: Any, raw: list[Any], static: Any) -> Any:
        """Apply a primitive to the numbers of nodes; `raw` gets what stands for them."""
        for i, a in enumerate(node_args):
            if isinstance(a, Node):
                raw[i] = self.read(a)
        return self.bind(primitive, tuple(raw), static)

    def assume(self, condition: Traced) -> bool:
        """Make the truth of a condition a condition of the plan."""
        truth = bool(condition.example)
        self.assumptions.append(Assumption(condition.variable, truth))
        return truth

    # --- what is outside -----------------------------------------------------------------------

    def _is_own(self, node: Any) -> bool:
        return bool(node.serial > self.start)

    def cell(self, key: Any, make: Callable[[], Cell], owner: Any = None) -> State:
        """Return the state of a cell, which is read when it is first asked for."""
        state = self.states.get(key)
        if state is None:
            cell = make()
            array = cell.get()
            entry = None
            if array is None:
                self.absent.append(cell)
            else:
                # What the step itself changes, outside or in place, must not change the example.
                entry = self.stand_in(Var(np.array(array), cell), owner)
            state = self.states[key] = State(cell, entry, entry)
        return state

    def read(self, node: Any) -> Any:
        """Return what stands for the numbers of a node."""
        if self._is_own(node):
            return node._value
        return self.cell(("data", id(node)), lambda: Data(node), node).now

    def argument(self, position: int, leaf: Any) -> Any:
        """Return what the function shall see of an argument."""
        array = leaf._value if isinstance(leaf, Node) else leaf
        # The caller's array may be changed by the step (it may be a parameter's).
        traced = self.stand_in(Var(np.array(array), Parameter(position, f"x{position}")))
        if not isinstance(leaf, Node):
            return traced
        traced.owner = leaf
        self.positions[id(leaf)] = position
        cell = ArgumentData(leaf, position)
        self.states["data", id(leaf)] = State(cell, traced, traced)
        return leaf

    def _gradient(self, node: Any) -> Gradient:
        position = self.positions.get(id(node))
        return Gradient(node) if position is None else ArgumentGradient(node, position)

    def write(self, node: Any, value: Any) -> None:
        """Note that a tensor holds `value` from now on."""
        if isinstance(value, Node):
            value = value._seen()
        if value.__class__ is not Traced:
            value = self.constant(np.asarray(value))
        have = node._value
        if not np.can_cast(value.dtype, have.dtype, "same_kind"):
            raise TypeError(
                f"cannot assign data of dtype {value.dtype} to {node.name}, which has dtype "
                f"{have.dtype}; convert it first"
            )
        if value.shape != have.shape:
            raise ShapeError(
                f"cannot assign data of shape {value.shape} to {node.name}, which has shape "
                f"{have.shape}"
            )
        value = value.astype(have.dtype, copy=False)
        node._changed = next_serial()
        if self._is_own(node):
            node._value = value
            return
        if value.owner is not node:
            value = self.stand_in(value.variable, node)
        self.cell(("data", id(node)), lambda: Data(node), node).now = value

    def read_grad(self, node: Any) -> Any:
        """Return the gradient of a node."""
        if self._is_own(node):
            return node._grad
        return self.cell(("grad", id(node)), lambda: self._gradient(node)).now

    def write_grad(self, node: Any, g: Any) -> None:
        """Note that a node has the gradient `g` from now on."""
        if self._is_own(node):
            node._grad = g
            return
        if g is not None and g.__class__ is not Traced:
            g = self.constant(g)
        state = self.states.get(("grad", id(node)))
        if state is None:  # what was there before does not matter
            state = self.states["grad", id(node)] = State(self._gradient(node), _UNREAD, None)
        state.now = g

    def option(self, group: dict[str, Any], key: str, dtype: Any) -> Any:
        """Return what stands for an option that may differ from step to step."""
        dtype = np.dtype(dtype)
        make = partial(Option, group, key, dtype)
        return self.cell(("option", id(group), key, dtype), make).now

    def depends_on_options(self, group: dict[str, Any]) -> None:
        """Make it a condition of the plan that the options of a group stay what they are."""
        self.options += [
            (group, key, value) for key, value in group.items() if key not in ("params", "lr")
        ]

    def kept(self, part: Any) -> tuple[Any, ...]:
        """Return what stands for what an optimizer keeps for a part of its parameters."""
        return tuple(
            self.cell(("kept", id(part), k), partial(Kept, part, k)).now
            for k in range(len(part.state))
        )

    def keep(self, part: Any, arrays: tuple[Any, ...]) -> None:
        """Note what an optimizer keeps from now on."""
        for k, array in enumerate(arrays):
            if array.__class__ is not Traced:
                array = self.constant(array)
            key = ("kept", id(part), k)
            if key not in self.states:
                self.states[key] = State(Kept(part, k), _UNREAD, None)
                self.absent.append(self.states[key].cell)
            self.states[key].now = array

    def depends_on(self, owner: Any, key: Any) -> None:
        """Make it a condition of the plan that ``owner[key]`` stays the same object."""
        self.objects.append((owner, key, owner[key]))

    def output(self, leaf: Any) -> Output:
        """Return what the function returns, as something that a replay can return."""
        value = leaf._seen() if isinstance(leaf, Tensor) else leaf
        make = _constant if isinstance(leaf, Tensor) else _itself
        if value.__class__ is not Traced:
            value = self.constant(value)
        return Output(make, value.variable)

    # --- the end -------------------------------------------------------------------------------

    def tape(self, outputs: list[Var]) -> Tape:
        """Return what was written down."""
        writes = [
            (state.cell, state.now.variable if state.now is not None else None)
            for state in self.states.values()
            if state.now is not state.entry
        ]
        return Tape(self.instructions, outputs, writes, self.assumptions)

    def check_kept(self) -> None:
        """Raise CaptureError if something outside the function has kept a captured number."""
        kept = [line for traced, line in self._stand_ins if traced() is not None]
        if kept:
            gc.collect()  # what only a cycle has kept is gone
            kept = [line for traced, line in self._stand_ins if traced() is not None]
        if kept:
            raise CaptureError(
                f"something outside the function (a list that grows, an attribute, a global) has "
                f"kept a result of the step, which a replay would not put there. Return it "
                f"instead, and keep what the compiled function returns; it was made in\n{kept[-1]}"
            )

    def commit(self, writes: list[tuple[Cell, Any]]) -> None:
        """Leave behind what the captured run has computed."""
        for cell, var in writes:
            array = None if var is None else var.example
            have = cell.get()
            if isinstance(cell, Gradient) or have is None:
                cell.set(None if array is None else array.copy())
            else:
                np.copyto(have, array)


def _itself(array: Any) -> Any:
    return array


#: The entry of a cell that is written before it is read.
_UNREAD = object()


def _shares(v: Any, example: Any) -> bool:
    return v.__class__ is Var and bool(np.may_share_memory(v.example, example))


def _fixed(a: Any) -> Any:
    """Return what the tape shall hold of an argument that is no variable."""
    if isinstance(a, np.ndarray | np.generic):
        array = np.array(a)
        return Var(array, Constant(array))
    return a
