"""Shapes, joining, cutting and padding by NumPy's names: what the registry's calls do not show."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tinygrad_nn import NotDifferentiableError, Tensor, Value, tensor

X = np.array([[0.3, -1.2, 2.0], [1.5, 0.7, -0.4]])


def leaf(x: Any, dtype: Any = None) -> Tensor:
    return tensor(x, dtype, requires_grad=True)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "reshape by layout": (
        lambda: np.reshape(leaf(X), 6, order="A"),
        NotDifferentiableError,
        r"np\.reshape.*order='A'.*'C' or 'F'",
    ),
    "reshape without a copy": (
        lambda: np.reshape(leaf(X), 6, copy=False),
        NotDifferentiableError,
        r"np\.reshape.*copy=False",
    ),
    "ravel by layout": (
        lambda: np.ravel(leaf(X), "K"),
        NotDifferentiableError,
        r"np\.ravel.*order='K'",
    ),
    "astype elsewhere": (lambda: np.astype(leaf(X), float, device="gpu"), ValueError, "device"),
    "concatenate into": (
        lambda: np.concatenate([leaf(X)], 0, np.zeros((2, 3))),
        NotDifferentiableError,
        "out",
    ),
    "stack into": (
        lambda: np.stack([leaf(X)], 0, np.zeros((1, 2, 3))),
        NotDifferentiableError,
        "out",
    ),
    "take into": (
        lambda: np.take(leaf(X), [0], 0, np.zeros((1, 3))),
        NotDifferentiableError,
        r"np\.take.*out",
    ),
    "trace into": (
        lambda: np.trace(leaf(X), 0, 0, 1, None, np.zeros(())),
        NotDifferentiableError,
        r"np\.trace.*out",
    ),
    "concatenate by another casting": (
        lambda: np.concatenate([leaf(X)], dtype=int),
        TypeError,
        "float64 to int64.*casting",
    ),
    "pad by a function": (
        lambda: np.pad(leaf(X), 1, lambda *_: None),
        NotDifferentiableError,
        r"np\.pad.*mode",
    ),
    "pad with anything": (lambda: np.pad(leaf(X), 1, "empty"), NotDifferentiableError, "empty"),
    "pad in no mode": (lambda: np.pad(leaf(X), 1, "mirror"), ValueError, "'mirror'"),
    "pad with another mode's keyword": (
        lambda: np.pad(leaf(X), 1, "edge", end_values=0),
        ValueError,
        "'edge' does not take end_values",
    ),
    "pad by less than nothing": (lambda: np.pad(leaf(X), -1), ValueError, "negative"),
    "pad by a fraction": (lambda: np.pad(leaf(X), 0.5), TypeError, "integers"),
    "pad of no reflection": (
        lambda: np.pad(leaf(X), 1, "reflect", reflect_type="none"),
        ValueError,
        "reflect_type",
    ),
    "pad of an empty axis": (
        lambda: np.pad(leaf(X)[:0], 1, "edge"),
        ValueError,
        "axis 0, which is empty",
    ),
    "pad by the maximum of nothing": (
        lambda: np.pad(leaf(X), 1, "maximum", stat_length=0),
        ValueError,
        "stat_length",
    ),
    "fractions inserted among integers": (
        lambda: np.insert(np.array([1, 2]), 0, leaf(0.5)),
        TypeError,
        "insert.*astype",
    ),
    "insert out of range": (lambda: np.insert(leaf(X), 7, 0.0), IndexError, "7"),
    "delete out of range": (lambda: np.delete(leaf(X), [7]), IndexError, "7"),
    "take out of range": (lambda: np.take(leaf(X), [6]), IndexError, "6"),
    "take from nothing": (lambda: np.take(leaf([]), [0], mode="wrap"), IndexError, "out of bounds"),
    "take by a fraction": (lambda: np.take(leaf(X), [0.5]), TypeError, "integers"),
    "take in no mode": (lambda: np.take(leaf(X), [0], mode="wrong"), ValueError, "'wrong'"),
    "choose out of range": (lambda: np.choose([2, -1], leaf([1.0, 2.0])), ValueError, "2 choices"),
    "select by numbers": (lambda: np.select([X], [leaf(X)]), TypeError, "boolean"),
    "select of too few": (lambda: np.select([X > 0], [leaf(X)] * 2), ValueError, "as many"),
    "piecewise of too few": (lambda: np.piecewise(leaf(X), [X > 0], []), ValueError, "functions"),
    "compress by a matrix": (lambda: np.compress(X > 0, leaf(X)), ValueError, "one axis"),
    "split unevenly": (lambda: np.split(leaf(X), 2, axis=1), ValueError, r"np\.array_split"),
    "split into none": (lambda: np.array_split(leaf(X), 0), ValueError, "larger than 0"),
    "hsplit of a number": (lambda: np.hsplit(leaf(1.0), 1), ValueError, "1 axes or more"),
    "vsplit of a row": (lambda: np.vsplit(leaf(X[0]), 1), ValueError, "2 axes or more"),
    "dsplit of a matrix": (lambda: np.dsplit(leaf(X), 1), ValueError, "3 axes or more"),
    "block of nothing": (lambda: np.block([[], leaf(X)]), ValueError, "empty"),
    "block of different depth": (lambda: np.block([[leaf(X)], leaf(X)]), ValueError, r"\[1, 2\]"),
    "fliplr of a row": (lambda: np.fliplr(leaf(X[0])), ValueError, "two axes"),
    "flipud of a number": (lambda: np.flipud(leaf(1.0)), ValueError, "axis"),
    "rot90 in a line": (lambda: np.rot90(leaf(X), 1, (0, 0)), ValueError, "repeated"),
    "rot90 in space": (lambda: np.rot90(leaf(X[None]), 1, (0, 1, 2)), ValueError, "two"),
    "diag of a stack": (lambda: np.diag(leaf(X[None])), ValueError, "one axis or two"),
    "tril of a number": (lambda: np.tril(leaf(1.0)), ValueError, "axis"),
    "matrix_transpose of a row": (lambda: np.matrix_transpose(leaf(X[0])), ValueError, "two axes"),
    "meshgrid of no order": (
        lambda: np.meshgrid(leaf([1.0]), indexing="yx"),
        ValueError,
        "'xy' or 'ij'",
    ),
    "resize to less than nothing": (lambda: np.resize(leaf(X), -1), ValueError, "negative"),
    "trim at no end": (lambda: np.trim_zeros(leaf(X[0]), "x"), ValueError, "'f', 'b'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


PADS: list[tuple[str, dict[str, Any]]] = [
    (mode, {})
    for mode in (
        "constant", "edge", "wrap", "linear_ramp", "maximum", "mean", "minimum", "reflect",
        "symmetric",
    )
] + [(mode, {"reflect_type": "odd"}) for mode in ("reflect", "symmetric")]  # fmt: skip


@pytest.mark.parametrize(("mode", "options"), PADS)
def test_padded_integers_are_constants(mode: Any, options: dict[str, Any]) -> None:
    x = np.array([[3, 1, 2], [4, 0, 5]])
    y = np.pad(tensor(x), (2, 3), mode, **options)
    expected = np.pad(x, (2, 3), mode, **options)
    assert not y.requires_grad
    assert y.dtype == expected.dtype
    assert_array_equal(y.data, expected)


def test_padding_by_tensors() -> None:
    x, c = leaf(X), leaf([[1.0, 2.0], [3.0, 4.0]])
    y = np.pad(x, 1, constant_values=c)
    assert_array_equal(y.data, np.pad(X, 1, constant_values=((1.0, 2.0), (3.0, 4.0))))
    y.sum().backward()
    assert_array_equal(x.grad, np.ones((2, 3)))
    assert_array_equal(c.grad, [[3.0, 3.0], [4.0, 4.0]])


def test_what_is_cut_off_may_be_infinite() -> None:
    x = leaf([[1.0, np.nan], [np.inf, 2.0]])
    y = np.triu(np.tril(x))
    y.sum().backward()
    assert_array_equal(y.data, [[1.0, 0.0], [0.0, 2.0]])
    assert_array_equal(x.grad, np.eye(2))


def test_all_zeros_are_trimmed() -> None:
    for x in (np.zeros(3), np.zeros((2, 2))):
        for trim in ("f", "b", "fb"):
            y = np.trim_zeros(leaf(x), trim)
            assert y.shape == np.trim_zeros(x, trim).shape


def test_scalars_are_joined() -> None:
    a, b = Value(1.0), Value(2.0)
    y = np.concatenate([np.vstack([a, b]).T, np.atleast_2d(np.hstack([b, 3.0]))])
    assert_array_equal(y.data, [[1.0, 2.0], [2.0, 3.0]])
    np.sum(y * y).backward()
    assert (a.grad, b.grad) == (2.0, 8.0)


def test_concatenate_converts() -> None:
    x, y = leaf([1.0], np.float32), leaf([2.0])
    z = np.concatenate([x, y], dtype=np.float32)
    assert z.dtype == np.float32
    z.sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)
    assert np.stack([x, y], dtype=np.complex128).dtype == complex
    np.sum(np.real(np.stack([x, y], dtype=np.complex128) * 2j)).backward()
    assert_array_equal(y.grad, [1.0])


@pytest.mark.parametrize("join", [np.concatenate, np.stack])
def test_many_pieces_take_time_in_proportion(join: Callable[..., Any]) -> None:
    def seconds(n: int) -> float:
        pieces = [leaf([1.0, 2.0]) for _ in range(n)]
        y = np.sum(join(pieces) ** 2)
        start = time.perf_counter()
        y.backward()
        assert_array_equal(pieces[n // 2].grad, [2.0, 4.0])
        return time.perf_counter() - start

    few = min(seconds(1000) for _ in range(3))
    many = min(seconds(8000) for _ in range(3))
    assert many < 8 * few * 4  # 64 times as long it would be in proportion to the square
