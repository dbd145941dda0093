"""Drawings of computation graphs: DOT, SVG, PNG, PDF, Mermaid, text and a web page.

A graph is collected and described once (`describe`), in plain words and numbers; each output is
written from that description alone.
"""

from tinygrad_nn.callable_module import make_callable
from tinygrad_nn.draw.description import Cluster, Cost, Description, Edge, Mark, Vertex
from tinygrad_nn.draw.drawing import Drawing, GraphvizMissingError
from tinygrad_nn.draw.figures import Figures
from tinygrad_nn.draw.functions import draw, draw_dot, make_dot, trace

__all__ = ["Cluster", "Cost", "Description", "Drawing", "Edge", "Figures", "GraphvizMissingError",
           "Mark", "Vertex", "draw", "draw_dot", "make_dot", "trace"]  # fmt: skip

make_callable(__name__, draw)
