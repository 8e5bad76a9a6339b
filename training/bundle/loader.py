"""The bundle: a folder with the network, its cosine indexes, the gallery and all records.

The one door between the houses: `service/` imports this module and nothing else of `training/`.
Read only after every file has been verified. No pickle anywhere.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

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
    BundleError,
    GalleryFile,
    IndexesFile,
    IndexMetadata,
    Manifest,
    parse,
    read_manifest,
    verify,
)
from training.data.preprocessing import SIZE, Pixels
from training.experiments import record
from training.experiments.record import Record, RecordError
from training.index import cosine
from training.index.cosine import (
    CosineIndex,
    IndexFileError,
)
from training.models import checkpoint, novelty
from training.models.blocknet import BlockNet, Layer
from training.models.checkpoint import ARCHITECTURE, WEIGHTS, CheckpointError
from training.models.novelty import Novelty, NoveltyFileError
from training.models.quantization import ActivationRanges


@dataclass(frozen=True)
class Gallery:
    """The images that are searched: ids, labels int64 [N], pixels uint8 [N, 32, 32, 3] if any."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    pixels: Pixels | None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each id is."""
        return {name: position for position, name in enumerate(self.ids)}

    @property
    def ids_sha256(self) -> str:
        """Ties an index to the gallery that it was built from."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """All that a service needs, verified and in memory; the network in evaluation mode, fp32.

    `onnx` is the file of the same network for other runtimes, and `ranges` what it takes to run it
    in whole numbers; older bundles have neither.
    """

    path: Path
    manifest: Manifest
    network: BlockNet
    onnx: Path | None
    ranges: ActivationRanges | None
    gallery: Gallery
    indexes: dict[Layer, CosineIndex]
    index_metadata: dict[Layer, IndexMetadata]
    novelty: Novelty | None
    records: tuple[Record, ...]
    figures: dict[str, bytes]
    card: str

    @property
    def network_id(self) -> str:
        """Sixteen digits that change when an image's representations may."""
        made_of = (self.manifest.files[name].sha256 for name in (WEIGHTS, ARCHITECTURE))
        return hashlib.sha256("".join(made_of).encode()).hexdigest()[:16]


def load(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: something is missing, damaged, of another format version, or does not belong
            together; the message says what.

    """
    path = path.resolve()
    manifest = read_manifest(path)
    for name, expected in manifest.files.items():
        verify(path / name, expected)
    _require_listed(manifest, WEIGHTS, ARCHITECTURE, INDEXES, GALLERY, CARD)
    try:
        network = checkpoint.load(path)
        notes = parse(IndexesFile, path / INDEXES).indexes
        listed = parse(GalleryFile, path / GALLERY)
        _require_listed(manifest, *(note.file for note in notes))
        indexes = {note.layer: cosine.read(path / note.file, note.factory) for note in notes}
        if manifest.novelty:
            _require_listed(manifest, NOVELTY)
        measured = novelty.load(path / NOVELTY) if manifest.novelty else None
        listed_records = (name for name in manifest.files if name.startswith(f"{EXPERIMENTS}/"))
        records = sorted(
            (record.read(path / name) for name in listed_records), key=lambda one: one.started_at
        )
        figures = {
            name.removeprefix(f"{FIGURES}/"): (path / name).read_bytes()
            for name in manifest.files
            if name.startswith(f"{FIGURES}/")
        }
        ranges = parse(ActivationRanges, path / RANGES) if RANGES in manifest.files else None
        card = (path / CARD).read_text(encoding="utf-8")
    except (
        CheckpointError,
        IndexFileError,
        NoveltyFileError,
        RecordError,
        OSError,
        UnicodeError,
    ) as error:
        raise BundleError(f"{path} is not a bundle that fits: {error}") from error
    if manifest.gallery.pixels:
        _require_listed(manifest, PIXELS)
    bundle = Bundle(
        path=path,
        manifest=manifest,
        network=network,
        onnx=path / ONNX if ONNX in manifest.files else None,
        ranges=ranges,
        gallery=Gallery(
            ids=listed.ids,
            labels=np.array(listed.labels, dtype=np.int64),
            pixels=_read_pixels(path / PIXELS) if manifest.gallery.pixels else None,
        ),
        indexes=indexes,
        index_metadata={note.layer: note for note in notes},
        novelty=measured,
        records=tuple(records),
        figures=figures,
        card=card,
    )
    _check_fit(bundle)
    return bundle


def _read_pixels(file: Path) -> Pixels:
    try:
        pixels: Pixels = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(f"{file} cannot be read: {error}") from error
    return pixels


def _require_listed(manifest: Manifest, *names: str) -> None:
    """What the manifest does not list has not been verified."""
    for name in names:
        if name not in manifest.files:
            raise BundleError(f"{name} is not listed in {MANIFEST}, so it cannot be verified")


def _check_fit(bundle: Bundle) -> None:
    """Files that are each whole may still come from different bundles."""
    gallery, classes = bundle.gallery, bundle.manifest.classes
    count = bundle.manifest.gallery.count
    model_sha256 = bundle.manifest.files[WEIGHTS].sha256
    misfits = {
        GALLERY: len(gallery.positions) != count
        or len(gallery.labels) != count
        or not np.isin(gallery.labels, np.arange(len(classes))).all(),
        PIXELS: gallery.pixels is not None
        and (gallery.pixels.shape != (count, SIZE, SIZE, 3) or gallery.pixels.dtype != np.uint8),
        ARCHITECTURE: bundle.network.architecture.classes != len(classes),
    }
    for layer, note in bundle.index_metadata.items():
        built = bundle.indexes[layer]
        misfits[note.file] = (note.model_sha256, note.ids_sha256) != (
            model_sha256,
            gallery.ids_sha256,
        ) or (len(built), built.dimension) != (count, note.dimension)
    for name, wrong in misfits.items():
        if wrong:
            raise BundleError(f"{bundle.path / name} does not belong to the rest of the bundle")
