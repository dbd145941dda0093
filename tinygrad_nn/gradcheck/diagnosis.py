"""Diagnosis: simple mistakes that explain all derivatives of an input, the wrong and the right.

Each hypothesis undoes a mistake: from the analytic derivatives it makes those that the rule would
have given without it. It is accepted if these agree with every line that was probed through the
input, and the analytic ones do not. Numbers in it, as a factor, are taken from one line and tried
on the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.gradcheck.constants import SAFETY, ULPS
from tinygrad_nn.gradcheck.contracts import same
from tinygrad_nn.gradcheck.judgement import Judgement, Rule
from tinygrad_nn.gradcheck.noise import signs
from tinygrad_nn.gradcheck.report import WRONG, Broken, Diagnosis, GradcheckReport
from tinygrad_nn.gradcheck.rows import Rows
from tinygrad_nn.gradcheck.search import Search
from tinygrad_nn.gradcheck.subject import Subject

__all__ = ["diagnose"]

Array = npt.NDArray[Any]

#: Lines through an input that may be probed for the sake of a diagnosis.
MORE_LINES = 12
#: A slope takes part in fits if it is known this well, ...
RESOLVED = 1e-3
#: ... and a factor is recognised if it is known this well; one that only a single slope speaks
#: for, if it is known even better.
FACTOR_KNOWN, FACTOR_ALONE = 1e-4, 1e-8
#: A set of elements is named if so many others of the same size could have been the wrong ones.
COINCIDENCES = 200
#: Beyond this many elements only factors are tried: others take copies of all derivatives.
LARGE = 1_000_000

#: Numbers that gradients are off by, where no fraction or size says it.
CONSTANTS = {
    "pi": math.pi, "2 pi": 2.0 * math.pi, "sqrt(pi)": math.sqrt(math.pi), "e": math.e,
    "ln 2": math.log(2.0), "ln 10": math.log(10.0), "sqrt(2)": math.sqrt(2.0),
    "sqrt(2 pi)": math.sqrt(2.0 * math.pi),
}  # fmt: skip


# --- the evidence --------------------------------------------------------------------------------


@dataclass(slots=True)
class Line:
    """Slopes along one line through one input.

    Attributes
    ----------
    moved, steps : ndarray, shape (k,)
        Elements of the input, counted from its own first one, and how far they are moved.
    numeric, error : ndarray, shape (K,)
    usable, wrong : ndarray of bool, shape (K,)
        Whether there is a slope at all, and whether the analytic one is wrong.
    """

    moved: Array
    steps: Array
    numeric: Array
    error: Array
    usable: Array
    wrong: Array


@dataclass(slots=True)
class Evidence:
    """All that is known of the derivatives of one input.

    Attributes
    ----------
    name : str
    shape : tuple of int
    x : ndarray, shape (n,)
        The input.
    analytic, blur : ndarray, shape (K, n)
        Its derivatives, and their rounding.
    lines : list of Line
    eps : float
    others : dict of str to ndarray
        The analytic derivatives of other inputs of the same shape.
    sizes : dict of str to int
        Sizes that a factor may come from, by how they are written: ``x.shape[0]``.
    output : tuple of int or None
        The output's shape, where each row is the derivative of one of its elements.
    outputs_alone : bool
        Whether each row is the derivative of one element of some output.
    """

    name: str
    shape: tuple[int, ...]
    x: Array
    analytic: Array
    blur: Array
    lines: list[Line]
    eps: float
    others: dict[str, Array] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    output: tuple[int, ...] | None = None
    outputs_alone: bool = False

    def slopes(self, derivatives: Array) -> Iterator[tuple[Line, Array, Array]]:
        """Yield each line, the slopes that `derivatives` would give, and the error allowed."""
        for line in self.lines:
            with np.errstate(all="ignore"):
                part = derivatives[:, line.moved]
                size = abs(part) @ abs(line.steps)
                given = abs(self.analytic[:, line.moved]) @ abs(line.steps)
                blur = self.blur[:, line.moved] @ abs(line.steps)
                blur = blur * np.where(given > 0.0, np.maximum(size / given, 1.0), 1.0)
                allowed = SAFETY * (line.error + blur + ULPS * self.eps * size)
                yield line, part @ line.steps, allowed

    def explains(self, derivatives: Array, among: Callable[[Line], bool] | None = None) -> bool:
        """Whether all slopes are those of `derivatives`, wherever there are any."""
        return all(
            ((abs(predicted - line.numeric) <= allowed) | ~line.usable).all()
            for line, predicted, allowed in self.slopes(derivatives)
            if among is None or among(line)
        )

    def ratios(self, which: str = "wrong") -> Iterator[tuple[Line, float, float]]:
        """Yield analytic slopes over numeric ones, and how exact they are, where both say much."""
        for line, slope, allowed in self.slopes(self.analytic):
            with np.errstate(all="ignore"):
                known = line.usable & (allowed <= RESOLVED * abs(line.numeric))
                known &= np.isfinite(slope)
                known &= line.wrong if which == "wrong" else ~line.wrong
                for k in np.flatnonzero(known):
                    yield line, float(slope[k] / line.numeric[k]), float(
                        allowed[k] / abs(line.numeric[k]))  # fmt: skip

    def told(self, derivatives: Array) -> int:
        """Return how many resolved slopes are far from 0 both ways: what a fit can be wrong in."""
        return sum(
            int((line.usable & (allowed <= RESOLVED * abs(line.numeric))).sum())
            for line, _, allowed in self.slopes(derivatives)
        )

    def alone(self, wrong: bool) -> list[int]:
        """Return the elements that were moved by themselves and are wrong, or right and not 0."""
        found = set()
        for line, _, allowed in self.slopes(self.analytic):
            if line.moved.size != 1:
                continue
            is_wrong = bool(line.wrong.any())
            known = (line.usable & (allowed <= RESOLVED * abs(line.numeric))).any()
            if is_wrong is wrong and (is_wrong or known):
                found.add(int(line.moved[0]))
        return sorted(found)


def _line(judged: Judgement, start: int) -> Line:
    usable = np.isfinite(judged.error) & np.isfinite(judged.numeric)
    usable &= ~judged.kink & ~judged.singular
    return Line(
        judged.moved - start, judged.steps, judged.numeric, judged.error, usable,
        judged.wrong & usable,
    )  # fmt: skip


def _evidence(subject: Subject, rows: Rows, judged: list[Judgement]) -> Iterator[Evidence]:
    """Yield what is known of each input that something is wrong with."""
    stops = [part.stop for part in subject.slices]
    lines: dict[int, list[Line]] = {}
    for one in judged:
        inside = np.unique(np.searchsorted(stops, one.moved, side="right"))
        if inside.size == 1:
            k = int(inside[0])
            lines.setdefault(k, []).append(_line(one, subject.slices[k].start))
    units = rows.names and rows.names[0].startswith("of output")
    for k, leaf in enumerate(subject.leaves):
        mine = lines.get(k, [])
        if not any(line.wrong.any() for line in mine):
            continue
        part = subject.slices[k]
        others = {
            leaf_.name: rows.analytic[:, slice_]
            for j, (leaf_, slice_) in enumerate(zip(subject.leaves, subject.slices, strict=True))
            if j != k and leaf_.array.shape == leaf.array.shape
        }
        evidence = Evidence(
            leaf.name, leaf.array.shape, subject.x[part], rows.analytic[:, part],
            rows.blur[:, part], mine, rows.eps, others, _sizes(subject, k),
            subject.shape if units else None, bool(units),
        )  # fmt: skip
        _doubt(evidence)
        if not any(line.wrong.any() for line in mine):
            continue
        _probe_more(evidence, rows, part)
        yield evidence


def _doubt(evidence: Evidence) -> None:
    """Call wrong only what rounding and differences do not account for, whatever is allowed."""
    for line, slope, allowed in evidence.slopes(evidence.analytic):
        line.wrong &= ~(abs(slope - line.numeric) <= allowed)


def _probe_more(evidence: Evidence, rows: Rows, part: slice) -> None:
    """Probe a few more lines, where not all elements were probed by themselves."""
    n = evidence.x.size
    known = {int(line.moved[0]) for line in evidence.lines if line.moved.size == 1}
    if len(known) >= n or len(evidence.alone(wrong=True)) < 2:
        return
    everything = np.arange(n)
    lines = [(everything, signs(rows.rng, n)) for _ in range(2)]
    lines += [
        (everything[side], signs(rows.rng, int(side.sum())))
        for side in (evidence.x < 0.0, evidence.x > 0.0)
        if 1 < side.sum() < n
    ]
    left = np.setdiff1d(everything, sorted(known))
    more = rows.rng.choice(left, min(left.size, MORE_LINES - len(lines)), replace=False)
    lines += [(np.array([i]), np.ones(1)) for i in more]
    for moved, sign in lines:
        at = moved + part.start
        judged = rows.probe(at, rows.scales[0][at] * sign, Rule())
        evidence.lines.append(_line(judged, part.start))


def _sizes(subject: Subject, k: int) -> dict[str, int]:
    """Return sizes that factors come from, those of input `k` first."""
    sizes = {}
    order = [k, *(j for j in range(len(subject.leaves)) if j != k)]
    for leaf in (subject.leaves[j] for j in order):
        for axis, size in enumerate(leaf.array.shape):
            sizes[f"{leaf.name}.shape[{axis}]"] = size
        if leaf.array.ndim > 1:
            sizes[f"{leaf.name}.size"] = leaf.array.size
    shape = subject.shape or ()
    for axis, size in enumerate(shape):
        sizes[f"output.shape[{axis}]"] = size
    if len(shape) > 1:
        sizes["output.size"] = math.prod(shape)
    return sizes


# --- numbers with a name -------------------------------------------------------------------------


def _fraction(c: float, within: float) -> str:
    """Return a small fraction in words, or nothing."""
    fraction = Fraction(c).limit_denominator(12)
    common = fraction.numerator == 1 or fraction.denominator <= 4
    if fraction and common and abs(fraction) <= 12 and abs(c - float(fraction)) <= within * abs(c):
        return str(fraction)
    return ""


def factor_names(c: float, within: float, sizes: dict[str, int]) -> list[tuple[str, str]]:
    """Return what a factor may be, in words, each with what that would mean.

    Parameters
    ----------
    c : float
        Analytic over numeric derivative.
    within : float
        How exact it is, relative.
    sizes : dict of str to int
        Sizes by name.
    """
    found: list[tuple[str, str]] = []
    size, sign = abs(c), "-" if c < 0 else ""
    within = max(within, 1e-12)
    fraction = _fraction(size, within)
    if fraction:
        found.append((sign + fraction, ""))
    for name, n in sizes.items():
        if n > 1:
            for value, words, meaning in (
                (n, name, f"a sum over {name}"),
                (1.0 / n, f"1/{name}", f"a mean over {name}"),
                (n / (n - 1.0), f"n/(n - 1) for n = {name}", "degrees of freedom"),
                ((n - 1.0) / n, f"(n - 1)/n for n = {name}", "degrees of freedom"),
            ):
                if value != 1.0 and abs(size - value) <= within * size:
                    found.append((sign + words, meaning))
    for words, value in CONSTANTS.items():
        if abs(size - value) <= within * size:
            found.append((sign + words, ""))
        elif abs(size * value - 1.0) <= within:
            found.append((f"{sign}1/({words})" if " " in words else f"{sign}1/{words}", ""))
    return found


def _factor_diagnosis(e: Evidence, c: float, within: float, where: str = "") -> Diagnosis:
    """Say what a factor is, as far as it can be told."""
    names = factor_names(c, within, e.sizes)
    details: dict[str, Any] = {"factor": c}
    if names and names[0][0] == "-1":
        message = f"the sign is wrong{where}"
        return Diagnosis("sign", e.name, message, {"factor": -1.0})
    if not names:
        digits = max(3, min(8, int(-math.log10(max(within, 1e-12))) - 1))
        return Diagnosis(
            "factor", e.name, f"{c:.{digits}g} times what it must be{where}", details
        )  # fmt: skip
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


# --- hypotheses ----------------------------------------------------------------------------------


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
        if within <= RESOLVED and e.explains(e.analytic - d * support):
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
    "output": silent_outputs,
    "some": some,
}


def _derivatives(subject: Subject, search: Search, report: GradcheckReport) -> list[Diagnosis]:
    """Say what mistake explains the wrong derivatives of each input, if one does."""
    found: list[Diagnosis] = []
    for evidence in _evidence(subject, search.rows, search.judged):
        for hypothesis in HYPOTHESES.values():
            fitting = list(hypothesis(evidence))
            if fitting:
                found.append(_either(fitting))
                break
    wrong = report.of(WRONG)
    if not found and wrong and all(f.kink for f in wrong):
        found.append(_at_kinks([f.name for f in wrong]))
    return _merged(found)


def _at_kinks(names: list[str]) -> Diagnosis:
    return Diagnosis(
        "ties", "",
        "wrong only where the slopes from the left and from the right differ: at a kink any value "
        "between them will do, and at a tie any share that adds up to 1 (`>=` counts both)",
        {"elements": names},
    )  # fmt: skip


def _either(fitting: list[Diagnosis]) -> Diagnosis:
    """Return one diagnosis for those that cannot be told apart: two at most."""
    first, *others = fitting
    for other in others[:1]:
        return replace(first, message=f"{first.message} (or {other.message})")
    return first


def _merged(found: list[Diagnosis]) -> list[Diagnosis]:
    """Say once what is the same for several inputs."""
    by_message: dict[tuple[str, str], list[Diagnosis]] = {}
    for diagnosis in found:
        by_message.setdefault((diagnosis.pattern, diagnosis.message), []).append(diagnosis)
    return [
        replace(group[0], where=", ".join(diagnosis.where for diagnosis in group))
        for group in by_message.values()
    ]


# --- broken contracts ----------------------------------------------------------------------------

_SHAPES = re.compile(r"cotangent of shape \(([\d, ]*)\) for an input of shape \(([\d, ]*)\)")


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(",") if n.strip())


def unsummed(problem: Broken) -> Diagnosis | None:
    """Name the axes that a rule must sum over, where its result has the broadcast shape."""
    match = _SHAPES.search(problem.message) if problem.contract == "shape" else None
    if match is None:
        return None
    got, expected = map(_shape, match.groups())
    if len(got) > 1 and got == expected[::-1]:
        return Diagnosis("transposed", "", "the rule's result must be transposed")
    extra = len(got) - len(expected)
    if extra < 0:
        return None
    inner = list(zip(got[extra:], expected, strict=True))
    if any(n not in (m, 1) for m, n in inner):
        return None
    kept = [extra + k for k, (m, n) in enumerate(inner) if m != n]
    lead = list(range(extra))
    words = [f"sum over axis {_axes(lead)}"] * bool(lead)
    words += [f"sum over axis {_axes(kept)} with keepdims=True"] * bool(kept)
    if not words:
        return None
    return Diagnosis(
        "broadcast", "",
        f"the input was broadcast from {expected} to {got}, and its rule must undo that: "
        f"{', and '.join(words)}",
        {"axes": lead + kept},
    )  # fmt: skip


def _axes(axes: list[int]) -> str:
    return str(axes[0]) if len(axes) == 1 else str(tuple(axes))


def upstream(subject: Subject, g: Array) -> Diagnosis | None:
    """Say what a rule does to its incoming gradient, where it is not linear in it."""
    x = subject.x
    with np.errstate(all="ignore"):
        one, twice, minus, large, larger = subject.gradients(
            x, np.array([1.0, 2.0, -1.0, 2.0**40, 2.0**41])[:, None] * g
        )
        nearly = subject.gradients(x, (g * (1.0 + 2.0**-40))[None])[0]
    if not np.isfinite([one, twice, minus]).all() or not one.any():
        return None
    if same(one, twice) and same(one, minus):
        how, message = "ignored", "a rule ignores its `g`: multiply by it"
    elif same(one, twice) and same(one, -minus):
        how, message = "sign", "a rule uses only the sign of its `g`"
    elif same(twice, 4.0 * one) and same(one, minus):
        how, message = "squared", "a rule multiplies by its `g` twice"
    elif same(one, minus) and same(twice, 2.0 * one):
        how, message = "absolute", "a rule uses the absolute value of its `g`"
    elif same(large, larger) and np.isfinite(large).all():
        how, message = "clipped", "a rule clips its `g`, or its result"
    elif same(one, nearly) and not np.array_equal(g, g * (1.0 + 2.0**-40)):
        how, message = "rounded", "a rule rounds its `g`, or its result, to a lower precision"
    else:
        return None
    return Diagnosis("upstream", "", message, {"how": how})


def _contracts(subject: Subject, report: GradcheckReport, g: Array) -> list[Diagnosis]:
    """Say what is behind broken contracts; `g` is some gradient of the outputs."""
    found = [unsummed(problem) for problem in report.problems]
    if any(p.contract == "linear" for p in report.problems):
        found.append(upstream(subject, g))
    return [diagnosis for diagnosis in found if diagnosis is not None]


# --- second order --------------------------------------------------------------------------------


def _second_order(report: GradcheckReport) -> list[Diagnosis]:
    """Say what it means that only second derivatives are wrong."""
    wrong = [f for f in report.of(WRONG) if f.order == 2]
    if not wrong or any(f.order == 1 for f in report.of(WRONG)):
        return []
    if all(f.analytic == 0.0 for f in wrong):
        return [Diagnosis(
            "second order", "",
            "the first derivative is right, and the second is 0: the rule takes what it computes "
            "with out of the graph (t.data, t.item(), np.array(t))",
        )]  # fmt: skip
    return [Diagnosis(
        "second order", "",
        "the first derivative is right, and its own derivative is not: the rule takes some of "
        "what it computes with (x, y or g) out of the graph (t.data, t.item(), np.array(t)), or "
        "uses an operation whose rule is wrong",
    )]  # fmt: skip


# --- all of it -----------------------------------------------------------------------------------


def diagnose(
    subject: Subject, search: Search | None, report: GradcheckReport, g: Array
) -> list[Diagnosis]:
    """Say what simple mistake explains what is wrong, if one does.

    Parameters
    ----------
    subject : Subject
    search : Search or None
        The evidence: lines that were probed. A few more are, where it holds few.
    report : GradcheckReport
        What is wrong.
    g : ndarray, shape (m,)
        Some gradient of the outputs, to try rules with.

    Returns
    -------
    list of Diagnosis
        One for each input that something is wrong with and that one mistake explains. Inputs that
        the same is said of share one.

    Notes
    -----
    It cannot tell two mistakes at once, nor one that depends on other inputs in a way of its own.
    A large input may have elements that no line has told apart from their neighbours; what is said
    of it holds for the lines that were probed.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.gradcheck import gradcheck
    >>> report = gradcheck(
    ...     lambda x: np.sum(x**2), np.arange(1.0, 4.0), gradient=lambda x: x, raise_exception=False
    ... )
    >>> print(report.diagnoses[0])
    x: 1/2 times what it must be
    """
    if any(p.contract in ("deterministic", "pure", "finite") for p in report.problems):
        return []  # there is no telling what a number would be the second time
    found = _contracts(subject, report, g)
    if found or search is None:
        return found
    return _derivatives(subject, search, report) or _second_order(report)
