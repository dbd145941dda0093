"""Products with the Jacobian and the Hessian, which are not computed themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_nn.graph import is_grad_enabled
from tinygrad_nn.transforms.gradient import grad
from tinygrad_nn.transforms.run import (
    Run,
    check_callable,
    dtype_of,
    moves,
    received,
    seed,
    structured,
)
from tinygrad_nn.tree import flatten

__all__ = ["hvp", "jvp", "vjp"]


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """Compute `f`, and the function that multiplies from the left by its Jacobian.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers and containers of them, that returns the like.
    *primals
        Where to compute and differentiate it.
    has_aux : bool
        Whether `f` returns a pair, of which only the first part is differentiated.

    Returns
    -------
    y
        The result of `f`.
    pullback : callable
        ``pullback(g)`` of a cotangent with the structure of `y` returns a tuple of cotangents,
        one for each of `primals`. It can be called any number of times.
    aux
        The second part of what `f` returned, with `has_aux` only.

    Raises
    ------
    TypeError
        If an argument is not floating, or a cotangent's structure is another than that of `y`.
    ShapeError
        If a cotangent's shape is another one.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> y, pullback = tg.vjp(np.multiply, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    >>> pullback(np.array([1.0, 10.0]))
    (array([ 3., 40.]), array([ 1., 20.]))
    """
    run = Run("vjp", f, primals, {}, range(len(primals)), has_aux, keeps=True)
    outputs = run.output.leaves

    def pullback(g: Any) -> tuple[Any, ...]:
        cotangents = structured("cotangent", g, run.output)
        record = is_grad_enabled() and (run.record or any(map(moves, cotangents)))
        seeds = [
            (y, seed(y, np.conj(c) if dtype_of(y).kind == "c" else c, record=record))
            for y, c in zip(outputs, cotangents, strict=True)
        ]
        # Nothing but the cotangents moves, unless the run is recorded itself.
        found = run.pull(seeds, record=record and (run.record or run.has_scalars))
        return run.gather(  # type: ignore[no-any-return]  # Any to mypy
            [received(c, x, cotangent=True) for c, x in zip(found, run.inputs, strict=True)],
            single=False,
        )

    y = run.plain(run.output.rebuild(outputs))
    if not has_aux:
        return y, pullback
    aux, run.aux = run.plain(run.aux), None  # which the pullback need not keep
    return y, pullback, aux


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Compute `f`, and its derivative in a direction.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers and containers of them, that returns the like.
    primals : tuple or list
        Its arguments.
    tangents : tuple or list
        The direction: the structure and shapes of `primals`.

    Returns
    -------
    y
        The result of `f`.
    tangent
        The product of the Jacobian with the direction, in the structure of `y`.

    Raises
    ------
    TypeError
        If an argument is not floating, or the structures of the two differ.
    ShapeError
        If shapes differ.

    Notes
    -----
    ``d/dh f(x + h v)`` at h = 0. The rules of reverse mode are used: see `tinygrad_nn.forward`.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> y, slope = tg.jvp(np.sin, (np.array([0.0, 1.0]),), (np.array([1.0, 0.0]),))
    >>> slope
    array([1., 0.])
    """
    for name, item in (("primals", primals), ("tangents", tangents)):
        if not isinstance(item, tuple | list):
            raise TypeError(
                f"jvp needs {name} in a tuple, one for each argument, got {type(item).__name__}"
            )
    if len(primals) != len(tangents):
        raise TypeError(f"jvp got {len(primals)} primal(s) and {len(tangents)} tangent(s)")
    run = Run("jvp", f, primals, {}, range(len(primals)))
    directions = [
        leaf
        for i, (tree, v) in enumerate(zip(run.trees, tangents, strict=True))
        for leaf in structured(f"tangent {i}", v, tree)
    ]
    record = is_grad_enabled() and (run.record or any(map(moves, directions)))
    seeds = [(x, seed(x, v, record=record)) for x, v in zip(run.inputs, directions, strict=True)]
    found = run.push(seeds, record=record)
    outputs = run.output.leaves
    moved = [
        received(t, y, cotangent=False, own=run.own) for t, y in zip(found, outputs, strict=True)
    ]
    return run.plain(run.output.rebuild(outputs)), run.output.rebuild(moved)


def hvp(f: Callable[..., Any], x: Any, v: Any) -> Any:
    """Compute the product of the Hessian of `f` with a vector, at the cost of two gradients.

    Parameters
    ----------
    f : callable
        A function of one argument that returns one real number.
    x : array_like or container
        Where.
    v : array_like or container
        The vector: the structure and shapes of `x`.

    Returns
    -------
    ndarray or container
        ``H v``, in the structure of `x`.

    Raises
    ------
    TypeError
        If `x` is not floating, the result not real and floating, or the structures differ.
    ShapeError
        If shapes differ, or the result is not one number.

    Notes
    -----
    B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994),
    147-160, doi:10.1162/neco.1994.6.1.147; the Hessian being symmetric, v is pulled back through
    the gradient.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> tg.hvp(lambda x: np.sum(x**3), np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """
    check_callable("hvp", f)
    for name, item in (("x", x), ("v", v)):
        if any(dtype_of(leaf).kind == "c" for leaf in flatten(item).leaves):
            raise TypeError(f"hvp takes real numbers, and {name} is complex")
    structured("vector", v, flatten(x))
    _, pullback = vjp(grad(f), x)
    return pullback(v)[0]
