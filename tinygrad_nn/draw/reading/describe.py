"""From a graph to the description that every output is made from."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.anomaly import source_of
from tinygrad_nn.draw.collector import without_collector
from tinygrad_nn.draw.description import Cluster, Description, Edge, Mark, Vertex
from tinygrad_nn.draw.figures import Figures, Seen, figures
from tinygrad_nn.draw.reading.clusters import Call, calls_around
from tinygrad_nn.draw.reading.flows import flow_back, slopes
from tinygrad_nn.draw.reading.formulas import Formulas
from tinygrad_nn.draw.reading.profile import measure
from tinygrad_nn.graph import Node
from tinygrad_nn.notation import settings
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.value import Value

__all__ = ["GRADIENTS", "NUMBERS", "Described", "collect", "describe", "outputs_of"]

# In these the order of the arguments says nothing, so that their edges need no number.
_COMMUTATIVE = frozenset(
    ["add", "add_n", "multiply", "maximum", "minimum", "equal", "not_equal", "hypot", "logaddexp",
     "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or", "logical_xor"]
)  # fmt: skip

#: What `draw` can show as a node's gradient.
GRADIENTS = ("output", "stored", "none")


class Described(NamedTuple):
    """A description, and where in it things of the program are.

    Attributes
    ----------
    description : Description
    places : dict of int to int
        Indices of the nodes, by serial number.
    modules : dict of int to module
        By the index of the cluster that is a call of it.
    """

    description: Description
    places: dict[int, int]
    modules: dict[int, Any]


def outputs_of(output: Any) -> dict[int, tuple[str, Node]]:
    """Return the nodes in `output` by serial number, with the dict keys that they stand under."""
    found: dict[int, tuple[str, Node]] = {}
    seen: set[int] = set()
    stack: list[tuple[str, Any]] = [("", output)]
    while stack:
        name, item = stack.pop()
        if isinstance(item, Node):
            found.setdefault(item.serial, (name, item))
        elif isinstance(item, Mapping | list | tuple):
            if id(item) in seen:
                continue
            seen.add(id(item))
            below = (
                [(str(key), value) for key, value in item.items()]
                if isinstance(item, Mapping)
                else [(name, value) for value in item]
            )
            stack.extend(reversed(below))
        else:
            raise TypeError(
                f"draw() takes a Tensor, a Value, or a list, tuple or dict of them, got "
                f"{type(item).__name__}. Draw what was computed from tensors: "
                f"x = tinygrad_nn.tensor(..., requires_grad=True); draw(f(x))"
            )
    if not found:
        raise ValueError("draw() got an empty list: there is no graph in it")
    return found


def collect(outputs: Iterable[Node]) -> list[Node]:
    """Return every node that `outputs` were computed from, in the order of creation. Iterative.

    Raises
    ------
    ValueError
        If a node is made from one that is younger, as no computation can do.
    """
    live = {node.serial: node for node in outputs}
    stack = list(live.values())
    while stack:
        node = stack.pop()
        for a in node.args:
            if not isinstance(a, Node):
                continue
            if a.serial >= node.serial:
                raise ValueError(
                    f"{node.name} has an argument that is no older than itself ({a.name}): "
                    f"this is no graph of a computation"
                )
            if a.serial not in live:
                live[a.serial] = a
                stack.append(a)
    return [live[serial] for serial in sorted(live)]


@without_collector
def describe(
    output: Any,
    names: Mapping[int, str] | None,
    modules: Mapping[int, str],
    gradients: str,
    marks: Mapping[int, Mark] | None = None,
    profile: bool = False,
    inputs: Collection[int] = (),
) -> Described:
    """Describe the graph of `output`.

    Parameters
    ----------
    output : Node, or list, tuple or dict of them
    names : mapping of serial number to str, or None
        The parameters' names. Given, leaves that are not in it are data.
    modules : mapping of id to str
        The modules' names.
    gradients : {"output", "stored", "none"}
        Derivatives of the output, those stored in ``.grad``, or none.
    marks : mapping of serial number to Mark, optional
    profile : bool
        Measure what each node costs.
    inputs : collection of int
        Serial numbers of leaves that are no parameters, though they require gradients.
    """
    outputs = outputs_of(output)
    nodes = collect(node for _, node in outputs.values())
    with np.errstate(all="ignore"):
        return _describe(nodes, outputs, names, modules, gradients, marks or {}, profile, inputs)


def _describe(
    nodes: list[Node],
    outputs: dict[int, tuple[str, Node]],
    names: Mapping[int, str] | None,
    modules: Mapping[int, str],
    gradients: str,
    marks: Mapping[int, Mark],
    profile: bool,
    inputs: Collection[int],
) -> Described:
    grads, flows, note = _gradients([node for _, node in outputs.values()], nodes, gradients)
    formulas, seen = Formulas(), Seen()
    calls, around = calls_around(nodes, lambda leaf: _is_parameter(leaf, names, inputs))
    cluster_of = {id(call): i for i, call in enumerate(calls)}
    clusters = tuple(_cluster(call, cluster_of, modules) for call in calls)

    drawn: list[Vertex] = []
    edges: list[Edge] = []
    index: dict[int, int] = {}  # by serial number
    dtypes: dict[Any, str] = {}  # writing a dtype is slow
    arrays: dict[int, int] = {}  # by id: an array used twice is drawn once
    for node in nodes:
        call = around[node.serial]
        cluster = -1 if call is None else cluster_of[id(call)]
        args = node.args
        primitive = node.primitive
        ordered = (
            primitive is not None
            and len(args) > 1
            and (primitive.elementwise or primitive.name == "matmul")
            and primitive.name not in _COMMUTATIVE
        )
        sources: list[tuple[int, int, float | None, Figures | None]] = []
        if primitive is not None:
            nothing: Sequence[Any] = [None] * len(args)
            back = flows.get(node.serial, nothing)
            local = (
                slopes(node, args, fresh=back is not nothing) if gradients != "none" else nothing
            )
        for place, a in enumerate(args, 1):
            if isinstance(a, Node):
                c = back[place - 1]
                sources.append((index[a.serial], place, local[place - 1], seen(c)))
            elif a is not None:
                i = arrays.get(id(a), len(drawn))
                if i == len(drawn):
                    constant = _constant(a, cluster)
                    drawn.append(constant)
                    if constant.role == "input":
                        arrays[id(a)] = i
                sources.append((i, place, None, None))
        i = index[node.serial] = len(drawn)
        edges += [
            Edge(source, i, place if ordered else 0, slope, flow)
            for source, place, slope, flow in sources
        ]
        g, value = grads.get(node.serial), seen(node._value)
        assert value is not None
        shape = dtype = ""
        if node.__class__ is not Value:
            shape = str(node.shape)
            dtype = dtypes.get(node._value.dtype) or dtypes.setdefault(
                node._value.dtype, str(node._value.dtype)
            )
        drawn.append(
            Vertex(
                _role(node, outputs, names, inputs),
                _label(node, outputs, names),
                primitive.name if primitive is not None else "",
                settings(primitive, node.static) if primitive and node.static else "",
                shape,
                dtype,
                value,
                seen(g),
                cluster,
                mark=marks.get(node.serial),
                source=_source(node),
                rules=formulas(node),
                cost=measure(node) if profile and primitive is not None else None,
                is_dead=primitive is not None and value.is_zero and _is_cut(sources),
            )
        )
    description = Description(tuple(drawn), tuple(edges), clusters, note)
    modules_of = [call.module() for call in calls]
    return Described(description, index, {c: m for c, m in enumerate(modules_of) if m is not None})


def _is_cut(sources: list[tuple[int, int, float | None, Figures | None]]) -> bool:
    """Whether nothing but zeros goes back to the arguments, where that is known."""
    return all(flow is None or flow.is_zero for *_, flow in sources)


def _source(node: Node) -> str:
    """Return the user's line that computed a node, with the file's name alone: folders differ."""
    line = source_of(node)
    if line is None:
        return ""
    within = f" (in {line.within})" if line.within else ""
    return f"{os.path.basename(line.file)}:{line.line}: {line.text}{within}"


def _cluster(call: Call, cluster_of: dict[int, int], modules: Mapping[int, str]) -> Cluster:
    module = call.module()
    name = "" if module is None else modules.get(id(module), "")
    return Cluster(name, call.title, -1 if call.parent is None else cluster_of[id(call.parent)])


# --- gradients -----------------------------------------------------------------------------------


def _gradients(
    outputs: list[Node], nodes: list[Node], which: str
) -> tuple[dict[int, Any], dict[int, Sequence[Any]], str]:
    """Return gradients by serial number, what flows back, and a note where they are not as asked.

    What flows back is known only where gradients are those of the output.
    """
    if which == "none":
        return {}, {}, ""
    if which == "stored":
        return {node.serial: node.grad for node in nodes if node.grad is not None}, {}, ""
    root = outputs[0]
    failed = False
    if len(outputs) > 1:
        reason = "there is more than one output"
    elif not root.requires_grad:
        reason = "the output needs no gradient"
    elif np.size(root._value) != 1 or np.asarray(root._value).dtype.kind != "f":
        reason = "the output is not one real number"
    else:
        seed = np.ones_like(root._value) if isinstance(root, Tensor) else 1.0
        try:
            found, flows = flow_back(root, seed, nodes)
            if any(g.__class__ is not float and g.dtype.kind == "c" for g in found.values()):
                found = {serial: _as_stored(g) for serial, g in found.items()}
                flows = {serial: [_as_stored(c) for c in back] for serial, back in flows.items()}
            return found, flows, ""
        except Exception as error:  # a drawing is how one looks for the fault: it must not fail too
            failed = True
            reason = re.sub(r" #\d+", "", str(error))  # serial numbers differ from run to run
    stored = {
        node.serial: node.grad
        for node in nodes
        # A Value's gradient is 0.0 from the start.
        if node.primitive is None and node.grad is not None and not _is_untouched(node)
    }
    if stored:
        return stored, {}, f"Gradients are those stored in .grad: {reason}"
    return {}, {}, f"No gradients: {reason}" if failed else ""


def _as_stored(c: Any) -> Any:
    """Turn a complex cotangent into the gradient that ``.grad`` holds: its conjugate."""
    return c if c is None or c.__class__ is float or c.dtype.kind != "c" else np.conj(c)


def _is_untouched(node: Node) -> bool:
    return isinstance(node, Value) and node.grad == 0.0


# --- nodes ---------------------------------------------------------------------------------------


def _is_parameter(leaf: Node, names: Mapping[int, str] | None, inputs: Collection[int]) -> bool:
    if names is not None:
        return leaf.serial in names
    return leaf.requires_grad and leaf.serial not in inputs


def _role(
    node: Node,
    outputs: Mapping[int, Any],
    names: Mapping[int, str] | None,
    inputs: Collection[int],
) -> str:
    if node.primitive is None:
        return "parameter" if _is_parameter(node, names, inputs) else "input"
    return "output" if node.serial in outputs else "intermediate"


def _label(
    node: Node, outputs: Mapping[int, tuple[str, Node]], names: Mapping[int, str] | None
) -> str:
    if names and names.get(node.serial):
        return names[node.serial]
    if node.label:
        return str(node.label)
    return outputs[node.serial][0] if node.serial in outputs else ""


#: What stands in a graph as a constant.
NUMBERS = (bool, int, float, complex, np.generic, np.ndarray)


def _constant(a: Any, cluster: int) -> Vertex:
    """Describe an argument that is no node: a number stands beside its user, an array outside."""
    array = np.asarray(a if isinstance(a, NUMBERS) else None)
    if array.dtype.kind not in "fiubc":
        return Vertex("constant", type(a).__name__, "", "", "", "", None, None, cluster)
    if not array.ndim:
        return Vertex("constant", "", "", "", "", "", figures(array), None, cluster)
    shape, dtype = str(array.shape), str(array.dtype)
    return Vertex("input", "", "", "", shape, dtype, figures(array), None, -1)
