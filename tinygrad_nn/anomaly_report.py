"""What an anomaly report says: the place, the numbers that went in, the line, and what helps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_nn.graph import Node
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.remedies import BACKWARD, FORWARD, Anomaly, remedy
from tinygrad_nn.source_line import SourceLine, source_line
from tinygrad_nn.traced import Traced

__all__ = [
    "array_of",
    "backward_report",
    "forward_report",
    "input_lines",
    "input_names",
    "is_given",
    "line_text",
    "place_of",
]  # fmt: skip


def array_of(x: Any) -> Any:
    """Return the array of a node, a batch or a constant."""
    if isinstance(x, Node):
        x = x._value
    elif hasattr(x, "stack"):
        return array_of(x.stack)
    return np.asarray(x)


def is_given(args: Sequence[Any], static: dict[str, Any]) -> bool:
    """Whether an infinity is among the inputs that is none of a parameter."""
    given = (a for a in args if not (isinstance(a, Node) and a.is_leaf and a.requires_grad))
    return any(_holds(np.isinf, a) for a in (*given, *static.values()))


def _holds(test: Callable[[Any], Any], x: Any) -> bool:
    if type(x) is Traced or not isinstance(x, Node | np.ndarray | np.generic | float | complex):
        return False
    x = array_of(x)
    return x.dtype.kind in "fc" and bool(test(x).any())


def input_names(primitive: Primitive, count: int) -> list[str]:
    """Return what the array inputs of a primitive are called."""
    if isinstance(primitive.forward, np.ufunc):
        names = ["x"] if count == 1 else ["a", "b"]
    else:
        parameters = inspect.signature(primitive.forward).parameters.values()
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [p.name for p in parameters if p.kind in kinds]
        if primitive.elementwise and len(names) == count <= 2:
            names = ["x"] if count == 1 else ["a", "b"]
    names = names[:count]
    return names + [f"input {i}" for i in range(len(names), count)]


def _first(bad: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))


def _place(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"


def _number(x: Any) -> str:
    x = x.item()
    return f"{x:.6g}" if isinstance(x, float) else str(x)


def place_of(y: Any, bad: Any) -> str:
    """Say what is wrong with `y`, where, and how much of it."""
    index = _first(bad)
    what = _number(y[index])
    if y.size == 1:
        return what
    return f"{what} at {_place(index)} ({int(bad.sum())} of {y.size} elements)"


def _brief(x: Any) -> str:
    """Describe a number or an array in one line."""
    if x.ndim == 0:
        return _number(x)
    text = f"{x.dtype} of shape {x.shape}"
    if x.dtype.kind not in "fiu" or not x.size:
        return text
    finite = x[np.isfinite(x)]
    if finite.size:
        text += f", from {_number(finite.min())} to {_number(finite.max())}"
    for name, bad in (("nan", np.isnan(x)), ("infinite", np.isinf(x))):
        if bad.any():
            text += f", {bad.sum()} {name} from {_place(_first(bad))} on"
    return text


def _numbers(
    primitive: Primitive, args: Sequence[Any], shape: tuple[int, ...], index: tuple[int, ...]
) -> list[Any]:
    """Return the inputs: at `index` of a result of `shape`, if the primitive is elementwise."""
    arrays = [array_of(a) for a in args]
    if not primitive.elementwise:
        return arrays
    return [np.broadcast_to(a, shape)[index] for a in arrays]


def _known(primitive: Primitive) -> str:
    """Return the name by which the table of remedies knows a primitive of this package."""
    return primitive.name if primitive.trusted else ""


def input_lines(primitive: Primitive, args: Sequence[Any], numbers: Sequence[Any]) -> Iterator[str]:
    """Yield a line for each input."""
    for name, a, number in zip(input_names(primitive, len(args)), args, numbers, strict=True):
        yield f"  {name} = {_brief(number)}" + (
            f", which is {a.name}" if isinstance(a, Node) else ""
        )


def line_text(source: SourceLine | None) -> str:
    """Return the line that made a node, or how to get to know it."""
    if source is None:
        return "computed outside detect_anomaly(): put the forward pass inside to see the line\n"
    return f"{source}\n"


def _origin(primitive: Primitive, args: Sequence[Any], test: Callable[[Any], Any]) -> str | None:
    """Follow what is not finite to where it came in; None if it did not come in."""
    culprit = None
    while True:
        i = next((i for i, a in enumerate(args) if _holds(test, a)), None)
        if i is None:
            return culprit
        a = args[i]
        if not isinstance(a, Node):
            return f"the constant `{input_names(primitive, len(args))[i]}` of {primitive.name}"
        culprit = a.name
        if a.primitive is None:
            return culprit
        primitive, args = a.primitive, a.args


def forward_report(
    primitive: Primitive,
    args: Sequence[Any],
    static: dict[str, Any],
    y: Any,
    bad: Any,
) -> str:
    """Say what a primitive gave, from which numbers, at which line, and what helps."""
    index = _first(bad)
    numbers = _numbers(primitive, args, y.shape, index)
    lines = [
        f"{primitive.name} gave {place_of(y, bad)}",
        *input_lines(primitive, args, numbers),
    ]
    lines += [f"  {key} = {value!r}" for key, value in static.items() if value is not None]
    lines.append(str(source_line()))
    result = y[index] if primitive.elementwise else y
    help_ = remedy(FORWARD, Anomaly(_known(primitive), args, numbers, result))
    origin = _origin(primitive, args, lambda x: ~np.isfinite(x))
    if origin is not None:
        lines.append(f"{origin} holds what is not finite: look at where it comes from.")
    if help_ is not None:
        lines.append(help_)
    return "\n".join(lines)


def backward_report(
    node: Node, a: Node, g: Any, c: Any, live: dict[int, Node], is_bad: Callable[[Any], Any]
) -> tuple[str, str]:
    """Say which rule of `node` made the cotangent `c` of `a`, and what helps."""
    primitive = node.primitive
    assert primitive is not None
    g = array_of(g)
    y = array_of(node)
    bad = is_bad(c)
    if c.ndim > len(a.shape):  # a batch of cotangents: the first that shows it
        k = _first(bad)[0]
        g, c, bad = g[k], c[k], bad[k]
    head = f"the cotangent of {a.name} became {place_of(c, bad)}"
    inputs = [array_of(b) if isinstance(b, Node) else b for b in node.args]
    for i, b in enumerate(node.args):
        rule = primitive.rule(i) if b is a else None
        if rule is None:
            continue
        part = np.asarray(rule(g, y, *inputs, **node.static))
        wrong = is_bad(part)
        if not wrong.any():
            continue
        pointwise = primitive.elementwise
        index = _first(np.broadcast_to(wrong, y.shape)) if pointwise else ()
        numbers = _numbers(primitive, node.args, y.shape, index)
        name = input_names(primitive, len(node.args))[i]
        g, y = (x[index] if pointwise else x for x in (g, y))
        discarded = pointwise and g == 0 and _goes_into_where(node, live)
        lines = [
            f"{head}, by rule {i} of primitive {primitive.name!r}, towards its input `{name}`:",
            f"  g = {_brief(g)}, the cotangent that came in",
            f"  y = {_brief(y)}, which is {node.name}",
            *input_lines(primitive, node.args, numbers),
        ]
        anomaly = Anomaly(_known(primitive), node.args, numbers, y, discarded)
        return "\n".join(lines), remedy(BACKWARD, anomaly) or ""
    return f"{head}, as the sum of several cotangents that are finite", ""


def _goes_into_where(node: Node, live: dict[int, Node]) -> bool:
    """Whether `node`, or what is computed from it, goes into a np.where."""
    behind = {node.serial}
    for serial in sorted(s for s in live if s > node.serial):
        later = live[serial]
        if any(a.serial in behind for a in later._parents):
            behind.add(serial)
            if later.primitive is not None and later.primitive.name in ("where", "keep"):
                return True
    return False
