"""Folding and parts of descriptions, on random graphs, held against brute force."""

from __future__ import annotations

import gc
import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_nn as tg
from tinygrad_nn import Value, nn
from tinygrad_nn.draw import draw
from tinygrad_nn.draw.description import Cluster, Cost, Description, Edge, Mark, Vertex
from tinygrad_nn.draw.figures import figures
from tinygrad_nn.draw.folding import choose, fold, fold_to, in_runs, kinds, runs
from tinygrad_nn.draw.folding.nesting import Tree
from tinygrad_nn.draw.folding.parts import between, inside, near


def node(cluster=-1, role="intermediate", op="add", **more):
    known = {"label": "", "settings": "", "shape": "", "dtype": "", "value": None, "grad": None}
    return Vertex(**{"role": role, "op": op, "cluster": cluster, **known, **more})


@st.composite
def graphs(draw):
    """Make a graph as programs do: clusters are calls, nested, and calls follow each other."""
    nodes, clusters, edges = [], [], []
    calls = [-1]
    for _ in range(draw(st.integers(0, 24))):
        what = draw(st.sampled_from(["node", "node", "node", "leaf", "open", "close"]))
        if what == "open" and len(calls) < 5:
            clusters.append(Cluster("", draw(st.sampled_from("AB")), calls[-1]))
            calls.append(len(clusters) - 1)
        elif what == "close" and len(calls) > 1:
            calls.pop()
        elif what == "leaf" or not nodes:
            nodes.append(node(calls[-1], draw(st.sampled_from(["parameter", "input"])), ""))
        else:
            used = draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=3))
            edges += [Edge(a, len(nodes), place, 2.0) for place, a in enumerate(used, 1)]
            nodes.append(node(calls[-1], op=draw(st.sampled_from(["add", "exp"]))))
    return Description(tuple(nodes), tuple(edges), tuple(clusters), "")


@st.composite
def tangles(draw):
    """Make a graph whose clusters are no calls: nodes in them follow each other in any order."""
    clusters = [
        Cluster("", draw(st.sampled_from("AB")), draw(st.integers(-1, c - 1)))
        for c in range(draw(st.integers(0, 6)))
    ]
    nodes, edges = [], []
    for i in range(draw(st.integers(0, 14))):
        used = draw(st.lists(st.integers(0, i - 1), max_size=2)) if i else []
        edges += [Edge(a, i, place, 2.0) for place, a in enumerate(used, 1)]
        role = "intermediate" if used else "input"
        nodes.append(node(draw(st.integers(-1, len(clusters) - 1)), role, "add" if used else ""))
    return Description(tuple(nodes), tuple(edges), tuple(clusters), "")


def twins(rng):
    """Make a graph of two clusters that are the same, or differ in one argument or one use."""
    size, outside = rng.randint(2, 5), 2
    homes = [rng.randint(-1, 1) for _ in range(size)]
    first = [
        [(rng.randint(-outside, i - 1), rng.randint(0, 1)) for _ in range(rng.randint(0, 2))]
        for i in range(size)  # arguments and places; below 0 is outside
    ]
    used = {i for i in range(size) if rng.random() < 0.3}
    second, used_too = [list(found) for found in first], set(used)
    i, j = sorted(rng.sample(range(size), 2))
    change = rng.randrange(5)
    if change == 0:
        used_too ^= {i}
    elif change == 1 and second[j]:
        second[j][-1] = rng.randint(-outside, j - 1), second[j][-1][1]
    elif change == 2 and second[j]:
        second[j][0] = second[j][0][0], 2
    elif change == 3 and all(a < i for a, _ in second[j]):
        second[i], second[j] = second[j], second[i]
    nodes, edges, clusters = [node(-1, "input", "")] * outside, [], []
    for content, leaves in ((first, used), (second, used_too)):
        c, start = len(clusters), len(nodes)
        clusters += [Cluster("", "A", -1), Cluster("", "B", c), Cluster("", "B", c)]
        for i, found in enumerate(content):
            edges += [
                Edge(start + a if a >= 0 else a + outside, start + i, place) for a, place in found
            ]
            nodes.append(node(c + 1 + homes[i]))
        edges += [Edge(start + i, len(nodes), 0) for i in leaves]
        nodes.append(node(-1))
    return Description(tuple(nodes), tuple(edges), tuple(clusters), "")


def chain(clusters, c):
    """Return a cluster and those around it."""
    found = []
    while c >= 0:
        found.append(c)
        c = clusters[c].parent
    return found


def depth_of(graph, c):
    return len(chain(graph.clusters, c)) - 1


