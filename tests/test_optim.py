"""SGD: PyTorch's trajectories, and a plain loop as the oracle of everything done in between."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import losses, nn
from tinygrad_nn.errors import ShapeError, StaleGraphError
from tinygrad_nn.optim import SGD, Optimizer, sgd_rule

Array = np.ndarray[Any, Any]

# --- PyTorch's trajectories ----------------------------------------------------------------------

# f = x^2 from x = 1 with a learning rate of 0.1, three steps.
SQUARE = [
    ({}, [0.8, 0.64, 0.512]),
    ({"momentum": 0.9}, [0.8, 0.46, 0.062]),
    ({"momentum": 0.9, "dampening": 0.1}, [0.8, 0.476, 0.09872]),  # the first step is undamped
    ({"momentum": 0.9, "nesterov": True}, [0.62, 0.2224, -0.108352]),
    ({"momentum": 0.9, "weight_decay": 0.01}, [0.799, 0.457501, 0.058194199]),
    ({"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
     [0.6181, 0.21923761, -0.1116510943]),
    ({"maximize": True}, [1.2, 1.44, 1.728]),
    ({"maximize": True, "momentum": 0.9}, [1.2, 1.62, 2.322]),
]  # fmt: skip


@pytest.mark.parametrize(("options", "path"), SQUARE, ids=str)
def test_a_square(options: dict[str, Any], path: list[float]) -> None:
    x = tg.tensor(1.0, requires_grad=True)
    optimizer = SGD([x], lr=0.1, **options)
    for expected in path:
        optimizer.zero_grad()
        (x * x).backward()
        assert optimizer.step() is None
        assert math.isclose(x.item(), expected, rel_tol=1e-9)


# Momentum, dampening, weight decay, nesterov, maximize, and w[0], w[1], b after each of five steps,
# from `python tests/reference/from_pytorch.py sgd`.
# fmt: off
PYTORCH: list[tuple[float, float, float, bool, bool, list[list[float]]]] = [
    (0.0, 0.0, 0.0, False, False, [[0.8, -1.65, 0.6], [0.6825, -1.3599999999999999, 0.64],
     [0.6055, -1.1221249999999998, 0.6485], [0.54910625, -0.9279749999999999, 0.6399], [0.5038425,
     -0.7698353124999999, 0.62174125]]),
    (0.0, 0.0, 0.0, False, True, [[1.2, -2.35, 0.4], [1.4825, -2.7600000000000002,
     0.24000000000000002], [1.8895, -3.2378750000000003, -0.008499999999999983], [2.48510625,
     -3.7909750000000004, -0.3881], [3.3672199999999997, -4.4249146875, -0.96274125]]),
    (0.0, 0.0, 0.01, False, False, [[0.799, -1.648, 0.5995], [0.6809010000000001,
     -1.3567019999999999, 0.6388005], [0.603454899, -1.118049948, 0.6465817995], [0.546688341801,
     -0.9234946534019999, 0.6373098376005001], [0.5011030169289991, -0.7652066451582479,
     0.6185482286029995]]),
    (0.0, 0.0, 0.01, False, True, [[1.199, -2.348, 0.3995], [1.480101, -2.755302,
     0.23920049999999998], [1.8850560990000003, -3.229602048, -0.00921880050000006],
     [2.4775571402010006, -3.7780400506019998, -0.38806456159950015], [3.3548133489309997,
     -4.405992163661748, -0.9608008373980008]]),
    (0.0, 0.1, 0.0, False, False, [[0.8, -1.65, 0.6], [0.6825, -1.3599999999999999, 0.64],
     [0.6055, -1.1221249999999998, 0.6485], [0.54910625, -0.9279749999999999, 0.6399], [0.5038425,
     -0.7698353124999999, 0.62174125]]),
    (0.0, 0.1, 0.0, False, True, [[1.2, -2.35, 0.4], [1.4825, -2.7600000000000002,
     0.24000000000000002], [1.8895, -3.2378750000000003, -0.008499999999999983], [2.48510625,
     -3.7909750000000004, -0.3881], [3.3672199999999997, -4.4249146875, -0.96274125]]),
    (0.0, 0.1, 0.01, False, False, [[0.799, -1.648, 0.5995], [0.6809010000000001,
     -1.3567019999999999, 0.6388005], [0.603454899, -1.118049948, 0.6465817995], [0.546688341801,
     -0.9234946534019999, 0.6373098376005001], [0.5011030169289991, -0.7652066451582479,
     0.6185482286029995]]),
    (0.0, 0.1, 0.01, False, True, [[1.199, -2.348, 0.3995], [1.480101, -2.755302,
     0.23920049999999998], [1.8850560990000003, -3.229602048, -0.00921880050000006],
     [2.4775571402010006, -3.7780400506019998, -0.38806456159950015], [3.3548133489309997,
     -4.405992163661748, -0.9608008373980008]]),
    (0.9, 0.0, 0.0, False, False, [[0.8, -1.65, 0.6], [0.5025, -1.045, 0.73],
     [0.23199999999999987, -0.3166249999999998, 0.8015], [0.07188124999999987,
     0.39063750000000025, 0.75195], [0.029879999999999875, 0.9454521875000004, 0.57134125]]),
    (0.9, 0.0, 0.0, False, True, [[1.2, -2.35, 0.4], [1.6625, -3.075, 0.15000000000000002],
     [2.5600000000000005, -4.259375, -0.37750000000000006], [4.254281250000001, -6.0491875,
     -1.4397500000000003], [7.466337500000002, -8.6571421875, -3.534581250000001]]),
    (0.9, 0.0, 0.0, True, False, [[0.62, -1.335, 0.69], [0.37582499999999996, -0.6031, 0.7444],
     [0.24953199999999995, 0.03668462500000004, 0.6659014999999999], [0.1699470106249999,
     0.483199215, 0.50337594], [0.08615978201249991, 0.703133850790625, 0.30534645283749995]]),
    (0.9, 0.0, 0.0, True, True, [[1.38, -2.665, 0.31], [2.2198249999999997, -3.8301000000000003,
     -0.17759999999999998], [4.045287999999999, -5.705644625000001, -1.3348615],
     [8.069084210624998, -8.587951510000002, -3.9893171599999997], [17.083265185737496,
     -12.833908207790628, -9.992092864837499]]),
    (0.9, 0.0, 0.01, False, False, [[0.799, -1.648, 0.5995], [0.500001, -1.0399019999999999,
     0.7283505], [0.22806669899999998, -0.30859354799999983, 0.7979176995], [0.06688429910099995,
     0.40020802699800023, 0.7457600612505], [0.024141146152598943, 0.9543434161145523,
     0.5622972743347995]]),
    (0.9, 0.0, 0.01, False, True, [[1.199, -2.348, 0.3995], [1.6592010000000001,
     -3.0685019999999996, 0.1487505], [2.5522278990000005, -4.2446256479999995,
     -0.37916290050000007], [4.237892337501001, -6.020206040202, -1.4401839579495002],
     [7.432935864394601, -8.604354778308947, -3.5292779847862015]]),
    (0.9, 0.0, 0.01, True, False, [[0.6181, -1.3312, 0.68905], [0.37266261, -0.5964142199999999,
     0.7413748050000001], [0.245358383241, 0.044261044668000175, 0.6603390282705001],
     [0.1647778896149121, 0.489534928554596, 0.4954949723735261], [0.08017400497613165,
     0.7067220855504016, 0.29581221140121994]]),
    (0.9, 0.0, 0.01, True, True, [[1.3781, -2.6612, 0.30905], [2.21377461, -3.81836022,
     -0.17918119500000004], [4.029996214041, -5.678611409232, -1.3348648871295001],
     [8.032123493123551, -8.532822355085525, -3.980520403380794], [16.993260687256395,
     -12.729131133203191, -9.954378440099914]]),
    (0.9, 0.1, 0.0, False, False, [[0.8, -1.65, 0.6], [0.51425, -1.0739999999999998, 0.726],
     [0.250955, -0.38542124999999977, 0.801285], [0.08522095624999992, 0.2923824750000003,
     0.7699821], [0.030820339249999905, 0.8459420389687503, 0.618552484125]]),
    (0.9, 0.1, 0.0, False, True, [[1.2, -2.35, 0.4], [1.63425, -3.0340000000000003,
     0.16600000000000004], [2.446995, -4.122178750000001, -0.30888499999999997], [3.92948495625,
     -5.733417025000001, -1.2323399000000002], [6.6421579170000005, -8.038719713968751,
     -2.9925777841250003]]),
    (0.9, 0.1, 0.01, False, False, [[0.799, -1.648, 0.5995], [0.5118109000000001,
     -1.0690317999999999, 0.72442045], [0.24713026819000006, -0.3776040578799999, 0.797927157595],
     [0.08034745674292904, 0.3018686220299421, 0.7642216198957645], [0.025221332891932288,
     0.8551703646702415, 0.6101014871410361]]),
    (0.9, 0.1, 0.01, False, True, [[1.199, -2.348, 0.3995], [1.6310909000000002, -3.0277718,
     0.16478045], [2.4397872401900003, -4.10844125888, -0.3105513284050001], [3.9147609267765295,
     -5.707075175528858, -1.233131375121036], [6.613173158132846, -7.991818622745105,
     -2.988964213269421]]),
]
# fmt: on


@pytest.mark.parametrize(
    ("momentum", "dampening", "weight_decay", "nesterov", "maximize", "path"), PYTORCH
)
def test_two_parameters_under_every_combination_of_options(
    momentum: float, dampening: float, weight_decay: float, nesterov: bool, maximize: bool,
    path: list[list[float]],
) -> None:  # fmt: skip
    w = tg.tensor([1.0, -2.0], requires_grad=True)
    b = tg.tensor(0.5, requires_grad=True)
    optimizer = SGD([w, b], 0.1, momentum, dampening, weight_decay, nesterov, maximize=maximize)
    for expected in path:
        optimizer.zero_grad()
        (np.sum(w * w) + 0.5 * (w[0] * w[1]) + (b - w[0]) ** 2).backward()
        optimizer.step()
        np.testing.assert_allclose([*w.data, b.item()], expected, rtol=1e-13)


def test_the_table_has_every_combination() -> None:
    assert len({row[:5] for row in PYTORCH}) == 20


# --- a plain loop, the oracle of the rest --------------------------------------------------------

DEFAULTS: dict[str, Any] = {
    "lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False,
    "maximize": False,
}  # fmt: skip


class Loop:
    """SGD of PyTorch's documentation, one parameter after the other, on copies of its own."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self.groups = groups  # {"indices": [...], "lr": ...}
        self.velocity: dict[int, Array] = {}

    def step(self, data: list[Array], gradients: list[Array | None]) -> None:
        for group in self.groups:
            o = DEFAULTS | group
            for i in group["indices"]:
                g = gradients[i]
                if g is None:
                    continue
                g = -g if o["maximize"] else g
                if o["weight_decay"]:
                    g = g + o["weight_decay"] * data[i]
                if o["momentum"]:
                    if i in self.velocity:
                        self.velocity[i] = (
                            o["momentum"] * self.velocity[i] + (1.0 - o["dampening"]) * g
                        )
                    else:
                        self.velocity[i] = g.copy()
                    v = self.velocity[i]
                    g = g + o["momentum"] * v if o["nesterov"] else v
                data[i] = data[i] - o["lr"] * g


