"""Nested containers: tuples, lists, dicts, named tuples and modules, taken apart and put together.

What is no container is a leaf; None has no leaves. A class may be a container of its own by a
method ``__tree__`` that returns its leaves by name, a function that makes another one of other
leaves, and perhaps one that leaves out what else it holds, as `Module` does with its parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Tree", "flatten", "tree_map"]


class Tree(NamedTuple):
    """A container taken apart: its leaves, their paths, and how to make another one of others."""

    leaves: list[Any]
    paths: list[str]
    rebuild: Callable[..., Any]
    owned: list[bool]  # whether a leaf is that of a class with ``__tree__``


def flatten(item: Any, path: str = "") -> Tree:
    """Take a nested container apart.

    Parameters
    ----------
    item : Any
        A container of containers, or a leaf.
    path : str
        What the item is called; the paths of its leaves begin with it.

    Returns
    -------
    Tree
        ``tree.rebuild(tree.leaves)`` is equal to `item`. With ``blank=True``, what a class such as
        `Module` holds besides its leaves is left out: for gradients.

    Examples
    --------
    >>> tree = flatten({"w": [1.0, 2.0], "b": 3.0}, "x")
    >>> tree.paths
    ["x['w'][0]", "x['w'][1]", "x['b']"]
    >>> tree.rebuild([4.0, 5.0, 6.0])
    {'w': [4.0, 5.0], 'b': 6.0}
    """
    if isinstance(item, float | np.ndarray):
        return Tree([item], [path], _only, [False])
    if item is None:
        return Tree([], [], _nothing, [])
    if isinstance(item, dict):
        keys = list(item)
        parts = [flatten(item[key], f"{path}[{key!r}]") for key in keys]
        return _join(parts, lambda values: _like_dict(item, dict(zip(keys, values, strict=True))))
    if isinstance(item, tuple | list):
        named = hasattr(item, "_fields")
        fields = getattr(item, "_fields", range(len(item)))
        parts = [
            flatten(value, f"{path}.{field}" if named else f"{path}[{field}]")
            for field, value in zip(fields, item, strict=True)
        ]
        make = type(item)
        return _join(parts, lambda values: make(*values) if named else make(values))
    take_apart = getattr(type(item), "__tree__", None)
    if take_apart is not None:
        leaves, rebuild, *without = take_apart(item)
        bare = without[0] if without else rebuild
        return Tree(
            list(leaves.values()),
            [f"{path}.{name}" for name in leaves],
            lambda leaves, *, blank=False: bare(leaves) if blank else rebuild(leaves),
            [True] * len(leaves),
        )
    return Tree([item], [path], _only, [False])


def _like_dict(item: dict[Any, Any], values: dict[Any, Any]) -> dict[Any, Any]:
    if type(item) is dict:
        return values
    twin = copy.copy(item)  # whatever else a class of dicts takes to be made
    dict.update(twin, values)
    return twin


def _only(leaves: Sequence[Any], *, blank: bool = False) -> Any:
    return leaves[0]


def _nothing(leaves: Sequence[Any], *, blank: bool = False) -> None:
    return None


def _join(parts: list[Tree], make: Callable[[list[Any]], Any]) -> Tree:
    """Return the tree of a container that `make` makes of its parts."""

    def rebuild(leaves: Sequence[Any], *, blank: bool = False) -> Any:
        values = []
        start = 0
        for part in parts:
            stop = start + len(part.leaves)
            values.append(part.rebuild(leaves[start:stop], blank=blank))
            start = stop
        return make(values)

    leaves = [leaf for part in parts for leaf in part.leaves]
    paths = [path for part in parts for path in part.paths]
    return Tree(leaves, paths, rebuild, [owned for part in parts for owned in part.owned])


def tree_map(function: Callable[..., Any], item: Any, *others: Any) -> Any:
    """Return `item` with each leaf replaced by `function` of it.

    Parameters
    ----------
    function : callable
        Called with a leaf of `item`, and the leaves of `others` in the same place.
    item : Any
        A container of containers: tuples, lists, dicts, named tuples, modules.
    *others : Any
        Containers of the same structure.

    Returns
    -------
    Any
        A container like `item`.

    Raises
    ------
    TypeError
        If the structures differ.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.tree_map(lambda p, g: p - 0.1 * g, {"a": 1.0, "b": (2.0,)}, {"a": 5.0, "b": (-10.0,)})
    {'a': 0.5, 'b': (3.0,)}
    """
    first = flatten(item)
    columns = [first.leaves]
    for tree in map(flatten, others):
        found = dict(zip(tree.paths, tree.leaves, strict=True))  # dicts may differ in their order
        if found.keys() != set(first.paths) or len(tree.paths) != len(first.paths):
            raise TypeError(
                f"tree_map: the containers differ: one has the leaves {first.paths}, another "
                f"{tree.paths}"
            )
        columns.append([found[path] for path in first.paths])
    return first.rebuild([function(*leaves) for leaves in zip(*columns, strict=True)])
