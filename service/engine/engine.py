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
from service.engine.backends.base import Backend, OutputView, channels_first, zeros
from service.engine.queue import RequestQueue
from service.engine.search_stage import PendingSearch, Searcher, SearchStage
from service.engine.types import Embeddings, Entry, SearchQuery
from service.errors import (
    DeadlinePassedError,
    InferenceFailedError,
    QueueFullError,
    UnavailableError,
)
from training.bundle import Layer, Pixels

LOADING_REASON: Final = "the network is being loaded"
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
        batch_timeout: float = 10.0,
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
        self._search_stage = None if search is None else SearchStage(search)
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._batch_timeout = batch_timeout
        self._on_batch = on_batch
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="engine", daemon=True)
        self._changed = threading.Condition()  # guards all that is below
        self._queue = RequestQueue()
        self._abandoned = False
        self._running: tuple[Entry, ...] = ()
        self._running_since = 0.0
        self._unhealthy_reason: str | None = LOADING_REASON

    @property
    def description(self) -> str:
        """What runs the network, where, and how precisely; for people."""
        return self._backend.name

    @property
    def searches(self) -> bool:
        """Whether anything may be looked for beside the network."""
        return self._search_stage is not None

    def start(self) -> None:
        """Start the worker; return when the network is warm.

        Raises:
            UnavailableError: it does not run on this device.

        """
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._unhealthy_reason != LOADING_REASON)
            failed = self._unhealthy_reason
        if failed:
            self.stop()
            raise UnavailableError(failed)

    def stop(self) -> None:
        """Fail what waits and end the worker."""
        self._stopping.set()
        self._fail_all("the service is stopping")
        self._thread.join(timeout=self._batch_timeout)
        if self._search_stage:
            self._search_stage.stop()

    @property
    def unhealthy_reason(self) -> str | None:
        """Why no images are taken now; None where all is well."""
        with self._changed:
            busy = time.monotonic() - self._running_since
            if self._running and busy > self._batch_timeout:
                return f"the worker has been at one batch for {busy:.0f} s"
            return self._unhealthy_reason

    @property
    def depth(self) -> int:
        """How many images wait."""
        return len(self._queue)

    def waiting(self, *, behind: bool) -> int:
        """How many images wait behind, or in front."""
        return self._queue.count(behind=behind)

    def check_room(self, count: int = 1, reserved: int = 0, *, behind: bool = False) -> None:
        """Refuse at once what would be refused after the work of decoding it.

        `reserved` places are not to be had, besides those of the images that wait here. As many may
        wait `behind` as in front.

        Raises:
            UnavailableError: the worker is down.
            QueueFullError: `count` more images may not wait.

        """
        if reason := self.unhealthy_reason:
            raise UnavailableError(f"No images are taken now: {reason}.")
        with self._changed:
            room = self._max_queue - count - reserved
            if self._queue.count(behind=behind) > room and self._abandoned:
                self._queue.drop_cancelled()
                self._abandoned = False
            if self._queue.count(behind=behind) > room:
                waiting = self._queue.count(behind=behind) + reserved
                raise QueueFullError(
                    f"{waiting} images wait, and {self._max_queue} may: try again later."
                )

    def submit(
        self,
        images: Sequence[Pixels],
        deadline: float,
        searches: Iterable[SearchQuery] = (),
        *,
        behind: bool = False,
    ) -> "list[Future[Embeddings]]":
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
            self._queue.add(entries, behind=behind)
            self._changed.notify_all()
        for entry in entries:
            entry.future.add_done_callback(self._note_if_abandoned)
        return [entry.future for entry in entries]

    async def embed(
        self,
        images: Sequence[Pixels],
        deadline: float,
        searches: Iterable[SearchQuery] = (),
        *,
        behind: bool = False,
    ) -> list[Embeddings | InferenceFailedError]:
        """Representations of images, in their order; an image may fail without its companions.

        When the caller is cancelled, its images are dropped. `behind` is as for `submit`.

        Raises:
            UnavailableError: the worker is down, or died meanwhile.
            QueueFullError: so many may not wait.
            DeadlinePassedError: their turn did not come in time.

        """
        futures = self.submit(images, deadline, searches, behind=behind)
        found: list[Embeddings | InferenceFailedError] = []
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

    def _note_if_abandoned(self, future: "Future[Embeddings]") -> None:
        """Only then is a full queue worth looking through: most refusals must cost nothing."""
        if future.cancelled():
            with self._changed:
                self._abandoned = True

    def _supervise(self) -> None:
        """Work; whatever ends that, fail what waits at once and begin anew."""
        concurrency.lower_priority()
        while not self._stopping.is_set():
            try:
                self._prepare()
                self._run_loop()
            except BaseException as error:  # even SystemExit must not end the service in silence
                logger.exception("The worker died and is being restarted")
                self._fail_all(f"the worker died ({error!r}) and is being restarted")
                self._stopping.wait(RESTART_SECONDS)

    def _prepare(self) -> None:
        dimensions = self._backend.prepare(self._max_batch)
        with self._changed:
            self.dimensions = dimensions
            self._unhealthy_reason = None
            self._changed.notify_all()
        logger.info("%s runs the network", self._backend.name)

    def _run_loop(self) -> None:
        while batch := self._next_batch():
            self._on_batch(len(batch))
            try:
                self._run_batch(batch)
            except Exception:  # one image must not fail another: each on its own
                for entry in batch:
                    if entry.expired:
                        entry.set_exception(
                            DeadlinePassedError("The deadline passed in a failing batch.")
                        )
                    else:
                        self._run_single(entry)
            with self._changed:
                self._running = ()

    def _next_batch(self) -> tuple[Entry, ...]:
        """Wait for images and take up to `max_batch` that are wanted; none when stopping."""
        with self._changed:
            while not self._stopping.is_set():
                batch: list[Entry] = []
                waiting, limit = self._queue.next_batch(self._max_batch)
                while waiting and len(batch) < limit:
                    entry = waiting.popleft()
                    if not entry.is_live:
                        entry.set_exception(
                            DeadlinePassedError("The deadline passed in the queue.")
                        )
                    elif entry.future.set_running_or_notify_cancel():
                        batch.append(entry)
                if batch:
                    self._running = tuple(batch)
                    self._running_since = time.monotonic()
                    return self._running
                if not self._queue:
                    self._changed.wait()
        return ()

    def _run_batch(self, batch: Sequence[Entry]) -> None:
        started = time.monotonic()
        found = self._backend.run(channels_first(np.stack([entry.pixels for entry in batch])))
        ended = time.monotonic()
        novelty = [None] * len(batch) if found.novelty is None else found.novelty.tolist()
        pending: list[PendingSearch] = []
        for row, entry in enumerate(batch):
            embeddings = Embeddings(
                layers=OutputView(found.layers, row),
                novelty=novelty[row],
                queued=started - entry.submitted,
                inference=ended - started,
            )
            if entry.searches:
                pending.append(PendingSearch(entry, embeddings, row))
            else:  # nobody waits for what others look for
                entry.set_result(embeddings)
        if pending:
            assert self._search_stage  # noqa: S101 - who asks for it has a gallery
            self._search_stage.dispatch(found, pending, in_background=bool(self._queue))

    def _run_single(self, entry: Entry) -> None:
        try:
            self._run_batch([entry])
        except Exception as error:
            self._backend.run(zeros(1))  # where no image will do, the worker dies of it
            entry.context.run(logger.warning, "The network failed on one image", exc_info=error)
            entry.set_exception(InferenceFailedError(f"The network failed on this image: {error}."))

    def _fail_all(self, reason: str) -> None:
        """Take no more images, and fail those there are."""
        with self._changed:
            lost = (*self._running, *self._queue.clear())
            self._running = ()
            self._unhealthy_reason = reason
            self._changed.notify_all()
        for entry in lost:
            entry.set_exception(UnavailableError(f"The image was dropped: {reason}."))
