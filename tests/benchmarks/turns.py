"""Contenders that take turns, each in a process of its own.

A machine's speed drifts, and what else runs on it changes. So the contenders are asked one after
the other, round after round, each time for a twentieth of a second, and only times of the same
round are divided by each other.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Contender", "Found", "Targets", "arguments", "report", "serve", "take_turns"]

Step = Callable[[], Any]
#: Makes the step of a case, given by its name. The step returns the loss, or None if it has none.
Contender = Callable[[str], Step]
#: ``found[case][name]`` is a dict: "seconds", one number per round, and "loss"; or "unavailable",
#: the reason.
Found = dict[str, dict[str, dict[str, Any]]]
#: Per pair of contenders, what the first one's time should be at most, divided by the second's.
Targets = Mapping[tuple[str, str], Mapping[str, float]]

WINDOW = 0.05  # seconds of one measurement
# Seconds of steps before it: caches fill, and threads that slept get spread over the processors.
SETTLE = 0.2
# Seconds without work before that. A BLAS thread that has nothing to do spins on before it sleeps
# (OpenBLAS: 2 ** 26 cycles), and would hold a processor while the next contender is measured.
PAUSE = 0.05
QUIET = 0.3  # processors that others may keep busy; threads that wait for each other suffer most
WARM_UP = 1.0  # seconds of steps, at most WARM_UP_STEPS, before the first measurement
WARM_UP_STEPS = 100
UNITS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))


def arguments(doc: str, contenders: Iterable[str], rounds: int) -> argparse.ArgumentParser:
    """Return a parser of the options that every comparison has; `doc` is the script's docstring."""
    names = list(contenders)
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    option = parser.add_argument
    option("--rounds", type=int, default=rounds, help="times that each contender is asked")
    option("--threads", type=int, default=os.cpu_count() or 1)
    option("--coretype", help="kernel family for OpenBLAS; else the best known for this processor")
    listed = f"contenders, of: {', '.join(names)}"
    option("--only", nargs="+", choices=names, metavar="NAME", default=names, help=listed)
    option("--patience", type=float, default=120.0, help="seconds to get ready for a case in")
    option("--target", action="store_true", help="print ratios beside what they should be")
    option("--markdown", action="store_true", help="print tables in Markdown")
    option("--json", type=Path, metavar="FILE", help="write every measurement")
    option("--serve", choices=names, help=argparse.SUPPRESS)
    return parser


