"""A description with parts of it folded into boxes: what keeps a large graph readable.

Folding is a quotient: every node is shown, or stands in exactly one box, and an edge is there where
one leads across. Nothing here is recursive, and nothing takes more than nearly linear time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise
from math import isqrt
from typing import Any

from tinygrad_nn.draw.collector import without_collector
from tinygrad_nn.draw.description import Cluster, Description, Edge, Vertex
from tinygrad_nn.draw.folding.boxes import boxes, group_of
from tinygrad_nn.draw.folding.kinds import kinds_in
from tinygrad_nn.draw.folding.nesting import Tree, covered, numbered, sizes
from tinygrad_nn.draw.folding.ordering import levels, next_of_kind, runs, runs_in, sorted_by_need

__all__ = ["choose", "fold", "fold_to", "in_runs"]

#: Runs are about so long where that makes few enough of them: many boxes of two help nobody.
_WORTH_A_BOX = 8


@without_collector
def fold_to(
    graph: Description,
    depth: int | None = None,
    max_nodes: int | None = None,
    repeats: bool | None = None,
) -> Description:
    """Fold a graph to what was asked for.

    Parameters
    ----------
    graph : Description
    depth, max_nodes : int, optional
        See `choose`. Where folding all clusters leaves more than `max_nodes` nodes and boxes, runs
        of nodes are folded too (see `in_runs`).
    repeats : bool, optional
        Whether neighbours of one kind become one box: by default those that are folded anyway. True
        alone folds all that have such neighbours, and nothing else.

    Returns
    -------
    Description

    Raises
    ------
    ValueError
        If `depth` is negative, or `max_nodes` below 1.

    Examples
    --------
    >>> from tinygrad_nn import Value
    >>> from tinygrad_nn.draw import draw
    >>> v = Value(1.0)
    >>> for _ in range(8):
    ...     v = -v
    >>> graph = fold_to(draw(v).description, max_nodes=2)
    >>> len(graph.nodes), graph.note
    (2, '9 of 9 nodes are folded into 2 boxes')
    """
    if depth is None and max_nodes is None:
        if not repeats:
            return graph
        run: Sequence[int] | None = runs(graph)
        assert run is not None
        repeated = {c for c, head in enumerate(run) if head != c}
        return _fold(graph, repeated | {run[c] for c in repeated}, True, run)
    repeats = repeats is not False
    folded = _deeper(graph, depth)
    if max_nodes is None:
        return _fold(graph, folded, repeats)
    _refuse_below("max_nodes", max_nodes, 1)
    visible = len(graph.nodes)
    outside = sum(v.cluster < 0 for v in graph.nodes)  # which no folding of clusters hides
    if outside <= max_nodes:
        chosen, visible, run = _chosen(graph, folded, max_nodes, repeats)
    if visible > max_nodes:
        # Too many nodes stand outside all clusters, or side by side in one.
        graph, number = _cut_to_runs(graph, max(max_nodes, 2), repeats)
        chosen, _, run = _chosen(graph, {number[c] for c in folded}, max_nodes, repeats)
    return _fold(graph, chosen, repeats, run)


def fold(graph: Description, folded: Collection[int], repeats: bool = True) -> Description:
    """Show each of some clusters as one box.

    A box is a vertex of role ``"module"``: the cluster's name is its label, the title its settings;
    its shape says what goes in and what comes out, ``(32, 784) → (32, 10)``; its cost is that of
    all that it hides, and `hidden` how many nodes those are. What is nan or infinite inside stands
    out still, and so does what a check has found there. The nodes keep the order in which they were
    made, as far as boxes have one.

    An output of the graph goes into the box like every other node, so that any graph can become
    small; the box's `target` names it, and if there is no other in the box, shows its value and
    gradient.

    Parameters
    ----------
    graph : Description
    folded : collection of int
        Indices of clusters. Of nested ones, the outermost counts.
    repeats : bool
        Whether neighbours of one kind become one box, titled ``Linear(8, 8) × 5``.

    Returns
    -------
    Description
        Its note says how many nodes are hidden. Edges between nodes that are both shown are as they
        were; others have neither place nor derivative, and are there once.

    Raises
    ------
    ValueError
        For an index that no cluster has.

    Examples
    --------
    >>> from tinygrad_nn import nn, tensor
    >>> from tinygrad_nn.draw import draw
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    >>> graph = draw(model(tensor([[1.0, 2.0]])).sum(), model).description
    >>> small = fold(graph, choose(graph, depth=1))
    >>> for v in small.nodes:
    ...     print(v.label or v.op or v.role, v.settings)
    input
    steps.0 Linear(2, 8, activation=None)
    steps.1 … steps.2 Linear(8, 8, activation=None) × 2
    sum
    >>> small.note
    '9 of 11 nodes are folded into 2 boxes'
    """
    folded = set(folded)
    for c in folded:
        if not 0 <= c < len(graph.clusters):
            raise ValueError(
                f"there is no cluster {c}: the graph has {len(graph.clusters):,}, counted from 0"
            )
    return _fold(graph, folded, repeats)


def _fold(
    graph: Description, folded: set[int], repeats: bool, run: Sequence[int] | None = None
) -> Description:
    """Fold clusters that there are; `run` is what `runs` returns, where it is known."""
    if not folded:
        return graph
    hidden = covered(graph, folded)
    groups = _groups(graph, hidden, repeats, run)
    of = group_of(graph, groups)
    clusters, number = numbered(graph.clusters, [not hides for hides in hidden])

    count = len(graph.nodes)
    item = [count + of[v.cluster] if of[v.cluster] >= 0 else i for i, v in enumerate(graph.nodes)]
    made = {at: i for i, at in enumerate(item)}  # of a box: when it was complete
    shown = sorted(made, key=made.__getitem__)
    dense = {at: k for k, at in enumerate(shown)}
    lifted: dict[tuple[int, int], None] = {}
    for e in graph.edges:
        a, b = item[e.source], item[e.target]
        if a != b:
            lifted[dense[a], dense[b]] = None
    order = sorted_by_need(list(range(len(shown))), lifted)
    index = {shown[k]: i for i, k in enumerate(order)}

    vertices = boxes(graph, groups)
    nodes = []
    for k in order:
        at = shown[k]
        vertex = graph.nodes[at] if at < count else vertices[at - count]
        home = number[vertex.cluster]
        nodes.append(vertex if home == vertex.cluster else vertex._replace(cluster=home))
    edges: dict[Any, Edge] = {}
    for k, e in enumerate(graph.edges):
        a, b = item[e.source], item[e.target]
        if a == e.source and b == e.target:
            i, j = index[a], index[b]
            edges[k] = e if (i, j) == (a, b) else Edge(i, j, e.place, e.local, e.flow)
        elif a != b and (a, b) not in edges:
            edges[a, b] = Edge(index[a], index[b], 0)
    return Description(
        tuple(nodes),
        tuple(sorted(edges.values(), key=lambda e: e.target)),
        clusters,
        "; ".join(filter(None, (graph.note, _said(graph, vertices)))),
    )


def _said(graph: Description, vertices: Sequence[Vertex]) -> str:
    if not vertices:
        return ""
    hidden = sum(v.hidden for v in vertices)
    total = sum(v.hidden or 1 for v in graph.nodes)
    are = "is" if hidden == 1 else "are"
    into = "1 box" if len(vertices) == 1 else f"{len(vertices):,} boxes"
    return f"{hidden:,} of {total:,} nodes {are} folded into {into}"


def _groups(
    graph: Description, hidden: Sequence[bool], repeats: bool, run: Sequence[int] | None
) -> list[list[int]]:
    """Return the outermost folded clusters, each with its neighbours of the same kind."""
    size = sizes(graph)
    outermost = [
        c
        for c, cluster in enumerate(graph.clusters)
        if hidden[c] and not hidden[cluster.parent] and size[c]
    ]
    titles = Counter((graph.clusters[c].parent, graph.clusters[c].title) for c in outermost)
    if not repeats or all(n == 1 for n in titles.values()):
        return [[c] for c in outermost]
    run = runs(graph) if run is None else run
    groups: list[list[int]] = []
    last: dict[int, list[int]] = {}  # by run
    for c, cluster in enumerate(graph.clusters):
        if not size[c] or hidden[cluster.parent]:
            continue
        if not hidden[c]:
            last.pop(run[c], None)  # an open one stands between
        elif run[c] in last:
            last[run[c]].append(c)
        else:
            last[run[c]] = [c]
            groups.append(last[run[c]])
    return groups


# --- what is folded ------------------------------------------------------------------------------


def choose(
    graph: Description,
    depth: int | None = None,
    max_nodes: int | None = None,
    repeats: bool = True,
) -> frozenset[int]:
    """Choose clusters to fold.

    Parameters
    ----------
    graph : Description
    depth : int, optional
        So many clusters within each other stay open: 0 folds the outermost ones. Folded are all
        that stand deeper, so that a box, opened, shows boxes.
    max_nodes : int, optional
        Fold further until no more nodes and boxes than this are shown, or everything is folded. The
        deepest clusters come first; of equally deep ones, all of one kind at a time, the kind that
        saves the most first. A graph whose nodes stand outside all clusters, or too many of them,
        needs `in_runs` first.
    repeats : bool
        Whether `fold` will be told to put neighbours of one kind into one box.

    Returns
    -------
    frozenset of int

    Raises
    ------
    ValueError
        If `depth` is negative, or `max_nodes` below 1.

    Examples
    --------
    >>> from tinygrad_nn import nn, tensor
    >>> from tinygrad_nn.draw import draw
    >>> model = nn.Sequential(nn.Linear(2, 3), "relu", nn.Linear(3, 1))
    >>> graph = draw(model(tensor([[1.0, 2.0]])).sum(), model).description
    >>> [cluster.name or cluster.title for cluster in graph.clusters]
    ['Sequential()', 'steps.0', 'steps.2']
    >>> sorted(choose(graph, depth=1)), sorted(choose(graph, max_nodes=7))
    ([1, 2], [1])
    """
    folded = _deeper(graph, depth)
    if max_nodes is None:
        return frozenset(folded)
    _refuse_below("max_nodes", max_nodes, 1)
    return frozenset(_chosen(graph, folded, max_nodes, repeats)[0])


def _refuse_below(name: str, limit: int, least: int) -> None:
    if limit < least:
        raise ValueError(f"{name} must be at least {least}, got {limit}")


def _deeper(graph: Description, depth: int | None) -> set[int]:
    """Return the clusters that stand in so many others, or more."""
    if depth is None:
        return set()
    _refuse_below("depth", depth, 0)
    return {c for c, at in enumerate(_depths(graph)) if at >= depth}


def _depths(graph: Description) -> list[int]:
    depths: list[int] = []
    for cluster in graph.clusters:
        depths.append(depths[cluster.parent] + 1 if cluster.parent >= 0 else 0)
    return depths


def _chosen(
    graph: Description, folded: set[int], max_nodes: int, repeats: bool
) -> tuple[set[int], int, Sequence[int]]:
    """Fold further; also return how many nodes and boxes are shown then, and the runs.

    With a cluster that is folded, all in it must be.
    """
    size = sizes(graph)
    depths = _depths(graph)
    tree = Tree(graph)
    kind = kinds_in(graph, tree)
    run: Sequence[int] = runs_in(graph, tree, kind) if repeats else range(len(kind))
    # What a cluster shows when all in it are folded, and what its class saves by being folded.
    content = Counter(v.cluster for v in graph.nodes)
    classes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for c, cluster in enumerate(graph.clusters):
        if size[c]:
            classes[-depths[c], kind[c]].append(c)
            content[cluster.parent] += run[c] == c
    saved = {key: sum(content[c] - (run[c] == c) for c in group) for key, group in classes.items()}
    chosen = set(folded)
    visible = len(graph.nodes)
    for key in sorted(classes, key=lambda key: (key[0], -saved[key], classes[key][0])):
        if visible <= max_nodes:
            break
        if saved[key]:
            chosen.update(classes[key])
            visible -= saved[key]
    return chosen, visible, run


# --- runs of loose nodes -------------------------------------------------------------------------


def in_runs(graph: Description, most: int, repeats: bool = True) -> Description:
    """Put runs of nodes into clusters of their own where too many stand side by side.

    A cluster of more than `most` nodes and clusters, or a graph of more than `most` outside all, is
    cut into runs in the order of computing, and those again where they are too long. They are
    titled ``nodes 1 to 250``, counted within the cluster, with parameters, constants and inputs
    counted right before what first uses them. With everything folded at most `most` boxes and nodes
    are shown, and each box that is opened shows at most so many more.

    Parameters
    ----------
    graph : Description
    most : int
        At least 2.
    repeats : bool
        Whether `fold` will be told to put neighbours of one kind into one box. They stay together
        then, and count as one.

    Returns
    -------
    Description
        With other clusters, and everything else as it was.

    Raises
    ------
    ValueError
        If `most` is below 2.

    Examples
    --------
    >>> from tinygrad_nn import Value
    >>> from tinygrad_nn.draw import draw
    >>> v = Value(1.0)
    >>> for _ in range(8):
    ...     v = -v
    >>> graph = in_runs(draw(v).description, 3)
    >>> [cluster.title for cluster in graph.clusters]
    ['nodes 1 to 3', 'nodes 4 to 6', 'nodes 7 to 9']
    """
    _refuse_below("most", most, 2)
    return _cut_to_runs(graph, most, repeats)[0]


def _cut_to_runs(graph: Description, most: int, repeats: bool) -> tuple[Description, Sequence[int]]:
    """Cut as `in_runs` does; also return each cluster's new number, -1 where it has no nodes."""
    tree = Tree(graph)
    count = len(graph.nodes)
    rows: list[list[list[int]]] = [[] for _ in tree.parent]
    for i, v in enumerate(graph.nodes):
        rows[v.cluster].append([i])
    for c, p in enumerate(tree.parent[:-1]):
        rows[p].append([count + c])
    wide = {c if c < len(graph.clusters) else -1 for c, row in enumerate(rows) if len(row) > most}
    following = next_of_kind(tree, kinds_in(graph, tree)) if repeats and wide else {}
    for c, row in levels(graph, tree, following, wide).items():
        rows[c] = row
    wide = {c for c in wide if len(rows[c]) > most}
    if not wide:
        return graph, range(len(graph.clusters))
    size = [1] * count + [end - first for first, end in zip(tree.first, tree.end, strict=True)]
    before = {
        c: [0, *accumulate(sum(size[item] for item in unit) for unit in rows[c])] for c in wide
    }

    def parts(c: int, start: int, stop: int) -> list[Any]:
        """Return what stands side by side: items, and runs (c, start, stop) of what is in c."""
        found: list[Any] = []
        for a, b in _cuts(start, stop, most):
            found += rows[c][a] if b - a == 1 else [(c, a, b)]
        return found

    homes = [-1] * count
    number = [-1] * len(graph.clusters)
    clusters: list[Cluster] = []
    # What is still to be written, and the cluster that it stands in. The next is the last.
    todo = [(part, -1) for part in reversed(parts(-1, 0, len(rows[-1])))]
    while todo:
        part, home = todo.pop()
        if isinstance(part, tuple):
            c, start, stop = part
            title = f"nodes {before[c][start] + 1:,} to {before[c][stop]:,}"
            cluster = Cluster("", title, home)
        elif part < count:
            homes[part] = home
            continue
        else:
            c = part - count
            start, stop = 0, len(rows[c])
            number[c] = len(clusters)
            cluster = graph.clusters[c]._replace(parent=home)
        todo += [(below, len(clusters)) for below in reversed(parts(c, start, stop))]
        clusters.append(cluster)
    nodes = [
        v if v.cluster == home else v._replace(cluster=home)
        for v, home in zip(graph.nodes, homes, strict=True)
    ]
    return Description(tuple(nodes), graph.edges, tuple(clusters), graph.note), number


def _cuts(start: int, stop: int, most: int) -> list[tuple[int, int]]:
    """Cut a range into at most so many of about one length: single ones where they are few.

    The longer ones come first, so that `choose`, which begins with what saves most, folds from the
    beginning.
    """
    n = stop - start
    if not n:
        return []
    k = n if n <= most else min(most, max(isqrt(n - 1) + 1, n // _WORTH_A_BOX))
    length, longer = divmod(n, k)
    ends = [start + i * length + min(i, longer) for i in range(k + 1)]
    return list(pairwise(ends))
