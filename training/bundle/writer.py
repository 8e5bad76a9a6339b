"""Write a bundle: whole or not at all, synced, renamed; and make `current` point to it.

Knows folders and files; not how a network was trained or chosen.
"""

import ctypes
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from training.bundle.loader import Gallery
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
    DatasetMetadata,
    GalleryFile,
    GalleryMetadata,
    IndexesFile,
    IndexMetadata,
    Manifest,
    Metrics,
    NoveltyMetadata,
    dump,
    reference,
    sha256,
)
from training.experiments import record
from training.experiments.record import Record
from training.index.cosine import CosineIndex
from training.index.tuning import Quality
from training.models import checkpoint, novelty, onnx_export
from training.models.blocknet import BlockNet, Layer
from training.models.checkpoint import WEIGHTS
from training.models.novelty import THRESHOLD, Fitted
from training.models.quantization import ActivationRanges

AT_FDCWD, EXCHANGE = -100, 2
"""Of Linux's `renameat2`: paths as they are; swap."""


@dataclass(frozen=True)
class BundleContents:
    """What is to become a bundle."""

    name: str
    run_id: str
    classes: tuple[str, ...]
    dataset: DatasetMetadata
    metrics: Metrics
    network: BlockNet
    gallery: Gallery
    indexes: dict[Layer, CosineIndex]
    qualities: dict[Layer, Quality]
    novelty: Fitted | None
    records: Sequence[Record]
    figures: dict[str, bytes]
    card: Callable[[Manifest], str]
    dtype: torch.dtype = torch.float32
    ranges: ActivationRanges | None = None


def write(contents: BundleContents, path: Path) -> Manifest:
    """Write a bundle at `path`, which is replaced only when the new one is complete on disk.

    Raises:
        BundleError: something stands at `path` that is not a bundle, and is not to be lost.

    """
    require_free(path)
    path = path.resolve()  # a link stays, and leads to the new one
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        manifest = _write_files(contents, temporary)
        _sync(temporary)
        temporary.chmod(0o755)
        _replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return manifest


def require_free(path: Path) -> None:
    """Refuse a place where something stands that a bundle must not replace.

    Raises:
        BundleError: a file, or a folder of anything but a bundle.

    """
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty and not (path / MANIFEST).is_file():
        raise BundleError(f"{path} is not a bundle, so it is not replaced: name another folder")


def update_current_link(link: Path, target: Path) -> None:
    """Make `link` (as `bundles/current`) point to a bundle beside it, atomically."""
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.name, target_is_directory=True)
    temporary.replace(link)


def _write_files(contents: BundleContents, folder: Path) -> Manifest:
    checkpoint.save(contents.network, folder, contents.dtype)
    onnx_export.write(contents.network, folder / ONNX, contents.dtype)
    model_sha256 = sha256(folder / WEIGHTS)
    gallery = contents.gallery
    notes = []
    for layer, built in contents.indexes.items():
        built.write(folder / f"{layer}.faiss")
        notes.append(
            IndexMetadata(
                layer=layer,
                file=f"{layer}.faiss",
                factory=built.factory,
                dimension=built.dimension,
                count=len(built),
                model_sha256=model_sha256,
                ids_sha256=gallery.ids_sha256,
                quality=contents.qualities[layer],
            )
        )
    dump(IndexesFile(indexes=tuple(notes)), folder / INDEXES)
    dump(GalleryFile(ids=gallery.ids, labels=tuple(gallery.labels.tolist())), folder / GALLERY)
    if gallery.pixels is not None:
        np.save(folder / PIXELS, gallery.pixels, allow_pickle=False)
    if contents.novelty:
        novelty.save(contents.novelty.novelty, folder / NOVELTY)
    if contents.ranges:
        dump(contents.ranges, folder / RANGES)
    for one in contents.records:
        record.write(one, folder / EXPERIMENTS)
    (folder / FIGURES).mkdir()
    for name, figure in contents.figures.items():
        (folder / FIGURES / name).write_bytes(figure)
    manifest = Manifest(
        name=contents.name,
        run_id=contents.run_id,
        version=_version(folder),
        created_at=datetime.now(UTC),
        classes=contents.classes,
        dataset=contents.dataset,
        gallery=GalleryMetadata(count=len(gallery), pixels=gallery.pixels is not None),
        metrics=contents.metrics,
        novelty=_note(contents.novelty),
        files={},
    )
    (folder / CARD).write_text(contents.card(manifest), encoding="utf-8")
    files = {name: reference(folder / name) for name in _names(folder)}
    manifest = manifest.model_copy(update={"files": files})
    dump(manifest, folder / MANIFEST)
    return manifest


def _note(fitted: Fitted | None) -> NoveltyMetadata | None:
    if fitted is None:
        return None
    return NoveltyMetadata(
        threshold=THRESHOLD,
        familiar_share=fitted.familiar_share,
        references=len(fitted.novelty),
    )


def _version(folder: Path) -> str:
    """Twelve digits that change when anything that is served changes."""
    digest = hashlib.sha256()
    for name in _names(folder):
        digest.update(f"{name} {sha256(folder / name)}\n".encode())
    return digest.hexdigest()[:12]


def _names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _sync(folder: Path) -> None:
    """Have everything on disk before the folder gets its name."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(new: Path, path: Path) -> None:
    """Put a folder in the place of another, at one stroke where the system can do it.

    Elsewhere the old one steps aside first, or back: a rename does not replace a folder.
    """
    aside = path.with_name(f".{path.name}-old-{os.getpid()}")
    if path.exists():
        if _exchange(new, path):
            shutil.rmtree(new, ignore_errors=True)
            return
        path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        if aside.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders with Linux's `renameat2`; False where there is none, or it cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if renameat2 is None:
        return False
    swapped: int = renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), EXCHANGE)
    return swapped == 0
