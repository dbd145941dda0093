"""What usually helps where a number becomes nan or infinite: a table, first match first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_nn.graph import Node

__all__ = ["BACKWARD", "FORWARD", "Anomaly", "remedy"]


@dataclass(frozen=True)
class Anomaly:
    """What is known of a number that became nan or infinite.

    Numbers are those at the place of the first such element where the primitive is elementwise,
    and whole arrays otherwise.
    """

    primitive: str
    args: Sequence[Any]  # nodes and constants, as the primitive got them
    inputs: Sequence[Any]
    y: Any
    discarded: bool = False  # whether the result goes into a np.where that does not select it

    def __getitem__(self, i: int) -> Any:
        return self.inputs[i]


Case = tuple[str, Callable[[Anomaly], Any], str]

# --- what an argument was made by ----------------------------------------------------------------

#: Primitives that hand numbers on as they are.
_CARRIERS = frozenset(
    ["getitem", "pick", "take_along_axis", "reshape", "ravel", "squeeze", "expand_dims",
     "transpose", "moveaxis", "swapaxes", "broadcast_to", "copy", "astype"]
)  # fmt: skip
_SUMS = frozenset(["sum", "mean", "add", "add_n"])


def _made(a: Any) -> tuple[str, Sequence[Any]]:
    """Return the primitive that made the numbers that `a` carries, and its arguments, if any."""
    while isinstance(a, Node) and a.primitive is not None:
        if a.primitive.name not in _CARRIERS:
            return a.primitive.name, a.args
        a = a.args[0]
    return "", ()


def _made_by(a: Any, *names: str) -> bool:
    return _made(a)[0] in names


def _is_square(a: Any) -> bool:
    name, args = _made(a)
    twice = len(args) == 2 and args[0] is args[1]
    return name == "square" or (name in ("multiply", "matmul") and twice) or (
        name == "power" and np.ndim(args[1]) == 0 and not isinstance(args[1], Node) and args[1] == 2
    )  # fmt: skip


def _is_sum_of_squares(a: Any) -> bool:
    name, args = _made(a)
    if name not in _SUMS:
        return name == "matmul" and _is_square(a)
    terms, seen = list(args), set()
    while terms:  # of a sum that may be long: a + b + c + ...
        b = terms.pop()
        if _is_square(b):
            return True
        if _made_by(b, "add") and id(b) not in seen:
            seen.add(id(b))
            terms += _made(b)[1]
    return False


def _is_sum_of_exponentials(a: Any) -> bool:
    name, args = _made(a)
    return name in _SUMS and any(_made_by(b, "exp") for b in args)


def _any(condition: Any) -> bool:
    return bool(np.any(condition))


# --- the remedies ---------------------------------------------------------------------------------

_WHERE = "tinygrad_nn.where(condition, f, g, x), with functions f and g,"
_UNSELECTED = (
    f"If np.where discards this element further on, {_WHERE} computes each branch only where it "
    f"is selected."
)
_LOG_SOFTMAX = "log(softmax(x)) loses small probabilities to 0: use tinygrad_nn.log_softmax(x)."
_LOG_SIGMOID = "log(sigmoid(x)) loses small probabilities to 0: use tinygrad_nn.log_sigmoid(x)."
_LOGSUMEXP = "use tinygrad_nn.logsumexp(x), which subtracts the maximum first."
_NORM = (
    "The root of a sum of squares has no derivative at 0: use np.linalg.norm(x), whose "
    "subgradient there is 0."
)
_STD = "The root of a variance has no derivative at 0: use np.std(x), whose subgradient there is 0."
_ROOT = (
    "The slope is infinite at 0: keep the argument away from it (x + 1e-12, or np.clip), or write "
    "tinygrad_nn.where(x > 0, np.sqrt, 0.0, x)."
)
_LOG_ZERO = (
    "The logarithm of 0 is -inf: limit the argument (np.clip(x, 1e-12, None)); where x log(y) with "
    "x = 0 is meant to be 0, write tinygrad_nn.where(x > 0, lambda x, y: x * np.log(y), 0.0, x, y)."
)

#: Primitive, when, and the remedy; for results.
FORWARD: tuple[Case, ...] = (
    ("log", lambda a: _made_by(a.args[0], "softmax"), _LOG_SOFTMAX),
    ("log", lambda a: _made_by(a.args[0], "sigmoid"), _LOG_SIGMOID),
    ("log", lambda a: _is_sum_of_exponentials(a.args[0]), "For log(sum(exp(x))) " + _LOGSUMEXP),
    ("log log2 log10", lambda a: a[0] == 0, _LOG_ZERO + " " + _UNSELECTED),
    ("log log2 log10", lambda a: a[0] < 0,
     "The logarithm of a negative number is nan: is this the right argument? " + _UNSELECTED),
    ("log1p", lambda a: a[0] <= -1, "log1p needs x > -1. " + _UNSELECTED),
    ("sqrt", lambda a: a[0] < 0,
     "The square root of a negative number is nan; rounding can make a difference that should be "
     "0 negative, which np.maximum(x, 0.0) mends. " + _UNSELECTED),
    ("exp exp2 expm1 sinh cosh", lambda a: np.isfinite(a[0]),
     "It overflows (float64: from x = 710, float32: 89, float16: 12). In a softmax or a "
     "log(sum(exp(x))) subtract the maximum first, or use tinygrad_nn.softmax, log_softmax, "
     "logsumexp; for log(1 + exp(x)) tinygrad_nn.softplus. " + _UNSELECTED),
    ("divide", lambda a: _made_by(a.args[0], "exp"),
     "For exp(x) / sum(exp(x)) use tinygrad_nn.softmax(x), which subtracts the maximum first."),
    ("divide", lambda a: a[0] == 0 and a[1] == 0,
     "0 / 0 is nan: decide what it is to be, as tinygrad_nn.where(b != 0, lambda a, b: a / b, "
     "0.0, a, b)."),
    ("divide reciprocal", lambda a: a[-1] == 0,
     "A division by 0: add a small number to the divisor, or write tinygrad_nn.where(b != 0, "
     "lambda a, b: a / b, 0.0, a, b). " + _UNSELECTED),
    ("power float_power", lambda a: a[0] == 0 and a[1] < 0,
     "A negative power of 0 is infinite: keep the base away from 0. " + _UNSELECTED),
    ("power float_power", lambda a: a[0] < 0 and np.isfinite(a[1]) and a[1] != np.rint(a[1]),
     "A fractional power of a negative number is nan: np.abs(x) ** p, or np.cbrt for the cube "
     "root. " + _UNSELECTED),
    ("subtract add add_n", lambda a: sum(map(np.isinf, a.inputs)) > 1 and np.isnan(a.y),
     "inf - inf is nan: see to it that no more than one term is infinite."),
    ("multiply", lambda a: np.isnan(a.y) and (a[0] == 0 or a[1] == 0),
     "0 * inf is nan: a mask that is multiplied does not remove what is infinite, np.where does."),
    ("arcsin arccos arctanh", lambda a: abs(a[0]) >= 1,
     "It is defined between -1 and 1; rounding can lead outside, which np.clip mends."),
    ("arccosh", lambda a: a[0] < 1, "It is defined from 1 on."),
    ("softmax log_softmax", lambda a: _any(np.isneginf(a[0])) and not _any(np.isposinf(a[0])),
     "A row without a finite number has no softmax: is every element of it masked?"),
    ("mean var std", lambda a: np.isfinite(a[0]).all() and _any(np.isnan(a.y)),
     "Too few elements: a mean needs one, a variance more than `ddof`."),
    ("*", lambda a: _any(np.isinf(a.y)) and all(np.isfinite(x).all() for x in a.inputs),
     "The result is beyond the largest number of its dtype (float64: 1.8e308, float32: 3.4e38, "
     "float16: 65504). Numbers this large often mean that training diverges: a smaller learning "
     "rate, clipped gradients or inputs of unit size help."),
)  # fmt: skip

#: The same for cotangents.
BACKWARD: tuple[Case, ...] = (
    ("sqrt", lambda a: a.y == 0 and _made_by(a.args[0], "var"), _STD),
    ("sqrt", lambda a: a.y == 0 and _is_sum_of_squares(a.args[0]), _NORM),
    ("*", lambda a: a.discarded,
     "np.where does not select this element, but its cotangent, 0, is multiplied by an infinite "
     "derivative, which is nan: use " + _WHERE + " which computes each branch only where it is "
     "selected."),
    ("sqrt cbrt", lambda a: a.y == 0, _ROOT),
    ("log", lambda a: _made_by(a.args[0], "softmax"), _LOG_SOFTMAX),
    ("log", lambda a: _made_by(a.args[0], "sigmoid"), _LOG_SIGMOID),
    ("log log2 log10", lambda a: a[0] == 0, _LOG_ZERO),
    ("xlogy entr", lambda a: _any(np.equal(a[-1], 0)), _LOG_ZERO),
    ("divide reciprocal", lambda a: a[-1] == 0,
     "A division by 0: add a small number to the divisor, or write tinygrad_nn.where(b != 0, "
     "lambda a, b: a / b, 0.0, a, b)."),
    ("power float_power", lambda a: a[0] == 0,
     "A power below 1 has an infinite slope at 0: keep the base away from it."),
    ("power float_power", lambda a: a[0] < 0,
     "The derivative in the exponent is that of exp(b log(a)), which a negative base does not "
     "have: give the exponent as a constant."),
    ("arcsin arccos arctanh arccosh", lambda a: abs(a[0]) == 1,
     "The slope is infinite at the end of the interval: keep away from it with np.clip."),
    ("logsumexp logaddexp", lambda a: any(_any(np.isneginf(x)) for x in a.inputs),
     "The sum is over nothing but -inf: is every element of a row masked?"),
    ("eigh eig svd qr", lambda a: True,
     "Equal eigenvalues or singular values, or a rank that is too low, have no derivative."),
)  # fmt: skip


def remedy(table: Sequence[Case], anomaly: Anomaly) -> str | None:
    """Return what helps, None where the table does not know."""
    for names, holds, text in table:
        if (names == "*" or anomaly.primitive in names.split()) and holds(anomaly):
            return text
    return None
