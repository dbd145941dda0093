"""The training loop, and what is measured after each epoch."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.graph import no_grad
from tinygrad_nn.job.dataset import Dataset
from tinygrad_nn.job.errors import JobError
from tinygrad_nn.job.loss import INDEPENDENT, UserFunction
from tinygrad_nn.nn import MLP
from tinygrad_nn.optim import SGD
from tinygrad_nn.tensor import Tensor

__all__ = ["History", "Settings", "Step", "evaluate", "train"]

Array = npt.NDArray[Any]
Metrics = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults are those of the command line.

    Parameters
    ----------
    hidden : tuple of int
        Units of each hidden layer; empty for a linear model.
    activation : str
        Of the hidden layers.
    epochs : int
        Passes over the training part.
    lr : float
        Learning rate of the first step; it falls to 0 along half a cosine.
    momentum : float
        From 0, below 1.
    weight_decay : float
        Multiple of the parameters that is added to the gradient.
    batch_size : int
        Rows per step.
    seed : int
        Of the split, the first weights and the order of the rows.
    """

    hidden: tuple[int, ...] = (32,)
    activation: str = "relu"
    epochs: int = 30
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.001
    batch_size: int = 32
    seed: int = 0


class History:
    """What was measured after each epoch: one list of numbers for each name.

    Attributes
    ----------
    columns : dict of str to list of float
        ``train_loss, train_accuracy, test_loss, test_accuracy`` for classes, with ``rmse`` (in the
        target's unit) and ``r2`` in place of accuracy for regression.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[float]] = {}

    def append(self, metrics: Metrics) -> None:
        """Add an epoch."""
        for name, value in metrics.items():
            self.columns.setdefault(name, []).append(value)

    def last(self, name: str) -> float:
        """Return the number after the last epoch."""
        return self.columns[name][-1]

    def to_csv(self) -> str:
        """Return a table with a row for each epoch, from 1, and six significant digits."""
        text = io.StringIO()
        print("epoch", *self.columns, sep=",", file=text)
        for epoch, row in enumerate(zip(*self.columns.values(), strict=True), 1):
            print(epoch, *(f"{value:.6g}" for value in row), sep=",", file=text)
        return text.getvalue()


@dataclass(frozen=True)
class Step:
    """Where training stands after a step; `metrics` are there after the last one of an epoch."""

    epoch: int
    share: float
    loss: float
    metrics: Metrics | None = None


def predictions(network: MLP, x: Array, task: str) -> Tensor:
    """Return logits, shape ``(n, classes)``, or standardised numbers, shape ``(n,)``."""
    out: Tensor = network(x)
    return out if task == "classify" else out[:, 0]


def evaluate(network: MLP, loss: UserFunction, data: Dataset, rows: Array) -> Metrics:
    """Measure a network on some rows of a dataset.

    Returns
    -------
    dict of str to float
        ``loss``, and ``accuracy`` (a share) or ``rmse`` (in the target's unit) and ``r2``.
    """
    y = data.y[rows]
    with no_grad():
        prediction = predictions(network, data.x[rows], data.task)
        value = float(np.asarray(loss(prediction, Tensor(y))).item())
    out = prediction.data
    if data.task == "classify":
        return {"loss": value, "accuracy": float(np.mean(out.argmax(axis=1) == y))}
    squares = float(np.mean((out.astype(float) - y) ** 2))
    spread = float(np.var(y.astype(float)))
    return {
        "loss": value,
        "rmse": math.sqrt(squares) * float(data.target_scale.std),
        "r2": 1.0 - squares / spread if spread else math.nan,
    }


def train(
    data: Dataset,
    loss: UserFunction,
    settings: Settings,
    report: Callable[[Step], None] = lambda step: None,
) -> tuple[MLP, History]:
    """Train a multilayer perceptron by stochastic gradient descent with momentum.

    Parameters
    ----------
    data : Dataset
    loss : UserFunction
        Called with tensors: logits and class numbers, or two vectors of standardised numbers.
    settings : Settings
    report : callable
        Called after each step.

    Returns
    -------
    network : MLP
    history : History

    Raises
    ------
    JobError
        If the loss is no loss, does not depend on the prediction, or training diverges.

    References
    ----------
    The schedule, without its restarts: I. Loshchilov and F. Hutter,
    https://arxiv.org/abs/1608.03983, equation 5.
    """
    weights, order = np.random.default_rng(settings.seed).spawn(2)
    network = MLP(
        len(data.features), [*settings.hidden, data.n_out], settings.activation, rng=weights
    )
    optimizer = SGD(
        network.parameters(),
        settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    history = History()
    steps = math.ceil(len(data.train) / settings.batch_size)
    total = steps * settings.epochs
    # Overflow is found by looking at the results, so that NumPy need not warn of it.
    with np.errstate(all="ignore"):
        for epoch in range(1, settings.epochs + 1):
            rows = order.permutation(data.train)
            for i in range(steps):
                done = (epoch - 1) * steps + i
                optimizer.param_groups[0]["lr"] = (
                    settings.lr * 0.5 * (1.0 + math.cos(math.pi * done / total))
                )
                batch = rows[i * settings.batch_size : (i + 1) * settings.batch_size]
                value = _step(network, optimizer, loss, data, batch)
                if not math.isfinite(value):
                    raise _not_finite(loss, value, epoch, settings.lr if done else None)
                if not done and all(p.grad is None for p in network.parameters()):
                    raise JobError(f"{loss.spec} {INDEPENDENT}")
                if i < steps - 1:
                    report(Step(epoch, (done + 1) / total, value))
            metrics = _measure(network, loss, data)
            for value in (metrics["train_loss"], metrics["test_loss"]):
                if not math.isfinite(value):
                    raise _not_finite(loss, value, epoch, settings.lr)
            history.append(metrics)
            report(Step(epoch, epoch / settings.epochs, value, metrics))
    return network, history


def _step(network: MLP, optimizer: SGD, loss: UserFunction, data: Dataset, batch: Array) -> float:
    """Take a step and return the loss before it; a loss that is not finite changes nothing."""
    prediction = predictions(network, data.x[batch], data.task)
    result = loss.loss(prediction, Tensor(data.y[batch]))
    value = float(result.item())
    if math.isfinite(value):
        optimizer.zero_grad()
        loss.guard(result.backward)
        optimizer.step()
    return value


def _measure(network: MLP, loss: UserFunction, data: Dataset) -> Metrics:
    return {
        f"{part}_{name}": value
        for part, rows in (("train", data.train), ("test", data.test))
        for name, value in evaluate(network, loss, data, rows).items()
    }


def _not_finite(loss: UserFunction, value: float, epoch: int, lr: float | None) -> JobError:
    if lr is None:
        return JobError(
            f"{loss.spec} returned {value} on the first batch, before any step: look for the "
            f"logarithm or root of 0, or a division by it"
        )
    return JobError(
        f"training diverged in epoch {epoch}: {loss.spec} became {value}; try a smaller --lr "
        f"(it was {lr:g}), or check the loss with `tinygrad-nn check`"
    )
