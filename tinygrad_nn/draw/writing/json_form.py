r"""The description as JSON, for programs that read graphs.

The document is strict JSON in UTF-8, with a node, an edge or a cluster to a line:

======== ===============================================================================
format   ``"tinygrad_nn.graph/1"``. The number grows when a field changes or goes; fields
         may be added under the same number, and readers skip what they do not know.
note     What is unusual about the drawing; else empty.
nodes    In the order of creation: arguments before what was made of them. Of each, its
         ``id`` (its place in this list) and the attributes of `Vertex`.
edges    The attributes of `Edge`; ``source`` and ``target`` are ids.
clusters The attributes of `Cluster`; ``parent``, and the nodes' ``cluster``, are places in
         this list, or -1. Clusters of equal contents have the same number as ``kind``.
======== ===============================================================================

A `Figures`, `Mark` or `Cost` is an object of its attributes, what is not known is null, and the
strings ``"nan"``, ``"inf"`` and ``"-inf"`` stand for the numbers that JSON lacks. Names are as the
user wrote them: readers escape them for where they write them to. What does not print (control
characters, marks that turn the direction of writing, halves of surrogate pairs) is written as
``\uXXXX``, so that the file may be shown in a terminal.

There is no way back: a file from elsewhere would have to be checked field by field before a writer
could rely on it, and whoever has the graph can draw it again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from tinygrad_nn.draw.description import Cluster, Cost, Description, Edge, Mark, Vertex
from tinygrad_nn.draw.figures import Figures
from tinygrad_nn.draw.folding import kinds

__all__ = ["FORMAT", "document", "to_json"]

FORMAT = "tinygrad_nn.graph/1"

_RECORDS = (Vertex, Edge, Cluster, Figures, Mark, Cost)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def document(graph: Description) -> dict[str, Any]:
    """Return the description as what JSON has: dicts, lists, strings, finite numbers, None.

    Examples
    --------
    >>> from tinygrad_nn import Value
    >>> from tinygrad_nn.draw import draw
    >>> from tinygrad_nn.draw.writing.json_form import document
    >>> nodes = document(draw(Value(3.0, label="x") * 2.0).description)["nodes"]
    >>> [(node["id"], node["role"], node["op"]) for node in nodes]
    [(0, 'parameter', ''), (1, 'constant', ''), (2, 'output', 'multiply')]
    """
    return {
        "format": FORMAT,
        "note": graph.note,
        "nodes": [{"id": i, **_data(vertex)} for i, vertex in enumerate(graph.nodes)],
        "edges": _data(graph.edges),
        "clusters": [
            {**_data(cluster), "kind": kind}
            for cluster, kind in zip(graph.clusters, kinds(graph), strict=True)
        ],
    }


def to_json(graph: Description) -> str:
    """Write the description as JSON: the same bytes for the same graph."""
    parts = (f"{_line(key)}: {_value(value)}" for key, value in document(graph).items())
    return _block("{", parts, "}") + "\n"


def _data(x: Any) -> Any:
    """Return records as dicts and tuples as lists."""
    if isinstance(x, _RECORDS):
        return {name: _data(getattr(x, name)) for name in x._fields}
    if isinstance(x, tuple):
        return [_data(item) for item in x]
    return str(x) if isinstance(x, float) and not math.isfinite(x) else x


def _value(x: Any) -> str:
    return _block("[", map(_line, x), "]") if x and isinstance(x, list) else _line(x)


def _block(opening: str, lines: Iterable[str], closing: str) -> str:
    return opening + "\n" + ",\n".join(lines) + "\n" + closing


def _line(x: Any) -> str:
    text = _encode(x)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
