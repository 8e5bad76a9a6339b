"""What is like a picture, or like images of the gallery, at one layer; and why.

Pure computation on what is in memory, to be run off the event loop. Knows nothing of requests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.engine.types import Embeddings, SearchQuery
from service.gallery.protocol import Gallery, View, vectors_of
from service.gallery.types import MATCH_ALL, Filter, ScoredItem
from service.retrieval import explain
from service.retrieval.convert import neighbour
from service.schemas.base import ModelName
from service.schemas.images import Neighbour, SimilarResponse
from training.bundle import Layer, Vectors, normalise

DUPLICATE_COSINE: Final = 0.9995
"""Cosine at `conv2` above which two images are one picture: fp16 and batches move it by 1e-4."""

MAX_CANDIDATES: Final = 4096
"""So many of the nearest are looked through, at least, for some that differ; then no further."""

FETCH_BATCH: Final = 128
"""Images whose vectors are fetched at a time."""


@dataclass(frozen=True)
class SimilarityQuery:
    """What is looked for, and how; see the parameters of `POST /similar`."""

    layer: Layer
    limit: int = 10
    offset: int = 0
    filter_: Filter = MATCH_ALL
    exact: bool = False
    with_attribution: bool = False
    score_threshold: float = -1.0
    diversity: float = 0.0
    exclude_self: bool = False
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()

    @property
    def batch_query(self) -> SearchQuery | None:
        """What the engine may look for beside the network: what most ask for, and no more."""
        return (
            SearchQuery(self.layer, self.limit)
            if self == SimilarityQuery(self.layer, self.limit)
            else None
        )

    @property
    def needs_overfetch(self) -> bool:
        """Whether some of the nearest are to be left out, so that more have to be looked at."""
        return self.diversity > 0 or self.exclude_self

    @property
    def examples(self) -> frozenset[str]:
        """The images of the gallery that the query is made of."""
        return frozenset((*self.positive, *self.negative))


class SimilaritySearch:
    """Likeness by one network in one gallery."""

    def __init__(self, model: ModelName, gallery: Gallery) -> None:
        self._model = model
        self._gallery = gallery

    def similar(
        self, images: Sequence[Embeddings], params: SimilarityQuery
    ) -> list[SimilarResponse]:
        """The nearest to each image, drawn towards the positive ones and away from the negative."""
        view = self._gallery.snapshot()
        if not params.examples and not params.exclude_self:
            return [
                self._build_response(params, nearest)
                for nearest in self.nearest(view, images, params)
            ]
        vectors = np.stack([image.layers[params.layer] for image in images])
        queries = normalise(vectors)
        if params.examples:
            queries = np.stack([_average_vector(view, params, query[None]) for query in queries])
        selves = np.stack([image.layers["conv2"] for image in images])
        found = self._search(view, queries if params.examples else vectors, params, selves)
        return [self._build_response(params, nearest) for nearest in found]

    def recommend(self, params: SimilarityQuery) -> SimilarResponse:
        """The nearest to what the positive images have in common, away from the negative."""
        view = self._gallery.snapshot()
        none = np.zeros((0, 1), np.float32)
        (nearest,) = self._search(view, _average_vector(view, params, none)[None], params)
        return self._build_response(params, nearest)

    def nearest(
        self, view: View, images: Sequence[Embeddings], params: SimilarityQuery
    ) -> list[tuple[Neighbour, ...]]:
        """The nearest to each image; what the engine has found beside the network is taken."""
        if (batch_query := params.batch_query) and all(
            batch_query in image.matches for image in images
        ):
            return [tuple(map(neighbour, image.matches[batch_query])) for image in images]
        return self._search(
            view, np.stack([image.layers[params.layer] for image in images]), params
        )

    def _build_response(
        self, params: SimilarityQuery, nearest: tuple[Neighbour, ...]
    ) -> SimilarResponse:
        return SimilarResponse(model=self._model, layer=params.layer, similar=nearest)

    def _search(
        self, view: View, queries: Vectors, params: SimilarityQuery, selves: Vectors | None = None
    ) -> list[tuple[Neighbour, ...]]:
        enough = params.offset + params.limit
        if params.needs_overfetch:
            found = [
                _search_diverse(view, query, params, None if selves is None else selves[row])
                for row, query in enumerate(queries)
            ]
        else:
            found = view.search(
                params.layer, queries, enough, filter_=params.filter_, exact=params.exact
            )
        shown = [
            [
                match
                for match in matches[params.offset : enough]
                if match.score >= params.score_threshold
            ]
            for matches in found
        ]
        if not params.with_attribution:
            return [tuple(map(neighbour, matches)) for matches in shown]
        return [
            _explain_results(view, query, params.layer, matches)
            for query, matches in zip(queries, shown, strict=True)
        ]


def _average_vector(view: View, params: SimilarityQuery, pictures: Vectors) -> Vectors:
    """Where to look, [dimension]: at the mean of the positive, and as far from the negative again.

    The same as other vector searches' "average vector": twice the one mean less the other.
    """
    positive = view.vectors(params.layer, params.positive)
    query: Vectors = np.concatenate([pictures, positive] if len(pictures) else [positive]).mean(0)
    if params.negative:
        query = 2 * query - view.vectors(params.layer, params.negative).mean(0)
    return query


def _search_diverse(
    view: View, query: Vectors, params: SimilarityQuery, itself: Vectors | None
) -> list[ScoredItem]:
    """The nearest to one query without those that are to be left out."""
    enough = params.offset + params.limit
    scanned = enough + len(params.examples) + 1 + (enough if params.diversity > 0 else 0)
    while True:
        (matches,) = view.search(
            params.layer, query[None], scanned, filter_=params.filter_, exact=params.exact
        )
        chosen = list(_filter_results(view, matches, params, itself, enough))
        if len(chosen) == enough or len(matches) < scanned or scanned >= MAX_CANDIDATES:
            return chosen
        scanned *= 4


def _filter_results(
    view: View,
    matches: Sequence[ScoredItem],
    params: SimilarityQuery,
    itself: Vectors | None,
    enough: int,
) -> Iterator[ScoredItem]:
    """Up to so many matches that are neither the query itself nor much like a better one.

    Those are left out too that have gone since they were found.
    """
    shown: list[Vectors] = []
    for start in range(0, len(matches), FETCH_BATCH):
        some = matches[start : start + FETCH_BATCH]
        vectors = (
            vectors_of(view, params.layer, [match.item.id for match in some])
            if params.diversity > 0
            else {}
        )
        for match in some:
            if enough == 0:
                return
            if params.exclude_self and (
                match.item.id in params.examples or _is_query(view, match, itself)
            ):
                continue
            if params.diversity > 0:
                vector = vectors.get(match.item.id)
                if vector is None or any(other @ vector > 1 - params.diversity for other in shown):
                    continue
                shown.append(vector)
            enough -= 1
            yield match


def _is_query(view: View, match: ScoredItem, itself: Vectors | None) -> bool:
    """Whether a match is the picture that was asked about, or has gone since it was found."""
    if itself is None or match.score < DUPLICATE_COSINE - 0.01:
        return False
    layer: Layer = "conv2" if "conv2" in view.layers else view.layers[0]
    if layer != "conv2":
        return match.score > DUPLICATE_COSINE
    vector = vectors_of(view, layer, [match.item.id]).get(match.item.id)
    return vector is None or bool(vector @ normalise(itself)[0] > DUPLICATE_COSINE)


def _explain_results(
    view: View, query: Vectors, layer: Layer, matches: Sequence[ScoredItem]
) -> tuple[Neighbour, ...]:
    """Matches with what makes them so; those are left out that have gone since they were found."""
    vectors = vectors_of(view, layer, [match.item.id for match in matches])
    if not vectors:
        return ()
    matches = [match for match in matches if match.item.id in vectors]
    others = np.stack([vectors[match.item.id] for match in matches])
    if layer == "conv2":
        maps = explain.attribution_map(query, others).tolist()
        return tuple(neighbour(m, heat=heat) for m, heat in zip(matches, maps, strict=True))
    rows = explain.attribution(query, others).tolist()
    return tuple(neighbour(m, terms=row) for m, row in zip(matches, rows, strict=True))
