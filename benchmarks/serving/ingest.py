"""Measures what additions to the gallery cost searches: images/s, and p99 compared with idle.

    make bench DATA=cifar10-jpeg.tar.gz
    python -m benchmarks.serving.ingest --bundle bundles/current

Writes the section "A gallery that grows" of `docs/performance.md`.
"""

import base64
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Annotated, Final

import httpx
import numpy as np
import typer
from PIL import Image

from benchmarks.harness.report import (
    PERFORMANCE,
    describe_run,
    markdown_table,
    wrap,
    write_section,
)
from benchmarks.harness.workload import to_png
from benchmarks.serving.systems import KINDRED
from service.settings import default_bundle
from training.bundle import load

BATCH: Final = 16
"""Images in a request: as many as `python -m service.client upload` sends."""
NOISE: Final = 8.0
"""Standard deviation of the noise in a synthetic image."""

METHOD: Final = """
The service runs with its defaults, over {images:,} images of a bundle. One client searches without
pause, by an image of the gallery and by a new image in turn. It searches {idle:g} s alone, then
while another client (nice 19: it would be another machine) sends {count:,} images, drawn
beforehand, to `POST /gallery`, {batch} in a request, as fast as they are accepted. Finally it
searches {idle:g} s alone in the grown gallery. All share the two cores. The service counts every
image at the end. One run.

Goal: while images are added, a 99th percentile of at most 1.5 times that of the idle service. For
comparison, searches also run while a process independent of the service uses the CPU. It counts at
the lowest priority (nice 19) for {idle:g} s.
"""

Latencies = dict[str, list[float]]
"""Seconds of each search, by the kind of search."""

SPAWN: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Phases:
    """Latencies of searches in each phase, and the seconds that the additions took."""

    idle: Latencies
    counting: Latencies
    adding: Latencies
    grown: Latencies
    adding_seconds: float


def main(
    bundle: Annotated[
        Path | None, typer.Option(help="Folder. Default: that of the service.")
    ] = None,
    count: Annotated[int, typer.Option(help="Images to add.")] = 10_000,
    idle: Annotated[float, typer.Option(help="Seconds of searches in each other phase.")] = 30.0,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure all phases, print the figures, and write the section."""
    served = bundle or default_bundle()
    ids = load(served).gallery.ids
    provenance = describe_run(
        f"python -m benchmarks.serving.ingest --count {count} --idle {idle:g}"
    )
    with (
        tempfile.TemporaryDirectory(prefix="kindred-gallery-") as folder,
        KINDRED.start(served, "conv2", "bundle", {"KINDRED_GALLERY": folder}) as server,
    ):
        phases = measure(server.url, ids[:100], count, idle)
        gallery = httpx.get(f"{server.url}/model", timeout=60).json()["gallery"]
    if gallery["added"] != count:
        raise RuntimeError(f"the gallery has {gallery['added']} added images, not {count}")
    method = METHOD.format(images=len(ids), idle=idle, count=count, batch=BATCH)
    seconds = phases.adding_seconds
    rate = f"{count:,} images in {seconds:.0f} s: **{count / seconds:.0f} images/s**."
    figures = latency_table(phases)
    print(f"{rate}\n{figures}")
    body = "\n\n".join((provenance, wrap(method), rate, figures))
    write_section("A gallery that grows", body, output)


def measure(url: str, ids: Sequence[str], count: int, idle: float) -> Phases:
    """Search in each phase: idle, beside a counting process, during additions, and after them."""
    search(url, ids, seconds=3)  # warm-up
    alone = search(url, ids, seconds=idle)
    with counting_process():
        counting = search(url, ids, seconds=idle)
    ready, done = SPAWN.Event(), SPAWN.Event()
    adder = SPAWN.Process(target=add, args=(url, count, ready, done))
    adder.start()
    while not ready.wait(1):  # until it has drawn its images
        if not adder.is_alive():
            raise RuntimeError("the process that adds images ended before it was ready")
    started = time.monotonic()
    adding: Latencies = {}
    while adder.is_alive() and not done.is_set():
        for kind, latencies in search(url, ids, seconds=1).items():
            adding.setdefault(kind, []).extend(latencies)
    adding_seconds = time.monotonic() - started
    adder.join()
    return Phases(alone, counting, adding, search(url, ids, seconds=idle), adding_seconds)


def search(url: str, ids: Sequence[str], seconds: float) -> Latencies:
    """Search by a gallery image and by a new image in turn, for `seconds`."""
    latencies: Latencies = {"GET /gallery/{id}/similar": [], "POST /similar": []}
    until, number = time.monotonic() + seconds, 0
    with httpx.Client(base_url=url, timeout=60) as client:
        while time.monotonic() < until:
            number += 1
            by_id = ("GET", f"/gallery/{ids[number % len(ids)]}/similar", None)
            by_image = ("POST", "/similar", synthetic_png(-number))
            for kind, (method, path, content) in zip(latencies, (by_id, by_image), strict=True):
                started = time.perf_counter()
                client.request(method, path, content=content).raise_for_status()
                latencies[kind].append(time.perf_counter() - started)
    return latencies


def add(url: str, count: int, ready: Event, done: Event) -> None:
    """Add synthetic images at the lowest priority, as fast as the service accepts them."""
    images = [base64.b64encode(synthetic_png(number)).decode() for number in range(count)]
    bodies = [
        json.dumps({"images": images[start : start + BATCH]}).encode()
        for start in range(0, count, BATCH)
    ]
    os.nice(19)
    headers = {"Content-Type": "application/json"}
    with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
        ready.set()
        for body in bodies:
            while client.post("/gallery", content=body).status_code in (429, 503):
                time.sleep(0.05)
    done.set()


@contextmanager
def counting_process() -> Iterator[None]:
    """Run a process that only counts, at the lowest priority, while the block runs."""
    started = SPAWN.Event()
    process = SPAWN.Process(target=count_up, args=(started,), daemon=True)
    process.start()
    started.wait()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def count_up(started: Event) -> None:
    """Count until the process is terminated."""
    os.nice(19)
    started.set()
    number = 0
    while True:
        number += 1


def synthetic_png(seed: int) -> bytes:
    """Draw a noisy colour gradient that differs for each seed, as a PNG."""
    random = np.random.default_rng(abs(seed) * 2 + (seed < 0))
    coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC))
    pixels = np.clip(smooth + random.normal(0, NOISE, smooth.shape), 0, 255).astype(np.uint8)
    return to_png(pixels)


def latency_table(phases: Phases) -> str:
    """Format the latencies of each kind of search in milliseconds, and their ratios."""
    rows = []
    for kind in phases.idle:
        idle, counting, adding, grown = (
            1000 * np.percentile(one[kind], [50, 99])
            for one in (phases.idle, phases.counting, phases.adding, phases.grown)
        )
        figures = (f"{one:.1f}" for one in (*idle, *counting, *adding, *grown))
        ratios = (f"**{one[1] / idle[1]:.2f}**" for one in (counting, adding))
        rows.append((f"`{kind}`", *figures, *ratios, f"{len(phases.adding[kind]):,}"))
    header = (
        "", "idle: p50, ms", "p99", "counting: p50", "p99", "adding: p50", "p99",
        "grown, idle: p50", "p99", "p99, counting to idle", "adding to idle",
        "searches while adding",
    )  # fmt: skip
    return markdown_table(header, rows)


if __name__ == "__main__":
    typer.run(main)
