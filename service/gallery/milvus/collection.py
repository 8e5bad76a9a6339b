"""One collection of a Milvus, be it a cluster or a file on a laptop: rows in, rows out.

Everything is asked for with strong consistency: what has been written is seen by whoever asks next,
wherever it was written. Knows Milvus; nothing of images or bundles.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import reduce
from operator import and_
from typing import Any, Final

from grpc import RpcError
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.exceptions import MilvusUnavailableException

from service.concurrency import lower_priority
from service.errors import StorageError, UnavailableError
from service.gallery.milvus.address import MilvusAddress
from service.gallery.milvus.client_pool import ClientPool
from service.gallery.milvus.expressions import Expression, expression
from training.bundle import Vectors

Row = dict[str, Any]  # Any: what a field holds depends on its name

QUERIES: Final = 25
"""Queries of one call: an exact search of many takes longer than anybody waits for a call."""
CHUNK: Final = 200
"""Rows of one call: some 8 MB of vectors, of the 64 MB that Milvus takes."""
TIMEOUT: Final = 10.0
"""Seconds to wait for a connection or an answer: nobody waits longer for a search."""
WRITE_TIMEOUT: Final = 30.0
"""Seconds that some rows may take to be kept."""
MAX_LIMIT: Final = 16_384
"""Rows that Milvus gives out at once."""
INDEXED_FIELDS: Final = ("bundle", "label", "predicted", "source", "network", "shape", "tags")
"""What is asked for without a key, and should not be looked for in every row."""
MAX_TEXT_LENGTH: Final = 65_535
"""Bytes that a text field of Milvus can hold."""
_GRAPH: Final = {"M": 16, "efConstruction": 200}
_STORAGE_FULL: Final = frozenset({3, 7, 9})
"""Milvus's codes for memory, disk and quota that are used up."""


