"""A function, run once on inputs that can be differentiated: what every transform begins with.

Each run numbers its own inputs anew, so that the inputs of an inner transform are other nodes than
those of an outer one, even where their numbers are the same: derivatives are never confused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_nn.backward import pull_back, reachable
from tinygrad_nn.errors import NotDifferentiableError, ShapeError
from tinygrad_nn.forward import push_forward
from tinygrad_nn.graph import Node, is_grad_enabled, next_serial, recording
from tinygrad_nn.guard import Guard, is_small
from tinygrad_nn.rules.shape import astype, converted
from tinygrad_nn.tensor import Tensor, alias, stand_in
from tinygrad_nn.traced import Traced
from tinygrad_nn.tree import Tree, flatten, tree_map
from tinygrad_nn.value import Value

__all__ = [
    "Run", "called", "check_callable", "dtype_of", "moves", "positions", "received", "seed",
    "structured",
]  # fmt: skip


class Run:
    """One run of a function.

    Parameters
    ----------
    what : str
        The transform, for errors.
    f : callable
    args, keywords
        What to call it with.
    argnums : sequence of int
        Positions of the arguments to differentiate.
    has_aux : bool
        Whether it returns a pair, of which only the first part is differentiated.
    keeps : bool
        Whether the graph will be walked after the user has been handed the output.

    Attributes
    ----------
    inputs : list of Node
        What stands for the leaves of those arguments.
    output : Tree
        What the function returned.
    aux : Any
        The second part of it, with `has_aux`.
    live : dict
        The nodes that the output depends on, made since the run began.
    record : bool
        Whether what is computed from the graph shall be recorded: something outside it takes part,
        and is being differentiated itself.
    """

    def __init__(
        self,
        what: str,
        f: Callable[..., Any],
        args: Sequence[Any],
        keywords: dict[str, Any],
        argnums: Sequence[int],
        has_aux: bool = False,
        keeps: bool = False,
    ) -> None:
        check_callable(what, f)
        self.what = what
        self.trees = [flatten(args[i]) for i in argnums]
        self._guard = Guard()
        self.aux: Any = None
        differentiated = is_grad_enabled()
        self._start = start = next_serial()
        self.inputs: list[Node] = []
        moved = list(args)
        for i, tree in zip(argnums, self.trees, strict=True):
            nodes = [
                _input(what, leaf, f"argument {i}{path}", self._guard, keeps)
                for leaf, path in zip(tree.leaves, tree.paths, strict=True)
            ]
            self.inputs += nodes
            with recording():  # a module puts results into its parameters' places
                moved[i] = tree.rebuild(nodes)
        self._keeps = keeps
        self._taken = {id(node._value) for node in self.inputs}
        with recording(), self._guard:
            y = f(*moved, **keywords)
        if has_aux:
            if not isinstance(y, tuple | list) or len(y) != 2:
                raise TypeError(
                    f"{what} with has_aux=True needs a function that returns (output, aux), got "
                    f"{type(y).__name__}"
                )
            y, self.aux = y
        self.output = flatten(y)
        for leaf, path in zip(self.output.leaves, self.output.paths, strict=True):
            if dtype_of(leaf).kind not in "fciub":
                raise TypeError(
                    f"{what} needs a function that returns arrays, numbers or containers of them, "
                    f"got {type(leaf).__name__} as the output{path}"
                )
        outside: list[Node] = []
        moving = [node for node in self.output.leaves if moves(node)]
        self.live = reachable([*moving, *self.inputs], start, outside)
        beside: list[Node] = []
        if has_aux:
            beside = [node for node in flatten(self.aux).leaves if moves(node)]
            reachable(beside, start, outside)
        outside += [node for node in (*moving, *beside) if node.serial < start]
        self.record = differentiated and bool(outside)
        self._refuse_bypass()

    def _refuse_bypass(self) -> None:
        """Refuse a module that computes with a parameter by another way than its attributes."""
        inputs = {node.serial for node in self.inputs}
        used = {a.serial for n in self.live.values() if n.serial not in inputs for a in n._parents}
        rest = iter(self.inputs)
        for tree in self.trees:
            for leaf, path, owned in zip(tree.leaves, tree.paths, tree.owned, strict=True):
                bypassed = next(rest).serial not in used and getattr(leaf, "serial", None) in used
                if owned and bypassed:
                    raise NotDifferentiableError(
                        f"{self.what} replaces the parameters of a module, and {path[1:]} was used "
                        f"by another way: through a function, bound method or set that the module "
                        f"keeps. Let it use its attributes (self.layer(x)), or use backward()"
                    )

    @property
    def has_scalars(self) -> bool:
        """Whether there are scalar nodes in the graph, whose walk takes floats or is recorded."""
        return any(isinstance(node, Value) for node in self.live.values())

    def gather(self, found: Iterable[Any], *, single: bool) -> Any:
        """Put one result per input into the containers that the arguments were."""
        rest = iter(found)
        parts = [tree.rebuild([next(rest) for _ in tree.leaves], blank=True) for tree in self.trees]
        return parts[0] if single else tuple(parts)

    def plain(self, item: Any) -> Any:
        """Return what the user gets: nodes where they are being differentiated, else arrays."""
        return tree_map(self._plain, item)

    def _plain(self, item: Any) -> Any:
        if not isinstance(item, Node) or (self.record and item.requires_grad):
            return item
        if not isinstance(item, Tensor):
            return item._seen()
        return self.own(item._value) if item.serial > self._start else item._seen().copy()

    def own(self, a: Any) -> Any:
        """Return an array that is nobody else's: `a` itself, if this run has made it."""
        if type(a) is Traced:
            return a.copy()
        made = isinstance(a, np.ndarray) and a.base is None and a.flags.writeable
        if self._keeps or not made or id(a) in self._taken:
            return a.copy()
        self._taken.add(id(a))
        return a

    def scalar(self) -> Any:
        """Return the output, which must be one real number."""
        leaves = self.output.leaves
        if self.output.paths != [""]:
            raise TypeError(
                f"{self.what} needs a function that returns one number, got "
                f"{type(self.output.rebuild(leaves)).__name__}; to return other results beside it, "
                f"say has_aux=True and return (number, others)"
            )
        shape, dtype = shape_of(leaves[0]), dtype_of(leaves[0])
        if math.prod(shape) != 1:
            raise ShapeError(
                f"{self.what} needs a function that returns one number, got an array of shape "
                f"{shape}; reduce it (np.sum, np.mean), or use jacobian, vjp or elementwise_grad"
            )
        if dtype.kind != "f":
            remedy = "; take its real part or absolute value" if dtype.kind == "c" else ""
            raise TypeError(
                f"{self.what} needs a function that returns a real floating number, got one of "
                f"dtype {dtype}{remedy}"
            )
        return leaves[0]

    def pull(self, seeds: Iterable[tuple[Any, Any]], *, record: bool) -> list[Any]:
        """Pull cotangents of outputs back to the inputs; None for those that get none."""
        self._guard.check()
        moving = [(node, g) for node, g in seeds if moves(node)]
        with recording():
            _, found = pull_back(moving, record=record, inputs=self.inputs, live=self.live)
        return [found.get(node.serial) for node in self.inputs]

    def push(self, tangents: Sequence[tuple[Node, Any]], *, record: bool) -> list[Any]:
        """Push tangents of inputs forward to the outputs; None for those that nothing moves."""
        self._guard.check()
        self._taken |= {id(t) for _, t in tangents}
        nodes = [node for node in self.output.leaves if moves(node)]
        with recording():
            found = push_forward(tangents, nodes, record=record, live=self.live)
        rest = iter(found)
        return [next(rest) if moves(node) else None for node in self.output.leaves]


