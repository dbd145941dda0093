"""Nodes of the computation graph, and the switches that say whether new ones are recorded."""

from __future__ import annotations

import copy
import inspect
import threading
from contextlib import AbstractContextManager, ContextDecorator, nullcontext
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary, ref

from tinygrad_nn.errors import NotDifferentiableError, StaleGraphError
from tinygrad_nn.guard import transforming

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinygrad_nn.primitive import Primitive

__all__ = [
    "Node", "Pending", "Scope", "capturing", "enable_grad", "is_grad_enabled", "lent",
    "mark_scope", "next_serial", "no_grad", "recording", "set_capture", "set_grad_enabled",
]  # fmt: skip

#: Numbers the nodes of the whole process. Inputs are numbered before what is computed from them,
#: so descending order is a topological order. (``next`` on a counter is atomic.)
next_serial = count(1).__next__

# The modes that a thread is in, innermost last; and one entry for each mode that any thread is in.
# The latter is empty nearly always, and the test for that is the cheapest that Python has: it
# stands in the path of every operation.
_modes = threading.local()
_unusual: list[None] = []


#: The Values whose numbers a plan has borrowed, and who can give them back.
lent: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def capturing() -> Any:
    """Return what captures the operations of this thread (see `plan.capture`), or None."""
    return getattr(_modes, "capture", None)


def set_capture(capture: Any) -> Any:
    """Let `capture` see the operations of this thread, None for nobody; return what did before."""
    before = capturing()
    _modes.capture = capture
    if capture is not None:
        _unusual.append(None)
    if before is not None:
        _unusual.pop()
    return before


