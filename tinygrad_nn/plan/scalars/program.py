"""Programs of few operations on vectors and matrices, in the place of many on scalars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.plan.scalars.graph import ScalarGraph
from tinygrad_nn.plan.scalars.levels import Schedule, schedule
from tinygrad_nn.plan.scalars.steps import Step, written
from tinygrad_nn.plan.scalars.views import with_views
from tinygrad_nn.plan.scalars.write import write

__all__ = ["Program", "vectorise"]

#: What is longer gets a line of its own.
_LINE = 80


@dataclass
class Program:
    """What computes the roots of a graph of scalars from its leaves.

    Attributes
    ----------
    groups : list of int
        Lengths of the vectors of leaves.
    steps : list of Step
        Calls in order: all differentiable, of functions that NumPy or a primitive dispatches.
    constants : dict
        The numbers and arrays that calls use besides.
    result : int
        Which value is the vector of roots.
    nodes : int
        How many results the graph of scalars has.
    """

    groups: list[int]
    steps: list[Step]
    constants: dict[int, Any]
    result: int
    nodes: int

    def run(self, *leaves: Any) -> Any:
        """Compute the roots from one vector for each group of leaves.

        Parameters
        ----------
        *leaves : ndarray, Tensor or anything that NumPy's functions dispatch on
            One-dimensional, of the lengths of the groups that the graph was extracted with.

        Returns
        -------
        ndarray, Tensor, ...
            Shape ``(number of roots,)``, float64 if the leaves are.

        Raises
        ------
        ShapeError
            If the leaves have other shapes.
        """
        if [x.shape for x in leaves] != [(n,) for n in self.groups]:
            raise ShapeError(
                f"the program takes vectors of lengths {self.groups}, got shapes "
                f"{[x.shape for x in leaves]}; give one vector for each group of leaves"
            )
        values = dict(enumerate(leaves)) | self.constants
        for step in self.steps:
            values[step.output] = step.function(*(values[i] for i in step.inputs), *step.options)
        return values[self.result]

    def describe(self, names: Sequence[str] = ()) -> list[str]:
        r"""Write the program in lines of formulas; `names` are those of the groups of leaves.

        Examples
        --------
        >>> from tinygrad_nn import Value
        >>> from tinygrad_nn.plan.scalars import extract, vectorise
        >>> w, x = [Value(0.5) for _ in range(6)], [Value(2.0) for _ in range(8)]
        >>> def unit(w, x):
        ...     return (w[0] * x[0] + w[1] * x[1] + w[2]).tanh()
        >>> units = [unit(w[i : i + 3], x[j : j + 2]) for j in (0, 2, 4, 6) for i in (0, 3)]
        >>> program = vectorise(extract(units, [w, x]))
        >>> print(*program.describe(["w", "x"]), sep="\n")
        a = w.reshape(2, 3)
        result = tanh(x.reshape(4, 2) @ a[..., 0:2].T + a[..., 2]).reshape(8,): 8, 8 sums of 2 terms
        """
        uses = Counter(i for step in self.steps for i in step.inputs)
        users = {i: step for step in self.steps for i in step.inputs}
        uses[self.result] += 2
        plain = "leaves" if len(self.groups) == 1 else "leaves{}"
        text = {i: names[i] if i < len(names) else plain.format(i) for i in range(len(self.groups))}
        text |= {i: _shown(x) for i, x in self.constants.items()}
        rank: dict[int, int] = {}  # of the operators of expressions
        notes: dict[int, str] = {}
        lines: list[str] = []
        for step in self.steps:
            line = written(step, [text[i] for i in step.inputs], [rank.get(i) for i in step.inputs])
            note = step.note or next((notes[i] for i in step.inputs if i in notes), "")
            last = step.output == self.result
            # Sums of sums get a line each.
            apart = note and not step.is_view and step.output in users and users[step.output].note
            if uses[step.output] == 1 and len(line) <= _LINE and not apart:
                text[step.output] = line
                notes[step.output] = note
                if step.rank is not None:
                    rank[step.output] = step.rank
                continue
            name = "result" if last else _name(len(lines))
            text[step.output] = name
            size = "" if step.is_view and not last else ": " + _size(step.shape)
            lines.append(f"{name} = {line}{size}" + (note and f", {note}"))
        if not any(step.output == self.result for step in self.steps):
            lines.append(f"result = {text[self.result]}")
        return lines


def _name(i: int) -> str:
    letters = ""
    i += 1
    while i:
        i, rest = divmod(i - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _shown(x: Any) -> str:
    return f"{x:.6g}" if isinstance(x, float) else f"constant({_size(np.shape(x))})"


def vectorise(graph: ScalarGraph | Schedule) -> Program:
    """Find the vectors and matrix products in a graph of scalars.

    Parameters
    ----------
    graph : ScalarGraph or Schedule
        The graph, or its schedule where that has been computed already.

    Returns
    -------
    Program
        It computes the same to rounding: sums are taken in another order.

    Notes
    -----
    Nodes of the same level and kind become one array. Among sums of products, complete grids (each
    of some sets of factors with each of others) become matrix products, whether or not anyone
    wrote them as such; of the other sums, those whose terms come from the same arrays are added up
    by columns, and the rest of a level section by section of one long vector.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn import Value
    >>> from tinygrad_nn.plan.scalars import extract, vectorise
    >>> x = [Value(float(i)) for i in range(4)]
    >>> program = vectorise(extract([a * a + 1.0 for a in x], [x]))
    >>> program.run(np.array([0.0, 1.0, 2.0, 3.0]))
    array([ 1.,  2.,  5., 10.])
    """
    plan = graph if isinstance(graph, Schedule) else schedule(graph)
    draft, result = write(plan)
    steps, result = with_views(draft, result)
    nodes = int((plan.graph.op >= 0).sum())
    return Program(plan.graph.groups, steps, draft.constants, result, nodes)
