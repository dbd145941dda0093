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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion", "curves", "images", "number", "require_matplotlib"]

P = ParamSpec("P")

#: A larger factor between the largest and the smallest loss asks for a logarithmic axis.
_LOG_SPAN = 50.0

# From the palette of M. Okabe and K. Ito, which people with any colour vision can tell apart:
# https://jfly.uni-koeln.de/color/
_TRAIN, _TEST, _GREY = "#0072B2", "#D55E00", "#5f6368"

_STYLE: Any = {
    "figure.figsize": (7.0, 4.2),
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 10.5,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "grid.color": "#e4e6e9",
    "axes.axisbelow": True,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
}


def require_matplotlib() -> None:
    """Raise MissingExtraError if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            "figures need matplotlib: pip install 'tinygrad-nn[plot]', or leave them out with "
            "--no-plots"
        )


def number(x: float) -> str:
    """Write a measured number with four decimals, or four digits if it is large."""
    return f"{x:.4f}" if abs(x) < 10.0 else f"{x:.4g}" if abs(x) < 1000.0 else f"{x:,.0f}"


def _png(draw: Callable[P, Figure]) -> Callable[P, bytes]:
    """Make a function that returns a figure return it as PNG, drawn in this file's style."""

    def render(*args: P.args, **keywords: P.kwargs) -> bytes:
        require_matplotlib()
        import matplotlib as mpl

        with mpl.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name in a script that the font lacks is no news
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
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
    train, test = (np.array(history.columns[f"{part}_{name}"]) for part in ("train", "test"))
    epochs = np.arange(1, len(train) + 1)
    # Lines of different style and weight stay apart in black and white too.
    marker = "o" if len(epochs) <= 40 else None
    axes.plot(epochs, train, color=_TRAIN, marker=marker, markersize=3.5, label="training part")
    axes.plot(
        epochs, test, color=_TEST, marker=marker and "s", markersize=3.5, linestyle="--",
        label="held-out part",
    )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel(shown(label), parse_math=False)
    axes.set_xticks(_epoch_ticks(len(epochs)))
    if name == "accuracy":
        axes.yaxis.set_major_formatter("{x:.0%}" if np.ptp([train, test]) > 0.05 else "{x:.1%}")
    elif name != "r2" and _spans(train, test):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")
    elif name != "r2":
        axes.set_ylim(bottom=min(0.0, 1.05 * float(min(train.min(), test.min()))))
        axes.yaxis.set_major_formatter("{x:,g}")
    axes.annotate(
        f"{test[-1]:.1%}" if name == "accuracy" else number(test[-1]),
        (epochs[-1], test[-1]), xytext=(6, 0), textcoords="offset points", va="center",
        color=_TEST, fontweight="bold", annotation_clip=False,
    )  # fmt: skip
    axes.margins(x=0.02)
    axes.legend(loc="lower right" if name in ("accuracy", "r2") else "upper right")
    return figure


def _spans(*series: npt.NDArray[Any]) -> bool:
    """Whether positive numbers lie so far apart that the small ones cannot be told from 0."""
    low = min(float(s.min()) for s in series)
    return low > 0.0 and max(float(s.max()) for s in series) > _LOG_SPAN * low


def _epoch_ticks(n: int) -> list[int]:
    """Return the first epoch, the last one, and round numbers between them."""
    step = next(s for k in range(20) for s in (10**k, 2 * 10**k, 5 * 10**k) if n <= 8 * s)
    # Not so near to an end that two numbers would touch.
    between = [t for t in range(step, n, step) if t - 1 >= step / 2 and n - t >= step / 2]
    return sorted({1, *between, n})


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
                color="white" if share[i, j] > 0.5 else "black" if i == j else _TEST,
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
