"""Everything that a request may need, in one place, and how a route gets at it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.types import Receive, Scope, Send

from service.answers import Answers
from service.engine import Engine
from service.entry import Representation
from service.errors import InferenceFailedError, QueueFullError
from service.gallery import Gallery
from service.line import STEP
from service.metrics import Metrics
from service.middleware import Around
from service.pauses import Pauses
from service.settings import Settings
from service.threads import a_thread_per_core, one_thread_behind, some_writers
from training.bundle import Bundle, Pixels

_IN_A_PAUSE: Final = 1
"""Images that are run at once for nobody: whoever comes meanwhile waits for no more."""
_WITHOUT: Final = 4
"""As many where there is no pause to be had."""


@dataclass
class Life:
    """What outlives a change of the bundle: whether this process is about to stop."""

    draining: bool = False


@dataclass
class State:
    """What is served, and with what; another bundle is another state.

    `users` is the number of requests that are being answered from this one; `unused` is set when
    the last of them ends. `decoding` counts the images that are not yet with the network,
    `answering` those that the network is done with and the gallery is not; `behind` those that are
    to be added, from the first to the last of it.
    """

    settings: Settings
    bundle: Bundle
    engine: Engine
    gallery: Gallery
    answers: Answers
    metrics: Metrics
    decoders: ThreadPoolExecutor = field(default_factory=lambda: a_thread_per_core("decoding"))
    searchers: ThreadPoolExecutor = field(default_factory=lambda: a_thread_per_core("answering"))
    background: ThreadPoolExecutor = field(default_factory=one_thread_behind)
    writers: ThreadPoolExecutor = field(default_factory=some_writers)
    life: Life = field(default_factory=Life)
    pauses: Pauses = field(default_factory=Pauses)
    # What `replace` is not to copy: another state has users of its own.
    users: int = field(default=0, init=False)
    unused: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    decoding: int = field(default=0, init=False)
    answering: int = field(default=0, init=False)
    behind: int = field(default=0, init=False)
    _seconds_behind: float = field(default=0.0, init=False)
    _one_after_another: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

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
            with self.pauses.guest():
                yield
        finally:
            self.decoding -= count

    def check_room_behind(self, count: int = 1) -> None:
        """As `check_room`, for images that are to be added: as many may be here as of the others.

        Raises:
            UnavailableError: no images are taken now.
            QueueFullError: `count` more may not wait.

        """
        self.engine.check_room(0)
        most = self.settings.max_queue
        if self.behind + count > most:
            raise QueueFullError(
                f"{self.behind} images wait to be added, and {most} may: try again later."
            )

    @contextmanager
    def room_behind(self, count: int) -> Iterator[None]:
        """Have so many images count while they are added, or refuse them."""
        self.check_room_behind(count)
        self.behind += count
        try:
            yield
        finally:
            self.behind -= count

    @property
    def waiting(self) -> int:
        """How many images wait for the network, or for a pause to be added in."""
        return self.engine.waiting(behind=False) + self.behind

    async def represent_behind(
        self, images: Sequence[Pixels], deadline: float
    ) -> list[Representation | InferenceFailedError]:
        """What the network makes of images that nobody waits for.

        Where somebody is waited for, they are run in pauses, and one request after another: were
        all to go on together, none would be done in time. Whoever comes too late for that is
        refused at once, so that the next is in time.

        Raises:
            KindredError: as for `Engine.represent`.

        """
        if not self.pauses.expected:
            return await self._represent_in_steps(images, deadline)
        late = self._one_after_another.locked()
        async with self._one_after_another:
            began = time.monotonic()
            if late and began + len(images) * self._seconds_behind > deadline:
                raise QueueFullError("So many are being added that it would take too long now.")
            found = await self._represent_in_steps(images, deadline)
            if images:
                self._seconds_behind = (time.monotonic() - began) / len(images)
        return found

    async def _represent_in_steps(
        self, images: Sequence[Pixels], deadline: float
    ) -> list[Representation | InferenceFailedError]:
        found: list[Representation | InferenceFailedError] = []
        while len(found) < len(images):
            step = STEP
            if self.pauses.expected:
                step = _IN_A_PAUSE if await self.pauses.wait() else _WITHOUT
            some = images[len(found) : len(found) + step]
            found += await self.engine.represent(some, deadline, behind=True)
        return found


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