def shown_as(graph, folded):
    """Return for each node what stands for it: the outermost folded cluster, or itself."""
    found = []
    for i, v in enumerate(graph.nodes):
        hiding = [c for c in chain(graph.clusters, v.cluster) if c in folded]
        found.append(("c", hiding[-1]) if hiding else ("n", i))
    return found


def total(graph):
    return sum(v.hidden or 1 for v in graph.nodes)


def is_circular(count, edges):
    """Whether no order of the nodes has every edge lead forward (Kahn's algorithm)."""
    left, edges = set(range(count)), set(edges)
    while free := {i for i in left if not any(b == i for _, b in edges)}:
        left -= free
        edges = {(a, b) for a, b in edges if a in left and b in left}
    return bool(left)


# --- fold ----------------------------------------------------------------------------------------


@given(graphs() | tangles(), st.data())
def test_folding_is_a_quotient(graph, data):
    folded = data.draw(st.sets(st.integers(0, max(0, len(graph.clusters) - 1))))
    folded = {c for c in folded if c < len(graph.clusters)}
    small = fold(graph, folded, repeats=False)
    of = shown_as(graph, folded)
    boxes = {x for x in of if x[0] == "c"}
    assert total(small) == len(graph.nodes)
    assert len(small.nodes) == len(set(of))
    assert sorted(v.hidden for v in small.nodes if v.role == "module") == sorted(
        of.count(box) for box in boxes
    )
    # Nodes that are shown keep what they are; each edge of the quotient is there once.
    assert [v.op for v in small.nodes if v.role != "module"].count("exp") == sum(
        v.op == "exp" for v, x in zip(graph.nodes, of, strict=True) if x[0] == "n"
    )
    lifted = {(of[e.source], of[e.target]) for e in graph.edges if of[e.source] != of[e.target]}
    between_nodes = [e for e in graph.edges if of[e.source][0] == of[e.target][0] == "n"]
    with_boxes = {(a, b) for a, b in lifted if "c" in (a[0], b[0])}
    assert len(small.edges) == len(between_nodes) + len(with_boxes)
    assert all(e.source != e.target for e in small.edges)
    for e in small.edges:
        touches = "module" in (small.nodes[e.source].role, small.nodes[e.target].role)
        assert (e.place, e.local) == (0, None) if touches else e.local == 2.0
    hidden = sum(map(of.count, boxes))
    assert (f"{hidden} of {len(graph.nodes)} nodes" in small.note) == bool(boxes)
    if not boxes:
        assert small.nodes == graph.nodes


@given(graphs(), st.data())
def test_what_depends_on_what_stays_so(graph, data):
    folded = {c for c in range(len(graph.clusters)) if data.draw(st.booleans())}
    small = fold(graph, folded)
    assert total(small) == len(graph.nodes)
    if not is_circular(len(graph.nodes), {(e.source, e.target) for e in graph.edges}):
        # Merged neighbours may make no circle that the boxes have not made without.
        alone = fold(graph, folded, repeats=False)
        before = is_circular(len(alone.nodes), {(e.source, e.target) for e in alone.edges})
        after = is_circular(len(small.nodes), {(e.source, e.target) for e in small.edges})
        assert after <= before


@given(graphs() | tangles(), st.data(), st.booleans())
def test_paths_between_what_is_shown_stay(graph, data, repeats):
    folded = {c for c in range(len(graph.clusters)) if data.draw(st.booleans())}
    small = fold(numbered(graph), folded, repeats)
    where = {int(v.label): k for k, v in enumerate(small.nodes) if v.role != "module"}
    before, after = paths(graph), paths(small)
    for a, b in itertools.combinations(where, 2):
        assert not before[a, b] or after[where[a], where[b]]
    # No edge is made up: each is one of the graph's, between what now stands for its ends.
    shown = {v.label for v in small.nodes if v.role != "module"}
    direct = {(str(e.source), str(e.target)) for e in graph.edges}
    assert {(a, b) for a, b in direct if {a, b} <= shown} == {
        (small.nodes[e.source].label, small.nodes[e.target].label)
        for e in small.edges
        if "module" not in (small.nodes[e.source].role, small.nodes[e.target].role)
    }


