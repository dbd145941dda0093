"""Take the screenshots of gallery.md anew: ``python docs/screenshots.py``.

They are looked at and not compared: two versions of a browser set the same text a little apart.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from playwright.sync_api import Page, sync_playwright

import tinygrad_nn as tg
from tinygrad_nn import Value
from tinygrad_nn.anomaly import source_lines
from tinygrad_nn.draw import Drawing, draw

IMAGES = Path(__file__).parent / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def neuron() -> Drawing:
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
    b = Value(6.8813735870195432, label="b")
    with source_lines():
        n = x1 * w1 + x2 * w2 + b
        o = n.tanh()
    n.label, o.label = "n", "o"
    return draw(o, {"w1": w1, "w2": w2, "b": b})


def network() -> Drawing:
    model = tg.nn.MLP(2, [8, 8, 8, 8, 2], rng=0)
    x = tg.tensor(np.random.default_rng(0).normal(size=(32, 2)), label="x")
    labels = np.arange(32) % 2
    with source_lines():
        loss = tg.losses.cross_entropy(model(x), labels)
    return draw({"loss": loss}, model, depth=1)


def press(page: Page, key: str, times: int) -> None:
    for _ in range(times):
        page.keyboard.press(key)


def show_forward(page: Page) -> None:
    press(page, "]", 4)


def show_backward(page: Page) -> None:
    press(page, "]", 9)


def show_details(page: Page) -> None:
    page.get_by_role("button", name="n, add").first.click()


def nothing(page: Page) -> None:
    """Show the page as it comes."""


PAGES = {
    "page-light": (neuron, "light", show_details),
    "page-dark": (network, "dark", nothing),
    "page-forward": (neuron, "light", show_forward),
    "page-backward": (neuron, "dark", show_backward),
}


def take_pages(folder: Path) -> None:
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, (make, scheme, act) in PAGES.items():
            path = make().save(folder / f"{name}.html")
            context = browser.new_context(
                viewport={"width": 1200, "height": 640},
                color_scheme=scheme,  # type: ignore[arg-type]
                device_scale_factor=1.5,
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]")
            act(page)
            page.wait_for_timeout(400)
            page.screenshot(path=IMAGES / f"{name}.png")


def take_plots() -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0.0, 2.0 * np.pi, 200)
    radius = np.where(np.arange(200) % 2, 1.0, 2.0)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    x += 0.15 * rng.normal(size=x.shape)
    y = np.arange(200) % 2
    model = tg.nn.MLP(2, [16, 1], activation="tanh", rng=0)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    flow = tg.GradientFlow(model)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        z = model(x)[:, 0]
        loss = np.mean(np.logaddexp(0.0, z) - y * z)
        loss.backward()
        flow.record()
        optimizer.step()
        losses.append(loss.item())
    plots = {
        "history-dark": lambda: tg.plot_history({"loss": losses}, theme="dark"),
        "boundary-dark": lambda: tg.plot_decision_boundary(model, x, y, theme="dark"),
        "gradients-dark": lambda: tg.plot_gradient_flow(flow, theme="dark"),
    }
    for name, plot in plots.items():
        figure = np.ravel(plot())[0].figure
        figure.savefig(IMAGES / f"{name}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        take_pages(Path(scratch))
    take_plots()
    sys.stdout.write(f"written to {IMAGES}\n")
