"""The model card of a bundle: its data, metrics and limits, as Markdown.

Works on the manifest and the record of the final run; must not load networks or indexes.
"""

from training.bundle.manifest import Manifest, Metrics
from training.experiments.record import Record
from training.index.tuning import Quality
from training.models.families import AnyArchitecture
from training.models.layers import Layer, NetworkSpec

MAX_LISTED_CLASSES = 20
RECALL = """\
Recall@10 is the share of the exact ten nearest that the index returns. Milliseconds were measured
on the machine that built the bundle."""


def model_card(
    manifest: Manifest,
    qualities: dict[Layer, Quality],
    final: Record | None,
    architecture: AnyArchitecture,
) -> str:
    """Return the bundle's `README.md`.

    Args:
        manifest: of the bundle.
        qualities: search quality of each index.
        final: the record of the run that trained the network; None if nothing was trained.
        architecture: of the network.

    """
    metrics, data = manifest.metrics, manifest.dataset
    if metrics is None or final is None:
        return _without_classes(manifest, qualities, architecture)
    spec = architecture.spec
    square = f"{spec.side} x {spec.side}"
    credit = f"\n- Weights: {architecture.credit}." if architecture.credit else ""
    fingerprint = (data.trained_on_fingerprint or "")[:16]
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

{architecture.title} for {square} colour images. Its gallery of {manifest.gallery.count:,}
images ({pixels}) is searched by cosine similarity at {len(qualities)} layers.

- Classes: {_classes(manifest.classes)}.{credit}
- Trained on: {data.trained_on} (fingerprint `{fingerprint}`).
- Gallery: {data.gallery_from} (fingerprint `{data.gallery_fingerprint[:16]}`). {_gallery(manifest)}
- Validation accuracy of the chosen settings: {validation}.
- Test accuracy: {metrics.test_accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), loss
  {metrics.test_loss:.4f}, over {metrics.test_count:,} images that were used neither for training
  nor for model selection.{_own_test(final)}{_near_duplicates(final)}{_calibration(metrics, final)}

| layer | precision@10 | recall@10 of the index | ms per query | ms per exact query |
| --- | --- | --- | --- | --- |
{layers}

Precision@10 is the share of the ten nearest images that have the query's label. It is the mean over
{metrics.label_share_queries:,} queries from {_searched(manifest)}, each excluded from its own
results.
{RECALL}

{_onnx(spec)} Preprocessing of the pixels and calibration of the logits are included.
{_novelty(manifest)}{_decoders(manifest)}
## Limits

The network predicts one of the classes above for every image, even if the image shows none of them.
It uses only the centre square of an image, scaled to {square} pixels. It is meant for study and for
demonstrations of image retrieval, not for decisions about people.
"""


def _without_classes(
    manifest: Manifest, qualities: dict[Layer, Quality], architecture: AnyArchitecture
) -> str:
    """Return the card of a bundle that knows no classes, so that nothing was trained or tested."""
    spec, data = architecture.spec, manifest.dataset
    square = f"{spec.side} x {spec.side}"
    layers = "\n".join(
        f"| {layer} | {quality.recall_at_10:.4f} | {quality.milliseconds:.2f} "
        f"| {quality.exact_milliseconds:.2f} |"
        for layer, quality in qualities.items()
    )
    return f"""# {manifest.name} {manifest.version}

{architecture.title} for {square} colour images. It knows no classes: nothing was trained. Its
gallery of {manifest.gallery.count:,} images is searched by cosine similarity of features.

- Weights: {architecture.credit}.
- Gallery: {data.gallery_from} (fingerprint `{data.gallery_fingerprint[:16]}`). Features are less
  their mean over these images, divided by their standard deviation.

| layer | recall@10 of the index | ms per query | ms per exact query |
| --- | --- | --- | --- |
{layers}

{RECALL}

{_onnx(spec)} Preprocessing of the pixels is included.

## Limits

The network names nothing: it knows no classes. It finds alike what ImageNet's classes are told
apart by, and other differences less well. It uses only the centre square of an image, scaled to
{square} pixels. It is meant for study and for demonstrations of image retrieval, not for decisions
about people.
"""


def _onnx(spec: NetworkSpec) -> str:
    return f"""\
`model.onnx` is the same network for other runtimes, compared with PyTorch when it was written. Its
input is `images`, uint8 [N, 3, {spec.side}, {spec.side}]. Its outputs are {_layers(spec)},
float32."""


def _layers(spec: NetworkSpec) -> str:
    *others, last = (f"`{name}`" for name in (*spec.served, *spec.unserved))
    return f"{', '.join(others)} and {last}"


def _searched(manifest: Manifest) -> str:
    return "the gallery" if manifest.gallery.images == "test" else "and among the test split"


def _gallery(manifest: Manifest) -> str:
    if manifest.gallery.images == "test":
        return "The network\n  was not trained on these images."
    return (
        "These are\n  all images of the data, those that the network was trained on too. All "
        "metrics are of the\n  test split alone."
    )


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


def _near_duplicates(final: Record) -> str:
    found = final.near_duplicates
    if not found:
        return ""
    if not found.count or found.accuracy_with is None:
        return """
- No test image has a near-duplicate among the images that the network was trained on."""
    without = found.accuracy_without
    others = f", and {without:.4f} on the others" if without is not None else ""
    return f"""
- Test images with a near-duplicate among the images that the network was trained on:
  {found.count:,}. Accuracy is {found.accuracy_with:.4f} on them{others}."""


def _novelty(manifest: Manifest) -> str:
    info = manifest.novelty
    if info is None:
        return ""
    return f"""
An image is familiar if its novelty is at most {info.threshold}. That holds for
{info.familiar_share:.1%} of the test images that were not used to fit the novelty model.
"""


def _decoders(manifest: Manifest) -> str:
    if not manifest.decoders:
        return ""
    rows = "\n".join(
        f"| {layer} | {quality.psnr:.2f} | {quality.ssim:.3f} |"
        for layer, quality in manifest.decoders.items()
    )
    return f"""
A decoder for each layer draws a picture from the layer's vector, to show what the layer keeps of an
image (after Dosovitskiy and Brox, 2016). The decoders were trained on the images that the network
was trained on. The errors are those on up to 1,000 held-out images.

| layer | PSNR in dB | SSIM |
| --- | --- | --- |
{rows}
"""


def _calibration(metrics: Metrics, final: Record) -> str:
    error = metrics.test_calibration_error
    if not final.calibration or error is None:
        return ""
    return f"""
- Probabilities are calibrated by a temperature of {final.calibration.temperature:.3f}: their
  expected calibration error on the test images is {error:.4f}, and was
  {final.calibration.error_before:.4f} without it."""
