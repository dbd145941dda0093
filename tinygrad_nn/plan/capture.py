"""What a step does to arrays while it runs with real numbers, written down."""

from __future__ import annotations

import gc
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from tinygrad_nn.errors import CaptureError, NotDifferentiableError, ShapeError
from tinygrad_nn.graph import Node, next_serial, set_capture
from tinygrad_nn.plan.cells import (
    ArgumentData,
    ArgumentGradient,
    Data,
    Gradient,
    Kept,
    Option,
    Variable,
)
from tinygrad_nn.plan.draws import Draws, is_generator, stand_in
from tinygrad_nn.plan.scalars.lending import Lent
from tinygrad_nn.plan.scalars.recorder import Recorder, replayed
from tinygrad_nn.plan.surroundings import Surroundings
from tinygrad_nn.plan.tape import Assumption, Cell, Constant, Instruction, Parameter, Tape, Var
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.rules import shape
from tinygrad_nn.source_line import source_line
from tinygrad_nn.tensor import Tensor, _constant
from tinygrad_nn.traced import Traced, check_fixed, refusal, unknown
from tinygrad_nn.value import Value

__all__ = ["Capture", "NotCaptured", "Output", "State", "graphless"]


@dataclass(slots=True)
class State:
    """What is known of a cell while a step is captured."""

    cell: Cell
    entry: Any  # the variable that was there when the step began, or None
    now: Any  # what is there at this point: a Traced or None

    @property
    def var(self) -> Var | None:
        """The variable that is there at this point."""
        return None if self.now is None else self.now.variable


class Output(NamedTuple):
    """Numbers that a function returns."""

    make: Callable[[Any], Any]  # what is returned, of an array of its own
    var: Var


class NotCaptured(Exception):  # noqa: N818  # no error: the function itself shall raise what it raises
    """The function handles an error of its own, in a way that cannot be captured."""


