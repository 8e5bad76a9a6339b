"""The commands that train networks and report on them: run, sweep, report."""

from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import Data, Device, Epochs, Root, Seed, SplitSeed, Strict
from training.experiments import record
from training.experiments.catalogue import EIGHT, find
from training.experiments.record import Record
from training.workflows import progress
from training.workflows.progress import print_line, print_path

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 plus the number of SIGINT, as shells have it."""


def run_command(
    name: Annotated[str, typer.Argument(help="Name or published name of the experiment.")],
    data: Data = None,
    root: Root = Path(),
    seed: Seed = 0,
    split_seed: SplitSeed = 0,
    device: Device = "auto",
    epochs: Epochs = None,
    strict: Strict = False,
) -> None:
    """Train one experiment on the train split and print the path of its record.

    A run with a record and a checkpoint is not trained again.
    """
    from training.models.device import pick_device
    from training.workflows.workspace import Workspace

    experiment = find(name).with_epochs(epochs)
    workspace = Workspace(root, pick_device(device), seed, split_seed, strict=strict)
    workspace, images, splits = workspace.open(data, experiment.variant.side)
    spec = workspace.spec(experiment, "study", images, splits)
    _, made = workspace.train_or_load(spec)
    print_path(workspace.experiments / f"{made.run_id}.json")


def sweep(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of experiments. Default: the eight of the report.", show_default=False
        ),
    ] = None,
    data: Data = None,
    root: Root = Path(),
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="Seed of the runs; repeat the option for several. Default: 0.", show_default=False
        ),
    ] = None,
    split_seed: SplitSeed = 0,
    device: Device = "auto",
    epochs: Epochs = None,
    strict: Strict = False,
    stop_if_collapsed: Annotated[
        bool,
        typer.Option(
            "--stop-if-collapsed",
            help="End a run after 3 epochs and 500 steps without learning. Default: off.",
        ),
    ] = False,
) -> None:
    """Train the eight experiments, or those named, once with each seed.

    After Ctrl-C, the same command continues: a run with a record is not run again. Exits with 1 if
    a run failed.
    """
    from training.models.device import pick_device
    from training.workflows.workspace import Workspace

    chosen = [one.with_epochs(epochs) for one in (map(find, names) if names else EIGHT)]
    workspace = Workspace(
        root,
        pick_device(device),
        split_seed=split_seed,
        stop_if_collapsed=stop_if_collapsed,
        strict=strict,
    )
    runs: list[Record] = []
    try:
        for side in dict.fromkeys(one.variant.side for one in chosen):
            home, images, splits = workspace.open(data, side)
            same_side = [one for one in chosen if one.variant.side == side]
            runs += home.sweep(same_side, seed or [0], images, splits)
    except KeyboardInterrupt:
        print_line("stopped: the same command continues after the last finished epoch")
        raise typer.Exit(INTERRUPTED) from None
    progress.show_runs(runs)
    if any(run.status == "failed" for run in runs):
        raise typer.Exit(1)


def report_command(
    data: Data = None,
    root: Root = Path(),
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for results.md. Default: docs/.", show_default=False),
    ] = None,
    data_set: Annotated[
        str | None,
        typer.Option(
            help="Name of the data set, or the start of its fingerprint. Default: that of the "
            "latest run.",
            show_default=False,
        ),
    ] = None,
    split_seed: Annotated[
        int | None,
        typer.Option(
            help="Split seed of the runs. Default: that of the latest run.", show_default=False
        ),
    ] = None,
) -> None:
    """Write results.md and its figures from the records, and print its path.

    With --data, the records are those of these images, if they are own images.
    """
    from training.experiments.reports import results
    from training.models.device import pick_device
    from training.workflows.workspace import Workspace

    home = Workspace(root, pick_device("cpu")).home_for(data)
    records = [
        one
        for one in record.read_all(home / "experiments")
        if split_seed in (None, one.seeds.split)
        and (data_set in (None, one.dataset.name) or one.dataset.fingerprint.startswith(data_set))
    ]
    folder = output or root / "docs"
    gap = record.read_all(home / "experiments" / "gap")
    for name, content in results.results(records, gap).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    print_path(folder / "results.md")
