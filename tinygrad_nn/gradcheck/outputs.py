"""What a function has returned: its nodes, its numbers, and cotangents of its form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.backward import reachable
from tinygrad_nn.errors import LossError
from tinygrad_nn.graph import Node
from tinygrad_nn.tensor import Tensor

__all__ = ["flat", "like", "node_like", "outputs_in", "precision", "seeds"]

Array = npt.NDArray[Any]


def outputs_in(output: Any) -> Iterator[Node]:
    """Yield the nodes of an output: one, or a tuple, list or dict of them."""
    if isinstance(output, Node):
        dtype = _dtype(output)
        if dtype.kind != "f":
            raise LossError(
                f"the function returned a {type(output).__name__} of dtype {dtype}, and "
                f"only floating numbers have a derivative; a comparison, a count or an index is "
                f"constant"
            )
        yield output
    elif isinstance(output, tuple | list):
        for item in output:
            yield from outputs_in(item)
    elif isinstance(output, dict):
        yield from outputs_in(list(output.values()))
    elif output is None:
        raise LossError("the function returned None; is a `return` missing?")
    elif isinstance(output, np.ndarray | np.generic | int | float):
        raise LossError(
            f"the function returned a plain {type(output).__name__}, which no gradient can be "
            f"taken of: somewhere it left the graph (t.data, t.item()), or it does not use its "
            f"inputs. Compute with operators and NumPy's functions on the tensors themselves"
        )
    else:
        raise LossError(
            f"the function must return a Tensor or Value, or a tuple of them; it returned "
            f"{type(output).__name__}"
        )


def flat(outputs: list[Node]) -> Array:
    """Return all numbers of the outputs, one behind the other, in float64."""
    if not outputs:
        return np.zeros(0)
    return np.concatenate([np.ravel(np.asarray(o._value, np.float64)) for o in outputs])


def precision(outputs: list[Node]) -> np.dtype[Any]:
    """Return the least precise dtype that the outputs were computed in: the graph shows it."""
    dtypes = {_dtype(node) for node in reachable(outputs).values()} | {np.dtype(np.float64)}
    # Of complex numbers, the dtype of their parts.
    return np.finfo(max(dtypes, key=lambda dtype: np.finfo(dtype).eps)).dtype


def _dtype(node: Node) -> np.dtype[Any]:
    return node.dtype if isinstance(node, Tensor) else np.dtype(np.float64)


def like(node: Node, g: Array) -> Any:
    """Give numbers the form of a cotangent of `node`."""
    return g.reshape(node.shape).astype(_dtype(node)) if isinstance(node, Tensor) else float(g[0])


def node_like(node: Node, g: Array) -> Any:
    """Give numbers the form of a recorded cotangent of `node`."""
    c = like(node, g)
    return Tensor(c) if isinstance(node, Tensor) else c


def seeds(
    outputs: list[Node], g: Array, form: Callable[[Node, Array], Any]
) -> list[tuple[Node, Any]]:
    """Cut `g` into a cotangent for each output that has a gradient."""
    if len(outputs) == 1:
        return [(outputs[0], form(outputs[0], g))] if outputs[0].requires_grad else []
    sizes = [math.prod(node.shape) for node in outputs]
    parts = np.split(g, np.cumsum(sizes)[:-1])
    return [
        (node, form(node, part))
        for node, part in zip(outputs, parts, strict=True)
        if node.requires_grad
    ]
