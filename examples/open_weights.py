"""Weights in the open: read them, change them, put them back, and let evolution find them.

A network of three layers of units (2 inputs, 4 hidden, 1 output; so two weight matrices) that only
ever predicts: everything runs under `no_grad`, and no gradient is computed. First its matrices are
read out, one unit is silenced by hand through a view of its weights, and the matrices are put
back. Then a population of such sets of matrices evolves: the best survive, the others are replaced
by mutated copies of them, until one set solves XOR: seeds 0 to 99 take 28 generations at most.

    python open_weights.py
    python open_weights.py --seed 3 --mutation 0.3
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

import tinygrad_nn as tg
from tinygrad_nn import nn

Array = npt.NDArray[np.float64]
Weights = list[Array]

INPUTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
TARGETS = np.array([0.0, 1.0, 1.0, 0.0])
#: Mean squared error of a solution; then even the worst of the four answers is off by 0.2 at most.
GOAL = 0.01


def build(rng: np.random.Generator) -> nn.MLP:
    return nn.MLP(2, [4, 1], "tanh", "sigmoid", rng=rng, dtype=float)


def read(net: nn.MLP) -> Weights:
    """Return copies of the matrices and biases, layer by layer."""
    return [p.data.copy() for p in net.parameters()]


def put_back(net: nn.MLP, weights: Weights) -> None:
    """Let the network have these matrices and biases."""
    for p, w in zip(net.parameters(), weights, strict=True):
        p.data = w


@tg.no_grad()
def predict(net: nn.MLP) -> Array:
    """Return the network's answers to the four rows."""
    return net(INPUTS).data[:, 0]


def error(net: nn.MLP, weights: Weights) -> float:
    """Return the mean squared error of the network with these weights, which it keeps."""
    put_back(net, weights)
    return float(np.mean((predict(net) - TARGETS) ** 2))


def mutate(weights: Weights, size: float, rng: np.random.Generator) -> Weights:
    """Return a copy with normal noise of standard deviation `size` added."""
    return [w + size * rng.standard_normal(w.shape) for w in weights]


def evolve(
    net: nn.MLP,
    rng: np.random.Generator,
    *,
    population: int = 40,
    survivors: int = 8,
    mutation: float = 0.5,
    generations: int = 500,
) -> Iterator[float]:
    """Yield each generation's smallest error, the network having the weights it belongs to.

    Ends when the error is below `GOAL`, or after so many generations. The best of a generation
    survive unchanged, so the error never rises.
    """
    tribe = [mutate(read(net), 1.0, rng) for _ in range(population)]
    for _ in range(generations):
        tribe.sort(key=lambda weights: error(net, weights))
        best = error(net, tribe[0])
        yield best
        if best < GOAL:
            return
        parents = tribe[:survivors]
        chosen = rng.integers(survivors, size=population - survivors)
        tribe = parents + [mutate(parents[i], mutation, rng) for i in chosen]


def show(net: nn.MLP) -> None:
    print("  0 xor 0, 0 xor 1, 1 xor 0, 1 xor 1:", np.round(predict(net), 3))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Read, change and evolve a network's weights, without gradients.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--mutation", type=float, default=0.5, help="standard deviation")
    parser.add_argument("--generations", type=int, default=500, help="give up after so many")
    parser.add_argument("--seed", type=int, default=0, help="of weights and mutations")
    args = parser.parse_args(argv)
    if not 0 < args.mutation < math.inf or args.generations < 1 or args.seed < 0:
        parser.error("--mutation and --generations must be positive, and --seed at least 0")

    rng = np.random.default_rng(args.seed)
    net = build(rng)
    print(f"Weights in the open, 2-4-1, seed {args.seed}. At random:")
    show(net)

    original = read(net)
    print("The weight matrix from the inputs to the hidden units:")
    print(np.array2string(original[0], precision=3))
    silenced = net.layers[0].neurons[0]  # views: what is written to them is written to the net
    silenced.weight[:] = 0.0
    silenced.bias = 0.0
    print("With the first hidden unit silenced by hand:")
    show(net)
    put_back(net, original)
    print("With the matrices put back:")
    show(net)

    print("generation   smallest mean squared error")
    generation, smallest = 0, math.inf
    for generation, smallest in enumerate(
        evolve(net, rng, mutation=args.mutation, generations=args.generations)
    ):
        if generation % 10 == 0 or smallest < GOAL:
            print(f"{generation:10}   {smallest:.4f}")
    if not smallest < GOAL:
        print(f"XOR is not solved after {args.generations} generations.", file=sys.stderr)
        return 1
    print("Evolved:")
    show(net)
    return 0


if __name__ == "__main__":
    sys.exit(main())
