"""Every primitive of the table, on every sample of the registry (see samples.py).

Each check is a plain function of a sample, so that `test_planted_faults_are_caught` can run it on
primitives that are wrong on purpose.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from samples import EXTRA, STRUCTURED, Sample, generator, samples, takes_floats

from tinygrad_nn import Tensor, Value, tensor
from tinygrad_nn.backward import pull_back
from tinygrad_nn.batch import Batch
from tinygrad_nn.errors import ShapeError
from tinygrad_nn.forward import push_forward
from tinygrad_nn.primitive import POSITIVE, REAL, Primitive, primitive
from tinygrad_nn.rules import _ROOMS, TABLE, elementwise

Array = np.ndarray

EVERY = pytest.mark.parametrize("name", TABLE)
DIFFERENTIABLE = pytest.mark.parametrize("name", [n for n, p in TABLE.items() if p.differentiable])
CONSTANT = pytest.mark.parametrize("name", [n for n, p in TABLE.items() if not p.differentiable])
WITH_OUT = pytest.mark.parametrize("name", [n for n, p in TABLE.items() if "out" in p.static_names])

# --- tools ---------------------------------------------------------------------------------------


@contextmanager
def about(what: object) -> Iterator[None]:
    """Name the sample in a failure's message."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"sample: {what}")
        raise


@contextmanager
def quiet() -> Iterator[None]:
    """Let floating-point warnings pass, where infinities and nans are meant."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def numeric(f: Callable[[Array], float], x: Array, h: float = 1e-4) -> Array:
    """Differentiate by the five-point stencil, whose error is of the order h^4."""
    slope = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        y = []
        for step in (-2.0, -1.0, 1.0, 2.0):
            moved = x.copy()
            moved[at] += step * h
            y.append(f(moved))
        slope[at] = (y[0] - 8.0 * y[1] + 8.0 * y[2] - y[3]) / (12.0 * h)
    return slope


def close(actual: Any, expected: Any) -> None:
    assert np.shape(actual) == np.shape(expected)
    assert_allclose(actual, expected, rtol=1e-7, atol=2e-9)


def record(sample: Sample, args: tuple[Any, ...] = ()) -> tuple[Tensor, dict[int, Tensor]]:
    """Apply the primitive to leaves; return the result, and the leaves by position."""
    args = args or sample.args
    leaves = {i: tensor(args[i], requires_grad=True) for i in sample.floating}
    y = sample.primitive(*(leaves.get(i, a) for i, a in enumerate(args)), **sample.static)
    return y, leaves


def gradients(sample: Sample, w: Array, args: tuple[Any, ...] = ()) -> dict[int, Array]:
    """Pull the cotangent `w` back to every differentiable argument, on raw arrays."""
    y, leaves = record(sample, args)
    _, cotangents = pull_back([(y, w)]) if sample.differentiable else ({}, {})
    return {i: cotangents[leaves[i].serial] for i in sample.differentiable}


def weights(sample: Sample, salt: int = 0) -> Array:
    """Return a random cotangent of the result, of the result's dtype."""
    y = np.asarray(sample.forward())
    rng = np.random.default_rng([y.size, y.ndim, salt])
    w = rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape)
    if y.dtype.kind == "c":
        w = w + 1j * rng.uniform(0.5, 1.5, y.shape)
    return np.asarray(w, y.dtype)


def with_arg(args: tuple[Any, ...], i: int, value: Any) -> tuple[Any, ...]:
    return (*args[:i], value, *args[i + 1 :])


# --- the checks ----------------------------------------------------------------------------------


def check_forward(sample: Sample) -> None:
    with quiet():  # a reference may take log(0) of an empty sum
        expected = np.asarray(sample.expected())
    y = np.asarray(sample.forward())
    assert y.shape == expected.shape
    assert (y.dtype.kind == "f") == (expected.dtype.kind == "f")
    assert_allclose(y, expected, rtol=1e-13, atol=1e-14)


def check_first_order(sample: Sample) -> None:
    if np.asarray(sample.forward()).dtype.kind not in "fc":
        return
    w = weights(sample)
    found = gradients(sample, w)
    for i in sample.floating:
        slope = numeric(
            lambda x, i=i: float(np.sum(w * sample.forward(*with_arg(sample.args, i, x))).real),
            sample.args[i],
        )
        if i in found:
            assert found[i].shape == sample.args[i].shape
        close(found[i] if i in found else np.zeros(slope.shape), slope)


