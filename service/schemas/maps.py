"""Schemas of the map of the gallery: the places of its images, and of an image that is sent."""

from pydantic import Field

from service.schemas.base import ModelName, RoundedFloat, Schema

Coordinate = float | None


class MapResponse(Schema):
    """The places of the gallery's images at one layer, by the position of the image.

    With `ids=false`, all fields from `ids` on are left out.
    """

    model: ModelName
    layer: str = Field(examples=["conv2"])
    trustworthiness: RoundedFloat = Field(examples=[0.93])
    """Whether the ten nearest on the map are near at the layer too; 1 is best."""
    revision: str = Field(examples=["4bf92f3577b34da6"])
    """Changes if an image is added, removed or changed. Equal revisions have the same order."""
    count: int = Field(examples=[7500])
    x: tuple[Coordinate, ...] = Field(examples=[[0.41235, 0.88012]])
    """From 0 to 1; null where an image has no place, as added images at layers without an index."""
    y: tuple[Coordinate, ...] = Field(examples=[[0.22761, 0.10933]])
    ids: tuple[str, ...] | None = Field(default=None, examples=[["cifar10-test-00042"]])
    labels: tuple[str, ...] | None = Field(default=None, examples=[["cat", "dog"]])
    """All labels, the classes of the network first."""
    label: tuple[int | None, ...] | None = Field(default=None, examples=[[0]])
    """The label of each image, as a position in `labels`; null if it has none."""
    predicted: tuple[int | None, ...] | None = Field(default=None, examples=[[1]])
    """The class that the network predicts for each image, as a position in `labels`."""
    added: tuple[int, ...] | None = Field(default=None, examples=[[7500]])
    """The positions of the images that were added to those of the bundle."""


class PlacedNeighbour(Schema):
    """An image of the gallery that is near at a layer, and its place on the map."""

    id: str = Field(examples=["cifar10-test-00042"])
    label: str | None = Field(examples=["cat"])
    score: RoundedFloat
    """Cosine similarity, in [-1, 1]; of reduced vectors at a layer without an index."""
    x: Coordinate
    y: Coordinate


class Place(Schema):
    """The place of an image at one layer: the mean of those of its nearest, weighted."""

    x: Coordinate
    """From 0 to 1; null if none of the nearest has a place."""
    y: Coordinate
    nearest: tuple[PlacedNeighbour, ...]


class PlacesResponse(Schema):
    """The place of an image at each layer."""

    model: ModelName
    places: dict[str, Place]
