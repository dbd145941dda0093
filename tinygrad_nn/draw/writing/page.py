"""A web page that holds a graph, draws it by itself and needs nothing else.

The page is made of the files in ``web/``, written into one. It gets the description as JSON, and
for each node, edge and cluster what `dot` writes of it: the page puts these together for whatever
is folded, and Graphviz, compiled to WebAssembly, lays them out there.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from tinygrad_nn.draw import folding, palette
from tinygrad_nn.draw.description import Description, Vertex
from tinygrad_nn.draw.wording import equation, plain
from tinygrad_nn.draw.writing import dot
from tinygrad_nn.draw.writing.json_form import document
from tinygrad_nn.draw.writing.text import to_text

__all__ = ["Page", "to_page"]

#: How many boxes are shown at first, where folding can bring them down to that.
MOST = 150

#: With more edges than this, the derivatives are not written on them: they would hide the graph.
_LABELLED = 60

#: Each has one idea; the later ones build on the earlier ones. The first starts Graphviz.
_SCRIPTS = (
    "graphviz.js", "numbers.js", "graph.js", "layout.js", "picture.js", "view.js", "hands.js",
    "details.js", "search.js", "steps.js", "lit.js", "keyboard.js", "main.js",
)  # fmt: skip

# What a box stands for is known only in the page, which replaces these: how many clusters, the last
# one's name (no name contains these signs), and how many nodes.
_TIMES, _LAST = "\ue000", "\ue001"
_COUNT = 987_654_321


class Page:
    """A page that shows itself in a notebook.

    Attributes
    ----------
    html : str
        The page's source.
    height : int
        In pixels of CSS.

    Examples
    --------
    >>> from tinygrad_nn.draw.writing.page import Page
    >>> Page("<!DOCTYPE html><p>Graph", 300)
    <Page of 23 characters>
    """

    def __init__(self, html: str, height: int = 600) -> None:
        self.html = html
        self.height = height

    def __repr__(self) -> str:
        return f"<Page of {len(self.html):,} characters>"

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="Computation graph" '
            f'style="width: 100%; height: {self.height}px; border: 1px solid #8888"></iframe>'
        )


def to_page(
    graph: Description,
    title: str = "Computation graph",
    rankdir: str = "LR",
    most: int = MOST,
    depth: int | None = None,
    theme: str = "auto",
) -> str:
    """Write the page.

    Parameters
    ----------
    graph : Description
    title : str
        Of the window.
    rankdir : {"LR", "TB", "RL", "BT"}
        The direction in which numbers flow.
    most : int
        Clusters are folded at first until at most so many boxes are shown.
    depth : int, optional
        So many clusters within each other are open at first, or fewer.
    theme : {"auto", "light", "dark"}
        What the page looks like at first; "auto" follows the system.

    Returns
    -------
    str
        HTML that refers to no other file.

    Examples
    --------
    >>> from tinygrad_nn import Value
    >>> from tinygrad_nn.draw import draw
    >>> page = to_page(draw(Value(3.0, label="x") * 2.0).description)
    >>> page[:15], "http-equiv" in page
    ('<!DOCTYPE html>', True)
    """
    style = _file("page.css") + _colours()
    scripts = [_file(name) for name in _SCRIPTS]
    start, *rest = (f"<script>{script}</script>" for script in scripts)
    return _filled(
        _file("page.html"),
        {
            "policy": _policy(style, scripts),
            "title": escape(plain(title)),
            "style": f"<style>{style}</style>",
            "text": escape(to_text(graph)),
            "data": _json(_data(graph, rankdir, most, depth) | {"theme": theme}),
            "graphviz": _graphviz(),
            "start": start,
            "scripts": "\n".join(rest),
        },
    )


def _file(name: str) -> str:
    return (
        resources.files("tinygrad_nn.draw.writing")
        .joinpath("web", name)
        .read_text(encoding="utf-8")
    )


@cache
def _graphviz() -> str:
    """Return viz-js, packed to a third: it holds characters that HTML does not carry safely."""
    packed = gzip.compress(_file("viz-global.js").encode(), mtime=0)
    return base64.b64encode(packed).decode("ascii")


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """Put each part in its place, once: what looks like a place in a part stays as it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], template)


