"""A gallery as one Parquet file, and back: a backup, and the road from one home to another.

Goes through the protocol alone, some images at a time, so that neither size nor home matters. Knows
nothing of requests.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import ConflictError, KindredError, NoPixelsError, NotFoundError
from service.gallery.protocol import Gallery, View
from service.gallery.types import Addition, Item
from training.bundle import Layer, Vectors

BATCH: Final = 256
"""Images at a time: 8 MB of vectors."""
VECTOR: Final = "vector_"
"""What the names of columns of vectors begin with; a layer's name follows."""
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
    """The file is not a backup, or cannot be written; the message says what to do."""


@dataclass(frozen=True)
class ImportResult:
    """What became of the images of a file."""

    added: int
    changed: int
    unchanged: int
    removed: int


def write(gallery: Gallery, file: Path, on_images: Callable[[int], None] = lambda _: None) -> int:
    """Write all images as they are now; how many. The file is there when it is whole.

    Vectors are fp16, of length 1. Those that another network made are left out: whoever brings the
    file in embeds these images anew. So are images whose pictures have gone meanwhile.

    Raises:
        BackupError: it cannot be written.

    """
    view = gallery.snapshot()
    dimensions = _dimensions(view)
    schema = pa.schema(
        [
            *_FIELDS,
            *(
                pa.field(f"{VECTOR}{layer}", pa.list_(pa.float16(), dimension))
                for layer, dimension in dimensions.items()
            ),
        ],
        metadata={b"kind": KIND},
    )
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
    """How many images are in a file.

    Raises:
        BackupError: it is not a backup.

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
    """Bring in all images of a file; where there is one of that id already, the file's holds.

    With `mirror`, what is not in the file is removed. Done again after an end half way, it goes on.

    Raises:
        BackupError: it is not a backup.
        KindredError: the gallery cannot be changed; what has been brought in stays.

    """
    outcomes: list[str] = []
    ids: set[str] = set()
    with _opened(file) as opened:
        for batch in opened.iter_batches(BATCH):
            additions = list(_additions(batch))
            outcomes += _import(gallery, additions)
            ids.update(one.item.id for one in additions)
            on_images(len(additions))
    gone = [
        item.id
        for items in _pages(gallery.snapshot())
        for item in items
        if mirror and item.id not in ids
    ]
    for removal in [gallery.remove(image_id) for image_id in gone]:
        removal.result()
    return ImportResult(
        added=outcomes.count("created"),
        changed=outcomes.count("replaced"),
        unchanged=outcomes.count("unchanged"),
        removed=len(gone),
    )


def _import(gallery: Gallery, additions: Sequence[Addition]) -> list[str]:
    """Add images, or make those that are there like them; what became of each."""
    outcomes: list[str] = []
    known = [one for one in additions if one.png is None and _has(gallery, one.item.id)]
    ids = {one.item.id for one in known}
    new = [one for one in additions if one.item.id not in ids]
    for one, first in zip(new, gallery.add(new).result(), strict=True):
        conflicts = isinstance(first, ConflictError)
        said = gallery.add([one], replace=True).result()[0] if conflicts else first
        if isinstance(said, KindredError):
            raise said
        edited = said.outcome == "unchanged" and _edit(gallery, one.item)
        outcomes.append("replaced" if edited else said.outcome)
    outcomes += ["replaced" if _edit(gallery, one.item) else "unchanged" for one in known]
    return outcomes


def _edit(gallery: Gallery, item: Item) -> bool:
    """Give an image that is there another's label and attributes; whether it had others."""

    def said(one: Item) -> object:
        return one.label, one.label_predicted, dict(one.attributes)

    if said(gallery.snapshot().get(item.id)) == said(item):
        return False
    gallery.edit(
        item.id,
        lambda one: replace(
            one,
            label=item.label,
            label_predicted=item.label_predicted,
            attributes=item.attributes,
        ),
    ).result()
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


def _dimensions(view: View) -> dict[Layer, int]:
    return {layer: view.dimension(layer) for layer in view.layers}


def _table(view: View, items: Sequence[Item], network: str, schema: pa.Schema) -> pa.Table:
    pictures = {item.id: png for item in items for png in _picture(view, item.id)}
    items = [item for item in items if item.id in pictures]
    outdated = view.outdated(list(pictures))  # before the vectors, which may be renewed in between
    own = [image_id for image_id in pictures if image_id not in outdated]
    found = {layer: view.vectors(layer, own, missing="skip") for layer in view.layers}
    fresh = np.array([all(item.id in of for of in found.values()) for item in items], np.bool_)
    columns: dict[str, Any] = {  # Any: whatever Arrow takes
        "id": [item.id for item in items],
        "label": [item.label for item in items],
        "label_predicted": [item.label_predicted for item in items],
        "predicted": [item.predicted for item in items],
        "attributes": [json.dumps(dict(item.attributes)) for item in items],
        "source": [item.source for item in items],
        "created_at": [item.created_at for item in items],
        "network": [network if one else None for one in fresh],
        "png": list(pictures.values()),
    }
    for layer, of in found.items():
        field = schema.field(f"{VECTOR}{layer}")
        vectors = np.zeros((len(items), field.type.list_size), np.float16)
        for row in np.flatnonzero(fresh):
            vectors[row] = of[items[row].id]
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


def _picture(view: View, image_id: str) -> list[bytes | None]:
    """The PNG of an image, or None where it has no pixels; nothing where it has gone."""
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
    for row, said in enumerate(plain):
        created_at = said["created_at"]
        network = said.pop("network")
        png = said.pop("png")
        said["attributes"] = json.loads(said["attributes"])
        said["created_at"] = created_at and created_at.astimezone(UTC)
        made: dict[Any, Vectors] = {
            layer: of[row].astype(np.float32) for layer, of in vectors.items()
        }
        yield Addition(Item(**said), png, made if network else {}, network or "")