def check_second_order(sample: Sample) -> None:
    """Differentiate <v, gradient>, by the arguments and by the cotangent that came in."""
    positions = sample.differentiable
    if not positions:
        return
    w = weights(sample)
    rng = np.random.default_rng(1)
    v = {i: rng.uniform(0.5, 1.5, sample.args[i].shape) for i in positions}

    y, leaves = record(sample)
    seed = tensor(w, requires_grad=True)
    _, first = pull_back([(y, seed)], record=True)
    total = sum(np.sum(first[leaves[i].serial] * v[i]) for i in positions)
    assert isinstance(total, Tensor)
    _, second = pull_back([(total, np.ones(()))])

    def slope(args: tuple[Any, ...], w: Array) -> float:
        found = gradients(sample, w, args)
        return float(sum(np.sum(found[i] * v[i]) for i in positions))

    for i in sample.floating:
        analytic = second.get(leaves[i].serial, np.zeros(leaves[i].shape))
        close(
            analytic, numeric(lambda x, i=i: slope(with_arg(sample.args, i, x), w), sample.args[i])
        )
    by_seed = second.get(seed.serial, np.zeros(w.shape))
    nowhere = np.zeros(w.shape)
    close(by_seed.real, numeric(lambda x: slope(sample.args, w + x), nowhere))
    if w.dtype.kind == "c":  # a cotangent stands for Re(g w)
        close(-by_seed.imag, numeric(lambda x: slope(sample.args, w + 1j * x), nowhere))


def check_forward_mode(sample: Sample) -> None:
    """Tangents and cotangents are the two sides of one product: <w, J v> = <J' w, v>."""
    if not sample.differentiable:
        return
    w = weights(sample)
    rng = np.random.default_rng(2)
    for recorded in (False, True):
        y, leaves = record(sample)
        v = {i: rng.uniform(0.5, 1.5, sample.args[i].shape) for i in sample.differentiable}
        moving = [(leaves[i], tensor(t) if recorded else t) for i, t in v.items()]
        (tangent,) = push_forward(moving, [y], record=recorded)
        assert tangent is not None
        assert tangent.shape == y.shape
        assert tangent.dtype == y.dtype
        found = gradients(sample, w)
        back = sum(np.sum(found[i] * t) for i, t in v.items())
        forth = np.sum(w * (tangent.data if recorded else tangent)).real
        scale = sum(np.sum(np.abs(found[i] * t)) for i, t in v.items())
        assert_allclose(forth, back, rtol=0, atol=1e-12 * max(float(scale), 1.0))


def check_batches(sample: Sample) -> None:
    """A batch of cotangents or tangents gives what its members give one by one."""
    if not sample.differentiable:
        return
    y, leaves = record(sample)
    w = [weights(sample, salt) for salt in range(3)]
    _, found = pull_back([(y, Batch(np.stack(w)))])
    for i in sample.differentiable:
        together = found[leaves[i].serial]
        for k in range(3):
            one = gradients(sample, w[k])[i]
            assert_allclose(together.stack[k], one, rtol=1e-13, atol=1e-14)
            assert together.dtype == one.dtype
    rng = np.random.default_rng(3)
    for i in sample.differentiable:
        v = rng.uniform(0.5, 1.5, (3, *sample.args[i].shape))
        (together,) = push_forward([(leaves[i], Batch(v))], [y])
        for k in range(3):
            (one,) = push_forward([(leaves[i], v[k])], [y])
            assert_allclose(together.stack[k], one, rtol=1e-13, atol=1e-14)


def check_traced_rule_is_the_raw_rule(sample: Sample) -> None:
    if not sample.differentiable:
        return
    w = weights(sample)
    raw = gradients(sample, w)
    y, leaves = record(sample)
    _, traced = pull_back([(y, tensor(w))], record=True)
    for i, g in raw.items():
        t = traced[leaves[i].serial]
        assert isinstance(t, Tensor)
        assert t.dtype == g.dtype
        assert t.data.tobytes() == g.tobytes(), f"argument {i}: {t.data} is not {g}"


