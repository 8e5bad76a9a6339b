"""Exports a gallery to a file, a link to one, or a pipe."""

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import NoPixelsError, NotFoundError
from service.gallery.backup.format import BATCH, COUNT, VECTORS, BackupError, column_of, schema_of
from service.gallery.protocol import Gallery, View
from service.gallery.types import Item
from training.bundle import Vectors


def write(gallery: Gallery, file: Path, on_images: Callable[[int], None] = lambda _: None) -> int:
    """Write all images of the current snapshot to a file; return how many.

    A regular file appears, or is replaced, once it is complete. A link stays, and its target is
    replaced. Anything else, such as a pipe, is written to. Vectors are fp16 unit vectors. Outdated
    vectors are left out, so an import has these images embedded again. Images removed during the
    export are left out too.

    Raises:
        BackupError: the file cannot be written.

    """
    view = gallery.snapshot()
    schema = schema_of(view.dimensions)
    count = 0
    try:
        with (
            _sink(file) as sink,
            pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            for items in view.pages(BATCH):
                table = _table(view, items, gallery.network, schema)
                writer.write_table(table)
                count += table.num_rows
                on_images(len(items))
            writer.add_key_value_metadata({COUNT: str(count)})
    except (OSError, UnicodeError, pa.ArrowException) as error:
        raise BackupError(f"{file} cannot be written: {error}") from error
    return count


@contextmanager
def _sink(file: Path) -> Iterator[BinaryIO]:
    """Open a file for writing; an error leaves a regular file as it was."""
    if file.exists() and not file.is_file():
        with file.open("wb") as sink:
            yield sink
        return
    target = Path(os.path.realpath(file))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    temporary = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        with temporary.open("wb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _table(view: View, items: Sequence[Item], network: str, schema: pa.Schema) -> pa.Table:
    pngs = {item.id: png for item in items for png in _png(view, item.id)}
    items = [item for item in items if item.id in pngs]
    outdated = view.outdated(list(pngs))  # before the vectors, which may be renewed in between
    own = [image_id for image_id in pngs if image_id not in outdated]
    found = {layer: view.vectors(layer, own, missing="skip") for layer in view.layers}
    fresh = np.array(
        [all(_is_sound(by_id.get(item.id)) for by_id in found.values()) for item in items], np.bool_
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
        field = schema.field(column_of(layer))
        vectors = np.zeros((len(items), field.type.list_size), np.float16)
        for row in np.flatnonzero(fresh):
            vectors[row] = by_id[items[row].id]
        columns[field.name] = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.ravel()), field.type.list_size, mask=pa.array(~fresh)
        )
    arrays = [
        columns[field.name] if field.name in VECTORS else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _is_sound(vector: Vectors | None) -> bool:
    """Return whether an import takes a vector; other images are embedded again."""
    return vector is not None and bool(np.isfinite(vector).all() and vector.any())


def _png(view: View, image_id: str) -> list[bytes | None]:
    """Return the PNG of an image, or None if it has no pixels; empty if it was removed."""
    try:
        return [view.image(image_id)]
    except NoPixelsError:
        return [None]
    except NotFoundError:
        return []
