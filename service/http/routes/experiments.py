"""`GET /experiments…`: what was trained, how well it did and how long it took."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from service.errors import NotFoundError
from service.http.dependencies import Serving
from service.http.problems import documented
from service.schemas.model import Experiment, Experiments
from training.bundle import Bundle, Regularizer, Summary, summarize

router = APIRouter(prefix="/experiments", tags=["experiments"])


@router.get("", responses=documented(422))
async def experiments(
    serving: Serving,
    regularizer: Annotated[
        Regularizer | None, Query(description="Only those with this regularizer.")
    ] = None,
    blocks: Annotated[
        Literal["2", "3"] | None, Query(description="Only networks of so many blocks.")
    ] = None,
) -> Experiments:
    """List the experiments: accuracy, training time, and what was published of each."""
    return Experiments(
        experiments=tuple(
            summary
            for summary in summarize(serving.bundle.records)
            if regularizer in (None, summary.regularizer)
            and blocks in (None, str(summary.conv_blocks))
        )
    )


@router.get(
    "/curves/{quantity}.svg",
    response_class=Response,
    responses=documented(404, 422)
    | {200: {"description": "The learning curves.", "content": {"image/svg+xml": {}}}},
)
async def overlaid_curves(serving: Serving, quantity: Literal["loss", "accuracy"]) -> Response:
    """Draw the learning curves of all experiments over each other, as named groups."""
    return _figure(serving.bundle, f"overlaid-{quantity}.svg")


@router.get("/{name}", responses=documented(404, 422))
async def experiment(serving: Serving, name: str) -> Experiment:
    """Give one experiment with the record of every run; its published name does as well."""
    summary = _find(serving.bundle, name)
    return Experiment(
        **dict(summary),
        records=tuple(r for r in serving.bundle.records if r.experiment == summary.name),
    )


@router.get(
    "/{name}/curves.svg",
    response_class=Response,
    responses=documented(404, 422)
    | {200: {"description": "The learning curves.", "content": {"image/svg+xml": {}}}},
)
async def curves(serving: Serving, name: str) -> Response:
    """Draw the learning curves of one experiment."""
    return _figure(serving.bundle, f"curves-{_find(serving.bundle, name).name}.svg")


def _figure(bundle: Bundle, name: str) -> Response:
    figure = bundle.figures.get(name)
    if figure is None:
        raise NotFoundError(f"The bundle has no figure {name!r}; one that is built now has it.")
    return Response(figure, media_type="image/svg+xml")


def _find(bundle: Bundle, name: str) -> Summary:
    summaries = summarize(bundle.records)
    for summary in summaries:
        if name in (summary.name, summary.published_name):
            return summary
    known = ", ".join(summary.name for summary in summaries)
    raise NotFoundError(f"No experiment {name!r}; there is {known}.")
