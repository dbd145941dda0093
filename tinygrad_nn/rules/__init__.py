"""The mathematics: every primitive and its derivatives, gathered into one table.

Laws for rules, which the tests enforce:

1. Only operators, NumPy functions and primitives that are in the table, and ``.shape``, ``.ndim``,
   ``.dtype``, ``.T``. Nothing is written in place.
2. Constants are Python floats: a NumPy scalar would turn float32 into float64.
3. No rule undoes broadcasting; the graph walk does, once, for every elementwise primitive.
4. Comparisons, ``sign`` and ``floor`` are primitives too: dispatched like all others, with constant
   results. Rules compare with ``equal`` and ``isnan``; ``==`` of two Values means identity.
5. Every forward that is not a view takes ``out=``.
6. Linear primitives come in transposed pairs, each the other's rule.
"""

from tinygrad_nn.primitive import Primitive
from tinygrad_nn.rules import (
    complex,
    decomposition,
    einsum,
    elementwise,
    fourier,
    indexing,
    joining,
    linalg,
    rearrange,
    reduction,
    sequence,
    shape,
    signal,
    special,
    statistics,
)

__all__ = ["TABLE"]

_ROOMS = (
    elementwise,
    complex,
    shape,
    indexing,
    joining,
    rearrange,
    reduction,
    sequence,
    statistics,
    linalg,
    einsum,
    decomposition,
    fourier,
    signal,
    special,
)

#: Every primitive of the package, by name.
TABLE: dict[str, Primitive] = {
    item.name: item
    for module in _ROOMS
    for item in vars(module).values()
    if isinstance(item, Primitive)
}
for _primitive in TABLE.values():
    _primitive.trusted = True