@given(graphs(), st.data())
def test_frames_that_stay_open_stand_around_what_they_stood_around(graph, data):
    folded = {c for c in range(len(graph.clusters)) if data.draw(st.booleans())}
    named = Description(
        tuple(v._replace(label=str(i)) for i, v in enumerate(graph.nodes)),
        graph.edges,
        tuple(k._replace(name=str(c)) for c, k in enumerate(graph.clusters)),
        "",
    )
    small = fold(named, folded, repeats=False)
    for v in small.nodes:
        if v.role == "module":
            around = chain(graph.clusters, int(v.label))[1:]
        else:
            around = chain(graph.clusters, graph.nodes[int(v.label)].cluster)
        assert [int(small.clusters[c].name) for c in chain(small.clusters, v.cluster)] == around


def test_a_folded_graph_is_in_the_order_of_computing():
    # The box is complete after `late`, which needs it, was made; both feed the last.
    nodes = (
        node(-1, "input", ""), node(0, op="first"), node(-1, op="late"), node(0, op="second"),
        node(-1, op="last"),
    )  # fmt: skip
    edges = (Edge(0, 1, 0), Edge(1, 2, 0), Edge(1, 3, 0), Edge(2, 4, 1), Edge(3, 4, 2))
    small = fold(Description(nodes, edges, (Cluster("", "A", -1),), ""), [0])
    assert [v.op or v.role for v in small.nodes] == ["input", "module", "late", "last"]
    assert [(e.source, e.target, e.place) for e in small.edges] == [
        (0, 1, 0), (1, 2, 0), (2, 3, 1), (1, 3, 0),
    ]  # fmt: skip


def test_notes_are_joined_and_count_what_is_folded_already():
    nodes = node(0)._replace(hidden=1000), node(0), node(-1)
    graph = Description(nodes, (), (Cluster("", "A", -1),), "No gradients: one reason")
    assert fold(graph, [0]).note == (
        "No gradients: one reason; 1,001 of 1,002 nodes are folded into 1 box"
    )


@given(graphs() | tangles())
def test_folding_nothing_changes_nothing(graph):
    assert fold(graph, []) is graph
    assert fold_to(graph) is graph
    assert fold_to(graph, depth=99).nodes == graph.nodes


def test_a_box_shows_what_goes_in_and_out_and_what_is_wrong_inside():
    nan, one = figures(np.array([math.nan, 1.0])), figures(1.0)
    nodes = (
        node(-1, "input", "", shape="(3, 2)", dtype="float64"),
        node(0, "parameter", "", shape="(2, 4)", dtype="float64"),
        node(0, op="matmul", shape="(3, 4)", dtype="float64", value=nan, cost=Cost(1.0, 2.0, 8, 9)),
        node(0, op="exp", shape="(3, 4)", dtype="float64", value=one, cost=Cost(1.0, 2.0, 8, 3),
             mark=Mark("kink", "kink", "at 0")),
        node(-1, "output", "sum"),
    )  # fmt: skip
    edges = (Edge(0, 2, 1), Edge(1, 2, 2), Edge(2, 3, 0), Edge(3, 4, 0))
    small = fold(Description(nodes, edges, (Cluster("net", "Linear(2, 4)", -1),), ""), [0])
    (box,) = [v for v in small.nodes if v.role == "module"]
    assert (box.label, box.settings, box.shape) == ("net", "Linear(2, 4)", "(3, 2) → (3, 4)")
    assert not box.is_finite
    assert box.mark.kind == "kink"
    # The peak is that of one after the other: 3 on top of the 8 that are kept.
    assert (box.cost.forward, box.cost.backward, box.cost.kept, box.cost.peak) == (2.0, 4.0, 16, 11)
    assert box.hidden == 3
    assert [(e.source, e.target) for e in small.edges] == [(0, 1), (1, 2)]


@pytest.mark.parametrize("bad", [[-1], [1], [0, 7]])
def test_unknown_clusters(bad):
    graph = Description((node(0),), (), (Cluster("", "A", -1),), "")
    with pytest.raises(ValueError, match=r"there is no cluster"):
        fold(graph, bad)


# --- kinds and runs ------------------------------------------------------------------------------


