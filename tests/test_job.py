"""What the commands are made of: tables, splits, scales, training, model files, inputs, files."""

import gzip
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_nn as tg
from tinygrad_nn import files
from tinygrad_nn.files import atomic_write, write_together
from tinygrad_nn.job import demo, plots
from tinygrad_nn.job.dataset import Dataset, Scale, prepare
from tinygrad_nn.job.errors import JobError, shown
from tinygrad_nn.job.focal_loss import focal_loss
from tinygrad_nn.job.inputs import Arguments, parse_shapes, read_inputs
from tinygrad_nn.job.load import load_function
from tinygrad_nn.job.loss import LOSSES, UserFunction, find_loss
from tinygrad_nn.job.saved import SavedModel
from tinygrad_nn.job.table import Table, read_table
from tinygrad_nn.job.training import History, Settings, Step, evaluate, train


def table(columns: dict[str, list[object]], path: str = "t.csv") -> Table:
    rows = [list(map(str, row)) for row in zip(*columns.values(), strict=True)]
    return Table(path, list(columns), rows, list(range(2, len(rows) + 2)))


def blobs(rng: np.random.Generator, n: int = 90, classes: int = 3) -> Dataset:
    kind = np.arange(n) % classes
    x = rng.standard_normal((n, 2)) + 4.0 * np.stack([np.cos(kind), np.sin(kind)], 1)
    return prepare(table({"a": list(x[:, 0]), "b": list(x[:, 1]), "kind": list(kind)}), "kind")


# --- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x y\n2,z\n",
        b"\xef\xbb\xbfa,b\r\n1,x y\r\n2,z",
        b"a;b\n1;x y\n2;z\n",
        b"a\tb\n1\tx y\n2\tz\n",
        b"\n\n a , b \n\n1, x y \n\n\n2,z\n\n",
        b'"a", "b"\n1, "x y"\n"2",z\n',
        gzip.compress(b"a,b\n1,x y\n2,z\n", mtime=0),
        gzip.compress(b"a,b\n1,x y\n", mtime=0) + gzip.compress(b"2,z\n", mtime=0),
        b"a,b\r1,x y\r2,z\r",
    ],
)
def test_forms_of_a_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    read = read_table(path)
    assert (read.names, read.rows) == (["a", "b"], [["1", "x y"], ["2", "z"]])


def test_lines_of_cells_with_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"two\nlines"\n\n3,4\n')
    read = read_table(path)
    assert read.lines == [2, 5]
    assert read.rows[0] == ["1", "two\nlines"]
    with pytest.raises(JobError, match="line 2, column 'b'"):
        read.numbers(["b"])