def moves(item: Any) -> bool:
    """Whether a leaf of an output depends on anything that is differentiated."""
    return isinstance(item, Node) and item.requires_grad


def shape_of(item: Any) -> tuple[int, ...]:
    """Return the shape of a node, an array or a number."""
    return item.shape if hasattr(item, "shape") else np.shape(item)


def dtype_of(item: Any) -> np.dtype[Any]:
    """Return the type of the elements of a node, an array or a number."""
    return item.dtype if hasattr(item, "dtype") else np.asarray(item).dtype


def _input(what: str, leaf: Any, path: str, guard: Guard, keeps: bool) -> Node:
    """Return a new node that stands for a leaf of an argument."""
    if isinstance(leaf, Node) and leaf.requires_grad:
        with recording():
            return alias(leaf)  # type: ignore[no-any-return]  # Any to mypy
    if hasattr(leaf, "mask"):
        raise TypeError(f"{what}: {path} is a masked array; fill it, or select with np.where")
    if isinstance(leaf, np.matrix):
        raise TypeError(f"{what}: {path} is an np.matrix; pass np.asarray(m), and use @")
    try:
        array = _array(leaf)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fc":
        got = f"dtype {array.dtype}" if array.dtype.kind in "iub" else type(leaf).__name__
        raise TypeError(
            f"{what} differentiates floating numbers, got {got} as {path}; convert it with float() "
            f"or x.astype(float), choose other arguments with argnums=, or put the numbers into a "
            f"tuple, list, dict or module"
        )
    if keeps or is_small(array) or type(array) is Traced:
        return stand_in(array.copy())
    guard.note(array)
    return stand_in(array)


