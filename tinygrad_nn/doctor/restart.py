"""Starts the command-line program anew with faster kernels, where OpenBLAS's choice falls short.

OpenBLAS reads ``OPENBLAS_CORETYPE`` when it is loaded, and by the time that this runs NumPy has
loaded it; so it takes a new process. Only then is what OpenBLAS chooses known, though, and where
that is right, as it mostly is, nothing is started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile

from tinygrad_nn.doctor import openblas
from tinygrad_nn.doctor.kernels import CORETYPE, coretype
from tinygrad_nn.doctor.processor import cpuinfo

__all__ = ["FLAG", "OPT_OUT", "permitted", "restart"]

FLAG = "--no-reexec"

#: Not to be restarted: set by whoever wants none, and for the process that was.
OPT_OUT = "TINYGRAD_NN_NO_REEXEC"

_PROGRAM = ("tinygrad-nn", "tinygrad_nn")

#: Reports what NumPy does for everybody's programs, this one's help aside.
_AS_IT_IS = "doctor"


def restart(arguments: Sequence[str]) -> None:
    """Replace this process by one with faster kernels, if there are any; else return.

    Arguments, input, output and folder stay as they are.

    Parameters
    ----------
    arguments : sequence of str
        Those of the program, without its name.
    """
    if not permitted(sys.platform, sys.orig_argv, arguments, os.environ):
        return
    chosen = coretype(cpuinfo(), os.environ, openblas.loaded())
    if chosen is None:
        return
    environment = os.environ | {CORETYPE: chosen, OPT_OUT: "1"}
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError:
        return  # slower is better than not at all


def permitted(
    system: str, command: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str]
) -> bool:
    """Return whether this process may be replaced.

    Parameters
    ----------
    system : str
        ``sys.platform``; the facts are known on Linux only.
    command : sequence of str
        The whole command line, interpreter included. It must be this program's: a process that
        only calls the program's ``main`` has more to do.
    arguments : sequence of str
        Those of the program, without its name.
    environment : mapping of str to str
    """
    at = len(command) - len(arguments)
    options = list(takewhile(lambda argument: argument.startswith("-"), arguments))
    task = arguments[len(options) : len(options) + 1]
    return (
        system == "linux"
        and at > 1
        and list(command[at:]) == list(arguments)
        and os.path.basename(command[at - 1]) in _PROGRAM
        and not environment.get(OPT_OUT)
        and FLAG not in options
        and bool(task)
        and task[0] != _AS_IT_IS
    )
