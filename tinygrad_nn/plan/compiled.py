"""The callable that `compile` returns: plans by what they were captured for, and their replay."""

from __future__ import annotations

import functools
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any

from tinygrad_nn.errors import CaptureError
from tinygrad_nn.graph import Node, _unusual, capturing, is_grad_enabled
from tinygrad_nn.guard import transforming
from tinygrad_nn.plan.arguments import Taken, take_apart
from tinygrad_nn.plan.build import MISS, Plan, build
from tinygrad_nn.plan.capture import Capture, captured
from tinygrad_nn.plan.passes import PASSES

__all__ = ["Compiled", "compile"]


class Compiled:
    """A function that is captured at its first call and replayed afterwards; see `compile`."""

    def __init__(self, function: Callable[..., Any], fallback: bool, cache_size: int) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.fallback = fallback
        self.cache_size = cache_size
        self.captures = 0
        self._plans: dict[Any, list[Plan]] = {}  # by key, the least recently captured first
        self._latest: Plan | None = None
        self._eager = False  # whether capturing has failed, with `fallback`
        self._lock = threading.RLock()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}: {sum(map(len, self._plans.values()))} plans>"  # type: ignore[attr-defined]  # update_wrapper sets it

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Call the function, or replay what it did for arguments of the same kind."""
        if _unusual or self._eager:
            return self._in_a_mode(args, keywords)
        with self._lock:
            plan = self._latest
            if plan is not None and not keywords and len(args) == plan.n_args:
                try:
                    result = plan.call(*args)
                except Exception as error:
                    if plan.has_written(error):
                        raise
                    result = MISS  # the function itself raises what it raises
                if result is not MISS:
                    return result
            return self._look_up(args, keywords)

    def _in_a_mode(self, args: Any, keywords: Any) -> Any:
        """Call the function where it is being watched: by another capture, or a transform."""
        if self._eager or capturing() is not None or transforming():
            return self.function(*args, **keywords)
        with self._lock:
            return self._look_up(args, keywords)

    def _look_up(self, args: Any, keywords: Any) -> Any:
        taken = take_apart((args, keywords))
        if any(isinstance(a, Node) and a.primitive is not None for a in taken.leaves):
            return self.function(*args, **keywords)  # part of a graph, which goes on through it
        key = (taken.key, is_grad_enabled())
        for plan in self._plans.get(key, ()):
            try:
                result = plan.run(taken.leaves)
            except Exception as error:
                if plan.has_written(error):
                    raise
                continue
            if result is not MISS:
                self._latest = plan
                return result
        return self._capture(key, taken, args, keywords)

    def _capture(self, key: Any, taken: Taken, args: Any, keywords: Any) -> Any:
        try:
            found = captured(self.function, taken)
        except CaptureError as error:
            if not self.fallback:
                raise
            warnings.warn(
                f"{self.__name__} cannot be compiled and runs eagerly: {error}",  # type: ignore[attr-defined]  # update_wrapper sets it
                stacklevel=4,
            )
            self._eager = True
            return self.function(*args, **keywords)
        tape = found.tape
        for change in PASSES:
            tape = change(tape)
        flat = not keywords and len(taken.leaves) == len(args)
        found.capture.commit(found.tape.writes)
        plan = build(found, tape, taken.leaves, flat)
        self.captures += 1
        self._plans.setdefault(key, []).append(plan)
        self._latest = plan
        return found.result()


def compile(  # noqa: A001  # PyTorch's name; Python's own is not used here
    function: Callable[..., Any] | None = None, /, *, fallback: bool = False, cache_size: int = 16
) -> Any:
    """Capture a step once, and replay it as straight-line NumPy calls into buffers made once."""
    if function is None:
        return lambda f: Compiled(f, fallback, cache_size)
    return Compiled(function, fallback, cache_size)
