"""`GET /experiments…`: accuracy, training time and learning curves of the experiments."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from service.errors import NotFoundError
from service.http.codecs.bodies import binary_response
from service.http.dependencies import StateDep
from service.http.problems import error_responses
from service.schemas.model import Experiments, ExperimentSummary
from training.bundle import Bundle, Regularizer, Summary, compare, summarize

router = APIRouter(prefix="/experiments", tags=["experiments"])

_SVG_RESPONSES = error_responses(404, 422) | {
    200: {"description": "The learning curves.", "content": binary_response("image/svg+xml")}
}


@router.get("", responses=error_responses(422))
async def experiments(
    state: StateDep,
    regularizer: Annotated[
        Regularizer | None, Query(description="Only experiments with this regularizer.")
    ] = None,
    blocks: Annotated[
        Literal["2", "3"] | None,
        Query(description="Only networks with this number of convolutional blocks."),
    ] = None,
) -> Experiments:
    """List the experiments: accuracy, training time and published results of each.

    `comparisons` has the differences between those listed, tested over seeds.
    """
    listed = tuple(
        summary
        for summary in summarize(state.bundle.records)
        if regularizer in (None, summary.regularizer) and blocks in (None, str(summary.conv_blocks))
    )
    names = {summary.name for summary in listed}
    return Experiments(
        experiments=listed,
        comparisons=tuple(
            one for one in compare(state.bundle.records) if {one.first, one.second} <= names
        ),
    )


@router.get("/curves/{quantity}.svg", response_class=Response, responses=_SVG_RESPONSES)
async def overlaid_curves(state: StateDep, quantity: Literal["loss", "accuracy"]) -> Response:
    """Return the learning curves of all experiments as one SVG, with a named group for each."""
    return _figure(state.bundle, f"overlaid-{quantity}.svg")


@router.get("/{name}", responses=error_responses(404, 422))
async def experiment(state: StateDep, name: str) -> ExperimentSummary:
    """Return one experiment, by its name or published name, with the record of every run."""
    summary = _find(state.bundle, name)
    return ExperimentSummary(
        **dict(summary),
        records=tuple(r for r in state.bundle.records if r.experiment == summary.name),
    )


@router.get("/{name}/curves.svg", response_class=Response, responses=_SVG_RESPONSES)
async def curves(state: StateDep, name: str) -> Response:
    """Return the learning curves of one experiment as an SVG."""
    return _figure(state.bundle, f"curves-{_find(state.bundle, name).name}.svg")


def _figure(bundle: Bundle, name: str) -> Response:
    figure = bundle.figures.get(name)
    if figure is None:
        raise NotFoundError(f"The bundle has no figure {name!r}: build it again to add the figure.")
    return Response(figure, media_type="image/svg+xml")


def _find(bundle: Bundle, name: str) -> Summary:
    summaries = summarize(bundle.records)
    for summary in summaries:
        if name in (summary.name, summary.published_name):
            return summary
    known = ", ".join(summary.name for summary in summaries)
    raise NotFoundError(f"No experiment {name!r}; available: {known}.")
