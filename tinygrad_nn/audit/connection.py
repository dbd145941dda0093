"""disconnected: the parameters of a model that no gradient of a loss gets to, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

import numpy as np

from tinygrad_nn.audit.cuts import Trace, behind, watched
from tinygrad_nn.audit.table import as_html, as_text, first_line
from tinygrad_nn.backward import pull_back
from tinygrad_nn.errors import LossError, TinygradError
from tinygrad_nn.graph import Node, enable_grad
from tinygrad_nn.nn.module import Module
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.tensor import Tensor

__all__ = ["Disconnected", "Disconnection", "disconnected"]

#: Rows that the printed table has room for, and places named for each parameter.
_ROWS = 20
_PLACES = 3

_ASK_FOR_MORE = (
    "To be told the lines where numbers left the graph, give a function that computes the loss: "
    "disconnected(lambda: loss_function(model(x), y), model)."
)


@dataclass(frozen=True, slots=True)
class Disconnection:
    """A parameter that no gradient of the loss gets to.

    Attributes
    ----------
    name : str
        The parameter's qualified name.
    shape : tuple of int
        Its shape.
    why : str
        Where the path ends, as far as can be known.
    """

    name: str
    shape: tuple[int, ...]
    why: str


@dataclass(repr=False)
class Disconnected(Sequence[Disconnection]):
    """What is disconnected: a sequence of `Disconnection`, empty and false if nothing is.

    Attributes
    ----------
    findings : list of Disconnection
        One per parameter without a path to the loss.
    zero : list of str
        Names of parameters with a path whose gradient is exactly 0 nevertheless.
    frozen : list of str
        Names of parameters that are frozen, and so have no gradient on purpose.
    notes : list of str
        What could not be told.
    total : int
        Number of parameters that are not frozen.
    """

    findings: list[Disconnection] = field(default_factory=list)
    zero: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    total: int = 0

    @overload
    def __getitem__(self, index: int) -> Disconnection: ...
    @overload
    def __getitem__(self, index: slice) -> list[Disconnection]: ...
    def __getitem__(self, index: int | slice) -> Disconnection | list[Disconnection]:
        return self.findings[index]

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def names(self) -> list[str]:
        """The qualified names of what is disconnected."""
        return [finding.name for finding in self.findings]

    @property
    def headline(self) -> str:
        """The outcome in one line."""
        if not self.findings:
            return f"disconnected: nothing; the loss reaches all {self.total} parameters"
        return (
            f"disconnected: {len(self)} of {self.total} parameters get no gradient from this loss"
        )

    def _rows(self) -> list[tuple[str, str, str]]:
        return [(f.name, str(f.shape), f.why) for f in self.findings[:_ROWS]]

    def _below(self) -> list[str]:
        more = len(self) - _ROWS
        lines = [f"... and {more} more"] if more > 0 else []
        if self.zero:
            lines.append(f"reached, but the gradient is exactly 0: {_listed(self.zero)}")
        if self.frozen:
            lines.append(f"frozen: {_listed(self.frozen)}")
        return lines + self.notes

    def __str__(self) -> str:
        return as_text(self.headline, self._rows(), self._below())

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, strings and numbers."""
        return {
            "connected": not self.findings,
            "findings": [asdict(f) | {"shape": list(f.shape)} for f in self.findings],
            "zero": list(self.zero),
            "frozen": list(self.frozen),
            "notes": list(self.notes),
            "total": self.total,
        }

    def _repr_html_(self) -> str:
        columns = ("parameter", "shape", "where the path ends")
        return as_html(self.headline, columns, self._rows(), self._below())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _ROWS} more" if len(names) > _ROWS else ""
    return ", ".join(names[:_ROWS]) + more


def disconnected(loss: Any, model: Any) -> Disconnected:
    """Find the parameters of a model that no gradient of a loss gets to, and where it was cut.

    Parameters
    ----------
    loss : Tensor, Value or callable
        The loss as it was computed; or a function without arguments that computes it, which is
        called once and watched, so that the report can name the lines where numbers left the
        graph.
    model : Module, or anything that has ``parameters()``
        Whose parameters are asked for.

    Returns
    -------
    Disconnected
        A sequence with an entry for each such parameter, empty (and false) if there is none.
        Printed, it is a table.

    Raises
    ------
    TypeError
        If `loss` is neither a node nor a function, or `model` has no ``parameters()``.
    LossError
        If the function returns no node.

    Notes
    -----
    A finished graph holds what the loss was computed from, and no trace of what was cut off. Of a
    loss that is given as a tensor the report says which modules' results are in the graph, which
    is only known of modules that were called, as ``module(x)``. Of a function it says more: each
    line that took numbers computed from the parameter out of the graph. Lines that do so on
    purpose (to print them) are among these.

    A gradient that is exactly 0 (behind a dead rectifier, a factor 0) is noted, and does not make
    a parameter disconnected.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> from tinygrad_nn.audit import disconnected
    >>> model = tg.nn.MLP(2, [3, 1], rng=0)
    >>> loss = np.mean(model.layers[1](model.layers[0](np.ones((4, 2))).detach()))
    >>> disconnected(loss, model).names
    ['layers.0.weight', 'layers.0.bias']
    """
    named, frozen = _parameters(model)
    trace = None
    notes = [_ASK_FOR_MORE]
    if callable(loss):
        with watched() as trace, enable_grad():
            loss = loss()
        if not isinstance(loss, Node):
            last = f" (the last to do so: {trace.cuts[-1]})" if trace and trace.cuts else ""
            raise LossError(
                f"the function returned a plain {type(loss).__name__}; it must return the loss as "
                f"a tensor, before .item(), .data or float() takes it out of the graph{last}"
            )
        if trace is None:
            notes = ["The lines are not known: another profiler is at work in this thread."]
    if not isinstance(loss, Node):
        raise TypeError(
            f"disconnected takes the loss as a tensor, or a function that computes it, got "
            f"{type(loss).__name__}; after .item() or float() no graph is left to look at"
        )
    reached = behind([loss])
    report = Disconnected(frozen=frozen, total=len(named))
    why = _Explanation(loss, model, reached, trace)
    report.findings = [
        Disconnection(name, parameter.shape, why(name, parameter))
        for name, parameter in named
        if parameter.serial not in reached
    ]
    alive = [(name, parameter) for name, parameter in named if parameter.serial in reached]
    _note_zeros(loss, alive, report)
    if report and trace is None:
        report.notes += notes
    return report


