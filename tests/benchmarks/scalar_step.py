"""Time micrograd's demo, a training step of a network of scalars, against micrograd itself.

A hundred points on two moons, MLP(2, [16, 16, 1]), hinge loss and weight decay, loss, backward and
update: the script of micrograd's demo, once with each library's imports. Each runs in a process of
its own, in turn. Prints the median time of a step and the ratio.

    python tests/benchmarks/scalar_step.py --rounds 5       (micrograd comes with the test extra)
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time

IMPORTS = {
    "micrograd": "from micrograd.engine import Value\nfrom micrograd.nn import MLP",
    "tinygrad_nn": "from tinygrad_nn.scalar import MLP, Value",
}


def moons(n: int, noise: float):
    """Two interleaved half circles and their labels -1 and 1."""
    import numpy as np

    rng = np.random.default_rng(1337)
    angle = np.linspace(0.0, np.pi, n // 2)
    upper = np.column_stack([np.cos(angle), np.sin(angle)])
    lower = np.column_stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)])
    x = np.concatenate([upper, lower]) + noise * rng.standard_normal((n, 2))
    return x, np.repeat([-1, 1], n // 2)


def run(engine: str, steps: int) -> None:
    """Print the seconds that each step took, and the loss at the end."""
    names: dict = {}
    exec(IMPORTS[engine], names)
    Value, MLP = names["Value"], names["MLP"]  # noqa: N806  # they are classes
    random.seed(1337)
    x, y = moons(100, 0.1)
    model = MLP(2, [16, 16, 1])
    seconds = []
    for k in range(steps):
        start = time.perf_counter()
        inputs = [list(map(Value, row)) for row in x]
        scores = list(map(model, inputs))
        losses = [(1 + -yi * score).relu() for yi, score in zip(y, scores, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * k / 100) * p.grad
        seconds.append(time.perf_counter() - start)
    print(json.dumps([seconds, float(loss.data)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--run", choices=IMPORTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options.run, options.steps)
        return
    times: dict[str, list[float]] = {engine: [] for engine in IMPORTS}
    for _ in range(options.rounds):
        for engine in IMPORTS:
            command = [sys.executable, __file__, "--run", engine, "--steps", str(options.steps)]
            seconds, loss = json.loads(subprocess.check_output(command))
            times[engine].append(statistics.mean(seconds))
            print(f"{engine:12} {times[engine][-1] * 1e3:8.1f} ms a step, final loss {loss:.9f}")
    ratios = [a / b for a, b in zip(times["micrograd"], times["tinygrad_nn"], strict=True)]
    print(f"micrograd takes {statistics.median(ratios):.1f} times as long (target: 12)")


if __name__ == "__main__":
    main()
