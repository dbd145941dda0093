"""What every edge case returns: ties, singular points, losses, shapes, dtypes, mutation, steps.

One table, `ROWS`: a case, and the check of it. Where PyTorch and JAX agree, so do we; where they
differ, the finite subgradient is taken. ``g`` is the gradient of the sum of the result; forward
mode is held to it in every row.
"""

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_nn as tg
from tinygrad_nn import (
    AnomalyError,
    NotDifferentiableError,
    ShapeError,
    StaleGraphError,
    Tensor,
    Value,
    detect_anomaly,
    losses,
    optim,
    tensor,
)
from tinygrad_nn.backward import pull_back
from tinygrad_nn.gradcheck import gradcheck

inf, nan = math.inf, math.nan
Check = Callable[[], None]
ROWS: dict[str, Check] = {}

# --- how a row is written ------------------------------------------------------------------------


def row(
    what: str,
    f: Callable[..., Any],
    *inputs: Any,
    y: Any = None,
    g: Any = None,
    rtol: float = 1e-7,
    singular: bool = False,
    warns: str | None = None,
    slope: float | None = None,
) -> None:
    """Expect the result `y`, and the gradient `g` (a tuple of them, for several inputs).

    At a `singular` point NumPy may warn, as it does on arrays; elsewhere a warning is an error.
    `warns` is the warning that is part of the promise. `slope` is what forward mode gives along
    ones, where it is not the sum of `g`.
    """

    def check() -> None:
        leaves = [tensor(x, dtype=float, requires_grad=True) for x in inputs]
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always" if warns else "error")
            with np.errstate(all="ignore" if singular else None):
                np.sum(compare(f(*leaves))).backward()
        if warns:
            assert any(re.search(warns, str(w.message)) for w in seen), f"no warning {warns!r}"
        expected = g if isinstance(g, tuple) else (g,)
        for leaf, e in zip(leaves, expected, strict=True):
            if e is not None:
                assert isinstance(leaf.grad, np.ndarray)
                assert leaf.grad.shape == leaf.shape
                assert leaf.grad.dtype == leaf.dtype
                assert_allclose(leaf.grad, np.broadcast_to(e, leaf.shape), rtol=rtol, atol=1e-300)
        forward(leaves)

    def forward(leaves: list[Tensor]) -> None:
        """The derivative along ones is the sum of the gradient: nan and inf in the same places."""
        gradients = [x.grad for x in leaves if x.grad is not None]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = sum(np.sum(c) for c in gradients) if slope is None else slope
            scale = sum(np.sum(np.abs(c)) for c in gradients)
            _, found = tg.jvp(
                lambda *x: np.sum(f(*x)),
                tuple(x.data for x in leaves),
                tuple(np.ones_like(x.data) for x in leaves),
            )
        tolerance = 1e-7 * scale if np.isfinite(scale) else 0.0
        assert_allclose(found, expected, rtol=1e-7, atol=tolerance)

    def compare(result: Tensor) -> Tensor:
        assert isinstance(result, Tensor)
        if y is not None:
            assert result.shape == np.shape(y)
            assert_allclose(result.data, y, rtol=rtol, atol=1e-300)
        return result

    add(what, check)


def constant(what: str, f: Callable[..., Any], *inputs: Any, y: Any) -> None:
    """Expect `y`, with the derivative 0, which is not an error."""

    def check() -> None:
        leaves = [tensor(x, dtype=float, requires_grad=True) for x in inputs]
        result = f(*leaves)
        assert not result.requires_grad
        assert_array_equal(result.data, y)
        np.sum(leaves[0] + result * 1.0 - result).backward()
        assert_array_equal(leaves[0].grad, np.ones(leaves[0].shape))

    add(what, check)


def refused(
    what: str,
    f: Callable[[], Any],
    error: type[BaseException] = ValueError,
    match: str | None = None,
) -> None:
    def check() -> None:
        with pytest.raises(error, match=match):
            f()

    add(what, check)


def derivatives(f: Callable[[Any], Any], at: float, order: int) -> list[float]:
    """Return f', f'', ... at a point. A derivative that has no graph is 0."""
    x = tensor(at, requires_grad=True)
    y = f(x)
    found = []
    for _ in range(order):
        if isinstance(y, Tensor) and y.requires_grad:
            _, cotangents = pull_back([(y, tensor(1.0))], record=True)
            y = cotangents.get(x.serial, 0.0)
        else:
            y = 0.0
        found.append(y.item() if isinstance(y, Tensor) else y)
    return found


def second(what: str, f: Callable[[Any], Any], at: float, *expected: float) -> None:
    def check() -> None:
        with np.errstate(all="ignore" if inf in map(abs, expected) else "warn"):
            found = derivatives(f, at, len(expected))
            forward = tg.hvp(f, at, 1.0) if len(expected) > 1 else expected[-1]
        assert_allclose(found, expected, rtol=2e-5, atol=1e-300)
        assert_allclose(forward, expected[1], rtol=2e-5, atol=1e-300)

    add(what, check)


def hint(what: str, f: Callable[..., Any], *inputs: Any, match: str) -> None:
    """Expect that anomaly mode names the remedy."""

    def check() -> None:
        with pytest.raises(AnomalyError, match=match), detect_anomaly():
            np.sum(f(*(leaf(x, float) for x in inputs))).backward()

    add(what, check)


def trajectory(what: str, *expected: float, **options: Any) -> None:
    """Expect three steps on f = x^2 from x = 1."""

    def check() -> None:
        x = tensor(1.0, requires_grad=True)
        optimizer = optim.SGD([x], lr=0.1, **options)
        for e in expected:
            optimizer.zero_grad()
            (x * x).backward()
            optimizer.step()
            assert_allclose(x.item(), e, rtol=1e-9)

    add(what, check)


def add(what: str, check: Check) -> None:
    assert what not in ROWS, what
    ROWS[what] = check


