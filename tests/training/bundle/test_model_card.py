"""The model card contains the manifest's data, metrics and limits."""

from datetime import UTC, datetime

import pytest

from tests.support.factories import made_record
from training.bundle.manifest import DatasetMetadata, GalleryMetadata, Manifest, Metrics
from training.bundle.model_card import model_card
from training.experiments.record import Evaluation, NearDuplicates, Record
from training.index.tuning import Quality
from training.models.architecture import Architecture
from training.models.layers import Layer
from training.models.measurements import Calibration

QUALITIES: dict[Layer, Quality] = {
    "conv2": Quality(
        recall_at_10=0.9981, milliseconds=0.44, exact_milliseconds=16.02, candidates=120
    ),
    "logits": Quality(recall_at_10=1.0, milliseconds=0.05, exact_milliseconds=0.06),
}
METRICS = Metrics(
    validation_accuracy=0.7712,
    test_count=7500,
    test_accuracy=0.7801,
    test_wilson95=(0.7706, 0.7894),
    test_loss=0.7123,
    test_calibration_error=0.0123,
    label_share_at_10={"conv2": 0.481, "logits": 0.713},
    label_share_queries=1000,
)


ARCHITECTURE = Architecture(classes=2, conv_blocks=3, batch_norm=True, dropout=0.0)
CALIBRATED = made_record(
    stage="final",
    calibration=Calibration(
        temperature=0.8765, error_before=0.0912, error_after=0.5, loss_before=1, loss_after=1
    ),
    own_test=Evaluation(
        count=10_000,
        loss=0.5,
        accuracy=0.8811,
        wilson95=(0.8746, 0.8873),
        confusion_matrix=((1,),),
    ),
)


def card(*, pixels: bool = True, metrics: Metrics = METRICS, final: Record = CALIBRATED) -> str:
    manifest = Manifest(
        name="batchnorm-3",
        version="0123456789ab",
        run_id="batchnorm-3-final-seed0-01234567",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        classes=("cat", "dog"),
        dataset=DatasetMetadata(
            trained_on="cifar10-jpeg",
            trained_on_fingerprint="a" * 64,
            gallery_from="cifar10",
            gallery_fingerprint="b" * 64,
        ),
        gallery=GalleryMetadata(count=7500, pixels=pixels),
        metrics=metrics,
        files={},
    )
    return model_card(manifest, QUALITIES, final, ARCHITECTURE)


@pytest.mark.parametrize(
    "text",
    [
        "batchnorm-3 0123456789ab",
        "cat, dog",
        "cifar10-jpeg (fingerprint `aaaaaaaaaaaaaaaa`)",
        "cifar10 (fingerprint `bbbbbbbbbbbbbbbb`)",
        "0.7801 (95 % interval 0.7706 to 0.7894)",
        "gallery of 7,500\nimages (with their pixels)",
        "chosen settings: 0.7712",
        "| conv2 | 0.481 | 0.9981 | 0.44 | 16.02 |",
        "| logits | 0.713 | 1.0000 | 0.05 | 0.06 |",
        "precision@10 | recall@10 of the index | ms per query | ms per exact query |",
        "1,000 queries",
        "own 10,000 test images: 0.8811",
        "temperature of 0.876",
        "test images is 0.0123, and was\n  0.0912 without",
        "## Limits",
        "predicts one of the classes above for every image",
        "the centre square of an image, scaled to 32 x 32 pixels",
    ],
)
def test_the_card_contains(text: str) -> None:
    assert text in card()


def test_the_card_states_whether_pixels_are_included() -> None:
    assert "(with their pixels)" in card()
    assert "(without their pixels)" in card(pixels=False)


def test_a_missing_validation_accuracy_is_shown_as_not_measured() -> None:
    unknown = METRICS.model_copy(update={"validation_accuracy": None})
    assert "chosen settings: not measured" in card(metrics=unknown)


def test_the_card_omits_calibration_and_own_test_if_they_were_not_measured() -> None:
    text = card(final=made_record(stage="final"))
    assert "temperature" not in text
    assert "own 10,000" not in text


def test_the_card_counts_test_images_with_a_near_duplicate_in_training() -> None:
    found = NearDuplicates(count=12, threshold=0.78, accuracy_with=0.9876, accuracy_without=0.8765)
    text = " ".join(card(final=CALIBRATED.model_copy(update={"near_duplicates": found})).split())
    assert "was trained on: 12. Accuracy is 0.9876 on them, and 0.8765 on the others." in text
    none = found.model_copy(update={"count": 0, "accuracy_with": None})
    text = " ".join(card(final=CALIBRATED.model_copy(update={"near_duplicates": none})).split())
    assert "No test image has a near-duplicate" in text
    assert "near-duplicate" not in card(final=CALIBRATED)
