"""Reads and writes the rows of one Milvus collection, on a server or in a file of milvus-lite.

All reads are strongly consistent: they see every write that any service has finished. Knows Milvus;
nothing of images or bundles.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any, Final

from grpc import RpcError
from pymilvus import MilvusClient, MilvusException
from pymilvus.exceptions import MilvusUnavailableException

from service.errors import StorageError, UnavailableError
from service.gallery.milvus.address import MilvusAddress
from service.gallery.milvus.client_pool import ClientPool
from service.gallery.milvus.expressions import Expression, expression
from service.gallery.milvus.schema import create_collection, vector_dimensions
from training.bundle import Vectors

Row = dict[str, Any]  # Any: what a field holds depends on its name

QUERIES: Final = 25
"""Queries of one search call, so that an exact search ends within `TIMEOUT`."""
CHUNK: Final = 200
"""Rows of one call: about 8 MB of vectors; Milvus accepts 64 MB."""
TIMEOUT: Final = 10.0
"""Seconds to wait for a connection or a response."""
WRITE_TIMEOUT: Final = 30.0
"""Seconds to wait for a write of `CHUNK` rows."""
MAX_LIMIT: Final = 16_384
"""Rows that Milvus returns from one call, at most."""
_STORAGE_FULL: Final = frozenset({3, 7, 9})
"""Milvus's error codes for exhausted memory, disk and quota."""


