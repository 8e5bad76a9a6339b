"""Builds the contents of a bundle from a trained network: embeds, indexes, measures.

All metrics come from the test split, which is used for neither training nor model selection. Knows
nothing of the command line, and trains nothing.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.bundle import Gallery
from training.bundle.manifest import DatasetMetadata, GalleryImages, Metrics
from training.bundle.model_card import model_card
from training.bundle.writer import BundleContents, Decoders, Maps
from training.data.dataset import Dataset
from training.data.folder_layout import Part
from training.data.splits import Splits
from training.embedding.embed import embed
from training.experiments.aggregate import group_runs
from training.experiments.catalogue import PRETRAINED
from training.experiments.record import wilson95
from training.index import cosine
from training.index.cosine import CosineIndex, Positions, Vectors
from training.index.tuning import TARGET_RECALL, tune
from training.models.calibration import calibration_error
from training.models.layers import Layer, NetworkSpec
from training.models.network import Network
from training.models.novelty import REFERENCES, fit
from training.models.quantization import measure
from training.trainer import decoders as decoder_training
from training.trainer.build import build_network
from training.workflows import progress
from training.workflows.layouts import lay_out
from training.workflows.release import ReleaseError, TrainedModel, check_no_leakage
from training.workflows.retrieval_metrics import pick_queries, precision_at_k

FIGURE_IMAGES, FIGURE_CLASSES = 6, 20
"""Images in a row of a neighbour figure, and the number of classes that have such a figure."""


@dataclass(frozen=True)
class ExportOptions:
    """What goes into a bundle.

    `gallery` says which images are searched; by default, all of own data and the test split of
    CIFAR-10. `per_class` is the number of gallery images of each class, None for all. `pixels`
    stores the images. `half` stores weights and flat indexes as fp16. `recall` is the index's
    target recall@10, from 0 to 1. `layers` are those with an index, and the network's own at least;
    by default, the last hidden one too. `maps` lays out the gallery. `decoders` trains decoders, in
    `decoder_steps` at most, unless the network comes from a bundle with them.
    """

    per_class: int | None = None
    pixels: bool = True
    half: bool = False
    recall: float = TARGET_RECALL
    gallery: GalleryImages | None = None
    layers: tuple[str, ...] = ()
    maps: bool = True
    decoders: bool = True
    decoder_steps: int = decoder_training.STEPS

    def indexed(self, spec: NetworkSpec) -> tuple[Layer, ...]:
        """Return the layers of a network that get an index, in order from the input.

        Raises:
            ReleaseError: the network has no layer of a name.

        """
        names = tuple(layer.name for layer in spec.layers)
        if unknown := set(self.layers) - set(names):
            raise ReleaseError(
                f"the network has no layer {', '.join(sorted(unknown))}; it has {', '.join(names)}"
            )
        of_things = spec.novelty[1]
        wanted = {*spec.searched, *(self.layers or (of_things,))}
        return tuple(name for name in names if name in wanted)

    def images_of(self, dataset: Dataset) -> GalleryImages:
        """Return which images of a data set are searched."""
        return self.gallery or ("test" if dataset.files is None else "all")

    def searched(self, dataset: Dataset, splits: Splits) -> Positions:
        """Return the positions of the images that are embedded for the gallery."""
        if self.images_of(dataset) == "all":
            return np.arange(len(dataset))
        return splits.indices("test")


def build_bundle(
    trained: TrainedModel,
    dataset: Dataset,
    splits: Splits,
    device: torch.device,
    options: ExportOptions,
    on_batch: Callable[[], None] = lambda: None,
) -> BundleContents:
    """Embed the gallery and the test split, build the indexes and measure all metrics.

    The metrics are those of the weights as they are stored.

    Raises:
        ReleaseError: the network may have been trained on the test split of this data.

    """
    check_no_leakage(trained, dataset, splits)
    network = copy.deepcopy(trained.network)
    network.centre_logits()
    if options.half:
        _round_to_fp16(network)
    spec = network.spec
    searched = options.searched(dataset, splits)
    labels = dataset.labels[searched].numpy()
    tested = np.isin(searched, splits.indices("test"))
    known = splits.indices("train")
    known = known[pick_queries(dataset.labels[known].numpy(), REFERENCES)]
    indexed = options.indexed(spec)
    embedded = tuple(one.name for one in spec.layers if one.name in {*spec.served, *indexed})
    vectors = embed(network, dataset.images[searched], embedded, device, on_batch)
    held_out = {layer: rows[tested] for layer, rows in vectors.items()}
    kept = _first_of_each_class(labels, options.per_class)
    indexes: dict[Layer, CosineIndex] = {
        layer: cosine.build(vectors[layer][kept], fp16=options.half and layer != spec.classes)
        for layer in indexed
    }
    qualities = {layer: tune(index, options.recall) for layer, index in indexes.items()}
    gallery = _gallery(dataset, splits.part_of(), searched[kept], pixels=options.pixels)
    images = dataset.images[searched[kept]]
    mapped = {layer: vectors[layer][kept] for layer in indexed}
    maps = _maps(network, images, mapped, device) if options.maps else None
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
        metrics=_measure(
            trained,
            held_out[spec.class_layer],
            labels[tested],
            among(indexes, gallery.tested),
            labels[kept][gallery.tested],
        ),
        network=network,
        gallery=gallery,
        indexes=indexes,
        qualities=qualities,
        novelty=fit(
            embed(network, dataset.images[known], spec.novelty, device, on_batch),
            held_out,
            spec,
        ),
        ranges=measure(network, dataset.images[known], dataset.images[splits.indices("test")]),
        records=trained.records,
        figures=_curves(trained) | _neighbours(gallery, dataset, indexes),
        card=lambda manifest: model_card(manifest, qualities, trained.final, network.architecture),
        dtype=torch.float16 if options.half else torch.float32,
        source=dataset.source,
        gallery_images=options.images_of(dataset),
        maps=maps,
        decoders=_decoders(trained, network, dataset, splits, device, options),
    )


def build_without_classes(
    dataset: Dataset,
    device: torch.device,
    options: ExportOptions,
    on_image: Callable[[], None] = lambda: None,
) -> BundleContents:
    """Embed and index all images by a pretrained network as it is; nothing is trained or measured.

    Decoders are left out, as they would have to be trained.
    """

    def on_images(count: int) -> None:
        for _ in range(count):
            on_image()

    network = build_network(PRETRAINED, 0, 0, dataset.images, on_images)
    every = np.arange(len(dataset))
    vectors = embed(network, dataset.images, options.indexed(network.spec), device)
    indexes = {layer: cosine.build(rows) for layer, rows in vectors.items()}
    qualities = {layer: tune(index, options.recall) for layer, index in indexes.items()}
    return BundleContents(
        name=PRETRAINED.name,
        run_id=None,
        classes=(),
        dataset=DatasetMetadata(
            trained_on=None,
            trained_on_fingerprint=None,
            gallery_from=dataset.name,
            gallery_fingerprint=dataset.fingerprint,
        ),
        metrics=None,
        network=network,
        gallery=_gallery(dataset, None, every, pixels=options.pixels),
        indexes=indexes,
        qualities=qualities,
        novelty=None,
        records=(),
        figures={},
        card=lambda manifest: model_card(manifest, qualities, None, network.architecture),
        source=dataset.source,
        gallery_images="all",
        maps=_maps(network, dataset.images, vectors, device) if options.maps else None,
    )


def _maps(
    network: Network, images: Tensor, vectors: Mapping[Layer, Vectors], device: torch.device
) -> Maps | None:
    with progress.track("laying out maps", len(network.spec.pictured)) as on_layer:
        return lay_out(network, images, vectors, device, on_layer)


def _decoders(
    trained: TrainedModel,
    network: Network,
    dataset: Dataset,
    splits: Splits,
    device: torch.device,
    options: ExportOptions,
) -> Decoders | None:
    """Return the decoders that the network has, or train them on what it was trained on."""
    if not options.decoders or trained.decoders:
        return trained.decoders if options.decoders else None
    known = np.concatenate([splits.indices("train"), splits.indices("validation")])
    held_out = splits.indices("test")[: decoder_training.MEASURED]
    steps = min(options.decoder_steps, decoder_training.steps_for(len(known)))
    with progress.track("training decoders", steps) as on_step:
        made = decoder_training.train(
            network, dataset.images[known], device, steps=steps, on_step=on_step
        )
    images = dataset.images[held_out]
    return Decoders(
        made, decoder_training.measure(made, embed(network, images, tuple(made), device), images)
    )


def _gallery(
    dataset: Dataset, part_of: Mapping[int, Part] | None, positions: Positions, *, pixels: bool
) -> Gallery:
    files = dataset.files
    return Gallery(
        ids=tuple(dataset.ids[position] for position in positions),
        labels=dataset.labels[positions].numpy(),
        pixels=dataset.images[positions].permute(0, 2, 3, 1).contiguous().numpy()
        if pixels
        else None,
        parts=tuple(part_of[position] for position in positions.tolist())
        if files and part_of
        else None,
        files=tuple(files.paths[position] for position in positions) if files else None,
        states=tuple(files.states[position] for position in positions) if files else None,
        thumbnails=(lambda row: files.thumbnails[positions[row]])
        if files and pixels and any(files.thumbnails.spans)
        else None,
    )


def among(indexes: dict[Layer, CosineIndex], positions: Positions) -> dict[Layer, CosineIndex]:
    """Return indexes of some of the images; the same ones if these are all."""
    if all(len(index) == len(positions) for index in indexes.values()):
        return indexes
    return {layer: cosine.build(index.reconstruct(positions)) for layer, index in indexes.items()}


def _measure(
    trained: TrainedModel,
    logits: Vectors,
    labels: npt.NDArray[np.int64],
    indexes: dict[Layer, CosineIndex],
    indexed: npt.NDArray[np.int64],
) -> Metrics:
    """Measure accuracy by the logits and labels, and precision by the indexes and their labels."""
    correct = int((logits.argmax(1) == labels).sum())
    queries = pick_queries(indexed)
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
            layer: float(precision_at_k(index, indexed, queries).mean())
            for layer, index in indexes.items()
        },
        label_share_queries=len(queries),
    )


def _curves(trained: TrainedModel) -> dict[str, bytes]:
    """Draw the learning curves of each experiment, and of all experiments in one figure."""
    from training.experiments.reports import (  # noqa: PLC0415  matplotlib is slow to import
        curves_svg,
        figures,
    )

    each = {
        f"curves-{name}.svg": figures.learning_curves(name, runs)
        for name, runs in group_runs(trained.records).items()
    }
    return each | {
        f"overlaid-{quantity}.svg": curves_svg.overlaid_curves(trained.records, quantity)
        for quantity in figures.QUANTITIES
    }


def _neighbours(
    gallery: Gallery, dataset: Dataset, indexes: dict[Layer, CosineIndex]
) -> dict[str, bytes]:
    """Draw the nearest images of one image per class, one row per layer, the query first.

    Without pixels there are no figures.
    """
    if gallery.pixels is None:
        return {}
    from training.experiments.reports.figures import neighbours  # noqa: PLC0415

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


def _round_to_fp16(network: Network) -> None:
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
