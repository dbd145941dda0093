"""The tree in colour: what is painted, in what, and that nothing else is changed by it."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import nn
from tinygrad_nn.draw import Cluster, Description, Drawing, Edge, Mark, Vertex, draw
from tinygrad_nn.draw.description import ROLES, Cost
from tinygrad_nn.draw.figures import figures

#: The sixteen colours in either form, bold, faint, and the end of all these.
PLAIN_SGR = r"\x1b\[(?:0|2|1;3[0-7]|3[0-7])m"


def uncoloured(text: str) -> str:
    return re.sub(PLAIN_SGR, "", text)


def spans(text: str) -> list[tuple[str, str]]:
    """Return (SGR code, text) of everything that is painted, in order."""
    return re.findall(r"\x1b\[(\d[\d;]*)m([^\x1b]*)\x1b\[0m", text)


def vertex(role: str = "intermediate", **others: object) -> Vertex:
    blank = Vertex(role, "", "f", "", "", "", None, None, -1)
    return blank._replace(**others)


def of(*nodes: Vertex, edges: tuple[Edge, ...] = (), note: str = "") -> Drawing:
    return Drawing(Description(nodes, edges, (Cluster("layer", "Linear(2, 3)", -1),), note))


def everything() -> Drawing:
    kinds = [vertex(role, label=f"a {role}") for role in ROLES]
    kinds += [
        vertex(label="bad", value=figures(np.nan)),
        vertex(label="overflown", grad=figures(np.full(9, np.inf))),
        vertex(label="dead", value=figures(np.zeros(9)), grad=figures(0.0), cluster=0),
        vertex(label="off", is_dead=True, source="f.py:7: relu(x)", cost=Cost(0.0, 0.0, 8, 8)),
        vertex(label="alive", value=figures(np.arange(9.0)), shape="(9,)", dtype="float64"),
        vertex(label="broken", mark=Mark("wrong", "wrong rule", "1 must be 2")),
        vertex(label="bent", mark=Mark("kink", "kink", "slopes from 0 to 1"), value=figures(1.0)),
    ]
    chain = tuple(Edge(i, i + 1, 0, float(i)) for i in range(len(kinds) - 1))
    return of(*kinds, edges=(*chain, Edge(0, 5, 0, np.nan)), note="a note")


def network() -> Drawing:
    model = nn.MLP(3, [4, 4, 2], rng=0)
    x = tg.tensor(np.ones((5, 3)), label="x")
    return draw(tg.losses.cross_entropy(model(x), np.zeros(5, int)), model)


def chain() -> Drawing:
    v = tg.Value(1.0)
    for _ in range(40):
        v = v * 2.0 + v
    return draw(v)


@pytest.mark.parametrize("make", [everything, network, chain])
def test_colours_are_over_the_text_and_change_nothing(make) -> None:
    drawing = make()
    plain, coloured = drawing.to_text(), drawing.to_text(color=True)
    assert "\x1b" not in plain
    assert plain != coloured
    assert uncoloured(coloured) == plain
    # Every colour ends on the line where it began, and none begins within another.
    assert re.sub(r"\x1b\[[\d;]+m[^\x1b\n]*\x1b\[0m", "", coloured).count("\x1b") == 0


def test_what_is_painted() -> None:
    found = spans(everything().to_text(color=True))
    codes = {text.partition(" ")[2] if text[0] == "n" else text: code for code, text in found}
    assert codes["a parameter = f"] == "33"
    assert codes["a input = f"] == "36"
    assert codes["a output = f"] == "1;32"
    assert codes["a module = f"] == "35"
    assert "a intermediate = f" not in codes
    assert "a constant = f" not in codes
    red = {text for code, text in found if code == "1;31"}
    assert red == {
        "n6 bad = f", "value nan", "n7 overflown = f", "grad 9 inf, none finite", "n11 broken = f",
        "WRONG RULE 1 must be 2", "∂n5/∂n0 nan",
    }  # fmt: skip
    assert codes["KINK slopes from 0 to 1"] == codes["bent = f"] == "1;33"
    faint = {text for code, text in found if code == "2"}
    assert faint == {
        "value min 0.0, mean 0.0, max 0.0, all zero", "grad 0.0", "in layer: Linear(2, 3)",
        "n9 off = f",
        "line f.py:7: relu(x)",
        "cost 0 ns forward, 0 ns back, keeps 8 B",
        "∂n1/∂n0 0.0", "↑ n0 a input = f", "↑ n4 a output = f",
    }  # fmt: skip


def test_each_role_has_a_colour_of_its_own_or_none() -> None:
    from tinygrad_nn.draw.writing.text import _MARKS, _ROLES

    assert set(_ROLES) == set(ROLES)
    codes = [code for code in (*_ROLES.values(), *_MARKS.values()) if code]
    assert len(set(codes)) == len(codes) == 6


def test_the_derivative_along_each_edge() -> None:
    edges = (Edge(0, 1, 1, 3.0), Edge(0, 1, 2, -0.5), Edge(1, 2, 0, None))
    nodes = (vertex("input", label="x", op=""), vertex(), vertex("output"))
    assert of(*nodes, edges=edges).to_text() == (
        "n2 f\n"
        "└─ n1 f\n"
        "   ├─ n0 x  ∂n1/∂n0 3.0\n"
        "   └─ ↑ n0 x  ∂n1/∂n0 -0.5\n"
    )  # fmt: skip


def test_a_line_of_the_program_is_told_once() -> None:
    first, second = "f.py:7: y = x * x: 1", "f.py:8: z = y"
    nodes = [vertex(source=source, cluster=0) for source in (first, second, first)]
    assert of(*nodes, edges=(Edge(0, 1, 0, 2.0), Edge(1, 2, 0))).to_text() == (
        "n2 f  in layer: Linear(2, 3)  line f.py:7: y = x * x: 1\n"
        "└─ n1 f  in layer: Linear(2, 3)  line f.py:8: z = y\n"
        "   └─ n0 f  ∂n1/∂n0 2.0  in layer: Linear(2, 3)  line f.py:7\n"
    )


def test_boxes_in_a_circle_are_all_written() -> None:
    boxes = [vertex("module", label=name, op="") for name in "abcd"]
    edges = (Edge(0, 1, 0), Edge(1, 0, 0), Edge(2, 3, 0), Edge(3, 2, 0))
    assert of(*boxes, edges=edges).to_text() == (
        "n3 d\n"
        "└─ n2 c\n"
        "   └─ ↑ n3 d\n"
        "n1 b\n"
        "└─ n0 a\n"
        "   └─ ↑ n1 b\n"
    )  # fmt: skip
    assert of().to_text() == ""


def test_a_hostile_label_is_painted_but_paints_nothing() -> None:
    name = "\x1b[31mred\x1b[0m \x9b32mgreen \u202eback"
    odd = vertex("output", label=name, op=name, settings=name, target=name, cluster=0,
                 mark=Mark("kink", name, name))  # fmt: skip
    graph = Description((odd,), (), (Cluster(name, name, -1),), name)
    text = Drawing(graph).to_text(color=True)
    assert uncoloured(text).replace("\n", "").replace("\ufffd", "").isprintable()
    assert "\ufffd[31mred" in text


def test_colour_when_asked_for_and_by_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = network()
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    plain, coloured = drawing.to_text(), drawing.to_text(color=True)
    assert drawing.to_text(color=None) == plain
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert drawing.to_text(color=None) == coloured
    assert drawing.to_text() == drawing.to_text(color=False) == plain  # files hold no escapes
    monkeypatch.setenv("NO_COLOR", "1")
    assert drawing.to_text(color=None) == plain
    assert drawing.to_text(color=True) == coloured