def content(graph, c):
    """Write out all that `kinds` promises to compare, in one nested value. Slow, and direct."""
    inside_of = {i for i, v in enumerate(graph.nodes) if c in chain(graph.clusters, v.cluster)}
    clusters = [k for k in range(len(graph.clusters)) if c in chain(graph.clusters, k)]
    # The row in which a cluster's own nodes come first, then its clusters one after the other.
    row = []

    def walk(k):
        row.extend(i for i in sorted(inside_of) if graph.nodes[i].cluster == k)
        for below in clusters:
            if graph.clusters[below].parent == k:
                walk(below)

    walk(c)
    outside: dict[int, int] = {}
    facts = []
    for i in row:
        v = graph.nodes[i]
        arguments = []
        for e in graph.edges:
            if e.target == i:
                a = graph.nodes[e.source]
                what = (a.shape, a.dtype)
                if e.source in inside_of:
                    where = "in", row.index(e.source)
                else:
                    where = "out", outside.setdefault(e.source, len(outside))
                arguments.append((e.place, what, where))
        used = [e.target for e in graph.edges if e.source == i]
        leaves = any(t not in inside_of for t in used)
        path = [clusters.index(k) for k in chain(graph.clusters, v.cluster) if k in clusters]
        facts.append((v.role, v.op, v.settings, v.shape, v.dtype, tuple(arguments), bool(used),
                      leaves, tuple(path)))  # fmt: skip
    order = []  # the clusters in the row's order

    def visit(k):
        order.append(k)
        for below in clusters:
            if graph.clusters[below].parent == k:
                visit(below)

    visit(c)
    titles = [
        (graph.clusters[k].title, -1 if k == c else order.index(graph.clusters[k].parent))
        for k in order
    ]
    return titles, facts


def tell_apart_what_differs(graph):
    kind = kinds(graph)
    contents = [content(graph, c) for c in range(len(graph.clusters))]
    for a, b in itertools.combinations(range(len(graph.clusters)), 2):
        assert (kind[a] == kind[b]) == (contents[a] == contents[b])
    return contents


@given(graphs() | tangles())
def test_clusters_are_of_one_kind_if_and_only_if_their_contents_are_equal(graph):
    tell_apart_what_differs(graph)


def test_clusters_that_differ_in_one_thing_are_of_two_kinds():
    rng = random.Random(0)
    contents = [tell_apart_what_differs(twins(rng)) for _ in range(1000)]
    same = sum(found[0] == found[3] for found in contents)
    assert 200 < same < 800  # the test would say little if nearly all were, or none


