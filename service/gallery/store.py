"""What is kept of a gallery on disk, in SQLite: the truth, of which all that is searched is made.

Knows rows and transactions; nothing of indexes. But for `picture`, only one thread at a time may
use it.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from service.errors import StorageError, UnavailableError
from service.gallery import Attributes, Item, Stale
from training.bundle import Halves, Layer

FILE: Final = "gallery.sqlite"
LOCK: Final = "lock.sqlite"
VERSION: Final = 1
CHECKPOINT: Final = 4_000
"""Pages of the log (16 MB) after which it is written back: seldom, as who writes waits for it."""

SCHEMA: Final = """
BEGIN;
CREATE TABLE images (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
    id TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    label_predicted INTEGER NOT NULL,
    predicted TEXT,
    attributes TEXT NOT NULL,
    created_at TEXT,
    network TEXT NOT NULL                      -- that made the vectors
);
CREATE TABLE pictures (number INTEGER PRIMARY KEY, png BLOB);
CREATE TABLE vectors (
    number INTEGER NOT NULL,
    layer TEXT NOT NULL,
    vector BLOB NOT NULL,                      -- fp16, of length 1
    PRIMARY KEY (number, layer)
);
CREATE TABLE removed (id TEXT PRIMARY KEY);    -- of a bundle
CREATE TABLE edited (                          -- of a bundle
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    label_predicted INTEGER NOT NULL,
    attributes TEXT NOT NULL
);
PRAGMA user_version = 1;
COMMIT;
"""


_VECTORS: Final = "SELECT number, vector FROM vectors WHERE layer = ?"


@dataclass(frozen=True)
class Row:
    """An added image as it is kept; its number is its own for ever."""

    number: int
    item: Item
    network: str


@dataclass(frozen=True)
class Edit:
    """What has been edited of an image of the bundle."""

    label: str
    label_predicted: bool
    attributes: Attributes

    def of(self, item: Item) -> Item:
        """The image with it."""
        return replace(item, **vars(self))


class Store:
    """A folder with a database, opened for reading; `lock` it before it is changed."""

    def __init__(self, folder: Path) -> None:
        """Open what is there; the folder is made when something is to be kept."""
        self.folder = folder
        self._lock: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._connection, self._pictures = _empty(), _empty()
        if self.kept:
            self._open(make=False)

    @property
    def kept(self) -> bool:
        """Whether anything has ever been kept here."""
        return (self.folder / FILE).exists()

    @property
    def locked(self) -> bool:
        """Whether this process may change it, and no other."""
        return self._lock is not None

    def lock(self) -> None:
        """Have it for this process alone, as long as that lives; make it where there is none.

        Raises:
            UnavailableError: another process has it.
            StorageError: it cannot be made.

        """
        if self.locked:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = _connect(self.folder / LOCK)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"The gallery's folder {self.folder} cannot be written: {error}. Set "
                "KINDRED_GALLERY to one that can."
            ) from error
        try:
            lock.execute("PRAGMA journal_mode = MEMORY")  # nothing is ever written
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            lock.close()
            raise UnavailableError(
                f"Another process keeps its gallery in {self.folder}: one of the two needs "
                "another KINDRED_GALLERY."
            ) from error
        try:
            self._open(make=True)
        except BaseException:
            lock.close()
            raise
        self._lock = lock

    def close(self) -> None:
        """Close it, and let others have it."""
        with self._reading:
            self._pictures.close()
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is changed inside is kept, or nothing.

        Raises:
            StorageError: it cannot be kept.

        """
        with _told(self.folder):
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # else SQLite has done so
                    self._run("ROLLBACK")
                raise

    @contextmanager
    def part(self) -> Iterator[None]:
        """The same of some part of a transaction."""
        with _told(self.folder):
            self._run("SAVEPOINT part")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:  # else SQLite has done so
                    self._run("ROLLBACK TO part")
                    self._run("RELEASE part")
                raise
            self._run("RELEASE part")

    def rows(self) -> list[Row]:
        """All added images."""
        with _told(self.folder):
            return [_row(found) for found in self._run("SELECT * FROM images")]

    def find(self, image_id: str) -> Row | None:
        """The added image of that id, if there is one."""
        found = self._run("SELECT * FROM images WHERE id = ?", image_id).fetchone()
        return _row(found) if found else None

    def vectors(self, layer: Layer) -> Iterator[tuple[int, Halves]]:
        """The numbers of all images and their unit vectors [dimension] at a layer."""
        with _told(self.folder):
            for number, blob in self._run(_VECTORS, layer):
                yield number, np.frombuffer(blob, np.float16)

    def picture(self, number: int) -> bytes | None:
        """The PNG of an image; may be asked for by any thread, and waits for no change."""
        with self._reading:
            found = self._pictures.execute(
                "SELECT png FROM pictures WHERE number = ?", (number,)
            ).fetchone()
        return found[0] if found else None

    def picture_now(self, number: int) -> bytes | None:
        """The PNG of an image as the transaction has it in which one is."""
        found = self._run("SELECT png FROM pictures WHERE number = ?", number).fetchone()
        return found[0] if found else None

    def insert(
        self, item: Item, network: str, png: bytes | None, vectors: Mapping[Layer, Halves]
    ) -> int:
        """Keep an image whose id no other has; its number."""
        number = self._run(
            "INSERT INTO images VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            *(item.id, item.label, item.label_predicted, item.predicted),
            json.dumps(dict(item.attributes)),
            item.created_at.isoformat() if item.created_at else None,
            network,
        ).lastrowid
        assert number is not None  # noqa: S101  SQLite has just given it
        self._run("INSERT INTO pictures VALUES (?, ?)", number, png)
        self._set_vectors(number, vectors)
        return number

    def edit(self, item: Item) -> None:
        """Keep another label and attributes of an added image."""
        self._run(
            "UPDATE images SET label = ?, label_predicted = ?, attributes = ? WHERE id = ?",
            *(item.label, item.label_predicted, json.dumps(dict(item.attributes)), item.id),
        )

    def renew(self, number: int, item: Item, network: str, vectors: Mapping[Layer, Halves]) -> None:
        """Keep what another network makes of an added image."""
        self._run(
            "UPDATE images SET network = ?, predicted = ?, label = ? WHERE number = ?",
            *(network, item.predicted, item.label, number),
        )
        self._run("DELETE FROM vectors WHERE number = ?", number)
        self._set_vectors(number, vectors)

    def delete(self, number: int) -> None:
        """Forget an added image."""
        self._run("DELETE FROM images WHERE number = ?", number)
        self._run("DELETE FROM pictures WHERE number = ?", number)
        self._run("DELETE FROM vectors WHERE number = ?", number)

    def removed(self) -> set[str]:
        """The ids of a bundle's images that have been taken away."""
        return {image_id for (image_id,) in self._run("SELECT id FROM removed")}

    def is_removed(self, image_id: str) -> bool:
        """Whether a bundle's image has been taken away."""
        return bool(self._run("SELECT 1 FROM removed WHERE id = ?", image_id).fetchone())

    def remove(self, image_id: str) -> None:
        """Take a bundle's image away."""
        self._run("INSERT OR IGNORE INTO removed VALUES (?)", image_id)
        self._run("DELETE FROM edited WHERE id = ?", image_id)

    def edits(self) -> dict[str, Edit]:
        """What has been edited of the bundle's images, by id."""
        return {found[0]: _edit(found) for found in self._run("SELECT * FROM edited")}

    def edit_of(self, image_id: str) -> Edit | None:
        """What has been edited of an image of the bundle."""
        found = self._run("SELECT * FROM edited WHERE id = ?", image_id).fetchone()
        return _edit(found) if found else None

    def edit_of_bundle(self, item: Item) -> None:
        """Keep another label and attributes of a bundle's image."""
        self._run(
            "INSERT OR REPLACE INTO edited VALUES (?, ?, ?, ?)",
            *(item.id, item.label, item.label_predicted, json.dumps(dict(item.attributes))),
        )

    def stale(self, network: str, limit: int) -> list[Stale]:
        """Some images whose vectors another network made."""
        found = self._run(
            "SELECT id, number, png FROM images JOIN pictures USING (number) "
            "WHERE network != ? AND png IS NOT NULL LIMIT ?",
            *(network, limit),
        )
        return [Stale(*one) for one in found]

    def _set_vectors(self, number: int, vectors: Mapping[Layer, Halves]) -> None:
        for layer, vector in vectors.items():
            self._run("INSERT INTO vectors VALUES (?, ?, ?)", number, layer, vector.tobytes())

    def _open(self, *, make: bool) -> None:
        file = self.folder / FILE
        with _told(self.folder):
            connection = _connect(file)
            try:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version not in (0, VERSION):
                    raise StorageError(
                        f"{file} is of version {version}, and this service keeps {VERSION}: use "
                        "the service that wrote it, or another KINDRED_GALLERY."
                    )
                if version == 0 and not make:  # whoever began it did not come far
                    connection.close()
                    return
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
                if version == 0:
                    connection.executescript(SCHEMA)
                pictures = _connect(file)
            except BaseException:
                connection.close()
                raise
        with self._reading:
            self._connection.close()
            self._pictures.close()
            self._connection, self._pictures = connection, pictures

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)


def _empty() -> sqlite3.Connection:
    """What is read where nothing has been kept yet."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(SCHEMA)
    return connection


def _row(found: Sequence[object]) -> Row:
    number, image_id, label, label_predicted, predicted, attributes, created_at, network = found
    return Row(
        number=int(str(number)),
        item=Item(
            id=str(image_id),
            label=str(label),
            predicted=None if predicted is None else str(predicted),
            label_predicted=bool(label_predicted),
            attributes=json.loads(str(attributes)),
            source="added",
            created_at=None if created_at is None else datetime.fromisoformat(str(created_at)),
        ),
        network=str(network),
    )


def _edit(found: Sequence[str]) -> Edit:
    _, label, label_predicted, attributes = found
    return Edit(label, bool(label_predicted), json.loads(attributes))


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say what SQLite says in our own words."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says where it came about
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise StorageError(
                f"{folder / FILE} is damaged: {error}. Move it away and bring a backup in with "
                "'python -m service gallery import'."
            ) from error
        raise StorageError(
            f"The gallery cannot be kept in {folder}: {error}. All that was kept is still there; "
            "make room, then try again."
        ) from error
