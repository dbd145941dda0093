"""How long a page takes from the request until its picture stands and its controls work.

    python tests/benchmarks/page_speed.py

For graphs of 100 and 1,000 nodes, with and without modules: the time to write the page, to lay it
out, and until it is interactive, the fastest and the median of five in headless Chromium, which is
started once: its first picture includes what the browser itself starts with.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

import tinygrad_nn as tg
from tinygrad_nn import Value, scalar
from tinygrad_nn.draw import draw

REPEATS = 5


def neurons(*sizes):
    model = scalar.MLP(3, list(sizes), rng=0)
    return draw(model([Value(0.5 * i, label=f"x{i}") for i in range(3)]), model)


def layers(count):
    model = tg.nn.MLP(8, [8] * count + [1], rng=0)
    x = tg.tensor(np.random.default_rng(0).normal(size=(4, 8)), label="x")
    return draw(model(x).mean(), model)


def loose(count):
    """Return a graph in which nothing can be folded but runs of nodes."""
    rng = np.random.default_rng(0)
    nodes = [Value(float(x)) for x in rng.normal(size=8)]
    unused = set(range(8))
    while len(nodes) < count:
        a = rng.integers(max(0, len(nodes) - 30), len(nodes))
        b = unused.pop() if unused else a
        unused.discard(a)
        unused.add(len(nodes))
        nodes.append([nodes[a] + nodes[b], nodes[a] * nodes[b]][rng.integers(2)])
    return draw(tg.add_n([nodes[i] for i in sorted(unused)]))


def chain(count):
    v = Value(0.5)
    for i in range(count - 1):
        v = v.tanh() if i % 2 else -v
    return draw(v)


GRAPHS = {
    "neurons, about 100 nodes": lambda: neurons(4, 4, 1),
    "layers, about 100 nodes": lambda: layers(24),
    "no modules, 100 nodes": lambda: loose(100),
    "neurons, about 1,000 nodes": lambda: neurons(16, 20, 4, 1),
    "layers, about 1,000 nodes": lambda: layers(250),
    "no modules, 1,000 nodes": lambda: loose(1000),
    "chain, 1,000 nodes": lambda: chain(1000),
}

# The page marks its root when the picture stands and the controls work.
READY = """() => {
    const [root] = document.getElementsByTagName('html');
    new MutationObserver(() => { window.ready ??= performance.now(); })
        .observe(document, { attributes: true, subtree: true, attributeFilter: ['data-ready'] });
}"""


def main():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        print(f"{'graph':28} nodes  boxes   MB  write s  interactive s  (median)  open all s")
        for name, make in GRAPHS.items():
            drawing = make()
            began = time.perf_counter()
            source = drawing.to_html()
            written = time.perf_counter() - began
            path = Path(folder) / "page.html"
            path.write_text(source, encoding="utf-8")
            ready, opened = [], []
            for _ in range(REPEATS):
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.add_init_script(f"({READY})()")
                page.goto(path.as_uri())
                page.wait_for_selector("html[data-ready]")
                ready.append(page.evaluate("ready") / 1000)
                boxes = page.locator(".node").count()
                if page.locator("#open-all").is_visible():
                    began = time.perf_counter()
                    page.click("#open-all")
                    page.wait_for_selector("html[data-ready='2']")
                    opened.append(time.perf_counter() - began)
                page.close()
            nodes = len(drawing.whole.nodes)
            print(
                f"{name:28} {nodes:5,} {boxes:6,} {len(source) / 1e6:4.1f} {written:8.2f} "
                f"{min(ready):14.2f} {statistics.median(ready):9.2f} "
                + (f"{min(opened):11.2f}" if opened else ""),
                flush=True,
            )


if __name__ == "__main__":
    main()
