"""Each data set has a gallery of its own, and galleries of other classes are not mixed silently."""

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.gallery.factory import GALLERIES, open_gallery, rebind_gallery
from service.gallery.local.gallery import LocalGallery
from service.settings import Settings
from tests.support.factories import linked_copy
from tests.support.fakes import image_file
from tests.support.galleries import addition, ids
from training.bundle import Bundle
from training.bundle.manifest import MANIFEST, dump, read_manifest
from training.bundle.writer import update_current_link
from training.data.source import scan

PNG = {"Content-Type": "image/png"}


@pytest.fixture(autouse=True)
def _unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with KINDRED_GALLERY unset."""
    monkeypatch.delenv("KINDRED_GALLERY")
    monkeypatch.chdir(tmp_path)


def of_other_data(bundle: Bundle, name: str, classes: tuple[str, ...] | None = None) -> Bundle:
    """Return the bundle as that of another data set, with other class names if they are given."""
    update = {
        "source": scan(Path()).model_copy(update={"key": name}),
        "classes": classes or bundle.manifest.classes,
    }
    return replace(bundle, manifest=bundle.manifest.model_copy(update=update))


def add(address: str | None, bundle: Bundle, seed: int = 1) -> None:
    gallery = open_gallery(address, bundle)
    gallery.add([addition(bundle, seed)]).result()
    gallery.close()


def added(address: str | None, bundle: Bundle) -> int:
    gallery = open_gallery(address, bundle)
    gallery.close()
    return gallery.added


def test_what_is_added_to_one_data_set_is_not_shown_beside_another(loaded: Bundle) -> None:
    flowers, birds = of_other_data(loaded, "flowers-1"), of_other_data(loaded, "birds-2")
    add(None, flowers)
    assert (added(None, flowers), added(None, birds)) == (1, 0)
    assert (GALLERIES / "flowers-1" / "gallery.sqlite").exists()


def test_all_bundles_of_cifar10_share_a_gallery(loaded: Bundle) -> None:
    for name in ("cifar10", "cifar10-jpeg"):
        dataset = loaded.manifest.dataset.model_copy(update={"gallery_from": name})
        manifest = loaded.manifest.model_copy(update={"dataset": dataset, "source": None})
        assert manifest.data_key == "cifar10"


def test_a_gallery_that_bundles_shared_is_used_if_its_classes_fit(
    loaded: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    add(str(GALLERIES), loaded)
    assert added(None, of_other_data(loaded, "flowers-1")) == 1
    assert not caplog.records


def test_a_gallery_that_was_shared_beside_other_classes_is_left_alone_and_named(
    loaded: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    add(str(GALLERIES), loaded)
    others = of_other_data(loaded, "flowers-1", tuple(f"flower{n}" for n in range(10)))
    assert added(None, others) == 0
    assert "other classes (" in caplog.text
    assert "KINDRED_GALLERY=gallery" in caplog.text
    assert added(None, loaded) == 1


def test_a_gallery_named_by_the_setting_is_opened_with_a_warning_beside_other_classes(
    loaded: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    add("own", loaded)
    assert not caplog.records
    others = of_other_data(loaded, "flowers-1", tuple(f"flower{n}" for n in range(10)))
    assert added("own", others) == 1
    assert "The gallery own has images that were added beside other classes" in caplog.text


def test_a_new_bundle_of_the_same_data_keeps_the_storage_open(loaded: Bundle) -> None:
    gallery = open_gallery(None, loaded)
    gallery.add([addition(loaded, 1)]).result()
    rebound = rebind_gallery(gallery, None, loaded)
    other = rebind_gallery(gallery, None, of_other_data(loaded, "birds-2"))
    try:
        gallery.add([addition(loaded, 2)]).result()
        assert isinstance(other, LocalGallery)
        assert (rebound.added, other.added, other.folder) == (2, 0, GALLERIES / "birds-2")
        assert len(ids(rebound)) == len(loaded.gallery) + 2
    finally:
        for one in (gallery, rebound, other):
            one.close()


def test_a_reload_to_other_data_serves_the_gallery_of_that_data(
    bundle_path: Path, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        folder = linked_copy(bundle_path, tmp_path / name)
        manifest = read_manifest(folder)
        source = scan(Path()).model_copy(update={"key": name})
        (folder / MANIFEST).unlink()
        dump(manifest.model_copy(update={"source": source}), folder / MANIFEST)
    update_current_link(tmp_path / "current", tmp_path / "one")
    with TestClient(create_app(Settings(bundle=tmp_path / "current"))) as client:
        assert client.post("/gallery?id=mine", content=image_file(), headers=PNG).is_success
        for name, status in (("other", 404), ("one", 200)):
            update_current_link(tmp_path / "current", tmp_path / name)
            assert client.post("/admin/reload").is_success
            assert client.get("/gallery/mine").status_code == status
