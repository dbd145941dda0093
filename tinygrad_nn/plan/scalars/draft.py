"""A vector program while it is written: who is where, and how operands are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_nn.plan.scalars.affine import Shape, affine, common_shape, periods
from tinygrad_nn.plan.scalars.graph import Floats, Ints
from tinygrad_nn.plan.scalars.grids import bits
from tinygrad_nn.plan.scalars.steps import Step, joined

__all__ = ["NOWHERE", "Draft", "View", "home_of", "place_of"]

#: An address is an array's number, its home, and the place in it.
_BITS = 40
_MASK = (1 << _BITS) - 1

#: The address of what is in no array, a constant.
NOWHERE = -1

#: As many pieces are joined without a copy of each array.
_FEW = 8


def home_of(address: Any) -> Any:
    """Return the number of the array that an address is in."""
    return address >> _BITS


def place_of(address: Any) -> Any:
    """Return the place of an address in its array."""
    return address & _MASK


@dataclass(frozen=True)
class View:
    """Elements ``base + sum of coordinate * stride`` of an array."""

    source: int
    base: int
    shape: Shape
    strides: Shape


class Draft:
    """Steps, the arrays that they make, and where each node of the graph is among these.

    Parameters
    ----------
    groups : list of int
        Lengths of the vectors that the program is given.
    """

    def __init__(self, groups: list[int]) -> None:
        self.steps: list[Step] = []
        self.shapes: list[Shape] = [(n,) for n in groups]
        self.constants: dict[int, Any] = {}
        self.views: dict[int, View] = {}
        self._slots: dict[Any, int] = {}

    # --- arrays --------------------------------------------------------------------------------

    def slot(self, shape: Shape) -> int:
        """Return the number of a new array."""
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def addresses(self, slot: int) -> Ints:
        """Return the addresses of an array's elements, in a row."""
        return (slot << _BITS) + np.arange(math.prod(self.shapes[slot]))

    def emit(
        self, function: Callable[..., Any], inputs: tuple[int, ...], shape: Shape, *options: Any
    ) -> int:
        """Append a step; return the number of its result."""
        output = self.slot(shape)
        self.steps.append(Step(function, inputs, options, output, shape))
        return output

    def apply(self, function: Callable[..., Any], *inputs: int) -> int:
        """Append an elementwise step."""
        return self.emit(function, inputs, np.broadcast_shapes(*(self.shapes[i] for i in inputs)))

    # --- constants -----------------------------------------------------------------------------

    def number(self, x: float) -> int:
        """Return the number of a constant, which stays a Python float."""
        return self._known(("number", x, math.copysign(1.0, x)), lambda: self._constant(x, ()))

    def constant(self, x: Floats, keep: tuple[int, ...] = ()) -> int:
        """Return the number of a constant array, no larger than broadcasting needs it."""
        x = _collapsed(bits(x), keep).view(np.float64)
        if x.size == 1 and not keep:
            return self.number(float(x.flat[0]))
        x = np.ascontiguousarray(x)
        key = ("array", x.shape, x.tobytes())
        return self._known(key, lambda: self._constant(x, x.shape))

    def _constant(self, x: Any, shape: Shape) -> int:
        slot = self.slot(shape)
        self.constants[slot] = x
        return slot

    def _known(self, key: Any, make: Callable[[], int]) -> int:
        if key not in self._slots:
            self._slots[key] = make()
        return self._slots[key]

    # --- reading -------------------------------------------------------------------------------

    def read(self, address: Ints, keep: tuple[int, ...] = ()) -> int:
        """Return an array of the elements at addresses, which are all in one array.

        Axes along which nothing changes get length 1, and vanish from the front, but for those
        (negative) in `keep`.
        """
        address = _collapsed(address, keep)
        source = int(home_of(address.flat[0]))
        if not keep and address.size == math.prod(self.shapes[source]) == 1:
            return source
        found = affine(place_of(address))
        if found is None or any(
            not step and n > 1 for n, step in zip(address.shape, found[1], strict=True)
        ):
            return self._take(source, place_of(address))
        base, strides = found
        view = View(source, base, address.shape, tuple(strides))
        if view == self._whole(source):
            return source
        return self._known(view, lambda: self._view(view))

    def read_any(self, address: Ints, numbers: Floats | None = None) -> int:
        """Return a vector of the elements at addresses in any arrays.

        `numbers` are the constants that stand where an address is `NOWHERE`.
        """
        home = home_of(address)
        starts = np.flatnonzero(np.diff(home, prepend=-2))
        if len(starts) <= _FEW:
            cuts = np.append(starts, len(address))
            views = [
                self._part(address[i:j], None if numbers is None else numbers[i:j])
                for i, j in pairwise(cuts.tolist())
            ]
            if None not in views:
                return self._joined([view for view in views if view is not None])
        parts: list[int] = []
        where, length = np.empty(len(address), np.int64), 0
        for source in np.unique(home).tolist():
            rows = np.flatnonzero(home == source)
            if source == NOWHERE:
                assert numbers is not None
                values, inverse = np.unique(numbers[rows], return_inverse=True)
                parts.append(self.constant(values, keep=(-1,)))
            else:
                wanted, inverse = np.unique(address[rows], return_inverse=True)
                if len(wanted) * 4 > math.prod(self.shapes[source]):
                    wanted, inverse = self.addresses(source), place_of(address[rows])
                parts.append(self.read(wanted, keep=(-1,)))
            where[rows] = length + inverse
            length += math.prod(self.shapes[parts[-1]])
        return self._take(self._joined(parts), where)

    def _part(self, address: Ints, numbers: Floats | None) -> int | None:
        """Read what is in one array, if in some shape it is affine, or constants."""
        if address[0] == NOWHERE:
            assert numbers is not None
            return self.constant(numbers, keep=(-1,))
        lengths = periods(place_of(address))
        if lengths is None:
            return None
        address = address.reshape(common_shape(len(address), [lengths]) or (1,))
        return self.read(address, keep=tuple(range(-address.ndim, 0)))

    def _joined(self, parts: list[int]) -> int:
        parts = [self.flat(part) for part in parts]
        if len(parts) == 1:
            return parts[0]
        shape = (sum(self.shapes[part][0] for part in parts),)
        key = ("joined", *parts)
        return self._known(key, lambda: self.emit(joined, tuple(parts), shape))

    def flat(self, slot: int) -> int:
        """Return an array as a vector."""
        shape = self.shapes[slot]
        if len(shape) == 1:
            return slot
        view = View(slot, 0, (math.prod(shape),), (1,))
        return self._known(view, lambda: self._view(view))

    def _take(self, source: int, places: Ints) -> int:
        if places.ndim == 1 and np.array_equal(places, np.arange(math.prod(self.shapes[source]))):
            return self.flat(source)
        flat = self.flat(source)
        key = ("take", source, places.shape, places.tobytes())
        return self._known(key, lambda: self.emit(np.take, (flat,), places.shape, places))

    def _view(self, view: View) -> int:
        slot = self.slot(view.shape)
        self.views[slot] = view
        return slot

    def _whole(self, source: int) -> View:
        shape = self.shapes[source]
        strides = tuple(math.prod(shape[i + 1 :]) * (n > 1) for i, n in enumerate(shape))
        return View(source, 0, shape, strides)


def _collapsed(x: Ints, keep: tuple[int, ...]) -> Ints:
    for axis in range(x.ndim):
        if axis - x.ndim not in keep and x.shape[axis] > 1:
            first = x.take([0], axis)
            if (x == first).all():
                x = first
    while x.ndim and x.shape[0] == 1 and -x.ndim not in keep:
        x = x.reshape(x.shape[1:])
    return x
