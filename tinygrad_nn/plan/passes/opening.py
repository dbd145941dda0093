"""Open primitives up: what their forwards do, in instructions of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_nn.errors import TinygradError
from tinygrad_nn.graph import set_capture
from tinygrad_nn.plan.capture import Capture
from tinygrad_nn.plan.emit import EMITTERS
from tinygrad_nn.plan.tape import Instruction, Tape, Var
from tinygrad_nn.rules import TABLE
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
    if not (primitive.trusted and primitive.is_python) or instruction.has_effect:
        return None  # what a user has written may do more than NumPy: it is called
    if primitive.name in EMITTERS:
        return None
    capture = Capture()
    args = [capture.stand_in(a) if a.__class__ is Var else a for a in instruction.args]
    before = set_capture(capture)
    try:
        forward = FORWARDS.get(primitive.name, primitive.forward)
        result = forward(*args, **instruction.static)
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


# --- forwards to open where NumPy does in one call what needs memory -----------------------------


def _var(x: Any, *, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    if x.dtype.char not in "fd":
        raise TypeError("of other precisions, NumPy's own sum is another")
    centred = x - np.mean(x, axis=axis, keepdims=True)
    total = np.sum(centred * centred, axis=axis, keepdims=keepdims)
    count = x.size // max(total.size, 1) - ddof
    if count <= 0:
        raise ValueError("NumPy warns of it")
    return total / x.dtype.type(count)


def _std(x: Any, **static: Any) -> Any:
    return np.sqrt(_var(x, **static))


def _mean(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    if x.dtype.kind not in "biu" or not x.size:
        return TABLE["mean"].forward(x, axis=axis, keepdims=keepdims)
    total = np.sum(x.astype(float), axis=axis, keepdims=keepdims)
    return total / (x.size / total.size)


def _norm(x: Any, *, ord: float = 2, axis: Any = None, keepdims: bool = False) -> Any:
    if ord != 2 or x.dtype.char not in "fd":
        raise TypeError("other norms")
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


def _roll(x: Any, *, shift: Any, axis: Any = None) -> Any:
    if not isinstance(shift, int) or not isinstance(axis, int) or not x.shape[axis]:
        raise TypeError("along several axes at once")
    k = -shift % x.shape[axis]
    if not k:
        raise ValueError("nothing moves")
    before = (slice(None),) * (axis % x.ndim)
    return np.concatenate([x[(*before, slice(k, None))], x[(*before, slice(k))]], axis=axis)


#: By the primitive's name: what to run in place of its forward.
FORWARDS: dict[str, Callable[..., Any]] = {
    "mean": _mean,
    "var": _var,
    "std": _std,
    "vector_norm": _norm,
    "roll": _roll,
}
