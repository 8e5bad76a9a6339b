"""Searches the gallery for images similar to a query, at one layer.

Pure computation on data in memory; run it in a thread pool. Knows nothing of requests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import attrgetter
from typing import Any, Final

import numpy as np

from service.engine.types import Embeddings, SearchQuery
from service.errors import NoPixelsError, NotFoundError
from service.gallery.bundle_images import shows
from service.gallery.protocol import Gallery, View
from service.gallery.types import MATCH_ALL, Filter, ScoredItem
from service.retrieval import explain
from service.retrieval.convert import neighbour
from service.schemas.base import DECIMALS, Fields, ModelName
from training.bundle import Layer, NetworkSpec, Vectors, normalise

DUPLICATE_COSINE: Final = 0.99
"""Cosine at the first searched layer above which an image without pixels is the query.

It is far from what rounding changes: of 7,500 images posted to the int8 backend, none was below
0.9993 to itself as stored. No two different ones were above 0.876.
"""

ALIKE: Final = 0.9
"""Cosine below which pixels are not compared: an image to itself has more at any precision."""

MAX_CANDIDATES: Final = 4096
"""Candidates after which a ranking ends."""

FETCH_BATCH: Final = 128
"""Number of images whose vectors are fetched at a time."""


@dataclass(frozen=True)
class SimilarityQuery:
    """The parameters of a similarity search, as in `POST /similar`."""

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
        """The query to search together with inference, or None if any option is not a default.

        It finds the first page; further pages start with it too.
        """
        is_default = replace(self, offset=0) == SimilarityQuery(self.layer, self.limit)
        return SearchQuery(self.layer, self.limit) if is_default else None

    @property
    def needs_overfetch(self) -> bool:
        """Whether the filter drops results, so that the search must fetch more than `limit`."""
        return self.diversity > 0 or self.exclude_self

    @property
    def first_fetch(self) -> int:
        """The number of matches that the first page needs; the same for all pages."""
        if not self.needs_overfetch:
            return self.limit
        return self.limit + len(self.examples) + 1 + (self.limit if self.diversity > 0 else 0)

    @property
    def examples(self) -> frozenset[str]:
        """The ids of the positive and negative examples."""
        return frozenset((*self.positive, *self.negative))


class SimilaritySearch:
    """Searches one gallery with the vectors of one network."""

    def __init__(self, model: ModelName, gallery: Gallery, spec: NetworkSpec) -> None:
        self._model = model.model_dump()
        self._gallery = gallery
        self._spec = spec

    def similar(self, images: Sequence[Embeddings], params: SimilarityQuery) -> list[Fields]:
        """Return the nearest neighbours of each image.

        With examples, the query is the average vector of the image and the examples.
        """
        view = self._gallery.snapshot()
        if params.examples or params.exclude_self:
            queries = np.stack([image.layers[params.layer] for image in images])
            if params.examples:
                unit = normalise(queries)
                queries = np.stack([_average_vector(view, params, [query]) for query in unit])
            found = self._search(view, queries, params, images, parts=self._parts(images, params))
        else:
            found = self.nearest(view, images, params)
        return [self._build_response(params, nearest) for nearest in found]

    def recommend(self, params: SimilarityQuery, image: Embeddings | None = None) -> Fields:
        """Return the nearest neighbours of the average vector of the examples.

        With one example, `image` has the embeddings by which its matches are explained.
        """
        view = self._gallery.snapshot()
        parts = None if image is None else self._parts_of(image, params.layer)
        (nearest,) = self._search(view, _average_vector(view, params)[None], params, parts=[parts])
        return self._build_response(params, nearest)

    def needs_embedding(self, params: SimilarityQuery) -> bool:
        """Return whether `recommend` can explain its matches only with the example's embeddings."""
        explained = params.with_attribution and self._spec.explanation(params.layer)
        return explained == "query_places" and len(params.examples) == 1 and not params.negative

    def nearest(
        self, view: View, images: Sequence[Embeddings], params: SimilarityQuery
    ) -> list[list[Fields]]:
        """Return the nearest neighbours of each image; reuse matches found during inference."""
        first = None
        if (batch_query := params.batch_query) and all(
            batch_query in image.matches for image in images
        ):
            first = [image.matches[batch_query] for image in images]
            if params.offset == 0:
                return [list(map(neighbour, matches)) for matches in first]
        queries = np.stack([image.layers[params.layer] for image in images])
        return self._search(view, queries, params, first=first, parts=self._parts(images, params))

    def _parts(
        self, images: Sequence[Embeddings], params: SimilarityQuery
    ) -> Sequence[Vectors | None]:
        """Return the parts of each query over places; None where none explain it."""
        if not params.with_attribution or params.examples:  # an average has no places
            return [None] * len(images)
        return [self._parts_of(image, params.layer) for image in images]

    def _parts_of(self, image: Embeddings, layer: Layer) -> Vectors | None:
        summed_from = self._spec.layer(layer).summed_from
        return None if summed_from is None else image.layers[summed_from]

    def _build_response(self, params: SimilarityQuery, nearest: list[Fields]) -> Fields:
        return {"model": self._model, "layer": params.layer, "similar": nearest}

    def _search(
        self,
        view: View,
        queries: Vectors,
        params: SimilarityQuery,
        images: Sequence[Embeddings] | None = None,
        first: Sequence[Sequence[ScoredItem]] | None = None,
        parts: Sequence[Vectors | None] = (),
    ) -> list[list[Fields]]:
        if first is None:
            first = view.search(
                params.layer,
                queries,
                params.first_fetch,
                filter_=params.filter_,
                exact=params.exact,
            )
        shown = [
            [
                match
                for match in self._page(
                    view, query, params, first[row], None if images is None else images[row]
                )
                if match.score >= params.score_threshold
            ]
            for row, query in enumerate(queries)
        ]
        if not params.with_attribution:
            return [list(map(neighbour, matches)) for matches in shown]
        return [
            self._explain_results(view, query, params.layer, matches, own)
            for query, matches, own in zip(queries, shown, parts, strict=True)
        ]

    def _page(
        self,
        view: View,
        query: Vectors,
        params: SimilarityQuery,
        first: Sequence[ScoredItem],
        image: Embeddings | None,
    ) -> list[ScoredItem]:
        """Return a page of the ranking of one query, best first."""
        ranking = self._filter_results(view, _rank(view, query, params, first), params, image)
        page = islice(ranking, params.offset, params.offset + params.limit)
        return sorted(page, key=attrgetter("score"), reverse=True)

    def _filter_results(
        self,
        view: View,
        ranking: Iterator[list[ScoredItem]],
        params: SimilarityQuery,
        image: Embeddings | None,
    ) -> Iterator[ScoredItem]:
        """Yield matches in order, skipping the query and near-duplicates of earlier matches.

        With `diversity`, also skips images that were removed after the search.
        """
        kept: list[Vectors] = []
        batches = (
            part[start : start + FETCH_BATCH]
            for part in ranking
            for start in range(0, len(part), FETCH_BATCH)
        )
        for batch in batches:
            vectors = (
                view.vectors(params.layer, [match.item.id for match in batch], missing="skip")
                if params.diversity > 0
                else {}
            )
            for match in batch:
                if params.exclude_self and (
                    match.item.id in params.examples or self._is_query(view, match.item.id, image)
                ):
                    continue
                if params.diversity > 0:
                    vector = vectors.get(match.item.id)
                    if vector is None or any(
                        other @ vector > 1 - params.diversity for other in kept
                    ):
                        continue
                    kept.append(vector)
                yield match

    def _is_query(self, view: View, image_id: str, image: Embeddings | None) -> bool:
        """Return whether an image has the query's pixels, or was removed after the search.

        Cosines choose the images whose pixels are compared; only without pixels do they decide.
        """
        if image is None:
            return False
        layer = self._spec.searched[0]
        vector = view.vectors(layer, [image_id], missing="skip").get(image_id)
        if vector is None:
            return True
        cosine = float(vector @ normalise(image.layers[layer][None])[0])
        if cosine < ALIKE:
            return False
        try:
            return _shows(view, image_id, image)
        except NoPixelsError:
            return cosine > DUPLICATE_COSINE
        except NotFoundError:
            return True

    def _explain_results(
        self,
        view: View,
        query: Vectors,
        layer: Layer,
        matches: Sequence[ScoredItem],
        parts: Vectors | None,
    ) -> list[Fields]:
        """Convert matches with their attributions, skipping images removed after the search."""
        vectors = view.vectors(layer, [match.item.id for match in matches], missing="skip")
        if not vectors:
            return []
        matches = [match for match in matches if match.item.id in vectors]
        others = np.stack([vectors[match.item.id] for match in matches])
        explained = self._attribution(query, others, layer, parts)
        if explained is None:
            return list(map(neighbour, matches))
        name, values = explained
        return [
            neighbour(match) | {name: row}
            for match, row in zip(matches, _rounded(values), strict=True)
        ]

    def _attribution(
        self, query: Vectors, others: Vectors, layer: Layer, parts: Vectors | None
    ) -> tuple[str, Vectors] | None:
        """Return the field of an explanation and its values [K, ...], if there is one."""
        spec = self._spec.layer(layer)
        if spec.places:
            return "heat", explain.attribution_map(query, others, spec.places)
        if spec.summed_from is None:
            return "terms", explain.attribution(query, others)
        places = self._spec.layer(spec.summed_from).places
        if parts is None or places is None:
            return None
        return "heat", explain.query_map(parts, others, places)


