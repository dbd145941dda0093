"""What drawings look like, as files: golden/ holds four graphs, each in four forms.

Every line of them has been read and found right; a change of how graphs are written is to be read
there too. ``python tests/test_draw_golden.py`` writes the files anew, for `git diff` to show what
has changed. All numbers are sums of few powers of two, and all sizes are powers of two, so that no
machine has anything to round, not in a mean either.
"""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import nn
from tinygrad_nn.draw import Drawing, draw

GOLDEN = Path(__file__).parent / "golden"


def neuron() -> Drawing:
    """Draw two inputs, their weights, a bias and a ReLU, of single numbers."""
    x1, x2 = tg.Value(2.0, label="x1"), tg.Value(0.5, label="x2")
    w = {"w1": tg.Value(-3.0), "w2": tg.Value(1.0), "b": tg.Value(6.75)}
    n = x1 * w["w1"] + x2 * w["w2"] + w["b"]
    n.label = "n"
    o = n.relu()
    o.label = "o"
    return draw(o, w)


def set_parameters(model: nn.Module) -> None:
    """Give a model parameters that are multiples of 1/4, other ones in every column."""
    for parameter in model.parameters():
        count = np.arange(parameter.data.size).reshape(parameter.shape)
        parameter.data = ((count * 3 % 7 - 3) / 4).astype("float32")


def network() -> Drawing:
    """Draw two layers and a loss. Two of the hidden units are off for every row."""
    model = nn.MLP(2, [4, 2], rng=0)
    set_parameters(model)
    x = tg.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype="float32", label="x")
    target = np.array([[0.0, 1.0], [1.0, 0.0]], "float32")
    loss = tg.losses.mse_loss(model(x), target)
    return draw({"loss": loss}, model)


def folded() -> Drawing:
    """Draw four layers, each as a box, the equal ones as one."""
    model = nn.MLP(2, [4, 4, 4, 1], rng=0)
    set_parameters(model)
    x = tg.tensor([[1.0, -0.5], [0.5, 1.0]], dtype="float32", label="x")
    out = np.mean(model(x))
    return draw(out, model, depth=1)


def plan() -> Drawing:
    """Draw what a compiled step computes: a loss, its gradient, an update in place."""
    step = run_path(str(GOLDEN / "step.py"))["step"]
    for _ in range(3):
        step(np.array([0.5, 0.25]))
    return draw(step)


GRAPHS = {make.__name__: make for make in (neuron, network, folded, plan)}
SUFFIXES = ("dot", "json", "mmd", "txt")
FILES = [(graph, suffix) for graph in GRAPHS for suffix in SUFFIXES]


@pytest.mark.parametrize(("graph", "suffix"), FILES)
def test_every_byte_is_as_it_was_read(graph: str, suffix: str, tmp_path: Path) -> None:
    name = f"{graph}.{suffix}"
    written = GRAPHS[graph]().save(tmp_path / name).read_bytes()
    # As text first, for which pytest shows the lines that differ.
    assert written.decode() == (GOLDEN / name).read_text("utf-8"), f"python {__file__} rewrites it"
    assert written == (GOLDEN / name).read_bytes()


def test_no_file_is_left_over() -> None:
    found = {path.name for path in GOLDEN.iterdir() if path.is_file()}
    assert found == {f"{graph}.{suffix}" for graph, suffix in FILES} | {"step.py"}


if __name__ == "__main__":
    for graph, suffix in FILES:
        GRAPHS[graph]().save(GOLDEN / f"{graph}.{suffix}")
