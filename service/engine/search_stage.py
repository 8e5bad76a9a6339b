"""Makes the searches of a batch, in parallel with the next batch.

Knows embeddings and a search function; nothing of the network or of HTTP.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from service import concurrency
from service.engine.backends.base import BatchOutput
from service.engine.types import Embeddings, Entry, SearchQuery
from service.errors import InferenceFailedError, UnavailableError
from service.gallery.types import ScoredItem
from service.vectors import Queries
from training.bundle import Layer

Searcher = Callable[[Layer, Queries, int], Sequence[Sequence[ScoredItem]]]
"""Returns the nearest images, best first: of a layer, of queries [N, dimension], up to a limit."""

logger = logging.getLogger(__name__)


class PendingSearch(NamedTuple):
    """An image with searches, and its row in the batch."""

    entry: Entry
    embeddings: Embeddings
    row: int


class SearchStage:
    """A thread that searches for one batch while the network runs another."""

    def __init__(self, search: Searcher) -> None:
        self._search = search
        self._pool = ThreadPoolExecutor(1, "searching", initializer=concurrency.lower_priority)
        self._in_flight: Future[None] | None = None

    def dispatch(
        self, found: BatchOutput, pending: Sequence[PendingSearch], *, in_background: bool
    ) -> None:
        """Make the searches of a batch; if `in_background`, return before they have ended.

        Wait for the searches of the last batch before: otherwise they would accumulate if the
        network is faster.
        """
        self.flush()
        if in_background:
            self._in_flight = self._pool.submit(self._search_batch, found, pending)
        else:
            self._search_batch(found, pending)

    def flush(self) -> None:
        """Wait for the searches that run in the background."""
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is not None:
            in_flight.result()

    def stop(self) -> None:
        """End the thread after its current searches."""
        self._pool.shutdown(wait=False)

    def _search_batch(self, found: BatchOutput, pending: Sequence[PendingSearch]) -> None:
        try:
            self._search_and_resolve(found, pending)
        except Exception:  # one image must not fail another: search for each alone
            for one in pending:
                self._search_single(found, one)
        except BaseException as error:
            for one in pending:
                one.entry.set_exception(
                    UnavailableError(f"The image was dropped: the search died ({error!r}).")
                )
            raise

    def _search_single(self, found: BatchOutput, one: PendingSearch) -> None:
        try:
            self._search_and_resolve(found, [one])
        except Exception as error:
            one.entry.context.run(logger.warning, "The search failed for one image", exc_info=error)
            one.entry.set_exception(
                InferenceFailedError(f"The search failed for this image: {error}.")
            )

    def _search_and_resolve(self, found: BatchOutput, pending: Sequence[PendingSearch]) -> None:
        began = time.monotonic()
        matches: list[dict[SearchQuery, Sequence[ScoredItem]]] = [{} for _ in pending]
        for search in frozenset().union(*(one.entry.searches for one in pending)):
            positions = [n for n, one in enumerate(pending) if search in one.entry.searches]
            queries = found.queries(search.layer, [pending[position].row for position in positions])
            nearest = self._search(search.layer, queries, search.limit)
            for position, items in zip(positions, nearest, strict=True):
                matches[position][search] = items
        searching = time.monotonic() - began
        for one, own in zip(pending, matches, strict=True):
            one.entry.set_result(replace(one.embeddings, searching=searching, matches=own))