CHANGES = [
    lambda v: v._replace(role="output"), lambda v: v._replace(op="exp"),
    lambda v: v._replace(settings="axis=0"), lambda v: v._replace(shape="(2,)"),
    lambda v: v._replace(dtype="float32"),
]  # fmt: skip
NO_CHANGES = [
    lambda v: v._replace(label="x"), lambda v: v._replace(value=figures(2.0)),
    lambda v: v._replace(grad=figures(2.0)), lambda v: v._replace(cost=Cost(1.0, 1.0, 1, 1)),
    lambda v: v._replace(mark=Mark("kink", "kink", "")), lambda v: v._replace(source="a.py:1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "number"), [(f, 2) for f in CHANGES] + [(f, 1) for f in NO_CHANGES]
)
def test_what_counts_in_a_kind(change, number):
    nodes = node(-1, "input", ""), node(0), change(node(1))
    edges = Edge(0, 1, 0), Edge(0, 2, 0)
    clusters = Cluster("first", "A", -1), Cluster("second", "A", -1)
    assert len(set(kinds(Description(nodes, edges, clusters, "")))) == number


def test_layers_of_one_size_are_of_one_kind_and_run_together():
    model = nn.MLP(2, [5, 5, 5, 5, 1], rng=0)
    graph = draw(model(np.ones((3, 2))).sum(), model).description
    titles = {c.name: kinds(graph)[i] for i, c in enumerate(graph.clusters)}
    assert titles["layers.1"] == titles["layers.2"] == titles["layers.3"]
    assert len({titles["layers.0"], titles["layers.1"], titles["layers.4"]}) == 3
    assert [v.settings for v in fold_to(graph, depth=1).nodes if v.role == "module"] == [
        "Layer(2, 5, activation='relu')", "Layer(5, 5, activation='relu') × 3",
        "Layer(5, 1, activation=None)"]  # fmt: skip


def test_neurons_side_by_side_share_a_box():
    model = tg.scalar.MLP(2, [4, 1], rng=0)
    out = model([1.0, -1.0])
    graph = draw(out[0] if isinstance(out, list) else out, model, depth=2).description
    assert any(v.settings.endswith("× 4") for v in graph.nodes)


def test_a_shared_argument_tells_kinds_apart():
    # Both blocks compute a + b; in one of them a and b are the same.
    def block(c, a, b, out):
        return [Edge(a, out, 1), Edge(b, out, 2)], node(c)

    edges1, sum1 = block(0, 0, 1, 2)
    edges2, sum2 = block(1, 0, 0, 3)
    nodes = (node(-1, "input", ""), node(-1, "input", ""), sum1, sum2)
    clusters = (Cluster("", "A", -1), Cluster("", "A", -1))
    assert len(set(kinds(Description(nodes, (*edges1, *edges2), clusters, "")))) == 2


# --- choose, in_runs, fold_to --------------------------------------------------------------------


@given(graphs(), st.integers(0, 4))
def test_depth_folds_what_stands_so_deep(graph, depth):
    assert choose(graph, depth=depth) == {
        c for c in range(len(graph.clusters)) if depth_of(graph, c) >= depth
    }


@given(graphs() | tangles(), st.integers(1, 12), st.booleans())
def test_no_more_is_shown_than_was_asked_for(graph, limit, repeats):
    small = fold_to(graph, max_nodes=limit, repeats=repeats)
    assert len(small.nodes) <= max(limit, 2)
    assert total(small) == len(graph.nodes)
    if len(graph.nodes) <= limit:
        assert small.nodes == graph.nodes


@given(graphs(), st.integers(1, 12))
def test_deepest_clusters_are_folded_first(graph, limit):
    chosen = choose(graph, max_nodes=limit, repeats=False)
    full = {c for v in graph.nodes for c in chain(graph.clusters, v.cluster)}
    for c in chosen & full:
        deeper = {k for k in full if depth_of(graph, k) > depth_of(graph, c)}
        # What is deeper is folded too, unless folding it hides nothing.
        for k in deeper - chosen:
            below = [x for x in full if k in chain(graph.clusters, x)]
            alone = fold(graph, [*chosen, *below], repeats=False)
            assert len(alone.nodes) == len(fold(graph, chosen, repeats=False).nodes)


@given(graphs(), st.integers(2, 6))
def test_runs_of_nodes_lose_nothing_and_make_no_circles(graph, most):
    cut = in_runs(graph, most)
    assert [v._replace(cluster=-1) for v in cut.nodes] == [
        v._replace(cluster=-1) for v in graph.nodes
    ]
    assert cut.edges == graph.edges
    small = fold(cut, [c for c, k in enumerate(cut.clusters) if k.parent < 0])
    assert len(small.nodes) <= max(most, 2)
    if not graph.clusters:
        assert not is_circular(len(small.nodes), {(e.source, e.target) for e in small.edges})
    for c in [-1, *range(len(cut.clusters))]:
        beside = sum(v.cluster == c for v in cut.nodes) + sum(k.parent == c for k in cut.clusters)
        repeats = len(set(runs(cut))) < len(cut.clusters)
        assert beside <= most or repeats


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: choose(g, depth=-1), "depth must be at least 0"),
        (lambda g: choose(g, max_nodes=0), "max_nodes must be at least 1"),
        (lambda g: in_runs(g, 1), "most must be at least 2"),
        (lambda g: fold_to(g, depth=-2), "depth must be at least 0"),
        (lambda g: near(g, [0], -1), "radius must be at least 0"),
        (lambda g: near(g, [5], 1), "there is no node 5"),
        (lambda g: between(g, []), "at least one node"),
    ],
)
def test_wrong_requests(call, message):
    with pytest.raises(ValueError, match=message):
        call(Description((node(), node()), (), (), ""))


# --- parts ---------------------------------------------------------------------------------------


def kept(graph, part):
    """Return which nodes a part has, by the labels that were put on them."""
    return [int(v.label) for v in part.nodes]


def numbered(graph):
    return Description(
        tuple(v._replace(label=str(i)) for i, v in enumerate(graph.nodes)),
        graph.edges, graph.clusters, graph.note,
    )  # fmt: skip


def paths(graph):
    """Return the set of (a, b) where b is computed from a, or is a. By Warshall's algorithm."""
    n = len(graph.nodes)
    reach = np.eye(n, dtype=bool)
    for e in graph.edges:
        reach[e.source, e.target] = True
    for k in range(n):
        reach |= np.outer(reach[:, k], reach[k])
    return reach


@given(graphs(), st.data())
def test_between_keeps_what_is_on_a_path(graph, data):
    if not graph.nodes:
        return
    graph = numbered(graph)
    asked = data.draw(st.sets(st.integers(0, len(graph.nodes) - 1), min_size=1, max_size=3))
    reach = paths(graph)
    expected = [i for i in range(len(graph.nodes))
                if any(reach[a, i] and reach[i, b] for a in asked for b in asked)]  # fmt: skip
    part = between(graph, asked)
    assert kept(graph, part) == expected
    left = len(graph.nodes) - len(expected)
    assert (f"{left} of {len(graph.nodes)} nodes" in part.note) == bool(left)


