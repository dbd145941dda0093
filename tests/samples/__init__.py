"""Samples of every primitive: the one registry that the checks in test_primitives.py run on.

Elementwise primitives get theirs from their `domain`; whatever has a structure of its own has
rows in `STRUCTURED`. `EXTRA` adds points that a random draw would not hit.
"""

import functools
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np

from tinygrad_nn.primitive import REAL, Domain, Primitive
from tinygrad_nn.rules import TABLE
from tinygrad_nn.rules.indexing import split_index

from . import (
    complex,
    decomposition,
    einsum,
    fourier,
    indexing,
    joining,
    linalg,
    rearrange,
    reduction,
    sequence,
    shape,
    signal,
    statistics,
)
from . import elementwise as elementwise_
from .rows import Call, Row, row

#: One module of samples to each module of rules.
ROOMS = (
    elementwise_, complex, shape, indexing, joining, rearrange, reduction, sequence, statistics,
    linalg, einsum, decomposition, fourier, signal,
)  # fmt: skip

Array = np.ndarray


@dataclass(frozen=True)
class Sample:
    """Arguments for a primitive, and an independent function to compare its result with."""

    primitive: Primitive
    args: tuple[Any, ...]
    static: dict[str, Any] = field(default_factory=dict)
    reference: Callable[..., Any] | None = None

    def __str__(self) -> str:
        shown = [
            f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else repr(a) for a in self.args
        ]
        shown += [f"{key}={value!r}" for key, value in self.static.items()]
        return f"{self.primitive.name}({', '.join(shown)})"

    @property
    def floating(self) -> list[int]:
        """Positions of the floating arrays among the arguments."""
        return [
            i for i, a in enumerate(self.args) if isinstance(a, np.ndarray) and a.dtype.kind == "f"
        ]

    @property
    def differentiable(self) -> list[int]:
        """Positions of the floating arrays that the primitive has a derivative in."""
        return [i for i in self.floating if self.primitive.rule(i) is not None]

    def forward(self, *args: Any, **more: Any) -> Any:
        """Compute on raw arrays (the sample's own by default)."""
        return self.primitive.forward(*(args or self.args), **self.static, **more)

    def expected(self) -> Any:
        return (self.reference or reference(self.primitive))(*self.args, **self.static)

    def replace(self, args: tuple[Any, ...]) -> "Sample":
        return Sample(self.primitive, args, self.static, self.reference)


# --- independent forwards ------------------------------------------------------------------------


def _each(f: Callable[..., float]) -> Callable[..., Array]:
    return np.vectorize(f, otypes=[float])


def _log(x: float) -> Any:
    return max(mpmath.log(x), -100) if x > 0 else -100


def _sum_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    n = math.prod(shape)
    target = np.broadcast_to(np.arange(n).reshape(shape), x.shape)
    total = np.bincount(target.ravel(), weights=x.ravel(), minlength=n)
    return total.astype(float).reshape(shape)  # of nothing at all it counts integers


def _put_along_zeros(x: Array, indices: Array, *, axis: int, length: int) -> Array:
    one_hot = np.asarray(indices)[..., None] == np.arange(length)
    spread = (x[..., None] * one_hot).sum(axis=axis)
    return np.moveaxis(spread, -1, axis)


def _pick(x: Array, indices: Array) -> Array:
    y = np.empty(np.shape(indices))
    for at in np.ndindex(y.shape):
        y[at] = x[at][indices[at]]
    return y


def _softmax(x: Array, *, axis: int = -1) -> Array:
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