def _parameters(model: Any) -> tuple[list[tuple[str, Any]], list[str]]:
    """Return the parameters of a model by name, and the names of those that are frozen."""
    if isinstance(model, Module):
        frozen = [name for name, tensor in model.named_tensors() if tensor.frozen]
        return list(model.named_parameters()), frozen
    if not hasattr(model, "parameters"):
        raise TypeError(f"disconnected takes a model with parameters(), got {type(model).__name__}")
    return [
        (p.label or f"parameters[{i}]", p)
        for i, p in enumerate(model.parameters())
        if p.requires_grad
    ], []


def _note_zeros(loss: Node, alive: list[tuple[str, Any]], report: Disconnected) -> None:
    """Note the parameters of `alive` whose gradient is exactly 0."""
    if not alive:
        return
    seed = np.ones(loss.shape, loss.dtype) if isinstance(loss, Tensor) else 1.0
    try:
        with np.errstate(all="ignore"):
            _, gradients = pull_back([(loss, seed)])
    except TinygradError as error:
        report.notes.append(f"The gradient itself was not looked at: {first_line(error)}")
        return
    report.zero = [
        name
        for name, parameter in alive
        if np.size(parameter._value) and not np.any(gradients.get(parameter.serial, 0.0))
    ]


class _Explanation:
    """Says of a parameter why a loss does not reach it."""

    def __init__(
        self, loss: Node, model: Any, reached: dict[int, Node], trace: Trace | None
    ) -> None:
        self.loss = loss
        self.trace = trace
        self.modules = list(model.named_modules()) if isinstance(model, Module) else []
        # Where a gradient ends inside the graph: a result without one (integers), or an argument
        # that a primitive is constant in; and what stands behind it.
        self.ends = [
            (_constant(node, a).name, behind([a], constants=True))
            for node in reached.values()
            for a in node.args
            if isinstance(a, Node) and a.serial not in reached
        ]
        everything = behind([loss], constants=True).values()
        self.called = {id(scope.module()) for node in everything for scope in node.scopes}

    def __call__(self, name: str, parameter: Any) -> str:
        """Say where the path ends that should lead from the parameter to the loss."""
        if self.trace is None and not self.loss.requires_grad:
            return (
                "the loss depends on nothing that requires a gradient: it was computed under "
                "no_grad(), or from plain arrays"
            )
        places = self.trace.of(parameter) if self.trace is not None else []
        if places:
            more = f" and {len(places) - _PLACES} more" if len(places) > _PLACES else ""
            return "left the graph by " + "; ".join(places[:_PLACES]) + more
        ends = dict.fromkeys(end for end, nodes in self.ends if parameter.serial in nodes)
        if ends:
            return f"only through what is constant: {', '.join(ends)}"
        if self.trace is None or not isinstance(parameter, Tensor):  # Values are not watched
            return self._by_modules(name)
        if parameter.serial in self.trace.used:
            return "used, but nothing that was computed from it is part of the loss"
        return "never used in this computation" + self._is_called(name)

    def _is_called(self, name: str) -> str:
        around = self._around(name)
        return f": is {_title(*around[0])} called?" if around else ""

    def _by_modules(self, name: str) -> str:
        """Tell from the modules whose results are in the graph of the loss."""
        around = self._around(name)
        if not around or not self.called:
            return (
                "not in the graph of the loss: not used, or cut off (.data, .detach(), no_grad())"
            )
        owner = _title(*around[0])
        present = [_title(*item) for item in around if id(item[1]) in self.called]
        if owner in present:
            return f"not used in {owner}, or cut off inside: its result is in the graph of the loss"
        inside = f", inside {present[0]}" if present else ""
        return f"{owner} was not called, or its result was cut off afterwards{inside}"

    def _around(self, name: str) -> list[tuple[str, Module]]:
        """Return the modules around a parameter, innermost first."""
        around = [item for item in self.modules if not item[0] or name.startswith(f"{item[0]}.")]
        return sorted(around, key=lambda item: -len(item[0]))


def _constant(node: Node, argument: Node) -> Primitive:
    """Return the primitive that ends the gradient on the way from a node to its argument."""
    end = node if argument.requires_grad or argument.primitive is None else argument
    assert end.primitive is not None
    return end.primitive


def _title(name: str, module: Module) -> str:
    return f"`{name}`" if name else f"the model ({type(module).__name__})"
