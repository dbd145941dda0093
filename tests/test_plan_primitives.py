"""Every primitive and every composition of the registry: compiled, the same as eager.

Each is called three times with other numbers of the same shapes, forward alone on plain arrays and
with its gradients on tensors, in double and in single precision.
"""

import ctypes
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_eager import TOLERANCE, as_leaf, backwards, check
from samples import CALLS, Sample, draw, samples, takes_floats
from samples.rows import Call
from test_primitives import about, quiet

import tinygrad_nn as tg
from tinygrad_nn import tensor
from tinygrad_nn.errors import CaptureError
from tinygrad_nn.plan.reuse import _SAFE
from tinygrad_nn.primitive import REAL
from tinygrad_nn.rules import TABLE

Array = np.ndarray

EVERY = pytest.mark.parametrize("name", TABLE)
PRECISIONS = pytest.mark.parametrize("dtype", [np.float64, np.float32])

# --- other numbers -------------------------------------------------------------------------------


def redrawn(sample: Sample, k: int, dtype: Any) -> list[Any]:
    """Return the arguments of a sample, at the k-th call other numbers of the same kind.

    Elementwise primitives get new ones from their domain; what has a structure keeps it.
    """
    rng = np.random.default_rng(k)
    p = sample.primitive
    domains = (p.domain or (REAL,)) * len(sample.args)
    args = []
    for a, domain in zip(sample.args, domains, strict=False):
        if not isinstance(a, np.ndarray):
            args.append(a)
            continue
        if not k:
            new = a
        elif a.dtype.kind != "f":
            new = rng.permutation(a.ravel()).reshape(a.shape)
        elif p.elementwise:
            new = draw(rng, a.shape, domain, not takes_floats(p))
        else:
            new = a * rng.uniform(0.9, 1.1, a.shape)
        args.append(np.asarray(new, dtype if a.dtype.kind == "f" else a.dtype))
    return args


def on_arrays(sample: Sample, dtype: Any) -> list[list[Any]]:
    return [redrawn(sample, k, dtype) for k in range(3)]


def on_leaves(sample: Sample, dtype: Any) -> list[list[Any]]:
    return [[as_leaf(a) for a in args] for args in on_arrays(sample, dtype)]


# --- what cannot be compiled ---------------------------------------------------------------------


def _by_a_mask(sample: Sample) -> bool:
    return any(isinstance(a, np.ndarray) and a.dtype == bool for a in sample.args[1:])


def _never(sample: Sample) -> bool:
    return False


#: Primitives whose result has a shape or dtype that depends on numbers: for which samples forward
#: is refused, for which the gradient is, and what the error says.
REFUSED: dict[str, tuple[Callable[..., bool], Callable[..., bool], str]] = {
    "getitem": (_by_a_mask, _by_a_mask, "x[mask]"),
    "scatter_add": (_never, _by_a_mask, "x[mask]"),  # its rule is x[mask]
    "index_set": (_never, _by_a_mask, "x[mask]"),  # the rule of the values
    "unique_part": (lambda s: s.static["part"] != "inverse",) * 2 + ("distinct values",),
    "eig": (lambda s: True,) * 2 + ("complex",),
    "eigvals": (lambda s: True,) * 2 + ("complex",),
}
NOTHING = (_never, _never, "")


def refused(f: Callable[..., Any], args: list[Any], words: str) -> None:
    with pytest.raises(CaptureError, match=re.escape(words)) as caught:
        tg.compile(f)(*args)
    assert '\nFile "' in str(caught.value)  # the user's line


# --- primitives ----------------------------------------------------------------------------------


@EVERY
@PRECISIONS
def test_forward(name: str, dtype: Any) -> None:
    forward, _, words = REFUSED.get(name, NOTHING)
    for sample in samples(TABLE[name]):
        with about(sample), quiet():

            def f(*args: Any, sample: Sample = sample) -> Any:
                return sample.primitive(*args, **sample.static)

            draws = on_arrays(sample, dtype)
            if forward(sample):
                refused(f, draws[0], words)
            elif any(isinstance(a, np.ndarray) for a in sample.args):
                check(f, draws, TOLERANCE[dtype])


@EVERY
@PRECISIONS
def test_backward(name: str, dtype: Any) -> None:
    _, backward, words = REFUSED.get(name, NOTHING)
    for sample in samples(TABLE[name]):
        with about(sample), quiet():

            def f(*args: Any, sample: Sample = sample) -> Any:
                return sample.primitive(*args, **sample.static)

            draws = on_leaves(sample, dtype)
            if backward(sample):
                refused(backwards(f), draws[0], words)
            elif any(isinstance(a, np.ndarray) for a in sample.args):
                check(backwards(f), draws, TOLERANCE[dtype])