def check_dtype(sample: Sample, dtype: type[np.floating[Any]]) -> None:
    """Narrow floats stay narrow: in the result, and in what the rule itself returns."""
    if not sample.floating or sample.primitive.name in ("astype", "float_power"):
        return  # these two choose their own dtype
    args = tuple(a.astype(dtype) if i in sample.floating else a for i, a in enumerate(sample.args))
    y = np.asarray(sample.forward(*args))
    double = np.asarray(sample.forward())
    mixed = [a.dtype for a in args if isinstance(a, np.ndarray) and a.dtype.kind in "iu"]
    if double.dtype.kind not in "fc" or (mixed and sample.primitive.elementwise):
        return  # NumPy's own promotion with integers
    if double.dtype.kind == "c":
        assert y.dtype == np.complex64  # there is no narrower one
        return
    assert y.dtype == dtype
    eps = float(np.finfo(dtype).eps)
    found = y.astype(float)
    if sample.primitive.name == "partition":  # beside the kth, each dtype has an order of its own
        axis, kth = sample.static.get("axis", -1), sample.static["kth"]
        found, double = np.sort(found, axis), np.sort(double, axis)
        assert_array_equal(np.take(y, kth, axis), np.take(found, kth, axis))
    assert_allclose(found, double, rtol=64 * eps, atol=64 * eps)
    w = weights(sample).astype(dtype)
    for i in sample.differentiable:
        rule = sample.primitive.rule(i)
        assert rule is not None
        c = rule(w, y, *args, **sample.static)
        assert np.asarray(c).dtype == dtype, f"rule {i} returned {np.asarray(c).dtype}"
    for i, g in gradients(sample, w, args).items():
        assert g.dtype == dtype, f"gradient {i}"


def check_layouts(sample: Sample) -> None:
    """Strided, reversed and Fortran-ordered inputs give what contiguous ones give."""
    y = np.asarray(sample.forward())
    w = weights(sample)
    expected = gradients(sample, w) if y.dtype.kind in "fc" else {}
    for i in sample.floating:
        for layout, x in layouts(sample.args[i]):
            with about(f"argument {i} {layout}"):
                args = with_arg(sample.args, i, x)
                assert_allclose(np.asarray(sample.forward(*args)), y, rtol=1e-13, atol=1e-14)
                for j, rule in [(j, sample.primitive.rule(j)) for j in sample.differentiable]:
                    assert rule is not None
                    c = np.asarray(rule(w, y, *args, **sample.static)).real
                    if c.shape == expected[j].shape:  # else broadcast, and summed by the walk
                        assert_allclose(c, expected[j], rtol=1e-13, atol=1e-14)


def layouts(x: Array) -> Iterator[tuple[str, Array]]:
    """Yield arrays equal to `x` that lie in memory in unusual ways."""
    if x.ndim == 0:
        yield "0-d view", np.array([x, x])[1:].reshape(())
        return
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), 7.0, x.dtype)
    wide[..., ::2] = x
    yield "strided", wide[..., ::2]
    yield "reversed", np.ascontiguousarray(x[::-1])[::-1]
    yield "Fortran-ordered", np.asfortranarray(x)


def check_out(sample: Sample) -> None:
    """`out=` receives exactly what is returned without it, however it lies in memory."""
    y = np.asarray(sample.forward())
    for layout, view in layouts(_other_than(y)):
        with about(f"out {layout}"):
            result = sample.forward(out=view)
            assert result is view
            assert_allclose(view, y, rtol=4e-16, atol=0)


def _other_than(y: Array) -> Array:
    """Return an array that no correct result is equal to."""
    return np.asarray(~y if y.dtype == bool else y + y.dtype.type(1))


def check_inputs_unmodified(sample: Sample) -> None:
    """Neither the forward nor a rule writes to what it was given, or to the result."""
    args = tuple(_frozen(a) for a in sample.args)
    y = _frozen(np.asarray(sample.forward(*args)))
    if y.dtype.kind in "fc":
        w = _frozen(weights(sample))
        before = [np.copy(a) for a in (*args, y, w)]
        for i in sample.differentiable:
            rule = sample.primitive.rule(i)
            assert rule is not None
            rule(w, y, *args, **sample.static)
        for a, b in zip((*args, y, w), before, strict=True):
            assert_array_equal(a, b)


