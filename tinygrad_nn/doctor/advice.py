"""Advice: settings that may make NumPy faster, kept only where a trial shows that they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from tinygrad_nn.doctor.kernels import CORETYPE, coretype, fall_short
from tinygrad_nn.doctor.openblas import OpenBLAS
from tinygrad_nn.doctor.processor import Processor
from tinygrad_nn.doctor.rates import MIDDLE, Rates, better
from tinygrad_nn.doctor.trial import Change

__all__ = ["Advice", "Circumstances", "advise"]

#: How much faster a setting must be; repeated runs differ by some percent.
_GAIN = 1.15

#: Trials of each setting: whatever else runs on the machine for a moment slows only some.
_ROUNDS = 2

_THREADS = "OPENBLAS_NUM_THREADS"


@dataclass(frozen=True)
class Advice:
    """A setting that makes NumPy faster here.

    Attributes
    ----------
    text : str
        What is the matter, what to do about it, and what that gave when tried.
    environment : mapping of str to str or None
        Variables to set, or with ``None`` to remove, before NumPy is imported.
    before, after : Rates or None
        What processes without and with the setting measured.
    """

    text: str
    environment: Mapping[str, str | None]
    before: Rates | None = None
    after: Rates | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Circumstances:
    """What advice depends on.

    Attributes
    ----------
    library : str
        The BLAS that NumPy was built with, by the name that NumPy gives it.
    blas : OpenBLAS or None
        What the loaded library says of itself.
    processor : Processor
    cpuinfo : str
        What ``/proc/cpuinfo`` says of a core.
    environment : mapping of str to str
    """

    library: str
    blas: OpenBLAS | None
    processor: Processor
    cpuinfo: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class _Candidate:
    text: str
    change: Change
    rate: str  # a field of Rates
    of: str


_LARGE = "large products in float32"


def _no_avx512(here: Circumstances) -> Iterator[_Candidate]:
    chosen = coretype(here.cpuinfo, here.environment, here.blas)
    if chosen and here.blas:
        yield _Candidate(
            f"OpenBLAS chose its {here.blas.core} kernels on a processor with AVX-512. Set "
            f"{CORETYPE}={chosen} before NumPy is imported.",
            {CORETYPE: chosen}, "float32", _LARGE,
        )  # fmt: skip


def _avx512_forbidden(here: Circumstances) -> Iterator[_Candidate]:
    setting = here.environment.get(CORETYPE)
    if setting is not None and fall_short(here.cpuinfo, here.blas):
        yield _Candidate(
            f"{CORETYPE}={setting} in the environment keeps OpenBLAS from the processor's "
            f"AVX-512. Remove that variable before NumPy is imported.",
            {CORETYPE: None}, "float32", _LARGE,
        )  # fmt: skip


def _too_many_threads(here: Circumstances) -> Iterator[_Candidate]:
    cores = here.processor.usable
    if here.blas and here.blas.threads > cores:
        yield _Candidate(
            f"OpenBLAS runs {here.blas.threads} threads where this process may use {cores} of "
            f"the cores. Set {_THREADS}={cores} before NumPy is imported.",
            {_THREADS: str(cores)}, "float32", _LARGE,
        )  # fmt: skip


def _one_thread(here: Circumstances) -> Iterator[_Candidate]:
    if here.blas and here.blas.threads > 1:
        m, k, n = MIDDLE
        yield _Candidate(
            f"Products of a small network are faster on one thread than on {here.blas.threads}, "
            f"which wait for one another, long where other programs keep the cores busy. Where "
            f"your networks are small, set {_THREADS}=1 before NumPy is imported.",
            {_THREADS: "1"}, "middle", f"({m}, {k}) @ ({k}, {n}) in float32",
        )  # fmt: skip


_CANDIDATES: tuple[Callable[[Circumstances], Iterator[_Candidate]], ...] = (
    _no_avx512,
    _avx512_forbidden,
    _too_many_threads,
    _one_thread,
)


def advise(here: Circumstances, measured_under: Callable[[Change], Rates | None]) -> list[Advice]:
    """Return the advice that holds here.

    Parameters
    ----------
    here : Circumstances
    measured_under : callable
        Measures a process under other environment variables, as `trial.measured_under` does.
    """
    candidates = [c for rule in _CANDIDATES for c in rule(here)]
    # All in new processes, so that they differ in the setting alone.
    before, *after = _best([{}, *(c.change for c in candidates)], measured_under)
    pairs = zip(candidates, after, strict=True)
    tried = (_judge(candidate, before, rates) for candidate, rates in pairs)
    return [*_without_blas(here), *(advice for advice in tried if advice)]


def _best(
    changes: Sequence[Change], measured_under: Callable[[Change], Rates | None]
) -> list[Rates | None]:
    """Return the best rates under each change, of several rounds, the changes taking turns."""
    best: list[Rates | None] = [None] * len(changes)
    if len(changes) > 1:
        for _, (i, change) in product(range(_ROUNDS), enumerate(changes)):
            best[i] = better(best[i], measured_under(change))
    return best


def _judge(candidate: _Candidate, before: Rates | None, after: Rates | None) -> Advice | None:
    if before is None or after is None:
        return None
    old, new = getattr(before, candidate.rate), getattr(after, candidate.rate)
    if new < _GAIN * old:
        return None
    text = f"{candidate.text} Tried here, {candidate.of}: {new:.0f} GFLOP/s, not {old:.0f}."
    return Advice(text, dict(candidate.change), before, after)


def _without_blas(here: Circumstances) -> Iterator[Advice]:
    if here.library in {"", "none"} and here.blas is None:
        yield Advice(
            "NumPy was built without a BLAS library, which makes matrix products slow. Install "
            "a build that has one, such as the wheels on PyPI: "
            "pip install --force-reinstall --only-binary numpy numpy",
            {},
        )
