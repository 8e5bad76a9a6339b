"""Images that are to be added: how many may wait, and how they come before the network.

Where somebody is waited for, they are run in pauses. Knows the engine and the pauses; nothing of
requests, nor of how an image is kept.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from service.engine.activity import ActivityTracker
from service.engine.engine import Engine
from service.engine.queue import BACKGROUND_STEP
from service.engine.types import Embeddings
from service.errors import InferenceFailedError, QueueFullError
from training.bundle import Pixels

BACKGROUND_BATCH_SIZE: Final = 1
"""Images that are run at once: whoever comes meanwhile waits for no more."""
BACKGROUND_BATCH_SIZE_BUSY: Final = 4
"""As many where there is no pause to be had."""


class BackgroundScheduler:
    """Those that nobody waits for. For the event loop alone."""

    def __init__(self, engine: Engine, activity: ActivityTracker, most: int) -> None:
        """Prepare; `most` images may be here at once."""
        self.count = 0
        self._engine = engine
        self._pauses = activity
        self._most = most
        self._one_after_another = asyncio.Lock()
        self._seconds = 0.0  # an image, lately

    def check_room(self, count: int = 1) -> None:
        """Refuse at once what would be refused after the work of decoding it.

        Raises:
            UnavailableError: no images are taken now.
            QueueFullError: `count` more may not wait.

        """
        self._engine.check_room(0)
        if self.count + count > self._most:
            raise QueueFullError(
                f"{self.count} images wait to be added, and {self._most} may: try again later."
            )

    @contextmanager
    def permit(self, count: int) -> Iterator[None]:
        """Have so many images count while they are added, or refuse them."""
        self.check_room(count)
        self.count += count
        try:
            yield
        finally:
            self.count -= count

    async def embed(
        self, images: Sequence[Pixels], deadline: float
    ) -> list[Embeddings | InferenceFailedError]:
        """What the network makes of images.

        Where somebody is waited for, one request is run after another: were all to go on together,
        none would be done in time. Whoever comes too late for that is refused at once, so that the
        next is in time.

        Raises:
            KindredError: as for `Engine.represent`.

        """
        if not self._pauses.recently_active:
            return await self._represent_in_steps(images, deadline)
        late = self._one_after_another.locked()
        async with self._one_after_another:
            began = time.monotonic()
            if late and began + len(images) * self._seconds > deadline:
                raise QueueFullError("So many are being added that it would take too long now.")
            found = await self._represent_in_steps(images, deadline)
            if images:
                self._seconds = (time.monotonic() - began) / len(images)
        return found

    async def _represent_in_steps(
        self, images: Sequence[Pixels], deadline: float
    ) -> list[Embeddings | InferenceFailedError]:
        found: list[Embeddings | InferenceFailedError] = []
        while len(found) < len(images):
            step = BACKGROUND_STEP
            if self._pauses.recently_active:
                step = (
                    BACKGROUND_BATCH_SIZE
                    if await self._pauses.wait()
                    else BACKGROUND_BATCH_SIZE_BUSY
                )
            some = images[len(found) : len(found) + step]
            found += await self._engine.embed(some, deadline, behind=True)
        return found
