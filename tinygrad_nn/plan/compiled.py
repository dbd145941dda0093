"""The callable that `compile` returns: plans by what they were captured for, and their replay."""

from __future__ import annotations

import copy
import functools
import os
import sys
import threading
import types
import warnings
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from tinygrad_nn.anomaly import watching
from tinygrad_nn.errors import CaptureError
from tinygrad_nn.graph import Node, _unusual, capturing, is_deferred, is_grad_enabled
from tinygrad_nn.guard import transforming
from tinygrad_nn.plan.arguments import Taken, positional, take_apart, with_others
from tinygrad_nn.plan.build import MISS, Plan, build
from tinygrad_nn.plan.capture import NotCaptured, graphless
from tinygrad_nn.plan.draws import drawing
from tinygrad_nn.plan.explain import About, Change, Text, explanation
from tinygrad_nn.plan.names import arguments_of
from tinygrad_nn.plan.passes import PASSES
from tinygrad_nn.plan.reasons import Reasons
from tinygrad_nn.plan.run import captured
from tinygrad_nn.plan.scalars.recorder import NoGain
from tinygrad_nn.tensor import Tensor, _constant

__all__ = ["Compiled", "compile"]


class Compiled:
    """A function that is captured at its first call and replayed afterwards; see `compile`."""

    def __init__(self, function: Callable[..., Any], fallback: bool, cache_size: int) -> None:
        _check_function(function)
        if cache_size < 1:
            raise ValueError(f"cache_size must be 1 or more, got {cache_size}")
        functools.update_wrapper(self, function)
        self.__name__: str = getattr(function, "__name__", type(function).__name__)
        self.function = function
        self.fallback = fallback
        self.cache_size = cache_size
        self.captures = 0
        self._plans: dict[Any, list[Plan]] = {}  # by key
        self._order: deque[tuple[Any, Plan]] = deque()  # of capture
        self._reasons = Reasons()
        self._latest: Plan | None = None
        self._no_gain: dict[Any, tuple[str, Any]] = {}  # why arguments of a kind are served eagerly
        self._eager = False  # whether capturing has failed, with `fallback`
        self._refusal = ""  # why it has
        self._failure: Exception | None = None  # of the replay that was tried last
        self._has_told = False  # whether a failure was warned of
        self._lock = threading.RLock()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}: {len(self._order)} plans>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"cannot pickle the compiled function {self.__name__}: its plans refer to the arrays "
            f"of this process. Pickle the function itself, {self.__name__}.function, and "
            f"compile it where it is loaded"
        )

    def __copy__(self) -> Compiled:
        return self  # as a function is

    def __deepcopy__(self, memo: Any) -> Compiled:
        function = copy.deepcopy(self.function, memo)  # a method of a copy is bound to that
        if function is self.function:
            return self
        return Compiled(function, self.fallback, self.cache_size)

    def clear(self) -> None:
        """Forget all plans, and whether the function has been found to need eager execution."""
        with self._lock:
            self._plans.clear()
            self._order.clear()
            self._latest = None
            self._no_gain.clear()
            self._eager = False
            self._refusal = ""
            self._reasons = Reasons()

    @property
    def plan(self) -> Plan:
        """The plan that served the last call that one could serve.

        Raises
        ------
        CaptureError
            If there is none yet; the message says why.
        """
        if self._latest is not None:
            return self._latest
        name = self.__name__
        for reason, _ in self._no_gain.values():
            raise CaptureError(f"{name} stays eager: {reason}")
        if self._eager:
            raise CaptureError(
                f"{name} runs eagerly, for it could not be captured: {self._refusal}"
            )
        raise CaptureError(
            f"{name} has not been captured yet, which its first call does; call it once, with "
            f"arguments of the kind that it is meant for"
        )

    def explain(self) -> Text:
        """Return what the function does in a replay, and what the passes have made of it.

        For the plan that served the last call: the instructions that were captured and those that
        are replayed, each below the line of the program that it comes from; what each pass has
        changed; what the step leaves behind; when the plan is used.

        Returns
        -------
        str
            It shows itself as it is.

        Examples
        --------
        >>> import numpy as np, tinygrad_nn as tg
        >>> @tg.compile
        ... def f(x):
        ...     return np.exp(x) + 0.0
        >>> print(str(f.explain()).partition(";")[0])
        f has not been captured yet, which its first call does
        >>> f(np.ones(3))
        array([2.71828183, 2.71828183, 2.71828183])
        >>> print(f.explain().splitlines()[0])
        f(x: float64 (3,))
        """
        try:
            plan = self.plan
        except CaptureError as error:
            return Text(error)
        return explanation(plan, len(self._order) - 1)

    def source(self) -> Text:
        """Return the program that `explain` is about, in Python.

        Each row is below the line of the user's program that it comes from, with what it computes
        beside it; the names of arrays are explained at the top.

        Returns
        -------
        str
            It shows itself as it is.

        Raises
        ------
        CaptureError
            If there is no program yet.
        """
        from tinygrad_nn.plan.annotate import annotated

        return Text(annotated(self.plan))

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Call the function, or replay what it did for arguments of the same kind."""
        if _unusual or self._eager:
            return self._in_a_mode(args, keywords)
        failure = None
        with self._lock:
            plan = self._latest
            if plan is not None and not keywords and len(args) == plan.n_args:
                try:
                    result = plan.call(*args)
                except Exception as error:
                    if plan.has_written(error):
                        raise
                    result = MISS  # the function itself raises what it raises
                    failure = None if plan.is_condition(error) else error
                if result is not MISS:
                    return result
            return self._look_up(args, keywords, failure)

    def _in_a_mode(self, args: Any, keywords: Any) -> Any:
        """Call the function where it is being watched, or what it does is."""
        if self._eager or capturing() is not None or transforming() or watching((self,)):
            return self.function(*args, **keywords)
        with self._lock:
            return self._look_up(args, keywords)

    def _look_up(self, args: Any, keywords: Any, failure: Exception | None = None) -> Any:
        self._failure = failure
        taken = take_apart((args, keywords))
        if any(isinstance(a, Node) and a.primitive is not None for a in taken.leaves):
            return self.function(*args, **keywords)  # part of a graph, which goes on through it
        key = (taken.key, is_grad_enabled())
        if key in self._no_gain:
            return self.function(*args, **keywords)
        result = self._replayed(key, taken)
        if result is not MISS:
            return result
        # Another thread that captures may have had stand-ins where plans found a difference.
        waited = not _captures.acquire(blocking=False) and _captures.acquire()
        try:
            if waited:
                self._failure = None
            result = self._replayed(key, taken) if waited else MISS
            return self._capture(key, taken, args, keywords) if result is MISS else result
        finally:
            _captures.release()

    def _replayed(self, key: Any, taken: Taken) -> Any:
        """Return what the first plan returns that serves a call, or MISS."""
        for plan in self._plans.get(key, ()):
            try:
                result = plan.run(taken.leaves)
            except Exception as error:
                if plan.has_written(error):
                    raise
                self._failure = None if plan.is_condition(error) else error
                continue
            if result is not MISS:
                self._tell()
                self._remember(key, plan)
                return result
        return MISS

    def _tell(self) -> None:
        """Warn of an error in a replay that the function itself does not raise."""
        if self._failure is None or self._has_told:
            return
        self._has_told = True
        kind = type(self._failure).__name__
        _warn(
            f"a replay of {self.__name__} has raised {kind}: {self._failure}. The function itself "
            f"does not: its results are right, but it is captured again each time that this "
            f"happens, which is slow. That is a fault of {_PACKAGE_NAME}; if the calls do happen "
            f"often, leave compile away for this function"
        )

    def _remember(self, key: Any, plan: Plan) -> None:
        """Let the next call try this plan at once, unless plans of its mode are looked up."""
        _, grad_enabled = key
        if grad_enabled:
            self._latest = plan

    def _capture(self, key: Any, taken: Taken, args: Any, keywords: Any) -> Any:
        before = self._order[-1][1].around.differences() if self._order else []
        try:
            found = captured(self.function, taken)
        except NotCaptured:
            return _without_graph(self.function(*args, **keywords))
        except NoGain as reason:
            self._note_no_gain(key, str(reason), taken)
            return self.function(*args, **keywords)
        except CaptureError as error:
            if not self.fallback:
                raise
            _warn(f"{self.__name__} cannot be compiled and runs eagerly: {error}")
            self._eager = True
            self._refusal = str(error)
            return self.function(*args, **keywords)
        tape = found.tape
        changes = []
        for change in PASSES:
            earlier, tape = tape, change(tape)
            changes.append(Change.by(change, earlier, tape))
        places = None if keywords else positional(args)
        found.capture.commit(found.tape.writes)
        plan = build(found, tape, taken.leaves, places is not None)
        plan.around = found.capture.around
        if places is not None:
            plan.call = with_others(plan.call, places, MISS)
            plan.n_args = len(args)
        generators = [generator for generator, _ in found.capture.generators.values()]
        if generators:
            plan.call = drawing(plan.call, generators, MISS)
            plan.run = drawing(plan.run, generators, MISS)
        arguments = arguments_of(self.function, taken)
        plan.about = About(self.function, arguments, found.capture, changes)
        self._tell()
        self._keep(key, plan)
        self._reasons.note(arguments, taken, before)
        if self.captures == self.cache_size + 1:
            _warn(self._reasons.text(self.__name__, self.captures))
        return found.result()

    def _note_no_gain(self, key: Any, reason: str, taken: Taken) -> None:
        """Serve arguments of a kind eagerly from now on; all of them, if the kinds are too many."""
        self._no_gain[key] = reason, taken.others  # kept, as the key holds their identities
        if len(self._no_gain) <= self.cache_size:
            return
        self._no_gain.pop(next(iter(self._no_gain)))
        if not self._order:
            self._eager = True
            self._refusal = reason

    def _keep(self, key: Any, plan: Plan) -> None:
        self.captures += 1
        self._plans.setdefault(key, []).append(plan)
        self._order.append((key, plan))
        self._remember(key, plan)
        if len(self._order) > self.cache_size:
            old_key, old = self._order.popleft()
            self._plans[old_key].remove(old)
            if not self._plans[old_key]:
                del self._plans[old_key]


def _alone(t: Tensor) -> Tensor:
    return graphless(t._seen()) if t.requires_grad else _constant(t._seen())


def _without_graph(result: Any) -> Any:
    """Return a result of the function itself as a replay returns it."""
    taken = take_apart(result, keep=lambda leaf: leaf.primitive is None)
    if not any(isinstance(leaf, Tensor) for leaf in taken.leaves):
        return result
    leaves = [a if not isinstance(a, Tensor) else _alone(a) for a in taken.leaves]
    return taken.rebuild(iter(leaves))


#: Held while a function is captured: what it refers to is then replaced, for all threads.
_captures = threading.RLock()


def _check_function(function: Any) -> None:
    if not callable(function):
        raise TypeError(f"compile needs a function, got {type(function).__name__}")
    if is_deferred(function):
        raise TypeError(
            f"{getattr(function, '__name__', function)} is a generator or coroutine function, "
            f"whose body runs after a call of it has returned: compile the function that does one "
            f"step"
        )


def _warn(text: str) -> None:
    """Warn of something in the line that has called the compiled function."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    warnings.warn(text, stacklevel=level)


