"""Where in the user's program something was computed."""

from __future__ import annotations

import linecache
import os
import sys
from types import FrameType
from typing import NamedTuple

import numpy as np

__all__ = ["SourceLine", "source_line"]

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
#: NumPy calls back into this package, so its frames may stand in between.
_LIBRARIES = (_PACKAGE, _NUMPY)

#: Where the functions are that a user calls to compute a model or a loss; what lies below these is
#: the engine, whose functions tell a user nothing.
_FAMILIAR = tuple(
    _PACKAGE + name
    for name in ("activations.py", "losses.py", "optim.py", "scalar.py", "nn" + os.sep)
)


class SourceLine(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str
    within: str | None  # the function of this package that the line has called, if one is known

    @property
    def text(self) -> str:
        """The line itself, or nothing where the source is not at hand."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        place = f'File "{self.file}", line {self.line}, in {self.function}'
        if self.within:
            place += f", which called {self.within}"
        return f"{place}\n    {self.text}" if self.text else place


def source_line() -> SourceLine:
    """Return the innermost line of the stack that is outside this package and NumPy.

    Only the stack is walked; the text of the line is read when it is asked for.
    """
    frame: FrameType | None = sys._getframe(1)
    within = None
    while True:
        assert frame is not None
        code = frame.f_code
        file = code.co_filename
        if not file.startswith(_LIBRARIES) or frame.f_back is None:
            return SourceLine(file, frame.f_lineno, code.co_name, within)
        if within is None and file.startswith(_FAMILIAR):
            within = _called(frame)
        frame = frame.f_back


def _called(frame: FrameType) -> str:
    """Name the function of a frame; a method by the class of its object, not of its definition."""
    code = frame.f_code
    if code.co_varnames[:1] == ("self",):
        return f"{type(frame.f_locals['self']).__name__}.{code.co_name}"
    return code.co_name
