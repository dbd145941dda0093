"""An autodiff micro-engine on NumPy: write losses, check gradients, draw computation graphs.

`Value` (one Python float) and `Tensor` (one array) record what is computed from them;
``backward()`` fills in the gradients. NumPy's own functions work on tensors. On the engine stand
`nn` (modules), `losses`, `optim`, `gradcheck` and `draw`; `scalar` holds the same networks one
number at a time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinygrad_nn import autograd, losses, nn, optim, scalar
from tinygrad_nn.activations import (
    ACTIVATIONS,
    elu,
    gelu,
    gelu_tanh,
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
from tinygrad_nn.anomaly import detect_anomaly, set_detect_anomaly
from tinygrad_nn.errors import (
    AnomalyError,
    CaptureError,
    GradcheckError,
    LossError,
    MissingExtraError,
    NotDifferentiableError,
    ShapeError,
    StaleGraphError,
    TinygradError,
)
from tinygrad_nn.functional_update import put_along_axis
from tinygrad_nn.graph import Node, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from tinygrad_nn.primitive import Primitive, primitive
from tinygrad_nn.rules.special import entr, erf, erfc, xlogy
from tinygrad_nn.selection import where
from tinygrad_nn.tensor import Tensor, tensor
from tinygrad_nn.transforms import (
    elementwise_grad,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    stop_gradient,
    value_and_grad,
    vjp,
)
from tinygrad_nn.tree import tree_map
from tinygrad_nn.value import Value, add_n

if TYPE_CHECKING:
    from tinygrad_nn.audit import check_loss, disconnected
    from tinygrad_nn.doctor import doctor
    from tinygrad_nn.draw import Drawing, draw, draw_dot, make_dot, trace
    from tinygrad_nn.gradcheck import GradcheckReport, check_grads, gradcheck
    from tinygrad_nn.plan.compiled import compile  # PyTorch's name
    from tinygrad_nn.plots import (
        GradientFlow,
        plot_activations,
        plot_decision_boundary,
        plot_gradient_flow,
        plot_history,
    )

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS", "AnomalyError", "CaptureError", "Drawing", "GradcheckError",
    "GradcheckReport", "GradientFlow", "LossError",
    "MissingExtraError", "Node", "NotDifferentiableError", "Primitive", "ShapeError",
    "StaleGraphError", "Tensor", "TinygradError", "Value", "add_n", "autograd", "check_grads",
    "check_loss", "compile", "detect_anomaly", "disconnected", "doctor", "draw", "draw_dot",
    "elementwise_grad",
    "elu", "enable_grad", "entr", "erf", "erfc", "gelu", "gelu_tanh", "grad", "gradcheck",
    "hard_tanh", "hessian", "hvp", "is_grad_enabled", "jacfwd", "jacobian", "jacrev", "jvp",
    "leaky_relu", "log_sigmoid", "log_softmax", "logsumexp", "losses", "make_dot", "nn",
    "no_grad", "optim", "plot_activations", "plot_decision_boundary", "plot_gradient_flow",
    "plot_history", "primitive", "put_along_axis", "relu", "scalar", "selu",
    "set_detect_anomaly", "set_grad_enabled", "sigmoid", "silu", "softmax", "softplus",
    "stop_gradient", "tanh", "tensor", "trace", "tree_map", "value_and_grad", "vjp", "where",
    "xlogy",
]  # fmt: skip

# Names whose packages are imported when they are first used.
_LAZY = {
    "Drawing": "draw", "draw": "draw", "draw_dot": "draw", "make_dot": "draw", "trace": "draw",
    "GradcheckReport": "gradcheck", "check_grads": "gradcheck", "gradcheck": "gradcheck",
    "check_loss": "audit", "disconnected": "audit", "compile": "plan.compiled",
    "doctor": "doctor",
    "GradientFlow": "plots", "plot_activations": "plots", "plot_decision_boundary": "plots",
    "plot_gradient_flow": "plots", "plot_history": "plots",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_LAZY[name]}")
    return module if name == _LAZY[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__", "__version__"])
