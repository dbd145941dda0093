"""A description with parts of it folded into boxes: what keeps a large graph readable.

Folding is a quotient: every node is shown, or stands in exactly one box, and an edge is there where
one leads across. Nothing here is recursive, and nothing takes more than nearly linear time.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any

from tinygrad_nn.draw.description import Cluster, Cost, Description, Edge, Mark, Vertex
from tinygrad_nn.draw.figures import Figures

__all__ = ["boxes", "choose", "fold", "in_runs", "kinds", "runs"]

#: What comes into a box from the side, and is no data that it works on.
_ASIDE = ("parameter", "constant")

#: So many different shapes, or results that are left somewhere, are written out.
_FEW = 3


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
    _refuse_unknown(graph, folded)
    if not folded:
        return graph
    groups = _groups(graph, set(folded), repeats)
    of = _group_of(graph, groups)
    hides = _covered(graph, folded)
    number: list[int] = []  # of the clusters that stay
    clusters: list[Cluster] = []
    for c, cluster in enumerate(graph.clusters):
        number.append(len(clusters))
        if not hides[c]:
            parent = number[cluster.parent] if cluster.parent >= 0 else -1
            clusters.append(
                cluster if parent == cluster.parent else replace(cluster, parent=parent)
            )
    number.append(-1)

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
    order = _sorted(list(range(len(shown))), lifted)
    index = {shown[k]: i for i, k in enumerate(order)}

    vertices = boxes(graph, groups)
    nodes = []
    for k in order:
        at = shown[k]
        vertex = graph.nodes[at] if at < count else vertices[at - count]
        home = number[vertex.cluster]
        nodes.append(vertex if home == vertex.cluster else _moved(vertex, home))
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
        tuple(clusters),
        _joined(graph.note, _said(graph, vertices)),
    )


_FIELDS = [field.name for field in fields(Vertex)]
_contents = attrgetter(*_FIELDS)
_CLUSTER = _FIELDS.index("cluster")


def _moved(vertex: Vertex, cluster: int) -> Vertex:
    """Put a vertex into another cluster, five times as fast as `replace` does."""
    contents = list(_contents(vertex))
    contents[_CLUSTER] = cluster
    return Vertex(*contents)


def _said(graph: Description, vertices: Sequence[Vertex]) -> str:
    if not vertices:
        return ""
    hidden = sum(v.hidden for v in vertices)
    total = sum(v.hidden or 1 for v in graph.nodes)
    are = "is" if hidden == 1 else "are"
    into = "1 box" if len(vertices) == 1 else f"{len(vertices):,} boxes"
    return f"{hidden:,} of {total:,} nodes {are} folded into {into}"


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _refuse_unknown(graph: Description, clusters: Iterable[int]) -> None:
    for c in clusters:
        if not 0 <= c < len(graph.clusters):
            raise ValueError(
                f"there is no cluster {c}: the graph has {len(graph.clusters)}, counted from 0"
            )


def _covered(graph: Description, folded: Collection[int]) -> list[bool]:
    """Say of each cluster, and last of what is outside all, whether it is in a folded one."""
    hidden = [False] * (len(graph.clusters) + 1)
    for c, cluster in enumerate(graph.clusters):
        hidden[c] = c in folded or hidden[cluster.parent]
    return hidden


def _groups(graph: Description, folded: Collection[int], repeats: bool) -> list[list[int]]:
    """Return the outermost folded clusters, each with its neighbours of the same kind."""
    hidden = _covered(graph, folded)
    sizes = _sizes(graph)
    outermost = [
        c
        for c, cluster in enumerate(graph.clusters)
        if hidden[c] and not hidden[cluster.parent] and sizes[c]
    ]
    titles = Counter((graph.clusters[c].parent, graph.clusters[c].title) for c in outermost)
    if not repeats or all(n == 1 for n in titles.values()):
        return [[c] for c in outermost]
    run = runs(graph)
    groups: list[list[int]] = []
    last: dict[int, list[int]] = {}  # by run
    for c, size in enumerate(sizes[:-1]):
        if not size or hidden[graph.clusters[c].parent]:
            continue
        if not hidden[c]:
            last.pop(run[c], None)  # an open one stands between
        elif run[c] in last:
            last[run[c]].append(c)
        else:
            last[run[c]] = [c]
            groups.append(last[run[c]])
    return groups


def _group_of(graph: Description, groups: Sequence[Sequence[int]]) -> list[int]:
    """Return the group that each cluster, and last what is outside all, stands in; -1 for none."""
    of = [-1] * (len(graph.clusters) + 1)
    for g, group in enumerate(groups):
        for c in group:
            of[c] = g
    for c, cluster in enumerate(graph.clusters):
        if of[c] < 0:
            of[c] = of[cluster.parent]
    return of


def _sizes(graph: Description) -> list[int]:
    """Count the nodes in each cluster and the clusters in it; last, those of the graph."""
    sizes = [0] * (len(graph.clusters) + 1)
    for v in graph.nodes:
        sizes[v.cluster] += 1
    for c in range(len(graph.clusters) - 1, -1, -1):
        sizes[graph.clusters[c].parent] += sizes[c]
    return sizes


# --- boxes ---------------------------------------------------------------------------------------


def boxes(graph: Description, groups: Sequence[Sequence[int]]) -> list[Vertex]:
    """Make the vertex that each group of clusters is folded to.

    Parameters
    ----------
    graph : Description
    groups : sequence of sequences of int
        Clusters, none of them in two groups or in another that is in one. All clusters of a group
        stand in the same cluster, and have one title.

    Returns
    -------
    list of Vertex
        Each with the cluster that the group stands in.

    Examples
    --------
    >>> from tinygrad_nn import nn, tensor
    >>> from tinygrad_nn.draw import draw
    >>> model = nn.Sequential(nn.Linear(2, 3), "relu", nn.Linear(3, 1))
    >>> graph = draw(model(tensor([[1.0, 2.0]])), model).description
    >>> for v in boxes(graph, [[1], [2]]):
    ...     print(v.label, v.settings, v.shape)
    steps.0 Linear(2, 3, activation=None) (1, 2) → (1, 3)
    steps.2 Linear(3, 1, activation=None) (1, 3) → (1, 1)
    """
    of = _group_of(graph, groups)
    box = [of[v.cluster] for v in graph.nodes]
    members: list[list[int]] = [[] for _ in groups]
    comes: list[dict[int, None]] = [{} for _ in groups]  # in the order of use
    goes: list[set[int]] = [set() for _ in groups]
    used = [False] * len(graph.nodes)
    computed = [False] * len(graph.nodes)
    for e in graph.edges:
        a, b = box[e.source], box[e.target]
        used[e.source] = computed[e.target] = True
        if a != b:
            if a >= 0:
                goes[a].add(e.source)
            if b >= 0 and graph.nodes[e.source].role not in _ASIDE:
                comes[b][e.source] = None
    for i, v in enumerate(graph.nodes):
        if box[i] >= 0:
            members[box[i]].append(i)
            if v.role == "output" or (computed[i] and not used[i]):
                goes[box[i]].add(i)

    def vertices(indices: Iterable[int]) -> list[Vertex]:
        return [graph.nodes[i] for i in indices]

    return [
        _box(
            [graph.clusters[c] for c in group],
            vertices(inside),
            vertices(into),
            vertices(sorted(out)),
        )
        for group, inside, into, out in zip(groups, members, comes, goes, strict=True)
    ]


def _box(
    group: Sequence[Cluster], inside: list[Vertex], into: list[Vertex], out: list[Vertex]
) -> Vertex:
    first, last = group[0], group[-1]
    label = first.name if first.name == last.name else f"{first.name} … {last.name}"
    title = first.title if len(group) == 1 else f"{first.title} × {len(group):,}"
    hidden = sum(v.hidden or 1 for v in inside)
    outputs = [v for v in inside if v.role == "output"]
    only = outputs[0] if len(outputs) == 1 else None
    return Vertex(
        "module",
        label,
        "",
        title,
        _across(_shapes(into), _shapes(out)),
        _dtypes(into, out),
        _strange([v.value for v in inside], hidden) or (only.value if only else None),
        _strange([v.grad for v in inside], hidden) or (only.grad if only else None),
        first.parent,
        target=_listed([v.target or f"output {v.label}".rstrip() for v in outputs]),
        mark=_worst([v.mark for v in inside if v.mark is not None]),
        cost=_sum([v.cost for v in inside if v.cost is not None]),
        hidden=hidden,
    )


def _across(into: str, out: str) -> str:
    return f"{into} → {out}".strip() if into or out else ""


def _shapes(vertices: list[Vertex]) -> str:
    """Write shapes, equal ones once: ``2 × (32, 8), 3 numbers``."""
    return _listed([
        (shape if n == 1 else f"{n:,} × {shape}")
        if shape
        else ("1 number" if n == 1 else f"{n:,} numbers")
        for shape, n in Counter(v.shape for v in vertices).items()
    ])  # fmt: skip


def _dtypes(into: list[Vertex], out: list[Vertex]) -> str:
    a, b = (list(dict.fromkeys(v.dtype for v in vs if v.dtype)) for vs in (into, out))
    return _listed(a or b) if a == b or not a or not b else _across(_listed(a), _listed(b))


def _listed(texts: list[str]) -> str:
    if len(texts) <= _FEW:
        return ", ".join(texts)
    return f"{', '.join(texts[: _FEW - 1])} and {len(texts) - _FEW + 1:,} more"


def _strange(all_figures: list[Figures | None], count: int) -> Figures | None:
    """Say how many nodes have numbers that are not finite; None where there is none."""
    known = [f for f in all_figures if f is not None]
    bad = sum(not f.is_finite for f in known)
    if not bad:
        return None
    return Figures(
        f"not finite in {bad:,} of {count:,} nodes",
        None,
        None,
        None,
        sum(f.size for f in known),
        sum(f.zeros for f in known),
        sum(f.nan for f in known),
        sum(f.inf for f in known),
    )


def _worst(marks: list[Mark]) -> Mark | None:
    """Return the first mark of the worst kind, with the number of the others."""
    if not marks:
        return None
    worst = next((m for m in marks if m.kind == "wrong"), marks[0])
    more = len(marks) - 1
    return replace(worst, message=f"{worst.message} (and {more:,} more inside)") if more else worst


def _sum(costs: list[Cost]) -> Cost | None:
    """Add up what nodes took one after the other, each with the results before it still there."""
    if not costs:
        return None
    kept = peak = 0
    for cost in costs:
        peak = max(peak, kept + cost.peak)
        kept += cost.kept
    return Cost(sum(c.forward for c in costs), sum(c.backward for c in costs), kept, peak)


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
    for name, limit, least in (("depth", depth, 0), ("max_nodes", max_nodes, 1)):
        if limit is not None and limit < least:
            raise ValueError(f"{name} must be at least {least}, got {limit}")
    sizes = _sizes(graph)
    depths = _depths(graph)
    chosen = {c for c, at in enumerate(depths) if depth is not None and at >= depth}
    if max_nodes is None:
        return frozenset(chosen)

    tree = _Tree(graph)
    kind = _kinds(graph, tree)
    run = _runs(graph, tree, kind) if repeats else range(len(kind))
    # What a cluster shows when all in it are folded, and what its class saves by being folded.
    content = Counter(v.cluster for v in graph.nodes)
    classes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for c, cluster in enumerate(graph.clusters):
        if sizes[c]:
            classes[-depths[c], kind[c]].append(c)
            content[cluster.parent] += run[c] == c
    saved = {key: sum(content[c] - (run[c] == c) for c in group) for key, group in classes.items()}
    visible = len(graph.nodes)
    for key in sorted(classes, key=lambda key: (key[0], -saved[key], classes[key][0])):
        if depth is None or -key[0] < depth:
            if visible <= max_nodes:
                break
            if not saved[key]:
                continue
        chosen.update(classes[key])
        visible -= saved[key]
    return frozenset(chosen)


def _depths(graph: Description) -> list[int]:
    depths: list[int] = []
    for cluster in graph.clusters:
        depths.append(depths[cluster.parent] + 1 if cluster.parent >= 0 else 0)
    return depths


# --- where nodes stand ---------------------------------------------------------------------------


class _Tree:
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
        sizes = _sizes(graph)
        free = [0] * (outside + 1)  # the next position for a node, then for a cluster
        for v in graph.nodes:
            free[v.cluster] += 1
        self.parent = [*(cluster.parent for cluster in graph.clusters), -1]
        self.first = [0] * (outside + 1)
        for c, p in enumerate(self.parent[:-1]):
            self.first[c] = free[p]
            free[p] += sizes[c]
            free[c] += self.first[c]
        self.end = [first + size for first, size in zip(self.first, sizes, strict=True)]
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
    return _kinds(graph, _Tree(graph))


def _kinds(graph: Description, tree: _Tree) -> tuple[int, ...]:
    if not graph.clusters:
        return ()
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
    kind = [0] * len(graph.clusters)
    for c in range(len(graph.clusters) - 1, -1, -1):  # what is inside comes first
        content = graph.clusters[c].title, *map(tuple, (own[c], parts[c], facts[c], closed[c]))
        kind[c] = known.setdefault(content, len(known))
        parts[tree.parent[c]].append(kind[c])
    renamed: dict[int, int] = {}
    return tuple(renamed.setdefault(k, len(renamed)) for k in kind)


# --- in which order things can stand -------------------------------------------------------------


def runs(graph: Description, kind: Sequence[int] | None = None) -> tuple[int, ...]:
    """Find neighbours of one kind: layers that follow each other, neurons side by side.

    Clusters are neighbours if the next in the same cluster can be computed right after the one
    before, so that one box for both is computed from what comes before it alone.

    Parameters
    ----------
    graph : Description
    kind : sequence of int, optional
        What `kinds` returns.

    Returns
    -------
    tuple of int
        Of each cluster the first one of its run; its own index where it is alone.

    Examples
    --------
    >>> from tinygrad_nn import nn, tensor
    >>> from tinygrad_nn.draw import draw
    >>> model = nn.MLP(2, [3, 3, 3, 1], rng=0)
    >>> runs(draw(model(tensor([[1.0, 2.0]])).sum(), model).description)
    (0, 1, 2, 2, 4)
    """
    tree = _Tree(graph)
    return tuple(_runs(graph, tree, _kinds(graph, tree) if kind is None else kind))


def _runs(graph: Description, tree: _Tree, kind: Sequence[int]) -> list[int]:
    count = len(graph.nodes)
    next_of_kind = _next_of_kind(tree, kind)
    levels = _levels(graph, tree, next_of_kind, {tree.parent[c] for c in next_of_kind})
    head = list(range(len(kind)))
    for units in levels.values():
        for unit in units:
            for item in unit[1:]:
                head[item - count] = unit[0] - count
    return head


def _next_of_kind(tree: _Tree, kind: Sequence[int]) -> dict[int, int]:
    """Return the next cluster beside each one, where both are of one kind."""
    found: dict[int, int] = {}
    last: dict[int, int] = {}  # by what they stand in
    for c, k in enumerate(kind):
        if tree.first[c] == tree.end[c]:
            continue
        before = last.get(tree.parent[c])
        if before is not None and kind[before] == k:
            found[before] = c
        last[tree.parent[c]] = c
    return found


def _levels(
    graph: Description, tree: _Tree, next_of_kind: Mapping[int, int], wanted: Collection[int]
) -> dict[int, list[list[int]]]:
    """Put what stands side by side in an order of computing.

    Parameters
    ----------
    graph : Description
    tree : _Tree
    next_of_kind : mapping of int to int
        Clusters that shall stand right behind others if they can.
    wanted : collection of int
        Clusters to look into; -1 for what stands outside all.

    Returns
    -------
    dict of int to list of units
        A unit is a list of items: node i as i, cluster c as number of nodes + c. It is one item,
        or a run of clusters of one kind. Leaves stand before what first uses them.
    """
    if not wanted:
        return {}
    count = len(graph.nodes)
    leaf = [True] * count
    for e in graph.edges:
        leaf[e.target] = False
    levels = {v: c for v, c in enumerate(n.cluster for n in graph.nodes) if c in wanted}
    for c, p in enumerate(tree.parent[:-1]):
        if p in wanted and tree.first[c] < tree.end[c]:
            levels[count + c] = p
    pairs = dict.fromkeys(_lifted(graph, tree, wanted))

    begins = _begins(graph, tree, leaf)
    items = [item for item in levels if item >= count or not leaf[item]]
    dense = {item: k for k, item in enumerate(items)}
    following = {count + a: count + b for a, b in next_of_kind.items() if tree.parent[a] in wanted}
    order = _sorted(
        [item if item < count else begins[item - count] for item in items],
        [(dense[a], dense[b]) for a, b in pairs if a in dense],
        {dense[a]: dense[b] for a, b in following.items()},
    )
    units: dict[int, list[list[int]]] = {c: [] for c in wanted}
    place: dict[int, int] = {}
    for k in order:
        item = items[k]
        row = units[levels[item]]
        if row and following.get(row[-1][-1]) == item:
            row[-1].append(item)
        else:
            row.append([item])
        place[item] = len(row)
    user: dict[int, int] = {}
    for a, b in pairs:
        if a not in dense:
            user[a] = min(user.get(a, place[b]), place[b])
    leaves: dict[int, list[tuple[int, int]]] = {c: [] for c in wanted}
    for item, c in levels.items():
        if item not in dense:
            leaves[c].append((user.get(item, 0), item))
    return {c: _with_leaves(row, leaves[c]) for c, row in units.items()}


def _begins(graph: Description, tree: _Tree, leaf: Sequence[bool]) -> list[int]:
    """Return where each cluster begins: at its first result, for parameters are older than it."""
    count = len(graph.nodes)
    begins = [count] * len(tree.parent)
    stands = [count] * len(tree.parent)
    for i in range(count - 1, -1, -1):
        c = graph.nodes[i].cluster
        stands[c] = i
        if not leaf[i]:
            begins[c] = i
    for c in range(len(tree.parent) - 2, -1, -1):
        p = tree.parent[c]
        stands[p] = min(stands[p], stands[c])
        begins[p] = min(begins[p], begins[c])
    return [b if b < count else s for b, s in zip(begins, stands, strict=True)]


def _with_leaves(row: list[list[int]], leaves: list[tuple[int, int]]) -> list[list[int]]:
    """Put each leaf before the unit that it is given with, counted from 1."""
    keyed = [((before, 0, i), [i]) for before, i in leaves]
    keyed += [((k, 1, 0), unit) for k, unit in enumerate(row, 1)]
    keyed.sort(key=lambda pair: pair[0])
    return [unit for _, unit in keyed]


def _lifted(graph: Description, tree: _Tree, wanted: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the edges in some clusters, each as one between two items that stand side by side."""
    count = len(graph.nodes)
    home = [v.cluster for v in graph.nodes]
    for e in graph.edges:
        u, v = e.source, e.target
        c, d = home[u], home[v]
        if c != d:
            a, b = tree.below(c, tree.at[v]), tree.below(d, tree.at[u])
            c = c if a < 0 else tree.parent[a]
            u, v = count + a if a >= 0 else u, count + b if b >= 0 else v
        if c in wanted:
            yield u, v