def _array(item: Any, dtype: Any = None) -> Any:
    """Return the numbers of a node, an array or a number as an array, or what stands for one."""
    data = item._seen() if isinstance(item, Node) else item
    return converted(data, dtype) if type(data) is Traced else np.asarray(data, dtype)


def positions(what: str, argnums: Any, count: int) -> list[int]:
    """Return the positions that `argnums` names, checked."""
    single = isinstance(argnums, int | np.integer) and not isinstance(argnums, bool)
    if not single and not isinstance(argnums, tuple | list):
        raise TypeError(f"argnums must be an int or a tuple of ints, got {argnums!r}")
    numbers = [argnums] if single else list(argnums)
    for i in numbers:
        if not isinstance(i, int | np.integer) or isinstance(i, bool):
            raise TypeError(f"argnums must be an int or a tuple of ints, got {argnums!r}")
        if not -count <= i < count:
            raise TypeError(
                f"{what}: argnums={argnums} names argument {i}, but the function was called with "
                f"{count} positional argument(s)"
            )
    found = [int(i) % count for i in numbers]
    if len(set(found)) < len(found):
        raise TypeError(f"argnums={argnums} names an argument twice")
    return found


def received(c: Any, node: Any, *, cotangent: bool, own: Callable[[Any], Any] = np.copy) -> Any:
    """Return what a walk found for a node as the user gets it: zeros where it found nothing.

    The cotangent of a complex number is conjugated (see `tinygrad_nn.rules.complex`). `own` makes
    an array one that is nobody else's.
    """
    if c is None:
        return np.zeros(shape_of(node), dtype_of(node))
    if cotangent and dtype_of(node).kind == "c":
        c = np.conj(c)
    if moves(c):
        return c
    c = c._value if isinstance(c, Node) else c
    return own(c) if isinstance(c, np.ndarray | Traced) else np.array(c)


def called(
    f: Callable[..., Any], transform: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Name a transformed function after the function that it was made of."""

    def name(g: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = wraps(f)(g) if hasattr(f, "__name__") else g
        wrapped.__name__ = f"{transform}({getattr(f, '__name__', type(f).__name__)})"
        return wrapped

    check_callable(transform, f)
    return name


def check_callable(what: str, f: Any) -> None:
    """Refuse what is no function: usually its result."""
    if not callable(f):
        raise TypeError(
            f"{what} takes a function, got {type(f).__name__}; to differentiate a result that "
            f"is computed already, use backward() or autograd.grad"
        )


def seed(node: Any, g: Any, *, record: bool) -> Any:
    """Return a cotangent or tangent of the node's own dtype, and a node if it is recorded."""
    if isinstance(g, Node) and record:
        same = isinstance(g, Value) or dtype_of(g) == dtype_of(node)
        return g if same else astype(g, dtype=dtype_of(node))
    data = _array(g, dtype_of(node))
    if data.shape != shape_of(node):
        data = np.broadcast_to(data, shape_of(node))
    if isinstance(node, Value):
        return Value(float(data), label="seed") if record else float(data)
    return Tensor(data, label="seed") if record else data


def structured(what: str, item: Any, like: Tree) -> list[Any]:
    """Return the leaves of `item`, which must have the structure and the shapes of `like`."""
    tree = flatten(item)
    given = dict(zip(tree.paths, tree.leaves, strict=True))  # two dicts may differ in their order
    if given.keys() != set(like.paths) or len(given) < len(tree.paths):
        expected, got = (", ".join(f"{what}{p}" for p in t.paths) or "none" for t in (like, tree))
        raise TypeError(
            f"the {what} must have the structure of what it belongs to: expected the leaves "
            f"{expected}, got {got}"
        )
    leaves = [given[path] for path in like.paths]
    for leaf, path, own in zip(leaves, like.paths, like.leaves, strict=True):
        if shape_of(leaf) != shape_of(own):
            raise ShapeError(
                f"the {what}{path} has shape {shape_of(leaf)}, expected {shape_of(own)}"
            )
        if dtype_of(leaf).kind not in ("fciub" if dtype_of(own).kind == "c" else "fiub"):
            raise TypeError(
                f"the {what}{path} has dtype {dtype_of(leaf)}, expected {dtype_of(own)}"
            )
    return leaves
