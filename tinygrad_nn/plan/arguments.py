"""The arguments of a compiled function: what may differ from call to call, and what may not."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.graph import Node, capturing
from tinygrad_nn.plan.draws import is_generator
from tinygrad_nn.plan.state import differs
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.traced import Traced

__all__ = ["Taken", "own_copies", "positional", "take_apart", "with_others"]


class Taken(NamedTuple):
    """Arguments taken apart."""

    key: Any  # equal for calls that the same plan may serve
    leaves: list[Any]  # arrays and nodes, and generators of random numbers
    rebuild: Callable[[Any], Any]  # takes an iterator of what to put in place of the leaves
    others: list[Any] = []  # noqa: RUF012  # never written to; objects that are in the key by identity


def take_apart(item: Any, keep: Callable[[Any], bool] | None = None) -> Taken:
    """Take arguments apart into arrays and nodes, and a key of everything else.

    Tuples, lists and dicts are containers. Whatever is no array is part of the key: numbers,
    strings and None by value, other objects by identity. So is an array for which `keep` holds.
    """
    if type(item) is Traced and capturing() is None:  # put there for another thread
        item = item.itself()
    kind = type(item)
    if kind is np.ndarray:
        return Taken((item.shape, item.dtype), [item], next)
    if kind is Tensor and not (keep and keep(item)):
        return Taken((item.shape, item.dtype, item.requires_grad, "tensor"), [item], next)
    if kind is Traced:
        scalar = ("scalar",) if item.scalar else ()
        return Taken((item.shape, item.dtype, *scalar), [item], next)
    if isinstance(item, Node) and not (keep and keep(item)):
        return Taken((kind,), [item], next)
    if isinstance(item, np.floating | np.complexfloating | np.ndarray) and not _is_odd(item):
        array = np.asarray(item)
        if isinstance(item, np.generic):
            return Taken(((), array.dtype, "scalar"), [array], _scalar)
        return Taken((array.shape, array.dtype), [array], next)
    if is_generator(item):
        return Taken((kind, id(item)), [item], next)
    if isinstance(item, dict):
        names = tuple(item)
        kinds = (kind, *map(type, names), *names)  # 1, 1.0 and True are equal
        return _container(kinds, item.values(), partial(_dict, _empty(item), names), keep)
    if isinstance(item, tuple | list):
        named = hasattr(item, "_fields")
        make = (lambda values: kind(*values)) if named else kind
        return _container(kind, item, make, keep)
    if isinstance(item, _PLAIN):
        # 0.0 and -0.0 are different, and slices have no hash.
        text = repr(item) if isinstance(item, float | complex | slice) else item
        return Taken((kind, text), [], lambda _: item)
    if isinstance(item, frozenset) and all(isinstance(value, _PLAIN) for value in item):
        return Taken((kind, frozenset((type(v), repr(v)) for v in item)), [], lambda _: item)
    return Taken((kind, id(item)), [], lambda _: item, [item])


def own_copies(taken: Taken, are_known: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """Return the function that rebuilds a result, with sets and the like that are new each time.

    Those for which `are_known` holds were there before the function ran, and are returned as they
    are.
    """
    made = [a for a in taken.others if isinstance(a, _MADE) and not are_known(a)]
    if not made:
        return taken.rebuild
    kept = {id(a): (a, copy.copy(a)) for a in made}
    result = taken.rebuild  # which does not hold the leaves
    return lambda leaves: _put_in(result(leaves), kept)


def _put_in(item: Any, kept: dict[int, tuple[Any, Any]]) -> Any:
    if id(item) in kept:
        return copy.copy(kept[id(item)][1])
    if isinstance(item, dict):
        return _dict(_empty(item), tuple(item), [_put_in(v, kept) for v in item.values()])
    if isinstance(item, tuple | list):
        parts = [_put_in(v, kept) for v in item]
        return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)
    return item


#: What can be changed and holds no numbers of the step.
_MADE = (set, deque, bytearray, np.ndarray)


def _scalar(new: Any) -> Any:
    """Put a NumPy scalar, or what stands for one, in the place of a leaf."""
    a = next(new)
    if type(a) is Traced:
        a.scalar = True
    return a[()] if type(a) is np.ndarray else a


_PLAIN = (
    type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype, range, slice,
)  # fmt: skip


def _is_odd(item: Any) -> bool:
    """Whether this is an array with an arithmetic of its own, or of what is no number."""
    return isinstance(item, np.ma.MaskedArray | np.matrix) or item.dtype.kind not in "fiubc"


def _empty(item: dict[Any, Any]) -> dict[Any, Any]:
    """Return a dict of the same kind, with nothing in it."""
    if item.__class__ is dict:
        return {}
    empty = copy.copy(item)
    empty.clear()
    return empty


def _dict(empty: dict[Any, Any], names: tuple[Any, ...], values: list[Any]) -> dict[Any, Any]:
    found = copy.copy(empty)
    for name, value in zip(names, values, strict=True):
        found[name] = value
    return found


def _container(
    names: Any,
    items: Any,
    make: Callable[[list[Any]], Any],
    keep: Callable[[Any], bool] | None,
) -> Taken:
    parts = [take_apart(item, keep) for item in items]
    rebuilds = [part.rebuild for part in parts]  # the parts themselves hold the leaves
    key = (names, tuple(part.key for part in parts))
    leaves = [leaf for part in parts for leaf in part.leaves]
    others = [other for part in parts for other in part.others]
    return Taken(key, leaves, lambda new: make([f(new) for f in rebuilds]), others)


def positional(args: tuple[Any, ...]) -> list[Any] | None:
    """Return which arguments are leaves: `LEAF` in their places, and the others as they are.

    None if there are containers, which a call cannot check quickly.
    """
    taken = [take_apart(a) for a in args]
    if any(t.rebuild is not next and (t.leaves or t.key[0] in (tuple, list)) for t in taken):
        return None
    if any(isinstance(a, dict | np.generic) for a in args):
        return None
    return [LEAF if t.rebuild is next else a for t, a in zip(taken, args, strict=True)]


LEAF = object()


def with_others(call: Callable[..., Any], places: list[Any], miss: Any) -> Callable[..., Any]:
    """Return a replay that takes, beside the leaves, arguments that must be what they were."""
    others = [k for k, place in enumerate(places) if place is not LEAF]
    if not others:
        return call
    every = ", ".join(f"a{k}" for k in range(len(places)))
    leaves = ", ".join(f"a{k}" for k, place in enumerate(places) if place is LEAF)
    tests = " or ".join(f"a{k} is not was{k} and differs(a{k}, was{k})" for k in others)
    names: dict[str, Any] = {"call": call, "miss": miss, "differs": differs}
    names |= {f"was{k}": places[k] for k in others}
    exec(f"def replay({every}):\n    return miss if {tests} else call({leaves})", names)
    replay: Callable[..., Any] = names["replay"]
    return replay
