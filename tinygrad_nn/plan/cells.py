"""Places outside a compiled function that its step reads and writes: data, gradients, options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_nn.graph import Node, Pending
from tinygrad_nn.plan.tape import Cell

__all__ = ["ArgumentData", "ArgumentGradient", "Data", "Gradient", "Kept", "Option", "Variable"]


@dataclass(frozen=True, eq=False)
class Data(Cell):
    """The numbers of a tensor."""

    tensor: Node

    def get(self) -> Any:
        """Return the array that is there now, None if there is none."""
        return self.tensor._value

    def set(self, array: Any) -> None:
        """Put an array there."""
        self.tensor._value = array

    def __str__(self) -> str:
        return f"{self.tensor.name}.data"


@dataclass(frozen=True, eq=False)
class Gradient(Cell):
    """The gradient of a tensor."""

    tensor: Node

    def get(self) -> Any:
        """Return the array that is there now, None if there is none."""
        g = self.tensor._grad
        return g.array if g.__class__ is Pending else g

    def set(self, array: Any) -> None:
        """Put an array there."""
        self.tensor._grad = array

    def __str__(self) -> str:
        return f"{self.tensor.name}.grad"


@dataclass(frozen=True, eq=False)
class ArgumentData(Data):
    """The numbers of a tensor that is an argument: of another one at each call."""

    position: int


@dataclass(frozen=True, eq=False)
class ArgumentGradient(Gradient):
    """The gradient of a tensor that is an argument."""

    position: int


@dataclass(frozen=True, eq=False)
class Kept(Cell):
    """What an optimizer keeps for a part of its parameters, array `k`."""

    part: Any
    k: int

    def get(self) -> Any:
        """Return the array that is there now, None if there is none."""
        return self.part.state[self.k] if self.k < len(self.part.state) else None

    def set(self, array: Any) -> None:
        """Put an array there."""
        state = list(self.part.state)
        state[self.k : self.k + 1] = [array]
        self.part.state = tuple(state)

    def __str__(self) -> str:
        return f"optimizer state {self.k}"


@dataclass(frozen=True, eq=False)
class Option(Cell):
    """An option of an optimizer that may differ from step to step."""

    group: dict[str, Any]
    key: str
    dtype: Any

    def get(self) -> Any:
        """Return the array that is there now, None if there is none."""
        return np.asarray(self.group[self.key], self.dtype)

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, eq=False)
class Variable(Cell):
    """An array that the function refers to by name; its memory is read at every call."""

    name: str
    array: Any

    def get(self) -> Any:
        """Return the array that is there now, None if there is none."""
        return self.array

    def __str__(self) -> str:
        return self.name
