"""The checker that users have, on every differentiable primitive and sample of the registry.

test_primitives.py compares the same rules with differences of a fixed step, one primitive at a
time and its arguments one by one. Here a wrong verdict of the checker itself would show: each of
these rules is right, so a report that is false is a mistake of the checker.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from samples import Sample, samples

from tinygrad_nn.rules import TABLE

DIFFERENTIABLE = [name for name, p in TABLE.items() if p.differentiable]

#: Primitives that are not checked here, and why.
EXEMPT: dict[str, str] = {}

#: Samples of a primitive that is elementwise or is not, evenly chosen among all that it has: time
#: is the limit, and the samples of elementwise ones differ in little but their shapes.
MOST = {True: 2, False: 6}


def chosen(name: str) -> list[Sample]:
    """Return samples with something to check: floating inputs and a result with elements."""
    found = [
        sample
        for sample in samples(TABLE[name])
        if any(np.size(sample.args[i]) for i in sample.floating) and np.size(sample.forward())
    ]
    return found[:: -(-len(found) // MOST[TABLE[name].elementwise])] if found else []


def function(sample: Sample) -> Any:
    """Return the primitive as a function of its floating inputs, with real results."""

    def f(*inputs: Any) -> Any:
        args = list(sample.args)
        for i, x in zip(sample.floating, inputs, strict=True):
            args[i] = x
        y = sample.primitive(*args, **sample.static)
        return (np.real(y), np.imag(y)) if y.dtype.kind == "c" else y

    return f


@pytest.mark.parametrize("name", [name for name in DIFFERENTIABLE if name not in EXEMPT])
def test_primitives_pass(gradcheck, name):
    for sample in chosen(name):
        try:
            report = gradcheck(
                function(sample), tuple(sample.args[i] for i in sample.floating), order=2
            )
        except Exception as error:
            error.add_note(f"sample: {sample}")
            raise
        assert report.findings, sample
        assert any(finding.order == 2 for finding in report.findings), sample


def test_every_differentiable_primitive_is_covered():
    uncovered = {name for name in DIFFERENTIABLE if not chosen(name)}
    assert uncovered == set(EXEMPT)
