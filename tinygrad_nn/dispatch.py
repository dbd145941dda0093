"""What NumPy's functions do when they meet a node: NumPy hands the call to the node's class.

Each is looked up among the primitives and their compositions. What is missing is refused by name,
because NumPy itself would go on with an array of objects, or with numbers cut off their graph.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.graph import Node
from tinygrad_nn.primitive import BY_FUNCTION, COMPOSITES, bind, defaults

__all__ = ["INSTEAD", "PLAIN", "Dispatching", "dispatch_function", "dispatch_ufunc", "no_out"]

#: Harmless functions of an array that are about its layout or its plain numbers: they are answered
#: from the data.
PLAIN: frozenset[Callable[..., Any]] = frozenset(
    [np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.common_type, np.min_scalar_type,
     np.iscomplexobj, np.isrealobj, np.may_share_memory, np.shares_memory,
     np.zeros_like, np.ones_like, np.empty_like,
     np.array_equal, np.array_equiv, np.allclose, np.isclose,
     np.array_repr, np.array_str, np.array2string,
     np.argsort, np.argpartition, np.lexsort, np.nanargmax, np.nanargmin,
     np.nonzero, np.count_nonzero, np.flatnonzero, np.argwhere, np.searchsorted, np.digitize,
     np.isin, np.unique_counts, np.diag_indices_from,
     np.tril_indices_from, np.triu_indices_from, np.ix_, np.unravel_index, np.ravel_multi_index,
     np.packbits, np.unpackbits, np.einsum_path, np.linalg.matrix_rank]
)  # fmt: skip

#: What does the same with functions that are here, for some that are not.
INSTEAD: dict[Callable[..., Any], str] = {
    np.put: "t.at[index].set(values)", np.place: "np.where(mask, values, t)",
    np.putmask: "np.where(mask, values, t)", np.copyto: "np.where(mask, source, t)",
    np.put_along_axis: "tinygrad_nn.put_along_axis",
    np.add.at: "t.at[index].add(values)", np.subtract.at: "t.at[index].add(-values)",
    np.multiply.at: "t.at[index].multiply(values)", np.maximum.at: "t.at[index].max(values)",
    np.minimum.at: "t.at[index].min(values)",
    np.fill_diagonal: "t.at[np.diag_indices(n)].set(values)",
    np.save: "np.save(file, t.data)",
    np.savez: "np.savez(file, t.data)", np.savetxt: "np.savetxt(file, t.data)",
    np.poly: "np.polyval with the roots' factors", np.roots: "np.linalg.eigvals",
    np.polyfit: "np.linalg.lstsq with np.vander",
}  # fmt: skip


class Dispatching:
    """What NumPy's functions can be called with: they hand the call on, to the table."""

    __slots__ = ()

    def __array_ufunc__(
        self, function: np.ufunc, method: str, *inputs: Any, **keywords: Any
    ) -> Any:
        return dispatch_ufunc(function, method, inputs, keywords)

    def __array_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Any:
        return dispatch_function(function, args, keywords)


def no_out(name: str) -> NotDifferentiableError:
    """Return the error for a result that would be written into an array."""
    return NotDifferentiableError(
        f"{name} cannot write a recorded result into an existing array (`out=`, or an in-place "
        f"operator such as `array += tensor`). Use the result as a new tensor: "
        f"`array = array + tensor`"
    )


# Keywords of every ufunc at the values that they have by default.
_DEFAULTS = {"where": True, "dtype": None, "casting": "same_kind", "order": "K", "subok": True}


def dispatch_ufunc(
    function: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """Answer a NumPy ufunc that met a node."""
    if not keywords and method == "__call__" and function in BY_FUNCTION:  # nearly always
        return BY_FUNCTION[function](*inputs)
    name = function.__name__ if method == "__call__" else f"{function.__name__}.{method}"
    keywords = {k: v for k, v in keywords.items() if k not in _DEFAULTS or v is not _DEFAULTS[k]}
    if any(o is not None for o in keywords.pop("out", ())):
        raise no_out(f"np.{name}")
    if method in ("reduce", "accumulate"):
        keywords.setdefault("axis", 0)
    if method not in ("__call__", "outer"):
        return dispatch_function(getattr(function, method), inputs, keywords, name)
    composite = COMPOSITES.get(function)
    target = BY_FUNCTION.get(function) or composite
    if target is None:
        raise _unsupported(name)
    if composite is not None and keywords.keys() <= defaults(composite).keys():
        return composite(*inputs, **keywords)
    if keywords:
        raise NotDifferentiableError(
            f"np.{name} on tensors does not take {', '.join(keywords)}; use np.where "
            f"to select, and t.astype to convert"
        )
    if method == "outer":
        a, b = inputs
        return target(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b)
    return target(*inputs)


def dispatch_function(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    keywords: dict[str, Any],
    name: str | None = None,
) -> Any:
    """Answer a NumPy function that met a node."""
    if keywords.get("out") is not None:
        raise no_out(f"np.{name or function.__name__}")
    target = BY_FUNCTION.get(function)
    if target is not None:
        arrays, static = bind(function, target, args, keywords, name)
        return target(*arrays, **static)
    composite = COMPOSITES.get(function)
    if composite is not None:
        place = _place_of_out(composite)
        if len(args) > place and args[place] is not None:
            raise no_out(f"np.{name or function.__name__}")
        return composite(*args, **keywords)
    if function in PLAIN:
        return function(*_raw(args), **_raw(keywords))
    module = (function.__module__ or "").removeprefix("numpy").lstrip(".")
    raise _unsupported(name or f"{module}.{function.__name__}".lstrip("."), INSTEAD.get(function))


@cache
def _place_of_out(composite: Callable[..., Any]) -> int:
    """Return the place of `out` among the arguments of a function, beyond all if it has none."""
    parameters = inspect.signature(composite).parameters
    out = parameters.get("out")
    positional = out is not None and out.kind is out.POSITIONAL_OR_KEYWORD
    return list(parameters).index("out") if positional else sys.maxsize


def _raw(value: Any) -> Any:
    if isinstance(value, Node):
        return value._seen()
    if isinstance(value, tuple | list):
        return type(value)(map(_raw, value))
    if isinstance(value, dict):
        return {key: _raw(item) for key, item in value.items()}
    return value


def _unsupported(name: str, instead: str | None = None) -> NotDifferentiableError:
    use = f"Use {instead}" if instead else "Write it with functions that have one"
    return NotDifferentiableError(
        f"np.{name} has no derivative rule for tensors. {use}, give it one with "
        f"@tinygrad_nn.primitive, or call it on `t.data` where no gradient is needed"
    )
