"""Admission over HTTP: early refusals while the queue is full, and what counts as in progress."""

import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from service import images
from service.engine.types import Embeddings, Priority
from service.http.gate.admission import REPLACE_ROUTE, UPLOAD_ROUTES
from service.schemas.base import Fields
from service.schemas.errors import Problem
from service.state import State
from tests.service.conftest import MakeApp
from tests.support.fakes import BATCH_TIMEOUT, ScriptedNetwork, image_file, png, use_network
from tests.support.processes import running_app
from training.bundle import Fit, Layer, Pixels

PNG = {"Content-Type": "image/png"}


@contextmanager
def full_queue(app: FastAPI, network: ScriptedNetwork) -> Iterator[httpx.Client]:
    """A service whose queue is full, for searches and for additions."""
    state = use_network(app, network, max_queue_size=1)
    with (
        running_app(app) as client,
        state.admission.permit(Priority.INTERACTIVE),
        state.admission.permit(Priority.BACKGROUND),
    ):
        yield client


@pytest.fixture
def full(make_app: MakeApp, network: ScriptedNetwork) -> Iterator[httpx.Client]:
    with full_queue(make_app(), network) as client:
        yield client


def test_a_full_queue_refuses_before_the_body_is_read(full: httpx.Client) -> None:
    address = (full.base_url.host, full.base_url.port or 80)
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection(address, timeout=BATCH_TIMEOUT) as waiting:
        waiting.sendall(head)
        assert b" 429 " in waiting.recv(1000).splitlines()[0]


@pytest.mark.parametrize(
    ("method", "path"),
    [*(("POST", path) for path in sorted(UPLOAD_ROUTES)), ("PUT", REPLACE_ROUTE)],
)
def test_a_refusal_is_counted_by_its_route(full: httpx.Client, method: str, path: str) -> None:
    sent = path.replace("{version}", "1").replace("{image_id}", "mine")
    refused = full.request(method, sent, content=image_file(), headers=PNG)
    assert refused.status_code == 429
    assert refused.json()["instance"] == sent
    counted = full.get("/metrics").text
    assert f'kindred_requests_total{{route="{path}",status="429"}} 1.0' in counted
    assert 'kindred_rejections_total{reason="queue-full"} 1.0' in counted


@pytest.mark.parametrize(
    ("full_priority", "statuses"),
    [(Priority.INTERACTIVE, [429, 201, 201]), (Priority.BACKGROUND, [200, 429, 429])],
)
def test_searches_and_additions_have_limits_of_their_own(
    make_app: MakeApp, network: ScriptedNetwork, full_priority: Priority, statuses: list[int]
) -> None:
    app = make_app()
    state = use_network(app, network, max_queue_size=1)
    calls = [("POST", "/classify"), ("POST", "/gallery"), ("PUT", "/gallery/mine")]
    with running_app(app) as client, state.admission.permit(full_priority):
        responses = [
            client.request(method, path, content=image_file(), headers=PNG)
            for method, path in calls
        ]
    assert [response.status_code for response in responses] == statuses


def test_an_early_refusal_has_the_headers_and_body_of_every_error(full: httpx.Client) -> None:
    named = {**PNG, "X-Request-ID": "mine-1"}
    refused = full.post("/classify", content=image_file(), headers=named)
    assert refused.headers["X-Request-ID"] == "mine-1"
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Content-Type"] == "application/problem+json"
    problem = Problem.model_validate_json(refused.content)
    assert (problem.type, problem.status) == ("urn:kindred:problem:queue-full", 429)
    assert full.post("/classify", content=image_file(), headers=PNG).headers["X-Request-ID"]


