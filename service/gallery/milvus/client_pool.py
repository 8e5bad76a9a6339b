"""The client of a Milvus that all who ask share; another takes its place when it has failed.

A client that has lost its Milvus never finds it again, and one that is closed fails whoever is
asking by it. So one that has failed is lent to nobody more, and its last user closes it. Knows
pymilvus; nothing of rows.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from grpc import RpcError
from pymilvus import MilvusClient, MilvusException


class ClientPool:
    """Lends a client. Safe to use from several threads."""

    def __init__(self, connect: Callable[[], MilvusClient]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._current: MilvusClient | None = None
        self._users: Counter[MilvusClient] = Counter()

    @contextmanager
    def acquire(self) -> Iterator[MilvusClient]:
        """One that is connected. It has failed where Milvus's error goes through here."""
        with self._lock:
            if self._current is None:
                self._current = self._connect()
            client = self._current
            self._users[client] += 1
        try:
            yield client
        except (MilvusException, RpcError):
            self._discard(client)
            raise
        finally:
            with self._lock:
                self._users[client] -= 1
            self._close_unused()

    def close(self) -> None:
        """Let go of it; who is asking may still do so to the end."""
        with self._lock:
            self._current = None
        self._close_unused()

    def _discard(self, client: MilvusClient) -> None:
        """Have whoever comes next connect anew."""
        with self._lock:
            if self._current is client:
                self._current = None

    def _close_unused(self) -> None:
        with self._lock:
            unused = [
                client
                for client, users in self._users.items()
                if users == 0 and client is not self._current
            ]
            for client in unused:
                del self._users[client]
        for client in unused:
            client.close()
