"""A database of version 1 shows the same images, and becomes one of version 2 when it is locked."""

import dataclasses
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from service.errors import StorageError, UnavailableError
from service.gallery.local.gallery import LocalGallery
from service.gallery.local.sqlite import FILE, LOCK
from service.gallery.local.store import Store
from service.gallery.types import Item
from tests.support.galleries import addition
from training.bundle import Bundle

TO_VERSION_1 = """
CREATE TABLE removed (id TEXT PRIMARY KEY);
CREATE TABLE edited (
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    label_predicted INTEGER NOT NULL,
    attributes TEXT NOT NULL
);
INSERT INTO removed SELECT id FROM overrides WHERE deleted;
INSERT INTO edited SELECT id, label, label_predicted, attributes FROM overrides WHERE NOT deleted;
DROP TABLE overrides;
PRAGMA user_version = 1;
"""


def change(item: Item) -> Item:
    return dataclasses.replace(item, label="unicorn", attributes={"horns": 1})


@pytest.fixture
def expected(loaded: Bundle, tmp_path: Path) -> tuple[Item, ...]:
    """Fill a database of version 1 with additions, removals and edits; return what it shows."""
    gallery = LocalGallery.open(loaded, tmp_path)
    ids = loaded.gallery.ids
    gallery.add([addition(loaded, seed) for seed in range(5)]).result()
    gallery.add([addition(loaded, 9, image_id=ids[0])], replace=True).result()
    gallery.remove("added-0002").result()
    gallery.remove(ids[1]).result()
    gallery.edit("added-0003", change).result()
    gallery.edit(ids[2], change).result()
    found = items(gallery)
    gallery.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.executescript(TO_VERSION_1)
    return found


def items(gallery: LocalGallery) -> tuple[Item, ...]:
    return gallery.snapshot().page(10_000).items


def version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / FILE)) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        return int(found)


@contextmanager
def locked_by_another(folder: Path) -> Iterator[None]:
    with closing(sqlite3.connect(folder / LOCK, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_database_of_version_1_is_migrated_when_it_is_opened(
    loaded: Bundle, tmp_path: Path, expected: tuple[Item, ...]
) -> None:
    assert version(tmp_path) == 1
    for _ in range(2):
        gallery = LocalGallery.open(loaded, tmp_path)
        assert items(gallery) == expected
        gallery.close()
        assert version(tmp_path) == 2
    gallery = LocalGallery.open(loaded, tmp_path)
    edited = gallery.edit(loaded.gallery.ids[1 + 3], change).result()
    assert gallery.snapshot().get(edited.id) == edited
    gallery.close()


def test_a_database_of_version_1_can_be_read_while_another_process_has_it(
    loaded: Bundle, tmp_path: Path, expected: tuple[Item, ...]
) -> None:
    with locked_by_another(tmp_path):
        gallery = LocalGallery.open(loaded, tmp_path)
        assert items(gallery) == expected
        with pytest.raises(UnavailableError):
            gallery.remove("added-0001").result()
        assert version(tmp_path) == 1
    gallery.remove("added-0001").result()
    assert version(tmp_path) == 2
    assert items(gallery) == tuple(item for item in expected if item.id != "added-0001")
    gallery.close()


def test_a_reader_goes_on_when_another_process_migrates_the_database(
    loaded: Bundle, tmp_path: Path, expected: tuple[Item, ...]
) -> None:
    reader = Store(tmp_path)
    before = reader.overrides()
    LocalGallery.open(loaded, tmp_path).close()
    assert version(tmp_path) == 2
    assert reader.overrides() == before
    assert {one.id for one in before.values() if one.deleted} == {*loaded.gallery.ids[:2]}
    reader.close()


@pytest.mark.usefixtures("expected")
def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("ALTER TABLE edited RENAME TO lost")
    store = Store(tmp_path)
    with pytest.raises(StorageError, match="edited"):
        store.lock()
    assert not store.locked
    store.close()
    assert version(tmp_path) == 1
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "removed" in tables
    assert "overrides" not in tables