def _sorted(
    keys: Sequence[int],
    pairs: Iterable[tuple[int, int]],
    following: Mapping[int, int] | None = None,
) -> list[int]:
    """Sort topologically: each before those that it leads to, and by key where that is open.

    Where there is a cycle, it is entered at the smallest key.

    Parameters
    ----------
    keys : sequence of int
    pairs : iterable of (int, int)
    following : mapping of int to int, optional
        What shall come right after what, where it can.
    """
    if following is None:
        pairs = list(pairs)
        if all(keys[a] < keys[b] for a, b in pairs):
            return sorted(range(len(keys)), key=keys.__getitem__)
        following = {}
    after: list[list[int]] = [[] for _ in keys]
    waits = [0] * len(keys)
    for a, b in pairs:
        after[a].append(b)
        waits[b] += 1
    ready = [(keys[k], k) for k, n in enumerate(waits) if not n]
    heapq.heapify(ready)
    rest = sorted((key, k) for k, key in enumerate(keys)) if len(ready) < len(keys) else []
    rest.reverse()
    done = [False] * len(keys)
    order: list[int] = []
    while len(order) < len(keys):
        while not ready:
            entered = rest.pop()
            if not done[entered[1]]:
                ready.append(entered)
        k = heapq.heappop(ready)[1]
        while not done[k]:
            done[k] = True
            order.append(k)
            for b in after[k]:
                waits[b] -= 1
                if not waits[b] and not done[b]:
                    heapq.heappush(ready, (keys[b], b))
            k = following.get(k, k)
            if waits[k]:
                break
    return order


