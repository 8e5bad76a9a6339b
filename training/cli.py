"""The command line of the offline house: `python -m training --help`."""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from training import bundle
from training.bundle import BundleError, writer
from training.data.dataset import DatasetError
from training.embedding import bulk, ray_runner
from training.embedding.bulk import Embedder
from training.embedding.job import BulkError, Job, ShardSpec
from training.embedding.shards import ShardError
from training.experiments import record
from training.experiments.catalogue import EIGHT, UnknownExperimentError, find
from training.experiments.record import RecordError
from training.experiments.reports import results
from training.experiments.reports.results import ReportError
from training.index.tuning import TARGET_RECALL
from training.models.checkpoint import CheckpointError
from training.models.device import DeviceError, pick_device
from training.trainer.fit import DivergedError
from training.workflows import progress
from training.workflows.progress import print_line
from training.workflows.release import ExportOptions, ReleaseError, from_bundle
from training.workflows.retrieval_metrics import pick_queries, precision_at_k
from training.workflows.workspace import Workspace

INTERRUPTED = 130
"""What a shell makes of Ctrl-C."""

RENAMED = {
    "suite": "sweep",
    "prepare": "resolve-bundle",
    "index": "reindex",
    "retrieval": "eval-retrieval",
}
"""Former names of commands. They keep working, and are in no help text."""


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
Root = Annotated[Path, typer.Option(help="Folder of experiments/, bundles/ and all the rest.")]
Seed = Annotated[int, typer.Option(help="Draws the weights and the order of the images.")]
SplitSeed = Annotated[int, typer.Option(help="Draws the 70:15:15 split.", min=0)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")]
Output = Annotated[Path | None, typer.Option(help="Where the bundle goes. Default: bundles/.")]
PerClass = Annotated[int | None, typer.Option(help="Keep so many images of each class.", min=1)]
Pixels = Annotated[bool, typer.Option(help="Ship the gallery's pictures.")]
Half = Annotated[bool, typer.Option(help="Store weights and flat indexes as fp16.")]
Recall = Annotated[
    float,
    typer.Option(help="ShardSpec of the exact ten nearest that a search must find.", min=0, max=1),
]
Epochs = Annotated[
    int | None, typer.Option(help="Train for so many. Default: what the experiment says.", min=1)
]
Source = Annotated[Path | None, typer.Option("--bundle", help="Default: the bundle made last.")]


@app.command("run")
def run_command(
    name: Annotated[str, typer.Argument(help="An experiment, by its name or published name.")],
    data: Data = None,
    root: Root = Path(),
    seed: Seed = 0,
    split_seed: SplitSeed = 0,
    device: Device = "auto",
    epochs: Epochs = None,
) -> None:
    """Train one experiment on the 70 % split and record it."""
    experiment = find(name).with_epochs(epochs)
    workspace = Workspace(root, pick_device(device), seed, split_seed)
    spec = workspace.spec(experiment, "study", *workspace.read(data))
    _, made = workspace.train_or_load(spec)
    typer.echo(workspace.experiments / f"{made.run_id}.json")


@app.command()
def sweep(
    names: Annotated[
        list[str] | None, typer.Argument(help="Experiments. Default: the eight.")
    ] = None,
    data: Data = None,
    root: Root = Path(),
    seed: Annotated[list[int] | None, typer.Option(help="Once for each seed. Default: 0.")] = None,
    split_seed: SplitSeed = 0,
    device: Device = "auto",
    epochs: Epochs = None,
    stop_if_collapsed: Annotated[
        bool, typer.Option("--stop-if-collapsed", help="Give up runs that learn nothing.")
    ] = False,
) -> None:
    """Train the eight experiments, or those named, with each seed.

    Stop it and start it again as you like: what has a record is not run again.
    """
    chosen = [one.with_epochs(epochs) for one in (map(find, names) if names else EIGHT)]
    workspace = Workspace(
        root, pick_device(device), split_seed=split_seed, stop_if_collapsed=stop_if_collapsed
    )
    images, splits = workspace.read(data)
    try:
        runs = workspace.sweep(chosen, seed or [0], images, splits)
    except KeyboardInterrupt:
        print_line("stopped: the same command goes on where it was, with the run that was going on")
        raise typer.Exit(INTERRUPTED) from None
    progress.show_runs(runs)
    if any(run.status == "failed" for run in runs):
        raise typer.Exit(1)


@app.command()
def release(
    name: Annotated[
        str | None,
        typer.Argument(help="An experiment. Default: the best studied, else batchnorm-3."),
    ] = None,
    data: Data = None,
    root: Root = Path(),
    seed: Seed = 0,
    split_seed: SplitSeed = 0,
    device: Device = "auto",
    output: Output = None,
    per_class: PerClass = None,
    pixels: Pixels = True,
    half: Half = False,
    recall: Recall = TARGET_RECALL,
    epochs: Epochs = None,
) -> None:
    """Choose the best batch-norm 3-block network, retrain it on train + validation, publish it.

    It is trained as its study was, unless told otherwise.
    """
    experiment = find(name) if name else None
    workspace = Workspace(root, pick_device(device), seed, split_seed)
    shape = ExportOptions(per_class, pixels, half, recall)
    target = output or workspace.bundle_of(data)
    images, splits = workspace.read(data)
    own_test = workspace.read_own_test(data)
    made = workspace.release(images, splits, target, shape, own_test, experiment, epochs)
    if output is None:
        writer.update_current_link(workspace.current, made)
    typer.echo(made)


@app.command()
def reindex(
    data: Data = None,
    root: Root = Path(),
    split_seed: SplitSeed = 0,
    device: Device = "auto",
    source: Source = None,
    output: Output = None,
    per_class: PerClass = None,
    pixels: Pixels = True,
    half: Half = False,
    recall: Recall = TARGET_RECALL,
) -> None:
    """Give a trained network another gallery: embed and index held-out images, publish."""
    workspace = Workspace(root, pick_device(device), split_seed=split_seed)
    trained = from_bundle(bundle.load(source or workspace.current))
    shape = ExportOptions(per_class, pixels, half, recall)
    target = output or workspace.bundle_of(data)
    made = workspace.publish(trained, *workspace.read(data), target, shape)
    if output is None:
        writer.update_current_link(workspace.current, made)
    typer.echo(made)


@app.command("resolve-bundle")
def resolve_bundle(
    data: Data = None,
    root: Root = Path(),
    device: Device = "auto",
    download: Annotated[
        bool, typer.Option(envvar="KINDRED_DOWNLOAD", help="Fetch CIFAR-10 where no data is named.")
    ] = True,
) -> None:
    """Print the bundle to serve: the one already built, one built from data, or the starter."""
    typer.echo(Workspace(root, pick_device(device)).resolve_bundle(data, download=download))


@app.command("eval-retrieval")
def eval_retrieval(root: Root = Path(), source: Source = None) -> None:
    """Print how many of an image's ten nearest have its own label, by layer and class."""
    loaded = bundle.load(source or root / "bundles" / "current")
    labels = loaded.gallery.labels
    queries = pick_queries(labels)
    shares = {
        layer: precision_at_k(built, labels, queries) for layer, built in loaded.indexes.items()
    }
    table = Table(
        title=f"Share of the ten nearest with the query's own label, {len(queries)} queries "
        f"in {len(labels)} images, {loaded.manifest.name} {loaded.manifest.version}"
    )
    table.add_column("class")
    for layer in shares:
        table.add_column(layer, justify="right")
    for number, name in enumerate(loaded.manifest.classes):
        own = labels[queries] == number
        table.add_row(name, *(f"{np.mean(share[own]):.3f}" for share in shares.values()))
    table.add_section()
    table.add_row("all", *(f"{np.mean(share):.3f}" for share in shares.values()))
    Console().print(table)


@app.command()
def embed(
    images: Annotated[Path, typer.Argument(help="Image folder, or a tar or zip archive of one.")],
    output: Annotated[Path, typer.Argument(help="Folder of the shards.")],
    root: Root = Path(),
    source: Source = None,
    device: Device = "auto",
    shard: Annotated[
        str, typer.Option(help="2/4 makes each fourth shard from the second on.")
    ] = "1/1",
    size: Annotated[int, typer.Option(help="Images of a shard.", min=1)] = 4096,
    labels: Annotated[bool, typer.Option(help="Take each image's folder for its label.")] = True,
    ray: Annotated[
        bool, typer.Option("--ray", help="ShardSpec the shards out by Ray Data.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Of Ray, each with a network.", min=1)] = 1,
) -> None:
    """Embed any number of images into shards, which a service's gallery can import.

    Stop it and start it again as you like; start it several times, on any machines that share the
    folder, and they share the work: what is there is not made again.
    """
    place = source or root / "bundles" / "current"
    loaded = bundle.load(place)
    job = Job(
        source=images,
        folder=output,
        network=loaded.network_id,
        classes=loaded.manifest.classes,
        layers=tuple(loaded.indexes),
        size=size,
        labelled=labels,
    )
    if ray:
        stats = ray_runner.run(job, ray_runner.WorkerSpec(loaded.path, device), workers)
    else:
        with progress.track(f"embedding {images.name}") as on_image:
            embedder = Embedder(loaded.network, pick_device(device))
            stats = bulk.run(job, embedder, ShardSpec.parse(shard), on_image)
    print_line(
        f"{stats.written} shards made, {stats.existing} were there, {stats.skipped} are for others"
    )
    for name in stats.unreadable:
        print_line(f"left out, for it cannot be read: {name}", style="yellow")
    typer.echo(stats.images)
    if stats.unreadable:
        raise typer.Exit(1)


@app.command("report")
def report_command(
    root: Root = Path(),
    output: Annotated[
        Path | None, typer.Option(help="Folder of results.md. Default: docs/.")
    ] = None,
    data_set: Annotated[
        str | None,
        typer.Option(help="Its name, or how its fingerprint begins. Default: that of the latest."),
    ] = None,
    split_seed: Annotated[
        int | None, typer.Option(help="That of the runs. Default: that of the latest.")
    ] = None,
) -> None:
    """Write results.md and its pictures from the records alone."""
    records = [
        one
        for one in record.read_all(root / "experiments")
        if split_seed in (None, one.seeds.split)
        and (data_set in (None, one.dataset.name) or one.dataset.fingerprint.startswith(data_set))
    ]
    folder = output or root / "docs"
    for name, content in results.results(records).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    typer.echo(folder / "results.md")


def main() -> None:
    """Run a command; print an expected error in one line, without a traceback."""
    arguments = sys.argv[1:]
    if arguments and (name := RENAMED.get(arguments[0])):
        print_line(f"`{arguments[0]}` is now called `{name}`", style="yellow")
        arguments[0] = name
    try:
        app(arguments)
    except (
        BulkError,
        BundleError,
        CheckpointError,
        DatasetError,
        DeviceError,
        DivergedError,
        RecordError,
        ReleaseError,
        ReportError,
        ShardError,
        UnknownExperimentError,
    ) as error:
        print_line(f"error: {error}", style="red")
        raise SystemExit(1) from error
