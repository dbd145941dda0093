"""Training steps, compiled: every optimizer and option, and what changes between two steps."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_eager import TOLERANCE, same

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, optim, tensor

Array = np.ndarray
PRECISIONS = pytest.mark.parametrize("dtype", [np.float64, np.float32])


class SignDescent(optim.Optimizer):
    """An optimizer of a user, who keeps the number of steps and a mean of the gradients."""

    def __init__(self, params: Any, lr: float = 0.01, share: float = 0.5) -> None:
        super().__init__(params, {"lr": lr, "share": share})

    def rule(self, p: Any, g: Any, state: Any, group: Any) -> Any:
        mean, count = state or (np.zeros_like(p), np.zeros_like(p))
        mean = group["share"] * mean + (1.0 - group["share"]) * g
        return p - group["lr"] * np.sign(mean) / (1.0 + 0.1 * count), (mean, count + 1.0)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"lr": 0.0},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.8, "nesterov": True},
    {"weight_decay": 0.01},
    {"maximize": True},
    {"momentum": 0.5, "weight_decay": 0.02, "dampening": 0.1, "maximize": True},
    {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True, "maximize": True},
]

MAKERS: dict[str, Callable[[Any], Any]] = {
    **{
        ", ".join(f"{k}={v}" for k, v in o.items()) or "SGD": lambda ps, o=o: optim.SGD(
            ps, **{"lr": 0.1} | o
        )
        for o in OPTIONS
    },
    "two groups": lambda ps: optim.SGD(
        [{"params": ps[:2], "momentum": 0.9}, {"params": ps[2:], "lr": 0.01}], lr=0.1
    ),
    "a user's optimizer": lambda ps: SignDescent(ps, lr=0.05),
}

EVERY = pytest.mark.parametrize("maker", MAKERS.values(), ids=list(MAKERS))


class Twins:
    """A model, its optimizer and a step; and the same once more, compiled."""

    def __init__(
        self,
        maker: Callable[[Any], Any] = lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9),
        dtype: Any = np.float64,
        step: Callable[..., Any] | None = None,
    ) -> None:
        model = nn.MLP(4, [6, 3], dtype=dtype)
        for p in model.parameters():
            p.data = np.random.default_rng(p.size).normal(0.0, 0.5, p.shape)
        self.models = [model, copy.deepcopy(model)]
        self.optimizers = [maker(m.parameters()) for m in self.models]
        steps = [
            _step_of(m, o) if step is None else _partial(step, m, o)
            for m, o in zip(self.models, self.optimizers, strict=True)
        ]
        self.compiled = tg.compile(steps[1])
        self.steps = [steps[0], self.compiled]
        self.dtype = dtype
        self.calls = 0

    def __call__(self, *args: Any) -> None:
        """Take one step each, and compare all that there is."""
        args = args or batch(self.calls, self.dtype)
        self.calls += 1
        expected, found = (step(*args) for step in self.steps)
        same(found, expected, TOLERANCE[self.dtype])
        self.compare()

    def compare(self) -> None:
        rtol = TOLERANCE[self.dtype]
        for p, q in zip(*(m.parameters() for m in self.models), strict=True):
            same(q.data, p.data, rtol)
            same(q.grad, p.grad, rtol)
        states = [o.state_dict() for o in self.optimizers]
        same(states[1], states[0], rtol)

    def both(self, change: Callable[[Any, Any], Any]) -> None:
        """Do the same to both."""
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            change(model, optimizer)


def _partial(step: Callable[..., Any], model: Any, optimizer: Any) -> Callable[..., Any]:
    return lambda *args: step(model, optimizer, *args)


def _step_of(model: Any, optimizer: Any) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def batch(k: int, dtype: Any = np.float64, n: int = 8) -> tuple[Array, Array]:
    rng = np.random.default_rng(k)
    return rng.normal(size=(n, 4)).astype(dtype), rng.integers(0, 3, n)


# --- options -------------------------------------------------------------------------------------


@EVERY
@PRECISIONS
def test_every_optimizer(maker: Callable[[Any], Any], dtype: Any) -> None:
    twins = Twins(maker, dtype)
    for _ in range(5):
        twins()
    assert twins.compiled.captures <= 2  # the first step may have no velocity yet


@EVERY
def test_the_learning_rate_may_change(maker: Callable[[Any], Any]) -> None:
    twins = Twins(maker)
    captures = []
    for k in range(6):
        twins.both(lambda m, o, k=k: [g.update(lr=0.1 / (k + 1)) for g in o.param_groups])
        twins()
        captures.append(twins.compiled.captures)
    assert captures[-1] == captures[1]


def test_a_learning_rate_of_another_type() -> None:
    twins = Twins(dtype=np.float32)
    for lr in (0.1, np.float64(0.05), np.float32(0.2), 1, np.array(0.03)):
        twins.both(lambda m, o, lr=lr: o.param_groups[0].update(lr=lr))
        twins()


@pytest.mark.parametrize(
    "change",
    [{"momentum": 0.3}, {"weight_decay": 0.5}, {"maximize": True}, {"nesterov": True},
     {"momentum": 0.0}, {"dampening": 0.5}],
    ids=str,
)  # fmt: skip
def test_other_options_are_captured_again(change: dict[str, Any]) -> None:
    twins = Twins()
    for _ in range(3):
        twins()
    before = twins.compiled.captures
    twins.both(lambda m, o: o.param_groups[0].update(change))
    for _ in range(3):
        twins()
    assert before < twins.compiled.captures <= before + 2


def test_an_added_group() -> None:
    extra = [tensor(np.ones(3), requires_grad=True) for _ in range(2)]

    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        scale = model.scale if hasattr(model, "scale") else 1.0
        loss = losses.cross_entropy(model(x) * scale, y)
        loss.backward()
        optimizer.step()
        return loss

    twins = Twins(step=step)
    twins()
    twins()
    for model, optimizer, scale in zip(twins.models, twins.optimizers, extra, strict=True):
        model.scale = scale
        optimizer.add_param_group({"params": [scale], "lr": 0.5})
    for _ in range(3):
        twins()


def test_parameters_without_a_gradient() -> None:
    def step(model: Any, optimizer: Any, x: Any, which: int) -> Any:
        optimizer.zero_grad()
        p = model.parameters()
        loss = sum(np.sum(np.tanh(q) * np.mean(x)) for q in p[:which])
        loss.backward()
        optimizer.step()
        return loss

    twins = Twins(step=step)
    x = np.random.default_rng(0).normal(size=5)
    for k, which in enumerate([1, 1, 4, 4, 2, 1, 4]):
        twins(x + k, which)


def test_frozen_parameters() -> None:
    twins = Twins()
    twins()
    twins()
    first = next(iter(twins.models[0].parameters()))
    before = first.data.copy()
    twins.both(lambda m, o: m.parameters()[0].requires_grad_(False))
    twins()
    twins()
    assert (first.data == before).all() or first.requires_grad is False
    twins.both(lambda m, o: m.parameters()[0].requires_grad_(True))
    twins()


# --- gradients -----------------------------------------------------------------------------------


def _backward(model: Any, x: Any, y: Any) -> Any:
    loss = losses.cross_entropy(model(x), y)
    loss.backward()
    return loss


def _zero_at_the_end(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    loss = _backward(model, x, y)
    optimizer.step()
    optimizer.zero_grad()
    return loss


def _never_zero(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    loss = _backward(model, x, y)
    optimizer.step()
    return loss


def _to_zeros(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    optimizer.zero_grad(set_to_none=False)
    return _never_zero(model, optimizer, x, y)


def _twice(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    optimizer.zero_grad()
    _backward(model, x, y)
    return _never_zero(model, optimizer, x * 0.5, y)


def _no_step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    return _backward(model, x, y)


def _scaled(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    optimizer.zero_grad()
    loss = _backward(model, x, y)
    norm = np.sqrt(sum(np.sum(p.grad**2) for p in model.parameters()))
    for p in model.parameters():
        p.grad = p.grad * np.minimum(1.0, 0.01 / norm)  # clipped by its norm
    optimizer.step()
    return loss, norm


def _in_place(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    optimizer.zero_grad()
    loss = _backward(model, x, y)
    for p in model.parameters():
        p.grad *= 0.5
        p.grad += 1e-3 * p.data
    optimizer.step()
    return loss


def _two_steps(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    for _ in range(2):
        optimizer.zero_grad()
        loss = _backward(model, x, y)
        optimizer.step()
    return loss


def _closure(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    def closure() -> Any:
        optimizer.zero_grad()
        return _backward(model, x, y)

    return optimizer.step(closure)


@pytest.mark.parametrize(
    "step",
    [_zero_at_the_end, _never_zero, _to_zeros, _twice, _no_step, _scaled, _in_place, _two_steps,
     _closure],
)  # fmt: skip
@PRECISIONS
def test_gradients(step: Callable[..., Any], dtype: Any) -> None:
    twins = Twins(dtype=dtype, step=step)
    held: list[tuple[Any, Any]] = []
    for _ in range(5):
        twins()
        for p in twins.models[1].parameters():
            held += [] if p.grad is None else [(p.grad, p.grad.copy())]
        for g, numbers in held:
            assert (g == numbers).all(), "a gradient that somebody holds has changed"
    assert twins.compiled.captures <= 3


def test_gradients_set_between_steps() -> None:
    twins = Twins(step=_never_zero)
    for k in range(6):
        if k == 2:
            twins.both(lambda m, o: o.zero_grad())
        if k == 4:
            twins.both(lambda m, o: [setattr(p, "grad", np.ones(p.shape)) for p in m.parameters()])
        twins()


def test_a_gradient_that_is_read_may_be_written_to() -> None:
    twins = Twins(step=_never_zero)
    for _ in range(4):
        twins()
        for p in twins.models[1].parameters():
            p.grad[...] += 1.0
        for p in twins.models[0].parameters():
            p.grad[...] += 1.0


# --- what changes between steps ------------------------------------------------------------------


def _set_by_hand(model: Any, optimizer: Any) -> None:
    for p in model.parameters():
        p.data = np.cos(p.data)


def _in_place_by_hand(model: Any, optimizer: Any) -> None:
    for p in model.parameters():
        p.data *= 0.5
        p.data[..., 0] = 0.25


def _under_no_grad(model: Any, optimizer: Any) -> None:
    with tg.no_grad():
        for p in model.parameters():
            p -= 0.1
            p[..., 0] = 2.0


def _load_state(model: Any, optimizer: Any) -> None:
    state = optimizer.state_dict()
    for entry in state["param_groups"]:
        entry["lr"] = 0.02
        entry["state"] = [[s * 0.5 for s in arrays] for arrays in entry["state"]]
    optimizer.load_state_dict(state)


def _load_model(model: Any, optimizer: Any) -> None:
    state = model.state_dict()
    model.load_state_dict({key: np.sin(value) for key, value in state.items()})


def _eager_step(model: Any, optimizer: Any) -> None:
    _step_of(model, optimizer)(*batch(99))


def _round_trip(model: Any, optimizer: Any) -> None:
    optimizer.load_state_dict(optimizer.state_dict())


def _read(model: Any, optimizer: Any) -> None:
    for p in model.parameters():
        assert np.isfinite(p.grad).all()
        assert np.isfinite(p.data).all()


@pytest.mark.parametrize(
    "change",
    [_set_by_hand, _in_place_by_hand, _under_no_grad, _load_state, _load_model, _eager_step,
     _round_trip, _read],
)  # fmt: skip
@EVERY
def test_changes_between_steps(
    change: Callable[[Any, Any], None], maker: Callable[[Any], Any]
) -> None:
    twins = Twins(maker)
    for k in range(6):
        twins()
        if k in (1, 3):
            twins.both(change)
    twins.compare()


def test_an_earlier_state_dict_keeps_its_numbers() -> None:
    twins = Twins()
    twins()
    twins()
    state = twins.optimizers[1].state_dict()
    weights = [p.data.copy() for p in twins.models[1].parameters()]
    kept = copy.deepcopy(state)
    for _ in range(3):
        twins()
    same(state, kept)
    # Back to where it was: the same steps follow.
    for model, optimizer in zip(twins.models, twins.optimizers, strict=True):
        for p, w in zip(model.parameters(), weights, strict=True):
            p.data = w
        optimizer.load_state_dict(kept)
    for _ in range(3):
        twins()


def test_two_compiled_functions_of_one_model() -> None:
    twins = Twins()
    model = twins.models[1]
    evaluate = tg.compile(lambda x: model(x))
    other = tg.compile(_step_of(model, twins.optimizers[1]))
    reference = twins.steps[0]
    for k in range(6):
        twins()
        x, y = batch(50 + k)
        same(evaluate(x), twins.models[0](x))
        same(other(x, y), reference(x, y))
        same(evaluate(x), twins.models[0](x))
        twins.compare()
    assert evaluate.captures == 1
    assert other.captures <= 2


def test_two_models_by_turns() -> None:
    """One function of a model: each model is captured once."""
    pairs = [Twins(), Twins()]

    @tg.compile
    def step(pair: Any, x: Any, y: Any) -> Any:
        model, optimizer = pair
        optimizer.zero_grad()
        loss = _backward(model, x, y)
        optimizer.step()
        return loss

    both = [(t.models[1], t.optimizers[1]) for t in pairs]
    for k in range(6):
        i = k % 2
        x, y = batch(k)
        same(step(both[i], x, y), pairs[i].steps[0](x, y))
        pairs[i].compare()
    assert step.captures <= 4


# --- by hand -------------------------------------------------------------------------------------


def _micrograd(p: Any, lr: float) -> None:
    p.data -= lr * p.grad


def _new_data(p: Any, lr: float) -> None:
    p.data = p.data - lr * p.grad


def _no_grad(p: Any, lr: float) -> None:
    with tg.no_grad():
        p -= lr * p.grad


def _elements(p: Any, lr: float) -> None:
    p.data[...] = p.data - lr * p.grad


@pytest.mark.parametrize("update", [_micrograd, _new_data, _no_grad, _elements])
@PRECISIONS
def test_updates_by_hand(update: Callable[[Any, float], None], dtype: Any) -> None:
    def step(model: Any, optimizer: Any, x: Any, y: Any, lr: float) -> Any:
        for p in model.parameters():
            p.grad = None
        loss = _backward(model, x, y)
        for p in model.parameters():
            update(p, lr)
        return loss, [p.data for p in model.parameters()]

    twins = Twins(dtype=dtype, step=step)
    for k in range(4):
        twins(*batch(k, dtype), 0.1)
    assert twins.compiled.captures == 1


def test_a_parameter_written_to_and_used_again() -> None:
    """Within a step, what comes later sees what was written earlier."""

    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        before = model(x)
        _backward(model, x, y)
        optimizer.step()
        after = model(x)
        first = model.parameters()[0]
        held = first.data
        first.data = first.data * 0.9
        return before, after, model(x), held * 1.0

    twins = Twins(step=step)
    for _ in range(4):
        twins()


def test_parameters_as_inputs() -> None:
    """Arrays of parameters, and views of them, are arguments that the step itself changes."""
    twins = Twins(step=lambda m, o, x, y: _never_zero(m, o, x, y))
    for k in range(4):
        x, y = batch(k, n=4)
        for i, step in enumerate(twins.steps):
            weights = twins.models[i].parameters()[0]
            assert weights.shape[0] == 4
            step(weights.data[:, :4].T[:4], y)
            step(x, y)
        twins.compare()
