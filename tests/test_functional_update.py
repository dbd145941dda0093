"""Updates that return a new array: values as NumPy assigns them, derivatives of both arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_primitives import close, numeric

from tinygrad_nn import NotDifferentiableError, ShapeError, Tensor, tensor
from tinygrad_nn.backward import pull_back
from tinygrad_nn.functional_update import At, put_along_axis

Array = np.ndarray
MASK = np.array([[True, False, True], [False, False, True]])


def leaf(x: Any, dtype: Any = None) -> Tensor:
    return tensor(x, dtype, requires_grad=True)


def assigned(x: Array, index: Any, v: Any) -> Array:
    y = x.copy()
    y[index] = v
    return y


def at(f: np.ufunc) -> Callable[[Array, Any, Any], Array]:
    def reference(x: Array, index: Any, v: Any) -> Array:
        y = x.copy()
        f.at(y, index, v)
        return y

    return reference


METHODS: dict[str, Callable[[Array, Any, Any], Array]] = {
    "set": assigned,
    "add": at(np.add),
    "subtract": at(np.subtract),
    "multiply": at(np.multiply),
    "divide": at(np.divide),
    "power": at(np.power),
    "max": at(np.maximum),
    "min": at(np.minimum),
}

#: Shape, index, shape of the values.
INDICES: list[tuple[tuple[int, ...], Any, tuple[int, ...]]] = [
    ((4,), 1, ()),
    ((4,), -1, ()),
    ((4,), slice(3, 0, -2), (2,)),
    ((4,), slice(None), ()),
    ((2, 3), (), (2, 3)),
    ((2, 3), (slice(None), 1), (1,)),
    ((2, 3), (..., None, -1), (2, 1)),
    ((2, 3), 0, ()),
    ((3,), [0, 0, 2], (3,)),
    ((3,), [0, 0, 0, 2, 0], ()),
    ((3,), [0, -3], (2,)),
    ((3,), [], (0,)),
    ((2, 3), (np.array([1, 0, 1]), np.array([2, 2, 2])), (3,)),
    ((2, 3), (slice(None), np.array([[0, 0], [2, 0]])), (2, 1, 2)),
    ((2, 3), np.array([1, 1]), (3,)),
    ((2, 3), MASK, (3,)),
    ((2, 3), (slice(None), [True, False, True]), (2, 1)),
    ((2, 3), (np.array([True, True]), np.array([2, 2])), (2,)),
    ((3, 4), np.ix_([0, 2, 2], [1, 3]), (3, 2)),
    ((2, 0), 1, (0,)),
    ((), (), ()),
]


@pytest.mark.parametrize("index", range(len(INDICES)))
@pytest.mark.parametrize("method", METHODS)
def test_value_and_derivatives(method: str, index: int) -> None:
    shape, where, lengths = INDICES[index]
    rng = np.random.default_rng(index)
    x, v = rng.uniform(0.5, 2.0, shape), rng.uniform(0.5, 2.0, lengths)
    w, a, b = (rng.uniform(0.5, 1.5, s) for s in (shape, shape, lengths))

    def f(x: Array, v: Array) -> float:
        return float(np.sum(w * METHODS[method](x, where, v)))

    tx, tv = leaf(x), leaf(v)
    y = getattr(tx.at[where], method)(tv)
    assert isinstance(y, Tensor)
    assert_allclose(y.data, METHODS[method](x, where, v), rtol=1e-14)
    assert_array_equal(tx.data, x)

    def slopes(x: Array, v: Array) -> tuple[Array, Array]:
        tx, tv = leaf(x), leaf(v)
        y = getattr(tx.at[where], method)(tv)
        _, found = pull_back([(y, w)])
        return found[tx.serial], found[tv.serial]

    gx, gv = slopes(x, v)
    if method != "set" or len(set(np.ravel(_positions(shape, where)))) == np.size(
        _positions(shape, where)
    ):
        close(gv, numeric(lambda v: f(x, v), v))
    close(gx, numeric(lambda x: f(x, v), x))

    _, first = pull_back([(y, tensor(w))], record=True)
    total = np.sum(first[tx.serial] * a) + np.sum(first[tv.serial] * b)

    def slope(x: Array, v: Array) -> float:
        gx, gv = slopes(x, v)
        return float(np.sum(gx * a) + np.sum(gv * b))

    second = pull_back([(total, np.ones(()))])[1] if total.requires_grad else {}
    close(second.get(tx.serial, np.zeros(shape)), numeric(lambda x: slope(x, v), x))
    close(second.get(tv.serial, np.zeros(lengths)), numeric(lambda v: slope(x, v), v))


def _positions(shape: tuple[int, ...], index: Any) -> Any:
    return np.arange(int(np.prod(shape))).reshape(shape)[index]


def test_the_last_of_several_values_stays_and_gets_the_gradient() -> None:
    x, v = leaf([1.0, 2.0, 3.0]), leaf([5.0, 6.0])
    y = x.at[[0, 0]].set(v)
    y.sum().backward()
    assert_array_equal(y.data, [6.0, 2.0, 3.0])
    assert_array_equal(x.grad, [0.0, 1.0, 1.0])
    assert_array_equal(v.grad, [0.0, 1.0])


def test_values_added_at_one_place_are_all_added() -> None:
    x, v = leaf([1.0, 2.0, 3.0]), leaf([5.0, 6.0])
    y = x.at[[0, 0]].add(v)
    y.sum().backward()
    assert_array_equal(y.data, [12.0, 2.0, 3.0])
    assert_array_equal(x.grad, [1.0, 1.0, 1.0])
    assert_array_equal(v.grad, [1.0, 1.0])


def test_factors_at_one_place_that_are_zero() -> None:
    x, v = leaf([3.0, 2.0]), leaf([0.0, 5.0])
    y = x.at[[0, 0]].multiply(v)
    y.sum().backward()
    assert_array_equal(y.data, [0.0, 2.0])
    assert_array_equal(x.grad, [0.0, 1.0])
    assert_array_equal(v.grad, [15.0, 0.0])


def test_a_tie_is_split() -> None:
    x, v = leaf([1.0, 2.0]), leaf(1.0)
    x.at[0].max(v).sum().backward()
    assert_array_equal(x.grad, [0.5, 1.0])
    assert_array_equal(v.grad, 0.5)


def test_get_is_indexing() -> None:
    x = leaf([1.0, 2.0, 3.0])
    x.at[[0, 0, 2]].get().sum().backward()
    assert_array_equal(x.grad, [2.0, 0.0, 1.0])


def test_infinities_stay_where_they_are() -> None:
    x = leaf([np.inf, np.nan, 1.0])
    y = x.at[:2].set(0.0)
    y.sum().backward()
    assert_array_equal(y.data, [0.0, 0.0, 1.0])
    assert_array_equal(x.grad, [0.0, 0.0, 1.0])


@pytest.mark.parametrize("method", METHODS)
def test_numbers_arrays_and_tensors_in_every_place(method: str) -> None:
    for x in (np.array([1.0, 2.0, 3.0]), tensor([1.0, 2.0, 3.0]), leaf([1.0, 2.0, 3.0])):
        for v in (2, 2.0, [2.0, 2.0], np.array(2.0), tensor(2.0), leaf([2.0])):
            y = getattr(At(x)[1:], method)(v)
            expected = METHODS[method](np.array([1.0, 2.0, 3.0]), slice(1, None), 2.0)
            assert_array_equal(y.data if isinstance(y, Tensor) else y, expected)
            moving = any(isinstance(a, Tensor) and a.requires_grad for a in (x, v))
            assert isinstance(y, Tensor) or not moving
            assert getattr(y, "requires_grad", False) == moving


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("method", METHODS)
def test_the_array_keeps_its_dtype(method: str, dtype: type) -> None:
    x, v = leaf([1.0, 2.0, 3.0], dtype), leaf([2.0, 2.0])
    y = getattr(x.at[[0, 0]], method)(v)
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad is not None
    assert v.grad is not None
    assert x.grad.dtype == dtype
    assert v.grad.dtype == np.float64


def test_complex_numbers() -> None:
    x, v = leaf([1.0 + 1j, 2.0]), leaf(3.0)
    y = x.at[0].set(v)
    assert y.dtype == complex
    np.sum(np.real(y * (2.0 + 1j))).backward()
    assert v.grad is not None
    assert v.grad.dtype == float
    assert_array_equal(v.grad, 2.0)


def test_an_index_may_be_a_tensor() -> None:
    x = leaf([[1.0, 5.0], [7.0, 2.0]])
    y = x.at[np.arange(2), np.argmax(x, axis=1)].set(0.0)
    assert_array_equal(y.data, [[1.0, 0.0], [0.0, 2.0]])
    assert_array_equal(x.at[x > 1.5].multiply(0.0).data, [[1.0, 0.0], [0.0, 0.0]])


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "out of range": (lambda: leaf([1.0]).at[1].set(0.0), IndexError, "out of bounds"),
    "array out of range": (lambda: leaf([1.0]).at[[0, -2]].add(0.0), IndexError, "out of bounds"),
    "values of another shape": (
        lambda: leaf([1.0, 2.0]).at[:].set([1.0, 2.0, 3.0]),
        ShapeError,
        r"\(3,\).*\(2,\)",
    ),
    "more axes than selected": (lambda: leaf([1.0]).at[0].set([1.0]), ShapeError, "broadcast"),
    "fractions into integers": (lambda: tensor([1, 2]).at[0].set(0.5), TypeError, "astype"),
    "complex into real": (lambda: leaf([1.0]).at[0].add(1j), TypeError, "astype"),
    "integers divided": (lambda: tensor([1, 2]).at[[0, 0]].divide(2), TypeError, "astype"),
    "index out of range": (
        lambda: put_along_axis(leaf([1.0]), [1], 0.0, 0),
        IndexError,
        "out of bounds",
    ),
    "indices of fewer axes": (
        lambda: put_along_axis(leaf([[1.0]]), [0], 0.0, 0),
        ShapeError,
        "as many axes",
    ),
    "an axis too many": (
        lambda: put_along_axis(leaf([1.0]), [0], 0.0, 1),
        np.exceptions.AxisError,
        "axis 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("indices", "values", "axis"),
    [
        ([[1], [0]], (2, 1), 1),
        ([[1, 0, 1]], (1, 3), 0),
        ([[1, 1], [0, 2]], (2, 2), -1),
        ([[0]], (), 1),
        ([5, 0], (2,), None),
    ],
)
def test_put_along_axis_is_numpys(indices: Any, values: Any, axis: int | None) -> None:
    rng = np.random.default_rng(0)
    x, v = rng.uniform(size=(2, 3)), rng.uniform(size=values)
    expected = x.copy()
    np.put_along_axis(expected, np.array(indices), v, axis)
    tx, tv = leaf(x), leaf(v)
    y = put_along_axis(tx, indices, tv, axis)
    assert_array_equal(y.data, expected)
    y.sum().backward()
    kept = x.copy()
    np.put_along_axis(kept, np.array(indices), np.inf, axis)
    assert_array_equal(tx.grad, np.isfinite(kept))
    assert tv.grad is not None
    assert tv.grad.sum() == np.isinf(kept).sum()
    assert isinstance(put_along_axis(x, indices, v, axis), np.ndarray)


@pytest.mark.parametrize(
    "write",
    [
        lambda t: np.put_along_axis(t, np.array([0]), 1.0, 0),
        lambda t: np.put(t, [0], 1.0),
        lambda t: np.place(t, [True, False], 1.0),
        lambda t: np.putmask(t, [True, False], 1.0),
        lambda t: np.copyto(t, 1.0),
        lambda t: np.fill_diagonal(t, 1.0),
        lambda t: np.copyto(np.zeros(2), t),
    ],
)
def test_what_writes_in_place_is_refused(write: Callable[[Any], Any]) -> None:
    t = leaf([1.0, 2.0])
    with pytest.raises(NotDifferentiableError):
        write(t)
    assert_array_equal(t.data, [1.0, 2.0])


def test_shown() -> None:
    x = tensor([1.0, 2.0])
    assert repr(x.at) == "At(tensor([1., 2.]))"
    assert repr(x.at[0]) == "Place(tensor([1., 2.]), (0,))"
