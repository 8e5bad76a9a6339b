"""What is like a picture, or like images of the gallery, at one layer; and why.

Pure computation on what is in memory, to be run off the event loop. Knows nothing of requests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.engine.types import Representation, Search
from service.gallery.protocol import Gallery, View, vectors_of
from service.gallery.types import EVERYTHING, Match, Wanted
from service.retrieval import explain
from service.retrieval.convert import neighbour
from service.schemas.base import ModelName
from service.schemas.images import Neighbour, Similar
from training.bundle import Layer, Vectors, normalise

THE_SAME: Final = 0.9995
"""Cosine at `conv2` above which two images are one picture: fp16 and batches move it by 1e-4."""

LOOKED_AT: Final = 4096
"""So many of the nearest are looked through, at least, for some that differ; then no further."""

TOGETHER: Final = 128
"""Images whose vectors are fetched at a time."""


@dataclass(frozen=True)
class Asked:
    """What is looked for, and how; see the parameters of `POST /similar`."""

    layer: Layer
    limit: int = 10
    offset: int = 0
    wanted: Wanted = EVERYTHING
    exact: bool = False
    explained: bool = False
    score_threshold: float = -1.0
    diversity: float = 0.0
    exclude_self: bool = False
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()

    @property
    def plain(self) -> Search | None:
        """What the engine may look for beside the network: what most ask for, and no more."""
        return Search(self.layer, self.limit) if self == Asked(self.layer, self.limit) else None

    @property
    def chooses(self) -> bool:
        """Whether some of the nearest are to be left out, so that more have to be looked at."""
        return self.diversity > 0 or self.exclude_self

    @property
    def examples(self) -> frozenset[str]:
        """The images of the gallery that the query is made of."""
        return frozenset((*self.positive, *self.negative))


class Kin:
    """Likeness by one network in one gallery."""

    def __init__(self, model: ModelName, gallery: Gallery) -> None:
        self._model = model
        self._gallery = gallery

    def similar(self, images: Sequence[Representation], asked: Asked) -> list[Similar]:
        """The nearest to each image, drawn towards the positive ones and away from the negative."""
        view = self._gallery.snapshot()
        if not asked.examples and not asked.exclude_self:
            return [self._said(asked, nearest) for nearest in self.nearest(view, images, asked)]
        vectors = np.stack([image.layers[asked.layer] for image in images])
        queries = normalise(vectors)
        if asked.examples:
            queries = np.stack([_between(view, asked, query[None]) for query in queries])
        selves = np.stack([image.layers["conv2"] for image in images])
        found = self._choose(view, queries if asked.examples else vectors, asked, selves)
        return [self._said(asked, nearest) for nearest in found]

    def like_examples(self, asked: Asked) -> Similar:
        """The nearest to what the positive images have in common, away from the negative."""
        view = self._gallery.snapshot()
        none = np.zeros((0, 1), np.float32)
        (nearest,) = self._choose(view, _between(view, asked, none)[None], asked)
        return self._said(asked, nearest)

    def nearest(
        self, view: View, images: Sequence[Representation], asked: Asked
    ) -> list[tuple[Neighbour, ...]]:
        """The nearest to each image; what the engine has found beside the network is taken."""
        if (plain := asked.plain) and all(plain in image.matches for image in images):
            return [tuple(map(neighbour, image.matches[plain])) for image in images]
        return self._choose(view, np.stack([image.layers[asked.layer] for image in images]), asked)

    def _said(self, asked: Asked, nearest: tuple[Neighbour, ...]) -> Similar:
        return Similar(model=self._model, layer=asked.layer, similar=nearest)

    def _choose(
        self, view: View, queries: Vectors, asked: Asked, selves: Vectors | None = None
    ) -> list[tuple[Neighbour, ...]]:
        enough = asked.offset + asked.limit
        if asked.chooses:
            found = [
                _chosen(view, query, asked, None if selves is None else selves[row])
                for row, query in enumerate(queries)
            ]
        else:
            found = view.search(
                asked.layer, queries, enough, wanted=asked.wanted, exact=asked.exact
            )
        shown = [
            [
                match
                for match in matches[asked.offset : enough]
                if match.score >= asked.score_threshold
            ]
            for matches in found
        ]
        if not asked.explained:
            return [tuple(map(neighbour, matches)) for matches in shown]
        return [
            _explained(view, query, asked.layer, matches)
            for query, matches in zip(queries, shown, strict=True)
        ]


def _between(view: View, asked: Asked, pictures: Vectors) -> Vectors:
    """Where to look, [dimension]: at the mean of the positive, and as far from the negative again.

    The same as other vector searches' "average vector": twice the one mean less the other.
    """
    positive = view.vectors(asked.layer, asked.positive)
    query: Vectors = np.concatenate([pictures, positive] if len(pictures) else [positive]).mean(0)
    if asked.negative:
        query = 2 * query - view.vectors(asked.layer, asked.negative).mean(0)
    return query


def _chosen(view: View, query: Vectors, asked: Asked, itself: Vectors | None) -> list[Match]:
    """The nearest to one query without those that are to be left out."""
    enough = asked.offset + asked.limit
    looked_at = enough + len(asked.examples) + 1 + (enough if asked.diversity > 0 else 0)
    while True:
        (matches,) = view.search(
            asked.layer, query[None], looked_at, wanted=asked.wanted, exact=asked.exact
        )
        chosen = list(_left(view, matches, asked, itself, enough))
        if len(chosen) == enough or len(matches) < looked_at or looked_at >= LOOKED_AT:
            return chosen
        looked_at *= 4


def _left(
    view: View, matches: Sequence[Match], asked: Asked, itself: Vectors | None, enough: int
) -> Iterator[Match]:
    """Up to so many matches that are neither the query itself nor much like a better one.

    Those are left out too that have gone since they were found.
    """
    shown: list[Vectors] = []
    for start in range(0, len(matches), TOGETHER):
        some = matches[start : start + TOGETHER]
        vectors = (
            vectors_of(view, asked.layer, [match.item.id for match in some])
            if asked.diversity > 0
            else {}
        )
        for match in some:
            if enough == 0:
                return
            if asked.exclude_self and (match.item.id in asked.examples or _is(view, match, itself)):
                continue
            if asked.diversity > 0:
                vector = vectors.get(match.item.id)
                if vector is None or any(other @ vector > 1 - asked.diversity for other in shown):
                    continue
                shown.append(vector)
            enough -= 1
            yield match


def _is(view: View, match: Match, itself: Vectors | None) -> bool:
    """Whether a match is the picture that was asked about, or has gone since it was found."""
    if itself is None or match.score < THE_SAME - 0.01:
        return False
    layer: Layer = "conv2" if "conv2" in view.layers else view.layers[0]
    if layer != "conv2":
        return match.score > THE_SAME
    vector = vectors_of(view, layer, [match.item.id]).get(match.item.id)
    return vector is None or bool(vector @ normalise(itself)[0] > THE_SAME)


def _explained(
    view: View, query: Vectors, layer: Layer, matches: Sequence[Match]
) -> tuple[Neighbour, ...]:
    """Matches with what makes them so; those are left out that have gone since they were found."""
    vectors = vectors_of(view, layer, [match.item.id for match in matches])
    if not vectors:
        return ()
    matches = [match for match in matches if match.item.id in vectors]
    others = np.stack([vectors[match.item.id] for match in matches])
    if layer == "conv2":
        maps = explain.heat(query, others).tolist()
        return tuple(neighbour(m, heat=heat) for m, heat in zip(matches, maps, strict=True))
    rows = explain.terms(query, others).tolist()
    return tuple(neighbour(m, terms=row) for m, row in zip(matches, rows, strict=True))
