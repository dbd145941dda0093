"""The chain rule, edge by edge: what each rule makes of the cotangent that reaches its node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_nn.graph import Node
from tinygrad_nn.rules.elementwise import add_n
from tinygrad_nn.value import Value

__all__ = ["flow_back", "pulled", "slopes"]

# What Python's arithmetic raises where NumPy's returns inf or nan.
_SINGULAR = (ArithmeticError, ValueError)


def flow_back(
    root: Node, seed: Any, nodes: Sequence[Node]
) -> tuple[dict[int, Any], dict[int, Sequence[Any]]]:
    """Pull a cotangent back through a graph, and keep every part of every sum.

    `backward.pull_back` adds up what comes to a node along its edges; here each summand stays. The
    gradients are the same.

    Parameters
    ----------
    root : Node
    seed : cotangent
        Of `root`.
    nodes : sequence of Node
        All that `root` was computed from, in the order of creation.

    Returns
    -------
    cotangents : dict of int to cotangent
        By serial number.
    flows : dict of int to list of cotangent or None
        By serial number of the result, in the order of its arguments.

    Raises
    ------
    StaleGraphError, NotDifferentiableError, ShapeError, TypeError
        As `backward`.
    """
    cotangents = {root.serial: seed}
    flows: dict[int, Sequence[Any]] = {}
    for node in reversed(nodes):
        g = cotangents.get(node.serial)
        if g is None or node.primitive is None or not node.requires_grad:
            continue
        own, args = node.serial, node.args
        flows[own] = back = pulled(node, g, args)
        for a, c in zip(args, back, strict=True):
            if c is not None:
                serial = a.serial
                if a._changed > own:
                    node._check_fresh()
                cotangents[serial] = cotangents[serial] + c if serial in cotangents else c
        if node._changed > own:
            node._check_fresh()
    return cotangents, flows


def slopes(node: Node, args: Sequence[Any], fresh: bool = False) -> Sequence[float | None]:
    """Return the derivative of a number with respect to each argument that is a number too.

    None for arrays, for what no derivative is wanted of, where the data has changed since (unless
    it is known to be `fresh`), and where there is none.
    """
    is_value = node.__class__ is Value
    if not is_value and node._value.size != 1:
        return [None] * len(args)
    try:
        if not fresh:
            node._check_fresh()
        one = 1.0 if is_value else np.ones_like(node._value)
        back = pulled(node, one, args)
    except Exception:  # a drawing is how one looks for the fault: it must not fail too
        return [None] * len(args)
    return [c if c is None or c.__class__ is float else _number(c) for c in back]


def _number(c: Any) -> float | None:
    return float(c.item()) if c.size == 1 and c.dtype.kind == "f" else None


def pulled(node: Node, g: Any, args: Sequence[Any]) -> Sequence[Any]:
    """Return what the rules of a node make of its cotangent `g`, for each of `args`; or None."""
    primitive = node.primitive
    assert primitive is not None
    if node.__class__ is Value:
        try:
            back = _floats(node, g, args)
        except _SINGULAR:
            back = None
        if back is not None:
            return back
        g, y = np.float64(g), np.float64(node._value)
        inputs = [np.float64(a._value) if a.__class__ is Value else a for a in args]
        inputs = [a._value if isinstance(a, Node) else a for a in inputs]
    else:
        y, inputs = node._value, node._raw  # type: ignore[attr-defined]  # a Tensor
    found: list[Any] = []
    for i, a in enumerate(args):
        rule = primitive.rule(i) if isinstance(a, Node) and a.requires_grad else None
        found.append(
            None if rule is None else a._receive(rule(g, y, *inputs, **node.static), node, i)
        )
    return found


def _floats(node: Node, g: float, args: Sequence[Any]) -> Sequence[Any] | None:
    """Apply the rules to Python's floats, which most graphs of Values are made of."""
    primitive = node.primitive
    assert primitive is not None
    if primitive is add_n:  # the sum of a neuron's terms: long, and its rule is the identity
        return [g if a.__class__ is Value else None for a in args]
    if len(args) > 2:
        return None
    rules: Any = primitive.rules
    y = node._value
    if len(args) == 1:
        found = (rules[0](g, y, args[0]._value),)
        return found if found[0].__class__ is float else None
    a, b = args
    a_is_value, b_is_value = a.__class__ is Value, b.__class__ is Value
    x = a._value if a_is_value else a
    z = b._value if b_is_value else b
    c = rules[0](g, y, x, z) if a_is_value else None
    d = rules[1](g, y, x, z) if b_is_value else None
    if (c is not None and c.__class__ is not float) or (d is not None and d.__class__ is not float):
        return None
    return c, d
