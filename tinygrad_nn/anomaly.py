"""Anomaly mode: stop where a number becomes nan or infinite, or a saved array is changed.

`tensor.apply`, `value` and `backward.pull_back` call what is here while the mode is on in their
thread. They find out by `graph._unusual`, which they test for `no_grad` anyway.
"""

from __future__ import annotations

import inspect
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from tinygrad_nn.errors import AnomalyError
from tinygrad_nn.graph import Node, _unusual, refuse_deferred
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.remedies import BACKWARD, FORWARD, Anomaly, remedy
from tinygrad_nn.source_line import SourceLine, source_line

__all__ = ["detect_anomaly", "note", "quiet", "set_detect_anomaly", "watch", "watched_pull",
           "watched_push", "watching"]  # fmt: skip


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
        y = _array(node)
        bad = checks.bad(y)
        if bad.any() and (np.isnan(y[bad]).any() or not _is_given(args, static)):
            raise AnomalyError(_forward_report(primitive, args, static, y, bad))
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
        if checks.bad(_array(g)).any():
            raise AnomalyError(
                f"the cotangent that the backward pass of {node.name} was given holds "
                f"{_at(_array(g), checks.bad(_array(g)))}: look at how `gradient` was computed"
            )
        outer, state.source = state.source, source or source_line()
        try:
            with quiet():
                node._pull(g, cotangents, record, since)
        finally:
            state.source = outer
        for a in node._parents:
            c = cotangents.get(a.serial)
            if c is not None and checks.bad(_array(c)).any():
                with quiet():
                    report = _backward_report(node, a, g, _array(c), live, checks)
                raise AnomalyError(f"{report[0]}\n{_where(source)}{report[1]}")

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
        bad = checks.bad(_array(t))
        if bad.any():
            assert node.primitive is not None
            args = [a._value if isinstance(a, Node) else a for a in node.args]
            lines = "\n".join(_lines(node.primitive, node.args, args))
            raise AnomalyError(
                f"the tangent of {node.name}, in forward mode, holds {_at(_array(t), bad)}: the "
                f"derivative of {node.primitive.name} is not finite here, or its arguments move "
                f"without bound\n{_where(known.source if known else None)}{lines}"
            )

    return check


# --- checksums -----------------------------------------------------------------------------------


def _checksums(node: Node) -> list[Any]:
    raw = getattr(node, "_raw", None)  # which a scalar has not; nobody can write into a float
    return [] if raw is None else [_checksum(a) for a in (*raw, node._value)]


def _checksum(a: Any) -> Any:
    if not isinstance(a, np.ndarray):
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
            what = f"the array given as `{_names(primitive, len(node.args))[i]}`"
            help_ = "Give the computation a copy, `array.copy()`, or change it after backward()."
        raise AnomalyError(
            f"{what} was changed in place after primitive {primitive.name!r} had computed "
            f"{node.name} from it, so the derivative would be wrong.\n{_where(known.source)}{help_}"
        )


def _owner(node: Node) -> Node:
    """Return the node that `node` is a view of, or itself."""
    while node.args and isinstance(node.args[0], Node):
        if not np.may_share_memory(_array(node), _array(node.args[0])):
            break
        node = node.args[0]
    return node


# --- reports -------------------------------------------------------------------------------------


def _array(x: Any) -> Any:
    """Return the array of a node, a batch or a constant."""
    if isinstance(x, Node):
        x = x._value
    elif hasattr(x, "stack"):
        return _array(x.stack)
    return np.asarray(x)


def _is_given(args: Sequence[Any], static: dict[str, Any]) -> bool:
    """Whether an infinity is among the inputs that is none of a parameter."""
    given = (a for a in args if not (isinstance(a, Node) and a.is_leaf and a.requires_grad))
    return any(_holds(np.isinf, a) for a in (*given, *static.values()))


def _holds(test: Callable[[Any], Any], x: Any) -> bool:
    if not isinstance(x, Node | np.ndarray | np.generic | float | complex):
        return False
    x = _array(x)
    return x.dtype.kind in "fc" and bool(test(x).any())


def _names(primitive: Primitive, count: int) -> list[str]:
    """Return what the array inputs of a primitive are called."""
    if isinstance(primitive.forward, np.ufunc):
        names = ["x"] if count == 1 else ["a", "b"]
    else:
        parameters = inspect.signature(primitive.forward).parameters.values()
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [p.name for p in parameters if p.kind in kinds]
        if primitive.elementwise and len(names) == count <= 2:
            names = ["x"] if count == 1 else ["a", "b"]
    names = names[:count]
    return names + [f"input {i}" for i in range(len(names), count)]


def _first(bad: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))


