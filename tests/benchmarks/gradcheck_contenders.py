"""Each function of tests/corpus as an operation of each library, and the library's own checker.

The forward is the same NumPy function, the backward are the same rules, and the backward of the
backward comes from differentiating those. An exception is a rejection. Shapes of cotangents are
checked on behalf of the libraries, since one of them sums a wrong one to fit in silence.

A library is imported by its own checker alone, so the others need not be installed.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from corpus import Case
from corpus.scoring import Check, uncounted

import tinygrad_nn as tg
from tinygrad_nn.errors import TinygradError

__all__ = ["CHECKERS"]

Array = np.ndarray


class Operation:
    """A case as a library's operation needs it: three functions of arrays."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.again = uncounted(case)

    def value(self, *point: Array) -> Array:
        return np.array(self.case.forward(*self.case.at(point)))

    def pull(self, g: Array, *point: Array) -> list[Array]:
        """Cotangents of the inputs."""
        return _fitting(self.again.cotangents(g, point), point)

    def pull_again(self, g: Array, point: Sequence[Array], e: Sequence[Array]) -> list[Array]:
        """Cotangents of `g` and of the inputs, of what `pull` returned."""
        return _fitting(self.again.again(g, point, e), [g, *point])


def _fitting(found: Sequence[Any], inputs: Sequence[Array]) -> list[Array]:
    arrays = [np.array(c, x.dtype) for c, x in zip(found, inputs, strict=True)]
    if any(c.shape != x.shape for c, x in zip(arrays, inputs, strict=True)):
        raise ValueError("a cotangent has another shape than its input")
    return arrays


# ---- tinygrad_nn


def ours(case: Case, seed: int) -> bool:
    keywords = {"dtype": "native"} if case.group == "float32" else {}
    order = 2 if case.second else 1
    call = {"order": order, "raise_exception": False, "rng": seed}
    try:
        try:
            return bool(tg.gradcheck(case.primitive(), case.inputs, **call, **keywords))
        except TypeError as error:
            if "keyword" not in str(error):
                raise
            return bool(tg.gradcheck(case.primitive(), case.inputs, **call))
    except TinygradError:
        return False
    except Exception as error:
        print(f"{case}: {type(error).__name__}: {error}", file=sys.stderr)
        return False


# ---- PyTorch


@cache
def _torch_functions() -> Any:
    import torch

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, operation, g, *point):
            ctx.operation = operation
            ctx.save_for_backward(g, *point)
            arrays = [t.detach().numpy() for t in (g, *point)]
            return tuple(map(torch.from_numpy, operation.pull(*arrays)))

        @staticmethod
        def backward(ctx, *e):
            g, *point = (t.detach().numpy() for t in ctx.saved_tensors)
            found = ctx.operation.pull_again(g, point, [t.detach().numpy() for t in e])
            return None, *map(torch.from_numpy, found)

    class Forward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, operation, *point):
            ctx.operation = operation
            ctx.save_for_backward(*point)
            return torch.from_numpy(operation.value(*(t.detach().numpy() for t in point)))

        @staticmethod
        def backward(ctx, g):
            return None, *Backward.apply(ctx.operation, g, *ctx.saved_tensors)

    return Forward


def _torch(case: Case, seed: int, second: bool = False, **keywords: Any) -> bool:
    import torch

    torch.manual_seed(seed)
    operation, function = Operation(case), _torch_functions()
    point = [torch.from_numpy(x).requires_grad_() for x in case.point]

    def f(*point: Any) -> Any:
        return function.apply(operation, *point)

    with _quiet():
        try:
            torch.autograd.gradcheck(f, point, **keywords)
            return not second or torch.autograd.gradgradcheck(f, point)
        except Exception:
            return False


def torch_gradcheck(case: Case, seed: int) -> bool:
    return _torch(case, seed)


def torch_fast(case: Case, seed: int) -> bool:
    return _torch(case, seed, fast_mode=True)


def torch_both(case: Case, seed: int) -> bool:
    return _torch(case, seed, second=case.second)


# ---- JAX


def jax_check(case: Case, seed: int) -> bool:
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    operation, point = Operation(case), case.point
    of_point = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in point]
    y = np.asarray(uncounted(case).forward(*case.at(point)))
    of_y = jax.ShapeDtypeStruct(y.shape, y.dtype)

    def call(function: Callable[..., Any], result: Any, *args: Any) -> Any:
        return jax.pure_callback(lambda *a: function(*map(np.asarray, a)), result, *args)

    @jax.custom_vjp
    def pull(g: Any, *point: Any) -> Any:
        return tuple(call(operation.pull, of_point, g, *point))

    def pull_again(kept: Any, e: Any) -> Any:
        n = len(kept)
        together = lambda *a: operation.pull_again(a[0], a[1:n], a[n:])  # noqa: E731
        return tuple(call(together, [of_y, *of_point], *kept, *e))

    pull.defvjp(lambda *args: (pull(*args), args), pull_again)

    @jax.custom_vjp
    def f(*point: Any) -> Any:
        return call(operation.value, of_y, *point)

    f.defvjp(lambda *point: (f(*point), point), lambda point, g: pull(g, *point))
    jax.clear_caches()  # of the case before, whose compiled callbacks would stay for ever
    np.random.seed(seed)  # noqa: NPY002  # which is where the checker draws its directions
    with _quiet():
        try:
            check_grads(f, tuple(point), order=2 if case.second else 1, modes=["rev"])
            return True
        except Exception:
            return False


# ---- HIPS autograd


def hips_check(case: Case, seed: int) -> bool:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    operation, point = Operation(case), case.point
    places = range(len(point))

    def pulled(i: int) -> Any:
        """The cotangent of input `i` as a function of `g` and all inputs."""
        pull = primitive(lambda g, *point: operation.pull(g, *point)[i])

        def rule(j: int) -> Any:
            def make(_: Any, g: Any, *point: Any) -> Any:
                def back(e: Any) -> Any:
                    unit = [np.zeros_like(x) for x in point]
                    unit[i] = np.asarray(e)
                    return operation.pull_again(g, point, unit)[j]

                return back

            return make

        defvjp(pull, *(rule(j) for j in range(len(point) + 1)))
        return pull

    pulls = [pulled(i) for i in places]
    f = primitive(operation.value)
    defvjp(f, *((lambda _, *point, i=i: lambda g: pulls[i](g, *point)) for i in places))
    np.random.seed(seed)  # noqa: NPY002  # which is where the checker draws its directions
    with _quiet():
        try:
            check_grads(f, list(places), modes=["rev"], order=2 if case.second else 1)(*point)
            return True
        except Exception:
            return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stderr(io.StringIO()):
            yield


CHECKERS: dict[str, tuple[str, Check]] = {
    "ours":       ("tinygrad_nn gradcheck",             ours),
    "torch":      ("PyTorch gradcheck",                 torch_gradcheck),
    "torch-fast": ("PyTorch gradcheck, fast_mode",      torch_fast),
    "torch-both": ("PyTorch gradcheck + gradgradcheck", torch_both),
    "jax":        ("JAX check_grads, order 2",          jax_check),
    "hips":       ("HIPS autograd check_grads, order 2", hips_check),
}  # fmt: skip
