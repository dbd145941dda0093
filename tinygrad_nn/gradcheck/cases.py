"""Shapes, dtypes and places of inputs as the parameters of a test."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import product
from typing import Any, TypeVar

import numpy as np

from tinygrad_nn.errors import MissingExtraError
from tinygrad_nn.gradcheck.sampling import Array, Shape, per_input, sample_inputs, shapes_of

__all__ = ["cases"]

#: Parameters of tests that never take an input, wherever they stand.
_NO_INPUTS = ("self", "request", "gradcheck")

Test = TypeVar("Test", bound=Callable[..., Any])


def cases(
    f: Callable[..., Any] | None = None,
    *,
    shapes: Sequence[Any],
    dtypes: Sequence[Any] = ("float64",),
    at: Sequence[str] | str = ("away",),
    domain: Any = None,
    kinks: Any = None,
    margin: float = 0.05,
    names: str | Sequence[str] | None = None,
) -> Callable[[Test], Test]:
    """Run a test of pytest with inputs of each shape, each dtype, at each place.

    Parameters
    ----------
    f : callable, optional
        The function that the inputs are for: its domain and kinks, as in `sample_inputs`.
    shapes : sequence
        What to draw: ``(2, 3)`` is one input, ``((3, 4), (4,))`` are two.
    dtypes : sequence of dtype_like
        Each is one dtype for all inputs, or a tuple of one for each.
    at : str, or sequence of str
        Any of "away", "kink", "near" and "tie", as in `sample_inputs`.
    domain, kinks, margin
        As in `sample_inputs`.
    names : str or sequence of str, optional
        The parameters of the test that take the inputs, ``"a, b"`` or ``("a", "b")``; by default
        its last ones beside ``gradcheck`` and ``request``.

    Returns
    -------
    callable
        A decorator. The test runs once for each combination, under a name that tells it:
        ``test_huber[2x3-float32-kink]``; ``0d`` is the shape ``()``.

    Raises
    ------
    MissingExtraError
        If pytest is not installed.
    TypeError
        If the test does not have these parameters.
    ValueError
        If there is no case at all, or the same one twice, or the inputs cannot be drawn.

    Notes
    -----
    The inputs depend on the test's name and the case alone: not on the other tests, on which of
    them run, or in which process. They are read-only, because tests may share them. Stack
    ``pytest.mark.parametrize`` for other parameters, and let the inputs come last.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> def huber(x):
    ...     return np.where(abs(x) < 1.0, 0.5 * x * x, abs(x) - 0.5)
    >>> @tg.gradcheck.cases(huber, shapes=[(3,), (2, 3), ()], dtypes=["float64", "float32"])
    ... def test_huber(gradcheck, x):
    ...     gradcheck(huber, x)
    >>> [case.id for case in test_huber.pytestmark[0].args[1]]
    ['3-float64-away', '3-float32-away', '2x3-float64-away', '2x3-float32-away',
     '0d-float64-away', '0d-float32-away']
    """
    if find_spec("pytest") is None:
        raise MissingExtraError("gradcheck.cases makes parameters of pytest: pip install pytest")
    import pytest

    drawn_shapes = [shapes_of(shape) for shape in shapes]
    places = [at] if isinstance(at, str) else list(at)
    combinations = {
        _name(shape, dtype, place): (shape, dtype, place)
        for shape, dtype, place in product(drawn_shapes, dtypes, places)
    }
    expected = len(drawn_shapes) * len(dtypes) * len(places)
    if not combinations or len(combinations) < expected:
        raise ValueError(
            f"cases needs at least one shape, dtype and place, and each but once; got "
            f"shapes={shapes}, dtypes={dtypes}, at={places}"
        )
    counts = {len(shape) for shape in drawn_shapes}
    if len(counts) > 1:
        raise ValueError(
            f"every case of a test has as many inputs, got shapes of {sorted(counts)} inputs; "
            f"((3, 4), (4,)) are two inputs, (3, 4) is one"
        )

    def decorate(test: Test) -> Test:
        chosen = _names(test, names, *counts)
        parameters = []
        for case, (shape, dtype, place) in combinations.items():
            inputs = sample_inputs(
                f, shape, domain=domain, kinks=kinks, at=place, dtype=dtype, margin=margin,
                rng=zlib.crc32(f"{test.__qualname__}[{case}]".encode()),
            )  # fmt: skip
            parameters.append(pytest.param(*map(_frozen, inputs), id=case))
        parametrized: Test = pytest.mark.parametrize(chosen, parameters)(test)
        return parametrized

    return decorate


def _name(shapes: tuple[Shape, ...], dtype: Any, place: str) -> str:
    """Return what pytest shows of a case: ``3x4-4-float32-kink``."""
    kinds = per_input("dtypes", dtype, lambda t: not isinstance(t, list | tuple), len(shapes))
    dtypes = [np.dtype(kind).name for kind in kinds]
    sizes = ["x".join(map(str, shape)) or "0d" for shape in shapes]
    return "-".join([*sizes, *(dtypes if len(set(dtypes)) > 1 else dtypes[:1]), place])


def _names(test: Callable[..., Any], names: str | Sequence[str] | None, n: int) -> list[str]:
    """Return the parameters of a test that take its inputs."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    own = [
        p.name
        for p in inspect.signature(test).parameters.values()
        if p.kind in kinds and p.name not in _NO_INPUTS
    ]
    if names is None:
        chosen = own[len(own) - n :] if len(own) >= n else []
    else:
        given = names.split(",") if isinstance(names, str) else names
        chosen = [name.strip() for name in given]
    if len(chosen) != n or not set(chosen) <= set(own):
        raise TypeError(
            f"{test.__qualname__} has the parameters ({', '.join(own)}) for inputs, which are {n}"
            f"{'' if names is None else f' as {names!r}'}; give it one parameter for each, last"
        )
    return chosen


def _frozen(x: Array) -> Array:
    x.flags.writeable = False
    return x
