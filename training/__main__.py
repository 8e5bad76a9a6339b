"""The command line of the offline house: `python -m training --help`."""

from pathlib import Path
from typing import Annotated

import typer

from training import checkpoint, dataset, progress, record
from training.dataset import Dataset, DatasetError
from training.device import DeviceError, pick_device
from training.experiments import UnknownExperimentError, find
from training.progress import console
from training.run import Plan, run
from training.splits import split_once

app = typer.Typer(
    help="Train small CNNs on labelled images and make a bundle of the best.",
    no_args_is_help=True,
    add_completion=False,
)

Data = Annotated[
    Path | None,
    typer.Option(
        envvar="KINDRED_DATA",
        help="Image folder, CIFAR-10 batches, or an archive of either. Default: download CIFAR-10.",
    ),
]
Experiments = Annotated[Path, typer.Option(help="Folder of run records and splits.")]
Seed = Annotated[int, typer.Option(help="Draws the weights and the order of the images.")]
SplitSeed = Annotated[int, typer.Option(help="Draws the 70:15:15 split.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")]
Checkpoints = Annotated[Path, typer.Option(help="Where trained networks are kept.")]
Downloads = Annotated[Path, typer.Option(help="Where downloaded data is kept.")]


@app.callback()
def _commands() -> None:
    """Keep `run` a command of its own even where it is the only one."""


@app.command("run")
def run_command(
    name: Annotated[str, typer.Argument(help="An experiment, by its name or published name.")],
    data: Data = None,
    experiments: Experiments = Path("experiments"),
    seed: Seed = 0,
    split_seed: SplitSeed = 0,
    device: Device = "auto",
    downloads: Downloads = Path("data"),
    checkpoints: Checkpoints = Path("checkpoints"),
) -> None:
    """Train one experiment on the 70 % split and record it."""
    experiment = find(name)
    images = read_data(data, downloads)
    splits = split_once(images, split_seed, experiments / "splits")
    plan = Plan(experiment, images, splits, seed, "study", pick_device(device))
    console.print(f"{plan.run_id} on {images.name} ({plan.device})")
    with progress.track(experiment.name, plan.steps) as on_step:
        network, made = run(plan, on_step=on_step, on_epoch=progress.show_epoch)
    checkpoint.save(network, checkpoints / made.run_id)
    console.print(f"test accuracy {made.test.accuracy:.4f}" if made.test else made.status)
    typer.echo(record.write(made, experiments))


def read_data(data: Path | None, downloads: Path) -> Dataset:
    """The training partition of the data asked for, or of CIFAR-10."""
    if data is None:
        return dataset.download(downloads)
    with progress.track(f"reading {data.name}") as on_image:
        return dataset.load(data, on_image=on_image)


def main() -> None:
    """Run a command; what a person can mend is said in one line, without a traceback."""
    try:
        app()
    except (DatasetError, DeviceError, UnknownExperimentError, record.RecordError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
