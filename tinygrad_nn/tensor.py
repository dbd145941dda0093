"""Tensor: a node that holds an array, NumPy's protocols, and the operators."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, ClassVar, SupportsIndex, final

import numpy as np
import numpy.typing as npt

from tinygrad_nn.anomaly import watch, watching
from tinygrad_nn.backward import accumulate
from tinygrad_nn.dispatch import Dispatching, no_out
from tinygrad_nn.errors import NotDifferentiableError, ShapeError
from tinygrad_nn.functional_update import At
from tinygrad_nn.graph import Node, _unusual, capturing, is_grad_enabled, next_serial
from tinygrad_nn.guard import active, guarded
from tinygrad_nn.primitive import Primitive, defaults, primitive
from tinygrad_nn.rules import elementwise, indexing, linalg, reduction
from tinygrad_nn.rules import shape as shaping
from tinygrad_nn.rules.complex import imag, real
from tinygrad_nn.traced import Traced

__all__ = ["Tensor", "apply", "tensor"]

ndarray = np.ndarray

# Of all nodes without keywords; never written to.
_NO_STATIC: dict[str, Any] = {}


def _operand(other: Any) -> Any:
    """Return what an operator can work on, or NotImplemented."""
    if isinstance(other, Node | ndarray | np.generic | float | int | complex | Traced):
        return other
    if isinstance(other, list | tuple):
        return np.asarray(other)
    return NotImplemented


def _operator(primitive: Primitive) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """Make a binary operator and its reflection."""

    def forward(self: Any, other: Any) -> Any:
        if type(other) is not Tensor and type(other) is not float:
            other = _operand(other)
            if other is NotImplemented:
                return NotImplemented
        return apply(primitive, (self, other), {})

    def reflected(self: Any, other: Any) -> Any:
        other = _operand(other)
        return other if other is NotImplemented else apply(primitive, (other, self), {})

    return forward, reflected


def _in_place(symbol: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Make an in-place operator: of a leaf that requires a gradient, under no_grad() alone."""

    def method(self: Any, other: Any) -> Any:
        if self.primitive is not None or not self.requires_grad:
            _refuse_view(self, symbol)
            return compute(self, other)  # a new node under the same name, as with numbers
        if is_grad_enabled():
            raise NotDifferentiableError(
                f"in-place {symbol} on {self.name}, a leaf that requires a gradient: write "
                f"`t.data {symbol} ...`, or do it under no_grad()"
            )
        self.data = compute(self, other)._value
        return self

    return method


def _refuse_view(t: Tensor, symbol: str) -> None:
    """Refuse what would write into another array too, if these were arrays."""
    if t.primitive is alias:
        return
    for a in t._parents:
        if isinstance(a._value, ndarray) and np.may_share_memory(t._value, a._value):
            raise NotDifferentiableError(
                f"in-place {symbol} on {t.name}, a view of {a.name}: an array would change with "
                f"its view, and a tensor does not. Write `y = y {symbol[:-1]} ...` for a new "
                f"tensor, or base.at[index].set(...) for a new base"
            )


def _method(
    primitive: Primitive, function: Callable[..., Any] | None = None, *static: str
) -> Callable[..., Tensor]:
    """Make a method of a primitive; the keywords named by `static` may be given by position.

    What goes beyond the primitive's own keywords is left to `function`, NumPy's.
    """

    def method(self: Tensor, *args: Any, **keywords: Any) -> Tensor:
        if len(args) > len(static) or not keywords.keys() <= primitive.static_names:
            if function is None:
                raise TypeError(f"{primitive.name}() takes no arguments")
            unknown = keywords.keys() - defaults(function).keys()
            if unknown:
                raise TypeError(
                    f"{primitive.name}() has no keyword {', '.join(sorted(unknown))}; NumPy's are "
                    f"{', '.join(list(defaults(function))[1:])}"
                )
            return function(self, *args, **keywords)  # type: ignore[no-any-return]  # Any to mypy
        keywords.update(zip(static, args, strict=False))
        return apply(primitive, (self,), keywords)

    method.__name__ = primitive.name
    method.__doc__ = primitive.__doc__
    return method


