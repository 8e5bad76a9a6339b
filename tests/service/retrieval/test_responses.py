"""Responses about images: classes, neighbours, vectors, explanations, novelty."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.engine.backends.torch_eager import TorchEager
from service.engine.engine import Engine
from service.retrieval.responses import ResponseBuilder
from service.server.startup import searcher
from service.state import State
from tests.service.conftest import MakeApp
from tests.support.fakes import cosine, image_file, png
from training.bundle import Bundle

PNG = {"Content-Type": "image/png"}


def gallery_images(loaded: Bundle, count: int) -> list[bytes]:
    assert loaded.gallery.pixels is not None
    return [png(np.array(image)) for image in loaded.gallery.pixels[:count]]


def test_predictions_are_all_classes_best_first(client: TestClient, loaded: Bundle) -> None:
    found = client.post("/predict", content=image_file(), headers=PNG).json()["predictions"]
    probabilities = [one["probability"] for one in found]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert {one["index"]: one["label"] for one in found} == dict(enumerate(loaded.manifest.classes))


def test_an_image_of_a_trained_class_is_recognized(client: TestClient) -> None:
    answer = client.post("/classify", content=image_file(kind=6), headers=PNG).json()
    assert answer["predictions"][0]["label"] == "gold"


def test_top_k_limits_the_classes(client: TestClient) -> None:
    for top_k, count in ((1, 1), (4, 4), (1000, 10)):
        answer = client.post(f"/classify?top_k={top_k}", content=image_file(), headers=PNG).json()
        assert len(answer["predictions"]) == count


def test_a_gallery_image_finds_itself_first_at_both_layers(
    client: TestClient, loaded: Bundle
) -> None:
    for image_id, data in zip(loaded.gallery.ids, gallery_images(loaded, 20), strict=False):
        similar = client.post("/predict?limit=1", content=data, headers=PNG).json()["similar"]
        for layer in ("conv2", "logits"):
            (nearest,) = similar[layer]
            assert nearest["id"] == image_id
            assert nearest["score"] >= 0.999


def test_similar_agrees_with_predict_at_each_layer(client: TestClient) -> None:
    both = client.post("/predict?limit=7", content=image_file(), headers=PNG).json()
    for layer in ("conv2", "logits"):
        one = client.post(
            f"/similar?layer={layer}&limit=7", content=image_file(), headers=PNG
        ).json()
        assert one["similar"] == both["similar"][layer]
        assert (one["layer"], one["model"]) == (layer, both["model"])


def test_only_requested_layers_are_searched(client: TestClient) -> None:
    answer = client.post("/predict?layers=logits", content=image_file(), headers=PNG).json()
    assert list(answer["similar"]) == ["logits"]


def test_similar_images_are_filtered_by_label(client: TestClient) -> None:
    for layer in ("conv2", "logits"):
        query = f"/similar?layer={layer}&label=jade&limit=100"
        found = client.post(query, content=image_file(), headers=PNG).json()["similar"]
        assert {one["label"] for one in found} == {"jade"}
        scores = [one["score"] for one in found]
        assert scores == sorted(scores, reverse=True)


def test_exact_search_compares_every_image(client: TestClient, loaded: Bundle) -> None:
    vector = client.post("/embed", content=image_file(), headers=PNG).json()["vector"]
    stored = loaded.indexes["conv2"].reconstruct(np.arange(len(loaded.gallery)))
    best = max(cosine(vector, other) for other in stored)
    answer = client.post("/similar?exact=true&limit=1", content=image_file(), headers=PNG).json()
    assert answer["similar"][0]["score"] == pytest.approx(best, abs=1e-3)


def test_explanations_are_optional_and_add_up_to_the_score(client: TestClient) -> None:
    plain = client.post("/predict", content=image_file(), headers=PNG).json()["similar"]
    fields = {"id", "label", "score", "image", "reconstruction"}
    assert all(set(one) == fields for one in plain["conv2"])
    explained = client.post("/predict?explain=true", content=image_file(), headers=PNG).json()[
        "similar"
    ]
    for one in explained["conv2"]:
        assert np.shape(one["heat"]) == (8, 8)
        assert np.sum(one["heat"]) == pytest.approx(one["score"], abs=1e-3)
    for one in explained["logits"]:
        assert len(one["terms"]) == 10
        assert sum(one["terms"]) == pytest.approx(one["score"], abs=1e-3)


def test_the_terms_of_the_output_are_those_of_centred_logits(client: TestClient) -> None:
    logits = client.post("/embed?layer=logits", content=image_file(), headers=PNG).json()["vector"]
    assert np.mean(logits) == pytest.approx(0, abs=1e-2 * np.abs(logits).max())
    query = "/similar?layer=logits&limit=1&explain=true"
    answer = client.post(query, content=image_file(), headers=PNG).json()
    assert np.argmax(answer["similar"][0]["terms"]) == np.argmax(logits)


@pytest.mark.parametrize(
    ("layer", "dimension"), [("conv2", 8192), ("penultimate", 512), ("logits", 10)]
)
def test_a_vector_is_returned_as_json_or_as_a_numpy_file(
    client: TestClient, layer: str, dimension: int
) -> None:
    path = f"/embed?layer={layer}"
    answer = client.post(path, content=image_file(), headers=PNG).json()
    assert (answer["layer"], answer["dimension"]) == (layer, dimension)
    response = client.post(
        path, content=image_file(), headers=PNG | {"Accept": "application/x-npy"}
    )
    assert response.headers["Content-Type"] == "application/x-npy"
    vector = np.load(BytesIO(response.content), allow_pickle=False)
    assert (vector.shape, vector.dtype) == ((dimension,), np.float32)
    assert cosine(vector, answer["vector"]) == pytest.approx(1, abs=1e-6)


def test_several_vectors_are_the_rows_of_one_numpy_file(client: TestClient) -> None:
    files = [("file", image_file(seed)) for seed in range(3)]
    accept = {"Accept": "application/x-npy"}
    response = client.post("/embed?layer=logits", files=files, headers=accept)
    assert np.load(BytesIO(response.content), allow_pickle=False).shape == (3, 10)
    bad = client.post("/embed?layer=logits", files=[*files, ("file", b"?")], headers=accept)
    assert bad.status_code == 415


def test_an_image_has_the_same_response_alone_and_in_a_batch_of_32(
    client: TestClient, loaded: Bundle
) -> None:
    images = gallery_images(loaded, 32)
    files = [("file", image) for image in images]
    together = client.post("/embed", files=files).json()["results"]
    classes = client.post("/classify", files=files).json()["results"]
    for data, vector, batched in zip(images, together, classes, strict=True):
        alone = client.post("/embed", content=data, headers=PNG).json()
        assert cosine(alone["vector"], vector["vector"]) >= 0.9999
        classified = client.post("/classify", content=data, headers=PNG).json()
        assert classified["predictions"][0]["label"] == batched["predictions"][0]["label"]


@pytest.mark.parametrize("path", ["/similar", "/gallery/duplicates", "/gallery/{id}/similar"])
@pytest.mark.parametrize("layers", ["conv2,conv2", "conv2,logits", "conv2,", " conv2", ""])
def test_several_layers_are_404_where_one_is_searched(
    client: TestClient, path: str, layers: str
) -> None:
    first = client.get("/gallery?limit=1").json()["items"][0]["id"]
    method = "GET" if "{id}" in path else "POST"
    url = path.replace("{id}", first)
    examples = {"positive": first} if path == "/similar" else {}
    answer = client.request(method, url, params={"layer": layers, **examples})
    assert answer.status_code == 404
    assert "available: conv2, penultimate, logits" in answer.json()["detail"]


def test_a_layer_that_is_named_twice_is_searched_once(client: TestClient) -> None:
    answer = client.post("/predict?layers=conv2, conv2,conv2", content=image_file())
    assert list(answer.json()["similar"]) == ["conv2"]


@pytest.mark.parametrize(
    ("path", "available"),
    [
        ("/predict?layers=conv2,conv9", "conv2, penultimate, logits"),
        ("/predict?layers=", "conv2, penultimate, logits"),
        ("/similar?layer=conv3", "conv2, penultimate, logits"),
        ("/similar?label=unicorn", "gold, haze, ivory, jade"),
        ("/embed?layer=conv9", "conv2, penultimate, logits"),
    ],
)
def test_an_unknown_layer_or_label_is_404_and_lists_the_available_ones(
    client: TestClient, path: str, available: str
) -> None:
    response = client.post(path, content=image_file(), headers=PNG)
    assert response.status_code == 404
    assert available in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/predict?limit=0", "query.limit"),
        ("/predict?limit=101", "query.limit"),
        ("/predict?limit=ten", "query.limit"),
        ("/predict?explain=perhaps", "query.explain"),
        ("/classify?top_k=0", "query.top_k"),
        ("/classify?fit=squeeze", "query.fit"),
    ],
)
def test_a_bad_parameter_is_422_and_named(client: TestClient, path: str, location: str) -> None:
    response = client.post(path, content=image_file(), headers=PNG)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["location"] == location


@pytest.mark.parametrize("route", ["/predict", "/classify"])
def test_an_image_of_a_trained_class_is_familiar(client: TestClient, route: str) -> None:
    answers = [
        client.post(route, content=image_file(seed), headers=PNG).json() for seed in range(20)
    ]
    assert sum(answer["familiar"] for answer in answers) >= 15
    assert all(answer["familiar"] == (answer["novelty"] <= 0.95) for answer in answers)


def test_an_image_unlike_the_training_images_is_not_familiar(client: TestClient) -> None:
    blank = png(np.full((32, 32, 3), 255, np.uint8))
    answer = client.post("/predict", content=blank, headers=PNG).json()
    assert (answer["novelty"], answer["familiar"]) == (1, False)


def test_without_novelty_statistics_both_fields_are_left_out(
    make_app: MakeApp, loaded: Bundle
) -> None:
    app = make_app()
    state: State = app.state.kindred
    manifest = loaded.manifest.model_copy(update={"novelty": None})
    state.responses = ResponseBuilder(replace(loaded, manifest=manifest), state.gallery)
    backend = TorchEager(loaded.network, device="cpu")
    state.engine = Engine(backend, searcher(state.gallery, backend))
    with TestClient(app) as running:
        answer = running.post("/predict", content=image_file(), headers=PNG).json()
    assert {"familiar", "novelty"}.isdisjoint(answer)
    assert len(answer["predictions"]) == 10


def test_the_model_card_has_the_novelty_statistics(client: TestClient, loaded: Bundle) -> None:
    note = loaded.manifest.novelty
    assert note
    card = client.get("/model").json()["novelty"]
    assert (card["threshold"], card["references"]) == (0.95, note.references)
    assert card["familiar_share"] == pytest.approx(note.familiar_share, abs=1e-6)
