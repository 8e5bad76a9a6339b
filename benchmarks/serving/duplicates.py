"""Searches for duplicates of 1,000 images, several at once, and measures the gallery beside them.

    python -m benchmarks.serving.duplicates

Prints the table of "Searches for duplicates" in `docs/operations.md`.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import httpx
import typer

from benchmarks.harness.report import markdown_table
from benchmarks.serving.systems import KINDRED
from service.settings import BUILT

SEARCH: Final = "/gallery/duplicates?limit=1000"
GALLERY: Final = "GET /gallery/{id}/similar", "GET /gallery/{id}/image", "GET /livez"


@dataclass
class Responses:
    """The statuses of one kind of request, and their seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def add(self, response: httpx.Response) -> None:
        """Count a response."""
        self.statuses[response.status_code] += 1
        self.seconds.append(response.elapsed.total_seconds())

    def row(self, name: str) -> tuple[str, ...]:
        """Format a row of the table."""
        statuses = ", ".join(f"{count} x {status}" for status, count in self.statuses.items())
        times = statistics.median(self.seconds), max(self.seconds)
        return (name, statuses, *(f"{1000 * one:,.0f}" for one in times))


def main(
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle.")] = BUILT,
    count: Annotated[int, typer.Option(help="Searches for duplicates at once.")] = 4,
) -> None:
    """Send the searches at once, and the gallery's requests until the last has ended."""
    rows: list[Sequence[str]] = []
    with (
        KINDRED.start(bundle, "conv2", "bundle") as server,
        httpx.Client(
            base_url=f"http://{server.address.host}:{server.address.port}", timeout=60
        ) as client,
        ThreadPoolExecutor(count) as pool,
    ):
        ids = [one["id"] for one in client.get("/gallery?limit=100").json()["items"]]
        pending = [pool.submit(client.post, SEARCH) for _ in range(count)]
        beside = {name: Responses() for name in GALLERY}
        while not all(one.done() for one in pending):
            for name, responses in beside.items():
                image_id = quote(ids[len(responses.seconds) % len(ids)], safe="")
                path = name.removeprefix("GET ").format(id=image_id)
                responses.add(client.get(path))
        searches = Responses()
        for one in pending:
            searches.add(one.result())
        examined = [one.result().json().get("looked_at", 0) for one in pending]
        rows = [searches.row(f"`POST {SEARCH}`")]
        rows += [responses.row(f"`{name}`") for name, responses in beside.items()]
    print(markdown_table(("request", "responses", "median, ms", "max, ms"), rows))
    print(f"images examined by each search: {', '.join(map(str, examined))}")


if __name__ == "__main__":
    typer.run(main)
