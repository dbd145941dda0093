"""Modules: finding parameters, state, modes, copies, layers and their neurons."""

from __future__ import annotations

import copy
import functools
import gc
import math
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, optim
from tinygrad_nn.errors import NotDifferentiableError, ShapeError


def parameter(*shape: int) -> tg.Tensor:
    return tg.tensor(np.ones(shape), requires_grad=True)


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


X = np.random.default_rng(0).standard_normal((6, 2))
Y = np.random.default_rng(1).integers(0, 3, 6)


def small(**options: Any) -> nn.MLP:
    return nn.MLP(2, [4, 3], activation="tanh", rng=0, **options)


def train(model: Any, steps: int = 3) -> None:
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        losses.cross_entropy(model(X), Y).backward()
        optimizer.step()


def same_state(a: nn.Module, b: nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return list(x) == list(y) and all(np.array_equal(x[k], y[k]) for k in x)


# --- a module of one's own -----------------------------------------------------------------------


class Gathering(nn.Module):
    """Parameters and modules in every kind of container, and no call of super().__init__()."""

    def __init__(self) -> None:
        self.z = parameter(1)
        self.a = parameter(2)
        self.pair = (parameter(3), nn.Linear(1, 1, rng=0))
        self.table = {"one": parameter(4), 2: [parameter(5), {"deep": (parameter(6),)}]}
        self.layers = [nn.Linear(1, 2, rng=0), nn.Linear(2, 1, bias=False, rng=0)]
        self.buffer = tg.tensor([1.0])  # requires no gradient
        self.settings = {"n": 3, "name": "x", "nothing": None, "array": np.ones(3)}
        self.again = self.a


NAMES = [
    "z", "a", "pair.0", "pair.1.weight", "pair.1.bias", "table.one", "table.2.0",
    "table.2.1.deep.0", "layers.0.weight", "layers.0.bias", "layers.1.weight",
]  # fmt: skip


def test_parameters_are_found_in_every_container_in_order_of_definition_once() -> None:
    model = Gathering()
    assert names(model) == NAMES
    found = dict(model.named_parameters())
    assert found["table.2.1.deep.0"] is model.table[2][1]["deep"][0]
    assert [p.size for p in model.parameters()] == [1, 2, 3, 1, 1, 4, 5, 6, 2, 2, 2]
    assert list(map(id, model.parameters())) == list(map(id, found.values()))
    assert [n for n, _ in model.named_tensors()] == [*NAMES, "buffer"]
    assert [n for n, _ in model.named_parameters("net")] == ["net." + n for n in NAMES]
    assert [n for n, _ in model.named_modules()] == ["", "pair.1", "layers.0", "layers.1"]
    assert len(list(model.modules())) == 4


def test_a_shared_parameter_or_module_is_found_once() -> None:
    model = nn.Module()
    model.first = nn.Linear(2, 2, rng=0)
    model.second = nn.Linear(2, 2, rng=1)
    model.second.weight = model.first.weight
    model.third = model.first
    model.many = [model.first, model.second]
    assert names(model) == ["first.weight", "first.bias", "second.bias"]
    assert len(list(model.modules())) == 3


def test_containers_that_contain_themselves_end() -> None:
    model = nn.Module()
    model.items = [parameter(1)]
    model.items.append(model.items)
    model.me = model
    assert names(model) == ["items.0"]


def test_a_module_of_many_levels_needs_no_recursion() -> None:
    box: Any = parameter(1)
    for _ in range(5000):
        box = [box]
    model = nn.Module()
    model.box = box
    assert len(model.parameters()) == 1


def test_results_that_a_module_stores_are_no_parameters() -> None:
    class Remembering(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(2, 2, rng=0)

        def forward(self, x: Any) -> Any:
            self.last = self.linear(x)
            return self.last

    model = Remembering()
    before = list(model.state_dict())
    model(X).sum().backward()
    assert names(model) == ["linear.weight", "linear.bias"]
    assert list(model.state_dict()) == before
    optim.SGD(model.parameters(), lr=0.1).step()


def test_frozen_tensors_are_no_parameters_but_state() -> None:
    model = small()
    assert model.layers[0].requires_grad_(False) is model.layers[0]
    assert names(model) == ["layers.1.weight", "layers.1.bias"]
    assert list(model.state_dict())[:2] == ["layers.0.weight", "layers.0.bias"]
    before = model.state_dict()
    train(model)
    after = model.state_dict()
    assert [np.array_equal(before[k], after[k]) for k in before] == [True, True, False, False]
    model.requires_grad_()
    assert len(model.parameters()) == 4


def test_freezing_and_unfreezing_leaves_buffers_alone() -> None:
    model = nn.Module()
    model.count = tg.tensor([1, 2])
    model.mean = tg.tensor([0.0])
    model.weight = tg.tensor([1.0], requires_grad=True)
    model.requires_grad_(False)
    assert names(model) == []
    copy.deepcopy(model).requires_grad_()
    assert names(model) == []
    model.requires_grad_()
    assert names(model) == ["weight"]


def test_a_module_of_plain_tensors_trains() -> None:
    class Line(nn.Module):
        def __init__(self) -> None:
            self.slope = tg.tensor(0.0, requires_grad=True)
            self.offset = tg.tensor(0.0, requires_grad=True)

        def forward(self, x: Any, *, scale: float = 1.0) -> Any:
            return scale * (self.slope * x + self.offset)

    model = Line()
    x = np.linspace(-1, 1, 20)
    optimizer = optim.SGD(model.parameters(), lr=0.3, momentum=0.5)
    for _ in range(200):
        model.zero_grad()
        losses.mse_loss(model(x, scale=2.0), 3 * x - 1).backward()
        optimizer.step()
    assert math.isclose(model.slope.item(), 1.5, rel_tol=1e-6)
    assert math.isclose(model.offset.item(), -0.5, rel_tol=1e-6)


def test_forward_must_be_defined() -> None:
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty must define forward\(\)"):
        Empty()(1.0)


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "nested", "none", "number", "array"])
def test_outputs_of_any_structure_are_handed_through(kind: str) -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            self.weight = parameter(2)

        def forward(self, x: Any) -> Any:
            a, b = x * self.weight, x + self.weight
            return {
                "tuple": (a, b),
                "list": [a, b],
                "dict": {"a": a, "b": b},
                "nested": {"x": [a, (b, None, 3)], "y": "text"},
                "none": None,
                "number": 3.0,
                "array": np.ones(2),
            }[kind]

    class Outer(nn.Module):
        def __init__(self) -> None:
            self.inner = Inner()

        def forward(self, x: Any) -> Any:
            return self.inner(x)

    model = Outer()
    y = model(np.array([3.0, 4.0]))
    nodes = {
        "tuple": lambda: y,
        "list": lambda: y,
        "dict": lambda: (y["a"], y["b"]),
        "nested": lambda: (y["x"][0], y["x"][1][0]),
    }
    if kind in nodes:
        a, b = nodes[kind]()
        (a + 10 * b).sum().backward()
        assert np.array_equal(model.inner.weight.grad, [13.0, 14.0])
    else:
        assert type(y) in (type(None), float, np.ndarray)


