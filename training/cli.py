"""The commands of `python -m training`: options, output and error messages.

The work itself is done in `workflows` and `embedding`.
"""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from training import bundle
from training.bundle import BundleError, writer
from training.bundle.manifest import GalleryImages
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
from training.trainer.run import LeakageError
from training.workflows import progress
from training.workflows.export import ExportOptions, among
from training.workflows.progress import print_line
from training.workflows.release import ReleaseError, from_bundle
from training.workflows.resolve import resolve_bundle
from training.workflows.retrieval_metrics import pick_queries, precision_at_k
from training.workflows.workspace import Workspace

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 plus the number of SIGINT, as shells have it."""

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


Data = Annotated[
    Path | None,
    typer.Option(
        envvar="KINDRED_DATA",
        help="Images: a folder with one folder per class, CIFAR-10's batches, or an archive of "
        "either. Default: CIFAR-10, downloaded.",
        show_default=False,
    ),
]
Root = Annotated[
    Path, typer.Option(help="Folder with experiments/, checkpoints/, bundles/, data/ and starter/.")
]
Seed = Annotated[
    int, typer.Option(help="Seed of the initial weights, the image order and the augmentation.")
]
SplitSeed = Annotated[
    int, typer.Option(help="Seed of the 70:15:15 split into train, validation and test.", min=0)
]
Device = Annotated[
    str, typer.Option(help="Device: cpu, cuda, cuda:1, or auto for a GPU if there is one.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the new bundle. Default: a folder in bundles/ named after the data, to "
        "which bundles/current then points.",
        show_default=False,
    ),
]
PerClass = Annotated[
    int | None,
    typer.Option(
        help="Gallery images of each class. Default: all test images.", min=1, show_default=False
    ),
]
Pixels = Annotated[bool, typer.Option(help="Store the gallery's images in the bundle.")]
Half = Annotated[bool, typer.Option(help="Store weights and flat indexes as fp16, not fp32.")]
Recall = Annotated[
    float,
    typer.Option(
        help="Target recall@10 of the index: the share of the exact ten nearest that a search "
        "returns, from 0 to 1.",
        min=0,
        max=1,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        help="Epochs of training. Default: those of the experiment.", min=1, show_default=False
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop if an image cannot be read. Default: leave it out.")
]
GalleryOption = Annotated[
    GalleryImages | None,
    typer.Option(
        help="Images to search: all, or those of the test split alone. Default: all of own "
        "images, and the test split of CIFAR-10.",
        show_default=False,
    ),
]
Source = Annotated[
    Path | None,
    typer.Option(
        "--bundle", help="Folder of the bundle. Default: bundles/current.", show_default=False
    ),
]


@app.command("run")
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
    experiment = find(name).with_epochs(epochs)
    workspace = Workspace(root, pick_device(device), seed, split_seed, strict=strict)
    workspace, images, splits = workspace.open(data)
    spec = workspace.spec(experiment, "study", images, splits)
    _, made = workspace.train_or_load(spec)
    typer.echo(workspace.experiments / f"{made.run_id}.json")


@app.command()
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
    chosen = [one.with_epochs(epochs) for one in (map(find, names) if names else EIGHT)]
    workspace, images, splits = Workspace(
        root,
        pick_device(device),
        split_seed=split_seed,
        stop_if_collapsed=stop_if_collapsed,
        strict=strict,
    ).open(data)
    try:
        runs = workspace.sweep(chosen, seed or [0], images, splits)
    except KeyboardInterrupt:
        print_line("stopped: the same command continues after the last finished epoch")
        raise typer.Exit(INTERRUPTED) from None
    progress.show_runs(runs)
    if any(run.status == "failed" for run in runs):
        raise typer.Exit(1)


@app.command()
def release(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of the experiment. Default: the one with the best validation accuracy, or "
            "batchnorm-3 if there are no records.",
            show_default=False,
        ),
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
    gallery: GalleryOption = None,
    strict: Strict = False,
) -> None:
    """Choose the best batch-norm network with 3 blocks, retrain it and build a bundle.

    Trains from new weights on train and validation together, with the settings of the study, tests
    once, and prints the folder of the bundle.
    """
    experiment = find(name) if name else None
    workspace = Workspace(root, pick_device(device), seed, split_seed, strict=strict)
    options = ExportOptions(per_class, pixels, half, recall, gallery)
    target = output or workspace.bundle_of(data)
    workspace, images, splits = workspace.open(data)
    own_test = None if images.files else workspace.read_own_test(data)
    made = workspace.release(images, splits, target, options, own_test, experiment, epochs)
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
    gallery: GalleryOption = None,
    strict: Strict = False,
) -> None:
    """Build a bundle with the network of another bundle and a new gallery, without training.

    The data must be the images that the network was trained with. Prints the folder of the bundle.
    """
    workspace = Workspace(root, pick_device(device), split_seed=split_seed, strict=strict)
    trained = from_bundle(bundle.load(source or workspace.current))
    options = ExportOptions(per_class, pixels, half, recall, gallery)
    target = output or workspace.bundle_of(data)
    workspace, images, splits = workspace.open(data)
    made = workspace.publish(trained, images, splits, target, options)
    if output is None:
        writer.update_current_link(workspace.current, made)
    typer.echo(made)


@app.command("resolve-bundle")
def resolve_bundle_command(
    data: Data = None,
    root: Root = Path(),
    device: Device = "auto",
    download: Annotated[
        bool, typer.Option(envvar="KINDRED_DOWNLOAD", help="Download CIFAR-10 if --data is unset.")
    ] = True,
    strict: Strict = False,
) -> None:
    """Print the folder of the bundle to serve; build it if it does not exist.

    Uses an existing bundle, else builds one from the data, else uses the starter.
    Trains only if the starter's network does not fit the data.
    """
    workspace = Workspace(root, pick_device(device), strict=strict)
    typer.echo(resolve_bundle(workspace, data, download=download))


@app.command("eval-retrieval")
def eval_retrieval(root: Root = Path(), source: Source = None) -> None:
    """Print a bundle's precision@10 by layer and class: the share of neighbours with its label."""
    loaded = bundle.load(source or root / "bundles" / "current")
    tested = loaded.gallery.tested
    labels = loaded.gallery.labels[tested]
    queries = pick_queries(labels)
    precision = {
        layer: precision_at_k(index, labels, queries)
        for layer, index in among(loaded.indexes, tested).items()
    }
    table = Table(
        title=f"Precision@10 of {len(queries)} queries in {len(labels)} images, "
        f"{loaded.manifest.name} {loaded.manifest.version}"
    )
    table.add_column("class")
    for layer in precision:
        table.add_column(layer, justify="right")
    for number, name in enumerate(loaded.manifest.classes):
        own = labels[queries] == number
        table.add_row(name, *(f"{np.mean(values[own]):.3f}" for values in precision.values()))
    table.add_section()
    table.add_row("all", *(f"{np.mean(values):.3f}" for values in precision.values()))
    Console().print(table)


