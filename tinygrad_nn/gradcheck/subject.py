"""What is checked: a user's function or model, seen as a function of one flat float64 vector."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.backward import pull_back, reachable
from tinygrad_nn.errors import LossError
from tinygrad_nn.forward import push_forward
from tinygrad_nn.graph import Node, enable_grad, no_grad
from tinygrad_nn.nn.module import Module
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.tree import flatten
from tinygrad_nn.value import Value

__all__ = ["Leaf", "Subject", "flat", "function_subject", "model_subject", "precision"]

Array = npt.NDArray[Any]

#: What a function raises where it is not defined; a step of the check may well get there.
UNDEFINED = (ArithmeticError, ValueError, AssertionError)


@dataclass(slots=True)
class Leaf:
    """An input whose gradient is checked: its name, its value, and how to make a node of it."""

    name: str
    array: Array
    make: Callable[[Array], Node]


def _distinct(leaves: list[Leaf]) -> list[Leaf]:
    """Give leaves of equal name a number: labels are the user's, and may well be equal."""
    seen: dict[str, int] = {}
    for leaf in leaves:
        times = seen[leaf.name] = seen.get(leaf.name, 0) + 1
        if times > 1:
            leaf.name = f"{leaf.name} ({times})"
    return leaves


class Subject:
    """A function of a flat float64 vector, and the gradients that the engine gives it.

    Parameters
    ----------
    call : callable
        ``call(nodes)`` computes the output from one node per leaf.
    inputs : _Inputs
        The inputs that are checked, as leaves, and those that are not.

    Attributes
    ----------
    x : ndarray, shape (n,)
        All elements of all leaves, one leaf behind the other.
    sizes : dict of str to int
        Elements of each leaf by name.
    constants : list of str
        Names of floating inputs that are not checked.
    takes_arrays : bool
        Whether the function may be called with arrays in place of nodes.
    evaluations : int
        How often the function was called.
    """

    def __init__(
        self, call: Callable[[list[Node]], Any], inputs: _Inputs, *, takes_arrays: bool = False
    ) -> None:
        leaves = _distinct(inputs.leaves)
        if not leaves:
            raise TypeError(
                "gradcheck found no input to check: it needs at least one floating array, tensor, "
                "Value or float (an array of integers is a constant; convert it with "
                "x.astype(float))"
            )
        if not any(leaf.array.size for leaf in leaves):
            raise TypeError(
                f"gradcheck found no input to check: no elements in "
                f"{', '.join(leaf.name for leaf in leaves)}; at least one input needs some"
            )
        self._call = call
        self._leaves = leaves
        self._constants = inputs.constants
        self._originals = [(name, array.copy()) for name, array in inputs.constants]
        self.constants = [name for name, array in inputs.constants if array.dtype.kind == "f"]
        stops = np.cumsum([leaf.array.size for leaf in leaves]).tolist()
        starts = [0, *stops[:-1]]
        self.slices = [slice(a, b) for a, b in zip(starts, stops, strict=True)]
        self.x = np.concatenate([leaf.array.ravel() for leaf in leaves])
        self.names = [leaf.name for leaf in leaves]
        self.sizes = {leaf.name: leaf.array.size for leaf in leaves}
        self.evaluations = 0
        self.dtype: np.dtype[Any] = np.dtype(np.float64)
        self.takes_arrays = takes_arrays

    def name(self, i: int) -> str:
        """Name element `i` of the flat vector, as in ``weight[3, 2]``."""
        for leaf, part in zip(self._leaves, self.slices, strict=True):
            if i < part.stop:
                index = np.unravel_index(i - part.start, leaf.array.shape)
                inside = ", ".join(str(int(k)) for k in index)
                return f"{leaf.name}[{inside}]" if inside else leaf.name
        raise IndexError(i)

    def run(self, x: Array) -> tuple[list[Node], list[Node]]:
        """Call the function at `x` and return the nodes of the leaves and of the output."""
        self.evaluations += 1
        nodes = [
            leaf.make(x[part].reshape(leaf.array.shape))
            for leaf, part in zip(self._leaves, self.slices, strict=True)
        ]
        with enable_grad():
            output = self._call(nodes)
        return nodes, list(_outputs(output))

    def unreached(self, leaves: list[Node], outputs: list[Node]) -> list[str]:
        """Return the names of the inputs that the outputs do not depend on; empty ones count."""
        live = reachable(node for node in outputs if node.requires_grad)
        return [
            name
            for name, node in zip(self.names, leaves, strict=True)
            if node.serial not in live or not self.sizes[name]
        ]

    def value(self, x: Array) -> Array:
        """Return all numbers of the output at `x`, shape (m,)."""
        return flat(self.run(x)[1])

    def on_arrays(self, x: Array) -> Array | None:
        """Return the output for plain arrays; None if the function does not take them."""
        arrays = [
            x[part].reshape(leaf.array.shape).copy()
            for leaf, part in zip(self._leaves, self.slices, strict=True)
        ]
        if not self.takes_arrays:
            return None
        try:
            with np.errstate(all="ignore"), no_grad():
                parts = flatten(self._call(arrays)).leaves  # type: ignore[arg-type]  # arrays in place of nodes
            return np.concatenate([np.ravel(np.asarray(p, np.float64)) for p in parts])
        except Exception:
            return None  # it wants tensors, and has been called with them already

    def try_value(self, x: Array, m: int) -> Array:
        """Return the output at `x`, or m times nan where the function is not defined."""
        try:
            with np.errstate(all="ignore"):
                y = self.value(x)
        except UNDEFINED:
            return np.full(m, np.nan)
        return y if y.size == m else np.full(m, np.nan)

    def gradients(self, x: Array, cotangents: Array) -> Array:
        """Return the gradient for each row of `cotangents` (K, m), shape (K, n)."""
        leaves, outputs = self.run(x)
        return np.array([self._pull(leaves, outputs, g) for g in cotangents]).reshape(
            len(cotangents), x.size
        )

    def _pull(self, leaves: list[Node], outputs: list[Node], g: Array) -> Array:
        with np.errstate(all="ignore"):
            _, cotangents = pull_back(_seeds(outputs, g, _like))
        return self._gather(leaves, cotangents)

    def _gather(self, leaves: list[Node], cotangents: dict[int, Any]) -> Array:
        result = np.zeros(self.x.size)
        for node, part in zip(leaves, self.slices, strict=True):
            c = cotangents.get(node.serial, 0.0)
            result[part] = np.ravel(c._value if isinstance(c, Node) else c)
        return result

    def slope(self, x: Array, v: Array, g: Array) -> float | None:
        """Return ``<g, J v>`` by forward mode; None where a user's rule does not take tensors."""
        leaves, outputs = self.run(x)
        tangents = [
            (node, _like(node, v[part])) for node, part in zip(leaves, self.slices, strict=True)
        ]
        moving = [(node, c) for node, c in _seeds(outputs, g, _like)]
        try:
            with np.errstate(all="ignore"):
                found = push_forward(tangents, [node for node, _ in moving])
        except Exception:
            return None
        pairs = zip(found, moving, strict=True)
        return float(sum(np.sum(np.multiply(t, c)) for t, (_, c) in pairs if t is not None))

    def second_gradients(self, x: Array, g: Array, directions: Array) -> Array:
        """Return the gradient of ``<gradient for g, v>`` for each row v (K, n), shape (K, n)."""
        leaves, outputs = self.run(x)
        result = np.zeros(directions.shape)
        with np.errstate(all="ignore"), enable_grad():
            _, first = pull_back(_seeds(outputs, g, _node_like), record=True)
            # Without a node the gradient is constant, and its derivative zero.
            recorded = [
                (first[node.serial], part)
                for node, part in zip(leaves, self.slices, strict=True)
                if isinstance(first.get(node.serial), Node) and first[node.serial].requires_grad
            ]
            for k, v in enumerate(directions):
                seeds = [(c, _like(c, v[part])) for c, part in recorded]
                if seeds:
                    result[k] = self._gather(leaves, pull_back(seeds)[1])
        return result

    def modified(self, nodes: list[Node], x: Array) -> list[str]:
        """Return the names of the inputs that the function has written to."""
        names = [
            leaf.name
            for leaf, node, part in zip(self._leaves, nodes, self.slices, strict=True)
            if not np.array_equal(np.ravel(node._value), x[part], equal_nan=True)
        ]
        names += [
            name
            for (name, array), (_, original) in zip(self._constants, self._originals, strict=True)
            if not np.array_equal(array, original, equal_nan=array.dtype.kind == "f")
        ]
        return names


