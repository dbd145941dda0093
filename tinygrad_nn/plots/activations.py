"""Activation functions beside their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.activations import ACTIVATIONS
from tinygrad_nn.activations import activation as named_activation
from tinygrad_nn.gradcheck.sampling import find_kinks
from tinygrad_nn.graph import no_grad
from tinygrad_nn.plots.style import canvas, legend, literal, look_of
from tinygrad_nn.tensor import Tensor
from tinygrad_nn.transforms import elementwise_grad

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_activations"]

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]


def plot_activations(
    names: str | Function | Sequence[str | Function] | None = None,
    *,
    domain: tuple[float, float] = (-4.0, 4.0),
    ax: Any = None,
    theme: str | None = None,
) -> Any:
    """Draw activation functions, each with its derivative.

    The derivative is the engine's. Where it jumps, its line is interrupted: a dot is the value that
    the engine takes there, a ring a limit from the side.

    Parameters
    ----------
    names : str, callable, or sequence of them, or None
        Keys of `tinygrad_nn.ACTIVATIONS`, or functions of a tensor; all activations by default.
    domain : tuple of float
        The interval to draw.
    ax : Axes, or array_like of Axes
        Where to draw, one for each function; a new figure of pyplot by default.
    theme : {"light", "dark"} or None
        Of the new figure; by default it follows matplotlib's settings.

    Returns
    -------
    Axes, or ndarray of Axes if there are several functions

    Raises
    ------
    ValueError
        If there is no activation of a name, no name at all, or the domain is no interval.
    MissingExtraError
        If matplotlib is not installed.

    Notes
    -----
    A function whose results depend on other elements too, such as ``softmax``, is drawn as its
    first result for the input ``(x, 0)``; the title says so. Kinks are found by
    `tinygrad_nn.gradcheck.find_kinks`, whose limits hold here.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> from matplotlib.figure import Figure
    >>> ax = tg.plot_activations("tanh", ax=Figure().subplots())
    >>> ax.get_title()
    'tanh'
    """
    chosen = _chosen(names)
    lo, hi = (float(end) for end in domain)
    if not (np.isfinite([lo, hi]).all() and lo < hi):
        raise ValueError(f"domain must be an interval (lo, hi), got {domain!r}")
    size = (5.4, 3.8) if len(chosen) == 1 else (2.35, 2.05)
    columns = 5 if len(chosen) > 8 else min(4, len(chosen))
    with canvas("plot_activations", ax, len(chosen), theme, size, columns) as axes:
        for one, (title, function) in zip(axes, chosen, strict=True):
            entries = _draw(one, title, function, lo, hi)
            one.set_xlabel("x" if len(axes) == 1 or ax is not None else "")
            if len(axes) == 1 or ax is not None:
                legend(one, entries, loc="best")
        if len(axes) > 1 and ax is None:
            figure = axes[0].get_figure(root=True)
            assert figure is not None
            figure.supxlabel("x", fontsize="medium")
            legend(figure, entries, loc="outside upper right", ncols=2)
    return axes[0] if len(axes) == 1 else np.array(axes)


def _chosen(names: Any) -> list[tuple[str, Function]]:
    if names is None:
        names = list(ACTIVATIONS)
    listed = [names] if isinstance(names, str) or callable(names) else list(names)
    if not listed:
        raise ValueError("no activation to draw: give names, or None for all of them")
    found = []
    for name in listed:
        function = named_activation(name)
        if function is None:
            raise ValueError("None is no activation: give a name or a function")
        own = getattr(name, "__name__", getattr(name, "name", type(name).__name__))
        found.append((name if isinstance(name, str) else str(own), function))
    return found


def _draw(ax: Axes, title: str, function: Function, lo: float, hi: float) -> list[Any]:
    """Draw one function and its derivative; return what a legend says."""
    f, coupled = _elementwise(function, lo, hi)
    slope = elementwise_grad(f)
    kinks = find_kinks(f, (lo, hi))
    look = look_of(ax)
    blue, red = look.series[:2]
    x = np.unique(np.concatenate([np.linspace(lo, hi, 601), kinks]))
    y, dy = _values(f, x), _values(slope, x)
    rings = []
    for kink in kinks:
        # Beyond the error of a kink that is no round number.
        aside = kink + 1e-9 * max(1.0, abs(kink)) * np.array([-1.0, 1.0])
        limits, at = _values(slope, aside), float(_values(slope, np.array([kink]))[0])
        i = int(np.searchsorted(x, kink))
        jump = float(np.ptp(_values(f, aside))) > 1e-6
        if jump or np.ptp(limits) > 1e-6 * (1.0 + abs(limits).max()):
            x = np.insert(np.delete(x, i), i, [aside[0], kink, aside[1]])
            y = np.insert(y, [i, i + 1], _values(f, aside))
            if jump:
                y[i + 1] = np.nan
            dy = np.insert(np.delete(dy, i), i, [limits[0], np.nan, limits[1]])
            rings += [(kink, limit) for limit in limits if not np.isclose(limit, at, atol=1e-6)]
            ax.plot(kink, at, marker="o", markersize=4, color=red, zorder=4)
    ax.axhline(0.0, color=look.muted, linewidth=0.7, zorder=0)
    ax.axvline(0.0, color=look.muted, linewidth=0.7, zorder=0)
    (above,) = ax.plot(x, y, color=blue, linestyle="-", zorder=3)
    (below,) = ax.plot(x, dy, color=red, linestyle="--", linewidth=1.7, zorder=3)
    if rings:
        ax.plot(
            *np.transpose(rings), marker="o", markersize=4, linestyle="none", color=red,
            markerfacecolor=ax.get_facecolor(), zorder=4,
        )  # fmt: skip
    ax.set_xlim(lo, hi)
    ax.grid(False)
    ax.set_title(
        literal(title, 24) + (" of (x, 0)" if coupled else ""), fontsize="medium",
        parse_math=False, usetex=False,
    )  # fmt: skip
    return [(above, "f(x)"), (below, "derivative")]


def _elementwise(function: Function, lo: float, hi: float) -> tuple[Function, bool]:
    """Return a function of single numbers, and whether `function` couples elements."""
    sample = np.linspace(lo, hi, 7)
    whole = _values(function, sample)
    if whole.shape == sample.shape:
        alone = np.concatenate([_values(function, sample[i : i + 1]) for i in range(7)])
        if np.allclose(whole, alone, equal_nan=True):
            return function, False
    return lambda x: function(np.stack([x, x * 0.0], axis=-1))[..., 0], True


def _values(f: Function, x: Array) -> Array:
    with no_grad():
        return np.asarray(_data(f(x)), float)


def _data(y: Any) -> Any:
    return y.data if isinstance(y, Tensor) else y
