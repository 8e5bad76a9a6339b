"""What the service says of images: joins the network's vectors, the gallery and the reasons.

Pure computation on what is in memory, to be run off the event loop. Knows nothing of requests.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from service import explain
from service.backends import LAYERS
from service.engine import Representation, Search
from service.errors import NotFoundError
from service.gallery import Gallery, Item, Match
from service.tensors import Array, TensorNote
from service.wire import (
    Classification,
    Embedding,
    GalleryItem,
    ModelName,
    Neighbour,
    Predicted,
    Prediction,
    Similar,
)
from training.bundle import Layer, Manifest, Vectors

EMBEDDINGS: Final = LAYERS
"""The layers whose vectors are given out."""


class Answers:
    """The answers of one network about one gallery."""

    def __init__(self, manifest: Manifest, gallery: Gallery) -> None:
        self.model = ModelName(name=manifest.name, version=manifest.version)
        self._classes = manifest.classes
        self._threshold = manifest.novelty.threshold if manifest.novelty else None
        self._gallery = gallery

    def searchable(self, names: str) -> tuple[Layer, ...]:
        """The layers named in a list with commas, each once.

        Raises:
            NotFoundError: one of them is not indexed; says which are.

        """
        return tuple(
            _known(name.strip(), self._gallery.layers) for name in dict.fromkeys(names.split(","))
        )

    def embeddable(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            NotFoundError: its vectors are not given out; says whose are.

        """
        return _known(name, EMBEDDINGS)

    def classify(self, images: Sequence[Representation], top_k: int) -> list[Classification]:
        """The `top_k` most probable classes of each image."""
        return [
            Classification(
                model=self.model,
                predictions=self._predictions(image)[:top_k],
                novelty=image.novelty,
                familiar=self._familiar(image),
            )
            for image in images
        ]

    def predict(
        self,
        images: Sequence[Representation],
        layers: Sequence[Layer],
        limit: int,
        *,
        explained: bool,
    ) -> list[Predicted]:
        """The classes of each image, and the nearest of the gallery at each layer."""
        found = {
            layer: self._neighbours(
                _vectors(images, layer),
                layer,
                limit,
                explained=explained,
                found=_looked_for(images, Search(layer, limit)),
            )
            for layer in layers
        }
        return [
            Predicted(
                model=self.model,
                predictions=self._predictions(image),
                novelty=image.novelty,
                familiar=self._familiar(image),
                similar={layer: neighbours[row] for layer, neighbours in found.items()},
            )
            for row, image in enumerate(images)
        ]

    def similar(
        self,
        images: Sequence[Representation],
        layer: Layer,
        limit: int,
        *,
        label: str | None,
        exact: bool,
        explained: bool,
    ) -> list[Similar]:
        """The nearest of the gallery to each image at one layer."""
        beside = label is None and not exact
        found = self._neighbours(
            _vectors(images, layer),
            layer,
            limit,
            label=label,
            exact=exact,
            explained=explained,
            found=_looked_for(images, Search(layer, limit)) if beside else None,
        )
        return [Similar(model=self.model, layer=layer, similar=nearest) for nearest in found]

    def similar_to(
        self,
        image_id: str,
        layer: Layer,
        limit: int,
        *,
        label: str | None,
        exact: bool,
        explained: bool,
    ) -> Similar:
        """The nearest to an image of the gallery, that image left out."""
        query = self._gallery.vectors(layer, [image_id])
        (found,) = self._neighbours(
            query, layer, limit + 1, label=label, exact=exact, explained=explained
        )
        others = tuple(neighbour for neighbour in found if neighbour.id != image_id)
        return Similar(model=self.model, layer=layer, similar=others[:limit])

    def embed(self, images: Sequence[Representation], layer: Layer) -> list[Embedding]:
        """The vector of each image at one layer."""
        vectors = [image.layers[layer] for image in images]
        return [
            Embedding(
                model=self.model,
                layer=layer,
                dimension=len(vector),
                vector=tuple(vector.tolist()),
            )
            for vector in vectors
        ]

    def outputs(self, dimensions: Mapping[Layer, int]) -> tuple[TensorNote, ...]:
        """The tensors that `tensors` gives, for the Open Inference Protocol."""
        layers = (
            TensorNote(name=layer, datatype="FP32", shape=(-1, dimensions.get(layer, -1)))
            for layer in LAYERS
        )
        return (
            TensorNote(name="labels", datatype="BYTES", shape=(-1,)),
            TensorNote(name="probabilities", datatype="FP32", shape=(-1, len(self._classes))),
            *layers,
        )

    def tensors(self, images: Sequence[Representation]) -> dict[str, Array]:
        """The likeliest label and the probabilities of each image, and its vector at each layer."""
        probabilities = np.stack([_probabilities(image) for image in images])
        labels = [self._classes[index] for index in probabilities.argmax(1)]
        vectors: dict[str, Array] = {layer: _vectors(images, layer) for layer in LAYERS}
        return {"labels": np.array(labels), "probabilities": probabilities, **vectors}

    def _predictions(self, image: Representation) -> tuple[Prediction, ...]:
        probabilities = _probabilities(image)
        return tuple(
            Prediction(label=self._classes[index], index=index, probability=probabilities[index])
            for index in np.argsort(-probabilities, kind="stable").tolist()
        )

    def _familiar(self, image: Representation) -> bool | None:
        if image.novelty is None or self._threshold is None:
            return None
        return image.novelty <= self._threshold

    def _neighbours(
        self,
        queries: Vectors,
        layer: Layer,
        limit: int,
        *,
        explained: bool,
        label: str | None = None,
        exact: bool = False,
        found: Sequence[Sequence[Match]] | None = None,
    ) -> list[tuple[Neighbour, ...]]:
        """Search, but where it has been done beside the network: then say what was `found`."""
        if found is None:
            found = self._gallery.search(layer, queries, limit, label=label, exact=exact)
        if not explained:
            return [tuple(_neighbour(match) for match in matches) for matches in found]
        return [
            self._explained(query, layer, matches)
            for query, matches in zip(queries, found, strict=True)
        ]

    def _explained(
        self, query: Vectors, layer: Layer, matches: Sequence[Match]
    ) -> tuple[Neighbour, ...]:
        others = self._gallery.vectors(layer, [match.item.id for match in matches])
        if layer == "conv2":
            maps = explain.heat(query, others).tolist()
            return tuple(_neighbour(m, heat=heat) for m, heat in zip(matches, maps, strict=True))
        rows = explain.terms(query, others).tolist()
        return tuple(_neighbour(m, terms=row) for m, row in zip(matches, rows, strict=True))


