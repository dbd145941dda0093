"""What the user gave, taken apart: leaves that are checked, constants, and their containers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.graph import Node
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.value import Value

__all__ = [
    "NATIVE", "Inputs", "Leaf", "Slot", "as_arguments", "fill", "input_names", "is_floating",
    "match", "requires_grad",
]  # fmt: skip

Array = npt.NDArray[Any]

_FLOAT64 = np.dtype(np.float64)

#: The dtypes that inputs may be checked in: as they are, or in copies of this one.
NATIVE = "native"


@dataclass(slots=True)
class Leaf:
    """An input whose gradient is checked.

    Attributes
    ----------
    name : str
    array : ndarray
        Its numbers, in float64.
    make : callable
        From an array to a node.
    dtype : dtype
        That it is checked in; every number in `array` is one of this dtype.
    parameter : Tensor or Value, optional
        The parameter of a model that `make` puts arrays into.
    """

    name: str
    array: Array
    make: Callable[[Array], Any]
    dtype: np.dtype[Any] = _FLOAT64
    parameter: Any = None

    def __post_init__(self) -> None:
        # A copy, and of numbers that the dtype has.
        self.array = np.array(self.array, self.dtype).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands in the inputs for the leaf of this number."""

    index: int


class Inputs:
    """Takes inputs apart.

    Parameters
    ----------
    explicit : bool
        Whether only what says ``requires_grad=True`` is checked.
    dtype : {"float64", "native"}
        Whether floating inputs are checked in float64 copies or as they are.
    """

    def __init__(self, explicit: bool, dtype: str = "float64") -> None:
        self.explicit = explicit
        self.native = dtype == NATIVE
        self.leaves: list[Leaf] = []
        self.constants: list[tuple[str, Array]] = []

    def take(self, item: Any, name: str) -> Any:
        """Return `item` with slots for what is checked and copies of what is not."""
        if isinstance(item, Value):
            name = item.label or name
            return self._slot(name, np.asarray(item.data), _value_maker(name))
        if isinstance(item, Tensor):
            name = item.label or name
            floating = is_floating(item.data, name)
            if floating and (item.requires_grad or not self.explicit):
                return self._slot(name, item.data, _tensor_maker(name))
            return self._constant_tensor(item, name)
        if _is_numbers(item) and isinstance(item, list | tuple):
            array = np.asarray(item)
            if self.explicit or not is_floating(array, name):
                return copy.deepcopy(item)
            return self._slot(name, array, _tensor_maker(name))
        if isinstance(item, list | tuple):
            parts = [self.take(part, f"{name}[{i}]") for i, part in enumerate(item)]
            return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)
        if isinstance(item, dict):
            return {key: self.take(part, f"{name}[{key!r}]") for key, part in item.items()}
        if isinstance(item, np.ndarray | np.floating | float | complex):
            array = np.asanyarray(item)
            if is_floating(array, name) and not self.explicit:
                return self._slot(name, np.asarray(array), _tensor_maker(name))
            return self._constant(array, name) if isinstance(item, np.ndarray) else item
        return item

    def _slot(self, name: str, array: Array, make: Callable[[Array], Any]) -> Slot:
        self.leaves.append(Leaf(name, array, make, self.dtype_of(array)))
        return Slot(len(self.leaves) - 1)

    def dtype_of(self, array: Array) -> np.dtype[Any]:
        """Return the dtype that a floating array is checked in."""
        native = self.native and array.dtype.itemsize <= 8  # the flat vector is of float64
        return array.dtype if native else np.dtype(np.float64)

    def _constant(self, array: Array, name: str) -> Array:
        floating = array.dtype.kind == "f"
        constant = array.astype(self.dtype_of(array) if floating else array.dtype)
        self.constants.append((name, constant))
        return constant

    def _constant_tensor(self, tensor: Tensor, name: str) -> Tensor:
        constant = Tensor(0.0, label=tensor.label)
        constant._value = self._constant(tensor.data, name)  # not copied again: it is watched
        return constant


def _value_maker(name: str) -> Callable[[Array], Node]:
    return lambda array: Value(array.item(), label=name)


def _tensor_maker(name: str) -> Callable[[Array], Node]:
    return lambda array: Tensor(array, requires_grad=True, label=name)


