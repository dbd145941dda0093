"""Plots show the numbers that they were given, in the axes they were given, and nothing leaks."""

from __future__ import annotations

import csv
import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import mpmath
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import tinygrad_nn as tg
from tinygrad_nn.job.training import History
from tinygrad_nn.plots.flow import norm
from tinygrad_nn.plots.history import epoch_ticks
from tinygrad_nn.plots.style import LOOKS, look_of

mpl.use("Agg")
import matplotlib.pyplot as plt

NASTY = "$\\frac{x$ <script>alert(1)</script> \x1b[31m \u202e"


@pytest.fixture(autouse=True)
def no_figures():
    plt.close("all")
    yield
    plt.close("all")


def axes(n=None):
    return Figure().subplots() if n is None else Figure().subplots(1, n)


def lines(ax):
    """Return the lines that hold data: not the marks at the edge."""
    return [line for line in ax.lines if line.get_linestyle() != "None"]


def legend(ax):
    box = ax.get_legend()
    return [] if box is None else [text.get_text() for text in box.get_texts()]


def xy(line):
    return line.get_xdata(orig=True), line.get_ydata(orig=True)


# --- what all have in common ---------------------------------------------------------------------


def two_inputs(model=None, **keywords):
    x = np.array([[-1.0, -1.0], [1.0, 1.0], [0.5, -0.5]])
    model = model or (lambda p: p[:, 0] * 3.0)
    return tg.plot_decision_boundary(model, x, [0, 1, 1], **keywords)


def network(**keywords):
    model = tg.nn.MLP(2, [4, 3, 1], rng=0, **keywords)
    np.mean(model(np.ones((5, 2)))).backward()
    return model


def record(n=3):
    model = network()
    flow = tg.GradientFlow(model)
    for _ in range(n):
        flow.record()
    return flow


HISTORY = {"loss": [3.0, 0.5, 0.01], "val_loss": [3.0, 0.7, 0.4], "val_acc": [0.1, 0.4, 0.9]}
PLOTS = {
    "history": (2, lambda **k: tg.plot_history(HISTORY, **k)),
    "history of nan": (1, lambda **k: tg.plot_history([1.0, np.nan, np.inf, 2.0, -np.inf], **k)),
    "nothing finite": (1, lambda **k: tg.plot_history([np.nan], **k)),
    "zeros": (1, lambda **k: tg.plot_history([0.0, 0.0], **k)),
    "activations": (14, lambda **k: tg.plot_activations(**k)),
    "activation": (1, lambda **k: tg.plot_activations("relu", **k)),
    "boundary": (1, lambda **k: two_inputs(**k)),
    "not finite": (1, lambda **k: two_inputs(lambda p: np.where(p[:, 0] > 0, np.nan, 2.0), **k)),
    "three classes": (
        1,
        lambda **k: tg.plot_decision_boundary(
            lambda p: np.stack([p[:, 0], p[:, 1], 0 * p[:, 0]], 1), np.eye(3, 2), [0, 1, 2], **k
        ),
    ),
    "flow": (2, lambda **k: tg.plot_gradient_flow(record(), **k)),
    "ratios": (2, lambda **k: tg.plot_gradient_flow(record(), relative=True, **k)),
    "gradients": (1, lambda **k: tg.plot_gradient_flow(network(), **k)),
    "relative": (1, lambda **k: tg.plot_gradient_flow(network(), relative=True, **k)),
}  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark", None])
@pytest.mark.parametrize("name", PLOTS)
def test_a_new_figure_of_pyplot_keeps_its_style(name, theme, tmp_path):
    count, plot = PLOTS[name]
    before = dict(mpl.rcParams)
    made = plot(theme=theme)
    assert dict(mpl.rcParams) == before
    assert len(np.ravel(np.asarray(made, object))) == count
    assert isinstance(made, np.ndarray) == (count > 1)
    first = np.ravel(np.asarray(made, object))[0]
    figure = first.get_figure(root=True)
    assert plt.get_fignums() == [figure.number]
    figure.savefig(tmp_path / "outside.png")  # and no warning, which would be an error
    assert dict(mpl.rcParams) == before
    if theme:
        look = LOOKS[theme]
        assert to_rgb(figure.get_facecolor()) == to_rgb(look.paper)
        drawn = np.ravel(np.asarray(made, object))[:3]
        for one in drawn:
            one.set_xlim(*(v * 1.1 for v in one.get_xlim()))  # new ticks, made now
        figure.canvas.draw()
        for one in drawn:
            for tick in [*one.xaxis.get_ticklabels(), *one.yaxis.get_ticklabels()]:
                assert to_rgb(tick.get_color()) == to_rgb(look.muted)
            assert to_rgb(one.yaxis.label.get_color()) == to_rgb(look.ink)


@pytest.mark.parametrize("name", PLOTS)
def test_given_axes_are_used_and_pyplot_is_left_alone(name):
    count, plot = PLOTS[name]
    given = axes(count) if count > 1 else axes()
    made = plot(ax=given)
    assert plt.get_fignums() == []
    if count == 1:
        assert made is given
    else:
        assert list(made) == list(np.ravel(given))
    assert all(one.has_data() for one in np.ravel(np.asarray(given, object)))


@pytest.mark.parametrize("name", PLOTS)
def test_bad_axes_and_themes(name):
    count, plot = PLOTS[name]
    with pytest.raises(ValueError, match=f"draws {count} plots here, ax has {count + 3}"):
        plot(ax=axes(count + 3))
    with pytest.raises(TypeError, match="ax takes matplotlib Axes"):
        plot(ax="here")
    with pytest.raises(ValueError, match="theme must be 'light', 'dark' or None, got 'blue'"):
        plot(theme="blue")
    with pytest.raises(ValueError, match="theme is for a new figure"):
        plot(theme="dark", ax=axes(count) if count > 1 else axes())
    assert plt.get_fignums() == []


