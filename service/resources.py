"""Reference counting: a shared resource is closed after its last use.

Knows counting; nothing of what is shared.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class RefCounted(Generic[T]):
    """A resource with an owner and any number of users. Safe to use from several threads.

    It is closed once the owner has released it and no user is left.
    """

    def __init__(self, resource: T, close: Callable[[], object] = lambda: None) -> None:
        """Start with the owner's reference and no users.

        Args:
            resource: what `acquire` gives to each user.
            close: closes the resource; called once, when the owner and the last user are done.

        """
        self._resource = resource
        self._close = close
        self._lock = threading.Lock()
        self._users = 0
        self._released = False
        self._closed: Future[None] = Future()

    @property
    def users(self) -> int:
        """The number of users now, without the owner."""
        return self._users

    @contextmanager
    def acquire(self) -> Iterator[T]:
        """Use the resource; it stays open until the end of the `with` block.

        Raises:
            RuntimeError: the resource has been closed.

        """
        with self._lock:
            if self._released and self._users == 0:
                raise RuntimeError("The resource has been closed.")
            self._users += 1
        try:
            yield self._resource
        finally:
            with self._lock:
                self._users -= 1
                last = self._released and self._users == 0
            if last:
                self._finish()

    def release(self) -> None:
        """Give up the owner's reference; more than once has no effect."""
        with self._lock:
            last = not self._released and self._users == 0
            self._released = True
        if last:
            self._finish()

    async def wait_closed(self) -> None:
        """Wait until the resource has been closed."""
        # Shielded: a timeout of one waiter must not cancel the future that all wait for.
        await asyncio.shield(asyncio.wrap_future(self._closed))

    def _finish(self) -> None:
        try:
            self._close()
        finally:
            self._closed.set_result(None)
