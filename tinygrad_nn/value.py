"""Value: a node that holds one Python float."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, final

import numpy as np

from tinygrad_nn.anomaly import note, quiet
from tinygrad_nn.backward import accumulate
from tinygrad_nn.dispatch import PLAIN, Dispatching
from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.graph import Node, _unusual, capturing, is_grad_enabled, lent, next_serial
from tinygrad_nn.guard import active
from tinygrad_nn.primitive import BY_FUNCTION, COMPOSITES, Primitive, primitive
from tinygrad_nn.rules import elementwise
from tinygrad_nn.tensor import Tensor, alias, apply
from tinygrad_nn.traced import _OF_SHAPES, Traced, unknown

__all__ = ["Value", "add_n"]

# What Python's arithmetic raises where NumPy's returns inf or nan.
_SINGULAR = (ArithmeticError, ValueError)


class _InLeft:
    """Marks that all arguments are in the left slot."""


_IN_LEFT = _InLeft()


def _number(other: Any) -> float:
    return other._value if isinstance(other, Value) else other  # type: ignore[no-any-return]  # Any to mypy


def _example(item: Any) -> Any:
    """Return an array of the same shape and type."""
    return np.float64(item._value) if item.__class__ is Value else item


def _element(node: Value, data: Any) -> float:
    """Take a number for a new node; of a captured array, as one of its elements."""
    if type(data) is Traced:
        capturing().element(node, data)
        return float(data.example)
    return _real(data)


def _real(data: Any) -> float:
    """Take a number for a new node; refuse what would lose a gradient, a part, or is no number."""
    if isinstance(data, Node):
        raise NotDifferentiableError(
            "Value(node) would drop the gradient: use the node itself, or node.data"
        )
    if isinstance(data, str | bytes):
        raise TypeError(f"a Value holds a number, got {data!r}")
    try:
        return float(data)
    except TypeError:
        raise TypeError(f"a Value holds one number, got {data!r}") from None


def _compute(primitive: Primitive, numbers: list[float]) -> Any:
    """Compute on floats; where Python raises, as NumPy does (with inf, nan and its warnings)."""
    if primitive.scalar is not None:
        try:
            return primitive.scalar(*numbers)
        except _SINGULAR:
            pass
    if not _unusual:
        return primitive.forward(*map(np.float64, numbers)).item()
    with quiet():
        return primitive.forward(*map(np.float64, numbers)).item()


def _operator(primitive: Primitive) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Make a binary operator and its reflection."""
    compute = primitive.scalar
    assert compute is not None

    def forward(self: Value, other: Any) -> Any:
        kind = type(other)
        try:
            if kind is Value:
                data = compute(self._value, other._value)
            elif kind is float or kind is int:
                data = compute(self._value, other)
            else:
                return _mixed(primitive, self, other, self, other)
        except _SINGULAR:
            data = _compute(primitive, [self._value, _number(other)])
        node = _new(Value)
        node._value = data
        node.primitive = primitive
        node._left = self
        node._right = other
        node.serial = next_serial()
        node._grad = 0.0
        node.label = None
        node._changed = 0
        node._scopes = ()
        if _unusual:
            _settle(node)
        return node

    def reflected(self: Value, other: Any) -> Any:
        if type(other) is not float and type(other) is not int:
            return _mixed(primitive, self, other, other, self)
        return _node(_compute(primitive, [other, self._value]), primitive, (other, self))

    return forward, reflected


def _mixed(primitive: Primitive, self: Value, other: Any, a: Any, b: Any) -> Any:
    """Apply a binary primitive to a Value and what is no Value, in the order `a`, `b`."""
    if type(other) is Traced and not other.shape:
        other = capturing().scalars.as_value(other)
        return Value.__primitive__(primitive, (self, other) if a is self else (other, self), {})
    if isinstance(other, float | int | np.floating | np.integer):
        other = float(other)
        return Value.__primitive__(primitive, (self, other) if a is self else (other, self), {})
    return NotImplemented  # an array or a tensor knows what to do; anything else is an error