class Capture:
    """One run of a function, with what it did to arrays; the engine calls its methods.

    Nothing outside is changed before `commit`.
    """

    def __init__(self, around: Surroundings | None = None) -> None:
        self.around = around
        # The first refusal, which the function may itself have caught, and the error that was being
        # handled then.
        self.refused: tuple[CaptureError, BaseException | None] | None = None
        # The last error that a computation has raised, and where.
        self.failed: Exception | None = None
        self.failed_in: Any = None
        self.start = next_serial()
        self.errors = np.geterr()
        self.instructions: list[Instruction] = []
        self.assumptions: list[Assumption] = []
        self.absent: list[Cell] = []  # gradients that must be None when the step begins
        self.states: dict[Any, State] = {}
        self.objects: list[tuple[Any, Any, Any]] = []
        self.restores: dict[tuple[int, Any], Callable[[Any], bool]] = {}
        self.options: list[tuple[Any, str, Any]] = []
        self.lengths: dict[int, tuple[Any, int]] = {}  # of lists of what `objects` looks at
        self.positions: dict[int, int] = {}  # of the tensors among the arguments
        self.pinned: dict[int, Any] = {}  # arguments that must be the very same objects
        self.pairs: list[tuple[int, int, bool]] = []  # which tensors among the arguments are one
        self.tensors: dict[int, Any] = {}  # those outside that are read or written to
        self.generators: dict[int, tuple[Any, Draws]] = {}
        self.drawn_to: dict[int, Any] = {}  # the states that captured draws have led to
        self._scalars: Recorder | None = None
        self._writes: list[tuple[Cell, Any]] = []
        self._pins: dict[Var, Any] = {}  # numbers that Python was told
        # Tensors outside that are written to, and after how many instructions first.
        self._written: dict[int, tuple[Any, int]] = {}
        self.late: set[int] = set()  # arguments that are read after that
        self._marks: dict[int, tuple[Any, int]] = {}  # `_changed` as it was
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
        args = check_fixed(primitive, args, static)
        if any(type(a) is Traced and a.outside for a in static.values()):
            static = {k: self.pin(a) if type(a) is Traced and a.outside else a
                      for k, a in static.items()}  # fmt: skip
        if any(type(a) is Traced for a in static.values()):
            raise refusal(
                f"a keyword of {primitive.name} depends on numbers that are known only in a replay",
                "Pass it as an argument of the compiled function, as a plain number",
            )
        if any(type(a) is Traced and a.weak for a in args):
            args, weak = _promoted(primitive, args)
        else:
            weak = False
        out = static.get("out")
        if out is not None:
            static = {key: value for key, value in static.items() if key != "out"}
        examples = [a.example if type(a) is Traced else a for a in args]
        try:
            if primitive.trusted:
                example = primitive.forward(*examples, **static)
            else:
                example = self._called(primitive, examples, static)
        except Exception as error:
            self.failed = error
            self.failed_in = source_line()
            raise
        if not any(type(a) is Traced for a in args):
            return example
        scalar = isinstance(example, np.generic)
        if type(example) is not np.ndarray:
            example = np.asarray(example)
        inputs = [a.variable if type(a) is Traced else _fixed(a) for a in args]
        var = Var(example)
        sources = [a for a, v in zip(args, inputs, strict=True) if _shares(v, example)]
        errors: Any = np.geterr()
        self.instructions.append(
            Instruction(
                primitive, tuple(inputs), static, var, source_line(), bool(sources),
                has_effect=not primitive.trusted,
                errors=None if errors == self.errors else errors,
            )
        )  # fmt: skip
        traced = self.stand_in(var)
        for a in sources:
            if type(a) is Traced:
                traced.join(a)
        traced.scalar = scalar
        traced.weak = weak
        traced.outside = all(a.outside for a in args if type(a) is Traced)
        return traced

    def pin(self, traced: Traced) -> Any:
        """Return the numbers of what follows from arrays outside: they become a condition."""
        if traced.variable not in self._pins:
            array = np.array(traced.example)
            array.flags.writeable = False  # a replay would not write to it
            self._pins[traced.variable] = array
            same: Any = np.array_equal(traced, array, equal_nan=array.dtype.kind in "fc")
            self.assume(same)
        return self._pins[traced.variable]

    def _called(self, primitive: Primitive, examples: list[Any], static: dict[str, Any]) -> Any:
        """Call a primitive that a user has written, as a replay will: it may draw, or count."""
        set_capture(None)
        try:
            return primitive.forward(*examples, **static)
        finally:
            set_capture(self)
            for generator, _ in self.generators.values():
                bits = generator.bit_generator
                self.drawn_to[id(bits)] = bits.state

    def drawn(
        self, primitive: Primitive, arrays: tuple[Traced, ...], example: Any, weak: bool
    ) -> Traced:
        """Write a draw from a generator down, which has been done."""
        var = Var(example)
        inputs = tuple(a.variable for a in arrays)
        self.instructions.append(
            Instruction(primitive, inputs, {}, var, source_line(), has_effect=True)
        )
        traced = self.stand_in(var)
        traced.scalar = not example.ndim
        traced.weak = weak
        return traced

    def forward(self, primitive: Primitive, node_args: Any, raw: list[Any], static: Any) -> Any:
        """Apply a primitive to the numbers of nodes; `raw` gets what stands for them."""
        for i, a in enumerate(node_args):
            if a.__class__ is Value:
                raise refusal(
                    f"{primitive.name} joins Values to tensors or arrays",
                    "Write the step in Values throughout (numbers taken out of the arguments are "
                    "Values too), or in tensors, or compile with fallback=True",
                )
            if isinstance(a, Node):
                raw[i] = self.read(a)
        return _as_kept(self.bind(primitive, tuple(raw), static))

    def assume(self, condition: Traced) -> bool:
        """Make the truth of a condition a condition of the plan."""
        truth = bool(condition.example)
        self.assumptions.append(Assumption(condition.variable, truth))
        return truth

    # --- what is outside -----------------------------------------------------------------------

    def _is_own(self, node: Any) -> bool:
        return bool(node.serial > self.start)

    def is_outside(self, leaf: Any) -> bool:
        """Whether this is a tensor that was there before, and is no argument."""
        return isinstance(leaf, Node) and not self._is_own(leaf) and id(leaf) not in self.positions

    def was_there(self, item: Any) -> bool:
        """Whether an object was there before the function ran, as far as is known."""
        return self.around is not None and self.around.knows(item)

    def draws(self, generator: Any, name: str) -> Draws:
        """Return what stands for a generator."""
        if id(generator) not in self.generators:
            self.generators[id(generator)] = generator, Draws(generator, name, self)
        return self.generators[id(generator)][1]

    def surrounding(self, item: Any, name: str) -> Any:
        """Return what stands for an array or a source of random numbers that has a name."""
        if isinstance(item, np.ndarray):
            traced = self.stand_in(Var(item, Variable(name, item)))
            traced.outside = True
            return traced
        return stand_in(item, name, self)

    def has_drawn(self, generator: Any) -> None:
        """Note the state of a generator after a draw that is captured."""
        bits = generator.bit_generator
        self.drawn_to[id(bits)] = bits.state

    def cell(self, key: Any, make: Callable[[], Cell], owner: Any = None) -> State:
        """Return the state of a cell, which is read when it is first asked for."""
        state = self.states.get(key)
        if state is None:
            cell = make()
            if owner is not None:
                self.tensors[id(owner)] = owner
            array = cell.get()
            entry = None
            if array is None:
                self.absent.append(cell)
            else:
                # What the step itself changes, outside or in place, must not change the example.
                entry = self.stand_in(Var(np.array(array), cell), owner)
            state = self.states[key] = State(cell, None if entry is None else entry.variable, entry)
        return state

    @property
    def scalars(self) -> Recorder:
        """What is known of Values."""
        if self._scalars is None:
            self._scalars = Recorder(self)
        return self._scalars

    def element(self, leaf: Any, traced: Traced) -> None:
        """Let a new Value stand for an element of an array."""
        self.scalars.element(leaf, traced)

    def check_known(self, item: Any, asked: str) -> None:
        """Refuse to tell Python a number that is known only in a replay."""
        if type(item) is Traced or (isinstance(item, Value) and not self._is_constant(item)):
            raise unknown(asked)

    def _is_constant(self, value: Value) -> bool:
        return self.scalars.is_constant(value)

    def read(self, node: Any) -> Any:
        """Return what stands for the numbers of a node."""
        if node.__class__ is Value:
            return self.scalars.read(node)
        if self._is_own(node):
            return node._value
        return self.cell(("data", id(node)), lambda: Data(node), node).now

    def argument(self, position: int, leaf: Any) -> Any:
        """Return what the function shall see of an argument."""
        if isinstance(leaf, Value):
            self.pinned[position] = leaf
            return leaf
        if is_generator(leaf):
            self.pinned[position] = leaf
            return self.draws(leaf, f"argument {position}")
        if isinstance(leaf, Node) and self.around is not None and id(leaf) in self.around.tensors:
            self.pinned[position] = leaf  # which the function reaches by another way as well
            return leaf
        if id(leaf) in self.positions:  # the same tensor twice
            return leaf
        array = leaf._value if isinstance(leaf, Node) else leaf
        # The caller's array may be changed by the step (it may be a parameter's).
        traced = self.stand_in(Var(np.array(array), Parameter(position, f"x{position}")))
        if not isinstance(leaf, Node):
            return traced
        traced.owner = leaf
        self.positions[id(leaf)] = position
        cell = ArgumentData(leaf, position)
        self.states["data", id(leaf)] = State(cell, traced.variable, traced)
        return leaf

    def _gradient(self, node: Any) -> Gradient:
        position = self.positions.get(id(node))
        return Gradient(node) if position is None else ArgumentGradient(node, position)

    def write(self, node: Any, value: Any) -> None:
        """Note that a tensor holds `value` from now on."""
        if node.__class__ is Value:
            self.scalars.write(node, value)
            return
        if isinstance(value, Node):
            value = value._seen()
        if type(value) is not Traced:
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
        if self._is_own(node):
            node._changed = next_serial()
            node._value = _as_kept(value)
            return
        self._marks.setdefault(id(node), (node, node._changed))
        self._written.setdefault(id(node), (node, len(self.instructions)))
        node._changed = next_serial()
        if value.owner is not node:
            value = self.stand_in(value.variable, node)
        self.cell(("data", id(node)), lambda: Data(node), node).now = value

    def read_grad(self, node: Any) -> Any:
        """Return the gradient of a node."""
        if node.__class__ is Value:
            return self.scalars.read_grad(node)
        if self._is_own(node):
            return node._grad
        return self.cell(("grad", id(node)), lambda: self._gradient(node)).now

    def write_grad(self, node: Any, g: Any) -> None:
        """Note that a node has the gradient `g` from now on."""
        if node.__class__ is Value:
            self.scalars.write_grad(node, g)
            return
        g = _as_kept(g)
        if self._is_own(node):
            node._grad = g
            return
        if g is not None and type(g) is not Traced:
            g = self.constant(g)
        self.tensors[id(node)] = node
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
        noted = sum(key[:2] == ("kept", id(part)) for key in self.states)
        return tuple(
            self.cell(("kept", id(part), k), partial(Kept, part, k)).now
            for k in range(max(noted, len(part.state)))
        )

    def keep(self, part: Any, arrays: tuple[Any, ...]) -> None:
        """Note what an optimizer keeps from now on."""
        for k, array in enumerate(arrays):
            if type(array) is not Traced:
                array = self.constant(array)
            key = ("kept", id(part), k)
            if key not in self.states:
                self.states[key] = State(Kept(part, k), _UNREAD, None)
                self.absent.append(self.states[key].cell)
            self.states[key].now = array

    def depends_on(self, owner: Any, key: Any, restore: Callable[[Any], bool]) -> None:
        """Make it a condition of the plan that ``owner[key]`` stays the same object.

        `restore` puts the object back, if it can, and tells.
        """
        self.restores[id(owner), key] = restore
        self.objects.append((owner, key, owner[key]))
        self.lengths[id(owner)] = owner, len(owner)

    def outputs(self, leaves: list[Any]) -> list[Output]:
        """Return what the function returns, as something that a replay can return."""
        found: dict[Any, Any] = {}
        if self._scalars is not None:
            values = [leaf for leaf in leaves if isinstance(leaf, Value)]
            numbers, self._writes = self._scalars.finish(values)
            found = dict(zip(values, numbers, strict=True))
        return [self._output(leaf, found.get(leaf) if found else None) for leaf in leaves]

    def _output(self, leaf: Any, number: Any) -> Output:
        make: Callable[[Any], Any]
        if number is not None:
            make = _number if leaf in self.scalars.numbers else replayed
            if type(number) is not Traced:
                number = self.constant(np.asarray(number))
            return Output(make, number.variable)
        value = leaf._seen() if isinstance(leaf, Tensor) else leaf
        make = _itself
        if isinstance(leaf, Tensor):
            make = graphless if leaf.requires_grad else _constant
        if type(value) is Traced and make is _itself and not value.shape:
            make = _number if value.weak else _scalar if value.scalar else _itself
        if type(value) is not Traced:
            value = self.constant(value)
        return Output(make, value.variable)

    # --- the end -------------------------------------------------------------------------------

    def tape(self, outputs: list[Var]) -> Tape:
        """Return what was written down."""
        writes = [
            (state.cell, state.var)
            for state in self.states.values()
            if state.var is not state.entry
        ]
        return Tape(self.instructions, outputs, writes + self._writes, self.assumptions)

    def last_reads(self, outputs: list[Var]) -> dict[Var, int]:
        """Return after how many instructions what is outside was read last, through views too."""
        roots: dict[Var, Var] = {}
        last: dict[Var, int] = {}
        for n, i in enumerate(self.instructions):
            for v in i.inputs:
                root = roots.get(v, v)
                if i.view:
                    roots[i.out] = root
                else:
                    last[root] = n
        last |= {roots.get(v, v): len(self.instructions) for v in outputs}
        return {v: n for v, n in last.items() if not v.is_result}

    def check_memory(self, leaves: list[Any], outputs: list[Var]) -> None:
        """Raise an error if the memory of a tensor is read after the step has written to it.

        By another name, that is: as an array. A replay does all updates at its end.
        """
        if not self._written:
            return
        for v, n in self.last_reads(outputs).items():
            origin, array, name = v.origin, None, ""
            if isinstance(origin, Parameter):
                array = leaves[origin.position]
                array = array._value if isinstance(array, Node) else array
            elif isinstance(origin, Data | Variable):
                array, name = origin.get(), str(origin)
            if not isinstance(array, np.ndarray):
                continue
            for node, start in self._written.values():
                is_own = isinstance(origin, Data) and origin.tensor is node
                if start > n or is_own or not np.may_share_memory(array, node._value):
                    continue
                if isinstance(origin, Parameter):
                    raise NotCaptured  # at this call alone: the function itself does it
                raise CaptureError(
                    f"{name} is the memory of {node.name}, and is read after the step has changed "
                    f"that. Give the step a copy of it (array.copy()), or read {node.name} in the "
                    f"step itself"
                )
        first = min(start for _, start in self._written.values())
        self.late = {v.origin.position for v, n in self.last_reads(outputs).items()
                     if isinstance(v.origin, Parameter) and n >= first}  # fmt: skip

    def check_kept(self) -> None:
        """Raise CaptureError if something outside the function has kept a captured number."""
        kept = [traced for traced, _ in self._stand_ins if traced() is not None]
        if kept:
            gc.collect()  # what only a cycle has kept is gone
            kept = [traced for traced, _ in self._stand_ins if traced() is not None]
        for _ in range(_PATIENCE if kept and threading.active_count() > 1 else 0):
            time.sleep(1e-3)  # another thread may be at work with one
            kept = [traced for traced in kept if _is_held(traced)]
            if not kept:
                break
        if kept:
            line = next(line for traced, line in self._stand_ins if traced is kept[-1])
            raise CaptureError(
                f"{_holder(kept[-1])} has kept a result of the step, which a replay would not put "
                f"there. Return it instead, and keep what the compiled function returns; it was "
                f"made in\n{line}"
            )

    def undo(self) -> None:
        """Forget what was captured, and that tensors were changed."""
        for node, changed in self._marks.values():
            node._changed = changed
        if self._scalars is not None:
            self._scalars.undo()
        self.states = {}

    def commit(self, writes: list[tuple[Cell, Any]]) -> None:
        """Leave behind what the captured run has computed."""
        for cell, var in writes:
            array: Any = None if var is None else var.example
            have = cell.get()
            if isinstance(cell, Gradient | Lent) or have is None:
                cell.set(None if array is None else array.copy())
            else:
                np.copyto(have, array)


