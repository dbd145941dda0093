"""What the commands do, as functions without a terminal: train and draw."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tinygrad_nn.anomaly import source_lines
from tinygrad_nn.draw import Drawing, draw, trace
from tinygrad_nn.errors import TinygradError
from tinygrad_nn.graph import Node
from tinygrad_nn.job import plots
from tinygrad_nn.job.dataset import Dataset, prepare
from tinygrad_nn.job.errors import JobError
from tinygrad_nn.job.inputs import Arguments, Input, find_inputs
from tinygrad_nn.job.loss import LOSSES, UserFunction, find_loss
from tinygrad_nn.job.saved import SavedModel
from tinygrad_nn.job.table import Table, read_table
from tinygrad_nn.job.training import History, Settings, Step, train
from tinygrad_nn.nn import MLP, Module
from tinygrad_nn.tensor import Tensor

__all__ = ["Plan", "Trained", "check_out", "draw_function", "plan_training"]

Files = dict[Path, bytes | str]

#: A keyword of `draw`, in its messages, is an option of the program.
_KEYWORD = re.compile(r"\b(only|around|radius|depth|max_nodes)=")


def check_out(folder: str) -> Path:
    """Return a folder for results as a path.

    Raises
    ------
    JobError
        If no files can be written into it; said before hours of work are lost.
    """
    if not folder.strip():
        raise JobError("--out is empty; name a folder, or . for the current one")
    path = place = Path(folder).absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise JobError(f"--out {folder}: {place} exists and is not a directory")
        # Tried, for permissions do not say all: /proc takes no folders, and names can be too long.
        with TemporaryDirectory(dir=place) as trial:
            Path(trial, path.relative_to(place)).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, JobError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"--out {folder}: cannot write in {place}: {reason}") from error
    return Path(folder)


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
    if function is not None and function.task and task not in ("auto", function.task):
        fitting = [name for name, (_, kind, _) in LOSSES.items() if kind == task]
        raise JobError(
            f"--loss {function.name} does not fit --task {task}; use {', '.join(fitting)} or "
            f"a loss of your own"
        )
    table = read_table(path)
    data = prepare(
        table, target, task=task, default=function.task if function else "", ignore=ignore,
        test_share=test_share, rng=settings.seed,
    )  # fmt: skip
    if function is None:
        function = find_loss("cross_entropy" if data.task == "classify" else "mse_loss")
    return Plan(table, data, function, settings)


def draw_function(
    spec: str,
    *,
    shapes: str | None = None,
    file: str | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[list[Input], Drawing, bool]:
    """Draw the graph of a call of a user's function.

    The last of what is returned says whether any of the inputs is in the graph.

    Parameters
    ----------
    spec : str
        ``FILE.py:FUNCTION``.
    shapes, file : str, optional
        The inputs (see `tinygrad_nn.job.inputs.find_inputs`).
    seed : int
        Of the inputs.
    **options
        Of `draw`.

    Raises
    ------
    JobError
        If it cannot be drawn: not loaded, not called, no graph.
    """
    function = UserFunction.load(spec)
    calls: list[tuple[Any, list[Tensor]]] = []

    def accept(inputs: Sequence[Input]) -> None:
        result, tensors = _call(function, inputs)
        if not isinstance(result, Node | list | tuple | dict):
            raise JobError(
                f"{spec} returned a {type(result).__name__}, which has no graph; return the tensor"
            )
        calls.append((result, tensors))

    arguments = Arguments.of(spec, function.function)
    inputs = find_inputs(arguments, accept, shapes=shapes, file=file, rng=seed)
    try:
        result, tensors = calls[-1]
        drawing = draw(result, _model_of(function), inputs=tuple(tensors), **options)
        return inputs, drawing, _depends(result, tensors)
    except TinygradError:
        raise
    except (TypeError, ValueError) as error:
        said = _KEYWORD.sub(lambda match: f"--{match[1].replace('_', '-')}", str(error))
        raise JobError(f"{spec} cannot be drawn: {said}") from error


def _call(function: UserFunction, inputs: Sequence[Input]) -> tuple[Any, list[Tensor]]:
    """Return the result of a call, and the tensors that it was called with."""
    tensors = [item.tensor() for item in inputs]
    with np.errstate(all="ignore"), source_lines():
        return function(*tensors), tensors


def _model_of(function: UserFunction) -> Module | None:
    """Return the model that the function is, or is a method of."""
    things = (function.function, getattr(function.function, "__self__", None))
    return next((thing for thing in things if isinstance(thing, Module)), None)


def _depends(result: Any, tensors: Sequence[Tensor]) -> bool:
    """Return whether the graph of a result holds one of the tensors."""
    nodes, _ = trace(result)
    return any(tensor in nodes for tensor in tensors)
