"""Functions of functions: gradients, products, Jacobians and Hessians, and how they nest."""

import copy
import functools
import math
import sys
import threading
import weakref
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_nn as tg
from tinygrad_nn import (
    NotDifferentiableError,
    Primitive,
    ShapeError,
    StaleGraphError,
    Tensor,
    Value,
    elementwise_grad,
    enable_grad,
    grad,
    hessian,
    hvp,
    is_grad_enabled,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    no_grad,
    stop_gradient,
    tensor,
    value_and_grad,
    vjp,
)
from tinygrad_nn.batch import RULES
from tinygrad_nn.graph import next_serial
from tinygrad_nn.tree import flatten, tree_map
from tinygrad_nn.value import item

Array = np.ndarray


# --- tools ---------------------------------------------------------------------------------------


def numeric(f: Callable[[Array], Any], x: Any, h: float = 1e-3) -> Array:
    """Differentiate by the five-point stencil; axes of the input come last, as in a Jacobian."""
    x = np.asarray(x, dtype=float)
    columns = []
    for at in np.ndindex(x.shape):
        y = []
        for step in (-2.0, -1.0, 1.0, 2.0):
            moved = x.copy()
            moved[at] += step * h
            y.append(np.asarray(f(moved)))
        columns.append((y[0] - 8.0 * y[1] + 8.0 * y[2] - y[3]) / (12.0 * h))
    shape = np.shape(f(x))
    stack = np.stack(columns, axis=-1) if columns else np.zeros((*shape, 0))
    return np.reshape(stack, (*shape, *x.shape))


def close(actual: Any, expected: Any, atol: float = 1e-8) -> None:
    """Compare containers of arrays: structure, shapes and numbers."""
    found, wanted = flatten(actual), flatten(expected)
    assert found.paths == wanted.paths
    for a, b, path in zip(found.leaves, wanted.leaves, found.paths, strict=True):
        a = a.data if isinstance(a, Tensor | Value) else a
        assert np.shape(a) == np.shape(b), path
        assert_allclose(a, b, rtol=1e-7, atol=atol, err_msg=path)


def assert_plain(result: Any) -> None:
    """All leaves are arrays of NumPy's own class, which may be written to."""
    for leaf, path in zip(flatten(result).leaves, flatten(result).paths, strict=True):
        assert type(leaf) is np.ndarray, (path, leaf)
        assert leaf.flags.writeable, path


def leaf(x: Any, **keywords: Any) -> Tensor:
    return tensor(x, requires_grad=True, **keywords)


def ones(x: Any) -> Any:
    return tree_map(lambda a: np.ones(np.shape(a)), x)


def derivative(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Differentiate a function of one number, forward."""
    return lambda x: jvp(f, (x,), (1.0,))[1]


def pulled(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Differentiate a function of one number, backward."""
    return lambda x: vjp(f, x)[1](1.0)[0]


#: Ways to the derivative of a function of one number.
SLOPES: dict[str, Callable[..., Any]] = {
    "grad": grad,
    "value_and_grad": lambda f: lambda x: value_and_grad(f)(x)[1],
    "vjp": pulled,
    "jvp": derivative,
    "jacrev": jacrev,
    "jacfwd": jacfwd,
    "elementwise_grad": elementwise_grad,
}

#: Every transform of a function that returns one number, with all that it returns.
EVERY: dict[str, Callable[[Callable[..., Any], Any], Any]] = {
    "grad": lambda f, x: grad(f)(x),
    "value_and_grad": lambda f, x: value_and_grad(f)(x),
    "elementwise_grad": lambda f, x: elementwise_grad(f)(x),
    "vjp": lambda f, x: (lambda y, pullback: (y, pullback(np.array(1.0))))(*vjp(f, x)),
    "jvp": lambda f, x: jvp(f, (x,), (ones(x),)),
    "jacrev": lambda f, x: jacrev(f)(x),
    "jacfwd": lambda f, x: jacfwd(f)(x),
    "hessian": lambda f, x: hessian(f)(x),
    "hvp": lambda f, x: hvp(f, x, ones(x)),
}

slopes = pytest.mark.parametrize("slope", SLOPES.values(), ids=SLOPES)
every = pytest.mark.parametrize("transform", EVERY.values(), ids=EVERY)

X = np.array([0.3, -1.2, 0.7])
X.flags.writeable = False
M = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.6]])
M.flags.writeable = False


# --- values --------------------------------------------------------------------------------------

#: Function, point, first, second and third derivative.
KNOWN: list[tuple[str, Callable[[Any], Any], float, float, float, float]] = [
    ("x**4", lambda x: x**4, 2.0, 32.0, 48.0, 48.0),
    ("1/x", lambda x: 1.0 / x, 2.0, -0.25, 0.25, -0.375),
    ("exp", np.exp, 0.5, *(math.exp(0.5),) * 3),
    ("sin", np.sin, 0.5, math.cos(0.5), -math.sin(0.5), -math.cos(0.5)),
    ("log", np.log, 2.0, 0.5, -0.25, 0.25),
    ("tanh", np.tanh, 0.5, 0.7864477329659274, -0.7268619813835874, -0.5652092940463),
    ("sigmoid", tg.sigmoid, 0.5, 0.2350037122015945, -0.05755679485232, -0.09635675628958),
    ("linear", lambda x: 3.0 * x + 1.0, 2.0, 3.0, 0.0, 0.0),
    ("identity", lambda x: x, 2.0, 1.0, 0.0, 0.0),
    ("x*x*x", lambda x: x * x * x, 2.0, 12.0, 12.0, 6.0),
    ("x**x", lambda x: x**x, 1.0, 1.0, 2.0, 3.0),
    ("matmul", lambda x: np.stack([x, 1.0]) @ np.stack([x * x, x]), 2.0, 13.0, 12.0, 6.0),
    ("reused", lambda x: (lambda m: m * m + m)(x * x), 2.0, 36.0, 50.0, 48.0),
    ("indexing", lambda x: np.stack([x, x * x])[np.array([0, 1, 1])].sum(), 2.0, 9.0, 4.0, 0.0),
    ("where", lambda x: np.where(x > 1.0, x**3, x), 2.0, 12.0, 12.0, 6.0),
    ("relu at 0", tg.relu, 0.0, 0.0, 0.0, 0.0),
    ("relu", tg.relu, 1.0, 1.0, 0.0, 0.0),
    ("abs at 0", np.abs, 0.0, 0.0, 0.0, 0.0),
    ("abs", np.abs, 2.0, 1.0, 0.0, 0.0),
    ("maximum at a tie", lambda x: np.maximum(x, 0.0), 0.0, 0.5, 0.0, 0.0),
    ("x*abs(x) at 0", lambda x: x * np.abs(x), 0.0, 0.0, 0.0, 0.0),
    ("x**2 at 0", lambda x: x**2, 0.0, 0.0, 2.0, 0.0),
    ("x**3 at 0", lambda x: x**3, 0.0, 0.0, 0.0, 6.0),
    ("x**1 at 0", lambda x: x**1, 0.0, 1.0, 0.0, 0.0),
    ("x**1.0 at 0", lambda x: x**1.0, 0.0, 1.0, 0.0, 0.0),
    ("softplus at 0", tg.softplus, 0.0, 0.5, 0.25, 0.0),
    ("silu at 0", tg.silu, 0.0, 0.5, 0.5, 0.0),
]


@slopes
@pytest.mark.parametrize(
    ("f", "x", "first", "second", "third"), [row[1:] for row in KNOWN], ids=[r[0] for r in KNOWN]
)
def test_known_derivatives_of_orders_one_to_three(
    slope: Any, f: Any, x: float, first: float, second: float, third: float
) -> None:
    close(slope(f)(x), first)
    close(slope(slope(f))(x), second)
    close(slope(slope(slope(f)))(x), third, atol=1e-6)


@pytest.mark.parametrize("kinds", list(product(["grad", "jvp", "jacrev", "jacfwd"], repeat=3)))
def test_orders_mix(kinds: tuple[str, ...]) -> None:
    f: Callable[[Any], Any] = np.tanh
    for kind in kinds:
        f = SLOPES[kind](f)
    close(f(0.5), -0.5652092940463, atol=1e-9)
    assert_plain(f(0.5))


def test_tenth_derivative() -> None:
    f: Callable[[Any], Any] = np.sin
    for order in range(1, 11):
        f = grad(f)
        if order in (5, 10):
            close(f(0.5), math.cos(0.5) if order == 5 else -math.sin(0.5))


#: Functions of a vector that return one number.
SCALAR: dict[str, Callable[[Any], Any]] = {
    "cubes": lambda x: np.sum(x**3),
    "coupled": lambda x: x[0] ** 2 * x[1] + np.sin(x[1] * x[2]),
    "softmax": lambda x: np.sum(tg.softmax(x) * np.arange(3.0)),
    "logsumexp": lambda x: tg.logsumexp(x * x),
    "quadratic form": lambda x: x @ np.arange(9.0).reshape(3, 3) @ x,
    "outer": lambda x: np.sum(np.tanh(x[:, None] * x) ** 2),
    "variance": lambda x: np.var(x * x),
    "joined": lambda x: np.sum(np.concatenate([x, x[::-1] * x]) ** 2),
    "fancy": lambda x: np.sum(x[[0, 0, 2]] ** 2 * x[np.array([True, True, True])]),
    "maximum": lambda x: np.max(x) * np.min(x),
    "keepdims": lambda x: np.sum(x / (1.0 + np.sum(x * x, keepdims=True))),
    "reshaped": lambda x: np.sum(np.exp(x.reshape(3, 1) - x.reshape(1, 3))),
    "branches": lambda x: np.sum(x**2) if x[0] > 0 else np.sum(x**3),
    "loop": lambda x: functools.reduce(lambda s, i: np.tanh(s + x[i]), range(3), 0.0),
}


@pytest.mark.parametrize("f", SCALAR.values(), ids=SCALAR)
def test_against_numerical_derivatives(f: Callable[[Any], Any]) -> None:
    slope = numeric(f, X)
    second = numeric(grad(f), X)
    v = np.array([0.5, -2.0, 1.5])
    value, found = value_and_grad(f)(X)
    close(value, f(X))
    close(found, slope)
    close(grad(f)(X), slope)
    close(jacrev(f)(X), slope)
    close(jacfwd(f)(X), slope)
    close(jvp(f, (X,), (v,)), (f(X), slope @ v))
    close(vjp(f, X)[1](2.5)[0], 2.5 * slope)
    for matrix in (hessian(f), jacfwd(jacrev(f)), jacrev(jacfwd(f)), jacfwd(jacfwd(f))):
        close(matrix(X), second, atol=1e-7)
    assert_allclose(hessian(f)(X), hessian(f)(X).T, rtol=1e-12, atol=1e-13)
    close(hvp(f, X, v), second @ v, atol=1e-7)
    close(jvp(grad(f), (X,), (v,))[1], second @ v, atol=1e-7)
    close(grad(lambda x: grad(f)(x) @ v)(X), second @ v, atol=1e-7)


@every
@pytest.mark.parametrize("f", SCALAR.values(), ids=SCALAR)
def test_results_are_plain_arrays(transform: Any, f: Callable[[Any], Any]) -> None:
    assert_plain(transform(f, X))
    assert_plain(transform(f, tensor(X)))
    assert_plain(transform(lambda x: f(x) * tensor(2.0), X))
    with no_grad():
        assert_plain(transform(f, X))
        assert_plain(transform(f, leaf(X)))
        assert_plain(transform(lambda x: f(x) * leaf(2.0), X))


# --- one number, as the semantics say ------------------------------------------------------------


@pytest.mark.parametrize("slope", [grad, elementwise_grad, jacrev, jacfwd, hessian, pulled])
def test_the_gradient_of_a_number_is_an_array_of_no_axes(slope: Any) -> None:
    for x in (2.0, np.float64(2.0), np.array(2.0), tensor(2.0)):
        found = slope(lambda x: x**3)(x)
        assert type(found) is np.ndarray
        assert found.shape == ()
        assert found.dtype == np.float64


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1)])
def test_one_number_may_have_axes_of_length_one(shape: tuple[int, ...]) -> None:
    value, slope = value_and_grad(lambda x: np.sum(x * x).reshape(shape))(X)
    assert value.shape == shape
    close(slope, 2.0 * X)