# --- runs of loose nodes -------------------------------------------------------------------------


def in_runs(graph: Description, most: int, repeats: bool = True) -> Description:
    """Put runs of nodes into clusters of their own where too many stand side by side.

    A cluster of more than `most` nodes and clusters, or a graph of more than `most` outside all, is
    cut into runs in the order of computing, and those into runs again, until at most `most` are
    left. They are titled ``nodes 1 to 250``, counted within the cluster, with parameters, constants
    and inputs counted right before what first uses them. With everything folded at most `most`
    boxes and nodes are shown, and each box that is opened shows at most so many more.

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
    if most < 2:
        raise ValueError(f"most must be at least 2, got {most}")
    tree = _Tree(graph)
    count = len(graph.nodes)
    sizes = [1] * count + [end - first for first, end in zip(tree.first, tree.end, strict=True)]
    rows: list[list[list[int]]] = [[] for _ in tree.parent]
    for i, v in enumerate(graph.nodes):
        rows[v.cluster].append([i])
    for c, p in enumerate(tree.parent[:-1]):
        rows[p].append([count + c])
    wide = {c if c < len(graph.clusters) else -1 for c, row in enumerate(rows) if len(row) > most}
    next_of_kind = _next_of_kind(tree, _kinds(graph, tree)) if repeats and wide else {}
    for c, row in _levels(graph, tree, next_of_kind, wide).items():
        rows[c] = row
    if all(len(row) <= most for row in rows):
        return graph
    homes = [-1] * count
    clusters: list[Cluster] = []
    # What is still to be written, and the cluster that it stands in. The next is the last.
    todo: list[tuple[Any, int]] = [(part, -1) for part in reversed(_cut(rows[-1], sizes, most))]
    while todo:
        part, home = todo.pop()
        if isinstance(part, int) and part < count:
            homes[part] = home
            continue
        if isinstance(part, int):
            cluster = replace(graph.clusters[part - count], parent=home)
            inner = _cut(rows[part - count], sizes, most)
        else:
            (begin, end), inner = part
            cluster = Cluster("", f"nodes {begin:,} to {end:,}", home)
        todo += [(below, len(clusters)) for below in reversed(inner)]
        clusters.append(cluster)
    nodes = [
        v if v.cluster == home else _moved(v, home)
        for v, home in zip(graph.nodes, homes, strict=True)
    ]
    return Description(tuple(nodes), graph.edges, tuple(clusters), graph.note)


def _cut(row: list[list[int]], sizes: list[int], most: int) -> list[Any]:
    """Cut what stands side by side into at most so many parts.

    A part is an item, or a run: its first and last node, counted from 1, and the parts in it.
    """
    ends = list(accumulate(sum(sizes[item] for item in unit) for unit in row))
    spans = list(zip([1, *(end + 1 for end in ends)], ends, strict=False))
    blocks: list[list[Any]] = list(row)  # of what stays together
    while len(blocks) > most:
        n, k = len(blocks), -(-len(blocks) // most)
        cuts = [(n * i // k, n * (i + 1) // k) for i in range(k)]
        wider = [(spans[a][0], spans[b - 1][1]) for a, b in cuts]
        blocks = [
            blocks[a] if b - a == 1 else [(span, list(chain.from_iterable(blocks[a:b])))]
            for (a, b), span in zip(cuts, wider, strict=True)
        ]
        spans = wider
    return list(chain.from_iterable(blocks))
