"""Compute at once what is the same at every call, and drop what changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_nn.plan.tape import Constant, Instruction, Tape, Var
from tinygrad_nn.rules import TABLE

__all__ = ["constants_folded"]

# Operations that a number leaves as it is: the number, and where it may stand.
_NEUTRAL = {
    TABLE["multiply"]: (1.0, (0, 1)),
    TABLE["divide"]: (1.0, (1,)),
    TABLE["add"]: (0.0, (0, 1)),
    TABLE["subtract"]: (0.0, (1,)),
    TABLE["power"]: (1.0, (1,)),
}


def constants_folded(tape: Tape) -> Tape:
    """Replace results of constants by constants, and drop operations that change nothing.

    Constant arrays of equal elements become numbers where these broadcast to the same result.
    """
    new: dict[Var, Var] = {}
    kept: list[Instruction] = []
    for instruction in tape.instructions:
        args = [_latest(a, new) for a in instruction.args]
        if instruction.primitive.elementwise:
            args = _as_numbers(args, instruction.out)
        i = instruction.with_args(args)
        same = _unchanged(i)
        if same is not None:
            new[i.out] = same
        elif all(_number(a) is not None for a in i.args) and _is_fixed(i):
            result = i.primitive.forward(*map(_number, i.args), **i.static)
            array = np.array(result, i.out.dtype)
            new[i.out] = Var(array, Constant(array))
        else:
            kept.append(i)
    return tape.with_instructions(kept).substituted(new)


def _latest(a: Any, new: dict[Var, Var]) -> Any:
    while a.__class__ is Var and a in new:
        a = new[a]
    return a


def _number(a: Any) -> Any:
    """Return what a constant argument holds, None for one that may differ."""
    if a.__class__ is not Var:
        return a
    return a.origin.array if isinstance(a.origin, Constant) else None


def _as_numbers(args: list[Any], out: Var) -> list[Any]:
    """Replace constant arrays of equal elements by 0-d arrays where the result stays the same."""
    for k, a in enumerate(args):
        array = _number(a) if a.__class__ is Var else None
        if array is None or array.ndim == 0 or array.size == 0 or array.dtype.kind not in "fiu":
            continue
        others = [b.shape for b in args if b.__class__ is Var and b is not a]
        first = array.flat[0]
        fits = np.broadcast_shapes((), *others) == out.shape
        if fits and (array == first).all() and (first != 0 or not np.signbit(array).any()):
            number = np.array(first, array.dtype)
            args = [*args[:k], Var(number, Constant(number)), *args[k + 1 :]]
    return args


def _unchanged(i: Instruction) -> Any:
    """Return the argument that an instruction returns as it is, None if there is none."""
    neutral, places = _NEUTRAL.get(i.primitive, (None, ()))
    for k in places:
        number = _number(i.args[k])
        other = i.args[1 - k]
        if (
            number is not None
            and np.ndim(number) == 0
            and number == neutral
            and not (neutral == 0.0 and np.signbit(number) != (i.primitive.name == "add"))
            and other.__class__ is Var
            and (other.shape, other.dtype) == (i.out.shape, i.out.dtype)
        ):
            return other
    if i.primitive.name == "sum" and i.static.get("axis") == ():
        return i.args[0]
    if i.primitive.name in ("astype", "broadcast_to", "copy", "reshape"):
        x = i.args[0]
        if (x.shape, x.dtype) == (i.out.shape, i.out.dtype):
            return x
    return None


def _is_fixed(i: Instruction) -> bool:
    """Whether equal numbers give equal results: what a user has written may draw, or count."""
    return i.primitive.trusted and not i.has_effect
