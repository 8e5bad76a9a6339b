"""Decodes the images of a request to pixels, without blocking the event loop.

Knows the request's permit; nothing of how images are sent or of the network.
"""

import asyncio
from collections.abc import Sequence

from PIL import Image
from starlette.types import Scope

from service import concurrency, images
from service.engine.admission import Permit
from service.engine.types import Priority
from service.errors import KindredError
from service.state import State
from service.telemetry.timings import timings_of
from training.bundle import Fit, Pixels


async def decode_images(
    scope: Scope,
    state: State,
    files: Sequence[bytes | Pixels | KindredError],
    fit: Fit,
    permit: Permit,
) -> list[Pixels | KindredError]:
    """Decode the admitted files of a request; each may have its own error.

    Pixels and errors among the files are returned as they are.
    """
    decoded: list[Pixels | KindredError] = []
    with timings_of(scope).measure("decode"):
        for file in files:
            if not isinstance(file, bytes):
                decoded.append(file)
                continue
            try:
                decoded.append(await _decode(file, state, fit, permit))
            except KindredError as error:
                decoded.append(error)
            if len(files) > 1:
                await asyncio.sleep(0)  # many small images must not block the event loop
    return decoded


async def _decode(file: bytes, state: State, fit: Fit, permit: Permit) -> Pixels:
    """Decode a large image in a thread, and a small one on the event loop.

    Large images share a budget of pixels: decoding takes up to 16 bytes of each. A small image of
    background priority is decoded in the background thread.
    """
    max_pixels, side = state.settings.max_pixels, state.bundle.spec.side
    if len(file) <= images.SMALL_BYTES:
        if permit.priority is Priority.INTERACTIVE and max_pixels >= images.SMALL_PIXELS:
            pixels = images.decode_plain_png(file, side, fit)
            if pixels is not None:
                return pixels
        image = images.read_header(file, max_pixels)
        if image.width * image.height <= images.SMALL_PIXELS:
            if permit.priority is Priority.INTERACTIVE:
                return images.decode(image, side, fit)
            return await concurrency.run_in_pool(
                lambda: images.decode(image, side, fit), state.background, permit.retain()
            )

    def read() -> tuple[Image.Image, int]:
        image = images.read_header(file, max_pixels)
        return image, images.pixels_to_decode(image, side)

    header, count = await concurrency.run_in_pool(read, state.decoders, permit.retain())
    give_back, release = await state.pixels.take(count), permit.retain()

    def end() -> None:
        give_back()
        release()

    return await concurrency.run_in_pool(
        lambda: images.decode(header, side, fit), state.decoders, end
    )