def _frozen(a: Any) -> Any:
    if isinstance(a, np.ndarray):
        a = a.copy()
        a.flags.writeable = False
    return a


def check_constant(sample: Sample) -> None:
    """What has no derivative is a constant tensor, not an error."""
    y, leaves = record(sample)
    if not leaves:
        y = sample.primitive(*map(tensor, sample.args), **sample.static)
    assert isinstance(y, Tensor)
    assert not y.requires_grad
    assert y.is_leaf
    assert_array_equal(y.data, sample.forward())
    # ... also in the midst of a computation.
    for x in leaves.values():
        z = np.sum(x) + np.sum(y.astype(float))
        _, cotangents = pull_back([(z, np.ones(()))])
        assert_array_equal(cotangents[x.serial], np.ones(x.shape))


def check_integers(sample: Sample) -> None:
    """Integers are constants."""
    args = tuple(
        np.asarray(np.abs(a).astype(int) + 1) if i in sample.floating else a
        for i, a in enumerate(sample.args)
    )
    with quiet():
        constants = [tensor(a) if isinstance(a, np.ndarray) else a for a in args]
        try:
            expected = np.asarray(sample.forward(*args))
        except ValueError as error:  # an integer to a negative power
            with pytest.raises(ValueError, match=re.escape(str(error))):
                sample.primitive(*constants, **sample.static)
            return
        y = sample.primitive(*constants, **sample.static)
    assert not y.requires_grad
    assert y.dtype == expected.dtype
    assert_array_equal(y.data, expected)


def check_numpy_dispatch(sample: Sample) -> None:
    """NumPy's function of that name, called on tensors, records the primitive."""
    for function in sample.primitive.numpy:
        # A ufunc's `reduce` method has another default of axis than the function of arrays.
        if getattr(function, "__name__", "") == "reduce" and "axis" not in sample.static:
            continue
        _, leaves = record(sample)
        args = [leaves.get(i, a) for i, a in enumerate(sample.args)]
        if not leaves:
            args = [tensor(a) if isinstance(a, np.ndarray) else a for a in args]
        static = sample.static
        y = sample.primitive(*args, **static)
        z = function(args, **static) if sample.primitive.variadic else function(*args, **static)
        assert isinstance(z, Tensor)
        assert z.primitive is y.primitive
        assert z.dtype == y.dtype
        assert_array_equal(z.data, y.data)


# --- the table, checked --------------------------------------------------------------------------


def on_all_samples(check: Callable[..., None], name: str, *options: Any) -> None:
    for sample in samples(TABLE[name]):
        with about(sample):
            check(sample, *options)


@EVERY
def test_has_samples(name: str) -> None:
    table_rows = samples(TABLE[name])
    assert table_rows, f"primitive {name!r} has no samples: add a row to STRUCTURED in samples.py"
    arity = max(len(s.args) for s in table_rows)
    for i in range(arity):
        if TABLE[name].rule(i) is not None and (not TABLE[name].variadic or i == 0):
            assert any(i in s.differentiable and s.args[i].size for s in table_rows), (
                f"no sample of {name!r} checks the derivative in argument {i}"
            )


def test_names_are_unique() -> None:
    found = {
        id(p): p.name for room in _ROOMS for p in vars(room).values() if isinstance(p, Primitive)
    }
    assert sorted(found.values()) == sorted(TABLE)


def test_rows_name_primitives() -> None:
    assert {name for name, _, _ in STRUCTURED} | set(EXTRA) <= set(TABLE)


@EVERY
def test_forward(name: str) -> None:
    on_all_samples(check_forward, name)


@EVERY
def test_first_order(name: str) -> None:
    on_all_samples(check_first_order, name)


@DIFFERENTIABLE
def test_second_order(name: str) -> None:
    on_all_samples(check_second_order, name)


@DIFFERENTIABLE
def test_forward_mode(name: str) -> None:
    on_all_samples(check_forward_mode, name)


@DIFFERENTIABLE
def test_batches(name: str) -> None:
    on_all_samples(check_batches, name)


