"""From the plan of a compiled function to the description that every drawing is made from."""

from __future__ import annotations

from typing import Any

from tinygrad_nn.draw.description import Cluster, Description, Edge, Vertex
from tinygrad_nn.notation import settings
from tinygrad_nn.plan.build import Plan
from tinygrad_nn.plan.cells import Data, Option
from tinygrad_nn.plan.explain import headline, lines_of, names_of, place
from tinygrad_nn.plan.tape import Constant, Instruction, Var

__all__ = ["describe_plan"]

#: Expressions up to this length stand in a box; of longer ones, the operation's name.
_LONG = 30

#: So many parameters that go into one instruction, or more, share a box.
_MANY = 4


def describe_plan(plan: Plan) -> Description:
    """Describe a plan: a box for each instruction, in a frame for each line of the program.

    Views are left out: what is computed from a view is drawn as computed from the whole. What comes
    from outside is drawn in each frame that uses it.
    """
    return _Picture(plan).description()


class _Picture:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.names = names_of(plan)
        self.views = {i.out: i for i in plan.tape.instructions if i.view}
        self.nodes: list[Vertex] = []
        self.edges: dict[tuple[int, int], Edge] = {}
        self.clusters: dict[str, int] = {}
        self.index: dict[Any, int] = {}  # of results; of what is outside, together with the frame
        self.left = self._left_behind()

    def description(self) -> Description:
        lines = lines_of(self.plan.tape)
        for i in self.plan.tape.instructions:
            if i.view:
                continue
            cluster = self.clusters.setdefault(place(lines[i]), len(self.clusters))
            sources = self._sources(i, cluster)
            target = self.index[i.out] = len(self.nodes)
            self.nodes.append(self._result(i, cluster))
            for source in sources:
                self.edges.setdefault((source, target), Edge(source, target, 0))
        clusters = tuple(Cluster("", title, -1) for title in self.clusters)
        return Description(
            tuple(self.nodes), tuple(self.edges.values()), clusters, headline(self.plan)
        )

    def _whole(self, v: Var) -> Var:
        while v in self.views:
            v = self.views[v].inputs[0]
        return v

    def _left_behind(self) -> dict[Var, list[str]]:
        """Return where each result goes when all has been computed."""
        found: dict[Var, list[str]] = {}
        for cell, v in self.plan.tape.writes:
            if v is not None:
                found.setdefault(self._whole(v), []).append(self.names.cell(cell))
        for v in self.plan.tape.outputs:
            found.setdefault(self._whole(v), []).append("the caller")
        return found

    def _sources(self, i: Instruction, cluster: int) -> list[int]:
        wholes = list(dict.fromkeys(self._whole(v) for v in i.inputs))
        outside = [v for v in wholes if not v.is_result]
        parameters = [v for v in outside if isinstance(v.origin, Data)]
        found = [self.index[v] for v in wholes if v.is_result]
        if len(parameters) >= _MANY:
            found.append(self._together(parameters, cluster))
            outside = [v for v in outside if v not in parameters]
        return found + [
            self._outside(v, cluster)
            for v in outside
            if not isinstance(v.origin, Constant) or self.names(v).startswith("constant")
        ]

    def _outside(self, v: Var, cluster: int) -> int:
        key = v.origin if not isinstance(v.origin, Constant) else v, cluster
        if key not in self.index:
            self.index[key] = len(self.nodes)
            role = _ROLES.get(type(v.origin), "input")
            vertex = Vertex(role, self.names(v), "", "", *_kind(v), None, None, cluster)
            self.nodes.append(vertex)
        return self.index[key]

    def _together(self, parameters: list[Var], cluster: int) -> int:
        key = tuple(parameters), cluster
        if key not in self.index:
            self.index[key] = len(self.nodes)
            first, last = self.names(parameters[0]), self.names(parameters[-1])
            label = f"{first} … {last}"
            text = f"{len(parameters)} parameters"
            vertex = Vertex("parameter", label, "", text, "", "", None, None, cluster)
            self.nodes.append(vertex)
        return self.index[key]

    def _result(self, i: Instruction, cluster: int) -> Vertex:
        names = self.names
        computed = names.expression(i)
        said = ""
        if len(computed) > _LONG:
            computed = i.primitive.name
            said = settings(i.primitive, i.static)
        targets = _listed([t for t in self.left.get(i.out, ()) if t != names(i.out)])
        role = "output" if i.out in self.left else "intermediate"
        label = f"{names(i.out)} = {computed}"
        return Vertex(role, label, "", said, *_kind(i.out), None, None, cluster, targets)


_ROLES = {Data: "parameter", Option: "constant"}


def _kind(v: Var) -> tuple[str, str]:
    return str(v.shape), str(v.dtype)


def _listed(texts: list[str]) -> str:
    """List what is left behind; of many, the first and how many more."""
    return ", ".join(texts) if len(texts) < 3 else f"{texts[0]} and {len(texts) - 1} more"
