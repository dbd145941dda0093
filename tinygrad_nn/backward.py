"""The walk over a graph from outputs back to what they were computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_nn.anomaly import watched_pull
from tinygrad_nn.errors import ShapeError
from tinygrad_nn.graph import Node, _unusual, next_serial

__all__ = ["accumulate", "pull_back", "reachable"]


def reachable(
    outputs: Iterable[Node], since: int = 0, outside: list[Node] | None = None
) -> dict[int, Node]:
    """Return every node that `outputs` depend on and that needs a gradient, by serial number.

    Nodes numbered below `since` are left out, and noted in `outside`. Iterative, so its depth is
    bounded by memory alone.
    """
    live = {node.serial: node for node in outputs}
    stack = list(live.values())
    pop, push = stack.pop, stack.append
    while stack:
        for a in pop()._parents:
            serial = a.serial
            if serial not in live and a.requires_grad:
                if serial >= since:
                    live[serial] = a
                    if a.primitive is not None:
                        push(a)
                elif outside is not None:
                    outside.append(a)
    return live


def pull_back(
    seeds: Iterable[tuple[Node, Any]],
    *,
    record: bool = False,
    keep: bool = False,
    inputs: Sequence[Node] = (),
    live: dict[int, Node] | None = None,
) -> tuple[dict[int, Node], dict[int, Any]]:
    """Pull cotangents of outputs back to the leaves.

    Descending serial number is a reverse topological order, so that a node's cotangent is complete
    when its turn comes.

    Parameters
    ----------
    seeds : iterable of (Node, cotangent)
        Outputs and their cotangents, each of the node's shape.
    record : bool
        Hand nodes to the rules, not raw data: the cotangents are then nodes themselves and can be
        differentiated again. This is all there is to derivatives of higher order.
    keep : bool
        Keep the cotangents of intermediate nodes, not of leaves alone.
    inputs : sequence of Node
        Pull no further than to these, and keep their cotangents. What is numbered below the first
        of them cannot depend on any, and is not visited: an outer variable costs nothing.
    live : dict, optional
        What is `reachable` from the outputs, where the caller knows it already.

    Returns
    -------
    nodes, cotangents : dict, dict
        By serial number. A node without an entry in `cotangents` got none.

    Raises
    ------
    ShapeError
        If a cotangent's shape is not the node's.
    """
    cotangents: dict[int, Any] = {}
    outputs = []
    for node, g in seeds:
        if np.shape(g) != node.shape:
            raise ShapeError(
                f"the cotangent of {node.name} has shape {np.shape(g)}; it must have the node's, "
                f"{node.shape}"
            )
        outputs.append(node)
        serial = node.serial
        cotangents[serial] = cotangents[serial] + g if serial in cotangents else g
    start = next_serial() if record else 0
    kept = {node.serial for node in inputs} if inputs else ()
    since = min(kept) if kept else 0
    if live is None:
        live = reachable(outputs, since)
    watched = watched_pull(live) if _unusual else None
    for serial in sorted(live, reverse=True):
        node = live[serial]
        if node.primitive is not None and serial in cotangents:
            keeps = keep or (kept and serial in kept)
            g = cotangents[serial] if keeps else cotangents.pop(serial)
            if record and not keeps:
                _mark(g, start)
            if watched is None:
                node._pull(g, cotangents, record, since)
            else:
                watched(node, g, cotangents, record, since)
    if record:
        for g in cotangents.values():
            _mark(g, start)
    return live, cotangents


def _mark(g: Any, start: int) -> None:
    """Note on a cotangent that a walk has made it, from `start` on; a seed was there before."""
    if isinstance(g, Node) and g.serial > start:
        g._scopes += (_no_module, "backward", start)


def _no_module() -> None:
    """Stand in for a reference to the module that a scope is a call of: the walk has none."""


def accumulate(output: Node, seed: Any) -> None:
    """Add the gradient of `output` to ``.grad`` of every leaf that it depends on.

    ``.grad`` is replaced and never added to in place: whoever holds the old one keeps it.
    """
    live, cotangents = pull_back([(output, seed)], keep=output.keeps_gradients)
    for serial, g in cotangents.items():
        node = live[serial]
        if node.primitive is None:
            node._store(g)
        elif node.keeps_gradients:
            node._grad = g
