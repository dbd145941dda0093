"""A half adder, learned online, one number at a time and then with arrays.

Two bits go in, their sum and their carry come out. The network is 2-3-2 sigmoid units; a bias
unit, always 1, feeds every layer. After each of the four samples every weight moves by

    velocity = eta * gradient * input + alpha * previous velocity,

downhill on half the squared error: the delta rule of D. E. Rumelhart, G. E. Hinton and
R. J. Williams, Nature 323 (1986), 533-536, doi:10.1038/323533a0. `ByNeuron` spells it out with
`Value`s, unit by unit. `ByTensor` is the same network in four lines. From the same weights both
walk the same way: their sums are added up in another order, so rounding (1e-16) sets them apart,
and training, which pulls towards the same minimum, keeps them within 1e-9 of each other.

    python half_adder.py                                  # some 4,300 epochs, then type pairs
    python half_adder.py --ask "1 1"
    python half_adder.py --lr 0.09 --momentum 0.015 --epochs 2000000    # 1,392,496: ten minutes
"""

from __future__ import annotations

import argparse
import math
import select
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tinygrad_nn import losses, nn, optim
from tinygrad_nn.scalar import Value

Array = npt.NDArray[np.float64]
Bits = tuple[int, int]

#: (a, b), then (sum, carry).
SAMPLES: list[tuple[Bits, Bits]] = [
    ((0, 0), (0, 0)),
    ((0, 1), (1, 0)),
    ((1, 0), (1, 0)),
    ((1, 1), (0, 1)),
]
SIZES = (2, 3, 2)
GOAL = 0.01


