"""A record of what flows back: norms of gradients and parameters, and units that learn nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.nn.layers import Layer, Neuron
from tinygrad_nn.nn.module import Module
from tinygrad_nn.tensor import Tensor

__all__ = ["GradientFlow", "dead_units", "norm"]

Array = npt.NDArray[Any]


class GradientFlow:
    """What the gradients of a model were, pass by pass: call `record` after each ``backward()``.

    Parameters
    ----------
    model : Module, or mapping of str to Tensor
        What is trained: its parameters that require gradients now, by name.

    Attributes
    ----------
    names : tuple of str
        Of the parameters, from input to output as the model defines them.
    layers : tuple of str
        Names of the model's `Layer` and `Neuron` parts, whose units are counted.
    steps : ndarray of int, shape (n,)
        When each record was made.
    gradient_norms, parameter_norms : ndarray of float64, shape (n, parameters)
        Euclidean norms. A gradient that is None, since the loss did not depend on the parameter,
        is nan here, and False in `reached`.
    reached : ndarray of bool, shape (n, parameters)
        Whether there was a gradient.
    ratios : ndarray of float64, shape (n, parameters)
        ``gradient_norms / parameter_norms``: times the learning rate, the part by which plain
        gradient descent changes a parameter. Infinite for a parameter that is 0 throughout.
    dead : ndarray of float64, shape (n, layers)
        Share of the units of each layer that are dead; nan where a weight has no gradient.

    Notes
    -----
    A unit is dead in a record if the gradients of all weights into it and of its bias are exactly
    0: it learns nothing from this batch. So is a rectifier whose output is 0 for every row, and so
    is a unit whose output nothing behind it listens to. A unit that is dead for one batch may live
    for the next; one that stays dead is lost. No pass over the data is needed to see it, and the
    gradients are read only: a record costs two passes over the parameters.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> model = tg.nn.MLP(2, [3, 1], rng=0)
    >>> for unit in model.layers[0].neurons:
    ...     unit.weight = [1.0, 1.0]
    >>> model.layers[0].neurons[1].bias = -9.0  # relu(2 - 9) = 0 for every row
    >>> flow = tg.GradientFlow(model)
    >>> np.mean(model(np.ones((4, 2)))).backward()
    >>> flow.record()
    >>> flow.layers
    ('layers.0', 'layers.1')
    >>> flow.dead.round(2)
    array([[0.33, 0.  ]])
    """

    def __init__(self, model: Module | Mapping[str, Tensor]) -> None:
        if isinstance(model, Module):
            parameters = dict(model.named_parameters())
            parts = dict(model.named_modules())
        elif isinstance(model, Mapping):
            parameters, parts = {str(name): p for name, p in model.items()}, {}
        else:
            raise TypeError(
                f"expected a tinygrad_nn.nn.Module, or a mapping of names to tensors, got "
                f"{type(model).__name__}"
            )
        for name, p in parameters.items():
            if not isinstance(p, Tensor):
                raise TypeError(f"expected a tensor for {name!r}, got {type(p).__name__}")
        if not parameters:
            raise ValueError("the model has no parameter that requires a gradient")
        dense = {
            name or type(part).__name__: part
            for name, part in parts.items()
            if isinstance(part, Layer | Neuron)
        }
        self._parameters = list(parameters.values())
        self._parts: list[Layer | Neuron] = list(dense.values())
        self._rows: list[tuple[int, list[float], list[float], list[bool], list[float]]] = []
        self.names = tuple(parameters)
        self.layers = tuple(dense)

    def record(self, step: int | None = None) -> None:
        """Note the current gradients.

        Parameters
        ----------
        step : int or None
            When this is, above the last one; by default the last one plus 1, from 1.

        Raises
        ------
        RuntimeError
            If no parameter has a gradient.
        ValueError
            If `step` is not above the last one.
        """
        gradients = [p.grad for p in self._parameters]
        if all(g is None for g in gradients):
            raise RuntimeError(
                "no parameter has a gradient yet: call backward() first, and record() after it, "
                "before zero_grad()"
            )
        last = self._rows[-1][0] if self._rows else 0
        if step is not None and self._rows and step <= last:
            raise ValueError(f"step must be above the last one, {last}, got {step}")
        self._rows.append(
            (
                last + 1 if step is None else int(step),
                [math.nan if g is None else norm(g) for g in gradients],
                [norm(p.data) for p in self._parameters],
                [g is not None for g in gradients],
                [share_dead(part) for part in self._parts],
            )
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"GradientFlow({len(self.names)} parameters, {len(self)} records)"

    def _column(self, i: int, width: int, dtype: type) -> Array:
        return np.array([row[i] for row in self._rows], dtype).reshape(len(self), width)

    @property
    def steps(self) -> Array:
        """When each record was made."""
        return np.array([row[0] for row in self._rows], int)

    @property
    def gradient_norms(self) -> Array:
        """Norms of the gradients."""
        return self._column(1, len(self.names), float)

    @property
    def parameter_norms(self) -> Array:
        """Norms of the parameters."""
        return self._column(2, len(self.names), float)

    @property
    def reached(self) -> Array:
        """Whether there was a gradient."""
        return self._column(3, len(self.names), bool)

    @property
    def ratios(self) -> Array:
        """Norms of the gradients by those of the parameters."""
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient: Array = self.gradient_norms / self.parameter_norms
        return quotient

    @property
    def dead(self) -> Array:
        """Shares of dead units."""
        return self._column(4, len(self.layers), float)


def norm(array: Array) -> float:
    """Return the Euclidean norm, without overflow or underflow of the squares.

    Parameters
    ----------
    array : ndarray
        Any shape.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.plots.flow import norm
    >>> norm(np.array([3.0, 4.0]) * 2.0**600) / 2.0**600
    5.0
    """
    flat = array.ravel()
    with np.errstate(all="ignore"):
        square = float(np.vdot(flat, flat).real)
        if math.isfinite(square) and square > 1e-20:
            return math.sqrt(square)
        sizes = abs(flat).astype(float)
        largest = float(sizes.max(initial=0.0))
        if largest == 0.0 or not math.isfinite(largest):
            return largest
        sizes /= largest
        return largest * math.sqrt(float(sizes @ sizes))


def dead_units(part: Layer | Neuron) -> int | None:
    """Count the units to whose weights and bias no gradient came; None without gradients.

    Parameters
    ----------
    part : Layer or Neuron

    Returns
    -------
    int or None
    """
    weight = part.weight.grad
    if weight is None:
        return None
    columns = weight.reshape(part.n_in, -1)
    bias = None if part.bias is None else part.bias.grad
    if bias is None:
        return int(np.count_nonzero(~columns.any(axis=0)))
    # Where the bias has a gradient the unit lives: nearly everywhere, and the weights are not read.
    if bias.all():
        return 0
    at = np.flatnonzero(bias == 0)
    return int(np.count_nonzero(~columns[:, at].any(axis=0)))


def share_dead(part: Layer | Neuron) -> float:
    """Return the share of dead units; nan without gradients."""
    dead = dead_units(part)
    return math.nan if dead is None else dead / max(1, part.weight.data[0].size)
