"""What ``tinygrad-nn check`` does, as a function without a terminal."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn import scalar
from tinygrad_nn.backward import reachable
from tinygrad_nn.errors import LossError
from tinygrad_nn.gradcheck import GradcheckReport, gradcheck, sample_inputs
from tinygrad_nn.gradcheck.culprit import Culprit
from tinygrad_nn.gradcheck.outputs import flat, outputs_in
from tinygrad_nn.graph import Node
from tinygrad_nn.job.errors import JobError
from tinygrad_nn.job.inputs import (
    Arguments,
    Input,
    find_inputs,
    parse_shapes,
    parse_sizes,
    signature_of,
)
from tinygrad_nn.job.load import blame as reason_of
from tinygrad_nn.job.loss import UserFunction, find_loss
from tinygrad_nn.job.table import count
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.source_line import source_line
from tinygrad_nn.value import Value

__all__ = ["Checked", "check"]

#: Shapes that a model's inputs are tried with after those that its parameters suggest.
_MODEL_INPUTS = ("6,4", "()")
#: Shapes that the inputs of a primitive are tried with, all of them alike or two of them not.
#: Matrices before vectors: where a function takes both, its rules may be for matrices alone.
_ALIKE = ("6,4", "4,4", "6", "()")
_TWO = ("6,4; 6,4", "6,4; 4,3", "4,4; 4", "6; 6", "(); ()")
#: Shapes that functions of arrays are tried with: many take a vector, and others by accident.
_ARRAYS = ("6", "float:6:0.05:0.95", "()", "6,4")


@dataclass(frozen=True)
class Checked:
    """A check and its outcome.

    Attributes
    ----------
    about : dict
        What was checked: ``name``, ``kind`` (function, primitive, model, gradient), and the
        ``loss`` or ``gradient`` that belongs to it.
    title : str
        The same in words.
    inputs : list of Input
    report : GradcheckReport
    """

    about: dict[str, Any]
    title: str
    inputs: list[Input]
    report: GradcheckReport

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, strings and numbers."""
        return {
            "checked": self.about,
            "inputs": [item.to_dict() for item in self.inputs],
            "report": self.report.to_dict(),
        }


def check(
    spec: str,
    *,
    loss: str | None = None,
    gradient: str | None = None,
    shapes: str | None = None,
    file: str | None = None,
    seed: int = 0,
    order: int = 1,
    dtype: str = "float64",
    blame: bool = False,
) -> Checked:
    """Check the gradient of something that a user's file defines.

    Parameters
    ----------
    spec : str
        ``FILE.py:NAME``: a function, a primitive, a model, or a class or function without
        arguments that makes a model.
    loss : str, optional
        For a model: of its output and a target (see `tinygrad_nn.job.loss.find_loss`).
    gradient : str, optional
        A gradient of the function, which is then one of arrays: ``NAME`` in the same file, or
        ``FILE.py:NAME``.
    shapes, file : str, optional
        The inputs (see `tinygrad_nn.job.inputs.find_inputs`).
    seed : int
        Of the inputs and the check.
    order, dtype, blame
        As for `tinygrad_nn.gradcheck.gradcheck`.

    Raises
    ------
    JobError
        If it cannot be checked: not loaded, not called, nothing that has a gradient.
    """
    subject = _subject(spec, loss, gradient)
    for option, is_given in (("--order 2", order == 2), ("--blame", blame)):
        if is_given and gradient is not None:
            raise JobError(f"{option} needs a graph of the engine, which a gradient given with "
                           f"--gradient does not have; leave one of the two out")  # fmt: skip
    found = find_inputs(subject.arguments, subject.accept, shapes=shapes, file=file, rng=seed)
    inputs = subject.settle(found)
    try:
        report = gradcheck(
            subject.function,
            tuple(subject.argument(item) for item in inputs),
            raise_exception=False,
            rng=seed,
            order=order,
            dtype=dtype,
            names=[item.name for item in inputs],
            blame=blame,
            **subject.options,
        )
    except (Exception, SystemExit) as error:
        reason = reason_of(error, spec.rpartition(":")[0])
        shown = "; ".join(",".join(map(str, item.array.shape)) or "()" for item in inputs)
        raise JobError(
            f"{spec} cannot be checked on inputs of the shapes {shown}: {reason}"
        ) from error
    report.blame = [_placed(culprit) for culprit in report.blame]
    return Checked(subject.about, subject.title, inputs, report)


