"""The command line `python -m training`: its commands, and errors as one line.

The work itself is done in `workflows` and `embedding`. The commands import PyTorch when they run,
so that `--help`, and a bundle that is there already, need not wait for it.
"""

import logging
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper

import typer

from training.cli import build, embed, examine, train
from training.workflows.progress import print_line

RENAMED = {
    "suite": "sweep",
    "prepare": "resolve-bundle",
    "index": "reindex",
    "retrieval": "eval-retrieval",
}
"""Former names of commands. They keep working, and no help text lists them."""

app = typer.Typer(
    help="Train small CNNs on labelled images and build a bundle with the best one.",
    no_args_is_help=True,
    add_completion=False,
)

app.command("run")(train.run_command)
app.command()(train.sweep)
app.command()(build.release)
app.command()(build.reindex)
app.command("resolve-bundle")(build.resolve_bundle_command)
app.command("eval-retrieval")(build.eval_retrieval)
app.command()(embed.embed)
app.command("report")(train.report_command)
app.command()(examine.duplicates)
app.command()(examine.labels)


def main(given: Sequence[str] | None = None, program: str | None = None) -> None:
    """Run a command. Print an expected error in one line, without a traceback.

    Characters that the output's encoding lacks are printed as escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Damaged images are named by the commands.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    arguments = sys.argv[1:] if given is None else [*given]
    if arguments and (name := RENAMED.get(arguments[0])):
        print_line(f"`{arguments[0]}` is now called `{name}`", style="yellow")
        arguments[0] = name
    try:
        app(arguments, program)
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        print_line(f"error: {error}", style="red")
        raise SystemExit(1) from error


def _expected_errors() -> tuple[type[Exception], ...]:
    """Return the errors that are about the input, not about this program."""
    from training.bundle import BundleError
    from training.data.dataset import DatasetError
    from training.embedding.job import BulkError
    from training.embedding.shards import ShardError
    from training.experiments.catalogue import UnknownExperimentError
    from training.experiments.record import RecordError
    from training.experiments.reports.results import ReportError
    from training.models.checkpoint import CheckpointError
    from training.models.precision import DeviceError
    from training.models.weights import WeightsError
    from training.trainer.fit import DivergedError
    from training.trainer.run import LeakageError
    from training.workflows.release import ReleaseError

    return (
        *(BulkError, BundleError, CheckpointError, DatasetError, DeviceError, DivergedError),
        *(LeakageError, RecordError, ReleaseError, ReportError, ShardError),
        *(UnknownExperimentError, WeightsError),
    )
