"""The requests of both clients about the gallery, and the parsing of their responses.

Knows paths, parameters and types, but neither connections nor retries.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import quote

import httpx
from PIL import Image

from kindred.endpoints import (
    JSON,
    OCTETS,
    A,
    Call,
    Endpoints,
    Fit,
    Query,
    endpoint,
    parse_image,
    parse_response,
    parse_results,
    post_many,
)
from kindred.pictures import Picture, encode
from service.schemas.errors import Problem
from service.schemas.gallery import DuplicatesResponse, GalleryItem, GalleryPage, Pair, UpsertResult
from service.schemas.images import Neighbour, SimilarResponse

Value = str | int | float | bool
Page = tuple[Sequence[A], str | None]
"""The images or pairs of a response, and the cursor of the next page, if any."""

PAGE = 100
"""Images or pairs in one response."""


class Filters(TypedDict, total=False):
    """Selects images that match all given values."""

    label: str | None
    predicted: str | None
    source: Literal["bundle", "added"] | None
    attributes: Mapping[str, Value]


class SimilarityOptions(Filters, total=False):
    """The options of a similarity search; see `POST /similar` in the service's /docs."""

    layer: str | None
    limit: int
    offset: int
    exclude_self: bool
    score_threshold: float
    diversity: float
    exact: bool
    explain: bool


@dataclass(frozen=True)
class New:
    """An image to add, with its metadata. Without a label, the service predicts one."""

    picture: Picture
    label: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    id: str | None = None

    def body(self) -> dict[str, Any]:
        """Return the image as part of a JSON body."""
        metadata = {"label": self.label, "attributes": dict(self.attributes), "id": self.id}
        image = base64.b64encode(encode(self.picture)).decode()
        return {"image": image} | {name: value for name, value in metadata.items() if value}


class GalleryEndpoints(Endpoints):
    """The methods of both clients: those that search and change the gallery, and the others."""

    @endpoint
    def similar(
        self,
        picture: Picture | None = None,
        *,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        fit: Fit = "crop",
        **options: Unpack[SimilarityOptions],
    ) -> Call[tuple[Neighbour, ...]]:
        """Find the images most similar to an image, to `positive` ids, or to both.

        Images similar to `negative` ids rank lower. Best first; scores are cosines.
        """
        query = _similarity_query(positive, negative, fit, options)
        if picture is None:
            return Call("POST", "/similar", _neighbours, query)
        return Call("POST", "/similar", _neighbours, query, OCTETS, encode(picture))

    @endpoint
    def similar_many(
        self,
        pictures: Sequence[Picture],
        *,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        fit: Fit = "crop",
        **options: Unpack[SimilarityOptions],
    ) -> Call[list[tuple[Neighbour, ...] | Problem]]:
        """Find the images similar to each image. Results or problems are in the given order."""
        query = _similarity_query(positive, negative, fit, options)
        return post_many("/similar", pictures, _neighbours_of_each, query)

    @endpoint
    def similar_to(
        self, image_id: str, **options: Unpack[SimilarityOptions]
    ) -> Call[tuple[Neighbour, ...]]:
        """Find the images most similar to one of the gallery, without that one."""
        return Call("GET", f"{_path(image_id)}/similar", _neighbours, _query(options))

    @endpoint
    def item(self, image_id: str) -> Call[GalleryItem]:
        """Return the metadata of an image of the gallery."""
        return Call("GET", _path(image_id), parse_response(GalleryItem))

    @endpoint
    def image(self, image_id: str) -> Call[Image.Image]:
        """Return the pixels of an image of the gallery."""
        return Call("GET", f"{_path(image_id)}/image", parse_image)

    @endpoint
    def add(
        self,
        picture: Picture,
        *,
        label: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        id: str | None = None,
        key: str | None = None,
        fit: Fit = "crop",
    ) -> Call[UpsertResult]:
        """Add an image. With an `id` or a `key` (`Idempotency-Key`), a retry adds nothing."""
        body = New(picture, label, attributes or {}, id).body()
        return _with_json("POST", "/gallery", parse_response(UpsertResult), body, fit, key)

    @endpoint
    def add_many(
        self, new: Sequence[New], *, key: str | None = None, fit: Fit = "crop"
    ) -> Call[list[UpsertResult | Problem]]:
        """Add several images. Results or problems are in the given order."""
        if not new:
            raise ValueError("no images: give at least one")
        body = {"images": [one.body() for one in new]}
        return _with_json("POST", "/gallery", parse_results(UpsertResult), body, fit, key)

    @endpoint
    def put(
        self,
        image_id: str,
        picture: Picture,
        *,
        label: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        fit: Fit = "crop",
    ) -> Call[UpsertResult]:
        """Add an image under an id, or replace the image of that id."""
        body = New(picture, label, attributes or {}, image_id).body()
        return _with_json("PUT", _path(image_id), parse_response(UpsertResult), body, fit)

    @endpoint
    def edit(self, /, image_id: str, **changes: object) -> Call[GalleryItem]:
        """Change `label` or single `attributes`. None removes a label or an attribute."""
        return _with_json("PATCH", _path(image_id), parse_response(GalleryItem), changes)

    @endpoint
    def remove(self, image_id: str) -> Call[None]:
        """Remove an image from the gallery permanently."""
        return Call("DELETE", _path(image_id), lambda _: None)


