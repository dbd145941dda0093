"""Values and derivatives of every order that PyTorch and JAX have too, against theirs.

Needs the extra ``oracle``; ``make oracle`` installs it and runs these tests.
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose
from programs import Module, Program, programs
from samples import CALLS, samples
from test_composites import results, weigh
from test_primitives import about, quiet
from test_random_programs import directions, size, weighted, weights

import tinygrad_nn as tg
from tinygrad_nn import tensor
from tinygrad_nn.rules import TABLE

# Compiling is most of the work here, so that it must not be thorough.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    jax = pytest.importorskip("jax", reason="needs the extra oracle")
    torch = pytest.importorskip("torch", reason="needs the extra oracle")
jnp = jax.numpy
jax.config.update("jax_enable_x64", True)

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*discard.*:Warning"),
]

Array = np.ndarray

# --- what is compared ----------------------------------------------------------------------------


def _jax_weigh(y: Any) -> Any:
    """Return the sum of `weigh`, in JAX."""
    rng = np.random.default_rng(0)
    total: Any = 0.0
    for a in results(y):
        a = jnp.asarray(a)
        if a.dtype.kind not in "fc":
            continue
        total = total + jnp.sum(rng.uniform(0.5, 1.5, a.shape) * jnp.real(a))
        if a.dtype.kind == "c":
            total = total + jnp.sum(rng.uniform(0.5, 1.5, a.shape) * jnp.imag(a))
    return total


def _jax_derivatives(f: Callable[[list[Any]], Any], x: list[Array], v: list[Array], order: int) -> Any:
    """Return value, gradient, directional derivative and Hessian product, compiled together."""

    def all_of_it(x: Any, v: Any) -> Any:
        y, gradient = jax.value_and_grad(f)(x)
        found = [y, gradient, jax.jvp(f, (x,), (v,))[1]]
        return [*found, jax.jvp(jax.grad(f), (x,), (v,))[1]] if order == 2 else found

    return jax.jit(all_of_it)(x, v)


def _derivatives(f: Callable[[list[Any]], Any], x: list[Array], v: list[Array], order: int) -> Any:
    y, gradient = tg.value_and_grad(f)(x)
    found = [y, gradient, tg.jvp(f, (x,), (v,))[1]]
    return [*found, tg.hvp(f, x, v)] if order == 2 else found


def _compare(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    """Compare gradients relative to their largest numbers."""
    for what, a, b in zip(("value", "gradient", "jvp", "hvp"), found, expected, strict=False):
        a, b = ([np.asarray(p) for p in (q if isinstance(q, list) else [q])] for q in (a, b))
        scale = max((float(np.max(np.abs(p), initial=0.0, where=np.isfinite(p))) for p in b), default=1)
        for p, q in zip(a, b, strict=True):
            assert_allclose(p, q, rtol=rtol, atol=rtol * max(scale, 1.0), err_msg=what)


# --- NumPy's functions, in JAX under the same names ----------------------------------------------

#: Functions that are not compared, and why.
SKIPPED: dict[str, str] = {}

#: Functions whose second derivative is not compared, and why.
FIRST_ORDER: dict[str, str] = {}


def _path(function: Any) -> str:
    """Return how a function of NumPy is spelled, without ``np.``."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):
        return f"{owner.__name__}.{function.__name__}"
    module = (getattr(function, "__module__", None) or "").removeprefix("numpy").lstrip(".")
    name = getattr(function, "__qualname__", None) or function.__name__
    return f"{module}.{name}" if module else name


def _find(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part, None)
    return root


def _cases() -> dict[str, list[tuple[str, list[Array], Callable[[Any, list[Any]], Any]]]]:
    """Return for each function (label, inputs, the call as a function of it and the inputs)."""
    found = defaultdict(list)
    for call in CALLS:
        if _find(np, _path(call.function)) is call.function or "." in _path(call.function):
            found[_path(call.function)].append((str(call), call.draw(), _recall(call)))
    for primitive in TABLE.values():
        if not primitive.numpy or not primitive.differentiable:
            continue
        for sample in samples(primitive):
            places = sample.floating
            if places:
                inputs = [sample.args[i] for i in places]
                found[_path(primitive.numpy[0])].append((str(sample), inputs, _refill(sample)))
    return dict(found)


def _recall(call: Any) -> Callable[[Any, list[Any]], Any]:
    def run(function: Any, x: list[Any]) -> Any:
        return call.__class__(function, call.args, call.keywords)(*x)

    return run


def _refill(sample: Any) -> Callable[[Any, list[Any]], Any]:
    def run(function: Any, x: list[Any]) -> Any:
        rest = iter(x)
        args = [next(rest) if i in sample.floating else a for i, a in enumerate(sample.args)]
        return function(*args, **sample.static)

    return run


CASES = _cases()


@pytest.mark.parametrize("path", sorted(CASES))
def test_functions_against_jax(path: str) -> None:
    theirs, ours = _find(jnp, path), _find(np, path)
    if path in SKIPPED or theirs is None or ours is None:
        pytest.skip(SKIPPED.get(path, "no such function in JAX"))
    compared, refused = 0, []
    for label, x, run in CASES[path]:
        if any(a.dtype != np.float64 for a in x):
            continue
        v = [np.random.default_rng(7).uniform(-1.0, 1.0, a.shape) for a in x]
        order = 1 if path in FIRST_ORDER else 2
        with about(label):
            try:
                expected = _jax_derivatives(lambda x: _jax_weigh(run(theirs, x)), x, v, order)
            except (TypeError, ValueError, NotImplementedError) as error:
                refused.append(f"{label}: {error}")
                continue
            found = _derivatives(lambda x: weigh(run(ours, x)) + 0.0 * np.sum(x[0]), x, v, order)
            _compare(found, expected)
        compared += 1
    assert compared, "\n".join(refused)


# --- random programs -----------------------------------------------------------------------------

FEW = settings(max_examples=40)

_JAX = {
    "np": Module({"array": np.array}, jnp),
    "tg": SimpleNamespace(
        sigmoid=jax.nn.sigmoid, relu=jax.nn.relu, softplus=jax.nn.softplus,
        log_sigmoid=jax.nn.log_sigmoid, silu=jax.nn.silu, elu=jax.nn.elu,
        gelu=lambda x: jax.nn.gelu(x, approximate=False), gelu_tanh=jax.nn.gelu,
        leaky_relu=jax.nn.leaky_relu, hard_tanh=jax.nn.hard_tanh, entr=jax.scipy.special.entr,
        xlogy=jax.scipy.special.xlogy, logsumexp=jax.nn.logsumexp, softmax=jax.nn.softmax,
        log_softmax=jax.nn.log_softmax,
    ),
}  # fmt: skip


@FEW
@given(programs())
def test_programs_against_jax(program: Program) -> None:
    x, v, w = program.inputs, directions(program), weights(program)
    f = program.function(**_JAX)
    expected = _jax_derivatives(lambda x: jnp.sum(w * f(*x)), x, v, 2)
    _compare(_derivatives(weighted(program), x, v, 2), expected)
