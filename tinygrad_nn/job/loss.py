"""Losses by name or from a file, called with care: what comes back must be one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_nn import losses
from tinygrad_nn.errors import LossError
from tinygrad_nn.graph import Node
from tinygrad_nn.job.errors import JobError
from tinygrad_nn.job.load import blame, load_function

__all__ = ["INDEPENDENT", "LOSSES", "UserFunction", "find_loss", "scalar_or_raise"]

_SQUARED = "squared standard deviations"
_PLAIN = "standard deviations"

#: What is wrong with a result that has a gradient, but none to learn from; without its subject.
INDEPENDENT = (
    "returned a number that does not depend on the prediction, so no parameter gets a gradient: "
    "compute it from the prediction's own tensor, not from .data, .detach() or a new tensor"
)

#: Losses by name, with the task that each is for and its unit.
LOSSES: dict[str, tuple[Callable[..., Any], str, str]] = {
    "cross_entropy": (losses.cross_entropy, "classify", "nats"),
    "mse_loss": (losses.mse_loss, "regress", _SQUARED),
    "l1_loss": (losses.l1_loss, "regress", _PLAIN),
    "huber_loss": (losses.huber_loss, "regress", _SQUARED),
}


@dataclass(frozen=True)
class UserFunction:
    """A function with what messages and figures say about it.

    Parameters
    ----------
    function : callable
    name : str
        Its own name.
    spec : str
        What the user typed for it.
    task : str
        "classify" or "regress" where it is for one of them only, else empty.
    unit : str
        Of what it returns, where known.
    """

    function: Callable[..., Any]
    name: str
    spec: str
    task: str = ""
    unit: str = ""

    @classmethod
    def load(cls, spec: str, modules: dict[str, ModuleType] | None = None) -> UserFunction:
        """Load ``FILE.py:FUNCTION``; its attribute `unit`, if any, says what it returns.

        `modules` is as for `tinygrad_nn.job.load.load_function`.
        """
        function = load_function(spec, modules)
        name = spec.rpartition(":")[2]
        return cls(function, name, spec, unit=str(getattr(function, "unit", "")))

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Call the function; see `guard`."""
        return self.guard(self.function, *args, **keywords)

    def guard(self, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """Call something that runs the user's code.

        Raises
        ------
        JobError
            If it raises; the message has the line of the user's file.
        """
        try:
            return function(*args, **keywords)
        except (Exception, SystemExit) as error:
            file = self.spec.rpartition(":")[0]
            raise JobError(f"{self.spec} raised {blame(error, file)}") from error

    def loss(self, prediction: Any, *targets: Any) -> Any:
        """Call the function as a loss.

        Raises
        ------
        JobError
            If it raises, or does not return a tensor of one number that depends on `prediction`.
        """
        result = self(prediction, *targets)
        try:
            scalar_or_raise(result)
        except LossError as error:
            raise JobError(f"{self.spec} {error}") from None
        return result


def scalar_or_raise(result: Any) -> None:
    """Accept what ``backward`` can start from.

    Raises
    ------
    LossError
        Saying what was returned, for anything else; a sentence without its subject.
    """
    if not isinstance(result, Node):
        kind = "nothing (None)" if result is None else f"a {type(result).__name__}"
        raise LossError(
            f"returned {kind}, which is detached from the prediction: compute with the tensor's "
            f"own operators and NumPy's functions, and return the tensor itself, not .item() or "
            f".data"
        )
    if np.prod(result.shape) != 1:
        raise LossError(
            f"returned a tensor of shape {result.shape}; a loss is one number: "
            f"reduce it with .mean() or .sum()"
        )
    if not result.requires_grad:
        raise LossError(
            "returned a number that is detached from the prediction, so it has no gradient: it "
            "does not depend on the prediction, or went through .data, .detach() or no_grad()"
        )


def find_loss(spec: str, modules: dict[str, ModuleType] | None = None) -> UserFunction:
    """Return a loss of the library by its name, or load ``FILE.py:FUNCTION``.

    Parameters
    ----------
    spec : str
    modules : dict, optional
        As for `tinygrad_nn.job.load.load_function`.

    Raises
    ------
    JobError
        If there is none of that name, or it cannot be loaded.
    """
    if spec in LOSSES:
        function, task, unit = LOSSES[spec]
        return UserFunction(function, spec, spec, task, unit)
    if ":" not in spec:
        raise JobError(f"unknown loss {spec!r}; known are {', '.join(LOSSES)}, or FILE.py:FUNCTION")
    return UserFunction.load(spec, modules)
