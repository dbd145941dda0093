"""A part of a description: one module, the paths between nodes, or what stands around them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tinygrad_nn.draw.description import Description, Edge
from tinygrad_nn.draw.folding.nesting import numbered

__all__ = ["between", "inside", "near"]


def inside(graph: Description, clusters: Collection[int]) -> Description:
    """Keep what is in some clusters, with all arguments of it.

    Parameters
    ----------
    graph : Description
    clusters : collection of int
        By index.

    Returns
    -------
    Description
        Its note says how many nodes are left out.

    Examples
    --------
    >>> from tinygrad_nn import nn, tensor
    >>> from tinygrad_nn.draw import draw
    >>> model = nn.MLP(2, [3, 3, 1], rng=0)
    >>> graph = draw(model(tensor([[1.0, 2.0]])).sum(), model).description
    >>> [cluster.name for cluster in graph.clusters]
    ['', 'layers.0', 'layers.1', 'layers.2']
    >>> part = inside(graph, [2])
    >>> [v.label or v.op for v in part.nodes]
    ['layers.1.weight', 'layers.1.bias', 'relu', 'linear', 'relu']
    >>> part.note
    '8 of 13 nodes are left out'
    """
    asked = [False] * (len(graph.clusters) + 1)  # the last: what is outside all
    for c in clusters:
        asked[c] = True
    for c, cluster in enumerate(graph.clusters):
        asked[c] = asked[c] or asked[cluster.parent]
    kept = [asked[v.cluster] for v in graph.nodes]
    arguments = [e.source for e in graph.edges if kept[e.target]]
    return _part(graph, [*(i for i, keep in enumerate(kept) if keep), *arguments])


def between(graph: Description, nodes: Collection[int]) -> Description:
    """Keep some nodes, and all that stands on a path from one of them to another.

    Parameters
    ----------
    graph : Description
    nodes : collection of int
        By index.

    Returns
    -------
    Description
        Its note says how many nodes are left out.

    Raises
    ------
    ValueError
        For an index that no node has, and for none at all.

    Examples
    --------
    >>> from tinygrad_nn import Value
    >>> from tinygrad_nn.draw import draw
    >>> x = Value(3.0, label="x")
    >>> graph = draw((x + 1.0) * 2.0).description
    >>> [v.label or v.op for v in between(graph, [0, 4]).nodes]
    ['x', 'add', 'multiply']
    """
    _refuse_unknown(graph, nodes)
    before, after = _neighbours(graph)
    return _part(graph, _reached(nodes, after).keys() & _reached(nodes, before).keys())


def near(graph: Description, nodes: Collection[int], radius: int) -> Description:
    """Keep some nodes, and all that are at most so many edges away, in whichever direction.

    Parameters
    ----------
    graph : Description
    nodes : collection of int
        By index.
    radius : int
        How many edges away; 0 keeps the nodes alone.

    Returns
    -------
    Description
        Its note says how many nodes are left out.

    Raises
    ------
    ValueError
        For an index that no node has, for none at all, and for a negative radius.

    Examples
    --------
    >>> from tinygrad_nn import Value
    >>> from tinygrad_nn.draw import draw
    >>> x = Value(3.0, label="x")
    >>> graph = draw((x + 1.0) * 2.0).description
    >>> near(graph, [0], 1).note
    '3 of 5 nodes are left out'
    """
    if radius < 0:
        raise ValueError(f"radius must be at least 0, got {radius}")
    _refuse_unknown(graph, nodes)
    before, after = _neighbours(graph)
    beside = [[*a, *b] for a, b in zip(before, after, strict=True)]
    return _part(graph, _reached(nodes, beside, radius))


def _refuse_unknown(graph: Description, nodes: Collection[int]) -> None:
    if not nodes:
        raise ValueError("there must be at least one node to keep, got none")
    for i in nodes:
        if not 0 <= i < len(graph.nodes):
            raise ValueError(
                f"there is no node {i}: the graph has {len(graph.nodes):,}, counted from 0"
            )


def _neighbours(graph: Description) -> tuple[list[list[int]], list[list[int]]]:
    """Return the arguments of each node, and what is computed from it."""
    before: list[list[int]] = [[] for _ in graph.nodes]
    after: list[list[int]] = [[] for _ in graph.nodes]
    for e in graph.edges:
        before[e.target].append(e.source)
        after[e.source].append(e.target)
    return before, after


def _reached(
    nodes: Iterable[int], next_to: list[list[int]], radius: int | None = None
) -> dict[int, int]:
    """Return what can be reached, with the number of steps to it. Iterative."""
    steps = dict.fromkeys(nodes, 0)
    todo = list(steps)
    for i in todo:  # grows while it is read, nearer ones first
        if steps[i] == radius:
            break
        for j in next_to[i]:
            if j not in steps:
                steps[j] = steps[i] + 1
                todo.append(j)
    return steps


def _part(graph: Description, kept: Iterable[int]) -> Description:
    """Leave out all other nodes, and clusters of which nothing is left."""
    order = sorted(set(kept))
    if len(order) == len(graph.nodes):
        return graph
    index = {old: new for new, old in enumerate(order)}
    needed = [False] * (len(graph.clusters) + 1)
    for i in order:
        needed[graph.nodes[i].cluster] = True
    for c in range(len(graph.clusters) - 1, -1, -1):
        if needed[c]:
            needed[graph.clusters[c].parent] = True
    clusters, number = numbered(graph.clusters, needed)
    total = sum(v.hidden or 1 for v in graph.nodes)
    left_out = total - sum(graph.nodes[i].hidden or 1 for i in order)
    are = "is" if left_out == 1 else "are"
    said = f"{left_out:,} of {total:,} nodes {are} left out"
    return Description(
        tuple(graph.nodes[i]._replace(cluster=number[graph.nodes[i].cluster]) for i in order),
        tuple(
            Edge(index[e.source], index[e.target], e.place, e.local, e.flow)
            for e in graph.edges
            if e.source in index and e.target in index
        ),
        clusters,
        "; ".join(filter(None, (graph.note, said))),
    )
