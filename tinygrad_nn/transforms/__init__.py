"""Functions of functions: gradients, products with Jacobians, Jacobians and Hessians.

A function is run once on tensors, and the graph that it leaves behind is walked back or forward.
The signatures are JAX's. Transforms nest. What they return are plain arrays, unless it depends on a
tensor outside that requires a gradient: then it is a tensor, recorded, to be differentiated again.
"""

from tinygrad_nn.transforms.gradient import (
    elementwise_grad,
    grad,
    stop_gradient,
    value_and_grad,
)
from tinygrad_nn.transforms.jacobian import hessian, jacfwd, jacobian, jacrev
from tinygrad_nn.transforms.products import hvp, jvp, vjp

__all__ = [
    "elementwise_grad", "grad", "hessian", "hvp", "jacfwd", "jacobian", "jacrev", "jvp",
    "stop_gradient", "value_and_grad", "vjp",
]  # fmt: skip
