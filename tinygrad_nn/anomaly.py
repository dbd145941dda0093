"""Anomaly mode: stop where a number becomes nan or infinite, or a saved array is changed.

`tensor.apply`, `value` and `backward.pull_back` call what is here while the mode is on in their
thread. They find out by `graph._unusual`, which they test for `no_grad` anyway.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from tinygrad_nn.anomaly_report import (
    array_of,
    backward_report,
    forward_report,
    input_lines,
    input_names,
    is_given,
    line_text,
    place_of,
)
from tinygrad_nn.errors import AnomalyError
from tinygrad_nn.graph import Node, _unusual, refuse_deferred
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.source_line import SourceLine, source_line
from tinygrad_nn.traced import Traced

__all__ = ["detect_anomaly", "note", "quiet", "set_detect_anomaly", "source_lines", "source_of",
           "watch", "watched_pull", "watched_push", "watching"]  # fmt: skip


class _Checks(NamedTuple):
    nan: bool
    inf: bool
    mutation: bool

    def bad(self, x: Any) -> Any:
        """Return where `x` holds what shall be reported."""
        if x.dtype.kind not in "fc":
            return np.False_
        if self.nan and self.inf:
            return ~np.isfinite(x)
        return np.isnan(x) if self.nan else np.isinf(x) if self.inf else np.False_


class _State:
    """What one thread is doing; an object, since another thread may close its generators."""

    checks: _Checks | None = None
    applying: Any = None  # the arguments of the primitive that is being applied
    source: SourceLine | None = None  # of the node whose rules are running


class _Thread(threading.local):
    def __init__(self) -> None:
        self.state = _State()


_thread = _Thread()


class _Record(NamedTuple):
    """What is kept of a node while it lives."""

    node: ref[Node]
    source: SourceLine | None
    sums: list[Any]  # checksums of the arrays that it was computed from, and of the result


_records: dict[int, _Record] = {}


def _set(state: _State, checks: _Checks | None) -> _Checks | None:
    """Change what a thread checks for, and return what it did before."""
    before, state.checks = state.checks, checks
    if checks is not None:
        _unusual.append(None)
    if before is not None:
        _unusual.pop()
    return before


class detect_anomaly(ContextDecorator):  # noqa: N801  # PyTorch's spelling
    """Context manager and decorator: raise where a number first becomes nan or infinite.

    The error names the operation, the place in the array, the numbers that went in, the line of
    your program that computed it (in the backward pass: the line of the forward pass), and what
    usually helps. Only this thread is affected. Everything is checked, which takes several times
    as long; outside the block nothing is.

    Parameters
    ----------
    check_nan : bool
        Whether nan is an error.
    check_inf : bool
        Whether infinity is. One that you put in yourself, as a constant, is not: masks of -inf are
        common. What is then computed from it is reported only once it is nan.
    check_mutation : bool
        Whether `backward` verifies, by checksums, that the arrays which a result was computed from
        still hold what they held then: ``t.data[...] = x`` and writing to an array that was used as
        a constant are seen in no other way.

    Raises
    ------
    AnomalyError
        On the first such number or array, in the forward and in the backward pass.

    See Also
    --------
    set_detect_anomaly : The same for the rest of the program.
    where : Compute each branch only where it is selected.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> from tinygrad_nn.anomaly import detect_anomaly
    >>> x = tg.tensor([3.0, 0.0], requires_grad=True, label="x")
    >>> with detect_anomaly():
    ...     np.sum(np.sqrt(x)).backward()
    Traceback (most recent call last):
    tinygrad_nn.errors.AnomalyError: the cotangent of 'x' became inf at [1] (1 of 2 elements)...
    """

    def __init__(
        self, check_nan: bool = True, check_inf: bool = True, check_mutation: bool = True
    ) -> None:
        self._checks = _Checks(check_nan, check_inf, check_mutation)
        self._entered: list[tuple[_State, _Checks | None]] = []

    def __call__(self, function: Any) -> Any:
        """Decorate a function: its body runs in this mode."""
        refuse_deferred(function, "detect_anomaly")
        return super().__call__(function)

    def _recreate_cm(self) -> detect_anomaly:
        return detect_anomaly(*self._checks)

    def __enter__(self) -> detect_anomaly:
        state = _thread.state
        self._entered.append((state, _set(state, self._checks)))
        return self

    def __exit__(self, *error: object) -> None:
        _set(*self._entered.pop())


class set_detect_anomaly:  # noqa: N801  # PyTorch's spelling
    """Switch anomaly mode on or off in this thread: from now on, or for a ``with`` block.

    Parameters
    ----------
    mode : bool
        True to switch it on.
    check_nan, check_inf, check_mutation : bool
        As for `detect_anomaly`.

    See Also
    --------
    detect_anomaly : Switch it on for a block or a function.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> from tinygrad_nn.anomaly import set_detect_anomaly
    >>> _ = set_detect_anomaly(True)
    >>> np.log(tg.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    tinygrad_nn.errors.AnomalyError: log gave nan at [1] (1 of 2 elements)...
    >>> _ = set_detect_anomaly(False)
    """

    def __init__(
        self,
        mode: bool,
        check_nan: bool = True,
        check_inf: bool = True,
        check_mutation: bool = True,
    ) -> None:
        self._state = _thread.state
        checks = _Checks(check_nan, check_inf, check_mutation) if mode else None
        self._before = _set(self._state, checks)

    def __enter__(self) -> set_detect_anomaly:
        return self

    def __exit__(self, *error: object) -> None:
        _set(self._state, self._before)


def source_lines() -> detect_anomaly:
    """Return a context in which the line that computes a node is kept, and nothing is checked."""
    return detect_anomaly(check_nan=False, check_inf=False, check_mutation=False)


def source_of(node: Node) -> SourceLine | None:
    """Return the line of the user's program that computed a node.

    None for a leaf, and for what was not computed under `source_lines` or `detect_anomaly`.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> from tinygrad_nn.anomaly import source_lines, source_of
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> with source_lines():
    ...     y = x * x
    >>> source_of(y).text, source_of(x)
    ('y = x * x', None)
    """
    record = _records.get(node.serial)
    return None if record is None else record.source


# --- what the engine calls -----------------------------------------------------------------------


def watching(args: Any) -> bool:
    """Return whether this thread checks, and is not in `watch` of these arguments already."""
    state = _thread.state
    return state.checks is not None and state.applying is not args


def watch(apply: Any, primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
    """Call ``apply(primitive, args, static)`` and check the result."""
    state = _thread.state
    outer, state.applying = state.applying, args
    try:
        with quiet():
            node = apply(primitive, args, static)
    finally:
        state.applying = outer
    if isinstance(node, Node):
        note(node, primitive, args, static)
    return node


def quiet() -> Any:
    """Return a context in which NumPy does not warn of what this thread raises errors for."""
    checks = _thread.state.checks
    return np.errstate(
        invalid="ignore" if checks and checks.nan else None,
        over="ignore" if checks and checks.inf else None,
        divide="ignore" if checks and checks.inf else None,
    )


def note(node: Node, primitive: Primitive, args: Sequence[Any], static: dict[str, Any]) -> None:
    """Check a new node, and keep what an error in the backward pass will need."""
    state = _thread.state
    checks = state.checks
    if checks is None:
        return
    if state.source is None:  # else a rule computes it, and may use nan on its way
        y = array_of(node)
        bad = checks.bad(y)
        if bad.any() and (np.isnan(y[bad]).any() or not is_given(args, static)):
            raise AnomalyError(forward_report(primitive, args, static, y, bad))
    if node.primitive is not None:
        serial = node.serial
        source = state.source or source_line()
        sums = _checksums(node) if checks.mutation else []
        _records[serial] = _Record(ref(node, partial(_forget, serial)), source, sums)


def _forget(serial: int, _: Any) -> None:
    _records.pop(serial, None)


def watched_pull(live: dict[int, Node]) -> Callable[..., None] | None:
    """Return what pulls back through one node and checks the result; None if nothing is checked.

    `live` are the nodes of the walk by serial number.
    """
    state = _thread.state
    checks = state.checks
    if checks is None:
        return None

    def pull(node: Node, g: Any, cotangents: dict[int, Any], record: bool, since: int) -> None:
        known = _records.get(node.serial)
        source = known.source if known else None
        if known is not None:
            _verify(node, known)
        if checks.bad(array_of(g)).any():
            raise AnomalyError(
                f"the cotangent that the backward pass of {node.name} was given holds "
                f"{place_of(array_of(g), checks.bad(array_of(g)))}: look at how `gradient` was "
                f"computed"
            )
        outer, state.source = state.source, source or source_line()
        try:
            with quiet():
                node._pull(g, cotangents, record, since)
        finally:
            state.source = outer
        for a in node._parents:
            c = cotangents.get(a.serial)
            if c is not None and checks.bad(array_of(c)).any():
                with quiet():
                    report = backward_report(node, a, g, array_of(c), live, checks.bad)
                raise AnomalyError(f"{report[0]}\n{line_text(source)}{report[1]}")

    return pull


def watched_push() -> Callable[[Node, Any], None] | None:
    """Return what checks the tangent of a node in forward mode; None if nothing is checked."""
    checks = _thread.state.checks
    if checks is None:
        return None

    def check(node: Node, t: Any) -> None:
        known = _records.get(node.serial)
        if known is not None:
            _verify(node, known)
        bad = checks.bad(array_of(t))
        if bad.any():
            assert node.primitive is not None
            args = [a._value if isinstance(a, Node) else a for a in node.args]
            lines = "\n".join(input_lines(node.primitive, node.args, args))
            raise AnomalyError(
                f"the tangent of {node.name}, in forward mode, holds "
                f"{place_of(array_of(t), bad)}: the derivative of {node.primitive.name} is not "
                f"finite here, or its arguments move without bound\n"
                f"{line_text(known.source if known else None)}{lines}"
            )

    return check


# --- checksums -----------------------------------------------------------------------------------


def _checksums(node: Node) -> list[Any]:
    raw = getattr(node, "_raw", None)  # which a scalar has not; nobody can write into a float
    return [] if raw is None else [_checksum(a) for a in (*raw, node._value)]


def _checksum(a: Any) -> Any:
    if type(a) is Traced or not isinstance(a, np.ndarray):
        return None
    return zlib.crc32(np.ascontiguousarray(a).data), a.dtype, a.shape


def _verify(node: Node, known: _Record) -> None:
    """Raise if an array that `node` was computed from holds something else than it did then."""
    if not known.sums:  # not asked for, or of scalars
        return
    primitive = node.primitive
    assert primitive is not None
    for i, (before, now) in enumerate(zip(known.sums, _checksums(node), strict=True)):
        if before == now:
            continue
        argument = node.args[i] if i < len(node.args) else node
        if isinstance(argument, Node):
            owner = _owner(argument)
            if owner._changed > node.serial:
                continue  # what was assigned to `.data` is StaleGraphError's to tell
            what = f"the data of {owner.name}"
            help_ = (
                "Compute the result again before backward(), or change the data after it; an "
                "assignment, `t.data = ...`, is noticed without this mode too."
            )
        else:
            what = f"the array given as `{input_names(primitive, len(node.args))[i]}`"
            help_ = "Give the computation a copy, `array.copy()`, or change it after backward()."
        raise AnomalyError(
            f"{what} was changed in place after primitive {primitive.name!r} had computed "
            f"{node.name} from it, so the derivative would be wrong.\n"
            f"{line_text(known.source)}{help_}"
        )


def _owner(node: Node) -> Node:
    """Return the node that `node` is a view of, or itself."""
    while node.args and isinstance(node.args[0], Node):
        if not np.may_share_memory(array_of(node), array_of(node.args[0])):
            break
        node = node.args[0]
    return node