def test_a_module_may_return_its_input_or_its_parameter() -> None:
    class Same(nn.Module):
        def __init__(self) -> None:
            self.weight = parameter(2)

        def forward(self, x: Any) -> Any:
            return self.weight if x is None else x

    model = Same()
    x = tg.tensor([1.0, 2.0])
    assert model(x) is x
    assert model(None) is model.weight
    model(None).sum().backward()
    assert np.array_equal(model.weight.grad, [1.0, 1.0])


def test_calling_a_module_leaves_no_reference_cycle() -> None:
    model = small()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            losses.cross_entropy(model(X), Y).backward()
            model.zero_grad()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_threads_share_a_model_for_prediction() -> None:
    model = small()
    expected = model(X).data
    results: list[Any] = []

    def predict() -> None:
        with tg.no_grad():
            results.extend(model(X).data for _ in range(50))

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200
    assert all(np.array_equal(y, expected) for y in results)


# --- gradients and modes -------------------------------------------------------------------------


def test_zero_grad_forgets_all_gradients() -> None:
    model = small()
    losses.cross_entropy(model(X), Y).backward()
    assert all(p.grad is not None for p in model.parameters())
    frozen = model.layers[0].weight.requires_grad_(False)
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert frozen.grad is None


def test_train_and_eval_reach_every_module() -> None:
    class Noise(nn.Module):
        def forward(self, x: Any) -> Any:
            return x + 100.0 if self.training else x

    model = nn.Sequential(nn.Linear(2, 2, rng=0), Noise())
    model.extra = {"deep": [Noise()]}
    assert model.training
    noisy = model(X).data
    assert model.eval() is model
    assert [m.training for m in model.modules()] == [False] * 4
    np.testing.assert_allclose(noisy - model(X).data, 100.0, rtol=1e-5)
    assert model.train() is model
    assert [m.training for m in model.modules()] == [True] * 4
    model.train(False)
    assert not model.extra["deep"][0].training
    assert Noise().training  # the class keeps its default
    assert list(model.state_dict()) == ["steps.0.weight", "steps.0.bias"]


# --- state ---------------------------------------------------------------------------------------


def test_state_dict_is_a_copy_in_order() -> None:
    model = small()
    state = model.state_dict()
    assert list(state) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    assert all(type(array) is np.ndarray for array in state.values())
    state["layers.0.weight"][...] = 7.0
    assert not (model.layers[0].weight.data == 7.0).any()
    train(model)
    assert (state["layers.0.bias"] == 0).all()


def test_load_state_dict_takes_over_values_and_copies_them() -> None:
    a, b = small(), nn.MLP(2, [4, 3], activation="tanh", rng=5)
    state = a.state_dict()
    assert not same_state(a, b)
    b.load_state_dict(state)
    assert same_state(a, b)
    assert np.array_equal(a(X).data, b(X).data)
    state["layers.0.weight"][...] = 7.0
    assert same_state(a, b)
    train(b)
    assert same_state(a, small())


def test_load_state_dict_converts_to_the_parameters_dtype() -> None:
    model = small()
    state: Any = {k: v.astype("float64") for k, v in small(dtype="float64").state_dict().items()}
    state["layers.1.bias"] = [1, 2, 3]
    model.load_state_dict(state)
    assert {p.dtype for p in model.parameters()} == {np.dtype("float32")}
    assert model.layers[1].bias.data.tolist() == [1.0, 2.0, 3.0]


