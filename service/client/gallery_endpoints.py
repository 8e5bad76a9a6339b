"""What a client may ask of the gallery and do to it, said once for both clients.

Knows paths, parameters and types; nothing of connections or of trying again.
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
    answer_as,
    answers_as,
    encode,
    post_many,
    show,
)
from service.schemas.errors import Problem
from service.schemas.gallery import DuplicatesResponse, GalleryItem, GalleryPage, UpsertResult
from service.schemas.images import Neighbour, SimilarResponse

Value = str | int | float | bool
JSON = {"Content-Type": "application/json"}


class Filters(TypedDict, total=False):
    """Which images are asked for: those for which all holds that is given."""

    label: str | None
    predicted: str | None
    source: Literal["bundle", "added"] | None
    attributes: Mapping[str, Value]


class Likeness(Filters, total=False):
    """What is looked for, and how; see `POST /similar` in the service's /docs."""

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
    """A picture to be kept, and what is said of it; the service predicts a label left out."""

    picture: Picture
    label: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    id: str | None = None

    def body(self) -> dict[str, Any]:
        """For JSON."""
        said = {"label": self.label, "attributes": dict(self.attributes), "id": self.id}
        image = base64.b64encode(encode(self.picture)).decode()
        return {"image": image} | {name: value for name, value in said.items() if value}


def similar(
    picture: Picture | None,
    positive: Sequence[str],
    negative: Sequence[str],
    fit: Fit,
    asked: Likeness,
) -> Call[SimilarResponse]:
    """What is like a picture, or like images of the gallery."""
    query = _with_examples(positive, negative, fit, asked)
    content = None if picture is None else encode(picture)
    headers = {} if picture is None else {"Content-Type": "application/octet-stream"}
    return Call("POST", "/similar", answer_as(SimilarResponse), query, headers, content)


def similar_many(
    pictures: Sequence[Picture],
    positive: Sequence[str],
    negative: Sequence[str],
    fit: Fit,
    asked: Likeness,
) -> Call[list[tuple[Neighbour, ...] | Problem]]:
    """What is like each of several pictures."""
    return post_many(
        "/similar", pictures, _neighbours, _with_examples(positive, negative, fit, asked)
    )


def similar_to(image_id: str, asked: Likeness) -> Call[SimilarResponse]:
    """What is like an image of the gallery."""
    return Call("GET", f"{_path(image_id)}/similar", answer_as(SimilarResponse), _query(asked))


def page(wanted: Filters, cursor: str, limit: int) -> Call[GalleryPage]:
    """One page of the gallery."""
    query = {**_query(wanted), "cursor": cursor, "limit": limit}
    return Call("GET", "/gallery", answer_as(GalleryPage), query)


def item(image_id: str) -> Call[GalleryItem]:
    """One image of the gallery."""
    return Call("GET", _path(image_id), answer_as(GalleryItem))


def image(image_id: str) -> Call[Image.Image]:
    """A picture of the gallery."""
    return Call("GET", f"{_path(image_id)}/image", show)


def add(new: New, key: str | None, fit: Fit) -> Call[UpsertResult]:
    """Keep one picture."""
    content = json.dumps(new.body()).encode()
    return Call(
        "POST", "/gallery", answer_as(UpsertResult), {"fit": fit}, _idempotency_header(key), content
    )


def add_many(new: Sequence[New], key: str | None, fit: Fit) -> Call[list[UpsertResult | Problem]]:
    """Keep several."""
    if not new:
        raise ValueError("no pictures: give at least one")
    content = json.dumps({"images": [one.body() for one in new]}).encode()
    return Call(
        "POST",
        "/gallery",
        answers_as(UpsertResult),
        {"fit": fit},
        _idempotency_header(key),
        content,
    )


def put(image_id: str, new: New, fit: Fit) -> Call[UpsertResult]:
    """Keep one picture in the place of another."""
    content = json.dumps({**new.body(), "id": image_id}).encode()
    return Call("PUT", _path(image_id), answer_as(UpsertResult), {"fit": fit}, JSON, content)


def edit(image_id: str, changes: Mapping[str, Any]) -> Call[GalleryItem]:
    """Another label, or other attributes."""
    content = json.dumps(dict(changes)).encode()
    return Call("PATCH", _path(image_id), answer_as(GalleryItem), {}, JSON, content)


def remove(image_id: str) -> Call[None]:
    """Take an image away."""
    return Call("DELETE", _path(image_id), _no_content)


def duplicates(
    layer: str, threshold: float, cursor: str, limit: int, wanted: Filters
) -> Call[DuplicatesResponse]:
    """Pairs of images that are much alike."""
    asked: Query = {"layer": layer, "threshold": threshold, "cursor": cursor, "limit": limit}
    query = {**_query(wanted), **asked}
    return Call("POST", "/gallery/duplicates", answer_as(DuplicatesResponse), query)


def _with_examples(
    positive: Sequence[str], negative: Sequence[str], fit: Fit, asked: Likeness
) -> Query:
    examples = {"positive": tuple(positive), "negative": tuple(negative)}
    return {**_query(asked), **examples, "fit": fit}


def _neighbours(response: httpx.Response) -> list[tuple[Neighbour, ...] | Problem]:
    return [
        one if isinstance(one, Problem) else one.similar
        for one in answers_as(SimilarResponse)(response)
    ]


def _idempotency_header(key: str | None) -> Mapping[str, str]:
    return JSON if key is None else {**JSON, "Idempotency-Key": key}


def _path(image_id: str) -> str:
    return f"/gallery/{quote(image_id, safe='')}"


def _query(asked: Filters | Likeness) -> dict[str, str | int | float | bool | Sequence[str]]:
    said: dict[str, Any] = dict(asked)
    attributes: Mapping[str, Value] = said.pop("attributes", {})
    said |= {f"attribute.{name}": value for name, value in attributes.items()}
    return {name: value for name, value in said.items() if value is not None}


def _no_content(_: httpx.Response) -> None:
    pass
