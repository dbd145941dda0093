"""How operations are written for readers: as NumPy's users would write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from tinygrad_nn.graph import Node
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.rules.indexing import ARRAY, getitem, index_set, scatter_add

__all__ = ["expression", "setting", "settings"]

_LONG = 60

_INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "matmul": "@", "power": "**",
    "floor_divide": "//", "remainder": "%", "greater": ">", "greater_equal": ">=", "less": "<",
    "less_equal": "<=", "equal": "==", "not_equal": "!=",
}  # fmt: skip

_INDEXED = (getitem, index_set, scatter_add)


def expression(
    primitive: Primitive, args: Sequence[str], static: Mapping[str, Any], longest: int = _LONG
) -> str:
    """Write the application of a primitive to arguments that are written already.

    Of a long list of arguments the first and the last are written.

    Examples
    --------
    >>> from tinygrad_nn.rules.linalg import matmul
    >>> from tinygrad_nn.rules.shape import transpose
    >>> expression(matmul, ["x", "w"], {})
    'x @ w'
    >>> expression(transpose, ["x"], {})
    'x.T'
    """
    name = primitive.name
    given = {key: value for key, value in static.items() if value is not None}
    if name in _INFIX and len(args) == 2 and not given:
        return f"{args[0]} {_INFIX[name]} {args[1]}"
    if name in _METHODS and args:
        return args[0] + _METHODS[name](args[1:], given)
    if name == "within":
        return f"0 <= {args[0]} < {static['n']}"
    rest = settings(primitive, static)
    shown = list(args)
    if len(shown) > 3 and len(", ".join([*shown, rest])) > longest:
        shown = [shown[0], "...", shown[-1]]
    return f"{name}({', '.join(filter(None, [*shown, rest]))})"


def _indexed(args: Sequence[str], static: Mapping[str, Any]) -> str:
    arrays = iter(args)
    parts = [next(arrays) if part is ARRAY else setting(part) for part in static["template"]]
    return f"[{', '.join(parts) or '()'}]"


def _transposed(args: Sequence[str], static: Mapping[str, Any]) -> str:
    axes = static.get("axes")
    return ".T" if axes is None else f".transpose{setting(tuple(axes))}"


def _reshaped(args: Sequence[str], static: Mapping[str, Any]) -> str:
    shape = static["shape"]
    return f".reshape({shape if isinstance(shape, int) else ', '.join(map(str, shape))})"


#: What is written behind the first argument.
_METHODS: dict[str, Callable[[Sequence[str], Mapping[str, Any]], str]] = {
    "getitem": _indexed,
    "transpose": _transposed,
    "reshape": _reshaped,
    "ravel": lambda args, static: ".ravel()",
    "input": lambda args, static: "",  # what a transform makes of an argument
}


def settings(primitive: Primitive, static: Mapping[str, Any]) -> str:
    """Write a primitive's keywords, as in ``axis=0``."""
    parts = [
        _index(x) if primitive in _INDEXED and name == "template" else f"{name}={setting(x)}"
        for name, x in static.items()
        if x is not None
    ]
    text = ", ".join(parts)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _index(template: tuple[Any, ...]) -> str:
    """Write an index as it stands in a program, with `array` for each array in it."""
    return f"[{', '.join(map(setting, template)) or '()'}]"


def setting(x: Any) -> str:
    """Write a keyword's value; never with an address in memory, which no two runs share."""
    if isinstance(x, np.ndarray | Node):
        return f"array{x.shape}"
    if isinstance(x, slice):
        ends = ("" if end is None else str(end) for end in (x.start, x.stop, x.step))
        return ":".join(ends).removesuffix(":") or ":"
    if isinstance(x, list | tuple):
        inner = ", ".join(map(setting, x[:_LONG]))
        end = "," if len(x) == 1 else ""
        return f"[{inner}]" if isinstance(x, list) else f"({inner}{end})"
    if isinstance(x, EllipsisType):
        return "..."
    if isinstance(x, np.generic):
        return str(x.item())
    if isinstance(x, str | bool | int | float | complex | None):
        return repr(x)
    if isinstance(x, np.dtype):
        return str(x)
    return getattr(x, "__name__", type(x).__name__)
