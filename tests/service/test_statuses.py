"""When the service cannot answer: every status of the design's table, and what it comes with."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Message, Scope

from service.state import State
from tests.service.conftest import MakeApp
from tests.service.samples import PATIENCE, Obedient, flat, obey, picture, png

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def obedient(make_app: MakeApp, network: Obedient) -> Iterator[tuple[TestClient, State]]:
    """A client of an app whose queue holds two images and whose network does as it is told."""
    app = make_app(deadline=0.5)
    state = obey(app, network, max_queue=2)
    with TestClient(app) as client:
        network.forget()
        yield client, state
        network.gate.set()


def occupy(state: State, network: Obedient, waiting: int) -> None:
    """Shut the gate with one image inside and others before it."""
    network.gate.clear()
    state.engine.submit([flat(0)], time.monotonic() + PATIENCE)
    assert network.entered.wait(PATIENCE)
    state.engine.submit([flat(0)] * waiting, time.monotonic() + PATIENCE)


def test_every_error_is_problem_json_with_its_detail_twice(client: TestClient) -> None:
    for response in (
        client.get("/nowhere"),
        client.get("/gallery/unknown"),
        client.get("/gallery?limit=0"),
        client.delete("/model"),
        client.post("/classify", content=b"", headers=PNG),
    ):
        assert response.headers["Content-Type"] == "application/problem+json"
        problem = response.json()
        assert problem["status"] == response.status_code
        assert problem["error"] == problem["detail"]
        assert problem["type"]
        assert problem["title"]
        assert problem["instance"] == response.request.url.path


def test_a_method_that_is_not_taken_is_405_and_says_which_is(client: TestClient) -> None:
    response = client.put("/predict")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_a_full_queue_is_429_with_retry_after_and_lives_and_is_ready(
    obedient: tuple[TestClient, State], network: Obedient
) -> None:
    client, state = obedient
    occupy(state, network, waiting=2)
    response = client.post("/classify", content=picture(), headers=PNG)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_a_batch_is_admitted_as_a_whole_or_not_at_all(
    obedient: tuple[TestClient, State], network: Obedient
) -> None:
    client, state = obedient
    occupy(state, network, waiting=0)
    response = client.post("/classify", files=[("file", picture(seed)) for seed in range(3)])
    assert response.status_code == 429
    assert state.engine.depth == 0


def test_an_answer_that_does_not_come_in_time_is_504_and_is_not_worked_out(
    obedient: tuple[TestClient, State], network: Obedient
) -> None:
    client, state = obedient
    occupy(state, network, waiting=0)
    response = client.post("/classify", content=png(flat(66)), headers=PNG)
    assert response.status_code == 504
    assert response.headers["X-Request-ID"]
    network.gate.set()
    asyncio.run(state.engine.represent([flat(1)], time.monotonic() + PATIENCE))
    assert 66 not in network.seen


def test_a_dead_worker_is_503_with_retry_after_and_comes_back(
    obedient: tuple[TestClient, State], network: Obedient
) -> None:
    client, _ = obedient
    network.failure = lambda _: SystemExit("shot")
    response = client.post("/classify", content=picture(), headers=PNG)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    red = client.get("/readyz")
    assert red.status_code == 503
    assert int(red.headers["Retry-After"]) >= 1
    assert "shot" in red.json()["detail"]
    assert client.get("/livez").status_code == 200
    network.failure = lambda _: None
    deadline = time.monotonic() + PATIENCE
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert client.post("/classify", content=picture(), headers=PNG).status_code == 200


def test_an_image_that_the_network_fails_on_is_500_for_it_alone(
    obedient: tuple[TestClient, State], network: Obedient
) -> None:
    client, _ = obedient

    network.failure = lambda images: (
        ValueError("no white") if bool((images == 255).all((1, 2, 3)).any()) else None
    )
    white = ("file", png(flat(255)))
    results = client.post("/classify", files=[("file", picture()), white]).json()["results"]
    assert "predictions" in results[0]
    assert results[1]["error"]["status"] == 500
    assert client.post("/classify", files=[white]).status_code == 500
    assert client.get("/readyz").status_code == 200


def test_a_draining_service_is_not_ready_and_lives(
    obedient: tuple[TestClient, State],
) -> None:
    client, state = obedient
    state.life.draining = True
    assert "draining" in client.get("/readyz").json()["detail"]
    assert client.get("/livez").status_code == 200


def test_an_unexpected_error_is_500_that_gives_nothing_away(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    with TestClient(app, raise_server_exceptions=False) as client:
        monkeypatch.setattr(app.state.kindred, "gallery", None)
        response = client.get("/gallery")
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"]
    assert "NoneType" not in response.text


def test_a_client_that_hangs_up_costs_no_work(make_app: MakeApp, network: Obedient) -> None:
    app = make_app()
    state = obey(app, network)
    state.engine.start()
    try:
        occupy(state, network, waiting=0)
        asyncio.run(post_and_hang_up(app, png(flat(66))))
        network.gate.set()
        asyncio.run(state.engine.represent([flat(1)], time.monotonic() + PATIENCE))
        assert 66 not in network.seen
        assert b'reason="client-gone"} 1.0' in state.metrics.exposition()
    finally:
        state.engine.stop()


async def post_and_hang_up(app: FastAPI, body: bytes) -> None:
    """Send a whole request and go before the answer."""
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    )

    async def receive() -> Message:
        return next(messages)

    async def send(_: Message) -> None:
        pass

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/classify",
        "raw_path": b"/classify",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"content-type", b"image/png")],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    await app(scope, receive, send)
