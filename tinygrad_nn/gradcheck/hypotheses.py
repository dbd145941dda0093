"""Hypotheses: simple mistakes that would explain all derivatives of an input.

Each undoes a mistake: from the analytic derivatives it makes those that the rule would have given
without it. It is accepted if these agree with every line that was probed through the input, and
the analytic ones do not. Numbers in it, as a factor, are taken from one line and tried on the
others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import (
    COINCIDENCES,
    FACTOR_ALONE,
    FACTOR_KNOWN,
    LARGE,
    SLOPE_KNOWN,
)
from tinygrad_nn.gradcheck.evidence import Evidence, Line
from tinygrad_nn.gradcheck.factors import factor_names
from tinygrad_nn.gradcheck.report import Diagnosis

__all__ = ["HYPOTHESES"]

Array = npt.NDArray[Any]


def _factor_diagnosis(e: Evidence, c: float, within: float, where: str = "") -> Diagnosis:
    """Say what a factor is, as far as it can be told."""
    names = factor_names(c, within, e.sizes)
    details: dict[str, Any] = {"factor": c}
    if names and names[0][0] == "-1":
        message = f"the sign is wrong{where}"
        return Diagnosis("sign", e.name, message, {"factor": -1.0})
    if not names:
        digits = max(3, min(8, int(-math.log10(max(within, 1e-12))) - 1))
        text = f"{c:.{digits}g}"
        if text == "1":
            text = f"1 {'-' if c < 1.0 else '+'} {abs(c - 1.0):.1e}"
        return Diagnosis("factor", e.name, f"{text} times what it must be{where}", details)
    plain = names[0][0] if not names[0][1] else f"{c:.6g}"
    meant = [(words, meaning) for words, meaning in names if meaning][:3]
    details["names"] = [words for words, _ in names]
    message = f"{plain} times what it must be{where}"
    if plain == f"{c:.6g}" and meant:
        message = f"{c:.6g} times what it must be{where}"
    if meant:
        message += f"; {plain} = {' = '.join(words for words, _ in meant)}"
        axes = [words for words, _ in meant if not words.startswith(("n/", "(n"))]
        if any(m == "degrees of freedom" for _, m in meant):
            message += ": are the degrees of freedom (ddof) the same in function and rule?"
        elif axes[0].lstrip("-").startswith("1/"):
            message += ": a mean in the place of a sum over that many, or divided twice?"
        else:
            message += ": a sum in the place of a mean over that many?"
    return Diagnosis("factor", e.name, message, details)


def zero(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether all derivatives are 0."""
    if not e.analytic.any():
        yield Diagnosis(
            "zero", e.name,
            "no gradient reaches it: is it taken out of the graph (t.data, t.item(), np.array(t)), "
            "or its rule None or 0?",
        )  # fmt: skip


