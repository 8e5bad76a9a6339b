"""Builds the responses about images from their embeddings and the gallery.

Pure computation on data in memory; run it in a thread pool. Knows nothing of requests.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from service.engine.types import Embeddings
from service.errors import NotFoundError
from service.gallery.protocol import Gallery
from service.retrieval.maps import GalleryMap
from service.retrieval.reconstruction import Reconstruction
from service.retrieval.similarity import SimilarityQuery, SimilaritySearch
from service.schemas.base import DECIMALS, Fields, ModelName
from service.schemas.oip import Array, TensorMetadata
from training.bundle import Bundle, Layer


class ResponseBuilder:
    """Builds the responses of one bundle with one gallery."""

    def __init__(self, bundle: Bundle, gallery: Gallery) -> None:
        manifest = bundle.manifest
        self._spec = bundle.spec
        self._predicted_layers = bundle.architecture.spec.searched
        self.model = ModelName(name=manifest.name, version=manifest.version)
        self._model = self.model.model_dump()
        self._classes = manifest.classes
        self._threshold = manifest.novelty.threshold if manifest.novelty else None
        self._gallery = gallery
        self.similarity = SimilaritySearch(self.model, gallery, self._spec)
        self.map = GalleryMap(self.model, bundle, gallery)
        self.reconstruction = Reconstruction(bundle, gallery)

    def indexed_layers(self, names: str | None) -> tuple[Layer, ...]:
        """Return the layers named in a comma-separated list, without repetitions.

        None stands for those that every bundle of this network has.

        Raises:
            NotFoundError: a layer is not indexed; the message lists the indexed layers.

        """
        if names is None:
            return self._predicted_layers
        return tuple(dict.fromkeys(self.indexed_layer(name.strip()) for name in names.split(",")))

    def indexed_layer(self, name: str | None) -> Layer:
        """Return the indexed layer of this name; None: the default one.

        Raises:
            NotFoundError: there is no such layer; the message lists the indexed layers.

        """
        return self._known(name, self._gallery.snapshot().layers)

    def embedding_layer(self, name: str | None) -> Layer:
        """Return the embedding layer of this name; None: the default one.

        Raises:
            NotFoundError: there is no such layer; the message lists the layers.

        """
        return self._known(name, self._spec.served)

    def require_classes(self) -> None:
        """Check that the bundle has classes.

        Raises:
            NotFoundError: it has none.

        """
        if not self._classes:
            raise NotFoundError(
                "This bundle has no classes, so images cannot be classified, only searched: POST "
                "/similar. For classes, put the images of each into a folder and build it again."
            )

    def classify(self, images: Sequence[Embeddings], top_k: int | None = None) -> list[Fields]:
        """Return a `ClassifyResponse` for each image: its `top_k` best classes, or all of them."""
        return [self._classification(image, top_k) for image in images]

    def predicted(self, image: Embeddings) -> str | None:
        """Return the most probable class of an image; None if the bundle has no classes."""
        return self._classes[image.ranking[0]] if self._classes else None

    def predict(
        self,
        images: Sequence[Embeddings],
        layers: Sequence[Layer],
        limit: int,
        *,
        with_attribution: bool,
    ) -> list[Fields]:
        """Return a `PredictResponse` for each image: its classes, and its nearest at each layer.

        If the bundle has no classes, there are no predictions.
        """
        view = self._gallery.snapshot()
        found = {
            layer: self.similarity.nearest(
                view, images, SimilarityQuery(layer, limit, with_attribution=with_attribution)
            )
            for layer in layers
        }
        return [
            self._classification(image)
            | {"similar": {layer: neighbours[row] for layer, neighbours in found.items()}}
            for row, image in enumerate(images)
        ]

    def embed(self, images: Sequence[Embeddings], layer: Layer) -> list[Fields]:
        """Return an `EmbedResponse` for each image: its vector at one layer."""
        vectors = (image.layers[layer].tolist() for image in images)
        return [
            {"model": self._model, "layer": layer, "dimension": len(vector), "vector": vector}
            for vector in vectors
        ]

    def outputs(self, dimensions: Mapping[Layer, int]) -> tuple[TensorMetadata, ...]:
        """Return the metadata of the output tensors in the Open Inference Protocol."""
        layers = (
            TensorMetadata(name=layer, datatype="FP32", shape=(-1, dimensions.get(layer, -1)))
            for layer in self._spec.served
        )
        if not self._classes:
            return tuple(layers)
        return (
            TensorMetadata(name="labels", datatype="BYTES", shape=(-1,)),
            TensorMetadata(name="probabilities", datatype="FP32", shape=(-1, len(self._classes))),
            *layers,
        )

    def tensors(self, images: Sequence[Embeddings]) -> dict[str, Array]:
        """Return the output tensors: labels, probabilities, and the vectors at each layer."""
        vectors: dict[str, Array] = {
            layer: np.stack([image.layers[layer] for image in images])
            for layer in self._spec.served
        }
        if not self._classes:
            return vectors
        probabilities = np.stack([image.probabilities for image in images])
        labels = [self.predicted(image) for image in images]
        return {"labels": np.array(labels), "probabilities": probabilities, **vectors}

    def _classification(self, image: Embeddings, top_k: int | None = None) -> Fields:
        ranking = image.ranking[:top_k]
        probabilities = image.probabilities[ranking].tolist()
        fields: Fields = {
            "model": self._model,
            "predictions": [
                {
                    "label": self._classes[index],
                    "index": index,
                    "probability": round(probability, DECIMALS),
                }
                for index, probability in zip(ranking.tolist(), probabilities, strict=True)
            ],
        }
        if image.novelty is not None:
            fields["novelty"] = round(image.novelty, DECIMALS)
            if self._threshold is not None:
                fields["familiar"] = image.novelty <= self._threshold
        return fields

    def _known(self, name: str | None, layers: Sequence[Layer]) -> Layer:
        if name is None:
            return self._spec.searched[0]
        for layer in layers:
            if layer == name:
                return layer
        raise NotFoundError(f"No layer {name!r}; available: {', '.join(layers)}.")
