"""Shards: Parquet files of embedded images, each written atomically.

A shard holds ids, labels, images as PNG and unit vectors as fp16, with checksums, in the format of
a gallery backup. Works on files and columns; must not know networks.
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
from training.models.layers import Layer

_METADATA_KEY = b"kindred"


class ShardError(RuntimeError):
    """A shard is damaged or of another job; the message names the file or folder."""


class ShardMetadata(Frozen):
    """The metadata of a shard: its network, its images and those that could not be decoded.

    `members_sha256` is the hash of all paths, `unreadable` lists the undecodable ones.
    """

    network: str
    members_sha256: str
    count: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """Images with their predicted classes, and vectors [N, dimension] of any length.

    If a label is None, the predicted class is stored as the label, or "" without one.
    """

    ids: Sequence[str]
    labels: Sequence[str | None]
    predicted: Sequence[str | None]
    images: Sequence[bytes]
    vectors: dict[Layer, Vectors]


def file_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:06d}.parquet"


def schema(dimensions: dict[Layer, int]) -> pa.Schema:
    """Return the columns of a gallery backup, so that a service can import a shard.

    Args:
        dimensions: vector length of each layer.

    """
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
    """Compute the sha256 of these paths in this order."""
    return hashlib.sha256("\n".join(paths).encode()).hexdigest()


class ShardWriter:
    """Writes one shard to a temporary file; `finish` renames it, and otherwise it is removed."""

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
        """Append rows; earlier ones are no longer in memory."""
        count = len(rows.ids)
        labels = [
            label or predicted or ""
            for label, predicted in zip(rows.labels, rows.predicted, strict=True)
        ]
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

    def finish(self, metadata: ShardMetadata) -> None:
        """Flush the file to disk, then rename it."""
        self._writer.add_key_value_metadata({_METADATA_KEY: metadata.model_dump_json()})
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
    """Scale vectors to length 1 and convert them to fp16 lists."""
    unit = normalise(vectors).astype(np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(unit.ravel()), type=kind)


def verify(file: Path) -> ShardMetadata:
    """Read a whole shard, verify every page's checksum, and return its metadata.

    Raises:
        ShardError: the file is damaged, or not a shard.

    """
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            metadata = ShardMetadata.model_validate_json(
                (opened.metadata.metadata or {}).get(_METADATA_KEY, b"")
            )
            rows = sum(batch.num_rows for batch in opened.iter_batches(batch_size=256))
    except (OSError, pa.ArrowException, ValidationError) as error:
        raise ShardError(f"{file} is damaged, or is not a shard: {error}") from error
    if rows != metadata.count:
        raise ShardError(f"{file} has {rows} rows, but its metadata says {metadata.count}")
    return metadata


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_job(folder: Path, settings: dict[str, str | int | list[str]]) -> None:
    """Check that all jobs of a folder have the same settings; the first job records them.

    Raises:
        ShardError: the folder holds shards of other settings; the message lists the differences.

    """
    folder.mkdir(parents=True, exist_ok=True)
    settings_file = folder / "embedding.json"
    temporary = folder / f".embedding-{uuid.uuid4().hex[:12]}"
    temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    try:
        os.link(temporary, settings_file)  # atomic, and fails if the file exists
    except FileExistsError:
        recorded = json.loads(settings_file.read_text(encoding="utf-8"))
        if recorded != settings:
            differences = ", ".join(
                f"{key} {recorded.get(key)!r}, not {value!r}"
                for key, value in settings.items()
                if recorded.get(key) != value
            )
            raise ShardError(
                f"{folder} holds shards of another job ({differences}): name another folder"
            ) from None
    finally:
        temporary.unlink()
