"""The plot of what flows back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.nn.layers import Layer, Neuron
from tinygrad_nn.nn.module import Module
from tinygrad_nn.plots.flow import GradientFlow, dead_units
from tinygrad_nn.plots.style import (
    DASHES,
    canvas,
    legend,
    literal,
    look_of,
    mark_not_finite,
    short,
    spread,
)
from tinygrad_nn.tensor import Tensor

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["plot_gradient_flow"]

Array = npt.NDArray[Any]

#: So many lines have an entry each in the legend; of more, this many evenly spaced ones.
_MOST, _SOME = 12, 7

#: At most so many entries about nan and infinity.
_WRONG = 4


def plot_gradient_flow(
    source: GradientFlow | Module | Mapping[str, Tensor],
    *,
    relative: bool = False,
    ax: Any = None,
    theme: str | None = None,
) -> Any:
    """Draw the norm of each parameter's gradient, and the share of dead units.

    Parameters
    ----------
    source : GradientFlow, Module, or mapping of str to Tensor
        A record gives lines over the steps, a model (or parameters by name) a bar for each
        parameter's current gradient.
    relative : bool
        Draw the norm of each gradient divided by the norm of its parameter; there is no number
        where the parameter is 0, as biases are at first.
    ax : Axes, or array_like of two Axes
        Where to draw: the norms, and for a record the shares of dead units, which are left out if
        there is one Axes only. A new figure of pyplot by default.
    theme : {"light", "dark"} or None
        Of the new figure; by default it follows matplotlib's settings.

    Returns
    -------
    Axes, or ndarray of two Axes for a record of a model with layers

    Raises
    ------
    ValueError
        If the record is empty.
    RuntimeError
        If no parameter has a gradient.
    MissingExtraError
        If matplotlib is not installed.

    Notes
    -----
    The axis of the norms is logarithmic. A norm that is exactly 0 is drawn at the 0 that the axis
    then has (linear below the smallest other norm); nan and infinity are marked at the edge.
    Lines go by layer from input to output: one colour each, weights whole, biases dashed. For what
    counts as a dead unit see `GradientFlow`.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> from matplotlib.figure import Figure
    >>> model = tg.nn.MLP(2, [3, 1], rng=0)
    >>> np.mean(model(np.ones((4, 2)))).backward()
    >>> ax = tg.plot_gradient_flow(model, ax=Figure().subplots())
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """
    if isinstance(source, GradientFlow):
        return _over_time(source, relative, ax, theme)
    flow = GradientFlow(source)
    flow.record()
    parts = dict(source.named_modules()) if isinstance(source, Module) else {}
    return _bars(flow, parts, relative, ax, theme)


def _said(relative: bool) -> str:
    return "norm of gradient / norm of parameter" if relative else "norm of the gradient"


# --- over time -----------------------------------------------------------------------------------


def _over_time(flow: GradientFlow, relative: bool, ax: Any, theme: str | None) -> Any:
    if not len(flow):
        raise ValueError("the record is empty: call record() after backward()")
    plots = 2 if flow.layers and (ax is None or np.size(np.asarray(ax, object)) != 1) else 1
    with canvas("plot_gradient_flow", ax, plots, theme, (7.0, 3.1), columns=1) as axes:
        _norms(axes[0], flow, relative)
        if plots == 2:
            _shares(axes[1], flow)
        axes[-1].set_xlabel("step")
        if plots == 2 and ax is None:
            axes[0].sharex(axes[1])
            axes[0].tick_params(labelbottom=False)
    return axes[0] if plots == 1 else np.array(axes)


def _norms(ax: Axes, flow: GradientFlow, relative: bool) -> None:
    values = flow.ratios if relative else flow.gradient_norms
    owners = list(dict.fromkeys(name.rpartition(".")[0] or name for name in flow.names))
    colours = spread(look_of(ax), len(owners))
    seen = dict.fromkeys(owners, -1)  # parameters of each layer so far
    # What has no gradient, or no size to compare it with, is no number gone wrong.
    known = flow.reached & ((flow.parameter_norms > 0.0) | np.array(not relative))
    entries: list[tuple[Artist, str]] = []
    marks: list[tuple[Artist, str]] = []
    for i, name in enumerate(flow.names):
        owner = name.rpartition(".")[0] or name
        seen[owner] += 1
        colour, y = colours[owners.index(owner)], values[:, i]
        there = known[:, i]
        (line,) = ax.plot(
            flow.steps, np.where(np.isfinite(y), y, np.nan), color=colour,
            linestyle=DASHES[seen[owner] % len(DASHES)], linewidth=1.6,
            marker="o" if len(flow) <= 20 else None, markersize=3,
        )  # fmt: skip
        if seen[owner] == 0 or len(flow.names) <= _MOST:
            none = "" if flow.reached[:, i].any() else " (no gradient)"
            entries.append((line, literal(name) + none))
        marks += mark_not_finite(ax, flow.steps[there], y[there], literal(name), colour, len(marks))
    _logarithmic(ax, values)
    ax.set_ylabel(_said(relative))
    _beside(ax, entries, marks)


def _shares(ax: Axes, flow: GradientFlow) -> None:
    colours = spread(look_of(ax), len(flow.layers))
    entries = []
    for i, name in enumerate(flow.layers):
        (line,) = ax.plot(
            flow.steps, flow.dead[:, i], color=colours[i], linestyle=DASHES[i % len(DASHES)],
            linewidth=1.8, marker="o" if len(flow) <= 20 else None, markersize=3,
        )  # fmt: skip
        entries.append((line, literal(name)))
    ax.set_ylim(-0.04, 1.04)
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set_ylabel("share of dead units")
    _beside(ax, entries, [])


def _beside(ax: Axes, entries: Sequence[Any], marks: Sequence[Any]) -> None:
    """Put a legend beside the axes; of very many lines it names some, whose colours are a scale."""
    if len(entries) > _MOST:
        entries = [entries[round(i)] for i in np.linspace(0, len(entries) - 1, _SOME)]
    if len(marks) > _WRONG:
        rest = (marks[_WRONG][0], f"{len(marks) - _WRONG + 1} more with nan or inf")
        marks = [*marks[: _WRONG - 1], rest]
    legend(
        ax, [*entries, *marks], loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0.0,
        fontsize="small",
    )  # fmt: skip


def _logarithmic(ax: Axes, values: Array) -> None:
    """Make the vertical axis logarithmic, with a place for 0 if that occurs."""
    positive = values[np.isfinite(values) & (values > 0.0)]
    if not positive.size:
        return
    if not (values == 0.0).any():
        ax.set_yscale("log")
        return
    # Linear from 0 to the smallest power of ten, then logarithmic: 0 has a place of its own.
    low, high = 10.0 ** math.floor(math.log10(positive.min())), float(positive.max())
    ax.set_yscale("symlog", linthresh=low, linscale=0.6)
    decades = max(1, math.ceil(math.log10(high / low)))
    ax.set_yticks([0.0, *(low * 10.0**k for k in range(0, decades + 1, -(-decades // 7)))])
    ax.set_ylim(-0.25 * low, 2.0 * high)


# --- now -----------------------------------------------------------------------------------------


def _bars(
    flow: GradientFlow, parts: dict[str, Any], relative: bool, ax: Any, theme: str | None
) -> Axes:
    values = (flow.ratios if relative else flow.gradient_norms)[0]
    rows = np.arange(len(values))
    height = max(2.2, 0.8 + 0.36 * len(values))
    with canvas("plot_gradient_flow", ax, 1, theme, (7.0, height)) as (one,):
        look = look_of(one)
        sound = np.where(np.isfinite(values), values, 0.0)
        one.barh(rows, sound, color=look.series[0], height=0.62)
        if sound.any():
            # A bar is as long as its norm is above the foot, which lies below the least of them.
            foot = 10.0 ** math.floor(math.log10(sound[sound > 0.0].min()) - 0.3)
            one.set(xscale="log", xlim=(foot, 2.0 * sound.max()))
            one.xaxis.set_minor_formatter("")
        for row, (value, name, there) in enumerate(
            zip(values, flow.names, flow.reached[0], strict=True)
        ):
            good = there and math.isfinite(value)
            words = short(value) if good else f"× {value}" if there else "no gradient"
            if relative and flow.parameter_norms[0, row] == 0.0 and there:
                words = "the parameter is 0"
            owner, _, kind = name.rpartition(".")
            part = parts.get(owner)
            if kind == "weight" and isinstance(part, Layer | Neuron) and (dead := dead_units(part)):
                words += f", {dead} of {part.weight.data[0].size} units dead"
            one.annotate(
                words, (value if good and value > 0.0 else one.get_xlim()[0], row), xytext=(5, 0),
                textcoords="offset points", va="center", fontsize="small",
                color=look.ink if good and value > 0.0 else look.series[1],
                fontweight="normal" if good and value > 0.0 else "bold", annotation_clip=False,
            )  # fmt: skip
        one.set_yticks(rows, [literal(name) for name in flow.names], parse_math=False, usetex=False)
        one.set_ylim(len(values) - 0.4, -0.6)
        one.grid(False, axis="y")
        one.set_xlabel(_said(relative))
    return one
