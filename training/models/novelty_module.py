"""Novelty as a PyTorch module, for a network that PyTorch runs. Computes what `Novelty` does."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.novelty import NEAREST, VIEWS, Novelty, View


class NoveltyModule(nn.Module):
    """Computes the novelty of images from tensors, on their device."""

    def __init__(self, novelty: Novelty) -> None:
        super().__init__()
        for view in VIEWS:
            self.register_buffer(view, torch.from_numpy(novelty.references[view]))
            self.register_buffer(f"{view}_distances", torch.from_numpy(novelty.distances[view]))
        self.register_buffer("farthest", torch.from_numpy(novelty.farthest))

    @torch.inference_mode()
    def forward(self, texture: Tensor, penultimate: Tensor) -> Tensor:
        """Compute the novelty [N], in [0, 1], of images by their vectors [N, dimension].

        The vectors are those of the layers that `NetworkSpec.novelty` names.
        """
        width = self.get_buffer("texture").shape[1]
        shares = [
            _share_below(
                self.get_buffer(f"{view}_distances"), _distances(vectors, self.get_buffer(view))
            )
            for view, vectors in _views(texture, penultimate, width).items()
        ]
        return _share_below(self.get_buffer("farthest"), torch.stack(shares).amax(0))


def _views(texture: Tensor, penultimate: Tensor, width: int) -> Mapping[View, Tensor]:
    if texture.shape[1] == width:
        return {"penultimate": penultimate.float(), "texture": texture.float()}
    channels = texture.float().unflatten(1, (width // 2, -1))
    count = channels.shape[2]
    means = channels.mean(2)
    # torch's `std` is not vectorised here: it took 1.9 ms for 32 images, this takes 0.1 ms
    squares = channels.square().mean(2) - means.square()
    deviations = (squares.clamp(min=0) * (count / (count - 1))).sqrt()
    return {
        "penultimate": penultimate.float(),
        "texture": torch.cat((means, deviations), dim=1),
    }


def _distances(vectors: Tensor, references: Tensor) -> Tensor:
    cosines = functional.normalize(vectors, dim=1) @ references.T
    return 1 - cosines.topk(min(NEAREST, len(references))).values.mean(1)


def _share_below(ascending: Tensor, values: Tensor) -> Tensor:
    return torch.searchsorted(ascending, values).float() / len(ascending)
