"""From a table to arrays that a network learns from: task, classes, split, standardisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.job.errors import JobError
from tinygrad_nn.job.table import Table, count, is_number

__all__ = ["MAX_CLASSES", "MIN_ROWS", "Dataset", "Scale", "prepare"]

Array = npt.NDArray[Any]

#: With more distinct integers than this, a target is taken for a quantity and not for classes.
MAX_CLASSES = 20
#: Fewer rows leave nothing to learn from once a part is held out.
MIN_ROWS = 10

#: Rows that each class needs on average; with fewer, a column holds names or measurements.
_ROWS_PER_CLASS = 2

_QUANTITY = "; a regression needs numbers as its target, --task classify takes text"
_STRAY = "; --task classify takes it as a class"


@dataclass(frozen=True)
class Scale:
    """The affine map that gives columns mean 0 and standard deviation 1.

    Parameters
    ----------
    mean, std : ndarray, shape (columns,)
        In the columns' own units. The `std` of a constant column is infinite, so that it is
        mapped to 0: nothing can be learned from it, and a value that differs later, for which the
        weights were never trained, must not matter.
    """

    mean: Array
    std: Array

    @classmethod
    def of(cls, x: Array) -> Scale:
        """Return the scale of the columns of `x`."""
        with np.errstate(over="ignore", invalid="ignore"):
            std = x.std(axis=0)
            # Overflow shall not look like a constant: nan is found by whoever uses the scale.
            std = np.where(np.isfinite(std) & (std > 0.0), std, np.nan)
            return cls(x.mean(axis=0), np.where((x == x[:1]).all(axis=0), np.inf, std))

    def apply(self, x: Array) -> npt.NDArray[np.float32]:
        """Return `x` standardised."""
        return ((x - self.mean) / self.std).astype(np.float32)

    def undo(self, x: Array) -> Array:
        """Return standardised values in the columns' own units."""
        return x * np.where(np.isinf(self.std), 0.0, self.std) + self.mean


@dataclass(frozen=True)
class Dataset:
    """What a network is trained on and judged by.

    Parameters
    ----------
    target : str
        Name of the target column.
    features : tuple of str
        Names of the columns that predict it.
    classes : tuple of str
        Names of the classes; empty for regression.
    scale : Scale
        Of the features, from the training part alone.
    target_scale : Scale
        Of the target of a regression; 0 and 1 for classes.
    x : ndarray of float32, shape (rows, features)
        Standardised.
    y : ndarray, shape (rows,)
        Class numbers (int64), or the standardised target (float32).
    train, test : ndarray of int
        Rows of the two parts, ascending.
    """

    target: str
    features: tuple[str, ...]
    classes: tuple[str, ...]
    scale: Scale
    target_scale: Scale
    x: npt.NDArray[np.float32]
    y: Array
    train: npt.NDArray[np.intp]
    test: npt.NDArray[np.intp]

    @property
    def task(self) -> str:
        """The kind of problem, "classify" or "regress"."""
        return "classify" if self.classes else "regress"

    @property
    def n_out(self) -> int:
        """How many numbers the network gives for a row."""
        return len(self.classes) or 1


