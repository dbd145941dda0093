"""`gradcheck.cases`: shapes, dtypes and places as the parameters of a test."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.gradcheck import cases

module = importlib.import_module("tinygrad_nn.gradcheck.cases")  # the name is the function's, too


def parameters(test):
    (mark,) = test.pytestmark
    names, sets = mark.args
    return names, {found.id: found.values for found in sets}


def drawn(**options):
    @cases(**{"shapes": [(3,)]} | options)
    def test(gradcheck, x):
        pass

    return parameters(test)[1]


def test_every_combination_is_a_case_with_a_name():
    @cases(
        shapes=[((3, 4), (4,)), ((), (0, 3))],
        dtypes=["float64", np.float32, ("float64", "int64")],
        at=["away", "tie"],
    )
    def test(gradcheck, a, b):
        pass

    names, found = parameters(test)
    assert names == ["a", "b"]
    assert list(found) == [
        f"{shape}-{dtype}-{at}"
        for shape in ("3x4-4", "0d-0x3")
        for dtype in ("float64", "float32", "float64-int64")
        for at in ("away", "tie")
    ]
    for name, (a, b) in found.items():
        assert (a.shape, b.shape) == (((3, 4), (4,)) if "3x4" in name else ((), (0, 3)))
        assert a.dtype == ("float32" if "32" in name else "float64")
        assert b.dtype == ("int64" if "int" in name else a.dtype)


def test_inputs_are_of_the_function_and_the_place():
    found = drawn(f=tg.relu, at=["away", "kink", "near"])
    assert np.all(abs(found["3-float64-away"][0]) > 0.1)
    assert np.any(found["3-float64-kink"][0] == 0.0)
    assert 0.0 < np.min(abs(found["3-float64-near"][0])) < 1e-5
    (positive,) = drawn(domain=(5.0, 6.0))["3-float64-away"]
    assert np.all(positive > 5.0)
    (at_five,) = drawn(domain=(4.0, 6.0), kinks=5.0, at="kink")["3-float64-kink"]
    assert np.any(at_five == 5.0)


def test_inputs_depend_on_the_test_and_the_case_alone():
    @cases(shapes=[(2,), (3,)])
    def a_test(x):
        pass

    def another():
        @cases(**options)
        def test(x):
            pass

        return parameters(test)[1]

    one = parameters(a_test)[1]
    options = {"shapes": [(3,)]}
    other = another()
    options = {"shapes": [(2,), (3,)], "dtypes": ["float32", "float64"]}
    again = another()
    name = "3-float64-away"
    assert other[name][0].tobytes() == again[name][0].tobytes()
    assert other[name][0].tobytes() != one[name][0].tobytes()
    assert one[name][0][:2].tobytes() != one["2-float64-away"][0].tobytes()


def test_one_decorator_serves_two_tests():
    decorate = cases(shapes=[(3,)])

    @decorate
    def one(gradcheck, x):
        pass

    @decorate
    def two(gradcheck, y):
        pass

    assert parameters(one)[0] == ["x"]
    assert parameters(two)[0] == ["y"]


def test_shared_inputs_cannot_be_changed():
    (x,) = drawn()["3-float64-away"]
    with pytest.raises(ValueError, match="read-only"):
        x += 1.0


def test_fixtures_that_everybody_uses_may_stand_last():
    @cases(shapes=[(3,)])
    def test(x, request, gradcheck):
        pass

    assert parameters(test)[0] == ["x"]


def test_names_may_be_given():
    @cases(shapes=[((3,), (3,))], names="a, b")
    def test(a, order, b):
        pass

    assert parameters(test)[0] == ["a", "b"]


CASES = cases(tg.relu, shapes=[(3,), ()], dtypes=["float64", "float32"], at=["away", "kink"])


@pytest.mark.parametrize("order", [1, 2])
@CASES
def test_they_stack_with_other_parameters(gradcheck, order, x):
    assert gradcheck(tg.relu, x, order=order)


class TestInAClass:
    @CASES
    def test_a_method(self, gradcheck, x):
        assert gradcheck(tg.relu, x)


ERRORS = {
    "no shape": ({"shapes": []}, ValueError, "at least one shape, dtype and place"),
    "no place": ({"at": []}, ValueError, "at least one shape, dtype and place"),
    "twice": ({"shapes": [3, (3,)]}, ValueError, "and each but once"),
    "counts": ({"shapes": [(3,), ((3,), (3,))]}, ValueError, r"shapes of \[1, 2\] inputs"),
    "place": ({"at": "edge"}, ValueError, "at must be one of"),
    "dtypes": ({"dtypes": [("float64",) * 2]}, ValueError, r"dtypes: there are 1 input.*got 2"),
    "names": ({"names": "z"}, TypeError, r"has the parameters \(x\) for inputs.* as 'z'"),
    "too many": ({"shapes": [((2,),) * 3]}, TypeError, "for inputs, which are 3; give it one"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_to_do(name):
    options, error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        drawn(**options)


def test_without_pytest_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(tg.MissingExtraError, match="pip install pytest"):
        cases(shapes=[(3,)])
