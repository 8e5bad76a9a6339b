"""Tests of the choice of a network, and of the check for images that it was trained on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.support.factories import made_record, network, tiny
from training import bundle
from training.bundle.writer import BundleContents
from training.data.dataset import Dataset
from training.data.splits import Splits, indices_sha256, split
from training.experiments.catalogue import find
from training.experiments.config import Variant
from training.experiments.record import DatasetRef, Record, SplitRef, wilson95
from training.models.architecture import Architecture
from training.models.blocknet import BlockNet
from training.workflows import release
from training.workflows.export import ExportOptions, build_bundle
from training.workflows.release import ReleaseError, TrainedModel, check_no_leakage

CPU = torch.device("cpu")
FINGERPRINT = "f" * 64
HELD_OUT = "a" * 64


def rival(name: str, **update: Any) -> Record:
    """Return a record of another batch-norm 3-block experiment than `batchnorm-3`."""
    renamed = {"experiment": name, "group_id": name, "run_id": f"{name}-{update.get('seed')}"}
    return made_record(**update).model_copy(update=renamed)


def select_experiment(records: list[Record]) -> str | None:
    chosen = release.select_experiment(records, FINGERPRINT, HELD_OUT)
    return chosen.name if chosen else None


def test_the_best_validation_accuracy_wins() -> None:
    records = [made_record(validation=0.77), rival("best-3", validation=0.90)]
    assert select_experiment(records) == "best-3"


def test_the_mean_over_seeds_counts() -> None:
    lucky = [rival("lucky", validation=v, seed=s) for s, v in enumerate((0.95, 0.50))]
    steady = [made_record(validation=v, seed=s) for s, v in enumerate((0.79, 0.81))]
    assert select_experiment([*lucky, *steady]) == "batchnorm-3"


def test_test_accuracy_does_not_count() -> None:
    records = [made_record(validation=0.8, test=0.1), rival("other", validation=0.7, test=0.9)]
    assert select_experiment(records) == "batchnorm-3"


@pytest.mark.parametrize("name", ["batchnorm-2", "none-3", "dropout-3", "augmentation-3"])
def test_only_batch_norm_with_three_blocks_is_eligible(name: str) -> None:
    assert select_experiment([made_record(name, validation=0.99), made_record()]) == "batchnorm-3"


def test_a_wider_teacher_is_not_eligible() -> None:
    records = [made_record("teacher-3", validation=0.99), made_record()]
    assert select_experiment(records) == "batchnorm-3"


def test_batch_norm_with_other_regularizers_is_eligible() -> None:
    mixed = Variant(conv_blocks=3, batch_norm=True, dropout=0.2, augmentation=True)
    assert (
        select_experiment([made_record(), rival("best-3", validation=0.9, variant=mixed)])
        == "best-3"
    )


def test_runs_on_other_data_do_not_count() -> None:
    elsewhere = rival("other", validation=0.99, fingerprint="e" * 64)
    assert select_experiment([elsewhere, made_record()]) == "batchnorm-3"


def test_studies_with_another_test_split_do_not_count() -> None:
    """They may have validated on the test images."""
    other = DatasetRef(
        name="tiny",
        fingerprint=FINGERPRINT,
        splits={"test": SplitRef(count=1000, indices_sha256="b" * 64)},
    )
    records = [rival("other", validation=0.99, dataset=other), made_record()]
    assert select_experiment(records) == "batchnorm-3"


@pytest.mark.parametrize("update", [{"status": "failed"}, {"stage": "final"}])
def test_failed_and_final_runs_do_not_count(update: dict[str, str]) -> None:
    records = [rival("other", validation=0.99, **update), made_record()]
    assert select_experiment(records) == "batchnorm-3"


def test_without_studies_no_experiment_is_selected() -> None:
    assert select_experiment([]) is None


def test_runs_that_learned_nothing_do_not_count() -> None:
    assert select_experiment([made_record(status="collapsed")]) is None
    runs = [
        made_record(validation=0.8),
        made_record(validation=0.1, status="collapsed", seed=1),
        rival("other", validation=0.7),
    ]
    assert select_experiment(runs) == "batchnorm-3"


def test_the_selected_settings_are_those_of_the_study() -> None:
    """The catalogue does not count: a study of three epochs leads to a release of three epochs."""
    studied = find("batchnorm-3").with_epochs(3)
    assert (
        release.select_experiment([made_record(config=studied.config)], FINGERPRINT, HELD_OUT)
        == studied
    )


def trained_on(dataset: Dataset, parts: Splits, classes: int = 10) -> TrainedModel:
    """Return a network with a record of training on this split of this data."""
    held_out = indices_sha256(parts.indices("test"))
    final = made_record(stage="final").model_copy(
        update={
            "dataset": DatasetRef(
                name=dataset.name,
                fingerprint=dataset.fingerprint,
                splits={"test": SplitRef(count=len(parts.test), indices_sha256=held_out)},
            )
        }
    )
    return TrainedModel(network(3, classes=classes, batch_norm=True), final, [final])


@pytest.fixture(scope="module")
def images() -> Dataset:
    return tiny()


@pytest.mark.slow
def test_the_test_split_of_the_networks_run_is_accepted(images: Dataset) -> None:
    parts = split(images, 0)
    trained = trained_on(images, parts)
    check_no_leakage(trained, images, parts)
    assert build_bundle(trained, images, parts, CPU, ExportOptions(1)).gallery.ids


def test_another_number_of_classes_is_refused(images: Dataset) -> None:
    trained = trained_on(images, split(images, 0))
    fewer = tiny(kinds=3, name="three")
    with pytest.raises(ReleaseError, match="has 10 classes, three has 3: train a network"):
        check_no_leakage(trained, fewer, split(fewer, 0))


def test_another_split_is_refused(images: Dataset) -> None:
    trained = trained_on(images, split(images, 0))
    with pytest.raises(
        ReleaseError, match=r"test split of tiny is not that of .* may have been trained on it"
    ):
        check_no_leakage(trained, images, split(images, 1))


def test_other_classes_in_the_same_order_are_refused(images: Dataset) -> None:
    """The split is the same, since the labels are, but their meaning is not."""
    trained = trained_on(images, split(images, 0))
    other = replace(images, name="other", classes=tuple("abcdefghij"))
    with pytest.raises(ReleaseError, match="trained on tiny, and other has other images"):
        check_no_leakage(trained, other, split(other, 0))


def test_other_images_in_the_same_order_are_refused(images: Dataset) -> None:
    trained = trained_on(images, split(images, 0))
    other = tiny(name="other", start=500)
    with pytest.raises(ReleaseError, match="other has other images"):
        check_no_leakage(trained, other, split(other, 0))


@pytest.mark.slow
def test_cifar10_in_another_encoding_is_accepted(images: Dataset) -> None:
    ids = tuple(f"cifar10-train-{position:05d}" for position in range(len(images)))
    lossless = replace(images, name="cifar10", ids=ids)
    lossy = replace(images, name="cifar10-jpeg", ids=ids, images=images.images // 2)
    trained = trained_on(lossy, split(lossy, 0))
    contents = build_bundle(trained, lossless, split(lossless, 0), CPU, ExportOptions(1))
    assert contents.dataset.trained_on == "cifar10-jpeg"
    assert contents.dataset.gallery_from == "cifar10"
    assert contents.dataset.trained_on_fingerprint != contents.dataset.gallery_fingerprint


def test_no_bundle_is_built_of_images_that_may_be_training_images(images: Dataset) -> None:
    trained = trained_on(images, split(images, 0))
    with pytest.raises(ReleaseError, match="may have been trained on it"):
        build_bundle(trained, images, split(images, 1), CPU, ExportOptions())


@pytest.fixture(scope="module")
def contents(images: Dataset) -> BundleContents:
    parts = split(images, 0)
    return build_bundle(
        trained_on(images, parts), images, parts, CPU, ExportOptions(decoder_steps=2)
    )


def test_the_gallery_is_the_test_split_alone(images: Dataset, contents: BundleContents) -> None:
    assert contents.gallery.ids == tuple(images.ids[n] for n in split(images, 0).test)


def test_the_layers_that_are_searched_have_an_index(contents: BundleContents) -> None:
    sizes = {layer: (len(i), i.dimension) for layer, i in contents.indexes.items()}
    assert sizes == {"conv2": (20, 8192), "penultimate": (20, 512), "logits": (20, 10)}


def test_the_layers_with_an_index_can_be_named(images: Dataset) -> None:
    spec = network().spec
    assert ExportOptions().indexed(spec) == ("conv2", "penultimate", "logits")
    assert ExportOptions(layers=("conv2",)).indexed(spec) == ("conv2", "logits")
    named = ExportOptions(layers=("conv1", "logits"))
    assert named.indexed(spec) == ("conv1", "conv2", "logits")
    with pytest.raises(ReleaseError, match=r"no layer conv9; it has conv1, conv2, penultimate"):
        ExportOptions(layers=("conv9",)).indexed(spec)


def test_a_bundle_has_maps_and_decoders_unless_they_are_left_out(
    images: Dataset, contents: BundleContents
) -> None:
    layers = [layer.name for layer in contents.network.spec.pictured]
    assert contents.maps is not None
    assert contents.decoders is not None
    assert list(contents.maps.layers) == list(contents.decoders.layers) == layers
    parts = split(images, 0)
    options = ExportOptions(1, maps=False, decoders=False)
    without = build_bundle(trained_on(images, parts), images, parts, CPU, options)
    assert (without.maps, without.decoders) == (None, None)


def test_a_network_with_decoders_keeps_them(images: Dataset, contents: BundleContents) -> None:
    parts = split(images, 0)
    trained = replace(trained_on(images, parts), decoders=contents.decoders)
    again = build_bundle(trained, images, parts, CPU, ExportOptions(1, maps=False))
    assert again.decoders is contents.decoders


def test_metrics_are_those_of_the_network_on_the_test_split(
    images: Dataset, contents: BundleContents
) -> None:
    test = split(images, 0).indices("test")
    with torch.inference_mode():
        logits = contents.network.eval()(images.images[test])
    labels = images.labels[test]
    correct = int((logits.argmax(1) == labels).sum())
    metrics = contents.metrics
    assert metrics
    assert (metrics.test_count, metrics.test_accuracy) == (20, correct / 20)
    assert metrics.test_wilson95 == wilson95(correct, 20)
    assert metrics.test_loss == pytest.approx(functional.cross_entropy(logits, labels).item(), 1e-4)
    assert set(metrics.label_share_at_10) == {"conv2", "penultimate", "logits"}


@pytest.mark.slow
def test_per_class_limits_the_gallery(images: Dataset) -> None:
    parts = split(images, 0)
    small = build_bundle(
        trained_on(images, parts), images, parts, CPU, ExportOptions(1, pixels=False, half=True)
    )
    assert np.bincount(small.gallery.labels).tolist() == [1] * 10
    assert small.gallery.pixels is None
    assert small.metrics
    assert small.metrics.test_count == 20  # accuracy is over the whole test split


@pytest.mark.slow
def test_rounding_to_fp16_does_not_change_the_trained_network(images: Dataset) -> None:
    parts = split(images, 0)
    trained = trained_on(images, parts)
    before = trained.network.state_dict()["output.weight"].clone()
    made = build_bundle(trained, images, parts, CPU, ExportOptions(1, half=True))
    assert torch.equal(trained.network.state_dict()["output.weight"], before)
    centred = before - before.mean(0)
    assert torch.equal(made.network.state_dict()["output.weight"], centred.half().float())


@pytest.mark.slow
def test_rounding_to_fp16_does_not_change_the_input_normalisation(images: Dataset) -> None:
    """It is stored as fp32, so the metrics must be measured with fp32."""
    parts = split(images, 0)
    described = Architecture(
        classes=10, conv_blocks=3, batch_norm=True, dropout=0.0, mean=(0.4914, 0.4822, 0.4465)
    )
    trained = replace(trained_on(images, parts), network=BlockNet(described))
    made = build_bundle(trained, images, parts, CPU, ExportOptions(1, half=True))
    assert torch.equal(made.network.get_buffer("mean"), trained.network.get_buffer("mean"))


def test_validation_accuracy_is_the_mean_of_studies_with_the_same_settings() -> None:
    records = [made_record(validation=v, seed=s) for s, v in enumerate((0.7, 0.8))]
    final = made_record(stage="final", validation=None)
    other = made_record("none-2", validation=0.1)
    assert TrainedModel(
        network(), final, [*records, other, final]
    ).validation_accuracy == pytest.approx(0.75)


def test_without_a_study_there_is_no_validation_accuracy() -> None:
    final = made_record(stage="final", validation=None)
    assert TrainedModel(network(), final, [final]).validation_accuracy is None


def test_from_bundle_returns_the_record_of_the_networks_run(
    bundle_without_pixels_path: Path, trained: TrainedModel
) -> None:
    found = release.from_bundle(bundle.load(bundle_without_pixels_path))
    assert found.final == trained.final


def test_a_bundle_without_the_record_of_its_run_is_refused(bundle_path: Path) -> None:
    whole = bundle.load(bundle_path)
    with pytest.raises(ReleaseError, match="has no record of batchnorm-3-final"):
        release.from_bundle(replace(whole, records=()))
