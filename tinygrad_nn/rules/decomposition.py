"""Inverses, determinants, decompositions and norms of matrices, batched over leading axes.

Formulas: M. B. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008), doi:10.1007/978-3-540-68942-3_4; G. H. Golub and V. Pereyra, SIAM J. Numer.
Anal. 10 (1973), doi:10.1137/0710036 (pseudo-inverse); I. Murray, arXiv:1602.07527 (Cholesky);
S. F. Walter and L. Lehmann, arXiv:1001.1654, and D. A. O. Roberts and L. R. Roberts,
arXiv:2009.10071 (QR); M. Seeger et al., arXiv:1710.08717 (eigenvalues, SVD); Z.-Q. Wan and
S.-X. Zhang, arXiv:1909.02659 (complex SVD).

Conventions. What reads one triangle of a symmetric matrix (`eigh`, `cholesky`) has the derivative
of the same function of ``(a + a^T) / 2``: a symmetric gradient, as in PyTorch and JAX, and a
numerical one has to move both triangles together. Eigenvectors and singular vectors are determined
up to a sign (a phase, if complex), and the functions of them that have a derivative do not depend
on it. Where two eigenvalues or singular values coincide, their vectors have no derivative: a
function of the values alone still has its first one, all others get inf or nan.

A result in several parts is one node: its primitive packs them into one array, and the function of
NumPy's name takes it apart.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.assumption import assume
from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.complex import conj
from tinygrad_nn.rules.elementwise import (
    equal,
    floating,
    into,
    keep,
    logical_and,
    logical_or,
    sign,
    where,
)
from tinygrad_nn.rules.linalg import _T
from tinygrad_nn.rules.reduction import Axis, _expand
from tinygrad_nn.rules.shape import broadcast_to, converted, inexact, shaped, sum_to

Mask = npt.NDArray[np.bool_]


def _lapack(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Serve `out`, and half precision, of which NumPy's linear algebra knows nothing."""

    @wraps(forward)
    def wrapped(*xs: Any, out: Any = None, **static: Any) -> Any:
        arrays = [np.asarray(x) for x in xs]
        if not any(x.dtype.char == "e" for x in arrays):
            return into(forward(*arrays, **static), out)
        single = [x.astype(np.float32) if x.dtype.char == "e" else x for x in arrays]
        y = np.asarray(forward(*single, **static))
        return into(y.astype(np.float16) if y.dtype == np.float32 else y, out)

    return wrapped


@lru_cache(maxsize=32)
def _eye(n: int) -> Mask:
    mask = np.eye(n, dtype=bool)
    mask.flags.writeable = False
    return mask


@lru_cache(maxsize=32)
def _lower(n: int, m: int, k: int = 0) -> Mask:
    mask = np.tri(n, m, k, dtype=bool)
    mask.flags.writeable = False
    return mask


def _H(x: Any) -> Any:  # noqa: N802  # the usual letter for the adjoint
    return conj(_T(x))


def _rows(v: Any) -> Any:
    """Make the elements of `v` factors of the rows of a matrix."""
    return np.expand_dims(v, -1)


def _columns(v: Any) -> Any:
    """Make the elements of `v` factors of the columns of a matrix."""
    return np.expand_dims(v, -2)


def _both(v: Any) -> Any:
    """Make numbers factors of whole matrices."""
    return np.expand_dims(v, (-2, -1))


def _quotient(a: Any, b: Any) -> Any:
    """Return a / b, and 0 for 0 / 0: where vectors of the singular value 0 are not used."""
    return a / where(logical_and(equal(a, 0.0), equal(b, 0.0)), 1.0, b)


def _gaps(v: Any) -> Any:
    """Return v_j - v_i in row i, column j."""
    return _columns(v) - _rows(v)


def _over(gaps: Any, m: Any, turned: Any) -> Any:
    """Return ``(m - turned) / gaps`` off the diagonal, 0 on it.

    And 0 where all three are 0: between vectors of equal values that the result does not use.
    """
    n = m.shape[-1]
    unused = logical_and(equal(m, 0.0), equal(turned, 0.0))
    blank = logical_or(_eye(n), logical_and(unused, equal(gaps, 0.0)))
    return keep(~_eye(n), m - turned) / where(blank, 1.0, gaps)


