"""What stands for an array while a step is captured.

A captured step runs once with real numbers, and a `Traced` in the place of every array that may
hold other numbers at the next call. NumPy's functions and operators hand their work to the table
of primitives, as for tensors, and the capture writes each down. There is no other way from a
Traced to numbers: whatever would read one (a condition, a conversion, a print) raises CaptureError,
so that no number of the first run can find its way into later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, final

import numpy as np

from tinygrad_nn.dispatch import PLAIN, Dispatching, dispatch_function, dispatch_ufunc
from tinygrad_nn.errors import CaptureError
from tinygrad_nn.graph import capturing
from tinygrad_nn.primitive import COMPOSITES, Primitive
from tinygrad_nn.rules import complex as complex_parts
from tinygrad_nn.rules import indexing, shape
from tinygrad_nn.source_line import source_line

__all__ = ["Traced", "check_fixed", "refusal"]

#: Functions whose answer is known from shapes and types alone.
_OF_SHAPES: frozenset[Callable[..., Any]] = frozenset(
    [np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.common_type, np.min_scalar_type,
     np.iscomplexobj, np.isrealobj, np.zeros_like, np.ones_like, np.empty_like,
     np.diag_indices_from, np.tril_indices_from, np.triu_indices_from, np.einsum_path]
)  # fmt: skip

#: Functions of the numbers, with a result of known shape, that are no primitives: made ones here.
_RECORDED: dict[Callable[..., Any], Primitive] = {
    function: Primitive(function, name=function.__name__)
    for function in (np.argsort, np.argpartition, np.searchsorted, np.digitize, np.isin,
                     np.count_nonzero, np.nanargmax, np.nanargmin, np.isclose, np.allclose,
                     np.array_equal, np.array_equiv)
}  # fmt: skip


def refusal(what: str, remedy: str) -> CaptureError:
    """Return the error for what a replay could not do again, with the user's line."""
    return CaptureError(f"{what}. {remedy}\n{source_line()}")


def _is_mask(a: Any) -> bool:
    return a.__class__ is Traced and a.dtype == bool


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


