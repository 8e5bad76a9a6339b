"""What the images of a batch ask of the gallery: looked for together, beside the next batch.

Knows representations and whom to ask for what is near; nothing of the network, nor of who waits.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from service import concurrency
from service.engine.backends.base import Found
from service.engine.types import Entry, Representation, Search
from service.errors import InferenceFailedError, UnavailableError
from service.gallery.types import Match
from service.vectors import Queries
from training.bundle import Layer

Searcher = Callable[[Layer, Queries, int], Sequence[Sequence[Match]]]
"""The nearest to each of the vectors [N, dimension] at a layer: so many, best first."""

logger = logging.getLogger(__name__)


class Asking(NamedTuple):
    """An image that looks for something, and its row in the batch."""

    entry: Entry
    representation: Representation
    row: int


class Searching:
    """A thread that searches for one batch while another is with the network."""

    def __init__(self, search: Searcher) -> None:
        self._search = search
        self._pool = ThreadPoolExecutor(1, "searching", initializer=concurrency.step_back)
        self._under_way: Future[None] | None = None

    def answer(self, found: Found, asking: Sequence[Asking], *, beside: bool) -> None:
        """Answer these images of a batch with what they look for; if `beside`, while this goes on.

        The batch before is answered first: were the network faster, searches would pile up.
        """
        self.settle()
        if beside:
            self._under_way = self._pool.submit(self._answer, found, asking)
        else:
            self._answer(found, asking)

    def settle(self) -> None:
        """Wait until all have been answered."""
        before, self._under_way = self._under_way, None
        if before is not None:
            before.result()

    def stop(self) -> None:
        """End the thread when it has done what it is at."""
        self._pool.shutdown(wait=False)

    def _answer(self, found: Found, asking: Sequence[Asking]) -> None:
        try:
            self._answer_together(found, asking)
        except Exception:  # one must not fail another: each on its own
            for one in asking:
                self._answer_alone(found, one)
        except BaseException as error:
            for one in asking:
                one.entry.fail(
                    UnavailableError(f"The image was dropped: the search died ({error!r}).")
                )
            raise

    def _answer_alone(self, found: Found, one: Asking) -> None:
        try:
            self._answer_together(found, [one])
        except Exception as error:
            one.entry.context.run(logger.warning, "The search failed for one image", exc_info=error)
            one.entry.fail(InferenceFailedError(f"The search failed for this image: {error}."))

    def _answer_together(self, found: Found, asking: Sequence[Asking]) -> None:
        began = time.monotonic()
        matches: list[dict[Search, Sequence[Match]]] = [{} for _ in asking]
        for search in frozenset().union(*(one.entry.searches for one in asking)):
            places = [n for n, one in enumerate(asking) if search in one.entry.searches]
            queries = found.queries(search.layer, [asking[place].row for place in places])
            nearest = self._search(search.layer, queries, search.limit)
            for place, near in zip(places, nearest, strict=True):
                matches[place][search] = near
        searching = time.monotonic() - began
        for one, some in zip(asking, matches, strict=True):
            one.entry.give(replace(one.representation, searching=searching, matches=some))
