"""One training step, written once for each engine.

Forget the gradients, ReLU network, softmax cross-entropy, backward, SGD with momentum; float32.
Each entry of `CONTENDERS` takes the widths of the layers and the size of the batch and returns the
step, a function without arguments that returns the loss. All start from the same arrays.

An engine is imported by its own contender alone, so the others need not be installed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["CASES", "COMPARED", "CONTENDERS", "TOLERANCE", "contender"]

Array = Any
Step = Callable[[], Any]

LR, MOMENTUM = 0.01, 0.9
#: The step whose losses are compared, and how far they may be apart, relatively, in float32.
COMPARED, TOLERANCE = 50, 2e-5

#: Widths of the layers, and the size of the batch.
CASES = {
    "2-16-16-2, batch 100": ((2, 16, 16, 2), 100),
    "64-32-10, batch 64": ((64, 32, 10), 64),
    "784-128-10, batch 128": ((784, 128, 10), 128),
    "1024-1024-1024-10, batch 512": ((1024, 1024, 1024, 10), 512),
}


def data(widths: Sequence[int], batch: int) -> tuple[Array, Array, list[Array]]:
    """Return inputs, labels and the weights to start from, (n_in, n_out); biases start at 0."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], batch)
    weights = [
        (rng.standard_normal((a, b)) * (2 / a) ** 0.5).astype(np.float32)
        for a, b in itertools.pairwise(widths)
    ]
    return x, y, weights


# ---- tinygrad_nn


def _tinygrad(widths: Sequence[int], batch: int) -> tuple[Callable[[Array, Array], Any], tuple]:
    from tinygrad_nn import losses, nn, optim

    x, y, weights = data(widths, batch)
    model = nn.MLP(widths[0], widths[1:])
    for layer, weight in zip(model.layers, weights, strict=True):
        layer.weight.data[...] = weight
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

    def step(x: Array, y: Array) -> Any:
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, (x, y)


def tinygrad_compiled(widths: Sequence[int], batch: int) -> Step:
    import tinygrad_nn

    step, (x, y) = _tinygrad(widths, batch)
    compiled = tinygrad_nn.compile(step)
    return lambda: compiled(x, y)


def tinygrad_eager(widths: Sequence[int], batch: int) -> Step:
    step, (x, y) = _tinygrad(widths, batch)
    return lambda: step(x, y)


# ---- PyTorch


