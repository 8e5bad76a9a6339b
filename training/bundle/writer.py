"""Write a bundle atomically: into a temporary folder, synced, then renamed.

Works on folders and files; must not know how a network was trained or selected.
"""

import ctypes
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from training.bundle import known
from training.bundle.known import KnownImage
from training.bundle.loader import Gallery
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
    DatasetMetadata,
    GalleryFile,
    GalleryImages,
    GalleryMetadata,
    IndexesFile,
    IndexMetadata,
    Manifest,
    MapMetadata,
    MapQuality,
    Metrics,
    NoveltyMetadata,
    dump,
    reference,
    sha256,
    thumbnail_name,
)
from training.data.source import Source
from training.experiments import record
from training.experiments.record import Record
from training.index import files
from training.index.cosine import CosineIndex
from training.index.maps import LayerMap
from training.index.maps import write as write_maps
from training.index.tuning import Quality
from training.models import checkpoint, decoder, novelty, onnx_export
from training.models.decoder import Decoder, DecoderQuality
from training.models.families import WEIGHTS
from training.models.layers import Layer
from training.models.measurements import ActivationRanges
from training.models.network import Network
from training.models.novelty import THRESHOLD, Fitted

AT_FDCWD, EXCHANGE = -100, 2
"""Arguments of Linux's `renameat2`: resolve paths as usual; exchange the two."""


@dataclass(frozen=True)
class Maps:
    """The map of each layer of a network, in order, with its quality."""

    layers: Mapping[Layer, LayerMap]
    qualities: Mapping[Layer, MapQuality]


@dataclass(frozen=True)
class Decoders:
    """The decoder of each layer of a network, in order, with its quality."""

    layers: Mapping[Layer, Decoder]
    qualities: Mapping[Layer, DecoderQuality]


@dataclass(frozen=True)
class BundleContents:
    """The contents of a bundle to be written.

    `run_id` and `metrics` are None if the network knows no classes, as nothing was trained.
    """

    name: str
    run_id: str | None
    classes: tuple[str, ...]
    dataset: DatasetMetadata
    metrics: Metrics | None
    network: Network
    gallery: Gallery
    indexes: dict[Layer, CosineIndex]
    qualities: dict[Layer, Quality]
    novelty: Fitted | None
    records: Sequence[Record]
    figures: dict[str, bytes]
    card: Callable[[Manifest], str]
    dtype: torch.dtype = torch.float32
    ranges: ActivationRanges | None = None
    source: Source | None = None
    gallery_images: GalleryImages = "test"
    maps: Maps | None = None
    decoders: Decoders | None = None


def write(contents: BundleContents, path: Path) -> Manifest:
    """Write a bundle at `path`. An older bundle there is replaced once the new one is on disk.

    If `path` is a symbolic link, its target is replaced and the link stays.

    Raises:
        BundleError: `path` holds something other than a bundle.

    """
    return replace_folder(path, lambda folder: _write_files(contents, folder))


def replace_folder(path: Path, write_files: Callable[[Path], Manifest]) -> Manifest:
    """Let a function write the files of a bundle, then put them at `path`.

    Raises:
        BundleError: `path` holds something other than a bundle.

    """
    require_replaceable(path)
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        manifest = write_files(temporary)
        _sync(temporary)
        temporary.chmod(0o755)
        _replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return manifest


def require_replaceable(path: Path) -> None:
    """Check that a bundle may be written at `path`: it is free, an empty folder, or a bundle.

    Raises:
        BundleError: `path` is a file, or a folder that holds something other than a bundle.

    """
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty and not (path / MANIFEST).is_file():
        raise BundleError(f"{path} is not a bundle, so it is not replaced: name another folder")


def update_current_link(link: Path, target: Path) -> None:
    """Point `link` (such as `bundles/current`) to a bundle in the same folder, atomically."""
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.name, target_is_directory=True)
    temporary.replace(link)


def _write_files(contents: BundleContents, folder: Path) -> Manifest:
    checkpoint.save(contents.network, folder, contents.dtype)
    onnx_export.write(contents.network, folder / ONNX, contents.dtype)
    gallery = contents.gallery
    write_gallery(gallery, folder)
    write_indexes(contents.indexes, contents.qualities, gallery, folder, contents.maps)
    if contents.decoders:
        decoder.write(contents.decoders.layers, folder / DECODERS)
    if contents.novelty:
        novelty.write(contents.novelty.novelty, folder / NOVELTY)
    if contents.ranges:
        dump(contents.ranges, folder / RANGES)
    known.save(_known_image(contents.network), folder / KNOWN)
    for run in contents.records:
        record.write(run, folder / EXPERIMENTS)
    (folder / FIGURES).mkdir()
    for name, figure in contents.figures.items():
        (folder / FIGURES / name).write_bytes(figure)
    manifest = Manifest(
        name=contents.name,
        run_id=contents.run_id,
        version="",
        created_at=datetime.now(UTC),
        classes=contents.classes,
        dataset=contents.dataset,
        source=contents.source,
        gallery=GalleryMetadata(
            count=len(gallery),
            pixels=gallery.pixels is not None,
            images=contents.gallery_images,
            thumbnails=gallery.thumbnails is not None,
        ),
        metrics=contents.metrics,
        novelty=_novelty_metadata(contents.novelty),
        decoders=dict(contents.decoders.qualities) if contents.decoders else {},
        files={},
    )
    return finish(manifest, contents.card, folder)