def best_coretype() -> str | None:
    """Return the OpenBLAS kernel family for a processor with AVX-512, if that is what this is."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    return "SkylakeX" if "avx512f" in flags and "avx512vl" in flags else None


def environment(threads: int, coretype: str | None) -> dict[str, str]:
    """Return the environment that all contenders are started in.

    NumPy's OpenBLAS may choose slower kernels than the processor has (AVX2 where AVX-512 is there).
    """
    found = dict(os.environ)
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        found[variable] = str(threads)
    found["JAX_PLATFORMS"] = "cpu"
    coretype = coretype or best_coretype()
    if coretype:
        found["OPENBLAS_CORETYPE"] = coretype
    return found


# ---- in a contender's process


def serve(contender: Contender, threads: int, compared: int) -> None:
    """Answer each line of standard input, a case's name, with a measurement of its step.

    The first answer for a case also has the loss of step number `compared`.
    """
    if hasattr(os, "sched_setaffinity"):
        # Not every contender lets its number of threads be set.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers, sys.stdout = sys.stdout, sys.stderr  # a library may print
    steps: dict[str, Step] = {}
    for line in sys.stdin:
        case = line.strip()
        answer: dict[str, Any] = {}
        try:
            if case not in steps:
                steps[case], answer["loss"] = _get_ready(contender(case), compared)
            answer["seconds"] = _measure(steps[case])
        except Exception as error:  # whatever keeps it from running is the answer
            answer = {"unavailable": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


def _get_ready(step: Step, compared: int) -> tuple[Step, float | None]:
    for _ in range(compared):
        loss = step()
    start = time.perf_counter()
    for _ in range(WARM_UP_STEPS):
        if time.perf_counter() - start > WARM_UP:
            break
        step()
    # micrograd's Value has no item(), but the number itself.
    read = getattr(loss, "item", lambda: loss.data)
    return step, None if loss is None else float(read())


def _measure(step: Step) -> float:
    """Return seconds per step."""
    _run(step, SETTLE, 1)
    once = _run(step, 0.0, 1)
    return _run(step, WINDOW, max(1, int(WINDOW / 10 / once)))


def _run(step: Step, seconds: float, at_once: int) -> float:
    count = 0
    start = time.perf_counter()
    while True:
        for _ in range(at_once):
            step()
        count += at_once
        passed = time.perf_counter() - start
        if passed >= seconds:
            return passed / count


# ---- in the process that asks


class _Server:
    """A contender's process, started when it is asked and does not run."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self.command, self.env = command, env
        self.process: subprocess.Popen[str] | None = None

    def ask(self, case: str, patience: float) -> dict[str, Any]:
        """Return its answer, or why there is none; it is stopped if it takes longer than that."""
        if self.process is None:
            pipe, none = subprocess.PIPE, subprocess.DEVNULL
            self.process = subprocess.Popen(
                self.command, stdin=pipe, stdout=pipe, stderr=none, text=True, env=self.env
            )
        timer = threading.Timer(patience, self.process.kill)
        timer.start()
        print(case, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        late = not timer.is_alive()
        timer.cancel()
        if line:
            return json.loads(line)
        self.close()
        return {"unavailable": f"no answer within {patience:g} s" if late else "its process ended"}

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()
            self.process = None


def take_turns(script: str, cases: Iterable[str], options: argparse.Namespace) -> Found:
    """Ask the contenders that the options name in turn; each is ``script --serve NAME``."""
    if hasattr(os, "getloadavg") and (busy := os.getloadavg()[0]) > QUIET:
        warning = (
            f"other programs keep {busy:.1f} processors busy, which slows some contenders more"
        )
        print(f"warning: {warning} than others", file=sys.stderr, flush=True)
    env = environment(options.threads, options.coretype)
    command = [sys.executable, script, "--threads", str(options.threads), "--serve"]
    servers = {name: _Server([*command, name], env) for name in options.only}
    found: Found = {}
    for case in cases:
        results: dict[str, dict[str, Any]] = {name: {} for name in servers}
        found[case] = results
        # The first round gets everybody ready and is not counted.
        for turn in range(options.rounds + 1):
            for name, result in results.items():
                if "unavailable" in result:
                    continue
                time.sleep(PAUSE)
                answer = servers[name].ask(case, options.patience)
                if "unavailable" in answer:
                    print(f"{name} is skipped for {case}", file=sys.stderr, flush=True)
                    results[name] = answer
                elif turn == 0:
                    result.update(seconds=[], loss=answer["loss"])
                else:
                    result["seconds"].append(answer["seconds"])
    for server in servers.values():
        server.close()
    return found


def _ratio(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Return the median of the ratios of neighbouring runs."""
    pairs = zip(ours["seconds"], theirs["seconds"], strict=True)
    return statistics.median(a / b for a, b in pairs)


def _duration(seconds: float) -> str:
    unit, size = next((u for u in UNITS if seconds >= u[1]), UNITS[-1])
    return f"{seconds / size:#.3g}".rstrip(".") + f" {unit}"


def _times(found: Found, names: Iterable[str]) -> list[list[str]]:
    return [
        [name]
        + [
            _duration(statistics.median(results[name]["seconds"])) if _ran(results, name) else "n/a"
            for results in found.values()
        ]
        for name in names
    ]


def _ran(results: Mapping[str, Any], *names: str) -> bool:
    return all("seconds" in results.get(name, {}) for name in names)


def _ratios(found: Found, targets: Targets) -> list[list[str]]:
    rows = []
    for (ours, theirs), limits in targets.items():
        row = [f"{ours} / {theirs}"]
        for case, results in found.items():
            limit = limits.get(case)
            # A thirtieth says more than 0.033.
            write = "{0:.3g}" if limit is None or limit >= 0.1 else "1/{1:.4g}"
            target = "none" if limit is None else write.format(limit, 1 / limit)
            measured, missed = "n/a", ""
            if _ran(results, ours, theirs):
                ratio = _ratio(results[ours], results[theirs])
                measured = write.format(ratio, 1 / ratio)
                missed = ", missed" if limit is not None and ratio > limit else ""
            row.append(f"{measured} (target {target}{missed})")
        rows.append(row)
    return rows


def _table(head: list[str], rows: list[list[str]], markdown: bool) -> str:
    """Set a table; all columns but the first are flush right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells))
    if markdown:
        rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines.insert(1, f"| {' | '.join(rules)} |")
    return "\n".join(lines)


