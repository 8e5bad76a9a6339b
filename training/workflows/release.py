"""Chooses the experiment to release, evaluates its network, and checks that it may be published.

Knows nothing of the command line, and trains nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.bundle import Bundle
from training.bundle.writer import Decoders
from training.data.dataset import Dataset
from training.data.splits import Splits, indices_sha256
from training.data.tensors import LabelledTensors
from training.embedding.embed import embed
from training.experiments.aggregate import group_runs, summarize
from training.experiments.config import Experiment
from training.experiments.record import Record
from training.models.network import Network
from training.trainer.evaluation import evaluate
from training.workflows import near_duplicates
from training.workflows.retrieval_metrics import pick_queries, rank

DEFAULT = "batchnorm-3"
"""Experiment that is released if there are no studies to choose from."""
MAX_RANKED = 10_000
"""Maximum number of test images that the retrieval metrics rank."""


class ReleaseError(RuntimeError):
    """Raised if a network and a data set do not fit together; the message names the cause."""


@dataclass(frozen=True)
class TrainedModel:
    """A network, the record of its final run, and all records on the same data.

    `decoders` are those of the network, if it comes from a bundle that has them.
    """

    network: Network
    final: Record
    records: Sequence[Record]
    decoders: Decoders | None = None

    @property
    def validation_accuracy(self) -> float | None:
        """Mean validation accuracy of the study runs with the same settings and data."""
        group = [one for one in self.records if one.group_id == self.final.group_id]
        summaries = summarize(group)
        found = summaries[0].validation_accuracy if summaries else None
        return found.mean if found else None


def select_experiment(
    records: Iterable[Record], fingerprint: str, held_out: str
) -> Experiment | None:
    """Return the batch-norm 3-block settings with the best mean validation accuracy.

    The settings are those of the record, not those that the catalogue has now. Only studies with
    the same test images count: a study of another split may have validated on them.

    Args:
        records: runs on any data.
        fingerprint: of the data set.
        held_out: sha256 of the positions of the test images.

    Returns:
        The experiment, or None if no study has learned.

    """
    candidates = [
        one
        for one in records
        if one.dataset.fingerprint == fingerprint
        and one.dataset.splits["test"].indices_sha256 == held_out
        and one.variant.batch_norm
        and one.variant.conv_blocks == 3
        and one.variant.width == 1  # a wider one is a teacher
    ]
    scores = {
        summary.name: summary.validation_accuracy.mean
        for summary in summarize(candidates)
        if summary.validation_accuracy
    }
    if not scores:
        return None
    return group_runs(candidates)[max(scores, key=lambda name: scores[name])][-1].settings


def evaluate_release(
    network: Network,
    final: Record,
    dataset: Dataset,
    splits: Splits,
    own_test: Dataset | None,
    device: torch.device,
) -> Record:
    """Return the record with the metrics that only a released network has.

    These are the retrieval metrics of each layer over the test images, the accuracy on the test
    images that the data set itself provides, and the test images with a near-duplicate among the
    training images. Metrics that the record has are not measured again.
    """
    test = splits.indices("test")
    kept = np.sort(test[pick_queries(dataset.labels[test].numpy(), MAX_RANKED)])
    labels = dataset.labels[kept].to(device)
    update: dict[str, object] = {}
    if final.retrieval is None and len(labels.unique()) < len(labels):
        compared = [one for one in network.layers if one not in network.spec.explaining]
        vectors = embed(network, dataset.images[kept], compared, device)
        update["retrieval"] = {
            layer: rank(torch.from_numpy(vectors[layer]).to(device), labels, len(dataset.classes))
            for layer in compared
        }
    if own_test and final.own_test is None:
        update["own_test"] = evaluate(
            network, LabelledTensors(own_test.images.to(device), own_test.labels.to(device))
        )
    if final.near_duplicates is None and near_duplicates.can_score(network):
        update["near_duplicates"] = near_duplicates.measure(network, dataset, splits, device)
    return final.model_copy(update=update)


def check_same_classes(dataset: Dataset, own_test: Dataset | None) -> None:
    """Check that a data set's own test images have the classes of its training images.

    Raises:
        ReleaseError: the classes differ; names them.

    """
    if own_test and own_test.classes != dataset.classes:
        raise ReleaseError(
            f"the test images of {dataset.name} have other classes than its training images: "
            f"{', '.join(sorted({*own_test.classes} ^ {*dataset.classes}))}"
        )


def from_bundle(bundle: Bundle) -> TrainedModel:
    """Return the network of a bundle with its records.

    Raises:
        ReleaseError: the record of the run that trained the network is missing.

    """
    run_id = bundle.manifest.run_id
    if run_id is None:
        raise ReleaseError(
            f"{bundle.path} knows no classes, and nothing was trained: `python -m training "
            "resolve-bundle` brings it up to date"
        )
    final = next((one for one in bundle.records if one.run_id == run_id), None)
    if final is None:
        raise ReleaseError(f"{bundle.path} has no record of {run_id}, which trained its network")
    decoders = Decoders(bundle.decoders, bundle.manifest.decoders) if bundle.decoders else None
    return TrainedModel(bundle.network, final, bundle.records, decoders)


def check_no_leakage(trained: TrainedModel, dataset: Dataset, splits: Splits) -> None:
    """Check that the network was not trained on the images of the gallery.

    Raises:
        ReleaseError: the classes, the images or the test split are not those of the network's
            run. CIFAR-10 in another encoding counts as the same images.

    """
    classes = trained.network.architecture.classes
    own = trained.final.dataset
    held_out = own.splits["test"].indices_sha256
    if classes != len(dataset.classes):
        raise ReleaseError(
            f"the network of {trained.final.run_id} has {classes} classes, {dataset.name} has "
            f"{len(dataset.classes)}: train a network on it with `python -m training release`"
        )
    both_cifar10 = own.name.startswith("cifar10") and dataset.is_cifar10
    if own.fingerprint != dataset.fingerprint and not both_cifar10:
        raise ReleaseError(
            f"the network of {trained.final.run_id} was trained on {own.name}, and {dataset.name} "
            "has other images: train a network on it with `python -m training release`"
        )
    if indices_sha256(splits.indices("test")) != held_out:
        raise ReleaseError(
            f"the test split of {dataset.name} is not that of {trained.final.run_id}, so the "
            "network may have been trained on it: train one with `python -m training release`"
        )
