"""Time an eager training step against PyTorch's, on the same arrays, in turn.

Prints, for each size, the median time of both and the median of the ratios of neighbouring runs.
A step is: forget the gradients, ReLU network, softmax cross-entropy, backward, SGD with momentum;
float32. Each engine lives in its own process; the two are asked in turn, so that a machine whose
speed drifts slows both.

    make bench                      (installs PyTorch, then runs this)
    python tests/benchmarks/eager_step.py --rounds 60 --threads 1

NumPy's OpenBLAS may choose slower kernels than the processor has (AVX2 where AVX-512 is there), so
every process is started with OPENBLAS_CORETYPE set to the best that this script knows of;
--coretype names another.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SIZES = {
    "2-16-16-2, batch 100": ((2, 16, 16, 2), 100, 0.45),
    "64-32-10, batch 64": ((64, 32, 10), 64, 0.45),
    "784-128-10, batch 128": ((784, 128, 10), 128, 0.75),
}
LR, MOMENTUM = 0.01, 0.9


def data(sizes: tuple[int, ...], batch: int):
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], batch)
    weights = [
        (rng.standard_normal((a, b)) * (2 / a) ** 0.5).astype(np.float32)
        for a, b in itertools.pairwise(sizes)
    ]
    return x, y, weights


def tinygrad_step(sizes: tuple[int, ...], batch: int) -> Callable[[], float]:
    from tinygrad_nn import losses, nn, optim

    x, y, weights = data(sizes, batch)
    model = nn.MLP(sizes[0], sizes[1:])
    for layer, weight in zip(model.layers, weights, strict=True):
        layer.weight.data[...] = weight
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

    def step() -> float:
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def torch_step(sizes: tuple[int, ...], batch: int) -> Callable[[], float]:
    import torch

    x, y, weights = data(sizes, batch)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    parts = []
    for weight in weights:
        layer = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.zero_()
        parts += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*parts[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    loss_function = torch.nn.CrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


ENGINES = {"tinygrad_nn": tinygrad_step, "torch": torch_step}


def serve(engine: str, threads: int) -> None:
    """Answer each line of standard input, a size's name, with seconds per step and the loss."""
    if engine == "torch":
        import torch

        torch.set_num_threads(threads)
    steps = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in steps:
            sizes, batch, _ = SIZES[name]
            steps[name] = ENGINES[engine](sizes, batch)
            for _ in range(50):
                steps[name]()
        step = steps[name]
        count = 0
        start = time.perf_counter()
        while time.perf_counter() - start < 0.05:
            for _ in range(10):
                loss = step()
            count += 10
        seconds = (time.perf_counter() - start) / count
        print(json.dumps([seconds, float(loss.item())]), flush=True)


def best_coretype() -> str | None:
    """Return the OpenBLAS kernel family for a processor with AVX-512, if that is what this is."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    return "SkylakeX" if "avx512f" in flags and "avx512vl" in flags else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--coretype", help="kernel family for OpenBLAS")
    parser.add_argument("--serve", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.threads)
        return

    environment = dict(os.environ)
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        environment[variable] = str(options.threads)
    coretype = options.coretype or best_coretype()
    if coretype:
        environment["OPENBLAS_CORETYPE"] = coretype
    print(
        f"threads: {options.threads}, "
        f"OPENBLAS_CORETYPE: {environment.get('OPENBLAS_CORETYPE', '(automatic)')}"
    )
    servers = {
        engine: subprocess.Popen(
            [sys.executable, __file__, "--serve", engine, "--threads", str(options.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for engine in ENGINES
    }

    def ask(engine: str, name: str) -> tuple[float, float]:
        server = servers[engine]
        print(name, file=server.stdin, flush=True)
        return tuple(json.loads(server.stdout.readline()))

    print(f"{'':24}{'tinygrad_nn':>14}{'PyTorch':>12}{'ratio':>8}{'target':>8}")
    for name, (_, _, target) in SIZES.items():
        times = {engine: [] for engine in ENGINES}
        for _ in range(options.rounds):
            for engine in ENGINES:
                times[engine].append(ask(engine, name)[0])
        ratios = [a / b for a, b in zip(times["tinygrad_nn"], times["torch"], strict=True)]
        ours, theirs = (statistics.median(times[engine]) * 1e6 for engine in ENGINES)
        print(
            f"{name:24}{ours:11.1f} us{theirs:9.1f} us{statistics.median(ratios):8.2f}{target:8.2f}"
        )
    for server in servers.values():
        server.stdin.close()
        server.wait()


if __name__ == "__main__":
    main()
