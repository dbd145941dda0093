"""The networks of Values: micrograd's behaviour, and the tensor networks with the same weights."""

from __future__ import annotations

import copy
import gc
import importlib.util
import math
import pickle
import random
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, scalar
from tinygrad_nn.errors import ShapeError
from tinygrad_nn.scalar import MLP, Layer, Module, Neuron, Value

needs_micrograd = pytest.mark.skipif(
    importlib.util.find_spec("micrograd") is None,
    reason="micrograd is not installed (it is in the bench extra)",
)

# --- scripts written for micrograd ---------------------------------------------------------------

MICROGRAD = (
    "from micrograd.engine import Value",
    "from micrograd.nn import Module, Neuron, Layer, MLP",
)
OURS = (
    "from tinygrad_nn import Value",
    "from tinygrad_nn.scalar import Module, Neuron, Layer, MLP",
)

# Two interleaved half circles, classified as micrograd's demonstration does it: hinge loss, L2
# regularisation, full batches, a learning rate that falls.
MOONS = """
import random
import numpy as np
{engine}
{nn}

random.seed(1337)
angle = np.linspace(0, np.pi, 8)
X = np.concatenate([np.stack([np.cos(angle), np.sin(angle)], 1),
                    np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)])
y = np.repeat([-1, 1], 8)

model = MLP(2, [5, 4, 1])
history = {{
    "model": str(model),
    "count": len(model.parameters()),
    "start": [p.data for p in model.parameters()],
    "loss": [],
    "accuracy": [],
}}

def loss():
    inputs = [list(map(Value, xrow)) for xrow in X]
    scores = list(map(model, inputs))
    losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores)]
    data_loss = sum(losses) * (1.0 / len(losses))
    alpha = 1e-4
    reg_loss = alpha * sum((p * p for p in model.parameters()))
    total_loss = data_loss + reg_loss
    accuracy = [(yi > 0) == (scorei.data > 0) for yi, scorei in zip(y, scores)]
    return total_loss, sum(accuracy) / len(accuracy), scores

for k in range(12):
    total_loss, acc, scores = loss()
    model.zero_grad()
    total_loss.backward()
    learning_rate = 1.0 - 0.9 * k / 100
    for p in model.parameters():
        p.data -= learning_rate * p.grad
    history["loss"].append(float(total_loss.data))
    history["accuracy"].append(float(acc))

history["scores"] = [float(s.data) for s in scores]
history["gradient"] = [float(p.grad) for p in model.parameters()]
history["end"] = [float(p.data) for p in model.parameters()]
"""

# The example of micrograd's front page, and the numbers that it prints there.
FRONT_PAGE = """
{engine}
a = Value(-4.0)
b = Value(2.0)
c = a + b
d = a * b + b**3
c += c + 1
c += 1 + c + (-a)
d += d * 2 + (b + a).relu()
d += 3 * d + (b - a).relu()
e = c - d
f = e**2
g = f / 2.0
g += 10.0 / f
g.backward()
printed = f'{{g.data:.4f}} {{a.grad:.4f}} {{b.grad:.4f}}'
"""

# A network put together by hand from neurons and layers.
BY_HAND = """
import random
{engine}
{nn}

class Tower(Module):
    def __init__(self):
        self.body = [Layer(3, 4), Layer(4, 2, nonlin=False)]
        self.head = Neuron(2, nonlin=False)

    def __call__(self, x):
        for layer in self.body:
            x = layer(x)
        return self.head(x)

    def parameters(self):
        return [p for part in [*self.body, self.head] for p in part.parameters()]

random.seed(7)
net = Tower()
xs = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
ys = [1.0, -1.0, -1.0, 1.0]
trace = []
for step in range(20):
    ypred = [net(x) for x in xs]
    loss = sum((yout - ygt)**2 for ygt, yout in zip(ys, ypred))
    for p in net.parameters():
        p.grad = 0.0
    loss.backward()
    for p in net.parameters():
        p.data += -0.1 * p.grad
    trace.append(loss.data)
shown = (repr(net.body[0]), repr(net.head), str(MLP(3, [2, 2, 1])), repr(Value(2.5)))
"""


