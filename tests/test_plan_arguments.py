"""What goes into a compiled function and what comes out: kinds, containers, layouts, memory."""

import copy
from collections import namedtuple
from collections.abc import Callable
from functools import singledispatch
from numbers import Real
from typing import Any

import numpy as np
import pytest
from beside_eager import TOLERANCE, as_leaf, backwards, check, same
from test_primitives import layouts

import tinygrad_nn as tg
from tinygrad_nn import nn, tensor
from tinygrad_nn.errors import CaptureError

Array = np.ndarray
Point = namedtuple("Point", "x y")


def normal(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(size=shape))


# --- shapes, dtypes and static arguments ---------------------------------------------------------


def test_each_shape_and_dtype_is_captured_once() -> None:
    @tg.compile
    def f(x: Any) -> Any:
        return np.sum(np.exp(x), axis=0) / x.shape[0]

    kinds = [
        normal(3, 2), normal(5, 2), normal(3), normal(1, 2), normal(3, 2).astype(np.float32),
        np.arange(6).reshape(3, 2), np.arange(6, dtype=np.int32).reshape(3, 2), normal(3, 2) > 0,
        normal(3, 2) + 1j, tensor(normal(3, 2)), tensor(normal(3, 2), requires_grad=True),
    ]  # fmt: skip
    for repeat in range(3):
        for x in kinds:
            expected = np.sum(np.exp(x), axis=0) / x.shape[0]
            found = f(x)
            same(getattr(found, "_value", found), getattr(expected, "_value", expected), 1e-6)
        assert f.captures == len(kinds), repeat


def test_batch_sizes_by_turns() -> None:
    f = backwards(lambda x, w: np.tanh(x @ w))
    draws = [
        [normal(n, 3, seed=k), as_leaf(normal(3, 2, seed=k))]
        for k, n in enumerate([8, 8, 5, 8, 5, 8])
    ]
    check(f, draws, captures=2)


def test_static_arguments() -> None:
    def f(x: Any, power: Any, how: str = "sum", *, axis: Any = None, twice: bool = False) -> Any:
        y = getattr(np, how)(x**power, axis=axis)
        return (y, y) if twice else y

    compiled = tg.compile(f)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((2,), {}),
        ((3,), {}),
        ((2.0,), {}),
        ((2, "mean"), {}),
        ((2,), {"axis": 0}),
        ((2,), {"axis": (0, 1)}),
        ((2,), {"twice": True}),
        ((2,), {"twice": True, "how": "max"}),
        ((2,), {"how": "max", "twice": True}),
    ]
    for k in range(3):
        x = normal(3, 2, seed=k)
        for args, keywords in calls:
            same(compiled(x, *args, **keywords), f(x, *args, **keywords))
    assert compiled.captures <= len(calls)


# --- what kind of thing an argument is -----------------------------------------------------------


@singledispatch
def kind_of(x: Any) -> str:
    return "object"


@kind_of.register
def _(x: np.ndarray) -> str:
    return "array"


@kind_of.register
def _(x: float) -> str:
    return "float"


@kind_of.register
def _(x: np.generic) -> str:
    return "generic"


def matched(x: Any) -> str:
    match x:
        case np.ndarray():
            return "array"
        case float():
            return "float"
        case np.generic():
            return "generic"
    return "object"


ASKED: dict[str, Callable[[Any], Any]] = {
    "array": lambda x: isinstance(x, np.ndarray),
    "float": lambda x: isinstance(x, float),
    "integer": lambda x: isinstance(x, int | np.integer),
    "float32": lambda x: isinstance(x, np.float32),
    "tensor": lambda x: isinstance(x, tg.Tensor),
    "list": lambda x: isinstance(x, list | tuple | dict | str),
    "real": lambda x: isinstance(x, Real),
    "singledispatch": kind_of,
    "match": matched,
    "class": lambda x: x.__class__.__name__,
    "isscalar": np.isscalar,
    "shape": lambda x: hasattr(x, "shape"),
    "absent": lambda x: hasattr(x, "no_such_thing"),
    "callable": callable,
}

