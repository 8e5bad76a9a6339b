"""After a change of the network: has the images that were added embedded anew, beside the requests.

Each is searched by its old vectors until it has new ones. Knows the engine and the gallery; nothing
of HTTP.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

from service import concurrency
from service.engine.types import Embeddings, Priority
from service.errors import KindredError
from service.gallery.types import NewVectors, OutdatedImage
from service.state import State
from training.bundle import SIZE, Pixels

BATCH: Final = 16
"""Images at once: who asks meanwhile waits for no more."""
PAUSE_SECONDS: Final = 1.0
"""Seconds between two looks at whether there is anything to do, or after a refusal."""

logger = logging.getLogger(__name__)


class ReembeddingJob:
    """Goes on as long as the service does, with whichever state is served."""

    def __init__(self, current: Callable[[], State]) -> None:
        self._current = current
        self._task: asyncio.Task[None] | None = None
        self._passed_over: dict[str, set[tuple[str, int]]] = {}  # by network: another may do it

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is not renewed yet is when the service runs again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            state = self._current()
            try:
                done = await _outdated_count(state) > 0 and await reembed_batch(
                    state, self._passed_over.setdefault(state.gallery.network, set())
                )
            except KindredError as error:
                logger.info("Images are embedded anew later: %s", error.detail)
                done = False
            except Exception:  # the service is worth more than this
                logger.exception("Images could not be embedded anew")
                done = False
            if not done:
                await asyncio.sleep(PAUSE_SECONDS)


async def reembed_batch(state: State, passed_over: set[tuple[str, int]] | None = None) -> bool:
    """Embed some of the stale images anew; whether there were any.

    Those that cannot be are added to `passed_over` (ids and revisions), whose images are left.

    Raises:
        KindredError: the network takes no images now, or the disk no vectors.

    """
    gallery = state.gallery
    passed_over = set() if passed_over is None else passed_over
    most = BATCH + len(passed_over)
    found = await concurrency.run_in_pool(lambda: gallery.next_outdated(most), state.writers)
    outdated = [one for one in found if (one.id, one.revision) not in passed_over][:BATCH]
    if not outdated:
        return False
    pictures = [(one, pixels) for one in outdated if (pixels := _pixels(one)) is not None]
    with state.admission.permit(Priority.BACKGROUND, len(pictures)):
        results = await state.engine.embed(
            [pixels for _, pixels in pictures], math.inf, priority=Priority.BACKGROUND
        )
    renewed = [
        _new_vectors(state, one, image)
        for (one, _), image in zip(pictures, results, strict=True)
        if isinstance(image, Embeddings)
    ]
    done = {one.id for one in renewed}
    for one in outdated:
        if one.id not in done:
            logger.warning("The image %s cannot be embedded anew, and is passed over", one.id)
            passed_over.add((one.id, one.revision))
    await state.admission.wait_idle()
    await concurrency.run_in_pool(lambda: gallery.renew(renewed), state.writers)
    state.metrics.changes.labels("renewed").inc(len(renewed))
    if await _outdated_count(state) == 0:
        logger.warning("All images that were added are embedded by this network")
    return True


async def _outdated_count(state: State) -> int:
    """How many are stale; in a thread, for a gallery elsewhere may let one wait."""
    return await concurrency.run_in_pool(lambda: state.gallery.outdated_count, state.writers)


def _new_vectors(state: State, one: OutdatedImage, image: Embeddings) -> NewVectors:
    (answer,) = state.responses.classify([image], 1)
    return NewVectors(
        one.id,
        one.revision,
        vectors={layer: image.layers[layer] for layer in state.gallery.layers},
        predicted=answer.predictions[0].label,
        network=state.gallery.network,
    )


def _pixels(one: OutdatedImage) -> Pixels | None:
    """The picture; None where what is kept of it is damaged."""
    try:
        pixels: Pixels = np.asarray(Image.open(BytesIO(one.png)).convert("RGB"))
    except (OSError, SyntaxError, ValueError):  # as Pillow tells of it
        return None
    return pixels if pixels.shape == (SIZE, SIZE, 3) else None
