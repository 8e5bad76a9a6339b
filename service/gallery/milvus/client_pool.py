"""The client of a Milvus, shared by all threads; a failed client is replaced.

A client that has lost its Milvus never reconnects, and closing it fails the calls in progress. So a
failed client is not handed out again, and its last user closes it. Knows pymilvus; nothing of rows.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from grpc import RpcError
from pymilvus import MilvusClient, MilvusException

from service.resources import RefCounted


class ClientPool:
    """Connects when first used, and again after a failure. Safe to use from several threads."""

    def __init__(self, connect: Callable[[], MilvusClient]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._current: RefCounted[MilvusClient] | None = None

    @contextmanager
    def acquire(self) -> Iterator[MilvusClient]:
        """Use a connected client; if a Milvus error leaves the block, the client is replaced."""
        with ExitStack() as stack:
            with self._lock:
                if self._current is None:
                    client = self._connect()
                    self._current = RefCounted(client, client.close)
                current = self._current
                client = stack.enter_context(current.acquire())
            try:
                yield client
            except (MilvusException, RpcError):
                self._discard(current)
                raise

    def close(self) -> None:
        """Release the client; calls in progress finish first."""
        with self._lock:
            current = self._current
        if current is not None:
            self._discard(current)

    def _discard(self, client: RefCounted[MilvusClient]) -> None:
        """Release a client; the next user connects again."""
        with self._lock:
            if self._current is client:
                self._current = None
        client.release()