def factor(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether all derivatives are off by one factor."""
    found = _fitted_factor(e, None)
    # Of one element among others that are 0, no more can be said than that it is wrong.
    elements = {i for line, *_ in e.ratios() for i in line.moved.tolist()}
    if found is not None and len(elements) >= min(2, e.x.size):
        yield _factor_diagnosis(e, *found)


def _fitted_factor(
    e: Evidence, among: Callable[[Line], bool] | None
) -> tuple[float, float] | None:  # fmt: skip
    """Return the factor that explains all slopes `among` some, and how exact it is."""
    ratios = [(c, within) for line, c, within in e.ratios() if among is None or among(line)]
    if not ratios:
        return None
    c, within = min(ratios[::2], key=lambda ratio: ratio[1])
    if c == 0.0 or not within <= FACTOR_KNOWN * abs(c):
        return None
    within /= abs(c)
    if not e.explains(e.analytic / c, among):
        return None
    if len(ratios) == 1:
        # One slope is explained by any factor; one that has a name is no accident.
        names = factor_names(c, within, e.sizes)
        return (c, within) if within <= FACTOR_ALONE and names else None
    return c, within


def offset(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether one number was added to all derivatives, or to those that are not 0."""
    for support in (np.ones(e.analytic.shape), (e.analytic != 0.0) * 1.0):
        amounts = []
        for line, slope, allowed in e.slopes(e.analytic):
            reach = support[:, line.moved] @ line.steps
            for k in np.flatnonzero(line.wrong & (reach != 0.0)):
                off = float((slope[k] - line.numeric[k]) / reach[k])
                amounts.append((abs(allowed[k] / reach[k]) / abs(off), off))
        if len(amounts) < 3:
            return
        within, d = min(amounts[::2])
        if within <= SLOPE_KNOWN and e.explains(e.analytic - d * support):
            how = f"{abs(d):.6g} too {'large' if d > 0.0 else 'small'}"
            yield Diagnosis(
                "offset", e.name,
                f"every derivative is {how}: is there a term too many, or one that is missing?",
                {"offset": d},
            )  # fmt: skip
            return


def _rearranged(e: Evidence) -> Iterator[tuple[str, str, dict[str, Any], Array]]:
    """Yield rearrangements of the derivatives of an input, the simplest first."""
    a, shape = e.analytic, e.shape
    whole = a.reshape(len(a), *shape)
    if len(shape) >= 2:
        turned = a.reshape(len(a), *shape[:-2], shape[-1], shape[-2]).swapaxes(-1, -2)
        square = shape[-1] == shape[-2]
        how = f"its gradient is {'' if square else 'reshaped where it must be '}transposed"
        yield "transposed", how, {}, turned
    for axis, n in enumerate(shape):
        for shift in (1, -1) if n > 2 else ():
            yield (
                "rolled", f"its gradient is shifted by {shift} along axis {axis}",
                {"axis": axis, "shift": shift}, np.roll(whole, -shift, axis + 1),
            )  # fmt: skip
        if n > 1:
            yield (
                "reversed", f"its gradient is reversed along axis {axis}", {"axis": axis},
                np.flip(whole, axis + 1),
            )  # fmt: skip


def rearranged(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether the derivatives are all there, but not in their places."""
    if e.x.size > LARGE:
        return
    for pattern, message, details, derivatives in _rearranged(e):
        flat = derivatives.reshape(e.analytic.shape)
        if e.told(flat) >= 3 and e.explains(flat):
            yield Diagnosis(pattern, e.name, message, details)


def swapped(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether the derivatives are those of another input."""
    for name, derivatives in e.others.items():
        if e.told(derivatives) >= 2 and e.explains(derivatives):
            yield Diagnosis(
                "swapped", e.name,
                f"its gradient is what {name} is given: are two rules in the wrong order?",
                {"other": name},
            )  # fmt: skip


def operand(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether `g` is multiplied by a matrix that should have been transposed."""
    if e.output is None or len(e.output) != 2 or len(e.shape) != 2:
        return
    tensor = e.analytic.reshape(*e.output, *e.shape)
    for axis in (0, 1):
        # d(a b)[i, j] / d a[i, k] is b[k, j]: without .T, it stands at k in the place of j.
        if e.output[1 - axis] == e.shape[1 - axis]:
            turned = tensor.swapaxes(1 - axis, 3 - axis).reshape(e.analytic.shape)
            if e.told(turned) >= 3 and e.explains(turned):
                yield Diagnosis(
                    "operand", e.name,
                    "the incoming gradient is multiplied by a matrix that must be transposed (.T)",
                )  # fmt: skip
                return


def mixed_upstream(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether the sum or the mean of `g` stands for `g` in an elementwise rule."""
    k, n = e.analytic.shape
    if e.output is None or k != n or n < 3 or not (e.analytic == e.analytic[:1]).all():
        return
    for factor_, what in ((1.0, "sum"), (float(n), "mean")):
        if e.explains(e.analytic * np.eye(n) * factor_):
            yield Diagnosis(
                "upstream", e.name,
                f"every output contributes to every element: the rule takes the {what} of its `g` "
                f"in the place of `g`",
                {"what": what},
            )  # fmt: skip


def diagonal(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether an element's derivative is right in its own output, and 0 in the others."""
    k, n = e.analytic.shape
    if e.output is None or k != n or n < 3 or e.analytic[~np.eye(n, dtype=bool)].any():
        return
    own = [line for line in e.lines if line.moved.size == 1 and line.usable[line.moved[0]]]
    if len(own) >= 3 and not any(line.wrong[line.moved[0]] for line in own):
        yield Diagnosis(
            "diagonal", e.name,
            "each element is right in its own output, and 0 in the others, which depend on it too: "
            "is the function differentiated as if it were elementwise?",
        )  # fmt: skip


def silent_outputs(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether some outputs have no gradient at all, and the others are right."""
    silent: Array = ~np.any(e.analytic, axis=1)
    times: Array = np.zeros(len(silent), int)
    for line in e.lines:
        times += line.wrong
    # An output that depends on one element would say no more than that the element is wrong.
    if not e.outputs_alone or silent.all() or not silent[times > 0].all() or times.max() < 2:
        return
    which = [int(k) for k in np.flatnonzero(times)]
    names = ", ".join(map(str, which[:4])) + (", ..." if len(which) > 4 else "")
    yield Diagnosis(
        "output", e.name,
        f"no gradient comes from output {names}, and from the others it is right: is "
        f"{'it' if len(which) == 1 else 'each of them'} taken out of the graph?",
        {"outputs": which},
    )  # fmt: skip


def float32(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether derivatives are of a lower precision, and as far off as its rounding."""
    numbers = e.analytic[np.isfinite(e.analytic) & (e.analytic != 0.0)]
    for name in ("float16", "float32"):
        with np.errstate(all="ignore"):
            rounded = numbers.astype(name).astype(np.float64)
        eps = float(np.finfo(name).eps)
        if np.unique(rounded).size < 3 or not np.array_equal(rounded, numbers):
            continue
        close = all(abs(c - 1.0) <= eps + within for _, c, within in e.ratios())
        if close and sum(1 for _ in e.ratios()) >= 3:
            yield Diagnosis(
                "precision", e.name,
                f"its derivatives are numbers of {name}, and off by as much as its rounding "
                f"({eps / 2:.0e} of a derivative)",
                {"dtype": name},
            )  # fmt: skip
            return


def _sets(e: Evidence, wrong: list[int], right: list[int]) -> Iterator[tuple[str, str, Array]]:
    """Yield sets of elements, those that the wrong ones may be; `right` ones are in none."""
    size = abs(e.x)
    yield "negative", "where it is negative", e.x < 0.0
    yield "positive", "where it is positive", e.x > 0.0
    if max(e.x[wrong]) < min(e.x[right]):
        text = f"where it is small (below {min(e.x[right]):.4g}, at {max(e.x[wrong]):.4g})"
        yield "below", text, e.x <= max(e.x[wrong])
    if min(e.x[wrong]) > max(e.x[right]):
        text = f"where it is large (above {max(e.x[right]):.4g}, at {min(e.x[wrong]):.4g})"
        yield "above", text, e.x >= min(e.x[wrong])
    if min(size[wrong]) > max(size[right]):
        text = f"where it is large (beyond {max(size[right]):.4g}, at {min(size[wrong]):.4g})"
        yield "large", text, size >= min(size[wrong])
    if max(size[wrong]) < min(size[right]):
        text = f"where it is small (within {min(size[right]):.4g}, at {max(size[wrong]):.4g})"
        yield "small", text, size <= max(size[wrong])


def some(e: Evidence) -> Iterator[Diagnosis]:
    """Tell whether only some elements are wrong that there is a word for."""
    wrong, right = e.alone(wrong=True), e.alone(wrong=False)
    if not wrong:
        return
    pattern, text = "", ""
    if right and math.comb(len(wrong) + len(right), len(wrong)) >= COINCIDENCES:
        for name, words, inside in _sets(e, wrong, right):
            outside_is_right = not any(
                line.wrong.any() for line in e.lines if not inside[line.moved].any()
            )
            if inside[wrong].all() and not inside[right].any() and outside_is_right:
                pattern, text = name, words
                break
    if not pattern:
        pattern, text = _place(e, wrong, right)
    if not pattern:
        return
    culprits = set(wrong)
    found = _fitted_factor(e, lambda line: line.moved.size == 1 and int(line.moved[0]) in culprits)
    message = f"wrong only {text}"
    details: dict[str, Any] = {"elements": len(wrong)}
    if found is not None:
        about = _factor_diagnosis(e, *found)
        message += f", there {about.message}"
        details |= about.details
    yield Diagnosis(pattern, e.name, message, details)


def _place(e: Evidence, wrong: list[int], right: list[int]) -> tuple[str, str]:
    """Return where all wrong elements are, if all of that place are wrong, and the rest right."""
    if not e.shape:
        return "", ""  # one number alone, which the table shows
    where = np.array(np.unravel_index(wrong, e.shape))
    all_known = len(wrong) + len(right) == e.x.size
    rest = [line.wrong.any() for line in e.lines if wrong[0] not in line.moved]
    if len(wrong) == 1 and rest and not any(rest):
        text = f"at [{', '.join(str(int(i)) for i in where[:, 0])}]"
        finite = np.isfinite(e.analytic[:, wrong[0]]).all()
        return "element", text if finite else f"{text}, where it is not finite"
    if not all_known:
        return "", ""
    for axis, at in enumerate(where):
        if len(e.shape) > 1 and (at == at[0]).all() and len(wrong) == e.x.size // e.shape[axis]:
            inside = ", ".join(str(int(at[0])) if k == axis else ":" for k in range(len(e.shape)))
            name = {0: "row", 1: "column"}.get(axis, "slice") if len(e.shape) == 2 else "slice"
            return name, f"at [{inside}]"
    return "", ""


#: In this order; the first that fits is the simplest.
HYPOTHESES: dict[str, Callable[[Evidence], Iterable[Diagnosis]]] = {
    "zero": zero,
    "factor": factor,
    "offset": offset,
    "precision": float32,
    "rearranged": rearranged,
    "swapped": swapped,
    "operand": operand,
    "upstream": mixed_upstream,
    "diagonal": diagonal,
    "output": silent_outputs,
    "some": some,
}
