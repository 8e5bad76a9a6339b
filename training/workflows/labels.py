"""Lists images whose label is in doubt, the most doubtful first.

Each image is judged by a network that was not trained on it (out of fold), and by its nearest
neighbours among that network's training images. Knows nothing of the command line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training.data.dataset import Dataset
from training.data.splits import Indices, indices_sha256
from training.data.tensors import LabelledTensors
from training.embedding.embed import embed
from training.experiments.config import Experiment
from training.experiments.record import Epoch, Seeds
from training.index import cosine
from training.index.cosine import Vectors
from training.trainer.build import build_network
from training.trainer.fit import fit
from training.trainer.resume import Resume
from training.workflows.defaults import FOLDS

NEIGHBOURS = 20
"""Neighbours that vote on a label."""

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judgement:
    """What was found about each image of a data set, without having trained on it.

    `network` has the probabilities of the classes by the network, `neighbours` the shares of the
    labels among the nearest training images; both are [N, classes].
    """

    network: Probabilities
    neighbours: Probabilities

    @property
    def combined(self) -> Probabilities:
        """The mean of both, [N, classes]."""
        mean: Probabilities = (self.network + self.neighbours) / np.float32(2)
        return mean


@dataclass(frozen=True)
class Doubt:
    """An image whose label may be wrong.

    `score` is from -1 to 1: the probability of the likeliest other class, less that of the label.
    """

    position: int
    suggested: int
    score: float


def doubts(labels: Indices, probabilities: Probabilities) -> list[Doubt]:
    """Rank all images by the doubt in their label, the most doubtful first.

    The score is the negative normalised margin (Northcutt et al., 2021).

    Args:
        labels: int64 [N].
        probabilities: [N, classes], of the classes of each image.

    """
    own = probabilities[np.arange(len(labels)), labels]
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1
    suggested = others.argmax(1)
    scores = others.max(1) - own
    order = np.argsort(-scores, kind="stable")
    return [Doubt(int(n), int(suggested[n]), float(scores[n])) for n in order]


def assign_folds(labels: Indices, folds: int, seed: int) -> Indices:
    """Assign each image to a fold, 0 to `folds` - 1, so that each has its share of every class."""
    random = np.random.Generator(np.random.PCG64(seed))
    assigned = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        assigned[members] = np.arange(len(members)) % folds
    return assigned


def judge(
    dataset: Dataset,
    experiment: Experiment,
    device: torch.device,
    folder: Path,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Judgement:
    """Train a network for each fold on the other folds, and judge the images of that fold.

    Args:
        dataset: images and the labels in question.
        experiment: network and training.
        device: to train on.
        folder: has the state of unfinished trainings, so that a stopped one continues.
        folds: number of networks; each is trained on all images but its share.
        seed: of the folds and of the training.
        on_step: called after each training step.
        on_epoch: called with the metrics of each epoch.

    """
    labels = dataset.labels.numpy()
    assigned = assign_folds(labels, folds, seed)
    shape = len(dataset), len(dataset.classes)
    network, neighbours = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    unfinished = []
    for fold in range(folds):
        known, judged = np.flatnonzero(assigned != fold), np.flatnonzero(assigned == fold)
        training = LabelledTensors(
            dataset.images[known].to(device), dataset.labels[known].to(device)
        )
        built = build_network(experiment, len(dataset.classes), seed, training.images)
        name = f"labels-{dataset.fingerprint[:8]}-{experiment.name}-seed{seed}-fold{fold}"
        key = f"{experiment.model_dump_json()} {dataset.fingerprint} {indices_sha256(known)}"
        unfinished.append(folder / f"{name}.unfinished.safetensors")
        fit(
            built,
            training,
            None,
            experiment.config,
            Seeds(split=seed, init=seed, order=seed, augment=seed),
            augmentation=experiment.variant.augmentation,
            on_step=on_step,
            on_epoch=on_epoch,
            resume=Resume(unfinished[-1], key),
        )
        found = embed(built, dataset.images[judged], ("penultimate", "logits"), device)
        network[judged] = torch.from_numpy(found["logits"]).softmax(1).numpy()
        references = embed(built, dataset.images[known], ("penultimate",), device)
        neighbours[judged] = _vote(
            found["penultimate"], references["penultimate"], labels[known], shape[1]
        )
    for file in unfinished:
        file.unlink(missing_ok=True)
    return Judgement(network, neighbours)


def _vote(queries: Vectors, references: Vectors, labels: Indices, classes: int) -> Probabilities:
    """Return the share of each label among the nearest references, [N, classes]."""
    _, nearest = cosine.build(references).search(queries, NEIGHBOURS)
    votes = np.eye(classes, dtype=np.float32)[labels[nearest]]
    shares: Probabilities = votes.mean(1)
    return shares


def flip(labels: Indices, classes: int, share: float, seed: int) -> tuple[Indices, Indices]:
    """Replace a share of the labels by another class at random, to measure how many are found.

    Returns:
        The labels after the change, and the positions of those that changed.

    """
    random = np.random.Generator(np.random.PCG64(seed))
    changed = np.sort(random.choice(len(labels), round(share * len(labels)), replace=False))
    flipped = labels.copy()
    flipped[changed] = (labels[changed] + random.integers(1, classes, len(changed))) % classes
    return flipped, changed


def share_found(ranking: Indices, changed: Indices) -> float:
    """Return the share of the changed labels among the first images, as many as were changed."""
    return float(np.isin(ranking[: len(changed)], changed).mean())
