"""How clusters lie in each other, and how they are written anew when some are left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tinygrad_nn.draw.description import Cluster, Description

__all__ = ["Tree", "covered", "numbered", "sizes"]


def sizes(graph: Description) -> list[int]:
    """Count the nodes in each cluster and the clusters in it; last, those of the graph."""
    found = [0] * (len(graph.clusters) + 1)
    for v in graph.nodes:
        found[v.cluster] += 1
    for c in range(len(graph.clusters) - 1, -1, -1):
        found[graph.clusters[c].parent] += found[c]
    return found


def covered(graph: Description, folded: Collection[int]) -> list[bool]:
    """Say of each cluster, and last of what is outside all, whether it is in a folded one."""
    hidden = [False] * (len(graph.clusters) + 1)
    for c, cluster in enumerate(graph.clusters):
        hidden[c] = c in folded or hidden[cluster.parent]
    return hidden


def numbered(
    clusters: Sequence[Cluster], keep: Sequence[bool]
) -> tuple[tuple[Cluster, ...], list[int]]:
    """Leave out clusters, with all that are in them, and number the others.

    Returns
    -------
    clusters : tuple of Cluster
    number : list of int
        Of each cluster that is kept, where it is now; last, -1 for what is outside all.
    """
    number: list[int] = [-1] * (len(clusters) + 1)
    kept: list[Cluster] = []
    for c, cluster in enumerate(clusters):
        if keep[c]:
            number[c] = len(kept)
            parent = number[cluster.parent]
            kept.append(cluster if parent == cluster.parent else cluster._replace(parent=parent))
    return tuple(kept), number


class Tree:
    """The clusters as a tree, with the nodes written in a row in which each cluster is an interval.

    Of what is outside all clusters, index -1, every list has an entry at its end.

    Attributes
    ----------
    at : list of int
        Each node's position in the row.
    first, end : list of int
        Each cluster's interval.
    parent, leap : list of int
        Clusters further out: the next one, and one so far away that a search outwards takes a
        logarithmic number of steps [1]_.

    .. [1] Myers, E. W. An applicative random-access stack. Inf. Process. Lett. 17 (1983) 241-248.
    """

    def __init__(self, graph: Description) -> None:
        outside = len(graph.clusters)
        size = sizes(graph)
        free = [0] * (outside + 1)  # the next position for a node, then for a cluster
        for v in graph.nodes:
            free[v.cluster] += 1
        self.parent = [*(cluster.parent for cluster in graph.clusters), -1]
        self.first = [0] * (outside + 1)
        for c, p in enumerate(self.parent[:-1]):
            self.first[c] = free[p]
            free[p] += size[c]
            free[c] += self.first[c]
        self.end = [first + size for first, size in zip(self.first, size, strict=True)]
        free = list(self.first)
        self.at = []
        for v in graph.nodes:
            self.at.append(free[v.cluster])
            free[v.cluster] += 1
        self.leap = [-1] * (outside + 1)
        depth = [0] * (outside + 1)
        for c, p in enumerate(self.parent[:-1]):
            depth[c] = depth[p] + 1
            far = self.leap[p]
            same = depth[p] - depth[far] == depth[far] - depth[self.leap[far]]
            self.leap[c] = self.leap[far] if same else p

    def below(self, c: int, position: int) -> int:
        """Return the outermost cluster around `c` that does not hold a position.

        It is `c` itself or further out; -1 if `c` holds the position already.
        """
        first, end, parent = self.first, self.end, self.parent
        if first[c] <= position < end[c]:
            return -1
        while True:
            far = self.leap[c]
            if not first[far] <= position < end[far]:
                c = far
                continue
            out = parent[c]
            if first[out] <= position < end[out]:
                return c
            c = out

    def around(self, c: int, position: int) -> int:
        """Return the innermost cluster around `c`, or `c`, that holds a position."""
        below = self.below(c, position)
        return c if below < 0 else self.parent[below]
