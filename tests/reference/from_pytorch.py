"""Print the reference numbers in the tests' tables, as PyTorch 2.13 computes them.

Run it where PyTorch is installed: ``python tests/reference/from_pytorch.py TABLE``, TABLE being
activations, losses or sgd. The tests themselves need the printed numbers alone.
"""

from __future__ import annotations

import itertools
import math
import sys
import textwrap
from typing import Any

INF, NAN = math.inf, math.nan

# --- activations ---------------------------------------------------------------------------------

POINTS = [
    -INF, -1000.0, -50.0, -20.0, -3.5, -1.0, -0.5, -1e-8, -0.0, 0.0, 1e-8, 0.3, 1.0, 2.5, 6.0,
    20.0, 50.0, 1000.0, INF, NAN,
]  # fmt: skip


def activations(torch: Any) -> None:
    F = torch.nn.functional  # noqa: N806  # PyTorch's own name for it
    functions = {
        "relu": F.relu,
        "leaky_relu": F.leaky_relu,
        "elu": F.elu,
        "selu": F.selu,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
        "softplus": F.softplus,
        "sigmoid": F.sigmoid,
        "log_sigmoid": F.logsigmoid,
        "tanh": F.tanh,
        "hard_tanh": F.hardtanh,
    }
    for name, function in functions.items():
        x = torch.tensor(POINTS, dtype=torch.float64, requires_grad=True)
        y = function(x)
        y.backward(torch.ones_like(y))
        show(name, y.tolist(), x.grad.tolist())


# --- losses --------------------------------------------------------------------------------------

SCORES = [[2.0, -1.0, 0.5], [0.1, 0.2, -0.3], [-1.5, 3.0, 1.0], [0.0, 0.0, 0.0]]
LABELS = [0, 2, 1, 1]
IGNORED = [0, -100, 1, 2]
SOFT = [[0.7, 0.2, 0.1], [0.0, 0.0, 1.0], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0]]
WEIGHT = [0.5, 2.0, 1.25]
HUGE = [[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 999.0], [1e30, 0.0, -1e30], [0.0, -800.0, 800.0]]
PREDICTED = [0.3, -1.2, 4.0, 2.5, -3.0]
WANTED = [0.0, 1.0, 4.0, 1.0, 5.0]
PROBABILITIES = [0.2, 0.9, 0.5, 1e-9, 0.999999, 0.0, 1.0, 0.0, 1.0, 1e-50]
OUTCOMES = [0.0, 1.0, 0.3, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
LOGITS = [0.5, -2.0, 30.0, -30.0, 1000.0, -1000.0, 1000.0, -1000.0, 0.0]
OUTCOMES_OF_LOGITS = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.25]


def loss_cases() -> list[tuple[str, Any, Any, dict[str, Any]]]:
    plain = ["mse_loss", "l1_loss", "huber_loss"]
    cases: list[tuple[str, Any, Any, dict[str, Any]]] = [
        (name, PREDICTED, WANTED, {"reduction": reduction})
        for name in plain
        for reduction in ("mean", "sum", "none")
    ]
    cases += [("huber_loss", PREDICTED, WANTED, {"delta": delta}) for delta in (0.5, 1.5, 10.0)]
    for reduction in ("mean", "sum", "none"):
        cases.append(("binary_cross_entropy", PROBABILITIES, OUTCOMES, {"reduction": reduction}))
        cases.append(
            ("binary_cross_entropy_with_logits", LOGITS, OUTCOMES_OF_LOGITS,
             {"reduction": reduction})
        )  # fmt: skip
    options = [
        {}, {"weight": WEIGHT}, {"label_smoothing": 0.1}, {"label_smoothing": 1.0},
        {"weight": WEIGHT, "label_smoothing": 0.2},
    ]  # fmt: skip
    for reduction in ("mean", "sum", "none"):
        for option in options:
            keywords = option | {"reduction": reduction}
            cases.append(("cross_entropy", SCORES, LABELS, keywords))
            cases.append(("cross_entropy", SCORES, IGNORED, keywords))
            cases.append(("cross_entropy", SCORES, SOFT, keywords))
        cases.append(("cross_entropy", SCORES, LABELS, {"ignore_index": 1, "reduction": reduction}))
        cases.append(("cross_entropy", HUGE, LABELS, {"reduction": reduction}))
        for labels in (LABELS, IGNORED):
            cases.append(("nll_loss", SCORES, labels, {"reduction": reduction}))
            cases.append(("nll_loss", SCORES, labels, {"weight": WEIGHT, "reduction": reduction}))
    return cases


def losses(torch: Any) -> None:
    F = torch.nn.functional  # noqa: N806  # PyTorch's own name for it
    for name, prediction, target, keywords in loss_cases():
        x = torch.tensor(prediction, dtype=torch.float64, requires_grad=True)
        labels = isinstance(target[0], int)
        t = torch.tensor(target, dtype=torch.int64 if labels else torch.float64)
        passed = dict(keywords)
        if "weight" in passed:
            passed["weight"] = torch.tensor(passed["weight"], dtype=torch.float64)
        y = getattr(F, name)(x, t, **passed)
        # Unequal cotangents, so that a gradient sent to the wrong element shows.
        y.backward(torch.arange(1.0, y.numel() + 1, dtype=torch.float64).reshape(y.shape))
        shown = {k: Name("WEIGHT") if v is WEIGHT else v for k, v in keywords.items()}
        inputs = NAMES[id(prediction)], NAMES[id(target)]
        show(name, shown, *inputs, y.tolist(), x.grad.tolist())


class Name(str):
    """A text that is printed without quotes."""

    __repr__ = str.__str__


NAMES = {id(value): Name(name) for name, value in list(globals().items()) if name.isupper()}

# --- SGD -----------------------------------------------------------------------------------------


def sgd(torch: Any) -> None:
    """Five steps on a quadratic in w (two elements) and b (one) that couples them."""
    grid = itertools.product([0.0, 0.9], [0.0, 0.1], [0.0, 0.01], [False, True], [False, True])
    for momentum, dampening, weight_decay, nesterov, maximize in grid:
        if nesterov and (not momentum or dampening):
            continue  # refused by PyTorch
        w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
        b = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD(
            [w, b], 0.1, momentum, dampening, weight_decay, nesterov, maximize=maximize
        )
        path = []
        for _ in range(5):
            optimizer.zero_grad()
            ((w * w).sum() + 0.5 * (w[0] * w[1]) + (b - w[0]) ** 2).backward()
            optimizer.step()
            path.append([*w.tolist(), b.item()])
        show(momentum, dampening, weight_decay, nesterov, maximize, path)


# --- printing ------------------------------------------------------------------------------------


def show(*row: Any) -> None:
    """Print the row of a table, wrapped."""
    text = f"({', '.join(map(repr, row))}),".replace("'", '"')
    text = text.replace("nan", "NAN").replace("inf", "INF")
    print(textwrap.fill(text, 98, initial_indent="    ", subsequent_indent="     "))


if __name__ == "__main__":
    import torch

    {"activations": activations, "losses": losses, "sgd": sgd}[sys.argv[1]](torch)
