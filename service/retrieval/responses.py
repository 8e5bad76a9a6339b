"""Builds the responses about images from their embeddings and the gallery.

Pure computation on data in memory; run it in a thread pool. Knows nothing of requests.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from service.engine.backends.base import LAYERS
from service.engine.types import Embeddings
from service.errors import NotFoundError
from service.gallery.protocol import Gallery
from service.retrieval.similarity import SimilarityQuery, SimilaritySearch
from service.schemas.base import ModelName
from service.schemas.images import ClassifyResponse, EmbedResponse, Prediction, PredictResponse
from service.schemas.oip import Array, TensorMetadata
from training.bundle import Layer, Manifest

EMBEDDING_LAYERS: Final = LAYERS
"""The layers of `/embed`."""


class ResponseBuilder:
    """Builds the responses of one bundle with one gallery."""

    def __init__(self, manifest: Manifest, gallery: Gallery) -> None:
        self.model = ModelName(name=manifest.name, version=manifest.version)
        self._classes = manifest.classes
        self._threshold = manifest.novelty.threshold if manifest.novelty else None
        self._gallery = gallery
        self.similarity = SimilaritySearch(self.model, gallery)

    def indexed_layers(self, names: str) -> tuple[Layer, ...]:
        """Return the layers named in a comma-separated list, without repetitions.

        Raises:
            NotFoundError: a layer is not indexed; the message lists the indexed layers.

        """
        return tuple(dict.fromkeys(self.indexed_layer(name.strip()) for name in names.split(",")))

    def indexed_layer(self, name: str) -> Layer:
        """Return the indexed layer of this name.

        Raises:
            NotFoundError: there is no such layer; the message lists the indexed layers.

        """
        return _known(name, self._gallery.snapshot().layers)

    def embedding_layer(self, name: str) -> Layer:
        """Return the embedding layer of this name.

        Raises:
            NotFoundError: there is no such layer; the message lists the layers.

        """
        return _known(name, EMBEDDING_LAYERS)

    def classify(
        self, images: Sequence[Embeddings], top_k: int | None = None
    ) -> list[ClassifyResponse]:
        """Return the `top_k` most probable classes of each image, or all of them."""
        return [
            ClassifyResponse(
                model=self.model,
                predictions=self._predictions(image)[:top_k],
                novelty=image.novelty,
                familiar=self._is_familiar(image),
            )
            for image in images
        ]

    def predict(
        self,
        images: Sequence[Embeddings],
        layers: Sequence[Layer],
        limit: int,
        *,
        with_attribution: bool,
    ) -> list[PredictResponse]:
        """Return the classes of each image, and its nearest neighbours at each layer."""
        view = self._gallery.snapshot()
        found = {
            layer: self.similarity.nearest(
                view, images, SimilarityQuery(layer, limit, with_attribution=with_attribution)
            )
            for layer in layers
        }
        return [
            PredictResponse(
                model=self.model,
                predictions=self._predictions(image),
                novelty=image.novelty,
                familiar=self._is_familiar(image),
                similar={layer: neighbours[row] for layer, neighbours in found.items()},
            )
            for row, image in enumerate(images)
        ]

    def embed(self, images: Sequence[Embeddings], layer: Layer) -> list[EmbedResponse]:
        """Return the vector of each image at one layer."""
        vectors = (image.layers[layer].tolist() for image in images)
        return [
            EmbedResponse(model=self.model, layer=layer, dimension=len(vector), vector=vector)
            for vector in vectors
        ]

    def outputs(self, dimensions: Mapping[Layer, int]) -> tuple[TensorMetadata, ...]:
        """Return the metadata of the output tensors in the Open Inference Protocol."""
        layers = (
            TensorMetadata(name=layer, datatype="FP32", shape=(-1, dimensions.get(layer, -1)))
            for layer in LAYERS
        )
        return (
            TensorMetadata(name="labels", datatype="BYTES", shape=(-1,)),
            TensorMetadata(name="probabilities", datatype="FP32", shape=(-1, len(self._classes))),
            *layers,
        )

    def tensors(self, images: Sequence[Embeddings]) -> dict[str, Array]:
        """Return the output tensors: labels, probabilities, and the vectors at each layer."""
        probabilities = np.stack([image.probabilities for image in images])
        labels = [self._classes[image.ranking[0]] for image in images]
        vectors: dict[str, Array] = {
            layer: np.stack([image.layers[layer] for image in images]) for layer in LAYERS
        }
        return {"labels": np.array(labels), "probabilities": probabilities, **vectors}

    def _predictions(self, image: Embeddings) -> tuple[Prediction, ...]:
        probabilities = image.probabilities[image.ranking].tolist()
        return tuple(
            Prediction(label=self._classes[index], index=index, probability=probability)
            for index, probability in zip(image.ranking.tolist(), probabilities, strict=True)
        )

    def _is_familiar(self, image: Embeddings) -> bool | None:
        if image.novelty is None or self._threshold is None:
            return None
        return image.novelty <= self._threshold


def _known(name: str, layers: Sequence[Layer]) -> Layer:
    for layer in layers:
        if layer == name:
            return layer
    raise NotFoundError(f"No layer {name!r}; available: {', '.join(layers)}.")
