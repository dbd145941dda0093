"""The page of a graph, in a browser without a window."""

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from functools import partial
from importlib import resources

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import Value, scalar
from tinygrad_nn.draw import Cluster, draw
from tinygrad_nn.draw.writing.page import Page, to_page

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = '"]; x -> y <script>alert(1)</script>'


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture
def show(browser, tmp_path):
    """Show a drawing, and hold against the page what no page may do: errors and requests."""
    contexts, faults = [], []

    def show(drawing, size=(1280, 800), before="", **options):
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                None
                if re.match("file:|blob:|data:", request.url)
                else faults.append(f"request of {request.url}")
            ),
        )
        if before:
            page.add_init_script(before)
        source = drawing if isinstance(drawing, str) else drawing.to_html()
        path = tmp_path / f"graph{len(contexts)}.html"
        path.write_text(source, encoding="utf-8")
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]")
        return page

    yield show
    for context in contexts:
        context.close()
    assert faults == []


def neuron():
    """Return the neuron of the docs, whose numbers are known: tanh has the slope 1/2 there."""
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
    b = Value(6 + np.arctanh(np.sqrt(0.5)), label="b")
    n = x1 * w1 + x2 * w2 + b
    n.label = "n"
    o = n.tanh()
    o.label = "o"
    return draw(o)


def network():
    model = tg.nn.MLP(2, [3, 2], rng=0)
    x = tg.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype="float32", label="x")
    return draw({"loss": tg.losses.cross_entropy(model(x), np.array([0, 1]))}, model)


def neurons(sizes=(4, 1)):
    model = scalar.MLP(2, list(sizes), rng=0)
    return draw(model([Value(1.0, label="x1"), Value(-2.0, label="x2")]), model)


def boxes(page):
    """Return the names that a screen reader says, without the numbers."""
    names = page.locator(".node").evaluate_all("all => all.map(b => b.getAttribute('aria-label'))")
    return sorted(name.split(", value")[0] for name in names)


def drawn(page, act):
    """Do something after which the picture is another one."""
    before = page.locator("html").get_attribute("data-ready")
    act()
    page.wait_for_function("was => document.documentElement.dataset.ready !== was", arg=before)


def said(page):
    """Return the sentence below the picture, with plain apostrophes."""
    lines = page.locator("#sentence").inner_text().replace("\u2019", "'").split("\n")
    return "\n".join(filter(None, lines))


def scale(page):
    return float(re.search(r"scale\(([\d.]+)\)", page.locator("#sheet").get_attribute("style"))[1])


# --- it opens ------------------------------------------------------------------------------------


