"""Time micrograd's demo, a training step of a network of scalars, against micrograd itself.

A hundred points on two moons, MLP(2, [16, 16, 1]), hinge loss and weight decay; loss, backward and
update, in float64. micrograd and tinygrad_nn run the same text with their own imports, tinygrad_nn
also compiled, with the points as arguments. The same step is written with tensors, too, and
compiled; one vectorised by hand shows what NumPy can do. Each has a process of its own, and they
are asked in turn (see `turns`).

    python tests/benchmarks/scalar_step.py --rounds 5       (micrograd comes with the test extra)
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import turns

Array = Any
Step = Callable[[Array, Array], Any]

LR, DECAY = 0.1, 1e-4
WIDTHS = (2, 16, 16, 1)
#: The step whose losses are compared, and how far they may be apart, relatively, in float64.
COMPARED, TOLERANCE = 5, 1e-10

CASE = "two moons"
NAMES = MICROGRAD, EAGER, COMPILED, TENSORS, TENSORS_COMPILED, NUMPY = (
    "micrograd",
    "tinygrad_nn eager",
    "tinygrad_nn compiled",
    "tinygrad_nn tensors",
    "tinygrad_nn tensors compiled",
    "NumPy by hand",
)
#: What the first one's time should be, divided by the second's.
TARGETS = {
    (EAGER, MICROGRAD): {CASE: 1 / 12},
    (COMPILED, MICROGRAD): {CASE: 1 / 3000},
    (COMPILED, NUMPY): {CASE: 1.3},
}


def moons(n: int, noise: float) -> tuple[Array, Array]:
    """Two interleaved half circles and their labels -1 and 1."""
    rng = np.random.default_rng(1337)
    angle = np.linspace(0.0, np.pi, n // 2)
    upper = np.column_stack([np.cos(angle), np.sin(angle)])
    lower = np.column_stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)])
    x = np.concatenate([upper, lower]) + noise * rng.standard_normal((n, 2))
    return x, np.repeat([-1.0, 1.0], n // 2)


def demo(Value: Any, model: Any) -> Step:  # noqa: N803  # it is a class
    """Return the step of micrograd's demo, for either library."""

    def step(x: Array, y: Array) -> Any:
        inputs = [list(map(Value, row)) for row in x]
        scores = list(map(model, inputs))
        losses = [(1 + -yi * score).relu() for yi, score in zip(y, scores, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + DECAY * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= LR * p.grad
        return loss

    return step


def micrograd() -> Step:
    from micrograd.engine import Value
    from micrograd.nn import MLP

    return demo(Value, MLP(WIDTHS[0], list(WIDTHS[1:])))


def eager() -> Step:
    from tinygrad_nn.scalar import MLP, Value

    return demo(Value, MLP(WIDTHS[0], list(WIDTHS[1:])))


def compiled() -> Step:
    import tinygrad_nn

    return tinygrad_nn.compile(eager())


def drawn_weights() -> list[Array]:
    """Draw the weights that micrograd's MLP draws, unit by unit, as matrices (n_in, n_out)."""
    return [
        np.array([[random.uniform(-1, 1) for _ in range(a)] for _ in range(b)]).T.copy()
        for a, b in itertools.pairwise(WIDTHS)
    ]


def tensors() -> Step:
    import tinygrad_nn as tg

    model = tg.nn.MLP(WIDTHS[0], WIDTHS[1:], dtype=np.float64)
    for layer, weight in zip(model.layers, drawn_weights(), strict=True):
        layer.weight.data = weight

    def step(x: Array, y: Array) -> Any:
        scores = model(x)[:, 0]
        decay = sum(np.sum(p * p) for p in model.parameters())
        loss = np.mean(tg.relu(1.0 - y * scores)) + DECAY * decay
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= LR * p.grad
        return loss

    return step


def tensors_compiled() -> Step:
    import tinygrad_nn

    return tinygrad_nn.compile(tensors())


def by_hand() -> Step:
    """Vectorise the same step, weight decay included."""
    weights = drawn_weights()
    biases = [np.zeros(b) for b in WIDTHS[1:]]
    (w1, w2, w3), (b1, b2, b3) = weights, biases
    params = [*weights, *biases]

    def step(x: Array, y: Array) -> Any:
        h1 = np.maximum(x @ w1 + b1, 0.0)
        h2 = np.maximum(h1 @ w2 + b2, 0.0)
        margins = 1.0 - y * (h2 @ w3 + b3)[:, 0]
        loss = np.maximum(margins, 0.0).sum() / len(y)
        loss += DECAY * sum(np.vdot(p, p) for p in params)
        g3 = ((margins > 0.0) * y * (-1.0 / len(y)))[:, None]
        g2 = (g3 @ w3.T) * (h2 > 0.0)
        g1 = (g2 @ w2.T) * (h1 > 0.0)
        gradients = [x.T @ g1, h1.T @ g2, h2.T @ g3, g1.sum(0), g2.sum(0), g3.sum(0)]
        for p, g in zip(params, gradients, strict=True):
            p -= LR * (g + 2 * DECAY * p)
        return loss

    return step


MAKERS = dict(
    zip(NAMES, (micrograd, eager, compiled, tensors, tensors_compiled, by_hand), strict=True)
)


def contender(name: str) -> turns.Contender:
    def prepare(case: str) -> Callable[[], Any]:
        random.seed(1337)  # both libraries draw their weights from the module `random`
        step = MAKERS[name]()
        x, y = moons(100, 0.1)
        return lambda: step(x, y)

    return prepare


def main() -> None:
    parser = turns.arguments(__doc__, NAMES, rounds=5)
    parser.set_defaults(target=True)
    options = parser.parse_args()
    if options.serve:
        turns.serve(contender(options.serve), options.threads, COMPARED)
        return
    turns.report(
        options,
        turns.take_turns(__file__, [CASE], options),
        title="time of a step",
        targets=TARGETS,
        tolerance=TOLERANCE,
        packages=("numpy", "micrograd"),
    )


if __name__ == "__main__":
    main()
