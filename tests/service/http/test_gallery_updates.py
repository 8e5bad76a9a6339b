"""Updates of the gallery over HTTP, and searches that see them."""

import base64
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.engine.types import Priority
from service.gallery.local.snapshot import Snapshot
from service.retrieval import similarity
from service.state import State
from tests.service.conftest import MakeApp
from tests.support.fakes import BATCH_TIMEOUT, image_file
from tests.support.images import striped_image
from training.bundle import Bundle, Layer, Vectors

if sys.platform != "win32":
    import resource

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def client(make_app: MakeApp) -> Iterator[TestClient]:
    """A client of a service with a gallery of its own."""
    with TestClient(make_app(max_batch_size=4)) as running:
        yield running


def add(client: TestClient, seed: int = 0, query: str = "", **headers: str) -> Any:
    response = client.post(f"/gallery?{query}", content=image_file(seed), headers=PNG | headers)
    assert response.status_code in (200, 201), response.text
    return response.json()


def first(client: TestClient, seed: int, query: str = "") -> Any:
    """Return the nearest neighbour of an image."""
    response = client.post(f"/similar?limit=1&{query}", content=image_file(seed), headers=PNG)
    return response.json()["similar"][0]


def test_an_added_image_is_its_own_nearest_neighbour_at_every_layer(client: TestClient) -> None:
    item = add(client, 1, "id=mine&label=cat&attribute.colour=red")
    assert (item["id"], item["label"], item["label_predicted"]) == ("mine", "cat", False)
    assert (item["attributes"], item["source"]) == ({"colour": "red"}, "added")
    for layer in ("conv2", "logits"):
        for exact in ("true", "false"):
            found = first(client, 1, f"layer={layer}&exact={exact}&source=added")
            assert (found["id"], found["label"]) == ("mine", "cat")
            assert found["score"] == pytest.approx(1, abs=1e-3)
    assert first(client, 1)["attributes"] == {"colour": "red"}
    shown = np.asarray(Image.open(BytesIO(client.get(item["image"]).content)))
    assert (shown == striped_image(3, 10_001)).all()


def several(count: int) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(image_file(seed)).decode() for seed in range(count)]}


@pytest.fixture
def batches(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches from now on."""
    found: list[int] = []
    monkeypatch.setattr(served(client).engine, "_on_batch", found.append)
    return found


def served(client: TestClient) -> State:
    state: State = client.app.state.kindred  # type: ignore[attr-defined]  # it is a FastAPI
    return state


def test_images_are_added_in_large_batches_if_there_are_no_searches(
    client: TestClient, batches: list[int]
) -> None:
    assert client.post("/gallery", json=several(8)).status_code == 201
    assert batches == [4, 4]  # the fixture's largest batch


def test_images_are_added_one_at_a_time_if_there_was_a_search_a_moment_ago(
    client: TestClient, batches: list[int]
) -> None:
    served(client).admission.recent_seconds = BATCH_TIMEOUT
    first(client, 1)
    batches.clear()
    assert client.post("/gallery", json=several(3)).status_code == 201
    assert batches == [1, 1, 1]


def test_images_are_added_though_interactive_requests_never_pause(
    client: TestClient, batches: list[int]
) -> None:
    admission = served(client).admission
    with admission.permit(Priority.INTERACTIVE), ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post("/gallery", json=several(6)), range(4)))
    for answer in answers:
        assert answer.status_code == 201
        assert [one["outcome"] for one in answer.json()["results"]] == ["created"] * 6
    assert max(batches) == 4
    assert sum(batches) == 24
    assert [admission.in_flight(priority) for priority in Priority] == [0, 0]


def test_additions_that_would_be_too_late_are_refused_at_once_and_the_next_is_in_time(
    client: TestClient,
) -> None:
    state = served(client)
    state.admission.idle_timeout = BATCH_TIMEOUT
    state.engine._queue._background_seconds = state.settings.request_timeout
    with ThreadPoolExecutor(1) as pool:
        with state.admission.permit(Priority.INTERACTIVE):
            first_in_queue = pool.submit(client.post, "/gallery", json=several(1))
            while state.engine.depth == 0:
                time.sleep(0.01)
            refused = client.post("/gallery", json=several(2))
        assert first_in_queue.result(BATCH_TIMEOUT).status_code == 201
    assert refused.status_code == 429
    assert refused.headers["Retry-After"]
    assert client.post("/gallery", json=several(2)).status_code == 201  # the queue is empty
    assert state.engine._queue._background_seconds < state.settings.request_timeout


def test_additions_beyond_the_capacity_are_429_and_searches_go_on(
    client: TestClient,
) -> None:
    state = served(client)
    with state.admission.permit(Priority.BACKGROUND, state.settings.max_queue_size - 2):
        assert client.post("/gallery", json=several(3)).status_code == 429
        assert client.post("/similar", content=image_file(), headers=PNG).status_code == 200
        assert client.post("/gallery", json=several(2)).status_code == 201


def test_a_new_image_is_201_with_its_location(client: TestClient) -> None:
    response = client.post("/gallery", content=image_file(), headers=PNG)
    assert response.status_code == 201
    assert client.get(response.headers["Location"]).json()["id"] == response.json()["id"]


def test_an_image_without_a_label_gets_the_predicted_one(client: TestClient) -> None:
    item = add(client)
    best = client.post("/classify", content=image_file(), headers=PNG).json()["predictions"][0]
    assert item["label"] == item["predicted"] == best["label"]
    assert item["label_predicted"] is True


def test_the_same_id_and_image_again_is_200_and_changes_nothing(client: TestClient) -> None:
    before = add(client, 1, "id=mine")
    response = client.post("/gallery?id=mine", content=image_file(1), headers=PNG)
    assert response.status_code == 200
    assert response.json() == before | {"outcome": "unchanged"}
    assert client.get("/model").json()["gallery"]["added"] == 1


def test_the_same_id_with_another_image_is_409(client: TestClient) -> None:
    add(client, 1, "id=mine")
    response = client.post("/gallery?id=mine", content=image_file(2), headers=PNG)
    assert response.status_code == 409
    assert "PUT" in response.json()["detail"]


def test_a_request_with_an_idempotency_key_is_applied_once(
    client: TestClient,
) -> None:
    body = {"images": [base64.b64encode(image_file(seed)).decode() for seed in range(3)]}

    def send(_: int) -> Any:
        headers = {"Idempotency-Key": "parcel 7"}
        return client.post("/gallery", json=body, headers=headers).json()["results"]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(send, range(4)))
    ids = [[one["id"] for one in answer] for answer in answers]
    assert ids == [ids[0]] * 4
    assert len(set(ids[0])) == 3
    assert client.get("/model").json()["gallery"]["added"] == 3


def test_each_of_several_images_has_its_own_metadata_or_error(client: TestClient) -> None:
    files = [base64.b64encode(image_file(seed)).decode() for seed in range(3)]
    labelled = [
        {"image": files[0], "id": "one", "label": "cat", "attributes": {"n": 1, "new": True}},
        files[1],
        {"image": base64.b64encode(b"no image").decode(), "id": "two"},
        {"image": files[2], "id": "one"},
    ]
    response = client.post("/gallery?label=dog&attribute.of=all", json={"images": labelled})
    assert response.status_code == 201
    one, two, broken, taken = response.json()["results"]
    assert (one["label"], one["attributes"]) == ("cat", {"of": "all", "n": 1, "new": True})
    assert (two["label"], two["attributes"]) == ("dog", {"of": "all"})
    assert broken["error"]["status"] == 415
    assert taken["error"]["status"] == 409


def test_images_can_be_added_by_a_form(client: TestClient) -> None:
    files = [("file", (str(seed), image_file(seed))) for seed in range(2)]
    results = client.post("/gallery?label=cat", files=files).json()["results"]
    assert [one["label"] for one in results] == ["cat", "cat"]
    response = client.post("/gallery?id=mine", files=files)
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/gallery?id=no/slash", 422),
        ("/gallery?label=", 422),
        ("/gallery?attribute.no%20space=1", 400),
        (f"/gallery?attribute.long={'x' * 300}", 400),
    ],
)
def test_metadata_is_limited(client: TestClient, path: str, status: int) -> None:
    response = client.post(path, content=image_file(), headers=PNG)
    assert response.status_code == status
    assert client.get("/model").json()["gallery"]["added"] == 0


def test_attributes_in_json_are_flat_and_few(client: TestClient) -> None:
    image = base64.b64encode(image_file()).decode()
    for attributes in ({"deep": {"er": 1}}, {"none": None}, {str(n): n for n in range(33)}):
        response = client.post("/gallery", json={"image": image, "attributes": attributes})
        assert response.status_code == 400


def test_attributes_in_json_and_in_the_query_are_limited_together(client: TestClient) -> None:
    image = base64.b64encode(image_file()).decode()
    query = "&".join(f"attribute.a{n}=x" for n in range(20))
    attributes = {f"b{n}": n for n in range(20)}
    response = client.post(f"/gallery?{query}", json={"image": image, "attributes": attributes})
    assert response.status_code == 400
    assert "at most 32" in response.json()["detail"]


def test_metadata_next_to_several_images_is_refused(client: TestClient) -> None:
    response = client.post("/gallery", json={**several(2), "label": "cat"})
    assert response.status_code == 400
    assert "each image its own" in response.json()["detail"]


def test_put_replaces_an_image_of_the_bundle_or_an_added_one(
    client: TestClient, loaded: Bundle
) -> None:
    add(client, 1, "id=mine")
    for image_id in ("mine", loaded.gallery.ids[0]):
        response = client.put(f"/gallery/{image_id}?label=x", content=image_file(5), headers=PNG)
        assert (response.status_code, response.json()["outcome"]) == (200, "replaced")
        assert first(client, 5, "label=x")["id"] == image_id
        client.delete(f"/gallery/{image_id}")
    response = client.put("/gallery/new", content=image_file(6), headers=PNG)
    assert (response.status_code, response.json()["outcome"]) == (201, "created")


def test_patch_changes_label_and_attributes(client: TestClient, loaded: Bundle) -> None:
    add(client, 1, "id=mine&label=cat&attribute.a=1")
    for image_id in ("mine", loaded.gallery.ids[0]):
        edit = {"label": "dog", "attributes": {"b": 2}}
        client.patch(f"/gallery/{image_id}", json=edit)
        patched = client.patch(f"/gallery/{image_id}", json={"attributes": {"a": None}}).json()
        assert (patched["label"], patched["attributes"]) == ("dog", {"b": 2})
        assert client.get(f"/gallery/{image_id}").json() == patched
        back = client.patch(f"/gallery/{image_id}", json={"label": None}).json()
        assert (back["label"], back["label_predicted"]) == (back["predicted"], True)
    assert client.patch("/gallery/mine", json={"colour": 1}).status_code == 400
    assert client.patch("/gallery/unknown", json={}).status_code == 404


def test_a_deleted_image_is_gone_from_all_routes(client: TestClient, loaded: Bundle) -> None:
    add(client, 1, "id=mine")
    for image_id in ("mine", loaded.gallery.ids[0]):
        assert client.delete(f"/gallery/{image_id}").status_code == 204
        for path in ("", "/image", "/similar"):
            assert client.get(f"/gallery/{image_id}{path}").status_code == 404
        assert client.delete(f"/gallery/{image_id}").status_code == 404
    assert first(client, 1)["id"] != "mine"


def test_filters_are_the_same_on_all_routes(client: TestClient) -> None:
    for seed in range(6):
        add(client, seed, f"id=mine-{seed}&label={'cat' if seed % 2 else 'dog'}&attribute.n={seed}")
    for query, expected in (
        ("source=added", {0, 1, 2, 3, 4, 5}),
        ("label=cat", {1, 3, 5}),
        ("source=added&label=dog&attribute.n=4", {4}),
    ):
        ids = {f"mine-{seed}" for seed in expected}
        listed = client.get(f"/gallery?{query}").json()["items"]
        uploads = client.post(f"/similar?{query}", content=image_file(), headers=PNG).json()[
            "similar"
        ]
        similarity = client.get(f"/gallery/mine-0/similar?{query}").json()["similar"]
        assert {one["id"] for one in listed} == ids
        assert {one["id"] for one in uploads} == ids
        assert {one["id"] for one in similarity} == ids - {"mine-0"}


def test_images_of_the_gallery_can_be_positive_examples(client: TestClient, loaded: Bundle) -> None:
    one, other = loaded.gallery.ids[:2]
    found = client.post(f"/similar?positive={one}").json()["similar"]
    assert (found[0]["id"], found[0]["score"]) == (one, pytest.approx(1, abs=1e-3))
    both = client.post(f"/similar?positive={one}&positive={other}&explain=true").json()["similar"]
    assert np.sum(both[0]["heat"]) == pytest.approx(both[0]["score"], abs=1e-3)
    without = client.post(f"/similar?positive={one}&positive={other}&exclude_self=true").json()
    assert {match["id"] for match in without["similar"]}.isdisjoint({one, other})
    assert len(without["similar"]) == 10


def test_a_negative_example_lowers_the_score_of_its_neighbours(
    client: TestClient, loaded: Bundle
) -> None:
    one, other = loaded.gallery.ids[0], loaded.gallery.ids[40]

    def score(query: str) -> float:
        found = client.post(f"/similar?limit=100&positive={one}{query}").json()["similar"]
        return {match["id"]: float(match["score"]) for match in found}.get(other, -1.0)

    assert score(f"&negative={other}") < score("")


def test_a_search_without_an_image_or_a_positive_example_is_400(
    client: TestClient, loaded: Bundle
) -> None:
    assert client.post(f"/similar?negative={loaded.gallery.ids[0]}").status_code == 400
    assert client.post("/similar?positive=unknown").status_code == 404


def test_exclude_self_leaves_out_the_query_image(client: TestClient) -> None:
    add(client, 1, "id=mine")
    for layer in ("conv2", "logits"):
        assert first(client, 1, f"exclude_self=true&layer={layer}")["id"] != "mine"


def test_offset_skips_the_best_results(client: TestClient) -> None:
    def search(query: str) -> list[str]:
        found = client.post(f"/similar?{query}", content=image_file(), headers=PNG).json()[
            "similar"
        ]
        return [one["id"] for one in found]

    assert search("limit=5&offset=3") == search("limit=8")[3:]


def test_no_score_is_below_the_score_threshold(client: TestClient) -> None:
    path = "/similar?limit=100&score_threshold="
    found = client.post(f"{path}-1", content=image_file(), headers=PNG).json()["similar"]
    middle = found[50]["score"]
    some = client.post(f"{path}{middle}", content=image_file(), headers=PNG).json()["similar"]
    assert 50 <= len(some) < 100
    assert all(one["score"] >= middle - 1e-6 for one in some)


def test_diversity_leaves_out_near_duplicates(client: TestClient) -> None:
    for copy in range(5):
        add(client, 1, f"id=copy-{copy}")
    plain = client.post("/similar?limit=5", content=image_file(1), headers=PNG).json()["similar"]
    assert {one["id"] for one in plain} == {f"copy-{copy}" for copy in range(5)}
    path = "/similar?limit=5&diversity=0.01"
    diverse = client.post(path, content=image_file(1), headers=PNG).json()["similar"]
    assert len(diverse) == 5
    assert sum(one["id"].startswith("copy") for one in diverse) == 1


def test_duplicates_are_listed_in_pairs_page_by_page(client: TestClient) -> None:
    for seed in (1, 2):
        for copy in range(2):
            add(client, seed, f"id=twin-{seed}-{copy}")
    pairs: list[tuple[str, str]] = []
    cursor = ""
    while True:
        query = f"threshold=0.9995&limit=40&source=added&cursor={cursor}"
        found = client.post(f"/gallery/duplicates?{query}").json()
        pairs += [(one["first"]["id"], one["second"]["id"]) for one in found["pairs"]]
        if found["next"] is None:
            break
        cursor = found["next"]
    assert sorted(pairs) == [("twin-1-0", "twin-1-1"), ("twin-2-0", "twin-2-1")]


def test_images_that_may_be_replaced_are_revalidated_by_caches(client: TestClient) -> None:
    item = add(client, 1, "id=mine")
    assert "no-cache" in client.get(item["image"]).headers["Cache-Control"]


def test_a_key_without_admin_rights_cannot_change_the_gallery(make_app: MakeApp) -> None:
    app = make_app(api_keys=("reader",), admin_keys=("admin",))
    with TestClient(app) as client:
        reader = {"X-API-Key": "reader"}
        for method, path in (
            ("POST", "/gallery"),
            ("PUT", "/gallery/x"),
            ("PATCH", "/gallery/x"),
            ("DELETE", "/gallery/x"),
        ):
            response = client.request(method, path, headers=reader | PNG, content=image_file())
            assert response.status_code == 403
        assert client.post("/gallery/duplicates", headers=reader).status_code == 200
        admin = {"X-API-Key": "admin"}
        response = client.post("/gallery", headers=admin | PNG, content=image_file())
        assert response.status_code == 201


def test_the_metrics_count_changes(client: TestClient, loaded: Bundle) -> None:
    add(client, 1, "id=mine")
    client.delete("/gallery/mine")
    metrics = client.get("/metrics").text
    assert 'kindred_gallery_changes_total{outcome="created"} 1.0' in metrics
    assert 'kindred_gallery_changes_total{outcome="removed"} 1.0' in metrics
    assert f"kindred_gallery_images {len(loaded.gallery)}.0" in metrics


def test_an_edit_of_too_many_values_is_refused_before_it_is_parsed(
    client: TestClient,
) -> None:
    add(client, 1, "id=mine")
    refused = client.patch("/gallery/mine", content=b'{"attributes": [' + b"[]," * 100_000)
    assert refused.status_code == 413


def test_a_diverse_search_scans_a_limited_number_of_candidates(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With diversity 1 almost no image differs enough, and the scan must not cover the gallery."""
    monkeypatch.setattr(similarity, "MAX_CANDIDATES", 8)
    seen: list[int] = []
    search = Snapshot.search

    def counted(view: Snapshot, layer: Layer, queries: Vectors, limit: int, **how: Any) -> Any:
        seen.append(limit)
        return search(view, layer, queries, limit, **how)

    monkeypatch.setattr(Snapshot, "search", counted)
    path = "/similar?layer=conv2&limit=3&diversity=1"
    assert client.post(path, content=image_file(), headers=PNG).status_code == 200
    assert max(seen) < 4 * 8


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of open files")
def test_what_is_shown_at_every_visit_needs_no_free_file(client: TestClient) -> None:
    add(client, query="id=mine")
    bundled = client.get("/gallery?limit=1&source=bundle").json()["items"][0]["id"]
    limit, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, maximum))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.pipe()
        images = ("/gallery/mine/image", f"/gallery/{bundled}/image")
        statuses = {
            path: client.get(path).status_code
            for path in ("/", "/web/main.js", "/docs", "/experiments", "/model", *images)
        }
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, maximum))
    assert set(statuses.values()) == {200}, statuses
