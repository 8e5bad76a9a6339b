"""What adding to the gallery costs those who search meanwhile: images/s, and p99 against idle.

    python -m benchmarks.gallery

One client searches without a pause, by an image of the gallery and by a picture in turn, first
alone, then while another adds all the images through HTTP. Every image added is counted by the
service at the end. One run, one process each for the service and both clients.
"""

import base64
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from io import BytesIO
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from tests.processes import serve_bundle, serving
from training.bundle import load

BATCH = 16
"""Images in a request, as `python -m service.client add` sends them."""
BLURRED = 8.0
"""Standard deviation of the noise that makes images of the gallery into others."""

Latencies = dict[str, list[float]]


def measure(
    bundle: Annotated[Path, typer.Option(help="The bundle to serve.")] = Path("starter"),
    count: Annotated[int, typer.Option(help="Images to add.")] = 10_000,
    idle: Annotated[float, typer.Option(help="Seconds of searches before.")] = 30.0,
) -> None:
    """Add images over HTTP while somebody searches; print images/s and the latencies."""
    ids = load(bundle).gallery.ids
    folder = tempfile.mkdtemp(prefix="kindred-gallery-")
    try:
        with serving(serve_bundle(bundle), KINDRED_GALLERY=folder) as http:
            url = str(http.base_url)
            search(url, ids[:100], until=time.monotonic() + 3)  # burn in
            alone = search(url, ids[:100], until=time.monotonic() + idle)
            done = multiprocessing.get_context("spawn").Event()
            adding = multiprocessing.get_context("spawn").Process(
                target=add, args=(url, count, done)
            )
            began = time.monotonic()
            adding.start()
            meanwhile: Latencies = {}
            while adding.is_alive() and not done.is_set():
                for kind, found in search(url, ids[:100], until=time.monotonic() + 1).items():
                    meanwhile.setdefault(kind, []).extend(found)
            seconds = time.monotonic() - began
            adding.join()
            card = http.get("/model").json()["gallery"]
    finally:
        shutil.rmtree(folder)
    assert card["added"] == count, card  # noqa: S101  or the figures are of something else
    report(alone, meanwhile, count, seconds)


def search(url: str, ids: Sequence[str], until: float) -> Latencies:
    """Search by an image of the gallery and by a picture in turn; seconds of each."""
    taken: Latencies = {"GET /gallery/{id}/similar": [], "POST /similar": []}
    turn = 0
    with httpx.Client(base_url=url, timeout=60) as client:
        while time.monotonic() < until:
            turn += 1
            path = f"/gallery/{ids[turn % len(ids)]}/similar"
            for kind, (method, where, content) in zip(
                taken, (("GET", path, None), ("POST", "/similar", drawn(-turn))), strict=True
            ):
                began = time.perf_counter()
                client.request(method, where, content=content).raise_for_status()
                taken[kind].append(time.perf_counter() - began)
    return taken


def add(url: str, count: int, done: Event) -> None:
    """Add so many images, several a request, as fast as they are taken; be nice to who searches."""
    os.nice(10)
    with httpx.Client(base_url=url, timeout=60) as client:
        for start in range(0, count, BATCH):
            images = [
                base64.b64encode(drawn(number)).decode()
                for number in range(start, min(start + BATCH, count))
            ]
            while client.post("/gallery", json={"images": images}).status_code in (429, 503):
                time.sleep(0.05)
    done.set()


def drawn(seed: int) -> bytes:
    """A picture that no other is like, as a PNG."""
    random = np.random.default_rng(abs(seed) * 2 + (seed < 0))
    coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC))
    pixels = np.clip(smooth + random.normal(0, BLURRED, smooth.shape), 0, 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def report(alone: Latencies, meanwhile: Latencies, count: int, seconds: float) -> None:
    """Print what was measured."""
    console = Console()
    console.print(f"{count} images added in {seconds:.1f} s: {count / seconds:.0f} images/s")
    table = Table("milliseconds", "idle p50", "p99", "adding p50", "p99", "p99 ratio", "searches")
    for kind, before in alone.items():
        after = meanwhile[kind]
        idle, busy = (1000 * np.percentile(one, [50, 99]) for one in (before, after))
        figures = (f"{one:.1f}" for one in (*idle, *busy))
        table.add_row(kind, *figures, f"{busy[1] / idle[1]:.2f}", str(len(after)))
    console.print(table)


if __name__ == "__main__":
    typer.run(measure)