def case(what: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        add(what, check)
        return check

    return register


def leaf(x: Any, dtype: Any = None) -> Tensor:
    return tensor(x, dtype, requires_grad=True)


# --- ties and kinks ------------------------------------------------------------------------------

row("relu at 0 and -0", tg.relu, [0.0, -0.0], y=[0, 0], g=0)
row("relu of nan stays nan", tg.relu, [nan, 1.0], y=[nan, 1.0])
row("relu of -inf", tg.relu, [-inf], y=[0], g=0)
row("maximum(x, 0) at 0", lambda x: np.maximum(x, 0.0), [0.0], y=[0], g=0.5)
row("maximum at a tie", np.maximum, [2.0], [2.0], y=[2], g=(0.5, 0.5))
row("minimum at a tie", np.minimum, [2.0], [2.0], y=[2], g=(0.5, 0.5))
row("max of [1,3,3,2] splits evenly", np.max, [1.0, 3.0, 3.0, 2.0], y=3, g=[0, 0.5, 0.5, 0])
row(
    "max over an axis splits evenly",
    lambda x: np.max(x, axis=0),
    [1.0, 3.0, 3.0],
    y=3,
    g=[0, 0.5, 0.5],
)
row("min of [1,1,2] splits evenly", np.min, [1.0, 1.0, 2.0], y=1, g=[0.5, 0.5, 0])
row("max of [1,nan,3] is nan, and so is its place", np.max, [1.0, nan, 3.0], y=nan, g=[0, 1, 0])
row(
    "max of [1,nan,3] over an axis",
    lambda x: np.max(x, axis=0),
    [1.0, nan, 3.0],
    y=nan,
    g=[0, 1, 0],
)
constant("argmax at a tie is the first", np.argmax, [1.0, 3.0, 3.0], y=1)
row(
    "sort is stable",
    lambda x: np.sort(x) * np.arange(1.0, 5.0),
    [2.0, 1.0, 2.0, 1.0],
    y=[1, 2, 6, 8],
    g=[3, 1, 4, 2],
)
row(
    "median of an even number is the mean of two",
    np.median,
    [1.0, 2.0, 3.0, 4.0],
    y=2.5,
    g=[0, 0.5, 0.5, 0],
)


@case("running maximum at a tie: the last, as PyTorch, or evenly, as JAX")
def _() -> None:
    x = leaf([1.0, 1.0, 0.0])
    y = np.maximum.accumulate(x)
    y.backward(gradient=np.ones(3))
    assert_array_equal(y.data, [1, 1, 1])
    assert x.grad.tolist() in ([1.0, 2.0, 0.0], [2.0, 1.0, 0.0])


row("abs at 0", np.abs, [0.0, -0.0], y=[0, 0], g=0)
row("L1 loss at equality", lambda x: losses.l1_loss(x, np.array([1.0])), [1.0], y=0, g=0)
constant("sign", np.sign, [-2.0, 0.0, 3.0], y=[-1, 0, 1])
constant("rint rounds half to even", np.rint, [0.5, 1.5, 2.5], y=[0, 2, 2])
constant("round rounds half to even", np.round, [0.5, 1.5, 2.5], y=[0, 2, 2])
constant("floor", np.floor, [-0.5, 2.0], y=[-1, 2])
row("leaky_relu at 0", tg.leaky_relu, [0.0], y=[0], g=0.01)
row("leaky_relu at 0, slope .2", lambda x: tg.leaky_relu(x, 0.2), [0.0], y=[0], g=0.2)
row("elu at 0", tg.elu, [0.0], y=[0], g=1)
row("elu at 1000", tg.elu, [1000.0], y=[1000], g=1)
row(
    "clip [0,1] at its bounds and outside",
    lambda x: np.clip(x, 0.0, 1.0),
    [-1.0, 0.0, 0.5, 1.0, 2.0],
    y=[0, 0, 0.5, 1, 1],
    g=[0, 1, 1, 1, 0],
)
row(
    "hard_tanh at its corners, as clip", tg.hard_tanh, [-2.0, -1.0, 1.0], y=[-1, -1, 1], g=[0, 1, 1]
)
row("clip of nan", lambda x: np.clip(x, 0.0, 1.0), [nan], y=[nan], g=0)
row("clip with lo > hi", lambda x: np.clip(x, 1.0, 0.0), [-1.0, 0.5, 2.0], y=[0, 0, 0], g=0)
row(
    "huber at plus and minus delta",
    lambda x: losses.huber_loss(x, np.zeros(2), "sum"),
    [1.0, -1.0],
    y=1.0,
    g=[1, -1],
)
row("hinge at the corner", lambda x: losses.hinge_loss(x, np.ones(1)), [1.0], y=0, g=0)

# --- singular points -----------------------------------------------------------------------------

row("sqrt at 0 and -1", np.sqrt, [0.0, -1.0], y=[0, nan], g=[inf, nan], singular=True)
row(
    "sqrt of a sum of squares at 0",
    lambda x: np.sqrt(np.sum(x * x)),
    [0.0, 0.0],
    y=0,
    g=nan,
    singular=True,
)
hint(
    "the root of a sum of squares, under detect_anomaly",
    lambda x: np.sqrt(np.sum(x * x)),
    [0.0, 0.0],
    match=r"np\.linalg\.norm",
)
_norm = np.linalg.norm
row("norm at 0", _norm, [0.0, 0.0, 0.0], y=0, g=0)
row(
    "norm of rows at 0",
    lambda x: _norm(x, axis=1),
    [[0.0, 0.0], [3.0, 4.0]],
    y=[0, 5],
    g=[[0, 0], [0.6, 0.8]],
)
row("Frobenius norm at 0", _norm, [[0.0, 0.0], [0.0, 0.0]], y=0, g=0)
row("norm 1 at 0", lambda x: _norm(x, 1), [0.0, -2.0], y=2, g=[0, -1])
row("norm inf at a tie", lambda x: _norm(x, inf), [3.0, -3.0, 1.0], y=3, g=[0.5, -0.5, 0])
row("norm p=.5 of [0,1]", lambda x: _norm(x, 0.5), [0.0, 1.0], y=1, g=[0, 1])
row("norm p=3 at 0", lambda x: _norm(x, 3), [0.0, 0.0], y=0, g=0)
row(
    "a vector of 0 divided by its norm, bounded",
    lambda x: x / np.maximum(_norm(x), 1e-12),
    [0.0, 0.0],
    y=[0, 0],
    g=1e12,
)


def _cosine(a: Any, b: Any) -> Any:
    return np.sum(a * b) / (np.maximum(_norm(a), 1e-8) * np.maximum(_norm(b), 1e-8))


row(
    "cosine of a vector of 0 and ones, bounded",
    lambda a: _cosine(a, np.ones(2)),
    [0.0, 0.0],
    y=0,
    g=0.5**0.5 * 1e8,
)


@case("cosine of a vector of 0 and ones, bounded, in single precision")
def _() -> None:
    a = leaf([0.0, 0.0], np.float32)
    _cosine(a, np.ones(2, np.float32)).backward()
    assert_allclose(a.grad, np.full(2, 7.07e7, np.float32), rtol=1e-3)


row(
    "equal numbers normalised, as layer_norm",
    lambda x: (x - np.mean(x)) / np.sqrt(np.var(x) + 1e-5) * np.array([1.0, 2.0, 3.0]),
    [2.0, 2.0, 2.0],
    y=[0, 0, 0],
    g=[-316.227766, 0, 316.227766],
)
row("std of equal numbers", np.std, [2.0, 2.0, 2.0], y=0, g=0)
row("std of equal numbers, ddof=1", lambda x: np.std(x, ddof=1), [2.0, 2.0, 2.0], y=0, g=0)
row(
    "std of equal rows",
    lambda x: np.std(x, axis=1),
    [[2.0, 2.0], [1.0, 3.0]],
    y=[0, 1],
    g=[[0, 0], [-0.5, 0.5]],
)
row("var of equal numbers", np.var, [2.0, 2.0, 2.0], y=0, g=0)
row(
    "var of one number, ddof=1",
    lambda x: np.var(x, ddof=1),
    [2.0],
    y=nan,
    g=nan,
    warns="Degrees of freedom",
)
row("x**0", lambda x: x**0, [0.0, 2.0, -1.0, nan], y=[1, 1, 1, 1], g=0)
row("power(x, 0)", lambda x: np.power(x, 0), [0.0, 2.0, -1.0, nan], y=[1, 1, 1, 1], g=0)
row("x**0.0 at 0", lambda x: x**0.0, [0.0], y=[1], g=0)
row("x**[0.0] at 0, 2 and nan", lambda x: x ** np.zeros(3), [0.0, 2.0, nan], y=[1, 1, 1], g=0)
row("x**1 at 0", lambda x: x**1, [0.0], y=[0], g=1)
row("x**2 at -3", lambda x: x**2, [-3.0], y=[9], g=-6)
row("x**[2.0] at -3, never by a logarithm", lambda x: x ** np.array([2.0]), [-3.0], y=[9], g=-6)
row("x**.5 at 0 and -1", lambda x: x**0.5, [0.0, -1.0], y=[0, nan], g=[inf, nan], singular=True)
row("x**-1 at 0", lambda x: x**-1, [0.0], y=[inf], g=-inf, singular=True)
row(
    "a**b at (0,0), (0,2), (2,3), (-2,2), (0,-1)",
    lambda a, b: a**b,
    [0.0, 0.0, 2.0, -2.0, 0.0],
    [0.0, 2.0, 3.0, 2.0, -1.0],
    y=[1, 0, 8, 4, inf],
    g=([0, 0, 12, -4, -inf], [0, 0, 8 * math.log(2), nan, -inf]),
    singular=True,
)
row(
    "a**b skips the logarithm for a constant b",
    lambda a: a ** np.array([2.0, 2.0]),
    [-2.0, 0.0],
    y=[4, 0],
    g=[-4, 0],
)
row("2**x at 0 and 3", lambda x: 2.0**x, [0.0, 3.0], y=[1, 8], g=[math.log(2), 8 * math.log(2)])
row("0**x at 0 and 1", lambda x: 0.0**x, [0.0, 1.0], y=[1, 0], g=0)
row("log at 0 and -1", np.log, [0.0, -1.0], y=[-inf, nan], g=[inf, -1], singular=True)
row("log1p at -1", np.log1p, [-1.0], y=[-inf], g=inf, singular=True)
row("expm1 at -40 keeps its slope", np.expm1, [-40.0], y=[-1], g=math.exp(-40))
row(
    "xlogy at (0,0), (0,2), (2,3)",
    tg.xlogy,
    [0.0, 0.0, 2.0],
    [0.0, 2.0, 3.0],
    y=[0, 0, 2 * math.log(3)],
    g=([0, math.log(2), math.log(3)], [0, 0, 2 / 3]),
)
row("entr at 0", tg.entr, [0.0, 1.0], y=[0, 0], g=[inf, -1], singular=True)
row("1/0", lambda x: 1.0 / x, [0.0], y=[inf], g=-inf, singular=True)
row("0/0", lambda a, b: a / b, [0.0], [0.0], y=[nan], g=(inf, nan), singular=True)
row("arctan2 at the origin", np.arctan2, [0.0], [0.0], y=[0], g=(0, 0))
row("hypot at the origin", np.hypot, [0.0], [0.0], y=[0], g=(0, 0))
row("arccos at 1 and -1", np.arccos, [1.0, -1.0], y=[0, math.pi], g=-inf, singular=True)
row("arcsin at 1 and -1", np.arcsin, [1.0, -1.0], g=inf, singular=True)
row("arccosh at 1", np.arccosh, [1.0], y=[0], g=inf, singular=True)
row("arctanh at 1 and -1", np.arctanh, [1.0, -1.0], y=[inf, -inf], g=inf, singular=True)
row("mod(5,3) and mod(-5,3)", np.mod, [5.0, -5.0], [3.0, 3.0], y=[2, 1], g=([1, 1], [-1, 2]))
row("sinc at 0", np.sinc, [0.0], y=[1], g=0)
row("prod of [0,2,3]", np.prod, [0.0, 2.0, 3.0], y=0, g=[6, 0, 0])
row("prod of [0,0,3]", np.prod, [0.0, 0.0, 3.0], y=0, g=0)
row(
    "prod of rows with a 0",
    lambda x: np.prod(x, axis=1),
    [[0.0, 2.0], [3.0, 4.0]],
    y=[0, 12],
    g=[[2, 0], [4, 3]],
)
row("cumprod of [2,0,3,4]", np.cumprod, [2.0, 0.0, 3.0, 4.0], y=[2, 0, 0, 0], g=[1, 32, 0, 0])
row("cumprod of [2,0,0,4]", np.cumprod, [2.0, 0.0, 0.0, 4.0], y=[2, 0, 0, 0], g=[1, 2, 0, 0])

# --- where, softmax and its relatives ------------------------------------------------------------

row(
    "where lets the nan of the branch not taken through, as PyTorch and JAX do",
    lambda x: np.where(x > 0, np.sqrt(x), x * 0.0),
    [-1.0, 4.0],
    y=[0, 2],
    g=[nan, 0.25],
    singular=True,
    slope=0.25,
)
row(
    "where(x==0, 0, 1/x) at 0",
    lambda x: np.where(x == 0, 0.0, 1.0 / x),
    [0.0],
    y=[0],
    g=nan,
    singular=True,
    slope=0,
)
row(
    "where(x<1, exp(x), x) at 1e5",
    lambda x: np.where(x < 1, np.exp(x), x),
    [1e5],
    y=[1e5],
    g=nan,
    singular=True,
    slope=1,
)
row(
    "where within where",
    lambda x: np.where(x == 0, 0.0, 1.0 / np.where(x == 0, 1.0, x)),
    [0.0, 4.0],
    y=[0, 0.25],
    g=[0, -0.0625],
)
row(
    "where of functions computes each branch only where it is taken: sqrt",
    lambda x: tg.where(x > 0, np.sqrt, lambda x: x * 0.0, x),
    [-1.0, 4.0],
    y=[0, 2],
    g=[0, 0.25],
)
row(
    "where of functions: 1/x",
    lambda x: tg.where(x == 0, 0.0, lambda x: 1.0 / x, x),
    [0.0, 4.0],
    y=[0, 0.25],
    g=[0, -0.0625],
)
row(
    "where of functions: exp",
    lambda x: tg.where(x < 1, np.exp, lambda x: x, x),
    [1e5],
    y=[1e5],
    g=1,
)
hint(
    "the branch not taken, under detect_anomaly",
    lambda x: np.where(x != 1, 0.0, np.sqrt(x)),
    [0.0],
    match=r"tinygrad_nn\.where",
)
row("logsumexp of -inf alone", tg.logsumexp, [-inf, -inf], y=-inf, g=nan, singular=True)
row("logsumexp with one -inf", tg.logsumexp, [-inf, 0.0, 0.0], y=math.log(2), g=[0, 0.5, 0.5])
row("logsumexp with inf", tg.logsumexp, [inf, 0.0], y=inf, g=[nan, 0], singular=True)
row("logsumexp of large numbers", tg.logsumexp, [1000.0, 1000.0], y=1000 + math.log(2), g=0.5)
row("logsumexp of nothing", tg.logsumexp, [], y=-inf, g=[])
row(
    "logaddexp of -inf and -inf",
    np.logaddexp,
    [-inf],
    [-inf],
    y=[-inf],
    g=(nan, nan),
    singular=True,
)
row(
    "softmax of [1000,0,-1000]",
    lambda x: tg.softmax(x) * np.array([1.0, 2.0, 3.0]),
    [1000.0, 0.0, -1000.0],
    y=[1, 0, 0],
    g=0,
)
row("softmax of -inf alone", tg.softmax, [-inf, -inf], y=[nan, nan], singular=True)
row(
    "softmax with one -inf",
    lambda x: np.sum(tg.softmax(x) * np.array([1.0, 2.0, 3.0])),
    [-inf, 0.0, 0.0],
    y=2.5,
    g=[0, -0.25, 0.25],
)
row(
    "log_softmax of [1000,0,-1000]",
    tg.log_softmax,
    [1000.0, 0.0, -1000.0],
    y=[0, -1000, -2000],
    g=[-2, 1, 1],
)
row(
    "log_softmax, the last one picked",
    lambda x: tg.log_softmax(x)[2],
    [1000.0, 0.0, -1000.0],
    y=-2000,
    g=[-1, 0, 1],
)
row(
    "log of softmax loses what log_softmax keeps",
    lambda x: np.log(tg.softmax(x))[1],
    [1000.0, 0.0],
    y=-inf,
    g=nan,
    singular=True,
)
hint(
    "log of softmax, under detect_anomaly",
    lambda x: np.log(tg.softmax(x))[1],
    [1000.0, 0.0],
    match="log_softmax",
)
row(
    "sigmoid at 1000, -1000, 40, -40",
    tg.sigmoid,
    [1000.0, -1000.0, 40.0, -40.0],
    y=[1, 0, 1, math.exp(-40)],
    g=[0, 0, 0, math.exp(-40)],
)
row(
    "log_sigmoid at 1000, -1000, 0",
    tg.log_sigmoid,
    [1000.0, -1000.0, 0.0],
    y=[0, -1000, -math.log(2)],
    g=[0, 1, 0.5],
)
row(
    "softplus at 1000, -1000, 0",
    tg.softplus,
    [1000.0, -1000.0, 0.0],
    y=[1000, 0, math.log(2)],
    g=[1, 0, 0.5],
)
row("tanh at 10", np.tanh, [10.0], g=8.24e-9, rtol=1e-3)
row("tanh at 20 and 1000", np.tanh, [20.0, 1000.0, -1000.0], y=[1, 1, -1], g=0)
row("silu at -1000", tg.silu, [-1000.0], y=[0], g=0)
row("silu at 1000", tg.silu, [1000.0], y=[1000], g=1)
row("gelu at -1000 and 1000", tg.gelu, [-1000.0, 1000.0], y=[0, 1000], g=[0, 1])
row(
    "gelu (tanh) at -1000 and 1000",
    lambda x: tg.gelu(x, "tanh"),
    [-1000.0, 1000.0],
    y=[0, 1000],
    g=[0, 1],
)

# --- losses --------------------------------------------------------------------------------------

_label = np.array
_p = np.array([0.0, 0.5, 0.5])
row(
    "cross_entropy of [1000,-1000], label 1",
    lambda x: losses.cross_entropy(x, _label([1])),
    [[1000.0, -1000.0]],
    y=2000,
    g=[[1, -1]],
)
row(
    "cross_entropy of a soft target 0 where the logit is -inf",
    lambda x: losses.cross_entropy(x, np.array([[1.0, 0.0]])),
    [[0.0, -inf]],
    y=0,
    g=0,
)
row(
    "relative entropy of a target with a 0, by xlogy",
    lambda log_q: np.sum(tg.xlogy(_p, _p) - _p * log_q),
    np.log([0.5, 0.25, 0.25]),
    y=math.log(2),
    g=[0, -0.5, -0.5],
)
for bad in (-1, 2, -101):
    refused(
        f"cross_entropy with label {bad} of 2",
        lambda bad=bad: losses.cross_entropy(leaf([[0.0, 1.0]]), _label([bad])),
        IndexError,
        str(bad),
    )
row(
    "cross_entropy skips ignore_index",
    lambda x: losses.cross_entropy(x, _label([0, -100])),
    [[0.0, 0.0], [5.0, 1.0]],
    y=math.log(2),
    g=[[-0.5, 0.5], [0, 0]],
)
row(
    "cross_entropy of no samples",
    lambda x: losses.cross_entropy(x, np.zeros(0, int)),
    np.zeros((0, 2)),
    y=nan,
    warns="empty|invalid|no labels",
)
row(
    "cross_entropy with all labels ignored",
    lambda x: losses.cross_entropy(x, _label([-100])),
    [[0.0, 1.0]],
    y=nan,
    g=0,
    warns="empty|invalid|no labels",
    slope=nan,
)
row(
    "cross_entropy, label smoothing .1",
    lambda x: losses.cross_entropy(x, _label(0), label_smoothing=0.1),
    [2.0, 1.0, 0.0],
    y=0.5076060,
)
row(
    "cross_entropy, weight [1,3]: the mean divides by the sum of weights",
    lambda x: losses.cross_entropy(x, _label([0, 1]), weight=[1.0, 3.0]),
    [[2.0, 0.0], [0.0, 0.0]],
    y=0.5515924,
    rtol=2e-7,
)
_bce = losses.binary_cross_entropy
row(
    "binary_cross_entropy of p=0, t=1 and p=1, t=0",
    lambda p: _bce(p, np.array([1.0, 0.0]), "none"),
    [0.0, 1.0],
    y=[100, 100],
    g=[-1e12, 1e12],
)
row(
    "binary_cross_entropy of p=1, t=1 and p=0, t=0",
    lambda p: _bce(p, np.array([1.0, 0.0]), "none"),
    [1.0, 0.0],
    y=[0, 0],
    g=0,
)
row(
    "binary_cross_entropy of p=1e-50, t=1",
    lambda p: _bce(p, np.array([1.0])),
    [1e-50],
    y=100,
    g=-1e12,
)
refused("binary_cross_entropy of p=1.5", lambda: _bce(leaf([1.5]), np.array([1.0])))
refused("binary_cross_entropy of p=-0.5", lambda: _bce(leaf([-0.5]), np.array([1.0])))
row(
    "binary_cross_entropy_with_logits at 1000 and -1000",
    lambda x: losses.binary_cross_entropy_with_logits(x, np.array([1.0, 1.0, 0.0, 0.0]), "none"),
    [1000.0, -1000.0, 1000.0, -1000.0],
    y=[0, 1000, 1000, 0],
    g=[0, -1, 1, 0],
)
refused(
    "mse_loss of (3,) and (3, 1)",
    lambda: losses.mse_loss(leaf([1.0, 2.0, 3.0]), np.ones((3, 1))),
    ShapeError,
    r"\(3,\).*\(3, 1\)",
)

# --- shapes and indexing -------------------------------------------------------------------------

row(
    "(3,1) * (1,4)",
    lambda a, b: a * b,
    np.ones((3, 1)),
    np.ones((1, 4)),
    y=np.ones((3, 4)),
    g=(4, 3),
)
row(
    "(3,) * (2,1,3)",
    lambda a, b: a * b,
    np.ones(3),
    np.ones((2, 1, 3)),
    y=np.ones((2, 1, 3)),
    g=(2, 1),
)
row("() * (2,)", lambda a, b: a * b, 1.0, [1.0, 1.0], y=[1, 1], g=(2, 1))
row("(1,) * ()", lambda a, b: a * b, [1.0], 1.0, y=[1], g=(1, 1))
row(
    "(0,3) * (1,3): zeros, not nothing",
    lambda a, b: a * b,
    np.ones((0, 3)),
    np.ones((1, 3)),
    y=np.ones((0, 3)),
    g=(0, 0),
)
row(
    "(0,3) @ (3,2)",
    lambda a, b: a @ b,
    np.ones((0, 3)),
    np.ones((3, 2)),
    y=np.ones((0, 2)),
    g=(0, 0),
)
row(
    "(2,0) @ (0,3)",
    lambda a, b: a @ b,
    np.ones((2, 0)),
    np.ones((0, 3)),
    y=np.zeros((2, 3)),
    g=(0, 0),
)
row("1d @ 1d", lambda a, b: a @ b, [1.0, 2.0], [3.0, 4.0], y=11, g=([3, 4], [1, 2]))
row(
    "1d @ 3d",
    lambda a, b: a @ b,
    [1.0, 2.0],
    np.ones((3, 2, 2)),
    y=np.full((3, 2), 3),
    g=([6, 6], np.broadcast_to([[1], [2]], (3, 2, 2))),
)
row(
    "(1,2,2) @ (3,2,2)",
    lambda a, b: a @ b,
    np.ones((1, 2, 2)),
    np.ones((3, 2, 2)),
    y=np.full((3, 2, 2), 2),
    g=(6, 2),
)
row("mean of nothing", np.mean, [], y=nan, g=[], warns="empty", slope=nan)
refused("max of nothing", lambda: np.max(leaf([])))
row("sum of (0,3)", np.sum, np.ones((0, 3)), y=0, g=1)
row("sum of (0,3) over the first axis", lambda x: np.sum(x, 0), np.ones((0, 3)), y=np.zeros(3), g=1)
row("prod of nothing", np.prod, [], y=1, g=[])
row("x[[0,0,2]] adds up", lambda x: x[[0, 0, 2]], [5.0, 6.0, 7.0], y=[5, 5, 7], g=[2, 0, 1])
row(
    "boolean mask",
    lambda x: x[np.array([True, False, True])],
    [5.0, 6.0, 7.0],
    y=[5, 7],
    g=[1, 0, 1],
)
row("mask by comparison", lambda x: x[x > 5.5], [5.0, 6.0, 7.0], y=[6, 7], g=[0, 1, 1])
row(
    "x[::-1]",
    lambda x: x[::-1] * np.array([1.0, 2.0, 3.0]),
    [5.0, 6.0, 7.0],
    y=[7, 12, 15],
    g=[3, 2, 1],
)
row("x[[]]", lambda x: x[[]], [5.0, 6.0], y=np.zeros(0), g=0)
row(
    "setting x[[0,0]] to [5,6]: the last one counts",
    lambda x, v: x.at[[0, 0]].set(v),
    [1.0, 2.0],
    [5.0, 6.0],
    y=[6, 2],
    g=([0, 1], [0, 1]),
)
row(
    "adding [5,6] to x[[0,0]]: both count",
    lambda x, v: x.at[[0, 0]].add(v),
    [1.0, 2.0],
    [5.0, 6.0],
    y=[12, 2],
    g=(1, 1),
)
row(
    "one element of a result set to 5",
    lambda x: np.square((x * 1.0).at[0].set(5.0)),
    [3.0, 1.0, 1.0],
    y=[25, 1, 1],
    g=[0, 2, 2],
)
refused("index out of range", lambda: leaf([1.0, 2.0])[2], IndexError)
refused("index array out of range", lambda: leaf([1.0, 2.0])[np.array([0, -3])], IndexError)
refused("index of an update out of range", lambda: leaf([1.0]).at[[1]].set(0.0), IndexError)
refused("take out of range", lambda: np.take(leaf([1.0]), [1]), IndexError)
row("x*x at 3", lambda x: x * x, 3.0, y=9, g=6)
row("x/x + (x-x)", lambda x: x / x + (x - x), 3.0, y=1, g=0)
row("stack([x,x])", lambda x: np.stack([x, x]), 3.0, y=[3, 3], g=2)


@case("x = x + x, 60 times")
def _() -> None:
    for x in (leaf(1.0), Value(1.0)):
        y = x
        for _ in range(60):
            y = y + y
        y.backward()
        assert x.grad == 2.0**60


@case("two losses that share a result")
def _() -> None:
    for x in (leaf(3.0), Value(3.0)):
        m = x * x
        first, other = m * 1.0, m * 1.0
        first.backward()
        other.backward()
        assert x.grad == 12.0


@case("the same graph twice adds")
def _() -> None:
    for x in (leaf(3.0), Value(3.0)):
        y = x * x
        y.backward()
        y.backward()
        assert x.grad == 12.0


refused(
    "backward of three numbers",
    lambda: (leaf([1.0, 2.0, 3.0]) * 2.0).backward(),
    ShapeError,
    r"\(3,\)",
)
row("backward of a (1,1)", lambda x: x * 2.0, [[3.0]], y=[[6]], g=2)
refused(
    "a seed of another shape",
    lambda: (leaf([1.0, 2.0, 3.0]) * 2.0).backward(gradient=np.ones(2)),
    ShapeError,
    r"\(2,\).*\(3,\)",
)


@case("an input that is not used has no gradient")
def _() -> None:
    x, unused = leaf(1.0), leaf(2.0)
    (x * 1.0).backward()
    assert unused.grad is None
    for transform in (tg.grad, tg.jacrev, tg.jacfwd):
        used, not_used = transform(lambda x, _: x * 2.0, argnums=(0, 1))(np.array(1.0), np.ones(2))
        assert used == 2.0
        assert_array_equal(not_used, [0.0, 0.0])
    _, slope = tg.jvp(lambda x, _: x * 2.0, (1.0, 1.0), (0.0, 1.0))
    assert slope == 0.0


@case("a chain of a hundred thousand: no recursion")
def _() -> None:
    for x in (leaf(1.0), Value(1.0)):
        y = x
        for _ in range(100_000):
            y = y + 0.0
        y.backward()
        assert x.grad == 1.0
        del y


# --- dtypes, integers, mutation ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_python_number_keeps_the_dtype(dtype: Any) -> None:
    x = leaf([1.0], dtype)
    for y in (x * 2.5, 2.5 / x, x**2, x - 1, x * True, np.maximum(x, 0.0)):
        assert y.dtype == dtype


@case("float32 * np.float64(2.5) is float64, its gradient float32")
def _() -> None:
    x = leaf([1.0], np.float32)
    for y in (x * np.float64(2.5), np.float64(2.5) * x):
        assert y.dtype == np.float64
        x.grad = None
        y.backward()
        assert x.grad.dtype == np.float32
        assert x.grad == 2.5


@case("float32 * float64 arrays: float64, each gradient of its own dtype")
def _() -> None:
    a, b = leaf([2.0], np.float32), leaf([3.0], np.float64)
    y = a * b
    y.backward()
    assert (y.dtype, a.grad.dtype, b.grad.dtype) == (np.float64, np.float32, np.float64)


@case("int32 / int32 is float64")
def _() -> None:
    assert (tensor(np.int32([1])) / tensor(np.int32([2]))).dtype == np.float64


@case("sum and mean of 70000 half-precision ones")
def _() -> None:
    x = leaf(np.ones(70000), np.float16)
    assert np.mean(x).item() == 1.0
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert np.sum(x).item() == inf


@case("half precision is un-broadcast in single")
def _() -> None:
    # NumPy adds up contiguous halves in single precision; rows it adds in half precision.
    x = leaf([1.0, 1.0], np.float16)
    y = x * np.ones((3, 2), np.float16)
    y.backward(gradient=np.array([[60000.0, 1.0], [60000.0, 2.0], [-60000.0, 3.0]]))
    assert x.grad.dtype == np.float16
    assert_array_equal(x.grad, np.array([60000.0, 6.0], np.float16))


refused("requires_grad of integers", lambda: tensor([1, 2], requires_grad=True), TypeError, "int")
refused("requires_grad of booleans", lambda: tensor([True], requires_grad=True), TypeError, "bool")
refused("requires_grad_ of integers", lambda: tensor([1]).requires_grad_(), TypeError, "int")
refused("grad at an integer", lambda: tg.grad(lambda x: x * 1.0)(np.array(2)), TypeError, "int")
refused("jvp at an integer", lambda: tg.jvp(np.sin, (np.array(2),), (1.0,)), TypeError, "int")
refused("grad of an integer result", lambda: tg.grad(lambda x: x.astype(int))(2.0), TypeError)
row("an integer factor is a constant", lambda x: x * tensor([2, 3]), [1.0, 1.0], y=[2, 3], g=[2, 3])
constant("a comparison", lambda x: x > 1.5, [1.0, 2.0], y=[False, True])
constant("astype(int)", lambda x: x.astype(int), [1.5, 2.5], y=[1, 2])


@case("the gradient of a number is a 0-d array")
def _() -> None:
    for f in (lambda x: x * 1.0, lambda x: x * x, lambda x: x + x, np.sin):
        x = leaf(3.0)
        for _ in range(2):
            f(x).backward()
            assert type(x.grad) is np.ndarray
            assert x.grad.shape == ()


@case("assigning to data between forward and backward")
def _() -> None:
    x = leaf([1.0], np.float64)
    x.label = "weights"
    y = np.sum(x * x)
    x.data = [2.0]
    with pytest.raises(StaleGraphError, match="weights"):
        y.backward()
    assert x.grad is None
    z = np.sum(x * x)
    x.data -= 1.0
    with pytest.raises(StaleGraphError, match="weights"):
        z.backward()
    np.sum(x * x).backward()
    assert x.grad == 2.0


@case("tensor() copies, so the array it came from may change")
def _() -> None:
    a = np.array([3.0])
    x = leaf(a)
    y = x * x
    a[:] = 30.0
    y.backward()
    assert x.grad == 6.0


@case("an array used as a constant and data written to in place, under detect_anomaly")
def _() -> None:
    a, x = np.array([3.0]), leaf([1.0])
    for changed in (a, x.data):
        with detect_anomaly():
            y = np.sum(x * a * x)
            changed[...] = 30.0
            with pytest.raises(AnomalyError, match="changed"):
                y.backward()
        assert x.grad is None


@case("writing to an element of a result")
def _() -> None:
    y = leaf([1.0, 2.0]) * 1.0
    with pytest.raises(NotDifferentiableError, match=r"np\.where"):
        y[0] = 5.0


@case("in-place arithmetic on a leaf that requires a gradient")
def _() -> None:
    for operation in ("+=", "-=", "*=", "/=", "//=", "%=", "**=", "@="):
        scope = {"x": leaf([[1.0]])}
        with pytest.raises(NotDifferentiableError, match=r"t\.data|no_grad"):
            exec(f"x {operation} 2.0", scope)


@case("gradients of a + b do not alias")
def _() -> None:
    for shape in ((), (2,)):
        a, b = leaf(np.ones(shape)), leaf(np.ones(shape))
        np.sum(a + b).backward()
        a.grad[...] = 7.0
        assert np.all(b.grad == 1.0)


@case("an earlier gradient does not change under the hands")
def _() -> None:
    x = leaf([1.0])
    (x * 2.0).backward()
    earlier = x.grad
    (x * 2.0).backward()
    assert (earlier, x.grad) == (2.0, 4.0)


row("np.sin of a tensor is recorded", np.sin, [0.5], y=[math.sin(0.5)], g=math.cos(0.5))


@case("float(t) would drop a gradient in silence, as in t * math.exp(t)")
def _() -> None:
    x = leaf(2.0)
    for t in (x, x * 1.0):
        with pytest.raises(NotDifferentiableError, match=r"item\(\)"):
            float(t)
    assert x.item() == float(tensor(2.0)) == 2.0
    with tg.no_grad():
        assert float(x * 1.0) == 2.0
    assert float(x.detach() * 2.0) == 4.0


# --- second derivatives --------------------------------------------------------------------------

second("relu'' at 0", tg.relu, 0.0, 0, 0)
second("relu'' at 1", tg.relu, 1.0, 1, 0)
second("abs'' at 0", np.abs, 0.0, 0, 0)
second("abs'' at 2", np.abs, 2.0, 1, 0)
second("maximum(x,0)'' at 0", lambda x: np.maximum(x, 0.0), 0.0, 0.5, 0)
second("(x|x|)'' at 0", lambda x: x * np.abs(x), 0.0, 0, 0)
second("(x**2)'' at 0", lambda x: x**2, 0.0, 0, 2)
second("(x**3)'' at 0", lambda x: x**3, 0.0, 0, 0)
second("(x**1)'' at 0", lambda x: x**1, 0.0, 1, 0)
second("(x**1.0)'' at 0", lambda x: x**1.0, 0.0, 1, 0)
second("(x**1.5)'' at 0", lambda x: x**1.5, 0.0, 0, inf)
second("sqrt'' at 0", np.sqrt, 0.0, inf, -inf)
second("tanh'' at .5", np.tanh, 0.5, 0.78645, -0.72686)
second("sigmoid'' at .5", tg.sigmoid, 0.5, 0.23500, -0.057557)
second("softplus'' at 0", tg.softplus, 0.0, 0.5, 0.25)
second("silu'' at 0", tg.silu, 0.0, 0.5, 0.5)
second("tanh''' at .5", np.tanh, 0.5, 0.78645, -0.72686, -0.565209)
second("leaky_relu'' at 0", tg.leaky_relu, 0.0, 0.01, 0)
second("(x**0)'' at 0", lambda x: x**0 + x, 0.0, 1, 0)
second("norm'' of [x,0] at 0", lambda x: np.linalg.norm(np.stack([x, 0.0])), 0.0, 0, 0)


@case("elu'' at 0: that of the left or of the right")
def _() -> None:
    assert derivatives(tg.elu, 0.0, 2) in ([1.0, 0.0], [1.0, 1.0])


# --- steps of the optimizer ----------------------------------------------------------------------

trajectory("SGD", 0.8, 0.64, 0.512)
trajectory("SGD, momentum", 0.8, 0.46, 0.062, momentum=0.9)
trajectory("SGD, momentum and dampening", 0.8, 0.476, 0.09872, momentum=0.9, dampening=0.1)
trajectory("SGD, Nesterov", 0.62, 0.2224, -0.108352, momentum=0.9, nesterov=True)
trajectory(
    "SGD, momentum and weight decay", 0.799, 0.457501, 0.058194199, momentum=0.9, weight_decay=0.01
)
trajectory(
    "SGD, Nesterov and weight decay",
    0.6181,
    0.21923761,
    -0.1116510943,
    momentum=0.9,
    nesterov=True,
    weight_decay=0.01,
)
trajectory("SGD, maximize", 1.2, 1.44, 1.728, maximize=True)
trajectory("SGD, maximize with momentum", 1.2, 1.62, 2.322, maximize=True, momentum=0.9)
_sgd = optim.SGD
refused("Nesterov without momentum", lambda: _sgd([leaf(1.0)], nesterov=True), match="nesterov")
refused(
    "Nesterov with dampening",
    lambda: _sgd([leaf(1.0)], momentum=0.9, dampening=0.1, nesterov=True),
    match="nesterov",
)
refused("negative learning rate", lambda: _sgd([leaf(1.0)], lr=-0.1), match="lr")
refused("learning rate nan", lambda: _sgd([leaf(1.0)], lr=nan), match="lr")
refused("no parameters", lambda: _sgd([]), match="no parameters")
refused("a parameter that is a result", lambda: _sgd([leaf(1.0) * 2.0]), match="leaves")
_w = leaf(1.0)
refused("a parameter given twice", lambda: _sgd([_w, _w]), match="twice")
refused(
    "a parameter in two groups", lambda: _sgd([{"params": [_w]}, {"params": [_w]}]), match="twice"
)


@case("a parameter without a gradient is skipped: no momentum, no decay")
def _() -> None:
    a, b = leaf([1.0]), leaf([1.0])
    optimizer = optim.SGD([a, b], lr=0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        assert a.grad is None
        assert b.grad is None
        (a * a).backward()
        optimizer.step()
    assert b.data == 1.0
    assert a.data < 0.8
    optimizer.zero_grad()
    (b * b).backward()
    optimizer.step()  # b starts its own velocity now: 1 - 0.1 * (2 + 0.5)
    assert_allclose(b.data, [0.75])


# --- the gradient checker itself -----------------------------------------------------------------


def checked(what: str, f: Callable[..., Any], x: Any, *, right: bool = True) -> None:
    """Expect what the gradient checker says of `f` at `x`."""

    def check() -> None:
        assert bool(gradcheck(f, x, raise_exception=False)) is right

    add(what, check)


def _planted(slope: Callable[[Any], Any], forward: Callable[[Any], Any] = np.sin) -> Any:
    return tg.primitive(rules=[lambda g, y, x: g * slope(x)], elementwise=True)(forward)


def _off(by: float) -> Any:
    """Plant an error in one of 2000 derivatives."""
    factor = np.ones(2000)
    factor[1234] += by
    return _planted(lambda x: factor * np.cos(x))


_many = np.linspace(-3.0, 3.0, 2000)
checked("gradcheck of relu at 0", tg.relu, np.array([0.0, 1.0]))
checked("gradcheck of abs at 0", np.abs, np.array([0.0, 1.0]))
checked("gradcheck of maximum(x, 0) at 0", lambda x: np.maximum(x, 0.0), np.array([0.0, 1.0]))
checked("gradcheck of x**3 in single precision", lambda x: x**3, np.ones(1, np.float32))
checked("gradcheck of exp in half precision", np.exp, np.ones(1, np.float16))
checked("gradcheck of x**2 at 1e12", lambda x: x**2, [1e12])
checked("gradcheck of an expanded input", lambda x: x * x, np.broadcast_to(2.0, (3,)))
checked("gradcheck of 2000 right derivatives", _off(0.0), _many)
checked("gradcheck with one of 2000 off by .09%", _off(9e-4), _many, right=False)
checked(
    "gradcheck with 11 times the derivative at 1e-7",
    _planted(lambda x: 22.0 * x, lambda x: x * x),
    [1e-7],
    right=False,
)


@pytest.mark.parametrize("what", ROWS)
def test_semantics(what: str) -> None:
    ROWS[what]()
