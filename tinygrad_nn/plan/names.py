"""Names for what a step works on: those that the user's program gives, and numbers for results."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.graph import Node
from tinygrad_nn.nn.module import Module
from tinygrad_nn.notation import expression
from tinygrad_nn.plan.arguments import Taken
from tinygrad_nn.plan.cells import ArgumentData, ArgumentGradient, Data, Gradient, Kept
from tinygrad_nn.plan.tape import Cell, Constant, Instruction, Parameter, Tape, Var

__all__ = ["Arguments", "Names", "arguments_of", "array_text", "literal", "nodes_in"]


# --- arguments -----------------------------------------------------------------------------------


class Arguments(NamedTuple):
    """The arguments that a plan was captured for.

    Attributes
    ----------
    names : list of str
        What arrays and nodes among them are called: ``x``, ``batch[0]``, ``weights['w']``.
    text : str
        All of them, as in ``x: float32 (100, 2), train=True``.
    others : list of (str, object)
        Those that are neither arrays nor nodes.
    """

    names: list[str]
    text: str
    others: list[tuple[str, Any]]


class _Leaf(NamedTuple):
    position: int
    text: str


def arguments_of(function: Callable[..., Any], taken: Taken) -> Arguments:
    """Name the arguments of a call."""
    leaves = [_Leaf(k, _array_text(leaf)) for k, leaf in enumerate(taken.leaves)]
    args, keywords = taken.rebuild(iter(leaves))
    try:
        items = list(inspect.signature(function).bind(*args, **keywords).arguments.items())
    except (TypeError, ValueError):  # the function itself will say what is wrong, if anything is
        items = [*((f"argument{k}", a) for k, a in enumerate(args)), *keywords.items()]
    names = [""] * len(leaves)
    parts: list[str] = []
    others: list[tuple[str, Any]] = []
    todo = items[::-1]
    while todo:
        name, item = todo.pop()
        if isinstance(item, _Leaf):
            names[item.position] = name
            parts.append(f"{name}: {item.text}")
        elif isinstance(item, tuple | list | dict):
            todo += reversed(list(_items(name, item)))
        else:
            parts.append(f"{name}={_short(item)}")
            others.append((name, item))
    return Arguments(names, ", ".join(parts), others)


def _items(name: str, item: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is in a container, with the expressions that stand for it."""
    fields = getattr(type(item), "_fields", None)
    if isinstance(item, Mapping):
        yield from ((f"{name}[{key!r}]", value) for key, value in item.items())
    elif fields is not None:
        yield from ((f"{name}.{field}", getattr(item, field)) for field in fields)
    else:
        yield from ((f"{name}[{i}]", value) for i, value in enumerate(item))


def _short(item: Any) -> str:
    if item is None or isinstance(item, bool | int | float | complex | str):
        text = repr(item)
        return text if len(text) <= 40 else text[:39] + "…"
    return getattr(item, "__name__", type(item).__name__)


def _array_text(leaf: Any) -> str:
    array = leaf._value if isinstance(leaf, Node) else leaf
    return array_text(array) if isinstance(array, np.ndarray) else type(leaf).__name__


def array_text(array: Any) -> str:
    """Return dtype and shape of an array or a variable, as in ``float32 (100, 2)``."""
    return f"{array.dtype} {array.shape}"


# --- what a function refers to -------------------------------------------------------------------

#: So many objects are looked at for names, at most.
_MOST = 20_000


def nodes_in(function: Any, others: list[tuple[str, Any]]) -> dict[int, str]:
    """Return names for the tensors and Values that a function refers to, by id.

    They are looked for in its arguments, its closure and the global variables that it names,
    through containers, objects and the functions that it calls; the shortest way gives the name.
    What is in a module has its qualified name in the module, with the variable's name in front
    where there are several modules.
    """
    nodes: dict[int, str] = {}
    modules: list[tuple[str, Module]] = []
    seen: set[int] = set()
    todo = deque([*others, ("", function)])
    while todo and len(seen) < _MOST:
        name, item = todo.popleft()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Node):
            nodes.setdefault(id(item), name)
        elif isinstance(item, Module):
            modules.append((name, item))
        else:
            todo.extend(_below(name, item))
    inner = {id(m) for _, module in modules for n, m in module.named_modules() if n}
    roots = [(name, module) for name, module in modules if id(module) not in inner]
    found: dict[int, str] = {}
    for name, module in roots:
        prefix = f"{name}." if len(roots) > 1 and name else ""
        for tensor_name, tensor in module.named_tensors():
            found.setdefault(id(tensor), prefix + tensor_name)
    return nodes | found


def _below(name: str, item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, list | tuple | dict):
        yield from _items(name, item)
    elif isinstance(item, MethodType):
        yield "self", item.__self__
        yield "", item.__func__
    elif isinstance(item, FunctionType):
        if not item.__module__ or not item.__module__.startswith(f"{__package__.split('.')[0]}."):
            yield from _variables(item)
    elif hasattr(item, "__wrapped__"):
        yield "", item.__wrapped__
    elif not isinstance(item, type | ModuleType) and hasattr(item, "__dict__"):
        yield from ((f"{name}.{key}" if name else key, value) for key, value in vars(item).items())


