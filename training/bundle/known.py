"""The known image of a bundle: what its network must give for it, on any backend.

It is drawn, so that no image of a data set is needed. Works on arrays and one file; must not know
how a network is run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load as load_bytes
from safetensors.numpy import save_file

from training.data.preprocessing import Pixels
from training.index.cosine import Vectors, normalise
from training.models.layers import Layer, NetworkSpec

MIN_COSINE: Final = 0.95
"""Below it, vectors are of another network. int8 within tolerance has at least 0.999."""
CANDIDATES: Final = 64
"""Drawings of which one is chosen."""
LONG: Final = 1024
"""Vectors of more numbers are stored as fp16."""
_PIXELS: Final = "pixels"


@dataclass(frozen=True, eq=False)
class KnownImage:
    """An image, uint8 [side, side, 3], and its vector [dimension] at each layer that is searched.

    At the layer `classes`, if there is one, the largest number is that of the class.
    """

    pixels: Pixels
    vectors: Mapping[Layer, Vectors]
    classes: Layer | None = "logits"

    def mismatch(self, found: Mapping[Layer, Vectors]) -> str | None:
        """Return how the vectors of a network differ from the known ones; None if they fit."""
        for layer, known in self.vectors.items():
            if layer not in found or found[layer].shape != known.shape:
                return f"it has no vector of {len(known)} numbers at {layer}"
            cosine = float((normalise(known) @ normalise(found[layer]).T).item())
            if not cosine >= MIN_COSINE:  # it may be NaN
                return f"its vector at {layer} has a cosine of {cosine:.2f} to the known one"
            if layer == self.classes and found[layer].argmax() != known.argmax():
                return "it has another class"
        return None


def drawings(side: int) -> Pixels:
    """Return drawings of smooth random colours, uint8 [N, side, side, 3]."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (CANDIDATES, 4, 4, 3), dtype=np.uint8)
    size = (side, side)
    return np.stack(
        [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in coarse]
    )


def clearest(logits: Vectors) -> int:
    """Return the row of logits [N, classes] whose best class is farthest above the second.

    Rounding does not change its class.
    """
    second, best = np.partition(normalise(logits), -2)[:, -2:].T
    return int((best - second).argmax())


def save(known: KnownImage, file: Path) -> None:
    """Write a known image, its vectors as fp16 if they are long."""
    vectors: dict[str, Vectors] = {
        layer: vector.astype(np.float16 if vector.size > LONG else np.float32)
        for layer, vector in known.vectors.items()
    }
    save_file({_PIXELS: known.pixels, **vectors}, file)
    file.chmod(0o644)  # safetensors makes it readable by its owner only


def load(file: Path, spec: NetworkSpec) -> KnownImage:
    """Read the known image of a network.

    Raises:
        ValueError: the file does not hold a known image; the message names it.

    """
    try:
        arrays = load_bytes(file.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    pixels = arrays.pop(_PIXELS, np.empty(0))
    shape = (spec.side, spec.side, 3)
    if pixels.shape != shape or pixels.dtype != np.uint8 or not {*spec.searched} <= {*arrays}:
        raise ValueError(f"{file} does not hold a known image")
    return KnownImage(
        pixels,
        {
            layer.name: arrays[layer.name].astype(np.float32).ravel()
            for layer in spec.layers
            if layer.name in arrays
        },
        spec.classes,
    )