def optimizer_of(params: list[tg.Tensor], groups: list[dict[str, Any]]) -> SGD:
    return SGD(
        {"params": [params[i] for i in group["indices"]]}
        | {k: v for k, v in group.items() if k != "indices"}
        for group in groups
    )


def draw_groups(rng: np.random.Generator, n: int) -> list[dict[str, Any]]:
    """One or two groups over some of the n parameters, in any order."""
    chosen = [int(i) for i in rng.permutation(n)[: int(rng.integers(1, n + 1))]]
    if rng.random() < 0.5:
        chosen.sort()
    cut = int(rng.integers(0, len(chosen)))
    groups = []
    for indices in filter(None, (chosen[:cut], chosen[cut:])):
        nesterov = bool(rng.integers(0, 2))
        groups.append(
            {
                "indices": indices,
                "lr": float(rng.uniform(0, 0.1)),
                "momentum": 0.9 if nesterov else float(rng.choice([0, 0.9])),
                "dampening": 0.0 if nesterov else float(rng.choice([0, 0.3])),
                "weight_decay": float(rng.choice([0, 0.1])),
                "nesterov": nesterov,
                "maximize": bool(rng.integers(0, 2)),
            }
        )
    return groups


def draw_parameters(rng: np.random.Generator, kind: str) -> list[tg.Tensor]:
    if kind == "mlp":
        return nn.MLP(2, [3, 2, 1], rng=rng, dtype="float64").parameters()
    shapes = [(), (3,), (2, 3), (0,), (1, 1), (70_000,)]
    weights = [0.2, 0.2, 0.22, 0.15, 0.2, 0.03]
    dtypes = ["float64", "float32"] if kind == "mixed dtypes" else ["float64"]
    return [
        tg.tensor(
            rng.standard_normal(shapes[int(rng.choice(6, p=weights))]),
            dtype=str(rng.choice(dtypes)),
            requires_grad=True,
        )
        for _ in range(int(rng.integers(1, 7)))
    ]


