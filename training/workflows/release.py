"""Builds a bundle from a trained network: selects, checks, embeds, indexes, measures.

The gallery and all metrics come from the test split, which is used for neither training nor model
selection. Knows nothing of the command line, and trains nothing.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from training.bundle import Bundle, Gallery
from training.bundle.manifest import DatasetMetadata, Metrics
from training.bundle.model_card import model_card
from training.bundle.writer import BundleContents
from training.data.dataset import Dataset
from training.data.splits import Splits, indices_sha256
from training.data.tensors import LabelledTensors
from training.embedding.embed import embed
from training.experiments.aggregate import group_runs, summarize
from training.experiments.config import Experiment
from training.experiments.record import Record, wilson95
from training.experiments.reports.curves_svg import overlaid_curves
from training.experiments.reports.figures import QUANTITIES, learning_curves, neighbours
from training.index import cosine
from training.index.cosine import CosineIndex, Vectors
from training.index.tuning import TARGET_RECALL, tune
from training.models.architecture import Layer
from training.models.blocknet import BlockNet
from training.models.calibration import calibration_error
from training.models.novelty import REFERENCES, fit
from training.models.quantization import measure
from training.trainer.evaluation import evaluate
from training.workflows.retrieval_metrics import pick_queries, precision_at_k, rank

LAYERS: tuple[Layer, ...] = ("conv2", "logits")
"""Layers with an index of their embeddings."""
DEFAULT = "batchnorm-3"
"""Experiment that is released if there are no studies to choose from."""
FIGURE_IMAGES, FIGURE_CLASSES = 6, 20
"""Images in a row of a neighbour figure, and the number of classes that have such a figure."""
MAX_RANKED = 10_000
"""Maximum number of test images that the retrieval metrics rank."""


class ReleaseError(RuntimeError):
    """Raised if a network and a data set do not fit together; the message names the cause."""


@dataclass(frozen=True)
class TrainedModel:
    """A network, the record of its final run, and all records on the same data."""

    network: BlockNet
    final: Record
    records: Sequence[Record]

    @property
    def validation_accuracy(self) -> float | None:
        """Mean validation accuracy of the study runs with the same settings and data."""
        group = [one for one in self.records if one.group_id == self.final.group_id]
        summaries = summarize(group)
        found = summaries[0].validation_accuracy if summaries else None
        return found.mean if found else None


@dataclass(frozen=True)
class ExportOptions:
    """What goes into a bundle.

    `per_class` is the number of gallery images of each class, None for all. `pixels` stores the
    images. `half` stores weights and flat indexes as fp16. `recall` is the index's target
    recall@10, from 0 to 1.
    """

    per_class: int | None = None
    pixels: bool = True
    half: bool = False
    recall: float = TARGET_RECALL


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
    network: BlockNet,
    final: Record,
    dataset: Dataset,
    splits: Splits,
    own_test: Dataset | None,
    device: torch.device,
) -> Record:
    """Return the record with the metrics that only a released network has.

    These are the retrieval metrics of each layer over the test images, and the accuracy on the
    test images that the data set itself provides. Metrics that the record has are not measured
    again.
    """
    test = splits.indices("test")
    kept = np.sort(test[pick_queries(dataset.labels[test].numpy(), MAX_RANKED)])
    labels = dataset.labels[kept].to(device)
    update: dict[str, object] = {}
    if final.retrieval is None and len(labels.unique()) < len(labels):
        vectors = embed(network, dataset.images[kept], network.layers, device)
        update["retrieval"] = {
            layer: rank(torch.from_numpy(vectors[layer]).to(device), labels, len(dataset.classes))
            for layer in network.layers
        }
    if own_test and final.own_test is None:
        update["own_test"] = evaluate(
            network, LabelledTensors(own_test.images.to(device), own_test.labels.to(device))
        )
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
    final = next((one for one in bundle.records if one.run_id == run_id), None)
    if final is None:
        raise ReleaseError(f"{bundle.path} has no record of {run_id}, which trained its network")
    return TrainedModel(bundle.network, final, bundle.records)


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


def build_bundle(
    trained: TrainedModel,
    dataset: Dataset,
    splits: Splits,
    device: torch.device,
    options: ExportOptions,
    on_batch: Callable[[], None] = lambda: None,
) -> BundleContents:
    """Embed the test split, build the indexes and measure all metrics.

    The metrics are those of the weights as they are stored.

    Raises:
        ReleaseError: the network may have been trained on the test split of this data.

    """
    check_no_leakage(trained, dataset, splits)
    network = copy.deepcopy(trained.network)
    if options.half:
        _round_to_fp16(network)
    test = splits.indices("test")
    labels = dataset.labels[test].numpy()
    known = splits.indices("train")
    known = known[pick_queries(dataset.labels[known].numpy(), REFERENCES)]
    vectors = embed(network, dataset.images[test], (*LAYERS, "penultimate"), device, on_batch)
    kept = _first_of_each_class(labels, options.per_class)
    indexes: dict[Layer, CosineIndex] = {
        layer: cosine.build(vectors[layer][kept], fp16=options.half and layer != "logits")
        for layer in LAYERS
    }
    qualities = {layer: tune(indexes[layer], options.recall) for layer in LAYERS}
    positions = test[kept]
    pixels = dataset.images[positions].permute(0, 2, 3, 1).contiguous().numpy()
    gallery = Gallery(
        ids=tuple(dataset.ids[position] for position in positions),
        labels=labels[kept],
        pixels=pixels if options.pixels else None,
    )
    return BundleContents(
        name=trained.final.experiment,
        run_id=trained.final.run_id,
        classes=dataset.classes,
        dataset=DatasetMetadata(
            trained_on=trained.final.dataset.name,
            trained_on_fingerprint=trained.final.dataset.fingerprint,
            gallery_from=dataset.name,
            gallery_fingerprint=dataset.fingerprint,
        ),
        metrics=_measure(trained, vectors["logits"], labels, indexes, kept),
        network=network,
        gallery=gallery,
        indexes=indexes,
        qualities=qualities,
        novelty=fit(
            embed(network, dataset.images[known], ("conv2", "penultimate"), device, on_batch),
            vectors,
        ),
        ranges=measure(network, dataset.images[known], dataset.images[test]),
        records=trained.records,
        figures=_curves(trained) | _neighbours(gallery, dataset, indexes),
        card=lambda manifest: model_card(manifest, qualities, trained.final),
        dtype=torch.float16 if options.half else torch.float32,
        source=dataset.source,
    )


def _measure(
    trained: TrainedModel,
    logits: Vectors,
    labels: npt.NDArray[np.int64],
    indexes: dict[Layer, CosineIndex],
    kept: npt.NDArray[np.int64],
) -> Metrics:
    correct = int((logits.argmax(1) == labels).sum())
    queries = pick_queries(labels[kept])
    return Metrics(
        validation_accuracy=trained.validation_accuracy,
        test_count=len(labels),
        test_accuracy=correct / len(labels),
        test_wilson95=wilson95(correct, len(labels)),
        test_calibration_error=calibration_error(
            torch.from_numpy(logits), torch.from_numpy(labels)
        ),
        test_loss=functional.cross_entropy(
            torch.from_numpy(logits), torch.from_numpy(labels)
        ).item(),
        label_share_at_10={
            layer: float(precision_at_k(index, labels[kept], queries).mean())
            for layer, index in indexes.items()
        },
        label_share_queries=len(queries),
    )


def _curves(trained: TrainedModel) -> dict[str, bytes]:
    """Draw the learning curves of each experiment, and of all experiments in one figure."""
    each = {
        f"curves-{name}.svg": learning_curves(name, runs)
        for name, runs in group_runs(trained.records).items()
    }
    return each | {
        f"overlaid-{quantity}.svg": overlaid_curves(trained.records, quantity)
        for quantity in QUANTITIES
    }


def _neighbours(
    gallery: Gallery, dataset: Dataset, indexes: dict[Layer, CosineIndex]
) -> dict[str, bytes]:
    """Draw the nearest images of one image per class, one row per layer, the query first.

    Without pixels there are no figures.
    """
    if gallery.pixels is None:
        return {}
    figures = {}
    for number, name in list(enumerate(dataset.classes))[:FIGURE_CLASSES]:
        members = np.flatnonzero(gallery.labels == number)
        rows = []
        for layer, index in indexes.items():
            _, found = index.search(index.reconstruct(members[:1]), FIGURE_IMAGES, exact=True)
            others = [position for position in found[0] if position != members[0]]
            shown = [(gallery.pixels[members[0]], f"query: {name}")]
            shown += [
                (gallery.pixels[n], dataset.classes[gallery.labels[n]])
                for n in others[: FIGURE_IMAGES - 1]
            ]
            rows.append((layer, shown))
        figures[f"neighbours-{number}.png"] = neighbours(rows)
    return figures


def _round_to_fp16(network: BlockNet) -> None:
    """Round the weights to fp16 values, so that metrics are those of the stored weights."""
    weights = network.state_dict()
    network.load_state_dict(
        {
            name: tensor.half().float() if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        }
    )


def _first_of_each_class(
    labels: npt.NDArray[np.int64], per_class: int | None
) -> npt.NDArray[np.int64]:
    """Return the sorted positions of the first images of each class; None keeps all."""
    members = (np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels))
    return np.sort(np.concatenate(list(members)))
