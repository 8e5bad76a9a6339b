"""A fake network whose logits are determined by the pixels, and images for it."""

import torch
from torch import Tensor, nn

from tests.support.factories import tiny
from training.data.tensors import LabelledTensors


def labelled_images(count: int = 20, start: int = 0) -> LabelledTensors:
    dataset = tiny(per_class=-(-count // 10), start=start)
    return LabelledTensors(dataset.images[:count], dataset.labels[:count])


class ScriptedLogits(nn.Module):
    """Returns scripted logits: the first pixel of each image is the predicted class."""

    def forward(self, images: Tensor) -> Tensor:
        chosen: Tensor = nn.functional.one_hot(images[:, 0, 0, 0].long(), 10)
        return 100.0 * chosen.float()


def predicted_as(classes: list[int]) -> Tensor:
    images = torch.zeros(len(classes), 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(classes)
    return images
