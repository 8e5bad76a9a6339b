"""One queue and one supervised worker thread: embeds images in batches.

A free worker runs the images that wait at once; it never waits for a fuller batch. Images whose
deadline has passed, or whose future is cancelled, never run. Searches of one batch run in parallel
with the next batch. Knows arrays, a backend and a search function; nothing of HTTP.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Final

from service import concurrency
from service.engine.admission import AdmissionController
from service.engine.backends.base import Backend, zeros
from service.engine.batch import Answer, Batch, split
from service.engine.queue import BatchItem, RequestQueue
from service.engine.search_stage import PendingSearch, Searcher, SearchStage
from service.engine.types import Entry, Outcomes, Priority, SearchQuery, deliver
from service.errors import DeadlinePassedError, InferenceFailedError, UnavailableError
from training.bundle import Layer, Pixels

LOADING_REASON: Final = "the network is being loaded"
RESTART_SECONDS: Final = 0.5
"""Seconds between the death of the worker and its restart."""

logger = logging.getLogger(__name__)


class Engine:
    """Embeds images in batches. Its methods may be called from any thread.

    `admission` counts the images of requests and may be used from the event loop only.
    """

    def __init__(
        self,
        backend: Backend,
        search: Searcher | None = None,
        *,
        max_batch_size: int = 64,
        max_queue_size: int = 512,
        batch_timeout: float = 10.0,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            backend: runs the network; only the engine's worker may call it from now on.
            search: finds the nearest images of the gallery; if None, `embed` accepts no searches.
            max_batch_size: images in a batch.
            max_queue_size: images that may be admitted and not yet answered, for each priority.
            batch_timeout: seconds in one batch after which the worker counts as stuck.
            on_batch: called with the size of each batch before it runs.

        """
        self.dimensions: Mapping[Layer, int] = {}
        self.admission = AdmissionController(
            dict.fromkeys(Priority, max_queue_size), self.check_healthy, self._wake_for_background
        )
        self._backend = backend
        self._search_stage = None if search is None else SearchStage(search)
        self._max_batch_size = max_batch_size
        self._batch_timeout = batch_timeout
        self._on_batch = on_batch
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="engine", daemon=True)
        self._changed = threading.Condition()  # guards all fields below
        self._queue = RequestQueue(self.admission)
        self._taken: tuple[BatchItem, ...] = ()  # from the queue, and not yet answered
        self._running_since = 0.0
        self._unhealthy_reason: str | None = LOADING_REASON

    @property
    def description(self) -> str:
        """The backend, its device and its precision, as text for display."""
        return self._backend.name

    @property
    def searches(self) -> bool:
        """Whether `embed` accepts searches."""
        return self._search_stage is not None

    def start(self) -> None:
        """Start the worker; return when the network is warm.

        Raises:
            UnavailableError: the network does not run on this device.

        """
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._unhealthy_reason != LOADING_REASON)
            failed = self._unhealthy_reason
        if failed:
            self.stop()
            raise UnavailableError(failed)

    def stop(self) -> None:
        """Fail the images that wait, end the worker and free the network."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._fail_all("the service is stopping")
        if self._thread.ident is not None:  # it was started
            self._thread.join(timeout=self._batch_timeout)
        if self._search_stage:
            self._search_stage.stop()
        if not self._thread.is_alive():  # else the worker is stuck in the network
            self._backend.close()
            self._search_stage = None  # it refers to the gallery

    @property
    def unhealthy_reason(self) -> str | None:
        """Why no images are accepted now; None if the engine is healthy."""
        if self._taken:
            busy = time.monotonic() - self._running_since
            if busy > self._batch_timeout:
                return f"the worker has been at one batch for {busy:.0f} s"
        return self._unhealthy_reason

    def check_healthy(self) -> None:
        """Return if images are accepted now.

        Raises:
            UnavailableError: the worker is loading, stuck, restarting or stopped.

        """
        if reason := self.unhealthy_reason:
            raise UnavailableError(f"No images are accepted now: {reason}.")

    @property
    def depth(self) -> int:
        """Number of images that wait for a batch."""
        return len(self._queue)

    async def embed(
        self,
        images: Sequence[Pixels],
        deadline: float,
        searches: Iterable[SearchQuery] = (),
        *,
        priority: Priority = Priority.INTERACTIVE,
        with_novelty: bool = False,
        further: Iterable[Layer] = (),
    ) -> Outcomes:
        """Embed images, in their order; one image may fail alone.

        All of the images are queued, or none. If the caller is cancelled, those that still wait
        are removed from the queue.

        Args:
            images: uint8 [side, side, 3] each.
            deadline: a reading of `time.monotonic()`.
            searches: made with each image's embeddings.
            priority: of all images.
            with_novelty: whether to compute the novelty of each image.
            further: layers that the embeddings have beside the served ones.

        Raises:
            UnavailableError: the worker is loading, stuck, restarting or stopped.
            QueueFullError: background images that could not run before their deadline.
            DeadlinePassedError: the deadline passed in the queue.

        """
        if not images:
            return []
        future: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        entry = Entry(
            images,
            deadline,
            future,
            searches,
            priority=priority,
            with_novelty=with_novelty,
            further=further,
        )
        self._enqueue(entry)
        try:
            return await future
        finally:
            if future.cancelled():
                self._withdraw(entry)

    def submit(
        self,
        images: Sequence[Pixels],
        deadline: float,
        searches: Iterable[SearchQuery] = (),
        *,
        priority: Priority = Priority.INTERACTIVE,
        with_novelty: bool = False,
    ) -> "Future[Outcomes]":
        """Embed images as `embed` does, from a thread without an event loop.

        To remove the images from the queue, cancel the future.
        """
        future: Future[Outcomes] = Future()
        entry = Entry(
            images, deadline, future, searches, priority=priority, with_novelty=with_novelty
        )
        self._enqueue(entry)
        future.add_done_callback(partial(self._withdraw_if_cancelled, entry))
        return future

    def _withdraw_if_cancelled(self, entry: Entry, future: "Future[Outcomes]") -> None:
        if future.cancelled():
            self._withdraw(entry)

    def _enqueue(self, entry: Entry) -> None:
        with self._changed:
            self.check_healthy()
            self._queue.add(entry)
            self._changed.notify_all()

    def _withdraw(self, entry: Entry) -> None:
        with self._changed:
            self._queue.remove(entry)

    def _wake_for_background(self) -> None:
        if self._queue.count(Priority.BACKGROUND):
            with self._changed:
                self._changed.notify_all()

    def _supervise(self) -> None:
        """Run the worker; if it dies, fail the images that wait and restart it."""
        concurrency.lower_priority()
        while not self._stopping.is_set():
            try:
                self._prepare()
                self._run_loop()
            except BaseException as error:  # even SystemExit must not end the worker
                logger.exception("The worker died and is being restarted")
                self._fail_all(f"the worker died ({error!r}) and is being restarted")
                self._stopping.wait(RESTART_SECONDS)

    def _prepare(self) -> None:
        dimensions = self._backend.prepare(self._max_batch_size)
        with self._changed:
            self.dimensions = dimensions
            self._unhealthy_reason = None
            self._changed.notify_all()
        logger.info("The network is ready: %s", self._backend.name)

    def _run_loop(self) -> None:
        batch = self._next_batch()
        while batch:
            following = self._run_batch(batch)
            batch = following or self._next_batch()

    def _run_batch(self, batch: Batch) -> Batch | None:
        """Run a batch and answer it; return the next one if images wait.

        The next one is made before the answers wake the event loop, which would hold Python's lock:
        so the network need not wait for it.
        """
        self._on_batch(len(batch))
        answer = None
        try:
            answer = self._embed(batch)
        except Exception:  # one image must not fail another: run each alone
            for item in batch.items:
                self._run_single(item)
        if batch.in_background:
            with self._changed:
                self._queue.record_background(len(batch))
        following = self._next_batch(wait=False)
        if answer:
            self._deliver(answer, more=following is not None)
        with self._changed:
            self._taken = following.items if following else ()
        return following

    def _next_batch(self, *, wait: bool = True) -> Batch | None:
        """Return the next batch; None if none waits and `wait` is false, or when stopping."""
        with self._changed:
            while not self._stopping.is_set():
                if items := self._queue.next_batch(self._max_batch_size):
                    self._running_since = time.monotonic()
                    self._taken = items if wait else (*self._taken, *items)
                    break
                if not wait:
                    return None
                self._taken = ()
                self._changed.wait(self._queue.background_delay)
            else:
                return None
        batch = Batch(items)
        with suppress(Exception):  # it fails again where the batch runs
            batch.stack()
        return batch

    def _embed(self, batch: Batch) -> Answer:
        """Run the network, and store the embeddings that need no search."""
        started = time.monotonic()
        found = self._backend.run(
            batch.stack(), with_novelty=batch.with_novelty, further=batch.further
        )
        inference = time.monotonic() - started
        answer = Answer(found, [], [])
        embedded = split(found, self._backend.spec.classes)
        for row, (item, embeddings) in enumerate(zip(batch.items, embedded, strict=True)):
            embeddings.queued = started - item.entry.submitted
            embeddings.inference = inference
            embeddings.pixels = item.pixels
            if item.entry.searches:
                answer.pending.append(PendingSearch(item, embeddings, row))
            elif item.entry.set_outcome(item.number, embeddings):
                answer.complete.append(item.entry)
        return answer

    def _deliver(self, answer: Answer, *, more: bool) -> None:
        """Resolve the entries that are complete, and make the searches of the others.

        If `more` images wait for the network, the searches run beside it.
        """
        deliver(answer.complete)  # they need not wait for others' searches
        if answer.pending:
            assert self._search_stage  # noqa: S101 - `embed` accepts searches only with it
            self._search_stage.dispatch(answer.found, answer.pending, in_background=more)

    def _run_single(self, item: BatchItem) -> None:
        entry = item.entry
        if entry.expired:
            entry.fail(DeadlinePassedError("The deadline passed in a failing batch."))
            deliver([entry])
            return
        try:
            self._deliver(self._embed(Batch((item,))), more=False)
        except Exception as error:
            self._backend.run(
                zeros(1, self._backend.spec.side)
            )  # if it fails on zeros too, the worker dies
            entry.context.run(logger.warning, "The network failed on one image", exc_info=error)
            failure = InferenceFailedError(f"The network failed on this image: {error}.")
            if entry.set_outcome(item.number, failure):
                deliver([entry])

    def _fail_all(self, reason: str) -> None:
        """Mark the engine unhealthy and fail the images that run or wait."""
        with self._changed:
            lost = {*(item.entry for item in self._taken), *self._queue.clear()}
            self._taken = ()
            self._unhealthy_reason = reason
            self._changed.notify_all()
        for entry in lost:
            entry.fail(UnavailableError(f"The image was dropped: {reason}."))
        deliver(tuple(lost))
