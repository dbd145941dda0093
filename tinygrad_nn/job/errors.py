"""The error of a job that cannot be done with what the user gave."""

from __future__ import annotations

from tinygrad_nn.errors import TinygradError
from tinygrad_nn.shown import shown

__all__ = ["JobError", "shown"]


class JobError(TinygradError, ValueError):
    """A job cannot be done as asked; the message names the file, line or column at fault."""