def run(script: str, engine: str, modules: str) -> dict[str, Any]:
    """Execute a script with its import lines filled in, and return its variables."""
    names: dict[str, Any] = {}
    exec(script.format(engine=engine, nn=modules), names)
    return names


def close(a: Any, b: Any) -> bool:
    """Gradients are added up in another order, in micrograd's own even from run to run."""
    return bool(np.allclose(a, b, rtol=1e-11, atol=1e-13))


# From `python tests/reference/from_micrograd.py`.
# fmt: off
EXPECTED: dict[str, Any] = {
    "model": (
        "MLP of ["
        "Layer of [ReLUNeuron(2), ReLUNeuron(2), ReLUNeuron(2), ReLUNeuron(2), ReLUNeuron(2)], "
        "Layer of [ReLUNeuron(5), ReLUNeuron(5), ReLUNeuron(5), ReLUNeuron(5)], "
        "Layer of [LinearNeuron(4)]"
        "]"
    ),
    "count": 44,
    "start": [0.23550571390294128, 0.06653114721000164, 0, -0.26830328150124894,
     0.1715747078045431, 0, -0.6686254326224383, 0.6487474938152629, 0, -0.23259038277158273,
     0.5792256498313748, 0, 0.8434530197925192, -0.3847332240409951, 0, 0.9844941451716409,
     -0.5901079958448365, 0.31255526637777775, 0.8246106857787521, -0.7814232047574572, 0,
     0.6408752595662697, -0.20252189189007108, -0.8693137391598071, 0.39841666323128555,
     -0.3037961142013801, 0, -0.19282493884310759, 0.6032250931493106, 0.6001302646227185,
     0.32749776568749045, 0.6650130652363544, 0, 0.1889136153241595, -0.07813264062433589,
     0.9151267732861252, 0.5914405264235476, -0.3725442040076463, 0, 0.3810827422406471,
     0.8301999957053683, -0.08568482691922008, -0.4702876239420326, 0],
    "loss": [0.9325067801749568, 0.743562924625229, 0.6668190452745346, 0.5959948851268584,
     0.5580301174715618, 0.5755079346866117, 0.5210846878487615, 0.45840006932920946,
     0.4324534215592039, 0.4187961227882999, 0.4235453337975004, 0.4175617874575968],
    "accuracy": [0.5, 0.5, 0.75, 0.75, 0.75, 0.8125, 0.75, 0.8125, 0.8125, 0.8125, 0.8125,
     0.8125],
    "scores": [0.9113066640625019, 0.8629457929763916, -0.7626563900199064, -1.9824724554769033,
     -2.7154271944795996, -2.835648604846145, -2.3070231715803113, -1.228484239792085,
     -0.9729697692072601, 0.5598503207472942, 0.8795785834059645, 0.9441898646121993,
     0.9905934777242671, 1.0095986180623555, 0.9974410844997558, 0.9565288256609052],
    "gradient": [0.03441370646473407, 0.008280507940343986, 0.0637674472662302,
     -0.002664126438434256, -0.0011644484846926155, -0.0011654275026454879, -0.05792716298966988,
     -0.02350366528573112, 0.1118275716595921, -0.014240361390905875, -0.004030590475872867,
     0.09813242176416138, -0.06278730983967631, -1.2708688270040083e-05, -0.10145599265350227,
     0.001501578309909862, -0.0010199154368512116, -0.0010569615903685261, 0.00010049574142872043,
     -0.00015998323084952148, -3.794630798908613e-05, 0.010830751018991653,
     -4.0419359895498996e-05, -0.00017443343070352955, 0.001671851634421997, 0.021289031311457245,
     0.051400470042440125, -0.008347629011204394, -0.002269334978383859, -0.004080518865160816,
     -6.505310788690034e-05, -0.06116543527628683, -0.05706579436010147, -0.013548984107979986,
     0.014365421690500126, 0.025452696043373996, 0.0035693587065948953, 0.008515659361929018,
     0.08585261164379356, 0.012401895141675064, 0.0010200813309950859, -0.19002344850731157,
     -0.023029546477635554, -0.24984066376438158],
    "end": [0.18089695044169973, 0.0919368886303078, -0.08324098329083338, -0.26516032777052473,
     0.20502279062841988, 0.07186121243277124, -0.6766700114058828, 1.159983162029984,
     0.055879404646309624, -0.34504702032360535, 0.7759858167763176, -0.07005473528559422,
     0.7812184861381593, -0.7237374774412288, 0.16794319194071006, 0.9663105395785441,
     -0.633143653352262, 0.1680688598138547, 0.7253584451896113, -0.7997720093566119,
     -0.18969735032192916, 0.6209088976296933, -0.20206038163422912, -0.8720099889965839,
     0.38092181813166154, -0.330988454418536, -0.04631182350823855, -0.1890104950981275,
     0.577003031425439, 0.5173866054538314, 0.2745318518845812, 0.7429675405407096,
     0.039083033749911185, 0.24680955667092044, 0.06885563877201142, 1.3646122824883544,
     0.910810000518939, -0.5457190276728403, -0.07868612377930281, 0.11952166938126267,
     0.8214884273998154, 0.39946443794791875, -1.3528964302705497, 1.0217876161438877],
}
# fmt: on