@pytest.mark.parametrize("paper", ["black", "white", "none"])
def test_colours_follow_the_axes_that_are_given(paper):
    figure = Figure(facecolor="black")
    ax = figure.subplots()
    ax.set_facecolor(paper)
    tg.plot_history(HISTORY, "loss", ax=ax)
    look = LOOKS["light" if paper == "white" else "dark"]
    assert look_of(ax) is look
    assert [line.get_color() for line in lines(ax)] == list(look.series[:2])
    assert {text.get_color() for text in ax.get_legend().get_texts()} == {look.ink}


def test_settings_are_followed_without_a_theme():
    with mpl.rc_context({"axes.facecolor": "#000022", "font.size": 17.0}):
        ax = tg.plot_history([1.0, 0.5])
    assert to_rgb(ax.get_facecolor()) == to_rgb("#000022")
    assert lines(ax)[0].get_color() == LOOKS["dark"].series[0]
    assert ax.xaxis.label.get_fontsize() == 17.0


def test_a_figure_is_closed_when_drawing_fails(monkeypatch):
    monkeypatch.setattr("tinygrad_nn.plots.history.draw_quantity", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tg.plot_history([1.0])
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "call",
    ["plot_history([1.0])", "plot_activations()", "plot_decision_boundary(f, [[0, 1]], [1])",
     "plot_gradient_flow(model)"],
)  # fmt: skip
def test_without_matplotlib(call):
    code = (
        "import sys; sys.modules['matplotlib'] = None\nimport numpy as np, tinygrad_nn as tg\n"
        "f = lambda p: p[:, 0] - 9.0\nmodel = tg.nn.MLP(2, [1])\n"
        "np.sum(model([1.0, 2.0])).backward()\ntg.GradientFlow(model).record()\n"
        f"try: tg.{call}\nexcept tg.MissingExtraError as e: print(e)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    name = call.partition("(")[0]
    assert result.stdout == f"{name} needs matplotlib: pip install 'tinygrad-nn[plot]'\n", result


def test_names_are_taken_literally(tmp_path):
    model = tg.nn.Sequential()
    model.parts = {NASTY: tg.nn.Layer(2, 2, rng=0), "_hidden": tg.nn.Layer(2, 1, rng=0)}
    np.mean(model.parts["_hidden"](model.parts[NASTY](np.ones((2, 2))))).backward()
    flow = tg.GradientFlow(model)
    flow.record()

    def relu(x):
        return np.maximum(x, 0.0)

    relu.__name__ = NASTY
    made = [
        tg.plot_history({NASTY: [1.0, np.nan], f"val_{NASTY}": [1.0, 2.0], "_b": [1.0, 2.0]}),
        tg.plot_activations(relu),
        tg.plot_decision_boundary(
            lambda p: p[:, 0], [[0.0, 1.0], [1.0, 0.0]], [NASTY, "_x"], classes=[NASTY, "_x"],
            features=[NASTY, NASTY],
        ),
        tg.plot_gradient_flow(flow),
        tg.plot_gradient_flow(model),
    ]  # fmt: skip
    shown = 0
    for one in made:
        for ax in np.ravel(np.asarray(one, object)):
            figure = ax.get_figure(root=True)
            figure.savefig(tmp_path / "names.svg")
            for text in figure.findobj(mpl.text.Text):
                assert "\x1b" not in text.get_text()
                assert "\u202e" not in text.get_text()
                if "\\frac" in text.get_text():
                    shown += 1
                    assert not text.get_parse_math()
                    assert not text.get_usetex()
    assert shown > 10
    first, second = legend(made[3][1])
    assert "<script>" in first
    assert second == "parts._hidden"


# --- histories -----------------------------------------------------------------------------------


def test_parts_of_the_data_share_a_plot():
    losses, scores = tg.plot_history(HISTORY)
    (_, train), (x, test) = map(xy, lines(losses))
    np.testing.assert_array_equal(train, HISTORY["loss"])
    np.testing.assert_array_equal(test, HISTORY["val_loss"])
    np.testing.assert_array_equal(x, [1, 2, 3])
    assert legend(losses) == ["training", "validation"]
    first, second = lines(losses)
    for differ in ("get_color", "get_linestyle", "get_marker"):
        assert getattr(first, differ)() != getattr(second, differ)()
    assert losses.get_ylabel() == "loss"
    assert losses.get_yscale() == "log"
    np.testing.assert_array_equal(xy(lines(scores)[0])[1], HISTORY["val_acc"])
    assert lines(scores)[0].get_color() == second.get_color()  # of the same part
    assert scores.get_yscale() == "linear"
    assert [t.get_text() for t in losses.texts] == ["0.4000"]
    assert [t.get_text() for t in scores.texts] == ["90.0%"]


ROWS = [{"loss": 3.0, "val_loss": 4.0}, {"loss": 2.0}, {"loss": 1.0, "val_loss": None}]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([3.0, 2.0], [([1, 2], [3.0, 2.0])]),
        ((3, 2), [([1, 2], [3.0, 2.0])]),
        (np.array([3.0, 2.0], "f"), [([1, 2], [3.0, 2.0])]),
        ([tg.tensor(3.0), tg.Value(2.0), np.array([1.0])], [([1, 2, 3], [3.0, 2.0, 1.0])]),
        ({"step": [10, 20], "loss": [3.0, 2.0]}, [([10, 20], [3.0, 2.0])]),
        ({"loss": [3.0, None, 1.0]}, [([1, 3], [3.0, 1.0])]),
        (SimpleNamespace(history={"loss": [3.0]}), [([1], [3.0])]),
        (ROWS, [([1, 2, 3], [3.0, 2.0, 1.0]), ([1], [4.0])]),
        ({"train/loss": [1.0], "Test/loss": [2.0]}, [([1], [1.0]), ([1], [2.0])]),
        ({"test_loss": [1.0], "train_loss": [2.0]}, [([1], [1.0]), ([1], [2.0])]),
    ],
)
def test_forms_of_a_history(history, expected):
    ax = tg.plot_history(history, ax=axes())
    drawn = [xy(line) for line in lines(ax)]
    assert len(drawn) == len(expected)
    for (x, y), (expected_x, expected_y) in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)