class Pending:
    """A gradient that lies in a buffer which the next replay overwrites: copied when it is read."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array


class Scope(NamedTuple):
    """A call of a module, or a recorded walk back: the nodes from `start` to the one that holds it.

    `module` returns the module, and None if it is gone or there was none.
    """

    module: Callable[[], Any]
    kind: str
    start: int

    @property
    def title(self) -> str:
        """The module in one line; without one, the kind of call."""
        module = self.module()
        return self.kind if module is None else module._title()


def mark_scope(module: Any, output: Any, start: int) -> None:
    """Note on the nodes in `output` that `module` has computed them, from `start` on."""
    if isinstance(output, Node):
        if output.serial > start:  # an input that is handed through was made by somebody else
            output._scopes += (ref(module), module.__class__.__name__, start)
    elif isinstance(output, dict):
        for item in output.values():
            mark_scope(module, item, start)
    elif isinstance(output, list | tuple):
        for item in output:
            mark_scope(module, item, start)


class Node:
    """A value in the graph: a leaf, or the result of a primitive applied to its arguments.

    Attributes
    ----------
    primitive : Primitive or None
        What computed this node; None for a leaf.
    args : tuple
        The primitive's array inputs: nodes, and raw arrays or numbers where no gradient goes.
    static : dict
        The keywords that the primitive was called with.
    serial : int
        Creation number; larger than that of every node among `args`.
    grad
        The accumulated gradient of a leaf.
    label : str or None
        A name for drawings and error messages.
    """

    __slots__ = (
        "__weakref__",
        "_changed",
        "_grad",
        "_scopes",
        "_value",
        "label",
        "primitive",
        "serial",
    )  # fmt: skip

    _value: Any
    _changed: int  # serial number at the time of the last assignment to .data, 0 for never
    _scopes: tuple[Any, ...]  # the fields of `scopes` in a row: one container, not many, to collect
    _grad: Any  # what `grad` holds, or a Pending
    primitive: Primitive | None
    serial: int
    label: str | None

    # Provided by the two kinds of node.
    if TYPE_CHECKING:
        args: tuple[Any, ...]
        static: dict[str, Any]
        requires_grad: bool
        _parents: Sequence[Node]  # the nodes among the arguments
        shape: tuple[int, ...]
        keeps_gradients: ClassVar[bool]  # whether results keep the gradient of the last pass

        def _receive(self, c: Any, result: Node, i: int) -> Any: ...
        def _store(self, g: Any) -> None: ...

    def _pull(self, g: Any, cotangents: dict[int, Any], record: bool, since: int = 0) -> None:
        """Add to `cotangents` what the cotangent `g` of this node means for its arguments.

        Arguments numbered below `since` may be left out.
        """
        raise NotImplementedError

    @property
    def grad(self) -> Any:
        """The accumulated gradient."""
        if _unusual and capturing() is not None:
            return capturing().read_grad(self)
        g = self._grad
        if g.__class__ is Pending:
            g = self._grad = g.array.copy()
        return g

    @grad.setter
    def grad(self, g: Any) -> None:
        if _unusual and capturing() is not None:
            capturing().write_grad(self, g)
        else:
            if lent and self in lent:
                lent[self].give_back()
            self._grad = g

    def _seen(self) -> Any:
        """Return the numbers, or what stands for them while this thread's step is captured."""
        if _unusual and capturing() is not None:
            return capturing().read(self)
        return self._value

    @property
    def scopes(self) -> list[Scope]:
        """The module calls that this node is the result of, innermost first."""
        flat = self._scopes
        return [Scope(*flat[i : i + 3]) for i in range(0, len(flat), 3)]

    @property
    def is_leaf(self) -> bool:
        """Whether no primitive computed this node."""
        return self.primitive is None

    @property
    def _is_input(self) -> bool:
        """Whether this stands for an argument of a function that is being transformed."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """How error messages call this node: its label, or its primitive and number."""
        if self.label:
            return repr(self.label)
        what = self.primitive.name if self.primitive else "leaf"
        return f"{what} #{self.serial} of shape {self.shape}"

    def _clone(self, args: tuple[Any, ...]) -> Node:
        """Return a copy of this node alone, newly numbered, computed from `args`."""
        raise NotImplementedError

    def __copy__(self) -> Any:
        if self.primitive is not None:
            return self._copied()  # a result: the copy is computed from it
        make, arguments = self._rebuild_with()
        return make(*arguments)

    def _copied(self) -> Node:
        """Return a node of the same value, computed from this one."""
        raise NotImplementedError

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self._is_input:
            return self._copied()  # what is being differentiated stays so
        # Iterative, since a graph may be deeper than Python's stack; and in ascending order of
        # serial numbers, since the copies must be numbered in a topological order too.
        found: dict[int, Node] = {}
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            if node.serial not in found and id(node) not in memo:
                found[node.serial] = node
                stack.extend(a for a in node.args if isinstance(a, Node))
        for serial in sorted(found):
            node = found[serial]
            if node.primitive is not None:
                node._check_fresh()  # the copies would look as if nothing had been changed
                if node._is_input:
                    memo[id(node)] = node
                    continue
            args = tuple(memo[id(a)] if isinstance(a, Node) else a for a in node.args)
            memo[id(node)] = node._clone(args)
        return memo[id(self)]

    def __reduce__(self) -> Any:
        if self.primitive is not None:
            raise TypeError(
                f"cannot pickle {self.name}: it is a result and would take its graph along; "
                f"pickle its .data, or its .detach()"
            )
        return self._rebuild_with()

    def _rebuild_with(self) -> tuple[Any, ...]:
        """Return the function and the arguments that make this leaf again."""
        raise NotImplementedError

    def _check_readable(self, asked: str, remedy: str) -> None:
        """Refuse a conversion that would drop the gradient without a word."""
        if _unusual and capturing() is not None:
            return  # what stands for the numbers refuses it, and says why
        if not self.requires_grad or not is_grad_enabled():
            return
        self._check_leaving(asked)
        raise NotDifferentiableError(
            f"{asked} would drop the gradient of {self.name}: the number leaves the graph. {remedy}"
        )

    def _check_leaving(self, asked: str) -> None:
        """Refuse to hand out numbers where the code that asks may be any NumPy program.

        ``item()`` is how one leaves the graph on purpose; but a function that is being transformed
        may have been written for arrays, and then its derivative would be wrong without a word.
        """
        if capturing() is not None:
            return
        if self.requires_grad and transforming() and is_grad_enabled():
            raise NotDifferentiableError(
                f"{asked} inside a function that is being differentiated would drop the derivative "
                f"of {self.name}. Compute with the tensor itself (NumPy's functions and indexing "
                f"work on it); to leave the graph on purpose, read t.data"
            )

    def _check_fresh(self) -> None:
        """Refuse to differentiate at values that are gone."""
        for node in (self, *(a for a in self.args if isinstance(a, Node))):
            if node._changed > self.serial:
                raise StaleGraphError(
                    f"the data of {node.name} was assigned to after {self.name} was computed, so "
                    f"the derivative at the old values is lost. Compute the result again before "
                    f"backward(), or change the data after it"
                )


def is_grad_enabled() -> bool:
    """Return whether operations in this thread are recorded.

    Returns
    -------
    bool

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> with tg.no_grad():
    ...     tg.is_grad_enabled()
    False
    """
    if not _unusual:
        return True
    stack = getattr(_modes, "stack", None)
    return not stack or stack[-1].mode


def is_deferred(function: Any) -> bool:
    """Return whether the body of a function runs after a call of it has returned."""
    deferred = (
        inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction
    )  # fmt: skip
    return any(test(function) for test in deferred)


def refuse_deferred(function: Any, mode: str) -> None:
    """Refuse to decorate a function whose body runs after a call of it has returned."""
    if is_deferred(function):
        raise TypeError(
            f"the body of {function.__name__} runs after a call of it has returned (it is a "
            f"generator or coroutine function): use `with {mode}(...):` inside it"
        )


class set_grad_enabled(ContextDecorator):  # noqa: N801  # PyTorch's spelling
    """Context manager and decorator: record operations in this thread, or not.

    Parameters
    ----------
    mode : bool
        True to record, False not to.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> with tg.set_grad_enabled(False):
    ...     y = x * x
    >>> y.requires_grad
    False
    """

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._entered: list[list[set_grad_enabled]] = []

    def __call__(self, function: Any) -> Any:
        """Decorate a function: its body runs in this mode."""
        refuse_deferred(function, type(self).__name__)
        return super().__call__(function)

    def _recreate_cm(self) -> set_grad_enabled:
        # Each call of a decorated function has an object of its own: it may run in any thread.
        twin = copy.copy(self)
        twin._entered = []
        return twin

    def __enter__(self) -> set_grad_enabled:
        if not hasattr(_modes, "stack"):
            _modes.stack = []
        stack = _modes.stack
        stack.append(self)
        self._entered.append(stack)
        _unusual.append(None)
        return self

    def __exit__(self, *error: object) -> None:
        # From the stack of the thread that entered, whichever thread leaves, and wherever in it
        # (a generator may be closed by another thread, or inside another block).
        stack = self._entered.pop()
        del stack[max(i for i, mode in enumerate(stack) if mode is self)]
        _unusual.pop()


def recording() -> AbstractContextManager[Any]:
    """Return a context in which operations are recorded, at no cost where they are already."""
    return nullcontext() if is_grad_enabled() else enable_grad()


class no_grad(set_grad_enabled):  # noqa: N801  # PyTorch's spelling
    """Context manager and decorator: operations in this thread are not recorded.

    Other threads are not affected. Whatever else runs in this thread before the block ends is:
    other coroutines while one waits inside it, the consumer of a generator that yields inside it.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     w -= 0.5
    >>> w
    tensor([0.5, 1.5], requires_grad=True)
    """

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):  # noqa: N801  # PyTorch's spelling
    """Context manager and decorator: record operations again inside a `no_grad` block.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> with tg.no_grad(), tg.enable_grad():
    ...     (x * x).requires_grad
    True
    """

    def __init__(self) -> None:
        super().__init__(True)
