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

from training import checkpoint, index, record
from training.checkpoint import ARCHITECTURE, WEIGHTS, CheckpointError
from training.device import (
    DeviceError,
    Precision,
    PrecisionChoice,
    autocast,
    pick_device,
    pick_precision,
)
from training.index import CosineIndex, IndexFileError, Positions, Vectors
from training.manifest import (
    EXPERIMENTS,
    FIGURES,
    GALLERY,
    INDEXES,
    PIXELS,
    BundleError,
    GalleryFile,
    IndexNote,
    IndexNotes,
    Manifest,
    parse,
    read_manifest,
    verify,
)
from training.network import BlockNet, Layer
from training.picture import SIZE, Fit, Pixels, to_pixels
from training.record import Record, RecordError, Summary, summarize

__all__ = [
    "SIZE",
    "BlockNet",
    "Bundle",
    "BundleError",
    "CosineIndex",
    "DeviceError",
    "Fit",
    "Gallery",
    "Layer",
    "Manifest",
    "Pixels",
    "Positions",
    "Precision",
    "PrecisionChoice",
    "Record",
    "Summary",
    "Vectors",
    "autocast",
    "load",
    "pick_device",
    "pick_precision",
    "summarize",
    "to_pixels",
]


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
    """All that a service needs, verified and in memory; the network in evaluation mode, fp32."""

    path: Path
    manifest: Manifest
    network: BlockNet
    gallery: Gallery
    indexes: dict[Layer, CosineIndex]
    index_notes: dict[Layer, IndexNote]
    records: tuple[Record, ...]

    def figure(self, name: str) -> bytes | None:
        """A figure of the bundle by its file name, if it has it."""
        file = f"{FIGURES}/{name}"
        return (self.path / file).read_bytes() if file in self.manifest.files else None


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
    try:
        network = checkpoint.load(path)
        notes = parse(IndexNotes, path / INDEXES).indexes
        listed = parse(GalleryFile, path / GALLERY)
        indexes = {note.layer: index.read(path / note.file, note.factory) for note in notes}
        records = record.read_all(path / EXPERIMENTS)
    except (CheckpointError, IndexFileError, RecordError) as error:
        raise BundleError(f"{path} is not a bundle that fits: {error}") from error
    bundle = Bundle(
        path=path,
        manifest=manifest,
        network=network,
        gallery=Gallery(
            ids=listed.ids,
            labels=np.array(listed.labels, dtype=np.int64),
            pixels=np.load(path / PIXELS, mmap_mode="r", allow_pickle=False)
            if manifest.gallery.pixels
            else None,
        ),
        indexes=indexes,
        index_notes={note.layer: note for note in notes},
        records=records,
    )
    _check_fit(bundle)
    return bundle


def _check_fit(bundle: Bundle) -> None:
    """Files that are each whole may still come from different bundles."""
    gallery, classes = bundle.gallery, bundle.manifest.classes
    count = bundle.manifest.gallery.count
    model_sha256 = bundle.manifest.files[WEIGHTS].sha256
    misfits = {
        GALLERY: len(gallery.positions) != count or len(gallery.labels) != count,
        PIXELS: gallery.pixels is not None and gallery.pixels.shape != (count, SIZE, SIZE, 3),
        ARCHITECTURE: bundle.network.architecture.classes != len(classes),
    }
    for layer, note in bundle.index_notes.items():
        built = bundle.indexes[layer]
        misfits[note.file] = (note.model_sha256, note.ids_sha256) != (
            model_sha256,
            gallery.ids_sha256,
        ) or (len(built), built.dimension) != (count, note.dimension)
    for name, wrong in misfits.items():
        if wrong:
            raise BundleError(f"{bundle.path / name} does not belong to the rest of the bundle")