@DIFFERENTIABLE
def test_traced_rule_is_the_raw_rule(name: str) -> None:
    on_all_samples(check_traced_rule_is_the_raw_rule, name)


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_dtype(name: str, dtype: type[np.floating[Any]]) -> None:
    on_all_samples(check_dtype, name, dtype)


@EVERY
def test_layouts(name: str) -> None:
    on_all_samples(check_layouts, name)


@WITH_OUT
def test_out(name: str) -> None:
    on_all_samples(check_out, name)


@EVERY
def test_inputs_unmodified(name: str) -> None:
    on_all_samples(check_inputs_unmodified, name)


@CONSTANT
def test_constant(name: str) -> None:
    on_all_samples(check_constant, name)


@pytest.mark.parametrize("name", [n for n in TABLE if n not in ("astype", "sum_to")])
def test_integers_are_constants(name: str) -> None:
    on_all_samples(check_integers, name)


@pytest.mark.parametrize("name", [n for n, p in TABLE.items() if p.numpy])
def test_numpy_dispatch(name: str) -> None:
    on_all_samples(check_numpy_dispatch, name)


def test_every_forward_takes_out_unless_it_is_a_view() -> None:
    for name, p in TABLE.items():
        if "out" in p.static_names:
            continue
        for sample in samples(p):
            if name == "getitem" and len(sample.args) > 1:
                continue  # an index array copies
            if name == "astype":
                continue  # its buffer has another dtype
            x = sample.args[0]
            y = np.asarray(sample.forward())
            if y.size and y.ndim:
                assert np.shares_memory(x, y), f"{sample} is no view"


# --- memory layouts that broke NumPy -------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "name", [n for n, p in TABLE.items() if p.elementwise and p.arity == 1 and takes_floats(p)]
)
def test_out_with_every_small_stride(name: str, dtype: type[np.floating[Any]]) -> None:
    """np.negative (NumPy 2.4.6) is wrong where input and out have strides of 8 or 4 elements."""
    p = TABLE[name]
    x = generator(p).uniform(*p.domain[0], 100).astype(dtype)
    y = p.forward(x)
    for stride in range(1, 10):
        strided = np.repeat(x, stride)[::stride]
        out = np.repeat(_other_than(y), stride)[::stride]
        p.forward(strided, out=out)
        assert_allclose(out, y, rtol=1e-6 if dtype is np.float32 else 1e-14, err_msg=f"{stride=}")


# --- special values of functions with a forward of their own -------------------------------------


def test_error_functions_agree_with_the_c_library() -> None:
    x = np.concatenate([np.linspace(-30.0, 30.0, 6001), np.linspace(-1.5, 1.5, 3001)])
    erf = np.array([math.erf(v) for v in x])
    erfc = np.array([math.erfc(v) for v in x])
    assert_allclose(TABLE["erf"].forward(x), erf, rtol=2e-15)
    # Below the smallest normal number there are no relative errors to speak of.
    normal = erfc > 1e-307
    assert_allclose(TABLE["erfc"].forward(x)[normal], erfc[normal], rtol=5e-13)
    assert np.max(np.abs(TABLE["erfc"].forward(x)[~normal] - erfc[~normal])) < 1e-307


def test_error_functions_at_the_ends() -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, -1e300, 1e-300])
    assert_array_equal(TABLE["erf"].forward(x)[:-1], [0, 0, 1, -1, np.nan, 1, -1])
    assert_allclose(TABLE["erf"].forward(x)[-1], 2e-300 / math.sqrt(math.pi))
    assert_array_equal(TABLE["erfc"].forward(x), [1, 1, 0, 2, np.nan, 0, 2, 1])
    assert np.signbit(TABLE["erf"].forward(x)[1])


@pytest.mark.parametrize("x", [-745.0, -100.0, -36.7, -1.0, -1e-8, 0.3, 36.0, 40.0, 709.0])
def test_sigmoid_is_exact_in_both_tails(x: float) -> None:
    exact = float(1 / (1 + mpmath.exp(-mpmath.mpf(x))))
    assert_allclose(elementwise.sigmoid.forward(np.array(x)), exact, rtol=1e-15, atol=5e-324)
    assert_allclose(Value(x).sigmoid().data, exact, rtol=1e-15, atol=5e-324)


