"""Searches a Milvus in two stages: projected vectors propose, full vectors rescore.

Knows vectors and rows; nothing of images.
"""

from collections.abc import Sequence
from operator import itemgetter

from service.gallery.milvus.collection import MAX_LIMIT, Collection, Row
from service.gallery.milvus.expressions import Expression, expression
from service.gallery.milvus.projection import CANDIDATES, StoredProjection
from service.gallery.milvus.rows import SHOWN
from training.bundle import Layer, Vectors

Hits = list[tuple[Row, float]]


class TwoStageSearch:
    """Searches the rows of one network in two stages, and outdated rows in one."""

    def __init__(self, collection: Collection, projection: StoredProjection, network: str) -> None:
        self._rows = collection
        self._projection = projection
        self._network = network
        self.has_outdated = True
        """Whether there may be vectors of another network, which have no projection."""

    def search(
        self, layer: Layer, unit: Vectors, limit: int, filters: Sequence[Expression], *, exact: bool
    ) -> list[Hits]:
        """Return the `limit` nearest rows to each unit vector [N, dimension], best first."""
        if exact or layer != self._projection.layer or not self._projection.known:
            return self._rows.search(layer, unit, limit, *filters, fields=SHOWN)
        own = expression("network == {network}", network=self._network)
        count = min(limit * CANDIDATES, MAX_LIMIT)
        proposed = self._rows.search(
            self._projection.field,
            self._projection.project(unit),
            count,
            *filters,
            own,
            fields=("key",),
            ef=count,
        )
        found = [
            self._rescore(query, limit, [row["key"] for row, _ in hits])
            for query, hits in zip(unit, proposed, strict=True)
        ]
        if not self.has_outdated:
            return found
        others = expression("network != {network}", network=self._network)
        rest = self._rows.search(layer, unit, limit, *filters, others, fields=SHOWN)
        return [
            sorted([*one, *more], key=itemgetter(1), reverse=True)[:limit]
            for one, more in zip(found, rest, strict=True)
        ]

    def _rescore(self, query: Vectors, limit: int, keys: list[str]) -> Hits:
        """Return the nearest of these rows, by their full vectors."""
        if not keys:
            return []
        candidates = expression("key in {keys}", keys=keys)
        return self._rows.search(
            self._projection.layer, query[None], limit, candidates, fields=SHOWN
        )[0]