def draw_weights(seed: int) -> list[Array]:
    """Draw from a standard normal: an array (n_in + 1, n_out) a layer, the bias unit's row last."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n_in + 1, n_out)) for n_in, n_out in pairwise(SIZES)]


class Network(Protocol):
    """What the two forms have in common."""

    def learn(self, inputs: Bits, targets: Bits) -> float:
        """Take one step, and return the root-mean-square error over the outputs before it."""

    def outputs(self, inputs: Bits) -> list[float]:
        """Return the activations of the two output units."""

    def weights(self) -> list[Array]:
        """Return copies of the weights, in the form of `draw_weights`."""


class Unit:
    """A sigmoid unit: a weight and a velocity for each input, and for the bias unit at the end."""

    def __init__(self, weights: Iterable[float]) -> None:
        self.weights = [Value(w) for w in weights]
        self.velocities = [0.0] * len(self.weights)

    def __call__(self, inputs: Sequence[Any]) -> Value:
        first, *rest = [w * x for w, x in zip(self.weights, [*inputs, 1.0], strict=True)]
        return sum(rest, first).sigmoid()

    def move(self, lr: float, momentum: float) -> None:
        for i, w in enumerate(self.weights):
            # w.grad is "gradient * input": the unit's local gradient times what came in by w.
            self.velocities[i] = lr * w.grad + momentum * self.velocities[i]
            w.data -= self.velocities[i]
            w.grad = 0.0


class ByNeuron:
    """Units in lists in a list, made of `Value`s."""

    def __init__(self, weights: Sequence[Array], lr: float, momentum: float) -> None:
        self.layers = [[Unit(column) for column in w.T] for w in weights]
        self.lr = lr
        self.momentum = momentum

    def __call__(self, inputs: Sequence[Any]) -> Sequence[Value]:
        for layer in self.layers:
            inputs = [unit(inputs) for unit in layer]
        return inputs

    def learn(self, inputs: Bits, targets: Bits) -> float:
        first, second = (y - t for y, t in zip(self(inputs), targets, strict=True))
        half = (first * first + second * second) * 0.5
        half.backward()
        for layer in self.layers:
            for unit in layer:
                unit.move(self.lr, self.momentum)
        return math.sqrt(half.data)

    def outputs(self, inputs: Bits) -> list[float]:
        return [y.data for y in self(inputs)]

    def weights(self) -> list[Array]:
        return [
            np.array([[w.data for w in unit.weights] for unit in layer]).T for layer in self.layers
        ]


class ByTensor:
    """The same network as an `nn.MLP`, its bias units' weights being the biases."""

    def __init__(self, weights: Sequence[Array], lr: float, momentum: float) -> None:
        self.net = nn.MLP(SIZES[0], SIZES[1:], "sigmoid", "sigmoid", dtype=float)
        for layer, w in zip(self.net.layers, weights, strict=True):
            layer.weight.data, layer.bias.data = w[:-1], w[-1]
        # SGD keeps v = gradient + momentum * v and moves by lr * v: the same steps while lr stays.
        self.optimizer = optim.SGD(self.net.parameters(), lr=lr, momentum=momentum)

    def learn(self, inputs: Bits, targets: Bits) -> float:
        # The mean over two outputs is half the sum: the delta rule's error, and its root the RMS.
        loss = losses.mse_loss(self.net(inputs), targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return math.sqrt(loss.item())

    def outputs(self, inputs: Bits) -> list[float]:
        return self.net(inputs).tolist()

    def weights(self) -> list[Array]:
        return [np.vstack([layer.weight.data, layer.bias.data]) for layer in self.net.layers]


def train(network: Network, goal: float = GOAL, epochs: int = 20_000) -> Iterator[float]:
    """Yield each epoch's error, the four samples' summed, until it is below `goal`."""
    for _ in range(epochs):
        error = sum(network.learn(inputs, targets) for inputs, targets in SAMPLES)
        yield error
        if error < goal:
            return


def largest_difference(a: Network, b: Network) -> float:
    pairs = zip(a.weights(), b.weights(), strict=True)
    return max(float(np.abs(v - w).max()) for v, w in pairs)


def add(network: Network, bits: Bits) -> Bits:
    """Return sum and carry as the network sees them: its outputs, thresholded at 0.5."""
    total, carry = (int(y > 0.5) for y in network.outputs(bits))
    return total, carry


def parse_pair(text: str) -> Bits:
    words = text.replace(",", " ").split()
    if len(words) != 2 or not set(words) <= {"0", "1"}:
        raise argparse.ArgumentTypeError(f"expected two bits such as '0 1', got {text.strip()!r}")
    return int(words[0]), int(words[1])


def describe(network: Network, bits: Bits) -> str:
    total, carry = add(network, bits)
    raw = ", ".join(f"{y:.3f}" for y in network.outputs(bits))
    return f"{bits[0]} + {bits[1]}: sum {total}, carry {carry}   (outputs {raw})"


def converse(network: Network, lines: Iterable[str]) -> Iterator[str]:
    """Answer each line that holds a pair; say what is wrong with one that does not."""
    for line in lines:
        if line.strip():
            try:
                yield describe(network, parse_pair(line))
            except argparse.ArgumentTypeError as error:
                yield str(error)


def typed_lines() -> Iterator[str]:
    """Yield what is typed or piped in, up to its end; nothing where nobody is there to type."""
    if sys.stdin is None or sys.stdin.closed:
        return
    if sys.stdin.isatty():
        print("\nType two bits, such as 0 1; end with Ctrl-D.")
    else:
        try:
            if not select.select([sys.stdin], [], [], 0)[0]:
                return  # a pipe that stays open and silent would be waited for without end
        except (OSError, ValueError):  # not something that can be waited for
            return
    yield from sys.stdin


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Learn a half adder online, with Values and with tensors.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--lr", type=float, default=3.0, help="eta; 0.09 in the original")
    parser.add_argument("--momentum", type=float, default=0.9, help="alpha; 0.015 in the original")
    parser.add_argument("--epochs", type=int, default=20_000, help="give up after so many")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    parser.add_argument(
        "--ask", type=parse_pair, nargs="+", metavar="'A B'", help="answer these and do not prompt"
    )
    args = parser.parse_args(argv)
    if not (0 < args.lr < math.inf and 0 <= args.momentum < 1):
        parser.error("--lr must be positive, and --momentum at least 0 and below 1")
    if args.epochs < 1 or args.seed < 0:
        parser.error("--epochs must be at least 1, and --seed at least 0")

    start = draw_weights(args.seed)
    values = ByNeuron(start, args.lr, args.momentum)
    tensors = ByTensor(start, args.lr, args.momentum)
    print(f"Half adder, {'-'.join(map(str, SIZES))} sigmoid units and bias units,", end=" ")
    print(f"eta {args.lr:g}, alpha {args.momentum:g}, seed {args.seed}")
    print("  epoch   error (Values)  error (tensors)  weights differ by")
    both = zip(train(values, epochs=args.epochs), train(tensors, epochs=args.epochs), strict=False)
    epoch, errors = 0, (math.inf, math.inf)
    for epoch, errors in enumerate(both, start=1):
        if epoch in (1, 10, 100) or epoch % 1000 == 0 or max(errors) < GOAL:
            difference = largest_difference(values, tensors)
            print(f"{epoch:7,}   {errors[0]:14.6f}  {errors[1]:15.6f}  {difference:17.1e}")
    if not max(errors) < GOAL:
        print(f"The error is not below {GOAL} after {epoch:,} epochs.", file=sys.stderr)
        return 1
    print(f"The error fell below {GOAL} after {epoch:,} epochs. What it learned:")
    for bits, _ in SAMPLES:
        print(describe(tensors, bits))

    if args.ask:
        print("\n" + "\n".join(describe(tensors, bits) for bits in args.ask))
    else:
        with suppress(KeyboardInterrupt):
            for answer in converse(tensors, typed_lines()):
                print(answer, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
