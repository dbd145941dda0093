"""Random programs in NumPy: a few inputs, and lines that compute from whatever is there already.

`programs()` is a Hypothesis strategy. A program is its own source, so that a failing one, shrunk,
is printed as NumPy code. It is run on whatever the names ``np`` and ``tg`` are bound to: NumPy and
this package, the stand-ins in `ANALYTIC` that extend each function to complex numbers, or those of
another library.

Lines are drawn against the numbers that the program has computed so far. Functions get arguments
in their domains, and stay away from their kinks; nothing grows without bounds.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

import tinygrad_nn as tg
from tinygrad_nn.primitive import POSITIVE, REAL, Domain
from tinygrad_nn.rules import TABLE

Array = np.ndarray

#: How far from a kink numbers must stay, far above the steps of numerical derivatives.
MARGIN = 0.02

_LARGEST = 64  # elements
_NAMES = "xyz"


@dataclass(frozen=True)
class Program:
    """The shapes of the inputs, an expression for each line, and the names of the results."""

    shapes: tuple[tuple[int, ...], ...]
    lines: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def source(self) -> str:
        result = self.outputs[0]
        if len(self.outputs) > 1:
            parts = ", ".join(f"np.ravel({name})" for name in self.outputs)
            result = f"np.concatenate([{parts}])"
        body = [f"v{i} = {line}" for i, line in enumerate(self.lines)]
        names = ", ".join(_NAMES[: len(self.shapes)])
        return f"def f({names}):\n    " + "\n    ".join([*body, f"return {result}"])

    @cached_property
    def _code(self) -> Any:
        return compile(self.source, "<random program>", "exec")

    def function(self, np: Any = np, tg: Any = tg) -> Callable[..., Any]:
        """Return the program as a function, with other modules behind the two names."""
        scope = {"np": np, "tg": tg}
        exec(self._code, scope)
        return scope["f"]

    @cached_property
    def f(self) -> Callable[..., Any]:
        return self.function()

    @cached_property
    def inputs(self) -> list[Array]:
        return draw_inputs(self.shapes)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # what Hypothesis prints
        printer.text(repr(self))

    def __repr__(self) -> str:
        drawn = [
            f"{name} = np.random.default_rng({i}).uniform(-2.0, 2.0, {shape})"
            for i, (name, shape) in enumerate(zip(_NAMES, self.shapes, strict=False))
        ]
        return "\n".join(["", self.source, *drawn, ""])


def draw_inputs(shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    return [
        np.asarray(np.random.default_rng(i).uniform(-2.0, 2.0, s)) for i, s in enumerate(shapes)
    ]


# --- one line of a program -----------------------------------------------------------------------


@dataclass
class Scope:
    """What a line can be made of: the variables with their numbers, and Hypothesis' choices."""

    draw: Any
    values: dict[str, Array]
    without: frozenset[str] = frozenset()  # functions that must not be used
    opening: str | None = None  # the function of the first line

    def any(self, *items: Any) -> Any:
        return self.draw(st.sampled_from(items))

    def function(self, kind: str) -> str:
        """Choose a function, or a template of a line, of one kind."""
        if self.opening in FUNCTIONS[kind]:
            return self.opening
        return self.any(*(f for f in FUNCTIONS[kind] if not {f, _head(f)} & self.without))

    def name(self, fits: Callable[[Array], bool] = lambda x: True) -> str | None:
        """Choose a variable, the latest by preference of the shrinking; None if there is none."""
        names = [n for n, x in reversed(self.values.items()) if fits(x)]
        return self.any(*names) if names else None

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def partner(self, a: str) -> str:
        """Choose a variable that broadcasts with `a`; there is `a` itself."""

        def fits(x: Array) -> bool:
            try:
                return math.prod(np.broadcast_shapes(x.shape, self.shape(a))) <= _LARGEST
            except ValueError:
                return False

        return self.name(fits) or a

    def axis(self, ndim: int) -> int:
        return self.draw(st.integers(-ndim, ndim - 1))

    def fit(self, name: str, domain: Domain = REAL) -> str:
        """Write an expression with values in the domain: the variable, squashed if need be."""
        x, (low, high) = self.values[name], domain
        if low <= np.min(x) and np.max(x) <= high:
            return name
        half, middle = round(0.47 * (high - low), 3), round(0.5 * (high + low), 3)
        wave = f"{half} * np.sin({name})"
        return f"({middle} + {wave})" if middle else f"({wave})"

    def compute(self, expression: str) -> Array:
        with np.errstate(all="raise", under="ignore"):
            return np.asarray(eval(expression, {"np": np, "tg": tg}, self.values))


