"""The roofline: the throughput of the service's network and search alone, in a worker process.

Has the weights, precision, threads and index that the service has by default, and its search on a
GPU; no HTTP, no decoding, no queue.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.harness.worker import Worker, serve
from benchmarks.harness.workload import NEAREST, Task, build_queries
from service.engine.backends.base import channels_first
from service.engine.backends.factory import open_backend
from service.gallery.bundle_images import BundleImages
from service.gallery.local.gpu_search import GpuSearcher
from service.gallery.local.snapshot import Snapshot
from service.settings import Settings
from training.base_model import Frozen
from training.bundle import Pixels, load, search_multi


class RooflineRequest(Frozen):
    """Run a task in batches of `batch` images for `seconds`."""

    task: Task
    batch: int
    seconds: float


class RooflineRate(Frozen):
    """The throughput of one request."""

    images_per_second: float


def start_roofline(bundle: Path) -> Worker:
    """Start the worker process on a bundle."""
    return Worker(
        [sys.executable, "-m", "benchmarks.serving.roofline", "--bundle", bundle.resolve()]
    )


def main(bundle: Annotated[Path, typer.Option(help="Folder of the bundle.")]) -> None:
    """Handle each `RooflineRequest` on standard input by a `RooflineRate`."""
    settings = Settings()
    opened = load(bundle)
    pixels = np.stack([query.pixels for query in build_queries(opened)])
    backend = open_backend(
        opened,
        backend=settings.backend,
        device=settings.device,
        precision=settings.precision,
        intra_op_threads=settings.intra_op_threads,
    )
    backend.prepare(settings.max_batch_size)
    index = opened.indexes["conv2"]
    searcher: GpuSearcher | None = None
    if backend.device != "cpu":
        bundle_images = BundleImages(opened)
        snapshot = Snapshot((bundle_images.segment,), bundle_images.classes, lambda *_: b"")
        searcher = GpuSearcher(lambda: snapshot, torch.device(backend.device))

    def run(task: Task, images: Pixels) -> None:
        found = backend.run(channels_first(images))
        if task == "conv2" and searcher:
            searcher.search("conv2", found.queries("conv2", range(len(images))), NEAREST)
        elif task == "conv2":
            search_multi([index], found.layers["conv2"], NEAREST, project=backend.project)

    def measure(request: RooflineRequest) -> RooflineRate:
        images = np.resize(pixels, (request.batch, *pixels.shape[1:]))
        run(request.task, images)
        runs, started = 0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < request.seconds:
            run(request.task, images)
            runs += 1
        return RooflineRate(images_per_second=runs * request.batch / seconds)

    serve(RooflineRequest, measure)


if __name__ == "__main__":
    typer.run(main)
