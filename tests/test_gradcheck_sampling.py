"""Inputs drawn for checks: in the domain, away from kinks, at them, beside them, and tied."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.gradcheck import find_kinks, sample_inputs
from tinygrad_nn.gradcheck.sampling import PLACES
from tinygrad_nn.rules import TABLE

SEEDS = range(20)


def relu6(x):
    return np.clip(x, 0.0, 6.0)


# --- what is drawn -------------------------------------------------------------------------------


@pytest.mark.parametrize("at", PLACES)
def test_shapes_dtypes_and_domains_are_those_asked_for(at):
    domain = ((0.0, np.inf), (-1.0, 2.0), (0.0, 9.0), (-1.0, 1.0))
    inputs = sample_inputs(
        shapes=((2, 3), (), 4, (0, 3)),
        domain=domain,
        kinks=((1.0,), (0.0,), (), ()),
        dtype=("float64", "float32", "int64", "float16"),
        at=at,
    )
    assert [x.shape for x in inputs] == [(2, 3), (), (4,), (0, 3)]
    assert [x.dtype.name for x in inputs] == ["float64", "float32", "int64", "float16"]
    for x, (lo, hi) in zip(inputs, domain, strict=True):
        assert np.all((lo <= x) & (x <= hi))


@pytest.mark.parametrize("at", PLACES)
def test_the_same_seed_gives_the_same_bytes(at):
    def drawn(rng):
        return sample_inputs(relu6, (5,), domain=(-9.0, 9.0), at=at, rng=rng)[0].tobytes()

    assert drawn(3) == drawn(3) == drawn(np.random.default_rng(3))
    assert drawn(3) != drawn(4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_away_keeps_its_distance(seed, dtype):
    (x,) = sample_inputs(relu6, (4, 5), domain=(-2.0, 8.0), dtype=dtype, rng=seed)
    x = x.astype(float)
    for kink in (0.0, 6.0):
        assert np.min(abs(x - kink)) >= 0.05 * 10.0 / 2
    assert np.min(np.diff(np.sort(x.ravel()))) >= 0.05 * 10.0 / 20
    assert np.min(x) >= -1.51
    assert np.max(x) <= 7.51


@pytest.mark.parametrize("seed", SEEDS)
def test_inputs_keep_their_distance_from_each_other(seed):
    a, b = sample_inputs(np.maximum, ((3, 4), (4,)), rng=seed)
    assert np.min(abs(a[:, :, None] - b)) >= 0.05 * 6.0 / 16
    a, b = sample_inputs(np.maximum, ((200,), (200,)), margin=0.0, rng=seed)
    assert np.min(abs(a[:, None] - b)) < 0.05 * 6.0 / 400, "the distance is not by chance"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_half_of_the_elements_are_at_kinks(seed, size):
    (x,) = sample_inputs(relu6, (size,), domain=(-2.0, 8.0), at="kink", rng=seed)
    assert np.sum(np.isin(x, [0.0, 6.0])) == -(-size // 2)
    if size >= 3:
        assert np.any(x == 0.0)
        assert np.any(x == 6.0)
    assert np.any(np.signbit(x[x == 0.0])) == (size == 9), "zeros are of both signs"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_near_is_beside_the_kink_on_both_sides(dtype):
    (x,) = sample_inputs(relu6, (16,), domain=(-2.0, 8.0), at="near", dtype=dtype)
    x = x.astype(float)
    for kink in (0.0, 6.0):
        beside = (x - kink)[abs(x - kink) < 0.2]
        assert len(beside) == 4
        assert np.any(beside > 0.0)
        assert np.any(beside < 0.0)
        assert np.all(beside != 0.0)
        if dtype == "float64":
            assert np.max(abs(beside)) < 2.1e-6 * max(kink, 1.0)


def test_near_stays_in_the_domain():
    (x,) = sample_inputs(np.sqrt, (8,), domain=(0.0, 4.0), kinks=0.0, at="near")
    assert np.all(x > 0.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_ties_are_at_the_extremes_and_between_inputs(seed):
    (x,) = sample_inputs(np.max, (3, 4), at="tie", rng=seed)
    assert np.sum(x == x.max()) >= 2
    assert np.sum(x == x.min()) >= 2
    a, b = sample_inputs(np.maximum, ((3,), ()), dtype=("float64", "float32"), at="tie", rng=seed)
    assert a[0] == b


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_few_elements_are_tied_as_far_as_they_go(size):
    (x,) = sample_inputs(np.max, (size,), at="tie")
    assert np.sum(x == x.max(initial=-9.0)) == min(size, 2)


# --- what the checker makes of them --------------------------------------------------------------


def verdicts(f, inputs):
    return {finding.verdict for finding in tg.gradcheck(f, inputs).findings}


KINK = "not differentiable here"


@pytest.mark.parametrize("f", [tg.relu, tg.hard_tanh, np.abs, tg.leaky_relu, tg.selu])
def test_the_checker_sees_kinks_where_they_are_drawn(f):
    assert KINK not in verdicts(f, sample_inputs(f, (8,)))
    assert KINK not in verdicts(f, sample_inputs(f, (8,), at="near"))
    assert KINK in verdicts(f, sample_inputs(f, (1,), at="kink"))


@pytest.mark.parametrize("f", [np.maximum, np.minimum, np.fmax])
def test_the_checker_sees_ties_between_inputs(f):
    assert KINK not in verdicts(f, sample_inputs(f, ((2, 3), (3,))))
    assert KINK in verdicts(f, sample_inputs(f, ((), ()), at="tie"))


@pytest.mark.parametrize("f", [np.max, np.min, np.median, np.sort])
def test_the_checker_sees_ties_within_an_input(f):
    assert KINK not in verdicts(f, sample_inputs(f, (4,)))
    assert KINK in verdicts(f, sample_inputs(f, (4,), at="tie"))


# --- finding kinks -------------------------------------------------------------------------------

FOUND = {
    "relu": (tg.relu, (-3.0, 3.0), (0.0,)),
    "hard tanh": (tg.hard_tanh, (-3.0, 3.0), (-1.0, 1.0)),
    "relu6": (relu6, (-2.0, 8.0), (0.0, 6.0)),
    "floor": (np.floor, (-1.5, 1.5), (-1.0, 0.0, 1.0)),
    "a curve with a kink": (lambda x: np.exp(x) * abs(np.sin(x)), (-3.0, 3.0), (0.0,)),
    "a vertical slope": (lambda x: np.sqrt(abs(x)), (-3.0, 3.0), (0.0,)),
    "two parabolas": (lambda x: np.maximum(x, x * x), (-3.0, 3.0), (0.0, 1.0)),
    "three decimals": (lambda x: abs(x - 0.125), (-3.0, 3.0), (0.125,)),
    "a small kink": (lambda x: x + 1e-3 * abs(x - 1.0), (-3.0, 3.0), (1.0,)),
    "far away": (lambda x: abs(x - 1000.5), (1000.0, 1010.0), (1000.5,)),
    "wave": (lambda x: np.sin(20.0 * x), (-3.0, 3.0), ()),
    "steep": (lambda x: np.tanh(30.0 * x), (-3.0, 3.0), ()),
    "line": (lambda x: 3.0 * x, (-3.0, 3.0), ()),
    "constant": (lambda x: 0.0 * x, (-3.0, 3.0), ()),
    "large": (lambda x: 1e9 + np.sin(x), (-3.0, 3.0), ()),
    "a pole at the end": (np.log, (0.0, np.inf), ()),
    "elu": (tg.elu, (-3.0, 3.0), ()),
}


@pytest.mark.parametrize("name", FOUND)
def test_kinks_are_found(name):
    f, domain, kinks = FOUND[name]
    assert find_kinks(f, domain) == kinks


def test_a_kink_at_no_round_number_is_close():
    (kink,) = find_kinks(lambda x: abs(np.exp(x) - 2.0))
    assert abs(kink - np.log(2.0)) < 1e-11


def test_the_kinks_of_the_table():
    """Of its own elementwise primitives of one number, the engine knows where the kinks are."""
    unary = [p for p in TABLE.values() if p.differentiable and p.elementwise and p.arity == 1]
    found = {p.name: find_kinks(p, p.domain[0]) for p in unary if p.domain}
    assert {name: kinks for name, kinks in found.items() if kinks} == {
        "absolute": (0.0,),
        "angle": (0.0,),  # a jump, from 0 to pi
        "fabs": (0.0,),
        "relu": (0.0,),
    }


def test_functions_that_are_not_elementwise_have_no_kinks_of_their_own():
    def spread(x):
        return abs(x - np.mean(x))

    for f in (spread, np.sort, tg.softmax, np.cumsum, np.max, lambda x: x @ np.ones((3, 2))):
        (x,) = sample_inputs(f, (3,))
        assert x.shape == (3,)
        with pytest.raises(ValueError, match='at="tie"'):
            sample_inputs(f, (3,), at="kink")


# --- errors --------------------------------------------------------------------------------------

ERRORS = {
    "place": ({"at": "edge"}, ValueError, "'away', 'kink', 'near', 'tie', got 'edge'"),
    "margin": ({"margin": 0.3}, ValueError, "from 0 to 0.2, got 0.3"),
    "no kinks": ({"at": "kink"}, ValueError, "or an elementwise function to find them"),
    "smooth": ({"f": np.tanh, "at": "near"}, ValueError, "give kinks=0.0"),
    "empty domain": ({"domain": (2.0, 1.0)}, ValueError, "is empty: give lo < hi"),
    "no domain": ({"domain": (1.0, 2.0, 3.0)}, ValueError, r"an interval \(lo, hi\)"),
    "outside": ({"domain": (1.0, 2.0), "kinks": 0.0}, ValueError, "kink at 0.0 is outside"),
    "number of domains": (
        {"domain": ((0.0, 1.0), (0.0, 1.0))}, ValueError, r"domain: there are 1 input\(s\), got 2",
    ),
    "shape": ({"shapes": (2, -1)}, ValueError, "integers that are not negative"),
    "number of inputs": (
        {"f": TABLE["maximum"]}, TypeError,
        r"maximum takes 2 input\(s\), got 1 shape\(s\); .*shapes=\(\(2, 3\), \(2, 3\),\)",
    ),
    "complex": ({"dtype": "complex128"}, TypeError, "not as complex128"),
    "no integer": ({"dtype": int, "domain": (0.2, 0.8)}, ValueError, "no int64 in the domain"),
    "crowded": ({"shapes": 20_000, "dtype": "float16"}, ValueError, "a smaller margin"),
    "nothing in common": (
        {"shapes": ((2,), (2,)), "domain": ((0, 1), (2, 3)), "at": "tie"}, ValueError,
        "nothing in common",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_to_do(name):
    options, error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        sample_inputs(**{"f": None, "shapes": (3,)} | options)
