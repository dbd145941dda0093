"""Figures as PNG, without a display. Text from users is never taken for mathematics or markup."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import MissingExtraError
from tinygrad_nn.job.errors import shown
from tinygrad_nn.job.training import History
from tinygrad_nn.plots.history import Course, draw_quantity
from tinygrad_nn.plots.style import LOOKS, number, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion", "curves", "images", "number", "require_matplotlib"]

P = ParamSpec("P")

_LOOK = LOOKS["light"]
_SETTINGS = settings("light") | {"figure.figsize": (7.0, 4.2), "figure.dpi": 150}


def require_matplotlib() -> None:
    """Raise MissingExtraError if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            "figures need matplotlib: pip install 'tinygrad-nn[plot]', or leave them out with "
            "--no-plots"
        )


def _png(draw: Callable[P, Figure]) -> Callable[P, bytes]:
    """Make a function that returns a figure return it as PNG, drawn in this file's style."""

    def render(*args: P.args, **keywords: P.kwargs) -> bytes:
        require_matplotlib()
        import matplotlib as mpl

        with mpl.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name in a script that the font lacks is no news
            mpl.rcdefaults()
            mpl.rcParams.update(_SETTINGS)
            buffer = io.BytesIO()
            draw(*args, **keywords).savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    render.__doc__ = draw.__doc__
    render.__name__ = draw.__name__
    return render


def _figure(title: str, size: tuple[float, float] | None = None) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.set_title(shown(title), parse_math=False)
    return figure, axes


@_png
def curves(history: History, name: str, title: str, label: str) -> Figure:
    """Draw a quantity over the epochs, on the training part and on the held-out part.

    Parameters
    ----------
    history : History
    name : str
        ``loss``, ``accuracy``, ``rmse`` or ``r2``.
    title : str
    label : str
        Of the vertical axis, with the unit.
    """
    figure, axes = _figure(title)
    values = [np.array(history.columns[f"{part}_{name}"]) for part in ("train", "test")]
    epochs = np.arange(1, 1 + len(values[0]))
    courses = [
        Course(words, epochs, y, i)
        for i, (words, y) in enumerate(zip(("training part", "held-out part"), values, strict=True))
    ]
    draw_quantity(axes, name, courses, _LOOK)
    axes.set_xlabel("epoch")
    axes.set_ylabel(shown(label), parse_math=False)
    return figure


@_png
def confusion(counts: npt.NDArray[Any], classes: Sequence[str], title: str) -> Figure:
    """Draw how often each true class (row) was taken for which class (column).

    Parameters
    ----------
    counts : ndarray of int, shape (classes, classes)
    classes : sequence of str
    title : str
    """
    n = len(classes)
    side = min(12.0, max(4.5, 0.55 * n + 1.2))
    figure, axes = _figure(title, (side, side))
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            axes.text(
                j, i, str(count), ha="center", va="center",
                color="white" if share[i, j] > 0.5 else "black" if i == j else _LOOK.series[1],
                fontweight="normal" if i == j else "bold",
            )  # fmt: skip
    names = [shown(c) for c in classes]
    axes.set_xticks(range(n), names, parse_math=False, rotation=0 if _short(names) else 90)
    axes.set_yticks(range(n), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.grid(False)
    return figure


def _short(names: Sequence[str]) -> bool:
    return max(map(len, names)) <= 3


@_png
def images(pictures: npt.NDArray[Any], captions: Sequence[str], title: str) -> Figure:
    """Draw small pictures in a grid, dark where the numbers are large.

    Parameters
    ----------
    pictures : ndarray, shape (n, height, width)
    captions : sequence of str
        One below each.
    title : str
    """
    from matplotlib.figure import Figure

    columns = min(6, max(1, len(pictures)))
    rows = -(-len(pictures) // columns) or 1
    figure = Figure(figsize=(max(4.8, 1.35 * columns), 1.65 * rows + 0.6))
    figure.suptitle(shown(title), fontweight="bold", x=0.02, ha="left", parse_math=False)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, picture, caption in zip(grid, pictures, captions, strict=False):
        axes.imshow(picture, cmap="Greys", interpolation="nearest", vmin=0.0)
        axes.set_title(
            shown(caption, lines=True), fontsize=9, fontweight="normal", loc="center", pad=5,
            parse_math=False,
        )  # fmt: skip
    return figure