def gallery_page(filters: Filters, cursor: str, limit: int) -> Call[Page[GalleryItem]]:
    """Build the request for one page of the gallery."""

    def read(response: httpx.Response) -> Page[GalleryItem]:
        page = parse_response(GalleryPage)(response)
        return page.items, page.next

    query = {**_query(filters), "cursor": cursor, "limit": limit}
    return Call("GET", "/gallery", read, query)


def duplicates_page(
    layer: str | None, threshold: float, filters: Filters, cursor: str
) -> Call[Page[Pair]]:
    """Build the request for one page of near-duplicates."""

    def read(response: httpx.Response) -> Page[Pair]:
        page = parse_response(DuplicatesResponse)(response)
        return page.pairs, page.next

    parameters: Query = {"layer": layer, "threshold": threshold, "cursor": cursor, "limit": PAGE}
    return Call("POST", "/gallery/duplicates", read, {**_query(filters), **parameters})


def _with_json(
    method: str,
    path: str,
    read: Callable[[httpx.Response], A],
    body: Mapping[str, object],
    fit: Fit | None = None,
    key: str | None = None,
) -> Call[A]:
    query = {} if fit is None else {"fit": fit}
    headers = JSON if key is None else {**JSON, "Idempotency-Key": key}
    return Call(method, path, read, query, headers, json.dumps(body).encode())


def _similarity_query(
    positive: Sequence[str], negative: Sequence[str], fit: Fit, options: SimilarityOptions
) -> Query:
    examples = {"positive": tuple(positive), "negative": tuple(negative)}
    return {**_query(options), **examples, "fit": fit}


def _neighbours(response: httpx.Response) -> tuple[Neighbour, ...]:
    return parse_response(SimilarResponse)(response).similar


def _neighbours_of_each(response: httpx.Response) -> list[tuple[Neighbour, ...] | Problem]:
    return [
        one if isinstance(one, Problem) else one.similar
        for one in parse_results(SimilarResponse)(response)
    ]


def _path(image_id: str) -> str:
    return f"/gallery/{quote(image_id, safe='')}"


def _query(options: Filters | SimilarityOptions) -> dict[str, Any]:
    parameters: dict[str, Any] = dict(options)
    attributes: Mapping[str, Value] = parameters.pop("attributes", {})
    parameters |= {f"attribute.{name}": value for name, value in attributes.items()}
    return {name: value for name, value in parameters.items() if value is not None}
