"""A function of arrays and a gradient that somebody else has made, as a subject."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import LossError, ShapeError
from tinygrad_nn.gradcheck.inputs import Inputs, as_arguments, fill, input_names, match
from tinygrad_nn.gradcheck.subject import FirstCall, Subject
from tinygrad_nn.graph import Node
from tinygrad_nn.tree import flatten

__all__ = ["PairSubject", "pair_subject"]

Array = npt.NDArray[Any]


class PairSubject(Subject):
    """A function of arrays with a Jacobian, or with a vector-Jacobian product.

    Parameters
    ----------
    f : callable
        Of the filled template.
    template : list
        The arguments, with slots for what is checked.
    inputs : Inputs
    jacobian : callable or None
        ``jacobian(*arguments)``: for each argument, an array of the output's shape and then the
        argument's.
    vjp : callable or None
        ``vjp(g, *arguments)``: for each argument, an array of its shape.
    """

    def __init__(
        self, f: Callable[..., Any], template: list[Any], inputs: Inputs,
        jacobian: Callable[..., Any] | None, vjp: Callable[..., Any] | None,
    ) -> None:  # fmt: skip
        super().__init__(inputs)
        self._f, self._template, self._jacobian, self._vjp = f, template, jacobian, vjp
        self.backward = "the gradient" if jacobian else "the vjp"
        self.shape = ()
        self._kind: np.dtype[Any] = np.dtype(np.float64)
        self._last: list[Array] = []

    def _call(self, function: Callable[..., Any], arrays: list[Array], *before: Any) -> Any:
        self._last = arrays
        return function(*before, *fill(self._template, arrays))

    def first_call(self) -> FirstCall:
        """See `Subject.first_call`."""
        self.evaluations += 1
        output = _as_array(self._call(self._f, self.arrays(self.x)))
        self.shape, self._kind = output.shape, output.dtype
        dtypes = [output.dtype, *(leaf.dtype for leaf in self.leaves)]
        dtype = max(dtypes, key=lambda d: np.finfo(d).eps)
        return FirstCall(output.ravel().astype(np.float64), dtype, self._modified(self._last))

    def value(self, x: Array) -> Array:
        """See `Subject.value`."""
        self.evaluations += 1
        return _as_array(self._call(self._f, self.arrays(x))).ravel().astype(np.float64)

    def complex_value(self, z: Array) -> Array | None:
        """See `Subject.complex_value`."""
        self.evaluations += 1
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("error")
                y = np.asarray(self._call(self._f, self.complex_arrays(z)), np.complex128)
        except Exception:
            return None
        return y.ravel()

    def gradients(self, x: Array, cotangents: Array) -> Array:
        """See `Subject.gradients`."""
        if self._jacobian is not None:
            jacobian = self._row(self._call(self._jacobian, self.arrays(x)), self.shape or ())
            return np.asarray(cotangents @ jacobian)
        assert self._vjp is not None
        rows = [np.empty((0, x.size))]
        self._g_modified = False
        for g in cotangents:
            given = g.reshape(self.shape).astype(self._kind)
            kept = given.copy()
            result = self._call(self._vjp, self.arrays(x), given)
            self._g_modified |= not np.array_equal(given, kept, equal_nan=True)
            rows.append(self._row(result, ()))
        return np.concatenate(rows)

    def backward_modified(self) -> list[str]:
        """See `Subject.backward_modified`."""
        return self._modified(self._last) + ["the incoming gradient"] * self._g_modified

    def _row(self, result: Any, outer: tuple[int, ...]) -> Array:
        """Bring what the user's function returned into the form (m, n)."""
        where = f"what {self.backward} returned"
        parts = match(self._template, _per_argument(result, self._template), where)
        m = int(np.prod(outer, dtype=int))
        row = np.zeros((m, self.x.size))
        if not m:
            return row
        for k, part in parts:
            leaf, expected = self.leaves[k], outer + self.leaves[k].array.shape
            if part is None:
                continue
            array = np.asarray(part)
            if array.dtype.kind not in "fiu":
                raise LossError(
                    f"{where} for {leaf.name} is of dtype {array.dtype}, expected real numbers"
                )
            if array.shape != expected and not (m == 1 and array.shape == leaf.array.shape):
                raise ShapeError(
                    f"{where} for {leaf.name} has shape {array.shape}, expected {expected}"
                    + (f": {self._meaning(leaf.name)}" if outer else "")
                )
            row[:, self.slices[k]] = array.reshape(m, -1)
        return row

    def _meaning(self, name: str) -> str:
        return f"the output's shape {self.shape}, then that of {name}"


