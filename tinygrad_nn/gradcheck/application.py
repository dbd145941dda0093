"""One application of a primitive, at its own inputs: as a subject, and at a glance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_nn.anomaly_report import input_names
from tinygrad_nn.gradcheck.constants import GLANCE_ALLOWS, GLANCE_STEP
from tinygrad_nn.gradcheck.graph_subject import GraphSubject
from tinygrad_nn.gradcheck.inputs import NATIVE, Inputs, fill
from tinygrad_nn.gradcheck.noise import signs
from tinygrad_nn.graph import Node
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.value import Value

__all__ = ["Application", "applications"]

Array = npt.NDArray[Any]


class Application(NamedTuple):
    """A node that the inputs go into, through the arguments at `places`."""

    node: Node
    places: tuple[int, ...]

    @property
    def primitive(self) -> Primitive:
        """What was applied."""
        primitive = self.node.primitive
        assert primitive is not None
        return primitive

    @property
    def values(self) -> list[Any]:
        """The numbers of all arguments."""
        return [a._value if isinstance(a, Node) else a for a in self.node.args]

    @property
    def names(self) -> list[str]:
        """What the primitive calls its arguments."""
        return input_names(self.primitive, len(self.node.args))

    @property
    def key(self) -> Any:
        """Equal for applications that compute the same."""
        kind = isinstance(self.node, Value)
        values = tuple(map(_key, self.values))
        return id(self.primitive), kind, self.places, values, _key(self.node.static)

    def subject(self) -> Alone:
        """See this application as a function of its arguments that the inputs go into."""
        return Alone(self)

    # --- at a glance -----------------------------------------------------------------------------

    def is_suspect(self, rng: np.random.Generator) -> bool:
        """Whether one-sided differences along one line contradict the rules, at a glance.

        This orders what is checked properly; it accuses nobody. Kinks are among the suspects.
        Callers switch NumPy's warnings off, once for all.
        """
        node, values = self.node, self.values
        y = node._value
        scalar = isinstance(node, Value) and not any(isinstance(a, np.ndarray) for a in values)
        try:
            if scalar:
                # Drawing numbers would take longer than all the rest; these are as good as any.
                d = {i: (abs(values[i]) or 1.0) * (1.0 - 0.3 * (i % 3)) for i in self.places}
                return self._differs(values, d, 1.0, y, float, GLANCE_STEP[8], 2.0**-52)
            sizes = [np.asarray(a).dtype.itemsize for a in (y, *(values[i] for i in self.places))]
            kind = 8 if min(sizes) >= 8 else 4
            directions = {i: _direction(np.asarray(values[i]), rng) for i in self.places}
            g = signs(rng, np.shape(y)).astype(np.asarray(y).dtype)
            eps = 2.0**-52 if kind == 8 else 2.0**-23
            return self._differs(values, directions, g, y, np.sum, GLANCE_STEP[kind], eps)
        except Exception:
            return True  # the proper check will say what is the matter

    def _differs(
        self, values: list[Any], d: dict[int, Any], g: Any, y: Any,
        total: Callable[[Any], Any], step: float, eps: float,
    ) -> bool:  # fmt: skip
        """Hold the slope along `d` that the rules give against differences each way."""
        primitive, static = self.primitive, self.node.static
        slope = size = 0.0
        for i, part in d.items():
            rule = primitive.rule(i)
            if rule is not None:
                products = rule(g, y, *values, **static) * part
                slope += total(products)
                size += total(abs(products))
        rounding = 32.0 * eps * total(abs(g * y)) + 1e-300
        for t in (step, -step):
            moved = list(values)
            for i, part in d.items():
                moved[i] = values[i] + t * part
            change = g * (primitive(*moved, **static) - y)
            allowed = GLANCE_ALLOWS[step] * (step * size + total(abs(change))) + rounding
            if not abs(total(change) - t * slope) <= allowed:
                return True
        return False


class Alone(GraphSubject):
    """An application as a function of the arguments that the inputs go into; the rest is constant.

    A complex argument is two real ones, and so is a complex result.
    """

    def __init__(self, application: Application) -> None:
        node, primitive = application.node, application.primitive
        inside = Inputs(explicit=False, dtype=NATIVE)
        template: list[Any] = []
        self.argument: dict[str, int] = {}  # by the leaf's name
        for i, (a, value, name) in enumerate(
            zip(node.args, application.values, application.names, strict=True)
        ):
            inside.explicit = i not in application.places  # else a constant
            if inside.explicit:
                constant = isinstance(value, np.ndarray) and value.dtype.kind != "c"
                template.append(inside.take(value, name) if constant else value)
            elif np.iscomplexobj(value):
                parts = [(f"{name}.real", np.real(value)), (f"{name}.imag", np.imag(value))]
                template.append(_Complex(*(inside.take(np.array(p), n) for n, p in parts)))
                self.argument |= {n: i for n, _ in parts}
            else:
                item = Value(value) if isinstance(a, Value) else np.asarray(value)
                template.append(inside.take(item, name))
                self.argument[name] = i

        def call(leaves: list[Any]) -> Any:
            args = [_joined(part) for part in fill(template, leaves)]
            y = primitive(*args, **node.static)
            return (np.real(y), np.imag(y)) if np.dtype(y.dtype).kind == "c" else y

        super().__init__(call, inside, takes_arrays=True)

    def argument_of(self, element: str) -> int | None:
        """Return which argument an element belongs to; None for a direction through several."""
        for name, i in self.argument.items():
            if element == name or element.startswith((f"{name}[", f"{name} (along")):
                return i
        return None


class _Complex(NamedTuple):
    """Slots, and then what fills them."""

    real: Any
    imag: Any


def _joined(part: Any) -> Any:
    return part.real + 1j * part.imag if isinstance(part, _Complex) else part


def applications(nodes: Iterable[Node], inputs: set[int]) -> list[Application]:
    """Return the applications that the inputs go into; nodes are in the order of creation."""
    moving = set(inputs)
    found = []
    for node in nodes:
        if node.primitive is None:
            continue
        places = tuple(
            i for i, a in enumerate(node.args) if isinstance(a, Node) and a.serial in moving
        )
        if not places:
            continue
        moving.add(node.serial)
        if any(np.size(node.args[i]._value) for i in places):
            found.append(Application(node, places))
    return found


def _direction(a: Array, rng: np.random.Generator) -> Array:
    size = np.where(a == 0.0, abs(a).max(initial=0.0) or 1.0, abs(a))
    return np.asarray(size * signs(rng, a.shape)).astype(a.dtype)


def _key(item: Any) -> Any:
    """Return something hashable that is equal for equal values only."""
    if isinstance(item, float):
        return item or str(item)  # 0.0 and -0.0 are equal, and not the same
    if isinstance(item, np.ndarray):
        data = np.ascontiguousarray(item).data if item.dtype != object else repr(item).encode()
        return item.dtype.str, item.shape, hashlib.blake2b(data, digest_size=16).digest()
    if isinstance(item, dict):
        return tuple((name, _key(part)) for name, part in item.items())
    if isinstance(item, list | tuple):
        return type(item), tuple(map(_key, item))
    try:
        hash(item)
    except TypeError:
        return id(item)
    return type(item), item
