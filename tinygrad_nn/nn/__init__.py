"""Modules on tensors, and initial values for their parameters."""

from tinygrad_nn.nn import init
from tinygrad_nn.nn.dropout import Dropout
from tinygrad_nn.nn.layers import MLP, Layer, Linear, Neuron, NeuronView, Sequential
from tinygrad_nn.nn.module import Module

__all__ = [
    "MLP", "Dropout", "Layer", "Linear", "Module", "Neuron", "NeuronView", "Sequential", "init",
]  # fmt: skip
