"""Dropout: noise on activations, in training only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_nn.nn.module import Module

if TYPE_CHECKING:
    from tinygrad_nn.nn.init import RNG

__all__ = ["Dropout"]


class Dropout(Module):
    """Set each element to 0 with probability `p`, and divide the others by ``1 - p``.

    In training; after `eval` what goes in comes out. The division keeps the expected value
    ("inverted" dropout), so that nothing needs to be scaled in evaluation.

    Parameters
    ----------
    p : float
        Probability that an element is dropped, from 0 to 1.
    rng : int, numpy.random.Generator or None
        Source of randomness; None for fresh entropy.

    Raises
    ------
    ValueError
        If `p` is no probability.

    Notes
    -----
    One number u of [0, 1) is drawn for each element, of the element's precision, and the result is
    ``x * (u >= p) / (1 - p)``; for ``p = 1`` it is ``x * 0``, for ``p = 0`` it is x and nothing is
    drawn. The gradient passes through the same mask.

    References
    ----------
    N. Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting,
    JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> dropout = tg.nn.Dropout(0.5, rng=0)
    >>> dropout(np.ones(6))
    array([2., 0., 0., 0., 2., 2.])
    >>> dropout.eval()(np.ones(6))
    array([1., 1., 1., 1., 1., 1.])
    """

    _shown = ("p",)

    def __init__(self, p: float = 0.5, rng: RNG = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability, from 0 to 1, got {p}")
        self.p = p
        self.rng = np.random.default_rng(rng)

    def forward(self, x: Any) -> Any:
        """Return x with elements dropped, of the same shape and dtype."""
        x = x if hasattr(x, "dtype") else np.asarray(x)
        if not self.training or self.p == 0:
            return x
        if x.dtype.kind != "f":
            raise TypeError(f"dropout needs floating numbers, got dtype {x.dtype}")
        single = x.dtype.itemsize <= 4
        u: Any = self.rng.random(x.shape, dtype=np.float32 if single else np.float64)
        scale = 1.0 / (1.0 - self.p) if self.p < 1 else 0.0
        return x * ((u >= self.p).astype(x.dtype) * scale)
