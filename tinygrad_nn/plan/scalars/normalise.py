"""Every node becomes a leaf, a function of others, or a sum of products.

The writing order and the brackets of a sum, and where factors stand, are thereby forgotten: what
differs in these alone has the same form afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinygrad_nn.plan.scalars.graph import CONSTANT, Floats, Ints, ScalarGraph
from tinygrad_nn.rules import TABLE

__all__ = ["ONE", "Terms", "normalise"]

#: What stands for the second factor of a term that has one only.
ONE = -1


@dataclass
class Terms:
    """The normal form: ``node = offset + sum of coefficient * u * v`` for every sum.

    Attributes
    ----------
    is_sum, is_function : ndarray of bool, (N,)
        The nodes that remain, besides leaves and constants.
    sums, u, v, coefficient : ndarray
        One row per term, those of a sum in a row, sums in ascending order: the sum, its two
        factors (the second may be `ONE`), and a constant.
    offset : ndarray of float64, (N,)
    """

    is_sum: NDArray[np.bool_]
    is_function: NDArray[np.bool_]
    sums: Ints
    u: Ints
    v: Ints
    coefficient: Floats
    offset: Floats


def normalise(graph: ScalarGraph) -> Terms:
    """Merge sums into sums, and products that are used once into the sums that use them.

    A factor is never distributed over a sum, which would hide the structure of the sum.
    """
    n, op, args = len(graph), graph.op, graph.args
    arity = np.diff(graph.starts)
    at = np.minimum(graph.starts[:-1], max(len(args) - 1, 0))
    first = args[at] if len(args) else at
    second = args[np.minimum(at + 1, len(args) - 1)] if len(args) else at
    fixed = op == CONSTANT

    def made_by(*names: str) -> NDArray[np.bool_]:
        wanted = [TABLE[name] for name in names]
        # Leaves and constants have negative numbers: the last two entries.
        return np.array([p in wanted for p in graph.primitives] + [False, False])[op]

    additive = made_by("add", "subtract", "add_n", "positive")
    with np.errstate(all="ignore"):  # of numbers that are no divisors, too
        inverse = 1.0 / graph.numbers
    invertible = fixed & np.isfinite(inverse) & (inverse != 0.0)
    quotient = made_by("divide") & invertible[second]
    factors = made_by("multiply")
    scaled = factors & (fixed[first] | fixed[second]) | made_by("negative") | quotient
    square = made_by("power") & fixed[second] & (graph.numbers[second] == 2.0)
    product = factors & ~scaled | square | made_by("square")
    second = np.where(square | made_by("square"), first, second)
    linear = additive | scaled

    # One row for each use of a node by another, and what it is multiplied by there.
    user = np.repeat(np.arange(n), arity)
    weight = np.ones(len(args))
    weight[at[made_by("subtract")] + 1] = -1.0
    weight[at[made_by("negative")]] = -1.0
    weight[at[quotient]] = inverse[second[quotient]]
    constant_factor = np.where(fixed[first], first, second)
    for slot in (0, 1):
        rows = np.flatnonzero(factors & scaled)
        weight[at[rows] + slot] = graph.numbers[constant_factor[rows]]
    real = ~fixed[args] & ~fixed[user]

    # Who is merged into its only user.
    uses = np.bincount(args[real], minlength=n)
    uses += 2 * np.bincount(graph.roots, minlength=n)
    only = np.zeros(n, np.int64)
    only[args[real]] = user[real]
    once = (uses == 1) & ~fixed
    merged = once & (additive & additive[only] | scaled & linear[only])
    fused = once & product & linear[only]
    head = np.where(merged, only, np.arange(n))
    path = np.ones(n)
    rows = real & merged[args]
    path[args[rows]] = weight[rows]
    # Pointer doubling: every node looks twice as far as before.
    moving = np.flatnonzero(merged)
    while len(moving):
        beyond = head[head[moving]]
        still = beyond != head[moving]
        moving, beyond = moving[still], beyond[still]
        step = path[head[moving]]
        path[moving] *= step
        head[moving] = beyond

    # Terms: what stays of a sum's arguments, and every product on its own.
    rows = np.flatnonzero(real & linear[user] & ~merged[args])
    sums = head[user[rows]]
    u = args[rows]
    coefficient = weight[rows] * path[user[rows]]
    inside = fused[u]
    v = np.where(inside, second[u], ONE)
    u = np.where(inside, first[u], u)
    alone = np.flatnonzero(product & ~fused & ~fixed)
    sums = np.concatenate([sums, alone])
    u = np.concatenate([u, first[alone]])
    v = np.concatenate([v, second[alone]])
    # 0.0 and -0.0 are the same number from here on.
    coefficient = np.concatenate([coefficient, np.ones(len(alone))]) + 0.0
    order = np.argsort(sums, kind="stable")

    rows = np.flatnonzero(fixed[args] & additive[user] & ~fixed[user])
    share = weight[rows] * path[user[rows]] * graph.numbers[args[rows]]
    offset: Floats = np.zeros(n)
    np.add.at(offset, head[user[rows]], share)

    computed = (op >= 0) & ~merged & ~fused
    is_sum = computed & (linear | product)
    return Terms(
        is_sum, computed & ~is_sum, sums[order], u[order], v[order], coefficient[order], offset
    )
