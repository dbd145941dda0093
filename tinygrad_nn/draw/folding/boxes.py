"""What a folded cluster shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tinygrad_nn.draw.description import Cluster, Cost, Description, Mark, Vertex
from tinygrad_nn.draw.figures import Figures

__all__ = ["boxes", "group_of"]

#: What comes into a box from the side, and is no data that it works on.
_ASIDE = ("parameter", "constant")

#: So many different shapes, or results that are left somewhere, are written out.
_FEW = 3


def group_of(graph: Description, groups: Sequence[Sequence[int]]) -> list[int]:
    """Return the group that each cluster, and last what is outside all, stands in; -1 for none."""
    of = [-1] * (len(graph.clusters) + 1)
    for g, group in enumerate(groups):
        for c in group:
            of[c] = g
    for c, cluster in enumerate(graph.clusters):
        if of[c] < 0:
            of[c] = of[cluster.parent]
    return of


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
    of = group_of(graph, groups)
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
    return worst._replace(message=f"{worst.message} (and {more:,} more inside)") if more else worst


def _sum(costs: list[Cost]) -> Cost | None:
    """Add up what nodes took one after the other, each with the results before it still there."""
    if not costs:
        return None
    kept = peak = 0
    for cost in costs:
        peak = max(peak, kept + cost.peak)
        kept += cost.kept
    return Cost(sum(c.forward for c in costs), sum(c.backward for c in costs), kept, peak)
