"""Measures the stages of a request; the times are stored in its ASGI scope."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from starlette.types import Scope

Stage = Literal["decode", "queue", "inference", "search"]


class Timings:
    """Seconds per stage; repeated stages add up."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}

    def add(self, stage: Stage, seconds: float) -> None:
        """Add seconds to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Add the duration of the `with` block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def header(self) -> str:
        """Return the value of the `Server-Timing` header, in milliseconds."""
        return ", ".join(f"{stage};dur={1000 * s:.2f}" for stage, s in self.seconds.items())


def timings_of(scope: Scope) -> Timings:
    """Return the timings of this request; create them on the first call."""
    timings: Timings = scope.setdefault("state", {}).setdefault("timings", Timings())
    return timings
