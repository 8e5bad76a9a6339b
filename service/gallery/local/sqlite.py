"""The file of a local gallery: an SQLite database, and the lock that lets one process change it.

Knows transactions, locks and SQLite's errors; nothing of what the rows mean.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from service.errors import StorageError, UnavailableError

FILE: Final = "gallery.sqlite"
LOCK: Final = "lock.sqlite"
VERSION: Final = 2
CHECKPOINT: Final = 4_000
"""Pages of the write-ahead log (16 MB) between checkpoints; commits wait for a checkpoint."""

_OVERRIDES: Final = """
CREATE TABLE overrides (                       -- of a bundle's images
    id TEXT PRIMARY KEY,
    deleted INTEGER NOT NULL,
    label TEXT NOT NULL,                       -- this and the rest: as edited, if not deleted
    label_predicted INTEGER NOT NULL,
    attributes TEXT NOT NULL
);
"""
SCHEMA: Final = f"""
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
{_OVERRIDES}
PRAGMA user_version = {VERSION};
COMMIT;
"""
MIGRATION: Final = f"""
BEGIN IMMEDIATE;
{_OVERRIDES}
INSERT INTO overrides SELECT id, 1, '', 0, '{{}}' FROM removed;
INSERT OR IGNORE INTO overrides SELECT id, 0, label, label_predicted, attributes FROM edited;
DROP TABLE removed;
DROP TABLE edited;
PRAGMA user_version = {VERSION};
COMMIT;
"""  # noqa: S608  constants alone
"""Makes a database of version 1 one of version 2."""


def _connect(file: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Connect to a database.

    If `immutable`, connect for reading without creating a file, since the disk may be full.
    """
    return sqlite3.connect(
        f"{file.absolute().as_uri()}?immutable=1" if immutable else file,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
        uri=immutable,
    )


class Database:
    """A folder with a database, open for reading; `lock` it before a change."""

    def __init__(self, folder: Path) -> None:
        """Open the database for reading, if there is one; `lock` creates the folder."""
        self.folder = folder
        self._lock: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._connection, self._reader = _empty(), _empty()
        if not self.exists:
            return
        try:
            self._open(writable=False)
        except StorageError:
            if self._size(f"{FILE}-wal"):
                raise  # to read it, SQLite must create another file in the folder
            self._open(writable=False, immutable=True)

    @property
    def exists(self) -> bool:
        """Whether there is a database file.

        Raises:
            StorageError: the folder cannot be entered.

        """
        return self._size(FILE) is not None

    @property
    def locked(self) -> bool:
        """Whether this process, and no other, may change the database."""
        return self._lock is not None

    @property
    def version(self) -> int:
        """The schema version of the database; before `lock`, it may be 1."""
        (version,) = self._run("PRAGMA user_version").fetchone()
        return int(version)

    def lock(self) -> None:
        """Reserve the database for this process as long as it lives; create or migrate it.

        Raises:
            UnavailableError: another process has locked it.
            StorageError: it cannot be created or migrated.

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
                f"Another process uses the gallery in {self.folder}. Stop it, or set another "
                "KINDRED_GALLERY for one of the two."
            ) from error
        try:
            self._open(writable=True)
        except BaseException:
            lock.close()
            raise
        self._lock = lock

    def close(self) -> None:
        """Close the database and release the lock."""
        with self._reading:
            self._reader.close()
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Store all changes made inside, or none.

        Raises:
            StorageError: they cannot be stored.

        """
        return self._all_or_nothing("BEGIN IMMEDIATE", "COMMIT", ["ROLLBACK"])

    def savepoint(self) -> AbstractContextManager[None]:
        """Undo a part of a transaction if an exception leaves the block."""
        return self._all_or_nothing(
            "SAVEPOINT part", "RELEASE part", ["ROLLBACK TO part", "RELEASE part"]
        )

    @contextmanager
    def _all_or_nothing(self, begin: str, end: str, undo: Sequence[str]) -> Iterator[None]:
        with translate_errors(self.folder):
            self._run(begin)
            try:
                yield
                self._run(end)
            except BaseException:
                if self._connection.in_transaction:  # else SQLite has rolled back itself
                    for statement in undo:
                        self._run(statement)
                raise

    @contextmanager
    def read_transaction(self) -> Iterator[None]:
        """Read one state of the database, even while another process changes it."""
        if self._connection.in_transaction:
            yield
            return
        with translate_errors(self.folder):
            self._run("BEGIN")  # the first read inside fixes the state
            try:
                yield
            finally:
                if self._connection.in_transaction:  # else SQLite has rolled back itself
                    self._run("ROLLBACK")

    def _size(self, name: str) -> int | None:
        """Return the size of a file of the folder; None if it is missing."""
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(
                f"The gallery's folder {self.folder} cannot be read: {error.strerror}. Permit it, "
                "or set another KINDRED_GALLERY."
            ) from error

    def _open(self, *, writable: bool, immutable: bool = False) -> None:
        file = self.folder / FILE
        with translate_errors(self.folder):
            connection = _connect(file, immutable=immutable)
            try:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version not in range(VERSION + 1):
                    raise StorageError(
                        f"{file} is of version {version}, and this service knows up to {VERSION}: "
                        "use the service that wrote it, or set another KINDRED_GALLERY."
                    )
                if version == 0 and not writable:  # its creation was cut off
                    connection.close()
                    return
                if not immutable:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = FULL")
                    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
                if writable and version < VERSION:
                    connection.executescript(MIGRATION if version else SCHEMA)
                reader = _connect(file, immutable=immutable)
                reader.execute("PRAGMA user_version").fetchone()  # opens its files now
            except BaseException:
                connection.close()
                raise
        with self._reading:
            self._connection.close()
            self._reader.close()
            self._connection, self._reader = connection, reader

    def _read_committed(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row of the committed state; for any thread, never waits for a change."""
        with self._reading, translate_errors(self.folder):
            found: tuple[Any, ...] | None = self._reader.execute(statement, values).fetchone()
        return found

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)


@contextmanager
def translate_errors(folder: Path) -> Iterator[None]:
    """Raise SQLite's errors as `StorageError`, with what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits are details
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise StorageError(
                f"{folder / FILE} is damaged: {error}. Move it away and restore a backup with "
                "'python -m service gallery import'."
            ) from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
            raise StorageError(
                f"The gallery in {folder} cannot be opened: {error}. Permit this user to read and "
                "write its files."
            ) from error
        raise StorageError(
            f"The gallery in {folder} cannot be changed: {error}. Nothing stored was lost. Make "
            "room on the disk, then retry."
        ) from error


def _empty() -> sqlite3.Connection:
    """Return an empty database in memory, to read before there is a file."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(SCHEMA)
    return connection
