"""In which order: a node's level is the length of the longest way to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygrad_nn.plan.scalars.graph import CONSTANT, Ints, ScalarGraph
from tinygrad_nn.plan.scalars.normalise import ONE, Terms, normalise

__all__ = ["Schedule", "schedule"]


@dataclass
class Schedule:
    """The normal form of a graph, in an order that it can be computed in.

    Attributes
    ----------
    graph : ScalarGraph
    terms : Terms
    order : ndarray of int64
        The sums and functions, by level, and by number within a level.
    cuts : ndarray of int64
        Where the levels begin in `order`, and its length at the end.
    batches : int
        Pairs of a level and a kind of operation: about as many calls as are needed at least.
    """

    graph: ScalarGraph
    terms: Terms
    order: Ints
    cuts: Ints
    batches: int

    @property
    def width(self) -> float:
        """How many nodes of the graph there are to a batch; below ten, little can be gained."""
        return float(np.count_nonzero(self.graph.op >= 0)) / max(self.batches, 1)

    def levels(self) -> Iterator[Ints]:
        """Return the nodes level by level."""
        for begin, end in zip(self.cuts[:-1].tolist(), self.cuts[1:].tolist(), strict=True):
            yield self.order[begin:end]


def schedule(graph: ScalarGraph) -> Schedule:
    """Bring a graph into its normal form and find the levels of its nodes.

    Examples
    --------
    >>> from tinygrad_nn import Value
    >>> from tinygrad_nn.plan.scalars import extract, schedule
    >>> xs = [Value(float(i)) for i in range(100)]
    >>> narrow, wide = xs[0], sum(x.tanh() for x in xs)
    >>> for _ in range(100):
    ...     narrow = narrow.tanh()
    >>> [schedule(extract([root], [xs])).width for root in (narrow, wide)]
    [1.0, 100.0]
    """
    terms = normalise(graph)
    n = len(graph)
    kind = np.where(terms.is_sum, len(graph.primitives), graph.op)
    nodes = np.flatnonzero(terms.is_sum | terms.is_function)
    level = _levels(graph, terms, nodes)[nodes]
    order = np.argsort(level, kind="stable")
    begins = np.flatnonzero(np.diff(level[order], prepend=0))
    batches = len(np.unique(level * n + kind[nodes]))
    return Schedule(graph, terms, nodes[order], np.append(begins, len(nodes)), batches)


def _levels(graph: ScalarGraph, terms: Terms, nodes: Ints) -> Ints:
    computed = terms.is_sum | terms.is_function
    double = terms.v != ONE
    user = np.repeat(np.arange(len(graph)), np.diff(graph.starts))
    rows = terms.is_function[user] & (graph.op[graph.args] != CONSTANT)
    below = np.concatenate([terms.u, terms.v[double], graph.args[rows]])
    above = np.concatenate([terms.sums, terms.sums[double], user[rows]])
    inner = computed[below]
    below, above = below[inner], above[inner]
    order = np.argsort(above, kind="stable")
    level = computed.astype(np.int64).tolist()
    # The one loop over all nodes: each needs what is known of those before it.
    for a, b in zip(below[order].tolist(), above[order].tolist(), strict=True):
        if level[a] >= level[b]:
            level[b] = level[a] + 1
    return np.array(level, dtype=np.int64)
