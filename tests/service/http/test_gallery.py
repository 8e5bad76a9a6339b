"""The gallery: pages, items, pixels and the neighbours of its images."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.app import create_app
from service.settings import Settings
from service.state import State
from tests.support.fakes import png
from tests.support.processes import ROOT
from training.bundle import Bundle


@pytest.fixture(scope="module")
def starter(bundle_without_pixels_path: Path) -> Iterator[TestClient]:
    """A client of an app whose bundle has no pixels."""
    with TestClient(create_app(Settings(bundle=bundle_without_pixels_path))) as client:
        yield client


@pytest.fixture(scope="module", params=["generated", "real"])
def small_or_real(
    request: pytest.FixtureRequest, bundle_path: Path
) -> Iterator[tuple[TestClient, Bundle]]:
    """A client and the bundle it serves: one of generated images, and the starter."""
    served = bundle_path if request.param == "generated" else ROOT / "starter"
    app = create_app(Settings(bundle=served))
    state: State = app.state.kindred
    with TestClient(app) as client:
        yield client, state.bundle


def walk(client: TestClient, query: str) -> list[dict[str, str]]:
    """Return the items of all pages."""
    items: list[dict[str, str]] = []
    page = client.get(f"/gallery?{query}").json()
    while True:
        items += page["items"]
        if page["next"] is None:
            return items
        page = client.get(f"/gallery?{query}&cursor={page['next']}").json()


@pytest.mark.parametrize("limit", [1, 7, 50, 100])
def test_pages_list_every_image_once_in_the_order_of_ids(
    client: TestClient, loaded: Bundle, limit: int
) -> None:
    assert [one["id"] for one in walk(client, f"limit={limit}")] == sorted(loaded.gallery.ids)


def test_pages_are_filtered_by_label(client: TestClient, loaded: Bundle) -> None:
    items = walk(client, "label=cyan&limit=4")
    assert {one["label"] for one in items} == {"cyan"}
    cyan = loaded.manifest.classes.index("cyan")
    assert len(items) == (loaded.gallery.labels == cyan).sum()


def test_an_item_has_the_predicted_class(client: TestClient, loaded: Bundle) -> None:
    assert loaded.gallery.pixels is not None
    for image_id, pixels in zip(loaded.gallery.ids, loaded.gallery.pixels, strict=True):
        content, headers = png(np.array(pixels)), {"Content-Type": "image/png"}
        response = client.post("/classify?top_k=1", content=content, headers=headers).json()
        predicted = client.get(f"/gallery/{image_id}").json()["predicted"]
        assert predicted == response["predictions"][0]["label"]


def test_pages_are_filtered_by_a_cell_of_the_confusion_matrix(
    client: TestClient, loaded: Bundle
) -> None:
    (final,) = (one for one in loaded.records if one.stage == "final")
    assert final.test is not None
    assert final.test.confusion_matrix is not None
    classes = loaded.manifest.classes
    for label, counts in zip(classes, final.test.confusion_matrix, strict=True):
        for predicted, count in zip(classes, counts, strict=True):
            items = walk(client, f"label={label}&predicted={predicted}&limit=4")
            assert len(items) == count
            assert all((one["label"], one["predicted"]) == (label, predicted) for one in items)


def test_pages_are_filtered_by_predicted_class(client: TestClient) -> None:
    items = walk(client, "predicted=cyan&limit=7")
    everything = walk(client, "limit=100")
    assert items == [one for one in everything if one["predicted"] == "cyan"]


def test_the_cursor_of_a_removed_image_still_works(client: TestClient, loaded: Bundle) -> None:
    first = sorted(loaded.gallery.ids)[0]
    after = client.get(f"/gallery?limit=1&cursor={first}-gone").json()["items"]
    assert after[0]["id"] > first


def test_an_item_has_its_label_and_the_path_of_its_pixels(
    client: TestClient, loaded: Bundle
) -> None:
    image_id = loaded.gallery.ids[5]
    item = client.get(f"/gallery/{image_id}").json()
    assert item["label"] == loaded.manifest.classes[loaded.gallery.labels[5]]
    assert item["image"] == f"/gallery/{image_id}/image"


def test_pixels_are_those_that_were_indexed(client: TestClient, loaded: Bundle) -> None:
    response = client.get(f"/gallery/{loaded.gallery.ids[5]}/image")
    assert response.headers["Content-Type"] == "image/png"
    assert loaded.gallery.pixels is not None
    shown = np.asarray(Image.open(BytesIO(response.content)))
    assert (shown == loaded.gallery.pixels[5]).all()


def test_pixels_are_not_sent_again_to_a_cache(client: TestClient, loaded: Bundle) -> None:
    path = f"/gallery/{loaded.gallery.ids[5]}/image"
    first = client.get(path)
    assert "no-cache" in first.headers["Cache-Control"]  # PUT may replace it
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(path, headers={"If-None-Match": '"another"'})
    assert other.status_code == 200


def test_the_neighbours_of_an_image_exclude_itself(client: TestClient, loaded: Bundle) -> None:
    image_id = loaded.gallery.ids[5]
    for layer in ("conv2", "logits"):
        path = f"/gallery/{image_id}/similar?layer={layer}&limit=12&explain=true"
        found = client.get(path).json()["similar"]
        assert len(found) == 12
        assert image_id not in {one["id"] for one in found}
        for one in found:
            attribution = one["heat"] if layer == "conv2" else one["terms"]
            assert np.sum(attribution) == pytest.approx(one["score"], abs=1e-3)


@pytest.mark.parametrize(("layer", "field"), [("conv2", "heat"), ("logits", "terms")])
def test_attributions_add_up_to_the_score(
    small_or_real: tuple[TestClient, Bundle],
    capsys: pytest.CaptureFixture[str],
    layer: str,
    field: str,
) -> None:
    client, loaded = small_or_real
    gaps = []

    @given(st.sampled_from(loaded.gallery.ids), st.sampled_from(loaded.manifest.classes), st.data())
    def add_up(image_id: str, label: str, data: st.DataObject) -> None:
        params = {"layer": layer, "label": label, "explain": "true", "limit": "100"}
        found = client.get(f"/gallery/{image_id}/similar", params=params).json()["similar"]
        one = data.draw(st.sampled_from(found))
        gaps.append(abs(np.sum(one[field]) - one["score"]))
        assert gaps[-1] < 1e-3

    add_up()
    with capsys.disabled():
        print(
            f"\n{layer}: {field} add up within {max(gaps):.1e}, over {len(gaps)} pairs "
            f"of {len(loaded.gallery):,} images"
        )


def test_the_neighbours_of_an_image_are_filtered_by_label(
    client: TestClient, loaded: Bundle
) -> None:
    path = f"/gallery/{loaded.gallery.ids[5]}/similar?label=dusk&exact=true"
    assert {one["label"] for one in client.get(path).json()["similar"]} == {"dusk"}


def test_unknown_ids_layers_and_labels_are_404(client: TestClient, loaded: Bundle) -> None:
    for path in (
        "/gallery/unknown",
        "/gallery/unknown/image",
        "/gallery/unknown/similar",
        f"/gallery/{loaded.gallery.ids[0]}/similar?layer=conv9",
        "/gallery?label=unicorn",
        "/gallery?predicted=unicorn",
    ):
        assert client.get(path).status_code == 404


def test_without_pixels_the_image_is_404_with_the_reason(starter: TestClient) -> None:
    (item,) = starter.get("/gallery?limit=1").json()["items"]
    assert item["image"] is None
    response = starter.get(f"/gallery/{item['id']}/image")
    assert response.status_code == 404
    assert "no pixels" in response.json()["detail"]
    assert starter.get("/model").json()["gallery"]["pixels"] is False


def test_without_pixels_the_gallery_can_be_searched(starter: TestClient) -> None:
    (item,) = starter.get("/gallery?limit=1").json()["items"]
    found = starter.get(f"/gallery/{item['id']}/similar?limit=3&explain=true").json()["similar"]
    for one in found:
        assert "image" not in one
        assert one["reconstruction"] == f"/gallery/{one['id']}/reconstruction"
        assert np.sum(one["heat"]) == pytest.approx(one["score"], abs=1e-3)