def is_floating(array: Array, name: str) -> bool:
    """Whether an input can be checked; `name` is for the error where it is complex or masked."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"gradcheck takes no masked arrays, and {name} is one: its mask would be lost; give "
            f"{name}.filled(...) or its compressed elements"
        )
    if array.dtype.kind == "c":
        raise TypeError(
            f"gradcheck takes real inputs, and {name} is complex; check a function of its real "
            f"and its imaginary part"
        )
    return array.dtype.kind == "f"


def _is_numbers(item: Any) -> bool:
    """Whether `item` is a number or a nonempty, possibly nested list of numbers alone."""
    if isinstance(item, list | tuple):
        return bool(item) and all(map(_is_numbers, item))
    return isinstance(item, int | float | np.number) and not isinstance(item, bool)


def requires_grad(item: Any) -> bool:
    """Whether a tensor in `item` says that it requires a gradient."""
    if isinstance(item, Tensor):
        return item.requires_grad
    if isinstance(item, dict):
        return any(map(requires_grad, item.values()))
    return isinstance(item, list | tuple) and any(map(requires_grad, item))


def fill(template: Any, leaves: Sequence[Any]) -> Any:
    """Put nodes or arrays into the slots. Containers are made anew, so that none can be kept."""
    if isinstance(template, Slot):
        return leaves[template.index]
    if isinstance(template, list | tuple):
        parts = [fill(part, leaves) for part in template]
        return type(template)(*parts) if hasattr(template, "_fields") else type(template)(parts)
    if isinstance(template, dict):
        return {key: fill(part, leaves) for key, part in template.items()}
    return template


def as_arguments(inputs: Any) -> list[Any]:
    """Return the arguments: several if they came in a tuple or list."""
    return list(inputs) if isinstance(inputs, tuple | list) else [inputs]


def _parameter_names(f: Callable[..., Any], arguments: list[Any]) -> list[str]:
    """Name arguments as the signature of `f` does, where it can be read; check their number."""
    names = [f"inputs[{i}]" for i in range(len(arguments))] if len(arguments) != 1 else ["x"]
    try:
        signature = inspect.signature(f.forward if isinstance(f, Primitive) else f)
    except (TypeError, ValueError):
        return names
    try:
        bound = signature.bind(*arguments)
    except TypeError as error:
        hint = ""
        if len(arguments) > 1 and _is_numbers(arguments):
            hint = "; a list or tuple of inputs is one argument each, so for one array use np.array"
        raise TypeError(
            f"the function does not take the {len(arguments)} input(s) given: {error}{hint}"
        ) from None
    position = 0
    for parameter, value in bound.arguments.items():
        if signature.parameters[parameter].kind is inspect.Parameter.VAR_POSITIONAL:
            for i in range(len(value)):
                names[position + i] = f"{parameter}[{i}]"
            position += len(value)
        else:
            names[position] = parameter
            position += 1
    return names


def input_names(
    f: Callable[..., Any], arguments: list[Any], names: Sequence[str] | None
) -> list[str]:
    """Name the arguments: as given, else as the signature of `f` does."""
    signature_names = _parameter_names(f, arguments)
    if names is None:
        return signature_names
    given = [names] if isinstance(names, str) else list(names)
    if len(given) != len(arguments):
        raise ValueError(f"names has {len(given)} entries for {len(arguments)} input(s): {given}")
    return given


def match(template: Any, result: Any, where: str) -> Iterator[tuple[int, Any]]:
    """Yield what stands in `result` in the place of each slot of `template`, by number of the slot.

    Raises
    ------
    TypeError
        If `result` is not built as `template` is; `where` says what it is.
    """
    if isinstance(template, Slot):
        yield template.index, result
    elif result is None:
        return  # nothing is said about it
    elif isinstance(template, dict):
        if not isinstance(result, dict) or not set(template) <= set(result):
            raise TypeError(f"{where} must be a dict with the keys {sorted(map(str, template))}")
        for key, part in template.items():
            yield from match(part, result[key], f"{where}[{key!r}]")
    elif isinstance(template, list | tuple):
        if not isinstance(result, list | tuple) or len(result) != len(template):
            got = f"{len(result)}" if isinstance(result, list | tuple) else type(result).__name__
            raise TypeError(f"{where} must be a tuple of {len(template)} parts, got {got}")
        for i, (part, item) in enumerate(zip(template, result, strict=True)):
            yield from match(part, item, f"{where}[{i}]")
