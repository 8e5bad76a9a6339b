"""Read a bundle: a folder with the network, its cosine indexes, the gallery and all records.

Every file is verified before it is parsed, and none is a pickle. What was loaded does not depend on
the files any more: those may be overwritten. Must not know how a bundle is written or served.
"""

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.bundle import known
from training.bundle.known import KnownImage
from training.bundle.manifest import (
    CARD,
    DECODERS,
    EXPERIMENTS,
    FIGURES,
    GALLERY,
    INDEXES,
    KNOWN,
    MANIFEST,
    MAPS,
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
    MapMetadata,
    Stamp,
    parse,
    read_manifest,
    stamp,
    thumbnail_name,
    verify,
)
from training.data.folder_layout import NO_CLASS
from training.data.preprocessing import Pixels
from training.experiments import record
from training.experiments.record import Record
from training.index import files, maps
from training.index.cosine import CosineIndex
from training.index.maps import LayerMap
from training.models import decoder, novelty
from training.models.decoder import Decoder
from training.models.families import (
    ARCHITECTURE,
    WEIGHTS,
    AnyArchitecture,
    read_architecture,
)
from training.models.layers import Layer, NetworkSpec
from training.models.measurements import ActivationRanges
from training.models.novelty import Novelty

if TYPE_CHECKING:
    from training.models.network import Network

ThumbnailReader = Callable[[int], bytes | None]
"""Returns the thumbnail of the image at a position, if it has one."""


