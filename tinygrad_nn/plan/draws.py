"""Random numbers in a captured step: each draw becomes an instruction that draws again.

A replay calls the same generator with the same arguments in the same order, so that it draws the
numbers that the function itself would have drawn, and leaves the generator in the same state.
"""

from __future__ import annotations

import gc
import random
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.errors import CaptureError, ShapeError
from tinygrad_nn.graph import Node, capturing
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.traced import Traced, refusal

__all__ = [
    "METHODS",
    "Draws",
    "Source",
    "drawing",
    "equal",
    "is_generator",
    "is_legacy",
    "is_source",
    "sources",
    "stand_in",
]

#: Draws that can be written into an array, and how others follow from them.
_INTO: dict[str, tuple[str, Callable[..., Any] | None]] = {
    "random": ("random", None),
    "standard_normal": ("standard_normal", None),
    "standard_exponential": ("standard_exponential", None),
    "normal": ("standard_normal", lambda loc=0.0, scale=1.0: (scale, loc)),
    "uniform": ("random", lambda low=0.0, high=1.0: (high - low, low)),
}

#: In place of a captured number among the arguments of a draw.
_hole = object()

#: Names that tell that code draws random numbers.
METHODS = (
    "random", "default_rng", "normal", "standard_normal", "uniform", "integers", "permutation",
    "permuted", "shuffle", "choice", "exponential", "binomial", "poisson", "rand", "randn",
)  # fmt: skip

_PERMUTATION = "Use permutation(x) or permuted(x), which return a new array"


def is_generator(item: Any) -> bool:
    """Return whether this is a generator of NumPy, which is not imported for the question."""
    kind = type(item)
    return kind.__name__ == "Generator" and kind.__module__.startswith("numpy.random")


def is_legacy(item: Any) -> bool:
    """Return whether random numbers come from this whose draws are not captured."""
    kind = type(item)
    if isinstance(item, random.Random):
        return not isinstance(item, random.SystemRandom)
    if not str(kind.__module__).startswith("numpy.random"):
        return False
    return kind.__name__ == "RandomState" or hasattr(item, "random_raw")


def is_source(item: Any) -> bool:
    """Return whether random numbers come from this: a generator, its method, or `default_rng`."""
    if isinstance(item, types.MethodType):
        return is_generator(item.__self__)
    if type(item).__name__ == "cython_function_or_method":
        return bool(item.__name__ == "default_rng")
    return is_generator(item)


def stand_in(item: Any, name: str, capture: Any) -> Any:
    """Return what stands for a source of random numbers while a step is captured."""
    if is_generator(item):
        return capture.draws(item, name)
    if isinstance(item, types.MethodType):
        draws = capture.draws(item.__self__, name)
        return lambda *args, **keywords: getattr(draws, item.__name__)(*args, **keywords)

    def default_rng(seed: Any = None) -> Any:
        if capturing() is not capture:
            return item(seed._generator if isinstance(seed, Draws) else seed)
        if isinstance(seed, Draws):
            return seed
        if seed is None:
            raise refusal(
                "np.random.default_rng() draws a new seed at every call, which a replay would not",
                "Make the generator outside the compiled function: rng = np.random.default_rng()",
            )
        return item(seed)

    return default_rng


class Draws:
    """What stands for a generator while a step is captured."""

    def __init__(self, generator: Any, name: str, capture: Any) -> None:
        self._generator = generator
        self._name = name or "rng"
        self._capture = capture

    def __repr__(self) -> str:
        return repr(self._generator)

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._generator, method)
        if capturing() is not self._capture:
            return found  # in another thread, which draws as ever
        if method == "shuffle":
            raise refusal(f"{self._name}.shuffle() changes an array in place", _PERMUTATION)
        if not callable(found) or method in ("spawn", "bytes"):
            raise refusal(
                f"{self._name}.{method} of a generator is asked for, which a replay would not do",
                "Use it outside the compiled function",
            )

        def draw(*args: Any, **keywords: Any) -> Any:
            if capturing() is not self._capture:
                return found(*args, **keywords)
            return self._draw(method, args, keywords)

        return draw

    def _draw(self, method: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if keywords.pop("out", None) is not None:
            raise refusal(
                f"{self._name}.{method}(out=) writes into an array, which a replay would not do",
                "Leave `out` away, and use what is returned",
            )
        args = tuple(map(_numbers, args))
        keywords = {key: _numbers(value) for key, value in keywords.items()}
        if type(keywords.get("size")) is Traced:
            raise refusal(
                f"the size of {self._name}.{method}() depends on numbers that are known only in a "
                f"replay",
                "Draw a fixed number, and select with a mask",
            )
        arrays = [a for a in (*args, *keywords.values()) if type(a) is Traced]
        find = getattr(self._generator, method)
        example = find(*map(_example, args), **{k: _example(v) for k, v in keywords.items()})
        self._capture.has_drawn(self._generator)
        array = np.asarray(example)
        if array.dtype.kind not in "fiubc":
            raise refusal(
                f"{self._name}.{method}() draws what is no number", "Draw it outside the function"
            )
        forward = None
        if not arrays and array.ndim and array.flags.c_contiguous:
            forward = _into(self._generator, method, args, keywords, array)
        forward = forward or _calling(find, args, keywords, array.shape)
        drawn = Primitive(forward, name=f"draw_{method}")
        weak = not isinstance(example, np.ndarray | np.generic)
        return self._capture.drawn(drawn, tuple(arrays), array, weak)


def _numbers(a: Any) -> Any:
    if isinstance(a, Node):
        a = a._seen()
    if isinstance(a, list | tuple) and any(isinstance(v, Node | Traced) for v in a):
        raise CaptureError(
            "a list or tuple of captured numbers is given to a generator: give it one array "
            "(np.stack)"
        )
    return a.copy() if type(a) is not Traced and isinstance(a, np.ndarray) else a


def _example(a: Any) -> Any:
    return a.example if type(a) is Traced else a


def _calling(
    find: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any], shape: Any
) -> Callable[..., Any]:
    """Return a function of the captured arguments that draws."""
    # What the captured run has drawn from must not be kept alive by its program.
    args = tuple(_hole if type(a) is Traced else a for a in args)
    keywords = {k: _hole if type(a) is Traced else a for k, a in keywords.items()}

    def forward(*arrays: Any) -> Any:
        rest = iter(arrays)
        now = [next(rest) if a is _hole else a for a in args]
        y = find(*now, **{k: next(rest) if a is _hole else a for k, a in keywords.items()})
        if np.shape(y) != shape:
            raise ShapeError(f"drew an array of shape {np.shape(y)}, in the captured run {shape}")
        return y

    return forward


