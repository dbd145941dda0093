"""Gradients of functions that return one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_nn.graph import Node
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.transforms.run import Run, called, dtype_of, positions, received, seed
from tinygrad_nn.tree import flatten, tree_map

__all__ = ["elementwise_grad", "grad", "stop_gradient", "value_and_grad"]


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that computes `f` and its gradient.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers and containers of them that returns one real number.
    argnums : int or sequence of int
        Positions of the arguments to differentiate.
    has_aux : bool
        Whether `f` returns a pair, of which only the first part is differentiated.

    Returns
    -------
    callable
        With the arguments of `f`; it returns ``(value, gradient)``, or ``((value, aux),
        gradient)``. The gradient has the structure of the argument; for a sequence of `argnums`
        it is a tuple.

    Raises
    ------
    TypeError
        If an argument to differentiate is not floating, or the result is not real and floating.
    ShapeError
        If the result is not one number.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> value, slope = tg.value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    >>> print(value, slope)
    5.0 [2. 4.]
    """
    single = isinstance(argnums, int | np.integer)

    @called(f, "value_and_grad")
    def transformed(*args: Any, **keywords: Any) -> Any:
        run = Run("grad", f, args, keywords, positions("grad", argnums, len(args)), has_aux)
        y = run.scalar()
        found = run.pull([(y, seed(y, 1.0, record=run.record))], record=run.record)
        gradient = run.gather(
            [
                received(c, x, cotangent=True, own=run.own)
                for c, x in zip(found, run.inputs, strict=True)
            ],
            single=single,
        )
        value = run.plain(y)
        return ((value, run.plain(run.aux)) if has_aux else value), gradient

    return transformed


def grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that computes the gradient of `f`.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers and containers of them that returns one real number. It is
        plain NumPy code: its functions, operators and indexing work on the tensors that `f` is
        called with.
    argnums : int or sequence of int
        Positions of the arguments to differentiate.
    has_aux : bool
        Whether `f` returns a pair, of which only the first part is differentiated; the gradient
        then comes with the second, ``(gradient, aux)``.

    Returns
    -------
    callable
        With the arguments of `f`; it returns the gradient, in the structure of the argument, of
        plain arrays unless they depend on a tensor outside that requires a gradient. It is zero
        where the result does not depend on the argument. For a sequence of `argnums` a tuple.

    Raises
    ------
    TypeError
        If an argument to differentiate is not floating, or the result is not real and floating.
    ShapeError
        If the result is not one number.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> tg.grad(lambda x: np.sum(np.sin(x)))(np.array([0.0, np.pi]))
    array([ 1., -1.])

    Of any order:

    >>> print(tg.grad(tg.grad(lambda x: x**3))(2.0))
    12.0
    """

    @called(f, "grad")
    def transformed(*args: Any, **keywords: Any) -> Any:
        value, gradient = value_and_gradient(*args, **keywords)
        return (gradient, value[1]) if has_aux else gradient

    value_and_gradient = value_and_grad(f, argnums, has_aux)
    return transformed


def elementwise_grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return a function that computes the gradient of the sum of the elements of `f`.

    Where each element of the result depends on one element of the argument, that is the derivative
    at each of them.

    Parameters
    ----------
    f : callable
        A function that returns one array of real numbers.
    argnums : int or sequence of int
        Positions of the arguments to differentiate.

    Returns
    -------
    callable
        With the arguments of `f`; it returns an array like the argument.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> tg.elementwise_grad(np.square)(np.array([1.0, 2.0, 3.0]))
    array([2., 4., 6.])
    """

    def total(*args: Any, **keywords: Any) -> Any:
        y = f(*args, **keywords)
        if flatten(y).paths != [""] or dtype_of(y).kind not in "fciub":
            raise TypeError(
                f"elementwise_grad needs a function that returns one array, got {type(y).__name__}"
            )
        return np.sum(y)

    return called(f, "elementwise_grad")(grad(total, argnums))


def stop_gradient(x: Any) -> Any:
    """Return the same numbers as constants: no derivative goes through them.

    Parameters
    ----------
    x : Tensor, Value, array_like or container

    Returns
    -------
    Tensor, float, array_like or container
        The structure of `x`; a tensor becomes one that requires no gradient, a `Value` its number.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> print(tg.grad(lambda x: x * tg.stop_gradient(x))(3.0))
    3.0
    """

    def stopped(leaf: Any) -> Any:
        if not isinstance(leaf, Node):
            return leaf
        return leaf.detach() if isinstance(leaf, Tensor) else leaf._value

    return tree_map(stopped, x)
