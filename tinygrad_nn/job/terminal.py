"""What the program says: text that cannot steer a terminal, and one line for what goes wrong."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tinygrad_nn.errors import TinygradError
from tinygrad_nn.job.errors import shown

__all__ = ["Failure", "one_line", "put", "say", "title", "warn"]


class Failure(click.ClickException):
    """Ends the program with one line on stderr."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the line."""
        click.echo(f"tinygrad-nn: {shown(' '.join(self.message.split()))}", err=True)


class _Interruption(Failure):
    exit_code = 130


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what users can cause into one line; what is left is a bug and keeps its traceback.

    Raises
    ------
    Failure
        With the line.
    """
    try:
        yield
    except Failure:
        raise
    except click.UsageError as error:
        help_ = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        raise Failure(error.format_message() + help_) from error
    except KeyboardInterrupt:
        raise _Interruption("interrupted; no file is left half-written") from None
    except MemoryError as error:
        raise Failure("not enough memory") from error
    except TinygradError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read the output has left: click ends quietly
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise Failure(f"{where}{error.strerror or error}") from error


def say(text: str) -> None:
    """Print text on stdout; its control characters become escapes."""
    click.echo(shown(text, lines=True))


def put(text: str) -> None:
    """Print text on stdout that is clean already, and in colour perhaps.

    What the terminal's encoding lacks becomes question marks.
    """
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), nl=False)


def title(text: str) -> None:
    """Print a heading."""
    click.echo()
    click.secho(text, bold=True)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    click.echo(f"tinygrad-nn: warning: {shown(text)}", err=True)
