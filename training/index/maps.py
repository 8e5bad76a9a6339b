"""Maps of the gallery: a place for each image at each layer, and for any other vector.

A place is a point (x, y) in the unit square; images that are alike at a layer are near each other.
Works on vectors; must not know how the places were laid out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from training.index.cosine import Positions, Vectors, normalise

NEAREST: Final = 10
"""Images whose places give the place of another vector."""
POOLED_DIMENSION: Final = 1024
"""Vectors over places of the image are averaged to about this many dimensions."""
STEPS: Final = 2**16 - 1
"""Steps of a stored coordinate from 0 to 1."""
MIN_DISTANCE: Final = 1e-6

Name = TypeVar("Name", bound=str)


class MapFileError(RuntimeError):
    """The file does not hold the maps of a gallery; the message names it."""


@dataclass(frozen=True, eq=False)
class Reduction:
    """A few numbers for each long vector, to find the nearest at a layer without an index.

    The vector is averaged over blocks of its places if it has places, scaled to length 1 and
    projected to `directions` [K, pooled dimension]. `shape` is that of the layer.
    """

    shape: tuple[int, ...]
    directions: Vectors

    def __call__(self, vectors: Vectors) -> Vectors:
        """Reduce vectors [N, dimension] to unit vectors [N, K]."""
        return self.of_pooled(pool(vectors, self.shape))

    def of_pooled(self, pooled: Vectors) -> Vectors:
        """Reduce pooled vectors [N, pooled dimension] to unit vectors [N, K]."""
        return normalise(normalise(pooled) @ self.directions.T)


@dataclass(frozen=True, eq=False)
class LayerMap:
    """The places [N, 2] of the gallery's images at one layer, from 0 to 1.

    At a layer without an index there is a `reduction`, and the `reduced` vectors [N, K].
    """

    places: Vectors
    reduction: Reduction | None = None
    reduced: Vectors | None = None

    def nearest(self, vectors: Vectors, limit: int) -> tuple[Vectors, Positions]:
        """Return the cosines and the positions [N, limit] of the nearest images, best first.

        For layers without an index alone; the cosines are those of the reduced vectors.
        """
        assert self.reduction is not None and self.reduced is not None  # noqa: S101
        return nearest(self.reduction(vectors), self.reduced, limit)

    def place(self, scores: Vectors, positions: Positions) -> Vectors:
        """Return the places [N, 2] of vectors whose nearest images are these, each [N, K]."""
        return mean_place(self.places[positions], scores)


def nearest(queries: Vectors, vectors: Vectors, limit: int) -> tuple[Vectors, Positions]:
    """Return the cosines and positions [N, limit] of the unit vectors nearest to unit queries."""
    cosines = queries @ vectors.T
    limit = min(limit, len(vectors))
    found = np.argpartition(-cosines, limit - 1, axis=1)[:, :limit]
    scores = np.take_along_axis(cosines, found, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)


def mean_place(places: Vectors, scores: Vectors) -> Vectors:
    """Return the mean [N, 2] of places [N, K, 2], weighted by the inverse distance (Shepard, 1968).

    The distance is one minus the cosine. So an image that is there already has its own place.
    """
    weights = 1 / np.maximum(1 - scores, MIN_DISTANCE)
    weights /= weights.sum(axis=1, keepdims=True)
    means: Vectors = (places * weights[..., None]).sum(axis=1).astype(np.float32)
    return means


def pool(vectors: Vectors, shape: tuple[int, ...]) -> Vectors:
    """Reduce vectors [N, dimension] by averages of 2 x 2 places, until they are short enough."""
    if len(shape) != 3:
        return vectors
    maps = vectors.reshape(-1, *shape)
    while maps[0].size > POOLED_DIMENSION and maps.shape[2] % 2 == maps.shape[3] % 2 == 0:
        count, channels, rows, columns = maps.shape
        maps = maps.reshape(count, channels, rows // 2, 2, columns // 2, 2).mean(axis=(3, 5))
    return maps.reshape(len(maps), -1)


def write(maps: Mapping[Name, LayerMap], file: Path) -> None:
    """Write maps: places in 65,536 steps, reduced vectors as fp16."""
    state: dict[str, npt.NDArray[Any]] = {}
    for layer, one in maps.items():
        state[f"{layer}.places"] = (one.places * STEPS).round().astype(np.uint16)
        if one.reduction is not None and one.reduced is not None:
            state[f"{layer}.directions"] = one.reduction.directions.astype(np.float16)
            state[f"{layer}.reduced"] = one.reduced.astype(np.float16)
    file.write_bytes(save(state))


def read(file: Path, shapes: Mapping[Name, tuple[int, ...]]) -> dict[Name, LayerMap]:
    """Read the maps of a gallery, at layers of these shapes.

    Raises:
        MapFileError: the file is missing or damaged, or its maps do not fit.

    """
    try:
        state = load(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise MapFileError(f"{file} cannot be read: {error}") from error
    maps = {name: _map(state, name, shape) for name, shape in shapes.items()}
    if not all(map(_is_whole, maps.values())):
        raise MapFileError(f"{file} does not hold the maps of these layers")
    return maps


def _map(state: Mapping[str, npt.NDArray[Any]], name: str, shape: Sequence[int]) -> LayerMap:
    steps = state.get(f"{name}.places", np.zeros((0, 2), np.uint16)).astype(np.float32)
    places: Vectors = steps / np.float32(STEPS)
    directions, reduced = state.get(f"{name}.directions"), state.get(f"{name}.reduced")
    if directions is None or reduced is None:
        return LayerMap(places)
    reduction = Reduction(tuple(shape), directions.astype(np.float32))
    return LayerMap(places, reduction, reduced.astype(np.float32))


def _is_whole(one: LayerMap) -> bool:
    if one.places.shape[1:] != (2,) or not len(one.places):
        return False
    if one.reduction is None or one.reduced is None:
        return True
    directions, shape = one.reduction.directions, one.reduction.shape
    pooled = pool(np.zeros((1, int(np.prod(shape))), np.float32), shape)
    return directions.shape[1:] == pooled.shape[1:] and one.reduced.shape == (
        len(one.places),
        len(directions),
    )