def away(x: Any, *points: float) -> bool:
    """Whether no number is close to one of the points."""
    return all(bool(np.all(np.abs(np.asarray(x) - p) > MARGIN)) for p in points)


def distinct(x: Array) -> bool:
    """Whether numbers are far from each other.

    Equal ones may be: at a random point they are one and the same function of the inputs, and it
    does not matter which is selected.
    """
    return bool(np.all(np.diff(np.unique(x)) > MARGIN))


#: Elementwise primitives that are left out, and why.
LEFT_OUT = {
    "float_power": "chooses its own dtype",
    "nextafter": "moves by one bit",
    "imag": "0 of real numbers",
    "angle": "a step function of real numbers",
    "ldexp": "takes integers",
}


def _ufuncs(arity: int) -> list[str]:
    return [
        name
        for name, p in TABLE.items()
        if p.elementwise and p.differentiable and p.arity == arity and p.numpy
        and name not in LEFT_OUT
    ]  # fmt: skip


UNARY, BINARY = _ufuncs(1), _ufuncs(2)

#: Functions of this package alone, by the domain of their argument and their kinks.
OWN: dict[str, tuple[Domain, tuple[float, ...]]] = {
    "sigmoid": (REAL, ()),
    "relu": (REAL, (0.0,)),
    "softplus": (REAL, ()),
    "log_sigmoid": (REAL, ()),
    "silu": (REAL, ()),
    "gelu": (REAL, ()),
    "gelu_tanh": (REAL, ()),
    "elu": (REAL, (0.0,)),
    "leaky_relu": (REAL, (0.0,)),
    "hard_tanh": (REAL, (-1.0, 1.0)),
    "entr": (POSITIVE, ()),
}

_KINKS = {"absolute": (0.0,), "fabs": (0.0,), "sinc": (0.0,)}  # 0/0 in the quotient of sinc


def _unary(s: Scope) -> str | None:
    f, x = s.function("unary"), s.name()
    assert x is not None
    domain, kinks = OWN[f] if f in OWN else (TABLE[f].domain[0], _KINKS.get(f, ()))
    argument = s.fit(x, domain)
    if not away(s.compute(argument), *kinks):
        return None
    return f"{'tg' if f in OWN else 'np'}.{f}({argument})"


_SELECT = {"maximum", "minimum", "fmax", "fmin"}


def _binary(s: Scope) -> str | None:
    f, x = s.function("binary"), s.name()
    assert x is not None
    y = s.partner(x)
    if s.draw(st.booleans()):
        x, y = y, x
    p = TABLE[f]
    a, b = s.fit(x, p.domain[0]), s.fit(y, p.domain[1])
    if f in _SELECT and not (away(gap := s.compute(f"{a} - {b}"), 0.0) or not np.any(gap)):
        return None
    if f == "heaviside" and not away(s.compute(a), 0.0):
        return None
    return f"{'tg' if f == 'xlogy' else 'np'}.{f}({a}, {b})"


_OPERATORS = [
    "{a} + {b}", "{a} * {b}", "{a} - {b}", "{a} / (2.0 + {b} * {b})", "-{a}", "{a} ** 3",
    "1.5 - {a}", "{a} * 0.5", "2.0 / ({a} * {a} + 1.0)", "2.0 ** {a}", "({a} * {a} + 0.5) ** {b}",
    "({a} * {a} + 0.5) ** -1.5",
]  # fmt: skip