def test_a_comma_in_the_header_decides(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;x;y,b\n1,2\n")
    assert read_table(path).names == ["a;x;y", "b"]


def test_long_lists_of_columns_are_shortened() -> None:
    wide = table({f"pixel {i}": [0] for i in range(64)})
    with pytest.raises(JobError) as error:
        wide.index("digit")
    assert "'pixel 9', ... 53 more ..., 'pixel 63'" in str(error.value)
    assert len(str(error.value)) < 300


def test_the_digits() -> None:
    digits = read_table(demo.DIGITS)
    assert len(digits) == 1797
    assert len(digits.names) == 65
    pixels = digits.numbers(digits.names[:-1])
    assert (pixels.min(), pixels.max()) == (0.0, 16.0)
    # How often each digit occurs is published with the data set.
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(digits.numbers(["digit"])[:, 0].astype(int)).tolist() == counts


# --- datasets ------------------------------------------------------------------------------------

TARGETS = {
    # name: (cells, task, classes)
    "text": (["b", "a"] * 10, "classify", ("a", "b")),
    "few integers": ([10, 9, 2, 10] * 5, "classify", ("2", "9", "10")),
    "integers as floats": (["1.0", "2.0", "1", "2"] * 5, "classify", ("1", "2")),
    "truth": (["True", "False"] * 10, "classify", ("False", "True")),
    "mixed": (["1", "x"] * 10, "classify", ("1", "x")),
    "negative": ([-1, 1] * 10, "classify", ("-1", "1")),
    "many integers": (list(range(21)) * 3, "regress", ()),
    "integers that hardly repeat": ([*range(15), 0, 1], "regress", ()),
    "floats": ([0.5, 1.0] * 10, "regress", ()),
}


@pytest.mark.parametrize("name", TARGETS)
def test_task(name: str) -> None:
    cells, task, classes = TARGETS[name]
    data = prepare(table({"x": list(range(len(cells))), "y": cells}), "y")
    assert (data.task, data.classes) == (task, classes)
    if classes:
        names = [c if c in classes else str(int(float(c))) for c in map(str, cells)]
        assert [classes[k] for k in data.y] == names
        assert data.n_out == len(classes)


def test_standardisation_uses_the_training_part_alone(rng: np.random.Generator) -> None:
    a, b = 5.0 + 3.0 * rng.standard_normal((2, 40))
    y = 100.0 * a - 7.0
    data = prepare(table({"a": list(a), "flat": [3] * 40, "y": list(y), "b": list(b)}), "y")
    assert data.features == ("a", "flat", "b")
    assert data.x.dtype == np.float32
    x = data.x[data.train].astype(float)
    assert np.allclose(x.mean(axis=0), 0.0, atol=1e-6)
    assert np.allclose(x.std(axis=0), [1.0, 0.0, 1.0], atol=1e-6)
    # The held-out part goes through the same map, computed here by hand.
    mean, std = a[data.train].mean(), a[data.train].std()
    assert np.allclose(data.x[:, 0], (a - mean) / std, atol=1e-6)
    assert np.allclose(data.target_scale.undo(data.y), y, atol=1e-3)
    assert data.target_scale.mean == pytest.approx(y[data.train].mean())
    assert data.target_scale.std == pytest.approx(y[data.train].std())
    assert np.allclose(data.scale.undo(data.x)[:, 1], 3.0)


@hypothesis.given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=5).filter(lambda c: sum(c) >= 10),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_split(counts: list[int], share: float, seed: int) -> None:
    hypothesis.assume(max(counts) > 1)
    cells = [f"c{k}" for k, n in enumerate(counts) for _ in range(n)]
    t = table({"x": list(range(len(cells))), "y": cells})
    data = prepare(t, "y", test_share=share, rng=seed)
    assert sorted([*data.train, *data.test]) == list(range(len(cells)))
    for k, n in enumerate(counts):
        held_out = np.count_nonzero(data.y[data.test] == k)
        if n == 1:
            assert held_out == 0
        else:
            assert 1 <= held_out <= n - 1
            assert abs(held_out - share * n) <= 1.0
    again = prepare(t, "y", test_share=share, rng=seed)
    assert np.array_equal(data.test, again.test)


def test_split_depends_on_the_seed() -> None:
    t = table({"x": list(range(40)), "y": [0.5, 1.5] * 20})
    tests = {tuple(prepare(t, "y", rng=seed).test) for seed in range(5)}
    assert len(tests) == 5
    assert {len(test) for test in tests} == {8}


# --- losses --------------------------------------------------------------------------------------


