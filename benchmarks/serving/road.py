"""Measures the way of a request through the service: its event loop alone, and batches of 64.

    make bench DATA=cifar10-jpeg.tar.gz
    python -m benchmarks.serving.road --bundle bundles/current --rounds 1 --seconds 1

Writes the section "The event loop" of `docs/performance.md`. For the first table, the engine of the
service is replaced by one that answers at once, so that only the event loop works.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from benchmarks.harness.load_generator import Address, closed_loop
from benchmarks.harness.report import (
    PERFORMANCE,
    describe_run,
    markdown_table,
    median_range,
    wrap,
    write_section,
)
from benchmarks.harness.server_process import Server, free_address
from benchmarks.harness.workload import Query, Task, build_queries
from benchmarks.serving.roofline import RooflineRate, RooflineRequest, start_roofline
from benchmarks.serving.systems import KINDRED
from service.settings import default_bundle
from training.bundle import load

BATCH: Final = 64
TASKS: Final[tuple[Task, ...]] = ("class", "conv2")
TITLES: Final[dict[Task, str]] = {"class": "class", "conv2": "class and conv2 top 10"}
CONNECTIONS: Final = (1, 32, 128)
BATCH_CONNECTIONS: Final = 2
"""Enough to send a batch while another is answered."""
CORES: Final = 16
"""Cores of the host with a GPU that the arithmetic is about."""
BOUNDARY: Final = "kindred-boundary"

METHOD: Final = """
*The event loop alone*: a real server process, whose engine answers every image at once with the
vectors and neighbours of one image. The CPU time of the event loop's thread is divided by the
requests (closed loop, {rounds} rounds of {seconds:g} s).
"""
BATCHES: Final = """
*Batches of {batch} images*: images/s of requests with {batch} images each, over {connections}
connections, beside the roofline: the service's network alone, in batches of {batch}. Multipart
forms have PNG files. The tensors of the Open Inference Protocol are binary, and labels and
probabilities are asked for. Goals: 0.7 and 0.85.
"""
REPLICAS: Final = """
With a GPU, the network takes little CPU time, and one process answers as many requests/s as its
event loop gives: {rate:,.0f} for the class. {cores} cores have room for {processes} processes: one
core for the event loop, half a core for the threads that copy batches and search. Together they
answer about {together:,.0f} requests/s. They share one GPU and one Milvus, behind a proxy. This is
arithmetic: no GPU was at hand.
"""


def multipart(address: Address, queries: Sequence[Query]) -> bytes:
    """Build a request of 64 PNG files."""
    parts = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{number}.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + queries[number % len(queries)].png
        + b"\r\n"
        for number in range(BATCH)
    )
    body = parts + f"--{BOUNDARY}--\r\n".encode()
    return _post(address, "/classify", body, f"multipart/form-data; boundary={BOUNDARY}")


def binary_tensors(address: Address, queries: Sequence[Query]) -> bytes:
    """Build a request of 64 images in the Open Inference Protocol, as binary data."""
    pixels = np.stack([queries[number % len(queries)].pixels for number in range(BATCH)])
    head = {
        "inputs": [
            {
                "name": "images",
                "datatype": "UINT8",
                "shape": list(pixels.shape),
                "parameters": {"binary_data_size": pixels.nbytes},
            }
        ],
        "outputs": [
            {"name": name, "parameters": {"binary_data": True}}
            for name in ("labels", "probabilities")
        ],
    }
    text = json.dumps(head).encode()
    return _post(
        address,
        "/v2/models/kindred/infer",
        text + pixels.tobytes(),
        f"application/octet-stream\r\nInference-Header-Content-Length: {len(text)}",
    )


FORMS: Final[dict[str, Callable[[Address, Sequence[Query]], bytes]]] = {
    "multipart": multipart,
    "OIP, binary": binary_tensors,
}


def _post(address: Address, path: str, body: bytes, content_type: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def start_instant(bundle: Path) -> Server:
    """Start a service whose engine answers at once."""
    address = free_address()
    command = [sys.executable, "-m", "benchmarks.serving.instant_service", bundle, address.port]
    return Server(list(map(str, command)), address, "/readyz")


def measure_loop(
    server: Server, task: Task, queries: Sequence[Query], connections: int, seconds: float
) -> tuple[float, float]:
    """Return requests/s, and the CPU milliseconds of the event loop for each."""
    requests = [KINDRED.request(server.address, task, one.png) for one in queries]
    closed_loop(server.address, requests, connections, 0.5, warmup=0)
    busy = server.loop_seconds
    load_ = closed_loop(server.address, requests, connections, seconds, warmup=0)
    busy = server.loop_seconds - busy
    return load_.rate, 1000 * busy / len(load_.responses)


def loop_table(
    server: Server, queries: Sequence[Query], rounds: int, seconds: float
) -> tuple[str, float]:
    """Measure the event loop alone; return the table, and the requests/s for the class at 32."""
    rows, rate_at_32 = [], 0.0
    for task in TASKS:
        for connections in CONNECTIONS:
            found = [
                measure_loop(server, task, queries, connections, seconds) for _ in range(rounds)
            ]
            rates, times = zip(*found, strict=True)
            rows.append(
                (TITLES[task], str(connections), median_range(rates), median_range(times, 3))
            )
            if task == "class" and connections == 32:
                rate_at_32 = 1000 / float(np.median(times))
    return markdown_table(("", "connections", "requests/s", "event loop, ms"), rows, 1), rate_at_32


def batch_table(bundle: Path, queries: Sequence[Query], rounds: int, seconds: float) -> str:
    """Measure batches of 64, in turn with the roofline."""
    rows = []
    with KINDRED.start(bundle, "class", "bundle") as server, start_roofline(bundle) as roofline:
        for name, build in FORMS.items():
            request = build(server.address, queries)
            closed_loop(server.address, [request], BATCH_CONNECTIONS, 1.0, warmup=0)
            served, limits = [], []
            for _ in range(rounds):
                found = closed_loop(
                    server.address, [request], BATCH_CONNECTIONS, seconds, warmup=0.3
                )
                served.append(BATCH * found.rate)
                server.pause()
                asked = RooflineRequest(task="class", batch=BATCH, seconds=seconds)
                limits.append(roofline.call(asked, RooflineRate).images_per_second)
                server.resume()
            shares = [one / limit for one, limit in zip(served, limits, strict=True)]
            rows.append((name, median_range(served), median_range(limits), median_range(shares, 2)))
    return markdown_table(("", "images/s", "limit, images/s", "share"), rows)


def main(
    bundle: Annotated[
        Path | None, typer.Option(help="Folder. Default: that of the service.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Measurements of each load.")] = 3,
    seconds: Annotated[float, typer.Option(help="Seconds of each measurement.")] = 3.0,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure the event loop alone and batches of 64, and write the section."""
    folder = (bundle or default_bundle()).resolve()
    queries = build_queries(load(folder))
    with start_instant(folder) as server:
        alone, rate = loop_table(server, queries, rounds, seconds)
    batches = batch_table(folder, queries, rounds, seconds)
    processes = max(1, int(CORES / 1.5))
    parts = [
        describe_run(f"python -m benchmarks.serving.road --rounds {rounds} --seconds {seconds:g}"),
        wrap(METHOD.format(rounds=rounds, seconds=seconds)),
        alone,
        wrap(
            REPLICAS.format(rate=rate, cores=CORES, processes=processes, together=processes * rate)
        ),
        wrap(BATCHES.format(batch=BATCH, connections=BATCH_CONNECTIONS)),
        batches,
    ]
    print("\n\n".join(parts))
    write_section("The event loop", "\n\n".join(parts), output)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    typer.run(main)
