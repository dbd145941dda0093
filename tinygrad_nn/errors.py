"""The exceptions that the package raises, one small family.

Each is also a subclass of the built-in exception that Python or NumPy would raise in its
place, so that code written for arrays (``except ValueError``) keeps working.
"""

__all__ = [
    "AnomalyError",
    "CaptureError",
    "GradcheckError",
    "LossError",
    "MissingExtraError",
    "NotDifferentiableError",
    "ShapeError",
    "StaleGraphError",
    "TinygradError",
]


class TinygradError(Exception):
    """Base of every exception that is this package's own."""


class ShapeError(TinygradError, ValueError):
    """Shapes do not fit each other; the message shows both."""


class NotDifferentiableError(TinygradError, TypeError):
    """A function has no derivative here, or a conversion would drop the gradient."""


class StaleGraphError(TinygradError, RuntimeError):
    """A tensor was changed after the computation that ``backward`` would differentiate."""


class AnomalyError(TinygradError, ArithmeticError):
    """Under `detect_anomaly`: a number became nan or infinite, or a saved array was changed."""


class CaptureError(TinygradError, RuntimeError):
    """A step that `compile` captures does what a replay could not do again."""


class LossError(TinygradError, ValueError):
    """A loss function returned what no gradient can be taken of."""


class GradcheckError(TinygradError, AssertionError):
    """A gradient is wrong; ``report`` holds the findings."""

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class MissingExtraError(TinygradError, ImportError):
    """An optional dependency is not installed; the message names the extra that has it."""
