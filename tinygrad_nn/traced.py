"""What stands for an array while a step is captured.

A captured step runs once with real numbers, and a `Traced` in the place of every array that may
hold other numbers at the next call. NumPy's functions and operators hand their work to the table
of primitives, as for tensors, and the capture writes each down. There is no other way from a
Traced to numbers: whatever would read one (a condition, a conversion, a print) raises CaptureError,
so that no number of the first run can find its way into later ones.
"""

from __future__ import annotations

import dis
import functools
import operator
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, final
from weakref import ref

import numpy as np

from tinygrad_nn.dispatch import PLAIN, Dispatching, dispatch_function, dispatch_ufunc
from tinygrad_nn.errors import CaptureError, NotDifferentiableError
from tinygrad_nn.graph import Node, capturing
from tinygrad_nn.primitive import COMPOSITES, Primitive
from tinygrad_nn.rules import complex as complex_parts
from tinygrad_nn.rules import indexing, shape
from tinygrad_nn.source_line import source_line

__all__ = ["Traced", "check_fixed", "met_elsewhere", "refusal"]

#: The names of other threads that have met stand-ins since this was last cleared.
met_elsewhere: set[str] = set()

#: Functions whose answer is known from shapes and types alone.
_OF_SHAPES: frozenset[Callable[..., Any]] = frozenset(
    [np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.common_type, np.min_scalar_type,
     np.iscomplexobj, np.isrealobj, np.zeros_like, np.ones_like, np.empty_like,
     np.diag_indices_from, np.tril_indices_from, np.triu_indices_from, np.einsum_path]
)  # fmt: skip

#: Functions that print an array: without its numbers.
_AS_TEXT: frozenset[Callable[..., Any]] = frozenset(
    [np.array2string, np.array_repr, np.array_str]
)  # fmt: skip

#: Functions of the numbers, with a result of known shape, that are no primitives: made ones here.
_RECORDED: dict[Callable[..., Any], Primitive] = {
    function: Primitive(function, name=function.__name__)
    for function in (np.argsort, np.argpartition, np.searchsorted, np.digitize, np.isin,
                     np.count_nonzero, np.nanargmax, np.nanargmin, np.isclose, np.allclose,
                     np.array_equal, np.array_equiv)
}  # fmt: skip
for _primitive in _RECORDED.values():
    _primitive.trusted = True


def refusal(what: str, remedy: str) -> CaptureError:
    """Return the error for what a replay could not do again, with the user's line."""
    error = CaptureError(f"{what}. {remedy}\n{source_line()}")
    capture = capturing()
    if capture is not None and capture.refused is None:
        capture.refused = error, sys.exc_info()[1]
    return error


def _is_mask(a: Any) -> bool:
    return type(a) is Traced and a.dtype == bool


#: Primitives whose result has a shape or a type that depends on numbers: for which arguments, what
#: depends on them, and what to do.
_NOT_FIXED: dict[str, tuple[Callable[..., bool], str, str]] = {
    "getitem": (
        lambda x, *arrays, **static: any(map(_is_mask, arrays)),
        "the shape of x[mask] depends on the numbers of the mask",
        "Use np.where(mask, x, 0.0), or weights of fixed shape",
    ),
    "unique_part": (
        lambda x, *, part, **static: part != "inverse",
        "how many distinct values there are depends on the numbers",
        "Find them outside the compiled function, and pass them as an argument",
    ),
    **dict.fromkeys(
        ("eig", "eigvals"),
        (
            lambda x: x.dtype.kind != "c",
            "whether the eigenvalues of a real matrix are complex depends on its numbers",
            "Convert it first: x.astype(complex); or use np.linalg.eigh if it is symmetric",
        ),
    ),
}


def check_fixed(
    primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]
) -> tuple[Any, ...]:
    """Refuse a primitive whose result may be of another shape or type at another call.

    Returned are the arguments; where the shape depends on arrays that the function refers to by
    name, with their numbers in their places.
    """
    if primitive.name not in _NOT_FIXED:
        return args
    depends, what, remedy = _NOT_FIXED[primitive.name]
    if not depends(*args, **static):
        return args
    masks = primitive.name == "getitem"
    args = tuple(
        a.numbers("") if type(a) is Traced and a.outside and (not masks or _is_mask(a)) else a
        for a in args
    )
    if any(type(a) is Traced for a in args) and depends(*args, **static):
        raise refusal(what, remedy)
    return args


