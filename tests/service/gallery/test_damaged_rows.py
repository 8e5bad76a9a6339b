"""Rows of the database that no service wrote: one never fails a search among the others."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.gallery.local.gallery import LocalGallery
from service.settings import Settings
from tests.support.fakes import image_file
from tests.support.galleries import addition
from training.bundle import Bundle

PNG = {"Content-Type": "image/png"}
NOT_FINITE = np.full(8192, np.nan, np.float16).tobytes()
DAMAGES = {
    "attributes-number": "UPDATE images SET attributes = '5' WHERE number = {n}",
    "attributes-list": "UPDATE images SET attributes = '[1]' WHERE number = {n}",
    "attributes-cut": "UPDATE images SET attributes = '{{\"a\": ' WHERE number = {n}",
    "attributes-blob": "UPDATE images SET attributes = x'ff' WHERE number = {n}",
    "label": "UPDATE images SET label = x'ff00' WHERE number = {n}",
    "predicted": "UPDATE images SET predicted = x'ff00' WHERE number = {n}",
    "created-at": "UPDATE images SET created_at = 'yesterday' WHERE number = {n}",
    "vector-odd": "UPDATE vectors SET vector = x'00' WHERE number = {n}",
    "vector-short": "UPDATE vectors SET vector = x'0000' WHERE number = {n}",
    "vector-text": "UPDATE vectors SET vector = 'none' WHERE number = {n}",
    "vector-nan": "UPDATE vectors SET vector = x'{nan}' WHERE number = {n} AND layer = 'conv2'",
    "zero": "UPDATE vectors SET vector = zeroblob(16384) WHERE number = {n} AND layer = 'conv2'",
    "vectors-gone": "DELETE FROM vectors WHERE number = {n}",
    "image-text": "UPDATE pictures SET png = 'none' WHERE number = {n}",
    "image-cut": "UPDATE pictures SET png = x'89504e47' WHERE number = {n}",
    "image-gone": "DELETE FROM pictures WHERE number = {n}",
    "id-blob": "UPDATE images SET id = x'ff01' WHERE number = {n}",
}
"""An SQL statement that damages image number `n`, by the image's id."""


@pytest.fixture(scope="module")
def client(
    loaded: Bundle, bundle_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """A client of an app whose gallery has a damaged row of each kind, and a sound one."""
    folder = tmp_path_factory.mktemp("gallery")
    gallery = LocalGallery.open(loaded, folder)
    names = [*DAMAGES, "sound"]
    gallery.add([addition(loaded, n, image_id=name) for n, name in enumerate(names)]).result()
    gallery.close()
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as database, database:
        for number, damage in enumerate(DAMAGES.values(), 1):
            database.execute(damage.format(n=number, nan=NOT_FINITE.hex()))
        database.execute(
            "INSERT INTO overrides VALUES (?, 0, 'edited', 0, '7')", (loaded.gallery.ids[0],)
        )
        database.execute("INSERT INTO overrides VALUES (x'ff', 0, x'ff', 0, x'ff')")
    app = create_app(Settings(bundle=bundle_path, gallery=str(folder)))
    with TestClient(app, raise_server_exceptions=False) as running:
        yield running


def test_all_other_images_are_listed_and_found(client: TestClient, loaded: Bundle) -> None:
    listed = [one["id"] for one in client.get("/gallery?source=added&limit=100").json()["items"]]
    assert set(listed) == {*DAMAGES, "sound"} - {"id-blob"}
    for path in ("/predict", "/similar?limit=100&layer=conv2", "/similar?limit=100&layer=logits"):
        assert client.post(path, content=image_file(), headers=PNG).status_code == 200
    searched = {*DAMAGES, "sound"} - {"id-blob"} - {name for name in DAMAGES if "vector" in name}
    for layer in ("conv2", "logits"):
        path = f"/similar?limit=100&source=added&layer={layer}"
        found = client.post(path, content=image_file(), headers=PNG).json()["similar"]
        assert {one["id"] for one in found} == searched
        assert all(-1 <= one["score"] <= 1 for one in found)
    for name in DAMAGES.keys() - searched - {"id-blob"}:
        for layer in ("conv2", "logits"):
            lost = client.get(f"/gallery/{name}/similar?layer={layer}")
            assert (name, lost.status_code) == (name, 503)
    assert client.get("/gallery/sound/similar?explain=true").status_code == 200
    assert client.post("/gallery/duplicates?limit=1000").status_code == 200
    assert client.get(f"/gallery/{loaded.gallery.ids[0]}").status_code == 200


@pytest.mark.parametrize("name", sorted(DAMAGES.keys() - {"id-blob"}))
def test_a_damaged_image_can_be_replaced_and_removed(client: TestClient, name: str) -> None:
    for path in (f"/gallery/{name}", f"/gallery/{name}/image", f"/gallery/{name}/similar"):
        assert client.get(path).status_code in (200, 404, 503)
    put = client.put(f"/gallery/{name}", content=image_file(), headers=PNG)
    assert (put.status_code, put.json()["outcome"]) == (200, "replaced")
    assert client.delete(f"/gallery/{name}").status_code == 204
