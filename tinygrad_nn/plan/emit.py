"""How an instruction is written: a line of NumPy for each kind of primitive.

Everything that has no entry in `EMITTERS` is written ``forward(*args, **static, out=buffer)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.plan.kernels import within
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

    def shared(self, key: Any, shape: Any, dtype: Any) -> tuple[Any, bool]:
        """Return the array that goes by `key`, and whether it is new: to be filled."""

    def scratch(self, like: Any, dtype: Any, k: int = 0) -> Any:
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
        return _ufunc(i, out, names)
    args = [names.of(a) for a in i.args]
    static = [f"{key}={_literal(value, names)}" for key, value in i.static.items()]
    if "out" in primitive.static_names:
        return [f"{f}({', '.join([*args, *static, f'out={out}'])})"]
    return _copied(i, out, names)


# Of these, NumPy 2.4 deprecates a positional `out`.
_KEYWORD_ONLY = (np.maximum, np.minimum)


def _ufunc(i: Instruction, out: str, names: Names) -> list[str]:
    """Write a ufunc; arrays that broadcast are spread out before, into a work array.

    NumPy's iterator would do it in a buffer of its own, which takes longer.
    """
    rows = []
    args = []
    function = i.primitive.forward
    target = names.array(i.out)
    for k, a in enumerate(i.args):
        if a.__class__ is Var and a.shape != i.out.shape and a.shape and target is not None:
            wide = names(names.scratch(target, a.dtype, k), "wide")
            rows.append(f"{names(np.copyto)}({wide}, {names.of(a)})")
            args.append(wide)
        else:
            args.append(_operand(a, i, names))
    given = f"out={out}" if function in _KEYWORD_ONLY else out
    return [*rows, f"{names(function)}({', '.join([*args, given])})"]


def _copied(i: Instruction, out: str, names: Names) -> list[str]:
    """Write a call whose result is copied to its place."""
    f = names(i.primitive.forward, i.primitive.name)
    args = [names.of(a) for a in i.args]
    static = [f"{key}={_literal(value, names)}" for key, value in i.static.items()]
    return [f"{names(fill)}({out}, {f}({', '.join([*args, *static])}))"]


def fill(out: Any, value: Any) -> None:
    """Copy a result to its place, if it is of the shape that it had when it was captured."""
    if np.shape(value) != out.shape:
        raise ShapeError(
            f"a primitive returned an array of shape {np.shape(value)}, and of shape {out.shape} "
            f"when the step was captured"
        )
    np.copyto(out, value)


def _literal(value: Any, names: Names) -> str:
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    return names(value, "s")


def _operand(a: Any, i: Instruction, names: Names) -> str:
    """Return what stands for an operand of a ufunc; numbers as arrays, which NumPy reads faster."""
    if type(a) in (float, int, bool):
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
    return _extremum(np.maximum, i, out, names)


def _minimum_reduce(i: Instruction, out: str, names: Names) -> list[str]:
    return _extremum(np.minimum, i, out, names)


def _extremum(function: np.ufunc, i: Instruction, out: str, names: Names) -> list[str]:
    """Write the extremum of each row; of two columns directly, in a third of the time."""
    array, target = names.array(i.args[0]), names.array(i.out)
    if i.static.get("axis") not in (1, -1, (1,)) or array is None or array.shape[1:] != (2,):
        return _reduce(function.reduce, i, out, names)
    left, right = (names(array[:, k], "v") for k in (0, 1))
    column = names(target.reshape(-1), "v") if target.ndim == 2 else out
    return [f"{names(function)}({left}, {right}, out={column})"]


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
    if array.flags.c_contiguous:
        return [_dot(names.array(a), names.of(a), names.of(b), out, names)]
    if array.T.flags.c_contiguous:
        left, right, target = (_transposed(x, names) for x in (b, a, i.out))
        fixed = names.array(b)
        return [_dot(fixed if fixed is None else fixed.T, left, right, target, names)]
    return [f"{names(np.matmul)}({names.of(a)}, {names.of(b)}, {out})"]


def _dot(array: Any, left: str, right: str, out: str, names: Names) -> str:
    """Write a product; the method of the left factor, if that is fixed, is quicker than np.dot."""
    if array is None:
        return f"{names(np.dot)}({left}, {right}, {out})"
    return f"{names(array.dot, f'{left}_dot')}({right}, {out})"


def _transposed(v: Var, names: Names) -> str:
    array = names.array(v)
    return f"{names.of(v)}.T" if array is None else names(array.T, "v")


def _negative(i: Instruction, out: str, names: Names) -> list[str]:
    # np.negative is wrong for some strides (NumPy 2.4.6).
    (x,) = i.args
    return [f"{names(np.multiply)}({names.of(x)}, {number(-1, [x], names)}, {out})"]


def _limited(args: Any, i: Instruction, out: str, names: Names) -> list[str]:
    """Write a limit to [lo, hi] as NumPy's own ufunc, of which np.clip is a slow wrapper.

    So is np.maximum of an array and a number: three times as slow.
    """
    x, *limits = args
    lo, hi = (_operand(a, i, names) for a in limits)
    return [f"{names(clip_ufunc, 'clip')}({names.of(x)}, {lo}, {hi}, {out})"]


def _relu(i: Instruction, out: str, names: Names) -> list[str]:
    return _limited((i.args[0], 0.0, math.inf), i, out, names)


def _clip(i: Instruction, out: str, names: Names) -> list[str]:
    return _limited(i.args, i, out, names)


def _maximum(i: Instruction, out: str, names: Names) -> list[str]:
    return _one_limit(i, out, names, lambda x, n: (x, n, math.inf))


def _minimum(i: Instruction, out: str, names: Names) -> list[str]:
    return _one_limit(i, out, names, lambda x, n: (x, -math.inf, n))


def _one_limit(i: Instruction, out: str, names: Names, limits: Callable[..., Any]) -> list[str]:
    for x, n in (i.args, i.args[::-1]):
        number = constant_number(n)
        if number is None or number != number or x.__class__ is not Var:
            continue
        if x.dtype.kind == "f" and (x.dtype, x.shape) == (i.out.dtype, i.out.shape):
            return _limited(limits(x, n), i, out, names)
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
    bits = names.scratch(arrays[2], integer)  # in one step, NumPy would convert it in a buffer
    mask, numbers, target = (
        arrays[0].view(np.int8),
        arrays[1].view(integer),
        arrays[2].view(integer),
    )
    return [
        f"{names(np.copyto)}({names(bits, 'bits')}, {names(mask, 'v')})",
        f"{names(np.negative)}({names(bits)}, {names(bits)})",
        f"{names(np.bitwise_and)}({names(numbers, 'v')}, {names(bits)}, {names(target, 'v')})",
    ]


def _converted(i: Instruction, out: str, names: Names) -> list[str]:
    return [f"{names(np.copyto)}({out}, {names.of(i.args[0])}, 'unsafe')"]


def condition(i: Instruction, names: Names) -> str | None:
    """Return what an instruction asks as an expression, where that is all that is wanted of it."""
    if i.primitive is not within:
        return None
    (x,) = i.args
    # Negative numbers are large ones without a sign.
    unsigned = names(np.dtype(f"u{x.dtype.itemsize}"), "unsigned")
    n = min(i.static["n"], np.iinfo(x.dtype).max + 1)
    # The place of the largest is found in a sixth of the time that its value takes.
    return f"(labels := {names.of(x)}.view({unsigned}))[labels.argmax()] < {n}"


def _flat(v: Var, names: Names) -> tuple[Any, str]:
    """Return the elements of a matrix in the order of memory, and that order."""
    array = names.array(v)
    order = "C" if array.flags.c_contiguous else "F"
    assert array.flags[f"{order}_CONTIGUOUS"]
    return (array if order == "C" else array.T).reshape(-1), order


def _position(labels: Var, matrix: Var, names: Names) -> tuple[str, list[str]]:
    """Return the name of the places of labels in memory, and the rows that compute them."""
    _, order = _flat(matrix, names)
    n, length = matrix.shape
    index, is_new = names.shared(("position", labels, matrix.shape, order), (n,), np.intp)
    i = names(index, "position")
    if not is_new:
        return i, []
    rows: list[str] = []
    add, given = names(np.add), names.of(labels)
    if labels.dtype != np.intp:  # in one step, NumPy would convert them in a buffer
        rows.append(f"{names(np.copyto)}({i}, {given}, 'unsafe')")
        given = i
    if order == "C":
        return i, [*rows, f"{add}({given}, {names(np.arange(n) * length, 'k')}, {i})"]
    step = names(np.asarray(n, np.intp), "k")
    rows.append(f"{names(np.multiply)}({given}, {step}, {i})")
    return i, [*rows, f"{add}({i}, {names(np.arange(n), 'k')}, {i})"]


def _pick_within(i: Instruction, out: str, names: Names) -> list[str]:
    x, labels = i.args
    array = names.array(x)
    if array is None or not (array.flags.c_contiguous or array.flags.f_contiguous):
        return _copied(i, out, names)
    at, rows = _position(labels, x, names)
    return [*rows, f"{names(_flat(x, names)[0], 'v')}.take({at}, None, {out}, 'clip')"]


def _one_hot_within(i: Instruction, out: str, names: Names) -> list[str]:
    array = names.array(i.out)
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        return _copied(i, out, names)
    (labels,) = i.args
    at, rows = _position(labels, i.out, names)
    value = names(np.asarray(i.static["value"], i.out.dtype), "k")
    return [*rows, f"{out}.fill(0)", f"{names(_flat(i.out, names)[0], 'v')}[{at}] = {value}"]


EMITTERS: dict[str, Emitter] = {
    "astype": _converted,
    "copy": _converted,
    "pick_within": _pick_within,
    "one_hot_within": _one_hot_within,
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
