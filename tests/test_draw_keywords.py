"""What draw() is asked for by keywords: parts, folds, functions and transforms, themes."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import Value, nn
from tinygrad_nn.draw import draw
from tinygrad_nn.draw.palette import DARK, DEAD, INK, MARKED, MARKS, MUTED, RED, ROLES


@pytest.fixture
def network():
    model = nn.MLP(4, [8, 8, 2], rng=0)
    x = tg.tensor(np.ones((3, 4)), label="x")
    return tg.losses.cross_entropy(model(x), np.array([0, 1, 0])), model, x


def names(drawing):
    return {v.label or v.op or v.role for v in drawing.description.nodes}


LAYER = {"layers.1.weight", "layers.1.bias", "linear", "relu"}


# --- only, around --------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [lambda m: "layers.1", lambda m: m.layers[1], lambda m: ["*.1"]])
def test_a_module_alone_by_object_name_and_pattern(network, ask):
    loss, model, _ = network
    drawing = draw(loss, model, only=ask(model))
    assert names(drawing) == LAYER
    assert drawing.description.note == "10 of 15 nodes are left out"


def test_a_module_alone_without_a_model_is_found_by_object_and_title(network):
    loss, model, _ = network
    assert len(draw(loss, only=model.layers[1]).description.nodes) == 5
    assert len(draw(loss, only="Layer(8, 8, *").description.nodes) == 5


@pytest.mark.parametrize("ask", [lambda x, y: (x, y), lambda x, y: ["x", "nll"]])
def test_what_lies_between_tensors(network, ask):
    loss, model, x = network
    drawing = draw(loss, model, only=ask(x, loss))
    assert names(drawing) == {"x", "linear", "relu", "log_softmax", "nll"}


def test_what_is_near_a_tensor(network):
    loss, model, _ = network
    assert names(draw(loss, model, around=model.layers[0].weight, radius=1)) == {
        "layers.0.weight", "linear"}  # fmt: skip
    near = draw(loss, model, around="layers.0.weight")
    assert names(near) == {"layers.0.weight", "layers.0.bias", "x", "linear", "relu"}


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"only": "nope"}, ValueError, r"nothing in the graph is called .nope.; there are layers"),
        ({"only": "x"}, ValueError, r"around= draws what is near one"),
        ({"only": ["x", "layers.0"]}, ValueError, r"not both at once"),
        ({"only": []}, ValueError, r"only= is empty"),
        ({"only": 3}, TypeError, r"takes names, tensors and modules of the graph, got int"),
        ({"around": Value(1.0)}, ValueError, r"is not in the graph that is drawn"),
        ({"around": "x", "only": "x"}, ValueError, r"exclude each other"),
        ({"around": "x", "radius": -1}, ValueError, r"radius must be at least 0"),
        ({"depth": -1}, ValueError, r"depth must be at least 0"),
        ({"max_nodes": 0}, ValueError, r"max_nodes must be at least 1"),
        ({"theme": "blue"}, ValueError, r"theme must be one of auto, light, dark"),
        ({"inputs": 1.0}, TypeError, r"inputs= of a graph are tensors"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_says_why(network, keywords, error, message):
    loss, model, _ = network
    with pytest.raises(error, match=message):
        draw(loss, model, **keywords)


# --- depth, max_nodes, repeats -------------------------------------------------------------------


def test_depth_folds_modules_and_says_so(network):
    loss, model, _ = network
    drawing = draw(loss, model, depth=1)
    boxes = [v for v in drawing.description.nodes if v.role == "module"]
    assert [b.label for b in boxes] == ["layers.0", "layers.1", "layers.2"]
    assert sum(b.hidden for b in boxes) == 11
    assert drawing.description.note == "11 of 15 nodes are folded into 3 boxes"
    assert len(drawing.whole.nodes) == 15  # the page has everything


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 12, 100])
def test_max_nodes_is_kept_with_modules_and_without(network, limit):
    loss, model, _ = network
    v = Value(1.0)
    for _ in range(300):
        v = v * 1.01
    for drawing in (draw(loss, model, max_nodes=limit), draw(v, max_nodes=limit)):
        graph = drawing.description
        assert len(graph.nodes) <= max(limit, 2)
        shown = sum(vertex.hidden or 1 for vertex in graph.nodes)
        assert shown == len(drawing.whole.nodes)
        assert ("folded" in graph.note) == (len(graph.nodes) < shown)


def test_repeats_alone_fold_equal_neighbours_and_nothing_else():
    model = nn.MLP(2, [8, 8, 8, 8, 1], rng=0)
    drawing = draw(model(np.ones((3, 2))).sum(), model, repeats=True)
    titles = [v.settings for v in drawing.description.nodes if v.role == "module"]
    assert titles == ["Layer(8, 8) × 3"] or titles[0].endswith("× 3")
    without = draw(model(np.ones((3, 2))).sum(), model, depth=1, repeats=False)
    assert len([v for v in without.description.nodes if v.role == "module"]) == 5


# --- functions and transforms --------------------------------------------------------------------


def energy(x, k=2.0):
    return k * np.sum(x**2)


def test_a_function_is_called_and_its_inputs_are_named_after_its_parameters():
    drawing = draw(energy, inputs=(np.array([1.0, 2.0]), 3.0))
    by_label = {v.label: v for v in drawing.description.nodes if v.label}
    assert by_label["x"].value.text == "[1.0, 2.0]"
    assert by_label["x"].grad.text == "[6.0, 12.0]"
    assert by_label["k"].grad.text == "5.0"
    assert by_label["x"].role == by_label["k"].role == "input"
    assert "return k * np.sum(x**2)" in drawing.to_dot()  # the user's line


def test_the_graph_of_a_transform_shows_the_walk_back_in_a_frame():
    drawing = draw(tg.grad(lambda x: x**3), inputs=2.0)
    assert [c.title for c in drawing.description.clusters] == ["backward"]
    assert drawing.description.nodes[-1].value.text == "12.0"
    assert "seed" in names(drawing)
    second = draw(tg.grad(tg.grad(lambda x: x**3)), inputs=2.0)
    assert second.description.nodes[-1].value.text == "12.0"
    assert {c.title for c in second.description.clusters} == {"backward"}


def test_a_walk_back_that_is_recorded_has_a_frame():
    x, y = (tg.tensor(v, requires_grad=True, label=n) for v, n in ((3.0, "x"), (2.0, "y")))
    f = x**2 * y
    gradients = tg.autograd.grad(f, [x, y], create_graph=True)
    graph = draw({"f": f, "df/dx": gradients[0], "df/dy": gradients[1]}).description
    inside = {v.label or v.op for v in graph.nodes if v.cluster == 0 and v.role != "constant"}
    assert {"df/dx", "df/dy", "power"} <= inside
    assert "f" not in inside
    assert {v.label: v.value.text for v in graph.nodes if v.label.startswith("df")} == {
        "df/dx": "12.0", "df/dy": "9.0"}  # fmt: skip


def test_a_module_is_a_function_too_and_names_its_parts():
    model = nn.Linear(2, 1, rng=0)
    assert {"weight", "bias"} <= names(draw(model, inputs=np.ones((3, 2))))


def test_inputs_of_a_graph_stand_outside_the_modules_that_they_go_into():
    model = nn.Linear(2, 1, rng=0)
    x = tg.tensor(np.ones((3, 2)), requires_grad=True, label="x")
    (vertex,) = [v for v in draw(model(x).sum(), inputs=x).description.nodes if v.label == "x"]
    assert (vertex.role, vertex.cluster) == ("input", -1)
    (vertex,) = [v for v in draw(model(x).sum()).description.nodes if v.label == "x"]
    assert (vertex.role, vertex.cluster) == ("parameter", 0)


def test_functions_that_have_no_graph():
    with pytest.raises(TypeError, match=r"draw\(energy, inputs="):
        draw(energy)
    with pytest.raises(TypeError, match=r"returned a float, which has no graph"):
        draw(lambda x: 1.0, inputs=2.0)


# --- themes --------------------------------------------------------------------------------------


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    """Return the contrast of WCAG 2.2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


