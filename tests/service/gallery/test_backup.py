"""Export and import of a gallery."""

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import NotFoundError
from service.gallery import backup
from service.gallery.backup import BackupError, ImportResult
from service.gallery.local.gallery import LocalGallery
from service.gallery.protocol import Gallery
from service.gallery.types import Item
from tests.support.fakes import image_file, png
from tests.support.galleries import BACKENDS, Open, addition, vectors
from tests.support.lengths import length
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


def items(gallery: Gallery) -> tuple[Item, ...]:
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


@pytest.fixture
def unreadable(tmp_path: Path) -> dict[str, Path]:
    """Paths that no file can be read from, by the reason."""
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "dangling").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    return {
        "No such file": tmp_path / "dangling",
        "Not a directory": tmp_path / "file" / "below",
        "Too many levels": tmp_path / "circle",
        "name too long": tmp_path / ("long" * 100),
        "not a regular file": tmp_path / "pipe",
    }


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    gallery: LocalGallery, unreadable: dict[str, Path]
) -> None:
    for reason, file in unreadable.items():
        with pytest.raises(BackupError, match=f"{re.escape(str(file))} .*{reason}"):
            backup.read(gallery, file)


@pytest.mark.skipif(os.geteuid() != 0, reason="must become another user for a moment")
def test_a_closed_folder_is_named_by_import_and_export(
    gallery: LocalGallery, tmp_path: Path
) -> None:
    backup.write(gallery, tmp_path / "file")
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(BackupError, match=r"file cannot be read as a backup: .*denied"):
            backup.read(gallery, tmp_path / "file")
        with pytest.raises(BackupError, match=r"other cannot be written: .*denied"):
            backup.write(gallery, tmp_path / "other")
    finally:
        os.seteuid(0)


def test_a_failed_export_leaves_the_previous_file(gallery: LocalGallery, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"the one before")

    def fail(_: int) -> None:
        raise OSError("the disk is full")

    with pytest.raises(BackupError, match="full"):
        backup.write(gallery, file, fail)
    assert file.read_bytes() == b"the one before"
    assert {one.name for one in tmp_path.iterdir()} <= {"file", "from", "to"}


def test_a_failed_export_below_a_file_or_into_a_folder_says_why(
    gallery: LocalGallery, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "file" / "backup", tmp_path, tmp_path / ("long" * 100)):
        with pytest.raises(BackupError, match="cannot be written"):
            backup.write(gallery, target)


def test_an_export_follows_links(gallery: LocalGallery, tmp_path: Path) -> None:
    for name in ("there", "missing", os.fsdecode(b"caf\xe9")):
        (tmp_path / f"{name}-link").symlink_to(f"{name}.parquet")
    (tmp_path / "there.parquet").write_bytes(b"the one before")
    for name in ("there", "missing", os.fsdecode(b"caf\xe9")):
        assert backup.write(gallery, tmp_path / f"{name}-link") == len(gallery)
        assert (tmp_path / f"{name}-link").is_symlink()
        assert backup.count(tmp_path / f"{name}.parquet") == len(gallery)


