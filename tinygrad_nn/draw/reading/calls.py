"""A function in the place of a graph: called, so that there is one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_nn.anomaly import source_lines
from tinygrad_nn.graph import Node
from tinygrad_nn.tensor import tensor

__all__ = ["call"]


def call(function: Callable[..., Any], inputs: Any) -> tuple[Any, list[Node]]:
    """Call a function with tensors named after its parameters.

    Returned are what it returns, and the tensors.

    Parameters
    ----------
    function : callable
    inputs : object, or tuple of them
        The arguments. Numbers and arrays of floats, also nested lists of numbers, become tensors
        that require a gradient; whatever else is handed on as it is.

    Raises
    ------
    TypeError
        If there are no `inputs`, or what is returned has no graph.
    """
    if inputs is None:
        raise TypeError(
            f"a function has no graph until it is called: draw({_name(function)}, inputs=(...)) "
            f"calls it; or draw what it returns for tensors that require gradients"
        )
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    names = _parameters(function, len(arguments))
    arguments = tuple(map(_tensor, arguments, names))
    with source_lines():
        output = function(*arguments)
    if isinstance(output, np.ndarray | np.generic | float | int) or output is None:
        raise TypeError(
            f"{_name(function)} returned a {type(output).__name__}, which has no graph. Return "
            f"what was computed from the inputs with NumPy's functions"
        )
    return output, [a for a in arguments if isinstance(a, Node)]


def _tensor(x: Any, name: str) -> Any:
    if isinstance(x, Node) or not isinstance(x, np.ndarray | np.generic | float | list):
        return x
    array = np.asarray(x)
    return tensor(array, requires_grad=True, label=name) if array.dtype.kind in "fc" else x


def _parameters(function: Callable[..., Any], count: int) -> Sequence[str]:
    """Return the names of the first parameters, as far as they can be known."""
    try:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        names = [p.name for p in parameters if p.kind in kinds]
    except (TypeError, ValueError):  # of some builtins nothing is known
        names = []
    return [*names, *(f"input {i}" for i in range(len(names), count))]


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
