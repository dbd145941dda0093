"""The processor: its name, its vector extensions, and how much of it this process may use."""

from __future__ import annotations

import math
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Processor", "cpuinfo", "flags", "this_processor"]

_CPUINFO = Path("/proc/cpuinfo")
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

#: Names that Linux gives to vector extensions.
_VECTORS = re.compile(r"sse4_2|avx\w*|fma|amx\w*|neon|asimd\w*|sve\w*|sme\d?")


@dataclass(frozen=True)
class Processor:
    """The processor of this machine.

    Attributes
    ----------
    name : str
        As the processor gives it, or else the name of the architecture.
    extensions : tuple of str
        Vector extensions by Linux's names; empty where they are not known.
    cores : int
        Those of the machine, counting hardware threads.
    usable : int
        Those that this process may run on: fewer in a container, or where a process is bound.
    """

    name: str
    extensions: tuple[str, ...]
    cores: int
    usable: int


def this_processor() -> Processor:
    """Return the processor that this process runs on."""
    text = cpuinfo()
    name = _field(text, "model name") or platform.processor() or platform.machine()
    extensions = sorted(f for f in flags(text) if _VECTORS.fullmatch(f))
    cores = os.cpu_count() or 1
    return Processor(name, tuple(extensions), cores, _usable(cores))


def cpuinfo() -> str:
    """Return what Linux says of the first core; ``""`` on other systems."""
    lines = []
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.strip():
                    break
                lines.append(line)
    except OSError:
        return ""
    return "".join(lines)


def flags(text: str) -> frozenset[str]:
    """Return a processor's features, by the names in ``/proc/cpuinfo``."""
    return frozenset((_field(text, "flags") or _field(text, "Features")).split())


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _usable(cores: int) -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    bound = len(affinity(0)) if affinity else cores
    return min(bound, _quota() or bound)


def _quota() -> int | None:
    """Return how many cores' worth of time a container gets, rounded up; None: no limit."""
    try:
        quota, period = _CPU_MAX.read_text("ascii").split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or "max"
        return None