@every
def test_independent_of_the_input(transform: Any) -> None:
    for constant in (lambda x: 1.5, lambda x: np.array(1.5), lambda x: tensor(1.5)):
        found = flatten(transform(constant, X)).leaves
        assert not np.any(found[-1])
        assert found[-1].dtype == float
    zeros = transform(lambda x: np.sum(np.floor(x)), X)
    assert not np.any(flatten(zeros).leaves[-1])


def test_zeros_have_the_shape_and_the_type_of_the_input() -> None:
    single = X.astype(np.float32)
    found = grad(lambda a, b, c: a * a, (0, 1, 2))(1.5, single, {"m": M})
    close(found, (3.0, np.zeros(3), {"m": np.zeros((2, 3))}))
    assert found[1].dtype == np.float32
    assert_plain(found)


def test_argmax_is_constant_and_no_error() -> None:
    close(grad(lambda x: x[np.argmax(x)] ** 2)(X), np.array([0.0, 0.0, 1.4]))
    close(jvp(np.argmax, (X,), (X,))[1], 0.0)
    close(vjp(lambda x: (np.sum(x), np.argmax(x)), X)[1]((1.0, 1)), (np.ones(3),))


# --- nesting -------------------------------------------------------------------------------------

#: Name, function of one number, point, derivative. Where two variables meet, none is the other.
CONFUSION: list[tuple[str, Callable[[Any, Any], Any], float, float]] = [
    ("x d/dy(x + y)", lambda d, x: x * d(lambda y: x + y)(1.0), 3.0, 1.0),
    ("x d/dy(xy) at y = x", lambda d, x: x * d(lambda y: x * y)(x), 3.0, 6.0),
    ("d/dy(x)", lambda d, x: d(lambda y: x)(2.0), 3.0, 0.0),
    ("d/dy(xyy) at y = x", lambda d, x: d(lambda y: x * y * y)(x), 3.0, 12.0),
    ("x d/dy(xyy) at y = x", lambda d, x: x * d(lambda y: x * y * y)(x), 3.0, 54.0),
    ("d/dy(y) at y = xx", lambda d, x: d(lambda y: y)(x * x) * x, 3.0, 1.0),
    ("d/dy(y^3) at y = xx", lambda d, x: d(lambda y: y**3)(x * x), 2.0, 96.0),
    ("d/dy d/dz (xyz)", lambda d, x: d(lambda y: d(lambda z: x * y * z)(y))(x), 3.0, 1.0),
    ("three deep", lambda d, x: x * d(lambda y: y * d(lambda z: x * y * z)(y))(x), 3.0, 54.0),
    ("constant inside", lambda d, x: x * d(lambda y: 2.0)(x), 3.0, 0.0),
    ("shadowed", lambda d, x: d(lambda x: x * x)(x) * x, 3.0, 12.0),
    ("stopped", lambda d, x: d(lambda y: y * y * stop_gradient(x))(x), 3.0, 6.0),
    ("a function given", lambda d, x: d(lambda y: (lambda f: f(y) * f(x))(np.square))(x), 2.0, 24),
]  # fmt: skip

#: Without those whose inner derivative is of something that is not one number.
NESTABLE = {k: v for k, v in SLOPES.items() if k != "elementwise_grad"}


@pytest.mark.parametrize("outer", NESTABLE.values(), ids=NESTABLE)
@pytest.mark.parametrize("inner", NESTABLE.values(), ids=NESTABLE)
@pytest.mark.parametrize("row", CONFUSION, ids=[row[0] for row in CONFUSION])
def test_derivatives_are_not_confused(outer: Any, inner: Any, row: Any) -> None:
    _, f, x, expected = row
    found = outer(lambda x: f(inner, x))(x)
    close(found, expected)
    assert_plain(found)


def random_nest(rng: np.random.Generator, depth: int, variables: int) -> Callable[[list[Any]], Any]:
    """Return a random expression in some variables, among them derivatives of such expressions."""
    kind = int(rng.integers(7 if depth else 2))
    if kind == 0:
        i = int(rng.integers(variables))
        return lambda values: values[i]
    if kind == 1:
        constant = float(rng.uniform(-1.0, 1.0))
        return lambda values: constant
    a = random_nest(rng, depth - 1, variables)
    if kind == 4:
        return lambda values: np.sin(a(values))
    if kind < 4:
        b = random_nest(rng, depth - 1, variables)
        combine = np.multiply if kind == 2 else np.add
        return lambda values: combine(a(values), b(values))
    slope = list(NESTABLE.values())[int(rng.integers(len(NESTABLE)))]
    body = random_nest(rng, depth - 1, variables + 1)
    return lambda values: slope(lambda y: body([*values, y]) * 1.0)(a(values) * 1.0)


@pytest.mark.parametrize("seed", range(60))
def test_random_nests(seed: int) -> None:
    expression = random_nest(np.random.default_rng(seed), 5, 1)

    def f(x: Any) -> Any:
        return expression([x]) * 1.0

    expected = numeric(f, 0.37)
    for slope in NESTABLE.values():
        found = slope(f)(0.37)
        assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        assert_plain(found)
    for x in (leaf(0.37), Value(0.37)):
        y = f(x)
        if isinstance(y, Tensor | Value) and y.requires_grad:
            y.backward()
        assert_allclose(0.0 if x.grad is None else x.grad, expected, rtol=1e-6, atol=1e-7)


def test_the_amazing_bug() -> None:
    """A derivative that returns a function, which is applied after it (Manzyuk et al., 2019)."""

    def shift(u: Any) -> Callable[..., Any]:
        return lambda f: lambda x: f(x + u)

    def shifted_slope(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        # d/du f(x + u) at u = 0, which is f' itself
        return lambda x: derivative(lambda u: shift(u)(f)(x))(0.0)

    close(shifted_slope(shifted_slope(np.exp))(1.0), math.e)
    close(shifted_slope(shifted_slope(lambda x: x**3))(2.0), 12.0)


def test_what_leaks_out_of_a_run_is_constant_outside() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x)
        return x * x

    grad(f)(3.0)
    close(grad(lambda x: kept[0] * x)(2.0), 3.0)
    close(derivative(lambda x: kept[0] * x)(2.0), 3.0)


#: Functions of a vector that contain transforms, and their derivatives.
INSIDE: list[tuple[str, Callable[[Any], Any], Callable[[Array], Array]]] = [
    ("grad", lambda x: np.sum(grad(lambda y: np.sum(y**3 * x))(x)), lambda x: 9 * x**2),
    (
        "grad of value",
        lambda x: value_and_grad(lambda y: np.sum(y**2 * x))(x)[0],
        lambda x: 3 * x**2,
    ),
    ("vjp", lambda x: np.sum(vjp(lambda y: y**3, x)[1](x)[0]), lambda x: 9 * x**2),
    ("vjp at a constant", lambda x: np.sum(vjp(lambda y: y**3, X)[1](x)[0]), lambda x: 3 * X**2),
    ("vjp value that is x", lambda x: np.sum(vjp(lambda y: x, X)[0] ** 2), lambda x: 2 * x),
    (
        "jvp value that is x",
        lambda x: np.sum(jvp(lambda y: x, (X,), (X,))[0] ** 2),
        lambda x: 2 * x,
    ),
    ("vjp value", lambda x: np.sum(vjp(lambda y: y**3, x)[0]), lambda x: 3 * x**2),
    ("jvp", lambda x: np.sum(jvp(lambda y: y**3, (x,), (x,))[1]), lambda x: 9 * x**2),
    ("jvp at a constant", lambda x: np.sum(jvp(lambda y: y**3, (X,), (x,))[1]), lambda x: 3 * X**2),
    (
        "jvp of a constant",
        lambda x: np.sum(jvp(lambda y: y**3, (x,), (X,))[1]),
        lambda x: 6 * x * X,
    ),
    (
        "jvp linear",
        lambda x: np.sum(jvp(lambda y: y[::-1], (x,), (x,))[1] * x),
        lambda x: 2 * x[::-1],
    ),
    (
        "jvp structured",
        lambda x: np.sum(jvp(np.var, (x,), (x,))[1]),
        lambda x: 4 * (x - x.mean()) / 3,
    ),
    ("jacrev", lambda x: np.sum(jacrev(lambda y: y**2 * x)(x) ** 2), lambda x: 16 * x**3),
    ("jacfwd", lambda x: np.sum(jacfwd(lambda y: y**2 * x)(x) ** 2), lambda x: 16 * x**3),
    ("hessian", lambda x: np.sum(hessian(lambda y: np.sum(y**3 * x))(x)), lambda x: 12 * x),
    ("hvp", lambda x: np.sum(hvp(lambda y: np.sum(y**3 * x), x, x)), lambda x: 18 * x**2),
    ("hvp of a vector", lambda x: np.sum(hvp(lambda y: np.sum(y**3), X, x)), lambda x: 6 * X),
    ("elementwise", lambda x: np.sum(elementwise_grad(lambda y: y**3)(x)), lambda x: 6 * x),
    ("trace", lambda x: np.sum(hessian(lambda y: np.sum(y**4))(x) * np.eye(3)), lambda x: 24 * x),
    (
        "scalar nodes",
        lambda x: np.sum(jvp(lambda y: y * item(np.sum(y * y)), (x,), (X,))[1]),
        lambda x: 2 * x * X.sum() + 2 * x @ X + 2 * X * x.sum(),
    ),
    (
        "scalar nodes back",
        lambda x: np.sum(vjp(lambda y: y * item(np.sum(y * y)), X)[1](x)[0]),
        lambda x: X @ X + 2 * X * X.sum(),
    ),
]


@pytest.mark.parametrize("row", INSIDE, ids=[row[0] for row in INSIDE])
def test_transforms_inside_a_function_that_is_differentiated(row: Any) -> None:
    _, f, slope = row
    expected = slope(X)
    v = np.array([0.5, -2.0, 1.5])
    close(grad(f)(X), expected)
    close(jacrev(f)(X), expected)
    close(jacfwd(f)(X), expected)
    close(jvp(f, (X,), (v,))[1], expected @ v)
    close(hessian(f)(X), numeric(slope, X))
    for found in (grad(f)(X), jacfwd(f)(X), jvp(f, (X,), (v,)), hessian(f)(X)):
        assert_plain(found)
    x = leaf(X)
    f(x).backward()
    close(x.grad, expected)


def test_a_pullback_made_outside() -> None:
    _, pullback = vjp(lambda x: x**3, X)
    found = grad(lambda c: np.sum(pullback(c)[0] ** 2))(X)
    close(found, 18.0 * X**5)
    assert_plain(found)
    close(jvp(lambda c: pullback(c)[0], (X,), (M[0],))[1], 3.0 * X**2 * M[0])
    assert_plain(jacrev(lambda c: pullback(c)[0])(X))
    close(jacfwd(lambda c: pullback(c)[0])(X), np.diag(3.0 * X**2))
    assert_plain(pullback(X))


def test_a_pullback_under_another_switch() -> None:
    w = leaf(W)
    y, pullback = vjp(lambda x: x * w, X)
    with no_grad():
        assert_plain(pullback(X))
    found = pullback(X)[0]
    np.sum(found).backward()
    close(w.grad, X)
    with no_grad():
        y, pullback = vjp(lambda x: x * w, X)
    assert_plain([y, pullback(X)])


def test_a_pullback_of_scalar_nodes_made_outside() -> None:
    _, pullback = vjp(lambda x: x * (Value(2.0) * item(np.sum(x))), X)
    close(grad(lambda c: np.sum(pullback(c)[0]))(X), 2.0 * X.sum() + 6.0 * X)