def broken_states() -> dict[str, tuple[dict[str, Any], Any, list[str]]]:
    good = {k: v + 1 for k, v in small().state_dict().items()}
    without = {k: v for k, v in good.items() if k not in ("layers.0.bias", "layers.1.weight")}
    return {
        "missing": (without, KeyError, ["layers.0.bias", "layers.1.weight", "missing", "MLP"]),
        "surplus": (good | {"more": [1]}, KeyError, ["more", "surplus"]),
        "renamed": (without | {"l.0.b": [1]}, KeyError, ["layers.0.bias", "l.0.b"]),
        "empty": ({}, KeyError, list(good)),
        "shapes": (
            good | {"layers.0.weight": np.ones((4, 2)), "layers.1.bias": np.ones((1, 3))},
            ShapeError,
            ["layers.0.weight", "(4, 2)", "(2, 4)", "layers.1.bias", "(1, 3)", "(3,)"],
        ),
        "scalar": (good | {"layers.1.bias": 1.0}, ShapeError, ["layers.1.bias", "()"]),
        "text": (good | {"layers.1.bias": np.array(["a", "b", "c"])}, TypeError, ["layers.1.bias"]),
        "ragged": (good | {"layers.1.bias": [[1.0], [1.0, 2.0], [3.0]]}, ValueError, []),
        "objects": (good | {"layers.1.bias": [None, {}, 1]}, (TypeError, ValueError), []),
    }


@pytest.mark.parametrize("case", broken_states())
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(case: str) -> None:
    state, error, words = broken_states()[case]
    model = small()
    with pytest.raises(error) as caught:
        model.load_state_dict(state)
    for word in words:
        assert word in str(caught.value)
    assert same_state(model, small())


def test_a_state_of_tensors_is_refused_with_the_remedy() -> None:
    model = small()
    with pytest.raises(NotDifferentiableError, match=r"t\.data"):
        model.load_state_dict(dict(nn.MLP(2, [4, 3], rng=5).named_parameters()))
    assert same_state(model, small())


def test_load_state_dict_that_is_not_strict_takes_what_fits() -> None:
    model = small()
    model.load_state_dict({"layers.1.bias": [1, 2, 3], "more": [1]}, strict=False)
    expected = small().state_dict() | {"layers.1.bias": np.array([1, 2, 3])}
    assert all(np.array_equal(v, expected[k]) for k, v in model.state_dict().items())
    with pytest.raises(ShapeError, match=r"layers\.1\.bias"):
        model.load_state_dict({"layers.1.bias": [1, 2]}, strict=False)


def test_state_of_a_shared_parameter() -> None:
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    model[1].weight = model[0].weight
    state = model.state_dict()
    assert list(state) == ["steps.0.weight", "steps.0.bias", "steps.1.bias"]
    state["steps.0.weight"] = np.eye(2)
    model.load_state_dict(state)
    assert model[1].weight is model[0].weight
    assert np.array_equal(model[1].weight.data, np.eye(2))


# --- copies --------------------------------------------------------------------------------------


def by_pickle(x: Any) -> Any:
    return pickle.loads(pickle.dumps(x))


DUPLICATES = pytest.mark.parametrize("duplicate", [copy.deepcopy, by_pickle])


def half(x: Any) -> Any:
    return x * 0.5


MODELS = {
    "mlp": lambda: small(),
    "mlp by function": lambda: nn.MLP(2, [4, 3], activation=tg.gelu, output_activation=tg.tanh),
    "mlp of a primitive": lambda: nn.MLP(2, [4, 3], activation=tg.relu),
    "mlp of a NumPy function": lambda: nn.MLP(2, [4, 3], activation=np.tanh),
    "mlp of one's own function": lambda: nn.MLP(2, [4, 3], activation=half),
    "mlp of a partial": lambda: nn.MLP(
        2, [4, 3], activation=functools.partial(tg.leaky_relu, negative_slope=0.2)
    ),
    "neuron": lambda: nn.Neuron(2, "sigmoid", rng=0),
    "layer without bias": lambda: nn.Layer(2, 3, bias=False, rng=0),
    "sequential": lambda: nn.Sequential(nn.Linear(2, 3, rng=0), tg.softplus, "tanh", np.sin),
}


@DUPLICATES
@pytest.mark.parametrize("name", MODELS)
def test_a_copy_computes_the_same_bit_for_bit_and_apart(name: str, duplicate: Any) -> None:
    model = MODELS[name]()
    model(X).sum().backward()
    twin = duplicate(model)
    assert type(twin) is type(model)
    assert repr(twin) == repr(model)
    assert np.array_equal(model(X).data, twin(X).data)
    assert names(twin) == names(model)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert a is not b
        assert not np.shares_memory(a.data, b.data)
        assert (a.dtype, a.label) == (b.dtype, b.label)
        assert np.array_equal(a.grad, b.grad)
        assert not np.shares_memory(a.grad, b.grad)
        b.data[...] = 0
        assert not a.data.any() or (a.data != b.data).any()


@DUPLICATES
def test_a_copy_trains_apart(duplicate: Any) -> None:
    model = small()
    train(model, 2)
    twin = duplicate(model)
    train(twin)
    assert not same_state(model, twin)
    train(model)
    assert same_state(model, twin)  # the same steps from the same weights


