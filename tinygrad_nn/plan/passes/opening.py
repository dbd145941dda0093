"""Open primitives up: what their forwards do, in instructions of its own."""

from __future__ import annotations

from tinygrad_nn.errors import TinygradError
from tinygrad_nn.graph import set_capture
from tinygrad_nn.plan.capture import Capture
from tinygrad_nn.plan.emit import EMITTERS
from tinygrad_nn.plan.tape import Instruction, Tape, Var
from tinygrad_nn.traced import Traced

__all__ = ["opened"]


def opened(tape: Tape) -> Tape:
    """Replace primitives by what their forwards consist of, down to single calls of NumPy.

    The forward of a primitive is a function of arrays, so it is run on what stands for arrays, as
    a captured step is. What cannot be (a forward that looks at its numbers, or writes into work
    arrays) stays one call.
    """
    found: list[Instruction] = []
    new: dict[Var, Var] = {}
    stack = tape.instructions[::-1]
    while stack:
        instruction = stack.pop()
        inside = None if instruction.view else _inside(instruction)
        if inside is None:
            found.append(instruction)
            continue
        parts, result = inside
        new[instruction.out] = result
        stack.extend(parts[::-1])
    return tape.with_instructions(found).substituted(new)


def _inside(instruction: Instruction) -> tuple[list[Instruction], Var] | None:
    """Return the instructions that a primitive's forward consists of, and the result's variable."""
    primitive = instruction.primitive
    if not primitive.is_python or primitive.name in EMITTERS or instruction.has_effect:
        return None
    capture = Capture()
    args = [capture.stand_in(a) if a.__class__ is Var else a for a in instruction.args]
    before = set_capture(capture)
    try:
        result = instruction.primitive.forward(*args, **instruction.static)
    except (TinygradError, TypeError, ValueError, AttributeError):
        return None
    finally:
        set_capture(before)
    parts = capture.instructions
    if type(result) is not Traced or result.variable.dtype != instruction.out.dtype:
        return None
    if any(part.primitive is instruction.primitive for part in parts) or capture.assumptions:
        return None
    for part in parts:
        part.line = instruction.line
        part.errors = part.errors or instruction.errors
    return parts, result.variable