def test_a_history_of_the_command_line(tmp_path):
    history = History()
    for i in range(4):
        history.append({f"{p}_{n}": i + 0.5 for p in ("train", "test") for n in ("rmse", "r2")})
    path = tmp_path / "history.csv"
    path.write_text(history.to_csv())
    for given in (history, path, str(path)):
        rmse, r2 = tg.plot_history(given, ax=axes(2))
        for ax in (rmse, r2):
            assert ax.get_xlabel() == "epoch"
            assert legend(ax) == ["training", "test"]
            for line in lines(ax):
                np.testing.assert_array_equal(xy(line), [[1, 2, 3, 4], [0.5, 1.5, 2.5, 3.5]])
    only = tg.plot_history(path, "rmse", ax=axes())
    assert only.get_ylabel() == "rmse"


def test_gaps_are_shown_and_told():
    y = [1.0, np.nan, 2.0, np.inf, -np.inf, 3.0]
    ax = tg.plot_history({"loss": y}, ax=axes())
    np.testing.assert_array_equal(xy(lines(ax)[0])[1], [1.0, np.nan, 2.0, np.nan, np.nan, 3.0])
    (marks,) = [line for line in ax.lines if line.get_linestyle() == "None"]
    np.testing.assert_array_equal(marks.get_xdata(), [2, 4, 5])
    assert 0.5 < marks.get_ydata()[0] < 1.0  # of the height of the axes
    assert legend(ax)[-1] == "loss nan or inf or −inf at 2, 4–5"
    assert marks.get_marker() == "x"
    many = tg.plot_history(np.where(np.arange(100) % 2, np.nan, 1.0), ax=axes())
    assert "more places" in legend(many)[-1]
    assert lines(many)[0].get_marker() == "o"  # numbers alone between gaps are no line


@pytest.mark.parametrize(
    ("values", "log", "scale"),
    [
        ({"loss": [100.0, 1.0]}, None, "log"),
        ({"loss": [49.0, 1.0]}, None, "linear"),
        ({"loss": [49.0, 1.0]}, True, "log"),
        ({"loss": [100.0, 1.0]}, False, "linear"),
        ({"loss": [100.0, 0.0]}, None, "linear"),
        ({"accuracy": [0.01, 0.99]}, None, "linear"),
        ({"loss": [1e300, 1e-300]}, None, "log"),
        ({"loss": [5e-324, 1e308]}, None, "log"),
    ],
)
def test_scales(values, log, scale):
    ax = tg.plot_history(values, log=log, ax=axes())
    assert ax.get_yscale() == scale
    ax.figure.savefig("/dev/null", format="png")


def test_percent_is_for_shares():
    for values, percent in (([0.2, 0.9], True), ([20.0, 90.0], False)):
        ax = tg.plot_history({"accuracy": values}, ax=axes())
        ax.figure.canvas.draw()
        assert ax.yaxis.get_ticklabels()[1].get_text().endswith("%") == percent


@pytest.mark.parametrize(
    ("history", "error", "words"),
    [
        ([], ValueError, "the history is empty"),
        ({}, ValueError, "the history is empty"),
        ({"loss": []}, ValueError, "the history is empty"),
        ({"loss": [1.0], "acc": [1.0, 2.0]}, ValueError, "'loss' has 1, 'acc' has 2"),
        ({"loss": 1.0}, TypeError, "a list of numbers for 'loss', got 1.0"),
        ({"loss": np.array(1.0)}, TypeError, "a list of numbers for 'loss'"),
        (3.0, TypeError, "a list of numbers for 'the history'"),
        (["a"], TypeError, "a number as entry 0 of 'loss', got 'a'"),
        ([[1.0, 2.0]], TypeError, "a number as entry 0 of 'loss'"),
        ([1j], TypeError, "a number as entry 0"),
        ({"epoch": [1]}, ValueError, "no column beside 'epoch'"),
        ({"epoch": [1, np.nan], "loss": [1, 2]}, ValueError, "'epoch' must hold a finite number"),
        ({"val_x": [1], "valid_x": [1]}, ValueError, "two columns hold 'x' of the validation"),
    ],
)
def test_bad_histories(history, error, words):
    with pytest.raises(error, match=words):
        tg.plot_history(history)
    assert plt.get_fignums() == []


def test_bad_choices():
    with pytest.raises(ValueError, match="no 'los'; it has 'loss', 'acc'"):
        tg.plot_history(HISTORY, "los")
    with pytest.raises(ValueError, match="it has 'loss'"):
        tg.plot_history([1.0], [])
    with pytest.raises(ValueError, match="0 or below"):
        tg.plot_history([1.0, 0.0], log=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"), ("epoch,loss\n", "history is empty"), ("a,a\n1,2\n", "stands twice"),
        ("epoch,loss\n1,2\n3\n", "line 3: 1 fields, the header has 2"), (b"\xff\xfe\x00", "UTF-8"),
        ("loss\n" + "1" * (csv.field_size_limit() + 1), "CSV"),
    ],
)  # fmt: skip
def test_bad_files(text, words, tmp_path):
    path = tmp_path / "history.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=words):
        tg.plot_history(path)
    with pytest.raises(FileNotFoundError):
        tg.plot_history(tmp_path / "none.csv")