#: Forwards of the primitives that compute something of their own, written in another way.
_REFERENCES: dict[str, Callable[..., Any]] = {
    "where": _each(lambda c, a, b: a if c else b),
    "keep": _each(lambda c, x: x if c else 0.0),
    "negative": lambda x: 0.0 - x,
    "power": _each(math.pow),
    "float_power": _each(math.pow),
    "clip": _each(lambda x, lo, hi: min(max(x, lo), hi)),
    "relu": _each(lambda x: x if x > 0 else 0.0),
    "sigmoid": _each(lambda x: 1 / (1 + mpmath.exp(-x))),
    "erf": _each(math.erf),
    "erfc": _each(math.erfc),
    "add_n": lambda *xs: functools.reduce(np.add, xs),
    "cross_entropy_of_probability": _each(lambda p, t: -t * _log(p) - (1 - t) * _log(1 - p)),
    "logsumexp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "softmax": _softmax,
    "log_softmax": lambda x, **k: np.log(_softmax(x, **k)),
    "sum_to": _sum_to,
    "astype": lambda x, *, dtype: np.array(x, dtype),
    "put_along_zeros": _put_along_zeros,
    "pick": _pick,
    "unpick": lambda x, indices, *, length: np.eye(length)[indices] * np.asarray(x)[..., None],
    "one_hot": lambda i, *, length, value=1.0, dtype=float: (np.eye(length) * value)[i].astype(
        dtype
    ),
    "nll": lambda x, labels: -np.mean(_pick(x, labels)),
    "linear": lambda x, w, b: np.einsum("...i,ij->...j", x, w) + b,
}


REFERENCES = _REFERENCES | {name: f for room in ROOMS for name, f in room.REFERENCES.items()}


def reference(primitive: Primitive) -> Callable[..., Any]:
    """Return what the primitive's forward is compared with: NumPy's function of the same name."""
    if primitive.name in REFERENCES:
        return REFERENCES[primitive.name]
    function = primitive.numpy[0]
    if primitive.variadic:
        return lambda *xs, **static: function(xs, **static)
    return function


# --- samples of elementwise primitives -----------------------------------------------------------

#: Per number of inputs: shapes that broadcast, down to nothing at all.
SHAPES: dict[int, list[tuple[tuple[int, ...], ...]]] = {
    1: [((),), ((3,),), ((2, 3),), ((1, 1),), ((0,),), ((2, 0, 3),)],
    2: [
        ((), ()),
        ((), (2,)),
        ((1,), ()),
        ((2, 3), (2, 3)),
        ((3, 1), (1, 4)),
        ((3,), (2, 1, 3)),
        ((2, 1, 3), (3,)),
        ((0, 3), (1, 3)),
        ((3, 1), (1, 0)),
    ],
    3: [
        ((), (), ()),
        ((2, 3), (2, 3), (2, 3)),
        ((3, 1), (1, 4), ()),
        ((), (2,), (2, 1)),
        ((3,), (2, 1, 3), (1,)),
        ((0, 3), (1, 3), ()),
    ],
}


def generator(primitive: Primitive) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(primitive.name.encode()))


def draw(
    rng: np.random.Generator, shape: tuple[int, ...], domain: Domain = REAL, integer: bool = False
) -> Array:
    if integer:
        lo, hi = math.ceil(domain[0]), math.floor(domain[1])
        return np.asarray(rng.integers(lo, max(lo, hi), shape, endpoint=True))
    return np.asarray(rng.uniform(*domain, shape))


def takes_floats(primitive: Primitive) -> bool:
    """Whether this is no operation on bits alone."""
    ufunc = primitive.numpy[0] if primitive.numpy else None
    return not isinstance(ufunc, np.ufunc) or any("d" in t.split("->")[0] for t in ufunc.types)


def elementwise(primitive: Primitive) -> Iterator[Sample]:
    rng = generator(primitive)
    domains = primitive.domain or (REAL,) * (primitive.arity or 3)
    for shapes in SHAPES[len(domains)]:
        args = [
            draw(rng, shape, domain, not takes_floats(primitive))
            for shape, domain in zip(shapes, domains, strict=True)
        ]
        yield Sample(primitive, tuple(args))


_MASK = np.array([[True, False, True], [False, False, True]])
_REALS = np.array([[-1.7, 0.4, 2.2], [1.1, -0.6, 0.9]])

