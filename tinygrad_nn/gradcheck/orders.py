"""The rows of a check: random projections of the outputs, and of the gradient itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import (
    ADDITIVE,
    BIN,
    BUDGET,
    COMBINATIONS,
    ELSEWHERE,
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

__all__ = ["elsewhere", "first_order", "second_order"]

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
        shaken=lambda ulps: subject.shaken_gradients(subject.x, w, rng, ulps),
        rounding=subject.rounding(subject.x, w),
    )  # fmt: skip
    if not report.problems:
        _mix(rows, w, back, report, rng)
    search = Search(rows, rule, alone, BUDGET, progress)
    search.run(np.arange(subject.x.size))
    report.add(search.findings)
    report.add(ties(rows, [i for i, finding in search.kinks.items() if finding.kink]))
    if search.unprobed:
        report.notes.append(search.unprobed)
    return search


def _mix(
    rows: Rows, w: Array, back: Backward, report: GradcheckReport, rng: np.random.Generator
) -> None:
    """Check that the gradient of a mix of outputs is the mix of their gradients.

    One by one, outputs hide what goes wrong with a cotangent that is not 0 or 1.
    """
    mix, g = back.cotangent, back.gradient
    assert g is not None
    if mix.size > MAX_OUTPUTS:  # of which there are no gradients one by one
        mix = signs(rng, len(w))
        g = rows.subject.gradients(rows.x, (mix @ w)[None])[0]
    with np.errstate(all="ignore"):
        expected, size = mix @ rows.analytic, abs(mix) @ abs(rows.analytic)
        noise = 30.0 * (abs(mix) @ rows.blur)
        allowed = np.zeros_like(g)
        for part in rows.subject.slices:
            allowed[part] = MIX * rows.eps * size[part].max(initial=0.0)
            allowed[part] += noise[part].max(initial=0.0)
        off = abs(expected - g)
        if (off > allowed + 1e-300).any():
            i = int(np.argmax(off - allowed))
            report.broke(
                "linear",
                f"the gradient of a mix of outputs is not the mix of their gradients: at "
                f"{rows.subject.name(i)} {g[i]:.12g} in place of {expected[i]:.12g}; is the "
                f"incoming gradient rounded or changed?",
            )


def elsewhere(
    subject: Subject, y: Array, rule: Rule, report: GradcheckReport, rng: np.random.Generator
) -> None:
    """Check one direction at a point nearby; only what is wrong there is reported.

    A rule that keeps what it has seen first is right at the inputs as given and nowhere else.
    """
    if rule.eps is not None:
        return  # no further away than was asked for
    w = signs(rng, y.size).astype(subject.dtype).astype(np.float64)
    x = subject.cast(subject.x + ELSEWHERE * scales(subject)[0] * signs(rng, subject.x.size))
    if not np.isfinite(subject.try_value(x, y.size)).all():
        return
    try:
        rows = Rows(
            lambda x: w[None] @ subject.try_value(x, y.size),
            lambda x: subject.gradients(x, w[None]),
            subject, rng, ["right at the inputs as given, wrong here: does a rule keep what it has "
                           "seen before, or is a branch wrong?"], x=x,
            shaken=lambda ulps: subject.shaken_gradients(x, w[None], rng, ulps),
            rounding=subject.rounding(x, w[None]),
        )  # fmt: skip
    except UNDEFINED:
        return
    everything = np.arange(x.size)
    judged = rows.probe(everything, rows.scales[0] * signs(rng, x.size), rule)
    if (judged.wrong & ~judged.kink).any():
        name = f"at a point nearby (along {x.size:,} elements)"
        report.add([judged.finding(name, rows.names, 1)])


def second_order(
    subject: Subject, y: Array, rule: Rule, alone: int, kinks: dict[int, Any],
    report: GradcheckReport, rng: np.random.Generator, progress: Progress,
) -> None:  # fmt: skip
    """Check the gradient of the gradient's projections; kinks take no part in it."""
    g = signs(rng, y.size).astype(subject.dtype).astype(np.float64)
    at_kinks = sorted(kinks)
    smooth = np.setdiff1d(np.arange(subject.x.size), at_kinks)
    v = np.concatenate([
        signs(rng, (SECOND_ORDER_ROWS, subject.x.size)),
        *(signs(rng, subject.x.size)[None] * group for group in _groups(subject, g, rng)),
    ])  # fmt: skip
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
            rounding=np.asarray(abs(v) @ _gradient_rounding(subject, g, rng)),
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


def _gradient_rounding(subject: Subject, g: Array, rng: np.random.Generator) -> Array:
    """Return how far rounding puts each element of the gradient off, shape (n,)."""
    x, eps = subject.x, float(np.finfo(subject.dtype).eps)
    noise = gradient_noise(
        lambda x: subject.gradients(x, g[None]), x, subject.gradients(x, g[None]), eps, rng,
        UNDEFINED, lambda ulps: subject.shaken_gradients(x, g[None], rng, ulps),
    )  # fmt: skip
    return np.asarray(noise[0])


def _groups(subject: Subject, g: Array, rng: np.random.Generator) -> list[Array]:
    """Return, as masks, elements of the gradient that change little, by how much they do.

    Beside elements that change much, theirs would be lost in rounding.
    """
    d = 1e-4 * scales(subject)[0] * signs(rng, subject.x.size)
    try:
        with np.errstate(all="ignore"):
            here = subject.gradients(subject.x, g[None])[0]
            there = subject.gradients(subject.cast(subject.x + d), g[None])[0]
            change = np.nan_to_num(abs(there - here), posinf=0.0)
            decade = np.ceil(np.log10(change / change.max()) / BIN)
    except UNDEFINED:
        return []
    small = [level for level in np.unique(decade)[::-1] if -np.inf < level < 0.0]
    return [decade == level for level in small[:SECOND_ORDER_ROWS]]


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
        noise = _gradient_rounding(subject, e, rng)
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
