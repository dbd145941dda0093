"""How an instruction is written: a line of NumPy for each kind of primitive.

Everything that has no entry in `EMITTERS` is written ``forward(*args, **static, out=buffer)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tinygrad_nn.plan.tape import Constant, Instruction, Var
from tinygrad_nn.rules.elementwise import clip_ufunc

__all__ = ["Names", "lines"]


class Names(Protocol):
    """What an emitter needs to know of the program it writes a line of."""

    def __call__(self, item: Any, prefix: str = "k") -> str:
        """Return the name of an object, under which the program finds it."""

    def array(self, v: Var) -> Any:
        """Return the array of a variable, None if it differs from call to call."""

    def of(self, a: Any) -> str:
        """Return what stands for an argument: a variable, or a number."""

    def scratch(self, like: Any, dtype: Any) -> Any:
        """Return an array to work in while an instruction runs, of the layout of another."""


Emitter = Callable[[Instruction, str, Names], list[str]]


def lines(i: Instruction, out: str, names: Names) -> list[str]:
    """Return the source of an instruction that leaves its result in the array named `out`."""
    emitter = EMITTERS.get(i.primitive.name)
    if emitter is not None:
        return emitter(i, out, names)
    return _call(i, out, names)


def _call(i: Instruction, out: str, names: Names) -> list[str]:
    primitive = i.primitive
    f = names(primitive.forward, primitive.name)
    if not primitive.is_python:
        args = [_operand(a, i, names) for a in i.args]
        return [f"{f}({', '.join([*args, out])})"]
    args = [names.of(a) for a in i.args]
    static = [f"{key}={_literal(value, names)}" for key, value in i.static.items()]
    if "out" in primitive.static_names:
        return [f"{f}({', '.join([*args, *static, f'out={out}'])})"]
    return [f"{names(np.copyto)}({out}, {f}({', '.join([*args, *static])}))"]


def _literal(value: Any, names: Names) -> str:
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    return names(value, "s")


def _operand(a: Any, i: Instruction, names: Names) -> str:
    """Return what stands for an operand of a ufunc; numbers as arrays, which NumPy reads faster."""
    if a.__class__ in (float, int, bool):
        return number(a, i.inputs, names)
    return names.of(a)


def number(a: Any, inputs: list[Var], names: Names) -> str:
    """Return the name of a 0-d array for a number, of the dtype that NumPy would give it."""
    dtype = np.result_type(*(v.dtype for v in inputs), a)
    with np.errstate(over="ignore"):
        return names(np.asarray(a).astype(dtype), "k")


def _add_reduce(i: Instruction, out: str, names: Names) -> list[str]:
    return _reduce(np.add.reduce, i, out, names)


def _maximum_reduce(i: Instruction, out: str, names: Names) -> list[str]:
    return _reduce(np.maximum.reduce, i, out, names)


def _minimum_reduce(i: Instruction, out: str, names: Names) -> list[str]:
    return _reduce(np.minimum.reduce, i, out, names)


def _reduce(function: Any, i: Instruction, out: str, names: Names) -> list[str]:
    (x,) = i.args
    axis = _literal(i.static.get("axis"), names)
    kept = bool(i.static.get("keepdims", False))
    return [f"{names(function, 'reduce')}({names.of(x)}, {axis}, None, {out}, {kept})"]


def _matmul(i: Instruction, out: str, names: Names) -> list[str]:
    a, b = i.args
    array = names.array(i.out)
    kinds = {v.dtype.char for v in (a, b, i.out)}
    if not 1 <= a.example.ndim <= 2 or not 1 <= b.example.ndim <= 2 or kinds not in ({"f"}, {"d"}):
        return [f"{names(np.matmul)}({names.of(a)}, {names.of(b)}, {out})"]
    dot = names(np.dot)
    if array.flags.c_contiguous:
        return [f"{dot}({names.of(a)}, {names.of(b)}, {out})"]
    if array.T.flags.c_contiguous:
        left, right, target = (_transposed(x, names) for x in (b, a, i.out))
        return [f"{dot}({left}, {right}, {target})"]
    return [f"{names(np.matmul)}({names.of(a)}, {names.of(b)}, {out})"]


def _transposed(v: Var, names: Names) -> str:
    array = names.array(v)
    return f"{names.of(v)}.T" if array is None else names(array.T, "v")


def _negative(i: Instruction, out: str, names: Names) -> list[str]:
    # np.negative is wrong for some strides (NumPy 2.4.6).
    (x,) = i.args
    return [f"{names(np.multiply)}({names.of(x)}, {number(-1, [x], names)}, {out})"]


def _limited(x: Any, lo: Any, hi: Any, i: Instruction, out: str, names: Names) -> list[str]:
    """Write a limit to [lo, hi] as NumPy's own ufunc, of which np.clip is a slow wrapper.

    So is np.maximum of an array and a number: three times as slow.
    """
    lo, hi = (_operand(a, i, names) for a in (lo, hi))
    return [f"{names(clip_ufunc, 'clip')}({names.of(x)}, {lo}, {hi}, {out})"]


def _relu(i: Instruction, out: str, names: Names) -> list[str]:
    return _limited(i.args[0], 0.0, math.inf, i, out, names)


def _clip(i: Instruction, out: str, names: Names) -> list[str]:
    return _limited(*i.args, i, out, names)


def _maximum(i: Instruction, out: str, names: Names) -> list[str]:
    return _one_limit(i, out, names, lambda x, n: (x, n, math.inf))


def _minimum(i: Instruction, out: str, names: Names) -> list[str]:
    return _one_limit(i, out, names, lambda x, n: (x, -math.inf, n))


def _one_limit(i: Instruction, out: str, names: Names, limits: Callable[..., Any]) -> list[str]:
    for x, n in (i.args, i.args[::-1]):
        number = constant_number(n)
        if number is not None and number == number and x.__class__ is Var:
            if x.dtype.kind == "f" and (x.dtype, x.shape) == (i.out.dtype, i.out.shape):
                return _limited(*limits(x, n), i, out, names)
    return _call(i, out, names)


def constant_number(a: Any) -> Any:
    """Return a number that is the same at every call, None for anything else."""
    if a.__class__ is Var:
        a = a.origin.array if isinstance(a.origin, Constant) else None
    return a if a is not None and np.ndim(a) == 0 else None


def _keep(i: Instruction, out: str, names: Names) -> list[str]:
    """Write a selection as a bitwise AND with a mask of all bits or none.

    A product with the mask would make nan of infinity where it is 0, and is slower too.
    """
    c, x = i.args
    fits = c.__class__ is x.__class__ is Var and c.shape == x.shape == i.out.shape
    if not fits or c.dtype != bool or x.dtype.kind != "f" or x.dtype != i.out.dtype:
        return _call(i, out, names)
    arrays = [names.array(v) for v in (c, x, i.out)]
    integer = np.dtype(f"i{x.dtype.itemsize}")
    if x.dtype.itemsize > 8 or any(a is None for a in arrays):
        return _call(i, out, names)
    bits = names.scratch(arrays[2], integer)
    mask, numbers, target = arrays[0].view(np.int8), arrays[1].view(integer), arrays[2].view(integer)
    return [
        f"{names(np.negative)}({names(mask, 'v')}, {names(bits, 'bits')})",
        f"{names(np.bitwise_and)}({names(numbers, 'v')}, {names(bits)}, {names(target, 'v')})",
    ]


EMITTERS: dict[str, Emitter] = {
    "relu": _relu,
    "clip": _clip,
    "maximum": _maximum,
    "minimum": _minimum,
    "keep": _keep,
    "sum": _add_reduce,
    "max": _maximum_reduce,
    "min": _minimum_reduce,
    "matmul": _matmul,
    "negative": _negative,
}
