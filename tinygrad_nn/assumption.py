"""What the engine's own checks need of numbers: their truth, and their text in an error."""

from __future__ import annotations

from typing import Any

from tinygrad_nn.dispatch import Dispatching
from tinygrad_nn.graph import Node, _unusual, capturing

__all__ = ["assume", "shown"]


def assume(condition: Any) -> bool:
    """Return whether a condition on numbers holds; a replay for which it does not, starts over.

    While a step is captured, the answer becomes a condition of the plan: a call that meets another
    answer runs the Python code again.

    Parameters
    ----------
    condition : array_like of bool, of one element
    """
    if _unusual and capturing() is not None:
        if isinstance(condition, Node):
            condition = condition._seen()
        if isinstance(condition, Dispatching):
            return bool(capturing().assume(condition))
    return bool(condition)


def shown(x: Any) -> Any:
    """Return the numbers of `x`, for the text of an error, which ends a capture in any case."""
    return getattr(x, "example", x)
