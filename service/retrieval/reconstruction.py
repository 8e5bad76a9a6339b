"""Draws pictures from vectors, to show what a layer keeps of an image.

Pure computation on data in memory; run it in a thread pool. Knows nothing of requests.
"""

from service.errors import NotFoundError
from service.gallery.protocol import Gallery
from service.images import encode
from training.bundle import Bundle, Layer, Vectors


class Reconstruction:
    """Draws by the decoders of one bundle."""

    def __init__(self, bundle: Bundle, gallery: Gallery) -> None:
        self._bundle = bundle
        self._gallery = gallery

    def layer(self, name: str | None) -> Layer:
        """Return the layer of this name, which has a decoder; None: the first one searched.

        Raises:
            NotFoundError: the bundle has no decoders, or none of this layer.

        """
        decoders = self._bundle.decoders
        if not decoders:
            raise NotFoundError(
                "This bundle has no decoders, which draw pictures from vectors: "
                + (
                    "build it again, with `python -m training reindex`, to get them."
                    if self._bundle.manifest.classes
                    else "it has no classes, and nothing was trained."
                )
            )
        for layer in decoders:
            if layer == (name or self._bundle.spec.searched[0]):
                return layer
        raise NotFoundError(f"No decoder of {name!r}; available: {', '.join(decoders)}.")

    def draw(self, layer: Layer, vector: Vectors) -> bytes:
        """Draw the picture of a vector [dimension] as a PNG."""
        return encode(self._bundle.decoders[layer](vector)[0])

    def vector(self, layer: Layer, image_id: str) -> Vectors | None:
        """Return the vector of an image that the gallery keeps; None if it keeps none there.

        Raises:
            NotFoundError: the gallery has no such image.
            NotEmbeddedError: the image has no vectors of this network yet.

        """
        view = self._gallery.snapshot()
        view.get(image_id)
        return view.vectors(layer, [image_id])[image_id] if layer in view.layers else None

    def not_kept(self, layer: Layer, image_id: str) -> NotFoundError:
        """Return the error of a layer whose vector is neither kept nor can be computed."""
        kept = ", ".join(self._gallery.snapshot().layers)
        return NotFoundError(
            f"The gallery keeps neither the pixels of {image_id!r} nor its vector at {layer}; "
            f"available: {kept}."
        )