#: Points that the draw from the domain does not reach.
_EXTRA: dict[str, list[tuple[Any, ...]]] = {
    "keep": [(_MASK, _REALS), (_MASK[0], _REALS), (np.array(False), np.array([2.5, 3.5]))],
    "where": [
        (_MASK, _REALS, _REALS * 2.0),
        (_MASK[0], _REALS, np.array(0.5)),
        (np.array(True), np.array(1.5), np.array([2.5, 3.5])),
    ],
    "power": [
        (_REALS, 3),
        (_REALS, 2.0),
        (_REALS, 1),
        (_REALS, 0),
        (np.abs(_REALS), -1.5),
        (_REALS, np.array([2, 3, -1])),
        (2.5, _REALS),
        (2, _REALS),
        (np.abs(_REALS), np.array([0.0, 1.0, 2.0])),
    ],
    "remainder": [(np.array([-1.3, 5.2, 0.7]), np.array([0.9, -1.1, -2.0]))],
    "floor_divide": [(np.array([-1.3, 5.2, 0.7]), np.array([0.9, -1.1, -2.0]))],
    "divide": [(_REALS, -_REALS), (_REALS, 2), (1, _REALS)],
    "reciprocal": [(_REALS,)],
    "cbrt": [(_REALS,)],
    "arctan2": [(_REALS, _REALS[::-1])],
    "hypot": [(_REALS, _REALS[::-1])],
    "clip": [(_REALS, -1.0, 1.0), (_REALS, -np.inf, 0.5), (_REALS, np.array([0.1, 0.2, 0.3]), 1.0)],
    "add_n": [(_REALS,), (_REALS, _REALS[0]), (np.array(0.3), _REALS, _REALS[:, :1], 2.0)],
    "logaddexp": [(np.array([800.0, -800.0]), np.array([799.0, -801.0]))],
    "sigmoid": [(np.array([-40.0, -5.0, 5.0, 30.0]),)],
    "erf": [(np.array([-6.0, -1.0001, -1e-3, 0.99, 1.01, 5.0]),)],
    "erfc": [(np.array([-6.0, -1.0001, -1e-3, 0.99, 1.01, 5.0]),)],
    "exp": [(np.array([-30.0, 5.0]),)],
    "tanh": [(np.array([-8.0, 12.0]),)],
}


EXTRA: dict[str, list[tuple[Any, ...]]] = {}
for _points in (_EXTRA, *(room.EXTRA for room in ROOMS)):
    for _name, _args in _points.items():
        EXTRA.setdefault(_name, []).extend(_args)


# --- samples of structured primitives ------------------------------------------------------------


def _ints(*values: Any) -> Array:
    return np.array(values, dtype=np.intp)


_REDUCTIONS = [
    row(name, shape, **static)
    for name in ("sum", "mean", "max", "min", "var", "std", "logsumexp")
    for shape, static in [
        ((3, 4), {}),
        ((3, 4), {"axis": 0}),
        ((3, 4), {"axis": -1, "keepdims": True}),
        ((2, 3, 4), {"axis": (0, 2)}),
        ((2, 3, 4), {"axis": (-1, 0), "keepdims": True}),
        ((2, 3), {"keepdims": True}),
        ((2, 3), {"axis": ()} if name not in ("max", "min") else {}),
        ((5,), {"axis": 0}),
        ((1, 4), {"axis": 1}),
        ((0, 3), {"axis": 1}),
    ]
]