def _comparison(primitive: Primitive) -> Callable[[Any, Any], Any]:
    """Make a comparison of the numbers; with an array or a tensor those know what to do."""
    compare = primitive.scalar
    assert compare is not None

    def method(self: Value, other: Any) -> Any:
        if isinstance(other, Value | float | int | np.floating | np.integer | Traced):
            if _unusual and capturing() is not None:
                return Value.__primitive__(primitive, (self, other), {})
            return bool(compare(self._value, _number(other)))
        return NotImplemented

    return method


def _equality(primitive: Primitive) -> Callable[[Any, Any], Any]:
    """Make == or !=, of the nodes; of numbers, where a capture has nodes for them."""

    def method(self: Value, other: Any) -> Any:
        if _unusual and capturing() is not None and capturing().scalars.is_number(self):
            return Value.__primitive__(primitive, (self, other), {})
        return NotImplemented

    return method


def _function(primitive: Primitive) -> Callable[[Value], Value]:
    """Make a method without arguments."""
    compute = primitive.scalar
    assert compute is not None

    def method(self: Value) -> Value:
        try:
            data = compute(self._value)
        except _SINGULAR:
            data = _compute(primitive, [self._value])
        return _node(data, primitive, (self,))

    method.__name__ = primitive.name
    method.__doc__ = primitive.__doc__
    return method


#: How micrograd writes the operations.
_SYMBOLS = {"add": "+", "multiply": "*", "relu": "ReLU", "power": "**", "subtract": "-",
            "divide": "/", "negative": "neg"}  # fmt: skip


