"""From a graph of scalar nodes to a program of vectors and matrix products."""

from tinygrad_nn.plan.scalars.graph import ScalarGraph, extract
from tinygrad_nn.plan.scalars.levels import Schedule, schedule
from tinygrad_nn.plan.scalars.program import Program, vectorise

__all__ = ["Program", "ScalarGraph", "Schedule", "extract", "schedule", "vectorise"]
