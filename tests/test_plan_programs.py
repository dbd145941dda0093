"""Random programs, compiled: results, gradients and second derivatives as in eager execution."""

from typing import Any

import numpy as np
import pytest
from beside_eager import TOLERANCE, as_leaf, backwards, check
from hypothesis import Phase, given, settings
from programs import Program, programs

import tinygrad_nn as tg
from tinygrad_nn.plan.capture import Capture
from tinygrad_nn.rules import TABLE

Array = np.ndarray


def moved(program: Program, dtype: Any) -> list[list[Array]]:
    """Return the program's inputs at three calls: near each other, so that no domain is left.

    Programs are drawn to stay away from kinks and singular points by a margin.
    """
    rng = np.random.default_rng(0)
    return [
        [np.asarray(x + 1e-4 * k * rng.uniform(-1.0, 1.0, x.shape), dtype) for x in program.inputs]
        for k in range(3)
    ]


def check_program(program: Program, dtype: Any = np.float64) -> None:
    draws = moved(program, dtype)
    # Sums of what nearly cancels differ by rounding, in whatever order they are taken.
    rtol = 10.0 * TOLERANCE[dtype]
    check(program.f, draws, rtol)
    check(backwards(program.f), [[as_leaf(x) for x in inputs] for inputs in draws], rtol)


def check_second_order(program: Program) -> None:
    v = [np.cos(np.arange(x.size)).reshape(x.shape) for x in program.inputs]

    def products(*x: Any) -> Any:
        return tg.hvp(lambda x: np.sum(np.sin(program.f(*x))), list(x), v)

    check(products, moved(program, np.float64), 1e-10)


@settings(max_examples=150)
@given(programs())
def test_programs(program: Program) -> None:
    check_program(program)


@settings(max_examples=60)
@given(programs())
def test_programs_in_single_precision(program: Program) -> None:
    check_program(program, np.float32)


@settings(max_examples=40)
@given(programs(most=5))
def test_second_order(program: Program) -> None:
    check_second_order(program)


def test_a_planted_fault_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that computes something else is seen by the check."""
    bind = Capture.bind

    def wrong(self: Any, primitive: Any, args: Any, static: Any) -> Any:
        y = bind(self, primitive, args, static)
        if primitive.name == "sin":
            self.instructions[-1].primitive = TABLE["cos"]
        return y

    @settings(phases=[Phase.generate])
    @given(programs(opening="sin", dims=1))
    def run(program: Program) -> None:
        check_program(program)

    monkeypatch.setattr(Capture, "bind", wrong)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run()
