"""From what the user gave to a subject: a function, a model, or a function beside a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_nn.gradcheck.graph_subject import function_subject, model_subject
from tinygrad_nn.gradcheck.inputs import NATIVE
from tinygrad_nn.gradcheck.pair import pair_subject
from tinygrad_nn.gradcheck.subject import Subject

__all__ = ["build_subject"]


def build_subject(
    f: Any, inputs: Any, names: Sequence[str] | None, dtype: str,
    loss: Callable[..., Any] | None, gradient: Callable[..., Any] | None,
    vjp: Callable[..., Any] | None,
) -> Subject:  # fmt: skip
    """Return what is to be checked; refuse what makes no sense. See `gradcheck`."""
    if not callable(f):
        raise TypeError(f"gradcheck takes a function or a model, got {type(f).__name__}")
    if isinstance(f, type) and hasattr(f, "parameters"):
        raise TypeError(f"gradcheck takes a model, got its class: make one, {f.__name__}(...)")
    is_model = hasattr(f, "parameters")
    if loss is not None and not is_model:
        raise TypeError("loss= is for models; for a function, check lambda x: loss(f(x))")
    if inputs is None:
        raise TypeError("gradcheck needs inputs: gradcheck(f, inputs), inputs one or a tuple")
    if dtype not in ("float64", NATIVE):
        raise ValueError(f'dtype must be "float64" or "native" (as the inputs are), got {dtype!r}')
    if gradient is not None and vjp is not None:
        raise TypeError("give either gradient= or vjp=, not both")
    for keyword, function in (("gradient", gradient), ("vjp", vjp)):
        if function is not None and not callable(function):
            raise TypeError(f"{keyword}= is a function of the inputs, got {function!r}")
    if (gradient is not None or vjp is not None) and loss is not None:
        raise TypeError("loss= is for models whose gradient the engine computes")
    if gradient is not None or vjp is not None:
        return pair_subject(f, inputs, names, dtype, gradient, vjp)
    if is_model:
        return model_subject(f, loss, inputs, names, dtype)
    return function_subject(f, inputs, names, dtype)
