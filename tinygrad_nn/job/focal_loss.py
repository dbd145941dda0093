"""A custom loss, as a user would write one: the focal loss.

Any function of tensors that returns one number is a loss. Try it on this file::

    tinygrad-nn check focal_loss.py:focal_loss
    tinygrad-nn draw focal_loss.py:focal_loss -o focal_loss.html
    tinygrad-nn train DATA.csv --target COLUMN --loss focal_loss.py:focal_loss
"""

import numpy as np

import tinygrad_nn as tg


def focal_loss(prediction, target, gamma=2.0):  # type: ignore[no-untyped-def]  # written as a user would
    """Cross-entropy that hardly counts samples which are right already.

    A sample whose true class has probability p costs ``-(1 - p)^gamma log(p)``, in nats.

    Parameters
    ----------
    prediction : tensor, shape (n, n_classes)
        Logits.
    target : tensor of int, shape (n,)
        True classes.
    gamma : float
        How little they count; 0 gives the cross-entropy.

    References
    ----------
    T.-Y. Lin et al., Focal Loss for Dense Object Detection, https://arxiv.org/abs/1708.02002,
    equation 4.
    """
    log_probabilities = tg.log_softmax(prediction)
    log_p = log_probabilities[np.arange(len(prediction)), target]
    one_minus_p = -np.expm1(log_p)  # which 1.0 - p would round where p is near 1
    return -np.mean(one_minus_p**gamma * log_p)


# Read by the command line: what the loss is measured in, and inputs to check and draw it with.
focal_loss.unit = "nats"  # type: ignore[attr-defined]  # set on purpose
focal_loss.shapes = "8,10; int:8:10"  # type: ignore[attr-defined]  # set on purpose
