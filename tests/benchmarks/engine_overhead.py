"""Time what the engine adds to NumPy's own time: per primitive, and at second order.

First table: a chain of 200 nodes is recorded and walked back through, in microseconds per node;
from this is taken the time of the same NumPy operations alone, the primitive's and its rule's.
What is left is the engine's own: dispatch, the node, the walk, the freeing of the graph.

Second table: the product of a Hessian with a vector, by two walks. If derivatives of any order are
the same engine over again, then a primitive recorded for the second walk costs what one of the
first order does: the ratio compares the time with that price for all primitives recorded.

float64, one thread, everything in turn; medians of many rounds, and in the first table also the
engine's own time in the quietest round, for a machine that does other things at the same time.

    python tests/benchmarks/engine_overhead.py --rounds 60
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import timeit
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np  # noqa: E402  # the number of threads is read on import

import tinygrad_nn as tg  # noqa: E402  # it imports NumPy
from tinygrad_nn.backward import pull_back, reachable  # noqa: E402  # it imports NumPy

SIZES = (1, 16, 256)
NODES = 200
TARGET_MICROSECONDS, TARGET_RATIO = 2.5, 2.0

#: A link of the chain: nodes in it, its expression in y, and the same with the rules in NumPy,
#: from x and the cotangent g. exp alone would overflow in a chain, so it is exp(-y).
LINKS: dict[str, tuple[int, str, str]] = {
    "exp, negative": (2, "exp(-y)", "a = -x; y = exp(a); b = g * y; c = -b"),
    "tanh": (1, "tanh(y)", "y = tanh(x); c = g * (1.0 - y * y)"),
    "sin": (1, "sin(y)", "y = sin(x); c = g * cos(x)"),
    "add": (1, "y + k", "y = x + k"),
    "multiply": (1, "y * k", "y = x * k; c = g * k"),
    "divide": (1, "y / k", "y = x / k; c = g / k"),
}

#: Chains for the second order.
CURVED = {
    "exp(-y)": (2, "exp(-y)"),
    "tanh(y)": (1, "tanh(y)"),
    "sin(y)": (1, "sin(y)"),
    "y * y * k": (2, "y * y * k"),
    "k / (y + 1.5)": (2, "k / (y + 1.5)"),
    "tanh(y * w + k)": (3, "tanh(y * w + k)"),
}

FIRST_ORDER = """
y = x
for _ in chain:
    y = {link}
pull_back([(y, g)])
"""

SECOND_ORDER = """
y = x
for _ in chain:
    y = {link}
_, first = pull_back([(y, seed)], record=True)
moved = sum(first[x.serial] * v)
pull_back([(moved, one)])
"""


class Timing:
    """A statement, timed round by round, in microseconds per execution."""

    def __init__(self, statement: str, names: dict[str, Any], seconds: float = 0.004) -> None:
        # timeit switches the garbage collector off, which users do not.
        self.timer = timeit.Timer(statement, setup="gc.enable()", globals=names | {"gc": gc})
        self.timer.timeit(3)
        number, taken = self.timer.autorange()
        self.number = max(1, round(number * seconds / taken))
        self.rounds: list[float] = []

    def measure(self) -> None:
        self.rounds.append(self.timer.timeit(self.number) / self.number * 1e6)


def names(size: int, links: int) -> dict[str, Any]:
    """Return what the statements work on."""
    rng = np.random.default_rng(size)
    g, v, k = rng.uniform(0.5, 1.0, (3, size))
    x, w = (tg.tensor(rng.uniform(0.2, 0.8, size), requires_grad=True) for _ in range(2))
    return {
        "exp": np.exp, "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "sum": np.sum,
        "pull_back": pull_back, "chain": range(links), "x": x, "w": w, "k": k, "v": v, "g": g,
        "seed": tg.tensor(g), "one": np.ones(()),
    }  # fmt: skip


def head(what: str, /, **widths: int) -> str:
    """Return the first line of a table, whose columns are as wide as the keywords say."""
    return f"{what:20}" + "".join(f"{title:>{width}}" for title, width in widths.items())


def own_time(rounds: int) -> float:
    """Print the first table; return the largest of the engine's own times."""
    worst = 0.0
    print(head("us per primitive", elements=9, recorded=10, NumPy=8, own=7, quietest=10, target=8))
    for label, (nodes, link, plain) in LINKS.items():
        for size in SIZES:
            here = names(size, NODES // nodes)
            engine = Timing(FIRST_ORDER.format(link=link), here)
            alone = Timing(plain, here | {"x": here["x"].data})
            for _ in range(rounds):
                engine.measure()
                alone.measure()
            ours = [t / NODES for t in engine.rounds]
            theirs = [t / nodes for t in alone.rounds]
            own = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
            worst = max(worst, own)
            print(
                f"{label:20}{size:9}{statistics.median(ours):10.2f}"
                f"{statistics.median(theirs):8.2f}{own:7.2f}"
                f"{min(ours) - min(theirs):10.2f}{TARGET_MICROSECONDS:8.1f}"
            )
    return worst


def recorded(here: dict[str, Any], link: str) -> int:
    """Count the primitives that the second walk of a Hessian-vector product goes through."""
    space = dict(here)
    exec(SECOND_ORDER.format(link=link), space)
    return sum(node.primitive is not None for node in reachable([space["moved"]]).values())


def second_order(rounds: int) -> float:
    """Print the second table; return the largest ratio."""
    worst = 0.0
    print()
    print(head("us per H v", elements=10, first=10, both=9, recorded=10, ratio=7, target=8))
    for label, (nodes, link) in CURVED.items():
        for size in SIZES:
            links = 24 // nodes
            here = names(size, links)
            count = recorded(here, link)
            first = Timing(FIRST_ORDER.format(link=link), here)
            both = Timing(SECOND_ORDER.format(link=link), here)
            for _ in range(rounds):
                first.measure()
                both.measure()
            pairs = zip(first.rounds, both.rounds, strict=True)
            ratio = statistics.median(b / (count * a / (links * nodes)) for a, b in pairs)
            worst = max(worst, ratio)
            print(
                f"{label:20}{size:9}{statistics.median(first.rounds):10.1f}"
                f"{statistics.median(both.rounds):9.1f}{count:10}{ratio:7.2f}{TARGET_RATIO:8.1f}"
            )
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    own = own_time(options.rounds)
    ratio = second_order(options.rounds)
    print(
        f"\nlargest: {own:.2f} us of the engine's own (target {TARGET_MICROSECONDS}), "
        f"ratio {ratio:.2f} (target {TARGET_RATIO})"
    )


if __name__ == "__main__":
    main()
