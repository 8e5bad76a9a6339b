"""One bounded queue and one supervised worker thread: images to representations, in batches.

The worker takes what waits, up to `max_batch` images, as soon as it is free: it never waits for a
fuller batch. What has expired or been abandoned is dropped unrun. What a batch asks of the gallery
is looked for beside the next one. Knows arrays, a backend that runs the network and whom to ask for
what is near; nothing of how they do it, nor of HTTP.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final

import numpy as np

from service import concurrency
from service.engine.backends.base import Backend, Row, blank, channels_first
from service.engine.queue import Line
from service.engine.search_stage import Asking, Searcher, Searching
from service.engine.types import Entry, Representation, Search
from service.errors import (
    DeadlinePassedError,
    InferenceFailedError,
    QueueFullError,
    UnavailableError,
)
from training.bundle import Layer, Pixels

LOADING: Final = "the network is being loaded"
RESTART_SECONDS: Final = 0.5
"""Pause after the worker's death: long enough not to spin, short enough to be back soon."""

logger = logging.getLogger(__name__)


class Engine:
    """Representations of images, computed in batches. Its methods may be called from any thread."""

    def __init__(
        self,
        backend: Backend,
        search: Searcher | None = None,
        *,
        max_batch: int = 64,
        max_queue: int = 512,
        patience: float = 10.0,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            backend: what runs the network; the engine's worker alone calls it from now on.
            search: the gallery's; where None, nothing may be looked for.
            max_batch: images run at once.
            max_queue: images that may wait.
            patience: seconds at one batch after which the worker counts as stuck.
            on_batch: told the size of each batch before it is run.

        """
        self.dimensions: Mapping[Layer, int] = {}
        self._backend = backend
        self._searching = None if search is None else Searching(search)
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._patience = patience
        self._on_batch = on_batch
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="engine", daemon=True)
        self._changed = threading.Condition()  # guards all that is below
        self._line = Line()
        self._abandoned = False
        self._running: tuple[Entry, ...] = ()
        self._running_since = 0.0
        self._down: str | None = LOADING

    @property
    def runs_on(self) -> str:
        """What runs the network, where, and how precisely; for people."""
        return self._backend.name

    @property
    def searches(self) -> bool:
        """Whether anything may be looked for beside the network."""
        return self._searching is not None

    def start(self) -> None:
        """Start the worker; return when the network is warm.

        Raises:
            UnavailableError: it does not run on this device.

        """
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._down != LOADING)
            failed = self._down
        if failed:
            self.stop()
            raise UnavailableError(failed)

    def stop(self) -> None:
        """Fail what waits and end the worker."""
        self._stopping.set()
        self._bury("the service is stopping")
        self._thread.join(timeout=self._patience)
        if self._searching:
            self._searching.stop()

    @property
    def reason(self) -> str | None:
        """Why no images are taken now; None where all is well."""
        with self._changed:
            busy = time.monotonic() - self._running_since
            if self._running and busy > self._patience:
                return f"the worker has been at one batch for {busy:.0f} s"
            return self._down

    @property
    def depth(self) -> int:
        """How many images wait."""
        return len(self._line)

    def waiting(self, *, behind: bool) -> int:
        """How many images wait behind, or in front."""
        return self._line.count(behind=behind)

    def check_room(self, count: int = 1, taken: int = 0, *, behind: bool = False) -> None:
        """Refuse at once what would be refused after the work of decoding it.

        `taken` places are not to be had, besides those of the images that wait here. As many may
        wait `behind` as in front.

        Raises:
            UnavailableError: the worker is down.
            QueueFullError: `count` more images may not wait.

        """
        if reason := self.reason:
            raise UnavailableError(f"No images are taken now: {reason}.")
        with self._changed:
            room = self._max_queue - count - taken
            if self._line.count(behind=behind) > room and self._abandoned:
                self._line.leave_out_unwanted()
                self._abandoned = False
            if self._line.count(behind=behind) > room:
                waiting = self._line.count(behind=behind) + taken
                raise QueueFullError(
                    f"{waiting} images wait, and {self._max_queue} may: try again later."
                )

    def submit(
        self,
        images: Sequence[Pixels],
        deadline: float,
        searches: Iterable[Search] = (),
        *,
        behind: bool = False,
    ) -> "list[Future[Representation]]":
        """Queue all of these images uint8 [32, 32, 3], or none; each is to be searched for alike.

        Cancel a future to have its image dropped. `deadline` is a reading of `time.monotonic()`.
        Those that go `behind` are run few at a time, and seldom while others wait.

        Raises:
            UnavailableError: the worker is down.
            QueueFullError: so many may not wait.

        """
        wanted = frozenset(searches)
        entries = [Entry(pixels, deadline, wanted) for pixels in images]
        with self._changed:
            self.check_room(len(entries), behind=behind)
            self._line.add(entries, behind=behind)
            self._changed.notify_all()
        for entry in entries:
            entry.future.add_done_callback(self._note_if_abandoned)
        return [entry.future for entry in entries]

    async def represent(
        self,
        images: Sequence[Pixels],
        deadline: float,
        searches: Iterable[Search] = (),
        *,
        behind: bool = False,
    ) -> list[Representation | InferenceFailedError]:
        """Representations of images, in their order; an image may fail without its companions.

        When the caller is cancelled, its images are dropped. `behind` is as for `submit`.

        Raises:
            UnavailableError: the worker is down, or died meanwhile.
            QueueFullError: so many may not wait.
            DeadlinePassedError: their turn did not come in time.

        """
        futures = self.submit(images, deadline, searches, behind=behind)
        found: list[Representation | InferenceFailedError] = []
        try:
            for future in map(asyncio.wrap_future, futures):
                try:
                    found.append(await future)
                except InferenceFailedError as error:
                    found.append(error)
        finally:
            for left in futures:
                left.cancel()
        return found

    def _note_if_abandoned(self, future: "Future[Representation]") -> None:
        """Only then is a full queue worth looking through: most refusals must cost nothing."""
        if future.cancelled():
            with self._changed:
                self._abandoned = True

    def _supervise(self) -> None:
        """Work; whatever ends that, fail what waits at once and begin anew."""
        concurrency.step_back()
        while not self._stopping.is_set():
            try:
                self._prepare()
                self._work()
            except BaseException as error:  # even SystemExit must not end the service in silence
                logger.exception("The worker died and is being restarted")
                self._bury(f"the worker died ({error!r}) and is being restarted")
                self._stopping.wait(RESTART_SECONDS)

    def _prepare(self) -> None:
        dimensions = self._backend.prepare(self._max_batch)
        with self._changed:
            self.dimensions = dimensions
            self._down = None
            self._changed.notify_all()
        logger.info("%s runs the network", self._backend.name)

    def _work(self) -> None:
        while batch := self._take():
            self._on_batch(len(batch))
            try:
                self._answer(batch)
            except Exception:  # one image must not fail another: each on its own
                for entry in batch:
                    if entry.expired:
                        entry.fail(DeadlinePassedError("The deadline passed in a failing batch."))
                    else:
                        self._answer_alone(entry)
            with self._changed:
                self._running = ()

    def _take(self) -> tuple[Entry, ...]:
        """Wait for images and take up to `max_batch` that are wanted; none when stopping."""
        with self._changed:
            while not self._stopping.is_set():
                batch: list[Entry] = []
                waiting, most = self._line.turn(self._max_batch)
                while waiting and len(batch) < most:
                    entry = waiting.popleft()
                    if not entry.wanted:
                        entry.fail(DeadlinePassedError("The deadline passed in the queue."))
                    elif entry.future.set_running_or_notify_cancel():
                        batch.append(entry)
                if batch:
                    self._running = tuple(batch)
                    self._running_since = time.monotonic()
                    return self._running
                if not self._line:
                    self._changed.wait()
        return ()

    def _answer(self, batch: Sequence[Entry]) -> None:
        started = time.monotonic()
        found = self._backend.run(channels_first(np.stack([entry.pixels for entry in batch])))
        ended = time.monotonic()
        novelty = [None] * len(batch) if found.novelty is None else found.novelty.tolist()
        asking: list[Asking] = []
        for row, entry in enumerate(batch):
            representation = Representation(
                layers=Row(found.layers, row),
                novelty=novelty[row],
                queued=started - entry.submitted,
                inference=ended - started,
            )
            if entry.searches:
                asking.append(Asking(entry, representation, row))
            else:  # nobody waits for what others look for
                entry.give(representation)
        if asking:
            assert self._searching  # noqa: S101 - who asks for it has a gallery
            self._searching.answer(found, asking, beside=bool(self._line))

    def _answer_alone(self, entry: Entry) -> None:
        try:
            self._answer([entry])
        except Exception as error:
            self._backend.run(blank(1))  # where no image will do, the worker dies of it
            entry.context.run(logger.warning, "The network failed on one image", exc_info=error)
            entry.fail(InferenceFailedError(f"The network failed on this image: {error}."))

    def _bury(self, reason: str) -> None:
        """Take no more images, and fail those there are."""
        with self._changed:
            lost = (*self._running, *self._line.clear())
            self._running = ()
            self._down = reason
            self._changed.notify_all()
        for entry in lost:
            entry.fail(UnavailableError(f"The image was dropped: {reason}."))
