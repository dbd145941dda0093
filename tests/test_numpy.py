"""NumPy's functions, operators and indexing on tensors, and what is refused rather than dropped."""

import copy
import math
import operator
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from samples import draw

import tinygrad_nn as tg
from tinygrad_nn import NotDifferentiableError, ShapeError, Tensor, Value, tensor
from tinygrad_nn.dispatch import INSTEAD
from tinygrad_nn.primitive import POSITIVE
from tinygrad_nn.rules import TABLE


def leaf(x: Any, dtype: Any = None, **options: Any) -> Tensor:
    return tensor(x, dtype, requires_grad=True, **options)


X = np.array([[0.3, -1.2, 2.0], [1.5, 0.7, -0.4]])

# --- calls that work as on arrays ----------------------------------------------------------------

CALLS: dict[str, Callable[[Any], Any]] = {
    "np.sum(x, 0)": lambda x: np.sum(x, 0),
    "np.sum(a=x, axis=1)": lambda x: np.sum(a=x, axis=1),
    "np.sum(x, axis=None, keepdims=True)": lambda x: np.sum(x, axis=None, keepdims=True),
    "np.sum(x, keepdims=np._NoValue)": lambda x: np.sum(x, keepdims=np._NoValue),
    "np.add.reduce(x)": np.add.reduce,
    "np.add.reduce(x, axis=1)": lambda x: np.add.reduce(x, axis=1),
    "np.add.reduce(x, 1)": lambda x: np.add.reduce(x, 1),
    "np.maximum.reduce(x)": np.maximum.reduce,
    "np.minimum.reduce(x, axis=None)": lambda x: np.minimum.reduce(x, axis=None),
    "np.mean(x, axis=-1)": lambda x: np.mean(x, axis=-1),
    "np.var(x, axis=0, ddof=1)": lambda x: np.var(x, axis=0, ddof=1),
    "np.std(x, 1)": lambda x: np.std(x, 1),
    "np.amax(x, axis=1)": lambda x: np.amax(x, axis=1),
    "np.max(x, axis=(0, 1))": lambda x: np.max(x, axis=(0, 1)),
    "np.clip(x, -1, 1)": lambda x: np.clip(x, -1, 1),
    "np.clip(x, None, 1.0)": lambda x: np.clip(x, None, 1.0),
    "np.clip(x, 0.0, None)": lambda x: np.clip(x, 0.0, None),
    "np.clip(x, a_max=1.0, a_min=0.0)": lambda x: np.clip(x, a_max=1.0, a_min=0.0),
    "np.clip(x, min=0.0)": lambda x: np.clip(x, min=0.0),
    "np.clip(0.5, x, 3)": lambda x: np.clip(0.5, x, 3.0),
    "np.clip([..], x, 3)": lambda x: np.clip([0.5, 1.0, -2.0], x, 3.0),
    "x.clip(-1, 1)": lambda x: x.clip(-1, 1),
    "np.where(x > 0, x, 2 * x)": lambda x: np.where(x > 0, x, 2 * x),
    "np.where([True, False, True], x, 0)": lambda x: np.where([True, False, True], x, 0),
    "np.where(array, 0.0, x)": lambda x: np.where(X > 0.5, 0.0, x),
    "np.reshape(x, (3, 2))": lambda x: np.reshape(x, (3, 2)),
    "np.reshape(x, -1, order='C')": lambda x: np.reshape(x, -1, order="C"),
    "x.reshape(3, -1)": lambda x: x.reshape(3, -1),
    "x.reshape((3, 2))": lambda x: x.reshape((3, 2)),
    "x.reshape([6])": lambda x: x.reshape([6]),
    "x.T": lambda x: x.T,
    "x.transpose()": lambda x: x.transpose(),
    "x.transpose(None)": lambda x: x.transpose(None),
    "x.transpose(1, 0)": lambda x: x.transpose(1, 0),
    "x.transpose((1, 0))": lambda x: x.transpose((1, 0)),
    "np.transpose(x, (1, 0))": lambda x: np.transpose(x, (1, 0)),
    "np.swapaxes(x, 0, 1)": lambda x: np.swapaxes(x, 0, 1),
    "x.swapaxes(0, -1)": lambda x: x.swapaxes(0, -1),
    "np.moveaxis(x, 0, -1)": lambda x: np.moveaxis(x, 0, -1),
    "np.expand_dims(x, 1)": lambda x: np.expand_dims(x, 1),
    "np.squeeze(x[None])": lambda x: np.squeeze(x[None]),
    "x[None].squeeze(0)": lambda x: x[None].squeeze(0),
    "np.ravel(x)": np.ravel,
    "x.flatten()": lambda x: x.flatten(),
    "np.copy(x)": np.copy,
    "np.broadcast_to(x, (2, 2, 3))": lambda x: np.broadcast_to(x, (2, 2, 3)),
    "np.broadcast_to(x[0], [2, 3])": lambda x: np.broadcast_to(x[0], [2, 3]),
    "np.concatenate([x, array])": lambda x: np.concatenate([x, X]),
    "np.concatenate((array, x), axis=1)": lambda x: np.concatenate((X, x), axis=1),
    "np.concatenate([x, [[1, 2, 3]]])": lambda x: np.concatenate([x, [[1, 2, 3]]]),
    "np.concatenate(x)": np.concatenate,
    "np.stack([x, x], axis=-1)": lambda x: np.stack([x, x], axis=-1),
    "np.stack(arrays=[x, x])": lambda x: np.stack(arrays=[x, x]),
    "np.take_along_axis": lambda x: np.take_along_axis(x, np.array([[0, 2], [1, 1]]), axis=1),
    "np.take_along_axis with a list": lambda x: np.take_along_axis(x, np.array([[0]]), 1),
    "x @ x.T": lambda x: x @ x.T,
    "array @ x.T": lambda x: X @ x.T,
    "x @ list": lambda x: x @ [[1.0], [2.0], [3.0]],
    "np.matmul(x, list)": lambda x: np.matmul(x, [[1.0], [2.0], [3.0]]),
    "np.matmul(list, x)": lambda x: np.matmul([[1.0, 2.0]], x),
    "np.power(list, x)": lambda x: np.power([1.0, 2.0, 3.0], x),
    "np.power(x, list)": lambda x: np.power(x, [1, 2, 3]),
    "np.arctan2(x, list)": lambda x: np.arctan2(x, [1.0, 2.0, 3.0]),
    "np.arctan2(tuple, x)": lambda x: np.arctan2((1.0, 2.0, 3.0), x),
    "np.maximum(x, list)": lambda x: np.maximum(x, [0.0, 1.0, 2.5]),
    "np.hypot(list, x)": lambda x: np.hypot([1.0, 2.0, 3.0], x),
    "x + list": lambda x: x + [1.0, 2.0, 3.0],  # noqa: RUF005  # the operator is what is under test
    "list - x": lambda x: [1.0, 2.0, 3.0] - x,
    "tuple * x": lambda x: (1.0, 2.0, 3.0) * x,
    "array + x": lambda x: X + x,
    "array / x": lambda x: X / x,
    "np.float32(2) * x": lambda x: np.float32(2) * x,
    "2 ** x": lambda x: 2**x,
    "divmod(x, 0.37)": lambda x: divmod(x, 0.37)[1],
    "divmod(5.0, x)": lambda x: divmod(5.0, x)[1],
    "x % 0.37": lambda x: x % 0.37,
    "-x": operator.neg,
    "+x": operator.pos,
    "abs(x)": abs,
    "sum of rows": lambda x: sum(x),
    "unpacking": lambda x: (lambda a, b: a * b)(*x),
    "x.sum(axis=0, keepdims=True)": lambda x: x.sum(axis=0, keepdims=True),
    "x.mean(0)": lambda x: x.mean(0),
    "x.max(axis=1)": lambda x: x.max(axis=1),
    "x.var(ddof=1)": lambda x: x.var(ddof=1),
    "x.astype(float32)": lambda x: x.astype(np.float64),
    "x[1, ::-1]": lambda x: x[1, ::-1],
    "x[..., 0]": lambda x: x[..., 0],
    "x[np.argmax(x, axis=0), [0, 1, 2]]": lambda x: x[np.argmax(x, axis=0), [0, 1, 2]],
    "x[x > 0]": lambda x: x[x > 0],
    "x[np.nonzero(x > 0)]": lambda x: x[np.nonzero(x > 0)],
    "x[[True, False]]": lambda x: x[[True, False]],
    "x[True]": lambda x: x[True],
    "x[np.array(1)]": lambda x: x[np.array(1)],
    "x[:, np.int64(1)]": lambda x: x[:, np.int64(1)],
    # reductions, and the keywords of theirs
    "np.sum(x, where=mask)": lambda x: np.sum(x, where=X > 0.5),
    "np.sum(x, axis=1, where=mask, initial=2)": lambda x: np.sum(
        x, axis=1, where=X > 0.5, initial=2.0
    ),
    "np.sum(x, dtype=longdouble)": lambda x: np.sum(x, dtype=np.longdouble),
    "np.add.reduce(x, initial=3)": lambda x: np.add.reduce(x, initial=3.0),
    "np.add.reduce(x, where=mask)": lambda x: np.add.reduce(x, where=X > 0.5),
    "np.prod": np.prod,
    "np.prod(x, -1, keepdims, where=mask)": lambda x: np.prod(x, -1, keepdims=True, where=X > 0.5),
    "np.prod(x, initial=2)": lambda x: np.prod(x, initial=2.0),
    "np.multiply.reduce(x)": np.multiply.reduce,
    "np.multiply.reduce(x, axis=None)": lambda x: np.multiply.reduce(x, axis=None),
    "np.max(x, initial=1)": lambda x: np.max(x, axis=1, initial=1.0),
    "np.max(x, where=mask, initial=-9)": lambda x: np.max(x, where=X < 1.0, initial=-9.0),
    "np.min(x, axis=0, initial=0)": lambda x: np.min(x, axis=0, initial=0.0),
    "np.mean(x, where=mask)": lambda x: np.mean(x, axis=1, where=X > -1.0),
    "np.mean(x, dtype)": lambda x: np.mean(x, dtype=np.longdouble),
    "np.var(x, where=mask)": lambda x: np.var(x, axis=1, where=X > -1.0),
    "np.var(x, mean=)": lambda x: np.var(x, axis=1, mean=np.mean(x, axis=1, keepdims=True)),
    "np.var(x, correction=1)": lambda x: np.var(x, correction=1),
    "np.std(x, ddof=1, where=mask)": lambda x: np.std(x, axis=1, ddof=1, where=X > -1.0),
    "np.ptp": lambda x: np.ptp(x, axis=1),
    "np.average(x, weights=)": lambda x: np.average(x, axis=1, weights=[1.0, 2.0, 3.0]),
    "np.average(array, weights=x)": lambda x: np.average(X + 1.0, weights=x),
    "np.median": lambda x: np.median(x, axis=1),
    "np.quantile": lambda x: np.quantile(x, [0.1, 0.7], axis=1),
    "np.percentile(x, 30, method)": lambda x: np.percentile(x, 30, method="weibull"),
    "np.nansum": np.nansum,
    "np.nanmean(x, axis=0)": lambda x: np.nanmean(x, axis=0),
    "np.cov": np.cov,
    "np.corrcoef": np.corrcoef,
    # running ones, differences
    "np.cumsum(x)": np.cumsum,
    "np.cumsum(x, axis=1)": lambda x: np.cumsum(x, axis=1),
    "np.cumprod(x, 0)": lambda x: np.cumprod(x, 0),
    "np.cumulative_sum": lambda x: np.cumulative_sum(x, axis=1, include_initial=True),
    "np.add.accumulate(x)": np.add.accumulate,
    "np.maximum.accumulate(x, 1)": lambda x: np.maximum.accumulate(x, 1),
    "np.add.reduceat": lambda x: np.add.reduceat(x, [0, 2], axis=1),
    "np.diff": np.diff,
    "np.diff(x, n=2, prepend=x)": lambda x: np.diff(x, n=2, prepend=x[:, :1]),
    "np.gradient": lambda x: np.gradient(x, 0.5, axis=1),
    "np.trapezoid": lambda x: np.trapezoid(x, dx=0.3),
    "np.trapezoid(array, x)": lambda x: np.trapezoid(X, x),
    "np.interp(x, ..)": lambda x: np.interp(x, [-2.0, 0.0, 3.0], [1.0, 4.0, 2.0]),
    "np.convolve": lambda x: np.convolve(x[0], x[1], "same"),
    "np.correlate": lambda x: np.correlate(x[0], [1.0, 2.0]),
    # outer products of ufuncs
    "np.add.outer(x, list)": lambda x: np.add.outer(x, [1.0, 2.0]),
    "np.multiply.outer(list, x)": lambda x: np.multiply.outer([1.0, 2.0], x),
    "np.maximum.outer(x, x)": lambda x: np.maximum.outer(x[0], x[1]),
    "np.power.outer": lambda x: np.power.outer(x + 3.0, [1.0, 2.5]),
    # elementwise
    "np.sinc": np.sinc,
    "np.i0": np.i0,
    "np.heaviside is constant": lambda x: np.heaviside(x, 0.5) + x,
    "np.divmod": lambda x: np.divmod(x, 0.37)[1],
    "np.modf": lambda x: np.modf(1.1 * x)[0],
    "np.frexp": lambda x: np.frexp(1.1 * x)[0],
    "np.ldexp": lambda x: np.ldexp(x, [1, 2, 3]),
    "np.nan_to_num": np.nan_to_num,
    "np.fix is constant": lambda x: np.fix(1.1 * x) * x,
    "np.round(x, 1) is constant": lambda x: np.round(x, 1) + x,
    "np.real": np.real,
    "np.select": lambda x: np.select([X > 1, X > 0], [x, x * x], 3.0),
    "np.piecewise": lambda x: np.piecewise(x, [X > 0, X <= 0], [np.sin, lambda x: x * x]),
    "np.unwrap": lambda x: np.unwrap(3.0 * x),
    # linear algebra
    "np.dot(x, list)": lambda x: np.dot(x, [1.0, 2.0, 3.0]),
    "np.dot(list, x)": lambda x: np.dot([1.0, 2.0], x),
    "np.inner": lambda x: np.inner(x, X),
    "np.outer": lambda x: np.outer(x, [1.0, 2.0]),
    "np.vdot": lambda x: np.vdot(x, X),
    "np.vecdot": lambda x: np.vecdot(x, [1.0, 2.0, 3.0]),
    "np.matvec": lambda x: np.matvec(x, [1.0, 2.0, 3.0]),
    "np.tensordot": lambda x: np.tensordot(x, x, axes=([0, 1], [0, 1])),
    "np.einsum": lambda x: np.einsum("ij,kj->ik", x, X),
    "np.einsum with axes as lists": lambda x: np.einsum(x, [0, 1], [1, 0]),
    "np.kron": lambda x: np.kron(x, [1.0, 2.0]),
    "np.cross": lambda x: np.cross(x[0], x[1]),
    "np.trace": np.trace,
    "np.linalg.norm": np.linalg.norm,
    "np.linalg.norm(x, 3, 1)": lambda x: np.linalg.norm(x, 3, 1),
    "np.linalg.norm(x, 'nuc')": lambda x: np.linalg.norm(x, "nuc"),
    "np.linalg.vector_norm": lambda x: np.linalg.vector_norm(x, axis=0, keepdims=True),
    "np.linalg.inv": lambda x: np.linalg.inv(x @ x.T),
    "np.linalg.det": lambda x: np.linalg.det(x @ x.T),
    "np.linalg.slogdet": lambda x: np.linalg.slogdet(x @ x.T)[1],
    "np.linalg.solve": lambda x: np.linalg.solve(x @ x.T, x),
    "np.linalg.cholesky": lambda x: np.linalg.cholesky(x @ x.T),
    "np.linalg.eigvalsh": lambda x: np.linalg.eigvalsh(x @ x.T),
    "np.linalg.svd": lambda x: np.linalg.svd(x, compute_uv=False),
    "np.linalg.pinv": np.linalg.pinv,
    "np.linalg.matrix_power": lambda x: np.linalg.matrix_power(x @ x.T, 3),
    "np.linalg.multi_dot": lambda x: np.linalg.multi_dot([x, X.T, x]),
    "np.fft.fft": lambda x: np.abs(np.fft.fft(x)),
    "np.fft.irfft": lambda x: np.fft.irfft(x, 5, norm="ortho"),
    # moving things about
    "np.atleast_3d": np.atleast_3d,
    "np.vstack([x, list])": lambda x: np.vstack([x, [1.0, 2.0, 3.0]]),
    "np.hstack([list, x])": lambda x: np.hstack([[[1.0], [2.0]], x]),
    "np.dstack": lambda x: np.dstack([x, X]),
    "np.column_stack": lambda x: np.column_stack([x, [1.0, 2.0]]),
    "np.block": lambda x: np.block([[x, x], [X, 2.0 * X]]),
    "np.append": lambda x: np.append(x, [[1.0, 2.0, 3.0]], axis=0),
    "np.insert": lambda x: np.insert(x, 1, [7.0, 8.0], axis=1),
    "np.insert(array, .., x)": lambda x: np.insert(X, [0, 2], x[:, :2], axis=1),
    "np.delete": lambda x: np.delete(x, [0, 2], axis=1),
    "np.split": lambda x: np.split(x, [1], axis=1)[1],
    "np.tile": lambda x: np.tile(x, (2, 2)),
    "np.repeat": lambda x: np.repeat(x, [1, 2], axis=0),
    "np.roll": lambda x: np.roll(x, 1, axis=1),
    "np.flip": np.flip,
    "np.rot90": np.rot90,
    "np.pad": lambda x: np.pad(x, ((1, 0), (0, 2)), "reflect"),
    "np.pad(x, 1, constant_values=2)": lambda x: np.pad(x, 1, constant_values=2.0),
    "np.tril": np.tril,
    "np.diag": lambda x: np.diag(x[0], 1),
    "np.diagonal": lambda x: np.diagonal(x, 1),
    "np.vander": lambda x: np.vander(x[0]),
    "np.meshgrid": lambda x: np.meshgrid(x[0], x[1])[0],
    "np.broadcast_arrays": lambda x: np.broadcast_arrays(x[0], X)[0],
    "np.sort": np.sort,
    "np.sort(x, axis=None)": lambda x: np.sort(x, axis=None),
    "np.partition": lambda x: np.sort(np.partition(x, 1)[:, 2]),
    "np.take(x, .., mode)": lambda x: np.take(x, [0, 7], mode="wrap"),
    "np.compress": lambda x: np.compress([True, False, True], x, axis=1),
    "np.extract": lambda x: np.extract(X > 0, x),
    "np.choose": lambda x: np.choose([0, 1, 0], [x[0], x[1]]),
    "np.resize": lambda x: np.resize(x, (4, 2)),
    "np.unique": np.unique,
    "np.full_like(x, x[0, 0])": lambda x: np.full_like(x, x[0, 0]),
    "np.linspace": lambda x: np.linspace(x[0], x[1], 4),
    "np.bincount": lambda x: np.bincount([0, 2, 2], weights=x[0]),
    "np.histogram": lambda x: np.histogram([0.1, 0.2, 0.9], 2, (0, 1), weights=x[0])[0],
    "np.polyval(x, list)": lambda x: np.polyval(x, [2.0, 3.0, 4.0]),
    "np.polyval(list, x)": lambda x: np.polyval([1.0, 2.0, 3.0], x),
    "np.apply_along_axis": lambda x: np.apply_along_axis(np.cumsum, 1, x),
    "sliding_window_view": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1),
    # methods
    "x.prod(axis=1)": lambda x: x.prod(axis=1),
    "x.cumsum()": lambda x: x.cumsum(),
    "x.cumprod(axis=1)": lambda x: x.cumprod(axis=1),
    "x.take([2, 0], axis=1)": lambda x: x.take([2, 0], axis=1),
    "x.repeat(2)": lambda x: x.repeat(2),
    "x.compress": lambda x: x.compress([True, False], axis=0),
    "x.diagonal()": lambda x: x.diagonal(),
    "x.trace(1)": lambda x: x.trace(1),
    "x.dot(list)": lambda x: x.dot([1.0, 2.0, 3.0]),
    "x.round(1) is constant": lambda x: x.round(1) + x,
    "x.conj()": lambda x: x.conj(),
    "x.real": lambda x: x.real,
    "x.imag is constant": lambda x: x.imag + x,
    "x.mT": lambda x: x.mT,
    "x.ravel()": lambda x: x.ravel(),
    "x.squeeze": lambda x: x[None, :, None].squeeze((0, 2)),
    "x.std(0)": lambda x: x.std(0),
    "x.min(axis=0)": lambda x: x.min(axis=0),
    "x[x.argmax(axis=0), [0, 1, 2]]": lambda x: x[x.argmax(axis=0), [0, 1, 2]],
    "x[0][x[0].argsort()]": lambda x: x[0][x[0].argsort()],
    "x[x.nonzero()]": lambda x: x[x.nonzero()],
}


