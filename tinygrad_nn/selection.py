"""Selection between functions, each computed only where it is selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.graph import Node
from tinygrad_nn.rules import indexing
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.value import Value

__all__ = ["where"]


_NUMBERS = (Node, np.ndarray, np.generic, float, int, complex, list, tuple)


def where(condition: Any, f: Any, g: Any, *args: Any) -> Any:
    """Take `f` where the condition holds and `g` elsewhere; functions are computed only there.

    ``np.where(x > 0, np.sqrt(x), 0.0)`` takes the root of every element, and the derivative of
    those that it throws away may be infinite: 0 times infinity is nan, and the gradient is lost.
    ``where(x > 0, np.sqrt, 0.0, x)`` takes no root that is not needed.

    Parameters
    ----------
    condition : array_like of bool, or Tensor
        Numbers count as in Python: all but 0 hold, nan too. Nothing is differentiated in it.
    f, g : callable, Tensor, Value or array_like
        The branches. A function is called with the selected elements of each of `args`, 1-d
        tensors of one length, and returns one number for each, or one for all; where nothing is
        selected it is not called. What is no function is selected from, as `numpy.where` does.
    *args : Tensor, Value or array_like
        What the functions are called with; broadcast against the condition.

    Returns
    -------
    Tensor, Value or ndarray
        Of the shape that the condition, `args` and branches that are no functions broadcast to,
        and of the dtype that the branches with selected elements have in common. A Value, if the
        condition is one number and `args` are Values; an ndarray, if nothing is a node.

    Raises
    ------
    ShapeError
        If shapes do not broadcast, or a function returns another number of elements.
    TypeError
        If `args` are given and neither branch is a function.

    Notes
    -----
    At an element where `f` is selected the derivatives are those of `f` alone, of every order.
    A function must compute each element from the same element of the others, since it sees
    neither the rest nor the shape.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> x = tg.tensor([-1.0, 4.0], requires_grad=True)
    >>> y = tg.where(x > 0, np.sqrt, 0.0, x)
    >>> y.sum().backward()
    >>> y.data, x.grad
    (array([0., 2.]), array([0.  , 0.25]))
    """
    if not callable(f) and not callable(g):
        if args:
            raise TypeError(
                "where() got arguments for its branches, and neither branch is a function of them"
            )
        return np.where(bool(condition) if isinstance(condition, Value) else condition, f, g)
    values = any(isinstance(a, Value) for a in args)
    if values and np.ndim(condition) == 0 and not any(map(np.ndim, args)):
        branch = f if condition else g
        y = branch(*args) if callable(branch) else branch
        return y if isinstance(y, Node) else Value(y)
    return _select(_truth(condition), f, g, args)


def _select(mask: Any, f: Any, g: Any, args: tuple[Any, ...]) -> Any:
    constants = [b for b in (f, g) if not callable(b)]
    shapes = [np.shape(a) for a in (mask, *args, *constants)]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        listed = ", ".join(map(str, shapes[1:]))
        raise ShapeError(
            f"where: the condition has shape {shapes[0]}, arguments and branches have {listed}; "
            f"they must broadcast against each other"
        ) from None
    flat = [_flat(a, shape) for a in args]
    mask = _flat(mask, shape)
    other = np.logical_not(mask)
    yes, no = bool(np.any(mask)), bool(np.any(other))
    if not (yes or no):
        yes = no = True  # of no elements at all: call both, to know the dtype
    y: Any = _branch(f, mask, flat, shape, "first") if yes or not callable(f) else None
    z: Any = _branch(g, other, flat, shape, "second") if no or not callable(g) else None
    result: Any = z if y is None else y if z is None else np.where(mask, y, z)
    nodes = [a for a in flat if isinstance(a, Node)]
    if nodes and not getattr(result, "requires_grad", False):
        result = _attached(result, nodes, mask.shape)
    if np.shape(result) != mask.shape:
        result = np.broadcast_to(result, mask.shape)
    return np.reshape(result, shape)


def _attached(constant: Any, nodes: list[Any], shape: tuple[int, ...]) -> Any:
    """Return a constant as a function of `nodes`, whose gradient is 0."""
    nowhere = np.zeros(shape, bool)
    nothing = np.concatenate([_selected(a, nowhere) for a in nodes])
    return np.where(nowhere, _put(nothing, nowhere), constant)


def _selected(a: Any, mask: Any) -> Any:
    return indexing.getitem(a, mask, template=(indexing.ARRAY,))


def _put(y: Any, mask: Any) -> Any:
    """Put the elements of `y` where `mask` holds, zeros elsewhere."""
    return indexing.scatter_add(y, mask, template=(indexing.ARRAY,), shape=np.shape(mask))


def _truth(condition: Any) -> Any:
    if isinstance(condition, Value):
        return np.asarray(bool(condition))
    if not isinstance(condition, Tensor):
        condition = np.asarray(condition)
    return condition if condition.dtype == bool else np.not_equal(condition, 0)


def _flat(a: Any, shape: tuple[int, ...]) -> Any:
    if not isinstance(a, Node):
        a = np.asarray(a)
    if np.shape(a) != shape:
        a = np.broadcast_to(a, shape)
    return np.reshape(a, -1)


def _branch(
    branch: Callable[..., Any] | Any, mask: Any, args: list[Any], shape: tuple[int, ...], which: str
) -> Any:
    """Return a branch as a flat array, right where `mask` holds; or as one number."""
    if not callable(branch):
        return branch if np.ndim(branch) == 0 else _flat(branch, shape)
    returned = branch(*(_selected(a, mask) for a in args))
    if not isinstance(returned, _NUMBERS):
        raise TypeError(
            f"where: the {which} branch returned {type(returned).__name__}, expected one number "
            f"for each element" + ("; is a `return` missing?" if returned is None else "")
        )
    y: Any = returned
    if np.ndim(y) == 0:
        return y
    count = int(np.count_nonzero(mask))
    if np.shape(y) != (count,):
        raise ShapeError(
            f"where: the {which} branch was called with the {count} elements that it is selected "
            f"for, and returned an array of shape {np.shape(y)}; it must have one number for "
            f"each, shape ({count},), or one for all"
        )
    return _put(y if isinstance(y, Node) else np.asarray(y), mask)
