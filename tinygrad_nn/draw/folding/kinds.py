"""Which clusters have the same content."""

from __future__ import annotations

from typing import Any

from tinygrad_nn.draw.description import Description
from tinygrad_nn.draw.folding.nesting import Tree

__all__ = ["kinds", "kinds_in"]


def kinds(graph: Description) -> tuple[int, ...]:
    """Give each cluster a number that says what is in it.

    Two clusters have one number if their titles, the clusters in them, and their nodes' roles,
    operations, settings, shapes and dtypes are equal, in the same order; if their nodes have the
    same arguments, by position inside, and from outside by shape and dtype; if those that come from
    outside are the same to them where they are the same to the other; and if the same results are
    used outside. Names, labels, values and numbers do not count.

    Returns
    -------
    tuple of int
        In the order of the clusters; the numbers in the order in which they first occur.

    Examples
    --------
    >>> from tinygrad_nn import nn, tensor
    >>> from tinygrad_nn.draw import draw
    >>> model = nn.MLP(2, [3, 3, 3, 1], rng=0)
    >>> graph = draw(model(tensor([[1.0, 2.0]])).sum(), model).description
    >>> kinds(graph)
    (0, 1, 2, 2, 3)
    """
    return kinds_in(graph, Tree(graph))


def kinds_in(graph: Description, tree: Tree) -> tuple[int, ...]:
    """Find the kinds as `kinds` does, with a tree that is there already."""
    count = len(graph.clusters)
    if len({cluster.title for cluster in graph.clusters}) == count:
        return tuple(range(count))
    at, first = tree.at, tree.first
    home = [v.cluster for v in graph.nodes]
    words: dict[Any, int] = {}

    def word(*parts: Any) -> int:
        return words.setdefault(parts, len(words))

    made = [word(v.shape, v.dtype) for v in graph.nodes]
    sources: list[list[int]] = [[] for _ in home]
    places: list[list[int]] = [[] for _ in home]
    for e in graph.edges:
        sources[e.target].append(e.source)
        places[e.target] += (e.place, made[e.source])
    row = [0] * len(home)
    for i, position in enumerate(at):
        row[position] = i

    # Each fact is told once, in the innermost cluster that it stands in whole, by positions in it.
    # What is told nowhere in a cluster is outside of it.
    facts: list[list[int]] = [[] for _ in tree.parent]
    first_use = [-1] * len(home)
    last_use: list[tuple[int, int]] = [(-1, 0)] * len(home)
    for position, v in enumerate(row):
        for k, u in enumerate(sources[v]):
            # What an argument is.
            c = home[v]
            if home[u] != c:
                c = tree.around(c, at[u])
            facts[c] += (at[u] - first[c], position - first[c], k)
            # With what else it is one. A cluster is an interval, in which the uses of one node
            # follow each other as they do in all.
            before, m = last_use[u]
            if before < 0:
                first_use[u] = position
            else:
                c = home[v]
                if home[row[before]] != c:
                    c = tree.around(c, before)
                facts[c] += (first[c] - before - 1, m, position - first[c], k)
            last_use[u] = position, k
    closed: list[list[int]] = [[] for _ in tree.parent]
    own: list[list[int]] = [[] for _ in tree.parent]
    for position, u in enumerate(row):
        c = home[u]
        n = graph.nodes[u]
        used = first_use[u] >= 0
        own[c].append(word(n.role, n.op, n.settings, made[u], used, *places[u]))
        # That all its uses are inside.
        if used:
            c = tree.around(tree.around(c, first_use[u]), last_use[u][0])
            closed[c].append(position - first[c])

    parts: list[list[int]] = [[] for _ in tree.parent]
    known: dict[Any, int] = {}
    kind = [0] * count
    for c in range(count - 1, -1, -1):  # what is inside comes first
        content = graph.clusters[c].title, *map(tuple, (own[c], parts[c], facts[c], closed[c]))
        kind[c] = known.setdefault(content, len(known))
        parts[tree.parent[c]].append(kind[c])
    renamed: dict[int, int] = {}
    return tuple(renamed.setdefault(k, len(renamed)) for k in kind)
