"""The commands that build and measure bundles: release, reindex, resolve, eval-retrieval."""

import time
from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import (
    Data,
    Decoders,
    Device,
    Epochs,
    GalleryOption,
    Half,
    Layers,
    Maps,
    Output,
    PerClass,
    Pixels,
    Recall,
    Root,
    Seed,
    Source,
    SplitSeed,
    Strict,
)
from training.data.preprocessing import SIZE
from training.experiments.catalogue import find
from training.index.tuning import TARGET_RECALL
from training.workflows.existing import summarize_bundle, up_to_date_bundle
from training.workflows.progress import print_line, print_path


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
    layers: Layers = None,
    maps: Maps = True,
    decoders: Decoders = True,
    strict: Strict = False,
) -> None:
    """Choose the best batch-norm network with 3 blocks, retrain it and build a bundle.

    Trains from new weights on train and validation together, with the settings of the study, tests
    once, and prints the folder of the bundle.
    """
    from training.bundle import writer
    from training.models.device import pick_device
    from training.workflows.export import ExportOptions
    from training.workflows.workspace import Workspace

    experiment = find(name) if name else None
    workspace = Workspace(root, pick_device(device), seed, split_seed, strict=strict)
    options = ExportOptions(
        per_class, pixels, half, recall, gallery, _names(layers), maps, decoders
    )
    target = output or workspace.bundle_of(data)
    side = experiment.variant.side if experiment else SIZE
    workspace, images, splits = workspace.open(data, side)
    own_test = None if images.files else workspace.read_own_test(data)
    made = workspace.release(images, splits, target, options, own_test, experiment, epochs)
    if output is None:
        writer.update_current_link(workspace.current, made)
    print_path(made)


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
    layers: Layers = None,
    maps: Maps = True,
    decoders: Decoders = True,
    strict: Strict = False,
) -> None:
    """Build a bundle with the network of another bundle and a new gallery, without training.

    The data must be the images that the network was trained with. Prints the folder of the bundle.
    """
    from training import bundle
    from training.bundle import writer
    from training.models.device import pick_device
    from training.workflows.export import ExportOptions
    from training.workflows.release import from_bundle
    from training.workflows.workspace import Workspace

    workspace = Workspace(root, pick_device(device), split_seed=split_seed, strict=strict)
    trained = from_bundle(bundle.load(source or workspace.current))
    options = ExportOptions(
        per_class, pixels, half, recall, gallery, _names(layers), maps, decoders
    )
    target = output or workspace.bundle_of(data)
    workspace, images, splits = workspace.open(data, trained.network.spec.side)
    made = workspace.publish(trained, images, splits, target, options)
    if output is None:
        writer.update_current_link(workspace.current, made)
    print_path(made)


def resolve_bundle_command(
    data: Data = None,
    root: Root = Path(),
    device: Device = "auto",
    download: Annotated[
        bool, typer.Option(envvar="KINDRED_DOWNLOAD", help="Download CIFAR-10 if --data is unset.")
    ] = True,
    url: Annotated[
        str | None,
        typer.Option(
            help="Address of the service, to end with a line about the bundle. Default: no line.",
            show_default=False,
        ),
    ] = None,
    retrain: Annotated[
        bool,
        typer.Option("--retrain", help="Train a new network on --data, even if it has a bundle."),
    ] = False,
    maps: Maps = True,
    decoders: Decoders = True,
    strict: Strict = False,
    build: Annotated[
        bool,
        typer.Option(
            "--build/--no-build",
            help="Build or update a bundle, if there is work to do. Else exit with status 1.",
        ),
    ] = True,
    network: Annotated[
        str | None,
        typer.Option(
            help="Experiment to train on --data, such as pretrained or best-3. Default: pretrained "
            "if its weights are there, else best-3.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the folder of the bundle to serve; build it if it does not exist.

    Uses an existing bundle, else builds one from the data, else uses the starter.
    CIFAR-10 takes the starter's network; own images get one. Updates the gallery of a bundle whose
    data has changed.
    """
    start = time.monotonic()
    path = None if retrain else up_to_date_bundle(root, data, network)
    if path is None and not build:
        raise typer.Exit(1)
    if path is None:
        from training.models.device import pick_device
        from training.workflows.export import ExportOptions
        from training.workflows.resolve import resolve_bundle
        from training.workflows.workspace import Workspace

        workspace = Workspace(root, pick_device(device), strict=strict)
        options = ExportOptions(maps=maps, decoders=decoders)
        path = resolve_bundle(
            workspace, data, download=download, retrain=retrain, network=network, options=options
        )
    if url:
        print_line(summarize_bundle(path, time.monotonic() - start, url))
    print_path(path)


def eval_retrieval(root: Root = Path(), source: Source = None) -> None:
    """Print a bundle's precision@10 by layer and class: the share of neighbours with its label."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from training import bundle
    from training.bundle import BundleError
    from training.workflows.export import among
    from training.workflows.retrieval_metrics import pick_queries, precision_at_k

    loaded = bundle.load(source or root / "bundles" / "current")
    if not loaded.manifest.classes:
        raise BundleError(f"{loaded.path} knows no classes, so precision cannot be measured")
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
    Console(markup=False, emoji=False).print(table)


def _names(layers: str | None) -> tuple[str, ...]:
    """Return the names in a comma-separated list."""
    return tuple(name.strip() for name in (layers or "").split(",") if name.strip())
