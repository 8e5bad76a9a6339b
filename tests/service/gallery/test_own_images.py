"""A gallery of all own images: with their files, their splits and their thumbnails."""

import io
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from service.app import create_app
from service.settings import Settings
from tests.conftest import short
from tests.support.fakes import image_file
from tests.support.images import KINDS, striped_image
from training import bundle
from training.bundle import Bundle
from training.experiments.catalogue import find
from training.workflows import choice
from training.workflows.export import ExportOptions
from training.workflows.resolve import resolve_bundle
from training.workflows.workspace import Workspace

pytestmark = pytest.mark.slow

CLASSES = KINDS[:3]
TRAINED_ON, TESTED = 12, 3
PNG = {"Content-Type": "image/png"}


def write_photos(folder: Path) -> Path:
    """Write 300 x 200 photos of three classes, with a folder `test`, and one broken file."""
    for part, count in (("train", TRAINED_ON), ("test", TESTED)):
        for kind, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                photo = Image.fromarray(striped_image(kind, number + 100 * len(part)))
                photo = photo.resize((300, 200), Image.Resampling.NEAREST)
                photo.save(folder / part / name / f"{number}.png")
    (folder / "train" / CLASSES[0] / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("own") / "photos")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"), torch.device("cpu"))


@pytest.fixture(scope="module")
def built(photos: Path, workspace: Workspace) -> Bundle:
    """The bundle that `make serve DATA=photos` builds, with a network of one epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "find", lambda name: short(find(name), 1))
        return bundle.load(resolve_bundle(workspace, photos, network="batchnorm-3"))


@pytest.fixture(scope="module")
def client(built: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    gallery = str(tmp_path_factory.mktemp("gallery"))
    with TestClient(create_app(Settings(bundle=built.path, gallery=gallery))) as running:
        yield running


def test_every_readable_image_is_in_the_gallery(client: TestClient) -> None:
    items = client.get("/gallery?limit=100").json()["items"]
    assert len(items) == 3 * (TRAINED_ON + TESTED)
    splits = Counter(item["attributes"]["split"] for item in items)
    assert splits["test"] == 3 * TESTED
    assert splits["train"] + splits["validation"] == 3 * TRAINED_ON
    assert {item["attributes"]["file"] for item in items} >= {"test/amber/0.png"}
    assert all(item["attributes"]["file"].split("/")[1] == item["label"] for item in items)


def test_images_can_be_listed_by_split_and_by_file(client: TestClient) -> None:
    tested = client.get("/gallery?limit=100&attribute.split=test").json()["items"]
    assert len(tested) == 3 * TESTED
    (one,) = client.get("/gallery?attribute.file=test/blue/1.png").json()["items"]
    assert (one["id"], one["label"]) == ("test-blue-1.png", "blue")


def test_the_metrics_are_of_the_test_images_alone(built: Bundle) -> None:
    metrics = built.manifest.metrics
    assert metrics
    assert metrics.test_count == metrics.label_share_queries == 3 * TESTED
    tested = built.gallery.tested
    logits = built.indexes["logits"].reconstruct(tested)
    right = (logits.argmax(1) == built.gallery.labels[tested]).mean()
    assert metrics.test_accuracy == pytest.approx(right)
    assert "All metrics are of the\n  test split alone" in built.card


def test_the_image_of_the_gallery_is_a_thumbnail_unless_asked_otherwise(
    client: TestClient, built: Bundle
) -> None:
    path = "/gallery/test-blue-1.png/image"
    thumbnail, seen = client.get(path), client.get(path, params={"size": "network"})
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(thumbnail.content)).size == (200, 200)
    assert seen.headers["content-type"] == "image/png"
    assert built.gallery.pixels is not None
    expected = built.gallery.pixels[built.gallery.positions["test-blue-1.png"]]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(seen.content))), expected)
    assert thumbnail.headers["etag"] != seen.headers["etag"]
    again = client.get(path, headers={"If-None-Match": thumbnail.headers["etag"]})
    assert again.status_code == 304
    assert client.get(path, params={"size": "huge"}).status_code == 422


def test_thumbnails_do_not_depend_on_their_file(built: Bundle, tmp_path: Path) -> None:
    copied = shutil.copytree(built.path, tmp_path / "bundle")
    loaded = bundle.load(copied)
    for content in (b"", (copied / "gallery.json").read_bytes()):
        (copied / "thumbnails.zip").write_bytes(content)
        for image_id in loaded.gallery.ids:
            thumbnail = loaded.gallery.thumbnail(image_id)
            assert thumbnail is not None
            assert thumbnail == built.gallery.thumbnail(image_id)
    assert loaded.overwritten() == ["thumbnails.zip"]


@pytest.mark.parametrize("layer", ["conv2", "logits"])
@pytest.mark.parametrize("kind", ["file", "thumbnail", "network"])
def test_a_photo_is_left_out_of_its_neighbours_as_file_thumbnail_and_pixels(
    kind: str, layer: str, client: TestClient, photos: Path
) -> None:
    for number in range(TESTED):
        image_id = f"test-blue-{number}.png"
        if kind == "file":
            content = (photos / "test" / "blue" / f"{number}.png").read_bytes()
        else:
            content = client.get(f"/gallery/{image_id}/image?size={kind}").content
        path = f"/similar?layer={layer}&limit=100&exclude_self=true"
        found = client.post(path, content=content, headers={"Content-Type": "image/jpeg"})
        assert image_id not in {one["id"] for one in found.json()["similar"]}


def test_an_added_image_is_shown_as_it_is(client: TestClient) -> None:
    assert client.post("/gallery?id=mine", content=image_file(), headers=PNG).is_success
    assert client.get("/gallery/mine/image").headers["content-type"] == "image/png"
    replaced = client.put("/gallery/test-amber-0.png", content=image_file(), headers=PNG)
    assert replaced.is_success
    shown = client.get("/gallery/test-amber-0.png/image")
    assert shown.headers["content-type"] == "image/png"
    assert client.delete("/gallery/mine").is_success
    assert client.delete("/gallery/test-amber-0.png").is_success


def test_a_posted_photo_that_is_in_the_gallery_finds_itself_first(
    client: TestClient, photos: Path
) -> None:
    for name in ("train/cyan/5.png", "test/blue/2.png"):
        answer = client.post(
            "/similar?layer=conv2", content=(photos / name).read_bytes(), headers=PNG
        )
        first = answer.json()["similar"][0]
        assert first["attributes"]["file"] == name
        assert first["score"] == pytest.approx(1, abs=0.01)


def test_what_cannot_be_read_is_named_in_a_file_of_the_data(
    built: Bundle, workspace: Workspace
) -> None:
    assert built.manifest.source
    home = workspace.home_of(built.manifest.source.key)
    (line,) = (home / "unreadable.txt").read_text().splitlines()
    assert line.startswith("train/amber/broken.jpg (")
    assert {one.name for one in home.iterdir()} == {"checkpoints", "experiments", "unreadable.txt"}
    assert not (workspace.root / "experiments").exists()


def test_only_the_test_split_is_searched_if_that_is_asked_for(
    workspace: Workspace, photos: Path, built: Bundle, tmp_path: Path
) -> None:
    assert built
    home, images, splits = workspace.open(photos)
    experiment = short(find("batchnorm-3"), 1)
    target = tmp_path / "bundle"
    made = bundle.load(
        home.release(images, splits, target, ExportOptions(gallery="test"), None, experiment)
    )
    assert {*(made.gallery.parts or ())} == {"test"}
    assert made.manifest.gallery.images == "test"
    before, after = built.manifest.metrics, made.manifest.metrics
    assert before
    assert after
    assert (after.test_count, after.test_accuracy) == (before.test_count, before.test_accuracy)
    assert after.label_share_at_10 == pytest.approx(before.label_share_at_10, abs=0.05)
