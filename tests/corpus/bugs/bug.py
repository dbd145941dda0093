"""What a bug is: a function from a case, and the position of an input, to a case that is wrong."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_nn as tg

from ..case import Case, Rule

__all__ = ["Bug", "after", "before", "one", "raw", "some", "spoilt"]

#: None where the bug makes no sense for this input. State that a bug has is made anew each time.
Bug = Callable[[Case, int], Case | None]


def spoilt(case: Case, i: int, rule: Rule | None) -> Case:
    """The case with another rule for input `i`."""
    rules = [rule if k == i else r for k, r in enumerate(case.rules)]
    return dataclasses.replace(case, rules=rules)


def after(change: Callable[[Any, Any], Any]) -> Bug:
    """A bug in what a rule returns: ``change(cotangent, x)``."""

    def bug(case: Case, i: int) -> Case:
        right: Any = case.rules[i]
        return spoilt(case, i, lambda g, y, *inputs: change(right(g, y, *inputs), inputs[i]))

    return bug


def before(change: Callable[[Any], Any]) -> Bug:
    """A bug in the use of the upstream gradient: ``change(g)``."""

    def bug(case: Case, i: int) -> Case:
        right: Any = case.rules[i]
        return spoilt(case, i, lambda g, y, *inputs: right(change(g), y, *inputs))

    return bug


def raw(x: Any) -> Any:
    """The numbers without their history."""
    return x.data if isinstance(x, tg.Tensor) else x


def one(x: Any) -> Any:
    """Zeros with a one, somewhere that depends on the shape alone."""
    mask = np.zeros(x.shape)
    if mask.size:
        mask.flat[zlib.crc32(repr(x.shape).encode()) % mask.size] = 1.0
    return mask.astype(x.dtype)


def some(x: Any) -> Any:
    """A mask of about half of the elements."""
    return (np.random.default_rng(x.size).random(x.shape) < 0.5).astype(x.dtype)