@pytest.mark.parametrize("kind", ["mlp", "one dtype", "mixed dtypes"])
@pytest.mark.parametrize("seed", range(40))
def test_anything_between_the_steps_leaves_them_right(kind: str, seed: int) -> None:
    """Two optimizers over the same parameters, groups, skipped gradients, data set by hand."""
    rng = np.random.default_rng([seed, len(kind)])
    params = draw_parameters(rng, kind)
    n = len(params)
    pairs = []
    for _ in range(int(rng.integers(1, 3))):
        groups = draw_groups(rng, n)
        pairs.append([optimizer_of(params, groups), Loop(groups)])
    data = [p.data.copy() for p in params]

    def assign(i: int, values: Any, order: Any = "C") -> None:
        array = np.array(values, params[i].dtype, order=order)
        params[i].data = array
        data[i] = array.copy()

    for _ in range(12):
        for p in params:
            p.grad = None
            if rng.random() < 0.75:
                order = "F" if rng.random() < 0.3 else "C"
                p.grad = np.array(rng.standard_normal(p.shape), p.dtype, order=order)
        pair = pairs[int(rng.integers(0, len(pairs)))]
        optimizer, loop = pair
        i = int(rng.integers(0, n))
        match int(rng.integers(0, 10)):
            case 0:
                assign(i, rng.standard_normal(params[i].shape))
            case 1:
                assign(i, rng.standard_normal(params[i].shape), order="F")
            case 2:
                params[i].data[...] = 2.0
                data[i] = np.full(params[i].shape, 2.0, params[i].dtype)
            case 3:
                params[i].data -= 1
                data[i] = data[i] - params[i].dtype.type(1)
            case 4:
                optimizer.load_state_dict(optimizer.state_dict())
            case 5:
                state = optimizer.state_dict()
                pair[0] = optimizer = optimizer_of(params, draw_like(loop.groups))
                optimizer.load_state_dict(state)
            case 6:
                j = int(rng.integers(0, len(loop.groups)))
                loop.groups[j]["lr"] = optimizer.param_groups[j]["lr"] = float(rng.uniform(0, 0.1))
            case 7:
                twins, twin = copy.deepcopy((params, optimizer))
                for p in twins:
                    p.grad = np.ones_like(p.data)
                twin.step()
            case 8:
                copy.deepcopy(params)[i].data[...] = 0
        gradients = [None if p.grad is None else p.grad.copy() for p in params]
        optimizer.step()
        loop.step(data, gradients)
        for p, expected, g in zip(params, data, gradients, strict=True):
            assert p.dtype == expected.dtype
            assert np.array_equal(p.data, expected)
            assert g is None or np.array_equal(p.grad, g)  # the step does not write to gradients


