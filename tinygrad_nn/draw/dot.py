"""The description in Graphviz's language."""

from __future__ import annotations

from html import escape

from tinygrad_nn.draw.describe import Description, Vertex
from tinygrad_nn.draw.figures import Figures, number
from tinygrad_nn.draw.palette import EDGE, FRAME, INK, MUTED, RED, ROLES
from tinygrad_nn.draw.wording import cluster_title, facts, is_inline, notes, plain, title

__all__ = ["to_dot"]

_FONT = "Helvetica,Arial,sans-serif"

#: How operations are written in mathematics, where that is short.
SYMBOLS = {"add": "+", "add_n": "+", "subtract": "−", "multiply": "×", "divide": "÷",
           "matmul": "@", "negative": "−", "sum": "Σ", "power": "^"}  # fmt: skip


# Between columns, where Graphviz knows only padding on all sides; and between a matrix's rows.
_GAP = "&#160;&#160;"
_BREAK = '<BR ALIGN="RIGHT"/>'


def to_dot(graph: Description, rankdir: str = "LR", dpi: int | None = None) -> str:
    """Write the description in DOT.

    One box to a node, with the operation beside the name of its result: half as many boxes as
    with a circle to each operation, and every number stands next to what made it. Rows of figures
    are table cells, so that they align. Nothing is behind the drawing and its lines are of a grey
    that shows on white and on black.
    """
    lines = [
        "digraph graph_ {",
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
        lines.append(f"  label={_quoted(graph.note)}")
    lines += _nested(graph)
    for e in graph.edges:
        # Results flow in straight lines; what else they need comes in from the side.
        source, target = graph.nodes[e.source], graph.nodes[e.target]
        options = ["weight=8"] if source.op else []
        if source.op and source.cluster != target.cluster >= 0:
            # Leaves room for the parameters beside `target`, so that clusters stand in a row.
            options.append("minlen=2")
        if e.place:
            options += [f'headlabel="{e.place}"', "labeldistance=1.6", "labelangle=-35"]
        lines.append(f"  n{e.source} -> n{e.target}" + (f" [{', '.join(options)}]" if options else ""))
    return "\n".join([*lines, "}", ""])


def _nested(graph: Description) -> list[str]:
    """Write nodes inside their clusters, and clusters inside clusters, without recursion."""
    inside: list[list[int]] = [[] for _ in range(len(graph.clusters) + 1)]  # the last: outside all
    for i, vertex in enumerate(graph.nodes):
        inside[vertex.cluster].append(i)
    parts: list[list[int]] = [[] for _ in inside]
    for c, cluster in enumerate(graph.clusters):
        parts[cluster.parent].append(c)

    lines = [f"  n{i} [{_attributes(graph.nodes[i])}]" for i in inside[-1]]
    todo: list[tuple[int, bool, int]] = [(c, True, 1) for c in reversed(parts[-1])]
    while todo:
        c, opens, depth = todo.pop()
        indent = "  " * depth
        if not opens:
            lines.append(f"{indent}}}")
            continue
        text = _quoted(cluster_title(graph.clusters[c]))
        lines += [
            f"{indent}subgraph cluster_{c} {{",
            f'{indent}  label={text}; tooltip={text}; labeljust=l; style="rounded,filled";'
            f' fillcolor="{FRAME}14"; color="{FRAME}"; margin=10',
        ]
        lines += [f"{indent}  n{i} [{_attributes(graph.nodes[i])}]" for i in inside[c]]
        todo.append((c, False, depth))
        todo += [(part, True, depth + 1) for part in reversed(parts[c])]
    return lines


def _attributes(vertex: Vertex) -> str:
    fill, line = ROLES[vertex.role]
    bad = any(f is not None and not f.is_finite for f in (vertex.value, vertex.grad))
    if bad:
        line = RED
    name, op = title(vertex)
    tip = "\n".join([" ".join(filter(None, (vertex.role, name, op))),
                     *(f"{what} {text}" for what, text in facts(vertex))])  # fmt: skip
    width = ", penwidth=2.5" if bad else ""
    return (
        f'label=<{_label(vertex)}>, fillcolor="{fill}", color="{line}"{width}, '
        f"tooltip={_quoted(tip)}"
    )


def _label(vertex: Vertex) -> str:
    name, op = title(vertex)
    heading = []
    if name.strip():
        heading.append(f"<B>{_text(name)}</B>" if vertex.label or not op else _text(name))
    if op:
        heading.append(_text(SYMBOLS.get(op, op)) if name.strip() else f"<B>{_text(SYMBOLS.get(op, op))}</B>")
    if is_inline(vertex):
        return heading[0]
    rows = [_row(f'<TD COLSPAN="4">{"   ".join(heading)}</TD>')]
    small = " ".join(filter(None, (vertex.shape, vertex.dtype)))
    if small:
        rows.append(_row(f'<TD COLSPAN="4">{_small(small)}</TD>'))
    if vertex.settings:
        rows.append(_row(f'<TD COLSPAN="4">{_small(plain(vertex.settings))}</TD>'))
    given = [(n, f) for n, f in (("value", vertex.value), ("grad", vertex.grad)) if f is not None]
    if given:
        rows.append("<HR/>")
    if any(not f.text and f.mean is not None for _, f in given):
        heads = "".join(f'<TD ALIGN="RIGHT">{_small(h)}</TD>' for h in ("min", "mean", "max"))
        rows.append(_row(f"<TD></TD>{heads}"))
    for what, f in given:
        rows += _figures(what, f)
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">{"".join(rows)}</TABLE>'


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
        cells = "".join(f'<TD ALIGN="RIGHT">{_GAP}{_text(number(x))}</TD>' for x in (f.low, f.mean, f.high))
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
    return escape(text)


def _small(text: str) -> str:
    return f'<FONT COLOR="{MUTED}" POINT-SIZE="8.5">{escape(text)}</FONT>'


def _red(text: str) -> str:
    return f'<FONT COLOR="{RED}"><B>{escape(text)}</B></FONT>'


def _quoted(text: str) -> str:
    r"""Quote text for DOT, in which a backslash begins an escape and & an entity.

    Line breaks are kept; the text itself is cleaned by `plain`.
    """
    text = "\n".join(map(plain, text.split("\n")))
    text = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", "\\n") + '"'
