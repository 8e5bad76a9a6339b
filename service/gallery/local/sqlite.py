"""The file that a gallery is kept in: an SQLite database, and who may change it.

Knows transactions, locks and what SQLite complains of; nothing of what is in the rows.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from service.errors import StorageError, UnavailableError

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


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)


def _connect_immutable(file: Path) -> sqlite3.Connection:
    """Without so much as a file beside it, for which a full disk has no room: to be read alone."""
    address = f"{file.absolute().as_uri()}?immutable=1"
    return sqlite3.connect(
        address, timeout=0, isolation_level=None, check_same_thread=False, uri=True
    )


_Connect = Callable[[Path], sqlite3.Connection]


class Database:
    """A folder with a database, opened for reading; `lock` it before it is changed."""

    def __init__(self, folder: Path) -> None:
        """Open what is there; the folder is made when something is to be kept."""
        self.folder = folder
        self._lock: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._connection, self._beside = _empty(), _empty()
        if not self.exists:
            return
        try:
            self._open(make=False)
        except StorageError:
            log = self.folder / f"{FILE}-wal"
            if log.exists() and log.stat().st_size:
                raise  # what is in there is read with a file of its own beside it
            self._open(make=False, connect=_connect_immutable)

    @property
    def exists(self) -> bool:
        """Whether there is a database file."""
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
            self._beside.close()
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is changed inside is kept, or nothing.

        Raises:
            StorageError: it cannot be kept.

        """
        with translate_errors(self.folder):
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # else SQLite has done so
                    self._run("ROLLBACK")
                raise

    @contextmanager
    def read_transaction(self) -> Iterator[None]:
        """All that is read inside is of one moment, whatever another process changes meanwhile."""
        if self._connection.in_transaction:
            yield
            return
        with translate_errors(self.folder):
            self._run("BEGIN")  # the moment is that of what is read first
            try:
                yield
            finally:
                if self._connection.in_transaction:  # else SQLite has done so
                    self._run("ROLLBACK")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """The same of some part of a transaction."""
        with translate_errors(self.folder):
            self._run("SAVEPOINT part")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:  # else SQLite has done so
                    self._run("ROLLBACK TO part")
                    self._run("RELEASE part")
                raise
            self._run("RELEASE part")

    def _open(self, *, make: bool, connect: _Connect = _connect) -> None:
        file = self.folder / FILE
        with translate_errors(self.folder):
            connection = connect(file)
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
                if connect is _connect:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = FULL")
                    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
                if version == 0:
                    connection.executescript(SCHEMA)
                beside = connect(file)
            except BaseException:
                connection.close()
                raise
        with self._reading:
            self._connection.close()
            self._beside.close()
            self._connection, self._beside = connection, beside

    def _read_beside(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        """The first row of it, for any thread; it waits for no change, and sees what is kept."""
        with self._reading:
            found: tuple[Any, ...] | None = self._beside.execute(statement, values).fetchone()
        return found

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)


@contextmanager
def translate_errors(folder: Path) -> Iterator[None]:
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


def _empty() -> sqlite3.Connection:
    """What is read where nothing has been kept yet."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(SCHEMA)
    return connection
