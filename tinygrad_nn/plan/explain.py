"""What a plan does, for readers: its tape before and after the passes, and what it rests on."""

from __future__ import annotations

import ast
import math
import os
import textwrap
from collections.abc import Callable, Iterator
from itertools import groupby
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.plan.build import Plan
from tinygrad_nn.plan.capture import Capture
from tinygrad_nn.plan.names import Arguments, Names, array_text
from tinygrad_nn.plan.tape import Instruction, Tape, Var
from tinygrad_nn.source_line import SourceLine

__all__ = ["About", "Change", "Text", "calls", "explanation", "headline", "lines_of", "names_of",
           "owner", "place"]  # fmt: skip


class Text(str):
    """Text that shows itself as it is, at a prompt and in a notebook too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Change(NamedTuple):
    """What a pass has done: the numbers of calls and of views, before and after."""

    name: str
    purpose: str
    before: tuple[int, int]
    after: tuple[int, int]

    @classmethod
    def by(cls, change: Callable[[Tape], Tape], before: Tape, after: Tape) -> Change:
        """Say what a pass has made of a tape."""
        purpose = (change.__doc__ or "").strip().partition("\n")[0].replace("``", "`")
        return cls(change.__name__, purpose, sizes(before), sizes(after))


class About(NamedTuple):
    """What is known of a plan besides its program."""

    function: Any
    arguments: Arguments
    capture: Capture
    changes: list[Change]


def sizes(tape: Tape) -> tuple[int, int]:
    """Return the numbers of instructions that compute something, and of views."""
    views = sum(i.view for i in tape.instructions)
    return len(tape.instructions) - views, views


def names_of(plan: Plan) -> Names:
    """Return the names of the variables of a plan."""
    return Names(plan.about.function, plan.about.arguments, plan.captured, plan.tape)


def headline(plan: Plan) -> str:
    """Return what a plan was captured for: ``step(x: float32 (100, 2))``."""
    name = getattr(plan.about.function, "__name__", "step")
    return f"{name}({plan.about.arguments.text})"


# --- lines of the user's program -----------------------------------------------------------------


def lines_of(tape: Tape) -> dict[Instruction, SourceLine | None]:
    """Return the line of the user's program that each instruction comes from.

    What a pass has added without a line belongs to the line that follows; a view, to the line that
    has computed what it is a view of.
    """
    lines: dict[Instruction, SourceLine | None] = {}
    following = None
    for i in reversed(tape.instructions):
        following = lines[i] = i.line or following
    made = {i.out: i for i in tape.instructions}
    for i in tape.instructions:
        if i.line is None and i.view and i.args[0] in made:
            lines[i] = lines[made[i.args[0]]]
    return lines


def by_line(tape: Tape, names: Names) -> Iterator[tuple[SourceLine | None, list[Instruction]]]:
    """Yield instructions that have names with their line, in the order of execution."""
    lines = lines_of(tape)
    shown = [i for i in tape.instructions if names.has_own(i.out)]
    for _, group in groupby(shown, key=lambda i: place(lines[i])):
        members = list(group)
        yield lines[members[0]], members


def place(line: SourceLine | None) -> str:
    """Return a line in one line: file, number and text."""
    if line is None:
        return "in no line of the program"
    return f"{os.path.basename(line.file)}:{line.line}  {line.text}".rstrip()


# --- the explanation -----------------------------------------------------------------------------

#: What stands to the right of an assignment begins in this column.
_COLUMN = 66

_WIDTH = 100

#: A tape is cut off after this many rows.
_LONGEST = 2000

#: A list is cut off after this many.
_MOST = 12


def explanation(plan: Plan, others: int) -> Text:
    """Explain a plan; `others` is the number of the function's other plans."""
    names = names_of(plan)
    parts = [
        _summary(plan, others),
        _section("As captured", plan.captured, names),
        _changes(plan.about.changes),
        _section("As replayed", plan.tape, names, _without_call(plan)),
        _left_behind(plan, names),
        _conditions(plan, names),
    ]
    return Text("\n\n".join("\n".join(rows) for rows in parts if rows))