@EVERY
def test_constants(name: str) -> None:
    """Masks and indices that are no arguments may have any effect: they stay the same."""
    p = TABLE[name]
    for sample in samples(p):
        places = sample.floating
        if len(places) == len(sample.args) or not places or name in ("eig", "eigvals"):
            continue
        with about(sample), quiet():

            def f(*floats: Any, sample: Sample = sample, places: Any = places) -> Any:
                args = list(sample.args)
                for i, a in zip(places, floats, strict=True):
                    args[i] = a
                return sample.primitive(*args, **sample.static)

            draws = [
                [as_leaf(args[i]) for i in places]
                for args in (redrawn(sample, k, np.float64) for k in range(3))
            ]
            check(backwards(f), draws)


@EVERY
def test_outer_leaves(name: str) -> None:
    """Leaves that the function finds outside are read, and get their gradients, as arguments do."""
    _, backward, _ = REFUSED.get(name, NOTHING)
    for sample in samples(TABLE[name])[:3]:
        if not sample.floating or backward(sample):
            continue
        with about(sample), quiet():
            leaves, twins = on_leaves(sample, np.float64)[0], on_leaves(sample, np.float64)[0]

            def f(args: list[Any] = leaves, sample: Sample = sample) -> Any:
                return sample.primitive(*args, **sample.static)

            def g(args: list[Any] = twins, sample: Sample = sample) -> Any:
                return sample.primitive(*args, **sample.static)

            eager, compiled = backwards(lambda f=f: f()), tg.compile(backwards(lambda g=g: g()))
            for k in range(3):
                new = redrawn(sample, k, np.float64)
                for i in sample.floating:
                    for leaf in (leaves[i], twins[i]):
                        leaf.data = new[i]
                        leaf.grad = None
                y, z = eager(), compiled()
                np.testing.assert_allclose(z.data, y.data, rtol=1e-12, atol=1e-12)
                for i in sample.floating:
                    a, b = leaves[i].grad, twins[i].grad
                    assert (a is None) == (b is None)
                    if a is not None:
                        np.testing.assert_allclose(
                            b, a, rtol=1e-12, atol=1e-12 * np.max(np.abs(a), initial=1.0)
                        )
            assert compiled.captures == 1


@pytest.mark.parametrize("name", sorted(_SAFE & set(TABLE)))
def test_what_may_be_computed_in_place(name: str) -> None:
    """The result may be written over any argument of its shape, as the layout of memory does."""
    for sample in samples(TABLE[name]):
        y = np.asarray(sample.forward())
        for i in sample.floating:
            if sample.args[i].shape != y.shape or sample.args[i].dtype != y.dtype:
                continue
            if i != (1 if name == "keep" else 0):
                continue
            with about(sample):
                args = [np.copy(a) if j == i else a for j, a in enumerate(sample.args)]
                np.testing.assert_array_equal(sample.forward(*args, out=args[i]), y)


# --- compositions --------------------------------------------------------------------------------


def other(call: Call, k: int, dtype: Any) -> list[Array]:
    rng = np.random.default_rng(k)
    drawn = call.draw()
    return [np.asarray(x * rng.uniform(0.9, 1.1, x.shape) if k else x, dtype) for x in drawn]


_COMPLEX = "whether the eigenvalues of a real matrix are complex"

#: Compositions whose result has a shape or dtype that depends on numbers, and what the error says.
REFUSED_CALLS: dict[Callable[..., Any], str] = {
    np.trim_zeros: "np.nonzero depends on numbers",
    np.unique: "distinct values",
    np.unique_values: "distinct values",
    np.unique_inverse: "distinct values",
    np.unique_all: "distinct values",
    np.linalg.eigvals: _COMPLEX,
}


def refusal_of(call: Call) -> str | None:
    code = getattr(call.function, "__code__", None)
    if call.function is np.linalg.eig or (code and "eig" in code.co_names):
        return _COMPLEX
    return REFUSED_CALLS.get(call.function)


@pytest.mark.parametrize("call", CALLS, ids=[f"{i} {c}" for i, c in enumerate(CALLS)])
@PRECISIONS
def test_composition(call: Call, dtype: Any) -> None:
    words = refusal_of(call)
    draws = [other(call, k, dtype) for k in range(3)]
    if not draws[0]:
        return  # of constants alone
    box = ctypes.py_object(call)  # its arrays are the function's own, and not found outside

    def f(*inputs: Any) -> Any:
        return box.value(*inputs)

    with quiet():
        if words is None:
            check(f, draws, TOLERANCE[dtype])
            leaves = [[as_leaf(x) for x in inputs] for inputs in draws]
            check(backwards(f), leaves, TOLERANCE[dtype])
        else:
            refused(f, draws[0], words)
            refused(f, [tensor(x) for x in draws[0]], words)


def test_what_is_refused_is_in_the_registry() -> None:
    assert set(REFUSED) <= set(TABLE)
    assert set(REFUSED_CALLS) <= {call.function for call in CALLS}