def test_a_connection_stays_open_after_a_refusal(full: httpx.Client) -> None:
    address = (full.base_url.host, full.base_url.port or 80)
    request = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"
    with (
        socket.create_connection(address, timeout=BATCH_TIMEOUT) as one,
        one.makefile("rb") as answers,
    ):
        for _ in range(3):
            one.sendall(request)
            assert b" 429 " in answers.readline()
            head = b"".join(iter(answers.readline, b"\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(maxsplit=1)[0])
            assert b"queue-full" in answers.read(length)


def test_a_page_of_another_origin_can_read_a_refusal(
    make_app: MakeApp, network: ScriptedNetwork
) -> None:
    app = make_app(cors_origins=["https://page.example"])
    with full_queue(app, network) as client:
        headers = {**PNG, "Origin": "https://page.example"}
        refused = client.post("/classify", content=image_file(), headers=headers)
    assert refused.status_code == 429
    assert refused.headers["Access-Control-Allow-Origin"] == "https://page.example"


def test_every_route_that_documents_429_refuses_early(full: httpx.Client) -> None:
    paths = full.get("/openapi.json").json()["paths"].items()
    busy = {
        (method, path)
        for path, of in paths
        for method in ("post", "put")
        if method in of and "429" in of[method]["responses"]
    }
    assert busy - {("post", "/gallery/duplicates")} == {  # it has no body, and refuses by itself
        *(("post", path) for path in UPLOAD_ROUTES),
        ("put", REPLACE_ROUTE),
    }


def test_routes_without_uploads_respond_though_the_queue_is_full(full: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/model", "/gallery", "/metrics"):
        assert full.get(path).status_code == 200
    assert full.get("/classify").status_code == 405


def test_images_that_run_or_wait_for_the_network_count(
    make_app: MakeApp, network: ScriptedNetwork
) -> None:
    app = make_app()
    state = use_network(app, network, max_queue_size=2)
    with running_app(app) as client, ThreadPoolExecutor(2) as others:

        def classify() -> int:
            return client.post("/classify", content=image_file(), headers=PNG).status_code

        network.forget()
        network.gate.clear()
        running = others.submit(classify)
        assert network.entered.wait(BATCH_TIMEOUT)
        waiting = others.submit(classify)
        deadline = time.monotonic() + BATCH_TIMEOUT
        while state.engine.depth == 0:
            assert time.monotonic() < deadline
        assert classify() == 429
        network.gate.set()
        assert (running.result(BATCH_TIMEOUT), waiting.result(BATCH_TIMEOUT)) == (200, 200)
        assert classify() == 200


def test_abandoned_images_make_room_in_a_full_queue(
    make_app: MakeApp, network: ScriptedNetwork
) -> None:
    app = make_app()
    state = use_network(app, network, max_queue_size=1)

    def wait_for(in_flight: int) -> None:
        deadline = time.monotonic() + BATCH_TIMEOUT
        while state.admission.in_flight(Priority.INTERACTIVE) != in_flight:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    with running_app(app) as client:
        network.gate.clear()
        address = (client.base_url.host, client.base_url.port or 80)
        content = image_file()
        head = f"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
        with socket.create_connection(address, timeout=BATCH_TIMEOUT) as leaving:
            leaving.sendall(head.encode() + b"\r\n" + content)
            wait_for(1)
            assert client.post("/classify", content=image_file(), headers=PNG).status_code == 429
        wait_for(0)
        network.gate.set()
        assert client.post("/classify", content=image_file(), headers=PNG).status_code == 200


def test_images_that_are_being_searched_count(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a slow search would accumulate the images of a fast network."""
    app = make_app(max_queue_size=1, max_client_batch_size=1, max_batch_size=1)
    state: State = app.state.kindred
    entered, gate, embed = threading.Event(), threading.Event(), state.responses.embed

    def slowly(images: Sequence[Embeddings], layer: Layer) -> list[Fields]:
        entered.set()
        assert gate.wait(BATCH_TIMEOUT)
        return embed(images, layer)

    monkeypatch.setattr(state.responses, "embed", slowly)
    with running_app(app) as client, ThreadPoolExecutor(1) as other:
        first = other.submit(client.post, "/embed", content=image_file(), headers=PNG)
        assert entered.wait(BATCH_TIMEOUT)
        second = client.post("/embed", content=image_file(), headers=PNG)
        gate.set()
        assert first.result(BATCH_TIMEOUT).status_code == 200
        assert client.post("/embed", content=image_file(), headers=PNG).status_code == 200
    assert second.status_code == 429


def test_images_that_are_being_decoded_count(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding a large image may take a second, and its file may be small."""
    app = make_app(max_queue_size=1, max_client_batch_size=1, max_batch_size=1)
    entered, gate, decode = threading.Event(), threading.Event(), images.decode

    def slowly(image: Image.Image, side: int, fit: Fit) -> Pixels:
        entered.set()
        assert gate.wait(BATCH_TIMEOUT)
        return decode(image, side, fit)

    monkeypatch.setattr(images, "decode", slowly)
    large = png(np.zeros((400, 400, 3), np.uint8))
    with running_app(app) as client, ThreadPoolExecutor(1) as other:
        first = other.submit(client.post, "/classify", content=large, headers=PNG)
        assert entered.wait(BATCH_TIMEOUT)
        second = client.post("/classify", content=large, headers=PNG)
        gate.set()
        assert first.result(BATCH_TIMEOUT).status_code == 200
        assert client.post("/classify", content=large, headers=PNG).status_code == 200
    assert second.status_code == 429


def test_bodies_that_are_together_too_large_are_429(make_app: MakeApp) -> None:
    """Otherwise many slow requests at once would fill the memory."""
    app = make_app(max_body_bytes=10_000, max_in_flight_bytes=15_000, max_batch_size=1)
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n"
    with running_app(app) as client:
        address = (client.base_url.host, client.base_url.port or 80)
        with (
            socket.create_connection(address, timeout=BATCH_TIMEOUT) as one,
            socket.create_connection(address, timeout=BATCH_TIMEOUT) as other,
        ):
            one.sendall(head + b"x" * 8000)
            other.sendall(head + b"x" * 8000)
            # The one that is received second.
            (ready, *more), _, _ = select.select([one, other], [], [], BATCH_TIMEOUT)
            answer = ready.recv(10_000)
            assert not more
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"retry-after: 1" in answer
        assert b"15,000 bytes" in answer
        deadline = time.monotonic() + BATCH_TIMEOUT
        while 'reason="client-gone"} 1.0' not in client.get("/metrics").text:
            assert time.monotonic() < deadline
        for _ in range(3):  # a request that has ended does not count
            assert client.post("/classify", content=b"x" * 9000, headers=PNG).status_code == 415


def test_an_abandoned_search_counts_until_its_thread_ends(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread cannot be stopped: each deadline that passes would start another one."""
    app = make_app(max_queue_size=1, max_client_batch_size=1, max_batch_size=1, request_timeout=0.3)
    state: State = app.state.kindred
    gate, embed = threading.Event(), state.responses.embed

    def slowly(images: Sequence[Embeddings], layer: Layer) -> list[Fields]:
        assert gate.wait(BATCH_TIMEOUT)
        return embed(images, layer)

    monkeypatch.setattr(state.responses, "embed", slowly)
    with running_app(app) as client:
        late = client.post("/embed", content=image_file(), headers=PNG)
        busy = client.post("/embed", content=image_file(), headers=PNG)
        gate.set()
    assert (late.status_code, busy.status_code) == (504, 429)


def test_searches_without_an_upload_are_refused_too(full: httpx.Client) -> None:
    image_id = full.get("/gallery?limit=1").json()["items"][0]["id"]
    assert full.get(f"/gallery/{image_id}/similar").status_code == 429
    assert full.post("/gallery/duplicates").status_code == 429