def assert_same_history(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert list(ours) == list(theirs)
    for name in ("model", "count", "start", "accuracy"):  # the same draws, to the bit
        assert ours[name] == theirs[name], name
    for name in ("loss", "scores", "gradient", "end"):
        assert close(ours[name], theirs[name]), name


def test_the_moons_problem_gives_micrograds_numbers() -> None:
    history = run(MOONS, *OURS)["history"]
    assert_same_history(history, EXPECTED)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_the_front_page_gives_the_numbers_printed_there() -> None:
    assert run(FRONT_PAGE, *OURS)["printed"] == "24.7041 138.8338 645.5773"


@needs_micrograd
@pytest.mark.parametrize("seed", [1337, 0, 5])
def test_the_moons_problem_beside_micrograd(seed: int) -> None:
    script = MOONS.replace("1337", str(seed))
    assert_same_history(run(script, *OURS)["history"], run(script, *MICROGRAD)["history"])


@needs_micrograd
def test_a_network_by_hand_beside_micrograd() -> None:
    ours, theirs = run(BY_HAND, *OURS), run(BY_HAND, *MICROGRAD)
    assert ours["shown"][:3] == theirs["shown"][:3]
    assert close(ours["trace"], theirs["trace"])
    assert ours["trace"][-1] < ours["trace"][0]


@needs_micrograd
def test_the_expected_numbers_are_micrograds() -> None:
    assert_same_history(run(MOONS, *MICROGRAD)["history"], EXPECTED)


def test_a_network_by_hand_runs() -> None:
    names = run(BY_HAND, *OURS)
    assert names["shown"] == (
        "Layer of [ReLUNeuron(3), ReLUNeuron(3), ReLUNeuron(3), ReLUNeuron(3)]",
        "LinearNeuron(2)",
        "MLP of [Layer of [ReLUNeuron(3), ReLUNeuron(3)], Layer of [ReLUNeuron(2), ReLUNeuron(2)], "
        "Layer of [LinearNeuron(2)]]",
        "Value(data=2.5, grad=0.0)",
    )
    assert names["trace"][-1] < 0.8 * names["trace"][0]


@pytest.mark.parametrize("name", ["Value", "Neuron", "Layer", "MLP", "Module"])
def test_everything_can_be_imported_from_one_place(name: str) -> None:
    assert hasattr(scalar, name)
    assert scalar.Value is tg.Value


# --- shapes, parameters, randomness --------------------------------------------------------------


def test_parameters_are_ordered_unit_by_unit_weights_before_the_bias() -> None:
    model = MLP(2, [3, 1], rng=0)
    expected = [
        p for layer in model.layers for neuron in layer.neurons for p in [*neuron.w, neuron.b]
    ]
    assert list(map(id, model.parameters())) == list(map(id, expected))
    assert len(expected) == 3 * 3 + 4
    assert all(-1 <= w.data <= 1 for n in model.layers[0].neurons for w in n.w)
    assert all(n.b.data == 0 for layer in model.layers for n in layer.neurons)
    assert [[n.nonlin for n in layer.neurons] for layer in model.layers] == [[True] * 3, [False]]
    assert Module().parameters() == []


def test_a_single_output_is_bare_and_several_are_a_list() -> None:
    assert isinstance(MLP(2, [3, 1], rng=0)([1.0, 2.0]), Value)
    outputs = MLP(2, [3, 2], rng=0)([1.0, 2.0])
    assert isinstance(outputs, list)
    assert len(outputs) == 2
    assert isinstance(Layer(2, 1, rng=0)([1.0, 2.0]), Value)
    assert isinstance(Neuron(2, rng=0)([1.0, 2.0]), Value)


def test_seeds() -> None:
    def numbers(model: Any) -> list[float]:
        return [p.data for p in model.parameters()]

    for make in (lambda **k: MLP(2, [3, 1], **k), lambda **k: Layer(2, 3, **k),
                 lambda **k: Neuron(2, **k)):  # fmt: skip
        assert numbers(make(rng=3)) == numbers(make(rng=3))
        assert numbers(make(rng=3)) != numbers(make(rng=4))
        assert numbers(make(rng=random.Random(3))) == numbers(make(rng=3))
        # The module `random` is the source by default, and is not touched otherwise.
        random.seed(3)
        default = numbers(make())
        assert default == numbers(make(rng=3))
        state = random.getstate()
        make(rng=5)
        assert random.getstate() == state
        generator = np.random.default_rng(3)
        drawn = numbers(make(rng=generator))
        assert drawn == numbers(make(rng=np.random.default_rng(3)))
        assert all(type(x) is float for x in drawn)
    a, b = Neuron(3, rng=1), Neuron(3, rng=1)
    assert a.w[0] is not b.w[0]


def test_a_neuron_by_hand() -> None:
    neuron = Neuron(2, rng=0)
    for p, number in zip(neuron.parameters(), (0.5, -2.0, 0.25), strict=True):
        p.data = number
    y = neuron([3.0, 0.5])
    assert y.data == 3 * 0.5 - 2 * 0.5 + 0.25
    y.backward()
    assert [p.grad for p in neuron.parameters()] == [3.0, 0.5, 1.0]
    neuron.zero_grad()
    assert [p.grad for p in neuron.parameters()] == [0.0, 0.0, 0.0]
    y = neuron([-3.0, 0.5])  # rectified
    y.backward()
    assert y.data == 0
    assert [p.grad for p in neuron.parameters()] == [0.0, 0.0, 0.0]
    linear = Neuron(2, nonlin=False, rng=0)
    linear.w[0].data = linear.w[1].data = -1.0
    assert linear([1.0, 2.0]).data == -3.0


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda x: list(map(Value, x))])
def test_inputs_of_any_kind(kind: Any) -> None:
    model = MLP(3, [4, 1], rng=0)
    expected = model([1.0, -2.0, 0.5]).data
    y = model(kind([1.0, -2.0, 0.5]))
    assert isinstance(y, Value)
    assert y.data == expected
    y.backward()
    gradient = [p.grad for p in model.parameters()]
    model.zero_grad()
    model([1.0, -2.0, 0.5]).backward()
    assert gradient == [p.grad for p in model.parameters()]


