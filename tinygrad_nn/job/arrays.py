"""Reading ``.npz`` files without pickle: data from elsewhere must not run code."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.job.errors import JobError

__all__ = ["read_arrays"]


def read_arrays(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an ``.npz`` file by name, in the order in which they were saved.

    Raises
    ------
    JobError
        If it is no such file, is damaged, or holds objects.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise JobError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise JobError(f"{path}: is a directory, not an .npz file") from None
    except OSError as error:
        raise JobError(f"{path}: cannot be read: {error.strerror}") from None
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise JobError(f"{path}: is not an .npz file, or is cut off")
    try:
        # From memory: NumPy leaves a file open that turns out to be damaged.
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise JobError(f"{path}: is not an .npz file of plain arrays ({reason})") from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise JobError(f"{path}: holds files that are no arrays")
    return arrays
