"""Functions of tensors and Values, and models, as subjects: the engine differentiates them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.backward import pull_back, reachable
from tinygrad_nn.errors import LossError
from tinygrad_nn.forward import push_forward
from tinygrad_nn.gradcheck.inputs import (
    Inputs,
    Leaf,
    as_arguments,
    fill,
    input_names,
    is_floating,
    requires_grad,
)
from tinygrad_nn.gradcheck.outputs import flat, like, node_like, outputs_in, precision, seeds
from tinygrad_nn.gradcheck.rounding import shaken, value_rounding
from tinygrad_nn.gradcheck.subject import FirstCall, Subject
from tinygrad_nn.graph import Node, enable_grad, no_grad
from tinygrad_nn.nn.module import Module
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.tree import flatten

__all__ = ["GraphSubject", "function_subject", "model_subject"]

Array = npt.NDArray[Any]


class GraphSubject(Subject):
    """A function whose gradient the engine computes from the graph that it records.

    Parameters
    ----------
    call : callable
        ``call(nodes)`` computes the output from one node per leaf.
    inputs : Inputs
    takes_arrays : bool
        Whether the function may be called with arrays in place of nodes.
    """

    def __init__(
        self, call: Callable[[list[Any]], Any], inputs: Inputs, *, takes_arrays: bool = False
    ) -> None:
        super().__init__(inputs)
        self._call = call
        self._takes_arrays = takes_arrays
        self.model: Any = None  # the copy that is checked, where it is one
        self._last: list[Node] = []

    def run(self, x: Array) -> tuple[list[Node], list[Node]]:
        """Call the function at `x` and return the nodes of the leaves and of the output."""
        self.evaluations += 1
        nodes = [leaf.make(a) for leaf, a in zip(self.leaves, self.arrays(x), strict=True)]
        self._last = nodes
        with enable_grad():
            output = self._call(nodes)
        return nodes, list(outputs_in(output))

    def first_call(self) -> FirstCall:
        """See `Subject.first_call`."""
        leaves, outputs = self.run(self.x)
        if not outputs:
            raise LossError(
                "the function returned nothing that has numbers: an empty list, tuple or dict"
            )
        self.shape = np.shape(outputs[0]._value) if len(outputs) == 1 else None
        live = reachable(node for node in outputs if node.requires_grad)
        unreached = [
            name
            for name, node in zip(self.names, leaves, strict=True)
            if node.serial not in live or not self.sizes[name]
        ]
        return FirstCall(
            flat(outputs), precision(outputs), self.backward_modified(), unreached,
            list(_imprecise_rules(live)),
        )  # fmt: skip

    def value(self, x: Array) -> Array:
        """See `Subject.value`."""
        return flat(self.run(x)[1])

    def on_arrays(self) -> Array | None:
        """See `Subject.on_arrays`."""
        if not self._takes_arrays:
            return None
        try:
            with np.errstate(all="ignore"), no_grad():
                parts = flatten(self._call(self.arrays(self.x))).leaves
            return np.concatenate([np.ravel(np.asarray(p, np.float64)) for p in parts])
        except Exception:
            return None  # it wants tensors, and has been called with them already

    def complex_value(self, z: Array) -> Array | None:
        """See `Subject.complex_value`."""
        self.evaluations += 1
        nodes = []
        lent: list[tuple[Tensor, Array]] = []  # parameters, and the numbers to be given back
        for leaf, array in zip(self.leaves, self.complex_arrays(z), strict=True):
            if leaf.parameter is None:
                nodes.append(Tensor(array))
            elif isinstance(leaf.parameter, Tensor):
                lent.append((leaf.parameter, leaf.parameter._value))
                leaf.parameter._value = array
                nodes.append(leaf.parameter)
            else:
                return None  # a parameter that is a Value holds a float
        try:
            # A warning says that an imaginary part was dropped.
            with np.errstate(all="ignore"), no_grad(), warnings.catch_warnings():
                warnings.simplefilter("error")
                parts = flatten(self._call(nodes)).leaves
                arrays = [p._value if isinstance(p, Node) else p for p in parts]
            return np.concatenate([np.ravel(np.asarray(a, np.complex128)) for a in arrays])
        except Exception:
            return None
        finally:
            for parameter, array in lent:
                parameter._value = array

    # --- gradients -------------------------------------------------------------------------------

    def gradients(self, x: Array, cotangents: Array) -> Array:
        """See `Subject.gradients`."""
        leaves, outputs = self.run(x)
        result = np.empty((len(cotangents), x.size))
        self._g_modified = False
        for row, g in zip(result, cotangents, strict=True):
            given = seeds(outputs, g, like)
            with np.errstate(all="ignore"):
                self._gather(leaves, pull_back(given)[1], row)
            fresh = seeds(outputs, g, like)
            for (_, c), (_, kept) in zip(given, fresh, strict=True):
                self._g_modified |= not np.array_equal(c, kept, equal_nan=True)
        return result

    def rounding(self, x: Array, cotangents: Array) -> Array:
        """See `Subject.rounding`."""
        return value_rounding(self.run(x)[1], cotangents)

    def shaken_gradients(
        self, x: Array, cotangents: Array, rng: np.random.Generator, ulps: float
    ) -> Array | None:
        """See `Subject.shaken_gradients`."""
        leaves, outputs = self.run(x)
        result = np.empty((len(cotangents), x.size))
        eps = float(np.finfo(self.dtype).eps)
        with np.errstate(all="ignore"), shaken(outputs, rng, ulps):
            for row, g in zip(result, cotangents, strict=True):
                off = g * (1.0 + ulps * eps * rng.choice([-1.0, 1.0], g.shape))
                self._gather(leaves, pull_back(seeds(outputs, off, like))[1], row)
        return result

    def _gather(self, leaves: list[Node], cotangents: dict[int, Any], row: Array) -> None:
        for node, part in zip(leaves, self.slices, strict=True):
            c = cotangents.get(node.serial, 0.0)
            row[part] = np.ravel(c._value if isinstance(c, Node) else c)

    def backward_modified(self) -> list[str]:
        """See `Subject.backward_modified`."""
        inputs = self._modified([node._value for node in self._last])
        return inputs + ["the incoming gradient"] * self._g_modified

    def slope(self, v: Array, g: Array) -> float | None:
        """See `Subject.slope`; None where a user's rule does not take tensors."""
        leaves, outputs = self.run(self.x)
        tangents = [
            (node, like(node, v[part])) for node, part in zip(leaves, self.slices, strict=True)
        ]
        moving = seeds(outputs, g, like)
        try:
            with np.errstate(all="ignore"):
                found = push_forward(tangents, [node for node, _ in moving])
        except Exception:
            return None
        pairs = zip(found, moving, strict=True)
        return float(sum(np.sum(np.multiply(t, c)) for t, (_, c) in pairs if t is not None))

    def second_gradients(self, x: Array, g: Array, directions: Array) -> Array:
        """See `Subject.second_gradients`."""
        leaves, outputs = self.run(x)
        result = np.zeros(directions.shape)
        with np.errstate(all="ignore"), enable_grad():
            _, first = pull_back(seeds(outputs, g, node_like), record=True)
            recorded = self._recorded(leaves, first)
            for row, v in zip(result, directions, strict=True):
                along = [(c, like(c, v[part])) for c, part in recorded]
                if along:
                    self._gather(leaves, pull_back(along)[1], row)
        return result

    def adjoint(self, x: Array, g: Array, u: Array) -> Array | None:
        """See `Subject.adjoint`."""
        leaves, outputs = self.run(x)
        given: list[Tensor] = []

        def form(node: Node, part: Array) -> Any:
            given.append(Tensor(np.asarray(like(node, part)), requires_grad=True))
            return given[-1]

        if not all(isinstance(node, Tensor) for node in outputs):
            return None
        with np.errstate(all="ignore"), enable_grad():
            _, first = pull_back(seeds(outputs, g, form), record=True)
            along = [(c, like(c, u[part])) for c, part in self._recorded(leaves, first)]
            found = pull_back(along)[1] if along else {}
        parts = iter(given)
        result = []
        for node in outputs:
            c: Any = np.zeros(node.shape)
            if node.requires_grad:
                c = found.get(next(parts).serial, c)
            result.append(np.ravel(np.asarray(c, np.float64)))
        return np.concatenate(result)

    def _recorded(self, leaves: list[Node], first: dict[int, Any]) -> list[tuple[Node, slice]]:
        """Return the gradients that can be differentiated; without a node they are constant."""
        return [
            (first[node.serial], part)
            for node, part in zip(leaves, self.slices, strict=True)
            if isinstance(first.get(node.serial), Node) and first[node.serial].requires_grad
        ]


