"""The command line: what it does, and the one line that it says when it cannot."""

import csv
import errno
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import tinygrad_nn
from tinygrad_nn import gradcheck as checking
from tinygrad_nn.job import checking as job_checking
from tinygrad_nn.job import demo, plots, program, tasks
from tinygrad_nn.job.errors import shown
from tinygrad_nn.job.program import program as cli
from tinygrad_nn.job.saved import SavedModel

PNG = b"\x89PNG\r\n\x1a\n"

LOSSES = """
import math
import numpy as np
import tinygrad_nn as tg

def quantile(prediction, target, q=0.9):
    error = target - prediction
    return np.mean(np.maximum(q * error, (q - 1.0) * error))

def one_hot(prediction, target):
    rows = np.eye(prediction.shape[1])[target]
    return -np.mean(np.sum(tg.log_softmax(prediction) * rows, axis=-1))

def vector(prediction, target):
    return prediction[..., 0] * 2.0 if prediction.ndim > 1 else prediction * 2.0

def number(prediction, target):
    return float(np.mean(prediction.data))

def detached(prediction, target):
    return np.mean(prediction.detach())

def constant(prediction, target):
    return tg.tensor(1.0)

def nothing(prediction, target):
    pass

def unrelated(prediction, target):
    return tg.tensor(1.0, requires_grad=True) * 2.0

def new_tensor(prediction, target):
    return np.mean(tg.tensor(prediction.data, requires_grad=True))

def not_a_number(prediction, target):
    return np.mean(prediction) * math.nan

def raises(prediction, target):
    return prediction + undefined

def talks(prediction, target):
    print("good morning")
    return np.mean(prediction * target)

talks.shapes = "();()"

def quits(prediction, target):
    raise SystemExit(7)

def with_math(prediction, target):
    return math.exp(np.mean(prediction))

def explodes(prediction, target):
    return np.mean(np.exp(prediction * prediction) * 1e6)

@tg.primitive(rules=[lambda g, y, x: g * 2.02 * x], elementwise=True)
def square(x):
    return x * x

def wrong(prediction, target):
    return np.mean(square(prediction - target))

@tg.primitive(rules=[lambda g, y, x: 1 / 0], elementwise=True)
def fails(x):
    return x * 1.0

def broken_rule(prediction, target):
    return np.mean(fails(prediction))

def three(a, b, c):
    return np.sum(a * b * c)

def one(x):
    return np.sum(np.sin(x))

def hinted(prediction, target):
    assert prediction.shape == (5, 2)
    return np.mean(prediction ** 3)

hinted.shapes = "5,2; int:5:2"
number_seven = 7
"""


RAISES = f"(line {LOSSES.splitlines().index('    return prediction + undefined') + 1})"


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in args])


def failure(*args: object) -> str:
    """Return the one line of a failed run."""
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("tinygrad-nn: ")
    return lines[0]


def process(*args: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tinygrad_nn", *map(str, args)]
    # Small matrices gain nothing from threads, and lose much where other processes compute too.
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"} | variables
    return subprocess.run(command, capture_output=True, text=True, env=env)


def in_a_terminal(command: list[str], variables: dict[str, str]) -> tuple[int, bytes]:
    """Run the program in a terminal; return its exit status and all that it printed."""
    import pty

    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR" and k != "PYTEST_CURRENT_TEST"}
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "tinygrad_nn", *command],
        stdout=slave,
        stderr=slave,
        env=env | {"TERM": "xterm"} | variables,
    ) as child:
        os.close(slave)
        text = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            text += part
    os.close(master)
    return child.returncode, text


def needs_dot() -> None:
    if shutil.which("dot") is None:
        pytest.skip("the program dot is not installed")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a file of losses and two small tables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("losses.py").write_text(LOSSES)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).round(4)
    Path("flowers.csv").write_text(
        "a,b,c,kind\n"
        + "".join(f"{a},{b},{c},{'lily' if a + b > 0 else 'rose'}\n" for a, b, c in x)
    )
    Path("prices.csv").write_text(
        "a,b,c,price\n" + "".join(f"{a},{b},{c},{300 + 50 * a - 20 * b:.3f}\n" for a, b, c in x)
    )
    return tmp_path


