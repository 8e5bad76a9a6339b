"""The commands that examine the images of a data set: labels, duplicates."""

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import Data, Device, Root
from training.experiments.catalogue import find
from training.workflows import progress
from training.workflows.defaults import FOLDS, THRESHOLD


def labels(
    data: Data = None,
    root: Root = Path(),
    device: Device = "auto",
    name: Annotated[
        str, typer.Option("--experiment", help="Experiment whose network and training are used.")
    ] = "best-3",
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs of each training. Default: the experiment's.", min=1),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(help="Networks; each judges the images that it was not trained on.", min=2),
    ] = FOLDS,
    seed: Annotated[int, typer.Option(help="Seed of the folds and of the training.")] = 0,
    count: Annotated[int, typer.Option(help="Images to list.", min=1)] = 100,
) -> None:
    """List images whose label is in doubt as CSV, the most doubtful first.

    Each image is judged by a network that was not trained on it, and by its nearest neighbours.
    """
    from training.models.device import pick_device
    from training.workflows.labels import doubts, judge
    from training.workflows.workspace import Workspace

    workspace, images, _ = Workspace(root, pick_device(device)).open(data)
    experiment = find(name).with_epochs(epochs)
    known = len(images) * (folds - 1) // folds
    steps = experiment.config.epochs * -(-known // experiment.config.batch_size)
    with progress.track("judging labels", steps * folds) as advance:
        judged = judge(
            images,
            experiment,
            workspace.device,
            workspace.checkpoints,
            folds=folds,
            seed=seed,
            on_step=advance,
            on_epoch=progress.show_epoch,
        )
    found = doubts(images.labels.numpy(), judged.combined)
    rows = (
        (
            images.ids[one.position],
            images.classes[int(images.labels[one.position])],
            images.classes[one.suggested],
            f"{one.score:.3f}",
        )
        for one in found[:count]
    )
    _print_csv(["id", "label", "suggested", "doubt"], rows)


def duplicates(
    data: Data = None,
    root: Root = Path(),
    device: Device = "auto",
    source: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            help="Bundle whose network embeds the images. Default: bundles/current, else starter.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        str, typer.Option(help="Layer at which the ten nearest images are candidates.")
    ] = "conv2",
    threshold: Annotated[
        float, typer.Option(help="Lowest score of a pair, from 0 to 1.", min=0, max=1)
    ] = THRESHOLD,
) -> None:
    """List near-duplicates as CSV, the most alike first: within and across the splits.

    The images are those of the data, and the test images that the data set itself provides. A
    pair's score is the mean of its cosines at conv2 and conv3 and of its details' correlation.
    """
    import numpy as np
    import torch

    from training import bundle
    from training.bundle.manifest import MANIFEST
    from training.data.dataset import DatasetError
    from training.embedding.embed import batch_count
    from training.models.device import pick_device
    from training.workflows import near_duplicates
    from training.workflows.workspace import Workspace

    workspace = Workspace(root, pick_device(device))
    _, images, splits = workspace.open(data)
    own_test = workspace.read_own_test(data)
    current = workspace.current if (workspace.current / MANIFEST).is_file() else workspace.starter
    network = bundle.load(source or current).network
    if not near_duplicates.can_score(network):
        raise DatasetError(
            f"the network of {source or current} is {network.spec.family}, and near-duplicates are "
            "scored by a blocknet's layers: name another with --bundle"
        )
    if layer not in network.layers:
        raise DatasetError(f"no layer {layer!r}; choose one of {', '.join(network.layers)}")
    names = [*images.ids, *(own_test.ids if own_test else ())]
    parts = [""] * len(images) + ["own test"] * (len(names) - len(images))
    for part in ("train", "validation", "test"):
        for position in splits.indices(part):
            parts[position] = part
    pixels = torch.cat([images.images, *([own_test.images] if own_test else [])])
    every = np.arange(len(names))
    with progress.track("embedding", batch_count(len(names))) as on_batch:
        found = near_duplicates.find(
            network,
            pixels,
            every,
            every,
            workspace.device,
            layer=layer,
            threshold=threshold,
            on_batch=on_batch,
        )
    rows = (
        (names[a], parts[a], names[b], parts[b], f"{score:.4f}")
        for a, b, score in zip(found.first, found.second, found.score, strict=True)
    )
    _print_csv(["first", "first_split", "second", "second_split", "score"], rows)


def _print_csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
