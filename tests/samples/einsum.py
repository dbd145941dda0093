"""Samples for tinygrad_nn/rules/einsum.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .rows import Call, Row, call, r, row

_TERMS: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
    ("ij,jk->ik", ((2, 3), (3, 4))),
    ("ij->ji", ((2, 3),)),
    ("ij->", ((2, 3),)),
    ("ij->i", ((2, 3),)),
    ("i->i", ((3,),)),
    ("->", ((),)),
    (",i->i", ((), (3,))),
    # a letter twice: traces and diagonals
    ("ii->", ((3, 3),)),
    ("ii->i", ((3, 3),)),
    ("iij->j", ((2, 2, 3),)),
    ("iji->ij", ((2, 3, 2),)),
    ("iiijj->j", ((2, 2, 2, 3, 3),)),
    ("iij,jk->k", ((2, 2, 3), (3, 2))),
    # a letter of one operand alone
    ("ij,k->k", ((2, 3), (4,))),
    ("iijk,k->", ((2, 2, 3, 2), (2,))),
    # products
    ("i,i->", ((3,), (3,))),
    ("i,j->ij", ((2,), (3,))),
    ("i,i->i", ((3,), (3,))),
    ("bij,bjk->bik", ((2, 2, 3), (2, 3, 2))),
    ("ij,jk,kl->il", ((2, 3), (3, 2), (2, 4))),
    ("i,ij,j->", ((2,), (2, 3), (3,))),
    ("ii,ij,kk->j", ((2, 2), (2, 3), (2, 2))),
    # axes of length 1 are broadcast
    ("i,i->i", ((1,), (3,))),
    ("ij,ij->", ((1, 3), (2, 1))),
    ("i,i,i->", ((3,), (1,), (1,))),
    ("ij,jk->ik", ((2, 0), (0, 3))),
    ("ij->j", ((0, 3),)),
]

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = [
    *[row("einsum", *shapes, subscripts=subscripts) for subscripts, shapes in _TERMS],
    *[
        row("einsum", *shapes, subscripts=subscripts, optimize=True)
        for subscripts, shapes in _TERMS[13:21]
    ],
]

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}

#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {
    "einsum": lambda *xs, subscripts, optimize=False: np.einsum(subscripts, *xs),
}

_E = Ellipsis

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    call(np.einsum, "ij,jk", r(2, 3), r(3, 4)),
    call(np.einsum, "ba", r(2, 3)),
    call(np.einsum, "bA", r(2, 3)),
    call(np.einsum, "ii", r(3, 3)),
    call(np.einsum, " i j , j -> i ", r(2, 3), r(3)),
    call(np.einsum, "...", r(2, 3)),
    call(np.einsum, "...i->i...", r(2, 2, 3)),
    call(np.einsum, "...ij,...jk->...ik", r(2, 2, 3), r(3, 2)),
    call(np.einsum, "...ij,...jk", r(2, 1, 2, 3), r(4, 3, 2)),
    call(np.einsum, "i...,i...", r(2, 3), r(2, 4, 3)),
    call(np.einsum, "...,...", r(3), r()),
    call(np.einsum, "i...i->...", r(2, 3, 2)),
    call(np.einsum, "...ii->...i", r(2, 3, 3)),
    call(np.einsum, "ij,...j->i...", r(2, 3), r(3)),
    call(np.einsum, "i,->i", r(3), 2.5),
    call(np.einsum, "i,i", [1.0, 2.0], r(2)),
    call(np.einsum, "ij,jk,kl->il", r(2, 3), r(3, 2), r(2, 2), optimize=True),
    call(np.einsum, "ij,jk,kl->il", r(2, 3), r(3, 2), r(2, 2), optimize="optimal"),
    call(
        np.einsum, "ij,jk,kl->il", r(2, 3), r(3, 2), r(2, 2),
        optimize=["einsum_path", (0, 1), (0, 1)],
    ),
    call(np.einsum, "ij->j", r(2, 3), order="K"),
    call(np.einsum, r(2, 3), [0, 1]),
    call(np.einsum, r(2, 3), [1, 0]),
    call(np.einsum, r(2, 3), [0, 1], r(3, 2), [1, 2]),
    call(np.einsum, r(2, 3), [0, 1], r(3, 2), [1, 2], [2, 0]),
    call(np.einsum, r(2, 3, 3), [_E, 1, 1], [_E]),
    call(np.einsum, r(3), [30], r(3), [30], []),
]  # fmt: skip
