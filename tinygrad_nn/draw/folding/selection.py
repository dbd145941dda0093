"""What a user names, found in a description: tensors, modules, labels, patterns of names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from tinygrad_nn.draw.description import Description
from tinygrad_nn.draw.folding.parts import between, inside, near
from tinygrad_nn.draw.reading.describe import Described
from tinygrad_nn.graph import Node

__all__ = ["part_of"]


def part_of(described: Described, only: Any, around: Any, radius: int) -> Description:
    """Return the part of a graph that was asked for.

    Parameters
    ----------
    described : Described
    only : str, module, Node, sequence of them, or None
        Modules, with what goes into them; or two or more nodes, with what lies between them.
    around : str, Node, sequence of them, or None
        Nodes, with what is within `radius` edges of them.
    radius : int

    Raises
    ------
    TypeError
        For something that is neither a name, a node nor a module.
    ValueError
        If nothing is called so or is not in the graph, and if `only` mixes modules and tensors or
        gives a single tensor.
    """
    graph = described.description
    if only is None and around is None:
        return graph
    if only is not None and around is not None:
        raise ValueError("only= and around= exclude each other; give one of them")
    if around is not None:
        found = _found(described, "around", around)
        nodes = [i for nodes, clusters in found for i in nodes]
        nodes += [
            i for _, clusters in found for i, v in enumerate(graph.nodes) if v.cluster in clusters
        ]
        return near(graph, nodes, radius)
    found = _found(described, "only", only)
    if all(clusters for _, clusters in found):
        return inside(graph, [c for _, clusters in found for c in clusters])
    if not all(nodes for nodes, _ in found):
        raise ValueError("only= takes modules, or tensors, and not both at once")
    nodes = [i for nodes, _ in found for i in nodes]
    if len(set(nodes)) < 2:
        raise ValueError(
            "only= draws what lies between tensors and needs two or more of them; "
            "around= draws what is near one"
        )
    return between(graph, nodes)


_Found = tuple[list[int], list[int]]  # nodes, clusters


def _found(described: Described, keyword: str, asked: Any) -> list[_Found]:
    items: Sequence[Any] = asked if isinstance(asked, list | tuple) else [asked]
    if not items:
        raise ValueError(f"{keyword}= is empty; name a tensor or a module")
    return [_find(described, keyword, item) for item in items]


def _find(described: Described, keyword: str, item: Any) -> _Found:
    graph = described.description
    if isinstance(item, Node):
        if item.serial not in described.places:
            raise ValueError(f"{keyword}=: {item.name} is not in the graph that is drawn")
        return [described.places[item.serial]], []
    if isinstance(item, str):
        return _named(graph, keyword, item)
    clusters = [c for c, module in described.modules.items() if module is item]
    if clusters:
        return [], clusters
    raise TypeError(
        f"{keyword}= takes names, tensors and modules of the graph, got {type(item).__name__}"
    )


def _named(graph: Description, keyword: str, pattern: str) -> _Found:
    """Find modules by name, or else by title; or else nodes by label, or else by primitive."""
    ways: list[tuple[bool, Sequence[Any], Callable[[Any], str]]] = [
        (True, graph.clusters, lambda c: c.name),
        (False, graph.nodes, lambda v: v.label),
        (True, graph.clusters, lambda c: c.title),
        (False, graph.nodes, lambda v: v.op),
    ]
    for is_cluster, things, name in ways:
        found = [i for i, x in enumerate(things) if name(x) and fnmatchcase(name(x), pattern)]
        if found:
            return ([], found) if is_cluster else (found, [])
    names = dict.fromkeys(name(x) for _, things, name in ways for x in things if name(x))
    raise ValueError(
        f"{keyword}=: nothing in the graph is called {pattern!r}; there are "
        f"{', '.join(list(names)[:12]) or 'no names'}{', ...' if len(names) > 12 else ''}"
    )
