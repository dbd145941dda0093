"""Many cotangents at once: what carries a leading axis that rules do not see.

A Jacobian takes one walk for each number of the result. A `Batch` of cotangents goes through the
rules in one walk for all of them: it stands for one cotangent, with one cotangent's shape, and
holds an array with an axis more. Rules are linear in it, so it only ever meets elementwise and
linear primitives; for each of the latter, `RULES` says how it is applied to a stack. Whatever is
missing there is applied to each in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from string import ascii_letters
from typing import Any

import numpy as np

from tinygrad_nn.dispatch import Dispatching, dispatch_function
from tinygrad_nn.errors import NotDifferentiableError
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.rules import TABLE
from tinygrad_nn.rules.indexing import split_index
from tinygrad_nn.rules.shape import shaped

__all__ = ["Batch"]


class Batch(Dispatching):
    """A stack of arrays that looks like one of them.

    Parameters
    ----------
    stack : ndarray or Tensor, shape (n, *shape)
    """

    __slots__ = ("stack",)

    __array_priority__ = 2000.0

    def __init__(self, stack: Any) -> None:
        self.stack = stack

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one."""
        return tuple(self.stack.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes of one."""
        return int(self.stack.ndim - 1)

    @property
    def size(self) -> int:
        """Number of elements of one."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> Any:
        """Type of the elements."""
        return self.stack.dtype

    @property
    def T(self) -> Any:  # noqa: N802  # NumPy's name
        """The axes of each in reverse order."""
        return TABLE["transpose"](self)

    def __neg__(self) -> Any:
        return TABLE["negative"](self)

    def __getitem__(self, index: Any) -> Any:
        template, arrays = split_index(index)
        return TABLE["getitem"](self, *arrays, template=template)

    def __len__(self) -> int:
        return self.shape[0]

    def astype(self, dtype: Any) -> Any:
        """Convert to another dtype."""
        return TABLE["astype"](self, dtype=np.dtype(dtype))

    def _refuse(self, *args: Any, **keywords: Any) -> Any:
        raise NotDifferentiableError(
            "a rule that compares its cotangent, or makes an array or a number of it, cannot take "
            "a batch of them"
        )

    __array__ = __bool__ = __float__ = __eq__ = __ne__ = _refuse
    __hash__ = object.__hash__

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, keywords: Any
    ) -> Any:
        if function in _LAYOUT:
            return function(*map(_stand_in, args), **keywords)
        return dispatch_function(function, args, keywords)

    @staticmethod
    def __primitive__(primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
        if primitive.elementwise:
            ndim = max(np.ndim(a) for a in args)
            return Batch(primitive(*(_aligned(a, ndim) for a in args), **static))
        rule = RULES.get(primitive.name)
        y = None if rule is None else rule(primitive, *args, **static)
        return Batch(_one_by_one(primitive, args, static) if y is None else y)


def _binary(name: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    p = TABLE[name]
    return lambda a, b: p(a, b), lambda a, b: p(b, a)


for _symbol, _name in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
    "matmul": "matmul",
}.items():  # fmt: skip
    _forward, _reflected = _binary(_name)
    setattr(Batch, f"__{_symbol}__", _forward)
    setattr(Batch, f"__r{_symbol}__", _reflected)

#: Functions that ask for shape and type alone.
_LAYOUT = frozenset(
    [np.shape, np.ndim, np.size, np.result_type, np.iscomplexobj, np.isrealobj, np.can_cast]
)


def _stand_in(a: Any) -> Any:
    """Return an array of the shape and type of one, that takes no memory."""
    return np.broadcast_to(np.zeros((), a.dtype), a.shape) if isinstance(a, Batch) else a


def _one_by_one(primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
    n = next(len(a.stack) for a in args if isinstance(a, Batch))
    return np.stack(
        [
            primitive(*(a.stack[k] if isinstance(a, Batch) else a for a in args), **static)
            for k in range(n)
        ]
    )


def _aligned(a: Any, ndim: int) -> Any:
    """Return a stack whose items have `ndim` axes, so that it broadcasts as its items do."""
    if not isinstance(a, Batch):
        return a
    missing = ndim - a.ndim
    if not missing:
        return a.stack
    return np.reshape(a.stack, (a.stack.shape[0], *(1,) * missing, *a.shape))


# --- linear primitives on stacks -----------------------------------------------------------------
# Each rule is called with the primitive, its arguments (Batches among them) and its keywords, and
# returns the stack of results, or None to have it done one by one.

RULES: dict[str, Callable[..., Any]] = {}


def _rule(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(rule: Callable[..., Any]) -> Callable[..., Any]:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def _shifted(axis: Any) -> Any:
    """Return axes of an item, counted in the stack; negative ones are counted from the end."""
    if isinstance(axis, Iterable):
        return tuple(_shifted(i) for i in axis)
    return axis + 1 if axis >= 0 else axis


@_rule("sum", "mean")
def _reduction(p: Primitive, x: Batch, *, axis: Any = None, **static: Any) -> Any:
    axis = tuple(range(1, x.ndim + 1)) if axis is None else _shifted(axis)
    return p(x.stack, axis=axis, **static)


@_rule("fft", "ifft", "rfft", "irfft")
def _transform(p: Primitive, x: Batch, *, axis: int = -1, **static: Any) -> Any:
    return p(x.stack, axis=_shifted(axis), **static)


@_rule("diagonal")
def _diagonal(p: Primitive, x: Batch, *, axis1: int = 0, axis2: int = 1, **static: Any) -> Any:
    return p(x.stack, axis1=_shifted(axis1), axis2=_shifted(axis2), **static)


@_rule("embed_diagonal")
def _embed_diagonal(
    p: Primitive, x: Batch, *, axis1: int, axis2: int, shape: Any, **static: Any
) -> Any:
    shape = (x.stack.shape[0], *shape)
    return p(x.stack, axis1=_shifted(axis1), axis2=_shifted(axis2), shape=shape, **static)


@_rule("einsum")
def _einsum(p: Primitive, *xs: Any, subscripts: str, **static: Any) -> Any:
    inputs, output = subscripts.split("->")
    n = next(letter for letter in ascii_letters if letter not in subscripts)
    terms = [
        n + term if isinstance(x, Batch) else term
        for x, term in zip(xs, inputs.split(","), strict=True)
    ]
    stacks = [x.stack if isinstance(x, Batch) else x for x in xs]
    return p(*stacks, subscripts=f"{','.join(terms)}->{n}{output}", **static)


@_rule("cumsum", "flip", "roll", "add_reduceat")
def _along(p: Primitive, x: Batch, *, axis: Any = None, **static: Any) -> Any:
    return None if axis is None else p(x.stack, axis=_shifted(axis), **static)


@_rule("astype", "copy")
def _each(p: Primitive, x: Batch, **static: Any) -> Any:
    return p(x.stack, **static)


@_rule("broadcast_to")
def _broadcast_to(p: Primitive, x: Batch, *, shape: Any) -> Any:
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    return p(_aligned(x, len(shape)), shape=(x.stack.shape[0], *shape))


@_rule("sum_to")
def _sum_to(p: Primitive, x: Batch, *, shape: Any) -> Any:
    n = x.stack.shape[0]
    lead = x.ndim - len(shape)
    total = p(x.stack, shape=(n, *(1,) * lead, *shape))
    return np.reshape(total, (n, *shape)) if lead else total


@_rule("reshape")
def _reshape(p: Primitive, x: Batch, *, shape: Any) -> Any:
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if -1 in shape:
        known = math.prod(n for n in shape if n != -1)
        shape = tuple(x.size // max(known, 1) if n == -1 else n for n in shape)
    return p(x.stack, shape=(x.stack.shape[0], *shape))


@_rule("ravel")
def _ravel(p: Primitive, x: Batch) -> Any:
    return np.reshape(x.stack, (x.stack.shape[0], x.size))


@_rule("transpose")
def _transpose(p: Primitive, x: Batch, *, axes: Any = None) -> Any:
    axes = range(x.ndim)[::-1] if axes is None else [a % x.ndim for a in axes]
    return p(x.stack, axes=(0, *(a + 1 for a in axes)))


@_rule("swapaxes")
def _swapaxes(p: Primitive, x: Batch, *, axis1: int, axis2: int) -> Any:
    return p(x.stack, axis1=_shifted(axis1), axis2=_shifted(axis2))


@_rule("moveaxis")
def _moveaxis(p: Primitive, x: Batch, *, source: Any, destination: Any) -> Any:
    return p(x.stack, source=_shifted(source), destination=_shifted(destination))


@_rule("expand_dims")
def _expand_dims(p: Primitive, x: Batch, *, axis: Any) -> Any:
    return p(x.stack, axis=_shifted(axis))


@_rule("squeeze")
def _squeeze(p: Primitive, x: Batch, *, axis: Any = None) -> Any:
    if axis is None:
        axis = tuple(i for i, length in enumerate(x.shape) if length == 1)
    return p(x.stack, axis=_shifted(axis))


# An index is applied with the axis of the stack moved to the end, where no template reaches it:
# NumPy puts the axes of separated index arrays first, wherever they stood.


@_rule("getitem")
def _getitem(p: Primitive, x: Batch, *arrays: Any, template: Any) -> Any:
    if not isinstance(x, Batch) or any(isinstance(a, Batch) for a in arrays):
        return None
    if not arrays:
        return p(x.stack, template=(slice(None), *template))
    last = np.moveaxis(x.stack, 0, -1)
    return np.moveaxis(p(last, *arrays, template=_to_the_end(template)), -1, 0)


@_rule("scatter_add")
def _scatter_add(p: Primitive, x: Batch, *arrays: Any, template: Any, shape: Any) -> Any:
    n = x.stack.shape[0]
    if not arrays:
        return p(x.stack, template=(slice(None), *template), shape=(n, *shape))
    last = np.moveaxis(x.stack, 0, -1)
    y = p(last, *arrays, template=_to_the_end(template), shape=(*shape, n))
    return np.moveaxis(y, -1, 0)


def _to_the_end(template: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*template, slice(None)) if Ellipsis in template else template


@_rule("take_along_axis", "put_along_zeros")
def _along_axis(p: Primitive, x: Any, indices: Any, *, axis: int = -1, **static: Any) -> Any:
    if isinstance(indices, Batch) or axis is None:
        return None
    return p(x.stack, shaped(indices)[None], axis=_shifted(axis), **static)


@_rule("pick", "unpick")
def _pick(p: Primitive, x: Any, indices: Any, **static: Any) -> Any:
    if isinstance(indices, Batch):
        return None
    indices = shaped(indices)
    return p(x.stack, np.broadcast_to(indices, (x.stack.shape[0], *indices.shape)), **static)


def _stacks(xs: tuple[Any, ...]) -> list[Any]:
    """Make a stack of each, by repetition where it is not one already."""
    n = next(x.stack.shape[0] for x in xs if isinstance(x, Batch))
    return [x.stack if isinstance(x, Batch) else np.broadcast_to(x, (n, *np.shape(x))) for x in xs]


@_rule("concatenate")
def _concatenate(p: Primitive, *xs: Any, axis: int | None = 0, **static: Any) -> Any:
    stacks = _stacks(xs)
    if axis is None:
        return p(*(np.reshape(x, (len(x), -1)) for x in stacks), axis=1, **static)
    return p(*stacks, axis=_shifted(axis), **static)


@_rule("stack")
def _stack(p: Primitive, *xs: Any, axis: int = 0, **static: Any) -> Any:
    return p(*_stacks(xs), axis=_shifted(axis), **static)


@_rule("matmul")
def _matmul(p: Primitive, a: Any, b: Any) -> Any:
    if isinstance(a, Batch) and not isinstance(b, Batch) and a.ndim > 1 and np.ndim(b) == 2:
        # One product of all rows at once.
        rows = np.reshape(a.stack, (math.prod(a.stack.shape[:-1]), a.shape[-1]))
        return np.reshape(p(rows, b), (*a.stack.shape[:-1], b.shape[-1]))
    a_is_vector, b_is_vector = np.ndim(a) == 1, np.ndim(b) == 1
    a = np.expand_dims(a, 0) if a_is_vector else a
    b = np.expand_dims(b, 1) if b_is_vector else b
    ndim = max(np.ndim(a), np.ndim(b))
    y = p(_aligned(a, ndim), _aligned(b, ndim))
    drop = ((-2,) if a_is_vector else ()) + ((-1,) if b_is_vector else ())
    return np.squeeze(y, axis=drop) if drop else y