@pytest.mark.parametrize("call", CALLS)
def test_call_gives_what_it_gives_on_arrays_and_its_gradient(call: str) -> None:
    f = CALLS[call]
    with np.errstate(invalid="ignore"):  # a negative number to a fractional power
        expected = np.asarray(f(X))
    x = leaf(X)
    with np.errstate(invalid="ignore"):
        y = f(x)
    assert isinstance(y, Tensor)
    assert y.requires_grad
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    assert_allclose(y.data, expected, rtol=1e-15)

    w = np.random.default_rng(0).uniform(0.5, 1.5, expected.shape)
    with np.errstate(invalid="ignore"):
        y.backward(gradient=w)
    h = 1e-6
    slope = np.empty(X.shape)
    for at in np.ndindex(X.shape):
        step = np.zeros(X.shape)
        step[at] = h
        slope[at] = np.sum(w * (f(X + step) - f(X - step))) / (2 * h)
    assert_allclose(x.grad, slope, rtol=1e-6, atol=1e-8)


#: Calls with two scalar nodes, which stand for 0-d arrays where NumPy's functions take arrays.
VALUES: dict[str, Callable[[Any, Any], Any]] = {
    "np.sin(a) * b": lambda a, b: np.sin(a) * b,
    "np.arctan2(a, b)": np.arctan2,
    "np.where(a < b, a, b)": lambda a, b: np.where(a < b, a, b),
    "np.clip(a, 0, b)": lambda a, b: np.clip(a, 0.0, b),
    "np.stack([a, b])": lambda a, b: np.stack([a, b]) * np.array([2.0, 3.0]),
    "np.stack([a, 1.0, b])": lambda a, b: np.cumsum(np.stack([a, 1.0, b])),
    "np.hstack([a, b])": lambda a, b: np.hstack([a, b]) ** 2,
    "np.atleast_2d(a)": lambda a, b: np.atleast_2d(a) @ np.atleast_2d(b),
    "np.linspace(a, b)": lambda a, b: np.linspace(a, b, 4),
    "np.full by broadcasting": lambda a, b: np.broadcast_to(a, (2, 2)) * b,
    "np.sum of an array of them": lambda a, b: np.sum(a * X + b),
    "np.mean(a), np.max(b)": lambda a, b: np.mean(a) * np.max(b),
    "np.dot(a, array)": lambda a, b: np.dot(a, X) * b,
    "np.outer(a, array)": lambda a, b: np.outer(a, X) / b,
    "np.add.outer(array, a)": lambda a, b: np.add.outer(X[0], a) ** 2 * b,
    "np.einsum": lambda a, b: np.einsum(",i,->i", a, X[0], b),
    "np.linalg.norm": lambda a, b: np.linalg.norm(np.stack([a, b])),
    "np.prod": lambda a, b: np.prod(np.stack([a, b, a])),
    "np.append(array, a)": lambda a, b: np.append(X, a) * b,
    "np.interp(a, ..)": lambda a, b: np.interp(a, [0.0, 3.0], [1.0, 2.0]) * b,
    "np.polyval([..], a)": lambda a, b: np.polyval([1.0, 2.0, 3.0], a) * b,
    "np.select": lambda a, b: np.select([X > 0], [a], b),
    "np.nan_to_num": lambda a, b: np.nan_to_num(a) * b,
}


