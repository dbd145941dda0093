"""The command ``tinygrad-nn draw``: its options, what it prints, what it opens."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from tinygrad_nn.draw import Drawing
from tinygrad_nn.draw.drawing import RANKDIRS, THEMES
from tinygrad_nn.draw.reading.describe import GRADIENTS
from tinygrad_nn.job.errors import JobError
from tinygrad_nn.job.options import input_options, listed
from tinygrad_nn.job.table import count
from tinygrad_nn.job.tasks import draw_function
from tinygrad_nn.job.terminal import put, say, warn

__all__ = ["draw"]

#: What can be written to standard output; the first is what a terminal gets unasked.
_FORMATS = {
    "text": Drawing.to_text,
    "json": Drawing.to_json,
    "dot": Drawing.to_dot,
    "mermaid": Drawing.to_mermaid,
    "svg": Drawing.to_svg,
    "html": Drawing.to_html,
}

#: What every browser shows.
_SHOWN = (".html", ".svg", ".png", ".pdf")


@click.command(short_help="Draw the computation graph of a function.")
@click.argument("function", metavar="FILE.py:FUNCTION")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The file to write; its name ends in .html (a page to explore), .svg, .png, .pdf (these "
    "need Graphviz), .mmd, .dot, .json or .txt. Without it, the graph is printed as a tree.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    help="Print the graph in this form, and nothing else.",
)
@click.option("--open", "opens", is_flag=True, help="Show the file in the browser.")
@click.option(
    "--depth",
    type=click.IntRange(min=0),
    metavar="N",
    help="Fold modules to a box each where they stand in N others; 0 folds the outermost.",
)
@click.option(
    "--max-nodes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Fold the deepest modules first, until no more than N boxes are left.",
)
@click.option(
    "--repeats",
    is_flag=True,
    default=None,
    help="Make one box of equal modules in a row. So are those made that are folded anyway.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="Draw this module alone, with what goes into it; or, given twice, what lies between two "
    "nodes. * stands for anything. Repeatable.",
)
@click.option(
    "--around",
    multiple=True,
    metavar="NAME",
    help="Draw what is near this node or module alone. Repeatable.",
)
@click.option(
    "--radius",
    type=click.IntRange(min=0),
    metavar="N",
    help="How many arrows from --around is near; 2 by default.",
)
@click.option("--profile", is_flag=True, help="Measure the time and the memory of each node.")
@click.option(
    "--theme",
    type=click.Choice(THEMES),
    default=THEMES[0],
    show_default=True,
    help="auto: pages and SVG pictures follow the reader's system.",
)
@click.option(
    "--rankdir",
    type=click.Choice(RANKDIRS, case_sensitive=False),
    help="From left to right (LR), from top to bottom (TB), ...",
)
@click.option(
    "--gradients",
    type=click.Choice(GRADIENTS),
    default=GRADIENTS[0],
    show_default=True,
    help="Derivatives of the output, what stands in .grad, or none.",
)
@input_options
def draw(
    function: str, output: str | None, form: str | None, opens: bool,
    only: Sequence[str], around: Sequence[str], radius: int | None,
    shapes: str | None, file: str | None, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Draw the computation graph of a call of FILE.py:FUNCTION.

    Without -o and --format the graph is printed as a tree, in colour where that is a terminal.
    """
    to_stdout = form is not None or output == "-"
    _check(output, form, opens)
    options |= _part(only, around, radius)
    with redirect_stdout(sys.stderr if to_stdout else sys.stdout):
        inputs, drawing, depends = draw_function(
            function, shapes=shapes, file=file, seed=seed, **options
        )
    head = f"{function} on\n{listed(inputs)}"
    if to_stdout:
        # As the same bytes as a file, whatever the terminal's encoding.
        click.echo(_written(drawing, form or "text").encode(), nl=False)
    elif output is None:
        say(head + "\n")
        put(drawing.to_text(color=None))
    else:
        path = _saved(drawing, output)
        graph = drawing.description
        say(f"{head}\n{path}: {count(len(graph.nodes), 'node')}, {count(len(graph.edges), 'edge')}")
        if graph.note:
            say(graph.note)
        if opens:
            _open(path)
    if not depends:
        warn(f"what {function} returned does not depend on its inputs; the graph has none of them")


def _check(output: str | None, form: str | None, opens: bool) -> None:
    """Refuse options that do not go together, before anything is run."""
    if form is not None and output not in (None, "-"):
        raise JobError(
            f"--format is for standard output, and -o {output} says by its ending what is written; "
            f"leave one of them out"
        )
    if opens and (output is None or Path(output).suffix.lower() not in _SHOWN):
        raise JobError(
            f"--open needs a file that a browser shows: -o graph.html (or {', '.join(_SHOWN[1:])})"
        )


def _part(only: Sequence[str], around: Sequence[str], radius: int | None) -> dict[str, Any]:
    """Return the options of `draw` that say which part of the graph is drawn."""
    if only and around:
        raise JobError("--only and --around exclude each other; give one of them")
    if radius is not None and not around:
        raise JobError("--radius is the distance from --around NAME; give that too")
    part: dict[str, Any] = {"only": only or None, "around": around or None}
    return part if radius is None else part | {"radius": radius}


def _written(drawing: Drawing, form: str) -> str:
    try:
        return _FORMATS[form](drawing)
    except RuntimeError as error:
        raise JobError(str(error)) from error


def _saved(drawing: Drawing, output: str) -> Path:
    try:
        return drawing.save(output)
    except ValueError as error:
        raise JobError(f"--output {output}: {error}") from error
    except RuntimeError as error:
        raise JobError(f"{output}: {error}") from error


def _open(path: Path) -> None:
    uri = path.absolute().as_uri()
    if not (_has_display() and webbrowser.open(uri)):
        warn(f"there is no browser to open it in; it is at {uri}")


def _has_display() -> bool:
    """Whether a browser has a window to open; without one, a text browser would take the terminal.

    Who has set BROWSER wants that one.
    """
    named = (os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    return sys.platform in ("darwin", "win32") or any(named)
