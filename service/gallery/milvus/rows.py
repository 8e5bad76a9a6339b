"""Images as rows of a Milvus, and back.

A row's key is the image's id and whose it is: nobody's for what was added, the bundle's version for
what came with it; or what has become of the bundle's images of that id, which holds for all
bundles. Knows names and lengths; nothing of connections.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

import numpy as np

from service.gallery.local.updates import to_fp16
from service.gallery.milvus.collection import Row
from service.gallery.milvus.expressions import tags
from service.gallery.types import Addition, Item
from training.bundle import Layer, Vectors

ADDED: Final = ""
REMOVED: Final = "removed"
EDITED: Final = "edited"
FILLED: Final = "filled"
BASIS: Final = "basis"
DIRECTION: Final = "direction"
TOMBSTONES: Final = (REMOVED, EDITED, FILLED, BASIS, DIRECTION)
"""Whose rows are none of an image."""
SHOWN: Final = (
    "id", "bundle", "label", "predicted", "label_predicted", "attributes", "source", "created_at",
)  # fmt: skip
"""The fields that an item is made of."""
UNIT: Final = 128
"""Short vectors are kept with zeros up to a multiple of this, which changes no cosine, so that a
network of some more classes still fits."""

Dimensions = Mapping[Layer, int]


def key(image_id: str, bundle: str = ADDED) -> str:
    """The key of a row; keys are in the order of ids, for no id has a tab."""
    return f"{image_id}\t{bundle}"


def widths(dimensions: Dimensions) -> dict[str, int]:
    """How long the vectors of each layer are kept."""
    return {layer: -(-size // UNIT) * UNIT for layer, size in dimensions.items()}


def shape(dimensions: Dimensions) -> str:
    """Which vectors can be compared: those of the same layers and dimensions."""
    return ",".join(f"{layer}:{size}" for layer, size in sorted(dimensions.items()))


def of_added(addition: Addition, kept: Mapping[str, int]) -> Row:
    """The row of an image that is added."""
    png = addition.png
    return {
        **of_item(replace(addition.item, source="added"), ADDED),
        **_vectors(_rounded(addition.vectors), kept),
        "image": "" if png is None else base64.b64encode(png).decode(),
        "network": addition.network,
        "shape": shape({layer: len(vector) for layer, vector in addition.vectors.items()}),
    }


def of_bundle(
    item: Item,
    version: str,
    vectors: Mapping[Layer, Vectors],
    network: str,
    kept: Mapping[str, int],
) -> Row:
    """The row of an image that came with a bundle, whose pixels the bundle has."""
    return {
        **of_item(item, version),
        **_vectors(vectors, kept),
        "image": "",
        "network": network,
        "shape": shape({layer: len(vector) for layer, vector in vectors.items()}),
    }


def of_mark(image_id: str, mark: str, kept: Mapping[str, int], item: Item | None = None) -> Row:
    """The row that says what has become of the bundle's images of an id."""
    said = item or Item(image_id, "", None)
    return {
        **of_item(said, mark),
        **_vectors({}, kept),
        "key": key(image_id, mark),
        "image": "",
        "network": "",
        "shape": "",
    }


def of_item(item: Item, bundle: str) -> Row:
    """What a row says of an image but for its pixels and vectors."""
    return {
        "key": key(item.id, bundle),
        "id": item.id,
        "bundle": bundle,
        "predicted": item.predicted or "",
        "source": item.source,
        "created_at": item.created_at.isoformat() if item.created_at else "",
        **of_edit(item),
    }


def of_edit(item: Item) -> Row:
    """What of a row people may change."""
    return {
        "label": item.label,
        "label_predicted": item.label_predicted,
        "attributes": json.dumps(dict(item.attributes)),
        "tags": tags(item.attributes),
        "revision": time.time_ns(),
    }


def item_of(row: Row) -> Item:
    """The image of a row."""
    created_at = row["created_at"]
    return Item(
        id=row["id"],
        label=row["label"],
        predicted=row["predicted"] or None,
        label_predicted=row["label_predicted"],
        attributes=json.loads(row["attributes"]),
        source=row["source"],
        created_at=datetime.fromisoformat(created_at) if created_at else None,
    )


def png_of(row: Row) -> bytes | None:
    """The pixels of a row, if it has some."""
    return base64.b64decode(row["image"]) or None


def renewed(vectors: Mapping[Layer, Vectors], kept: Mapping[str, int]) -> Row:
    """Other vectors for a row."""
    return {
        **_vectors(_rounded(vectors), kept),
        "shape": shape({layer: len(vector) for layer, vector in vectors.items()}),
        "revision": time.time_ns(),
    }


def fit(vectors: Vectors, width: int) -> Vectors:
    """Vectors [N, dimension] with zeros up to that width."""
    missing = width - vectors.shape[1]
    return np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors


def _rounded(vectors: Mapping[Layer, Vectors]) -> dict[Layer, Vectors]:
    """Unit vectors as fp16 has them, as every home keeps them."""
    return {layer: to_fp16(vector).astype(np.float32) for layer, vector in vectors.items()}


def _vectors(vectors: Mapping[Layer, Vectors], kept: Mapping[str, int]) -> Row:
    """Unit vectors as they are; zeros, which are like nothing, where there are none that fit."""
    row: Row = {name: np.zeros(width, np.float32) for name, width in kept.items()}
    for layer, vector in vectors.items():
        if layer in kept and len(vector) <= kept[layer]:
            row[layer] = fit(vector[None], kept[layer])[0]
    return row
