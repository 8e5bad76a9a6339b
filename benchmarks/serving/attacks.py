"""Attacks the service with requests that never end, and measures its memory and `/livez`.

    python -m benchmarks.serving.attacks

Each attack has one connection, and sends as fast as it can until the service closes it. Prints the
table of "Requests that never end" in `docs/operations.md`.
"""

import http.client
import select
import socket
import statistics
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Annotated, Final

import typer

from benchmarks.harness.load_generator import Address
from benchmarks.harness.report import markdown_table
from benchmarks.harness.server_process import Server
from benchmarks.serving.systems import KINDRED
from service.settings import STARTER

SECONDS: Final = 15.0
"""Seconds of an attack at most. The service closes all connections of these kinds earlier."""
MEGABYTES: Final = 200
"""Data of an attack at most."""
PIECE: Final = 2**18
"""Bytes that are sent at once."""
CHUNKED: Final = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
IGNORED: Final = CHUNKED.replace(b"POST /predict", b"GET /livez")
GET: Final = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"


@dataclass(frozen=True)
class Attack:
    """What is sent once, and what is then repeated until the connection is closed."""

    start: bytes
    repeated: bytes


ATTACKS: Final[Mapping[str, Attack]] = {
    "short headers": Attack(GET, b"a:b\r\n"),
    "a long header": Attack(GET + b"a:", b"b"),
    "a long path": Attack(b"GET /", b"a"),
    "blank lines": Attack(b"", b"\r\n"),
    "short trailer lines": Attack(CHUNKED + b"0\r\n", b"a:b\r\n"),
    "a long trailer line": Attack(CHUNKED + b"0\r\na:", b"b"),
    "a chunk extension": Attack(CHUNKED + b"1;", b"x"),
    "chunks of 1 byte": Attack(CHUNKED, b"1\r\nx\r\n"),
    "chunks of 8 bytes": Attack(CHUNKED, b"8\r\nxxxxxxxx\r\n"),
    "chunks of 40 bytes": Attack(CHUNKED, b"28\r\n" + b"x" * 40 + b"\r\n"),
    "chunks of 1 byte, unread": Attack(IGNORED, b"1\r\nx\r\n"),
    "chunks of 40 bytes, unread": Attack(IGNORED, b"28\r\n" + b"x" * 40 + b"\r\n"),
    "pipelined requests": Attack(b"", GET + b"\r\n"),
    "short pipelined requests": Attack(b"", b"GET / HTTP/1.1\r\nHost:a\r\n\r\n"),
    "pipelined requests, slow": Attack(
        b"", b"POST /predict HTTP/1.1\r\nHost:localhost\r\nContent-Length:1\r\n\r\nx"
    ),
}


@dataclass
class Effect:
    """What an attack sent, got and cost."""

    sent: int = 0
    seconds: float = 0.0
    status: str = "none"
    closed: bool = False
    resident: list[int] = field(default_factory=list)
    livez: list[float] = field(default_factory=list)


def attack(address: Address, attack: Attack, effect: Effect, limit: int) -> None:
    """Send until the service closes the connection, or the limit of time or bytes is reached."""
    piece = attack.repeated * (PIECE // len(attack.repeated))
    began = time.perf_counter()
    answer = b""
    with socket.create_connection((address.host, address.port)) as connection:
        connection.setblocking(False)
        left = memoryview(attack.start)
        with suppress(ConnectionError):
            while time.perf_counter() < began + SECONDS:
                wanted = [connection] if effect.sent < limit else []
                readable, writable, _ = select.select([connection], wanted, [], 1)
                if readable:
                    if not (some := connection.recv(2**16)):
                        effect.closed = True
                        break
                    answer = answer or some
                if writable:
                    count = connection.send(left)
                    effect.sent += count
                    left = left[count:] or memoryview(piece)
            else:
                effect.closed = False
                return_status(effect, answer)
                effect.seconds = time.perf_counter() - began
                return
        effect.closed = True
    return_status(effect, answer)
    effect.seconds = time.perf_counter() - began


def return_status(effect: Effect, answer: bytes) -> None:
    """Keep the status of the first answer."""
    if answer:
        effect.status = answer[9:12].decode()


def watch(server: Server, effect: Effect, over: Event) -> None:
    """Measure `/livez` and the memory about fifty times a second."""
    while not over.is_set():
        connection = http.client.HTTPConnection(server.address.host, server.address.port)
        began = time.perf_counter()
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/livez")
            connection.getresponse().read()
            effect.livez.append(time.perf_counter() - began)
        connection.close()
        effect.resident.append(server.resident_bytes)
        time.sleep(0.02)


def measure(server: Server, kind: Attack, limit: int) -> Effect:
    """Run an attack beside the watch."""
    effect, over = Effect(), Event()
    watching = Thread(target=watch, args=(server, effect, over))
    watching.start()
    time.sleep(0.2)
    attack(server.address, kind, effect, limit)
    time.sleep(0.5)
    over.set()
    watching.join()
    return effect


def row(name: str, effect: Effect) -> tuple[str, ...]:
    """Format a row of the table."""
    first, last, most = effect.resident[0], effect.resident[-1], max(effect.resident)
    return (
        name,
        f"{effect.sent / 1e6:.1f}",
        f"{effect.status}, {'closed' if effect.closed else 'open'} after {effect.seconds:.1f} s",
        f"{(most - first) / 1e6:+.0f}",
        f"{(last - first) / 1e6:+.0f}",
        f"{1000 * statistics.median(effect.livez):.1f}",
        f"{1000 * max(effect.livez):.0f}",
    )


def main(
    only: Annotated[str, typer.Option(help="Part of the names of the attacks to run.")] = "",
    megabytes: Annotated[int, typer.Option(help="Data of an attack at most.")] = MEGABYTES,
) -> None:
    """Run each attack on a fresh connection to one service, and print the table."""
    rows = []
    for name, kind in ATTACKS.items():
        if only not in name:
            continue
        with KINDRED.start(STARTER, "class", "bundle") as server:
            rows.append(row(name, measure(server, kind, megabytes * 1_000_000)))
            print(rows[-1], flush=True)
    header = (
        "sent",
        "MB",
        "answer",
        "memory, peak, MB",
        "after, MB",
        "`/livez` median, ms",
        "max, ms",
    )
    print(markdown_table(header, rows))


if __name__ == "__main__":
    typer.run(main)
