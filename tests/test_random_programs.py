"""Derivatives of programs that nobody wrote, against derivatives that this package has no part in.

Programs of analytic functions are run on complex numbers: Im f(x + ihv) / h is the derivative in
the direction v (W. Squire and G. Trapp, SIAM Rev. 40 (1998), 110-112,
doi:10.1137/S003614459631241X), to rounding. Second derivatives are differences of these. What
is not analytic is differentiated by the seven-point stencil.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from numpy.testing import assert_allclose, assert_array_equal
from programs import ANALYTIC, FUNCTIONS, NotAnalyticError, Program, draw_inputs, elements, programs

import tinygrad_nn as tg
from tinygrad_nn import Tensor, tensor
from tinygrad_nn.rules import TABLE

Array = np.ndarray
TINY = 1e-20

EVERY = given(programs())
EXAMPLES = settings(max_examples=300)


def along(x: list[Array], t: complex, v: list[Array]) -> list[Array]:
    return [a + t * d for a, d in zip(x, v, strict=True)]


def stencil(f: Callable[[float], Array], h: float) -> Array:
    """Differentiate a function of one number at 0, with an error of the order h^6."""
    differences = [(f(k * h) - f(-k * h)) / (2.0 * k * h) for k in (1, 2, 3)]
    return np.asarray(1.5 * differences[0] - 0.6 * differences[1] + 0.1 * differences[2])


def settled(f: Callable[[float], Array], h: float) -> tuple[Array, float]:
    """Differentiate with two steps; return the derivative and how far the two are apart."""
    wide, narrow = stencil(f, h), stencil(f, 0.5 * h)
    return narrow, float(np.max(np.abs(wide - narrow), initial=0.0))


def derivative(program: Program) -> tuple[Callable[[list[Array], list[Array]], Array], float]:
    """Return the directional derivative, without any rule, and its relative error."""
    f = program.function(**ANALYTIC)
    try:
        f(*along(program.inputs, 1j * TINY, program.inputs))
    except NotAnalyticError:
        return lambda x, v: stencil(lambda t: program.f(*along(x, t, v)), 1e-4), 2e-7
    return lambda x, v: np.imag(f(*along(x, 1j * TINY, v))) / TINY, 1e-10


def directions(program: Program, salt: int = 1) -> list[Array]:
    rng = np.random.default_rng(salt)
    return [np.asarray(rng.uniform(-1.0, 1.0, x.shape)) for x in program.inputs]


def weights(program: Program) -> Array:
    y = program.f(*program.inputs)
    return np.asarray(np.random.default_rng(0).uniform(0.5, 1.5, np.shape(y)))


def weighted(program: Program) -> Callable[[list[Any]], Any]:
    """Return the program as a function of one list that returns one number."""
    w = weights(program)
    return lambda x: np.sum(w * program.f(*x))


def same(found: Any, expected: Any, rtol: float) -> None:
    """Compare, relative to the largest number: others may be what is left of a sum of such."""
    assert np.shape(found) == np.shape(expected)
    scale = np.max(np.abs(expected), initial=1.0)
    assert_allclose(found, expected, rtol=rtol, atol=rtol * scale)


def inner(a: list[Array], b: list[Array]) -> float:
    return float(sum(np.sum(x * y) for x, y in zip(a, b, strict=True)))


def size(a: list[Array]) -> float:
    return max(float(np.max(np.abs(x), initial=1.0)) for x in a)


# --- the checks, which also run on programs with planted faults ----------------------------------


def check_first_order(program: Program) -> None:
    x, v, w = program.inputs, directions(program), weights(program)
    slope, rtol = derivative(program)
    expected = slope(x, v)
    y, tangent = tg.jvp(program.f, x, v)
    assert_allclose(y, program.f(*x), rtol=1e-12, atol=1e-13)
    same(tangent, expected, rtol)
    _, pullback = tg.vjp(program.f, *x)
    found = list(pullback(w))
    scale = max(size(found), 1.0)
    assert_allclose(inner(found, v), np.sum(w * tangent), rtol=0, atol=1e-11 * scale * w.size)
    for i, g in enumerate(found):
        zeros = [np.zeros(a.shape) for a in x]
        each = [np.sum(w * slope(x, [*zeros[:i], e, *zeros[i + 1 :]])) for _, e in elements(x[i])]
        assert_allclose(g, np.reshape(each, g.shape), rtol=rtol, atol=rtol * scale)


def check_ways_agree(program: Program) -> None:
    """However a gradient is asked for, it is the same numbers."""
    x, f = program.inputs, weighted(program)
    raw = tg.grad(f)(x)
    leaves = [tensor(a, requires_grad=True) for a in x]
    y = f(leaves)
    recorded = tg.autograd.grad(y, leaves, create_graph=True, allow_unused=True)
    y.backward()
    for g, r, leaf in zip(raw, recorded, leaves, strict=True):
        expected = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad
        assert_array_equal(g, expected)
        if r is not None:  # BLAS may sum in another order, where arrays lie in memory otherwise
            assert isinstance(r, Tensor)
            assert_allclose(r.data, expected, rtol=1e-13, atol=1e-13 * size(raw))
    for a, b in zip(x, draw_inputs(program.shapes), strict=True):
        assert_array_equal(a, b)


def check_second_order(program: Program) -> None:
    x, v, f = program.inputs, directions(program), weighted(program)
    u = directions(program, 2)
    slope, rtol = derivative(program)
    found = tg.hvp(f, x, v)
    forward = tg.jvp(tg.grad(f), (x,), (v,))[1]
    reverse = tg.grad(lambda x: tg.jvp(f, (x,), (v,))[1])(x)
    scale = max(size(found), size(tg.grad(f)(x)))
    for a, b, c in zip(found, forward, reverse, strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-11 * scale)
        assert_allclose(a, c, rtol=0, atol=1e-11 * scale)
    if rtol < 1e-9:
        w = weights(program)
        for direction in (u, v):
            expected, error = settled(
                lambda t, direction=direction: np.sum(w * slope(along(x, t, direction), v)), 4e-4
            )
            tolerance = 1e-9 * scale + 10.0 * error
            assert_allclose(inner(found, direction), expected, rtol=1e-9, atol=tolerance)
    else:  # the gradients themselves are checked above
        for i, h in enumerate(found):
            moved, error = settled(lambda t, i=i: tg.grad(f)(along(x, t, v))[i], 1e-4)
            assert_allclose(h, moved, rtol=1e-7, atol=1e-7 * scale + 10.0 * error)


def check_jacobians(program: Program) -> None:
    x, f = program.inputs, weighted(program)
    every = range(len(x))
    forward = tg.jacfwd(program.f, argnums=tuple(every))(*x)
    backward = tg.jacrev(program.f, argnums=tuple(every))(*x)
    scale = size([*forward])
    for a, b in zip(forward, backward, strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-12 * scale)
    hessian = tg.hessian(f)(x)
    v = directions(program)
    found = tg.hvp(f, x, v)
    scale = max(size([h for row in hessian for h in row]), scale)
    for i in every:
        for j in every:
            m, n = x[i].size, x[j].size
            block, other = np.reshape(hessian[i][j], (m, n)), np.reshape(hessian[j][i], (n, m))
            assert_allclose(block, other.T, rtol=0, atol=1e-11 * scale)
        product = sum(np.tensordot(hessian[i][j], v[j], axes=v[j].ndim) for j in every)
        assert_allclose(product, found[i], rtol=0, atol=1e-11 * scale * 30)


def check_single_precision(program: Program) -> None:
    x = [a.astype(np.float32) for a in program.inputs]
    v = [a.astype(np.float32) for a in directions(program)]
    y, pullback = tg.vjp(program.f, *x)
    assert y.dtype == np.float32
    assert all(g.dtype == np.float32 for g in pullback(np.ones_like(y)))
    assert tg.jvp(program.f, x, v)[1].dtype == np.float32
    leaves = [tensor(a, requires_grad=True) for a in x]
    total = np.sum(program.f(*leaves))
    recorded = tg.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
    assert all(g is None or g.dtype == np.float32 for g in recorded)
    assert all(g.dtype == np.float32 for g in tg.hvp(lambda x: np.sum(program.f(*x)), x, v))


# --- the tests -----------------------------------------------------------------------------------


def _every_function() -> list[Any]:
    dims = {"along": 1, "join": 1, "index": 1, "product": 1, "linalg": 2}
    return [
        pytest.param(f, dims.get(kind, 0), id=f"{kind} {f}")
        for kind, functions in FUNCTIONS.items()
        for f in functions
    ]


@pytest.mark.parametrize(("function", "dims"), _every_function())
def test_every_function(function: str, dims: int) -> None:
    @settings(max_examples=12)
    @given(programs(opening=function, most=4, dims=dims))
    def check(program: Program) -> None:
        check_first_order(program)
        check_second_order(program)

    check()


@EXAMPLES
@EVERY
def test_first_order(program: Program) -> None:
    check_first_order(program)


@EXAMPLES
@EVERY
def test_ways_agree(program: Program) -> None:
    check_ways_agree(program)


@EXAMPLES
@EVERY
def test_second_order(program: Program) -> None:
    check_second_order(program)


@EVERY
def test_jacobians(program: Program) -> None:
    check_jacobians(program)


@EXAMPLES
@given(programs(without=frozenset(["cov", "interp", "polyval"])))  # always of double precision
def test_single_precision(program: Program) -> None:
    check_single_precision(program)


# --- the checks themselves -----------------------------------------------------------------------


def _scaled(rule: Any) -> Callable[..., Any]:
    return lambda *args, **static: rule(*args, **static) * 1.000001


#: The check that must see it, the primitive, a function that leads to it, and the wrong rules.
PLANTED: dict[str, tuple[Callable[[Program], None], str, str, list[Any]]] = {
    "slope": (check_first_order, "tanh", "tanh", [lambda g, y, x: g * (1.0 - y)]),
    "factor": (check_first_order, "log", "log", [_scaled(TABLE["log"].rules[0])]),
    "factor of a linear map": (
        check_first_order, "getitem", "integers", [_scaled(r) for r in TABLE["getitem"].rules],
    ),
    "factor of a matrix product": (
        check_first_order, "matmul", "matmul",
        [TABLE["matmul"].rules[0], _scaled(TABLE["matmul"].rules[1])],
    ),
    "no second order": (
        check_second_order, "multiply", "{a} * {b}",
        [lambda g, y, a, b: g * tg.stop_gradient(b), lambda g, y, a, b: g * tg.stop_gradient(a)],
    ),
    "another rule on tensors": (
        check_ways_agree, "exp", "exp",
        [lambda g, y, x: g * y if isinstance(y, np.ndarray) else g],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_faults_are_caught(fault: str) -> None:
    check, name, function, rules = PLANTED[fault]

    @settings(phases=[Phase.generate])
    @given(programs(opening=function, dims=1))
    def wrong(program: Program) -> None:
        check(program)

    right = TABLE[name].rules
    TABLE[name].defvjp(*rules)
    try:
        with pytest.raises((AssertionError, ExceptionGroup)):
            wrong()
    finally:
        TABLE[name].defvjp(*right)
    wrong()
