"""Watches the folder of the bundle that is served. Knows the state, but nothing of HTTP."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import anyio.to_thread

from service.state import State

PAUSE_SECONDS: Final = 1.0
"""Seconds between two checks, each some 25 calls of `stat`."""

logger = logging.getLogger(__name__)


async def watch_bundle(current: Callable[[], State]) -> None:
    """Warn once of each bundle whose files are overwritten; what was loaded is served on."""
    reported: object = None
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        bundle = current().bundle
        if reported is not bundle.stamps and (
            changed := await anyio.to_thread.run_sync(bundle.overwritten)
        ):
            reported = bundle.stamps
            logger.warning(
                "%s was overwritten (%s): the service goes on with what it loaded. POST "
                "/admin/reload, or SIGHUP, serves what is there now",
                bundle.path,
                ", ".join(changed),
            )
        del bundle  # after a reload, nothing must keep the old one
