"""What each command does, as functions without a terminal: train, check, draw."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_nn.draw import Drawing, draw
from tinygrad_nn.errors import LossError, TinygradError
from tinygrad_nn.gradcheck import GradcheckReport, gradcheck
from tinygrad_nn.graph import Node
from tinygrad_nn.job import plots
from tinygrad_nn.job.dataset import Dataset, prepare
from tinygrad_nn.job.errors import JobError
from tinygrad_nn.job.inputs import Input, find_inputs
from tinygrad_nn.job.load import blame
from tinygrad_nn.job.loss import LOSSES, UserFunction, find_loss, scalar_or_raise
from tinygrad_nn.job.saved import SavedModel
from tinygrad_nn.job.table import Table, read_table
from tinygrad_nn.job.training import History, Settings, Step, train
from tinygrad_nn.nn import MLP

__all__ = ["Plan", "Trained", "check_function", "check_out", "draw_function", "plan_training"]

Files = dict[Path, bytes | str]


def check_out(folder: Path) -> None:
    """Raise JobError if no files can be written into `folder`, before hours of work are lost."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise JobError(f"--out {folder}: {place} exists and is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise JobError(f"--out {folder}: no permission to write in {place}")


@dataclass(frozen=True)
class Trained:
    """A trained network and how it came to be."""

    network: MLP
    history: History
    data: Dataset
    loss: UserFunction
    settings: Settings
    source: str

    @property
    def saved(self) -> SavedModel:
        """The network, ready to be written to a file."""
        return SavedModel.of(self.network, self.settings.activation, self.data)

    def files(self, folder: Path, figures: bool) -> Files:
        """Return what to write: the model, the history and the figures."""
        files: Files = {
            folder / "model.npz": self.saved.to_bytes(),
            folder / "history.csv": self.history.to_csv(),
        }
        if figures:
            for name, picture in self._figures():
                files[folder / name] = picture
        return files

    def _figures(self) -> list[tuple[str, bytes]]:
        about = f"{Path(self.source).name}, column {self.data.target!r}"
        unit = f" ({self.loss.unit})" if self.loss.unit else ""
        loss = plots.curves(self.history, "loss", f"Loss: {about}", f"{self.loss.name}{unit}")
        if self.data.task == "classify":
            picture = plots.curves(
                self.history, "accuracy", f"Accuracy: {about}", "share of rows that are right"
            )
            return [("loss.png", loss), ("accuracy.png", picture)]
        label = f"root mean square error (unit of {self.data.target!r})"
        picture = plots.curves(self.history, "rmse", f"Error: {about}", label)
        return [("loss.png", loss), ("rmse.png", picture)]


@dataclass(frozen=True)
class Plan:
    """Everything that training needs, read and found valid."""

    table: Table
    data: Dataset
    loss: UserFunction
    settings: Settings

    def run(self, report: Callable[[Step], None] = lambda step: None) -> Trained:
        """Train; see `tinygrad_nn.job.training.train`."""
        network, history = train(self.data, self.loss, self.settings, report)
        return Trained(network, history, self.data, self.loss, self.settings, self.table.path)


def plan_training(
    path: str | Path,
    target: str,
    settings: Settings,
    *,
    loss: str | None = None,
    task: str = "auto",
    ignore: Sequence[str] = (),
    test_share: float = 0.2,
) -> Plan:
    """Read a table and a loss, and see whether they fit.

    Parameters
    ----------
    path : str or Path
        A CSV file (see `read_table`).
    target : str
        The column to predict.
    settings : Settings
    loss : str, optional
        A name (`tinygrad_nn.job.loss.LOSSES`) or ``FILE.py:FUNCTION``; the cross-entropy for
        classes and the mean squared error for numbers by default.
    task, ignore, test_share
        As for `tinygrad_nn.job.dataset.prepare`; a loss that is for one task decides "auto".

    Raises
    ------
    JobError
        If something cannot be read or does not fit.
    """
    function = find_loss(loss) if loss is not None else None
    if function is not None and function.task:
        if task not in ("auto", function.task):
            fitting = [name for name, (_, kind, _) in LOSSES.items() if kind == task]
            raise JobError(
                f"--loss {function.name} does not fit --task {task}; use {', '.join(fitting)} or "
                f"a loss of your own"
            )
        task = function.task
    table = read_table(path)
    data = prepare(
        table, target, task=task, ignore=ignore, test_share=test_share, rng=settings.seed
    )
    if function is None:
        function = find_loss("cross_entropy" if data.task == "classify" else "mse_loss")
    return Plan(table, data, function, settings)


def check_function(
    spec: str, *, shapes: str | None = None, file: str | None = None, seed: int = 0, order: int = 1
) -> tuple[list[Input], GradcheckReport]:
    """Check the gradient of a user's loss.

    Parameters
    ----------
    spec : str
        ``FILE.py:FUNCTION``.
    shapes, file : str, optional
        The inputs (see `tinygrad_nn.job.inputs.find_inputs`).
    seed : int
        Of the inputs and the check.
    order : {1, 2}
        2 checks second derivatives too.

    Raises
    ------
    JobError
        If it cannot be checked: not loaded, not called, no number, no gradient.
    """
    function = UserFunction.load(spec)

    def accept(inputs: Sequence[Input]) -> None:
        result = _call(function, inputs)
        try:
            scalar_or_raise(result)
        except LossError as error:
            raise JobError(f"{spec} {error}") from None
        if not np.isfinite(result.data).all():
            raise JobError(f"{spec} returned {result.item()} on these inputs; there is no gradient")

    inputs = find_inputs(function, accept, shapes=shapes, file=file, rng=seed)
    try:
        report = gradcheck(
            function.function,
            tuple(item.tensor() for item in inputs),
            raise_exception=False,
            rng=seed,
            order=order,
        )
    except Exception as error:
        reason = blame(error, spec.rpartition(":")[0])
        raise JobError(f"{spec} cannot be checked: {reason}") from error
    return inputs, report


def draw_function(
    spec: str, *, shapes: str | None = None, file: str | None = None, seed: int = 0
) -> tuple[list[Input], Drawing]:
    """Draw the graph of a call of a user's function; parameters as for `check_function`."""
    function = UserFunction.load(spec)
    outputs: list[Any] = []

    def accept(inputs: Sequence[Input]) -> None:
        result = _call(function, inputs)
        if not isinstance(result, Node | list | tuple | dict):
            raise JobError(
                f"{spec} returned a {type(result).__name__}, which has no graph; return the tensor"
            )
        outputs.append(result)

    inputs = find_inputs(function, accept, shapes=shapes, file=file, rng=seed)
    try:
        return inputs, draw(outputs[-1])
    except TinygradError:
        raise
    except (TypeError, ValueError) as error:
        raise JobError(f"{spec} cannot be drawn: {error}") from error


def _call(function: UserFunction, inputs: Sequence[Input]) -> Any:
    with np.errstate(all="ignore"):
        return function(*(item.tensor() for item in inputs))