def draw_like(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of the same parameters, and other options, which a loaded state overrides."""
    return [{"indices": group["indices"], "lr": 123.0} for group in groups]


# --- training as users do ------------------------------------------------------------------------

X = np.random.default_rng(1).standard_normal((20, 3))
Y = np.random.default_rng(2).integers(0, 2, 20)


def train(model: Any, optimizer: Any, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        losses.cross_entropy(model(X), Y).backward()
        optimizer.step()


def small(**options: Any) -> nn.MLP:
    return nn.MLP(3, [4, 2], activation="tanh", rng=0, dtype="float64", **options)


def same(a: Any, b: Any) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(np.array_equal(a[k], b[k]) for k in a)


def reference(model: nn.MLP, groups: list[dict[str, Any]]) -> Callable[[int], None]:
    """Train a copy of `model` with the plain loop; the gradients are those of the model."""
    loop = Loop(groups)
    twin = copy.deepcopy(model)

    def run(steps: int) -> None:
        for _ in range(steps):
            twin.zero_grad()
            losses.cross_entropy(twin(X), Y).backward()
            data = [p.data for p in twin.parameters()]
            loop.step(data, [p.grad for p in twin.parameters()])
            for p, new in zip(twin.parameters(), data, strict=True):
                p.data = new

    run.twin = twin
    return run


def test_a_training_run_is_that_of_the_plain_loop() -> None:
    model = small()
    run = reference(model, [{"indices": [0, 1, 2, 3], "lr": 0.1, "momentum": 0.9}])
    train(model, SGD(model.parameters(), lr=0.1, momentum=0.9), 10)
    run(10)
    assert same(model, run.twin)


def test_groups_have_options_of_their_own() -> None:
    model = small()
    groups = [
        {"indices": [0, 1], "lr": 0.2},
        {"indices": [2], "momentum": 0.9, "lr": 0.05},
        {"indices": [3], "lr": 0.05, "weight_decay": 0.1},
    ]
    run = reference(model, groups)
    p = model.parameters()
    optimizer = SGD(
        [
            {"params": p[:2], "lr": 0.2},
            {"params": p[2], "momentum": 0.9},
            {"params": iter(p[3:]), "weight_decay": 0.1},
        ],
        lr=0.05,
    )
    train(model, optimizer, 8)
    run(8)
    assert same(model, run.twin)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 1, 1]
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.05, 0.05]


def test_a_group_added_later() -> None:
    a, b = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    optimizer = SGD([a], lr=0.1)
    for p in (a, b):
        p.grad = np.ones(2)
    optimizer.step()
    optimizer.add_param_group({"params": [b], "lr": 1.0})
    optimizer.step()
    assert np.allclose(a.data, [0.8, 1.8])
    assert np.allclose(b.data, [0.0, 1.0])


def test_the_learning_rate_may_change_between_steps() -> None:
    x = tg.tensor(1.0, requires_grad=True)
    optimizer = SGD([x], lr=0.1, momentum=0.9)
    expected, velocity = 1.0, 0.0
    for lr in (0.1, 0.05, 0.0, 0.2):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        (x * x).backward()
        optimizer.step()
        velocity = 0.9 * velocity + 2 * expected
        expected -= lr * velocity
        assert math.isclose(x.item(), expected, rel_tol=1e-14)


@pytest.mark.parametrize("number", [np.float64, np.float32, np.array])
def test_options_may_be_numpy_numbers_and_float32_stays(number: Any) -> None:
    def run(convert: Any) -> tuple[Any, Any]:
        p = tg.tensor(np.linspace(-1, 1, 50), "float32", requires_grad=True)
        optimizer = SGD([p], lr=convert(0.1), momentum=convert(0.9), weight_decay=convert(0.01))
        for step in range(4):
            optimizer.param_groups[0]["lr"] = convert(0.1 / (step + 1))
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()
        return p.data, optimizer.state_dict()["param_groups"][0]["state"][0][0]

    for got, expected in zip(run(number), run(float), strict=True):
        assert got.dtype == np.float32
        assert np.array_equal(got, expected)


def test_a_parameter_shared_by_two_layers_steps_once() -> None:
    a, b = nn.Linear(3, 3, rng=0, dtype="float64"), nn.Linear(3, 3, rng=1, dtype="float64")
    b.weight = a.weight
    model = nn.Sequential(a, "tanh", b)
    params = model.parameters()
    assert len(params) == 3
    optimizer = SGD(params, lr=0.1, momentum=0.9)
    w, v = a.weight.data.copy(), 0.0
    for _ in range(4):
        model.zero_grad()
        (model(X) ** 2).mean().backward()
        v = 0.9 * v + a.weight.grad
        w = w - 0.1 * v
        optimizer.step()
        assert np.array_equal(a.weight.data, w)
        assert b.weight is a.weight


@pytest.mark.parametrize("flat", [True, False])
def test_two_optimizers_over_the_same_parameters(flat: bool) -> None:
    model = small() if flat else nn.Sequential(nn.Linear(3, 4, rng=0), nn.Linear(4, 2, rng=1))
    p = model.parameters()
    first = SGD(p[:3], lr=0.1, momentum=0.9)
    second = SGD(p[1:][::-1], lr=0.05, momentum=0.5)
    groups = [{"indices": [0, 1, 2], "lr": 0.1, "momentum": 0.9},
              {"indices": [3, 2, 1], "lr": 0.05, "momentum": 0.5}]  # fmt: skip
    loops = [Loop(groups[:1]), Loop(groups[1:])]
    data = [q.data.copy() for q in p]
    for turn in [0, 1, 0, 0, 1, 1, 0, 1]:
        model.zero_grad()
        losses.cross_entropy(model(X), Y).backward()
        (first, second)[turn].step()
        loops[turn].step(data, [q.grad for q in p])
        for q, expected in zip(p, data, strict=True):
            assert np.array_equal(q.data, expected)


def test_an_ascending_and_a_descending_optimizer_meet() -> None:
    # min over x, max over y of x^2 - y^2 + xy has its saddle at 0.
    x, y = (tg.tensor(1.0, requires_grad=True) for _ in range(2))
    down, up = SGD([x], lr=0.1), SGD([y], lr=0.1, maximize=True)
    for _ in range(100):
        for optimizer in (down, up):
            down.zero_grad()
            up.zero_grad()
            (x * x - y * y + x * y).backward()
            optimizer.step()
    assert abs(x.item()) < 1e-6
    assert abs(y.item()) < 1e-6


# --- copies --------------------------------------------------------------------------------------


def duplicate_by_pickle(x: Any) -> Any:
    return pickle.loads(pickle.dumps(x))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, duplicate_by_pickle])
def test_a_copied_model_and_the_original_train_apart(duplicate: Any) -> None:
    model = small()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, 3)
    before = model.state_dict()
    twin = duplicate(model)
    train(model, optimizer, 3)
    assert all(np.array_equal(before[k], v) for k, v in twin.state_dict().items())
    after = model.state_dict()
    train(twin, SGD(twin.parameters(), lr=0.5), 3)
    assert all(np.array_equal(after[k], v) for k, v in model.state_dict().items())
    assert not same(model, twin)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, duplicate_by_pickle])
def test_model_and_optimizer_copied_together_go_on_alike(duplicate: Any) -> None:
    model = small()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, 3)
    model.parameters()[0].grad = None
    optimizer.step()  # the velocity of the skipped parameter must come along too
    twin, twins = duplicate((model, optimizer))
    assert twins.param_groups[0]["params"][0] is twin.layers[0].weight
    train(model, optimizer, 3)
    assert not same(model, twin)
    train(twin, twins, 3)
    assert same(model, twin)


# --- gradients that are missing or wrong ---------------------------------------------------------


def test_a_parameter_without_gradient_is_left_alone() -> None:
    a, b = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    optimizer = SGD([a, b], lr=0.1, momentum=0.9, weight_decay=0.5)
    one = np.ones(2)
    a.grad, b.grad = one, one
    optimizer.step()
    frozen = b.data.copy()
    a.grad, b.grad = one, None
    for _ in range(3):
        optimizer.step()
    assert np.array_equal(b.data, frozen)  # no momentum, no decay
    # Back again, it goes on with the velocity that it had.
    velocity = 1 + 0.5 * np.array([1.0, 2.0])
    b.grad = one
    optimizer.step()
    assert np.allclose(b.data, frozen - 0.1 * (0.9 * velocity + one + 0.5 * frozen), rtol=1e-15)


def test_a_step_before_any_backward_changes_nothing() -> None:
    model = small()
    before = copy.deepcopy(model)
    SGD(model.parameters(), lr=0.1, weight_decay=1.0).step()
    assert same(model, before)


def test_a_gradient_of_zeros_is_a_gradient() -> None:
    p = tg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = SGD([p], lr=0.1, weight_decay=0.5)
    optimizer.zero_grad(set_to_none=False)
    assert np.array_equal(p.grad, [0.0, 0.0])
    optimizer.step()
    assert np.allclose(p.data, [0.95, 1.9])


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none: bool) -> None:
    model = small()
    optimizer = SGD(model.parameters(), lr=0.1)
    losses.cross_entropy(model(X), Y).backward()
    held = model.parameters()[0].grad
    before = held.copy()
    optimizer.zero_grad(set_to_none)
    for p in model.parameters():
        if set_to_none:
            assert p.grad is None
        else:
            assert p.grad.dtype == p.dtype
            assert np.array_equal(p.grad, np.zeros(p.shape))
    assert np.array_equal(held, before)  # whoever holds the old gradient keeps it
    losses.cross_entropy(model(X), Y).backward()
    assert np.array_equal(model.parameters()[0].grad, before)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "gradient",
    [np.ones(3), np.ones((2, 1)), np.ones(()), np.ones((1, 2)), 0.5, [1.0, 1.0],
     tg.tensor([1.0, 1.0])],
    ids=repr,
)  # fmt: skip
def test_a_wrong_gradient_set_by_hand_is_named(gradient: Any, count: int) -> None:
    params = [
        tg.tensor(np.ones(2), requires_grad=True, label=f"w{i}", dtype="float32")
        for i in range(count)
    ]
    for p in params[:-1]:
        p.grad = np.ones(2, "float32")
    params[-1].grad = gradient
    optimizer = SGD(params, lr=0.1)
    with pytest.raises((ShapeError, TypeError), match=f"'w{count - 1}'.*set by hand"):
        optimizer.step()
    assert all(np.array_equal(p.data, np.ones(2)) for p in params)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("dtype", ["float64", "int64", "float16", "bool"])
def test_a_gradient_of_another_real_dtype_is_converted(dtype: str, count: int) -> None:
    params = [tg.tensor([1.0, 2.0], "float32", requires_grad=True) for _ in range(count)]
    optimizer = SGD(params, lr=0.5, momentum=0.5)
    for _ in range(2):
        for p in params:
            p.grad = np.ones(2, dtype)
        optimizer.step()
    for p, (velocity,) in zip(
        params, optimizer.state_dict()["param_groups"][0]["state"], strict=True
    ):
        assert p.dtype == velocity.dtype == np.float32
        assert np.array_equal(velocity, [1.5, 1.5])
        assert np.array_equal(p.data, [-0.25, 0.75])


@pytest.mark.parametrize("count", [1, 2])
def test_a_complex_gradient_is_refused(count: int) -> None:
    params = [tg.tensor([1.0, 2.0], "float32", requires_grad=True) for _ in range(count)]
    for p in params:
        p.grad = np.ones(2, complex)
    with pytest.raises(TypeError):
        SGD(params, lr=0.5, momentum=0.5).step()
    assert np.array_equal(params[0].data, [1.0, 2.0])


def test_nan_in_one_gradient_does_not_spread() -> None:
    a, b = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    a.grad, b.grad = np.array([np.nan, 1.0]), np.ones(2)
    SGD([a, b], lr=0.5).step()
    assert np.array_equal(a.data, [np.nan, 1.5], equal_nan=True)
    assert np.array_equal(b.data, [0.5, 1.5])


def test_backward_after_the_step_needs_a_new_forward() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True, label="w")
    loss = (w * w).sum()
    loss.backward()
    optimizer = SGD([w], lr=0.1)
    optimizer.step()
    with pytest.raises(StaleGraphError, match="'w'"):
        loss.backward()
    (w * w).sum().backward()


# --- memory --------------------------------------------------------------------------------------


def flat_homes(params: Iterable[tg.Tensor]) -> set[int]:
    return {id(p.data.base) for p in params}


def test_an_mlp_lies_in_one_array_and_stays_there() -> None:
    model = small()
    params = model.parameters()
    home = params[0].data.base
    assert home is not None
    assert home.shape == (sum(p.size for p in params),)
    views = [p.data for p in params]
    optimizer = SGD(params, lr=0.1, momentum=0.9)
    train(model, optimizer, 3)
    for p, view in zip(params, views, strict=True):
        assert p.data is view
        assert np.shares_memory(p.data, home)
    assert np.array_equal(home, np.concatenate([p.data for p in params], axis=None))
    home[:] = 0
    assert all((p.data == 0).all() for p in params)


def test_loose_parameters_are_gathered_at_the_first_step() -> None:
    model = nn.Sequential(nn.Linear(3, 4, rng=0), "relu", nn.Linear(4, 2, rng=1))
    assert len(flat_homes(model.parameters())) > 1 or model.parameters()[0].data.base is None
    train(model, SGD(model.parameters(), lr=0.1), 1)
    assert len(flat_homes(model.parameters())) == 1
    assert not np.shares_memory(model[0].weight.data, model[0].bias.data)


def test_an_array_assigned_to_data_stays_the_users() -> None:
    model = small()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, 1)
    mine = np.ones((3, 4))
    model.layers[0].weight.data = mine
    train(model, optimizer, 2)
    assert np.array_equal(mine, np.ones((3, 4)))
    assert not np.array_equal(model.layers[0].weight.data, mine)


def test_a_state_loaded_between_steps_is_the_users() -> None:
    model = small()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, 2)
    saved = model.state_dict()
    kept = {k: v.copy() for k, v in saved.items()}
    train(model, optimizer, 2)
    model.load_state_dict(saved)
    train(model, optimizer, 2)
    assert all(np.array_equal(saved[k], kept[k]) for k in kept)


@pytest.mark.parametrize("size", [1, 32_767, 32_768, 65_536, 65_537, 100_001])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_around_the_block(size: int, options: Any, dtype: str) -> None:
    rng = np.random.default_rng(size)
    p = tg.tensor(rng.standard_normal(size).astype(dtype), requires_grad=True)
    optimizer, loop = SGD([p], lr=0.1, **options), Loop([{"indices": [0], "lr": 0.1, **options}])
    data = [p.data.copy()]
    for _ in range(3):
        p.grad = rng.standard_normal(size).astype(dtype)
        optimizer.step()
        loop.step(data, [p.grad])
        assert p.dtype == dtype
        assert np.array_equal(p.data, data[0])
    # Momentum switched off and on again between steps.
    for momentum in (0.0, 0.9):
        new = {"momentum": momentum, "nesterov": False}
        optimizer.param_groups[0].update(new)
        loop.groups[0].update(new)
        optimizer.step()
        loop.step(data, [p.grad])
        assert np.array_equal(p.data, data[0])


# --- its state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_state_resumes_bit_for_bit(dtype: str) -> None:
    def make() -> tuple[Any, SGD]:
        model = nn.MLP(3, [4, 2], rng=0, dtype=dtype)
        p = model.parameters()
        groups = [{"params": p[:1], "lr": 0.2}, {"params": p[1:], "momentum": 0.5}]
        return model, SGD(groups, lr=0.1, momentum=0.9)

    model, optimizer = make()
    train(model, optimizer, 3)
    optimizer.param_groups[1]["lr"] = 0.03
    weights, state = model.state_dict(), optimizer.state_dict()
    train(model, optimizer, 4)

    twin, resumed = make()
    twin.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert resumed.param_groups[1]["lr"] == 0.03
    train(twin, resumed, 4)
    assert same(model, twin)

    # What was saved is a copy, untouched by the steps since.
    third, again = make()
    third.load_state_dict(weights)
    again.load_state_dict(state)
    train(third, again, 4)
    assert same(model, third)


@pytest.mark.parametrize("size", [3, 100_000])
def test_a_saved_state_is_a_copy_at_any_size(size: int) -> None:
    p = tg.tensor(np.ones(size), requires_grad=True)
    optimizer = SGD([p], lr=0.1, momentum=0.5)
    p.grad = np.ones(size)
    optimizer.step()
    saved = optimizer.state_dict()
    for _ in range(2):
        optimizer.step()
        assert (saved["param_groups"][0]["state"][0][0] == 1.0).all()
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert (saved["param_groups"][0]["state"][0][0] == 1.0).all()
    assert (optimizer.state_dict()["param_groups"][0]["state"][0][0] == 1.5).all()


def test_the_state_of_a_skipped_parameter_is_saved() -> None:
    a, b = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    optimizer = SGD([a, b], lr=0.1, momentum=0.9)
    a.grad = b.grad = np.ones(2)
    optimizer.step()
    a.grad = None
    optimizer.step()
    (saved,) = optimizer.state_dict()["param_groups"]
    assert [v.tolist() for (v,) in saved["state"]] == [[1.0, 1.0], [1.9, 1.9]]


def test_a_state_that_does_not_fit_is_refused_and_nothing_changes() -> None:
    def make(*shapes: Any) -> SGD:
        params = [tg.tensor(np.ones(s), requires_grad=True) for s in shapes]
        optimizer = SGD(params, lr=0.1, momentum=0.9)
        for p in params:
            p.grad = np.ones(p.shape)
        optimizer.step()
        return optimizer

    optimizer = make((2,), (3,))
    before = optimizer.state_dict()
    other = make((2,), (3,), (4,)).state_dict()
    with pytest.raises(ValueError, match=r"\[3\] parameters.*\[2\]"):
        optimizer.load_state_dict(other)
    wrong = make((2,), (4,)).state_dict()
    wrong["param_groups"][0]["lr"] = 9.0
    with pytest.raises(ShapeError, match=r"\(4,\).*\(3,\)"):
        optimizer.load_state_dict(wrong)
    after = optimizer.state_dict()
    assert after["param_groups"][0]["lr"] == 0.1
    for old, new in zip(
        before["param_groups"][0]["state"], after["param_groups"][0]["state"], strict=True
    ):
        assert np.array_equal(old[0], new[0])


def test_the_closure_is_called_first_and_its_result_returned() -> None:
    x = tg.tensor(1.0, requires_grad=True)
    optimizer = SGD([x], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = x * x
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 1.0
    assert math.isclose(x.item(), 0.8)
    assert math.isclose(optimizer.step(closure), 0.64)


# --- errors --------------------------------------------------------------------------------------


def leaf() -> tg.Tensor:
    return tg.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": -0.1}, "lr must be 0 or more, got -0.1"),
        ({"lr": math.nan}, "lr"),
        ({"momentum": -0.1}, "momentum"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"nesterov": True}, "momentum above 0"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening of 0"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SGD([leaf()], **({"lr": 0.1} | options))
    optimizer = SGD([leaf()], lr=0.1)
    with pytest.raises(ValueError, match=words):
        optimizer.add_param_group({"params": [leaf()], **options})
    assert len(optimizer.param_groups) == 1


def test_parameters_that_make_no_sense() -> None:
    p = leaf()
    with pytest.raises(ValueError, match="no parameters"):
        SGD([], lr=0.1)
    with pytest.raises(ValueError, match="empty"):
        SGD([{"params": []}], lr=0.1)
    with pytest.raises(ValueError, match="result; only leaves"):
        SGD([p * 2], lr=0.1)
    with pytest.raises(ValueError, match="twice"):
        SGD([p, p], lr=0.1)
    with pytest.raises(ValueError, match="twice"):
        SGD([{"params": [p]}, {"params": [p]}], lr=0.1)
    with pytest.raises(TypeError, match="ndarray, not a Tensor"):
        SGD([np.ones(2)], lr=0.1)
    with pytest.raises(TypeError, match="Value, not a Tensor"):
        SGD([tg.Value(1.0)], lr=0.1)
    with pytest.raises(ValueError, match="'params'"):
        SGD([{"lr": 0.1}], lr=0.1)
    with pytest.raises(ValueError, match=r"unknown option\(s\) beta; known are lr, momentum"):
        SGD([{"params": [p], "beta": 1}], lr=0.1)


@pytest.mark.parametrize("data", [1.0, [1.0, 2.0]])
def test_a_tensor_is_no_list_of_parameters(data: Any) -> None:
    with pytest.raises(TypeError, match=r"list of tensors: \[p\]"):
        SGD(tg.tensor(data, requires_grad=True), lr=0.1)


def test_repr() -> None:
    text = repr(SGD([{"params": [leaf()]}, {"params": [leaf(), leaf()], "lr": 0.5}], lr=0.1))
    assert text.startswith("SGD(")
    assert "group 0: 1 parameters, lr=0.1, momentum=0.0" in text
    assert "group 1: 2 parameters, lr=0.5" in text


# --- the rule, and optimizers of one's own -------------------------------------------------------


def test_the_rule_is_pure() -> None:
    p, g, v = np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0])
    for velocity in (None, v):
        for options in ({}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}):
            new, moved = sgd_rule(p, g, 0.1, velocity, **options)
            assert not np.shares_memory(new, p)
            if options:
                assert not np.shares_memory(moved, g)
                assert moved is not v
    assert (p.tolist(), g.tolist(), v.tolist()) == ([1, 2], [3, 4], [5, 6])


def test_the_rule_works_on_tensors() -> None:
    p, g, v = np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0])
    options = {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1}
    plain = sgd_rule(p, g, 0.1, v, **options)
    traced = sgd_rule(*map(tg.tensor, (p, g)), 0.1, tg.tensor(v), **options)
    for a, b in zip(plain, traced, strict=True):
        assert np.array_equal(a, b.data)


def test_a_rule_of_ones_own() -> None:
    class SignDescent(Optimizer):
        """Steps by the sign of the gradient; its state is the number of steps taken."""

        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        def rule(self, p: Any, g: Any, state: Any, group: Any) -> Any:
            count = state[0] + 1 if state else np.ones_like(p)
            return p - group["lr"] * np.sign(g), (count,)

    params = [tg.tensor(np.ones(n), requires_grad=True) for n in (3, 70_000)]
    optimizer = SignDescent(params, lr=0.25)
    for _ in range(3):
        optimizer.zero_grad()
        sum((p * p).sum() for p in params).backward()
        optimizer.step()
    for p, (count,) in zip(params, optimizer.state_dict()["param_groups"][0]["state"], strict=True):
        assert (p.data == 0.25).all()
        assert (count == 3).all()


def test_a_rule_may_keep_the_gradient() -> None:
    """What a rule keeps is not overwritten by the gradients of the next step."""

    class Optimistic(Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.1})

        def rule(self, p: Any, g: Any, state: Any, group: Any) -> Any:
            before = state[0] if state else g
            return p - group["lr"] * (2.0 * g - before), (g,)

    def train(n: int) -> Any:
        weights = [tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(n)]
        optimizer = Optimistic(weights)
        for _ in range(4):
            optimizer.zero_grad()
            sum((w * w).sum() for w in weights).backward()
            optimizer.step()
        return weights[0].data

    assert np.array_equal(train(1), train(2))


def test_a_state_with_impossible_options_is_refused() -> None:
    w = tg.tensor([1.0], requires_grad=True)
    optimizer = SGD([w], lr=0.1)
    for change in ({"lr": -5.0}, {"speed": 1.0}):
        state = optimizer.state_dict()
        state["param_groups"][0].update(change)
        with pytest.raises(ValueError, match=next(iter(change))):
            optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match="param_groups"):
        optimizer.load_state_dict({})
    with pytest.raises(TypeError, match="parameters"):
        SGD(nn.MLP(2, [1]))