def _variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    known = function.__globals__
    codes = [code]
    while codes:
        code = codes.pop()
        yield from ((name, known[name]) for name in code.co_names if name in known)
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]


# --- variables of a tape -------------------------------------------------------------------------


class Names:
    """What the variables of a plan's tapes are called.

    Arguments have the names of the function's parameters; parameters those that they have in their
    module; gradients are called after the parameter. Other results are numbered in the order of
    execution. Views have no name of their own: they are written as what they are views of.
    """

    def __init__(self, function: Any, arguments: Arguments, *tapes: Tape) -> None:
        self.arguments = arguments
        self._nodes = nodes_in(function, arguments.others)
        self._names: dict[Var, str] = {}
        self._taken: dict[str, Any] = {}  # what each name stands for
        self._results = 0
        self._cells: dict[int, str] = {}
        self._views = {i.out: i for tape in tapes for i in tape.instructions if i.view}
        for tape in tapes:
            self._name_all(tape)

    def _name_all(self, tape: Tape) -> None:
        inputs = [v for i in tape.instructions for v in i.inputs]
        read = set()
        for v in dict.fromkeys([*inputs, *tape.results]):
            if not v.is_result:
                if isinstance(v.origin, Cell):
                    read.add(v.origin)
                if v not in self._names:
                    self._names[v] = self._origin(v)
        for cell, written in tape.writes:
            # One that is read as well is another variable, of that name.
            if isinstance(cell, Gradient) and cell not in read and written is not None:
                self._names.setdefault(written, self.cell(cell))
        for i in tape.instructions:
            if i.out not in self._names and not i.view:
                self._results += 1
                self._names[i.out] = self._unique(f"h{self._results}", i.out)

    def _unique(self, name: str, owner: Any) -> str:
        n = 1
        text = name
        while self._taken.setdefault(text, owner) is not owner:
            n += 1
            text = f"{name}#{n}"
        return text

    def _origin(self, v: Var) -> str:
        origin = v.origin
        if isinstance(origin, Parameter):
            return self.arguments.names[origin.position]
        if isinstance(origin, Constant):
            return literal(origin.array) or self._unique("constant", v)
        assert isinstance(origin, Cell)
        return self.cell(origin)

    def node(self, node: Any) -> str:
        """Return what a tensor or Value is called."""
        key = id(node)
        if key not in self._cells:
            name = self._nodes.get(key) or node.label or "tensor"
            self._cells[key] = self._unique(name, node)
        return self._cells[key]

    def cell(self, cell: Cell) -> str:
        """Return what a place outside the function is called."""
        if isinstance(cell, ArgumentData):
            return self.arguments.names[cell.position]
        if isinstance(cell, ArgumentGradient):
            return f"{self.arguments.names[cell.position]}.grad"
        if isinstance(cell, Data):
            return self.node(cell.tensor)
        if isinstance(cell, Gradient):
            return f"{self.node(cell.tensor)}.grad"
        if id(cell) not in self._cells:
            name = f"optimizer.state[{cell.k}]" if isinstance(cell, Kept) else str(cell)
            self._cells[id(cell)] = self._unique(name, cell)
        return self._cells[id(cell)]

    def __call__(self, a: Any) -> str:
        """Return what stands for an argument of an instruction: a variable, or a number."""
        if a.__class__ is not Var:
            return repr(a)
        name = self._names.get(a)
        return name if name is not None else self.expression(self._views[a])

    def has_own(self, v: Var) -> bool:
        """Whether a variable has a name, and is not written as a view of another."""
        return v in self._names

    def assignment(self, instruction: Instruction) -> str:
        """Return an instruction as an assignment to its result; of a view, the view."""
        text = self.expression(instruction)
        return f"{self(instruction.out)} = {text}" if self.has_own(instruction.out) else text

    def expression(self, instruction: Instruction) -> str:
        """Return what computes an instruction's result."""
        i = instruction
        return expression(i.primitive, [self(a) for a in i.args], i.static)


#: Constants of so few elements are written out.
_FEW = 3


def literal(array: Any) -> str:
    """Write a constant as an expression, if a short one says it all."""
    if array.dtype.kind not in "fiub":
        return ""
    if not array.ndim:
        return str(array)
    shape = str(array.shape[0] if array.ndim == 1 else array.shape)
    first = array.flat[0].item() if array.size else 0
    if not array.size or (array == first).all():
        known = {0: "zeros", 1: "ones"}.get(first)
        return f"{known}({shape})" if known else f"full({shape}, {array.flat[0]!s})"
    if array.ndim == 1 and array.dtype.kind == "i" and (array == np.arange(array.size)).all():
        return f"arange({array.size})"
    return str(array.tolist()) if array.size <= _FEW else ""
