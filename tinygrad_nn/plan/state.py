"""What can be different at the next call: places, containers, the attributes of an object."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.source_line import SourceLine

__all__ = ["MISSING", "PLAIN", "SOURCE", "Box", "Change", "Own", "Place", "differs", "unchanged"]

#: What is compared by its value; everything else by its identity.
PLAIN = (
    type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype, range, slice,
)  # fmt: skip

#: Stands for what is not there.
MISSING = object()


def differs(now: Any, before: Any) -> bool:
    """Return whether two objects are different for a plan: plain ones by value, else by identity.

    1, 1.0 and True are different, and so are 0.0 and -0.0.
    """
    if now is before:
        return False
    kind = type(now)
    if kind is not type(before) or not issubclass(kind, PLAIN):
        return True
    if isinstance(before, float | complex | np.inexact):
        return repr(now) != repr(before)
    return bool(now != before)


def unchanged(now: Any, before: Any) -> bool:
    """Return whether two sequences hold what does not differ."""
    if len(now) != len(before):
        return False
    return all(map(operator.is_, now, before)) or not any(map(differs, now, before))


def _set_attribute(owner: Any, key: str, value: Any) -> None:
    try:
        setattr(owner, key, value)
    except AttributeError:  # of a frozen dataclass with slots
        object.__setattr__(owner, key, value)


class Place(NamedTuple):
    """Where something is found: an item, an attribute, a cell of a closure, or in the class."""

    owner: Any
    key: Any
    kind: str
    name: str
    value: Any  # what was there before the function ran

    def get(self) -> Any:
        """Return what is there now, or `MISSING`."""
        try:
            return _READ[self.kind](self.owner, self.key)
        except (KeyError, IndexError, AttributeError, ValueError):
            return MISSING

    def set(self, value: Any) -> None:
        """Put something there."""
        _WRITE[self.kind](self.owner, self.key, value)

    def source(self, owner: str) -> str:
        """Return the expression for what is there."""
        return SOURCE[self.kind].format(owner, self.key)


def _put_part(owner: partial[Any], key: str, value: Any) -> None:
    now = {"func": owner.func, "args": owner.args} | {key: value}
    owner.__setstate__((now["func"], now["args"], owner.keywords, owner.__dict__))  # type: ignore[attr-defined]  # what `copy` uses


def _put_bytes(owner: Any, _: Any, value: bytes) -> None:
    memoryview(owner).cast("B")[:] = value


_READ: dict[str, Callable[[Any, Any], Any]] = {
    "item": operator.getitem,
    "attribute": getattr,
    "class": lambda kind, key: vars(kind)[key],
    "cell": lambda cell, _: cell.cell_contents,
    "inherited": getattr,
    "slot": lambda owner, key: getattr(owner, key, MISSING),
    "part": getattr,
    "context": lambda variable, _: variable.get(MISSING),
    "referent": lambda reference, _: reference(),
    "bytes": lambda owner, _: bytes(owner),
    "array": lambda owner, _: _numbers_of(owner),
}
_WRITE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "item": operator.setitem,
    "attribute": lambda owner, key, value: _set_attribute(owner, key, value),
    "class": setattr,
    "cell": lambda cell, _, value: setattr(cell, "cell_contents", value),
    "inherited": lambda owner, key, _: vars(owner).pop(key, None),
    "slot": lambda owner, key, value: (
        object.__delattr__(owner, key)
        if value is MISSING
        else object.__setattr__(owner, key, value)  # of frozen objects as well
    ),
    "part": _put_part,
    "context": lambda variable, _, value: value is MISSING or variable.set(value),
    "referent": lambda *_: None,
    "bytes": _put_bytes,
    "array": lambda owner, _, value: _put_numbers(owner, value),
}
SOURCE = {
    "item": "{}[{!r}]",
    "attribute": "{}.{}",
    "class": "{}.__dict__[{!r}]",
    "cell": "{}.cell_contents",
    "inherited": "{}.{}",
    "part": "{}.{}",
    "referent": "{}()",
    "bytes": "bytes({})",
}


def _numbers_of(array: Any) -> Any:
    """Return the numbers of any array, a mask among them, as what can be compared."""
    found = array.view(np.ndarray)
    numbers = tuple(found.flat) if found.dtype.hasobject else found.tobytes()
    mask = np.ma.getmaskarray(array).tobytes() if isinstance(array, np.ma.MaskedArray) else b""
    return array.shape, array.dtype, numbers, mask


def _put_numbers(array: Any, value: Any) -> None:
    _, dtype, numbers, mask = value
    found = array.view(np.ndarray)
    if dtype.hasobject:
        for k, item in enumerate(numbers):
            found.flat[k] = item
    else:
        found[...] = np.frombuffer(numbers, dtype).reshape(found.shape)
    if mask:
        array.mask = np.frombuffer(mask, bool).reshape(found.shape)


class Own(NamedTuple):
    """What an object has of its own: attributes that are not there may come."""

    attributes: dict[str, Any]
    present: frozenset[str]
    absent: frozenset[str] | None  # those that the code may ask for; None for all others
    name: str

    def attribute(self, key: str) -> str:
        """Return what the program calls an attribute."""
        return f"{self.name}.{key}" if self.name else key

    def added(self) -> list[str]:
        """Return those that were not there."""
        return [
            key
            for key in self.attributes
            if key not in self.present and (self.absent is None or key in self.absent)
        ]


class Box(NamedTuple):
    """A container that can be changed in place."""

    items: Any
    name: str
    before: Any  # a copy

    def values(self) -> Any:
        """Return the elements, without the keys of a dict."""
        return self.items.values() if isinstance(self.items, dict) else self.items

    def has_changed(self, to: Any) -> bool:
        """Whether it holds something else than `to`, a copy of it."""
        if isinstance(self.items, set):
            return bool(self.items != to)
        if isinstance(self.items, dict):
            return not unchanged(self.items, to) or not unchanged(self.values(), to.values())
        return not unchanged(self.items, to)

    def restore(self) -> None:
        """Put back what was in it."""
        items = self.items
        if isinstance(items, list):
            items[:] = self.before
        else:
            items.clear()
            (items.extend if isinstance(items, deque) else items.update)(self.before)


class Change(NamedTuple):
    """What the function has itself changed."""

    name: str
    before: Any
    now: Any
    line: SourceLine | None
    remedy: str = (
        "Do it outside the compiled function, with what that returns; or keep a number as a "
        "tensor, t = tensor(0.0), and change t.data"
    )