def _disagreements(found: Found, tolerance: float) -> list[str]:
    """Say which losses are apart; the reference is their median."""
    said = []
    for case, results in found.items():
        losses = {name: r["loss"] for name, r in results.items() if r.get("loss") is not None}
        if not losses:
            continue
        middle = statistics.median_low(losses.values())
        said += [
            f"{case}: the loss of {name} is {loss:.9g}, the others' is {middle:.9g}"
            for name, loss in losses.items()
            if not abs(loss - middle) <= tolerance * abs(middle)
        ]
    return said


def report(
    options: argparse.Namespace,
    found: Found,
    *,
    title: str,
    targets: Targets,
    tolerance: float,
    packages: Iterable[str],
) -> None:
    """Print what was found, write it to --json; exit with status 1 if the losses do not agree."""
    described = machine(options, packages)
    for name, value in described.items():
        print(f"* {name}: {value}" if options.markdown else f"{name + ':':12}{value}")
    print()
    print(_table([title, *found], _times(found, options.only), options.markdown))
    if options.target:
        print()
        head = ["ratio of times, median of neighbours", *found]
        print(_table(head, _ratios(found, targets), options.markdown))
    missing = {
        f"{name}: n/a for {case}, {result['unavailable']}"
        for case, results in found.items()
        for name, result in results.items()
        if "unavailable" in result
    }
    disagreements = _disagreements(found, tolerance)
    for lines in (sorted(missing), disagreements):
        if lines:
            print("\n" + "\n".join(lines))
    if options.json:
        written = {"machine": described, "rounds": options.rounds, "found": found}
        temporary = options.json.with_name(options.json.name + ".part")
        temporary.write_text(json.dumps(written, indent=1))
        temporary.replace(options.json)
    if disagreements:
        sys.exit(1)


def machine(options: argparse.Namespace, packages: Iterable[str]) -> dict[str, str]:
    """Describe the machine and what runs on it, so that a table of times means something."""
    env = environment(options.threads, options.coretype)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    asked = env.get("OPENBLAS_CORETYPE", "not set")
    return {
        "processor": cpu,
        "cores": str(os.cpu_count()),
        "threads": str(options.threads),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "BLAS": f"{_blas(env)}, OPENBLAS_CORETYPE {asked}",
        "versions": ", ".join(f"{package} {version}" for package, version in versions.items()),
    }


def _blas(env: Mapping[str, str]) -> str:
    """Name NumPy's BLAS and the kernels that it takes in this environment."""
    ask = (
        "import numpy; b = numpy.show_config(mode='dicts')['Build Dependencies']['blas'];"
        "print(b['name'], b['version'])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", ask],
        env={**env, "OPENBLAS_VERBOSE": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    cores = {
        x.split(":", 1)[1].strip()
        for x in (answer.stdout + answer.stderr).splitlines()
        if x.startswith("Core:")
    }
    return " ".join(
        [answer.stdout.splitlines()[-1], *(f"({core} kernels)" for core in sorted(cores))]
    )
