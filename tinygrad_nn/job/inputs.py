"""Inputs for a function that is to be checked or drawn: described, given, or guessed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.job.arrays import read_arrays
from tinygrad_nn.job.errors import JobError
from tinygrad_nn.tensor import Tensor

__all__ = [
    "Arguments", "Input", "find_inputs", "parse_shapes", "parse_sizes", "read_inputs",
    "signature_of",
]  # fmt: skip

Array = npt.NDArray[Any]

#: More elements than that are a slip of the keyboard.
_MAX_ELEMENTS = 10_000_000

_GRAMMAR = (
    "expected shapes separated by semicolons, each of them 8,3 (normally distributed), "
    "float:8,3:0:1 (uniform between bounds) or int:8:3 (integers from 0 to 2); () is one number; "
    "float32 in place of float draws in that precision"
)

#: Names of a second argument that is a target: class numbers, as likely as not.
_TARGETS = frozenset({"target", "targets", "label", "labels", "y_true", "truth", "classes"})

#: What is tried: class numbers as the target; for two inputs; for any number of the same shape.
_CLASSES = "6,4; int:6:4"
_PAIRS = (
    "6,4; 6,4", "float:6,4:0.05:0.95; float:6,4:0.05:0.95", "6; 6", "float:6:0.05:0.95; int:6:2",
    "6,4; 4,3", "4,4; 4", "(); ()",
)  # fmt: skip
_ALIKE = ("6,4", "float:6,4:0.05:0.95", "6", "float:6:0.05:0.95", "4,4", "()")


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

    def to_dict(self) -> dict[str, Any]:
        """Return what is known about it, but for its numbers, as plain data."""
        return {
            "name": self.name,
            "shape": list(self.array.shape),
            "dtype": str(self.array.dtype),
            "origin": self.origin,
            "constant": self.is_constant or self.array.dtype.kind != "f",
        }

    def __str__(self) -> str:
        constant = ", constant" if self.is_constant else ""
        return (
            f"{self.name}: {self.array.dtype} of shape {self.array.shape}, {self.origin}{constant}"
        )


@dataclass(frozen=True)
class Arguments:
    """What something wants to be called with.

    Parameters
    ----------
    spec : str
        What the user typed for it.
    signature : inspect.Signature or None
        None where it cannot be read.
    shapes : str, optional
        Shapes of its inputs, as its author has said them.
    guesses : iterable of str
        Shapes to try where nobody has said any; the first that is accepted is taken.
    draw : callable, optional
        ``draw(guess, rng)`` draws the inputs of a guess, in place of `parse_shapes`.
    """

    spec: str
    signature: inspect.Signature | None
    shapes: str | None = None
    guesses: Iterable[str] = ()
    draw: Callable[[str, int | np.random.Generator | None], list[Input]] | None = None

    @classmethod
    def of(cls, spec: str, function: Any) -> Arguments:
        """Read them off a function: its signature, its attribute ``shapes``."""
        signature = signature_of(function)
        found = cls(spec, signature, shapes=getattr(function, "shapes", None))
        return replace(found, guesses=_guesses(found.required))

    @property
    def names(self) -> list[str]:
        """The names of all that are given by position."""
        return [p.name for p in self._positional]

    @property
    def required(self) -> list[str]:
        """The names of those that must be given."""
        return [p.name for p in self._positional if p.default is p.empty]

    @property
    def _positional(self) -> list[inspect.Parameter]:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = self.signature.parameters.values() if self.signature else ()
        return [p for p in parameters if p.kind in kinds]

    def check_count(self, found: Sequence[Input]) -> None:
        """Refuse inputs that are too few or too many.

        Raises
        ------
        JobError
            Naming those that are missing.
        """
        if self.signature is None:
            return
        try:
            self.signature.bind(*found)
        except TypeError as error:
            raise JobError(
                f"{self.spec}{self.signature} does not take {len(found)} input(s): {error}"
            ) from None


def signature_of(function: Any) -> inspect.Signature | None:
    """Return the signature that a function, a primitive or a model is called with, if known."""
    forward = function if isinstance(function, type) else getattr(function, "forward", function)
    if isinstance(forward, np.ufunc):
        names = ["x"] if forward.nin == 1 else [f"x{i + 1}" for i in range(forward.nin)]
        return inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
        )
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):
        return None
    # Messages show it, and annotations would make it long.
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=signature.empty)


def _guesses(names: Sequence[str]) -> tuple[str, ...]:
    """Return shapes to try for arguments of these names."""
    match names:
        case [_, second]:
            return (_CLASSES, *_PAIRS) if second in _TARGETS else (*_PAIRS, _CLASSES)
        case _:
            return tuple("; ".join([shape] * len(names)) for shape in _ALIKE if names)


def find_inputs(
    arguments: Arguments,
    accept: Callable[[list[Input]], None],
    *,
    shapes: str | None = None,
    file: str | None = None,
    rng: int | np.random.Generator | None = 0,
) -> list[Input]:
    """Return inputs for a function.

    From `file`, else of the given `shapes`, else of those that its author has said. If there is
    none of these, it is tried with a few shapes, and the first that it accepts are taken. Of two
    inputs the second is a target then: a constant. Otherwise all floats are variables.

    Parameters
    ----------
    arguments : Arguments
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
    if file is not None:
        if shapes is not None:
            raise JobError("give either --shapes or --inputs, not both")
        found = read_inputs(file, arguments.names, arguments.required)
    else:
        shapes = shapes if shapes is not None else arguments.shapes
        if shapes is None:
            return _guess(arguments, accept, rng)
        found = parse_shapes(str(shapes), arguments.names, rng)
    arguments.check_count(found)
    accept(found)
    return found