def test_a_transform_takes_what_another_one_gives() -> None:
    f = grad(jacfwd(value_and_grad(lambda x: x**4)))
    with pytest.raises(TypeError, match="one number, got tuple"):
        f(2.0)
    close(jacfwd(value_and_grad(lambda x: x**4))(2.0), (32.0, 48.0))
    close(jacrev(lambda x: jvp(np.sin, (x,), (x,)))(0.0), (1.0, 1.0))
    close(jvp(value_and_grad(lambda x: x**3), (2.0,), (1.0,)), ((8.0, 12.0), (12.0, 12.0)))
    _, pullback = vjp(hessian(lambda x: x**4), 2.0)
    close(pullback(1.0), (48.0,))
    close(hvp(lambda x: hvp(lambda y: y**5, x, 1.0), 1.0, 1.0), 120.0)


# --- switches ------------------------------------------------------------------------------------


@every
def test_under_no_grad_the_result_is_the_same(transform: Any) -> None:
    f = SCALAR["coupled"]
    expected = transform(f, X)
    with no_grad():
        close(transform(f, X), expected)
        assert not is_grad_enabled()
        with enable_grad():
            close(transform(f, X), expected)
    assert is_grad_enabled()


@every
def test_the_switch_is_back_after_an_error(transform: Any) -> None:
    def fails(x: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transform(fails, X)
    assert is_grad_enabled()
    with no_grad():
        with pytest.raises(ZeroDivisionError):
            transform(fails, X)
        assert not is_grad_enabled()


@slopes
def test_no_grad_inside_a_function_makes_constants(slope: Any) -> None:
    def f(x: Any) -> Any:
        with no_grad():
            c = x * x
        return c * x

    close(slope(f)(3.0), 9.0)
    close(slope(slope(f))(3.0), 0.0)
    close(slope(lambda x: x * stop_gradient(x * x))(3.0), 9.0)
    close(slope(lambda x: stop_gradient(x))(3.0), 0.0)
    close(slope(no_grad()(lambda x: x * x))(3.0), 0.0)

    def inner(x: Any) -> Any:
        with no_grad():
            return x * slope(lambda y: y * y * x)(x)

    close(slope(lambda x: x * inner(x))(3.0), 54.0)


def test_stop_gradient_keeps_numbers_and_structure() -> None:
    x = leaf(X)
    found = stop_gradient({"t": x, "v": Value(2.0), "a": M, "f": 1.5, "n": None, "l": [x * x]})
    assert list(found) == ["t", "v", "a", "f", "n", "l"]
    assert not found["t"].requires_grad
    assert not found["l"][0].requires_grad
    assert found["v"] == 2.0
    assert type(found["v"]) is float
    assert found["a"] is M
    found["t"].data[0] = 9.0
    assert_array_equal(x.data, X)


# --- what a function closes over -----------------------------------------------------------------

W = np.array([1.5, -0.5, 2.0])
W.flags.writeable = False


@every
def test_a_result_that_depends_on_a_leaf_outside_is_recorded(transform: Any) -> None:
    """Its gradient with respect to that leaf is the numerical one."""

    def f(w: Any) -> Callable[[Any], Any]:
        return lambda x: np.sum(np.sin(x * w) * x)

    def total(w: Any) -> Any:
        leaves = flatten(transform(f(w), X)).leaves
        return functools.reduce(np.add, [np.sum(leaf * leaf) for leaf in leaves])

    w = leaf(W)
    y = total(w)
    assert y.requires_grad
    y.backward()
    close(w.grad, numeric(total, W), atol=1e-7)
    close(grad(total)(W), w.grad)
    (slope,) = tg.autograd.grad(total(w), w, create_graph=True)
    close(tg.autograd.grad(np.sum(slope), w)[0], numeric(lambda w: np.sum(grad(total)(w)), W), 1e-6)


@every
def test_a_leaf_as_argument_is_differentiated_too(transform: Any) -> None:
    x = leaf(X)
    f = SCALAR["coupled"]
    found = flatten(transform(f, x)).leaves
    assert all(leaf.requires_grad for leaf in found)
    np.sum(found[-1] ** 2).backward()
    close(x.grad, numeric(lambda x: np.sum(flatten(transform(f, x)).leaves[-1] ** 2), X), 1e-7)


def test_what_does_not_depend_on_the_leaf_is_plain() -> None:
    w = leaf(W)
    first, second = grad(lambda x, y: np.sum(x * w) + np.sum(y), (0, 1))(X, X)
    assert isinstance(first, Tensor)
    assert_plain(second)
    first, second = jvp(lambda x: (x * w, x), (X,), (X,))[1]
    assert isinstance(first, Tensor)
    close(second, X)
    assert_plain(jacrev(lambda x: w)(X))
    assert_plain(jacfwd(lambda x: w)(X))
    assert vjp(lambda x: w, X)[0] is w


def test_argument_and_closure_are_two_variables() -> None:
    w = leaf(W)
    slope = grad(lambda x: np.sum(x * x * w))(w)
    close(slope, 2.0 * W**2)
    np.sum(slope).backward()
    close(w.grad, 4.0 * W)


def test_physics_informed_loss() -> None:
    """The residual of u'' + u = 0 at many points, differentiated by the network's weights."""
    points = np.linspace(0.0, 1.0, 5)

    def u(params: Any, x: Any) -> Any:
        return np.tanh(x[:, None] * params["a"] + params["b"]) @ params["c"]

    def loss(params: Any) -> Any:
        second = elementwise_grad(elementwise_grad(functools.partial(u, params)))
        return np.mean((second(points) + u(params, points)) ** 2)

    numbers = {"a": W, "b": X, "c": M[0]}
    params = {name: leaf(value) for name, value in numbers.items()}
    loss(params).backward()
    found = {name: param.grad for name, param in params.items()}
    close(grad(loss)(numbers), found)
    for name, value in numbers.items():
        close(found[name], numeric(lambda v, n=name: loss({**numbers, n: v}), value), atol=1e-7)


class Model(tg.nn.Module):
    """Parameters of all kinds: plain, tied, in a list, frozen; a buffer and a setting."""

    def __init__(self) -> None:
        self.w = leaf(W)
        self.tied = self.w
        self.parts = [leaf(0.5), {"b": leaf(X)}]
        self.buffer = tensor(M[0])
        self.frozen = tg.nn.MLP(3, [1], rng=0)
        self.frozen.requires_grad_(False)
        self.name = "model"

    def forward(self, x: Any) -> Any:
        hidden = np.tanh(self.w * x + self.parts[1]["b"]) * self.tied * self.buffer
        return np.sum(hidden) * self.parts[0] + np.sum(self.frozen(x)) * 1.0


NAMES = ["w", "parts.0", "parts.1.b"]


def test_closure_over_the_parameters_of_a_module() -> None:
    model = Model()
    slope = grad(lambda x: model(x))(X)
    assert isinstance(slope, Tensor)
    np.sum(slope**2).backward()
    found = [p.grad for p in model.parameters()]
    for parameter, g in zip(model.parameters(), found, strict=True):
        start = parameter.data.copy()

        def total(value: Any, parameter: Any = parameter) -> Any:
            parameter.data = value
            with no_grad():
                return np.sum(grad(lambda x: model(x))(X) ** 2)

        close(g, numeric(total, start), atol=1e-7)
        parameter.data = start


def expected_gradients(model: Model) -> list[Array]:
    model.zero_grad()
    model(X).backward()
    found = [p.grad for p in model.parameters()]
    model.zero_grad()
    return found


@pytest.mark.parametrize("switch", [no_grad, enable_grad])
def test_gradient_with_respect_to_a_module(switch: Any) -> None:
    model = Model()
    expected = expected_gradients(model)
    with switch():
        value, found = value_and_grad(lambda m, x: m(x))(model, X)
    close(value, model(X).data)
    assert type(found) is Model
    assert [name for name, _ in found.named_parameters()] == NAMES
    for g, wanted in zip(found.parameters(), expected, strict=True):
        assert isinstance(g, Tensor)
        close(g.data, wanted)
    assert found.tied is found.w
    assert found.name == "model"
    assert found.buffer is None
    assert model.buffer is not None
    # the model itself is as it was
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert all(p.grad is None and p.is_leaf for p in model.parameters())
    assert_array_equal(model.w.data, W)


def test_products_with_respect_to_a_module() -> None:
    model = Model()
    expected = expected_gradients(model)
    y, pullback = vjp(lambda m: m(X), model)
    close(y, model(X).data)
    close([p.data for p in pullback(2.0)[0].parameters()], [2.0 * g for g in expected])
    _, slope = jvp(lambda m: m(X), (model,), (model,))
    close(slope, sum(np.sum(p.data * g) for p, g in zip(model.parameters(), expected, strict=True)))
    for jac in (jacrev, jacfwd):
        block = jac(lambda m: m.w * m.parts[0])(model)
        close(block.w.data, 0.5 * np.eye(3))
        close(block.parts[0].data, W)
        close(block.parts[1]["b"].data, np.zeros((3, 3)))


def test_second_derivatives_with_respect_to_a_module() -> None:
    model = Model()

    def loss(w: Any) -> Any:
        return np.sum(np.tanh(w * X + X) * w * M[0]) * 0.5

    second = numeric(grad(loss), W)
    found = hvp(lambda m: m(X), model, model)
    direct = jvp(lambda w, a, b: grad(
        lambda w, a, b: np.sum(np.tanh(w * X + b) * w * M[0]) * a, (0, 1, 2))(w, a, b),
        (W, 0.5, X), (W, 0.5, X))[1]  # fmt: skip
    close([p.data for p in found.parameters()], list(direct), atol=1e-7)
    # of a function that uses some of the parameters alone
    found = hvp(lambda m: loss(m.w), model, model)
    close(found.w.data, second @ W, atol=1e-7)
    close(found.parts[0].data, 0.0)
    square = grad(lambda m: np.sum(grad(lambda m: loss(m.w))(m).w ** 2))(model)
    close(square.w.data, 2.0 * second @ grad(loss)(W), atol=1e-6)


def test_hessian_with_respect_to_a_module() -> None:
    model = Model()
    found = hessian(lambda m: np.sum(m.w**3) * m.parts[0])(model)
    close(found.w.w.data, np.diag(3.0 * W))
    close(found.w.parts[0].data, 3.0 * W**2)
    close(found.parts[0].w.data, 3.0 * W**2)


def test_a_module_as_argument_keeps_its_methods_and_modes() -> None:
    model = Model().eval()
    seen = []

    def f(m: Any) -> Any:
        seen.append((type(m), m.training, m is model))
        return m(X)

    grad(f)(model)
    assert seen == [(Model, False, False)]


# --- containers ----------------------------------------------------------------------------------


class Point(NamedTuple):
    x: Any
    y: Any


Pair = namedtuple("Pair", ["first", "second"])

#: Name, container, function of it that returns one number, its gradient.
CONTAINERS: list[tuple[str, Any, Callable[[Any], Any], Any]] = [
    ("tuple", (2.0, 3.0), lambda p: p[0] * p[1], (3.0, 2.0)),
    ("list", [2.0, 3.0], lambda p: p[0] * p[1], [3.0, 2.0]),
    ("dict", {"b": 2.0, "a": 3.0}, lambda p: p["a"] * p["b"], {"b": 3.0, "a": 2.0}),
    ("dict of ints", {1: 2.0, 0: 3.0}, lambda p: p[0] * p[1], {1: 3.0, 0: 2.0}),
    ("NamedTuple", Point(2.0, 3.0), lambda p: p.x * p.y, Point(3.0, 2.0)),
    ("namedtuple", Pair(2.0, 3.0), lambda p: p.first * p.second, Pair(3.0, 2.0)),
    ("ordered", OrderedDict(b=2.0, a=3.0), lambda p: p["a"] * p["b"], OrderedDict(b=3.0, a=2.0)),
    ("None", (2.0, None, [None]), lambda p: p[0] ** 2, (4.0, None, [None])),
    ("empty", (2.0, (), [], {}), lambda p: p[0] ** 2, (4.0, (), [], {})),
    ("unused", {"a": 2.0, "b": X}, lambda p: p["a"] ** 2, {"a": 4.0, "b": np.zeros(3)}),
    (
        "nested",
        {"layers": [(M, X), (W, 2.0)], "p": Point(x=None, y={"z": 3.0})},
        lambda p: (p["layers"][0][0] @ p["layers"][1][0]).sum() * p["p"].y["z"],
        {
            "layers": [
                (np.tile(3.0 * W, (2, 1)), np.zeros(3)),
                (3.0 * M.sum(0), 0.0),
            ],
            "p": Point(x=None, y={"z": np.sum(M @ W)}),
        },
    ),
    ("list of lists", [[2.0, 3.0], [5.0]], lambda p: p[0][1] * p[1][0], [[0.0, 5.0], [3.0]]),
]  # fmt: skip


@pytest.mark.parametrize("row", CONTAINERS, ids=[row[0] for row in CONTAINERS])
def test_containers(row: Any) -> None:
    _, p, f, expected = row
    found = grad(f)(p)
    close(found, expected)
    assert_plain(found)
    assert type(found) is type(p)
    assert repr(tree_map(lambda leaf: 0, found)) == repr(tree_map(lambda leaf: 0, p))
    y, pullback = vjp(f, p)
    close(y, f(p))
    close(pullback(1.0)[0], expected)
    close(jacrev(f)(p), expected)
    close(jacfwd(f)(p), expected)
    pairs = zip(flatten(expected).leaves, flatten(p).leaves, strict=True)
    slope = sum(np.sum(g * a) for g, a in pairs)
    close(jvp(f, (p,), (p,))[1], slope)
    second = hvp(f, p, p)
    assert repr(tree_map(lambda leaf: 0, second)) == repr(tree_map(lambda leaf: 0, p))


def test_default_dict() -> None:
    p = defaultdict(list, a=2.0)
    found = grad(lambda p: p["a"] ** 2)(p)
    assert type(found) is defaultdict
    assert found["missing"] == []


@pytest.mark.parametrize("empty", [None, (), [], {}, (None, ())])
def test_nothing_to_differentiate(empty: Any) -> None:
    assert grad(lambda p: 1.5)(empty) == empty
    assert jacrev(lambda p: 1.5)(empty) == empty
    assert jacfwd(lambda p: 1.5)(empty) == empty
    close(jvp(lambda p: 1.5, (empty,), (empty,)), (1.5, 0.0))
    assert grad(lambda x, p: x * x, (0, 1))(2.0, empty)[1] == empty


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [
        (0, 6.0), (1, 3.0), (-1, 2.0), (np.int64(1), 3.0), ((0,), (6.0,)), ((1, 0), (3.0, 6.0)),
        ([2, 0], (2.0, 6.0)), ((-1, 0), (2.0, 6.0)), ((), ()), ((0, 1, 2), (6.0, 3.0, 2.0)),
    ],
)  # fmt: skip
def test_argnums(argnums: Any, expected: Any) -> None:
    args = (1.0, 2.0, 3.0)

    def f(a: Any, b: Any, c: Any) -> Any:
        return a * b * c

    close(grad(f, argnums)(*args), expected)
    close(value_and_grad(f, argnums)(*args), (6.0, expected))
    close(elementwise_grad(f, argnums)(*args), expected)
    close(jacrev(f, argnums)(*args), expected)
    close(jacfwd(f, argnums)(*args), expected)
    single = np.ndim(argnums) == 0
    second = hessian(f, argnums)(*args)
    assert np.shape(second) == (() if single else (len(argnums),) * 2 if len(argnums) else (0,))


