"""How far an image lies from those a network was trained on: whether it knows what it is shown.

In each of two views, an image's distance is one minus its mean cosine to its nearest references
(after Sun et al., 2022). The penultimate layer tells unknown things. The texture, the mean and
spread of each channel at `conv2`, tells what is no photograph: noise, flat colours, writing. At the
penultimate layer alone, noise may look like any frog. Knows vectors; nothing of images or networks.
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
from training.models.blocknet import CHANNELS, Layer

View = Literal["penultimate", "texture"]

VIEWS: tuple[View, ...] = ("penultimate", "texture")
REFERENCES = 2000
"""How many images of the training are compared with, at most: more find no more."""
NEAREST = 5
HELD_OUT = 30
"""The fewest held-out images that check where the familiar ends."""
THRESHOLD = 0.95
"""The novelty up to which an image is familiar: that of so many held-out images."""
SHAPES = {
    "penultimate": (512,),
    "texture": (2 * CHANNELS[1][2],),
    **dict.fromkeys(("penultimate_distances", "texture_distances", "farthest"), ()),
}
"""What a file holds, and the shape of each entry."""


class NoveltyFileError(RuntimeError):
    """The file does not hold what novelty is measured by; the message names it."""


class Novelty(nn.Module):
    """The novelty of images: the share of held-out images that lie less far from the references.

    Of the two views, that one counts in which an image lies farther. The state is, for each view,
    the references, normalised [M, dimension], and the distances of the held-out images, ascending
    [C]; and `farthest`, what they have for the greater of their two shares.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in state.items():
            self.register_buffer(name, tensor.float())

    def __len__(self) -> int:
        """How many references there are."""
        return len(self.get_buffer(VIEWS[0]))

    @torch.inference_mode()
    def forward(self, conv2: Tensor, penultimate: Tensor) -> Tensor:
        """Novelty [N], from 0 to 1, of images as vectors [N, dimension] at these layers."""
        seen = views(conv2, penultimate)
        shares = [
            _share_below(
                self.get_buffer(_distances_of(view)), _distances(seen[view], self.get_buffer(view))
            )
            for view in VIEWS
        ]
        return _share_below(self.get_buffer("farthest"), torch.stack(shares).amax(0))


class Fitted(NamedTuple):
    """A measure of novelty, and the share of further images that it calls familiar."""

    novelty: Novelty
    familiar_share: float


def views(conv2: Tensor, penultimate: Tensor) -> dict[View, Tensor]:
    """What is compared of images [N, dimension]: 512 numbers, and two for each `conv2` channel."""
    channels = conv2.float().unflatten(1, (CHANNELS[1][2], -1))
    number = channels.shape[2]
    means = channels.mean(2)
    # torch's own `std`, which goes over the numbers one by one, took 1.9 ms for 32 images; this 0.1
    squares = channels.square().mean(2) - means.square()
    deviations = (squares.clamp(min=0) * (number / (number - 1))).sqrt()
    return {
        "penultimate": penultimate.float(),
        "texture": torch.cat((means, deviations), dim=1),
    }


def fit(known: Mapping[Layer, Vectors], held_out: Mapping[Layer, Vectors]) -> Fitted | None:
    """Measure novelty; None where the held-out images are too few.

    Args:
        known: vectors at `conv2` and `penultimate`, [M, dimension], of images that the network was
            trained on: the references.
        held_out: the same of images that it was not trained on. One half, drawn at random, says how
            far the familiar reaches; the other half checks that.

    """
    order = np.random.default_rng(0).permutation(len(held_out["conv2"]))
    measuring, checking = np.array_split(order, 2)
    if len(checking) < HELD_OUT:
        return None

    def at(positions: Positions) -> tuple[Tensor, Tensor]:
        conv2, penultimate = held_out["conv2"][positions], held_out["penultimate"][positions]
        return torch.from_numpy(conv2), torch.from_numpy(penultimate)

    references = views(torch.from_numpy(known["conv2"]), torch.from_numpy(known["penultimate"]))
    state: dict[str, Tensor] = {}
    shares = []
    for view, seen in views(*at(measuring)).items():
        state[view] = functional.normalize(references[view], dim=1).half()  # as it is stored
        distances = _distances(seen, state[view].float())
        state[_distances_of(view)] = distances.sort().values
        shares.append(_share_below(state[_distances_of(view)], distances))
    state["farthest"] = torch.stack(shares).amax(0).sort().values
    novelty = Novelty(state)
    familiar = novelty(*at(checking)) <= THRESHOLD
    return Fitted(novelty, familiar.float().mean().item())


def save(novelty: Novelty, file: Path) -> None:
    """Write it, the references as fp16."""
    state = {
        name: (tensor.half() if name in VIEWS else tensor).cpu().contiguous()
        for name, tensor in novelty.state_dict().items()
    }
    save_file(state, file)
    file.chmod(0o644)  # safetensors writes it for its owner alone


def load(file: Path) -> Novelty:
    """Read it, on the CPU.

    Raises:
        NoveltyFileError: the file is missing, damaged or something else.

    """
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise NoveltyFileError(f"{file} cannot be read: {error}") from error
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in state.items() if tensor.numel()}
    if shapes != SHAPES or len(state["penultimate"]) != len(state["texture"]):
        raise NoveltyFileError(f"{file} holds something else than a measure of novelty")
    return Novelty(state)


def _distances_of(view: View) -> str:
    return f"{view}_distances"


def _distances(seen: Tensor, references: Tensor) -> Tensor:
    """From vectors [N, dimension] to their nearest of the normalised references [M, dimension]."""
    cosines = functional.normalize(seen, dim=1) @ references.T
    return 1 - cosines.topk(min(NEAREST, len(references))).values.mean(1)


def _share_below(ascending: Tensor, values: Tensor) -> Tensor:
    return torch.searchsorted(ascending, values).float() / len(ascending)