def unknown(asked: str, remedy: str = "") -> CaptureError:
    """Return the error for asking for a number that the step computes."""
    return refusal(f"{asked} needs numbers that are known only in a replay", remedy or _READ)


@final
class Traced(Dispatching):
    """An array of which the shape and type are known, and the numbers only in a replay.

    Attributes
    ----------
    variable : tape.Var
        The variable of the tape that it stands for.
    example : ndarray
        Its numbers in the run that is captured.
    """

    __slots__ = (
        "__weakref__",
        "example",
        "family",
        "is_put_back",
        "outside",
        "owner",
        "scalar",
        "variable",
        "weak",
    )

    __array_priority__: ClassVar[float] = 900.0  # below Tensor, which takes it for an array

    def __init__(self, variable: Any, example: Any, owner: Any = None) -> None:
        self.variable = variable
        self.example = example
        self.owner = owner  # the tensor whose data this is, for operators in place
        self.family: list[ref[Traced]] = []  # those that share its memory
        self.scalar = False  # whether it stands for a NumPy scalar
        self.weak = False  # whether it stands for a Python number
        self.is_put_back = False  # whether it is y[k] in a statement y[k] += ...
        self.outside = False  # whether it follows from arrays that the function refers to by name

    @staticmethod
    def __primitive__(primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
        for a in args:  # a node, or a batch of cotangents, knows what to do with arrays
            record = getattr(type(a), "__primitive__", None)
            if record is not None and type(a) is not Traced:
                return record(primitive, args, static)
        if capturing() is None:
            return primitive(*_themselves(args), **_themselves(static))
        return capturing().bind(primitive, args, static)

    def itself(self) -> Any:
        """Return the array that this stands in the place of, for a thread that is not captured."""
        array = getattr(self.variable.origin, "array", None)
        if array is None:
            raise CaptureError(
                f"another thread ({threading.current_thread().name}) works on what a compiled "
                f"step has computed, while the step is captured; a replay would not. Compute it "
                f"in the step, or return it and go on outside"
            )
        met_elsewhere.add(threading.current_thread().name)
        return array

    def join(self, other: Traced) -> None:
        """Note that this shares its memory with another one."""
        family = other.family or [ref(other)]
        family += self.family or [ref(self)]
        for member in family:
            found = member()
            if found is not None:
                found.family = family

    @property
    def is_shared(self) -> bool:
        """Whether another one that is in use would change with this one."""
        others = (member() for member in self.family)
        return any(other is not None and other is not self for other in others)

    def __array_ufunc__(
        self, function: np.ufunc, method: str, *inputs: Any, **keywords: Any
    ) -> Any:
        if capturing() is None:
            return getattr(function, method)(*_themselves(inputs), **_themselves(keywords))
        out = keywords.pop("out", (None,))
        y = _answer(dispatch_ufunc, function, method, inputs, keywords)
        return y if out[0] is None else _written(out[0], y)

    def __array_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Any:
        if capturing() is None:
            return function(*_themselves(args), **_themselves(keywords))
        if function in _AS_TEXT:
            return repr(self)
        if function in _OF_SHAPES:
            return function(*_examples(args), **_examples(keywords))
        if function in _RECORDED:
            return _RECORDED[function](*args, **keywords)
        if function is np.copyto:
            return _written(*args)
        if function in PLAIN and function not in COMPOSITES:
            if _all_outside([args, keywords]):
                return function(*_pinned(args), **_pinned(keywords))
            raise refusal(
                f"np.{function.__name__} depends on numbers that are known only in a replay",
                "Leave it outside the compiled function, or use a mask (np.where) of fixed shape",
            )
        out = keywords.pop("out", None)
        y = _answer(dispatch_function, function, args, keywords)
        return y if out is None else _written(out, y)

    # --- what an array has ---------------------------------------------------------------------

    @property  # type: ignore[misc]  # nobody shall set it
    def __class__(self) -> Any:
        """What this stands for, as `isinstance`, ``match`` and singledispatch ask; not type()."""
        dtype = self.variable.dtype
        if self.weak:
            return type(dtype.type(0).item())
        return dtype.type if self.scalar else np.ndarray

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(self.__class__, name):
            raise AttributeError(f"an array has no attribute {name!r}")
        if capturing() is None:
            return getattr(self.itself(), name)
        raise refusal(
            f".{name} of an array is nothing that a replay could give",
            "Use it outside the compiled function, or one of NumPy's functions that give a new "
            "array",
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.variable.shape  # type: ignore[no-any-return]  # Any to mypy

    @property
    def dtype(self) -> Any:
        """Type of the elements."""
        return self.variable.dtype

    ndim = property(lambda self: len(self.variable.shape), doc="Number of axes.")
    size = property(lambda self: self.example.size, doc="Number of elements.")
    nbytes = property(lambda self: self.example.nbytes, doc="Bytes that the elements take.")
    itemsize = property(
        lambda self: self.variable.dtype.itemsize, doc="Bytes that an element takes."
    )
    base = None

    def __len__(self) -> int:
        return len(self.example)

    def __iter__(self) -> Iterator[Any]:
        if not self.variable.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        if capturing() is None and getattr(self.variable.origin, "array", None) is not None:
            return repr(self.itself())
        return f"Traced(shape={self.variable.shape}, dtype={self.variable.dtype})"

    def __getitem__(self, index: Any) -> Any:
        template, arrays = indexing.split_index(index)
        y = indexing.getitem(self, *arrays, template=template)
        if type(y) is Traced:
            frame = sys._getframe(1)
            y.is_put_back = frame.f_lasti in _augmented(frame.f_code)
        return y

    def __setitem__(self, index: Any, value: Any) -> None:
        if capturing() is None:
            self.itself()[index] = _themselves(value)
            return
        template, arrays = indexing.split_index(index)
        v = shape.as_kept(value, self.dtype, "assignment")
        _written(self, indexing.index_set(self, v, *arrays, template=template))

    @property
    def T(self) -> Any:  # noqa: N802  # NumPy's name
        """The axes in reverse order."""
        return shape.transpose(self)

    @property
    def mT(self) -> Any:  # noqa: N802  # NumPy's name
        """The last two axes exchanged."""
        return np.matrix_transpose(self)

    @property
    def real(self) -> Any:
        """The real part."""
        return complex_parts.real(self) if self.dtype.kind == "c" else self

    @property
    def imag(self) -> Any:
        """The imaginary part."""
        return complex_parts.imag(self)

    @property
    def flat(self) -> Any:
        """The elements in a row, to be read."""
        y = shape.ravel(self)
        if y is not self:
            y.join(self)  # which writing to it would have to change
        return y

    def reshape(self, *lengths: Any) -> Any:
        """Give the same elements another shape; one length may be -1."""
        return shape.reshape(self, shape=lengths[0] if len(lengths) == 1 else lengths)

    def transpose(self, *axes: Any) -> Any:
        """Permute the axes; reverse them by default."""
        order = axes[0] if len(axes) == 1 else axes
        return shape.transpose(self, axes=order or None)

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        """Convert to another dtype."""
        dtype = np.dtype(dtype)
        return self if dtype == self.dtype and not copy else shape.astype(self, dtype=dtype)

    def flatten(self, order: Any = "C") -> Any:
        """Return a copy in one dimension."""
        return np.copy(np.ravel(self, order))

    def __copy__(self) -> Any:
        return self if self.scalar or self.weak else np.copy(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return self.__copy__()

    # --- what would read the numbers -----------------------------------------------------------

    def numbers(self, asked: str, remedy: str = "") -> Any:
        """Return the numbers, where they follow from arrays outside; else refuse to.

        That these stay what they are becomes a condition of the plan. What is returned cannot be
        written to.
        """
        if capturing() is None:
            return self.itself()
        if self.outside:
            return capturing().pin(self)
        raise unknown(asked, remedy)

    def __bool__(self) -> bool:
        return bool(
            self.numbers(
                "a condition (if, while, and, or, not, assert, `in`, a < b < c)",
                "Python would take the path of the first call for ever. Select with "
                "np.where(condition, a, b), join conditions with & and |, or return the condition "
                "and decide outside the compiled function; compile(f, fallback=True) runs it "
                "eagerly",
            )
        )

    def __float__(self) -> float:
        return float(self.numbers("float()", _COMPUTE))

    def __int__(self) -> int:
        return int(self.numbers("int()", _COUNT))

    def __complex__(self) -> complex:
        return complex(self.numbers("complex()", _COMPUTE))

    def __index__(self) -> int:
        return operator.index(self.numbers("an index of a list, a length, or range()", _COUNT))

    def __contains__(self, item: Any) -> bool:
        return item in self.numbers("`in`", "Use np.any(x == item), and np.where to select by it")

    def __str__(self) -> str:
        return str(self.numbers("a text", _READ))

    def __format__(self, spec: str) -> str:
        return format(self.numbers("a text", _READ)[()], spec)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        found = self.numbers(
            "np.asarray(), or writing into a plain array,",
            "NumPy's functions work on it as it is. To fill an array, collect in a list and use "
            "np.stack or np.concatenate, select with np.where, or return it",
        )
        return np.array(found, dtype) if copy else found.astype(dtype or found.dtype, copy=False)

    def item(self, *index: Any) -> Any:
        """Return an element, of an array outside alone."""
        return self.numbers(_ITEM, f"{_READ}. {_COMPUTE}").item(*index)

    def tolist(self) -> Any:
        """Return the elements, of an array outside alone."""
        return self.numbers("tolist()", _READ).tolist()

    def tobytes(self, order: Any = "C") -> Any:
        """Return the memory, of an array outside alone."""
        return self.numbers("tobytes()", _READ).tobytes(order)


_ITEM = "item(), float(), int() or a text"
_READ = (
    "Return what shall be read, printed or kept, and read it outside the compiled function; to "
    "compute with it, use it as it is"
)
_COMPUTE = (
    "Compute with NumPy's functions (np.exp, not math.exp), which work on it as it is; to fill an "
    "array, collect its parts in a list and use np.stack; return what shall be read"
)
_COUNT = (
    "In arithmetic use it as it is. Index an array instead of a list (np.take(array, i, axis=0)); "
    "loop a fixed number of times and select with np.where; or pass the number as an argument of "
    "the compiled function, as a Python int"
)


def _mapped(function: Callable[[Traced], Any], item: Any) -> Any:
    if isinstance(item, Traced):
        return function(item)
    if isinstance(item, tuple | list):
        return type(item)(_mapped(function, value) for value in item)
    if isinstance(item, dict):
        return {key: _mapped(function, value) for key, value in item.items()}
    return item


def _answer(dispatch: Callable[..., Any], function: Any, *rest: Any) -> Any:
    """Call NumPy's function by the table; what is not there is no error of eager execution."""
    try:
        return dispatch(function, *rest)
    except NotDifferentiableError as error:
        if _has_node(rest):
            raise
        reason = str(error).partition(". ")[0]
    raise refusal(
        f"np.{function.__name__}, called like this, is nothing that a replay could do: {reason}",
        "Write it with functions that tensors can be given to, make it a primitive "
        "(@tinygrad_nn.primitive), or leave it outside the compiled function",
    )


def _has_node(item: Any) -> bool:
    if isinstance(item, tuple | list):
        return any(map(_has_node, item))
    if isinstance(item, dict):
        return any(map(_has_node, item.values()))
    return isinstance(item, Node)


def _themselves(item: Any) -> Any:
    return _mapped(Traced.itself, item)


def _examples(item: Any) -> Any:
    return _mapped(lambda a: a.example, item)


def _pinned(item: Any) -> Any:
    return _mapped(lambda a: a.numbers(""), item)


def _all_outside(item: Any) -> bool:
    found: list[bool] = []
    _mapped(lambda a: found.append(a.outside), item)
    return all(found)


def _written(target: Any, value: Any) -> Any:
    """Let `target` hold `value` from now on, as ``out=`` and operators in place do."""
    if type(target) is tuple:
        (target,) = target
    if type(target) is not Traced:
        raise refusal(
            "a captured result is written into a plain array, which a replay would not write to",
            "Use the result itself, or return it",
        )
    if target.owner is None and (target.is_shared or not target.variable.is_result):
        raise refusal(
            "an array that something else shares (an argument, a constant, or one that a view was "
            "taken of) is changed in place",
            "Write x = x + ... for a new array",
        )
    value = shape.as_kept(value, target.dtype, "an assignment in place")
    if value.shape != target.shape:
        value = shape.broadcast_to(value, shape=target.shape)
    if type(value) is not Traced:
        value = capturing().constant(value)
    target.variable, target.example = value.variable, value.example
    target.family = []
    if target.owner is not None:
        capturing().write(target.owner, target)
    return target


@functools.lru_cache(1024)
def _augmented(code: types.CodeType) -> frozenset[int]:
    """Return the places in a code where the element is taken for a statement ``y[k] += ...``.

    The array and the index stay on the stack for the assignment that follows.
    """
    found = set()
    before = None
    for i in dis.get_instructions(code):
        takes = i.opname in ("BINARY_SUBSCR", "BINARY_SLICE") or i.argrepr == "[]"
        if takes and before in ("COPY", "DUP_TOP_TWO"):
            found.add(i.offset)
        before = i.opname if i.opname != "CACHE" else before
    return frozenset(found)


def _operator(function: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """Make an operator, its reflection and its form in place."""

    def in_place(self: Traced, other: Any) -> Any:
        if capturing() is None:
            return function(self.itself(), _themselves(other), out=self.itself())
        value = function(self, other)
        if type(value) is not Traced or self.scalar or self.weak:
            return value  # of a tensor, or a number: a new name
        if self.is_put_back:  # Python assigns the element next, which changes the whole array
            self.is_put_back = False
            value = shape.as_kept(value, self.dtype, "an assignment in place")
            return np.broadcast_to(value, self.shape)
        return _written(self, value)

    return (
        lambda self, other: function(self, other),
        lambda self, other: function(other, self),
        in_place,
    )


for _name, _function in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide,
    "floordiv": np.floor_divide, "mod": np.remainder, "pow": np.power, "matmul": np.matmul,
    "lshift": np.left_shift, "rshift": np.right_shift,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}.items():  # fmt: skip
    _forward, _reflected, _in_place = _operator(_function)
    setattr(Traced, f"__{_name}__", _forward)
    setattr(Traced, f"__r{_name}__", _reflected)
    setattr(Traced, f"__i{_name}__", _in_place)
for _name, _function in {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "eq": np.equal, "ne": np.not_equal,
}.items():  # fmt: skip
    setattr(Traced, f"__{_name}__", _operator(_function)[0])
setattr(Traced, "__hash__", object.__hash__)  # noqa: B010  # which __eq__ would have removed
for _name, _function in {"neg": np.negative, "pos": np.positive, "abs": np.absolute,
                         "invert": np.invert}.items():  # fmt: skip
    setattr(Traced, f"__{_name}__", lambda self, _function=_function: _function(self))
for _name in ("all", "any", "argmax", "argmin", "argpartition", "argsort", "choose", "clip",
              "compress", "conj", "conjugate", "copy", "cumprod", "cumsum", "diagonal", "dot",
              "max", "mean", "min", "nonzero", "prod", "ptp", "ravel", "repeat", "round",
              "searchsorted", "squeeze", "std", "sum", "swapaxes", "take", "trace",
              "var"):  # fmt: skip
    _function = getattr(np, _name)
    setattr(Traced, _name, lambda self, *a, _function=_function, **k: _function(self, *a, **k))
del _name, _function, _forward, _reflected, _in_place
