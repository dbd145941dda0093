"""A step written in Values: what it does to them is written down, and made a tape of vectors.

Values are captured as the graph that they are. When the step has ended, the graph is vectorised
(`vectorise`) and the vectors run through the engine once more, as tensors in the same capture: so
derivatives come from the table of primitives, and what is replayed is a tape like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_nn.backward import pull_back
from tinygrad_nn.graph import enable_grad
from tinygrad_nn.plan.scalars.graph import extract
from tinygrad_nn.plan.scalars.lending import Lender
from tinygrad_nn.plan.scalars.levels import schedule
from tinygrad_nn.plan.scalars.program import vectorise
from tinygrad_nn.plan.tape import Cell, Instruction, Var
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.rules.indexing import ARRAY
from tinygrad_nn.source_line import SourceLine, source_line
from tinygrad_nn.tensor import Tensor, _constant
from tinygrad_nn.traced import Traced, refusal
from tinygrad_nn.value import Value, _node, _set_args

__all__ = ["NoGain", "Recorder", "replayed"]


def _identity(name: str) -> Primitive:
    return Primitive(
        lambda x: x, [None], name=name, scalar=lambda x: x, elementwise=True, linear="all"
    )


#: The number of a Value, as ``.data`` is; and a Value without its graph, as under `no_grad`.
number, detached = _identity("number"), _identity("detached")

_replayed = _identity("replayed")


def replayed(array: Any) -> Value:
    """Return a Value that a replay has computed; it has no graph, and says so when asked for it."""
    return _node(array.item(), _replayed, (array.item(),))


# Measured: forward and backward, a node costs some 1.5 microseconds in Python; of a step of the
# program, which is two or three calls of NumPy in the replay, the 5 microseconds that a replay
# takes anyhow left aside, 0.6; and to compile it some 0.3 milliseconds, more where there are many.
# A neuron of three weights is four times faster compiled, a chain of single nodes only twice.
_WORTH_WHILE = 2
#: Where there are this many steps, each must be for so many nodes.
_LONG, _WORTH_COMPILING = 1000, 10
# Of fewer steps it is quicker to try.
_SHORT = 100


class NoGain(Exception):  # noqa: N818  # no error, but a decision
    """The step stays eager: a plan would be no faster."""


@dataclass(eq=False)
class _Backward:
    """A call of ``backward()``."""

    root: Value
    seed: float
    serial: int  # of the first node after it
    cotangents: dict[int, float]  # in the captured run, by serial number
    line: SourceLine
    gradients: dict[Value, Value] = field(default_factory=dict)  # leaf -> its gradient


@dataclass
class _Group:
    """Leaves of which the numbers are known, as a vector."""

    leaves: list[Value]
    vector: Any


class Recorder:
    """What a capture knows of Values."""

    def __init__(self, capture: Any) -> None:
        self.capture = capture
        self.outside: dict[Value, float] = {}  # with the numbers that they had
        self.elements: dict[Value, tuple[Var, int]] = {}  # leaves that are elements of arrays
        self.events: list[_Backward] = []
        self.versions: dict[Value, Value] = {}  # what stands for a Value that was written to
        self._owners: dict[Value, Value] = {}  # and which Value it stands for
        self._gradients: dict[Value, Any] = {}
        self._old: dict[Value, Value] = {}  # leaves for the gradients that were there before
        self._known_gradients: set[Value] = set()  # leaves for the gradients of passes
        self._reached: set[int] = set()  # serial numbers of what has been looked at
        self._of: dict[Var, Value] = {}
        self._made: dict[Var, Instruction] = {}
        self._marks: dict[Value, int] = {}
        self._changed: set[Value] = set()
        self._line: SourceLine | None = None  # of the last assignment
        self.numbers: set[Value] = set()  # what is returned of Python numbers
        self._named = 0  # how many instructions have the lines that they shall have
        self.steps = 0
        self.nodes = 0

    # --- while the step runs -------------------------------------------------------------------

    def settle(self, node: Value, cut: bool) -> None:
        """See a new node."""
        if self.versions:
            a = node._left
            if a.__class__ is tuple:
                node._left = tuple(self._current(x) for x in a)
            else:
                node._left, node._right = self._current(a), self._current(node._right)
        # Under no_grad() no gradient passes, but the number may differ.
        if cut and node.primitive is not number:
            shadow = Value(node._value)
            shadow.primitive, shadow._left, shadow._right = node.primitive, node._left, node._right
            shadow.serial, node.serial = node.serial, shadow.serial
            node.primitive = detached
            _set_args(node, (shadow,))

    def _current(self, a: Any) -> Any:
        return self.versions.get(a, a) if a.__class__ is Value else a

    def _is_outside(self, node: Value) -> bool:
        return bool(node.serial <= self.capture.start)

    def is_constant(self, node: Value) -> bool:
        """Whether a Value holds the same number at every call."""
        return (
            node.primitive is None
            and not self._is_outside(node)
            and node not in self.elements
            and node not in self._known_gradients
            and node not in self.versions
        )

    def is_number(self, node: Value) -> bool:
        """Whether this stands for a Python number: data, a gradient, what follows from them."""
        stack, seen = [node], {node}
        while stack:
            a = stack.pop()
            known = a.primitive is None or a.primitive.differentiable or a.primitive is detached
            if a.primitive is number or not known or a in self._known_gradients:
                continue
            below = [x for x in a.args if x.__class__ is Value]
            if not below or a.primitive is detached:
                return False
            stack += [x for x in below if x not in seen]
            seen.update(below)
        return True

    def computed(self, primitive: Primitive, args: tuple[Any, ...], data: float) -> Any:
        """Return what stands for a result without a derivative, as a comparison is."""
        if all(self.is_constant(a) for a in args if a.__class__ is Value):
            return data
        return _node(data, primitive, args)

    def read(self, node: Value) -> Any:
        """Return what ``node.data`` is: the number, without a gradient."""
        if self.is_constant(node):
            return node._value
        return _node(node._value, number, (node,))

    def write(self, node: Value, value: Any) -> None:
        """Let a Value hold another number."""
        value = self.as_value(value)
        if node.primitive is not None:
            raise refusal(
                "the data of a result is assigned to in a graph of scalars",
                "Assign to Values that nothing computed, or use the new number itself",
            )
        if self._is_outside(node):
            self.outside.setdefault(node, node._value)
        self._marks.setdefault(node, node._changed)
        self._line = source_line()
        version = _node(value._value, number, (value,))
        node._value = value._value
        node._changed = version.serial
        self.versions[node] = version
        self._owners[version] = node
        self._changed.add(node)

    def read_grad(self, node: Value) -> Any:
        """Return the gradient of a Value."""
        if node in self._gradients:
            return self._gradients[node]
        if self._is_outside(node):
            self.outside.setdefault(node, node._value)
            return self._gradients.setdefault(node, self._old_gradient(node))
        passes = [event for event in self.events if node.serial in event.cotangents]
        if not passes:
            return node._grad
        if node.primitive is not None:
            raise refusal(
                "the gradient of a result is read in a graph of scalars",
                "Keep to gradients of Values that nothing computed, or compile with fallback=True",
            )
        total: Any = None
        for event in passes:
            if node not in event.gradients:
                self._gradient_of(event, node, event.cotangents[node.serial])
            gradient = event.gradients[node]
            total = gradient if total is None else total + gradient
        return total

    def _gradient_of(self, event: _Backward, node: Value, g: float) -> Value:
        gradient = event.gradients[node] = Value(g)
        self._known_gradients.add(gradient)
        return gradient

    def write_grad(self, node: Value, g: Any) -> None:
        """Let a Value have the gradient `g`."""
        if self._is_outside(node):
            self.outside.setdefault(node, node._value)
        self._gradients[node] = self.as_value(g) if type(g) is not float else g

    def backward(self, root: Value, seed: float) -> None:
        """Note a backward pass; it is done at once, so that all numbers are the real ones."""
        live, cotangents = pull_back([(root, seed)], keep=True)
        event = _Backward(self._current(root), seed, root.serial, cotangents, source_line())
        start = self.capture.start
        leaves = [live[serial] for serial in cotangents if serial <= start]
        if any(node.primitive is not None for node in leaves):
            raise refusal(
                "a backward pass goes through Values that were computed before the step",
                "Compute them inside the compiled function; or use v.data, for no gradient",
            )
        self._look(live.values())
        self._reached.update(live)
        written = [version for version in self._owners if version.serial in cotangents]
        for node in [*leaves, *written]:
            assert isinstance(node, Value)
            gradient = self._gradient_of(event, node, cotangents[node.serial])
            owner = self._owners.get(node, node)
            before = self.read_grad(owner)
            plain = before.__class__ is float and before == 0.0
            self._gradients[owner] = gradient if plain else before + gradient
        event.serial = Value(0.0).serial
        for gradient in event.gradients.values():
            event.serial = min(event.serial, gradient.serial)
        self.events.append(event)

    def _look(self, nodes: Iterable[Any]) -> None:
        """Note which of the nodes were there before."""
        start = self.capture.start
        for node in nodes:
            if node.serial <= start and node not in self.outside:
                self.outside[node] = node._value

    def _find(self, roots: Iterable[Value]) -> None:
        """Note what was there before of what `roots` are computed from."""
        found: dict[int, Value] = {}
        stack = list(roots)
        while stack:
            node = stack.pop()
            serial = node.serial
            if serial in found or serial in self._reached:
                continue
            found[serial] = node
            if serial > self.capture.start:
                stack += [a for a in node.args if a.__class__ is Value]
        self._reached.update(found)
        self._look(found.values())

    def as_value(self, item: Any) -> Value:
        """Return a Value for a number, a Value or what stands for a number."""
        if item.__class__ is Value:
            found: Value = item
            return found
        if type(item) is not Traced:
            return Value(item)
        if item.shape:
            raise TypeError(f"a Value holds one number, got an array of shape {item.shape}")
        return self._from(item.variable)

    def element(self, leaf: Value, traced: Traced) -> None:
        """Let a new leaf stand for an element of an array."""
        self.elements[leaf] = self._place(traced.variable)

    def _from(self, v: Var) -> Value:
        """Return the Value for a 0-d variable; what was computed of elements becomes a graph."""
        value = self._of.get(v)
        if value is None:
            i = self._instruction(v)
            scalar = i is not None and i.primitive.elementwise and i.primitive.scalar is not None
            if i is not None and scalar and not i.static and _are_numbers(i.args):
                args = tuple(self._from(a) if a.__class__ is Var else float(a) for a in i.args)
                value = _node(float(v.example), i.primitive, args)
            elif i is not None and i.primitive.name in ("astype", "copy", "positive"):
                value = self._from(i.args[0])
            else:
                value = Value(float(v.example))
                self.elements[value] = self._place(v)
            self._of[v] = value
        return value

    def _instruction(self, v: Var) -> Instruction | None:
        for i in self.capture.instructions[len(self._made) :]:
            self._made[i.out] = i
        return self._made.get(v)

    def _place(self, v: Var) -> tuple[Var, int]:
        """Return the array that a number is an element of, and where in it."""
        templates = []
        i = self._instruction(v)
        while i is not None and i.primitive.name == "getitem" and ARRAY not in i.static["template"]:
            templates.append(i.static["template"])
            v = i.args[0]
            i = self._instruction(v)
        index: Any = np.arange(v.example.size).reshape(v.shape)
        for template in reversed(templates):
            index = index[template]
        return v, int(index)

    def undo(self) -> None:
        """Give everything outside the numbers back that it had."""
        for node, number in self.outside.items():
            node._value = number
        for node, mark in self._marks.items():
            node._changed = mark

    # --- when it has ended ---------------------------------------------------------------------

    def finish(self, returned: Sequence[Value]) -> tuple[list[Any], list[tuple[Cell, Any]]]:
        """Do what was recorded with vectors, in the same capture.

        Returns
        -------
        list of Traced
            What stands for the Values `returned`.
        list of (Cell, Var)
            What the step leaves behind.
        """
        self._find([*returned, *self.versions.values()])
        self._find(g for g in self._gradients.values() if g.__class__ is Value)
        self._named = len(self.capture.instructions)
        values = sorted(self.outside, key=attrgetter("serial"))
        reads_gradients = bool(self._old) or any(v in self._gradients for v in values)
        lender = Lender(values, reads_gradients)
        groups = self._known(lender)
        pending = list(dict.fromkeys(returned))
        found: dict[Value, Any] = {}
        line = self._line
        for event in self.events:
            self._line = event.line
            versions = [v for v in self._owners if v.serial < event.serial and v in event.gradients]
            if versions:
                groups.append(_Group(versions, self._run(versions, groups)))
            early = [v for v in pending if v.serial < event.serial and v is not event.root]
            groups += self._differentiated(event, early, groups, found)
            pending = [v for v in pending if v not in found]
        if pending:
            numbers = self._run(pending, groups)
            found |= {v: numbers[k] for k, v in enumerate(pending)}
        self._line = line
        writes: list[tuple[Cell, Any]] = []
        if self._changed & set(values):
            now = [self._current(v) for v in values]
            writes.append((lender.numbers_cell, self._vector(now, groups)))
        if reads_gradients and any(
            self._gradients.get(v) is not self._old.get(v) for v in values if v in self._gradients
        ):
            gradients = [self.as_value(self._gradients.get(v, 0.0)) for v in values]
            for k, v in enumerate(values):
                if v not in self._gradients:
                    gradients[k] = self._old_gradient(v)
            groups = self._with_old(groups, lender)
            writes.append((lender.gradients_cell, self._vector(gradients, groups)))
        if self.nodes < _WORTH_WHILE * self.steps:
            raise NoGain(_narrow(self.nodes, self.nodes / max(self.steps, 1)))
        self.numbers = {v for v in returned if self.is_number(v)}
        self._forget()
        return [found[v] for v in returned], writes

    def _forget(self) -> None:
        """Let go of the graph, which plans would hold as long as they live."""
        self.events.clear()
        for item in (self.elements, self.versions, self._owners, self._gradients, self._old,
                     self._of, self._made):  # fmt: skip
            item.clear()
        for nodes in (self._changed, self._known_gradients, self._reached):
            nodes.clear()

    def _known(self, lender: Lender) -> list[_Group]:
        """Return the leaves whose numbers are known when the step begins."""
        values = lender.values
        groups = []
        if values:
            lender.array[:] = [self.outside[v] for v in values]
            numbers = self.capture.stand_in(Var(lender.array.copy(), lender.numbers_cell))
            groups.append(_Group(values, numbers))
        by_array: dict[Var, list[tuple[int, Value]]] = {}
        for leaf, (v, index) in self.elements.items():
            by_array.setdefault(v, []).append((index, leaf))
        for v, places in by_array.items():
            places.sort(key=lambda place: place[0])
            which = np.array([k for k, _ in places])
            flat = np.ravel(self.capture.stand_in(v))
            if flat.dtype != np.float64:
                flat = flat.astype(np.float64)
            whole = len(which) == flat.size and np.array_equal(which, np.arange(flat.size))
            vector = flat if whole else flat[which]
            groups.append(_Group([leaf for _, leaf in places], vector))
        return self._with_old(groups, lender)

    def _with_old(self, groups: list[_Group], lender: Lender) -> list[_Group]:
        """Add the gradients that were there when the step began, if they are asked for."""
        known = {v for group in groups for v in group.leaves}
        old = {v: leaf for v, leaf in self._old.items() if leaf not in known}
        if not old:
            return groups
        lender.gradients[:] = [v._grad for v in lender.values]
        vector = self.capture.stand_in(Var(lender.gradients.copy(), lender.gradients_cell))
        position = {v: k for k, v in enumerate(lender.values)}
        index = np.array([position[v] for v in old])
        return [*groups, _Group(list(old.values()), vector[index])]

    def _old_gradient(self, v: Value) -> Value:
        if v not in self._old:
            self._old[v] = Value(v._grad)
            self._known_gradients.add(self._old[v])
        return self._old[v]

    def _run(self, roots: Sequence[Value], groups: list[_Group], vectors: Any = None) -> Any:
        """Compute the numbers of nodes from those of the groups, as one vector."""
        plan = schedule(extract(roots, [group.leaves for group in groups]))
        least = _WORTH_COMPILING if plan.batches > _LONG else _WORTH_WHILE
        if plan.width < least and plan.batches > _SHORT:
            raise NoGain(_narrow(len(plan.graph), plan.width))
        program = vectorise(plan)
        self.steps += len(program.steps)
        self.nodes += program.nodes
        result = program.run(*(vectors or [group.vector for group in groups]))
        self._name_lines()
        example = result._value.example if isinstance(result, Tensor) else result
        example = example.example if type(example) is Traced else example
        expected = np.array([v._value for v in roots])
        if not np.allclose(example, expected, rtol=1e-8, atol=1e-12, equal_nan=True):
            raise NoGain("the vectors found do not give the numbers of the graph of scalars")
        return result

    def _name_lines(self) -> None:
        """Give the latest instructions the line of the step that they are done for."""
        if self._line is None:
            return
        instructions = self.capture.instructions
        for k in range(self._named, len(instructions)):
            instructions[k] = replace(instructions[k], line=self._line)
        self._named = len(instructions)

    def _vector(self, roots: list[Value], groups: list[_Group]) -> Var:
        """Return the variable of a vector of numbers."""
        vector = self._run(roots, groups)
        if type(vector) is not Traced:
            vector = self.capture.constant(vector)
        return vector.variable  # type: ignore[no-any-return]  # Any to mypy

    def _differentiated(
        self, event: _Backward, early: list[Value], groups: list[_Group], found: dict[Value, Any]
    ) -> list[_Group]:
        """Do a backward pass, on tensors; return the gradients as leaves of what follows."""
        tensors = []
        for group in groups:
            vector = group.vector
            if type(vector) is not Traced:
                vector = self.capture.constant(vector)
            t = _constant(vector)
            t.requires_grad = any(leaf in event.gradients for leaf in group.leaves)
            tensors.append(t)
        with enable_grad():
            result = self._run([event.root, *early], groups, tensors)
            if isinstance(result, Tensor) and result.requires_grad:
                result[0].backward(event.seed)
                self._name_lines()
        numbers = result._seen() if isinstance(result, Tensor) else result
        for k, v in enumerate([event.root, *early]):
            found[v] = numbers[k]
        more = []
        for t, group in zip(tensors, groups, strict=True):
            index = [k for k, leaf in enumerate(group.leaves) if leaf in event.gradients]
            if not index:
                continue
            g = t._grad if t._grad is not None else np.zeros(len(group.leaves))
            leaves = [event.gradients[group.leaves[k]] for k in index]
            more.append(_Group(leaves, g if len(index) == len(group.leaves) else g[index]))
        return more


def _narrow(nodes: int, width: float) -> str:
    return (
        f"the graph of {nodes:,} scalar nodes is deep and narrow: a step with vectors would do for "
        f"{width:.1f} of them only, which gains too little to be compiled"
    )


def _are_numbers(args: Any) -> bool:
    return all(type(a) in (float, int) or (type(a) is Var and not a.shape) for a in args)