KINDS: dict[str, Callable[[Array], Any]] = {
    "array": lambda x: x,
    "integers": lambda x: np.arange(3),
    "float64": lambda x: x[0],
    "float32": lambda x: np.float32(x[0]),
    "0-d": lambda x: np.asarray(x[0]),
    "list": lambda x: [x[0], x],
    "leaf": as_leaf,
    "number": lambda x: 2.0,
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", KINDS)
def test_arguments_pass_for_what_they_are(kind: str, asked: str) -> None:
    def f(x: Any) -> Any:
        return ASKED[asked](x)

    compiled = tg.compile(f)
    for k in range(3):
        x = KINDS[kind](normal(3, seed=k))
        expected = f(x)
        assert compiled(x) == expected


@pytest.mark.parametrize("asked", ASKED)
def test_results_pass_for_what_they_are(asked: str) -> None:
    rng = np.random.default_rng(0)

    def f(x: Any) -> Any:
        w = tensor(1.0, requires_grad=True)
        t = np.sum(w * x)
        t.backward()
        own = tensor(np.sum(x))
        own.data = np.mean(x)
        each = [
            x * 2, np.sum(x), x[0], x[:1], x > 0, x[0] > 0, np.argmax(x), np.asarray(x.shape),
            t, t.data, t.detach().data, w.grad, own.data, rng.normal(size=2),
            x.astype(np.float32)[0], copy.copy(x), copy.deepcopy(x[0]),
        ]  # fmt: skip
        return [ASKED[asked](item) for item in each]

    compiled = tg.compile(f)
    for k in range(2):
        expected = f(normal(3, seed=k))  # first, because singledispatch keeps what it has found
        assert compiled(normal(3, seed=k)) == expected


def test_what_a_generator_draws_passes_for_a_number() -> None:
    rng = np.random.default_rng(0)
    f = tg.compile(lambda: [isinstance(rng.normal(), kind) for kind in (float, np.ndarray, int)])
    assert f() == f() == [True, False, False]


def test_a_branch_by_kind_is_taken_at_replays() -> None:
    def f(x: Any, s: Any) -> Any:
        y = x * 2 if isinstance(x, np.ndarray) else x
        return y + s if isinstance(s, float) else y - s

    compiled = tg.compile(f)
    for k in range(4):
        x, s = normal(3, seed=k), normal(1, seed=k)[0]
        same(compiled(x, s), f(x, s))
        same(compiled(x, np.asarray(s)), f(x, np.asarray(s)))
        same(compiled([x, s][0], np.float32(s)), f(x, np.float32(s)))
    assert compiled.captures == 3


def test_numpy_numbers_are_numbers() -> None:
    def f(s: Any, x: Any) -> Any:
        before = s
        s += 1.0
        total = start = np.sum(x)
        total *= s
        return before, s, [s, {"start": start}], total, x**s

    compiled = tg.compile(f)
    for k in range(3):
        s, x = normal(1, seed=k)[0], np.exp(normal(3, seed=k))
        found, expected = compiled(s, x), f(s, x)
        same(found, expected)
        assert type(found[0]) is type(found[2][0]) is np.float64
    g = tg.compile(lambda s, x: tg.grad(lambda x: np.sum(x**s + s**x))(x))
    for s in (2.0, 0.0, 1.0, 1.5):
        same(g(np.float64(s), x), tg.grad(lambda x, s=s: np.sum(x**s + s**x))(x))


@pytest.mark.parametrize(
    "use",
    [
        lambda x: hasattr(x, "flags"),
        lambda x: x.flags.writeable,
        lambda x: x.strides,
        lambda x: x.ctypes,
        lambda x: x.view(np.int64),
        lambda x: (x * 1).fill(0.0),
        lambda x: (x * 1).sort(),
        lambda x: x[0].as_integer_ratio(),
        np.asarray,
        memoryview,
    ],
)
def test_what_only_an_array_of_numbers_has_is_refused(use: Callable[[Any], Any]) -> None:
    with pytest.raises((CaptureError, TypeError)):
        tg.compile(lambda x: use(x) and x)(normal(3))


def test_methods_called_unbound_are_refused() -> None:
    with pytest.raises(TypeError, match="Traced"):
        tg.compile(lambda x: np.ndarray.sum(x))(normal(3))


def test_functions_of_numpy_know_what_stands_for_an_array() -> None:
    constant = normal(3, seed=9)
    for f in (lambda x: np.add(constant, x), lambda x: constant * x, lambda x: constant @ x):
        compiled = tg.compile(f)
        for k in range(2):
            same(compiled(normal(3, seed=k)), f(normal(3, seed=k)))


def test_true_and_one_are_different() -> None:
    f = tg.compile(lambda x, flag: x * (2.0 if flag is True else 3.0))
    x = normal(3)
    for _ in range(2):
        same(f(x, True), 2.0 * x)
        same(f(x, 1), 3.0 * x)
        same(f(x, 1.0), 3.0 * x)


def test_numbers_of_numpy_are_arguments() -> None:
    """A NumPy number may differ from call to call, as a Python number may not."""
    f = tg.compile(lambda x, t: np.sin(x * t))
    for k in range(4):
        same(f(normal(3), np.float64(k)), np.sin(normal(3) * np.float64(k)))
    assert f.captures == 1


def test_keyword_arrays() -> None:
    def f(x: Any, *, scale: Any, shift: Any = 0.0) -> Any:
        return x * scale + shift

    compiled = tg.compile(f)
    for k in range(3):
        a, b, c = (normal(3, seed=3 * k + i) for i in range(3))
        same(compiled(a, scale=b), f(a, scale=b))
        same(compiled(x=a, scale=b), f(x=a, scale=b))
        same(compiled(a, shift=c, scale=b), f(a, shift=c, scale=b))
        same(compiled(a, scale=b, shift=c), f(a, scale=b, shift=c))


def test_wrong_arguments_are_refused_as_ever() -> None:
    f = tg.compile(lambda x, y: x @ y)
    f(normal(2, 3), normal(3, 2))
    for args in ((normal(2, 3),), (normal(2, 3),) * 3):
        with pytest.raises(TypeError):
            f(*args)
    with pytest.raises(ValueError, match="matmul"):
        f(normal(2, 3), normal(2, 3))
    same(f(normal(2, 3), normal(3, 2)), normal(2, 3) @ normal(3, 2))


# --- containers ----------------------------------------------------------------------------------


def test_containers_in_and_out() -> None:
    def f(items: Any, point: Any) -> Any:
        a, b = items["pair"]
        total = np.sum(a * point.x) + np.sum(b)
        return {
            "point": Point(a + b, [point.y, {"deep": (np.exp(a), None, "text", 3)}]),
            "total": total,
            "empty": [],
            "tuple": (total, total),
        }

    draws = [
        [
            {"pair": [normal(3, seed=k), tensor(normal(3, seed=k + 9))], "n": 2},
            Point(normal(3, seed=k + 1), normal(2, seed=k)),
        ]
        for k in range(3)
    ]
    compiled = tg.compile(f)
    for args in draws:
        same(compiled(*args), f(*args))
    assert compiled.captures == 1
    assert isinstance(compiled(*draws[0])["point"], Point)


def test_another_structure_is_captured_again() -> None:
    f = tg.compile(
        lambda items: sum(np.sum(x) for x in (items.values() if isinstance(items, dict) else items))
    )
    a, b = normal(3), normal(3, seed=1)
    for items in ([a, b], (a, b), {"a": a, "b": b}, [a, b, a], [b, a]):
        values = items.values() if isinstance(items, dict) else items
        same(f(items), sum(np.sum(x) for x in values))
    assert f.captures == 4


def test_gradients_of_tensors_in_containers() -> None:
    def step(weights: Any, x: Any) -> Any:
        for layer in weights:
            x = np.tanh(x @ layer["w"] + layer["b"])
        y = np.sum(x)
        y.backward()
        return y

    compiled = tg.compile(step)
    for k in range(3):
        mine, theirs = (
            [
                {"w": as_leaf(normal(2, 2, seed=k)), "b": as_leaf(normal(2, seed=k))}
                for _ in range(2)
            ]
            for _ in range(2)
        )
        same(compiled(mine, normal(4, 2, seed=k)), step(theirs, normal(4, 2, seed=k)))
        for a, b in zip(mine, theirs, strict=True):
            same([a["w"].grad, a["b"].grad], [b["w"].grad, b["b"].grad])


def test_results_that_are_no_computation() -> None:
    """Arguments, constants, views and things that are no arrays are handed through."""

    def f(x: Any, t: Any) -> Any:
        return x, x.T, x[0], t, np.ones(2), 1.5, None, "a", True, (), x.shape

    for k in range(3):
        check(f, [[normal(2, 3, seed=i + k), tensor(normal(2, seed=i))] for i in range(3)])


def test_no_result() -> None:
    p = tensor(1.0, requires_grad=True)

    @tg.compile
    def step(x: Any) -> None:
        p.data -= 0.1 * x

    for k in range(3):
        assert step(np.array(float(k))) is None
    same(p.data, np.array(1.0 - 0.1 - 0.2))


# --- how arrays lie in memory --------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda x: x.copy(),
    **{
        name: lambda x, name=name: dict(layouts(x))[name]
        for name in ("strided", "reversed", "Fortran-ordered")
    },
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:]
    .view(x.dtype)
    .reshape(x.shape),
    "read-only": lambda x: (lambda y: (y.setflags(write=False), y)[1])(x.copy()),
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
}  # fmt: skip


