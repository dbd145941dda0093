"""Checking gradients: analytic derivatives against differences of values, element by element."""

from tinygrad_nn.callable_module import make_callable
from tinygrad_nn.gradcheck.check import check_grads, gradcheck
from tinygrad_nn.gradcheck.report import Finding, GradcheckReport

__all__ = ["Finding", "GradcheckReport", "check_grads", "gradcheck"]

make_callable(__name__, gradcheck)