def _operator(s: Scope) -> str:
    template, x = s.function("operator"), s.name()
    assert x is not None
    a, b = s.fit(x), s.fit(s.partner(x))
    return template.format(a=a, b=b)


def _show_index(item: Any) -> str:
    if isinstance(item, tuple):
        return ", ".join(map(_show_index, item)) + ("," if len(item) == 1 else "") or "()"
    if isinstance(item, slice):
        parts = ["" if part is None else str(part) for part in (item.start, item.stop, item.step)]
        return ":".join(parts[:2] if item.step is None else parts)
    if isinstance(item, np.ndarray):
        return f"np.array({item.tolist()})"
    return "..." if item is Ellipsis else repr(item)


def _index(s: Scope) -> str | None:
    x = s.name(lambda x: x.ndim > 0)
    if x is None:
        return None
    shape = s.shape(x)
    kind = s.function("index")
    if kind == "basic":
        index = s.draw(hnp.basic_indices(shape, min_dims=0, allow_newaxis=True, max_dims=4))
    elif kind == "integers":
        result = hnp.array_shapes(min_dims=1, max_dims=2, max_side=3)
        index = s.draw(hnp.integer_array_indices(shape, result_shape=result))
    elif kind == "mask":
        index = s.draw(hnp.arrays(bool, shape[: s.any(1, len(shape))]))
        if not index.any():
            return None
    else:
        entries = st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=4)
        rest = [s.any(slice(None), slice(None, None, -1), 0, slice(-1, None)) for _ in shape[1:]]
        index = (np.array(s.draw(entries)), *rest)
    parts = index if isinstance(index, tuple) else (index,)
    if "reversed" in s.without and any(isinstance(i, slice) and (i.step or 1) < 0 for i in parts):
        return None
    return f"{x}[{_show_index(index)}]"


_REDUCTIONS = ["sum", "mean", "prod", "max", "min", "var", "std", "ptp", "median", "norm"]
_OWN_REDUCTIONS = ["logsumexp", "softmax", "log_softmax"]


def _reduce(s: Scope) -> str | None:
    f, x = s.function("reduce"), s.name()
    assert x is not None
    number = s.values[x]
    if f in ("max", "min", "ptp", "median") and not distinct(number):
        return None
    if f in ("softmax", "log_softmax"):
        return f"tg.{f}({x}, axis={s.axis(number.ndim)})" if number.ndim else None
    axes = (
        s.draw(st.none() | hnp.valid_tuple_axes(number.ndim, min_size=1)) if number.ndim else None
    )
    if axes is not None and (len(axes) == 1 or f == "norm"):
        axes = axes[0]
    how = f"axis={axes}" + (", keepdims=True" if s.draw(st.booleans()) else "")
    if f == "norm" and number.ndim > 1 and axes is None:
        return f"np.linalg.norm({x})" if np.linalg.norm(number) > 0.1 else None
    if f == "logsumexp":
        return f"tg.logsumexp({x}, {how})"
    expression = f"np.{'linalg.' if f == 'norm' else ''}{f}({x}, {how})"
    return None if f in ("std", "norm") and np.min(s.compute(expression)) < 0.1 else expression


