"""From a tape to a plan: arrays for its variables, and Python source that fills them."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.graph import Pending, next_serial
from tinygrad_nn.plan.blocks import Chain, blocks, chains
from tinygrad_nn.plan.cells import (
    ArgumentData,
    ArgumentGradient,
    Data,
    Gradient,
    Kept,
    Option,
    Variable,
)
from tinygrad_nn.plan.draws import is_generator
from tinygrad_nn.plan.emit import condition, lines
from tinygrad_nn.plan.memory import Memory, same_place
from tinygrad_nn.plan.reuse import arrange
from tinygrad_nn.plan.run import Captured
from tinygrad_nn.plan.scalars.lending import Lent
from tinygrad_nn.plan.state import differs
from tinygrad_nn.plan.tape import Cell, Instruction, Parameter, Tape, Var
from tinygrad_nn.tensor import Tensor

__all__ = ["MISS", "Plan", "build"]


class _Miss:
    def __repr__(self) -> str:
        return "MISS"


#: What a replay returns where it does not serve the call.
MISS = _Miss()


class Plan:
    """A step that has been captured, and the program that does it again.

    Attributes
    ----------
    captured, tape : Tape
        What the step did, before and after the passes.
    source : str
        The program.
    call : callable
        Takes the arguments of the compiled function; MISS where they are of another kind.
    run : callable
        Takes the leaves of the arguments, whose kinds are known to be right.
    rows : list of (str, Chain)
        The rows of the program, each with the instructions that it is there for.
    memory : Memory
        The arrays of the program.
    about : About
        What a reader may want to know of the capture; see `explain`.
    around : Surroundings
        What the function refers to, as it was.
    """

    def __init__(
        self,
        captured: Tape,
        tape: Tape,
        source: str,
        names: dict[str, Any],
        rows: list[tuple[str, Chain]],
        memory: Memory,
    ) -> None:
        self.captured = captured
        self.tape = tape
        self.source = source
        self.names = names
        self.rows = rows
        self.memory = memory
        self.about: Any = None
        self.around: Any = None
        code = compile(source, f"<plan {id(self):x}>", "exec")
        exec(code, names)
        self.call: Callable[..., Any] = names["call"]
        self.run: Callable[..., Any] = names["run"]
        self.n_args = names["n_args"]
        self._file = code.co_filename
        marks = [n for n, row in enumerate(source.splitlines(), 1) if row.strip() == _WRITES]
        self._first_write = dict(zip(("call", "run"), marks, strict=True))

    def has_written(self, error: BaseException) -> bool:
        """Whether an error came after the replay had begun to change what is outside."""
        frames = traceback.walk_tb(error.__traceback__)
        return any(
            line > self._first_write[frame.f_code.co_name]
            for frame, line in frames
            if frame.f_code.co_filename == self._file
        )

    def is_condition(self, error: BaseException) -> bool:
        """Whether an error is that of a condition of the plan.

        What it looks at is not there; or a result, of a draw for instance, has another shape.
        """
        if isinstance(error, ShapeError):
            return True
        lines = [
            line
            for frame, line in traceback.walk_tb(error.__traceback__)
            if frame.f_code.co_filename == self._file
        ]
        if not lines or not isinstance(error, _NOT_THERE):
            return False
        return self.source.splitlines()[lines[-1] - 1].endswith("return MISS")


#: What Python raises where a name, an item or an attribute is gone, or of another kind.
_NOT_THERE = (LookupError, AttributeError, TypeError, ValueError)

_WRITES = "# what the step leaves behind"


class _Program:
    """The source under construction; see `emit.Names`."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.names: dict[str, Any] = {"MISS": MISS}
        self.by_id: dict[int, str] = {}
        self.known: dict[Any, Any] = {}
        self.local: dict[Var, str] = {}  # variables that differ from call to call

    def __call__(self, item: Any, prefix: str = "") -> str:
        name = self.by_id.get(id(item))
        if name is None:
            prefix = prefix or getattr(item, "__name__", "o")
            name = prefix if prefix not in self.names and prefix.isidentifier() else ""
            if not name or prefix in ("k", "s", "v", "c", "b", "o", "p"):
                name = f"{prefix}{len(self.names)}"
            self.names[name] = item
            self.by_id[id(item)] = name
        return name

    def array(self, v: Var) -> Any:
        return self.memory.arrays.get(v)

    def of(self, a: Any) -> str:
        if a.__class__ is Var:
            return self.local.get(a) or self(
                self.memory.arrays[a], _PREFIX.get(type(a.origin), "b")
            )
        plain = type(a) in (int, bool) or (type(a) is float and math.isfinite(a))
        return repr(a) if plain else self(a, "k")

    def shared(self, key: Any, shape: Any, dtype: Any) -> tuple[Any, bool]:
        if key in self.known:
            return self.known[key], False
        self.known[key] = np.empty(shape, dtype)
        return self.known[key], True

    def scratch(self, like: Any, dtype: Any, k: int = 0) -> Any:
        return self.memory.scratch(like, dtype, k)


