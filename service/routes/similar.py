"""`POST /similar`: what is like this, at one layer."""

from fastapi import APIRouter, Request, Response

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
    return await answer_each(
        request,
        serving,
        posted,
        lambda images: serving.answers.similar(
            images, searched, limit, label=label, exact=exact, explained=explain
        ),
    )
