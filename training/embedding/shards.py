"""Shards: embedded images on disk, so many to a file, each written whole or not at all.

A shard is a Parquet file of ids, labels, pictures as PNG and unit vectors as fp16, with checksums,
in the form of a gallery's backup.
Knows files and columns; nothing of networks.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from training.base_model import Frozen
from training.index.cosine import Vectors, normalise
from training.models.blocknet import Layer

_NOTE = b"kindred"


class ShardError(RuntimeError):
    """A shard is damaged, or does not belong here; the message names the file."""


class ShardMetadata(Frozen):
    """What a shard says of itself: the network, the images that it was to hold, those it could not.

    `members_sha256` is over the paths of all of them; `unreadable` names those that are no picture.
    """

    network: str
    members_sha256: str
    count: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """Images, what the network takes each for, and its vectors [N, dimension], of any length.

    A label of None is one that nobody gave: the network's own stands for it.
    """

    ids: Sequence[str]
    labels: Sequence[str | None]
    predicted: Sequence[str]
    images: Sequence[bytes]
    vectors: dict[Layer, Vectors]


def name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:06d}.parquet"


def schema(dimensions: dict[Layer, int]) -> pa.Schema:
    """The columns of a gallery's backup, so that a service imports a shard as it is."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("label", pa.string(), nullable=False),
            pa.field("label_predicted", pa.bool_(), nullable=False),
            pa.field("predicted", pa.string()),
            pa.field("attributes", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("created_at", pa.timestamp("us", "UTC")),
            pa.field("network", pa.string()),
            pa.field("png", pa.binary()),
            *(
                pa.field(f"vector_{layer}", pa.list_(pa.float16(), dimension))
                for layer, dimension in dimensions.items()
            ),
        ],
        metadata={b"kind": b"kindred gallery 1"},
    )


def digest_of(paths: Sequence[str]) -> str:
    """The hash of these paths in this order."""
    return hashlib.sha256("\n".join(paths).encode()).hexdigest()


class Writer:
    """Writes one shard beside its place; `finish` gives it its name, anything else leaves none."""

    def __init__(self, file: Path, network: str, dimensions: dict[Layer, int]) -> None:
        self._file = file
        self._network = network
        self._temporary = file.with_name(f".{file.name}-{uuid.uuid4().hex[:12]}")
        self._schema = schema(dimensions)
        self._writer = pq.ParquetWriter(
            self._temporary,
            self._schema,
            compression="zstd",
            use_dictionary=["label", "predicted", "attributes", "source", "network"],
            write_page_checksum=True,
        )

    def __enter__(self) -> Self:
        return self

    def write(self, rows: Rows) -> None:
        """Append rows: no more than these are in memory."""
        count = len(rows.ids)
        labels = [given or own for given, own in zip(rows.labels, rows.predicted, strict=True)]
        columns: dict[str, Sequence[object]] = {
            "id": rows.ids,
            "label": labels,
            "label_predicted": [label is None for label in rows.labels],
            "predicted": rows.predicted,
            "attributes": ["{}"] * count,
            "source": ["added"] * count,
            "created_at": [datetime.now(UTC)] * count,
            "network": [self._network] * count,
            "png": rows.images,
        }
        arrays = [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else _lists(rows.vectors[field.name.removeprefix("vector_")], field.type)
            for field in self._schema
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._writer.write_batch(batch)

    def finish(self, note: ShardMetadata) -> None:
        """Have it on disk, then give it its name, at once."""
        self._writer.add_key_value_metadata({_NOTE: note.model_dump_json()})
        self._writer.close()
        with self._temporary.open("rb") as written:
            os.fsync(written.fileno())
        self._temporary.replace(self._file)
        _sync_folder(self._file.parent)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._temporary.unlink(missing_ok=True)


def _lists(vectors: Vectors, kind: pa.DataType) -> pa.Array:
    """Vectors as fp16 at length 1."""
    unit = normalise(vectors).astype(np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(unit.ravel()), type=kind)


def verify(file: Path) -> ShardMetadata:
    """Read all of a shard, every page against its checksum, and give what it says of itself.

    Raises:
        ShardError: it is damaged, or not a shard.

    """
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            note = ShardMetadata.model_validate_json(
                (opened.metadata.metadata or {}).get(_NOTE, b"")
            )
            rows = sum(batch.num_rows for batch in opened.iter_batches(batch_size=256))
    except (OSError, pa.ArrowException, ValidationError) as error:
        raise ShardError(f"{file} is damaged, or is not a shard: {error}") from error
    if rows != note.count:
        raise ShardError(f"{file} has {rows} rows and says that they are {note.count}")
    return note


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_job(folder: Path, terms: dict[str, str | int | list[str]]) -> None:
    """Have all who write into a folder make the same shards: the first to come says which.

    Raises:
        ShardError: the folder holds shards of something else; says of what.

    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "embedding.json"
    temporary = folder / f".embedding-{uuid.uuid4().hex[:12]}"
    temporary.write_text(json.dumps(terms, indent=1) + "\n", encoding="utf-8")
    try:
        os.link(temporary, place)  # whole, and only if nobody was before us
    except FileExistsError:
        found = json.loads(place.read_text(encoding="utf-8"))
        if found != terms:
            other = ", ".join(
                f"{key} {found.get(key)!r}, not {value!r}"
                for key, value in terms.items()
                if found.get(key) != value
            )
            raise ShardError(
                f"{folder} holds shards of something else ({other}): name another folder"
            ) from None
    finally:
        temporary.unlink()