@DUPLICATES
def test_what_is_shared_is_shared_in_the_copy(duplicate: Any) -> None:
    model = Gathering()
    model.layers[1].weight = model.layers[0].weight
    twin = duplicate(model)
    assert twin.again is twin.a
    assert twin.layers[1].weight is twin.layers[0].weight
    assert names(twin) == names(model)
    assert not twin.buffer.requires_grad


@DUPLICATES
def test_the_mode_and_frozen_parameters_are_copied(duplicate: Any) -> None:
    model = small().eval()
    model.layers[0].requires_grad_(False)
    twin = duplicate(model)
    assert [m.training for m in twin.modules()] == [False] * 3
    assert names(twin) == ["layers.1.weight", "layers.1.bias"]


def test_a_copy_of_a_model_and_its_old_output() -> None:
    model = small()
    loss = losses.cross_entropy(model(X), Y)
    twin = copy.deepcopy(model)
    loss.backward()  # the graph belongs to the original
    assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad is None for p in twin.parameters())


# --- what it looks like --------------------------------------------------------------------------


def test_repr_shows_the_structure() -> None:
    assert repr(small()) == (
        "MLP(\n"
        "  (layers.0): Layer(2, 4, activation='tanh')\n"
        "  (layers.1): Layer(4, 3, activation=None)\n"
        ")"
    )
    assert repr(nn.Linear(2, 3, bias=False)) == "Linear(2, 3, activation=None, bias=False)"
    assert repr(nn.Neuron(3, tg.gelu)) == "Neuron(3, activation='gelu')"
    assert repr(nn.Layer(2, 3, tg.relu)) == "Layer(2, 3, activation='relu')"
    text = repr(nn.Sequential(nn.MLP(2, [3, 1]), "tanh", tg.softplus, tg.sigmoid))
    assert text == (
        "Sequential(\n"
        "  (0): MLP(\n"
        "    (layers.0): Layer(2, 3, activation='relu')\n"
        "    (layers.1): Layer(3, 1, activation=None)\n"
        "  )\n"
        "  (1): tanh\n"
        "  (2): softplus\n"
        "  (3): sigmoid\n"
        ")"
    )


def test_repr_shows_modules_in_nested_containers() -> None:
    model = nn.Module()
    model.blocks = {"a": [nn.Linear(1, 2, rng=0)], "b": (nn.Linear(2, 3), {"c": nn.Linear(3, 4)})}
    assert repr(model) == (
        "Module(\n"
        "  (blocks.a.0): Linear(1, 2, activation=None)\n"
        "  (blocks.b.0): Linear(2, 3, activation=None)\n"
        "  (blocks.b.1.c): Linear(3, 4, activation=None)\n"
        ")"
    )


def test_summary_counts() -> None:
    model = nn.MLP(64, [32, 10])
    lines = model.summary().splitlines()
    assert lines[0].split() == ["parameter", "shape", "dtype", "count"]
    assert lines[1].split() == ["layers.0.weight", "(64,", "32)", "float32", "2,048"]
    assert lines[-1].split() == ["total", f"{64 * 32 + 32 + 32 * 10 + 10:,}"]
    assert len({len(line) for line in lines}) == 1  # aligned
    model.layers[0].requires_grad_(False)
    lines = model.summary().splitlines()
    assert "layers.0.weight (frozen)" in lines[1]
    assert lines[-1].split() == ["of", "them", "frozen", "2,080"]
    assert nn.Module().summary().splitlines()[-1].split() == ["total", "0"]


def test_summary_counts_a_shared_parameter_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    model[1].weight = model[0].weight
    assert model.summary().splitlines()[-1].split() == ["total", "8"]


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2,), (5, 2), (3, 5, 2), (0, 2), (0, 4, 2), (1, 1, 1, 2)])
def test_layer_and_neuron_compute_the_affine_map(shape: tuple[int, ...], bias: bool) -> None:
    x = np.random.default_rng(3).standard_normal(shape)
    layer = nn.Layer(2, 3, "tanh", bias=bias, rng=0, dtype="float64")
    neuron = nn.Neuron(2, "tanh", bias=bias, rng=0, dtype="float64")
    for module in (layer, neuron):
        if bias:
            module.bias.data = np.random.default_rng(4).standard_normal(module.bias.shape)
        offset = module.bias.data if bias else 0.0
        expected = np.tanh(x @ module.weight.data + offset)
        y = module(tg.tensor(x, requires_grad=True))
        assert y.shape == expected.shape
        np.testing.assert_allclose(y.data, expected, rtol=1e-14, atol=1e-15)
    assert layer(x).shape == (*shape[:-1], 3)
    assert neuron(x).shape == shape[:-1]


