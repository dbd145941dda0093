"""Levels of nodes become steps on arrays."""

from __future__ import annotations

from tinygrad_nn.plan.scalars.draft import Draft
from tinygrad_nn.plan.scalars.functions import write_functions
from tinygrad_nn.plan.scalars.levels import Schedule
from tinygrad_nn.plan.scalars.places import Places
from tinygrad_nn.plan.scalars.sums import write_sums

__all__ = ["write"]


def write(schedule: Schedule) -> tuple[Draft, int]:
    """Write the steps that compute the roots of a graph; return the number of their vector."""
    graph, terms = schedule.graph, schedule.terms
    places = Places(schedule)
    for nodes in schedule.levels():
        is_sum = terms.is_sum[nodes]
        if is_sum.any():
            write_sums(places, terms, nodes[is_sum])
        if not is_sum.all():
            write_functions(places, graph, nodes[~is_sum])
    roots = places.draft.read_any(places.address[graph.roots], graph.numbers[graph.roots])
    return places.draft, places.draft.flat(roots)