@pytest.mark.parametrize("x", [[1.0, 2.0], [1.0] * 4, [], np.ones(2)])
def test_a_wrong_number_of_inputs_is_an_error(x: Any) -> None:
    with pytest.raises(ShapeError, match=rf"ReLUNeuron\(3\) takes 3 inputs, got {len(x)}"):
        MLP(3, [2, 1], rng=0)(x)


def test_inputs_get_gradients_too() -> None:
    model = MLP(2, [4, 1], rng=2)
    x = [Value(0.5), Value(-1.5)]
    model(x).backward()
    for i in range(2):
        h = 1e-6
        moved = [[0.5, -1.5], [0.5, -1.5]]
        moved[0][i] -= h
        moved[1][i] += h
        low, high = (model(point).data for point in moved)
        assert math.isclose(x[i].grad, (high - low) / (2 * h), rel_tol=1e-7)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_compute_the_same_and_train_apart(duplicate: Any) -> None:
    model = MLP(2, [4, 1], rng=0)
    twin = duplicate(model)
    assert repr(twin) == repr(model)
    assert twin([1.0, 2.0]).data == model([1.0, 2.0]).data
    twin([1.0, 2.0]).backward()
    assert all(p.grad == 0 for p in model.parameters())
    for p in twin.parameters():
        p.data -= p.grad
    assert twin([1.0, 2.0]).data != model([1.0, 2.0]).data


