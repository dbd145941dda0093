"""A report as text, plain or in colour, and as an HTML table."""

from __future__ import annotations

import html
import textwrap
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tinygrad_nn.gradcheck.culprit import blame_sentences

if TYPE_CHECKING:
    from tinygrad_nn.gradcheck.report import Finding, GradcheckReport

__all__ = ["as_html", "as_text"]

#: Rows that the printed table has room for.
ROWS = 12
#: Columns that sentences are wrapped at, and that names have: the end of a name, the index, says
#: more than its middle.
WIDTH, NAME, NAME_HEAD = 100, 40, 14

COLUMNS = ("element", "analytic", "numerical", "error", "tolerance", "verdict")

#: SGR codes by the first word of a verdict. Readers who see no colour read the word, and "wrong"
#: is bold as well.
SGR = {"wrong": "1;31", "not": "33", "weak": "36", "right": "32"}

#: (text, background) by the same. With backgrounds of their own they read the same in light and
#: dark notebooks, at contrasts above 7:1; after Okabe and Ito's colours.
INK = "#1a1a1a"
BADGES = {
    "wrong": ("#ffffff", "#9e001c"),
    "not": (INK, "#fbe3b5"),
    "weak": (INK, "#cfe8f9"),
    "right": (INK, "#bfe8d8"),
}

#: A grey in the middle, which shows on white and on black alike.
LINE = "#7d7d7d"


