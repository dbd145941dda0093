"""Values and derivatives of every order that PyTorch and JAX have too, against theirs.

Needs the extra ``oracle``; ``make oracle`` installs it and runs these tests.
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable
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
Function = Callable[[list[Any]], Any]

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


def _jax_derivatives(f: Function, x: list[Array], v: list[Array], order: int) -> list[Any]:
    """Return value, gradient, directional derivative and Hessian product, compiled together."""

    def all_of_it(x: Any, v: Any) -> Any:
        y, gradient = jax.value_and_grad(f)(x)
        found = [y, gradient, jax.jvp(f, (x,), (v,))[1]]
        return [*found, jax.jvp(jax.grad(f), (x,), (v,))[1]] if order == 2 else found

    return jax.jit(all_of_it)(x, v)


def _of_jax(f: Function, x: list[Array], v: list[Array], order: int) -> list[Any]:
    """Compute at once; or step by step where the shape of a result depends on constants."""
    try:
        return _jax_derivatives(f, x, v, order)
    except (jax.errors.ConcretizationTypeError, IndexError, jax.errors.TracerBoolConversionError):
        with jax.disable_jit():
            return _jax_derivatives(f, x, v, order)


def _derivatives(f: Function, x: list[Array], v: list[Array], order: int) -> list[Any]:
    y, gradient = tg.value_and_grad(f)(x)
    found = [y, gradient, tg.jvp(f, (x,), (v,))[1]]
    return [*found, tg.hvp(f, x, v)] if order == 2 else found


def _compare(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    """Compare gradients relative to their largest numbers."""
    for what, a, b in zip(("value", "gradient", "jvp", "hvp"), found, expected, strict=False):
        a, b = ([np.asarray(p) for p in (q if isinstance(q, list) else [q])] for q in (a, b))
        largest = [np.max(np.abs(q), initial=1.0, where=np.isfinite(q)) for q in b]
        for p, q in zip(a, b, strict=True):
            assert_allclose(p, q, rtol=rtol, atol=rtol * max(largest), err_msg=what)


# --- NumPy's functions, in JAX under the same names ----------------------------------------------

#: Functions that are not compared, and why.
SKIPPED = {
    "histogram": "counts are floating numbers in JAX",
    "linalg.eig": "JAX has no derivative of eigenvectors unless told",
    "linalg.eigvals": "JAX has no derivative of them unless told",
    "nextafter": "JAX has no derivative of it",
    "partition": "the order within the parts is free",
    "trim_zeros": "JAX cannot decide by numbers what shape a result has",
}

#: Calls that are not compared, and why.
EXCEPTIONS = {
    "linalg.norm(r(0,))": "the derivative of a norm at 0, here of nothing at all: nan in JAX",
    "max(r(2, 0), axis=1, initial=0.7)": "nan in JAX",
    "min(r(2, 0), axis=1, initial=0.7)": "nan in JAX",
}

#: Functions whose second derivative is not compared, and why.
FIRST_ORDER = {"i0": "JAX's second derivative at 0 is 0, and not 1/2"}

#: What is compared, of functions that return other things too.
FIRST_RESULT = {"linalg.lstsq": "JAX's residuals of an underdetermined system are not empty"}


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
        args = call.args if function is call.function else tuple(map(_array, call.args))
        return call.__class__(function, args, call.keywords)(*x)

    return run


def _array(a: Any) -> Any:
    """Make a list of numbers an array, since JAX takes no lists for arrays."""
    plain = isinstance(a, list) and all(isinstance(item, int | float | bool) for item in a)
    return np.array(a) if plain else a


def _refill(sample: Any) -> Callable[[Any, list[Any]], Any]:
    def run(function: Any, x: list[Any]) -> Any:
        rest = iter(x)
        args = [next(rest) if i in sample.floating else a for i, a in enumerate(sample.args)]
        return function(*args, **sample.static)

    return run


CASES = _cases()


COMPARED = sorted(path for path in CASES if path not in SKIPPED and _find(jnp, path) is not None)


@pytest.mark.parametrize("path", COMPARED)
def test_functions_against_jax(path: str) -> None:
    ours, theirs = _find(np, path), _find(jnp, path)
    pick = (lambda y: y[0]) if path in FIRST_RESULT else (lambda y: y)
    order = 1 if path in FIRST_ORDER else 2
    compared, refused = 0, []
    for label, x, run in CASES[path]:
        if label in EXCEPTIONS or any(a.dtype != np.float64 for a in x):
            continue
        v = [np.random.default_rng(7).uniform(-1.0, 1.0, a.shape) for a in x]
        with about(label):
            try:
                expected = _of_jax(lambda x: _jax_weigh(pick(run(theirs, x))), x, v, order)  # noqa: B023
            except (TypeError, ValueError, IndexError, NotImplementedError) as error:
                refused.append(f"{label}: {error}")
                continue
            # The sum of nothing keeps results that are constant attached to the inputs.
            found = _derivatives(
                lambda x: weigh(pick(run(ours, x))) + np.sum(x[0]) * 0.0,  # noqa: B023
                x, v, order,
            )  # fmt: skip
            _compare(found, expected)
        compared += 1
    assert compared, "\n".join(refused)


def test_what_is_not_compared_is_there() -> None:
    """No entry of the lists of exceptions outlives what it is about."""
    assert set(SKIPPED) | set(FIRST_ORDER) | set(FIRST_RESULT) <= set(CASES)
    assert set(EXCEPTIONS) <= {label for cases in CASES.values() for label, *_ in cases}


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


def _torch_derivatives(f: Function, x: list[Array], v: list[Array]) -> list[Any]:
    """Return value, gradient and Hessian product, in the order of `_derivatives` without jvp."""
    leaves = [torch.tensor(a, requires_grad=True) for a in x]
    y = f(leaves)
    if not y.requires_grad:
        return [y.detach(), [np.zeros(a.shape) for a in x], [np.zeros(a.shape) for a in x]]
    first = torch.autograd.grad(y, leaves, create_graph=True, materialize_grads=True)
    along = sum(torch.sum(g * torch.tensor(d)) for g, d in zip(first, v, strict=True))
    second: Any = [torch.zeros_like(a) for a in leaves]
    if along.requires_grad:
        second = torch.autograd.grad(along, leaves, materialize_grads=True)
    return [y.detach(), [g.detach() for g in first], [g.detach() for g in second]]


def _each_axis(f: Callable[..., Any]) -> Callable[..., Any]:
    """Reduce over several axes, one after another."""

    def reduce(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        for i in sorted((i % x.ndim for i in axes), reverse=True):
            x = f(x, i, keepdims)
        return x

    return reduce


def _extreme(f: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return f(x, dim=() if axis is None else axis, keepdim=keepdims)

    return reduce


_amax, _amin = _extreme(torch.amax), _extreme(torch.amin)


def _torch_solve(a: Any, b: Any) -> Any:
    return torch.linalg.solve(a, b.expand(*a.shape[:-2], *b.shape))


def _torch_norm(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return torch.linalg.vector_norm(x, dim=axis, keepdim=keepdims)


_TORCH = {
    "np": Module(
        {
            "array": torch.tensor, "fabs": torch.abs, "conjugate": torch.conj,
            "cbrt": lambda x: x ** (1.0 / 3.0), "degrees": torch.rad2deg, "power": torch.pow,
            "radians": torch.deg2rad, "max": _amax, "min": _amin,
            "ptp": lambda x, **how: _amax(x, **how) - _amin(x, **how),
            "var": lambda x, axis, **how: torch.var(x, dim=axis, correction=0, **how),
            "std": lambda x, axis, **how: torch.std(x, dim=axis, correction=0, **how),
            "prod": _each_axis(torch.prod), "transpose": torch.permute,
            "tensordot": lambda a, b, axes: torch.tensordot(a, b, dims=axes),
            "outer": lambda a, b: torch.outer(a.flatten(), b.flatten()), "dot": torch.matmul,
            "clip": torch.clamp,
            "linalg": Module(
                {
                    "norm": _torch_norm, "solve": _torch_solve,
                    "svd": lambda x, compute_uv: torch.linalg.svdvals(x),
                },
                torch.linalg,
            ),
        },
        torch,
    ),
    "tg": SimpleNamespace(
        sigmoid=torch.sigmoid, relu=torch.relu, softplus=torch.nn.functional.softplus,
        log_sigmoid=torch.nn.functional.logsigmoid, silu=torch.nn.functional.silu,
        elu=torch.nn.functional.elu, gelu=torch.nn.functional.gelu,
        gelu_tanh=lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        leaky_relu=torch.nn.functional.leaky_relu, hard_tanh=torch.nn.functional.hardtanh,
        entr=torch.special.entr, xlogy=torch.xlogy, softmax=lambda x, axis: torch.softmax(x, axis),
        log_softmax=lambda x, axis: torch.log_softmax(x, axis),
        logsumexp=lambda x, axis, keepdims=False: torch.logsumexp(
            x, tuple(range(x.ndim)) if axis is None else axis, keepdims
        ),
    ),
}  # fmt: skip

#: What random programs for PyTorch leave out.
NOT_IN_TORCH = frozenset(
    ["along",  # most of these functions have other names or none
     "reversed",  # slices with negative steps
     "heaviside", "median", "select", "interp"]
)  # fmt: skip


@settings(max_examples=150)
@given(programs(without=NOT_IN_TORCH))
def test_programs_against_torch(program: Program) -> None:
    x, v, w = program.inputs, directions(program), weights(program)
    f = program.function(**_TORCH)
    expected = _torch_derivatives(lambda x: torch.sum(torch.tensor(w) * f(*x)), x, v)
    value, gradient, _, product = _derivatives(weighted(program), x, v, 2)
    _compare([value, gradient, gradient], [*expected[:2], expected[1]])
    scale = max(size([np.asarray(g) for g in expected[2]]), size(gradient))
    for a, b in zip(product, expected[2], strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9 * scale)
