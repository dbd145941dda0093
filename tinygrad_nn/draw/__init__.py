"""Drawings of computation graphs: DOT, SVG, PNG, PDF, Mermaid, text and a web page.

A graph is collected and described once (`describe`), in plain words and numbers; each output is
written from that description alone.
"""

from tinygrad_nn.draw.describe import Cluster, Description, Edge, Vertex
from tinygrad_nn.draw.drawing import (
    Drawing,
    GraphvizMissingError,
    draw,
    draw_dot,
    make_dot,
    trace,
)
from tinygrad_nn.draw.figures import Figures

__all__ = ["Cluster", "Description", "Drawing", "Edge", "Figures", "GraphvizMissingError",
           "Vertex", "draw", "draw_dot", "make_dot", "trace"]  # fmt: skip
