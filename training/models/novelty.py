"""Novelty of an image: its distance to the training images (out-of-distribution detection).

The distance is one minus the mean cosine to the nearest references (after Sun et al., 2022), in
two views. The last layer before the classes detects unknown objects. The texture view is the mean
and standard deviation of each channel of an early layer. It detects noise, flat colours and text,
which may be close to photographs in the other view. Works on arrays; independent of images and
networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from training.index.cosine import Positions, Vectors, normalise
from training.models.layers import Layer, NetworkSpec

View = Literal["penultimate", "texture"]

VIEWS: Final[tuple[View, ...]] = ("penultimate", "texture")
REFERENCES: Final = 2000
"""Maximum number of training images used as references; more do not improve detection."""
NEAREST: Final = 5
MIN_CHECK_IMAGES: Final = 30
"""Minimum number of held-out images to check the threshold."""
THRESHOLD: Final = 0.95
"""The novelty up to which an image is familiar: this share of held-out images is."""
DIMENSIONS: Final = {
    **dict.fromkeys(("penultimate", "texture"), 2),
    **dict.fromkeys(("penultimate_distances", "texture_distances", "farthest"), 1),
}
"""The arrays of a file, each with its number of dimensions."""


class NoveltyFileError(RuntimeError):
    """The file does not hold a novelty model; the message names it."""


@dataclass(frozen=True, eq=False)
class Novelty:
    """Computes novelty: the share of held-out images that are closer to the references.

    The view in which the image is farther counts. For each view there are the normalised
    `references` [M, dimension], and the ascending `distances` of the held-out images [C].
    `farthest` has the larger of the two shares of each held-out image, ascending [C].
    """

    references: Mapping[View, Vectors]
    distances: Mapping[View, Vectors]
    farthest: Vectors

    def __len__(self) -> int:
        """Return the number of references."""
        return len(self.references[VIEWS[0]])

    @property
    def widths(self) -> dict[View, int]:
        """The length of the vectors of each view."""
        return {view: self.references[view].shape[1] for view in VIEWS}

    def __call__(self, texture: Vectors, penultimate: Vectors) -> Vectors:
        """Compute the novelty [N], in [0, 1], of images by their vectors [N, dimension].

        The vectors are those of the layers that `NetworkSpec.novelty` names.
        """
        vectors = views(texture, penultimate, self.widths["texture"])
        return self.of_distances(
            {view: distances_to(vectors[view], self.references[view]) for view in VIEWS}
        )

    def of_distances(self, distances: Mapping[View, Vectors]) -> Vectors:
        """Compute the novelty [N] of images by their distances [N] in each view."""
        shares = [_share_below(self.distances[view], distances[view]) for view in VIEWS]
        return _share_below(self.farthest, np.max(shares, axis=0))


class Fitted(NamedTuple):
    """A fitted novelty model, and the share of further held-out images that are familiar."""

    novelty: Novelty
    familiar_share: float


def widths(spec: NetworkSpec) -> dict[View, int]:
    """Return the length of the vectors of each view, for a network."""
    texture, penultimate = (spec.layer(name) for name in spec.novelty)
    return {
        "penultimate": penultimate.length,
        "texture": 2 * texture.shape[0] if texture.places else texture.length,
    }


def views(texture: Vectors, penultimate: Vectors, width: int) -> dict[View, Vectors]:
    """Return the vectors compared in each view.

    Args:
        texture: [N, width]; or a layer over places, flattened channel-major, of whose channels the
            mean and the standard deviation over the places are taken.
        penultimate: [N, dimension].
        width: length of the vectors of the texture view.

    """
    if texture.shape[1] == width:
        return {"penultimate": penultimate, "texture": texture}
    channels = texture.reshape(len(texture), width // 2, -1)
    count = channels.shape[2]
    means = channels.mean(axis=2)
    squares = np.square(channels).mean(axis=2) - np.square(means)
    deviations = np.sqrt(squares.clip(min=0) * (count / (count - 1)))
    return {
        "penultimate": penultimate,
        "texture": np.concatenate((means, deviations), axis=1),
    }


def distances_to(vectors: Vectors, references: Vectors) -> Vectors:
    """Compute the distances [N] of vectors [N, dimension] to unit references [M, dimension]."""
    cosines = normalise(vectors) @ references.T
    count = min(NEAREST, len(references))
    distances: Vectors = 1 - np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1)
    return distances


def fit(
    known: Mapping[Layer, Vectors], held_out: Mapping[Layer, Vectors], spec: NetworkSpec
) -> Fitted | None:
    """Fit a novelty model; return None if there are too few held-out images to check it.

    Args:
        known: vectors at the layers `spec.novelty`, [M, dimension], of training images: the
            references.
        held_out: the same of images that the network was not trained on. A random half sets the
            distances, the other half checks the share of familiar images.
        spec: of the network.

    """
    first, second = spec.novelty
    width = widths(spec)["texture"]
    order = np.random.default_rng(0).permutation(len(held_out[first]))
    fit_half, check_half = np.array_split(order, 2)
    if len(check_half) < MIN_CHECK_IMAGES:
        return None

    def at(positions: Positions) -> tuple[Vectors, Vectors]:
        return held_out[first][positions], held_out[second][positions]

    found = views(known[first], known[second], width)
    # rounded as in the file
    references = {
        view: normalise(found[view]).astype(np.float16).astype(np.float32) for view in VIEWS
    }
    vectors = views(*at(fit_half), width)
    distances = {view: distances_to(vectors[view], references[view]) for view in VIEWS}
    ascending = {view: np.sort(distances[view]) for view in VIEWS}
    shares = [_share_below(ascending[view], distances[view]) for view in VIEWS]
    novelty = Novelty(references, ascending, np.sort(np.max(shares, axis=0)))
    familiar = novelty(*at(check_half)) <= THRESHOLD
    return Fitted(novelty, float(familiar.mean()))


def write(novelty: Novelty, file: Path) -> None:
    """Write a novelty model, its references as fp16."""
    state: dict[str, npt.NDArray[Any]] = {"farthest": novelty.farthest}
    for view in VIEWS:
        state[view] = novelty.references[view].astype(np.float16)
        state[_distances_name(view)] = novelty.distances[view]
    file.write_bytes(save(state))


def read(file: Path) -> Novelty:
    """Read a novelty model.

    Raises:
        NoveltyFileError: the file is missing, damaged, or not a novelty model.

    """
    try:
        state = {name: array.astype(np.float32) for name, array in load(file.read_bytes()).items()}
    except (OSError, SafetensorError) as error:
        raise NoveltyFileError(f"{file} cannot be read: {error}") from error
    dimensions = {name: array.ndim for name, array in state.items() if array.size}
    if dimensions != DIMENSIONS or len(state["penultimate"]) != len(state["texture"]):
        raise NoveltyFileError(f"{file} does not hold a novelty model")
    return Novelty(
        {view: state[view] for view in VIEWS},
        {view: state[_distances_name(view)] for view in VIEWS},
        state["farthest"],
    )


def _distances_name(view: View) -> str:
    return f"{view}_distances"


def _share_below(ascending: Vectors, values: Vectors) -> Vectors:
    shares: Vectors = (np.searchsorted(ascending, values) / len(ascending)).astype(np.float32)
    return shares
