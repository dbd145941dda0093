"""Functions of a level become one call for each primitive and source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinygrad_nn.plan.scalars.draft import NOWHERE, home_of
from tinygrad_nn.plan.scalars.graph import Floats, Ints, ScalarGraph
from tinygrad_nn.plan.scalars.grids import alike, bits
from tinygrad_nn.plan.scalars.places import Places, different, hashed, insist, reading_order
from tinygrad_nn.primitive import Primitive

__all__ = ["write_functions"]

#: From so many combinations of arrays, arguments are rather gathered than read each from its own,
FEW_SOURCES = 3

#: unless there are more nodes than this to a combination.
MANY_NODES = 512


def write_functions(places: Places, graph: ScalarGraph, nodes: Ints) -> None:
    """Write the steps that apply primitives to what has been computed."""
    arity = graph.starts[nodes + 1] - graph.starts[nodes]
    kind = alike(graph.op[nodes] + len(graph.primitives) * arity)
    for i in range(int(kind.max()) + 1):
        mine, k = nodes[kind == i], int(arity[kind == i][0])
        _write_one(places, graph, mine, graph.args[graph.starts[mine][:, None] + np.arange(k)])


def _write_one(places: Places, graph: ScalarGraph, nodes: Ints, args: Ints) -> None:
    """Apply one primitive to nodes that take the same number of arguments, (n, k)."""
    where = places.address[args]
    numbers = graph.numbers[args]
    fixed = where == NOWHERE
    kind = alike(hashed(home_of(where)))
    if kind.max() >= FEW_SOURCES and len(nodes) < MANY_NODES * (kind.max() + 1):
        kind = alike(hashed(fixed))  # from whichever arrays
    for i in range(int(kind.max()) + 1):
        rows = np.flatnonzero(kind == i)
        key = hashed(where[rows]) + hashed(bits(numbers[rows]))
        rows, (twins, models) = different(rows, key)
        insist(np.array_equal(where[twins], where[models]))
        insist(np.array_equal(bits(numbers[twins]), bits(numbers[models])))
        insist(bool((fixed[rows] == fixed[rows[0]]).all()))
        primitive = graph.primitives[graph.op[nodes[0]]]
        _write_batch(places, primitive, nodes[rows], where[rows], numbers[rows], fixed[rows[0]])
        places.copy(nodes[twins], nodes[models])


def _write_batch(
    places: Places,
    primitive: Primitive,
    nodes: Ints,
    where: Ints,
    numbers: Floats,
    fixed: NDArray[np.bool_],
) -> None:
    """Apply a primitive to nodes of which the same arguments are constant."""
    draft, n = places.draft, len(nodes)
    vectors = [where[:, i] for i in np.flatnonzero(~fixed)]
    single = all(bool((home_of(x) == home_of(x[0])).all()) for x in vectors)
    order = reading_order(vectors) if single else np.arange(n)
    shape = places.shape([x[order] for x in vectors]) if single else (n,)
    inputs = []
    for i, constant in enumerate(fixed.tolist()):
        if constant:
            inputs.append(draft.constant(numbers[order, i].reshape(shape)))
        elif single:
            inputs.append(draft.read(where[order, i].reshape(shape)))
        else:
            inputs.append(draft.read_any(where[order, i]))
    places.settle(nodes[order], draft.apply(primitive, *inputs), n)