@pytest.mark.parametrize("offset", [-1e4, 0.0, 700.0, 1e4])
def test_logsumexp_family_does_not_overflow(offset: float) -> None:
    x = np.array([0.3, -1.2, 2.0])
    exact = mpmath.log(sum(mpmath.exp(v) for v in x))
    lse = TABLE["logsumexp"].forward(x + offset)
    assert_allclose(lse, float(exact + offset), rtol=1e-14)
    expected = [float(mpmath.mpf(v) - exact) for v in x]
    assert_allclose(TABLE["log_softmax"].forward(x + offset), expected, rtol=1e-11)
    assert_allclose(TABLE["softmax"].forward(x + offset), np.exp(expected), rtol=1e-11)


@pytest.mark.parametrize(
    "make",
    [float, lambda x: [x], lambda x: [x, 1], np.float64, int],
    ids=["float", "list", "mixed list", "np.float64", "int"],
)
@pytest.mark.parametrize(
    "name", ["relu", "sigmoid", "erf", "erfc", "logsumexp", "softmax", "log_softmax"]
)
def test_plain_numbers_are_computed_in_double(name: str, make: Callable[[float], Any]) -> None:
    x = make(1.0)
    y = np.asarray(TABLE[name](x))
    assert y.dtype == np.float64
    assert_allclose(y, TABLE[name].forward(np.asarray(x, float)), rtol=1e-15)


# --- Python constants ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "name",
    [
        n
        for n, p in TABLE.items()
        if p.elementwise and p.arity in (2, 3) and takes_floats(p) and n != "float_power"
    ],
)
def test_python_constants_do_not_widen(name: str, dtype: type[np.floating[Any]]) -> None:
    p = TABLE[name]
    # NumPy's clip, and the logarithm of a probability, make an array of their first argument.
    only_first = name in ("clip", "cross_entropy_of_probability")
    for i in range(1 if only_first else p.arity):
        args: list[Any] = [(lo + hi) / 2 + 0.01 for lo, hi in p.domain]
        args[i] = np.array([args[i], args[i] * 0.9], dtype)
        y = p.forward(*args)
        if y.dtype.kind != "f":
            continue
        condition = name in ("where", "keep") and i == 0  # whose type does not count
        assert y.dtype == (np.float64 if condition else dtype)
        rule = p.rule(i)
        if rule is not None:
            assert np.asarray(rule(np.ones(2, dtype), y, *args)).dtype == dtype


# --- Values --------------------------------------------------------------------------------------

SCALARS = pytest.mark.parametrize("name", [n for n, p in TABLE.items() if p.scalar])
_POINTS = {
    1: [
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.0,
        -1.0,
        3.0,
        -3.0,
        40.0,
        -800.0,
        800.0,
        1e-300,
        1e308,
        -1e308,
        math.inf,
        -math.inf,
        math.nan,
    ],
    2: [0.0, -0.0, 0.5, -2.0, 3.0, 1e308, math.inf, -math.inf, math.nan],
    3: [0.0, -1.0, 2.0, math.inf, math.nan],
}


def _points(p: Primitive) -> Iterator[tuple[float, ...]]:
    for n in [p.arity] if p.arity else [1, 2, 3]:
        yield from product(_POINTS[n], repeat=n)


@SCALARS
def test_scalar_is_the_forward_on_one_number(name: str) -> None:
    p = TABLE[name]
    for point in _points(p):
        with about(point), quiet():
            expected = p.forward(*map(np.float64, point))
            y = p(*map(Value, point))
            if p.differentiable:
                assert isinstance(y, Value)
                y = y.data
            assert type(y) in (float, bool)
            assert_allclose(y, expected, rtol=4e-15, atol=0)
            if y == 0:
                assert np.signbit(y) == np.signbit(expected) or name in ("maximum", "minimum")


@pytest.mark.parametrize("name", [n for n, p in TABLE.items() if p.scalar and p.differentiable])
def test_gradients_of_values_are_those_of_0d_tensors(name: str) -> None:
    p = TABLE[name]
    for point in _points(p):
        with about(point), quiet():
            values = [Value(v) for v in point]
            leaves = [tensor(v, requires_grad=True) for v in point]
            p(*values).backward()
            p(*leaves).backward()
            for v, t in zip(values, leaves, strict=True):
                assert type(v.grad) is float
                expected = 0.0 if t.grad is None else t.grad
                assert_allclose(v.grad, expected, rtol=4e-15, atol=0)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [n for n, p in TABLE.items() if p.elementwise and p.arity in (2, 3)]
)
def test_shapes_that_do_not_broadcast_are_refused(name: str) -> None:
    p = TABLE[name]
    shapes = [(2,), (3,), (2,)][: p.arity]
    with pytest.raises(ValueError, match=r"broadcast|shape"):
        p(*(tensor(np.ones(s, float if takes_floats(p) else int)) for s in shapes))


