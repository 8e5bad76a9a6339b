"""Every status of the design's table, over a real socket, and what it comes with."""

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
from service.settings import Settings
from service.state import State
from tests.service.conftest import MakeApp
from tests.support.factories import linked_copy
from tests.support.fakes import BATCH_TIMEOUT, ScriptedNetwork, flat, picture, png, use_network
from tests.support.processes import listening
from training.bundle import Bundle

PNG = {"Content-Type": "image/png"}
READER, ADMIN = {"X-API-Key": "reader"}, {"X-API-Key": "admin"}
MAX_BYTES = 20_000

Request = tuple[str, str, dict[str, str], bytes]
REQUESTED: dict[int, Request] = {
    200: ("POST", "/classify", READER | PNG, picture()),
    201: ("POST", "/gallery", ADMIN | PNG, picture()),
    400: ("POST", "/classify", READER | PNG, b""),
    401: ("GET", "/model", {}, b""),
    403: ("POST", "/admin/reload", READER, b""),
    404: ("GET", "/gallery/unknown", READER, b""),
    405: ("DELETE", "/model", READER, b""),
    409: ("POST", "/admin/reload", ADMIN, b""),
    413: ("POST", "/classify", READER | PNG, b"x" * (MAX_BYTES + 1)),
    415: ("POST", "/classify", READER | PNG, b"no picture"),
    422: ("GET", "/gallery?limit=0", READER, b""),
}
"""What gets each status that a client can bring about by itself."""
PROVOKED = {429, 500, 503, 504}
"""Those that need a fault or a crowd: tested one by one below."""
TESTED_ELSEWHERE = {204, 304, 421, 507}
"""Those that are tested with the gallery and with the keys."""


