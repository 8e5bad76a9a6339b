"""The map: the places of the gallery's images, and of images that are sent."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.retrieval.maps import GalleryMap
from service.schemas.maps import MapResponse, PlacesResponse
from service.state import State
from tests.service.conftest import MakeApp
from tests.support.fakes import image_file, png
from training.bundle import Bundle

PNG = {"Content-Type": "image/png"}
LAYERS = ["conv1", "conv2", "conv3", "penultimate", "logits"]


@pytest.fixture
def changing(make_app: MakeApp, tmp_path: Path) -> Iterator[TestClient]:
    """A client of an app with a gallery of its own."""
    with TestClient(make_app(gallery=str(tmp_path / "gallery"))) as client:
        yield client


def read(client: TestClient, query: str = "layer=conv2") -> dict[str, Any]:
    response = client.get(f"/map?{query}")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    MapResponse.model_validate(body)
    return body


def place_of(body: dict[str, Any], image_id: str) -> tuple[float | None, float | None]:
    row = body["ids"].index(image_id)
    return body["x"][row], body["y"][row]


@pytest.mark.parametrize("layer", LAYERS)
def test_every_image_has_its_place_at_every_layer(
    client: TestClient, loaded: Bundle, layer: str
) -> None:
    body = read(client, f"layer={layer}")
    assert body["ids"] == sorted(loaded.gallery.ids)
    assert body["count"] == len(body["x"]) == len(body["y"]) == len(loaded.gallery)
    for image_id, label, predicted in zip(
        body["ids"], body["label"], body["predicted"], strict=True
    ):
        row = loaded.gallery.positions[image_id]
        expected = loaded.maps[layer].places[row]  # type: ignore[index]  # a name of a layer
        assert place_of(body, image_id) == pytest.approx(expected, abs=1e-5)
        assert label == loaded.gallery.labels[row]
        assert body["labels"][predicted] == client.get(f"/gallery/{image_id}").json()["predicted"]
    assert body["added"] == []


def test_ids_can_be_left_out_and_the_order_stays(client: TestClient) -> None:
    full, short = read(client, "layer=logits"), read(client, "layer=logits&ids=false")
    assert "ids" not in short
    assert (short["revision"], short["x"]) == (full["revision"], full["x"])


def test_the_default_layer_is_the_first_that_is_searched(client: TestClient) -> None:
    assert read(client, "")["layer"] == "conv2"


def test_a_current_copy_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/map?layer=conv3")
    headers = {"If-None-Match": first.headers["ETag"]}
    again = client.get("/map?layer=conv3", headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/map?layer=conv2", headers=headers).status_code == 200
    assert client.get("/map?layer=conv3&ids=false", headers=headers).status_code == 200


def test_an_image_of_the_gallery_lands_on_its_own_place(client: TestClient, loaded: Bundle) -> None:
    assert loaded.gallery.pixels is not None
    image_id = loaded.gallery.ids[3]
    content = png(np.array(loaded.gallery.pixels[3]))
    body = client.post("/map", content=content, headers=PNG).json()
    PlacesResponse.model_validate(body)
    assert list(body["places"]) == LAYERS
    for layer, place in body["places"].items():
        nearest = place["nearest"]
        assert len(nearest) == 10
        assert nearest[0]["id"] == image_id
        assert nearest[0]["score"] > 0.99
        own = place_of(read(client, f"layer={layer}"), image_id)
        assert (nearest[0]["x"], nearest[0]["y"]) == pytest.approx(own)
        xs, ys = ([one[axis] for one in nearest] for axis in "xy")
        assert min(xs) - 1e-4 <= place["x"] <= max(xs) + 1e-4
        assert min(ys) - 1e-4 <= place["y"] <= max(ys) + 1e-4


def test_the_nearest_on_the_map_are_those_of_the_search(client: TestClient) -> None:
    content = image_file(seed=5)
    body = client.post("/map?layers=logits,conv2&limit=4", content=content, headers=PNG).json()
    assert list(body["places"]) == ["logits", "conv2"]
    for layer, place in body["places"].items():
        similar = client.post(f"/similar?layer={layer}&limit=4", content=content, headers=PNG)
        expected = [(one["id"], one["label"]) for one in similar.json()["similar"]]
        assert [(one["id"], one["label"]) for one in place["nearest"]] == expected


def test_several_images_have_a_place_each(client: TestClient) -> None:
    files = [("file", image_file(seed)) for seed in (1, 2)]
    results = client.post("/map?layers=conv1", files=files).json()["results"]
    assert len(results) == 2
    assert results[0]["places"] != results[1]["places"]


def test_an_added_image_has_a_place_where_there_is_an_index(changing: TestClient) -> None:
    before = read(changing)
    added = changing.post("/gallery?label=new", content=image_file(7), headers=PNG).json()["id"]
    after = read(changing)
    assert after["revision"] != before["revision"]
    assert after["count"] == before["count"] + 1
    assert [after["ids"][row] for row in after["added"]] == [added]
    assert after["labels"][after["label"][after["ids"].index(added)]] == "new"
    x, y = place_of(after, added)
    assert x is not None
    assert y is not None
    assert 0 <= x <= 1
    assert 0 <= y <= 1
    assert place_of(read(changing, "layer=conv1"), added) == (None, None)
    placed = changing.post("/map?layers=conv2&limit=1", content=image_file(7), headers=PNG).json()
    assert placed["places"]["conv2"]["nearest"][0]["id"] == added
    assert (placed["places"]["conv2"]["x"], placed["places"]["conv2"]["y"]) == (x, y)


def test_the_place_of_an_added_image_stays(changing: TestClient) -> None:
    first = changing.post("/gallery?label=a", content=image_file(7), headers=PNG).json()["id"]
    before = place_of(read(changing), first)
    changing.post("/gallery?label=b", content=image_file(8), headers=PNG)
    assert place_of(read(changing), first) == before


def test_a_removed_image_leaves_the_map(changing: TestClient, loaded: Bundle) -> None:
    gone = loaded.gallery.ids[0]
    content = changing.get(f"/gallery/{gone}/image").content
    assert changing.delete(f"/gallery/{gone}").status_code == 204
    assert gone not in read(changing)["ids"]
    places = changing.post("/map", content=content, headers=PNG).json()["places"]
    assert all(gone not in [one["id"] for one in place["nearest"]] for place in places.values())
    assert all(len(place["nearest"]) == 10 for place in places.values())


def test_another_label_is_another_revision(changing: TestClient, loaded: Bundle) -> None:
    before = read(changing)
    changing.patch(f"/gallery/{loaded.gallery.ids[0]}", json={"label": "other"})
    after = read(changing)
    assert after["revision"] != before["revision"]
    assert after["labels"][-1] == "other"


@pytest.mark.parametrize("query", ["layer=conv9", "layer="])
def test_an_unknown_layer_is_an_error_that_names_the_others(client: TestClient, query: str) -> None:
    response = client.get(f"/map?{query}")
    assert response.status_code == 404 if "9" in query else 200
    response = client.post("/map?layers=conv9", content=image_file(), headers=PNG)
    assert response.status_code == 404
    assert "conv1, conv2, conv3" in response.json()["detail"]


def test_a_bundle_without_maps_says_so(make_app: MakeApp) -> None:
    app = make_app()
    state: State = app.state.kindred
    bundle = dataclasses.replace(state.bundle, maps={}, map_metadata={})
    state.bundle = bundle
    state.responses.map = GalleryMap(state.responses.model, bundle, state.gallery)
    with TestClient(app) as client:
        assert client.get("/model").json()["map"] is None
        for response in (
            client.get("/map"),
            client.post("/map", content=image_file(), headers=PNG),
        ):
            assert response.status_code == 404
            assert "no map" in response.json()["detail"]


def test_the_model_card_lists_the_maps(client: TestClient, loaded: Bundle) -> None:
    layers = client.get("/model").json()["map"]["layers"]
    assert list(layers) == LAYERS
    for layer, card in layers.items():
        expected = loaded.map_metadata[layer].trustworthiness
        assert card["trustworthiness"] == pytest.approx(expected, abs=1e-6)
        assert 0.5 < expected <= 1
