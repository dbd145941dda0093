"""Sums of products side by side, and when they are a product of matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygrad_nn.plan.scalars.graph import Floats, Ints
from tinygrad_nn.plan.scalars.grids import aligned

__all__ = ["Product", "Rows", "product_of", "with_numbers"]


@dataclass
class Rows:
    """n sums of k terms each, as addresses and numbers of shape (n, k)."""

    u: Ints
    v: Ints | None  # None: a single factor
    coefficient: Floats

    def __getitem__(self, rows: Ints) -> Rows:
        v = None if self.v is None else self.v[rows]
        return Rows(self.u[rows], v, self.coefficient[rows])

    @property
    def operands(self) -> list[Ints]:
        """The left factors, and the right ones if there are any."""
        return [self.u] if self.v is None else [self.u, self.v]

    @property
    def is_copy(self) -> bool:
        """Whether each sum is a single node as it is."""
        return self.v is None and self.u.shape[1] == 1 and bool((self.coefficient == 1.0).all())

    def columns(self) -> Iterator[Rows]:
        """Return the terms one by one."""
        for i in range(self.u.shape[1]):
            v = None if self.v is None else self.v[:, i : i + 1]
            yield Rows(self.u[:, i : i + 1], v, self.coefficient[:, i : i + 1])


@dataclass
class Product:
    """Sums ``out[b, r, c] = factor * rows[b, r] . (columns * scale)[b, c]`` as addresses."""

    columns: Ints  # (B, C, k)
    rows: Ints  # (B, R, k)
    numbers: Floats | None = None  # (B, R, k), what stands there instead of rows
    scale: Floats | None = None  # (B, C, k)
    factor: float = 1.0


def with_numbers(segment: Rows) -> Rows:
    """Take the coefficients of single factors for factors, if they differ from sum to sum."""
    c = segment.coefficient
    if (c == c[0]).all():
        return segment
    _, index = np.unique(c, return_inverse=True)
    return Rows(segment.u, index.reshape(c.shape), np.ones_like(c))


def product_of(segment: Rows, grid: tuple[int, int, int]) -> Product | None:
    """Return the two matrices that the sums of a segment are the product of."""
    factors = segment if segment.v is not None else with_numbers(segment)
    if factors.v is None:
        return None
    wide = (*grid, segment.u.shape[1])
    u = factors.u.reshape(wide)
    found = aligned(u, factors.v.reshape(wide))
    if found is None:
        return None
    columns, rows = found
    if segment.v is None:
        # The right factors are numbers, known by their place among the different ones.
        return Product(columns, rows, np.unique(segment.coefficient)[rows])
    scale = segment.coefficient.reshape(wide)
    if (scale == scale.flat[0]).all():
        return Product(columns, rows, factor=float(scale.flat[0]))
    if (u == columns[:, None]).all() and (scale == scale[:, :1]).all():
        return Product(columns, rows, scale=scale[:, 0])
    return None