def _summary(plan: Plan, others: int) -> list[str]:
    rows = [headline(plan)]
    numpy, python = calls(plan)
    work = f"A replay makes {_count(numpy, 'call')} of NumPy"
    if python:
        work += f" and {python} of functions in Python"
    arrays = buffers(plan)
    size = sum(a.nbytes for a in arrays)
    rows.append(f"{work}, in {_count(len(arrays), 'buffer')} of {_bytes(size)} together.")
    if others:
        rows.append(f"The function has {_count(others, 'other plan')}.")
    return rows


def _section(title: str, tape: Tape, names: Names, free: frozenset[Var] = frozenset()) -> list[str]:
    n_calls, n_views = sizes(tape)
    rows = [f"{title}: {_count(n_calls, 'instruction')}, {_count(n_views, 'view')}"]
    if free:
        rows[0] += f"; {len(free)} in place, which cost nothing"
    for line, instructions in by_line(tape, names):
        rows += ["", f"  {place(line)}"]
        for i in instructions:
            if len(rows) > _LONGEST:
                return [*rows, "    ..."]
            text = f"    {names(i.out)} = {names.expression(i)}"
            note = array_text(i.out)
            if i.out in free:
                note += ", in place"
            elif i.view:
                note += ", a view"
            rows.append(f"{text.ljust(_COLUMN)}  {note}")
    return rows


def _changes(changes: list[Change]) -> list[str]:
    if not changes:
        return []
    width = max(len(c.name) for c in changes)
    rows = [f"{'Passes'.ljust(width + 2)}  instructions  views"]
    explained = set()
    for c in changes:
        if c.before == c.after:
            continue
        numbers = [
            f"{old:>4} -> {new:<4}" if old != new else f"{new:>4}        "
            for old, new in zip(c.before, c.after, strict=True)
        ]
        head = f"  {c.name.ljust(width)}  {'  '.join(numbers)}  "
        purpose = c.purpose if c.name not in explained else ""
        explained.add(c.name)
        room = textwrap.wrap(purpose, max(_WIDTH - len(head), 40)) or [""]
        rows.append(f"{head}{room[0]}".rstrip())
        rows += [" " * len(head) + more for more in room[1:]]
    idle = dict.fromkeys(c.name for c in changes if c.name not in explained)
    return rows + _wrapped([f"nothing to do for {', '.join(idle)}"] if idle else [])


def _left_behind(plan: Plan, names: Names) -> list[str]:
    gradients = []
    rows = []
    for cell, v in plan.tape.writes:
        target = names.cell(cell)
        if v is None:
            rows.append(f"  {target} <- None")
        elif names.has_own(v) and names(v) == target:
            gradients.append(target)
        else:
            rows.append(f"  {target} <- {names(v)}")
    rows = _wrapped(gradients) + rows
    if rows:
        rows = ["Left behind", *rows, ""]
    returned = [f"{names(v)}, {array_text(v)}" for v in plan.tape.outputs]
    return [*rows, f"Returned: {'; '.join(returned) or 'no array'}"]


def _wrapped(items: list[str]) -> list[str]:
    text = ", ".join(items)
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


# --- conditions ----------------------------------------------------------------------------------


def _conditions(plan: Plan, names: Names) -> list[str]:
    """Say when the plan serves a call; otherwise another plan does, or the step is captured."""
    capture = plan.about.capture
    rows = ["Replayed while"]
    if plan.about.arguments.text:
        rows.append("  the arguments are of the kinds above")
    rows += _surroundings(capture)
    made = {i.out: i for i in plan.tape.instructions}
    for var, truth in plan.tape.assumptions:
        text = _wording(var, made, names)
        rows.append(f"  {text if truth else f'not ({text})'}")
    options: dict[int, list[str]] = {}
    for group, key, value in capture.options:
        options.setdefault(id(group), []).append(f"{key}={value!r}")
    rows += [f"  the optimizer has {', '.join(texts)}" for texts in options.values()]
    if capture.objects:
        rows.append("  the same parameters are updated")
    absent = [names.cell(cell) for cell in capture.absent]
    if absent:
        rows += _wrapped([f"there is nothing in {absent[0]}", *absent[1:]])
    return rows if len(rows) > 1 else []