def test_it_draws_without_dot_and_asks_nobody(show, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        source = neuron().to_html()
    page = show(source)
    assert boxes(page) == sorted([
        "x1, parameter", "x2, parameter", "w1, parameter", "w2, parameter", "b, parameter",
        "multiply, intermediate", "multiply, intermediate", "add, intermediate",
        "n, add, intermediate", "o, tanh, output",
    ])  # fmt: skip
    assert page.locator(".edge").count() == 9
    label = page.locator("#n9").get_attribute("aria-label")
    assert label == "o, tanh, output, value 0.7071, gradient 1.0"
    # Everything that a page can refer to is in it.
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)""", source) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', source)[1]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    "refuse", ["delete window.Worker", "window.Worker = class { constructor() { throw 1; } }"]
)
def test_it_draws_where_workers_are_refused(show, refuse):
    assert len(boxes(show(neuron(), before=refuse))) == 10


def test_it_draws_in_a_notebook(show, browser):
    notebook = browser.new_page()
    notebook.set_content(f"<h1>Cell</h1>{Page(neuron().to_html(), 500)._repr_html_()}")
    frame = notebook.frame_locator("iframe")
    frame.locator("html[data-ready]").wait_for(state="attached")
    assert frame.locator(".node").count() == 10
    assert notebook.locator("iframe").bounding_box()["height"] == pytest.approx(502, abs=3)
    notebook.close()


def test_without_scripts_there_is_the_text(show):
    page = show(neuron(), java_script_enabled=False)
    page.locator("#text summary").click()
    assert page.locator("#text pre").inner_text().strip() == neuron().to_text().strip()


def test_the_same_graph_is_the_same_page():
    assert network().to_html() == network().to_html()


def test_graphviz_is_the_file_that_its_licences_name():
    web = resources.files("tinygrad_nn.draw.writing") / "web"
    digest = hashlib.sha256((web / "viz-global.js").read_bytes()).hexdigest()
    text = (web / "LICENSES.txt").read_text(encoding="utf-8")
    assert digest in text
    for name in ("Eclipse Public License - v 2.0", "Michael Daines", "Expat maintainers"):
        assert name in text


# --- search, folding, details --------------------------------------------------------------------


def test_search_walks_through_what_it_finds(show):
    page = show(neuron())
    page.fill("#query", "MULT")
    assert page.locator("#hits").inner_text() == "2 hits"
    assert page.locator(".hit").evaluate_all("all => all.map(b => b.id)") == ["n5", "n6"]
    chosen = []
    for key in ("Enter", "Enter", "Enter", "Shift+Enter"):
        page.press("#query", key)
        page.wait_for_timeout(50)
        chosen.append(page.locator(".chosen").get_attribute("id"))
    assert chosen == ["n5", "n6", "n5", "n6"]
    assert page.locator("#hits").inner_text() == "2 of 2"
    page.fill("#query", "nothing of that name")
    assert page.locator("#hits").inner_text() == "no hits"
    assert page.locator(".hit").count() == 0


def test_search_opens_what_hides_a_hit(show):
    page = show(network())
    drawn(page, lambda: page.click("#fold-all"))
    assert boxes(page)[0].startswith("MLP(2-3-2), folded, ")
    page.fill("#query", "relu")
    assert page.locator("#f0.hit").count() == 1
    drawn(page, lambda: page.press("#query", "Enter"))
    assert "relu" in page.locator("#details h2").inner_text()
    middle = page.locator(".node.chosen").bounding_box()
    canvas = page.locator("#canvas").bounding_box()
    page.wait_for_timeout(300)
    middle = page.locator(".node.chosen").bounding_box()
    canvas["height"] -= 30  # the line at the lower edge is kept free
    for start, length in (("x", "width"), ("y", "height")):
        centre = canvas[start] + canvas[length] / 2
        assert middle[start] + middle[length] / 2 == pytest.approx(centre, abs=5)


def test_a_cluster_without_nodes_is_not_there(show):
    graph = network().description
    page = show(to_page(replace(graph, clusters=(*graph.clusters, Cluster("", "Nothing()", 0)))))
    page.fill("#query", "Nothing")
    assert page.locator("#hits").inner_text() == "no hits"
    page.select_option("#depth", "1")
    page.wait_for_selector("#f1")
    assert page.locator("[id^=f].node").count() == 2


def test_a_title_folds_its_cluster_and_a_box_opens_it(show):
    drawing = network()
    page = show(drawing)
    names = boxes(page)
    assert len(names) == len(drawing.description.nodes)
    place = page.locator("#c1 .handle").bounding_box()
    drawn(page, lambda: page.click("#c1 .handle"))
    assert "layers.0: Layer(2, 3, activation='relu'), folded, 4 nodes" in boxes(page)
    assert page.locator("#state").inner_text() == "4 of 11 nodes are folded into 1 box"
    box = page.locator("#f1")
    assert "(2, 2) → (2, 3)" in box.text_content()
    page.wait_for_timeout(400)
    assert box.bounding_box()["x"] == pytest.approx(place["x"], abs=150)
    drawn(page, lambda: box.click())
    assert boxes(page) == names


def test_neighbours_of_one_kind_are_one_box(show):
    page = show(neurons())
    page.select_option("#depth", "2")
    page.wait_for_selector("#f2")
    assert "× 4" in page.locator("#f2").text_content()
    assert page.locator("#f2").get_attribute("aria-label").endswith("times 4, folded, 28 nodes")
    drawn(page, lambda: page.locator("#f2").dispatch_event("click"))
    assert page.locator(".handle").count() == 7  # the model, its two layers, four neurons
    # The second and the fourth are no neighbours while the third is open.
    for cluster in ("c3", "c5"):
        handle = page.locator(f"#{cluster} .handle")
        drawn(page, partial(handle.dispatch_event, "click"))
    for box in ("f3", "f5"):
        assert page.locator(f"#{box}").get_attribute("aria-label").endswith("folded, 7 nodes")
    drawn(page, lambda: page.locator("#c4 .handle").dispatch_event("click"))
    assert "× 3" in page.locator("#f3").text_content()
    assert page.locator("#f5").count() == 0


def test_the_panel_says_what_is_known(show):
    page = show(neuron())
    page.click("#n5")
    text = page.locator("#details").inner_text()
    for part in ("multiply", "intermediate", "−6.0", "0.5", "g · b", "g · a"):
        assert part in text
    links = page.locator("#details .link")
    assert links.all_inner_texts() == ["x1", "w1", "add"]
    links.nth(1).click()
    assert page.locator("#details h2").inner_text() == "w1"
    assert page.locator(".chosen").get_attribute("id") == "n2"
    page.click("#details .link")
    assert page.locator("#details h2").inner_text() == "multiply"


def test_the_panel_counts_zeros_and_what_is_not_finite(show):
    values = np.arange(10.0)
    values[[0, 4]] = 0, np.inf
    x = tg.tensor(values, label="x", requires_grad=True)
    page = show(draw(x * 2.0, gradients="none"))
    page.click("#n0")
    facts = page.locator("#details dd").all_inner_texts()
    # Of 0, 1, 2, 3, 5, 6, 7, 8, 9 the mean is 41 / 9.
    assert facts[-6:] == ["10", "0.0", "4.556", "9.0", "1 (10 %)", "1 (10 %)"]
    assert page.locator("#details dd.red").inner_text() == "1 (10 %)"


# --- step by step --------------------------------------------------------------------------------


def test_steps_say_the_numbers_of_the_chain_rule(show):
    page = show(neuron())
    assert page.locator("#place").inner_text() == "0 of 12"
    steps = []
    for _ in range(12):
        page.click("#next")
        steps.append(said(page).split("\n"))
    assert [step[0] for step in steps[1:6]] == [
        "multiply: x1 × w1 = 2.0 × −3.0 = −6.0",
        "multiply: x2 × w2 = 0.0 × 1.0 = 0.0",
        "add: (x1 × w1) + (x2 × w2) = −6.0 + 0.0 = −6.0",
        "n = add: (x1 × w1 + x2 × w2) + b = −6.0 + 6.881 = 0.8814",
        "o = tanh: tanh(n) = tanh(0.8814) = 0.7071",
    ]
    # tanh' = 1 - tanh² = 1 - 1/2; a sum hands on what arrives; a product swaps its factors.
    assert steps[7:] == [
        ["d o/d o = 1.0 arrives at o = tanh.",
         "to n: g · (1 − y²) = 1.0 × 0.5 = 0.5; that is the gradient of n"],
        ["d o/d n = 0.5 arrives at n = add.",
         "to x1 × w1 + x2 × w2: 0.5 × 1.0 = 0.5; that is the gradient of x1 × w1 + x2 × w2",
         "to b: 0.5 × 1.0 = 0.5; that is the gradient of b"],
        ["d o/d (x1 × w1 + x2 × w2) = 0.5 arrives at add.",
         "to x1 × w1: 0.5 × 1.0 = 0.5; that is the gradient of x1 × w1",
         "to x2 × w2: 0.5 × 1.0 = 0.5; that is the gradient of x2 × w2"],
        ["d o/d (x2 × w2) = 0.5 arrives at multiply.",
         "to x2: 0.5 × w2's 1.0 = 0.5; that is the gradient of x2",
         "to w2: 0.5 × x2's 0.0 = 0.0; that is the gradient of w2"],
        ["d o/d (x1 × w1) = 0.5 arrives at multiply.",
         "to x1: 0.5 × w1's −3.0 = −1.5; that is the gradient of x1",
         "to w1: 0.5 × x1's 2.0 = 1.0; that is the gradient of w1"],
    ]  # fmt: skip
    assert page.locator("#next").is_disabled()


def test_a_sum_of_gradients_grows(show):
    a = Value(3.0, label="a")
    page = show(draw((a * a + a * 2.0) + a * 4.0))  # 2 a + 2 + 4 = 12
    page.locator("#slider").fill("8")  # the last sum has sent its gradient back
    sums = []
    for _ in range(4):
        page.keyboard.press("]")
        sums.append((said(page).split("\n")[-1], page.locator("#n0 .grad").all_text_contents()[-1]))
    assert [(line, shown.strip()) for line, shown in sums] == [
        ("to a: 1.0 × 4.0 = 4.0; gradient of a so far: 4.0 (1 of 4 parts)", "4.0"),
        ("to a × 2.0: 1.0 × 1.0 = 1.0; that is the gradient of a × 2.0", "4.0"),
        ("to a: 1.0 × 2.0 = 2.0; gradient of a so far: 6.0 (2 of 4 parts)", "6.0"),
        ("to a: 1.0 × a's 3.0 = 3.0; gradient of a: 12.0, the sum of 4 parts", "12.0"),
    ]


def test_steps_light_what_takes_part_and_dim_what_is_to_come(show):
    page = show(neuron())

    def ids(name):
        return page.locator(f".{name}").evaluate_all("all => all.map(b => b.id).sort()")

    page.keyboard.press("]")
    page.keyboard.press("]")
    assert ids("lit") == ["e0", "e1", "n5"]
    assert ids("part") == ["n0", "n2"]
    assert {"n6", "n7", "n8", "n9"} < set(ids("waiting"))
    assert len(ids("without")) == 10
    page.locator("#slider").fill("9")  # backward through n
    assert ids("lit") == ["e6", "e7", "n8"]
    assert ids("part") == ["n4", "n7"]
    assert ids("waiting") == []
    assert ids("without") == ["n0", "n1", "n2", "n3", "n5", "n6"]
    page.keyboard.press("Escape")
    assert ids("lit") == ids("without") == []


def test_steps_in_a_folded_cluster_light_its_box(show):
    page = show(network())
    drawn(page, lambda: page.click("#c1 .handle"))
    page.click("#next")
    page.click("#next")
    assert said(page).startswith("linear: linear(x, layers.0.weight, layers.0.bias) = ")
    assert "f1" in page.locator(".lit").evaluate_all("all => all.map(b => b.id)")
    page.check("#open-steps")
    drawn(page, lambda: page.click("#next"))
    assert page.locator("#f1").count() == 0
    lit = page.locator(".node.lit").get_attribute("aria-label")
    assert lit.startswith("relu")


def test_play_and_pause(show):
    page = show(neuron())
    page.click("#play")
    page.wait_for_function("() => document.getElementById('place').textContent === '2 of 12'")
    page.click("#play")
    assert page.locator("#play").get_attribute("aria-label") == "Play"


# --- hands ---------------------------------------------------------------------------------------


def test_everything_by_keyboard(show):
    page = show(network())

    def focus():
        return page.evaluate(
            "(document.activeElement.closest('.node, .cluster') ?? document.activeElement).id"
        )

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the picture"
    page.keyboard.press("Enter")
    assert focus() == "canvas"
    before = page.locator("#sheet").get_attribute("style")
    page.keyboard.press("ArrowRight")
    moved = page.locator("#sheet").get_attribute("style")
    assert moved != before
    was = scale(page)
    page.keyboard.press("+")
    assert scale(page) == pytest.approx(was * 1.25)
    page.keyboard.press("-")
    page.keyboard.press("0")
    page.keyboard.press("Tab")
    assert focus() == "c0"  # the first thing in the picture
    page.keyboard.press("ArrowDown")
    assert focus() == "c1"
    page.keyboard.press("ArrowDown")
    assert focus() == "n0"  # the first layer's weight
    page.keyboard.press("ArrowRight")
    assert focus() == "n5"
    page.keyboard.press("ArrowLeft")
    assert focus() in {"n0", "n1", "n4"}
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#details h2").inner_text() == "linear"
    page.keyboard.press("Escape")
    assert page.locator("#details h2").count() == 0
    drawn(page, lambda: page.keyboard.press("f"))
    page.wait_for_timeout(50)
    page.focus("#f0")
    drawn(page, lambda: page.keyboard.press("Enter"))
    assert focus() == "c0"
    drawn(page, lambda: page.keyboard.press("o"))
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    page.keyboard.press("/")
    assert focus() == "query"
    page.keyboard.type("[?f")  # these are letters there
    assert page.locator("#query").input_value() == "[?f"
    assert not page.locator("#help").is_visible()


def test_single_keys_can_be_switched_off(show):
    page = show(neuron())
    page.keyboard.press("?")
    page.uncheck("#single-keys")
    page.click("#help button")
    page.keyboard.press("]")
    assert page.locator("#place").inner_text() == "0 of 12"


def test_wheel_and_drag(show):
    page = show(neuron())
    box = page.locator("#n0").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    was = scale(page)
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(50)
    assert scale(page) > 1.2 * was
    now = page.locator("#n0").bounding_box()
    assert now["x"] == pytest.approx(box["x"], abs=4)  # what is under the pointer stays there
    page.mouse.down()
    page.mouse.move(box["x"] + 105, box["y"] + 65, steps=5)
    page.mouse.up()
    after = page.locator("#n0").bounding_box()
    assert after["x"] - now["x"] == pytest.approx(100, abs=6)
    assert page.locator(".chosen").count() == 0  # a drag is no click


def test_two_fingers_zoom(show):
    page = show(neuron(), size=(390, 844), has_touch=True, is_mobile=True)
    box = page.locator("#canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)
    was = scale(page)

    def touch(kind, *spread):
        points = [{"x": x - d, "y": y, "id": 0} for d in spread]
        points += [{"x": x + d, "y": y, "id": 1} for d in spread]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 40)
    for d in (50, 60, 70, 80):
        touch("touchMove", d)
    touch("touchEnd")
    page.wait_for_timeout(100)
    assert scale(page) == pytest.approx(2 * was, rel=0.1)


# --- everyone ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_axe_finds_nothing(show, scheme, size):
    page = show(network(), size=size, color_scheme=scheme)
    axe = axe_playwright.Axe()

    def check():
        page.wait_for_timeout(300)  # colours fade
        found = axe.run(page).response["violations"]
        assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found] == []

    check()
    page.locator("#n7").dispatch_event("click")
    check()
    for _ in range(9):
        page.keyboard.press("]")
    page.fill("#query", "weight")
    check()
    drawn(page, lambda: page.locator("#c1 .handle").dispatch_event("click"))
    check()
    page.click("#help-open")
    check()


def test_theme_follows_the_system_until_it_is_chosen(show):
    page = show(neuron(), color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    fill = "getComputedStyle(document.querySelector('#n9 .shape')).fill"
    assert page.evaluate(paper) == "rgb(20, 23, 26)"
    dark = page.evaluate(fill)
    page.emulate_media(color_scheme="light")
    page.wait_for_selector("html[data-theme=light]")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert page.evaluate(fill) != dark
    page.click("#theme")
    assert page.evaluate(paper) == "rgb(20, 23, 26)"
    assert page.evaluate(fill) == dark


def test_hostile_labels_draw_as_themselves(show):
    a = Value(2.0, label=HOSTILE)
    b = Value(3.0, label="<!--<svg onload=alert(2)>")
    y = a * b
    y.label = "{{data}} \\N & <b>bold</b> $& \ue000 \u202e"
    page = show(draw(y, {HOSTILE: a, "</script <!-- <script ": b}))
    assert page.locator("#n0 text").first.text_content() == HOSTILE
    assert page.locator("#n1 text").first.text_content() == "</script <!-- <script "
    y_text = "{{data}} \\N & <b>bold</b> $& \ufffd \ufffd"
    assert page.locator("#n2 text").first.text_content() == y_text
    page.click("#n0")
    assert page.locator("#details h2").inner_text() == HOSTILE
    for _ in range(4):
        page.keyboard.press("]")
    assert HOSTILE in said(page)
    page.fill("#query", "alert(1)")
    assert page.locator("#hits").inner_text() == "1 hit"
    assert page.locator("body b, body svg svg, #details script").count() == 1  # in the sentence
    assert page.locator("script:not([type])").count() == 13


def test_hostile_names_of_modules(show):
    evil = '$& \\G "]; <script>'
    model = tg.nn.MLP(2, [2, 2, 2, 2], rng=0)
    graph = draw(model(tg.tensor([[1.0, 2.0]])).sum(), model).description
    clusters = [c._replace(name=f"{evil}{i}", title=evil) for i, c in enumerate(graph.clusters)]
    graph = replace(graph, clusters=tuple(clusters))
    page = show(to_page(graph, title=evil))
    assert page.locator("h1").inner_text() == evil
    assert page.locator("#c1 .handle").get_attribute("aria-label").startswith(f"{evil}1: {evil}")
    drawn(page, lambda: page.select_option("#depth", "1"))
    texts = page.locator("[id^=f] text").all_text_contents()
    assert {f"{evil}1 … {evil}3", f"{evil} × 3 ▸"} <= set(texts)


def test_it_prints_the_picture_on_one_page(show):
    page = show(network())
    page.evaluate("""() => addEventListener("afterprint", () => {
        window.left = document.getElementById("picture").getAttribute("viewBox");
    })""")
    page.evaluate("""() => addEventListener("beforeprint", () => {
        window.printed = document.getElementById("picture").getAttribute("viewBox");
    })""")
    for _ in range(3):
        page.keyboard.press("+")
    pdf = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1
    assert re.fullmatch(r"0 0 [\d.]+ [\d.]+", page.evaluate("window.printed"))
    assert page.evaluate("window.left") is None
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not page.locator("footer").is_visible()
    assert not page.locator("#panel").is_visible()
    picture = page.locator("#picture").bounding_box()
    for box in (page.locator("#n0"), page.locator(".node").last, page.locator("#c0")):
        place = box.bounding_box()
        assert place["x"] >= picture["x"] - 1
        assert place["x"] + place["width"] <= picture["x"] + picture["width"] + 1
    ink = page.evaluate("getComputedStyle(document.querySelector('#n0 .shape')).fill")
    assert ink == "rgb(251, 227, 181)"  # light, on paper


@pytest.mark.parametrize("size", [(1280, 800), (800, 600), (390, 844)])
@pytest.mark.parametrize("make", [neuron, network])
def test_nothing_overlaps(show, make, size):
    page = show(make(), size=size)
    page.locator("#n2").dispatch_event("click")
    for _ in range(10):
        page.keyboard.press("]")
    parts = page.locator("header > *, main, #panel, footer").evaluate_all("""all => all
        .map(e => [e.id || e.tagName, e.getBoundingClientRect().toJSON()])
        .filter(([, r]) => r.width && r.height)""")
    assert {"MAIN", "panel", "FOOTER"} <= {name for name, _ in parts}
    for i, (name, a) in enumerate(parts):
        assert a["left"] >= -1, name
        assert a["right"] <= size[0] + 1, name
        assert a["bottom"] <= size[1] + 1, name
        for other, b in parts[:i]:
            apart = (
                a["left"] >= b["right"] - 1
                or b["left"] >= a["right"] - 1
                or a["top"] >= b["bottom"] - 1
                or b["top"] >= a["bottom"] - 1
            )
            assert apart, (name, other)
    assert page.locator("main").bounding_box()["height"] > 150
    # No text leaves its box, whatever fonts this system has.
    outside = page.locator(".node").evaluate_all("""all => all.flatMap(node => {
        const box = node.querySelector('.shape').getBBox();
        return [...node.querySelectorAll('text')].filter(text => {
            const t = text.getBBox();
            return t.x < box.x - 1 || t.x + t.width > box.x + box.width + 1;
        }).map(text => text.textContent);
    })""")
    assert outside == []
    # Nor does one run into another: a word of a row into its number, say.
    together = page.locator(".node").evaluate_all("""all => all.flatMap(node => {
        const texts = [...node.querySelectorAll('text')].map(t => [t.textContent, t.getBBox()]);
        return texts.flatMap(([name, a], i) => texts.slice(0, i).filter(([, b]) =>
            Math.abs(a.y + a.height / 2 - b.y - b.height / 2) < 3
            && a.x < b.x + b.width && b.x < a.x + a.width).map(([other]) => [name, other]));
    })""")
    assert together == []


# --- large graphs --------------------------------------------------------------------------------


def test_a_thousand_nodes_begin_folded(show):
    v = Value(0.5, label="x")
    for i in range(999):
        v = v.tanh() if i % 2 else -v
    page = show(draw(v))
    assert page.locator(".node").count() <= 150
    assert " nodes are folded into " in page.locator("#state").inner_text()
    page.fill("#query", "tanh")
    assert page.locator("#hits").inner_text() == "499 hits"
    for key in ("Enter", "Shift+Enter"):  # the first and the last
        page.press("#query", key)
        page.wait_for_selector(".node.chosen")


def test_a_view_too_large_is_asked_for(show):
    v = Value(0.5)
    for _ in range(1600):
        v = -v
    page = show(draw(v))
    before = page.locator(".node").count()
    page.click("#open-all")
    assert page.locator("#state").inner_text().startswith("That would be 1,601 boxes")
    assert page.locator(".node").count() == before
    assert page.locator("#state button").inner_text() == "Draw them"


def test_packed_graphviz_is_plain_ascii():
    source = neuron().to_html()
    packed = re.search(r'id="graphviz">([^<]*)<', source)[1]
    assert base64.b64decode(packed)[:2] == b"\x1f\x8b"
