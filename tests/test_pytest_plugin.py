"""The pytest plugin, in projects of its users: what a failure shows, seeds, and what it costs."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

import pytest_tinygrad_nn
import tinygrad_nn as tg

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that writes files, runs pytest on them, and returns its output."""

    def pytest_on(*options: str, folder: str = ".", **files: str) -> str:
        for name, text in files.items():
            path = tmp_path / folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        done = subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    return pytest_on


# --- what a failure shows ------------------------------------------------------------------------

FAILING = """
import numpy as np
import tinygrad_nn as tg


@tg.primitive(elementwise=True, rules=[lambda g, y, x: g * np.cos(3.0 * x)])
def wave(x):
    return np.sin(3.0 * x)


def stops(x):
    return float(x)


def helper(gradcheck, f):
    gradcheck(f, np.array([0.3, 1.0]))


def test_right(gradcheck):
    assert gradcheck(np.sin, np.array([0.3, 1.0]))
    assert not gradcheck(wave, np.array([0.3, 1.0]), raise_exception=False)


def test_wrong(gradcheck):
    gradcheck(wave, np.array([0.3, 1.0]))  # the line of the test


def test_in_a_helper(gradcheck):
    helper(gradcheck, wave)


def test_stops(gradcheck):
    gradcheck(stops, np.array([0.3]))
"""


def failure(output: str, test: str) -> str:
    """Return what pytest shows of one failing test."""
    return re.split(r"\n_{2,} \w+ _{2,}\n|\n=+ short test", output.partition(f"_ {test} _")[2])[0]


@pytest.mark.parametrize("style", ["auto", "short", "native"])
def test_a_failure_shows_the_report_and_the_line_of_the_test(run, style):
    output = run(f"--tb={style}", test_it=FAILING)
    assert "3 failed, 1 passed" in output
    engine = str(Path(tg.__file__).parent)
    assert engine not in output
    assert os.path.join("tinygrad_nn", "") not in output
    wrong = failure(output, "test_wrong")
    assert "gradcheck(wave, np.array([0.3, 1.0]))  # the line of the test" in wrong
    for part in (
        r"GradcheckError: gradcheck: WRONG: 2 of 2 derivatives$",
        r"  element +analytic +numerical +error +tolerance +verdict$",
        r"  x\[1\] .* wrong\b",
        r"checked all 2 elements of 1 input",
    ):
        assert re.search(part, wrong, re.MULTILINE), part
    if style != "native":  # Python's own, which knows no hidden frames
        assert "pytest_tinygrad_nn" not in output
    helped = failure(output, "test_in_a_helper")
    assert helped.index("helper(gradcheck, wave)") < helped.index("gradcheck(f, np.array")
    stopped = failure(output, "test_stops")
    assert "return float(x)" in stopped
    assert "NotDifferentiableError" in stopped


@tg.primitive(elementwise=True, rules=[lambda g, y, x: g * np.cos(3.0 * x)])
def wave(x):
    return np.sin(3.0 * x)


def test_the_error_carries_the_report_and_no_frame_of_the_engine(gradcheck):
    with pytest.raises(tg.GradcheckError) as caught:
        gradcheck(wave, np.array([0.3, 1.0]))
    assert caught.value.report.of("wrong")
    files = [Path(str(entry.path)).name for entry in caught.traceback]
    assert files == [Path(__file__).name, "pytest_tinygrad_nn.py"]


def test_what_fails_in_the_checker_itself_is_shown_in_full(gradcheck):
    with pytest.raises(ValueError, match="order must be 1 or 2") as caught:
        gradcheck(wave, np.array([0.3, 1.0]), order=3)
    assert str(caught.traceback[-1].path).startswith(str(Path(tg.__file__).parent))


