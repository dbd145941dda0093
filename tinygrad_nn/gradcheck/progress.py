"""A progress bar for checks that take their time, on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from tinygrad_nn.errors import MissingExtraError
from tinygrad_nn.gradcheck.constants import PATIENCE

__all__ = ["progress_bar"]

#: Seconds between two looks of the bar: nobody sees more, and drawing takes time.
_PERIOD = 0.1


@contextmanager
def progress_bar(wanted: bool | None) -> Iterator[_Bar]:
    """Return what is told how much is done; on leaving, whichever way, the bar is removed.

    Parameters
    ----------
    wanted : bool or None
        None shows it only where somebody watches, and never by a test's output.

    Raises
    ------
    MissingExtraError
        If it is wanted, and rich is not installed.
    """
    if wanted and find_spec("rich") is None:
        raise MissingExtraError("a progress bar needs rich: pip install 'tinygrad-nn[cli]'")
    bar = _Bar(_watched() if wanted is None else wanted)
    try:
        yield bar
    finally:
        bar.close()


def _watched() -> bool:
    """Whether there is somebody to see a bar, and something to draw it with."""
    if "PYTEST_CURRENT_TEST" in os.environ or find_spec("rich") is None:
        return False
    if type(sys.stderr).__module__ == "ipykernel.iostream":
        return find_spec("ipywidgets") is not None  # without it, rich warns and draws nothing
    return sys.stderr is not None and sys.stderr.isatty()


class _Bar:
    """Told how much is done; nothing is imported or drawn before it is due."""

    def __init__(self, shown: bool) -> None:
        self._due = perf_counter() + PATIENCE if shown else float("inf")
        self._live: Any = None

    def __call__(self, done: int, total: int) -> None:
        now = perf_counter()
        if now < self._due:
            return
        self._due = now + _PERIOD
        if self._live is None:
            self._open(done, total)
        else:
            self._live.update(self._live.task_ids[0], completed=done, total=total, refresh=True)

    def _open(self, done: int, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress

        self._live = Progress(
            "gradcheck", BarColumn(), MofNCompleteColumn(), "lines",
            console=Console(stderr=True), transient=True, auto_refresh=False,
            # What the function prints must not go to stderr with the bar, if a file waits for it.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )  # fmt: skip
        self._live.add_task("", completed=done, total=total)
        self._live.start()

    def close(self) -> None:
        """Remove the bar; it does not come back."""
        self._due = float("inf")
        if self._live is not None:
            self._live.stop()
