"""Imports backups into a gallery: all rows are checked before the first is kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import ConflictError, KindredError
from service.gallery.backup.format import BATCH, BackupError, opened
from service.gallery.backup.rows import RowError, Target
from service.gallery.protocol import Gallery
from service.gallery.types import Addition, Item


@dataclass(frozen=True)
class ImportResult:
    """Counts of what an import did."""

    added: int
    changed: int
    unchanged: int
    removed: int


def read(
    gallery: Gallery,
    *files: Path,
    mirror: bool = False,
    on_images: Callable[[int], None] = lambda _: None,
) -> ImportResult:
    """Import all images of files; they replace images of the same ids.

    Every row of every file is checked first; `on_images` is called for this too. The changes are
    one transaction where the gallery has transactions. With `mirror`, images that are in no file
    are removed.

    Raises:
        BackupError: a file is not a backup, or does not fit the gallery; nothing has changed.
        KindredError: the gallery cannot be changed.

    """
    target = Target.of(gallery)
    ids: set[str] = set()
    for file in files:
        ids |= _check(target, file, on_images)
    outcomes: list[str] = []
    with gallery.atomic():
        for file in files:
            for additions in _batches(target, file):
                outcomes += _import(gallery, target, additions)
                on_images(len(additions))
        pages = gallery.snapshot().pages(BATCH) if mirror else ()
        surplus = [item.id for page in pages for item in page if item.id not in ids]
        for removal in [gallery.remove(image_id) for image_id in surplus]:
            removal.result()
    return ImportResult(
        added=outcomes.count("created"),
        changed=outcomes.count("replaced"),
        unchanged=outcomes.count("unchanged"),
        removed=len(surplus),
    )


def _check(target: Target, file: Path, on_images: Callable[[int], None]) -> set[str]:
    """Check all rows of a file; return their ids."""
    ids: set[str] = set()
    for additions in _batches(target, file):
        for addition in additions:
            if addition.item.id in ids:
                raise BackupError(f"{file}: image {addition.item.id!r} is in two rows")
            ids.add(addition.item.id)
        on_images(len(additions))
    return ids


def _batches(target: Target, file: Path) -> Iterator[list[Addition]]:
    with opened(file) as backup:
        missing = backup.metadata.num_rows
        for batch in backup.iter_batches(BATCH):
            try:
                yield list(target.additions(batch))
            except RowError as error:
                raise BackupError(f"{file}: {error}. Nothing was imported") from error
            missing -= batch.num_rows
        if missing:
            raise BackupError(f"{file} is damaged: {missing} rows are missing")


def _import(gallery: Gallery, target: Target, additions: Sequence[Addition]) -> list[str]:
    """Add images, or edit those that are there already; return the outcome of each."""
    outcomes: list[str] = []
    known = [one for one in additions if one.png is None and target.has(one.item.id)]
    ids = {one.item.id for one in known}
    new = [one for one in additions if one.item.id not in ids]
    for one, first in zip(new, gallery.add(new).result(), strict=True):
        conflicts = isinstance(first, ConflictError)
        added = gallery.add([one], replace=True).result()[0] if conflicts else first
        if isinstance(added, KindredError):
            raise added
        edited = added.outcome == "unchanged" and _edit(gallery, one.item)
        outcomes.append("replaced" if edited else added.outcome)
    outcomes += ["replaced" if _edit(gallery, one.item) else "unchanged" for one in known]
    return outcomes


def _edit(gallery: Gallery, item: Item) -> bool:
    """Set the label and attributes of the image of that id; return whether they changed."""
    before = gallery.snapshot().get(item.id)
    if before == before.annotated_as(item):
        return False
    gallery.edit(item.id, lambda _: item).result()
    return True
