"""Which matrices are stored column by column.

NumPy reduces along rows of a few elements slowly, one row at a time; stored by columns, the same
reduction adds whole columns. A matrix with a column of ones beside it is one piece of memory only
if it is stored by columns. Products of matrices do not mind, and operations element by element
do not if all of them agree: so the choice is made for all matrices together that such operations
connect.
"""

from __future__ import annotations

from tinygrad_nn.plan.tape import Constant, Tape, Var

__all__ = ["column_major"]


#: Rows of so many elements are short.
_SHORT = 32


def column_major(tape: Tape) -> set[Var]:
    """Return the variables of the tape that are better stored column by column."""
    parent: dict[Var, Var] = {}

    def root(v: Var) -> Var:
        while parent.setdefault(v, v) is not v:
            v = parent[v]
        return v

    views = {i.out for i in tape.instructions if i.view}
    wanted: set[Var] = set()
    refused: set[Var] = set()
    for i in tape.instructions:
        if i.primitive.elementwise and len(i.out.shape) == 2:
            for v in i.inputs:
                if v.shape != i.out.shape:
                    continue
                parent[root(v)] = root(i.out)
                if not (v.is_result or isinstance(v.origin, Constant)) or v in views:
                    refused.add(v)
        short = [v for v in i.inputs if len(v.shape) == 2 and 1 < v.shape[1] <= _SHORT]
        if i.primitive.name in ("max", "min", "sum") and i.static.get("axis") in (1, -1, (1,)):
            wanted.update(short)
        if i.primitive.name == "concatenate" and i.static.get("axis") == 1:
            wanted.update(v for v in i.inputs if v.is_result and v.shape[1] > 1)
    refused.update(i.out for i in tape.instructions if i.has_effect)  # drawn element by element
    refused.update(written for _, written in tape.writes if written is not None)
    good = {root(v) for v in wanted} - {root(v) for v in refused}
    return {v for v in list(parent) if root(v) in good} | {v for v in wanted if root(v) in good}
