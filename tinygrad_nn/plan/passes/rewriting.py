"""Replace what is written one way by what costs less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_nn.plan.tape import Constant, Instruction, Tape, Var
from tinygrad_nn.rules import TABLE

__all__ = ["rewritten"]

Made = dict[Var, Instruction]


def rewritten(tape: Tape) -> Tape:
    """Apply the rewrites of `REWRITES`, each to the instructions of its primitive."""
    made: Made = {}
    new: dict[Var, Var] = {}
    kept: list[Instruction] = []
    for instruction in tape.instructions:
        i = instruction.with_args(
            new.get(a, a) if a.__class__ is Var else a for a in instruction.args
        )
        rewrite = REWRITES.get(i.primitive.name)
        found = rewrite(i, made) if rewrite else None
        parts, result = found if found is not None else ([i], i.out)
        if result is not i.out:
            new[i.out] = result
        for part in parts:
            made[part.out] = part
            kept.append(part)
    return tape.with_instructions(kept).substituted(new)


def _number(a: Any) -> Any:
    """Return a constant number, None for anything else."""
    if a.__class__ is Var:
        a = a.origin.array if isinstance(a.origin, Constant) else None
    return a if a is not None and np.ndim(a) == 0 else None


def _by(made: Made, a: Any, name: str) -> Instruction | None:
    """Return the instruction that made `a`, if it is of the primitive `name`."""
    i = made.get(a) if a.__class__ is Var else None
    return i if i is not None and i.primitive.name == name else None


def _scaled_one_hot(i: Instruction, made: Made) -> Any:
    """Replace number * one_hot(value) by one_hot(number * value)."""
    for number, other in (i.args, i.args[::-1]):
        factor, hot = _number(number), _by(made, other, "one_hot")
        if factor is not None and hot is not None and hot.out.dtype == i.out.dtype:
            value = float(factor) * hot.static.get("value", 1.0)
            return [replace(hot, static=hot.static | {"value": value}, out=i.out)], i.out
    return None


def _scaled(i: Instruction, made: Made) -> Any:
    return _scaled_one_hot(i, made) or _scaled_sum(i, made)


def _scaled_sum(i: Instruction, made: Made) -> Any:
    """Replace number * sum(x) by x @ [number, number, ...], for a vector of floats."""
    for number, other in (i.args, i.args[::-1]):
        factor, total = _number(number), _by(made, other, "sum")
        x = total.args[0] if total is not None else None
        if factor is None or x is None or len(x.shape) != 1 or not 0 < x.shape[0] <= _SHORT:
            continue
        if x.dtype == i.out.dtype and x.dtype.char in "fd" and not i.out.shape:
            array = np.full(x.shape, factor, x.dtype)
            weights = Var(array, Constant(array))
            return [replace(i, primitive=TABLE["matmul"], args=(x, weights))], i.out
    return None


# Of longer vectors, the pairwise sum is more accurate.
_SHORT = 1024


def _sum_of_one_hot(i: Instruction, made: Made) -> Any:
    """Replace one_hot(value) @ ones by the value, for each row."""
    hot = _by(made, i.args[0], "one_hot")
    ones = i.args[1]
    if hot is None or not isinstance(ones.origin, Constant):
        return None
    if ones.shape != (hot.static["length"],) or not (ones.origin.array == 1).all():
        return None
    array = np.full(i.out.shape, hot.static.get("value", 1.0), i.out.dtype)
    return [], Var(array, Constant(array))


def _product(i: Instruction, made: Made) -> Any:
    return _sum_of_one_hot(i, made) or _product_with_number(i, made)


def _product_with_number(i: Instruction, made: Made) -> Any:
    """Replace [[number]] @ row by number * row, and so for a column."""
    for k, (matrix, other) in enumerate((i.args, i.args[::-1])):
        if matrix.__class__ is not Var or not isinstance(matrix.origin, Constant):
            continue
        if matrix.shape != (1, 1) or other.__class__ is not Var or len(other.shape) != 2:
            continue
        if other.shape[k] == 1 and (other.shape, other.dtype) == (i.out.shape, i.out.dtype):
            number = matrix.origin.array.reshape(())
            args = (other, Var(number, Constant(number)))
            return [replace(i, primitive=TABLE["multiply"], args=args)], i.out
    return None


def _element(i: Instruction, made: Made) -> Any:
    """Replace x[k] by x[k : k + 1].reshape(()), a view."""
    template = i.static["template"]
    x = i.args[0]
    if i.view or len(i.args) > 1 or i.out.shape or x.__class__ is not Var:
        return None
    if len(template) != len(x.shape) or not all(type(t) is int for t in template):
        return None
    slices = tuple(slice(k % n, k % n + 1) for k, n in zip(template, x.shape, strict=True))
    part = Var(x.example[slices])
    first = replace(i, static={"template": slices}, out=part, view=True)
    static = {"shape": ()}
    out = Var(part.example.reshape(()))
    last = replace(i, primitive=TABLE["reshape"], args=(part,), static=static, out=out, view=True)
    return [first, last], out


def _exp_of_logarithm(i: Instruction, made: Made) -> Any:
    """Replace exp(a - log(b)) by exp(a) / b: b the sum of exp(a), the largest a 0."""
    difference = _by(made, i.args[0], "subtract")
    if difference is None:
        return None
    a, log = difference.args[0], _by(made, difference.args[1], "log")
    if log is None or a.__class__ is not Var or a.shape != i.out.shape or a.dtype != i.out.dtype:
        return None
    if not _is_shifted_sum(log.args[0], a, made):
        return None
    e = replace(i, args=(a,), out=Var(np.exp(a.example)))
    return [e, replace(i, primitive=TABLE["divide"], args=(e.out, log.args[0]))], i.out


def _is_shifted_sum(b: Any, a: Var, made: Made) -> bool:
    """Whether b is the sum of exp(a), and a is x minus its maximum: of others, exp may overflow."""
    shift = _by(made, a, "subtract")
    highest = _by(made, shift.args[1], "max") if shift is not None else None
    if shift is None or highest is None or highest.args[0] is not shift.args[0]:
        return False
    if b.__class__ is not Var or b.shape != highest.out.shape:
        return False
    while b in made and made[b].view:
        b = made[b].args[0]
    total = _by(made, b, "sum") or _by(made, b, "matmul")
    e = _by(made, total.args[0], "exp") if total is not None else None
    return e is not None and e.args[0] is a


def _power(i: Instruction, made: Made) -> Any:
    """Replace powers by squares, roots and reciprocals."""
    x, exponent = i.args[0], _number(i.args[1])
    name = None if exponent is None else _POWERS.get(float(np.real(exponent)))
    if name is None or x.__class__ is not Var or x.dtype != i.out.dtype or x.dtype.kind != "f":
        return None
    return [replace(i, primitive=TABLE[name], args=(x,))], i.out


_POWERS = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}

#: By the primitive's name. Each returns the instructions to put in the place, and the variable
#: that has the result; or None where it does not apply.
REWRITES: dict[str, Callable[[Instruction, Made], Any]] = {
    "multiply": _scaled,
    "getitem": _element,
    "matmul": _product,
    "exp": _exp_of_logarithm,
    "power": _power,
}