def _as_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method of a NumPy function whose first argument is the array."""

    def method(self: Tensor, *args: Any, **keywords: Any) -> Any:
        return function(self, *args, **keywords)

    method.__name__ = function.__name__
    method.__doc__ = f"`numpy.{function.__name__}` of this tensor."
    return method


def _in_place_method(name: str, remedy: str) -> Callable[..., Any]:
    """Make a method that says why it is none."""

    def method(self: Tensor, *args: Any, **keywords: Any) -> Any:
        raise NotDifferentiableError(
            f"t.{name}() would change {self.name} in place, and the graph with it: use {remedy}, "
            f"which returns a new tensor"
        )

    method.__name__ = name
    method.__doc__ = f"Not for tensors: use ``{remedy}``."
    return method


@final
class Tensor(Node, Dispatching):
    """An n-dimensional array that records what is computed from it.

    NumPy's own functions, operators and indexing work on it. Make one with `tensor`.

    Parameters
    ----------
    data : array_like
        Numbers of any shape; copied.
    requires_grad : bool
        Whether `backward` shall compute a gradient for it; it must then be of a floating dtype.
    dtype : dtype, optional
        Convert to this type.
    label : str, optional
        A name for drawings and error messages.

    Attributes
    ----------
    data : ndarray
        The numbers. Assigning to it (also ``t.data -= step``) is the way to change a leaf.
    grad : ndarray or None
        The accumulated gradient of a leaf, of the same shape and dtype.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = np.sum(x * x)
    >>> y.backward()
    >>> x.grad
    array([2., 4., 6.])
    """

    # `_raw` are the arrays that the primitive was applied to, `_parents` the nodes among the
    # arguments and `_positions` where they stand: what the walk back would have to work out again.
    __slots__ = ("_frozen", "_parents", "_positions", "_raw", "args", "requires_grad", "static")

    _raw: Sequence[Any]
    _parents: Sequence[Node]
    _positions: Sequence[int]

    keeps_gradients: ClassVar[bool] = False
    __primitive__: ClassVar[Callable[..., Any]]  # `apply`, which is defined below
    __array_priority__: ClassVar[float] = 1000.0

    def __init__(
        self,
        data: npt.ArrayLike,
        requires_grad: bool = False,
        *,
        dtype: npt.DTypeLike | None = None,
        label: str | None = None,
    ) -> None:
        if type(data) is Traced:
            array = data.copy() if dtype is None else data.astype(dtype)
        else:
            array = np.array(_as_array(data) if isinstance(data, ndarray) else data, dtype=dtype)
        if array.dtype.kind not in "fiubc":
            raise TypeError(
                f"a tensor holds numbers, got {type(data).__name__} of dtype {array.dtype}"
            )
        if requires_grad and array.dtype.kind not in "fc":
            raise TypeError(
                f"only floating tensors can require gradients, got dtype {array.dtype}; "
                f"pass dtype=float"
            )
        self._value = array
        self.requires_grad = requires_grad
        self.primitive = None
        self.args: tuple[Any, ...] = ()
        self.static: dict[str, Any] = _NO_STATIC
        self._raw = self._parents = self._positions = ()
        self.serial = next_serial()
        self._grad = None
        self.label = label
        self._changed = 0
        self._scopes = ()

    # --- data and gradient ---------------------------------------------------------------------

    @property
    def data(self) -> npt.NDArray[Any]:
        """The numbers."""
        return self._seen() if _unusual else self._value  # type: ignore[no-any-return]  # Any to mypy

    @data.setter
    def data(self, value: npt.ArrayLike) -> None:
        if _unusual and capturing() is not None:
            capturing().write(self, value)
            return
        if value is not self._value:  # `t.data -= x` changes the array in place and hands it back
            array = np.asarray(value)
            if not np.can_cast(array.dtype, self._value.dtype, "same_kind"):
                raise TypeError(
                    f"cannot assign data of dtype {array.dtype} to {self.name}, which has dtype "
                    f"{self._value.dtype}; convert it first"
                )
            array = np.array(array, dtype=self._value.dtype)
            if array.shape != self._value.shape:
                raise ShapeError(
                    f"cannot assign data of shape {array.shape} to {self.name}, "
                    f"which has shape {self._value.shape}"
                )
            self._value = array
        self._changed = next_serial()

    def backward(self, gradient: npt.ArrayLike | None = None) -> None:
        """Compute the gradient of this tensor and add it to ``.grad`` of every leaf behind it.

        Parameters
        ----------
        gradient : array_like, optional
            The cotangent to start from, of this tensor's shape; 1 by default, which needs a
            tensor of one element.

        Raises
        ------
        ShapeError
            If the tensor has more than one element and no `gradient` is given, or if the
            gradient's shape is another one.
        NotDifferentiableError
            If nothing behind this tensor requires a gradient.
        StaleGraphError
            If the data of a tensor that the result was computed from has been changed since.

        Notes
        -----
        The graph stays as it is: calling this twice adds the gradient twice.

        Examples
        --------
        >>> import tinygrad_nn as tg
        >>> x = tg.tensor(3.0, requires_grad=True)
        >>> (x * x).backward()
        >>> x.grad
        array(6.)
        """
        if not self.requires_grad:
            raise NotDifferentiableError(
                "backward() on a tensor that depends on nothing that requires a gradient; was it "
                "computed under no_grad(), from plain arrays, or by a function that is constant?"
            )
        if gradient is None:
            if self._value.size != 1:
                raise ShapeError(
                    f"backward() needs one number to start from, got a tensor of shape "
                    f"{self._value.shape}; reduce it (.sum(), .mean()), or pass gradient= of that "
                    f"shape"
                )
            if self._value.dtype.kind == "c":
                raise NotDifferentiableError(
                    "backward() needs one real number to start from, got a complex one: take its "
                    "real part, imaginary part or absolute value, or pass gradient="
                )
            seed = np.array(1, self._value.dtype)
            if self._value.ndim:
                seed = seed.reshape(self._value.shape)
        else:
            given: Any = gradient._seen() if isinstance(gradient, Node) else gradient
            seed = np.copy(given) if type(given) is Traced else np.array(gradient)
            if seed.dtype.kind == "c" and self._value.dtype.kind != "c":
                raise TypeError(f"gradient is complex, the tensor is of dtype {self.dtype}")
            seed = seed.astype(self._value.dtype, copy=False)
            if seed.shape != self._value.shape:
                raise ShapeError(
                    f"gradient has shape {seed.shape}, the tensor {self._value.shape}; "
                    f"they must be equal"
                )
        accumulate(self, np.conj(seed) if seed.dtype.kind == "c" else seed)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether this leaf requires a gradient, and return it."""
        if self.primitive is not None:
            raise NotDifferentiableError(
                f"{self.name} is a result, not a leaf: use detach() to cut it off its graph"
            )
        if requires_grad and self._value.dtype.kind not in "fc":
            raise TypeError(f"only floating tensors can require gradients, got {self.dtype}")
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """Return a constant tensor of the same numbers, copied, outside the graph."""
        return _constant(self._seen().copy())

    def numpy(self) -> npt.NDArray[Any]:
        """Return the data as an array; a tensor that is part of a graph must be detached first."""
        return self.__array__()

    def item(self, *index: SupportsIndex) -> float:
        """Return an element, or the only one, as a Python number; this leaves the graph, as asked.

        In a function that is being transformed (`grad`, `jvp`...) it raises NotDifferentiableError.
        """
        if active:
            self._check_leaving("item()")
        return self._seen().item(*index)  # type: ignore[no-any-return]  # Any to mypy

    def tolist(self) -> Any:
        """Return the elements as nested lists of Python numbers; see `item`."""
        if active:
            self._check_leaving("tolist()")
        return self._seen().tolist()

    @property
    def frozen(self) -> bool:
        """Whether this is a parameter that requires no gradient for the time being."""
        return getattr(self, "_frozen", False)  # few tensors ever are, so the slot may be empty

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._frozen = frozen

    # --- what an array has ---------------------------------------------------------------------

    shape: Any = property(attrgetter("_value.shape"), doc="Lengths of the axes.")
    ndim: Any = property(attrgetter("_value.ndim"), doc="Number of axes.")
    size: Any = property(attrgetter("_value.size"), doc="Number of elements.")
    dtype: Any = property(attrgetter("_value.dtype"), doc="Type of the elements.")
    nbytes: Any = property(attrgetter("_value.nbytes"), doc="Bytes that the elements take.")
    itemsize: Any = property(attrgetter("_value.itemsize"), doc="Bytes that an element takes.")

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[Tensor]:
        if not self._value.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(len(self._value)))

    def __repr__(self) -> str:
        text = np.array2string(self._value, separator=", ", prefix="tensor(", threshold=100)
        dtype = "" if self._value.dtype in (np.float64, np.bool, np.int64) else f", {self.dtype}"
        grad = ""
        if self.primitive is not None:
            grad = f", <{self.primitive.name}>"
        elif self.requires_grad:
            grad = ", requires_grad=True"
        label = f", label={self.label!r}" if self.label else ""
        return f"tensor({text}{dtype}{grad}{label})"

    def __str__(self) -> str:
        if _unusual and type(self._seen()) is Traced:
            return str(self._seen())  # which refuses
        return repr(self)

    def __format__(self, spec: str) -> str:
        return format(self._seen().item(), spec) if spec and self._value.size == 1 else str(self)

    # --- conversions: those that would drop a gradient refuse to -------------------------------

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if type(self._seen()) is Traced:
            return np.asarray(self._seen())  # which says what to do
        if self.requires_grad and is_grad_enabled():
            raise NotDifferentiableError(
                f"turning {self.name} into an array would drop its gradient. To join tensors use "
                f"np.stack([a, b]) or np.concatenate([a, b]); np.asarray can be left out; for "
                f"A.dot(t) write A @ t, for out[i] = t collect in a list; to read the numbers use "
                f"t.data, or t.detach()"
            )
        return np.array(self._value, dtype=dtype, copy=copy)

    def __float__(self) -> float:
        self._check_readable(
            "float()",
            "Use t.item() to read it, and NumPy's functions (np.exp, not math.exp) to compute.",
        )
        return float(self._seen().item())

    def __int__(self) -> int:
        self._check_readable("int()", "Use int(t.item()) to read it.")
        return int(self._seen().item())

    def __complex__(self) -> complex:
        self._check_readable("complex()", "Use complex(t.item()) to read it.")
        return complex(self._seen().item())

    def __index__(self) -> int:
        return self._seen().__index__()  # type: ignore[no-any-return]  # Any to mypy

    def __bool__(self) -> bool:
        return bool(self._seen())

    # --- derivative of one node ----------------------------------------------------------------

    def _pull(self, g: Any, cotangents: dict[int, Any], record: bool, since: int = 0) -> None:
        primitive = self.primitive
        assert primitive is not None
        static = self.static
        if record:
            y: Any = self
            inputs: Any = self.args
        else:
            y = self._value
            inputs = self._raw
        serial = self.serial
        stale = self._changed > serial
        positions = self._positions
        for k, a in enumerate(self._parents):
            i = positions[k]
            if stale or a._changed > serial:
                self._check_fresh()
            key = a.serial
            if not a.requires_grad or key < since:
                continue
            rule = primitive.rule(i)
            if rule is None:
                continue
            c = rule(g, y, *inputs, **static) if static else rule(g, y, *inputs)
            data = a._value
            if not (
                type(c) is type(data) is ndarray and c.dtype is data.dtype and c.shape == data.shape
            ):
                c = a._receive(c, self, i)
            if key in cotangents:
                cotangents[key] = cotangents[key] + c
            elif (
                (a.primitive is None or a.primitive is alias)
                and type(c) is ndarray
                and (c is g or c.base is not None or not primitive.trusted)
            ):
                # A leaf keeps what it gets, so it gets its own: not the cotangent of another
                # node, a view of one, or whatever else a user's rule has handed out.
                cotangents[key] = c.copy()
            else:
                cotangents[key] = c

    def _receive(self, c: Any, result: Node, i: int) -> Any:
        """Give the cotangent `c`, made by rule `i` of the primitive of `result`, the form of this.

        That is: summed to this tensor's shape where it was broadcast, and of its dtype.
        """
        primitive = result.primitive
        assert primitive is not None
        if isinstance(c, Node):
            c = c if c.__class__ is Tensor else lift(c)
        elif not isinstance(c, ndarray | Dispatching):
            c = np.asarray(c)
        data = self._value
        if data.dtype.kind not in "fc":
            raise TypeError(f"{self.name} of dtype {data.dtype} cannot have a gradient")
        if c.dtype.kind == "c" and data.dtype.kind == "f" and _any_complex(result):
            c = real(c)  # a real input moves along the real axis alone
        if c.dtype.kind not in ("fiub" if data.dtype.kind == "f" else "fiubc"):
            raise TypeError(
                f"rule {i} of primitive {primitive.name!r} returned an array of dtype {c.dtype}, "
                f"expected the cotangent of an input of dtype {data.dtype}"
            )
        if c.shape != data.shape:
            fits = _broadcasts(data.shape, c.shape) and _broadcasts(c.shape, result.shape)
            if not (primitive.elementwise and fits):
                raise ShapeError(
                    f"rule {i} of primitive {primitive.name!r} returned a cotangent of shape "
                    f"{c.shape} for an input of shape {data.shape}; they must be equal"
                )
            c = shaping.sum_to(c, shape=data.shape)
        if c.dtype != data.dtype:
            c = c.astype(data.dtype)
        return c

    def _store(self, g: Any) -> None:
        if self._value.dtype.kind == "c":
            g = np.conj(g)  # as PyTorch: the direction of steepest ascent
        if self.grad is not None:
            g = self.grad + g
        if type(g) is not ndarray and type(g) is not Traced:
            g = np.asarray(g)  # sums of 0-d arrays are scalars
        self.grad = g

    def _clone(self, args: tuple[Any, ...]) -> Tensor:
        node = _constant(self._seen().copy())
        node.primitive = self.primitive
        node.args = args
        node.static = self.static
        node._raw = [a._value if isinstance(a, Node) else a for a in args]
        node._parents = [args[i] for i in self._positions]
        node._positions = self._positions
        node.requires_grad = self.requires_grad
        node._grad = None if self.grad is None else self.grad.copy()
        node.frozen = self.frozen
        node.label = self.label
        return node

    @property
    def _is_input(self) -> bool:
        return self.primitive is alias

    def _copied(self) -> Tensor:
        return apply(shaping.copy, (self,), {})

    def _rebuild_with(self) -> tuple[Any, ...]:
        return _rebuild, (self._seen(), self.requires_grad, self.label, self.grad, self.frozen)

    # --- operators -----------------------------------------------------------------------------

    __hash__ = Node.__hash__

    __add__, __radd__ = _operator(elementwise.add)
    __sub__, __rsub__ = _operator(elementwise.subtract)
    __mul__, __rmul__ = _operator(elementwise.multiply)
    __truediv__, __rtruediv__ = _operator(elementwise.divide)
    __floordiv__, __rfloordiv__ = _operator(elementwise.floor_divide)
    __mod__, __rmod__ = _operator(elementwise.remainder)
    __pow__, __rpow__ = _operator(elementwise.power)
    __matmul__, __rmatmul__ = _operator(linalg.matmul)
    __and__, __rand__ = _operator(elementwise.bitwise_and)
    __or__, __ror__ = _operator(elementwise.bitwise_or)
    __xor__, __rxor__ = _operator(elementwise.bitwise_xor)
    __eq__, _ = _operator(elementwise.equal)
    __ne__, _ = _operator(elementwise.not_equal)
    __lt__, _ = _operator(elementwise.less)
    __le__, _ = _operator(elementwise.less_equal)
    __gt__, _ = _operator(elementwise.greater)
    __ge__, _ = _operator(elementwise.greater_equal)
    del _

    def __neg__(self) -> Tensor:
        return apply(elementwise.negative, (self,), {})

    def __pos__(self) -> Tensor:
        return apply(elementwise.positive, (self,), {})

    def __abs__(self) -> Tensor:
        return apply(elementwise.absolute, (self,), {})

    def __invert__(self) -> Tensor:
        return apply(elementwise.invert, (self,), {})

    def __getitem__(self, index: Any) -> Tensor:
        template, arrays = indexing.split_index(index)
        return apply(indexing.getitem, (self, *arrays), {"template": template})

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.primitive is None and not (self.requires_grad and is_grad_enabled()):
            if _unusual and capturing() is not None:
                capturing().read(self)[index] = value
                return
            self._value[index] = np.asarray(value)  # which refuses what has a gradient
            self._changed = next_serial()
            return
        raise NotDifferentiableError(
            f"{self.name} cannot be written to: its values belong to a computation. Make a new "
            f"tensor with t.at[index].set(value), np.where or np.stack; to set a leaf by hand, "
            f"write to it under no_grad()"
        )

    @property
    def at(self) -> At:
        """Updates that return a new tensor: ``t.at[index].set(v)``, ``.add(v)``, ``.max(v)``..."""
        return At(self)

    __iadd__ = _in_place("+=", operator.add)
    __isub__ = _in_place("-=", operator.sub)
    __imul__ = _in_place("*=", operator.mul)
    __itruediv__ = _in_place("/=", operator.truediv)
    __ifloordiv__ = _in_place("//=", operator.floordiv)
    __imod__ = _in_place("%=", operator.mod)
    __ipow__ = _in_place("**=", operator.pow)
    __imatmul__ = _in_place("@=", operator.matmul)

    # --- methods that arrays have: the primitives of the same names ----------------------------

    @property
    def T(self) -> Tensor:  # noqa: N802  # NumPy's name
        """The axes in reverse order."""
        return apply(shaping.transpose, (self,), {})

    @property
    def mT(self) -> Tensor:  # noqa: N802  # NumPy's name
        """The last two axes exchanged."""
        return np.matrix_transpose(self)  # type: ignore[return-value]  # NumPy's stubs say ndarray

    @property
    def real(self) -> Tensor:
        """The real part."""
        return apply(real, (self,), {})

    @property
    def imag(self) -> Tensor:
        """The imaginary part."""
        return apply(imag, (self,), {})

    def reshape(self, *lengths: Any, **keywords: Any) -> Tensor:
        """Give the same elements another shape; one length may be -1."""
        if keywords:
            return np.reshape(self, _sequence(lengths), **keywords)  # type: ignore[return-value]  # NumPy's stubs say ndarray
        return apply(shaping.reshape, (self,), {"shape": _sequence(lengths)})

    def transpose(self, *axes: Any) -> Tensor:
        """Permute the axes; reverse them by default."""
        order = _sequence(axes) if axes and axes[0] is not None else None
        return apply(shaping.transpose, (self,), {"axes": order})

    def swapaxes(self, axis1: SupportsIndex, axis2: SupportsIndex) -> Tensor:
        """Exchange two axes."""
        return apply(shaping.swapaxes, (self,), {"axis1": axis1, "axis2": axis2})

    def compress(self, condition: Any, axis: int | None = None) -> Tensor:
        """Take the slices along `axis` for which the condition holds."""
        return np.compress(condition, self, axis=axis)  # type: ignore[return-value]  # NumPy's stubs say ndarray

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return other // self, other % self

    def __round__(self, digits: int = 0) -> Tensor:
        return np.round(self, digits)  # type: ignore[return-value]  # NumPy's stubs say ndarray

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Limit the elements to [min, max]."""
        return np.clip(self, min, max)  # type: ignore[return-value]  # NumPy's stubs say ndarray

    def astype(self, dtype: npt.DTypeLike, *, copy: bool = True) -> Tensor:
        """Convert to another dtype; a conversion to integers is constant.

        `copy` makes no difference, since nobody can write to a result.
        """
        return apply(shaping.astype, (self,), {"dtype": np.dtype(dtype)})

    flatten = ravel = _as_numpy(np.ravel)
    squeeze = _method(shaping.squeeze, np.squeeze, "axis")
    copy = _as_numpy(np.copy)
    sum = _method(reduction.sum_, np.sum, "axis")
    mean = _method(reduction.mean, np.mean, "axis")
    max = _method(reduction.max_, np.max, "axis")
    min = _method(reduction.min_, np.min, "axis")
    var = _method(reduction.var, np.var, "axis")
    std = _method(reduction.std, np.std, "axis")
    argmax = _method(reduction.argmax, np.argmax, "axis")
    argmin = _method(reduction.argmin, np.argmin, "axis")
    all = _method(reduction.all_, np.all, "axis")
    any = _method(reduction.any_, np.any, "axis")
    exp = _method(elementwise.exp)
    log = _method(elementwise.log)
    sqrt = _method(elementwise.sqrt)
    abs = _method(elementwise.absolute)
    tanh = _method(elementwise.tanh)
    sigmoid = _method(elementwise.sigmoid)
    relu = _method(elementwise.relu)

    # Of these, what stands behind NumPy's function, with its arguments.
    dot = _as_numpy(np.dot)
    prod = _as_numpy(np.prod)
    cumsum = _as_numpy(np.cumsum)
    cumprod = _as_numpy(np.cumprod)
    round = _as_numpy(np.round)
    conj = conjugate = _as_numpy(np.conjugate)
    take = _as_numpy(np.take)
    repeat = _as_numpy(np.repeat)
    choose = _as_numpy(np.choose)
    diagonal = _as_numpy(np.diagonal)
    trace = _as_numpy(np.trace)
    argsort = _as_numpy(np.argsort)
    argpartition = _as_numpy(np.argpartition)
    searchsorted = _as_numpy(np.searchsorted)
    nonzero = _as_numpy(np.nonzero)
    # An array's methods of these names change it in place.
    sort = _in_place_method("sort", "np.sort(t)")
    partition = _in_place_method("partition", "np.partition(t, kth)")
    put = _in_place_method("put", "t.at[index].set(values)")
    fill = _in_place_method("fill", "np.full_like(t.data, value)")
    resize = _in_place_method("resize", "np.resize(t, shape)")


# --- making nodes --------------------------------------------------------------------------------

_new = Tensor.__new__


def _constant(data: Any) -> Tensor:
    node = _new(Tensor)
    node._value = data
    node.primitive = None
    node.args = ()
    node.static = _NO_STATIC
    node._raw = node._parents = node._positions = ()
    node.requires_grad = False
    node.serial = next_serial()
    node._grad = None
    node.label = None
    node._changed = 0
    node._scopes = ()
    return node


def _rebuild(data: Any, requires_grad: bool, label: str | None, grad: Any, frozen: bool) -> Tensor:
    node = Tensor(data, requires_grad, label=label)
    node._grad = grad
    node.frozen = frozen
    return node


def apply(primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Tensor:
    """Compute a primitive of tensors, numbers and arrays, and record it if a gradient is needed."""
    if _unusual and watching(args):
        return watch(apply, primitive, args, static)  # type: ignore[no-any-return]  # Any to mypy
    raw: list[Any] = []
    parents: list[Node] = []
    positions = []
    needs = False
    for a in args:
        kind = type(a)
        if kind is Tensor:
            parents.append(a)
            positions.append(len(raw))
            raw.append(a._value)
            if a.requires_grad:
                needs = True
        elif kind is float or kind is int:
            raw.append(a)
        elif kind is ndarray:
            raw.append(guarded(a) if active else a)
        elif isinstance(a, Node):
            if not primitive.elementwise:  # a scalar node is a 0-d array to what is not elementwise
                return apply(primitive, tuple(map(_as_tensor, args)), static)
            parents.append(a)
            positions.append(len(raw))
            raw.append(a._value)
            needs = True
        elif kind is Traced:
            raw.append(a)
        elif isinstance(a, list | tuple | ndarray):
            return apply(primitive, tuple(map(_as_array, args)), static)
        else:
            record = getattr(kind, "__primitive__", None)
            if record is not None:
                return record(primitive, args, static)  # type: ignore[no-any-return]  # Any to mypy
            raw.append(a)
    if static and static.get("out") is not None:
        raise no_out(primitive.name)
    if _unusual and capturing() is not None:
        data = capturing().forward(primitive, args, raw, static)
    else:
        data = primitive.forward(*raw, **static) if static else primitive.forward(*raw)
    if type(data) is not ndarray and type(data) is not Traced:
        data = _result(primitive, data)
    kind = data.dtype.kind
    if kind != "f" and kind not in "iubc":
        raise TypeError(
            f"{primitive.name} gave an array of dtype {data.dtype}, because an operand holds no "
            f"plain numbers; convert it with np.asarray(x, dtype=float)"
        )
    if not (needs and primitive.differentiable and (not _unusual or is_grad_enabled())):
        return _constant(data)
    node = _new(Tensor)
    node._value = data
    node.primitive = primitive
    node.args = args if not active else _kept(args, raw)
    node.static = static
    node._raw = raw
    node._parents = parents
    node._positions = positions
    node.requires_grad = kind == "f" or kind == "c"
    node.serial = next_serial()
    node._grad = None
    node.label = None
    node._changed = 0
    node._scopes = ()
    return node


Tensor.__primitive__ = staticmethod(apply)


@primitive(rules=[lambda g, y, x: g], elementwise=True)  # so that it takes the scalar itself
def lift(x: Any) -> Any:
    """Make a 0-d array of a scalar node."""
    return np.asarray(x, dtype=float)


@primitive(name="input", rules=[lambda g, y, x: g], elementwise=True, scalar=lambda x: x)
def alias(x: Any) -> Any:
    """Stand for `x` under another number: what is differentiated is not the node outside."""
    return x


lift.trusted = alias.trusted = True


def stand_in(array: npt.NDArray[Any]) -> Tensor:
    """Return what stands for `array` in a function that is being differentiated.

    It is no leaf: it may be rebound by an operator in place, as an array may, and copied.
    """
    node = _constant(array)
    node.primitive = alias
    node.requires_grad = True
    return node


def _as_tensor(a: Any) -> Any:
    return apply(lift, (a,), {}) if isinstance(a, Node) and not isinstance(a, Tensor) else a


def _as_array(a: Any) -> Any:
    """Make a plain array of a list, or of a subclass with an arithmetic of its own (np.matrix)."""
    if hasattr(a, "mask"):
        raise TypeError("masked arrays are not supported: select with np.where, or fill them first")
    if isinstance(a, np.matrix):
        raise TypeError("np.matrix has a multiplication of its own: use np.asarray(m), and @")
    plain = type(a) is not Traced and isinstance(a, list | tuple | ndarray)
    return np.asarray(a) if plain else a


def _any_complex(result: Node) -> bool:
    """Whether a result, or something that it was computed from, is complex."""
    return any(np.iscomplexobj(a) for a in (result, *result.args))


def _kept(args: tuple[Any, ...], raw: Sequence[Any]) -> tuple[Any, ...]:
    """Return the arguments with what is kept of constant arrays in their places."""
    return tuple(r if type(a) is ndarray else a for a, r in zip(args, raw, strict=True))


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of `shape` broadcasts to the shape `to`."""
    tail = to[len(to) - len(shape) :]
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape, tail, strict=True))


