"""The description as JSON: the format's fields, strictness, and strings that survive it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import nn, scalar
from tinygrad_nn.draw import Description, Drawing, Edge, Vertex, draw
from tinygrad_nn.draw.description import ROLES, Cost
from tinygrad_nn.draw.figures import figures
from tinygrad_nn.draw.folding import choose, fold
from tinygrad_nn.draw.writing.json_form import document
from tinygrad_nn.gradcheck import gradcheck


def read(drawing: Drawing) -> Any:
    """Read the JSON as a strict parser does: no NaN, no key twice."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(drawing.to_json(), parse_constant=refuse, object_pairs_hook=unique)


# --- the format ----------------------------------------------------------------------------------


def whole(x: Any) -> bool:
    return type(x) is int


def text(x: Any) -> bool:
    return type(x) is str


def number(x: Any) -> bool:
    return x in ("nan", "inf", "-inf") or (type(x) in (int, float, bool) and math.isfinite(x))


def record(**fields: Any) -> Any:
    """Accept a dict of these fields and no others, each of its kind."""

    def accept(x: Any) -> bool:
        assert list(x) == list(fields), x
        return all(fields[name](x[name]) for name in fields)

    return accept


def rows(kind: Any) -> Any:
    return lambda x: type(x) is list and all(map(kind, x))


def optional(kind: Any) -> Any:
    return lambda x: x is None or kind(x)


FIGURES = optional(
    record(
        text=text, low=optional(number), mean=optional(number), high=optional(number), size=whole,
        zeros=whole, nan=whole, inf=whole, columns=whole, dead=whole,
    )
)  # fmt: skip
NODE = record(
    id=whole, role=ROLES.__contains__, label=text, op=text, settings=text, shape=text, dtype=text,
    value=FIGURES, grad=FIGURES, cluster=whole, target=text,
    mark=optional(record(kind=("wrong", "kink").__contains__, word=text, message=text)),
    source=text, rules=rows(lambda x: len(x) == 2 and all(map(text, x))),
    cost=optional(record(forward=number, backward=number, kept=whole, peak=whole)), hidden=whole,
    is_dead=lambda x: type(x) is bool,
)  # fmt: skip
EDGE = record(source=whole, target=whole, place=whole, local=optional(number), flow=FIGURES)
CLUSTER = record(name=text, title=text, parent=whole, kind=whole)
DOCUMENT = record(
    format="tinygrad_nn.graph/1".__eq__, note=text, nodes=rows(NODE), edges=rows(EDGE),
    clusters=rows(CLUSTER),
)  # fmt: skip


def neuron() -> Drawing:
    x, w = tg.Value(2.0, label="x"), tg.Value(-3.0, label="w")
    return draw((x * w + 1.0).tanh(), {"w": w})


def scalar_network() -> Drawing:
    model = scalar.MLP(2, [2, 1], rng=0)
    return draw(model([1.0, 2.0]), model)


def network() -> Drawing:
    model = nn.MLP(3, [4, 2], rng=0)
    return draw(tg.losses.cross_entropy(model(np.ones((5, 3), "float32")), np.zeros(5, int)), model)


def not_finite() -> Drawing:
    x = tg.tensor([0.0, 1.0, -1.0, np.nan] * 3, requires_grad=True)
    with np.errstate(all="ignore"):
        return draw({"a": np.sum(np.log(x)), "b": x * np.inf})


def scalars_not_finite() -> Drawing:
    x = tg.Value(math.inf)
    return draw(x * 2.0 - x)


def numbers_of_all_kinds() -> Drawing:
    x = tg.tensor(np.arange(8.0), requires_grad=True)
    items = [np.arange(8), np.arange(8) > 3, np.full(8, 1 + 2j), np.arange(8, dtype="uint8"), 7, 1j]
    return draw([x * item for item in items] + [tg.tensor(np.zeros((0, 3))) * 2.0])


def huge() -> Drawing:
    return draw(tg.tensor(np.full(9, 1.7e308)) * 1.0)


def compiled() -> Drawing:
    model = nn.MLP(2, [3, 1], rng=0)
    step = tg.compile(lambda x: np.sum(model(x)))
    for _ in range(3):
        step(np.ones((4, 2), "float32"))
    return draw(step)


def checked() -> Drawing:
    return draw(gradcheck(lambda x: np.sum(tg.relu(x)), np.array([0.0, 2.0]), blame=True))


def costly() -> Drawing:
    graph = neuron().description
    cost = Cost(1e-6, math.nan, 24, 48)
    return Drawing(replace(graph, nodes=tuple(v._replace(cost=cost) for v in graph.nodes)))


def folded() -> Drawing:
    graph = deep().description
    return Drawing(fold(graph, choose(graph, depth=1)))


def deep() -> Drawing:
    model = nn.MLP(2, [3, 3, 3, 1], rng=0)
    return draw(model(np.ones((5, 2), "float32")), model)


def empty() -> Drawing:
    return Drawing(Description((), (), (), ""))


