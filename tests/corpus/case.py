"""A function with hand-written derivative rules, at a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_nn as tg

__all__ = ["Case", "Rule", "each", "sum_to"]

Array = np.ndarray
Rule = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Case:
    """A function of arrays, one rule ``(g, y, *inputs)`` per input, and inputs to check it at.

    Rules are NumPy expressions, so that they can be differentiated again; None stands for an input
    that is a constant. Nothing here comes from the engine, whose checker is judged by it.
    """

    name: str
    forward: Callable[..., Any]
    rules: Sequence[Rule | None]
    inputs: tuple[Any, ...]
    group: str = "smooth"  # or "kink", "float32"
    second: bool = True  # whether second derivatives mean anything

    def __str__(self) -> str:
        return self.name

    @property
    def active(self) -> list[int]:
        """Positions of the floating inputs; the others are constants."""
        return [i for i, x in enumerate(self.inputs) if np.asarray(x).dtype.kind == "f"]

    @property
    def point(self) -> list[Array]:
        """Copies of the floating inputs."""
        return [np.array(self.inputs[i]) for i in self.active]

    def primitive(self) -> tg.Primitive:
        """The same function as a node of a graph."""
        return tg.primitive(rules=self.rules, name=self.name)(self.forward)

    def at(self, point: Sequence[Any]) -> list[Any]:
        """All inputs, the floating ones taken from `point`."""
        inputs = [np.array(x) for x in self.inputs]
        for i, x in zip(self.active, point, strict=True):
            inputs[i] = x
        return inputs

    def cotangents(self, g: Any, point: Sequence[Any]) -> list[Any]:
        """What the rules give for the floating inputs."""
        inputs = self.at(point)
        y = np.asarray(self.forward(*inputs))
        return [0.0 * x if rule is None else rule(g, y, *inputs)
                for rule, x in ((self.rules[i], inputs[i]) for i in self.active)]  # fmt: skip

    def again(self, g: Any, point: Sequence[Any], e: Sequence[Any]) -> tuple[Any, ...]:
        """Pull `e` back through the rules: cotangents of `g` and of the floating inputs."""
        function = self.primitive()

        def first(g: Any, *point: Any) -> Any:
            return tg.vjp(lambda *x: function(*self.at(x)), *point)[1](g)

        return tg.vjp(first, g, *point)[1](tuple(e))  # type: ignore[no-any-return]


def each(back: Callable[..., Sequence[Any]], n: int) -> list[Rule]:
    """One rule to each of `n` inputs, from a pass ``back(g, *inputs)`` to all of them."""
    return [lambda g, y, *xs, k=k: back(g, *xs)[k] for k in range(n)]


def sum_to(c: Any, shape: tuple[int, ...]) -> Any:
    """Undo a broadcast from `shape`."""
    lead = c.ndim - len(shape)
    stretched = [lead + k for k, n in enumerate(shape) if n == 1 and c.shape[lead + k] != 1]
    return np.reshape(np.sum(c, axis=(*range(lead), *stretched)), shape)