def test_focal_loss_is_its_formula(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((5, 3))
    labels = np.array([0, 2, 1, 1, 0])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p = p[np.arange(5), labels]
    for gamma in (0.0, 1.0, 2.0):
        expected = np.mean(-((1.0 - p) ** gamma) * np.log(p))
        for target in (labels, tg.tensor(labels)):
            value = focal_loss(tg.tensor(logits, requires_grad=True), target, gamma).item()
            assert value == pytest.approx(expected, rel=1e-12)
    assert focal_loss(tg.tensor(logits), labels, 0.0).item() == pytest.approx(
        tg.losses.cross_entropy(logits, labels).item(), rel=1e-12
    )


def test_focal_loss_keeps_the_digits_of_sure_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given log p to all its digits; of 1 - exp(log p) only some are left, or none.
    monkeypatch.setattr(tg, "log_softmax", lambda x: x)
    for wrong in (1e-3, 1e-12, 1e-30):  # 1 - p
        log_p = tg.tensor([[np.log1p(-wrong), 0.0]])
        loss = focal_loss(log_p, np.array([0])).item()
        assert loss / wrong**2 / -np.log1p(-wrong) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_named_losses(name: str, rng: np.random.Generator) -> None:
    loss = find_loss(name)
    assert loss.unit
    classify = loss.task == "classify"
    prediction = tg.tensor(rng.standard_normal((6, 3) if classify else 6), requires_grad=True)
    target = tg.tensor(np.arange(6) % 3 if classify else rng.standard_normal(6))
    loss.loss(prediction, target).backward()
    assert np.any(prediction.grad)


def test_functions_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    (tmp_path / "helper_beside.py").write_text("factor = 3.0\n")
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('not the standard library')\n")
    (tmp_path / "f.py").write_text(
        "from __future__ import annotations\n"
        "import colorsys\nfrom dataclasses import dataclass\nfrom helper_beside import factor\n"
        "@dataclass\nclass Pair:\n    a: float\n"
        "def triple(x):\n    return Pair(x * factor).a\n"
    )
    assert load_function(f"{tmp_path}/f.py:triple")(2.0) == 6.0
    assert load_function(f"{tmp_path}/f.py:Pair")(1.0).a == 1.0
    (tmp_path / "f.py").write_text("def triple(x):\n    return 0.0\n")
    assert load_function(f"{tmp_path}/f.py:triple")(2.0) == 0.0  # read anew
    assert load_function(f"{tmp_path}/f.py:triple.__call__")(2.0) == 0.0
    (tmp_path / "g.py").write_text("from dataclasses import dataclass\ndef own(x):\n    pass\n")
    with pytest.raises(JobError, match=r"no function 'f'; it has own$"):
        load_function(f"{tmp_path}/g.py:f")
    (tmp_path / "g.py").unlink()
    modules: dict[str, ModuleType] = {}
    one, two = (load_function(f"{tmp_path}/f.py:triple", modules) for _ in range(2))
    assert one is two
    with pytest.raises(JobError, match=r"'triple\.absent': a function object has no 'absent'"):
        load_function(f"{tmp_path}/f.py:triple.absent")
    assert {p.name for p in tmp_path.iterdir()} - {"__pycache__"} == {
        "f.py", "helper_beside.py", "colorsys.py",
    }  # fmt: skip


# --- training ------------------------------------------------------------------------------------


def test_training_is_gradient_descent_as_written_down(rng: np.random.Generator) -> None:
    """One layer, full batches: the same steps in plain NumPy give the same weights."""
    x = rng.standard_normal((30, 3))
    y = x @ [1.0, -2.0, 0.5] + 0.3
    data = prepare(table({**{f"x{i}": list(x[:, i]) for i in range(3)}, "y": list(y)}), "y")
    settings = Settings(hidden=(), epochs=7, lr=0.1, momentum=0.8, weight_decay=0.02,
                        batch_size=1000)  # fmt: skip
    network, history = train(data, find_loss("mse_loss"), settings)
    first, _ = train(data, find_loss("mse_loss"), replace(settings, epochs=1, lr=1e-12))
    w = [p.data.astype(float).copy() for p in first.parameters()]
    v = [np.zeros_like(p) for p in w]
    a, b = data.x[data.train].astype(float), data.y[data.train].astype(float)
    losses = []
    for t in range(7):
        lr = 0.1 * (1.0 + np.cos(np.pi * t / 7)) / 2.0
        error = a @ w[0][:, 0] + w[1] - b
        g = [2.0 * a.T @ error[:, None] / len(b), np.array([2.0 * error.mean()])]
        for i in range(2):
            v[i] = 0.8 * v[i] + g[i] + 0.02 * w[i]
            w[i] = w[i] - lr * v[i]
        losses.append(np.mean((a @ w[0][:, 0] + w[1] - b) ** 2))
    for p, expected in zip(network.parameters(), w, strict=True):
        assert np.allclose(p.data, expected, atol=1e-5)
    assert np.allclose(history.columns["train_loss"], losses, rtol=1e-4)


def test_every_row_of_the_training_part_is_used_once_an_epoch(rng: np.random.Generator) -> None:
    data = blobs(rng)
    seen: list[np.ndarray] = []

    def loss(prediction: tg.Tensor, target: tg.Tensor) -> tg.Tensor:
        if tg.is_grad_enabled():
            seen.append(target.data)
        return tg.losses.cross_entropy(prediction, target)

    steps: list[Step] = []
    settings = Settings(epochs=2, batch_size=16)
    train(data, UserFunction(loss, "loss", "f.py:loss"), settings, steps.append)
    assert [len(y) for y in seen] == [16, 16, 16, 16, 8] * 2
    for epoch in (seen[:5], seen[5:]):
        assert sorted(np.concatenate(epoch)) == sorted(data.y[data.train])
    assert not np.array_equal(np.concatenate(seen[:5]), np.concatenate(seen[5:]))
    shares = [step.share for step in steps]
    assert shares == pytest.approx(np.arange(1, 11) / 10)
    assert [step.metrics is not None for step in steps] == ([False] * 4 + [True]) * 2


def test_measures(rng: np.random.Generator) -> None:
    data = blobs(rng)
    network, history = train(data, find_loss("cross_entropy"), Settings(epochs=5))
    measured = evaluate(network, find_loss("cross_entropy"), data, data.test)
    scores = network(data.x[data.test]).data.astype(float)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    y = data.y[data.test]
    assert measured["loss"] == pytest.approx(-np.mean(np.log(p[np.arange(len(y)), y])), rel=1e-4)
    assert (
        measured["accuracy"] == np.mean(np.argmax(p, axis=1) == y) == history.last("test_accuracy")
    )
    assert measured["accuracy"] > 0.9


def test_history_table() -> None:
    history = History()
    history.append({"train_loss": 1 / 3, "test_loss": 1e-9})
    history.append({"train_loss": 0.0, "test_loss": float("nan")})
    assert history.to_csv() == "epoch,train_loss,test_loss\n1,0.333333,1e-09\n2,0,nan\n"


def test_a_gradient_that_is_not_finite_is_found(rng: np.random.Generator) -> None:
    def loss(prediction: tg.Tensor, target: tg.Tensor) -> tg.Tensor:
        return np.sqrt(prediction - prediction).mean() + prediction.mean()

    # Seen at the next step; after the last one, when the epoch is measured.
    for batch_size in (16, 1000):
        settings = Settings(epochs=1, batch_size=batch_size)
        with pytest.raises(JobError, match="diverged in epoch 1"):
            train(blobs(rng), UserFunction(loss, "loss", "f.py:loss"), settings)


# --- model files ---------------------------------------------------------------------------------


@pytest.fixture
def model(rng: np.random.Generator) -> SavedModel:
    data = blobs(rng)
    network, _ = train(data, find_loss("cross_entropy"), Settings(epochs=3, activation="tanh"))
    return SavedModel.of(network, "tanh", data)


def test_model_file(model: SavedModel, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(model.to_bytes())
    again = SavedModel.load(path)
    x = 3.0 * rng.standard_normal((50, 2))
    assert np.array_equal(model.outputs(x), again.outputs(x))
    assert np.array_equal(model.predict(x), again.predict(x))
    assert np.allclose(again.outputs(x).sum(axis=1), 1.0)
    assert set(again.predict(x)) <= {"0", "1", "2"}
    assert (again.target, again.features, again.activation) == ("kind", ("a", "b"), "tanh")
    assert again.to_bytes() == model.to_bytes()
    # By hand, from the file alone.
    with np.load(path, allow_pickle=False) as file:
        h = (x - file["mean"]) / file["std"]
        h = np.tanh(h @ file["parameter:layers.0.weight"] + file["parameter:layers.0.bias"])
        h = h @ file["parameter:layers.1.weight"] + file["parameter:layers.1.bias"]
        assert np.array_equal(file["classes"][h.argmax(axis=1)], again.predict(x))
    with pytest.raises(JobError, match="2 features"):
        again.predict(x[:, :1])


def test_bad_model_files(model: SavedModel, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    content = model.to_bytes()
    with pytest.raises(JobError, match="no such file"):
        SavedModel.load(path)
    for data in (
        b"",
        b"junk",
        content[: len(content) // 2],
        content.replace(b"m\0\0\0", b"w\0\0\0"),
    ):
        path.write_bytes(data)
        with pytest.raises(JobError, match=r"m\.npz"):
            SavedModel.load(path)
    path.write_bytes(content)
    with np.load(path) as file:
        arrays = dict(file)
    for name, value, words in (
        ("sizes", [2, 9, 3], "damaged"),
        ("sizes", [], "damaged"),
        ("sizes", np.ones((2, 2)), "damaged"),
        ("sizes", [2, 10**7, 3], "damaged"),
        ("parameter:layers.0.bias", np.array(["a"]), "damaged"),
        ("parameter:layers.0.bias", np.array([np.nan]), "damaged"),
        ("mean", np.zeros(7), "damaged"),
        ("classes", np.array("x"), "damaged"),
        ("classes", np.array(["yes"]), "damaged"),
        ("activation", "magic", "damaged.*'magic'"),
        ("mean", None, "damaged.*'mean'"),
        ("parameter:layers.0.bias", None, "damaged.*layers.0.bias"),
        ("format", "tinygrad_nn model 2", "not a model file of the format"),
        ("format", None, "not a model file"),
    ):
        changed = {k: v for k, v in (arrays | {name: value}).items() if v is not None}
        np.savez(path, **changed)
        with pytest.raises(JobError, match=words):
            SavedModel.load(path)
    np.savez(path, format=np.array([print]))
    with pytest.raises(JobError):
        SavedModel.load(path)


# --- inputs --------------------------------------------------------------------------------------


def test_shapes() -> None:
    text = "(8, 3); float:4:-1:2 ; int:2,2:3; (); 5,; float:()"
    inputs = parse_shapes(text, ["a", "b"], 0)
    assert [i.array.shape for i in inputs] == [(8, 3), (4,), (2, 2), (), (5,), ()]
    assert [i.array.dtype.kind for i in inputs] == list("ffifff")
    assert [i.name for i in inputs] == ["a", "b", "input 2", "input 3", "input 4", "input 5"]
    ranges = parse_shapes("float:10000:-1:2; int:10000:3")
    low, high = ranges[0].array.min(), ranges[0].array.max()
    assert -1.0 <= low < -0.99
    assert 1.99 < high < 2.0
    assert set(ranges[1].array) == {0, 1, 2}


def test_shapes_in_single_precision() -> None:
    inputs = parse_shapes("float32:3; float32:10000:-1:2")
    assert [i.array.dtype for i in inputs] == [np.float32, np.float32]
    assert -1.0 <= inputs[1].array.min() < -0.99


def test_arguments_are_read_off_the_signature() -> None:
    @tg.primitive
    def own(a, b, *, k=1):
        return a * b

    def names(function: object) -> list[str]:
        return Arguments.of("f.py:f", function).names

    assert names(lambda a, b, c=1, *d, e=2: 0) == ["a", "b", "c"]
    assert names(own) == ["a", "b"]
    assert names(tg.nn.MLP(2, [1])) == ["x"]
    assert names(np.add) == ["x1", "x2"]
    assert names(tg.relu) == ["x"]
    assert Arguments.of("f.py:f", lambda a, b, c=1: 0).required == ["a", "b"]


def test_arrays_go_by_name_or_by_order(tmp_path: Path) -> None:
    def found(required: list[str], **arrays: object) -> dict[str, float]:
        np.savez(tmp_path / "x.npz", **{name: np.array(a) for name, a in arrays.items()})
        inputs = read_inputs(str(tmp_path / "x.npz"), ["a", "b", "c"], required)
        return {item.name: float(item.array) for item in inputs}

    assert found(["a", "b"], b=2.0, a=1.0) == {"a": 1.0, "b": 2.0}
    assert found(["a"], c=3.0, b=2.0, a=1.0) == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert found(["a", "b"], y=1.0, x=2.0) == {"a": 1.0, "b": 2.0}  # in the order of the file
    with pytest.raises(JobError, match="no array 'b'"):  # c would take its place
        found(["a"], a=1.0, c=3.0)
    with pytest.raises(JobError, match="no array 'b' and 'targt', which is no argument"):
        found(["a", "b"], a=1.0, targt=2.0)


@pytest.mark.parametrize(
    "text",
    ["", ";", "8;", "a", "8,a", "-1", "8,,3", "int:8", "int:8:x", "int:8:-1", "float:8:1",
     "float:8:2:1", "float:8:0:inf", "text:8", "int:8:3:4", "1.5"],
)  # fmt: skip
def test_bad_shapes(text: str) -> None:
    with pytest.raises(JobError, match="expected shapes"):
        parse_shapes(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0;0", "'0' is empty"), ("3; 2,0", "'2,0' is empty"), ("int:0:3", "'int:0:3' is empty"),
        ("1000000,1000;4", "'1000000,1000' is too large: at most 10,000,000"),
        ("9" * 30, "too large"), ("float:10000001:0:1", "too large"),
    ],
)  # fmt: skip
def test_shapes_of_the_wrong_size(text: str, words: str) -> None:
    with pytest.raises(JobError, match=words) as error:
        parse_shapes(text)
    assert "cannot understand" not in str(error.value)


# --- figures -------------------------------------------------------------------------------------


def test_figures_take_any_text_and_leave_the_style_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    history = History()
    for value in (0.5, -2.0):
        history.append({f"{part}_loss": value for part in ("train", "test")})
    nasty = "$\\frac{x$ <b>\x1b[31m 百合"
    for picture in (
        plots.curves(history, "loss", nasty, nasty),
        plots.confusion(np.array([[3, 1], [0, 0]]), [nasty, "b"], nasty),
        plots.images(np.zeros((7, 4, 4)), [nasty] * 7, nasty),
        plots.images(np.zeros((0, 4, 4)), [], "none"),
    ):
        assert picture.startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ([1.0, 0.1, 0.019], "log"),
        ([1.0, 0.1, 0.021], "linear"),
        ([1.0, 0.1, 0.0], "linear"),
        ([1.0, 0.1, -1.0], "linear"),
    ],
)
def test_losses_that_span_much_have_a_logarithmic_axis(
    losses: list[float], scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    seen = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (seen.append(self.axes[0]), save(self, *a, **k))
    )
    history = History()
    for loss in losses:
        history.append({"train_loss": loss, "test_loss": 0.5})
    plots.curves(history, "loss", "", "")
    assert seen[0].get_yscale() == scale
    assert [int(t) for t in seen[0].get_xticks()] == [1, 2, 3]
    assert seen[0].get_xlim()[0] <= 1 < 3 <= seen[0].get_xlim()[1]


def test_text_from_users() -> None:
    assert shown("a\x1b[2J\u202e\ud800\n") == "a\\x1b[2J\\u202e\\ud800\\n"
    assert shown("a\nb", lines=True) == "a\nb"
    assert shown("käse 百合 [bold]") == "käse 百合 [bold]"


# --- files ---------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_files_are_written(tmp_path: Path) -> None:
    write_together({tmp_path / "a/b/one": "eins\n", tmp_path / "a/two": b"\0"})
    assert names(tmp_path) == ["a", "a/b", "a/b/one", "a/two"]
    assert (tmp_path / "a/b/one").read_bytes() == b"eins\n"
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a/two").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_rewriting_keeps_mode_and_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    atomic_write(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert names(tmp_path) == ["link", "real"]


def test_devices_are_written_to_not_replaced() -> None:
    atomic_write(os.devnull, "x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").touch()
    for bad in ("taken", "file/below", "deep/" + "n" * 300):
        with pytest.raises(OSError, match=bad):
            write_together(
                {tmp_path / "new/one": "1", tmp_path / "deep/file": "2", tmp_path / bad: "3"}
            )
        assert names(tmp_path) == ["file", "taken"]


def test_a_read_only_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "precious"
    path.write_text("old")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError):
        write_together({tmp_path / "other": "1", path: "2"})
    assert names(tmp_path) == ["precious"]
    assert path.read_text() == "old"


