"""What adding to the gallery costs those who search meanwhile: images/s, and p99 against idle.

    make bench DATA=cifar10-jpeg.tar.gz
    python -m benchmarks.serving.ingest --bundle bundles/current

Writes the section "A gallery that grows" of `docs/performance.md`.
"""

import base64
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from io import BytesIO
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Annotated, Final

import httpx
import numpy as np
import typer
from PIL import Image

from benchmarks.harness.report import PERFORMANCE, table, where, wrapped, write_section
from service.settings import default_bundle
from tests.support.processes import serve_bundle, serving
from training.bundle import load

BATCH: Final = 16
"""Images in a request, as `python -m service.client add` sends them."""
BLURRED: Final = 8.0
"""Standard deviation of the noise that makes images of the gallery into others."""

METHOD: Final = """
The service runs as it comes, over {images:,} images of a bundle. One client searches without a
pause, by an image of the gallery and by a new picture in turn: {idle:g} s alone, then while another
client (nice 19: it would be another machine) sends {count:,} pictures, drawn beforehand, to `POST
/gallery`, {batch} in a request, as fast as they are taken, and then {idle:g} s alone again, in the
grown gallery. All share the two cores. The service counts every image at the end. One run.

Goal: meanwhile a 99th percentile of at most 1.5 times that of the idle service. What any other work
costs on this machine is shown beside it: searches while a process that has nothing to do with the
service counts to itself, at the lowest priority (nice 19), for {idle:g} s.
"""

Latencies = dict[str, list[float]]


def measure(
    bundle: Annotated[Path | None, typer.Option(help="Folder; as the service by default.")] = None,
    count: Annotated[int, typer.Option(help="Images to add.")] = 10_000,
    idle: Annotated[float, typer.Option(help="Seconds of searches before, and after.")] = 30.0,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Add images over HTTP while somebody searches; print the figures, and write the section."""
    served = bundle or default_bundle()
    ids = load(served).gallery.ids
    provenance = where(f"python -m benchmarks.serving.ingest --count {count} --idle {idle:g}")
    folder = tempfile.mkdtemp(prefix="kindred-gallery-")
    try:
        with serving(serve_bundle(served), KINDRED_GALLERY=folder) as http:
            url = str(http.base_url)
            search(url, ids[:100], until=time.monotonic() + 3)  # burn in
            alone = search(url, ids[:100], until=time.monotonic() + idle)
            spawn = multiprocessing.get_context("spawn")
            ready, done, counts = spawn.Event(), spawn.Event(), spawn.Event()
            counting = spawn.Process(target=count_up, args=(counts,), daemon=True)
            counting.start()
            counts.wait()
            beside = search(url, ids[:100], until=time.monotonic() + idle)
            counting.terminate()
            counting.join()
            adding = spawn.Process(target=add, args=(url, count, ready, done))
            adding.start()
            while not ready.wait(1):
                assert adding.is_alive()  # noqa: S101  it draws its pictures
            began = time.monotonic()
            meanwhile: Latencies = {}
            while adding.is_alive() and not done.is_set():
                for kind, found in search(url, ids[:100], until=time.monotonic() + 1).items():
                    meanwhile.setdefault(kind, []).extend(found)
            seconds = time.monotonic() - began
            adding.join()
            grown = search(url, ids[:100], until=time.monotonic() + idle)
            card = http.get("/model").json()["gallery"]
    finally:
        shutil.rmtree(folder)
    assert card["added"] == count, card  # noqa: S101  or the figures are of something else
    method = METHOD.format(images=len(ids), idle=idle, count=count, batch=BATCH)
    rate = f"{count:,} images in {seconds:.0f} s: **{count / seconds:.0f} images/s**."
    shown = shown_as_table(alone, beside, meanwhile, grown)
    print(f"{rate}\n{shown}")
    body = "\n\n".join((provenance, wrapped(method), rate, shown))
    write_section("A gallery that grows", body, output)


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


def add(url: str, count: int, ready: Event, done: Event) -> None:
    """Add so many images, several a request, as fast as they are taken; be nice to who searches."""
    pictures = [base64.b64encode(drawn(number)).decode() for number in range(count)]
    bodies = [
        json.dumps({"images": pictures[start : start + BATCH]}).encode()
        for start in range(0, count, BATCH)
    ]
    os.nice(19)
    kind = {"Content-Type": "application/json"}
    with httpx.Client(base_url=url, timeout=60, headers=kind) as client:
        ready.set()
        for body in bodies:
            while client.post("/gallery", content=body).status_code in (429, 503):
                time.sleep(0.05)
    done.set()


def count_up(counts: Event) -> None:
    """Do nothing of use, at the lowest priority, until one is stopped."""
    os.nice(19)
    counts.set()
    number = 0
    while True:
        number += 1


def drawn(seed: int) -> bytes:
    """A picture that no other is like, as a PNG."""
    random = np.random.default_rng(abs(seed) * 2 + (seed < 0))
    coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC))
    pixels = np.clip(smooth + random.normal(0, BLURRED, smooth.shape), 0, 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def shown_as_table(
    alone: Latencies, beside: Latencies, meanwhile: Latencies, grown: Latencies
) -> str:
    """Milliseconds of each kind of search, and how they compare."""
    lines = []
    for kind in alone:
        idle, counting, busy, after = (
            1000 * np.percentile(one[kind], [50, 99]) for one in (alone, beside, meanwhile, grown)
        )
        figures = (f"{one:.1f}" for one in (*idle, *counting, *busy, *after))
        ratios = (counting[1] / idle[1], busy[1] / idle[1])
        lines.append(
            (
                f"`{kind}`",
                *figures,
                *(f"**{one:.2f}**" for one in ratios),
                f"{len(meanwhile[kind]):,}",
            )
        )
    header = (
        "", "idle: p50, ms", "p99", "counting: p50", "p99", "adding: p50", "p99",
        "grown, idle: p50", "p99", "p99, counting to idle", "adding to idle",
        "searches while adding",
    )  # fmt: skip
    return table(header, lines)


if __name__ == "__main__":
    typer.run(measure)
