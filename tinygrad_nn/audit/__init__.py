"""Audits: what is wrong with a loss function, and what a loss does not reach in a model."""

from tinygrad_nn.audit.check import check_loss
from tinygrad_nn.audit.connection import Disconnected, Disconnection, disconnected
from tinygrad_nn.audit.report import LossFinding, LossReport

__all__ = ["Disconnected", "Disconnection", "LossFinding", "LossReport", "check_loss",
           "disconnected"]  # fmt: skip
