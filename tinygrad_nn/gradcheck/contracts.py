"""What every function and its backward pass must keep to, whatever they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import NotDifferentiableError, ShapeError
from tinygrad_nn.gradcheck.numeric import signs
from tinygrad_nn.gradcheck.report import GradcheckReport
from tinygrad_nn.gradcheck.subject import (
    Subject,
    flat,
    precision,
)

__all__ = ["contracts", "same"]

Array = npt.NDArray[Any]


def contracts(subject: Subject, report: GradcheckReport, rng: np.random.Generator) -> Array | None:
    """Check what every function must keep to; return its value, or None if the rest is in vain."""
    x = subject.x
    try:
        nodes, outputs = subject.run(x)
    except Exception as error:
        error.add_note("gradcheck met this when it called the function on the inputs as given")
        raise
    y = flat(outputs)
    subject.dtype = precision(outputs)
    modified = subject.modified(nodes, x)
    if modified:
        report.problems.append(f"the function modifies its input: {', '.join(modified)}")
        return None
    if not same(subject.value(x), y):
        report.problems.append(
            "not deterministic: two calls on the same inputs differ (model.eval(), a fixed rng?)"
        )
        return None
    plain = subject.on_arrays(x)
    if plain is not None and plain.shape == y.shape and not _close(plain, y):
        worst = int(np.argmax(np.abs(plain - y)))
        report.problems.append(
            f"on plain arrays the function returns another value: {plain[worst]:.6g}, on tensors "
            f"{y[worst]:.6g}. Does it write into an array that has another name or is a view "
            f"(`y += ...`), or ask what type its input is?"
        )
        return None
    if not np.isfinite(y).all():
        bad = int((~np.isfinite(y)).sum())
        report.problems.append(
            f"the result is not finite: {bad} of {y.size} numbers are inf or nan"
        )
        return None
    if not y.size:
        report.notes.append("nothing checked: the result has no elements")
        return None
    unreached = subject.unreached(nodes, outputs)
    if len(unreached) == len(nodes):
        raise NotDifferentiableError(
            f"the result does not depend on {', '.join(subject.names)} through the graph: it is "
            f"constant, or was computed from t.data or a copy (tensor(t.data)). Compute with "
            f"operators and NumPy's functions on the tensors themselves"
        )
    unused = [name for name in unreached if subject.sizes[name]]
    if unused:
        report.notes.append(f"the result does not depend on {', '.join(unused)}: gradient 0")
    w = signs(rng, y.size)
    factors = np.array([1.0, 1.0, -2.0, 1024.0, 2.0**-10])
    try:
        g, again, *scaled = subject.gradients(x, factors[:, None] * w)
        other = rng.standard_normal(y.size) * 30.0
        h, both = subject.gradients(x, np.array([other, w + other]))
    except ShapeError as error:
        report.problems.append(f"a rule returns a wrong shape: {error}")
        return None
    except Exception as error:
        error.add_note("gradcheck met this in the backward pass: a derivative rule failed")
        raise
    if not same(g, again):
        report.problems.append("the backward pass is not deterministic")
    eps = float(np.finfo(subject.dtype).eps)
    with np.errstate(all="ignore"):
        for factor, result in zip(factors[2:], scaled, strict=True):
            if (abs(result - factor * g) > 8.0 * eps * abs(factor * g) + 1e-290).any():
                report.problems.append(
                    f"not linear in the incoming gradient: {factor:g} times it does not give "
                    f"{factor:g} times the result; a rule ignores, clips or squares its `g`"
                )
                break
        else:
            size = np.zeros_like(g)
            for part in subject.slices:
                size[part] = np.maximum(abs(g[part]), abs(h[part])).max(initial=0.0)
            if (abs(both - g - h) > max(1e-6, 1e3 * eps) * size).any():
                report.problems.append(
                    "not linear in the incoming gradient: that of a sum is not the sum of those"
                )
    v = signs(rng, x.size)
    forth, back = subject.slope(x, v, w), float(np.sum(g * v))
    allowed = max(1e-6, 1e3 * eps) * float(np.sum(abs(g)))
    if forth is not None and np.isfinite(back) and not abs(forth - back) <= allowed:
        report.problems.append(
            f"forward and reverse mode disagree: a slope is {forth:.6g} in one and {back:.6g} in "
            f"the other; is a primitive said to be elementwise or linear that is not?"
        )
    if subject.modified(nodes, x):
        report.problems.append("the backward pass modifies an input")
    return y


def same(a: Array, b: Array) -> bool:
    """Whether two arrays are equal to the bit, nan included."""
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def _close(a: Array, b: Array) -> bool:
    with np.errstate(all="ignore"):
        return np.allclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=True)