@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_layouts(first: str, second: str) -> None:
    """Whatever was captured, an argument may lie in memory otherwise at the next call."""

    def f(x: Any, w: Any) -> Any:
        h = np.tanh(x @ w)
        return np.sum(h, axis=0), h.T, x[::-1], np.reshape(x, -1), np.exp(x) - x

    compiled = tg.compile(f)
    w = normal(3, 4)
    for k, layout in enumerate([first, second, first, second]):
        x = LAYOUTS[layout](normal(4, 3, seed=k))
        before = x.copy()
        native = [[np.asarray(a, float) for a in results] for results in (compiled(x, w), f(x, w))]
        same(*native)
        assert (x == before).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_leaves(layout: str) -> None:
    if layout in ("broadcast", "byte-swapped"):
        return  # which a tensor, being a copy, does not keep
    leaves = [tensor(normal(4, 3), requires_grad=True) for _ in range(2)]
    eager = backwards(lambda: np.tanh(leaves[0] @ normal(3, 2)))
    compiled = tg.compile(backwards(lambda: np.tanh(leaves[1] @ normal(3, 2))))
    for k in range(4):
        for p in leaves:
            p._value = LAYOUTS[layout](normal(4, 3, seed=k))
            p.grad = None
        same(compiled(), eager())
        same(leaves[1].grad, leaves[0].grad)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0), (1, 1)])
