"""Pictures drawn from the vectors of images, sent or of the gallery."""

import dataclasses
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.app import create_app
from service.retrieval.reconstruction import Reconstruction
from service.settings import Settings
from service.state import State
from tests.service.conftest import MakeApp
from tests.support.fakes import image_file, png
from training.bundle import Bundle

PNG = {"Content-Type": "image/png"}
LAYERS = ["conv1", "conv2", "conv3", "penultimate", "logits"]
KEPT = ["conv2", "penultimate", "logits"]


@pytest.fixture(scope="module")
def starter(
    bundle_without_pixels_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """A client of an app whose bundle has no pixels, with a gallery of its own."""
    folder = tmp_path_factory.mktemp("gallery")
    settings = Settings(bundle=bundle_without_pixels_path, gallery=str(folder))
    with TestClient(create_app(settings)) as client:
        yield client


def picture(content: bytes) -> npt.NDArray[np.float64]:
    image = Image.open(BytesIO(content))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (32, 32))
    return np.asarray(image, np.float64)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_picture_is_drawn_by_the_decoder_of_the_layer(
    client: TestClient, loaded: Bundle, layer: str
) -> None:
    content = image_file(4)
    response = client.post(f"/reconstruct?layer={layer}", content=content, headers=PNG)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "image/png"
    decoder = loaded.decoders[layer]  # type: ignore[index]  # a name of a layer
    if layer in ("conv2", "penultimate", "logits"):
        embedded = client.post(f"/embed?layer={layer}", content=content, headers=PNG).json()
        expected = decoder(np.array(embedded["vector"], np.float32))[0]
        assert np.abs(picture(response.content) - expected).max() <= 1
    other = client.post(f"/reconstruct?layer={layer}", content=image_file(5, 1), headers=PNG)
    assert not np.array_equal(picture(response.content), picture(other.content))


def test_the_default_layer_is_the_first_that_is_searched(client: TestClient) -> None:
    named, default = (
        client.post(f"/reconstruct{query}", content=image_file(), headers=PNG).content
        for query in ("?layer=conv2", "")
    )
    assert named == default


@pytest.mark.parametrize("layer", LAYERS)
def test_an_image_of_the_gallery_is_drawn_as_if_it_were_sent(
    client: TestClient, loaded: Bundle, layer: str
) -> None:
    assert loaded.gallery.pixels is not None
    sent = client.post(
        f"/reconstruct?layer={layer}",
        content=png(np.array(loaded.gallery.pixels[2])),
        headers=PNG,
    )
    kept = client.get(f"/gallery/{loaded.gallery.ids[2]}/reconstruction?layer={layer}")
    assert kept.status_code == 200
    assert np.abs(picture(sent.content) - picture(kept.content)).max() <= 12  # int8 vectors
    headers = {"If-None-Match": kept.headers["ETag"]}
    again = client.get(kept.request.url.path + f"?layer={layer}", headers=headers)
    assert (again.status_code, again.content) == (304, b"")


def test_without_pixels_the_layers_with_an_index_are_drawn(starter: TestClient) -> None:
    item = starter.get("/gallery?limit=1").json()["items"][0]
    assert item["image"] is None
    assert starter.get(f"/gallery/{item['id']}/image").status_code == 404
    for layer in KEPT:
        response = starter.get(f"/gallery/{item['id']}/reconstruction?layer={layer}")
        assert picture(response.content).std() > 0
    for layer in ("conv1", "conv3"):
        response = starter.get(f"/gallery/{item['id']}/reconstruction?layer={layer}")
        assert response.status_code == 404
        assert ", ".join(KEPT) in response.json()["detail"]


def test_an_added_image_has_pixels_though_the_bundle_has_none(starter: TestClient) -> None:
    added = starter.post("/gallery?label=new", content=image_file(6), headers=PNG).json()
    assert added["image"] == f"/gallery/{added['id']}/image"
    assert starter.get(added["image"]).status_code == 200
    drawn = starter.get(f"/gallery/{added['id']}/reconstruction?layer=conv1")
    sent = starter.post("/reconstruct?layer=conv1", content=image_file(6), headers=PNG)
    assert np.abs(picture(drawn.content) - picture(sent.content)).max() <= 1
    found = starter.post("/similar?limit=100", content=image_file(6), headers=PNG).json()["similar"]
    assert [one["id"] for one in found if one["image"]] == [added["id"]]


def test_several_images_are_refused(client: TestClient) -> None:
    files = [("file", image_file(seed)) for seed in (1, 2)]
    response = client.post("/reconstruct", files=files)
    assert response.status_code == 422
    assert "one image" in response.text


def test_an_unknown_layer_or_image_is_not_found(client: TestClient, loaded: Bundle) -> None:
    response = client.post("/reconstruct?layer=conv9", content=image_file(), headers=PNG)
    assert response.status_code == 404
    assert ", ".join(LAYERS) in response.json()["detail"]
    known = loaded.gallery.ids[0]
    assert client.get(f"/gallery/{known}/reconstruction?layer=x").status_code == 404
    for layer in ("conv1", "conv2"):
        response = client.get(f"/gallery/no-such-image/reconstruction?layer={layer}")
        assert response.status_code == 404
        assert "no-such-image" in response.json()["detail"]


def test_a_bundle_without_decoders_says_so(make_app: MakeApp) -> None:
    app = make_app()
    state: State = app.state.kindred
    state.bundle = dataclasses.replace(state.bundle, decoders={})
    state.responses.reconstruction = Reconstruction(state.bundle, state.gallery)
    with TestClient(app) as client:
        assert client.get("/model").json()["reconstruction"] is None
        item = client.get("/gallery?limit=1").json()["items"][0]["id"]
        for response in (
            client.post("/reconstruct", content=image_file(), headers=PNG),
            client.get(f"/gallery/{item}/reconstruction"),
        ):
            assert response.status_code == 404
            assert "no decoders" in response.json()["detail"]


def test_the_model_card_lists_the_decoders(client: TestClient, loaded: Bundle) -> None:
    layers = client.get("/model").json()["reconstruction"]["layers"]
    assert list(layers) == LAYERS
    for layer, card in layers.items():
        assert card["psnr"] == pytest.approx(loaded.manifest.decoders[layer].psnr, abs=1e-6)
        assert f"| {layer} | {card['psnr']:.2f} | {card['ssim']:.3f} |" in loaded.card
