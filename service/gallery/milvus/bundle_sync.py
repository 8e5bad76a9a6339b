"""Writes a bundle's own images to a Milvus, once, with the overrides that apply to them.

An override of an id holds for that id in every bundle, so it has a marker row. Knows bundles and
rows; nothing of added images.
"""

from collections.abc import Sequence
from itertools import islice
from operator import itemgetter

from service.gallery.bundle_images import BundleImages
from service.gallery.milvus import rows
from service.gallery.milvus.collection import CHUNK, Collection, Row
from service.gallery.milvus.expressions import expression, tags
from service.gallery.milvus.projection import StoredProjection
from service.gallery.milvus.rows import (
    ADDED,
    EDITED,
    FILLED,
    MARKERS,
    OVERRIDES,
    REMOVED,
    SHOWN,
    TAGGED,
    key,
)
from service.gallery.types import Item, Override
from training.bundle import Bundle


class BundleSync:
    """Keeps the images of one bundle on a Milvus."""

    def __init__(
        self,
        bundle: Bundle,
        images: BundleImages,
        collection: Collection,
        projection: StoredProjection,
    ) -> None:
        self._bundle = bundle
        self._version = bundle.manifest.version
        self._items = images.segment.items
        self._rows = collection
        self._projection = projection

    def sync(self) -> None:
        """Write the bundle's images, unless a service has done so.

        Several services may sync at once. Rows that are there are left unchanged. The last service
        applies the overrides made in the meantime.
        """
        self._tag_older_rows()
        done = expression("key == {key}", key=key(self._version, FILLED))
        if not self._rows.query(done, fields=("key",)):
            numbered = list(enumerate(self._items))
            for start in range(0, len(numbered), CHUNK):
                chunk = numbered[start : start + CHUNK]
                known = self._known([item.id for _, item in chunk])
                self._rows.upsert(self._new_rows([one for one in chunk if one[1].id not in known]))
            self._apply_overrides()
        self._rows.upsert([rows.of_marker(self._version, FILLED, self._rows.dimensions)])

    def is_latest(self) -> bool:
        """Return whether no service with another bundle has started since this one."""
        filled = expression("bundle == {filled}", filled=FILLED)
        markers = self._rows.query(filled, fields=("id", "revision"))
        latest: str = max(markers, key=itemgetter("revision"))["id"]
        return latest == self._version

    def edit(self, override: Override) -> None:
        """Store an edit, and apply it to the image in every bundle."""
        self._rows.upsert([rows.of_override(override, self._rows.dimensions)])
        keys = self._keys_in_all_bundles([override.id])
        self._rows.upsert([{"key": one, **rows.of_edit(override)} for one in keys], partial=True)

    def delete_everywhere(self, ids: Sequence[str]) -> None:
        """Delete images from every bundle; their overrides must have been stored before."""
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            edits = [key(one, EDITED) for one in chunk]
            self._rows.delete([*self._keys_in_all_bundles(chunk), *edits])

    def _tag_older_rows(self) -> None:
        """Write the tags of rows from before ranges could be searched, once a collection."""
        marker = rows.of_marker("ranges", TAGGED, self._rows.dimensions)
        if self._rows.query(expression("key == {key}", key=marker["key"]), fields=("key",)):
            return
        with_attributes = expression("attributes != {none}", none="{}")
        found = self._rows.scan(with_attributes, fields=SHOWN)
        while chunk := list(islice(found, CHUNK)):
            tagged = [
                {"key": row["key"], "tags": tags(rows.item_of(row).attributes)} for row in chunk
            ]
            self._rows.upsert(tagged, partial=True)
        self._rows.upsert([marker])

    def _new_rows(self, numbered: Sequence[tuple[int, Item]]) -> list[Row]:
        positions = [position for position, _ in numbered]
        indexes = self._bundle.indexes
        vectors = {layer: index.reconstruct(positions) for layer, index in indexes.items()}
        made = []
        for number, (_, item) in enumerate(numbered):
            own = {layer: found[number] for layer, found in vectors.items()}
            row = rows.of_image(
                item, self._version, own, self._bundle.network_id, self._rows.dimensions
            )
            made.append(self._projection.complete(row, own))
        return made

    def _known(self, ids: Sequence[str]) -> set[str]:
        """Return those of these ids that are there, in this bundle or added, or were removed."""
        keys = [key(one, owner) for one in ids for owner in (ADDED, self._version, REMOVED)]
        found = self._rows.query(expression("key in {keys}", keys=keys), fields=("id",))
        return {row["id"] for row in found}

    def _apply_overrides(self) -> None:
        mine = {item.id for item in self._items}
        kinds = expression("bundle in {kinds}", kinds=list(OVERRIDES))
        overrides = [
            rows.override_of(row)
            for row in self._rows.scan(kinds, fields=SHOWN)
            if row["id"] in mine
        ]
        deleted = {one.id for one in overrides if one.deleted}
        self._rows.upsert(
            [
                {"key": key(one.id, self._version), **rows.of_edit(one)}
                for one in overrides
                if one.id not in deleted
            ],
            partial=True,
        )
        self.delete_everywhere(sorted(deleted))

    def _keys_in_all_bundles(self, ids: Sequence[str]) -> list[str]:
        """Return the keys of the images of these ids in all bundles."""
        found = self._rows.scan(
            expression("id in {ids}", ids=list(ids)),
            expression("bundle not in {others}", others=[ADDED, *MARKERS]),
            fields=("key",),
        )
        return [row["key"] for row in found]
