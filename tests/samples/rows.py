"""How samples are written: a row for a primitive, a call of a NumPy function made of primitives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_nn.primitive import REAL, Domain

Array = np.ndarray
Row = tuple[str, tuple[Any, ...], dict[str, Any]]


def row(name: str, *inputs: Any, **static: Any) -> Row:
    """Name a primitive, its inputs (a shape stands for random numbers), and its keywords."""
    return name, inputs, static


@dataclass(frozen=True)
class Random:
    """Stands for an array of random numbers, all of them inputs to differentiate."""

    shape: tuple[int, ...]
    domain: Domain = REAL


def r(*shape: int, domain: Domain = REAL) -> Random:
    return Random(shape, domain)


@dataclass(frozen=True)
class Call:
    """A call of a NumPy function: `Random` anywhere in its arguments is differentiated."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: dict[str, Any] = field(default_factory=dict)
    twice: bool = True  # whether second derivatives are compared with numerical ones

    def __str__(self) -> str:
        shown = [*map(_show, self.args), *(f"{k}={_show(v)}" for k, v in self.keywords.items())]
        return f"{_name(self.function)}({', '.join(shown)})"

    def draw(self) -> list[Array]:
        """Return numbers for each `Random`, the same in every run."""
        places = list(_randoms((self.args, self.keywords)))
        rng = np.random.default_rng([len(places), *(n for p in places for n in p.shape)])
        return [rng.uniform(*p.domain, p.shape) for p in places]

    def __call__(self, *inputs: Any) -> Any:
        """Call the function with `inputs` in the places of the random arrays."""
        rest = iter(inputs)
        args = _fill(self.args, rest)
        return self.function(*args, **_fill(self.keywords, rest))


def call(function: Callable[..., Any], *args: Any, **keywords: Any) -> Call:
    return Call(function, args, keywords)


def _name(function: Callable[..., Any]) -> str:
    """Return the name of a function: unlike its `repr`, the same in every process."""
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", repr(function))
    prefix = module.removeprefix("numpy").lstrip(".")
    return f"{prefix}{'.' if prefix else ''}{name}"


def _show(item: Any) -> str:
    if isinstance(item, Random):
        return f"r{item.shape}"
    if callable(item) and not isinstance(item, type):
        return _name(item)
    if isinstance(item, list | tuple):
        inside = ", ".join(map(_show, item))
        return f"[{inside}]" if isinstance(item, list) else f"({inside},)"
    return repr(item)


def _randoms(item: Any) -> Iterator[Random]:
    if isinstance(item, Random):
        yield item
    elif isinstance(item, list | tuple):
        for part in item:
            yield from _randoms(part)
    elif isinstance(item, dict):
        for part in item.values():
            yield from _randoms(part)


def _fill(item: Any, inputs: Iterator[Any]) -> Any:
    if isinstance(item, Random):
        return next(inputs)
    if isinstance(item, list | tuple):
        return type(item)([_fill(part, inputs) for part in item])
    if isinstance(item, dict):
        return {key: _fill(part, inputs) for key, part in item.items()}
    return item
