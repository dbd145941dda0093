"""Primitives that only a tape has: what passes put in the place of others."""

from __future__ import annotations

import numpy as np

from tinygrad_nn.primitive import Primitive

__all__ = ["one_hot_within", "pick_within", "within"]

#: Whether all of some integers are from 0 to n - 1.
within = Primitive(lambda x, *, n: np.asarray(((x >= 0) & (x < n)).all()), name="within")
#: The element of each row at a label that is within the row.
pick_within = Primitive(lambda x, labels: x[np.arange(len(x)), labels], name="pick_within")
#: `one_hot` of labels that are within the new axis.
one_hot_within = Primitive(
    lambda labels, *, length, value, dtype: np.where(
        np.arange(length) == labels[:, None], value, 0.0
    ).astype(dtype),
    name="one_hot_within",
)