def test_an_error_of_the_function_shows_it_and_nothing_before_it(gradcheck):
    def fails(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        gradcheck(fails, np.array([0.3, 1.0]))
    files = [Path(str(entry.path)).name for entry in caught.traceback]
    assert files == [Path(__file__).name, "pytest_tinygrad_nn.py", Path(__file__).name]


def test_the_fixture_has_the_signature_of_gradcheck(gradcheck):
    assert inspect.signature(gradcheck) == inspect.signature(tg.gradcheck)


# --- seeds ---------------------------------------------------------------------------------------

CONFTEST = """
import tinygrad_nn.gradcheck


def tell(f, *, rng):
    print(f"seed {f} {rng}")


tinygrad_nn.gradcheck.gradcheck = tell
"""
SEEDS = """
import pytest


@pytest.mark.parametrize("a", ["x/y", "z"])
def test_one(gradcheck, a):
    gradcheck(f"one-{a}")


def test_two(gradcheck):
    gradcheck("two")
    gradcheck("again")
    gradcheck("given", rng=5)
"""


def told(output: str, word: str) -> dict[str, str]:
    return dict(re.findall(rf"^\.*{word} (\S+) (\S+)", output, re.MULTILINE))


def test_seeds_are_of_the_test_alone(run):
    seeds = told(run("-sq", "test_a.py", conftest=CONFTEST, test_a=SEEDS), "seed")
    assert seeds["given"] == "5"
    assert seeds["two"] == seeds["again"]
    assert len({seeds[name] for name in ("one-x/y", "one-z", "two")}) == 3
    # ... wherever pytest is started, and whatever else runs
    options = ("-sq", "below", "-k", "two")
    selected = told(run(*options, folder="below", test_a=SEEDS), "seed")
    assert selected["two"] == seeds["two"]
    assert "one-z" not in selected


CASES = """
import tinygrad_nn as tg


@tg.gradcheck.cases(tg.relu, shapes=[(3,), ()], dtypes=["float64", "float32"], at=["away", "kink"])
def test_relu(gradcheck, x, request):
    assert gradcheck(tg.relu, x)
    print(f"input {request.node.name} {x.tobytes().hex()}")
"""


def test_cases_get_the_same_inputs_when_only_some_are_run(run):
    everything = told(run("-sq", test_cases=CASES), "input")
    assert list(everything) == [
        f"test_relu[{shape}-{dtype}-{at}]"
        for shape in ("3", "0d")
        for dtype in ("float64", "float32")
        for at in ("away", "kink")
    ]
    assert len(set(everything.values())) == len(everything)
    some = told(run("-sq", "-k", "float32 and kink", test_cases=CASES), "input")
    assert some == {name: everything[name] for name in everything if "float32-kink" in name}


# --- beside others -------------------------------------------------------------------------------

OWN = """
import pytest


@pytest.fixture
def gradcheck():
    return "own"


def test_own(gradcheck):
    assert gradcheck == "own"
"""
PLAIN = """
import sys


def test_nothing_is_imported():
    assert not {"numpy", "tinygrad_nn"} & set(sys.modules)
"""


def test_a_fixture_of_ones_own_wins(run):
    assert "1 passed" in run(test_own=OWN)
    fixture, _, test = OWN.partition("\n\n\ndef test_own")
    assert "1 passed" in run("test_own.py", conftest=fixture, test_own=f"def test_own{test}")


def test_projects_without_gradients_pay_for_nothing(run):
    assert "1 passed" in run(test_plain=PLAIN)


def test_the_page_shows_what_pytest_prints(run):
    page = Path(__file__).parent.parent / "docs" / "gradients-in-your-tests.md"
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    tests = "\n".join(text for kind, text in found if kind == "python")
    (console,) = (text for kind, text in found if kind == "console")
    expected = console.partition("\n")[2]
    printed = run("-k", "huber or wave or products or cross_entropy", test_waves=tests)
    checker = doctest.OutputChecker()
    assert checker.check_output(expected, printed, doctest.ELLIPSIS), printed
    assert "1 failed, 24 passed" in printed


def test_the_plugin_can_be_left_out(run):
    output = run("-p", "no:tinygrad_nn", test_it=FAILING, test_own=OWN)
    assert "fixture 'gradcheck' not found" in output
    assert "1 passed, 4 errors" in output


def test_pytest_finds_it():
    (found,) = {e.value for e in entry_points(group="pytest11", name="tinygrad_nn")}
    assert found == pytest_tinygrad_nn.__name__