@pytest.mark.parametrize("call", VALUES)
@pytest.mark.parametrize("make", [Value, leaf], ids=["value", "tensor"])
def test_scalar_nodes_stand_for_numbers(call: str, make: Any) -> None:
    f = VALUES[call]
    a, b = make(0.7), make(1.3)
    y = f(a, b)
    expected = f(np.float64(0.7), np.float64(1.3))
    assert y.requires_grad
    assert np.shape(y) == np.shape(expected)
    assert_allclose(y.data, expected, rtol=1e-14)
    np.sum(y).backward()
    h = 1e-6
    for x, (s, t) in ((a, (h, 0.0)), (b, (0.0, h))):
        slope = np.sum(f(np.float64(0.7) + s, np.float64(1.3) + t)) - np.sum(
            f(np.float64(0.7) - s, np.float64(1.3) - t)
        )
        assert_allclose(0.0 if x.grad is None else x.grad, slope / (2 * h), rtol=1e-6, atol=1e-8)


ANSWERS: dict[str, Callable[[Any], Any]] = {
    "np.shape": np.shape,
    "np.ndim": np.ndim,
    "np.size": np.size,
    "len": len,
    "np.zeros_like": np.zeros_like,
    "np.zeros_like(shape, dtype)": lambda x: np.zeros_like(x, dtype=int, shape=(3,)),
    "np.ones_like": np.ones_like,
    "np.argsort": np.argsort,
    "np.count_nonzero": np.count_nonzero,
    "np.allclose": lambda x: np.allclose(x, X),
    "np.array_equal": lambda x: np.array_equal(x, X),
    "np.result_type": np.result_type,
    "np.searchsorted": lambda x: np.searchsorted([0.0, 1.0], x),
    "np.digitize": lambda x: np.digitize(x, [0.0, 1.0]),
    "np.flatnonzero": np.flatnonzero,
    "np.iscomplexobj": np.iscomplexobj,
    "np.isclose": lambda x: np.isclose(x, 0.3),
    "np.where(x > 0)": lambda x: np.where(x > 0),
    "np.nonzero": np.nonzero,
    "x.tolist": lambda x: x.tolist(),
    "x.ndim": lambda x: x.ndim,
    "x.size": lambda x: x.size,
    "x.dtype": lambda x: x.dtype,
}


@pytest.mark.parametrize("call", ANSWERS)
def test_what_has_no_gradient_is_answered_from_the_data(call: str) -> None:
    answer, expected = ANSWERS[call](leaf(X)), ANSWERS[call](X)
    assert type(answer) is type(expected)
    assert_array_equal(answer, expected)


@pytest.mark.parametrize(
    "name",
    [
        "maximum",
        "minimum",
        "power",
        "arctan2",
        "hypot",
        "logaddexp",
        "add",
        "subtract",
        "multiply",
        "divide",
        "fmax",
        "float_power",
    ],
)
def test_one_leaf_in_both_places(name: str, rng: np.random.Generator) -> None:
    f = TABLE[name].numpy[0]
    at = draw(rng, (4,), POSITIVE)
    x = leaf(at)
    np.sum(f(x, x)).backward()
    h = 1e-6
    slope = (f(at + h, at + h) - f(at - h, at - h)) / (2 * h)
    assert_allclose(x.grad, slope, rtol=1e-6, atol=1e-8)


# --- refusals ------------------------------------------------------------------------------------


def _assign(target: Any, index: Any, value: Any) -> None:
    target[index] = value


def _result(x: Any = 1.0) -> Tensor:
    return leaf(x) * 2.0


#: A call, and what the message must say.
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "np.array of tensors": (lambda: np.array([leaf(1.0), leaf(2.0)]), r"np\.stack"),
    "np.array of results": (lambda: np.array([_result(), _result()]), r"np\.stack"),
    "np.array of rows": (lambda: np.array([leaf([1.0, 2.0]), leaf([1.0, 2.0])]), r"np\.stack"),
    "np.array of objects": (lambda: np.array([leaf(1.0)], dtype=object), r"np\.stack"),
    "np.array of values": (lambda: np.array([Value(1.0), Value(2.0)]), r"np\.stack"),
    "np.array of result values": (lambda: np.array([Value(1.0) * 2]), r"np\.stack"),
    "np.asarray": (lambda: np.asarray(leaf([1.0])), r"\.data|detach"),
    "np.asarray of a result": (lambda: np.asarray(_result([1.0])), r"\.data|detach"),
    "np.asarray of a Value": (lambda: np.asarray(Value(1.0)), r"\.data"),
    "np.sum of a list of tensors": (lambda: np.sum([leaf(1.0), leaf(2.0)]), r"np\.stack"),
    "np.mean of a list of values": (lambda: np.mean([Value(1.0), Value(2.0)]), r"np\.stack"),
    "tensor of a tensor": (lambda: tensor(leaf(1.0)), r"detach"),
    "tensor of a list of tensors": (lambda: tensor([leaf(1.0), leaf(2.0)]), r"np\.stack"),
    "list of tensors - tensor": (lambda: [leaf(1.0), leaf(1.0)] - leaf([1.0, 2.0]), r"np\.stack"),
    "Value of a Value": (lambda: Value(Value(1.0)), r"\.data"),
    "Value of a tensor": (lambda: Value(leaf(1.0)), r"\.data"),
    "float of a result": (lambda: float(_result()), r"item\(\)"),
    "int of a result": (lambda: int(_result()), r"item\(\)"),
    "math.exp of a result": (lambda: math.exp(_result()), r"np\.exp"),
    "float of a result Value": (lambda: float(Value(1.0) * 2), r"\.data"),
    "math.exp of a result Value": (lambda: math.exp(Value(1.0) * 2), r"\.exp"),
    "np.float64 of a result": (lambda: np.float64(_result()), r"\.data|detach"),
    "result.numpy()": (lambda: _result().numpy(), r"detach"),
    "out= of a ufunc": (lambda: np.exp(leaf([1.0]), out=np.zeros(1)), "out"),
    "out= a tensor": (lambda: np.exp(np.zeros(1), out=leaf([1.0])), "out"),
    "out= of a function": (lambda: np.sum(leaf([1.0]), out=np.zeros(())), "out"),
    "out= of np.clip": (lambda: np.clip(leaf([1.0]), 0.0, 1.0, out=np.zeros(1)), "out"),
    "out= of np.concatenate": (lambda: np.concatenate([leaf([1.0])], out=np.zeros(1)), "out"),
    "out= of a method": (lambda: leaf([1.0]).sum(out=np.zeros(())), "out"),
    "out= of an activation": (lambda: tg.relu(leaf([1.0]), out=np.zeros(1)), "out"),
    "out= of softmax": (lambda: tg.softmax(leaf([1.0]), out=np.zeros(1)), "out"),
    "array += tensor": (lambda: operator.iadd(np.zeros(1), leaf([1.0])), r"array = array \+"),
    "array *= Value": (lambda: operator.imul(np.zeros(1), Value(1.0)), "out"),
    "array[:] = tensor": (
        lambda: _assign(np.zeros(2), slice(None), leaf([1.0, 2.0])),
        r"\.data|detach",
    ),
    "array[0] = row": (lambda: _assign(np.zeros((2, 2)), 0, leaf([1.0, 2.0])), r"\.data|detach"),
    "tensor[0] = 1": (lambda: _assign(leaf([1.0]), 0, 1.0), r"np\.where"),
    "result[0] = 1": (lambda: _assign(_result([1.0]), 0, 1.0), r"np\.where"),
    "np.add.at": (lambda: np.add.at(np.zeros(1), [0], leaf([1.0])), r"np\.add\.at"),
    "np.exp with where": (lambda: np.exp(leaf([1.0]), where=[True]), r"np\.exp.*where"),
    "np.exp with dtype": (lambda: np.exp(leaf([1.0]), dtype=np.float32), r"np\.exp.*dtype"),
    "np.reshape with order A": (
        lambda: np.reshape(leaf([1.0]), (1, 1), order="A"),
        r"np\.reshape.*order",
    ),
    "np.union1d": (lambda: np.union1d(leaf([1.0]), [2.0]), r"np\.union1d"),
    "np.full_like of an array": (lambda: np.full_like(np.zeros(2), leaf(1.0)), r"np\.copyto"),
    "np.arange": (lambda: np.arange(leaf(3.0)), r"\.data|detach"),
    "np.histogram2d": (lambda: np.histogram2d(leaf([1.0]), leaf([1.0])), r"np\.histogram2d"),
    "np.histogram of what moves": (lambda: np.histogram(leaf([1.0])), "constant"),
    "np.polydiv": (lambda: np.polydiv(leaf([1.0]), leaf([1.0])), r"np\.polydiv"),
    "np.emath.sqrt": (lambda: np.emath.sqrt(leaf([1.0])), r"scimath\.sqrt"),
    "np.isnat": (lambda: np.isnat(leaf([1.0])), r"np\.isnat"),
    "np.sort_complex": (lambda: np.sort_complex(leaf([1.0])), r"np\.sort_complex"),
    "np.frompyfunc": (lambda: np.frompyfunc(abs, 1, 1)(leaf([1.0])), "derivative rule"),
    "np.random": (lambda: np.random.default_rng(0).permutation(_result([1.0])), "detach"),
    "np.testing": (lambda: assert_allclose(_result([1.0]), [2.0]), "detach"),
    "array.dot(tensor)": (lambda: np.ones(1).dot(leaf([1.0])), "detach"),
    "array.searchsorted(tensor)": (lambda: np.ones(1).searchsorted(leaf([1.0])), "detach"),
    "list of lists of values": (lambda: np.stack([[Value(1.0)], [Value(2.0)]]), r"np\.stack"),
    "np.dot with a list of tensors": (lambda: np.dot(leaf([1.0]), [leaf(1.0)]), r"np\.stack"),
    "np.where with a list of tensors": (
        lambda: np.where([True], [leaf(1.0)], leaf([1.0])),
        r"np\.stack",
    ),
    "np.subtract.reduce": (lambda: np.subtract.reduce(leaf([1.0])), r"np\.subtract\.reduce"),
    "np.divide.accumulate": (
        lambda: np.divide.accumulate(leaf([1.0])),
        r"np\.divide\.accumulate",
    ),
    "np.multiply.reduceat": (
        lambda: np.multiply.reduceat(leaf([1.0]), [0]),
        r"np\.multiply\.reduceat",
    ),
    "np.add.outer with dtype": (
        lambda: np.add.outer(leaf([1.0]), [1.0], dtype=np.float32),
        r"np\.add.*dtype",
    ),
    "np.full": (lambda: np.full(2, _result()), r"\.data|detach"),
    "np.vectorize": (lambda: np.vectorize(math.sin)(leaf([1.0])), r"\.data|detach"),
    "np.copyto": (lambda: np.copyto(np.zeros(1), leaf([1.0])), r"np\.copyto"),
    "np.pad by a function": (
        lambda: np.pad(leaf([1.0]), 1, lambda *_: None),
        r"np\.pad.*mode",
    ),
    "np.pad with what lies in memory": (lambda: np.pad(leaf([1.0]), 1, "empty"), r"np\.pad.*empty"),
    "t.sort()": (lambda: leaf([1.0]).sort(), r"np\.sort"),
    "t.partition()": (lambda: leaf([1.0]).partition(0), r"np\.partition"),
    "t.put()": (lambda: leaf([1.0]).put([0], 1.0), r"\.at\["),
    "t.fill()": (lambda: leaf([1.0]).fill(1.0), r"np\.full_like"),
    "t.resize()": (lambda: leaf([1.0]).resize((2,)), r"np\.resize"),
    "backward of a constant": (lambda: tensor([1.0]).backward(), "requires a gradient"),
    "requires_grad_ of a result": (lambda: _result().requires_grad_(), "detach"),
}


