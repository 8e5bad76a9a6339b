"""Responds to a search that may take long: in slices at low priority, and in time.

When half of the request's time has passed, the response has what was found until then.
"""

import time
from typing import Protocol

from fastapi import Request, Response
from pydantic import BaseModel

from service import concurrency
from service.engine.types import Priority
from service.state import State


class SlicedSearch(Protocol):
    """A search that can be examined slice by slice."""

    def examine_slice(self) -> bool:
        """Search the next images; return whether images are left."""

    def response(self) -> BaseModel:
        """Return what was found so far."""


async def respond_in_slices(
    request: Request, state: State, search: SlicedSearch, slice_size: int
) -> Response:
    """Search slice by slice in the one background thread until the search or half of the time ends.

    Raises:
        QueueFullError: too many images are in progress.

    """
    now = time.monotonic()
    end = now + (request.state.deadline - now) / 2
    state.admission.check(Priority.INTERACTIVE)  # those images go first
    # As many images as a slice has count as in progress; this bounds the requests that take turns.
    count = min(slice_size, state.settings.max_queue_size)
    with state.admission.permit(Priority.BACKGROUND, count) as permit:
        is_unfinished = True
        while is_unfinished and time.monotonic() < end:
            await state.admission.wait_idle()
            is_unfinished = await concurrency.run_in_pool(
                search.examine_slice, state.background, permit.retain()
            )
        body = await concurrency.run_in_pool(
            lambda: search.response().model_dump_json(), state.background, permit.retain()
        )
    return Response(body, media_type="application/json")
