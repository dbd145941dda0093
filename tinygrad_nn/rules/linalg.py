"""Products of vectors, matrices and arrays of more dimensions."""

from __future__ import annotations

import math
import operator
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.complex import conj
from tinygrad_nn.rules.elementwise import keep
from tinygrad_nn.rules.shape import ones, reshape, shaped, sum_to, swapaxes, transpose


def _T(x: Any) -> Any:  # noqa: N802  # the usual letter for a transposed matrix
    return swapaxes(x, axis1=-1, axis2=-2)


def _column(g: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Make both operands matrices, and `g` the matching product: a vector is a row or column."""
    if a.ndim == 1 and b.ndim == 1:
        return reshape(g, shape=(1, 1)), reshape(a, shape=(1, -1)), reshape(b, shape=(-1, 1))
    if a.ndim == 1:
        return reshape(g, shape=(*g.shape[:-1], 1, g.shape[-1])), reshape(a, shape=(1, -1)), b
    return reshape(g, shape=(*g.shape, 1)), a, reshape(b, shape=(-1, 1))


def _left(g: Any, y: Any, a: Any, b: Any) -> Any:
    if a.ndim == 2 and b.ndim == 2:
        return np.dot(g, b.T)
    if a.ndim > 1 and b.ndim > 1:
        return sum_to(matmul(g, _T(b)), shape=a.shape)
    g, row, column = _column(g, a, b)
    return reshape(sum_to(matmul(g, _T(column)), shape=row.shape), shape=a.shape)


def _right(g: Any, y: Any, a: Any, b: Any) -> Any:
    if a.ndim == 2 and b.ndim == 2:
        return np.dot(a.T, g)
    if a.ndim > 1 and b.ndim > 1:
        return sum_to(matmul(_T(a), g), shape=b.shape)
    g, row, column = _column(g, a, b)
    return reshape(sum_to(matmul(_T(row), g), shape=column.shape), shape=b.shape)


@primitive(numpy=[np.matmul], rules=[_left, _right], linear="each", domain=(REAL, REAL))
def matmul(a: Any, b: Any, *, out: Any = None) -> Any:
    """Matrix product, batched over leading axes as ``@`` is."""
    return np.matmul(a, b, out=out)


def _linear_x(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
    return np.dot(g, weight.T) if g.ndim == 2 else g @ weight.T


def _linear_weight(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
    if x.ndim == 2:
        return np.dot(x.T, g)
    rows = reshape(x, shape=(-1, x.shape[-1]))
    return rows.T @ reshape(g, shape=(-1, g.shape[-1]))


def _linear_bias(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
    if g.ndim == 2 and g.dtype.char in "fd":
        return np.dot(ones(len(g), g.dtype), g)
    return sum_to(g, shape=bias.shape)


@primitive(rules=[_linear_x, _linear_weight, _linear_bias], domain=(REAL, REAL, REAL))
def linear(x: Any, weight: Any, bias: Any, *, out: Any = None) -> Any:
    """Affine map ``x @ weight + bias``: `x` (..., n_in), `weight` (n_in, n_out), `bias` (n_out,).

    One node, whose sum is done in place: a layer's forward without a temporary array.
    """
    # For matrices np.dot is the same product with half of matmul's overhead.
    matrices = x.ndim == 2 and out is None
    y = np.dot(x, weight) if matrices else np.matmul(x, weight, out=out)
    # In place, unless the bias is of a wider type.
    return np.add(y, bias, out=y if out is not None or bias.dtype == y.dtype else None)


# --- other products, made of this one ------------------------------------------------------------


@implements(np.dot)
def _np_dot(a: Any, b: Any, out: Any = None) -> Any:
    n, m = np.ndim(a), np.ndim(b)
    if not n or not m:
        return np.multiply(a, b)
    if n <= 2 and m <= 2:
        return matmul(a, b)
    return _tensordot(a, b, (n - 1, max(m - 2, 0)))


@implements(np.linalg.matmul)
def _linalg_matmul(x1: Any, x2: Any, /) -> Any:
    return matmul(x1, x2)


@implements(np.inner)
def _inner(a: Any, b: Any, /) -> Any:
    return _tensordot(a, b, (-1, -1)) if np.ndim(a) and np.ndim(b) else np.multiply(a, b)


@implements(np.vdot)
def _vdot(a: Any, b: Any, /) -> Any:
    return matmul(np.ravel(conj(shaped(a))), np.ravel(b))


@implements(np.outer)
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    return np.expand_dims(np.ravel(a), 1) * np.ravel(b)


@implements(np.linalg.outer)
def _linalg_outer(x1: Any, x2: Any, /) -> Any:
    if np.ndim(x1) != 1 or np.ndim(x2) != 1:
        raise ShapeError(
            f"np.linalg.outer takes two vectors, got shapes {np.shape(x1)} and {np.shape(x2)}; "
            f"np.outer flattens its arguments"
        )
    return _outer(x1, x2)


@implements(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = shaped(a), shaped(b)
    try:
        n = operator.index(axes)
        left, right = list(range(a.ndim - n, a.ndim)), list(range(n))
    except TypeError:
        left, right = (np.atleast_1d(pair).tolist() for pair in axes)
    valid = len(left) == len(right) and max(len(left), 0) <= min(a.ndim, b.ndim)
    if not valid or [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ShapeError(
            f"tensordot: shapes {a.shape} and {b.shape} do not match along axes={axes!r}"
        )
    left, right = [i % a.ndim for i in left], [i % b.ndim for i in right]
    rows = [i for i in range(a.ndim) if i not in left]
    columns = [i for i in range(b.ndim) if i not in right]
    n = math.prod(a.shape[i] for i in left)
    shape = [a.shape[i] for i in rows], [b.shape[i] for i in columns]
    product = matmul(
        reshape(transpose(a, axes=(*rows, *left)), shape=(math.prod(shape[0]), n)),
        reshape(transpose(b, axes=(*right, *columns)), shape=(n, math.prod(shape[1]))),
    )
    return reshape(product, shape=(*shape[0], *shape[1]))


@implements(np.linalg.tensordot)
def _linalg_tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    return _tensordot(x1, x2, axes)


@implements(np.kron)
def _kron(a: Any, b: Any) -> Any:
    n = max(np.ndim(a), np.ndim(b))
    large, small = ((1,) * (n - np.ndim(x)) + np.shape(x) for x in (a, b))
    blocks = np.reshape(a, tuple(k for m in large for k in (m, 1)))
    inside = np.reshape(b, tuple(k for m in small for k in (1, m)))
    return np.reshape(blocks * inside, tuple(p * q for p, q in zip(large, small, strict=True)))


@implements(np.cross)
def _cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(shaped(a), axisa, -1), np.moveaxis(shaped(b), axisb, -1)
    lengths = a.shape[-1], b.shape[-1]
    if not set(lengths) <= {2, 3}:
        raise ShapeError(f"cross takes vectors of length 3 (or 2), got lengths {lengths}")
    if 2 in lengths:
        warnings.warn(
            "Arrays of 2-dimensional vectors are deprecated. Use arrays of 3-dimensional vectors "
            "instead. (deprecated in NumPy 2.0)",
            DeprecationWarning,
            stacklevel=2,
        )
    if lengths == (2, 2):
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    a, b = (
        x if n == 3 else np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)
        for x, n in zip((a, b), lengths, strict=True)
    )
    p, q = ([x[..., i] for i in range(3)] for x in (a, b))
    turned = [p[i] * q[j] - p[j] * q[i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.stack(turned, axis=axisc)


@implements(np.linalg.cross)
def _linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    x1, x2 = shaped(x1), shaped(x2)
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ShapeError(
            f"np.linalg.cross takes vectors of length 3, got lengths {x1.shape[axis]} and "
            f"{x2.shape[axis]}"
        )
    return _cross(x1, x2, axis=axis)


@implements(np.vecdot, np.linalg.vecdot)
def _vecdot(x1: Any, x2: Any, /, *, axis: int = -1, keepdims: bool = False) -> Any:
    x1, x2 = (np.moveaxis(shaped(x), axis, -1) for x in (x1, x2))
    if x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"vecdot: vectors of lengths {x1.shape[-1]} and {x2.shape[-1]}; they must be equal"
        )
    products = conj(x1) * x2
    exact = products.dtype.kind in "iub"  # whose sum would be of a wider type, and NumPy's is not
    y = np.sum(products, axis=-1, dtype=products.dtype if exact else None)
    return np.expand_dims(y, axis) if keepdims else y


def _matvec(x1: Any, x2: Any, /) -> Any:
    return np.squeeze(matmul(x1, np.expand_dims(x2, -1)), -1)


def _vecmat(x1: Any, x2: Any, /) -> Any:
    return np.squeeze(matmul(np.expand_dims(conj(shaped(x1)), -2), x2), -2)


for _name, _product in (("matvec", _matvec), ("vecmat", _vecmat)):
    if hasattr(np, _name):  # since NumPy 2.2
        implements(getattr(np, _name))(_product)


@implements(np.linalg.multi_dot)
def _multi_dot(arrays: Any, *, out: Any = None) -> Any:
    """Multiply in the cheapest order (the matrix-chain problem, by dynamic programming)."""
    xs = [shaped(x) for x in arrays]
    if len(xs) < 2:
        raise ValueError("Expecting at least two arrays.")
    row, column = xs[0].ndim == 1, xs[-1].ndim == 1
    if row:
        xs[0] = np.expand_dims(xs[0], 0)
    if column:
        xs[-1] = np.expand_dims(xs[-1], 1)
    if any(x.ndim != 2 for x in xs):
        raise np.linalg.LinAlgError(
            f"multi_dot takes matrices, and vectors as the first and the last, got shapes "
            f"{[np.shape(x) for x in arrays]}"
        )
    y = _chain(xs, (len(xs[0]), *(x.shape[1] for x in xs)))
    shape = y.shape[:1] * (not row) + y.shape[1:] * (not column)
    return y if shape == y.shape else np.reshape(y, shape)


@lru_cache(maxsize=1024)
def _cheapest(lengths: tuple[int, ...]) -> tuple[int, int]:
    """Return how many products a chain of matrices takes, and where to split it."""
    if len(lengths) == 2:
        return 0, 0
    return min(
        (_cheapest(lengths[: k + 1])[0] + _cheapest(lengths[k:])[0]
         + lengths[0] * lengths[k] * lengths[-1], k)
        for k in range(1, len(lengths) - 1)
    )  # fmt: skip


def _chain(xs: list[Any], lengths: tuple[int, ...]) -> Any:
    if len(xs) == 1:
        return xs[0]
    k = _cheapest(lengths)[1]
    return matmul(_chain(xs[:k], lengths[: k + 1]), _chain(xs[k:], lengths[k:]))


@implements(np.linalg.matrix_power)
def _matrix_power(a: Any, n: Any) -> Any:
    n = operator.index(n)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"matrix_power takes square matrices, got shape {a.shape}")
    if n <= 0:
        a = np.linalg.inv(a) if n else a
        n = -n
    if not n:
        return keep(False, a) + np.eye(a.shape[-1], dtype=a.dtype)
    result = None
    while n:  # by the binary digits of the exponent
        if n % 2:
            result = a if result is None else matmul(result, a)
        n //= 2
        a = matmul(a, a) if n else a
    return np.copy(result) if result is a else result


# --- parts of matrices ---------------------------------------------------------------------------


@implements(np.linalg.diagonal)
def _linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return np.diagonal(x, offset, axis1=-2, axis2=-1)


@implements(np.linalg.trace)
def _linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.sum(np.diagonal(x, offset, axis1=-2, axis2=-1), axis=-1, dtype=dtype)


@implements(np.linalg.matrix_transpose)
def _linalg_matrix_transpose(x: Any, /) -> Any:
    return np.matrix_transpose(x)
