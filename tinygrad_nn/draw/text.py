"""The description as a tree for the terminal."""

from __future__ import annotations

from tinygrad_nn.draw.description import Description, Vertex
from tinygrad_nn.draw.wording import cluster_title, equation, facts, plain

__all__ = ["to_text"]

# Deeper branches are drawn as trees of their own below, so that a chain of a hundred thousand
# nodes does not walk out of the window.
_DEEPEST = 16


def to_text(graph: Description) -> str:
    """Write the description as trees, outputs first, arguments below what was made of them.

    A node is written once: ``↑ n3`` refers to one above, ``↓ n3`` to a tree further down.
    """
    arguments: list[list[int]] = [[] for _ in graph.nodes]
    used = [False] * len(graph.nodes)
    for e in graph.edges:
        arguments[e.target].append(e.source)
        used[e.source] = True
    roots = [i for i, vertex in enumerate(graph.nodes) if vertex.role == "output" or not used[i]]
    lines: list[str] = []
    seen: set[int] = set()
    promised = set(roots)  # each will be, or is, the root of a tree
    for root in roots:  # grows while it is read
        todo = [(root, "", "", 0)]
        while todo:
            i, branch, indent, depth = todo.pop()
            if i in seen:
                lines.append(f"{branch}↑ {_name(i, graph.nodes[i])}")
                continue
            if depth and (i in promised or (depth == _DEEPEST and arguments[i])):
                lines.append(f"{branch}↓ {_name(i, graph.nodes[i])}")
                if i not in promised:
                    promised.add(i)
                    roots.append(i)
                continue
            seen.add(i)
            lines.append(branch + _line(i, graph))
            below = arguments[i]
            for k in range(len(below) - 1, -1, -1):
                last = k == len(below) - 1
                todo.append((below[k], indent + ("└─ " if last else "├─ "),
                             indent + ("   " if last else "│  "), depth + 1))  # fmt: skip
    if graph.note:
        lines.append(plain(graph.note))
    return "\n".join([*lines, ""])


def _name(i: int, vertex: Vertex) -> str:
    return f"n{i} {equation(vertex)}"


def _line(i: int, graph: Description) -> str:
    vertex = graph.nodes[i]
    parts = [_name(i, vertex)]
    parts += [text if what == "shape" else f"{what} {text}" for what, text in facts(vertex)]
    if vertex.cluster >= 0:
        parts.append(f"in {cluster_title(graph.clusters[vertex.cluster])}")
    return "  ".join(parts)