def prepare(
    table: Table,
    target: str,
    *,
    task: str = "auto",
    default: str = "",
    ignore: Sequence[str] = (),
    test_share: float = 0.2,
    rng: int | np.random.Generator | None = 0,
) -> Dataset:
    """Make a dataset of a table.

    Parameters
    ----------
    table : Table
        Every column but the target and the ignored ones is a feature and must be numeric.
    target : str
        The column to predict.
    task : {"auto", "classify", "regress"}
        With "auto", text and up to `MAX_CLASSES` different integers are classes, other numbers a
        quantity; text among numbers that prevail is a mistake.
    default : {"", "classify", "regress"}
        What "auto" stands for, if anything, whatever the cells look like.
    ignore : sequence of str
        Columns to leave out.
    test_share : float
        Share of the rows, above 0 and below 1, that is held out; of each class for classes.
    rng : int, numpy.random.Generator or None
        Source of the split.

    Raises
    ------
    JobError
        If the table does not fit the task.
    """
    rng = np.random.default_rng(rng)
    cells = table.text(target)
    left_out = {target, *(table.names[table.index(name)] for name in ignore)}
    features = [name for name in table.names if name not in left_out]
    if not features:
        raise JobError(f"{table.path}: no column is left to predict {target!r} from")
    if len(table) < MIN_ROWS:
        raise JobError(
            f"{table.path}: {count(len(table), 'row')} of data, which is too few; at least "
            f"{MIN_ROWS} are needed to train on some and judge by others"
        )
    raw = table.numbers(features)
    if task == "auto":
        if default != "regress" and 2 * sum(map(is_number, cells)) > len(cells):
            table.numbers([target], _STRAY)
        task = default or ("classify" if _are_classes(cells) else "regress")
    classes: tuple[str, ...] = ()
    y: Array
    if task == "classify":
        classes, y = _encode(cells)
        if len(classes) < 2:
            raise JobError(
                f"{table.path}: column {target!r} has one class only ({classes[0]!r}); "
                f"a classifier needs at least two"
            )
        if len(cells) < _ROWS_PER_CLASS * len(classes):
            remedy = "; --task regress fits numbers" if all(map(is_number, classes)) else ""
            raise JobError(
                f"{table.path}: column {target!r} has {len(classes):,} different classes in "
                f"{len(cells):,} rows; at least {_ROWS_PER_CLASS} rows for each, on average, are "
                f"needed to train on some and judge by others{remedy}"
            )
        train, test = _split([np.flatnonzero(y == k) for k in range(len(classes))], test_share, rng)
        target_scale = Scale(np.zeros(()), np.ones(()))
    else:
        quantity = table.numbers([target], _QUANTITY)[:, 0]
        train, test = _split([np.arange(len(table))], test_share, rng)
        target_scale = Scale.of(quantity[train])
        if len(np.unique(quantity[train])) == 1:
            raise JobError(
                f"{table.path}: column {target!r} is the same number in all {len(train)} rows of "
                f"the training part; there is nothing to predict"
            )
        if not np.isfinite(target_scale.std):
            raise JobError(f"{table.path}: the numbers in column {target!r} are too large")
        y = target_scale.apply(quantity)
    scale = Scale.of(raw[train])
    with np.errstate(over="ignore", invalid="ignore"):
        x = scale.apply(raw)
    for name, column in zip(features, x.T, strict=True):
        if not np.isfinite(column).all():
            raise JobError(
                f"{table.path}: the numbers in column {name!r} are too large to be standardised"
            )
    return Dataset(target, tuple(features), classes, scale, target_scale, x, y, train, test)


def _as_integer(cell: str) -> int | None:
    value = float(cell) if is_number(cell) else math.nan
    return int(value) if math.isfinite(value) and value.is_integer() else None


def _are_classes(cells: Sequence[str]) -> bool:
    distinct = set(cells)
    if not all(map(is_number, distinct)):
        return True
    integers = {_as_integer(cell) for cell in distinct}
    # A column that hardly repeats counts or measures something.
    return None not in integers and len(integers) <= min(MAX_CLASSES, len(cells) // 2)


def _encode(cells: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Return the classes, integers in order (1 and 1.0 are one) or text, and their numbers."""
    integers = {cell: _as_integer(cell) for cell in set(cells)}
    if None not in integers.values():
        cells = [str(integers[cell]) for cell in cells]
        classes = sorted(set(cells), key=int)
    else:
        classes = sorted(set(cells))
    numbers = {name: k for k, name in enumerate(classes)}
    return tuple(classes), np.array([numbers[cell] for cell in cells], np.int64)


def _split(
    groups: Sequence[npt.NDArray[np.intp]], share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Hold out `share` of each group, but neither all nor, of two rows or more, none of it."""
    train, test = [], []
    for rows in groups:
        rows = rng.permutation(rows)
        n = max(1, min(len(rows) - 1, round(share * len(rows)))) if len(rows) > 1 else 0
        test.append(rows[:n])
        train.append(rows[n:])
    held_out = np.sort(np.concatenate(test))
    return np.sort(np.concatenate(train)), held_out
