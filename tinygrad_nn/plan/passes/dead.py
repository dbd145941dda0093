"""Remove what nobody looks at."""

from __future__ import annotations

from tinygrad_nn.plan.tape import Tape

__all__ = ["dead_code"]


def dead_code(tape: Tape) -> Tape:
    """Remove instructions whose results reach no output, no write and no assumption."""
    live = set(tape.results)
    kept = []
    for instruction in reversed(tape.instructions):
        if instruction.out in live or instruction.has_effect:
            kept.append(instruction)
            live.update(instruction.inputs)
    return tape.with_instructions(kept[::-1])
