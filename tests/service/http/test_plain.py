"""Plain calls: the answer by a plan is, byte by byte, the answer by the route."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.state import State
from tests.service.conftest import MakeApp
from tests.support.fakes import file_of, image_file
from tests.support.images import striped_image

QUERIES = (
    "",
    "top_k=1",
    "top_k=0",
    "top_k=x",
    "limit=3",
    "limit=101",
    "layers=conv2",
    "layers=conv2,logits",
    "layers=nothing",
    "layer=logits",
    "layer=nothing",
    "explain=true",
    "offset=2&limit=2",
    "diversity=0.1",
    "exclude_self=true",
    "label=cat",
    "fit=pad",
    "fit=stretch&top_k=2",
    "unknown=1",
    "top_k=1&top_k=2",
)
FILES = (
    image_file(1),
    image_file(2),
    file_of(Image.fromarray(striped_image(1, 7)).resize((200, 90)), "JPEG"),
    file_of(Image.fromarray(striped_image(2, 8)).convert("RGBA")),
    b"",
    b"not an image",
    image_file(3)[:60],
)
TYPES = ("image/png", "image/jpeg; charset=x", "application/octet-stream", "", "text/plain")
PATHS = ("/classify", "/predict", "/similar")
CHANGING = re.compile(r"server-timing|date", re.IGNORECASE)


@pytest.fixture(scope="module")
def client(make_app: MakeApp) -> Iterator[TestClient]:
    with TestClient(make_app(max_batch_size=1)) as client:
        yield client


def state_of(client: TestClient) -> State:
    state: State = client.app.state.kindred  # type: ignore[attr-defined]
    return state


def shown(response: Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return what a client sees: status, headers and body, without times."""
    headers = [
        (name, value) for name, value in response.headers.raw if not CHANGING.match(name.decode())
    ]
    return response.status_code, headers, response.content


@contextmanager
def without_plans(client: TestClient) -> Iterator[None]:
    """Forget all plans before and after the block."""
    plans = state_of(client).plans
    plans.clear()
    yield
    plans.clear()


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    path=st.sampled_from(PATHS),
    query=st.sampled_from(QUERIES),
    file=st.sampled_from(FILES),
    media_type=st.sampled_from(TYPES),
    encoding=st.sampled_from(["gzip", "identity", "gzip;q=0", ""]),
)
def test_a_plan_answers_as_its_route(
    client: TestClient, path: str, query: str, file: bytes, media_type: str, encoding: str
) -> None:
    url = f"{path}?{query}"
    headers = {"Content-Type": media_type, "Accept-Encoding": encoding, "X-Request-ID": "same"}
    with without_plans(client):
        by_route = client.post(url, content=file, headers=headers)
    client.post(url, content=image_file(), headers={"Content-Type": "image/png"})
    by_plan = client.post(url, content=file, headers=headers)
    assert shown(by_plan) == shown(by_route)


@pytest.mark.parametrize("path", PATHS)
def test_a_plain_call_is_answered_by_a_plan_from_the_second_time_on(
    client: TestClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    png = {"Content-Type": "image/png"}
    with without_plans(client):
        assert client.post(path, content=image_file(), headers=png).status_code == 200
        assert list(state_of(client).plans) == [(path, b"")]
        monkeypatch.delattr("fastapi.routing.APIRoute.handle")
        assert client.post(path, content=image_file(), headers=png).status_code == 200


def test_forms_json_and_queries_that_are_not_plain_are_not_remembered(client: TestClient) -> None:
    with without_plans(client):
        client.post("/classify", files=[("file", image_file())])
        client.post("/similar?exclude_self=true", content=image_file())
        client.post("/predict?explain=true", content=image_file())
        client.post("/classify?top_k=0", content=image_file())
        assert not state_of(client).plans


def test_a_bounded_number_of_queries_is_remembered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.inference.MAX_PLANS", 2)
    with without_plans(client):
        for top_k in range(1, 5):
            client.post(f"/classify?top_k={top_k}", content=image_file())
        assert len(state_of(client).plans) == 2


def test_plans_are_counted_and_logged_under_their_route(client: TestClient) -> None:
    line = 'kindred_requests_total{route="/classify",status="200"}'
    before = client.get("/metrics").text
    for _ in range(2):
        client.post("/classify", content=image_file(), headers={"Content-Type": "image/png"})
    after = client.get("/metrics").text

    def count(text: str) -> float:
        found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    assert count(after) == count(before) + 2