def test_training_leaves_no_reference_cycle() -> None:
    model = MLP(2, [4, 1], rng=0)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            loss = (model([1.0, 2.0]) - 1.0) ** 2
            model.zero_grad()
            loss.backward()
            for p in model.parameters():
                p.data -= 0.01 * p.grad
        del loss
        assert gc.collect() == 0
    finally:
        gc.enable()


# --- the same network in tensors -----------------------------------------------------------------


def tensors_of(model: MLP) -> nn.MLP:
    """Make the tensor network with the weights of a network of Values."""
    layers = model.layers
    twin = nn.MLP(
        len(layers[0].neurons[0].w), [len(layer.neurons) for layer in layers], dtype="float64"
    )
    for layer, target in zip(layers, twin.layers, strict=True):
        for neuron, unit in zip(layer.neurons, target.neurons, strict=True):
            unit.weight = [w.data for w in neuron.w]
            unit.bias = neuron.b.data
    return twin


def values_of(model: nn.MLP) -> MLP:
    """Make the network of Values with the weights of a tensor network."""
    twin = MLP(model.layers[0].n_in, [layer.n_out for layer in model.layers], rng=0)
    for layer, source in zip(twin.layers, model.layers, strict=True):
        for neuron, unit in zip(layer.neurons, source.neurons, strict=True):
            for w, number in zip(neuron.w, unit.weight, strict=True):
                w.data = number
            neuron.b.data = unit.bias
    return twin


def gradients(model: nn.MLP) -> list[float]:
    """The gradients of a tensor network in the order of the parameters of one of Values."""
    return [
        float(g)
        for layer in model.layers
        for i in range(layer.n_out)
        for g in [*layer.weight.grad[:, i], layer.bias.grad[i]]
    ]


X = np.random.default_rng(0).standard_normal((10, 3))
Y = np.random.default_rng(1).standard_normal((10, 2))


@pytest.mark.parametrize("direction", ["from values", "from tensors"])
@pytest.mark.parametrize("sizes", [[2], [4, 2], [5, 4, 2]])
def test_values_and_tensors_are_each_others_oracle(direction: str, sizes: list[int]) -> None:
    if direction == "from values":
        small = MLP(3, sizes, rng=1)
        for p in small.parameters():
            p.data += 0.05  # biases away from zero
        big = tensors_of(small)
    else:
        big = nn.MLP(3, sizes, rng=1, dtype="float64")
        for layer in big.layers:
            layer.bias.data = np.linspace(-0.2, 0.2, layer.n_out)
        small = values_of(big)
    for _ in range(4):
        outputs = [small(x) for x in X]
        outputs = [out if isinstance(out, list) else [out] for out in outputs]
        terms = [(o - t) ** 2 for out, row in zip(outputs, Y, strict=True)
                 for o, t in zip(out, row, strict=True)]  # fmt: skip
        small_loss = sum(terms) * (1 / len(terms))
        predicted = big(X)
        big_loss = losses.mse_loss(predicted, Y)
        np.testing.assert_allclose(
            [[o.data for o in out] for out in outputs], predicted.data, rtol=1e-12, atol=1e-14
        )
        assert math.isclose(small_loss.data, big_loss.item(), rel_tol=1e-13)
        small.zero_grad()
        big.zero_grad()
        small_loss.backward()
        big_loss.backward()
        np.testing.assert_allclose(
            [p.grad for p in small.parameters()], gradients(big), rtol=1e-11, atol=1e-14
        )
        for p in small.parameters():
            p.data -= 0.1 * p.grad
        for p in big.parameters():
            p.data -= 0.1 * p.grad


def test_values_and_tensors_mix_in_one_expression() -> None:
    model = MLP(3, [4, 1], rng=1)
    scores = np.stack([model(x) for x in X])
    assert isinstance(scores, tg.Tensor)
    assert scores.shape == (10,)
    loss = losses.mse_loss(scores, Y[:, 0])
    loss.backward()
    mixed = [p.grad for p in model.parameters()]
    model.zero_grad()
    (sum((model(x) - t) ** 2 for x, t in zip(X, Y[:, 0], strict=True)) * 0.1).backward()
    np.testing.assert_allclose(mixed, [p.grad for p in model.parameters()], rtol=1e-12)
