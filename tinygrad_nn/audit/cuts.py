"""Watching a computation for the places where numbers leave the graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

from tinygrad_nn.dispatch import dispatch_function
from tinygrad_nn.graph import Node
from tinygrad_nn.source_line import source_line
from tinygrad_nn.tensor import Tensor, apply

__all__ = ["Cut", "Trace", "behind", "watched"]


def _code(function: Any) -> CodeType:
    code: CodeType = function.__code__
    return code


#: What reads the numbers of a tensor, and how a reader would know it.
_READERS = {
    _code(Tensor.__dict__["data"].fget): ".data",
    _code(Tensor.detach): ".detach()",
    _code(Tensor.item): ".item()",
    _code(Tensor.tolist): ".tolist()",
    _code(Tensor.__array__): "np.asarray()",
    _code(Tensor.__float__): "float()",
    _code(Tensor.__int__): "int()",
    _code(Tensor.__complex__): "complex()",
}
#: Functions whose results hold none of the numbers.
_BLANK = {np.zeros_like, np.ones_like, np.empty_like}
_APPLY = _code(apply)
_DISPATCH = _code(dispatch_function)


@dataclass(frozen=True, slots=True)
class Cut:
    """A place where numbers left the graph.

    Attributes
    ----------
    how : str
        What took them: ``.detach()``, ``no_grad()``, ``argmax (constant)``.
    place : str
        File, line and source of the caller.
    nodes : tuple of Node
        What was cut off.
    """

    how: str
    place: str
    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        return f"{self.how} at {self.place}"


@dataclass(slots=True)
class Trace:
    """What a watched computation did: its cuts in order, and the leaves that it used."""

    cuts: list[Cut] = field(default_factory=list)
    used: set[int] = field(default_factory=set)

    def of(self, leaf: Node) -> list[str]:
        """Return where numbers computed from `leaf` left the graph, each place once."""
        places = (str(cut) for cut in self.cuts if leaf.serial in behind(cut.nodes))
        return list(dict.fromkeys(places))


def behind(outputs: Iterable[Node], *, constants: bool = False) -> dict[int, Node]:
    """Return every node that a gradient of `outputs` gets to, by serial number.

    With `constants`, those behind primitives that are constant in them as well.
    """
    found = {node.serial: node for node in outputs if constants or node.requires_grad}
    stack = list(found.values())
    while stack:
        node = stack.pop()
        for i, a in enumerate(node.args):
            if isinstance(a, Node) and a.serial not in found and (constants or _passes(node, i)):
                found[a.serial] = a
                stack.append(a)
    return found


def _passes(node: Node, i: int) -> bool:
    """Whether a gradient passes from a result to its argument `i`."""
    primitive = node.primitive
    assert primitive is not None
    # One that has no rules yet is an error of backward(), not a cut.
    return node.args[i].requires_grad and (not primitive.rules or primitive.rule(i) is not None)


@contextmanager
def watched() -> Iterator[Trace | None]:
    """Note where numbers leave the graph in this thread; None while a profiler is at work."""
    if sys.getprofile() is not None:
        yield None
        return
    trace = Trace()
    sys.setprofile(_watcher(trace))
    try:
        yield trace
    finally:
        sys.setprofile(None)


def _watcher(trace: Trace) -> Callable[[FrameType, str, Any], None]:
    def note(how: str, nodes: list[Node]) -> None:
        if nodes:
            trace.used.update(node.serial for node in nodes)
            trace.cuts.append(Cut(how, _place(), tuple(nodes)))

    def watch(frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        if event == "call" and code in _READERS:
            note(_READERS[code], _live([frame.f_locals["self"]]))
        elif event == "return" and code is _APPLY:
            nodes = _live(frame.f_locals["args"])
            trace.used.update(node.serial for node in nodes)
            if isinstance(result, Node) and not result.requires_grad:
                primitive = frame.f_locals["primitive"]
                note(_constant(primitive, result), nodes)
        elif event == "return" and code is _DISPATCH and isinstance(result, np.ndarray):
            function = frame.f_locals["function"]
            if function not in _BLANK:
                note(f"np.{function.__name__}", _live(frame.f_locals["args"]))

    return watch


def _constant(primitive: Any, result: Node) -> str:
    """Say why a primitive of what requires a gradient has a result that does not."""
    if primitive.differentiable and result.primitive is None:
        return "no_grad()"
    return f"{primitive.name} (constant)"


def _live(args: Any) -> list[Node]:
    return [a for a in args if isinstance(a, Node) and a.requires_grad]


def _place() -> str:
    """Return the line that called the package, as file:line and its source."""
    line = source_line()
    return f"{Path(line.file).name}:{line.line}" + (f" ({line.text})" if line.text else "")