def _policy(style: str, scripts: list[str]) -> str:
    """Allow the page's own scripts and style, the worker made of viz-js, and nothing else."""
    own = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {own} 'wasm-unsafe-eval' blob:; worker-src blob:; "
        f"style-src {_hash(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _json(data: Any) -> str:
    """Write JSON that a script element holds safely: no text in it ends the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _colours() -> str:
    """Write the palette as variables, light and dark, and the dark counterpart of the picture."""
    names = {
        "paper": palette.PAPER, "ink": palette.INK, "muted": palette.MUTED, "red": palette.RED,
        "edge": palette.EDGE, "flow": palette.FLOW,
    }  # fmt: skip
    for kind, (fill, line) in {**palette.ROLES, **palette.MARKS, "dead": palette.DEAD}.items():
        names |= {f"{kind}-fill": fill, f"{kind}-line": line}
    light = "".join(f"--{name}:{colour};" for name, colour in names.items())
    dark = "".join(f"--{name}:{palette.DARK[colour]};" for name, colour in names.items())
    return (
        f"\n:root{{{light}}}\n@media screen{{:root[data-theme=dark]{{{dark}"
        f"}}{palette.dark_style(':root[data-theme=dark] #picture')}}}\n"
    )


# --- what the page knows -------------------------------------------------------------------------


def _data(graph: Description, rankdir: str, most: int, depth: int | None) -> dict[str, Any]:
    graph = folding.in_runs(_cleaned(graph), most)
    stream = dot.streams(graph)
    run = folding.runs(graph)
    folded = _folded(graph)
    data = document(graph)
    for i, vertex in enumerate(graph.nodes):
        data["nodes"][i] |= {
            "name": equation(vertex),
            "group": stream[i],
            "dot": dot.node_attributes(vertex),
        }
    for i, edge in enumerate(graph.edges):
        if len(graph.edges) > _LABELLED:
            edge = edge._replace(local=None)
        data["edges"][i]["dot"] = dot.edge_attributes(edge, graph, stream)
    for c, cluster in enumerate(graph.clusters):
        # The sign says that the title may be clicked.
        frame = dot.cluster_attributes(cluster._replace(title=f"{cluster.title} ▾"))
        data["clusters"][c] |= {"run": run[c], "open": frame, "folded": folded[c]}
    return data | {
        "head": dot.head(replace(graph, note=""), rankdir),
        "rankdir": rankdir,
        "folded": sorted(folding.choose(graph, depth, most)),
        "count": f"{_COUNT:,}",
    }


def _folded(graph: Description) -> list[str]:
    """Write for each cluster the box that it is folded to."""
    depth = [0] * (len(graph.clusters) + 1)
    depth[-1] = -1
    levels: dict[int, list[int]] = {}  # clusters of one depth are not in each other
    for c, cluster in enumerate(graph.clusters):
        depth[c] = depth[cluster.parent] + 1
        levels.setdefault(depth[c], []).append(c)
    found = [""] * len(graph.clusters)
    for level in levels.values():
        for c, box in zip(level, folding.boxes(graph, [[c] for c in level]), strict=True):
            found[c] = dot.node_attributes(_titled(box))
    return found


def _titled(box: Vertex) -> Vertex:
    title = f"{box.settings}{_TIMES} ▸"
    if not box.label:
        return box._replace(label=title, settings="", hidden=_COUNT)
    return box._replace(label=f"{box.label}{_LAST}", settings=title, hidden=_COUNT)


def _cleaned(graph: Description) -> Description:
    """Take out of names what is not to be shown."""
    nodes = (
        vertex._replace(
            label=_clean(vertex.label),
            op=_clean(vertex.op),
            settings=_clean(vertex.settings),
            target=_clean(vertex.target),
            source=_clean(vertex.source),
            mark=vertex.mark and vertex.mark._replace(message=plain(vertex.mark.message)),
        )
        for vertex in graph.nodes
    )
    clusters = (c._replace(name=_clean(c.name), title=_clean(c.title)) for c in graph.clusters)
    return replace(graph, nodes=tuple(nodes), clusters=tuple(clusters), note=_clean(graph.note))


def _clean(text: str) -> str:
    return plain(text).replace(_TIMES, "\ufffd").replace(_LAST, "\ufffd")
