"""Inputs for a function that is to be checked or drawn: described, given, or guessed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.job.arrays import read_arrays
from tinygrad_nn.job.errors import JobError
from tinygrad_nn.job.loss import UserFunction
from tinygrad_nn.tensor import Tensor

__all__ = ["Input", "find_inputs", "parse_shapes", "read_inputs"]

Array = npt.NDArray[Any]

#: More elements than that are a slip of the keyboard.
_MAX_ELEMENTS = 10_000_000

_GRAMMAR = (
    "expected shapes separated by semicolons, each of them 8,3 (normally distributed), "
    "float:8,3:0:1 (uniform between bounds) or int:8:3 (integers from 0 to 2); () is one number"
)

#: What a function of one or two arguments is tried with, by the number of its arguments.
_GUESSES = {
    1: ("6,4", "6", "()"),
    2: ("6,4; int:6:4", "6,4; 6,4", "6; 6", "float:6:0.05:0.95; int:6:2"),
}


@dataclass(frozen=True)
class Input:
    """One argument.

    Parameters
    ----------
    name : str
        Of the parameter.
    array : ndarray
    origin : str
        How it came about, for the user to read.
    is_constant : bool
        Whether no gradient is taken for it; integers have none anyway.
    """

    name: str
    array: Array
    origin: str
    is_constant: bool = False

    def tensor(self) -> Tensor:
        """Return a new tensor."""
        requires_grad = self.array.dtype.kind == "f" and not self.is_constant
        return Tensor(self.array, requires_grad=requires_grad, label=self.name)

    def __str__(self) -> str:
        return f"{self.name}: {self.array.dtype} of shape {self.array.shape}, {self.origin}"


def find_inputs(
    function: UserFunction,
    accept: Callable[[list[Input]], None],
    *,
    shapes: str | None = None,
    file: str | None = None,
    rng: int | np.random.Generator | None = 0,
) -> list[Input]:
    """Return inputs for a function.

    From `file`, else of the given `shapes`, else of the function's own attribute ``shapes``. If
    there is none of these, a function of one argument or of two (a prediction and a target: class
    numbers, or numbers of the same shape) is tried with a few shapes, and the first that it
    accepts are taken. The target is a constant then; otherwise all floats are variables.

    Parameters
    ----------
    function : UserFunction
    accept : callable
        Raises JobError where the function does not take the inputs.
    shapes : str, optional
        See `parse_shapes`.
    file : str, optional
        An ``.npz`` file, see `read_inputs`.
    rng : int, numpy.random.Generator or None
        Source of the numbers.

    Raises
    ------
    JobError
        If the inputs are not valid or the function takes none of those tried.
    """
    names = _parameters(function)
    if file is not None:
        if shapes is not None:
            raise JobError("give either --shapes or --inputs, not both")
        found = read_inputs(file, names)
    else:
        shapes = shapes if shapes is not None else getattr(function.function, "shapes", None)
        if shapes is None:
            return _guess(function, names, accept, rng)
        found = parse_shapes(str(shapes), names, rng)
    _check_count(function, found)
    accept(found)
    return found


def _guess(
    function: UserFunction,
    names: Sequence[str],
    accept: Callable[[list[Input]], None],
    rng: int | np.random.Generator | None,
) -> list[Input]:
    guesses = _GUESSES.get(len(names))
    if guesses is None:
        raise JobError(
            f"{function.spec} takes {len(names)} arguments, for which no inputs can be guessed; "
            f'give --shapes, as in --shapes "8,3; int:8:3"'
        )
    complaints = []
    for shapes in guesses:
        found = parse_shapes(shapes, names, rng)
        # A target is data: losses need not be differentiable in it.
        found[1:] = [replace(item, is_constant=True) for item in found[1:]]
        try:
            accept(found)
        except JobError as error:
            complaints.append((shapes, error))
        else:
            return found
    # A function that raised was given the wrong shapes, perhaps; one that returned the wrong thing
    # would hardly do better with others.
    shapes, first = next((c for c in complaints if c[1].__cause__ is None), complaints[0])
    raise JobError(f'{first} (tried with --shapes "{shapes}"; give --shapes to choose them)')


def _parameters(function: UserFunction) -> list[str]:
    """Return the names of the arguments that a function must be given."""
    try:
        parameters = inspect.signature(function.function).parameters.values()
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in positional and p.default is p.empty]


def _check_count(function: UserFunction, found: Sequence[Input]) -> None:
    try:
        signature = inspect.signature(function.function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*found)
    except TypeError as error:
        raise JobError(
            f"{function.spec}{signature} does not take {len(found)} input(s): {error}"
        ) from None


def parse_shapes(
    text: str, names: Sequence[str] = (), rng: int | np.random.Generator | None = 0
) -> list[Input]:
    """Draw inputs of described shapes.

    Parameters
    ----------
    text : str
        Descriptions separated by semicolons: ``8,3`` is drawn from a standard normal distribution,
        ``float:8,3:0:1`` uniformly from 0 to 1, ``int:8:3`` from the integers 0, 1, 2. The shape
        of one number is ``()``.
    names : sequence of str
        Of the parameters.
    rng : int, numpy.random.Generator or None
        Source of the numbers.

    Raises
    ------
    JobError
        If the text cannot be understood, or a shape is empty or too large.

    Examples
    --------
    >>> from tinygrad_nn.job.inputs import parse_shapes
    >>> [i.array.shape for i in parse_shapes("8,3; int:8:3")]
    [(8, 3), (8,)]
    """
    generator = np.random.default_rng(rng)
    result = []
    for i, part in enumerate(text.split(";")):
        name = names[i] if i < len(names) else f"input {i}"
        try:
            array, origin = _draw(part.replace(" ", ""), generator)
        except JobError as error:
            raise JobError(f"--shapes: {part.strip()!r} {error}") from None
        except (ValueError, OverflowError):
            raise JobError(f"--shapes: cannot understand {part.strip()!r}; {_GRAMMAR}") from None
        result.append(Input(name, array, origin))
    return result


def _draw(part: str, rng: np.random.Generator) -> tuple[Array, str]:
    match part.split(":"):
        case [shape] | ["float", shape]:
            return np.asarray(rng.standard_normal(_shape(shape))), "normally distributed"
        case ["float", shape, low, high]:
            bounds = float(low), float(high)
            if not -math.inf < bounds[0] < bounds[1] < math.inf:
                raise ValueError
            return np.asarray(rng.uniform(*bounds, _shape(shape))), f"from {low} to {high}"
        case ["int", shape, count]:
            return np.asarray(rng.integers(int(count), size=_shape(shape))), (
                f"from 0 to {int(count) - 1}"
            )
    raise ValueError


def _shape(text: str) -> tuple[int, ...]:
    if text == "()":
        return ()
    shape = tuple(int(n) for n in text.removeprefix("(").removesuffix(")").rstrip(",").split(","))
    if min(shape) < 0:
        raise ValueError
    if 0 in shape:
        raise JobError("is empty: there is nothing to compute; each length must be at least 1")
    if math.prod(shape) > _MAX_ELEMENTS:
        raise JobError(f"is too large: at most {_MAX_ELEMENTS:,} elements are drawn")
    return shape


def read_inputs(path: str, names: Sequence[str] = ()) -> list[Input]:
    """Read inputs from an ``.npz`` file, without pickle.

    Parameters
    ----------
    path : str
        Its arrays are the arguments: by name, if their names are those of the parameters; else in
        the order in which they were saved.
    names : sequence of str
        Of the parameters.

    Raises
    ------
    JobError
        If it is no such file, or holds something other than finite numbers.
    """
    arrays = read_arrays(path)
    if set(arrays) == set(names):
        arrays = {name: arrays[name] for name in names}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise JobError(
                f"{path}: the array {name!r} (dtype {array.dtype}) does not hold finite real "
                f"numbers only"
            )
    if not arrays:
        raise JobError(f"{path}: holds no array")
    origin = f"from {Path(path).name}"
    return [
        Input(names[i] if i < len(names) else name, array, origin)
        for i, (name, array) in enumerate(arrays.items())
    ]
