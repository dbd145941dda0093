"""How an instruction is written: a line of NumPy for each kind of primitive.

Everything that has no entry in `EMITTERS` is written ``forward(*args, **static, out=buffer)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.plan.kernels import within
from tinygrad_nn.plan.tape import Constant, Instruction, Var
from tinygrad_nn.rules.elementwise import clip_ufunc
from tinygrad_nn.rules.indexing import ARRAY

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
    return _element_by_element(i.primitive.forward, i, out, names)


def _element_by_element(function: Any, i: Instruction, out: str, names: Names) -> list[str]:
    """Write a ufunc; what is not as its loop reads and writes it goes through work arrays.

    NumPy's iterator would do that in buffers of its own, which takes as long and needs memory.
    """
    target = names.array(i.out)
    *loop, result = function.resolve_dtypes((*map(_kind, i.args), None))
    rows, args = [], []
    for k, a in enumerate(i.args):
        more, name, _ = _laid_out(a, loop[k], k, i, names)
        rows += more
        args.append(name)
    keyword = "out=" if function in _KEYWORD_ONLY else ""
    if target is None or (_is_dense(target) and result == target.dtype):
        return [*rows, f"{names(function)}({', '.join(args)}, {keyword}{out})"]
    work = names(names.scratch(target, result, len(i.args)), "work")
    return [
        *rows,
        f"{names(function)}({', '.join(args)}, {keyword}{work})",
        f"{names(np.copyto)}({out}, {work})",
    ]


def _kind(a: Any) -> Any:
    """Return what decides on the loop of a ufunc: a dtype, or the type of a Python number."""
    if a.__class__ in (int, float, complex):
        return a.__class__
    return a.dtype if a.__class__ is Var else np.asarray(a).dtype


def _laid_out(
    a: Any, dtype: Any, k: int, i: Instruction, names: Names
) -> tuple[list[str], str, Any]:
    """Return rows that lay an argument out as the result is, the name of the array, and itself."""
    target = names.array(i.out)
    if a.__class__ is not Var or target is None:
        return [], _operand(a, i, names), None
    array = names.array(a)
    seen = a.example if array is None else array  # arguments are mostly what they were
    if a.dtype == dtype and (not a.shape or (a.shape == i.out.shape and _alike(seen, target))):
        return [], names.of(a), array
    work = names.scratch(target if a.shape else a.example, dtype, k)
    name = names(work, "wide")
    return [f"{names(np.copyto)}({name}, {names.of(a)})"], name, work


def _is_dense(array: Any) -> bool:
    return bool(array.flags.c_contiguous or array.flags.f_contiguous)


def _alike(array: Any, target: Any) -> bool:
    """Whether the elements of an array lie in memory in the order of those of another."""
    c = array.flags.c_contiguous
    f = array.flags.f_contiguous
    dense = target.flags if _is_dense(target) else None
    if dense is None:
        return bool(c)  # as a work array is laid out
    return bool((c and dense.c_contiguous) or (f and dense.f_contiguous))


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
    rows, given = [], names.of(x)
    if x.dtype != i.out.dtype:  # in one step, NumPy would convert it in a buffer
        array = names.array(x)
        given = names(names.scratch(x.example if array is None else array, i.out.dtype), "work")
        rows.append(f"{names(np.copyto)}({given}, {names.of(x)}, 'unsafe')")
    return [*rows, f"{names(function, 'reduce')}({given}, {axis}, None, {out}, {kept})"]


def _matmul(i: Instruction, out: str, names: Names) -> list[str]:
    a, b = i.args
    array = names.array(i.out)
    kinds = {v.dtype.char for v in (a, b, i.out)}
    if not 1 <= a.example.ndim <= 2 or not 1 <= b.example.ndim <= 2 or kinds not in ({"f"}, {"d"}):
        return [f"{names(np.matmul)}({names.of(a)}, {names.of(b)}, {out})"]
    if any(x is not None and not _is_dense(x) for x in map(names.array, (a, b))):
        return [f"{names(np.matmul)}({names.of(a)}, {names.of(b)}, {out})"]  # np.dot copies these
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
    target = names.array(i.out)
    if not c.__class__ is x.__class__ is Var or c.dtype != bool:
        return _call(i, out, names)
    if x.dtype.char not in "efd" or x.dtype != i.out.dtype or not _is_dense(target):
        return _call(i, out, names)
    mask_rows, _, mask = _laid_out(c, c.dtype, 1, i, names)
    rows, _, numbers = _laid_out(x, x.dtype, 2, i, names)
    if mask is None or numbers is None:
        return _call(i, out, names)
    integer = np.dtype(f"i{x.dtype.itemsize}")
    # True is -1, all bits, once it has been negated; and stays so when the number gets wider.
    signed, bits = names.scratch(target, np.int8), names.scratch(target, integer)
    mask, numbers, target = mask.view(np.int8), numbers.view(integer), target.view(integer)
    return [
        *mask_rows,
        *rows,
        f"{names(np.negative)}({names(mask, 'v')}, {names(signed, 'signed')})",
        f"{names(np.copyto)}({names(bits, 'bits')}, {names(signed)})",
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
    unsigned = names(np.dtype(f"{x.dtype.byteorder}u{x.dtype.itemsize}"), "unsigned")
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


def _picked(i: Instruction, out: str, names: Names) -> list[str]:
    """Write indexing by integers that are the same at every call, along one axis."""
    x, *arrays = i.args
    axis = len(i.static["template"]) - 1
    *before, last = i.static["template"]
    array, target = names.array(x), names.array(i.out)
    plain = last is ARRAY and all(t == slice(None) for t in before) and len(arrays) == 1
    if not plain or array is None or not array.flags.c_contiguous or not target.flags.c_contiguous:
        return _copied(i, out, names)
    index = arrays[0].origin.array if isinstance(arrays[0].origin, Constant) else None
    if index is None or index.dtype.kind not in "iu":
        return _copied(i, out, names)
    at = names(index.astype(np.intp) % x.shape[axis], "at")
    return [f"{names.of(x)}.take({at}, {axis}, {out}, 'clip')"]


def _accumulated(function: Any, i: Instruction, out: str, names: Names) -> list[str]:
    """Write a running sum or product; a reversed one through views from the end."""
    (x,) = i.args
    axis = i.static["axis"] % len(x.shape)
    array, target = names.array(x), names.array(i.out)
    given = names.of(x)
    if array is None or x.dtype != i.out.dtype:
        return _call(i, out, names)
    if i.static.get("reverse"):
        given, out = (names(np.flip(a, axis), "v") for a in (array, target))
    return [f"{names(function.accumulate, 'running')}({given}, {axis}, None, {out})"]


EMITTERS: dict[str, Emitter] = {
    "cumsum": partial(_accumulated, np.add),
    "cumprod": partial(_accumulated, np.multiply),
    "getitem": _picked,
    "isnan": partial(_element_by_element, np.isnan),
    "isinf": partial(_element_by_element, np.isinf),
    "isfinite": partial(_element_by_element, np.isfinite),
    "signbit": partial(_element_by_element, np.signbit),
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
