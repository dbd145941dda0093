"""Gradients of results that are computed already."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_nn as tg
from tinygrad_nn import NotDifferentiableError, ShapeError, StaleGraphError, Tensor, Value, tensor
from tinygrad_nn.autograd import grad

X = np.array([0.3, -1.2, 0.7])
W = np.array([1.5, -0.5, 2.0])


def leaf(x: Any, **keywords: Any) -> Tensor:
    return tensor(x, requires_grad=True, **keywords)


def assert_plain(found: tuple[Any, ...], *expected: Any) -> None:
    assert type(found) is tuple
    assert len(found) == len(expected)
    for g, wanted in zip(found, expected, strict=True):
        assert type(g) is np.ndarray
        assert g.shape == np.shape(wanted)
        assert g.flags.writeable
        assert_allclose(g, wanted, rtol=1e-12)


def test_one_output_and_one_input() -> None:
    x = leaf(X)
    assert_plain(grad(np.sum(x**3), x), 3.0 * X**2)
    assert_plain(grad(np.sum(x**3), [x]), 3.0 * X**2)
    assert_plain(grad([np.sum(x**3)], (x,)), 3.0 * X**2)
    assert x.grad is None


def test_several_outputs_and_inputs() -> None:
    x, w = leaf(X), leaf(W)
    y, z = x * w, np.sum(x)
    assert_plain(grad([y, z], [x, w], [X, 2.0]), X * W + 2.0, X * X)
    assert_plain(grad([z, z], x, [3.0, None]), np.full(3, 4.0))
    assert_plain(grad([z, z, np.sum(w)], [x, w]), np.full(3, 2.0), np.ones(3))
    assert_plain(grad(z, [x, x]), np.ones(3), np.ones(3))


def test_results_as_inputs() -> None:
    x = leaf(X)
    m = x * 2.0
    y = np.sum(m * m)
    assert_plain(grad(y, [m, x, m]), 4.0 * X, 8.0 * X, 4.0 * X)
    assert_plain(grad(y, [y]), 1.0)
    assert_plain(grad(m, [m, x], W), W, 2.0 * W)
    assert_plain(grad(x, x, W), W)
    # what lies on two ways at once
    assert_plain(grad([y, m], [m, x], [1.0, W]), 4.0 * X + W, 2.0 * (4.0 * X + W))


def test_cotangents() -> None:
    x = leaf(X)
    y = x * 2.0
    for c in (W, list(W), tensor(W), W.astype(np.float32), np.array([1, 2, 3])):
        data = c.data if isinstance(c, Tensor) else c
        assert_plain(grad(y, x, c), 2.0 * np.asarray(data))
    assert_plain(grad(np.sum(x), x, 2.5), np.full(3, 2.5))
    assert_plain(grad(np.sum(x).reshape(1, 1), x), np.ones(3))
    assert_plain(grad(np.sum(x), x, Value(2.0)), np.full(3, 2.0))


def test_each_of_its_dtype() -> None:
    a, b = leaf(X, dtype=np.float32), leaf(W)
    found = grad(np.sum(a * b), [a, b])
    assert [g.dtype for g in found] == [np.float32, np.float64]
    assert grad(a * a, a, W)[0].dtype == np.float32
    unused = grad(np.sum(np.floor(a) * b + a * 0.0), a)
    assert unused[0].dtype == np.float32


def test_nothing_flows() -> None:
    """Zeros where the graph is there and the derivative is not."""
    x, w = leaf(X), leaf(W)
    half = tg.Primitive(
        np.multiply, [None, lambda g, y, a, b: g * a], elementwise=True, name="half"
    )
    y = np.sum(half(x, w))
    assert_plain(grad(y, [x, w]), np.zeros(3), X)
    for found, expected in zip(grad(y, [x, w], create_graph=True), (np.zeros(3), X), strict=True):
        assert isinstance(found, Tensor)
        assert_array_equal(found.data, expected)


def test_unused_inputs() -> None:
    x, w = leaf(X, label="weights"), leaf(X)  # equal numbers, which are not what counts
    y = np.sum(w * w)
    with pytest.raises(NotDifferentiableError, match=r"do not depend on 'weights'; .*allow_unused"):
        grad(y, [w, x])
    first, second = grad(y, [w, x], allow_unused=True)
    assert second is None
    assert_plain((first,), 2.0 * X)
    one, two = leaf(2.0), leaf(2.0)
    found = grad(one * one, [one, two], allow_unused=True)
    assert found[0] == 4.0
    assert found[1] is None
    assert grad([], [x], allow_unused=True) == (None,)
    assert grad(y, []) == ()
    later = w * 2.0
    assert grad(y, later, allow_unused=True) == (None,)


def test_create_graph() -> None:
    x, w = leaf(X), leaf(W)
    y = np.sum(x**3 * w)
    (slope,) = grad(y, x, create_graph=True)
    assert isinstance(slope, Tensor)
    assert_allclose(slope.data, 3.0 * X**2 * W)
    assert_plain(grad(np.sum(slope), [x, w]), 6.0 * X * W, 3.0 * X**2)
    (second,) = grad(np.sum(slope * slope), x, create_graph=True)
    (third,) = grad(np.sum(second), x)
    assert_allclose(third, 108.0 * X**2 * W**2)
    np.sum(slope).backward()
    assert_allclose(x.grad, 6.0 * X * W)
    # what is constant is a tensor too, or zero
    found = grad(np.sum(x * 2.0), x, create_graph=True)
    assert isinstance(found[0], Tensor)
    assert_allclose(found[0].data, np.full(3, 2.0))


def test_create_graph_through_the_cotangent() -> None:
    x, c = leaf(X), leaf(W)
    (found,) = grad(x * x, x, c, create_graph=True)
    np.sum(found).backward()
    assert_allclose(c.grad, 2.0 * X)
    assert_allclose(x.grad, 2.0 * W)
    assert type(grad(x * x, x, c)[0]) is np.ndarray


def test_under_no_grad() -> None:
    x = leaf(X)
    y = np.sum(x**3)
    with tg.no_grad():
        assert_plain(grad(y, x), 3.0 * X**2)
        (slope,) = grad(y, x, create_graph=True)
    assert_plain(grad(np.sum(slope), x), 6.0 * X)


def test_values() -> None:
    v, t = Value(3.0), leaf(X)
    assert_plain(grad(v * v, v), 6.0)
    (slope,) = grad(v * v * v, v, create_graph=True)
    assert isinstance(slope, Value)
    assert_plain(grad(slope, v), 18.0)
    assert_plain(grad(np.sum(v * v * t), [v, t]), 6.0 * X.sum(), np.full(3, 9.0))
    assert v.grad == 0.0


def test_complex_numbers_as_pytorch_has_them() -> None:
    z = leaf(np.array([0.3 + 0.8j, -1.2 + 0.4j]))
    assert_plain(grad(np.sum(np.abs(z) ** 2), z), 2.0 * z.data)
    assert_plain(grad(z * z, z, np.ones(2)), 2.0 * np.conj(z.data))
    with pytest.raises(ShapeError, match="one real number"):
        grad(np.sum(z), z)
    (g,) = grad(np.sum(np.abs(z) ** 2), z, create_graph=True)
    assert_allclose(g.data, 2.0 * z.data)
    assert_plain(grad(np.sum(np.abs(g) ** 2), z), 8.0 * z.data)


def test_memory_is_not_shared() -> None:
    x, w = leaf(X), leaf(W)
    c = np.ones(3)
    y = x + w
    found = [*grad(y, [x, w, y], c), *grad(y, [x, w], c)]
    for i, one in enumerate(found):
        assert not np.shares_memory(one, c)
        for other in found[:i]:
            assert not np.shares_memory(one, other)
    found[0][:] = 7.0
    assert_array_equal(grad(y, x, c)[0], c)
    assert_array_equal(x.data, X)


def test_no_further_than_the_inputs() -> None:
    calls = []
    p = tg.Primitive(lambda x: x * 2.0, [lambda g, y, x: calls.append(1) or g * 2.0], name="p",
                     elementwise=True)  # fmt: skip
    x = leaf(X)
    m = p(x)
    y = np.sum(m * m)
    grad(y, m)
    assert not calls
    grad(y, x)
    assert len(calls) == 1


def test_stale_graphs() -> None:
    x = leaf(X)
    y = np.sum(x * x)
    x.data = W
    with pytest.raises(StaleGraphError):
        grad(y, x)


def test_deep_graphs() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y + x * 1e-3
    assert_plain(grad(y, x), 6.0)


x_, y_ = leaf(X), leaf(2.0)

MISUSE: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("float", lambda: grad(3.0, x_), TypeError, "outputs must be tensors or Values, got float"),
    ("array", lambda: grad(X, x_), TypeError, "outputs must be tensors or Values, got ndarray"),
    ("None", lambda: grad(None, x_), TypeError, "outputs must be .* got NoneType"),
    ("among", lambda: grad([y_, 3.0], x_), TypeError, "outputs must be .* got float"),
    ("input", lambda: grad(y_ * 2.0, 3.0), TypeError, "inputs must be .* got float"),
    ("strings", lambda: grad(y_ * 2.0, ["y"]), TypeError, "inputs must be .* got str"),
    ("function", lambda: grad(np.sin, x_), TypeError, "outputs must be .* got ufunc"),
    ("constant", lambda: grad(tensor(1.0), y_), NotDifferentiableError,
     "among the outputs requires no gradient; was it computed under no_grad"),
    ("input constant", lambda: grad(y_ * 1.0, tensor(1.0, label="c")), NotDifferentiableError,
     "'c' among the inputs requires no gradient"),
    ("no cotangent", lambda: grad(x_ * 2.0, x_), ShapeError, r"shape \(3,\) needs grad_outputs"),
    ("shape", lambda: grad(x_ * 2.0, x_, 1.0), ShapeError, r"has shape \(\); it must have its"),
    ("count", lambda: grad([y_ * 1.0, y_ * 2.0], y_, [1.0]), TypeError,
     r"2 output\(s\) and 1 grad_outputs"),
    ("no tuple", lambda: grad([y_ * 1.0], y_, 1.0), TypeError, "must be a tuple, got float"),
    ("text", lambda: grad(y_ * 1.0, y_, "a"), TypeError, "dtype float64, has dtype <U1"),
    ("object", lambda: grad(y_ * 1.0, y_, object()), TypeError, "has dtype object"),
    ("complex", lambda: grad(y_ * 1.0, y_, 1j), TypeError, "has dtype complex128"),
    ("by position", lambda: grad(y_, y_, None, False, False, True), TypeError, "positional"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"), [row[1:] for row in MISUSE], ids=[row[0] for row in MISUSE]
)
def test_misuse(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
    assert x_.grad is None
    assert y_.grad is None