def check_fixed(primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> None:
    """Refuse a primitive whose result may be of another shape or type at another call."""
    if primitive.name in _NOT_FIXED:
        depends, what, remedy = _NOT_FIXED[primitive.name]
        if depends(*args, **static):
            raise refusal(what, remedy)


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

    __slots__ = ("__weakref__", "example", "owner", "scalar", "variable", "viewed", "weak")

    __array_priority__: ClassVar[float] = 900.0  # below Tensor, which takes it for an array

    def __init__(self, variable: Any, example: Any, owner: Any = None) -> None:
        self.variable = variable
        self.example = example
        self.owner = owner  # the tensor whose data this is, for operators in place
        self.viewed = False  # whether another one shares its memory
        self.scalar = False  # whether it stands for a NumPy scalar
        self.weak = False  # whether it stands for a Python number

    @staticmethod
    def __primitive__(primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
        for a in args:  # a node, or a batch of cotangents, knows what to do with arrays
            record = getattr(a.__class__, "__primitive__", None)
            if record is not None and a.__class__ is not Traced:
                return record(primitive, args, static)
        return capturing().bind(primitive, args, static)

    def __array_ufunc__(
        self, function: np.ufunc, method: str, *inputs: Any, **keywords: Any
    ) -> Any:
        out = keywords.pop("out", (None,))
        y = dispatch_ufunc(function, method, inputs, keywords)
        return y if out[0] is None else _written(out[0], y)

    def __array_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Any:
        if function in _OF_SHAPES:
            return function(*_examples(args), **_examples(keywords))
        if function in _RECORDED:
            return _RECORDED[function](*args, **keywords)
        if function is np.copyto:
            return _written(*args)
        if function in PLAIN and function not in COMPOSITES:
            raise refusal(
                f"np.{function.__name__} depends on numbers that are known only in a replay",
                "Leave it outside the compiled function, or use a mask (np.where) of fixed shape",
            )
        out = keywords.pop("out", None)
        y = dispatch_function(function, args, keywords)
        return y if out is None else _written(out, y)

    # --- what an array has ---------------------------------------------------------------------

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
        return f"Traced(shape={self.variable.shape}, dtype={self.variable.dtype})"

    def __getitem__(self, index: Any) -> Any:
        template, arrays = indexing.split_index(index)
        return indexing.getitem(self, *arrays, template=template)

    def __setitem__(self, index: Any, value: Any) -> None:
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
        return shape.ravel(self)

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

    def flatten(self) -> Any:
        """Return a copy in one dimension."""
        return np.copy(shape.ravel(self))

    # --- what would read the numbers -----------------------------------------------------------

    def _refuse(self, asked: str) -> Any:
        raise refusal(
            f"{asked} needs numbers that are known only in a replay, and the path that Python "
            f"takes would be that of the first call for ever",
            "Select with np.where(condition, a, b), compute with NumPy's functions, and return "
            "what shall be read or printed; or decide outside the compiled function, or compile "
            "with fallback=True",
        )

    def __bool__(self) -> bool:
        return self._refuse("a condition (bool())")  # type: ignore[no-any-return]  # never returns

    def __float__(self) -> float:
        return self._refuse("float()")  # type: ignore[no-any-return]  # never returns

    def __int__(self) -> int:
        return self._refuse("int()")  # type: ignore[no-any-return]  # never returns

    def __complex__(self) -> complex:
        return self._refuse("complex()")  # type: ignore[no-any-return]  # never returns

    def __index__(self) -> int:
        return self._refuse("an index or a length")  # type: ignore[no-any-return]  # never returns

    def __contains__(self, item: Any) -> bool:
        return self._refuse("`in`")  # type: ignore[no-any-return]  # never returns

    def __format__(self, spec: str) -> str:
        return self._refuse("a text")  # type: ignore[no-any-return]  # never returns

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self._refuse("np.asarray, or writing into a plain array,")

    def item(self, *index: Any) -> Any:
        """Not while a step is captured."""
        return self._refuse("item()")

    def tolist(self) -> Any:
        """Not while a step is captured."""
        return self._refuse("tolist()")

    def tobytes(self, order: Any = "C") -> Any:
        """Not while a step is captured."""
        return self._refuse("tobytes()")


def _examples(item: Any) -> Any:
    if isinstance(item, Traced):
        return item.example
    if isinstance(item, tuple | list):
        return type(item)(map(_examples, item))
    if isinstance(item, dict):
        return {key: _examples(value) for key, value in item.items()}
    return item


def _written(target: Any, value: Any) -> Any:
    """Let `target` hold `value` from now on, as ``out=`` and operators in place do."""
    if target.__class__ is tuple:
        (target,) = target
    if target.__class__ is not Traced:
        raise refusal(
            "a captured result is written into a plain array, which a replay would not write to",
            "Use the result itself, or return it",
        )
    if target.owner is None and (target.viewed or not target.variable.is_result):
        raise refusal(
            "an array that something else shares (an argument, a constant, or one that a view was "
            "taken of) is changed in place",
            "Write x = x + ... for a new array",
        )
    value = shape.as_kept(value, target.dtype, "an assignment in place")
    if value.shape != target.shape:
        value = shape.broadcast_to(value, shape=target.shape)
    if value.__class__ is not Traced:
        value = capturing().constant(value)
    target.variable, target.example = value.variable, value.example
    if target.owner is not None:
        capturing().write(target.owner, target)
    return target


def _operator(function: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """Make an operator, its reflection and its form in place."""

    def in_place(self: Traced, other: Any) -> Any:
        value = function(self, other)
        if value.__class__ is not Traced:
            return value  # of a tensor: a new name, as with numbers
        return _written(self, value)

    return (
        lambda self, other: function(self, other),
        lambda self, other: function(other, self),
        in_place,
    )


for _name, _function in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide,
    "floordiv": np.floor_divide, "mod": np.remainder, "pow": np.power, "matmul": np.matmul,
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
