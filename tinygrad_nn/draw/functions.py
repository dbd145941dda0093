"""The functions that make drawings, and their names in other packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from tinygrad_nn.draw.description import Mark
from tinygrad_nn.draw.drawing import Drawing
from tinygrad_nn.draw.folding.selection import part_of
from tinygrad_nn.draw.reading.calls import call
from tinygrad_nn.draw.reading.describe import (
    GRADIENTS,
    NUMBERS,
    Described,
    collect,
    describe,
    outputs_of,
)
from tinygrad_nn.graph import Node
from tinygrad_nn.nn.module import Module
from tinygrad_nn.scalar import Module as ScalarModule
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.value import Value

__all__ = ["draw", "draw_dot", "make_dot", "trace"]


def draw(
    output: Any,
    model: Module | ScalarModule | Mapping[str, Node] | None = None,
    *,
    inputs: Any = None,
    rankdir: str | None = None,
    gradients: str = "output",
    depth: int | None = None,
    max_nodes: int | None = None,
    repeats: bool | None = None,
    only: Any = None,
    around: Any = None,
    radius: int = 2,
    profile: bool = False,
    theme: str = "auto",
) -> Drawing:
    """Draw what `output` was computed from. Nothing is changed by it, no ``.grad`` either.

    Parameters
    ----------
    output : Tensor, Value, list, tuple or dict of them, compiled function, report or function
        What the graph leads to. Of a function that `compile` has made, the plan that served its
        last call: a box for each instruction, with the arguments written out, in a frame for each
        line of the program; `model` and `gradients` then mean nothing. Of a report that
        `gradcheck` has made with ``blame=True``, the graph that was checked: a node whose rule is
        wrong is red, with a heavy frame, and a kink amber, with a dashed one. What was not checked
        looks like what is right; the report's notes say what that was. Any other function is
        called with `inputs`, and what it returns is drawn: so are programs for NumPy, and
        transforms such as ``grad(f)``.
    model : Module, or mapping of str to Tensor or Value, optional
        Gives parameters and modules their qualified names; all other leaves are then data.
    inputs : array_like, or tuple of them, optional
        Arguments for a function; numbers and arrays of floats become tensors, named as the
        function's parameters are. The lines of the program that compute each node are noted. Of a
        graph that is there already: tensors to be shown as inputs, though they require gradients.
    rankdir : {"LR", "TB", "RL", "BT"}, optional
        The direction in which numbers flow: from left to right (so are graphs drawn by default),
        from top to bottom (so are plans)...
    gradients : {"output", "stored", "none"}
        Show the derivative of the output with respect to every node; what stands in ``.grad``;
        or no gradients. Where the first is impossible (more than one number as output, data
        changed since), the ``.grad`` of leaves is shown and the drawing says so.
    depth : int, optional
        Fold modules to one box each where they stand this deep in others: 0 folds the outermost.
    max_nodes : int, optional
        Fold the deepest modules first, until no more boxes than this are shown. The drawing says
        how many nodes are hidden. Where modules are not enough, runs of nodes are folded.
    repeats : bool, optional
        Whether equal neighbours become one box, ``Layer(8, 8) × 5``: by default those that are
        folded anyway; True alone folds these and nothing else.
    only : str, module, Tensor, Value, or sequence of them, optional
        Draw a part: modules (by the object, or by name, where ``*`` stands for anything) with what
        goes into them; or, of two or more tensors (or their labels), what lies on the way between
        them.
    around : str, Tensor, Value, or sequence of them, optional
        Draw what is within `radius` edges of these.
    radius : int
    profile : bool
        Show what each result costs, in time and memory, by computing it again.
    theme : {"auto", "light", "dark"}
        Pages and SVG pictures follow the reader's system by default; other pictures are light.

    Returns
    -------
    Drawing

    Raises
    ------
    TypeError
        If `output` or `model` is something else.
    ValueError
        If there is no node in `output`, for an unknown `rankdir`, `gradients` or `theme`, for a
        report that was made without ``blame=True``, if nothing is called what `only` or `around`
        say, and for a negative `depth` or `radius`.
    CaptureError
        If `output` is a compiled function that has no plan.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> from tinygrad_nn.draw import draw
    >>> x = tg.Value(3.0, label="x")
    >>> print(draw(x * x + 1.0, gradients="none").to_text())
    n3 add  value 10.0
    ├─ n1 multiply  value 9.0
    │  ├─ n0 x  value 3.0
    │  └─ ↑ n0 x
    └─ n2 1.0
    """
    if gradients not in GRADIENTS:
        raise ValueError(f"gradients must be one of {', '.join(GRADIENTS)}, got {gradients!r}")
    part = partial(part_of, only=only, around=around, radius=radius)
    drawing = partial(Drawing, theme=theme, depth=depth, max_nodes=max_nodes, repeats=repeats)
    marks = None
    drawn = getattr(output, "_drawn", None)  # a report's; the checker is not imported for a graph
    if callable(output) and drawn is None:
        # No graph: so what compiles is imported only for a function.
        from tinygrad_nn.draw.reading.plans import describe_plan
        from tinygrad_nn.plan.compiled import Compiled

        if isinstance(output, Compiled):
            described = Described(describe_plan(output.plan), {}, {})
            return drawing(part(described), rankdir or "TB")
        if model is None and isinstance(output, Module | ScalarModule):
            model = output
        output, given = call(output, inputs)
    else:
        given = [] if inputs is None else list(inputs) if isinstance(inputs, tuple) else [inputs]
        strange = next((x for x in given if not isinstance(x, Node)), None)
        if strange is not None:
            raise TypeError(
                f"inputs= of a graph are tensors that it was computed from, got "
                f"{type(strange).__name__}; numbers and arrays are for a function to be called with"
            )
    if drawn is not None:
        if model is not None:
            raise TypeError("a report knows its model: draw(report)")
        blamed = drawn()
        output, model = blamed.outputs, blamed.model
        names = blamed.names
        marks = {serial: Mark(*mark) for serial, mark in blamed.marks.items()}
    else:
        names = None if model is None else _names(model)
    modules = {id(module): name for name, module in _modules(model) if name}
    described = describe(
        output, names, modules, gradients, marks, profile, {node.serial for node in given}
    )
    return drawing(part(described), rankdir or "LR")


def _names(model: Any) -> dict[int, str]:
    """Return the names of a model's parameters by serial number."""
    if isinstance(model, Module):
        return {tensor.serial: name for name, tensor in model.named_tensors()}
    if isinstance(model, Mapping):
        wrong = next((x for x in model.values() if not isinstance(x, Node)), None)
        if wrong is None:
            return {node.serial: str(name) for name, node in model.items()}
        raise TypeError(f"model maps names to tensors, got a {type(wrong).__name__} among them")
    if not isinstance(model, ScalarModule):
        raise TypeError(
            f"model must be a Module, or a dict of names and tensors such as "
            f"dict(model.named_parameters()), got {type(model).__name__}"
        )
    found: dict[int, str] = {}
    for name, item in _scalar_parts(model):
        if isinstance(item, Node):
            found.setdefault(item.serial, name)
    return found


