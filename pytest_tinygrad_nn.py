"""The pytest plugin of tinygrad_nn: the fixture `gradcheck`.

pytest imports this file in every project of everybody who has tinygrad_nn installed. It is no
part of the package, because importing the package imports NumPy and the engine, which takes
hundreds of times as long; the fixture does so when a test asks for it.
"""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pytest

__all__ = ["gradcheck"]


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Check gradients: `tinygrad_nn.gradcheck`, seeded by the test's name.

    The name is that of the file and the test, so that the same test is checked in the same way
    wherever pytest is started. A failure shows the test's own lines and the report, an
    error of the function the function's too; one that begins in the checker is shown in full.
    """
    import tinygrad_nn
    from tinygrad_nn.gradcheck import gradcheck as check

    _, _, test = request.node.nodeid.partition("::")
    seed = zlib.crc32(f"{request.node.path.name}::{test}".encode())
    folder = os.path.join(os.path.dirname(tinygrad_nn.__file__), "")

    @functools.wraps(check)
    def checked(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        try:
            return check(*args, **{"rng": seed} | options)
        except Exception as error:
            known = isinstance(error, tinygrad_nn.TinygradError)
            traceback = _outside(folder, error.__traceback__, known)
            raise error.with_traceback(traceback)  # noqa: B904  # the same error, not a new one

    return checked


def _outside(folder: str, traceback: TracebackType | None, known: bool) -> TracebackType | None:
    """Leave out the frames of files in a folder, unless an error that is not known began there."""
    frames = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    inside = [entry.tb_frame.f_code.co_filename.startswith(folder) for entry in frames]
    kept: TracebackType | None = None
    for entry, left_out in reversed(list(zip(frames, inside, strict=True))[1:]):  # 0 is `checked`
        if not left_out or (inside[-1] and not known):
            kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept
