"""Time an eager training step against PyTorch's, on the same arrays, in turn.

Prints, for each size, the median time of both and the median of the ratios of neighbouring runs,
beside what it should be.

    make bench                      (installs PyTorch, then runs this)
    python tests/benchmarks/eager_step.py --rounds 60 --threads 1
"""

from __future__ import annotations

import turns
from contenders import CASES, COMPARED, TOLERANCE, contender

OURS, THEIRS = "tinygrad_nn eager", "PyTorch eager"
#: What our time should be, divided by PyTorch's. A network that is bound by its matrix products
#: has none: there the engine does not matter.
TARGETS = {(OURS, THEIRS): dict(zip(CASES, (0.45, 0.45, 0.75), strict=False))}


def main() -> None:
    parser = turns.arguments(__doc__, (OURS, THEIRS), rounds=20)
    parser.set_defaults(target=True)
    options = parser.parse_args()
    if options.serve:
        turns.serve(contender(options.serve), options.threads, COMPARED)
        return
    turns.report(
        options,
        turns.take_turns(__file__, TARGETS[OURS, THEIRS], options),
        title="time of an eager step",
        targets=TARGETS,
        tolerance=TOLERANCE,
        packages=("numpy", "torch"),
    )


if __name__ == "__main__":
    main()