@dataclass(frozen=True)
class Gallery:
    """The images that are searched: ids, labels int64 [N], optional pixels uint8 [N, S, S, 3].

    Without classes, all labels are -1. Of own images, `parts` has the split, if they were split,
    `files` the path and `states` the state of each file.
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
    for int8. `known` is what the network must give for one image. Older bundles may lack them.
    `maps` and `decoders` are empty in a bundle without them, and of all layers of the network else.
    """

    path: Path
    manifest: Manifest
    architecture: AnyArchitecture
    onnx: Path | None
    ranges: ActivationRanges | None
    gallery: Gallery
    indexes: dict[Layer, CosineIndex]
    index_metadata: dict[Layer, IndexMetadata]
    novelty: Novelty | None
    records: tuple[Record, ...]
    figures: dict[str, bytes]
    card: str
    known: KnownImage | None = None
    maps: Mapping[Layer, LayerMap] = field(default_factory=dict)
    map_metadata: Mapping[Layer, MapMetadata] = field(default_factory=dict)
    decoders: Mapping[Layer, Decoder] = field(default_factory=dict)
    stamps: Mapping[str, Stamp | None] = field(default_factory=dict)

    def overwritten(self) -> list[str]:
        """Return the names of the files that were written or replaced since they were loaded."""
        return [name for name, loaded in self.stamps.items() if stamp(self.path / name) != loaded]

    def read_onnx(self) -> bytes:
        """Read the ONNX file.

        Raises:
            BundleError: there is none, or it is not the one that was verified.

        """
        _require_listed(self.manifest, ONNX)
        file = self.path / ONNX
        verify(file, self.manifest.files[ONNX])
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.manifest.files[ONNX].sha256:
            raise BundleError(f"{file} was overwritten while it was read")
        return content

    @cached_property
    def network(self) -> "Network":
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

    @cached_property
    def spec(self) -> NetworkSpec:
        """The input and the layers of the network; the bundle may have more indexes than most."""
        spec = self.architecture.spec
        more = (layer.name for layer in spec.layers if layer.name not in spec.searched)
        searched = (*spec.searched, *(name for name in more if name in self.indexes))
        return spec.model_copy(update={"searched": searched})

    @property
    def network_id(self) -> str:
        """Sixteen hexadecimal digits that change if the weights or the architecture change.

        They also change with the layers that are indexed: vectors of fewer layers do not fit.
        """
        weights = self.manifest.files[WEIGHTS].sha256
        hashes = weights + hashlib.sha256(self.architecture.text.encode()).hexdigest()
        if self.spec.searched != self.architecture.spec.searched:
            hashes += ",".join(self.spec.searched)
        return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def load(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: a file is missing or damaged, the format version is not supported, or the files
            are from different bundles; the message names the file.

    """
    path = _resolve(path)
    stamps = {MANIFEST: stamp(path / MANIFEST)}
    manifest = read_manifest(path)
    stamps |= {name: stamp(path / name) for name in manifest.files}
    for name, expected in manifest.files.items():
        verify(path / name, expected)
    try:
        bundle = _read(path, manifest, stamps)
        _check_consistency(bundle)
        if bundle.known is None and bundle.gallery.pixels is not None:  # an older bundle
            bundle = replace(bundle, known=_clearest_image(bundle))
    except BundleError:
        raise
    except Exception as error:  # the readers of the formats raise many kinds
        raise BundleError(f"{path} is not a valid bundle: {error}") from error
    if changed := bundle.overwritten():
        raise BundleError(f"{path} was overwritten while it was read: {', '.join(changed)}")
    return bundle


def _resolve(path: Path) -> Path:
    """Resolve the links of a path to the folder of a bundle."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # a circle of links is a RuntimeError
        dangling = isinstance(error, FileNotFoundError) and path.is_symlink()
        reason = f"its link leads to {path.readlink()}, where nothing is" if dangling else error
        raise BundleError(f"no bundle at {path}: {reason}") from error


def _read(path: Path, manifest: Manifest, stamps: Mapping[str, Stamp | None]) -> Bundle:
    """Read the files of a bundle, which have been verified."""
    _require_listed(manifest, WEIGHTS, ARCHITECTURE, INDEXES, GALLERY, CARD)
    described = parse(IndexesFile, path / INDEXES)
    index_metadata = described.indexes
    _require_listed(manifest, *(entry.file for entry in index_metadata))
    if manifest.novelty:
        _require_listed(manifest, NOVELTY)
    if manifest.gallery.pixels:
        _require_listed(manifest, PIXELS)
    if manifest.gallery.thumbnails:
        _require_listed(manifest, THUMBNAILS)
    if described.maps:
        _require_listed(manifest, MAPS)
    if manifest.decoders:
        _require_listed(manifest, DECODERS)
    architecture = read_architecture(path / ARCHITECTURE)
    spec = architecture.spec
    _check_layers(path, spec.searched, [entry.layer for entry in index_metadata])
    listed = parse(GalleryFile, path / GALLERY)
    gallery = Gallery(
        ids=listed.ids,
        labels=np.array(listed.labels, dtype=np.int64),
        pixels=_read_pixels(path / PIXELS) if manifest.gallery.pixels else None,
        parts=listed.parts,
        files=listed.files,
        states=listed.states,
        thumbnails=_read_thumbnails(path / THUMBNAILS) if manifest.gallery.thumbnails else None,
    )
    records = (
        record.read(path / name) for name in manifest.files if name.startswith(f"{EXPERIMENTS}/")
    )
    figures = {
        name.removeprefix(f"{FIGURES}/"): (path / name).read_bytes()
        for name in manifest.files
        if name.startswith(f"{FIGURES}/")
    }
    return Bundle(
        path=path,
        manifest=manifest,
        architecture=architecture,
        onnx=path / ONNX if ONNX in manifest.files else None,
        ranges=parse(ActivationRanges, path / RANGES) if RANGES in manifest.files else None,
        gallery=gallery,
        indexes={
            entry.layer: files.read(path / entry.file, entry.factory) for entry in index_metadata
        },
        index_metadata={entry.layer: entry for entry in index_metadata},
        novelty=novelty.read(path / NOVELTY) if manifest.novelty else None,
        records=tuple(sorted(records, key=lambda run: run.started_at)),
        figures=figures,
        card=(path / CARD).read_text(encoding="utf-8"),
        known=known.load(path / KNOWN, spec) if KNOWN in manifest.files else None,
        maps=_read_maps(path / MAPS, spec, described),
        map_metadata={entry.layer: entry for entry in described.maps},
        decoders=decoder.read(path / DECODERS, spec) if manifest.decoders else {},
        stamps=stamps,
    )


def _read_maps(file: Path, spec: NetworkSpec, described: IndexesFile) -> dict[Layer, LayerMap]:
    """Read the maps of the layers that are described."""
    names = {entry.layer for entry in described.maps}
    shapes = {layer.name: layer.shape for layer in spec.layers if layer.name in names}
    return maps.read(file, shapes) if shapes else {}


def _read_pixels(file: Path) -> Pixels:
    """Map a copy of the pixels that has no name: a file that others truncate ends the process.

    Only the images that are asked for take memory. If there is no room for the copy, read them.
    """
    try:
        with tempfile.NamedTemporaryFile() as copy:
            shutil.copyfile(file, copy.name)
            pixels: Pixels = np.load(copy.name, mmap_mode="r", allow_pickle=False)
    except OSError:
        pixels = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise BundleError(f"{file} cannot be read: {error}") from error
    return pixels


def _read_thumbnails(file: Path) -> ThumbnailReader:
    """Open a copy of the archive of thumbnails that has no name, or read it if there is no room."""
    copy: IO[bytes]
    try:
        copy = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the reader
        with file.open("rb") as source:
            shutil.copyfileobj(source, copy, length=2**20)
    except OSError:
        copy = BytesIO(file.read_bytes())
    archive = zipfile.ZipFile(copy)
    names = {*archive.namelist()}

    def read(position: int) -> bytes | None:
        name = thumbnail_name(position)
        return archive.read(name) if name in names else None

    return read


def _clearest_image(bundle: Bundle) -> KnownImage:
    """Return the image of the gallery that has the clearest class, with its vectors."""
    assert bundle.gallery.pixels is not None  # noqa: S101  checked by the caller
    classes = bundle.spec.class_layer
    row = known.clearest(bundle.indexes[classes].reconstruct(range(len(bundle.gallery))))
    vectors = {layer: index.reconstruct([row])[0] for layer, index in bundle.indexes.items()}
    return KnownImage(np.array(bundle.gallery.pixels[row]), vectors, classes)


def _check_layers(path: Path, searched: Sequence[Layer], layers: Sequence[Layer]) -> None:
    """Check that every searched layer of the network has an index, and no layer two."""
    for layer in (*searched, *layers):
        if layers.count(layer) != 1:
            raise BundleError(f"{path / INDEXES} has {layers.count(layer)} indexes at {layer}")


def _require_listed(manifest: Manifest, *names: str) -> None:
    """Check that the manifest lists these files, as only listed files were verified."""
    for name in names:
        if name not in manifest.files:
            raise BundleError(f"{name} is not listed in {MANIFEST}, so it cannot be verified")


def _check_consistency(bundle: Bundle) -> None:
    """Check that the files are from one bundle; each alone has been verified."""
    gallery, classes = bundle.gallery, bundle.manifest.classes
    count = bundle.manifest.gallery.count
    network = bundle.spec
    shape = (count, network.side, network.side, 3)
    model_sha256 = bundle.manifest.files[WEIGHTS].sha256
    inconsistent = {
        GALLERY: len(gallery.positions) != count
        or len(gallery.labels) != count
        or any(
            len(of) != count
            for of in (gallery.parts, gallery.files, gallery.states)
            if of is not None
        )
        or not np.isin(gallery.labels, np.arange(len(classes)) if classes else [NO_CLASS]).all(),
        PIXELS: gallery.pixels is not None
        and (gallery.pixels.shape != shape or gallery.pixels.dtype != np.uint8),
        ARCHITECTURE: bundle.architecture.classes != len(classes),
        NOVELTY: bundle.novelty is not None and bundle.novelty.widths != novelty.widths(network),
    }
    for layer, metadata in bundle.index_metadata.items():
        index = bundle.indexes[layer]
        dimension = network.layer(layer).length
        inconsistent[metadata.file] = (metadata.model_sha256, metadata.ids_sha256) != (
            model_sha256,
            gallery.ids_sha256,
        ) or (len(index), index.dimension, metadata.dimension) != (count, dimension, dimension)
    for layer, entry in bundle.map_metadata.items():
        found = (entry.model_sha256, entry.ids_sha256) == (model_sha256, gallery.ids_sha256)
        found = found and len(bundle.maps[layer].places) == count
        has_nearest = layer in bundle.indexes or bundle.maps[layer].reduction is not None
        inconsistent[MAPS] = inconsistent.get(MAPS, False) or not (found and has_nearest)
    inconsistent[DECODERS] = bundle.decoders.keys() != bundle.manifest.decoders.keys()
    for name, wrong in inconsistent.items():
        if wrong:
            raise BundleError(f"{bundle.path / name} does not belong to the rest of the bundle")
