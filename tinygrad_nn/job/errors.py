"""The error of a job that cannot be done with what the user gave, and text fit to be shown."""

from __future__ import annotations

from tinygrad_nn.errors import TinygradError

__all__ = ["JobError", "shown"]


class JobError(TinygradError, ValueError):
    """A job cannot be done as asked; the message names the file, line or column at fault."""


def shown(text: object, *, lines: bool = False) -> str:
    r"""Return text from a user so that it cannot steer a terminal.

    Control characters, direction overrides and what cannot be encoded become escapes.

    Parameters
    ----------
    text : object
        Whatever ``str`` takes.
    lines : bool
        Keep line breaks.

    Examples
    --------
    >>> from tinygrad_nn.job.errors import shown
    >>> print(shown("red\x1b[31m\nrest"))
    red\x1b[31m\nrest
    """
    return "".join(
        c if c.isprintable() or (lines and c == "\n") else c.encode("unicode_escape").decode()
        for c in str(text)
    )