class Collection:
    """The rows of one collection. Any thread may read; only `writer` may write."""

    def __init__(
        self,
        address: MilvusAddress,
        dimensions: Mapping[str, int],
        graphs: Sequence[str] = (),
        *,
        optional: Set[str] = frozenset(),
        timeout: float = TIMEOUT,
    ) -> None:
        """Open a collection; create it if it is missing.

        Args:
            address: of the Milvus, and the collection's name.
            dimensions: the vector fields and their numbers of dimensions.
            graphs: vector fields with an HNSW index; the others are searched exhaustively.
            optional: vector fields that a collection may lack.
            timeout: seconds to wait for a connection or a response.

        Raises:
            UnavailableError: the Milvus cannot be reached.
            StorageError: the collection has vector fields of other dimensions.

        """
        self.writer = ThreadPoolExecutor(1, "milvus-writer")
        """Runs all changes, one at a time. At normal priority: the threads of gRPC that it starts
        inherit the priority, and serve searches too."""
        self._address = address
        self._timeout = timeout
        if address.file:
            _create_folder(address.file.parent)
        self._clients = ClientPool(self._connect)
        with self._translated_errors() as client:
            self._lite = "lite" in client.get_server_version()
            if not client.has_collection(address.name):
                create_collection(client, address.name, dimensions, graphs, lite=self._lite)
            client.load_collection(address.name)
            self.dimensions = vector_dimensions(client, address.name)
        try:
            self.require(
                {
                    name: size
                    for name, size in dimensions.items()
                    if name in self.dimensions or name not in optional
                }
            )
        except StorageError:
            self.close()
            raise

    def require(self, dimensions: Mapping[str, int]) -> None:
        """Check that vectors of these dimensions fit the collection's fields.

        Raises:
            StorageError: the collection was created for others.

        """
        lacking = {name: size for name, size in dimensions.items() if not self._fits(name, size)}
        if lacking:
            raise StorageError(
                f"The Milvus collection {self._address.name!r} was created for other vectors: it "
                f"has {self.dimensions}, and {lacking} is needed. Set another collection in "
                "KINDRED_GALLERY; export and import copy the images."
            )

    def query(
        self,
        *filters: Expression,
        fields: Sequence[str],
        limit: int = MAX_LIMIT,
        ordered: bool = False,
    ) -> list[Row]:
        """Return the fields of up to `limit` rows that match all filters.

        If `ordered`, rows come in the order of keys. Else Milvus chooses which rows come first.
        """
        order = {"iterator": "True", "reduce_stop_for_best": "True"} if ordered else {}
        with self._translated_errors() as client:
            found: list[Row] = client.query(
                self._address.name,
                **self._filter_arguments(filters),
                output_fields=list(fields),
                limit=limit,
                timeout=self._timeout,
                **order,
            )
        return found

    def scan(self, *filters: Expression, fields: Sequence[str]) -> Iterator[Row]:
        """Yield the fields of all rows that match all filters, in the order of keys."""
        after = ""
        while found := self.query(
            *filters,
            expression("key > {after}", after=after),
            fields=("key", *fields),
            ordered=True,
        ):
            yield from found
            after = found[-1]["key"]

    def count(self, *filters: Expression) -> int:
        """Return the number of rows that match all filters."""
        field = "key" if self._lite else "count(*)"  # which reads all vectors in milvus-lite
        with self._translated_errors() as client:
            found = client.query(
                self._address.name,
                **self._filter_arguments(filters),
                output_fields=[field],
                timeout=self._timeout,
            )
        return len(found) if self._lite else int(found[0][field])

    def search(
        self,
        vectors: str,
        queries: Vectors,
        limit: int,
        *filters: Expression,
        fields: Sequence[str],
        ef: int | None = None,
    ) -> list[list[tuple[Row, float]]]:
        """Return the `limit` rows with the largest inner products with each query, best first.

        Args:
            vectors: the vector field to search.
            queries: [N, dimension].
            limit: rows for each query, at most.
            filters: which rows must match, all of them.
            fields: of the rows returned.
            ef: candidates that an HNSW index keeps during the search.

        """
        found: list[list[tuple[Row, float]]] = []
        with self._translated_errors() as client:
            for start in range(0, len(queries), QUERIES):
                batch_hits = client.search(
                    self._address.name,
                    data=list(queries[start : start + QUERIES]),
                    anns_field=vectors,
                    limit=min(limit, MAX_LIMIT),
                    output_fields=list(fields),
                    search_params={"params": {"ef": ef}} if ef else {},
                    timeout=self._timeout,
                    **self._filter_arguments(filters),
                )
                found += [
                    [(hit["entity"], float(hit["distance"])) for hit in hits] for hits in batch_hits
                ]
        return found

    def upsert(self, rows: Sequence[Row], *, partial: bool = False) -> None:
        """Write rows, replacing those of the same keys; if `partial`, only the fields given.

        Raises:
            StorageError: the Milvus has no room.
            UnavailableError: the Milvus cannot be reached.

        """
        with self._translated_errors() as client:
            for start in range(0, len(rows), CHUNK):
                client.upsert(
                    self._address.name,
                    list(rows[start : start + CHUNK]),
                    timeout=WRITE_TIMEOUT,
                    partial_update=partial,
                )

    def delete(self, keys: Sequence[str]) -> None:
        """Delete rows; unknown keys are ignored."""
        with self._translated_errors() as client:
            for start in range(0, len(keys), CHUNK):
                client.delete(
                    self._address.name, ids=list(keys[start : start + CHUNK]), timeout=WRITE_TIMEOUT
                )

    def close(self) -> None:
        """Finish the changes that wait, then disconnect and release the file, if any."""
        self.writer.shutdown()
        self._clients.close()
        if self._address.file:
            from milvus_lite.server_manager import (  # noqa: PLC0415  # where it is installed
                server_manager_instance,
            )

            server_manager_instance.release_server(self._address.uri)

    def _fits(self, name: str, size: int) -> bool:
        return size <= self.dimensions.get(name, 0)

    def _filter_arguments(
        self, filters: Sequence[Expression]
    ) -> dict[str, Any]:  # Any: keywords of pymilvus
        combined = reduce(and_, filters)
        if self._lite:
            return {"filter": combined.with_literals()}
        return {"filter": combined.text, "filter_params": dict(combined.values)}

    @contextmanager
    def _translated_errors(self) -> Iterator[MilvusClient]:
        """Yield a client; raise Milvus's errors as the service's own."""
        try:
            with self._clients.acquire() as client:
                yield client
        except MilvusException as error:
            if error.code in _STORAGE_FULL and not isinstance(error, MilvusUnavailableException):
                raise StorageError(
                    f"Milvus has no room: {error.message}. Nothing stored was lost; raise its "
                    "limits or remove images, then retry."
                ) from error
            raise self._unavailable(error.message) from error
        except RpcError as error:
            raise self._unavailable(str(error)) from error

    def _connect(self) -> MilvusClient:
        client = MilvusClient(
            self._address.uri,
            token=self._address.token,
            timeout=self._timeout,
            dedicated=True,  # closing a shared connection would close it for all
        )
        if client.has_collection(self._address.name):
            client.load_collection(self._address.name)  # milvus-lite unloads it at the end
        return client

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"The Milvus at {self._address.uri} is not available: {reason}. Retry later."
        )


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The gallery's folder {folder} cannot be written: {error.strerror}."
        ) from error
