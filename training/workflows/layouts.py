"""Lays out the maps of a gallery by t-SNE, one for each layer of a network.

Each layout begins from that of the layer before, so that images keep their places where they can.
Knows networks and vectors; nothing of bundles on disk.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from training.bundle.manifest import MapQuality
from training.bundle.writer import Maps
from training.embedding.embed import embed
from training.index import maps
from training.index.cosine import Positions, Vectors, normalise
from training.index.maps import LayerMap, Reduction
from training.models.layers import Layer
from training.models.network import Network

COMPONENTS: Final = 50
"""Principal components of the vectors that are laid out."""
DIRECTIONS: Final = 32
"""Numbers that are kept of each vector at a layer without an index."""
PERPLEXITY: Final = 30.0
EARLY_STEPS, STEPS = 100, 250
"""Steps of t-SNE with early exaggeration, and after it."""
FFT_COUNT: Final = 2_000
"""Images from which forces are interpolated on a grid."""
MAX_LAID_OUT: Final = 20_000
"""Images that are laid out. Others have the mean place of their nearest among these."""
MAX_MEASURED: Final = 3_000
"""Images among which trustworthiness is measured, at most."""
NEIGHBOURS: Final = 10
MIN_IMAGES: Final = 8
"""Fewer images have no map."""
MARGIN: Final = 0.02


def lay_out(
    network: Network,
    images: Tensor,
    indexed: Mapping[Layer, Vectors],
    device: torch.device,
    on_layer: Callable[[], None] = lambda: None,
) -> Maps | None:
    """Compute the layout of images at each layer of a network; None if there are too few.

    Args:
        network: on any device.
        images: uint8 [N, 3, side, side].
        indexed: the vectors [N, dimension] at the layers that have an index.
        device: to embed on.
        on_layer: called after each layer.

    """
    count = len(images)
    if count < MIN_IMAGES:
        return None
    spec = network.spec
    others = tuple(layer.name for layer in spec.pictured if layer.name not in indexed)
    pooled = embed(network, images, others, device, pooled=True)
    measured = sample(count, MAX_MEASURED)
    originals = embed(network, images[measured], others, device)
    chosen = sample(count, MAX_LAID_OUT)
    layers: dict[Layer, LayerMap] = {}
    qualities: dict[Layer, MapQuality] = {}
    before: Vectors | None = None
    for layer in spec.pictured:
        name, started = layer.name, time.perf_counter()
        vectors = normalise(indexed[name] if name in indexed else pooled[name])
        components = principal_components(vectors[chosen])
        before = run_tsne(components, before)
        places = in_unit_square(before)
        if len(chosen) < count:
            places = _place_others(vectors, chosen, places)
        original = vectors[measured] if name in indexed else normalise(originals[name])
        layers[name] = LayerMap(places)
        if name not in indexed:
            reduction = Reduction(layer.shape, _directions(vectors[chosen]))
            layers[name] = LayerMap(places, reduction, reduction.of_pooled(vectors))
        qualities[name] = MapQuality(
            trustworthiness=measure_trustworthiness(original, places[measured]),
            measured=len(measured),
            seconds=time.perf_counter() - started,
        )
        on_layer()
    return Maps(layers, qualities)


def run_tsne(components: Vectors, before: Vectors | None) -> Vectors:
    """Run t-SNE on rows [N, K], beginning from another layout or the first two columns."""
    from openTSNE import TSNE  # noqa: PLC0415  slow to import

    count = len(components)
    start = components[:, :2] if before is None else before
    start = start.astype(np.float64)
    scale = start.std(axis=0)[0]
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (count - 1) / 3),
        initialization=start / (scale or 1.0) * 1e-4,
        early_exaggeration_iter=EARLY_STEPS,
        n_iter=STEPS,
        neighbors="approx" if count >= FFT_COUNT else "exact",
        negative_gradient_method="fft" if count >= FFT_COUNT else "bh",
        n_jobs=torch.get_num_threads(),
        random_state=0,
    )
    return np.asarray(tsne.fit(components.astype(np.float64)), np.float32)


def principal_components(vectors: Vectors) -> Vectors:
    """Return the principal components [N, K] of vectors, the largest first."""
    rows = torch.from_numpy(vectors)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = torch.pca_lowrank(rows, q=min(COMPONENTS, *rows.shape))
    components: Vectors = ((rows - rows.mean(0)) @ found[2]).numpy()
    return components


def _directions(vectors: Vectors) -> Vectors:
    """Return the directions [K, dimension] that keep most of the cosines, rounded to fp16."""
    rows = torch.from_numpy(vectors)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _, _, found = torch.svd_lowrank(rows, q=min(DIRECTIONS, *rows.shape))
    directions: Vectors = found.T.contiguous().half().float().numpy()
    return directions


def in_unit_square(layout: Vectors) -> Vectors:
    """Scale a layout to the unit square with a margin; shapes do not change."""
    low, high = layout.min(axis=0), layout.max(axis=0)
    size = float((high - low).max()) or 1.0
    places: Vectors = 0.5 + (layout - (low + high) / 2) / size * (1 - 2 * MARGIN)
    return places


def _place_others(vectors: Vectors, chosen: Positions, places: Vectors) -> Vectors:
    """Return the places of all images, those that were not laid out among their nearest."""
    every = np.zeros((len(vectors), 2), np.float32)
    every[chosen] = places
    others = np.setdiff1d(np.arange(len(vectors)), chosen)
    directions = _directions(vectors[chosen])
    reduced = normalise(vectors @ directions.T)
    for part in np.array_split(others, -(-len(others) // 1000)):
        scores, found = maps.nearest(reduced[part], reduced[chosen], maps.NEAREST)
        every[part] = maps.mean_place(places[found], scores)
    return every


def measure_trustworthiness(vectors: Vectors, places: Vectors) -> float:
    """Measure by how far the neighbours on a map are neighbours by cosine (Venna, Kaski, 2001)."""
    from sklearn.manifold import trustworthiness  # noqa: PLC0415  slow to import

    neighbours = min(NEIGHBOURS, (len(vectors) - 1) // 2)
    return float(trustworthiness(vectors, places, n_neighbors=neighbours, metric="cosine"))


def sample(count: int, most: int) -> Positions:
    """Return up to `most` of `count` positions, drawn by a fixed seed and sorted."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
