"""Re-embeds added images after a change of the network, at low priority.

Until then an image is found by its old vectors. Knows the engine and the gallery, but nothing of
HTTP.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from io import BytesIO
from typing import Final

import anyio.to_thread
from PIL import Image

from service.engine.types import Embeddings, Priority
from service.errors import KindredError
from service.gallery.types import NewVectors, OutdatedImage
from service.state import State
from training.bundle import Pixels, to_pixels

BATCH: Final = 16
"""Images in a batch. More would delay concurrent requests."""
PAUSE_SECONDS: Final = 1.0
"""Seconds between two checks for outdated images, and after a failure."""

logger = logging.getLogger(__name__)


class ReembeddingJob:
    """Re-embeds outdated images of the current state for as long as the service runs."""

    def __init__(self, current: Callable[[], State]) -> None:
        self._current = current
        self._task: asyncio.Task[None] | None = None
        self._skipped: dict[str, set[tuple[str, int]]] = {}  # by network: another may succeed

    def start(self) -> None:
        """Start the job on the running event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop the job. The next start of the service continues it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            state = self._current()
            try:
                done = await _outdated_count(state) > 0 and await reembed_batch(
                    state, self._skipped.setdefault(state.gallery.network, set())
                )
            except KindredError as error:
                logger.info("Re-embedding is postponed: %s", error.detail)
                done = False
            except Exception:  # the job must not end: the next attempt may succeed
                logger.exception("Re-embedding failed")
                done = False
            if not done:
                await asyncio.sleep(PAUSE_SECONDS)


async def reembed_batch(state: State, skipped: set[tuple[str, int]] | None = None) -> bool:
    """Re-embed a batch of outdated images, and return whether there were any.

    Images that cannot be re-embedded are added to `skipped` as (id, revision). Those already in
    `skipped` are left out.

    Raises:
        KindredError: the engine accepts no images now, or the vectors cannot be stored.

    """
    gallery, side = state.gallery, state.bundle.spec.side
    skipped = set() if skipped is None else skipped
    limit = BATCH + len(skipped)
    found = await anyio.to_thread.run_sync(gallery.next_outdated, limit)
    outdated = [one for one in found if (one.id, one.revision) not in skipped][:BATCH]
    if not outdated:
        return False
    decoded = [(one, pixels) for one in outdated if (pixels := _pixels(one, side)) is not None]
    pixels_of_all = [pixels for _, pixels in decoded]
    # Without a permit: a queue that is full of additions must not stop this.
    results = (
        await state.engine.embed(pixels_of_all, math.inf, priority=Priority.BACKGROUND)
        if decoded
        else ()
    )
    renewed = [
        _new_vectors(state, one, image)
        for (one, _), image in zip(decoded, results, strict=True)
        if isinstance(image, Embeddings)
    ]
    done = {one.id for one in renewed}
    for one in outdated:
        if one.id not in done:
            logger.warning("Image %s cannot be re-embedded and is skipped", one.id)
            skipped.add((one.id, one.revision))
    await state.admission.wait_idle()
    await asyncio.wrap_future(gallery.renew(renewed))
    state.metrics.changes.labels("renewed").inc(len(renewed))
    if await _outdated_count(state) == 0:
        logger.warning("All added images have embeddings of the current network")
    return True


async def _outdated_count(state: State) -> int:
    """Count the outdated images; in a thread, because Milvus may respond slowly."""
    return await anyio.to_thread.run_sync(lambda: state.gallery.outdated_count)


def _new_vectors(state: State, one: OutdatedImage, image: Embeddings) -> NewVectors:
    return NewVectors(
        one.id,
        one.revision,
        vectors={layer: image.layers[layer] for layer in state.gallery.snapshot().layers},
        predicted=state.responses.predicted(image),
        network=state.gallery.network,
    )


def _pixels(one: OutdatedImage, side: int) -> Pixels | None:
    """Decode the stored image, which may be of another network's side; None if it is damaged."""
    try:
        image = Image.open(BytesIO(one.png)).convert("RGB")
    except (OSError, SyntaxError, ValueError):  # those that Pillow raises
        return None
    return to_pixels(image, size=side) if image.width == image.height else None