def test_empty_and_0d(shape: tuple[int, ...]) -> None:
    def f(x: Any) -> Any:
        return np.sum(x * x), np.exp(x), np.reshape(x, -1), x * 2.0 + x

    draws = [[normal(*shape, seed=k)] for k in range(3)]
    check(f, draws)
    check(backwards(f), [[as_leaf(x)] for (x,) in draws])


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.uint16, np.float16, np.complex128])
def test_other_dtypes(dtype: Any) -> None:
    def f(x: Any, y: Any) -> Any:
        return (
            x * y,
            np.sum(x),
            np.where(x == y, x, y),
            np.sqrt(np.abs(x)),
            x + 1,
            x.astype(float).sum() if x.dtype.kind != "c" else np.conj(x),
        )

    rng = np.random.default_rng(0)
    draws = [
        [rng.integers(0, 5, (3, 2)).astype(dtype), rng.integers(0, 5, 2).astype(dtype)]
        for _ in range(3)
    ]
    check(f, draws, 1e-3 if dtype is np.float16 else 1e-12)


def test_complex_leaves() -> None:
    def f(z: Any, w: Any) -> Any:
        return np.abs(z @ w) ** 2, np.conj(z) * z, np.real(z), np.exp(1j * np.angle(z))

    def draw(k: int) -> list[Any]:
        z = normal(3, 3, seed=k) + 1j * normal(3, 3, seed=k + 50)
        return [as_leaf(z), as_leaf(normal(3, seed=k))]

    check(backwards(f), [draw(k) for k in range(3)])


# --- memory that is shared -----------------------------------------------------------------------


def test_one_array_as_two_arguments() -> None:
    def f(x: Any, y: Any) -> Any:
        return x @ y, x + y, x * y - x

    compiled = tg.compile(f)
    a, b = normal(3, 3), normal(3, 3, seed=1)
    for args in ((a, a), (a, b), (b, b), (b, a), (a, a.T), (a[::-1], a)):
        same(compiled(*args), f(*args))