def _shows(view: View, image_id: str, image: Embeddings) -> bool:
    """Return whether the query has the pixels of a stored image, or of its thumbnail.

    Raises:
        NoPixelsError: no pixels were stored, or the query has none.

    """
    stored = view.image(image_id)
    if image.pixels is None:
        raise NoPixelsError("The query has no pixels.")
    if shows(stored, image.pixels):
        return True
    thumbnail = view.thumbnail(image_id)
    return thumbnail is not None and shows(thumbnail, image.pixels)


def _average_vector(view: View, params: SimilarityQuery, images: Sequence[Vectors] = ()) -> Vectors:
    """Compute the query vector [dimension] from the vectors of `images` and the examples.

    `2 * mean(images and positive) - mean(negative)`: the "average vector" strategy of Qdrant's
    recommend. Without negative examples it is the first mean.
    """
    examples = view.vectors(params.layer, [*params.positive, *params.negative])
    query: Vectors = np.mean([*images, *(examples[one] for one in params.positive)], axis=0)
    if params.negative:
        query = 2 * query - np.mean([examples[one] for one in params.negative], axis=0)
    return query


def _rank(
    view: View, query: Vectors, params: SimilarityQuery, first: Sequence[ScoredItem]
) -> Iterator[list[ScoredItem]]:
    """Yield the matches of one query, in parts: `first`, then what larger searches add to it.

    A larger search may find better matches than a smaller one. They come after all that the smaller
    one found, so that pages of one size never overlap.
    """
    matches, fetched = first, params.first_fetch
    seen: set[str] = set()
    while True:
        yield [match for match in matches if match.item.id not in seen]
        if len(matches) < fetched or fetched >= MAX_CANDIDATES:
            return
        seen.update(match.item.id for match in matches)
        fetched *= 4
        (matches,) = view.search(
            params.layer, query[None], fetched, filter_=params.filter_, exact=params.exact
        )


def _rounded(values: Vectors) -> list[Any]:
    """Return an array as nested lists, rounded as in JSON."""
    rounded: list[Any] = values.astype(np.float64).round(DECIMALS).tolist()
    return rounded
