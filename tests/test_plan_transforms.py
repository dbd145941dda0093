"""Derivatives inside a compiled function: every transform, and derivatives of derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_eager import TOLERANCE, as_leaf, check, same

import tinygrad_nn as tg
from tinygrad_nn import Tensor, tensor

Array = np.ndarray
_V = np.array([0.3, -0.2, 0.5])
_P = tensor(np.array([0.5, -1.0, 2.0]), requires_grad=True)


def f(x: Any) -> Any:
    return np.sum(np.sin(x) ** 3 * np.exp(x[::-1]))


def _network(weights: Any, x: Any) -> Any:
    for w, b in weights:
        x = np.tanh(x * w + b)
    return np.mean(x)


def _weights(x: Any) -> Any:
    return [(x, 0.5 * x), (x * x, -x)]


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "grad": tg.grad(f),
    "grad of a closure": lambda x: tg.grad(lambda y: f(x * y))(x),
    "value_and_grad": tg.value_and_grad(f),
    "has_aux": tg.value_and_grad(lambda x: (f(x), {"a": np.cos(x)}), has_aux=True),
    "argnums": lambda x: tg.grad(lambda a, b: f(a * b), argnums=(0, 1))(x, x + 1.0),
    "containers": lambda x: tg.grad(lambda ws: _network(ws, 0.3))(_weights(x)),
    "jvp": lambda x: tg.jvp(np.sin, (x,), (_V,)),
    "jvp of a transposed rule": lambda x: tg.jvp(
        lambda x: np.cumprod(np.sort(x)), (x,), (x * x,)
    ),
    "vjp": lambda x: tg.vjp(np.cumsum, x)[1](_V * x),
    "vjp, twice": lambda x: (lambda pull: (pull(_V * x), pull(x)))(tg.vjp(np.cumprod, x)[1]),
    "hvp": lambda x: tg.hvp(f, x, _V),
    "jacobian": tg.jacobian(lambda x: np.outer(np.sin(x), x)),
    "jacobian by indices": tg.jacobian(lambda x: np.take_along_axis(x, np.argsort(x), 0) ** 2),
    "jacobian of a selection": tg.jacobian(
        lambda x: tg.losses.cross_entropy(
            np.stack([x, x * 2.0]), np.argmax(np.stack([x, -x]), axis=1), reduction="none"
        )
    ),
    "jacfwd": tg.jacfwd(lambda x: np.outer(np.sin(x), x[np.array([0, 1])])),
    "hessian": tg.hessian(f),
    "hessian of a product": tg.hessian(
        lambda x: tg.logsumexp(np.reshape(x, (3, 1)) @ np.reshape(x, (1, 3)))
    ),
    "grad of grad": tg.grad(lambda x: np.sum(tg.grad(f)(x) ** 2)),
    "grad of jvp": tg.grad(lambda x: np.sum(tg.jvp(np.exp, (x,), (x,))[1])),
    "third": tg.grad(lambda x: np.sum(tg.hvp(f, x, x))),
    "elementwise_grad": tg.elementwise_grad(np.tanh),
    "stop_gradient": tg.grad(lambda x: np.sum(x * tg.stop_gradient(x))),
    "no dependence": tg.grad(lambda x: np.sum(_V) + 0.0 * np.sum(x[:0])),
    "complex": lambda x: tg.vjp(lambda z: z * np.conj(z) * z, x + 1j * x)[1](x + 2j),
    "Newton's step": lambda x: (
        x - np.linalg.solve(tg.hessian(f)(x) + 9.0 * np.eye(3), tg.grad(f)(x))
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str, dtype: Any) -> None:
    rtol = 10.0 * TOLERANCE[dtype]
    draws = [[np.random.default_rng(k).uniform(0.2, 2.0, 3).astype(dtype)] for k in range(3)]
    check(TRANSFORMS[name], draws, rtol)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_tensors(name: str) -> None:
    """Of an argument that requires a gradient, the derivatives do too: their numbers are compared,
    and their gradients."""
    transform = TRANSFORMS[name]

    def step(x: Any) -> Any:
        y = tg.tree.flatten(transform(x)).leaves
        total = sum(np.sum(np.real(a) ** 2) for a in y)
        if getattr(total, "requires_grad", False):
            total.backward()
        return [a.data if isinstance(a, Tensor) else a for a in y]

    draws = [[as_leaf(np.random.default_rng(k).uniform(0.2, 2.0, 3))] for k in range(3)]
    check(step, draws, 1e-11)


def test_of_an_outer_parameter() -> None:
    """A leaf outside is read at each call, wherever the derivative is taken."""
    p, q = (tensor(np.array([0.5, -1.0, 2.0]), requires_grad=True) for _ in range(2))

    def of(p: Any) -> Any:
        def step(x: Any) -> Any:
            slope = tg.grad(lambda y: f(y * p))(x)
            at_p = tg.grad(f)(tg.stop_gradient(p))
            np.sum(slope * slope).backward()
            return np.sum(slope.data), at_p, tg.hvp(f, p.data, x)

        return step

    eager, compiled = of(p), tg.compile(of(q))
    for k in range(4):
        x = np.random.default_rng(k).uniform(0.2, 2.0, 3)
        for leaf in (p, q):
            leaf.data = np.cos(leaf.data + k)
            leaf.grad = None
        same(compiled(x), eager(x), 1e-11)
        same(q.grad, p.grad, 1e-11)
    assert compiled.captures == 1


def test_of_an_outer_constant() -> None:
    """A tensor outside that requires no gradient is read at each call, too."""
    c = tensor(np.array([0.5, -1.0, 2.0]))
    transforms = [
        lambda: tg.grad(f)(c), lambda: tg.hvp(f, c, c), lambda: tg.jvp(f, (c,), (c,)),
        lambda: tg.vjp(np.sin, c)[1](c),
    ]  # fmt: skip
    for transform in transforms:
        compiled = tg.compile(transform)
        for k in range(3):
            c.data = np.cos(c.data + k)
            same(compiled(), transform())
        assert compiled.captures == 1


def test_create_graph() -> None:
    def step(x: Any) -> Any:
        y = np.sum(np.sin(x) * x)
        (slope,) = tg.autograd.grad(y, x, create_graph=True)
        np.sum(slope**2).backward()
        return y, slope

    draws = [[as_leaf(np.random.default_rng(k).normal(size=4))] for k in range(3)]
    check(step, draws)


def test_grad_outputs_and_unused() -> None:
    def step(x: Any, g: Any) -> Any:
        unused = tensor(1.0, requires_grad=True)
        y = np.sin(x) * x
        return tg.autograd.grad([y, np.sum(y)], [x, unused], [g, None], allow_unused=True)

    rng = np.random.default_rng(0)
    draws = [[as_leaf(rng.normal(size=4)), rng.normal(size=4)] for _ in range(3)]
    check(step, draws)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_backward_from_a_given_gradient(as_tensor: bool) -> None:
    def step(x: Any, g: Any) -> Any:
        y = np.exp(x) * x
        y.backward(g)
        return y

    rng = np.random.default_rng(0)
    wrap: Any = tensor if as_tensor else np.asarray
    check(step, [[as_leaf(rng.normal(size=4)), wrap(rng.normal(size=4))] for _ in range(3)])


def test_a_gradient_penalty_trains() -> None:
    ws = [tensor(np.linspace(-1.0, 1.0, 6).reshape(3, 2), requires_grad=True) for _ in range(2)]

    def step_of(w: Any) -> Any:
        optimizer = tg.optim.SGD([w], lr=0.05, momentum=0.9)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            slope = tg.grad(lambda x: np.sum(np.tanh(x @ w)))(x)
            loss = np.mean((np.sqrt(np.sum(slope**2, axis=1) + 1e-3) - 1.0) ** 2)
            loss.backward()
            optimizer.step()
            return loss

        return step

    eager, compiled = step_of(ws[0]), tg.compile(step_of(ws[1]))
    for k in range(5):
        x = np.random.default_rng(k).normal(size=(4, 3))
        same(compiled(x), eager(x), 1e-11)
        same(ws[1].data, ws[0].data, 1e-11)


def test_a_compiled_function_inside_a_transform() -> None:
    """It runs eagerly there, and is differentiated like any other."""
    compiled = tg.compile(f)
    x = np.array([0.3, 0.5, 1.5])
    same(compiled(x), f(x))
    same(compiled(x), f(x))
    same(tg.grad(compiled)(x), tg.grad(f)(x))
    same(tg.jvp(compiled, (x,), (_V,)), tg.jvp(f, (x,), (_V,)))
    same(tg.hessian(compiled)(x), tg.hessian(f)(x))
    leaf = tensor(x, requires_grad=True)
    np.square(compiled(leaf * 2.0)).backward()
    other = tensor(x, requires_grad=True)
    np.square(f(other * 2.0)).backward()
    same(leaf.grad, other.grad)


def test_a_transform_of_a_compiled_gradient() -> None:
    compiled = tg.compile(tg.value_and_grad(f))
    for k in range(3):
        x = np.random.default_rng(k).uniform(0.1, 1.0, 3)
        same(compiled(x), tg.value_and_grad(f)(x))
    assert compiled.captures == 1
