"""gradcheck: analytic derivatives held against differences of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import GradcheckError
from tinygrad_nn.gradcheck.contracts import contracts, same
from tinygrad_nn.gradcheck.numeric import signs
from tinygrad_nn.gradcheck.report import KINK, WEAK, WRONG, Finding, GradcheckReport
from tinygrad_nn.gradcheck.rows import EXACT_AROUND, Rows, Rule, scales
from tinygrad_nn.gradcheck.subject import (
    UNDEFINED,
    Subject,
    function_subject,
    model_subject,
)

__all__ = ["check_grads", "gradcheck"]

Array = npt.NDArray[Any]

#: Up to this many outputs every one is checked by itself, and one random combination of them.
MAX_OUTPUTS = 32
#: Of more outputs, this many random combinations are checked.
COMBINATIONS = 6
#: Up to this many elements all are checked (see `gradcheck`); of more, a sample of a tenth.
MAX_ELEMENTS = 4096
#: Random directions through everything, where not every element is checked.
DIRECTIONS = 3
#: Up to this many elements with kinks are held against each other in pairs.
TIED = 6
#: Directions in the space of gradients whose derivatives are checked at second order.
SECOND_ORDER_ROWS = 3


# --- what is probed ------------------------------------------------------------------------------


def _projections(subject: Subject, y: Array, rng: np.random.Generator) -> tuple[Array, list[str]]:
    """Return cotangents (K, m) to check with, and a name for each."""
    m = y.size
    if m == 1:
        return np.ones((1, 1)), [""]
    if m <= MAX_OUTPUTS:
        units = [f"of output {j}" for j in range(m)]
        return np.vstack([np.eye(m), signs(rng, (1, m))]), [*units, "of a mix of outputs"]
    # Outputs that vary little would drown among those that vary much: bring them to one scale.
    d = 1e-4 * scales(subject)[0] * signs(rng, subject.x.size)
    change = abs(subject.try_value(subject.x + d, m) - y)
    change = np.where(np.isfinite(change), change, 0.0)
    size = np.where(change > 0.0, np.maximum(change, 1e-7 * abs(y)), change.max() or 1.0)
    w = signs(rng, (COMBINATIONS, m)) * (np.median(size) / size)
    return w, ["of a mix of outputs"] * COMBINATIONS


def _sample(subject: Subject, budget: int, rng: np.random.Generator) -> Array:
    """Choose the elements to check one by one: all, or as many of each input as is fair."""
    if subject.x.size <= budget:
        return np.arange(subject.x.size)
    left = max(budget // 10, 1)
    chosen = []
    parts = sorted(subject.slices, key=lambda part: part.stop - part.start)
    for k, part in enumerate(parts):
        size = part.stop - part.start
        share = min(size, -(-left // (len(parts) - k)))
        chosen.append(part.start + rng.choice(size, share, replace=False))
        left -= share
    return np.sort(np.concatenate(chosen))


def _elements(rows: Rows, chosen: Array, rule: Rule) -> Iterator[tuple[int, Finding]]:
    """Check elements one by one; a weak one again, with larger moves."""
    for i in chosen.tolist():
        finding: Finding | None = None
        tried = 0.0
        for sizes in rows.scales:
            size = float(sizes[i])
            if size == tried:
                continue
            tried = size
            d = np.zeros_like(rows.x)
            d[i] = size
            candidate = rows.probe(d, rule).finding(rows.subject.name(i), rows, size)
            if finding is None or (
                candidate.verdict != KINK and candidate.tolerance < finding.tolerance
            ):
                finding = candidate
            if finding.verdict != WEAK:
                break
        assert finding is not None
        yield i, finding


def _directions(rows: Rows, rest: Array, rule: Rule, rng: np.random.Generator) -> Iterator[Finding]:
    """Check random directions through elements that were not checked one by one."""
    subject = rows.subject
    everything = [(name, part) for name, part in zip(subject.names, subject.slices, strict=True)]
    if len(everything) > 1:
        everything += [("all inputs", slice(0, subject.x.size))]
    for name, part in everything:
        inside = rest[(rest >= part.start) & (rest < part.stop)]
        if not inside.size:
            continue
        for _ in range(DIRECTIONS):
            d = np.zeros_like(rows.x)
            d[inside] = rows.scales[0][inside] * signs(rng, inside.size)
            judged = rows.probe(d, rule)
            title = f"{name} (along {inside.size:,} elements)"
            yield judged.finding(title, rows, 1.0, inside.size)


def _ties(rows: Rows, kinks: list[int]) -> Iterator[Finding]:
    """Hold pairs of elements with kinks against the derivatives that the function has around them.

    Each by itself may be between its slopes where both together are not: the two largest elements
    of max(x) may have derivatives 0 and 1, or 1/2 each, but not 1 each. Along a direction, a
    subgradient lies between the least and the largest derivative nearby (F. H. Clarke,
    Optimization and Nonsmooth Analysis, 1983, doi:10.1137/1.9781611971309, theorem 2.5.1).
    """
    for i, j in combinations(kinks[:TIED], 2):
        size = min(rows.scales[0][i], rows.scales[0][j])
        d = np.zeros_like(rows.x)
        d[[i, j]] = size
        sides = [
            (a, b) for a, b in product((-1.0, -0.5, 0.5, 1.0), repeat=2) if abs(a) != abs(b)
        ]  # not on the tie itself
        offsets = np.zeros((len(sides), d.size))
        offsets[:, [i, j]] = sides
        offsets *= d / rows.scales[0]  # of equal size in both, whatever theirs is
        low, high, margin = rows.around(d, offsets)
        analytic = rows.analytic[:, [i, j]].sum(axis=1) * size
        margin += EXACT_AROUND * abs(rows.analytic[:, [i, j]]).sum(axis=1) * size
        numeric = np.clip(analytic, low, high)
        off = abs(analytic - numeric)
        k = int((off / margin).argmax())
        if off[k] > margin[k]:  # False where a value is nan
            yield Finding(
                f"{rows.subject.name(i)} and {rows.subject.name(j)} together",
                analytic=float(analytic[k] / size),
                numeric=float(numeric[k] / size),
                error=float(off[k] / size),
                tolerance=float(margin[k] / size),
                verdict=WRONG,
                kink=True,
                elements=2,
                note=f"a tie; derivatives around it from {low[k] / size:.6g} to "
                f"{high[k] / size:.6g}",
            )


def _first_order(
    subject: Subject, y: Array, rule: Rule, budget: int, rng: np.random.Generator,
    report: GradcheckReport,
) -> set[int]:  # fmt: skip
    """Check the gradient; return the elements at which the function has a kink."""
    m = y.size
    w, names = _projections(subject, y, rng)
    rows = Rows(
        lambda x: w @ subject.try_value(x, m),
        lambda x: subject.gradients(x, w),
        subject, rng, subject.dtype, names,
    )  # fmt: skip
    chosen = _sample(subject, budget, rng)
    found = dict(_elements(rows, chosen, rule))
    report.add(found.values())
    kinks = [i for i, finding in found.items() if finding.verdict == KINK]
    report.add(_ties(rows, [i for i in kinks if found[i].kink]))
    rest = np.setdiff1d(np.arange(subject.x.size), chosen)
    if rest.size:
        report.add(_directions(rows, rest, rule, rng))
        report.notes.append(
            f"not checked one by one: {rest.size:,} of {subject.x.size:,} elements, only along "
            f"random directions, which find an error only where it is not small beside the rest "
            f"(max_elements={subject.x.size} checks all)"
        )
    return set(kinks)


def _second_order(
    subject: Subject, y: Array, rule: Rule, budget: int, rng: np.random.Generator,
    report: GradcheckReport, kinks: set[int],
) -> None:  # fmt: skip
    """Check the gradient of the gradient's projections; kinks take no part in it."""
    g = signs(rng, y.size)
    smooth = np.setdiff1d(np.arange(subject.x.size), sorted(kinks))
    v = signs(rng, (SECOND_ORDER_ROWS, subject.x.size))
    v[:, sorted(kinks)] = 0.0

    def value(x: Array) -> Array:
        try:
            with np.errstate(all="ignore"):
                gradient = subject.gradients(x, g[None])[0]
                return np.asarray(v[:, smooth] @ gradient[smooth])
        except UNDEFINED:
            return np.full(len(v), np.nan)

    try:
        rows = Rows(
            value,
            lambda x: subject.second_gradients(x, g, v),
            subject, rng, subject.dtype, ["of a mix of gradients"] * len(v), order=2,
        )  # fmt: skip
    except Exception as error:
        error.add_note("gradcheck met this in the second derivative: is a rule not made of "
                       "operators and NumPy's functions?")  # fmt: skip
        raise
    if not np.isfinite(rows.at_x).all():
        report.notes.append("second order not checked: the gradient itself is not finite")
        return
    chosen = np.intersect1d(smooth, _sample(subject, budget, rng))
    found = [finding for _, finding in _elements(rows, chosen, rule)]
    rest = np.setdiff1d(smooth, chosen)
    if rest.size:
        found += _directions(rows, rest, rule, rng)
    # A second derivative need not exist where the first one has a kink of its own.
    smooth_findings = [f for f in found if not f.kink and f.verdict != KINK]
    report.add(smooth_findings)
    ignored = len(found) - len(smooth_findings) + len(kinks)
    if ignored:
        report.notes.append(f"second order not checked at {ignored:,} element(s) with a kink")