def _placed(culprit: Culprit) -> Culprit:
    """Leave out a line that is not the user's: that of whoever has called this package."""
    if culprit.file != source_line().file:
        return culprit
    return replace(culprit, file="", line=0, function="", text="")


# --- what a name stands for ----------------------------------------------------------------------


def _subject(spec: str, loss: str | None, gradient: str | None) -> _Subject:
    """Load what is to be checked, and what goes with it."""
    modules: dict[str, ModuleType] = {}
    user = _made(UserFunction.load(spec, modules))
    if gradient is not None:
        if loss is not None:
            raise JobError("give either --loss, for a model, or --gradient, for a function")
        if _is_model(user.function):
            raise JobError(f"{spec} is a model, whose gradient the engine computes; --gradient is "
                           f"for functions of arrays")  # fmt: skip
        where = gradient if ":" in gradient else f"{spec.rpartition(':')[0]}:{gradient}"
        return _Pair(user, UserFunction.load(where, modules))
    if _is_model(user.function):
        return _Model(user, find_loss(loss, modules) if loss is not None else None)
    if loss is not None:
        raise JobError(f"--loss is for models, and {spec} is a function; write one that calls both "
                       f"and check that")  # fmt: skip
    return (_Primitive if isinstance(user.function, Primitive) else _Function)(user)


def _is_model(thing: Any) -> bool:
    return hasattr(thing, "parameters") and not isinstance(thing, type)


def _made(user: UserFunction) -> UserFunction:
    """Call classes, and functions that take nothing: they make what is to be checked, a model."""
    maker = user.function
    if _is_model(maker) or isinstance(maker, Primitive | np.ufunc):
        return user
    signature = signature_of(maker)
    parameters = signature.parameters.values() if signature else ()
    needed = [
        p.name for p in parameters if p.default is p.empty
        and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]  # fmt: skip
    if isinstance(maker, type):
        if needed:
            raise JobError(
                f"{user.spec} is a class, and makes nothing without {', '.join(needed)}; name an "
                f"instance in the file, or a function without arguments that returns one"
            )
    elif signature is None or needed or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return user
    made = user.guard(maker)
    if callable(made):
        return replace(user, function=made)
    if parameters and not isinstance(maker, type):  # a function all of whose inputs have defaults
        return user
    raise JobError(
        f"{user.spec} takes no inputs, and returned neither a model nor a function, but an object "
        f"of type {type(made).__name__}; name a function of its inputs, a model, or a function "
        f"that returns a model"
    )


# --- how each kind is called ---------------------------------------------------------------------


class _Subject:
    """Something to check: what it is called with, and whether it takes that.

    Attributes
    ----------
    function : callable
        What `gradcheck` is given, with `options`.
    """

    kind = "function"

    def __init__(self, user: UserFunction) -> None:
        self.user = user
        self.function: Any = user.function
        self.options: dict[str, Any] = {}
        self.arguments = Arguments.of(user.spec, user.function)
        self.about: dict[str, Any] = {"name": user.spec, "kind": self.kind}
        self.title = user.spec

    def call(self, arguments: list[Any]) -> Any:
        """Return what comes out for arguments that `argument` has made."""
        return self.user(*arguments)

    def argument(self, item: Input) -> Any:
        """Return an input as it is passed."""
        return item.tensor()

    def accept(self, found: Sequence[Input]) -> None:
        """Refuse inputs that the function does not take, or has no gradient at."""
        arguments = [self.argument(item) for item in found]
        self.check_variables(arguments)
        with np.errstate(all="ignore"):
            outputs = self.outputs(self.call(arguments))
        self.check_depends(arguments, outputs)
        self.check_finite(flat(outputs))

    def outputs(self, result: Any) -> list[Node]:
        """Return the tensors in a result; refuse what has none, or something else."""
        try:
            outputs = list(outputs_in(result))
        except LossError as error:
            raise JobError(f"{self.user.spec}: {error}") from None
        if not outputs:
            raise JobError(f"{self.user.spec} returned an empty {type(result).__name__}; return a "
                           f"tensor, or a tuple, list or dict of them")  # fmt: skip
        return outputs

    def check_variables(self, arguments: Sequence[Any]) -> None:
        """Refuse arguments of which none can be differentiated."""
        if not any(isinstance(item, Node) and item.requires_grad for item in arguments):
            raise JobError(
                f"{self.user.spec}: none of the inputs is of floating numbers, and others are "
                f"constants, which have no gradient; in --shapes, 8,3 is floating and int:8:3 is "
                f"not; an array of an .npz file is after x.astype(float)"
            )

    def check_depends(self, arguments: Sequence[Any], outputs: Sequence[Node]) -> None:
        """Refuse a result that none of the arguments has a part in."""
        live = reachable(node for node in outputs if node.requires_grad)
        if not any(isinstance(item, Node) and item.serial in live for item in arguments):
            raise JobError(
                f"{self.user.spec} returned a result that does not depend on its inputs, or is "
                f"detached from them: compute it from the tensors that it is given, not from "
                f".data, .detach() or a new tensor"
            )

    def check_finite(self, numbers: npt.NDArray[Any]) -> None:
        """Refuse results that are no numbers to take a gradient of."""
        bad = numbers[~np.isfinite(numbers)]
        if bad.size:
            raise JobError(f"{self.user.spec} returned {bad[0]} on these inputs; there is no "
                           f"gradient")  # fmt: skip

    def settle(self, found: list[Input]) -> list[Input]:
        """Return the inputs with the final word on which are constants."""
        return found


