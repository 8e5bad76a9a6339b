"""Brings the gallery of a bundle up to date with its folder; the network is kept.

Works on bundles and data sets; must not know how networks are trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training import bundle
from training.bundle import Bundle, Gallery
from training.bundle.manifest import GalleryPart, Manifest, read_manifest
from training.bundle.updater import write_source, write_update
from training.data.dataset import Changes, Dataset, DatasetError, load_changes
from training.data.folder_layout import NO_CLASS
from training.data.names import distinct_ids
from training.embedding.embed import batch_count, embed
from training.index import cosine, maps
from training.index.cosine import CosineIndex, Positions, Vectors, normalise
from training.index.maps import LayerMap
from training.index.tuning import tune
from training.models.layers import Layer
from training.workflows import progress
from training.workflows.existing import is_up_to_date
from training.workflows.progress import print_line

MAX_SHOWN = 5
NEW: GalleryPart = "new"


@dataclass(frozen=True)
class Merge:
    """The images of the new gallery: rows `kept` of the old one, then rows `fresh` of new images.

    `changed` counts the images whose file is known and whose pixels are not.
    """

    kept: Positions
    fresh: Positions
    changed: int

    @property
    def added(self) -> int:
        """The number of images whose file was not known."""
        return len(self.fresh) - self.changed


def refresh(path: Path, data: Path, device: torch.device) -> None:
    """Update a bundle if the folder that its images are from has changed, and say so.

    If the folder cannot be read, the bundle stays as it is, which is said too.
    """
    manifest, data = read_manifest(path), data.expanduser()
    if manifest.source is None:
        print_line(f"{path} does not know its files: remove it to build it again")
        return
    try:
        if is_up_to_date(manifest, data):
            return
        if manifest.gallery.images != "all":
            print_line(f"{data} has changed: `python -m training release` builds its bundle again")
            return
        _update(bundle.load(path), data, device)
    except (DatasetError, OSError) as error:
        print_line(f"{error}. The bundle is served as it was built", style="yellow")


def _update(old: Bundle, data: Path, device: torch.device) -> None:
    gallery, classes = old.gallery, old.manifest.classes
    files = gallery.files or ()
    known = dict(zip(files, gallery.states or (), strict=True))
    with progress.track(f"reading what has changed in {data.name}") as on_image:
        changes = load_changes(data, known, classes, old.spec.side, on_image)
    merge = _merge(gallery, changes)
    same = len(merge.kept) == len(gallery) and not len(merge.fresh)
    if same and not changes.other_classes:
        write_source(old, changes.source)  # only the time of a file has changed
        return
    _print_changes(old.manifest, data, merge, len(gallery) - len(merge.kept), changes)
    if same:
        return
    vectors = _embed(old, changes.images, merge.fresh, device)
    merged = _merged_gallery(gallery, changes.images, merge, classes)
    indexes = {
        layer: _merged_index(index, merge.kept, vectors[layer])
        for layer, index in old.indexes.items()
    }
    qualities = {layer: tune(index) for layer, index in indexes.items()}
    places = {
        layer: _merged_map(old, layer, merge.kept, vectors[layer])
        for layer in (old.maps if len(merge.kept) else ())
    }
    # With other classes, the old state stays, so that the next start names them again.
    source = old.manifest.source if changes.other_classes else changes.source
    fingerprint = _fingerprint(old, merged)
    manifest = write_update(old, merged, indexes, qualities, source, fingerprint, places)
    print_line(f"{manifest.name} {manifest.version}: {manifest.gallery.count:,} images")


def _merge(gallery: Gallery, changes: Changes) -> Merge:
    """Find the rows that stay: those of kept files, and of files read again with equal pixels."""
    row_of = {file: row for row, file in enumerate(gallery.files or ())}
    kept = {row_of[file] for file in changes.kept}
    fresh, changed = [], 0
    images = changes.images
    for position, file in enumerate(images.files.paths if images and images.files else ()):
        row = row_of.get(file)
        if row is not None and _same_pixels(gallery, row, images, position):
            kept.add(row)
        else:
            fresh.append(position)
            changed += row is not None
    return Merge(np.array(sorted(kept), np.int64), np.array(fresh, np.int64), changed)


def _same_pixels(gallery: Gallery, row: int, images: Dataset | None, position: int) -> bool:
    if gallery.pixels is None or images is None:
        return False
    return np.array_equal(gallery.pixels[row], images.images[position].permute(1, 2, 0).numpy())


def _embed(
    old: Bundle, images: Dataset | None, fresh: Positions, device: torch.device
) -> dict[Layer, Vectors]:
    layers: Sequence[Layer] = tuple({**old.indexes, **old.maps})
    if images is None or not len(fresh):
        return {layer: np.zeros((0, old.spec.layer(layer).length), np.float32) for layer in layers}
    with progress.track("embedding", batch_count(len(fresh))) as on_batch:
        return embed(old.network, images.images[fresh], layers, device, on_batch)


def _merged_index(index: CosineIndex, kept: Positions, new: Vectors) -> CosineIndex:
    """Index the vectors that stay and the new ones, in the way of the old index."""
    if index.projection is None:
        vectors = np.concatenate([index.reconstruct(kept), normalise(new)])
        return cosine.build(vectors, fp16=index.factory == "SQfp16")
    fresh = cosine.from_fp16(normalise(new).astype(np.float16))
    merged = cosine.concatenate([(index, kept), (fresh, np.arange(len(new)))], index.projection)
    merged.k_factor = index.k_factor
    return merged


def _merged_map(old: Bundle, layer: Layer, kept: Positions, new: Vectors) -> LayerMap:
    """Keep the places of the images that stay; put new ones among their nearest of these."""
    before = old.maps[layer]
    if before.reduction is None or before.reduced is None:
        scores, nearest = old.indexes[layer].search(new, maps.NEAREST, row_ids=kept)
        return LayerMap(np.concatenate([before.places[kept], before.place(scores, nearest)]))
    of_kept = LayerMap(before.places[kept], before.reduction, before.reduced[kept])
    placed = of_kept.place(*of_kept.nearest(new, maps.NEAREST))
    return LayerMap(
        np.concatenate([of_kept.places, placed]),
        before.reduction,
        np.concatenate([before.reduced[kept], before.reduction(new)]),
    )


def _merged_gallery(
    gallery: Gallery, images: Dataset | None, merge: Merge, classes: Sequence[str]
) -> Gallery:
    kept, fresh = merge.kept.tolist(), merge.fresh.tolist()
    ids = tuple(gallery.ids[row] for row in kept)
    parts = None if gallery.parts is None else [gallery.parts[row] for row in kept]
    if images is None or images.files is None or not fresh:
        return _rows(gallery, kept, ids, parts)
    files = images.files
    old = _rows(gallery, kept, ids, parts)
    label_of = {name: label for label, name in enumerate(classes)}
    labels = [
        label_of[images.classes[int(images.labels[n])]] if classes else NO_CLASS for n in fresh
    ]
    new_pixels = images.images[fresh].permute(0, 2, 3, 1).numpy()

    def thumbnail(row: int) -> bytes | None:
        if row < len(kept):
            return gallery.thumbnails(kept[row]) if gallery.thumbnails else None
        return files.thumbnails[fresh[row - len(kept)]]

    return Gallery(
        ids=(*ids, *distinct_ids([images.ids[n] for n in fresh], {*ids})),
        labels=np.concatenate([old.labels, np.array(labels, np.int64)]),
        pixels=None if old.pixels is None else np.concatenate([old.pixels, new_pixels]),
        parts=None if parts is None else (*parts, *(NEW for _ in fresh)),
        files=(*(old.files or ()), *(files.paths[n] for n in fresh)),
        states=(*(old.states or ()), *(files.states[n] for n in fresh)),
        thumbnails=thumbnail if gallery.pixels is not None else None,
    )


def _rows(
    gallery: Gallery, kept: list[int], ids: tuple[str, ...], parts: Sequence[GalleryPart] | None
) -> Gallery:
    """Return some images of a gallery."""
    thumbnails = gallery.thumbnails
    return Gallery(
        ids=ids,
        labels=gallery.labels[kept],
        pixels=None if gallery.pixels is None else np.asarray(gallery.pixels)[kept],
        parts=None if parts is None else tuple(parts),
        files=tuple((gallery.files or ())[row] for row in kept),
        states=tuple((gallery.states or ())[row] for row in kept),
        thumbnails=(lambda row: thumbnails(kept[row])) if thumbnails else None,
    )


def _fingerprint(old: Bundle, gallery: Gallery) -> str:
    if gallery.pixels is None:
        return old.manifest.dataset.gallery_fingerprint
    return Dataset(
        name=old.manifest.dataset.gallery_from,
        classes=old.manifest.classes,
        images=torch.from_numpy(np.ascontiguousarray(gallery.pixels.transpose(0, 3, 1, 2))),
        labels=torch.from_numpy(gallery.labels),
        ids=gallery.ids,
    ).fingerprint


def _print_changes(
    manifest: Manifest, data: Path, merge: Merge, missing: int, changes: Changes
) -> None:
    for line in changes.images.files.unreadable if changes.images and changes.images.files else ():
        print_line(f"left out, cannot be read: {line}", style="yellow")
    again = "trains a new one" if manifest.classes else "builds all again"
    print_line(
        f"{data} has changed since {manifest.created_at:%Y-%m-%d %H:%M} UTC: {merge.added:,} "
        f"images new, {merge.changed:,} changed, {missing - merge.changed:,} gone. The network is "
        f"kept; RETRAIN=1 {again}"
    )
    if changes.class_folders > 1:
        print_line(
            f"{changes.class_folders:,} class folders are there, and this gallery has no classes. "
            "To train a network on them: RETRAIN=1",
            style="yellow",
        )
    if changes.other_classes:
        listed = [f"{name} ({count:,} images)" for name, count in changes.other_classes.items()]
        shown = ", ".join(listed[:MAX_SHOWN]) + (", ..." if len(listed) > MAX_SHOWN else "")
        print_line(
            f"the network does not know these classes, so they are left out: {shown}. To train it "
            "with them: RETRAIN=1",
            style="yellow",
        )
