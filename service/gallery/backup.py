"""Exports a gallery to one Parquet file, and imports it: for backups, and to change backends.

Uses the protocols alone, a batch at a time, so that it works with any size and backend. Knows
nothing of requests.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import ConflictError, KindredError, NoPixelsError, NotFoundError
from service.gallery.protocol import Gallery, View
from service.gallery.types import Addition, Item
from training.bundle import Vectors

BATCH: Final = 256
"""Images of one batch: 8 MB of vectors."""
VECTOR: Final = "vector_"
"""The prefix of the columns of vectors; the layer's name follows."""
KIND: Final = b"kindred gallery 1"
_FIELDS: Final = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("label", pa.string(), nullable=False),
    pa.field("label_predicted", pa.bool_(), nullable=False),
    pa.field("predicted", pa.string()),
    pa.field("attributes", pa.string(), nullable=False),  # JSON
    pa.field("source", pa.string(), nullable=False),
    pa.field("created_at", pa.timestamp("us", "UTC")),
    pa.field("network", pa.string()),  # that made the vectors; null where there are none
    pa.field("png", pa.binary()),
)


class BackupError(RuntimeError):
    """The file is not a backup, or cannot be written. The message says which."""


@dataclass(frozen=True)
class ImportResult:
    """Counts of what an import did."""

    added: int
    changed: int
    unchanged: int
    removed: int


def write(gallery: Gallery, file: Path, on_images: Callable[[int], None] = lambda _: None) -> int:
    """Write all images of the current snapshot to a file; return how many.

    The file appears once it is complete. Vectors are fp16 unit vectors. Outdated vectors are left
    out, so an import has these images embedded again. Images removed during the export are left
    out too.

    Raises:
        BackupError: the file cannot be written.

    """
    view = gallery.snapshot()
    vectors = [
        pa.field(f"{VECTOR}{layer}", pa.list_(pa.float16(), dimension))
        for layer, dimension in view.dimensions.items()
    ]
    schema = pa.schema([*_FIELDS, *vectors], metadata={b"kind": KIND})
    temporary = file.with_name(f".{file.name}-{os.getpid()}")
    count = 0
    try:
        with temporary.open("wb") as sink:
            with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
                for items in _pages(view):
                    table = _table(view, items, gallery.network, schema)
                    writer.write_table(table)
                    count += table.num_rows
                    on_images(len(items))
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(file)
    except OSError as error:
        raise BackupError(f"{file} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def count(file: Path) -> int:
    """Return the number of images in a file.

    Raises:
        BackupError: the file is not a backup.

    """
    with _opened(file) as opened:
        return int(opened.metadata.num_rows)


def read(
    gallery: Gallery,
    file: Path,
    *,
    mirror: bool = False,
    on_images: Callable[[int], None] = lambda _: None,
) -> ImportResult:
    """Import all images of a file; they replace images of the same ids.

    With `mirror`, images that are not in the file are removed. An interrupted import can be run
    again.

    Raises:
        BackupError: the file is not a backup.
        KindredError: the gallery cannot be changed; the images imported so far stay.

    """
    outcomes: list[str] = []
    ids: set[str] = set()
    with _opened(file) as opened:
        for batch in opened.iter_batches(BATCH):
            additions = list(_additions(batch))
            outcomes += _import(gallery, additions)
            ids.update(one.item.id for one in additions)
            on_images(len(additions))
    surplus = [
        item.id
        for items in _pages(gallery.snapshot())
        for item in items
        if mirror and item.id not in ids
    ]
    for removal in [gallery.remove(image_id) for image_id in surplus]:
        removal.result()
    return ImportResult(
        added=outcomes.count("created"),
        changed=outcomes.count("replaced"),
        unchanged=outcomes.count("unchanged"),
        removed=len(surplus),
    )


def _import(gallery: Gallery, additions: Sequence[Addition]) -> list[str]:
    """Add images, or edit those that are there already; return the outcome of each."""
    outcomes: list[str] = []
    known = [one for one in additions if one.png is None and _has(gallery, one.item.id)]
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


def _has(gallery: Gallery, image_id: str) -> bool:
    try:
        gallery.snapshot().get(image_id)
    except NotFoundError:
        return False
    return True


def _pages(view: View) -> Iterator[tuple[Item, ...]]:
    after = ""
    while True:
        page = view.page(BATCH, after=after)
        if page.items:
            yield page.items
        if page.next is None:
            return
        after = page.next


def _table(view: View, items: Sequence[Item], network: str, schema: pa.Schema) -> pa.Table:
    pngs = {item.id: png for item in items for png in _png(view, item.id)}
    items = [item for item in items if item.id in pngs]
    outdated = view.outdated(list(pngs))  # before the vectors, which may be renewed in between
    own = [image_id for image_id in pngs if image_id not in outdated]
    found = {layer: view.vectors(layer, own, missing="skip") for layer in view.layers}
    fresh = np.array(
        [all(item.id in by_id for by_id in found.values()) for item in items], np.bool_
    )
    columns: dict[str, Any] = {  # Any: the values of a column, or an Arrow array
        "id": [item.id for item in items],
        "label": [item.label for item in items],
        "label_predicted": [item.label_predicted for item in items],
        "predicted": [item.predicted for item in items],
        "attributes": [json.dumps(dict(item.attributes)) for item in items],
        "source": [item.source for item in items],
        "created_at": [item.created_at for item in items],
        "network": [network if one else None for one in fresh],
        "png": list(pngs.values()),
    }
    for layer, by_id in found.items():
        field = schema.field(f"{VECTOR}{layer}")
        vectors = np.zeros((len(items), field.type.list_size), np.float16)
        for row in np.flatnonzero(fresh):
            vectors[row] = by_id[items[row].id]
        columns[field.name] = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.ravel()), field.type.list_size, mask=pa.array(~fresh)
        )
    arrays = [
        columns[field.name]
        if field.name.startswith(VECTOR)
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _png(view: View, image_id: str) -> list[bytes | None]:
    """Return the PNG of an image, or None if it has no pixels; empty if it was removed."""
    try:
        return [view.image(image_id)]
    except NoPixelsError:
        return [None]
    except NotFoundError:
        return []


def _opened(file: Path) -> pq.ParquetFile:
    try:
        opened = pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise BackupError(f"{file} cannot be read as a backup: {error}") from error
    if (opened.schema_arrow.metadata or {}).get(b"kind") != KIND:
        opened.close()
        raise BackupError(f"{file} is not a backup of a gallery, or of another version")
    return opened


def _additions(batch: pa.RecordBatch) -> Iterator[Addition]:
    layers = [name for name in batch.schema.names if name.startswith(VECTOR)]
    vectors = {
        name.removeprefix(VECTOR): np.asarray(batch[name].values).reshape(batch.num_rows, -1)
        for name in layers
    }
    plain = batch.drop_columns(layers).to_pylist()
    for row, fields in enumerate(plain):
        created_at = fields["created_at"]
        network = fields.pop("network")
        png = fields.pop("png")
        fields["attributes"] = json.loads(fields["attributes"])
        fields["created_at"] = created_at and created_at.astimezone(UTC)
        found: dict[Any, Vectors] = {
            layer: rows[row].astype(np.float32) for layer, rows in vectors.items()
        }
        yield Addition(Item(**fields), png, found if network else {}, network or "")
