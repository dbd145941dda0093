"""What drawings look like, as files: golden/ holds six graphs, each in four forms.

Every line of them was read when it was written: the values and gradients computed by hand, the
edges, the order and the escapes compared with what the code below says. A change of how graphs are
written is to be read there too. ``python tests/test_draw_golden.py`` writes the files anew, for
`git diff` to show what has changed.

All numbers are sums of few powers of two, and all sizes are powers of two, so that no machine has
anything to round, not in a mean either.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from runpy import run_path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import nn
from tinygrad_nn.draw import Drawing, draw
from tinygrad_nn.gradcheck import gradcheck

GOLDEN = Path(__file__).parent / "golden"
SVG = "{http://www.w3.org/2000/svg}"


def neuron() -> Drawing:
    """Draw two inputs, their weights, a bias and a ReLU, of single numbers."""
    x1, x2 = tg.Value(2.0, label="x1"), tg.Value(0.5, label="x2")
    w = {"w1": tg.Value(-3.0), "w2": tg.Value(1.0), "b": tg.Value(6.75)}
    n = x1 * w["w1"] + x2 * w["w2"] + w["b"]
    n.label = "n"
    o = n.relu()
    o.label = "o"
    return draw(o, w)


def set_parameters(model: nn.Module) -> None:
    """Give a model parameters that are multiples of 1/4, other ones in every column."""
    for parameter in model.parameters():
        count = np.arange(parameter.data.size).reshape(parameter.shape)
        parameter.data = ((count * 3 % 7 - 3) / 4).astype("float32")


def network() -> Drawing:
    """Draw two layers and a loss. Two of the hidden units are off for every row."""
    model = nn.MLP(2, [4, 2], rng=0)
    set_parameters(model)
    x = tg.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype="float32", label="x")
    target = np.array([[0.0, 1.0], [1.0, 0.0]], "float32")
    loss = tg.losses.mse_loss(model(x), target)
    return draw({"loss": loss}, model)


def folded() -> Drawing:
    """Draw four layers, each as a box, the equal ones as one."""
    model = nn.MLP(2, [4, 4, 4, 1], rng=0)
    set_parameters(model)
    x = tg.tensor([[1.0, -0.5], [0.5, 1.0]], dtype="float32", label="x")
    out = np.mean(model(x))
    return draw(out, model, depth=1)


def plan() -> Drawing:
    """Draw what a compiled step computes: a loss, its gradient, an update in place."""
    step = run_path(str(GOLDEN / "step.py"))["step"]
    for _ in range(3):
        step(np.array([0.5, 0.25]))
    return draw(step)


def checked() -> Drawing:
    """Draw what a check found: a rule that is wrong, and a kink."""
    positive = run_path(str(GOLDEN / "doubled.py"))["positive"]
    x = np.array([1.0, -2.0, 0.0, 4.0])
    return draw(gradcheck(positive, x, blame=True, raise_exception=False))


#: Names that end what they stand in, begin something else, or steer a terminal, and what is shown.
HOSTILE = {
    '"]; x -> y <script>alert(1)</script>': '"]; x -> y <script>alert(1)</script>',
    "\x1b[31mred\x1b[m\nnext\r\t\x00\u202egnol\ud800": "�[31mred�[m next  ��gnol�",
    '\\N \\G \\" &amp; &#65; --> end': '\\N \\G \\" &amp; &#65; --> end',
    "1. **`_a_`** %% #quot; | $x$": "1. **`_a_`** %% #quot; | $x$",
    '}</TABLE>>]; subgraph "]': '}</TABLE>>]; subgraph "]',
}


class Odd(nn.Module):
    """A module whose parts have hostile names."""

    def __init__(self, names: list[str]) -> None:
        setattr(self, names[0], nn.Linear(1, 1, bias=False))
        setattr(self, names[1], tg.tensor([0.5], requires_grad=True))
        self.names = names

    def forward(self, x: Any) -> Any:
        layer, scale = (getattr(self, name) for name in self.names)
        return layer(x) * scale


def hostile() -> Drawing:
    """Draw names that are code, numbers that are none, a result that is zero."""
    script, control, escapes, markdown, end = HOSTILE
    model = Odd([end, markdown])
    getattr(model, end).weight.data = np.full((1, 1), -2.0)
    x = tg.tensor([[4.0]], requires_grad=True, label=control)
    y = model(x)
    overflown = y * tg.tensor([[np.inf]], label=escapes)
    return draw({script: overflown, "": tg.relu(y)}, model)


GRAPHS = {make.__name__: make for make in (neuron, network, folded, plan, checked, hostile)}
SUFFIXES = ("dot", "json", "mmd", "txt")
FILES = [(graph, suffix) for graph in GRAPHS for suffix in SUFFIXES]


@pytest.mark.parametrize(("graph", "suffix"), FILES)
def test_every_byte_is_as_it_was_read(graph: str, suffix: str, tmp_path: Path) -> None:
    name = f"{graph}.{suffix}"
    written = GRAPHS[graph]().save(tmp_path / name).read_bytes()
    # As text first, for which pytest shows the lines that differ.
    assert written.decode() == (GOLDEN / name).read_text("utf-8"), f"python {__file__} rewrites it"
    assert written == (GOLDEN / name).read_bytes()


def test_no_file_is_left_over() -> None:
    found = {path.name for path in GOLDEN.iterdir() if path.is_file()}
    assert found == {f"{graph}.{suffix}" for graph, suffix in FILES} | {"step.py", "doubled.py"}


# --- the four forms, each read by itself, say the same -------------------------------------------


def document(graph: str) -> Any:
    return json.loads((GOLDEN / f"{graph}.json").read_text("utf-8"))


def names(node: Any, ops: dict[str, str]) -> list[str]:
    """Return what is written of a node's name and operation; some have other words in `ops`."""
    given = HOSTILE.get(node["label"], node["label"])
    return [name for name in (given, ops.get(node["op"], node["op"])) if name] or [node["role"]]


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs the program dot of Graphviz")
@pytest.mark.parametrize("graph", GRAPHS)
def test_graphviz_reads_what_was_meant(graph: str) -> None:
    command = ["dot", "-Tsvg", GOLDEN / f"{graph}.dot"]
    made = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert made.stderr == b""
    found: dict[str, list[tuple[str, list[str]]]] = {"node": [], "edge": [], "cluster": []}
    for group in ElementTree.fromstring(made.stdout).iter(f"{SVG}g"):
        if group.get("class") in found:
            title, *texts = (
                "".join(part.itertext()).replace("\xa0", " ")
                for part in group.iter()
                if part.tag in (f"{SVG}title", f"{SVG}text")
            )
            found[group.attrib["class"]].append((title, texts))
    expected = document(graph)
    nodes = dict(found["node"])
    assert len(found["node"]) == len(nodes) == len(expected["nodes"])
    for node in expected["nodes"]:
        texts = nodes[f"n{node['id']}"]
        said = " ".join(texts)
        label, *op = names(node, {"add": "+", "subtract": "−", "multiply": "×", "matmul": "@"})
        assert label in texts
        assert all(word in said for word in op)
        figures = [f["text"] for f in (node["value"], node["grad"]) if f and f["text"]]
        assert all(figure in said for figure in figures)
    assert Counter(title for title, _ in found["edge"]) == Counter(
        f"n{edge['source']}->n{edge['target']}" for edge in expected["edges"]
    )
    titles = {title: " ".join(texts) for title, texts in found["cluster"]}
    assert len(titles) == len(expected["clusters"])
    for i, cluster in enumerate(expected["clusters"]):
        for part in (cluster["name"], cluster["title"]):
            assert HOSTILE.get(part, part) in titles[f"cluster_{i}"]


