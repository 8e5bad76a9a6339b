"""The rows of a local gallery on disk, of which everything that is searched is built.

Knows rows; nothing of indexes. But for `png`, only one thread at a time may use it.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.errors import NotFoundError
from service.gallery.conditions import Attributes
from service.gallery.local.sqlite import Database, translate_errors
from service.gallery.stored import read_item
from service.gallery.types import Item, OutdatedImage, Override
from training.bundle import Fp16Vectors, Layer

logger = logging.getLogger(__name__)

_INFINITE: Final = 0x7C00
"""The bits of an fp16 number that are all set if it is infinite or NaN."""
_IMAGES: Final = (
    "SELECT images.*, typeof(png) = 'blob' FROM images LEFT JOIN pictures USING (number)"
)
_PNG: Final = "SELECT png FROM pictures WHERE number = ?"
_VECTORS: Final = "SELECT number, vector FROM vectors WHERE layer = ?"
_OVERRIDES: Final = {
    1: "(SELECT id, 1 AS deleted, '' AS label, 0 AS label_predicted, '{}' AS attributes "
    "FROM removed UNION ALL SELECT id, 0, label, label_predicted, attributes FROM edited)",
    2: "overrides",
}
"""Where the overrides are, by the version of the database."""


@dataclass(frozen=True)
class Row:
    """An added image as stored; its number is never used again."""

    number: int
    item: Item
    network: str


class Store(Database):
    """The rows of a gallery's database."""

    def rows(self) -> list[Row]:
        """Return all added images, without those that have no id."""
        with translate_errors(self.folder):
            rows = map(_row, self._run(_IMAGES))
            return [row for row in rows if row is not None]

    def predicted(self) -> set[str]:
        """Return the classes that networks predicted for the added images."""
        with translate_errors(self.folder):
            found = self._run("SELECT DISTINCT predicted FROM images WHERE predicted IS NOT NULL")
            return {predicted for (predicted,) in found}

    def find(self, image_id: str) -> Row | None:
        """Return the added image of that id, if there is one."""
        found = self._run(f"{_IMAGES} WHERE id = ?", image_id).fetchone()
        return _row(found) if found else None

    def vectors(self, layer: Layer) -> Iterator[tuple[int, Fp16Vectors]]:
        """Yield the number and unit vector [dimension] of each image that has one at a layer."""
        with translate_errors(self.folder):
            for number, blob in self._run(_VECTORS, layer):
                vector = _vector(blob)
                if vector is None:
                    logger.warning("The vector at %s of image %d is damaged", layer, number)
                else:
                    yield number, vector

    def png(self, number: int) -> bytes | None:
        """Return the PNG of an image, if it has one; for any thread, never waits for a change.

        Raises:
            NotFoundError: the image has been removed or replaced.

        """
        found = self._read_committed(_PNG, number)
        if found is None:
            raise NotFoundError("The image has been removed or replaced. Fetch it by its id again.")
        png = found[0]
        return png if isinstance(png, bytes) else None

    def png_in_transaction(self, number: int) -> bytes | None:
        """Return the PNG of an image as the current transaction sees it, if there is one."""
        found = self._run(_PNG, number).fetchone()
        return found[0] if found and isinstance(found[0], bytes) else None

    def insert(
        self, item: Item, network: str, png: bytes | None, vectors: Mapping[Layer, Fp16Vectors]
    ) -> int:
        """Store an image under an id that no other has; return its number."""
        number = self._run(
            "INSERT INTO images VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            *(item.id, item.label, item.label_predicted, item.predicted),
            _json(item.attributes),
            item.created_at.isoformat() if item.created_at else None,
            network,
        ).lastrowid
        assert number is not None  # noqa: S101  set by every insertion
        self._run("INSERT INTO pictures VALUES (?, ?)", number, png)
        self._insert_vectors(number, vectors)
        return number

    def edit(self, item: Item) -> None:
        """Store another label and attributes of an added image."""
        self._run(
            "UPDATE images SET label = ?, label_predicted = ?, attributes = ? WHERE id = ?",
            *(item.label, item.label_predicted, _json(item.attributes), item.id),
        )

    def renew(
        self, number: int, item: Item, network: str, vectors: Mapping[Layer, Fp16Vectors]
    ) -> None:
        """Store another network's vectors and prediction of an added image."""
        self._run(
            "UPDATE images SET network = ?, predicted = ?, label = ? WHERE number = ?",
            *(network, item.predicted, item.label, number),
        )
        self._run("DELETE FROM vectors WHERE number = ?", number)
        self._insert_vectors(number, vectors)

    def delete(self, number: int) -> None:
        """Delete an added image."""
        self._run("DELETE FROM images WHERE number = ?", number)
        self._run("DELETE FROM pictures WHERE number = ?", number)
        self._run("DELETE FROM vectors WHERE number = ?", number)

    def overrides(self, image_id: str | None = None) -> dict[str, Override]:
        """Return the overrides of all the bundle's images, or of one, by id."""
        query = f"SELECT * FROM {_OVERRIDES[self.version]}"  # noqa: S608  a constant
        found = (
            self._run(query) if image_id is None else self._run(f"{query} WHERE id = ?", image_id)
        )
        overrides = map(_override, found)
        return {one.id: one for one in overrides if one is not None}

    def set_override(self, override: Override) -> None:
        """Store the override of a bundle's image in place of the one before, if any."""
        self._run(
            "INSERT OR REPLACE INTO overrides VALUES (?, ?, ?, ?, ?)",
            *(override.id, override.deleted, override.label, override.label_predicted),
            _json(override.attributes),
        )

    def outdated(self, network: str, limit: int) -> list[OutdatedImage]:
        """Return some images that have pixels and another network's vectors."""
        found = self._run(
            "SELECT id, number, png FROM images JOIN pictures USING (number) "
            "WHERE network != ? AND typeof(png) = 'blob' LIMIT ?",
            *(network, limit),
        )
        return [OutdatedImage(*one) for one in found]

    def without_pixels(self, network: str) -> set[int]:
        """Return the numbers of images that have another network's vectors and no pixels."""
        found = self._run(
            "SELECT number FROM images JOIN pictures USING (number) "
            "WHERE network != ? AND typeof(png) != 'blob'",
            network,
        )
        return {number for (number,) in found}

    def _insert_vectors(self, number: int, vectors: Mapping[Layer, Fp16Vectors]) -> None:
        for layer, vector in vectors.items():
            self._run("INSERT INTO vectors VALUES (?, ?, ?)", number, layer, vector.tobytes())


