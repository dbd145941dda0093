"""What a node costs, found by computing it again from the numbers that its graph keeps.

Nothing has to be watched while the program runs, and what is measured is the primitive alone: the
NumPy calls, without the engine's bookkeeping.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_nn.draw.description import Cost
from tinygrad_nn.draw.reading.flows import pulled
from tinygrad_nn.graph import Node

__all__ = ["measure"]

#: The shortest of so many runs is taken: what disturbs a run only ever lengthens it.
_RUNS = 5


def measure(node: Node) -> Cost:
    """Measure the primitive of a node, and its derivative rules for a cotangent of ones.

    Parameters
    ----------
    node : Node
        A result.

    Returns
    -------
    Cost
        With no time for the rules where they fail or where no gradient is wanted.
    """
    primitive = node.primitive
    assert primitive is not None
    inputs = [a._value if isinstance(a, Node) else a for a in node.args]

    def forward() -> Any:
        return primitive.forward(*inputs, **node.static)

    result, peak = _peak(forward)
    kept = 0 if _is_view(result, inputs) else np.asarray(result).nbytes
    return Cost(_fastest(forward), _backward(node), kept, peak)


def _backward(node: Node) -> float:
    if not node.requires_grad:
        return 0.0
    args = node.args
    g = 1.0 if isinstance(node._value, float) else np.ones_like(node._value)
    try:
        return _fastest(lambda: pulled(node, g, args))
    except Exception:  # no rule, or one that fails: that is not for a profile to tell
        return 0.0


def _fastest(compute: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(_RUNS):
        start = perf_counter()
        compute()
        best = min(best, perf_counter() - start)
    return best


def _peak(compute: Callable[[], Any]) -> tuple[Any, int]:
    """Return the result, and the most bytes that were in use on the way to it."""
    if tracemalloc.is_tracing():  # somebody else's, whose record of peaks is not ours to reset
        return compute(), 0
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = compute()
        return result, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _is_view(result: Any, inputs: list[Any]) -> bool:
    return isinstance(result, np.ndarray) and any(
        isinstance(a, np.ndarray) and np.may_share_memory(result, a) for a in inputs
    )
