"""The program ``tinygrad-nn``, also ``python -m tinygrad_nn``; see `job.program`."""

from __future__ import annotations

import sys
from typing import Any

from tinygrad_nn.doctor.restart import restart

__all__ = ["main"]

_EXTRA = {"click", "rich"}


def main() -> None:
    """Run the program on the arguments of this process, and end the process."""
    restart(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the program.
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        from tinygrad_nn.job.program import program
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in _EXTRA:
            raise
        sys.exit(_missing(name))
    except KeyboardInterrupt:
        print("tinygrad-nn: interrupted", file=sys.stderr)
        sys.exit(130)
    program(prog_name="tinygrad-nn")


def _missing(name: str) -> int:
    print(
        f"tinygrad-nn: the command line needs {name}, which is not installed: "
        f"pip install 'tinygrad-nn[cli]'",
        file=sys.stderr,
    )
    return 2