def test_one_leaf_as_two_arguments() -> None:
    f = backwards(lambda x, y: x * np.sin(y))
    compiled = tg.compile(f)
    for k in range(3):
        for together in (True, False, True):
            pairs = []
            for step in (f, compiled):
                x = as_leaf(normal(3, seed=k))
                y = x if together else as_leaf(normal(3, seed=k + 1))
                pairs.append((step(x, y), x.grad, y.grad))
            same(pairs[1], pairs[0])


def test_an_argument_that_is_a_parameter() -> None:
    model = [tensor(normal(3), requires_grad=True) for _ in range(2)]

    def of(p: Any) -> Any:
        def step(q: Any) -> Any:
            p.grad = None
            y = np.sum(p * q)
            y.backward()
            p.data -= 0.1 * p.grad
            return y, p.data + q

        return step

    eager, compiled = of(model[0]), tg.compile(of(model[1]))
    for k in range(3):
        same(compiled(normal(3, seed=k)), eager(normal(3, seed=k)))
        same(compiled(model[1].data), eager(model[0].data))  # which the step writes to
        same(compiled(model[1].data[::-1]), eager(model[0].data[::-1]))
        same(model[1].data, model[0].data)


def test_results_are_never_buffers() -> None:
    def f(x: Any) -> Any:
        y = np.exp(x)
        return y, y.T, y[1:], np.reshape(y, -1), y + 1.0, x, x[0], np.sum(y)

    compiled = tg.compile(f)
    held = []
    for k in range(5):
        x = normal(3, 3, seed=k)
        found = compiled(x)
        held.append((found, [np.copy(a) for a in found]))
        for a in found[:-1]:
            assert not np.shares_memory(a, x) or a.base is not None
    for found, copies in held:
        same(list(found), copies)
    for a in compiled(normal(3, 3))[:-1]:
        a[...] = -1.0  # what somebody does with a result
    x = normal(3, 3, seed=9)
    same(compiled(x), f(x))


def test_views_and_bases_among_the_results_are_apart() -> None:
    """Two results of one call share no memory, so that writing to one leaves the other."""
    compiled = tg.compile(lambda x: (lambda y: (y, y, y.T, y[0]))(np.exp(x)))
    for k in range(3):
        first, *others = compiled(normal(2, 2, seed=k))
        kept = [a.copy() for a in others]
        first[...] = 7.0
        same(others, kept)


def test_results_as_arguments() -> None:
    """What a call returned goes into the next: a recurrence."""
    f = lambda x, y: (np.sin(x) + 0.1 * y, x * 0.5)  # noqa: E731
    compiled = tg.compile(f)
    a = b = (normal(3), normal(3, seed=1))
    for _ in range(6):
        a, b = f(*a), compiled(*b)
        same(b, a)


def test_an_array_written_to_between_calls() -> None:
    f = tg.compile(lambda x: np.exp(x) * 2.0)
    x = normal(3)
    for k in range(4):
        x[...] = k
        same(f(x), np.exp(x) * 2.0)
    assert f.captures == 1


def test_an_outer_array_written_to_between_calls() -> None:
    grid, table = normal(4), {"scale": normal(4, seed=1)}

    def f(x: Any) -> Any:
        return np.interp(x, np.sort(grid), table["scale"])

    compiled = tg.compile(f)
    for k in range(4):
        same(compiled(normal(5, seed=k)), f(normal(5, seed=k)))
        grid *= 1.1
        table["scale"][0] = k
    table["scale"] = normal(4, seed=7)
    same(compiled(normal(5)), f(normal(5)))


# --- what is called ------------------------------------------------------------------------------


class Regression:
    """A user's class with a compiled method."""

    def __init__(self, seed: int) -> None:
        self.w = tensor(normal(3, seed=seed), requires_grad=True)
        self.optimizer = tg.optim.SGD([self.w], lr=0.1, momentum=0.9)

    @tg.compile
    def step(self, x: Any, y: Any, *, scale: float = 1.0) -> Any:
        """Do a step."""
        return self.eager(x, y, scale=scale)

    def eager(self, x: Any, y: Any, *, scale: float = 1.0) -> Any:
        self.optimizer.zero_grad()
        loss = scale * tg.losses.mse_loss(x @ self.w, y)
        loss.backward()
        self.optimizer.step()
        return loss