@pytest.mark.parametrize("n", [1, 2, 3, 7, 9, 10, 12, 17, 30, 57, 100, 101, 1000, 12345, 10**6])
def test_ticks_of_epochs(n):
    ticks = epoch_ticks(n)
    assert (ticks[0], ticks[-1]) == (1, n)
    assert len(ticks) <= 10
    if n > 1:
        assert len(ticks) > min(n, 4) - 1
        assert min(np.diff(ticks)) >= (n - 1) / 20  # numbers side by side, not on each other


# --- activations ---------------------------------------------------------------------------------


def phi(x):
    return (1 + mpmath.erf(x / mpmath.sqrt(2))) / 2


def sigma(x):
    return 1 / (1 + mpmath.exp(-x))


ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
CUBIC = mpmath.sqrt(2 / mpmath.pi)

#: Written anew from the papers, in mpmath, which differentiates them.
FORMULAS = {
    "relu": lambda x: max(x, 0), "leaky_relu": lambda x: x if x > 0 else x / 100,
    "elu": lambda x: x if x > 0 else mpmath.exp(x) - 1,
    "selu": lambda x: SCALE * (x if x > 0 else ALPHA * (mpmath.exp(x) - 1)),
    "gelu": lambda x: x * phi(x),
    "gelu_tanh": lambda x: x / 2 * (1 + mpmath.tanh(CUBIC * (x + 0.044715 * x**3))),
    "silu": lambda x: x * sigma(x), "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "sigmoid": sigma, "log_sigmoid": lambda x: mpmath.log(sigma(x)), "tanh": mpmath.tanh,
    "hard_tanh": lambda x: min(max(x, -1), 1),
    "softmax": lambda x: mpmath.exp(x) / (mpmath.exp(x) + 1),
    "log_softmax": lambda x: mpmath.log(mpmath.exp(x) / (mpmath.exp(x) + 1)),
}  # fmt: skip

#: Kink -> the derivative below, at, and above it.
KINKS = {
    "relu": {0.0: (0, 0, 1)}, "leaky_relu": {0.0: (0.01, 0.01, 1)},
    "selu": {0.0: (SCALE * ALPHA, SCALE * ALPHA, SCALE)},
    "hard_tanh": {-1.0: (0, 1, 1), 1.0: (1, 1, 0)},
}  # fmt: skip


def curves(ax):
    """Return the lines of the function and of its derivative."""
    return [xy(line) for line in lines(ax) if len(line.get_xdata()) > 9]


@pytest.mark.parametrize("name", list(tg.ACTIVATIONS))
def test_an_activation_and_its_derivative(name):
    ax = tg.plot_activations(name, ax=axes())
    (x, y), (dx, dy) = curves(ax)
    np.testing.assert_array_equal(x, dx)
    assert (x[0], x[-1]) == (-4.0, 4.0)
    assert np.all(np.diff(x) > 0)
    formula, kinks = FORMULAS[name], KINKS.get(name, {})
    np.testing.assert_allclose(y, [float(formula(mpmath.mpf(v))) for v in x], atol=2e-9)
    inside = [i for i in range(0, len(x), 7) if min([abs(x[i] - k) for k in kinks] or [1]) > 1e-3]
    slopes = [float(mpmath.diff(formula, mpmath.mpf(x[i]), h=mpmath.mpf(1e-6))) for i in inside]
    np.testing.assert_allclose(dy[inside], slopes, atol=1e-8)
    assert ax.get_title() == name + (" of (x, 0)" if "softmax" in name else "")
    assert sorted(x[np.isnan(dy)]) == sorted(kinks)
    dots = {}
    for line in ax.lines:
        if line.get_marker() == "o":
            filled = line.get_markerfacecolor() == line.get_color()
            for at, value in zip(*line.get_data(), strict=True):
                dots.setdefault((float(at), filled), []).append(float(value))
    for kink, (below, at, above) in kinks.items():
        i = int(np.searchsorted(x, kink))
        np.testing.assert_allclose(dy[[i - 1, i + 1]], [below, above], atol=1e-7)
        assert x[i + 1] - x[i - 1] < 1e-8  # not smoothed: the ends are at the kink
        np.testing.assert_allclose(dots.pop((kink, True)), [at])
        rings = [v for v in (below, above) if v != at]
        np.testing.assert_allclose(dots.pop((kink, False)), rings, atol=1e-7)
    assert not dots


def test_all_activations_are_there_by_default():
    drawn = tg.plot_activations()
    titles = [ax.get_title().removesuffix(" of (x, 0)") for ax in drawn]
    assert titles == list(tg.ACTIVATIONS)
    figure = drawn[0].get_figure(root=True)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["f(x)", "derivative"]
    assert len(figure.axes) == 14


def test_functions_of_ones_own():
    def kinked(x):
        return np.abs(x - 0.3) * 2.0

    ax, steps = tg.plot_activations([kinked, lambda x: x + np.floor(x)], domain=(-1.5, 1.6))
    assert ax.get_title() == "kinked"
    (x, y), (_, dy) = curves(ax)
    np.testing.assert_allclose(y, 2 * abs(x - 0.3), atol=1e-8)
    np.testing.assert_allclose(dy[x < 0.299], -2.0)
    np.testing.assert_allclose(dy[x > 0.301], 2.0)
    (x, y), _ = curves(steps)
    np.testing.assert_allclose(x[np.isnan(y)], [-1.0, 0.0, 1.0], atol=1e-9)