#: For so many milliseconds other threads may go on with an array that has been replaced.
_PATIENCE = 20


def _is_held(traced: ref[Traced]) -> bool:
    """Whether something holds an array besides the variables of functions that run."""
    item = traced()
    if item is None:
        return False
    return any(type(r) is not types.FrameType for r in gc.get_referrers(item))


def _no_graph(g: Any, y: Any, x: Any) -> Any:
    raise NotDifferentiableError(
        "backward() through the result of a compiled function, which has no graph: call backward() "
        "inside the function that is compiled, or differentiate the function itself"
    )


_replayed = Primitive(lambda x: x, [_no_graph], name="replayed")
_SOURCE = Tensor(0.0, requires_grad=True, label="compiled function")


def graphless(array: Any) -> Tensor:
    """Return a result that requires a gradient, as the function's does, and refuses to give one."""
    t = _constant(array)
    t.primitive = _replayed
    t.args = (_SOURCE,)
    t._raw, t._parents, t._positions = [_SOURCE._value], t.args, (0,)
    t.requires_grad = True
    return t


def _itself(array: Any) -> Any:
    return array


def _scalar(array: Any) -> Any:
    return array[()]


def _number(array: Any) -> Any:
    return array.item()


#: What Python's operators make a Python number of Python numbers by.
_ARITHMETIC = frozenset(
    ["add", "subtract", "multiply", "divide", "power", "negative", "positive", "absolute",
     "floor_divide", "remainder"]
)  # fmt: skip


