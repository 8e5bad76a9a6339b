"""Commits changes in groups: all that wait share one transaction and so one disk sync.

A change is durable first, then searchable, then acknowledged. Knows the store and its listeners;
nothing of indexes.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from service.concurrency import lower_priority
from service.errors import StorageError, UnavailableError
from service.gallery.local.events import Change, Events, merge_events
from service.gallery.local.store import Store
from service.resources import RefCounted

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """A gallery whose snapshots are built from the store."""

    def rebuild(self) -> None:
        """Build the snapshot again from all that is stored."""

    def apply(self, events: Events) -> None:
        """Show the changes in the next snapshot."""


@dataclass(frozen=True)
class WriteOp(Generic[T]):
    """A change that waits for its transaction."""

    work: Callable[[], Change[T]]
    future: Future[T] = field(default_factory=Future)

    def attempt(self, store: Store) -> "Change[T] | Exception":
        """Run the work in a savepoint; if it raises, undo it and return the error.

        Raises:
            StorageError: the store is full; this fails the whole transaction.

        """
        try:
            with store.savepoint():
                return self.work()
        except StorageError:
            raise
        except Exception as error:  # an error of one operation must not undo the others
            return error

    def resolve(self, outcome: "Change[T] | Exception") -> None:
        """Give the caller the result or the error."""
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome.result)


class GroupCommitWriter:
    """Runs all changes of a store in one thread. Its methods may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.shared = RefCounted(store, self._close)
        """Acquired by each gallery; when the last has been closed, the store is closed."""
        self.lock = threading.Lock()
        """Held while the store is read or changed, and while a snapshot is replaced."""
        self._listeners: list[Listener] = []
        self._begin = store.transaction
        self._changed = threading.Condition()
        self._waiting: list[WriteOp[object]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run_loop, name="gallery-writer", daemon=True)
        self._thread.start()

    def attach(self, listener: Listener) -> None:
        """Build a gallery's snapshot, and apply all later changes to it."""
        with self.lock:
            listener.rebuild()
            self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        """Apply no more changes to a gallery."""
        with self.lock:
            self._listeners.remove(listener)

    def submit(self, work: Callable[[], Change[T]]) -> Future[T]:
        """Queue work for a transaction of the writer's thread.

        If the commit fails, the work may be done again; it must have no other effects. Until it
        begins, the future can be cancelled.

        Returns:
            The result, once it is durable and searchable. Or the error of the work, or
            `StorageError`; then nothing has changed.

        """
        op = WriteOp(work)
        with self._changed:
            if self._closing:
                op.future.set_exception(UnavailableError("The gallery has been closed."))
            else:
                self._waiting.append(op)  # type: ignore[arg-type]  # the future has the work's type
                self._changed.notify()
        return op.future

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Commit all changes of the block together, or none; for one user at a time.

        The changes are searchable at once, and durable at the end of the block.

        Raises:
            StorageError: they cannot be stored.
            UnavailableError: another process has locked the store.

        """
        try:
            with ExitStack() as stack:
                self.lock.acquire()
                stack.callback(self.lock.release)
                self._lock_store()
                stack.enter_context(self.store.transaction())
                self._begin = self.store.savepoint
                self.lock.release()
                try:
                    yield
                finally:
                    self.lock.acquire()
                    self._begin = self.store.transaction
        except BaseException:
            with self.lock:
                for listener in self._listeners:
                    self._rebuild(listener)
            raise

    def _close(self) -> None:
        """Finish the waiting changes, then close the store."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self.store.close()

    def _run_loop(self) -> None:
        lower_priority()  # a commit must not delay the event loop
        while self._run_batch():
            pass

    def _run_batch(self) -> bool:
        """Wait for changes and commit all that wait; return False if the writer is closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            ops, self._waiting = self._waiting, []
        if live := [op for op in ops if op.future.set_running_or_notify_cancel()]:
            with self.lock:
                self._commit(live)
        return bool(ops)

    def _commit(self, ops: Sequence[WriteOp[object]]) -> None:
        try:
            outcomes = self._write(ops)
        except Exception as error:  # nothing has been stored; each caller gets its own error
            if len(ops) == 1:
                ops[0].resolve(error)
            else:  # a small change may still have room
                for op in ops:
                    self._commit([op])
            return
        self._publish([one.events for one in outcomes if isinstance(one, Change)])
        for op, outcome in zip(ops, outcomes, strict=True):
            op.resolve(outcome)

    def _lock_store(self) -> None:
        if not self.store.locked:
            self.store.lock()
            for listener in self._listeners:  # another process may have changed the store
                listener.rebuild()

    def _write(self, ops: Sequence[WriteOp[object]]) -> list[Change[object] | Exception]:
        self._lock_store()
        with self._begin():
            return [op.attempt(self.store) for op in ops]

    def _publish(self, changes: Sequence[Events]) -> None:
        events = merge_events(changes)
        for listener in self._listeners:
            try:
                listener.apply(events)
            except Exception:
                logger.exception("The snapshot could not be updated and is rebuilt from the store")
                self._rebuild(listener)

    def _rebuild(self, listener: Listener) -> None:
        try:
            listener.rebuild()
        except Exception:  # the changes are durable, and must be acknowledged
            logger.exception("The snapshot is out of date: it could not be rebuilt")
