"""Modules that can be called, for packages named after the one function that they are about."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["make_callable"]


def make_callable(module: str, function: Callable[..., Any]) -> None:
    """Let ``module(...)`` be ``function(...)``.

    ``tinygrad_nn.draw`` is a package, and importing it binds that name in ``tinygrad_nn`` whatever
    stood there before; so the package itself answers when the function of that name is called.
    That way neither has to be imported before it is used, which keeps ``import tinygrad_nn`` quick.
    """
    members = {"__call__": staticmethod(function), "__doc__": function.__doc__}
    package = sys.modules[module]
    package.__class__ = type("CallableModule", (ModuleType,), members)
    package.__doc__ = f"{package.__doc__}\n\nCalled, it is `{function.__name__}`:\n\n" + (
        inspect.getdoc(function) or ""
    )
    package.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # set on purpose
