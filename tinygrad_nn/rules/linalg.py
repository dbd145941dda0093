"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.shape import ones, reshape, sum_to, swapaxes


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


@primitive(numpy=[np.matmul], rules=[_left, _right], domain=(REAL, REAL))
def matmul(a: Any, b: Any, *, out: Any = None) -> Any:
    """Matrix product, batched over leading axes as ``@`` is."""
    return np.matmul(a, b, out=out)


@implements(np.dot)
def _np_dot(a: Any, b: Any, out: Any = None) -> Any:
    if np.ndim(a) > 2 or np.ndim(b) > 2:
        raise ShapeError(
            f"np.dot on tensors takes numbers, vectors and matrices, got shapes {np.shape(a)} and "
            f"{np.shape(b)}; use @ for stacks of matrices"
        )
    scaled = not np.ndim(a) or not np.ndim(b)
    keywords = {} if out is None else {"out": out}
    return np.multiply(a, b, **keywords) if scaled else matmul(a, b, **keywords)


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
