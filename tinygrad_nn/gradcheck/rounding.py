"""Rounding inside a recorded graph: how far it puts values off, and gradients.

What a function computes on the way may be larger than its result, as 1 beside 1 - cos(x). The
graph shows it: its nodes hold these numbers, and their cotangents say what becomes of an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.backward import pull_back, reachable
from tinygrad_nn.gradcheck.noise import signs
from tinygrad_nn.gradcheck.outputs import like, seeds
from tinygrad_nn.graph import Node
from tinygrad_nn.tensor import Tensor

__all__ = ["shaken", "value_rounding"]

Array = npt.NDArray[Any]


def value_rounding(outputs: list[Node], cotangents: Array) -> Array:
    """Estimate the rounding error of some combinations of a graph's outputs.

    Every result is off by half a unit in its last place, each by itself, so that the errors add up
    as the square root of the sum of squares (the model of N. J. Higham, Accuracy and Stability of
    Numerical Algorithms, 2002, section 2.8).

    Parameters
    ----------
    outputs : list of Node
    cotangents : ndarray, shape (K, m)
        The combinations.

    Returns
    -------
    ndarray, shape (K,)
    """
    result = np.zeros(len(cotangents))
    with np.errstate(all="ignore"):
        for k, g in enumerate(cotangents):
            live, found = pull_back(seeds(outputs, g, like), keep=True)
            total = 0.0
            for serial, c in found.items():
                node = live[serial]
                if node.primitive is not None and np.asarray(node._value).dtype.kind in "fc":
                    error = abs(np.multiply(c, node._value)) * _half_ulp(node._value)
                    total += float(np.sum(np.square(error, dtype=np.float64)))
            result[k] = total**0.5
    return np.nan_to_num(result, posinf=0.0)


def _half_ulp(a: Any) -> float:
    return 0.5 * float(np.finfo(np.asarray(a).dtype).eps)


@contextmanager
def shaken(outputs: list[Node], rng: np.random.Generator, ulps: float) -> Iterator[None]:
    """Compute a graph again with every result off by some units in its last place, for a while.

    Monte Carlo arithmetic (D. S. Parker, UCLA CSD-970002, 1997): what changes is known no better.
    Constants that are whole numbers are exact and stay.
    """
    kept: list[tuple[Node, str, Any]] = []
    live = reachable(node for node in outputs if node.requires_grad)
    values: dict[int, Any] = {}

    def put(node: Node, name: str, value: Any) -> None:
        kept.append((node, name, getattr(node, name)))
        setattr(node, name, value)

    try:
        for serial in sorted(live):
            node = live[serial]
            if node.primitive is None:
                values[serial] = _moved(node._value, rng, ulps, whole=True)
            else:
                inputs = [
                    values[a.serial] if isinstance(a, Node) and a.serial in values
                    else _moved(a._value if isinstance(a, Node) else a, rng, ulps, whole=False)
                    for a in node.args
                ]  # fmt: skip
                values[serial] = _moved(_again(node, inputs), rng, ulps, whole=True)
                if isinstance(node, Tensor):
                    put(node, "_raw", inputs)
            if node.primitive is not None or not isinstance(node, Tensor):
                put(node, "_value", values[serial])
        yield
    finally:
        for node, name, value in reversed(kept):
            setattr(node, name, value)


def _again(node: Node, inputs: list[Any]) -> Any:
    """Return what a node's primitive makes of other inputs; its value where it makes nothing."""
    assert node.primitive is not None
    old = node._value
    try:
        new = node.primitive.forward(*inputs, **node.static)
    except Exception:
        return old
    if not isinstance(node, Tensor):
        return float(new)
    new = np.asarray(new)
    return new if new.shape == old.shape and new.dtype == old.dtype else old


def _moved(a: Any, rng: np.random.Generator, ulps: float, *, whole: bool) -> Any:
    """Return floating numbers moved by units in the last place; whole ones only if asked for."""
    if isinstance(a, float) and not isinstance(a, np.floating):
        return a * (1.0 + 2.0 * ulps * _half_ulp(a) * float(signs(rng, ()))) if whole else a
    if not isinstance(a, np.ndarray) or a.dtype.kind not in "fc":
        return a
    # Of different sizes: equal ones would often cancel.
    step = 2.0 * ulps * _half_ulp(a) * signs(rng, a.shape)
    if not whole:
        step = np.where(a == np.rint(a), 0.0, step)
    return np.asarray(a * (1.0 + step), a.dtype)
