"""Read a bundle: a folder with the network, its cosine indexes, the gallery and all records.

Every file is verified before it is parsed, and none is a pickle. Must not know how a bundle is
written or served.
"""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.bundle.manifest import (
    CARD,
    EXPERIMENTS,
    FIGURES,
    GALLERY,
    INDEXES,
    MANIFEST,
    NOVELTY,
    ONNX,
    PIXELS,
    RANGES,
    THUMBNAILS,
    BundleError,
    GalleryFile,
    GalleryPart,
    IndexesFile,
    IndexMetadata,
    Manifest,
    parse,
    read_manifest,
    thumbnail_name,
    verify,
)
from training.data.preprocessing import Pixels
from training.experiments import record
from training.experiments.record import Record, RecordError
from training.index import cosine
from training.index.cosine import (
    CosineIndex,
    IndexFileError,
)
from training.models import novelty
from training.models.architecture import (
    ARCHITECTURE,
    WEIGHTS,
    Architecture,
    Layer,
    NetworkSpec,
    architecture_text,
    describe_blocknet,
    read_architecture,
)
from training.models.measurements import ActivationRanges
from training.models.novelty import Novelty, NoveltyFileError

if TYPE_CHECKING:
    from training.models.blocknet import BlockNet

ThumbnailReader = Callable[[int], bytes | None]
"""Returns the thumbnail of the image at a position, if it has one."""


