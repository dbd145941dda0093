"""Loss functions: ordinary functions of tensors, in nats where they are likelihoods.

Each takes the prediction, then the target, and ``reduction="mean" | "sum" | "none"``. Shapes are
never broadcast: ``(n,)`` against ``(n, 1)`` is an error, not an ``(n, n)`` table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.activations import log_sigmoid
from tinygrad_nn.assumption import assume, shown
from tinygrad_nn.errors import LossError, ShapeError
from tinygrad_nn.graph import Node
from tinygrad_nn.rules.elementwise import cross_entropy_of_probability, relu, where
from tinygrad_nn.rules.indexing import ARRAY, getitem, pick
from tinygrad_nn.rules.reduction import log_softmax, nll
from tinygrad_nn.traced import Traced
from tinygrad_nn.value import Value

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy",
           "hinge_loss", "huber_loss", "l1_loss", "mse_loss", "nll_loss"]  # fmt: skip


_ARRAYS = (Node, np.ndarray, Traced)  # made once: ``Node | np.ndarray`` would be at each call


def _array(x: Any) -> Any:
    """Leave nodes as they are; make arrays of everything else."""
    return x if isinstance(x, _ARRAYS) else np.asarray(x)


def _pair(name: str, prediction: Any, target: Any) -> tuple[Any, Any]:
    prediction, target = _array(prediction), _array(target)
    if isinstance(prediction, Value) and not target.shape:
        # Numbers stay numbers: the loss of a Value is a Value.
        return prediction, target if isinstance(target, Node) else float(target)
    if not isinstance(target, Node) and prediction.dtype.kind == "f":
        target = target.astype(prediction.dtype, copy=False)
    if prediction.shape != target.shape:
        raise ShapeError(
            f"{name}: prediction has shape {prediction.shape}, target {target.shape}; they must "
            f"be equal, because broadcasting would compare every prediction with every target. "
            f"Use reshape, [:, None] or squeeze() on one of them"
        )
    return prediction, target


def _reduce(loss: Any, reduction: str) -> Any:
    if reduction == "mean":
        return np.mean(loss) if loss.ndim else loss
    if reduction == "sum":
        return np.sum(loss) if loss.ndim else loss
    if reduction == "none":
        return loss
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def mse_loss(prediction: Any, target: Any, reduction: str = "mean") -> Any:
    """Squared error, ``(prediction - target)^2``.

    Parameters
    ----------
    prediction, target : array_like
        Of equal shape, in the same unit; the loss is in its square.
    reduction : {"mean", "sum", "none"}
        Over all elements.

    Returns
    -------
    Tensor, Value, ndarray or float
        The loss, of shape (); with ``reduction="none"`` of the inputs' shape.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> from tinygrad_nn import losses, tensor
    >>> losses.mse_loss(tensor([1.0, 2.0]), [0.0, 4.0])
    tensor(2.5)
    """
    prediction, target = _pair("mse_loss", prediction, target)
    error = prediction - target
    return _reduce(error * error, reduction)


def l1_loss(prediction: Any, target: Any, reduction: str = "mean") -> Any:
    """Absolute error, ``|prediction - target|``; subgradient 0 at equality.

    Parameters
    ----------
    prediction, target : array_like
        Of equal shape, in the same unit.
    reduction : {"mean", "sum", "none"}
        Over all elements.

    Returns
    -------
    Tensor, Value, ndarray or float
        The loss, of shape (); with ``reduction="none"`` of the inputs' shape.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> from tinygrad_nn import losses, tensor
    >>> losses.l1_loss(tensor([1.0, 2.0]), [0.0, 4.0])
    tensor(1.5)
    """
    prediction, target = _pair("l1_loss", prediction, target)
    return _reduce(abs(prediction - target), reduction)


def huber_loss(prediction: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """Huber's loss: quadratic for errors up to `delta`, linear beyond.

    Parameters
    ----------
    prediction, target : array_like
        Of equal shape, in the same unit.
    reduction : {"mean", "sum", "none"}
        Over all elements.
    delta : float
        Positive, in the unit of the error; with e the error, the loss is ``e^2 / 2`` up to it and
        ``delta (|e| - delta / 2)`` beyond.

    Returns
    -------
    Tensor, Value, ndarray or float
        The loss, of shape (); with ``reduction="none"`` of the inputs' shape.

    Raises
    ------
    ShapeError
        If the shapes differ.
    ValueError
        If `delta` is not positive.

    References
    ----------
    P. J. Huber, Ann. Math. Statist. 35 (1964), 73-101, doi:10.1214/aoms/1177703732.

    Examples
    --------
    >>> from tinygrad_nn import losses, tensor
    >>> losses.huber_loss(tensor([0.5, 3.0]), [0.0, 0.0], reduction="none")
    tensor([0.125, 2.5  ])
    """
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta}")
    prediction, target = _pair("huber_loss", prediction, target)
    size = abs(prediction - target)
    small = np.minimum(size, delta)  # both pieces in one, so that no large error is squared
    return _reduce(small * (size - small * 0.5), reduction)


def hinge_loss(prediction: Any, target: Any, reduction: str = "mean") -> Any:
    """Hinge loss of a margin, ``max(0, 1 - target * prediction)``; derivative 0 at the corner.

    Parameters
    ----------
    prediction : array_like
        Scores.
    target : array_like
        Labels -1 and 1, of the same shape.
    reduction : {"mean", "sum", "none"}
        Over all elements.

    Returns
    -------
    Tensor, Value, ndarray or float
        The loss, of shape (); with ``reduction="none"`` of the inputs' shape.

    Raises
    ------
    ShapeError
        If the shapes differ.
    LossError
        If a label is neither -1 nor 1.

    Examples
    --------
    >>> from tinygrad_nn import losses, tensor
    >>> losses.hinge_loss(tensor([0.5, 2.0]), [1, -1], reduction="none")
    tensor([0.5, 3. ])
    """
    prediction, target = _pair("hinge_loss", prediction, target)
    labels = target._seen() if isinstance(target, Node) else target
    if not assume(np.all(np.abs(labels) == 1)):
        raise LossError("hinge_loss: labels must be -1 or 1")
    return _reduce(relu(1.0 - prediction * target), reduction)


def _class_indices(name: str, scores: Any, target: Any) -> npt.NDArray[np.intp]:
    indices = target._seen() if isinstance(target, Node) else target
    shape = scores.shape
    if not shape:
        raise ShapeError(f"{name}: scores need an axis of classes, got shape ()")
    if indices.dtype.kind not in "iu":
        raise LossError(
            f"{name}: class labels must be integers, got dtype {indices.dtype}; use "
            f"target.astype(int), or give soft targets of the scores' shape {shape}"
        )
    if indices.shape != shape[:-1]:
        raise ShapeError(
            f"{name}: scores of shape {shape} (classes last) need labels of shape {shape[:-1]}, "
            f"got {indices.shape}"
        )
    return indices  # type: ignore[no-any-return]  # Any to mypy


def _ignored(
    name: str, indices: npt.NDArray[Any], n_classes: int, ignore_index: int
) -> npt.NDArray[Any] | None:
    """Return which labels are to be ignored (None for none of them); refuse those of no class."""
    # Labels that are too large are found by the indexing that follows, at no cost.
    if not indices.size or (ignore_index < 0 and assume(indices.min() >= 0)):
        return None
    ignored: npt.NDArray[Any] = indices == ignore_index
    if assume(((indices < 0) & ~ignored).any()):
        found = shown(indices)
        raise _no_class(name, found[found != ignore_index], n_classes)
    return ignored if assume(ignored.any()) else None


def _no_class(name: str, indices: npt.NDArray[Any], n_classes: int) -> IndexError:
    indices = shown(indices)
    wrong = indices[(indices < 0) | (indices >= n_classes)]
    return IndexError(
        f"{name}: label {wrong[0]} is not one of the {n_classes} classes 0 to {n_classes - 1}"
    )


def nll_loss(
    log_probabilities: Any,
    target: Any,
    weight: npt.ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """Negative log-likelihood of class labels.

    ``-weight[t] log_probabilities[t]`` for each label t; the mean is their sum over that of
    ``weight[t]``.

    Parameters
    ----------
    log_probabilities : array_like, shape (..., n_classes)
        Logarithms of probabilities, in nats (see `log_softmax`).
    target : array_like of int, shape (...)
        Class labels from 0.
    weight : array_like, shape (n_classes,), optional
        A factor for each class; the mean divides by the sum of the labels' weights.
    ignore_index : int
        Labels of this value contribute nothing.
    reduction : {"mean", "sum", "none"}
        Over the labels. The mean of none, or of ignored ones alone, is nan with a warning.

    Returns
    -------
    Tensor, Value, ndarray or float
        The loss, of shape (); with ``reduction="none"`` of the labels' shape (...).

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    LossError
        If the labels are not integers.
    IndexError
        If a label is no class.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn import losses, tensor
    >>> print(losses.nll_loss(tensor(np.log([[0.5, 0.5]])), np.array([1])).item())
    0.6931471805599453
    """
    scores, target = _array(log_probabilities), _array(target)
    indices = _class_indices("nll_loss", scores, target)
    return _nll("nll_loss", scores, indices, weight, ignore_index, reduction)


def _weights(name: str, weight: npt.ArrayLike, scores: Any) -> npt.NDArray[Any]:
    if isinstance(weight, Node):
        raise LossError(f"{name}: weight takes plain numbers, which get no gradient: weight.data")
    weights = _array(weight).astype(scores.dtype, copy=False)
    if weights.shape != scores.shape[-1:]:
        raise ShapeError(
            f"{name}: weight must have a factor for each class, shape {scores.shape[-1:]}, got "
            f"{weights.shape}"
        )
    if not assume((weights >= 0).all()):
        found = shown(weights).tolist()
        raise LossError(f"{name}: weights must not be negative or nan, got {found}")
    return weights  # type: ignore[no-any-return]  # Any to mypy


def _nll(
    name: str,
    scores: Any,
    indices: npt.NDArray[Any],
    weight: npt.ArrayLike | None,
    ignore_index: int,
    reduction: str,
) -> Any:
    n_classes = scores.shape[-1]
    ignored = _ignored(name, indices, n_classes, ignore_index)
    factors = None
    if ignored is not None:
        indices = np.where(ignored, 0, indices)
        factors = np.where(ignored, 0.0, 1.0).astype(scores.dtype)
    try:
        if weight is None and factors is None and reduction == "mean":
            return nll(scores, indices)
        loss = -pick(scores, indices)
    except IndexError:
        raise _no_class(name, indices, n_classes) from None
    if weight is not None:
        weights = _weights(name, weight, scores)
        each = getitem(weights, indices, template=(ARRAY,))
        factors = each if factors is None else factors * each
    if factors is None:
        return _reduce(loss, reduction)
    # A class of weight 0 contributes nothing even where its logarithm is -inf.
    loss = where(factors == 0, 0.0, loss) * factors
    if reduction == "mean":
        return loss.sum() / factors.sum()
    return _reduce(loss, reduction)


def cross_entropy(
    logits: Any,
    target: Any,
    weight: npt.ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross-entropy between the softmax of `logits` and the target, in nats.

    With probabilities t as target, ``-sum(weight * t * log_softmax(logits))`` over the classes;
    a label stands for probability 1 of its class.

    Parameters
    ----------
    logits : array_like, shape (..., n_classes)
        Unnormalised log-probabilities; classes are on the last axis.
    target : array_like
        Class labels from 0, of int and shape (...); or probabilities of the logits' shape.
    weight : array_like, shape (n_classes,), optional
        A factor for each class; with labels, the mean divides by the sum of their weights.
    ignore_index : int
        Labels of this value contribute nothing (labels only).
    reduction : {"mean", "sum", "none"}
        Over the samples. The mean of none, or of ignored ones alone, is nan with a warning.
    label_smoothing : float
        Share of the target, from 0 to 1, that is spread evenly over the classes.

    Returns
    -------
    Tensor, Value, ndarray or float
        The loss, of shape (); with ``reduction="none"`` of shape (...).

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    LossError
        If the labels are not integers.
    IndexError
        If a label is no class.
    ValueError
        If `label_smoothing` is outside [0, 1].

    Notes
    -----
    A target probability of 0 contributes 0 even where the log-probability is minus infinity.

    References
    ----------
    Label smoothing: C. Szegedy et al., https://arxiv.org/abs/1512.00567, section 7.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn import losses, tensor
    >>> logits = tensor([[1000.0, -1000.0]], requires_grad=True)
    >>> loss = losses.cross_entropy(logits, np.array([1]))
    >>> loss.backward()
    >>> loss.item(), logits.grad
    (2000.0, array([[ 1., -1.]]))
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing}")
    logits, target = _array(logits), _array(target)
    if target.dtype.kind != "f" or target.shape != logits.shape:
        indices = _class_indices("cross_entropy", logits, target)
        scores = log_softmax(logits)
        if not label_smoothing:
            return _nll("cross_entropy", scores, indices, weight, ignore_index, reduction)
        return _smoothed(scores, indices, weight, ignore_index, reduction, label_smoothing)
    scores = log_softmax(logits)
    _check_distribution(target)
    if not isinstance(target, Node):
        target = target.astype(scores.dtype, copy=False)
    if label_smoothing:
        target = target * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    terms = where(target == 0, 0.0, scores) * target
    if weight is not None:
        terms = terms * _weights("cross_entropy", weight, scores)
    return _reduce(-terms.sum(axis=-1), reduction)


def _check_distribution(target: Any) -> None:
    numbers = target._seen() if isinstance(target, Node) else target
    off = abs(numbers.sum(axis=-1, dtype=float) - 1.0) > 1e-2
    if assume((numbers < 0).any()) or assume(off.any()):
        raise LossError(
            "cross_entropy: soft targets must be probabilities that sum to 1 over the last axis"
        )


def _smoothed(
    scores: Any,
    indices: npt.NDArray[Any],
    weight: npt.ArrayLike | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Any:
    """Mix the loss of the labels with that of a uniform target."""
    name = "cross_entropy"
    hard = _nll(name, scores, indices, weight, ignore_index, "none")
    weights = np.ones(scores.shape[-1], scores.dtype)
    if weight is not None:
        weights = _weights(name, weight, scores)
    kept = indices != ignore_index
    uniform = where(kept, -(scores * weights).sum(axis=-1), 0.0)
    loss = hard * (1.0 - label_smoothing) + uniform * (label_smoothing / scores.shape[-1])
    if reduction == "mean":
        each = getitem(weights, np.where(kept, indices, 0), template=(ARRAY,))
        return loss.sum() / (each * kept).sum()
    return _reduce(loss, reduction)


def _check_probabilities(message: str, x: Any) -> None:
    numbers = _array(x._seen() if isinstance(x, Node) else x)
    # nan passes: it is the computation's, and shows in the loss.
    if numbers.size and (assume(np.any(numbers < 0)) or assume(np.any(numbers > 1))):
        numbers = shown(numbers)
        raise LossError(f"{message}, got {numbers.min():.6g} to {numbers.max():.6g}")


def binary_cross_entropy(probability: Any, target: Any, reduction: str = "mean") -> Any:
    """Cross-entropy of a probability of class 1, in nats.

    ``-t log(p) - (1 - t) log(1 - p)``.

    Parameters
    ----------
    probability : array_like
        From 0 to 1.
    target : array_like
        From 0 to 1, of the same shape.
    reduction : {"mean", "sum", "none"}
        Over all elements.

    Returns
    -------
    Tensor, Value, ndarray or float
        The loss, of shape (); with ``reduction="none"`` of the inputs' shape.

    Raises
    ------
    ShapeError
        If the shapes differ.
    LossError
        If a probability or a target is outside [0, 1].

    Notes
    -----
    As in PyTorch, logarithms are limited to -100 and the derivative's denominator to 1e-12, so
    that a confident mistake costs 100 and not infinity. `binary_cross_entropy_with_logits` needs
    no such limits.

    Examples
    --------
    >>> from tinygrad_nn import losses, tensor
    >>> losses.binary_cross_entropy(tensor([0.0]), [1.0])
    tensor(100.)
    """
    p, t = _pair("binary_cross_entropy", probability, target)
    _check_probabilities(
        "binary_cross_entropy: probabilities must be from 0 to 1; for logits use "
        "binary_cross_entropy_with_logits",
        p,
    )
    _check_probabilities("binary_cross_entropy: targets must be from 0 to 1", t)
    return _reduce(cross_entropy_of_probability(p, t), reduction)


def binary_cross_entropy_with_logits(logits: Any, target: Any, reduction: str = "mean") -> Any:
    """Cross-entropy of ``sigmoid(logits)``, in nats, for any logits without overflow.

    ``(1 - t) x - log_sigmoid(x)`` for logits x, which is
    ``-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x))``.

    Parameters
    ----------
    logits : array_like
        Log-odds of class 1.
    target : array_like
        From 0 to 1, of the same shape.
    reduction : {"mean", "sum", "none"}
        Over all elements.

    Returns
    -------
    Tensor, Value, ndarray or float
        The loss, of shape (); with ``reduction="none"`` of the inputs' shape.

    Raises
    ------
    ShapeError
        If the shapes differ.
    LossError
        If a target is outside [0, 1].

    Examples
    --------
    >>> from tinygrad_nn import losses, tensor
    >>> losses.binary_cross_entropy_with_logits(tensor([1000.0, -1000.0]), [1.0, 1.0], "none")
    tensor([   0., 1000.])
    """
    x, t = _pair("binary_cross_entropy_with_logits", logits, target)
    _check_probabilities("binary_cross_entropy_with_logits: targets must be from 0 to 1", t)
    return _reduce((1.0 - t) * x - log_sigmoid(x), reduction)