def _guess(
    arguments: Arguments,
    accept: Callable[[list[Input]], None],
    rng: int | np.random.Generator | None,
) -> list[Input]:
    complaints = []
    for shapes in arguments.guesses:
        try:
            if arguments.draw is not None:
                found = arguments.draw(shapes, rng)
            else:
                found = parse_shapes(shapes, arguments.names, rng)
                if len(found) == 2:
                    # A target is data: losses need not be differentiable in it.
                    found[1] = replace(found[1], is_constant=True)
            accept(found)
        except JobError as error:
            complaints.append((shapes, error))
        else:
            return found
    if not complaints:
        raise JobError(
            f"{arguments.spec} does not say how many inputs it takes, so none can be guessed; give "
            f'--shapes, as in --shapes "8,3; int:8:3"'
        )
    # A function that raised was given the wrong shapes, perhaps; one that returned the wrong thing
    # would hardly do better with others.
    shapes, first = next((c for c in complaints if c[1].__cause__ is None), complaints[0])
    raise JobError(f'{first} (tried with --shapes "{shapes}"; give --shapes to choose them)')


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
        case [shape]:
            return np.asarray(rng.standard_normal(parse_sizes(shape))), "normally distributed"
        case ["float" | "float32" as dtype, shape]:
            array = np.asarray(rng.standard_normal(parse_sizes(shape)), dtype)
            return array, "normally distributed"
        case ["float" | "float32" as dtype, shape, low, high]:
            bounds = float(low), float(high)
            if not -math.inf < bounds[0] < bounds[1] < math.inf:
                raise ValueError
            array = np.asarray(rng.uniform(*bounds, parse_sizes(shape)), dtype)
            return array, f"from {low} to {high}"
        case ["int", shape, count]:
            return np.asarray(rng.integers(int(count), size=parse_sizes(shape))), (
                f"from 0 to {int(count) - 1}"
            )
    raise ValueError


def parse_sizes(text: str) -> tuple[int, ...]:
    """Return a shape that is written as ``8,3`` or ``()``.

    Raises
    ------
    ValueError
        If it cannot be understood; a JobError, if it is empty or too large.
    """
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


def read_inputs(
    path: str, names: Sequence[str] = (), required: Sequence[str] | None = None
) -> list[Input]:
    """Read inputs from an ``.npz`` file, without pickle.

    Parameters
    ----------
    path : str
        Its arrays are the arguments: by name, if one of them has the name of a parameter; else in
        the order in which they were saved.
    names : sequence of str
        Of the parameters.
    required : sequence of str, optional
        Of those that must be there; all by default.

    Raises
    ------
    JobError
        If it is no such file, holds something other than finite numbers, or has some names of
        parameters but not all, or others.
    """
    arrays = read_arrays(path)
    if set(arrays) & set(names):
        arrays = _by_name(path, arrays, names, names if required is None else required)
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


def _by_name(
    path: str, arrays: dict[str, Array], names: Sequence[str], required: Sequence[str]
) -> dict[str, Array]:
    """Return arrays in the order of the parameters, of which the last may be left out."""
    last = max(i for i, name in enumerate(names) if name in arrays) + 1
    wanted = dict.fromkeys([*names[:last], *required])
    problems = [f"no array {name!r}" for name in wanted if name not in arrays]
    problems += [f"{name!r}, which is no argument" for name in arrays if name not in wanted]
    if problems:
        raise JobError(
            f"{path}: has {' and '.join(problems)}; the arguments are {', '.join(names)}: save "
            f"arrays of these names, or np.savez(file, a, b) for arrays without names in order"
        )
    return {name: arrays[name] for name in wanted}
