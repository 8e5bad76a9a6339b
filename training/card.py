"""The model card of a bundle: what it is, what it was trained on, how good it is, its limits."""

from training.index import Quality
from training.manifest import Manifest
from training.network import Layer


def model_card(manifest: Manifest, qualities: dict[Layer, Quality]) -> str:
    """The bundle's README.md."""
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

- Classes: {", ".join(manifest.classes)}.
- Trained on: {data.trained_on} (fingerprint `{data.trained_on_fingerprint[:16]}`).
- Gallery: {data.gallery_from} (fingerprint `{data.gallery_fingerprint[:16]}`), images that the
  network was not trained on.
- Validation accuracy of the chosen settings: {validation}.
- Test accuracy: {metrics.test_accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), loss
  {metrics.test_loss:.4f}, over {metrics.test_count:,} images that were neither trained on nor
  chosen by.

| layer | label share of the ten nearest | recall@10 of the index | ms a query | ms exact |
| --- | --- | --- | --- | --- |
{layers}

The label share is over {metrics.label_share_queries:,} queries from the gallery, each left out of
its own neighbours. Milliseconds were measured where the bundle was built.

## Limits

It knows the classes above and nothing else: whatever it is shown, it answers with one of them. It
sees 32 x 32 pixels, the centre square of a larger picture. It is for study and for showing how
retrieval works, not for decisions about people.
"""
