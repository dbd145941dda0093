"""Where the nodes of a graph are among the arrays of a program."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_nn.plan.scalars.affine import Shape, common_shape, periods
from tinygrad_nn.plan.scalars.draft import NOWHERE, Draft, home_of, place_of
from tinygrad_nn.plan.scalars.graph import LEAF, Ints
from tinygrad_nn.plan.scalars.grids import alike, mixed
from tinygrad_nn.plan.scalars.levels import Schedule

__all__ = ["Places", "different", "hashed", "insist", "reading_order"]


class Places:
    """The addresses of nodes, as far as the program that is written computes them.

    Attributes
    ----------
    address : ndarray of int64, (N,)
        `NOWHERE` for constants, and for what is not computed yet.
    turn : ndarray of int64, (N,)
        The order that the factors of a product are put in. Among the results of a layer it goes
        by unit first and by sample last, so that which of two comes first never depends on the
        samples.
    """

    def __init__(self, schedule: Schedule) -> None:
        graph = schedule.graph
        self.draft = Draft(graph.groups)
        self.address = np.full(len(graph), NOWHERE)
        leaves = np.flatnonzero(graph.op == LEAF)
        if len(leaves):
            slots = range(len(graph.groups))
            self.address[leaves] = np.concatenate([self.draft.addresses(i) for i in slots])
        self.turn = self.address.copy()

    def settle(self, nodes: Ints, slot: int, size: int) -> None:
        """Note where nodes are: in the array just made, in a row."""
        insist(math.prod(self.draft.shapes[slot]) == size)
        self.address[nodes] = self.turn[nodes] = self.draft.addresses(slot)

    def copy(self, nodes: Ints, models: Ints) -> None:
        """Note that nodes are where others are that equal them."""
        self.address[nodes] = self.address[models]
        self.turn[nodes] = self.turn[models]

    def shape(self, vectors: list[Ints]) -> Shape:
        """Return a shape in which as many vectors of addresses as possible are views."""
        n = len(vectors[0])
        lengths = [periods(place_of(x)) for x in vectors]
        for x in vectors:
            # The shape that the array has already needs no reshape.
            shape = self.draft.shapes[home_of(x[0])]
            if math.prod(shape) == n and place_of(x[0]) == 0 and (np.diff(x) == 1).all():
                lengths.append([math.prod(shape[i:]) for i in range(1, len(shape))])
        return common_shape(n, lengths)


def insist(holds: bool) -> None:
    """Make sure of what a program's correctness rests on: equality is found by hashes."""
    if not holds:
        raise AssertionError("what was taken for equal in a graph of scalars is not; please report")


def hashed(x: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a hash of each row, (n, k) to (n,), in which positions count."""
    weights = mixed(np.arange(x.shape[1])) | np.uint64(1)
    hashes: NDArray[np.uint64] = (mixed(x) * weights).sum(axis=1, dtype=np.uint64)
    return hashes


def different(rows: Ints, keys: NDArray[np.uint64]) -> tuple[Ints, tuple[Ints, Ints]]:
    """Keep the first of the rows of equal keys; return the others with the one each is equal to."""
    kind = alike(keys)
    if not len(kind) or kind.max() + 1 == len(rows):
        none = np.empty(0, np.int64)
        return rows, (none, none)
    first = np.zeros(kind.max() + 1, np.int64)
    first[kind[::-1]] = np.arange(len(rows))[::-1]
    twin = first[kind] != np.arange(len(rows))
    return rows[first], (rows[twin], rows[first[kind[twin]]])


def reading_order(vectors: list[Ints]) -> Ints:
    """Return an order in which vectors of addresses are likely to be views."""
    for x in vectors:
        order = np.argsort(x, kind="stable")
        if (np.diff(x[order]) > 0).all():
            return order
    return np.lexsort(vectors[::-1])
