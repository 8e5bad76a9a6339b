"""Converts images to the rows of a Milvus collection, and back.

A row's key is the image's id and an owner: none for added images, else the version of the bundle.
Marker rows have a kind in place of the owner. They store overrides, which hold for all bundles, and
facts about bundles and networks. Knows names and lengths; nothing of connections.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from service.gallery.local.updates import to_fp16
from service.gallery.milvus.collection import Row
from service.gallery.milvus.expressions import tags
from service.gallery.stored import read_item
from service.gallery.types import Addition, Item, Override
from training.bundle import CosineIndex, Layer, Vectors

ADDED: Final = ""
REMOVED: Final = "removed"
EDITED: Final = "edited"
FILLED: Final = "filled"
PROJECTION: Final = "basis"
DIRECTION: Final = "direction"
TAGGED: Final = "tagged"
OVERRIDES: Final = (REMOVED, EDITED)
MARKERS: Final = (*OVERRIDES, FILLED, PROJECTION, DIRECTION, TAGGED)
"""The kinds of rows that are not images."""
SHOWN: Final = (
    "id", "bundle", "label", "predicted", "label_predicted", "attributes", "source", "created_at",
)  # fmt: skip
"""The fields of an item."""
UNIT: Final = 128
"""Vectors are padded with zeros to a multiple of this length, which changes no cosine. So a network
with a few more classes fits the same collection."""

Dimensions = Mapping[Layer, int]


def key(image_id: str, owner: str = ADDED) -> str:
    """Return the key of a row. Keys sort as ids do, for no id has a tab."""
    return f"{image_id}\t{owner}"


def widths(indexes: Mapping[Layer, CosineIndex]) -> dict[str, int]:
    """Return the stored length of the vectors of each layer."""
    return {layer: -(-index.dimension // UNIT) * UNIT for layer, index in indexes.items()}


def shape(dimensions: Dimensions) -> str:
    """Return layers and dimensions as text; vectors of the same shape can be compared."""
    return ",".join(f"{layer}:{size}" for layer, size in sorted(dimensions.items()))


def of_image(
    item: Item,
    owner: str,
    vectors: Mapping[Layer, Vectors],
    network: str,
    widths: Mapping[str, int],
) -> Row:
    """Return the row of an image without its pixels: a bundle has those of its images."""
    return {
        "key": key(item.id, owner),
        "id": item.id,
        "bundle": owner,
        "predicted": item.predicted or "",
        "source": item.source,
        "created_at": item.created_at.isoformat() if item.created_at else "",
        **of_edit(item),
        **_vectors(vectors, widths),
        "image": "",
        "network": network,
        "shape": shape({layer: len(vector) for layer, vector in vectors.items()}),
    }


def of_added(addition: Addition, widths: Mapping[str, int]) -> Row:
    """Return the row of an added image."""
    item = replace(addition.item, source="added")
    row = of_image(item, ADDED, _rounded(addition.vectors), addition.network, widths)
    return row if addition.png is None else row | {"image": base64.b64encode(addition.png).decode()}


def of_marker(name: str, kind: str, widths: Mapping[str, int]) -> Row:
    """Return a row that is not an image: its id is `name`, its owner is the kind."""
    return of_image(Item(name, "", None), kind, {}, "", widths)


def of_override(override: Override, widths: Mapping[str, int]) -> Row:
    """Return the marker row of an override."""
    kind = REMOVED if override.deleted else EDITED
    return {**of_marker(override.id, kind, widths), **of_edit(override)}


def override_of(row: Row) -> Override:
    """Return the override of a marker row with the fields `SHOWN`."""
    if row["bundle"] == REMOVED:
        return Override(row["id"], deleted=True)
    return Override.edit(item_of(row))


def of_edit(edited: Item | Override) -> Row:
    """Return the fields that an edit changes."""
    return {
        "label": edited.label,
        "label_predicted": edited.label_predicted,
        "attributes": json.dumps(dict(edited.attributes)),
        "tags": tags(edited.attributes),
        "revision": time.time_ns(),
    }


def item_of(row: Row) -> Item:
    """Return the image of a row with the fields `SHOWN`."""
    fields = {
        **{name: row[name] for name in ("id", "label", "label_predicted", "attributes", "source")},
        "predicted": row["predicted"] or None,
        "created_at": row["created_at"] or None,
    }
    item = read_item(fields)
    assert item is not None  # noqa: S101  Milvus has no other type for an id
    return item


def png_of(row: Row) -> bytes | None:
    """Return the PNG of a row with the field `image`, if it has one."""
    try:
        return base64.b64decode(row["image"]) or None
    except ValueError:  # it is damaged
        return None


def renewed(vectors: Mapping[Layer, Vectors], widths: Mapping[str, int]) -> Row:
    """Return the fields that new vectors change."""
    return {
        **_vectors(_rounded(vectors), widths),
        "shape": shape({layer: len(vector) for layer, vector in vectors.items()}),
        "revision": time.time_ns(),
    }


def fit(vectors: Vectors, width: int) -> Vectors:
    """Return vectors [N, dimension] padded with zeros to [N, width]."""
    missing = width - vectors.shape[1]
    return np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors


def _rounded(vectors: Mapping[Layer, Vectors]) -> dict[Layer, Vectors]:
    """Return unit vectors in the precision that every backend stores, fp16."""
    return {layer: to_fp16(vector).astype(np.float32) for layer, vector in vectors.items()}


def _vectors(vectors: Mapping[Layer, Vectors], widths: Mapping[str, int]) -> Row:
    """Return a vector for each field: zeros, of cosine 0 with all, where none fits."""
    row: Row = {name: np.zeros(width, np.float32) for name, width in widths.items()}
    for layer, vector in vectors.items():
        if layer in widths and len(vector) <= widths[layer]:
            row[layer] = fit(vector[None], widths[layer])[0]
    return row
