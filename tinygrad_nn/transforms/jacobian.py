"""Jacobians and Hessians: many cotangents or tangents, carried in one walk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinygrad_nn.batch import Batch
from tinygrad_nn.graph import Node
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.transforms.run import Run, called, dtype_of, moves, positions, seed

__all__ = ["hessian", "jacfwd", "jacobian", "jacrev"]

# How many numbers a batch may have at the widest point of a graph: 32 MB of doubles.
_BATCH = 2**22


def jacrev(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `f`, in reverse: for few outputs.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers and containers of them, that returns the like.
    argnums : int or sequence of int
        Positions of the arguments to differentiate.

    Returns
    -------
    callable
        With the arguments of `f`; for an output of shape `m` and an argument of shape `n` it
        returns an array of shape ``(*m, *n)``: the derivative of each element of the one with
        respect to each element of the other. Containers nest: those of the output outside, those
        of the argument inside.

    Raises
    ------
    TypeError
        If an argument or a result is not floating, or complex.

    Notes
    -----
    One walk back for all elements of an output together, in batches that fit into memory.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> tg.jacrev(lambda x: x[:, None] * x[None, :2])(np.array([1.0, 2.0])).shape
    (2, 2, 2)
    """
    single = isinstance(argnums, int | np.integer)

    @called(f, "jacrev")
    def transformed(*args: Any, **keywords: Any) -> Any:
        run = Run("jacrev", f, args, keywords, positions("jacrev", argnums, len(args)))
        _check_real(run)
        rows = []
        for y in run.output.leaves:
            stacks = _each(run, y, partial(_pull, run, y))
            jacobians = [
                _matrix(stacks[i] if stacks else None, np.shape(y), x)
                for i, x in enumerate(run.inputs)
            ]
            rows.append(run.gather(jacobians, single=single))
        return run.output.rebuild(rows)

    return transformed


def jacfwd(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `f`, forward: for few inputs.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers and containers of them, that returns the like.
    argnums : int or sequence of int
        Positions of the arguments to differentiate.

    Returns
    -------
    callable
        As `jacrev`.

    Raises
    ------
    TypeError
        If an argument or a result is not floating, or complex.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> tg.jacfwd(np.square)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    single = isinstance(argnums, int | np.integer)

    @called(f, "jacfwd")
    def transformed(*args: Any, **keywords: Any) -> Any:
        run = Run("jacfwd", f, args, keywords, positions("jacfwd", argnums, len(args)))
        _check_real(run)
        outputs = run.output.leaves
        columns: list[list[Any]] = [[] for _ in outputs]
        for x in run.inputs:
            stacks = _each(run, x, partial(_push, run, x))
            ndim = len(x.shape)
            for i, (column, y) in enumerate(zip(columns, outputs, strict=True)):
                matrix = _matrix(stacks[i] if stacks else None, x.shape, y)
                # The axes of the input come first in it, and last in a Jacobian.
                column.append(np.moveaxis(matrix, range(ndim), range(-ndim, 0)) if ndim else matrix)
        return run.output.rebuild([run.gather(column, single=single) for column in columns])

    return transformed


jacobian = jacrev


def hessian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return a function that computes all second derivatives of `f`.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers and containers of them; usually it returns one number.
    argnums : int or sequence of int
        Positions of the arguments to differentiate.

    Returns
    -------
    callable
        With the arguments of `f`; for one number of an argument of shape `n` it returns an array
        of shape ``(*n, *n)``. Containers nest, as those of `jacobian`.

    Raises
    ------
    TypeError
        If an argument or a result is not floating, or complex.

    Notes
    -----
    The Jacobian of the gradient, in one walk for all of its rows. For a product of the Hessian
    with a vector use `hvp`, which does not compute the Hessian.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> tg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    """
    return called(f, "hessian")(jacrev(jacrev(f, argnums), argnums))


def _check_real(run: Run) -> None:
    if any(dtype_of(a).kind == "c" for a in (*run.inputs, *run.output.leaves)):
        raise TypeError(
            f"{run.what} of complex numbers has no meaning as one array: take real and imaginary "
            f"parts apart with np.real and np.imag, or use vjp or jvp"
        )
    for y in run.output.leaves:
        if dtype_of(y).kind != "f":
            raise TypeError(
                f"{run.what} needs a function that returns floating numbers, got one of dtype "
                f"{dtype_of(y)}"
            )


def _each(run: Run, node: Any, walk: Callable[[Any], list[Any]]) -> list[list[Any]]:
    """Walk with every unit vector of the shape of `node`; return the stacks of what was found.

    One list of stacks for each place that a walk ends in; no list at all if nothing moves `node`.
    """
    if not moves(node) or not math.prod(node.shape):
        return []
    batched = not run.has_scalars
    found = []
    for stack in _unit_vectors(run, node):
        together = _together(run, stack, walk) if batched and len(stack) > 1 else None
        if together is not None:
            found.append(together)
        else:
            batched = False
            found += [[_row(c) for c in walk(seed(node, g, record=run.record))] for g in stack]
    return [list(stacks) for stacks in zip(*found, strict=True)]


def _together(run: Run, stack: Any, walk: Callable[[Any], list[Any]]) -> list[Any] | None:
    """Walk with a batch; return None if a user's rule takes nothing but plain arrays."""
    try:
        return [_unpacked(c, len(stack)) for c in walk(Batch(stack))]
    except (AttributeError, TypeError, ValueError):  # NotDifferentiableError is a TypeError
        if all(n.primitive is None or n.primitive.trusted for n in run.live.values()):
            raise
        return None  # one by one, which raises again what is an error indeed


def _pull(run: Run, y: Any, g: Any) -> list[Any]:
    return run.pull([(y, g)], record=run.record)


def _push(run: Run, x: Any, t: Any) -> list[Any]:
    return run.push([(x, t)], record=run.record)


def _unit_vectors(run: Run, node: Any) -> Iterator[Any]:
    """Yield the unit vectors of a node's shape in stacks, as many in one as memory allows."""
    size = math.prod(node.shape)
    widest = max(n._value.size if isinstance(n, Tensor) else 1 for n in run.live.values())
    rows = max(1, _BATCH // max(widest, 1))
    for start in range(0, size, rows):
        count = min(rows, size - start)
        stack = np.zeros((count, size), dtype_of(node))
        stack[np.arange(count), np.arange(start, start + count)] = 1.0
        yield stack.reshape(count, *node.shape)


def _unpacked(c: Any, count: int) -> Any:
    if c is None:
        return None
    if isinstance(c, Batch):
        return c.stack
    return np.broadcast_to(c, (count, *c.shape))  # the same for all


def _row(c: Any) -> Any:
    if c is None:
        return None
    return np.expand_dims(c, 0)


def _matrix(stacks: list[Any] | None, lead: tuple[int, ...], node: Any) -> Any:
    """Join stacks to an array of shape (*lead, *node.shape), zero where nothing was found."""
    shape = (*lead, *np.shape(node))
    if not stacks or any(c is None for c in stacks):
        return np.zeros(shape, dtype_of(node))
    y = np.reshape(np.concatenate(stacks), shape)  # a copy in any case: walks share arrays
    if isinstance(y, Node):
        return y if y.requires_grad else y._value
    return y
