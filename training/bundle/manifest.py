"""The metadata files of a bundle (`manifest.json`, `index.json`, `gallery.json`) and file hashes.

Works on names, sizes and hashes; must not load networks or vectors.
"""

import hashlib
import re
import stat
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from training.base_model import Frozen
from training.data.folder_layout import Part
from training.data.source import CIFAR10_KEY, Source
from training.index.cosine import Factory
from training.index.files import OldFactory
from training.index.tuning import Quality
from training.models.decoder import DecoderQuality
from training.models.layers import Layer

FORMAT_VERSION: Final = 2
READ_VERSIONS = (1, FORMAT_VERSION)
MANIFEST = "manifest.json"
INDEXES = "index.json"
GALLERY = "gallery.json"
PIXELS = "gallery.npy"
THUMBNAILS = "thumbnails.zip"
NOVELTY = "novelty.safetensors"
ONNX = "model.onnx"
RANGES = "ranges.json"
KNOWN = "known.safetensors"
MAPS = "maps.safetensors"
DECODERS = "decoders.safetensors"
CARD = "README.md"
EXPERIMENTS = "experiments"
FIGURES = "figures"

GalleryImages = Literal["all", "test"]
"""The images in a gallery: all of the data set, or those of the test split."""
GalleryPart = Part | Literal["new"]
"""The split of an image; "new" if it was added after the network was trained and tested."""
Model = TypeVar("Model", bound=BaseModel)
Stamp = tuple[int, int, int, int]
"""Device, inode, size and time of change of a file: what differs after it was overwritten."""


class BundleError(RuntimeError):
    """The folder is not a bundle that can be served; the message names the file and the reason."""


class FileRef(Frozen):
    """The size and hash of a file of the bundle."""

    bytes: int
    sha256: str


class Metrics(Frozen):
    """Metrics of the network and of retrieval, on images that the network was not trained on.

    `test_calibration_error` is the expected calibration error. `label_share_at_10` is precision at
    10 by layer: the share of the ten nearest, without the query, that have the query's label. It
    is averaged over `label_share_queries` images of the gallery.
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
    """The data sets of the network and of the gallery; they may differ in encoding.

    `trained_on` is None if nothing was trained.
    """

    trained_on: str | None
    trained_on_fingerprint: str | None
    gallery_from: str
    gallery_fingerprint: str


class GalleryMetadata(Frozen):
    """The number of images in the gallery, whether their pixels and thumbnails are included.

    `images` is "test" if the gallery is the test split, which the network was not trained on.
    """

    count: int
    pixels: bool
    images: GalleryImages = "test"
    thumbnails: bool = False


class NoveltyMetadata(Frozen):
    """The threshold of novelty, up to which an image is familiar.

    `familiar_share` is the share of further held-out images that are familiar. None of them was
    used to fit novelty. `references` is the number of training images compared with.
    """

    threshold: float
    familiar_share: float
    references: int


def _below_the_folder(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("a file of a bundle must be below its folder")
    return name


class Manifest(Frozen):
    """The contents of `manifest.json`, the first file that is read and the last that is written.

    Without classes nothing was trained: then there are no `run_id` and no `metrics`.
    """

    format_version: Literal[1, 2] = FORMAT_VERSION
    name: str
    version: str
    run_id: str | None
    created_at: datetime
    classes: tuple[str, ...]
    dataset: DatasetMetadata
    source: Source | None = None
    gallery: GalleryMetadata
    metrics: Metrics | None
    novelty: NoveltyMetadata | None = None
    decoders: dict[Layer, DecoderQuality] = Field(default_factory=dict)
    files: dict[Annotated[str, AfterValidator(_below_the_folder)], FileRef]

    @property
    def data_key(self) -> str:
        """A name of the gallery's data set for paths, which stays when its images change."""
        if self.source:
            return self.source.key
        if self.dataset.gallery_from.startswith(CIFAR10_KEY):
            return CIFAR10_KEY
        return re.sub(r"[^\w.-]+", "-", self.dataset.gallery_from).lstrip(".") or "images"


