"""The progress bar: late, only where somebody watches, and gone when the check is over."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.gradcheck import gradcheck, progress
from tinygrad_nn.gradcheck.constants import PATIENCE
from tinygrad_nn.gradcheck.progress import progress_bar


class Terminal(io.StringIO):
    """What a terminal would be sent."""

    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> list[str]:
        """The lines that are left on the screen: a bar erases itself with these two codes."""
        text = self.getvalue().rpartition("\x1b[2K")[2]
        return [line for line in text.replace("\x1b[?25h", "").splitlines() if line.strip()]


@pytest.fixture
def clock(monkeypatch) -> Iterator[list[float]]:
    """A clock that stands still unless it is moved."""
    now = [100.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: now[0])
    return now


def _terminal(monkeypatch) -> Terminal:
    """Make stderr a terminal, outside of pytest; no fixture, since pytest sets both per phase."""
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return stderr


def test_a_quick_check_shows_nothing(clock, monkeypatch):
    terminal = _terminal(monkeypatch)
    with progress_bar(None) as told:
        for done in range(5):
            told(done, 5)
            clock[0] += PATIENCE / 6
    clock[0] += PATIENCE
    told(5, 5)  # too late
    assert terminal.getvalue() == ""


def test_a_slow_check_shows_a_bar_and_removes_it(clock, monkeypatch):
    terminal = _terminal(monkeypatch)
    with progress_bar(None) as told:
        told(1, 7)
        clock[0] += PATIENCE
        told(2, 7)
        assert "gradcheck" in terminal.getvalue()
        assert "2/7" in terminal.getvalue()
        clock[0] += 1.0
        told(3, 9)
        assert "3/9" in terminal.getvalue()
        assert terminal.screen
    assert not terminal.screen
    clock[0] += PATIENCE
    told(4, 9)  # nobody should, and nothing comes back
    assert "4/9" not in terminal.getvalue()


def test_it_is_not_drawn_more_often_than_one_sees(clock, monkeypatch):
    terminal = _terminal(monkeypatch)
    with progress_bar(True) as told:
        clock[0] += PATIENCE
        told(0, 1000)
        drawn = len(terminal.getvalue())
        for done in range(1, 1000):
            told(done, 1000)
        assert len(terminal.getvalue()) == drawn


def test_it_is_removed_if_the_check_raises(clock, monkeypatch):
    terminal = _terminal(monkeypatch)
    calls = []

    def f(x: Any) -> Any:
        calls.append(x)
        clock[0] += 1.0
        if len(calls) > 60:
            raise KeyboardInterrupt
        return np.sum(np.sin(x))

    stdout = sys.stdout
    with pytest.raises(KeyboardInterrupt):
        gradcheck(f, np.linspace(0.1, 1.0, 30))
    assert "gradcheck" in terminal.getvalue()
    assert not terminal.screen
    assert (sys.stderr, sys.stdout) == (terminal, stdout)
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize("order", [1, 2])
def test_gradcheck_tells_it(clock, order, monkeypatch):
    terminal = _terminal(monkeypatch)

    def f(x: Any) -> Any:
        clock[0] += 1.0
        return np.sum(np.sin(x))

    x = np.linspace(0.1, 1.0, 5)
    shown = gradcheck(f, x, order=order)
    assert "/5" in terminal.getvalue()
    length = len(terminal.getvalue())
    quiet = gradcheck(f, x, order=order, progress=False)
    assert len(terminal.getvalue()) == length
    assert shown.to_dict() == quiet.to_dict()


def test_no_bar_without_a_terminal(clock, monkeypatch, capsys):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    with progress_bar(None) as told:
        clock[0] += 10.0
        told(1, 2)
    assert capsys.readouterr() == ("", "")


def test_no_bar_without_stderr(clock, monkeypatch):
    """As for programs with a window on Windows."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar(None) as told:
        clock[0] += 10.0
        told(1, 2)


def test_no_bar_among_dots_of_pytest(clock, monkeypatch):
    terminal = _terminal(monkeypatch)
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "this one")
    with progress_bar(None) as told:
        clock[0] += 10.0
        told(1, 2)
    assert terminal.getvalue() == ""
    with progress_bar(True) as told:
        clock[0] += 10.0
        told(1, 2)
    assert "1/2" in terminal.getvalue()


@pytest.mark.parametrize(("widgets", "shown"), [(True, True), (False, False)])
def test_a_notebook_needs_widgets(monkeypatch, widgets, shown):
    class OutStream(io.StringIO):
        __module__ = "ipykernel.iostream"

    monkeypatch.setattr(sys, "stderr", OutStream())
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr(
        progress, "find_spec", lambda name: name == "rich" or widgets or None
    )  # fmt: skip
    assert bool(progress._watched()) is shown


def test_without_rich(clock, monkeypatch):
    terminal = _terminal(monkeypatch)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    with pytest.raises(tg.MissingExtraError, match=r"tinygrad-nn\[cli\]"):
        gradcheck(np.sin, 1.0, progress=True)
    with progress_bar(None) as told:
        clock[0] += 10.0
        told(1, 2)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("to_file", [True, False])
def test_what_the_function_prints_goes_where_it_went(clock, monkeypatch, to_file):
    terminal = _terminal(monkeypatch)
    stdout = io.StringIO() if to_file else terminal
    monkeypatch.setattr(sys, "stdout", stdout)
    with progress_bar(True) as told:
        clock[0] += PATIENCE
        told(1, 2)
        print("from the function")
    assert "from the function\n" in stdout.getvalue()
    assert ("from the function" in terminal.getvalue()) is not to_file


def test_rich_is_not_imported_before_it_is_due(clock, monkeypatch):
    _terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich.progress", None)  # importing it would fail
    with progress_bar(True) as told:
        told(1, 2)
        clock[0] += PATIENCE
        with pytest.raises(ImportError):
            told(2, 2)


def test_the_first_thing_seen_is_where_it_stands(clock, monkeypatch):
    terminal = _terminal(monkeypatch)
    with progress_bar(True) as told:
        clock[0] += PATIENCE
        told(3, 64)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert re.match(r"gradcheck \S+ +3/64 lines", plain)
