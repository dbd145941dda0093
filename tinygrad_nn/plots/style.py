"""What all plots share: where they are drawn, in which colours, and text that is only text.

A plot goes into the axes that it is given, and then in colours that show on their background, or
into a new figure of pyplot. The figure is made under ``matplotlib.rc_context``: settings outside
stay as they are, and what axes look up when they are drawn, much later, is written into them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import MissingExtraError
from tinygrad_nn.shown import shown

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = [
    "DASHES", "MARKERS", "Look", "canvas", "legend", "literal", "look_of", "mark_not_finite",
    "number", "plain", "settings", "short", "spread",
]  # fmt: skip

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Look:
    """Colours for one kind of background.

    Attributes
    ----------
    paper, ink : str
        Of the background, and of text on it.
    muted, grid : str
        Of axes and remarks, and of lines behind the data.
    series : tuple of str
        Of what is to be told apart, in this order.
    """

    paper: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]


# The palette of M. Okabe and K. Ito, which people with any colour vision can tell apart
# (https://jfly.uni-koeln.de/color/), on each background those first that stand out from it most.
LOOKS = {
    "light": Look(
        "#ffffff", "#1a1a1a", "#5f6368", "#e4e6e9",
        ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    ),
    "dark": Look(
        "#16181c", "#ececec", "#a3a8ae", "#33373d",
        ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#ffffff"),
    ),
}  # fmt: skip

# Colour is never alone: dashes tell lines apart, markers points.
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_FORM: Any = {
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_TYPE: Any = {
    "font.size": 10.5,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.grid": True,
    "lines.linewidth": 2.0,
}


def settings(theme: str) -> Any:
    """Return matplotlib's settings for a theme, to be put over its defaults."""
    if theme not in LOOKS:
        raise ValueError(f"theme must be 'light', 'dark' or None, got {theme!r}")
    look = LOOKS[theme]
    colours = {
        look.paper: ("figure.facecolor", "axes.facecolor", "savefig.facecolor"),
        look.ink: ("text.color", "axes.labelcolor", "axes.titlecolor"),
        look.muted: ("axes.edgecolor", "xtick.color", "ytick.color"),
        look.grid: ("grid.color",),
    }
    return _FORM | _TYPE | {name: colour for colour, names in colours.items() for name in names}


def look_of(where: Axes | Figure) -> Look:
    """Return the colours that show on the background of axes or of a figure."""
    from matplotlib.colors import to_rgba

    colour = np.ones(3)
    for over in (where.get_figure(root=True), where):
        if over is not None:
            *rgb, alpha = to_rgba(over.get_facecolor())
            colour = alpha * np.array(rgb) + (1.0 - alpha) * colour
    # Relative luminance, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance; at this grey black
    # and white have the same contrast.
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return LOOKS["dark" if linear @ [0.2126, 0.7152, 0.0722] < 0.179 else "light"]


@contextmanager
def canvas(
    name: str,
    ax: Any,
    count: int,
    theme: str | None,
    size: tuple[float, float],
    columns: int = 3,
) -> Iterator[list[Axes]]:
    """Give `count` axes to draw into: those in `ax`, or those of a new figure.

    Parameters
    ----------
    name : str
        Of the function that draws, for messages.
    ax : Axes, array_like of Axes, or None
    count : int
    theme : {"light", "dark"} or None
        Of the new figure; None follows matplotlib's settings.
    size : tuple of float
        Width and height of the figure if there is one plot, of each plot otherwise; inches.
    columns : int
        At most so many plots beside each other.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib import pyplot as plt
        from matplotlib.axes import Axes
    except ImportError as error:
        raise MissingExtraError(
            f"{name} needs matplotlib: pip install 'tinygrad-nn[plot]'"
        ) from error
    chosen: Any = {} if theme is None else settings(theme)
    if ax is not None:
        given = list(np.ravel(np.asarray(ax, dtype=object)))
        if not all(isinstance(one, Axes) for one in given):
            raise TypeError(f"ax takes matplotlib Axes, or a list of them, got {ax!r:.100}")
        if len(given) != count:
            raise ValueError(f"{name} draws {count} plots here, ax has {len(given)}")
        if theme is not None:
            raise ValueError("theme is for a new figure; the colours follow the axes given as ax")
        yield given
        return
    with mpl.rc_context():
        if chosen:
            mpl.rcdefaults()
        mpl.rcParams.update(chosen or _FORM)
        columns = min(columns, count)
        rows = -(-count // columns)
        figure, grid = plt.subplots(
            rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False
        )
        try:
            for left_over in grid.flat[count:]:
                left_over.remove()
            axes = list(grid.flat[:count])
            for one in axes:
                _keep(one)
            yield axes
        except BaseException:
            plt.close(figure)
            raise


def _keep(ax: Axes) -> None:
    """Write into axes what they would look up in the settings whenever they make a tick."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    rc: Any = rcParams
    side: Literal["x", "y"]
    for side in ("x", "y"):
        colour, label = rc[f"{side}tick.color"], rc[f"{side}tick.labelcolor"]
        ax.tick_params(
            axis=side,
            which="both",
            color=colour,
            labelcolor=colour if label == "inherit" else label,
            labelsize=FontProperties(size=rc[f"{side}tick.labelsize"]).get_size_in_points(),
            grid_color=rc["grid.color"],
            grid_linewidth=rc["grid.linewidth"],
            grid_alpha=rc["grid.alpha"],
        )