def test_other_arguments_are_handed_through() -> None:
    thing = object()
    ints = np.arange(3)

    def f(a: Any, flag: str, index: Any, *, k: Any, other: Any = None) -> Any:
        assert flag == "yes"
        assert other is thing
        assert index is ints
        assert k is X
        return np.sum(a[index] * k)

    for transform in (grad, jacrev, jacfwd, elementwise_grad):
        close(transform(f)(M[0], "yes", ints, k=X, other=thing), X)
    close(hessian(f)(M[0], "yes", ints, k=X, other=thing), np.zeros((3, 3)))


def test_keyword_arguments_are_not_differentiated() -> None:
    k = leaf(5.0)
    found = grad(lambda x, *, k: x * k)(2.0, k=k)
    found.backward()
    close(k.grad, 1.0)


def test_has_aux() -> None:
    log: list[Any] = []

    def f(x: Any) -> Any:
        y = x * x
        return np.sum(y), {"y": y, "n": None, "s": "text", "o": log, "p": Point(x, X)}

    slope, aux = grad(f, has_aux=True)(M[0])
    close(slope, 2.0 * M[0])
    assert aux["s"] == "text"
    assert aux["n"] is None
    assert_plain([aux["y"], aux["p"].x])
    assert aux["p"].y is X
    close(aux["y"], M[0] ** 2)
    (value, aux), slope = value_and_grad(f, has_aux=True)(M[0])
    assert_plain([value, slope, aux["y"]])
    y, pullback, aux = vjp(f, M[0], has_aux=True)
    close(y, np.sum(M[0] ** 2))
    close(pullback(1.0), (2.0 * M[0],))
    assert_plain([aux["y"]])
    # a list of two is a pair as well
    close(grad(lambda x: [x * x, x], has_aux=True)(3.0), (6.0, 3.0))


def test_aux_of_an_outer_variable_alone_stays_recorded() -> None:
    """Though the output has nothing to do with it."""

    def f(x: Any) -> Any:
        _, first = grad(lambda y: (y**2, x * x), has_aux=True)(2.0)
        _, second = value_and_grad(lambda y: (y**2, {"x": x}), has_aux=True)(2.0)[0]
        _, _, third = vjp(lambda y: (y**2, [x]), 2.0, has_aux=True)
        return first * second["x"] * third[0]

    close(grad(f)(2.0), 32.0)
    close(derivative(f)(2.0), 32.0)
    w = leaf(2.0)
    f(w).backward()
    close(w.grad, 32.0)
    assert_plain(grad(lambda y: (y**2, stop_gradient(w)), has_aux=True)(2.0)[0])


def test_aux_inside_another_transform_stays_recorded() -> None:
    def f(x: Any) -> Any:
        slope, aux = grad(lambda y: (y**3, y * x), has_aux=True)(x)
        return slope * aux

    close(grad(f)(2.0), 96.0)  # 3x^2 x^2


# --- inputs --------------------------------------------------------------------------------------

FLOATS = [np.float16, np.float32, np.float64, np.longdouble]


@pytest.mark.parametrize("dtype", FLOATS)
@every
def test_dtypes_are_kept(transform: Any, dtype: Any) -> None:
    x = X.astype(dtype)
    for result in (transform(lambda x: np.sum(np.tanh(x) * x), x), transform(np.mean, x)):
        assert [leaf.dtype for leaf in flatten(result).leaves] == [dtype] * len(
            flatten(result).leaves
        )


@pytest.mark.parametrize("dtype", FLOATS)
def test_numpy_scalars(dtype: Any) -> None:
    found = value_and_grad(lambda x: x * x * 2.0)(dtype(3.0))
    close(found, (18.0, 12.0))
    assert [a.dtype for a in found] == [dtype, dtype]
    assert_plain(found)


def test_each_gradient_has_the_dtype_of_its_input() -> None:
    a, b = X.astype(np.float32), X.copy()
    ga, gb = grad(lambda a, b: np.sum(a * b), (0, 1))(a, b)
    assert (ga.dtype, gb.dtype) == (np.float32, np.float64)
    y, t = jvp(lambda a, b: a * b, (a, b), (b, a))
    assert (y.dtype, t.dtype) == (np.float64, np.float64)
    y, t = jvp(lambda a: a * 2.0, (a,), (b,))
    assert (y.dtype, t.dtype) == (np.float32, np.float32)
    assert vjp(lambda a: a * 2.0, a)[1](b)[0].dtype == np.float32
    assert jvp(lambda x: x * 2.0, (2.0,), (1,))[1].dtype == float


def test_recorded_cotangents_and_tangents_take_the_dtype_too() -> None:
    a, c = X.astype(np.float32), leaf(W)
    (found,) = vjp(lambda a: a * a, a)[1](c)
    assert found.dtype == np.float32
    assert vjp(lambda a: a, a)[1](c)[0].dtype == np.float32
    _, moved = jvp(lambda a: a * a, (a,), (c,))
    assert moved.dtype == np.float32
    np.sum(found * moved).backward()
    assert c.grad.dtype == np.float64
    assert_allclose(c.grad, 8.0 * X**2 * W, rtol=1e-5)


def test_the_order_of_keys_does_not_matter() -> None:
    p, v = {"a": 2.0, "b": X}, {"b": W, "a": 10.0}
    close(jvp(lambda p: p["a"] * p["b"], (p,), (v,))[1], 10.0 * X + 2.0 * W)
    _, pullback = vjp(lambda p: {"x": p["a"] ** 2, "y": p["b"] * 1.0}, p)
    found = pullback({"y": W, "x": 1.0})[0]
    assert list(found) == ["a", "b"]
    close(found, {"a": 4.0, "b": W})
    close(hvp(lambda p: p["a"] ** 2 * np.sum(p["b"]), p, v)["b"], np.full(3, 40.0))


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "read-only": lambda a: np.broadcast_to(a, a.shape),
    "view": lambda a: np.concatenate([a, a])[:2],
    "big-endian": lambda a: a.astype(">f8"),
}


@every
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(transform: Any, layout: Callable[[Array], Array]) -> None:
    def f(m: Any) -> Any:
        return np.sum(np.tanh(m @ m.T)) + np.sum(m[0] * m[1])

    x = layout(np.array(M))
    close(transform(f, x), transform(f, M))
    assert_array_equal(x, M)


@every
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 0, 3)])
def test_empty_arrays(transform: Any, shape: tuple[int, ...]) -> None:
    found = transform(lambda x: np.sum(x * x), np.zeros(shape))
    assert_plain(found)
    assert {leaf.size for leaf in flatten(found).leaves} <= {0, 1}
    close(grad(lambda x: np.sum(x * x))(np.zeros(shape)), np.zeros(shape))


@every
def test_values_in_values_out(transform: Any) -> None:
    """A Value always requires a gradient, so the result is recorded."""
    v = Value(2.0)
    leaves = flatten(transform(lambda x: x**4, v)).leaves
    plain = flatten(transform(lambda x: x**4, 2.0)).leaves
    close([leaf.data for leaf in leaves], plain)
    leaves[-1].backward()
    expected = numeric(lambda x: flatten(transform(lambda x: x**4, x)).leaves[-1], 2.0)
    assert_allclose(v.grad, expected, rtol=1e-8)


def test_containers_of_values() -> None:
    values = [Value(2.0), Value(3.0)]
    found = grad(lambda p: p[0] * p[1] ** 2)(values)
    assert [type(g) for g in found] == [Value, Value]
    assert [g.data for g in found] == [9.0, 12.0]
    for jac in (jacrev, jacfwd):
        rows = jac(lambda p: np.stack([p[0] * p[1], p[0] + 1.0]))(values)
        close(rows, [np.array([3.0, 1.0]), np.array([2.0, 0.0])])
    with no_grad():
        assert_plain(grad(lambda p: p[0] * p[1] ** 2)(values))
    close(hessian(lambda p: p[0] * p[1] ** 2)(values), [[0.0, 6.0], [6.0, 4.0]])


def test_masked_arrays_are_refused() -> None:
    with pytest.raises(TypeError, match="masked"):
        grad(np.sum)(np.ma.array([1.0, 2.0], mask=[False, True]))


# --- complex numbers -----------------------------------------------------------------------------

Z = np.array([0.3 + 0.8j, -1.2 + 0.4j, 0.7 - 0.5j])
Z.flags.writeable = False

COMPLEX: dict[str, Callable[[Any], Any]] = {
    "square": lambda z: z * z,
    "exp": np.exp,
    "conjugate": lambda z: np.conj(z) * z * 1j,
    "modulus": np.abs,
    "angle": np.angle,
    "parts": lambda z: np.real(z) * np.imag(z),
    "reverse": lambda z: z[::-1] * z[0],
    "product": lambda z: z @ z,
    "of a real": lambda z: np.exp(1j * np.real(z)),
    "mean": np.mean,
    "fancy": lambda z: z[[0, 0, 2]] ** 3,
}