def image_path(image_id: str) -> str:
    """Where the pixels of a gallery image are."""
    return f"/gallery/{quote(image_id, safe='')}/image"


def gallery_item(item: Item) -> GalleryItem:
    """One image of the gallery, for the wire."""
    return GalleryItem(
        id=item.id, label=item.label, predicted=item.predicted, image=image_path(item.id)
    )


def _neighbour(
    match: Match,
    *,
    heat: list[list[float]] | None = None,
    terms: list[float] | None = None,
) -> Neighbour:
    return Neighbour(
        id=match.item.id,
        label=match.item.label,
        score=match.score,
        image=image_path(match.item.id),
        heat=None if heat is None else tuple(map(tuple, heat)),
        terms=None if terms is None else tuple(terms),
    )


def _probabilities(image: Representation) -> npt.NDArray[np.float64]:
    logits = image.layers["logits"].astype(np.float64)
    odds = np.exp(logits - logits.max())
    probabilities: npt.NDArray[np.float64] = odds / odds.sum()
    return probabilities


def _looked_for(images: Sequence[Representation], search: Search) -> list[Sequence[Match]] | None:
    """What was found of each image beside the network; None where it was not looked for."""
    found = [image.matches.get(search) for image in images]
    return [one for one in found if one is not None] if None not in found else None


def _vectors(images: Sequence[Representation], layer: Layer) -> Vectors:
    return np.stack([image.layers[layer] for image in images])


def _known(name: str, layers: Sequence[Layer]) -> Layer:
    for layer in layers:
        if layer == name:
            return layer
    raise NotFoundError(f"No layer {name!r} here; there is {', '.join(layers)}.")
