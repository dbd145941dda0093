"""check_loss: try on a loss function what goes wrong with loss functions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.audit.cuts import behind, watched
from tinygrad_nn.audit.report import OK, SKIPPED, WARNING, WRONG, LossFinding, LossReport
from tinygrad_nn.audit.table import first_line
from tinygrad_nn.backward import pull_back
from tinygrad_nn.gradcheck.check import gradcheck
from tinygrad_nn.gradcheck.report import KINK, WEAK
from tinygrad_nn.graph import Node, enable_grad
from tinygrad_nn.tensor import Tensor

__all__ = ["check_loss"]

Array = npt.NDArray[Any]

#: Sizes that predictions without bounds are scaled to.
EXTREMES = (1e2, 1e3, 1e4)
#: By how much a logit is moved towards its target.
PUSH = 5.0


# --- what is tried -------------------------------------------------------------------------------


class _Skip(Exception):  # noqa: N818  # not an error
    """A check does not apply; the message says why."""


@dataclass
class _Run:
    """One call of the loss, on copies of its inputs."""

    prediction: Tensor
    target: Any
    output: Any

    @property
    def value(self) -> float:
        """The loss; the sum of all numbers, where it is not one."""
        with np.errstate(all="ignore"):
            return float(np.sum(np.asarray(self.output._value), dtype=np.float64))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.output.shape  # type: ignore[no-any-return]  # Any to mypy

    @cached_property
    def gradient(self) -> Array:
        """The gradient with respect to the prediction, zeros where none arrives."""
        zeros = np.zeros_like(self.prediction.data)
        if not self.output.requires_grad:
            return zeros
        is_tensor = isinstance(self.output, Tensor)
        seed = np.ones(self.shape, self.output.dtype) if is_tensor else 1.0
        with np.errstate(all="ignore"):
            _, gradients = pull_back([(self.output, seed)])
        return np.asarray(gradients.get(self.prediction.serial, zeros))


class _Example:
    """A loss with a prediction and a target to try it on."""

    def __init__(self, loss: Callable[..., Any], prediction: Array, target: Any) -> None:
        self.loss = loss
        self.prediction = prediction
        self.target = target

    def run(self, prediction: Array | None = None, target: Any = None) -> _Run:
        """Call the loss, on the example unless another prediction or target is given."""
        p = Tensor(self.prediction if prediction is None else prediction, requires_grad=True,
                   label="prediction")  # fmt: skip
        t = copy.deepcopy(self.target if target is None else target)
        with np.errstate(all="ignore"), enable_grad():
            return _Run(p, t, self.loss(p, t))

    def try_value(self, prediction: Array) -> float:
        """Return the loss of another prediction, nan where it is not defined."""
        try:
            return self.run(prediction).value
        except Exception:  # whatever a loss may raise at what is no prediction for it
            return np.nan

    @cached_property
    def base(self) -> _Run:
        """The loss of the example as it was given."""
        return self.run()

    @cached_property
    def exact(self) -> _Example:
        """The example in float64."""
        return self.converted(np.float64)

    def converted(self, dtype: Any) -> _Example:
        """Return the example in another floating dtype; a target of integers stays as it is."""
        target = self.target
        if self.numbers is not None and self.numbers.dtype.kind == "f":
            target = self.retargeted(self.numbers.astype(dtype))
        return _Example(self.loss, self.prediction.astype(dtype), target)

    @property
    def numbers(self) -> Array | None:
        """The target as an array, None if it is something else."""
        target = self.target.data if isinstance(self.target, Tensor) else self.target
        return target if isinstance(target, np.ndarray) and target.dtype.kind in "biuf" else None

    def retargeted(self, numbers: Array) -> Any:
        """Give numbers the form that the target came in."""
        return Tensor(numbers) if isinstance(self.target, Tensor) else numbers

    @property
    def rows(self) -> Array:
        """The numbers of the target, if both inputs have a row for each sample."""
        numbers = self.numbers
        if numbers is None:
            raise _Skip("the target is no array with a row for each sample")
        if not self.prediction.ndim or not numbers.ndim:
            raise _Skip("there is no batch: an input has shape ()")
        if len(numbers) != len(self.prediction):
            raise _Skip("prediction and target have different numbers of rows")
        return numbers

    @property
    def looks_like_probabilities(self) -> bool:
        p = self.prediction
        return bool((p >= 0.0).all() and (p <= 1.0).all())

    @property
    def is_distribution(self) -> bool:
        """Whether each row of the prediction is a distribution over the last axis."""
        p = self.prediction
        return (
            self.looks_like_probabilities and p.ndim > 0 and p.shape[-1] > 1
            and bool((abs(p.sum(axis=-1) - 1.0) < 1e-3).all())
        )  # fmt: skip

    def one_hot(self, labels: Array) -> Array:
        return np.asarray(np.arange(self.prediction.shape[-1]) == labels[..., None], float)


def _close(run: _Run, value: float, expected: float) -> bool:
    """Whether two values of a loss are equal up to the rounding of its dtype."""
    dtype = getattr(run.output, "dtype", np.dtype(np.float64))
    rtol = 1e4 * float(np.finfo(dtype).eps)
    return bool(np.isclose(value, expected, rtol=rtol, atol=rtol * 1e-3))


# --- the checks: each returns a verdict and a sentence -------------------------------------------

Outcome = tuple[str, str]


def _runs(example: _Example) -> Outcome:
    try:
        example.base  # noqa: B018  # computed and kept
    except Exception as error:
        return WRONG, (
            f"raises {first_line(error)}. It must take prediction and target, in this order, of "
            f"the shapes given: {example.prediction.shape} and "
            f"{getattr(example.target, 'shape', type(example.target).__name__)}."
        )
    return OK, "computes the example"


def _result(example: _Example) -> Outcome:
    output = example.base.output
    if output is None:
        return WRONG, "returns None: a `return` is missing."
    if isinstance(output, tuple | list | dict):
        return WRONG, f"returns a {type(output).__name__}: return the loss alone, as one tensor."
    if not isinstance(output, Node):
        return WRONG, (
            f"returns a plain {type(output).__name__}, which has no gradient{_places(example)}. "
            f"Compute with operators and NumPy's functions on the tensors themselves."
        )
    dtype = getattr(output, "dtype", np.dtype(np.float64))
    if dtype.kind != "f":
        return WRONG, (
            f"returns numbers of dtype {dtype}, which have no gradient: a count or a comparison "
            f"is constant, and a loss is real. Return floating numbers."
        )
    return OK, "returns a tensor"


def _places(example: _Example) -> str:
    """Say where numbers that depend on the prediction leave the graph, if they do."""
    with watched() as trace:
        run = example.run()
    places = trace.of(run.prediction)[:3] if trace is not None else []
    return f": the prediction left the graph by {'; '.join(places)}" if places else ""


def _one_number(example: _Example) -> Outcome:
    shape = example.base.shape
    if not shape:
        return OK, "returns one number, of shape ()"
    if np.prod(shape) == 1:
        return OK, f"returns one number, of shape {shape}"
    return WARNING, (
        f"returns shape {shape}, as with reduction='none': backward() needs one number, so take "
        f".mean() or .sum() of it before. (The other checks take the sum.)"
    )


def _repeatable(example: _Example) -> Outcome:
    a, b = example.base, example.run()
    same = np.array_equal(a.output._value, b.output._value, equal_nan=True)
    if same and np.array_equal(a.gradient, b.gradient, equal_nan=True):
        return OK, "two calls give the same"
    return WRONG, (
        f"two calls on the same inputs differ: {a.value:.6g} and {b.value:.6g}. If it draws random "
        f"numbers, check it with a generator that is made anew in each call, from a seed."
    )


def _inputs(example: _Example) -> Outcome:
    run = example.run()
    run.gradient  # noqa: B018  # the rules might write too
    given = example.target.data if isinstance(example.target, Tensor) else example.target
    after = run.target.data if isinstance(run.target, Tensor) else run.target
    changed = [] if np.array_equal(run.prediction.data, example.prediction) else ["prediction"]
    if isinstance(given, np.ndarray) and given.dtype.kind in "biufc":
        changed += [] if np.array_equal(after, given, equal_nan=given.dtype.kind in "fc") else [
            "target"
        ]  # fmt: skip
    if not changed:
        return OK, "leaves its inputs as they are"
    return WRONG, (
        f"modifies its {' and '.join(changed)}: the next epoch gets other numbers. Write "
        f"`x = x - y`, not `x -= y`, and index copies."
    )


def _path(example: _Example) -> Outcome:
    run = example.base
    if run.prediction.serial in behind([run.output]):
        return OK, "depends on the prediction through the graph"
    moved = example.run(example.prediction * 1.01 + 0.001).value
    places = _places(example)
    if moved == run.value and not places:
        return WRONG, (
            "does not depend on the prediction: its value stays the same when the prediction "
            "changes. Is it computed from the target alone?"
        )
    return WRONG, (
        f"depends on the prediction, but no gradient gets to it{places}. Compute with the tensor "
        f"itself, and with functions that have a derivative."
    )


def _needs_gradient(example: _Example) -> None:
    if example.base.prediction.serial not in behind([example.base.output]):
        raise _Skip("there is no gradient")


def _finite(example: _Example) -> Outcome:
    run = example.base
    if not np.isfinite(run.output._value).all():
        return WRONG, (
            f"the value at the example is {run.value}: look for log(0), 0 / 0 and overflow."
        )
    bad = int((~np.isfinite(run.gradient)).sum())
    if bad:
        return WRONG, (
            f"the value at the example is finite, but {bad} of {run.gradient.size} derivatives "
            f"are inf or nan: look for sqrt(0), a power of 0, and a np.where over a branch that "
            f"is not finite."
        )
    return OK, f"value {run.value:.6g}, and all derivatives are finite"


def _gradient(example: _Example) -> Outcome:
    _needs_gradient(example)
    exact = example.exact
    report = gradcheck(
        lambda prediction: exact.loss(prediction, copy.deepcopy(exact.target)),
        exact.prediction, raise_exception=False, max_elements=512, names=["prediction"],
    )  # fmt: skip
    wrong = report.of(WRONG)
    if wrong:
        f = wrong[0]
        return WRONG, (
            f"{len(wrong)} of {len(report.findings)} derivatives are wrong, by {f.name}: "
            f"{f.analytic:.6g} by the rules, {f.numeric:.6g} by differences{_places(example)}."
        )
    if report.problems:
        raise _Skip(f"not checked by gradcheck: {report.problems[0]}")
    kinks, weak = report.of(KINK), report.of(WEAK)
    text = f"{len(report.findings)} derivatives agree with differences of values"
    if kinks:
        text += f" ({len(kinks)} at kinks, where any subgradient is right)"
    if weak:
        text += f" ({len(weak)} too small to tell)"
    return OK, text


def _extreme_predictions(example: _Example) -> Iterator[tuple[str, Array]]:
    p = example.prediction
    if example.is_distribution:
        yield "all probability on the largest class", example.one_hot(p.argmax(axis=-1))
        yield "all probability on the smallest class", example.one_hot(p.argmin(axis=-1))
        return
    if example.looks_like_probabilities:
        yield "probabilities rounded to 0 and 1", np.round(p)
        yield "probabilities rounded to the wrong one of 0 and 1", 1.0 - np.round(p)
        return
    unit = p / abs(p).max()
    one_sided = (p > 0.0).all() or (p < 0.0).all()
    for size in EXTREMES:
        yield f"predictions up to {size:g}", unit * size
        if not one_sided:
            yield f"predictions up to {size:g}, of the opposite sign", unit * -size


def _extremes(example: _Example) -> Outcome:
    tried = []
    infinite = refused = ""
    for title, p in _extreme_predictions(example):
        tried.append(title)
        try:
            run = example.run(p.astype(example.prediction.dtype))
            value, gradient = run.output._value, run.gradient
        except Exception as error:
            refused = refused or f"with {title}, raises {first_line(error)}"
            continue
        which = "value" if np.isnan(value).any() else "gradient"
        if np.isnan(value).any() or np.isnan(gradient).any():
            return WRONG, (
                f"with {title}, the {which} is nan. Use forms that do not leave the logarithm: "
                f"log_softmax, log_sigmoid, logsumexp, softplus, np.logaddexp; or limit "
                f"probabilities (np.clip) before the logarithm."
            )
        if not (np.isfinite(value).all() and np.isfinite(gradient).all()) and not infinite:
            which = "value" if not np.isfinite(value).all() else "gradient"
            infinite = (
                f"with {title}, the {which} is infinite, and one such sample spoils the batch. "
                f"Unless the loss must grow so fast, use log_softmax, log_sigmoid or logaddexp, "
                f"or limit the argument (np.clip)."
            )
    if infinite or refused:
        return WARNING, infinite or refused
    kind = "1e4" if len(tried) > 2 else "exactly 0 and 1"
    return OK, f"value and derivatives are finite for predictions of {kind}"


def _order(example: _Example) -> Outcome:
    exact = example.exact
    t = exact.rows
    n = len(t)
    if n < 2:
        raise _Skip("there is one sample only")
    for order in (np.arange(n)[::-1], np.roll(np.arange(n), 1)):
        run = exact.run(exact.prediction[order], exact.retargeted(t[order]))
        if not _close(run, run.value, exact.base.value):
            return WARNING, (
                f"the value changes from {exact.base.value:.6g} to {run.value:.6g} when the same "
                f"samples come in another order. Unless the rows are a sequence: is something "
                f"sorted, shifted or cut off in one input alone?"
            )
    return OK, "the same in any order of the samples"


def _batch_size(example: _Example) -> Outcome:
    exact = example.exact
    p, t = (np.concatenate([rows, rows]) for rows in (exact.prediction, exact.rows))
    one, two = exact.base, exact.run(p, exact.retargeted(t))
    if one.shape and two.shape[:1] == (2 * one.shape[0],) and _close(two, two.value, 2 * one.value):
        return OK, "none: one number for each sample"
    if one.value == 0.0 and two.value == 0.0:
        raise _Skip("the loss is 0 at the example, so that mean and sum are the same")
    if _close(two, two.value, one.value):
        return OK, "mean: the same samples twice give the same value"
    if _close(two, two.value, 2.0 * one.value):
        return OK, "sum: the value grows with the batch, and so does the step of an optimizer"
    return WARNING, (
        f"neither mean nor sum: the same samples twice change the value from {one.value:.6g} to "
        f"{two.value:.6g}. Do samples influence each other (a softmax, mean or norm over axis 0 in "
        f"place of the last)?"
    )


def _broadcasting(example: _Example) -> Outcome:
    exact = example.exact
    p, t = exact.prediction, exact.rows
    n = len(p)
    if n < 2 or not {p.shape, t.shape} <= {(n,), (n, 1)}:
        raise _Skip("tried on inputs of shapes (n,) and (n, 1) only")
    if p.shape != t.shape:
        try:
            matched = exact.run(p.reshape(n), exact.retargeted(t.reshape(n)))
        except Exception:  # it asks for just these shapes, as for scores and labels
            return OK, f"takes prediction {p.shape} with target {t.shape} on purpose"
        if _close(matched, matched.value, exact.base.value):
            return OK, f"prediction {p.shape} with target {t.shape} gives what equal shapes give"
        return WRONG, (
            f"the example has prediction {p.shape} and target {t.shape}, which broadcast to a "
            f"table of ({n}, {n}): {exact.base.value:.6g}, with equal shapes {matched.value:.6g}. "
            f"Use [:, None] or squeeze() on one, and let the loss refuse unequal shapes."
        )
    other = (n, 1) if t.ndim == 1 else (n,)
    shapes = f"prediction {other} with target {t.shape}"
    try:
        crossed = exact.run(p.reshape(other))
        value = crossed.value
    except Exception:
        return OK, f"refuses {shapes}"
    if _close(crossed, value, exact.base.value):
        return OK, f"{shapes} gives what equal shapes give"
    return WARNING, (
        f"{shapes} is accepted and gives {value:.6g} in place of {exact.base.value:.6g}, from a "
        f"table of ({n}, {n}). Compare prediction.shape with target.shape and raise an error."
    )


def _dtype(example: _Example) -> Outcome:
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        run = example.converted(dtype).run()
        for what, got in (("value", run.output.dtype), ("gradient", run.gradient.dtype)):
            if got != dtype:
                return WARNING, (
                    f"{dtype} in, {got} out ({what}): use Python floats as constants and "
                    f"np.zeros_like or dtype= for arrays."
                )
    return OK, "float32 stays float32, float64 stays float64"


def _descent(example: _Example) -> Outcome:
    _needs_gradient(example)
    run = example.exact.base
    size = abs(run.gradient).max()
    if not size:
        return WARNING, (
            "all derivatives at the example are 0, so nothing can be learned from it. Is it "
            "saturated, clipped, or at the minimum already?"
        )
    p = example.exact.prediction
    scale = abs(p).max() or 1.0
    for step in 10.0 ** -np.arange(1.0, 8.0):
        lower = example.exact.try_value(p - step * scale / size * run.gradient)
        if lower < run.value:
            return OK, f"a step against the gradient lowers it, to {lower:.6g}"
    return WRONG, (
        "no step against the gradient lowers it: the gradient does not belong to the value (see "
        "the check of the gradient), or the example is on a kink."
    )


def _better(example: _Example) -> Iterator[Array]:
    """Yield predictions that are closer to the target than the example.

    Of 0 and 1, or -1 and 1, it is not known whether they are values or classes of logits: only
    those elements are moved that come closer in both readings.
    """
    p, t = example.prediction, example.numbers
    if t is None:
        return
    if p.ndim and t.shape == p.shape[:-1] and t.dtype.kind in "iu":
        hot = example.one_hot(t)
        yield 0.5 * p + 0.5 * hot if example.is_distribution else p + PUSH * hot
    if t.shape != p.shape:
        return
    t = t.astype(np.float64)
    for classes in ((0.0, 1.0), (-1.0, 1.0)):
        if np.isin(t, classes).all():
            agree = (t - p) * (t - np.mean(classes)) > 0.0
            if agree.any():
                yield np.where(agree, 0.5 * (p + t), p)
            return
    if not example.looks_like_probabilities and (t >= 0.0).all() and (t <= 1.0).all():
        safe = np.clip(t, 1e-6, 1.0 - 1e-6)
        yield np.log(safe)
        yield np.log(safe) - np.log1p(-safe)
    yield t
    yield 0.5 * (p + t)


def _sign(example: _Example) -> Outcome:
    exact = example.exact
    p, here = exact.prediction, exact.base.value
    upside_down = []
    for better in _better(exact):
        towards = exact.try_value(better)
        if np.isfinite(towards) and (towards <= here or _close(exact.base, towards, here)):
            return OK, f"a prediction closer to the target costs no more: {towards:.6g}"
        worse = p - 0.5 * (better - p)
        if example.looks_like_probabilities:
            worse = np.clip(worse, 0.5 * p, 0.5 * (1.0 + p))
        away = exact.try_value(worse)
        upside_down.append(towards > here > away)
    if upside_down and all(upside_down):
        return WRONG, (
            f"a prediction closer to the target costs more ({towards:.6g}, the example "
            f"{here:.6g}), and one further away less ({away:.6g}). Is a minus missing, or the "
            f"order of the arguments exchanged?"
        )
    raise _Skip("it is not clear what a better prediction would be")


#: In the order in which they are done and shown.
CHECKS: list[tuple[str, Callable[[_Example], Outcome]]] = [
    ("runs", _runs),
    ("result", _result),
    ("one number", _one_number),
    ("repeatable", _repeatable),
    ("inputs kept", _inputs),
    ("gradient path", _path),
    ("finite", _finite),
    ("gradient", _gradient),
    ("extremes", _extremes),
    ("order", _order),
    ("reduction", _batch_size),
    ("broadcasting", _broadcasting),
    ("dtype", _dtype),
    ("descent", _descent),
    ("sign", _sign),
]

#: What makes all later checks meaningless.
FATAL = {"runs", "result", "repeatable", "finite"}


def check_loss(loss: Callable[..., Any], prediction: Any, target: Any) -> LossReport:
    """Try on a loss function what goes wrong with loss functions.

    Parameters
    ----------
    loss : callable
        ``loss(prediction, target)``; further parameters by `functools.partial`.
    prediction : array_like
        An example of finite floating numbers, best with several samples along the first axis.
        It is handed to `loss` as a tensor.
    target : array_like, Tensor or any object
        What belongs to it: an array is handed on as an array (a list too), a tensor as a tensor.
        None of the inputs is changed.

    Returns
    -------
    LossReport
        True if nothing is wrong, though there may be warnings. Printed, it is a table with a row
        for each check and what to do about it.

    Raises
    ------
    TypeError
        If `loss` is not callable, or the prediction does not hold floating numbers.
    ValueError
        If the prediction is empty, or not finite.

    Notes
    -----
    An error that the loss raises is a finding. What is tried at extremes depends on the example:
    predictions that all are in [0, 1] are taken for probabilities and set to exactly 0 and 1;
    others are scaled to 1e2, 1e3 and 1e4, of both signs if the example has both.

    Checked are: that it runs, gives one floating number with a path to the prediction, the same
    twice, and leaves its inputs alone; finite values and derivatives, also at extremes; the
    gradient, against differences of values in float64; that the order of samples does not matter;
    how it grows with the batch; (n,) against (n, 1); dtypes; and that the loss falls along the
    gradient and towards the target. What the loss is to mean is not known here: a wrong formula
    with all of these properties passes.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> from tinygrad_nn.audit import check_loss
    >>> scores = np.array([[2.0, -1.0, 0.5], [0.1, 0.3, -0.2]])
    >>> labels = np.array([0, 2])
    >>> bool(check_loss(tg.losses.cross_entropy, scores, labels))
    True
    >>> def unstable(scores, labels):
    ...     return -np.mean(np.log(tg.softmax(scores))[np.arange(len(labels)), labels])
    >>> print(check_loss(unstable, scores, labels)["extremes"].verdict)
    wrong
    """
    if not callable(loss):
        raise TypeError(f"check_loss takes a loss function, got {type(loss).__name__}")
    example = _Example(loss, _floating(prediction), _taken(target))
    report = LossReport(_name(loss))
    fatal = None
    for name, check in CHECKS:
        if fatal is not None:
            report.findings.append(LossFinding(name, SKIPPED, f"first mend: {fatal}"))
            continue
        try:
            verdict, explanation = check(example)
        except _Skip as reason:
            verdict, explanation = SKIPPED, str(reason)
        except Exception as error:
            verdict = WRONG
            explanation = f"the loss, or its backward pass, raises {first_line(error)}"
        report.findings.append(LossFinding(name, verdict, explanation))
        if verdict == WRONG and name in FATAL:
            fatal = name
    return report


def _floating(prediction: Any) -> Array:
    """Return a copy of the example's prediction, if it can be one."""
    numbers = prediction._value if isinstance(prediction, Node) else prediction
    try:
        array = np.array(numbers)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the prediction is no array of numbers: {error}") from None
    if array.dtype.kind != "f":
        kind = "complex" if array.dtype.kind == "c" else f"of dtype {array.dtype}"
        raise TypeError(
            f"check_loss takes a prediction of floating numbers, got {type(prediction).__name__} "
            f"that is {kind}; convert it with np.asarray(prediction, dtype=float)"
        )
    if not array.size:
        raise ValueError(f"the prediction has no elements (shape {array.shape}); give an example")
    if not np.isfinite(array).all():
        raise ValueError("the prediction holds inf or nan; give an ordinary example")
    return array


def _taken(target: Any) -> Any:
    """Return a copy of the target: constant tensors of tensors, arrays of numbers and lists."""
    if isinstance(target, Tensor):
        return target.detach()
    if isinstance(target, Node):
        return np.array(target._value)
    if isinstance(target, np.ndarray | np.generic | int | float | list | tuple):
        try:
            array = np.array(target)
        except ValueError:  # ragged
            return copy.deepcopy(target)
        return array if array.dtype.kind in "biufc" else copy.deepcopy(target)
    return copy.deepcopy(target)


def _name(loss: Any) -> str:
    if isinstance(loss, partial):
        return _name(loss.func)
    return getattr(loss, "__name__", type(loss).__name__)
