"""What is kept of a gallery on disk: the truth, of which all that is searched is made.

Knows rows; nothing of indexes. But for `png`, only one thread at a time may use it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np

from service.errors import NotFoundError
from service.gallery.local.sqlite import Database, translate_errors
from service.gallery.types import Attributes, Item, OutdatedImage
from training.bundle import Fp16Vectors, Layer

_PICTURE: Final = "SELECT png FROM pictures WHERE number = ?"
_VECTORS: Final = "SELECT number, vector FROM vectors WHERE layer = ?"


@dataclass(frozen=True)
class Row:
    """An added image as it is kept; its number is its own for ever."""

    number: int
    item: Item
    network: str


@dataclass(frozen=True)
class Edit:
    """What has been edited of an image of the bundle."""

    label: str
    label_predicted: bool
    attributes: Attributes

    def of(self, item: Item) -> Item:
        """The image with it."""
        return replace(item, **vars(self))


class Store(Database):
    """The rows of a gallery's database."""

    def rows(self) -> list[Row]:
        """All added images."""
        with translate_errors(self.folder):
            return [_row(found) for found in self._run("SELECT * FROM images")]

    def find(self, image_id: str) -> Row | None:
        """The added image of that id, if there is one."""
        found = self._run("SELECT * FROM images WHERE id = ?", image_id).fetchone()
        return _row(found) if found else None

    def vectors(self, layer: Layer) -> Iterator[tuple[int, Fp16Vectors]]:
        """The numbers of all images and their unit vectors [dimension] at a layer."""
        with translate_errors(self.folder):
            for number, blob in self._run(_VECTORS, layer):
                yield number, np.frombuffer(blob, np.float16)

    def png(self, number: int) -> bytes | None:
        """The PNG of an image, if it has one; for any thread, and it waits for no change.

        Raises:
            NotFoundError: the image has gone.

        """
        found = self._read_beside(_PICTURE, number)
        if found is None:
            raise NotFoundError("The image has been removed or replaced meanwhile.")
        png: bytes | None = found[0]
        return png

    def png_in_transaction(self, number: int) -> bytes | None:
        """The PNG of an image as the transaction has it in which one is."""
        found = self._run(_PICTURE, number).fetchone()
        return found[0] if found else None

    def insert(
        self, item: Item, network: str, png: bytes | None, vectors: Mapping[Layer, Fp16Vectors]
    ) -> int:
        """Keep an image whose id no other has; its number."""
        number = self._run(
            "INSERT INTO images VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            *(item.id, item.label, item.label_predicted, item.predicted),
            json.dumps(dict(item.attributes)),
            item.created_at.isoformat() if item.created_at else None,
            network,
        ).lastrowid
        assert number is not None  # noqa: S101  SQLite has just given it
        self._run("INSERT INTO pictures VALUES (?, ?)", number, png)
        self._set_vectors(number, vectors)
        return number

    def edit(self, item: Item) -> None:
        """Keep another label and attributes of an added image."""
        self._run(
            "UPDATE images SET label = ?, label_predicted = ?, attributes = ? WHERE id = ?",
            *(item.label, item.label_predicted, json.dumps(dict(item.attributes)), item.id),
        )

    def renew(
        self, number: int, item: Item, network: str, vectors: Mapping[Layer, Fp16Vectors]
    ) -> None:
        """Keep what another network makes of an added image."""
        self._run(
            "UPDATE images SET network = ?, predicted = ?, label = ? WHERE number = ?",
            *(network, item.predicted, item.label, number),
        )
        self._run("DELETE FROM vectors WHERE number = ?", number)
        self._set_vectors(number, vectors)

    def delete(self, number: int) -> None:
        """Forget an added image."""
        self._run("DELETE FROM images WHERE number = ?", number)
        self._run("DELETE FROM pictures WHERE number = ?", number)
        self._run("DELETE FROM vectors WHERE number = ?", number)

    def removed(self) -> set[str]:
        """The ids of a bundle's images that have been taken away."""
        return {image_id for (image_id,) in self._run("SELECT id FROM removed")}

    def is_removed(self, image_id: str) -> bool:
        """Whether a bundle's image has been taken away."""
        return bool(self._run("SELECT 1 FROM removed WHERE id = ?", image_id).fetchone())

    def remove(self, image_id: str) -> None:
        """Take a bundle's image away."""
        self._run("INSERT OR IGNORE INTO removed VALUES (?)", image_id)
        self._run("DELETE FROM edited WHERE id = ?", image_id)

    def edits(self) -> dict[str, Edit]:
        """What has been edited of the bundle's images, by id."""
        return {found[0]: _edit(found) for found in self._run("SELECT * FROM edited")}

    def edit_of(self, image_id: str) -> Edit | None:
        """What has been edited of an image of the bundle."""
        found = self._run("SELECT * FROM edited WHERE id = ?", image_id).fetchone()
        return _edit(found) if found else None

    def edit_of_bundle(self, item: Item) -> None:
        """Keep another label and attributes of a bundle's image."""
        self._run(
            "INSERT OR REPLACE INTO edited VALUES (?, ?, ?, ?)",
            *(item.id, item.label, item.label_predicted, json.dumps(dict(item.attributes))),
        )

    def outdated(self, network: str, limit: int) -> list[OutdatedImage]:
        """Some images whose vectors another network made."""
        found = self._run(
            "SELECT id, number, png FROM images JOIN pictures USING (number) "
            "WHERE network != ? AND png IS NOT NULL LIMIT ?",
            *(network, limit),
        )
        return [OutdatedImage(*one) for one in found]

    def without_pixels(self, network: str) -> set[int]:
        """The numbers of images that another network embedded, and that have no pixels."""
        found = self._run(
            "SELECT number FROM images JOIN pictures USING (number) "
            "WHERE network != ? AND png IS NULL",
            network,
        )
        return {number for (number,) in found}

    def _set_vectors(self, number: int, vectors: Mapping[Layer, Fp16Vectors]) -> None:
        for layer, vector in vectors.items():
            self._run("INSERT INTO vectors VALUES (?, ?, ?)", number, layer, vector.tobytes())


def _row(found: Sequence[object]) -> Row:
    number, image_id, label, label_predicted, predicted, attributes, created_at, network = found
    return Row(
        number=int(str(number)),
        item=Item(
            id=str(image_id),
            label=str(label),
            predicted=None if predicted is None else str(predicted),
            label_predicted=bool(label_predicted),
            attributes=json.loads(str(attributes)),
            source="added",
            created_at=None if created_at is None else datetime.fromisoformat(str(created_at)),
        ),
        network=str(network),
    )


def _edit(found: Sequence[str]) -> Edit:
    _, label, label_predicted, attributes = found
    return Edit(label, bool(label_predicted), json.loads(attributes))
