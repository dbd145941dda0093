"""Which index vectors are views: sums of a multiple of each coordinate of a shape."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from tinygrad_nn.plan.scalars.graph import Ints

__all__ = ["affine", "common_shape", "periods"]

Shape = tuple[int, ...]


def affine(x: Ints) -> tuple[int, list[int]] | None:
    """Return base and strides with ``x[i, j, ...] = base + i s + j t + ...``; None if there are no.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.plan.scalars.affine import affine
    >>> affine(np.array([[4, 5, 6], [14, 15, 16]]))
    (4, [10, 1])
    """
    base = int(x.flat[0])
    model: Ints = np.full((), base)
    strides = []
    for axis, size in enumerate(x.shape):
        here = (0,) * axis + (min(1, size - 1),) + (0,) * (x.ndim - axis - 1)
        stride = int(x[here]) - base
        strides.append(stride)
        if stride:
            model = model + (np.arange(size) * stride).reshape((-1,) + (1,) * (x.ndim - axis - 1))
    return (base, strides) if bool((x == model).all()) else None


def periods(x: Ints) -> list[int] | None:
    """Return the lengths after which a vector starts anew, if it is affine in some shape.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.plan.scalars.affine import periods
    >>> periods(np.array([7, 8, 9, 7, 8, 9, 7, 8, 9]))
    [3]
    """
    found = []
    length = 1
    while len(x) > 1:
        step = x[1] - x[0]
        breaks = np.flatnonzero(np.diff(x) != step)
        if not len(breaks):
            break
        run = int(breaks[0]) + 1
        if len(x) % run:
            return None
        rows = x.reshape(-1, run)
        if not (rows - rows[:, :1] == np.arange(run) * step).all():
            return None
        length *= run
        found.append(length)
        x = rows[:, 0]
    return found


def common_shape(n: int, lengths: Iterable[list[int] | None]) -> Shape:
    """Return a shape of `n` elements in which vectors of these periods are affine.

    What cannot be reconciled with those before it is left out.

    Examples
    --------
    >>> from tinygrad_nn.plan.scalars.affine import common_shape
    >>> common_shape(24, [[4], [8], [3]])
    (3, 2, 4)
    """
    chain = [1, n]
    for more in lengths:
        if more is not None:
            longer = sorted({*chain, *more})
            if all(b % a == 0 for a, b in pairwise(longer)):
                chain = longer
    if n == 1:
        return ()
    return tuple(b // a for a, b in pairwise(chain))[::-1]