@pytest.mark.parametrize("call", REFUSED)
def test_refused_with_a_remedy(call: str) -> None:
    f, message = REFUSED[call]
    with pytest.raises(NotDifferentiableError, match=message):
        f()


def test_other_refusals() -> None:
    with pytest.raises((NotDifferentiableError, ValueError)):  # NumPy words this one
        _assign(np.zeros(2), 0, _result())
    with pytest.raises(NotDifferentiableError):
        _assign(np.zeros(2), 0, Value(1.0) * 2)
    with pytest.raises((TypeError, NotDifferentiableError)):
        Value(1.0) + np.complex128(1j)
    with pytest.raises((TypeError, NotDifferentiableError)):
        Value(1.0) * 1j
    for bad in ("text", None, object(), [None], ["a"]):
        with pytest.raises(TypeError, match="number"):
            tensor(bad)
        with pytest.raises(TypeError):
            leaf([1.0]) + bad
    with pytest.raises(TypeError):
        iter(leaf(1.0))
    with pytest.raises(TypeError):
        len(leaf(1.0))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(leaf([1.0, 2.0]))
    with pytest.raises(ValueError, match="size 1"):
        leaf([1.0, 2.0]).item()


def test_a_refused_call_writes_nothing() -> None:
    buffer = np.full(1, 7.0)
    for call in (
        lambda: np.exp(leaf([1.0]), out=buffer),
        lambda: leaf([1.0]).sum(axis=0, keepdims=True, out=buffer),
        lambda: tg.relu(leaf([1.0]), out=buffer),
        lambda: operator.iadd(buffer, leaf([1.0])),
    ):
        with pytest.raises(NotDifferentiableError):
            call()
        assert buffer == 7.0