FILLS = [fill for fill, _ in [*ROLES.values(), DEAD, *MARKS.values()]]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_reads_on_every_fill(fill, theme):
    def shown(c):
        return DARK[c] if theme == "dark" else c

    for ink, least in ((INK, 7.0), (MUTED, 4.5), (RED, 3.0)):
        assert contrast(shown(fill), shown(ink)) >= least, ink
    for kind, ink in MARKED.items():
        assert contrast(shown(MARKS[kind][0]), shown(ink)) >= 7.0


# What the three kinds of dichromats see, for linear light: Viénot, Brettel, Mollon (1999) for
# protanopia and deuteranopia; the common single-plane approximation for tritanopia.
BLIND = {
    "protanopia": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "deuteranopia": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
    "tritanopia": [[1.0, 0.14461, -0.14461], [0.0, 0.85924, 0.14076], [0.0, 0.85924, 0.14076]],
}


def lab(colour, kind):
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(BLIND[kind]) @ linear, 0.0, 1.0)
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ linear
    ) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_roles_are_told_apart_with_any_colour_vision(kind, theme):
    def seen(c):
        return lab(DARK[c] if theme == "dark" else c, kind)

    roles = list(ROLES)
    for i, a in enumerate(roles):
        for b in roles[i + 1 :]:
            # By the fill or by the line; a difference of 2.3 is just noticeable (Mahy et al. 1994).
            apart = [np.linalg.norm(seen(ROLES[a][k]) - seen(ROLES[b][k])) for k in (0, 1)]
            assert max(apart) > 6.0, (a, b, apart)


def test_a_picture_follows_the_system_or_is_dark_or_light():
    x = Value(2.0, label="fill #1a1a1a")
    auto, light, dark = (draw(x * x, theme=t).to_svg() for t in ("auto", "light", "dark"))
    assert "prefers-color-scheme: dark" in auto
    assert "<style" not in light
    assert "<style" not in dark
    assert f'fill="{INK}"' in light
    assert f'fill="{DARK[INK]}"' in dark
    assert f'fill="{INK}"' not in dark
    for svg in (auto, light, dark):
        assert "fill #1a1a1a" in re.sub("<[^>]*>", "", svg)  # the label is nobody's colour


def test_every_colour_of_a_picture_has_a_dark_counterpart():
    p = tg.tensor([1.0, 0.0], requires_grad=True, label="p")
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.sum(np.log(p) * p)
    source = draw(y).to_dot() + draw(Value(-1.0).relu() * 2.0).to_dot()
    colours = set(re.findall(r'(?:color|COLOR)="(#[0-9a-f]{6})"', source))
    assert len(colours) > 10
    assert colours <= set(DARK)