_ALONG = ["cumsum({x}, axis={k})", "cumprod({x}, axis={k})", "diff({x}, axis={k})",
          "sort({x}, axis={k})", "flip({x}, axis={k})", "roll({x}, 1, axis={k})",
          "repeat({x}, 2, axis={k})", "trapezoid({x}, axis={k})", "delete({x}, 0, axis={k})",
          "take({x}, np.array([0, -1, 0]), axis={k})", "expand_dims({x}, {k})",
          "moveaxis({x}, 0, {k})", "swapaxes({x}, 0, {k})", "tril({x})", "triu({x}, 1)",
          "maximum.accumulate({x}, axis={k})", "gradient({x}, axis={k})",
          "take_along_axis({x}, np.argsort({x}, axis={k}), axis={k})",
          "take_along_axis({x}, np.argmax({x}, axis={k}, keepdims=True), axis={k})",
          "pad({x}, 1)", "tile({x}, 2)", "diagonal({x})", "trace({x})", "transpose({x})",
          "quantile({x}, 0.3, axis={k})", "average({x}, axis={k}, weights=2.0 + np.sin({x}))",
          "convolve({x}, {x}[:2])",
          "interp(np.array([-0.5, 0.3, 0.9]), np.array([-1.0, 0.0, 1.0, 2.0, 3.0])[:{n}], {x})",
          "nan_to_num({x})", "cov({x})", "polyval({x}, 0.7)", "ravel({x}, order='F')",
          "apply_along_axis(np.cumsum, {k}, {x})", "fft.rfft({x}, axis={k}).real",
          "fft.irfft(np.fft.rfft({x}, axis={k}) * 2.0, 4, axis={k})",
          "real(np.fft.fft({x}, axis={k}) * np.fft.ifft(np.sin({x}), axis={k}))",
          "abs(np.fft.fft({x}, axis={k}) + 20.0)"]  # fmt: skip

_RANKS = {"tril": (2, 9), "triu": (2, 9), "diagonal": (2, 9), "trace": (2, 9), "cov": (1, 2),
          "convolve": (1, 1), "interp": (1, 1), "polyval": (1, 1)}  # fmt: skip


def _head(template: str) -> str:
    return template.split("(")[0]


def _along(s: Scope) -> str | None:
    template = s.function("along")
    f = _head(template)
    low, high = _RANKS.get(f, (1, 9))
    x = s.name(lambda x: low <= x.ndim <= high)
    if x is None:
        return None
    number = s.values[x]
    if f in ("sort", "maximum.accumulate", "quantile") and not distinct(number):
        return None
    if "arg" in f + template and len(np.unique(number)) < number.size:
        return None
    if "arg" in template and not distinct(number):
        return None
    if f == "interp" and not 2 <= number.size <= 5:
        return None
    k = s.axis(number.ndim)
    if f in ("diff", "gradient", "trapezoid", "delete") and number.shape[k] < 2:
        return None
    if f == "cov" and number.shape[-1] < 2:
        return None
    return f"np.{template.format(x=x, k=k, n=number.size)}"


def _reshape(s: Scope) -> str | None:
    x = s.name()
    assert x is not None
    shape = s.shape(x)
    size = math.prod(shape)
    kind = s.function("reshape")
    if kind == "transpose":
        return f"np.transpose({x}, {tuple(s.draw(st.permutations(range(len(shape)))))})"
    if kind == "broadcast_to":
        return f"np.broadcast_to({x}, {(2, *shape)})" if 2 * size <= _LARGEST else None
    if kind in ("squeeze", "atleast_3d"):
        return f"np.{kind}({x})"
    first = s.any(*(n for n in range(1, size + 1) if size % n == 0))
    return f"np.reshape({x}, {s.any((-1,), (first, -1), (first, size // first, 1))})"


def _join(s: Scope) -> str | None:
    x = s.name(lambda x: x.ndim > 0)
    if x is None:
        return None
    shape = s.shape(x)
    k = s.axis(len(shape))

    def fits(y: Array) -> bool:
        rest = list(y.shape)
        if len(rest) != len(shape):
            return False
        rest[k] = shape[k]
        return tuple(rest) == shape

    f = s.function("join")
    same = f != "concatenate"
    y = s.name(lambda y: y.shape == shape if same else fits(y))
    arrays = f"[{x}, {y}]" if s.draw(st.booleans()) else f"[{y}, {x}, np.cos({x})]"
    return f"np.{f}({arrays}" + (")" if f in ("vstack", "hstack") else f", axis={k})")


