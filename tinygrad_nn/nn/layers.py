"""Neuron, Layer, MLP, Sequential: the layers of a feed-forward network, on tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tinygrad_nn.activations import ACTIVATIONS, Activation
from tinygrad_nn.activations import activation as named_activation
from tinygrad_nn.errors import ShapeError
from tinygrad_nn.flat import flatten
from tinygrad_nn.graph import Node
from tinygrad_nn.nn.init import Initializer, initializer
from tinygrad_nn.nn.module import Module
from tinygrad_nn.rules.linalg import linear
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.traced import Traced

if TYPE_CHECKING:
    from tinygrad_nn.nn.init import RNG

__all__ = ["MLP", "Layer", "Linear", "Neuron", "NeuronView", "Sequential"]

# Rectifiers halve the signal's variance, which He's scale makes up for.
_RECTIFIERS = {"relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "softplus"}


def _draw(
    shape: tuple[int, ...],
    init: str | Initializer | None,
    function: str | Activation | None,
    rng: np.random.Generator,
    dtype: npt.DTypeLike,
) -> npt.NDArray[Any]:
    if init is None:
        init = "he_uniform" if _name(function) in _RECTIFIERS else "glorot_uniform"
    values = np.asarray(initializer(init)(shape, rng, dtype), dtype)
    if values.shape != shape:
        raise ShapeError(f"the initializer returned shape {values.shape}, asked for {shape}")
    return values


def _name(function: str | Activation | None) -> str | None:
    if function is None or isinstance(function, str):
        return function
    return getattr(function, "__name__", getattr(function, "name", repr(function)))


class _Dense(Module):
    """What Neuron and Layer share: ``activation(x @ weight + bias)``."""

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        n_in: int,
        shape: tuple[int, ...],
        function: str | Activation | None,
        bias: bool,
        init: str | Initializer | None,
        rng: RNG,
        dtype: npt.DTypeLike,
    ) -> None:
        if n_in < 1 or any(n < 1 for n in shape):
            raise ValueError(f"layer sizes must be positive, got {n_in} and {shape}")
        named_activation(function)  # an unknown name is an error here, not at the first call
        generator = np.random.default_rng(rng)
        values = _draw((n_in, *shape), init, function, generator, dtype)
        self.n_in = n_in
        self.activation = function
        self.weight = Tensor(values, requires_grad=True, label="weight")
        self.bias = (
            Tensor(np.zeros(shape, dtype), requires_grad=True, label="bias") if bias else None
        )

    def forward(self, x: Any) -> Any:
        weight = self.weight
        if x.__class__ is Tensor:
            shape = x._value.shape
        else:
            # Plain data takes the parameters' dtype: float64 from a file stays out of a float32
            # network.
            x = _plain(x, weight._value.dtype)
            shape = x.shape
        if not shape or shape[-1] != self.n_in:
            raise ShapeError(
                f"{self._title()} takes inputs of shape (..., {self.n_in}), got {shape}"
            )
        bias = self.bias
        if bias is None:
            y = x @ weight
        elif weight._value.ndim == 1:
            y = x @ weight + bias
        else:
            y = linear(x, weight, bias)
        function = self.activation
        if function is None:
            return y
        return ACTIVATIONS[function](y) if isinstance(function, str) else function(y)


def _plain(x: Any, dtype: Any) -> Any:
    """Make an array of plain data; a list of nodes is joined, so that no gradient is lost."""
    if type(x) is np.ndarray or type(x) is Traced:
        return x if x.dtype is dtype else x.astype(dtype, copy=False)
    if isinstance(x, list | tuple) and any(isinstance(item, Node) for item in x):
        return np.stack(x)
    return np.asarray(x, dtype)


class Neuron(_Dense):
    """One unit: ``activation(x @ weight + bias)``, a number for each input vector.

    Parameters
    ----------
    n_in : int
        Number of inputs.
    activation : str, callable or None
        Name (see `tinygrad_nn.ACTIVATIONS`), function, or None for a linear unit.
    bias : bool
        Whether there is a bias, initially 0.
    init : str, callable or None
        Initializer of the weights; He's for rectifiers, Glorot's for other activations.
    rng : int, numpy.random.Generator or None
        Source of the weights; None for fresh entropy.
    dtype : dtype
        Of the parameters.

    Attributes
    ----------
    weight : Tensor, shape (n_in,)
    bias : Tensor, shape ()

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> neuron = tg.nn.Neuron(3, activation="tanh", rng=0)
    >>> neuron([1.0, 2.0, 3.0]).shape
    ()
    """

    _shown: ClassVar[tuple[str, ...]] = ("n_in", "activation")

    def __init__(
        self,
        n_in: int,
        activation: str | Activation | None = "relu",
        *,
        bias: bool = True,
        init: str | Initializer | None = None,
        rng: RNG = None,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        super().__init__(n_in, (), activation, bias, init, rng, dtype)

    def _settings(self) -> list[str]:
        return [str(self.n_in), f"activation={_name(self.activation)!r}"]


def _numbers(values: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected numbers, got {values!r}")
    return array


class NeuronView:
    """One unit of a layer, seen through arrays that are views: writing to them changes the layer.

    Attributes
    ----------
    weight : ndarray, shape (n_in,)
        The unit's column of the layer's weight; assign an array or write to elements.
    bias : ndarray, shape ()
        The unit's bias; assign a number or write to ``bias[...]``.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> layer = tg.nn.Layer(2, 3, rng=0)
    >>> unit = layer.neurons[1]
    >>> unit.weight = [1.0, 2.0]
    >>> unit.bias[...] = 0.5
    >>> unit
    NeuronView(weight=[1. 2.], bias=0.5)
    >>> print(layer.weight.data[:, 1], layer.bias.data)
    [1. 2.] [0.  0.5 0. ]
    """

    __slots__ = ("_index", "_layer")

    def __init__(self, layer: Layer, index: int) -> None:
        self._layer = layer
        self._index = index

    @property
    def weight(self) -> npt.NDArray[Any]:
        """The unit's column of the layer's weight, a view."""
        return self._layer.weight.data[:, self._index]

    @weight.setter
    def weight(self, values: npt.ArrayLike) -> None:
        values = _numbers(values)
        if values.shape not in ((), (self._layer.n_in,)):
            raise ShapeError(
                f"a unit of this layer has {self._layer.n_in} weights, got shape {values.shape}"
            )
        weight = self._layer.weight
        weight.data[:, self._index] = values
        weight.data = weight.data  # tells graphs made before that it has changed

    @property
    def bias(self) -> npt.NDArray[Any]:
        """The unit's bias, a view."""
        bias = self._layer.bias
        if bias is None:
            raise AttributeError(f"{self._layer._title()} has no bias")
        return bias.data[self._index : self._index + 1].reshape(())

    @bias.setter
    def bias(self, value: float) -> None:
        self.bias[...] = _numbers(value)
        bias = self._layer.bias
        assert bias is not None
        bias.data = bias.data

    def __repr__(self) -> str:
        bias = "" if self._layer.bias is None else f", bias={self.bias}"
        return f"NeuronView(weight={self.weight}{bias})"


