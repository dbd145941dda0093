"""Keywords of NumPy's functions on tensors: what is refused, and what integers and nan give."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tinygrad_nn import NotDifferentiableError, Tensor, tensor

X = np.array([[0.3, -1.2, 2.0], [1.5, 0.7, -0.4]])
MASK = np.array([1.0, 0.0, 2.0])

windows = np.lib.stride_tricks.sliding_window_view


def leaf(x: Any) -> Tensor:
    return tensor(x, requires_grad=True)


T = leaf(X)
ROW = leaf(X[0])

#: What a function computes in, where a dtype of another kind would give other numbers.
OTHER_KINDS: dict[str, Callable[[Any], Any]] = {
    "mean": lambda dtype: np.mean(T, dtype=dtype),
    "var": lambda dtype: np.var(T, dtype=dtype),
    "std": lambda dtype: np.std(T, dtype=dtype, axis=0),
    "nanmean": lambda dtype: np.nanmean(T, dtype=dtype),
    "nanvar": lambda dtype: np.nanvar(T, dtype=dtype),
    "nanstd": lambda dtype: np.nanstd(T, dtype=dtype),
    "cov": lambda dtype: np.cov(T, dtype=dtype),
    "hypot.reduce": lambda dtype: np.hypot.reduce(T, dtype=dtype),
    "logaddexp.reduce": lambda dtype: np.logaddexp.reduce(T, dtype=dtype),
    "logaddexp2.reduce": lambda dtype: np.logaddexp2.reduce(T, dtype=dtype),
    "logaddexp.accumulate": lambda dtype: np.logaddexp.accumulate(T, dtype=dtype),
    "logaddexp2.accumulate": lambda dtype: np.logaddexp2.accumulate(T, dtype=dtype),
}


@pytest.mark.parametrize("dtype", [int, bool, np.int8])
@pytest.mark.parametrize("name", OTHER_KINDS)
def test_dtype_of_another_kind_is_refused(name: str, dtype: Any) -> None:
    with pytest.raises(NotDifferentiableError, match=rf"np\.{name}\(.*dtype={np.dtype(dtype)}"):
        OTHER_KINDS[name](dtype)


@pytest.mark.parametrize(
    "function",
    [
        np.sum, np.prod, np.max, np.min, np.mean, np.var, np.std, np.nansum, np.nanmean, np.nanvar,
        np.all, np.any, np.add.reduce,
    ],
)  # fmt: skip
def test_masks_are_boolean(function: Callable[..., Any]) -> None:
    initial = {"initial": 0.0} if function in (np.max, np.min) else {}
    with pytest.raises(TypeError, match="boolean, got dtype float64"):
        function(T, where=MASK, **initial)
    with pytest.raises(ValueError, match="does not broadcast"):
        function(T, where=np.ones((4, 2, 3), bool), **initial)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "both spellings of the bounds": (lambda: np.clip(T, -0.5, 1.0, min=0.0), ValueError, "either"),
    "one bound by position": (lambda: np.clip(T, 0.0), TypeError, "together"),
    "windows along no axis": (lambda: windows(ROW, 2, axis=1), ValueError, "out of bounds"),
    "windows of a number": (lambda: windows(leaf(1.0), 1, axis=0), ValueError, "out of bounds"),
    "accumulate along all axes": (
        lambda: np.add.accumulate(T, axis=None), ValueError, "add.accumulate goes along one axis",
    ),
    "accumulate along two axes": (
        lambda: np.logaddexp.accumulate(T, axis=(0, 1)), ValueError, "one axis",
    ),
    "accumulate a number": (lambda: np.maximum.accumulate(leaf(1.0)), TypeError, "needs an axis"),
    "gradient along an axis twice": (
        lambda: np.gradient(T, axis=(0, 0)), ValueError, "repeated axis",
    ),
    "linspace along no axis": (lambda: np.linspace(T, 1.0, axis=None), TypeError, "NoneType"),
    "logspace along no axis": (lambda: np.logspace(T, 1.0, axis=None), TypeError, "NoneType"),
    "geomspace along no axis": (
        lambda: np.geomspace(np.abs(T), 1.0, axis=None), TypeError, "NoneType",
    ),
    "partition of another kind": (
        lambda: np.partition(T, 1, kind="quicksort"), ValueError, "introselect",
    ),
    "sort by kind and stable": (
        lambda: np.sort(T, kind="stable", stable=False), ValueError, "kind or stable",
    ),
    "mean that does not fit": (
        lambda: np.nanvar(ROW, mean=np.ones((1, 3))), ValueError, r"nanvar.*\(1, 3\).*\(3,\)",
    ),
    "norm along a list": (lambda: np.linalg.norm(T, axis=[0, 1]), TypeError, "list"),
    "mean of a number along an axis": (lambda: np.mean(leaf(1.0), axis=0), ValueError, "axis 0"),
    "apply along no axis": (
        lambda: np.apply_along_axis(np.cumsum, 0, leaf(1.0)), ValueError, "out of bounds",
    ),
    "apply over no axis": (
        lambda: np.apply_over_axes(np.sum, leaf(1.0), 0), ValueError, "out of bounds",
    ),
    "copy in no order": (lambda: np.copy(T, order="X"), ValueError, "order"),
    "variance of complex numbers as real ones": (
        lambda: np.nanstd(leaf(X + 1j), dtype=float), NotDifferentiableError, "complex",
    ),
    "any of another dtype": (
        lambda: np.logical_or.reduce(T, dtype=float), NotDifferentiableError, "boolean",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


INTEGERS = np.array([[2, 3, 5], [1, 4, -7]])
SMALL = INTEGERS.astype(np.int8)
TRUTHS = np.array([[True, False, True], [True, True, True]])
COLUMN = np.array([[True], [False]])

#: Functions of what has no gradient, and an array: value and dtype are NumPy's.
CONSTANT: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "prod from a fraction": (lambda x: np.prod(x, initial=2.5), INTEGERS),
    "sum from a fraction": (lambda x: np.sum(x, initial=2.5, axis=0), INTEGERS),
    "max from a fraction": (lambda x: np.max(x, initial=3.5, axis=1), INTEGERS),
    "masked max": (lambda x: np.max(x, initial=2.5, where=COLUMN, axis=1), INTEGERS),
    "min of truths": (lambda x: np.min(x, initial=-np.inf), TRUTHS),
    "sum of small integers": (lambda x: np.sum(x, dtype=np.int8, axis=0), INTEGERS * 100),
    "modf of integers": (np.modf, INTEGERS),
    "modf of truths": (np.modf, TRUTHS),
    "vecdot of truths": (lambda x: np.vecdot(x, x), TRUTHS),
    "vecdot of small integers": (lambda x: np.vecdot(x, x), SMALL),
    "logaddexp of truths": (np.logaddexp.reduce, TRUTHS),
    "logaddexp2 of truths": (np.logaddexp2.reduce, TRUTHS),
    "logaddexp of small integers": (np.logaddexp.accumulate, SMALL),
    "hypot of truths": (lambda x: np.hypot.reduce(x, where=COLUMN), TRUTHS),
    "padded by the mean": (lambda x: np.pad(x, 1, mode="mean"), TRUTHS),
    "padded by the median": (lambda x: np.pad(x, 1, mode="median"), TRUTHS),
    "padded by a ramp": (lambda x: np.pad(x, 1, mode="linear_ramp"), TRUTHS),
    "padded oddly": (lambda x: np.pad(x, 1, mode="reflect", reflect_type="odd"), TRUTHS),
    "clip of truths": (lambda x: np.clip(x, min=False), TRUTHS),
    "eigenvalues of truths": (np.linalg.eigvalsh, np.eye(3, dtype=bool)),
    "cholesky of truths": (np.linalg.cholesky, np.eye(3, dtype=bool)),
    "cov with frequencies": (
        lambda x: np.cov(x, fweights=[1, 2, 3], dtype=np.float32), INTEGERS,
    ),
    "product of nothing": (lambda x: np.polymul(x, x), np.zeros(0)),
    "cumsum of nothing": (lambda x: np.apply_along_axis(np.cumsum, 0, x), np.zeros((0, 3))),
    "lexsort": (lambda x: np.lexsort((x[0], x[1])), X),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("case", CONSTANT)
def test_value_and_type_are_numpys(case: str) -> None:
    function, x = CONSTANT[case]
    found, expected = function(tensor(x)), function(x)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for y, z in pairs:
        assert y.dtype == z.dtype
        assert_allclose(y.data, z, rtol=1e-3 if z.dtype.char == "e" else 1e-6)


# --- nan and infinities --------------------------------------------------------------------------


def gradient(f: Callable[[Any], Any], x: Any) -> Any:
    t = leaf(x)
    f(t).backward()
    return t.grad


def test_i0_of_nan_and_of_large_numbers() -> None:
    expected = gradient(lambda x: np.i0(x).sum(), [1.0, -2.0])
    with np.errstate(all="ignore"):
        found = gradient(lambda x: np.i0(x).sum(), [1.0, np.nan, -2.0, 1e300, -800.0])
    assert_allclose(found[[0, 2]], expected)
    assert_array_equal(found[[1, 3, 4]], [np.nan, np.inf, -np.inf])


def test_determinant_of_matrices_one_with_nan() -> None:
    x = np.array([[[1.0, 2.0], [2.0, 4.0]], [[np.nan, 1.0], [2.0, 3.0]]])
    with np.errstate(invalid="ignore"):
        found = gradient(lambda x: np.linalg.det(x).sum(), x)
    assert_allclose(found[0], [[4.0, -2.0], [-2.0, 1.0]], atol=1e-14)
    assert np.isnan(found[1]).all()


def test_running_logarithm_of_sums_from_nothing_on() -> None:
    x = np.array([-np.inf, -np.inf, 0.0, 1.0, -np.inf, 2.0])
    found = gradient(lambda x: np.logaddexp.accumulate(x)[2:].sum(), x)
    expected = gradient(lambda x: (np.logaddexp.accumulate(x) * [1, 2, 1]).sum(), [0.0, 1.0, 2.0])
    assert_array_equal(found[[0, 1, 4]], 0.0)
    assert_allclose(found[[2, 3, 5]], expected)


def test_running_logarithm_of_infinite_sums() -> None:
    found = gradient(lambda x: np.logaddexp.accumulate(x).sum(), [0.0, np.inf, 1.0])
    assert_array_equal(found, [1.0, 2.0, 0.0])