@pytest.fixture(scope="module")
def http(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with keys and a narrow limit, from under which the bundle has been taken away."""
    bundle = linked_copy(bundle_path, tmp_path_factory.mktemp("statuses") / "bundle")
    app = create_app(
        Settings(
            bundle=bundle,
            api_keys=("reader",),
            admin_keys=("admin",),
            max_body_bytes=MAX_BYTES,
            max_batch_size=1,
        )
    )
    shutil.rmtree(bundle)
    with listening(app) as client:
        yield client


@pytest.fixture
def obedient(make_app: MakeApp, network: ScriptedNetwork) -> Iterator[tuple[httpx.Client, State]]:
    """A service whose queue holds two images and whose network does as it is told."""
    app = make_app(request_timeout=0.5)
    state = use_network(app, network, max_queue=2)
    with listening(app) as client:
        network.forget()
        yield client, state
        network.gate.set()


def occupy(state: State, network: ScriptedNetwork, waiting: int) -> None:
    """Shut the gate with one image inside and others before it."""
    network.gate.clear()
    state.engine.submit([flat(0)], time.monotonic() + BATCH_TIMEOUT)
    assert network.entered.wait(BATCH_TIMEOUT)
    state.engine.submit([flat(0)] * waiting, time.monotonic() + BATCH_TIMEOUT)


def connected(client: httpx.Client) -> socket.socket:
    """A bare connection to where a client asks."""
    address = (client.base_url.host, client.base_url.port or 80)
    return socket.create_connection(address, timeout=BATCH_TIMEOUT)


def wait_until(depth: int, state: State) -> None:
    """Wait until so many images wait."""
    deadline = time.monotonic() + BATCH_TIMEOUT
    while state.engine.depth != depth:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("status", "asked"), REQUESTED.items(), ids=lambda value: value if type(value) is int else ""
)
def test_what_a_client_does_wrong_has_its_status_and_is_explained(
    http: httpx.Client, status: int, asked: Request
) -> None:
    method, path, headers, content = asked
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


def test_no_status_is_documented_that_has_no_test(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"].values()
    operations = [operation for path in paths for operation in path.values()]
    documented = {int(status) for operation in operations for status in operation["responses"]}
    assert documented <= REQUESTED.keys() | PROVOKED | TESTED_ELSEWHERE


def test_a_key_that_is_missing_is_asked_for(http: httpx.Client) -> None:
    assert http.get("/model").headers["WWW-Authenticate"] == "Bearer"


def test_a_method_that_is_not_taken_is_405_and_says_which_is(http: httpx.Client) -> None:
    response = http.put("/predict", headers=READER)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_a_parameter_that_is_wrong_is_named(http: httpx.Client) -> None:
    (wrong,) = http.get("/gallery?limit=0", headers=READER).json()["errors"]
    assert wrong["location"] == "query.limit"


def test_a_full_queue_is_429_with_retry_after_and_lives_and_is_ready(
    obedient: tuple[httpx.Client, State], network: ScriptedNetwork
) -> None:
    client, state = obedient
    occupy(state, network, waiting=2)
    response = client.post("/classify", content=picture(), headers=PNG)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_a_batch_is_admitted_as_a_whole_or_not_at_all(
    obedient: tuple[httpx.Client, State], network: ScriptedNetwork
) -> None:
    client, state = obedient
    occupy(state, network, waiting=0)
    files = [("file", (str(seed), picture(seed))) for seed in range(3)]
    response = client.post("/classify", files=files)
    assert response.status_code == 429
    assert state.engine.depth == 0


def test_an_answer_that_does_not_come_in_time_is_504_and_is_not_worked_out(
    obedient: tuple[httpx.Client, State], network: ScriptedNetwork
) -> None:
    client, state = obedient
    occupy(state, network, waiting=0)
    response = client.post("/classify", content=png(flat(66)), headers=PNG)
    assert response.status_code == 504
    assert response.headers["X-Request-ID"]
    network.gate.set()
    asyncio.run(state.engine.embed([flat(1)], time.monotonic() + BATCH_TIMEOUT))
    assert 66 not in network.seen


def test_a_body_that_does_not_come_in_time_is_504(
    obedient: tuple[httpx.Client, State],
) -> None:
    client, _ = obedient
    with connected(client) as slow:
        slow.sendall(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nGIF")
        assert b" 504 " in slow.recv(1000).splitlines()[0]


def test_a_worker_that_dies_in_mid_batch_fails_all_who_wait_at_once_and_is_soon_back(
    make_app: MakeApp, loaded: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a network as large as the one served; while it warms up again, it is held."""
    network = ScriptedNetwork(loaded.network.architecture)

    def die_once(_: object) -> BaseException:
        network.gate.clear()
        network.failure = lambda _: None
        return SystemExit("shot")

    app = make_app()
    state = use_network(app, network)
    with listening(app) as client, ThreadPoolExecutor(8) as clients:
        occupy(state, network, waiting=0)
        network.failure = die_once
        asked = [
            clients.submit(client.post, "/classify", content=picture(seed), headers=PNG)
            for seed in range(8)
        ]
        wait_until(8, state)
        died = time.perf_counter()
        network.gate.set()
        answers = [one.result(BATCH_TIMEOUT) for one in asked]
        told = time.perf_counter() - died
        red = client.get("/readyz")
        alive = client.get("/livez")
        network.gate.set()
        deadline = time.monotonic() + BATCH_TIMEOUT
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        back = time.perf_counter() - died
        again = client.post("/classify", content=picture(), headers=PNG)
    assert [answer.status_code for answer in answers] == [503] * 8
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in (*answers, red))
    assert red.status_code == 503
    assert "shot" in red.json()["detail"]
    assert alive.status_code == 200
    assert again.status_code == 200
    with capsys.disabled():
        print(
            f"\nthe worker died in mid-batch: {len(answers)} who waited were told within "
            f"{1000 * told:.0f} ms, ready again after {back:.2f} s"
        )


def test_an_image_that_the_network_fails_on_is_500_for_it_alone(
    obedient: tuple[httpx.Client, State], network: ScriptedNetwork
) -> None:
    client, _ = obedient

    network.failure = lambda images: (
        ValueError("no white") if bool((images == 255).all((1, 2, 3)).any()) else None
    )
    white = ("file", ("white.png", png(flat(255))))
    both = [("file", ("cat.png", picture())), white]
    results = client.post("/classify", files=both).json()["results"]
    assert "predictions" in results[0]
    assert results[1]["error"]["status"] == 500
    assert client.post("/classify", files=[white]).status_code == 500
    assert client.get("/readyz").status_code == 200


def test_a_draining_service_is_not_ready_and_lives(
    obedient: tuple[httpx.Client, State],
) -> None:
    client, state = obedient
    state.lifecycle.draining = True
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "draining" in ready.json()["detail"]
    assert client.get("/livez").status_code == 200


def test_an_unexpected_error_is_500_that_gives_nothing_away(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(max_batch_size=1)
    with listening(app) as client:
        monkeypatch.setattr(app.state.kindred, "gallery", None)
        response = client.get("/gallery")
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"]
    assert "NoneType" not in response.text


def test_a_client_that_hangs_up_costs_no_work(
    obedient: tuple[httpx.Client, State], network: ScriptedNetwork
) -> None:
    client, state = obedient
    occupy(state, network, waiting=0)
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