_PREFIX = {Data: "p", Kept: "state", Option: "option"}


def build(captured: Captured, tape: Tape, leaves: list[Any], flat: bool) -> Plan:
    """Lay out the memory of a tape and write the program that replays it.

    Parameters
    ----------
    captured : Captured
        What the capture found out.
    tape : Tape
        Its tape after the passes.
    leaves : list
        The arrays and nodes among the arguments.
    flat : bool
        Whether each argument is a leaf.
    """
    memory = arrange(tape)
    p = _Program(memory)
    for k, leaf in enumerate(leaves):
        p.names[f"K{k}"] = leaf.__class__
    body: list[str] = []
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            body.append(f"a{k} = x{k}._value")
        else:
            p.names.setdefault("ndarray", np.ndarray)
    for v in memory.parameters:
        assert isinstance(v.origin, Parameter)
        k = v.origin.position
        p.local[v] = f"a{k}" if isinstance(leaves[k], Tensor) else f"x{k}"
    body += _guards_of_memory(p, captured, tape)
    body += _entry(p, captured, tape)
    assumed = {a.var: a.truth for a in tape.assumptions}
    rows: list[tuple[str, Chain]] = []
    for chain in chains(memory.tape, memory.arrays):
        if _WRITES not in body and any(i in memory.writers for i in chain):
            body.append(_WRITES)
        rows += [(row, []) for row in body[len(rows) :]]
        if len(chain) > 1:
            body += _in_blocks(p, chain, memory)
        else:
            (i,) = chain
            asked = condition(i, p) if i.out in assumed else None
            if asked is None:
                body += _instruction(p, i)
            if i.out in assumed:
                asked = f"({asked})" if asked else p.of(i.out)
                body.append(f"if {'not ' if assumed[i.out] else ''}{asked}: return MISS")
        rows += [(row, chain) for row in body[len(rows) :]]
    if _WRITES not in body:
        body.append(_WRITES)
    body += _writes(p, tape)
    body.append(f"return {_returned(p, captured, tape)}")
    xs = [f"x{k}" for k in range(len(leaves))]
    guard = _kinds(p, leaves) if flat else "True"
    text = "\n".join("    " + row for row in body)
    unpacked = f"    {', '.join(xs)}, = leaves\n" if xs else ""
    source = f"def call({', '.join(xs)}):\n    if {guard}: return MISS\n{text}\n"
    source += f"\n\ndef run(leaves):\n{unpacked}{text}\n"
    p.names["n_args"] = len(leaves) if flat else -1
    rows += [(row, []) for row in body[len(rows) :]]
    return Plan(captured.tape, tape, source, p.names, rows, memory)


def _kinds(p: _Program, leaves: list[Any]) -> str:
    """Return the condition that arguments are not of the kinds that the plan is for."""
    conditions = []
    for k, leaf in enumerate(leaves):
        if is_generator(leaf):
            continue  # which must be the very same object
        conditions.append(f"x{k}.__class__ is not K{k}")
        if not isinstance(leaf, Tensor | np.ndarray):
            continue
        shape = p.names.setdefault(f"shape{k}", leaf.shape)
        dtype = p.names.setdefault(f"dtype{k}", leaf.dtype)
        assert shape is not dtype
        conditions += [f"x{k}.shape != shape{k}", f"x{k}.dtype is not dtype{k}"]
        if isinstance(leaf, Tensor):
            conditions.append(f"x{k}.requires_grad is not {leaf.requires_grad}")
            conditions.append(f"x{k}.primitive is not None")
    return " or ".join(conditions) or "False"


