"""Reading a CSV file: columns of text with the lines they came from, or an error that says where.

Nothing is guessed that could silently give other numbers: a cell that is empty, a row that is too
short, an encoding that is not UTF-8 are errors.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.job.errors import JobError

__all__ = ["Table", "count", "is_number", "read_table"]

_GZIP = b"\x1f\x8b"
_GAP = "; fill it in, or remove the row"
#: How files spell that there is nothing, in any case.
_MISSING = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none"}
_NUMERIC = (
    "; columns other than the target must be numeric: write numbers, or leave this one out with "
    "--ignore"
)


@dataclass(frozen=True)
class Table:
    """The cells of a CSV file.

    Parameters
    ----------
    path : str
        As the user wrote it, for messages.
    names : list of str
        The header.
    rows : list of list of str
        Stripped of surrounding blanks; each as long as `names`.
    lines : list of int
        The line of the file, from 1, on which each row begins.
    """

    path: str
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def index(self, name: str) -> int:
        """Return the position of a column.

        Raises
        ------
        JobError
            If there is none of that name; the message lists the columns, a near one first.
        """
        if name in self.names:
            return self.names.index(name)
        near = difflib.get_close_matches(name, self.names, 1, 0.6) or [
            n for n in self.names if n.casefold() == name.strip().casefold()
        ]
        hint = f"did you mean {near[0]!r}? the " if near else "the "
        if all(is_number(n) for n in self.names):
            hint = "the first line must hold the columns' names, and holds numbers; the "
        raise JobError(f"{self.path}: no column {name!r}; {hint}columns are {_listed(self.names)}")

    def text(self, name: str) -> list[str]:
        """Return the cells of a column.

        Raises
        ------
        JobError
            If a cell is empty or says that its value is missing, as NaN, NA and null do.
        """
        i = self.index(name)
        cells = [row[i] for row in self.rows]
        for line, cell in zip(self.lines, cells, strict=True):
            if _is_missing(cell):
                raise JobError(f"{self._where(line, name)}{_complaint(cell)}{_GAP}")
        return cells

    def numbers(self, names: Sequence[str], remedy: str = _NUMERIC) -> npt.NDArray[np.float64]:
        """Return columns as numbers, shape ``(rows, len(names))``.

        Parameters
        ----------
        names : sequence of str
        remedy : str
            What to advise where a cell is no number.

        Raises
        ------
        JobError
            If a cell is no finite number.
        """
        columns = [self.index(name) for name in names]
        result = np.empty((len(self.rows), len(columns)))
        for k, row in enumerate(self.rows):
            for j, i in enumerate(columns):
                try:
                    result[k, j] = _number(row[i])
                except ValueError:
                    where = self._where(self.lines[k], names[j])
                    advice = _GAP if _is_missing(row[i]) else remedy
                    raise JobError(f"{where}{_complaint(row[i])}{advice}") from None
        return result

    def _where(self, line: int, name: str) -> str:
        return f"{self.path}: line {line}, column {name!r}"


def _is_missing(cell: str) -> bool:
    return cell.casefold() in _MISSING


def _complaint(cell: str) -> str:
    """Return what is wrong with a cell that is no number, to go behind where it is."""
    if _is_missing(cell):
        return f" is missing ({cell})" if cell else " is empty"
    return f": {_short(cell)} is not {'finite' if is_number(cell) else 'a number'}"


def _number(cell: str) -> float:
    value = float(cell)
    # Python reads 2024_01 as 202401, which is hardly what a file means by it.
    if not math.isfinite(value) or "_" in cell:
        raise ValueError
    return value


def is_number(cell: str) -> bool:
    """Return whether a cell is a number, finite or not."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _listed(names: Sequence[str], limit: int = 12) -> str:
    if len(names) <= limit:
        return ", ".join(map(_short, names))
    first = ", ".join(map(_short, names[: limit - 2]))
    return f"{first}, ... {len(names) - limit + 1} more ..., {_short(names[-1])}"


def read_table(path: str | Path) -> Table:
    """Read a CSV file, plain or compressed with gzip, whatever its name.

    The first line holds the names of the columns. Cells are separated by commas; by semicolons or
    tabs where the first line has no comma. Blank lines are skipped.

    Parameters
    ----------
    path : str or Path
        UTF-8, with or without a byte order mark.

    Returns
    -------
    Table

    Raises
    ------
    JobError
        If it cannot be read, is no CSV, or has rows of different lengths.
    """
    name = str(path)
    text = _decode(name, _unpack(name, _load(name)))
    rows, lines = _split(name, text)
    if not rows:
        raise JobError(f"{name}: the file is empty; its first line must hold the columns' names")
    header = rows.pop(0)
    lines.pop(0)
    _check_header(name, header)
    if not rows:
        raise JobError(f"{name}: there is a header, but no row of data below it")
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise JobError(
                f"{name}: line {line} has {count(len(row), 'cell')}, the header has "
                f"{len(header)}; each row needs a cell for each column"
            )
    return Table(name, header, rows, lines)


def count(n: int, noun: str) -> str:
    """Return a number of things in words: 1 row, 1,797 rows."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _load(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except FileNotFoundError:
        raise JobError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise JobError(f"{name}: is a directory, not a CSV file") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"{name}: cannot be read: {reason}") from None


def _unpack(name: str, data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    try:
        return gzip.decompress(data)
    except EOFError:
        raise JobError(f"{name}: the gzip file is cut off; copy or download it again") from None
    except (OSError, zlib.error) as error:
        raise JobError(f"{name}: the gzip file is damaged ({error})") from None


def _decode(name: str, data: bytes) -> str:
    # Text in UTF-16 is full of zero bytes, as are most binary formats.
    if b"\0" in data[:100_000] or data.startswith((b"\xff\xfe", b"\xfe\xff", b"PK\x03\x04")):
        raise JobError(
            f"{name}: is not a CSV file in UTF-8 but binary data or UTF-16; "
            f"export it as CSV with the encoding UTF-8"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise JobError(
            f"{name}: line {line}: byte 0x{data[error.start]:02x} is not UTF-8; "
            f"export the file with the encoding UTF-8"
        ) from None


def _split(name: str, text: str) -> tuple[list[list[str]], list[int]]:
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = "," if "," in first else max(";\t", key=first.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True,
        skipinitialspace=delimiter != "\t",
    )  # fmt: skip
    rows: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if cells and (len(cells) > 1 or cells[0]):
                rows.append(cells)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise JobError(f"{name}: line {start}: not valid CSV ({error})") from None
    return rows, lines


def _check_header(name: str, header: Sequence[str]) -> None:
    seen: dict[str, Any] = {}
    for i, column in enumerate(header, 1):
        if not column:
            raise JobError(
                f"{name}: column {i} has no name in the header; name it, or remove it if it "
                f"only counts the rows"
            )
        if column in seen:
            raise JobError(
                f"{name}: columns {seen[column]} and {i} are both called {column!r}; "
                f"names must differ"
            )
        seen[column] = i