def _imprecise_rules(live: dict[int, Node]) -> Iterator[str]:
    """Yield the rules of a user's primitives whose cotangents have less precision than the input.

    The engine would widen them without a word, and digits would be lost.
    """
    for node in live.values():
        primitive = node.primitive
        if primitive is None or primitive.trusted or not isinstance(node, Tensor):
            continue
        args = [a._value if isinstance(a, Node) else a for a in node.args]
        for i, a in enumerate(node.args):
            rule = primitive.rule(i)
            if rule is None or not isinstance(a, Tensor) or not a.requires_grad:
                continue
            try:
                with np.errstate(all="ignore"):
                    c = np.asarray(
                        rule(np.ones_like(node._value), node._value, *args, **node.static)
                    )
            except Exception:
                continue  # the backward pass will meet it, and say more
            if c.dtype.kind == "f" and np.finfo(c.dtype).eps > np.finfo(a.dtype).eps:
                yield (
                    f"rule {i} of primitive {primitive.name!r} returns {c.dtype} for an input of "
                    f"{a.dtype}"
                )


# --- what the user gave --------------------------------------------------------------------------


def function_subject(
    f: Callable[..., Any], inputs: Any, names: Sequence[str] | None, dtype: str
) -> GraphSubject:
    """See ``f(*inputs)`` as a function of its floating inputs.

    Where an input tensor says that it requires a gradient, only such tensors (and `Value`) are
    checked, and all other inputs are constants.
    """
    arguments = as_arguments(inputs)
    inside = Inputs(requires_grad(arguments), dtype)
    template = [
        inside.take(item, name)
        for item, name in zip(arguments, input_names(f, arguments, names), strict=True)
    ]
    return GraphSubject(lambda leaves: f(*fill(template, leaves)), inside, takes_arrays=True)


