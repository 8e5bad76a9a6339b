"""Every documented status, over a socket, with its headers and problem."""

import asyncio
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.engine.types import Priority
from service.settings import Settings
from service.state import State
from tests.service.conftest import MakeApp
from tests.support.factories import linked_copy
from tests.support.fakes import (
    BATCH_TIMEOUT,
    ScriptedNetwork,
    flat,
    image_file,
    png,
    submit,
    use_network,
)
from tests.support.processes import running_app
from training.bundle import Bundle
from training.models.architecture import Architecture

PNG = {"Content-Type": "image/png"}
READER, ADMIN = {"X-API-Key": "reader"}, {"X-API-Key": "admin"}
MAX_BYTES = 20_000

Request = tuple[str, str, dict[str, str], bytes]
REQUESTED: dict[int, Request] = {
    200: ("POST", "/classify", READER | PNG, image_file()),
    201: ("POST", "/gallery", ADMIN | PNG, image_file()),
    400: ("POST", "/classify", READER | PNG, b""),
    401: ("GET", "/model", {}, b""),
    403: ("POST", "/admin/reload", READER, b""),
    404: ("GET", "/gallery/unknown", READER, b""),
    405: ("DELETE", "/model", READER, b""),
    409: ("POST", "/admin/reload", ADMIN, b""),
    413: ("POST", "/classify", READER | PNG, b"x" * (MAX_BYTES + 1)),
    415: ("POST", "/classify", READER | PNG, b"no image"),
    422: ("GET", "/gallery?limit=0", READER, b""),
}
"""Requests that get each status that depends on the request alone."""
PROVOKED = {429, 500, 503, 504}
"""Statuses that need a fault or load, tested one by one below."""
TESTED_ELSEWHERE = {204, 304, 421, 507}
"""Statuses tested with the gallery and the API keys."""


@pytest.fixture(scope="module")
def http(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with keys and a low body limit, whose bundle was deleted after loading."""
    folder = tmp_path_factory.mktemp("statuses")
    bundle = linked_copy(bundle_path, folder / "bundle")
    app = create_app(
        Settings(
            bundle=bundle,
            gallery=str(folder / "gallery"),
            api_keys=("reader",),
            admin_keys=("admin",),
            max_body_bytes=MAX_BYTES,
            max_batch_size=1,
        )
    )
    shutil.rmtree(bundle)
    with running_app(app) as client:
        yield client


@pytest.fixture
def scripted(make_app: MakeApp, network: ScriptedNetwork) -> Iterator[tuple[httpx.Client, State]]:
    """A service with a scripted network and a queue of two images."""
    app = make_app(request_timeout=0.5)
    state = use_network(app, network, max_queue_size=2)
    with running_app(app) as client:
        network.forget()
        yield client, state
        network.gate.set()


def occupy(state: State, network: ScriptedNetwork) -> None:
    """Block the network in a batch of one image."""
    network.gate.clear()
    network.forget()  # else it waits for what warming up has entered
    submit(state.engine, [flat(0)], time.monotonic() + BATCH_TIMEOUT)
    assert network.entered.wait(BATCH_TIMEOUT)


def connected(client: httpx.Client) -> socket.socket:
    """Open a socket to the server of a client."""
    address = (client.base_url.host, client.base_url.port or 80)
    return socket.create_connection(address, timeout=BATCH_TIMEOUT)


def wait_until(depth: int, state: State) -> None:
    """Wait until the queue has `depth` images."""
    deadline = time.monotonic() + BATCH_TIMEOUT
    while state.engine.depth != depth:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("status", "request_"), REQUESTED.items(), ids=lambda value: value if type(value) is int else ""
)
def test_a_client_error_has_its_status_and_a_problem(
    http: httpx.Client, status: int, request_: Request
) -> None:
    method, path, headers, content = request_
    answer = http.request(method, path, headers=headers, content=content)
    assert answer.status_code == status
    assert answer.headers["X-Request-ID"]
    if status < 300:
        return
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["error"] == problem["detail"]
    assert problem["type"]
    assert problem["title"]
    assert problem["instance"] == path.partition("?")[0]


def test_every_documented_status_is_tested(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"].values()
    operations = [operation for path in paths for operation in path.values()]
    documented = {int(status) for operation in operations for status in operation["responses"]}
    assert documented <= REQUESTED.keys() | PROVOKED | TESTED_ELSEWHERE


def test_a_missing_key_is_requested_by_www_authenticate(http: httpx.Client) -> None:
    assert http.get("/model").headers["WWW-Authenticate"] == "Bearer"


def test_a_wrong_method_is_405_with_allow(http: httpx.Client) -> None:
    response = http.put("/predict", headers=READER)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_an_invalid_parameter_is_named(http: httpx.Client) -> None:
    (wrong,) = http.get("/gallery?limit=0", headers=READER).json()["errors"]
    assert wrong["location"] == "query.limit"


def test_a_full_queue_is_429_with_retry_after_and_the_service_stays_ready(
    scripted: tuple[httpx.Client, State],
) -> None:
    client, state = scripted
    with state.admission.permit(Priority.INTERACTIVE, 2):
        response = client.post("/classify", content=image_file(), headers=PNG)
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) >= 1
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 200


def test_a_batch_is_admitted_as_a_whole_or_not_at_all(
    scripted: tuple[httpx.Client, State], network: ScriptedNetwork
) -> None:
    client, state = scripted
    occupy(state, network)
    files = [("file", (str(seed), image_file(seed))) for seed in range(3)]
    response = client.post("/classify", files=files)
    assert response.status_code == 429
    assert state.engine.depth == 0


def test_a_request_past_its_deadline_is_504_and_is_not_computed(
    scripted: tuple[httpx.Client, State], network: ScriptedNetwork
) -> None:
    client, state = scripted
    occupy(state, network)
    response = client.post("/classify", content=png(flat(66)), headers=PNG)
    assert response.status_code == 504
    assert response.headers["X-Request-ID"]
    network.gate.set()
    asyncio.run(state.engine.embed([flat(1)], time.monotonic() + BATCH_TIMEOUT))
    assert 66 not in network.seen


def test_a_body_that_arrives_too_late_is_504(
    scripted: tuple[httpx.Client, State],
) -> None:
    client, _ = scripted
    with connected(client) as slow:
        slow.sendall(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nGIF")
        assert b" 504 " in slow.recv(1000).splitlines()[0]


def test_a_worker_that_dies_fails_all_waiting_requests_at_once_and_restarts(
    make_app: MakeApp, loaded: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uses a network as large as the one served; it is blocked while it warms up again."""
    architecture = loaded.architecture
    assert isinstance(architecture, Architecture)
    network = ScriptedNetwork(architecture)

    def die_once(_: object) -> BaseException:
        network.gate.clear()
        network.failure = lambda _: None
        return SystemExit("shot")

    app = make_app()
    state = use_network(app, network)
    with running_app(app) as client, ThreadPoolExecutor(8) as clients:
        occupy(state, network)
        network.failure = die_once
        pending = [
            clients.submit(client.post, "/classify", content=image_file(seed), headers=PNG)
            for seed in range(8)
        ]
        wait_until(8, state)
        died = time.perf_counter()
        network.gate.set()
        answers = [one.result(BATCH_TIMEOUT) for one in pending]
        failed = time.perf_counter() - died
        not_ready = client.get("/readyz")
        alive = client.get("/livez")
        network.gate.set()
        deadline = time.monotonic() + BATCH_TIMEOUT
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        back = time.perf_counter() - died
        again = client.post("/classify", content=image_file(), headers=PNG)
    assert [answer.status_code for answer in answers] == [503] * 8
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in (*answers, not_ready))
    assert not_ready.status_code == 503
    assert "shot" in not_ready.json()["detail"]
    assert alive.status_code == 200
    assert again.status_code == 200
    with capsys.disabled():
        print(
            f"\nthe worker died: {len(answers)} waiting requests failed within "
            f"{1000 * failed:.0f} ms, ready again after {back:.2f} s"
        )


