"""Updates that return a new array: ``t.at[index].set(v)``, in place of ``t[index] = v``.

What an operation has used must not change afterwards, or its derivative would be that of another
point; so a tensor cannot be written to in place, and is updated by making a new one. The spelling
is that of `jax.Array.at`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.graph import Node
from tinygrad_nn.rules.indexing import (
    ARRAY,
    getitem,
    index_set,
    join_index,
    may_repeat,
    scatter_add,
    split_index,
)
from tinygrad_nn.rules.shape import as_kept, broadcast_to, ravel, reshape, shaped
from tinygrad_nn.traced import Traced

__all__ = ["At", "Place", "put_along_axis"]


class At:
    """The places of an array: ``At(x)[index]`` is one of them, as is ``x.at[index]`` of a tensor.

    Parameters
    ----------
    x : Tensor or array_like
        Any shape.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> from tinygrad_nn.functional_update import At
    >>> v = tg.tensor([5.0, 7.0], requires_grad=True)
    >>> y = At(np.zeros(4))[1:3].set(v)
    >>> y.data
    array([0., 5., 7., 0.])
    """

    __slots__ = ("_x",)

    def __init__(self, x: Any) -> None:
        self._x = shaped(x)

    def __getitem__(self, index: Any) -> Place:
        return Place(self._x, index)

    def __repr__(self) -> str:
        return f"At({self._x!r})"


class Place:
    """An index into an array, waiting to be told what shall happen there.

    Every method returns a new array of the same shape and dtype and leaves the old one as it is.
    The values `v` are broadcast to what the index selects; they may be a tensor, an array or a
    number, and are differentiated as the array itself is.

    Parameters
    ----------
    x : Tensor or ndarray
    index : int, slice, ellipsis, None, array of integers or truth values, or a tuple of these

    Raises
    ------
    IndexError
        If an index is out of range.
    ShapeError
        If the values do not broadcast to what is selected.
    TypeError
        If the array's dtype cannot hold the values.

    Notes
    -----
    Where an index selects an element more than once, `set` keeps the last value, and the others
    get no gradient; all other methods apply every value in turn, as ``numpy.ufunc.at`` does.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = x.at[[0, 0]].add([5.0, 6.0])
    >>> y.data
    array([12.,  2.,  3.])
    >>> x.at[x > 1.5].multiply(10.0).data
    array([ 1., 20., 30.])
    """

    __slots__ = ("_arrays", "_template", "_x")

    def __init__(self, x: Any, index: Any) -> None:
        self._x = x
        self._template, arrays = split_index(index)
        self._arrays = tuple(map(shaped, arrays))

    def __repr__(self) -> str:
        return f"Place({self._x!r}, {join_index(self._template, self._arrays)!r})"

    def get(self) -> Any:
        """Return what is there: ``x[index]``."""
        return getitem(self._x, *self._arrays, template=self._template)

    def set(self, v: Any) -> Any:
        """Return the array with `v` there."""
        v = as_kept(v, self._x.dtype, "at[...]")
        if v.shape:
            v = self._fitted(v)
        return index_set(self._x, v, *self._arrays, template=self._template)

    def add(self, v: Any) -> Any:
        """Return the array with `v` added there."""
        added = scatter_add(
            self._fitted(v), *self._arrays, template=self._template, shape=self._x.shape
        )
        return self._x + added

    def subtract(self, v: Any) -> Any:
        """Return the array with `v` subtracted there."""
        return self.add(-shaped(v))

    def multiply(self, v: Any) -> Any:
        """Return the array multiplied by `v` there."""
        return self._apply(np.multiply, v)

    def divide(self, v: Any) -> Any:
        """Return the array divided by `v` there."""
        return self._apply(np.divide, v)

    def power(self, v: Any) -> Any:
        """Return the array raised to the power `v` there."""
        return self._apply(np.power, v)

    def max(self, v: Any) -> Any:
        """Return the array limited to `v` from below there; a tie halves the gradient."""
        return self._apply(np.maximum, v)

    def min(self, v: Any) -> Any:
        """Return the array limited to `v` from above there; a tie halves the gradient."""
        return self._apply(np.minimum, v)

    def _positions(self) -> npt.NDArray[np.intp]:
        """Return the selected elements by their numbers in the flattened array."""
        arrays = tuple(map(np.asarray, self._arrays))
        numbers = np.arange(self._x.size).reshape(self._x.shape)
        return np.asarray(numbers[join_index(self._template, arrays)])

    def _fitted(self, v: Any) -> Any:
        """Give `v` the dtype of the array and the shape of what is selected."""
        v = as_kept(v, self._x.dtype, "at[...]")
        arrays = tuple(map(_positions_like, self._arrays))
        # An array that takes no memory, where no index array makes a copy of it.
        every = np.broadcast_to(np.zeros((), bool), self._x.shape)
        selected = np.shape(every[join_index(self._template, arrays)])
        try:
            return v if v.shape == selected else broadcast_to(v, shape=selected)
        except ValueError as error:
            raise ShapeError(
                f"at[...]: values of shape {v.shape} do not broadcast to {selected}, the shape of "
                f"what is selected"
            ) from error

    def _apply(self, f: Callable[[Any, Any], Any], v: Any) -> Any:
        if not may_repeat(self._arrays):
            return self.set(f(self.get(), shaped(v)))
        # In the n-th round come the values that meet their element for the n-th time.
        positions = self._positions()
        v = ravel(broadcast_to(shaped(v), shape=positions.shape))
        y = ravel(self._x)
        rounds = _occurrences(positions.ravel())
        for n in range(rounds.max(initial=0) + 1):
            now = np.flatnonzero(rounds == n)
            place = Place(y, positions.ravel()[now])
            y = place.set(f(place.get(), getitem(v, now, template=(ARRAY,))))
        return reshape(y, shape=self._x.shape)


def _positions_like(a: Any) -> Any:
    """Return an array that selects as many elements as `a`, whose numbers may be unknown yet."""
    a = a._seen() if isinstance(a, Node) else a
    fixed = isinstance(a, Traced) and a.dtype != bool  # as many as it has elements itself
    return np.zeros(a.shape, a.dtype) if fixed else np.asarray(a)


def _occurrences(numbers: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return for each number how often it has occurred before."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    before = np.empty(numbers.size, np.intp)
    before[order] = np.arange(numbers.size) - np.searchsorted(ordered, ordered)
    return before


def put_along_axis(x: Any, indices: Any, values: Any, axis: int | None) -> Any:
    """Return `x` with `values` put at `indices` along an axis, one index per slice.

    What `numpy.put_along_axis` does in place; the counterpart of `numpy.take_along_axis`.

    Parameters
    ----------
    x : Tensor or array_like
        Any shape.
    indices : array_like of int
        As many axes as `x`; broadcast against it along the others.
    values : Tensor or array_like
        Broadcast to the shape of `indices`; converted to the dtype of `x`.
    axis : int or None
        None stands for the flattened `x`.

    Returns
    -------
    Tensor or ndarray
        Shape and dtype of `x`. Of values put at one place the last one stays.

    Raises
    ------
    IndexError
        If an index is out of range.
    ShapeError
        If `indices` has not as many axes as `x`, or the values do not fit.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> from tinygrad_nn.functional_update import put_along_axis
    >>> x = tg.tensor([[10.0, 30.0, 20.0], [60.0, 40.0, 50.0]], requires_grad=True)
    >>> put_along_axis(x, [[1], [0]], 99.0, axis=1).data
    array([[10., 99., 20.],
           [99., 40., 50.]])
    """
    x, indices = shaped(x), shaped(indices)
    if axis is None:
        return reshape(put_along_axis(ravel(x), indices, values, 0), shape=x.shape)
    axis = normalize_axis_index(axis, x.ndim)
    if indices.ndim != x.ndim:
        raise ShapeError(
            f"put_along_axis: indices of shape {indices.shape} must have as many axes as the array "
            f"of shape {x.shape}"
        )
    index: list[Any] = list(np.indices(x.shape, sparse=True))
    index[axis] = indices
    return At(x)[tuple(index)].set(values)
