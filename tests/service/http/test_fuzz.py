"""Requests that are almost right get a response, and none that only a fault can explain."""

import http.client
import json
import re
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.support.fakes import BATCH_TIMEOUT
from tests.support.fuzz import request_of
from tests.support.fuzz.request import Request
from tests.support.lengths import SOAK, length
from tests.support.processes import ROOT, running_server, serve_command

pytestmark = pytest.mark.slow


REQUESTS = length(20_000, 600)
CLIENTS = 4
WARM = REQUESTS // 4
"""Requests before the memory is measured for the first time."""
GROWTH = 1.10
OVERLOADED = (503, 504)


class Client:
    """A client that sends any bytes, and reads one response."""

    def __init__(self, address: tuple[str, int], documented: dict[str, Any]) -> None:
        self.address = address
        self.documented = documented
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self._socket: socket.socket | None = None

    def run(self, seeds: range) -> None:
        """Send the requests of the seeds, and record what is wrong with the responses."""
        for seed in seeds:
            kind, request = request_of(seed)
            try:
                self._check(request, *self._response(request))
            except (OSError, http.client.HTTPException, AssertionError, ValueError) as error:
                self.faults.append(f"seed {seed}, {kind}: {error!r}: {request.encode()[:300]!r}")
                self._close()
        self._close()

    def _response(self, request: Request) -> tuple[http.client.HTTPResponse, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(self.address, timeout=BATCH_TIMEOUT)
        with suppress(ConnectionError):  # it was refused before its end
            self._socket.sendall(request.encode())
        response = http.client.HTTPResponse(self._socket, method=request.method)
        response.begin()
        body = response.read()
        if response.will_close or request.head is not None:
            self._close()
        return response, body

    def _check(self, request: Request, response: http.client.HTTPResponse, body: bytes) -> None:
        self.statuses[response.status] += 1
        assert response.status < 500 or response.status in OVERLOADED, body[:500]
        media_type = response.headers["Content-Type"]
        if response.status >= 400 and request.method != "HEAD":
            assert media_type == "application/problem+json"
            assert json.loads(body)["status"] == response.status
        elif media_type == "application/json":
            json.loads(body or b"null")
        operation = self.documented.get(request.route.replace("{}", "{id}"), {}).get(
            request.method.lower()
        )
        if operation:
            assert str(response.status) in operation["responses"], "the status is not documented"

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def resident(server: httpx.Client) -> float:
    """Return the resident memory of the server in MB."""
    found = re.search(r"^process_resident_memory_bytes (\S+)", server.get("/metrics").text, re.M)
    assert found
    return float(found[1]) / 1e6


def send(server: httpx.Client, seeds: range) -> list[Client]:
    """Send the requests of the seeds by several clients at once."""
    document = server.get("/openapi.json").json()["paths"]
    documented = {re.sub(r"\{\w+\}", "{id}", path): one for path, one in document.items()}
    address = (server.base_url.host, server.base_url.port or 80)
    clients = [Client(address, documented) for _ in range(CLIENTS)]
    threads = [
        Thread(target=client.run, args=(seeds[number::CLIENTS],))
        for number, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return clients


@pytest.mark.soak
def test_almost_right_requests_are_answered_and_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The starter is served, which needs no training. Images are added under few ids."""
    log = tmp_path / "log"  # a pipe that is not read would fill
    command = ["sh", "-c", 'exec "$@" 2>"$0"', log, *serve_command(ROOT / "starter")]
    with running_server(
        command, KINDRED_GALLERY=str(tmp_path / "gallery"), KINDRED_REQUEST_TIMEOUT="2"
    ) as server:
        began = time.perf_counter()
        clients = send(server, range(WARM))
        before = resident(server)
        clients += send(server, range(WARM, REQUESTS))
        after = resident(server)
        seconds = time.perf_counter() - began
        assert server.get("/readyz").status_code == 200
    statuses = sum((client.statuses for client in clients), Counter[int]())
    with capsys.disabled():
        print(
            f"\nfuzz: {REQUESTS:,} requests in {seconds:.0f} s; resident {before:.0f} MB after "
            f"{WARM:,}, {after:.0f} MB at the end; statuses {dict(sorted(statuses.items()))}"
        )
    assert [fault for client in clients for fault in client.faults] == []
    assert log.read_text() == ""
    assert after < before * GROWTH or not SOAK


def test_requests_of_a_seed_are_always_the_same() -> None:
    for seed in range(60):
        assert request_of(seed)[1].encode() == request_of(seed)[1].encode()