# --- what the function returns -------------------------------------------------------------------


def _outputs(output: Any) -> Iterator[Node]:
    """Yield the nodes of an output: one, or a tuple, list or dict of them."""
    if isinstance(output, Node):
        dtype = _dtype(output)
        if dtype.kind != "f":
            raise LossError(
                f"the function returned a {type(output).__name__} of dtype {dtype}, and "
                f"only floating numbers have a derivative; a comparison, a count or an index is "
                f"constant"
            )
        yield output
    elif isinstance(output, tuple | list):
        for item in output:
            yield from _outputs(item)
    elif isinstance(output, dict):
        yield from _outputs(list(output.values()))
    elif output is None:
        raise LossError("the function returned None; is a `return` missing?")
    elif isinstance(output, np.ndarray | np.generic | int | float):
        raise LossError(
            f"the function returned a plain {type(output).__name__}, which no gradient can be "
            f"taken of: somewhere it left the graph (t.data, t.item()), or it does not use its "
            f"inputs. Compute with operators and NumPy's functions on the tensors themselves"
        )
    else:
        raise LossError(
            f"the function must return a Tensor or Value, or a tuple of them; it returned "
            f"{type(output).__name__}"
        )


def flat(outputs: list[Node]) -> Array:
    """Return all numbers of the outputs, one behind the other, in float64."""
    if not outputs:
        return np.zeros(0)
    return np.concatenate([np.ravel(np.asarray(o._value, np.float64)) for o in outputs])