@pytest.mark.parametrize(
    ("names", "keywords", "words"),
    [
        ("rleu", {}, "unknown activation 'rleu'"), ([], {}, "no activation"),
        ([None], {}, "None is no activation"), ("relu", {"domain": (1, 1)}, "an interval"),
        ("relu", {"domain": (0, np.inf)}, "an interval"),
    ],
)  # fmt: skip
def test_bad_activations(names, keywords, words):
    with pytest.raises(ValueError, match=words):
        tg.plot_activations(names, **keywords)


# --- decision boundaries -------------------------------------------------------------------------

SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])


def boundary(ax):
    """Return the points of all boundary lines."""
    found = [
        path.vertices for c in ax.collections if hasattr(c, "levels") for path in c.get_paths()
    ]
    return np.concatenate(found) if found else np.empty((0, 2))


def background(ax, x, y):
    """Return the colour (red, green, blue, opacity) of the picture behind a point."""
    (image,) = ax.images
    left, right, low, high = image.get_extent()
    n, m = image.get_array().shape[:2]
    i, j = int((y - low) / (high - low) * n), int((x - left) / (right - left) * m)
    return np.asarray(image.get_array())[i if image.origin == "lower" else n - 1 - i, j]


def circle(p):
    return 4.0 * (1.0 - p[:, 0] ** 2 - p[:, 1] ** 2)


@pytest.mark.parametrize("kind", ["log-odds", "probability", "two outputs", "softmax", "column"])
def test_the_boundary_is_where_the_model_has_it(kind):
    def model(p):
        z = circle(p)
        q = 1.0 / (1.0 + np.exp(-z))
        return {
            "log-odds": z, "probability": q, "column": z[:, None],
            "two outputs": np.stack([0 * z, z], 1), "softmax": np.stack([1 - q, q], 1),
        }[kind]  # fmt: skip

    threshold = 0.5 if kind == "probability" else None
    ax = tg.plot_decision_boundary(
        model, 1.5 * SQUARE, [0, 0, 1, 1], threshold=threshold, ax=axes()
    )
    radii = np.linalg.norm(boundary(ax), axis=1)
    assert len(radii) > 100
    np.testing.assert_allclose(radii, 1.0, atol=2e-3)
    inside, outside, wavering = (background(ax, r, 0.0) for r in (0.0, 1.6, 0.99))
    blue, red = map(to_rgb, LOOKS["light"].series[:2])
    np.testing.assert_allclose(outside[:3], blue)
    np.testing.assert_allclose(inside[:3], red)
    assert wavering[3] < 0.2 < inside[3] <= outside[3]
    # As strong as |2 p - 1| says, in bands of a tenth.
    for r in (0.2, 0.5, 0.8, 0.9):
        sure = abs(np.tanh(2.0 * (1.0 - r * r)))
        expected = 0.08 + 0.42 * sure
        assert abs(background(ax, r, 0.0)[3] - expected) < 0.07


def test_the_largest_of_several_outputs_wins():
    middles = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])

    def model(p):
        return -((p[:, None] - middles) ** 2).sum(-1)

    ax = tg.plot_decision_boundary(model, middles, [0, 1, 2], ax=axes())
    for i, middle in enumerate(middles):
        np.testing.assert_allclose(background(ax, *middle)[:3], to_rgb(LOOKS["light"].series[i]))
    found = boundary(ax)
    distances = np.sort(np.linalg.norm(found[:, None] - middles, axis=-1), axis=1)
    np.testing.assert_allclose(distances[:, 0], distances[:, 1], atol=0.03)
    assert legend(ax) == ["class 0", "class 1", "class 2"]


def test_points_have_the_colour_and_marker_of_their_class():
    x, y = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]), np.array([1, 0, 1])
    ax = tg.plot_decision_boundary(lambda p: p[:, 0] - 1, x, y, ax=axes())
    first, second = [c for c in ax.collections if len(c.get_offsets()) and c.get_zorder() == 3]
    np.testing.assert_array_equal(first.get_offsets(), x[[1]])
    np.testing.assert_array_equal(second.get_offsets(), x[[0, 2]])
    assert first.get_paths()[0].vertices.shape != second.get_paths()[0].vertices.shape
    assert not np.allclose(first.get_facecolor(), second.get_facecolor())


@pytest.mark.parametrize(
    ("y", "classes", "names"),
    [
        ([0, 1, 1, 1], None, ["0", "1"]), ([1, 1, 1, 1], None, ["0", "1"]),
        ([-1, 1, 1, 1], None, ["-1", "1"]), ([-1, -1, -1, -1], None, ["-1", "1"]),
        ([3, 7, 7, 7], None, ["3", "7"]), (["b", "a", "a", "b"], None, ["a", "b"]),
        (["b", "a", "a", "b"], ["b", "a"], ["b", "a"]), ([0.0, 1.0, 1.0, 0.0], None, ["0", "1"]),
        ([[0], [1], [1], [0]], None, ["0", "1"]), ([True, False, True, True], None, ["0", "1"]),
    ],
)  # fmt: skip
def test_names_of_classes(y, classes, names):
    ax = tg.plot_decision_boundary(
        lambda p: p[:, 0], SQUARE, np.array(y), classes=classes, ax=axes()
    )
    assert legend(ax) == [f"class {name}" for name in names]


@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"], [False, True]])
def test_models_that_return_classes(labels):
    labels = np.array(labels)
    ax = tg.plot_decision_boundary(
        lambda p: labels[(p[:, 0] > 0.3).astype(int)], SQUARE, labels[[0, 1, 0, 1]], ax=axes()
    )
    np.testing.assert_allclose(boundary(ax)[:, 0], 0.3, atol=0.02)
    assert len(ax.figure.axes) == 1  # a class is not more or less sure


