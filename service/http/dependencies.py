"""FastAPI dependencies that several routes share: the state, filters, query parameters."""

from typing import Annotated, Final

from fastapi import Depends, Query, Request

from service.gallery.types import Filter, Source
from service.state import State

_ATTRIBUTE: Final = "attribute."


def attributes_of(request: Request) -> dict[str, str]:
    """The attributes in a query, `attribute.NAME=value`, as text."""
    return {
        name.removeprefix(_ATTRIBUTE): value
        for name, value in request.query_params.multi_items()
        if name.startswith(_ATTRIBUTE)
    }


def _filters(
    request: Request,
    label: Annotated[str | None, Query(description="Only images of this label.")] = None,
    predicted: Annotated[
        str | None, Query(description="Only images that the network takes for this class.")
    ] = None,
    source: Annotated[
        Source | None, Query(description="Only images of the bundle, or those added.")
    ] = None,
) -> Filter:
    return Filter(label, predicted, source, tuple(attributes_of(request).items()))


FilterDep = Annotated[Filter, Depends(_filters)]
"""The images for which all holds that is asked."""

MAX_LIMIT = 100

UPLOAD_ERRORS = (400, 404, 413, 415, 422, 429, 500, 503, 504)
"""How a route that takes pictures may fail."""

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many, best first.")]

LayerName = Annotated[str, Query(description="A layer that is indexed; see /model.")]

Offset = Annotated[int, Query(ge=0, le=1000, description="So many of the best are passed over.")]

Threshold = Annotated[
    float, Query(ge=-1, le=1, description="Only images whose cosine is at least this.")
]

Diversity = Annotated[
    float,
    Query(
        ge=0,
        le=1,
        description="Leave out images whose cosine to a better one is more than 1 less this: 0.05 "
        "leaves out near-duplicates.",
    ),
]

Exact = Annotated[bool, Query(description="Look at every image rather than at likely ones.")]

Explain = Annotated[bool, Query(description="Say of each neighbour why it matches.")]


async def _state(request: Request) -> State:
    state: State = request.state.serving
    return state


StateDep = Annotated[State, Depends(_state)]
