"""Makes requests that are almost right: queries, JSON, forms, tensors, images, raw HTTP."""

from collections.abc import Callable
from random import Random
from typing import Final

from tests.support.fuzz import bodies, files, raw
from tests.support.fuzz.request import Request, query_request

KINDS: Final[dict[str, Callable[[Random], Request]]] = {
    "query": query_request,
    "JSON": bodies.json_request,
    "form": bodies.form_request,
    "tensor": bodies.tensor_request,
    "image": files.image_request,
    "raw HTTP": raw.raw_request,
}


def request_of(seed: int) -> tuple[str, Request]:
    """Return the kind and the request of a seed; it is always the same."""
    kinds = list(KINDS)
    kind = kinds[seed % len(kinds)]
    return kind, KINDS[kind](Random(seed))  # noqa: S311  it keeps no secret