def test_a_module_is_left_as_it_was(rng):
    model = tg.nn.Sequential(
        tg.nn.Layer(2, 8, rng=0), tg.nn.Dropout(0.9, rng=0), tg.nn.Linear(8, 1, rng=0)
    )
    model.steps[0].eval()
    before = [m.training for m in model.modules()]
    state = model.steps[1].rng.bit_generator.state
    y = np.array([0, 1, 0, 1])
    pictures = []
    for given in (model, model, model.forward):
        ax = tg.plot_decision_boundary(given, SQUARE, y, threshold=0.0, ax=axes())
        pictures.append(np.asarray(ax.images[0].get_array()))
        assert [m.training for m in model.modules()] == before
    assert model.steps[1].rng.bit_generator.state == state
    model.eval()
    ax = tg.plot_decision_boundary(lambda p: model(p).data, SQUARE, y, threshold=0.0, ax=axes())
    for picture in pictures:
        np.testing.assert_array_equal(picture, ax.images[0].get_array())
    assert all(p.grad is None for p in model.parameters())


def test_the_mode_is_restored_when_the_model_fails():
    class Bad(tg.nn.Module):
        def forward(self, x):
            assert not self.training
            raise KeyError("inside")

    model = Bad()
    with pytest.raises(KeyError, match="inside"):
        tg.plot_decision_boundary(model, SQUARE, [0, 1, 0, 1])
    assert model.training
    assert tg.is_grad_enabled()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("kind", [np.asarray, tg.tensor])
def test_the_model_gets_what_x_is(kind, dtype):
    seen = []

    def model(p):
        seen.append((type(p), str(p.dtype), p.shape, tg.is_grad_enabled()))
        return p[:, 0]

    x = SQUARE.astype(dtype)
    if kind is tg.tensor and dtype == "int64":
        x = x.astype("float64")
    tg.plot_decision_boundary(model, kind(x), [0, 1, 0, 1], resolution=11, batch_size=50, ax=axes())
    expected = "float32" if dtype == "float32" else "float64"
    wanted = np.ndarray if kind is np.asarray else tg.Tensor
    assert seen == [(wanted, expected, (n, 2), False) for n in (50, 50, 21)]


def test_a_scalar_network():
    model = tg.scalar.MLP(2, [1], rng=0)
    weights = [w.data for w in model.parameters()]
    ax = tg.plot_decision_boundary(model, SQUARE, [0, 1, 0, 1], resolution=20, ax=axes())
    np.testing.assert_allclose(boundary(ax) @ weights[:2] + weights[2], 0.0, atol=1e-9)
    several = tg.scalar.MLP(2, [3], rng=0)
    tg.plot_decision_boundary(several, SQUARE, [0, 1, 2, 2], resolution=5, ax=axes())


def test_where_the_output_is_not_finite():
    ax = tg.plot_decision_boundary(
        lambda p: np.where(p[:, 1] > 0, np.nan, p[:, 0]), SQUARE, [0, 1, 0, 1], ax=axes()
    )
    assert legend(ax)[-1] == "output not finite"
    np.testing.assert_allclose(background(ax, 0.5, 0.5), 0.5)
    np.testing.assert_allclose(background(ax, 0.5, -0.5)[:3], to_rgb(LOOKS["light"].series[1]))


def test_infinite_log_odds_are_certain_of_nothing():
    with pytest.raises(ValueError, match="nan or infinite everywhere"):
        two_inputs(lambda p: p[:, 0] * np.nan)


def test_names_of_inputs():
    class Frame:
        columns = ("height", "weight")

        def __array__(self, dtype=None, copy=None):
            return SQUARE

    ax = tg.plot_decision_boundary(lambda p: p[:, 0], Frame(), [0, 1, 0, 1], ax=axes())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("height", "weight")
    ax = two_inputs(features=["a", "b"], ax=axes(), colorbar=False)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    assert ax.figure.axes == [ax]


@pytest.mark.parametrize(
    ("model", "x", "y", "keywords", "words"),
    [
        (None, np.ones((4, 3)), [0] * 4, {}, r"two inputs: expected x of shape \(n, 2\), got"),
        (None, np.ones(4), [0] * 4, {}, r"got \(4,\)"),
        (None, SQUARE, [0, 1], {}, "x has 4 rows and y 2"),
        (None, SQUARE, np.eye(4), {}, r"y.argmax\(axis=1\)"),
        (None, SQUARE[:0], [], {}, "x has no rows"),
        (None, SQUARE * np.nan, [0] * 4, {}, "nan or infinite: leave"),
        (None, SQUARE, [0.5, 1, 1, 1], {}, "numbers with fractions"),
        (None, SQUARE, [0, 1, 2, 3], {}, "tells 2 classes apart, y has 4: 0, 1, 2, 3"),
        (None, SQUARE, [5, 5, 5, 5], {}, "tells 2 classes apart, y has 1"),
        (None, SQUARE, [0, 1, 1, 1], {"classes": [0, 1, 2]}, "classes names 3"),
        (None, SQUARE, [0, 1, 1, 5], {"classes": [0, 1]}, "y has classes that are not in .*: 5"),
        (None, SQUARE, [0, 1, 1, 1], {"threshold": 0.5}, "go from -1.2 to 1.2"),
        (None, SQUARE, [0, 1, 1, 1], {"threshold": 7}, "threshold must be 0"),
        (None, SQUARE, [0, 1, 1, 1], {"resolution": 1}, "resolution must be 2 or more"),
        (None, SQUARE, [0, 1, 1, 1], {"features": ["a"]}, "features names the two"),
        (lambda p: p, SQUARE, [0, 1, 1, 1], {"threshold": 0.5}, "this one has 2"),
        (lambda p: p[:, 0] > 0, SQUARE, [0, 1, 1, 1], {"threshold": 0.5}, "one of classes"),
        (lambda p: p[:, 0] * 0 + 0.7, SQUARE, [0, 1, 1, 1], {}, "threshold=0.5 if they are prob"),
        (lambda p: p[:3], SQUARE, [0, 1, 1, 1], {}, r"returned \(3, 2\)"),
        (lambda p: 1.0, SQUARE, [0, 1, 1, 1], {}, r"returned \(\)"),
        (lambda p: p[:, :, None], SQUARE, [0, 1, 1, 1], {}, "returned"),
        (lambda p: p[:, :0], SQUARE, [0, 1, 1, 1], {}, "returned"),
    ],
)
def test_bad_boundaries(model, x, y, keywords, words):
    with pytest.raises(ValueError, match=words):
        tg.plot_decision_boundary(model or (lambda p: p[:, 0]), x, y, **keywords)
    assert plt.get_fignums() == []


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match="real numbers"):
        two_inputs(lambda p: p[:, 0] * 1j)
    with pytest.raises(TypeError, match="x must hold real numbers"):
        tg.plot_decision_boundary(lambda p: p[:, 0], SQUARE * 1j, [0, 1, 1, 1])