class _Function(_Subject):
    """A function of tensors."""

    def settle(self, found: list[Input]) -> list[Input]:
        """Check what was guessed to be a target where the function differentiates it."""
        if not any(item.is_constant for item in found):
            return found
        variables = [replace(item, is_constant=False) for item in found]
        arguments = [self.argument(item) for item in variables]
        try:
            with np.errstate(all="ignore"):
                live = reachable(n for n in self.outputs(self.call(arguments)) if n.requires_grad)
        except JobError:  # which takes it as a constant, and says so
            return found
        pairs = zip(found, variables, arguments, strict=True)
        return [variable if arg.serial in live else item for item, variable, arg in pairs]


class _Primitive(_Subject):
    """A primitive, on inputs from its domain."""

    kind = "primitive"

    def __init__(self, user: UserFunction) -> None:
        super().__init__(user)
        self.title = f"{user.spec}, a primitive,"
        n = len(self.arguments.required) or 2  # a variadic one takes any number
        guesses = _TWO if n == 2 else tuple("; ".join([shape] * n) for shape in _ALIKE)
        self.arguments = replace(self.arguments, guesses=guesses, draw=self._draw)

    def settle(self, found: list[Input]) -> list[Input]:
        """Take those as constants that the primitive says it has no rule for."""
        primitive = self.function
        return [
            replace(item, is_constant=bool(primitive.rules) and primitive.rule(i) is None)
            for i, item in enumerate(found)
        ]

    def _draw(self, text: str, rng: int | np.random.Generator | None) -> list[Input]:
        shapes = tuple(parse_sizes(part.strip()) for part in text.split(";"))
        try:
            arrays = sample_inputs(self.function, shapes, kinks=(), rng=rng)
        except (TypeError, ValueError) as error:
            raise JobError(f"{self.user.spec}: no inputs can be drawn: {error}") from error
        origin = "drawn from its domain" if self.function.domain else "drawn from -3 to 3"
        names = self.arguments.names or [f"input {i}" for i in range(len(arrays))]
        found = [Input(name, array, origin) for name, array in zip(names, arrays, strict=False)]
        return self.settle(found)