@given(graphs(), st.data(), st.integers(0, 3))
def test_near_keeps_what_is_so_many_edges_away(graph, data, radius):
    if not graph.nodes:
        return
    graph = numbered(graph)
    centre = data.draw(st.integers(0, len(graph.nodes) - 1))
    step = np.eye(len(graph.nodes), dtype=int)
    for e in graph.edges:
        step[e.source, e.target] = step[e.target, e.source] = 1
    expected = np.linalg.matrix_power(step, radius)[centre].nonzero()[0].tolist()
    assert kept(graph, near(graph, [centre], radius)) == expected


@given(graphs(), st.data())
def test_inside_keeps_a_cluster_with_what_goes_into_it(graph, data):
    if not graph.clusters:
        return
    graph = numbered(graph)
    c = data.draw(st.integers(0, len(graph.clusters) - 1))
    own = {i for i, v in enumerate(graph.nodes) if c in chain(graph.clusters, v.cluster)}
    expected = own | {e.source for e in graph.edges if e.target in own}
    part = inside(graph, [c])
    assert kept(graph, part) == sorted(expected)
    edges = {(int(part.nodes[e.source].label), int(part.nodes[e.target].label))
             for e in part.edges}  # fmt: skip
    assert edges == {(e.source, e.target) for e in graph.edges
                     if e.source in expected and e.target in expected}  # fmt: skip
    for v in part.nodes:  # frames stay around what they were around
        before = [graph.clusters[k].title for k in
                  chain(graph.clusters, graph.nodes[int(v.label)].cluster)]  # fmt: skip
        assert [part.clusters[k].title for k in chain(part.clusters, v.cluster)] == before


# --- large, deep and special graphs --------------------------------------------------------------