@pytest.mark.parametrize("shape", [(2,), (5, 2), (3, 5, 2), (0, 2)])
@pytest.mark.parametrize("make", [nn.Layer, lambda n_in, n_out, *a, **k: nn.Neuron(n_in, *a, **k)])
def test_gradients_of_a_layer(shape: tuple[int, ...], make: Any) -> None:
    rng = np.random.default_rng(5)
    layer = make(2, 3, None, rng=0, dtype="float64")
    x = tg.tensor(rng.standard_normal(shape), requires_grad=True)
    y = layer(x)
    seed = rng.standard_normal(y.shape)
    y.backward(seed)
    w = layer.weight.data.reshape(2, -1)
    rows, g = x.data.reshape(-1, 2), seed.reshape(-1, w.shape[1])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-13, atol=1e-14)
    close(x.grad, (g @ w.T).reshape(shape))
    close(layer.weight.grad, (rows.T @ g).reshape(layer.weight.shape))
    close(layer.bias.grad, g.sum(axis=0).reshape(layer.bias.shape))


def test_an_mlp_is_its_layers() -> None:
    model = nn.MLP(2, [5, 4, 3], "tanh", "sigmoid", rng=0, dtype="float64")
    a, b, c = (layer.weight.data for layer in model.layers)
    for i, layer in enumerate(model.layers):
        layer.bias.data = np.linspace(-1, i, layer.n_out)
    d, e, f = (layer.bias.data for layer in model.layers)
    z = np.tanh(np.tanh(X @ a + d) @ b + e) @ c + f
    np.testing.assert_allclose(model(X).data, 1 / (1 + np.exp(-z)), rtol=1e-14)


def test_order_shapes_and_dtype_of_an_mlps_parameters() -> None:
    model = nn.MLP(2, [5, 3])
    assert [(n, p.shape) for n, p in model.named_parameters()] == [
        ("layers.0.weight", (2, 5)),
        ("layers.0.bias", (5,)),
        ("layers.1.weight", (5, 3)),
        ("layers.1.bias", (3,)),
    ]
    assert {p.dtype for p in model.parameters()} == {np.dtype("float32")}
    assert {p.dtype for p in nn.MLP(2, [3], dtype=float).parameters()} == {np.dtype("float64")}
    assert all((layer.bias.data == 0).all() for layer in model.layers)
    assert names(nn.MLP(2, [5, 3], bias=False)) == ["layers.0.weight", "layers.1.weight"]
    assert [layer.activation for layer in model.layers] == ["relu", None]


def test_seeds() -> None:
    def model(rng: Any = 0) -> nn.MLP:
        return nn.MLP(2, [5, 3], rng=rng)

    assert same_state(model(), model())
    assert same_state(nn.MLP(2, [5, 3]), model(0))  # the default is a seed
    assert not same_state(model(0), model(1))
    assert same_state(model(np.random.default_rng(3)), model(3))
    assert not same_state(model(None), model(None))
    generator = np.random.default_rng(3)
    assert not same_state(model(generator), model(generator))
    # Layers of one network differ, and so do fresh layers without a seed.
    square = nn.MLP(4, [4, 4]).layers
    assert not np.array_equal(square[0].weight.data, square[1].weight.data)
    a, b = nn.Layer(2, 3), nn.Layer(2, 3)
    assert not np.array_equal(a.weight.data, b.weight.data)
    # A wider precision draws the same numbers.
    wide = nn.MLP(2, [5, 3], rng=3, dtype="float64").state_dict()
    assert all(np.array_equal(v, wide[k].astype("f")) for k, v in model(3).state_dict().items())


PLAIN: dict[str, Any] = {
    "float64": X,
    "float32": X.astype("float32"),
    "float16": X.astype("float16"),
    "int": np.ones((6, 2), int),
    "uint8": np.ones((6, 2), "uint8"),
    "bool": np.ones((6, 2), bool),
    "list": X.tolist(),
    "row": [1.0, 2.0],
    "tuple": (1, 2.5),
    "rows": list(X),
    "NumPy numbers": [np.float64(1.0), np.int64(2)],
    "not contiguous": np.asfortranarray(X)[::-1],
    "read-only": np.broadcast_to(np.array([1.0, 2.0]), (6, 2)),
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_plain_data_takes_the_parameters_dtype(kind: str, dtype: str) -> None:
    model = small(dtype=dtype)
    y = model(PLAIN[kind])
    assert y.dtype == dtype
    expected = model(np.array(PLAIN[kind]).astype(dtype))
    assert np.array_equal(y.data, expected.data)
    y.sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(dtype)}


@pytest.mark.parametrize("model_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_a_tensor_is_promoted_as_numpy_does(
    model_dtype: str, dtype: str, requires_grad: bool
) -> None:
    model = small(dtype=model_dtype)
    x = tg.tensor(X.astype(dtype), requires_grad=requires_grad)
    y = model(x)
    assert y.dtype == np.result_type(dtype, model_dtype)
    y.sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(model_dtype)}
    assert (x.grad is not None) == requires_grad
    if requires_grad:
        assert x.grad.dtype == dtype


def test_a_list_of_nodes_keeps_its_gradient() -> None:
    layer = nn.Layer(2, 3, "tanh", rng=0, dtype="float64")
    a, b = tg.Value(0.5), tg.tensor(-0.25, requires_grad=True)
    for inputs in ([a, b], (a, b), [a, -0.25], [0.5, b]):
        y = layer(inputs)
        np.testing.assert_array_equal(y.data, layer([0.5, -0.25]).data)
    a.grad, b.grad = 0.0, None
    layer([a, b]).sum().backward()
    x = tg.tensor([0.5, -0.25], requires_grad=True)
    layer(x).sum().backward()
    np.testing.assert_allclose([a.grad, b.grad], x.grad, rtol=1e-14)


