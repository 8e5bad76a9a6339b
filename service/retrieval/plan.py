"""The plan of a request about images: what the engine computes, and how it is answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.engine.types import Embeddings, SearchQuery
from service.schemas.base import Fields
from training.bundle import Fit, Layer


@dataclass(frozen=True)
class Plan:
    """How images are answered. It depends on the query of a request and on the state alone.

    `answer` builds a response to each image that has been embedded. The engine makes `searches`, so
    that `answer` finds their results, and embeds at the `further` layers beside the served ones.
    `light` says whether `answer` takes less time for one image than handing it to a thread.
    """

    answer: Callable[[Sequence[Embeddings]], Sequence[Fields]]
    fit: Fit = "crop"
    searches: tuple[SearchQuery, ...] = ()
    with_novelty: bool = False
    further: tuple[Layer, ...] = ()
    light: bool = False