def _surroundings(capture: Capture) -> list[str]:
    """Say what the function refers to besides its arguments, which must stay what it is."""
    around = capture.around
    if around is None:
        return []
    same: dict[str, None] = {}
    equal: dict[str, None] = {}
    for place in around.places:
        if isinstance(place.value, bool | int | float | complex | str | None):
            equal[f"{place.name} is {place.value!r}"] = None
        elif not isinstance(place.value, type | ModuleType | FunctionType):
            same[place.name] = None
    rows = _wrapped(_few(list(equal)))
    if same:
        first, *more = _few(list(same))
        rows += _wrapped([f"the same objects are called {first}", *more])
    if around.modules:
        rows.append("  modules keep their parts, and stay in training mode or out of it")
    return rows


def _few(texts: list[str]) -> list[str]:
    return texts if len(texts) <= _MOST else [*texts[: _MOST - 1], f"{len(texts) - _MOST + 1} more"]


def _wording(var: Var, made: dict[Var, Instruction], names: Names) -> str:
    """Write a condition; the instructions that lead to it are written into it."""
    i = made.get(var)
    if i is None:
        return names(var)
    inner = [made.get(a) if a.__class__ is Var else None for a in i.args]
    text = names.expression(i)
    for a, below in zip(i.args, inner, strict=True):
        if below is not None and not below.view and len(below.inputs) == 1:
            text = text.replace(names(a), names.expression(below))
    return text


# --- figures -------------------------------------------------------------------------------------


def calls(plan: Plan) -> tuple[int, int]:
    """Return how many calls of NumPy, and of functions written in Python, a replay makes.

    Tests of what is outside are not counted, nor what is done only if something is amiss, nor the
    copying of results; a loop over blocks counts once for each block.
    """
    numpy = python = 0
    program = "\n".join(row for row, _ in plan.rows)
    todo: list[tuple[Any, int]] = [(ast.parse(f"def run():\n{textwrap.indent(program, ' ')}"), 1)]
    while todo:
        node, times = todo.pop()
        if isinstance(node, ast.Return):
            continue
        if isinstance(node, ast.If):  # its body leaves, or takes over what was put somewhere
            node = node.test
            if isinstance(node, ast.BoolOp):
                continue
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Name):
            times *= len(plan.names[node.iter.id])
        if isinstance(node, ast.Call):
            numpy += times * is_numpy(_called(node.func, plan.names))
            python += times * isinstance(_called(node.func, plan.names), FunctionType)
        todo += [(child, times) for child in ast.iter_child_nodes(node)]
    return numpy, python


def _called(function: ast.expr, names: dict[str, Any]) -> Any:
    """Return what the program calls: something that has a name, or a method of such a thing."""
    if isinstance(function, ast.Name):
        return names.get(function.id)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        # What has no name outside the program is an array that differs from call to call.
        return getattr(names.get(function.value.id, np.empty(0)), function.attr, None)
    return None


def is_numpy(function: Any) -> bool:
    """Whether a function is one of NumPy's, or a method of one, or of an array."""
    of = getattr(function, "__self__", None)
    if isinstance(function, np.ufunc) or isinstance(of, np.ufunc | np.ndarray):
        return True
    return str(getattr(function, "__module__", "") or "").partition(".")[0] == "numpy"


def buffers(plan: Plan) -> list[Any]:
    """Return the pieces of memory that the program works in and that nothing else uses."""
    outside = {id(owner(a)) for a in plan.memory.cells.values()}
    outside |= {id(owner(plan.memory.arrays[v])) for v in plan.memory.arrays if not v.is_result}
    found: dict[int, Any] = {}
    for a in plan.names.values():
        if isinstance(a, np.ndarray):
            whole = owner(a)
            if id(whole) not in outside and whole.ndim:
                found[id(whole)] = whole
    return list(found.values())


def owner(array: Any) -> Any:
    """Return the array that the memory of another belongs to."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _without_call(plan: Plan) -> frozenset[Var]:
    """Return the results that cost nothing, since their pieces are computed where they belong."""
    written = {i for _, chain in plan.rows for i in chain}
    return frozenset(i.out for i in plan.tape.instructions if i not in written and not i.view)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _bytes(n: int) -> str:
    power = min(int(math.log10(n)) // 3, len(_UNITS) - 1) if n else 0
    return f"{n / 1000**power:.3g} {_UNITS[power]}" if power else _count(n, "byte")


_UNITS = ("bytes", "KB", "MB", "GB")