def _x(*shape: int) -> Tensor:
    return tensor(np.ones(shape), requires_grad=True)


BAD_CALLS: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "matmul (2,3)@(2,3)": (lambda: _x(2, 3) @ _x(2, 3), ValueError),
    "matmul ()@(2,)": (lambda: np.matmul(_x(), _x(2)), ValueError),
    "matmul batch (2,3,3)@(4,3,3)": (lambda: _x(2, 3, 3) @ _x(4, 3, 3), ValueError),
    "linear weight": (lambda: TABLE["linear"](_x(2, 3), _x(2, 3), _x(3)), ValueError),
    "linear bias": (lambda: TABLE["linear"](_x(2, 3), _x(3, 4), _x(3)), ValueError),
    "sum_to wrong length": (lambda: TABLE["sum_to"](_x(2, 3), shape=(2,)), ShapeError),
    "sum_to more axes": (lambda: TABLE["sum_to"](_x(3), shape=(1, 3)), ShapeError),
    "broadcast_to": (lambda: np.broadcast_to(_x(3), (2, 2)), ValueError),
    "reshape": (lambda: _x(2, 3).reshape(4), ValueError),
    "transpose": (lambda: _x(2, 3).transpose(0, 0), ValueError),
    "squeeze a long axis": (lambda: np.squeeze(_x(2, 3), axis=0), ValueError),
    "concatenate": (lambda: np.concatenate([_x(2, 3), _x(2, 2)]), ValueError),
    "concatenate nothing": (lambda: np.concatenate([]), ValueError),
    "concatenate 0-d": (lambda: np.concatenate([_x(), _x()]), ValueError),
    "stack": (lambda: np.stack([_x(2), _x(3)]), ValueError),
    "sum over axis 2 of 2": (lambda: _x(2, 3).sum(axis=2), ValueError),
    "sum over an axis twice": (lambda: _x(2, 3).sum(axis=(0, 0)), ValueError),
    "max of nothing": (lambda: _x(0).max(), ValueError),
    "softmax axis": (lambda: TABLE["softmax"](_x(2), axis=1), ValueError),
    "index out of range": (lambda: _x(3)[3], IndexError),
    "index array out of range": (lambda: _x(3)[[0, -4]], IndexError),
    "mask of another shape": (lambda: _x(3)[np.array([True, False])], IndexError),
    "too many indices": (lambda: _x(3)[0, 0], IndexError),
    "float index": (lambda: _x(3)[1.0], IndexError),
    "take_along_axis out of range": (
        lambda: np.take_along_axis(_x(3), np.array([3]), 0),
        IndexError,
    ),
    "pick out of range": (lambda: TABLE["pick"](_x(2, 3), np.array([0, 3])), IndexError),
    "pick too few": (lambda: TABLE["pick"](_x(2, 3), np.array([0])), ValueError),
    "pick as many, in another shape": (
        lambda: TABLE["pick"](_x(2, 3, 4), np.zeros((3, 2), int)),
        ValueError,
    ),
    "method with too many arguments": (lambda: _x(3).sum(0, True), TypeError),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_refused(case: str) -> None:
    call, error = BAD_CALLS[case]
    with pytest.raises(error):
        call()


# --- the checks themselves -----------------------------------------------------------------------


def _on_arrays_only(f: Callable[..., Any]) -> Callable[..., Any]:
    """Cut a function off the graph: right on arrays, constant on tensors."""
    return lambda *args: f(*(a.detach() if isinstance(a, Tensor) else a for a in args))


def _in_place(g: Any, y: Any, x: Any) -> Any:
    g *= np.cos(x)
    return g


