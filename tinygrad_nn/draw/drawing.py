"""Drawing: a described graph, and every form that it can be written in."""

from __future__ import annotations

import os
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

from tinygrad_nn.draw.description import Description
from tinygrad_nn.draw.folding import fold_to
from tinygrad_nn.draw.palette import dark_dot, dark_style
from tinygrad_nn.draw.writing.dot import to_dot
from tinygrad_nn.draw.writing.json_form import to_json
from tinygrad_nn.draw.writing.mermaid import to_mermaid
from tinygrad_nn.draw.writing.page import MOST, Page, to_page
from tinygrad_nn.draw.writing.text import to_text
from tinygrad_nn.errors import MissingExtraError
from tinygrad_nn.files import atomic_write, write_together

__all__ = ["RANKDIRS", "THEMES", "Drawing", "GraphvizMissingError"]

RANKDIRS = ("LR", "TB", "RL", "BT")
THEMES = ("auto", "light", "dark")

#: Of an SVG picture. The class keeps it from other pictures of a page that this one stands in.
_FOLLOWS_SYSTEM = (
    f"<style>@media (prefers-color-scheme: dark) {{{dark_style('.tinygrad-graph')}}}</style>\n"
).encode()

# For a larger picture `dot` takes from half a minute to hours, and nobody could read it. Notebooks
# show it folded; who asks for a picture by name gets it whole.
_LARGE = 1000
_READABLE = 100

# Twice the density of a screen, so that text in a PNG is sharp.
_PNG_DPI = 192


class GraphvizMissingError(MissingExtraError):
    """The program `dot`, which lays out pictures, is not installed."""


