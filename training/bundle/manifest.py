"""What a bundle says of itself: `manifest.json`, `index.json`, `gallery.json`, and file hashes.

Knows names, sizes and sums; nothing of networks or vectors.
"""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from training.base_model import Frozen
from training.index.cosine import Factory
from training.index.tuning import Quality
from training.models.blocknet import Layer

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
INDEXES = "index.json"
GALLERY = "gallery.json"
PIXELS = "gallery.npy"
NOVELTY = "novelty.safetensors"
ONNX = "model.onnx"
RANGES = "ranges.json"
CARD = "README.md"
EXPERIMENTS = "experiments"
FIGURES = "figures"


Model = TypeVar("Model", bound=BaseModel)


class BundleError(RuntimeError):
    """The folder is not a bundle that can be served; the message names the file and the reason."""


class FileRef(Frozen):
    """What a file of the bundle must be."""

    bytes: int
    sha256: str


class Metrics(Frozen):
    """How good the network and its neighbours are, on images that trained neither.

    `test_calibration_error` is how far confidence is from accuracy. `label_share_at_10` is, by
    layer, the share of the ten nearest that have the query's own label, the query left out, over
    `label_share_queries` images of the gallery.
    """

    validation_accuracy: float | None
    test_count: int
    test_accuracy: float
    test_wilson95: tuple[float, float]
    test_loss: float
    test_calibration_error: float | None = None
    label_share_at_10: dict[str, float]
    label_share_queries: int


class DatasetMetadata(Frozen):
    """Which data the network and the gallery come from; they may differ in encoding."""

    trained_on: str
    trained_on_fingerprint: str
    gallery_from: str
    gallery_fingerprint: str


class GalleryMetadata(Frozen):
    """How many images the gallery has, and whether it has their pixels."""

    count: int
    pixels: bool


class NoveltyMetadata(Frozen):
    """When an image counts as familiar: `novelty` of at most `threshold`.

    `familiar_share` is the share of held-out images, none of which set it, that are familiar.
    """

    threshold: float
    familiar_share: float
    references: int


class Manifest(Frozen):
    """The first file that is read and the last that is written."""

    format_version: Literal[1] = 1
    name: str
    version: str
    run_id: str
    created_at: datetime
    classes: tuple[str, ...]
    dataset: DatasetMetadata
    gallery: GalleryMetadata
    metrics: Metrics
    novelty: NoveltyMetadata | None = None
    files: dict[str, FileRef]


class IndexMetadata(Frozen):
    """One index, what it was built from, and how well it searches."""

    layer: Layer
    file: str
    metric: Literal["cosine"] = "cosine"
    factory: Factory
    dimension: int
    count: int
    model_sha256: str
    ids_sha256: str
    quality: Quality


class IndexesFile(Frozen):
    """The contents of `index.json`."""

    indexes: tuple[IndexMetadata, ...]


class GalleryFile(Frozen):
    """The contents of `gallery.json`."""

    ids: tuple[str, ...]
    labels: tuple[int, ...]


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle at `path`.

    Raises:
        BundleError: none there, unreadable, or of another format version.

    """
    file = path / MANIFEST

    class Version(BaseModel):
        format_version: int

    if not file.is_file():
        raise BundleError(f"no bundle at {path}: {MANIFEST} is missing")
    found = parse(Version, file).format_version
    if found != FORMAT_VERSION:
        raise BundleError(
            f"{file} has format version {found}, this code reads {FORMAT_VERSION}: "
            "build the bundle anew, or use the code that wrote it"
        )
    return parse(Manifest, file)


def verify(file: Path, expected: FileRef) -> None:
    """Raise `BundleError` where a file is not what the manifest says of it."""
    if not file.is_file():
        raise BundleError(f"{file} is missing")
    try:
        whole = file.stat().st_size == expected.bytes and sha256(file) == expected.sha256
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error}") from error
    if not whole:
        raise BundleError(f"{file} is damaged: it is not the file that {MANIFEST} describes")


def reference(file: Path) -> FileRef:
    """What the manifest is to say of a file."""
    return FileRef(bytes=file.stat().st_size, sha256=sha256(file))


def sha256(file: Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse(model: type[Model], file: Path) -> Model:
    """Read a JSON file as `model`; `BundleError` where it is not one."""
    try:
        return model.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{file} cannot be read: {error}") from error


def dump(model: BaseModel, file: Path) -> None:
    """Write `model` as JSON."""
    file.write_text(model.model_dump_json(indent=1) + "\n", encoding="utf-8")