def _torch(widths: Sequence[int], batch: int, compiled: bool) -> Step:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    x, y, weights = data(widths, batch)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    parts: list[torch.nn.Module] = []
    for weight in weights:
        layer = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.zero_()
        parts += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*parts[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    loss_function = torch.nn.CrossEntropyLoss()

    def forward(x: Array, y: Array) -> Any:
        return loss_function(model(x), y)

    update = optimizer.step
    if compiled:
        forward, update = torch.compile(forward), torch.compile(update)

    def step() -> Any:
        optimizer.zero_grad()
        loss = forward(x, y)
        loss.backward()
        update()
        return loss

    return step


def torch_eager(widths: Sequence[int], batch: int) -> Step:
    return _torch(widths, batch, compiled=False)


def torch_compiled(widths: Sequence[int], batch: int) -> Step:
    return _torch(widths, batch, compiled=True)


# ---- JAX


def jax_jit(widths: Sequence[int], batch: int) -> Step:
    import jax
    import jax.numpy as jnp

    x, y, weights = data(widths, batch)
    x, y = jnp.asarray(x), jnp.asarray(y)
    params = [(jnp.asarray(w), jnp.zeros(w.shape[1], jnp.float32)) for w in weights]
    velocity = jax.tree.map(jnp.zeros_like, params)

    def loss_function(params: Any, x: Array, y: Array) -> Any:
        h = x
        for w, b in params[:-1]:
            h = jax.nn.relu(h @ w + b)
        w, b = params[-1]
        scores = jax.nn.log_softmax(h @ w + b)
        return -jnp.mean(jnp.take_along_axis(scores, y[:, None], axis=1))

    def update(params: Any, velocity: Any, x: Array, y: Array) -> Any:
        loss, gradients = jax.value_and_grad(loss_function)(params, x, y)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
        params = jax.tree.map(lambda p, v: p - LR * v, params, velocity)
        return loss, params, velocity

    compiled = jax.jit(update, donate_argnums=(0, 1))

    def step() -> Any:
        nonlocal params, velocity
        loss, params, velocity = compiled(params, velocity, x, y)
        jax.block_until_ready((loss, params, velocity))
        return loss

    return step


# ---- MyGrad


def mygrad(widths: Sequence[int], batch: int) -> Step:
    import mygrad as mg
    from mygrad.nnet.activations import relu
    from mygrad.nnet.losses import softmax_crossentropy

    mg.turn_memory_guarding_off()  # its documentation's advice for speed
    x, y, weights = data(widths, batch)
    params = [
        p for w in weights for p in (mg.tensor(w), mg.tensor(np.zeros(w.shape[1], np.float32)))
    ]
    velocities = [np.zeros_like(p.data) for p in params]

    def step() -> Any:
        h = x
        for k in range(0, len(params), 2):
            h = mg.matmul(h, params[k]) + params[k + 1]
            if k + 2 < len(params):
                h = relu(h)
        loss = softmax_crossentropy(h, y)
        loss.backward()
        for p, v in zip(params, velocities, strict=True):
            v *= MOMENTUM
            v += p.grad
            p.data -= LR * v
            p.null_grad()
        return loss.data

    return step


# ---- HIPS autograd


def autograd(widths: Sequence[int], batch: int) -> Step:
    import autograd.numpy as anp
    from autograd import value_and_grad

    x, y, weights = data(widths, batch)
    params = [p for w in weights for p in (w, np.zeros(w.shape[1], np.float32))]
    velocities = [np.zeros_like(p) for p in params]
    # The rule of indexing scatters with np.add.at; a product with this is faster.
    picked = np.eye(widths[-1], dtype=np.float32)[y]

    def loss_function(params: Any) -> Any:
        h = x
        for k in range(0, len(params), 2):
            h = anp.dot(h, params[k]) + params[k + 1]
            if k + 2 < len(params):
                h = anp.maximum(h, 0)
        h = h - anp.max(h, axis=1, keepdims=True)
        log_sum = anp.log(anp.sum(anp.exp(h), axis=1))
        return anp.mean(log_sum - anp.sum(h * picked, axis=1))

    loss_and_gradients = value_and_grad(loss_function)

    def step() -> Any:
        loss, gradients = loss_and_gradients(params)
        for p, v, g in zip(params, velocities, gradients, strict=True):
            v *= MOMENTUM
            v += g
            p -= LR * v
        return loss

    return step


# ---- NumPy alone


def handwritten(widths: Sequence[int], batch: int) -> Step:
    """What one writes who knows NumPy: derivatives by hand, every array allocated once."""
    x, y, weights = data(widths, batch)
    biases = [np.zeros(w.shape[1], np.float32) for w in weights]
    params = [*weights, *biases]
    gradients = [np.empty_like(p) for p in params]
    weight_gradients, bias_gradients = gradients[: len(weights)], gradients[len(weights) :]
    velocities = [np.zeros_like(p) for p in params]
    scratch = [np.empty_like(p) for p in params]
    outputs = [np.empty((batch, n), np.float32) for n in widths[1:]]
    cotangents = [np.empty_like(h) for h in outputs]
    active = [np.empty(h.shape, bool) for h in outputs[:-1]]
    column = np.empty((batch, 1), np.float32)
    rows = np.arange(batch)
    last = len(weights) - 1

    def step() -> Any:
        h = x
        for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
            z = outputs[k]
            np.dot(h, w, out=z)
            np.add(z, b, out=z)
            if k < last:
                np.maximum(z, 0, out=z)
            h = z
        scores, g = outputs[last], cotangents[last]
        np.max(scores, axis=1, keepdims=True, out=column)
        np.subtract(scores, column, out=scores)
        np.exp(scores, out=g)
        np.sum(g, axis=1, keepdims=True, out=column)
        loss = np.mean(np.log(column[:, 0]) - scores[rows, y])
        np.divide(g, column, out=g)
        g[rows, y] -= 1
        np.multiply(g, 1 / batch, out=g)
        for k in range(last, -1, -1):
            g = cotangents[k]
            np.dot(outputs[k - 1].T if k else x.T, g, out=weight_gradients[k])
            np.sum(g, axis=0, out=bias_gradients[k])
            if k:
                np.dot(g, weights[k].T, out=cotangents[k - 1])
                np.greater(outputs[k - 1], 0, out=active[k - 1])
                np.multiply(cotangents[k - 1], active[k - 1], out=cotangents[k - 1])
        for p, g, v, t in zip(params, gradients, velocities, scratch, strict=True):
            np.multiply(v, MOMENTUM, out=v)
            np.add(v, g, out=v)
            np.multiply(v, LR, out=t)
            np.subtract(p, t, out=p)
        return loss

    return step


def products(widths: Sequence[int], batch: int) -> Step:
    """The floor: the step's matrix products and nothing else, so there is no loss."""
    x, _, weights = data(widths, batch)
    rng = np.random.default_rng(1)

    def random(rows: int, columns: int) -> Array:
        return rng.standard_normal((rows, columns)).astype(np.float32)

    calls = []
    for k, w in enumerate(weights):
        h, g = random(batch, w.shape[0]) if k else x, random(batch, w.shape[1])
        calls += [(h, w, np.empty_like(g)), (h.T, g, np.empty_like(w))]
        if k:
            calls.append((g, w.T, np.empty_like(h)))

    def step() -> None:
        for a, b, out in calls:
            np.dot(a, b, out=out)

    return step


CONTENDERS: dict[str, Callable[[Sequence[int], int], Step]] = {
    "tinygrad_nn compiled": tinygrad_compiled,
    "tinygrad_nn eager": tinygrad_eager,
    "PyTorch eager": torch_eager,
    "torch.compile": torch_compiled,
    "jax.jit": jax_jit,
    "MyGrad": mygrad,
    "HIPS autograd": autograd,
    "hand-written NumPy": handwritten,
    "matrix products alone": products,
}


def contender(name: str) -> Callable[[str], Step]:
    """Return what makes the step of a case, for `turns.serve`."""
    return lambda case: CONTENDERS[name](*CASES[case])