_STRUCTURED: list[Row] = [
    *_REDUCTIONS,
    row("sum", ()),
    row("mean", ()),
    row("max", ()),
    row("logsumexp", ()),
    row("sum", (0, 3)),
    row("sum", (0, 3), axis=0),
    row("logsumexp", (2, 3), axis=0),
    row(
        "max",
        np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]) + 1e-3 * np.arange(6).reshape(2, 3),
        axis=1,
    ),
    row("var", (5,), ddof=1),
    row("std", (3, 4), axis=1, ddof=1),
    row("var", (4, 3), axis=0, ddof=2),
    *[
        row(name, shape, **static)
        for name in ("argmax", "argmin", "all", "any")
        for shape, static in [
            ((3, 4), {}),
            ((3, 4), {"axis": 0}),
            ((3, 4), {"axis": 1, "keepdims": True}),
            ((0, 3), {"axis": 1}),
        ]
    ],
    *[
        row(name, shape, **static)
        for name in ("softmax", "log_softmax")
        for shape, static in [
            ((3, 4), {}),
            ((3, 4), {"axis": 0}),
            ((2, 3, 2), {"axis": 1}),
            ((4,), {}),
            ((3, 1), {}),
            ((0, 3), {}),
        ]
    ],
    # shapes
    row("broadcast_to", (3,), shape=(2, 3)),
    row("broadcast_to", (3, 1), shape=(2, 3, 4)),
    row("broadcast_to", (), shape=(2,)),
    row("broadcast_to", (2, 3), shape=(2, 3)),
    row("broadcast_to", (1, 3), shape=(0, 3)),
    row("sum_to", (2, 3), shape=(3,)),
    row("sum_to", (2, 3, 4), shape=(3, 1)),
    row("sum_to", (2,), shape=()),
    row("sum_to", (2, 3), shape=(2, 3)),
    row("sum_to", (0, 3), shape=(1, 3)),
    row("sum_to", (2, 3, 4), shape=(1, 3, 1)),
    row("sum_to", (1, 3), shape=(3,)),
    row("reshape", (2, 6), shape=(3, 4)),
    row("reshape", (2, 6), shape=(3, -1)),
    row("reshape", (2, 6), shape=-1),
    row("reshape", (), shape=(1, 1)),
    row("reshape", (0, 3), shape=(3, 0)),
    row("ravel", (2, 3)),
    row("ravel", ()),
    row("ravel", (2, 0)),
    row("transpose", (2, 3)),
    row("transpose", (2, 3, 4), axes=(1, 2, 0)),
    row("transpose", (2, 3, 4), axes=[-1, 0, -2]),
    row("transpose", ()),
    row("swapaxes", (2, 3, 4), axis1=0, axis2=-1),
    row("swapaxes", (2, 3), axis1=1, axis2=1),
    row("moveaxis", (2, 3, 4), source=0, destination=-1),
    row("moveaxis", (2, 3, 4), source=(0, 1), destination=(2, 0)),
    row("expand_dims", (2, 3), axis=1),
    row("expand_dims", (2, 3), axis=(0, -1)),
    row("expand_dims", (), axis=0),
    row("squeeze", (1, 3, 1)),
    row("squeeze", (1, 3, 1), axis=0),
    row("squeeze", (1, 3, 1), axis=(0, -1)),
    row("astype", (2, 3), dtype=np.dtype(np.float64)),
    row("astype", (3,), dtype=np.dtype(np.longdouble)),
    row("copy", (2, 3)),
    row("copy", ()),
    # indexing along an axis
    row("take_along_axis", (3, 4), _ints([3, 0], [1, 1], [0, 2]), axis=1),
    row("take_along_axis", (3, 4), _ints([2, 2, 0, 1]), axis=0),
    row("take_along_axis", (3, 4), _ints([0], [-1], [2])),
    row("put_along_zeros", (3, 2), _ints([3, 0], [1, 1], [0, 2]), axis=1, length=4),
    row("put_along_zeros", (1, 4), _ints([2, 2, 0, 1]), axis=0, length=3),
    row("pick", (3, 4), _ints(0, 3, 1)),
    row("pick", (2, 2, 3), _ints([0, 2], [1, 1])),
    row("pick", (4,), np.array(2)),
    row("pick", (0, 4), np.zeros(0, np.intp)),
    row("unpick", (3,), _ints(0, 3, 1), length=4),
    row("unpick", (2, 2), _ints([0, 2], [1, 1]), length=3),
    row("unpick", (), np.array(2), length=4),
    row("one_hot", _ints(0, 3, 1), length=4),
    row("one_hot", _ints([0, 2], [1, 1]), length=3, value=-0.5),
    row("one_hot", np.array(2), length=3, dtype=np.dtype(np.float32)),
    row("nll", (3, 4), _ints(0, 3, 3)),
    row("nll", (2, 2, 3), _ints([0, 2], [1, 1])),
    row("nll", (4,), np.array(2)),
    # joining
    row("concatenate", (2, 3), (4, 3)),
    row("concatenate", (2, 3), (2, 1), (2, 2), axis=1),
    row("concatenate", (2, 3), (2,), axis=None),
    row("concatenate", (2, 3), (2, 3), axis=-1),
    row("concatenate", (0, 3), (2, 3)),
    row("concatenate", (3,)),
    row("stack", (2, 3), (2, 3)),
    row("stack", (2, 3), (2, 3), axis=1),
    row("stack", (), (), (), axis=-1),
    row("stack", (2, 0), (2, 0), axis=-1),
    # products
    *[
        row("matmul", a, b)
        for a, b in [
            ((3, 4), (4, 2)),
            ((4,), (4,)),
            ((4,), (4, 2)),
            ((3, 4), (4,)),
            ((4,), (2, 4, 3)),
            ((2, 3, 4), (4,)),
            ((1, 2, 2), (3, 2, 2)),
            ((2, 2), (3, 2, 2)),
            ((3, 2, 2), (2, 2)),
            ((2, 1, 2, 3), (4, 3, 2)),
            ((0, 3), (3, 2)),
            ((2, 0), (0, 3)),
            ((0,), (0,)),
            ((1, 1), (1, 1)),
        ]
    ],
    row("linear", (3, 4), (4, 2), (2,)),
    row("linear", (4,), (4, 2), (2,)),
    row("linear", (2, 3, 4), (4, 2), (2,)),
    row("linear", (0, 4), (4, 2), (2,)),
]