def test_interruption_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def interrupted(self: Path, *args: object, **keywords: object) -> object:
        if "second" in self.name:
            raise KeyboardInterrupt
        return real(self, *args, **keywords)

    (tmp_path / "first").write_text("old")
    monkeypatch.setattr(Path, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_together({tmp_path / "first": "new", tmp_path / "folder/second": "new"})
    monkeypatch.undo()
    assert names(tmp_path) == ["first"]
    assert (tmp_path / "first").read_text() == "old"


# --- the demonstration ---------------------------------------------------------------------------


def test_scale_of_extremes() -> None:
    x = np.array([[1.0, 5.0, 1e308, 1e-300], [2.0, 5.0, -1e308, 2e-300]])
    scale = Scale.of(x)
    assert np.isfinite(scale.std).tolist() == [True, False, False, False]
    assert np.isinf(scale.std[1])  # constant, so it says nothing
    assert np.isnan(scale.std[2:]).all()  # not to be had in floating point


def test_parts_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = demo.plan()
    trained = replace(plan, settings=replace(plan.settings, epochs=1)).run()
    text = demo.draw_training(trained).to_mermaid()
    for word in ("MLP(64-256-10)", "layers.0", "layers.1.bias", "images", "digits", "focal_loss"):
        assert word in text
    assert demo.check_model(trained)
    assert demo.check_loss()
    seen = {}
    monkeypatch.setattr(plots, "confusion", lambda counts, *texts: seen.update(counts=counts))
    monkeypatch.setattr(plots, "images", lambda images, *texts: seen.update(images=images))
    demo.pictures(trained, Path())
    rows = np.loadtxt(demo.DIGITS, delimiter=",", skiprows=1)[trained.data.test]
    read = trained.saved.predict(rows[:, :64]).astype(int)
    for i in range(10):
        for j in range(10):
            assert seen["counts"][i, j] == np.sum((rows[:, 64] == i) & (read == j))
    wrong = rows[read != rows[:, 64], :64].reshape(-1, 8, 8)[: len(seen["images"])]
    varies = np.isfinite(trained.data.scale.std).reshape(8, 8)
    assert np.allclose(seen["images"][:, varies], wrong[:, varies], atol=1e-4)
