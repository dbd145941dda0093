"""Hold gradient checkers against functions of known gradient, and mistakes planted in their rules.

Printed is a Markdown table. *Right* are the mistakes that are rejected where the right function is
accepted; false alarms are right functions that are rejected; evaluations are those of the right
functions. With --resolution: the least relative error, the same everywhere, that is rejected.

    OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests python tests/benchmarks/gradcheck_field.py
    ... gradcheck_field.py --checkers ours --kinds "g ignored" sign
    ... gradcheck_field.py --checkers ours torch --resolution
    ... gradcheck_field.py --unseen
    ... gradcheck_field.py --afresh
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from corpus import AFRESH, CASES, KINDS, PER_KIND, UNSEEN, Case, Mutant, Score, drawn, score
from corpus.scoring import Check
from gradcheck_contenders import CHECKERS


def resolution(check: Check, cases: Sequence[Case], seed: int = 0) -> dict[str, float]:
    """The smallest 1, 2 or 5 times a power of ten that each smooth function's factor 1 + e shows.

    Left out are functions whose right version is rejected, and those without a gradient.
    """
    found = {}
    for case in cases:
        y = np.asarray(case.forward(*case.at(case.point)))
        if case.group != "smooth" or not y.size or not check(case, seed):
            continue
        least = math.inf
        for e in (m * 10.0**-k for k in range(1, 16) for m in (5, 2, 1)):
            if check(_scaled(case, 1.0 + e), seed):
                break
            least = e
        found[case.name] = least
    return found


def _scaled(case: Case, by: float) -> Case:
    rules = [rule and (lambda *args, r=rule: by * r(*args)) for rule in case.rules]
    return dataclasses.replace(case, rules=rules)


Task = tuple[str, list[str], list[tuple[str, str, int, int]], Sequence[int]]


def _run(task: Task) -> Score:
    """One checker on some functions and their mutants; names travel, since lambdas cannot."""
    name, cases, planted, seeds = task
    known = CASES | UNSEEN | AFRESH
    rebuilt = [Mutant(known[case], *rest) for case, *rest in planted]
    return score(CHECKERS[name][1], [known[case] for case in cases], rebuilt, seeds)


def measure(
    name: str, cases: Sequence[Case], planted: Sequence[Mutant], seeds: Sequence[int], jobs: int
) -> Score:
    """Share the functions out, each with its own mutants."""
    shares: list[Task] = []
    for case in cases:
        own = [(m.case.name, m.kind, m.position, m.order) for m in planted if m.case is case]
        shares.append((name, [case.name], own, seeds))
    if jobs <= 1:
        return sum(map(_run, shares), Score())
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        return sum(pool.imap(_run, shares), Score())


def row(title: str, found: Score, seeds: int) -> str:
    alarms = " / ".join(f"{found.alarms[g] / seeds:g}" for g in ("smooth", "kink", "float32"))
    return (
        f"| {title} | {100.0 * found.right / max(found.total, 1):.1f} % | {alarms} | "
        f"{statistics.median(found.evaluations):,.0f} / {sum(found.evaluations) / seeds:,.0f} | "
        f"{1e3 * statistics.median(found.seconds):.1f} ms |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkers", nargs="*", default=list(CHECKERS), choices=list(CHECKERS))
    parser.add_argument("--kinds", nargs="*", help="these kinds of bug alone")
    parser.add_argument("--limit", type=int, help="so many functions alone")
    apart = parser.add_mutually_exclusive_group()
    apart.add_argument("--unseen", action="store_true", help="functions not tuned on, instead")
    apart.add_argument("--afresh", action="store_true", help="functions not looked at, instead")
    parser.add_argument("--per-kind", type=int, default=PER_KIND, help="mutants of each kind")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", help="a file for all that was counted")
    parser.add_argument("--resolution", action="store_true", help="the least error caught, instead")
    options = parser.parse_args()
    chosen = UNSEEN if options.unseen else AFRESH if options.afresh else CASES
    cases = list(chosen.values())[: options.limit]
    if options.resolution:
        print("| checker | functions | best | median | worst |\n|---|---|---|---|---|")
        for name in options.checkers:
            title, check = CHECKERS[name]
            least = sorted(resolution(check, cases).values()) or [math.inf]
            print(f"| {title} | {len(least)} | {least[0]:.0e} | "
                  f"{statistics.median(least):.0e} | {least[-1]:.0e} |", flush=True)  # fmt: skip
        return
    if unknown := set(options.kinds or ()) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    planted = list(drawn(cases, options.per_kind, options.kinds or KINDS))
    seeds = range(options.seeds)
    counts = Counter(case.group for case in cases)
    print(f"{len(cases)} functions, {len(planted):,} mutants\n")
    print(
        f"| checker | right | false alarms: of {counts['smooth']} smooth / {counts['kink']} kinked "
        f"/ {counts['float32']} float32 | evaluations of f, median / total | median time |\n"
        f"|---|---|---|---|---|"
    )
    scores = {}
    for name in options.checkers:
        scores[name] = measure(name, cases, planted, seeds, options.jobs)
        print(row(CHECKERS[name][0], scores[name], options.seeds), flush=True)
        if options.json:  # as they come, since the whole takes long
            text = {name: vars(found) for name, found in scores.items()}
            Path(options.json).write_text(json.dumps(text, indent=1))
    for name, found in scores.items():
        if found.false:
            print(f"\n{name} rejects: {', '.join(found.false)}")
        missed = ", ".join(f"{kind} ({n} of {found.planted[kind]})"
                           for kind, n in found.missed.most_common())  # fmt: skip
        print(f"\n{name} misses: {missed or 'nothing'}")


if __name__ == "__main__":
    main()
