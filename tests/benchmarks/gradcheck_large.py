"""How long gradcheck takes on networks of ten thousand to five million parameters.

Each is an MLP with tanh and a cross-entropy loss, float64, 32 samples; its gradient is right, or
one element of a weight is 1e-3 too large, or the loss has a rule that is twice too large. Printed
is a Markdown table; memory is the peak of a process of its own, above that of the imports.

    OPENBLAS_NUM_THREADS=1 python tests/benchmarks/gradcheck_large.py
    ... gradcheck_large.py --sizes 1e6 --gradients right --profile
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import resource
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np

import tinygrad_nn as tg
from tinygrad_nn.gradcheck import gradcheck

SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
FEATURES, CLASSES, SAMPLES = 64, 10, 32


@tg.primitive(rules=[lambda g, y, w: g * _bump(w)])
def planted(w):
    return w + 0.0


def _bump(w):
    factor = np.ones(np.shape(w))
    factor.flat[w.size // 3] = 1.001
    return factor


@tg.primitive(rules=[lambda g, y, z: 2.0 * g])
def doubled(z):
    return z + 0.0


class Network(tg.nn.Module):
    """An MLP of about `n` parameters, one hidden layer behind the other."""

    def __init__(self, n: int, wrong_element: bool) -> None:
        width = int((-(FEATURES + CLASSES) + ((FEATURES + CLASSES) ** 2 + 4 * n) ** 0.5) / 2)
        rng = np.random.default_rng(0)
        sizes = [FEATURES, width, width, CLASSES]
        self.weights = [
            tg.tensor(rng.standard_normal(pair) / pair[0] ** 0.5, requires_grad=True)
            for pair in pairwise(sizes)
        ]
        self.wrong_element = wrong_element

    def forward(self, x: Any) -> Any:
        for i, weight in enumerate(self.weights):
            if i:
                x = np.tanh(x)
            x = x @ (planted(weight) if self.wrong_element and i == 1 else weight)
        return x


def _doubled_loss(logits: Any, labels: Any) -> Any:
    return doubled(tg.losses.cross_entropy(logits, labels))


GRADIENTS: dict[str, tuple[bool, Callable[..., Any]]] = {
    "right": (False, tg.losses.cross_entropy),
    "one element": (True, tg.losses.cross_entropy),
    "a factor": (False, _doubled_loss),
}


def measure(task: tuple[int, str, int | None]) -> tuple[int, float, float, int, float, bool]:
    """Return parameters, seconds of one step and of the check, evaluations, memory, verdict."""
    n, gradient, max_elements = task
    wrong_element, loss = GRADIENTS[gradient]
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((SAMPLES, FEATURES)), rng.integers(0, CLASSES, SAMPLES)
    network = Network(n, wrong_element)
    size = sum(w.size for w in network.weights)
    loss(network(inputs[0]), inputs[1]).backward()  # what is made only once
    start = perf_counter()
    loss(network(inputs[0]), inputs[1]).backward()
    step = perf_counter() - start
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    report = gradcheck(network, inputs, loss=loss, raise_exception=False, max_elements=max_elements)
    seconds = perf_counter() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024.0
    return size, step, seconds, report.evaluations, memory, bool(report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=SIZES)
    parser.add_argument("--gradients", nargs="+", choices=GRADIENTS, default=list(GRADIENTS))
    parser.add_argument("--max-elements", type=int)
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args()
    tasks = [(int(n), g, options.max_elements) for n in options.sizes for g in options.gradients]
    if options.profile:
        for task in tasks:
            profile = cProfile.Profile()
            profile.runcall(measure, task)
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    print("| parameters | gradient | report | evaluations | one step | check | memory |")
    print("|---:|---|---|---:|---:|---:|---:|")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for task, result in zip(tasks, pool.imap(measure, tasks), strict=True):
            size, step, seconds, evaluations, memory, right = result
            print(
                f"| {size:,} | {task[1]} | {'right' if right else 'wrong'} | {evaluations} | "
                f"{step * 1e3:.1f} ms | {seconds:.2f} s | {memory:.0f} MiB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
