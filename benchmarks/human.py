"""Compares the network with people: near-duplicates, and doubt about the test images of CIFAR-10.

    python -m benchmarks.human --data cifar10-jpeg.tar.gz --human human/

`--human` is a folder with two files. `near-duplicates.csv` has the pairs that Barz and Denzler
(2020, ciFAIR) judged, `cifar10h-counts.npy` the answers of about 50 people for each test image
(Peterson et al., 2019, CIFAR-10H; CC BY-NC-SA 4.0). Neither is part of this repository.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table

from training import bundle
from training.bundle import Layer
from training.bundle.network import Network, pick_device
from training.data import dataset
from training.data.dataset import Dataset
from training.embedding.embed import batch_count, embed
from training.workflows import progress
from training.workflows.defaults import THRESHOLD
from training.workflows.near_duplicates import Pairs, find

app = typer.Typer(add_completion=False)

LAYERS: tuple[Layer, ...] = ("conv2", "conv3", "penultimate", "logits")
NEAREST = 10
FLOOR = 0.65
"""Lowest score of a pair that is ranked; lower ones hardly change an average precision."""
LOOKED_AT = Path(__file__).parent / "near_duplicates_looked_at.csv"
"""Pairs that are found beyond the list and that we looked at: `TestID,TrainID,same`."""

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """The judged pairs: test and training positions, and whether they are near-duplicates.

    The others are very similar.
    """

    test: npt.NDArray[np.int64]
    train: npt.NDArray[np.int64]
    near_duplicate: Flags

    @classmethod
    def read(cls, file: Path) -> "Judged":
        """Read `TestID,TrainID,Distance,Judgment`; the judgment 1 is a near-duplicate."""
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        return cls(
            test=np.array([int(row["TestID"]) for row in rows]),
            train=np.array([int(row["TrainID"]) for row in rows]),
            near_duplicate=np.array([row["Judgment"] == "1" for row in rows]),
        )


def average_precision(relevant: Flags, total: int) -> float:
    """Return the average precision of a ranking.

    Args:
        relevant: whether each item is relevant, the best ranked first.
        total: number of relevant items, ranked or not.

    """
    precision = np.cumsum(relevant) / np.arange(1, len(relevant) + 1)
    return float(precision[relevant].sum() / total)


def rank_correlation(first: Scores, second: Scores) -> float:
    """Return Spearman's rank correlation; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Scores) -> Scores:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: Scores = np.cumsum(counts) - (counts - 1) / 2
    return means[inverse]


def best_of_each(pairs: Pairs) -> Pairs:
    """Keep the best pair of each first image; the pairs are sorted by score."""
    _, kept = np.unique(pairs.first, return_index=True)
    kept = np.sort(kept)
    return Pairs(pairs.first[kept], pairs.second[kept], pairs.score[kept])


def nearest(
    network: Network, test: Dataset, train: Dataset, device: torch.device
) -> dict[Layer, npt.NDArray[np.int64]]:
    """Return the positions of the ten nearest training images of each test image, by layer."""
    total = batch_count(len(test)) + batch_count(len(train))
    with progress.track("embedding", total) as on_batch:
        queries, others = (
            embed(network, one.images, LAYERS, device, on_batch) for one in (test, train)
        )
    found = {}
    for layer in LAYERS:
        rows = torch.nn.functional.normalize(torch.from_numpy(others.pop(layer)))
        asked = torch.from_numpy(queries[layer]).split(1000)
        found[layer] = np.concatenate([(one @ rows.T).topk(NEAREST).indices for one in asked])
    return found


