"""How long each stage of a request took, kept beside the request itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from starlette.types import Scope

Stage = Literal["decode", "queue", "inference", "search"]


class Timings:
    """Seconds by stage; a stage that comes twice adds up."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}

    def add(self, stage: Stage, seconds: float) -> None:
        """Count some seconds towards a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Count what is inside towards a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def header(self) -> str:
        """As a `Server-Timing` header, in milliseconds."""
        return ", ".join(f"{stage};dur={1000 * s:.2f}" for stage, s in self.seconds.items())


def timings_of(scope: Scope) -> Timings:
    """The timings of this request."""
    timings: Timings = scope.setdefault("state", {}).setdefault("timings", Timings())
    return timings
