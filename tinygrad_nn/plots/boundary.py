"""Where a model of two inputs takes which class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn import scalar
from tinygrad_nn.errors import ShapeError
from tinygrad_nn.graph import no_grad
from tinygrad_nn.nn.module import Module
from tinygrad_nn.plots.style import MARKERS, canvas, legend, literal, look_of, plain, spread
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.value import Value

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["plot_decision_boundary"]

Array = npt.NDArray[Any]

#: How strongly a class colours the background where the model wavers, and where it is certain.
_FAINT, _STRONG = 0.08, 0.50

#: Bands of equal confidence: areas of one colour, whose edges can be seen.
_BANDS = 10


def plot_decision_boundary(
    model: Callable[[Any], Any],
    x: Any,
    y: Any,
    *,
    threshold: float | None = None,
    classes: Sequence[Any] | None = None,
    features: Sequence[str] | None = None,
    resolution: int | None = None,
    batch_size: int = 4096,
    colorbar: bool = True,
    ax: Any = None,
    theme: str | None = None,
) -> Axes:
    """Draw the classes that a model of two inputs predicts, how sure it is, and the data.

    Parameters
    ----------
    model : Module, scalar.Module, or callable
        A `tinygrad_nn.nn.Module` and other functions are called with batches of what `x` is, in
        its dtype: shape ``(b, 2)``, arrays for an array, tensors for a tensor. A network of
        `tinygrad_nn.scalar` is called with one row at a time, a list of two floats. Results:

        * one number a row, shape ``(b,)`` or ``(b, 1)``: class 1 where it is above `threshold`;
        * k numbers a row, shape ``(b, k)``: the class of the largest one. Rows that are
          probabilities are taken as such, others as logits, whose softmax they are;
        * whole numbers, booleans or strings, shape ``(b,)``: the classes themselves.
    x : array_like or Tensor, shape (n, 2)
        The data; the plot extends a tenth beyond them. Columns of a data frame name the axes.
    y : array_like or Tensor, shape (n,) or (n, 1)
        The class of each row.
    threshold : float or None
        For one output: 0 if it is log-odds (of which the sigmoid is the probability of class 1, or
        another score around 0), a number above 0 and below 1 if it is the probability itself, as
        in ``threshold=0.5``. By default 0, unless all outputs look like probabilities: then it
        has to be given.
    classes : sequence or None
        The values of `y` in the order of the model's outputs. By default 0 to k - 1 where `y` has
        none but those, and otherwise the distinct values of `y` in increasing order, of which
        there must be as many as classes.
    features : sequence of str or None
        Names of the two inputs.
    resolution : int or None
        The model is evaluated on a grid of so many points a side: by default 200, or 60 for a
        network of `tinygrad_nn.scalar`.
    batch_size : int
        Rows per call of the model.
    colorbar : bool
        Whether a bar beside the plot says what the colours mean.
    ax : Axes
        Where to draw; a new figure of pyplot by default.
    theme : {"light", "dark"} or None
        Of the new figure; by default it follows matplotlib's settings.

    Returns
    -------
    Axes

    Raises
    ------
    ShapeError
        If the model has not two inputs, or its results have another shape.
    ValueError
        If `x`, `y`, `classes` and the results do not fit each other, or it is not clear whether
        one output is log-odds or a probability.
    MissingExtraError
        If matplotlib is not installed.

    Notes
    -----
    Nothing is recorded for differentiation, and modules are in evaluation mode meanwhile, so that
    dropout is off; each is left in the mode it was found in. That holds for a module that is given
    as `model`, or whose method is; not for one that a function of yours calls.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> from matplotlib.figure import Figure
    >>> x = np.array([[-1.0, 0.0], [1.0, 0.0], [2.0, 1.0]])
    >>> ax = tg.plot_decision_boundary(
    ...     lambda x: 3.0 * x[:, 0], x, [0, 1, 1], ax=Figure().subplots()
    ... )
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['class 0', 'class 1']
    """
    points, truth, names = _data(x, y)
    names = names if features is None else [str(name) for name in features]
    if len(names) != 2:
        raise ValueError(f"features names the two inputs, got {features!r}")
    if resolution is None:
        resolution = 60 if isinstance(model, scalar.Module) else 200
    if resolution < 2 or batch_size < 1:
        raise ValueError(
            f"resolution must be 2 or more and batch_size 1 or more, got {resolution}, {batch_size}"
        )
    sides = _sides(points, resolution)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*sides)], axis=1).astype(points.dtype)
    kind = Tensor if isinstance(x, Tensor) else np.asarray
    out = _evaluate(model, grid, kind, batch_size)
    labels, scores, sure = _judge(out, truth, threshold, classes)
    shape = (resolution, resolution)
    with canvas("plot_decision_boundary", ax, 1, theme, (6.4, 4.8)) as (one,):
        look = look_of(one)
        colours = spread(look, len(labels))
        _paint(one, sides, scores.reshape(*shape, -1), sure.reshape(shape), colours, look.ink)
        entries: list[tuple[Artist, str]] = []
        for i, label in enumerate(labels):
            rows = points[truth == label]
            said = f"class {literal(label)}"
            marks = one.scatter(
                rows[:, 0], rows[:, 1], s=36, color=colours[i], marker=MARKERS[i % len(MARKERS)],
                edgecolors=look.paper, linewidths=0.8, zorder=3,
            )  # fmt: skip
            entries.append((marks, said))
        if not np.isfinite(scores).all():
            from matplotlib.patches import Patch

            entries.append(
                (Patch(facecolor=look.muted, alpha=0.5, hatch="xx"), "output not finite")
            )
        for axis, name in zip((one.xaxis, one.yaxis), names, strict=True):
            plain(axis.label).set_text(literal(name))
        one.set(xlim=sides[0][[0, -1]], ylim=sides[1][[0, -1]])
        one.grid(False)
        legend(
            one, entries, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2,
            ncols=min(4, len(entries)), handletextpad=0.4, columnspacing=1.2,
        )  # fmt: skip
        if colorbar and not np.isnan(sure).all() and out.dtype.kind == "f":
            _explain(one, labels, colours)
    return one


# --- the data ------------------------------------------------------------------------------------


def _data(x: Any, y: Any) -> tuple[Array, Array, list[str]]:
    """Return the points, their classes, and the names of the inputs."""
    columns = getattr(x, "columns", None)
    points = np.asarray(x.data if isinstance(x, Tensor) else x)
    if points.dtype.kind not in "fiub":
        raise TypeError(f"x must hold real numbers, got dtype {points.dtype}")
    if points.ndim != 2 or points.shape[1] != 2:
        raise ShapeError(
            f"plot_decision_boundary draws models of two inputs: expected x of shape (n, 2), got "
            f"{points.shape}; of more inputs choose two, and hand over a function that fills in "
            f"the others"
        )
    if points.dtype.kind != "f":
        points = points.astype(float)
    truth = np.asarray(y.data if isinstance(y, Tensor) else y)
    if truth.ndim == 2 and truth.shape[1] == 1:
        truth = truth[:, 0]
    if truth.ndim != 1:
        raise ShapeError(
            f"expected one class a row, y of shape (n,), got {truth.shape}; of one-hot rows take "
            f"y.argmax(axis=1)"
        )
    if len(points) != len(truth):
        raise ShapeError(f"x has {len(points)} rows and y {len(truth)}; they must be equally many")
    if not len(points):
        raise ValueError("x has no rows; the data say which part of the plane to draw")
    if not np.isfinite(points).all():
        raise ValueError("x has numbers that are nan or infinite: leave those rows out")
    if truth.dtype.kind == "f":
        if not np.array_equal(truth, np.round(truth)):
            raise ValueError("y must hold classes, such as 0 and 1; got numbers with fractions")
        truth = truth.astype(int)
    names = ["input 1", "input 2"] if columns is None else [str(name) for name in columns]
    return points, truth, names


def _sides(points: Array, n: int) -> list[Array]:
    """Return the grid's coordinates along each axis."""
    low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
    margin = np.where(high > low, 0.1 * (high - low), np.maximum(1.0, 0.1 * abs(low)))
    return [np.linspace(a, b, n) for a, b in zip(low - margin, high + margin, strict=True)]


