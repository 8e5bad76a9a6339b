"""The command that embeds any number of images into shards."""

from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import Device, Root, Source
from training.workflows import progress
from training.workflows.progress import print_line


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
    from training import bundle
    from training.embedding import bulk, ray_runner
    from training.embedding.bulk import Embedder
    from training.embedding.job import Job, ShardSpec
    from training.models.device import pick_device

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