def printable(text: str) -> str:
    """Show control characters as escapes: a label must not be able to steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def shortened(name: str) -> str:
    """Cut the middle out of a long name."""
    if len(name) <= NAME:
        return name
    return name[:NAME_HEAD] + "..." + name[len(name) - (NAME - NAME_HEAD - 3) :]


def _columns(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _cells(finding: Finding, name: str) -> list[str]:
    cells = [
        name + (" (second order)" if finding.order == 2 else ""),
        f"{finding.analytic:.8g}",
        f"{finding.numeric:.8g}",
        f"{finding.error:.1e}",
        f"{finding.tolerance:.1e}",
        finding.verdict + (f": {finding.note}" if finding.note else ""),
    ]
    return [printable(cell).replace("\n", "\\n") for cell in cells]


def _rest(report: GradcheckReport) -> str:
    """Return what is to be said of the findings that the table has no room for."""
    rest = report.findings[ROWS:]
    if not rest:
        return ""
    wrong = sum(f.verdict == "wrong" for f in rest)
    if wrong == len(rest):
        return f"... and {wrong:,} more that are wrong"
    which = f", {wrong:,} of them wrong" if wrong else ""
    return f"... and {len(rest):,} more{which}, none of them worse"


def _sentences(report: GradcheckReport) -> list[tuple[str, str]]:
    """Return broken contracts and diagnoses, each with what it is."""
    headline = report.headline
    broken = [("broken", str(p)) for p in report.problems if str(p) not in headline]
    return broken + [("pattern", str(d)) for d in report.diagnoses]


# --- text ----------------------------------------------------------------------------------------


def as_text(report: GradcheckReport, color: bool) -> str:
    """Return a report as text: the outcome, what is broken and why, a table, what was checked."""

    def paint(text: str, kind: str) -> str:
        return f"\x1b[{SGR[kind]}m{text}\x1b[0m" if color else text

    head, _, outcome = printable(report.headline).partition(": ")
    word, *others = outcome.partition(":")
    lines = [f"{head}: {paint(word, word.lower())}{''.join(others)}"]
    for kind, sentence in _sentences(report):
        first, *more = _wrapped(f"  {kind}: {sentence}", "    ")
        lines += [first.replace(kind, paint(kind, "wrong" if kind == "broken" else "weak"), 1)]
        lines += more
    for kind, sentence, place in blame_sentences(report.blame):
        first, *more = _wrapped(f"  {kind}: {sentence}", "    ")
        lines += [first.replace(kind, paint(kind, "wrong" if kind == "blame" else "not"), 1)]
        lines += more + [f"    {line}" for line in printable(place).splitlines()]
    if report.findings:
        shown = report.findings[:ROWS]
        table = [COLUMNS, *(_cells(f, shortened(printable(f.name))) for f in shown)]
        widths = [max(_columns(row[i]) for row in table) for i in range(5)]
        for k, row in enumerate(table):
            padding = " " * (widths[0] - _columns(row[0]))
            numbers = "  ".join(f"{row[i]:>{widths[i]}}" for i in range(1, 5))
            verdict = row[5]
            if k:
                said = shown[k - 1].verdict
                verdict = paint(said, said.split()[0]) + verdict.removeprefix(said)
            lines.append(f"  {row[0]}{padding}  {numbers}  {verdict}")
        if rest := _rest(report):
            lines.append(f"  {rest}")
    checked, *others = report.scope
    lines.append(printable(checked))
    for line in others:
        lines += _wrapped(line, "  ")
    return "\n".join(lines)


def _wrapped(sentence: str, indent: str) -> list[str]:
    return [
        line
        for part in printable(sentence).split("\n")
        for line in textwrap.wrap(part, WIDTH, subsequent_indent=indent, break_long_words=False,
                                  break_on_hyphens=False) or [""]
    ]  # fmt: skip


# --- HTML ----------------------------------------------------------------------------------------


def as_html(report: GradcheckReport) -> str:
    """Return a report as HTML for a notebook, with styles inside and no script.

    The page's own colours are used for text, so that it reads in light and dark ones.
    """
    cell = "padding:2px 10px;text-align:right;font-variant-numeric:tabular-nums"
    left = "padding:2px 10px;text-align:left"
    shown = report.findings[:ROWS]
    word = "right" if report else "wrong"
    said = report.headline.removeprefix(f"gradcheck: {'right' if report else 'WRONG: '}")
    caption = f"{_badge(word, word)} {_escaped(said)}"
    items = "".join(f"<li><b>{k}:</b> {_escaped(text)}</li>" for k, text in _sentences(report))
    items += "".join(
        f"<li><b>{k}:</b> {_escaped(text)}<pre>{_escaped(place)}</pre></li>"
        for k, text, place in blame_sentences(report.blame)
    )
    head = "".join(
        f'<th scope="col" style="{left if i in (0, 5) else cell}">{column}</th>'
        for i, column in enumerate(COLUMNS)
    )
    rows = []
    for f in shown:
        name, *numbers, _ = _cells(f, f.name)
        note = f" {_escaped(f.note)}" if f.note else ""
        rows.append(
            f'<tr><th scope="row" style="{left};font-weight:normal;font-family:monospace">'
            f"{html.escape(name)}</th>"
            + "".join(f'<td style="{cell}">{number}</td>' for number in numbers)
            + f'<td style="{left}">{_badge(f.verdict, f.verdict.split()[0])}{note}</td></tr>'
        )
    table = (
        f'<table style="border-collapse:collapse;border-bottom:1px solid {LINE}">'
        f'<caption style="text-align:left;font-weight:bold;padding:4px 0">gradcheck: {caption}'
        f'</caption><thead style="border-bottom:1px solid {LINE}"><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
        if rows
        else f"<p><b>gradcheck: {caption}</b></p>"
    )
    listed = f'<ul style="margin:6px 0">{items}</ul>' if items else ""
    below: Iterable[str] = filter(None, [_rest(report), *report.scope])
    return (
        f'<div style="overflow-x:auto">{table}{listed}'
        f'<p style="margin:6px 0">{"<br>".join(map(_escaped, below))}</p></div>'
    )


def _badge(text: str, kind: str) -> str:
    ink, fill = BADGES[kind]
    return (
        f'<span style="color:{ink};background:{fill};border-radius:3px;padding:1px 6px;'
        f'white-space:nowrap">{html.escape(text)}</span>'
    )


def _escaped(text: str) -> str:
    return html.escape(printable(text))