def _modules(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield a model and the modules in it, each once, with their names."""
    if isinstance(model, Module):
        yield from model.named_modules()
    elif isinstance(model, ScalarModule):
        for name, item in _scalar_parts(model):
            if isinstance(item, ScalarModule):
                yield name, item


def _scalar_parts(model: ScalarModule) -> Iterator[tuple[str, Any]]:
    """Yield everything in a model of Values, each once, with its name. Iterative."""
    seen: set[int] = set()
    stack: list[tuple[str, Any]] = [("", model)]
    while stack:
        name, item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield name, item
        below: list[tuple[str, Any]] = []
        if isinstance(item, ScalarModule):
            below = list(vars(item).items())
        elif isinstance(item, list | tuple):
            below = [(str(i), part) for i, part in enumerate(item)]
        stack += [(f"{name}.{key}" if name else key, part) for key, part in reversed(below)]


def draw_dot(root: Any, format: str = "svg", rankdir: str = "LR") -> Drawing:
    """Draw a graph as micrograd's notebook does: with the gradients that stand in ``.grad``.

    Parameters
    ----------
    root : Value or Tensor
    format : str
        What ``.render()`` writes by default: ``"svg"``, ``"png"``, ``"pdf"``...
    rankdir : {"LR", "TB"}
        From left to right, or from top to bottom.

    Returns
    -------
    Drawing
        It shows itself in a notebook, and has the ``source`` and ``render`` of a
        ``graphviz.Digraph``.

    Examples
    --------
    >>> from tinygrad_nn.scalar import Value
    >>> from tinygrad_nn.draw import draw_dot
    >>> draw_dot(Value(1.0) + 2.0)
    <Drawing of 3 nodes, 2 edges, 0 clusters>
    """
    drawing = draw(root, rankdir=rankdir, gradients="stored")
    drawing.format = format
    return drawing


def make_dot(var: Any, params: Mapping[str, Node] | None = None) -> Drawing:
    """Draw a graph under torchviz's name.

    Parameters
    ----------
    var : Tensor, Value, or a list, tuple or dict of them
    params : mapping of str to Tensor or Value, optional
        Names, as ``dict(model.named_parameters())`` gives them.

    Returns
    -------
    Drawing

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> tg.make_dot((w * w).sum(), {"w": w})
    <Drawing of 3 nodes, 3 edges, 0 clusters>
    """
    return draw(var, params, rankdir="TB")


def trace(root: Node) -> tuple[set[Node], set[tuple[Node, Node]]]:
    """Collect a graph as micrograd's notebook does, for code that draws by itself.

    These are the nodes and edges that `draw_dot` shows, but that an edge between the same two
    nodes is in the set once (of ``x * x``), and that arguments that are neither numbers nor arrays
    are left out.

    Parameters
    ----------
    root : Value or Tensor

    Returns
    -------
    nodes : set of Node
        Numbers and arrays that were computed with are among them, as new leaves.
    edges : set of (Node, Node)
        From each argument to what was made of it.

    Examples
    --------
    >>> from tinygrad_nn.scalar import Value
    >>> from tinygrad_nn.draw import trace
    >>> nodes, edges = trace(Value(2.0) * 3.0)
    >>> len(nodes), len(edges)
    (3, 2)
    """
    nodes = collect(node for _, node in outputs_of(root).values())
    edges: set[tuple[Node, Node]] = set()
    arrays: dict[int, Node] = {}  # by id: an array used twice is one node
    for node in nodes:
        for a in node.args:
            if isinstance(a, np.ndarray) and a.ndim:
                edges.add((arrays.setdefault(id(a), Tensor(a)), node))
            elif isinstance(a, Node):
                edges.add((a, node))
            elif isinstance(a, NUMBERS):
                edges.add((_constant(a, node), node))
    return {*nodes, *(a for a, _ in edges)}, edges


def _constant(a: Any, user: Node) -> Node:
    """Make a leaf of a number, of the kind of what was computed with it."""
    return Value(a) if isinstance(user, Value) else Tensor(a)
