"""How fast NumPy multiplies matrices; also a script, which prints the rates as JSON.

The script runs in a process of its own, under other settings than this one (`trial`), and needs
nothing but NumPy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

__all__ = ["MIDDLE", "Rates", "better", "measure"]

#: Sizes of the large product; a machine that takes long for one is spared the next.
_LARGE = (64, 256, 1024)
_LONG = 0.01

#: Rows of a batch, inputs and outputs of a small network's first layer.
MIDDLE = (128, 784, 128)

_SMALL = 16
_SMALL_CALLS = 200

#: Seconds for each of the four measurements.
_BUDGET = 0.1


@dataclass(frozen=True)
class Rates:
    """What matrix products of several sizes achieve; medians.

    Attributes
    ----------
    float32, float64 : float
        Large square matrices, in GFLOP/s: 10⁹ additions and multiplications per second.
    middle : float
        The first layer of a small network, (128, 784) @ (784, 128) in float32, in GFLOP/s.
    call : float
        A product of two 16×16 matrices in float32, in nanoseconds; most of it is the call.
    """

    float32: float
    float64: float
    middle: float
    call: float


def better(a: Rates | None, b: Rates | None) -> Rates | None:
    """Return the better of each figure; ``None`` stands for a measurement that failed."""
    if a is None or b is None:
        return a or b
    return Rates(
        float32=max(a.float32, b.float32),
        float64=max(a.float64, b.float64),
        middle=max(a.middle, b.middle),
        call=min(a.call, b.call),
    )


def measure() -> Rates:
    """Measure this process's matrix products, in less than a second."""
    small = np.ones((_SMALL, _SMALL), np.float32)

    def calls() -> None:
        for _ in range(_SMALL_CALLS):
            np.dot(small, small)

    return Rates(
        float32=_large(np.float32),
        float64=_large(np.float64),
        middle=_rate(*MIDDLE, np.float32),
        call=_seconds(calls) / _SMALL_CALLS * 1e9,
    )


def _large(dtype: type[np.floating]) -> float:
    rate = 0.0
    for n in _LARGE:
        rate = _rate(n, n, n, dtype, budget=_BUDGET if n == _LARGE[-1] else 0.0)
        if 2 * n**3 / (rate * 1e9) > _LONG:
            break
    return rate


def _rate(m: int, k: int, n: int, dtype: type[np.floating], budget: float = _BUDGET) -> float:
    """Return the GFLOP/s of a product of an m×k and a k×n matrix."""
    a, b, out = np.ones((m, k), dtype), np.ones((k, n), dtype), np.empty((m, n), dtype)
    return 2 * m * k * n / _seconds(lambda: np.dot(a, b, out), budget) / 1e9


def _seconds(run: Callable[[], object], budget: float = _BUDGET) -> float:
    """Return the median time of as many runs as the budget allows, and at least three."""
    run()
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        start = perf_counter()
        run()
        times.append(max(perf_counter() - start, 1e-9))
    return float(np.median(times))


if __name__ == "__main__":
    print(json.dumps(asdict(measure())))