def test_an_export_writes_into_a_pipe(
    gallery: LocalGallery, other: LocalGallery, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        received = reader.submit(pipe.read_bytes)
        backup.write(gallery, pipe)
        (tmp_path / "copy").write_bytes(received.result())
    assert pipe.is_fifo()
    backup.read(other, tmp_path / "copy", mirror=True)
    assert items(other) == items(gallery)


Edit = Callable[[dict[str, Any], Bundle], object]
"""Changes one row of a backup."""
REFUSED_ROWS: dict[str, Edit] = {
    "id: slash": lambda row, _: row.update(id="a/b"),
    "id: empty": lambda row, _: row.update(id=""),
    "id: dots": lambda row, _: row.update(id=".."),
    "id: control": lambda row, _: row.update(id="a\tb"),
    "id: long": lambda row, _: row.update(id="a" * 1000),
    "id: null": lambda row, _: row.update(id=None),
    "two rows": lambda row, _: row.update(id="added-0001"),
    "label: empty": lambda row, _: row.update(label=""),
    "label: null": lambda row, _: row.update(label=None),
    "label: long": lambda row, _: row.update(label="a" * 1000),
    "label_predicted: null": lambda row, _: row.update(label_predicted=None),
    "source: other": lambda row, _: row.update(source="elsewhere"),
    "attributes: number": lambda row, _: row.update(attributes="5"),
    "attributes: list": lambda row, _: row.update(attributes="[1]"),
    "attributes: cut": lambda row, _: row.update(attributes='{"a": '),
    "attributes: nested": lambda row, _: row.update(attributes='{"a": {}}'),
    "attributes: name": lambda row, _: row.update(attributes='{"a b": 1}'),
    "attributes: infinite": lambda row, _: row.update(attributes='{"a": Infinity}'),
    "other classes": lambda row, _: row.update(predicted="unicorn"),
    "PNG: no image": lambda row, _: row.update(png=b"none"),
    "PNG: large": lambda row, _: row.update(png=png(np.zeros((33, 32, 3), np.uint8))),
    "PNG: cut": lambda row, _: row.update(png=row["png"][:-30]),
    "zero or not finite: zero": lambda row, _: row["vector_conv2"].__imul__(0),
    "zero or not finite: nan": lambda row, _: row["vector_conv2"].__setitem__(0, np.nan),
    "zero or not finite: inf": lambda row, _: row["vector_logits"].__setitem__(0, np.inf),
    "dimensions: none": lambda row, _: row.update(vector_conv2=None),
    "dimensions: no pixels": lambda row, _: row.update(
        png=None, network="another", vector_logits=None
    ),
}
"""Changes to a row after which it is refused, by the reason that the message names."""
COLUMNS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "'id' is int64": lambda table: _set(table, "id", pa.array(range(len(table)))),
    "'attributes' is int64": lambda table: _set(table, "attributes", pa.array([5] * len(table))),
    "'attributes' is list": lambda table: _set(table, "attributes", pa.array([["a"]] * len(table))),
    "'png' is string": lambda table: _set(table, "png", pa.array(["a"] * len(table))),
    "'vector_conv2' is list": lambda table: _set(
        table, "vector_conv2", table["vector_conv2"].cast(pa.list_(pa.float16()))
    ),
    "'logits': 3}, and those of this bundle": lambda table: _set(
        table,
        "vector_logits",
        pa.FixedSizeListArray.from_arrays(pa.array(np.ones(3 * len(table), np.float16)), 3),
    ),
    "no column 'label'": lambda table: table.drop_columns("label"),
    "column 'colour'": lambda table: table.append_column("colour", pa.array([1] * len(table))),
    "same name": lambda table: table.append_column("id", table["id"]),
}
"""Changes to a table after which it is refused, by the reason that the message names."""


