"""Numbers of Values that lie in an array while plans use them.

A replay changes hundreds of parameters in one call of NumPy; to write each into its Value would
take longer than the step. So a plan borrows the numbers: the slots of the Values are left empty,
and whoever reads one finds that Python asks `Value.__getattr__`, which has all of them written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_nn.graph import lent, next_serial
from tinygrad_nn.plan.tape import Cell
from tinygrad_nn.value import Value

__all__ = ["Gradients", "Lender", "Lent", "Numbers"]


class Lender:
    """Lends the numbers of Values, and perhaps their gradients, to a plan.

    Attributes
    ----------
    values : list of Value
    array, gradients : ndarray
        One number for each; current while they are lent.
    is_lent : bool
        Whether the slots of the Values are empty.
    """

    def __init__(self, values: list[Value], with_gradients: bool) -> None:
        self.values = values
        self.array = np.zeros(len(values))
        self.gradients = np.zeros(len(values))
        self.with_gradients = with_gradients
        self.is_lent = False
        self._before: list[float] = []  # what they were when they were borrowed
        self._changed: list[int] = []
        self.numbers_cell = Numbers(self)
        self.gradients_cell = Gradients(self)

    def borrow(self) -> None:
        """Take the numbers out of the Values."""
        values = self.values
        self._before = [v._value for v in values]
        self.array[:] = self._before
        self._changed = [v._changed for v in values]
        if self.with_gradients:
            self.gradients[:] = [v._grad for v in values]
        for v in values:
            del v._value, v._changed
            if self.with_gradients:
                del v._grad
            lent[v] = self
        self.is_lent = True

    def give_back(self) -> None:
        """Put the numbers into the Values."""
        if not self.is_lent:
            return
        self.is_lent = False
        now = next_serial()
        numbers = self.array.tolist()
        changed = [
            mark if x == before else now  # graphs over what is the same as before are valid
            for x, before, mark in zip(numbers, self._before, self._changed, strict=True)
        ]
        for v, x, mark in zip(self.values, numbers, changed, strict=True):
            v._value = x
            v._changed = mark
            del lent[v]
        if self.with_gradients:
            for v, g in zip(self.values, self.gradients.tolist(), strict=True):
                v._grad = g


class Lent(Cell):
    """One of the two vectors of a lender."""

    def __init__(self, lender: Lender) -> None:
        self.lender = lender


class Numbers(Lent):
    """The numbers of Values, as one vector."""

    def set(self, array: Any) -> None:
        """Let the Values hold these numbers."""
        for v, x in zip(self.lender.values, array.tolist(), strict=True):
            v._value = x

    def get(self) -> Any:
        """Return the vector, which is current while the numbers are lent."""
        return self.lender.array

    def __str__(self) -> str:
        return "values"


class Gradients(Lent):
    """The gradients of Values, as one vector."""

    def set(self, array: Any) -> None:
        """Let the Values have these gradients."""
        for v, g in zip(self.lender.values, array.tolist(), strict=True):
            v._grad = g

    def get(self) -> Any:
        """Return the vector, which is current while the numbers are lent."""
        return self.lender.gradients

    def __str__(self) -> str:
        return "gradients"
