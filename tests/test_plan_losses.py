"""Losses and masks, compiled: every option, labels that are wrong or ignored, masks that flip."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_eager import TOLERANCE, as_leaf, backwards, check, same
from test_losses import PYTORCH

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, optim, tensor
from tinygrad_nn.errors import TinygradError

Array = np.ndarray
REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])

# --- every loss ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", PYTORCH, ids=[f"{i} {c[0]}" for i, c in enumerate(PYTORCH)])
def test_every_option(case: Any, dtype: Any) -> None:
    name, options, prediction, target, *_ = case
    loss = getattr(losses, name)
    x, t = np.array(prediction, dtype), np.array(target)
    t = t.astype(dtype) if t.dtype.kind == "f" else t
    probabilities = name == "binary_cross_entropy"

    def draw(k: int) -> list[Any]:
        rng = np.random.default_rng(k)
        new = x * rng.uniform(0.8, 1.2, x.shape).astype(dtype)
        new = np.clip(new, 0.0, 1.0) if probabilities else new
        return [as_leaf(x if k == 0 else new), np.roll(t, k, axis=0)]

    draws = [draw(k) for k in range(4)]
    f = backwards(lambda x, t: loss(x, t, **options))
    # Labels that turn up in another place are another set of ignored ones, at the most.
    compiled = tg.compile(f)
    for prediction_, target_ in draws:
        leaf = tensor(prediction_.data, requires_grad=True)
        same(compiled(leaf, target_), f(prediction_, target_), TOLERANCE[dtype])
        same(leaf.grad, prediction_.grad, TOLERANCE[dtype])
    assert compiled.captures <= 2


@REDUCTIONS
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_ignored_labels_of_a_later_batch(reduction: str, smoothing: float, weighted: bool) -> None:
    weight = np.array([0.5, 2.0, 1.25]) if weighted else None

    def f(x: Any, t: Any) -> Any:
        return losses.cross_entropy(
            x, t, weight=weight, reduction=reduction, label_smoothing=smoothing
        )

    rng = np.random.default_rng(0)
    batches = [[0, 1, 2], [2, 1, 0], [0, -100, 1], [1, 2, 0], [-100, -100, 2], [1, 1, -100]]
    draws = [[as_leaf(rng.normal(size=(3, 3))), np.array(labels)] for labels in batches]
    check(backwards(f), draws, captures=2)


def test_weights_as_an_argument() -> None:
    rng = np.random.default_rng(0)
    draws = [
        [as_leaf(rng.normal(size=(4, 3))), rng.integers(0, 3, 4), rng.uniform(0.1, 1.0, 3)]
        for _ in range(3)
    ]
    check(backwards(lambda x, t, w: losses.cross_entropy(x, t, weight=w)), draws)


def test_targets_that_are_tensors() -> None:
    rng = np.random.default_rng(0)
    for loss in (losses.mse_loss, losses.l1_loss, losses.huber_loss):
        draws = [[as_leaf(rng.normal(size=5)), tensor(rng.normal(size=5))] for _ in range(3)]
        check(backwards(loss), draws)
    draws = [[as_leaf(rng.normal(size=(4, 3))), tensor(rng.integers(0, 3, 4))] for _ in range(3)]
    check(backwards(losses.cross_entropy), draws)


# --- what is wrong is refused as it is in eager execution ----------------------------------------

_X = np.random.default_rng(0).normal(size=(4, 3))
_P = np.random.default_rng(0).uniform(0.1, 0.9, size=4)
_GOOD = np.array([0, 2, 1, 1])

#: A loss, its prediction, a good target, and a bad one of the same shape and dtype.
BAD: dict[str, tuple[Callable[..., Any], Any, Any, Any]] = {
    "label too large": (losses.cross_entropy, _X, _GOOD, np.array([0, 3, 1, 1])),
    "label negative": (losses.cross_entropy, _X, _GOOD, np.array([0, -1, 1, 1])),
    "label of nll": (losses.nll_loss, _X, _GOOD, np.array([0, 7, 1, 1])),
    "label beside an ignored one": (losses.cross_entropy, _X, _GOOD, np.array([-100, 9, 1, 1])),
    "soft targets": (
        losses.cross_entropy,
        _X,
        np.full((4, 3), 1.0 / 3.0),
        np.full((4, 3), 0.5),
    ),
    "negative targets": (
        losses.cross_entropy,
        _X,
        np.full((4, 3), 1.0 / 3.0),
        np.array([[1.5, -0.5, 0.0]] * 4),
    ),
    "probability": (losses.binary_cross_entropy, _P, np.ones(4), np.array([1.0, 0.0, 1.5, 0.0])),
    "logits' target": (
        losses.binary_cross_entropy_with_logits,
        _P,
        np.ones(4),
        np.array([1.0, 0.0, -0.5, 0.0]),
    ),
    "hinge": (losses.hinge_loss, _P, np.array([1, -1, 1, -1]), np.array([1, 0, 1, -1])),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_targets(name: str) -> None:
    loss, x, good, bad = BAD[name]
    with pytest.raises((TinygradError, IndexError)) as expected:
        loss(tensor(x), bad)
    w = tensor(np.ones(x.shape), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9)

    @tg.compile
    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        y = loss(w * x, t)
        y.backward()
        optimizer.step()
        return y

    def refused() -> None:
        before, state = w.data.copy(), optimizer.state_dict()
        with pytest.raises(type(expected.value)) as found:
            step(x, bad)
        assert str(found.value).splitlines()[0] == str(expected.value).splitlines()[0]
        same(w.data, before)
        same(optimizer.state_dict(), state)

    refused()  # at the first call of all
    for _ in range(3):
        step(x, good)
        refused()
    first = step(x, good).item()
    assert step(x, good).item() != first  # it has gone on


def test_a_bad_probability_that_is_computed() -> None:
    f = tg.compile(lambda p, t: losses.binary_cross_entropy(p * 1.0, t))
    t = np.array([1.0, 0.0])
    f(tensor([0.5, 0.5]), t)
    f(tensor([0.1, 0.5]), t)
    with pytest.raises(losses.LossError, match="probabilities must be from 0 to 1"):
        f(tensor([0.5, 1.5]), t)


def test_bad_weights() -> None:
    f = tg.compile(lambda x, t, w: losses.cross_entropy(x, t, weight=w))
    f(tensor(_X), _GOOD, np.ones(3))
    f(tensor(_X), _GOOD, np.ones(3))
    with pytest.raises(losses.LossError, match="must not be negative"):
        f(tensor(_X), _GOOD, np.array([1.0, -1.0, 1.0]))


# --- masks that flip -----------------------------------------------------------------------------

MASKS: dict[str, Callable[[Any], Any]] = {
    "relu": tg.relu,
    "leaky_relu": tg.leaky_relu,
    "elu": tg.elu,
    "hard_tanh": tg.hard_tanh,
    "absolute": np.abs,
    "maximum": lambda x: np.maximum(x, 0.3 * x + 0.1),
    "minimum": lambda x: np.minimum(x, np.sin(3.0 * x)),
    "where": lambda x: np.where(x > 0.2, x * x, np.exp(x)),
    "where of two": lambda x: np.where((x > -0.5) & ~(x > 0.5), x, -x),
    "clip": lambda x: np.clip(x, -0.5, 0.7),
    "select": lambda x: np.select([x < -1.0, x < 0.0, x < 1.0], [x, x * x, np.sin(x)], np.cos(x)),
    "max": lambda x: np.max(x, axis=0),
    "argmax": lambda x: np.take_along_axis(x, np.argmax(x, axis=1, keepdims=True), axis=1),
    "sort": lambda x: np.sort(x, axis=1) * np.arange(1.0, 5.0),
    "order": lambda x: np.take_along_axis(x, np.argsort(x, axis=0), axis=0) * x,
    "median": lambda x: np.median(x, axis=0),
    "comparison times": lambda x: (x > 0.0) * x,
    "sign": lambda x: np.sign(x) * x * x,
    "nan": lambda x: np.nan_to_num(np.where(x > 1.0, np.nan, x)),
    "count": lambda x: x * np.count_nonzero(x > 0.0) / x.size,
    "remainder": lambda x: np.remainder(x, 0.7),
    "floor": lambda x: x - np.floor(x),
    "dead": lambda x: tg.relu(x - 10.0),
    "a mask kept": lambda x: (lambda mask: mask * x + (1.0 - mask) * x**2)(x.data > 0.0),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", MASKS)
def test_masks_flip(name: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    draws = [[as_leaf(rng.uniform(-2.0, 2.0, (3, 4)).astype(dtype))] for _ in range(5)]
    draws.append([as_leaf(np.zeros((3, 4), dtype))])  # on the kink
    draws.append([as_leaf(np.full((3, 4), -1.0, dtype))])
    check(backwards(MASKS[name]), draws, TOLERANCE[dtype])


def test_masks_of_a_network_flip() -> None:
    twins = [nn.MLP(4, [16, 3], rng=1, dtype=np.float64) for _ in range(2)]

    def step_of(model: Any) -> Any:
        def step(x: Any, y: Any) -> Any:
            for p in model.parameters():
                p.grad = None
            loss = losses.cross_entropy(model(x), y)
            loss.backward()
            for p in model.parameters():
                p.data -= 0.5 * p.grad
            return loss

        return step

    eager, compiled = step_of(twins[0]), tg.compile(step_of(twins[1]))
    for k in range(10):
        rng = np.random.default_rng(k)
        x, y = rng.normal(size=(6, 4)) * (-1) ** k, rng.integers(0, 3, 6)
        same(compiled(x, y), eager(x, y))
        for p, q in zip(*(m.parameters() for m in twins), strict=True):
            same(q.data, p.data, 1e-11)
            same(q.grad, p.grad, 1e-11)
    assert compiled.captures == 1