class _Model(_Subject):
    """A model, whose parameters are checked: of its output, or of a loss of that."""

    kind = "model"

    def __init__(self, user: UserFunction, loss: UserFunction | None) -> None:
        super().__init__(user)
        self.loss = loss
        self.parameters = user.guard(self.function.parameters)
        self.is_scalar = any(isinstance(p, Value) for p in self.parameters)
        size = sum(np.size(p.data) for p in self.parameters)
        self.title = f"{user.spec}, a model of {count(size, 'parameter')},"
        signature = self.arguments.signature
        if loss is not None:
            self.about["loss"] = loss.spec
            self.options["loss"] = loss.function
            self.title += f" with the loss {loss.spec},"
            signature = _joined(signature, signature_of(loss.function))
        self.arguments = replace(self.arguments, signature=signature, guesses=self._guesses())

    def argument(self, item: Input) -> Any:
        """See `_Subject.argument`; a model of single numbers takes lists of them."""
        if self.is_scalar:
            return item.array.tolist()
        return replace(item, is_constant=bool(self.parameters)).tensor()

    def call(self, arguments: list[Any]) -> Any:
        """See `_Subject.call`."""
        if self.loss is None:
            return self.user(*arguments)
        return self.loss.loss(self.user(arguments[0]), *arguments[1:])

    def check_variables(self, arguments: Sequence[Any]) -> None:
        """See `_Subject.check_variables`; the inputs are not needed if there are parameters."""
        if not self.parameters:
            super().check_variables(arguments)

    def check_depends(self, arguments: Sequence[Any], outputs: Sequence[Node]) -> None:
        """See `_Subject.check_depends`."""
        super().check_depends([*arguments, *self.parameters], outputs)

    def settle(self, found: list[Input]) -> list[Input]:
        """See `_Subject.settle`."""
        return [replace(item, is_constant=bool(self.parameters)) for item in found]

    def _guesses(self) -> Iterator[str]:
        """Yield shapes of the input, and of a target that may belong to the output."""
        n = max(len(self.arguments.required), 1)
        for shape in self._input_shapes():
            if self.loss is None or n != 2:
                yield "; ".join([shape] * n)
                continue
            try:
                [item] = parse_shapes(shape)
                with np.errstate(all="ignore"):
                    prediction = self.user(self.argument(item))
            except JobError:
                yield f"{shape}; {shape}"  # to be refused with the same message
                continue
            yield from (f"{shape}; {target}" for target in _targets(prediction))

    def _input_shapes(self) -> list[str]:
        """Return shapes to try; a parameter of shape (n_in, ...) suggests one."""
        if self.is_scalar:
            width = _width(self.function)
            return [str(width)] if width else ["()", "1", "2", "3", "4"]
        weights = sorted((p for p in self.parameters if p.ndim), key=lambda p: p.ndim != 2)
        return [f"8,{p.shape[0]}" for p in weights[:1]] + list(_MODEL_INPUTS)


class _Pair(_Subject):
    """A function of arrays, and a gradient that somebody has written for it."""

    kind = "gradient"

    def __init__(self, user: UserFunction, gradient: UserFunction) -> None:
        super().__init__(user)
        self.gradient = gradient
        self.options["gradient"] = gradient.function
        self.about["gradient"] = gradient.spec
        self.title = f"{user.spec}, with the gradient {gradient.spec},"
        n = len(self.arguments.required) or 1
        guesses = ["; ".join([shape] * n) for shape in _ARRAYS]
        self.arguments = replace(self.arguments, guesses=guesses)

    def argument(self, item: Input) -> Any:
        """See `_Subject.argument`."""
        return item.array.copy()

    def accept(self, found: Sequence[Input]) -> None:
        """See `_Subject.accept`; what each returns is judged by the check itself."""
        with np.errstate(all="ignore"):
            result = self.call([self.argument(item) for item in found])
            self.gradient(*(self.argument(item) for item in found))
        if isinstance(result, float | np.ndarray | np.floating):
            self.check_finite(np.asarray(result))

    def settle(self, found: list[Input]) -> list[Input]:
        """Leave it to the gradient which are constants."""
        return [replace(item, is_constant=False) for item in found]


# --- guesses -------------------------------------------------------------------------------------


def _joined(
    model: inspect.Signature | None, loss: inspect.Signature | None
) -> inspect.Signature | None:
    """Return the signature of ``loss(model(x), *targets)``."""
    if model is None or loss is None:
        return None
    x = next(iter(model.parameters), "x")
    first, targets = list(loss.parameters.values())[:1], list(loss.parameters.values())[1:]
    targets = [p.replace(name=p.name + "_") if p.name == x else p for p in targets]
    return loss.replace(parameters=[*(p.replace(name=x) for p in first), *targets])


def _targets(prediction: Any) -> list[str]:
    """Return shapes of targets that may belong to a prediction: class numbers, or as it is."""
    sizes = np.shape(prediction) if isinstance(prediction, list) else prediction.shape
    same = ",".join(map(str, sizes)) or "()"
    if len(sizes) > 1 and sizes[-1] > 1:
        return [f"int:{','.join(map(str, sizes[:-1]))}:{sizes[-1]}", same]
    return [same, f"int:{same}:2"]


def _width(model: Any) -> int | None:
    """Return how many numbers a network of Values takes, where it is one of `scalar`."""
    if isinstance(model, scalar.MLP):
        model = model.layers[0]
    if isinstance(model, scalar.Layer):
        model = model.neurons[0]
    return len(model.w) if isinstance(model, scalar.Neuron) else None
