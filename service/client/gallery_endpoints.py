"""The requests of both clients about the gallery, and the parsing of their responses.

Knows paths, parameters and types, but neither connections nor repetitions.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict
from urllib.parse import quote

import httpx
from PIL import Image

from service.client.endpoints import (
    Call,
    Fit,
    Picture,
    Query,
    encode,
    parse_image,
    parse_response,
    parse_results,
    post_many,
)
from service.schemas.errors import Problem
from service.schemas.gallery import DuplicatesResponse, GalleryItem, GalleryPage, UpsertResult
from service.schemas.images import Neighbour, SimilarResponse

Value = str | int | float | bool
JSON = {"Content-Type": "application/json"}


class Filters(TypedDict, total=False):
    """Selects images that match all given values."""

    label: str | None
    predicted: str | None
    source: Literal["bundle", "added"] | None
    attributes: Mapping[str, Value]


class SimilarityOptions(Filters, total=False):
    """The options of a similarity search; see `POST /similar` in the service's /docs."""

    layer: str
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


def similar(
    picture: Picture | None,
    positive: Sequence[str],
    negative: Sequence[str],
    fit: Fit,
    options: SimilarityOptions,
) -> Call[SimilarResponse]:
    """Build the request for the images similar to an image, to examples, or to both."""
    query = _with_examples(positive, negative, fit, options)
    content = None if picture is None else encode(picture)
    headers = {} if picture is None else {"Content-Type": "application/octet-stream"}
    return Call("POST", "/similar", parse_response(SimilarResponse), query, headers, content)


def similar_many(
    pictures: Sequence[Picture],
    positive: Sequence[str],
    negative: Sequence[str],
    fit: Fit,
    options: SimilarityOptions,
) -> Call[list[tuple[Neighbour, ...] | Problem]]:
    """Build the request for the images similar to each of several images."""
    return post_many(
        "/similar", pictures, _neighbours, _with_examples(positive, negative, fit, options)
    )


def similar_to(image_id: str, options: SimilarityOptions) -> Call[SimilarResponse]:
    """Build the request for the images similar to one of the gallery."""
    return Call(
        "GET", f"{_path(image_id)}/similar", parse_response(SimilarResponse), _query(options)
    )


def page(filters: Filters, cursor: str, limit: int) -> Call[GalleryPage]:
    """Build the request for one page of the gallery."""
    query = {**_query(filters), "cursor": cursor, "limit": limit}
    return Call("GET", "/gallery", parse_response(GalleryPage), query)


def item(image_id: str) -> Call[GalleryItem]:
    """Build the request for the metadata of one image of the gallery."""
    return Call("GET", _path(image_id), parse_response(GalleryItem))


def image(image_id: str) -> Call[Image.Image]:
    """Build the request for the pixels of one image of the gallery."""
    return Call("GET", f"{_path(image_id)}/image", parse_image)


def add(new: New, key: str | None, fit: Fit) -> Call[UpsertResult]:
    """Build the request that adds one image."""
    content = json.dumps(new.body()).encode()
    return Call(
        "POST",
        "/gallery",
        parse_response(UpsertResult),
        {"fit": fit},
        _idempotency_header(key),
        content,
    )


def add_many(new: Sequence[New], key: str | None, fit: Fit) -> Call[list[UpsertResult | Problem]]:
    """Build the request that adds several images.

    Raises:
        ValueError: there are no images.

    """
    if not new:
        raise ValueError("no images: give at least one")
    content = json.dumps({"images": [one.body() for one in new]}).encode()
    return Call(
        "POST",
        "/gallery",
        parse_results(UpsertResult),
        {"fit": fit},
        _idempotency_header(key),
        content,
    )


def put(image_id: str, new: New, fit: Fit) -> Call[UpsertResult]:
    """Build the request that adds or replaces the image of an id."""
    content = json.dumps({**new.body(), "id": image_id}).encode()
    return Call("PUT", _path(image_id), parse_response(UpsertResult), {"fit": fit}, JSON, content)


def edit(image_id: str, changes: Mapping[str, Any]) -> Call[GalleryItem]:
    """Build the request that changes the label or attributes of an image."""
    content = json.dumps(dict(changes)).encode()
    return Call("PATCH", _path(image_id), parse_response(GalleryItem), {}, JSON, content)


def remove(image_id: str) -> Call[None]:
    """Build the request that removes an image."""
    return Call("DELETE", _path(image_id), _no_content)


def duplicates(
    layer: str, threshold: float, cursor: str, limit: int, filters: Filters
) -> Call[DuplicatesResponse]:
    """Build the request for one page of pairs of near-duplicates."""
    parameters: Query = {"layer": layer, "threshold": threshold, "cursor": cursor, "limit": limit}
    query = {**_query(filters), **parameters}
    return Call("POST", "/gallery/duplicates", parse_response(DuplicatesResponse), query)


def _with_examples(
    positive: Sequence[str], negative: Sequence[str], fit: Fit, options: SimilarityOptions
) -> Query:
    examples = {"positive": tuple(positive), "negative": tuple(negative)}
    return {**_query(options), **examples, "fit": fit}


def _neighbours(response: httpx.Response) -> list[tuple[Neighbour, ...] | Problem]:
    return [
        one if isinstance(one, Problem) else one.similar
        for one in parse_results(SimilarResponse)(response)
    ]


def _idempotency_header(key: str | None) -> Mapping[str, str]:
    return JSON if key is None else {**JSON, "Idempotency-Key": key}


def _path(image_id: str) -> str:
    return f"/gallery/{quote(image_id, safe='')}"


def _query(
    options: Filters | SimilarityOptions,
) -> dict[str, str | int | float | bool | Sequence[str]]:
    parameters: dict[str, Any] = dict(options)
    attributes: Mapping[str, Value] = parameters.pop("attributes", {})
    parameters |= {f"attribute.{name}": value for name, value in attributes.items()}
    return {name: value for name, value in parameters.items() if value is not None}


def _no_content(_: httpx.Response) -> None:
    pass
