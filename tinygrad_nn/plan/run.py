"""Run a function once, with real numbers, while a capture writes down what it does."""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.errors import CaptureError
from tinygrad_nn.graph import Node
from tinygrad_nn.plan.arguments import Taken, own_copies, take_apart
from tinygrad_nn.plan.capture import Capture, NotCaptured, Output
from tinygrad_nn.plan.draws import METHODS, Draws, Source, equal, is_generator, sources
from tinygrad_nn.plan.outside import watched
from tinygrad_nn.plan.state import Change
from tinygrad_nn.plan.surroundings import Surroundings
from tinygrad_nn.plan.tape import Tape
from tinygrad_nn.traced import Traced, met_elsewhere

__all__ = ["Captured", "captured"]


class Captured(NamedTuple):
    """What a capture found out."""

    capture: Capture
    tape: Tape
    outputs: list[Output]
    rebuild: Callable[[Any], Any]  # makes the result, of an iterator of what stands for `outputs`

    def result(self) -> Any:
        """Return what the captured run has returned."""
        return self.rebuild(iter([o.make(o.var.example.copy()) for o in self.outputs]))


def captured(function: Callable[..., Any], taken: Taken) -> Captured:
    """Run a function on the arguments `taken`, and write down what it does.

    Nothing is changed outside; see `Capture.commit`. If an error is raised, everything is as it
    was, the states of generators included.
    """
    around = Surroundings([function, *taken.others])
    capture = Capture(around)
    given = [leaf for leaf in taken.leaves if is_generator(leaf)]
    origins = sources([*around.generators, *given], around.legacy, look=around.mentions(*METHODS))
    try:
        met_elsewhere.clear()
        with (
            around.replaced(capture.surrounding),
            watched(around.every_code, around.asks_outside),
        ):
            rebuild, outputs = _run(function, taken, capture)
        if capture.refused is not None:
            raise capture.refused[0]
        if capture.failed is not None:
            raise CaptureError(
                f"the function catches an error that other numbers would not raise "
                f"({type(capture.failed).__name__}: {capture.failed}), and goes another way. Check "
                f"the numbers outside the compiled function, or compile with fallback=True\n"
                f"{capture.failed_in}"
            )
        around.set_modes()
        capture.check_memory(taken.leaves, [o.var for o in outputs])
        tape = capture.tape([o.var for o in outputs])
        capture.states = {}
        _check_sources(around, origins, capture)
        _check_threads(around)
        _check_changes(around.changes)
        capture.check_kept()
    except BaseException as error:
        capture.undo()
        for origin in origins:
            origin.restore()
        if capture.refused is None or not isinstance(error, Exception):
            raise
        refused, handled = capture.refused
        if handled is not None and handled is capture.failed:
            raise NotCaptured from error
        if refused is error:
            raise
        raise refused from error
    return Captured(capture, tape, outputs, rebuild)


def _run(
    function: Callable[..., Any], taken: Taken, capture: Capture
) -> tuple[Callable[[Any], Any], list[Output]]:
    """Run the function on what stands for its arguments; return what it returns, taken apart."""
    with capture.running():
        stand_ins = [capture.argument(k, leaf) for k, leaf in enumerate(taken.leaves)]
        nodes = [(k, leaf) for k, leaf in enumerate(taken.leaves) if isinstance(leaf, Node)]
        capture.pairs = [(j, k, a is b) for (j, a), (k, b) in combinations(nodes, 2)]
        args, keywords = taken.rebuild(iter(stand_ins))
        result = take_apart(function(*args, **keywords), keep=capture.is_outside)
        _check_arguments(take_apart((args, keywords)), taken, stand_ins)
        return own_copies(result, capture.was_there), capture.outputs(result.leaves)


def _check_arguments(now: Taken, before: Taken, stand_ins: list[Any]) -> None:
    """Refuse a function that has put something into a list or dict among its arguments."""
    arrays = [s for s in stand_ins if s.__class__ is not Draws]
    same = len(now.leaves) == len(arrays) and not any(map(operator.is_not, now.leaves, arrays))
    if same and (now.key == before.key or len(arrays) < len(stand_ins)):
        return
    raise CaptureError(
        "the step itself changes a list or dict among its arguments, which a replay would not do. "
        "Return what shall be kept, and put it there outside the compiled function"
    )


def _check_sources(around: Surroundings, origins: list[Source], capture: Capture) -> None:
    for origin in origins:
        if not equal(origin.get(), capture.drawn_to.get(id(origin.bits), origin.state)):
            line = around.named("shuffle", "seed", *_LEGACY)
            raise CaptureError(
                f"random numbers were drawn from {origin.name}, which a replay would not do. Make "
                f"a generator, rng = np.random.default_rng(seed), outside the function, and draw "
                f"from it: as an argument, a global variable or an attribute"
                + (f"\n{line}" if line else "")
            )


def _check_threads(around: Surroundings) -> None:
    """Refuse a step that lets other threads work with arrays which it refers to."""
    if met_elsewhere and around.mentions(*_WORKERS):
        line = around.named(*_WORKERS)
        raise CaptureError(
            "the step lets another thread compute, which a replay would not. Compute in the step "
            "itself, or do it outside the compiled function" + (f"\n{line}" if line else "")
        )


#: Names of what gives work to other threads.
_WORKERS = ("Thread", "submit", "ThreadPoolExecutor", "ThreadPool", "apply_async", "to_thread")

#: Names of functions that draw from a global state.
_LEGACY = (
    "rand", "randn", "random", "random_sample", "normal", "uniform", "randint", "permutation",
    "choice", "standard_normal", "gauss", "randrange", "sample", "exponential", "binomial",
)  # fmt: skip


def _check_changes(changes: list[Change]) -> None:
    if changes:
        change = changes[0]
        raise CaptureError(
            f"the step itself changes {change.name} (from {_short(change.before)} to "
            f"{_short(change.now)}), which a replay would not do. {change.remedy}"
            + (f"\n{change.line}" if change.line else "")
        )


def _short(item: Any) -> str:
    if isinstance(item, Node | Traced | np.ndarray):
        return "an array"
    text = str(item) if isinstance(item, str) else repr(item)
    return text if len(text) < 40 else f"an object of {type(item).__name__}"
