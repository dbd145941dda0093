"""The neutral description of a graph, in plain words and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinygrad_nn.draw.figures import Figures

__all__ = ["Cluster", "Description", "Edge", "Mark", "Vertex", "nested"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a check has found at a node.

    Attributes
    ----------
    kind : str
        "wrong" or "kink".
    word : str
        The finding in a word or two.
    message : str
        In full.

    Examples
    --------
    >>> from tinygrad_nn.draw import Mark
    >>> Mark("kink", "kink", "slopes from 0 to 1").kind
    'kink'
    """

    kind: str
    word: str
    message: str


@dataclass(frozen=True, slots=True)
class Vertex:
    """What a drawing says of one node.

    Attributes
    ----------
    role : str
        "parameter", "data", "constant", "result" or "output".
    label : str
        The name that it was given, or has in its model; may be empty, and is never trusted.
    op : str
        Name of the primitive; empty for a leaf.
    settings : str
        The primitive's keywords, as in ``axis=0``.
    shape, dtype : str
        Empty for plain Python numbers.
    value, grad : Figures or None
    cluster : int
        Index of the innermost cluster that it stands in; -1 for none.
    target : str
        Where the result is left, in a plan; else empty.
    mark : Mark or None
        What `gradcheck` has found here, in the drawing of its report.
    """

    role: str
    label: str
    op: str
    settings: str
    shape: str
    dtype: str
    value: Figures | None
    grad: Figures | None
    cluster: int
    target: str = ""
    mark: Mark | None = None

    @property
    def is_finite(self) -> bool:
        """Whether there is no nan or infinity in its value and gradient."""
        return all(f is None or f.is_finite for f in (self.value, self.grad))


@dataclass(frozen=True, slots=True)
class Edge:
    """An argument: vertex `source` goes into vertex `target`, both by index.

    `place` is the argument's position, counted from 1, where the order matters; else 0.
    """

    source: int
    target: int
    place: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """One call of a module: its name in the model (or empty), its title, the cluster around it."""

    name: str
    title: str
    parent: int


@dataclass(frozen=True, slots=True)
class Description:
    """A graph in words and numbers, in the order of creation.

    `note` says what is unusual about the gradients shown; empty when nothing is.
    """

    nodes: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...]
    note: str


def nested(graph: Description) -> Iterator[tuple[str, int, int]]:
    """Yield the drawing's parts as a writer needs them, clusters inside clusters. No recursion.

    Yields
    ------
    what : {"node", "open", "close"}
        A node, or the beginning or end of a cluster.
    index : int
        Of the node or cluster.
    depth : int
        In how many clusters it stands.
    """
    inside: list[list[int]] = [[] for _ in range(len(graph.clusters) + 1)]  # the last: outside all
    for i, vertex in enumerate(graph.nodes):
        inside[vertex.cluster].append(i)
    parts: list[list[int]] = [[] for _ in inside]
    for c, cluster in enumerate(graph.clusters):
        parts[cluster.parent].append(c)
    todo = [("open", -1, -1)]
    while todo:
        what, c, depth = todo.pop()
        if c >= 0:
            yield what, c, depth
        if what == "open":
            yield from (("node", i, depth + 1) for i in inside[c])
            todo.append(("close", c, depth))
            todo += [("open", part, depth + 1) for part in reversed(parts[c])]
