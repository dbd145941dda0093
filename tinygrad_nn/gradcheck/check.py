"""gradcheck: analytic derivatives held against differences of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_nn.errors import GradcheckError
from tinygrad_nn.gradcheck.blame import assign_blame
from tinygrad_nn.gradcheck.build import build_subject
from tinygrad_nn.gradcheck.constants import ALONE, APPLICATION_ALONE
from tinygrad_nn.gradcheck.contracts import (
    Backward,
    backward_contracts,
    forward_contracts,
    same,
)
from tinygrad_nn.gradcheck.diagnosis import diagnose
from tinygrad_nn.gradcheck.graph_subject import GraphSubject
from tinygrad_nn.gradcheck.judgement import Rule
from tinygrad_nn.gradcheck.orders import elsewhere, first_order, second_order
from tinygrad_nn.gradcheck.progress import progress_bar
from tinygrad_nn.gradcheck.remainder import second_opinion
from tinygrad_nn.gradcheck.report import GradcheckReport
from tinygrad_nn.gradcheck.search import Progress, Search
from tinygrad_nn.gradcheck.subject import Subject

__all__ = ["check_grads", "gradcheck"]


def gradcheck(
    f: Any,
    inputs: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    gradient: Callable[..., Any] | None = None,
    vjp: Callable[..., Any] | None = None,
    order: int = 1,
    dtype: str = "float64",
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    raise_exception: bool = True,
    rng: int | np.random.Generator | None = 0,
    names: Sequence[str] | None = None,
    max_elements: int | None = None,
    blame: bool = False,
    progress: bool | None = None,
    **others: Any,
) -> GradcheckReport:
    """Check the gradient of a function or of a model against differences of its values.

    Everything is computed in copies, of float64 by default: inputs and model are not changed.

    Parameters
    ----------
    f : callable or Module
        A function that returns a tensor or `Value` of any shape, or a tuple, list or dict of them;
        or a model, whose parameters are checked.
    inputs : array_like, Tensor, Value, float, or a tuple or list of them
        The arguments of `f`; dicts, and tuples and lists of tensors or `Value`, may stand among
        them. Floating inputs are checked and integers are constants. If a tensor says
        ``requires_grad=True``, then only such tensors and `Value` are checked. For a model,
        ``(x, *targets)``: they are constants, except tensors that require a gradient.
    loss : callable, optional
        With a model: ``loss(model(x), *targets)`` is what is differentiated. Without it, the
        model's output is, called as ``model(*inputs)``.
    gradient : callable, optional
        A gradient that this engine did not make. `f` is then a function of arrays that returns a
        number or an array, and ``gradient(*inputs)`` its gradient: for each argument an array of
        the output's shape followed by the argument's (for one number: of the argument's shape), in
        the containers that the argument came in; None for a constant. If it is no tuple, it is
        that of the first argument, as in SciPy.
    vjp : callable, optional
        In place of `gradient`: ``vjp(g, *inputs)``, where ``g`` is the gradient that comes in, of
        the output's shape, returns an array of each argument's shape.
    order : {1, 2}
        2 checks second derivatives too: the gradient of random projections of the gradient.
    dtype : {"float64", "native"}
        Whether floating inputs are checked in float64 copies, or as they are. What float32 cannot
        resolve is not held against the gradient then.
    eps : float, optional
        The coarsest step, in the unit of the inputs. By default an eighth of each element.
    atol, rtol : float, optional
        Allow errors up to ``atol + rtol * |numeric|``, with 0 for what is not given. By default
        the tolerance is 8 times the error that the differences and rounding are estimated to
        have, for each element.
    raise_exception : bool
        Raise if the gradient is wrong; otherwise a report that is false is returned.
    rng : int, numpy.random.Generator or None
        Source of projections and samples: the same seed gives the same report.
    names : sequence of str, optional
        One name per input, for the report; the parameters' names of `f` by default.
    max_elements : int, optional
        Up to this many elements (64 by default) all are checked one by one. More are checked along
        random directions through elements of similar weight, and a direction that is not right is
        halved until its culprits are found.
    blame : bool
        Check each primitive in the graph too, at the inputs that it was given there. The report
        then names those whose derivative is wrong, with the line of your program that used them
        (`GradcheckReport.blame`), and ``draw(report)`` shows them. A primitive that is wrong at
        its own inputs makes the report false even if errors cancel. If the gradient is wrong,
        constants that move with the inputs are named as well: numbers that have left the graph.
    progress : bool, optional
        True shows a bar on stderr once 2 seconds have passed, False never does. By default it is
        shown in a terminal or a notebook, if rich is installed.
    **others
        Refused; PyTorch's `fast_mode`, `nondet_tol` and `check_grad_dtypes` with a word on why
        they are not needed.

    Returns
    -------
    GradcheckReport
        True if the gradient is right. Printed, it is a table with the worst element first.

    Raises
    ------
    GradcheckError
        If the gradient is wrong; its `report` is the report.
    LossError
        If `f` returns what has no gradient: a plain number or array, integers, None.
    NotDifferentiableError
        If the result depends on none of the inputs, or `f` uses what has no derivative.
    MissingExtraError
        If `progress` is True and rich is not installed.
    TypeError
        If there is no floating input to check, or none with elements, or `f` does not take that
        many.

    Notes
    -----
    At a kink, where the derivatives from the left and from the right differ, every value between
    them is accepted and reported as "not differentiable here". Not detected: an error in a branch
    that these inputs do not reach, a wrong derivative at a jump, and a wrong function with a
    derivative that fits it. `blame` cannot detect what is wrong in what a function compiled by
    `compile` does differently from the function itself, which is what it looks at.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.gradcheck import gradcheck
    >>> bool(gradcheck(lambda x, y: np.sum(x * np.sin(y)), ([1.0, 2.0], [0.5, 3.0])))
    True
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}")
    for keyword, number in (("eps", eps), ("atol", atol), ("rtol", rtol)):
        if number is not None and not isinstance(number, int | float | np.number):
            raise TypeError(f"{keyword} must be a number, got {number!r}")
        if number is not None and not (np.isfinite(number) and number >= 0.0):
            raise ValueError(f"{keyword} must be a finite number that is not negative: {number}")
    if eps == 0.0:
        raise ValueError("eps is a step and must be positive")
    if others:
        raise TypeError(
            f"gradcheck has no keyword {', '.join(sorted(others))}. Of PyTorch's: fast_mode is "
            f"what max_elements does; results must be equal to the bit (no nondet_tol); dtypes are "
            f"always checked (no check_grad_dtypes)"
        )
    alone = ALONE if max_elements is None else max_elements
    if not isinstance(alone, int | np.integer):
        raise TypeError(f"max_elements must be a whole number, got {max_elements!r}")
    if alone < 1:
        raise ValueError(f"max_elements must be positive, got {max_elements}")
    if order == 2 and (gradient is not None or vjp is not None):
        raise ValueError(
            "order=2 needs a gradient that the engine can differentiate. To check a Hessian of "
            "your own, check it as the gradient of the gradient: "
            "gradcheck(gradient, inputs, gradient=hessian)"
        )
    if blame and (gradient is not None or vjp is not None):
        raise ValueError(
            "blame=True looks for primitives in a graph that the engine has recorded, and a "
            "gradient of your own (gradient=, vjp=) has none; leave blame out"
        )
    subject = build_subject(f, inputs, names, dtype, loss, gradient, vjp)
    generator, rule = np.random.default_rng(rng), Rule(eps, atol, rtol)
    with progress_bar(progress) as told:
        start = perf_counter()
        report, search, back = _check(subject, rule, order, alone, generator, told)
        if search is not None:
            second_opinion(search.rows, sorted(search.kinks), rule, report, generator)
        if back is not None and not report:
            report.diagnoses += diagnose(subject, search, report, back.cotangent)
        report.evaluations = subject.evaluations
        report.seconds = perf_counter() - start
        if blame:
            assert isinstance(subject, GraphSubject)

            def check(part: Subject) -> GradcheckReport:
                return _check(part, Rule(), order, APPLICATION_ALONE, generator, _quiet)[0]

            assign_blame(subject, report, check, generator)
    if not report and raise_exception:
        raise GradcheckError(str(report), report)
    return report


check_grads = gradcheck


def _check(
    subject: Subject, rule: Rule, order: int, alone: int, rng: np.random.Generator,
    progress: Progress,
) -> tuple[GradcheckReport, Search | None, Backward | None]:  # fmt: skip
    """Return what is wrong, and the evidence as far as there is any."""
    report = GradcheckReport(inputs=dict(subject.sizes))
    search = None
    if subject.constants:
        report.notes.append(f"constant, not checked: {', '.join(subject.constants)}")
    y = forward_contracts(subject, report)
    if y is None:
        return report, None, None
    # At moved points anything may overflow; on the inputs as given, warnings have been shown.
    with np.errstate(all="ignore"):
        back = backward_contracts(subject, y, report, rng)
        if back.gradient is not None:
            search = first_order(subject, y, back, rule, alone, report, rng, progress)
            if report:
                elsewhere(subject, y, rule, report, rng)
            if order == 2 and report:
                second_order(subject, y, rule, alone, search.kinks, report, rng, progress)
        if not same(subject.value(subject.x), y):
            report.broke(
                "deterministic",
                "not deterministic: the result has drifted since the first call",
            )
    return report, search, back


def _quiet(done: int, total: int) -> None:
    """Show no progress."""
