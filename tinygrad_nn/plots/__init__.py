"""Training, seen: its course, the functions in it, what it has learnt, and what flows back."""

from tinygrad_nn.plots.activations import plot_activations
from tinygrad_nn.plots.boundary import plot_decision_boundary
from tinygrad_nn.plots.flow import GradientFlow
from tinygrad_nn.plots.flow_plot import plot_gradient_flow
from tinygrad_nn.plots.history import plot_history

__all__ = [
    "GradientFlow", "plot_activations", "plot_decision_boundary", "plot_gradient_flow",
    "plot_history",
]  # fmt: skip
