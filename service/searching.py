"""What the images of a batch ask of the gallery: looked for together, beside the next batch.

Knows representations and whom to ask for what is near; nothing of the network, nor of who waits.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from service import threads
from service.entry import Entry, Representation, Search
from service.errors import InferenceFailedError, UnavailableError
from service.gallery import Match
from training.bundle import Layer, Vectors

Searcher = Callable[[Layer, Vectors, int], Sequence[Sequence[Match]]]
"""The nearest to each of the vectors [N, dimension] at a layer: so many, best first."""

Asking = Sequence[tuple[Entry, Representation]]

logger = logging.getLogger(__name__)


class Searching:
    """A thread that searches for one batch while another is with the network."""

    def __init__(self, search: Searcher) -> None:
        self._search = search
        self._pool = ThreadPoolExecutor(1, "searching", initializer=threads.step_back)
        self._under_way: Future[None] | None = None

    def answer(self, asking: Asking, *, beside: bool) -> None:
        """Answer these entries with what they look for; if `beside`, while this goes on.

        The batch before is answered first: were the network faster, searches would pile up.
        """
        self.settle()
        if beside:
            self._under_way = self._pool.submit(self._answer, asking)
        else:
            self._answer(asking)

    def settle(self) -> None:
        """Wait until all have been answered."""
        before, self._under_way = self._under_way, None
        if before is not None:
            before.result()

    def stop(self) -> None:
        """End the thread when it has done what it is at."""
        self._pool.shutdown(wait=False)

    def _answer(self, asking: Asking) -> None:
        try:
            self._answer_together(asking)
        except Exception:  # one must not fail another: each on its own
            for one in asking:
                self._answer_alone(*one)
        except BaseException as error:
            for entry, _ in asking:
                entry.fail(UnavailableError(f"The image was dropped: the search died ({error!r})."))
            raise

    def _answer_alone(self, entry: Entry, representation: Representation) -> None:
        try:
            self._answer_together([(entry, representation)])
        except Exception as error:
            entry.context.run(logger.warning, "The search failed for one image", exc_info=error)
            entry.fail(InferenceFailedError(f"The search failed for this image: {error}."))

    def _answer_together(self, asking: Asking) -> None:
        began = time.monotonic()
        matches: list[dict[Search, Sequence[Match]]] = [{} for _ in asking]
        for search in frozenset().union(*(entry.searches for entry, _ in asking)):
            places = [n for n, (entry, _) in enumerate(asking) if search in entry.searches]
            vectors = np.stack([asking[place][1].layers[search.layer] for place in places])
            nearest = self._search(search.layer, vectors, search.limit)
            for place, one in zip(places, nearest, strict=True):
                matches[place][search] = one
        searching = time.monotonic() - began
        for (entry, representation), found in zip(asking, matches, strict=True):
            entry.give(replace(representation, searching=searching, matches=found))
