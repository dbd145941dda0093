"""Activation functions of tensors and values, and their names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_nn.rules.elementwise import clip, expm1, relu, sigmoid, tanh, where
from tinygrad_nn.rules.reduction import log_softmax, logsumexp, softmax
from tinygrad_nn.rules.special import erfc

__all__ = [
    "ACTIVATIONS", "activation", "elu", "gelu", "gelu_tanh", "hard_tanh", "leaky_relu",
    "log_sigmoid", "log_softmax", "logsumexp", "relu", "selu", "sigmoid", "silu", "softmax",
    "softplus", "tanh",
]  # fmt: skip

Activation = Callable[[Any], Any]


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """Leaky rectified linear unit: x where x > 0, ``negative_slope * x`` elsewhere.

    Parameters
    ----------
    x : Tensor, Value, ndarray or float
        Any shape.
    negative_slope : float
        Derivative for x <= 0.

    Returns
    -------
    Tensor, Value, ndarray or float
        Of the kind and shape of `x`.

    References
    ----------
    A. L. Maas, A. Y. Hannun and A. Y. Ng, ICML Workshop on Deep Learning (2013).

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.leaky_relu(tg.tensor([-2.0, 0.0, 3.0]))
    tensor([-0.02,  0.  ,  3.  ])
    """
    return where(x > 0, x, x * negative_slope)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """Exponential linear unit: x where x > 0, ``alpha (exp(x) - 1)`` elsewhere.

    The derivative at 0 is `alpha`, that of the lower branch.

    Parameters
    ----------
    x : Tensor, Value, ndarray or float
        Any shape.
    alpha : float
        Minus the limit for x to minus infinity.

    Returns
    -------
    Tensor, Value, ndarray or float
        Of the kind and shape of `x`.

    References
    ----------
    D.-A. Clevert, T. Unterthiner and S. Hochreiter, https://arxiv.org/abs/1511.07289.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.elu(tg.tensor([-1000.0, 0.0, 1000.0]))
    tensor([  -1.,    0., 1000.])
    """
    # expm1 sees no positive number, so it never overflows in the branch that is not taken.
    return where(x > 0, x, expm1(where(x > 0, 0.0, x)) * alpha)


def selu(x: Any) -> Any:
    """Scaled exponential linear unit, whose activations keep mean 0 and variance 1.

    ``scale * elu(x, alpha)`` with alpha = 1.67326... and scale = 1.05070..., the fixed point of
    mean 0 and variance 1 in the reference.

    Parameters
    ----------
    x : Tensor, Value, ndarray or float
        Any shape.

    Returns
    -------
    Tensor, Value, ndarray or float
        Of the kind and shape of `x`.

    References
    ----------
    G. Klambauer et al., https://arxiv.org/abs/1706.02515.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> print(tg.selu(tg.tensor(1.0)).item())
    1.0507009873554805
    """
    return elu(x, alpha=1.6732632423543772) * 1.0507009873554805


def gelu(x: Any, approximate: str = "none") -> Any:
    """Gaussian error linear unit: x times the standard normal distribution function of x.

    ``x/2 erfc(-x / sqrt(2))``.

    Parameters
    ----------
    x : Tensor, Value, ndarray or float
        Any shape.
    approximate : {"none", "tanh"}
        "none" is exact; "tanh" is the approximation
        ``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``.

    Returns
    -------
    Tensor, Value, ndarray or float
        Of the kind and shape of `x`.

    Raises
    ------
    ValueError
        If `approximate` is neither of the two.

    References
    ----------
    D. Hendrycks and K. Gimpel, https://arxiv.org/abs/1606.08415.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> print(round(tg.gelu(tg.tensor(1.0)).item(), 6))
    0.841345
    """
    if approximate == "none":
        return x * (erfc(x * -math.sqrt(0.5)) * 0.5)
    if approximate == "tanh":
        # 1 + tanh(z) = 2 sigmoid(2 z), which keeps its precision in the lower tail.
        return x * sigmoid((x + x * x * x * 0.044715) * (2.0 * math.sqrt(2.0 / math.pi)))
    raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")


def gelu_tanh(x: Any) -> Any:
    """Return the tanh approximation of `gelu`.

    Parameters
    ----------
    x : Tensor, Value or ndarray
        Any shape.

    Returns
    -------
    Tensor, Value or ndarray
        Of the same shape.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> print(round(tg.gelu_tanh(tg.tensor(1.0)).item(), 6))
    0.841192
    """
    return gelu(x, approximate="tanh")


def silu(x: Any) -> Any:
    """Sigmoid linear unit, ``x sigmoid(x)``, also called swish.

    Parameters
    ----------
    x : Tensor, Value, ndarray or float
        Any shape.

    Returns
    -------
    Tensor, Value, ndarray or float
        Of the kind and shape of `x`.

    References
    ----------
    S. Elfwing, E. Uchibe and K. Doya, https://arxiv.org/abs/1702.03118.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.silu(tg.tensor([-1000.0, 0.0, 2.0]))
    tensor([-0.        ,  0.        ,  1.76159416])
    """
    return x * sigmoid(x)


def softplus(x: Any) -> Any:
    """Smooth rectifier log(1 + exp(x)), for any x without overflow.

    Parameters
    ----------
    x : Tensor, Value, ndarray or float
        Any shape.

    Returns
    -------
    Tensor, Value, ndarray or float
        Of the kind and shape of `x`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.softplus(tg.tensor([-1000.0, 0.0, 1000.0]))
    tensor([0.00000000e+00, 6.93147181e-01, 1.00000000e+03])
    """
    return np.logaddexp(0.0, x)


def log_sigmoid(x: Any) -> Any:
    """Logarithm of the sigmoid, -log(1 + exp(-x)), for any x without overflow.

    Parameters
    ----------
    x : Tensor, Value, ndarray or float
        Any shape.

    Returns
    -------
    Tensor, Value, ndarray or float
        Of the kind and shape of `x`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> print(tg.log_sigmoid(tg.tensor(-1000.0)).item())
    -1000.0
    """
    return -np.logaddexp(0.0, -x)


def hard_tanh(x: Any) -> Any:
    """Piecewise linear tanh: x limited to [-1, 1]; derivative 1 at the bounds.

    Parameters
    ----------
    x : Tensor, Value, ndarray or float
        Any shape.

    Returns
    -------
    Tensor, Value, ndarray or float
        Of the kind and shape of `x`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.hard_tanh(tg.tensor([-2.0, 0.5, 2.0]))
    tensor([-1. ,  0.5,  1. ])
    """
    return clip(x, -1.0, 1.0)


#: What ``activation=`` may name.
ACTIVATIONS: dict[str, Activation] = {
    "relu": relu, "leaky_relu": leaky_relu, "elu": elu, "selu": selu, "gelu": gelu,
    "gelu_tanh": gelu_tanh, "silu": silu, "softplus": softplus, "sigmoid": sigmoid,
    "log_sigmoid": log_sigmoid, "tanh": tanh, "hard_tanh": hard_tanh, "softmax": softmax,
    "log_softmax": log_softmax,
}  # fmt: skip


def activation(name: str | Activation | None) -> Activation | None:
    """Look an activation up: a name, a function (returned as it is), or None.

    Parameters
    ----------
    name : str, callable or None
        A key of `ACTIVATIONS`, a function of a tensor, or None for no activation.

    Returns
    -------
    callable or None

    Raises
    ------
    ValueError
        If there is no activation of that name; the message lists them.

    Examples
    --------
    >>> from tinygrad_nn.activations import activation
    >>> activation("relu")
    <primitive relu>
    >>> activation(None) is None
    True
    """
    if name is None or callable(name):
        return name
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(
            f"unknown activation {name!r}; known are {', '.join(ACTIVATIONS)}, a function, or None"
        )
    return ACTIVATIONS[name]
