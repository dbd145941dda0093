"""The docstrings of the public names: whoever asks help() is told all that a call needs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tinygrad_nn.primitive import Primitive

MODULES = ["tinygrad_nn", "tinygrad_nn.nn", "tinygrad_nn.nn.init", "tinygrad_nn.losses",
           "tinygrad_nn.optim", "tinygrad_nn.activations", "tinygrad_nn.scalar",
           "tinygrad_nn.draw", "tinygrad_nn.gradcheck", "tinygrad_nn.audit", "tinygrad_nn.autograd",
           "tinygrad_nn.transforms"]  # fmt: skip

NUMPY = "NumPy documents it"
BASE = "a base class: Tensor and Value are what one makes"
RESULT = "a result that functions return: their examples show it"
ERROR = "an error, raised and never called"

#: Name -> why it may lack an example (and, for NumPy's functions and errors, the sections too).
EXEMPT = {
    "tanh": NUMPY,
    "Node": BASE,
    "Drawing": RESULT, "Description": RESULT, "Vertex": RESULT, "Edge": RESULT, "Cluster": RESULT,
    "Disconnected": RESULT, "Disconnection": RESULT, "LossFinding": RESULT, "LossReport": RESULT,
    "Figures": RESULT, "Finding": RESULT, "GradcheckReport": RESULT, "Taylor": RESULT,
    "TinygradError": ERROR, "ShapeError": ERROR, "NotDifferentiableError": ERROR,
    "StaleGraphError": ERROR, "LossError": ERROR, "GradcheckError": ERROR,
    "MissingExtraError": ERROR, "AnomalyError": ERROR, "GraphvizMissingError": ERROR,
    "CaptureError": ERROR,
}  # fmt: skip


def public() -> dict[str, Any]:
    """Collect what can be called, each object once, by its shortest public name."""
    found: dict[int, tuple[str, Any]] = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            obj = getattr(module, name)
            if callable(obj) and not isinstance(obj, ModuleType):
                found.setdefault(id(obj), (f"{module.__name__}.{name}", obj))
    return dict(found.values())


PUBLIC = public()


def sections(docstring: str) -> dict[str, str]:
    """Split a numpydoc docstring at its underlined titles; the summary stands under ''."""
    title, *rest = re.split(r"^(\w[\w ]*)\n-+\n", docstring, flags=re.MULTILINE)
    return {"": title.strip()} | dict(zip(rest[::2], rest[1::2], strict=True))


def documented(section: str) -> list[str]:
    """Return the names that a section of parameters describes, in their order."""
    heads = [line for line in section.splitlines() if re.match(r"[*\w]", line)]
    return [name.strip().lstrip("*") for head in heads for name in head.split(" : ")[0].split(",")]


def problems(name: str, obj: Any) -> list[str]:
    """Say what the docstring of a public object lacks."""
    found = sections(inspect.getdoc(obj) or "")
    exempt = EXEMPT.get(name.rpartition(".")[2])
    lacking = []
    if not found[""].partition("\n")[0].endswith("."):
        lacking.append("a summary of one line that ends in a full stop")
    if "Examples" not in found and exempt is None:
        lacking.append("Examples")
    if "Examples" in found and ">>> " not in found["Examples"]:
        lacking.append("a doctest under Examples")
    if exempt in (NUMPY, ERROR):
        return lacking
    function = obj.forward if isinstance(obj, Primitive) else obj
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters if not p.startswith("_")]
    described = documented(found.get("Parameters", ""))
    if isinstance(obj, type):
        # Attributes of a result are described in the class, its parameters need not be.
        parameters = parameters if described else []
    elif "Returns" not in found and signature.return_annotation not in (None, "None"):
        lacking.append("Returns")
    if described != parameters:
        lacking.append(f"Parameters {parameters}, described are {described}")
    return lacking


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_are_complete(name):
    assert not problems(name, PUBLIC[name]), name


def test_the_exemptions_are_of_use():
    by_name = {name.rpartition(".")[2]: obj for name, obj in PUBLIC.items()}
    assert not set(EXEMPT) - set(by_name)
    for name, reason in EXEMPT.items():
        obj = by_name[name]
        assert "Examples" not in sections(inspect.getdoc(obj)), f"{name} has an example"
        assert (reason == ERROR) == (isinstance(obj, type) and issubclass(obj, Exception)), name
        assert (reason == NUMPY) == isinstance(getattr(obj, "forward", None), np.ufunc), name


@pytest.mark.parametrize(
    "name", [name for name, obj in PUBLIC.items() if isinstance(obj, Primitive)]
)
def test_examples_of_primitives_run(name):
    """Primitives are no functions to Python, so pytest does not find their doctests by itself."""
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    test = doctest.DocTestParser().get_doctest(PUBLIC[name].__doc__, {}, name, None, None)
    report: list[str] = []
    failed = doctest.DocTestRunner(optionflags=flags).run(test, out=report.append).failed
    assert not failed, "".join(report)


def _none(x, y=1):
    return x


def _sparse(x, y=1) -> float:
    """Do something.

    Parameters
    ----------
    x : float
    z : float
    """
    return x


def _whole(x, *rest, key=None) -> None:
    """Do something.

    Parameters
    ----------
    x, *rest : float
        Numbers.
    key
        As elsewhere.

    Examples
    --------
    >>> 1
    1
    """


@pytest.mark.parametrize(
    ("function", "lacking"),
    [
        (_none, ["a summary", "Examples", "Returns", "Parameters ['x', 'y']"]),
        (_sparse, ["Examples", "Returns", "Parameters ['x', 'y'], described are ['x', 'z']"]),
        (_whole, []),
    ],
)
def test_what_is_missing_is_found(function, lacking):
    found = problems(function.__name__, function)
    assert len(found) == len(lacking)
    assert all(f.startswith(expected) for f, expected in zip(found, lacking, strict=True)), found
