"""The description in Graphviz's language."""

from __future__ import annotations

import textwrap
from html import escape

from tinygrad_nn.draw.description import Cluster, Description, Edge, Vertex, nested
from tinygrad_nn.draw.figures import Figures, number
from tinygrad_nn.draw.palette import (
    DEAD,
    EDGE,
    FLOW,
    FRAME,
    INK,
    MARKED,
    MARKS,
    MUTED,
    RED,
    ROLES,
    SHADE,
)
from tinygrad_nn.draw.wording import (
    cluster_title,
    cost_text,
    facts,
    is_inline,
    notes,
    plain,
    says_settings,
    shortened,
    title,
)

__all__ = ["cluster_attributes", "edge_attributes", "head", "node_attributes", "streams", "to_dot"]

_FONT = "Helvetica,Arial,sans-serif"

#: How operations are written in mathematics, where that is one sign.
SYMBOLS = {
    "add": "+",
    "add_n": "+",
    "subtract": "−",
    "multiply": "×",
    "divide": "÷",
    "matmul": "@",
}

# Between columns, where Graphviz knows only padding on all sides; and between a matrix's rows.
_GAP = "&#160;&#160;"
_BREAK = '<BR ALIGN="RIGHT"/>'


#: What comes in along the drawing's direction; parameters and constants come in from the side.
_FLOWING = ("input", "intermediate", "output", "module")


def to_dot(graph: Description, rankdir: str = "LR", dpi: int | None = None) -> str:
    """Write the description in DOT.

    One box to a node, with the operation beside the name of its result: half as many boxes as
    with a circle to each operation, and every number stands next to what made it. Rows of figures
    are table cells, so that they align. Nothing is behind the drawing and its lines are of a grey
    that shows on white and on black.
    """
    lines = head(graph, rankdir, dpi)
    stream = streams(graph) if graph.clusters else list(range(len(graph.nodes)))
    for what, i, depth in nested(graph):
        indent = "  " * (depth + 1)
        if what == "node":
            group = f"group={stream[i]}, " if graph.clusters else ""
            lines.append(f"{indent}n{i} [{group}{node_attributes(graph.nodes[i])}]")
        elif what == "open":
            lines += [
                f"{indent}subgraph cluster_{i} {{",
                f"{indent}  {cluster_attributes(graph.clusters[i])}",
            ]
        else:
            lines.append(f"{indent}}}")
    for e in graph.edges:
        options = edge_attributes(e, graph, stream)
        lines.append(f"  n{e.source} -> n{e.target}{f' [{options}]' if options else ''}")
    return "\n".join([*lines, "}", ""])


def head(graph: Description, rankdir: str, dpi: int | None = None) -> list[str]:
    """Write the lines that open the graph."""
    lines = [
        'digraph "computation graph" {',
        f'  graph [rankdir={rankdir}, bgcolor="transparent", fontname="{_FONT}", fontsize=10,'
        f' fontcolor="{FRAME}", color="{FRAME}", nodesep=0.25, ranksep=0.45, pad=0.15'
        + (f", dpi={dpi}" if dpi else "")
        + "]",
        f'  node [shape=box, style="rounded,filled", fontname="{_FONT}", fontsize=10,'
        f' fontcolor="{INK}", margin="0.09,0.05", height=0.3, width=0.4, penwidth=1.1]',
        f'  edge [color="{EDGE}", fontcolor="{EDGE}", fontname="{_FONT}", fontsize=8,'
        f" arrowsize=0.6, penwidth=1.1]",
    ]
    if graph.note:
        lines.append(f"  label=<{_text(plain(graph.note))}>")
    return lines


def cluster_attributes(cluster: Cluster) -> str:
    """Write what makes a cluster a frame with a title."""
    return (
        f"label=<{_text(cluster_title(cluster)) or ' '}>; labeljust=l;"
        f' style="rounded,filled"; fillcolor="{SHADE}"; color="{FRAME}"; margin=10'
    )


def edge_attributes(e: Edge, graph: Description, stream: list[int]) -> str:
    """Write an edge's attributes; `stream` is that of `streams`."""
    source, target = graph.nodes[e.source], graph.nodes[e.target]
    options = ["weight=20"] if stream[e.source] == stream[e.target] else []
    if source.cluster != target.cluster >= 0 and source.role in _FLOWING:
        # Leaves room for the parameters beside `target`, so that clusters stand in a row.
        options.append("minlen=2")
    if e.local is not None:
        label = f'<FONT COLOR="{FLOW}">∂ {_text(number(e.local))}</FONT>'
        options.append(f"label=<{label}>")
    if e.place:
        options += [f'headlabel="{e.place}"', "labeldistance=1.6", "labelangle=-35"]
    return ", ".join(options)


def streams(graph: Description) -> list[int]:
    """Find lines of nodes, each computed from the one before, that a picture can draw straight.

    A node continues the line of its first argument that is data or a result, unless another node
    has done so before. Lines are numbered by the node that they begin with.
    """
    stream = list(range(len(graph.nodes)))
    taken = set()
    continued = set()
    for e in graph.edges:
        free = e.target not in continued and e.source not in taken
        if free and graph.nodes[e.source].role in _FLOWING:
            taken.add(e.source)
            continued.add(e.target)
            stream[e.target] = stream[e.source]
    return stream


