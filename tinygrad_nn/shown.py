"""Text from users, fit to be shown."""

from __future__ import annotations

__all__ = ["shown"]


def shown(text: object, *, lines: bool = False) -> str:
    r"""Return text from a user so that it cannot steer a terminal, nor the direction of a label.

    Control characters, direction overrides and what cannot be encoded become escapes.

    Parameters
    ----------
    text : object
        Whatever ``str`` takes.
    lines : bool
        Keep line breaks.

    Returns
    -------
    str

    Examples
    --------
    >>> from tinygrad_nn.shown import shown
    >>> print(shown("red\x1b[31m\nrest"))
    red\x1b[31m\nrest
    """
    return "".join(
        c if c.isprintable() or (lines and c == "\n") else c.encode("unicode_escape").decode()
        for c in str(text)
    )
