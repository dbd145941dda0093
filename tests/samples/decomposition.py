"""Samples for tinygrad_nn/rules/decomposition.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .rows import Call, Row, call, r, row

Array = np.ndarray

# Well-conditioned, singular values and eigenvalues well apart.
_A = np.array([[2.1, 0.4, -0.3], [0.5, -1.2, 0.7], [0.2, 0.6, 0.9]])
_B = np.stack([_A, _A.T * 0.7 + 0.1 * np.eye(3)])
_TALL = np.array([[1.3, -0.4], [0.6, 0.9], [-0.2, 1.5], [0.8, 0.3]])
_TALLS = np.stack([_TALL, 0.5 * _TALL[::-1] - 0.2])
_ONE = np.array([[1.7]])
_NONE = np.zeros((0, 2, 2))
_SYMMETRIC = np.array([[2.0, 0.4, -0.3], [0.4, 3.1, 0.5], [-0.3, 0.5, 1.2]])
_SYMMETRICS = np.stack([_SYMMETRIC, 0.6 * _SYMMETRIC[::-1, ::-1]])
_SINGULAR = np.array([[1.0, 2.0, 0.5], [0.3, -0.4, 0.8], [1.3, 1.6, 1.3]])
_RANK_1 = np.outer([1.0, 2.0, 0.5], [0.3, -0.4, 0.8])


def _transposed(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


def _svd(x: Array) -> Array:
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([u, s[..., None, :], _transposed(vh)], axis=-2)


def _qr(x: Array) -> Array:
    q, upper = np.linalg.qr(x)
    return np.concatenate([q, _transposed(upper)], axis=-2)


def _cofactor(x: Array) -> Array:
    y = np.empty(x.shape)
    for *batch, i, j in np.ndindex(x.shape):
        minor = np.delete(np.delete(x[tuple(batch)], i, 0), j, 1)
        y[(*batch, i, j)] = (-1) ** (i + j) * np.linalg.det(minor)
    return y


def _with_values(values_and_vectors: Any) -> Array:
    values, vectors = values_and_vectors
    return np.concatenate([values[..., None], vectors], axis=-1)


#: Rows of primitives that are not elementwise.
ROWS: list[Row] = [
    *[
        row(name, x)
        for name in ("inv", "det", "slogdet", "eig", "eigvals", "svd", "svdvals", "qr", "pinv",
                     "cofactor")
        for x in (_A, _B, _ONE, _NONE)
    ],
    *[
        row(name, x)
        for name in ("svd", "svdvals", "qr", "pinv")
        for x in (_TALL, _TALLS, _TALL.T, np.swapaxes(_TALLS, 1, 2))
    ],
    row("qr", np.zeros((0, 3, 2))),
    row("det", _SINGULAR),
    row("det", np.zeros((0, 0))),
    row("cofactor", _SINGULAR),
    row("cofactor", np.stack([_A, _SINGULAR])),
    *[
        row(name, x)
        for name in ("cholesky", "eigh", "eigvalsh")
        for x in (_SYMMETRIC, _SYMMETRICS, _ONE, _NONE)
    ],
    # Its cotangent is symmetric by convention: see test_linalg.py for what is not 1 by 1.
    row("mirrored", (1, 1)),
    row("mirrored", (2, 1, 1), upper=True),
    row("mirrored", np.arange(9).reshape(3, 3)),
    row("mirrored", np.arange(8).reshape(2, 2, 2), upper=True),
    row("solve", _A, (3,)),
    row("solve", _A, (3, 2)),
    row("solve", _B, (3,)),
    row("solve", _B, (3, 2)),
    row("solve", _B, (2, 3, 2)),
    row("solve", _A, (2, 3, 2)),
    row("solve", _B[:1], (4, 3, 1)),
    row("solve", _ONE, (1,)),
    row("solve", _NONE, (2, 2)),
    row("pinv", _RANK_1.astype(int)),
    *[
        row("matrix_rank", x, **static)
        for x, static in [
            (_A.astype(int), {}),
            (np.ones((2, 3, 3), int), {}),
            (np.eye(3, dtype=int), {"hermitian": True}),
            (np.diag([1, 10, 100]), {"tol": 5.0}),
            (np.diag([1, 10, 100]), {"rtol": 0.5}),
        ]
    ],
    *[
        row("vector_norm", shape, **static)
        for shape, static in [
            ((3,), {}),
            ((), {}),
            ((0,), {}),
            ((2, 3), {}),
            ((2, 3), {"axis": 1}),
            ((2, 3, 2), {"axis": (0, -1), "keepdims": True}),
            ((2, 3), {"ord": 3}),
            ((2, 3), {"ord": 2.5, "axis": 0}),
            ((2, 3), {"ord": 0.5, "keepdims": True}),
            ((2, 3), {"ord": -1, "axis": -1}),
        ]
    ],
    row("vector_norm", np.array([0.0, 1.5, -2.0])),
    row("vector_norm", np.array([0.0, 1.5, -2.0]), ord=4),
]  # fmt: skip

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}

#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {
    "slogdet": lambda x: np.stack(np.linalg.slogdet(x), axis=-1),
    "cofactor": _cofactor,
    "pinv": np.linalg.pinv,
    "cholesky": np.linalg.cholesky,
    "eigh": lambda x: _with_values(np.linalg.eigh(x)),
    "eigvalsh": np.linalg.eigvalsh,
    "eig": lambda x: _with_values(np.linalg.eig(x)),
    "svd": _svd,
    "qr": _qr,
    "mirrored": lambda x, *, upper=False: np.where(
        np.tri(x.shape[-1], k=-1, dtype=bool) == upper, _transposed(x), x
    ) if x.shape[-1] == 1 else _mirrored(x, upper),
    "vector_norm": lambda x, **k: np.linalg.vector_norm(x, **k),
}  # fmt: skip


def _mirrored(x: Array, upper: bool) -> Array:
    y = np.array(x)
    for *batch, i, j in np.ndindex(x.shape):
        if (i < j) != upper and i != j:
            y[(*batch, i, j)] = x[(*batch, j, i)]
    return y


def _plus_transposed(f: Callable[..., Any], **keywords: Any) -> Callable[..., Any]:
    """Return `f` of a symmetric matrix, a sum of any one and its transpose."""

    def of_symmetric(x: Any) -> Any:
        return f(x + np.swapaxes(x, -1, -2) + np.diag(np.arange(x.shape[-1]) * 3.0), **keywords)

    of_symmetric.__qualname__ = f"{f.__name__} of symmetric"
    return of_symmetric


def _gram(f: Callable[..., Any], **keywords: Any) -> Callable[..., Any]:
    """Return `f` of a positive definite matrix."""

    def of_gram(x: Any) -> Any:
        return f(x @ np.swapaxes(x, -1, -2) + np.diag(np.ones(x.shape[-2])), **keywords)

    of_gram.__qualname__ = f"{f.__name__} of Gram matrix"
    return of_gram


def _eig_invariant(x: Any) -> Any:
    """Return what does not depend on the phases of eigenvectors."""
    w, v = np.linalg.eig(x)
    size = np.real(v * np.conjugate(v))
    return w, size


_NORMS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    *[((4,), {"ord": p}) for p in (None, 2, 1, 0, 3, 0.5, -1, -2, np.inf, -np.inf)],
    *[
        ((2, 3), {"ord": p})
        for p in (None, "fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf)
    ],
    *[((2, 3, 2), {"ord": p, "axis": 1}) for p in (None, 2, 1, 0, 3, np.inf, -np.inf)],
    *[
        ((2, 3, 4), {"ord": p, "axis": (2, 0)})
        for p in (None, "fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf)
    ],
    *[
        ((2, 3, 4), {"ord": p, "axis": (0, -1), "keepdims": True})
        for p in ("fro", "nuc", 2, 1, np.inf)
    ],
    ((2, 3, 2), {}),
    ((2, 3, 2), {"keepdims": True}),
    ((2, 3), {"axis": 0, "keepdims": True}),
    ((2, 3), {"axis": (1,)}),
    ((2, 3), {"ord": "nuc", "keepdims": True}),
    ((), {}),
    ((0,), {}),
]  # fmt: skip

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    call(np.linalg.pinv, r(3, 2)),
    call(np.linalg.pinv, r(2, 2, 3)),
    call(np.linalg.pinv, r(3, 2), 1e-3),
    call(np.linalg.pinv, r(3, 2), rtol=None),
    call(np.linalg.pinv, r(3, 2), rtol=1e-10),
    call(np.linalg.pinv, r(1, 1), hermitian=True),
    call(_plus_transposed(np.linalg.pinv, hermitian=True), r(3, 3)),
    call(lambda x, y: np.linalg.pinv(np.outer(x, y), rcond=1e-8), r(3), r(2)),
    call(np.linalg.solve, r(2, 2), [1.0, 2.0]),
    call(np.linalg.solve, [[2.0, 1.0], [0.5, -1.0]], r(2)),
    call(np.linalg.lstsq, r(4, 2), r(4)),
    call(np.linalg.lstsq, r(4, 2), r(4, 3)),
    call(np.linalg.lstsq, r(2, 4), r(2)),
    call(np.linalg.lstsq, r(2, 2), r(2, 1)),
    call(np.linalg.lstsq, r(4, 2), r(4), rcond=1e-5),
    call(np.linalg.lstsq, r(4, 2), [1.0, 2.0, 0.5, -1.0]),
    call(np.linalg.tensorinv, r(4, 2, 2), ind=1),
    call(np.linalg.tensorinv, r(2, 3, 3, 2)),
    call(np.linalg.tensorsolve, r(2, 3, 3, 2), r(2, 3)),
    call(np.linalg.tensorsolve, r(3, 2, 6), r(6), axes=(0, 1)),
    call(np.linalg.slogdet, r(3, 3)),
    call(np.linalg.slogdet, r(2, 2, 2)),
    call(np.linalg.cholesky, r(1, 1, domain=(1.0, 2.0))),
    call(np.linalg.cholesky, r(2, 1, 1, domain=(1.0, 2.0)), upper=True),
    call(_gram(np.linalg.cholesky), r(3, 3)),
    call(_gram(np.linalg.cholesky), r(2, 3, 2)),
    call(_gram(np.linalg.cholesky, upper=True), r(3, 3)),
    call(np.linalg.eigh, r(1, 1)),
    call(np.linalg.eigh, r(2, 1, 1), UPLO="U"),
    call(_plus_transposed(np.linalg.eigh), r(3, 3)),
    call(_plus_transposed(np.linalg.eigh, UPLO="u"), r(3, 3)),
    call(_plus_transposed(np.linalg.eigh), r(2, 2, 2)),
    call(np.linalg.eigvalsh, r(1, 1)),
    call(_plus_transposed(np.linalg.eigvalsh), r(3, 3)),
    call(_plus_transposed(np.linalg.eigvalsh, UPLO="U"), r(2, 3, 3)),
    call(np.linalg.eig, _A),
    call(lambda x: np.linalg.eig(x + _A), r(3, 3, domain=(-0.1, 0.1))),
    call(_eig_invariant, r(3, 3)),
    call(_eig_invariant, r(2, 4, 4)),
    call(np.linalg.eigvals, r(4, 4)),
    call(np.linalg.eig, r(1, 1)),
    *[
        call(np.linalg.svd, r(*shape), full_matrices=False)
        for shape in [(3, 3), (4, 2), (2, 4), (2, 3, 2), (2, 2, 3), (1, 3), (3, 1)]
    ],
    call(np.linalg.svd, r(3, 3)),
    call(np.linalg.svd, r(2, 4), compute_uv=False),
    call(np.linalg.svd, r(1, 1), hermitian=True),
    call(_plus_transposed(np.linalg.svd, hermitian=True), r(3, 3)),
    call(_plus_transposed(np.linalg.svd, hermitian=True, compute_uv=False), r(2, 3, 3)),
    *[
        call(np.linalg.qr, r(*shape), mode=mode)
        for shape, mode in [
            ((3, 3), "reduced"),
            ((4, 2), "reduced"),
            ((2, 4), "reduced"),
            ((2, 3, 2), "reduced"),
            ((2, 2, 3), "reduced"),
            ((3, 3), "complete"),
            ((2, 3), "complete"),
            ((4, 2), "r"),
            ((2, 3), "r"),
        ]
    ],
    *[call(np.linalg.norm, r(*shape), **keywords) for shape, keywords in _NORMS],
    call(np.linalg.norm, r(2, 2), "fro"),
    *[call(np.linalg.norm, r(0, 3), order) for order in (None, 1, 2, np.inf, "nuc")],
    call(np.linalg.norm, r(3, 0), np.inf, keepdims=True),
    call(np.linalg.vector_norm, r(0), ord=np.inf),
    call(np.linalg.vector_norm, r(2, 0), ord=np.inf, axis=1),
    call(np.linalg.norm, r(3), 3, 0),
    call(np.linalg.vector_norm, r(2, 3)),
    call(np.linalg.vector_norm, r(2, 3), ord=np.inf),
    call(np.linalg.vector_norm, r(2, 3, 2), axis=(0, 2), ord=3, keepdims=True),
    call(np.linalg.vector_norm, r(2, 3), axis=-1, ord=1),
    call(np.linalg.matrix_norm, r(2, 3)),
    call(np.linalg.matrix_norm, r(2, 3, 2), ord="nuc"),
    call(np.linalg.matrix_norm, r(2, 3, 2), ord=1, keepdims=True),
    *[
        call(np.linalg.cond, r(2, 2), p)
        for p in (None, 2, -2, "fro", "nuc", 1, -1, np.inf, -np.inf)
    ],
    call(np.linalg.cond, r(2, 3)),
    call(np.linalg.cond, r(2, 3, 3), "fro"),
]  # fmt: skip