def _guards(p: _Program, captured: Captured) -> list[str]:
    """Return the rows that tell whether what the function refers to is what it was."""
    capture = captured.capture
    conditions = capture.around.conditions(p, set(capture.tensors)) if capture.around else []
    conditions += [f"x{k} is not {p(item, 'o')}" for k, item in capture.pinned.items()]
    conditions += [f"x{k} is {'not ' if same else ''}x{j}" for j, k, same in capture.pairs]
    outside = frozenset(capture.tensors) - set(capture.positions)
    if outside and capture.positions:
        ids = p(outside, "outside")
        conditions += [f"id(x{k}) in {ids}" for k in capture.positions.values()]
    conditions += [f"len({p(o, 'o')}) != {length}" for o, length in capture.lengths.values()]
    rows = [f"if {' or '.join(conditions)}: return MISS"] if conditions else []
    for module, training in capture.around.modes if capture.around else ():
        rows.append(f"{p(module, 'module')}.training = {training}")
    return rows


def _guards_of_memory(p: _Program, captured: Captured, tape: Tape) -> list[str]:
    """Return the rows that tell whether an argument is memory that the step writes to."""
    written = [
        cell.get()
        for cell, var in tape.writes
        if var is not None and isinstance(cell, Data) and not isinstance(cell, ArgumentData)
    ]
    owners = {id(a): a for a in (a if a.base is None else a.base for a in written)}
    rows = []
    for v in p.memory.parameters if owners else ():
        if isinstance(v.origin, Parameter) and v.origin.position not in captured.capture.late:
            continue  # read before anything is written
        x = p.local[v]
        if len(owners) == 1:
            (owner,) = owners.values()
            found = f"({x}.base is {p(owner, 'memory')} or {x} is {p(owner, 'memory')})"
        else:
            memory = p(frozenset(owners), "memory")
            found = f"(id({x}.base) in {memory} or id({x}) in {memory})"
        overlaps = p(partial(_overlaps, written), "overlaps")
        rows.append(f"if {found} and {overlaps}({x}): return MISS")
    return rows


def _overlaps(arrays: list[Any], x: Any) -> bool:
    return any(np.may_share_memory(x, a) for a in arrays)


def _entry(p: _Program, captured: Captured, tape: Tape) -> list[str]:
    """Return the rows that see to it that everything outside is where the program expects it."""
    capture = captured.capture
    rows = _guards(p, captured)
    for owner, key, item in capture.objects:
        was, restore = p(item, "o"), p(capture.restores[id(owner), key], "restore")
        there = f"{p(owner, 'o')}[{key!r}] is {was}"
        rows.append(f"if not ({there} or {restore}({was})): return MISS")
    for group, key, value in capture.options:
        now, was = f"{p(group, 'group')}[{key!r}]", p(value, "was")
        rows.append(f"if {now} is not {was} and {p(differs)}({now}, {was}): return MISS")
    for cell in capture.absent:
        there = f"{_place(p, cell)} is not None"
        if isinstance(cell, Kept):
            there = f"len({p(cell.part, 'part')}.state) > {cell.k}"
        rows.append(f"if {there}: return MISS")
    for cell, array in p.memory.cells.items():
        name = p(array, _PREFIX.get(type(cell), "b"))
        if isinstance(cell, ArgumentData | Variable):
            continue  # read where it is
        if isinstance(cell, Lent):
            lender = p(cell.lender, "lender")
            rows.append(f"if not {lender}.is_lent: {lender}.borrow()")
            continue
        if isinstance(cell, Option):
            rows.append(f"{name}[...] = {p(cell.group, 'group')}[{cell.key!r}]")
        elif isinstance(cell, Gradient):
            rows.append(f"if {_place(p, cell)} is None: return MISS")
            rows.append(f"{p(np.copyto)}({name}, {_place(p, cell, read=True)})")
        elif isinstance(cell, Data | Kept):
            otherwise = "return MISS"
            if array.flags.writeable:
                otherwise = f"{p(_adopt)}({p(cell, 'cell')}, {name})"
            rows.append(f"if {_place(p, cell)} is not {name}: {otherwise}")
        else:
            rows.append(f"{p(np.copyto)}({name}, {p(cell, 'cell')}.get())")
    return rows