# --- the model -----------------------------------------------------------------------------------


@contextmanager
def _evaluation(model: Any) -> Iterator[None]:
    """Set a module to evaluation; each part is left in the mode it was found in."""
    owner = getattr(model, "__self__", model)
    on = [m for m in owner.modules() if m.training] if isinstance(owner, Module) else []
    try:
        for module in on:
            module.training = False
        yield
    finally:
        for module in on:
            module.training = True


def _evaluate(model: Any, grid: Array, kind: Any, batch_size: int) -> Array:
    """Return the model's results for the rows of a grid, shape (n,) or (n, k)."""
    with no_grad(), _evaluation(model):
        if isinstance(model, scalar.Module):
            return _table([model(row) for row in grid.astype(float).tolist()], len(grid))
        parts = []
        for i in range(0, len(grid), batch_size):
            batch = grid[i : i + batch_size]
            parts.append(_table(model(kind(batch)), len(batch)))
    if len({part.shape[1:] for part in parts}) > 1:
        raise ShapeError("the model's results differ in shape from batch to batch")
    return np.concatenate(parts)


def _plain(out: Any) -> Any:
    if isinstance(out, Tensor | Value):
        return out.data
    return [_plain(one) for one in out] if isinstance(out, list | tuple) else out


def _table(out: Any, n: int) -> Array:
    table = np.asarray(_plain(out))
    if table.shape not in ((n,), (n, *table.shape[1:2])) or table.shape[1:] == (0,):
        raise ShapeError(
            f"expected results of shape ({n},), ({n}, 1) or ({n}, classes) for {n} rows, the model "
            f"returned {table.shape}"
        )
    if table.dtype.kind not in "fiubUO":
        raise TypeError(f"expected real numbers or classes, the model returned {table.dtype}")
    table = table[:, 0] if table.shape[1:] == (1,) else table
    return table.astype(float) if table.dtype.kind == "f" or table.ndim == 2 else table


