"""The steps of a vector program, and how they read."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_nn.plan.scalars.affine import Shape
from tinygrad_nn.rules import TABLE

__all__ = ["Step", "joined", "written"]


def joined(*parts: Any) -> Any:
    """Put vectors one behind the other."""
    return np.concatenate(parts)


@dataclass
class Step:
    """One call: ``values[output] = function(*(values[i] for i in inputs), *options)``."""

    function: Callable[..., Any]
    inputs: tuple[int, ...]
    options: tuple[Any, ...]
    output: int
    shape: Shape
    note: str = ""

    @property
    def is_view(self) -> bool:
        """Whether it computes nothing."""
        return self.function in _VIEWS

    @property
    def rank(self) -> int | None:
        """How closely the sign binds that it is written with, if it is."""
        sign = _OPERATORS.get(self.function)
        return None if sign is None else 1 + (sign in "*@/")


def _index(x: str, index: tuple[Any, ...]) -> str:
    return f"{x}[{', '.join(map(_part, index))}]"


def _part(part: Any) -> str:
    if isinstance(part, slice):
        ends = ["" if end is None else str(end) for end in (part.start, part.stop, part.step)]
        return ":".join(ends[: 2 + (part.step is not None)])
    return "..." if part is Ellipsis else str(part)


_VIEWS: dict[Any, Callable[..., str]] = {
    np.reshape: lambda x, shape: f"{x}.reshape{shape}",
    np.transpose: lambda x, axes: f"{x}.T" if axes == (1, 0) else f"{x}.transpose{axes}",
    operator.getitem: _index,
}

_OPERATORS: dict[Any, str] = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.matmul: "@", TABLE["divide"]: "/"
}  # fmt: skip

_CALLS: dict[Any, Callable[..., str]] = {
    np.sum: lambda x, axis: f"sum({x}, axis={axis})",
    np.take: lambda x, places: f"take({x}, {places.size:,} places)",
    np.add.reduceat: lambda x, starts: f"sums of {len(starts):,} sections of {x}",
    joined: lambda *parts: f"join({', '.join(parts)})",
}


def written(step: Step, inputs: Sequence[str], ranks: Sequence[int | None]) -> str:
    """Return a step as an expression of its inputs, which are put in brackets by their ranks.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.plan.scalars.steps import Step, written
    >>> written(Step(np.matmul, (0, 1), (), 2, (3, 3)), ["x + y", "w.T"], [1, None])
    '(x + y) @ w.T'
    """
    sign = _OPERATORS.get(step.function)
    least = step.rank or (3 if step.is_view else 0)
    inputs = [
        x if rank is None or rank >= least + (i > 0 and sign is not None) else f"({x})"
        for i, (x, rank) in enumerate(zip(inputs, ranks, strict=True))
    ]
    if sign is not None:
        return f" {sign} ".join(inputs)
    known = _VIEWS.get(step.function) or _CALLS.get(step.function)
    if known is not None:
        return known(*inputs, *step.options)
    return f"{getattr(step.function, 'name', '?')}({', '.join(inputs)})"
