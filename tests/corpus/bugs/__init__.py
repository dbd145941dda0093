"""Kinds of bug in a derivative rule, or in a function."""

from . import contract, higher, points, ties, upstream, values
from .bug import Bug

#: One module to each part of a rule that can be wrong.
ROOMS = {
    "values": values, "upstream": upstream, "points": points, "ties": ties,
    "contract": contract, "second order": higher,
}  # fmt: skip

KINDS: dict[str, Bug] = {kind: bug for room in ROOMS.values() for kind, bug in room.KINDS.items()}

__all__ = ["KINDS", "ROOMS", "Bug"]
