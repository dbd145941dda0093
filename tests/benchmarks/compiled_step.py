"""Time a compiled training step against other engines, NumPy by hand, and its matrix products.

Every contender works on the same arrays in a process of its own, and they are asked in turn (see
`turns`). Printed are median times of a step; with --target also medians of the ratios of
neighbouring runs, beside what they should be. The losses after the same number of steps are
compared: if they do not agree, the exit status is 1.

    make bench                      (installs the other engines, then runs this)
    python tests/benchmarks/compiled_step.py --target --rounds 60 --threads 1
    python tests/benchmarks/compiled_step.py --sizes 64-32-10 --only "jax.jit" "PyTorch eager"
"""

from __future__ import annotations

import turns
from contenders import CASES, COMPARED, CONTENDERS, TOLERANCE, contender

#: What the compiled step's time should be, divided by that of each contender.
TARGETS = {
    ("tinygrad_nn compiled", name): dict(zip(CASES, ratios, strict=True))
    for name, ratios in {
        "PyTorch eager": (0.20, 0.20, 0.55, 0.60),
        "jax.jit": (0.60, 0.50, 0.80, 1.0),
        "hand-written NumPy": (0.70, 0.70, 0.95, 1.0),
        "matrix products alone": (3.5, 3.3, 1.6, 1.15),
    }.items()
}


def main() -> None:
    parser = turns.arguments(__doc__, CONTENDERS, rounds=20)
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=[""],
        metavar="START",
        help=f"only the cases that start so, of: {'; '.join(CASES)}",
    )
    options = parser.parse_args()
    if options.serve:
        turns.serve(contender(options.serve), options.threads, COMPARED)
        return
    cases = [case for case in CASES if case.startswith(tuple(options.sizes))]
    if not cases:
        parser.error(f"no case starts with {options.sizes}; there are: {'; '.join(CASES)}")
    turns.report(
        options,
        turns.take_turns(__file__, cases, options),
        title="time of a step",
        targets=TARGETS,
        tolerance=TOLERANCE,
        packages=("numpy", "torch", "jax", "mygrad", "autograd"),
    )


if __name__ == "__main__":
    main()