@dataclass(frozen=True)
class Gallery:
    """The images that are searched: ids, labels int64 [N], optional pixels uint8 [N, 32, 32, 3].

    Of own images, `parts` has the split, `files` the path and `states` the state of each file.
    `thumbnails` has a JPEG of each image that is larger than the network's input, or None.
    """

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    pixels: Pixels | None
    parts: tuple[GalleryPart, ...] | None = None
    files: tuple[str, ...] | None = None
    states: tuple[str, ...] | None = None
    thumbnails: ThumbnailReader | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def positions(self) -> dict[str, int]:
        """The position of each id."""
        return {name: position for position, name in enumerate(self.ids)}

    @property
    def tested(self) -> npt.NDArray[np.int64]:
        """The positions of the images of the test split."""
        every = np.arange(len(self))
        return every if self.parts is None else every[np.array(self.parts) == "test"]

    def thumbnail(self, image_id: str) -> bytes | None:
        """Return the thumbnail of an image as a JPEG, if it has one."""
        return self.thumbnails(self.positions[image_id]) if self.thumbnails else None

    @property
    def ids_sha256(self) -> str:
        """The sha256 of all ids, which ties an index to the gallery it was built from."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory, but for the network, which is read when it is asked for.

    `onnx` is the file of the same network for other runtimes. `ranges` are the activation ranges
    for int8. Older bundles have neither.
    """

    path: Path
    manifest: Manifest
    architecture: Architecture
    onnx: Path | None
    ranges: ActivationRanges | None
    gallery: Gallery
    indexes: dict[Layer, CosineIndex]
    index_metadata: dict[Layer, IndexMetadata]
    novelty: Novelty | None
    records: tuple[Record, ...]
    figures: dict[str, bytes]
    card: str

    @cached_property
    def network(self) -> "BlockNet":
        """The network in evaluation mode at fp32. Imports PyTorch, which takes seconds.

        Raises:
            BundleError: the files were changed, or do not hold a network.

        """
        from training.models import checkpoint  # noqa: PLC0415 - most services run the ONNX file

        for name in (WEIGHTS, ARCHITECTURE):
            verify(self.path / name, self.manifest.files[name])
        try:
            return checkpoint.load(self.path)
        except checkpoint.CheckpointError as error:
            raise BundleError(f"{self.path} is not a valid bundle: {error}") from error

    @property
    def spec(self) -> NetworkSpec:
        """The input and the layers of the network."""
        return describe_blocknet(self.architecture)

    @property
    def network_id(self) -> str:
        """Sixteen hexadecimal digits that change if the weights or the architecture change."""
        weights = self.manifest.files[WEIGHTS].sha256
        architecture = architecture_text(self.architecture)
        hashes = weights + hashlib.sha256(architecture.encode()).hexdigest()
        return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def load(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: a file is missing or damaged, the format version is not supported, or the files
            are from different bundles; the message names the file.

    """
    path = path.resolve()
    manifest = read_manifest(path)
    for name, expected in manifest.files.items():
        verify(path / name, expected)
    _require_listed(manifest, WEIGHTS, ARCHITECTURE, INDEXES, GALLERY, CARD)
    try:
        architecture = read_architecture(path / ARCHITECTURE)
        index_metadata = parse(IndexesFile, path / INDEXES).indexes
        gallery = parse(GalleryFile, path / GALLERY)
        _require_listed(manifest, *(entry.file for entry in index_metadata))
        indexes = {
            entry.layer: cosine.read(path / entry.file, entry.factory) for entry in index_metadata
        }
        if manifest.novelty:
            _require_listed(manifest, NOVELTY)
        novelty_model = novelty.read(path / NOVELTY) if manifest.novelty else None
        record_names = (name for name in manifest.files if name.startswith(f"{EXPERIMENTS}/"))
        records = sorted(
            (record.read(path / name) for name in record_names), key=lambda run: run.started_at
        )
        figures = {
            name.removeprefix(f"{FIGURES}/"): (path / name).read_bytes()
            for name in manifest.files
            if name.startswith(f"{FIGURES}/")
        }
        ranges = parse(ActivationRanges, path / RANGES) if RANGES in manifest.files else None
        card = (path / CARD).read_text(encoding="utf-8")
    except (
        IndexFileError,
        NoveltyFileError,
        RecordError,
        OSError,
        ValueError,
    ) as error:
        raise BundleError(f"{path} is not a valid bundle: {error}") from error
    if manifest.gallery.pixels:
        _require_listed(manifest, PIXELS)
    if manifest.gallery.thumbnails:
        _require_listed(manifest, THUMBNAILS)
    bundle = Bundle(
        path=path,
        manifest=manifest,
        architecture=architecture,
        onnx=path / ONNX if ONNX in manifest.files else None,
        ranges=ranges,
        gallery=Gallery(
            ids=gallery.ids,
            labels=np.array(gallery.labels, dtype=np.int64),
            pixels=_read_pixels(path / PIXELS) if manifest.gallery.pixels else None,
            parts=gallery.parts,
            files=gallery.files,
            states=gallery.states,
            thumbnails=_read_thumbnails(path) if manifest.gallery.thumbnails else None,
        ),
        indexes=indexes,
        index_metadata={entry.layer: entry for entry in index_metadata},
        novelty=novelty_model,
        records=tuple(records),
        figures=figures,
        card=card,
    )
    _check_consistency(bundle)
    return bundle


def _read_pixels(file: Path) -> Pixels:
    try:
        pixels: Pixels = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(f"{file} cannot be read: {error}") from error
    return pixels


def _read_thumbnails(folder: Path) -> ThumbnailReader:
    """Open the archive of thumbnails; it stays open after the bundle is replaced."""
    try:
        archive = zipfile.ZipFile(folder / THUMBNAILS)
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{folder / THUMBNAILS} cannot be read: {error}") from error
    names = {*archive.namelist()}

    def read(position: int) -> bytes | None:
        name = thumbnail_name(position)
        return archive.read(name) if name in names else None

    return read


def _require_listed(manifest: Manifest, *names: str) -> None:
    """Check that the manifest lists these files, as only listed files were verified."""
    for name in names:
        if name not in manifest.files:
            raise BundleError(f"{name} is not listed in {MANIFEST}, so it cannot be verified")


def _check_consistency(bundle: Bundle) -> None:
    """Check that the files are from one bundle; each alone has been verified."""
    gallery, classes = bundle.gallery, bundle.manifest.classes
    count = bundle.manifest.gallery.count
    side = bundle.spec.side
    model_sha256 = bundle.manifest.files[WEIGHTS].sha256
    inconsistent = {
        GALLERY: len(gallery.positions) != count
        or len(gallery.labels) != count
        or any(
            len(of) != count
            for of in (gallery.parts, gallery.files, gallery.states)
            if of is not None
        )
        or not np.isin(gallery.labels, np.arange(len(classes))).all(),
        PIXELS: gallery.pixels is not None
        and (gallery.pixels.shape != (count, side, side, 3) or gallery.pixels.dtype != np.uint8),
        ARCHITECTURE: bundle.architecture.classes != len(classes),
    }
    for layer, metadata in bundle.index_metadata.items():
        index = bundle.indexes[layer]
        inconsistent[metadata.file] = (metadata.model_sha256, metadata.ids_sha256) != (
            model_sha256,
            gallery.ids_sha256,
        ) or (len(index), index.dimension) != (count, metadata.dimension)
    for name, wrong in inconsistent.items():
        if wrong:
            raise BundleError(f"{bundle.path / name} does not belong to the rest of the bundle")