def _place(p: _Program, cell: Cell, read: bool = False) -> str:
    """Return the expression for what is in a cell."""
    if isinstance(cell, ArgumentGradient):
        return f"x{cell.position}.grad" if read else f"x{cell.position}._grad"
    if isinstance(cell, Gradient):
        return f"{p(cell.tensor, 'p')}.grad" if read else f"{p(cell.tensor, 'p')}._grad"
    if isinstance(cell, Data):
        return f"{p(cell.tensor, 'p')}._value"
    assert isinstance(cell, Kept)
    return f"{p(cell.part, 'part')}.state[{cell.k}]"


def _adopt(cell: Cell, array: Any) -> None:
    """Take over what was put into a cell from outside, in the array that the program uses."""
    np.copyto(array, cell.get())
    cell.set(array)


def _instruction(p: _Program, i: Instruction) -> list[str]:
    if i.out in p.memory.copies:
        return [
            f"{p(np.copyto)}({p(target, 'b')}, {p.of(v)})" for target, v in p.memory.copies[i.out]
        ]
    if p.array(i.out) is not None:
        if i.view:
            return []  # it was made when memory was laid out
        rows = lines(i, p.of(i.out), p)
        if not i.errors:
            return rows
        return [f"with {p(np.errstate)}(**{p(i.errors, 'errors')}):", *(f"    {r}" for r in rows)]
    args = ", ".join(p.of(a) for a in i.args)
    static = "".join(f", {key}={p(value, 's')}" for key, value in i.static.items())
    name = p.local[i.out] = f"t{len(p.local)}"
    return [f"{name} = {p(i.primitive.forward, i.primitive.name)}({args}{static})"]


def _in_blocks(p: _Program, chain: Chain, memory: Memory) -> list[str]:
    """Return the loop that does a chain of instructions block by block."""
    inside = set(chain)
    kept = {v for i in memory.tape.instructions if i not in inside for v in i.inputs}
    kept |= {memory.base(v) for v in kept | set(memory.tape.results)} | set(memory.in_place)
    variables, rows = blocks(chain, memory.arrays, kept)
    before = p.local
    p.local = before | {v: f"q{k}" for k, v in enumerate(variables)}
    body = [row for i in chain for row in lines(i, p.of(i.out), p)]
    names = ", ".join(p.local[v] for v in variables)
    p.local = before
    return [f"for {names} in {p(rows, 'blocks')}:", *(f"    {row}" for row in body)]


def _writes(p: _Program, tape: Tape) -> list[str]:
    rows = []
    changed = []
    committed = {base for base, _ in p.memory.commits}
    for cell, var in tape.writes:
        if isinstance(cell, Gradient):
            target = _place(p, cell)
            if var is None:
                rows.append(f"{target} = None")
            elif isinstance(cell, ArgumentGradient) or p.array(var) is None:
                rows.append(f"{target} = {p.of(var)}.copy()")
            else:
                rows.append(f"{target} = {p(Pending(p.array(var)), 'pending')}")
            continue
        assert var is not None
        if isinstance(cell, ArgumentData):
            rows.append(f"{p(np.copyto)}(x{cell.position}._value, {p.of(var)})")
            changed.append(f"x{cell.position}")
        elif cell in p.memory.cells or isinstance(cell, Data | Lent):
            array = p.memory.cells.get(cell)
            array = cell.get() if array is None else array
            known = p.array(var) is not None
            if not (known and (p.memory.base(var) in committed or same_place(array, p.array(var)))):
                rows.append(f"{p(np.copyto)}({p(array, 'b')}, {p.of(var)})")
            if isinstance(cell, Data):
                changed.append(p(cell.tensor, "p"))
        else:
            rows.append(f"{p(cell, 'cell')}.set({p.of(var)}.copy())")
    for base, target in p.memory.commits:
        rows.append(f"{p(np.copyto)}({p(target, 'b')}, {p.of(base)})")
    if changed:
        rows.append(f"{' = '.join(f'{name}._changed' for name in changed)} = {p(next_serial)}()")
    return rows


def _returned(p: _Program, captured: Captured, tape: Tape) -> str:
    """Return the expression for the result of the function."""
    values = []
    for output, var in zip(captured.outputs, tape.outputs, strict=True):
        values.append(f"{p(output.make, output.make.__name__.lstrip('_'))}({p.of(var)}.copy())")
    if captured.rebuild is next:
        return values[0]
    results = f"iter(({''.join(f'{v}, ' for v in values)}))"
    return f"{p(captured.rebuild, 'rebuild')}({results})"
