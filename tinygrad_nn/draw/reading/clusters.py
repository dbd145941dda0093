"""Which module call each node was made in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_nn.graph import Node

__all__ = ["Call", "calls_around"]


class Call:
    """One call of a module, and the call that it was made in.

    A parent's `start` is always smaller, for the outer call begins first.
    """

    __slots__ = ("module", "parent", "start", "title")

    def __init__(self, module: Callable[[], Any], title: str, start: int) -> None:
        self.module = module
        self.title = title
        self.start = start
        self.parent: Call | None = None


def calls_around(
    nodes: Sequence[Node], is_parameter: Callable[[Node], bool]
) -> tuple[list[Call], dict[int, Call | None]]:
    """Find the calls that the nodes were made in, and the innermost one around each.

    A call that returned node `h` and began after number `start` made those of h's ancestors that
    are numbered above `start`. The calls around one node therefore nest, ordered by `start`, and
    one sweep from outputs to inputs finds them all: a node is in the calls of its users that had
    begun before it, and in those that returned it.

    Parameters are older than any call; they stand in the innermost call around all their users.

    Parameters
    ----------
    nodes : sequence of Node
        In the order of creation, with everything that they were computed from.
    is_parameter : callable
        Whether a leaf shall be drawn with its users.

    Returns
    -------
    calls : list of Call
        In the order in which they began, so that outer calls come first.
    around : dict of int to Call or None
        By serial number.
    """
    calls: dict[int, Call] = {}  # by start, which no two calls share
    around: dict[int, Call | None] = {}
    for node in reversed(nodes):
        call = around.get(node.serial)
        for scope in node.scopes:
            known = calls.get(scope.start)
            if known is None:
                known = calls[scope.start] = Call(scope.module, scope.title, scope.start)
            call = _merged(call, known)
        around[node.serial] = call
        for a in node.args:
            if not isinstance(a, Node):
                continue
            outer = call
            while outer is not None and outer.start >= a.serial:
                outer = outer.parent
            old = around.get(a.serial)
            around[a.serial] = outer if old is None or old is outer else _merged(old, outer)
    if calls:
        _place_parameters(nodes, is_parameter, around)
    return [calls[start] for start in sorted(calls)], around


def _place_parameters(
    nodes: Sequence[Node], is_parameter: Callable[[Node], bool], around: dict[int, Call | None]
) -> None:
    homes: dict[int, Call | None] = {}  # the innermost call around all users so far
    for node in nodes:
        call = around[node.serial]
        for a in node.args:
            if isinstance(a, Node) and a.primitive is None and around[a.serial] is None:
                home = homes.get(a.serial, call)
                homes[a.serial] = home if home is call else _common(home, call)
    for node in nodes:
        if homes.get(node.serial) is not None and is_parameter(node):
            around[node.serial] = homes[node.serial]


def _merged(a: Call | None, b: Call | None) -> Call | None:
    """Merge two chains of nested calls around one node; return the innermost."""
    if a is None or b is None:
        return a or b
    inner = a if a.start >= b.start else b
    while a is not b and b is not None:
        if a.start < b.start:
            a, b = b, a
        if a.parent is None or a.parent.start < b.start:
            a.parent, a, b = b, b, a.parent
        else:
            a = a.parent
    return inner


def _common(a: Call | None, b: Call | None) -> Call | None:
    """Return the innermost call around both."""
    while a is not b:
        if a is None or b is None:
            return None
        if a.start > b.start:
            a = a.parent
        else:
            b = b.parent
    return a
