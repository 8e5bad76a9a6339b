"""Compares the backends that can run the network: images/s, and agreement with torch at fp32.

    python -m benchmarks.serving.backends --data cifar10-jpeg.tar.gz
    python -m benchmarks.serving.backends --data cifar10-jpeg.tar.gz --rounds 1 --seconds 0.2
    python -m benchmarks.serving.backends --data cifar10-jpeg.tar.gz --device cuda

Writes the section "Engines" of `docs/performance.md`. All backends run the same network with the
same number of threads, in rounds. On a GPU, the time includes the copy of the logits to the host.
"""

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from benchmarks.harness.recall import recall
from benchmarks.harness.report import (
    PERFORMANCE,
    describe_run,
    markdown_table,
    median_range,
    wrap,
    write_section,
)
from service.engine.backends.base import Backend, ServedPrecision, channels_first
from service.engine.backends.factory import BackendChoice, has_openvino, open_backend
from service.settings import default_bundle
from training.bundle import Layer, Pixels, Vectors, load
from training.data import dataset
from training.data.splits import split
from training.workflows.progress import print_line

COMPARED: Final = 2_500
"""Held-out images on which the backends are compared."""
BATCHES: Final = (1, 8, 32)
NEAREST: Final = 10
REFERENCE: Final = ("torch", "fp32")
KINDS: Final[tuple[tuple[BackendChoice, ServedPrecision], ...]] = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
METHOD: Final = """
{threads} threads each; {seconds:g} s a measurement, {rounds} rounds. The novelty of each image is
included in the time. All are compared with torch at fp32 on {count:,} images of the test split, on
which the network was not trained: the share with the same class, the least cosine at conv2, and the
neighbours. Neighbours are the share of the exact ten nearest of torch at fp32 that the bundle's
index finds, the image itself left out. Goals: at least 0.995 of the classes and a cosine of at
least 0.999. `auto` serves the fastest that reaches them.
"""


def main(
    data: Annotated[Path, typer.Option(help="Image folder, or an archive of one.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Folder. Default: that of the service.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Measurements of each backend at each batch.")] = 5,
    seconds: Annotated[float, typer.Option(help="Seconds of each measurement.")] = 0.4,
    device: Annotated[str, typer.Option(help="cpu or cuda[:n].")] = "cpu",
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure and compare the backends, and write the section."""
    folder = (bundle or default_bundle()).resolve()
    opened = load(folder)
    threads = os.cpu_count() or 1
    backends = {
        (engine, precision): open_backend(  # each with its own bundle: it changes the network
            load(folder),
            backend=engine,
            device=device,
            precision=precision,
            intra_op_threads=threads,
        )
        for engine, precision in KINDS
        if engine == "torch" or (device == "cpu" and has_openvino() and opened.onnx)
        if precision != "int8" or opened.ranges
    }
    for backend in backends.values():
        print_line(f"preparing {backend.name}")
        backend.prepare(max(BATCHES))
    images = held_out(data)
    speeds: dict[tuple[str, int], list[float]] = defaultdict(list)
    for size in BATCHES:
        for _ in range(rounds):
            for backend in backends.values():
                speeds[backend.name, size].append(speed(backend, images[:size], seconds))
    reference = embed_all(backends[REFERENCE], images)
    _, nearest = opened.indexes["conv2"].search(reference["conv2"], NEAREST + 1, exact=True)
    rows = []
    for backend in backends.values():
        found = embed_all(backend, images)
        _, positions = opened.indexes["conv2"].search(found["conv2"], NEAREST + 1)
        same_class = found["logits"].argmax(1) == reference["logits"].argmax(1)
        rows.append(
            (
                backend.name,
                *(median_range(speeds[backend.name, size]) for size in BATCHES),
                f"{same_class.mean():.4f}",
                f"{row_cosines(found['conv2'], reference['conv2']).min():.5f}",
                f"{recall(positions[:, 1:], nearest[:, 1:]):.4f}",
            )
        )
    method = METHOD.format(threads=threads, seconds=seconds, rounds=rounds, count=len(images))
    header = (
        "", *(f"batch of {size}, images/s" for size in BATCHES), "same class", "least cosine",
        "neighbours",
    )  # fmt: skip
    provenance = describe_run(f"python -m benchmarks.serving.backends --data {data.name}")
    parts = (provenance, wrap(method), markdown_table(header, rows))
    write_section("Engines", "\n\n".join(parts), output)


def held_out(data: Path) -> Pixels:
    """Load images of the test split, uint8 [N, 32, 32, 3].

    The validation split would not do: a released network is trained on it.
    """
    found = dataset.load(data)
    kept = split(found, 0).indices("test")[:COMPARED]
    return found.images[kept].permute(0, 2, 3, 1).contiguous().numpy()


def speed(backend: Backend, images: Pixels, seconds: float) -> float:
    """Measure images/s with one batch that runs repeatedly."""
    batch = channels_first(images)
    backend.run(batch)
    runs, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        backend.run(batch)
        runs += 1
    return runs * len(images) / passed


def embed_all(backend: Backend, images: Pixels) -> dict[Layer, Vectors]:
    """Embed all images, in batches of the largest size."""
    size = max(BATCHES)
    found = [
        backend.run(channels_first(images[start : start + size])).layers
        for start in range(0, len(images), size)
    ]
    return {layer: np.concatenate([one[layer] for one in found]) for layer in backend.spec.served}


def row_cosines(one: Vectors, other: Vectors) -> Vectors:
    """Compute the cosine of each row with the same row of the other array: [N, D] to [N]."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: Vectors = (one * other).sum(1) / norms
    return found


if __name__ == "__main__":
    typer.run(main)
