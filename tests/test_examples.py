"""The five examples: run as a user runs them, and their parts against oracles of their own."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import re
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from types import ModuleType

import mpmath
import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.scalar import Value

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ["half_adder", "two_circles", "xor_objects", "open_weights", "xor_numpy"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


half_adder, two_circles, xor_objects, open_weights, xor_numpy = map(load, NAMES)


def run(name: str, *options: str, folder: Path, lines: str | None = None):
    """Run an example in a process of its own, in which every warning is an error."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        **({"stdin": subprocess.DEVNULL} if lines is None else {"input": lines}),
    )  # fmt: skip


#: What is typed into an example.
TYPED = {"half_adder": "1 1\n\n0,1\n2 0\nhello\n1 0 0\n 1  0 "}


@pytest.fixture(scope="module")
def defaults(tmp_path_factory):
    """What an example prints without options; each is run once."""

    @functools.cache
    def output(name: str) -> tuple[str, Path]:
        folder = tmp_path_factory.mktemp(name)
        done = run(name, folder=folder, lines=TYPED.get(name))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout, folder

    return output


def check_png(data: bytes) -> None:
    """Walk over the chunks of a PNG file and check the sum of each."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, kinds = 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        chunk = data[position + 4 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length) == (zlib.crc32(chunk),)
        kinds.append(chunk[:4])
        position += length + 12
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"
    assert b"IDAT" in kinds


# --- all five -------------------------------------------------------------------------------------


def test_the_readme_names_every_example():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(NAMES)
    for name in NAMES:
        assert f"[{name}.py]({name}.py)" in text
        assert f"python examples/{name}.py" in text


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("half_adder", ["--epochs", "60"]),
        ("two_circles", ["--epochs", "40"]),
        ("xor_objects", ["--rounds", "2", "--per-round", "300"]),
        ("open_weights", ["--seed", "1"]),
        ("xor_numpy", ["--steps", "100"]),
    ],
)
def test_two_runs_print_and_draw_the_same(name, options, tmp_path, monkeypatch):
    results = []
    for i in "12":
        monkeypatch.setenv("PYTHONHASHSEED", i)
        folder = tmp_path / i
        folder.mkdir()
        done = run(name, *options, folder=folder)
        files = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        results.append((done.stdout, done.stderr, done.returncode, files))
    assert results[0] == results[1]
    assert results[0][0]


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (half_adder, ["--lr", "0"]),
        (half_adder, ["--lr", "nan"]),
        (half_adder, ["--momentum", "1"]),
        (half_adder, ["--epochs", "0"]),
        (half_adder, ["--seed", "-1"]),
        (half_adder, ["--ask", "0 2"]),
        (half_adder, ["--ask", "1"]),
        (two_circles, ["--lr", "inf"]),
        (two_circles, ["--epochs", "0"]),
        (two_circles, ["--seed", "-1"]),
        (xor_objects, ["--rounds", "0"]),
        (xor_objects, ["--per-round", "ten"]),
        (xor_objects, ["--hidden", "0"]),
        (xor_objects, ["--lr", "-1"]),
        (open_weights, ["--mutation", "nan"]),
        (open_weights, ["--generations", "0"]),
        (open_weights, ["--seed", "-1"]),
        (xor_numpy, ["--lr", "nan"]),
        (xor_numpy, ["--steps", "0"]),
        (xor_numpy, ["--seed", "-1"]),
    ],
)
def test_bad_options_end_in_one_line(module, options, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        module.main(options)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert options[0] in captured.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


# --- half adder -----------------------------------------------------------------------------------


def delta_rule(weights, lr, momentum, epochs):
    """Train with numbers alone, by the rule as it stands in the textbooks; errors and weights.

    One flat loop over units: delta of an output unit is (y - t) y (1 - y), that of a hidden unit
    its h (1 - h) times the deltas that its outgoing weights carry back.
    """
    first, second = (w.tolist() for w in weights)
    v1 = [[0.0] * 3 for _ in range(3)]
    v2 = [[0.0] * 2 for _ in range(4)]
    history = []
    for _ in range(epochs):
        total = 0.0
        for a in (0, 1):
            for b in (0, 1):
                x = [a, b, 1]
                h = [
                    1 / (1 + math.exp(-sum(x[i] * first[i][j] for i in range(3)))) for j in range(3)
                ] + [1.0]
                y = [
                    1 / (1 + math.exp(-sum(h[i] * second[i][j] for i in range(4))))
                    for j in range(2)
                ]
                t = [a ^ b, a & b]
                total += math.sqrt(((y[0] - t[0]) ** 2 + (y[1] - t[1]) ** 2) / 2)
                out = [(y[j] - t[j]) * y[j] * (1 - y[j]) for j in range(2)]
                back = [
                    h[i] * (1 - h[i]) * sum(second[i][j] * out[j] for j in range(2))
                    for i in range(3)
                ]
                for w, v, left, right in ((second, v2, h, out), (first, v1, x, back)):
                    for i in range(len(left)):
                        for j in range(len(right)):
                            v[i][j] = lr * right[j] * left[i] + momentum * v[i][j]
                            w[i][j] -= v[i][j]
        history.append(total)
    return history, [np.array(first), np.array(second)]


@pytest.mark.parametrize("form", ["ByNeuron", "ByTensor"])
@pytest.mark.parametrize(("lr", "momentum"), [(3.0, 0.9), (0.09, 0.015)])
@pytest.mark.parametrize("seed", [0, 1])
def test_both_forms_follow_the_delta_rule(form, lr, momentum, seed):
    start = half_adder.draw_weights(seed)
    network = getattr(half_adder, form)(start, lr, momentum)
    errors = list(half_adder.train(network, epochs=150))
    expected, weights = delta_rule(start, lr, momentum, 150)
    # Rounding differs by the order of addition; training stretches it little (see the docstring).
    np.testing.assert_allclose(errors, expected, rtol=0, atol=1e-9)
    for actual, desired in zip(network.weights(), weights, strict=True):
        np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-9)


def test_half_adder_weights_are_standard_normal_and_include_bias_units():
    drawn = [half_adder.draw_weights(seed) for seed in range(200)]
    assert [w.shape for w in drawn[0]] == [(3, 3), (4, 2)]
    flat = np.concatenate([w.ravel() for weights in drawn for w in weights])
    assert abs(flat.mean()) < 4 / math.sqrt(flat.size)
    assert abs(flat.std() - 1) < 4 / math.sqrt(2 * flat.size)


def test_half_adder_learns(defaults):
    output, _ = defaults("half_adder")
    output = "\n".join(output.splitlines()[:-6])  # the rest answers what was typed
    epochs = int(re.search(r"below 0.01 after ([\d,]+) epochs", output)[1].replace(",", ""))
    assert 3000 <= epochs <= 6000
    for (a, b), (total, carry) in half_adder.SAMPLES:
        assert (total, carry) == (a ^ b, a & b)
        assert f"{a} + {b}: sum {total}, carry {carry}" in output
    # The columns of the table: both errors agree, and so do the weights, along the whole way.
    rows = [line.split() for line in output.splitlines() if re.match(r" +[\d,]+   ", line)]
    assert len(rows) >= 7
    assert all(row[1] == row[2] and float(row[3]) < 1e-9 for row in rows)
    assert 0.0099 < float(rows[-1][1]) <= 0.01


def test_half_adder_answers_piped_pairs(defaults):
    output, _ = defaults("half_adder")
    after = output.splitlines()[-6:]
    assert [line.split("   ")[0] for line in after] == [
        "1 + 1: sum 0, carry 1",
        "0 + 1: sum 1, carry 0",
        "expected two bits such as '0 1', got '2 0'",
        "expected two bits such as '0 1', got 'hello'",
        "expected two bits such as '0 1', got '1 0 0'",
        "1 + 0: sum 1, carry 0",
    ]


def test_half_adder_thresholds_at_one_half():
    class Fixed:
        def outputs(self, bits):
            return [0.5001, 0.4999]

    assert half_adder.add(Fixed(), (0, 0)) == (1, 0)


def test_half_adder_does_not_wait_where_nobody_types(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert list(half_adder.typed_lines()) == []
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert list(half_adder.typed_lines()) == []
    reading, writing = os.pipe()
    silent = os.fdopen(reading)
    monkeypatch.setattr(sys, "stdin", silent)
    lines = []
    asking = threading.Thread(target=lambda: lines.append(list(half_adder.typed_lines())))
    asking.start()
    asking.join(10)
    waits = asking.is_alive()
    os.close(writing)  # sets free whoever waits
    asking.join()
    assert not waits
    assert lines == [[]]
    silent.close()
    assert list(half_adder.typed_lines()) == []


def test_half_adder_that_does_not_get_there_says_so(capsys):
    assert half_adder.main(["--epochs", "5"]) == 1
    assert "not below 0.01 after 5 epochs" in capsys.readouterr().err


# --- two circles ----------------------------------------------------------------------------------


def circles(seed, lr=1.0, epochs=1000):
    rng = np.random.default_rng(seed)
    x, y = two_circles.sample_circles(rng)
    net = two_circles.build(rng)
    return net, x, y, two_circles.train(net, x, y, lr, epochs)


def test_two_circles_data_are_truncated_normal_in_two_discs():
    drawn = [two_circles.sample_circles(np.random.default_rng(seed)) for seed in range(40)]
    for x, y in drawn:
        assert x.shape == (300, 2)
        assert y.ravel().tolist() == [0.0] * 150 + [1.0] * 150
    points = np.stack([x for x, _ in drawn])
    for part, r in ((points[:, :150], 2.0), (points[:, 150:], 0.5)):
        u = np.sort(((np.hypot(part[..., 0], part[..., 1]) / (10 * r)) ** 2).ravel())
        assert u[0] >= 0
        assert u[-1] <= 1 + 1e-12
        cdf = np.array([math.erf(t / math.sqrt(2)) / math.erf(1 / math.sqrt(2)) for t in u])
        # Kolmogorov and Smirnov's distance; 1.95 / sqrt(n) is exceeded once in a thousand.
        n = u.size
        assert np.abs(cdf - (np.arange(n) + 0.5) / n).max() < 1.95 / math.sqrt(n)
        # Ten turns of a truncated normal leave the angle next to uniform.
        angle = np.arctan2(part[..., 1], part[..., 0])
        assert np.abs(np.exp(1j * angle).mean()) < 0.06
    # The discs overlap: 7.3 % of the large one's points lie within the small one.
    inside = (np.hypot(points[:, :150, 0], points[:, :150, 1]) < 5).mean()
    assert 0.06 < inside < 0.09


def test_two_circles_network_starts_within_one():
    net = two_circles.build(np.random.default_rng(0))
    assert [p.shape for p in net.parameters()] == [(2, 4), (4,), (4, 8), (8,), (8, 1), (1,)]
    assert [layer.activation for layer in net.layers] == ["relu", "relu", "sigmoid"]
    values = np.concatenate([p.data.ravel() for p in net.parameters()])
    assert np.abs(values).max() <= 1
    assert np.unique(values).size == values.size  # biases are drawn too


def test_two_circles_trains_by_full_batch_gradient_descent():
    rng = np.random.default_rng(3)
    x, y = two_circles.sample_circles(rng)
    net = two_circles.build(rng)
    w = [p.data.copy() for p in net.parameters()]
    history = two_circles.train(net, x, y, 0.5, 20)
    for epoch in range(21):
        a = np.maximum(x @ w[0] + w[1], 0)
        b = np.maximum(a @ w[2] + w[3], 0)
        p = 0.5 + 0.5 * np.tanh(0.5 * (b @ w[4] + w[5]))
        np.testing.assert_allclose(history.predictions[epoch], p[:, 0], atol=1e-9)
        d3 = 2 / 300 * (p - y) * p * (1 - p)
        d2 = d3 @ w[4].T * (b > 0)
        d1 = d2 @ w[2].T * (a > 0)
        g = [x.T @ d1, d1.sum(0), a.T @ d2, d2.sum(0), b.T @ d3, d3.sum(0)]
        if epoch < 20:
            w = [v - 0.5 * gradient for v, gradient in zip(w, g, strict=True)]
    for p, v in zip(net.parameters(), w, strict=True):
        np.testing.assert_allclose(p.data, v, atol=1e-9)


@pytest.mark.parametrize("seed", [14, 0, 1, 2])
def test_two_circles_learns_and_keeps_every_epoch(seed):
    net, x, y, history = circles(seed)
    assert history.predictions.shape == (1001, 300)
    assert history.errors.shape == history.misclassified.shape == (1001,)
    difference = history.predictions - y.T
    np.testing.assert_allclose(history.errors, np.square(difference).mean(axis=1), rtol=1e-12)
    wrong = np.count_nonzero((history.predictions > 0.5) != (y.T == 1), axis=1)
    np.testing.assert_allclose(history.misclassified, wrong / 300)
    np.testing.assert_array_equal(history.predictions[-1], net(x).data[:, 0])
    assert history.misclassified[-1] <= 0.12
    if seed == 14:
        assert history.misclassified[0] == 0.5


@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_activations_beside_their_derivatives(name):
    x = np.array([-30.0, -2.0, -0.1, 0.1, 2.0, 30.0])
    value, derivative = two_circles.with_derivative(name, x)
    function = {"relu": lambda t: max(t, 0.0), "sigmoid": lambda t: 1 / (1 + math.exp(-t))}[name]
    np.testing.assert_allclose(value, [function(t) for t in x], rtol=1e-14)
    slope = [(function(t + 1e-6) - function(t - 1e-6)) / 2e-6 for t in x]
    np.testing.assert_allclose(derivative, slope, atol=1e-9)


def test_two_circles_draws_three_figures(defaults):
    image = pytest.importorskip("matplotlib.image", reason="the figures need the extra 'plot'")
    output, folder = defaults("two_circles")
    assert "misclassified" in output
    first, last = (line.split() for line in output.splitlines() if re.match(r" +(0|1000) ", line))
    assert first[2] == "50.0%"
    assert float(last[2].rstrip("%")) <= 12
    files = sorted((folder / "two_circles_out").iterdir())
    assert [f.name for f in files] == ["activations.png", "data.png", "error.png"]
    for file in files:
        assert str(Path("two_circles_out", file.name)) in output
        check_png(file.read_bytes())
        pixels = image.imread(file)
        assert min(pixels.shape[:2]) >= 400
        assert pixels.std() > 0.02


def test_two_circles_says_why_it_could_not_write(tmp_path):
    pytest.importorskip("matplotlib", reason="the figures need the extra 'plot'")
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    done = run("two_circles", "--epochs", "2", "--out", "taken", folder=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"two_circles\.py: no figures written: .*taken.*\n", done.stderr)
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "a file"


def test_two_circles_without_matplotlib_names_the_extra(tmp_path, monkeypatch, capsys):
    for name in ("matplotlib", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit) as stop:
        two_circles.main(["--epochs", "2", "--out", str(tmp_path / "figures")])
    assert stop.value.code == 2
    assert "tinygrad-nn[plot]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- XOR with plain objects -----------------------------------------------------------------------


def test_xor_objects_learns(defaults):
    output, _ = defaults("xor_objects")
    shares = [float(s) for s in re.findall(r"round +\d+: ([\d.]+) right", output)]
    assert len(shares) == 20
    assert shares[0] < 1.0
    assert shares[-1] == 1.0
    for a, b in xor_objects.PAIRS:
        probability = float(re.search(rf"  {a} xor {b}: ([\d.]+)", output)[1])
        assert abs(probability - (a ^ b)) < 0.01


def test_xor_objects_grows_layer_by_layer():
    network = xor_objects.Network(2, xor_objects.random.Random(0))
    assert network.add_layer(5, Value.tanh).add_layer(3, Value.relu).add_layer(1) is network
    assert [[len(u.weights) for u in layer] for layer in network.layers] == [[2] * 5, [5] * 3, [3]]
    assert len(network.parameters) == (2 + 1) * 5 + (5 + 1) * 3 + (3 + 1)
    assert network.probability((1, 0)) == network.probability((1, 0))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("z", [-1e300, -1000.0, -40.0, -1.0, 0.0, 1e-3, 2.0, 40.0, 1000.0, 1e300])
def test_xor_objects_cross_entropy_is_exact_for_any_logit(z, label):
    leaf = Value(z)
    loss = xor_objects.cross_entropy(leaf, label)
    loss.backward()
    y = mpmath.mpf(z if label else -z)
    with mpmath.workdps(40):
        small = abs(y) <= 1000  # beyond, one of the two terms is all there is
        expected = mpmath.log1p(mpmath.exp(-y)) if small else max(-y, 0)
        slope = -1 / (1 + mpmath.exp(y)) if small else -int(y < 0)
    slope = slope if label else -slope
    assert math.isclose(loss.data, float(expected), rel_tol=1e-14, abs_tol=3e-16)
    assert math.isclose(leaf.grad, float(slope), rel_tol=1e-14, abs_tol=3e-16)


def test_xor_objects_takes_one_step_down_the_gradient():
    network = xor_objects.build(5)
    before = [p.data for p in network.parameters]

    def loss(values):
        for p, value in zip(network.parameters, values, strict=True):
            p.data = value
        z = network.logit((1, 0)).data
        return math.log1p(math.exp(-z))

    gradient = []
    for i in range(len(before)):
        up, down = ([v + s * (i == j) for j, v in enumerate(before)] for s in (1e-6, -1e-6))
        gradient.append((loss(up) - loss(down)) / 2e-6)
    loss(before)
    answer = network.logit((1, 0)).data > 0
    assert network.learn((1, 0), 1, lr=0.5) == answer
    expected = [v - 0.5 * g for v, g in zip(before, gradient, strict=True)]
    np.testing.assert_allclose([p.data for p in network.parameters], expected, atol=1e-8)
    assert all(p.grad == 0.0 for p in network.parameters)


@pytest.mark.parametrize("size", [1000.0, 1e100])
@pytest.mark.parametrize("activation", [Value.tanh, Value.sigmoid])
def test_xor_objects_never_overflows(size, activation):
    network = xor_objects.Network(2, xor_objects.random.Random(1))
    network.add_layer(3, activation).add_layer(1)
    corners = [(a, b) for a in (-size, 0.0, size) for b in (-size, 0.0, size)]
    with np.errstate(all="raise", under="ignore"):
        for _ in range(50):
            for a, b in corners:
                network.learn((a, b), int((a > 0) != (b > 0)), lr=0.3)
        probabilities = [network.probability(x) for x in corners]
    assert all(math.isfinite(p.data) for p in network.parameters)
    assert all(0.0 <= p <= 1.0 for p in probabilities)


@pytest.mark.parametrize("x", [math.inf, -math.inf, math.nan, 1e200])
def test_xor_objects_refuses_what_it_cannot_add_up(x):
    with pytest.raises(ValueError, match="inputs must be numbers up to"):
        xor_objects.build(0).probability((0.0, x))


# --- weights in the open --------------------------------------------------------------------------


def test_open_weights_solves_xor(defaults):
    output, _ = defaults("open_weights")
    rows = re.findall(r"0 xor 0.*: \[(.*)\]", output)
    start, silenced, restored, evolved = (np.array(row.split(), float) for row in rows)
    assert not np.array_equal(start, silenced)
    np.testing.assert_array_equal(restored, start)
    assert np.abs(evolved - [0, 1, 1, 0]).max() <= 0.2


def test_open_weights_are_read_out_and_put_back():
    net = open_weights.build(np.random.default_rng(7))
    assert [p.shape for p in net.parameters()] == [(2, 4), (4,), (4, 1), (1,)]
    before = open_weights.predict(net)
    weights = open_weights.read(net)
    w1, b1, w2, b2 = weights
    by_hand = 1 / (1 + np.exp(-(np.tanh(open_weights.INPUTS @ w1 + b1) @ w2 + b2)))
    np.testing.assert_allclose(before, by_hand[:, 0], rtol=1e-14)

    w1[...] = 0.0  # a copy: the network keeps its own
    np.testing.assert_array_equal(open_weights.predict(net), before)
    weights = open_weights.read(net)
    kept = [w.copy() for w in weights]
    net.layers[0].neurons[2].weight[:] = [5.0, -5.0]  # a view: the network changes
    assert not np.array_equal(open_weights.predict(net), before)
    open_weights.put_back(net, weights)
    np.testing.assert_array_equal(open_weights.predict(net), before)
    net.layers[0].neurons[2].weight[:] = [5.0, -5.0]  # still a view after the weights came back
    assert not np.array_equal(open_weights.predict(net), before)
    for w, k in zip(weights, kept, strict=True):
        np.testing.assert_array_equal(w, k)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_open_weights_evolve_without_gradients(seed, monkeypatch):
    def forbidden(*_):
        raise AssertionError("a gradient was asked for")

    monkeypatch.setattr(tg.Tensor, "backward", forbidden)
    histories = []
    for _ in range(2):
        rng = np.random.default_rng(seed)
        net = open_weights.build(rng)
        histories.append(list(open_weights.evolve(net, rng)))
        answers = open_weights.predict(net)
        assert np.square(answers - [0, 1, 1, 0]).mean() == histories[-1][-1] < 0.01
        assert all(p.grad is None for p in net.parameters())
    assert histories[0] == histories[1]
    assert histories[0] == sorted(histories[0], reverse=True)
    assert histories[0][0] > 0.1


def test_open_weights_that_find_nothing_say_so(capsys):
    assert open_weights.main(["--generations", "1"]) == 1
    assert "not solved after 1 generations" in capsys.readouterr().err


# --- XOR in NumPy ---------------------------------------------------------------------------------


def test_xor_numpy_learns(defaults):
    output, _ = defaults("xor_numpy")
    rows = [line.split() for line in output.splitlines() if re.match(r" +\d+   ", line)]
    losses = [float(row[1]) for row in rows]
    assert abs(losses[0] - 0.5) < 0.05
    assert losses[-1] < 0.03
    assert losses == sorted(losses, reverse=True)
    assert all(float(row[2]) < 1e-15 for row in rows)
    answers = np.array(re.search(r"answers: \[(.*)\]", output)[1].split(), float)
    assert np.abs(answers - [0, 1, 1, 0]).max() < 0.05


def test_xor_numpy_rows_have_a_constant_third_column():
    assert xor_numpy.X.tolist() == [[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]
    assert xor_numpy.Y.ravel().tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("seed", [0, 1])
def test_xor_numpy_gradients_agree_with_complex_steps(seed):
    w1, w2 = xor_numpy.draw_weights(seed)
    assert (w1.shape, w2.shape) == ((3, 4), (4, 1))
    xor_numpy.loss(w1, w2).backward()
    by_hand = xor_numpy.gradient_by_hand(w1.data, w2.data)
    for which in (0, 1):
        weights = [w1.data, w2.data]
        expected = np.empty(weights[which].shape)
        for index in np.ndindex(expected.shape):
            moved = [w.astype(complex) for w in weights]
            moved[which][index] += 1e-30j
            expected[index] = xor_numpy.loss(*moved).imag / 1e-30
        np.testing.assert_allclose(by_hand[which], expected, rtol=1e-12)
        np.testing.assert_allclose((w1, w2)[which].grad, expected, rtol=1e-12)
    # The same function of plain arrays: the same number, and no graph.
    plain = xor_numpy.loss(w1.data, w2.data)
    assert isinstance(plain, np.floating)
    assert plain == xor_numpy.loss(w1, w2).item()


def test_xor_numpy_sigmoid_does_not_overflow():
    with np.errstate(all="raise"):
        assert xor_numpy.sigmoid(np.array([-1e5, 0.0, 1e5])).tolist() == [0.0, 0.5, 1.0]
