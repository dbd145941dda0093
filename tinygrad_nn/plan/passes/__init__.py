"""What is done to a tape before it is built: functions ``Tape -> Tape``, in this order."""

from tinygrad_nn.plan.passes.dead import dead_code
from tinygrad_nn.plan.passes.opening import opened

__all__ = ["PASSES"]

PASSES = (dead_code, opened, dead_code)