class Drawing:
    """A computation graph, ready to be written. Made by `draw`.

    Attributes
    ----------
    description : Description
        Nodes, edges and clusters, with all that is known of them.
    whole : Description
        The same with nothing folded, as the page has it.
    rankdir : str
        The direction in which numbers flow.
    format : str
        What `render` writes by default.
    theme : str
        "light", "dark", or "auto": pages and SVG pictures follow the reader's system, other
        pictures are light.
    """

    def __init__(
        self,
        description: Description,
        rankdir: str = "LR",
        format: str = "svg",
        *,
        theme: str = "auto",
        depth: int | None = None,
        max_nodes: int | None = None,
        repeats: bool | None = None,
    ) -> None:
        for name, given, known in (("rankdir", rankdir, RANKDIRS), ("theme", theme, THEMES)):
            if given not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {given!r}")
        self.whole = description
        self.description = fold_to(description, depth, max_nodes, repeats)
        self.rankdir = rankdir
        self.format = format
        self.theme = theme
        self._depth = depth
        self._max_nodes = max_nodes

    def __repr__(self) -> str:
        d = self.description
        return (
            f"<Drawing of {len(d.nodes):,} nodes, {len(d.edges):,} edges, "
            f"{len(d.clusters):,} clusters>"
        )

    # --- text ----------------------------------------------------------------------------------

    def to_dot(self) -> str:
        """Return the graph in Graphviz's language."""
        return to_dot(self.description, self.rankdir)

    @property
    def source(self) -> str:
        """The graph in Graphviz's language (the graphviz package's name for it)."""
        return self.to_dot()

    def to_mermaid(self) -> str:
        """Return the graph in Mermaid's language, which GitHub draws in a ```mermaid block."""
        return to_mermaid(self.description, self.rankdir)

    def to_text(self, color: bool | None = False) -> str:
        """Return the graph as a tree for the terminal, outputs first.

        Parameters
        ----------
        color : bool, optional
            Whether roles, and what is not finite, wrong or zero, are in colour, by ANSI codes.
            None: where standard output is a terminal, and neither NO_COLOR is set nor TERM is
            "dumb".
        """
        return to_text(self.description, color)

    def to_json(self) -> str:
        """Return the description as JSON, whose fields `draw.json_form` explains."""
        return to_json(self.description)

    def to_html(self) -> str:
        """Return a page to explore the graph on, which needs nothing else.

        It is laid out in the browser: the program `dot` is not needed. Parts can be folded and
        opened, nodes searched for, and the computation followed step by step, forward and back.
        """
        most = MOST if self._max_nodes is None else self._max_nodes
        return to_page(self.whole, repr(self)[1:-1], self.rankdir, most, self._depth, self.theme)

    def interactive(self, height: int = 600) -> Page:
        """Return what shows the page in a notebook.

        Parameters
        ----------
        height : int
            Of the frame that it stands in, in pixels.
        """
        return Page(self.to_html(), height)

    # --- pictures ------------------------------------------------------------------------------

    def to_svg(self) -> str:
        """Return the picture as SVG. Where the theme is "auto", it follows the reader's system.

        Raises
        ------
        GraphvizMissingError
            If the program `dot` is not installed.
        """
        return self.pipe("svg").decode("utf-8")

    def pipe(self, format: str | None = None) -> bytes:
        """Return what `dot` makes of the graph: ``"svg"``, ``"png"``, ``"pdf"``..."""
        format = format or self.format
        source = to_dot(self.description, self.rankdir, _PNG_DPI if format == "png" else None)
        if self.theme == "dark":
            source = dark_dot(source)
        made = _run_dot(source, format)
        if format == "svg" and self.theme == "auto":
            made = made.replace(b" xmlns=", b' class="tinygrad-graph" xmlns=', 1)
            return made.replace(b"<g id=", _FOLLOWS_SYSTEM + b"<g id=", 1)
        return made

    @property
    def _is_large(self) -> bool:
        return len(self.description.nodes) > _LARGE

    @cached_property
    def _svg_if_possible(self) -> str | None:
        shown = self
        if self._is_large:
            shown = Drawing(self.whole, self.rankdir, theme=self.theme, max_nodes=_READABLE)
        try:
            return shown.to_svg()
        except (MissingExtraError, RuntimeError):
            return None

    def _repr_svg_(self) -> str | None:
        """Show the picture in a notebook, if it can be drawn; folded if it is too large to read."""
        return self._svg_if_possible

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        svg = self._repr_svg_()
        bundle = {"text/plain": repr(self) if self._is_large else self.to_text()}
        return bundle if svg is None else bundle | {"image/svg+xml": svg}

    # --- files ---------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a file in the form that its suffix says; it appears whole or not at all.

        Parameters
        ----------
        path : str or path-like
            Ending in .svg, .png, .pdf (these need the program `dot`), .dot, .gv, .mmd, .txt, .json
            or .html.

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            If the suffix is another one.
        GraphvizMissingError
            If a picture is asked for and the program `dot` is not installed.

        Examples
        --------
        >>> import tempfile, pathlib, tinygrad_nn as tg
        >>> from tinygrad_nn.draw import draw
        >>> x = tg.Value(3.0, label="x")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw(x * x).save(pathlib.Path(folder) / "square.mmd").name
        'square.mmd'
        """
        path = Path(path)
        write = _WRITERS.get(path.suffix.lower())
        if write is None:
            raise ValueError(
                f"cannot tell from {path.name!r} what to write; give a name that ends in "
                f"{', '.join(_WRITERS)}"
            )
        atomic_write(path, write(self))
        return path

    def render(
        self,
        filename: str | os.PathLike[str] = "graph.gv",
        directory: str | os.PathLike[str] | None = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
    ) -> str:
        """Write the source to `filename` and the picture next to it, as the graphviz package does.

        Parameters
        ----------
        filename : str or path-like
            Of the source; the picture's name is this with ``.svg`` (or other `format`) after it.
        directory : str or path-like, optional
            Where `filename` is.
        view : bool
            Open the picture in the system's viewer.
        cleanup : bool
            Do not leave the source there.
        format : str, optional
            ``"svg"``, ``"png"``, ``"pdf"``...; `self.format` by default.

        Returns
        -------
        str
            The picture's path.
        """
        format = format or self.format
        source = Path(directory or "") / filename
        picture = Path(f"{source}.{format}")
        files: dict[Path, bytes | str] = {picture: self.pipe(format)}
        if not cleanup:
            files[source] = self.source
        write_together(files)
        if view:
            import graphviz

            graphviz.view(str(picture))
        return str(picture)


# Keyed by suffix, in the order in which the error lists them.
_WRITERS = {
    ".svg": Drawing.to_svg,
    ".png": lambda drawing: drawing.pipe("png"),
    ".pdf": lambda drawing: drawing.pipe("pdf"),
    ".dot": Drawing.to_dot,
    ".gv": Drawing.to_dot,
    ".mmd": Drawing.to_mermaid,
    ".txt": Drawing.to_text,
    ".json": Drawing.to_json,
    ".html": Drawing.to_html,
}


_WITHOUT = (
    "Without it, .dot, .mmd, .txt, .json and .html files can be written, and to_text() printed."
)


def _run_dot(source: str, format: str) -> bytes:
    try:
        import graphviz
    except ImportError as error:
        raise GraphvizMissingError(
            f"drawing pictures needs the Python package graphviz: pip install graphviz. {_WITHOUT}"
        ) from error
    try:
        return graphviz.pipe("dot", format, source.encode("utf-8"), quiet=True)  # type: ignore[no-any-return]  # Any to mypy
    except graphviz.ExecutableNotFound as error:
        raise GraphvizMissingError(
            "drawing a picture needs the program `dot` of Graphviz, which is not on the PATH. "
            "Install it with `apt install graphviz` (Debian, Ubuntu), `brew install graphviz` "
            "(macOS), `choco install graphviz` (Windows) or `conda install graphviz`. " + _WITHOUT
        ) from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        raise RuntimeError(
            f"`dot` could not draw this graph as {format}: {said[0] if said else error}. {_WITHOUT}"
        ) from None
