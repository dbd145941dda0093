"""Whether what is printed may be in colour."""

from __future__ import annotations

import os
import sys

__all__ = ["shows_colour"]


def shows_colour() -> bool:
    """Whether standard output is a terminal whose user has not declined colours.

    Users decline by the variable NO_COLOR, set to anything but nothing [1]_, or a TERM of "dumb".

    .. [1] https://no-color.org
    """
    declined = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not declined and sys.stdout is not None and sys.stdout.isatty()