# --- text ----------------------------------------------------------------------------------------


def plain(text: Text) -> Text:
    """Make text be read letter by letter, neither as mathtext nor as TeX."""
    text.set_parse_math(False)
    text.set_usetex(False)
    return text


def literal(text: object, most: int = 48) -> str:
    """Return a name from a user for a label: printable, and with its middle left out if long."""
    name = shown(text)
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2) :]}"


def legend(where: Axes | Figure, entries: Sequence[tuple[Artist, str]], **keywords: Any) -> None:
    """Add a legend whose texts are taken literally, also those that begin with an underscore."""
    if not entries:
        return
    box = where.legend(
        [handle for handle, _ in entries], ["…"] * len(entries), frameon=False, **keywords
    )
    ink = look_of(where).ink  # settings may have changed since the axes were made
    for text, (_, label) in zip(box.get_texts(), entries, strict=True):
        plain(text).set(text=label, color=ink)


def number(x: float) -> str:
    """Write a measured number with four decimals, or three or four digits if small or large."""
    size = abs(x)
    if 0.0 < size < 0.001:
        return f"{x:.3g}"
    return f"{x:.4f}" if size < 10.0 else f"{x:.4g}" if size < 1000.0 else f"{x:,.0f}"


def short(x: float) -> str:
    """Write a number with two digits, or with its power of ten if that is shorter."""
    return f"{x:.2g}" if 1e-3 <= abs(x) < 1e4 or not np.isfinite(x) or not x else f"{x:.1e}"


# --- what plots have in common -------------------------------------------------------------------


def spread(look: Look, n: int) -> list[Any]:
    """Return n colours: the first ones, or where those do not suffice a scale from end to end."""
    if n <= len(look.series):
        return list(look.series[:n])
    from matplotlib import colormaps

    # One end would be hard to see on the paper.
    ends = (0.0, 0.85) if look is LOOKS["light"] else (0.25, 1.0)
    return [tuple(c) for c in colormaps["viridis"](np.linspace(*ends, n))]


def mark_not_finite(
    ax: Axes, x: Array, y: Array, label: str, colour: Any, row: int = 0
) -> list[tuple[Artist, str]]:
    """Mark at the upper edge where numbers are nan or infinite; return what the legend says of it.

    Parameters
    ----------
    ax : Axes
    x, y : ndarray, shape (n,)
    label : str
        Of the numbers.
    colour : colour
    row : int
        How many marks are above.
    """
    bad = ~np.isfinite(y)
    if not bad.any():
        return []
    height = 0.97 - 0.05 * (row % 8)
    (marks,) = ax.plot(
        x[bad], np.full(bad.sum(), height), transform=ax.get_xaxis_transform(), color=colour,
        linestyle="none", marker="x", markersize=7, markeredgewidth=2, clip_on=False, zorder=5,
    )  # fmt: skip
    kinds = [
        word
        for word, found in (
            ("nan", np.isnan(y)), ("inf", np.isposinf(y)), ("−inf", np.isneginf(y))
        )
        if found.any()
    ]  # fmt: skip
    places = _ranges(x, bad)
    return [(marks, f"{label + ' ' if label else ''}{' or '.join(kinds)} at {places}")]


def _ranges(x: Array, chosen: Array, most: int = 3) -> str:
    """Write which x were chosen, as in ``3, 5–9``: neighbours together, and a few of many."""
    at = np.flatnonzero(chosen)
    runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    words = [f"{x[r[0]]:g}" if len(r) == 1 else f"{x[r[0]]:g}–{x[r[-1]]:g}" for r in runs]
    more = [f"{len(words) - most} more places"] if len(words) > most else []
    return ", ".join(words[:most] + more)
