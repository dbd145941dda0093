"""The walk over a graph from inputs on: tangents, by the very rules that pull cotangents back.

A rule is linear in the cotangent, and is the transpose of the primitive's derivative. So no second
set of rules is needed:

* of an elementwise primitive the derivative is diagonal, its own transpose: its rule carries
  tangents forward as it stands;
* a linear primitive is its own derivative: it is applied to the tangents;
* for all others the rule is recorded on a cotangent and pulled back: the transpose of the
  transpose. (J. Townsend, "A new trick for calculating Jacobian vector products", 2017.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_nn.anomaly import watched_push
from tinygrad_nn.backward import pull_back, reachable
from tinygrad_nn.graph import Node, _unusual, recording
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.rules.complex import real
from tinygrad_nn.rules.shape import broadcast_to
from tinygrad_nn.tensor import Tensor

__all__ = ["push_forward"]


def push_forward(
    tangents: Sequence[tuple[Node, Any]],
    outputs: Sequence[Node],
    *,
    record: bool = False,
    live: dict[int, Node] | None = None,
) -> list[Any]:
    """Push tangents of nodes forward to outputs that were computed from them.

    Parameters
    ----------
    tangents : sequence of (Node, tangent)
        Inputs and their tangents, each of the node's shape.
    outputs : sequence of Node
    record : bool
        Hand nodes to the rules, so that the tangents can be differentiated again.
    live : dict, optional
        What is `reachable` from the outputs, where the caller knows it already.

    Returns
    -------
    list
        The tangent of each output; None where it depends on none of the inputs.
    """
    moving = {node.serial: np.float64(t) if type(t) is float else t for node, t in tangents}
    if live is None:
        live = reachable(outputs, min(moving, default=0))
    check = watched_push() if _unusual else None
    for serial in sorted(live):
        node = live[serial]
        if serial not in moving and node.primitive is not None:
            t = _push(node, moving, record)
            if t is not None:
                moving[serial] = t
                if check is not None:
                    check(node, t)
    return [moving.get(node.serial) for node in outputs]


def _push(node: Node, moving: dict[int, Any], record: bool) -> Any:
    """Return the tangent of a node, given those of its arguments; None if nothing moves it."""
    primitive = node.primitive
    assert primitive is not None
    tangents = {}
    changed = node._changed
    for i, a in enumerate(node.args):
        if isinstance(a, Node):
            changed = max(changed, a._changed)
            if a.serial in moving and primitive.rule(i) is not None:
                tangents[i] = moving[a.serial]
    if not tangents:
        return None
    if changed > node.serial:
        node._check_fresh()
    y: Any = node
    inputs: Sequence[Any] = node.args
    if not record:
        y = _plain(node)
        inputs = node._raw if isinstance(node, Tensor) else [_plain(a) for a in node.args]
    if primitive.elementwise:
        t = _diagonal(node, primitive, y, inputs, tangents)
    elif primitive.linear is None:
        t = _transpose(node, primitive, y, inputs, tangents, record)
    elif primitive.linear == "each":
        t = _multilinear(node, primitive, inputs, tangents)
    else:
        t = _linear(node, primitive, inputs, tangents)
    return None if t is None else _like(t, node)


def _plain(a: Any) -> Any:
    # Not a Python number, whose arithmetic raises where NumPy's gives inf or nan.
    if isinstance(a, Tensor):
        return a._value
    return np.asarray(a._value) if isinstance(a, Node) else a


def _diagonal(
    node: Node, primitive: Primitive, y: Any, inputs: Sequence[Any], tangents: dict[int, Any]
) -> Any:
    shape = node.shape
    total: Any = None
    for i, t in tangents.items():
        if t.shape != shape:
            t = broadcast_to(t, shape=shape)
        rule = primitive.rule(i)
        assert rule is not None  # or it would have no tangent here
        moved = rule(t, y, *inputs, **node.static)
        if isinstance(moved, np.ndarray) and not primitive.trusted:
            moved = moved.copy()  # which may be an array of the user's own
        total = moved if total is None else total + moved
    return total if total.shape == shape else broadcast_to(total, shape=shape)


def _linear(
    node: Node, primitive: Primitive, inputs: Sequence[Any], tangents: dict[int, Any]
) -> Any:
    count = primitive.linear if isinstance(primitive.linear, int) else len(inputs)
    moved = [
        tangents[i] if i in tangents else a if primitive.rule(i) is None else _zeros(a)
        for i, a in enumerate(inputs[:count])
    ]
    return primitive(*moved, *inputs[count:], **node.static)


def _zeros(a: Any) -> Any:
    return np.zeros(np.shape(a), getattr(a, "dtype", float))


def _multilinear(
    node: Node, primitive: Primitive, inputs: Sequence[Any], tangents: dict[int, Any]
) -> Any:
    total: Any = None
    for i, t in tangents.items():
        moved = primitive(*inputs[:i], t, *inputs[i + 1 :], **node.static)
        total = moved if total is None else total + moved
    return total


def _transpose(
    node: Node,
    primitive: Primitive,
    y: Any,
    inputs: Sequence[Any],
    tangents: dict[int, Any],
    record: bool,
) -> Any:
    """Pull the tangents back through the rules, which are linear in the cotangent that they get."""
    # Any cotangent will do: not zero, which a rule may return early for.
    g = Tensor(np.ones(node.shape, y.dtype), requires_grad=True)
    seeds = []
    with recording():
        for i, t in tangents.items():
            rule = primitive.rule(i)
            assert rule is not None  # or it would have no tangent here
            c = rule(g, y, *inputs, **node.static)
            c = node.args[i]._receive(c, node, i)
            if isinstance(c, Tensor) and c.requires_grad:
                seeds.append((c, t))
    _, cotangents = pull_back(seeds, record=record, inputs=[g])
    return cotangents.get(g.serial)


def _like(t: Any, node: Node) -> Any:
    """Give a tangent the type of its node: a real node moves along the real axis alone."""
    dtype = node._value.dtype if isinstance(node, Tensor) else np.dtype(float)
    if t.dtype == dtype:
        return t
    if t.dtype.kind == "c" and dtype.kind == "f":
        t = real(t)
    return t if t.dtype == dtype else t.astype(dtype)
