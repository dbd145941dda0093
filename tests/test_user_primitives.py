"""Primitives of the user's own: what works, and how mistakes are named."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_nn as tg
from tinygrad_nn import NotDifferentiableError, Tensor, Value, primitive, tensor
from tinygrad_nn.primitive import BY_FUNCTION


def leaf(x: Any) -> Tensor:
    return tensor(x, requires_grad=True)


def test_rules_by_defvjp_or_at_once() -> None:
    @primitive
    def cube(x: Any) -> Any:
        """Third power."""
        return x**3

    cube.defvjp(lambda g, y, x: g * 3.0 * x * x)
    twin = primitive(rules=[lambda g, y, x: g * 3.0 * x * x], name="cube")(lambda x: x**3)
    for p in (cube, twin):
        x = leaf([1.0, 2.0])
        np.sum(p(x)).backward()
        assert_array_equal(x.grad, [3.0, 12.0])
        assert_array_equal(p(np.array([2.0])), [8.0])  # arrays stay arrays
        assert "cube" in repr(p)
    assert cube.__doc__ == "Third power."


def test_static_keywords_reach_the_rule() -> None:
    @primitive(rules=[lambda g, y, x, *, n=2: g * n * x ** (n - 1)], elementwise=True)
    def to_the(x: Any, *, n: int = 2) -> Any:
        return x**n

    x = leaf([2.0])
    to_the(x, n=3).backward()
    to_the(x).backward()
    assert x.grad == 12.0 + 4.0


def test_several_inputs_one_of_them_constant() -> None:
    @primitive(rules=[lambda g, y, a, k: g * k, None], elementwise=True)
    def scaled(a: Any, k: Any) -> Any:
        return a * k

    a, k = leaf([1.0, 2.0]), leaf(3.0)
    np.sum(scaled(a, k)).backward()
    assert_array_equal(a.grad, [3.0, 3.0])
    assert k.grad is None
    v, w = Value(2.0), Value(3.0)
    scaled(v, w).backward()
    assert (v.grad, w.grad) == (3.0, 0.0)


def test_any_number_of_inputs() -> None:
    @primitive(variadic=True, elementwise=True, rules=[lambda i, g, y, *xs: g * (i + 1.0)])
    def ramp(*xs: Any) -> Any:
        return sum((i + 1.0) * x for i, x in enumerate(xs))

    xs = [leaf(1.0), leaf([1.0, 1.0]), leaf(1.0)]
    np.sum(ramp(*xs)).backward()
    assert xs[0].grad == 2.0
    assert_array_equal(xs[1].grad, [2.0, 2.0])
    assert xs[2].grad == 6.0
    for n in (1, 2, 3):
        values = [Value(1.0) for _ in range(n)]
        ramp(*values).backward()
        assert [v.grad for v in values] == [1.0, 2.0, 3.0][:n]


def test_behind_a_numpy_function() -> None:
    try:
        primitive(
            numpy=[np.sinc],
            rules=[lambda g, y, x: g * (np.cos(np.pi * x) - y) / x],
            elementwise=True,
        )(lambda x: np.sinc(x))
        x = leaf([0.3, 0.7])
        np.sum(np.sinc(x)).backward()
        h = 1e-6
        assert_allclose(x.grad, (np.sinc(x.data + h) - np.sinc(x.data - h)) / (2 * h), rtol=1e-8)
    finally:
        del BY_FUNCTION[np.sinc]


def test_with_and_without_a_scalar_function_on_values() -> None:
    rule = [lambda g, y, x: g * 2.0 * x]
    for scalar in (None, lambda x: x * x):
        p = primitive(name="sq", elementwise=True, rules=rule, scalar=scalar)(lambda x: x * x)
        v = Value(3.0)
        y = p(v)
        assert type(y) is Value
        y.backward()
        assert v.grad == 6.0


def _bad(rules: Any, forward: Callable[..., Any] = lambda x: x * 1.0, **options: Any) -> Any:
    return primitive(name="thing", rules=rules, **options)(forward)


def _use(p: Any) -> None:
    x = leaf([1.0, 2.0])
    np.sum(p(x)).backward()


def _no_rules() -> None:
    _use(primitive(name="thing")(lambda x: x * 1.0))


#: A mistake, the error, and what its message says beside the primitive's name.
MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no rules": (_no_rules, NotDifferentiableError, "defvjp"),
    "too few rules": (
        lambda: _bad([lambda g, y, a, b: g], lambda a, b: a + b),
        TypeError,
        "2 array",
    ),
    "too many rules": (lambda: _bad([None, None]), TypeError, "1 array"),
    "wrong shape": (lambda: _use(_bad([lambda g, y, x: g[:1]])), ValueError, r"\(1,\).*\(2,\)"),
    "wrong shape, elementwise": (
        lambda: _use(_bad([lambda g, y, x: np.ones(3)], elementwise=True)),
        ValueError,
        r"\(3,\)",
    ),
    "rule gives a number": (lambda: _use(_bad([lambda g, y, x: 0.0])), ValueError, r"\(\)"),
    "rule gives None": (lambda: _use(_bad([lambda g, y, x: None])), TypeError, "rule 0"),
    "rule gives text": (lambda: _use(_bad([lambda g, y, x: "g"])), TypeError, "rule 0"),
    "rule gives complex": (lambda: _use(_bad([lambda g, y, x: g * 1j])), TypeError, "complex"),
    "forward gives None": (
        lambda: _use(_bad([lambda g, y, x: g], lambda x: None)),
        TypeError,
        "None",
    ),
    "forward gives text": (lambda: _use(_bad([lambda g, y, x: g], lambda x: "x")), TypeError, ""),
    "forward gives a tuple": (
        lambda: _use(_bad([lambda g, y, x: g], lambda x: (x, x))),
        TypeError,
        "tuple",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_name_the_primitive(mistake: str) -> None:
    call, error, message = MISTAKES[mistake]
    with pytest.raises(error, match="thing") as caught:
        call()
    assert caught.match(message)


def test_mistakes_on_values_name_the_primitive() -> None:
    with pytest.raises(NotDifferentiableError, match="thing"):
        primitive(name="thing", elementwise=True)(lambda x: x * 1.0)(Value(1.0)).backward()


def test_a_rule_that_raises_says_so_itself() -> None:
    def rule(g: Any, y: Any, x: Any) -> Any:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        _use(_bad([rule]))


def test_declared_constant_is_a_constant() -> None:
    p = _bad([None])
    y = p(leaf([1.0]))
    assert isinstance(y, Tensor)
    assert not y.requires_grad


def test_without_rules_it_still_computes_where_no_gradient_is_needed() -> None:
    p = primitive(name="thing")(lambda x: x * 2.0)
    assert_array_equal(p(np.ones(2)), [2.0, 2.0])
    assert_array_equal(p(tensor([1.0])).data, [2.0])
    with tg.no_grad():
        assert_array_equal(p(leaf([1.0])).data, [2.0])


def test_rules_are_functions() -> None:
    with pytest.raises(TypeError, match=r"'twice'.*function"):
        tg.Primitive(lambda x: 2.0 * x, [1], name="twice")
    assert tg.Primitive(lambda x: 2.0 * x, lambda g, y, x: 2.0 * g, name="twice").rules


def test_a_cotangent_wider_than_the_result_is_refused() -> None:
    wide = tg.Primitive(
        lambda x: 2.0 * x, [lambda g, y, x: np.ones((2, 3)) * g], name="wide", elementwise=True
    )
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(tg.ShapeError, match=r"wide.*\(2, 3\)"):
        wide(x).sum().backward()