def gradcheck(
    f: Any,
    inputs: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    order: int = 1,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    raise_exception: bool = True,
    rng: int | np.random.Generator | None = 0,
    names: Sequence[str] | None = None,
    max_elements: int | None = None,
    **others: Any,
) -> GradcheckReport:
    """Check the gradient of a function or of a model against differences of its values.

    Everything is computed in float64 copies: inputs and model are not changed.

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
    order : {1, 2}
        2 checks second derivatives too: the gradient of random projections of the gradient.
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
        Up to this many elements (4096 by default) all are checked one by one. Of more, a random
        sample of a tenth of this number is, fairly shared among the inputs, and the rest along
        random directions; the report says so.
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
    TypeError
        If there is no floating input to check, or none with elements, or `f` does not take that
        many.

    Notes
    -----
    At a kink, where the derivatives from the left and from the right differ, every value between
    them is accepted and reported as "not differentiable here". Not detected: an error in a branch
    that these inputs do not reach, a wrong derivative at a jump, and a wrong function with a
    derivative that fits it.

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
    is_model = not _is_function(f)
    if loss is not None and not is_model:
        raise TypeError("loss= is for models; for a function, check lambda x: loss(f(x))")
    if inputs is None:
        raise TypeError("gradcheck needs inputs: gradcheck(f, inputs), inputs one or a tuple")
    budget = MAX_ELEMENTS if max_elements is None else max_elements
    if budget < 1:
        raise ValueError(f"max_elements must be positive, got {max_elements}")
    if is_model:
        subject = model_subject(f, loss, inputs, names)
    else:
        subject = function_subject(f, inputs, names)
    report = _check(subject, Rule(eps, atol, rtol), order, budget, np.random.default_rng(rng))
    if not report and raise_exception:
        raise GradcheckError(str(report), report)
    return report


check_grads = gradcheck


def _is_function(f: Any) -> bool:
    """Whether `f` is to be checked as a function of its inputs, not of its parameters."""
    if not callable(f):
        raise TypeError(f"gradcheck takes a function or a model, got {type(f).__name__}")
    return not hasattr(f, "parameters")


def _check(
    subject: Subject, rule: Rule, order: int, budget: int, rng: np.random.Generator
) -> GradcheckReport:
    report = GradcheckReport(inputs=dict(subject.sizes))
    if subject.constants:
        report.notes.append(f"constant, not checked: {', '.join(subject.constants)}")
    y = contracts(subject, report, rng)
    if y is not None:
        kinks = _first_order(subject, y, rule, budget, rng, report)
        if order == 2:
            _second_order(subject, y, rule, budget, rng, report, kinks)
        if not same(subject.value(subject.x), y):
            report.problems.append("not deterministic: the result has drifted since the first call")
    report.evaluations = subject.evaluations
    return report