def test_a_method_of_several_objects() -> None:
    compiled, eager = ([Regression(k) for k in range(2)] for _ in range(2))
    for k in range(8):
        i = k % 2
        x, y = normal(5, 3, seed=k), normal(5, seed=k)
        same(compiled[i].step(x, y), eager[i].eager(x, y))
        same(compiled[i].step(x, y, scale=0.5), eager[i].eager(x, y, scale=0.5))
        same(compiled[i].w.data, eager[i].w.data)
    assert Regression.step.__doc__ == "Do a step."
    assert Regression.step.__name__ == "step"


def test_a_module() -> None:
    model = nn.MLP(3, [5, 2], rng=0)
    forward = tg.compile(model)
    for k in range(3):
        x = normal(4, 3, seed=k).astype(np.float32)
        same(forward(x), model(x), TOLERANCE[np.float32])
    assert forward.captures == 1


def test_one_compiled_function_calls_another() -> None:
    inner = tg.compile(lambda x: np.sin(x) * 2.0)
    outer = tg.compile(lambda x: inner(x) + inner(x * x))
    for k in range(3):
        x = normal(3, seed=k)
        same(inner(x), np.sin(x) * 2.0)
        same(outer(x), np.sin(x) * 2.0 + np.sin(x * x) * 2.0)
        leaf = as_leaf(x)
        assert outer(leaf).requires_grad
        with pytest.raises(tg.NotDifferentiableError, match="has no graph"):
            (np.sum(outer(leaf)) + np.sum(leaf)).backward()
        assert leaf.grad is None


def test_a_result_of_a_graph_goes_on() -> None:
    """Of an argument that is part of a graph, the result is too: it is computed eagerly."""
    f = tg.compile(lambda x: np.sin(x) * x)
    for k in range(3):
        a, b = as_leaf(normal(3, seed=k)), as_leaf(normal(3, seed=k))
        np.sum(f(a * 2.0) ** 2).backward()
        y = b * 2.0
        np.sum((np.sin(y) * y) ** 2).backward()
        same(a.grad, b.grad)


def test_without_recording() -> None:
    def f(x: Any) -> Any:
        y = np.sum(np.exp(x))
        if y.requires_grad:
            y.backward()
        return y

    compiled = tg.compile(f)
    for k in range(3):
        a, b = as_leaf(normal(3, seed=k)), as_leaf(normal(3, seed=k))
        with tg.no_grad():
            same(compiled(a), f(b))
        assert a.grad is None
        same(compiled(a), f(b))
        same(a.grad, b.grad)
    assert compiled.captures == 2


# --- a user's primitives -------------------------------------------------------------------------


@tg.primitive(rules=[lambda g, y, x, *, k=1.0: g * k * np.cos(k * x)], elementwise=True)
def wave(x: Any, *, k: float = 1.0) -> Any:
    return np.sin(k * x)


@tg.primitive(rules=[lambda g, y, a, b: g[..., None] * b, lambda g, y, a, b: g[..., None] * a])
def row_products(a: Any, b: Any, *, out: Any = None) -> Any:
    return np.einsum("ij,ij->i", a, b, out=out)


@tg.primitive(rules=[lambda g, y, x: np.broadcast_to(g, x.shape) * 2.0 * x])
def by_hand(x: Any) -> Any:
    """Compute element by element: it only ever sees plain arrays."""
    total = np.zeros(())
    for v in x.ravel():
        total += float(v) ** 2 if v > 0 else float(v * v)
    return total


@tg.primitive(rules=[None])
def largest(x: Any) -> Any:
    return x[x > 0.0]


def test_primitives_of_a_user() -> None:
    def f(x: Any, y: Any) -> Any:
        z = wave(x, k=2.0) * y
        return row_products(z, x), by_hand(z), wave(by_hand(x) * 0.1)

    draws = [[normal(3, 2, seed=k), normal(3, 2, seed=k + 5)] for k in range(3)]
    check(f, draws)
    check(backwards(f), [[as_leaf(x) for x in d] for d in draws])


def test_a_primitive_whose_shape_depends_on_numbers() -> None:
    """It is never broadcast into what the first call returned."""
    f = tg.compile(lambda x: largest(x) + 0.0)
    for x in ([1.0, 2.0, -1.0], [1.0, 2.0, 3.0], [-1.0, -1.0, 5.0], [1.0, -2.0, 3.0]):
        expected = np.array([v for v in x if v > 0.0])
        try:
            found = f(np.array(x))
        except CaptureError:
            continue
        same(found, expected)


