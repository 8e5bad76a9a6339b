"""`POST /similar`: what is like this, at one layer."""

from fastapi import APIRouter, Request, Response

from service.engine import Search
from service.intake import REQUEST_BODY, Posted
from service.problems import documented
from service.routes.common import (
    POSTING,
    Exact,
    Explain,
    Label,
    LayerName,
    Limit,
    answer_each,
)
from service.state import Serving
from service.wire import Results, Similar

router = APIRouter(tags=["images"])


@router.post(
    "/similar",
    response_model=Similar | Results[Similar],
    responses=documented(*POSTING),
    openapi_extra=REQUEST_BODY,
)
async def similar(
    request: Request,
    serving: Serving,
    posted: Posted,
    layer: LayerName = "conv2",
    limit: Limit = 10,
    label: Label = None,
    exact: Exact = False,
    explain: Explain = False,
) -> Response:
    """Give the images of the gallery that are most like a picture."""
    (searched,) = serving.answers.searchable(layer)
    beside = label is None and not exact  # what many ask for, and in one search
    return await answer_each(
        request,
        serving,
        posted,
        lambda images: serving.answers.similar(
            images, searched, limit, label=label, exact=exact, explained=explain
        ),
        searches=[Search(searched, limit)] if beside else (),
        light=beside and not explain,
    )
