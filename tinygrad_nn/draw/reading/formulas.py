"""Derivative rules as formulas, read off the rules themselves.

A rule is code in recorded operations. Called with symbols named `g`, `y` and after the inputs, it
writes itself down: there is no second table to keep true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tinygrad_nn.anomaly_report import input_names
from tinygrad_nn.dispatch import PLAIN, Dispatching, dispatch_function
from tinygrad_nn.draw.figures import number
from tinygrad_nn.graph import Node
from tinygrad_nn.notation import expression, settings
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.rules import indexing, reduction
from tinygrad_nn.rules import shape as shaping
from tinygrad_nn.rules.complex import conjugate

__all__ = ["Formulas"]

#: A longer formula explains nothing; on the way to it, more may stand in brackets.
_LONGEST = 90
_UNFINISHED = 400

#: So many arguments are told apart; a sum of a thousand terms has one rule.
_FEW = 4

# How tightly what has been written holds together; brackets go around what holds less than it must.
_COMPARISON, _SUM, _MATRIX, _PRODUCT, _SIGN, _POWER, _ATOM = range(7)

# Primitive -> sign, how tightly it holds, and how tightly its left and right side must hold.
_INFIX = {
    "add": ("+", _SUM, _SUM, _SUM),
    "subtract": ("−", _SUM, _SUM, _PRODUCT),
    "multiply": ("·", _PRODUCT, _PRODUCT, _PRODUCT),
    "divide": ("/", _PRODUCT, _PRODUCT, _SIGN),
    "floor_divide": ("//", _MATRIX, _SIGN, _SIGN),
    "remainder": ("%", _MATRIX, _SIGN, _SIGN),
    "matmul": ("@", _MATRIX, _SIGN, _SIGN),
    "greater": (">", _COMPARISON, _SUM, _SUM),
    "greater_equal": ("≥", _COMPARISON, _SUM, _SUM),
    "less": ("<", _COMPARISON, _SUM, _SUM),
    "less_equal": ("≤", _COMPARISON, _SUM, _SUM),
    "equal": ("=", _COMPARISON, _SUM, _SUM),
    "not_equal": ("≠", _COMPARISON, _SUM, _SUM),
}

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

# What changes shape and type alone; at this level of detail it goes without saying.
_SILENT = frozenset(
    ["input", "lift", "item", "astype", "positive", "conjugate", "reshape", "ravel", "expand_dims",
     "broadcast_to", "squeeze"]
)  # fmt: skip

# Keywords that say lengths and types.
_UNSAID = frozenset(["shape", "dtype", "n", "optimize", "keepdims"])

Rules = tuple[tuple[str, str], ...]


class _TooLongError(Exception):
    """There is no short formula."""


class _Symbol(Dispatching, NDArrayOperatorsMixin):
    """A small array and how it is written; what is computed from it is written in its terms."""

    __array_ufunc__ = Dispatching.__array_ufunc__

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, keywords: dict[str, Any]
    ) -> Any:
        if function in PLAIN:
            return function(*(a.example if isinstance(a, _Symbol) else a for a in args), **keywords)
        return dispatch_function(function, args, keywords)

    def __init__(
        self, example: Any, text: str, holds: int = _ATOM, negated: _Symbol | None = None
    ) -> None:
        self.example = np.asarray(example)
        self.text = text
        self.holds = holds
        self.negated = negated  # what this is the negative of

    shape = property(lambda self: self.example.shape)
    ndim = property(lambda self: self.example.ndim)
    size = property(lambda self: self.example.size)
    dtype = property(lambda self: self.example.dtype)
    T = property(lambda self: shaping.transpose(self))
    real = property(lambda self: np.real(self))
    imag = property(lambda self: np.imag(self))

    def __len__(self) -> int:
        return len(self.example)

    def __getitem__(self, index: Any) -> Any:
        template, arrays = indexing.split_index(index)
        return indexing.getitem(self, *arrays, template=template)

    def astype(self, dtype: Any, copy: bool = True) -> _Symbol:
        return _Symbol(self.example.astype(dtype), self.text, self.holds, self.negated)

    def reshape(self, *lengths: Any) -> Any:
        return shaping.reshape(self, shape=lengths[0] if len(lengths) == 1 else lengths)

    def conj(self) -> Any:
        return conjugate(self)

    def sum(self, **keywords: Any) -> Any:
        return reduction.sum_(self, **keywords)

    @staticmethod
    def __primitive__(primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
        raw = [a.example if isinstance(a, _Symbol) else a for a in args]
        example = primitive.forward(*raw, **static)
        if isinstance(example, tuple):
            raise _TooLongError
        written = _applied(primitive, [_written(a) for a in args], static)
        if len(written.text) > _UNFINISHED:
            raise _TooLongError
        return _Symbol(example, written.text, written.holds, written.negated)


class Formulas:
    """Writes the rules of nodes, those of each kind of node once."""

    def __init__(self) -> None:
        self._known: dict[Any, Rules] = {}

    def __call__(self, node: Node) -> Rules:
        """Return (name of the argument, formula of its cotangent), where a gradient goes.

        Empty for a leaf. A rule that has no short formula is left out.
        """
        primitive = node.primitive
        if primitive is None:
            return ()
        args = node.args
        key: Any = [primitive.name, id(primitive)]
        for a in args[:_FEW]:
            key.append(a.requires_grad if isinstance(a, Node) else str(_number(a)))
        key = tuple(key)
        if not primitive.elementwise or node.static:
            shapes = tuple(np.shape(a._value if isinstance(a, Node) else a) for a in args)
            key = (key, shapes, settings(primitive, node.static))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _rules(primitive, node)
        return known


def _number(a: Any) -> float | int | None:
    """Return what is known to be one number, whatever the inputs."""
    return a if isinstance(a, float | int) else None


def _rules(primitive: Primitive, node: Node) -> Rules:
    args = node.args
    names = input_names(primitive, len(args))
    if primitive.elementwise:
        return _traced(primitive, node, names, _middles(primitive, args))
    # Small arrays will do, unless lengths make a difference to what is written (of a mean).
    found = [_traced(primitive, node, names, _small(args, first)) for first in (2, 3)]
    if found[0] is not None and found[0] == found[1]:
        return found[0]
    return _traced(primitive, node, names, [a._value if isinstance(a, Node) else a for a in args])


def _traced(
    primitive: Primitive, node: Node, names: Sequence[str], examples: Sequence[Any]
) -> Rules:
    """Write the rules down as they work on symbols; nothing of what fails."""
    args = node.args
    inputs = [
        example if _number(a) is not None else _Symbol(example, name)
        for a, example, name in zip(args, examples, names, strict=True)
    ]
    found = []
    with np.errstate(all="ignore"), suppress(Exception):  # the numbers may not suit
        y = _Symbol(primitive.forward(*examples, **node.static), "y")
        for i, a in enumerate(args[:_FEW]):
            rule = primitive.rule(i) if isinstance(a, Node) and a.requires_grad else None
            if rule is None:
                continue
            with suppress(Exception):  # a rule may do anything with what it gets
                c = rule(_Symbol(np.ones(y.shape), "g"), y, *inputs, **node.static)
                text = _bare(_written(c).text)
                if len(text) <= _LONGEST:
                    found.append((names[i], text))
    return tuple(found)


def _middles(primitive: Primitive, args: Sequence[Any]) -> list[Any]:
    """Return a number from the domain of each argument, or the one that it is."""
    middles = [(low + high) / 2 or 0.5 for low, high in primitive.domain]
    middles += [0.5] * (len(args) - len(middles))
    return [m if _number(a) is None else a for a, m in zip(args, middles, strict=False)]


def _small(args: Sequence[Any], first: int) -> list[Any]:
    """Return arrays of as many axes, of lengths from `first` on; equal ones stay equal."""
    arrays = [np.asarray(a._value if isinstance(a, Node) else a) for a in args]
    lengths = sorted({n for a in arrays for n in a.shape if n > 1})
    small = {0: 0, 1: 1, **dict(zip(lengths, count(first), strict=False))}
    found = []
    for a in arrays:
        shape = [small[n] for n in a.shape]
        size = int(np.prod(shape))
        values = np.cos(np.arange(1.0, size + 1.0)) if a.dtype.kind in "fc" else np.zeros(size)
        found.append(values.astype(a.dtype).reshape(shape))
    return found


def _written(a: Any) -> _Symbol:
    if isinstance(a, _Symbol):
        return a
    x = np.asarray(a)
    if x.size and np.all(x == x.flat[0]):  # ones and zeros of some shape
        text = number(x.flat[0].item()).removesuffix(".0")
        return _negative(_Symbol(-x, text[1:])) if text.startswith("-") else _Symbol(x, text)
    return _Symbol(x, "a constant")


def _applied(primitive: Primitive, args: Sequence[_Symbol], static: dict[str, Any]) -> _Symbol:
    name = primitive.name
    if name in _SILENT:
        return args[0]
    if name == "getitem" and args[0].text.isdigit():
        return args[0]  # ones, of another shape
    write = _WRITERS.get(name)
    if write is not None:
        return write(*args)
    if name in _INFIX and len(args) == 2:
        return _infix(name, *args)
    said = {
        k: v for k, v in static.items() if k not in _UNSAID and v is not None and v is not False
    }
    return _Symbol(0, expression(primitive, [a.text for a in args], said))


def _infix(name: str, a: _Symbol, b: _Symbol) -> _Symbol:
    sign, holds, left, right = _INFIX[name]
    if name == "multiply":
        if a.text == b.text:
            return _raised(a, 2)
        if "1" in (a.text, b.text):
            return b if a.text == "1" else a
        if a.negated is not None:
            return _negative(_infix(name, a.negated, b))
        if b.negated is not None:
            return _negative(_infix(name, a, b.negated))
    if name == "divide" and a.negated is not None:
        return _negative(_infix(name, a.negated, b))
    if name == "add" and b.negated is not None:
        return _infix("subtract", a, b.negated)
    if name == "matmul" and "1" in (a.text, b.text):
        return _Symbol(0, f"sum({b.text if a.text == '1' else a.text})")
    if name == "matmul" and a.holds == _MATRIX:
        left = _MATRIX  # of three matrices in a row, the order is of no account
    return _Symbol(0, f"{_held(a, left)} {sign} {_held(b, right)}", holds)


def _held(x: _Symbol, least: int) -> str:
    return x.text if x.holds >= least else f"({x.text})"


def _raised(x: _Symbol, exponent: int) -> _Symbol:
    return _Symbol(0, f"{_held(x, _ATOM)}{str(exponent).translate(_SUPERSCRIPT)}", _POWER)


def _power(base: _Symbol, exponent: _Symbol) -> _Symbol:
    if exponent.text == "1":
        return base
    if exponent.text.isdigit():
        return _raised(base, int(exponent.text))
    return _Symbol(0, f"{_held(base, _ATOM)}^{_held(exponent, _ATOM)}", _POWER)


def _negative(x: _Symbol) -> _Symbol:
    return x.negated if x.negated is not None else _Symbol(0, f"−{_held(x, _PRODUCT)}", _SIGN, x)


def _where(c: _Symbol, a: _Symbol, b: _Symbol) -> _Symbol:
    """Write a choice; one that guards against infinity is about the computer, not the rule."""
    if c.text in ("True", "False"):
        return a if c.text == "True" else b
    if c.text.endswith("= inf"):
        return b
    # Where c does not hold, a choice by c has been made.
    chosen = rf"\([^\s()]+ where {re.escape(c.text)}, else ((?:[^()]|\([^()]*\))*)\)"
    otherwise = re.sub(chosen, lambda match: _bracketed(match[1]), b.text)
    return _Symbol(0, f"({a.text} where {c.text}, else {otherwise})")


def _bracketed(text: str) -> str:
    return f"({text})" if re.search(r" (?![^(]*\))", text) else text


def _bare(text: str) -> str:
    """Take off the brackets around a choice that is all there is."""
    return text[1:-1] if text.startswith("(") and " where " in text and _closes(text) else text


def _closes(text: str) -> bool:
    """Whether the first bracket closes with the last."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if not depth:
            return i == len(text) - 1
    return False


_WRITERS: dict[str, Callable[..., _Symbol]] = {
    "negative": _negative,
    "power": _power,
    "where": _where,
    "keep": lambda c, x: _where(c, x, _Symbol(0, "0")),
    "square": lambda x: _raised(x, 2),
    "reciprocal": lambda x: _infix("divide", _Symbol(1, "1"), x),
    "sqrt": lambda x: _Symbol(0, f"√{_held(x, _ATOM)}", _POWER),
    "transpose": lambda x: _Symbol(0, f"{_held(x, _ATOM)}ᵀ"),
    "swapaxes": lambda x: _Symbol(0, f"{_held(x, _ATOM)}ᵀ"),
    "absolute": lambda x: _Symbol(0, f"|{x.text}|"),
    "sum_to": lambda x: _Symbol(0, f"sum({x.text})"),
    "logical_or": lambda a, b: _Symbol(0, f"{a.text} or {b.text}", _COMPARISON),
    "logical_and": lambda a, b: _Symbol(0, f"{a.text} and {b.text}", _COMPARISON),
    "logical_not": lambda x: _Symbol(0, f"not {_held(x, _SUM)}", _COMPARISON),
}