def write_gallery(gallery: Gallery, folder: Path) -> None:
    """Write ids, labels, pixels and thumbnails."""
    listed = GalleryFile(
        ids=gallery.ids,
        labels=tuple(gallery.labels.tolist()),
        parts=gallery.parts,
        files=gallery.files,
        states=gallery.states,
    )
    dump(listed, folder / GALLERY)
    if gallery.pixels is not None:
        np.save(folder / PIXELS, gallery.pixels, allow_pickle=False)
    if gallery.thumbnails:
        _write_thumbnails(gallery, folder / THUMBNAILS)


def write_indexes(
    indexes: Mapping[Layer, CosineIndex],
    qualities: Mapping[Layer, Quality],
    gallery: Gallery,
    folder: Path,
    maps: Maps | None = None,
) -> None:
    """Write the indexes and the maps of a gallery, described; the weights must be there."""
    model_sha256 = sha256(folder / WEIGHTS)
    entries = []
    for layer, index in indexes.items():
        files.write(index, folder / f"{layer}.faiss")
        entries.append(
            IndexMetadata(
                layer=layer,
                file=f"{layer}.faiss",
                factory=index.factory,
                dimension=index.dimension,
                count=len(index),
                model_sha256=model_sha256,
                ids_sha256=gallery.ids_sha256,
                quality=qualities[layer],
            )
        )
    mapped: list[MapMetadata] = []
    if maps:
        write_maps(maps.layers, folder / MAPS)
        mapped += (
            MapMetadata(
                layer=layer,
                trustworthiness=quality.trustworthiness,
                measured=quality.measured,
                seconds=quality.seconds,
                model_sha256=model_sha256,
                ids_sha256=gallery.ids_sha256,
            )
            for layer, quality in maps.qualities.items()
        )
    dump(IndexesFile(indexes=tuple(entries), maps=tuple(mapped)), folder / INDEXES)


def finish(manifest: Manifest, card: Callable[[Manifest], str], folder: Path) -> Manifest:
    """Write the card, then the manifest with the version and the hashes of all files."""
    manifest = manifest.model_copy(update={"version": _version(folder)})
    (folder / CARD).write_text(card(manifest), encoding="utf-8")
    files = {name: reference(folder / name) for name in _file_names(folder)}
    manifest = manifest.model_copy(update={"files": files})
    dump(manifest, folder / MANIFEST)
    return manifest


def _write_thumbnails(gallery: Gallery, file: Path) -> None:
    """Write the thumbnails as a zip, uncompressed because JPEG is compressed already."""
    assert gallery.thumbnails is not None  # noqa: S101  checked by the caller
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for position in range(len(gallery)):
            if (content := gallery.thumbnails(position)) is not None:
                archive.writestr(zipfile.ZipInfo(thumbnail_name(position)), content)


@torch.inference_mode()
def _known_image(network: Network) -> KnownImage:
    """Choose a drawing, of a clear class if there are any, and embed it at searched layers."""
    spec = network.spec
    drawn = known.drawings(spec.side)
    device = next(network.parameters()).device
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2).to(device)
    found = network.eval().representations(images, spec.searched)
    vectors = {layer: tensor.cpu().numpy() for layer, tensor in found.items()}
    chosen = known.clearest(vectors[spec.classes]) if spec.classes else 0
    return KnownImage(
        drawn[chosen], {layer: rows[chosen] for layer, rows in vectors.items()}, spec.classes
    )


def _novelty_metadata(fitted: Fitted | None) -> NoveltyMetadata | None:
    if fitted is None:
        return None
    return NoveltyMetadata(
        threshold=THRESHOLD,
        familiar_share=fitted.familiar_share,
        references=len(fitted.novelty),
    )


def _version(folder: Path) -> str:
    """Compute the twelve hexadecimal digits that change if any file written so far changes."""
    digest = hashlib.sha256()
    for name in _file_names(folder):
        digest.update(f"{name} {sha256(folder / name)}\n".encode())
    return digest.hexdigest()[:12]


def _file_names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _sync(folder: Path) -> None:
    """Flush all files to disk, so that the folder is complete before it is renamed."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(new: Path, path: Path) -> None:
    """Replace a folder by another, atomically if the system can exchange two folders.

    Otherwise the old folder is renamed first, and renamed back if the second rename fails.
    """
    previous = path.with_name(f".{path.name}-old-{os.getpid()}")
    if path.exists():
        if _exchange(new, path):
            shutil.rmtree(new, ignore_errors=True)
            return
        path.rename(previous)
    try:
        new.rename(path)
    except BaseException:
        if previous.exists():
            previous.rename(path)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders with Linux's `renameat2`; return False if that is not possible."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if renameat2 is None:
        return False
    swapped: int = renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), EXCHANGE)
    return swapped == 0
