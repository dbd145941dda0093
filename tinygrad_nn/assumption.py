"""Conditions on numbers that the engine's own code branches on: its checks of what it is given."""

from __future__ import annotations

from typing import Any

from tinygrad_nn.dispatch import Dispatching
from tinygrad_nn.graph import Node, _unusual, capturing

__all__ = ["assume"]


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