# --- shapes that depend on numbers ---------------------------------------------------------------

BY_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "mask": lambda x: x[x > 0.0],
    "mask in a tuple": lambda x: x[x > 0.0, None],
    "mask of a tensor": lambda x: tensor([1.0, 2.0, 3.0])[x > 0.0],
    "constant by a mask": lambda x: np.array([1.0, 2.0, 3.0])[x > 0.0],
    "nonzero": np.nonzero,
    "where": lambda x: np.where(x > 0.0),
    "argwhere": np.argwhere,
    "flatnonzero": np.flatnonzero,
    "unique": np.unique,
    "compress": lambda x: np.compress(x > 0.0, x),
    "extract": lambda x: np.extract(x > 0.0, x),
    "trim_zeros": np.trim_zeros,
    "bincount": lambda x: np.bincount((x > 0.0).astype(int)),
    "repeat": lambda x: np.repeat(x, (x > 0.0).astype(int)),
    "at[mask].add": lambda x: tg.at(x)[x > 0.0].add(1.0) if hasattr(tg, "at") else x[x > 0.0],
    "arange": lambda x: np.arange(x[0]),
    "zeros": lambda x: np.zeros(x[0]),
    "reshape": lambda x: np.reshape(x, x[0]),
    "tg.where": lambda x: tg.where(x > 0.0, np.sqrt, 0.0, x),
    "piecewise": lambda x: np.piecewise(x, [x > 0.0], [np.sqrt, 0.0]),
}


@pytest.mark.parametrize("kind", ["array", "tensor", "leaf"])
@pytest.mark.parametrize("name", BY_NUMBERS)
def test_shapes_that_depend_on_numbers_are_refused(name: str, kind: str) -> None:
    make = {"array": np.asarray, "tensor": tensor, "leaf": as_leaf}[kind]
    f = BY_NUMBERS[name]
    with pytest.raises(CaptureError) as caught:
        tg.compile(f)(make(np.array([1.0, -2.0, 3.0])))
    text = str(caught.value)
    assert ". " in text, "a remedy"
    assert '\nFile "' in text


#: Calls that arrays can be given to, and tensors cannot.
UNKNOWN: dict[str, Callable[[Any], Any]] = {
    "no primitive": lambda x: np.union1d(x, x),
    "keyword": lambda x: np.mean(x, dtype=np.int64),
    "ufunc": lambda x: np.add.at(x, 0, 1.0),
    "generalized ufunc": np.linalg.matrix_rank,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_has_no_primitive_is_refused(name: str) -> None:
    """Not with the error that tensors get, which eager execution would not raise."""
    f = UNKNOWN[name]
    f(np.eye(3))
    with pytest.raises(CaptureError, match="replay"):
        tg.compile(f)(np.eye(3))
    with pytest.warns(UserWarning, match="runs eagerly"):
        same(tg.compile(f, fallback=True)(np.eye(3)), f(np.eye(3)))


@pytest.mark.parametrize("operation", ["multiply", "divide", "power", "max", "min"])
def test_repeated_updates_are_refused(operation: str) -> None:
    def f(x: Any, i: Any) -> Any:
        return getattr(x.at[i], operation)(2.0)

    with pytest.raises(CaptureError):
        tg.compile(f)(tensor(normal(4)), np.array([0, 0, 1]))
    # By indices that stay the same, the rounds do too.
    g = backwards(lambda x: getattr(x.at[[0, 0, 1]], operation)(2.0))
    check(g, [[as_leaf(np.abs(normal(4, seed=k)) + 0.5)] for k in range(3)])


def test_updates_by_index() -> None:
    def f(x: Any, v: Any, i: Any, mask: Any) -> Any:
        return (
            x.at[i].set(v),
            x.at[i].add(v),
            x.at[i, 0].subtract(1.0),
            x.at[1:].multiply(v[0]),
            x.at[mask].set(0.0),
            x.at[i].get(),
        )

    def draw(k: int) -> list[Any]:
        rng = np.random.default_rng(k)
        return [
            as_leaf(rng.normal(size=(4, 2))), as_leaf(rng.normal(size=(3, 2))),
            rng.integers(0, 4, 3), rng.normal(size=(4, 2)) > 0.0,
        ]  # fmt: skip

    check(backwards(f), [draw(k) for k in range(4)])
