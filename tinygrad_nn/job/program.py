"""The command line: its commands, their progress and their summaries."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import tinygrad_nn
from tinygrad_nn.activations import ACTIVATIONS
from tinygrad_nn.doctor import doctor as examine
from tinygrad_nn.doctor.restart import FLAG
from tinygrad_nn.files import write_together
from tinygrad_nn.job import demo as digits
from tinygrad_nn.job import plots
from tinygrad_nn.job.check_command import check
from tinygrad_nn.job.draw_command import draw
from tinygrad_nn.job.loss import LOSSES
from tinygrad_nn.job.options import Real, Sizes, seed_option
from tinygrad_nn.job.table import count
from tinygrad_nn.job.tasks import Files, Plan, Trained, check_out, plan_training
from tinygrad_nn.job.terminal import one_line, put, say, title
from tinygrad_nn.job.training import Settings, Step

__all__ = ["program"]

DEFAULTS = Settings()

#: Lines that report progress where there is no terminal to draw a bar on.
_LINES = 10


class _Program(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            # Versions of click differ in where this goes and what the status is.
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **keywords: Any) -> click.Context:
        with one_line():
            return super().make_context(*args, **keywords)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line():
            return super().invoke(ctx)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tinygrad_nn.__version__, prog_name="tinygrad-nn")
@click.option(
    FLAG,
    is_flag=True,
    expose_value=False,  # `restart` has read it before there was a program
    help="Keep to the kernels that OpenBLAS chose, even where the processor has faster ones.",
)
def program() -> None:
    """Train networks on tables, check gradients, draw computation graphs.

    A loss of your own is a Python function of tensors, named as FILE.py:FUNCTION.
    """


program.add_command(check)
program.add_command(draw)


# --- train ---------------------------------------------------------------------------------------


@program.command(short_help="Train a classifier or a regression on a CSV file.")
@click.argument("data")
@click.option("--target", required=True, help="The column to predict.")
@click.option(
    "--hidden",
    type=Sizes(),
    multiple=True,
    default=[(32,)],
    help="Units of the hidden layers: 64,32, or the option again; none for a linear model. By "
    "default 32.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=DEFAULTS.epochs, show_default=True)
@click.option(
    "--lr",
    type=Real(min=0, min_open=True),
    default=DEFAULTS.lr,
    show_default=True,
    help="Learning rate of the first step; it falls to 0 along half a cosine.",
)
@click.option(
    "--momentum",
    type=Real(min=0, max=1, max_open=True),
    default=DEFAULTS.momentum,
    show_default=True,
)
@click.option(
    "--weight-decay",
    type=Real(min=0),
    default=DEFAULTS.weight_decay,
    show_default=True,
    help="Multiple of the parameters added to the gradient.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=DEFAULTS.batch_size,
    show_default=True,
    help="Rows per step.",
)
@click.option(
    "--activation",
    type=click.Choice(list(ACTIVATIONS)),
    default=DEFAULTS.activation,
    show_default=True,
    metavar="NAME",
    help="Of the hidden layers.",
)
@click.option(
    "--loss",
    metavar="LOSS",
    help=f"{', '.join(LOSSES)} or FILE.py:FUNCTION, called with prediction and target. By "
    f"default cross_entropy for classes, mse_loss for numbers.",
)
@click.option(
    "--task",
    type=click.Choice(["auto", "classify", "regress"]),
    default="auto",
    show_default=True,
    help="auto: text and few integers are classes, other numbers are not.",
)
@click.option("--ignore", multiple=True, metavar="COLUMN", help="Leave a column out; repeatable.")
@click.option(
    "--test-share",
    type=Real(min=0, max=1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the rows that is held out.",
)
@seed_option
@click.option("--out", default="out", show_default=True, help="Folder for the results.")
@click.option("--no-plots", is_flag=True, help="Write no figures (they need matplotlib).")
def train(
    data: str, target: str, hidden: Sequence[tuple[int, ...]], loss: str | None, task: str,
    ignore: Sequence[str], test_share: float, out: str, no_plots: bool, **settings: Any,
) -> None:  # fmt: skip
    """Train a classifier or a regression on the CSV file DATA (gzip too).

    Every column but the target must be numeric. Part of the rows is held out to judge by. The
    model, its history and figures are written to a folder.
    """
    folder = check_out(out)
    if not no_plots:
        plots.require_matplotlib()
    chosen = Settings(hidden=sum(hidden, ()), **settings)
    plan = plan_training(
        data, target, chosen, loss=loss, task=task, ignore=ignore, test_share=test_share
    )
    say(_describe(plan))
    trained = _train(plan)
    files = trained.files(folder, figures=not no_plots)
    write_together(files)
    say(_outcome(trained))
    _list(files, trained.data.task)


def _describe(plan: Plan) -> str:
    data, table = plan.data, plan.table
    if data.classes:
        names = ", ".join(data.classes[:10]) + (", ..." if len(data.classes) > 10 else "")
        goal = f"{len(data.classes)} classes ({names})"
    else:
        goal = "a number"
    layers = "-".join(map(str, [len(data.features), *plan.settings.hidden, data.n_out]))
    return (
        f"{table.path}: {count(len(table), 'row')}, {count(len(data.features), 'feature')}; "
        f"column {data.target!r} is {goal}\n"
        f"training an MLP {layers} on {count(len(data.train), 'row')}, "
        f"{len(data.test):,} held out; loss {plan.loss.name}"
    )


def _outcome(trained: Trained) -> str:
    last, data = trained.history.last, trained.data
    y = data.y[data.test]
    loss = f"held-out loss {plots.number(last('test_loss'))}"
    if data.classes:
        right = round(last("test_accuracy") * len(y))
        counts = np.bincount(data.y[data.train], minlength=len(data.classes))
        common = int(counts.argmax())
        return (
            f"{loss}, accuracy {last('test_accuracy'):.4f} ({right} of {len(y)} right; always "
            f"{data.classes[common]!r} would be {np.mean(y == common):.4f})"
        )
    spread = float(np.sqrt(np.mean(y.astype(float) ** 2))) * float(data.target_scale.std)
    rmse = f"RMSE {plots.number(last('test_rmse'))}, R2 {last('test_r2'):.4f}"
    usual = f"always the mean of the training part would be RMSE {plots.number(spread)}"
    return f"{loss}, {rmse} ({usual})"


def _train(plan: Plan) -> Trained:
    """Train with a bar in a terminal, with some lines elsewhere."""
    console = Console()
    if console.is_terminal:
        with _bar(console, plan.settings.epochs) as report:
            return plan.run(report)
    return plan.run(_printer(plan.settings.epochs))


def _measured(step: Step) -> str:
    assert step.metrics is not None
    names = {name.partition("_")[2]: None for name in step.metrics if not name.endswith("r2")}
    return "  ".join(
        f"{name} {plots.number(step.metrics[f'train_{name}'])} "
        f"(held out {plots.number(step.metrics[f'test_{name}'])})"
        for name in names
    )


def _printer(epochs: int) -> Callable[[Step], None]:
    shown_epochs = {1 + round(i * (epochs - 1) / (_LINES - 1)) for i in range(_LINES)}
    width = len(str(epochs))

    def report(step: Step) -> None:
        if step.metrics and step.epoch in shown_epochs:
            say(f"epoch {step.epoch:>{width}}/{epochs}  {_measured(step)}")

    return report


@contextmanager
def _bar(console: Console, epochs: int) -> Iterator[Callable[[Step], None]]:
    columns = (
        TextColumn("epoch {task.fields[epoch]}/" + str(epochs), markup=False),
        BarColumn(30),
        TextColumn("{task.fields[measured]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=1.0, epoch=0, measured="")

        def report(step: Step) -> None:
            progress.update(bar, completed=step.share, epoch=step.epoch)
            if step.metrics:
                progress.update(bar, measured=_measured(step))

        yield report


# --- demo ----------------------------------------------------------------------------------------


@program.command(short_help="All of these, on handwritten digits.")
@click.option("--out", default="demo_out", show_default=True, help="Folder for the results.")
@seed_option
def demo(out: str, seed: int) -> None:
    """Train, check and draw on handwritten digits, with a loss of its own."""
    folder = check_out(out)
    plots.require_matplotlib()

    title("Training on handwritten digits with a focal loss")
    plan = digits.plan(seed)
    say(_describe(plan))
    trained = _train(plan)
    say(_outcome(trained))
    accuracies = digits.seeds(trained, 5)
    say(f"five seeds: {', '.join(f'{a:.4f}' for a in accuracies)}")

    title("Checking gradients against finite differences")
    reports = {
        "the loss": digits.check_loss(seed),
        "the loss of the network in all its parameters": digits.check_model(trained),
    }
    for what, report in reports.items():
        say(f"{what}: {report.headline}; {report.scope[0]}")

    title("Drawing the graph of one step")
    drawing = digits.draw_training(trained)
    put(digits.outline(drawing))
    graph, missing = digits.graph_files(drawing, folder)
    if missing:
        say(f"no graph.svg: {missing}")

    files = trained.files(folder, figures=True) | digits.pictures(trained, folder) | graph
    files |= {folder / "gradcheck.txt": "\n\n".join(f"{w}\n{r}" for w, r in reports.items()) + "\n"}
    write_together(files)
    title("Where everything lies")
    _list(files, trained.data.task)
    say("")
    say(f"the data: {digits.DIGITS}\nthe loss: {digits.LOSS}")
    if not all(reports.values()):
        sys.exit(1)


# --- doctor --------------------------------------------------------------------------------------


@program.command(short_help="Report what NumPy does on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def doctor(as_json: bool) -> None:
    """Report which matrix kernels NumPy uses here, how fast they are, and what is faster."""
    report = examine()
    say(json.dumps(report.to_dict(), indent=2) if as_json else str(report))


# --- files ---------------------------------------------------------------------------------------


_ABOUT = {
    "model.npz": "the model: parameters, scales, names",
    "loss.png": "the loss over the epochs",
    "accuracy.png": "the accuracy over the epochs",
    "rmse.png": "the error over the epochs",
    "confusion.png": "which digit is taken for which",
    "mistakes.png": "held-out digits that were misread",
    "graph.html": "the graph, to explore in a browser",
    "graph.svg": "the graph, as a picture",
    "graph.mmd": "the graph, for a ```mermaid block",
    "graph.txt": "the graph, as text",
    "gradcheck.txt": "both gradient checks",
}


_MEASURES = {"classify": "loss and accuracy", "regress": "loss, rmse and r2"}


def _list(files: Files, task: str) -> None:
    about = _ABOUT | {"history.csv": f"{_MEASURES[task]} after each epoch"}
    width = max(len(str(path)) for path in files)
    for path in files:
        say(f"  {path!s:<{width}}  {about[path.name]}")
