"""The documentation: its code runs, its outputs are what the code prints, its links lead somewhere.

Conventions of the pages, all visible in their source:

* The ```python blocks of a page are one program, run in a folder of its own.
* A block that begins with ```python torch or ```python jax needs that library, and is run by
  ``make oracle`` alone, which installs both; so must blocks begin that use what it defines.
* A ```text block right after a python block is what that block printed, where ``...`` stands for
  anything. If the block ends in an error, the last lines are ``ErrorName: message``, wrapped
  at will.
* An SVG picture in images/ is one that the page's code has saved under the same name.
* So is a page in live/, but for numbers, which differ from machine to machine.
* What stands in ```console blocks is not run, but its commands, options and files must exist.

``python tests/test_docs.py`` writes outputs and pictures anew wherever they differ, those of
libraries that are installed.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tinygrad_nn.draw import drawing
from tinygrad_nn.job.program import program
from tinygrad_nn.primitive import BY_FUNCTION, COMPOSITES

ROOT = Path(__file__).parent.parent
#: Pages without code of their own, whose links are checked all the same. The gallery shows what
#: other pages have drawn.
OTHERS = [
    ROOT / "CHANGELOG.md",
    ROOT / "docs" / "gallery.md",
    ROOT / "tinygrad_nn" / "data" / "README.md",
]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/*.md"))]
PAGES = [page for page in PAGES if page not in OTHERS]

#: Spellings that would let a block pass by unchecked, and what to write.
MISSPELT = {"": "text", "py": "python", "python3": "python", "pycon": "python", "sh": "console",
            "bash": "console", "shell": "console", "output": "text"}  # fmt: skip

#: What a python block may need, after the language's name.
LIBRARIES = ("torch", "jax")


@dataclass
class Block:
    """A fenced block: its language, its text, and the line of the page that the text begins on."""

    language: str
    needs: str  # a library, or empty
    text: str
    line: int
    span: tuple[int, int]
    follows: bool  # right after the block before, with nothing but blank lines between


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    found: list[Block] = []
    end = 0
    for match in re.finditer(r"^```(\S*) *([^\n]*)\n(.*?)^```$", source, re.DOTALL | re.MULTILINE):
        line = source.count("\n", 0, match.start(3)) + 1
        follows = bool(found) and not source[end : match.start()].strip()
        found.append(Block(match[1], match[2], match[3], line, match.span(3), follows))
        end = match.end()
    return found


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


# --- running a page ------------------------------------------------------------------------------


class BlockError(AssertionError):
    """A block failed, or printed something else than the page says."""


def same(expected: str, printed: str, raised: bool) -> bool:
    flags = doctest.ELLIPSIS | (doctest.NORMALIZE_WHITESPACE if raised else 0)
    expected, printed = (text.rstrip() + "\n" for text in (expected, printed))
    return doctest.OutputChecker().check_output(expected, printed, flags)


def line_of(error: BaseException, page: Path) -> int | None:
    """Return the last line of the page that the error passed through."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(page)]
    return lines[-1] if lines else getattr(error, "lineno", None)


def run(
    page: Path,
    differs: Callable[[Block, str], None] | None = None,
    libraries: tuple[str, ...] = (),
) -> None:
    """Run a page's python blocks in the current folder; call `differs` on each stale output.

    Blocks that need a library other than `libraries` are left out.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    found = blocks(page)
    for i, block in enumerate(found):
        if block.language != "python" or block.needs not in ("", *libraries):
            continue
        following = found[i + 1 : i + 2]
        output = following[0] if following and following[0].follows else None
        if output and output.language != "text":
            output = None
        error = None
        printed = io.StringIO()
        # Blank lines in front give every line the number that it has on the page.
        source = "\n" * (block.line - 1) + block.text
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile(source, str(page), "exec"), namespace)
            except Exception as problem:
                error = problem
        got = printed.getvalue()
        if error is not None:
            message = f"{type(error).__name__}: {error}"
            if output is None:
                raise BlockError(f"{name(page)}:{line_of(error, page)}: {message}") from error
            got += (message if "\n" in message else textwrap.fill(message, 98)) + "\n"
        if output is None or same(output.text, got, error is not None):
            continue
        if differs is None:
            raise BlockError(
                f"{name(page)}:{output.line}: the block at line {block.line} printed\n{got}\n"
                f"and the page says\n{output.text}"
            ) from error
        differs(output, got)


@contextlib.contextmanager
def own_tables() -> Iterator[None]:
    """Undo what a page declares: primitives behind NumPy's functions are known to the process."""
    tables: list[dict[Any, Any]] = [BY_FUNCTION, COMPOSITES]
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, old in zip(tables, before, strict=True):
            table.clear()
            table.update(old)


