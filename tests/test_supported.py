"""The page that lists what every NumPy function is here: differentiable, constant, or unsupported.

``python tests/test_supported.py`` writes docs/supported-functions.md anew, from the table.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import CALLS

from tinygrad_nn import NotDifferentiableError, tensor
from tinygrad_nn.dispatch import INSTEAD, PLAIN, dispatch_function
from tinygrad_nn.primitive import BY_FUNCTION, COMPOSITES

PAGE = Path(__file__).parents[1] / "docs" / "supported-functions.md"
MODULES = {"np": np, "np.linalg": np.linalg, "np.fft": np.fft}
METHODS = ("reduce", "accumulate", "outer", "reduceat")

HEAD = """\
# Which NumPy functions can be differentiated

This page is written by `python tests/test_supported.py` from the table of primitives, and a test
compares the two. It lists every function of `numpy`, `numpy.linalg` and `numpy.fft` that hands its
work to the class of its arguments. On tensors each is one of three things:

* **differentiable**: it works through NumPy's own name, with derivatives of any order, forward and
  in reverse, for any argument that is not named as constant;
* **constant**: it works and carries no gradient, because its derivative is zero wherever it has
  one, or because it tells about shapes and types;
* **unsupported**: it raises `NotDifferentiableError`, which names the function.

Functions that make arrays of numbers (`np.zeros`, `np.arange`, `np.eye`...) know nothing of tensors
and work as ever. `np.array` and `np.asarray` of a tensor that requires a gradient raise an error,
since they would drop it: use `np.stack`. A keyword of a function that is not listed as missing
works; `out=` never does.
"""


def functions() -> dict[Callable[..., Any], list[str]]:
    """Collect the functions that dispatch, with all names that NumPy has for each."""
    found: dict[Callable[..., Any], list[str]] = {}
    for prefix, module in MODULES.items():
        for name in dir(module):
            f = getattr(module, name)
            dispatches = type(f).__name__ == "_ArrayFunctionDispatcher"
            if not name.startswith("_") and (dispatches or isinstance(f, np.ufunc)):
                found.setdefault(f, []).append(f"{prefix}.{name}")
    return found


def differentiable_calls() -> set[Callable[..., Any]]:
    """Return the compositions of which a sample's result depends on its inputs."""
    return {call.function for call in CALLS if _moves(call(*(_leaf(x) for x in call.draw())))}


def _leaf(x: Any) -> Any:
    return tensor(x, requires_grad=True)


def _moves(y: Any) -> bool:
    if isinstance(y, tuple | list):
        return any(map(_moves, y))
    return bool(getattr(y, "requires_grad", False))


def status(f: Callable[..., Any], moving: set[Callable[..., Any]]) -> str:
    if f in BY_FUNCTION:
        return "differentiable" if BY_FUNCTION[f].differentiable else "constant"
    if f in COMPOSITES:
        return "differentiable" if f in moving else "constant"
    return "constant" if f in PLAIN else "unsupported"


def remarks(f: Callable[..., Any]) -> str:
    """Say what a primitive is constant in, and which keywords of NumPy's it lacks."""
    p = BY_FUNCTION.get(f)
    if p is None:
        return ""
    notes = []
    if p.differentiable and p.arity:
        fixed = [str(i + 1) for i in range(p.arity) if p.rule(i) is None]
        notes += [f"constant in argument {' and '.join(fixed)}"] if fixed else []
    if not isinstance(f, np.ufunc):
        try:
            own = list(inspect.signature(f).parameters)
        except ValueError:
            own = []
        taken = p.static_names | {"out", "kwargs", "casting", "order", "subok"}
        missing = [k for k in own[1 if p.variadic else p.arity or 0 :] if k not in taken]
        notes += [f"without `{', '.join(missing)}`"] if missing else []
    return "; ".join(notes)


def methods(f: Callable[..., Any]) -> Iterator[str]:
    if isinstance(f, np.ufunc) and f.nin == 2 and f.nout == 1:
        for method in METHODS:
            bound = getattr(f, method)
            if bound in BY_FUNCTION or bound in COMPOSITES:
                yield method


def page() -> str:
    """Return the text of the page."""
    moving = differentiable_calls()
    found = functions()
    rows: dict[str, list[str]] = {"differentiable": [], "constant": [], "unsupported": []}
    for f, names in sorted(found.items(), key=lambda item: item[1][0].lower()):
        rows[status(f, moving)].append(_row(f, names))
    counts = {kind: len(lines) for kind, lines in rows.items()}
    parts = [
        HEAD,
        f"\nOf {len(found)} functions "
        + ", ".join(f"{n} are {kind}" for kind, n in counts.items())
        + ".\n",
    ]
    for kind, lines in rows.items():
        parts.append(f"\n## {kind.capitalize()}\n")
        parts.append("\n" + "\n".join(lines) + "\n")
    return "\n".join(textwrap.dedent(part) for part in parts).replace("\n\n\n", "\n\n")


def _row(f: Callable[..., Any], names: list[str]) -> str:
    first, *others = [f"`{name}`" for name in names]
    notes = [f"also {', '.join(others)}"] if others else []
    found = list(methods(f))
    notes += [f"and its `{'`, `'.join(found)}`"] if found else []
    notes += [remarks(f)] if remarks(f) else []
    notes += [f"use `{INSTEAD[f]}`"] if f in INSTEAD else []
    return f"* {first}" + (f" ({'; '.join(notes)})" if notes else "")


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text() == page(), "run `python tests/test_supported.py`"


KNOWN = BY_FUNCTION.keys() | COMPOSITES.keys() | PLAIN


@pytest.mark.parametrize("f", [f for f in functions() if f not in KNOWN], ids=lambda f: f.__name__)
def test_what_is_unsupported_is_refused_by_name(f: Callable[..., Any]) -> None:
    x = tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    name = re.escape(f.__name__)
    takes_one = (
        len(inspect.signature(f).parameters) == 1 if not isinstance(f, np.ufunc) else f.nin == 1
    )
    with pytest.raises(NotDifferentiableError, match=rf"\b{name}\b"):
        dispatch_function(f, (x,) if takes_one else (x, x), {})


if __name__ == "__main__":
    PAGE.write_text(page())