def test_no_object_array_comes_out_of_arithmetic() -> None:
    array, x, v = np.array([1.0, 2.0]), leaf([1.0, 2.0]), Value(2.0)
    for f in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
        for a, b in (
            (array, x),
            (x, array),
            (array, v),
            (v, array),
            (x, v),
            (v, x),
            (np.float64(2), x),
            (x, np.float64(2)),
            (np.float64(2), v),
            (v, np.float64(2)),
            (np.array(2.0), v),
            (v, np.array(2.0)),
            (np.int64(2), v),
            ([1.0, 2.0], x),
        ):
            y = f(a, b)
            assert isinstance(y, Tensor | Value), f"{f.__name__}({a!r}, {b!r}) is {type(y)}"
            assert y.requires_grad
            assert np.asarray(y.data).dtype == np.float64


def test_reading_is_free_without_a_gradient() -> None:
    constant = tensor([1.0, 2.0])
    assert_array_equal(np.asarray(constant), [1.0, 2.0])
    assert_array_equal(np.array([tensor(1.0), tensor(2.0)]), [1.0, 2.0])
    assert_array_equal(constant.numpy(), [1.0, 2.0])
    assert float(tensor(2.0) * 3.0) == 6.0
    with tg.no_grad():
        assert_array_equal(np.asarray(_result([1.0])), [2.0])
        assert_array_equal(np.array([Value(1.0), Value(2.0)]), [1.0, 2.0])
    x = leaf([1.0])
    assert not np.shares_memory(x.detach().data, x.data)
    assert not x.detach().requires_grad


