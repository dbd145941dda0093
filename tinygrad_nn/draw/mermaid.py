"""The description in Mermaid's language, which GitHub and many wikis draw."""

from __future__ import annotations

import re

from tinygrad_nn.draw.describe import Description, Vertex
from tinygrad_nn.draw.palette import FRAME, INK, RED, ROLES
from tinygrad_nn.draw.wording import cluster_title, facts, plain, title

__all__ = ["to_mermaid"]

# Mermaid reads quotes, markup, Markdown and its own keywords even inside quoted text. Whatever is
# not surely plain text is written as a character code: a hyphen or an underscore is plain between
# letters and digits, a hyphen also as a sign.
_UNSURE = re.compile(
    r"[^\w .,()=%/\[\]-]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<![\w \[(])-|^-|-(?!\w)"
    r"|(?<=^\d)\.|^ ",
    re.ASCII,
)


def to_mermaid(graph: Description, rankdir: str = "LR") -> str:
    """Write the description as a Mermaid flowchart."""
    lines = [f"flowchart {rankdir}"]
    inside: list[list[int]] = [[] for _ in range(len(graph.clusters) + 1)]  # the last: outside all
    for i, vertex in enumerate(graph.nodes):
        inside[vertex.cluster].append(i)
    parts: list[list[int]] = [[] for _ in inside]
    for c, cluster in enumerate(graph.clusters):
        parts[cluster.parent].append(c)

    lines += [f"  {_vertex(i, graph.nodes[i])}" for i in inside[-1]]
    todo: list[tuple[int, bool, int]] = [(c, True, 1) for c in reversed(parts[-1])]
    while todo:
        c, opens, depth = todo.pop()
        indent = "  " * depth
        if not opens:
            lines.append(f"{indent}end")
            continue
        lines.append(f'{indent}subgraph c{c}["{_text(cluster_title(graph.clusters[c]))}"]')
        lines += [f"{indent}  {_vertex(i, graph.nodes[i])}" for i in inside[c]]
        todo.append((c, False, depth))
        todo += [(part, True, depth + 1) for part in reversed(parts[c])]
    for e in graph.edges:
        lines.append(f"  n{e.source} -->{f'|{e.place}|' if e.place else ''} n{e.target}")
    if graph.note:
        lines.append(f'  note["{_text(plain(graph.note))}"]:::constant')
    for role, (fill, line) in ROLES.items():
        lines.append(f"  classDef {role} fill:{fill},stroke:{line},color:{INK}")
    bad = [f"n{i}" for i, vertex in enumerate(graph.nodes) if _is_bad(vertex)]
    if bad:
        lines.append(f"  classDef bad stroke:{RED},stroke-width:3px,color:{RED}")
        lines.append(f"  class {','.join(bad)} bad")
    lines += [
        f"  style c{c} fill:{FRAME}14,stroke:{FRAME}" for c in range(len(graph.clusters))
    ]
    return "\n".join([*lines, ""])


def _vertex(i: int, vertex: Vertex) -> str:
    head = "   ".join(part for part in title(vertex) if part.strip())
    rows = [head, *(text if what == "shape" else f"{what} {text}" for what, text in facts(vertex))]
    text = "<br/>".join(map(_text, rows))
    opening, closing = ("([", "])") if vertex.role == "constant" else ("(", ")")
    return f'n{i}{opening}"{text}"{closing}:::{vertex.role}'


def _is_bad(vertex: Vertex) -> bool:
    return any(f is not None and not f.is_finite for f in (vertex.value, vertex.grad))


def _text(text: str) -> str:
    return _UNSURE.sub(lambda match: f"#{ord(match.group())};", text)
