"""The description in Mermaid's language, which GitHub and many wikis draw."""

from __future__ import annotations

import re

from tinygrad_nn.draw.description import Description, Edge, Vertex, nested
from tinygrad_nn.draw.figures import number
from tinygrad_nn.draw.palette import DEAD, FRAME, INK, MARKS, RED, ROLES, SHADE
from tinygrad_nn.draw.wording import cluster_title, equation, facts, plain

__all__ = ["to_mermaid"]

# Mermaid reads quotes, markup, Markdown and its own keywords even inside quoted text. Whatever is
# not surely plain text is written as a character code. Plain are letters, digits, some punctuation,
# a hyphen or an underscore within a word, a hyphen as a sign, and a percent sign after a number.
_UNSURE = re.compile(
    r"[^\w .,()=/%∂\[\]-]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<![\w \[(])-|-(?!\w)"
    r"|(?<!\d)%|(?<=\])\("
)
# A number, a full stop or bracket, a blank: the first item of a list.
_LIST = re.compile(r"^(\d+)([.)])(?= |$)")


def to_mermaid(graph: Description, rankdir: str = "LR") -> str:
    """Write the description as a Mermaid flowchart."""
    lines = [f"flowchart {rankdir}"]
    for what, i, depth in nested(graph):
        indent = "  " * (depth + 1)
        if what == "node":
            lines.append(indent + _vertex(i, graph.nodes[i]))
        elif what == "open":
            lines.append(f'{indent}subgraph c{i}["{_text(cluster_title(graph.clusters[i]))}"]')
        else:
            lines.append(f"{indent}end")
    lines += [f"  n{e.source} -->{_said(e)} n{e.target}" for e in graph.edges]
    if graph.note:
        lines.append(f'  note["{_text(plain(graph.note))}"]:::constant')
    for role, (fill, line) in ROLES.items():
        lines.append(f"  classDef {role} fill:{fill},stroke:{line},color:{INK}")
    dead = [f"n{i}" for i, vertex in enumerate(graph.nodes) if vertex.is_dead]
    if dead:
        lines.append(f"  classDef dead fill:{DEAD[0]},stroke:{DEAD[1]}")
        lines.append(f"  class {','.join(dead)} dead")
    bad = [f"n{i}" for i, vertex in enumerate(graph.nodes) if not vertex.is_finite]
    if bad:
        lines.append(f"  classDef bad stroke:{RED},stroke-width:3px,color:{RED}")
        lines.append(f"  class {','.join(bad)} bad")
    for kind, (fill, line) in MARKS.items():
        marked = [f"n{i}" for i, v in enumerate(graph.nodes) if v.mark and v.mark.kind == kind]
        if marked:
            how = "stroke-width:4px" if kind == "wrong" else "stroke-width:3px,stroke-dasharray:5 4"
            lines.append(f"  classDef {kind} fill:{fill},stroke:{line},{how},color:{INK}")
            lines.append(f"  class {','.join(marked)} {kind}")
    lines += [f"  style c{c} fill:{SHADE},stroke:{FRAME}" for c in range(len(graph.clusters))]
    return "\n".join([*lines, ""])


def _vertex(i: int, vertex: Vertex) -> str:
    rows = [
        equation(vertex),
        *(text if what == "shape" else f"{what} {text}" for what, text in facts(vertex)),
    ]
    text = "<br/>".join(map(_text, rows))
    opening, closing = ("([", "])") if vertex.role == "constant" else ("(", ")")
    return f'n{i}{opening}"{text}"{closing}:::{vertex.role}'


def _said(e: Edge) -> str:
    """Write the argument's position, and the derivative with respect to it."""
    parts = [str(e.place)] if e.place else []
    if e.local is not None:
        parts.append(f"∂ {number(e.local)}")
    return f'|"{_text(", ".join(parts))}"|' if parts else ""


def _text(text: str) -> str:
    encoded = _UNSURE.sub(lambda match: _code(match.group()), text)
    return _LIST.sub(lambda match: match[1] + _code(match[2]), encoded)


def _code(character: str) -> str:
    return f"#{ord(character)};"