def model_subject(
    model: Any,
    loss: Callable[..., Any] | None,
    inputs: Any,
    names: Sequence[str] | None,
    dtype: str,
) -> GraphSubject:
    """See ``loss(model(x), *targets)`` as a function of the model's parameters, in a copy.

    Of the inputs, tensors that say that they require a gradient are checked as well.
    """
    model = copy.deepcopy(model)
    inside = Inputs(True, dtype)
    inside.leaves.extend(_parameters(model, inside))
    arguments = as_arguments(inputs)
    labels = [f"inputs[{i}]" for i in range(len(arguments))] if names is None else list(names)
    if len(labels) != len(arguments):
        raise ValueError(f"names has {len(labels)} entries for {len(arguments)} input(s): {labels}")
    template = [inside.take(item, name) for item, name in zip(arguments, labels, strict=True)]

    def call(leaves: list[Any]) -> Any:
        filled = fill(template, leaves)
        if loss is None:
            return model(*filled)
        return loss(model(filled[0]), *filled[1:])

    subject = GraphSubject(call, inside)
    subject.model = model
    return subject


def _parameters(model: Any, inside: Inputs) -> Iterator[Leaf]:
    """Yield the parameters of a model, converted to the dtype that is checked, as leaves."""
    if not isinstance(model, Module):  # a model of Values numbers its parameters and has no names
        for i, value in enumerate(model.parameters()):
            array = np.asarray(value.data)
            yield Leaf(f"parameters[{i}]", array, _setter(value), parameter=value)
        return
    for _, tensor in model.named_tensors():
        if tensor.dtype.kind == "f":
            # `data` keeps a tensor's dtype; this copy is ours, so that its array may be replaced.
            tensor._value = tensor.data.astype(inside.dtype_of(tensor.data))
    for name, tensor in model.named_parameters():
        is_floating(tensor.data, name)
        yield Leaf(name, tensor.data, _setter(tensor), tensor.dtype, tensor)


def _setter(parameter: Any) -> Callable[[Array], Node]:
    """Make a node of an array by putting it into `parameter`."""

    def put(array: Array) -> Node:
        parameter.data = array if isinstance(parameter, Tensor) else array.item()
        return parameter  # type: ignore[no-any-return]  # Any to mypy

    return put
