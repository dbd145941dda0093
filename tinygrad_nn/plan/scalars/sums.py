"""Sums of a level become matrix products, sums along an axis, or sections of one long vector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinygrad_nn.plan.scalars.affine import Shape, affine
from tinygrad_nn.plan.scalars.draft import NOWHERE, Draft, home_of
from tinygrad_nn.plan.scalars.graph import Floats, Ints, spans
from tinygrad_nn.plan.scalars.grids import alike, bits, find_grids, mixed
from tinygrad_nn.plan.scalars.normalise import ONE, Terms
from tinygrad_nn.plan.scalars.places import Places, different, insist, reading_order
from tinygrad_nn.plan.scalars.products import Product, Rows, product_of, with_numbers

__all__ = ["write_sums"]

#: Groups with fewer terms than this are computed together,
SMALL = 128

#: if there are more of them in a level than this.
FEW_GROUPS = 3

#: So few terms are added one by one.
FEW_TERMS = 4

#: A grid of fewer products than this is not worth a call of its own.
GRID = 64

#: An array that is added to a sum, and what it is multiplied by before.
Part = tuple[int, float]


@dataclass
class _Sums:
    """Sums of terms, as addresses, the terms of each in the order of their sources."""

    nodes: Ints  # (n,)
    offset: Floats  # (n,)
    starts: Ints  # (n,), of the terms of each
    lengths: Ints  # (n,), how many these are
    u: Ints
    v: Ints  # NOWHERE: a single factor
    c: Floats
    source: Ints  # a number for each pair of arrays that factors come from

    def __getitem__(self, mine: Ints) -> _Sums:
        lengths = self.lengths[mine]
        terms = spans(self.starts[mine], self.starts[mine] + lengths)
        starts = np.cumsum(lengths) - lengths
        rows = self.u[terms], self.v[terms], self.c[terms], self.source[terms]
        return _Sums(self.nodes[mine], self.offset[mine], starts, lengths, *rows)

    def keys(self) -> NDArray[np.uint64]:
        """Return a hash of each sum."""
        terms = mixed(mixed(self.u) + mixed(mixed(self.v)) + mixed(mixed(mixed(bits(self.c)))))
        hashes: NDArray[np.uint64] = np.add.reduceat(terms, self.starts)
        return hashes + mixed(bits(self.offset))

    def equals(self, other: _Sums) -> bool:
        """Whether these are the same sums."""
        mine, others = ((x.lengths, x.u, x.v, bits(x.c), bits(x.offset)) for x in (self, other))
        return all(map(np.array_equal, mine, others))

    def segments(self) -> list[Rows]:
        """Return the terms by source; it is the same for all these sums."""
        index = self.starts[:, None] + np.arange(self.lengths[0])
        insist(bool((self.source[index] == self.source[index[0]]).all()))
        cuts = np.flatnonzero(np.diff(self.source[index[0]])) + 1
        return [
            Rows(self.u[i], None if self.v[i[0, 0]] == NOWHERE else self.v[i], self.c[i])
            for i in np.split(index, cuts, axis=1)
        ]


def write_sums(places: Places, terms: Terms, nodes: Ints) -> None:
    """Write the steps that compute sums of products of what has been computed."""
    everything = _sums(places, terms, nodes)
    kept, (twins, models) = different(np.arange(len(nodes)), everything.keys())
    insist(everything[twins].equals(everything[models]))
    small = []
    groups = []
    for group in _by_sources(everything[kept]):
        segments = group.segments()
        first = segments[0]
        if first.is_copy and len(segments) == 1 and not group.offset.any():
            places.address[group.nodes] = places.turn[group.nodes] = first.u[:, 0]
        elif len(segments) > 2 * FEW_TERMS or len(group.u) < SMALL:
            small.append((group, segments))
        else:
            groups.append((group, segments))
    if len(small) <= FEW_GROUPS:
        groups += [(group, rows) for group, rows in small if len(rows) <= 2 * FEW_TERMS]
        small = [(group, rows) for group, rows in small if len(rows) > 2 * FEW_TERMS]
    for group, segments in groups:
        _Writer(places).group(group.nodes, segments, group.offset)
    if small:
        rest = np.isin(everything.nodes, np.concatenate([group.nodes for group, _ in small]))
        _write_sections(places, everything[np.flatnonzero(rest)])
    places.copy(nodes[twins], nodes[models])


def _sums(places: Places, terms: Terms, nodes: Ints) -> _Sums:
    begins, ends = (np.searchsorted(terms.sums, nodes, side) for side in ("left", "right"))
    rows, lengths = spans(begins, ends), ends - begins
    u, v, c = terms.u[rows], terms.v[rows], terms.coefficient[rows]
    double = v != ONE
    swap = double & (places.turn[u] > places.turn[v])
    u, v = np.where(swap, v, u), np.where(swap, u, v)
    first, second = places.turn[u], np.where(double, places.turn[v], NOWHERE)
    u, v = places.address[u], np.where(double, places.address[v], NOWHERE)
    source = (home_of(v) + 1) * len(places.draft.shapes) + home_of(u)
    order = np.lexsort((second, first, source, np.repeat(np.arange(len(nodes)), lengths)))
    starts = np.cumsum(lengths) - lengths
    sorted_rows = u[order], v[order], c[order], source[order]
    return _Sums(nodes, terms.offset[nodes], starts, lengths, *sorted_rows)


def _by_sources(sums: _Sums) -> list[_Sums]:
    """Divide sums by the sources of their terms."""
    kind = alike(np.add.reduceat(mixed(sums.source), sums.starts) + mixed(sums.lengths))
    order = np.argsort(kind, kind="stable")
    return [sums[mine] for mine in np.split(order, np.flatnonzero(np.diff(kind[order])) + 1)]


def _write_sections(places: Places, sums: _Sums) -> None:
    """Compute sums of different lengths from different arrays: all terms in a row."""
    draft = places.draft
    x = draft.read_any(sums.u)
    if (sums.v != NOWHERE).any():
        x = draft.apply(np.multiply, x, draft.read_any(sums.v, np.ones(len(sums.v))))
    if (sums.c != 1.0).any():
        x = draft.apply(np.multiply, x, draft.constant(sums.c))
    if (sums.lengths > 1).any():
        x = draft.emit(np.add.reduceat, (x,), (len(sums.nodes),), sums.starts)
    if sums.offset.any():
        x = draft.apply(np.add, x, draft.constant(sums.offset))
    places.settle(sums.nodes, x, len(sums.nodes))


class _Writer:
    """Writes sums whose terms come from the same arrays."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.draft: Draft = places.draft

    def group(self, nodes: Ints, segments: list[Rows], offset: Floats) -> None:
        """Write them as grids, and what is left by element."""
        left = np.ones(len(nodes), bool)
        for segment in segments:
            factors = segment if segment.v is not None else with_numbers(segment)
            if factors.v is None or segment.u.shape[1] < 2 or len(nodes) < 2:
                continue
            for grid in find_grids(factors.u, factors.v):
                b, r, c = grid.shape
                worth = grid.size * segment.u.shape[1] >= min(GRID, segment.u.size)
                if (b == 1 or min(r, c) > 1) and worth and left[grid].all():
                    left[grid] = not self._grid(nodes, segments, offset, grid)
            if not left.all():
                break
        rows = np.flatnonzero(left)
        if not len(rows):
            return
        segments = [segment[rows] for segment in segments]
        nodes, offset = nodes[rows], offset[rows]
        vectors = [x[:, 0] for segment in segments for x in segment.operands]
        vectors += [x[:, -1] for segment in segments for x in segment.operands]
        order = reading_order(vectors)
        shape = self.places.shape([x[order] for x in vectors])
        parts = [p for segment in segments for p in self._elements(segment[order], shape)]
        x = self._total(parts, offset[order], shape)
        self.places.settle(nodes[order], x, len(nodes))

    def _grid(self, nodes: Ints, segments: list[Rows], offset: Floats, grid: Ints) -> bool:
        """Compute sums in grids of rows (samples) by columns (units); say whether they are that."""
        b, r, c = grid.shape
        shape = tuple(n for n in grid.shape if n > 1)
        rows = grid.ravel()
        parts: list[Part] = []
        plans = [product_of(segment[rows], (b, r, c)) for segment in segments]
        if all(plan is None for plan in plans):
            return False
        for segment, plan in zip(segments, plans, strict=True):
            if plan is None:
                parts += self._elements(segment[rows], shape)
            else:
                parts.insert(0, self._matmul(plan, (b, r, c)))
        x = self._total(parts, offset[rows], shape)
        self.places.settle(nodes[rows], x, len(rows))
        by_unit = np.arange(grid.size).reshape(b, c, r).swapaxes(1, 2).ravel()
        self.places.turn[nodes[rows]] = self.draft.addresses(x)[by_unit]
        return True

    def _matmul(self, product: Product, grid: tuple[int, int, int]) -> Part:
        draft = self.draft
        b, r, c = grid
        k = product.columns.shape[-1]
        # A vector where there is a single row or column.
        outer = () if b == 1 else (b,)
        left = (*outer, r, k) if r > 1 else (k,)
        right = (*outer, k, c) if c > 1 else (k,)
        both = (-1, -2)
        if product.numbers is not None:
            x = draft.constant(product.numbers.reshape(left), both)
        else:
            x = draft.read(product.rows.reshape(left), both)
        y = draft.read(product.columns.swapaxes(1, 2).reshape(right), both)
        if product.scale is not None:
            weights = draft.constant(product.scale.swapaxes(1, 2).reshape(right))
            y = draft.apply(np.multiply, y, weights)
        x = draft.emit(np.matmul, (x, y), (*outer, *(n for n in (r, c) if n > 1)))
        draft.steps[-1].note = _note(b * r * c, k)
        return x, product.factor

    def _elements(self, segment: Rows, shape: Shape) -> list[Part]:
        """Compute what a segment adds to sums, element by element; its rows are of `shape`."""
        draft = self.draft
        k = segment.u.shape[1]
        c = segment.coefficient
        if k > FEW_TERMS or (k > 1 and self._is_view(segment, shape) and (c == c[0]).all()):
            wide = (*shape, k)
            x = draft.read(segment.u.reshape(wide), keep=(-1,))
            even = bool((c == c.flat[0]).all())
            weights = None if even else c.reshape(wide)
            factor = float(c.flat[0]) if even else 1.0
            if segment.v is not None:
                y = draft.read(segment.v.reshape(wide), keep=(-1,))
                if weights is not None:
                    y = draft.apply(np.multiply, y, draft.constant(weights))
                if len(draft.shapes[x]) == len(draft.shapes[y]) == 1:
                    dot = draft.emit(np.matmul, (x, y), ())
                    draft.steps[-1].note = _note(1, k)
                    return [(dot, factor)]
                x = draft.apply(np.multiply, x, y)
            elif weights is not None and (c == c[0]).all():
                y = draft.constant(c[0], keep=(-1,))
                return [(draft.emit(np.matmul, (x, y), draft.shapes[x][:-1]), 1.0)]
            elif weights is not None:
                x = draft.apply(np.multiply, x, draft.constant(weights))
            total = draft.emit(np.sum, (x,), draft.shapes[x][:-1], -1)
            draft.steps[-1].note = _note(math.prod(draft.shapes[total]), k)
            return [(total, factor)]
        parts = []
        for column in segment.columns():
            x = draft.read(column.u.reshape(shape))
            if column.v is not None:
                x = draft.apply(np.multiply, x, draft.read(column.v.reshape(shape)))
            c = column.coefficient
            if (c == c[0]).all():
                parts.append((x, float(c[0, 0])))
            else:
                weights = c.reshape(shape)
                parts.append((draft.apply(np.multiply, x, draft.constant(weights)), 1.0))
        return parts

    def _is_view(self, segment: Rows, shape: Shape) -> bool:
        """Whether all factors of a segment can be read without a copy."""
        wide = (*shape, segment.u.shape[1])
        found = [affine(x.reshape(wide)) for x in segment.operands]
        return all(fit is not None and fit[1][-1] != 0 for fit in found)

    def _total(self, parts: list[Part], offset: Floats, shape: Shape) -> int:
        """Add up, and an offset of each sum, a number or as many as there are sums."""
        draft = self.draft
        # A subtraction needs something to be subtracted from.
        parts = sorted(parts, key=lambda part: part[1] == -1.0)
        x, factor = parts[0]
        shifted = bool(offset.any())
        if factor == -1.0 and shifted:
            x = draft.apply(np.subtract, draft.constant(offset.reshape(shape)), x)
            shifted = False
        elif factor != 1.0:
            x = draft.apply(np.multiply, x, draft.number(factor))
        for y, factor in parts[1:]:
            if factor in (1.0, -1.0):
                x = draft.apply(np.add if factor == 1.0 else np.subtract, x, y)
            else:
                x = draft.apply(np.add, x, draft.apply(np.multiply, y, draft.number(factor)))
        if shifted:
            x = draft.apply(np.add, x, draft.constant(offset.reshape(shape)))
        return x


def _note(sums: int, k: int) -> str:
    return f"{sums:,} sum{'s' * (sums != 1)} of {k:,} terms"
