"""The rows of a check: random projections of the outputs, and of the gradient itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import (
    ADDITIVE,
    BUDGET,
    COMBINATIONS,
    MAX_OUTPUTS,
    MIX,
    SECOND_ALONE,
    SECOND_BUDGET,
    SECOND_ORDER_ROWS,
)
from tinygrad_nn.gradcheck.contracts import Backward
from tinygrad_nn.gradcheck.judgement import Rule
from tinygrad_nn.gradcheck.noise import gradient_noise, signs
from tinygrad_nn.gradcheck.report import KINK, GradcheckReport
from tinygrad_nn.gradcheck.rows import Rows, scales
from tinygrad_nn.gradcheck.search import Progress, Search, ties
from tinygrad_nn.gradcheck.subject import UNDEFINED, Subject

__all__ = ["first_order", "second_order"]

Array = npt.NDArray[Any]


def _projections(subject: Subject, y: Array, rng: np.random.Generator) -> tuple[Array, list[str]]:
    """Return cotangents (K, m) to check with, and a name for each."""
    m = y.size
    if m == 1:
        return np.ones((1, 1)), [""]
    if m <= MAX_OUTPUTS:
        return np.eye(m), [f"of output {j}" for j in range(m)]
    # Outputs that vary little would drown among those that vary much: bring them to one scale.
    d = 1e-4 * scales(subject)[0] * signs(rng, subject.x.size)
    change = abs(subject.try_value(subject.cast(subject.x + d), m) - y)
    change = np.where(np.isfinite(change), change, 0.0)
    size = np.where(change > 0.0, np.maximum(change, 1e-7 * abs(y)), change.max() or 1.0)
    w = signs(rng, (COMBINATIONS, m)) * (np.median(size) / size)
    return w.astype(subject.dtype).astype(np.float64), ["of a mix of outputs"] * COMBINATIONS


def first_order(
    subject: Subject, y: Array, back: Backward, rule: Rule, alone: int,
    report: GradcheckReport, rng: np.random.Generator, progress: Progress,
) -> Search:  # fmt: skip
    """Check the gradient; what was found stands in the report, the evidence is returned."""
    m = y.size
    w, names = _projections(subject, y, rng)

    def complex_value(z: Array) -> Array | None:
        found = subject.complex_value(z)
        return None if found is None or found.size != m else w @ found

    rows = Rows(
        lambda x: w @ subject.try_value(x, m),
        lambda x: subject.gradients(x, w),
        subject, rng, names, complex_value=complex_value,
    )  # fmt: skip
    if m > 1 and m <= MAX_OUTPUTS:
        _mix(rows, back, report)
    search = Search(rows, rule, alone, BUDGET, progress)
    search.run(np.arange(subject.x.size))
    report.add(search.findings)
    report.add(ties(rows, [i for i, finding in search.kinks.items() if finding.kink]))
    if search.unprobed:
        report.notes.append(search.unprobed)
    return search


def _mix(rows: Rows, back: Backward, report: GradcheckReport) -> None:
    """Check that the gradient of a mix of outputs is the mix of their gradients.

    One by one, outputs hide what goes wrong with a cotangent that is not 0 or 1.
    """
    w, g = back.cotangent, back.gradient
    assert g is not None
    with np.errstate(all="ignore"):
        expected, size = w @ rows.analytic, abs(w) @ abs(rows.analytic)
        noise = 30.0 * (abs(w) @ rows.blur)
        allowed = np.zeros_like(g)
        for part in rows.subject.slices:
            allowed[part] = MIX * rows.eps * size[part].max(initial=0.0)
            allowed[part] += noise[part].max(initial=0.0)
        off = abs(expected - g)
        if not report.problems and (off > allowed + 1e-300).any():
            i = int(np.argmax(off - allowed))
            report.broke(
                "linear",
                f"the gradient of a mix of outputs is not the mix of their gradients: at "
                f"{rows.subject.name(i)} {g[i]:.9g} in place of {expected[i]:.9g}",
            )


def second_order(
    subject: Subject, y: Array, rule: Rule, alone: int, kinks: dict[int, Any],
    report: GradcheckReport, rng: np.random.Generator, progress: Progress,
) -> None:  # fmt: skip
    """Check the gradient of the gradient's projections; kinks take no part in it."""
    g = signs(rng, y.size).astype(subject.dtype).astype(np.float64)
    at_kinks = sorted(kinks)
    smooth = np.setdiff1d(np.arange(subject.x.size), at_kinks)
    v = signs(rng, (SECOND_ORDER_ROWS, subject.x.size)) * _evened(subject, g, rng)
    v[:, at_kinks] = 0.0

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
            subject, rng, ["of a mix of gradients"] * len(v), order=2,
        )  # fmt: skip
        _adjoint(subject, y, g, v[0], report, rng)
    except Exception as error:
        error.add_note("gradcheck met this in the second derivative: is a rule not made of "
                       "operators and NumPy's functions?")  # fmt: skip
        raise
    if not np.isfinite(rows.at_x).all():
        report.notes.append("second order not checked: the gradient itself is not finite")
        return
    search = Search(rows, rule, min(alone, SECOND_ALONE), SECOND_BUDGET, progress)
    search.run(smooth)
    # A second derivative need not exist where the first one has a kink of its own.
    found = [f for f in search.findings if not f.kink and f.verdict != KINK]
    report.add(found)
    ignored = len(search.findings) - len(found) + len(kinks)
    if ignored:
        report.notes.append(f"second order not checked at {ignored:,} element(s) with a kink")
    if search.unprobed:
        report.notes.append(f"second order: {search.unprobed}")


def _evened(subject: Subject, g: Array, rng: np.random.Generator) -> Array:
    """Return a weight for each element that brings changes of the gradient to one scale."""
    d = 1e-4 * scales(subject)[0] * signs(rng, subject.x.size)
    try:
        with np.errstate(all="ignore"):
            here, there = (subject.gradients(x, g[None])[0] for x in (
                subject.x, subject.cast(subject.x + d)))  # fmt: skip
            change = abs(there - here)
    except UNDEFINED:
        return np.ones_like(subject.x)
    change = np.where(np.isfinite(change), change, 0.0)
    if not change.any():
        return np.ones_like(subject.x)
    size = np.maximum(change, 1e-4 * change.max())
    return np.asarray(np.median(size) / size)


def _adjoint(
    subject: Subject, y: Array, g: Array, u: Array, report: GradcheckReport,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Check the derivative with respect to the incoming gradient: <d<vjp(g), u>, e> is <u, vjp(e)>.

    The backward pass is linear in the incoming gradient, so that its derivative is itself.
    """
    with np.errstate(all="ignore"):
        found = subject.adjoint(subject.x, g, u)
        if found is None:
            return
        e = signs(rng, y.size)
        gradient = subject.gradients(subject.x, e[None])
        eps = float(np.finfo(subject.dtype).eps)
        noise = gradient_noise(
            lambda x: subject.gradients(x, e[None]), subject.x, gradient, eps, rng, UNDEFINED
        )[0]
        size = abs(found) @ abs(e) + abs(u) @ abs(gradient[0])
        allowed = max(1e-2 * ADDITIVE, 1e3 * eps) * size + 50.0 * (abs(u) @ noise)
        off = abs(found @ e - u @ gradient[0])
    if off > allowed:
        report.broke(
            "linear",
            f"second order: the derivative of the gradient with respect to the incoming gradient "
            f"is {found @ e:.6g} along a direction, and must be {u @ gradient[0]:.6g}; a rule "
            f"takes its `g` out of the graph",
        )