class Layer(_Dense):
    """A fully connected layer: ``activation(x @ weight + bias)``.

    Parameters
    ----------
    n_in, n_out : int
        Number of inputs and of units.
    activation : str, callable or None
        Name (see `tinygrad_nn.ACTIVATIONS`), function, or None for a linear layer.
    bias : bool
        Whether the units have biases, initially 0.
    init : str, callable or None
        Initializer of the weights; He's for rectifiers, Glorot's for other activations.
    rng : int, numpy.random.Generator or None
        Source of the weights; None for fresh entropy.
    dtype : dtype
        Of the parameters; plain arrays given to the layer are converted to it.

    Attributes
    ----------
    weight : Tensor, shape (n_in, n_out)
    bias : Tensor, shape (n_out,)
    neurons : list of NeuronView
        The units, each with its `weight` and `bias` as writable views.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> layer = tg.nn.Layer(2, 3, activation=None, rng=0)
    >>> layer.neurons[1].weight = [1.0, 2.0]
    >>> layer.neurons[1].bias = 0.5
    >>> layer([10.0, 20.0]).data[1].item()
    50.5
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        activation: str | Activation | None = "relu",
        *,
        bias: bool = True,
        init: str | Initializer | None = None,
        rng: RNG = None,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        super().__init__(n_in, (n_out,), activation, bias, init, rng, dtype)
        self.n_out = n_out

    @property
    def neurons(self) -> list[NeuronView]:
        """The units, as views."""
        return [NeuronView(self, i) for i in range(self.n_out)]

    def _settings(self) -> list[str]:
        bias = [] if self.bias is not None else ["bias=False"]
        return [str(self.n_in), str(self.n_out), f"activation={_name(self.activation)!r}", *bias]


class Linear(Layer):
    """A layer without activation, under PyTorch's name; the weight is (n_in, n_out).

    Parameters
    ----------
    n_in, n_out : int
        Number of inputs and of outputs.
    bias : bool
        Whether there is a bias.
    init, rng, dtype
        As for `Layer`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.nn.Linear(2, 3, rng=0)
    Linear(2, 3, activation=None)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bias: bool = True,
        *,
        init: str | Initializer | None = None,
        rng: RNG = None,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        super().__init__(n_in, n_out, None, bias=bias, init=init, rng=rng, dtype=dtype)