@pytest.mark.parametrize("f", COMPLEX.values(), ids=COMPLEX)
def test_complex_products(f: Callable[[Any], Any], rng: np.random.Generator) -> None:
    """Forward the directional derivative; back the cotangents whose inner products are the same."""
    v = rng.normal(size=3) + 1j * rng.normal(size=3)
    moved = numeric(lambda h: f(Z + h * v), 0.0)
    y, t = jvp(f, (Z,), (v,))
    close(y, f(Z))
    close(t, moved)
    assert t.dtype == y.dtype
    c = rng.normal(size=y.shape) + (1j * rng.normal(size=y.shape) if np.iscomplexobj(y) else 0.0)
    (g,) = vjp(f, Z)[1](c)
    assert g.dtype == Z.dtype
    assert_allclose(np.vdot(g, v).real, np.sum(np.conj(c) * moved).real, rtol=1e-8)


def test_the_gradient_of_a_real_function_points_uphill() -> None:
    close(grad(lambda z: np.sum(np.abs(z) ** 2))(Z), 2.0 * Z)  # as PyTorch; JAX's is the conjugate
    assert grad(lambda z: np.abs(z) ** 2)(1 + 2j).dtype == complex
    assert grad(lambda z: np.abs(z) ** 2)(np.complex64(1 + 2j)).dtype == np.complex64
    close(vjp(lambda z: z * z, 1 + 2j)[1](1.0), (2 - 4j,))
    close(vjp(lambda x: np.exp(1j * x), 1.0)[1](1j), (math.cos(1.0),))
    close(grad(lambda x: np.abs(grad(lambda z: np.abs(z) ** 2)(x + 1j)) ** 2)(1.0), 8.0)


def test_complex_where_one_real_number_is_needed() -> None:
    with pytest.raises(TypeError, match="real floating number, got one of dtype complex128; take"):
        grad(lambda z: z)(1j)
    for f in (jacrev, jacfwd, hessian):
        with pytest.raises(TypeError, match="complex"):
            f(np.abs)(1j)
        with pytest.raises(TypeError, match="complex"):
            f(lambda x: x * 1j)(1.0)
    with pytest.raises(TypeError, match="real numbers, and x is complex"):
        hvp(np.abs, 1j, 1.0)
    with pytest.raises(TypeError, match="real numbers, and v is complex"):
        hvp(np.abs, 1.0, 1j)
    with pytest.raises(TypeError, match="tangent 0 has dtype complex128, expected float64"):
        jvp(np.sin, (1.0,), (1j,))
    with pytest.raises(TypeError, match="cotangent has dtype complex128, expected float64"):
        vjp(np.sin, 1.0)[1](1j)


# --- memory --------------------------------------------------------------------------------------

#: Functions of two vectors whose derivatives are shared, views, or the input itself.
SHARING: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda a, b: a + b,
    "identity": lambda a, b: (a, b),
    "twice": lambda a, b: (a, a, b),
    "views": lambda a, b: (a[::-1], b.reshape(3, 1)),
    "repeated": lambda a, b: (np.broadcast_to(np.sum(a), (3,)), np.sum(b)),
    "exp": lambda a, b: np.exp(a) + np.exp(b),
    "total": lambda a, b: np.sum(a + b),
}


@pytest.mark.parametrize("outside", [1.0, leaf(1.0)], ids=["plain", "recorded"])
@pytest.mark.parametrize("f", SHARING.values(), ids=SHARING)
def test_results_share_no_memory(f: Callable[..., Any], outside: Any) -> None:
    a, b = X.copy(), W.copy()
    va, vb = M[0].copy(), M[1].copy()

    def g(a: Any, b: Any) -> Any:
        return tree_map(lambda y: y * outside, f(a, b)) if isinstance(outside, Tensor) else f(a, b)

    y, pullback = vjp(g, a, b)
    c = tree_map(lambda y: np.ones(np.shape(y)), y)
    everything = [
        a, b, va, vb, y, c, pullback(c), pullback(c), jvp(g, (a, b), (va, vb)),
        jacrev(g, (0, 1))(a, b), jacfwd(g, (0, 1))(a, b),
    ]  # fmt: skip
    arrays = [x for x in flatten(everything).leaves if isinstance(x, np.ndarray)]
    for i, one in enumerate(arrays):
        assert one.flags.writeable
        for other in arrays[:i]:
            assert not np.shares_memory(one, other)


@every
def test_inputs_are_not_modified(transform: Any) -> None:
    x = np.array([0.3, -1.2, 0.7])
    before = x.copy()
    result = transform(SCALAR["coupled"], x)
    again = [leaf.copy() for leaf in flatten(result).leaves]
    for found in flatten(result).leaves:
        found[...] = 7.0
    assert_array_equal(x, before)
    assert_array_equal(flatten(transform(SCALAR["coupled"], x)).leaves[-1], again[-1])


def test_a_pullback_holds_what_it_needs() -> None:
    x = X.copy()
    y, pullback = vjp(np.exp, x)
    first = pullback(np.ones(3))[0]
    expected = first.copy()
    first[:] = 7.0
    y[:] = 7.0  # exp's rule uses the result
    x[:] = 7.0
    assert_array_equal(pullback(np.ones(3))[0], expected)
    c = np.ones(3)
    found = pullback(c)[0]
    found[:] = 7.0
    assert_array_equal(c, np.ones(3))


def test_a_pullback_of_a_leaf_notices_that_its_data_changed() -> None:
    w = leaf(W)
    _, pullback = vjp(lambda x: np.sum(x * x), w)
    w.data = X
    with pytest.raises(StaleGraphError):
        np.sum(pullback(1.0)[0]).backward()


def test_leaves_get_no_gradient_from_a_transform() -> None:
    w = leaf(W)
    for transform in EVERY.values():
        transform(lambda x: np.sum(x * w * x), w)
    assert w.grad is None


# --- Jacobians -----------------------------------------------------------------------------------

SHAPES = [(), (1,), (3,), (2, 3), (2, 1, 2), (0,), (2, 0)]

