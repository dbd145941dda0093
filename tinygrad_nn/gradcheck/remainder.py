"""The Taylor test: Taylor's remainder measured along a random direction through all inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.build import build_subject
from tinygrad_nn.gradcheck.constants import (
    CLEAR,
    FIRST_STEP,
    NOTED,
    RATIO,
    TAYLOR_LOST,
    TAYLOR_STEPS,
    ULPS,
)
from tinygrad_nn.gradcheck.judgement import Rule
from tinygrad_nn.gradcheck.noise import signs
from tinygrad_nn.gradcheck.report import GradcheckReport
from tinygrad_nn.gradcheck.rows import Rows
from tinygrad_nn.gradcheck.taylor import FIRST, Taylor, taylor_of

__all__ = ["remainder", "second_opinion", "taylor_test"]

Array = npt.NDArray[Any]


def remainder(
    rows: Rows, moved: Array, rng: np.random.Generator, eps: float | None = None
) -> Taylor:
    """Measure Taylor's remainder of a random mix of the rows.

    Parameters
    ----------
    rows : Rows
    moved : ndarray of int
        The elements that the direction moves, each by its own size at most.
    rng : numpy.random.Generator
        Draws the mix and the direction.
    eps : float, optional
        The coarsest step, in the unit of the inputs.

    Returns
    -------
    Taylor
    """
    x, cast, k = rows.x, rows.subject.cast, len(rows.at_x)
    mix = np.ones(1) if k == 1 else signs(rng, k)
    steps_of = rows.scales[0][moved] * signs(rng, moved.size)
    v = np.zeros_like(x)
    v[moved] = steps_of
    at_x = float(mix @ rows.at_x)
    measured: list[tuple[float, ...]] = []
    with np.errstate(all="ignore"):
        g = (mix @ rows.analytic)[moved]
        slope, size = float(g @ steps_of), float(abs(g) @ abs(steps_of))
        # How far rounding puts the gradient's part off, and the rest.
        blur = float(abs(mix) @ (rows.blur[:, moved] @ abs(steps_of))) + ULPS * rows.eps * size
        noise = 2.0 * float(abs(mix) @ rows.noise)
        lost = 0
        first = FIRST_STEP if eps is None else eps / float(abs(steps_of).max())
        steps = [first * RATIO**-i for i in range(TAYLOR_STEPS)]
        for h in steps:
            here, there = (float(mix @ rows.value(cast(x + t * v))) for t in (h, -h))
            ahead, behind = here - at_x - h * slope, there - at_x + h * slope
            floor = noise + h * blur + rows.eps * float(np.fmax(abs(here), abs(there)))
            measured.append((h, ahead, behind, here - at_x, floor))
            lost = 0 if np.fmax(abs(ahead), abs(behind)) > CLEAR * floor else lost + 1
            if lost == TAYLOR_LOST:
                break
    return taylor_of(np.array(measured), size, moved.size)


def second_opinion(
    rows: Rows, kinks: list[int], rule: Rule, report: GradcheckReport, rng: np.random.Generator
) -> None:
    """Put the Taylor test of what was checked into the report; it overrules nothing.

    Elements at kinks take no part, unless there is nothing else.
    """
    everything = np.arange(rows.x.size)
    moved = np.delete(everything, kinks)
    report.taylor = taylor = remainder(rows, moved if moved.size else everything, rng, rule.eps)
    # Whoever has given a tolerance has said which errors are none.
    if report and rule.automatic and taylor.verdict == FIRST and taylor.fit.octaves >= NOTED:
        alone = sum(finding.elements == 1 and finding.order == 1 for finding in report.findings)
        remedy = (
            "is there a feature of the function that is narrower than the steps?"
            if alone == rows.x.size
            else f"check all of them one by one (max_elements={rows.x.size})"
        )
        report.notes.append(
            f"Taylor's remainder says that the gradient is off along a random direction, by "
            f"{taylor.error:.1e} of its size, and no element was found wrong: {remedy}"
        )


def taylor_test(
    f: Any,
    inputs: Any,
    *,
    loss: Callable[..., Any] | None = None,
    gradient: Callable[..., Any] | None = None,
    vjp: Callable[..., Any] | None = None,
    dtype: str = "float64",
    rng: int | np.random.Generator | None = 0,
    names: Sequence[str] | None = None,
) -> Taylor:
    r"""Test a gradient by how Taylor's remainder falls, without a step size or a tolerance.

    Parameters
    ----------
    f : callable or Module
        As in `gradcheck`, like all that follow.
    inputs : array_like, Tensor, Value, float, or a tuple or list of them
    loss : callable, optional
    gradient, vjp : callable, optional
    dtype : {"float64", "native"}
    rng : int, numpy.random.Generator or None
        Draws the direction and, of a function with many outputs, the mix of them.
    names : sequence of str, optional

    Returns
    -------
    Taylor
        True if it confirms the gradient. Printed, it is one line; `plot` draws it.

    Notes
    -----
    With :math:`\phi(h) = \langle w, f(x + h v) \rangle`, a random direction v whose elements are of
    the size of those of x, and the gradient g of :math:`\phi`, the remainder

    .. math:: R(h) = |\phi(h) - \phi(0) - h \langle g, v \rangle|

    falls as :math:`h^2` if g is right and f smooth, and as h if g is wrong (P. E. Farrell, D. A.
    Ham, S. W. Funke, M. E. Rognes, SIAM J. Sci. Comput. 35 (2013), C369-C393,
    doi:10.1137/120873558, section 6). It is computed on both sides of x, so that a kink is told
    from a wrong gradient.

    It does not say which element is wrong: `gradcheck` does. Not detected: an error that is small
    beside the whole gradient along v, for its part of the remainder is the larger one only at
    steps that rounding hides; an error that v happens to cancel; and what one gradient does not
    show, as a rule that is not linear in the gradient that comes in, or differs from call to call.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.gradcheck import taylor_test
    >>> x = np.array([0.5, -1.2, 3.0])
    >>> print(taylor_test(lambda x: np.sum(np.sin(x)), x, gradient=np.cos))
    Taylor remainder: slope 2.00 from h = 0.125 to 4.77e-07: second order, as it must be
    >>> print(taylor_test(lambda x: np.sum(np.sin(x)), x, gradient=lambda x: 1.01 * np.cos(x)))
    Taylor remainder: slope ...: first order: the gradient is off by ... of its size
    """
    subject = build_subject(f, inputs, names, dtype, loss, gradient, vjp)
    generator = np.random.default_rng(rng)
    first = subject.first_call()
    subject.dtype, m = first.dtype, first.y.size
    w = np.ones((1, 1)) if m == 1 else signs(generator, (1, m))
    w = w.astype(subject.dtype).astype(np.float64)
    rows = Rows(
        lambda x: w @ subject.try_value(x, m),
        lambda x: subject.gradients(x, w),
        subject, generator, [""],
    )  # fmt: skip
    return remainder(rows, np.arange(subject.x.size), generator)
