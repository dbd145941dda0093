"""The command ``tinygrad-nn check``: its options, what it prints, its exit status."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import click

from tinygrad_nn.job.checking import Checked
from tinygrad_nn.job.checking import check as run_check
from tinygrad_nn.job.loss import LOSSES
from tinygrad_nn.job.options import input_options, listed
from tinygrad_nn.job.terminal import Failure, one_line, say

__all__ = ["check"]


@click.command(short_help="Check a gradient: of a function, a primitive, a loss or a model.")
@click.argument("name", metavar="FILE.py:NAME")
@click.option(
    "--loss",
    metavar="LOSS",
    help=f"For a model: {', '.join(LOSSES)} or FILE.py:FUNCTION, of its output and a target. "
    f"Without it the output itself is differentiated.",
)
@click.option(
    "--gradient",
    metavar="NAME",
    help="A gradient of your own, for a function of arrays: NAME in the same file, or "
    "FILE.py:NAME.",
)
@input_options
@click.option(
    "--order",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="2: second derivatives too.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float64", "native"]),
    default="float64",
    show_default=True,
    help="Check copies in float64, or everything in the precision that it has.",
)
@click.option("--blame", is_flag=True, help="Where it is wrong, find the operation at fault.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(name: str, as_json: bool, **options: Any) -> None:
    """Check the gradient of FILE.py:NAME against finite differences.

    NAME is a function, a primitive, a loss or a model; or a function or class without arguments
    that makes a model.

    Exit status: 0 where it is right, 1 where it is wrong, 2 where it cannot be checked.
    """
    with _told(as_json), redirect_stdout(sys.stderr if as_json else sys.stdout):
        checked = run_check(name, **options)
    try:
        say(_json(checked.to_dict())) if as_json else _print(checked)
    except BrokenPipeError:  # a reader that has left early must not change the exit status
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0 if checked.report else 1)


def _print(checked: Checked) -> None:
    say(f"{checked.title} on\n{listed(checked.inputs)}")
    click.echo(checked.report.to_text())  # its colours are no text of a user's


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Say what went wrong on stdout too, for those who read JSON there."""
    try:
        with one_line():
            yield
    except Failure as error:
        if as_json:
            say(_json({"error": " ".join(error.message.split())}))
        raise


def _json(document: dict[str, Any]) -> str:
    """Return strict JSON: reports have strings in place of NaN and infinity."""
    return json.dumps(document, indent=2, allow_nan=False)
