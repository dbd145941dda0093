"""From a description to a smaller one: clusters folded to boxes, or a part of the graph alone."""

from tinygrad_nn.draw.folding.boxes import boxes
from tinygrad_nn.draw.folding.fold import choose, fold, fold_to, in_runs
from tinygrad_nn.draw.folding.kinds import kinds
from tinygrad_nn.draw.folding.ordering import runs

__all__ = ["boxes", "choose", "fold", "fold_to", "in_runs", "kinds", "runs"]
