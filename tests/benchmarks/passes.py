"""Time a compiled training step without each of the passes in turn, and each step of the layout.

All variants of a step run in one process, one after the other, many times over. Printed is a
Markdown table of what leaving a pass out costs: the median of the ratios of neighbouring runs,
less 1, beside the change in the number of calls of NumPy. The losses of all variants must agree.

    OPENBLAS_NUM_THREADS=1 python tests/benchmarks/passes.py
    python tests/benchmarks/passes.py --rounds 10 --cases 64-32-10
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
from contenders import LR, MOMENTUM, data

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, optim
from tinygrad_nn.plan import blocks, compiled, places, reuse
from tinygrad_nn.plan.passes import PASSES

#: Widths of the layers, and the size of the batch. In the last, the update is most of the work.
CASES = {
    "2-16-16-2, batch 100": ((2, 16, 16, 2), 100),
    "64-32-10, batch 64": ((64, 32, 10), 64),
    "784-128-10, batch 128": ((784, 128, 10), 128),
    "1024-1024-1024-10, batch 8": ((1024, 1024, 1024, 10), 8),
}

#: Seconds of one measurement.
WINDOW = 0.01

Step = Callable[[], Any]


def without(name: str) -> Any:
    """Return a context in which functions are compiled without a pass."""
    left = tuple(p for p in PASSES if p.__name__ != name)
    return mock.patch.object(compiled, "PASSES", left)


#: What each step of the layout is switched off by.
LAYOUT: dict[str, Callable[[], Any]] = {
    "reuse, in place": lambda: mock.patch.object(reuse, "_fitting", return_value=None),
    "cells": lambda: mock.patch.object(places.Places, "in_cells"),
    "concatenations": lambda: mock.patch.object(places.Places, "_place"),
    "column order": lambda: mock.patch.object(places, "column_major", return_value=set()),
    "blocks": lambda: mock.patch.object(blocks, "_LARGE", sys.maxsize),
}

VARIANTS: dict[str, Callable[[], Any]] = {
    "all": contextlib.nullcontext,
    **{p.__name__: lambda name=p.__name__: without(name) for p in PASSES},
    **LAYOUT,
}


def make(widths: tuple[int, ...], batch: int) -> tuple[Step, Any]:
    """Return the step of a model of its own, and the compiled function that it calls."""
    x, y, weights = data(widths, batch)
    model = nn.MLP(widths[0], widths[1:])
    for layer, weight in zip(model.layers, weights, strict=True):
        layer.weight.data[...] = weight
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

    @tg.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return lambda: step(x, y), step


def calls(step: Any) -> int:
    """Return how many calls of NumPy a replay makes."""
    found = re.search(r"makes (\d+) calls", step.explain())
    assert found is not None
    return int(found[1])


def seconds(step: Step, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def measure(case: str, rounds: int) -> Iterator[tuple[str, float, float, int]]:
    """Yield for each variant its name, time, the ratio of times to that with all, and its calls."""
    steps, made, reached = {}, {}, {}
    for name, switched_off in VARIANTS.items():
        with switched_off():
            steps[name], made[name] = make(*CASES[case])
            for _ in range(5):
                reached[name] = steps[name]().item()
    for name, loss in reached.items():
        if not np.isclose(loss, reached["all"], rtol=1e-4):
            sys.exit(f"{case}: the loss without {name} is {loss}, else {reached['all']}")
    count = max(1, round(WINDOW / seconds(steps["all"], 20)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds(step, max(1, count // 10))  # its arrays come back into the cache
            times[name].append(seconds(step, count))
    for name, found in times.items():
        ratios = [a / b for a, b in zip(found, times["all"], strict=True)]
        yield name, statistics.median(found), statistics.median(ratios), calls(made[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--cases", nargs="+", default=[""], metavar="START")
    options = parser.parse_args()
    cases = [case for case in CASES if case.startswith(tuple(options.cases))]
    if not cases:
        parser.error(f"no case starts with {options.cases}; there are: {'; '.join(CASES)}")
    if hasattr(os, "getloadavg") and (busy := os.getloadavg()[0]) > 0.5:
        print(f"warning: other programs keep {busy:.1f} processors busy", file=sys.stderr)
    rows: dict[str, list[str]] = {name: [f"`{name}`" if name.isidentifier() else name]
                                  for name in VARIANTS}  # fmt: skip
    for case in cases:
        found = list(measure(case, options.rounds))
        total = found[0][3]
        for name, time_taken, ratio, count in found:
            if name == "all":
                rows[name].append(f"{time_taken * 1e6:.3g} µs, {count} calls")
                continue
            more = f", {count - total:+d} calls" if count != total else ""
            rows[name].append(f"{100.0 * (ratio - 1.0):+.0f} %{more}")
    rows["all"][0] = "with all of them"
    print("| left out |", " | ".join(cases), "|")
    print("|---|" + "---:|" * len(cases))
    for row in rows.values():
        print("|", " | ".join(row), "|")


if __name__ == "__main__":
    main()
