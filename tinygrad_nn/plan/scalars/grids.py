"""Matrix products among sums of products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinygrad_nn.plan.scalars.graph import Floats, Ints

__all__ = ["aligned", "alike", "bits", "find_grids", "mixed"]

_Hash = NDArray[np.uint64]


def mixed(x: NDArray[np.integer] | _Hash) -> _Hash:
    """Scatter whole numbers over 64 bits, so that sums of them tell multisets apart.

    The finaliser of SplitMix64 (Steele, Lea and Flood, 2014, https://doi.org/10.1145/2660193.2660195).
    """
    y = x.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    y = (y ^ (y >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    y = (y ^ (y >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return y ^ (y >> np.uint64(31))


def bits(x: Floats) -> Ints:
    """Return numbers as what they are stored as."""
    return np.ascontiguousarray(x).view(np.int64)


def alike(keys: NDArray[np.integer] | _Hash) -> Ints:
    """Return the number of each key, the different ones numbered by their first occurrence.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.plan.scalars.grids import alike
    >>> alike(np.array([7, 3, 7, 9]))
    array([0, 1, 0, 2])
    """
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def find_grids(u: Ints, v: Ints) -> list[Ints]:
    """Find rows that are complete grids: every set of left factors with every set of right ones.

    Parameters
    ----------
    u, v : ndarray of int64, (n, k)
        The left and the right factors of n sums of k products.

    Returns
    -------
    list of ndarray of int64, (B, R, C)
        Rows in B grids of R sets of right factors by C sets of left ones. Rows that are in none
        are left out.

    Notes
    -----
    Sums are compared by hashes of the sets of their factors, so what is found must be checked.
    """
    n = len(u)
    column = alike(mixed(u).sum(axis=1, dtype=np.uint64))
    row = alike(mixed(v).sum(axis=1, dtype=np.uint64))
    # Rows with the same set of columns belong to the same grid.
    by_row = np.argsort(row, kind="stable")
    begins = np.flatnonzero(np.diff(row[by_row], prepend=-1))
    width = np.diff(np.append(begins, n))
    columns = np.add.reduceat(mixed(column[by_row]), begins)
    grid = alike(columns ^ mixed(width))
    height = np.bincount(grid)
    breadth = np.zeros_like(height)
    breadth[grid] = width
    mine = grid[row]
    order = np.lexsort((column, row, mine, breadth[mine], height[mine]))
    shape = height[mine[order]] * (n + 1) + breadth[mine[order]]
    grids = []
    for rows in np.split(order, np.flatnonzero(np.diff(shape)) + 1):
        r, c = int(height[mine[rows[0]]]), int(breadth[mine[rows[0]]])
        if r * c > 1 and not len(rows) % (r * c):
            grids.append(rows.reshape(-1, r, c))
    return grids


def aligned(u: Ints, v: Ints) -> tuple[Ints, Ints] | None:
    """Write sums in grids as products of matrices, ``out[b, r, c] = v[b, r] . u[b, c]``.

    Parameters
    ----------
    u, v : ndarray of int64, (B, R, C, k)
        Left and right factors; the k terms of a sum stand in any order.

    Returns
    -------
    (B, C, k) and (B, R, k) ndarray of int64, or None
        The factors of the columns and of the rows; None if it is no such product.
    """
    columns, rows = u[:, 0], v[:, :, 0]
    if bool((u == columns[:, None]).all() and (v == rows[:, :, None]).all()):
        return columns, rows
    # Each row in the order of the first column's left factors, each column in that of the first
    # row's right factors; the cell that both share says how the two orders belong together.
    rows = _sorted(rows, u[:, :, 0])
    columns = _sorted(columns, v[:, 0])
    shared = np.argsort(np.argsort(rows[:, 0], axis=-1), axis=-1)
    columns = np.take_along_axis(columns, shared[:, None], axis=-1)
    order = np.argsort(columns, axis=-1)
    expected = np.take_along_axis(rows[:, :, None], order[:, None], axis=-1)
    ascending = np.take_along_axis(columns, order, axis=-1)
    same = (np.sort(u, axis=-1) == ascending[:, None]).all() and (_sorted(v, u) == expected).all()
    return (columns, rows) if same else None


def _sorted(x: Ints, keys: Ints) -> Ints:
    return np.take_along_axis(x, np.argsort(keys, axis=-1, kind="stable"), axis=-1)