def _sin(*rules: Any, **options: Any) -> Primitive:
    def sin(x: Any, *, out: Any = None) -> Any:
        return np.sin(x, out=out)

    options = {"elementwise": True, "domain": (REAL,), "numpy": ()} | options
    return Primitive(sin, rules, **options)


def _writes_wrong_out(x: Any, *, out: Any = None) -> Any:
    if out is not None:
        np.copyto(out, np.sin(x) + 1e-12)
        return out
    return np.sin(x)


_COS = np.cos
PLANTED: dict[str, tuple[Callable[..., None], Primitive]] = {
    "factor 1.00001": (check_first_order, _sin(lambda g, y, x: g * 1.00001 * _COS(x))),
    "sign": (check_first_order, _sin(lambda g, y, x: -g * _COS(x))),
    "cotangent ignored": (check_first_order, _sin(lambda g, y, x: _COS(x) * (g == g))),
    "wrong where negative": (
        check_first_order,
        _sin(lambda g, y, x: g * elementwise.where(x < 0, 1.0, _COS(x))),
    ),
    "second argument wrong": (
        check_first_order,
        Primitive(
            lambda a, b: a * b,
            [lambda g, y, a, b: g * b, lambda g, y, a, b: g * b],
            name="product",
            elementwise=True,
            domain=(REAL, REAL),
        ),
    ),
    "declared constant": (
        check_first_order,
        Primitive(
            lambda a, b: a * b,
            [lambda g, y, a, b: g * b, None],
            name="product",
            elementwise=True,
            domain=(REAL, REAL),
        ),
    ),
    "no second order": (check_second_order, _sin(lambda g, y, x: g * _on_arrays_only(np.cos)(x))),
    "second order in g lost": (
        check_second_order,
        _sin(lambda g, y, x: _on_arrays_only(np.multiply)(g, 1.0) * _COS(x)),
    ),
    "second order wrong by a sign": (
        check_second_order,
        _sin(
            lambda g, y, x: (
                g * (_COS(x) if isinstance(x, np.ndarray) else 2.0 * _COS(x).detach() - _COS(x))
            )
        ),
    ),
    "another rule on tensors": (
        check_traced_rule_is_the_raw_rule,
        _sin(lambda g, y, x: g * _COS(x) if isinstance(x, np.ndarray) else g * (_COS(x) + 1e-15)),
    ),
    "widens float32": (
        lambda s: check_dtype(s, np.float32),
        _sin(lambda g, y, x: g * (np.float64(1.0) * _COS(x))),
    ),
    "widens float16": (
        lambda s: check_dtype(s, np.float16),
        _sin(lambda g, y, x: g * (np.float32(1.0) * _COS(x))),
    ),
    "writes to g": (check_inputs_unmodified, _sin(_in_place)),
    "wrong with out": (
        check_out,
        Primitive(_writes_wrong_out, [None], elementwise=True, domain=(REAL,)),
    ),
    "forgets out": (
        check_out,
        Primitive(
            lambda x, *, out=None: np.sin(x),
            [None],
            name="forgets",
            elementwise=True,
            domain=(REAL,),
        ),
    ),
    "forward": (
        check_forward,
        Primitive(
            lambda x: np.sqrt(x) * (1.0 + 1e-12),
            [None],
            name="sqrt",
            elementwise=True,
            domain=(POSITIVE,),
            numpy=(),
        ),
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_faults_are_caught(fault: str) -> None:
    check, wrong = PLANTED[fault]
    found = [s for s in samples(wrong) if s.args[0].size > 1]
    if fault == "forward":
        found = [Sample(s.primitive, s.args, s.static, np.sqrt) for s in found]
    for sample in found[:3]:
        with pytest.raises((AssertionError, ValueError)):
            check(sample)


def test_a_right_rule_passes_where_the_planted_ones_fail() -> None:
    right = _sin(lambda g, y, x: g * np.cos(x))
    for sample in samples(right):
        for check in (
            check_first_order,
            check_second_order,
            check_traced_rule_is_the_raw_rule,
            check_inputs_unmodified,
            check_out,
            check_layouts,
        ):
            check(sample)
        check_dtype(sample, np.float32)


def test_a_new_elementwise_primitive_has_samples_and_a_structured_one_has_not() -> None:
    assert samples(_sin(None))
    assert not samples(primitive(name="new structured one")(lambda x: x))