#: Functions of an array of any shape, and the shape that they return.
MAPS: dict[str, Callable[[Any], Any]] = {
    "elementwise": np.sin,
    "identity": lambda x: x,
    "sum": lambda x: np.sum(x * x),
    "outer": lambda x: np.sin(x).reshape(-1, 1) * x.reshape(1, -1),
    "nothing": lambda x: (x * x).reshape(-1)[:0],
    "stack": lambda x: np.stack([x * x, np.exp(x)], axis=-1),
    "transpose": lambda x: np.transpose(x) * 2.0,
    "cumulative": lambda x: np.tril(np.ones((x.size, x.size))) @ (x * x).reshape(-1),
    "constant": lambda x: np.ones((2, 2)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("f", MAPS.values(), ids=MAPS)
def test_jacobian_of_every_shape(
    f: Callable[[Any], Any], shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    x = np.asarray(rng.uniform(0.5, 1.5, shape))
    expected = numeric(f, x)
    assert expected.shape == np.shape(f(x)) + shape
    for jac in (jacrev, jacfwd, jacobian):
        found = jac(f)(x)
        close(found, expected)
        assert_plain(found)
        close(grad(lambda x, j=jac: np.sum(j(f)(x) ** 2))(x),
              numeric(lambda x: np.sum(jacrev(f)(x) ** 2), x), 1e-7)  # fmt: skip


def test_jacobian_is_jacrev() -> None:
    assert jacobian is jacrev


INPUTS: dict[str, Any] = {
    "array": X,
    "tuple": (X, 2.0),
    "dict": {"m": M, "x": X},
    "nested": [{"x": X}, (M, None), ()],
    "empty": {},
}
OUTPUTS: dict[str, Callable[[list[Any]], Any]] = {
    "number": lambda s: s[0],
    "vector": lambda s: np.stack(s),
    "tuple": lambda s: (s[0], np.stack([s[1], s[2]])),
    "dict": lambda s: {"a": s[0], "b": [s[1], None, {"c": np.stack(s)[None]}]},
    "empty": lambda s: (),
    "none": lambda s: None,
}


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("outputs", OUTPUTS.values(), ids=OUTPUTS)
def test_jacobian_of_every_structure(inputs: Any, outputs: Any) -> None:
    def f(p: Any) -> Any:
        leaves = flatten(p).leaves
        total = functools.reduce(np.add, [np.sum(np.sin(a) * a) for a in leaves], 0.5)
        first = np.sum(leaves[0]) if leaves else 1.5
        return outputs([total, total * first, first * 1.0])

    tree = flatten(inputs)
    out = flatten(f(inputs))
    rows = []
    for i in range(len(out.leaves)):
        row = []
        for j, a in enumerate(tree.leaves):

            def moved(v: Any, i: int = i, j: int = j) -> Any:
                leaves = list(tree.leaves)
                leaves[j] = v
                return flatten(f(tree.rebuild(leaves))).leaves[i]

            row.append(numeric(moved, a))
        rows.append(tree.rebuild(row))
    expected = out.rebuild(rows)
    close(jacrev(f)(inputs), expected)
    close(jacfwd(f)(inputs), expected)


def test_jacobian_of_several_arguments_and_results() -> None:
    def f(a: Any, b: Any) -> Any:
        return {"p": a[:, None] * b, "s": np.sum(a)}

    for jac in (jacrev, jacfwd):
        found = jac(f, (1, 0))(X, M[0, :2])
        assert tree_map(np.shape, found) == {
            "p": ((3, 2, 2), (3, 2, 3)), "s": ((2,), (3,)),
        }  # fmt: skip
        close(found["p"][0], numeric(lambda b: X[:, None] * b, M[0, :2]))
        close(found["s"], (np.zeros(2), np.ones(3)))


def test_hessian_of_containers() -> None:
    found = hessian(lambda p: p["a"] ** 2 * np.sum(p["b"]))({"a": 2.0, "b": X})
    s = float(X.sum())
    close(found, {"a": {"a": 2.0 * s, "b": np.full(3, 4.0)},
                  "b": {"a": np.full(3, 4.0), "b": np.zeros((3, 3))}})  # fmt: skip
    found = hessian(lambda a, b: a**2 * b, (0, 1))(2.0, 3.0)
    close(found, ((6.0, 4.0), (4.0, 0.0)))


def test_hessian_of_an_array() -> None:
    assert hessian(lambda m: np.sum(m**3))(M).shape == (2, 3, 2, 3)
    found = hessian(lambda x: np.stack([x[0] ** 2 * x[1], x[1] ** 3]))(np.array([1.0, 2.0]))
    close(found, np.array([[[4.0, 2.0], [2.0, 0.0]], [[0.0, 0.0], [0.0, 12.0]]]))


@pytest.fixture(params=[1, 6, 20, 45, 2**22])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Batches of one row, of some and of all."""
    monkeypatch.setattr(sys.modules["tinygrad_nn.transforms.jacobian"], "_BATCH", request.param)
    return int(request.param)


@pytest.mark.parametrize("f", SCALAR.values(), ids=SCALAR)
def test_batches_of_any_size(f: Callable[[Any], Any], batch: int) -> None:
    expected = numeric(grad(f), X)
    close(hessian(f)(X), expected, atol=1e-7)
    close(jacfwd(grad(f))(X), expected, atol=1e-7)
    w = leaf(W)
    np.sum(hessian(lambda x: f(x * w))(X)).backward()
    total = numeric(lambda w: np.sum(hessian(lambda x: f(x * w))(X)), W)
    close(w.grad, total, atol=1e-6)


def test_batches_of_several_inputs_and_outputs(batch: int) -> None:
    def f(a: Any, b: Any) -> Any:
        return a @ b, (np.sum(a), np.tanh(b) * 2.0)

    expected = tuple(
        (numeric(lambda a, k=k: flatten(f(a, M.T)).leaves[k], M),
         numeric(lambda b, k=k: flatten(f(M, b)).leaves[k], M.T)) for k in range(3)
    )  # fmt: skip
    for jac in (jacrev, jacfwd):
        first, (second, third) = jac(f, (0, 1))(M, M.T)
        close((first, second, third), expected)


def test_scalar_nodes_in_the_graph_go_row_by_row() -> None:
    def f(x: Any) -> Any:
        return x * item(np.sum(x * x)) + x * (Value(2.0) * Value(3.0))

    expected = np.diag(np.full(3, X @ X + 6.0)) + 2.0 * np.outer(X, X)
    close(jacrev(f)(X), expected)
    close(jacfwd(f)(X), expected)
    assert_plain(jacrev(f)(X))
    close(hessian(lambda x: np.sum(f(x)))(X), numeric(grad(lambda x: np.sum(f(x))), X))


# --- what it costs -------------------------------------------------------------------------------


class Counted:
    """A cube, as a user's primitive that counts how often it and its rule are called."""

    def __init__(self, elementwise: bool = True) -> None:
        self.calls: Counter[str] = Counter()

        def forward(x: Any) -> Any:
            self.calls["forward"] += 1
            return x**3

        def rule(g: Any, y: Any, x: Any) -> Any:
            self.calls["rule"] += 1
            return g * 3.0 * x * x

        self.primitive = Primitive(forward, [rule], name="cube", elementwise=elementwise)

    def f(self, x: Any) -> Any:
        self.calls["f"] += 1
        return self.primitive(x)

    def total(self, x: Any) -> Any:
        return np.sum(self.f(x) ** 2)


@pytest.mark.parametrize("elementwise", [True, False])
@pytest.mark.parametrize("n", [2, 9])
@pytest.mark.parametrize(
    ("transform", "rules"),
    [
        (lambda c, x: grad(c.total)(x), 1),
        (lambda c, x: value_and_grad(c.total)(x), 1),
        (lambda c, x: vjp(c.f, x), 0),
        (lambda c, x: vjp(c.f, x)[1](x), 1),
        (lambda c, x: jvp(c.f, (x,), (x,)), 1),
        (lambda c, x: jacrev(c.f)(x), 1),
        (lambda c, x: jacfwd(c.f)(x), 1),
        (lambda c, x: hessian(c.total)(x), 2),
        (lambda c, x: hvp(c.total, x, x), 2),
    ],
    ids=["grad", "value", "vjp", "pullback", "jvp", "jacrev", "jacfwd", "hessian", "hvp"],
)
def test_everything_is_called_once(transform: Any, rules: int, n: int, elementwise: bool) -> None:
    """Whatever the number of inputs: the function, its primitives, and the rules once per order."""
    counted = Counted(elementwise)
    x = np.linspace(0.5, 1.5, n)
    transform(counted, x)
    assert counted.calls["f"] == 1
    assert counted.calls["forward"] == 1
    assert counted.calls["rule"] == rules


@pytest.mark.parametrize(("limit", "calls"), [(2**22, 1), (14, 4), (21, 3), (7, 7), (1, 7)])
def test_one_call_of_a_rule_to_a_batch(
    limit: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["tinygrad_nn.transforms.jacobian"], "_BATCH", limit)
    x = np.linspace(0.5, 1.5, 7)
    for jac in (jacrev, jacfwd):
        counted = Counted()
        close(jac(counted.f)(x), np.diag(3.0 * x**2))
        assert counted.calls == {"f": 1, "forward": 1, "rule": calls}


def nodes_made(run: Callable[[], Any]) -> int:
    """Count the nodes that a call makes, which are all numbered."""
    start = next_serial()
    run()
    return next_serial() - start


@every
def test_the_number_of_nodes_does_not_grow_with_the_input(transform: Any) -> None:
    def f(x: Any) -> Any:
        return np.sum(np.tanh(x * np.sum(x)) ** 2)

    few, many = (nodes_made(lambda n=n: transform(f, np.linspace(0.1, 0.5, n))) for n in (2, 40))
    assert few == many


def test_walks_over_plain_arrays_make_no_nodes() -> None:
    def f(x: Any) -> Any:
        return np.tanh(x * np.sum(x)) ** 2

    forward = nodes_made(lambda: vjp(f, X))
    for jac in (jacrev, jacfwd):
        # elementwise and linear primitives; a transposed rule would take some
        assert nodes_made(lambda j=jac: j(f)(X)) == forward
    assert nodes_made(lambda: jvp(f, (X,), (X,))) == forward
    assert nodes_made(lambda: vjp(f, X)[1](X)) == forward
    _, pullback = vjp(f, X)
    assert nodes_made(lambda: pullback(X)) == 1  # the count itself


def test_nothing_is_pulled_beyond_the_inputs() -> None:
    """What was computed outside is not walked through again."""
    counted = Counted()
    w = leaf(W)
    c = counted.f(w)
    grad(lambda x: np.sum(x * x * c))(X)
    jacrev(lambda x: x * c)(X)
    jvp(lambda x: x * c, (X,), (X,))
    assert counted.calls == {"f": 1, "forward": 1}


def test_a_walk_stays_out_of_what_the_inputs_do_not_reach() -> None:
    deep = leaf(1.0)
    c = deep
    for _ in range(3000):
        c = c * 1.0
    found = grad(lambda x: x * c)(2.0)
    assert isinstance(found, Tensor)
    close(found, 1.0)


def test_deep_graphs() -> None:
    def f(x: Any) -> Any:
        for _ in range(3000):
            x = x + x * 1e-3
        return x

    slope = 1.001**3000
    for transform in (grad, jacrev, jacfwd, derivative):
        close(transform(f)(1.0), slope)


# --- misuse --------------------------------------------------------------------------------------

NOT_A_FUNCTION = [3.0, "sin", None, X, tensor(1.0)]


@pytest.mark.parametrize("f", NOT_A_FUNCTION, ids=repr)
@every
def test_what_is_no_function(transform: Any, f: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a function, got \w+; .*backward\(\) or autograd"):
        transform(f, X)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("vjp", "jvp", "hvp")])
def test_what_is_no_function_is_said_at_once_and_by_name(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} takes a function, got float"):
        getattr(tg, name)(3.0)


BAD_INPUTS: list[tuple[Any, str]] = [
    (3, "dtype int64 as argument 0"),
    (True, "dtype bool as argument 0"),
    (np.arange(3), "dtype int64 as argument 0"),
    (np.array([1, 2], np.uint8), "dtype uint8 as argument 0"),
    (tensor([1, 2]), "dtype int64 as argument 0"),
    ("text", "str as argument 0"),
    (b"text", "bytes as argument 0"),
    (object(), "object as argument 0"),
    ({1.0, 2.0}, "set as argument 0"),
    (np.array([None, 1.0]), "ndarray as argument 0"),
    (np.array(["2020-01-01"], "datetime64[D]"), "ndarray as argument 0"),
    ([1.0, {"a": 3}], r"dtype int64 as argument 0\[1\]\['a'\]"),
    (Point(1.0, "b"), r"str as argument 0.y"),
    (np.sin, "ufunc as argument 0"),
]


#: The `repr` of a plain object has its address, which is another one in every process.
SHOWN = ["object()" if type(x) is object else repr(x) for x, _ in BAD_INPUTS]


@pytest.mark.parametrize(("x", "message"), BAD_INPUTS, ids=SHOWN)
@every
def test_what_cannot_be_differentiated(transform: Any, x: Any, message: str) -> None:
    if transform in (EVERY["jvp"], EVERY["hvp"]):
        return  # ones() makes no sense there; see below
    with pytest.raises(TypeError, match=f"differentiates floating numbers, got {message}.*argnums"):
        transform(lambda x: 1.0, x)


@pytest.mark.parametrize("x", [3, "text", np.arange(3)])
def test_what_cannot_be_differentiated_forward(x: Any) -> None:
    with pytest.raises(TypeError, match=r"jvp differentiates floating numbers.*argument 0"):
        jvp(lambda x: x, (x,), (x,))
    with pytest.raises(TypeError, match=r"argument 1"):
        jvp(lambda a, x: x, (1.0, x), (1.0, x))
    with pytest.raises(TypeError):
        hvp(lambda x: x, x, x)


#: Results of functions that are refused: by whom, the class and the words of the error.
GRADIENTS = ["grad", "value_and_grad", "hvp"]
JACOBIANS = ["jacrev", "jacfwd", "hessian"]
ALL = list(EVERY)
BAD_OUTPUTS: list[tuple[str, Any, list[str], type[Exception], str]] = [
    ("a string", "text", [n for n in ALL if n != "elementwise_grad"], TypeError, "got str"),
    ("a string", "text", ["elementwise_grad"], TypeError, "one array, got str"),
    ("an object", object(), ALL, TypeError, "got object"),
    ("a set", {1.0}, ALL, TypeError, "got set"),
    ("strings", (1.0, ["a"]), ["vjp", "jvp", *JACOBIANS], TypeError, r"output\[1\]\[0\]"),
    ("None", None, GRADIENTS, TypeError, "one number, got NoneType"),
    ("None", None, ["elementwise_grad"], TypeError, "one array, got NoneType"),
    ("a tuple", (1.0, 2.0), GRADIENTS, TypeError, "one number, got tuple.*has_aux=True"),
    ("a tuple of one", (1.0,), GRADIENTS, TypeError, "one number, got tuple"),
    ("a dict", {"a": 1.0}, GRADIENTS, TypeError, "one number, got dict"),
    ("a tuple", (1.0, 2.0), ["elementwise_grad"], TypeError, "one array, got tuple"),
    ("an int", 3, [*GRADIENTS, *JACOBIANS, "elementwise_grad"], TypeError, "dtype int64"),
    ("a bool", True, [*GRADIENTS, *JACOBIANS], TypeError, "dtype bool"),
    ("ints", np.arange(3), JACOBIANS, TypeError, "dtype int64"),
    ("an array", X, GRADIENTS, ShapeError, r"shape \(3,\); reduce it.*jacobian, vjp or elem"),
    ("nothing", np.zeros(0), GRADIENTS, ShapeError, r"shape \(0,\)"),
    ("complex", 1j, [*GRADIENTS, "elementwise_grad"], TypeError, "complex128; take its real part"),
    ("complex", 1j, JACOBIANS, TypeError, "complex numbers has no meaning"),
]


@pytest.mark.parametrize(
    ("result", "name", "error", "message"),
    [(r, n, e, m) for _, r, names, e, m in BAD_OUTPUTS for n in names],
    ids=[f"{n} of {what}" for what, _, names, _, _ in BAD_OUTPUTS for n in names],
)
def test_functions_that_return_the_wrong_thing(
    result: Any, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        EVERY[name](lambda x: result, X)


def test_recorded_results_of_the_wrong_shape_or_type() -> None:
    with pytest.raises(ShapeError, match=r"got an array of shape \(3,\)"):
        grad(lambda x: x)(X)
    with pytest.raises(TypeError, match="got one of dtype bool"):
        grad(lambda x: np.sum(x) > 0)(X)
    with pytest.raises(TypeError, match="got one of dtype int64"):
        grad(np.argmax)(X)
    for jac in (jacrev, jacfwd):
        with pytest.raises(TypeError, match="returns floating numbers, got one of dtype bool"):
            jac(lambda x: x > 0)(X)


PRODUCTS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("primals", lambda: jvp(np.sin, 1.0, 1.0), TypeError, "primals in a tuple.*got float"),
    ("array", lambda: jvp(np.sin, X, X), TypeError, "primals in a tuple.*got ndarray"),
    ("tangents", lambda: jvp(np.sin, (1.0,), 1.0), TypeError, "tangents in a tuple.*got float"),
    ("count", lambda: jvp(np.sin, (1.0,), (1.0, 2.0)), TypeError, r"1 primal\(s\) and 2 tangent"),
    ("tangent shape", lambda: jvp(np.sin, (X,), (1.0,)), ShapeError,
     r"tangent 0 has shape \(\), expected \(3,\)"),
    ("second tangent", lambda: jvp(np.add, (X, X), (X, M)), ShapeError, "tangent 1 has shape"),
    ("tangent structure", lambda: jvp(lambda p: p[0], ((X, X),), (X,)), TypeError,
     r"structure.*expected the leaves tangent 0\[0\], tangent 0\[1\], got tangent 0$"),
    ("tangent keys", lambda: jvp(lambda p: p["a"], ({"a": 1.0},), ({"b": 1.0},)), TypeError,
     r"\['a'\], got tangent 0\['b'\]"),
    ("no tangent", lambda: jvp(np.sin, (1.0,), (None,)), TypeError, "tangent 0, got none"),
    ("tangent str", lambda: jvp(np.sin, (1.0,), ("a",)), TypeError, "tangent 0 has dtype <U1"),
    ("tangent object", lambda: jvp(np.sin, (1.0,), (object(),)), TypeError, "dtype object"),
    ("cotangent shape", lambda: vjp(np.sin, X)[1](1.0), ShapeError,
     r"cotangent has shape \(\), expected \(3,\)"),
    ("cotangent part", lambda: vjp(lambda x: (x, {"a": x}), X)[1]((X, {"a": M})), ShapeError,
     r"cotangent\[1\]\['a'\] has shape \(2, 3\)"),
    ("cotangent structure", lambda: vjp(lambda x: (x, x), X)[1](X), TypeError,
     r"cotangent\[0\], cotangent\[1\], got cotangent$"),
    ("cotangent str", lambda: vjp(np.sin, 1.0)[1]("a"), TypeError, "cotangent has dtype <U1"),
    ("no cotangent", lambda: vjp(np.sin, 1.0)[1](None), TypeError, "cotangent, got none"),
    ("hvp shape", lambda: hvp(np.sum, X, 1.0), ShapeError,
     r"vector has shape \(\), expected \(3,\)"),
    ("hvp structure", lambda: hvp(lambda p: p[0], (1.0,), 1.0), TypeError, r"vector\[0\], got"),
    ("hvp of a vector", lambda: hvp(np.sin, X, X), ShapeError, "one number, got an array"),
    ("aux", lambda: grad(np.sin, has_aux=True)(1.0), TypeError, r"\(output, aux\), got Tensor"),
    ("three", lambda: grad(lambda x: (x, x, x), has_aux=True)(1.0), TypeError, r"\(output, aux\)"),
    ("vjp aux", lambda: vjp(np.sin, 1.0, has_aux=True), TypeError, r"\(output, aux\), got Tensor"),
    ("elementwise", lambda: elementwise_grad(lambda x: (x, x))(X), TypeError, "one array"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"), [row[1:] for row in PRODUCTS], ids=[row[0] for row in PRODUCTS]
)
def test_products_of_the_wrong_things(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("argnums", "message"),
    [
        (2, r"argnums=2 names argument 2, .* with 2 positional argument\(s\)"),
        (-3, "names argument -3"),
        ((0, 5), "names argument 5"),
        ((0, -2), "names an argument twice"),
        ((1, 1), "names an argument twice"),
        ("x", "must be an int or a tuple of ints, got 'x'"),
        (0.5, "must be an int"),
        (None, "must be an int"),
        (True, "must be an int"),
        ((0, True), "must be an int"),
        ((0, "a"), "must be an int"),
        (np.array([0, 1]), "must be an int or a tuple"),
    ],
)
@pytest.mark.parametrize(
    "transform", [grad, value_and_grad, elementwise_grad, jacrev, jacfwd, hessian]
)
def test_wrong_argnums(transform: Any, argnums: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        transform(lambda a, b: a * b, argnums)(1.0, 2.0)


def test_arguments_by_keyword_alone() -> None:
    with pytest.raises(TypeError, match=r"called with 0 positional argument\(s\)"):
        grad(lambda x: x)(x=1.0)


def test_errors_of_the_function_itself_come_through() -> None:
    with pytest.raises(TypeError, match="takes 1 positional argument but 3 were given"):
        grad(lambda x: x)(1.0, 2.0, 3.0)
    with pytest.raises(NotDifferentiableError, match=r"float\(\)"):
        grad(lambda x: math.sin(x))(1.0)
    with pytest.raises(NotDifferentiableError, match="cannot be written to"):
        grad(lambda x: x.__setitem__(0, 1.0))(X)
    with pytest.raises(NotDifferentiableError, match="out="):
        grad(lambda x: np.add(x, 1.0, out=np.zeros(3)))(X)


def test_names_and_documentation_of_what_is_returned() -> None:
    def loss(x: Any) -> Any:
        """Compute it."""
        return x * x

    for name in ("grad", "value_and_grad", "elementwise_grad", "hessian", "jacfwd", "jacrev"):
        transformed = getattr(tg, name)(loss)
        assert transformed.__name__ == f"{name}(loss)"
        assert transformed.__doc__ == "Compute it."
    assert grad(grad(loss)).__name__ == "grad(grad(loss))"
    assert grad(np.sin).__name__ == "grad(sin)"


def test_callables_of_all_kinds() -> None:
    class Square:
        def __call__(self, x: Any) -> Any:
            return x * x

        def method(self, x: Any) -> Any:
            return x * x

    for f in (Square(), Square().method, np.square):
        close(grad(f)(3.0), 6.0)
    close(grad(functools.partial(np.multiply, 3.0))(2.0), 3.0)
    close(grad(tg.nn.MLP(3, [1], rng=0))(X).shape, (3,))


# --- a user's own primitives ---------------------------------------------------------------------


def structured(rule: Any, forward: Any = None, **options: Any) -> Primitive:
    return Primitive(forward or (lambda x: np.cumsum(x * x)), [rule], name="mine", **options)


def test_forward_mode_of_a_primitive_that_says_nothing_but_its_rule() -> None:
    """Neither elementwise nor linear: the rule is transposed."""
    p = structured(lambda g, y, x: 2.0 * x * (np.triu(np.ones((3, 3))) @ g))
    expected = numeric(p.forward, X)
    close(jacfwd(p)(X), expected)
    close(jacrev(p)(X), expected)
    close(jvp(p, (X,), (W,))[1], expected @ W)
    close(hessian(lambda x: np.sum(p(x) ** 2))(X), numeric(grad(lambda x: np.sum(p(x) ** 2)), X))
    close(jacfwd(jacfwd(p))(X), numeric(jacrev(p), X))


def test_forward_mode_of_several_inputs_one_of_them_constant() -> None:
    p = Primitive(
        lambda a, k, b: (a @ b) * k,
        [lambda g, y, a, k, b: (g * k) @ b.T, None, lambda g, y, a, k, b: a.T @ (g * k)],
        name="scaled",
    )

    def f(a: Any, b: Any) -> Any:
        return p(a, 3.0, b)

    def direct(a: Any, b: Any) -> Any:
        return (a @ b) * 3.0

    close(jvp(f, (M, M.T), (M, M.T))[1], 6.0 * M @ M.T)
    close(jacfwd(f, (0, 1))(M, M.T), jacfwd(direct, (0, 1))(M, M.T))
    close(jacrev(f, (0, 1))(M, M.T), jacfwd(direct, (0, 1))(M, M.T))


def _added_at(total: Array, index: Any, values: Any) -> Array:
    np.add.at(total, index, values)
    return total


RAW: dict[str, Callable[..., Any]] = {
    "written in place": lambda g, y, x: _added_at(np.zeros(3), [0, 1, 1], g),
    "conversion": lambda g, y, x: np.array([float(g[0]), float(g[1] + g[2]), 0.0]),
    "method": lambda g, y, x: np.concatenate([g[:1], [g[1:].sum()], [0.0]]),
    "comparison": lambda g, y, x: np.array([g[0], g[1] + g[2], float(g[0] == 7.0) * 0.0]),
    "test": lambda g, y, x: np.array([g[0], g[1] + g[2], 0.0]) if np.any(g) else np.zeros(3),
    "item": lambda g, y, x: np.array([g[0], g[1] + g[2], 0.0]),
}


@pytest.mark.parametrize("rule", RAW.values(), ids=RAW)
def test_a_rule_that_takes_plain_arrays_alone(rule: Any, batch: int) -> None:
    """Its Jacobian goes row by row; only what must be recorded is refused."""
    p = structured(rule, lambda x: x[[0, 1, 1]])
    expected = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    close(jacrev(p)(X), expected)
    close(jacrev(lambda x: p(x * x))(X), expected * 2.0 * X)


def test_a_tangent_has_the_dtype_of_its_result() -> None:
    """Though the rule computes in another."""
    p = Primitive(
        lambda x: np.asarray(x * 2.0, np.float32), [lambda g, y, x: g * np.full(3, 2.0)],
        name="single", elementwise=True,
    )  # fmt: skip
    for f in (p, lambda x: p(x) * np.float32(1.0), lambda x: -p(x)):
        assert jvp(f, (X,), (W,))[1].dtype == np.float32
        assert jacfwd(f)(X).dtype == np.float32
        assert jacrev(f)(X).dtype == np.float64
        assert vjp(f, X)[1](W)[0].dtype == np.float64


def test_a_rule_may_return_early_for_nothing() -> None:
    def rule(g: Any, y: Any, x: Any) -> Any:
        return x * np.stack([g, g, g]) * 2.0 if np.any(g) else np.zeros(3)

    p = structured(rule, lambda x: np.sum(x * x))
    close(jvp(p, (X,), (W,))[1], 2.0 * X @ W)
    close(jacfwd(p)(X), 2.0 * X)
    close(jacrev(lambda x: np.stack([p(x), p(x * 0.0), x[0]]))(X), np.stack(
        [2.0 * X, np.zeros(3), np.eye(3)[0]]))  # fmt: skip


def test_a_fault_of_the_table_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row goes what is not ours; a rule of the package takes batches."""

    def broken(*args: Any, **static: Any) -> Any:
        raise TypeError("broken")

    monkeypatch.setitem(RULES, "transpose", broken)
    with pytest.raises(TypeError, match="broken"):
        jacrev(np.transpose)(M)
    mine = structured(lambda g, y, x: g, lambda x: np.array(x))
    close(jacrev(lambda x: np.transpose(mine(x)))(M),
          numeric(np.transpose, M))  # fmt: skip


def test_a_rule_that_fails_fails_with_its_own_error() -> None:
    def rule(g: Any, y: Any, x: Any) -> Any:
        raise ValueError("of its own")

    for jac in (jacrev, jacfwd):
        with pytest.raises(ValueError, match="of its own"):
            jac(structured(rule))(X)


@every
def test_a_primitive_without_rules_is_named(transform: Any) -> None:
    p = Primitive(lambda x: np.sum(x), name="ruleless")
    with pytest.raises(NotDifferentiableError, match="'ruleless' has no derivative rules"):
        transform(p, X)


@pytest.mark.parametrize("jac", [jacrev, jacfwd])
def test_a_rule_of_the_wrong_shape_is_named(jac: Any) -> None:
    p = structured(lambda g, y, x: g[:2])
    with pytest.raises(ShapeError, match="'mine' returned a cotangent of shape"):
        jac(p)(X)


# --- threads -------------------------------------------------------------------------------------


def test_threads_differentiate_at_once() -> None:
    wrong: list[Any] = []
    start = threading.Barrier(3)

    def work(k: float, quiet: bool) -> None:
        start.wait()
        for _ in range(60):
            x = X * k
            f = SCALAR["coupled"]
            if quiet:
                with no_grad():
                    found = [grad(f)(x), hessian(f)(x), jvp(f, (x,), (x,))[1]]
            else:
                found = [grad(f)(x), jacfwd(jacfwd(f))(x), vjp(f, x)[0] * 0 + grad(f)(x) @ x]
            if not all(np.allclose(a, b) for a, b in zip(found, expected[k], strict=True)):
                wrong.append((k, found))

    f = SCALAR["coupled"]
    ks = (0.5, 1.0, 2.0)
    expected = {k: [grad(f)(X * k), hessian(f)(X * k), grad(f)(X * k) @ (X * k)] for k in ks}
    threads = [threading.Thread(target=work, args=(k, i % 2 == 0)) for i, k in enumerate(ks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_numbers_of_axes(rng: np.random.Generator) -> None:
    """A larger computation: all ways to a Hessian agree, of many shapes."""

    def cases() -> Iterator[tuple[Callable[[Any], Any], Array]]:
        yield lambda x: np.sum(np.tanh(x @ x.T) ** 2), rng.normal(size=(3, 2))
        yield lambda x: tg.logsumexp(np.sum(x, axis=(0, 2)) ** 2), rng.normal(size=(2, 3, 2))
        yield (
            lambda x: np.sum(np.exp(-np.moveaxis(x, 0, 1) * x[0][:, None])),
            rng.normal(size=(2, 2)),
        )

    for f, x in cases():
        ways = [
            hessian,
            *(lambda f, a=a, b=b: a(b(f)) for a in (jacrev, jacfwd) for b in (jacrev, jacfwd)),
        ]
        found = [way(f)(x) for way in ways]
        for other in found[1:]:
            close(other, found[0])
        v = rng.normal(size=x.shape)
        close(hvp(f, x, v), np.tensordot(found[0], v, x.ndim))


# --- what NumPy programs do with their arguments -------------------------------------------------


def test_a_copy_of_an_argument_is_differentiated() -> None:
    for duplicate in (copy.copy, copy.deepcopy):
        close(grad(lambda x, d=duplicate: np.sum(d(x) ** 2))(X), 2.0 * X)
        close(grad(lambda x, d=duplicate: np.sum(d(x * 2.0) ** 2))(X), 8.0 * X)
        close(grad(lambda x, d=duplicate: d({"a": [x]})["a"][0].sum())(X), np.ones(3))
        close(grad(grad(lambda x, d=duplicate: d(x) ** 3))(2.0), 12.0)


def test_an_argument_may_be_rebound_by_an_operator_in_place() -> None:
    def f(x: Any) -> Any:
        x *= 2.0
        x += 1.0
        return np.sum(x**2)

    x = X.copy()
    close(grad(f)(x), 4.0 * (2.0 * X + 1.0))
    assert_array_equal(x, X)


@pytest.mark.parametrize("leave", [lambda x: x[0].item(), lambda x: x.tolist()[0],
                                   lambda x: float(x[0]), lambda x: np.asarray(x)[0]])  # fmt: skip
def test_numbers_do_not_leave_a_function_that_is_differentiated(leave: Any) -> None:
    for transform in (grad(leave), lambda x: jvp(leave, (x,), (x,)), hessian(leave)):
        with pytest.raises(NotDifferentiableError, match=r"\.data"):
            transform(X)
    leave(tensor(X))  # a constant may
    assert grad(lambda x: np.sum(x) * x[0].data.item())(X)[0] == X[0]
    x = tensor(X, requires_grad=True)
    assert np.sum(x).item() == X.sum()  # and outside it is the way to leave


@pytest.mark.parametrize("n", [3, 5000])
def test_a_work_array_that_is_filled_again(n: int) -> None:
    """Small ones are copied; for a large one there is an error, also where the sum stays."""

    def refilled(x: Any) -> Any:
        work = np.zeros(n)
        total = 0.0
        for i in range(3):
            work[i] = 1.0
            total = total + np.sum(work * x)
        return total

    def turned(x: Any) -> Any:
        work = np.arange(float(n))
        first = np.sum(work * x)
        work[:] = work[::-1].copy()
        return first * np.sum(work * x)

    x = np.linspace(1.0, 2.0, n)
    for f in (refilled, turned):
        for transform in (grad(f), jacfwd(f), lambda x, f=f: vjp(f, x)[1](1.0)):
            if n > 4096:
                with pytest.raises(StaleGraphError, match=r"copy\(\)"):
                    transform(x)
            else:
                assert_allclose(np.ravel(transform(x)), numeric(f, x).ravel(), rtol=1e-6)
        if n < 4096:
            close(tg.hvp(f, x, np.ones(n)), jvp(grad(f), (x,), (np.ones(n),))[1])


def test_a_large_constant_that_stays_is_none_of_our_business() -> None:
    data = np.full(10_000, 2.0)
    gaps = np.where(np.arange(10_000) == 7, np.nan, 1.0)  # which is equal to itself here

    def f(x: Any) -> Any:
        return np.sum(data * x) + np.sum(data[:9000:2][10:] * x) + np.nansum(gaps) * x

    assert grad(f)(1.5) == 20_000.0 + 2.0 * 4490 + 9999.0
    data[:] = 0.0  # afterwards it may change
    assert grad(f)(1.5) == 9999.0


# --- in place, and other ways in which arrays and tensors might differ ---------------------------


@pytest.mark.parametrize("view", [lambda y: y[0], lambda y: y.T, lambda y: y.reshape(-1),
                                  lambda y: y[:, None, :1], lambda y: next(iter(y))])  # fmt: skip
def test_an_operator_in_place_on_a_view_is_refused(view: Any) -> None:
    def f(x: Any) -> Any:
        y = np.outer(x, x)
        part = view(y)
        part *= 2.0
        return np.sum(y)

    with pytest.raises(NotDifferentiableError, match=r"view.*\.at"):
        grad(f)(X)


def test_an_operator_in_place_on_what_is_no_view() -> None:
    def f(x: Any) -> Any:
        total = x[0]
        for v in x:
            total += v * v
        y = x * 2.0
        y /= np.sum(y)
        z = x[[0, 1]]
        z -= 1.0
        return total + y[0] + z[1]

    close(grad(f)(X), numeric(f, X))
    close(grad(lambda x: grad(f)(x)[0])(X), hessian(f)(X)[0])


def test_frozen_parameters_and_buffers_have_no_gradient() -> None:
    model = tg.nn.MLP(2, [3, 1], rng=0)
    model.layers[0].requires_grad_(False)
    found = grad(lambda m: np.sum(m(np.ones((1, 2)))))(model)
    assert found.layers[0].weight is None
    assert found.layers[1].weight.shape == (3, 1)
    assert [name for name, _ in found.named_parameters()] == ["layers.1.weight", "layers.1.bias"]


def test_a_state_does_not_leave_a_function_that_is_differentiated() -> None:
    model = tg.nn.MLP(2, [3, 1], rng=0)
    with pytest.raises(NotDifferentiableError, match="state_dict"):
        grad(lambda m: np.sum(m.state_dict()["layers.0.weight"]) + np.sum(m.layers[0].bias))(model)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_are_refused() -> None:
    m = np.matrix([[1.0, 2.0], [3.0, 4.0]])
    for f in (lambda x: np.sum(x * m), lambda x: np.sum(m * x), lambda x: np.sum(np.matmul(m, x))):
        with pytest.raises(TypeError, match=r"np\.matrix"):
            grad(f)(np.ones(2))
    with pytest.raises(TypeError, match=r"np\.matrix"):
        grad(lambda x: np.sum(x * x))(m)


def test_out_by_position_is_refused() -> None:
    buffer = np.zeros(3)
    for f in (
        lambda x: np.sum(x, 0, None, np.zeros(())),
        lambda x: np.clip(x, 0.0, 1.0, buffer),
        lambda x: np.cumsum(x, 0, None, buffer),
        lambda x: np.sin(x, buffer),
    ):
        with pytest.raises(NotDifferentiableError, match="out"):
            grad(lambda x, f=f: np.sum(f(x)))(X)


# --- constants, and who may hold what ------------------------------------------------------------


def _refilled(use: Callable[[Any, Any], Any], n: int = 3) -> Callable[[Any], Any]:
    """Return a function that fills a work array again after each use."""

    def f(x: Any) -> Any:
        work = np.zeros(n)
        total = 0.0
        for k in range(2):
            work[:] = k + 1.0
            total = total + np.sum(use(work, x))
        return total

    return f


@pytest.mark.parametrize("use", [
    lambda work, x: np.broadcast_to(work, (2, 3)) * x,
    lambda work, x: np.average(x * np.ones(3), weights=work) * np.sum(work),
    lambda work, x: work[::-1][:2] * x,
    lambda work, x: work.reshape(3, 1) * x,
])  # fmt: skip
def test_a_view_of_a_work_array_is_a_constant_too(use: Any) -> None:
    f = _refilled(use)
    close(grad(f)(1.5), numeric(f, np.array(1.5)))


def test_the_smallest_change_of_a_large_constant_is_seen() -> None:
    def swapped(x: Any) -> Any:
        work = np.arange(10_000.0)
        y = np.sum(work * x)
        work[1], work[3] = work[3], work[1]
        return y

    def one_row(x: Any) -> Any:
        work = np.ones((512, 512))
        y = np.sum(work * x)
        work[1] = 5.0
        return y

    for f in (swapped, one_row):
        with pytest.raises(StaleGraphError):
            grad(f)(1.5)


@pytest.mark.parametrize("n", [3, 5000])
def test_an_argument_that_is_written_to_from_outside(n: int) -> None:
    x = np.ones(n)

    def f(t: Any) -> Any:
        y = np.sum(t * t)
        x[0] = 100.0
        return y

    try:
        found = grad(f)(x)
    except StaleGraphError:
        assert n > 4096
    else:
        assert found[0] == 2.0


def test_a_pullback_stays_at_the_point_where_it_was_made() -> None:
    x = X.copy()
    _, pullback = vjp(lambda x: np.sum(x**2), x)
    x[:] = 7.0
    close(pullback(1.0)[0], 2.0 * X)


def test_a_module_that_computes_by_another_way_than_its_attributes() -> None:
    class Bound(tg.nn.Module):
        def __init__(self) -> None:
            self.layer = tg.nn.Linear(2, 1, rng=0)
            self.f = self.layer.forward

        def forward(self, x: Any) -> Any:
            return self.f(x)

    model = Bound()
    x = np.ones((1, 2), np.float32)
    with pytest.raises(NotDifferentiableError, match=r"layer\.weight.*another way"):
        grad(lambda m: np.sum(m(x)))(model)
    # ... but a module may be compared with itself.
    plain = tg.nn.Linear(2, 1, rng=0)
    found = grad(lambda m: np.sum((m.weight - 2.0 * plain.weight) ** 2))(plain)
    assert_allclose(found.weight.data, -2.0 * plain.weight.data, rtol=1e-6)


def test_what_is_handed_out_belongs_to_nobody_else() -> None:
    constant = tensor([1.0, 2.0])
    _, aux = grad(lambda x: (x * 2.0, constant), has_aux=True)(1.0)
    aux += 100.0
    assert_array_equal(constant.data, [1.0, 2.0])
    y, _ = vjp(lambda x: constant, 1.0)
    y += 1.0
    assert_array_equal(constant.data, [1.0, 2.0])


def test_a_pullback_does_not_keep_the_auxiliary_result() -> None:
    class Thing:
        pass

    _y, pullback, thing = vjp(lambda x: (x * 2.0, Thing()), 1.0, has_aux=True)
    gone = weakref.ref(thing)
    del thing
    assert gone() is None
    assert pullback(1.0)[0] == 2.0


def test_a_module_in_a_container_has_a_gradient_without_the_rest() -> None:
    model = tg.nn.MLP(2, [3, 1], rng=0)
    model.layers[0].requires_grad_(False)
    found = grad(lambda d: np.sum(d["m"](np.ones((1, 2)))))({"m": model})
    assert found["m"].layers[0].weight is None


def test_keys_that_look_alike_are_told_apart() -> None:
    class Key:
        def __repr__(self) -> str:
            return "key"

    a, b = Key(), Key()
    _, pullback = vjp(lambda x: {a: x, b: 2.0 * x}, 1.0)
    with pytest.raises(TypeError, match="structure"):
        pullback({a: 100.0, b: 1.0})


def test_forward_mode_refuses_values_that_are_gone() -> None:
    w = tensor([2.0, 3.0, 4.0])

    def f(x: Any) -> Any:
        y = x * w
        w.data = np.zeros(3)
        return y

    with pytest.raises(StaleGraphError):
        jvp(f, (X,), (X,))


def test_an_array_that_a_rule_returns_stays_the_rules_own() -> None:
    kept = np.array([5.0, 6.0, 7.0])
    mine = tg.Primitive(lambda x: x * kept, [lambda g, y, x: kept], name="mine", elementwise=True)
    for _ in range(2):
        for found in (jvp(mine, (X,), (np.ones(3),))[1], vjp(mine, X)[1](np.ones(3))[0]):
            found += 100.0
        assert_array_equal(kept, [5.0, 6.0, 7.0])
