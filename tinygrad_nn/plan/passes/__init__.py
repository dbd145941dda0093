"""What is done to a tape before it is built: functions ``Tape -> Tape``, in this order."""

from tinygrad_nn.plan.passes.bias import biases_joined
from tinygrad_nn.plan.passes.cse import common_subexpressions
from tinygrad_nn.plan.passes.dead import dead_code
from tinygrad_nn.plan.passes.folding import constants_folded
from tinygrad_nn.plan.passes.labels import labels_known
from tinygrad_nn.plan.passes.opening import opened
from tinygrad_nn.plan.passes.pieces import pieces_joined
from tinygrad_nn.plan.passes.rewriting import rewritten
from tinygrad_nn.plan.passes.snapshots import snapshots_taken

__all__ = ["PASSES"]

PASSES = (
    dead_code,
    opened,
    constants_folded,
    common_subexpressions,
    rewritten,
    constants_folded,
    common_subexpressions,
    labels_known,
    pieces_joined,
    biases_joined,
    dead_code,
    snapshots_taken,
)