MAKERS = (
    neuron, scalar_network, network, not_finite, scalars_not_finite, numbers_of_all_kinds, huge,
    compiled, checked, costly, deep, folded, empty,
)  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_every_graph_keeps_to_the_format(make: Any) -> None:
    drawing = make()
    graph = drawing.description
    found = read(drawing)
    assert DOCUMENT(found)
    assert found == document(graph)
    assert [node["id"] for node in found["nodes"]] == list(range(len(graph.nodes)))
    for edge in found["edges"]:
        assert 0 <= edge["source"] < edge["target"] < len(graph.nodes)
    for node in found["nodes"]:
        assert -1 <= node["cluster"] < len(graph.clusters)
    for i, cluster in enumerate(found["clusters"]):
        assert -1 <= cluster["parent"] < i
    assert drawing.to_json() == drawing.to_json()


@pytest.mark.parametrize("make", MAKERS)
def test_nothing_that_the_description_says_is_lost(make: Any) -> None:
    drawing = make()
    graph, found = drawing.description, read(drawing)

    def same(x: Any, y: Any) -> bool:
        if isinstance(x, float) and not math.isfinite(x):
            return bool(y == str(x))
        if hasattr(x, "_fields"):
            return all(same(getattr(x, name), y[name]) for name in x._fields)
        if isinstance(x, tuple):
            return len(x) == len(y) and all(map(same, x, y))
        return type(x) is type(y) and bool(x == y)

    assert found["note"] == graph.note
    for part in ("nodes", "edges", "clusters"):
        assert len(found[part]) == len(getattr(graph, part))
        for x, y in zip(getattr(graph, part), found[part], strict=True):
            assert same(x, y), (x, y)


def test_clusters_of_one_kind_have_one_number() -> None:
    kinds = {c["title"]: c["kind"] for c in read(deep())["clusters"]}
    layers = [c["kind"] for c in read(deep())["clusters"] if c["title"].startswith("Layer(3, 3")]
    assert len(layers) == 2
    assert len(set(layers)) == 1
    assert len(set(kinds.values())) == len(kinds) == 4


def test_a_folded_cluster_says_how_many_nodes_it_stands_for() -> None:
    found = read(folded())
    boxes = [node for node in found["nodes"] if node["role"] == "module"]
    shown = len(found["nodes"]) - len(boxes)
    assert sum(node["hidden"] for node in boxes) + shown == len(read(deep())["nodes"])
    assert found["note"] == folded().description.note != ""


def test_what_json_lacks_is_a_string() -> None:
    found = read(scalars_not_finite())
    assert [node["value"]["text"] for node in found["nodes"]] == ["inf", "2.0", "inf", "nan"]
    vertex = Vertex("output", "", "f", "", "", "", figures(1.0), None, -1)
    edges = tuple(Edge(0, 1, 0, local) for local in (math.nan, math.inf, -math.inf, -0.0))
    found = read(Drawing(Description((vertex, vertex), edges, (), "")))
    assert [edge["local"] for edge in found["edges"]] == ["nan", "inf", "-inf", 0.0]
    assert read(huge())["nodes"][0]["value"]["mean"] == "inf"  # the sum of what it is of overflows


def test_a_node_an_edge_or_a_cluster_to_a_line() -> None:
    x = tg.Value(2.0, label="x")
    assert draw(x * x).to_json().splitlines()[:4] == [
        "{",
        '"format": "tinygrad_nn.graph/1",',
        '"note": "",',
        '"nodes": [',
    ]
    for make in MAKERS:
        drawing = make()
        lines = [line.removesuffix(",") for line in drawing.to_json().splitlines()]
        found = read(drawing)
        for part in ("nodes", "edges", "clusters"):
            for item in found[part]:
                assert item in [json.loads(line) for line in lines if line.startswith('{"')]


# --- strings -------------------------------------------------------------------------------------

HOSTILE = [
    "\ud800", "\udfff alone", "a\x00b\x1b[31mc\x7f\x9b0m", "</script><!-- <![CDATA[", '"\\u0041\\',
    "two\nlines\r\n\t\u2028\u2029", "\u202edrawkcab\u2066", "\ufeff\ufffe\U0001ffff", "é × − 名 😀",
    "x" * 10_000, "", " ", "__proto__", "NaN",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_strings_survive(name: str) -> None:
    x = tg.tensor([1.0], label=name)
    graph = draw({name: x * 2.0}).description
    odd = graph.nodes[-1]._replace(op=name, settings=name, source=name, rules=((name, name),))
    drawing = Drawing(replace(graph, nodes=(*graph.nodes[:-1], odd), note=name))
    source = drawing.to_json()
    found = read(drawing)
    node = found["nodes"][-1]
    assert found["note"] == found["nodes"][0]["label"] == name
    assert node["label"] == node["op"] == node["settings"] == node["source"] == name
    assert node["rules"] == [[name, name]]
    # Nothing in it steers a terminal, and it can be written.
    assert source.replace("\n", "").isprintable()
    assert json.loads(source.encode("utf-8")) == found


def test_what_prints_is_written_as_it_is() -> None:
    assert "é × − 名 😀" in draw(tg.Value(1.0, label="é × − 名 😀")).to_json()
