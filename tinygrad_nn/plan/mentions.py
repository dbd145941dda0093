"""What a code mentions: the names that it may reach something by."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from typing import Any

__all__ = [
    "COMPUTED",
    "computes_names", "globals_in", "imports_in", "names_in", "operations", "with_inner",
]  # fmt: skip

#: More than a text is loaded for: the name of an attribute has been.
_NAMED = 1000
#: Names that tell that attributes are asked for whose names are not in the code.
COMPUTED = frozenset({"vars", "__dict__", "attrgetter", "asdict", "astuple", "eval", "exec"})


def with_inner(codes: Any) -> Iterator[types.CodeType]:
    """Yield codes and those of the functions and classes that are made inside them."""
    stack = list(codes)[::-1]
    while stack:
        code = stack.pop()
        yield code
        stack += [c for c in code.co_consts if isinstance(c, types.CodeType)]


@functools.lru_cache(1024)
def names_in(code: types.CodeType) -> frozenset[str]:
    """Return the names of attributes in a code and those inside it, and texts that may be some."""
    found: set[str] = set()
    for c in with_inner([code]):
        found.update(c.co_names)
        found.update(s for s in c.co_consts if isinstance(s, str) and s.isidentifier())
    return frozenset(found)


#: What the code of a module or a class does to names.
_NAME_OPERATIONS = frozenset({"LOAD_NAME", "STORE_NAME", "DELETE_NAME"})


@functools.lru_cache(1024)
def globals_in(code: types.CodeType) -> tuple[str, ...]:
    """Return the global names that a code uses."""
    found: dict[str, None] = {}
    for c in with_inner([code]):
        for instruction in dis.get_instructions(c):
            if "GLOBAL" in instruction.opname or instruction.opname in _NAME_OPERATIONS:
                found[str(instruction.argval)] = None
    return tuple(found)


@functools.lru_cache(1024)
def imports_in(code: types.CodeType, package: str) -> tuple[str, ...]:
    """Return the modules that a code imports, each with those that it lies in."""
    found: dict[str, None] = {}
    for c in with_inner([code]):
        level = 0
        for instruction in dis.get_instructions(c):
            if instruction.opname == "IMPORT_NAME":
                name = str(instruction.argval)
                if level:
                    name = ".".join([*package.split(".")[: 1 - level or None], name]).strip(".")
                parts = name.split(".")
                found.update({".".join(parts[:k]): None for k in range(1, len(parts) + 1)})
            elif instruction.opname.startswith("LOAD_") and isinstance(instruction.argval, int):
                level = instruction.argval
    return tuple(found)


@functools.lru_cache(1024)
def computes_names(code: types.CodeType) -> bool:
    """Whether a code asks for attributes whose names are not in it."""
    for c in with_inner([code]):
        if not COMPUTED.isdisjoint(c.co_names):
            return True
        loads = None  # since `getattr`: the object comes first, then a text
        for instruction in dis.get_instructions(c):
            name = instruction.opname
            if instruction.argval in ("getattr", "hasattr", "setattr"):
                loads = 0
            elif loads is None or not name.startswith("LOAD_"):
                is_call = name.startswith(("PRECALL", "CALL"))
                if loads is not None and (
                    name.startswith(("BINARY_OP", "BUILD", "FORMAT"))
                    or (is_call and loads < _NAMED)
                ):
                    return True
                loads = None if is_call else loads
            elif name == "LOAD_CONST" and isinstance(instruction.argval, str) and loads == 1:
                loads = _NAMED
            elif name not in ("LOAD_ATTR", "LOAD_METHOD"):
                loads += 1 + name.count("_LOAD_")
    return False


def operations(code: types.CodeType) -> Iterator[tuple[int, bool, Any]]:
    """Yield the line, whether it stores, and the name of each instruction that has one."""
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        positions = instruction.positions
        line = (positions and positions.lineno) or line
        if instruction.opname == "STORE_SUBSCR":
            yield line, True, ""
        elif isinstance(instruction.argval, str):
            yield line, instruction.opname.startswith("STORE"), instruction.argval
