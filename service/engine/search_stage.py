"""Makes the searches of a batch, in parallel with the next batch.

Knows embeddings and a search function; nothing of the network or of HTTP.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from service import concurrency
from service.engine.backends.base import BatchOutput
from service.engine.queue import BatchItem
from service.engine.types import Embeddings, Entry, Outcome, SearchQuery, deliver
from service.errors import InferenceFailedError, UnavailableError
from service.gallery.types import ScoredItem
from service.vectors import Queries
from training.bundle import Layer

Searcher = Callable[[Layer, Queries, int], Sequence[Sequence[ScoredItem]]]
"""Returns the nearest images, best first: of a layer, of queries [N, dimension], up to a limit."""

logger = logging.getLogger(__name__)


class PendingSearch(NamedTuple):
    """An image with searches, and its row in the batch."""

    item: BatchItem
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
            _resolve(pending, self._search_all(found, pending))
        except Exception:  # one image must not fail another: search for each alone
            for one in pending:
                self._search_single(found, one)
        except BaseException as error:
            for one in pending:
                one.item.entry.fail(
                    UnavailableError(f"The image was dropped: the search died ({error!r}).")
                )
            deliver([one.item.entry for one in pending])
            raise

    def _search_single(self, found: BatchOutput, one: PendingSearch) -> None:
        outcome: Outcome
        try:
            (outcome,) = self._search_all(found, [one])
        except Exception as error:
            one.item.entry.context.run(
                logger.warning, "The search failed for one image", exc_info=error
            )
            outcome = InferenceFailedError(f"The search failed for this image: {error}.")
        _resolve([one], [outcome])

    def _search_all(self, found: BatchOutput, pending: Sequence[PendingSearch]) -> list[Embeddings]:
        """Return the embeddings with the matches of all their searches."""
        began = time.monotonic()
        matches: list[dict[SearchQuery, Sequence[ScoredItem]]] = [{} for _ in pending]
        for search in frozenset().union(*(one.item.entry.searches for one in pending)):
            positions = [n for n, one in enumerate(pending) if search in one.item.entry.searches]
            queries = found.queries(search.layer, [pending[position].row for position in positions])
            nearest = self._search(search.layer, queries, search.limit)
            for position, items in zip(positions, nearest, strict=True):
                matches[position][search] = items
        searching = time.monotonic() - began
        for one, own in zip(pending, matches, strict=True):
            one.embeddings.searching = searching
            one.embeddings.matches = own
        return [one.embeddings for one in pending]


def _resolve(pending: Sequence[PendingSearch], outcomes: Sequence[Outcome]) -> None:
    """Store the outcomes, and resolve the entries that are complete with them."""
    complete: list[Entry] = []
    for one, outcome in zip(pending, outcomes, strict=True):
        if one.item.entry.set_outcome(one.item.number, outcome):
            complete.append(one.item.entry)
    deliver(complete)
