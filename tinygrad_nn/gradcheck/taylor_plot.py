"""The picture of a Taylor test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_nn.errors import MissingExtraError
from tinygrad_nn.gradcheck.taylor import Taylor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot"]

# From the palette of M. Okabe and K. Ito, which people with any colour vision can tell apart, on
# white and on black: https://jfly.uni-koeln.de/color/
_REMAINDER, _BEHIND, _ZEROTH, _GREY = "#0072B2", "#CC79A7", "#D55E00", "#808488"


def plot(taylor: Taylor, ax: Axes | None = None) -> Axes:
    """Draw a Taylor test. See `Taylor.plot`."""
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import NullFormatter
    except ImportError as error:
        raise MissingExtraError(
            "a plot needs matplotlib: pip install 'tinygrad-nn[plot]'"
        ) from error
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 4.6), layout="constrained")
    h, floor = np.array(taylor.steps), np.array(taylor.floor)
    sizes = [np.array(s) for s in (taylor.zeroth, taylor.remainders, taylor.behind)]
    # On a logarithmic axis 0 is nowhere: what is below the floor's own foot is drawn on it.
    everything = np.concatenate([floor, *sizes])
    foot = 0.01 * float(np.min(floor[np.isfinite(floor)], initial=1e-14))
    top = float(np.max(everything[np.isfinite(everything)], initial=100.0 * foot))
    ax.set(xscale="log", yscale="log", ylim=(0.5 * foot, 5.0 * top))
    ax.fill_between(h, 0.5 * foot, floor, color=_GREY, alpha=0.25, linewidth=0, label="rounding")
    for sizes_of, color, marker, style, label in zip(
        sizes,
        (_ZEROTH, _REMAINDER, _BEHIND),
        ("s", "o", "x"),
        ("--", "-", ":"),
        (
            r"$|\varphi(h) - \varphi(0)|$",
            r"remainder $|\varphi(h) - \varphi(0) - h\,\langle g, v\rangle|$",
            r"remainder at $-h$",
        ),
        strict=True,
    ):
        ax.plot(
            h, np.maximum(sizes_of, foot), color=color, marker=marker, linestyle=style,
            markersize=8 if marker == "x" else 6, label=label,
        )  # fmt: skip
    for power, dots, of in ((1, 1, sizes[0]), (2, 4, np.fmax(*sizes[1:]))):
        at = np.fmax(of[0], floor[0])
        reference = 2.0 * at * (h / h[0]) ** power
        seen = reference > foot
        ax.plot(
            h[seen], reference[seen], color=_GREY, linewidth=1.0, linestyle=(0, (dots, 2)),
            label=f"slope {power}",
        )  # fmt: skip
    ax.invert_xaxis()
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("step h along a random direction v (a part of each element's size)")
    ax.set_ylabel("size")
    slope = "" if math.isnan(taylor.slope) else f"slope {taylor.slope:.2f}, "
    if math.isinf(taylor.slope):
        slope = ""
    ax.set_title(f"Taylor remainder: {slope}{taylor.words}", fontsize="medium", loc="left")
    ax.legend(frameon=False, fontsize="small")
    return ax
