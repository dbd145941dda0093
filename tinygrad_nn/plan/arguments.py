"""The arguments of a compiled function: what may differ from call to call, and what may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.graph import Node
from tinygrad_nn.tensor import Tensor

__all__ = ["Taken", "take_apart"]


class Taken(NamedTuple):
    """Arguments taken apart."""

    key: Any  # equal for calls that the same plan serves
    leaves: list[Any]  # arrays and nodes
    rebuild: Callable[[Any], Any]  # takes an iterator of what to put in place of the leaves


def take_apart(item: Any) -> Taken:
    """Take arguments apart into arrays and nodes, and a key of everything else.

    Tuples, lists and dicts are containers. Whatever is no array is part of the key: numbers,
    strings and None by value, other objects by identity.
    """
    kind = item.__class__
    if kind is np.ndarray:
        return Taken((item.shape, item.dtype), [item], next)
    if kind is Tensor:
        return Taken((item.shape, item.dtype, item.requires_grad, "tensor"), [item], next)
    if isinstance(item, Node):
        return Taken((kind,), [item], next)
    if isinstance(item, np.floating | np.complexfloating | np.ndarray):
        array = np.asarray(item)
        return Taken((array.shape, array.dtype), [array], next)
    if isinstance(item, dict):
        names = tuple(item)
        return _container(names, item.values(), lambda v: dict(zip(names, v, strict=True)))
    if isinstance(item, tuple | list):
        named = hasattr(item, "_fields")
        make = (lambda values: kind(*values)) if named else kind
        return _container((), item, make)
    return Taken((kind, item if _is_plain(item) else id(item)), [], lambda _: item)


def _is_plain(item: Any) -> bool:
    return item is None or isinstance(item, bool | int | float | complex | str | bytes | np.generic)


def _container(names: Any, items: Any, make: Callable[[list[Any]], Any]) -> Taken:
    parts = [take_apart(item) for item in items]
    key = (names, tuple(part.key for part in parts), len(parts))
    leaves = [leaf for part in parts for leaf in part.leaves]
    return Taken(key, leaves, lambda new: make([part.rebuild(new) for part in parts]))
