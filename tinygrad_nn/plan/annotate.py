"""The program of a plan with notes: the user's lines, what each row computes, what names mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_nn.graph import Node
from tinygrad_nn.plan.build import Plan
from tinygrad_nn.plan.explain import headline, lines_of, names_of, owner, place
from tinygrad_nn.plan.names import Names, array_text, literal
from tinygrad_nn.plan.tape import Var

__all__ = ["annotated"]

_WORD = re.compile(r"[A-Za-z_]\w*")

#: Rows longer than this have their notes behind them, shorter ones in a column.
_LONG = 52

_WIDEST = 98


def annotated(plan: Plan) -> str:
    """Return the source of a plan with comments: the rows that do the work, as they are run."""
    names = names_of(plan)
    used = dict.fromkeys(word for row, _ in plan.rows for word in _WORD.findall(row))
    groups: dict[tuple[str, str], list[str]] = {}  # by what they are: one array may have many names
    homes: dict[int, list[Var]] = {}  # by the piece of memory that they lie in
    for v, array in plan.memory.arrays.items():
        homes.setdefault(id(owner(array)), []).append(v)
    meanings: dict[Any, tuple[str, str]] = {}  # many names stand for arrays at the same place
    for name in used:
        if name in plan.names:
            item = plan.names[name]
            key = _place(item) if isinstance(item, np.ndarray) else name
            if key not in meanings:
                meanings[key] = _meaning(plan, names, homes, item)
            kind, meaning = meanings[key]
            if meaning:
                groups.setdefault((kind, meaning), []).append(name)
    table = [(", ".join(members), *what) for what, members in groups.items()]
    widths = [max((len(row[k]) for row in table), default=0) for k in range(2)]
    rows = [f"# {headline(plan)}", "#"]
    rows += [
        f"# {members.ljust(widths[0])}  {kind.ljust(widths[1])}  {meaning}".rstrip()
        for members, kind, meaning in table
    ]
    arguments = ", ".join(f"x{k}" for k in range(len(plan.about.arguments.names)))
    return "\n".join([*rows, "", f"def replay({arguments}):", *_body(plan, names), ""])


def _body(plan: Plan, names: Names) -> Iterator[str]:
    lines = lines_of(plan.tape)
    column = max((len(row) for row, chain in plan.rows if chain and len(row) <= _LONG), default=0)
    above = ""
    before: Any = None
    yield "    # what is outside"
    for row, chain in plan.rows:
        line = place(lines.get(chain[0])) if chain else ""
        if line and line != above:
            yield ""
            yield f"    # {line}"
            above = line
        notes = [names.assignment(i) for i in chain if chain is not before]
        before = chain
        if len(notes) == 1:
            yield f"    {row.ljust(column)}  # {notes[0]}"
        else:
            yield from (f"    # {note}, block by block" for note in notes)
            yield from _broken(f"    {row}")


def _broken(row: str) -> Iterator[str]:
    """Yield a row, a long condition in several."""
    head, condition, tail = row[:7], row[7:].removesuffix(": return MISS"), ": return MISS"
    if len(row) <= _WIDEST or not row.startswith("    if ") or not row.endswith(tail):
        yield row
        return
    yield f"{head}("
    line = "       "
    for part in re.split(r" (?=or )", condition):
        if len(line) + len(part) > _WIDEST:
            yield line
            line = "       "
        line += f" {part}"
    yield line
    yield f"    ){tail}"


Homes = dict[int, list[Var]]


def _meaning(plan: Plan, names: Names, homes: Homes, item: Any) -> tuple[str, str]:
    """Return the kind of an object that the program refers to, and what it is."""
    if isinstance(item, np.ndarray):
        return array_text(item), _array_meaning(plan, names, homes, item)
    array = getattr(item, "__self__", None)
    if isinstance(array, np.ndarray):
        meaning = _array_meaning(plan, names, homes, array)
        return array_text(array), f"the method {item.__name__} of {meaning}"
    if isinstance(item, Node):
        return type(item).__name__, names.node(item)
    return "", ""


def _array_meaning(plan: Plan, names: Names, homes: Homes, array: Any) -> str:
    """Say which variables an array holds: at the same place, transposed, or somewhere inside."""
    here = _place(array)
    whole: list[Var] = []
    turned: list[Var] = []
    inside: list[Var] = []
    for v in homes.get(id(owner(array)), ()):
        other = plan.memory.arrays[v]
        if _place(other) == here:
            whole.append(v)
        elif _place(other.T) == here:
            turned.append(v)
        elif v.is_result and names.has_own(v) and np.may_share_memory(other, array):
            inside.append(v)
    if whole:
        named = [v for v in whole if names.has_own(v)]
        return _listed([names(v) for v in named or whole])
    if turned:
        return _listed([f"{names(v)}.T" for v in turned])
    if inside:
        return f"in the memory of {_listed([names(v) for v in inside])}"
    return literal(array) or "to work in"


def _place(array: Any) -> Any:
    """Return where an array lies and how: equal for arrays that are always the same numbers."""
    address = array.__array_interface__["data"][0]
    return address, array.shape, array.strides, array.dtype


def _listed(texts: list[str]) -> str:
    texts = list(dict.fromkeys(texts))
    shown = ", ".join(texts[:3])
    return f"{shown} and {len(texts) - 3} more, in turn" if len(texts) > 3 else shown
