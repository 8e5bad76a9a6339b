"""The map of a gallery: the places of its images, and of images that are sent.

Pure computation on data in memory; run it in a thread pool. Knows nothing of requests.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from service.engine.types import Embeddings
from service.errors import NotFoundError
from service.gallery.protocol import Gallery, View
from service.gallery.types import Item, ScoredItem
from service.schemas.base import DECIMALS, Fields, ModelName
from training.bundle import MAP_NEAREST, Bundle, Layer, Vectors, mean_place

PAGE: Final = 1000
"""Images that are read at a time."""
PLACE_DECIMALS: Final = 5
NOWHERE: Final = (np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class Points:
    """The images of a gallery in the order of their ids, and what changes if they do."""

    items: tuple[Item, ...]
    rows: npt.NDArray[np.int64]
    """The position of each image in the bundle; -1 if it was added."""
    revision: str


class GalleryMap:
    """The map of one gallery, by the layouts of one bundle."""

    def __init__(self, model: ModelName, bundle: Bundle, gallery: Gallery) -> None:
        self._model = model.model_dump()
        self._bundle = bundle
        self._gallery = gallery
        self._points: tuple[View, Points] | None = None
        self._added: dict[tuple[Layer, str, datetime | None], Vectors] = {}

    def layers(self, names: str | None) -> tuple[Layer, ...]:
        """Return the mapped layers in a comma-separated list, without repetitions; None: all.

        Raises:
            NotFoundError: the bundle has no map, or none of a layer.

        """
        self._require_maps()
        if names is None:
            return tuple(self._bundle.maps)
        return tuple(dict.fromkeys(self.layer(name.strip()) for name in names.split(",")))

    def layer(self, name: str | None) -> Layer:
        """Return the mapped layer of this name; None: the first one that can be searched.

        Raises:
            NotFoundError: the bundle has no map, or none of this layer.

        """
        self._require_maps()
        for layer in self._bundle.maps:
            if layer == (name or self._bundle.spec.searched[0]):
                return layer
        raise NotFoundError(f"No map of {name!r}; available: {', '.join(self._bundle.maps)}.")

    def points(self) -> Points:
        """Return the images as they are now."""
        view = self._gallery.snapshot()
        if self._points is None or self._points[0] is not view or not view.is_frozen:
            self._points = view, _points(self._bundle, view)
        return self._points[1]

    def describe(self, points: Points, layer: Layer, *, with_ids: bool) -> Fields:
        """Return the fields of a `MapResponse`; arrays stay NumPy arrays."""
        places = self._places(points, layer).round(PLACE_DECIMALS)
        fields: Fields = {
            "model": self._model,
            "layer": layer,
            "trustworthiness": round(self._bundle.map_metadata[layer].trustworthiness, DECIMALS),
            "revision": points.revision,
            "count": len(points.items),
            "x": np.ascontiguousarray(places[:, 0]),
            "y": np.ascontiguousarray(places[:, 1]),
        }
        if not with_ids:
            return fields
        classes = self._bundle.manifest.classes
        used = {item.label for item in points.items if item.label}
        used |= {item.predicted for item in points.items if item.predicted is not None}
        labels = (*classes, *sorted(used.difference(classes)))
        number = {label: position for position, label in enumerate(labels)}
        return fields | {
            "ids": [item.id for item in points.items],
            "labels": labels,
            "label": [number.get(item.label) for item in points.items],
            "predicted": [
                None if item.predicted is None else number[item.predicted] for item in points.items
            ],
            "added": np.flatnonzero(points.rows < 0),
        }

    def place(
        self, images: Sequence[Embeddings], layers: Sequence[Layer], limit: int = MAP_NEAREST
    ) -> list[Fields]:
        """Return a `PlacesResponse` for each image."""
        view = self._gallery.snapshot()
        found = {
            layer: self._nearest(
                view, layer, np.stack([image.layers[layer] for image in images]), limit
            )
            for layer in layers
        }
        return [
            {
                "model": self._model,
                "places": {
                    layer: self._place_among(view, layer, nearest[row])
                    for layer, nearest in found.items()
                },
            }
            for row in range(len(images))
        ]

    def _require_maps(self) -> None:
        if not self._bundle.maps:
            raise NotFoundError(
                "This bundle has no map: build it again, with `python -m training reindex`, to get "
                "one."
            )

    def _places(self, points: Points, layer: Layer) -> Vectors:
        """Return the places [N, 2] of all images; NaN where an image has none."""
        places = self._bundle.maps[layer].places[points.rows]
        added = np.flatnonzero(points.rows < 0)
        if len(added):
            view = self._gallery.snapshot()
            of_added = self._places_of_added(view, layer, [points.items[row] for row in added])
            places[added] = [of_added.get(points.items[row].id, NOWHERE) for row in added]
        return places

    def _places_of_added(
        self, view: View, layer: Layer, items: Sequence[Item]
    ) -> Mapping[str, Vectors]:
        """Return the places [2] of added images that have one, by id.

        It is the mean place of the nearest images of the bundle, so it does not change later.
        """
        if layer not in view.layers:
            return {}
        keys = {item.id: (layer, item.id, item.created_at) for item in items}
        unknown = [image_id for image_id, key in keys.items() if key not in self._added]
        for start in range(0, len(unknown), PAGE):
            vectors = view.vectors(layer, unknown[start : start + PAGE], missing="skip")
            if vectors:
                index = self._bundle.indexes[layer]
                scores, rows = index.search(np.stack([*vectors.values()]), MAP_NEAREST)
                places = self._bundle.maps[layer].place(scores, rows)
                for image_id, place in zip(vectors, places, strict=True):
                    self._added[keys[image_id]] = place
        return {image_id: self._added[key] for image_id, key in keys.items() if key in self._added}

    def _nearest(
        self, view: View, layer: Layer, queries: Vectors, limit: int
    ) -> list[list[ScoredItem]]:
        """Return the nearest images to each query: by the index, else by reduced vectors."""
        if layer in view.layers:
            return view.search(layer, queries, limit)
        # twice as many, as some may have been removed
        scores, rows = self._bundle.maps[layer].nearest(queries, 2 * limit)
        ids = self._bundle.gallery.ids
        there = {row: item for row in np.unique(rows) if (item := _find(view, ids[row]))}
        return [
            [
                ScoredItem(there[row], score)
                for row, score in zip(some, of_some, strict=True)
                if row in there
            ][:limit]
            for some, of_some in zip(rows.tolist(), scores.tolist(), strict=True)
        ]

    def _place_among(self, view: View, layer: Layer, nearest: Sequence[ScoredItem]) -> Fields:
        """Return the fields of a `Place`."""
        positions, places = self._bundle.gallery.positions, self._bundle.maps[layer].places
        added = [match.item for match in nearest if match.item.source == "added"]
        of_added = self._places_of_added(view, layer, added)
        found = np.array(
            [
                of_added.get(match.item.id, NOWHERE)
                if match.item.source == "added"
                else places[positions[match.item.id]]
                for match in nearest
            ],
            np.float32,
        ).reshape(-1, 2)
        scores = np.array([match.score for match in nearest], np.float32)
        placed = ~np.isnan(found[:, 0])
        mean = mean_place(found[placed][None], scores[placed][None])[0] if placed.any() else NOWHERE
        return {
            **_coordinates(mean),
            "nearest": [
                {
                    "id": match.item.id,
                    "label": match.item.label or None,
                    "score": round(match.score, DECIMALS),
                    **_coordinates(place),
                }
                for match, place in zip(nearest, found, strict=True)
            ],
        }


def _points(bundle: Bundle, view: View) -> Points:
    items = tuple(item for page in view.pages(PAGE) for item in page)
    positions = bundle.gallery.positions
    rows = [-1 if item.source == "added" else positions[item.id] for item in items]
    digest = hashlib.sha256(bundle.manifest.version.encode())
    for item in items:
        digest.update(f"{item.id}\t{item.label}\t{item.predicted}\t{item.created_at}\n".encode())
    return Points(items, np.array(rows, np.int64), digest.hexdigest()[:16])


def _find(view: View, image_id: str) -> Item | None:
    """Return the bundle's image of that id, unless it has been removed or replaced."""
    try:
        item = view.get(image_id)
    except NotFoundError:
        return None
    return item if item.source == "bundle" else None


def _coordinates(place: Vectors | tuple[float, float]) -> Fields:
    x, y = (None if np.isnan(one) else round(float(one), PLACE_DECIMALS) for one in place)
    return {"x": x, "y": y}
