"""Inputs to check a function with: anywhere in its domain, at its kinks, beside them, with ties."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.primitive import REAL, Domain, Primitive
from tinygrad_nn.tensor import Tensor

__all__ = ["PLACES", "find_kinks", "per_input", "sample_inputs", "shapes_of"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

#: Where inputs may lie, see `sample_inputs`.
PLACES = ("away", "kink", "near", "tie")
#: How far beside a kink "near" is, in units of the kink or of 1, whichever is larger.
NEAR = 1e-6
#: How far an interval without an end is followed, in units of its other end or of 1.
REACH = 3.0
#: Elements in conflict are drawn again so often. With a margin of 1/5, each draw succeeds with a
#: chance of a fifth at the very least.
ROUNDS = 200


@dataclass(frozen=True)
class _Input:
    """What one input is drawn from."""

    shape: Shape
    dtype: np.dtype[Any]
    domain: Domain
    kinks: tuple[float, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def array(self, values: Array) -> Array:
        return np.asarray(values, self.dtype).reshape(self.shape)


# --- reading the arguments -----------------------------------------------------------------------


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float | np.integer | np.floating)


def shapes_of(shapes: Any) -> tuple[Shape, ...]:
    """Return one shape per input: ``3`` and ``(2, 3)`` are one input, ``((3,), ())`` are two."""
    if _is_number(shapes):
        shapes = (shapes,)
    if all(_is_number(item) for item in shapes):
        shapes = (shapes,)
    found = tuple((s,) if _is_number(s) else tuple(s) for s in shapes)
    for shape in found:
        if not all(isinstance(n, int | np.integer) and n >= 0 for n in shape):
            raise ValueError(
                f"a shape is a tuple of integers that are not negative, got {shape!r}; several "
                f"inputs are a tuple of shapes: ((3, 4), (4,))"
            )
    return found


def per_input(what: str, given: Any, one: Callable[[Any], bool], n: int) -> tuple[Any, ...]:
    """Return `n` items: `given` is one for all inputs, or a sequence of one each."""
    items = (given,) * n if one(given) else tuple(given)
    if len(items) != n:
        raise ValueError(f"{what}: there are {n} input(s), got {len(items)}; give one for all, or "
                         f"one for each")  # fmt: skip
    return items


def _window(domain: Any, kinks: Sequence[float]) -> Domain:
    """Return a finite interval: an infinite one is cut off behind the kinks."""
    try:
        lo, hi = map(float, domain)
    except (TypeError, ValueError):
        raise ValueError(
            f"a domain is an interval (lo, hi), or one such per input, got {domain!r}"
        ) from None
    if not lo < hi:
        raise ValueError(f"the domain ({lo}, {hi}) is empty: give lo < hi")
    outside = [kink for kink in kinks if not lo <= kink <= hi]
    if outside:
        raise ValueError(
            f"the kink at {outside[0]} is outside the domain ({lo}, {hi}); widen domain= or "
            f"leave the kink out"
        )
    ends = [end for end in (lo, hi) if math.isfinite(end)] or [0.0]
    points = [*ends, *kinks]
    if math.isinf(lo):
        lo = min(points) - REACH * max(1.0, abs(min(points)))
    if math.isinf(hi):
        hi = max(points) + REACH * max(1.0, abs(max(points)))
    return lo, hi


# --- drawing -------------------------------------------------------------------------------------


def _integers(rng: np.random.Generator, part: _Input) -> Array:
    """Return integers, or booleans, which are constants to a gradient."""
    if part.dtype.kind == "b":
        return rng.random(part.shape) < 0.5
    lo, hi = math.ceil(part.domain[0]), math.floor(part.domain[1])
    if part.dtype.kind == "u":
        lo = max(lo, 0)
    if lo > hi:
        raise ValueError(
            f"there is no {part.dtype} in the domain {part.domain}; give domain= one interval per "
            f"input: domain=((-3.0, 3.0), (0, 9))"
        )
    return part.array(rng.integers(lo, hi, part.shape, endpoint=True))


def _apart(rng: np.random.Generator, parts: Sequence[_Input], margin: float) -> list[Array]:
    """Return numbers for each input, away from kinks, from the ends, and from each other."""
    sizes = [part.size for part in parts]
    n = sum(sizes)
    ends = np.repeat([part.domain for part in parts], sizes, axis=0)
    reach = margin * (ends[:, 1] - ends[:, 0])
    low, high, gap = ends[:, 0] + reach, ends[:, 1] - reach, reach / max(n, 1)
    stops = np.cumsum(sizes).tolist()
    slices = [slice(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]
    x = np.empty(n)
    bad = np.ones(n, bool)
    for _ in range(ROUNDS):
        x[bad] = rng.uniform(low[bad], high[bad])
        bad[:] = False
        for part, here in zip(parts, slices, strict=True):
            x[here] = x[here].astype(part.dtype)  # the rounded numbers are what is apart
            for kink in part.kinks:
                bad[here] |= abs(x[here] - kink) < reach[here] / len(part.kinks)
        order = np.argsort(x)
        close = np.diff(x[order]) < np.minimum(gap[order][1:], gap[order][:-1])
        bad[order[1:][close]] = True
        if not bad.any():
            return [x[here] for here in slices]
    raise ValueError(
        f"{n} elements of {', '.join(sorted({str(p.dtype) for p in parts}))} cannot be as far "
        f"apart as margin={margin} asks: give fewer elements, a wider dtype or domain, or a "
        f"smaller margin (0 allows ties)"
    )


def _put_kinks(rng: np.random.Generator, part: _Input, x: Array, beside: bool) -> Array:
    """Put half of the elements, at least one, at kinks or a little beside them."""
    chosen = rng.permutation(x.size)[: -(-x.size // 2)]
    lo, hi = part.domain
    step = max(NEAR, 4.0 * float(np.finfo(part.dtype).eps))
    for k, i in enumerate(chosen.tolist()):
        # Every kink has its turn, and then again: with the other zero, or on its other side.
        turn, which = divmod(k, len(part.kinks))
        kink, sign = part.kinks[which], 1.0 if turn % 2 == 0 else -1.0
        if beside:
            move = step * max(1.0, abs(kink)) * (1 + turn // 2)
            if not lo <= kink + sign * move <= hi:
                sign = -sign
            x[i] = kink + sign * move
        else:
            x[i] = math.copysign(0.0, sign) if kink == 0.0 else kink
    return x


def _tied(rng: np.random.Generator, parts: Sequence[_Input], margin: float) -> list[Array]:
    """Return inputs of two numbers only, the same two in all of them."""
    lo = max(part.domain[0] for part in parts)
    hi = min(part.domain[1] for part in parts)
    if not lo < hi:
        raise ValueError(
            f"there are no ties between inputs whose domains {[p.domain for p in parts]} have "
            f"nothing in common; give one domain= for all"
        )
    # The narrowest dtype, so that the numbers are equal in all.
    dtype = min((part.dtype for part in parts), key=lambda t: t.itemsize)
    kinks = tuple(sorted({k for part in parts for k in part.kinks if lo <= k <= hi}))
    two = _Input((2,), dtype, (lo, hi), kinks)
    below, above = np.sort(_apart(rng, [two], margin)[0])
    found = []
    for part in parts:
        x = np.where(rng.random(part.size) < 0.5, below, above)
        # So that the smallest and the largest are tied for sure, and inputs with each other.
        x[-2:] = below
        x[:2] = above
        found.append(x)
    return found


def sample_inputs(
    f: Callable[..., Any] | None = None,
    shapes: Any = (3,),
    *,
    domain: Any = None,
    kinks: Any = None,
    at: str = "away",
    dtype: Any = "float64",
    margin: float = 0.05,
    rng: int | np.random.Generator | None = 0,
) -> tuple[Array, ...]:
    """Draw inputs to check a function with: away from its kinks, at them, or beside them.

    Parameters
    ----------
    f : callable, optional
        The function. A primitive's domain is used, and the kinks of an elementwise function of
        one input are looked for (see `find_kinks`). It may be left out.
    shapes : int, tuple of int, or tuple of these
        The shape of the one input, or a shape for each.
    domain : tuple of float, or tuple of these, optional
        The interval ``(lo, hi)`` that elements are drawn from, one for all inputs or one for each.
        It is open, and its ends may be infinite. By default the primitive's, else ``(-3, 3)``.
    kinks : float, sequence of float, or sequence of these, optional
        The numbers at which `f` has kinks: ``0.0``, ``(0.0, 6.0)``, or for each input a sequence,
        ``((0.0,), ())``. By default those that `find_kinks` finds; an empty one says that there
        are none.
    at : {"away", "kink", "near", "tie"}
        "away": away from kinks, from the ends of the domain, and from each other. "kink": half
        of the elements of each input with kinks, and at least one, exactly at kinks; every other
        zero is -0.0. "near": the same elements 1e-6 beside the kinks, in units of the kink or of
        1 (4 times the dtype's precision, if that is more). "tie": every element of every input is
        one of two numbers, with the largest, the smallest, and the first of each input tied.
    dtype : dtype_like, or sequence of these
        One for all inputs or one for each. Integers and booleans are drawn as they come, since
        they are constants.
    margin : float
        From 0 to 0.2. With "away", elements are at least this share of the domain's length
        away from its ends, this share divided by the number of kinks away from each kink, and
        this share divided by the number of elements away from each other.
    rng : int, numpy.random.Generator or None
        Source of the numbers: the same seed gives the same bytes.

    Returns
    -------
    tuple of ndarray
        One array per input, of its shape and dtype.

    Raises
    ------
    ValueError
        If a domain is empty, a kink is outside of it, no kink is known where one is asked for, or
        so many elements cannot be so far apart.
    TypeError
        If `dtype` is complex, or there is not one shape per input of the primitive.

    Notes
    -----
    Inputs without elements have nothing at a kink, and a single element is never tied. A kink that
    depends on several inputs, as those of ``np.maximum(a, b)`` do, is met by "tie", not by "kink".

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> (x,) = tg.gradcheck.sample_inputs(tg.relu, (2, 3), at="kink")
    >>> int(np.sum(x == 0.0))
    3
    >>> a, b = tg.gradcheck.sample_inputs(np.maximum, ((4,), (4,)), at="tie")
    >>> bool(tg.gradcheck(np.maximum, (a, b)))
    True
    """
    if at not in PLACES:
        raise ValueError(f"at must be one of {', '.join(map(repr, PLACES))}, got {at!r}")
    if not 0.0 <= margin <= 0.2:
        raise ValueError(f"margin is a share of the domain's length, from 0 to 0.2, got {margin}")
    rng = np.random.default_rng(rng)
    parts = _inputs(f, shapes_of(shapes), domain, kinks, dtype)
    arrays = [_integers(rng, p) if p.dtype.kind != "f" else np.empty(0) for p in parts]
    places = [i for i, part in enumerate(parts) if part.dtype.kind == "f"]
    floating = [parts[i] for i in places]
    if at in ("kink", "near") and not any(part.kinks for part in floating):
        raise ValueError(
            f"at={at!r} needs to know where the kinks are: give kinks=0.0 or kinks=(0.0, 6.0)"
            + ("" if f is not None else ", or an elementwise function to find them")
            + '; where inputs are compared with each other, at="tie"'
        )
    drawn = (_tied if at == "tie" else _apart)(rng, floating, margin) if floating else []
    for i, part, x in zip(places, floating, drawn, strict=True):
        if at in ("kink", "near") and part.kinks:
            x = _put_kinks(rng, part, x, beside=at == "near")
        arrays[i] = part.array(x)
    return tuple(arrays)


def _inputs(f: Any, shapes: tuple[Shape, ...], domain: Any, kinks: Any, dtype: Any) -> list[_Input]:
    """Bring the arguments of `sample_inputs` into one row per input."""
    n = len(shapes)
    if isinstance(f, Primitive) and f.arity not in (None, n):
        example = ", ".join(["(2, 3)"] * int(f.arity or 1))
        raise TypeError(f"{f.name} takes {f.arity} input(s), got {n} shape(s); give one per input: "
                        f"shapes=({example},)")  # fmt: skip
    if domain is None:
        own = f.domain if isinstance(f, Primitive) else ()
        domain = own if len(own) == n else (own or (REAL,))[0]
    domains = per_input("domain", domain, lambda d: any(map(_is_number, d)), n)
    if kinks is None:
        kinks = find_kinks(f, domains[0]) if n == 1 and _is_elementwise(f, domains[0]) else ()
    if _is_number(kinks):
        kinks = (kinks,)
    kinks = per_input("kinks", kinks, lambda k: all(map(_is_number, k)), n)
    kinds = per_input("dtype", dtype, lambda t: not isinstance(t, list | tuple), n)
    parts = []
    for shape, interval, points, kind in zip(shapes, domains, kinks, kinds, strict=True):
        points, kind = tuple(map(float, points)), np.dtype(kind)
        if kind.kind not in "fiub":
            raise TypeError(f"inputs are drawn as floats, integers or booleans, not as {kind}")
        parts.append(_Input(shape, kind, _window(interval, points), points))
    return parts


# --- finding kinks -------------------------------------------------------------------------------

#: Intervals that the domain is divided into: kinks closer than two of them are seen as one.
_GRID = 600
#: Intervals that the surroundings of a candidate are divided into, time and again.
_ZOOM = 24
#: The interval at which zooming ends, in units of the number or of 1: half the digits, of which
#: the differences of values leave the other half.
_FINEST = 1e-7
#: Decimals that a kink is rounded to, where it is that close to such a number.
_DECIMALS, _CLOSE = 6, 1e-9


def _values(f: Callable[..., Any], x: Array) -> Array:
    with np.errstate(all="ignore"):
        y = f(x)
    return np.asarray(y.data if isinstance(y, Tensor) else y)


def _is_elementwise(f: Any, domain: Domain) -> bool:
    """Whether `f` is a function of one array that treats each element by itself."""
    if isinstance(f, Primitive):
        return f.elementwise and f.arity == 1
    if f is None:
        return False
    x = np.linspace(*_window(domain, ()), 9)[1:-1]
    try:
        y, reverse, part = _values(f, x), _values(f, x[::-1].copy()), _values(f, x[1:4].copy())
    except Exception:  # a function of something else, which is no mistake
        return False
    return y.shape == x.shape and np.allclose(y, reverse[::-1]) and np.allclose(y[1:4], part)


def _bends(f: Callable[..., Any], x: Array) -> Array:
    """Return by how much the slope changes at each inner point."""
    return np.asarray(abs(np.diff(_values(f, x), n=2)) / (x[1] - x[0]))


def _meeting_point(f: Callable[..., Any], x: float, h: float) -> tuple[float, float]:
    """Return where the lines left and right of `x` meet, and how accurate that is."""
    at = x + h * np.array([-4.0, -2.0, 2.0, 4.0])
    y = _values(f, at)
    left, right = (y[1] - y[0]) / (at[1] - at[0]), (y[3] - y[2]) / (at[3] - at[2])
    with np.errstate(all="ignore"):
        move = float((y[2] - right * (at[2] - x) - y[1] + left * (at[1] - x)) / (left - right))
    if abs(move) <= 2.0 * h:
        return x + move, _CLOSE * max(1.0, abs(x))
    return x, 2.0 * h  # a jump, where no lines meet


def find_kinks(f: Callable[..., Any], domain: Domain = REAL) -> tuple[float, ...]:
    """Find the kinks and jumps of an elementwise function of one input, from its values alone.

    Parameters
    ----------
    f : callable
        A function of one float64 array that returns an array of the same shape, each element of
        which depends on one element of the argument.
    domain : tuple of float
        The interval ``(lo, hi)`` to look in; infinite ends are cut off 3 units away.

    Returns
    -------
    tuple of float
        In increasing order.

    Notes
    -----
    The slopes of `f` between 600 points are compared; where they change most, the surroundings are
    magnified until the change either fades, as it does in a smooth function, or stays. A kink that
    is within 1e-9 of a number with up to six decimals is taken to be that number; others are
    accurate to about 1e-12. Not found: a kink nearer than a hundredth of the domain to another
    one, one that is weaker than the curvature around it, and those at the ends of the domain.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> tg.gradcheck.find_kinks(tg.hard_tanh)
    (-1.0, 1.0)
    >>> tg.gradcheck.find_kinks(np.tanh)
    ()
    """
    lo, hi = _window(domain, ())
    # An irrational share, so that the points do not fall on kinks at round numbers.
    grid = np.linspace(lo + (hi - lo) * 1e-3 / math.pi, hi - (hi - lo) * 1e-3 / math.e, _GRID + 1)
    bends = np.nan_to_num(_bends(f, grid))
    # What rounding of arguments and values may add to a bend, times the interval: some 50 units in
    # the last place.
    y = np.nan_to_num(_values(f, grid))
    slope = float(np.max(abs(np.diff(y)))) / float(grid[1] - grid[0])
    noise = 1e-14 * (float(np.max(abs(y))) + slope * float(np.max(abs(grid))))
    # Beside the ends nothing is a peak: there a pole outside of the domain would look like one.
    around = np.pad(bends, 1, constant_values=math.inf)
    peaks = (bends > 0.0) & (bends >= around[:-2]) & (bends > around[2:])
    found = []
    for i in np.flatnonzero(peaks).tolist():
        x, h, bend = float(grid[i + 1]), float(grid[1] - grid[0]), float(bends[i])
        while h > _FINEST * max(1.0, abs(x)):
            finer = np.linspace(x - 1.5 * h, x + 1.5 * h, _ZOOM + 1)
            inner = np.nan_to_num(_bends(f, finer))
            x, h = float(finer[1 + int(inner.argmax())]), float(finer[1] - finer[0])
            bend = float(inner.max())
        # Over a smooth function the bend has shrunk as the interval has, by a factor of 1e5.
        if bend > max(0.02 * float(bends[i]), noise / h):
            kink, accuracy = _meeting_point(f, x, h)
            rounded = (round(kink, d) for d in range(_DECIMALS + 1))
            found.append(next((r for r in rounded if abs(r - kink) <= accuracy), kink) + 0.0)
    return tuple(sorted(set(found)))
