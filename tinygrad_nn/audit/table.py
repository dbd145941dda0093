"""Tables of words: names and verdicts in columns, a sentence behind them."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["as_html", "as_text", "first_line"]

WIDTH = 98

Row = tuple[str, str, str]


def printable(text: str) -> str:
    """Show control characters as escapes: a label must not be able to steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def first_line(error: BaseException) -> str:
    """Return the type and the first line of the message of an error, shortened."""
    lines = str(error).splitlines()
    message = textwrap.shorten(lines[0], 240, placeholder=" ...") if lines else ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def as_text(headline: str, rows: Sequence[Row], notes: Iterable[str] = ()) -> str:
    """Lay out a headline, rows of two columns and a wrapped sentence, and notes below."""
    lines = [printable(headline)]
    cells = [tuple(printable(cell) for cell in row) for row in rows]
    first, second = (max((len(row[i]) for row in cells), default=0) for i in (0, 1))
    for name, verdict, sentence in cells:
        head = f"  {name:<{first}}  {verdict:<{second}}  "
        lines.append(_wrapped(sentence, head, " " * len(head)))
    lines += [_wrapped(printable(note), "", "  ") for note in notes]
    return "\n".join(lines)


def _wrapped(text: str, head: str, indent: str) -> str:
    return textwrap.fill(
        text, max(WIDTH, len(indent) + 40), initial_indent=head, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def as_html(headline: str, columns: Row, rows: Iterable[Row], notes: Iterable[str] = ()) -> str:
    """Lay out the same as HTML, with everything escaped."""

    def cells(tag: str, row: Row) -> str:
        return "".join(f"<{tag}>{html.escape(printable(cell))}</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    below = "<br>".join(html.escape(printable(note)) for note in notes)
    return (
        f"<div><p><b>{html.escape(printable(headline))}</b></p>"
        f"<table><thead><tr>{cells('th', columns)}</tr></thead><tbody>{body}</tbody></table>"
        f"<p>{below}</p></div>"
    )