# --- what flows back -----------------------------------------------------------------------------


def half_dead(bias=True):
    """Return a network two of whose four rectifiers are dead for positive inputs."""
    model = tg.nn.MLP(2, [4, 1], rng=0, bias=bias, dtype="float64")
    for i, unit in enumerate(model.layers[0].neurons):
        unit.weight = [1.0, 2.0] if i % 2 else [-1.0, -2.0]
    model.layers[1].weight.data[...] = 1.0
    return model


@pytest.mark.parametrize("bias", [True, False])
def test_dead_units_are_counted(bias):
    model, x = half_dead(bias), np.array([[1.0, 2.0], [0.5, 0.1]])
    flow = tg.GradientFlow(model)
    hidden = model.layers[0](x).data
    assert np.all(hidden == 0, axis=0).tolist() == [True, False, True, False]
    np.mean(model(x)).backward()
    flow.record()
    model.zero_grad()
    np.mean(model(-x)).backward()  # now the others
    flow.record()
    model.zero_grad()
    np.mean(model(np.concatenate([x, -x]))).backward()
    flow.record()
    np.testing.assert_array_equal(flow.dead, [[0.5, 0.0], [0.5, 0.0], [0.0, 0.0]])
    assert flow.layers == ("layers.0", "layers.1")


def test_a_unit_that_nothing_listens_to_is_dead_and_one_with_zero_inputs_is_not():
    model = half_dead()
    model.layers[1].weight.data[1] = 0.0
    np.mean(model(np.ones((3, 2)))).backward()
    flow = tg.GradientFlow(model)
    flow.record()
    assert flow.dead[0, 0] == 0.75
    model = tg.nn.MLP(2, [4, 1], activation="tanh", rng=0)
    np.mean(model(np.zeros((3, 2)))).backward()
    assert not model.layers[0].weight.grad.any()
    flow = tg.GradientFlow(model)
    flow.record()
    assert flow.dead[0, 0] == 0.0


def test_norms():
    model = half_dead()
    flow = tg.GradientFlow(model)
    for step in (3, 7):
        np.mean(model(np.array([[1.0, 2.0]])) ** 2).backward()
        flow.record(step)
    assert flow.names == tuple(name for name, _ in model.named_parameters())
    np.testing.assert_array_equal(flow.steps, [3, 7])
    gradients = [np.sqrt((p.grad**2).sum()) for p in model.parameters()]
    sizes = [np.sqrt((p.data**2).sum()) for p in model.parameters()]
    np.testing.assert_allclose(flow.gradient_norms[-1], gradients)
    np.testing.assert_allclose(flow.gradient_norms[0] * 2, gradients)  # gradients add up
    np.testing.assert_allclose(flow.parameter_norms[-1], sizes)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(flow.ratios[-1], np.divide(gradients, sizes))
    assert flow.reached.all()
    assert len(flow) == 2
    assert repr(flow) == "GradientFlow(4 parameters, 2 records)"


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([3.0, 4.0]), 5.0), (np.array([3e30, 4e30], "f"), 5e30),
        (np.array([3e-30, 4e-30], "f"), 5e-30), (np.array([3e200, 4e200]), 5e200),
        (np.array([3e-200, -4e-200]), 5e-200), (np.array([3 + 4j, 12j]), 13.0),
        (np.zeros((2, 2)), 0.0), (np.array(-2.0), 2.0), (np.empty((0, 3)), 0.0),
        (np.array([1.0, np.inf]), np.inf), (np.array([np.nan, np.inf]), np.nan),
        (np.arange(12.0).reshape(3, 4).T[::2], np.sqrt(0 + 16 + 64 + 4 + 36 + 100)),
    ],
)  # fmt: skip
def test_norms_of_arrays(array, expected):
    np.testing.assert_allclose(norm(array), expected, rtol=1e-6)