def _real_part(x: Any) -> Any:
    """Return the real part; of real numbers without a node."""
    return np.real(x) if np.iscomplexobj(x) else x


def _from_lower(x: Any) -> Any:
    """Return the Hermitian matrix that has the lower triangle of `x`, and its real diagonal."""
    n = x.shape[-1]
    low = keep(_lower(n, n, -1), x)
    return low + _H(low) + keep(_eye(n), _real_part(x))


def _check_square(x: Any) -> Any:
    x = inexact(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise np.linalg.LinAlgError(
            f"the last two dimensions of the array must be square, got shape {x.shape}"
        )
    return x


# --- inverses and linear systems -----------------------------------------------------------------


@primitive(numpy=[np.linalg.inv], rules=[lambda g, y, x: -(_T(y) @ g @ _T(y))], domain=(REAL,))
@_lapack
def inv(x: Any, *, out: Any = None) -> Any:
    """Inverse of square matrices."""
    return np.linalg.inv(x)


def _solve_matrix(g: Any, y: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1:
        g, y = _rows(g), _rows(y)
    return sum_to(-(solve(_T(a), g) @ _T(y)), shape=a.shape)


def _solve_right(g: Any, y: Any, a: Any, b: Any) -> Any:
    c = solve(_T(a), _rows(g))[..., 0] if b.ndim == 1 else solve(_T(a), g)
    return sum_to(c, shape=b.shape)


@primitive(numpy=[np.linalg.solve], rules=[_solve_matrix, _solve_right], domain=(REAL, REAL))
@_lapack
def solve(a: Any, b: Any, *, out: Any = None) -> Any:
    """Solve ``a x = b``; `b` is a vector if it has one dimension, else matrices."""
    return np.linalg.solve(a, b)


def _pinv_rule(g: Any, y: Any, x: Any, **static: Any) -> Any:
    t = _T(g)
    range_, domain = t - x @ (y @ t), t - (t @ y) @ x
    return conj(range_ @ (y @ _H(y)) + (_H(y) @ y) @ domain) - _T(y) @ g @ _T(y)


@primitive(rules=[_pinv_rule], domain=(REAL,))
@_lapack
def pinv(x: Any, *, rcond: Any = None, out: Any = None) -> Any:
    """Pseudo-inverse; its derivative is that at constant rank."""
    return np.linalg.pinv(x, rcond=rcond)


@implements(np.linalg.pinv)
def _np_pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Any:
    a = _check_square(a) if hermitian else shaped(a)
    if rtol is not np._NoValue:
        if rcond is not None:
            raise ValueError("`rtol` and `rcond` can't be both set.")
        rcond = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps) if rtol is None else rtol
    return pinv(mirrored(a) if hermitian else a, rcond=rcond)


@implements(np.linalg.lstsq)
def _lstsq(a: Any, b: Any, rcond: float | None = None) -> tuple[Any, Any, Any, Any]:
    a, b = inexact(a), inexact(b)
    if a.ndim != 2 or b.ndim not in (1, 2) or len(a) != len(b):
        raise np.linalg.LinAlgError(
            f"lstsq takes a matrix and one or more right-hand sides of its length, got shapes "
            f"{a.shape} and {b.shape}"
        )
    m, n = a.shape
    dtype = np.result_type(a, b)
    a, b = converted(a, dtype), converted(b, dtype)
    if rcond is None:
        rcond = float(np.finfo(dtype).eps) * max(m, n)
    x = pinv(a, rcond=rcond) @ b
    s = svdvals(a)
    rank = np.sum(s > rcond * np.max(s), axis=0).astype(np.intc) if min(m, n) else np.intc(0)
    if m > n and assume(rank == n):
        misfit = a @ x - b
        residuals = _real_part(np.sum(conj(misfit) * misfit, axis=0, keepdims=b.ndim == 1))
    else:
        residuals = np.zeros(0, x.real.dtype)
    return x, residuals, rank, s


@implements(np.linalg.tensorinv)
def _tensorinv(a: Any, ind: int = 2) -> Any:
    if ind <= 0:
        raise ValueError("Invalid ind argument.")
    rows, columns = a.shape[:ind], a.shape[ind:]
    return np.reshape(inv(np.reshape(a, (math.prod(rows), -1))), (*columns, *rows))


@implements(np.linalg.tensorsolve)
def _tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    a, b = shaped(a), shaped(b)
    if axes is not None:
        a = np.moveaxis(a, tuple(axes), tuple(range(a.ndim - len(axes), a.ndim)))
    shape = a.shape[b.ndim :]
    n = math.prod(shape)
    if a.size != n * n:
        raise np.linalg.LinAlgError(
            f"tensorsolve: shapes {a.shape} and {b.shape} make no square system: "
            f"{a.size // max(n, 1)} equations for {n} unknowns"
        )
    return np.reshape(solve(np.reshape(a, (n, n)), np.ravel(b)), shape)


# --- determinants --------------------------------------------------------------------------------


@primitive(numpy=[np.linalg.det], rules=[lambda g, y, x: _both(g) * cofactor(x)], domain=(REAL,))
@_lapack
def det(x: Any, *, out: Any = None) -> Any:
    """Return the determinant."""
    return np.linalg.det(x)


def _pair(n: int) -> Mask:
    """Return at [i, j, k] whether k is i or j."""
    eye = _eye(n)
    return eye[:, None, :] | eye[None, :, :]


def _well_conditioned(x: Any) -> bool:
    try:
        inverse = np.linalg.inv(x)
    except np.linalg.LinAlgError:
        return False
    condition = np.linalg.norm(x, axis=(-2, -1)) * np.linalg.norm(inverse, axis=(-2, -1))
    return bool(np.all(condition <= x.shape[-1] * np.finfo(inverse.dtype).eps ** -0.25))


def _orientation(u: Any, vh: Any) -> Any:
    return _both(np.rint(det(u) * det(vh)))


def _cofactor_rule(g: Any, y: Any, x: Any) -> Any:
    """Differentiate in the basis of singular vectors, where the matrix of cofactors is diagonal."""
    if np.iscomplexobj(x):
        raise NotDifferentiableError(
            "np.linalg.det of a complex matrix has a first derivative alone here; higher ones are "
            "those of the product of np.linalg.slogdet's sign and np.exp of its logarithm"
        )
    n = x.shape[-1]
    u, s, v = _svd_parts(svd(x), n)
    g = _orientation(u, v) * (_T(u) @ g @ v)
    # Row i, column j: the product of all singular values but those two.
    others = np.prod(where(_pair(n), 1.0, np.expand_dims(s, (-3, -2))), axis=-1)
    others = keep(~_eye(n), others)
    diagonal = others @ _rows(np.sum(keep(_eye(n), g), axis=-1))
    return u @ (keep(_eye(n), broadcast_to(diagonal, shape=g.shape)) - _T(others * g)) @ _T(v)


@primitive(rules=[_cofactor_rule], domain=(REAL,))
@_lapack
def cofactor(x: Any, *, out: Any = None) -> Any:
    """Matrix of cofactors, the gradient of the determinant: of singular matrices too.

    The determinant times the transposed inverse where that is accurate, else the cofactors of the
    singular values in the basis of singular vectors, which divide by nothing. Where an element is
    nan or infinite, all are nan.
    """
    if _well_conditioned(x):
        return np.expand_dims(np.linalg.det(x), (-2, -1)) * _T(np.linalg.inv(x))
    finite = np.isfinite(x).all(axis=(-2, -1), keepdims=True)
    u, s, vh = np.linalg.svd(np.where(finite, x, 0.0))
    others = np.where(_eye(x.shape[-1]), 1.0, _columns(s)).prod(axis=-1)
    turn = np.expand_dims(np.linalg.det(u) * np.linalg.det(vh), (-2, -1))
    y = turn * (np.conj(u) * _columns(others)) @ np.conj(vh)
    return np.where(finite, y, np.nan)


def _slogdet_rule(g: Any, y: Any, x: Any) -> Any:
    factor = g[..., 1]
    if np.iscomplexobj(x):  # the sign, of absolute value 1, turns
        factor = np.real(factor) + 1j * np.imag(g[..., 0] * y[..., 0])
    return _both(factor) * _T(inv(x))


@primitive(rules=[_slogdet_rule], domain=(REAL,))
@_lapack
def slogdet(x: Any, *, out: Any = None) -> Any:
    """Sign and logarithm of the absolute value of the determinant, on a new last axis."""
    return np.stack(np.linalg.slogdet(x), axis=-1)


_SlogdetResult: Any = type(np.linalg.slogdet(np.eye(1)))


@implements(np.linalg.slogdet)
def _np_slogdet(a: Any) -> Any:
    y = slogdet(a)
    return _SlogdetResult(y[..., 0], _real_part(y[..., 1]))


# --- symmetric matrices --------------------------------------------------------------------------


@primitive(rules=[lambda g, y, x, *, upper=False: 0.5 * (g + _H(g))], domain=(REAL,))
def mirrored(x: Any, *, upper: bool = False, out: Any = None) -> Any:
    """Return the symmetric (Hermitian) matrix of which `x` has the lower or the upper triangle.

    By convention the cotangent is shared by both triangles: the derivative is that of
    ``(x + x^T) / 2``, which is the same matrix if `x` is symmetric.
    """
    x = np.asarray(x)
    y = np.triu(x) if upper else np.tril(x)
    return into(y + _H(np.triu(x, 1) if upper else np.tril(x, -1)), out)


def _symmetric(x: Any) -> Any:
    return 0.5 * (x + _H(x))


def _cholesky_rule(g: Any, y: Any, x: Any) -> Any:
    return 0.5 * _T(solve(_H(y), _T(solve(_T(y), _from_lower(_T(y) @ g)))))


@primitive(rules=[_cholesky_rule], domain=(REAL,))
@_lapack
def cholesky(x: Any, *, out: Any = None) -> Any:
    """Lower triangular L with ``L L^T = (x + x^T) / 2``, positive definite."""
    return np.linalg.cholesky(_symmetric(x))


@implements(np.linalg.cholesky)
def _np_cholesky(a: Any, /, *, upper: bool = False) -> Any:
    y = cholesky(mirrored(_check_square(a), upper=upper))
    return _H(y) if upper else y


def _eigh_rule(g: Any, y: Any, x: Any, *, UPLO: str = "L") -> Any:  # noqa: N803  # NumPy's name
    w, v = y[..., 0], y[..., 1:]
    m = _T(v) @ g[..., 1:]
    inner = 0.5 * _over(_gaps(w), m, _H(m)) + keep(_eye(x.shape[-1]), _rows(_real_part(g[..., 0])))
    return conj(v) @ inner @ _T(v)


@primitive(rules=[_eigh_rule], domain=(REAL,))
@_lapack
def eigh(x: Any, *, UPLO: Any = "L", out: Any = None) -> Any:  # noqa: N803  # NumPy's name
    """Eigenvalues (first column) and eigenvectors of ``(x + x^T) / 2``."""
    w, v = np.linalg.eigh(_symmetric(x), UPLO)  # which has a say in the signs
    return np.concatenate([w[..., None], v], axis=-1)


def _eigvalsh_rule(g: Any, y: Any, x: Any) -> Any:
    v = eigh(x)[..., 1:]
    return (conj(v) * _columns(g)) @ _T(v)


@primitive(rules=[_eigvalsh_rule], domain=(REAL,))
@_lapack
def eigvalsh(x: Any, *, out: Any = None) -> Any:
    """Eigenvalues of ``(x + x^T) / 2``, ascending."""
    return np.linalg.eigvalsh(_symmetric(x))


_EighResult: Any = type(np.linalg.eigh(np.eye(1)))


def _from_triangle(a: Any, UPLO: str) -> Any:  # noqa: N803  # NumPy's name
    if UPLO.upper() not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    return mirrored(_check_square(a), upper=UPLO.upper() == "U")


@implements(np.linalg.eigh)
def _np_eigh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803  # NumPy's name
    y = eigh(_from_triangle(a, UPLO), UPLO=UPLO)
    return _EighResult(_real_part(y[..., 0]), y[..., 1:])


@implements(np.linalg.eigvalsh)
def _np_eigvalsh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803  # NumPy's name
    return eigvalsh(_from_triangle(a, UPLO))


# --- eigenvalues of any matrix -------------------------------------------------------------------


def _eig_rule(g: Any, y: Any, x: Any) -> Any:
    w, v = y[..., 0], y[..., 1:]
    gw, gv = g[..., 0], g[..., 1:]
    # Each column has length 1.
    gv = gv - conj(v) * _columns(_real_part(np.sum(gv * v, axis=-2)))
    m = _T(v) @ gv
    inner = _over(_gaps(w), m, 0.0) + keep(_eye(x.shape[-1]), _rows(gw))
    return solve(_T(v), inner @ _T(v))


@primitive(rules=[_eig_rule], domain=(REAL,))
@_lapack
def eig(x: Any, *, out: Any = None) -> Any:
    """Eigenvalues (first column) and eigenvectors; complex unless all eigenvalues are real."""
    w, v = np.linalg.eig(x)
    return np.concatenate([w[..., None], v], axis=-1)


def _eigvals_rule(g: Any, y: Any, x: Any) -> Any:
    v = eig(x)[..., 1:]
    return solve(_T(v), _rows(g) * _T(v))


@primitive(numpy=[np.linalg.eigvals], rules=[_eigvals_rule], domain=(REAL,))
@_lapack
def eigvals(x: Any, *, out: Any = None) -> Any:
    """Eigenvalues; complex unless all are real."""
    return np.linalg.eigvals(x)


_EigResult: Any = type(np.linalg.eig(np.eye(1)))


@implements(np.linalg.eig)
def _np_eig(a: Any) -> Any:
    y = eig(_check_square(a))
    return _EigResult(y[..., 0], y[..., 1:])


# --- singular values -----------------------------------------------------------------------------


def _svd_parts(y: Any, m: int) -> tuple[Any, Any, Any]:
    return y[..., :m, :], y[..., m, :], y[..., m + 1 :, :]


def _svd_rule(g: Any, y: Any, x: Any) -> Any:
    m, n = x.shape[-2:]
    u, s, v = _svd_parts(y, m)
    gu, gs, gv = _svd_parts(g, m)
    s, gs = _real_part(s), _real_part(gs)
    p, q = _T(u) @ gu, _T(v) @ gv
    gaps = _gaps(s) * (_columns(s) + _rows(s))
    inner = _over(gaps, p, _H(p)) * _columns(s) + _rows(s) * _over(gaps, q, _H(q))
    inner = inner + keep(_eye(s.shape[-1]), _rows(gs * sign(s)))
    if np.iscomplexobj(x):  # a phase that U and V share
        inner = inner + keep(_eye(s.shape[-1]), _quotient(0.5 * (conj(q) - q), _columns(s)))
    total = conj(u) @ inner @ _T(v)
    if m > n:
        total = total + _quotient(gu - conj(u) @ p, _columns(s)) @ _T(v)
    if m < n:
        total = total + conj(u) @ _H(_quotient(gv - conj(v) @ q, _columns(s)))
    return total


@primitive(rules=[_svd_rule], domain=(REAL,))
@_lapack
def svd(x: Any, *, out: Any = None) -> Any:
    """Reduced singular value decomposition: U, the row of singular values, V, from the top."""
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([u, s[..., None, :], _H(vh)], axis=-2)


def _svdvals_rule(g: Any, y: Any, x: Any) -> Any:
    u, s, v = _svd_parts(svd(x), x.shape[-2])
    return (conj(u) * _columns(g * sign(_real_part(s)))) @ _T(v)


@primitive(numpy=[np.linalg.svdvals], rules=[_svdvals_rule], domain=(REAL,))
@_lapack
def svdvals(x: Any, *, out: Any = None) -> Any:
    """Singular values, descending; the subgradient of one that is 0 is 0."""
    return np.linalg.svdvals(x)


_SVDResult: Any = type(np.linalg.svd(np.eye(1)))


@implements(np.linalg.svd)
def _np_svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    a = shaped(a)
    if hermitian:
        w, v = _np_eigh(a)
        order = np.argsort(np.abs(w), axis=-1)[..., ::-1]
        w = np.take_along_axis(w, order, axis=-1)
        if not compute_uv:
            return np.abs(w)
        u = np.take_along_axis(v, _columns(order), axis=-1)
        return _SVDResult(u, np.abs(w), _H(u * _columns(sign(w))))
    if not compute_uv:
        return svdvals(a)
    m, n = a.shape[-2:] if a.ndim > 1 else (0, 0)
    if full_matrices and m != n:
        raise NotDifferentiableError(
            f"np.linalg.svd(..., full_matrices=True) of matrices of shape {(m, n)}: the singular "
            f"vectors beyond the first {min(m, n)} are arbitrary and have no derivative. Pass "
            f"full_matrices=False"
        )
    u, s, v = _svd_parts(svd(a), m)
    return _SVDResult(u, _real_part(s), _H(v))


@primitive(numpy=[np.linalg.matrix_rank], rules=[None])
@_lapack
def matrix_rank(
    x: Any, *, tol: Any = None, hermitian: bool = False, rtol: Any = None, out: Any = None
) -> Any:
    """Count the singular values above a threshold; constant."""
    return np.asarray(np.linalg.matrix_rank(x, tol=tol, hermitian=hermitian, rtol=rtol))


# --- QR ------------------------------------------------------------------------------------------


def _qr_rule(g: Any, y: Any, x: Any) -> Any:
    m, n = x.shape[-2:]
    k = min(m, n)
    q, r, gq = y[..., :m, :], _T(y[..., m:, :]), g[..., :m, :]
    gr = keep(_lower(n, k).T, _T(g[..., m:, :]))
    if m < n:  # The columns beyond the first m are Q^T x.
        gq = gq + conj(x[..., m:]) @ _H(gr[..., m:])
    square = r[..., :k]
    inner = _from_lower(conj(square) @ _H(gr[..., :k]) - _H(gq) @ conj(q))
    first = _T(solve(square, _T(gq + conj(q) @ inner)))
    return np.concatenate([first, conj(q) @ gr[..., m:]], axis=-1) if m < n else first


@primitive(rules=[_qr_rule], domain=(REAL,))
@_lapack
def qr(x: Any, *, out: Any = None) -> Any:
    """Reduced QR decomposition: Q, and below it the transpose of R."""
    q, r = np.linalg.qr(x)
    return np.concatenate([q, _T(r)], axis=-2)


_QRResult: Any = type(np.linalg.qr(np.eye(1)))


@implements(np.linalg.qr)
def _np_qr(a: Any, mode: str = "reduced") -> Any:
    a = shaped(a)
    if a.ndim < 2:
        raise np.linalg.LinAlgError(f"qr takes matrices, got an array of shape {a.shape}")
    m, n = a.shape[-2:]
    if mode not in ("reduced", "complete", "r") or (mode == "complete" and m > n):
        raise NotDifferentiableError(
            f"np.linalg.qr(..., mode={mode!r}) of matrices of shape {(m, n)} has no derivative "
            f"rule; use mode='reduced' or 'r'"
        )
    y = qr(a)
    r = _T(y[..., m:, :])
    return r if mode == "r" else _QRResult(y[..., :m, :], r)


# --- norms ---------------------------------------------------------------------------------------


def _vector_norm_rule(
    g: Any, y: Any, x: Any, *, ord: float = 2, axis: Axis = None, keepdims: bool = False
) -> Any:
    """Return g sign(x) (|x| / y)^(p-1), and the subgradient 0 where x or y is 0."""
    g, y = _expand(g, x, axis, keepdims), _expand(y, x, axis, keepdims)
    origin = equal(y, 0.0)
    y = where(origin, 1.0, y)
    if ord == 2:
        return g * where(origin, 0.0, conj(x) / y)
    zero = equal(x, 0.0)
    x = where(zero, 1.0, x)
    size = np.abs(x)
    return g * where(zero, 0.0, conj(x) / size * (size / y) ** (ord - 1.0))


@primitive(rules=[_vector_norm_rule], domain=(REAL,))
@_lapack
def vector_norm(
    x: Any, *, ord: float = 2, axis: Axis = None, keepdims: Any = False, out: Any = None
) -> Any:
    """Take the p-th root of the sum of p-th powers over `axis`; p is no infinity, 0 or 1."""
    x = floating(x)
    if ord != 2:
        return np.add.reduce(np.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1.0 / ord)
    squares = x.real * x.real + x.imag * x.imag if x.dtype.kind == "c" else x * x
    return np.sqrt(np.add.reduce(squares, axis=axis, keepdims=keepdims))


def _largest(sizes: Any, **keywords: Any) -> Any:
    """Return the maximum of absolute values, which of none is 0."""
    return np.max(sizes, **keywords) if sizes.size else np.max(sizes, initial=0.0, **keywords)


#: Vector norms that are a sum or an extremum of absolute values.
_SIMPLE: dict[Any, Any] = {1: np.sum, math.inf: _largest, -math.inf: np.min}


def _vector(x: Any, ord: Any, axis: Axis, keepdims: bool) -> Any:
    if isinstance(ord, str):
        raise ValueError(f"Norm order '{ord}' is not supported for vectors")
    order = 2 if ord is None else ord
    if order == 0:
        real = np.empty(0, x.dtype).real.dtype
        return np.sum((x != 0).astype(real), axis=axis, keepdims=keepdims)
    if order in _SIMPLE:
        return _SIMPLE[order](np.abs(x), axis=axis, keepdims=keepdims)
    return vector_norm(x, ord=order, axis=axis, keepdims=keepdims)


#: What a matrix norm does first and then: a sum over one axis (of two), or singular values.
_SUMS: dict[Any, tuple[int, Any]] = {
    1: (-2, _largest), -1: (-2, np.min), math.inf: (-1, _largest), -math.inf: (-1, np.min),
}  # fmt: skip
_SPECTRAL: dict[Any, Any] = {2: _largest, -2: np.min, "nuc": np.sum}


def _matrix(x: Any, ord: Any, axes: tuple[int, int], keepdims: bool) -> Any:
    axes = tuple(np.lib.array_utils.normalize_axis_tuple(axes, x.ndim))  # type: ignore[assignment]  # one axis becomes a tuple
    if ord in (None, "fro", "f"):
        return vector_norm(x, axis=axes, keepdims=keepdims)
    x = np.moveaxis(x, axes, (-2, -1))
    if ord in _SPECTRAL:
        y = _SPECTRAL[ord](svdvals(x), axis=-1)
    elif ord in _SUMS:
        axis, extremum = _SUMS[ord]
        y = extremum(np.sum(np.abs(x), axis=axis), axis=-1)
    else:
        raise ValueError("Invalid norm order for matrices.")
    return np.expand_dims(y, axes) if keepdims else y


@implements(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    x = inexact(x)
    if axis is None and ord is None:
        return vector_norm(x, keepdims=keepdims)
    given = axis if isinstance(axis, tuple | None) else (operator.index(axis),)
    axes = tuple(range(x.ndim)) if given is None else given
    if len(axes) == 1:
        return _vector(x, ord, operator.index(axes[0]), keepdims)
    if len(axes) == 2:
        return _matrix(x, ord, axes, keepdims)
    raise ValueError("Improper number of dimensions to norm.")


@implements(np.linalg.vector_norm)
def _vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: Any = 2) -> Any:
    return _vector(inexact(x), ord, axis, keepdims)


@implements(np.linalg.matrix_norm)
def _matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return _matrix(inexact(x), ord, (-2, -1), keepdims)


@implements(np.linalg.cond)
def _cond(x: Any, p: Any = None) -> Any:
    if not x.size:
        raise np.linalg.LinAlgError("cond is not defined on empty arrays")
    if p is None or p in (2, -2):
        s = svdvals(x)
        if p == -2:
            return s[..., -1] / s[..., 0]
        singular = equal(s[..., -1], 0.0)
        return where(singular, math.inf, s[..., 0] / where(singular, 1.0, s[..., -1]))
    x = _check_square(x)
    return _matrix(x, p, (-2, -1), False) * _matrix(inv(x), p, (-2, -1), False)