def precision(outputs: list[Node]) -> np.dtype[Any]:
    """Return the least precise dtype that the outputs were computed in: the graph shows it."""
    dtypes = {_dtype(node) for node in reachable(outputs).values()} | {np.dtype(np.float64)}
    return max(dtypes, key=lambda dtype: np.finfo(dtype).eps)


def _dtype(node: Node) -> np.dtype[Any]:
    return node.dtype if isinstance(node, Tensor) else np.dtype(np.float64)


def _like(node: Node, g: Array) -> Any:
    """Give numbers the form of a cotangent of `node`."""
    return g.reshape(node.shape).astype(_dtype(node)) if isinstance(node, Tensor) else float(g[0])


def _node_like(node: Node, g: Array) -> Any:
    """Give numbers the form of a recorded cotangent of `node`."""
    c = _like(node, g)
    return Tensor(c) if isinstance(node, Tensor) else c


def _seeds(
    outputs: list[Node], g: Array, form: Callable[[Node, Array], Any]
) -> list[tuple[Node, Any]]:
    """Cut `g` into a cotangent for each output that has a gradient."""
    sizes = [math.prod(node.shape) for node in outputs]
    parts = np.split(g, np.cumsum(sizes)[:-1])
    return [
        (node, form(node, part))
        for node, part in zip(outputs, parts, strict=True)
        if node.requires_grad
    ]


# --- what the user gave --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Slot:
    """Stands in the inputs for the leaf of this number."""

    index: int


