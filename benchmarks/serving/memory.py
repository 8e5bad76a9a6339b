"""Measures the memory that reloads and large images leave in the process.

    python -m benchmarks.serving.memory

Prints the figures of "Memory" in `docs/operations.md`.
"""

import json
import os
import shutil
import struct
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from PIL import Image

from benchmarks.harness.report import markdown_table
from benchmarks.harness.server_process import Server, memory_bytes
from benchmarks.serving.systems import KINDRED
from service.settings import BUILT
from training.bundle.manifest import INDEXES, MANIFEST, ONNX, RANGES, dump, read_manifest, reference

SIDE: Final = 5_000
"""Side of the large images: 25 million pixels, as many as one may have."""
TOGETHER: Final = 4
CLIENTS: Final = 2
PATIENT: Final = {"KINDRED_REQUEST_TIMEOUT": "60"}
"""Settings for a machine that other programs use too."""
SETTLE_SECONDS: Final = 2.0
"""Seconds in which a state that was replaced is freed."""


def damaged(bundle: Path, folder: Path) -> list[Path]:
    """Copy a bundle in three ways that a reload refuses."""
    truncated, swapped, wrong = (
        shutil.copytree(bundle, folder / name, copy_function=os.link)
        for name in ("truncated", "swapped", "wrong")
    )
    _replace(truncated / ONNX, (truncated / ONNX).read_bytes()[:-1000])
    entries = json.loads((swapped / INDEXES).read_text())["indexes"]
    first, second = (entry["layer"] for entry in entries[:2])
    entries[0]["layer"], entries[1]["layer"] = second, first
    _replace(swapped / INDEXES, json.dumps({"indexes": entries}).encode())
    _accept(swapped, INDEXES)
    ranges = json.loads((wrong / RANGES).read_text())
    inputs = {name: (low / 1000, high / 1000) for name, (low, high) in ranges["inputs"].items()}
    _replace(wrong / RANGES, json.dumps({**ranges, "inputs": inputs}).encode())
    _accept(wrong, RANGES)
    return [truncated, swapped, wrong]


def _replace(file: Path, content: bytes) -> None:
    file.unlink()  # a link to the file of the bundle
    file.write_bytes(content)


def _accept(bundle: Path, name: str) -> None:
    manifest = read_manifest(bundle)
    files = {**manifest.files, name: reference(bundle / name)}
    (bundle / MANIFEST).unlink()
    dump(manifest.model_copy(update={"files": files}), bundle / MANIFEST)


@contextmanager
def load(url: str, image: bytes) -> Iterator[Counter[int]]:
    """Send requests until the end of the block; count the statuses."""
    done, statuses = threading.Event(), Counter[int]()

    def send() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.is_set():
                statuses[client.post("/predict", content=image).status_code] += 1

    with ThreadPoolExecutor(CLIENTS) as clients:
        sending = [clients.submit(send) for _ in range(CLIENTS)]
        try:
            yield statuses
        finally:
            done.set()
    for one in sending:
        one.result()


def measure_reloads(bundle: Path, reloads: int, folder: Path) -> None:
    """Reload under load, every second time in vain; print the memory after each good reload."""
    link = folder / "current"
    good = shutil.copytree(bundle, folder / "good", copy_function=os.link)
    refused = cycle(damaged(bundle, folder))
    link.symlink_to(good)
    sizes, statuses = [], Counter[int]()
    with KINDRED.start(link, "conv2", "bundle", PATIENT) as server:
        started = server.resident_bytes
        with (
            httpx.Client(base_url=server.url, timeout=120) as client,
            load(server.url, _encode(Image.new("RGB", (40, 40), (200, 120, 40)), "PNG")) as answers,
        ):
            for target in islice(cycle((good, None)), reloads):
                other = link.with_name("next")
                other.symlink_to(target or next(refused))
                other.replace(link)
                statuses[client.post("/admin/reload").status_code] += 1
                if target:
                    time.sleep(SETTLE_SECONDS)
                    sizes.append(server.resident_bytes)
    shown = [sizes[0], sizes[len(sizes) // 2], sizes[-1]]
    header = ("at the start", "after the first good reload", "half of them", "all", "reloads")
    row = (*(f"{size / 1e6:,.0f}" for size in (started, *shown)), _counts(statuses))
    print(markdown_table(header, [row]))
    print(f"responses under load: {_counts(answers)}")


def large_images() -> dict[str, bytes]:
    """Draw images of 25 million pixels, 20 to 200 KB each."""
    flat = Image.new("RGBA", (SIDE, SIDE), (200, 120, 40, 100))
    return {
        "PNG with alpha": _encode(flat, "PNG"),
        "PNG with alpha, 16 bits": _black_png(6, 4),
        "grey PNG, 16 bits": _black_png(0, 1),
        "WebP": _encode(flat, "WEBP", quality=1, method=0),
    }


def _black_png(colour_type: int, channels: int) -> bytes:
    """Build a PNG of zeros with 16 bits per channel, one row at a time."""

    def chunk(name: bytes, data: bytes) -> bytes:
        sealed = name + data
        return struct.pack(">I", len(data)) + sealed + struct.pack(">I", zlib.crc32(sealed))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour_type, 0, 0, 0)
    packed, row = zlib.compressobj(9), bytes(1 + SIDE * 2 * channels)
    body = b"".join(packed.compress(row) for _ in range(SIDE)) + packed.flush()
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def measure_images(bundle: Path) -> None:
    """Send large images together; print the highest memory, and that which is left."""
    rows = []
    for name, image in large_images().items():
        with KINDRED.start(bundle, "conv2", "bundle", PATIENT) as server:
            started = server.resident_bytes
            statuses, slowest = _post_together(server, image)
            time.sleep(SETTLE_SECONDS)
            sizes = (started, memory_bytes(server.pid, "VmHWM"), server.resident_bytes)
        shown = (f"{size / 1e6:,.0f}" for size in sizes)
        rows.append((name, f"{len(image) / 1e3:,.0f}", *shown, statuses, f"{1000 * slowest:,.0f}"))
    header = ("four at once", "KB", "before, MB", "peak", "after", "responses", "/livez, ms, max")
    print(markdown_table(header, rows))


def _post_together(server: Server, image: bytes) -> tuple[str, float]:
    """Send an image several times at once; return the statuses, and the slowest of `/livez`."""
    slowest = 0.0
    with (
        httpx.Client(base_url=server.url, timeout=120) as client,
        ThreadPoolExecutor(TOGETHER) as clients,
    ):
        posts = [clients.submit(client.post, "/classify", content=image) for _ in range(TOGETHER)]
        with httpx.Client(base_url=server.url, timeout=120) as watcher:
            while not all(one.done() for one in posts):
                slowest = max(slowest, watcher.get("/livez").elapsed.total_seconds())
                time.sleep(0.01)
        return _counts(Counter(one.result().status_code for one in posts)), slowest


def _counts(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))


def main(
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle.")] = BUILT,
    reloads: Annotated[int, typer.Option(help="Reloads; every second one is refused.")] = 30,
) -> None:
    """Measure reloads, then large images."""
    # Beside the bundle, so that files can be linked.
    with tempfile.TemporaryDirectory(dir=bundle.resolve().parent) as folder:
        measure_reloads(bundle.resolve(), reloads, Path(folder))
    measure_images(bundle.resolve())


if __name__ == "__main__":
    typer.run(main)