def _result(primitive: Primitive, data: Any) -> npt.NDArray[Any]:
    """Make an array of what a primitive returned: NumPy gives scalars where arrays are 0-d."""
    array = np.asarray(data)
    if array.dtype.kind not in "fiubc" or isinstance(data, list | tuple):
        raise TypeError(
            f"primitive {primitive.name!r} must return one array of numbers, got "
            f"{type(data).__name__}"
        )
    return array


def _sequence(lengths: tuple[Any, ...]) -> Any:
    """Take ``f(2, 3)`` and ``f((2, 3))`` for the same."""
    return lengths[0] if len(lengths) == 1 else lengths


def tensor(
    x: npt.ArrayLike,
    dtype: npt.DTypeLike | None = None,
    *,
    requires_grad: bool = False,
    label: str | None = None,
) -> Tensor:
    """Make a tensor of a copy of `x`.

    Parameters
    ----------
    x : array_like
        Numbers of any shape; copied, so that later changes to `x` are not seen.
    dtype : dtype, optional
        Convert to this type; NumPy's choice by default (float64 for Python floats).
    requires_grad : bool
        Whether `backward` shall compute a gradient for it.
    label : str, optional
        A name for drawings and error messages.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If `x` does not hold numbers, or `requires_grad` is asked of integers.
    NotDifferentiableError
        If `x` is or contains nodes whose gradient the copy would drop.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> tg.tensor([1.0, 2.0], requires_grad=True, label="w")
    tensor([1., 2.], requires_grad=True, label='w')
    """
    return Tensor(x, requires_grad, dtype=dtype, label=label)
