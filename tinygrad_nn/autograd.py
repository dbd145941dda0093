"""Gradients of results that are computed already, and the hunt for anomalies: PyTorch's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_nn.anomaly import detect_anomaly, set_detect_anomaly
from tinygrad_nn.backward import pull_back, reachable
from tinygrad_nn.errors import NotDifferentiableError, ShapeError
from tinygrad_nn.graph import Node, recording
from tinygrad_nn.rules.complex import conjugate
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.transforms.run import dtype_of, received, seed

__all__ = ["detect_anomaly", "grad", "set_detect_anomaly"]


def grad(
    outputs: Node | Sequence[Node],
    inputs: Node | Sequence[Node],
    grad_outputs: Any = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Return the gradients of recorded outputs with respect to recorded inputs.

    ``.grad`` of the leaves is left alone.

    Parameters
    ----------
    outputs : Tensor, Value or sequence of them
        Results.
    inputs : Tensor, Value or sequence of them
        Leaves or results that the outputs depend on.
    grad_outputs : array_like or sequence of array_like, optional
        The cotangent of each output, of its shape; None for 1, which needs an output of one
        element.
    create_graph : bool
        Whether to record the computation, so that the gradients can be differentiated again: they
        are then tensors, otherwise arrays.
    allow_unused : bool
        Whether the gradient of an input that the outputs do not depend on is None, and not an
        error.

    Returns
    -------
    tuple of ndarray, Tensor or None
        One for each input, of its shape and dtype.

    Raises
    ------
    NotDifferentiableError
        If an output requires no gradient, or an input is not used and may not be.
    ShapeError
        If a cotangent's shape is not its output's, or there is none where one is needed.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> (slope,) = tg.autograd.grad(x**3, x, create_graph=True)
    >>> tg.autograd.grad(slope, x)
    (array(12.),)
    """
    ys = _nodes("outputs", outputs)
    xs = _nodes("inputs", inputs)
    given = [grad_outputs] if isinstance(outputs, Node) else grad_outputs
    if given is None:
        given = [None] * len(ys)
    if not isinstance(given, tuple | list):
        raise TypeError(
            f"grad_outputs of several outputs must be a tuple, got {type(given).__name__}"
        )
    if len(given) != len(ys):
        raise TypeError(f"got {len(ys)} output(s) and {len(given)} grad_outputs")
    seeds = [(y, _seed(y, g, create_graph)) for y, g in zip(ys, given, strict=True)]
    live = reachable(ys, min(x.serial for x in xs)) if xs else {}
    unused = {x.serial: x.name for x in xs if x.serial not in live}
    if unused and not allow_unused:
        raise NotDifferentiableError(
            f"the outputs do not depend on {', '.join(unused.values())}; leave it out, or "
            f"say allow_unused=True to get None"
        )
    with recording():
        _, found = pull_back(seeds, record=create_graph, inputs=xs, live=live)
    return tuple(
        None if x.serial in unused else _gradient(found.get(x.serial), x, create_graph) for x in xs
    )


def _nodes(what: str, items: Any) -> list[Node]:
    nodes = list(items) if isinstance(items, tuple | list) else [items]
    for node in nodes:
        if not isinstance(node, Node):
            raise TypeError(f"{what} must be tensors or Values, got {type(node).__name__}")
        if not node.requires_grad:
            raise NotDifferentiableError(
                f"{node.name} among the {what} requires no gradient; was it computed under "
                f"no_grad(), or made without requires_grad=True?"
            )
    return nodes


def _seed(y: Node, g: Any, record: bool) -> Any:
    if g is None:
        if np.prod(y.shape) != 1 or dtype_of(y).kind == "c":
            raise ShapeError(
                f"the gradient of {y.name} needs grad_outputs, a cotangent of that shape: only of "
                f"one real number is it 1"
            )
        g = 1.0
    elif np.shape(g) != y.shape:
        raise ShapeError(f"a cotangent of {y.name} has shape {np.shape(g)}; it must have its shape")
    elif dtype_of(g).kind not in ("fciub" if dtype_of(y).kind == "c" else "fiub"):
        raise TypeError(f"a cotangent of {y.name}, of dtype {dtype_of(y)}, has dtype {dtype_of(g)}")
    return seed(y, np.conj(g) if dtype_of(y).kind == "c" else g, record=record)


def _gradient(c: Any, x: Node, record: bool) -> Any:
    if record:
        if c is None:
            return Tensor(np.zeros(x.shape, dtype_of(x)))
        return conjugate(c) if dtype_of(x).kind == "c" else c
    return received(c, x, cotangent=True)
