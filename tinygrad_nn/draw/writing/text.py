"""The description as a tree for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_nn.colour import shows_colour
from tinygrad_nn.draw.description import Description, Edge, Vertex
from tinygrad_nn.draw.figures import Figures, figures, number
from tinygrad_nn.draw.wording import cluster_title, equation, facts, plain

__all__ = ["to_text"]

# Deeper branches are drawn as trees of their own below, so that a chain of a hundred thousand
# nodes does not walk out of the window.
_DEEPEST = 16

# SGR codes of the sixteen colours alone: their shades are the reader's own choice, made for the
# paper that the terminal has. What is less important is faint, not "bright black", which one
# popular palette has made its background.
_BAD = "1;31"
_FAINT = "2"
_ROLES = {
    "parameter": "33",
    "input": "36",
    "constant": "",
    "intermediate": "",
    "output": "1;32",
    "module": "35",
}
_MARKS = {"wrong": _BAD, "kink": "1;33"}

#: Facts that stand last on a line, for they are long.
_ASIDES = ("cost", "line")

_Part = tuple[str, str]  # a text and its colour


def to_text(graph: Description, color: bool | None = False) -> str:
    """Write the description as trees, outputs first, arguments below what was made of them.

    A node is written once: ``↑ n3`` refers to one above, ``↓ n3`` to a tree further down. Between
    single numbers, ``∂n5/∂n3`` is the derivative of n5 with respect to that argument alone.

    Parameters
    ----------
    graph : Description
    color : bool, optional
        Whether names are in the colours of their roles, what is not finite or marked wrong in red,
        a kink in yellow, and what is dead or all zero faint. None: where standard output is a
        terminal (see `tinygrad_nn.colour`). The characters are the same with colours and without.
    """
    paint = _coloured if (shows_colour() if color is None else color) else _plainly
    arguments: list[list[Edge]] = [[] for _ in graph.nodes]
    used = [False] * len(graph.nodes)
    for e in graph.edges:
        arguments[e.target].append(e)
        used[e.source] = True
    roots = [i for i, vertex in enumerate(graph.nodes) if vertex.role == "output" or not used[i]]
    backwards = range(len(graph.nodes) - 1, -1, -1)
    if not roots:  # in a circle, as folding may leave one, each box is used
        roots = list(backwards[:1])
    rest = iter(backwards)
    lines: list[str] = []
    seen: set[int] = set()
    told: set[str] = set()
    promised = set(roots)  # each will be, or is, the root of a tree
    for root in roots:  # grows while it is read
        todo: list[tuple[int, Edge | None, str, str, int]] = [(root, None, "", "", 0)]
        while todo:
            i, edge, branch, indent, depth = todo.pop()
            vertex = graph.nodes[i]
            below = arguments[i]
            above = i in seen
            if above or (depth and (i in promised or (depth == _DEEPEST and below))):
                parts = [(f"{'↑' if above else '↓'} {_name(i, vertex)}", _FAINT), *_local(edge)]
                if not above and i not in promised:
                    promised.add(i)
                    roots.append(i)
                below = []
            else:
                seen.add(i)
                parts = [*_known(i, vertex), *_local(edge), *_asides(vertex, graph, told)]
            lines.append(branch + "  ".join(paint(text, code) for text, code in parts))
            for k in range(len(below) - 1, -1, -1):
                last = k == len(below) - 1
                todo.append((below[k].source, below[k], indent + ("└─ " if last else "├─ "),
                             indent + ("   " if last else "│  "), depth + 1))  # fmt: skip
        if root == roots[-1]:
            left = next((i for i in rest if i not in seen), None)
            if left is not None:
                promised.add(left)
                roots.append(left)
    if graph.note:
        lines.append(plain(graph.note))
    return "\n".join([*lines, ""])


def _coloured(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def _plainly(text: str, code: str) -> str:
    return text


def _name(i: int, vertex: Vertex) -> str:
    return f"n{i} {equation(vertex)}"


def _known(i: int, vertex: Vertex) -> Iterator[_Part]:
    """Yield what a node is."""
    mark = _MARKS[vertex.mark.kind] if vertex.mark else ""
    sound = _FAINT if vertex.is_dead else _ROLES[vertex.role]
    yield _name(i, vertex), mark or (sound if vertex.is_finite else _BAD)
    codes = {"value": _code(vertex.value), "grad": _code(vertex.grad)}
    if vertex.mark:
        codes[plain(vertex.mark.word).upper()] = mark
    for what, text in facts(vertex):
        if what not in _ASIDES:
            yield text if what == "shape" else f"{what} {text}", codes.get(what, "")


def _local(edge: Edge | None) -> Iterator[_Part]:
    """Yield the derivative along the edge that has led to a node."""
    if edge is not None and edge.local is not None:
        text = f"∂n{edge.target}/∂n{edge.source} {number(edge.local)}"
        yield text, _code(figures(edge.local))


def _asides(vertex: Vertex, graph: Description, told: set[str]) -> Iterator[_Part]:
    """Yield where and how a node was computed; of a line that was `told`, its place alone."""
    if vertex.cluster >= 0:
        yield f"in {cluster_title(graph.clusters[vertex.cluster])}", _FAINT
    for what, text in facts(vertex):
        if what in _ASIDES:
            yield f"{what} {text.partition(': ')[0] if text in told else text}", _FAINT
            told.add(text)


def _code(f: Figures | None) -> str:
    """Return the colour of an array's figures."""
    if f is None:
        return ""
    return _BAD if not f.is_finite else _FAINT if f.is_zero else ""