@app.command()
def embed(
    images: Annotated[Path, typer.Argument(help="Image folder, or a tar or zip archive of one.")],
    output: Annotated[Path, typer.Argument(help="Folder for the shards.")],
    root: Root = Path(),
    source: Source = None,
    device: Device = "auto",
    shard: Annotated[
        str, typer.Option(help="Part of the work: 2/4 makes every fourth shard from the second on.")
    ] = "1/1",
    size: Annotated[int, typer.Option(help="Images in a shard.", min=1)] = 4096,
    labels: Annotated[
        bool, typer.Option(help="Use the name of an image's folder as its label.")
    ] = True,
    ray: Annotated[
        bool, typer.Option("--ray", help="Distribute the shards with Ray Data. Default: off.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Ray workers, each with its own network. Needs --ray.", min=1)
    ] = 1,
) -> None:
    """Embed images into shards, which a gallery can import, and print the number of images.

    A stopped command can be started again, and several processes can share the folder, also on
    other machines: a finished shard is not written again. Exits with 1 if an image cannot be
    read.
    """
    loaded = bundle.load(source or root / "bundles" / "current")
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
        f"shards: {stats.written} written, {stats.existing} existing, {stats.skipped} skipped"
    )
    for name in stats.unreadable:
        print_line(f"skipped, cannot be read: {name}", style="yellow")
    typer.echo(stats.images)
    if stats.unreadable:
        raise typer.Exit(1)


@app.command("report")
def report_command(
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
    """Write results.md and its figures from the records, and print its path."""
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
    """Run a command. Print an expected error in one line, without a traceback."""
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
        LeakageError,
        RecordError,
        ReleaseError,
        ReportError,
        ShardError,
        UnknownExperimentError,
    ) as error:
        print_line(f"error: {error}", style="red")
        raise SystemExit(1) from error