def _product(s: Scope) -> str | None:
    kind = s.function("product")
    x = s.name(lambda x: x.ndim > 0)
    if x is None:
        return None
    a = s.shape(x)
    if kind == "matmul":

        def fits(y: Array) -> bool:
            try:
                return np.matmul(s.values[x], y).size <= _LARGEST
            except ValueError:
                return False

        y = s.name(fits)
        transposed = f"np.swapaxes({x}, -1, -2)" if len(a) > 1 else x
        return f"{x} @ {y or transposed}"
    if kind == "einsum":
        y = s.name()
        assert y is not None
        return _einsum(s, x, y)
    y = s.name(lambda y: y.ndim > 0) if kind in ("outer", "kron") else x
    if kind in ("outer", "kron"):
        return f"np.{kind}({x}, {y})" if s.values[x].size * s.values[y].size <= _LARGEST else None
    y = s.name(lambda y: y.ndim > 0 and y.shape[-1] == a[-1])
    b = s.shape(y)
    if kind == "dot":
        return f"np.dot({x}, {y}.T)" if len(b) <= 2 else None
    if kind == "tensordot":
        return f"np.tensordot({x}, {y}, axes=([-1], [{s.any(-1, len(b) - 1)}]))"
    return f"np.inner({x}, {y})"


def _einsum(s: Scope, x: str, y: str) -> str | None:
    lengths: dict[str, int] = {}
    terms = []
    for name in (x, y):
        term = ""
        for n in s.shape(name):
            new = "ijklmnpq"[len(lengths)]
            letter = s.any(new, *(c for c, length in lengths.items() if length == n))
            lengths[letter] = n
            term += letter
        terms.append(term)
    if math.prod(lengths.values()) > 4 * _LARGEST:
        return None
    kept = s.draw(st.lists(st.sampled_from(sorted(lengths)), unique=True)) if lengths else []
    return f"np.einsum('{','.join(terms)}->{''.join(kept)}', {x}, {y})"


def _where(s: Scope) -> str | None:
    f, x = s.function("where"), s.name()
    assert x is not None
    if f == "clip":
        return f"np.clip({x}, -0.7, 0.9)" if away(s.values[x], -0.7, 0.9) else None
    y = s.partner(x)
    bound = s.any("0.1", y)
    test = s.any(f"{x} > {bound}", f"np.logical_and({x} <= {bound}, {x} > -1.0)")
    if not away(s.compute(f"{x} - {bound}"), 0.0) or not away(s.values[x], -1.0):
        return None
    if f == "select":
        return f"np.select([{test}], [np.sin({y})], {s.any('0.0', '0.5')})"
    return f"np.where({test}, {s.any(x, f'np.exp(-{x} * {x})')}, {y})"


def _linalg(s: Scope) -> str | None:
    f = s.function("linalg")
    x = s.name(lambda x: x.ndim > 1)
    if x is None:
        return None
    wide = s.fit(x)
    n, m = s.shape(x)[-2:]
    if f in ("pinv", "svd", "qr") and (n > m or n == m):
        weak = np.linalg.svd(s.compute(wide), compute_uv=False)
        apart = -np.diff(weak, axis=-1)
        if np.min(weak) < 0.3 or (f == "svd" and apart.size and np.min(apart) < 0.3):
            return None
        return {
            "pinv": f"np.linalg.pinv({wide})",
            "svd": f"np.linalg.svd({wide}, compute_uv=False)",
            "qr": f"np.linalg.qr({wide})[1]",
        }[f]
    matrix = f"(4.0 * np.eye({n}, dtype={x}.dtype) + {wide} @ np.swapaxes({wide}, -1, -2))"
    if n == m and f not in ("cholesky", "eigvalsh"):
        matrix = f"(4.0 * np.eye({n}, dtype={x}.dtype) + np.tanh({wide}))"
    if f == "slogdet":
        return f"np.linalg.slogdet({matrix})[1]"
    if f == "solve":
        y = s.name(lambda y: y.ndim == 2 and y.shape[0] == n)
        return f"np.linalg.solve({matrix}, {y or f'np.cos({x})'})"
    if f == "matrix_power":
        return f"np.linalg.matrix_power({matrix}, {s.any(2, 3, -1)})"
    if f == "norm":
        return f"np.linalg.norm({matrix}, axis=(-2, -1))"
    if f == "eigvalsh":
        apart = np.diff(s.compute(f"np.linalg.eigvalsh({matrix})"), axis=-1)
        if apart.size and np.min(apart) < 0.3:
            return None
    return None if f in ("svd", "pinv", "qr") else f"np.linalg.{f}({matrix})"


