"""Neuron, Layer and MLP of Values, one number at a time, with micrograd's signatures.

The readable reference: the same network as `tinygrad_nn.nn`, with nothing vectorised. A script
written for micrograd (https://github.com/karpathy/micrograd) runs with its imports changed to
``from tinygrad_nn.scalar import Value, Neuron, Layer, MLP``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol

from tinygrad_nn.activations import Activation
from tinygrad_nn.activations import activation as named_activation
from tinygrad_nn.errors import ShapeError
from tinygrad_nn.graph import mark_scope, next_serial
from tinygrad_nn.value import Value, add_n

__all__ = ["MLP", "Layer", "Module", "Neuron", "Value"]


class Uniform(Protocol):
    """A source of uniform numbers: `random.Random`, or `numpy.random.Generator`."""

    def uniform(self, a: float, b: float, /) -> float:
        """Draw from [a, b]."""


def _source(rng: int | Uniform | None) -> Uniform:
    # micrograd draws from the module `random`, so that random.seed(...) governs it.
    if rng is None:
        return random
    return random.Random(rng) if isinstance(rng, int) else rng


class Module:
    """Base of the three: parameters, and forgetting their gradients.

    Examples
    --------
    >>> from tinygrad_nn.scalar import Module, Value
    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.slope = Value(2.0)
    ...
    ...     def __call__(self, x):
    ...         return self.slope * x
    ...
    ...     def parameters(self):
    ...         return [self.slope]
    >>> line = Line()
    >>> line(3.0).backward()
    >>> line.slope.grad
    3.0
    >>> line.zero_grad()
    >>> line.slope.grad
    0.0
    """

    def forward(self, x: Sequence[Any]) -> Any:
        """Compute the output; called by ``module(x)``."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def __call__(self, x: Sequence[Any]) -> Any:
        """Return `forward` of `x`, and mark what it computed as this module's."""
        start = next_serial()
        output = self.forward(x)
        mark_scope(self, output, start)
        return output

    def _title(self) -> str:
        return repr(self)

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to 0."""
        for p in self.parameters():
            p.grad = 0.0

    def parameters(self) -> list[Value]:
        """Return all parameters: unit by unit, weights before the bias."""
        return []


class Neuron(Module):
    """One unit: a weighted sum of the inputs, plus a bias, rectified unless `nonlin` is False.

    Parameters
    ----------
    nin : int
        Number of inputs.
    nonlin : bool
        Whether to rectify the sum.
    activation : str or callable, optional
        Another activation in place of the rectifier: a name, or a function of a Value.
    rng : int, random.Random, numpy.random.Generator or None
        Source of the weights, uniform in [-1, 1]; the module `random` by default.

    Examples
    --------
    >>> from tinygrad_nn.scalar import Neuron
    >>> n = Neuron(2, rng=0)
    >>> n
    ReLUNeuron(2)
    >>> len(n.parameters())
    3
    """

    def __init__(
        self,
        nin: int,
        nonlin: bool = True,
        *,
        activation: str | Activation | None = None,
        rng: int | Uniform | None = None,
    ) -> None:
        source = _source(rng)
        self.activation = named_activation(activation)
        self.w = [Value(source.uniform(-1, 1)) for _ in range(nin)]
        self.b = Value(0)
        self.nonlin = nonlin

    def forward(self, x: Sequence[Any]) -> Value:
        """Return the unit's output for the inputs `x`."""
        # One sum of many terms, in the order of a chain of additions that starts with the bias.
        if len(x) != len(self.w):
            raise ShapeError(f"{self!r} takes {len(self.w)} inputs, got {len(x)}")
        act: Value = add_n([self.b, *(wi * xi for wi, xi in zip(self.w, x, strict=True))])
        if self.activation is not None:
            return self.activation(act)  # type: ignore[no-any-return]  # Any to mypy
        return act.relu() if self.nonlin else act

    def parameters(self) -> list[Value]:
        """Return the weights and the bias."""
        return [*self.w, self.b]

    def __repr__(self) -> str:
        kind = "ReLU" if self.nonlin else "Linear"
        if self.activation is not None:
            kind = getattr(
                self.activation, "__name__", getattr(self.activation, "name", "")
            ).title()
        return f"{kind}Neuron({len(self.w)})"


class Layer(Module):
    """Neurons side by side; the output of a single one is returned bare.

    Parameters
    ----------
    nin, nout : int
        Number of inputs and of neurons.
    nonlin, activation, rng
        As for `Neuron`.

    Examples
    --------
    >>> from tinygrad_nn.scalar import Layer
    >>> layer = Layer(2, 3, rng=0)
    >>> layer
    Layer of [ReLUNeuron(2), ReLUNeuron(2), ReLUNeuron(2)]
    >>> len(layer([1.0, -2.0]))
    3
    """

    def __init__(
        self,
        nin: int,
        nout: int,
        nonlin: bool = True,
        *,
        activation: str | Activation | None = None,
        rng: int | Uniform | None = None,
    ) -> None:
        source = _source(rng)
        self.neurons = [Neuron(nin, nonlin, activation=activation, rng=source) for _ in range(nout)]

    def forward(self, x: Sequence[Any]) -> Any:
        """Return the outputs for the inputs `x`: a list, or the only one."""
        out = [n(x) for n in self.neurons]
        return out[0] if len(out) == 1 else out

    def parameters(self) -> list[Value]:
        """Return the parameters of all neurons."""
        return [p for n in self.neurons for p in n.parameters()]

    def _title(self) -> str:
        return f"Layer({len(self.neurons[0].w)}, {len(self.neurons)})"

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(str(n) for n in self.neurons)}]"


class MLP(Module):
    """Layers one behind the other, rectified but for the last.

    Parameters
    ----------
    nin : int
        Number of inputs.
    nouts : sequence of int
        Number of neurons of each layer.
    activation, output_activation : str or callable, optional
        Of the hidden layers in place of the rectifier, and of the output layer.
    rng
        As for `Neuron`.

    Examples
    --------
    >>> from tinygrad_nn.scalar import MLP
    >>> model = MLP(2, [16, 16, 1], rng=0)
    >>> len(model.parameters())
    337
    >>> type(model([1.0, -2.0])).__name__
    'Value'
    """

    def __init__(
        self,
        nin: int,
        nouts: Sequence[int],
        *,
        activation: str | Activation | None = None,
        output_activation: str | Activation | None = None,
        rng: int | Uniform | None = None,
    ) -> None:
        source = _source(rng)
        sizes = [nin, *nouts]
        self.layers = [
            Layer(
                sizes[i],
                sizes[i + 1],
                nonlin=i != len(nouts) - 1,
                activation=activation if i != len(nouts) - 1 else output_activation,
                rng=source,
            )
            for i in range(len(nouts))
        ]

    def forward(self, x: Sequence[Any]) -> Any:
        """Return the outputs for the inputs `x`: a list, or the only one."""
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self) -> list[Value]:
        """Return the parameters of all layers."""
        return [p for layer in self.layers for p in layer.parameters()]

    def _title(self) -> str:
        sizes = [len(self.layers[0].neurons[0].w), *(len(layer.neurons) for layer in self.layers)]
        return f"MLP({'-'.join(map(str, sizes))})"

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(str(layer) for layer in self.layers)}]"
