"""An autodiff micro-engine on NumPy: write losses, check gradients, draw computation graphs.

`Value` (one Python float) and `Tensor` (one array) record what is computed from them;
``backward()`` fills in the gradients. NumPy's own functions work on tensors. On the engine stand
`nn` (modules), `losses`, `optim`, `gradcheck` and `draw`; `scalar` holds the same networks one
number at a time.
"""

from tinygrad_nn import losses, nn, optim, scalar
from tinygrad_nn.activations import (
    ACTIVATIONS,
    elu,
    gelu,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    logsumexp,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from tinygrad_nn.errors import (
    GradcheckError,
    LossError,
    MissingExtraError,
    NotDifferentiableError,
    ShapeError,
    StaleGraphError,
    TinygradError,
)
from tinygrad_nn.graph import Node, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from tinygrad_nn.primitive import Primitive, primitive
from tinygrad_nn.tensor import Tensor, tensor
from tinygrad_nn.value import Value, add_n

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS", "GradcheckError", "LossError", "MissingExtraError", "Node",
    "NotDifferentiableError", "Primitive", "ShapeError", "StaleGraphError", "Tensor",
    "TinygradError", "Value", "add_n", "elu", "enable_grad", "gelu", "hard_tanh",
    "is_grad_enabled", "leaky_relu", "log_sigmoid", "log_softmax", "logsumexp", "losses", "nn",
    "no_grad", "optim", "primitive", "relu", "scalar", "selu", "set_grad_enabled", "sigmoid",
    "silu", "softmax", "softplus", "tanh", "tensor",
]  # fmt: skip