def _set(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


@pytest.fixture(scope="module")
def exported(loaded: Bundle, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """An export of three added images."""
    folder = tmp_path_factory.mktemp("exported")
    opened = LocalGallery.open(loaded, folder / "gallery")
    opened.add([addition(loaded, seed) for seed in range(3)]).result()
    backup.write(opened, folder / "file")
    opened.close()
    return pq.read_table(folder / "file").take([0, 1, 2])


def write_table(table: pa.Table, file: Path, metadata: dict[bytes, bytes]) -> Path:
    described = table.replace_schema_metadata(metadata | {b"count": str(len(table))})
    pq.write_table(described, file, write_page_checksum=True)
    return file


def with_row(table: pa.Table, edit: Edit, loaded: Bundle) -> pa.Table:
    """Return a table whose last row was changed."""
    rows = table.to_pylist()
    for name in ("vector_conv2", "vector_logits"):
        rows[-1][name] = np.array(rows[-1][name])
    edit(rows[-1], loaded)
    fields = [field.with_nullable(True) for field in table.schema]
    return pa.Table.from_pylist(rows, pa.schema(fields))


@pytest.mark.parametrize("reason", REFUSED_ROWS)
def test_a_row_that_does_not_fit_is_refused_and_nothing_is_kept(
    exported: pa.Table, other: LocalGallery, loaded: Bundle, tmp_path: Path, reason: str
) -> None:
    table = with_row(exported, REFUSED_ROWS[reason], loaded)
    file = write_table(table, tmp_path / "file", exported.schema.metadata)
    before = items(other)
    with pytest.raises(BackupError, match=reason.partition(":")[0]):
        backup.read(other, file, mirror=True)
    assert items(other) == before


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_all_files_are_checked_before_an_image_of_the_first_is_kept(
    backend: Open, exported: pa.Table, loaded: Bundle, tmp_path: Path
) -> None:
    good = write_table(exported.take([0]), tmp_path / "good", exported.schema.metadata)
    zero = with_row(exported, REFUSED_ROWS["zero or not finite: zero"], loaded)
    bad = write_table(zero, tmp_path / "bad", exported.schema.metadata)
    gallery = backend(loaded, tmp_path)
    before = items(gallery)
    with pytest.raises(BackupError, match="bad: image 'added-0002'"):
        backup.read(gallery, good, bad)
    assert items(gallery) == before
    assert backup.read(gallery, good).added == 1
    gallery.close()


@pytest.mark.parametrize("reason", COLUMNS)
def test_columns_that_do_not_fit_are_refused(
    exported: pa.Table, other: LocalGallery, tmp_path: Path, reason: str
) -> None:
    table = COLUMNS[reason](exported)
    file = write_table(table, tmp_path / "file", exported.schema.metadata)
    with pytest.raises(BackupError, match=re.escape(reason)):
        backup.read(other, file)


@pytest.mark.soak
def test_a_file_with_flipped_bits_is_refused_or_the_same(
    exported: pa.Table, other: LocalGallery, tmp_path: Path
) -> None:
    """Checksums cover the rows; a flipped bit elsewhere may have no effect."""
    file = write_table(exported, tmp_path / "file", exported.schema.metadata)
    sound, before = file.read_bytes(), items(other)
    backup.read(other, file)
    added = ("added-0000", "added-0001", "added-0002")
    whole, vectors = items(other), other.snapshot().vectors("conv2", added)
    random = np.random.default_rng(0)
    for position in random.integers(len(sound), size=length(full=2_000, short=50)):
        for image_id in added:
            with suppress(NotFoundError):
                other.remove(image_id).result()
        flipped = bytearray(sound)
        flipped[position] ^= 1 << random.integers(8)
        file.write_bytes(flipped)
        try:
            backup.read(other, file)
        except BackupError:
            assert items(other) == before
        else:
            assert items(other) == whole
            found = other.snapshot().vectors("conv2", added)
            assert all((found[one] == vectors[one]).all() for one in added)


def test_null_attributes_and_other_networks_are_taken(
    exported: pa.Table, other: LocalGallery, loaded: Bundle, tmp_path: Path
) -> None:
    def edit(row: dict[str, Any], _: Bundle) -> None:
        row.update(attributes=None, network="another", vector_logits=None, id="ä b [old]")

    table = with_row(exported, edit, loaded)
    backup.read(other, write_table(table, tmp_path / "file", exported.schema.metadata))
    assert other.snapshot().get("ä b [old]").attributes == {}
    assert [one.id for one in other.next_outdated(10)] == ["ä b [old]"]


def test_an_import_that_fails_half_way_leaves_the_gallery_as_it_was(
    gallery: LocalGallery, other: LocalGallery, tmp_path: Path
) -> None:
    backup.write(gallery, tmp_path / "file")
    calls: list[int] = []

    def fail(images: int) -> None:
        calls.append(images)
        if len(calls) == 2:  # after the check, and the first batch
            raise OSError("the power is cut")

    before = items(other)
    with pytest.raises(OSError, match="power"):
        backup.read(other, tmp_path / "file", mirror=True, on_images=fail)
    assert items(other) == before
    assert len(calls) == 2
    backup.read(other, tmp_path / "file", mirror=True)
    assert items(other) == items(gallery)


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