class Collection:
    """The rows of one collection. Safe to use from several threads, but by one that writes."""

    def __init__(
        self,
        place: MilvusAddress,
        dimensions: Mapping[str, int],
        graphs: Sequence[str] = (),
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        """Open it; make it where there is none, with a vector field for each of the dimensions.

        Those named in `graphs` are searched by a graph, the others one by one. The Milvus
        may take `timeout` seconds to be found, and to answer.

        Raises:
            UnavailableError: the Milvus cannot be reached.
            StorageError: the collection that is there has other vectors.

        """
        self.writer = ThreadPoolExecutor(1, "milvus-writer", lower_priority)
        """Runs all changes, one at a time."""
        self._place = place
        self._timeout = timeout
        if place.file:
            place.file.parent.mkdir(parents=True, exist_ok=True)
        self._clients = ClientPool(self._connected)
        with self._translated_errors() as client:
            self._lite = "lite" in client.get_server_version()
            if not client.has_collection(place.name):
                self._make(client, dimensions, graphs)
            client.load_collection(place.name)
            self.dimensions = self._found(client)
        try:
            self.require(dimensions)
        except StorageError:
            self.close()
            raise

    def require(self, dimensions: Mapping[str, int]) -> None:
        """See that vectors of these dimensions have fields.

        Raises:
            StorageError: the collection was made for others.

        """
        lacking = {name: size for name, size in dimensions.items() if not self._fits(name, size)}
        if lacking:
            raise StorageError(
                f"The Milvus collection {self._place.name!r} was made for other vectors: it has "
                f"{self.dimensions}, and {lacking} is needed. Give KINDRED_GALLERY another name; "
                "export and import bring the images over."
            )

    def query(
        self,
        *filters: Expression,
        fields: Sequence[str],
        limit: int = MAX_LIMIT,
        ordered: bool = False,
    ) -> list[Row]:
        """The fields of up to `limit` rows for which all filters hold; in the order of keys if so.

        Without that order, which of more than `limit` rows come is Milvus's choice.
        """
        order = {"iterator": "True", "reduce_stop_for_best": "True"} if ordered else {}
        with self._translated_errors() as client:
            found: list[Row] = client.query(
                self._place.name,
                **self._asked(filters),
                output_fields=list(fields),
                limit=limit,
                timeout=self._timeout,
                **order,
            )
        return found

    def scan(self, *filters: Expression, fields: Sequence[str]) -> Iterator[Row]:
        """The fields of all rows for which all filters hold, in the order of keys."""
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
        """How many rows there are for which all filters hold."""
        with self._translated_errors() as client:
            if self._lite:  # its count(*) reads all vectors
                return len(
                    client.query(
                        self._place.name,
                        **self._asked(filters),
                        output_fields=["key"],
                        timeout=self._timeout,
                    )
                )
            (row,) = client.query(
                self._place.name,
                **self._asked(filters),
                output_fields=["count(*)"],
                timeout=self._timeout,
            )
        return int(row["count(*)"])

    def search(
        self,
        vectors: str,
        queries: Vectors,
        limit: int,
        *filters: Expression,
        fields: Sequence[str],
        effort: int | None = None,
    ) -> list[list[tuple[Row, float]]]:
        """The rows with the largest inner products, and those, for each query [N, dimension].

        A graph keeps `effort` rows in view.
        """
        found: list[list[tuple[Row, float]]] = []
        with self._translated_errors() as client:
            for start in range(0, len(queries), QUERIES):
                some = client.search(
                    self._place.name,
                    data=list(queries[start : start + QUERIES]),
                    anns_field=vectors,
                    limit=min(limit, MAX_LIMIT),
                    output_fields=list(fields),
                    search_params={"params": {"ef": effort}} if effort else {},
                    timeout=self._timeout,
                    **self._asked(filters),
                )
                found += [
                    [(hit["entity"], float(hit["distance"])) for hit in hits] for hits in some
                ]
        return found

    def upsert(self, rows: Sequence[Row], *, partial: bool = False) -> None:
        """Write rows, in the place of those with the same keys; of each, if `partial`, some fields.

        Raises:
            StorageError: the Milvus has no room for them.
            UnavailableError: it cannot take them now.

        """
        with self._translated_errors() as client:
            for start in range(0, len(rows), CHUNK):
                client.upsert(
                    self._place.name,
                    list(rows[start : start + CHUNK]),
                    timeout=WRITE_TIMEOUT,
                    partial_update=partial,
                )

    def delete(self, keys: Sequence[str]) -> None:
        """Take rows away; those that are not there are no matter."""
        with self._translated_errors() as client:
            for start in range(0, len(keys), CHUNK):
                client.delete(
                    self._place.name, ids=list(keys[start : start + CHUNK]), timeout=WRITE_TIMEOUT
                )

    def close(self) -> None:
        """Let go of it; of the file too, where it is one."""
        self.writer.shutdown()
        self._clients.close()
        if self._place.file:
            from milvus_lite.server_manager import (  # noqa: PLC0415  # where it is installed
                server_manager_instance,
            )

            server_manager_instance.release_server(self._place.uri)

    def _fits(self, name: str, size: int) -> bool:
        return size <= self.dimensions.get(name, 0)

    def _asked(self, filters: Sequence[Expression]) -> dict[str, Any]:  # Any: keywords of pymilvus
        combined = reduce(and_, filters)
        if self._lite:
            return {"filter": combined.with_literals()}
        return {"filter": combined.text, "filter_params": dict(combined.values)}

    def _make(
        self, client: MilvusClient, dimensions: Mapping[str, int], graphs: Sequence[str]
    ) -> None:
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=1_024)
        for name in ("id", "bundle", "label", "predicted", "source", "network", "shape"):
            schema.add_field(name, DataType.VARCHAR, max_length=1_024)
        for name in ("attributes", "created_at", "image"):
            schema.add_field(name, DataType.VARCHAR, max_length=MAX_TEXT_LENGTH)
        schema.add_field("label_predicted", DataType.BOOL)
        schema.add_field("revision", DataType.INT64)
        schema.add_field(
            "tags",
            DataType.ARRAY,
            element_type=DataType.VARCHAR,
            max_capacity=1_024,
            max_length=8_192,
        )
        index = MilvusClient.prepare_index_params()
        for name, size in dimensions.items():
            schema.add_field(name, DataType.FLOAT_VECTOR, dim=size)
            if name in graphs:
                index.add_index(name, index_type="HNSW", metric_type="IP", params=_GRAPH)
            else:
                index.add_index(name, index_type="FLAT", metric_type="IP", params=self._on_disk())
        for name in () if self._lite else INDEXED_FIELDS:
            index.add_index(name, index_type="INVERTED")
        try:
            client.create_collection(
                self._place.name, schema=schema, index_params=index, consistency_level="Strong"
            )
        except MilvusException:
            if not client.has_collection(self._place.name):  # another was quicker
                raise

    def _on_disk(self) -> dict[str, str]:
        """Full vectors are mapped from disk, so that memory need not hold them."""
        return {} if self._lite else {"mmap.enabled": "true"}

    def _found(self, client: MilvusClient) -> dict[str, int]:
        described = client.describe_collection(self._place.name)
        return {
            field["name"]: int(field["params"]["dim"])
            for field in described["fields"]
            if field["type"] == DataType.FLOAT_VECTOR
        }

    @contextmanager
    def _translated_errors(self) -> Iterator[MilvusClient]:
        """A client; what Milvus says to it is said in our own words."""
        try:
            with self._clients.acquire() as client:
                yield client
        except MilvusException as error:
            if error.code in _STORAGE_FULL and not isinstance(error, MilvusUnavailableException):
                raise StorageError(
                    f"Milvus has no room for it: {error.message}. What was kept is there; give it "
                    "more, then try again."
                ) from error
            raise self._unavailable(error.message) from error
        except RpcError as error:
            raise self._unavailable(str(error)) from error

    def _connected(self) -> MilvusClient:
        client = MilvusClient(
            self._place.uri,
            token=self._place.token,
            timeout=self._timeout,
            dedicated=True,  # what pymilvus shares would be let go of together
        )
        if client.has_collection(self._place.name):
            client.load_collection(self._place.name)  # milvus-lite forgets it in between
        return client

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(f"The Milvus at {self._place.uri} does not do it for now: {reason}")