MAKERS: dict[str, Callable[[Scope], str | None]] = {
    "operator": _operator,
    "unary": _unary,
    "binary": _binary,
    "reduce": _reduce,
    "index": _index,
    "reshape": _reshape,
    "along": _along,
    "product": _product,
    "join": _join,
    "where": _where,
    "linalg": _linalg,
}


FUNCTIONS: dict[str, list[str]] = {
    "operator": _OPERATORS,
    "unary": [*UNARY, *OWN],
    "binary": [*BINARY, "xlogy"],
    "reduce": [*_REDUCTIONS, *_OWN_REDUCTIONS],
    "index": ["basic", "integers", "mask", "mixed"],
    "reshape": ["reshape", "transpose", "broadcast_to", "squeeze", "atleast_3d"],
    "along": _ALONG,
    "product": ["matmul", "einsum", "outer", "inner", "tensordot", "kron", "dot"],
    "join": ["concatenate", "stack", "vstack", "hstack"],
    "where": ["where", "clip", "select"],
    "linalg": ["det", "inv", "solve", "slogdet", "cholesky", "eigvalsh", "svd", "matrix_power",
               "norm", "pinv", "qr"],
}  # fmt: skip


def _line(s: Scope) -> str:
    """Draw a line; where what was drawn does not fit the numbers, something harmless."""
    kinds = [k for k in MAKERS if s.opening is None or s.opening in FUNCTIONS[k]]
    line = MAKERS[s.any(*(k for k in kinds if k not in s.without))](s)
    if line is None:
        line = f"np.sin({s.name()})"
    try:
        y = s.compute(line)
    except FloatingPointError:
        return f"np.sin({s.name()})"
    assert y.dtype == np.float64, line
    if not 1 <= y.size <= _LARGEST or y.ndim > 4:
        return f"np.sum({line})"
    return f"np.arcsinh({line})" if np.max(np.abs(y)) > 20.0 else line


@st.composite
def programs(
    draw: Any,
    without: frozenset[str] = frozenset(),
    opening: str | None = None,
    most: int = 10,
    dims: int = 0,
) -> Program:
    """Draw a program.

    Without certain functions; with a certain one in its first line, if it fits; of at most so many
    lines; of inputs of at least so many dimensions.
    """
    count = draw(st.integers(1, 3))
    strategy = hnp.mutually_broadcastable_shapes(
        num_shapes=count, min_dims=dims, max_dims=3, max_side=3
    )
    shapes = draw(strategy).input_shapes
    values = dict(zip(_NAMES, draw_inputs(shapes), strict=False))
    scope = Scope(draw, values, without, opening)
    lines: list[str] = []
    for i in range(draw(st.integers(1, most))):
        lines.append(_line(scope))
        scope.opening = None
        values[f"v{i}"] = scope.compute(lines[-1])
    text = " ".join(lines)
    unused = [f"v{i}" for i in range(len(lines)) if f"v{i}" not in text.replace("np.", "")]
    return Program(tuple(shapes), tuple(lines), tuple(unused))


# --- the same functions of complex numbers -------------------------------------------------------


class NotAnalyticError(Exception):
    """There is no complex extension of a function here."""


def _re(x: Any) -> Any:
    return np.real(x)


def _absolute(x: Any) -> Any:
    return np.where(_re(x) < 0.0, -x, x)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


def _var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    centred = x - np.mean(x, axis=axis, keepdims=True)
    return np.mean(centred * centred, axis=axis, keepdims=keepdims)


def _log_of_sum(a: Any, b: Any, log: Any = np.log, exp: Any = np.exp) -> Any:
    high, low = np.where(_re(a) > _re(b), a, b), np.where(_re(a) > _re(b), b, a)
    return high + log(1.0 + exp(low - high))


def _logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def _softplus(x: Any) -> Any:
    return _log_of_sum(x, 0.0 * x)


