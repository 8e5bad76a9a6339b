"""The bare limit: the service's network and search alone, in a process of their own.

Same weights, precision, threads and index as the service has by default, and on a GPU its search
there; no HTTP, no decoding, no queue.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.harness.worker import Worker, serve
from benchmarks.harness.workload import NEAREST, Task, queries
from service.engine.backends.base import channels_first
from service.engine.backends.factory import open_backend
from service.gallery.bundle_images import BundleImages
from service.gallery.local.gpu_search import GpuSearcher
from service.gallery.local.snapshot import Snapshot
from service.settings import Settings
from training.base_model import Frozen
from training.bundle import Pixels, load


class RooflineRequest(Frozen):
    """Run a task in batches of so many images for so many seconds."""

    task: Task
    batch: int
    seconds: float


class RooflineRate(Frozen):
    """What came of it."""

    images_per_second: float


def roofline(bundle: Path) -> Worker:
    """The process, to be asked."""
    return Worker(
        [sys.executable, "-m", "benchmarks.serving.roofline", "--bundle", bundle.resolve()]
    )


def main(bundle: Annotated[Path, typer.Option(help="Folder.")]) -> None:
    """Answer each `RooflineRequest` on standard input by a `RooflineRate` on standard output."""
    settings = Settings()
    opened = load(bundle)
    pixels = np.stack([query.pixels for query in queries(opened)])
    backend = open_backend(
        opened,
        engine=settings.backend,
        device=settings.device,
        precision=settings.precision,
        threads=settings.intra_op_threads,
    )
    backend.prepare(settings.max_batch_size)
    index = opened.indexes["conv2"]
    near: GpuSearcher | None = None
    if backend.device.type == "cuda":
        base = BundleImages(opened)
        snapshot = Snapshot((base.segment,), base.classes, lambda *_: b"")
        near = GpuSearcher(lambda: snapshot, backend.device)

    def run(task: Task, images: Pixels) -> None:
        found = backend.run(channels_first(images))
        if task == "conv2" and near:
            near.search("conv2", found.queries("conv2", range(len(images))), NEAREST)
        elif task == "conv2":
            index.search(found.layers["conv2"], NEAREST)

    def measure(alone: RooflineRequest) -> RooflineRate:
        images = np.resize(pixels, (alone.batch, *pixels.shape[1:]))
        run(alone.task, images)
        runs, started = 0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < alone.seconds:
            run(alone.task, images)
            runs += 1
        return RooflineRate(images_per_second=runs * alone.batch / seconds)

    serve(RooflineRequest, measure)


if __name__ == "__main__":
    typer.run(main)
