"""Time transforms: against JAX and PyTorch, and forward mode against the function itself.

Each row is one call, eager; JAX also with its compiler (``jit``), compiled before the clock starts.
The libraries take turns in one process, on one thread; printed are medians in microseconds.

    python tests/benchmarks/transforms.py --rounds 15       (JAX and PyTorch come with the oracle extra)
"""

# ruff: noqa: E402, E501  # threads are set before NumPy is imported

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import torch

import tinygrad_nn as tg

jax.config.update("jax_enable_x64", True)
torch.set_num_threads(1)

Call = Callable[[], Any]


def rosenbrock(x: Any) -> Any:
    """Rosenbrock's function: the same text for arrays of every library."""
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def derivatives(n: int) -> dict[str, dict[str, Call]]:
    """Return the calls that are compared, for Rosenbrock's function of n numbers."""
    x = np.linspace(-1.0, 1.0, n)
    v = np.ones(n)
    jx, jv, tx, tv = jax.numpy.asarray(x), jax.numpy.asarray(v), torch.tensor(x), torch.tensor(v)
    ready = jax.block_until_ready
    found: dict[str, dict[str, Call]] = {}
    for name, ours, theirs, torchs in [
        ("grad", tg.grad(rosenbrock), jax.grad(rosenbrock), torch.func.grad(rosenbrock)),
        (
            "hessian",
            tg.hessian(rosenbrock),
            jax.hessian(rosenbrock),
            torch.func.hessian(rosenbrock),
        ),
    ]:
        compiled = jax.jit(theirs)
        found[f"{name}, n = {n}"] = {
            "tinygrad_nn": lambda f=ours: f(x),
            "PyTorch": lambda f=torchs: f(tx),
            "JAX": lambda f=theirs: ready(f(jx)),
            "JAX, jit": lambda f=compiled: ready(f(jx)),
        }

    def product(x: Any, v: Any) -> Any:
        return jax.jvp(jax.grad(rosenbrock), (x,), (v,))[1]

    compiled = jax.jit(product)
    found[f"hvp, n = {n}"] = {
        "tinygrad_nn": lambda: tg.hvp(rosenbrock, x, v),
        "PyTorch": lambda: torch.func.jvp(torch.func.grad(rosenbrock), (tx,), (tv,))[1],
        "JAX": lambda: ready(product(jx, jv)),
        "JAX, jit": lambda: ready(compiled(jx, jv)),
    }
    return found


def forward_mode() -> dict[str, dict[str, Call]]:
    """Return functions on tensors, and the same with a tangent."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((64, 64))
    found = {}
    for rows in (10, 1000, 20_000):
        x, v = rng.standard_normal((2, rows, 64))
        for name, f in {
            "tanh network": lambda x: np.tanh(np.tanh(x @ w) @ w),
            "exp(-x*x) * sin(x)": lambda x: np.exp(-x * x) * np.sin(x),
            "log_softmax": tg.log_softmax,
            "standardised": lambda x: (
                (x - np.mean(x, axis=1, keepdims=True)) / np.std(x, axis=1, keepdims=True)
            ),
        }.items():
            found[f"{name}, {rows} x 64"] = {
                "function": lambda f=f, x=x: f(tg.tensor(x)),
                "jvp": lambda f=f, x=x, v=v: tg.jvp(f, (x,), (v,)),
            }
    return found


def measure(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Return the median seconds of each call; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    repeat = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeat[name] = max(1, int(0.005 / (time.perf_counter() - start)))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeat[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeat[name])
    return {name: statistics.median(found) for name, found in times.items()}


def table(rows: dict[str, dict[str, Call]], rounds: int, ratio: bool) -> None:
    columns = list(next(iter(rows.values())))
    print(f"{'':30}" + "".join(f"{c:>14}" for c in columns) + (f"{'ratio':>8}" if ratio else ""))
    for name, calls in rows.items():
        found = measure(calls, rounds)
        line = "".join(f"{found[c] * 1e6:>11.1f} us" for c in columns)
        print(
            f"{name:30}{line}" + (f"{found[columns[1]] / found[columns[0]]:>8.2f}" if ratio else "")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    table(derivatives(20) | derivatives(200), rounds, ratio=False)
    print()
    table(forward_mode(), rounds, ratio=True)


if __name__ == "__main__":
    main()
