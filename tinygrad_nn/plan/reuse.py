"""Lay out the memory of a tape: final places first, then memory that is used again and again."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_nn.plan.memory import Memory, empty
from tinygrad_nn.plan.places import Places
from tinygrad_nn.plan.tape import Tape, Var

__all__ = ["arrange"]

# Primitives that may write over what they read, besides the ufuncs.
_SAFE = frozenset(["keep", "relu", "clip", "negative"])


def arrange(tape: Tape) -> Memory:
    """Lay out the memory of a tape."""
    places = Places(tape)
    places.origins()
    places.side_by_side()
    places.in_cells()
    places.in_concatenations()
    places.views()
    _reuse(places)
    return places.memory


def _reuse(places: Places) -> None:
    """Give every other result an array, of memory that nobody needs any more if there is some."""
    arrays, base = places.arrays, places.base
    last = _last_uses(places)
    pool: list[Any] = []
    owned: dict[Var, Any] = {}
    views: dict[Any, Any] = {}

    def free(dying: list[Var]) -> None:
        pool.extend([owned.pop(v) for v in dying])

    def alike(v: Var, out: Var) -> bool:
        same_order = places.order.get(v, "C") == places.order.get(out, "C")
        return (v.shape, v.dtype) == (out.shape, out.dtype) and same_order

    for k, i in enumerate(places.tape.instructions):
        if i.view:
            places.view_of(i)
            continue
        dying = [v for v in owned if last[v] == k]
        if i.primitive.elementwise and (not i.primitive.is_python or i.primitive.name in _SAFE):
            through_views = {base(v)[0] for v in i.inputs if base(v)[1]}
            free([v for v in dying if v not in through_views and alike(v, i.out)])
        if i.out not in arrays:
            raw = _fitting(pool, i.out.nbytes)
            if raw is None:
                raw = empty((max(i.out.nbytes, 1),), np.uint8)
            # The same array for the same memory: of two, NumPy would ask whether they overlap.
            key = (id(raw), i.out.shape, i.out.dtype, places.order.get(i.out, "C"))
            if key not in views:
                flat = raw[: i.out.nbytes].view(i.out.dtype)
                views[key] = flat.reshape(i.out.shape, order=key[-1])
            arrays[i.out] = views[key]
            owned[i.out] = raw
        free([v for v in dying if v in owned])
        if last.get(i.out, k) <= k and i.out in owned:
            free([i.out])


def _last_uses(places: Places) -> dict[Var, int]:
    """Return for each result the position of the last instruction that reads it or a view."""
    instructions, base = places.tape.instructions, places.base
    last: dict[Var, int] = {}
    for k, i in enumerate(instructions):
        for v in i.inputs:
            last[base(v)[0]] = k
        last.setdefault(i.out, k)
    for v in places.tape.results:
        last[base(v)[0]] = len(instructions)
    for out, copies in places.memory.copies.items():
        for _, v in copies:
            last[base(v)[0]] = max(last.get(base(v)[0], 0), places.position[out])
    return last


def _fitting(pool: list[Any], nbytes: int) -> Any:
    """Take the smallest free piece of memory that is large enough, and not far too large."""
    fit = [raw for raw in pool if nbytes <= raw.nbytes <= 2 * nbytes + 256]
    if not fit:
        return None
    best = min(fit, key=lambda raw: raw.nbytes)
    pool[:] = [raw for raw in pool if raw is not best]
    return best
