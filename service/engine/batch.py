"""A batch: its images as one array, and what the network found. Knows nothing of threads."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from service.engine.backends.base import BatchOutput, OutputView, channels_first
from service.engine.queue import BatchItem
from service.engine.search_stage import PendingSearch
from service.engine.types import Embeddings, Entry, Priority
from training.bundle import Layer, Pixels


class Batch:
    """Images of one priority that run together."""

    def __init__(self, items: tuple[BatchItem, ...]) -> None:
        self.items = items
        self._images: Pixels | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.items)

    @property
    def in_background(self) -> bool:
        """Whether no request waits for the images."""
        return self.items[0].entry.priority is Priority.BACKGROUND

    @property
    def with_novelty(self) -> bool:
        """Whether the novelty of an image was asked for."""
        return any(item.entry.with_novelty for item in self.items)

    @property
    def further(self) -> frozenset[Layer]:
        """The layers that were asked for beside the served ones."""
        return frozenset[Layer]().union(*(item.entry.further for item in self.items))

    def stack(self) -> Pixels:
        """Return the images as uint8 [N, 3, side, side], copied once."""
        if self._images is None:
            self._images = np.stack([item.pixels for item in self.items])
        return channels_first(self._images)


class Answer(NamedTuple):
    """What the network found for a batch: entries that are complete, and images to search for."""

    found: BatchOutput
    complete: list[Entry]
    pending: list[PendingSearch]


def split(found: BatchOutput, classes: Layer | None) -> Iterator[Embeddings]:
    """Yield the embeddings of each image of a batch, without times."""
    count = len(next(iter(found.layers.values())))
    logits = np.zeros((count, 0)) if classes is None else found.layers[classes].astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    rankings = np.argsort(-probabilities, axis=1, kind="stable")
    novelty = [None] * count if found.novelty is None else found.novelty.tolist()
    for row in range(count):
        yield Embeddings(
            OutputView(found.layers, row),
            probabilities[row],
            rankings[row],
            novelty[row],
            queued=0.0,
            inference=0.0,
        )
