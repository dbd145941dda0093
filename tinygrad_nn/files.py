"""Writing files so that they appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["atomic_write", "write_together"]


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file whole or not at all: whoever looks sees the old content or the new one.

    Parameters
    ----------
    path : path-like
        Where to; missing folders are made. Through a symbolic link, what it points to is replaced.
        A device or a pipe is written to directly.
    data : bytes or str
        Its content; text is encoded as UTF-8, line ends as they are.

    Raises
    ------
    OSError
        If it cannot be written; nothing is changed then.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tinygrad_nn.files import atomic_write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = pathlib.Path(folder, "note.txt")
    ...     atomic_write(target, "all of it")
    ...     target.read_text()
    'all of it'
    """
    write_together({Path(path): data})


def write_together(files: Mapping[Path, bytes | str]) -> None:
    """Write several files, all or none, as far as a file system can promise that.

    All are written under temporary names first, folders made where they are missing; what can
    fail (a full disk, a missing permission) fails there, and everything made is removed again.
    Only then do the files take their names, one after the other.

    Parameters
    ----------
    files : mapping of Path to bytes or str
        The content of each.

    Raises
    ------
    OSError
        If one cannot be written.
    """
    folders: list[Path] = []
    staged: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path, data in files.items():
            content = data.encode() if isinstance(data, str) else data
            target = Path(os.path.realpath(path))
            mode = _mode(target)
            if mode is not None and stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if mode is not None and not stat.S_ISREG(mode):
                target.write_bytes(content)
                continue
            if mode is not None and not os.access(target, os.W_OK):
                # A rename asks the folder alone; a file marked read-only is meant to stay.
                raise PermissionError(errno.EACCES, "the file is read-only")
            _make_folders(target.parent, folders)
            # Beside the target: a rename is atomic within one file system only.
            temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
            staged.append((temporary, target))
            with temporary.open("xb") as file:
                file.write(content)
            if mode is not None:
                temporary.chmod(stat.S_IMODE(mode))
        while staged:
            temporary, path = staged[0]
            temporary.replace(path)
            del staged[0]
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(path)  # not the temporary name
        for temporary, _ in staged:
            with suppress(OSError):
                temporary.unlink()
        for folder in reversed(folders):
            with suppress(OSError):
                folder.rmdir()
        raise


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make `folder` and the missing ones above it, and add them to `made`, outermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        made.append(folder)