def _place(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"


def _number(x: Any) -> str:
    x = x.item()
    return f"{x:.6g}" if isinstance(x, float) else str(x)


def _at(y: Any, bad: Any) -> str:
    """Say what is wrong with `y`, where, and how much of it."""
    index = _first(bad)
    what = _number(y[index])
    if y.size == 1:
        return what
    return f"{what} at {_place(index)} ({int(bad.sum())} of {y.size} elements)"


def _brief(x: Any) -> str:
    """Describe a number or an array in one line."""
    if x.ndim == 0:
        return _number(x)
    text = f"{x.dtype} of shape {x.shape}"
    if x.dtype.kind not in "fiu" or not x.size:
        return text
    finite = x[np.isfinite(x)]
    if finite.size:
        text += f", from {_number(finite.min())} to {_number(finite.max())}"
    for name, bad in (("nan", np.isnan(x)), ("infinite", np.isinf(x))):
        if bad.any():
            text += f", {bad.sum()} {name} from {_place(_first(bad))} on"
    return text


def _numbers(
    primitive: Primitive, args: Sequence[Any], shape: tuple[int, ...], index: tuple[int, ...]
) -> list[Any]:
    """Return the inputs: at `index` of a result of `shape`, if the primitive is elementwise."""
    arrays = [_array(a) for a in args]
    if not primitive.elementwise:
        return arrays
    return [np.broadcast_to(a, shape)[index] for a in arrays]


def _known(primitive: Primitive) -> str:
    """Return the name by which the table of remedies knows a primitive of this package."""
    return primitive.name if primitive.trusted else ""


def _lines(primitive: Primitive, args: Sequence[Any], numbers: Sequence[Any]) -> Iterator[str]:
    """Yield a line for each input."""
    for name, a, number in zip(_names(primitive, len(args)), args, numbers, strict=True):
        yield f"  {name} = {_brief(number)}" + (
            f", which is {a.name}" if isinstance(a, Node) else ""
        )


def _where(source: SourceLine | None) -> str:
    if source is None:
        return "computed outside detect_anomaly(): put the forward pass inside to see the line\n"
    return f"{source}\n"


def _origin(primitive: Primitive, args: Sequence[Any], test: Callable[[Any], Any]) -> str | None:
    """Follow what is not finite to where it came in; None if it did not come in."""
    culprit = None
    while True:
        i = next((i for i, a in enumerate(args) if _holds(test, a)), None)
        if i is None:
            return culprit
        a = args[i]
        if not isinstance(a, Node):
            return f"the constant `{_names(primitive, len(args))[i]}` of {primitive.name}"
        culprit = a.name
        if a.primitive is None:
            return culprit
        primitive, args = a.primitive, a.args


def _forward_report(
    primitive: Primitive,
    args: Sequence[Any],
    static: dict[str, Any],
    y: Any,
    bad: Any,
) -> str:
    index = _first(bad)
    numbers = _numbers(primitive, args, y.shape, index)
    lines = [f"{primitive.name} gave {_at(y, bad)}", *_lines(primitive, args, numbers)]
    lines += [f"  {key} = {value!r}" for key, value in static.items() if value is not None]
    lines.append(str(source_line()))
    result = y[index] if primitive.elementwise else y
    help_ = remedy(FORWARD, Anomaly(_known(primitive), args, numbers, result))
    origin = _origin(primitive, args, lambda x: ~np.isfinite(x))
    if origin is not None:
        lines.append(f"{origin} holds what is not finite: look at where it comes from.")
    if help_ is not None:
        lines.append(help_)
    return "\n".join(lines)


def _backward_report(
    node: Node, a: Node, g: Any, c: Any, live: dict[int, Node], checks: _Checks
) -> tuple[str, str]:
    """Say which rule of `node` made the cotangent `c` of `a`, and what helps."""
    primitive = node.primitive
    assert primitive is not None
    g = _array(g)
    y = _array(node)
    bad = checks.bad(c)
    if c.ndim > len(a.shape):  # a batch of cotangents: the first that shows it
        k = _first(bad)[0]
        g, c, bad = g[k], c[k], bad[k]
    head = f"the cotangent of {a.name} became {_at(c, bad)}"
    inputs = [_array(b) if isinstance(b, Node) else b for b in node.args]
    for i, b in enumerate(node.args):
        rule = primitive.rule(i) if b is a else None
        if rule is None:
            continue
        part = np.asarray(rule(g, y, *inputs, **node.static))
        wrong = checks.bad(part)
        if not wrong.any():
            continue
        pointwise = primitive.elementwise
        index = _first(np.broadcast_to(wrong, y.shape)) if pointwise else ()
        numbers = _numbers(primitive, node.args, y.shape, index)
        name = _names(primitive, len(node.args))[i]
        g, y = (x[index] if pointwise else x for x in (g, y))
        discarded = pointwise and g == 0 and _goes_into_where(node, live)
        lines = [
            f"{head}, by rule {i} of primitive {primitive.name!r}, towards its input `{name}`:",
            f"  g = {_brief(g)}, the cotangent that came in",
            f"  y = {_brief(y)}, which is {node.name}",
            *_lines(primitive, node.args, numbers),
        ]
        anomaly = Anomaly(_known(primitive), node.args, numbers, y, discarded)
        return "\n".join(lines), remedy(BACKWARD, anomaly) or ""
    return f"{head}, as the sum of several cotangents that are finite", ""


def _goes_into_where(node: Node, live: dict[int, Node]) -> bool:
    """Whether `node`, or what is computed from it, goes into a np.where."""
    behind = {node.serial}
    for serial in sorted(s for s in live if s > node.serial):
        later = live[serial]
        if any(a.serial in behind for a in later._parents):
            behind.add(serial)
            if later.primitive is not None and later.primitive.name in ("where", "keep"):
                return True
    return False
