"""Constants of a graph that move with the inputs: numbers that have left it, and came back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_nn.backward import pull_back, reachable
from tinygrad_nn.gradcheck.constants import LEAK_EXPLAINS, LEAK_SHARE, LEAK_STEP
from tinygrad_nn.gradcheck.graph_subject import GraphSubject
from tinygrad_nn.gradcheck.noise import signs
from tinygrad_nn.gradcheck.outputs import flat, like, seeds
from tinygrad_nn.gradcheck.rows import scales
from tinygrad_nn.graph import Node, enable_grad
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.value import Value

__all__ = ["Leak", "Moved", "explains", "find_leaks", "move"]

Array = npt.NDArray[Any]

#: Where a constant stands: the number of its node among all, and its place among the arguments;
#: or the name of a keyword.
Place = tuple[int, int | str]


class Leak(NamedTuple):
    """A constant that moves with the inputs.

    Attributes
    ----------
    node : Node
        What it went into.
    place : int or str
        Its place among the arguments, or the name of the keyword.
    share : float or None
        Of the derivative that is missing along a random direction; None where that is unknown.
    """

    node: Node
    place: int | str
    share: float | None


class _Run(NamedTuple):
    shape: tuple[Any, ...]  # two runs with equal ones have the same graph
    constants: dict[Place, Any]
    y: Array


@dataclass(slots=True)
class Moved:
    """What runs with the inputs moved along `direction`, there and back, have shown.

    Attributes
    ----------
    direction : ndarray, shape (n,)
    runs : tuple of _Run
        There and back.
    cotangent : ndarray, shape (m,)
        Random; it makes one number of the outputs.
    gradient : ndarray, shape (n,)
        Of that number, at the inputs as given.
    left : list of str
        The lines that read the numbers of something computed from the inputs.
    """

    direction: Array
    runs: tuple[_Run, _Run]
    cotangent: Array
    gradient: Array
    left: list[str]


def move(subject: GraphSubject, rng: np.random.Generator) -> Moved | None:
    """Run the function with its inputs moved; None where it is not defined or not differentiable.

    A model's parameters hold other numbers afterwards.
    """
    d = scales(subject)[1] * signs(rng, subject.x.size)
    try:
        with np.errstate(all="ignore"):
            plus, minus = (
                _read(*subject.run(subject.cast(subject.x + t * d)))
                for t in (LEAK_STEP, -LEAK_STEP)
            )
            w = signs(rng, plus.y.size)
            gradient = subject.gradients(subject.x, w[None])[0]
            return Moved(d, (plus, minus), w, gradient, list(_places_of_reading(subject)))
    except Exception:
        return None


def find_leaks(leaves: list[Node], outputs: list[Node], moved: Moved) -> list[Leak] | None:
    """Return the constants that move with the inputs and make the gradient wrong, worst first.

    Whether one matters is computed: the graph is run again with these constants as inputs, and
    their derivatives, times how far each has moved, are what the gradient lacks. None where the
    graph is another one for moved inputs, so that its constants cannot be compared.
    """
    base = _read(leaves, outputs)
    if any(run.shape != base.shape for run in moved.runs):
        return None
    plus, minus = (run.constants for run in moved.runs)
    changed = {}
    for place, constant in base.constants.items():
        there, back = np.asarray(plus[place]), np.asarray(minus[place])
        if _floating(constant) and there.shape == back.shape and not np.array_equal(there, back):
            changed[place] = (there - back) / (2.0 * LEAK_STEP)
    nodes = _nodes(outputs)
    with np.errstate(all="ignore"), enable_grad():
        slopes = _slopes(nodes, outputs, changed, moved.cotangent)
        rise = moved.cotangent @ (moved.runs[0].y - moved.runs[1].y)
        numeric = float(rise) / (2.0 * LEAK_STEP)
    along = moved.gradient * moved.direction
    missing = numeric - float(np.sum(along))
    size = abs(numeric) + float(np.sum(abs(along)))
    found = []
    for (k, i), slope in slopes.items():
        if slope is None or not abs(slope) <= LEAK_SHARE * size:
            share = slope / missing if slope is not None and missing else None
            found.append(Leak(nodes[k], i, share))
    return sorted(found, key=lambda leak: -abs(leak.share or 0.0))


def explains(leaks: list[Leak]) -> bool:
    """Whether these constants' derivatives are all that is missing."""
    shares = [leak.share for leak in leaks]
    known = [share for share in shares if share is not None]
    return len(known) == len(shares) > 0 and abs(sum(known) - 1.0) <= LEAK_EXPLAINS


def _nodes(outputs: list[Node]) -> list[Node]:
    live = reachable(node for node in outputs if node.requires_grad)
    return [live[serial] for serial in sorted(live)]


def _read(leaves: list[Node], outputs: list[Node]) -> _Run:
    """Read off a graph its form, and its constants: all that was neither computed nor given."""
    nodes = _nodes(outputs)
    given = {node.serial for node in leaves}
    index = {node.serial: k for k, node in enumerate(nodes)}
    constants: dict[Place, Any] = {}
    shape = []
    for k, node in enumerate(nodes):
        sources = []
        for i, a in enumerate(node.args):
            if isinstance(a, Node) and (a.serial in given or a.primitive is not None):
                sources.append(index.get(a.serial, -1))
            else:
                constants[k, i] = a._value if isinstance(a, Node) else a
        for name, a in node.static.items():
            constants[k, name] = a
        shape.append((id(node.primitive), tuple(sources)))
    return _Run(tuple(shape), constants, flat(outputs))


def _slopes(
    nodes: list[Node], outputs: list[Node], changed: dict[Place, Array], w: Array
) -> dict[Place, float | None]:
    """Return what each constant, moving as it does, adds to the slope of ``<w, y>``."""
    slopes: dict[Place, float | None] = dict.fromkeys(changed)
    again: dict[int, Any] = {}
    inputs: dict[Place, Node] = {}
    try:
        for k, node in enumerate(nodes):
            args = []
            for i, a in enumerate(node.args):
                if (k, i) in changed:
                    a = inputs[k, i] = _leaf(a, isinstance(node, Value))
                args.append(again.get(a.serial, a) if isinstance(a, Node) else a)
            if any(x is not y for x, y in zip(args, node.args, strict=True)):
                assert node.primitive is not None
                again[node.serial] = node.primitive(*args, **node.static)
        results = [again.get(node.serial, node) for node in outputs]
        _, cotangents = pull_back(seeds(results, w, like))
    except Exception:
        return slopes  # a rule fails: what moves is named all the same
    for place, node in inputs.items():
        c = cotangents.get(node.serial, 0.0)
        slopes[place] = float(np.sum(np.real(np.multiply(c, changed[place]))))
    return slopes


def _leaf(a: Any, scalar: bool) -> Node:
    value = a._value if isinstance(a, Node) else a
    if scalar and np.ndim(value) == 0:
        return Value(float(value))
    return Tensor(value, requires_grad=True)


def _floating(a: Any) -> bool:
    return isinstance(a, float | complex | np.ndarray | np.generic) and (
        np.asarray(a).dtype.kind in "fc"
    )


def _places_of_reading(subject: GraphSubject) -> Iterator[str]:
    """Yield the lines that read the numbers of something computed from the inputs."""
    from tinygrad_nn.audit.cuts import watched  # which imports the gradient checker

    with watched() as trace:
        leaves, _ = subject.run(subject.x)
    if trace is not None:
        yield from dict.fromkeys(place for leaf in leaves for place in trace.of(leaf))
