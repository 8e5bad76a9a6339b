"""Everything that a request may need, in one place, and how a route gets at it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from starlette.types import Receive, Scope, Send

from service.answers import Answers
from service.engine import Engine
from service.gallery import Gallery
from service.metrics import Metrics
from service.middleware import Around
from service.settings import Settings
from service.threads import a_thread_per_core, some_writers
from training.bundle import Bundle


@dataclass
class Life:
    """What outlives a change of the bundle: whether this process is about to stop."""

    draining: bool = False


@dataclass
class State:
    """What is served, and with what; another bundle is another state.

    `users` is the number of requests that are being answered from this one; `unused` is set when
    the last of them ends. `decoding` counts the images that are not yet with the network,
    `answering` those that the network is done with and the gallery is not.
    """

    settings: Settings
    bundle: Bundle
    engine: Engine
    gallery: Gallery
    answers: Answers
    metrics: Metrics
    decoders: CapacityLimiter = field(default_factory=a_thread_per_core)
    searchers: CapacityLimiter = field(default_factory=a_thread_per_core)
    writers: CapacityLimiter = field(default_factory=some_writers)
    life: Life = field(default_factory=Life)
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    decoding: int = 0
    answering: int = 0

    def check_room(self, count: int = 1) -> None:
        """Refuse at once what would be refused, or late, after the work of reading it.

        Raises:
            UnavailableError: no images are taken now.
            QueueFullError: `count` more images may not wait, be it to be decoded, for the network
                or for the gallery.

        """
        self.engine.check_room(count, taken=self.decoding + self.answering)

    @contextmanager
    def room_to_decode(self, count: int) -> Iterator[None]:
        """Have so many images count while they are decoded, or refuse them as `check_room` does."""
        self.check_room(count)
        self.decoding += count
        try:
            yield
        finally:
            self.decoding -= count


class Tenure(Around):
    """Gives a request the state at its arrival; it stays its own, whatever comes after it.

    A dependency of FastAPI's that ends with the request would do the same at many times the cost.
    """

    async def _around(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: State = scope["app"].state.kindred
        scope.setdefault("state", {})["serving"] = state
        state.users += 1
        state.unused.clear()
        try:
            await self.app(scope, receive, send)
        finally:
            state.users -= 1
            if state.users == 0:
                state.unused.set()


async def _state(request: Request) -> State:
    state: State = request.state.serving
    return state


Serving = Annotated[State, Depends(_state)]