class MLP(Module):
    """A multilayer perceptron: layers one behind the other.

    Parameters
    ----------
    n_in : int
        Number of inputs.
    n_outs : sequence of int
        Number of units of each layer, the output layer last.
    activation : str, callable or None
        Of the hidden layers.
    output_activation : str, callable or None
        Of the output layer; None by default, since losses take logits.
    bias : bool
        Whether the units have biases.
    init : str, callable or None
        Initializer of the weights (see `Layer`).
    rng : int, numpy.random.Generator or None
        Source of the weights, layer by layer. The default 0 gives the same weights every time,
        where `Layer` and `Neuron` default to None, fresh entropy.
    dtype : dtype
        Of the parameters.

    Attributes
    ----------
    layers : list of Layer

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> model = tg.nn.MLP(2, [16, 16, 1], activation="tanh", rng=0)
    >>> model(np.zeros((100, 2))).shape
    (100, 1)
    >>> model
    MLP(
      (layers.0): Layer(2, 16, activation='tanh')
      (layers.1): Layer(16, 16, activation='tanh')
      (layers.2): Layer(16, 1, activation=None)
    )
    """

    def __init__(
        self,
        n_in: int,
        n_outs: Sequence[int],
        activation: str | Activation | None = "relu",
        output_activation: str | Activation | None = None,
        *,
        bias: bool = True,
        init: str | Initializer | None = None,
        rng: RNG = 0,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        if isinstance(n_outs, int) or not n_outs:
            raise ValueError(f"n_outs lists each layer's size, as in MLP(2, [16, 1]); got {n_outs}")
        named_activation(activation)  # also where there is no hidden layer to use it
        sizes = [n_in, *n_outs]
        generator = np.random.default_rng(rng)
        self.layers = [
            Layer(
                sizes[i],
                sizes[i + 1],
                activation if i < len(sizes) - 2 else output_activation,
                bias=bias,
                init=init,
                rng=generator,
                dtype=dtype,
            )
            for i in range(len(sizes) - 1)
        ]
        flatten(self.parameters())

    def forward(self, x: Any) -> Any:
        """Apply the layers in order."""
        for layer in self.layers:
            x = layer(x)
        return x

    def _title(self) -> str:
        sizes = [self.layers[0].n_in, *(layer.n_out for layer in self.layers)]
        return f"MLP({'-'.join(map(str, sizes))})"


class Sequential(Module):
    """Modules and functions applied one after the other.

    Parameters
    ----------
    *steps : Module, callable or str
        A string names an activation.

    Attributes
    ----------
    steps : list

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(2, 8, rng=0), "tanh", tg.nn.Linear(8, 1, rng=1))
    >>> model(np.zeros((5, 2))).shape
    (5, 1)
    """

    def __init__(self, *steps: Module | Callable[[Any], Any] | str) -> None:
        for i, step in enumerate(steps):
            if step is None:
                raise TypeError(f"step {i} is None; give modules, functions or activation names")
            named_activation(step)
        self.steps = list(steps)

    def forward(self, x: Any) -> Any:
        """Apply the steps in order."""
        for step in self.steps:
            function = named_activation(step)
            assert function is not None
            x = function(x)
        return x

    def __getitem__(self, index: int) -> Any:
        return self.steps[index]

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        lines = [
            f"  ({i}): "
            + (repr(s) if isinstance(s, Module) else str(_name(s))).replace("\n", "\n  ")
            for i, s in enumerate(self.steps)
        ]
        return "\n".join(["Sequential(", *lines, ")"])
