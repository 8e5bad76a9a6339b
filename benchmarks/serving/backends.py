"""What can run the network, beside each other: images/s, and whether they say the same.

    python -m benchmarks.serving.backends --data cifar10-jpeg.tar.gz
    python -m benchmarks.serving.backends --data cifar10-jpeg.tar.gz --rounds 1 --seconds 0.2
    python -m benchmarks.serving.backends --data cifar10-jpeg.tar.gz --device cuda

Writes the section "Engines" of `docs/performance.md`. All run the same network with as many threads
each, and take turns. They are compared with torch at fp32 on held-out images: on the class, on the
cosine at `conv2`, and on the neighbours that the bundle's own index of fp32 vectors finds. On a
GPU, what is timed ends when the logits have come over.
"""

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from benchmarks.harness.recall import recall
from benchmarks.harness.report import PERFORMANCE, spread, table, where, wrapped, write_section
from service.engine.backends.base import LAYERS, Backend, ServedPrecision, channels_first
from service.engine.backends.factory import BackendChoice, has_openvino, open_backend
from service.settings import default_bundle
from training.bundle import Layer, Pixels, Vectors, load
from training.data import dataset
from training.data.splits import split
from training.workflows.progress import print_line

COMPARED: Final = 2_500
BATCHES: Final = (1, 8, 32)
NEAREST: Final = 10
EXACT: Final = ("torch", "fp32")
KINDS: Final[tuple[tuple[BackendChoice, ServedPrecision], ...]] = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
METHOD: Final = """
{threads} threads each; {seconds:g} s a turn, {rounds} turns. The novelty of each image is part of
what is timed. Compared with torch at fp32, on {count:,} images of the test split, which the network
was not trained on: the share with the same class; the least cosine at conv2; and by the bundle's
index, the share of the ten nearest, the image itself left out, that torch at fp32 and an exact
search have. Goals: at least 0.995 of
the classes and a cosine of at least 0.999; the fastest that reaches them is what `auto` serves.
"""


def main(
    data: Annotated[Path, typer.Option(help="Image folder, or an archive of one.")],
    bundle: Annotated[Path | None, typer.Option(help="Whose network.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each at each batch.")] = 5,
    seconds: Annotated[float, typer.Option(help="Of each turn.")] = 0.4,
    device: Annotated[str, typer.Option(help="cpu or cuda[:n].")] = "cpu",
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure, compare, and write the section."""
    folder = (bundle or default_bundle()).resolve()
    opened = load(folder)
    threads = os.cpu_count() or 1
    backends = {
        (engine, precision): open_backend(  # a bundle each: they set their networks up
            load(folder), engine=engine, device=device, precision=precision, threads=threads
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
    exact = embed_all(backends[EXACT], images)
    _, nearest = opened.indexes["conv2"].search(exact["conv2"], NEAREST + 1, exact=True)
    rows = []
    for backend in backends.values():
        found = embed_all(backend, images)
        _, positions = opened.indexes["conv2"].search(found["conv2"], NEAREST + 1)
        same = found["logits"].argmax(1) == exact["logits"].argmax(1)
        rows.append(
            (
                backend.name,
                *(spread(speeds[backend.name, size]) for size in BATCHES),
                f"{same.mean():.4f}",
                f"{cosines(found['conv2'], exact['conv2']).min():.5f}",
                f"{recall(positions[:, 1:], nearest[:, 1:]):.4f}",
            )
        )
    method = METHOD.format(threads=threads, seconds=seconds, rounds=rounds, count=len(images))
    header = (
        "", *(f"batch of {size}, images/s" for size in BATCHES), "same class", "least cosine",
        "neighbours",
    )  # fmt: skip
    body = "\n\n".join(
        (where(f"python -m benchmarks.serving.backends --data {data.name}"), wrapped(method),
         table(header, rows))
    )  # fmt: skip
    write_section("Engines", body, output)


def held_out(data: Path) -> Pixels:
    """Images [N, 32, 32, 3] of the test split: a released network has seen the validation split."""
    found = dataset.load(data)
    kept = split(found, 0).indices("test")[:COMPARED]
    return found.images[kept].permute(0, 2, 3, 1).contiguous().numpy()


def speed(backend: Backend, images: Pixels, seconds: float) -> float:
    """Images/s of one batch, run again and again."""
    batch = channels_first(images)
    backend.run(batch)
    runs, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        backend.run(batch)
        runs += 1
    return runs * len(images) / passed


def embed_all(backend: Backend, images: Pixels) -> dict[Layer, Vectors]:
    """All of the images, in batches of the largest size."""
    size = max(BATCHES)
    found = [
        backend.run(channels_first(images[start : start + size])).layers
        for start in range(0, len(images), size)
    ]
    return {layer: np.concatenate([one[layer] for one in found]) for layer in LAYERS}


def cosines(one: Vectors, other: Vectors) -> Vectors:
    """Of each row of the one and the same row of the other."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: Vectors = (one * other).sum(1) / lengths
    return found


if __name__ == "__main__":
    typer.run(main)
