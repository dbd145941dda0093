"""Parameters as views into one array, so that one NumPy call updates them all."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.tensor import Tensor

__all__ = ["Run", "flatten", "runs"]

Array = npt.NDArray[Any]


@dataclass(slots=True, eq=False)
class Run:
    """Parameters that lie one behind the other in memory: elements `start` to `stop` of `home`."""

    home: Array
    start: int
    stop: int
    parameters: list[Tensor]

    @property
    def array(self) -> Array:
        """All elements of the run, one-dimensional; writing to it changes the parameters."""
        return self.home[self.start : self.stop]


# The arrays that `flatten` made. A parameter may be a view of another array too, of a user's own:
# that one is not ours to update.
_homes: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()


def flatten(parameters: Sequence[Tensor]) -> None:
    """Move parameters of one dtype into one new array, their values unchanged."""
    if not parameters:
        return
    home = np.concatenate([p._value for p in parameters], axis=None)
    _homes[id(home)] = home
    start = 0
    for p in parameters:
        p._value = home[start : start + p.size].reshape(p.shape)
        start += p.size


def _home(data: Array) -> tuple[Array, int] | None:
    """Return the flat array that `data` is a part of and its position there, if there is one."""
    home = data.base
    if (
        home is None
        or _homes.get(id(home)) is not home
        or home.dtype != data.dtype
        or not (data.flags.c_contiguous and data.flags.writeable)
    ):
        return None
    address = data.__array_interface__["data"][0] - home.__array_interface__["data"][0]
    return home, address // home.itemsize


def runs(parameters: Sequence[Tensor]) -> list[Run]:
    """Group parameters of one dtype into runs; those without a home get one together.

    A parameter that lies in a flat array already stays there: the module that made it, or another
    optimizer, counts on that.
    """
    flatten([p for p in parameters if _home(p._value) is None])
    result: list[Run] = []
    for p in parameters:
        found = _home(p._value)
        assert found is not None
        home, start = found
        last = result[-1] if result else None
        if last is not None and last.home is home and last.stop == start:
            last.parameters.append(p)
            last.stop += p.size
        else:
            result.append(Run(home, start, start + p.size, [p]))
    return result
