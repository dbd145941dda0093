"""Values and derivatives of every order that PyTorch and JAX have too, against theirs.

Needs the extra ``oracle``; ``make oracle`` installs it and runs these tests.
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose
from programs import Module, Program, programs
from samples import CALLS, samples
from test_composites import results, weigh
from test_primitives import about
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
    import jax
    import torch
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
    **dict.fromkeys(["unique", "unique_all", "unique_inverse", "unique_values"], "constant in JAX"),
}

#: Calls that are not compared, and why.
EXCEPTIONS = {
    **dict.fromkeys(
        [
            "linalg.norm(r(0,))",
            "linalg.norm(r(0, 3), None)",
            "linalg.norm(r(0, 3), 2)",
            "linalg.norm(r(0, 3), inf)",
            "linalg.norm(r(0, 3), 'nuc')",
            "linalg.norm(r(3, 0), inf, keepdims=True)",
            "linalg.vector_norm(r(0,), ord=inf)",
            "linalg.vector_norm(r(2, 0), ord=inf, axis=1)",
        ],
        "the derivative of a norm at 0, here of nothing at all: nan in JAX",
    ),
    "ufunc.reduceat(r(6,), [0, 2, 3], dtype=<class 'bool'>)": "JAX takes no notice of the dtype",
    "max(r(2, 0), axis=1, initial=0.7)": "nan in JAX",
    "min(r(2, 0), axis=1, initial=0.7)": "nan in JAX",
    "interp([0.5, 1.0, 2.0], [0.0, 1.0, 1.0], r(3,))": "a jump, of which JAX takes the other side",
    **dict.fromkeys(
        [
            f"{name}(r(4,), [0.0, 0.1, 0.25, 0.37, 0.5, 0.625, 0.75, 0.99, 1.0], method='nearest')"
            for name in ("quantile", "nanquantile")
        ],
        "JAX rounds otherwise half-way between two",
    ),
}

#: Functions whose second derivative is not compared, and why.
FIRST_ORDER = {
    "i0": "JAX's second derivative at 0 is 0, and not 1/2",
    "np.linalg.det(Z)": "refused here, of complex matrices",
}

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
        again = call.__class__
        try:
            return again(function, call.args, call.keywords)(*x)
        except TypeError:
            if function is call.function:
                raise
            return again(function, _arrays(call.args), _arrays(call.keywords))(*x)

    return run


def _arrays(item: Any) -> Any:
    """Make lists of numbers arrays, since JAX takes no lists for arrays."""
    if isinstance(item, dict):
        return {key: _arrays(part) for key, part in item.items()}
    if not isinstance(item, list | tuple):
        return item
    parts = [_arrays(part) for part in item]
    if isinstance(item, tuple):
        return tuple(parts)
    plain = all(isinstance(part, int | float | bool | np.ndarray) for part in parts)
    return np.array(item) if plain else parts


def _refill(sample: Any) -> Callable[[Any, list[Any]], Any]:
    def run(function: Any, x: list[Any]) -> Any:
        rest = iter(x)
        args = [next(rest) if i in sample.floating else a for i, a in enumerate(sample.args)]
        return function(*args, **sample.static)

    return run


CASES = _cases()


def _weighed(weigh: Any, pick: Any, run: Any, function: Any, x: list[Any]) -> Any:
    """Return the weighed sum of what is picked from the results of a call."""
    y = pick(run(function, x))
    return weigh(y, x) if weigh is _weigh_attached else weigh(y)


def _weigh_attached(y: Any, x: list[Any]) -> Any:
    """Weigh as `weigh`; 0 times the inputs keeps a result that is constant attached to them."""
    return weigh(y) + np.sum(x[0]) * 0.0


COMPARED = sorted(path for path in CASES if path not in SKIPPED and _find(jnp, path) is not None)


@pytest.mark.parametrize("path", COMPARED)
def test_functions_against_jax(path: str) -> None:
    ours, theirs = _find(np, path), _find(jnp, path)
    pick = (lambda y: y[0]) if path in FIRST_RESULT else (lambda y: y)
    order = 1 if path in FIRST_ORDER else 2
    compared, refused = 0, []
    for label, x, run in CASES[path]:
        if label in EXCEPTIONS or not x or any(a.dtype != np.float64 for a in x):
            continue
        v = [np.random.default_rng(7).uniform(-1.0, 1.0, a.shape) for a in x]
        with about(label):
            try:
                expected = _of_jax(partial(_weighed, _jax_weigh, pick, run, theirs), x, v, order)
            except (TypeError, ValueError, IndexError, NotImplementedError) as error:
                refused.append(f"{label}: {error}")
                continue
            found = _derivatives(partial(_weighed, _weigh_attached, pick, run, ours), x, v, order)
            _compare(found, expected)
        compared += 1
    assert compared, "\n".join(refused)


def test_what_is_not_compared_is_there() -> None:
    """No entry of the lists of exceptions outlives what it is about."""
    assert set(SKIPPED) | set(FIRST_ORDER) | set(FIRST_RESULT) <= {*CASES, *_COMPLEX}
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
    return [y.detach(), [_plain(g) for g in first], [_plain(g) for g in second]]


def _plain(a: Any) -> Array:
    return np.asarray(a.detach().numpy(force=True))


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
    return torch.linalg.solve(a, b.expand(*a.shape[:-2], *b.shape) if b.ndim == 2 else b)


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
    scale = max(size(expected[2]), size(gradient))
    for a, b in zip(product, expected[2], strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9 * scale)


# --- what PyTorch's autograd means ---------------------------------------------------------------


def _leaf(x: Any) -> Any:
    return tg.tensor(x, requires_grad=True)


def _torch_leaf(x: Any) -> Any:
    return torch.tensor(np.asarray(x), requires_grad=True)


def _torch_array(x: Any) -> Any:
    return torch.tensor(np.asarray(x))


_OURS = SimpleNamespace(leaf=_leaf, grad=tg.autograd.grad, array=tg.tensor, sum=np.sum, exp=np.exp)
_THEIRS = SimpleNamespace(
    leaf=_torch_leaf, grad=torch.autograd.grad, array=_torch_array, sum=torch.sum, exp=torch.exp
)


def _backward_twice(t: Any) -> Any:
    x = t.leaf([1.0, 2.0])
    y, z = t.sum(x * x), t.sum(t.exp(x))
    y.backward()
    z.backward()
    return [x.grad]


def _backward_with_a_cotangent(t: Any) -> Any:
    x = t.leaf([1.0, 2.0])
    (x * x * x).backward(gradient=t.array([1.0, -2.0]))
    return [x.grad]


def _leaves_are_left_alone(t: Any) -> Any:
    x = t.leaf([1.0, 2.0])
    found = t.grad(t.sum(x * x), x)
    return [*found, x.grad]


def _of_an_intermediate_result(t: Any) -> Any:
    x = t.leaf([1.0, 2.0])
    y = x * x
    return [*t.grad(t.sum(y * y * x), [y, x])]


def _of_several_outputs(t: Any) -> Any:
    x, u = t.leaf([1.0, 2.0]), t.leaf(3.0)
    weights = [t.array([1.0, 0.5]), t.array(2.0)]
    return [*t.grad([x * u, t.sum(x) * u], [x, u], grad_outputs=weights)]


def _of_an_output_twice(t: Any) -> Any:
    x = t.leaf(2.0)
    y = x * x
    return [*t.grad([y, y], x)]


def _unused(t: Any) -> Any:
    x, u = t.leaf(2.0), t.leaf(3.0)
    return [*t.grad(x * x, [x, u], allow_unused=True)]


def _unused_is_an_error(t: Any) -> Any:
    x, u = t.leaf(2.0), t.leaf(3.0)
    return [*t.grad(x * x, [x, u])]


def _not_one_number_is_an_error(t: Any) -> Any:
    x = t.leaf([2.0, 1.0])
    return [*t.grad(x * x, x)]


def _of_a_constant_is_an_error(t: Any) -> Any:
    x = t.leaf(2.0)
    return [*t.grad(x.detach() * 2.0, x)]


def _one_element_of_any_rank(t: Any) -> Any:
    x = t.leaf([[3.0]])
    return [*t.grad(x * x, x)]


def _of_third_order(t: Any) -> Any:
    x = t.leaf(1.5)
    (first,) = t.grad(x**5, x, create_graph=True)
    (second,) = t.grad(first, x, create_graph=True)
    return [first.detach(), second.detach(), *t.grad(second, x)]


def _backward_through_a_gradient(t: Any) -> Any:
    x, w = t.leaf([1.0, 2.0]), t.leaf([0.5, -1.0])
    (g,) = t.grad(t.sum(t.exp(w * x)), x, create_graph=True)
    t.sum(g * g).backward()
    return [x.grad, w.grad]


def _gradient_of_a_cotangent(t: Any) -> Any:
    x, c = t.leaf([1.0, 2.0]), t.leaf([0.5, -1.0])
    (g,) = t.grad(x * x * x, x, grad_outputs=c, create_graph=True)
    return [*t.grad(t.sum(g * g), [x, c])]


def _detached(t: Any) -> Any:
    x = t.leaf([1.0, 2.0])
    return [*t.grad(t.sum(x * x.detach()), x)]


def _recorded_but_constant(t: Any) -> Any:
    x = t.leaf([1.0, 2.0])
    (g,) = t.grad(t.sum(x * 3.0), x, create_graph=True)
    return [g.detach(), g.requires_grad]


def _not_recorded(t: Any) -> Any:
    x = t.leaf([1.0, 2.0])
    (g,) = t.grad(t.sum(x * x), x)
    return [getattr(g, "requires_grad", False)]


_SCRIPTS = [
    _backward_twice, _backward_with_a_cotangent, _leaves_are_left_alone,
    _of_an_intermediate_result, _of_several_outputs, _of_an_output_twice, _unused,
    _unused_is_an_error, _not_one_number_is_an_error, _of_a_constant_is_an_error,
    _one_element_of_any_rank, _of_third_order, _backward_through_a_gradient,
    _gradient_of_a_cotangent, _detached, _recorded_but_constant, _not_recorded,
]  # fmt: skip


@pytest.mark.parametrize("script", _SCRIPTS, ids=[s.__name__[1:] for s in _SCRIPTS])
def test_autograd_means_what_it_means_in_torch(script: Callable[[Any], list[Any]]) -> None:
    try:
        expected = script(_THEIRS)
    except RuntimeError:
        with pytest.raises((tg.TinygradError, ValueError, TypeError)):
            script(_OURS)
        return
    for a, b in zip(script(_OURS), expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert np.shape(a) == np.shape(b)
            assert_allclose(a.data if isinstance(a, tg.Tensor) else a, b, rtol=1e-13)


# --- complex numbers: gradients as PyTorch has them ----------------------------------------------

_COMPLEX = [
    "z * u", "z / u", "z - 2j * u", "z ** 3", "z ** u", "2.0 ** z", "x * z", "x + 1j * x", "z / x",
    "np.exp(z)", "np.log(z)", "np.sqrt(z)", "np.sin(z)", "np.cos(z)", "np.tan(z)", "np.sinh(z)",
    "np.cosh(z)", "np.tanh(z)", "np.arcsin(z)", "np.arccos(z)", "np.arctan(z)", "np.arcsinh(z)",
    "np.arccosh(z)", "np.arctanh(z)", "np.square(z)", "np.reciprocal(z)", "np.log10(z)",
    "np.log2(z)", "np.log1p(z)", "np.expm1(z)", "np.exp2(z)",
    "np.abs(z)", "np.abs(z) ** 2", "np.abs(z * u)", "np.abs(z) * z", "np.conj(z) * u",
    "np.real(z)", "np.imag(z)", "np.real(z) * np.imag(u)", "np.angle(z)", "np.sign(z)",
    "np.real(x)", "np.conj(x)", "z * np.conj(z)",
    "np.fft.fft(z)", "np.fft.fft(x)", "np.fft.ifft(z) * x", "np.fft.fft(np.exp(z))",
    "np.abs(np.fft.fft(x)) ** 2", "np.abs(np.fft.fft(z))", "np.fft.rfft(x)",
    "np.fft.irfft(z, 6)", "np.fft.irfft(z, 5)", "np.fft.rfft(x, 7)", "np.fft.fft2(Z)",
    "np.fft.ifft2(Z)", "np.fft.hfft(z, 6)", "np.fft.ihfft(x)", "np.fft.fftshift(z)",
    "np.fft.irfft(np.fft.rfft(x) * z[:3], 4)",
    "Z @ U", "Z @ (X + 0j)", "np.linalg.inv(Z)", "np.linalg.det(Z)", "np.linalg.solve(Z, U)",
    "np.linalg.solve(X + 0j, U)", "np.linalg.pinv(Z[:, :1])", "np.linalg.slogdet(Z)[1]",
    "np.linalg.matrix_power(Z, 3)", "np.linalg.norm(z)", "np.linalg.norm(Z, axis=1)",
    "np.linalg.cholesky(Z @ np.conj(Z).T + 2.0 * np.eye(2, dtype=np.complex128))",
    "np.linalg.eigvalsh(Z @ np.conj(Z).T)", "np.linalg.svd(Z, compute_uv=False)",
    "np.einsum('i,j->ij', z, u)", "np.einsum('ij,jk,k->i', Z, X + 0j, z[:2])", "np.vdot(z, u)",
    "np.dot(z, u)", "np.outer(z, u)", "np.kron(z, u)", "np.tensordot(Z, U, axes=1)",
    "np.sum(z * x)", "np.mean(z)", "np.prod(z)", "np.cumsum(z, axis=0)", "np.cumprod(z, axis=0)",
    "np.var(z, axis=0)", "np.std(z, axis=0)", "z[np.array([0, 0, 2])]",
    "np.where(np.array([True, False, True, False]), z, u)",
    "np.concatenate([z, x])", "np.diff(z)", "np.flip(z, axis=0)",
    "np.roll(z, 1, axis=0)", "np.trace(Z)", "np.tril(Z)", "Z.T", "z.reshape(2, 2).real",
]  # fmt: skip

_TORCH_COMPLEX = Module(
    {
        "sign": torch.sgn, "dot": torch.dot, "complex128": torch.complex128,
        "fft": torch.fft, "trace": torch.trace,
        "tensordot": lambda a, b, axes: torch.tensordot(a, b, dims=axes),
        "roll": lambda a, n, axis: torch.roll(a, n, axis),
        "flip": lambda a, axis: torch.flip(a, (axis,)), "diff": torch.diff,
        "where": torch.where, "concatenate": torch.cat, "prod": torch.prod,
        "kron": torch.kron, "linalg": Module(
            {"norm": _torch_norm, "svd": lambda a, compute_uv: torch.linalg.svdvals(a)},
            torch.linalg,
        ),
    },
    _TORCH["np"],
)  # fmt: skip


def _complex_inputs() -> dict[str, Array]:
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> Array:
        return np.asarray(rng.uniform(0.3, 0.9, shape) * rng.choice([-1.0, 1.0], shape))

    return {
        "z": draw(4) + 1j * draw(4), "u": draw(4) + 1j * draw(4), "x": draw(4),
        "Z": draw(2, 2) + 1j * draw(2, 2), "U": draw(2, 2) + 1j * draw(2, 2), "X": draw(2, 2),
    }  # fmt: skip


def _real_loss(y: Any, np: Any, array: Callable[[Array], Any]) -> Any:
    weights = _numpy.random.default_rng(0).uniform(0.5, 1.5, (2, *y.shape))
    total = np.sum(array(weights[0]) * np.real(y))
    is_complex = "complex" in str(y.dtype)
    return total + np.sum(array(weights[1]) * np.imag(y)) if is_complex else total


_numpy = np


@pytest.mark.parametrize("expression", _COMPLEX)
def test_complex_gradients_against_torch(expression: str) -> None:
    arrays = _complex_inputs()
    code = compile(expression, "<expression>", "eval")
    names = [name for name in arrays if name in code.co_names]
    rng = np.random.default_rng(5)
    directions = [np.asarray(rng.uniform(-1.0, 1.0, arrays[n].shape)) for n in names]

    def both_orders(np: Any, leaf: Any, array: Any, grad: Any) -> tuple[Any, Any, Any]:
        leaves = {name: leaf(arrays[name]) for name in names}
        inputs = list(leaves.values())
        y = eval(code, {"np": np, **leaves})
        first = grad(_real_loss(y, np, array), inputs, create_graph=True)
        # A direction that turns, so that the imaginary part of the gradient takes part.
        along = [array(d) for d in directions]
        total = sum(
            np.sum(d * np.real(g)) + np.sum(d * d * np.real(g * (-1j)))
            if "complex" in str(g.dtype) else np.sum(d * g)
            for d, g in zip(along, first, strict=True)
        )  # fmt: skip
        second = [None for _ in inputs]
        if total.requires_grad and expression not in FIRST_ORDER:
            second = grad(total, inputs, allow_unused=True)
        return y.detach(), [g.detach() for g in first], second

    expected = both_orders(_TORCH_COMPLEX, _torch_leaf, torch.tensor, torch.autograd.grad)
    found = both_orders(np, _leaf, tg.tensor, tg.autograd.grad)
    assert_allclose(found[0].data, _plain(expected[0]), rtol=1e-12, atol=1e-13)
    for a, b, name in zip(found[1], expected[1], names, strict=True):
        assert a.dtype == arrays[name].dtype
        assert_allclose(a.data, _plain(b), rtol=1e-10, atol=1e-11)
    for a, b, name in zip(found[2], expected[2], names, strict=True):
        zero = np.zeros(arrays[name].shape)
        a, b = zero if a is None else a, zero if b is None else _plain(b)
        assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("expression", _COMPLEX)
def test_complex_products_against_torch(expression: str) -> None:
    """Cotangents and tangents of complex results, which `vjp` and `jvp` take as PyTorch does."""
    arrays = _complex_inputs()
    code = compile(expression, "<expression>", "eval")
    names = [name for name in arrays if name in code.co_names]
    x = [arrays[n] for n in names]
    rng = np.random.default_rng(6)

    def like(a: Any) -> Array:
        real, imaginary = rng.uniform(-1.0, 1.0, (2, *np.shape(a)))
        return np.asarray(real + 1j * imaginary if np.iscomplexobj(a) else real)

    def ours(*inputs: Any) -> Any:
        return eval(code, {"np": np, **dict(zip(names, inputs, strict=True))})

    def theirs(*inputs: Any) -> Any:
        return eval(code, {"np": _TORCH_COMPLEX, **dict(zip(names, inputs, strict=True))})

    y, pullback = tg.vjp(ours, *x)
    g, v = like(y), [like(a) for a in x]
    leaves = [_torch_leaf(a) for a in x]
    expected = torch.autograd.grad(theirs(*leaves), leaves, torch.tensor(g))
    for a, b in zip(pullback(g), expected, strict=True):
        assert_allclose(a, _plain(b), rtol=1e-10, atol=1e-11)
    tangent = tg.jvp(ours, x, v)[1]
    primals, moved = ([torch.tensor(a) for a in part] for part in (x, v))
    pushed = torch.func.jvp(theirs, tuple(primals), tuple(moved))[1]
    assert_allclose(tangent, _plain(pushed), rtol=1e-10, atol=1e-11)