def _i0(x: Any) -> Any:
    return sum((x * x / 4.0) ** k / math.factorial(k) ** 2 for k in range(40))


def _scaled(factor: float) -> Callable[[Any], Any]:
    return lambda x: x * factor


def _same(x: Any) -> Any:
    return x


def _clip(x: Any, low: float, high: float) -> Any:
    return np.where(_re(x) < low, low, np.where(_re(x) > high, high, x))


def _refuse(*args: Any, **keywords: Any) -> Any:
    raise NotAnalyticError


_OVERRIDES: dict[str, Any] = {
    "absolute": _absolute,
    "abs": _absolute,
    "fabs": _absolute,
    "hypot": lambda a, b: np.sqrt(a * a + b * b),
    "arctan2": lambda a, b: np.arctan(a / b),  # both are positive here
    "logaddexp": _log_of_sum,
    "logaddexp2": lambda a, b: _log_of_sum(a, b, np.log2, np.exp2),
    "cbrt": lambda x: x ** (1.0 / 3.0),
    "copysign": lambda a, b: np.where(_re(b) < 0.0, -_absolute(a), _absolute(a)),
    "heaviside": lambda a, b: np.where(_re(a) > 0.0, 1.0, 0.0) + 0.0 * b,
    "remainder": lambda a, b: a - np.floor(_re(a) / _re(b)) * b,
    "fmod": lambda a, b: a - np.trunc(_re(a) / _re(b)) * b,
    "deg2rad": _scaled(math.pi / 180.0),
    "radians": _scaled(math.pi / 180.0),
    "rad2deg": _scaled(180.0 / math.pi),
    "degrees": _scaled(180.0 / math.pi),
    "sinc": lambda x: np.sin(math.pi * x) / (math.pi * x),
    "i0": _i0,
    "real": _same,
    "conjugate": _same,
    "nan_to_num": _same,
    "var": _var,
    "std": lambda x, **how: np.sqrt(_var(x, **how)),
    "clip": _clip,
    "cov": _refuse,
    "interp": _refuse,
    "quantile": _refuse,
    "fft": SimpleNamespace(rfft=_refuse, irfft=_refuse, fft=_refuse, ifft=_refuse),
}

_OWN_ANALYTIC = {
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "relu": lambda x: np.where(_re(x) > 0.0, x, 0.0),
    "softplus": _softplus,
    "log_sigmoid": lambda x: -_softplus(-x),
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "gelu": _refuse,
    "gelu_tanh": lambda x: (
        0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "elu": lambda x: np.where(_re(x) > 0.0, x, np.exp(x) - 1.0),
    "leaky_relu": lambda x: np.where(_re(x) > 0.0, x, 0.01 * x),
    "hard_tanh": lambda x: _clip(x, -1.0, 1.0),
    "entr": lambda x: -x * np.log(x),
    "xlogy": lambda a, b: a * np.log(b),
    "logsumexp": _logsumexp,
    "softmax": lambda x, axis: np.exp(x - _logsumexp(x, axis, True)),
    "log_softmax": lambda x, axis: x - _logsumexp(x, axis, True),
}


class Module:
    """Stands for a module: what it has itself, else what another one has."""

    def __init__(self, own: dict[str, Any], other: Any) -> None:
        self.__dict__.update(own)
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


_LINALG = {
    "norm": _norm,
    "slogdet": lambda x: (None, np.log(np.linalg.det(x))),
    "cholesky": _refuse,
    "eigvalsh": _refuse,
    "svd": _refuse,
    "pinv": _refuse,
    "qr": _refuse,
}

#: NumPy and this package's functions, extended to complex numbers; `NotAnalyticError` for some.
ANALYTIC: dict[str, Any] = {
    "np": Module(_OVERRIDES | {"linalg": Module(_LINALG, np.linalg)}, np),
    "tg": Module(_OWN_ANALYTIC, None),
}


def elements(x: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Yield each position, and the unit vector there."""
    for at in np.ndindex(x.shape):
        e = np.zeros(x.shape)
        e[at] = 1.0
        yield at, e