def test_requires_grad_set_on_integers_by_hand() -> None:
    def differentiate() -> None:
        x = tensor([1, 2])
        x.requires_grad = True
        np.sum(x * 2.5).backward()

    with pytest.raises(TypeError, match="int"):  # at once, or when a gradient is to be stored
        differentiate()


def test_masked_arrays_are_refused() -> None:
    masked = np.ma.array([1.0, 2.0], mask=[True, False])
    for f in (operator.mul, operator.add):
        for a, b in ((masked, leaf([1.0, 2.0])), (leaf([1.0, 2.0]), masked)):
            with pytest.raises((NotDifferentiableError, TypeError)):
                f(a, b)


def test_index_with_a_float_is_an_error() -> None:
    for index in (1.0, leaf(1.0), Value(1.0), "a", [0.5]):
        with pytest.raises(IndexError):
            leaf([1.0, 2.0])[index]


def test_integer_tensors_are_indices() -> None:
    assert [10, 20][tensor(1)] == 20
    assert np.arange(3)[tensor([2, 0])].tolist() == [2, 0]
    assert list(range(tensor(3))) == [0, 1, 2]


# --- looks and labels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "text"),
    [
        (tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (leaf(1.0), "tensor(1., requires_grad=True)"),
        (leaf([1.0], label="w"), "tensor([1.], requires_grad=True, label='w')"),
        (tensor([1.0], np.float32), "tensor([1.], float32)"),
        (leaf([1.0]) * 2.0, "tensor([2.], <multiply>)"),
        (tensor([True]), "tensor([ True])"),
        (tensor([]), "tensor([])"),
        (Value(1.0), "Value(data=1.0, grad=0.0)"),
        (Value(1.0, label="a"), "Value(data=1.0, grad=0.0, label='a')"),
    ],
)
def test_repr(t: Any, text: str) -> None:
    assert repr(t) == text


