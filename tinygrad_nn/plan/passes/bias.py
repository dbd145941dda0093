"""Put biases into the matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_nn.plan.cells import Data
from tinygrad_nn.plan.scalars.lending import Lent
from tinygrad_nn.plan.tape import Constant, Instruction, Parameter, Tape, Var
from tinygrad_nn.rules import TABLE

__all__ = ["biases_joined"]

# Up to so many bytes an argument is copied, to have a column of ones at its side; and up to so many
# columns it is worth while: products of wider matrices are slower in the layout that it takes.
_SMALL = 1 << 14
_NARROW = 64

_matmul, _add, _concatenate = TABLE["matmul"], TABLE["add"], TABLE["concatenate"]
_getitem, _transpose = TABLE["getitem"], TABLE["transpose"]
_COLUMN = (slice(None), None)
_ROW = (None, slice(None))


def biases_joined(tape: Tape) -> Tape:
    """Replace ``h @ W + b`` by ``[h 1] @ [W; b]``, and the gradients by ``[h 1].T @ g``.

    That takes no sum of its own for a bias, forward or backward. It is done where a bias lies
    behind its weight in memory, as in the flat array that a model's parameters are views of, so
    that the joined matrix costs nothing; and where the column of ones does not either, because
    what computes ``h`` can write beside it.
    """
    made = {i.out: i for i in tape.instructions}
    products = {i.args: i for i in tape.instructions if _is_product(i)}
    sums = _sums_of_rows(tape)
    new: dict[Var, Var] = {}
    replaced: dict[Instruction, list[Instruction]] = {}
    joined: dict[Var, Var] = {}
    for i in tape.instructions:
        found = _affine(i, made)
        if found is None:
            continue
        product, h, weight, bias = found
        parts: list[Instruction] = []
        wide = joined.get(h)
        if wide is None:
            wide = joined[h] = _apply(parts, _concatenate, (h, _ones(h)), axis=1)
        row = _apply(parts, _getitem, (bias,), template=_ROW)
        tall = _apply(parts, _concatenate, (weight, row), axis=0)
        parts.append(Instruction(_matmul, (wide, tall), {}, i.out, i.line))
        replaced[i] = parts
        replaced.setdefault(product, [])
        turned = next((t.out for t in made.values() if _is_transposed(t, h)), None)
        for g, total in sums.items():
            gradient = products.get((turned, g)) if turned is not None else None
            if gradient is None or total.out.shape != bias.shape:
                continue
            if gradient.out in new or total.out in new:
                continue  # of a layer that is used twice
            parts = []
            wide_turned = _apply(parts, _transpose, (wide,))
            both = _apply(parts, _matmul, (wide_turned, g), line=gradient.line)
            of_weight = _apply(parts, _getitem, (both,), template=(slice(0, len(weight.example)),))
            of_bias = _apply(parts, _getitem, (both,), template=(len(weight.example),))
            new[gradient.out], new[total.out] = of_weight, of_bias
            later = max(gradient, total, key=tape.instructions.index)
            replaced[gradient] = replaced[total] = []
            replaced[later] = parts
    if not replaced:
        return tape
    # A product that somebody else looks at, too, stays.
    used = {v for i in tape.instructions if i not in replaced for v in i.inputs} | set(tape.results)
    instructions = []
    for i in tape.instructions:
        parts = replaced.get(i, [i])
        if not parts and i.out in used and i.out not in new:
            parts = [i]
        instructions += parts
    found = tape.with_instructions(instructions).substituted(new)
    return found.with_instructions(_ordered(found.instructions))


def _affine(i: Instruction, made: dict[Var, Instruction]) -> Any:
    """Return product, h, weight and bias where `i` is ``h @ weight + bias``."""
    if i.primitive is not _add or len(i.inputs) != 2 or i.out.example.ndim != 2:
        return None
    for y, bias in (i.inputs, i.inputs[::-1]):
        product = made.get(y)
        if product is None or not _is_product(product):
            continue
        h, weight = product.args
        if (
            h.example.ndim == 2
            and h.shape[1] <= _NARROW
            and h.dtype == i.out.dtype
            and (h.is_result or (isinstance(h.origin, Parameter) and h.nbytes <= _SMALL))
            and not (h.is_result and made[h].view)
            and _adjacent(weight, bias, made)
        ):
            return product, h, weight, bias
    return None


def _is_product(i: Instruction) -> bool:
    return i.primitive is _matmul and len(i.inputs) == 2


def _adjacent(weight: Var, bias: Var, made: dict[Var, Instruction]) -> bool:
    """Whether a bias lies where the next row of its weight matrix would be."""
    w, b = (_in_memory(v, made) for v in (weight, bias))
    return bool(
        w is not None
        and b is not None
        and w.ndim == 2
        and b.shape == w.shape[1:]
        and w.dtype == b.dtype
        and w.base is not None
        and b.base is not None
        and w.ctypes.data + w.shape[0] * w.strides[0] == b.ctypes.data
        and w.strides[1] == b.strides[0]
        and min(w.strides) > 0
    )


def _in_memory(v: Any, made: dict[Var, Instruction]) -> Any:
    """Return the array of what is outside, or is a view of it; None for anything else."""
    if v.__class__ is not Var:
        return None
    if isinstance(v.origin, Data | Lent):
        return v.origin.get()
    i = made.get(v)
    if i is None or not i.view or len(i.inputs) != 1:
        return None
    array = _in_memory(i.args[0], made)
    return None if array is None else i.primitive.forward(array, *i.args[1:], **i.static)


def _sums_of_rows(tape: Tape) -> dict[Var, Instruction]:
    """Return the instructions that sum the rows of a matrix, by the matrix."""
    found = {}
    for i in tape.instructions:
        if _is_product(i) and isinstance(i.args[0].origin, Constant):
            ones = i.args[0].origin.array
            if ones.ndim == 1 and i.args[1].example.ndim == 2 and (ones == 1).all():
                found[i.args[1]] = i
        elif i.primitive.name == "sum" and len(i.args[0].shape) == 2 and _of_rows(**i.static):
            found[i.args[0]] = i
    return found


def _of_rows(axis: Any = None, keepdims: Any = False) -> bool:
    return axis in (0, (0,)) and not keepdims


def _is_transposed(i: Instruction, h: Var) -> bool:
    return i.primitive.name in ("transpose", "swapaxes") and i.args[0] is h


def _ones(h: Var) -> Var:
    array = np.ones((h.shape[0], 1), h.dtype)
    return Var(array, Constant(array))


def _apply(
    parts: list[Instruction], primitive: Any, args: Any, line: Any = None, **static: Any
) -> Var:
    """Append the application of a primitive, and return its result."""
    example = primitive.forward(*(a.example for a in args), **static)
    view = primitive in (_getitem, _transpose)
    out = Var(np.asarray(example))
    parts.append(Instruction(primitive, tuple(args), static, out, line, view))
    return out


def _ordered(instructions: list[Instruction]) -> list[Instruction]:
    """Return instructions so that each comes after those that compute its arguments."""
    made = {i.out: i for i in instructions}
    placed: dict[Instruction, None] = {}
    for i in instructions:
        stack = [i]
        while stack:
            top = stack[-1]
            waiting = [made[v] for v in top.inputs if v in made and made[v] not in placed]
            if waiting and top not in placed:
                stack += waiting
            else:
                placed.setdefault(stack.pop())
    return list(placed)
