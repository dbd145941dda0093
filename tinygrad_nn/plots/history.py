"""The course of training: what was measured, over the epochs or steps."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.plots.style import (
    DASHES,
    MARKERS,
    Look,
    canvas,
    legend,
    literal,
    look_of,
    mark_not_finite,
    number,
    plain,
    spread,
)
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.value import Value

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["Course", "draw_quantity", "epoch_ticks", "plot_history"]

Array = npt.NDArray[Any]

#: A larger factor between the largest and the smallest number asks for a logarithmic axis.
_LOG_SPAN = 50.0

#: Shares and scores, which grow towards 1: their axis is linear.
_SCORES = {"accuracy", "acc", "r2", "auc", "f1", "precision", "recall", "iou", "score"}

#: Those that are shares of rows, written in percent.
_SHARES = {"accuracy", "acc"}

#: Which part of the data a name says it was measured on -> the words for it.
_PARTS = {
    "train": "training", "training": "training", "val": "validation", "valid": "validation",
    "validation": "validation", "dev": "validation", "test": "test", "eval": "evaluation",
}  # fmt: skip

#: Columns that count, rather than measure.
_COUNTERS = ("epoch", "step", "iteration")

_ANY = "|".join(_PARTS)
_PREFIXED = re.compile(rf"({_ANY})[_/. -](.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Course:
    """One line: numbers in their order.

    Attributes
    ----------
    label : str
        In the legend; a name from a user may be in it.
    x, y : ndarray of float64, shape (n,)
    index : int
        Which colour, dashes and marker it has.
    """

    label: str
    x: Array
    y: Array
    index: int = 0


def plot_history(
    history: Any,
    names: str | Sequence[str] | None = None,
    *,
    log: bool | None = None,
    xlabel: str = "epoch",
    ax: Any = None,
    theme: str | None = None,
) -> Any:
    """Draw losses and scores over the epochs, one plot for each quantity.

    What was measured on different parts of the data shares a plot: ``loss`` and ``val_loss``, or
    ``train_loss`` and ``test_loss``.

    Parameters
    ----------
    history : mapping, sequence of float, sequence of mappings, path-like or object
        Numbers by name, as in ``{"loss": [...], "val_loss": [...]}``; one list of losses; a
        mapping for each epoch; the path of a CSV file with a header, as ``tinygrad-nn train``
        writes it; or what holds such a mapping in an attribute ``history`` or ``columns``. Names
        may begin with ``train_``, ``val_``, ``valid_``, ``validation_``, ``dev_``, ``test_`` or
        ``eval_``. A column ``epoch``, ``step`` or ``iteration`` is the horizontal axis, which
        counts from 1 if there is none. Numbers that are not there (None, empty, a name that a
        mapping lacks) are passed over; nan and infinity leave a gap and are marked and listed.
    names : str, sequence of str or None
        Quantities to draw, without prefixes, as in ``"loss"``; all by default.
    log : bool or None
        Whether the vertical axes are logarithmic. By default they are where numbers are positive
        and span a factor of more than 50, but for scores such as accuracy.
    xlabel : str
        What the numbers were counted in, where no column says it.
    ax : Axes, or array_like of Axes
        Where to draw, one for each quantity; a new figure of pyplot by default.
    theme : {"light", "dark"} or None
        Of the new figure; by default it follows matplotlib's settings.

    Returns
    -------
    Axes, or ndarray of Axes if there are several quantities

    Raises
    ------
    ValueError
        If there are no numbers, their counts differ, or `log` is asked for numbers below 0.
    TypeError
        If `history` is nothing of the above, or holds what is no number.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> from matplotlib.figure import Figure
    >>> history = {"loss": [2.0, 0.5, 0.2], "val_loss": [2.1, 0.7, 0.6]}
    >>> ax = tg.plot_history(history, ax=Figure().subplots())
    >>> [line.get_linestyle() for line in ax.lines]
    ['-', '--']
    """
    counter, x, columns = _table(history)
    quantities = _by_quantity(x, columns)
    if names is not None:
        wanted = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in wanted if name not in quantities]
        if unknown or not wanted:
            raise ValueError(
                f"the history has no {', '.join(map(repr, unknown)) or 'quantity of no name'}; "
                f"it has {', '.join(map(repr, quantities))}"
            )
        quantities = {name: quantities[name] for name in wanted}
    if log:
        for name, courses in quantities.items():
            if any((c.y <= 0.0).any() for c in courses):
                raise ValueError(
                    f"{name!r} has numbers that are 0 or below, which have no place on a "
                    f"logarithmic axis: leave log=True out"
                )
    size = (7.0, 4.2) if len(quantities) == 1 else (4.6, 3.4)
    with canvas("plot_history", ax, len(quantities), theme, size) as axes:
        for one, (name, courses) in zip(axes, quantities.items(), strict=True):
            draw_quantity(one, name, courses, look_of(one), log=log, most=8 if ax is None else 5)
            plain(one.yaxis.label).set_text(literal(name))
            plain(one.xaxis.label).set_text(literal(counter or xlabel))
    return axes[0] if len(axes) == 1 else np.array(axes)


# --- drawing -------------------------------------------------------------------------------------


def draw_quantity(
    ax: Axes,
    name: str,
    courses: Sequence[Course],
    look: Look,
    *,
    log: bool | None = None,
    most: int = 8,
) -> None:
    """Draw the courses of one quantity; see `plot_history`.

    Parameters
    ----------
    ax : Axes
    name : str
        Decides whether the numbers are shares, scores, or may need a logarithmic axis.
    courses : sequence of Course
    look : Look
    log : bool or None
        Whether the axis is logarithmic; None decides by the numbers.
    most : int
        About so many ticks on the horizontal axis.
    """
    colours = spread(look, 1 + max(c.index for c in courses))
    entries: list[tuple[Artist, str]] = []
    marks: list[tuple[Artist, str]] = []
    for c in courses:
        colour = colours[c.index]
        seen = np.where(np.isfinite(c.y), c.y, np.nan)
        few = len(c.x) <= 40
        alone = [] if few else _alone(seen)
        (line,) = ax.plot(
            c.x, seen, color=colour, linestyle=DASHES[c.index % len(DASHES)],
            marker=MARKERS[c.index % len(MARKERS)] if few or alone else None, markersize=3.5,
            markevery=alone or None,
        )  # fmt: skip
        entries.append((line, c.label))
        marks += mark_not_finite(ax, c.x, c.y, c.label, colour, len(marks))
    values = np.concatenate([c.y[np.isfinite(c.y)] for c in courses])
    _scale(ax, name, values, log)
    everything = np.concatenate([c.x for c in courses])
    if everything.size and np.array_equal(everything, np.round(everything)):
        if everything.min() == 1 and 1 < everything.max() < 1e9:
            ax.set_xticks(epoch_ticks(int(everything.max()), most))
        else:
            ax.locator_params("x", integer=True)
    ax.margins(x=0.02)
    last = courses[-1]
    if last.y.size and np.isfinite(last.y[-1]):
        said = f"{last.y[-1]:.1%}" if _is_share(name, values) else number(last.y[-1])
        ax.annotate(
            said, (last.x[-1], last.y[-1]), xytext=(6, 0), textcoords="offset points",
            va="center", color=colours[last.index], fontweight="bold", annotation_clip=False,
        )  # fmt: skip
    if len(courses) > 1 or marks:
        legend(ax, [e for e in entries if e[1]] + marks, loc="best")


def _alone(y: Array) -> list[int]:
    """Return the places of numbers between gaps, which no line goes through."""
    there = np.pad(np.isfinite(y), 1)
    found: list[int] = np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:]).tolist()
    return found


def _is_share(name: str, values: Array) -> bool:
    return name.lower() in _SHARES and bool(np.all((values >= 0.0) & (values <= 1.0)))


def _scale(ax: Axes, name: str, values: Array, log: bool | None) -> None:
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    score = name.lower() in _SCORES
    if log is None:
        log = not score and low > 0.0 and high / _LOG_SPAN > low
    if log:
        wide = low < 1e-200 or high > 1e200
        if wide:  # margins and ticks chosen by matplotlib would overflow
            low, high = max(low, 1e-300), min(high, 1e300)
            ax.set_ylim(low, high)
        ax.set_yscale("log")
        if wide:
            ax.set_yticks(10.0 ** np.linspace(math.log10(low), math.log10(high), 7).round())
            ax.minorticks_off()
        if high > 10.0 * low:
            ax.yaxis.set_minor_formatter("")
    elif not score:
        ax.set_ylim(bottom=min(0.0, 1.05 * low))
    if _is_share(name, values):
        ax.yaxis.set_major_formatter("{x:.0%}" if high - low > 0.05 else "{x:.1%}")
    elif not score and 1e-4 < max(abs(low), abs(high)) < 1e7 and (not log or low > 1e-5):
        ax.yaxis.set_major_formatter("{x:,g}")


def epoch_ticks(n: int, most: int = 8) -> list[int]:
    """Return the first epoch, the last one, and round numbers between them.

    Parameters
    ----------
    n : int
        Number of epochs.
    most : int
        About so many ticks.

    Returns
    -------
    list of int

    Examples
    --------
    >>> from tinygrad_nn.plots.history import epoch_ticks
    >>> epoch_ticks(30)
    [1, 5, 10, 15, 20, 25, 30]
    """
    step = next(s for k in range(20) for s in (10**k, 2 * 10**k, 5 * 10**k) if n <= most * s)
    # Not so near to an end that two numbers would touch.
    between = [t for t in range(step, n, step) if t - 1 >= step / 2 and n - t >= step / 2]
    return sorted({1, *between, n})


# --- reading -------------------------------------------------------------------------------------


def _table(history: Any) -> tuple[str | None, Array, dict[str, Array]]:
    """Return the name of the column that counts, its numbers, and the other columns.

    None in a column stands for a number that is not there.
    """
    raw = _columns(history)
    columns = {
        name: [_number(value, name, i) for i, value in enumerate(_listed(values, name))]
        for name, values in raw.items()
    }
    counts = {name: len(values) for name, values in columns.items()}
    if not counts or not any(counts.values()):
        raise ValueError(
            "the history is empty; expected numbers by name, as in "
            "{'loss': [0.9, 0.5], 'val_loss': [1.0, 0.7]}"
        )
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
        raise ValueError(
            f"the lists of a history must be equally long: {said}; put None where nothing was "
            f"measured"
        )
    counter = next((name for name in _COUNTERS if name in columns), None)
    if counter is None:
        x = np.arange(1.0, 1.0 + next(iter(counts.values())))
    else:
        x = np.array([np.nan if v is None else v for v in columns.pop(counter)])
        if not np.isfinite(x).all():
            raise ValueError(f"the column {counter!r} must hold a finite number in every row")
        if not columns:
            raise ValueError(f"the history has no column beside {counter!r}")
    return counter, x, {name: np.array(v, dtype=object) for name, v in columns.items()}


def _columns(history: Any) -> dict[str, Any]:
    if isinstance(history, str | os.PathLike):
        return _read(history)
    for attribute in ("history", "columns"):  # Keras' callback; the command line's History
        inside = getattr(history, attribute, None)
        if isinstance(inside, dict):
            history = inside
    if hasattr(history, "keys"):
        return {str(name): history[name] for name in history.keys()}  # noqa: SIM118  # DataFrames
    rows = _listed(history, "the history")
    if rows and all(hasattr(row, "keys") for row in rows):
        names = dict.fromkeys(name for row in rows for name in row.keys())  # noqa: SIM118
        return {str(name): [row.get(name) for row in rows] for name in names}
    return {"loss": rows}


def _listed(values: Any, name: str) -> list[Any]:
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        try:
            return list(values)
        except TypeError:  # an array without a dimension
            pass
    raise TypeError(f"expected a list of numbers for {name!r}, got {values!r:.60}")


def _number(value: Any, name: str, i: int) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, Tensor | Value):
        value = value.data
    try:
        if np.size(value) != 1:
            raise TypeError
        return float(value.item() if isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError):
        raise TypeError(f"expected a number as entry {i} of {name!r}, got {value!r:.60}") from None


def _read(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read a CSV file whose first line names the columns."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [(i, row) for i, row in enumerate(csv.reader(file), 1) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{os.fspath(path)}: expected a CSV file in UTF-8: {error}") from error
    if not rows:
        raise ValueError(f"{os.fspath(path)} is empty; expected a header and a line for each epoch")
    (_, header), *body = rows
    if len(set(header)) < len(header):
        raise ValueError(f"{os.fspath(path)}: a name stands twice in the header {header}")
    for line, row in body:
        if len(row) != len(header):
            raise ValueError(
                f"{os.fspath(path)}, line {line}: {len(row)} fields, the header has {len(header)}"
            )
    return {name: [row[i] for _, row in body] for i, name in enumerate(header)}


def _by_quantity(x: Array, columns: dict[str, Array]) -> dict[str, list[Course]]:
    """Gather what was measured of the same quantity on different parts of the data."""
    found: dict[str, dict[str, Array]] = {}
    for name, values in columns.items():
        match = _PREFIXED.fullmatch(name)
        part, quantity = (_PARTS[match[1].lower()], match[2]) if match else ("", name)
        courses = found.setdefault(quantity, {})
        if part in courses:
            raise ValueError(f"two columns hold {quantity!r} of the {part} part: rename {name!r}")
        courses[part] = values
    order = list(dict.fromkeys(part for courses in found.values() for part in courses))
    # A name without a prefix is of the training part, unless that has a column of its own.
    bare = "training" if "training" not in order and len(order) > 1 else None
    if "" in order:
        order.remove("")
        order.insert(0, "")
    quantities = {}
    for quantity, courses in found.items():
        quantities[quantity] = [
            Course(
                part or (bare if len(courses) > 1 and bare else quantity),
                x[there], values[there].astype(float), order.index(part),
            )
            for part, values in sorted(courses.items(), key=lambda item: order.index(item[0]))
            for there in [np.array([v is not None for v in values], dtype=bool)]
        ]  # fmt: skip
    return quantities
