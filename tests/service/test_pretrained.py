"""A bundle with a pretrained network is served like any other: nothing knows 32, conv2 or 8192."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.app import create_app
from service.settings import Settings
from tests.conftest import one_worker_at_a_time
from tests.support.fakes import cosine, file_of
from tests.support.images import striped_image, write_folder
from training import bundle
from training.bundle import Bundle
from training.workflows.resolve import resolve_bundle
from training.workflows.workspace import Workspace

pytest.importorskip("timm", reason="needs the extra pretrained")
pytestmark = pytest.mark.slow

JPEG = {"Content-Type": "image/jpeg"}
SEARCHED = ["features", "logits"]


@pytest.fixture(scope="session")
def pretrained(shared_folder: Path, workspace: Workspace) -> Bundle:
    """The bundle of 24 images of three classes, with the network that own images get."""
    root = shared_folder / "pretrained"
    with one_worker_at_a_time(root):
        folder = root / "photos"
        if not folder.exists():
            write_folder(folder, per_class=8, kinds=3)
        path = resolve_bundle(Workspace(root, workspace.device), folder / "train")
    return bundle.load(path)


@pytest.fixture(scope="module")
def served(pretrained: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    gallery = str(tmp_path_factory.mktemp("pretrained") / "gallery")
    with TestClient(create_app(Settings(bundle=pretrained.path, gallery=gallery))) as running:
        yield running


def photo(kind: int = 0, seed: int = 99) -> bytes:
    image = Image.fromarray(striped_image(kind, seed)).resize((300, 260))
    return file_of(image, "JPEG", quality=95)


def test_the_bundle_has_the_network_and_its_licence(pretrained: Bundle) -> None:
    assert pretrained.manifest.name == "pretrained"
    assert pretrained.spec.family == "pretrained"
    assert list(pretrained.indexes) == SEARCHED
    assert "licence Apache 2.0" in pretrained.card
    assert "224 x 224" in pretrained.card
    assert pretrained.gallery.pixels is not None
    assert pretrained.gallery.pixels.shape == (24, 224, 224, 3)


def test_the_model_card_describes_input_and_layers(served: TestClient) -> None:
    card = served.get("/model").json()
    assert card["family"] == "pretrained"
    assert card["input"]["side"] == 224
    layers = {one["name"]: one for one in card["layers"]}
    assert list(layers) == ["texture", "features", "logits"]
    assert [name for name, one in layers.items() if one["searched"]] == SEARCHED
    features = layers["features"]
    assert (features["length"], features["places"]) == (1280, [7, 7])
    assert (features["explanation"], layers["logits"]["explanation"]) == ("query_places", "classes")
    assert features["title"]


@pytest.mark.parametrize("layer", SEARCHED)
def test_an_explanation_adds_up_to_the_score(served: TestClient, layer: str) -> None:
    answer = served.post("/predict?explain=true&limit=5", content=photo(), headers=JPEG).json()
    assert list(answer["similar"]) == SEARCHED
    for neighbour in answer["similar"][layer]:
        parts = np.array(neighbour["heat" if layer == "features" else "terms"])
        assert parts.shape == ((7, 7) if layer == "features" else (3,))
        assert parts.sum() == pytest.approx(neighbour["score"], abs=2e-3)  # bf16, where there is


def test_without_a_layer_the_first_one_is_searched(served: TestClient) -> None:
    similar = served.post("/similar", content=photo(), headers=JPEG).json()
    embedded = served.post("/embed", content=photo(), headers=JPEG).json()
    assert (similar["layer"], embedded["layer"]) == ("features", "features")
    assert embedded["dimension"] == 1280


def test_an_image_of_the_gallery_finds_itself_first(served: TestClient, pretrained: Bundle) -> None:
    image_id = pretrained.gallery.ids[0]
    stored = served.get(f"/gallery/{image_id}/image?size=network").content
    found = served.post("/similar?limit=1", content=stored).json()["similar"]
    assert found[0]["id"] == image_id
    assert found[0]["score"] == pytest.approx(1, abs=0.01)
    others = served.post("/similar?exclude_self=true", content=stored).json()["similar"]
    assert image_id not in {one["id"] for one in others}


def test_the_neighbours_of_a_stored_image_are_explained(
    served: TestClient, pretrained: Bundle
) -> None:
    first, second = pretrained.gallery.ids[:2]
    found = served.get(f"/gallery/{first}/similar?explain=true&limit=3").json()["similar"]
    for neighbour in found:
        assert np.sum(neighbour["heat"]) == pytest.approx(neighbour["score"], abs=2e-2)
    query = f"/similar?positive={first}&positive={second}&explain=true"
    average = served.post(query).json()["similar"]
    assert all("heat" not in one for one in average)  # an average has no places


def test_an_added_image_is_found_and_kept_as_the_network_sees_it(served: TestClient) -> None:
    added = served.post("/gallery?label=amber&id=mine", content=photo(seed=7), headers=JPEG)
    assert added.status_code == 201
    stored = Image.open(BytesIO(served.get("/gallery/mine/image").content))
    assert stored.size == (224, 224)
    found = served.post("/similar?limit=1", content=photo(seed=7), headers=JPEG).json()["similar"]
    assert found[0]["id"] == "mine"
    assert served.delete("/gallery/mine").status_code == 204


def test_the_open_inference_protocol_follows_the_bundle(served: TestClient) -> None:
    metadata = served.get("/v2/models/kindred").json()
    assert metadata["inputs"][0]["shape"] == [-1, 224, 224, 3]
    shapes = {one["name"]: one["shape"] for one in metadata["outputs"]}
    assert shapes == {
        "labels": [-1],
        "probabilities": [-1, 3],
        "texture": [-1, 80],
        "features": [-1, 1280],
        "logits": [-1, 3],
    }


def test_pytorch_and_openvino_agree(pretrained: Bundle) -> None:
    answers = {}
    for backend in ("torch", "openvino"):
        settings = Settings(bundle=pretrained.path, backend=backend, precision="fp32")
        with TestClient(create_app(settings)) as client:
            answers[backend] = [
                client.post(f"/embed?layer={layer}", content=photo(), headers=JPEG).json()["vector"]
                for layer in ("texture", *SEARCHED)
            ]
    for one, other in zip(*answers.values(), strict=True):
        assert cosine(one, other) > 0.9999