def _promoted(primitive: Primitive, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], bool]:
    """Convert what stands for Python numbers to the type that NumPy would give them.

    Also returned is whether the result stands for one.
    """
    if not primitive.elementwise:
        return args, False
    strong = [a.dtype for a in args if hasattr(a, "dtype") and not getattr(a, "weak", False)]
    if not strong:
        return args, primitive.name in _ARITHMETIC
    found = list(args)
    for k, a in enumerate(args):
        if type(a) is Traced and a.weak:
            dtype = np.result_type(*strong, a.example.item())
            found[k] = shape.astype(_strong(a), dtype=dtype)
    return tuple(found), False


def _strong(a: Traced) -> Traced:
    return Traced(a.variable, a.example)


def _as_kept(a: Any) -> Any:
    """Return what stands for an array where `a` stands for a number: tensors keep arrays."""
    return _strong(a) if type(a) is Traced and (a.scalar or a.weak) else a


def _holder(traced: ref[Traced]) -> str:
    """Say what holds an array that should be gone."""
    items: list[Any] = [traced()]
    for _ in range(3):  # a tensor may be in between, and the dict of an object
        found = [
            r for item in items for r in gc.get_referrers(item)
            if r is not items and not isinstance(r, types.FrameType)
        ]  # fmt: skip
        for r in found:
            if isinstance(r, list | set | deque):
                return f"a {type(r).__name__} of {len(r)} elements outside the function"
            if isinstance(r, dict):
                key = next((k for k, v in r.items() if any(v is item for item in items)), None)
                owner = next(
                    (o for o in gc.get_referrers(r) if getattr(o, "__dict__", 0) is r), None
                )
                if owner is not None:
                    return f"the attribute {type(owner).__name__}.{key}"
                return f"a dict, under the key {key!r},"
            if isinstance(r, types.CellType):
                return "a variable of an outer function"
        items = found
    return "something outside the function (a list that grows, an attribute, a global)"


#: The entry of a cell that is written before it is read.
_UNREAD = object()


def _shares(v: Any, example: Any) -> bool:
    return v.__class__ is Var and bool(np.may_share_memory(v.example, example))


def _fixed(a: Any) -> Any:
    """Return what the tape shall hold of an argument that is no variable."""
    if isinstance(a, np.ndarray | np.generic | list | tuple):
        array = np.array(a)
        return Var(array, Constant(array))
    return a
