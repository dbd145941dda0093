"""Functions as they occur in programs, which no checker is tuned on: they are there to measure."""

from __future__ import annotations

import dataclasses

import numpy as np

from . import kinks, layers, likelihoods, physics, recursions, signals


def _single(case):
    """The same in single precision."""
    inputs = tuple(x.astype(np.float32) if x.dtype.kind == "f" else x for x in case.inputs)
    return dataclasses.replace(case, name=f"float32 {case.name}", inputs=inputs, group="float32")


FAMILIES = (physics, likelihoods, recursions, layers, signals)
SMOOTH = [case for family in FAMILIES for case in family.CASES]
AGAIN = ("pendulum by Runge-Kutta", "focal loss", "batch norm of images", "LSTM cell",
         "convolution of images")  # fmt: skip

CASES = [*SMOOTH, *kinks.CASES, *(_single(case) for case in SMOOTH if case.name in AGAIN)]
