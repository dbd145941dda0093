"""A batch of arrays goes through primitives as its members do, one by one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from samples import samples

import tinygrad_nn as tg
from tinygrad_nn import NotDifferentiableError, Tensor, tensor
from tinygrad_nn.batch import RULES, Batch
from tinygrad_nn.rules import TABLE
from tinygrad_nn.rules.indexing import split_index

LINEAR = [name for name, p in TABLE.items() if p.linear is not None]


def floating(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def check(
    function: Callable[..., Any], args: tuple[Any, ...], moved: list[int], n: int, recorded: bool
) -> None:
    """Compare `function` of stacks, in the places `moved`, to that of each of their items."""
    rng = np.random.default_rng(len(args) + n)
    stacks = {i: np.asarray(rng.normal(size=(n, *np.shape(args[i]))), args[i].dtype) for i in moved}
    leaves = {i: tensor(s, requires_grad=True) for i, s in stacks.items()}

    def called(k: int | None, of: dict[int, Any]) -> Any:
        return function(*(
            (Batch(of[i]) if k is None else of[i][k]) if i in of else a for i, a in enumerate(args)
        ))  # fmt: skip

    together = called(None, leaves if recorded else stacks)
    expected = [np.asarray(called(k, stacks)) for k in range(n)]
    assert isinstance(together, Batch)
    assert type(together.stack) is (Tensor if recorded else np.ndarray)
    assert together.stack.shape[0] == n
    data = together.stack.data if recorded else together.stack
    for k in range(n):
        assert together.shape == expected[k].shape
        assert together.dtype == expected[k].dtype
        assert_allclose(data[k], expected[k], rtol=1e-13, atol=1e-14)
    if not recorded:
        return
    # and the derivative of a stack is the stack of derivatives
    w = rng.normal(size=data.shape)
    np.sum(np.real(together.stack * w)).backward()
    for i, whole in leaves.items():
        for k in range(n):
            parts = {j: tensor(s, requires_grad=True) for j, s in stacks.items()}
            np.sum(np.real(called(k, parts) * w[k])).backward()
            assert_allclose(whole.grad[k], parts[i].grad[k], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("recorded", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_primitives(name: str, n: int, recorded: bool) -> None:
    primitive = TABLE[name]
    for sample in samples(primitive):
        places = [i for i in sample.differentiable if sample.args[i].dtype == np.float64]
        choices = [[i] for i in places]
        if primitive.linear != "each" and len(places) > 1:
            choices.append(places)
        for moved in choices:
            try:
                check(
                    lambda *a, s=sample: primitive(*a, **s.static), sample.args, moved, n, recorded
                )
            except BaseException as error:
                error.add_note(f"sample: {sample}, batches at {moved}")
                raise


@pytest.mark.parametrize(
    "name",
    ["multiply", "divide", "negative", "real", "conjugate", "where", "add", "subtract", "add_n",
     "keep"],
)  # fmt: skip
@pytest.mark.parametrize("n", [1, 3])
def test_elementwise_primitives(name: str, n: int) -> None:
    """With broadcasting: the batch has fewer axes than another argument, more, or as many."""
    for sample in samples(TABLE[name]):
        for i in sample.differentiable:
            if floating(sample.args[i]):
                check(lambda *a, s=sample: s.primitive(*a, **s.static), sample.args, [i], n, False)


A = np.arange(24.0).reshape(2, 3, 4)
INTS = np.array([1, 0, 1])

#: Expressions in one batch. Separated index arrays, axes from the end, sizes 0 and 1.
EXPRESSIONS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "sum all": ((2, 3), lambda x: np.sum(x)),
    "sum of a number": ((), lambda x: np.sum(x)),
    "sum from the end": ((2, 3, 4), lambda x: np.sum(x, axis=(-1, 0))),
    "sum kept": ((2, 3), lambda x: np.sum(x, axis=-2, keepdims=True)),
    "sum of nothing": ((0, 3), lambda x: np.sum(x, axis=0)),
    "sum over no axis": ((2, 3), lambda x: np.sum(x, axis=())),
    "mean": ((2, 3), lambda x: np.mean(x, axis=-1)),
    "mean all": ((2, 3), lambda x: np.mean(x)),
    "T": ((2, 3, 4), lambda x: x.T),
    "T of a vector": ((3,), lambda x: x.T),
    "transpose": ((2, 3, 4), lambda x: np.transpose(x, (-1, 0, 1))),
    "swapaxes": ((2, 3, 4), lambda x: np.swapaxes(x, 0, -1)),
    "moveaxis": ((2, 3, 4), lambda x: np.moveaxis(x, (0, -1), (-1, 1))),
    "reshape": ((2, 6), lambda x: np.reshape(x, (3, -1))),
    "reshape to a vector": ((2, 3), lambda x: np.reshape(x, -1)),
    "reshape of nothing": ((0, 3), lambda x: np.reshape(x, (3, 0))),
    "reshape of a number": ((), lambda x: np.reshape(x, (1, 1))),
    "reshape to a number": ((1, 1), lambda x: np.reshape(x, ())),
    "ravel": ((2, 0), lambda x: np.ravel(x)),
    "expand": ((2, 3), lambda x: np.expand_dims(x, (0, -1))),
    "expand at the end": ((2, 3), lambda x: np.expand_dims(x, -3)),
    "squeeze": ((1, 3, 1), lambda x: np.squeeze(x)),
    "squeeze an axis": ((1, 3, 1), lambda x: np.squeeze(x, -1)),
    "squeeze nothing": ((2, 3), lambda x: np.squeeze(x)),
    "broadcast": ((3,), lambda x: np.broadcast_to(x, (2, 3))),
    "broadcast to a length": ((1,), lambda x: np.broadcast_to(x, 3)),
    "broadcast to a list": ((3, 1), lambda x: np.broadcast_to(x, [2, 3, 2])),
    "broadcast a number": ((), lambda x: np.broadcast_to(x, (2, 2))),
    "broadcast to nothing": ((1, 3), lambda x: np.broadcast_to(x, (0, 3))),
    "sum_to": ((2, 3, 4), lambda x: TABLE["sum_to"](x, shape=(3, 1))),
    "sum_to a number": ((2, 3), lambda x: TABLE["sum_to"](x, shape=())),
    "sum_to of nothing": ((0, 3), lambda x: TABLE["sum_to"](x, shape=(1, 3))),
    "astype": ((2, 3), lambda x: x.astype(np.float64)),
    "copy": ((2, 3), lambda x: np.copy(x)),
    "item": ((2, 3), lambda x: x[1]),
    "last": ((2, 3), lambda x: x[-1, -2]),
    "slices": ((4, 3), lambda x: x[::-2, 1:]),
    "new axis": ((2, 3), lambda x: x[:, None, 1]),
    "ellipsis": ((2, 3, 4), lambda x: x[..., 0]),
    "array": ((2, 3), lambda x: x[INTS]),
    "arrays": ((2, 3), lambda x: x[INTS, INTS]),
    "separated arrays": ((2, 3, 2), lambda x: x[INTS, :, INTS]),
    "separated by an ellipsis": ((2, 3, 2, 2), lambda x: x[INTS, ..., INTS]),
    "array and item, separated": ((2, 3, 2), lambda x: x[1, :, INTS]),
    "array at the end": ((2, 3), lambda x: x[..., INTS]),
    "array at the end of more": ((2, 2, 3), lambda x: x[:, 1, INTS]),
    "mask": ((2, 3), lambda x: x[np.array([[True, False, True], [False, True, True]])]),
    "mask of one axis": ((2, 3), lambda x: x[:, np.array([True, False, True])]),
    "empty mask": ((2,), lambda x: x[np.array([False, False])]),
    "no items": ((3,), lambda x: x[np.array([], int)]),
    "array of a 0-d index": ((3,), lambda x: x[np.array(1)]),
    "concatenate": ((2, 3), lambda x: np.concatenate([x, A[0, :2, :3], x], axis=-1)),
    "concatenate flat": ((2, 3), lambda x: np.concatenate([A[0], x], axis=None)),
    "concatenate nothing": ((0, 3), lambda x: np.concatenate([x, np.ones((2, 3))])),
    "stack": ((2, 3), lambda x: np.stack([x, np.ones((2, 3)), x], axis=-1)),
    "stack numbers": ((), lambda x: np.stack([x, 1.0, x])),
    "matmul vector vector": ((3,), lambda x: x @ A[0, :, 0]),
    "matmul vector matrix": ((3,), lambda x: x @ A[0]),
    "matmul vector stack": ((3,), lambda x: x @ A),
    "matmul matrix vector": ((2, 3), lambda x: x @ A[0, :, 0]),
    "matmul matrix matrix": ((2, 3), lambda x: x @ A[0]),
    "matmul matrix stack": ((5, 3), lambda x: x @ A),
    "matmul stack matrix": ((2, 5, 3), lambda x: x @ A[0]),
    "matmul stack vector": ((2, 5, 3), lambda x: x @ A[0, :, 0]),
    "matmul nothing": ((0, 3), lambda x: x @ A[0]),
    "matmul from the right": ((4,), lambda x: A[0] @ x),
    "matmul from the right, matrix": ((4, 2), lambda x: A[0] @ x),
    "matmul from the right, stacks": ((4, 2), lambda x: A @ x),
    "matmul from the right of a vector": ((3, 2), lambda x: A[0, :, 0] @ x),
    "matmul from the right of a vector, stack": ((2, 3, 2), lambda x: A[0, :, 0] @ x),
    "einsum": ((2, 3), lambda x: np.einsum("ij,kjl->kil", x, A)),
    "arithmetic": ((2, 3), lambda x: 2.0 * (1.0 - (-x + 1.0) / 3.0) - x * A[0, :2, :3]),
    "more axes outside": ((3, 4), lambda x: x * A - A * x),
    "fewer axes outside": ((2, 3, 4), lambda x: x * A[0, 0] / 2.0),
    "two of it": ((3,), lambda x: x + x[::-1] - x[:1]),
    "power": ((3,), lambda x: x**2.0),
}  # fmt: skip


@pytest.mark.parametrize("recorded", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(("shape", "f"), EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expressions(shape: tuple[int, ...], f: Any, n: int, recorded: bool) -> None:
    check(f, (np.zeros(shape),), [0], n, recorded)


@pytest.mark.parametrize("shape", [(2, 3, 2), (3, 1, 2)])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_axis_of_the_batch_is_never_taken_for_another(shape: Any, n: int) -> None:
    """The batch is as long as an axis of its items, where a mistake would not fail by shape."""
    for f in (
        lambda x: np.sum(x, axis=0),
        lambda x: x[0],
        lambda x: x + np.arange(6.0).reshape(3, 1, 2)[: x.shape[0]],
        lambda x: np.concatenate([x, x], axis=0),
        lambda x: np.transpose(x),
        lambda x: x[[0, 0], :, [1, 0]],
        lambda x: np.moveaxis(x, 0, 1),
        lambda x: x.T @ np.ones((shape[0],)),
    ):
        check(f, (np.zeros(shape),), [0], n, False)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
def test_dtypes_are_kept(dtype: Any) -> None:
    a = np.zeros((2, 3), dtype)
    for f in (
        lambda x: x * 2.0 - x,
        lambda x: np.sum(x, axis=-1),
        lambda x: x[[0, 0]],
        lambda x: x.T,
        lambda x: np.broadcast_to(x, (2, 2, 3)),
        lambda x: np.concatenate([x, x]),
    ):
        check(f, (a,), [0], 2, False)
    assert Batch(np.zeros((2, 3), dtype)).astype(np.float64).dtype == np.float64


def test_scatter_is_the_transpose_of_getitem() -> None:
    for index in (INTS, (INTS, slice(None), INTS), (..., INTS), (slice(1),), (0, INTS)):
        template, arrays = split_index(index)
        x = np.zeros((2, 3, 2))
        part = np.zeros(np.shape(x[index]))
        static = {"template": template, "shape": (2, 3, 2)}
        check(lambda g, a=arrays, s=static: TABLE["scatter_add"](g, *a, **s), (part,), [0], 3, True)


def test_a_batch_looks_like_one_of_its_items() -> None:
    stack = np.arange(24.0).reshape(4, 2, 3).astype(np.float32)
    x = Batch(stack)
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3), 2, 6, np.float32, 2)
    assert np.shape(x) == (2, 3)
    assert np.ndim(x) == 2
    assert np.size(x) == 6
    assert np.result_type(x, np.float64) == np.float64
    assert not np.iscomplexobj(x)
    assert np.isrealobj(x)
    assert np.iscomplexobj(Batch(stack * 1j))
    assert Batch(np.zeros(3)).shape == ()


def test_what_would_leave_the_batch_is_refused() -> None:
    x = Batch(np.zeros((2, 3)))
    for f in (
        np.asarray,
        np.array,
        lambda x: np.array([x, x]),
        lambda x: np.add.at(np.zeros(3), [0, 1, 1], x),
        lambda x: np.zeros(3).__setitem__(slice(None), x),
        lambda x: np.add(x, 1.0, out=np.zeros(3)),
        lambda x: float(x[0]),
        lambda x: bool(x[0]),
        lambda x: x == 0.0,
        lambda x: x != 0.0,
        lambda x: 1.0 if np.any(x) else 2.0,
    ):
        with pytest.raises(NotDifferentiableError):
            f(x)


def test_every_rule_is_of_a_primitive() -> None:
    assert set(RULES) <= set(TABLE)
    assert all(TABLE[name].linear is not None for name in RULES)


def test_tensors_and_batches_mix() -> None:
    w = tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
    stack = np.arange(6.0).reshape(2, 3)
    for f in (lambda g: g * w, lambda g: w * g):
        y = f(Batch(stack))
        assert isinstance(y, Batch)
        assert isinstance(y.stack, Tensor)
        np.sum(y.stack).backward()
        assert_allclose(w.grad, stack.sum(0))
        w.grad = None
    y = tg.tensor(np.eye(3), requires_grad=True) @ Batch(stack)
    assert_allclose(y.stack.data, stack)
