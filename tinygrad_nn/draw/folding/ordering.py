"""In which order what stands side by side can be computed, and which neighbours are of one kind."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from tinygrad_nn.draw.description import Description
from tinygrad_nn.draw.folding.kinds import kinds_in
from tinygrad_nn.draw.folding.nesting import Tree

__all__ = ["levels", "next_of_kind", "runs", "runs_in", "sorted_by_need"]


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
    tree = Tree(graph)
    return tuple(runs_in(graph, tree, kinds_in(graph, tree) if kind is None else kind))


def runs_in(graph: Description, tree: Tree, kind: Sequence[int]) -> list[int]:
    """Find neighbours of one kind, as `runs` does, with what is known already."""
    count = len(graph.nodes)
    following = next_of_kind(tree, kind)
    head = list(range(len(kind)))
    for units in levels(graph, tree, following, {tree.parent[c] for c in following}).values():
        for unit in units:
            for item in unit[1:]:
                head[item - count] = unit[0] - count
    return head


def next_of_kind(tree: Tree, kind: Sequence[int]) -> dict[int, int]:
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


def levels(
    graph: Description, tree: Tree, following: Mapping[int, int], wanted: Collection[int]
) -> dict[int, list[list[int]]]:
    """Put what stands side by side in an order of computing.

    Parameters
    ----------
    graph : Description
    tree : Tree
    following : mapping of int to int
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
    level = {i: v.cluster for i, v in enumerate(graph.nodes) if v.cluster in wanted}
    for c, p in enumerate(tree.parent[:-1]):
        if p in wanted and tree.first[c] < tree.end[c]:
            level[count + c] = p
    pairs = dict.fromkeys(_lifted(graph, tree, wanted))

    begins = _begins(graph, tree, leaf)
    items = [item for item in level if item >= count or not leaf[item]]
    dense = {item: k for k, item in enumerate(items)}
    behind = {count + a: count + b for a, b in following.items() if tree.parent[a] in wanted}
    order = sorted_by_need(
        [item if item < count else begins[item - count] for item in items],
        [(dense[a], dense[b]) for a, b in pairs if a in dense],
        {dense[a]: dense[b] for a, b in behind.items()} or None,
    )
    units: dict[int, list[list[int]]] = {c: [] for c in wanted}
    place: dict[int, int] = {}
    for k in order:
        item = items[k]
        row = units[level[item]]
        if row and behind.get(row[-1][-1]) == item:
            row[-1].append(item)
        else:
            row.append([item])
        place[item] = len(row)
    user: dict[int, int] = {}
    for a, b in pairs:
        if a not in dense:
            user[a] = min(user.get(a, place[b]), place[b])
    leaves: dict[int, list[tuple[int, int]]] = {c: [] for c in wanted}
    for item, c in level.items():
        if item not in dense:
            leaves[c].append((user.get(item, 0), item))
    return {c: _with_leaves(row, leaves[c]) for c, row in units.items()}


def _begins(graph: Description, tree: Tree, leaf: Sequence[bool]) -> list[int]:
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


def _lifted(graph: Description, tree: Tree, wanted: Collection[int]) -> Iterator[tuple[int, int]]:
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


def sorted_by_need(
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
                if not waits[b]:
                    heapq.heappush(ready, (keys[b], b))
            k = following.get(k, k)
            if waits[k]:
                break
    return order
