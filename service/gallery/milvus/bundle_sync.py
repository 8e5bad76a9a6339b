"""A bundle's own images on a Milvus: brought there once, and as people have left them.

What people have done to a bundle's image holds for the image of that id in every other bundle, so
it is written down in a row of its own. Knows bundles and rows; nothing of what has been added.
"""

from collections.abc import Sequence
from operator import itemgetter

from service.gallery.bundle_images import BundleImages
from service.gallery.milvus import rows
from service.gallery.milvus.collection import CHUNK, Collection, Row
from service.gallery.milvus.expressions import expression
from service.gallery.milvus.projection import StoredProjection
from service.gallery.milvus.rows import ADDED, EDITED, FILLED, REMOVED, SHOWN, TOMBSTONES, key
from service.gallery.types import Item
from training.bundle import Bundle


class BundleSync:
    """The images of one bundle."""

    def __init__(
        self, bundle: Bundle, base: BundleImages, kept: Collection, projection: StoredProjection
    ) -> None:
        self._bundle = bundle
        self._version = bundle.manifest.version
        self._items = base.segment.items
        self._rows = kept
        self._projection = projection

    def sync(self) -> None:
        """Bring them there, unless somebody has.

        Several services may do so at once: what is there already is left, and what was removed or
        edited meanwhile is so at the end, whoever is last.
        """
        done = expression("key == {key}", key=key(self._version, FILLED))
        if not self._rows.query(done, fields=("key",)):
            numbered = list(enumerate(self._items))
            for start in range(0, len(numbered), CHUNK):
                some = numbered[start : start + CHUNK]
                known = self._known([item.id for _, item in some])
                self._rows.upsert(self._made([one for one in some if one[1].id not in known]))
            self._apply_marks()
        self._rows.upsert([rows.of_mark(self._version, FILLED, self._rows.dimensions)])

    def is_latest(self) -> bool:
        """Whether no service with another bundle has come since."""
        filled = expression("bundle == {filled}", filled=FILLED)
        marks = self._rows.query(filled, fields=("id", "revision"))
        latest: str = max(marks, key=itemgetter("revision"))["id"]
        return latest == self._version

    def edit(self, item: Item) -> None:
        """Have it so in every bundle, now and later."""
        self._rows.upsert([rows.of_mark(item.id, EDITED, self._rows.dimensions, item)])
        keys = self._keys_in_all_bundles([item.id])
        self._rows.upsert([{"key": one, **rows.of_edit(item)} for one in keys], partial=True)

    def delete_everywhere(self, ids: Sequence[str]) -> None:
        """Take the images of these ids, marked as removed, from every bundle."""
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            edits = [key(one, EDITED) for one in some]
            self._rows.delete([*self._keys_in_all_bundles(some), *edits])

    def removal(self, image_id: str) -> Row:
        """The row that says that no bundle's image of that id is to be shown again."""
        return rows.of_mark(image_id, REMOVED, self._rows.dimensions)

    def _made(self, some: Sequence[tuple[int, Item]]) -> list[Row]:
        positions = [position for position, _ in some]
        indexes = self._bundle.indexes
        vectors = {layer: index.reconstruct(positions) for layer, index in indexes.items()}
        made = []
        for number, (_, item) in enumerate(some):
            own = {layer: found[number] for layer, found in vectors.items()}
            row = rows.of_bundle(
                item, self._version, own, self._bundle.network_id, self._rows.dimensions
            )
            made.append(self._projection.field(row, own))
        return made

    def _known(self, ids: Sequence[str]) -> set[str]:
        """Which of these are there, as this bundle's or an added one, or have been removed."""
        keys = [key(one, whose) for one in ids for whose in (ADDED, self._version, REMOVED)]
        found = self._rows.query(expression("key in {keys}", keys=keys), fields=("id",))
        return {row["id"] for row in found}

    def _apply_marks(self) -> None:
        """Have them as people have left those of the same ids."""
        mine = {item.id for item in self._items}
        gone, edited = (
            {
                row["id"]: row
                for row in self._rows.scan(expression("bundle == {mark}", mark=mark), fields=SHOWN)
                if row["id"] in mine
            }
            for mark in (REMOVED, EDITED)
        )
        self._rows.upsert(
            [
                {"key": key(image_id, self._version), **rows.of_edit(rows.item_of(row))}
                for image_id, row in edited.items()
                if image_id not in gone
            ],
            partial=True,
        )
        self.delete_everywhere(sorted(gone))

    def _keys_in_all_bundles(self, ids: Sequence[str]) -> list[str]:
        """The keys of all bundles' images of these ids."""
        found = self._rows.scan(
            expression("id in {ids}", ids=list(ids)),
            expression("bundle not in {others}", others=[ADDED, *TOMBSTONES]),
            fields=("key",),
        )
        return [row["key"] for row in found]
