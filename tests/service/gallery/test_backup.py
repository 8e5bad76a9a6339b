"""Export and import of a gallery."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.gallery import backup
from service.gallery.backup import BackupError, ImportResult
from service.gallery.local.gallery import LocalGallery
from service.gallery.types import Item
from tests.support.fakes import image_file
from tests.support.galleries import BACKENDS, Open, addition, vectors
from tests.support.processes import ROOT, running_server, serve_command
from training.bundle import Bundle


@pytest.fixture
def gallery(loaded: Bundle, tmp_path: Path) -> Iterator[LocalGallery]:
    """A gallery with images added, removed and edited."""
    opened = LocalGallery.open(loaded, tmp_path / "from")
    opened.add([addition(loaded, seed, attributes={"n": seed}) for seed in range(20)]).result()
    opened.remove("added-0003").result()
    opened.remove(loaded.gallery.ids[0]).result()
    for image_id in ("added-0004", loaded.gallery.ids[1]):
        opened.edit(image_id, lambda item: dataclasses.replace(item, label="unicorn")).result()
    yield opened
    opened.close()


@pytest.fixture
def other(loaded: Bundle, tmp_path: Path) -> Iterator[LocalGallery]:
    """Another gallery of the same bundle."""
    opened = LocalGallery.open(loaded, tmp_path / "to")
    yield opened
    opened.close()


def items(gallery: LocalGallery) -> tuple[Item, ...]:
    return gallery.snapshot().page(10_000).items


def test_an_import_restores_exactly_what_was_exported(
    gallery: LocalGallery, other: LocalGallery, loaded: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "gallery.parquet"
    assert backup.write(gallery, file) == len(gallery) == backup.count(file)
    result = backup.read(other, file, mirror=True)
    assert result == ImportResult(added=19, changed=1, unchanged=len(loaded.gallery) - 2, removed=1)
    assert items(other) == items(gallery)
    for layer in gallery.snapshot().layers:
        ids = [item.id for item in items(gallery)]
        here, there = (one.snapshot().vectors(layer, ids) for one in (gallery, other))
        assert list(here) == list(there) == ids
        assert all((here[one] == there[one]).all() for one in ids)
    assert other.snapshot().image("added-0001") == gallery.snapshot().image("added-0001")
    ((match,),) = other.snapshot().search("conv2", vectors(loaded, 7)["conv2"][None], 1)
    assert match.item.id == "added-0007"


def test_a_second_import_changes_nothing(
    gallery: LocalGallery, other: LocalGallery, tmp_path: Path
) -> None:
    backup.write(gallery, tmp_path / "file")
    backup.read(other, tmp_path / "file", mirror=True)
    again = backup.read(other, tmp_path / "file", mirror=True)
    assert (again.added, again.changed, again.removed) == (0, 0, 0)


def test_an_import_replaces_images_of_the_same_ids(
    gallery: LocalGallery, other: LocalGallery, loaded: Bundle, tmp_path: Path
) -> None:
    other.add([addition(loaded, 99, image_id="added-0001")]).result()
    backup.write(gallery, tmp_path / "file")
    backup.read(other, tmp_path / "file")
    assert other.snapshot().image("added-0001") == gallery.snapshot().image("added-0001")
    removed_there = loaded.gallery.ids[0]
    assert other.snapshot().get(removed_there).id == removed_there  # no `mirror`


def test_outdated_vectors_are_not_exported_and_embedded_again_after_an_import(
    gallery: LocalGallery, other: LocalGallery, loaded: Bundle, tmp_path: Path
) -> None:
    gallery.add([dataclasses.replace(addition(loaded, 50), network="another")]).result()
    backup.write(gallery, tmp_path / "file")
    backup.read(other, tmp_path / "file")
    assert [one.id for one in other.next_outdated(10)] == ["added-0050"]


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_outdated_vectors_are_not_exported_even_if_this_gallery_cannot_renew_them(
    backend: Open, loaded: Bundle, bundle_without_pixels: Bundle, tmp_path: Path
) -> None:
    """One image has no pixels, and a service with a newer bundle may embed the other."""
    whole, bare = (dataclasses.replace(addition(loaded, n), network="another") for n in range(2))
    gallery = backend(loaded, tmp_path)
    gallery.add([whole, dataclasses.replace(bare, png=None), addition(loaded, 2)]).result()
    newer = gallery.rebind(bundle_without_pixels)
    backup.write(gallery, tmp_path / "file")
    newer.close()
    gallery.close()
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "file").to_pylist()}
    for outdated in ("added-0000", "added-0001"):
        assert rows[outdated]["network"] is rows[outdated]["vector_conv2"] is None
    assert rows["added-0002"]["network"] == loaded.network_id
    assert rows["added-0002"]["vector_conv2"] is not None


def test_an_image_removed_during_an_export_is_left_out(
    gallery: LocalGallery, loaded: Bundle, tmp_path: Path
) -> None:
    gallery.add([dataclasses.replace(addition(loaded, 50), png=None)]).result()
    second = LocalGallery.open(loaded, tmp_path / "from")
    gallery.remove("added-0001").result()
    assert backup.write(second, tmp_path / "file") == len(second) - 1
    second.close()
    rows = pq.read_table(tmp_path / "file", columns=["id", "png"]).to_pylist()
    assert "added-0001" not in {row["id"] for row in rows}
    assert [row["id"] for row in rows if row["png"] is None] == ["added-0050"]


def test_an_export_is_plain_parquet_with_unit_vectors(
    gallery: LocalGallery, tmp_path: Path
) -> None:
    backup.write(gallery, tmp_path / "file")
    table = pq.read_table(tmp_path / "file")
    assert {"id", "label", "attributes", "png", "vector_conv2"} <= set(table.column_names)
    lengths = np.linalg.norm(np.stack(table["vector_conv2"].to_numpy()).astype(np.float32), axis=1)
    assert lengths == pytest.approx(np.ones(len(gallery)), abs=1e-2)


def test_a_gallery_without_pixels_can_be_exported_and_imported(
    bundle_without_pixels: Bundle, tmp_path: Path
) -> None:
    gallery = LocalGallery.open(bundle_without_pixels, tmp_path / "from")
    backup.write(gallery, tmp_path / "file")
    result = backup.read(gallery, tmp_path / "file", mirror=True)
    assert result == ImportResult(0, 0, len(gallery), 0)
    gallery.close()


def test_a_file_that_is_not_a_backup_is_refused(gallery: LocalGallery, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(image_file())
    with pytest.raises(BackupError, match="file"):
        backup.read(gallery, file)


def test_a_failed_export_leaves_the_previous_file(gallery: LocalGallery, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"the one before")

    def fail(_: int) -> None:
        raise OSError("the disk is full")

    with pytest.raises(BackupError, match="full"):
        backup.write(gallery, file, fail)
    assert file.read_bytes() == b"the one before"
    assert {one.name for one in tmp_path.iterdir()} <= {"file", "from", "to"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "gallery", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_export_works_while_a_service_runs_and_import_is_refused(
    bundle_path: Path, tmp_path: Path
) -> None:
    file = tmp_path / "gallery.parquet"
    with running_server(serve_command(bundle_path), KINDRED_MAX_BATCH_SIZE="4") as client:
        client.post("/gallery?id=mine", content=image_file(), headers={"Content-Type": "image/png"})
        written = run("export", file, "--bundle", bundle_path)
        assert (written.returncode, written.stdout) == (0, f"151 images in {file}\n")
        client.delete("/gallery/mine")
        refused = run("import", file, "--bundle", bundle_path)
        assert refused.returncode == 1
        assert "Another process" in refused.stderr
    imported = run("import", file, "--bundle", bundle_path)
    assert imported.stdout == "1 added, 0 changed, 150 were there already, 0 removed\n"
