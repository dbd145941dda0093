"""Options that several commands have, and the types of their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import click

from tinygrad_nn.job.inputs import Input

__all__ = ["Real", "Sizes", "input_options", "listed", "seed_option"]


class Real(click.FloatRange):
    """A finite number in a range; click's own lets nan through."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Sizes(click.ParamType):  # type: ignore[type-arg]  # generic in its stubs alone
    """Layer sizes: ``32``, ``64,32``, or ``none`` for a linear model."""

    name = "sizes"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Return the sizes."""
        if isinstance(value, tuple):
            return value
        if value.strip().lower() == "none":
            return ()
        try:
            sizes = tuple(int(part) for part in value.split(","))
        except ValueError:
            sizes = (0,)
        if min(sizes) < 1:
            self.fail(f"{value!r} is not a list of positive integers such as 64,32", param, ctx)
        return sizes


_Command = Callable[..., Any]


def _options(*decorators: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random."
)
input_options = _options(
    click.option(
        "--shapes",
        help='Inputs to draw, separated by semicolons, as in "8,3; int:8:3": 8,3 is normally '
        "distributed, float:8,3:0:1 uniform, int:8:3 integers from 0 to 2. By default the "
        "function's attribute 'shapes', or a guess.",
    ),
    click.option("--inputs", "file", help="Inputs to read: an .npz file of arrays."),
    seed_option,
)


def listed(inputs: Sequence[Input]) -> str:
    """Return a line for each input."""
    return "\n".join(f"  {item}" for item in inputs)