class _Inputs:
    """Takes inputs apart into leaves, constants, and the containers that they came in."""

    def __init__(self, explicit: bool) -> None:
        self.explicit = explicit  # only what says requires_grad=True is checked
        self.leaves: list[Leaf] = []
        self.constants: list[tuple[str, Array]] = []

    def take(self, item: Any, name: str) -> Any:
        """Return `item` with slots for what is checked and copies of what is not."""
        if isinstance(item, Value):
            name = item.label or name
            return self._slot(name, item.data, lambda a: Value(a.item(), label=name))
        if isinstance(item, Tensor):
            name = item.label or name
            floating = _is_floating(item.data, name)
            if floating and (item.requires_grad or not self.explicit):
                return self._slot(name, item.data, _tensor_maker(name))
            return self._constant_tensor(item, name)
        if _is_numbers(item) and isinstance(item, list | tuple):
            array = np.asarray(item)
            if self.explicit or not _is_floating(array, name):
                return copy.deepcopy(item)
            return self._slot(name, array, _tensor_maker(name))
        if isinstance(item, list | tuple):
            parts = [self.take(part, f"{name}[{i}]") for i, part in enumerate(item)]
            return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)
        if isinstance(item, dict):
            return {key: self.take(part, f"{name}[{key!r}]") for key, part in item.items()}
        if isinstance(item, np.ndarray | np.floating | float | complex):
            array = np.asarray(item)
            if _is_floating(array, name) and not self.explicit:
                return self._slot(name, array, _tensor_maker(name))
            return self._constant(array, name) if isinstance(item, np.ndarray) else item
        return item

    def _slot(self, name: str, array: Any, make: Callable[[Array], Node]) -> _Slot:
        self.leaves.append(Leaf(name, np.array(array, np.float64), make))
        return _Slot(len(self.leaves) - 1)

    def _constant(self, array: Array, name: str) -> Array:
        constant = array.astype(np.float64) if array.dtype.kind == "f" else array.copy()
        self.constants.append((name, constant))
        return constant

    def _constant_tensor(self, tensor: Tensor, name: str) -> Tensor:
        constant = Tensor(0.0, label=tensor.label)
        constant._value = self._constant(tensor.data, name)  # not copied again: it is watched
        return constant


def _tensor_maker(name: str) -> Callable[[Array], Node]:
    return lambda array: Tensor(array, requires_grad=True, label=name)


def _is_floating(array: Array, name: str) -> bool:
    if array.dtype.kind == "c":
        raise TypeError(
            f"gradcheck takes real inputs, and {name} is complex; check a function of its real "
            f"and its imaginary part"
        )
    return array.dtype.kind == "f"


def _is_numbers(item: Any) -> bool:
    """Whether `item` is a number or a nonempty, possibly nested list of numbers alone."""
    if isinstance(item, list | tuple):
        return bool(item) and all(map(_is_numbers, item))
    return isinstance(item, int | float | np.number) and not isinstance(item, bool)


def _requires_grad(item: Any) -> bool:
    if isinstance(item, Tensor):
        return item.requires_grad
    if isinstance(item, dict):
        return any(map(_requires_grad, item.values()))
    return isinstance(item, list | tuple) and any(map(_requires_grad, item))


def _fill(template: Any, leaves: list[Node]) -> Any:
    """Put nodes into the slots; containers are made anew, so that none can be kept and changed."""
    if isinstance(template, _Slot):
        return leaves[template.index]
    if isinstance(template, list | tuple):
        parts = [_fill(part, leaves) for part in template]
        return type(template)(*parts) if hasattr(template, "_fields") else type(template)(parts)
    if isinstance(template, dict):
        return {key: _fill(part, leaves) for key, part in template.items()}
    return template


def _as_arguments(inputs: Any) -> list[Any]:
    return list(inputs) if isinstance(inputs, tuple | list) else [inputs]


