"""A bundle without classes is searched like any other, and says that it names nothing."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

import kindred
from kindred.cli import main
from tests.support.processes import running_server, serve_command

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def http(
    unlabelled: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A server of the bundle, in a process of its own."""
    gallery = str(tmp_path_factory.mktemp("unlabelled") / "gallery")
    with running_server(serve_command(unlabelled[1]), KINDRED_GALLERY=gallery) as client:
        yield client


@pytest.fixture
def photo(unlabelled: tuple[Path, Path]) -> bytes:
    return (unlabelled[0] / "2019" / "june" / "07.jpg").read_bytes()


@pytest.mark.parametrize("call", ["/similar", "/predict"])
def test_a_posted_image_finds_itself_first(http: httpx.Client, photo: bytes, call: str) -> None:
    answer = http.post(call, content=photo, headers=JPEG).raise_for_status().json()
    assert answer.get("predictions", []) == []
    similar = answer["similar"] if call == "/similar" else answer["similar"]["features"]
    assert similar[0]["score"] == pytest.approx(1, abs=0.01)
    assert similar[0]["attributes"] == {"file": "2019/june/07.jpg"}
    assert {one["label"] for one in similar} == {None}


def test_an_explanation_adds_up_to_the_score(http: httpx.Client, photo: bytes) -> None:
    found = http.post("/similar?explain=true", content=photo, headers=JPEG).json()["similar"]
    for one in found:
        assert np.sum(one["heat"]) == pytest.approx(one["score"], abs=2e-3)


def test_what_needs_classes_says_that_there_are_none(http: httpx.Client, photo: bytes) -> None:
    for answer in (
        http.post("/classify", content=photo, headers=JPEG),
        http.get("/gallery/doubtful"),
    ):
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("This bundle has no classes")
    refused = http.get("/gallery", params={"label": "cat"})
    assert (refused.status_code, refused.json()["detail"]) == (404, "No image has the label 'cat'.")


def test_the_model_says_that_it_has_no_classes(http: httpx.Client) -> None:
    card = http.get("/model").json()
    empty = ("metrics", "run_id", "novelty", "reconstruction")
    assert {card[name] for name in empty} == {None}
    assert card["classes"] == []
    assert list(card["gallery"]["layers"]) == ["features"]
    assert [one["name"] for one in card["layers"] if one["searched"]] == ["features"]
    assert card["caveats"].startswith("The network names nothing")
    assert http.get("/experiments").json() == {"experiments": [], "comparisons": []}
    outputs = http.get("/v2/models/kindred").json()["outputs"]
    assert [one["name"] for one in outputs] == ["texture", "features"]


def test_the_open_inference_protocol_has_the_vectors_alone(http: httpx.Client) -> None:
    pixels = np.zeros((2, 224, 224, 3), np.uint8)
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 224, 224, 3]}
    sent = {"inputs": [tensor | {"data": pixels.ravel().tolist()}]}
    answer = http.post("/v2/models/kindred/infer", json=sent).raise_for_status().json()
    assert {one["name"]: one["shape"] for one in answer["outputs"]} == {
        "texture": [2, 80],
        "features": [2, 1280],
    }


def test_the_map_has_one_place_an_image_and_no_labels(http: httpx.Client) -> None:
    answer = http.get("/map").raise_for_status().json()
    assert (answer["layer"], answer["labels"]) == ("features", [])
    assert answer["label"] == answer["predicted"] == [None] * answer["count"]
    assert answer["count"] == 60


def test_labels_can_be_given_and_taken_away(http: httpx.Client, photo: bytes) -> None:
    added = http.post("/gallery?id=mine", content=photo, headers=JPEG).raise_for_status().json()
    assert (added["label"], added["predicted"], added["label_predicted"]) == (None, None, False)
    try:
        edited = http.patch("/gallery/mine", json={"label": "stripes"}).json()
        assert edited["label"] == "stripes"
        named = http.get("/gallery", params={"label": "stripes"}).json()["items"]
        assert [one["id"] for one in named] == ["mine"]
        assert http.get("/map").json()["labels"] == ["stripes"]
        assert http.patch("/gallery/mine", json={"label": None}).json()["label"] is None
    finally:
        http.delete("/gallery/mine").raise_for_status()


def test_the_client_and_its_command_line_read_the_answers(
    http: httpx.Client, photo: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(photo)
    with kindred.Client(str(http.base_url)) as client:
        model, answer = client.model(), client.predict(file)
    assert (model.metrics, model.classes, answer.predictions) == (None, (), ())
    assert answer.similar["features"][0].label is None
    main(["predict", str(file), "--url", str(http.base_url)])
    assert "1.000 2019-june-07.jpg" in capsys.readouterr().out