def test_nested_lists_of_nodes_are_refused_and_not_cut_off() -> None:
    with pytest.raises(NotDifferentiableError, match=r"np\.stack"):
        nn.Layer(2, 3, rng=0)([[tg.Value(1.0), tg.Value(2.0)]])


@pytest.mark.parametrize(
    ("make", "title"),
    [
        (lambda: nn.Layer(2, 3), r"Layer\(2, 3, activation='relu'\)"),
        (lambda: nn.Linear(2, 3), r"Linear\(2, 3, activation=None\)"),
        (lambda: nn.Neuron(2), r"Neuron\(2, activation='relu'\)"),
        (lambda: small(), r"Layer\(2, 4, activation='tanh'\)"),
        (lambda: nn.Sequential(nn.Linear(2, 5), nn.Linear(2, 7)),
         r"Linear\(2, 7, activation=None\)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 1), (), (0,)])
def test_a_wrong_shape_names_the_layer(make: Any, title: str, shape: tuple[int, ...]) -> None:
    model = make()
    if "7" in title:
        shape, got = (2, 2), r"\(2, 5\)"
    else:
        got = "".join("\\" + c if c in "()" else c for c in str(shape))
    for x in (np.ones(shape), tg.tensor(np.ones(shape))):
        with pytest.raises(
            ShapeError, match=rf"{title} takes inputs of .*\(\.\.\., 2\), got {got}"
        ):
            model(x)


@pytest.mark.parametrize("bad", [["a", "b"], None, {"a": 1}, [[1.0, 2.0], [3.0]]])
def test_what_is_no_data_is_refused(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        nn.Layer(2, 3)(bad)


@pytest.mark.parametrize("sizes", [(0, [3]), (2, [0]), (2, [3, -1]), (-2, [3])])
def test_sizes_must_be_positive(sizes: Any) -> None:
    with pytest.raises(ValueError, match="positive"):
        nn.MLP(*sizes)


@pytest.mark.parametrize("make", [
    lambda: nn.MLP(2, []), lambda: nn.MLP(2, 3), lambda: nn.MLP(2, [2.5]),
    lambda: nn.Layer(2.0, 3), lambda: nn.Layer(2, 3, dtype="int64"),
    lambda: nn.Layer(2, 3, dtype="nonsense"),
])  # fmt: skip
def test_arguments_that_make_no_sense(make: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        make()


@pytest.mark.parametrize("make", [
    lambda name: nn.MLP(2, [3, 1], activation=name),
    lambda name: nn.MLP(2, [3, 1], output_activation=name),
    lambda name: nn.Layer(2, 3, name),
    lambda name: nn.Neuron(2, name),
    lambda name: nn.Sequential(nn.Linear(2, 3), name),
])  # fmt: skip
def test_an_unknown_activation_lists_the_known_ones(make: Any) -> None:
    with pytest.raises(ValueError, match="unknown activation 'rleu'") as caught:
        make("rleu")
    assert all(name in str(caught.value) for name in tg.ACTIVATIONS)


@pytest.mark.parametrize("name", tg.ACTIVATIONS)
def test_every_activation_by_name_and_by_function(name: str) -> None:
    function = tg.ACTIVATIONS[name]
    a = nn.MLP(2, [4, 3], activation=name, output_activation=name, rng=0)
    b = nn.MLP(2, [4, 3], activation=function, output_activation=function, rng=0)
    assert repr(a) == repr(b)
    assert np.array_equal(a(X).data, b(X).data)


# --- sequential ----------------------------------------------------------------------------------


def test_sequential_of_modules_functions_and_names() -> None:
    first, last = nn.Linear(2, 4, rng=0, dtype="float64"), nn.Linear(4, 1, rng=1, dtype="float64")
    model = nn.Sequential(first, "tanh", np.square, lambda x: x - 0.5, last)
    expected = (np.tanh(X @ first.weight.data) ** 2 - 0.5) @ last.weight.data
    np.testing.assert_allclose(model(X).data, expected, rtol=1e-14)
    assert len(model) == 5
    assert model[0] is first
    assert model[-1] is last
    assert names(model) == ["steps.0.weight", "steps.0.bias", "steps.4.weight", "steps.4.bias"]
    train(nn.Sequential(nn.Linear(2, 4, rng=0), "relu", nn.Linear(4, 3, rng=1)))


def test_sequential_of_sequentials_and_of_nothing() -> None:
    inner = nn.Sequential(nn.Linear(2, 4, rng=0), "tanh")
    model = nn.Sequential(inner, nn.Sequential(nn.Linear(4, 1, rng=1)))
    assert names(model)[0] == "steps.0.steps.0.weight"
    assert model(X).shape == (6, 1)
    x = tg.tensor(X)
    assert nn.Sequential()(x) is x


@pytest.mark.parametrize("steps", [([nn.Linear(2, 3), nn.Linear(3, 1)],), (None,), (3,)])
def test_sequential_refuses_what_is_no_step(steps: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"Sequential|activation"):
        nn.Sequential(*steps)


# --- neurons of a layer --------------------------------------------------------------------------


def check_neurons(model: nn.MLP) -> None:
    """Writing to a neuron in each way changes the layer, the layer's output, and nothing else."""
    for layer in model.layers:
        assert len(layer.neurons) == layer.n_out
        for i in (0, layer.n_out - 1):
            before_w, before_b = layer.weight.data.copy(), layer.bias.data.copy()
            expected_w, expected_b = before_w.copy(), before_b.copy()
            neuron = layer.neurons[i]
            assert neuron.weight.shape == (layer.n_in,)
            assert neuron.bias.shape == ()
            assert np.shares_memory(neuron.weight, layer.weight.data)
            assert np.shares_memory(neuron.bias, layer.bias.data)
            assert np.array_equal(neuron.weight, before_w[:, i])

            neuron.weight[0] = 5.0  # an element
            expected_w[0, i] = 5.0
            assert np.array_equal(layer.weight.data, expected_w)

            neuron.weight = np.arange(layer.n_in)  # the whole
            expected_w[:, i] = np.arange(layer.n_in)
            assert np.array_equal(layer.weight.data, expected_w)

            layer.neurons[i].weight *= 2  # in place, through the property
            expected_w[:, i] *= 2
            assert np.array_equal(layer.weight.data, expected_w)

            neuron.bias = 0.5
            expected_b[i] = 0.5
            assert np.array_equal(layer.bias.data, expected_b)
            neuron.bias[...] = 0.75
            neuron.bias += 1
            expected_b[i] = 1.75
            assert np.array_equal(layer.bias.data, expected_b)

            x = np.ones(layer.n_in, layer.weight.dtype)
            z = layer(x)
            expected = x @ expected_w + expected_b
            np.testing.assert_allclose(
                z.data, np.tanh(expected) if layer.activation else expected, rtol=1e-6
            )
            layer.weight.data, layer.bias.data = before_w, before_b


def test_neurons_are_views() -> None:
    check_neurons(small())


def test_neurons_are_views_after_optimizer_steps() -> None:
    model = small()
    held = model.layers[0].neurons[1]
    train(model)
    assert np.array_equal(held.weight, model.layers[0].weight.data[:, 1])
    check_neurons(model)


def test_neurons_are_views_after_loading_and_copying() -> None:
    model = small()
    held = model.layers[0].neurons[1]
    model.load_state_dict(nn.MLP(2, [4, 3], activation="tanh", rng=9).state_dict())
    assert np.array_equal(held.weight, model.layers[0].weight.data[:, 1])
    check_neurons(model)
    check_neurons(copy.deepcopy(model))
    check_neurons(by_pickle(model))
    train(model)
    check_neurons(model)


def test_neurons_of_a_layer_set_in_fortran_order() -> None:
    model = small()
    model.layers[0].weight.data = np.asfortranarray(np.ones((2, 4)))
    check_neurons(model)
    train(model)
    check_neurons(model)


def test_an_array_of_an_mlps_weights_stays_a_view_through_training() -> None:
    model = small()
    view = model.layers[0].neurons[3].weight
    train(model)
    view[...] = 7.0
    assert (model.layers[0].weight.data[:, 3] == 7.0).all()
    train(model)
    assert np.array_equal(view, model.layers[0].weight.data[:, 3])


def test_training_goes_on_from_weights_set_by_hand() -> None:
    model = small(dtype="float64")
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    train(model)
    model.layers[0].neurons[2].weight = [10.0, 20.0]
    model.layers[0].neurons[2].bias = 30.0
    model.zero_grad()
    losses.cross_entropy(model(X), Y).backward()
    optimizer.step()
    layer = model.layers[0]
    expected = np.array([10.0, 20.0]) - 0.5 * layer.weight.grad[:, 2]
    assert np.array_equal(layer.neurons[2].weight, expected)
    assert layer.neurons[2].bias == 30.0 - 0.5 * layer.bias.grad[2]


@pytest.mark.parametrize("wrong", [[1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], [[1.0], [2.0]]])
def test_a_neurons_weight_of_the_wrong_shape_is_refused(wrong: Any) -> None:
    model = small()
    with pytest.raises(ShapeError, match="has 2 weights, got shape"):
        model.layers[0].neurons[0].weight = wrong
    assert same_state(model, small())


def test_a_neurons_weight_may_be_filled_with_a_number() -> None:
    model = small()
    model.layers[0].neurons[1].weight = 3
    assert model.layers[0].weight.data[:, 1].tolist() == [3.0, 3.0]


@pytest.mark.parametrize("wrong", [[1.0, 2.0], "a", None])
def test_a_neurons_bias_that_is_no_number_is_refused(wrong: Any) -> None:
    model = small()
    with pytest.raises((ValueError, TypeError)):
        model.layers[0].neurons[0].bias = wrong
    assert same_state(model, small())


def test_a_layer_without_bias_says_so() -> None:
    layer = nn.Layer(2, 3, bias=False)
    with pytest.raises(AttributeError, match=r"Layer\(2, 3, .*has no bias"):
        layer.neurons[0].bias  # noqa: B018  # reading it is what raises
    with pytest.raises(AttributeError, match="has no bias"):
        layer.neurons[0].bias = 1.0
    assert "bias" not in repr(layer.neurons[0])


def test_setting_a_neuron_makes_an_old_graph_stale() -> None:
    model = small()
    for change in ("weight", "bias"):
        loss = losses.cross_entropy(model(X), Y)
        setattr(model.layers[0].neurons[0], change, 1.0)
        with pytest.raises(tg.StaleGraphError, match=change):
            loss.backward()


def test_repr_of_a_neuron() -> None:
    layer = nn.Layer(2, 3)
    layer.neurons[1].weight = [1.0, 2.0]
    layer.neurons[1].bias = 0.5
    assert repr(layer.neurons[1]) == "NeuronView(weight=[1. 2.], bias=0.5)"


def test_two_tensors_of_one_name_are_refused() -> None:
    model = nn.Module()
    model.d = {1: tg.tensor([1.0], requires_grad=True), "1": tg.tensor([2.0], requires_grad=True)}
    with pytest.raises(ValueError, match=r"d\.1"):
        model.state_dict()


def test_an_unknown_activation_is_refused_where_no_layer_would_use_it() -> None:
    with pytest.raises(ValueError, match="rellu"):
        nn.MLP(2, [3], activation="rellu")


def test_a_complex_state_is_refused() -> None:
    model = nn.MLP(2, [1])
    state = model.state_dict() | {"layers.0.bias": np.array([1j])}
    with pytest.raises(TypeError, match="complex"):
        model.load_state_dict(state)


def test_a_module_that_refers_to_itself_has_a_repr() -> None:
    model = nn.Module()
    model.me = model
    assert repr(model) == "Module()"


def test_a_frozen_model_can_be_unfrozen_after_pickling() -> None:
    model = nn.MLP(2, [1])
    model.requires_grad_(False)
    again = pickle.loads(pickle.dumps(model))
    assert names(again) == []
    again.requires_grad_()
    assert names(again) == ["layers.0.weight", "layers.0.bias"]


def test_freezing_forgets_gradients() -> None:
    model = nn.MLP(2, [1])
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    np.sum(model(np.ones((1, 2)))).backward()
    optimizer.step()
    before = model.state_dict()
    model.requires_grad_(False)
    optimizer.step()
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


def test_a_part_that_refers_to_its_parent_has_a_repr() -> None:
    model = nn.Module()
    model.kid = nn.Linear(1, 1)
    model.kid.parent = model
    assert "..." in repr(model)


def test_summary_tells_buffers_from_frozen_parameters() -> None:
    model = nn.MLP(2, [1])
    model.requires_grad_(False)
    model.mean = tg.tensor([0.0])
    text = model.summary()
    assert "layers.0.weight (frozen)" in text
    assert "mean (buffer)" in text


def test_numbers_too_large_for_the_dtype_are_refused() -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="weight"):
        model.load_state_dict({"weight": [[1e300], [1.0]], "bias": [0.0]})
    assert np.isfinite(model.weight.data).all()


# --- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_keeps_or_scales(dtype: Any) -> None:
    x = np.arange(1.0, 1001.0, dtype=dtype).reshape(20, 50)
    y = nn.Dropout(0.25, rng=0)(tg.tensor(x)).data
    kept = y != 0
    assert y.dtype == dtype
    np.testing.assert_allclose(y[kept], x[kept] / 0.75, rtol=1e-6)
    assert 0.7 < kept.mean() < 0.8
    u = np.random.default_rng(0).random(x.shape, dtype=dtype)
    np.testing.assert_array_equal(kept, u >= 0.25)


def test_dropout_draws_anew_and_not_in_evaluation() -> None:
    dropout = nn.Dropout(rng=0)
    x = tg.tensor(np.ones(100))
    assert (dropout(x).data != dropout(x).data).any()
    before = dropout.rng.bit_generator.state
    assert dropout.eval()(x) is x
    assert dropout.rng.bit_generator.state == before
    dropout.train()
    assert (dropout(x).data == 0).any()


def test_dropout_of_probability_0_and_1() -> None:
    x = tg.tensor(np.arange(1.0, 4.0))
    never = nn.Dropout(0.0, rng=0)
    before = never.rng.bit_generator.state
    assert never(x) is x
    assert never.rng.bit_generator.state == before
    assert nn.Dropout(1, rng=0)(x).data.tolist() == [0.0, 0.0, 0.0]


def test_dropout_takes_arrays_and_lists_of_floats_alone() -> None:
    assert isinstance(nn.Dropout(rng=0)(np.ones(3)), np.ndarray)
    assert set(nn.Dropout(rng=0)([1.0] * 30).tolist()) == {0.0, 2.0}
    with pytest.raises(TypeError, match="floating"):
        nn.Dropout(rng=0)(np.arange(3))
    for p in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="probability"):
            nn.Dropout(p)


def test_dropout_gradient_is_the_mask() -> None:
    x = tg.tensor(np.arange(1.0, 9.0), requires_grad=True)
    y = nn.Dropout(0.5, rng=3)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.where(y.data != 0, 2.0, 0.0))
    tg.gradcheck(lambda t: nn.Dropout(0.5, rng=3)(t) ** 2, [np.arange(1.0, 9.0)])


def test_dropout_has_no_parameters_and_shows_its_probability() -> None:
    dropout = nn.Dropout(0.3)
    assert dropout.parameters() == []
    assert repr(nn.Sequential(dropout)) == "Sequential(\n  (0): Dropout(p=0.3)\n)"
