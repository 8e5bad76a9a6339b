"""The columns of a backup, and the checks of a file as a whole. Knows Parquet; nothing of rows."""

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from training.bundle import LAYERS, Layer

BATCH: Final = 256
"""Images of one batch: 8 MB of vectors."""
KIND: Final = b"kindred gallery 1"
COUNT: Final = b"count"
"""The metadata with the number of rows, which a damaged footer may change; older files lack it."""
FIELDS: Final = (
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


def column_of(layer: Layer) -> str:
    """Return the name of the column of a layer's vectors."""
    return f"vector_{layer}"


VECTORS: Final[Mapping[str, Layer]] = {column_of(layer): layer for layer in LAYERS}
"""The columns that vectors may have, and their layers."""


def schema_of(dimensions: Mapping[Layer, int]) -> pa.Schema:
    """Return the columns of a backup with vectors of these layers and dimensions."""
    vectors = [
        pa.field(column_of(layer), pa.list_(pa.float16(), dimension))
        for layer, dimension in dimensions.items()
    ]
    return pa.schema([*FIELDS, *vectors], metadata={b"kind": KIND})


def count(file: Path) -> int:
    """Return the number of images in a file.

    Raises:
        BackupError: the file is not a backup.

    """
    with opened(file) as backup:
        return int(backup.metadata.num_rows)


@contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """Open a file and check its columns; refuse one that turns out to be damaged later.

    Raises:
        BackupError: the file cannot be read, or is not a backup.

    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise BackupError(f"{file} is not a regular file: a backup cannot be read from a pipe")
        with (  # Arrow itself cannot open every name
            file.open("rb") as source,
            pq.ParquetFile(source, page_checksum_verification=True) as backup,
        ):
            _check_columns(file, backup.schema_arrow)
            rows = backup.metadata.num_rows
            if (backup.metadata.metadata or {}).get(COUNT, b"%d" % rows) != b"%d" % rows:
                raise BackupError(f"{file} is damaged: it does not have as many rows as it says")
            yield backup
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise BackupError(f"{file} cannot be read as a backup: {error}") from error


def _check_columns(file: Path, found: pa.Schema) -> None:
    if (found.metadata or {}).get(b"kind") != KIND:
        raise BackupError(f"{file} is not a backup of a gallery, or of another version")
    faults = [
        *(f"no column {one.name!r}" for one in FIELDS if one.name not in found.names),
        *(
            f"column {one.name!r} is {one.type}, not {expected}"
            for one in found
            if not _fits(one.type, expected := _expected(one.name))
        ),
    ]
    if len(set(found.names)) < len(found.names):
        faults.append("two columns have the same name")
    if faults:
        raise BackupError(f"{file} does not have the columns of a backup: {'; '.join(faults)}")


def _expected(name: str) -> str:
    """Return the type that a column must have, in words."""
    if name in VECTORS:
        return "a list of halffloat of one size"
    known = {one.name: str(one.type) for one in FIELDS}
    return known.get(name, "one of a backup: remove it")


def _fits(found: pa.DataType, expected: str) -> bool:
    if expected.startswith("a list"):
        return bool(pa.types.is_fixed_size_list(found) and found.value_type == pa.float16())
    return str(found) == expected
