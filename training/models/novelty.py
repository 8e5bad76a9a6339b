"""Novelty of an image: its distance to the training images (out-of-distribution detection).

The distance is one minus the mean cosine to the nearest references (after Sun et al., 2022), in
two views. The penultimate layer detects unknown objects. The texture view is the mean and standard
deviation of each `conv2` channel. It detects noise, flat colours and text, which may be close to
photographs at the penultimate layer. Works on vectors; independent of images and networks.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from training.index.cosine import Positions, Vectors
from training.models.architecture import CHANNELS, Layer

View = Literal["penultimate", "texture"]

VIEWS: tuple[View, ...] = ("penultimate", "texture")
REFERENCES = 2000
"""Maximum number of training images used as references; more do not improve detection."""
NEAREST = 5
MIN_CHECK_IMAGES = 30
"""Minimum number of held-out images to check the threshold."""
THRESHOLD = 0.95
"""The novelty up to which an image is familiar: this share of held-out images is."""
SHAPES = {
    "penultimate": (512,),
    "texture": (2 * CHANNELS[1][2],),
    **dict.fromkeys(("penultimate_distances", "texture_distances", "farthest"), ()),
}
"""The entries of a file, each with its shape without the first dimension."""


class NoveltyFileError(RuntimeError):
    """The file does not hold a novelty model; the message names it."""


class Novelty(nn.Module):
    """Computes novelty: the share of held-out images that are closer to the references.

    The view in which the image is farther counts. The state holds, for each view, the normalised
    references [M, dimension] and the ascending distances of the held-out images [C]. `farthest`
    has the larger of the two shares of each held-out image, ascending [C].
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in state.items():
            self.register_buffer(name, tensor.float())

    def __len__(self) -> int:
        """Return the number of references."""
        return len(self.get_buffer(VIEWS[0]))

    @torch.inference_mode()
    def forward(self, conv2: Tensor, penultimate: Tensor) -> Tensor:
        """Compute the novelty [N], in [0, 1], of images by their vectors [N, dimension]."""
        vectors = views(conv2, penultimate)
        shares = [
            _share_below(
                self.get_buffer(_distances_name(view)),
                _distances(vectors[view], self.get_buffer(view)),
            )
            for view in VIEWS
        ]
        return _share_below(self.get_buffer("farthest"), torch.stack(shares).amax(0))


class Fitted(NamedTuple):
    """A fitted novelty model, and the share of further held-out images that are familiar."""

    novelty: Novelty
    familiar_share: float


def views(conv2: Tensor, penultimate: Tensor) -> dict[View, Tensor]:
    """Return the vectors compared in each view: 512 values, and two per `conv2` channel.

    Args:
        conv2: [N, 8192], flattened channel-major.
        penultimate: [N, 512].

    """
    channels = conv2.float().unflatten(1, (CHANNELS[1][2], -1))
    count = channels.shape[2]
    means = channels.mean(2)
    # torch's `std` is not vectorised here: it took 1.9 ms for 32 images, this takes 0.1 ms
    squares = channels.square().mean(2) - means.square()
    deviations = (squares.clamp(min=0) * (count / (count - 1))).sqrt()
    return {
        "penultimate": penultimate.float(),
        "texture": torch.cat((means, deviations), dim=1),
    }


def fit(known: Mapping[Layer, Vectors], held_out: Mapping[Layer, Vectors]) -> Fitted | None:
    """Fit a novelty model; return None if there are too few held-out images to check it.

    Args:
        known: vectors at `conv2` and `penultimate`, [M, dimension], of training images: the
            references.
        held_out: the same of images that the network was not trained on. A random half sets the
            distances, the other half checks the share of familiar images.

    """
    order = np.random.default_rng(0).permutation(len(held_out["conv2"]))
    fit_half, check_half = np.array_split(order, 2)
    if len(check_half) < MIN_CHECK_IMAGES:
        return None

    def at(positions: Positions) -> tuple[Tensor, Tensor]:
        conv2, penultimate = held_out["conv2"][positions], held_out["penultimate"][positions]
        return torch.from_numpy(conv2), torch.from_numpy(penultimate)

    references = views(torch.from_numpy(known["conv2"]), torch.from_numpy(known["penultimate"]))
    state: dict[str, Tensor] = {}
    shares = []
    for view, vectors in views(*at(fit_half)).items():
        state[view] = functional.normalize(references[view], dim=1).half()  # as in the file
        distances = _distances(vectors, state[view].float())
        state[_distances_name(view)] = distances.sort().values
        shares.append(_share_below(state[_distances_name(view)], distances))
    state["farthest"] = torch.stack(shares).amax(0).sort().values
    novelty = Novelty(state)
    familiar = novelty(*at(check_half)) <= THRESHOLD
    return Fitted(novelty, familiar.float().mean().item())


def save(novelty: Novelty, file: Path) -> None:
    """Write a novelty model, its references as fp16."""
    state = {
        name: (tensor.half() if name in VIEWS else tensor).cpu().contiguous()
        for name, tensor in novelty.state_dict().items()
    }
    save_file(state, file)
    file.chmod(0o644)  # safetensors makes it readable by its owner only


def load(file: Path) -> Novelty:
    """Read a novelty model, on the CPU.

    Raises:
        NoveltyFileError: the file is missing, damaged, or not a novelty model.

    """
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise NoveltyFileError(f"{file} cannot be read: {error}") from error
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in state.items() if tensor.numel()}
    if shapes != SHAPES or len(state["penultimate"]) != len(state["texture"]):
        raise NoveltyFileError(f"{file} does not hold a novelty model")
    return Novelty(state)


def _distances_name(view: View) -> str:
    return f"{view}_distances"


def _distances(vectors: Tensor, references: Tensor) -> Tensor:
    """Compute the distances [N] of vectors [N, dimension] to unit references [M, dimension]."""
    cosines = functional.normalize(vectors, dim=1) @ references.T
    return 1 - cosines.topk(min(NEAREST, len(references))).values.mean(1)


def _share_below(ascending: Tensor, values: Tensor) -> Tensor:
    return torch.searchsorted(ascending, values).float() / len(ascending)