@final
class Value(Node, Dispatching):
    """A Python float that records what is computed from it, after Karpathy's micrograd.

    Parameters
    ----------
    data : float
        The number.
    label : str, optional
        A name for drawings.

    Attributes
    ----------
    data : float
        The number. Assigning to it (also ``v.data -= step``) is the way to change a leaf.
    grad : float
        The gradient: accumulated in leaves, that of the last `backward` in results.

    Examples
    --------
    >>> from tinygrad_nn import Value
    >>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    >>> (a * b + b.tanh()).backward()
    >>> a.grad
    -3.0
    """

    # The arguments stand in two slots and not in a tuple, because Python's cyclic collector is
    # woken by the number of containers: a tuple to each node would double its work, which is most
    # of what a large graph of scalars costs. More than two arguments are a tuple in the first.
    __slots__ = ("_left", "_right")

    _left: Any
    _right: Any

    keeps_gradients: ClassVar[bool] = True
    requires_grad: ClassVar[bool] = True  # type: ignore[misc]  # narrower than in Node
    static: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # narrower than in Node
    shape: ClassVar[tuple[int, ...]] = ()  # type: ignore[misc]  # narrower than in Node
    ndim: ClassVar[int] = 0
    size: ClassVar[int] = 1
    dtype: ClassVar[np.dtype[Any]] = np.dtype(float)
    __array_priority__: ClassVar[float] = 500.0

    def __init__(
        self,
        data: float,
        _children: tuple[Value, ...] = (),
        _op: str = "",
        *,
        label: str | None = None,
    ) -> None:
        if _children:
            raise TypeError(
                "a Value cannot be given children by hand: compute it with operators, or declare "
                "the operation with @tinygrad_nn.primitive and its scalar= function"
            )
        self._value = data if type(data) is float else _element(self, data)
        self.primitive = None
        self._left = self._right = None
        self.serial = next_serial()
        self._grad = 0.0
        self.label = label
        self._changed = 0
        self._scopes = ()

    def __getattr__(self, name: str) -> Any:
        # A slot is empty while a plan has borrowed the number.
        if self in lent and name in ("_value", "_grad", "_changed"):
            lent[self].give_back()
            return getattr(self, name)
        raise AttributeError(f"a Value has no attribute {name!r}", name=name, obj=self)

    def _get_data(self) -> Any:
        return self._seen() if _unusual else self._value

    def _set_data(self, value: float) -> None:
        if _unusual and capturing() is not None:
            capturing().write(self, value)
            return
        if lent and self in lent:
            lent[self].give_back()
        self._value = _real(value)
        self._changed = next_serial()

    data = property(_get_data, _set_data, doc="The number.")

    @property
    def args(self) -> tuple[Any, ...]:  # type: ignore[override]  # derived, where Node has a slot
        """The arguments that the primitive was applied to."""
        if self._right is _IN_LEFT:
            return self._left  # type: ignore[no-any-return]  # Any to mypy
        if self._right is None:
            return () if self._left is None else (self._left,)
        return (self._left, self._right)

    @property
    def _prev(self) -> set[Node]:
        """The nodes among the arguments (micrograd's name)."""
        return {a for a in self.args if isinstance(a, Node)}

    @property
    def _op(self) -> str:
        """The operation as micrograd writes it."""
        return _SYMBOLS.get(self.primitive.name, self.primitive.name) if self.primitive else ""

    def backward(self, gradient: float = 1.0) -> None:
        """Compute the gradient of this number and add it to ``.grad`` of every leaf behind it.

        Results in between get their ``.grad`` set to that of this call.

        Parameters
        ----------
        gradient : float
            The derivative, with respect to this number, of what gradients are wanted of.

        Raises
        ------
        StaleGraphError
            If a number that the result was computed from has been changed since.
        NotDifferentiableError
            If a compiled function has returned it.
        """
        if self.primitive is not None and not self.primitive.differentiable:
            raise NotDifferentiableError(
                "this Value comes out of a compiled function, which keeps no graph: call "
                "backward() inside that function"
            )
        if _unusual and capturing() is not None:
            capturing().scalars.backward(self, float(gradient))
            return
        accumulate(self, float(gradient))

    def item(self) -> float:
        """Return the number; this leaves the graph, as asked (see `Tensor.item`)."""
        if active:
            self._check_leaving("item()")
        if _unusual:
            _check_known(self, "item()")
        return self._value  # type: ignore[no-any-return]  # Any to mypy

    def __repr__(self) -> str:
        label = f", label={self.label!r}" if self.label else ""
        if _unusual and capturing() is not None:
            return f"Value(data=..., grad=...{label})"
        return f"Value(data={self._value}, grad={self.grad}{label})"

    def __str__(self) -> str:
        if _unusual:
            _check_known(self, "a text")
        return repr(self)

    def __format__(self, spec: str) -> str:
        if _unusual:
            _check_known(self, "a text")
        return format(self._value, spec) if spec else repr(self)

    def __float__(self) -> float:
        self._check_readable(
            "float()", "Use v.data to read it, and v.exp() (not math.exp(v)) to compute."
        )
        if _unusual:
            _check_known(self, "float()")
        return self._value  # type: ignore[no-any-return]  # Any to mypy

    def __int__(self) -> int:
        self._check_readable("int()", "Use int(v.data) to read it.")
        if _unusual:
            _check_known(self, "int()")
        return int(self._value)

    def __round__(self, digits: int | None = None) -> float:
        self._check_readable("round()", "Use round(v.data, digits) to read it.")
        if _unusual:
            _check_known(self, "round()")
        return round(self._value, digits)  # type: ignore[no-any-return]  # Any to mypy

    def __bool__(self) -> bool:
        if _unusual:
            _check_known(self, "a condition (bool())")
        return bool(self._value)

    __lt__ = _comparison(elementwise.less)
    __le__ = _comparison(elementwise.less_equal)
    __gt__ = _comparison(elementwise.greater)
    __ge__ = _comparison(elementwise.greater_equal)
    __eq__ = _equality(elementwise.equal)
    __ne__ = _equality(elementwise.not_equal)
    __hash__ = Node.__hash__

    # --- derivative of one node ----------------------------------------------------------------

    @property
    def _parents(self) -> list[Node]:  # type: ignore[override]  # derived, where Node has a slot
        a = self._left
        b = self._right
        if b.__class__ is Value and a.__class__ is Value:
            return [a, b]
        return [node for node in self.args if isinstance(node, Node)]

    def _pull(self, g: Any, cotangents: dict[int, Any], record: bool, since: int = 0) -> None:
        a = self._left
        b = self._right
        rules: Any = self.primitive.rules  # type: ignore[union-attr]  # a result has a primitive
        serial = self.serial
        a_is_value = a.__class__ is Value
        b_is_value = b.__class__ is Value
        if (
            record
            or not (a_is_value or b_is_value)
            or self._changed > serial
            or (a_is_value and a._changed > serial)
            or (b_is_value and b._changed > serial)
        ):
            self._pull_any(g, cotangents, record)
            return
        # Two arguments at most, all of them floats: the hot path of a graph of scalars.
        c: Any = 0.0
        d: Any = 0.0
        try:
            if b is None:
                c = rules[0](g, self._value, a._value)
            else:
                x = a._value if a_is_value else a
                y = b._value if b_is_value else b
                if a_is_value:
                    c = rules[0](g, self._value, x, y)
                if b_is_value:
                    d = rules[1](g, self._value, x, y)
        except _SINGULAR:
            c = None
        if type(c) is not float or type(d) is not float:
            # An exception, a rule that goes through NumPy, or Python's complex root of a negative.
            self._pull_any(g, cotangents, record)
            return
        if a_is_value:
            key = a.serial
            cotangents[key] = cotangents[key] + c if key in cotangents else c
        if b_is_value:
            key = b.serial
            cotangents[key] = cotangents[key] + d if key in cotangents else d

    def _pull_any(self, g: Any, cotangents: dict[int, Any], record: bool) -> None:
        """Pull back through any primitive, in NumPy's arithmetic: with inf and nan, not errors."""
        primitive = self.primitive
        assert primitive is not None
        self._check_fresh()
        args = self.args
        if primitive is elementwise.add_n and not record:
            # The sum of a neuron's terms: long, and its rule is the identity.
            for a in args:
                if isinstance(a, Node):
                    key = a.serial
                    cotangents[key] = cotangents[key] + g if key in cotangents else g
            return
        if record:
            y: Any = self
            inputs: Any = args
        else:
            g = np.float64(g)
            y = np.float64(self._value)
            inputs = [np.float64(a._value) if a.__class__ is Value else a for a in args]
            inputs = [a._value if isinstance(a, Node) else a for a in inputs]
        for i, a in enumerate(args):
            rule = primitive.rule(i) if isinstance(a, Node) and a.requires_grad else None
            if rule is None:
                continue
            c = a._receive(rule(g, y, *inputs), self, i)
            serial = a.serial
            cotangents[serial] = cotangents[serial] + c if serial in cotangents else c

    def _receive(self, c: Any, result: Node, i: int) -> Any:
        """Give the cotangent `c`, made by rule `i` for `result`, the form of this node's."""
        if isinstance(c, Tensor):
            return item(np.sum(c))
        return c if isinstance(c, Value) else float(np.sum(c))

    def _store(self, g: Any) -> None:
        self.grad += g

    def _clone(self, args: tuple[Any, ...]) -> Value:
        node = Value(self._value, label=self.label)
        node.primitive = self.primitive
        _set_args(node, args)
        node._grad = self.grad
        return node

    @property
    def _is_input(self) -> bool:
        return self.primitive is alias

    def _copied(self) -> Value:
        return _node(self._value, elementwise.positive, (self,))

    def _rebuild_with(self) -> tuple[Any, ...]:
        return _rebuild, (self._value, self.label, self.grad)

    # --- NumPy's protocols ---------------------------------------------------------------------

    @staticmethod
    def __primitive__(primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
        if static or not primitive.elementwise:
            return apply(primitive, args, static)
        numbers = []
        for a in args:
            if a.__class__ is Value:
                numbers.append(a._value)
            elif type(a) is Traced and not a.shape:
                known = capturing().scalars.as_value
                args = tuple(known(x) if type(x) is Traced else x for x in args)
                return Value.__primitive__(primitive, args, static)
            elif isinstance(a, float | int | np.floating | np.integer | np.bool):
                numbers.append(float(a))
            elif isinstance(a, Tensor | np.ndarray | Traced):
                return apply(primitive, args, static)
            else:
                raise TypeError(f"{primitive.name} of a Value and {type(a).__name__}")
        data = _compute(primitive, numbers)
        if not primitive.differentiable:
            if _unusual and capturing() is not None:
                return capturing().scalars.computed(primitive, args, float(data))
            return data
        return _node(data, primitive, args)

    def __array_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Any:
        plain = function in PLAIN and function not in BY_FUNCTION and function not in COMPOSITES
        if plain and _unusual and capturing() is not None:
            if function not in _OF_SHAPES:
                raise unknown(f"np.{function.__name__}")
            return function(*map(_example, args), **keywords)
        return super().__array_function__(function, types, args, keywords)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if is_grad_enabled():
            raise NotDifferentiableError(
                f"turning {self.name} into an array would drop its gradient. To join values use "
                f"np.stack([a, b]); to read the number use v.data"
            )
        return np.asarray(self._value, dtype=dtype)

    # --- operators -----------------------------------------------------------------------------

    __add__, __radd__ = _operator(elementwise.add)
    __sub__, __rsub__ = _operator(elementwise.subtract)
    __mul__, __rmul__ = _operator(elementwise.multiply)
    __truediv__, __rtruediv__ = _operator(elementwise.divide)
    __pow__, __rpow__ = _operator(elementwise.power)
    __neg__ = _function(elementwise.negative)
    __abs__ = abs = _function(elementwise.absolute)
    relu = _function(elementwise.relu)
    tanh = _function(elementwise.tanh)
    sigmoid = _function(elementwise.sigmoid)
    exp = _function(elementwise.exp)
    log = _function(elementwise.log)
    sqrt = _function(elementwise.sqrt)
    sin = _function(elementwise.sin)
    cos = _function(elementwise.cos)


_new = Value.__new__


def _set_args(node: Value, args: tuple[Any, ...]) -> None:
    primitive = node.primitive
    if len(args) > 2 or (primitive is not None and not primitive.plain):
        node._left, node._right = args, _IN_LEFT
    else:
        node._left = args[0] if args else None
        node._right = args[1] if len(args) == 2 else None


def _rebuild(data: float, label: str | None, grad: float) -> Value:
    node = Value(data, label=label)
    node._grad = grad
    return node


def _node(data: float, primitive: Primitive, args: tuple[Any, ...]) -> Value:
    node = _new(Value)
    node._value = data
    node.primitive = primitive
    _set_args(node, args)
    node.serial = next_serial()
    node._grad = 0.0
    node.label = None
    node._changed = 0
    node._scopes = ()
    if _unusual:
        _settle(node)
    return node


def _check_known(item: Any, asked: str) -> None:
    """Refuse to let a number that a step computes decide what Python does next."""
    if capturing() is not None:
        capturing().check_known(item, asked)


def _settle(node: Value) -> None:
    """Do with a new node what the modes of this thread ask for: check it, cut it off its graph."""
    capture = capturing()
    if capture is not None:
        recorder = capture.scalars
        cut = not is_grad_enabled()
        if cut or recorder.versions:
            recorder.settle(node, cut)
        return
    primitive, args = node.primitive, node.args
    assert primitive is not None
    if not is_grad_enabled():
        node.primitive = node._left = node._right = None
    note(node, primitive, args, {})


@primitive(rules=[lambda g, y, x: g])
def _item(x: Any) -> Any:
    """Take the number out of a 0-d array."""
    return float(x)


def item(t: Tensor) -> Value:
    """Make a scalar node of a tensor of one element, keeping the graph."""
    return _node(t._seen().item(), _item, (t,))


def add_n(values: Any) -> Any:
    """Add any number of nodes and numbers in one node, from left to right.

    Parameters
    ----------
    values : iterable of Value, Tensor, ndarray or float
        The terms; they broadcast against each other.

    Returns
    -------
    Value, Tensor, ndarray or float
        A Tensor if the terms have one, or have a Value and an array; a float for plain numbers,
        0.0 for no terms at all.

    Examples
    --------
    >>> from tinygrad_nn import Value, add_n
    >>> a, b = Value(1.0), Value(2.0)
    >>> add_n([a, b, 3.0, a]).data
    7.0
    """
    terms = tuple(values)
    return elementwise.add_n(*terms) if terms else 0.0