def test_labels_name_a_node_in_errors() -> None:
    y = leaf([1.0, 2.0]) * 2.0
    y.label = "logits"
    with pytest.raises(NotDifferentiableError, match="'logits'"):
        np.asarray(y)
    v = Value(1.0, label="bias")
    with pytest.raises(NotDifferentiableError, match="'bias'"):
        np.asarray(v)


def test_assigning_data() -> None:
    x = leaf([1.0, 2.0], np.float32)
    x.data = [3, 4]
    assert x.dtype == np.float32
    assert_array_equal(x.data, [3, 4])
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        x.data = [1.0, 2.0, 3.0]
    integers = tensor([1, 2])
    with pytest.raises(TypeError, match="dtype"):
        integers.data = [1.5, 2.5]
    assert_array_equal(integers.data, [1, 2])
    source = np.array([5.0, 6.0], np.float32)
    x.data = source
    source[:] = 0.0
    assert_array_equal(x.data, [5, 6])


# --- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [lambda: leaf([1.0, 2.0], label="w"), lambda: Value(2.0, label="w")],
    ids=["tensor", "value"],
)
@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["deepcopy", "pickle"],
)
def test_a_leaf_can_be_copied(make: Any, duplicate: Any) -> None:
    x = make()
    np.sum(x * x).backward()
    twin = duplicate(x)
    assert type(twin) is type(x)
    assert twin.label == "w"
    assert twin.requires_grad
    assert twin.is_leaf
    assert twin.serial != x.serial
    assert_array_equal(twin.data, x.data)
    assert_array_equal(twin.grad, x.grad)
    np.sum(twin * twin * twin).backward()
    assert_array_equal(x.grad, 2 * np.asarray(x.data))
    twin.data -= 1.0
    assert_array_equal(x.data, make().data)


def test_copies_share_no_memory() -> None:
    x = leaf([1.0, 2.0])
    np.sum(x * x).backward()
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert not np.shares_memory(twin.data, x.data)
        assert not np.shares_memory(twin.grad, x.grad)


@pytest.mark.parametrize("y", [leaf(1.0) * 2.0, Value(1.0) * 2.0], ids=["tensor", "value"])
def test_a_result_cannot_be_pickled(y: Any) -> None:
    with pytest.raises((TypeError, pickle.PicklingError), match=r"\.data"):
        pickle.dumps(y)


def test_deepcopy_of_a_graph() -> None:
    x, v = leaf([1.0, 2.0]), Value(3.0)
    y = np.sum(np.tanh(x) * x * v)
    twin_x, twin_v, twin = copy.deepcopy((x, v, y))
    twin.backward()
    assert x.grad is None
    assert v.grad == 0.0
    y.backward()
    assert_array_equal(twin_x.grad, x.grad)
    assert twin_v.grad == v.grad
    x.data -= 1.0
    twin.backward()  # not stale: the copy stands on its own
    z = copy.deepcopy(twin_x) * 2.0
    assert z.requires_grad


def test_deepcopy_of_a_stale_graph_is_stale() -> None:
    for x in (leaf(2.0), Value(2.0)):
        y = x * x
        x.data = 5.0
        with pytest.raises(tg.StaleGraphError):
            copy.deepcopy(y).backward()


# --- operands that hold no plain numbers ---------------------------------------------------------

_NO_NUMBERS = {
    "objects": np.array([1.0, 2.0], dtype=object),
    "text": np.array(["a", "b"]),
    "times": np.array([1, 2], "m8[s]"),
}


@pytest.mark.parametrize("kind", _NO_NUMBERS)
@pytest.mark.parametrize(
    "use",
    [
        lambda w, a: w * a,
        lambda w, a: a * w,
        lambda w, a: w + a,
        lambda w, a: np.where(w.data > 0, w, a),
        lambda w, a: np.stack([w, a]),
        lambda w, a: np.concatenate([w, a]),
        lambda w, a: np.maximum(w, a),
        lambda w, a: Value(1.0) * a,
    ],
)
def test_operands_without_numbers_are_refused(kind: str, use: Any) -> None:
    with pytest.raises(TypeError):
        use(leaf([1.0, -2.0]), _NO_NUMBERS[kind])


def test_a_function_as_a_branch_is_refused() -> None:
    w = leaf([1.0, -2.0])
    for branch in (None, lambda v: v):
        with pytest.raises(TypeError):
            np.where(w.data > 0, w, branch)


#: How each function that has a remedy is called; the others take the tensor alone.
_ARGUMENTS = {
    np.put: ([0], 1.0),
    np.place: ([True], [1.0]),
    np.putmask: ([True], [1.0]),
    np.copyto: (1.0,),
    np.put_along_axis: (np.array([[0]]), 1.0, 1),
    np.fill_diagonal: (1.0,),
    np.polyfit: ([1.0, 2.0], 1),
}
_ARGUMENTS |= {f.at: ([0], 1.0) for f in (np.add, np.subtract, np.multiply, np.maximum, np.minimum)}
_IN_FILES = {np.save, np.savez, np.savetxt}


@pytest.mark.parametrize("function", INSTEAD, ids=lambda f: f.__name__)
def test_a_missing_function_names_what_to_use(function: Any) -> None:
    x = leaf([[1.0, 2.0]])
    args = ("never-written", x) if function in _IN_FILES else (x, *_ARGUMENTS.get(function, ()))
    with pytest.raises(NotDifferentiableError, match=re.escape(INSTEAD[function])):
        function(*args)


def test_unknown_keywords_of_methods_name_those_of_numpy() -> None:
    with pytest.raises(TypeError, match="axis"):
        leaf([1.0]).sum(dim=0)


def test_leaves_are_written_to_where_nothing_is_recorded() -> None:
    w, c = leaf([1.0, 2.0]), tensor([1.0, 2.0])
    c[0] = 5.0
    assert_array_equal(c.data, [5.0, 2.0])
    y = np.sum(w * w)
    with tg.no_grad():
        w[0] = 5.0
    assert_array_equal(w.data, [5.0, 2.0])
    with pytest.raises(tg.StaleGraphError):
        y.backward()
    with pytest.raises(NotDifferentiableError):
        c[0] = w[1]