def test_an_image_whose_inference_fails_is_500_for_it_alone(
    scripted: tuple[httpx.Client, State], network: ScriptedNetwork
) -> None:
    client, _ = scripted

    network.failure = lambda images: (
        ValueError("no white") if bool((images == 255).all((1, 2, 3)).any()) else None
    )
    white = ("file", ("white.png", png(flat(255))))
    both = [("file", ("cat.png", image_file())), white]
    results = client.post("/classify", files=both).json()["results"]
    assert "predictions" in results[0]
    assert results[1]["error"]["status"] == 500
    assert client.post("/classify", files=[white]).status_code == 500
    assert client.get("/readyz").status_code == 200


def test_a_draining_service_is_alive_but_not_ready(
    scripted: tuple[httpx.Client, State],
) -> None:
    client, state = scripted
    state.lifecycle.draining = True
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "draining" in ready.json()["detail"]
    assert client.get("/livez").status_code == 200


def test_an_unexpected_error_is_500_without_internal_details(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(max_batch_size=1)
    with running_app(app) as client:
        monkeypatch.setattr(app.state.kindred, "gallery", None)
        response = client.get("/gallery")
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"]
    assert "NoneType" not in response.text


def test_images_of_a_disconnected_client_are_not_run(
    scripted: tuple[httpx.Client, State], network: ScriptedNetwork
) -> None:
    client, state = scripted
    occupy(state, network)
    content = png(flat(66))
    head = f"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    with connected(client) as hasty:
        hasty.sendall(head.encode() + content)
        wait_until(1, state)
    deadline = time.monotonic() + BATCH_TIMEOUT
    while 'reason="client-gone"} 1.0' not in client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    network.gate.set()
    asyncio.run(state.engine.embed([flat(1)], time.monotonic() + BATCH_TIMEOUT))
    assert 66 not in network.seen