def _as_array(output: Any) -> Array:
    """Return the output of a function of arrays: a number, an array, or several of them."""
    parts = flatten(output).leaves if isinstance(output, list | tuple | dict) else [output]
    if any(part is None for part in parts):
        raise LossError("the function returned None; is a `return` missing?")
    if any(isinstance(part, Node) for part in parts):
        raise LossError(
            "with gradient= or vjp= the function must return numbers or arrays, and it returned a "
            "tensor; leave gradient= out to check the gradient of the engine"
        )
    arrays = [np.asarray(part) for part in parts]
    for array in arrays:
        if array.dtype.kind not in "fiu":
            raise LossError(
                f"the function must return real numbers; it returned {array.dtype} "
                f"({type(parts[0]).__name__})"
            )
    if len(arrays) == 1:
        array = arrays[0]
        return array if array.dtype.kind == "f" else array.astype(np.float64)
    return np.concatenate([np.ravel(a).astype(np.float64) for a in arrays])


def _per_argument(result: Any, arguments: list[Any]) -> list[Any]:
    """Return what a gradient says of each argument: None where it says nothing.

    One argument's gradient may stand alone, and that of the first one of several, as in SciPy.
    """
    if isinstance(result, tuple) and len(result) == len(arguments):
        return list(result)
    if isinstance(result, list) and len(result) == len(arguments) > 1:
        return result
    if isinstance(result, tuple) and not isinstance(arguments[0], list | tuple):
        raise TypeError(
            f"the gradient returned a tuple of {len(result)} for {len(arguments)} input(s): it "
            f"must hold one gradient for each, None for a constant"
        )
    return [result, *(None for _ in arguments[1:])]


def _plain(item: Any) -> Any:
    """Return arguments without tensors and Values."""
    if isinstance(item, Node):
        return np.array(item._value)
    if isinstance(item, dict):
        return {key: _plain(part) for key, part in item.items()}
    if isinstance(item, list | tuple):
        parts = [_plain(part) for part in item]
        return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)
    return item


def pair_subject(
    f: Callable[..., Any], inputs: Any, names: Sequence[str] | None, dtype: str,
    gradient: Callable[..., Any] | None, vjp: Callable[..., Any] | None,
) -> PairSubject:  # fmt: skip
    """See ``f(*inputs)`` as a function of those floating inputs that a gradient is claimed for."""
    arguments = [_plain(item) for item in as_arguments(inputs)]
    labels = input_names(f, arguments, names)
    everything = Inputs(explicit=False, dtype=dtype)
    whole = [everything.take(item, name) for item, name in zip(arguments, labels, strict=True)]

    def fresh() -> Any:
        """Make arguments of the dtypes that the check will call with."""
        arrays = [leaf.array.astype(leaf.dtype) for leaf in everything.leaves]
        return copy.deepcopy(fill(whole, arrays))

    try:
        if gradient is not None:
            claimed = gradient(*fresh())
        else:
            assert vjp is not None
            claimed = vjp(np.ones_like(_as_array(f(*fresh()))), *fresh())
    except Exception as error:
        error.add_note("gradcheck met this when it called the gradient on the inputs as given")
        raise
    if claimed is None:
        raise LossError("the gradient returned None; is a `return` missing?")
    inside = Inputs(explicit=False, dtype=dtype)
    template = []
    for item, name, part in zip(arguments, labels, _per_argument(claimed, arguments), strict=True):
        inside.explicit = part is None  # arrays are then constants
        template.append(inside.take(item, name))
    return PairSubject(f, template, inside, gradient, vjp)
