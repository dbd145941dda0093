"""`doctor`: what the installed NumPy does on this machine, and what would make it faster."""

from __future__ import annotations

import os
import platform
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tinygrad_nn.doctor import openblas, rates, trial
from tinygrad_nn.doctor.advice import Advice, Circumstances, advise
from tinygrad_nn.doctor.kernels import AVX512_KERNELS
from tinygrad_nn.doctor.openblas import OpenBLAS
from tinygrad_nn.doctor.processor import Processor, cpuinfo, this_processor
from tinygrad_nn.doctor.rates import MIDDLE, Rates

__all__ = ["Report", "doctor"]

#: Beginnings of environment variables that NumPy and BLAS libraries read.
_VARIABLES = ("OPENBLAS_", "GOTO_", "OMP_", "MKL_", "BLIS_", "VECLIB_", "NPY_", "NUMPY_")

_WIDTH = 98
_MARGIN = 13


@dataclass(frozen=True, repr=False)
class Report:
    """What `doctor` found; `print` shows it.

    Attributes
    ----------
    numpy, python, system : str
        Versions, and the name of the platform.
    library, library_version : str
        The BLAS that NumPy was built with, by the name that NumPy gives it.
    blas : OpenBLAS or None
        What the loaded OpenBLAS says of itself; ``None`` for other libraries, which are not asked.
    processor : Processor
    simd : tuple of str
        Vector extensions that NumPy's own loops use here.
    environment : mapping of str to str
        Variables that NumPy and BLAS libraries read.
    rates : Rates
        Measured in this process.
    advice : list of Advice
        What was faster when tried; empty where nothing was.
    """

    numpy: str
    python: str
    system: str
    library: str
    library_version: str
    blas: OpenBLAS | None
    processor: Processor
    simd: tuple[str, ...]
    environment: Mapping[str, str]
    rates: Rates
    advice: list[Advice]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dictionaries, lists, strings and numbers, as JSON has them."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_item(name, text) for name, text in self._items())

    __repr__ = __str__

    def _items(self) -> Iterator[tuple[str, str]]:
        yield "NumPy", f"{self.numpy}, Python {self.python}, {self.system}"
        yield "BLAS", " ".join(filter(None, [self.library or "not known", self.library_version]))
        yield from self._loaded()
        processor = self.processor
        yield "processor", processor.name
        yield "extensions", " ".join(processor.extensions) or "not known"
        yield "NumPy's SIMD", " ".join(self.simd) or "not known"
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        yield "environment", "\n".join(environment) or "nothing set that NumPy or its BLAS reads"
        m, k, n = MIDDLE
        yield (
            "products",
            (
                f"large: {self.rates.float32:.0f} GFLOP/s in float32, {self.rates.float64:.0f} in "
                f"float64\n({m}, {k}) @ ({k}, {n}): {self.rates.middle:.0f} GFLOP/s in float32\n"
                f"(16, 16) @ (16, 16): {self.rates.call:.0f} ns in float32"
            ),
        )
        yield "advice", "\n".join(map(str, self.advice)) or "none: nothing that was tried is faster"

    def _loaded(self) -> Iterator[tuple[str, str]]:
        cores = f"this process may use {self.processor.usable} of {self.processor.cores} cores"
        if self.blas is None:
            yield "kernels", "not known: only OpenBLAS is asked"
            yield "threads", f"not known; {cores}"
        else:
            vectors = " (AVX-512)" if self.blas.core.lower() in AVX512_KERNELS else ""
            version = ".".join(map(str, self.blas.version))
            yield "kernels", f"for {self.blas.core}{vectors}, in OpenBLAS {version} as loaded"
            yield "threads", f"{self.blas.threads} ({self.blas.threading}); {cores}"


def _item(name: str, text: str) -> str:
    indent = " " * _MARGIN
    wrapped = [
        textwrap.fill(line, _WIDTH, initial_indent=indent, subsequent_indent=indent,
                      break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    ]  # fmt: skip
    return f"{name:<{_MARGIN}}" + "\n".join(wrapped)[_MARGIN:]


def doctor(*, trials: bool = True) -> Report:
    """Report what the installed NumPy does on this machine, and what would make it faster.

    A report names the BLAS library, and for OpenBLAS the processor whose kernels it chose and
    its threads, as the loaded library gives them; the processor; the environment variables that
    matter; and measured rates of matrix products. Nothing is changed: BLAS libraries read their
    settings when they are loaded, so advice is for the next process. It takes about a second,
    and three to five more where there are settings to try.

    Parameters
    ----------
    trials : bool
        Whether settings that may help are tried in new processes. Settings are advised only if
        matrix products were at least 15 % faster with them, so without trials none are.

    Returns
    -------
    Report
        Printed, it is a table; ``advice`` is a list and ``to_dict()`` is for JSON.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> report = tg.doctor(trials=False)
    >>> report.rates.float32 > 0
    True
    """
    # "dicts" gives the facts, where the default prints them; NumPy's stubs differ on its type.
    config: Any = np.show_config(mode="dicts")
    library = config.get("Build Dependencies", {}).get("blas", {})
    here = Circumstances(
        library=library.get("name", ""),
        blas=openblas.loaded(),
        processor=this_processor(),
        cpuinfo=cpuinfo(),
        environment=dict(os.environ),
    )
    simd = config.get("SIMD Extensions", {})
    return Report(
        numpy=np.__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        library=here.library,
        library_version=library.get("version", ""),
        blas=here.blas,
        processor=here.processor,
        simd=(*simd.get("baseline", ()), *simd.get("found", ())),
        environment={n: v for n, v in sorted(os.environ.items()) if n.startswith(_VARIABLES)},
        rates=rates.measure(),
        advice=advise(here, trial.measured_under if trials else lambda change: None),
    )