def test_lines_over_time(tmp_path):
    model = half_dead()
    flow = tg.GradientFlow(model)
    for i in range(4):
        np.mean(model(np.array([[1.0, 2.0]]))).backward()
        if i == 2:
            model.layers[0].bias.grad[...] = 0.0
        if i == 3:
            model.layers[1].bias.grad[...] = np.inf
        flow.record()
        model.zero_grad()
    norms, shares = tg.plot_gradient_flow(flow)
    drawn = lines(norms)
    for i, line in enumerate(drawn):
        expected = np.where(
            np.isfinite(flow.gradient_norms[:, i]), flow.gradient_norms[:, i], np.nan
        )
        np.testing.assert_array_equal(xy(line), [[1, 2, 3, 4], expected])
    assert xy(drawn[1])[1][2] == 0.0
    assert norms.get_yscale() == "symlog"
    low, high = norms.get_ylim()
    assert low < 0.0 < high  # 0 is there to be seen
    norms.figure.canvas.draw()
    assert norms.get_yticks()[0] == 0.0
    assert np.all(np.diff(norms.transData.transform([(1, v) for v in (0.0, 1e-1, 1.0)])[:, 1]) > 9)
    assert legend(norms) == [*flow.names, "layers.1.bias inf at 4"]
    assert drawn[0].get_color() == drawn[1].get_color() != drawn[2].get_color()
    assert drawn[0].get_linestyle() != drawn[1].get_linestyle()
    for i, line in enumerate(lines(shares)):
        np.testing.assert_array_equal(xy(line)[1], flow.dead[:, i])
    assert legend(shares) == list(flow.layers)
    alone = tg.plot_gradient_flow(flow, ax=axes())
    assert len(lines(alone)) == 4


def test_ratios_where_there_are_none():
    flow = record()
    norms = tg.plot_gradient_flow(flow, relative=True, ax=axes())
    assert legend(norms) == list(flow.names)  # biases are 0 at first, which is no news
    bars = tg.plot_gradient_flow(network(), relative=True, ax=axes())
    assert [t.get_text() for t in bars.texts][1::2] == ["the parameter is 0"] * 3


def test_parameters_that_the_loss_does_not_reach():
    used, unused = tg.tensor([3.0], requires_grad=True), tg.tensor([1.0], requires_grad=True)
    np.sum(used * used).backward()
    flow = tg.GradientFlow({"used": used, "unused": unused})
    flow.record()
    assert flow.reached.tolist() == [[True, False]]
    assert flow.dead.shape == (1, 0)
    ax = tg.plot_gradient_flow(flow)
    assert legend(ax) == ["used", "unused (no gradient)"]
    bars = tg.plot_gradient_flow({"used": used, "unused": unused})
    assert [t.get_text() for t in bars.texts] == ["6", "no gradient"]


def test_bars_of_the_current_gradients():
    model = half_dead()
    np.mean(model(np.array([[1.0, 2.0]]))).backward()
    model.layers[0].bias.grad[...] = 0.0
    model.layers[1].bias.grad[...] = np.nan
    ax = tg.plot_gradient_flow(model, ax=axes())
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(widths[0], np.linalg.norm(model.layers[0].weight.grad))
    assert widths[1::2] == [0.0, 0.0]
    said = [t.get_text() for t in ax.texts]
    assert said[0].endswith("2 of 4 units dead")
    assert said[1] == "0"
    assert said[3] == "× nan"
    assert ax.get_xscale() == "log"
    assert ax.yaxis_inverted()  # the first layer on top
    assert (
        tg.plot_gradient_flow({"w": tg.tensor([0.0], requires_grad=True) * 1}, ax=axes())
        if False
        else True
    )


def test_deep_networks_have_a_legend_of_some_lines():
    model = tg.nn.MLP(2, [3] * 20, activation="tanh", rng=0)
    np.mean(model(np.ones((2, 2)))).backward()
    flow = tg.GradientFlow(model)
    flow.record()
    norms, _ = tg.plot_gradient_flow(flow)
    names = legend(norms)
    assert len(names) == 7
    assert (names[0], names[-1]) == ("layers.0.weight", "layers.19.weight")
    assert len({line.get_color() for line in lines(norms)}) == 20
    for p in model.parameters():
        p.grad[...] = np.nan
    flow.record()
    norms, _ = tg.plot_gradient_flow(flow)
    assert legend(norms)[-1] == "37 more with nan or inf"


def test_bad_flows():
    model = tg.nn.MLP(2, [2, 1])
    with pytest.raises(RuntimeError, match=r"call backward\(\) first"):
        tg.plot_gradient_flow(model)
    flow = tg.GradientFlow(model)
    with pytest.raises(RuntimeError, match=r"call backward\(\) first"):
        flow.record()
    with pytest.raises(ValueError, match="the record is empty"):
        tg.plot_gradient_flow(flow)
    np.mean(model(np.ones((2, 2)))).backward()
    flow.record(5)
    with pytest.raises(ValueError, match="above the last one, 5, got 5"):
        flow.record(5)
    with pytest.raises(TypeError, match="mapping of names to tensors, got float"):
        tg.plot_gradient_flow(1.0)
    with pytest.raises(TypeError, match="a tensor for 'w', got float"):
        tg.GradientFlow({"w": 1.0})
    with pytest.raises(ValueError, match="no parameter"):
        tg.GradientFlow(tg.nn.Sequential())
    assert plt.get_fignums() == []


def test_recording_changes_nothing():
    model = network()
    before = [(p.data.copy(), p.grad.copy(), id(p.grad)) for p in model.parameters()]
    tg.GradientFlow(model).record()
    for p, (data, grad, _) in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.data, data)
        np.testing.assert_array_equal(p.grad, grad)


def test_a_compiled_step_can_be_recorded():
    eager, compiled = (tg.nn.MLP(2, [4, 1], rng=0) for _ in range(2))
    x = np.ones((3, 2), "f")
    flows = []
    for model, wrap in ((eager, lambda f: f), (compiled, tg.compile)):
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

        def step(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = np.mean(model(x) ** 2)
            loss.backward()
            optimizer.step()
            return loss

        run, flow = wrap(step), tg.GradientFlow(model)
        for _ in range(3):
            run(x)
            flow.record()
        flows.append(flow.gradient_norms)
    np.testing.assert_allclose(*flows, rtol=1e-5)
