"""What every function and its backward pass must keep to, whatever they compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import NotDifferentiableError, ShapeError
from tinygrad_nn.gradcheck.constants import ADDITIVE, FACTORS, HOMOGENEOUS
from tinygrad_nn.gradcheck.noise import gradient_noise, signs
from tinygrad_nn.gradcheck.report import GradcheckReport
from tinygrad_nn.gradcheck.subject import UNDEFINED, FirstCall, Subject

__all__ = ["Backward", "backward_contracts", "forward_contracts", "same"]

Array = npt.NDArray[Any]


@dataclass(slots=True)
class Backward:
    """The gradient for one random cotangent of all outputs; `gradient` is None if there is none."""

    cotangent: Array
    gradient: Array | None


def forward_contracts(subject: Subject, report: GradcheckReport) -> Array | None:
    """Check what every function must keep to; return its value, or None if the rest is in vain."""
    try:
        first = subject.first_call()
    except Exception as error:
        error.add_note("gradcheck met this when it called the function on the inputs as given")
        raise
    y = first.y
    subject.dtype = first.dtype
    if first.modified:
        report.broke("pure", f"the function modifies its input: {', '.join(first.modified)}")
        return None
    if not same(subject.value(subject.x), y):
        report.broke(
            "deterministic",
            "not deterministic: two calls on the same inputs differ (model.eval(), a fixed rng?)",
        )
        return None
    plain = subject.on_arrays()
    if plain is not None and plain.shape == y.shape and not _close(plain, y):
        worst = int(np.argmax(np.abs(plain - y)))
        report.broke(
            "plain",
            f"on plain arrays the function returns another value: {plain[worst]:.6g}, on tensors "
            f"{y[worst]:.6g}. Does it write into an array that has another name or is a view "
            f"(`y += ...`), or ask what type its input is?",
        )
        return None
    if not np.isfinite(y).all():
        bad = int((~np.isfinite(y)).sum())
        report.broke(
            "finite", f"the result is not finite: {bad} of {y.size} numbers are inf or nan"
        )
        return None
    if not y.size:
        _empty(subject, report)
        return None
    _reach(first, subject, report)
    for what in first.imprecise:
        report.broke("dtype", f"{what}: digits are lost, and the engine widens it without a word")
    return y


def _empty(subject: Subject, report: GradcheckReport) -> None:
    """Check the gradient of a result without elements, which is 0."""
    with np.errstate(all="ignore"):
        g = subject.gradients(subject.x, np.zeros((1, 0)))
    if g.any():  # nan and inf are, too
        report.broke("linear", "the result has no elements, and its gradient is not 0")
    report.notes.append("nothing checked: the result has no elements")


def _reach(first: FirstCall, subject: Subject, report: GradcheckReport) -> None:
    """Refuse a result that depends on no input, and note the inputs that it does not depend on."""
    if len(first.unreached) == len(subject.leaves):
        raise NotDifferentiableError(
            f"the result does not depend on {', '.join(subject.names)} through the graph: it is "
            f"constant, or was computed from t.data or a copy (tensor(t.data)). Compute with "
            f"operators and NumPy's functions on the tensors themselves"
        )
    unused = [name for name in first.unreached if subject.sizes[name]]
    if unused:
        report.notes.append(f"the result does not depend on {', '.join(unused)}: gradient 0")


def backward_contracts(
    subject: Subject, y: Array, report: GradcheckReport, rng: np.random.Generator
) -> Backward:
    """Check what every backward pass must keep to, for random cotangents of the outputs `y`."""
    x, eps = subject.x, float(np.finfo(subject.dtype).eps)
    w = _round(signs(rng, y.size), subject)
    # Of equal and of opposite signs, so that rules in sizes of `g` are seen in one of them.
    against = rng.permutation(np.where(np.arange(y.size) % 2, 1.0, -1.0)) * np.sign(w)
    other = _round(30.0 * against * abs(signs(rng, y.size)), subject)
    both = _round(w + other, subject)  # the same as the sum but for rounding
    factors = FACTORS[min(subject.dtype.itemsize, 8)]
    try:
        times = np.array([1.0, 1.0, *factors])[:, None]
        g, again, *scaled = subject.gradients(x, times * w)
        modified = subject.backward_modified()
        h, sum_ = subject.gradients(x, np.array([other, both]))
    except ShapeError as error:
        report.broke("shape", f"wrong shape: {error}")
        return Backward(w, None)
    except Exception as error:
        error.add_note("gradcheck met this in the backward pass: a derivative rule failed")
        raise
    if modified:
        report.broke("pure", f"{subject.backward} modifies an input: {', '.join(modified)}")
        return Backward(w, None)
    if not same(g, again):
        report.broke("deterministic", f"{subject.backward} is not deterministic")
        return Backward(w, None)
    with np.errstate(all="ignore"):
        least = (
            16.0 * float(np.finfo(subject.dtype).smallest_normal) / eps
        )  # below, digits are lost
        if subject.dtype.itemsize == 2:
            least *= eps  # else that would be all
        for factor, result in zip(factors, scaled, strict=True):
            if (abs(result - factor * g) > HOMOGENEOUS * eps * abs(factor * g) + least).any():
                what = "ignores" if same(result, g) else "ignores, clips, rounds or squares"
                report.broke(
                    "linear",
                    f"not linear in the incoming gradient: {factor:g} times it does not give "
                    f"{factor:g} times the result; a rule {what} its `g`",
                )
                return Backward(w, g)
        noise = gradient_noise(
            lambda x: subject.gradients(x, both[None]), x, sum_[None], eps, rng, UNDEFINED,
            lambda ulps: subject.shaken_gradients(x, both[None], rng, ulps),
        )[0]  # fmt: skip
        size = np.zeros_like(g)
        for part in subject.slices:
            size[part] = np.maximum(abs(g[part]), abs(h[part])).max(initial=0.0)
            size[part] = max(ADDITIVE, 1e3 * eps) * size[part] + 30.0 * noise[part].max(initial=0.0)
        if (abs(sum_ - g - h) > size + 1e-300).any():
            report.broke(
                "linear",
                "not linear in the incoming gradient: that of a sum is not the sum of those",
            )
    _modes(subject, Backward(w, g), noise, report, rng)
    return Backward(w, g)


def _modes(
    subject: Subject, back: Backward, noise: Array, report: GradcheckReport,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Check that forward mode, where there is one, has the same derivatives as reverse mode."""
    v = signs(rng, subject.x.size)
    forth = subject.slope(v, back.cotangent)
    if forth is None or back.gradient is None:
        return
    slope = float(np.sum(back.gradient * v))
    eps = float(np.finfo(subject.dtype).eps)
    # `noise` is that of a cotangent 30 times as large.
    allowed = float(np.sum(max(ADDITIVE, 1e3 * eps) * abs(back.gradient) + noise))
    if np.isfinite(slope) and not abs(forth - slope) <= allowed:
        report.broke(
            "modes",
            f"forward and reverse mode disagree: a slope is {forth:.6g} in one and {slope:.6g} in "
            f"the other; is a primitive said to be elementwise or linear that is not?",
        )


def _round(g: Array, subject: Subject) -> Array:
    """Round a cotangent to numbers that the function's precision has, so that scaling is exact."""
    return g.astype(subject.dtype).astype(np.float64)


def same(a: Array, b: Array) -> bool:
    """Whether two arrays are equal to the bit, nan included."""
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def _close(a: Array, b: Array) -> bool:
    with np.errstate(all="ignore"):
        return np.allclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=True)
