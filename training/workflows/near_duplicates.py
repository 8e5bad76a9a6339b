"""Finds near-duplicates: pairs of images that show the same picture, cropped or recoloured.

The nearest neighbours at one layer are candidates. A pair's score is the mean of its cosines at
`conv2` and `conv3` and of the correlation of the images' details. Knows no files or records.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.data.dataset import Dataset
from training.data.preprocessing import SIZE
from training.data.splits import Indices, Splits
from training.data.tensors import LabelledTensors
from training.embedding.embed import BATCH_SIZE, embed
from training.experiments.record import NearDuplicates
from training.index import cosine
from training.index.cosine import FLAT_INDEX_LIMIT, CosineIndex, Fp16Vectors, Positions, Vectors
from training.index.projection import Projection
from training.models.layers import Layer
from training.models.network import Network
from training.trainer.evaluation import predict
from training.workflows.defaults import THRESHOLD

CANDIDATES: Final = 10
"""Nearest neighbours of each image that are scored."""
SCORED_LAYERS: Final[tuple[Layer, ...]] = ("conv2", "conv3")
SHIFT: Final = 4
ZOOMS: Final = (0.88, 0.94, 1.0, 1.06, 1.13)
"""Shifts in pixels and zooms, over which the correlation of details is highest."""
FINE, COARSE = 1.0, 4.0
"""Standard deviations in pixels of the two blurs whose difference is an image's detail."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of images by their positions, the highest scores first; scores are from -1 to 1."""

    first: Positions
    second: Positions
    score: Vectors

    def __len__(self) -> int:
        return len(self.score)

    def above(self, threshold: float) -> "Pairs":
        """Return the pairs whose score is at least `threshold`."""
        kept = self.score >= threshold
        return Pairs(self.first[kept], self.second[kept], self.score[kept])


def can_score(network: Network) -> bool:
    """Return whether the network has a layer whose cosines make a pair's score."""
    return not {*network.layers}.isdisjoint(SCORED_LAYERS)


def find(
    network: Network,
    images: Tensor,
    queries: Indices,
    others: Indices,
    device: torch.device,
    *,
    layer: Layer = "conv2",
    threshold: float = THRESHOLD,
    on_batch: Callable[[], None] = lambda: None,
) -> Pairs:
    """Find the near-duplicates of some images among others, or among the same ones.

    Keeps the outputs of the layers in memory, as fp16: 24 KB an image.

    Args:
        network: embeds the images.
        images: uint8 [N, 3, 32, 32].
        queries: positions of the images whose near-duplicates are looked for.
        others: positions of the images that may be near-duplicates of them.
        device: to embed on.
        layer: at which the ten nearest are candidates.
        threshold: lowest score of a pair.
        on_batch: called after each embedded batch.

    Returns:
        Each pair once.

    """
    used = np.union1d(queries, others)
    layers = tuple(name for name in SCORED_LAYERS if name in network.layers)
    vectors = _embed(network, images, used, {layer, *layers}, device, on_batch)
    row = np.full(int(used.max()) + 1, -1)
    row[used] = np.arange(len(used))
    first, second = _candidates(vectors[layer], row[queries], row[others])
    first, second = used[first], used[second]
    same = np.isin(first, others) & np.isin(second, queries)
    swap = same & (first > second)  # a pair that is found from both sides counts once
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    pairs = np.unique(np.stack((first, second), 1), axis=0)
    rows = row[pairs]
    cosines = [_cosines(vectors[name], rows[:, 0], rows[:, 1]) for name in layers]
    total = np.sum(cosines, axis=0)
    possible = (total + 1) / (len(layers) + 1) >= threshold  # a correlation is at most 1
    pairs, total = pairs[possible], total[possible]
    details = correlate_details(images, pairs[:, 0], pairs[:, 1])
    score = ((total + details) / (len(layers) + 1)).astype(np.float32)
    order = np.argsort(-score, kind="stable")
    return Pairs(pairs[order, 0], pairs[order, 1], score[order]).above(threshold)


def measure(
    network: Network, dataset: Dataset, splits: Splits, device: torch.device
) -> NearDuplicates:
    """Count the test images with a near-duplicate among the training and validation images."""
    test = splits.indices("test")
    known = splits.indices("train", "validation")
    pairs = find(network, dataset.images, test, known, device, threshold=THRESHOLD)
    found = np.isin(test, pairs.first)
    held_out = LabelledTensors(dataset.images[test].to(device), dataset.labels[test].to(device))
    correct = (predict(network, held_out).argmax(1) == held_out.labels).cpu().numpy()
    return NearDuplicates(
        count=int(found.sum()),
        threshold=THRESHOLD,
        accuracy_with=float(correct[found].mean()) if found.any() else None,
        accuracy_without=float(correct[~found].mean()) if not found.all() else None,
    )


