"""Creates the Milvus collection of a gallery: its fields and their indexes.

Knows pymilvus; nothing of images or bundles.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from pymilvus import CollectionSchema, DataType, MilvusClient, MilvusException
from pymilvus.milvus_client import IndexParams

INDEXED_FIELDS: Final = ("bundle", "label", "predicted", "source", "network", "shape", "tags")
"""Fields used in filters, which need an index to avoid a scan of all rows."""
MAX_TEXT_LENGTH: Final = 65_535
"""Bytes that a text field of Milvus can hold, at most."""
_HNSW: Final = {"M": 16, "efConstruction": 200}
_ON_DISK: Final = {"mmap.enabled": "true"}
"""Full vectors are mapped from disk, to save memory."""


def create_collection(
    client: MilvusClient,
    name: str,
    dimensions: Mapping[str, int],
    graphs: Sequence[str],
    *,
    lite: bool,
) -> None:
    """Create a collection, unless another service creates it at the same time.

    Args:
        client: connected to the Milvus.
        name: of the collection.
        dimensions: the vector fields and their numbers of dimensions.
        graphs: vector fields with an HNSW index; the others are searched exhaustively.
        lite: whether this is milvus-lite, which has fewer kinds of indexes.

    """
    try:
        client.create_collection(
            name,
            schema=_schema(dimensions),
            index_params=_indexes(dimensions, graphs, lite=lite),
            consistency_level="Strong",
        )
    except MilvusException:
        if not client.has_collection(name):
            raise


def vector_dimensions(client: MilvusClient, name: str) -> dict[str, int]:
    """Return the vector fields of a collection and their numbers of dimensions."""
    described = client.describe_collection(name)
    return {
        field["name"]: int(field["params"]["dim"])
        for field in described["fields"]
        if field["type"] == DataType.FLOAT_VECTOR
    }


def _schema(dimensions: Mapping[str, int]) -> CollectionSchema:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=1_024)
    for name in ("id", "bundle", "label", "predicted", "source", "network", "shape"):
        schema.add_field(name, DataType.VARCHAR, max_length=1_024)
    for name in ("attributes", "created_at", "image"):
        schema.add_field(name, DataType.VARCHAR, max_length=MAX_TEXT_LENGTH)
    schema.add_field("label_predicted", DataType.BOOL)
    schema.add_field("revision", DataType.INT64)
    schema.add_field(
        "tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=1_024, max_length=8_192
    )
    for name, size in dimensions.items():
        schema.add_field(name, DataType.FLOAT_VECTOR, dim=size)
    return schema


def _indexes(dimensions: Mapping[str, int], graphs: Sequence[str], *, lite: bool) -> IndexParams:
    indexes = MilvusClient.prepare_index_params()
    flat = {} if lite else _ON_DISK
    for name in dimensions:
        if name in graphs:
            indexes.add_index(name, index_type="HNSW", metric_type="IP", params=_HNSW)
        else:
            indexes.add_index(name, index_type="FLAT", metric_type="IP", params=flat)
    for name in () if lite else INDEXED_FIELDS:
        indexes.add_index(name, index_type="INVERTED")
    return indexes