def left_behind(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {"losses.py", "flowers.csv", "prices.csv"}


# --- train ---------------------------------------------------------------------------------------


def test_train_classifier(here: Path) -> None:
    result = run("train", "flowers.csv", "--target", "kind", "--epochs", 12, "--lr", 0.1)
    assert result.exit_code == 0, result.output
    assert {p.name for p in Path("out").iterdir()} == {
        "model.npz", "history.csv", "loss.png", "accuracy.png",
    }  # fmt: skip
    for name in ("loss.png", "accuracy.png"):
        assert Path("out", name).read_bytes().startswith(PNG)
        assert str(Path("out", name)) in result.stdout
    with Path("out/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy",
    ]  # fmt: skip
    assert [row["epoch"] for row in rows] == [str(i) for i in range(1, 13)]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert float(rows[-1]["test_accuracy"]) >= 0.8
    for name in ("loss", "accuracy"):
        assert f"{name} {float(rows[-1][f'test_{name}']):.4f}" in result.stdout
    assert "2 classes (lily, rose)" in result.stdout
    assert ": 60 rows, 3 features; " in result.stdout
    one = run("train", "flowers.csv", "--target", "kind", "--ignore", "a", "--ignore", "b")
    assert ": 60 rows, 1 feature; " in one.stdout
    assert "\x1b" not in result.output  # no bar where there is no terminal
    assert "epoch 12/12" in result.stdout
    assert "loss and accuracy after each epoch" in result.stdout


def test_train_regression(here: Path) -> None:
    result = run("train", "prices.csv", "--target", "price", "--epochs", 60, "--hidden", "8,4")
    assert result.exit_code == 0, result.output
    with Path("out/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch", "train_loss", "train_rmse", "train_r2", "test_loss", "test_rmse", "test_r2",
    ]  # fmt: skip
    assert Path("out/rmse.png").exists()
    assert "loss, rmse and r2 after each epoch" in result.stdout
    model = SavedModel.load("out/model.npz")
    table = np.loadtxt("prices.csv", delimiter=",", skiprows=1)
    errors = model.predict(table[:, :3]) - table[:, 3]
    rmse = np.sqrt(np.mean(errors**2))
    # In the target's unit: between the errors on the two parts.
    assert float(rows[-1]["train_rmse"]) <= rmse * 1.001
    assert rmse <= float(rows[-1]["test_rmse"]) * 1.001
    assert rmse < 0.3 * table[:, 3].std()
    assert 0.9 < float(rows[-1]["test_r2"]) < 1.0
    assert [layer.n_out for layer in model.network.layers] == [8, 4, 1]


def test_same_seed_gives_the_same_bytes(here: Path) -> None:
    common = ["train", "flowers.csv", "--target", "kind", "--epochs", 3, "--loss"]
    for out, seed in (("one", 5), ("two", 5), ("three", 6)):
        args = [*common, "losses.py:one_hot", "--out", out, "--seed", seed]
        assert run(*args).exit_code == 0
    for name in ("history.csv", "model.npz", "loss.png", "accuracy.png"):
        one, two, three = (Path(out, name).read_bytes() for out in ("one", "two", "three"))
        assert one == two, name
        assert one != three, name


def test_options_reach_the_training(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plan = program.plan_training

    def spy(*args: object, **keywords: object) -> tasks.Plan:
        seen.append((plan(*args, **keywords), keywords))
        return seen[-1][0]

    monkeypatch.setattr(program, "plan_training", spy)
    result = run(
        "train", "flowers.csv", "--target", "kind", "--hidden", "5", "--hidden", "4,3", "--lr",
        0.3, "--momentum", 0.5, "--weight-decay", 0.25, "--batch-size", 7, "--activation", "tanh",
        "--epochs", 2, "--seed", 9, "--test-share", 0.5, "--ignore", "c", "--no-plots",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    made, _ = seen[0]
    s = made.settings
    assert (s.hidden, s.lr, s.momentum, s.weight_decay) == ((5, 4, 3), 0.3, 0.5, 0.25)
    assert (s.batch_size, s.activation, s.epochs, s.seed) == (7, "tanh", 2, 9)
    assert len(made.data.test) == 30
    assert made.data.features == ("a", "b")
    assert {p.name for p in Path("out").iterdir()} == {"model.npz", "history.csv"}


def test_linear_model_gzip_and_integer_classes(here: Path) -> None:
    text = Path("flowers.csv").read_text().replace("lily", "1.0").replace("rose", "0")
    Path("table").write_bytes(gzip.compress(text.encode()))  # known by its content, not its name
    args = ["train", "table", "--target", "kind", "--epochs", 2, "--no-plots"]
    assert run(*args, "--hidden", "none").exit_code == 0
    model = SavedModel.load("out/model.npz")
    assert model.classes == ("0", "1")
    assert len(model.network.layers) == 1
    assert run(*args, "--task", "regress").exit_code == 0
    assert SavedModel.load("out/model.npz").classes == ()
    assert run(*args, "--loss", "huber_loss").exit_code == 0
    assert SavedModel.load("out/model.npz").classes == ()


def test_regression_with_a_custom_loss(here: Path) -> None:
    args = ["train", "prices.csv", "--target", "price", "--no-plots", "--epochs", 80]
    assert run(*args, "--loss", "losses.py:quantile").exit_code == 0
    table = np.loadtxt("prices.csv", delimiter=",", skiprows=1)
    below = table[:, 3] < SavedModel.load("out/model.npz").predict(table[:, :3])
    assert 0.75 <= below.mean() <= 1.0  # the 0.9 quantile lies above nine tenths


def good(n: int = 20) -> str:
    return "x,y\n" + "".join(f"{i / 7},{i % 2}\n" for i in range(n))


def floats(sixth: str = "0.5") -> bytes:
    """Return a table of 200 rows, all targets different, the one in line 7 as given."""
    cells = [sixth if i == 5 else f"{i / 3:.6f}" for i in range(200)]
    return ("x,y\n" + "".join(f"{i},{y}\n" for i, y in enumerate(cells))).encode()


STRAY = ["line 7, column 'y': 'oops' is not a number", "; --task classify takes it as a class"]

BAD_TABLES = {
    # name: (content, extra options, what the line must say)
    "no rows": (b"x,y\n", (), ["no row of data"]),
    "empty": (b"", (), ["empty"]),
    "blank lines alone": (b"\n\n\n", (), ["empty"]),
    "no such column": (good().replace("y", "label").encode(), (), ["no column 'y'", "'label'"]),
    "near column": (good().replace("y", "Y ").encode(), (), ["did you mean 'Y'"]),
    "no header": (good().partition("\n")[2].encode(), (), ["first line must hold"]),
    "text": (good().replace("\n1.0", "\nred", 1).encode(), (), ["line 9, column 'x'", "'red'"]),
    "underscore": (b"x,y\n1_0,1\n" + good().encode()[4:], (), ["line 2", "'1_0'"]),
    "nan": (good().encode() + b"NaN,1\n", (), ["line 22, column 'x'", "missing (NaN)"]),
    "inf": (good().encode() + b"-inf,1\n", (), ["line 22, column 'x'", "not finite"]),
    "empty cell": (good().encode() + b" ,1\n", (), ["line 22, column 'x' is empty"]),
    "empty target": (good().encode() + b"1,\n", (), ["line 22, column 'y' is empty"]),
    "nan target": (good().encode() + b"1,nan\n", (), ["line 22, column 'y'", "missing"]),
    "short row": (good().encode() + b"\n1\n", (), ["line 23 has 1 cell,", "header has 2"]),
    "long row": (good().encode() + b"1,2,3\n", (), ["line 22 has 3 cells"]),
    "open quote": (good().encode() + b'"1,2\n3,4\n', (), ["line 22", "not valid CSV"]),
    "one class": (good().replace(",1", ",0").encode(), (), ["one class only ('0')", "'y'"]),
    "no class twice": (
        b"x,y\n" + b"".join(b"%d,%d.5\n" % (i, i) for i in range(12)), ("--task", "classify"),
        ["'y' has 12 different classes in 12 rows", "at least 2 rows for each", "--task regress"],
    ),
    "floats for a classifier's loss": (floats(), ("--loss", "cross_entropy"), ["200 different"]),
    "names": (
        b"x,y\n" + b"".join(b"%d,n%d\n" % (i, i % 13) for i in range(25)), (),
        ["13 different classes in 25 rows"],
    ),
    "text among floats": (floats("oops"), (), STRAY),
    "text for cross_entropy": (floats("oops"), ("--loss", "cross_entropy"), STRAY),
    "text for an own loss": (floats("oops"), ("--loss", "losses.py:one"), STRAY),
    "text among integers": (good().replace("5,1", "5,oops", 1).encode(), (), ["'oops'", STRAY[1]]),
    "one row": (b"x,y\n1,2\n", (), [": 1 row of data", "at least 10"]),
    "few rows": (good(9).encode(), (), ["9 rows", "at least 10"]),
    "same names": (b"x,x,y\n1,2,3\n", (), ["columns 1 and 2", "'x'"]),
    "nameless": (b",y\n1,2\n", (), ["column 1 has no name"]),
    "no features": (b"y\n" + b"1\n2\n" * 9, (), ["no column is left"]),
    "all ignored": (good().encode(), ("--ignore", "x"), ["no column is left"]),
    "ignored unknown": (good().encode(), ("--ignore", "z"), ["no column 'z'"]),
    "constant quantity": (
        good().replace(",1", ",0").encode(), ("--task", "regress"), ["same number", "'y'"],
    ),
    "text for regression": (
        good().replace(",1", ",a").encode(), ("--task", "regress"), ["line 3", "'a'", "classify"],
    ),
    "text for a regression's loss": (
        good().replace(",1", ",a").encode(), ("--loss", "mse_loss"), ["line 3, column 'y'", "'a'"],
    ),
    "too large": (b"x,y\n" + b"1e308,1\n-1e308,0\n" * 9, (), ["column 'x'", "too large"]),
    "target too large": (
        b"x,y\n" + b"1,1e308\n2,-1e308\n" * 9, ("--task", "regress"), ["column 'y'", "too large"],
    ),
    "binary": (bytes(range(256)), (), ["binary"]),
    "excel": (b"PK\x03\x04" + b"abc" * 99, (), ["binary", "UTF-8"]),
    "utf-16": (good().encode("utf-16"), (), ["UTF-16"]),
    "latin-1": (good().encode() + "1,é\n".encode("latin-1"), (), ["line 22", "0xe9", "UTF-8"]),
    "cut off": (gzip.compress(good().encode())[:-9], (), ["gzip", "cut off"]),
    "damaged": (gzip.compress(good().encode())[:-8] + b"12345678", (), ["gzip", "damaged"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_table(here: Path, case: str) -> None:
    content, options, words = BAD_TABLES[case]
    Path("bad.csv").write_bytes(content)
    line = failure("train", "bad.csv", "--target", "y", "--epochs", 1, *options)
    for word in ["bad.csv", *words]:
        assert word in line
    assert left_behind(here) == {"bad.csv"}


@pytest.mark.parametrize("cell", ["NA", "N/A", "null", "None", "na", "NaN", "NULL", "<NA>", ""])
def test_missing_values_are_refused_alike(here: Path, cell: str) -> None:
    what = f"is missing ({cell})" if cell else "is empty"
    classes = good().replace(",0", ",a").replace(",1", ",b")
    for column, table in {
        "x": f"{good()}{cell},1\n",
        "y": f"{good()}0.5,{cell}\n",
        "y ": f"{classes}0.5,{cell}\n",
    }.items():
        Path("bad.csv").write_text(table)
        line = failure("train", "bad.csv", "--target", "y", "--epochs", 1)
        assert f"bad.csv: line 22, column {column.strip()!r} {what}; fill it in" in line


def test_text_among_numbers_can_be_a_class(here: Path) -> None:
    # Room numbers, say: numbers by their look alone.
    Path("rooms.csv").write_text("x,y\n" + "1.5,101\n2.5,102\n0.5,101b\n" * 9)
    args = ["train", "rooms.csv", "--target", "y", "--epochs", 1, "--no-plots"]
    assert "'101b' is not a number" in failure(*args)
    assert run(*args, "--task", "classify").exit_code == 0
    assert SavedModel.load("out/model.npz").classes == ("101", "101b", "102")


BAD_LOSSES = {
    "losses.py:vector": ["shape (32,)", ".mean()"],
    "losses.py:number": ["a float", "detached"],
    "losses.py:detached": ["detached"],
    "losses.py:constant": ["detached"],
    "losses.py:unrelated": ["does not depend on the prediction"],
    "losses.py:new_tensor": ["does not depend on the prediction"],
    "losses.py:nothing": ["None"],
    "losses.py:not_a_number": ["nan", "first batch"],
    "losses.py:raises": ["NameError", "'undefined'", RAISES],
    "losses.py:quits": ["SystemExit"],
    "losses.py:with_math": ["NotDifferentiableError", "np.exp"],
    "losses.py:broken_rule": ["ZeroDivisionError"],
    "losses.py:quantil": ["no function 'quantil'", "did you mean quantile?"],
    "losses.py:number_seven": ["no function but of type int"],
    "losses.py": ["unknown loss", "FILE.py:FUNCTION"],
    "losses.py:": ["FILE.py:FUNCTION"],
    "crossentropy": ["unknown loss 'crossentropy'", "cross_entropy"],
    "missing.py:loss": ["missing.py: no such file"],
    "syntax.py:loss": ["syntax.py: line 2:"],
    "absent.py:loss": ["absent.py", "No module named 'no_such_module'", "(line 1)"],
    "imports_bad.py:loss": ["syntax.py: line 2:"],
    "quits.py:loss": ["quits.py", "SystemExit"],
    "folder.py:loss": ["is a directory"],
    "null.py:loss": ["null.py"],
    "mse_loss --task classify": ["mse_loss", "cross_entropy"],
}


@pytest.mark.parametrize("spec", BAD_LOSSES)
def test_bad_loss(here: Path, spec: str) -> None:
    Path("syntax.py").write_text("a = 1\ndef loss(:\n")
    Path("absent.py").write_text("import no_such_module\n")
    Path("imports_bad.py").write_text("import syntax\n")
    Path("quits.py").write_text("import sys\nsys.exit('bye')\n")
    Path("null.py").write_bytes(b"a = 1\0\n")
    Path("folder.py").mkdir()
    before = left_behind(here)
    line = failure("train", "flowers.csv", "--target", "kind", "--loss", *spec.split())
    for word in BAD_LOSSES[spec]:
        assert word in line
    assert left_behind(here) == before  # no byte code either


BAD_OPTIONS = {
    "--epochs 0": "--epochs", "--epochs many": "--epochs", "--lr 0": "--lr", "--lr -1": "--lr",
    "--lr nan": "--lr", "--lr inf": "--lr", "--momentum 1": "--momentum",
    "--weight-decay -1": "--weight-decay", "--batch-size 0": "--batch-size",
    "--hidden 3,x": "--hidden", "--hidden 0": "--hidden", "--test-share 1": "--test-share",
    "--test-share nan": "--test-share", "--seed -1": "--seed", "--activation magic": "relu",
    "--task guess": "classify", "--frobnicate": "--frobnicate", "--out flowers.csv": "flowers.csv",
    "--out flowers.csv/deeper": "not a directory", "surplus": "surplus",
}  # fmt: skip


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_bad_option(here: Path, option: str) -> None:
    line = failure("train", "flowers.csv", "--target", "kind", *option.split())
    assert BAD_OPTIONS[option] in line
    assert left_behind(here) == set()


def test_bad_paths(here: Path) -> None:
    assert "nowhere.csv: no such file" in failure("train", "nowhere.csv", "--target", "y")
    assert ".: is a directory" in failure("train", ".", "--target", "y")
    assert "null" in failure("train", "a\0b", "--target", "y")
    assert "--target" in failure("train", "flowers.csv")
    assert "DATA" in failure("train")
    assert "'frob'" in failure("frob")
    assert "--frob" in failure("--frob")


def test_divergence_leaves_nothing(here: Path) -> None:
    args = ["train", "prices.csv", "--target", "price", "--lr", 1e30, "--momentum", 0]
    line = failure(*args)
    assert "diverged in epoch 1" in line
    assert "1e+30" in line
    line = failure(*args[:-4], "--loss", "losses.py:explodes")
    assert "diverged" in line
    assert "losses.py:explodes" in line
    assert left_behind(here) == set()


def test_unwritable_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = here / "locked"
    locked.mkdir()
    real = tasks.TemporaryDirectory

    def refuses(dir: Path) -> object:  # as the system does, but for root
        if dir == locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(dir=dir)

    monkeypatch.setattr(tasks, "TemporaryDirectory", refuses)
    # Found before anything is read: there is no such table, and the demonstration says nothing.
    for out, words in {
        "locked/deep/out": ["cannot write", "Permission denied"],
        "n" * 300: ["cannot write", "too long"],
        "a\0b": ["null"],
        "": ["--out is empty"],
        " ": ["--out is empty"],
    }.items():
        for command in (["train", "absent.csv", "--target", "kind"], ["demo"]):
            result = run(*command, "--out", out)
            assert result.stdout == ""
            line = failure(*command, "--out", out)
            for word in ["--out", out.strip().replace("\0", "\\x00"), *words]:
                assert word in line
    assert left_behind(here) == {"locked"}
    assert not list(locked.iterdir())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_folder_that_cannot_be_made(here: Path) -> None:
    assert "cannot write in /proc" in failure(
        "train", "a.csv", "--target", "y", "--out", "/proc/xx"
    )


def test_failing_write_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: tasks.Trained) -> list[tuple[str, bytes]]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tasks.Trained, "_figures", full)
    line = failure("train", "flowers.csv", "--target", "kind", "--epochs", 1)
    assert "No space left on device" in line
    assert left_behind(here) == set()


def test_names_cannot_steer_the_terminal(here: Path) -> None:
    nasty = "[bold]\x1b[31m$x^$\u202e"
    text = (
        Path("flowers.csv").read_text().replace("kind", nasty).replace("lily", "[/]$\\frac$\u202e")
    )
    Path("n[red].csv").write_text(text)
    result = run("train", "n[red].csv", "--target", nasty, "--epochs", 1)
    assert result.exit_code == 0, result.output
    assert "n[red].csv" in result.stdout
    assert "[/]$\\frac$\\u202e" in result.stdout
    assert "[bold]\\x1b[31m" in result.stdout
    line = failure("train", "n[red].csv", "--target", "\x1b[2Jx")
    missing = failure("train", "\x1b[2J\u202e.csv", "--target", "x")
    assert "\\x1b[2J\\u202e.csv: no such file" in missing
    for output in (result.output, line, missing):
        assert not set("\x1b\u202e") & set(output)


# --- check ---------------------------------------------------------------------------------------

CHECKS = {
    # arguments: exit status, words
    "quantile": (0, ["right", "prediction: float64 of shape (6, 4)"]),
    "one_hot": (0, ["right", "target: int64 of shape (6,), from 0 to 3"]),
    "one": (0, ["right", "x: float64 of shape (6, 4)"]),
    "one --order 2": (0, ["second order"]),
    "hinted": (0, ["right", "prediction: float64 of shape (5, 2)"]),
    "three --shapes 2,3;float:2,3:1:2;()": (0, ["right", "b: float64 of shape (2, 3), from 1 to"]),
    "three --inputs abc.npz": (0, ["right", "b: float32 of shape (4,), from abc.npz"]),
    "wrong": (1, ["WRONG", "48 of 48"]),
    "wrong --shapes 5;5": (1, ["WRONG", "10 of 10"]),
    "vector": (0, ["right", "target: int64"]),  # losses are one number, functions need not be
    "number": (2, ["plain float", "left the graph"]),
    "detached": (2, ["detached"]),
    "constant": (2, ["detached"]),
    "unrelated": (2, ["does not depend on its inputs"]),
    "new_tensor": (2, ["does not depend on its inputs"]),
    "nothing": (2, ["None"]),
    "not_a_number": (2, ["nan"]),
    "raises": (2, ["NameError", RAISES, "--shapes"]),
    "with_math": (2, ["np.exp"]),
    "broken_rule": (2, ["cannot be checked", "ZeroDivisionError"]),
    "three": (0, ["right", "c: float64 of shape (6, 4)"]),
    "three --shapes 2;2": (2, ["missing a required argument: 'c'"]),
    "three --shapes 2;two;2": (2, ["'two'", "expected shapes"]),
    "three --shapes 2;-2;2": (2, ["'-2'"]),
    "three --shapes 2;float:2:1:0;2": (2, ["float:2:1:0"]),
    "three --shapes 2;float:2:nan:1;2": (2, ["float:2:nan:1"]),
    "three --shapes 2;int:2:0;2": (2, ["int:2:0"]),
    "three --shapes int:2:3;int:2:3;int:2:3": (2, ["none of the inputs is of floating numbers"]),
    "one --shapes 99999,99999": (2, ["99999,99999"]),
    "one --inputs absent.npz": (2, ["absent.npz: no such file"]),
    "one --inputs losses.py": (2, ["losses.py: is not an .npz"]),
    "one --inputs pickled.npz": (2, ["pickled.npz: is not an .npz file of plain arrays"]),
    "one --inputs nan.npz": (2, ["'x'", "finite"]),
    "one --inputs x.npz --shapes 3": (2, ["either"]),
    "absent": (2, ["no function 'absent'"]),
}


@pytest.mark.parametrize("args", CHECKS)
def test_check(here: Path, args: str) -> None:
    # By name, not in this order.
    np.savez("abc.npz", c=np.ones(4), a=np.arange(4.0), b=np.ones(4, np.float32))
    np.savez("nan.npz", x=np.array([1.0, np.nan]))
    np.savez("pickled.npz", x=np.array([print, None]))
    status, words = CHECKS[args]
    args = "check losses.py:" + args
    result = run(*args.split())
    assert result.exit_code == status, result.output
    output = failure(*args.split()) if status == 2 else result.stdout
    for word in words:
        assert word in output


def test_check_checks_what_it_says(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inputs, the seed and the order reach the check."""
    calls = []

    def spy(f: object, inputs: object, **keywords: object) -> checking.GradcheckReport:
        calls.append((inputs, keywords))
        return checking.gradcheck(f, inputs, **keywords)

    monkeypatch.setattr(job_checking, "gradcheck", spy)
    for seed in (1, 1, 2):
        args = ["check", "losses.py:one_hot", "--seed", seed, "--order", 2, "--dtype", "native"]
        assert run(*args).exit_code == 0
    (one, keywords), (again, _), (other, _) = calls
    assert keywords == {
        "raise_exception": False, "rng": 1, "order": 2, "dtype": "native",
        "names": ["prediction", "target"], "blame": False,
    }  # fmt: skip
    assert np.array_equal(one[0].data, again[0].data)
    assert not np.array_equal(one[0].data, other[0].data)
    assert [t.requires_grad for t in one] == [True, False]


THINGS = """
import math
import numpy as np
import tinygrad_nn as tg
from tinygrad_nn import scalar

print("from the file")

@tg.primitive(rules=[lambda g, y, x: g * 0.5 / y], elementwise=True, domain=[(1.0, math.inf)])
def root(x):
    assert np.all(x > 0.9)
    return np.sqrt(x)

@tg.primitive(rules=[lambda g, y, x: g / y], elementwise=True, domain=[(0.2, 3.0)])
def twice(x):
    return np.sqrt(x)

@tg.primitive(rules=[lambda g, y, a, b: g @ b.T, lambda g, y, a, b: a.T @ g])
def product(a, b):
    return a @ b

@tg.primitive(rules=[lambda g, y, x, mask: g * mask, None], elementwise=True)
def masked(x, mask):
    return x * mask

@tg.primitive(rules=[lambda g, y, x: g * math.nan], elementwise=True)
def nan_rule(x):
    return x * 1.0

model = tg.nn.MLP(4, [5, 3], rng=0)
small = scalar.MLP(5, [4, 1], rng=0)
rectifier = tg.nn.Dropout(0.0)

class Net(tg.nn.Module):
    def __init__(self):
        self.weight = tg.tensor(np.ones((2, 3)), requires_grad=True)

    def forward(self, x):
        return twice(x * x + 1.0) @ (self.weight * twice(self.weight))

class Sized(tg.nn.Module):
    def __init__(self, n):
        self.weight = tg.tensor(np.ones(n), requires_grad=True)

class Square:
    def __call__(self, x):
        return x * x

class Line(scalar.Module):
    def __init__(self):
        self.slope = scalar.Value(2.0)

    def forward(self, x):
        return self.slope * math.sin(x)

    def parameters(self):
        return [self.slope]

def reciprocal(x):
    return np.diag(1.0 / x)

def factory():
    return tg.nn.MLP(2, [3, 1], rng=1)

def sized(hidden=3):
    return tg.nn.MLP(2, [hidden, 1], rng=1)

def preset(x=1.0):
    return np.sum(x * x)

def seven():
    return 7

def rosen(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

def slope(x):
    d = np.zeros_like(x)
    d[:-1] = -400.0 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2.0 * (1.0 - x[:-1])
    d[1:] += 200.0 * (x[1:] - x[:-1] ** 2)
    return d

def steep(x):
    return 1.01 * slope(x)

def off(x):
    return x[7]

calls = []

def keeps(x):
    calls.append(x)
    return np.sum(x ** 2)

def kept(x):
    return 2.0 * calls[-1]

def containers(a, b):
    return a * b, {"c": a ** 2}

def log(x):
    return np.log(x)

def inverse(x):
    return np.linalg.inv(x)

def squared(prediction, truth):
    return np.mean((prediction - truth) ** 2)

def half(prediction, truth):
    return np.mean((prediction - truth.data) ** 2)

def defaults(a, b, c=1.0):
    return np.sum(a * b * c)

def fussy(x):
    raise ValueError("\x1b[2Jno\\nmore")

def comparison(x):
    return x > 0.0

def rows(*xs):
    return np.sum(xs[0]) + sum(np.sum(x) for x in xs[1:])

def clash(prediction, x):
    return np.mean((prediction - x) ** 2)

class Box:
    loss = staticmethod(squared)
"""

KINDS = {
    # arguments: exit status, words
    "root": (0, ["root, a primitive, on", "x: float64 of shape (6, 4), drawn from its domain"]),
    "root --shapes float:3:1:2": (0, ["x: float64 of shape (3,), from 1 to 2"]),
    "twice": (1, ["WRONG: 24 of 24"]),
    "product": (0, ["right", "b: float64 of shape (4, 3), drawn from -3 to 3"]),
    "masked": (0, ["right", "mask: float64 of shape (6, 4), drawn from -3 to 3, constant"]),
    "masked --shapes 3;3": (0, ["right", "mask: float64 of shape (3,), normally", ", constant"]),
    "model": (0, ["a model of 43 parameters", "x: float64 of shape (8, 4)", "layers.1.weight"]),
    "model --order 2": (0, ["second order"]),
    "model --shapes 2,4": (0, ["x: float64 of shape (2, 4)"]),
    "model --loss cross_entropy": (0, ["the loss cross_entropy", "target: int64 of shape (8,)"]),
    "model --loss mse_loss": (0, ["target: float64 of shape (8, 3)"]),
    "model --loss things.py:squared": (0, ["truth: float64 of shape (8, 3)"]),
    "model --loss things.py:clash": (0, ["x_: float64 of shape (8, 3)"]),
    "model --loss mse_loss --shapes 2,4;2,3": (0, ["target: float64 of shape (2, 3)"]),
    "model --loss mse_loss --inputs xt.npz": (0, ["target: float64 of shape (2, 3), from xt.npz"]),
    "small": (0, ["a model of 29 parameters", "x: float64 of shape (5,)", "parameters["]),
    "small --loss things.py:squared": (0, ["truth: float64 of shape ()"]),
    "rectifier": (0, ["x: float64 of shape (6, 4), normally distributed\n", "all 24 elements"]),
    "Net": (1, ["a model of 6 parameters", "WRONG", "weight["]),
    "Line": (0, ["right", "a model of 1 parameter,", "x: float64 of shape ()"]),
    "log --gradient reciprocal": (0, ["right", "x: float64 of shape (6,), from 0.05 to 0.95"]),
    "log --gradient reciprocal --shapes float:3:-2:-1": (2, ["returned nan on these inputs"]),
    "Square": (0, ["right", "all 24 elements"]),
    "factory --loss mse_loss": (0, ["a model of 13 parameters", "x: float64 of shape (8, 2)"]),
    "sized": (0, ["a model of 13 parameters"]),
    "preset --shapes 3": (0, ["right", "all 3 elements"]),
    "preset": (2, ["does not say how many inputs"]),
    "rosen": (0, ["right"]),
    "rosen --gradient slope": (0, ["the gradient things.py:slope", "all 6 elements"]),
    "rosen --gradient things.py:steep": (1, ["WRONG: 6 of 6"]),
    "keeps --gradient kept": (0, ["right"]),  # both see the same file, which was run once
    "containers": (0, ["right", "all 48 elements"]),
    "log": (0, ["right", "from 0.05 to 0.95"]),
    "inverse": (0, ["right", "x: float64 of shape (4, 4)"]),
    "half": (0, ["all 24 elements", "truth: float64 of shape (6, 4), normally distributed, const"]),
    "squared": (0, ["all 48 elements"]),
    "rows --shapes 3;2": (0, ["all 5 elements"]),
    "Box.loss": (0, ["right"]),
    "defaults --inputs names.npz": (0, ["a: float64 of shape (4,)", "b: float64 of shape (1,)"]),
    "defaults --shapes float32:3;float32:3 --dtype native": (0, ["b: float32 of shape (3,)"]),
    "model --loss nosuch": (2, ["unknown loss 'nosuch'", "mse_loss"]),
    "model --loss absent.py:f": (2, ["absent.py: no such file"]),
    "model --loss things.py:seven": (2, ["things.py:seven raised TypeError"]),
    "model --loss mse_loss --shapes 2,4": (2, ["missing a required argument: 'target'"]),
    "model --shapes 8,5": (2, ["(..., 4), got (8, 5)"]),
    "model --gradient slope": (2, ["things.py:model is a model", "--gradient"]),
    "model --loss mse_loss --gradient slope": (2, ["either --loss", "or --gradient"]),
    "rosen --loss mse_loss": (2, ["--loss is for models"]),
    "rosen --gradient absent": (2, ["no function 'absent'"]),
    "rosen --gradient off": (2, ["things.py:off raised IndexError", "(line "]),
    "rosen --gradient slope --order 2": (2, ["--order 2"]),
    "rosen --gradient slope --blame": (2, ["--blame"]),
    "Sized": (2, ["is a class", "without n;", "name an instance"]),
    "seven": (2, ["takes no inputs", "int"]),
    "rows": (2, ["does not say how many inputs", "--shapes"]),
    "model.absent": (2, ["'model.absent'", "MLP object has no 'absent'"]),
    "model.layers": (2, ["'model.layers' is no function but of type list"]),
    "Roots": (2, ["no function 'Roots'", "did you mean root?"]),
    "comparison": (2, ["dtype bool", "only floating numbers"]),
    "log --shapes float:3:-2:-1": (2, ["returned nan on these inputs"]),
    "defaults --inputs missing.npz": (2, ["missing.npz: has no array 'a'", "a, b, c"]),
    "defaults --inputs extra.npz": (2, ["extra.npz: has 'd', which is no argument"]),
    "defaults --inputs four.npz": (2, ["(a, b, c=1.0) does not take 4 input(s)"]),
    "defaults --inputs text.npz": (2, ["'a' (dtype <U1)", "finite real numbers"]),
    "defaults --inputs none.npz": (2, ["no elements in a, b"]),
    "defaults --inputs apart.npz": (2, ["ValueError", "(2,) (3,)", "(line "]),
    "log --dtype float16": (2, ["'float16'", "native"]),
    "log --order 3": (2, ["--order"]),
}


@pytest.fixture
def things(here: Path) -> None:
    Path("things.py").write_text(THINGS)
    one = np.ones(3)
    np.savez("xt.npz", target=np.ones((2, 3)), x=np.ones((2, 4)))
    np.savez("names.npz", b=np.ones(1), a=np.ones(4))
    np.savez("missing.npz", b=one)
    np.savez("extra.npz", a=one, b=one, d=one)
    np.savez("four.npz", one, one, one, one)
    np.savez("text.npz", a=np.array(["x"]), b=one)
    np.savez("none.npz", a=np.ones(0), b=np.ones(0))
    np.savez("apart.npz", a=np.ones(2), b=one)


@pytest.mark.parametrize("args", KINDS)
def test_check_takes_all_that_has_a_gradient(things: None, args: str) -> None:
    status, words = KINDS[args]
    result = run("check", *("things.py:" + args).split())
    assert result.exit_code == status, result.output
    if status == 2:
        [line] = result.stderr.splitlines()
        assert line.startswith("tinygrad-nn: ")
        assert result.stdout in ("", "from the file\n")
    for word in words:
        assert word in (result.stderr if status == 2 else result.stdout)


def test_check_names_a_file_that_is_none(here: Path) -> None:
    Path("broken.py").write_text("x = 1\ndef f(x:\n")
    Path("raises.py").write_text("import numpy\nimport no_such_module_at_all\n")
    assert "broken.py: line 2: '('" in failure("check", "broken.py:f")
    line = failure("check", "raises.py:f")
    assert "raises.py: cannot be imported: ModuleNotFoundError" in line
    assert "(line 2)" in line
    assert "absent.py: no such file" in failure("check", "absent.py:f")
    assert "expected FILE.py:FUNCTION" in failure("check", "losses.py")


def test_check_blames_a_line_of_the_users_alone(things: None) -> None:
    result = run("check", "things.py:Net", "--blame")
    assert result.exit_code == 1
    assert "rule 0 of primitive 'twice'" in result.stdout
    line = THINGS.splitlines().index(
        "        return twice(x * x + 1.0) @ (self.weight * twice(self.weight))"
    )
    assert f'File "things.py", line {line + 1}, in forward' in result.stdout
    assert "blame" not in run("check", "things.py:Net").stdout
    itself = run("check", "things.py:twice", "--blame").stdout  # no line of the user's calls it
    assert "rule 0 of primitive 'twice'" in itself
    assert "File" not in itself


def strict(text: str) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_check_prints_json(things: None) -> None:
    result = run("check", "things.py:model", "--loss", "mse_loss", "--json")
    assert result.exit_code == 0
    assert result.stderr == "from the file\n"
    document = strict(result.stdout)
    assert document["checked"] == {"name": "things.py:model", "kind": "model", "loss": "mse_loss"}
    assert document["inputs"][1] == {
        "name": "target", "shape": [8, 3], "dtype": "float64", "origin": "normally distributed",
        "constant": True,
    }  # fmt: skip
    assert document["report"]["right"] is True
    assert next(iter(document["report"]["inputs"])) == "layers.0.weight"

    pair = run("check", "things.py:rosen", "--gradient", "steep", "--json")
    assert pair.exit_code == 1
    document = strict(pair.stdout)
    assert document["checked"]["kind"] == "gradient"
    assert document["checked"]["gradient"] == "things.py:steep"
    assert document["report"]["right"] is False

    nan = run("check", "things.py:nan_rule", "--json")
    assert nan.exit_code == 1
    assert strict(nan.stdout)["report"]["findings"][0]["analytic"] == "nan"

    for args in (["things.py:absent"], ["things.py:fussy"], ["absent.py:f"]):
        bad = run("check", *args, "--json")
        assert bad.exit_code == 2
        said = bad.stderr.splitlines()[-1]
        error = strict(bad.stdout)
        assert list(error) == ["error"]
        assert f"tinygrad-nn: {shown(error['error'])}" == said


def test_check_lets_nobody_steer_the_terminal(things: None) -> None:
    np.savez("nasty.npz", **{"\x1b[31mred": np.ones(3)})
    result = run("check", "things.py:rows", "--inputs", "nasty.npz")
    assert result.exit_code == 0
    assert "\n  \\x1b[31mred: float64" in result.stdout
    assert "\\x1b[31mred[0]" in result.stdout
    line = failure_line("check", "things.py:fussy")
    assert "ValueError: \\x1b[2Jno more (line " in line
    for output in (result.output, line):
        assert "\x1b" not in output


def failure_line(*args: object) -> str:
    result = run(*args)
    assert result.exit_code == 2
    return result.stderr.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="terminals are POSIX's")
@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_check_in_a_terminal(things: None, variables: dict[str, str], coloured: bool) -> None:
    command = ["check", "things.py:twice", "--shapes", "float:2:1:2"]
    status, text = in_a_terminal(command, variables)
    assert status == 1
    assert b"WRONG" in text
    assert (b"\x1b[" in text) is coloured


def test_check_keeps_its_status_when_the_reader_has_left(here: Path) -> None:
    command = [sys.executable, "-m", "tinygrad_nn", "check"]
    for name, status in (("wrong", 1), ("one", 0)):
        with subprocess.Popen(
            [*command, f"losses.py:{name}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            child.stdout.close()
            assert child.stderr.read() == b""
        assert child.returncode == status


# --- draw ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"),
    [("g.dot", b"digraph"), ("g.mmd", b"flowchart"), ("g.txt", b"n"), ("g.html", b"<!DOCTYPE"),
     ("g.json", b"{")],
)  # fmt: skip
def test_draw(here: Path, name: str, start: bytes) -> None:
    result = run("draw", "losses.py:quantile", "-o", name)
    assert result.exit_code == 0, result.output
    content = Path(name).read_bytes()
    assert start.lower() in content[:400].lower()
    for word in (b"prediction", b"target", b"maximum"):
        assert word in content
    assert name in result.stdout


@pytest.mark.parametrize(
    ("name", "start"), [("g.svg", b"<svg"), ("g.png", PNG), ("g.pdf", b"%PDF")]
)
def test_draw_a_picture(here: Path, name: str, start: bytes) -> None:
    result = run("draw", "losses.py:vector", "-o", name)  # drawing is not for losses alone
    if result.exit_code == 2 and "apt install graphviz" in result.stderr:
        assert len(result.stderr.splitlines()) == 1
        assert not Path(name).exists()
        pytest.skip("the program dot is not installed")
    assert result.exit_code == 0, result.output
    assert start in Path(name).read_bytes()[:1000]


def test_draw_without_dot(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    line = failure("draw", "losses.py:one", "-o", "g.svg")
    assert "apt install graphviz" in line
    assert ".html" in line
    assert left_behind(here) == set()
    assert run("draw", "losses.py:one", "-o", "g.html").exit_code == 0


@pytest.mark.parametrize("name", ["unrelated", "new_tensor", "detached", "constant"])
def test_draw_warns_of_a_graph_without_the_inputs(here: Path, name: str) -> None:
    result = run("draw", f"losses.py:{name}", "-o", "g.txt")
    assert result.exit_code == 0
    warning = f"what losses.py:{name} returned does not depend on its inputs"
    assert [warning in line for line in result.stderr.splitlines()] == [True]
    assert Path("g.txt").exists()
    assert run("draw", "losses.py:quantile", "-o", "g.txt").stderr == ""


def test_draw_refuses(here: Path) -> None:
    assert ".svg" in failure("draw", "losses.py:one", "-o", "graph.doc")
    assert "returned a float" in failure("draw", "losses.py:number", "-o", "g.txt")
    assert "None" in failure("draw", "losses.py:nothing", "-o", "g.txt")
    assert "NameError" in failure("draw", "losses.py:raises", "-o", "g.txt")
    assert "is empty" in failure("draw", "losses.py:one", "-o", "g.txt", "--shapes", "3;0")
    Path("taken.txt").mkdir()
    assert "taken.txt" in failure("draw", "losses.py:one", "-o", "taken.txt")
    assert left_behind(here) == {"taken.txt"}


TREE = """losses.py:quantile on
  prediction: float64 of shape (), normally distributed
  target: float64 of shape (), normally distributed

n8 mean """


def test_draw_prints_a_tree(here: Path) -> None:
    result = run("draw", "losses.py:quantile", "--shapes", "();()")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(TREE)
    assert "↑ n2 subtract" in result.stdout
    assert run("draw", "losses.py:quantile", "--shapes", "();()").stdout == result.stdout
    assert left_behind(here) == set()
    assert "does not depend on its inputs" in run("draw", "losses.py:constant").stderr


def test_draw_prints_where_the_encoding_lacks_branches(here: Path) -> None:
    result = process("draw", "losses.py:quantile", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\n?? n7 maximum " in result.stdout


FORMATS = {"text": "txt", "json": "json", "dot": "dot", "mermaid": "mmd", "svg": "svg",
           "html": "html"}  # fmt: skip


@pytest.mark.parametrize(("form", "suffix"), FORMATS.items())
def test_draw_to_standard_output_what_a_file_would_hold(here: Path, form: str, suffix: str) -> None:
    if suffix == "svg":
        needs_dot()
    said = run("draw", "losses.py:talks", "-o", f"g.{suffix}")
    assert said.stdout.startswith("good morning\n")
    result = run("draw", "losses.py:talks", "--format", form)
    assert (result.exit_code, result.stderr) == (0, "good morning\n")
    assert result.stdout_bytes == Path(f"g.{suffix}").read_bytes()
    assert run("draw", "losses.py:talks", "--format", form, "-o", "-").stdout == result.stdout
    if form == "text":
        assert run("draw", "losses.py:talks", "-o", "-").stdout == result.stdout
    assert not Path("-").exists()


def test_draw_to_standard_output_without_dot(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "apt install graphviz" in failure("draw", "losses.py:one", "--format", "svg")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "g.dot", "--format", "json"], ["-o g.dot", "leave one of them out"]),
        (["--open"], ["-o graph.html"]),
        (["--open", "-o", "g.dot"], ["-o graph.html (or .svg, .png, .pdf)"]),
        (["--open", "-o", "-"], ["-o graph.html"]),
        (["--open", "--format", "html"], ["-o graph.html"]),
        (["--format", "png"], ["'text', 'json', 'dot', 'mermaid', 'svg', 'html'"]),
        (["--rankdir", "up"], ["'--rankdir': 'up'"]),
        (["--gradients", "all"], ["'output', 'stored', 'none'"]),
        (["--theme", "pink"], ["'auto', 'light', 'dark'"]),
        (["--depth", "-1"], ["'--depth'"]),
        (["--max-nodes", "0"], ["'--max-nodes'"]),
        (["--only", "a", "--around", "b"], ["--only and --around exclude each other"]),
        (["--radius", "1"], ["--around NAME"]),
    ],
)
def test_draw_refuses_options_before_it_runs_anything(
    here: Path, options: list[str], words: list[str]
) -> None:
    line = failure("draw", "losses.py:raises", *options)
    for word in words:
        assert word in line
    assert "NameError" not in line
    assert left_behind(here) == set()


def drawn(function: str, *options: object, shapes: str = "float32:5,3") -> dict[str, Any]:
    """Return what ``draw --format json`` says."""
    result = run("draw", function, "--shapes", shapes, "--format", "json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_draw_options_reach_the_drawing(here: Path) -> None:
    def dot(*options: str) -> str:
        result = run("draw", "losses.py:quantile", "--format", "dot", *options)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "rankdir=LR" in dot()
    assert "rankdir=TB" in dot("--rankdir", "tb")
    assert "grad" in dot()
    assert '<TD ALIGN="LEFT">grad' not in dot("--gradients", "none")
    page = run("draw", "losses.py:quantile", "--format", "html", "--theme", "dark").stdout
    assert page != run("draw", "losses.py:quantile", "--format", "html").stdout
    assert all(
        node["cost"] is None for node in drawn("losses.py:hinted", shapes="5,2;5,2")["nodes"]
    )
    costs = [
        node["cost"]
        for node in drawn("losses.py:hinted", "--profile", shapes="5,2;5,2")["nodes"]
        if node["op"]
    ]
    assert all(cost["forward"] > 0 for cost in costs)


NET = """
import tinygrad_nn as tg

net = tg.nn.MLP(3, [4, 4, 4, 1], rng=0)

def forward(x):
    return net(x)
"""


def test_draw_folds(here: Path) -> None:
    Path("net.py").write_text(NET)
    whole = drawn("net.py:net")
    layers = drawn("net.py:net", "--depth", "1")
    assert [(v["settings"], v["hidden"]) for v in layers["nodes"] if v["hidden"]] == [
        ("Layer(3, 4, activation='relu')", 4),
        ("Layer(4, 4, activation='relu') × 2", 8),
        ("Layer(4, 1, activation=None)", 3),
    ]
    assert len(drawn("net.py:net", "--max-nodes", "3")["nodes"]) <= 3 < len(whole["nodes"])
    repeats = drawn("net.py:net", "--repeats")
    assert [v["hidden"] for v in repeats["nodes"] if v["hidden"]] == [8]
    # The number of boxes, and what they hide, are said beside the file's name.
    result = run("draw", "net.py:net", "--shapes", "5,3", "-o", "g.txt", "--depth", "0")
    assert "g.txt: 2 nodes, 1 edge\n15 of 16 nodes are folded into 1 box\n" in result.stdout


def test_draw_parts(here: Path) -> None:
    Path("net.py").write_text(NET)

    def names(*options: str) -> list[str]:
        found = drawn("net.py:net", *options)
        assert "left out" in found["note"]
        return [node["label"] or node["op"] for node in found["nodes"]]

    layer = names("--only", "layers.1")
    assert {"layers.1.weight", "layers.1.bias", "linear"} <= set(layer)
    assert not {"layers.0.weight", "layers.2.weight", "x"} & set(layer)
    assert {"layers.1.weight", "layers.2.weight"} <= set(names("--only", "layers.[12]"))
    between = names("--only", "layers.2.weight", "--only", "layers.3.bias")
    assert "layers.2.weight" in between
    assert "layers.1.weight" not in between
    near = {radius: names("--around", "x", "--radius", radius) for radius in "012"}
    assert near["0"] == ["x"]
    assert sorted(near["1"]) == ["linear", "x"]
    assert sorted(near["2"]) == sorted(names("--around", "x"))
    assert len(near["2"]) == 5
    for options in (["--only", "nobody"], ["--around", "nobody"], ["--only", "x"]):
        line = failure("draw", "net.py:net", "--shapes", "float32:5,3", *options)
        assert f"net.py:net cannot be drawn: {options[0]}" in line  # the option, not a keyword
        assert "only=" not in line
        assert "around=" not in line


def test_draw_names_the_parameters_of_a_model(here: Path) -> None:
    Path("net.py").write_text(NET)
    for name in ("net", "net.forward"):
        found = drawn(f"net.py:{name}")
        assert "layers.0.weight" in {node["label"] for node in found["nodes"]}
        assert "layers.3" in {cluster["name"] for cluster in found["clusters"]}
    found = drawn("net.py:forward")
    assert {cluster["name"] for cluster in found["clusters"]} == {""}


def test_draw_tells_the_line_of_the_users_file(here: Path) -> None:
    line = LOSSES.splitlines().index("    error = target - prediction") + 1
    sources = {v["op"]: v["source"] for v in drawn("losses.py:quantile", shapes="();()")["nodes"]}
    assert sources["subtract"] == f"losses.py:{line}: error = target - prediction"
    assert sources["mean"].startswith(f"losses.py:{line + 1}: return np.mean(")
    assert sources[""] == ""


@pytest.mark.parametrize("name", ["g.html", "g.svg", "a folder/ü & #.html"])
def test_draw_opens_the_file_once_it_is_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name.endswith("svg"):
        needs_dot()
    opened = []

    def browser(uri: str) -> bool:
        opened.append((uri, (here / name).stat().st_size > 100))
        return True

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", browser)
    result = run("draw", "losses.py:quantile", "-o", name, "--open")
    assert (result.exit_code, result.stderr) == (0, "")
    assert opened == [((here / name).as_uri(), True)]


@pytest.mark.parametrize("has_display", [False, True])
def test_draw_says_where_the_file_is_when_there_is_no_browser(
    here: Path, monkeypatch: pytest.MonkeyPatch, has_display: bool
) -> None:
    asked = []
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    if has_display:
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "open", lambda uri: bool(asked.append(uri)))
    result = run("draw", "losses.py:quantile", "-o", "g.html", "--open")
    uri = (here / "g.html").as_uri()
    assert result.exit_code == 0
    assert result.stderr == (
        f"tinygrad-nn: warning: there is no browser to open it in; it is at {uri}\n"
    )
    # Without a display a text browser would be found, which takes the terminal.
    assert asked == ([uri] if has_display else [])
    assert "g.html: 9 nodes, 9 edges" in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="terminals are POSIX's")
@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_draw_in_a_terminal(here: Path, variables: dict[str, str], coloured: bool) -> None:
    status, text = in_a_terminal(["draw", "losses.py:quantile"], variables)
    assert status == 0
    assert b" mean" in text
    assert (b"\x1b[1;32mn" in text) is coloured
    assert (b"\x1b[" in text) is coloured


# --- demo ----------------------------------------------------------------------------------------


def test_demo(here: Path) -> None:
    result = process("demo", "--out", "shown")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    names = {p.name for p in (here / "shown").iterdir()}
    assert names - {"graph.svg"} == {
        "model.npz", "history.csv", "loss.png", "accuracy.png", "confusion.png", "mistakes.png",
        "graph.html", "graph.mmd", "graph.txt", "gradcheck.txt",
    }  # fmt: skip
    assert ("graph.svg" in names) == ("no graph.svg" not in result.stdout)
    for name in names:
        assert name in result.stdout
        if name.endswith(".png"):
            assert (here / "shown" / name).read_bytes().startswith(PNG)
    with (here / "shown/history.csv").open() as file:
        accuracy = float(list(csv.DictReader(file))[-1]["test_accuracy"])
    assert accuracy >= 0.96
    assert result.stdout.count("gradcheck: right") == 2
    assert "gradcheck: right" in (here / "shown/gradcheck.txt").read_text()
    for word in ("focal_loss", "log_softmax", "layers.1.weight", "MLP(64-256-10)"):
        assert word in (here / "shown/graph.mmd").read_text()
    # The terminal has the tree, in lines that fit, and the file all of its numbers.
    drawn = result.stdout.partition("Drawing the graph of one step\n")[2].partition("\n\n")[0]
    tree = drawn.partition("\nno graph.svg")[0]
    full = (here / "shown/graph.txt").read_text()
    assert len(tree.splitlines()) == len(full.splitlines())
    assert max(map(len, tree.splitlines())) <= 80
    for word in ("layers.1.weight  (256, 10) float32", "images", "focal_loss = negative"):
        assert word in tree
    for word in ("  grad min ", "  value min "):
        assert word in full
        assert word not in tree
    # The five seeds, and the model's own predictions, bear the figure out.
    line = next(x for x in result.stdout.splitlines() if x.startswith("five seeds: "))
    seeds = [float(x) for x in line.removeprefix("five seeds: ").split(", ")]
    assert seeds[0] == pytest.approx(accuracy, abs=1e-4)
    assert len(seeds) == 5
    assert min(seeds) >= 0.96
    rows = np.loadtxt(demo.DIGITS, delimiter=",", skiprows=1)
    model = SavedModel.load(here / "shown/model.npz")
    test = demo.plan().data.test
    right = model.predict(rows[test, :64]).astype(int) == rows[test, 64]
    assert right.mean() == pytest.approx(accuracy, abs=1e-5)


# --- the program itself --------------------------------------------------------------------------


def test_version_and_help() -> None:
    assert process("--version").stdout == f"tinygrad-nn, version {tinygrad_nn.__version__}\n"
    helped = run("--help")
    for command in ("train", "check", "draw", "demo"):
        assert f"\n  {command} " in helped.stdout
        assert run(command, "-h").exit_code == 0


def test_no_command_prints_the_help() -> None:
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == run("--help").stdout
    assert len(result.stderr.splitlines()) > 10


def test_import_loads_no_optional_dependency() -> None:
    code = (
        "import sys, tinygrad_nn, tinygrad_nn.cli\n"
        "print({'click', 'rich', 'matplotlib', 'graphviz', 'tinygrad_nn.job'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


@pytest.mark.parametrize("name", ["click", "rich"])
def test_without_the_extra(here: Path, name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None\nfrom tinygrad_nn.cli import main\nmain()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"tinygrad-nn: the command line needs {name}, which is not installed: "
        f"pip install 'tinygrad-nn[cli]'"
    ]


def test_without_matplotlib(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    line = failure("train", "flowers.csv", "--target", "kind")
    assert "tinygrad-nn[plot]" in line
    assert "--no-plots" in line
    args = ["train", "flowers.csv", "--target", "kind", "--epochs", 1, "--no-plots"]
    assert run(*args).exit_code == 0


def test_without_matplotlib_installed_nothing_else_needs_it(here: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "sys.argv = ['x', 'train', 'flowers.csv', '--target', 'kind', '--epochs', '1', "
        "'--no-plots']\nfrom tinygrad_nn.cli import main\nmain()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_interruption(here: Path) -> None:
    # Python ignores the signal if its parent does, as a shell's background jobs do.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tinygrad_nn.cli import main; main()"
    )
    arguments = ["train", "flowers.csv", "--target", "kind", "--epochs", "1000000", "--out", "half"]
    command = [sys.executable, "-u", "-c", code, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:  # training has begun
            if line.startswith("epoch"):
                break
        time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        try:
            _, errors = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 130
    assert errors.splitlines() == ["tinygrad-nn: interrupted; no file is left half-written"]
    assert left_behind(here) == set()


def test_output_in_a_poor_encoding(here: Path) -> None:
    text = Path("flowers.csv").read_text().replace("lily", "百合")
    Path("flowers.csv").write_text(text, encoding="utf-8")
    args = ["train", "flowers.csv", "--target", "kind", "--epochs", 1]
    result = process(*args, PYTHONIOENCODING="latin-1")
    assert result.returncode == 0, result.stderr
    assert "\\u767e" in result.stdout


def test_reader_that_leaves_early(here: Path) -> None:
    command = f"{sys.executable} -m tinygrad_nn check losses.py:one | head -n 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=here)
    assert "Traceback" not in result.stderr


def test_progress_bar_in_a_terminal(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(program.Console):
        def __init__(self) -> None:
            super().__init__(force_terminal=True, width=120)

    monkeypatch.setattr(program, "Console", Terminal)
    args = ["train", "flowers.csv", "--target", "kind", "--epochs", 2, "--no-plots"]
    result = run(*args)
    assert result.exit_code == 0, result.output
    assert "\x1b[" in result.stdout
    assert "epoch 2/2" in result.stdout
    assert "accuracy" in result.stdout
    assert "held-out loss" in result.stdout
