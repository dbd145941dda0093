"""A graph of scalar nodes as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_nn.errors import CaptureError
from tinygrad_nn.graph import Node
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.value import Value

__all__ = ["CONSTANT", "LEAF", "Floats", "Ints", "ScalarGraph", "extract"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: What stands for the primitive of a node that none computes.
LEAF, CONSTANT = -1, -2

#: In the place of the serial number of what is a number and no node.
NUMBER = -1


@dataclass
class ScalarGraph:
    """A graph of N scalar nodes: leaves, results in the order of their creation, constants.

    Attributes
    ----------
    groups : list of int
        How many of the first nodes are the leaves of each group.
    primitives : list of Primitive
        The primitives that occur.
    op : ndarray of int64, (N,)
        Index of each node's primitive; `LEAF`, or `CONSTANT`.
    starts : ndarray of int64, (N + 1,)
        Where the arguments of each node begin in `args`.
    args : ndarray of int64
        The arguments; a result's own are numbered below it, or are constants.
    numbers : ndarray of float64, (N,)
        The numbers of constants, 0 elsewhere.
    roots : ndarray of int64
        The nodes whose numbers are wanted.
    """

    groups: list[int]
    primitives: list[Primitive]
    op: Ints
    starts: Ints
    args: Ints
    numbers: Floats
    roots: Ints

    def __len__(self) -> int:
        return len(self.op)


def extract(
    roots: Sequence[Value], leaves: Sequence[Sequence[Value]], stop: int = 0
) -> ScalarGraph:
    """Return the graph between `leaves` and `roots` as arrays, in time linear in its size.

    Parameters
    ----------
    roots : sequence of Value
        The nodes whose numbers are wanted.
    leaves : sequence of sequences of Value
        Groups of nodes whose numbers are inputs, be they results or not. Every other node
        without arguments is a constant, and so is what is computed from constants alone.
    stop : int, optional
        Nodes whose serial number is not greater are constants too, unless they are leaves.

    Returns
    -------
    ScalarGraph

    Raises
    ------
    CaptureError
        If a number comes out of an array, which is no node of a graph of scalars.

    Examples
    --------
    >>> from tinygrad_nn import Value
    >>> from tinygrad_nn.plan.scalars.graph import extract
    >>> w, x = Value(2.0), Value(3.0)
    >>> graph = extract([(w * x + 1.0).tanh()], [[w], [x]])
    >>> [p.name for p in graph.primitives], len(graph)
    (['add', 'multiply', 'tanh'], 6)
    """
    inputs = list(dict.fromkeys(node for group in leaves for node in group))
    found = _reach(roots, inputs, stop)
    nodes = inputs + found
    n = len(nodes)

    serials = np.fromiter(map(attrgetter("serial"), nodes), np.int64, n)
    order = np.argsort(serials, kind="stable")
    ranked = serials[order]

    def numbered(serials: Ints) -> Ints:
        return order[np.searchsorted(ranked, serials)]

    counts = np.zeros(n, np.int64)
    flat: list[Any] = []
    counts[len(inputs) :] = _arguments(found, stop, flat)
    args = np.array([a.serial if a.__class__ is Value else NUMBER for a in flat], dtype=np.int64)
    is_number = args == NUMBER
    literals = [flat[i] for i in np.flatnonzero(is_number).tolist()]
    args[~is_number] = numbered(args[~is_number])
    args[is_number] = np.arange(n, n + len(literals))

    primitives = sorted(
        {node.primitive for node in found if node.primitive is not None}, key=attrgetter("name")
    )
    code = {primitive: i for i, primitive in enumerate(primitives)}
    total = n + len(literals)
    op = np.full(total, CONSTANT)
    op[: len(inputs)] = LEAF
    op[len(inputs) : n] = [
        code[p] if (p := node.primitive) is not None else CONSTANT for node in found
    ]
    op[:n][(counts == 0) & (op[:n] >= 0)] = CONSTANT
    starts = np.zeros(total + 1, np.int64)
    np.cumsum(counts, out=starts[1 : n + 1])
    starts[n + 1 :] = starts[n]
    _fold(op, starts, args)

    numbers = np.zeros(total)
    numbers[n:] = literals
    for i in np.flatnonzero(op[:n] == CONSTANT).tolist():
        numbers[i] = nodes[i]._value
    wanted = np.fromiter((node.serial for node in roots), np.int64, len(roots))
    sizes = _sizes(inputs, leaves)
    return ScalarGraph(sizes, primitives, op, starts, args, numbers, numbered(wanted))


def _sizes(inputs: list[Value], leaves: Sequence[Sequence[Value]]) -> list[int]:
    sizes = [len(group) for group in leaves]
    if sum(sizes) != len(inputs):
        raise ValueError(
            f"each leaf is given once; got {len(inputs)} different ones among {sum(sizes)}"
        )
    return sizes


def _reach(roots: Iterable[Value], inputs: Iterable[Value], stop: int) -> list[Value]:
    """Collect what the roots are computed from, down to the inputs, in order of creation."""
    seen = set(inputs)
    found: list[Value] = []
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        found.append(node)
        if node.serial <= stop:
            continue
        a = node._left
        b = node._right
        if a.__class__ is Value:
            if a not in seen:
                stack.append(a)
        elif a.__class__ is tuple:
            stack.extend([x for x in a if x.__class__ is Value and x not in seen])
        elif isinstance(a, Node):
            raise CaptureError(
                f"{node.name} comes out of an array, {a.name}: a graph of scalars consists of "
                f"Values alone. Name it among the leaves, or compute on tensors throughout"
            )
        if b.__class__ is Value and b not in seen:
            stack.append(b)
    found.sort(key=attrgetter("serial"))
    return found


def _arguments(found: list[Value], stop: int, flat: list[Any]) -> list[int]:
    """Write the arguments of nodes in a row into `flat`; return how many each has."""
    counts: list[int] = []
    put, count = flat.append, counts.append
    for node in found:
        a = node._left
        if a.__class__ is tuple:
            flat += a
            count(len(a))
        elif a is None or node.serial <= stop:
            count(0)
        elif node._right is None:
            put(a)
            count(1)
        else:
            put(a)
            put(node._right)
            count(2)
    return counts


def _fold(op: Ints, starts: Ints, args: Ints) -> None:
    """Make constants of what is computed from constants alone."""
    arity = np.diff(starts)
    owner = np.repeat(np.arange(len(op)), arity)
    open_args = np.bincount(owner[op[args] != CONSTANT], minlength=len(op))
    ready = np.flatnonzero((open_args == 0) & (op >= 0))
    if not len(ready):
        return
    by_arg = np.argsort(args, kind="stable")
    uses = np.searchsorted(args[by_arg], np.arange(len(op) + 1))
    while len(ready):
        op[ready] = CONSTANT
        users = owner[by_arg[spans(uses[ready], uses[ready + 1])]]
        np.subtract.at(open_args, users, 1)
        users = np.unique(users)
        ready = users[(open_args[users] == 0) & (op[users] >= 0)]


def spans(begin: Ints, end: Ints) -> Ints:
    """Return the numbers of several ranges, begin to end, in a row.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.plan.scalars.graph import spans
    >>> spans(np.array([0, 7]), np.array([2, 10]))
    array([0, 1, 7, 8, 9])
    """
    lengths = end - begin
    shift = np.repeat(begin - np.cumsum(lengths) + lengths, lengths)
    return shift + np.arange(len(shift))
