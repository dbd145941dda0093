"""Checking gradients: analytic derivatives against differences of values, element by element."""

from tinygrad_nn.callable_module import make_callable
from tinygrad_nn.gradcheck.cases import cases
from tinygrad_nn.gradcheck.check import check_grads, gradcheck
from tinygrad_nn.gradcheck.culprit import Culprit
from tinygrad_nn.gradcheck.remainder import taylor_test
from tinygrad_nn.gradcheck.report import Finding, GradcheckReport
from tinygrad_nn.gradcheck.sampling import find_kinks, sample_inputs
from tinygrad_nn.gradcheck.taylor import Taylor

__all__ = [
    "Culprit",
    "Finding",
    "GradcheckReport",
    "Taylor",
    "cases",
    "check_grads",
    "find_kinks",
    "gradcheck",
    "sample_inputs",
    "taylor_test",
]

make_callable(__name__, gradcheck)