def node_attributes(vertex: Vertex) -> str:
    """Write a node's label, colours and what is read on hover."""
    fill, line = ROLES[vertex.role]
    width = ""
    if vertex.is_dead:
        fill, line = DEAD
    if not vertex.is_finite:
        line, width = RED, ", penwidth=2.5"
    if vertex.mark is not None:
        fill, line = MARKS[vertex.mark.kind]
        width = ", penwidth=3.5"
        if vertex.mark.kind == "kink":
            width = ', penwidth=2, style="rounded,filled,dashed"'
    name, op = title(vertex)
    tip = [" ".join(filter(None, (vertex.role, name, op)))]
    tip += [f"{what} {text}" for what, text in facts(vertex)]
    tip += [f"grad of {plain(argument)}: {plain(rule)}" for argument, rule in vertex.rules]
    return (
        f'label=<{_label(vertex)}>, fillcolor="{fill}", color="{line}"{width}, '
        f"tooltip={_tooltip(tip)}"
    )


def _label(vertex: Vertex) -> str:
    name, op = title(vertex)
    op = SYMBOLS.get(op, op)
    named = bool(name.strip())
    heading = f"<B>{_text(name if named else op)}</B>"
    if is_inline(vertex):
        return heading
    rows = [_row(f'<TD COLSPAN="4">{heading}</TD>')]
    # What computed a labelled result stands below the label: side by side they run into each other
    # where the reader's font is wider than the one that Graphviz laid out for.
    kind = "" if vertex.shape == "()" else f"{vertex.shape} {vertex.dtype}".strip()
    small = " ".join(filter(None, (plain(op) if named else "", kind)))
    if small:
        rows.append(_row(f'<TD COLSPAN="4">{_small(small)}</TD>'))
    if vertex.mark is not None:
        word = f'<FONT COLOR="{MARKED[vertex.mark.kind]}"><B>{_text(vertex.mark.word)}</B></FONT>'
        rows.append(_row(f'<TD COLSPAN="4">{word}</TD>'))
        rows += [
            _row(f'<TD COLSPAN="4">{_small(part)}</TD>')
            for part in textwrap.wrap(shortened(plain(vertex.mark.message)), 36)
        ]
    if says_settings(vertex):
        rows.append(_row(f'<TD COLSPAN="4">{_small(plain(vertex.settings))}</TD>'))
    if vertex.target:
        rows.append(_row(f'<TD COLSPAN="4">{_small("→ " + plain(vertex.target))}</TD>'))
    if vertex.hidden:
        rows.append(_row(f'<TD COLSPAN="4">{_small(dict(facts(vertex))["folded"])}</TD>'))
    if vertex.cost is not None:
        rows += [
            _row(f'<TD COLSPAN="4">{_small(part)}</TD>')
            for part in cost_text(vertex.cost).split(", ", 2)
        ]
    given = [(n, f) for n, f in (("value", vertex.value), ("grad", vertex.grad)) if f is not None]
    if given:
        rows.append("<HR/>")
    if any(not f.text and f.mean is not None for _, f in given):
        heads = "".join(f'<TD ALIGN="RIGHT">{_small(h)}</TD>' for h in ("min", "mean", "max"))
        rows.append(_row(f"<TD></TD>{heads}"))
    for what, f in given:
        rows += _figures(what, f)
    return (
        f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">{"".join(rows)}</TABLE>'
    )


def _figures(what: str, f: Figures) -> list[str]:
    rows = []
    head = f'<TD ALIGN="LEFT">{_small(what)}</TD>'
    if f.text:
        text = (_text if f.is_finite else _red)(f.text)
        if "], [" in text:
            text = text.replace("], [", f"],{_BREAK}[") + _BREAK
        rows.append(_row(f'{head}<TD COLSPAN="3" ALIGN="RIGHT">{_GAP}{text}</TD>'))
        head = ""
    elif f.mean is not None:
        cells = "".join(
            f'<TD ALIGN="RIGHT">{_GAP}{_text(number(x))}</TD>' for x in (f.low, f.mean, f.high)
        )
        rows.append(_row(head + cells))
        head = ""
    found = notes(f)
    if found:
        text = ", ".join(found)
        text = _small(text) if f.is_finite else _red(text)
        rows.append(_row(f'{head or "<TD></TD>"}<TD COLSPAN="3" ALIGN="RIGHT">{_GAP}{text}</TD>'))
    return rows


def _row(cells: str) -> str:
    return f"<TR>{cells}</TR>"


def _text(text: str) -> str:
    r"""Escape text for an HTML-like label, where Graphviz still replaces ``\N`` and the like."""
    return escape(text).replace("\\", "\\\\")


def _small(text: str) -> str:
    return f'<FONT COLOR="{MUTED}" POINT-SIZE="8.5">{_text(text)}</FONT>'


def _red(text: str) -> str:
    return f'<FONT COLOR="{RED}"><B>{_text(text)}</B></FONT>'


def _tooltip(lines: list[str]) -> str:
    """Quote clean lines for what a reader sees on hover.

    Versions of Graphviz differ in how often they undo backslashes here, so the sign that looks
    like one takes their place.
    """
    text = "\n".join(lines).replace("&", "&amp;").replace("\\", "\N{REVERSE SOLIDUS OPERATOR}")
    return '"' + text.replace('"', '\\"').replace("\n", "\\n") + '"'