def _into(
    generator: Any, method: str, args: tuple[Any, ...], keywords: dict[str, Any], example: Any
) -> Callable[..., Any] | None:
    """Return a function that draws into an array, None for a method that has no such form."""
    if method not in _INTO:
        return None
    base, affine = _INTO[method]
    draw = getattr(generator, base)
    dtype, size = example.dtype, example.shape

    def forward(*, out: Any) -> Any:
        if out.flags.c_contiguous:
            return draw(size, dtype, out=out)
        np.copyto(out, draw(size, dtype))  # numbers are drawn in the order of the indices
        return out

    if affine is None:
        return None if args[2:] or keywords.keys() - {"size", "dtype"} else forward
    given = {key: value for key, value in keywords.items() if key != "size"}
    if any(np.ndim(value) for value in (*args[:2], *given.values())):
        return None
    factor, offset = affine(*args[:2], **given)

    def scaled(*, out: Any) -> Any:
        forward(out=out)
        out *= factor
        out += offset
        return out

    return scaled


# --- states --------------------------------------------------------------------------------------


class Source(NamedTuple):
    """Something that random numbers come from, and its state."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], Any]
    state: Any
    bits: Any = None  # the bit generator of a generator whose draws are captured

    @property
    def has_moved(self) -> bool:
        """Whether something was drawn from it."""
        return not equal(self.get(), self.state)

    def restore(self) -> None:
        """Put it back into its state."""
        if self.has_moved:
            self.set(self.state)


def equal(a: Any, b: Any) -> bool:
    """Return whether two states of a generator are the same."""
    if isinstance(a, dict):
        return all(equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(equal, a, b)) if len(a) < 10 else a == b
    return bool(np.all(a == b))


def _of_generator(generator: Any, known: bool) -> Source:
    bits = generator.bit_generator

    def put(state: Any) -> None:
        bits.state = state

    name = "a generator that the compiled function reaches by a way that is not followed"
    return Source(name, lambda: bits.state, put, bits.state, bits if known else None)


def _of_legacy(item: Any) -> Source:
    name = f"a {type(item).__name__}, whose draws are not captured"
    if hasattr(item, "random_raw"):
        return Source(
            name, lambda: item.state, lambda state: setattr(item, "state", state), item.state
        )
    get, put = (item.getstate, item.setstate) if isinstance(item, random.Random) else (
        item.get_state, item.set_state
    )  # fmt: skip
    return Source(name, get, put, get())


def sources(generators: Iterable[Any], legacy: Iterable[Any] = (), *, look: bool) -> list[Source]:
    """Return all sources of random numbers, first the generators whose draws are captured.

    `legacy` are others that the function refers to.

    `look` says whether the code mentions random numbers at all: all generators that there are will
    then be looked at, to find out if one is drawn from that nobody knows of.
    """
    known = {id(g): g for g in generators}
    found = [_of_generator(g, True) for g in known.values()]
    found.append(Source("Python's random", random.getstate, random.setstate, random.getstate()))
    others = {id(item): item for item in legacy}
    found += map(_of_legacy, others.values())
    if look or "numpy.random" in sys.modules:
        shared = np.random.mtrand._rand
        found.append(
            Source(
                "np.random (its global state)", shared.get_state, shared.set_state,
                shared.get_state(),
            )
        )  # fmt: skip
    if look:
        kind = np.random.Generator
        kinds = (kind, np.random.RandomState, random.Random)
        hidden = [g for g in gc.get_objects() if type(g) in kinds and id(g) not in known]
        found += [_of_generator(g, False) for g in hidden if type(g) is kind]
        found += [_of_legacy(g) for g in hidden if type(g) is not kind and id(g) not in others]
    return found


def drawing(call: Callable[..., Any], generators: list[Any], miss: Any) -> Callable[..., Any]:
    """Return a replay that leaves generators as they were where it does not serve a call."""
    bits = [g.bit_generator for g in generators]

    def restoring(*args: Any) -> Any:
        states = [b.state for b in bits]
        result = miss
        try:
            result = call(*args)
        finally:
            if result is miss:
                for b, state in zip(bits, states, strict=True):
                    b.state = state
        return result

    return restoring
