"""Networks as data: their input and their layers.

Must not know PyTorch, nor the hyperparameters of a family.
"""

from collections.abc import Iterable
from math import prod
from typing import Final, Literal, NamedTuple, Self, get_args

from pydantic import Field, model_validator

from training.base_model import Frozen

Family = Literal["blocknet", "pretrained"]
Layer = Literal[
    "conv1", "conv2", "conv3", "penultimate", "texture", "feature_map", "features", "logits"
]
LAYERS: Final[tuple[Layer, ...]] = get_args(Layer)
Explanation = Literal["places", "query_places", "classes"]
"""What the cosine of two images is a sum over: the places of both, or those of the query alone, or
the classes."""


class Wording(NamedTuple):
    """How a layer is called where people read it, and what it makes alike."""

    title: str
    description: str


WORDING: Final[dict[Layer, Wording]] = {
    "conv1": Wording("First block: edges", "Alike in edges and colours at the same places."),
    "conv2": Wording(
        "Second block: shapes and parts", "Alike in edges, textures and parts at the same places."
    ),
    "conv3": Wording("Third block: parts", "Alike in parts at the same places."),
    "penultimate": Wording("Last hidden layer", "Alike in what the classes are told apart by."),
    "texture": Wording("Texture", "Alike in textures and colours, at any place."),
    "feature_map": Wording("Features at each place", "Alike in things at the same places."),
    "features": Wording("Features: things and parts", "Alike in what is seen, at any place."),
    "logits": Wording(
        "Output: classes", "Alike where the network rates all of the classes the same way."
    ),
}


class LayerSpec(Frozen):
    """A layer: its name, the length of its vectors, and their shape.

    A shape is (channels, rows, columns), and the vector channel-major, or it is (length,).
    `summed_from` names the layer over places whose sum over the places this layer is.
    """

    name: Layer
    length: int
    shape: tuple[int, ...]
    summed_from: Layer | None = None

    @property
    def places(self) -> tuple[int, int] | None:
        """The rows and columns of a layer over places of the image, else None."""
        return (self.shape[1], self.shape[2]) if len(self.shape) == 3 else None

    @property
    def wording(self) -> Wording:
        """How the layer is called where people read it."""
        return WORDING[self.name]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if prod(self.shape) != self.length:
            raise ValueError(f"a layer of shape {self.shape} does not have length {self.length}")
        return self


def layer_of(name: Layer, *shape: int, summed_from: Layer | None = None) -> LayerSpec:
    """Return a layer of this shape."""
    return LayerSpec(name=name, length=prod(shape), shape=shape, summed_from=summed_from)


class NetworkSpec(Frozen):
    """What a user of a network needs to know: its input and its layers.

    - `side`: of the square RGB image that it takes, in pixels.
    - `layers`: all, in order from the input.
    - `searched`: the layers with an index; the first is the default.
    - `classes`: the layer with one value per class; None if the network knows no classes.
    - `novelty`: the layers by which novelty is measured: of texture, and of things.
    """

    family: Family
    side: int = Field(ge=32, le=224)
    layers: tuple[LayerSpec, ...]
    searched: tuple[Layer, ...]
    classes: Layer | None
    novelty: tuple[Layer, Layer]

    @property
    def class_layer(self) -> Layer:
        """The layer with one value per class.

        Raises:
            ValueError: the network knows no classes.

        """
        if self.classes is None:
            raise ValueError("this network knows no classes")
        return self.classes

    @property
    def served(self) -> tuple[Layer, ...]:
        """The layers that a service computes for every image, in order from the input."""
        return self._in_order({*self.searched, *self.novelty, self.classes})

    @property
    def explaining(self) -> tuple[Layer, ...]:
        """The further layers that a service computes if a search is to be explained."""
        needed = {self.layer(name).summed_from for name in self.searched}
        return self._in_order(needed - {*self.served})

    @property
    def unserved(self) -> tuple[Layer, ...]:
        """The layers that a service computes only for requests that need every layer."""
        return self._in_order({one.name for one in self.layers} - {*self.served})

    @property
    def pictured(self) -> tuple[LayerSpec, ...]:
        """The layers with a map and a decoder: all that do not exist for explanations alone."""
        return tuple(one for one in self.layers if one.name not in self.explaining)

    def not_served(self, names: Iterable[Layer]) -> tuple[Layer, ...]:
        """Return those of some layers that are computed only for requests that need them."""
        return self._in_order({*names} - {*self.served})

    def layer(self, name: Layer) -> LayerSpec:
        """Return the layer of that name, which must exist."""
        return next(one for one in self.layers if one.name == name)

    def explanation(self, name: Layer) -> Explanation | None:
        """Return what a cosine at a layer is a sum over, in terms that mean something."""
        layer = self.layer(name)
        if layer.places:
            return "places"
        if layer.summed_from:
            return "query_places"
        return "classes" if name == self.classes else None

    def _in_order(self, names: set[Layer] | set[Layer | None]) -> tuple[Layer, ...]:
        return tuple(one.name for one in self.layers if one.name in names)