def _embed(
    network: Network,
    images: Tensor,
    used: Indices,
    layers: set[Layer],
    device: torch.device,
    on_batch: Callable[[], None],
) -> dict[Layer, Fp16Vectors]:
    """Return unit vectors of the images at positions `used`, as fp16."""
    chunks: dict[Layer, list[Fp16Vectors]] = {name: [] for name in layers}
    for start in range(0, len(used), FLAT_INDEX_LIMIT):
        part = images[used[start : start + FLAT_INDEX_LIMIT]]
        found = embed(network, part, tuple(layers), device, on_batch)
        for name, outputs in found.items():
            chunks[name].append(cosine.normalise(outputs).astype(np.float16))
    return {name: np.concatenate(parts) for name, parts in chunks.items()}


def _candidates(
    vectors: Fp16Vectors, queries: Positions, others: Positions
) -> tuple[Positions, Positions]:
    """Return the pairs of each query and its ten nearest others, but itself, as rows."""
    index = _build(vectors[others])
    found = [
        index.search(vectors[part].astype(np.float32), CANDIDATES + 1)[1]
        for part in np.array_split(queries, -(-len(queries) // BATCH_SIZE))
    ]
    nearest = others[np.concatenate(found)]
    first, second = np.repeat(queries, nearest.shape[1]), nearest.ravel()
    apart = first != second
    return first[apart], second[apart]


def _build(vectors: Fp16Vectors) -> CosineIndex:
    if len(vectors) <= FLAT_INDEX_LIMIT:
        return cosine.from_fp16(vectors)
    sample = vectors[:: -(-len(vectors) // FLAT_INDEX_LIMIT)]
    return cosine.from_fp16(vectors, Projection.fit(sample.astype(np.float32)))


def _cosines(vectors: Fp16Vectors, first: Positions, second: Positions) -> Vectors:
    found = [
        (vectors[a].astype(np.float32) * vectors[b].astype(np.float32)).sum(1)
        for a, b in _in_batches(first, second)
    ]
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def _in_batches(*arrays: Positions) -> list[tuple[Positions, ...]]:
    starts = range(0, len(arrays[0]), FLAT_INDEX_LIMIT)
    return [tuple(one[start : start + FLAT_INDEX_LIMIT] for one in arrays) for start in starts]


def correlate_details(images: Tensor, first: Positions, second: Positions) -> Vectors:
    """Return the correlation of two images' details, the highest over small shifts and zooms.

    The details are the grey image blurred a little, less the same blurred much. Colours and slow
    changes of brightness thus do not matter.

    Args:
        images: uint8 [N, 3, side, side]; larger ones are reduced to 32 x 32.
        first: positions [M].
        second: positions [M], of the images that are shifted and zoomed.

    """
    found = [_correlate(_grey(images[a]), _grey(images[b])) for a, b in _in_batches(first, second)]
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def _grey(images: Tensor) -> Tensor:
    """Return images [N, 3, side, side] as [N, 1, 32, 32]."""
    grey = images.float().mean(1, keepdim=True)
    factor = images.shape[-1] // SIZE
    return grey if factor == 1 else functional.avg_pool2d(grey, factor)


def _correlate(first: Tensor, second: Tensor) -> npt.NDArray[np.float32]:
    """Return the highest normalised cross-correlation over shifts and zooms of the second images.

    Fourier transforms give all shifts at once. Their padding is as wide as the largest shift.
    """
    size = first.shape[-1] + SHIFT
    shifts = [*range(SHIFT + 1), *range(-SHIFT, 0)]

    def transform(images: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.rfft2(images, s=(size, size))
        return spectrum

    def shifted(spectrum: Tensor) -> Tensor:
        found: Tensor = torch.fft.irfft2(spectrum, s=(size, size))[:, shifts][:, :, shifts]
        return found

    ours = _details(first)
    whole = transform(torch.ones(1, *ours.shape[1:]))
    ours_conj = transform(ours).conj()
    our_energy = shifted(transform(ours.square()).conj() * whole).clamp(min=1)
    highest = torch.full((len(ours),), -1.0)
    for zoom in ZOOMS:
        theirs = _details(_zoom(second, zoom))
        their_energy = shifted(whole.conj() * transform(theirs.square())).clamp(min=1)
        correlation = shifted(ours_conj * transform(theirs)) / (our_energy * their_energy).sqrt()
        highest = highest.maximum(correlation.amax((1, 2)))
    return highest.numpy()


def _zoom(images: Tensor, zoom: float) -> Tensor:
    if zoom == 1:
        return images
    matrix = torch.tensor([[zoom, 0, 0], [0, zoom, 0]]).expand(len(images), 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    zoomed: Tensor = functional.grid_sample(
        images, grid, padding_mode="border", align_corners=False
    )
    return zoomed


def _details(images: Tensor) -> Tensor:
    """Return the details of grey images [N, 1, H, W] as [N, H, W]."""
    fine, coarse = (_blur_matrix(images.shape[-1], sigma) for sigma in (FINE, COARSE))
    grey = images.squeeze(1)
    return fine @ grey @ fine.T - coarse @ grey @ coarse.T


def _blur_matrix(size: int, sigma: float) -> Tensor:
    """Return the Gaussian blur of `size` pixels as a matrix; beyond the edge they are mirrored."""
    reach = round(3 * sigma)
    weights = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    pixels = functional.pad(torch.eye(size)[:, None], (reach, reach), mode="reflect")
    return functional.conv1d(pixels, (weights / weights.sum())[None, None]).squeeze(1).T