def recall_table(found: dict[Layer, npt.NDArray[np.int64]], judged: Judged) -> Table:
    """Show the share of near-duplicates whose partner is among the nearest, by layer."""
    table = Table(title=f"Partner of {judged.near_duplicate.sum()} near-duplicates found")
    for column in ("layer", "nearest", f"among {NEAREST}"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    near = judged.near_duplicate
    for layer, positions in found.items():
        hits = positions[judged.test[near]] == judged.train[near, None]
        table.add_row(layer, f"{hits[:, 0].mean():.3f}", f"{hits.any(1).mean():.3f}")
    return table


def threshold_table(pairs: Pairs, judged: Judged) -> Table:
    """Show what a threshold on the score finds, one pair for each test image."""
    table = Table(title="Test images with a near-duplicate by score, against the list")
    for column in (
        "score from",
        "found",
        f"of {judged.near_duplicate.sum()} near-duplicates",
        f"of all {len(judged.test)}",
        "of the found, listed",
    ):
        table.add_column(column, justify="right")
    best = best_of_each(pairs)
    for threshold in sorted({0.70, 0.74, THRESHOLD, 0.82, 0.86, 0.90}):
        found = best.above(threshold).first
        listed = np.isin(found, judged.test)
        near = np.isin(judged.test[judged.near_duplicate], found)
        every = np.isin(judged.test, found)
        table.add_row(
            f"{threshold:.2f}",
            str(len(found)),
            f"{near.mean():.3f}",
            f"{every.mean():.3f}",
            f"{listed.mean():.3f}",
        )
    return table


def looked_at(best: Pairs, judged: Judged) -> str:
    """Describe how many pairs beyond the list are true, of those that were looked at."""
    if not LOOKED_AT.exists():
        return "No pairs beyond the list were looked at."
    with LOOKED_AT.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    beyond = ~np.isin(best.first, judged.test)
    found = set(zip(best.first[beyond].tolist(), best.second[beyond].tolist(), strict=True))
    same = [row["same"] == "1" for row in rows if _pair(row) in found]
    return (
        f"Beyond the list, {len(found)} test images are found from a score of {THRESHOLD}; we "
        f"looked at {len(same)} of them drawn at random, and {sum(same)} are true pairs."
    )


def _pair(row: dict[str, str]) -> tuple[int, int]:
    return int(row["TestID"]), int(row["TrainID"])


def doubt_tables(logits: Scores, labels: npt.NDArray[np.int64], counts: Scores) -> list[Table]:
    """Show how the network's probabilities agree with the answers of people."""
    people = counts / counts.sum(1, keepdims=True)
    ours = torch.from_numpy(logits).log_softmax(1).numpy()
    correct = logits.argmax(1) == labels
    entropies = [
        torch.special.entr(torch.from_numpy(one)).sum(1).numpy() for one in (people, np.exp(ours))
    ]
    table = Table(title=f"Doubt about {len(labels):,} test images")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_row("accuracy", f"{correct.mean():.4f}")
    table.add_row(
        "cross entropy to the labels", f"{-ours[np.arange(len(labels)), labels].mean():.3f}"
    )
    table.add_row("cross entropy to people's answers", f"{-(people * ours).sum(1).mean():.3f}")
    table.add_row("lowest possible: entropy of people's answers", f"{entropies[0].mean():.3f}")
    table.add_row("rank correlation of the entropies", f"{rank_correlation(*entropies):.3f}")
    agreement = Table(title="Accuracy by how many people gave the most frequent answer")
    for column in ("share of people", "images", "accuracy", "mean probability of our class"):
        agreement.add_column(column, justify="right")
    share = people.max(1)
    for low, high in ((0.0, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 0.98), (0.98, 1.0), (1.0, 1.1)):
        group = (share >= low) & (share < high)
        if not group.any():
            continue
        name = "all" if low == 1 else f"{low:.0%} to {high:.0%}"
        confidence = np.exp(ours[group]).max(1).mean()
        agreement.add_row(
            name, str(group.sum()), f"{correct[group].mean():.3f}", f"{confidence:.3f}"
        )
    return [table, agreement]


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="CIFAR-10, with its own test images.")],
    human: Annotated[Path, typer.Option(help="Folder with people's judgements.")],
    source: Annotated[Path, typer.Option("--bundle", help="Bundle of the network.")] = Path(
        "starter"
    ),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")] = "auto",
    layers: Annotated[bool, typer.Option(help="Also measure each layer by itself.")] = True,
) -> None:
    """Print how the network's near-duplicates and doubt agree with those of people."""
    chosen = pick_device(device)
    network = bundle.load(source).network
    test, train = (dataset.load(data, part) for part in ("test", "train"))
    console = Console(width=100)
    counts = np.load(human / "cifar10h-counts.npy").astype(np.float64)
    outputs = embed(network, test.images, ("logits",), chosen)["logits"].astype(np.float64)
    for table in doubt_tables(outputs, test.labels.numpy(), counts):
        console.print(table)
    judged = Judged.read(human / "near-duplicates.csv")
    if layers:
        console.print(recall_table(nearest(network, test, train, chosen), judged))
    images = torch.cat([test.images, train.images])
    queries, others = np.arange(len(test)), np.arange(len(test), len(images))
    total = batch_count(len(images))
    with progress.track("near-duplicates", total) as on_batch:
        pairs = find(network, images, queries, others, chosen, threshold=FLOOR, on_batch=on_batch)
    pairs = Pairs(pairs.first, pairs.second - len(test), pairs.score)
    console.print(threshold_table(pairs, judged))
    best = best_of_each(pairs)
    for name, relevant in (
        (f"{judged.near_duplicate.sum()} near-duplicates", judged.test[judged.near_duplicate]),
        (f"all {len(judged.test)} judged", judged.test),
    ):
        precision = average_precision(np.isin(best.first, relevant), len(relevant))
        console.print(f"Average precision of test images by score, against {name}: {precision:.3f}")
    console.print(looked_at(best.above(THRESHOLD), judged))


if __name__ == "__main__":
    app()