@pytest.fixture
def own_figures() -> Iterator[None]:
    """Close the figures that a page leaves open."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


def pictures(page: Path) -> list[Path]:
    """Return the SVG pictures that a page shows from the folder of images."""
    targets = re.findall(r"!\[[^]]*]\(([^)]*images/[^)]*\.svg)\)", prose(page))
    return [(page.parent / target).resolve() for target in dict.fromkeys(targets)]


def live(page: Path) -> list[Path]:
    """Return the pages of graphs that a page links to."""
    targets = re.findall(r"\[[^]]*]\(([^)]*live/[^)]*\.html)\)", prose(page))
    return [(page.parent / target).resolve() for target in dict.fromkeys(targets)]


def bare(html: str) -> str:
    """Return a page without its numbers."""
    return re.sub(r"[-\d.e+]+", "#", html)


def words(svg: str) -> list[str]:
    """Return what a picture says, but for numbers, which differ from machine to machine."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return sorted(t for t in texts if not re.search(r"\d", t) or re.match(r"\(|[a-z]", t))


@pytest.mark.usefixtures("own_figures")
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_runs_and_prints_what_the_page_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if shutil.which("dot") is None:
        monkeypatch.setattr(drawing, "_run_dot", lambda source, format: b"<svg/>")
    with own_tables():
        run(page)
    for picture in pictures(page):
        drawn = tmp_path / picture.name
        assert drawn.exists(), f"no block of {name(page)} saves {picture.name}, which it shows"
        if shutil.which("dot") is not None:
            assert words(drawn.read_text("utf-8")) == words(picture.read_text("utf-8")), (
                f"{name(picture)} is not what {name(page)} draws; run python tests/test_docs.py"
            )
    for graph in live(page):
        drawn = tmp_path / graph.name
        assert drawn.exists(), f"no block of {name(page)} saves {graph.name}, which it links to"
        assert bare(drawn.read_text("utf-8")) == bare(graph.read_text("utf-8")), (
            f"{name(graph)} is not what {name(page)} makes; run python tests/test_docs.py"
        )


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.needs for b in blocks(p))], ids=name)
def test_code_for_other_libraries_runs_and_prints_what_the_page_says(page, tmp_path, monkeypatch):
    for library in LIBRARIES:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    with own_tables():
        run(page, libraries=LIBRARIES)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is(page):
    for block in blocks(page):
        assert not block.needs or (block.language == "python" and block.needs in LIBRARIES), (
            f"{name(page)}:{block.line}: ```{block.language} {block.needs} is not known"
        )
        assert block.language not in MISSPELT, (
            f"{name(page)}:{block.line}: a block of {block.language or 'no language'} is not "
            f"checked; use ```{MISSPELT[block.language]}"
        )
    fences = re.findall(r"^\s*```", page.read_text("utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(page)), f"{name(page)}: a fence is indented or not closed"


# --- commands -------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[str]:
    """Yield the commands of console blocks, and those that stand in the text as code."""
    for block in blocks(page):
        if block.language == "console":
            for line in block.text.replace("\\\n", " ").splitlines():
                if line.startswith("$ "):
                    yield line[2:]
    yield from re.findall(r"`((?:make|tinygrad-nn|python) [^`]+)`", prose(page))


def check_command(command: str) -> str | None:
    """Return what is wrong with a command."""
    parts = shlex.split(command, comments=True)
    while parts and re.fullmatch(r"[A-Z_]+=.*", parts[0]):
        parts.pop(0)
    if parts[:1] == ["make"]:
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        missing = [t for t in parts[1:] if t not in targets and "=" not in t]
        return f"the Makefile has no target {missing[0]}" if missing else None
    if parts[:1] == ["python"] and parts[1:2] != ["-m"]:
        scripts = [p for p in parts[1:2] if p.endswith(".py") and "/" in p]
        return next((f"{s} does not exist" for s in scripts if not (ROOT / s).is_file()), None)
    if parts[:3] == ["python", "-m", "tinygrad_nn"]:
        parts = ["tinygrad-nn", *parts[3:]]
    if not parts or Path(parts[0]).name != "tinygrad-nn":
        return None
    target: Any = program
    if len(parts) > 1 and not parts[1].startswith("-"):
        target = program.commands.get(parts[1])
        if target is None:
            return f"tinygrad-nn has no command {parts[1]}"
    known = {o for p in target.params for o in (*p.opts, *p.secondary_opts)}
    known |= {"-h", "--help", "--version"}
    options = [p.partition("=")[0] for p in parts[1:] if re.match(r"--?[a-z]", p)]
    return next((f"{parts[1]} has no option {o}" for o in options if o not in known), None)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page):
    problems = {command: check_command(command) for command in commands(page)}
    wrong = {command: problem for command, problem in problems.items() if problem}
    assert not wrong, f"{name(page)}: {wrong}"


# --- links ---------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ +(.*?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES + OTHERS, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\[[^]]*]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)}: {target} does not exist"
        assert there.is_relative_to(ROOT), f"{name(page)}: {target} is outside the repository"
        if anchor:
            assert anchor in anchors(there), f"{name(page)}: {target}: no such heading"


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    missing = [p.name for p in ROOT.glob("docs/*.md") if p.name != "README.md"]
    assert not [p for p in missing if f"({p})" not in index]


# --- the test itself ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("\n```python\nx = 1\n\nx / 0\n```\n", r"page\.md:5: ZeroDivisionError"),
        ("```python\nx = (\n```\n", r"page\.md:2: SyntaxError"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", r"page\.md:6: the block at line 2"),
        ("```python\n1 / 0\n```\n\n```text\nother\n```\n", r"page\.md:6: .*"),
        ("```python\n1 / 0\n```\n\nAnd\n\n```text\nZeroDivisionError: ...\n```\n", r"page\.md:2"),
    ],
)
def test_a_bad_block_is_found_by_page_and_line(source, problem, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(source, encoding="utf-8")
    with pytest.raises(BlockError, match=problem):
        run(page)


def test_outputs_may_leave_out_parts_and_show_errors(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nprint(1, 2)\nprint(3)\n```\n\n```text\n1 ...\n3\n```\n\n"
        "```python\nprint(4)\nraise ValueError('a b')\n```\n\n```text\n4\nValueError: a\nb\n```\n",
        encoding="utf-8",
    )
    run(page)


def test_a_block_that_needs_a_library_is_run_only_with_it(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```python torch\n1 / 0\n```\n\n```python\nprint(1)\n```\n", encoding="utf-8")
    run(page)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    with pytest.raises(BlockError, match=r"page\.md:2: ZeroDivisionError"):
        run(page, libraries=("torch",))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("make test", None),
        ("make tset", "tset"),
        ("PYTHON=python3.12 make demo", None),
        ("tinygrad-nn demo --out results", None),
        (".venv/bin/tinygrad-nn train data.csv --target y --hidden 64", None),
        ("tinygrad-nn train data.csv --taget y", "--taget"),
        ("tinygrad-nn tarin", "tarin"),
        ("python -m tinygrad_nn demo", None),
        ("python -m tinygrad_nn dmeo", "dmeo"),
        ("python examples/none.py", "none.py"),
        ("pip install -e .", None),
    ],
)
def test_a_wrong_command_is_found(command, problem):
    found = check_command(command)
    assert (problem in found) if problem else found is None


# --- writing outputs and pictures anew -----------------------------------------------------------


def renew(page: Path) -> None:
    changes: list[tuple[Block, str]] = []
    with own_tables():
        installed = tuple(library for library in LIBRARIES if find_spec(library))
        run(page, lambda block, got: changes.append((block, got)), installed)
    source = page.read_text(encoding="utf-8")
    for block, got in reversed(changes):
        source = source[: block.span[0]] + got.rstrip() + "\n" + source[block.span[1] :]
        print(f"{name(page)}:{block.line}: output written anew")
    if changes:
        page.write_text(source, encoding="utf-8")
    for picture in pictures(page):
        drawn = Path(picture.name).read_text("utf-8")
        if not picture.exists() or words(drawn) != words(picture.read_text("utf-8")):
            picture.parent.mkdir(exist_ok=True)
            picture.write_text(drawn, encoding="utf-8")
            print(f"{name(page)}: {picture.name} drawn anew")
    for graph in live(page):
        drawn = Path(graph.name).read_text("utf-8")
        if not graph.exists() or bare(drawn) != bare(graph.read_text("utf-8")):
            graph.parent.mkdir(exist_ok=True)
            graph.write_text(drawn, encoding="utf-8")
            print(f"{name(page)}: {graph.name} made anew")


if __name__ == "__main__":
    chosen = [Path(argument).resolve() for argument in sys.argv[1:]]
    for one in chosen or PAGES:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            warnings.simplefilter("error")  # as the tests have it
            renew(one)
            os.chdir(ROOT)
