"""How an instruction is written: a line of NumPy for each kind of primitive.

Everything that has no entry in `EMITTERS` is written ``forward(*args, **static, out=buffer)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tinygrad_nn.plan.tape import Instruction, Var

__all__ = ["Names", "lines"]


class Names(Protocol):
    """What an emitter needs to know of the program it writes a line of."""

    def __call__(self, item: Any, prefix: str = "k") -> str:
        """Return the name of an object, under which the program finds it."""

    def array(self, v: Var) -> Any:
        """Return the array of a variable, None if it differs from call to call."""

    def of(self, a: Any) -> str:
        """Return what stands for an argument: a variable, or a number."""

    def scratch(self, shape: Any, dtype: Any) -> Any:
        """Return an array to work in."""


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


EMITTERS: dict[str, Emitter] = {
    "sum": _add_reduce,
    "max": _maximum_reduce,
    "min": _minimum_reduce,
    "matmul": _matmul,
    "negative": _negative,
}
