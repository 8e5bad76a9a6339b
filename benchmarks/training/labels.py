"""Measures how many wrong labels `python -m training labels` finds, beside cleanlab.

    python -m benchmarks.training.labels --data cifar10-jpeg.tar.gz

Flips a share of the labels of the train split, judges the images with them, and prints the share of
the flipped among as many images at the head of each ranking. If cleanlab is installed
(`pip install cleanlab`), its rankings of the same probabilities are measured too. A stopped
measurement continues after the last finished epoch.
"""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from training.data.dataset import Dataset, load
from training.data.splits import Indices, split
from training.experiments.catalogue import find
from training.experiments.environment import describe
from training.models.device import pick_device
from training.workflows import progress
from training.workflows.defaults import FOLDS
from training.workflows.labels import Judgement, doubts, flip, judge, share_found

app = typer.Typer(add_completion=False)

CLEANLAB_METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def shares_found(judged: Judgement, flipped: Indices, changed: Indices) -> dict[str, float]:
    """Return the share of the changed labels that each ranking puts first."""
    rankings = {
        f"ours, {name}": np.array([one.position for one in doubts(flipped, probabilities)])
        for name, probabilities in (
            ("network alone", judged.network),
            ("neighbours alone", judged.neighbours),
            ("network and neighbours", judged.combined),
        )
    }
    if find_spec("cleanlab"):
        from cleanlab.rank import get_label_quality_scores  # noqa: PLC0415 - optional

        for method in CLEANLAB_METHODS:
            scores = get_label_quality_scores(flipped, judged.network, method=method)
            rankings[f"cleanlab, {method}"] = np.argsort(scores, kind="stable")
    return {name: share_found(ranking, changed) for name, ranking in rankings.items()}


def train_split(images: Dataset) -> Dataset:
    """Return the images of the train split: no test image is judged here."""
    positions = split(images, 0).indices("train")
    return replace(
        images,
        images=images.images[positions],
        labels=images.labels[positions],
        ids=tuple(images.ids[position] for position in positions),
    )


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="CIFAR-10, or an image folder.")],
    root: Annotated[Path, typer.Option(help="Folder with checkpoints/ and docs/.")] = Path(),
    name: Annotated[str, typer.Option("--experiment", help="Network and training.")] = "best-3",
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = 12,
    folds: Annotated[int, typer.Option(help="Networks.")] = FOLDS,
    share: Annotated[float, typer.Option(help="Share of the labels that are flipped.")] = 0.02,
    seed: Annotated[int, typer.Option(help="Seed of the flips and of the training.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")] = "auto",
) -> None:
    """Print the share of the flipped labels that each ranking finds; write docs/labels.json."""
    chosen = pick_device(device)
    with progress.track(f"reading {data.name}") as on_image:
        images = train_split(load(data, on_image=on_image))
    flipped, changed = flip(images.labels.numpy(), len(images.classes), share, seed)
    wrong = replace(images, labels=torch.from_numpy(flipped))
    experiment = find(name).with_epochs(epochs)
    judged = judge(
        wrong,
        experiment,
        chosen,
        root / "checkpoints",
        folds=folds,
        seed=seed,
        on_epoch=progress.show_epoch,
    )
    found = shares_found(judged, flipped, changed)
    table = Table(title=f"{len(changed)} of {len(images):,} labels flipped, {folds} folds")
    table.add_column("ranking")
    table.add_column("share found", justify="right")
    for ranking, value in found.items():
        table.add_row(ranking, f"{value:.3f}")
    Console(width=100).print(table)
    result = {
        "experiment": experiment.model_dump(),
        "folds": folds,
        "share": share,
        "seed": seed,
        "images": len(images),
        "environment": describe(chosen).model_dump(),
        "share_found": found,
    }
    file = root / "docs" / "labels.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
