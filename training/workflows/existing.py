"""Finds a bundle that can be served as it is. Needs no PyTorch, so that a start need not wait.

Knows bundles by their manifests; must not load networks.
"""

from pathlib import Path

from training.bundle.manifest import MANIFEST, Manifest, read_manifest
from training.data.source import CIFAR10_KEY, key_of, scan
from training.experiments.catalogue import find


def up_to_date_bundle(root: Path, data: Path | None, network: str | None = None) -> Path | None:
    """Return the bundle of the data, or without data the last one; None if there is work to do.

    There is if the bundle does not exist or has another network than the one that is named, or if
    its data has changed or cannot be read.

    Raises:
        BundleError: the bundle cannot be read.

    """
    current = root / "bundles" / "current"
    if data is None:
        return current.resolve() if (current / MANIFEST).is_file() else None
    path = current.with_name(key_of(data))
    if not (path / MANIFEST).is_file() or not is_network(path, network):
        return None
    try:
        return path if is_up_to_date(read_manifest(path), data) else None
    except OSError:
        return None


def is_network(path: Path, name: str | None) -> bool:
    """Return whether a bundle has the network of this name; None is any.

    Raises:
        UnknownExperimentError: no experiment has the name.

    """
    return name is None or read_manifest(path).name == find(name).name


def is_up_to_date(manifest: Manifest, data: Path) -> bool:
    """Return whether the data is as it was when the bundle was built; CIFAR-10 never changes.

    Raises:
        OSError: the data cannot be read.

    """
    if manifest.source is None:
        return False
    known = manifest.source.key == CIFAR10_KEY
    return known or not manifest.source.has_changed(scan(data.expanduser()))


def summarize_bundle(path: Path, seconds: float, url: str) -> str:
    """Describe a bundle that is to be served, in one line."""
    manifest = read_manifest(path)
    metrics, images = manifest.metrics, f"{manifest.gallery.count:,} images"
    end = f"{seconds:.0f} s, {url}"
    if metrics is None:
        return f"{manifest.name}: {images} without classes, {end}"
    low, high = metrics.test_wilson95
    return (
        f"{manifest.name}: test accuracy {metrics.test_accuracy:.3f} (95 % interval {low:.3f} to "
        f"{high:.3f}), {images} of {len(manifest.classes)} classes, {end}"
    )