def _json(attributes: Attributes) -> str:
    return json.dumps(dict(attributes))


def _row(found: Sequence[Any]) -> Row | None:  # Any: as the columns are declared
    number, image_id, label, label_predicted, predicted, attributes, created_at, *rest = found
    network, has_image = rest
    item = read_item(
        {
            "id": image_id,
            "label": label,
            "predicted": predicted,
            "label_predicted": label_predicted,
            "attributes": attributes,
            "created_at": created_at,
            "has_image": has_image,
        }
    )
    return Row(number, item, network) if item else None


def _override(found: Sequence[Any]) -> Override | None:  # Any: as the columns are declared
    names = ("id", "deleted", "label", "label_predicted", "attributes")
    fields = dict(zip(names, found, strict=True))
    if fields.pop("deleted"):
        return Override(fields["id"], deleted=True)
    item = read_item(fields)
    return Override.edit(item) if item else None


def _vector(blob: object) -> Fp16Vectors | None:
    """Return a stored vector; None if it is damaged, which would fail a search."""
    if not isinstance(blob, bytes) or len(blob) % 2:
        return None
    vector: Fp16Vectors = np.frombuffer(blob, np.float16)
    exponents = vector.view(np.uint16) & _INFINITE
    return None if (exponents == _INFINITE).any() else vector
