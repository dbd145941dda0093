"""The neutral description of a graph, in plain words and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tinygrad_nn.draw.figures import Figures

__all__ = ["ROLES", "Cluster", "Cost", "Description", "Edge", "Mark", "Vertex", "nested"]

#: What a node may be: four kinds of node, the output, and a cluster that is folded to one node.
ROLES = ("input", "parameter", "constant", "intermediate", "output", "module")


class Mark(NamedTuple):
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


class Cost(NamedTuple):
    """What it takes to compute a node, measured by computing it again.

    Attributes
    ----------
    forward, backward : float
        Seconds that the primitive took, and all its derivative rules together.
    kept : int
        Bytes of the result; 0 for a view of what is there already.
    peak : int
        Bytes that were in use at most while the primitive ran, beyond those before it.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> x = tg.tensor(np.ones((100, 100)), requires_grad=True)
    >>> vertex = tg.draw((x * x).sum(), profile=True).description.nodes[1]
    >>> vertex.op, vertex.cost.kept
    ('multiply', 80000)
    """

    forward: float
    backward: float
    kept: int
    peak: int


class Vertex(NamedTuple):
    """What a drawing says of one node.

    Attributes
    ----------
    role : str
        One of `ROLES`.
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
    source : str
        The line of the user's program that computed it, where lines were noted.
    rules : tuple of (str, str)
        Of each argument that a gradient goes to: its name in the primitive, and the cotangent that
        the primitive's rule gives it, as a formula in the cotangent `g` and the result `y`.
    cost : Cost or None
        In a profiled drawing.
    hidden : int
        Of a folded cluster: the nodes that it stands for.
    is_dead : bool
        Whether all of its value is zero and no gradient comes back through it, so far as is known:
        a ReLU that is off.
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
    source: str = ""
    rules: tuple[tuple[str, str], ...] = ()
    cost: Cost | None = None
    hidden: int = 0
    is_dead: bool = False

    @property
    def is_finite(self) -> bool:
        """Whether there is no nan or infinity in its value and gradient."""
        return all(f is None or f.is_finite for f in (self.value, self.grad))


class Edge(NamedTuple):
    """An argument: vertex `source` goes into vertex `target`, both by index.

    Attributes
    ----------
    source, target : int
    place : int
        The argument's position, counted from 1, where the order matters; else 0.
    local : float or None
        Between single numbers, the derivative of `target` with respect to `source` alone.
    flow : Figures or None
        The cotangent that comes back along the edge. The gradient of `source` is the sum of these
        over the edges that leave it.
    """

    source: int
    target: int
    place: int
    local: float | None = None
    flow: Figures | None = None


class Cluster(NamedTuple):
    """One call of a module, or another part of the program.

    Attributes
    ----------
    name : str
        The module's name in the model; may be empty.
    title : str
        What it is, as in ``Linear(2, 3)``.
    parent : int
        Index of the cluster around it; -1 for none. Always smaller than its own index.
    """

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
