"""gradcheck of gradients that this engine has not made: a NumPy function and its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.gradcheck import gradcheck


def _rosen(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def _rosen_gradient(x: Any) -> Any:
    slope = x[1:] - x[:-1] ** 2
    result = np.zeros_like(x)
    result[:-1] = -400.0 * x[:-1] * slope - 2.0 * (1.0 - x[:-1])
    result[1:] += 200.0 * slope
    return result


def _rosen_hessian(x: Any) -> Any:
    result = np.diag(-400.0 * x[:-1], 1) + np.diag(-400.0 * x[:-1], -1)
    diagonal = np.zeros_like(x)
    diagonal[:-1] = 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
    diagonal[1:] += 200.0
    return result + np.diag(diagonal)


X = np.array([1.3, 0.7, 0.8, 1.9, 1.2])
A = np.arange(6.0).reshape(2, 3) - 2.5
B = np.arange(12.0).reshape(3, 4) + 1.0
PARAMETERS = {"weight": np.full((2, 3), 0.3), "bias": np.zeros(3)}
DATA = np.arange(8.0).reshape(4, 2) / 5.0


def _network(p: Any, x: Any) -> Any:
    return np.mean(np.tanh(x @ p["weight"] + p["bias"]) ** 2)


def _backprop(p: Any, x: Any) -> Any:
    h = np.tanh(x @ p["weight"] + p["bias"])
    d = 2.0 * h * (1.0 - h * h) / h.size
    return {"weight": x.T @ d, "bias": d.sum(axis=0)}


Pair = tuple[Callable[..., Any], Any, dict[str, Any], list[str]]

#: Function, inputs, what is said about its gradient, and the inputs that are checked.
RIGHT: dict[str, Pair] = {
    "one array": (_rosen, X, {"gradient": _rosen_gradient}, ["x"]),
    "in a tuple": (_rosen, (X,), {"gradient": lambda x: (_rosen_gradient(x),)}, ["x"]),
    "a list of numbers": (lambda x: x @ x, X, {"gradient": lambda x: list(2.0 * x)}, ["x"]),
    "a list of one number": (lambda x: x @ x, X[:1], {"gradient": lambda x: [2.0 * x[0]]}, ["x"]),
    "a float": (lambda x: math.sin(x), 0.3, {"gradient": lambda x: math.cos(x)}, ["x"]),
    "jacobian": (_rosen_gradient, X, {"gradient": _rosen_hessian}, ["x"]),
    "vjp": (lambda a, b: a @ b, (A, B), {"vjp": lambda g, a, b: (g @ b.T, a.T @ g)}, ["a", "b"]),
    "of the first argument, as in SciPy": (
        lambda x, k: k * np.sum(x**3), (X, 2.5), {"gradient": lambda x, k: 3.0 * k * x**2}, ["x"]),
    "None for a constant": (
        lambda x, k: k * np.sum(x**3), (X, 2.5),
        {"gradient": lambda x, k: (None, np.sum(x**3))}, ["k"]),
    "a dict of parameters": (_network, (PARAMETERS, DATA), {"gradient": _backprop},
                             ["p['weight']", "p['bias']"]),
    "a list of arrays": (
        lambda p: np.sum(p[0]) * np.sum(p[1]), ([A, B],),
        {"gradient": lambda p: [np.full(A.shape, p[1].sum()), np.full(B.shape, p[0].sum())]},
        ["p[0]", "p[1]"]),
    "several outputs": (
        lambda x: (np.sum(x), x * x), X,
        {"gradient": lambda x: np.vstack([np.ones(5), np.diag(2.0 * x)])}, ["x"]),
    "tensors are given as arrays": (_rosen, tg.tensor(X), {"gradient": _rosen_gradient}, ["x"]),
    "a plain float is returned": (lambda x: float(np.sum(x**3)), X,
                                  {"gradient": lambda x: 3.0 * x**2}, ["x"]),
    "one row for one output": (lambda x: np.array([np.sum(x**3)]), X,
                               {"gradient": lambda x: 3.0 * x**2}, ["x"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass(name: str) -> None:
    f, inputs, keywords, checked = RIGHT[name]
    report = gradcheck(f, inputs, **keywords)
    assert report
    assert list(report.inputs) == checked
    assert not report.of("weak")


def test_what_is_left_out_of_a_container_is_zero() -> None:
    def half(p: Any, x: Any) -> Any:
        return {"weight": _backprop(p, x)["weight"], "bias": None}

    report = gradcheck(_network, (PARAMETERS, DATA), gradient=half, raise_exception=False)
    assert {f.name[:9] for f in report.of("wrong")} == {"p['bias']"}


def _off(gradient: Callable[..., Any], by: float) -> Callable[..., Any]:
    def wrong(*inputs: Any) -> Any:
        result = np.array(gradient(*inputs))
        result.flat[1] *= 1.0 + by
        return result

    return wrong


WRONG: dict[str, tuple[Callable[..., Any], Any, dict[str, Any]]] = {
    "by 1e-10": (_rosen, X, {"gradient": _off(_rosen_gradient, 1e-10)}),
    "jacobian": (_rosen_gradient, X, {"gradient": _off(_rosen_hessian, 1e-8)}),
    "transposed": (_rosen_gradient, X, {"gradient": lambda x: np.tril(_rosen_hessian(x))}),
    "vjp": (lambda a, b: a @ b, (A, B), {"vjp": lambda g, a, b: (g @ b.T, -a.T @ g)}),
    "of a dict": (_network, (PARAMETERS, DATA), {"gradient": lambda p, x: {
        **_backprop(p, x), "bias": _backprop(p, x)["bias"] * 2.0}}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_do_not(name: str) -> None:
    f, inputs, keywords = WRONG[name]
    report = gradcheck(f, inputs, raise_exception=False, **keywords)
    assert report.of("wrong")


def _clobbers(x: Any) -> Any:
    x *= 2.0
    return x


def _takes_g(g: Any, x: Any) -> Any:
    result = 2.0 * x * g
    g *= 0.0
    return result


#: What breaks a contract, and what is said about it.
BROKEN: dict[str, tuple[Callable[..., Any], Any, dict[str, Any], str, str]] = {
    "shape": (_rosen, X, {"gradient": lambda x: _rosen_gradient(x)[:2]}, "shape",
              "for x has shape (2,), expected (5,)"),
    "jacobian": (_rosen_gradient, X, {"gradient": lambda x: np.diag(_rosen_hessian(x))}, "shape",
                 "expected (5, 5): the output's shape (5,), then that of x"),
    "input": (lambda x: x @ x, X, {"gradient": _clobbers}, "pure",
              "the gradient modifies an input"),
    "g": (lambda x: x @ x, X, {"vjp": _takes_g}, "pure", "the incoming gradient"),
    "function": (lambda x: np.sum(_clobbers(x)), X, {"gradient": np.ones_like}, "pure",
                 "the function modifies its input: x"),
    "upstream": (lambda x: x * x, X, {"vjp": lambda g, x: 2.0 * x}, "linear", "ignores its `g`"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_contracts_are_named(name: str) -> None:
    f, inputs, keywords, contract, words = BROKEN[name]
    report = gradcheck(f, inputs, raise_exception=False, **keywords)
    assert [problem.contract for problem in report.problems] == [contract]
    assert words in str(report.problems[0])


#: What cannot be checked.
ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "both": (lambda: gradcheck(_rosen, X, gradient=_rosen_gradient, vjp=_takes_g), TypeError,
             "not both"),
    "no function": (lambda: gradcheck(_rosen, X, gradient=X), TypeError, "function of the inputs"),
    "None": (lambda: gradcheck(_rosen, X, gradient=lambda x: None), tg.LossError, "return"),
    "no result": (lambda: gradcheck(lambda x: None, X, gradient=np.cos), tg.LossError, "return"),
    "text": (lambda: gradcheck(_rosen, X, gradient=lambda x: "a"), tg.LossError, "real numbers"),
    "tensor": (lambda: gradcheck(lambda x: tg.tensor(x), X, gradient=np.cos), tg.LossError,
               "leave gradient= out"),
    "complex": (lambda: gradcheck(lambda x: np.sum(x + 1j), X, gradient=np.cos), tg.LossError,
                "real numbers"),
    "second order": (lambda: gradcheck(_rosen, X, gradient=_rosen_gradient, order=2), ValueError,
                     "gradcheck(gradient, inputs, gradient=hessian)"),
    "blame": (lambda: gradcheck(_rosen, X, gradient=_rosen_gradient, blame=True), ValueError,
              "blame"),
    "loss": (lambda: gradcheck(tg.nn.Linear(2, 1), X, gradient=np.cos, loss=np.sum), TypeError,
             "loss="),
    "dict": (lambda: gradcheck(_network, (PARAMETERS, DATA), gradient=lambda p, x: {"weight": 1}),
             TypeError, "keys"),
    "too few": (lambda: gradcheck(lambda p: p[0] * p[1], ([A, A],), gradient=lambda p: [A]),
                TypeError, "2 parts, got 1"),
    "tuple": (lambda: gradcheck(lambda a, b, c: a @ b + c, (X, X, 1.0),
                                gradient=lambda a, b, c: (b, a)),
              TypeError, "a tuple of 2 for 3 input(s)"),
    "class": (lambda: gradcheck(tg.nn.Linear, X), TypeError, "make one, Linear(...)"),
    "masked": (lambda: gradcheck(_rosen, np.ma.masked_less(X, 1.0)), TypeError, "masked"),
    "empty": (lambda: gradcheck(lambda x: [], X), tg.LossError, "nothing that has numbers"),
    "eps": (lambda: gradcheck(_rosen, X, eps="a"), TypeError, "eps must be a number"),
    "max_elements": (lambda: gradcheck(_rosen, X, max_elements=1.5), TypeError, "whole number"),
    "integers": (lambda: gradcheck(np.sum, np.arange(3), gradient=np.ones_like), TypeError,
                 "astype(float)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_what_cannot_be_checked_is_a_clear_error(name: str) -> None:
    call, kind, words = ERRORS[name]
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)


def test_errors_of_the_gradient_come_through_with_a_note() -> None:
    def gradient(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        gradcheck(_rosen, X, gradient=gradient)
    assert "called the gradient" in caught.value.__notes__[0]


def test_inputs_stay_as_they_are() -> None:
    x = X.copy()
    gradcheck(lambda x: x @ x, x, gradient=_clobbers, raise_exception=False)
    np.testing.assert_array_equal(x, X)


def test_float32_is_checked_as_it_is_if_asked() -> None:
    seen = set()

    def f(x: Any) -> Any:
        seen.add(x.dtype.name)
        return np.sum(x**3)

    x = X.astype("float32")
    assert gradcheck(f, x, gradient=lambda x: 3 * x**2, dtype="native")
    assert seen == {"float32", "complex128"}
    wrong = gradcheck(f, x, gradient=lambda x: 3.03 * x**2, dtype="native", raise_exception=False)
    assert len(wrong.of("wrong")) == 5
    seen.clear()
    assert gradcheck(f, x, vjp=lambda g, x: g * 3 * x**2)
    assert seen == {"float64", "complex128"}  # from the first call on
    with pytest.raises(ValueError, match='"float64" or "native"'):
        gradcheck(f, x, dtype="float32")
