"""Images and their labels, as tensors on one device."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LabelledTensors:
    """Images uint8 [N, 3, 32, 32] and labels int64 [N], on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)
