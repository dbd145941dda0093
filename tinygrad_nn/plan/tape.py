"""The tape: what a step does, as a list of instructions in the order of execution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tinygrad_nn.primitive import Primitive
from tinygrad_nn.source_line import SourceLine

__all__ = ["Assumption", "Cell", "Constant", "Instruction", "Parameter", "Tape", "Var"]


class Parameter(NamedTuple):
    """Origin of a variable: the numbers in an argument of the compiled function."""

    position: int
    name: str


class Constant(NamedTuple):
    """Origin of a variable: an array that is the same at every call."""

    array: Any


class Cell:
    """Origin of a variable: a place outside the function that a step reads, and may write to.

    Cells are compared by what they refer to.
    """

    def get(self) -> Any:
        """Return the array that is there now."""
        raise NotImplementedError

    def set(self, array: Any) -> None:
        """Put an array there."""
        raise NotImplementedError


class Var:
    """An array of the tape: written once, by its instruction, or there from the beginning.

    Attributes
    ----------
    shape, dtype
        As of an array.
    origin : Parameter, Constant, Cell or None
        Where it comes from; None for the result of an instruction.
    example : ndarray
        Its numbers in the run that was captured.
    """

    __slots__ = ("dtype", "example", "origin", "shape")

    def __init__(self, example: Any, origin: Any = None) -> None:
        self.example = example
        self.shape: tuple[int, ...] = example.shape
        self.dtype = example.dtype
        self.origin = origin

    @property
    def is_result(self) -> bool:
        """Whether an instruction computes it."""
        return self.origin is None

    @property
    def nbytes(self) -> int:
        """Bytes that its elements take."""
        return int(self.example.nbytes)

    def __repr__(self) -> str:
        return f"<{self.dtype}{list(self.shape)}>"


@dataclass(slots=True, eq=False)
class Instruction:
    """One application of a primitive: ``out = primitive(*args, **static)``."""

    primitive: Primitive
    args: tuple[Any, ...]  # variables, and plain numbers
    static: dict[str, Any]
    out: Var
    line: SourceLine | None = None
    view: bool = False  # whether the result shares memory with an argument
    has_effect: bool = False  # whether it does more than to compute its result: keeps its turn
    errors: dict[str, Any] | None = None  # np.errstate, where it is not the caller's

    @property
    def inputs(self) -> list[Var]:
        """The variables among the arguments."""
        return [a for a in self.args if a.__class__ is Var]

    def with_args(self, args: Iterable[Any]) -> Instruction:
        """Return the same instruction of other arguments."""
        return replace(self, args=tuple(args))


class Assumption(NamedTuple):
    """What the captured path depended on: a 0-d variable, and the truth that it had."""

    var: Var
    truth: bool


@dataclass(slots=True)
class Tape:
    """A captured step.

    Attributes
    ----------
    instructions : list of Instruction
        In the order of execution.
    outputs : list of Var
        What the function returns.
    writes : list of (Cell, Var or None)
        What the step leaves behind, all of it written after everything has been computed.
    assumptions : list of Assumption
        What must hold for the tape to say what the function does.
    """

    instructions: list[Instruction]
    outputs: list[Var] = field(default_factory=list)
    writes: list[tuple[Cell, Var | None]] = field(default_factory=list)
    assumptions: list[Assumption] = field(default_factory=list)

    @property
    def results(self) -> list[Var]:
        """The variables that somebody will look at when the instructions have run."""
        written = (v for _, v in self.writes if v is not None)
        return [*self.outputs, *written, *(a.var for a in self.assumptions)]

    def with_instructions(self, instructions: list[Instruction]) -> Tape:
        """Return the same tape of other instructions."""
        return replace(self, instructions=instructions)

    def substituted(self, new: dict[Var, Var]) -> Tape:
        """Return the tape with variables replaced."""

        def of(v: Any) -> Any:
            while v.__class__ is Var and v in new:
                v = new[v]
            return v

        return Tape(
            [i.with_args(map(of, i.args)) for i in self.instructions],
            [of(v) for v in self.outputs],
            [(cell, of(v)) for cell, v in self.writes],
            [Assumption(of(a.var), a.truth) for a in self.assumptions],
        )
