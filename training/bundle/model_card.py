"""The model card of a bundle: its data, metrics and limits, as Markdown.

Works on the manifest and the record of the final run; must not load networks or indexes.
"""

from training.bundle.manifest import Manifest
from training.experiments.record import Record
from training.index.tuning import Quality
from training.models.blocknet import Layer

MAX_LISTED_CLASSES = 20


def model_card(manifest: Manifest, qualities: dict[Layer, Quality], final: Record) -> str:
    """Return the bundle's `README.md`.

    Args:
        manifest: of the bundle.
        qualities: search quality of each index.
        final: the record of the run that trained the network.

    """
    metrics, data = manifest.metrics, manifest.dataset
    low, high = metrics.test_wilson95
    validation = (
        f"{metrics.validation_accuracy:.4f}"
        if metrics.validation_accuracy is not None
        else "not measured"
    )
    layers = "\n".join(
        f"| {layer} | {metrics.label_share_at_10[layer]:.3f} | {quality.recall_at_10:.4f} "
        f"| {quality.milliseconds:.2f} | {quality.exact_milliseconds:.2f} |"
        for layer, quality in qualities.items()
    )
    pixels = "with their pixels" if manifest.gallery.pixels else "without their pixels"
    return f"""# {manifest.name} {manifest.version}

A small convolutional network for 32 x 32 colour images, and {manifest.gallery.count:,} images
({pixels}) to compare with, by cosine similarity at two of its layers.

- Classes: {_classes(manifest.classes)}.
- Trained on: {data.trained_on} (fingerprint `{data.trained_on_fingerprint[:16]}`).
- Gallery: {data.gallery_from} (fingerprint `{data.gallery_fingerprint[:16]}`), images that the
  network was not trained on.
- Validation accuracy of the chosen settings: {validation}.
- Test accuracy: {metrics.test_accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), loss
  {metrics.test_loss:.4f}, over {metrics.test_count:,} images that were neither trained on nor
  chosen by.{_own_test(final)}{_calibration(manifest, final)}

| layer | label share of the ten nearest | recall@10 of the index | ms a query | ms exact |
| --- | --- | --- | --- | --- |
{layers}

The label share is over {metrics.label_share_queries:,} queries from the gallery, each left out of
its own neighbours. Milliseconds were measured where the bundle was built.

`model.onnx` is the same network for other runtimes, checked against torch when it was written. It
takes `images`, uint8 [N, 3, 32, 32], and gives `conv2`, `penultimate` and `logits`, float32; all
that is done to pixels before, and to logits after, is inside.
{_novelty(manifest)}
## Limits

It knows the classes above and nothing else: for any image, it answers with one of them. It sees
32 x 32 pixels, the centre square of a larger image. It is for study and for showing how retrieval
works, not for decisions about people.
"""


def _classes(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:MAX_LISTED_CLASSES])
    return (
        shown
        if len(classes) <= MAX_LISTED_CLASSES
        else f"{shown} and {len(classes) - MAX_LISTED_CLASSES:,} more"
    )


def _own_test(final: Record) -> str:
    if not final.own_test:
        return ""
    low, high = final.own_test.wilson95
    return f"""
- On the data set's own {final.own_test.count:,} test images: {final.own_test.accuracy:.4f} (95 %
  interval {low:.4f} to {high:.4f})."""


def _novelty(manifest: Manifest) -> str:
    info = manifest.novelty
    if info is None:
        return ""
    return f"""
An image counts as familiar up to a novelty of {info.threshold}; so do {info.familiar_share:.1%} of
the test images that had no part in measuring it.
"""


def _calibration(manifest: Manifest, final: Record) -> str:
    error = manifest.metrics.test_calibration_error
    if not final.calibration or error is None:
        return ""
    return f"""
- Probabilities are calibrated by a temperature of {final.calibration.temperature:.3f}: their
  expected calibration error on the test images is {error:.4f}, and was
  {final.calibration.error_before:.4f} without it."""