STRUCTURED: list[Row] = [*_STRUCTURED, *(found for room in ROOMS for found in room.ROWS)]

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [found for room in ROOMS for found in room.CALLS]

#: Shape and index, for getitem and its transpose scatter_add.
INDICES: list[tuple[tuple[int, ...], Any]] = [
    ((4,), 1),
    ((4,), -1),
    ((4,), slice(None, None, -1)),
    ((4,), slice(3, 0, -2)),
    ((2, 3), ()),
    ((2, 3), (slice(None), 1)),
    ((2, 3), (..., -1)),
    ((2, 3), (None, 0, slice(1))),
    ((2, 3), (1, 2)),
    ((3,), _ints(0, 0, 2)),
    ((3,), [0, 0, 2]),
    ((3,), []),
    ((2, 3), (_ints(1, 0, 1), _ints(2, 2, 2))),
    ((2, 3), (slice(None), _ints([0, 0], [2, 1]))),
    ((2, 3, 2), (_ints(1, 1), slice(None), _ints(0, 1))),
    ((2, 3), np.array([True, False])),
    ((2, 3), _MASK),
    ((2, 3), (slice(None), np.array([True, False, True]))),
    ((2, 3), np.zeros((2, 3), bool)),
    ((2, 3), (np.array([False, True]), 0)),
    ((2, 3), (np.array([True, True]), _ints(2, 0))),
    ((3,), np.array(1)),
    ((3,), np.int64(1)),
    ((2, 3), (slice(0, 0), 1)),
    ((3, 4), np.ix_([0, 2, 2], [1, 3])),
]


def _index_samples(name: str) -> Iterator[Sample]:
    primitive = TABLE[name]
    rng = generator(primitive)
    for lengths, index in INDICES:
        template, arrays = split_index(index)
        x = draw(rng, lengths)
        if name == "getitem":
            yield Sample(primitive, (x, *arrays), {"template": template}, _Getitem(index))
        else:
            static = {"template": template, "shape": lengths}
            part = draw(rng, np.shape(x[index]))
            yield Sample(primitive, (part, *arrays), static, _ScatterAdd(index, lengths))


@dataclass(frozen=True)
class _Getitem:
    index: Any

    def __call__(self, x: Array, *arrays: Array, template: Any) -> Any:
        return x[self.index]


@dataclass(frozen=True)
class _ScatterAdd:
    index: Any
    shape: tuple[int, ...]

    def __call__(self, x: Array, *arrays: Array, template: Any, shape: Any) -> Array:
        total = np.zeros(self.shape)
        positions = np.arange(total.size).reshape(self.shape)[self.index]
        for position, value in zip(np.ravel(positions), np.ravel(x), strict=True):
            total.flat[position] += value
        return total


@functools.cache
def samples(primitive: Primitive) -> tuple[Sample, ...]:
    """Return the samples of a primitive; none if it is not elementwise and has no rows."""
    found: list[Sample] = []
    if primitive.name in ("getitem", "scatter_add"):
        found += _index_samples(primitive.name)
    elif primitive.elementwise:
        found += elementwise(primitive)
    rng = generator(primitive)
    for name, inputs, static in STRUCTURED:
        if name == primitive.name:
            args = [draw(rng, i) if isinstance(i, tuple) else i for i in inputs]
            found.append(Sample(primitive, tuple(args), static))
    found += [Sample(primitive, args) for args in EXTRA.get(primitive.name, [])]
    return tuple(found)