# --- the classes ---------------------------------------------------------------------------------


def _judge(
    out: Array, truth: Array, threshold: float | None, classes: Sequence[Any] | None
) -> tuple[list[Any], Array, Array]:
    """Return the classes, a score for each, and how sure the model is.

    Returns
    -------
    labels : list
        Values of `y`, in the order of the model's outputs.
    scores : ndarray, shape (n, k)
        The largest one says which class is predicted; nan where the model's output is not finite.
    sure : ndarray, shape (n,)
        From 0, where the classes are equally likely, to 1.
    """
    if out.dtype.kind != "f":  # the classes themselves
        if threshold is not None:
            raise ValueError("threshold is for a model with one output, not for one of classes")
        labels = _order(classes, np.unique(np.concatenate([np.unique(out), np.unique(truth)])))
        _check(labels, truth)
        scores = np.stack([(out == label).astype(float) for label in labels], axis=1)
        return labels, scores, np.ones(len(out))
    finite = np.asarray(np.isfinite(out.reshape(len(out), -1)).all(axis=1))
    if not finite.any():
        raise ValueError("the model's outputs are nan or infinite everywhere; nothing to draw")
    if out.ndim == 2:
        if threshold is not None:
            raise ValueError(
                f"threshold is for a model with one output, this one has {out.shape[1]}"
            )
        labels = _labels(truth, classes, out.shape[1])
        seen = np.where(finite[:, None], out, np.nan)
        known = out[finite]
        if not ((known >= 0.0).all() and np.allclose(known.sum(axis=1), 1.0, atol=1e-4)):
            seen = np.exp(seen - seen.max(axis=1, keepdims=True))
            seen /= seen.sum(axis=1, keepdims=True)
        k = len(labels)
        scores = np.where(finite[:, None], out, np.nan)
        return labels, scores, (seen.max(axis=1) - 1.0 / k) / (1.0 - 1.0 / k)
    labels = _labels(truth, classes, 2)
    out = np.where(finite, out, np.nan)
    margin, sure = _one_output(out, threshold)
    return labels, np.stack([-margin, margin], axis=1), sure


def _one_output(out: Array, threshold: float | None) -> tuple[Array, Array]:
    """Return by how much an output is above the threshold, and how sure that is."""
    low, high = np.nanmin(out), np.nanmax(out)
    if threshold is None:
        if low >= 0.0 and high <= 1.0:
            raise ValueError(
                "the model's outputs all lie from 0 to 1: pass threshold=0.5 if they are "
                "probabilities of class 1, threshold=0.0 if they are log-odds"
            )
        threshold = 0.0
    if threshold == 0.0:
        return out, abs(np.tanh(out / 2.0))  # |2 p - 1| for p = sigmoid(out)
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold must be 0 (log-odds), or from 0 to 1, got {threshold!r}")
    if low < -1e-6 or high > 1.0 + 1e-6:
        raise ValueError(
            f"threshold={threshold!r} is for probabilities, and the model's outputs go from "
            f"{low:.3g} to {high:.3g}: pass threshold=0.0 if they are log-odds"
        )
    margin = out - threshold
    return margin, abs(margin) / np.where(margin > 0.0, 1.0 - threshold, threshold)


