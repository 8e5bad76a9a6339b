"""Everything that a request may need, in one place, and how a route gets at it."""

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from service.answers import Answers
from service.engine import Engine
from service.gallery import Gallery
from service.metrics import Metrics
from service.settings import Settings
from training.bundle import Bundle


@dataclass
class State:
    """What one app serves, and with what."""

    settings: Settings
    bundle: Bundle
    engine: Engine
    gallery: Gallery
    answers: Answers
    metrics: Metrics
    decoders: CapacityLimiter
    draining: bool = False


def _state(request: Request) -> State:
    state: State = request.app.state.kindred
    return state


Serving = Annotated[State, Depends(_state)]
