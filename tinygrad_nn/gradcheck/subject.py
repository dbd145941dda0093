"""What is checked, whatever it was made of: a function of one flat float64 vector, and its rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.inputs import Inputs, Leaf

__all__ = ["UNDEFINED", "FirstCall", "Subject"]

Array = npt.NDArray[Any]

#: What a function may raise where it is not defined (a table looked up beyond its end, a matrix not
#: positive definite, a check of the user's own). A step of the check may well get there; on
#: the inputs as given it has returned something, or the error has gone to the user.
UNDEFINED = (Exception,)


@dataclass(slots=True)
class FirstCall:
    """What a call on the inputs as given has shown.

    Attributes
    ----------
    y : ndarray, shape (m,)
        All numbers of the output.
    dtype : dtype
        The least precise one that they were computed in.
    modified : list of str
        Inputs that the function has written to.
    unreached : list of str
        Inputs that the result does not depend on, and those without elements.
    imprecise : list of str
        What was computed in less precision than its input has, in words.
    """

    y: Array
    dtype: np.dtype[Any]
    modified: list[str]
    unreached: list[str] = field(default_factory=list)
    imprecise: list[str] = field(default_factory=list)


class Subject(ABC):
    """A function of a flat float64 vector, and the gradients that somebody claims it has.

    Parameters
    ----------
    inputs : Inputs
        The inputs that are checked, as leaves, and those that are not.

    Attributes
    ----------
    x : ndarray, shape (n,)
        All elements of all leaves, one leaf behind the other.
    leaves : list of Leaf
    slices : list of slice
        Where each leaf stands in `x`.
    sizes : dict of str to int
        Elements of each leaf by name.
    constants : list of str
        Names of floating inputs that are not checked.
    dtype : dtype
        The least precise one that a call has computed in.
    shape : tuple of int or None
        The output's shape, after the first call; None if there are several outputs.
    evaluations : int
        How often the function was called.
    """

    #: Where gradients come from, for messages.
    backward = "the backward pass"

    def __init__(self, inputs: Inputs) -> None:
        leaves = _distinct(inputs.leaves)
        if not leaves:
            raise TypeError(
                "gradcheck found no input to check: it needs at least one floating array, tensor, "
                "Value or float (an array of integers is a constant; convert it with "
                "x.astype(float))"
            )
        if not any(leaf.array.size for leaf in leaves):
            raise TypeError(
                f"gradcheck found no input to check: no elements in "
                f"{', '.join(leaf.name for leaf in leaves)}; at least one input needs some"
            )
        self.leaves = leaves
        self._constants = inputs.constants
        self.constant_arrays = inputs.constants
        self._originals = [(name, array.copy()) for name, array in inputs.constants]
        self.constants = [name for name, array in inputs.constants if array.dtype.kind == "f"]
        stops = np.cumsum([leaf.array.size for leaf in leaves]).tolist()
        starts = [0, *stops[:-1]]
        self.slices = [slice(a, b) for a, b in zip(starts, stops, strict=True)]
        self.x = np.concatenate([leaf.array.ravel() for leaf in leaves])
        self.sizes = {leaf.name: leaf.array.size for leaf in leaves}
        self.dtype: np.dtype[Any] = np.dtype(np.float64)
        self.shape: tuple[int, ...] | None = None
        self.evaluations = 0
        self._g_modified = False  # whether the last backward pass has written to a cotangent
        self._exact = all(leaf.dtype == np.float64 for leaf in leaves)

    # --- provided by the kinds of subject --------------------------------------------------------

    @abstractmethod
    def first_call(self) -> FirstCall:
        """Call the function on the inputs as given."""

    @abstractmethod
    def value(self, x: Array) -> Array:
        """Return all numbers of the output at `x`, shape (m,)."""

    @abstractmethod
    def gradients(self, x: Array, cotangents: Array) -> Array:
        """Return the gradient for each row of `cotangents` (K, m), shape (K, n)."""

    @abstractmethod
    def complex_value(self, z: Array) -> Array | None:
        """Return the output at the complex point `z`; None if the function does not take it."""

    def second_gradients(self, x: Array, g: Array, directions: Array) -> Array:
        """Return the gradient of ``<gradient for g, v>`` for each row v (K, n), shape (K, n)."""
        raise NotImplementedError  # where order=2 was refused before

    def adjoint(self, x: Array, g: Array, u: Array) -> Array | None:
        """Return the gradient of ``<gradient for g, u>`` with respect to g; None if unknown."""
        return None

    def rounding(self, x: Array, cotangents: Array) -> Array:
        """Estimate the rounding of ``cotangents @ y`` from what was computed on the way, (K,)."""
        return np.zeros(len(cotangents))

    def shaken_gradients(
        self, x: Array, cotangents: Array, rng: np.random.Generator, ulps: float
    ) -> Array | None:
        """Return gradients with all numbers on the way off by some ulps; None if none is seen."""
        return None

    def backward_modified(self) -> list[str]:
        """Return the names of the inputs that the last backward pass has written to."""
        return []

    def on_arrays(self) -> Array | None:
        """Return the output for the inputs as plain arrays; None if the function takes none."""
        return None

    def slope(self, v: Array, g: Array) -> float | None:
        """Return ``<g, J v>`` by forward mode; None where there is none."""
        return None

    # --- the same for all ------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The leaves' names."""
        return [leaf.name for leaf in self.leaves]

    def name(self, i: int) -> str:
        """Name element `i` of the flat vector, as in ``weight[3, 2]``."""
        k = int(np.searchsorted([part.stop for part in self.slices], i, side="right"))
        leaf = self.leaves[k]
        index = np.unravel_index(i - self.slices[k].start, leaf.array.shape)
        inside = ", ".join(str(int(j)) for j in index)
        return f"{leaf.name}[{inside}]" if inside else leaf.name

    def arrays(self, x: Array) -> list[Array]:
        """Cut a flat vector into arrays of the leaves' shapes and dtypes; never views of it."""
        return [
            x[part].reshape(leaf.array.shape).astype(leaf.dtype)
            for leaf, part in zip(self.leaves, self.slices, strict=True)
        ]

    def complex_arrays(self, z: Array) -> list[Array]:
        """Cut a flat complex vector into arrays of the leaves' shapes."""
        return [
            z[part].reshape(leaf.array.shape)
            for leaf, part in zip(self.leaves, self.slices, strict=True)
        ]

    def cast(self, x: Array) -> Array:
        """Round a flat vector to numbers that the leaves' dtypes have."""
        if self._exact:
            return x
        return np.concatenate([a.ravel().astype(np.float64) for a in self.arrays(x)])

    def try_value(self, x: Array, m: int) -> Array:
        """Return the output at `x`, or m times nan where the function is not defined."""
        try:
            with np.errstate(all="ignore"):
                y = self.value(x)
        except UNDEFINED:
            return np.full(m, np.nan)
        return y if y.size == m else np.full(m, np.nan)

    def _modified(self, arrays: list[Any]) -> list[str]:
        """Return the names of the inputs that no longer hold what they held."""
        names = [
            leaf.name
            for leaf, array in zip(self.leaves, arrays, strict=True)
            if not np.array_equal(array, leaf.array, equal_nan=True)
        ]
        for (name, array), (_, original) in zip(self._constants, self._originals, strict=True):
            if not np.array_equal(array, original, equal_nan=array.dtype.kind == "f"):
                names.append(name)
        return names


def _distinct(leaves: list[Leaf]) -> list[Leaf]:
    """Give leaves of equal name a number: labels are the user's, and may well be equal."""
    seen: dict[str, int] = {}
    for leaf in leaves:
        times = seen[leaf.name] = seen.get(leaf.name, 0) + 1
        if times > 1:
            leaf.name = f"{leaf.name} ({times})"
    return leaves