def test_a_hundred_thousand_nodes_in_a_row():
    count = 100_000
    nodes = (node(-1, "input", ""), *[node() for _ in range(count - 1)])
    edges = tuple(Edge(i, i + 1, 0) for i in range(count - 1))
    small = fold_to(Description(nodes, edges, (), ""), max_nodes=50)
    assert len(small.nodes) <= 50
    assert total(small) == count
    assert len(near(Description(nodes, edges, (), ""), [count // 2], 3).nodes) == 7


def test_clusters_in_clusters_a_hundred_thousand_deep():
    depth = 100_000
    clusters = tuple(Cluster("", "A", i - 1) for i in range(depth))
    graph = Description((node(depth - 1), node(-1)), (Edge(0, 1, 0),), clusters, "")
    assert len(fold_to(graph, depth=1).nodes) == 2
    assert len(fold_to(graph, max_nodes=1).nodes) <= 2
    assert fold_to(graph, depth=10).nodes[0].role == "module"


def test_the_collector_is_as_it_was_before():
    assert gc.isenabled()
    draw(Value(1.0) * 2.0, max_nodes=2)
    assert gc.isenabled()
    with pytest.raises(ValueError, match="depth"):
        draw(Value(1.0) * 2.0, depth=-1)
    assert gc.isenabled()
    gc.disable()
    try:
        draw(Value(1.0) * 2.0)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_empty_graph():
    empty = Description((), (), (), "")
    assert fold_to(empty, max_nodes=3) == empty
    assert in_runs(empty, 3) == empty


def test_a_box_says_the_worst_that_was_found_in_it():
    marks = [Mark("kink", "kink", "at 0"), None, Mark("wrong", "wrong rule", "2, not 3"),
             Mark("wrong", "wrong rule", "4, not 5")]  # fmt: skip
    graph = Description(tuple(node(0, mark=m) for m in marks), (), (Cluster("", "A", -1),), "")
    (box,) = fold(graph, [0]).nodes
    assert box.mark == Mark("wrong", "wrong rule", "2, not 3 (and 2 more inside)")


def test_a_box_says_what_it_hides_of_outputs_and_shapes():
    f = figures(3.0)
    nodes = [node(-1, "input", "", shape=f"({i},)", dtype="int64") for i in range(5)]
    nodes.append(node(0, "output", label="loss", shape="()", dtype="float32", value=f, grad=f))
    edges = tuple(Edge(i, 5, 0) for i in range(5))
    graph = Description(tuple(nodes), edges, (Cluster("", "A", -1),), "")
    box = fold(graph, [0]).nodes[-1]
    assert box.shape == "(0,), (1,) and 3 more → ()"
    assert box.dtype == "int64 → float32"
    assert (box.target, box.value, box.grad) == ("output loss", f, f)
    many = Description(
        tuple(node(0, "output", label=str(i), value=f) for i in range(5)),
        (), (Cluster("", "A", -1),), "",
    )  # fmt: skip
    (box,) = fold(many, [0]).nodes
    assert box.target == "output 0, output 1 and 3 more"
    assert box.value is None
    assert box.shape == "→ 5 numbers"


def blocks(inner, outer, between=()):
    """Make a chain of blocks, each a chain of layers, with nodes after each layer."""
    nodes, edges, clusters = [node(-1, "input", "")], [], []

    def add(cluster, op):
        edges.append(Edge(len(nodes) - 1, len(nodes), 0))
        nodes.append(node(cluster, op=op))

    for _ in range(outer):
        block = len(clusters)
        clusters.append(Cluster("", "Block", -1))
        for _ in range(inner):
            clusters.append(Cluster("", "Layer", block))
            add(len(clusters) - 1, "exp")
            for op in between:
                add(block, op)
    add(-1, "sum")
    return Description(tuple(nodes), tuple(edges), tuple(clusters), "")


def titles(graph):
    return [v.settings or v.op or v.role for v in graph.nodes]


def test_blocks_repeat_and_so_do_layers_in_them():
    graph = blocks(inner=3, outer=2)
    assert titles(fold_to(graph, depth=0)) == ["input", "Block × 2", "sum"]
    assert titles(fold_to(graph, depth=1)) == ["input", "Layer × 3", "Layer × 3", "sum"]
    assert titles(fold_to(graph, depth=1, repeats=False)) == ["input", *["Layer"] * 6, "sum"]
    assert titles(fold_to(graph, repeats=True)) == ["input", "Block × 2", "sum"]
    assert fold_to(graph, depth=0).nodes[1].hidden == 6
    # One block open, between two that are folded.
    graph = blocks(inner=1, outer=3)
    assert titles(fold(graph, [0, 4])) == ["input", "Block", "exp", "Block", "sum"]
    assert titles(fold(graph, [0, 2])) == ["input", "Block × 2", "exp", "sum"]


def test_clusters_without_nodes_stand_in_nobodys_way():
    graph = blocks(inner=1, outer=3)
    nodes = tuple(v for v in graph.nodes if v.cluster != 3)
    edges = (Edge(0, 1, 0), Edge(1, 2, 0), Edge(2, 3, 0))
    graph = Description(nodes, edges, graph.clusters, "")  # the block in the middle is empty
    for folded in ([0, 4], [0, 2, 4]):
        small = fold(graph, folded)
        assert titles(small) == ["input", "Block × 2", "sum"]
        assert small.note == "2 of 4 nodes are folded into 1 box"


def test_what_would_save_nothing_stays_open():
    graph = blocks(inner=3, outer=2)
    assert choose(graph, max_nodes=7, repeats=False) == {0, 4}  # no layer
    assert choose(graph, max_nodes=6) == {1, 2, 3, 5, 6, 7}


def test_parameters_are_folded_with_what_uses_them():
    # As programs make them: all parameters first.
    nodes = [node(-1, "input", "")] + [node(-1, "parameter", "") for _ in range(8)]
    edges, last = [], 0
    for k in range(8):
        edges += [Edge(last, len(nodes), 1), Edge(1 + k, len(nodes), 2)]
        last = len(nodes)
        nodes.append(node(op="matmul"))
    cut = in_runs(Description(tuple(nodes), tuple(edges), (), ""), 5)
    together = [cut.nodes[1 + k].cluster == cut.nodes[9 + k].cluster for k in range(8)]
    assert sum(together) >= 8 - 4  # four cuts part at most four of them


def test_a_part_that_leads_nowhere_has_a_result():
    graph = blocks(inner=1, outer=2)
    graph = Description(
        tuple(v._replace(shape=f"({i},)") for i, v in enumerate(graph.nodes)),
        graph.edges, graph.clusters, "",
    )  # fmt: skip
    assert [v.shape for v in fold(inside(graph, [2]), [2]).nodes] == ["(1,)", "(1,) → (2,)"]


def test_the_way_out_of_many_clusters_is_short():
    count = 10_000
    tree = Tree(Description((), (), tuple(Cluster("", "A", c - 1) for c in range(count)), ""))
    for c in (1, 100, count - 1):
        steps = 0
        while c >= 0:
            c = tree.leap[c]
            steps += 1
        assert steps <= 2 * math.log2(count)


def test_what_is_computed_in_between_keeps_neighbours_apart():
    graph = blocks(inner=2, outer=1, between=["relu"])
    assert titles(fold_to(graph, depth=1)) == ["input", "Layer", "relu", "Layer", "relu", "sum"]


def test_boxes_for_more_than_one_call_are_named_by_the_first_and_the_last():
    graph = blocks(inner=1, outer=3)
    names = replace(
        graph, clusters=tuple(c._replace(name=f"steps.{i}") for i, c in enumerate(graph.clusters))
    )
    assert fold(names, [0, 2, 4]).nodes[1].label == "steps.0 … steps.4"
    same = replace(graph, clusters=tuple(c._replace(name="cell") for c in graph.clusters))
    assert fold(same, [0, 2, 4]).nodes[1].label == "cell"


def test_runs_are_even_and_show_as_much_as_may_be_shown():
    def hidden(count, most):
        nodes = (node(-1, "input", ""), *[node() for _ in range(count - 1)])
        edges = tuple(Edge(i, i + 1, 0) for i in range(count - 1))
        return [v.hidden for v in fold_to(Description(nodes, edges, (), ""), max_nodes=most).nodes]

    assert hidden(10_000, 50) == [200] * 50
    assert hidden(1003, 100) == [11] * 3 + [10] * 97
    assert hidden(60, 50) == [8, 8] + [0] * 44  # from the beginning, and no more than needed


def test_modules_that_depth_folds_stay_so_where_runs_are_cut():
    graph = blocks(inner=3, outer=2)
    edges, nodes = list(graph.edges), list(graph.nodes)
    for _ in range(30):
        edges.append(Edge(len(nodes) - 1, len(nodes), 0))
        nodes.append(node(op="tail"))
    graph = replace(graph, nodes=tuple(nodes), edges=tuple(edges))
    small = fold_to(graph, depth=0, max_nodes=30)
    assert len(small.nodes) <= 30
    assert "exp" not in titles(small)  # what stands in the modules
    assert titles(small).count("tail") >= 20  # and no more than that is hidden
    assert total(small) == len(nodes)


@given(graphs(), st.integers(0, 2), st.integers(2, 8))
def test_depth_and_max_nodes_hold_together(graph, depth, most):
    small = fold_to(numbered(graph), depth=depth, max_nodes=most)
    assert len(small.nodes) <= most
    assert total(small) == len(graph.nodes)
    for v in small.nodes:
        if v.role != "module":
            assert depth_of(graph, graph.nodes[int(v.label)].cluster) < depth


@given(graphs() | tangles(), st.integers(2, 5))
def test_runs_leave_modules_what_they_were(graph, most):
    named = replace(
        graph, clusters=tuple(k._replace(name=str(c)) for c, k in enumerate(graph.clusters))
    )
    cut = in_runs(named, most)
    for v, w in zip(named.nodes, cut.nodes, strict=True):
        assert [named.clusters[c].name for c in chain(named.clusters, v.cluster)] == [
            cut.clusters[c].name for c in chain(cut.clusters, w.cluster) if cut.clusters[c].name
        ]
    assert all(k.parent < c for c, k in enumerate(cut.clusters))


def test_lines_that_alternate_make_a_circle_of_boxes_that_is_still_drawn():
    nodes = node(-1, "input", ""), *[node(i % 2) for i in range(6)]
    edges = tuple(Edge(i, i + 1, 0) for i in range(6))
    clusters = Cluster("", "loop.py:2", -1), Cluster("", "loop.py:3", -1)
    small = fold(Description(nodes, edges, clusters, ""), [0, 1])
    assert [v.hidden for v in small.nodes] == [0, 3, 3]
    assert {(e.source, e.target) for e in small.edges} == {(0, 1), (1, 2), (2, 1)}


def test_several_outputs_are_named_by_their_boxes():
    model = nn.Linear(2, 2, rng=0)
    y = model(np.ones((3, 2)))
    graph = draw({"a": y, "b": y * 2.0}, model, depth=0, gradients="none").description
    (box,) = [v for v in graph.nodes if v.role == "module"]
    assert box.target == "output a"
    assert [v.label for v in graph.nodes if v.role == "output"] == ["b"]


def test_compiled_plans_fold_by_line():
    w = tg.tensor([1.0, -2.0], requires_grad=True, label="w")

    @tg.compile
    def step(x):
        y = x * w
        return np.sum(y * y)

    step(np.ones(2))
    whole = draw(step).description
    small = draw(step, depth=0).description
    assert len(whole.clusters) > 1
    assert total(small) == len(whole.nodes)
    assert {v.role for v in small.nodes} == {"module"}


def test_a_chain_of_values_folds_into_what_was_asked():
    v = Value(1.0)
    for _ in range(500):
        v = v * 1.01
    drawing = draw(v, max_nodes=10)
    assert len(drawing.description.nodes) <= 10
    assert drawing.to_text().count("\n") <= 12