class IndexMetadata(Frozen):
    """One index: its file, the hashes of what it was built from, and its search quality."""

    layer: Layer
    file: str
    metric: Literal["cosine"] = "cosine"
    factory: Factory | OldFactory
    dimension: int
    count: int
    model_sha256: str
    ids_sha256: str
    quality: Quality


class MapQuality(Frozen):
    """How well a map shows which images are near each other at its layer.

    `trustworthiness` is that of the ten nearest on the map, by cosine, among `measured` images
    (Venna and Kaski, 2001). `seconds` is the time of laying out.
    """

    trustworthiness: float
    measured: int
    seconds: float


class MapMetadata(MapQuality):
    """One map: its layer, and the hashes of what it was laid out from."""

    layer: Layer
    model_sha256: str
    ids_sha256: str


class IndexesFile(Frozen):
    """The contents of `index.json`. The maps are in the order of the layers, from the input."""

    indexes: tuple[IndexMetadata, ...]
    maps: tuple[MapMetadata, ...] = ()


class GalleryFile(Frozen):
    """The contents of `gallery.json`. Own images have `parts`, `files` and `states`, by position.

    A label is the number of a class, and -1 in a gallery without classes, which has no `parts`.
    A state is that of the file when it was read; it tells whether the file has changed.
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    parts: tuple[GalleryPart, ...] | None = None
    files: tuple[str, ...] | None = None
    states: tuple[str, ...] | None = None


def thumbnail_name(position: int) -> str:
    """Return the name in the archive of the thumbnail of the image at a position."""
    return f"{position:06d}.jpg"


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of the bundle at `path`.

    Raises:
        BundleError: the manifest is missing, unreadable, or of another format version.

    """
    file = path / MANIFEST

    class Version(BaseModel):
        format_version: int

    try:
        require_file(file)
    except BundleError as error:
        raise BundleError(f"no bundle at {path}: {error}") from error
    version = parse(Version, file).format_version
    if version not in READ_VERSIONS:
        raise BundleError(
            f"{file} has format version {version}, this code reads up to {FORMAT_VERSION}: "
            "build the bundle again, or use the version of the code that wrote it"
        )
    return parse(Manifest, file)


def verify(file: Path, expected: FileRef) -> None:
    """Compare a file with its entry in the manifest.

    Raises:
        BundleError: the file is missing, unreadable, or not the one described.

    """
    require_file(file)
    try:
        intact = file.stat().st_size == expected.bytes and sha256(file) == expected.sha256
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error}") from error
    if not intact:
        raise BundleError(f"{file} is damaged: it is not the file that {MANIFEST} describes")


def require_file(file: Path) -> None:
    """Check that there is a regular file; to read a pipe could wait without end.

    Raises:
        BundleError: there is none, or it cannot be reached.

    """
    try:
        regular = stat.S_ISREG(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"{file} is missing") from error
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from error
    if not regular:
        raise BundleError(f"{file} is not a file")


def stamp(file: Path) -> Stamp | None:
    """Return the stamp of a file; None if it cannot be reached."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def reference(file: Path) -> FileRef:
    """Return the manifest's entry for a file."""
    return FileRef(bytes=file.stat().st_size, sha256=sha256(file))


def sha256(file: Path) -> str:
    """Compute the sha256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse(model: type[Model], file: Path) -> Model:
    """Read a JSON file as `model`.

    Raises:
        BundleError: the file cannot be read, or does not match the model.

    """
    try:
        return model.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(
            f"{file} cannot be read: {f'{place}: ' if place else ''}{first['msg']}"
        ) from error


def dump(model: BaseModel, file: Path) -> None:
    """Write `model` as JSON."""
    file.write_text(model.model_dump_json(indent=1) + "\n", encoding="utf-8")