_PACKAGE_NAME = __name__.partition(".")[0]
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def compile(  # PyTorch's name; Python's own is not used here
    function: Callable[..., Any] | None = None, /, *, fallback: bool = False, cache_size: int = 16
) -> Any:
    """Capture a step once, and replay it as straight-line NumPy calls into buffers made once.

    The first call runs the function with what stands for arrays, and writes down what it does: the
    forward pass, `backward`, the optimizer's step, draws from a generator. Later calls with
    arguments of the same shapes and dtypes run that program, which has no graph and allocates next
    to nothing. Results are those of the function itself.

    Parameters
    ----------
    function : callable
        Takes arrays, tensors, Values, containers of them, and whatever else (models, strings,
        Python numbers) is the same at most calls. It may refer to anything by name.
    fallback : bool
        Whether a function that cannot be captured runs as it is, with a warning, instead of
        raising CaptureError.
    cache_size : int
        How many captured programs are kept, the latest ones. Each new combination of shapes,
        dtypes, and values of what is no array needs one, and a change of what the function refers
        to: a number, an attribute, the mode of training. A warning tells when more are needed.

    Returns
    -------
    callable
        With the attributes ``captures`` (how often the function was captured), ``function``, and
        the methods ``clear()``, ``explain()`` and ``source()``. It returns what the function
        returns, tensors without their graph.

    Raises
    ------
    CaptureError
        By a call, if the function does what a replay could not do again: its path depends on
        numbers (``if loss > 3``, ``float(t)``, ``t.item()``), or it leaves something behind besides
        the data and gradients of tensors and the state of optimizers and generators (a list that
        grows, a counter). The message names the line and the remedy. Everything is then as it was
        before the call, and so it is after any other error.
    TypeError
        For a generator or coroutine function.

    Notes
    -----
    Arrays that the function refers to by name are read at every call. A NumPy scalar or a 0-d
    array is an input; a Python number is part of what a program is for, so that a learning rate
    that changes should be passed as ``np.asarray(lr)`` (that of an optimizer may just be set).
    Inside another compiled function, a transform (`grad`, `jvp`) or `detect_anomaly`, the function
    itself is called. One thread at a time runs a compiled function.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([w], lr=0.1)
    >>> @tg.compile
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = np.sum((w * x) ** 2)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> [round(step(np.array([1.0, 0.5])).item(), 3) for _ in range(3)]
    [2.0, 1.542, 1.224]
    >>> step.captures
    1
    """
    if function is None:
        return lambda f: Compiled(f, fallback, cache_size)
    return Compiled(function, fallback, cache_size)
