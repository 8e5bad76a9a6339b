"""The bare limit: the service's network and search alone, in a process of their own.

Same weights, precision, threads and index as the service has by default; no HTTP, no decoding, no
queue.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.queries import NEAREST, Task, queries
from benchmarks.worker import Worker, serve
from service.engine import choose_precision
from service.settings import Settings
from training.bundle import Pixels, autocast, load, pick_device
from training.frozen import Frozen


class Alone(Frozen):
    """Run a task in batches of so many images for so many seconds."""

    task: Task
    batch: int
    seconds: float


class Rate(Frozen):
    """What came of it."""

    images_per_second: float


def bare(bundle: Path) -> Worker:
    """The process, to be asked."""
    return Worker([sys.executable, "-m", "benchmarks.bare", "--bundle", bundle.resolve()])


def main(bundle: Annotated[Path, typer.Option(help="Folder.")]) -> None:
    """Answer each `Alone` on standard input by a `Rate` on standard output."""
    settings = Settings()
    device = pick_device(settings.device)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    opened = load(bundle)
    pixels = np.stack([query.pixels for query in queries(opened)])
    network = opened.network.to(device).to(memory_format=torch.channels_last)
    index = opened.indexes["conv2"]
    precision = choose_precision(settings.precision)

    @torch.inference_mode()
    def run(task: Task, images: Pixels) -> None:
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
        with autocast(device, precision):
            found = network.representations(tensor, ("conv2", "penultimate", "logits"))
        vectors = {layer: one.float().cpu().numpy() for layer, one in found.items()}
        if task == "conv2":
            index.search(vectors["conv2"], NEAREST)

    def measure(alone: Alone) -> Rate:
        images = np.resize(pixels, (alone.batch, *pixels.shape[1:]))
        run(alone.task, images)
        runs, started = 0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < alone.seconds:
            run(alone.task, images)
            runs += 1
        return Rate(images_per_second=runs * alone.batch / seconds)

    serve(Alone, measure)


if __name__ == "__main__":
    typer.run(main)
