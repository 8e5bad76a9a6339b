"""A service whose engine answers every image at once, for measurements of its event loop.

    python -m benchmarks.serving.instant_service BUNDLE PORT

Everything else is the service itself: its server process, its gate, decoding and responses.
"""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from service.app import create_app
from service.engine.engine import Engine
from service.engine.types import Outcomes, SearchQuery
from service.server.process import bind, run, tune_garbage_collector
from service.settings import Settings
from service.state import State
from service.telemetry import logs
from training.bundle import Pixels


def answer_at_once(engine: Engine, known: Pixels) -> None:
    """Let an engine answer all images as one that it has embedded, without a thread."""
    answers: dict[frozenset[SearchQuery], Outcomes] = {}

    async def embed(
        images: Sequence[Pixels], deadline: float, searches: Iterable[SearchQuery] = (), **_: object
    ) -> Outcomes:
        wanted = frozenset(searches)
        if wanted not in answers:
            submitted = engine.submit([known], deadline, wanted, with_novelty=True)
            answers[wanted] = await asyncio.wrap_future(submitted)
        await asyncio.sleep(0)  # as many turns of the loop as an answer of the engine takes
        return answers[wanted] * len(images)

    engine.embed = embed  # type: ignore[method-assign]


def main(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    port: Annotated[int, typer.Argument(help="TCP port.")],
) -> None:
    """Serve a bundle with an engine that answers at once."""
    settings = Settings(bundle=bundle, port=port)
    logs.configure(settings.log_format, settings.log_level)
    listeners = bind(settings.host, settings.port)
    tune_garbage_collector()
    app = create_app(settings)
    state: State = app.state.kindred
    pixels = state.bundle.gallery.pixels
    if pixels is None:
        raise typer.BadParameter("the bundle has no pixels")
    answer_at_once(state.engine, pixels[0])
    run(app, settings, listeners)


if __name__ == "__main__":
    typer.run(main)
