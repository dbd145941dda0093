"""What the OpenBLAS that NumPy calls says of itself.

How NumPy was built says little about what runs: a system's BLAS can be exchanged beneath it, and
OpenBLAS chooses its kernels only when it is loaded. So the library itself is asked.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["OpenBLAS", "loaded"]

#: What ``openblas_get_parallel`` answers.
_THREADING = {0: "none", 1: "pthreads", 2: "OpenMP"}

#: NumPy's wheels bear SciPy's prefix; builds for 64-bit integers bear a suffix.
_NAMES = tuple(product(("scipy_openblas", "openblas"), ("64_", "_64", "")))


@dataclass(frozen=True)
class OpenBLAS:
    """The library as it was loaded.

    Attributes
    ----------
    version : tuple of int
        Empty where it is not known.
    dynamic : bool
        Whether it holds kernels for several processors and chooses among them.
    core : str
        The processor whose kernels it chose, such as ``"Haswell"``.
    threads : int
        Threads for one product.
    threading : str
        ``"pthreads"``, ``"OpenMP"`` or ``"none"``.
    """

    version: tuple[int, ...]
    dynamic: bool
    core: str
    threads: int
    threading: str

    @staticmethod
    def of(config: str, core: str, threads: int, parallel: int) -> OpenBLAS:
        """Make one from the answers of ``openblas_get_config``, ``_corename`` and so on."""
        number = re.search(r"OpenBLAS (\d+(?:\.\d+)*)", config)
        version = tuple(map(int, number[1].split("."))) if number else ()
        return OpenBLAS(
            version,
            "DYNAMIC_ARCH" in config.split(),
            core,
            threads,
            _THREADING.get(parallel, "not known"),
        )


def loaded() -> OpenBLAS | None:
    """Return the OpenBLAS that NumPy calls; ``None`` where it calls another library."""
    for library in _libraries():
        for prefix, suffix in _NAMES:
            if hasattr(library, f"{prefix}_get_config{suffix}"):
                return _ask(library, prefix, suffix)
    return None


def _libraries() -> Iterator[ctypes.CDLL]:
    """Yield what to look for OpenBLAS's functions in.

    On Linux and macOS a name sought in NumPy's extension module is found in what that module is
    linked to, which is just the library that NumPy calls. Windows looks in one file alone.
    """
    extension = sys.modules["numpy.linalg._umath_linalg"].__file__
    beside = Path(np.__file__).parent.parent / "numpy.libs"
    files = sorted(beside.glob("*openblas*.dll")) if sys.platform == "win32" else [extension]
    for file in files:
        try:
            yield ctypes.CDLL(str(file))
        except OSError:
            continue


def _ask(library: ctypes.CDLL, prefix: str, suffix: str) -> OpenBLAS:
    def call(name: str, result: Any, missing: Any) -> Any:
        function = getattr(library, f"{prefix}_get_{name}{suffix}", None)
        if function is None:
            return missing
        function.restype, function.argtypes = result, []
        return function()

    return OpenBLAS.of(
        call("config", ctypes.c_char_p, b"").decode("ascii", "replace"),
        call("corename", ctypes.c_char_p, b"Unknown").decode("ascii", "replace"),
        call("num_threads", ctypes.c_int, 1),
        call("parallel", ctypes.c_int, -1),
    )