@pytest.mark.parametrize("graph", GRAPHS)
def test_mermaid_says_the_same(graph: str) -> None:
    source = (GOLDEN / f"{graph}.mmd").read_text("utf-8")
    expected = document(graph)
    edges = re.findall(r"^  n(\d+) -->(?:\|[^|]*\|)? n(\d+)$", source, re.MULTILINE)
    assert edges == [(str(edge["source"]), str(edge["target"])) for edge in expected["edges"]]
    # Between the quotes there is text and line breaks; whatever could be more is a code.
    nodes = re.findall(r'^ +n(\d+)\(\[?"([^"]*)"\]?\):::(\w+)$', source, re.MULTILINE)
    assert len(nodes) == len(expected["nodes"])
    for i, quoted, role in nodes:
        node = expected["nodes"][int(i)]
        assert role == node["role"]
        rows = quoted.split("<br/>")
        assert not any(set('<>&"`*|\\') & set(row) for row in rows)
        title = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), rows[0])
        assert all(name in title for name in names(node, {}))


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_tree_says_the_same(graph: str) -> None:
    lines = (GOLDEN / f"{graph}.txt").read_text("utf-8").splitlines()
    expected = document(graph)
    path: list[str] = []
    edges, written = [], []
    for line in lines[: len(lines) - bool(expected["note"])]:
        branches, arrow, i = re.match(r"((?:[│├└─ ]{3})*)([↑↓] )?n(\d+) ", line).groups()  # type: ignore[union-attr]
        del path[len(branches) // 3 :]
        edges += [(i, above) for above in path[-1:]]
        path.append(i)
        if not arrow:
            written.append(i)
            assert all(name in line for name in names(expected["nodes"][int(i)], {}))
    assert sorted(written, key=int) == [str(node["id"]) for node in expected["nodes"]]
    assert Counter(edges) == Counter(
        (str(edge["source"]), str(edge["target"])) for edge in expected["edges"]
    )


if __name__ == "__main__":
    for graph, suffix in FILES:
        GRAPHS[graph]().save(GOLDEN / f"{graph}.{suffix}")
