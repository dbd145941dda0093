"""What NumPy would achieve under other environment variables, tried in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from tinygrad_nn.doctor import rates
from tinygrad_nn.doctor.rates import Rates

__all__ = ["Change", "measured_under"]

#: Environment variables to set, or with None to remove.
Change = Mapping[str, str | None]

#: Seconds; a trial takes about one.
_PATIENCE = 20.0


def measured_under(change: Change) -> Rates | None:
    """Measure a new process's matrix products; ``None`` where that does not work here."""
    import subprocess  # which not every use of this package should wait for

    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for variable, value in change.items():
        if value is None:
            environment.pop(variable, None)
        else:
            environment[variable] = value
    if not sys.executable or getattr(sys, "frozen", False):
        return None  # there is no interpreter to start, only a program that holds one
    try:
        done = subprocess.run(
            [sys.executable, "-P", rates.__file__],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
        )
        return Rates(**json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None
