"""Einstein summation.

The derivative of an Einstein sum by one operand is again one, of the cotangent and the other
operands. S. Laue, M. Mitterreiter and J. Giesen, "A simple and efficient tensor calculus",
AAAI 34 (2020), doi:10.1609/aaai.v34i04.5881.
"""

from __future__ import annotations

import string
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import NotDifferentiableError, ShapeError
from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.elementwise import keep
from tinygrad_nn.rules.shape import Shape, broadcast_to, reshape, sum_to

# In the order of their codes, which is the order of the axes of an output that is not written out.
_LETTERS = string.ascii_uppercase + string.ascii_lowercase


def _einsum_rule(i: int, g: Any, y: Any, *xs: Any, subscripts: str, optimize: Any = False) -> Any:
    inputs, output = subscripts.split("->")
    terms = inputs.split(",")
    others = [output, *terms[:i], *terms[i + 1 :]]
    own, met = terms[i], set("".join(others))
    found = "".join(c for c in dict.fromkeys(own) if c in met)
    # A path belongs to its own operands.
    r = einsum(
        g, *xs[:i], *xs[i + 1 :],
        subscripts=f"{','.join(others)}->{found}", optimize=bool(optimize),
    )  # fmt: skip
    shape = np.shape(xs[i])
    if r.shape == shape and len(found) == len(own):
        return r
    lengths = _lengths(terms, xs)
    full = tuple(lengths[c] for c in own)
    if len(found) < len(own):
        # A letter that stands twice is a diagonal; one that is nowhere else was summed.
        sizes = dict(zip(found, r.shape, strict=True))
        first = (sizes.pop(c, 1) for c in own)
        r = reshape(r, shape=tuple(first))
        if len(set(own)) < len(own):
            r = keep(_diagonal(own, full), r)
    if r.shape != full:
        r = broadcast_to(r, shape=full)
    return r if r.shape == shape else sum_to(r, shape=shape)


def _lengths(terms: list[str], xs: tuple[Any, ...]) -> dict[str, int]:
    """Return the length that each letter stands for; axes of length 1 broadcast."""
    lengths: dict[str, int] = {}
    for term, x in zip(terms, xs, strict=True):
        for c, n in zip(term, np.shape(x), strict=True):
            lengths[c] = n if lengths.get(c, 1) == 1 else lengths[c]
    return lengths


@lru_cache(maxsize=64)
def _diagonal(term: str, shape: Shape) -> npt.NDArray[np.bool_]:
    """Return where the indices of all axes with the same letter are equal."""
    axes = np.indices(shape, sparse=True)
    mask = np.ones((1,) * len(shape), bool)
    for k, c in enumerate(term):
        mask = mask & (axes[k] == axes[term.index(c)])
    mask.flags.writeable = False
    return mask


@primitive(variadic=True, linear="each", rules=[_einsum_rule], domain=(REAL,))
def einsum(*xs: Any, subscripts: str, optimize: Any = False, out: Any = None) -> Any:
    """Sum of products over named axes; `subscripts` has an output and no ellipsis."""
    y = np.einsum(subscripts, *xs, optimize=optimize, out=out)
    # Of a single operand it may be a view.
    return y.copy() if out is None and len(xs) == 1 and np.may_share_memory(y, xs[0]) else y


@lru_cache(maxsize=256)
def _written_out(subscripts: str, ndims: Shape) -> str:
    """Write out the output and all that ellipses stand for."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ndims):
        raise ShapeError(
            f"einsum: subscripts {subscripts!r} are for {len(terms)} operand(s), got {len(ndims)}"
        )
    free = "".join(c for c in reversed(_LETTERS) if c not in subscripts)
    counts = []
    for k, (term, ndim) in enumerate(zip(terms, ndims, strict=True)):
        letters = term.replace("...", "", 1)
        counts.append(ndim - len(letters))
        if counts[k] < 0 or (counts[k] and letters == term) or not set(letters) <= set(_LETTERS):
            raise ShapeError(
                f"einsum: subscripts {term!r} in {subscripts!r} do not fit operand {k}, which has "
                f"{ndim} dimension(s)"
            )
    ellipsis = free[: max(counts)]
    terms = [
        term.replace("...", ellipsis[len(ellipsis) - n :])
        for term, n in zip(terms, counts, strict=True)
    ]
    if arrow and ellipsis and "..." not in output:
        raise ShapeError(
            f"einsum: the output of {subscripts!r} has no '...' for the dimensions that '...' "
            f"stands for in the operands; write '->...{output}', or name the axes to sum them"
        )
    if not arrow:
        seen = inputs.replace(",", "").replace(".", "")
        output = "..." + "".join(sorted(c for c in set(seen) if seen.count(c) == 1))
    return f"{','.join(terms)}->{output.replace('...', ellipsis)}"


def _letters(axes: Any) -> str:
    return "".join("..." if a is Ellipsis else _LETTERS[a] for a in axes)


@implements(np.einsum)
def _np_einsum(*operands: Any, out: Any = None, optimize: Any = False, **keywords: Any) -> Any:
    for key, value in keywords.items():
        if value is not None and value != {"order": "K", "casting": "safe"}.get(key):
            raise NotDifferentiableError(
                f"np.einsum(..., {key}={value!r}) is not supported on tensors; leave it out, and "
                f"convert the operands or the result with t.astype"
            )
    subscripts, *xs = operands
    if not isinstance(subscripts, str):  # operand, axes, operand, axes, ..., axes of the output
        xs = list(operands[:-1:2])
        subscripts = ",".join(map(_letters, operands[1::2]))
        if len(operands) % 2:
            subscripts += "->" + _letters(operands[-1])
    return einsum(*xs, subscripts=_written_out(subscripts, tuple(map(np.ndim, xs))),
                  optimize=optimize)  # fmt: skip
