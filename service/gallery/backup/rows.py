"""Checks each row of a backup, by the rules that hold over HTTP, and converts it to an addition.

Knows rows and the gallery that takes them; nothing of files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from io import BytesIO
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    StringConstraints,
    ValidationError,
)

from service.errors import NotFoundError
from service.gallery.backup.format import VECTORS
from service.gallery.protocol import Gallery
from service.gallery.types import Addition, Item
from service.schemas.gallery import Attributes
from training.bundle import Fp16Vectors, Layer

MAX_PNG: Final = 192 * 2**10
"""Bytes of one image: an uncompressed one of 224 x 224 has 147 KB."""

_Id = Annotated[str, StringConstraints(pattern=r"^(?!\.{1,2}$)[^/\x00-\x1f\x7f]{1,600}$")]
"""An id that a URL can name. Ids of added images are stricter, but a bundle's are file names."""
_Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
_Label = Annotated[str, StringConstraints(max_length=255)]
"""Empty for none, if no class is predicted either."""


class RowError(ValueError):
    """A row cannot be imported; the message names the image and the reason."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, regex_engine="python-re")

    id: _Id
    label: _Label
    label_predicted: bool
    predicted: _Text | None
    attributes: Annotated[Json[Attributes], BeforeValidator(lambda text: text or "{}")]
    source: Literal["bundle", "added"]
    created_at: AwareDatetime | None
    network: _Text | None
    png: Annotated[bytes, Field(max_length=MAX_PNG)] | None


@dataclass(frozen=True)
class Target:
    """What a gallery can take: its network, classes and layers, and the ids that it has."""

    gallery: Gallery
    classes: frozenset[str]
    dimensions: Mapping[Layer, int]

    @classmethod
    def of(cls, gallery: Gallery) -> "Target":
        """Return what a gallery can take."""
        view = gallery.snapshot()
        return cls(gallery, frozenset(view.classes), view.dimensions)

    def has(self, image_id: str) -> bool:
        """Return whether the gallery has an image of this id now."""
        try:
            self.gallery.snapshot().get(image_id)
        except NotFoundError:
            return False
        return True

    def additions(self, batch: pa.RecordBatch) -> Iterator[Addition]:
        """Convert the rows of a batch.

        Raises:
            RowError: a row does not have the form of a backup, or does not fit the gallery.

        """
        columns = {
            VECTORS[name]: _vectors(batch.column(name))
            for name in batch.schema.names
            if VECTORS.get(name) in self.dimensions
        }
        plain = batch.drop_columns([name for name in batch.schema.names if name in VECTORS])
        for number, fields in enumerate(plain.to_pylist()):
            row = _parse(fields)
            vectors = {
                layer: rows[number] for layer, (rows, valid) in columns.items() if valid[number]
            }
            yield self._addition(row, vectors if row.network else {})

    def _addition(self, row: _Row, vectors: dict[Layer, Fp16Vectors]) -> Addition:
        _check_png(row, self.gallery.side)
        if not row.label and row.predicted is not None:
            raise RowError(f"image {row.id!r}: its label is empty, and {row.predicted!r} predicted")
        if row.network:
            self._check_fit(row, vectors)
        for layer, vector in vectors.items():
            if not np.isfinite(vector).all() or not vector.any():
                raise RowError(f"image {row.id!r}: its vector at {layer} is zero or not finite")
        item = Item(
            id=row.id,
            label=row.label,
            predicted=row.predicted,
            label_predicted=row.label_predicted,
            attributes=row.attributes,
            source=row.source,
            created_at=row.created_at and row.created_at.astimezone(UTC),
        )
        as_float32 = {layer: vector.astype(np.float32) for layer, vector in vectors.items()}
        return Addition(item, row.png, as_float32, row.network or "")

    def _check_fit(self, row: _Row, vectors: Mapping[Layer, Fp16Vectors]) -> None:
        """Refuse vectors of other classes, and vectors that could never be searched."""
        if row.predicted is not None and row.predicted not in self.classes:
            raise RowError(
                f"image {row.id!r}: the backup is of a network with other classes: "
                f"{row.predicted!r} is none of this bundle"
            )
        dimensions = {layer: len(vector) for layer, vector in vectors.items()}
        if dimensions == self.dimensions:
            return
        is_renewable = row.png is not None or self.has(row.id)
        if row.network == self.gallery.network or not is_renewable:
            raise RowError(
                f"image {row.id!r}: its vectors have the dimensions {dimensions}, and those of "
                f"this bundle {dict(self.dimensions)}"
            )


def _parse(fields: Mapping[str, object]) -> _Row:
    try:
        return _Row.model_validate(fields)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3]
        )
        raise RowError(f"image {str(fields['id'])[:100]!r}: {reasons}") from error


def _vectors(column: pa.FixedSizeListArray) -> tuple[Fp16Vectors, npt.NDArray[np.bool_]]:
    """Return the vectors of all rows [N, dimension], and which rows have one."""
    size = column.type.list_size
    values: Any = np.asarray(column.values)  # Any: pyarrow has no types; nulls become NaN
    rows = values.astype(np.float16, copy=False).reshape(-1, size)[column.offset :]
    return rows[: len(column)], np.asarray(column.is_valid())


def _check_png(row: _Row, side: int) -> None:
    if row.png is None:
        return
    try:
        with Image.open(BytesIO(row.png), formats=("PNG",)) as image:
            image.load()
    except Exception as error:  # Pillow raises many kinds of errors
        raise RowError(f"image {row.id!r}: its PNG is damaged: {error}") from error
    if (image.size, image.mode) != ((side, side), "RGB"):
        raise RowError(
            f"image {row.id!r}: its PNG is {image.mode} of {image.width} x {image.height} pixels, "
            f"not RGB of {side} x {side}"
        )
