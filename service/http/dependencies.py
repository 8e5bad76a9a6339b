"""FastAPI dependencies that several routes share: the state, filters, query parameters."""

from functools import partial
from typing import Annotated, Final

from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import StringConstraints

from service.gallery import conditions
from service.gallery.types import Filter, Source
from service.retrieval.similarity import SimilarityQuery
from service.schemas.gallery import MAX_ATTRIBUTES
from service.state import State

ATTRIBUTE: Final = "attribute."


async def attributes_of(request: Request) -> dict[str, str]:
    """Return the attributes of a query, `attribute.NAME=value`, as text."""
    return {
        name.removeprefix(ATTRIBUTE): value
        for name, value in request.query_params.multi_items()
        if name.startswith(ATTRIBUTE)
    }


AttributesDep = Annotated[dict[str, str], Depends(attributes_of)]

Condition = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}!?:[\s\S]{0,256}$")]


async def _filters(
    attributes: AttributesDep,
    label: Annotated[str | None, Query(description="Only images with this label.")] = None,
    predicted: Annotated[
        str | None, Query(description="Only images for which the network predicts this class.")
    ] = None,
    source: Annotated[
        Source | None,
        Query(description="Only images of the bundle, or only images added to the gallery."),
    ] = None,
    filters: Annotated[
        list[Condition],
        Query(
            alias="filter",
            max_length=MAX_ATTRIBUTES,
            description="Only images with this attribute, as `NAME:value`. `NAME:one,other` is one "
            "of several, `NAME:5..20`, `NAME:5..` and `NAME:..20` are ranges of numbers, and "
            "`NAME!:value` is none of these. Repeat it for several. `attribute.NAME=value` and "
            "`attribute.NAME!=value` are the same.",
            examples=[["shelf:3", "price:..20"]],
        ),
    ] = [],  # noqa: B006  FastAPI copies it
) -> Filter:
    given = [(f"{ATTRIBUTE}{name}", name, value) for name, value in attributes.items()]
    given += [("filter", name, value) for name, _, value in (one.partition(":") for one in filters)]
    return Filter(label, predicted, source, tuple(_condition(*one) for one in given))


def _condition(parameter: str, name: str, text: str) -> conditions.Condition:
    try:
        return conditions.Condition.parse(name, text)
    except ValueError as error:
        wrong = {"type": "range", "loc": ("query", parameter), "msg": str(error)}
        raise RequestValidationError([wrong]) from None


FilterDep = Annotated[Filter, Depends(_filters)]
"""The images that meet every condition of the query."""

MAX_LIMIT = 100

UPLOAD_ERRORS = (400, 404, 413, 415, 422, 429, 500, 503, 504)
"""The error statuses of routes that take images."""

Limit = Annotated[
    int, Query(ge=1, le=MAX_LIMIT, description="Maximum number of results, best first.")
]

LayerName = Annotated[
    str | None, Query(description="A searched layer; /model lists them. Default: the first.")
]

Expires = Annotated[
    int | None, Query(description="Part of the addresses in responses, if keys are needed.")
]
Signature = Annotated[
    str | None, Query(description="Permits reading this image without a key until it expires.")
]

Explain = Annotated[bool, Query(description="Add to each neighbour why it matches.")]


async def _similarity_options(
    filter_: FilterDep,
    limit: Limit = 10,
    offset: Annotated[int, Query(ge=0, le=1000, description="Number of best results to skip.")] = 0,
    score_threshold: Annotated[
        float, Query(ge=-1, le=1, description="Only images with at least this cosine similarity.")
    ] = -1.0,
    diversity: Annotated[
        float,
        Query(
            ge=0,
            le=1,
            description="Skip images whose cosine to a better result is more than 1 - diversity. "
            "0.05 skips near-duplicates.",
        ),
    ] = 0.0,
    exact: Annotated[
        bool, Query(description="Compare every image instead of likely candidates.")
    ] = False,
    explain: Explain = False,
) -> partial[SimilarityQuery]:
    return partial(
        SimilarityQuery,
        limit=limit,
        offset=offset,
        filter_=filter_,
        exact=exact,
        with_attribution=explain,
        score_threshold=score_threshold,
        diversity=diversity,
    )


SimilarityDep = Annotated[partial[SimilarityQuery], Depends(_similarity_options)]
"""Makes a similarity search with the options of the query."""


async def _state(request: Request) -> State:
    state: State = request.state.serving
    return state


StateDep = Annotated[State, Depends(_state)]
