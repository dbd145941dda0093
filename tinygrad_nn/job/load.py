"""Loading a function from a user's file: ``FILE.py:FUNCTION``."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from tinygrad_nn.job.errors import JobError

__all__ = ["blame", "load_function"]


def load_function(spec: str, modules: dict[str, ModuleType] | None = None) -> Callable[..., Any]:
    """Run a Python file and return a function, or something else to call, that it defines.

    The file may import what lies beside it. Nothing is written: no byte code either.

    Parameters
    ----------
    spec : str
        ``FILE.py:FUNCTION``; the name may be that of an attribute, as in ``FILE.py:model.loss``.
    modules : dict, optional
        Files that have been run, by their path, which are not run again; it is added to.

    Raises
    ------
    JobError
        If the file cannot be run or has no such function.
    """
    file, colon, name = spec.rpartition(":")
    first, *rest = name.split(".")
    if not colon or not file or not all(part.isidentifier() for part in (first, *rest)):
        raise JobError(f"{spec}: expected FILE.py:FUNCTION, as in losses.py:focal_loss")
    modules = {} if modules is None else modules
    if file not in modules:
        modules[file] = _run(file)
    names = vars(modules[file])
    if first not in names:
        own = [n for n, v in names.items() if not n.startswith("_") and _is_own(v, modules[file])]
        near = difflib.get_close_matches(first, own, 1)
        hint = f"did you mean {near[0]}? it" if near else "it"
        raise JobError(f"{file}: no function {first!r}; {hint} has {', '.join(own) or 'none'}")
    function = names[first]
    for part in rest:
        if not hasattr(function, part):
            raise JobError(
                f"{file}: no {name!r}: a {type(function).__name__} object has no {part!r}"
            )
        function = getattr(function, part)
    if not callable(function):
        raise JobError(f"{file}: {name!r} is no function but of type {type(function).__name__}")
    return function  # type: ignore[no-any-return]  # callable() tells mypy too little


def _is_own(value: Any, module: ModuleType) -> bool:
    """Whether it can be called, and is no function or class that a module has imported."""
    imported = isinstance(value, FunctionType | type) and value.__module__ != module.__name__
    return callable(value) and not imported


def _run(file: str) -> ModuleType:
    path = Path(file)
    source = _source(path)
    module = ModuleType(f"{path.stem} (user's file)")
    module.__file__ = str(path)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        # At the end: a user's random.py must not take the place of Python's.
        sys.path.append(folder)
    # Dataclasses and pickle look their module up by name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except SyntaxError as error:
        # Not always this file: it may be one that it imports.
        where = f"{error.filename or file}: " + (f"line {error.lineno}: " if error.lineno else "")
        raise JobError(f"{where}{error.msg}") from None
    except (Exception, SystemExit) as error:
        raise JobError(f"{file}: cannot be imported: {blame(error, path)}") from error
    return module


def _source(path: Path) -> bytes:
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise JobError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise JobError(f"{path}: is a directory, not a Python file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"{path}: cannot be read: {reason}") from None
    return source


def blame(error: BaseException, path: str | Path | None = None) -> str:
    """Return what went wrong in one line, with the last line of the user's file that led to it.

    Parameters
    ----------
    error : BaseException
        As raised by the user's code.
    path : str or Path, optional
        The user's file.
    """
    message = " ".join(str(error).split()) or "no message"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if path is not None and frame.filename == str(path)
    ]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {message}{where}"