def _parameter_names(f: Callable[..., Any], arguments: list[Any]) -> list[str]:
    """Name arguments as the signature of `f` does, where it can be read; check their number."""
    names = [f"inputs[{i}]" for i in range(len(arguments))] if len(arguments) != 1 else ["x"]
    try:
        signature = inspect.signature(f.forward if isinstance(f, Primitive) else f)
    except (TypeError, ValueError):
        return names
    try:
        bound = signature.bind(*arguments)
    except TypeError as error:
        hint = ""
        if len(arguments) > 1 and _is_numbers(arguments):
            hint = "; a list or tuple of inputs is one argument each, so for one array use np.array"
        raise TypeError(
            f"the function does not take the {len(arguments)} input(s) given: {error}{hint}"
        ) from None
    position = 0
    for parameter, value in bound.arguments.items():
        if signature.parameters[parameter].kind is inspect.Parameter.VAR_POSITIONAL:
            for i in range(len(value)):
                names[position + i] = f"{parameter}[{i}]"
            position += len(value)
        else:
            names[position] = parameter
            position += 1
    return names


def _input_names(
    f: Callable[..., Any], arguments: list[Any], names: Sequence[str] | None
) -> list[str]:
    signature_names = _parameter_names(f, arguments)
    if names is None:
        return signature_names
    given = [names] if isinstance(names, str) else list(names)
    if len(given) != len(arguments):
        raise ValueError(f"names has {len(given)} entries for {len(arguments)} input(s): {given}")
    return given


def function_subject(
    f: Callable[..., Any], inputs: Any, names: Sequence[str] | None = None
) -> Subject:
    """See ``f(*inputs)`` as a function of its floating inputs.

    Where an input tensor says that it requires a gradient, only such tensors (and `Value`) are
    checked, and all other inputs are constants.
    """
    arguments = _as_arguments(inputs)
    inside = _Inputs(explicit=_requires_grad(arguments))
    template = [
        inside.take(item, name)
        for item, name in zip(arguments, _input_names(f, arguments, names), strict=True)
    ]
    return Subject(lambda leaves: f(*_fill(template, leaves)), inside, takes_arrays=True)


def model_subject(
    model: Any,
    loss: Callable[..., Any] | None,
    inputs: Any,
    names: Sequence[str] | None = None,
) -> Subject:
    """See ``loss(model(x), *targets)`` as a function of the model's parameters, in a float64 copy.

    Of the inputs, tensors that say that they require a gradient are checked as well.
    """
    model = copy.deepcopy(model)
    inside = _Inputs(explicit=True)
    inside.leaves.extend(_parameters(model))
    arguments = _as_arguments(inputs)
    labels = [f"inputs[{i}]" for i in range(len(arguments))] if names is None else list(names)
    if len(labels) != len(arguments):
        raise ValueError(f"names has {len(labels)} entries for {len(arguments)} input(s): {labels}")
    template = [inside.take(item, name) for item, name in zip(arguments, labels, strict=True)]

    def call(leaves: list[Node]) -> Any:
        filled = _fill(template, leaves)
        if loss is None:
            return model(*filled)
        return loss(model(filled[0]), *filled[1:])

    return Subject(call, inside)


def _parameters(model: Any) -> Iterator[Leaf]:
    """Yield the parameters of a model, converted to float64 where they are, as leaves."""
    if not isinstance(model, Module):  # a model of Values numbers its parameters and has no names
        for i, value in enumerate(model.parameters()):
            yield Leaf(f"parameters[{i}]", np.array(value.data), _setter(value))
        return
    for _, tensor in model.named_tensors():
        if tensor.dtype.kind == "f":
            # `data` keeps a tensor's dtype; this copy is ours, so that its array may be replaced.
            tensor._value = tensor.data.astype(np.float64)
    for name, tensor in model.named_parameters():
        _is_floating(tensor.data, name)
        yield Leaf(name, tensor.data.copy(), _setter(tensor))


def _setter(parameter: Any) -> Callable[[Array], Node]:
    """Make a node of an array by putting it into `parameter`."""

    def put(array: Array) -> Node:
        parameter.data = array if isinstance(parameter, Tensor) else array.item()
        return parameter  # type: ignore[no-any-return]  # Any to mypy

    return put