def _labels(truth: Array, classes: Sequence[Any] | None, k: int) -> list[Any]:
    """Return the values of `y` in the order of k outputs."""
    distinct = np.unique(truth)
    if classes is None:
        if distinct.dtype.kind in "iub" and set(distinct.tolist()) <= set(range(k)):
            return list(range(k))
        if k == 2 and distinct.dtype.kind == "i" and set(distinct.tolist()) <= {-1, 1}:
            return [-1, 1]
        if len(distinct) != k:
            raise ValueError(
                f"the model tells {k} classes apart, y has {len(distinct)}: "
                f"{', '.join(map(str, distinct[:8].tolist()))}; name all in the order of the "
                f"outputs with classes=[...]"
            )
    labels = _order(classes, distinct)
    if len(labels) != k:
        raise ValueError(f"the model tells {k} classes apart, classes names {len(labels)}")
    _check(labels, truth)
    return labels


def _order(classes: Sequence[Any] | None, distinct: Array) -> list[Any]:
    return list(distinct.tolist() if classes is None else classes)


def _check(labels: list[Any], truth: Array) -> None:
    unknown = sorted(set(truth.tolist()) - set(labels), key=str)
    if unknown:
        raise ValueError(f"y has classes that are not in classes: {', '.join(map(str, unknown))}")


# --- drawing -------------------------------------------------------------------------------------


def _paint(
    ax: Axes, sides: list[Array], scores: Array, sure: Array, colours: list[Any], ink: str
) -> None:
    """Colour the background by class and confidence, and draw the boundaries.

    Parameters
    ----------
    ax : Axes
    sides : list of ndarray
        Coordinates along each axis.
    scores : ndarray, shape (n, n, k)
    sure : ndarray, shape (n, n)
    colours : list of colour
    ink : colour
    """
    from matplotlib.colors import to_rgb

    bad = np.isnan(scores).any(axis=-1)
    winner = np.where(bad, 0, np.where(np.isnan(scores), 0.0, scores).argmax(axis=-1))
    picture = np.zeros((*sure.shape, 4))
    picture[..., :3] = np.array([to_rgb(c) for c in colours])[winner]
    picture[..., 3] = _opacity(np.where(bad, 0.0, sure))
    picture[bad] = (0.5, 0.5, 0.5, 0.5)
    # Each number stands for the cell around its point of the grid.
    half = [(side[1] - side[0]) / 2.0 for side in sides]
    (left, right), (low, high) = (
        (side[0] - h, side[-1] + h) for side, h in zip(sides, half, strict=True)
    )
    ax.imshow(
        picture, extent=(left, right, low, high), origin="lower", aspect="auto",
        interpolation="nearest", zorder=0,
    )  # fmt: skip
    if bad.any():
        ax.contourf(*sides, bad.astype(float), [0.5, 1.5], colors="none", hatches=["xx"], zorder=1)
    for i in range(1 if len(colours) == 2 else 0, len(colours)):
        rest = np.delete(scores, i, axis=-1).max(axis=-1)
        margin = scores[..., i] - rest
        known = margin[~bad]
        if known.size and known.min() < 0.0 < known.max():
            ax.contour(
                *sides, np.ma.masked_array(margin, bad), [0.0], colors=[ink], linewidths=1.6,
                zorder=2,
            )  # fmt: skip


def _opacity(sure: Array) -> Array:
    """Return how strongly to colour, in bands."""
    band: Array = np.minimum(np.floor(sure * _BANDS), _BANDS - 1) / (_BANDS - 1)
    return _FAINT + (_STRONG - _FAINT) * band


def _explain(ax: Axes, labels: list[Any], colours: list[Any]) -> None:
    """Draw the bar that says what the strength of colours means."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize, to_rgb

    k = len(labels)
    strength = _opacity((np.arange(_BANDS) + 0.5) / _BANDS)
    look = look_of(ax)
    paper = np.array(to_rgb(look.paper))

    def ramp(colour: Any) -> list[Any]:
        return [tuple(a * np.array(to_rgb(colour)) + (1.0 - a) * paper) for a in strength]

    if k == 2:
        cells = [*reversed(ramp(colours[0])), *ramp(colours[1])]
        limits, said = (0.0, 1.0), f"probability of class {literal(labels[1], 24)}"
    else:
        cells, limits, said = ramp(look.muted), (1.0 / k, 1.0), "probability of the likeliest class"
    figure = ax.figure
    bar = figure.colorbar(
        ScalarMappable(Normalize(*limits), ListedColormap(cells)), ax=ax, pad=0.02, aspect=30
    )
    plain(bar.ax.yaxis.label).set(text=said, color=look.ink)
    bar.ax.tick_params(color=look.muted, labelcolor=look.muted)
    bar.outline.set_visible(False)
